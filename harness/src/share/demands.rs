//! May a party of another process take part, as far as it and others like it can be judged by what they say?
//!
//! What it says ends up in what others get: its constraints in the size of the buffer, its words in the texts of refusals.
//! Pure; whether it goes together with everybody else is for [`super::agreement`] to say.

use super::agreement::{Wish, agree};
use super::constraints::{Constraints, MemoryNeeds, Party};
use super::heap::Offer;
use crate::format::PlaneShape;

/// The longest name of a party or of a heap, in bytes.
const NAME_MAX: usize = 128;

/// The most heaps that a party can name. No machine has nearly as many.
const HEAPS_MAX: usize = 32;

/// A buffer may have so many times the bytes of its frame for one party, apart from what is granted besides: devices round
/// pitches and sizes up, and the smaller the frame the more that is.
const TIMES: u128 = 4;

/// Whether `party` says what it says in no more words than others can bear.
///
/// # Errors
/// What it says, and what would be valid.
pub(super) fn speakable(party: &Party) -> Result<(), String> {
    nameable("the name of a party", &party.name)?;
    let heaps = party.constraints.memory.heaps.iter().flatten();
    if heaps.clone().count() > HEAPS_MAX {
        return Err(format!("{} heaps are named; at most {HEAPS_MAX} would be valid", heaps.count()));
    }
    heaps.into_iter().try_for_each(|heap| nameable("the name of a heap", heap))
}

/// Whether the last of `parties`, alone and with the others, asks for no more of a buffer for `wish` than four times the
/// bytes of its frame and `excess` bytes.
///
/// # Errors
/// What it asks for, and what would be valid.
pub(super) fn bearable(parties: &[Party], wish: &Wish, excess: u64) -> Result<(), String> {
    // Which memory it lies in changes nothing of its size; what a heap's granule adds is not the parties' doing.
    let anywhere = |party: &Party| Party {
        name: party.name.clone(),
        constraints: Constraints { memory: MemoryNeeds::ANY, ..party.constraints.clone() },
    };
    let parties: Vec<Party> = parties.iter().map(anywhere).collect();
    let [others @ .., newcomer] = &parties[..] else { return Ok(()) };
    within(std::slice::from_ref(newcomer), wish, excess).map_err(|what| format!("its constraints make {what}"))?;
    if others.is_empty() {
        return Ok(());
    }
    let whose = format!("its constraints and those of {} more", others.len());
    within(&parties, wish, excess).map_err(|what| format!("{whose} make {what}"))
}

/// Whether a buffer for `wish` that suits `parties` stays within what can be borne.
fn within(parties: &[Party], wish: &Wish, excess: u64) -> Result<(), String> {
    let anywhere = Offer {
        heap: "any".to_owned(),
        cost: 0,
        contiguous: true,
        address_bits: 64,
        granule: 1,
        largest: u64::MAX,
        cpu: true,
    };
    for &fourcc in &wish.fourccs {
        let one = Wish { fourccs: vec![fourcc], size: wish.size };
        let Some(shapes) = fourcc.planes() else { continue };
        // A format that they do not take can't be chosen.
        let Ok(agreed) = agree(&one, parties, std::slice::from_ref(&anywhere)) else { continue };
        let plane =
            |shape: &PlaneShape| u128::from(shape.row(one.size.width)) * u128::from(shape.rows(one.size.height));
        let packed: u128 = shapes.iter().map(plane).sum();
        let most = packed * TIMES + u128::from(excess);
        if let Some(agreement) = agreed.iter().find(|agreement| u128::from(agreement.bytes) > most) {
            return Err(format!(
                "{} B of {fourcc} {}, whose pixels are {packed} B; at most {most} B would be valid",
                agreement.bytes, one.size
            ));
        }
    }
    Ok(())
}

