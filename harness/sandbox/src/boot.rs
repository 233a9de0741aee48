//! How does the user-mode kernel start, and how does one talk to what runs in it?
//!
//! The kernel is an ordinary process whose terminals are pipes. This file makes the pipes, starts
//! the process, moves bytes and listens for the guest's reports. What the arguments are is decided
//! in `cmdline`, what the guest does in `guest`.
#![expect(
    unsafe_code,
    reason = "the kernel process must inherit pipes beyond the three standard streams, which std only allows through pre_exec"
)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use super::cmdline::{self, Fds, Plan};
use super::control::Control;
use super::log::CappedLog;
use super::processor::Processor;
use super::wire::{self, Job, Report};
use crate::kernel::{Error, Exit, Group, Process, Running, check_open_files, wait_readable};

/// From the start of the kernel to the start of the command, at most. It takes 0.3 s on two cores.
const BOOT_DEADLINE: Duration = Duration::from_secs(30);

/// Kept of each end of the kernel log, bytes.
const LOG_LIMIT: usize = 2 * 1024 * 1024;

/// Lines of the kernel log in an error message.
const LOG_LINES: usize = 20;

/// A kernel that runs, and the host's ends of its terminals.
struct Guest {
    kernel: PathBuf,
    group: Group,
    reports: Receiver<Report>,
    log: Arc<Mutex<CappedLog>>,
    log_readers: Vec<JoinHandle<()>>,
    ended: Option<Exit>,
    /// A terminal whose input ends is hung up, and the guest's reports go over the same one.
    _frames: OwnedFd,
    _control: Control,
    /// Its own for as long as it runs.
    _processor: Option<Processor>,
}

