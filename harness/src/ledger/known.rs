//! Which file does each number stand for that is open beyond a case, and does it still?
//!
//! Who closes a number that is not his makes somebody else lose a file; and if another file is opened then, it has that number.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;

use super::files::{self, Node};

/// So many numbers are held against their files after each case, in turn: each is a system call. After a case with a finding all
/// of them are.
const IN_TURN: usize = 8;

/// A file that is open beyond a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stays {
    node: Node,
    /// In the field's words.
    pub(super) text: String,
}

/// Files that are open beyond a case, by number.
#[derive(Debug, Default)]
pub(super) struct Known {
    files: BTreeMap<RawFd, Stays>,
    /// Whose turn it is.
    next: RawFd,
}

impl Known {
    /// Learns what is new in `numbers`, and forgets all others.
    pub(super) fn learn(&mut self, numbers: &BTreeSet<RawFd>) {
        self.files.retain(|number, _| numbers.contains(number));
        for &number in numbers {
            if !self.files.contains_key(&number)
                && let (Some(node), Some(what)) = (files::node(number), files::describe(number))
            {
                self.files.insert(number, Stays { node, text: what.text });
            }
        }
    }

    /// What `number` is in words, if it stands for `node` as it did.
    pub(super) fn text(&self, number: RawFd, node: Node) -> Option<&str> {
        self.files.get(&number).filter(|stays| stays.node == node).map(|stays| stays.text.as_str())
    }

    /// Takes `number` off, which was closed by whose it is, or by somebody else, who is found.
    pub(super) fn forget(&mut self, number: RawFd) -> Option<Stays> {
        self.files.remove(&number)
    }

    /// Takes off those that are not open any more.
    pub(super) fn lost(&mut self, open: &BTreeSet<RawFd>) -> Vec<(RawFd, Stays)> {
        let lost: Vec<RawFd> = self.files.keys().copied().filter(|number| !open.contains(number)).collect();
        lost.into_iter().filter_map(|number| Some((number, self.files.remove(&number)?))).collect()
    }

    /// Takes off those that stand for another file by now: of some, in turn, or of all.
    pub(super) fn changed(&mut self, all: bool) -> Vec<(RawFd, Stays)> {
        let count = if all { self.files.len() } else { IN_TURN };
        let turn: Vec<RawFd> =
            self.files.range(self.next..).chain(self.files.range(..self.next)).take(count).map(|(at, _)| *at).collect();
        self.next = turn.last().map_or(0, |last| last + 1);
        let changed = |number: &RawFd| {
            let known = self.files.get(number)?;
            let now = files::node(*number)?;
            if now == known.node { None } else { Some(*number) }
        };
        let changed: Vec<RawFd> = turn.iter().filter_map(changed).collect();
        changed.into_iter().filter_map(|number| Some((number, self.files.remove(&number)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::io::{DupFlags, dup3};

    use super::*;

    fn memfd(name: &str) -> OwnedFd {
        memfd_create(name, MemfdFlags::CLOEXEC).expect("memfd")
    }

    #[test]
    fn a_number_that_is_closed_is_lost_and_one_that_is_opened_again_has_changed() {
        let mut files: Vec<OwnedFd> = (0..40).map(|_| memfd("device")).collect();
        let numbers: BTreeSet<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let mut known = Known::default();
        known.learn(&numbers);
        assert!(known.lost(&numbers).is_empty() && known.changed(true).is_empty());

        dup3(memfd("stranger"), &mut files[7], DupFlags::CLOEXEC).expect("dup3");
        // In turn it is found, too, and once.
        let found: Vec<(RawFd, Stays)> = (0..6).flat_map(|_| known.changed(false)).collect();
        let number = files[7].as_raw_fd();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.text.as_str()), (number, "memfd device (deleted)"));

        let open: BTreeSet<RawFd> = numbers.iter().copied().filter(|other| *other != files[9].as_raw_fd()).collect();
        let lost = known.lost(&open);
        assert_eq!(lost.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [files[9].as_raw_fd()]);
        known.learn(&numbers);
        assert!(known.changed(true).is_empty(), "what is there by now is learned");
        assert!(known.forget(number).is_some() && known.forget(number).is_none());
    }
}
