//! Who takes part in a buffer, who maps it now, and when may its storage change? The rules S1 to S6 as one state machine.
//!
//! It knows nothing of fds, heaps or layouts: those are its [`Backing`]. Everything that waits here has a deadline, and
//! everything that changes storage does so while nobody maps it: storage that a mapping shows stays where it is until
//! that mapping ends.
//!
//! One lock guards the state, and it is not held while storage is made or moved: that is marked in the state, and whoever comes
//! meanwhile waits for the mark to go. What is asked of the backing under the lock ([`Backing::check`], [`Backing::suits`]) only
//! reckons.

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

    /// Whether there could be storage that suits all `parties`, in the place of `now` if there is some. Allocates nothing.
    ///
    /// # Errors
    /// Nothing suits them all.
    fn check(&self, parties: &[Party], now: Option<&Self::Storage>) -> Result<(), ShareError>;

    /// New storage that suits all `parties`, to take the place of `now` if there is one. Contents may be anything.
    ///
    /// # Errors
    /// Nothing suits them all, or what would suit them can't be had. Nothing stays allocated then.
    fn allocate(&self, parties: &[Party], now: Option<&Self::Storage>) -> Result<Self::Storage, ShareError>;

    /// Whether `party` can work with `storage` as it is; quick, since it is asked under the lock.
    ///
    /// # Errors
    /// The constraint that it breaks.
    fn suits(&self, storage: &Self::Storage, party: &Party) -> Result<(), String>;

    /// Copies the contents of `from` to `to`, and lets everything that shows `from` for good show `to`. Nobody maps `from`.
    ///
    /// # Errors
    /// It can't; everything shows `from` then, and its contents are as they were.
    fn relocate(&self, from: &Self::Storage, to: &Self::Storage) -> Result<(), ShareError>;
}

impl<B: Backing + ?Sized> Backing for Box<B> {
    type Storage = B::Storage;

    fn check(&self, parties: &[Party], now: Option<&Self::Storage>) -> Result<(), ShareError> {
        (**self).check(parties, now)
    }

    fn allocate(&self, parties: &[Party], now: Option<&Self::Storage>) -> Result<Self::Storage, ShareError> {
        (**self).allocate(parties, now)
    }

    fn suits(&self, storage: &Self::Storage, party: &Party) -> Result<(), String> {
        (**self).suits(storage, party)
    }

    fn relocate(&self, from: &Self::Storage, to: &Self::Storage) -> Result<(), ShareError> {
        (**self).relocate(from, to)
    }
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

/// Who says whether parties that are not trusted ask for no more, all together, than others can bear; `Err` says why not.
/// Quick, since it is asked under the lock.
pub type Judge<'j> = dyn Fn(&[Party]) -> Result<(), String> + 'j;

/// A buffer's state machine.
pub struct Core<B: Backing> {
    backing: B,
    state: Mutex<State<B::Storage>>,
    /// A mapping ended, or storage was made or moved or was not.
    changed: Condvar,
}

struct State<S> {
    members: BTreeMap<AttachmentId, Member>,
    mappings: BTreeMap<MappingId, Held>,
    storage: Option<Arc<S>>,
    generation: u64,
    /// Storage is being made or moved: nobody else touches storage or begins a mapping. Mappings end, parties leave, and state
    /// their needs anew while they hold a mapping.
    changing: bool,
    moves: Vec<Moved>,
    next: u64,
}

struct Member {
    party: Party,
    trusted: bool,
    /// It leaves with its last mapping.
    leaving: bool,
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

    fn join(&mut self, party: Party, trusted: bool) -> AttachmentId {
        let id = AttachmentId(self.number());
        self.members.insert(id, Member { party, trusted, leaving: false });
        id
    }

    /// The party, if it takes part and is not about to leave.
    fn party(&self, id: AttachmentId) -> Result<&Party, ShareError> {
        let member = self.members.get(&id).filter(|member| !member.leaving);
        member.map(|member| &member.party).ok_or(ShareError::NotAttached(id))
    }

    /// Everybody who takes part, and `newcomer`.
    fn parties(&self, newcomer: Option<&Party>) -> Vec<Party> {
        let members = self.members.values().filter(|member| !member.leaving).map(|member| &member.party);
        members.chain(newcomer).cloned().collect()
    }

    /// Those of [`Self::parties`] who are not trusted, the newcomer last.
    fn strangers(&self, newcomer: &Party) -> Vec<Party> {
        let members = self.members.values().filter(|member| !member.leaving && !member.trusted);
        members.map(|member| &member.party).chain([newcomer]).cloned().collect()
    }

