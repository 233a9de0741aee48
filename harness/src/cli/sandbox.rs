//! What do `handover sandbox` and `handover setup` do?
//!
//! What runs inside has standard output and standard error for itself; Handover's own words go to
//! standard error, only when there is something to say.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::kernel::{Command, Error, Exit, Kernel, Running};
use crate::run::choice::Parts;
use crate::sandbox::{Sandbox, Shown, Which, host_packages};

/// Exit code when the deadline passed, as `timeout` has it.
const DEADLINE: u8 = 124;

/// Exit code when Handover itself failed, as `env` and `timeout` have it.
const OWN_FAILURE: u8 = 125;

/// How often a signal to this process is looked for.
const GLANCE: Duration = Duration::from_millis(100);

/// Options of `handover sandbox`.
#[derive(Args, Clone, Debug)]
pub(super) struct SandboxArgs {
    #[command(flatten)]
    parts: Parts,
    /// End the command, and everything it started, after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    deadline: Option<Duration>,
    /// Where to write the kernel's log when the command has ended
    #[arg(long, value_name = "FILE")]
    kernel_log: Option<PathBuf>,
    /// Say on standard error which kernel and which Mesa versions are used
    #[arg(long, short)]
    verbose: bool,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Options of `handover setup`.
#[derive(Args, Clone, Debug)]
pub(super) struct SetupArgs {
    /// `debug` for the kernel that reports its own defects, instead of the usual one
    #[arg(long, value_enum, value_name = "debug")]
    kernel: Option<SetupKernel>,
    /// Only print the Debian packages that building the sandbox needs, one per line
    #[arg(long)]
    print_packages: bool,
}

/// What `handover setup` builds beyond the usual.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SetupKernel {
    /// The kernel that reports its own defects.
    Debug,
}

/// Reads a positive number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let valid = || "give a number of seconds above 0, such as 30 or 2.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| valid())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| valid())?;
    if duration.is_zero() { Err(valid()) } else { Ok(duration) }
}

/// `handover setup`: builds what is missing and says what is there.
#[must_use]
pub(super) fn setup(args: &SetupArgs) -> ExitCode {
    if args.print_packages {
        let lines = host_packages::all().join("\n");
        return match writeln!(io::stdout(), "{lines}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(OWN_FAILURE),
        };
    }
    let which = match args.kernel {
        None => Which::Usual,
        Some(SetupKernel::Debug) => Which::Debug,
    };
    let built = Sandbox::with_parts(which, None, &mut Shown::default());
    match built {
        Ok(sandbox) => {
            say(sandbox.describe());
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}

/// `handover sandbox`: runs a command in the user-mode kernel; its exit code is the command's.
#[must_use]
pub(super) fn command(args: &SandboxArgs) -> ExitCode {
    let sandbox = match args.parts.sandbox(&mut Shown::default()) {
        Ok(sandbox) => sandbox,
        Err(error) => return fail(error),
    };
    if args.verbose {
        say(sandbox.describe());
    }
    match run(&sandbox, args) {
        Ok(code) => code,
        Err(Error::Program { program, kernel, why, code }) => {
            say(format_args!("cannot start {program:?} in the {kernel}: {why}"));
            exit_code(code)
        }
        Err(error) => fail(error),
    }
}

fn run(kernel: &dyn Kernel, args: &SandboxArgs) -> Result<ExitCode, Error> {
    let mut command = args.command.iter().cloned();
    let mut wanted = Command::new(command.next().unwrap_or_default()).args(command);
    if let Some(deadline) = args.deadline {
        wanted = wanted.deadline(deadline);
    }
    let mut running = kernel.spawn(&wanted)?;
    // Not earlier: until here a signal ends this process, and with it the kernel that boots.
    let caught = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&caught), number)
            .map_err(Error::system("catching signals"))?;
    }
    if let Some(stdin) = running.stdin.take() {
        // It ends with the command's input or with this process, whichever is first.
        thread::spawn(move || copy(io::stdin(), File::from(stdin)));
    }
    let out = |pipe: Option<OwnedFd>| pipe.map(File::from);
    let outputs: Vec<JoinHandle<()>> = [
        out(running.stdout.take()).map(|pipe| thread::spawn(move || copy(pipe, io::stdout()))),
        out(running.stderr.take()).map(|pipe| thread::spawn(move || copy(pipe, io::stderr()))),
    ]
    .into_iter()
    .flatten()
    .collect();

    let exit = loop {
        if let Some(exit) = running.wait_for(GLANCE)? {
            break Some(exit);
        }
        if caught.load(Ordering::Relaxed) != 0 {
            running.kill();
            break None;
        }
    };
    for output in outputs {
        let _ = output.join();
    }
    if let Some(path) = &args.kernel_log {
        keep_log(&running, path)?;
    }
    drop(running);
    Ok(match exit {
        Some(exit) => conclude(&exit),
        None => {
            let signal = i32::try_from(caught.load(Ordering::Relaxed)).unwrap_or_default();
            // As if the signal had not been caught, so that a shell sees what happened.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            exit_code(128 + signal)
        }
    })
}

/// Hands bytes on as they come; whoever no longer reads is no error of ours.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..length]).and_then(|()| to.flush()).is_err() {
            break;
        }
    }
}

fn keep_log(running: &Running, path: &Path) -> Result<(), Error> {
    let doing = || format!("writing the kernel log to {}", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(dir.unwrap_or(Path::new(".")))
        .map_err(Error::system(doing()))?;
    let log = running.kernel_log().unwrap_or_default();
    file.write_all(log.as_bytes()).map_err(Error::system(doing()))?;
    file.persist(path).map(drop).map_err(|error| Error::system(doing())(error.error))
}

fn conclude(exit: &Exit) -> ExitCode {
    match exit {
        Exit::Code(code) => exit_code(*code),
        Exit::Signal(signal) => exit_code(128 + signal),
        Exit::Deadline(_) => {
            say(exit);
            ExitCode::from(DEADLINE)
        }
        Exit::KernelDied { .. } => fail(exit),
    }
}

fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::from(OWN_FAILURE), ExitCode::from)
}

fn fail(why: impl std::fmt::Display) -> ExitCode {
    say(why);
    ExitCode::from(OWN_FAILURE)
}

fn say(what: impl std::fmt::Display) {
    let _ = writeln!(anstream::stderr(), "handover: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_positive_time() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        for bad in ["0", "-1", "soon", "", "inf", "nan", "1e300"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
