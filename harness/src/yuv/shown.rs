//! How does a reader that converts a frame to RGB have its pixels, and how far may they be off?
//!
//! Pure. Which mistake explains a wrong picture is asked of some of its pixels first: a conversion of all of them for each
//! mistake that there could be takes longer than the rest of a case.

use std::fmt;

use super::{Colours, Slip};
use crate::compare::{Difference, Tolerance, compare};
use crate::compose::{Layer, Rect, compose};
use crate::error::Result;
use crate::format::Fourcc;
use crate::frame::{Size, px};
use crate::picture::Picture;

/// So many pixels of a frame are looked at before all are.
const SPOTS: u32 = 256;

/// So many of them may be otherwise than a mistake has them, in per cent, before it is none to look at closer.
const OFF: u64 = 25;

/// What a reader puts the RGB of a frame onto.
#[derive(Clone, Copy)]
pub(crate) enum Onto {
    /// A picture that is the frame.
    Itself,
    /// A screen of that size: `crop` of the frame at `at`, over black.
    Screen { size: Size, crop: Rect, at: (i32, i32) },
}

impl Onto {
    /// `rgb` of the whole frame as the reader has it, in `fourcc`.
    pub(crate) fn whole(self, rgb: Picture, fourcc: Fourcc) -> Result<Picture> {
        match self {
            Self::Itself => Ok(rgb),
            Self::Screen { size, crop, at } => compose(size, &[Layer { picture: &rgb, crop, at }])?.to(fourcc),
        }
    }

    /// As [`Self::whole`] of pixels that come in no order.
    fn pixels(self, rgb: Picture, fourcc: Fourcc) -> Result<Picture> {
        let alone = match self {
            Self::Itself => self,
            Self::Screen { .. } => Self::Screen { size: rgb.size, crop: Rect::whole(rgb.size), at: (0, 0) },
        };
        alone.whole(rgb, fourcc)
    }

    /// Where the reader has the pixel (`x`, `y`) of the frame, if it has it.
    fn place(self, x: u32, y: u32) -> Option<(u32, u32)> {
        let Self::Screen { size, crop, at } = self else { return Some((x, y)) };
        let (right, down) = (x.checked_sub(crop.x)?, y.checked_sub(crop.y)?);
        if right >= crop.size.width || down >= crop.size.height {
            return None;
        }
        let (x, y) = (right.checked_add_signed(at.0)?, down.checked_add_signed(at.1)?);
        (x < size.width && y < size.height).then_some((x, y))
    }
}

/// Some pixels of a frame, spread evenly, and how a reader has them.
pub(crate) struct Spots {
    places: Vec<(u32, u32)>,
    actual: Picture,
    onto: Onto,
    allowed: Allowed,
}

impl Spots {
    /// Those of a frame of `size` that a reader has in `actual`.
    pub(crate) fn of(size: Size, actual: &Picture, onto: Onto, allowed: Allowed) -> Self {
        let total = size.width * size.height;
        // Steps of the golden ratio are even and in step with no row length.
        let spread = (0..SPOTS.min(total)).map(|n| (u64::from(n.wrapping_mul(0x9E37_79B1)) * u64::from(total)) >> 32);
        let places = spread.map(|at| (at as u32 % size.width, at as u32 / size.width));
        let bytes = actual.fourcc.pixel().map_or(1, |pixel| pixel.bytes as usize);
        let (mut shown, mut pixels) = (Vec::new(), Vec::new());
        for (x, y) in places {
            let Some((column, row)) = onto.place(x, y) else { continue };
            let start = (row * actual.size.width + column) as usize * bytes;
            pixels.extend_from_slice(&actual.bytes[start..start + bytes]);
            shown.push((x, y));
        }
        let actual = Picture { size: px(shown.len() as u32, 1), fourcc: actual.fourcc, bytes: pixels };
        Self { places: shown, actual, onto, allowed }
    }

    /// Whether `picture` may be what the reader has, converted with a mistake or without: it looks so far right.
    ///
    /// # Errors
    /// As [`Self::off`].
    pub(crate) fn allow(&self, colours: Colours, slip: Option<Slip>, picture: &Picture) -> Result<bool> {
        Ok(self.off(colours, slip, picture)? * 100 <= self.places.len() as u64 * OFF)
    }

    /// How many of them are not what `picture` would be, converted with a mistake or without.
    ///
    /// # Errors
    /// `picture` is not in YUV, or smaller than the frame.
    pub(crate) fn off(&self, colours: Colours, slip: Option<Slip>, picture: &Picture) -> Result<u64> {
        if self.places.is_empty() {
            return Ok(0);
        }
        let rgb = colours.convert_at(slip, picture, self.places.iter().copied())?;
        let rgb = self.onto.pixels(rgb, self.actual.fourcc)?;
        Ok(self.allowed.compare(&rgb, &self.actual)?.map_or(0, |difference| difference.count))
    }
}

