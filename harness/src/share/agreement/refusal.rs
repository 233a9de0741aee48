//! Why is there no agreement, and what is the nearest thing that would work?
//!
//! A collision is as small as can be: without any one of its sides, the others go together.

use std::collections::BTreeMap;

use super::layout::{Demand, Laid, Rows, Together, demands, demands_of_heap, shapes};
use super::lists::{Listed, common};
use super::{Collision, Refusal, Wish, memory, ranked};
use crate::format::Fourcc;
use crate::frame::Size;
use crate::share::constraints::FormatModifier;
use crate::share::heap::Offer;

/// Who says what.
type Side = (String, String);

/// What the wish says is said by this.
const FRAME: &str = "the frame";

/// Why nothing suits `wish`, `parties` and `offers`.
pub(super) fn explain(wish: &Wish, mut parties: Vec<&Listed<'_>>, offers: &[&Offer]) -> Refusal {
    // Devices of one name are told apart by what they say.
    let what = |party: &Listed<'_>| format!("{:?}", party.constraints);
    parties.sort_by(|one, other| one.name.cmp(&other.name).then_with(|| what(one).cmp(&what(other))));
    let mut collisions = collisions(wish, &parties, offers);
    for collision in &mut collisions {
        collision.sides.dedup();
    }
    collisions.dedup();
    Refusal { collisions, nearest: nearest(wish, &parties, offers) }
}

fn collisions(wish: &Wish, parties: &[&Listed<'_>], offers: &[&Offer]) -> Vec<Collision> {
    let contradictions: Vec<Collision> = parties
        .iter()
        .filter_map(|party| Some((party, party.constraints.check().err()?)))
        .map(|(party, why)| collision("contradiction", [(party.name.clone(), format!("says {why}"))]))
        .collect();
    if !contradictions.is_empty() {
        return contradictions;
    }
    let mut found = of_size(wish.size, parties);
    found.extend(of_formats(wish, parties));
    if offers.is_empty() {
        found.push(collision("heap", [("the machine".to_owned(), "offers none".to_owned())]));
    }
    if !found.is_empty() {
        return found;
    }
    let mut layouts = laid_out(wish, parties).map(|(pair, rows)| {
        let found = of_layout(&pair, &rows, wish.size, parties, None);
        (pair, rows, found)
    });
    let Some(first) = layouts.next() else { return found };
    // What is wrong with the best pair whose layout suits all parties; heaps are at fault then.
    let (pair, rows, found) = match first.2.is_empty() {
        true => first,
        false => layouts.find(|(_, _, found)| found.is_empty()).unwrap_or(first),
    };
    if !found.is_empty() {
        return found;
    }
    by_sides(offers.iter().flat_map(|offer| of_heap(&pair, &rows, wish.size, parties, offer)))
}

fn collision(about: &str, sides: impl IntoIterator<Item = Side>) -> Collision {
    Collision { about: about.to_owned(), sides: sides.into_iter().collect() }
}

/// What the frame's size collides with.
fn of_size(size: Size, parties: &[&Listed<'_>]) -> Vec<Collision> {
    let frame = (FRAME.to_owned(), format!("has {size}"));
    if size.width == 0 || size.height == 0 {
        return vec![collision("frame size", [frame])];
    }
    let refusing = |party: &&Listed<'_>| {
        let (smallest, largest) = (party.constraints.smallest, party.constraints.largest);
        let what = if size.width < smallest.width || size.height < smallest.height {
            format!("takes at least {smallest}")
        } else if size.width > largest.width || size.height > largest.height {
            format!("takes at most {largest}")
        } else {
            return None;
        };
        Some(collision("frame size", [frame.clone(), (party.name.clone(), what)]))
    };
    parties.iter().filter_map(refusing).collect()
}

/// One of those who say which pairs will do.
#[derive(Clone, Copy)]
enum Taker<'a> {
    Party(&'a Listed<'a>),
    Heaps,
    Wish,
}

