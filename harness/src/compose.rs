//! What a CRTC should show: layers over black, in 16 bits per channel, and that picture in a writeback format.
//!
//! Pure, and computed from the KMS documentation ("Plane Composition Properties": without other properties a plane is
//! blended pre-multiplied over what lies below, without scaling, and the CRTC's background is black), not from what a
//! driver does. It knows no colour management, no rotation and no YCbCr.
//!
//! Widening a component of n bits means v x 65535 / (2^n - 1), rounded to nearest. That is exact for 4, 8 and 16 bits.
//! For 5, 6 and 10 bits the documentation leaves the rounding open (hardware repeats bits instead), see [`tolerance`].

use half::f16;

use crate::error::{Error, Result};
use crate::format::{Channel, Component, Fourcc, Numeric, PixelLayout};
use crate::frame::Size;
use crate::picture::Picture;

mod below;
mod slips;

pub use below::below;
pub use slips::slips;

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Rect {
    /// Leftmost column.
    pub x: u32,
    /// Topmost row.
    pub y: u32,
    /// Width and height.
    pub size: Size,
}

impl Rect {
    /// Everything of a picture of `size`.
    pub const fn whole(size: Size) -> Self {
        Self { x: 0, y: 0, size }
    }

    /// Whether all of it lies in a picture of `size`, and it is not empty.
    pub fn fits(&self, size: Size) -> bool {
        let inside =
            |start: u32, length: u32, end: u32| length > 0 && start.checked_add(length).is_some_and(|e| e <= end);
        inside(self.x, self.size.width, size.width) && inside(self.y, self.size.height, size.height)
    }
}

impl std::fmt::Display for Rect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at ({}, {})", self.size, self.x, self.y)
    }
}

/// One picture on the CRTC.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Its pixels.
    pub picture: &'a Picture,
    /// The part of it that is shown.
    pub crop: Rect,
    /// Where the crop's top left pixel goes, in pixels from the CRTC's top left; parts outside the CRTC are cut off.
    pub at: (i32, i32),
}

/// A pixel in 16 bits per channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pixel {
    a: u16,
    r: u16,
    g: u16,
    b: u16,
}

const BLACK: Pixel = Pixel { a: u16::MAX, r: 0, g: 0, b: 0 };

/// What a CRTC shows: opaque pixels in 16 bits per channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Composed {
    /// Width and height of the CRTC.
    pub size: Size,
    pixels: Vec<Pixel>,
}

