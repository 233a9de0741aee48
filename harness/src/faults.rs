//! What if the kernel has no memory left, just now? Its n-th allocation in a thread fails, by its own fault injection.
//!
//! Whoever counts n from 1 until no fault was met has had each allocation of a step fail once. It is for root, and a kernel
//! that was built for it; the sandbox's is.
//!
//! Source: "Fault injection capabilities infrastructure" in the kernel's documentation.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::inventory::access::{self, Mode};
use crate::inventory::mounts::Mounts;
use crate::observed::{NotObservable, Observed};
use crate::restart::again;

const OP: &str = "making allocations of the kernel fail";

/// What is set while faults are made: every allocation is one that can fail, also one that may wait for memory and one of a
/// single page, and the kernel does not print a stack for each.
const KNOBS: &[(&str, &str)] = &[
    ("failslab/ignore-gfp-wait", "N"),
    ("failslab/cache-filter", "N"),
    ("failslab/verbose", "0"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/min-order", "0"),
    ("fail_page_alloc/verbose", "0"),
];

/// So long it may take until another process that makes faults is done.
const TURN: Duration = Duration::from_secs(10);

/// From one look at a thread to the next.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// The kernel, ready to fail. What was set for that is put back when it is dropped.
#[derive(Debug)]
pub struct Faults {
    before: Vec<(PathBuf, String)>,
    /// Locked, so that two processes do not put back each other's settings.
    _turn: File,
}

/// A thread of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread(PathBuf);

impl Thread {
    /// This one.
    pub fn current() -> Self {
        Self("/proc/thread-self".into())
    }

    /// The one called `name`, of which the kernel keeps 15 bytes.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self> {
        const LIST: &str = "/proc/self/task";
        let known = &name[..name.len().min(15)];
        let entries = fs::read_dir(LIST).map_err(|error| Error::new("read", LIST, error))?;
        let mut paths = entries.flatten().map(|entry| entry.path());
        let found = paths.find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == known));
        found.map(Self).ok_or_else(|| Error::missing("finding a thread", LIST, format!("none is called {known}")))
    }

    /// This one, to be looked at by others.
    ///
    /// # Errors
    /// procfs is not mounted.
    pub fn this() -> Result<Self> {
        const LINK: &str = "/proc/thread-self";
        let link = again(|| fs::read_link(LINK)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::missing("readlink", LINK, "procfs is not mounted"),
            _ => Error::new("readlink", LINK, error),
        })?;
        Ok(Self(Path::new("/proc").join(link)))
    }

    /// Whether it came to sleep in an ioctl, in the driver and not on the way there, before `over` said that it need not be looked
    /// for any more, or `patience` ended.
    ///
    /// # Errors
    /// The kernel does not tell in which call a thread is, or where in it.
    pub fn sleeps_in_ioctl(&self, over: impl Fn() -> bool, patience: Duration) -> Observed<bool> {
        let deadline = Instant::now() + patience;
        let text = |file: &str| {
            let path = self.0.join(file);
            let text = again(|| fs::read_to_string(&path));
            text.map_err(|error| NotObservable(Error::new("read", path.display().to_string(), error).to_string()))
        };
        loop {
            if sleeps_in_ioctl(&text("syscall")?, &text("wchan")?) {
                return Ok(true);
            }
            if over() || Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whether a thread with this in its `syscall` and `wchan` sleeps in an ioctl: it may also sleep before that begins, until who
/// listens to its system calls lets it go on.
fn sleeps_in_ioctl(syscall: &str, place: &str) -> bool {
    let is_ioctl = syscall.split(' ').next().and_then(|number| number.parse().ok()) == Some(libc::SYS_ioctl);
    is_ioctl && !["", "0"].contains(&place) && !place.contains("seccomp")
}

impl Faults {
    /// What this machine lacks for it, if anything.
    pub fn missing() -> Option<String> {
        let fail_nth = Path::new("/proc/thread-self/fail-nth");
        let absent = "kernel without CONFIG_FAULT_INJECTION";
        access::open(fail_nth, Mode::ReadWrite, absent).err().or_else(|| {
            let knobs = Self::knobs().and_then(|knobs| {
                let absent =
                    "kernel without CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC or CONFIG_FAULT_INJECTION_DEBUG_FS";
                knobs.iter().try_for_each(|(path, _)| access::open(path, Mode::ReadWrite, absent).map(drop))
            });
            knobs.err()
        })
    }

    /// Makes the kernel ready to fail. Nothing fails before [`Self::nth`].
    ///
    /// # Errors
    /// See [`Self::missing`]; or another process has made faults for 10 s.
    pub fn open() -> Result<Self> {
        let missing = |why: String| Error::missing(OP, "this kernel", why);
        if let Some(why) = Self::missing() {
            return Err(missing(why));
        }
        let knobs = Self::knobs().map_err(missing)?;
        let failed = |path: &Path, error: io::Error| Error::new(OP, path.display().to_string(), error);
        let first = &knobs[0].0;
        let turn = File::open(first).map_err(|error| failed(first, error))?;
        let began = Instant::now();
        while let Err(errno) = rustix::fs::flock(&turn, FlockOperation::NonBlockingLockExclusive) {
            if began.elapsed() >= TURN {
                return Err(Error::new(OP, first.display().to_string(), errno));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut faults = Self { before: Vec::new(), _turn: turn };
        for (path, value) in knobs {
            let before = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            fs::write(&path, value).map_err(|error| failed(&path, error))?;
            faults.before.push((path, before));
        }
        Ok(faults)
    }

    /// Does `work` while the `n`-th allocation, counted from 1, that the kernel makes for `thread` fails; also says whether
    /// there were so many. A thread that has ended by then can't be asked, and counts as one that met its fault.
    ///
    /// # Errors
    /// The kernel refuses; `work` was not done, or it can't be said whether an allocation failed.
    pub fn nth<T>(&self, thread: &Thread, n: u32, work: impl FnOnce() -> T) -> Result<(T, bool)> {
        let path = thread.0.join("fail-nth");
        let failed = |error| Error::new(OP, path.display().to_string(), error);
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        (&file).write_all(n.to_string().as_bytes()).map_err(failed)?;
        let armed = Armed(file);
        let done = work();
        let mut left = [0; 16];
        match armed.0.read_at(&mut left, 0) {
            // What is left to count; 0 once it failed.
            Ok(length) => Ok((done, left[..length].trim_ascii() == b"0")),
            Err(error) if ended(&error) => Ok((done, true)),
            Err(error) => Err(failed(error)),
        }
    }

    fn knobs() -> Result<Vec<(PathBuf, &'static str)>, String> {
        let debugfs = Mounts::read().debugfs();
        let point = debugfs.ready()?;
        Ok(KNOBS.iter().map(|(knob, value)| (point.join(knob), *value)).collect())
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        for (path, value) in &self.before {
            if let Err(error) = fs::write(path, value) {
                tracing::error!(knob = %path.display(), %error, "fault injection stays as it was set");
            }
        }
    }
}

/// While it lives, an allocation may fail.
struct Armed(File);

impl Drop for Armed {
    fn drop(&mut self) {
        if let Err(error) = self.0.write_all(b"0")
            && !ended(&error)
        {
            tracing::error!(%error, "an allocation of the kernel will still fail");
        }
    }
}

/// Whether a thread could not be asked because it is no more.
fn ended(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sleeps_in_an_ioctl_is_in_the_driver() {
        let ioctl = "16 0x3 0xc02864c3 0x7f7fff98da40 0x0 0x0 0x0 0x7f7fff98da00 0x400c93a7\n";
        assert!(sleeps_in_ioctl(ioctl, "drm_syncobj_array_wait_timeout"));
        assert!(!sleeps_in_ioctl(ioctl, "seccomp_do_user_notification") && !sleeps_in_ioctl(ioctl, "0"));
        assert!(!sleeps_in_ioctl("running\n", "0"));
        assert!(!sleeps_in_ioctl("230 0x0 0x0\n", "hrtimer_nanosleep") && !sleeps_in_ioctl("-1 0x0 0x0\n", "do_exit"));
        assert!(!Thread::this().unwrap().sleeps_in_ioctl(|| true, Duration::ZERO).is_ok_and(|sleeps| sleeps));
    }

    /// In the sandbox; elsewhere it is said what is missing.
    #[test]
    fn an_allocation_fails_once_and_settings_are_put_back() {
        let faults = match Faults::open() {
            Ok(faults) => faults,
            Err(error) => return assert!(error.to_string().contains("fail-nth"), "{error}"),
        };
        let before = faults.before.clone();
        let thread = Thread::current();
        let (opened, failed) = faults.nth(&thread, 1, || File::open("/proc/self/status")).expect("armed");
        assert!(failed);
        assert_eq!(opened.expect_err("no memory").kind(), io::ErrorKind::OutOfMemory);
        let (opened, failed) = faults.nth(&thread, 1_000_000, || File::open("/proc/self/status")).expect("armed");
        assert!(opened.is_ok() && !failed);
        drop(faults);
        for (path, value) in before {
            assert_eq!(fs::read_to_string(&path).expect("readable"), value, "{}", path.display());
        }
    }
}
