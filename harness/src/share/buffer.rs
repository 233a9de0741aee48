//! A buffer that devices share: attach, map, unmap, CPU mmaps. [`super::core`] over real heaps and real fds.
//!
//! The guards end what they stand for when they are dropped, so that a device that fails, or a case that ends early, holds
//! nothing for longer than it lives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::agreement::{Agreement, Wish, agree, suits};
use super::constraints::{Constraints, Party};
use super::copy;
use super::core::{Access, AttachmentId, Backing, Core, Granted, Judge, Moved};
use super::cpu::CpuMapping;
use super::heap::{Heaps, Offer, Storage};
use super::layer::{Behind, layer};
use super::refused::ShareError;
use crate::dmabuf::SharedFrame;
use crate::error::Error;
use crate::frame::{Framed, Size};

/// How long calls of this module wait unless they are told otherwise: a frame at 1 Hz and then some.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long a mapping may be held unless it is told otherwise.
pub const HOLD: Duration = Duration::from_secs(10);

/// A buffer that devices share; clones are the same buffer.
#[derive(Clone)]
pub struct Buffer {
    core: Arc<Core<Box<Behind>>>,
    real: Arc<RealBacking>,
}

impl Buffer {
    /// A buffer for `wish`, whose storage will come from one of `heaps` (S1: nothing is allocated).
    pub fn export(wish: Wish, heaps: Heaps) -> Self {
        Self::start(RealBacking { wish, heaps, exporter: None, mmaps: Mutex::default() }, None)
    }

    /// A buffer whose storage exists already, made by an eager exporter that offered it as `offer` (S7). It can move to
    /// `heaps` for a stricter device.
    ///
    /// # Errors
    /// The dma-buf is smaller than the frame in it, as far as where that ends is known.
    pub fn of_storage(storage: Storage, offer: Offer, heaps: Heaps) -> Result<Self, ShareError> {
        storage.shared.check()?;
        let frame = &storage.shared.frame;
        let wish = Wish { fourccs: vec![frame.fourcc], size: frame.size };
        let backing = RealBacking { wish, heaps, exporter: Some(offer), mmaps: Mutex::default() };
        Ok(Self::start(backing, Some(storage)))
    }

    fn start(real: RealBacking, storage: Option<Storage>) -> Self {
        let real = Arc::new(real);
        let behind = layer().behind(Box::new(Arc::clone(&real)), &real.heaps);
        let core = match storage {
            Some(storage) => Core::with_storage(behind, storage),
            None => Core::new(behind),
        };
        Self { core: Arc::new(core), real }
    }

    /// `party` takes part (S2); storage that does not suit it moves first (S6).
    ///
    /// # Errors
    /// See [`Core::attach`].
    pub fn attach(&self, party: Party) -> Result<Attachment, ShareError> {
        self.attach_within(party, PATIENCE)
    }

    /// [`Self::attach`] that waits for outstanding mappings for `patience` at most.
    ///
    /// # Errors
    /// See [`Core::attach`].
    pub fn attach_within(&self, party: Party, patience: Duration) -> Result<Attachment, ShareError> {
        let party = layer().party(party);
        let name = party.name.clone();
        let id = self.core.attach(party, patience)?;
        Ok(Attachment { buffer: self.clone(), id, name })
    }

    /// [`Self::attach_within`] of a party that is not trusted: it is refused, too, if `judge` objects to it and the others
    /// that are not; or, without storage, if nothing could suit it and everybody present.
    ///
    /// # Errors
    /// See [`Core::attach_checked`].
    pub fn attach_checked(
        &self,
        party: Party,
        patience: Duration,
        judge: &Judge<'_>,
    ) -> Result<Attachment, ShareError> {
        let party = layer().party(party);
        let name = party.name.clone();
        let id = self.core.attach_checked(party, patience, judge)?;
        Ok(Attachment { buffer: self.clone(), id, name })
    }

    /// Makes the storage now (S7).
    ///
    /// # Errors
    /// See [`Core::allocate`].
    pub fn allocate(&self) -> Result<(), ShareError> {
        if layer().allocates() { self.core.allocate(PATIENCE) } else { Ok(()) }
    }

    /// Moves the storage though nobody new attached.
    ///
    /// # Errors
    /// See [`Core::relocate`].
    pub fn relocate(&self, patience: Duration) -> Result<(), ShareError> {
        self.core.relocate(patience)
    }

