//! On which layout and which heap can these devices agree? The cheapest that suits all of them, or a refusal that says why.
//!
//! Pure: the same wish, parties and offers give the same answer, in whatever order they are listed. Nothing is allocated.

use std::fmt;

use serde::{Deserialize, Serialize};

use self::layout::{Demand, Rows, Together, demands, demands_of_heap, end, shapes, worked_with};
use self::lists::{Listed, common, listed};
use self::memory::Extent;
use super::constraints::{FormatModifier, Party};
use super::heap::Offer;
use crate::format::Fourcc;
use crate::frame::{Frame, Plane, Size};

mod layout;
mod lists;
mod memory;
mod refusal;
#[cfg(test)]
mod tests;

/// What a buffer is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The formats that will do, the best one first.
    pub fourccs: Vec<Fourcc>,
    /// Width and height of the frame.
    pub size: Size,
}

/// A heap and a layout that suit everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Name of the heap.
    pub heap: String,
    /// Where the pixels lie.
    pub frame: Frame,
    /// Size of the whole buffer, in bytes.
    pub bytes: u64,
}

/// Why there is no agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The constraints that collide, each with whose it is.
    pub collisions: Vec<Collision>,
    /// The nearest thing that would work.
    pub nearest: Option<String>,
}

/// Constraints that nothing satisfies at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// What they are about: `format and modifier`, `pitch`, `size`, `contiguity`.
    pub about: String,
    /// Who says what: `("vivid.1", "needs contiguous memory")`; heaps are named, too.
    pub sides: Vec<(String, String)>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, collision) in self.collisions.iter().enumerate() {
            write!(f, "{}{}: ", if n == 0 { "" } else { "; " }, collision.about)?;
            for (n, (who, what)) in collision.sides.iter().enumerate() {
                write!(f, "{}{who} {what}", if n == 0 { "" } else { ", " })?;
            }
        }
        match &self.nearest {
            Some(nearest) => write!(f, "; nearest: {nearest}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { size, fourcc, modifier, planes } = &self.frame;
        write!(f, "heap {}, {fourcc} {modifier}, {size}, pitch ", self.heap)?;
        for (n, plane) in planes.iter().enumerate() {
            write!(f, "{}{} B", if n == 0 { "" } else { " and " }, plane.pitch)?;
        }
        write!(f, ", {} B in all", self.bytes)
    }
}

/// The best layout on each heap that suits all `parties`, the cheapest heap first; never empty.
///
/// Heaps of one cost are in the order of their names. On each heap it is the first format of the wish that suits; of
/// several modifiers the one that the parties like best, which is the one with the smallest sum of its places in their
/// lists, and the smallest code if that is equal. Nothing depends on the order of `parties`
/// or `offers`.
///
/// # Errors
/// Nothing does: which constraints collide, and what would work.
pub fn agree(wish: &Wish, parties: &[Party], offers: &[Offer]) -> Result<Vec<Agreement>, Refusal> {
    let listed = listed(parties);
    let all: Vec<&Listed<'_>> = listed.iter().collect();
    let offers = ordered(offers);
    let ranked = ranked(common(Some(&wish.fourccs), &all), wish.size, &all, &offers);
    if ranked.is_empty() { Err(refusal::explain(wish, all, &offers)) } else { Ok(ranked) }
}

