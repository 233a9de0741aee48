//! Who draws into a buffer of a pool, and who looks at one? Guards that give it back when they are dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::{Holder, Pool, Shown, Slot, State, Use, after};
use crate::error::Error;
use crate::share::layer::layer;
use crate::share::refused::ShareError;
use crate::share::sync::{Arc, wait_until};

/// A buffer that its holder alone draws into. Dropped, it is free again, and nothing was drawn.
#[must_use = "a buffer that is not drawn into is free again"]
pub struct Drawing<T> {
    // Let go of before the lease ends, so that a buffer that leaves the pool then is gone.
    pub(super) buffer: Arc<T>,
    pub(super) lease: DrawingLease<T>,
}

pub(super) struct DrawingLease<T> {
    pub(super) pool: Pool<T>,
    pub(super) slot: usize,
    /// It was shown, and the slot may be anybody's by now.
    pub(super) shown: bool,
}

impl<T> Drawing<T> {
    /// What was drawn is the current frame from now on; says its number, which counts from 1.
    pub fn show(mut self) -> u64 {
        self.lease.shown = true;
        let shared = &self.lease.pool.shared;
        let mut state = shared.lock();
        state.report.shown += 1;
        let frame = state.report.shown;
        if let Some(slot) = state.slots.get_mut(&self.lease.slot) {
            slot.used = Use::Shown(Shown { frame, seen: false, readers: BTreeMap::new() });
        }
        if let Some(before) = state.current.replace(self.lease.slot)
            && let Some(Slot { used: Use::Shown(shown), .. }) = state.slots.get(&before)
        {
            let (seen, looked_at) = (shown.seen, !shown.readers.is_empty());
            state.report.lost += u64::from(!seen);
            if !looked_at {
                state.free(before);
            }
        }
        // Those who wait for the frame and those who wait for the buffer of the last one are told as the lease ends.
        drop(state);
        frame
    }
}

impl<T> Deref for Drawing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.buffer
    }
}

impl<T> Drop for DrawingLease<T> {
    fn drop(&mut self) {
        let is_free = !self.shown && layer().gives_back();
        self.pool.shared.give_back(self.slot, |_| is_free);
    }
}

impl<T> fmt::Debug for Drawing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drawing").field("slot", &self.lease.slot).finish_non_exhaustive()
    }
}

/// Somebody who looks at what is shown.
#[derive(Debug)]
pub struct Reader<T> {
    pub(super) pool: Pool<T>,
    pub(super) who: String,
    /// The last frame that it looked at.
    pub(super) seen: u64,
    pub(super) skipped: u64,
}

impl<T> Reader<T> {
    /// The current frame, whether it was looked at before or not; `None` if nothing was shown yet.
    #[track_caller]
    pub fn latest(&mut self) -> Option<Looking<T>> {
        let place = Location::caller();
        let pool = self.pool.clone();
        self.look(&mut pool.shared.lock(), 0, place)
    }

    /// A frame that this reader has not looked at yet: the current one, or the next one that is shown within `patience`.
    ///
    /// # Errors
    /// None was shown.
    #[track_caller]
    pub fn next(&mut self, patience: Duration) -> Result<Looking<T>, ShareError> {
        let place = Location::caller();
        let deadline = after(Instant::now(), patience);
        let pool = self.pool.clone();
        let mut state = pool.shared.lock();
        let mut late = false;
        loop {
            if let Some(looking) = self.look(&mut state, self.seen + 1, place) {
                return Ok(looking);
            }
            if late {
                let op = format!("waiting of {} for a frame", self.who);
                let object = format!("a pool whose last frame was {}", self.seen);
                return Err(Error::deadline(op, object, patience).into());
            }
            (state, late) = wait_until(&pool.shared.changed, state, deadline);
        }
    }

    /// How many frames came and went without this reader looking at them.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// A lease of the current frame, if its number is `least` or more.
    fn look(&mut self, state: &mut State<T>, least: u64, place: &'static Location<'static>) -> Option<Looking<T>> {
        let lease = state.number();
        let slot = state.current?;
        let Slot { buffer, used: Use::Shown(shown), .. } = state.slots.get_mut(&slot)? else { return None };
        if shown.frame < least {
            return None;
        }
        shown.seen = true;
        if layer().notes_readers() {
            shown.readers.insert(lease, Holder::new(&self.who, place));
        }
        let (frame, buffer) = (shown.frame, buffer.clone());
        self.skipped += frame.saturating_sub(self.seen + 1);
        self.seen = frame;
        Some(Looking { frame, buffer, lease: LookingLease { pool: self.pool.clone(), slot, lease } })
    }
}

/// A frame that its holder looks at: until it is dropped, nobody draws into the buffer.
#[must_use = "who does not look at a frame need not hold it"]
pub struct Looking<T> {
    frame: u64,
    // Let go of before the lease ends, so that a buffer that leaves the pool then is gone.
    buffer: Arc<T>,
    lease: LookingLease<T>,
}

struct LookingLease<T> {
    pool: Pool<T>,
    slot: usize,
    lease: usize,
}

impl<T> Looking<T> {
    /// The number of the frame.
    pub fn frame(&self) -> u64 {
        self.frame
    }
}

impl<T> Deref for Looking<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.buffer
    }
}

impl<T> Drop for LookingLease<T> {
    fn drop(&mut self) {
        let (slot, lease) = (self.slot, self.lease);
        if !layer().gives_back() {
            return;
        }
        self.pool.shared.give_back(slot, |state| {
            let current = state.current == Some(slot);
            let Some(Slot { used: Use::Shown(shown), .. }) = state.slots.get_mut(&slot) else { return false };
            shown.readers.remove(&lease);
            shown.readers.is_empty() && !current
        });
    }
}

impl<T> fmt::Debug for Looking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looking").field("frame", &self.frame).field("slot", &self.lease.slot).finish_non_exhaustive()
    }
}
