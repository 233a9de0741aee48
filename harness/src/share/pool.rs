//! Which buffer is drawn into next, which one is shown, and who still looks at an older one? The rules S9 to S11.
//!
//! Two ways to pass frames on one pool. Pull: [`Pool::draw`] gives the next buffer to draw into, made if there is none, as
//! a server does for a client of DRI2. Push: [`Pool::adopt`] takes in a buffer that the drawer made itself, as a client of
//! Wayland does, and [`Drawing::show`] passes on what was drawn. Either way the buffer is the pool's from then on.
//!
//! Of all buffers one is current at most: what was shown last. The others are free, drawn into, or still looked at. A
//! buffer is drawn into only when it is free, and it is free only when nobody looks at it any more and another one is
//! current; guards see to that, so who dies with its guards leaves nothing behind.
//!
//! The pool grows when a buffer is asked for and none is free. Where it can't (the worst case is reached, or memory is
//! not to be had), whoever asks waits for a buffer to come back. Buffers that were free for long are given up. A set
//! that is made at once and never changes is the special case.
//!
//! One lock guards the state. It is never held while a buffer is made or given up.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::core::after;
use super::layer::layer;
use super::refused::ShareError;
use super::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, wait_until};
use crate::error::{Cause, Error};

// The exploration of interleavings takes this file from its place, so it says where its part lies.
#[path = "pool/lease.rs"]
mod lease;

use lease::DrawingLease;
pub use lease::{Drawing, Looking, Reader};

/// How many buffers a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many are made at once, and there are never fewer.
    pub least: usize,
    /// So many are needed in the worst case, and there are never more.
    pub most: usize,
    /// A buffer that was free for so long is given up.
    pub idle: Duration,
}

impl Limits {
    /// Buffers are made when they are needed, `most` at most, and at least one.
    pub const fn on_demand(most: usize, idle: Duration) -> Self {
        Self { least: 0, most: if most == 0 { 1 } else { most }, idle }
    }

    /// All buffers are made at once, as `VIDIOC_REQBUFS` does.
    pub const fn fixed(count: usize) -> Self {
        Self { least: count, most: count, idle: Duration::MAX }
    }
}

/// Makes a buffer; it is told how many were made before.
type Maker<T> = Box<dyn FnMut(usize) -> Result<T, ShareError> + Send>;

/// Buffers that frames are passed in.
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    limits: Limits,
    /// Locked by the one who has set [`State::making`] only, so nobody ever waits for it.
    maker: Mutex<Maker<T>>,
    state: Mutex<State<T>>,
    /// A buffer came back, joined or left, a frame was shown, or making one came to its end.
    changed: Condvar,
}

struct State<T> {
    slots: BTreeMap<usize, Slot<T>>,
    /// The slot that was shown last.
    current: Option<usize>,
    /// A buffer is being made; it has no slot yet.
    making: bool,
    /// The last number that was given to a slot, to a lease, or to a buffer that came back.
    last: usize,
    report: Report,
}

struct Slot<T> {
    buffer: Arc<T>,
    /// When it became free last.
    since: Instant,
    used: Use,
}

enum Use {
    /// The highest number came back last.
    Free(usize),
    Drawn(Holder),
    Shown(Shown),
}

/// What was drawn, and who looks at it.
struct Shown {
    frame: u64,
    seen: bool,
    /// By lease.
    readers: BTreeMap<usize, Holder>,
}

/// Who uses a buffer.
struct Holder {
    who: String,
    since: Instant,
    place: &'static Location<'static>,
}

/// What a pool went through so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Buffers that were needed: the most that were not free at once.
    pub needed: usize,
    /// Buffers that the worst case needs.
    pub worst: usize,
    /// Buffers that there are.
    pub live: usize,
    /// Buffers that were made or adopted.
    pub joined: usize,
    /// Buffers that were given up: free for long, or replaced by an adopted one.
    pub left: usize,
    /// How often there was no memory for one more.
    pub refused: u64,
    /// Frames that were shown; the number of the last one.
    pub shown: u64,
    /// Frames that another one replaced before anybody had looked at them.
    pub lost: u64,
    /// How often who wanted to draw had to wait for a buffer to come back.
    pub waits: u64,
    /// How long they waited, all together.
    pub waited: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, worst, live, joined, left, refused, shown, lost, waits, waited } = self;
        write!(f, "needed {needed} of {worst} buffers ({joined} joined, {left} left, {live} live)")?;
        write!(f, ", {shown} frames shown, {lost} of them lost, {waits} waits for a buffer")?;
        if *waits > 0 {
            write!(f, " of {} ms together", waited.as_millis())?;
        }
        if *refused > 0 {
            write!(f, ", {refused} times no memory for one more")?;
        }
        Ok(())
    }
}