/// Whether storage that lies as `agreement` says suits `party` as well; `Err` says what does not.
///
/// # Errors
/// The constraints of `party` that the storage breaks.
pub fn suits(agreement: &Agreement, offer: &Offer, party: &Party) -> Result<(), String> {
    let constraints = &party.constraints;
    constraints.check().map_err(|why| format!("its constraints contradict themselves: {why}"))?;
    let Agreement { frame, bytes, .. } = agreement;
    let mut broken = Vec::new();
    let pair = FormatModifier { fourcc: frame.fourcc, modifier: frame.modifier, planes: frame.planes.len() as u32 };
    if !constraints.formats.contains(&pair) {
        let same = |other: &&FormatModifier| (other.fourcc, other.modifier) == (pair.fourcc, pair.modifier);
        broken.push(match constraints.formats.iter().find(same) {
            Some(other) => format!("takes {pair} in {} planes only, the frame has {}", other.planes, pair.planes),
            None => format!("takes no {pair}"),
        });
    }
    let (size, smallest, largest) = (frame.size, constraints.smallest, constraints.largest);
    if !within(size, smallest, largest) {
        broken.push(format!("takes {smallest} to {largest}, the frame has {size}"));
    }
    for (n, plane) in frame.planes.iter().enumerate() {
        if !constraints.pitch.allow(plane.pitch) {
            broken.push(format!("takes {} as pitch, plane {n} has {} B", constraints.pitch, plane.pitch));
        }
        if !plane.offset.is_multiple_of(constraints.offset_alignment) {
            let alignment = constraints.offset_alignment;
            broken.push(format!("takes multiples of {alignment} B as offset, plane {n} has {} B", plane.offset));
        }
    }
    let mut extent = Extent { whole: (*bytes).into(), worked_with: (*bytes).into() };
    match shapes(&pair) {
        Some(shapes) => {
            let rows = Rows::of(shapes, size);
            let planes: Vec<(u128, u128)> =
                frame.planes.iter().map(|plane| (plane.offset.into(), plane.pitch.into())).collect();
            let (end, needed) = (end(&planes, &rows), worked_with(&planes, &rows, constraints));
            extent.worked_with = extent.worked_with.min(needed);
            let (padding, behind) = (needed - end, i128::from(*bytes) - end as i128);
            if behind < padding as i128 {
                broken.push(format!("touches {padding} B behind the last plane, where there are {behind} B"));
            }
        }
        // Only who made such storage knows where its planes end.
        None if constraints.padding > 0 || constraints.rows_behind > 0 => {
            broken.push("touches bytes behind the last plane, whose end is not known".to_owned());
        }
        None => {}
    }
    if !constraints.size.allow(*bytes) {
        broken.push(format!("takes {} as size, the buffer has {bytes} B", constraints.size));
    }
    for objection in memory::objections(&constraints.memory, offer, extent) {
        broken.push(format!("{}, heap {} {}", objection.needs, offer.heap, objection.provides));
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
}

fn within(size: Size, smallest: Size, largest: Size) -> bool {
    (smallest.width..=largest.width).contains(&size.width) && (smallest.height..=largest.height).contains(&size.height)
}

/// `offers`, the cheapest first.
fn ordered(offers: &[Offer]) -> Vec<&Offer> {
    let mut ordered: Vec<&Offer> = offers.iter().collect();
    ordered.sort_by_key(|offer| {
        // Names are unique; where they are not, the rest still makes the order of the list unimportant.
        let Offer { heap, cost, contiguous, address_bits, granule, largest, cpu } = *offer;
        (*cost, heap, *contiguous, *address_bits, *granule, *largest, *cpu)
    });
    ordered
}

/// On each of `offers` the first of `pairs` that suits all `parties`.
fn ranked(pairs: Vec<FormatModifier>, size: Size, parties: &[&Listed<'_>], offers: &[&Offer]) -> Vec<Agreement> {
    let suitable = |party: &&Listed<'_>| {
        let constraints = &party.constraints;
        constraints.check().is_ok() && within(size, constraints.smallest, constraints.largest)
    };
    if size.width == 0 || size.height == 0 || !parties.iter().all(suitable) {
        return Vec::new();
    }
    let everybody = Together::of(parties.iter().flat_map(|party| demands(&party.constraints))).with([Demand::Frame]);
    let frames: Vec<(FormatModifier, Rows)> =
        pairs.into_iter().filter_map(|pair| Some((pair, Rows::of(shapes(&pair)?, size)))).collect();
    let on = |offer: &&Offer| {
        let together = everybody.clone().with(demands_of_heap(offer));
        frames.iter().find_map(|(pair, rows)| {
            let laid = together.lay_out(rows);
            let fits = together.pitch_fits(&laid) && together.size_fits(&laid);
            let meets = |party: &&Listed<'_>| {
                memory::meets(&party.constraints.memory, offer, laid.extent(rows, &party.constraints))
            };
            if !fits || !parties.iter().all(meets) {
                return None;
            }
            // What fits, fits in 64 bits.
            let plane = |(offset, pitch): &(u128, u128)| Plane { offset: *offset as u64, pitch: *pitch as u64 };
            let planes = laid.planes.iter().map(plane).collect();
            let frame = Frame { size, fourcc: pair.fourcc, modifier: pair.modifier, planes };
            Some(Agreement { heap: offer.heap.clone(), frame, bytes: laid.bytes as u64 })
        })
    };
    offers.iter().filter_map(on).collect()
}
