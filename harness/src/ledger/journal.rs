//! Which calls did a case make that give or take files and buffers?
//!
//! Breadcrumbs for a finding that comes later: each has the call, what it was about, and the lowest number that was
//! free afterwards. Numbers are not used again during a case, so the call that opened a file is the first one after
//! which the lowest free number lies above that file's.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::RawFd;

use super::{OPEN, canaries, lock};

/// So many steps are kept; later ones are counted.
const MOST: usize = 4096;

/// What opens no file and closes none, whatever a driver does there: behind it there is nothing to look for.
const OPENS_NONE: [&str; 2] = ["DRM_IOCTL_PRIME_FD_TO_HANDLE", "DRM_IOCTL_MODE_ADDFB2"];

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// By its own name: `vkAllocateMemory (import)`.
    op: &'static str,
    /// The dma-buf that it was about.
    inode: Option<u64>,
    /// What else there is to say of it: `135168 B`.
    about: String,
    /// The lowest number that was free afterwards, if a file can have been opened.
    free: Option<RawFd>,
}

/// Ioctls by which the harness itself makes a buffer.
const MADE_BY_US: [&str; 2] = ["UDMABUF_CREATE", "DMA_HEAP_IOCTL_ALLOC"];

/// A call that is likely to have left a file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blamed {
    /// Its name.
    pub(crate) op: &'static str,
    /// How often it was made.
    pub(crate) calls: usize,
    /// Whether it is the one that handed the buffer out.
    pub(crate) is_first: bool,
}

/// The calls of a case, in their order.
#[derive(Default)]
pub(super) struct Journal {
    steps: Vec<Step>,
    more: usize,
    /// Numbers that were closed and may be another file's by now, each with the number of calls before that.
    closed: BTreeMap<RawFd, usize>,
}

/// Leaves a breadcrumb: `op` was called, about the dma-buf of `inode` if it was about one.
pub fn step(op: &'static str, inode: Option<u64>, about: impl fmt::Display) {
    if !OPEN.load(std::sync::atomic::Ordering::Relaxed) {
        return;
    }
    if let Some(book) = lock().as_mut() {
        let canaries = book.canaries.as_ref().ok().filter(|_| !OPENS_NONE.contains(&op));
        let free = canaries.and_then(canaries::Canaries::lowest_free);
        book.journal.add(Step { op, inode, about: about.to_string(), free });
    }
}

impl Journal {
    pub(super) fn clear(&mut self) {
        self.steps.clear();
        self.more = 0;
        self.closed.clear();
    }

    fn add(&mut self, step: Step) {
        if self.steps.len() < MOST {
            self.steps.push(step);
        } else {
            self.more += 1;
        }
    }

    /// Whether a call's name begins with `op`.
    pub(super) fn used(&self, op: &str) -> bool {
        self.steps.iter().any(|step| step.op.starts_with(op))
    }

    /// Whether a call was about the dma-buf of `inode`.
    pub(super) fn knows(&self, inode: u64) -> bool {
        self.steps.iter().any(|step| step.inode == Some(inode))
    }

    /// `number` was closed, with no canary in its place: who opens a file next may get it.
    pub(super) fn closed(&mut self, number: RawFd) {
        self.closed.insert(number, self.steps.len());
    }

    /// Which call opened `number`, as far as lowest free numbers tell.
    fn opened_at(&self, number: RawFd) -> Option<usize> {
        // Up to then it was free, or another file's.
        let free = self.steps.iter().rposition(|step| step.free == Some(number)).map_or(0, |at| at + 1);
        let from = self.closed.get(&number).map_or(free, |closed| free.max(*closed));
        let at = self.steps.get(from..)?.iter().position(|step| step.free.is_some_and(|free| free > number))?;
        Some(from + at)
    }

    /// The call during which `number` was opened, as far as lowest free numbers tell.
    pub(super) fn opened(&self, number: RawFd) -> Option<String> {
        let at = self.opened_at(number)?;
        let before = at.checked_sub(1).map_or_else(String::new, |before| format!(", after {}", self.told(before)));
        Some(format!("{}{before}", self.told(at)))
    }

    /// The call during which `number`, which was open before the case, was closed, as far as lowest free numbers tell.
    pub(super) fn freed(&self, number: RawFd) -> Option<String> {
        let at = self.steps.iter().position(|step| step.free == Some(number))?;
        Some(self.told(at))
    }