/// Why no pair of format and modifier is everybody's.
fn of_formats(wish: &Wish, parties: &[&Listed<'_>]) -> Vec<Collision> {
    // Sides are tried to be done without in this order, so that what is wished stays if it is to blame.
    let takers: Vec<Taker> =
        parties.iter().map(|party| Taker::Party(party)).chain([Taker::Heaps, Taker::Wish]).collect();
    let possible = |takers: &[Taker]| {
        let heaps = takers.iter().any(|taker| matches!(taker, Taker::Heaps));
        let wished = takers.iter().any(|taker| matches!(taker, Taker::Wish));
        let parties: Vec<&Listed<'_>> = takers
            .iter()
            .filter_map(|taker| if let Taker::Party(party) = taker { Some(*party) } else { None })
            .collect();
        if parties.is_empty() && !wished {
            return true;
        }
        let pairs = common(wished.then_some(wish.fourccs.as_slice()), &parties);
        if heaps { pairs.iter().any(|pair| shapes(pair).is_some()) } else { !pairs.is_empty() }
    };
    let side = |taker: &Taker| match taker {
        Taker::Party(party) => (party.name.clone(), taken(wish, &party.constraints.formats)),
        Taker::Heaps => ("every heap".to_owned(), "lays out LINEAR frames of known formats only".to_owned()),
        Taker::Wish if wish.fourccs.is_empty() => (FRAME.to_owned(), "is to be of no format".to_owned()),
        Taker::Wish => (FRAME.to_owned(), format!("is to be {}", one_of(&wish.fourccs))),
    };
    smallest_collisions(takers, |taker| matches!(taker, Taker::Party(_)), possible)
        .iter()
        // What is wished is said first.
        .map(|takers| collision("format and modifier", takers.iter().rev().map(side)))
        .collect()
}

/// What a party says of its formats: those that are wished, or else what it takes instead.
fn taken(wish: &Wish, formats: &[FormatModifier]) -> String {
    let wished: Vec<&FormatModifier> = formats.iter().filter(|pair| wish.fourccs.contains(&pair.fourcc)).collect();
    match wished.is_empty() {
        false => format!("takes {}", some(&wished)),
        true => format!("takes no {}, but {}", one_of(&wish.fourccs), some(&formats.iter().collect::<Vec<_>>())),
    }
}

/// The first few of `pairs`, and how many there are more.
fn some(pairs: &[&FormatModifier]) -> String {
    const SHOWN: usize = 4;
    let text = |pair: &&FormatModifier| match pair.fourcc.planes() {
        Some(shapes) if shapes.len() != pair.planes as usize => format!("{pair} in {} planes", pair.planes),
        _ => pair.to_string(),
    };
    let mut shown: Vec<String> = pairs.iter().take(SHOWN).map(text).collect();
    if pairs.len() > SHOWN {
        shown.push(format!("{} more", pairs.len() - SHOWN));
    }
    shown.join(", ")
}

fn one_of(fourccs: &[Fourcc]) -> String {
    fourccs.iter().map(Fourcc::to_string).collect::<Vec<_>>().join(" or ")
}

/// The pairs that everybody takes and that can be laid out, the best one first, with the rows of their frames.
fn laid_out(wish: &Wish, parties: &[&Listed<'_>]) -> impl Iterator<Item = (FormatModifier, Rows)> {
    let size = wish.size;
    common(Some(&wish.fourccs), parties)
        .into_iter()
        .filter_map(move |pair| shapes(&pair).map(|shapes| (pair, Rows::of(shapes, size))))
}

/// Why a frame of `pair` can't be laid out for all `parties`, in memory of `offer` if there is one.
fn of_layout(
    pair: &FormatModifier,
    rows: &Rows,
    size: Size,
    parties: &[&Listed<'_>],
    offer: Option<&Offer>,
) -> Vec<Collision> {
    let heap = offer.map(|offer| format!("heap {}", offer.heap));
    let mut all: Vec<(&str, Demand)> = parties
        .iter()
        .flat_map(|party| demands(&party.constraints).map(|demand| (party.name.as_str(), demand)))
        .collect();
    if let (Some(heap), Some(offer)) = (&heap, offer) {
        all.extend(demands_of_heap(offer).map(|demand| (heap.as_str(), demand)));
    }
    // The weakest is tried first to be done without, and the strictest one named; the frame is to blame before anybody.
    all.sort_by_key(|(_, demand)| strictness(demand));
    all.push((FRAME, Demand::Frame));
    let together = |demands: &[(&str, Demand)]| Together::of(demands.iter().map(|(_, demand)| *demand));
    let pitch = |demands: &[(&str, Demand)]| {
        let together = together(demands);
        together.pitch_fits(&together.lay_out(rows))
    };
    let bytes = |demands: &[(&str, Demand)]| {
        let together = together(demands);
        together.size_fits(&together.lay_out(rows))
    };
    let of_party = |(who, _): &(&str, Demand)| *who != FRAME && Some(*who) != heap.as_deref();
    let mut found = Vec::new();
    for (about, collisions) in [
        ("pitch", smallest_collisions(all.clone(), of_party, pitch)),
        ("size", smallest_collisions(all, of_party, bytes)),
    ] {
        for demands in collisions {
            let mut sides: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (who, demand) in demands.iter().filter(|(_, demand)| *demand != Demand::Frame) {
                let verb = if Some(*who) == heap.as_deref() { "provides" } else { "takes" };
                sides.entry(who).or_default().push(words(demand, verb));
            }
            let frame = demands.iter().any(|(_, demand)| *demand == Demand::Frame);
            let frame = frame.then(|| (FRAME.to_owned(), frame_words(about, pair, rows, size)));
            // Heaps come last.
            let heap = heap.as_deref().and_then(|heap| sides.remove(heap).map(|what| (heap, what)));
            let others = sides.into_iter().chain(heap).map(|(who, what)| (who.to_owned(), what.join(" and ")));
            found.push(collision(about, frame.into_iter().chain(others)));
        }
    }
    found
}

/// The kinds in a fixed order, and within one the weakest first.
fn strictness(demand: &Demand) -> (u8, u64) {
    match *demand {
        Demand::PitchAlignment(bytes) => (0, bytes),
        Demand::PitchMin(bytes) => (1, bytes),
        Demand::OffsetAlignment(bytes) => (2, bytes),
        Demand::Behind { rows, bytes } => (3, bytes.saturating_add(u64::from(rows) << 32)),
        Demand::SizeAlignment(bytes) => (4, bytes),
        Demand::SizeMin(bytes) => (5, bytes),
        Demand::PitchMax(bytes) => (6, u64::MAX - bytes),
        Demand::SizeMax(bytes) => (7, u64::MAX - bytes),
        Demand::Frame => (8, 0),
    }
}

/// What who makes `demand` says.
fn words(demand: &Demand, takes: &str) -> String {
    match demand {
        Demand::Frame => "has to fit".to_owned(),
        Demand::PitchAlignment(bytes) => format!("{takes} multiples of {bytes} B as pitch"),
        Demand::PitchMin(bytes) => format!("{takes} at least {bytes} B as pitch"),
        Demand::PitchMax(bytes) => format!("{takes} at most {bytes} B as pitch"),
        Demand::OffsetAlignment(bytes) => format!("{takes} multiples of {bytes} B as offset of a plane"),
        Demand::Behind { rows: 0, bytes } => format!("touches {bytes} B behind the last plane"),
        Demand::Behind { rows, bytes } => format!("touches {rows} rows and {bytes} B behind the last plane"),
        Demand::SizeAlignment(bytes) => format!("{takes} multiples of {bytes} B as size"),
        Demand::SizeMin(bytes) => format!("{takes} at least {bytes} B as size"),
        Demand::SizeMax(bytes) => format!("{takes} at most {bytes} B as size"),
    }
}

/// What the frame says where pitches or sizes collide.
fn frame_words(about: &str, pair: &FormatModifier, rows: &Rows, size: Size) -> String {
    let frame = format!("({pair}, {size})");
    if about == "pitch" {
        let lengths: Vec<String> = rows.0.iter().map(|(row, _)| format!("{row} B")).collect();
        return format!("{frame} has rows of {}", lengths.join(", "));
    }
    let bytes: u128 = rows.0.iter().map(|(row, count)| u128::from(*row) * u128::from(*count)).sum();
    format!("{frame} has {bytes} B of pixels")
}

/// What is wrong with `offer` for a frame of `pair` whose layout suits all `parties`.
fn of_heap(pair: &FormatModifier, rows: &Rows, size: Size, parties: &[&Listed<'_>], offer: &Offer) -> Vec<Collision> {
    let mut found = of_layout(pair, rows, size, parties, Some(offer));
    let laid = laid_in(rows, parties, offer);
    for party in parties {
        let extent = laid.extent(rows, &party.constraints);
        for objection in memory::objections(&party.constraints.memory, offer, extent) {
            let heap = (format!("heap {}", offer.heap), objection.provides);
            found.push(collision(objection.about, [(party.name.clone(), objection.needs), heap]));
        }
    }
    found
}

/// The smallest buffer of `offer` that holds `rows` for all `parties`.
fn laid_in(rows: &Rows, parties: &[&Listed<'_>], offer: &Offer) -> Laid {
    let all = parties.iter().flat_map(|party| demands(&party.constraints)).chain(demands_of_heap(offer));
    Together::of(all.chain([Demand::Frame])).lay_out(rows)
}

/// One collision in the place of several that differ in the heap alone, which is the last side of each.
fn by_sides(collisions: impl Iterator<Item = Collision>) -> Vec<Collision> {
    let mut merged: BTreeMap<(String, Vec<Side>), Vec<Side>> = BTreeMap::new();
    for mut collision in collisions {
        let heap = collision.sides.pop();
        merged.entry((collision.about, collision.sides)).or_default().extend(heap);
    }
    merged.into_iter().map(|((about, sides), heaps)| collision(&about, sides.into_iter().chain(heaps))).collect()
}

/// Smallest parts of `all` that are not `possible`, such that without them the rest is.
///
/// What is not `removable` may be in several of them.
fn smallest_collisions<T: Clone>(
    mut all: Vec<T>,
    removable: impl Fn(&T) -> bool,
    possible: impl Fn(&[T]) -> bool,
) -> Vec<Vec<T>> {
    let mut found = Vec::new();
    while !possible(&all) {
        // Where each one that is left stands in `all`.
        let mut left: Vec<usize> = (0..all.len()).collect();
        let pick = |places: &[usize]| places.iter().map(|at| all[*at].clone()).collect::<Vec<T>>();
        let mut at = 0;
        while at < left.len() {
            let mut fewer = left.clone();
            fewer.remove(at);
            if possible(&pick(&fewer)) { at += 1 } else { left = fewer }
        }
        let collision = pick(&left);
        let before = all.len();
        let mut place = 0..;
        all.retain(|one| !(place.next().is_some_and(|at| left.contains(&at)) && removable(one)));
        found.push(collision);
        if all.len() == before {
            break;
        }
    }
    found
}

/// The nearest thing that would work: the same with another format, at another size, without a party, or on a heap with
/// one property more.
fn nearest(wish: &Wish, parties: &[&Listed<'_>], offers: &[&Offer]) -> Option<String> {
    let best = |fourccs: Option<&[Fourcc]>, size: Size, parties: &[&Listed<'_>]| {
        ranked(common(fourccs, parties), size, parties, offers).into_iter().next()
    };
    let wished = Some(wish.fourccs.as_slice());
    if let Some(agreement) = best(None, wish.size, parties) {
        return Some(format!("as {}: {agreement}", agreement.frame.fourcc));
    }
    let size = within_bounds(wish.size, parties);
    if let Some(agreement) = best(wished, size, parties) {
        return Some(format!("at {size}: {agreement}"));
    }
    let others = |left_out: usize| {
        let mut others = parties.to_vec();
        others.remove(left_out);
        others
    };
    // Of those that could be left out, the one without which it is cheapest.
    let cost = |heap: &str| offers.iter().find(|offer| offer.heap == heap).map(|offer| offer.cost);
    let without = (0..parties.len())
        .filter(|_| parties.len() > 1)
        .filter_map(|at| Some((parties[at], best(wished, wish.size, &others(at))?)))
        .min_by_key(|(_, agreement)| cost(&agreement.heap));
    if let Some((party, agreement)) = without {
        return Some(format!("without {}: {agreement}", party.name));
    }
    let sound = parties.iter().all(|party| party.constraints.check().is_ok());
    if let Some((pair, rows)) = laid_out(wish, parties).next().filter(|_| sound) {
        let lacking = offers.iter().find_map(|offer| {
            let mut abouts: Vec<String> =
                of_heap(&pair, &rows, wish.size, parties, offer).into_iter().map(|found| found.about).collect();
            abouts.dedup();
            let [about] = &abouts[..] else { return None };
            Some(format!("heap {} would do but for {about}", offer.heap))
        });
        if lacking.is_some() {
            return lacking;
        }
    }
    let mut together: Vec<&Listed<'_>> = Vec::new();
    let mut left_out = Vec::new();
    for party in parties {
        together.push(party);
        if best(wished, wish.size, &together).is_none() {
            together.pop();
            left_out.push(party.name.as_str());
        }
    }
    let agreement = best(wished, wish.size, &together).filter(|_| !together.is_empty())?;
    Some(format!("without {}: {agreement}", left_out.join(" and ")))
}

/// The size nearest to `size` that is within the bounds of all `parties`, if there is one.
fn within_bounds(size: Size, parties: &[&Listed<'_>]) -> Size {
    let mut nearest = Size { width: size.width.max(1), height: size.height.max(1) };
    for party in parties {
        let (smallest, largest) = (party.constraints.smallest, party.constraints.largest);
        nearest.width = nearest.width.min(largest.width).max(smallest.width);
        nearest.height = nearest.height.min(largest.height).max(smallest.height);
    }
    nearest
}