type Guard<'p, T> = MutexGuard<'p, State<T>>;

impl<T> State<T> {
    fn number(&mut self) -> usize {
        self.last += 1;
        self.last
    }

    /// A buffer joins, free.
    fn join(&mut self, buffer: Arc<T>) -> usize {
        let slot = self.number();
        self.slots.insert(slot, Slot { buffer, since: Instant::now(), used: Use::Free(slot) });
        self.report.joined += 1;
        slot
    }

    /// Of the free buffers the one that was used last, so that those that are not needed grow old.
    fn freshest(&self) -> Option<(usize, Arc<T>)> {
        let freed = |slot: &Slot<T>| if let Use::Free(order) = slot.used { Some(order) } else { None };
        let free = self.slots.iter().filter_map(|(number, slot)| Some((freed(slot)?, number, slot)));
        let (_, number, slot) = free.max_by_key(|(order, ..)| *order)?;
        Some((*number, slot.buffer.clone()))
    }

    fn free(&mut self, slot: usize) {
        let order = self.number();
        if let Some(slot) = self.slots.get_mut(&slot) {
            (slot.used, slot.since) = (Use::Free(order), Instant::now());
        }
    }

    /// Counts the buffers that are in use now.
    fn count_needed(&mut self) {
        let used = self.slots.values().filter(|slot| !matches!(slot.used, Use::Free(_))).count();
        self.report.needed = self.report.needed.max(used);
    }

    /// Takes out the buffers that were free for long. [`Shared::give_up`] is for the caller to do, without the lock.
    fn idle(&mut self, limits: &Limits) -> Vec<Arc<T>> {
        let mut out = Vec::new();
        while self.slots.len() > limits.least {
            let old = |slot: &Slot<T>| matches!(slot.used, Use::Free(_)) && slot.since.elapsed() >= limits.idle;
            let Some(number) = self.slots.iter().find(|(_, slot)| old(slot)).map(|(number, _)| *number) else { break };
            out.extend(self.slots.remove(&number).map(|slot| slot.buffer));
        }
        out
    }

    /// What each buffer is used for.
    fn uses(&self) -> String {
        let mut uses = Vec::new();
        for (number, slot) in &self.slots {
            match &slot.used {
                Use::Free(_) => uses.push("one is free".to_owned()),
                Use::Drawn(holder) => uses.push(format!("{holder} to draw")),
                Use::Shown(shown) => {
                    if self.current == Some(*number) {
                        uses.push(format!("frame {} is current", shown.frame));
                    }
                    uses.extend(
                        shown.readers.values().map(|holder| format!("{holder} to look at frame {}", shown.frame)),
                    );
                }
            }
        }
        if self.making {
            uses.push("one is being made".to_owned());
        }
        uses.join(", ")
    }
}

impl Holder {
    fn new(who: &str, place: &'static Location<'static>) -> Self {
        Self { who: who.to_owned(), since: Instant::now(), place }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, since, place } = self;
        write!(f, "{who} holds one for {} ms, since {}:{},", since.elapsed().as_millis(), place.file(), place.line())
    }
}