    /// How many calls there were.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The call that is likely to have left fd `number` of the dma-buf `inode` open: the one during which it was opened, if
    /// that was about this buffer, else the one that handed the buffer out, or the last that took it.
    pub(super) fn blamed(&self, number: RawFd, inode: u64, since: usize) -> Option<Blamed> {
        // An ioctl of ours that makes a buffer makes one fd, which is ours.
        let by_others = |step: &&Step| step.inode == Some(inode) && !MADE_BY_US.contains(&step.op);
        let about = || self.steps.iter().filter(by_others);
        let opened = self.opened_at(number).map(|at| &self.steps[at]).filter(by_others);
        let maker = self.steps.iter().find(|step| step.inode == Some(inode)).filter(by_others);
        let op = opened.or(maker).or_else(|| about().next_back())?.op;
        let calls = self.steps.iter().skip(since).filter(|step| step.op == op).count();
        Some(Blamed { op, calls, is_first: maker.is_some_and(|maker| maker.op == op) })
    }

    /// The first and the last call that were about the dma-buf of `inode`.
    pub(super) fn ends(&self, inode: u64) -> Option<(String, String)> {
        let of = |step: &Step| step.inode == Some(inode);
        Some((self.told(self.steps.iter().position(of)?), self.told(self.steps.iter().rposition(of)?)))
    }

    /// The last call of which `words` were said last.
    pub(super) fn about(&self, words: &str) -> Option<String> {
        let at = self.steps.iter().rposition(|step| step.about.ends_with(words))?;
        Some(self.told(at))
    }

    /// The last call.
    pub(super) fn last(&self) -> Option<String> {
        self.steps.len().checked_sub(1).map(|at| self.told(at))
    }

    /// The last calls, a line for each.
    pub(super) fn tail(&self) -> Option<String> {
        const LINES: usize = 8;
        let from = self.steps.len().saturating_sub(LINES);
        let lines: Vec<String> = (from..self.steps.len()).map(|at| self.told(at)).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn told(&self, at: usize) -> String {
        let Step { op, inode, about, .. } = &self.steps[at];
        let buffer = inode.map_or_else(String::new, |inode| format!(", dma-buf {inode}"));
        let comma = if about.is_empty() { "" } else { ", " };
        let of = self.steps.len() + self.more;
        format!("call {} of {of}: {op}{buffer}{comma}{about}", at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_was_opened_by_the_first_call_after_which_its_number_is_taken() {
        let step = |op, inode, free| Step { op, inode, about: String::new(), free: Some(free) };
        let mut journal = Journal::default();
        journal.add(step("UDMABUF_CREATE", Some(5), 12));
        journal.add(step("vkAllocateMemory (import)", Some(5), 14));
        journal.add(step("vkFreeMemory", None, 14));
        let at = |number| journal.opened(number).unwrap_or_default();
        assert!(at(11).starts_with("call 1 of 3: UDMABUF_CREATE"), "{}", at(11));
        let import = "call 2 of 3: vkAllocateMemory (import), dma-buf 5, after call 1 of 3: UDMABUF_CREATE, dma-buf 5";
        assert_eq!((at(12), at(13)), (import.to_owned(), import.to_owned()));
        assert_eq!(journal.opened(14), None);
        assert!(journal.freed(12).is_some_and(|call| call.starts_with("call 1 of 3")) && journal.freed(9).is_none());
        let import = Blamed { op: "vkAllocateMemory (import)", calls: 1, is_first: false };
        assert_eq!((journal.blamed(11, 5, 0), journal.blamed(12, 5, 0)), (Some(import.clone()), Some(import)));
        assert_eq!(journal.blamed(12, 6, 0), None);
        assert!(journal.knows(5) && !journal.knows(6));
        assert_eq!(journal.tail().map(|tail| tail.lines().count()), Some(3));
    }

    #[test]
    fn a_number_that_was_closed_in_between_was_opened_by_the_call_after_that() {
        let step = |op, free| Step { op, inode: None, about: String::new(), free: Some(free) };
        let opened = |journal: &Journal, number| journal.opened(number).unwrap_or_default();
        let mut journal = Journal::default();
        journal.add(step("vkGetMemoryFdKHR", 13));
        // A duplicate of ours, which leaves no canary.
        journal.closed(12);
        journal.add(step("vkAllocateMemory (import)", 13));
        assert!(opened(&journal, 12).starts_with("call 2 of 2: vkAllocateMemory"), "{}", opened(&journal, 12));
        assert!(opened(&journal, 11).starts_with("call 1 of 2: vkGetMemoryFdKHR"), "{}", opened(&journal, 11));
        // Nobody said that 14 was closed, but it was seen to be free.
        for (op, free) in [("eglCreateImage", 15), ("eglDestroyImage", 14), ("eglCreateImage again", 15)] {
            journal.add(step(op, free));
        }
        assert!(opened(&journal, 14).starts_with("call 5 of 5: eglCreateImage again"), "{}", opened(&journal, 14));
    }
}
