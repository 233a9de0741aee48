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
        let limited = Limited::to(left)?;
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
    fn to(left: usize) -> Result<Self, Trouble> {
        // They would take numbers that are counted here.
        ledger::suspend_canaries(true);
        let limited = Self { before: getrlimit(Resource::Nofile) };
        let current = Some(limit(&ledger::numbers()?, left));
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