/// Composes `layers`, the lowest first, over black.
///
/// # Errors
/// A picture is not packed RGB, its bytes do not match its size, or a crop does not lie in its picture.
pub fn compose(size: Size, layers: &[Layer<'_>]) -> Result<Composed> {
    let mut pixels = vec![BLACK; size.width as usize * size.height as usize];
    for layer in layers {
        let picture = layer.picture;
        let layout = layout(picture.fourcc)?;
        let wide = Wide::of(layout);
        let row_bytes = picture.size.width as usize * layout.bytes as usize;
        if picture.bytes.len() != row_bytes * picture.size.height as usize {
            return Err(Error::input("composing", format!("{picture:?}"), "its bytes do not match its size"));
        }
        if !layer.crop.fits(picture.size) {
            let why = format!("the crop {} does not lie in it or is empty", layer.crop);
            return Err(Error::input("composing", format!("{picture:?}"), why));
        }
        // Visible columns and rows of the crop.
        let visible = |at: i32, length: u32, end: u32| {
            let skipped = (-i64::from(at)).max(0);
            let shown = (i64::from(end) - i64::from(at)).min(i64::from(length));
            skipped..shown
        };
        let columns = visible(layer.at.0, layer.crop.size.width, size.width);
        if columns.is_empty() {
            continue;
        }
        let count = (columns.end - columns.start) as usize;
        for y in visible(layer.at.1, layer.crop.size.height, size.height) {
            let column = (i64::from(layer.crop.x) + columns.start) as usize;
            let start = (i64::from(layer.crop.y) + y) as usize * row_bytes + column * layout.bytes as usize;
            let above = picture.bytes[start..start + count * layout.bytes as usize].chunks_exact(layout.bytes as usize);
            let (column, row) = (i64::from(layer.at.0) + columns.start, i64::from(layer.at.1) + y);
            let start = (row * i64::from(size.width) + column) as usize;
            for (above, below) in above.zip(&mut pixels[start..start + count]) {
                *below = blend(wide.pixel(layout.word(above)), *below);
            }
        }
    }
    Ok(Composed { size, pixels })
}

/// Blend of a pre-multiplied pixel over an opaque one; a colour above its own alpha, which pre-multiplied pixels can't
/// have, saturates.
fn blend(above: Pixel, below: Pixel) -> Pixel {
    if above.a == u16::MAX {
        return above;
    }
    const ONE: u64 = u16::MAX as u64;
    let channel = |above: u16, alpha: u16, below: u16| {
        let sum = u64::from(above) * ONE + u64::from(below) * (ONE - u64::from(alpha));
        ((sum + ONE / 2) / ONE).min(ONE) as u16
    };
    Pixel {
        a: u16::MAX,
        r: channel(above.r, above.a, below.r),
        g: channel(above.g, above.a, below.g),
        b: channel(above.b, above.a, below.b),
    }
}

impl Composed {
    /// The same picture in `fourcc`, each channel rounded to nearest, alpha opaque, X bits all ones.
    ///
    /// # Errors
    /// The format is not packed RGB with all of red, green and blue.
    pub fn to(&self, fourcc: Fourcc) -> Result<Picture> {
        let layout = layout(fourcc)?;
        let has = |channel| layout.components.iter().any(|c| c.channel == channel);
        if ![Channel::R, Channel::G, Channel::B].into_iter().all(has) {
            return Err(Error::input("converting a composed picture", fourcc.to_string(), "it lacks a colour channel"));
        }
        let mut bytes = Vec::with_capacity(self.pixels.len() * layout.bytes as usize);
        for pixel in &self.pixels {
            let word = layout.components.iter().fold(0u64, |word, c| word | narrow(layout, c, *pixel) << c.shift);
            layout.push(word, &mut bytes);
        }
        Ok(Picture { size: self.size, fourcc, bytes })
    }

    /// Whether 8 bits for each component hold it as it is.
    pub fn is_held_by_8_bits(&self) -> bool {
        self.pixels.iter().all(|pixel| [pixel.r, pixel.g, pixel.b].iter().all(|value| value % 0x101 == 0))
    }

    /// The CRC that vkms reports for this picture: `crc32_le`, seed 0, over A, R, G, B in 16 bits each, row by row.
    ///
    /// Other drivers compute theirs in ways of their own ("in an unspecified way",
    /// `drivers/gpu/drm/drm_debugfs_crc.c`).
    pub fn crc_vkms(&self) -> u32 {
        // The kernel's crc32_le neither inverts its seed nor its result, crc32fast does both.
        let mut crc = crc32fast::Hasher::new_with_initial(!0);
        let row = (self.size.width as usize).max(1);
        let mut bytes = vec![0; row * 8];
        for pixels in self.pixels.chunks(row) {
            for (p, bytes) in pixels.iter().zip(bytes.chunks_exact_mut(8)) {
                let [a, r, g, b] = [p.a, p.r, p.g, p.b].map(u16::to_ne_bytes);
                bytes.copy_from_slice(&[a[0], a[1], r[0], r[1], g[0], g[1], b[0], b[1]]);
            }
            crc.update(&bytes);
        }
        !crc.finalize()
    }
}

impl std::fmt::Debug for Composed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Composed({})", self.size)
    }
}

/// One step of the narrowest component of `writeback`, in steps of 8 bits: how far a picture in that format may be from its target
/// where [`tolerance`] allows for something.
pub fn step(writeback: Fourcc) -> Result<u32> {
    let shown = layout(writeback)?.shown().filter(|component| component.channel != Channel::A);
    let fewest = shown.map(|component| component.bits).min().unwrap_or(8);
    Ok(255_u32.div_ceil((1 << fewest.min(8)) - 1))
}

