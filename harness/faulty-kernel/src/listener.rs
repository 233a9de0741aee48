//! The end at which stopped system calls arrive: install a filter, take calls, answer them.
//!
//! Source: seccomp(2), seccomp_unotify(2).
#![expect(unsafe_code, reason = "seccomp and the ioctls of its listener are in no safe crate")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::call::{Answer, Call};
use crate::filter::{self, Filter};

/// Where the calls that a filter stops arrive. When it is closed, they fail with ENOSYS.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// Held by the thread that waits for a call, since the kernel's wait for one knows no deadline and no end.
    turn: Mutex<()>,
}

impl Listener {
    /// Puts `filter` on this thread, and on what it starts from now on. There is no way back.
    ///
    /// Until somebody [serves](Self::serve) the listener from another thread or process, what the filter names hangs.
    ///
    /// # Errors
    /// The kernel has no user notification that a signal does not break off (5.19 and later with `CONFIG_SECCOMP_FILTER`
    /// have), or a filter with a listener is there already.
    pub fn install(filter: &Filter) -> io::Result<Self> {
        let unknown = || io::Error::other("the numbers of this processor's system calls are not known");
        let program = filter.program(filter::ARCHITECTURE.ok_or_else(unknown)?);
        let mut program: Vec<libc::sock_filter> =
            program.into_iter().map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
        let length = program.len().try_into().map_err(io::Error::other)?;
        let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
        // Without it only root may put a filter on itself.
        rustix::thread::set_no_new_privs(true)?;
        // Signals must not have a call made twice.
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        let (set, program) = (libc::SECCOMP_SET_MODE_FILTER, &raw const program);
        // SAFETY: the program lives until the call returns; the kernel copies it, and checks it.
        let fd = unsafe { libc::syscall(libc::SYS_seccomp, set, flags, program) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so this is an fd that the kernel just made and that nobody else owns.
        Ok(Self::on(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// On the fd of a listener that another process installed.
    pub(crate) fn on(fd: OwnedFd) -> Self {
        Self { fd, turn: Mutex::new(()) }
    }

    /// Answers calls by `answer`, one after another, until every thread that has the filter is gone. Several threads
    /// may serve one listener, and must where an answer waits for something that another call brings about.
    ///
    /// A call for which `answer` fails goes on as it came, or fails where it has been made already; what failed goes to `failed`.
    ///
    /// # Errors
    /// The kernel gives no calls.
    pub fn serve(
        &self,
        answer: impl Fn(&Call<'_>) -> io::Result<Answer>,
        failed: impl Fn(&Call<'_>, &io::Error),
    ) -> io::Result<()> {
        while let Some(notice) = self.next()? {
            let call = Call::new(self, notice.id, notice.pid, notice.data.nr.into(), notice.data.args);
            let answer = answer(&call).unwrap_or_else(|error| {
                failed(&call, &error);
                match call.was_made() {
                    true => Answer::Fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
                    false => Answer::Continue,
                }
            });
            self.send(notice.id, answer)?;
        }
        Ok(())
    }

    /// The next call; `None` when nobody is left to make one.
    fn next(&self) -> io::Result<Option<libc::seccomp_notif>> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if !fds[0].revents().contains(PollFlags::IN) {
                return Ok(None);
            }
            // SAFETY: all its fields are numbers; the kernel wants them zero.
            let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            match self.ask(libc::SECCOMP_IOCTL_NOTIF_RECV, &mut notice) {
                Ok(_) => {
                    drop(turn);
                    return Ok(Some(notice));
                }
                // Who made the call was killed meanwhile, or a signal came to us.
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::INTR)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&self, id: u64, answer: Answer) -> io::Result<()> {
        let (val, error, flags) = match answer {
            Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Return(value) => (value, 0, 0),
            Answer::Fail(errno) => (0, -errno.raw_os_error(), 0),
        };
        let mut response = libc::seccomp_notif_resp { id, val, error, flags };
        match self.ask(libc::SECCOMP_IOCTL_NOTIF_SEND, &mut response) {
            // Who made the call was killed meanwhile.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Gives whoever made the call `id` a new fd, and says its number there.
    pub(crate) fn give(&self, id: u64, fd: BorrowedFd<'_>, close_on_exec: bool) -> io::Result<RawFd> {
        let newfd_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
        let srcfd = fd.as_raw_fd().cast_unsigned();
        let mut added = libc::seccomp_notif_addfd { id, flags: 0, srcfd, newfd: 0, newfd_flags };
        self.ask(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut added)
    }

    fn ask<T>(&self, number: libc::Ioctl, argument: &mut T) -> io::Result<i32> {
        // SAFETY: all callers pass the structure of the number, which lives until the call returns and has no pointers
        // in it.
        let done = unsafe { libc::ioctl(self.fd.as_raw_fd(), number, std::ptr::from_mut(argument)) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_third_call_of_a_thread_fails() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let Ok(listener) = Listener::install(&Filter::calls(&[libc::SYS_openat])) else { return None };
            sender.send(listener).expect("received");
            Some([0; 4].map(|_| File::open("/proc/self/status").map_err(|error| error.raw_os_error())))
        });
        // A kernel without user notification; then there is nothing to test.
        let Ok(listener) = receiver.recv() else { return };
        let count = AtomicU32::new(0);
        let third = |_: &Call<'_>| {
            let nth = count.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(if nth == 3 { Answer::Fail(Errno::NOMEM) } else { Answer::Continue })
        };
        listener.serve(third, |_, _| ()).expect("served");
        let opened = thread.join().expect("ended").expect("installed");
        let failed: Vec<_> = opened.iter().map(|file| file.as_ref().err().copied().flatten()).collect();
        assert_eq!(failed, [None, None, Some(libc::ENOMEM), None]);
    }
}