    /// The buffer as the CPU sees it, for as long as the result lives and wherever the storage moves to (S8).
    ///
    /// The layout that the CPU sees can't change under it, so a device that needs another one is refused from now on.
    ///
    /// # Errors
    /// As [`Self::attach`] and [`Attachment::map`], and those of mmap.
    pub fn mmap(&self, name: &str) -> Result<Arc<CpuMapping>, ShareError> {
        let party = Party { name: name.to_owned(), constraints: Constraints::cpu(&self.real.wish.fourccs) };
        let attachment = self.attach(party)?;
        let mapped = attachment.map(Access::Write)?;
        let frame = mapped.shared().frame.clone();
        let mapping = mapped.shared().dmabuf.map()?;
        let constraints = Constraints::pinned(&frame, mapping.length());
        self.core.amend(attachment.id, Party { name: name.to_owned(), constraints })?;
        let mapping = Arc::new(CpuMapping::new(mapping, frame, attachment));
        let mut mmaps = self.real.mmaps();
        mmaps.retain(|mapping| mapping.strong_count() > 0);
        mmaps.push(Arc::downgrade(&mapping));
        // Until here it held the storage where it is.
        drop(mapped);
        Ok(mapping)
    }

    /// Which storage this is: 0 before the first, one more with each.
    pub fn generation(&self) -> u64 {
        self.core.generation()
    }

    /// The storage as it is now, for observers: it may move away at any time.
    pub fn storage(&self) -> Option<Arc<Storage>> {
        self.core.storage()
    }

    /// What it holds, or is to hold.
    pub fn wish(&self) -> &Wish {
        &self.real.wish
    }

    /// Where its storage can come from.
    pub fn heaps(&self) -> &Heaps {
        &self.real.heaps
    }

    /// Who takes part.
    pub fn parties(&self) -> Vec<Party> {
        self.core.parties()
    }

    /// How many mappings there are.
    pub fn mappings(&self) -> usize {
        self.core.mappings()
    }

    /// Every move so far.
    pub fn moves(&self) -> Vec<Moved> {
        self.core.moves()
    }
}

impl Framed for Buffer {
    fn size(&self) -> Size {
        self.wish().size
    }
}

/// A device that takes part in a buffer. Dropping it detaches.
pub struct Attachment {
    buffer: Buffer,
    id: AttachmentId,
    name: String,
}

impl Attachment {
    /// Access to the storage, which stays where it is meanwhile. Ends when the result is dropped.
    ///
    /// # Errors
    /// See [`Core::map`].
    #[track_caller]
    pub fn map(&self, access: Access) -> Result<Mapping, ShareError> {
        self.map_within(access, HOLD, PATIENCE)
    }

    /// [`Self::map`] for `hold` at most, waiting for storage for `patience` at most.
    ///
    /// # Errors
    /// See [`Core::map`].
    #[track_caller]
    pub fn map_within(&self, access: Access, hold: Duration, patience: Duration) -> Result<Mapping, ShareError> {
        let granted = self.buffer.core.map(self.id, access, layer().hold(hold), patience)?;
        Ok(Mapping { buffer: self.buffer.clone(), granted })
    }

    /// Takes part no longer, if it has no mapping. Dropping the attachment afterwards does nothing more.
    ///
    /// # Errors
    /// It has a mapping.
    pub fn detach(&self) -> Result<(), ShareError> {
        self.buffer.core.detach(self.id)
    }

    /// The buffer.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Who takes part.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // A mapping holds the core and not the attachment, so there may be one: then the party leaves with it.
        self.buffer.core.leave(self.id);
    }
}

/// A device's access to the storage. Dropping it unmaps.
pub struct Mapping {
    buffer: Buffer,
    granted: Granted<Storage>,
}

impl Mapping {
    /// The dma-buf, and where the frame lies in it.
    pub fn shared(&self) -> &SharedFrame {
        &self.granted.storage.shared
    }

    /// The storage that it shows.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.granted.storage
    }

    /// Which storage that is; an importer that has seen this one needs no new import.
    pub fn generation(&self) -> u64 {
        self.granted.generation
    }

    /// How long mapping waited for storage to be made or moved.
    pub fn stalled(&self) -> Duration {
        self.granted.stalled
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if layer().unmaps()
            && let Err(error) = self.buffer.core.unmap(self.granted.id)
        {
            tracing::error!(%error, "unmap failed");
        }
    }
}

