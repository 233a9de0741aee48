//! What does the sandbox's kernel do before and after the command?
//!
//! This is the init of a user-mode kernel: the same program as on the host, started as process 1.
//! It makes the root filesystem, mounts what the command may need, runs the command, hands its
//! streams on and reports how it ended. It never runs anywhere else: it wants to be process 1 on a
//! root that is the host filesystem of user-mode Linux, and looks before it touches anything.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Component, Path, PathBuf};
use std::process::{ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use rustix::fs::OFlags;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::system::RebootCommand;
use rustix::termios::{self, OptionalActions};

use super::environment::RUNTIME_DIR;
use super::wire::{self, Job, Report, file, terminal};
use crate::kernel::exit_code_of;

/// `f_type` of hostfs, the filesystem that only user-mode Linux has (`HOSTFS_SUPER_MAGIC`).
const HOSTFS: u64 = 0x00c0_ffee;

/// Runs the program as a sandbox's init if that is what it was started for.
///
/// Every program that starts sandboxes calls this first in `main` and returns what it gets:
/// a sandbox's kernel starts the same program again, inside.
#[must_use]
pub fn guest_main() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != OsStr::new(wire::GUEST_INIT) {
        return None;
    }
    let control = PathBuf::from(args.next()?);
    if !is_guest() {
        let refusal = "guest-init runs only as process 1 of a sandbox's kernel\n";
        let _ = io::stderr().write_all(refusal.as_bytes());
        return Some(ExitCode::from(2));
    }
    let _ = run(&control);
    rustix::fs::sync();
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    Some(ExitCode::FAILURE)
}

fn is_guest() -> bool {
    std::process::id() == 1 && rustix::fs::statfs("/").is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(HOSTFS))
}

/// Why the surroundings could not be made: what was done, and the answer.
struct Failure(String);

fn failed(what: impl std::fmt::Display) -> impl FnOnce(rustix::io::Errno) -> Failure {
    move |error| Failure(format!("{what}: {}", io::Error::from(error)))
}