/// A step of the components of `fourcc`, in steps of 1/65535.
pub(crate) fn step_of(fourcc: Fourcc) -> u16 {
    fourcc.yuv().map_or(0, |yuv| (65535 / ((1_u32 << yuv.bits) - 1)) as u16)
}

/// How far a conversion may be off, in steps of 1/65535, and why.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    steps: u16,
    why: &'static str,
}

impl Allowed {
    /// What OpenGL ES may be off for a format.
    pub(crate) fn of_gles(is_llvmpipe: bool, fourcc: Fourcc) -> Self {
        if is_llvmpipe {
            return Self { steps: 1, why: "llvmpipe computes in floats of 32 bits, and the last bit is rounded" };
        }
        Self { steps: step_of(fourcc), why: "OpenGL ES leaves open how exactly it converts, to a step of the format" }
    }

    /// What a screen may be off.
    pub(crate) fn of_screen(is_vkms: bool, fourcc: Fourcc) -> Self {
        if is_vkms {
            return Self { steps: 1, why: "vkms multiplies in fixed point, and the last bit is rounded" };
        }
        Self { steps: step_of(fourcc), why: "KMS leaves open how exactly it converts, to a step of the format" }
    }

    /// What a reader of a picture without colour may be off, where how exactly it converts is not the matter.
    pub(crate) fn of_luma() -> Self {
        Self {
            steps: 4 * 257,
            why: "luma may be scaled by 256 for 255, and be read as fewer bits, but no range be another",
        }
    }

    /// How `actual` differs from `expected` by more than that.
    pub(crate) fn compare(self, expected: &Picture, actual: &Picture) -> Result<Option<Difference>> {
        if actual.fourcc.pixel().is_none_or(|pixel| pixel.bytes != 8) {
            let max = u32::from(self.steps.div_ceil(257));
            let tolerance = Tolerance::PerChannel { max, pixels: 0, reason: self.why.into() };
            return compare(expected, actual, &tolerance);
        }
        // Components of 16 bits each: what is near enough is as expected.
        let mut snapped = expected.clone();
        let actuals = actual.bytes.as_chunks::<2>().0;
        for (component, actual) in snapped.bytes.as_chunks_mut::<2>().0.iter_mut().zip(actuals) {
            let (is, was) = (u16::from_le_bytes(*actual), u16::from_le_bytes(*component));
            if is.abs_diff(was) <= self.steps {
                *component = *actual;
            }
        }
        compare(&snapped, actual, &Tolerance::Exact)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what is off by up to {} of 65535 counts as right: {}", self.steps, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    const SIZE: Size = px(50, 30);

    fn frame() -> Picture {
        Pattern { stamp: 3 }.picture(Fourcc::NV12, SIZE).unwrap()
    }

    fn exact() -> Allowed {
        Allowed { steps: 0, why: "nothing is" }
    }

    /// On a screen that has all of the frame, one that has a part of it, and none.
    #[test]
    fn spots_are_where_the_reader_has_them() {
        let screen = |crop, at| Onto::Screen { size: px(64, 40), crop, at };
        let part = Rect { x: 10, y: 6, size: px(24, 20) };
        for (onto, fourcc, some) in [
            (Onto::Itself, Fourcc::AB48, true),
            (screen(Rect::whole(SIZE), (0, 0)), Fourcc::XR24, true),
            (screen(Rect::whole(SIZE), (-20, -10)), Fourcc::AB48, true),
            (screen(part, (50, 30)), Fourcc::XR24, true),
            (screen(part, (64, 0)), Fourcc::XR24, false),
        ] {
            let picture = frame();
            let whole = |slip| onto.whole(Colours::VIDEO.convert_with(slip, &picture).unwrap(), fourcc).unwrap();
            let spots = Spots::of(SIZE, &whole(None), onto, exact());
            assert_eq!(spots.places.is_empty(), !some);
            assert_eq!(spots.off(Colours::VIDEO, None, &picture).unwrap(), 0);
            assert_eq!(spots.off(Colours::FULL, None, &picture).unwrap() > 0, some);
            assert_eq!(spots.allow(Colours::FULL, None, &picture).unwrap(), !some);
            // Who makes a mistake is off by it, and as that mistake has it.
            let spots = Spots::of(SIZE, &whole(Some(Slip::By256)), onto, exact());
            assert_eq!(spots.off(Colours::VIDEO, Some(Slip::By256), &picture).unwrap(), 0);
            assert_eq!(spots.allow(Colours::VIDEO, None, &picture).unwrap(), !some);
        }
    }

    #[test]
    fn a_few_wrong_pixels_do_not_hide_what_the_others_are() {
        let picture = frame();
        let mut seen = Colours::VIDEO.convert(&picture).unwrap();
        for pixel in seen.bytes.chunks_exact_mut(8).step_by(20) {
            pixel[1] ^= 0x80;
        }
        let spots = Spots::of(SIZE, &seen, Onto::Itself, exact());
        assert!(spots.off(Colours::VIDEO, None, &picture).unwrap() > 0);
        assert!(spots.allow(Colours::VIDEO, None, &picture).unwrap());
    }
}
