//! How does a process end together with everything it started?
//!
//! It leads a process group of its own, and a watchdog joins it there: a shell that does nothing but
//! wait for the end of a pipe whose other end only this process holds. However this process ends
//! (an error, Ctrl-C, SIGKILL), that pipe closes and the watchdog kills the group. Processes that
//! leave the group on purpose (`setsid`) are out of reach. A user-mode kernel tries to, but the
//! leader of a group cannot.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How long a process that was killed may take to end.
const DYING: Duration = Duration::from_secs(5);

/// A child process, its descendants in the same group, and their watchdog. Ends them when dropped.
pub(crate) struct Group {
    pub(crate) child: Child,
    exited: OwnedFd,
    watchdog: Option<Child>,
    killed: bool,
}

impl Group {
    /// Starts `command` as the leader of a new process group. Its streams are as `command` says.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let exited = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(exited) => exited,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.into());
            }
        };
        let mut group = Self { child, exited, watchdog: None, killed: false };
        let watchdog = Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -KILL 0"])
            .process_group(group.leader().as_raw_nonzero().get())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        group.watchdog = Some(watchdog);
        Ok(group)
    }

    fn leader(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the child, until `until` at the latest. `None`: it still runs.
    pub(crate) fn wait(&mut self, until: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        if wait_readable(&[&self.exited], until)?[0] {
            return self.child.wait().map(Some);
        }
        Ok(None)
    }

    /// Readable once the child has ended.
    pub(crate) fn exited(&self) -> &OwnedFd {
        &self.exited
    }

    /// Ends the child and all its descendants in the group.
    pub(crate) fn kill(&mut self) {
        if self.killed {
            return;
        }
        self.killed = true;
        // The child may have been waited for, but not the watchdog: the group still has a member,
        // and its number cannot belong to anybody else.
        let _ = kill_process_group(self.leader(), Signal::KILL);
        // A process that hangs in a driver does not even end by that: it is left behind.
        let until = Instant::now() + DYING;
        if wait_readable(&[&self.exited], Some(until)).is_ok_and(|exited| exited[0]) {
            let _ = self.child.wait();
        }
        if let Some(watchdog) = &mut self.watchdog {
            let _ = watchdog.wait();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Which of `fds` have something to read (or have ended), waiting until `until` for the first.
pub(crate) fn wait_readable(fds: &[&OwnedFd], until: Option<Instant>) -> io::Result<Vec<bool>> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
        match poll(&mut polled, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
        }
    }
}
