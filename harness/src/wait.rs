//! Waits that end: one fd, one deadline.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::restart;

/// Whether `fd` became readable (a sync file: signalled; a socket: has something, or its end) before `deadline` passed.
///
/// # Errors
/// Those of poll; `EBADF` if no file is open there: poll says so in its answer, and that is not to be taken for a signal.
pub(crate) fn readable(fd: impl AsFd, deadline: Instant) -> Result<bool, Errno> {
    let came = events(fd, PollFlags::IN, deadline)?;
    if came.contains(PollFlags::NVAL) { Err(Errno::BADF) } else { Ok(!came.is_empty()) }
}

/// Which of `wanted` came for `fd` before `deadline` passed, with errors; nothing if none did. `EINTR` restarts.
pub(crate) fn events(fd: impl AsFd, wanted: PollFlags, deadline: Instant) -> Result<PollFlags, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&fd, wanted)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) if Instant::now() < deadline => {}
            Ok(0) => return Ok(PollFlags::empty()),
            Ok(_) => return Ok(fds[0].revents()),
            Err(Errno::INTR) => restart::count(),
            Err(errno) => return Err(errno),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    // Deadlines are seconds, far below what either field can hold.
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
