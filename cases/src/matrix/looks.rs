//! Which frames the screen has a look at, beside importer and CPU: a look takes longer than all else that is done with one.

use std::collections::BTreeSet;

use handover::ends::{Exporter, Importer, Parcel};
use handover::prelude::*;

use super::values;

const GPUS: [Role; 2] = [GpuA, GpuB];

/// The looks at what crosses between two devices, for one claim.
pub(super) struct Looks {
    tried: BTreeSet<String>,
    /// Which one of the pairs of GPUs it is; all of them try the same frames.
    turn: Option<usize>,
    /// How many frames had something new.
    frames: usize,
}

impl Looks {
    pub(super) fn between(from: &dyn Exporter, to: &dyn Importer) -> Self {
        let place = |role: Role| GPUS.iter().position(|gpu| *gpu == role);
        let turn = place(from.role()).zip(place(to.role())).map(|(from, to)| from * GPUS.len() + to);
        Self { tried: BTreeSet::new(), turn, frames: 0 }
    }

    /// Whether there is one at `parcel`, which has the next case of the claim `claim`: at what arrives if something of it is new,
    /// at what stays fresh if it does not come back, and at all that does. Between GPUs, which take many frames and little time, at
    /// the first one, and of what is new in each of the others at one for all pairs: they take turns.
    pub(super) fn at(&mut self, claim: &str, to: &dyn Importer, parcel: &Parcel) -> bool {
        match (claim, self.turn) {
            // Nobody else sees them as pixels.
            ("arrives", _) if parcel.fourcc.yuv().is_some() => true,
            ("arrives", None) => self.is_new(parcel),
            ("comes_back", None) => true,
            ("stays_fresh", _) => !to.draws(parcel),
            // vkms shows wrong what does not begin with the first byte, so that another one has the look.
            ("arrives" | "comes_back", Some(turn)) if !parcel.begins_behind() && self.is_new(parcel) => {
                let frame = self.frames;
                self.frames += 1;
                frame == 0 || frame % (GPUS.len() * GPUS.len()) == turn
            }
            _ => false,
        }
    }

    fn is_new(&mut self, parcel: &Parcel) -> bool {
        let found = values(parcel).into_iter().filter(|value| self.tried.insert(value.clone())).count();
        found > 0
    }
}
