//! Which frames the screen has a look at, or another third, beside importer and CPU: a look takes longer than all else that is
//! done with one.

use handover::case::Extent;
use handover::ends::{Exporter, Importer, Parcel};
use handover::prelude::*;

use super::{GPUS, TAKEN_OFTEN};

/// How many pairs of GPUs there are.
const PAIRS: usize = GPUS.len() * GPUS.len();

/// The looks at what crosses between two devices, for one claim.
pub(super) struct Looks {
    /// Which one of the pairs of GPUs it is; all of them try the same frames. `None` also where there is time for every frame.
    turn: Option<usize>,
    /// How many frames could have had one.
    frames: usize,
}

impl Looks {
    pub(super) fn between(from: &dyn Exporter, to: &dyn Importer, extent: Extent) -> Self {
        let place = |role: Role| GPUS.iter().position(|gpu| *gpu == role);
        let turn = place(from.role()).zip(place(to.role())).map(|(from, to)| from * GPUS.len() + to);
        Self { turn: turn.filter(|_| extent != Extent::Exhaustive), frames: 0 }
    }

    /// Whether there is one at `parcel`, which has the next case of the claim `claim`: at all that arrives, at what stays fresh
    /// if it does not come back, at all that does, and at what is taken in more than once. Between GPUs, which take many frames in little time, at each frame that
    /// comes back in one of all pairs, and so at every second one that arrives: they take turns.
    pub(super) fn at(&mut self, claim: &str, to: &dyn Importer, parcel: &Parcel) -> bool {
        let frame = self.frames;
        self.frames += 1;
        match (claim, self.turn) {
            // Nobody else sees them as pixels.
            ("arrives", _) if parcel.fourcc.yuv().is_some() => true,
            (TAKEN_OFTEN, _) => true,
            ("stays_fresh", _) => !to.draws(parcel),
            ("arrives" | "comes_back", None) => true,
            // Of what arrives there are many times as many.
            ("arrives", Some(turn)) => frame % (2 * PAIRS) == 2 * turn,
            ("comes_back", Some(turn)) => frame % PAIRS == turn,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use handover::ends::{exporters, importers};

    use super::super::parcels;
    use super::*;

    #[test]
    fn gpus_take_turns_with_the_screen() {
        for (claim, strength, every) in [("arrives", 2, 2), ("comes_back", 1, 1)] {
            let mut looks_at: BTreeMap<String, usize> = BTreeMap::new();
            for from in exporters().into_iter().filter(|from| GPUS.contains(&from.role())) {
                for to in importers().into_iter().filter(|to| GPUS.contains(&to.role())) {
                    let mut looks = Looks::between(from, to, Extent::Covering);
                    let parcels = parcels(from, to, strength, |_| true);
                    let mut shown = 0;
                    for parcel in parcels {
                        let is_shown = looks.at(claim, to, &parcel);
                        *looks_at.entry(parcel.to_string()).or_default() += usize::from(is_shown);
                        shown += usize::from(is_shown);
                    }
                    assert!(shown > 0, "{claim}: none from {} to {}", from.role(), to.role());
                }
            }
            assert!(looks_at.len() >= every * PAIRS, "a look for each pair: {looks_at:?}");
            let shown = looks_at.values().filter(|looks| **looks == 1).count();
            assert_eq!(
                shown,
                looks_at.len().div_ceil(every),
                "{claim}: one look at every frame, or every second: {looks_at:?}"
            );
        }
    }
}
