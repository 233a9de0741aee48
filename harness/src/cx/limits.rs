//! How a step behaves when there is hardly anything left: file descriptors.

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Cx;
use crate::case::Trouble;
use crate::error::{Error, Result};
use crate::ledger;

impl Cx {
    /// Does `work` while this process can open `left` more files and no others.
    ///
    /// # Errors
    /// A skip where procfs is not mounted; the limit can't be set.
    pub fn with_files_left<R>(&mut self, left: usize, work: impl FnOnce(&mut Self) -> R) -> Result<R, Trouble> {
        let limited = Limited::to(|open| limit(open, left))?;
        let done = work(self);
        drop(limited);
        Ok(done)
    }

    /// Does `work` while the kernel refuses to look at any file (`EINVAL` of `poll`), since they are more than this process may have
    /// open.
    ///
    /// # Errors
    /// As [`Self::with_files_left`].
    pub fn with_poll_refused<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> Result<R, Trouble> {
        let limited = Limited::to(|_| 0)?;
        let done = work(self);
        drop(limited);
        Ok(done)
    }
}

/// This process can open few more files, until it is dropped: also by a panic, after which the worker goes on.
struct Limited {
    before: Rlimit,
}

impl Limited {
    /// To what `limit` makes of the numbers of open files.
    fn to(limit: impl FnOnce(&BTreeSet<RawFd>) -> u64) -> Result<Self, Trouble> {
        // They would take numbers that are counted here.
        ledger::suspend_canaries(true);
        let limited = Self { before: getrlimit(Resource::Nofile) };
        let current = Some(limit(&ledger::numbers()?));
        set(Rlimit { current, ..limited.before })?;
        Ok(limited)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Err(error) = set(self.before) {
            tracing::error!(%error, "this process stays short of files");
        }
        ledger::suspend_canaries(false);
    }
}

fn set(limit: Rlimit) -> Result<()> {
    setrlimit(Resource::Nofile, limit).map_err(|errno| Error::new("setrlimit(RLIMIT_NOFILE)", "this process", errno))
}

/// The lowest number that has `left` free ones below it.
fn limit(open: &BTreeSet<RawFd>, left: usize) -> u64 {
    let mut free = (0..).filter(|number| !open.contains(number));
    free.nth(left).map_or(u64::MAX, |number| number as u64)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn so_many_numbers_are_free_below_the_limit() {
        let open = BTreeSet::from([0, 1, 2, 5, 6, 9]);
        for (left, most) in [(0, 3), (1, 4), (2, 7), (4, 10), (5, 11)] {
            assert_eq!(limit(&open, left), most);
            assert_eq!((0..most).filter(|number| !open.contains(&(*number as RawFd))).count(), left);
        }
    }

    #[test]
    fn a_process_that_may_have_no_file_open_may_look_at_none() {
        let file = std::fs::File::open("/dev/null").expect("it is everywhere");
        let looked = || {
            let mut looked = [rustix::event::PollFd::new(&file, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut looked, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))
        };
        let refused = Cx::default().with_poll_refused(|_| looked()).expect("procfs");
        assert_eq!(refused, Err(rustix::io::Errno::INVAL));
        assert!(looked().is_ok());
    }

    #[test]
    fn a_panic_leaves_no_limit() {
        let before = getrlimit(Resource::Nofile);
        let done = std::panic::catch_unwind(|| Cx::default().with_files_left(500, |_| panic!("in the body")).is_ok());
        assert!(done.is_err());
        assert_eq!(getrlimit(Resource::Nofile), before);
    }

    #[test]
    fn a_list_of_files_that_stays_open_takes_a_number() {
        let list = std::fs::File::open("/proc/self/fd").expect("procfs");
        assert!(ledger::numbers().expect("procfs").contains(&list.as_raw_fd()));
    }
}
