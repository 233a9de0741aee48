//! Which Vulkan objects that the harness made are alive?
//!
//! Objects are destroyed with the value that owns them, so one that is left is a value that is left: it belongs to a
//! cache that says so ([`cached`]), or to nobody.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::is_open;
use crate::compare::counted;
use crate::finding::Finding;

/// The next object's number; 0 is that of an object that nobody counts.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Objects that are alive and were made in a case, by number, with their kind.
static ALIVE: Mutex<BTreeMap<u64, &'static str>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// Whether what is made now is kept.
    static CACHED: Cell<bool> = const { Cell::new(false) };
}

/// What is made in `make` is kept for the next who needs such a thing, by an owner that keeps a bounded number of them.
pub(crate) fn cached<T>(make: impl FnOnce() -> T) -> T {
    /// Puts the flag back, whatever `make` does.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            CACHED.set(self.0);
        }
    }
    let _back = Back(CACHED.replace(true));
    make()
}

/// An object of `kind` was made; returns its number.
pub(crate) fn made(kind: &'static str) -> u64 {
    if !is_open() || CACHED.get() {
        return 0;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner).insert(number, kind);
    number
}

/// The object of this number is gone.
pub(crate) fn gone(number: u64) {
    if number != 0 {
        ALIVE.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// How many objects were made in cases so far.
pub(crate) fn made_so_far() -> u64 {
    NEXT.load(Ordering::Relaxed)
}

/// How many objects of the case are alive.
pub(crate) fn alive() -> u64 {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
}

/// Objects of the case that are left, and forgets them.
pub(super) fn left() -> Option<Finding> {
    let left = std::mem::take(&mut *ALIVE.lock().unwrap_or_else(PoisonError::into_inner));
    told(left.values().copied())
}

fn told(kinds: impl Iterator<Item = &'static str>) -> Option<Finding> {
    let mut counts = BTreeMap::new();
    kinds.for_each(|kind| *counts.entry(kind).or_insert(0_u64) += 1);
    let each: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} Vk{kind}")).collect();
    let all = counted(counts.values().sum(), "Vulkan object");
    (!each.is_empty()).then(|| {
        let like = "a value that a case or the harness keeps beyond the case without saying so";
        Finding::new(format!("{all} of the case are left: {}", each.join(", "))).row("like", like)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_are_left_are_counted_by_kind() {
        let text = told(["Image", "DeviceMemory", "Image"].into_iter()).expect("three").summary;
        assert_eq!(text, "3 Vulkan objects of the case are left: 1 VkDeviceMemory, 2 VkImage");
        assert!(told([].into_iter()).is_none());
    }
}
