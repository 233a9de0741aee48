//! On which processor does a kernel run?
//!
//! A user-mode kernel and the process that holds its user space take turns, several times for each
//! page fault, and never run at once. On two processors each turn wakes an idle one, which in a
//! virtual machine costs more than the fault itself; on one processor a worker is two to three
//! times as fast. So each kernel has a processor to itself, for as long as there are enough.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A processor that no other sandbox of this machine runs its kernel on, until this is dropped.
#[derive(Debug)]
pub(super) struct Processor {
    number: usize,
    /// A name in the abstract namespace has one owner, and goes with it however it ends.
    _claim: UnixListener,
}

impl Processor {
    /// The first free one of those this process may use, or none if all are taken or can't be told.
    pub(super) fn claim() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let numbers: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number)).collect();
        // Sandboxes that can't see each other's names, in containers, should not all begin at one end.
        let first = std::process::id() as usize % numbers.len().max(1);
        numbers[first..].iter().chain(&numbers[..first]).find_map(|number| Self::take(*number, "processor"))
    }

    fn take(number: usize, kind: &str) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("handover sandbox {kind} {number}")).ok()?;
        let claim = UnixListener::bind_addr(&name).ok()?;
        Some(Self { number, _claim: claim })
    }

    /// What makes a process stay on it: one system call, to be made in that process.
    pub(super) fn hold(&self) -> impl FnMut() -> io::Result<()> + Send + Sync + use<> {
        let mut only = CpuSet::new();
        only.set(self.number);
        move || Ok(sched_setaffinity(None, &only)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_processor_is_claimed_once_and_free_again_afterwards() {
        let claim = Processor::take(7, "test").expect("nobody else uses this name");
        assert!(Processor::take(7, "test").is_none());
        assert!(Processor::take(8, "test").is_some());
        drop(claim);
        assert!(Processor::take(7, "test").is_some());
    }

    #[test]
    fn whoever_holds_it_runs_there() {
        let claimed = Processor::take(9, "test").expect("nobody else uses this name");
        let allowed = sched_getaffinity(None).expect("Linux tells");
        let number = (0..CpuSet::MAX_CPU).rfind(|number| allowed.is_set(*number)).expect("this thread runs");
        let processor = Processor { number, ..claimed };
        std::thread::spawn(move || {
            processor.hold()().expect("it is allowed");
            let now = sched_getaffinity(None).expect("Linux tells");
            assert!(now.is_set(number) && now.count() == 1);
        })
        .join()
        .expect("no panic");
    }
}
