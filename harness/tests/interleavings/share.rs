//! The modules under test, on shuttle's locks; what they name of the others is the library's own.
#![expect(dead_code, unreachable_pub, reason = "sources of the library, of which the programs use a part")]

pub use handover::share::{agreement, constraints};

#[path = "../../src/share/core.rs"]
pub mod core;
#[path = "../../src/share/pool.rs"]
pub mod pool;
#[path = "../../src/share/refused.rs"]
pub mod refused;

/// Nobody stands between a pool and those who draw and look.
pub(crate) mod layer {
    pub(crate) struct Nothing;

    impl Nothing {
        pub(crate) fn gives_back(&self) -> bool {
            true
        }

        pub(crate) fn notes_readers(&self) -> bool {
            true
        }

        pub(crate) fn most(&self, most: usize) -> usize {
            most
        }
    }

    pub(crate) fn layer() -> Nothing {
        Nothing
    }
}

/// What `harness/src/share/sync.rs` is there.
pub(crate) mod sync {
    use std::cell::Cell;
    use std::time::Instant;

    use shuttle::rand::{Rng, thread_rng};
    pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;

    thread_local! {
        /// Whether deadlines come in the program that runs on this thread. Where they don't, a wake-up that was lost
        /// is a deadlock that shuttle reports.
        pub(crate) static DEADLINES: Cell<bool> = const { Cell::new(false) };
    }

    /// Waits until notified, or as long as chance decides.
    pub(crate) fn wait_until<'m, T>(
        condition: &Condvar,
        guard: MutexGuard<'m, T>,
        _: Instant,
    ) -> (MutexGuard<'m, T>, bool) {
        let late = || DEADLINES.get() && thread_rng().gen_bool(0.5);
        if late() {
            return (guard, true);
        }
        let guard = condition.wait(guard).unwrap_or_else(PoisonError::into_inner);
        (guard, late())
    }
}
