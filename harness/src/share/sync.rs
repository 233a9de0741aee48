//! The locks that the core is built on, in one place: the exploration of interleavings replaces this file and nothing else.

use std::time::Instant;

pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Waits until `condition` is notified, or until `deadline`; says whether the deadline came first.
pub(super) fn wait_until<'m, T>(
    condition: &Condvar,
    guard: MutexGuard<'m, T>,
    deadline: Instant,
) -> (MutexGuard<'m, T>, bool) {
    let left = deadline.saturating_duration_since(Instant::now());
    let (guard, timeout) = condition.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
    (guard, timeout.timed_out())
}