fn failed_io(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

/// Everything from the first instruction to the last report.
fn run(control: &Path) -> io::Result<()> {
    let mut prepared = prepare(control);
    // Without this terminal nobody can be told anything, and the kernel's end has to say it.
    let mut reports = open_terminal(terminal::CONTROL)?;
    let report = match &mut prepared {
        Ok(job) => command(job, &mut reports)?,
        Err(Failure(why)) => Report::Failed { why: why.clone() },
    };
    rustix::fs::sync();
    send(&mut reports, &report)?;
    drain(&reports);
    Ok(())
}

fn send(to: &mut File, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Waits until the host has everything that was written.
fn drain(terminal: &File) {
    let _ = termios::tcdrain(terminal);
}

/// Makes the root filesystem and enters it.
fn prepare(control: &Path) -> Result<Job, Failure> {
    let text = fs::read(control.join(file::JOB)).map_err(failed_io("reading the job"))?;
    let job: Job = serde_json::from_slice(&text).map_err(|error| Failure(format!("the job: {error}")))?;
    let root = control.join(file::ROOT);
    make_root(&job.root, &control.join(file::SCRATCH), &root)?;
    mount_system(&root)?;
    for share in &job.shares {
        let target = below(&root, share);
        fs::create_dir_all(&target).map_err(failed_io(format!("making {share:?}")))?;
        mount_with("none", &target, "hostfs", MountFlags::empty(), share.as_os_str())?;
    }
    enter(&root)?;
    Ok(job)
}

/// `path` seen from a root that is not entered yet.
fn below(root: &Path, path: &Path) -> PathBuf {
    let relative: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    root.join(relative)
}

/// The host's `base` with a writable layer in memory over it: the base itself is never written.
fn make_root(base: &Path, scratch: &Path, root: &Path) -> Result<(), Failure> {
    mount_with("scratch", scratch, "tmpfs", MountFlags::empty(), "mode=0755".as_ref())?;
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for dir in [&upper, &work] {
        fs::create_dir(dir).map_err(failed_io(format!("making {dir:?}")))?;
    }
    let mut options = OsString::from("lowerdir=");
    options.push(escape(base));
    options.push(",upperdir=");
    options.push(escape(&upper));
    options.push(",workdir=");
    options.push(escape(&work));
    mount_with("root", root, "overlay", MountFlags::empty(), &options)
}

/// A path as the option parser of overlayfs wants it.
fn escape(path: &Path) -> OsString {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    OsStr::from_bytes(&escaped).to_owned()
}

/// What every Linux system has mounted, and the kernel's own views that cases observe.
fn mount_system(root: &Path) -> Result<(), Failure> {
    let plain = MountFlags::NOSUID | MountFlags::NOEXEC;
    let open = MountFlags::NOSUID | MountFlags::NODEV;
    let mounts = [
        ("proc", "proc", plain, ""),
        ("sysfs", "sys", plain, ""),
        ("devtmpfs", "dev", MountFlags::NOSUID, "mode=0755"),
        ("devpts", "dev/pts", plain, "mode=0620,ptmxmode=0666"),
        ("tmpfs", "dev/shm", open, "mode=1777"),
        ("tmpfs", "run", open, "mode=0755"),
        ("tmpfs", "tmp", open, "mode=1777"),
        ("debugfs", "sys/kernel/debug", plain, ""),
        ("tracefs", "sys/kernel/tracing", plain, ""),
        ("configfs", "sys/kernel/config", plain, ""),
    ];
    for (kind, at, flags, options) in mounts {
        let at = root.join(at);
        // A kernel of the user's own may lack one of the last three; then so does the command.
        let optional = at.starts_with(root.join("sys/kernel"));
        if fs::create_dir_all(&at).is_err() && optional {
            continue;
        }
        match mount_with(kind, &at, kind, flags, options.as_ref()) {
            Err(_) if optional => {}
            outcome => outcome?,
        }
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (name, target) in links {
        let _ = std::os::unix::fs::symlink(target, root.join("dev").join(name));
    }
    fs::create_dir_all(below(root, Path::new(RUNTIME_DIR))).map_err(failed_io("making the runtime directory"))
}

fn mount_with(source: &str, target: &Path, kind: &str, flags: MountFlags, options: &OsStr) -> Result<(), Failure> {
    let what = format!("mounting {kind} on {}", target.display());
    let data = CString::new(options.as_bytes()).map_err(|error| Failure(format!("{what}: {error}")))?;
    mount(source, target, kind, flags, data.as_c_str()).map_err(failed(what))
}

/// Makes `root` the root directory and lets go of the host's.
fn enter(root: &Path) -> Result<(), Failure> {
    rustix::process::chdir(root).map_err(failed("entering the root filesystem"))?;
    rustix::process::pivot_root(".", ".").map_err(failed("changing the root filesystem"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("leaving the host's root"))?;
    rustix::process::chdir("/").map_err(failed("entering the new root"))?;
    rustix::system::sethostname(b"sandbox").map_err(failed("naming the host"))
}

/// A terminal without line discipline: every byte passes as it is.
fn open_terminal(number: u32) -> io::Result<File> {
    let path = format!("/dev/tty{number}");
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed()).open(path)?;
    let mut settings = termios::tcgetattr(&file)?;
    settings.make_raw();
    termios::tcsetattr(&file, OptionalActions::Now, &settings)?;
    Ok(file)
}

/// Runs the command from its start to the last byte of its output.
fn command(job: &Job, reports: &mut File) -> io::Result<Report> {
    if let Err(error) = rustix::process::chdir(&job.cwd) {
        let why = format!(
            "its directory {:?} is not there: {}; a host directory is seen with --share",
            job.cwd,
            io::Error::from(error)
        );
        return Ok(Report::NotStarted { why, code: 126 });
    }
    let spawned = Command::new(&job.program)
        .args(&job.args)
        .env_clear()
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            return Ok(Report::NotStarted { why: error.to_string(), code: exit_code_of(&error) });
        }
    };
    send(reports, &Report::Started)?;
    let stdout = child.stdout.take().map(|pipe| relay(pipe, terminal::STDOUT));
    let stderr = child.stderr.take().map(|pipe| relay(pipe, terminal::STDERR));
    if let Some(pipe) = child.stdin.take() {
        feed(reports.try_clone()?, pipe);
    }
    let ended = reap(Pid::from_child(&child))?;
    end_everybody();
    for output in [stdout, stderr].into_iter().flatten() {
        let _ = output.join();
    }
    Ok(match (ended.code(), ended.signal()) {
        (Some(code), _) => Report::Code(code),
        (None, signal) => Report::Signal(signal.unwrap_or_default()),
    })
}

/// Hands an output on to its terminal until every writer has closed it.
fn relay(mut from: impl Read + Send + 'static, to: u32) -> JoinHandle<io::Result<()>> {
    thread::spawn(move || {
        let mut to = open_terminal(to)?;
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut piece)?;
            if length == 0 {
                drain(&to);
                return Ok(());
            }
            to.write_all(&piece[..length])?;
        }
    })
}

/// Hands standard input on. A command that does not read it to the end is no error.
///
/// The terminal itself ends only when the host's side is gone; then there is nobody left to run for.
fn feed(mut from: File, to: ChildStdin) {
    thread::spawn(move || {
        let mut to = Some(to);
        loop {
            match wire::read_frame(&mut from) {
                Ok(Some(piece)) => {
                    let _ = send(&mut from, &Report::Taken);
                    if let Some(pipe) = &mut to
                        && pipe.write_all(&piece).is_err()
                    {
                        to = None;
                    }
                }
                Ok(None) => to = None,
                Err(_) => {
                    let _ = rustix::system::reboot(RebootCommand::PowerOff);
                }
            }
        }
    });
}

/// Waits for the command, as well as for every orphan that became a child of process 1.
fn reap(command: Pid) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => {
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills what the command left behind, so that its outputs end.
fn end_everybody() {
    loop {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = number.and_then(Pid::from_raw)
                && !pid.is_init()
            {
                // Kernel threads ignore it.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
