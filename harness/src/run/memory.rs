//! How much memory did the processes of a run need at their peak, and does it grow with the number of cases?
//!
//! The kernel keeps the highest resident set of each process; it is read when a case has ended, and kept at certain
//! numbers of cases, so that one report tells what a longer run would need.

use crate::procfs;
use crate::report::Peak;

/// After so many cases the peaks so far are kept, beside those at the end.
const KEPT_AFTER: [usize; 3] = [100, 1_000, 10_000];

/// The highest resident set of this process so far, in KiB; `None` where the kernel does not tell.
pub fn peak_kib() -> Option<u64> {
    parse(&procfs::text("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The peaks of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Peaks {
    cases: usize,
    worker_kib: Option<u64>,
    kept: Vec<Peak>,
}

impl Peaks {
    /// A case has ended, in a worker whose peak that is. `own` tells that of this process, and is asked when it is kept.
    pub fn ended(&mut self, worker_kib: Option<u64>, own: impl FnOnce() -> Option<u64>) {
        self.cases += 1;
        self.worker_kib = self.worker_kib.max(worker_kib);
        if KEPT_AFTER.contains(&self.cases) {
            self.kept.push(self.now(own()));
        }
    }

    /// Those that were kept, and that of now.
    pub fn all(mut self, own: Option<u64>) -> Vec<Peak> {
        let last = self.now(own);
        self.kept.retain(|peak| peak.cases < last.cases);
        self.kept.push(last);
        self.kept
    }

    fn now(&self, supervisor_kib: Option<u64>) -> Peak {
        Peak { cases: self.cases, supervisor_kib, worker_kib: self.worker_kib }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read() {
        assert_eq!(parse("Name:\thandover\nVmPeak:\t  9 kB\nVmHWM:\t   12345 kB\nVmRSS:\t 7 kB\n"), Some(12_345));
        assert_eq!(parse("Name:\thandover\n"), None);
        assert!(peak_kib().is_some_and(|kib| kib > 100));
    }

    #[test]
    fn peaks_are_kept_at_round_numbers_and_at_the_end() {
        let mut peaks = Peaks::default();
        for case in 1..=1_000 {
            peaks.ended(Some(5_000 - case), || Some(case));
        }
        let peak = |cases, own| Peak { cases, supervisor_kib: Some(own), worker_kib: Some(4_999) };
        assert_eq!(peaks.clone().all(Some(1_001)), [peak(100, 100), peak(1_000, 1_001)]);
        peaks.ended(None, || None);
        assert_eq!(peaks.all(Some(1_002)), [peak(100, 100), peak(1_000, 1_000), peak(1_001, 1_002)]);
    }
}