impl<T> Pool<T> {
    /// A pool whose buffers `make` makes. As many as there are to be at least are made at once (S7).
    ///
    /// # Errors
    /// One of them can't be made; none is kept then.
    pub fn new(
        limits: Limits,
        mut make: impl FnMut(usize) -> Result<T, ShareError> + Send + 'static,
    ) -> Result<Self, ShareError> {
        let limits = Limits { most: layer().most(limits.most.max(limits.least)), ..limits };
        let report = Report { worst: limits.most, ..Report::default() };
        let mut state = State { slots: BTreeMap::new(), current: None, making: false, last: 0, report };
        for number in 0..limits.least {
            let buffer = make(number)?;
            state.join(Arc::new(buffer));
        }
        let maker: Maker<T> = Box::new(make);
        let shared = Shared { limits, maker: Mutex::new(maker), state: Mutex::new(state), changed: Condvar::new() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The next buffer to draw into, for `who`. Its contents may be anything.
    ///
    /// It is one that is free, or a new one; if neither can be had, one that comes back within `patience`.
    ///
    /// # Errors
    /// None came back, with everybody who holds one; a new one can't be made, for another reason than that there is no
    /// memory for one more.
    #[track_caller]
    pub fn draw(&self, who: &str, patience: Duration) -> Result<Drawing<T>, ShareError> {
        let mut wait = Wait::new(who, patience, Location::caller());
        let mut state = self.shared.lock();
        loop {
            if let Some((slot, buffer)) = state.freshest() {
                return Ok(self.drawing(state, slot, buffer, wait));
            }
            if wait.may_grow(&state, &self.shared.limits) {
                let left = state.report.left;
                let made;
                (state, made) = self.shared.make(state);
                match made {
                    Ok(buffer) => {
                        let buffer = Arc::new(buffer);
                        let slot = state.join(buffer.clone());
                        return Ok(self.drawing(state, slot, buffer, wait));
                    }
                    // Without any buffer none could come back.
                    Err(error) if no_memory(&error) && !state.slots.is_empty() => {
                        state.report.refused += 1;
                        wait.refused = Some((left, error));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            state = self.shared.wait(state, &mut wait)?;
        }
    }

    /// A buffer that `who` made, and draws into now, joins the pool. If the pool is full, it takes the place of a free one,
    /// which may have to come back first.
    ///
    /// # Errors
    /// None came back within `patience`, with everybody who holds one. The buffer is given up then.
    #[track_caller]
    pub fn adopt(&self, who: &str, buffer: T, patience: Duration) -> Result<Drawing<T>, ShareError> {
        let mut wait = Wait::new(who, patience, Location::caller());
        let buffer = Arc::new(buffer);
        let replaced;
        let mut state = self.shared.lock();
        let slot = loop {
            if state.slots.len() + usize::from(state.making) < self.shared.limits.most {
                replaced = None;
                break state.join(buffer.clone());
            }
            if let Some((slot, _)) = state.freshest() {
                replaced = state.slots.remove(&slot).map(|slot| slot.buffer);
                break state.join(buffer.clone());
            }
            state = self.shared.wait(state, &mut wait)?;
        };
        let drawing = self.drawing(state, slot, buffer, wait);
        self.shared.give_up(replaced.into_iter().collect());
        Ok(drawing)
    }

    /// Somebody who looks at what is shown from now on.
    pub fn reader(&self, who: impl Into<String>) -> Reader<T> {
        let shown = self.shared.lock().report.shown;
        // The frame that is current now is new to it.
        Reader { pool: self.clone(), who: who.into(), seen: shown.saturating_sub(1), skipped: 0 }
    }

    /// Gives up the buffers that were free for long, and says how many. It happens by itself whenever a buffer is taken
    /// or comes back; this is for when nothing happens any more.
    pub fn trim(&self) -> usize {
        let idle = self.shared.lock().idle(&self.shared.limits);
        let count = idle.len();
        self.shared.give_up(idle);
        count
    }

    /// What it went through so far.
    pub fn report(&self) -> Report {
        let state = self.shared.lock();
        Report { live: state.slots.len(), ..state.report }
    }

    /// The free `buffer` of `slot` is `wait`'s to draw into.
    fn drawing(&self, mut state: Guard<'_, T>, slot: usize, buffer: Arc<T>, wait: Wait<'_>) -> Drawing<T> {
        if let Some(slot) = state.slots.get_mut(&slot) {
            slot.used = Use::Drawn(Holder::new(wait.who, wait.place));
        }
        state.count_needed();
        wait.count(&mut state.report);
        let idle = state.idle(&self.shared.limits);
        drop(state);
        self.shared.give_up(idle);
        Drawing { buffer, lease: DrawingLease { pool: self.clone(), slot, shown: false } }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> Guard<'_, T> {
        // Nothing that can panic runs under the lock, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a buffer without the lock; nobody else does meanwhile.
    fn make<'p>(&'p self, mut state: Guard<'p, T>) -> (Guard<'p, T>, Result<T, ShareError>) {
        state.making = true;
        let number = state.report.joined;
        drop(state);
        // Ends it even if the maker panics.
        let making = Making(self);
        let made = (self.maker.lock().unwrap_or_else(PoisonError::into_inner))(number);
        std::mem::forget(making);
        let mut state = self.lock();
        state.making = false;
        // Whoever waited for this may want to make another one.
        self.changed.notify_all();
        (state, made)
    }

    /// Waits for the next change; an error if the deadline comes before a buffer.
    fn wait<'p>(&'p self, state: Guard<'p, T>, wait: &mut Wait<'_>) -> Result<Guard<'p, T>, ShareError> {
        wait.waited = true;
        let (mut state, late) = wait_until(&self.changed, state, wait.deadline);
        if !late || state.freshest().is_some() {
            return Ok(state);
        }
        wait.count(&mut state.report);
        let mut object = format!("{} of {} buffers: {}", state.slots.len(), self.limits.most, state.uses());
        if let Some((_, error)) = &wait.refused {
            object += &format!("; one more could not be made, {error}");
        }
        drop(state);
        Err(Error::deadline(format!("waiting of {} for a buffer to draw into", wait.who), object, wait.patience).into())
    }

    /// The lease of a buffer ends: `end` says whether it is free then.
    fn give_back(&self, slot: usize, end: impl FnOnce(&mut State<T>) -> bool) {
        let mut state = self.lock();
        if end(&mut state) {
            state.free(slot);
        }
        let idle = state.idle(&self.limits);
        drop(state);
        self.changed.notify_all();
        self.give_up(idle);
    }

    /// Drops `buffers` without the lock, since that takes time. Whoever was refused memory before may have it now.
    fn give_up(&self, buffers: Vec<Arc<T>>) {
        let count = buffers.len();
        if count > 0 {
            drop(buffers);
            self.lock().report.left += count;
            self.changed.notify_all();
        }
    }
}

/// While it lives, a buffer is being made.
struct Making<'p, T>(&'p Shared<T>);

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        self.0.lock().making = false;
        self.0.changed.notify_all();
    }
}