/// How far a correct display may be from [`Composed::to`], in steps of `writeback`'s narrowest channel, when an opaque
/// picture in `source` is shown: 0 where both widen exactly.
///
/// One step is allowed where a source component has 5, 6 or 10 bits and the writeback format has more bits than that,
/// since bit repetition and division round differently, and where the writeback format has 5, 6 or 10 bits, since
/// narrowing may truncate.
pub fn tolerance(source: Fourcc, writeback: Fourcc) -> Result<u32> {
    let exact = |component: &Component| component.channel == Channel::X || matches!(component.bits, 4 | 8 | 16);
    let all_exact = |layout: &PixelLayout| layout.numeric == Numeric::Unorm && layout.components.iter().all(exact);
    Ok(u32::from(!(all_exact(layout(source)?) && all_exact(layout(writeback)?))))
}

fn layout(fourcc: Fourcc) -> Result<&'static PixelLayout> {
    fourcc.pixel().ok_or_else(|| {
        Error::input("composing", fourcc.to_string(), "it is not a packed RGB format known to this harness")
    })
}

/// How pixels of a format become 16 bits per channel. Without alpha they are opaque; a format with red alone is shades of
/// grey (`drm_fourcc.h`: "direct relationship between channel value and brightness").
struct Wide {
    numeric: Numeric,
    a: Option<Component>,
    r: Option<Component>,
    g: Option<Component>,
    b: Option<Component>,
}

impl Wide {
    fn of(layout: &PixelLayout) -> Self {
        let find = |channel| layout.components.iter().find(|c| c.channel == channel).copied();
        let (a, r, g, b) = (find(Channel::A), find(Channel::R), find(Channel::G), find(Channel::B));
        let (g, b) = if g.is_none() && b.is_none() { (r, r) } else { (g, b) };
        Self { numeric: layout.numeric, a, r, g, b }
    }

    /// The pixel with the bits `word`.
    fn pixel(&self, word: u64) -> Pixel {
        let value = |component: &Option<Component>, otherwise| match component {
            None => otherwise,
            Some(c) => match self.numeric {
                // What the division comes to, which is most of the work.
                Numeric::Unorm if c.bits == 8 => (c.of(word) * 0x101) as u16,
                Numeric::Unorm if c.bits == 16 => c.of(word) as u16,
                Numeric::Unorm => ((c.of(word) * 0xffff + c.full() / 2) / c.full()) as u16,
                Numeric::Float16 => {
                    (f16::from_bits(c.of(word) as u16).to_f64().clamp(0.0, 1.0) * 65535.0).round() as u16
                }
            },
        };
        Pixel { a: value(&self.a, u16::MAX), r: value(&self.r, 0), g: value(&self.g, 0), b: value(&self.b, 0) }
    }
}

