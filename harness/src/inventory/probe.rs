//! Asking a driver in a child process, so that one that crashes or hangs costs its own entry and nothing else.
//!
//! The child is this program again with a hidden argument; it answers with JSON. What to ask is the business of the
//! modules beside this one.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;

use crate::error::Cause;

/// One question that is put to a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// All Vulkan drivers that the loader finds by itself.
    Vulkan,
    /// The Vulkan driver of one manifest.
    VulkanDriver(PathBuf),
    /// One DRM node.
    Drm(PathBuf),
    /// One video node.
    V4l2(PathBuf),
    /// EGL's surfaceless platform.
    Egl,
    /// EGL's GBM platform on one DRM node.
    EglOnGbm(PathBuf),
    /// One DRM node through libgbm.
    Gbm(PathBuf),
}

/// The longest that a driver may take to answer. Vulkan start-up takes 1 s in the sandbox, 0.1 s outside.
const DEADLINE: Duration = Duration::from_secs(10);

/// More bytes than any honest answer has: that of the driver with the most formats and modifiers stays below 1 MiB.
const ANSWER_MAX: usize = 16 << 20;

/// Bytes that are kept of what a driver prints, its last.
const MESSAGES_MAX: usize = 64 << 10;

/// What a child answered, and what it printed on stderr meanwhile.
pub(super) struct Answered<T> {
    pub(super) answer: Result<T, String>,
    pub(super) messages: Vec<String>,
}

impl Probe {
    /// Puts the question to a child process.
    ///
    /// An answer that is an error says what became of the child: its signal, its exit code or the deadline.
    pub(super) fn ask<T: DeserializeOwned>(&self) -> Answered<T> {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let ending = self.run(&mut stdout, &mut stderr);
        let mut messages: Vec<String> = String::from_utf8_lossy(&stderr).lines().map(str::to_owned).collect();
        let answer = match (serde_json::from_slice(&stdout), ending) {
            (Ok(answer), Ok(())) => Ok(answer),
            // It had said everything, then came to a bad end: a driver that fails in its clean-up.
            (Ok(answer), Err(why)) => {
                messages.push(format!("after its answer: {why}"));
                Ok(answer)
            }
            (Err(_), Err(why)) => Err(why),
            (Err(error), Ok(())) => Err(format!("the process that listed it answered with no valid JSON: {error}")),
        };
        Answered { answer, messages }
    }

    fn run(&self, stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> Result<(), String> {
        let mut child = self.spawn()?;
        let end = Instant::now() + DEADLINE;
        let ending = read_both(&mut child, stdout, stderr, end).and_then(|()| wait_until(&mut child, end));
        match ending {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(ended(status)),
            Err(why) => {
                // It may already have ended by itself; then there is nothing to kill, which is as good.
                let _ = child.kill();
                // SIGKILL ends all but a process that is stuck inside a driver, and that must not hold up the listing.
                let _ = wait_until(&mut child, Instant::now() + Duration::from_secs(1));
                Err(why)
            }
        }
    }

    fn spawn(&self) -> Result<Child, String> {
        let program = Path::new("/proc/self/exe");
        let mut command = Command::new(program);
        command.arg0("handover").args(["devices", "--probe"]).arg(self.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Self::VulkanDriver(manifest) = self {
            // The second name is the one that loaders before 1.3.207 know.
            command.env("VK_DRIVER_FILES", manifest).env("VK_ICD_FILENAMES", manifest);
            command.env_remove("VK_ADD_DRIVER_FILES");
        }
        if matches!(self, Self::Vulkan | Self::VulkanDriver(_)) && std::env::var_os("VK_LOADER_DEBUG").is_none() {
            command.env("VK_LOADER_DEBUG", "error");
        }
        command.spawn().map_err(|error| format!("start of the process that lists it: {}", Cause::from(error)))
    }
}

/// Reads both pipes to their ends.
fn read_both(child: &mut Child, out: &mut Vec<u8>, err: &mut Vec<u8>, end: Instant) -> Result<(), String> {
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("the process that lists it has no pipes".into());
    };
    // A pipe at its end is always ready, so it must not be asked again.
    let (mut stdout, mut stderr) = (Some(stdout), Some(stderr));
    while stdout.is_some() || stderr.is_some() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("the driver did not answer within {} s", DEADLINE.as_secs()));
        }
        let fds = [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)];
        let mut fds: Vec<PollFd<'_>> =
            fds.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut fds, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(format!("poll: {}", Cause::from(errno))),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        if stdout.is_some() && ready.next() == Some(true) {
            read_some(&mut stdout, out)?;
        }
        if stderr.is_some() && ready.next() == Some(true) {
            read_some(&mut stderr, err)?;
        }
        if out.len() > ANSWER_MAX {
            return Err(format!("the driver's answer is longer than {} MiB", ANSWER_MAX >> 20));
        }
        err.drain(..err.len().saturating_sub(MESSAGES_MAX));
    }
    Ok(())
}

