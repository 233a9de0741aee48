//! Who takes part in a buffer, who maps it now, and when may its storage change? The rules S1 to S6 as one state machine.
//!
//! It knows nothing of fds, heaps or layouts: those are its [`Backing`]. Everything that waits here has a deadline, and
//! everything that changes storage does so while nobody maps it: storage that a mapping shows stays where it is until
//! that mapping ends.
//!
//! One lock guards the state, and it is never held while the backing works: allocating or moving is marked in the state,
//! and whoever comes meanwhile waits for the mark to go.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::constraints::Party;
use super::refused::{Busy, Overstayed, ShareError};
use super::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, wait_until};

/// What stands behind a buffer: how storage is made, and how contents get from one to another.
pub trait Backing: Send + Sync {
    /// Storage of one buffer.
    type Storage: Send + Sync;

    /// New storage that suits all `parties`, to take the place of `now` if there is one. Contents may be anything.
    ///
    /// # Errors
    /// Nothing suits them all, or what would suit them can't be had. Nothing stays allocated then.
    fn allocate(&self, parties: &[Party], now: Option<&Self::Storage>) -> Result<Self::Storage, ShareError>;

    /// Whether `party` can work with `storage` as it is.
    fn suits(&self, storage: &Self::Storage, party: &Party) -> bool;

    /// Copies the contents of `from` to `to`, and lets everything that shows `from` for good show `to`. Nobody maps `from`.
    ///
    /// # Errors
    /// It can't; everything shows `from` then, and its contents are as they were.
    fn relocate(&self, from: &Self::Storage, to: &Self::Storage) -> Result<(), ShareError>;
}

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Looking.
    Read,
    /// Drawing, with or without looking.
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// An attachment by number; never used twice for one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct AttachmentId(pub u64);

/// A mapping by number; never used twice for one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct MappingId(pub u64);

/// A mapping that was granted.
pub struct Granted<S> {
    /// Its number, for [`Core::unmap`].
    pub id: MappingId,
    /// What it shows; stays where it is until the mapping ends.
    pub storage: Arc<S>,
    /// Grows by one with each change of storage: an importer that has seen this one needs no new import.
    pub generation: u64,
    /// How long the caller waited for storage to be made or moved.
    pub stalled: Duration,
}

/// One move of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// From the decision until the last outstanding mapping had ended.
    pub drained: Duration,
    /// Making the new storage and copying the contents.
    pub copied: Duration,
}

impl Moved {
    /// How long a map that came at the worst moment stood still.
    pub fn stall(&self) -> Duration {
        self.drained + self.copied
    }
}

/// A buffer's state machine.
pub struct Core<B: Backing> {
    backing: B,
    state: Mutex<State<B::Storage>>,
    /// A mapping ended, or storage was made or moved or was not.
    changed: Condvar,
}

struct State<S> {
    parties: BTreeMap<AttachmentId, Party>,
    mappings: BTreeMap<MappingId, Held>,
    storage: Option<Arc<S>>,
    generation: u64,
    /// Storage is being made or moved: nobody else touches storage, parties or mappings, but for ending a mapping.
    changing: bool,
    moves: Vec<Moved>,
    next: u64,
}

struct Held {
    attachment: AttachmentId,
    access: Access,
    place: &'static Location<'static>,
    since: Instant,
    until: Instant,
}

impl<S> State<S> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn join(&mut self, party: Party) -> AttachmentId {
        let id = AttachmentId(self.number());
        self.parties.insert(id, party);
        id
    }

    /// Who holds a mapping now, those first who should have ended theirs.
    fn overstayed(&self) -> Vec<Overstayed> {
        let now = Instant::now();
        let mut held: Vec<_> = self.mappings.values().collect();
        held.sort_by_key(|held| held.until);
        let name = |id| self.parties.get(id).map_or("nobody", |party| &party.name);
        held.iter()
            .map(|held| Overstayed {
                who: name(&held.attachment).to_owned(),
                access: held.access,
                place: format!("{}:{}", held.place.file(), held.place.line()),
                held: now - held.since,
                late: now.checked_duration_since(held.until),
            })
            .collect()
    }
}

