//! Which formats and modifiers a plane or a writeback connector lists: the blobs that KMS answers with, read with
//! checks.
//!
//! Pure. Sources: `struct drm_format_modifier_blob` in `include/uapi/drm/drm_mode.h`, and "Writeback Connectors" in the
//! kernel's KMS documentation.

use serde::{Deserialize, Serialize};

use crate::format::{Fourcc, Modifier};

/// A format that a plane lists, with the modifiers it lists for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The format.
    pub fourcc: Fourcc,
    /// Its modifiers in the driver's order; only `INVALID` where a card has modifiers and the plane says nothing about them (no
    /// `IN_FORMATS`).
    pub modifiers: Vec<Modifier>,
}

/// Formats of an `IN_FORMATS` blob, or what is wrong with the blob.
pub(crate) fn in_formats(blob: &[u8]) -> Result<Vec<Offer>, String> {
    const VERSION: u32 = 1;
    let word = |n: usize| read_u32(blob, n * 4).ok_or_else(|| short(blob, "header"));
    let (version, formats, formats_at, modifiers, modifiers_at) = (word(0)?, word(2)?, word(3)?, word(4)?, word(5)?);
    if version != VERSION {
        return Err(format!("IN_FORMATS version {version}, only {VERSION} is defined"));
    }
    let mut offers = (0..formats as usize)
        .map(|n| {
            let code = read_u32(blob, formats_at as usize + n * 4).ok_or_else(|| short(blob, "formats"))?;
            Ok(Offer { fourcc: Fourcc(code), modifiers: Vec::new() })
        })
        .collect::<Result<Vec<_>, String>>()?;
    for n in 0..modifiers as usize {
        // struct drm_format_modifier: a mask of 64 formats, the first format it is about, padding, the modifier.
        let at = modifiers_at as usize + n * 24;
        let field = |offset| read_u64(blob, at + offset).ok_or_else(|| short(blob, "modifiers"));
        let (mask, first, modifier) = (field(0)?, field(8)? as u32 as usize, Modifier(field(16)?));
        for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
            let Some(offer) = first.checked_add(bit).and_then(|n| offers.get_mut(n)) else {
                return Err(format!("IN_FORMATS: modifier {modifier} is for format {first}+{bit} of {formats}"));
            };
            offer.modifiers.push(modifier);
        }
    }
    Ok(offers)
}

/// Formats of a `WRITEBACK_PIXEL_FORMATS` blob: an array of fourcc codes.
pub(crate) fn writeback_formats(blob: &[u8]) -> Result<Vec<Fourcc>, String> {
    if !blob.len().is_multiple_of(4) {
        return Err(format!("WRITEBACK_PIXEL_FORMATS has {} B, not a multiple of 4", blob.len()));
    }
    Ok((0..blob.len() / 4).filter_map(|n| read_u32(blob, n * 4)).map(Fourcc).collect())
}

fn short(blob: &[u8], part: &str) -> String {
    format!("IN_FORMATS: its {part} reach past its {} B", blob.len())
}

fn read_u32(blob: &[u8], at: usize) -> Option<u32> {
    blob.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

fn read_u64(blob: &[u8], at: usize) -> Option<u64> {
    blob.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two formats, XR24 with two modifiers and AR24 with one.
    fn blob() -> Vec<u8> {
        let mut blob: Vec<u8> =
            [1, 0, 2, 24, 2, 32, Fourcc::XR24.0, Fourcc::AR24.0].iter().flat_map(|w: &u32| w.to_ne_bytes()).collect();
        for (mask, first, modifier) in [(0b11u64, 0u64, 0u64), (0b1, 0, 0x0100_0000_0000_0001)] {
            [mask, first, modifier].iter().for_each(|w| blob.extend_from_slice(&w.to_ne_bytes()));
        }
        blob
    }

    #[test]
    fn each_format_gets_its_own_modifiers() {
        let x_tiled = Modifier(0x0100_0000_0000_0001);
        let offers = in_formats(&blob()).expect("valid");
        assert_eq!(offers[0], Offer { fourcc: Fourcc::XR24, modifiers: vec![Modifier::LINEAR, x_tiled] });
        assert_eq!(offers[1], Offer { fourcc: Fourcc::AR24, modifiers: vec![Modifier::LINEAR] });
    }

    #[test]
    fn a_modifier_for_a_format_that_is_not_there_is_refused() {
        let mut wrong = blob();
        wrong[32] = 0b111;
        assert!(in_formats(&wrong).expect_err("third format").contains("0+2 of 2"));
    }

    proptest! {
        #[test]
        fn no_blob_makes_the_reader_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
            cut in 0usize..80,
            at in 0usize..80,
            value: u8,
        ) {
            let _ = in_formats(&bytes);
            let _ = writeback_formats(&bytes);
            let mut damaged = blob();
            if let Some(byte) = damaged.get_mut(at) {
                *byte = value;
            }
            damaged.truncate(cut);
            let _ = in_formats(&damaged);
        }
    }
}