/// Whether `name` can be put into a text.
fn nameable(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("{what} has {} B; 1 to {NAME_MAX} B would be valid", name.len()));
    }
    match name.chars().find(|c| c.is_control()) {
        Some(control) => Err(format!("{what}, {name:?}, has {control:?} in it; text without it would be valid")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Fourcc;
    use crate::frame::px;
    use crate::share::constraints::Bytes;

    const EXCESS: u64 = 1 << 20;

    fn said(change: impl FnOnce(&mut Party)) -> Result<(), String> {
        let mut party = Party { name: "peer".to_owned(), constraints: Constraints::cpu(&[Fourcc::XR24]) };
        change(&mut party);
        speakable(&party)?;
        bearable(&[party], &wish(), EXCESS)
    }

    fn wish() -> Wish {
        Wish { fourccs: vec![Fourcc::AR24, Fourcc::XR24], size: px(250, 130) }
    }

    #[test]
    fn what_devices_need_is_granted() {
        said(|_| ()).unwrap();
        said(|party| party.constraints.pitch = Bytes::aligned(4096)).unwrap();
        said(|party| party.constraints.padding = 1 << 20).unwrap();
        said(|party| party.constraints.size = Bytes { min: 4 * 130_000 + EXCESS, ..Bytes::ANY }).unwrap();
        said(|party| party.constraints.memory.heaps = Some(["system".to_owned()].into())).unwrap();
        // Neither can be chosen, and others say so.
        said(|party| party.constraints = Constraints::cpu(&[Fourcc::R8])).unwrap();
        said(|party| party.constraints.pitch = Bytes { min: 2, max: 1, ..Bytes::ANY }).unwrap();
    }

    #[test]
    fn whatever_makes_the_buffer_large_is_refused_with_numbers() {
        let most = 4 * 130_000 + EXCESS;
        let valid = format!("whose pixels are 130000 B; at most {most} B would be valid");
        let large: [fn(&mut Constraints); 6] = [
            |of| of.size.min = 4 * 130_000 + EXCESS + 1,
            |of| of.size.alignment = 1 << 40,
            |of| of.pitch.min = 1 << 20,
            |of| of.pitch.alignment = 1 << 30,
            |of| of.padding = 40 << 20,
            |of| of.rows_behind = 1 << 20,
        ];
        for large in large {
            let error = said(|party| large(&mut party.constraints)).unwrap_err();
            assert!(error.contains("B of XR24 250x130 px") && error.contains(&valid), "{error}");
        }
    }

    /// Each alone is within the limit: rows are made four times as long by one, and four times as many by the other.
    #[test]
    fn parties_together_can_not_ask_for_more_than_each_alone() {
        let party = |change: fn(&mut Constraints)| {
            let mut constraints = Constraints::cpu(&[Fourcc::XR24]);
            change(&mut constraints);
            Party { name: "peer".to_owned(), constraints }
        };
        let (long, many) = (party(|of| of.pitch.min = 4000), party(|of| of.rows_behind = 3 * 130));
        bearable(std::slice::from_ref(&long), &wish(), 0).unwrap();
        bearable(std::slice::from_ref(&many), &wish(), 0).unwrap();
        let error = bearable(&[long.clone(), many], &wish(), 0).unwrap_err();
        let text = "its constraints and those of 1 more make 2080000 B of XR24 250x130 px, whose pixels are 130000 B; at most 520000 B";
        assert!(error.contains(text), "{error}");
        bearable(&[long.clone(), long], &wish(), 0).unwrap();
        bearable(&[], &wish(), 0).unwrap();
    }

    #[test]
    fn words_that_no_text_can_bear_are_refused() {
        let long = "x".repeat(129);
        for name in ["", &long, &"é".repeat(65)] {
            let error = said(|party| party.name = name.to_owned()).unwrap_err();
            assert!(error.contains(&format!("{} B; 1 to 128 B would be valid", name.len())), "{error}");
        }
        let error = said(|party| party.name = "a\n| pass".to_owned()).unwrap_err();
        assert!(error.contains(r#""a\n| pass", has '\n' in it"#), "{error}");
        let error = said(|party| party.constraints.memory.heaps = Some([long].into())).unwrap_err();
        assert!(error.contains("the name of a heap has 129 B"), "{error}");
        let many = (0..33).map(|n| n.to_string()).collect();
        let error = said(|party| party.constraints.memory.heaps = Some(many)).unwrap_err();
        assert!(error.contains("33 heaps are named; at most 32"), "{error}");
    }
}