/// Storage from heaps, and CPU mmaps that follow it.
struct RealBacking {
    wish: Wish,
    heaps: Heaps,
    /// Of the exporter that made the first storage, if it is not one of the heaps.
    exporter: Option<Offer>,
    mmaps: Mutex<Vec<Weak<CpuMapping>>>,
}

impl RealBacking {
    fn mmaps(&self) -> MutexGuard<'_, Vec<Weak<CpuMapping>>> {
        self.mmaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suits(&self, storage: &Storage, party: &Party) -> Result<(), String> {
        let SharedFrame { dmabuf, frame } = &storage.shared;
        let agreement = Agreement { heap: storage.heap.clone(), frame: frame.clone(), bytes: dmabuf.size };
        let heap = self.heaps.get(&storage.heap).map(|heap| heap.offer());
        let offer = heap.or(self.exporter.as_ref());
        offer.map_or_else(
            || Err(format!("{} is not a heap any more", storage.heap)),
            |offer| suits(&agreement, offer, party),
        )
    }

    fn agreements(&self, parties: &[Party], now: Option<&Storage>) -> Result<Vec<Agreement>, ShareError> {
        if let (Some(now), true) = (now, self.heaps.is_empty()) {
            // Whoever it suits already is no reason.
            for party in parties {
                self.suits(now, party).map_err(|why| ShareError::Unsuited { who: party.name.clone(), why })?;
            }
        }
        // Contents can be moved, but not converted.
        let fourccs = now.map_or_else(|| self.wish.fourccs.clone(), |now| vec![now.shared.frame.fourcc]);
        Ok(agree(&Wish { fourccs, ..self.wish }, parties, &self.heaps.offers())?)
    }
}

impl Backing for Arc<RealBacking> {
    type Storage = Storage;

    fn check(&self, parties: &[Party], now: Option<&Storage>) -> Result<(), ShareError> {
        self.agreements(parties, now).map(drop)
    }

    fn allocate(&self, parties: &[Party], now: Option<&Storage>) -> Result<Storage, ShareError> {
        let agreements = self.agreements(parties, now)?;
        let mut tried = Vec::new();
        for agreement in &agreements {
            let Some(heap) = self.heaps.get(&agreement.heap) else { continue };
            match heap.allocate(agreement) {
                // A heap may give more than it was asked for, and that may be too much.
                Ok(storage) => match parties.iter().find_map(|party| Some((party, self.suits(&storage, party).err()?)))
                {
                    None => return Ok(storage),
                    Some((party, why)) => {
                        let error = Error::answer("allocating from a heap", storage.to_string(), why);
                        tried.push((format!("{}, for {}", agreement.heap, party.name), error));
                    }
                },
                Err(error) => tried.push((agreement.heap.clone(), error)),
            }
        }
        Err(ShareError::NoStorage(tried))
    }

    fn suits(&self, storage: &Storage, party: &Party) -> Result<(), String> {
        (**self).suits(storage, party)
    }

    fn relocate(&self, from: &Storage, to: &Storage) -> Result<(), ShareError> {
        let mmaps: Vec<Arc<CpuMapping>> = self.mmaps().iter().filter_map(Weak::upgrade).collect();
        if !mmaps.is_empty() && from.shared.frame != to.shared.frame {
            let why = format!("the CPU has it mapped, and {} lies otherwise", to.shared.frame);
            return Err(Error::input("moving contents", from.to_string(), why).into());
        }
        let moved = mmaps
            .iter()
            // A store that came now would be lost; let it be seen.
            .try_for_each(|mapping| mapping.set_writable(false))
            .and_then(|()| copy::contents(&from.shared, &to.shared))
            .and_then(|()| mmaps.iter().try_for_each(|mapping| mapping.show(&to.shared.dmabuf)));
        if let Err(error) = moved {
            for mapping in &mmaps {
                if let Err(error) = mapping.show(&from.shared.dmabuf) {
                    tracing::error!(%error, "a CPU mapping can't be shown its old storage again");
                }
            }
            return Err(error.into());
        }
        Ok(())
    }
}
