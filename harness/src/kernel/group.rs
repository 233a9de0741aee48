//! How does a process end together with everything it started?
//!
//! It runs in a process group of its own, beside a watchdog: a shell that does nothing but wait for
//! the end of a pipe whose other end only this process holds. However this process ends (an error,
//! Ctrl-C, SIGKILL), that pipe closes and the watchdog kills the group. Processes that leave the
//! group on purpose (`setsid`) are out of reach; a user-mode kernel and its helpers do not.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// A child process, its descendants in the same group, and their watchdog. Ends them when dropped.
pub(crate) struct Group {
    pub(crate) child: Child,
    exited: OwnedFd,
    watchdog: Child,
    leader: Pid,
    killed: bool,
}

impl Group {
    /// Starts `command` in a new process group. Its streams are as `command` says.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut watchdog = Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -KILL 0"])
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let leader = Pid::from_child(&watchdog);
        let spawned = command.process_group(leader.as_raw_nonzero().get()).spawn().and_then(|child| {
            let exited = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            Ok((child, exited))
        });
        match spawned {
            Ok((child, exited)) => Ok(Self { child, exited, watchdog, leader, killed: false }),
            Err(error) => {
                // The group still has a member, so its number cannot belong to anybody else.
                let _ = kill_process_group(leader, Signal::KILL);
                let _ = watchdog.wait();
                Err(error)
            }
        }
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
        // The watchdog is not waited for before this line, so the number is still the group's own.
        let _ = kill_process_group(self.leader, Signal::KILL);
        let _ = self.child.wait();
        let _ = self.watchdog.wait();
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
