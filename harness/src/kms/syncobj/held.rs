//! Which handles of syncobjs does the kernel have for an open card, and which of them did we make?

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::finding::Finding;
use crate::kms::card::Card;
use crate::kms::taken::Highest;
use crate::ledger;

/// Handles of syncobjs of a card's file that are ours.
#[derive(Debug, Default)]
pub(in crate::kms) struct Held {
    ours: Mutex<BTreeSet<u32>>,
    highest: Highest,
    /// What was told of already, which is no finding of later cases.
    told: Mutex<Strays>,
    /// Whether one was made since [`Card::syncobj_imbalance`] was asked.
    touched: AtomicBool,
}

/// How what the kernel has differs from what is ours, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Strays {
    more: BTreeSet<u32>,
    gone: BTreeSet<u32>,
}

impl Strays {
    fn of(kernels: &BTreeSet<u32>, ours: &BTreeSet<u32>) -> Self {
        Self { more: kernels - ours, gone: ours - kernels }
    }

    /// What of it is not in `told`, if something is.
    fn news(&self, told: &Self) -> Option<Self> {
        let news = Self { more: &self.more - &told.more, gone: &self.gone - &told.gone };
        (news != Self::default()).then_some(news)
    }
}

impl Held {
    fn ours(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::kms) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, handle: u32) {
        self.touched.store(true, Ordering::Relaxed);
        self.highest.note(handle);
        self.ours().insert(handle);
    }

    pub(super) fn remove(&self, handle: u32) {
        self.ours().remove(&handle);
    }
}

/// `syncobj 1, 2`, or `none`.
fn listed(numbers: &BTreeSet<u32>) -> String {
    let each: Vec<String> = numbers.iter().map(u32::to_string).collect();
    if each.is_empty() { "none".to_owned() } else { format!("syncobj {}", each.join(", ")) }
}

impl Card {
    /// The handles of syncobjs that the kernel has for this file; none if none of ours was made since it was asked last.
    pub(in crate::kms) fn touched_syncobjs(&self) -> Result<BTreeSet<u32>> {
        if self.syncobjs.is_touched() { self.kernels_syncobjs() } else { Ok(BTreeSet::new()) }
    }

    fn kernels_syncobjs(&self) -> Result<BTreeSet<u32>> {
        self.syncobjs.highest.taken(|| self.new_syncobj(0), |handle| self.destroy_syncobj(handle, 0))
    }

    /// Whether the kernel has other handles of syncobjs of this file than we have, and that was not told before. Asked only if one
    /// was made since it was asked last.
    pub(in crate::kms) fn syncobj_imbalance(&self) -> Option<Finding> {
        if !self.syncobjs.touched.swap(false, Ordering::Relaxed) {
            return None;
        }
        let kernels = match self.kernels_syncobjs() {
            Ok(kernels) => kernels,
            Err(error) => return Some(Finding::from_error(&error)),
        };
        let ours = self.syncobjs.ours().clone();
        let strays = Strays::of(&kernels, &ours);
        let mut told = self.syncobjs.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = strays.news(&told);
        *told = strays;
        drop(told);
        let Strays { more, gone } = news?;
        let which = [(&more, "was not destroyed"), (&gone, "was destroyed by somebody else")];
        let which = which.iter().filter(|(numbers, _)| !numbers.is_empty());
        let which: Vec<String> = which.map(|(numbers, what)| format!("{} {what}", listed(numbers))).collect();
        let like = match gone.is_empty() {
            true => "DRM_IOCTL_SYNCOBJ_DESTROY, which leaves the handle, or a second handle that nobody was told of",
            false => "a handle that is destroyed with another one",
        };
        let finding =
            Finding::new(format!("{self} holds other syncobjs after the case than were made and not destroyed"))
                .row("target", listed(&ours))
                .row("actual", listed(&kernels))
                .row("which", which.join("\n"))
                .row("like", like);
        Some(finding.row("node", self.path.display().to_string()).maybe("calls", ledger::last_calls()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strays(kernels: &[u32], ours: &[u32]) -> Strays {
        let set = |of: &[u32]| of.iter().copied().collect();
        Strays::of(&set(kernels), &set(ours))
    }

    #[test]
    fn a_handle_is_told_of_once_and_by_its_number() {
        let first = strays(&[1, 3], &[1]);
        assert_eq!(first.news(&Strays::default()), Some(first.clone()));
        assert_eq!(first.news(&first), None);
        // One that came as another went is as many as before.
        let swapped = strays(&[2], &[1]);
        assert_eq!((listed(&swapped.more), listed(&swapped.gone)), ("syncobj 2".to_owned(), "syncobj 1".to_owned()));
        assert_eq!(strays(&[1, 2, 3], &[1]).news(&first), Some(strays(&[2], &[])));
        assert_eq!(listed(&BTreeSet::new()), "none");
    }
}