type Guard<'c, S> = MutexGuard<'c, State<S>>;

/// The state after a change, and the storage that was moved away from.
type Changed<'c, S> = (Guard<'c, S>, Option<Arc<S>>);

impl<B: Backing> Core<B> {
    /// A buffer without parties or storage (S1).
    pub fn new(backing: B) -> Self {
        let state = State {
            parties: BTreeMap::new(),
            mappings: BTreeMap::new(),
            storage: None,
            generation: 0,
            changing: false,
            moves: Vec::new(),
            next: 0,
        };
        Self { backing, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// What stands behind it.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// `party` takes part from now on (S2). Where there is storage that does not suit it, the storage moves first (S6).
    ///
    /// # Errors
    /// The constraints contradict themselves; nothing suits everybody; or storage can't move: outstanding mappings do not
    /// end within `patience`, or the new storage can't be had. Nothing has changed then.
    pub fn attach(&self, party: Party, patience: Duration) -> Result<AttachmentId, ShareError> {
        party.constraints.check().map_err(|why| ShareError::Invalid { who: party.name.clone(), why })?;
        let deadline = after(patience);
        let retired;
        let (mut state, _) = self.settled(deadline)?;
        let stays = state.storage.as_ref().is_none_or(|storage| self.backing.suits(storage, &party));
        if !stays {
            let parties = state.parties.values().chain([&party]).cloned().collect::<Vec<_>>();
            (state, retired) = self.change(state, &parties, deadline)?;
            // Freeing memory takes time, too: `retired` lives longer than the lock.
            let _ = &retired;
        }
        Ok(state.join(party))
    }

    /// Its party takes part no longer. Storage stays where it is.
    ///
    /// # Errors
    /// There is no such attachment, or it has a mapping.
    pub fn detach(&self, id: AttachmentId) -> Result<(), ShareError> {
        let mut state = self.lock();
        let Some(party) = state.parties.get(&id) else { return Err(ShareError::NotAttached(id)) };
        if state.mappings.values().any(|held| held.attachment == id) {
            return Err(ShareError::StillMapped(party.name.clone()));
        }
        state.parties.remove(&id);
        Ok(())
    }

    /// Access for `hold` at most. The first one chooses and makes the storage (S3); while storage moves it waits (S6).
    ///
    /// # Errors
    /// There is no such attachment; nothing suits everybody; the storage can't be had; or a move does not come to its end
    /// within `patience`.
    #[track_caller]
    pub fn map(
        &self,
        id: AttachmentId,
        access: Access,
        hold: Duration,
        patience: Duration,
    ) -> Result<Granted<B::Storage>, ShareError> {
        let place = Location::caller();
        let asked = Instant::now();
        let deadline = after(patience);
        let (mut state, waited) = self.settled(deadline)?;
        if !state.parties.contains_key(&id) {
            return Err(ShareError::NotAttached(id));
        }
        let made = state.storage.is_none();
        if made {
            let parties = state.parties.values().cloned().collect::<Vec<_>>();
            (state, _) = self.change(state, &parties, deadline)?;
            // Meanwhile it may have been detached.
            if !state.parties.contains_key(&id) {
                return Err(ShareError::NotAttached(id));
            }
        }
        let Some(storage) = state.storage.clone() else { return Err(ShareError::NotAttached(id)) };
        let mapping = MappingId(state.number());
        let since = Instant::now();
        state.mappings.insert(mapping, Held { attachment: id, access, place, since, until: after(hold) });
        let stalled = if waited || made { since - asked } else { Duration::ZERO };
        Ok(Granted { id: mapping, storage, generation: state.generation, stalled })
    }

    /// The mapping ends.
    ///
    /// # Errors
    /// There is no such mapping.
    pub fn unmap(&self, id: MappingId) -> Result<(), ShareError> {
        let mut state = self.lock();
        if state.mappings.remove(&id).is_none() {
            return Err(ShareError::NotMapped(id));
        }
        let last = state.mappings.is_empty() && state.changing;
        drop(state);
        if last {
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Makes the storage now (S7), if there is none yet.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn allocate(&self, patience: Duration) -> Result<(), ShareError> {
        let deadline = after(patience);
        let (state, _) = self.settled(deadline)?;
        if state.storage.is_none() {
            let parties = state.parties.values().cloned().collect::<Vec<_>>();
            drop(self.change(state, &parties, deadline)?);
        }
        Ok(())
    }

    /// Moves the storage though nobody new attached; without storage it does nothing.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn relocate(&self, patience: Duration) -> Result<(), ShareError> {
        let deadline = after(patience);
        let (state, _) = self.settled(deadline)?;
        if state.storage.is_some() {
            let parties = state.parties.values().cloned().collect::<Vec<_>>();
            drop(self.change(state, &parties, deadline)?);
        }
        Ok(())
    }

    /// The storage as it is now, without a mapping: it may be moved away from at any time, so this is for observers only.
    pub fn storage(&self) -> Option<Arc<B::Storage>> {
        self.lock().storage.clone()
    }

    /// Which storage this is: 0 before the first, one more with each.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Who takes part.
    pub fn parties(&self) -> Vec<Party> {
        self.lock().parties.values().cloned().collect()
    }

    /// How many mappings there are.
    pub fn mappings(&self) -> usize {
        self.lock().mappings.len()
    }

    /// Every move so far, the first one first.
    pub fn moves(&self) -> Vec<Moved> {
        self.lock().moves.clone()
    }

    fn lock(&self) -> Guard<'_, B::Storage> {
        // Nothing that can panic runs under the lock, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state at a moment when storage is not being made or moved, and whether that took waiting.
    fn settled(&self, deadline: Instant) -> Result<(Guard<'_, B::Storage>, bool), ShareError> {
        let mut state = self.lock();
        let mut waited = false;
        while state.changing {
            let late;
            (state, late) = wait_until(&self.changed, state, deadline);
            waited = true;
            if late && state.changing {
                return Err(ShareError::Busy(Busy { holders: state.overstayed() }));
            }
        }
        Ok((state, waited))
    }

    /// Makes storage for `parties`, and moves the contents there if there is storage already.
    fn change<'c>(
        &'c self,
        mut state: Guard<'c, B::Storage>,
        parties: &[Party],
        deadline: Instant,
    ) -> Result<Changed<'c, B::Storage>, ShareError> {
        let started = Instant::now();
        state.changing = true;
        while !state.mappings.is_empty() {
            let late;
            (state, late) = wait_until(&self.changed, state, deadline);
            if late && !state.mappings.is_empty() {
                let busy = Busy { holders: state.overstayed() };
                state.changing = false;
                drop(state);
                self.changed.notify_all();
                return Err(ShareError::Busy(busy));
            }
        }
        let old = state.storage.clone();
        drop(state);
        let drained = started.elapsed();
        // Ends the change whatever becomes of it, even if a heap panics.
        let changing = Changing(self);
        let new = self.backing.allocate(parties, old.as_deref())?;
        if let Some(old) = &old {
            self.backing.relocate(old, &new)?;
        }
        let mut state = self.lock();
        state.storage = Some(Arc::new(new));
        state.generation += 1;
        if old.is_some() {
            state.moves.push(Moved { drained, copied: started.elapsed() - drained });
        }
        // Under the same lock, so that nobody can begin another change before the caller has gone on.
        state.changing = false;
        self.changed.notify_all();
        std::mem::forget(changing);
        Ok((state, old))
    }
}

/// The moment `wait` from now; a wait without end is one of a year.
fn after(wait: Duration) -> Instant {
    Instant::now() + wait.min(Duration::from_secs(365 * 24 * 3600))
}

/// While it lives, storage is being made or moved.
struct Changing<'c, B: Backing>(&'c Core<B>);

impl<B: Backing> Drop for Changing<'_, B> {
    fn drop(&mut self) {
        self.0.lock().changing = false;
        self.0.changed.notify_all();
    }
}