/// Starts `kernel` with `job` and returns once the command runs.
pub(super) fn boot(
    kernel: &Path,
    extra: &[String],
    init: &Path,
    job: &Job,
    deadline: Option<Duration>,
) -> Result<Running, Error> {
    let started = Instant::now();
    check_open_files("the sandbox")?;
    let memory_mib = cmdline::memory_mib(extra).map_err(Error::Refused)?;
    let memory_dir = cmdline::memory_dir(&memory_candidates(), memory_mib, room_mib).map_err(Error::Refused)?;
    let control = Control::new(job, init)?;

    let doing = "making the pipes of the sandbox";
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(Error::system(doing));
    let (stdin_read, stdin_write) = pipe()?;
    let (control_in, frames) = pipe()?;
    let (reports, control_out) = pipe()?;
    let (stdout_read, stdout) = pipe()?;
    let (stderr_read, stderr) = pipe()?;
    let (console_read, console) = pipe()?;
    let (early_read, early) = pipe()?;
    let early_copy = early.try_clone().map_err(Error::system(doing))?;

    let plan = Plan {
        control: control.path(),
        memory_mib,
        fds: Fds {
            control_in: control_in.as_raw_fd(),
            control_out: control_out.as_raw_fd(),
            stdout: stdout.as_raw_fd(),
            stderr: stderr.as_raw_fd(),
            console: console.as_raw_fd(),
        },
        extra,
    };
    let mut command = process::Command::new(kernel);
    command
        .args(cmdline::arguments(&plan).map_err(Error::Refused)?)
        .env_clear()
        .env("TMPDIR", memory_dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(early_copy)
        .stderr(early);
    inherit(&mut command, [control_in, control_out, stdout, stderr, console]);
    let processor = Processor::claim();
    if let Some(processor) = &processor {
        stay_on(&mut command, processor);
    }
    let group = Group::spawn(&mut command).map_err(|source| Error::Boot {
        kernel: kernel.to_owned(),
        why: format!("it cannot be executed: {source}"),
        log: String::new(),
    })?;
    // The kernel has its own now; with ours gone, the pipes end when it ends.
    drop(command);

    let log = Arc::new(Mutex::new(CappedLog::new(LOG_LIMIT)));
    let log_readers = [(early_read, false), (console_read, true)].map(|(from, is_console)| {
        let log = Arc::clone(&log);
        thread::spawn(move || keep_log(from, is_console, &log))
    });
    let (reported, guest_reports) = unbounded();
    let (taken, credits) = bounded(wire::WINDOW);
    let exited = group.exited().try_clone().map_err(Error::system(doing))?;
    thread::spawn(move || hear(&reports, &exited, &reported, &taken));
    let mut guest = Guest {
        kernel: kernel.to_owned(),
        group,
        reports: guest_reports,
        log,
        log_readers: log_readers.into(),
        ended: None,
        _frames: frames.try_clone().map_err(Error::system(doing))?,
        _control: control,
        _processor: processor,
    };
    guest.wait_for_start(job)?;
    thread::spawn(move || feed(stdin_read, frames, &credits));
    Ok(Running {
        stdin: Some(stdin_write),
        stdout: Some(stdout_read),
        stderr: Some(stderr_read),
        process: Box::new(guest),
        started,
        deadline,
    })
}

/// Lets `command` inherit `fds` under the numbers they have here, and closes them with it.
fn inherit<const N: usize>(command: &mut process::Command, fds: [OwnedFd; N]) {
    let clear = move || -> io::Result<()> {
        for fd in &fds {
            fcntl_setfd(fd.as_fd(), FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes only `fcntl` system calls on descriptors that
    // it owns; it neither allocates nor locks, so it is safe in a forked child of a threaded process.
    unsafe { command.pre_exec(clear) };
}

/// Keeps `command`, and every process that it starts, on `processor`.
fn stay_on(command: &mut process::Command, processor: &Processor) {
    // SAFETY: between fork and exec the closure makes only one `sched_setaffinity` system call with a set that it
    // owns; it neither allocates nor locks, so it is safe in a forked child of a threaded process.
    unsafe { command.pre_exec(processor.hold()) };
}

fn memory_candidates() -> Vec<PathBuf> {
    vec!["/dev/shm".into(), std::env::temp_dir(), "/var/tmp".into()]
}

/// Free space of `dir` in MiB, if the kernel's memory can be there at all.
fn room_mib(dir: &Path) -> Result<u64, String> {
    let stat = rustix::fs::statvfs(dir).map_err(|error| format!("is not usable ({error})"))?;
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC) {
        return Err("is mounted noexec".into());
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
}

/// Takes what the kernel prints, as fast as it prints it.
///
/// Its console comes up late and then repeats everything from the start, so what came over standard
/// error before is dropped at that moment; it is what is left of a kernel that ended earlier.
fn keep_log(from: OwnedFd, mut is_console: bool, log: &Mutex<CappedLog>) {
    let mut from = File::from(from);
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut is_console) {
            log.clear();
        }
        log.push(&piece[..length]);
    }
}

/// Sorts what the guest reports, until the kernel ends: credits for [`feed`], the rest for
/// [`Guest`].
fn hear(from: &OwnedFd, exited: &OwnedFd, reported: &Sender<Report>, taken: &Sender<()>) {
    let mut unread = Vec::new();
    let mut piece = [0; 4096];
    // Reports come first: a kernel that reported and ended has not died.
    while let Ok(ready) = wait_readable(&[from, exited], None)
        && ready[0]
        && let Ok(length @ 1..) = rustix::io::read(from, &mut piece)
    {
        unread.extend_from_slice(&piece[..length]);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            // Nobody listens any more when the sandbox was dropped; the kernel ends then.
            let _ = match serde_json::from_slice(&line) {
                Ok(Report::Taken) => taken.try_send(()).is_ok(),
                Ok(report) => reported.send(report).is_ok(),
                Err(_) => {
                    let line = String::from_utf8_lossy(&line);
                    let why = format!("the guest reported {line:?}, which is no report");
                    reported.send(Report::Failed { why }).is_ok()
                }
            };
        }
    }
}

/// Hands standard input to the guest in frames, until its end or the guest's.
fn feed(from: OwnedFd, to: OwnedFd, credits: &Receiver<()>) {
    let (mut from, mut to) = (File::from(from), File::from(to));
    let mut piece = [0; wire::FRAME];
    let mut free = wire::WINDOW;
    while let Ok(length) = from.read(&mut piece) {
        if free == 0 && credits.recv().is_err() {
            break;
        }
        free = free.saturating_sub(1) + credits.try_iter().count();
        if wire::write_frame(&mut to, &piece[..length]).is_err() || length == 0 {
            break;
        }
    }
}

impl Guest {
    fn wait_for_start(&mut self, job: &Job) -> Result<(), Error> {
        match self.report(Some(Instant::now() + BOOT_DEADLINE))? {
            Some(Ok(Report::Started)) => Ok(()),
            Some(Ok(Report::NotStarted { why, code })) => {
                Err(Error::Program { program: job.program.clone(), kernel: "sandbox", why, code })
            }
            Some(Ok(Report::Failed { why })) => Err(self.boot_error(&why)),
            Some(Ok(report)) => Err(self.boot_error(&format!("it reported {report:?} first"))),
            Some(Err(why)) => Err(self.boot_error(&format!("{why} before the command started"))),
            None => {
                let seconds = BOOT_DEADLINE.as_secs();
                Err(self.boot_error(&format!("nothing came of it within {seconds} s")))
            }
        }
    }

    fn boot_error(&mut self, why: &str) -> Error {
        let (why, log) = self.last_words(why);
        Error::Boot { kernel: self.kernel.clone(), why, log }
    }

    fn died(&mut self, how: &str) -> Exit {
        let (why, log) = self.last_words(how);
        Exit::KernelDied { why, log }
    }

    /// Ends the kernel; returns `how` it ended with its own reason, and the end of its log.
    fn last_words(&mut self, how: &str) -> (String, String) {
        self.group.kill();
        for reader in self.log_readers.drain(..) {
            let _ = reader.join();
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let why = match log.panic() {
            Some(reason) => format!("{how}; it panicked: {reason}"),
            None => how.to_owned(),
        };
        let lines = log.last_lines(LOG_LINES);
        (why, format!("end of the kernel log:\n{lines}"))
    }

    /// The guest's next report, or how the kernel ended; `None` if neither came until `until`.
    fn report(&mut self, until: Option<Instant>) -> Result<Option<Result<Report, String>>, Error> {
        let next = match until {
            None => self.reports.recv().map_err(RecvTimeoutError::from),
            Some(until) => self.reports.recv_deadline(until),
        };
        match next {
            Ok(report) => Ok(Some(Ok(report))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let ended = self
                    .group
                    .wait(Some(Instant::now() + Duration::from_secs(1)))
                    .map_err(Error::system("waiting for the sandbox"))?;
                let how = ended.map_or("it closed its terminals".into(), |status| format!("it ended with {status}"));
                Ok(Some(Err(how)))
            }
        }
    }
}

impl Process for Guest {
    fn wait(&mut self, until: Option<Instant>) -> Result<Option<Exit>, Error> {
        if self.ended.is_none() {
            self.ended = match self.report(until)? {
                None => None,
                Some(Ok(Report::Code(code))) => Some(Exit::Code(code)),
                Some(Ok(Report::Signal(signal))) => Some(Exit::Signal(signal)),
                Some(Ok(other)) => Some(self.died(&format!("its init reported {other:?}"))),
                Some(Err(how)) => Some(self.died(&how)),
            };
            if self.ended.is_some() {
                // Everything is handed on and synced; there is nothing to wait for in a power-off.
                self.group.kill();
            }
        }
        Ok(self.ended.clone())
    }

    fn kill(&mut self) {
        self.group.kill();
        // As a command on the host ends; the kernel did not die of its own.
        self.ended.get_or_insert(Exit::Signal(Signal::KILL.as_raw()));
    }

    fn kernel_log_from(&self, from: u64) -> Option<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Some(log.text_from(from))
    }

    fn kernel_logged(&self) -> u64 {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).length()
    }
}
