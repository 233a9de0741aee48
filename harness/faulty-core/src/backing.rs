//! What stands before a buffer's storage, and gets one thing wrong.

use handover::dmabuf::SharedFrame;
use handover::frame::Frame;
use handover::share::constraints::Party;
use handover::share::core::Backing;
use handover::share::heap::Storage;
use handover::share::layer::Behind;
use handover::share::refused::ShareError;
use handover_faults::made::fired;

/// What it gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// Whether anything suits everybody is found out only when it is to be made.
    RefusesLate,
    /// When storage moves, the format may become another one.
    Converts,
    /// When storage moves, the second half of the contents stays behind.
    LosesContents,
}

/// Stands before what is below.
pub(crate) struct Before {
    pub(crate) below: Box<Behind>,
    pub(crate) slip: Option<Slip>,
    /// Made before anybody asked; goes with the buffer.
    pub(crate) _made: Vec<Storage>,
}

impl Before {
    fn is(&self, slip: Slip) -> bool {
        self.slip == Some(slip)
    }

    /// The storage that the others are told of.
    fn told<'s>(&self, now: Option<&'s Storage>) -> Option<&'s Storage> {
        now.filter(|_| !self.is(Slip::Converts))
    }
}

impl Backing for Before {
    type Storage = Storage;

    fn check(&self, parties: &[Party], now: Option<&Storage>) -> Result<(), ShareError> {
        let checked = self.below.check(parties, self.told(now));
        if checked.is_err() && self.is(Slip::RefusesLate) {
            fired();
            return Ok(());
        }
        checked
    }

    fn allocate(&self, parties: &[Party], now: Option<&Storage>) -> Result<Storage, ShareError> {
        self.below.allocate(parties, self.told(now))
    }

    fn suits(&self, storage: &Storage, party: &Party) -> Result<(), String> {
        self.below.suits(storage, party)
    }

    fn relocate(&self, from: &Storage, to: &Storage) -> Result<(), ShareError> {
        let (old, new) = (&from.shared, &to.shared);
        if self.is(Slip::Converts) && old.frame.fourcc != new.frame.fourcc {
            fired();
            let frame = Frame { fourcc: new.frame.fourcc, ..old.frame.clone() };
            let renamed = SharedFrame { dmabuf: old.dmabuf.try_clone()?, frame };
            return self.below.relocate(&Storage::new(from.heap.clone(), renamed), to);
        }
        self.below.relocate(from, to)?;
        if self.is(Slip::LosesContents) {
            fired();
            let half = new.dmabuf.size / 2;
            new.dmabuf.map()?.write(half, &vec![0; (new.dmabuf.size - half) as usize])?;
        }
        Ok(())
    }
}