    fn is_mapped(&self, id: AttachmentId) -> bool {
        self.mappings.values().any(|held| held.attachment == id)
    }

    /// Who holds a mapping now, those first who should have ended theirs.
    fn overstayed(&self) -> Vec<Overstayed> {
        let now = Instant::now();
        let mut held: Vec<_> = self.mappings.values().collect();
        held.sort_by_key(|held| held.until);
        let name = |id| self.members.get(id).map_or("nobody", |member| &member.party.name);
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

/// The storage that was moved away from, and the state after that. In this order the lock goes first, since freeing memory
/// takes time.
type Changed<'c, S> = (Option<Arc<S>>, Guard<'c, S>);

impl<B: Backing> Core<B> {
    /// A buffer without parties or storage (S1).
    pub fn new(backing: B) -> Self {
        Self::start(backing, None)
    }

    /// A buffer whose storage is there already (S7).
    pub fn with_storage(backing: B, storage: B::Storage) -> Self {
        Self::start(backing, Some(Arc::new(storage)))
    }

    fn start(backing: B, storage: Option<Arc<B::Storage>>) -> Self {
        let state = State {
            members: BTreeMap::new(),
            mappings: BTreeMap::new(),
            generation: storage.is_some().into(),
            storage,
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
        self.admit(party, patience, None)
    }

    /// [`Self::attach`] of a party that is not trusted. `judge` is asked whether it, the last one, goes with all the others
    /// that are not. Where there is no storage yet, it is refused if nothing could suit it and everybody present: attached,
    /// it would be in the way of every map.
    ///
    /// # Errors
    /// As [`Self::attach`], and what `judge` says.
    pub fn attach_checked(
        &self,
        party: Party,
        patience: Duration,
        judge: &Judge<'_>,
    ) -> Result<AttachmentId, ShareError> {
        self.admit(party, patience, Some(judge))
    }

    fn admit(&self, party: Party, patience: Duration, judge: Option<&Judge<'_>>) -> Result<AttachmentId, ShareError> {
        party.constraints.check().map_err(|why| ShareError::Invalid { who: party.name.clone(), why })?;
        let mut deadline = Deadline::within(patience);
        let (state, _) = self.settled(&mut deadline)?;
        // Under the lock, so that nobody who collides comes in between.
        if let Some(judge) = judge {
            judge(&state.strangers(&party)).map_err(|why| ShareError::Unbearable { who: party.name.clone(), why })?;
            if state.storage.is_none() {
                self.backing.check(&state.parties(Some(&party)), None)?;
            }
        }
        let moves = state.storage.as_ref().is_some_and(|storage| self.backing.suits(storage, &party).is_err());
        let (_retired, mut state) =
            if moves { self.change(state, Some(&party), deadline.moment())? } else { (None, state) };
        Ok(state.join(party, judge.is_none()))
    }

    /// States the constraints of a party anew. The storage as it is must suit them, and the party must hold a mapping, so
    /// that the storage can't move meanwhile; it does not wait.
    ///
    /// # Errors
    /// One of this is not so.
    pub fn amend(&self, id: AttachmentId, party: Party) -> Result<(), ShareError> {
        party.constraints.check().map_err(|why| ShareError::Invalid { who: party.name.clone(), why })?;
        let mut state = self.lock();
        state.party(id)?;
        if !state.is_mapped(id) {
            return Err(ShareError::NotAttached(id));
        }
        if state.storage.as_ref().is_none_or(|storage| self.backing.suits(storage, &party).is_err()) {
            return Err(ShareError::Busy(Busy { holders: state.overstayed() }));
        }
        if let Some(member) = state.members.get_mut(&id) {
            member.party = party;
        }
        Ok(())
    }

    /// Its party takes part no longer. Storage stays where it is.
    ///
    /// # Errors
    /// There is no such attachment, or it has a mapping.
    pub fn detach(&self, id: AttachmentId) -> Result<(), ShareError> {
        let mut state = self.lock();
        let party = state.party(id)?;
        if state.is_mapped(id) {
            return Err(ShareError::StillMapped(party.name.clone()));
        }
        state.members.remove(&id);
        Ok(())
    }

    /// [`Self::detach`] for a party that may have mappings: it maps no more, and is gone with the last of them.
    pub fn leave(&self, id: AttachmentId) {
        let mut state = self.lock();
        if !state.is_mapped(id) {
            state.members.remove(&id);
        } else if let Some(member) = state.members.get_mut(&id) {
            member.leaving = true;
        }
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
        // Where nobody waits this is the only time that is asked for: in some kernels that is a system call, and in the
        // sandbox it costs more than all the rest.
        let asked = Instant::now();
        let deadline = after(asked, patience);
        // At once, and not after a wait for a move that may wait for the caller.
        self.lock().party(id)?;
        let (mut state, waited) = self.settled(&mut Deadline::at(deadline))?;
        state.party(id)?;
        let made = state.storage.is_none();
        if made {
            (_, state) = self.change(state, None, deadline)?;
            // Meanwhile it may have left.
            state.party(id)?;
        }
        let Some(storage) = state.storage.clone() else { return Err(ShareError::NotAttached(id)) };
        let mapping = MappingId(state.number());
        let since = if waited || made { Instant::now() } else { asked };
        state.mappings.insert(mapping, Held { attachment: id, access, place, since, until: after(since, hold) });
        let stalled = since - asked;
        Ok(Granted { id: mapping, storage, generation: state.generation, stalled })
    }

    /// The mapping ends.
    ///
    /// # Errors
    /// There is no such mapping.
    pub fn unmap(&self, id: MappingId) -> Result<(), ShareError> {
        let mut state = self.lock();
        let Some(held) = state.mappings.remove(&id) else { return Err(ShareError::NotMapped(id)) };
        let attachment = held.attachment;
        let leaving = state.members.get(&attachment).is_some_and(|member| member.leaving);
        if leaving && !state.is_mapped(attachment) {
            state.members.remove(&attachment);
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
        let mut deadline = Deadline::within(patience);
        let (state, _) = self.settled(&mut deadline)?;
        if state.storage.is_none() {
            let (_retired, _state) = self.change(state, None, deadline.moment())?;
        }
        Ok(())
    }

    /// Moves the storage though nobody new attached; without storage it does nothing.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn relocate(&self, patience: Duration) -> Result<(), ShareError> {
        let mut deadline = Deadline::within(patience);
        let (state, _) = self.settled(&mut deadline)?;
        if state.storage.is_some() {
            let (_retired, _state) = self.change(state, None, deadline.moment())?;
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
        self.lock().parties(None)
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
    fn settled(&self, deadline: &mut Deadline) -> Result<(Guard<'_, B::Storage>, bool), ShareError> {
        let mut state = self.lock();
        let mut waited = false;
        while state.changing {
            let late;
            (state, late) = wait_until(&self.changed, state, deadline.moment());
            waited = true;
            if late && state.changing {
                return Err(ShareError::Busy(Busy { holders: state.overstayed() }));
            }
        }
        Ok((state, waited))
    }

    /// Makes storage for everybody and `newcomer`, and moves the contents there if there is storage already.
    fn change<'c>(
        &'c self,
        mut state: Guard<'c, B::Storage>,
        newcomer: Option<&Party>,
        deadline: Instant,
    ) -> Result<Changed<'c, B::Storage>, ShareError> {
        // Before anybody is made to wait.
        self.backing.check(&state.parties(newcomer), state.storage.as_deref())?;
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
        // Only now: who held a mapping may have left or amended its constraints with it.
        let parties = state.parties(newcomer);
        let old = state.storage.clone();
        drop(state);
        let drained = started.elapsed();
        // Ends the change whatever becomes of it, even if a heap panics.
        let changing = Changing(self);
        let new = self.backing.allocate(&parties, old.as_deref())?;
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
        Ok((old, state))
    }
}

/// Until when somebody waits, counted from when the wait begins: where nobody does, the time is not asked for.
struct Deadline {
    patience: Duration,
    moment: Option<Instant>,
}

impl Deadline {
    fn within(patience: Duration) -> Self {
        Self { patience, moment: None }
    }

    fn at(moment: Instant) -> Self {
        Self { patience: Duration::ZERO, moment: Some(moment) }
    }

    fn moment(&mut self) -> Instant {
        *self.moment.get_or_insert_with(|| after(Instant::now(), self.patience))
    }
}

/// The moment `wait` from `start`; a wait without end is one of a year.
pub(super) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(Duration::from_secs(365 * 24 * 3600))
}

/// While it lives, storage is being made or moved.
struct Changing<'c, B: Backing>(&'c Core<B>);

impl<B: Backing> Drop for Changing<'_, B> {
    fn drop(&mut self) {
        self.0.lock().changing = false;
        self.0.changed.notify_all();
    }
}
