//! Which pairs of format and modifier does everybody take, and which of them do they like best?
//!
//! A refusal looks for an agreement in some fifty ways before it knows what to say, so lists are made such that one looks into
//! them without searching.

use std::collections::HashMap;
use std::ops::Deref;

use crate::format::{Fourcc, Modifier};
use crate::share::constraints::{FormatModifier, Party};

/// A party, with its list of pairs by number.
pub(super) struct Listed<'p> {
    party: &'p Party,
    /// The number of each pair of its list. One pair has the same number in the lists of all parties.
    numbers: Vec<usize>,
    /// By its number, the place of each pair in the list.
    places: Vec<Option<usize>>,
}

impl Deref for Listed<'_> {
    type Target = Party;

    fn deref(&self) -> &Party {
        self.party
    }
}

/// The lists of `parties`.
pub(super) fn listed(parties: &[Party]) -> Vec<Listed<'_>> {
    let mut known: HashMap<FormatModifier, usize> = HashMap::new();
    let mut numbers_of = |party: &Party| -> Vec<usize> {
        let mut number = |pair: &FormatModifier| {
            let next = known.len();
            *known.entry(*pair).or_insert(next)
        };
        party.constraints.formats.iter().map(&mut number).collect()
    };
    let numbers: Vec<Vec<usize>> = parties.iter().map(&mut numbers_of).collect();
    let listed = |(party, numbers): (_, Vec<usize>)| {
        let mut places = vec![None; known.len()];
        // Of a pair that is listed twice the first place counts.
        for (place, number) in numbers.iter().enumerate().rev() {
            places[*number] = Some(place);
        }
        Listed { party, numbers, places }
    };
    parties.iter().zip(numbers).map(listed).collect()
}

/// The pairs that all `parties` take, of the formats `fourccs` if these are given, the best one first.
pub(super) fn common(fourccs: Option<&[Fourcc]>, parties: &[&Listed<'_>]) -> Vec<FormatModifier> {
    let wished = |pair: &FormatModifier| match fourccs {
        Some(fourccs) => fourccs.iter().position(|fourcc| *fourcc == pair.fourcc),
        None => Some(0),
    };
    let Some(shortest) = parties.iter().min_by_key(|party| party.numbers.len()) else {
        let linear = |fourcc: &Fourcc| {
            let planes = fourcc.planes()?.len() as u32;
            Some(FormatModifier { fourcc: *fourcc, modifier: Modifier::LINEAR, planes })
        };
        return fourccs.unwrap_or_default().iter().filter_map(linear).collect();
    };
    let rank = |(pair, number): (&FormatModifier, &usize)| {
        let places = parties.iter().try_fold(0, |sum, party| Some(sum + party.places[*number]?))?;
        Some((wished(pair)?, places, pair.modifier, pair.fourcc, pair.planes))
    };
    let mut pairs: Vec<_> = shortest.constraints.formats.iter().zip(&shortest.numbers).filter_map(rank).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs.into_iter().map(|(_, _, modifier, fourcc, planes)| FormatModifier { fourcc, modifier, planes }).collect()
}
