//! Which numbers of an open card's handles are taken? The kernel lists neither GEM handles nor syncobjs, but gives a new one the
//! lowest number that is free: the gaps between those that new ones get are taken. Pure.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many are made beyond the highest number that was given to us: one that is taken there, since we had more for a moment than
/// was noted, is in a gap between them.
const BEYOND: usize = 4;

/// More than a file has at once.
const MOST: usize = 1 << 14;

/// The highest number that was given out, since it was looked which are taken.
#[derive(Debug, Default)]
pub(super) struct Highest(AtomicU32);

impl Highest {
    /// `number` was given out.
    pub(super) fn note(&self, number: u32) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }

    /// The numbers that are taken, by what `make` gets, all of which `free` lets go.
    ///
    /// # Errors
    /// The first one of either.
    pub(super) fn taken<E>(
        &self,
        mut make: impl FnMut() -> Result<u32, E>,
        mut free: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<BTreeSet<u32>, E> {
        let highest = self.0.load(Ordering::Relaxed);
        let (mut made, mut failed) = (BTreeSet::new(), None);
        for _ in 0..MOST {
            match make() {
                Ok(number) => _ = made.insert(number),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            if made.iter().rev().take_while(|number| **number > highest).count() == BEYOND {
                break;
            }
        }
        for number in &made {
            if let Err(error) = free(*number) {
                failed.get_or_insert(error);
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let last = made.last().copied().unwrap_or_default();
        let taken: BTreeSet<u32> = (1..last).filter(|number| !made.contains(number)).collect();
        // Unless another thread has been given one meanwhile.
        let now = taken.last().copied().unwrap_or_default();
        let _ = self.0.compare_exchange(highest, now, Ordering::Relaxed, Ordering::Relaxed);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// As the kernel numbers handles.
    #[derive(Default)]
    struct File(RefCell<BTreeSet<u32>>);

    impl File {
        fn make(&self) -> Result<u32, &'static str> {
            let mut live = self.0.borrow_mut();
            let free = (1..).find(|number| !live.contains(number)).ok_or("full")?;
            live.insert(free);
            Ok(free)
        }

        fn free(&self, number: u32) -> Result<(), &'static str> {
            if self.0.borrow_mut().remove(&number) { Ok(()) } else { Err("ENOENT") }
        }

        fn taken(&self, highest: &Highest) -> BTreeSet<u32> {
            highest.taken(|| self.make(), |number| self.free(number)).expect("neither fails")
        }
    }

    #[test]
    fn one_that_is_kept_far_above_the_lowest_that_are_free_is_seen() {
        let (file, highest) = (File::default(), Highest::default());
        let ours: Vec<u32> = (0..40).map(|_| file.make().unwrap()).inspect(|number| highest.note(*number)).collect();
        // Made while all of ours were there, and told to nobody.
        let lost = file.make().unwrap();
        assert_eq!(lost, 41);
        ours.iter().for_each(|number| file.free(*number).unwrap());
        assert_eq!(file.taken(&highest), BTreeSet::from([41]));
        assert_eq!(file.0.borrow().len(), 1, "what was made to look is gone");
        // That look has told up to where there is something.
        assert_eq!(file.taken(&highest), BTreeSet::from([41]));
        file.free(41).unwrap();
        assert_eq!(file.taken(&highest), BTreeSet::new());
        assert_eq!(highest.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_failure_ends_it_with_nothing_left() {
        let (file, highest) = (File::default(), Highest::default());
        highest.note(9);
        let mut left = 6;
        let make = || {
            left -= 1;
            if left == 0 { Err("ENOMEM") } else { file.make() }
        };
        assert_eq!(highest.taken(make, |number| file.free(number)), Err("ENOMEM"));
        assert!(file.0.borrow().is_empty());
        // A driver that gives one number again and again.
        assert_eq!(highest.taken(|| Ok::<_, &str>(3), |_| Ok(())), Ok(BTreeSet::from([1, 2])));
    }
}
