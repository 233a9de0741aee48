//! A picture that another one can be blended over without any channel passing white.

use super::{Pixel, Rect, Wide, layout};
use crate::error::{Error, Result};
use crate::format::{Channel, Fourcc};
use crate::frame::Size;
use crate::pattern::Pattern;
use crate::picture::Picture;

/// The pattern of `stamp` in `fourcc` and `size`, darkened pixel by pixel so that `above`, blended over it with its top left
/// pixel at `at`, stays below white in every channel.
///
/// A pattern's colours may exceed its alpha, which those of a pre-multiplied picture can't; what a screen makes of a sum above
/// white is a claim of its own, and must not decide about all others.
///
/// # Errors
/// One of the formats is not packed RGB, `above` does not lie inside, or its bytes do not match its size.
pub fn below(above: &Picture, at: (u32, u32), size: Size, fourcc: Fourcc, stamp: u32) -> Result<Picture> {
    const OP: &str = "darkening a picture";
    let (from, to) = (layout(above.fourcc)?, layout(fourcc)?);
    let wide = Wide::of(from);
    let Size { width, height } = above.size;
    if !(Rect { x: at.0, y: at.1, size: above.size }).fits(size) {
        let why = format!("at ({}, {}) it does not lie in {size}", at.0, at.1);
        return Err(Error::input(OP, format!("{above:?}"), why));
    }
    let (from_bytes, to_bytes) = (from.bytes as usize, to.bytes as usize);
    let (from_row, to_row) = (width as usize * from_bytes, size.width as usize * to_bytes);
    if above.bytes.len() != from_row * height as usize {
        return Err(Error::input(OP, format!("{above:?}"), "its bytes do not match its size"));
    }
    let mut picture = Pattern { stamp }.picture(fourcc, size)?;
    let rows = picture.bytes.chunks_exact_mut(to_row).skip(at.1 as usize);
    for (under, over) in rows.zip(above.bytes.chunks_exact(from_row)) {
        let pixels = under.chunks_exact_mut(to_bytes).skip(at.0 as usize);
        for (under, over) in pixels.zip(over.chunks_exact(from_bytes)) {
            let Pixel { r, g, b, .. } = wide.pixel(from.word(over));
            let word = to.word(under);
            let darkened = to.components.iter().fold(0, |darkened, component| {
                let room = match component.channel {
                    Channel::R => u16::MAX - r,
                    Channel::G => u16::MAX - g,
                    Channel::B => u16::MAX - b,
                    Channel::A | Channel::X => u16::MAX,
                };
                let value = u64::from(component.of(word)) * u64::from(room) / u64::from(u16::MAX);
                darkened | value << component.shift
            });
            under.copy_from_slice(&darkened.to_le_bytes()[..to_bytes]);
        }
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::px;

    #[test]
    fn only_what_lies_below_is_darkened() {
        let above = Picture { size: px(2, 1), fourcc: Fourcc::AR24, bytes: vec![0xff; 8] };
        let under = below(&above, (1, 2), px(4, 4), Fourcc::XR24, 3).expect("packed");
        let plain = Pattern { stamp: 3 }.picture(Fourcc::XR24, px(4, 4)).expect("a pattern");
        for (n, (under, plain)) in under.bytes.chunks(4).zip(plain.bytes.chunks(4)).enumerate() {
            let (x, y) = (n % 4, n / 4);
            let covered = y == 2 && (1..3).contains(&x);
            assert_eq!(under[..3], if covered { [0; 3] } else { [plain[0], plain[1], plain[2]] }, "x {x}, y {y}");
        }
        assert!(below(&above, (3, 0), px(4, 4), Fourcc::XR24, 3).is_err(), "it reaches over the edge");
    }

    #[test]
    fn a_blend_over_it_stays_below_white_and_still_shows_it() {
        for fourcc in [Fourcc::AR24, Fourcc::AB48] {
            let above = Pattern { stamp: 7 }.picture(fourcc, px(64, 32)).expect("a pattern");
            let under = below(&above, (0, 0), above.size, Fourcc::XR24, 3).expect("packed");
            let (from, to) = (layout(fourcc).expect("packed"), layout(Fourcc::XR24).expect("packed"));
            let (over_wide, under_wide) = (Wide::of(from), Wide::of(to));
            let mut shows = 0;
            let pairs = above.bytes.chunks(from.bytes as usize).zip(under.bytes.chunks(to.bytes as usize));
            for (over, under) in pairs {
                let (over, under) = (over_wide.pixel(from.word(over)), under_wide.pixel(to.word(under)));
                for (over, under) in [(over.r, under.r), (over.g, under.g), (over.b, under.b)] {
                    assert!(u32::from(over) + u32::from(under) <= 0xffff, "{over} over {under}");
                    shows += u32::from(under > 0x1000);
                }
            }
            assert!(shows > 3 * 64 * 32 / 2, "the lower picture is seen in {shows} channels only");
        }
    }
}
