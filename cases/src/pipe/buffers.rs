//! The buffers of a pipe: each is made for those who take part by then, and all that were made are known to the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::buffer::Attachment;
use handover::share::constraints::Party;
use handover::share::heap::{Heaps, Offer};
use handover::share::pool::{Limits, Pool};

/// The worst case: one drawn, one shown, one that the loop holds on to, one that leaves the screen, and one to spare.
const WORST: usize = 5;

/// Held by who uses the queue of a video device that is also a heap: it serves one at a time.
pub(super) type Gate = Arc<Mutex<()>>;

/// A heap whose device is used for something else as well.
struct Gated {
    heap: Arc<dyn Heap>,
    gate: Gate,
}

impl Heap for Gated {
    fn offer(&self) -> &Offer {
        self.heap.offer()
    }

    fn allocate(&self, agreement: &Agreement) -> Result<Storage> {
        let _gate = self.gate.lock();
        self.heap.allocate(agreement)
    }
}

/// Heaps for before and after: plain pages are cheaper, and only one other heap is contiguous.
pub(super) fn heaps(cx: &mut Cx, gate: &Gate) -> Result<Heaps, Trouble> {
    let mut found = cx.heaps(Kind::Udmabuf)?;
    let contiguous = cx.heaps(Kind::Expbuf)?.into_iter().filter(|heap| heap.offer().contiguous);
    found.extend(contiguous.map(|heap| Arc::new(Gated { heap, gate: gate.clone() }) as Arc<dyn Heap>));
    Ok(Heaps::new(found))
}

/// A buffer of the pool, with what the GPU made of its storage.
pub(super) struct Slot {
    /// Counted from 0 in the order in which they were made.
    pub(super) number: usize,
    pub(super) buffer: Buffer,
    /// Those who took part when it was made, in the order in which they joined the pipe.
    pub(super) attached: Vec<Attachment>,
    image: Mutex<Option<(u64, Image)>>,
}

impl Slot {
    /// The GPU draws the pattern of `stamp`; it imports storage that it has not seen before.
    pub(super) fn draw(&self, cx: &mut Cx, gpu: &Gpu, stamp: u32) -> Result<(), Trouble> {
        let mut image = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        cx.mapped(&Guest::Gpu(gpu), &self.buffer, Access::Write, |_, shared| {
            let generation = self.buffer.generation();
            if image.as_ref().is_none_or(|(seen, _)| *seen != generation) {
                *image = Some((generation, gpu.import_image(shared, &ImportRequest::default())?));
            }
            match &*image {
                Some((_, image)) => Ok(image.draw_pattern(stamp)?),
                None => Ok(()),
            }
        })
    }
}

/// A buffer that was made, and how many took part by then.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) buffer: Buffer,
    pub(super) parties: usize,
}

/// Who takes part, and every buffer that was made.
#[derive(Clone, Default)]
pub(super) struct Roll(Arc<Mutex<Rolled>>);

#[derive(Default)]
struct Rolled {
    parties: Vec<Party>,
    made: Vec<Made>,
}

impl Roll {
    fn lock(&self) -> MutexGuard<'_, Rolled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buffers that are made from now on suit `party` as well; says its place among the parties.
    pub(super) fn join(&self, party: Party) -> usize {
        let mut rolled = self.lock();
        rolled.parties.push(party);
        rolled.parties.len() - 1
    }

    /// Every buffer so far.
    pub(super) fn made(&self) -> Vec<Made> {
        self.lock().made.clone()
    }

    /// A pool of buffers for `wish`.
    pub(super) fn pool(&self, wish: Wish, heaps: Heaps) -> Result<Pool<Slot>, Trouble> {
        let roll = self.clone();
        let limits = Limits::on_demand(WORST, Duration::from_secs(60));
        Ok(Pool::new(limits, move |number| {
            let buffer = Buffer::export(wish.clone(), heaps.clone());
            let mut rolled = roll.lock();
            let attached = rolled.parties.iter().map(|party| buffer.attach(party.clone())).collect::<Result<_, _>>()?;
            let parties = rolled.parties.len();
            rolled.made.push(Made { buffer: buffer.clone(), parties });
            Ok(Slot { number, buffer, attached, image: Mutex::new(None) })
        })?)
    }
}
