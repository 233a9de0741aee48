//! In which kernel does a command run, and how did it end there?
//!
//! One small interface, "run this command in that kernel", with two implementations: [`Host`], and
//! the [sandbox](crate). A third (a virtual machine, a board on a desk) implements
//! [`Kernel`] and nothing else changes. This file starts and ends commands; it knows nothing of
//! devices or cases.

mod group;
mod host;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

pub(crate) use group::{Group, wait_readable};
pub use host::Host;
pub(crate) use host::exit_code_of;

/// A place where commands run: a kernel, its devices and its root filesystem.
pub trait Kernel: Send + Sync {
    /// What this is, for the report.
    fn describe(&self) -> KernelInfo;

    /// What had to be made before anything could run here, each with the time that it took.
    fn set_up(&self) -> &[(&'static str, Duration)] {
        &[]
    }

    /// Starts `command` and returns once it runs. The three streams are pipes.
    ///
    /// # Errors
    /// If the kernel does not come up or the program cannot be started in it.
    fn spawn(&self, command: &Command) -> Result<Running, Error>;
}

/// Which kernel and which drivers a command saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// `sandbox` or `host`.
    pub name: String,
    /// The kernel's release, as `uname -r` has it or would have it; empty for a file of the user's
    /// own.
    pub release: String,
    /// Where the kernel came from: a package and its version, or a path; empty on the host.
    pub kernel: String,
    /// The Mesa versions that belong to this place, reference first; empty where Handover did not
    /// choose them.
    pub mesa: Vec<String>,
}

impl fmt::Display for KernelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: Linux", self.name)?;
        if !self.release.is_empty() {
            write!(f, " {}", self.release)?;
        }
        if !self.kernel.is_empty() {
            write!(f, " ({})", self.kernel)?;
        }
        if !self.mesa.is_empty() {
            write!(f, ", Mesa {}", self.mesa.join(" and "))?;
        }
        Ok(())
    }
}

/// A command to run, and what it needs of its surroundings.
#[derive(Clone, Debug)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) shares: Vec<PathBuf>,
    pub(crate) deadline: Option<Duration>,
}

impl Command {
    /// A command that runs `program`: a path, or a name that is looked up in the `PATH` of the
    /// place where it runs.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            shares: Vec::new(),
            deadline: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, over whatever the place would pass on or set.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs in this directory instead of the present one.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Asks that this host directory be there, writable, at the same path.
    #[must_use]
    pub fn share(mut self, dir: impl Into<PathBuf>) -> Self {
        self.shares.push(dir.into());
        self
    }

    /// Ends the command, and all it started, when it has run this long.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// Its kernel ended first.
    KernelDied {
        /// What became of the kernel.
        why: String,
        /// The last lines of the kernel log.
        log: String,
    },
    /// Its deadline passed and it was ended.
    Deadline(Duration),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "the command exited with code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal} ended the command"),
            Self::KernelDied { why, log } => {
                write!(f, "the kernel ended under the command: {why}\n{log}")
            }
            Self::Deadline(after) => {
                let seconds = after.as_secs_f64();
                write!(f, "the command was ended at its deadline of {seconds} s")
            }
        }
    }
}

/// A command that was started. Dropping it ends the command and everything it started.
pub struct Running {
    /// Write end of the command's standard input; dropping it is the end of file.
    pub stdin: Option<OwnedFd>,
    /// Read end of the command's standard output.
    pub stdout: Option<OwnedFd>,
    /// Read end of the command's standard error.
    pub stderr: Option<OwnedFd>,
    pub(crate) process: Box<dyn Process>,
    pub(crate) started: Instant,
    pub(crate) deadline: Option<Duration>,
}

impl Running {
    /// Waits until the command ends, or ends it at its deadline.
    ///
    /// Read [`stdout`](Self::stdout) and [`stderr`](Self::stderr) meanwhile: a command whose
    /// pipe is full waits too.
    ///
    /// # Errors
    /// If the kernel refuses to say how the process ended.
    pub fn wait(&mut self) -> Result<Exit, Error> {
        if let Some(exit) = self.process.wait(self.last_moment())? {
            return Ok(exit);
        }
        self.kill();
        Ok(Exit::Deadline(self.deadline.unwrap_or_default()))
    }

    /// Waits at most `timeout` and leaves the command running if that was too short.
    ///
    /// # Errors
    /// If the kernel refuses to say how the process ended.
    pub fn wait_for(&mut self, timeout: Duration) -> Result<Option<Exit>, Error> {
        let own = Instant::now() + timeout;
        match self.last_moment() {
            Some(last) if last <= own => self.wait().map(Some),
            _ => self.process.wait(Some(own)),
        }
    }

    /// Ends the command and everything it started, now.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The log of a kernel of its own so far, shortened in the middle if it is long; `None` on the
    /// host, whose log belongs to everyone.
    #[must_use]
    pub fn kernel_log(&self) -> Option<String> {
        self.process.kernel_log_from(0)
    }

    /// [`Self::kernel_log`] behind its first `from` bytes.
    #[must_use]
    pub fn kernel_log_from(&self, from: u64) -> Option<String> {
        self.process.kernel_log_from(from)
    }

    /// How many bytes a kernel of its own has logged so far; the log itself grows with every case, and is not copied for that.
    #[must_use]
    pub fn kernel_logged(&self) -> u64 {
        self.process.kernel_logged()
    }

    fn last_moment(&self) -> Option<Instant> {
        self.deadline.map(|deadline| self.started + deadline)
    }
}

/// Open files that a kernel's process, its streams and the report may take; or a worker with its devices and what cases hold,
/// which 192 were enough for.
const OPEN_FILES: u64 = 256;

/// Says in time what would else be a failure in the middle of something; `who` needs the files.
pub(crate) fn check_open_files(who: &str) -> Result<(), Error> {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < OPEN_FILES => Err(Error::Refused(format!(
            "the limit of open files is {limit}, and {who} needs {OPEN_FILES}: run `ulimit -n 1024` first"
        ))),
        _ => Ok(()),
    }
}

/// What an implementation of [`Kernel`] keeps of a command that runs.
pub(crate) trait Process: Send {
    fn wait(&mut self, until: Option<Instant>) -> Result<Option<Exit>, Error>;
    fn kill(&mut self);
    fn kernel_log_from(&self, from: u64) -> Option<String>;
    fn kernel_logged(&self) -> u64;
}

/// Why a command did not start or could not be waited for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there or cannot be executed.
    #[error("cannot start {program:?} in the {kernel}: {why}")]
    Program {
        /// The program as given.
        program: OsString,
        /// `sandbox` or `host`.
        kernel: &'static str,
        /// The system's answer, with a hint where there is one.
        why: String,
        /// The exit code that a shell gives: 127 for not found, 126 for not executable.
        code: i32,
    },
    /// The kernel was started but never got as far as the command.
    #[error("the kernel {kernel:?} did not start the command: {why}\n{log}")]
    Boot {
        /// The kernel's file.
        kernel: PathBuf,
        /// What happened instead.
        why: String,
        /// The last lines of the kernel log.
        log: String,
    },
    /// An option or a limit of this machine stands in the way.
    #[error("{0}")]
    Refused(String),
    /// The system refused something that should work.
    #[error("{doing} failed: {source}")]
    System {
        /// What was being done, with its object.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: what was being done when the system refused.
    pub fn system<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source: source.into() }
    }
}