/// One who wants a buffer to draw into.
struct Wait<'w> {
    who: &'w str,
    place: &'static Location<'static>,
    asked: Instant,
    patience: Duration,
    deadline: Instant,
    waited: bool,
    /// There was no memory for one more when so many had left.
    refused: Option<(usize, ShareError)>,
}

impl<'w> Wait<'w> {
    fn new(who: &'w str, patience: Duration, place: &'static Location<'static>) -> Self {
        let asked = Instant::now();
        Self { who, place, asked, patience, deadline: after(asked, patience), waited: false, refused: None }
    }

    /// Whether another buffer may be made now. Where there was no memory for it, only once one has left.
    fn may_grow<T>(&self, state: &State<T>, limits: &Limits) -> bool {
        let hopeless = self.refused.as_ref().is_some_and(|(left, _)| state.report.left == *left);
        !state.making && state.slots.len() < limits.most && !hopeless
    }

    fn count(&self, report: &mut Report) {
        if self.waited {
            report.waits += 1;
            report.waited += self.asked.elapsed();
        }
    }
}

/// Whether a buffer could not be made for want of memory or of fds, which others that come back may change.
fn no_memory(error: &ShareError) -> bool {
    use rustix::io::Errno;
    let full = |error: &Error| match &error.cause {
        // shmem says ENOSPC where it has no page (`cases/findings/shmem-enospc.md`).
        Cause::Errno(errno) => [Errno::NOMEM, Errno::NOSPC, Errno::MFILE, Errno::NFILE].contains(errno),
        Cause::Code(code) => {
            ["VK_ERROR_OUT_OF_HOST_MEMORY", "VK_ERROR_OUT_OF_DEVICE_MEMORY", "VK_ERROR_TOO_MANY_OBJECTS"]
                .contains(&code.as_str())
        }
        _ => false,
    };
    match error {
        ShareError::Failed(error) => full(error),
        ShareError::NoStorage(tried) => tried.iter().any(|(_, error)| full(error)),
        _ => false,
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("limits", &self.shared.limits)
            .field("report", &self.report())
            .finish_non_exhaustive()
    }
}