/// Appends what is there to `to`; closes the pipe at its end.
fn read_some(pipe: &mut Option<impl Read>, to: &mut Vec<u8>) -> Result<(), String> {
    let Some(open) = pipe else { return Ok(()) };
    let mut chunk = [0; 16 << 10];
    let count = open.read(&mut chunk).map_err(|error| format!("read: {}", Cause::from(error)))?;
    to.extend_from_slice(&chunk[..count]);
    if count == 0 {
        *pipe = None;
    }
    Ok(())
}

fn wait_until(child: &mut Child, end: Instant) -> Result<std::process::ExitStatus, String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => return Err("the process that lists it does not end".into()),
            Err(error) => return Err(format!("wait: {}", Cause::from(error))),
        }
    }
}

/// How a process ended that did not end well.
fn ended(status: std::process::ExitStatus) -> String {
    const SIGNALS: &[(i32, &str)] =
        &[(4, "SIGILL"), (6, "SIGABRT"), (7, "SIGBUS"), (8, "SIGFPE"), (9, "SIGKILL"), (11, "SIGSEGV"), (31, "SIGSYS")];
    let Some(signal) = status.signal() else {
        return format!("the process that listed it ended with {status}");
    };
    match SIGNALS.iter().find(|(number, _)| *number == signal) {
        Some((_, name)) => format!("the driver crashed the process that listed it: {name}"),
        None => format!("the process that listed it was killed by signal {signal}"),
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vulkan => write!(f, "vulkan"),
            Self::VulkanDriver(path) => write!(f, "vulkan:{}", path.display()),
            Self::Drm(path) => write!(f, "drm:{}", path.display()),
            Self::V4l2(path) => write!(f, "v4l2:{}", path.display()),
            Self::Egl => write!(f, "egl"),
            Self::EglOnGbm(path) => write!(f, "egl:{}", path.display()),
            Self::Gbm(path) => write!(f, "gbm:{}", path.display()),
        }
    }
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "vulkan" => Ok(Self::Vulkan),
            Some(("vulkan", path)) => Ok(Self::VulkanDriver(path.into())),
            Some(("drm", path)) => Ok(Self::Drm(path.into())),
            Some(("v4l2", path)) => Ok(Self::V4l2(path.into())),
            None if text == "egl" => Ok(Self::Egl),
            Some(("egl", path)) => Ok(Self::EglOnGbm(path.into())),
            Some(("gbm", path)) => Ok(Self::Gbm(path.into())),
            _ => Err("vulkan, vulkan:MANIFEST, drm:NODE, v4l2:NODE, egl, egl:NODE or gbm:NODE would be valid".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("a shell")
    }

    #[test]
    fn probes_survive_the_command_line() {
        let card = || PathBuf::from("/dev/dri/card0");
        for probe in [Probe::Vulkan, Probe::VulkanDriver("/a b/c.json".into()), Probe::Drm(card()), Probe::Egl] {
            assert_eq!(probe.to_string().parse(), Ok(probe));
        }
        for probe in [Probe::EglOnGbm(card()), Probe::Gbm(card()), Probe::V4l2("/dev/video0".into())] {
            assert_eq!(probe.to_string().parse(), Ok(probe));
        }
    }

    #[test]
    fn a_child_that_hangs_meets_the_deadline() {
        let mut child = shell("echo begun; exec sleep 60");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let end = Instant::now() + Duration::from_millis(200);
        let why = read_both(&mut child, &mut out, &mut err, end).expect_err("it hangs");
        assert!(why.contains("did not answer within"), "{why}");
        assert_eq!(out, b"begun\n");
        child.kill().expect("ours");
        child.wait().expect("ours");
    }

    #[test]
    fn a_child_that_crashes_is_named_by_its_signal() {
        let mut child = shell("echo last words >&2; kill -SEGV $$");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let end = Instant::now() + Duration::from_secs(10);
        read_both(&mut child, &mut out, &mut err, end).expect("both pipes end");
        assert_eq!(err, b"last words\n");
        assert!(ended(wait_until(&mut child, end).expect("it ended")).ends_with("SIGSEGV"));
    }

    #[test]
    fn of_a_driver_that_talks_a_lot_the_last_words_are_kept() {
        let mut child = shell("yes | head -c 1000000 >&2; echo last >&2; echo answer");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let end = Instant::now() + Duration::from_secs(60);
        read_both(&mut child, &mut out, &mut err, end).expect("both pipes end");
        assert_eq!((out.as_slice(), err.len()), (&b"answer\n"[..], MESSAGES_MAX));
        assert!(err.ends_with(b"last\n"));
        child.wait().expect("ours");
    }

    #[test]
    fn a_child_that_prints_without_end_is_cut_off() {
        let mut child = shell("exec yes");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let end = Instant::now() + Duration::from_secs(60);
        let why = read_both(&mut child, &mut out, &mut err, end).expect_err("no end");
        assert!(why.contains("longer than 16 MiB"), "{why}");
        child.kill().expect("ours");
        child.wait().expect("ours");
    }
}
