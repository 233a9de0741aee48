//! How a step behaves when there is hardly anything left: file descriptors.

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Cx;
use crate::case::Trouble;
use crate::error::Error;
use crate::ledger;

impl Cx {
    /// Does `work` while this process can open `left` more files and no others.
    ///
    /// # Errors
    /// A skip where procfs is not mounted; the limit can't be set.
    pub fn with_files_left<R>(&mut self, left: usize, work: impl FnOnce(&mut Self) -> R) -> Result<R, Trouble> {
        // They would take numbers that are counted here.
        ledger::without_canaries(|| self.limited(left, work))
    }

    fn limited<R>(&mut self, left: usize, work: impl FnOnce(&mut Self) -> R) -> Result<R, Trouble> {
        let open = ledger::numbers()?;
        let limit = limit(&open, left);
        let before = getrlimit(Resource::Nofile);
        let set = |limit: Rlimit| {
            setrlimit(Resource::Nofile, limit)
                .map_err(|errno| Error::new("setrlimit(RLIMIT_NOFILE)", "this process", errno))
        };
        set(Rlimit { current: Some(limit), maximum: before.maximum })?;
        let done = work(self);
        set(before)?;
        Ok(done)
    }
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
    fn a_list_of_files_that_stays_open_takes_a_number() {
        let list = std::fs::File::open("/proc/self/fd").expect("procfs");
        assert!(ledger::numbers().expect("procfs").contains(&list.as_raw_fd()));
    }
}