/// The bits of component `c` of a pixel.
fn narrow(layout: &PixelLayout, c: &Component, pixel: Pixel) -> u64 {
    let value = match c.channel {
        Channel::R => pixel.r,
        Channel::G => pixel.g,
        Channel::B => pixel.b,
        Channel::A => pixel.a,
        Channel::X => return u64::from(c.full()),
    };
    u64::from(match layout.numeric {
        // What the division comes to, which is most of the work.
        Numeric::Unorm if c.bits == 16 => u32::from(value),
        Numeric::Unorm => (u32::from(value) * c.full() + 0x7fff) / 0xffff,
        Numeric::Float16 => u32::from(f16::from_f64(f64::from(value) / 65535.0).to_bits()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::px;

    fn picture(fourcc: Fourcc, size: Size, bytes: &[u8]) -> Picture {
        Picture { size, fourcc, bytes: bytes.to_vec() }
    }

    fn whole(picture: &Picture) -> Layer<'_> {
        Layer { picture, crop: Rect::whole(picture.size), at: (0, 0) }
    }

    #[test]
    fn an_opaque_picture_comes_back_as_it_was() {
        let bytes: Vec<u8> = (0..5 * 3 * 4).map(|n| (n * 7) as u8).collect();
        let shown = picture(Fourcc::XB24, px(5, 3), &bytes);
        let back = compose(px(5, 3), &[whole(&shown)]).expect("composes").to(Fourcc::XB24).expect("converts");
        for (target, actual) in shown.bytes.chunks(4).zip(back.bytes.chunks(4)) {
            assert_eq!((&target[..3], 0xff), (&actual[..3], actual[3]));
        }
    }

    #[test]
    fn a_layer_is_cut_at_the_edges_and_the_rest_is_black() {
        let red = picture(Fourcc::XR24, px(2, 2), &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
        let blue = |at| {
            let layer = Layer { at, ..whole(&red) };
            let out = compose(px(2, 2), &[layer]).expect("composes").to(Fourcc::XR24).expect("converts");
            out.bytes.chunks(4).map(|pixel| pixel[0]).collect::<Vec<u8>>()
        };
        assert_eq!(blue((0, 0)), [1, 2, 3, 4]);
        assert_eq!(blue((-1, 0)), [2, 0, 4, 0]);
        assert_eq!(blue((1, -1)), [0, 3, 0, 0]);
        assert_eq!(blue((i32::MIN, i32::MAX)), [0, 0, 0, 0]);
    }

    #[test]
    fn pre_multiplied_half_over_white_is_the_colour_plus_half_of_white() {
        let white = picture(Fourcc::XR24, px(1, 1), &[255, 255, 255, 0]);
        let half = picture(Fourcc::AR24, px(1, 1), &[0x10, 0x20, 0x30, 0x80]);
        let out = compose(px(1, 1), &[whole(&white), whole(&half)]).expect("composes");
        assert_eq!(out.to(Fourcc::AR24).expect("converts").bytes, [0x10 + 0x7f, 0x20 + 0x7f, 0x30 + 0x7f, 0xff]);
    }

    #[test]
    fn eight_bits_hold_what_came_in_eight_and_was_not_blended() {
        let white = picture(Fourcc::XR24, px(1, 1), &[255, 255, 255, 0]);
        let half = picture(Fourcc::AR24, px(1, 1), &[0x10, 0x20, 0x30, 0x80]);
        let five = picture(Fourcc::RG16, px(1, 1), &[0x21, 0x08]);
        let held = |layers: &[Layer<'_>]| compose(px(2, 1), layers).expect("composes").is_held_by_8_bits();
        assert!(held(&[whole(&white)]) && held(&[whole(&half)]), "over black a pre-multiplied pixel is itself");
        let grey = picture(Fourcc::XR24, px(1, 1), &[0x81, 0x81, 0x81, 0]);
        assert!(!held(&[whole(&grey), whole(&half)]) && !held(&[whole(&five)]));
    }

    #[test]
    fn five_and_six_bits_survive_the_way_through_sixteen() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let all = picture(Fourcc::RG16, px(256, 256), &bytes);
        let back = compose(px(256, 256), &[whole(&all)]).expect("composes").to(Fourcc::RG16).expect("converts");
        assert_eq!(back.bytes, bytes);
        assert_eq!(tolerance(Fourcc::RG16, Fourcc::XR24).expect("known"), 1);
        assert_eq!(tolerance(Fourcc::AB24, Fourcc::AR48).expect("known"), 0);
    }

    #[test]
    fn a_crop_outside_the_picture_is_refused() {
        let small = picture(Fourcc::XR24, px(1, 1), &[0; 4]);
        let crop = Rect { x: 1, y: 0, size: px(1, 1) };
        let error = compose(px(4, 4), &[Layer { crop, ..whole(&small) }]).expect_err("outside").to_string();
        assert!(error.contains("the crop 1x1 px at (1, 0)"), "{error}");
    }
}
