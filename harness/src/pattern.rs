//! What a drawn frame must look like: a picture computed from the position and a frame stamp alone.
//!
//! The same integer maths runs here and in `shaders/pattern.wgsl`, so that the target of a comparison never comes out
//! of a driver. It compares nothing and knows no buffer.
//!
//! # The maths
//!
//! All in `u32`, wrapping, `/` and `%` rounding down. `w`, `h` are the sides of the whole frame in pixels (1 to 32768),
//! `x`, `y` the position from the top left, `s` the stamp, `c` the channel: R 0, G 1, B 2, A 3, X 4.
//!
//! ```text
//! hash(x, y, c, s):
//!     k = x * 0x9E3779B1 ^ y * 0x85EBCA77 ^ c * 0xC2B2AE3D ^ s * 0x27D4EB2F
//!     k = (k ^ (k >> 16)) * 0x85EBCA6B          the finaliser of MurmurHash3
//!     k = (k ^ (k >> 13)) * 0xC2B2AE35
//!     return k ^ (k >> 16)
//!
//! ramp(x, y, c):                                0 to 49151
//!     R: x * 49152 / w                          brighter to the right
//!     G: y * 49152 / h                          brighter downwards
//!     B: ((w-1-x) + (h-1-y)) * 49152 / (w+h)    brighter to the top left
//!     A: (x + (h-1-y)) * 49152 / (w+h)          denser to the top right
//!
//! value16(x, y, c, s):                          0 to 65535
//!     v = (ramp(x, y, c) + (s % 12) * 20480) % 49152 + (hash(x, y, c, s) >> 18)
//!     R, G, B: v
//!     A: 16384 + v / 2                          64 to 191 of 255: never transparent, never opaque
//!     X: hash(x, y, 4, s) >> 16                 any value is right there
//! ```
//!
//! A component of `n` unorm bits is `value16 >> (16 - n)`. A half float is `(value16 >> 5) / 2048`, which is exact.
//!
//! The ramps show a person which way is up and which channel is which; the noise of 14 bits on top makes rows, columns
//! and neighbours differ. A new stamp moves the ramps by 20480 around a circle of 49152: more than the noise
//! can undo, so from one stamp to the next every colour component of four bits or more changes in every pixel.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::format::{Channel, Fourcc, Numeric, PixelLayout};
use crate::frame::Size;
use crate::picture::Picture;
use crate::yuv;

/// The longest side of a frame for which the maths does not wrap, in pixels.
pub const LONGEST_SIDE: u32 = 32768;

/// Range of the ramps; the rest up to 65536 is noise.
const RAMP: u32 = 49152;

/// A picture that is computed from position and stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Number of the frame that carries it.
    pub stamp: u32,
}

impl Pattern {
    /// The value of `channel` at pixel (`x`, `y`) of a frame of `size`, on a scale of 0 to 65535.
    ///
    /// The maths is in the documentation of [this module](self). `x` and `y` lie within `size`.
    pub fn value16(self, x: u32, y: u32, channel: Channel, size: Size) -> u32 {
        let (w, h) = (size.width.max(1), size.height.max(1));
        let from_right = (w - 1).wrapping_sub(x);
        let from_bottom = (h - 1).wrapping_sub(y);
        let noise = hash(x, y, channel, self.stamp);
        let ramp = match channel {
            Channel::R => x.wrapping_mul(RAMP) / w,
            Channel::G => y.wrapping_mul(RAMP) / h,
            Channel::B => from_right.wrapping_add(from_bottom).wrapping_mul(RAMP) / w.wrapping_add(h).max(1),
            Channel::A => x.wrapping_add(from_bottom).wrapping_mul(RAMP) / w.wrapping_add(h).max(1),
            Channel::X => return noise >> 16,
        };
        let value = ramp.wrapping_add(self.stamp % 12 * 20480) % RAMP + (noise >> 18);
        if channel == Channel::A { 16384 + value / 2 } else { value }
    }

    /// The bits of one pixel, in the low end of a little-endian word.
    pub fn pixel(self, x: u32, y: u32, layout: &PixelLayout, size: Size) -> u64 {
        layout.components.iter().fold(0, |word, component| {
            let value = self.value16(x, y, component.channel, size);
            let bits = match layout.numeric {
                Numeric::Unorm => value >> (16 - component.bits),
                Numeric::Float16 => half_of_2048ths(value >> 5),
            };
            word | u64::from(bits) << component.shift
        })
    }

    /// The whole pattern in the format `fourcc`: packed RGB, or YUV, whose pattern is in [`crate::yuv`].
    ///
    /// Cases ask for few different ones and often; the last ones are kept, since computing one takes longer than drawing it.
    ///
    /// # Errors
    /// `fourcc` is neither, as far as is known here, or a side is not 1 to [`LONGEST_SIDE`] pixels.
    pub fn picture(self, fourcc: Fourcc, size: Size) -> Result<Picture> {
        let refuse = |why: String| Err(Error::input("drawing the pattern", format!("{fourcc} {size}"), why));
        let valid = 1..=LONGEST_SIDE;
        if fourcc.is_known() && (!valid.contains(&size.width) || !valid.contains(&size.height)) {
            return refuse(format!("sides of 1 to {LONGEST_SIDE} px would be valid"));
        }
        if !fourcc.is_known() {
            return refuse(format!("{fourcc} is not a format known here; XR24, AB4H or NV12 would be valid"));
        }
        let compute = || match fourcc.pixel() {
            Some(layout) => Ok(Picture { size, fourcc, bytes: self.packed(layout, size) }),
            None => yuv::pattern(self, fourcc, size),
        };
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).get((self, fourcc, size), compute)
    }

    /// The pixels of a packed format, row by row.
    fn packed(self, layout: &PixelLayout, size: Size) -> Vec<u8> {
        let pixel_bytes = layout.bytes as usize;
        let mut bytes = vec![0; size.width as usize * size.height as usize * pixel_bytes];
        let row_bytes = size.width as usize * pixel_bytes;
        for (y, row) in (0..size.height).zip(bytes.chunks_exact_mut(row_bytes)) {
            for (x, pixel) in (0..size.width).zip(row.chunks_exact_mut(pixel_bytes)) {
                let word = self.pixel(x, y, layout, size).to_le_bytes();
                pixel.copy_from_slice(&word[..pixel_bytes]);
            }
        }
        bytes
    }
}

/// Pictures that were asked for last.
static KEPT: Mutex<Kept> = Mutex::new(Kept { pictures: VecDeque::new(), bytes: 0 });

/// So many bytes of pictures are kept: those of a pair's cases.
const KEPT_BYTES: usize = 8 << 20;

/// Pictures by what they were computed from, the youngest last.
struct Kept {
    pictures: VecDeque<(Pattern, Picture)>,
    bytes: usize,
}

impl Kept {
    fn get(
        &mut self,
        (pattern, fourcc, size): (Pattern, Fourcc, Size),
        compute: impl FnOnce() -> Result<Picture>,
    ) -> Result<Picture> {
        let wanted =
            |(kept, picture): &(Pattern, Picture)| (*kept, picture.fourcc, picture.size) == (pattern, fourcc, size);
        let entry = match self.pictures.iter().position(wanted).and_then(|at| self.pictures.remove(at)) {
            Some(entry) => entry,
            None => {
                let picture = compute()?;
                self.bytes += picture.bytes.len();
                (pattern, picture)
            }
        };
        let picture = entry.1.clone();
        self.pictures.push_back(entry);
        while self.bytes > KEPT_BYTES
            && let Some((_, oldest)) = self.pictures.pop_front()
        {
            self.bytes -= oldest.bytes.len();
        }
        Ok(picture)
    }
}

/// Noise of position, channel and stamp.
fn hash(x: u32, y: u32, channel: Channel, stamp: u32) -> u32 {
    let channel: u32 = match channel {
        Channel::R => 0,
        Channel::G => 1,
        Channel::B => 2,
        Channel::A => 3,
        Channel::X => 4,
    };
    let mut k = x.wrapping_mul(0x9E37_79B1)
        ^ y.wrapping_mul(0x85EB_CA77)
        ^ channel.wrapping_mul(0xC2B2_AE3D)
        ^ stamp.wrapping_mul(0x27D4_EB2F);
    k = (k ^ (k >> 16)).wrapping_mul(0x85EB_CA6B);
    k = (k ^ (k >> 13)).wrapping_mul(0xC2B2_AE35);
    k ^ (k >> 16)
}

/// The half float of `n` / 2048, for `n` of at most 11 bits: those are exact.
fn half_of_2048ths(n: u32) -> u32 {
    match n.checked_ilog2() {
        None => 0,
        // Exponent bias 15, value 2^(top-11); the mantissa is what is below the top bit, 10 bits wide.
        Some(top) => ((top + 4) << 10) | ((n << (10 - top)) & 0x3ff),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::px;

    #[test]
    fn fixed_values_for_the_shader_to_repeat() {
        let at = |stamp, x, y, channel| Pattern { stamp }.value16(x, y, channel, px(251, 130));
        let values: Vec<u32> = [Channel::R, Channel::G, Channel::B, Channel::A, Channel::X]
            .into_iter()
            .flat_map(|c| [at(0, 0, 0, c), at(7, 250, 129, c), at(4_000_000_000, 100, 3, c)])
            .collect();
        insta::assert_debug_snapshot!(values);
    }

    #[test]
    fn half_floats_are_exact() {
        for n in 0..2048u32 {
            let bits = u16::try_from(half_of_2048ths(n)).expect("16 bits");
            assert_eq!(half::f16::from_bits(bits).to_f32() * 2048.0, n as f32);
        }
    }

    #[test]
    fn alpha_is_never_transparent_or_opaque() {
        let size = px(97, 61);
        for stamp in 0..13 {
            for (x, y) in (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y))) {
                let alpha = Pattern { stamp }.value16(x, y, Channel::A, size) >> 8;
                assert!((64..=191).contains(&alpha), "{alpha} at {x},{y}");
            }
        }
    }

    #[test]
    fn a_new_stamp_changes_every_colour_component_of_four_bits() {
        let size = px(97, 61);
        for stamp in [0, 1, 10, 11, 12, 4_000_000_000] {
            for (x, y) in (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y))) {
                for channel in [Channel::R, Channel::G, Channel::B] {
                    let old = Pattern { stamp }.value16(x, y, channel, size) >> 12;
                    let new = Pattern { stamp: stamp + 1 }.value16(x, y, channel, size) >> 12;
                    assert_ne!(old, new, "stamp {stamp}, {channel:?} at {x},{y}");
                }
            }
        }
    }

    #[test]
    fn one_and_two_bit_components_vary() {
        for fourcc in [Fourcc::AR15, Fourcc::AR30] {
            let picture = Pattern { stamp: 3 }.picture(fourcc, px(33, 17)).expect("known format");
            let pixel_bytes = fourcc.pixel().expect("known format").bytes as usize;
            let top: std::collections::BTreeSet<u8> =
                picture.bytes.chunks(pixel_bytes).map(|p| p[pixel_bytes - 1] >> 6).collect();
            assert!(top.len() > 1, "{fourcc}");
        }
    }

    #[test]
    fn no_row_and_no_column_repeats() {
        let size = px(65, 47);
        for &fourcc in Fourcc::PACKED_RGB {
            let picture = Pattern { stamp: 1 }.picture(fourcc, size).expect("known format");
            let pixel_bytes = fourcc.pixel().expect("known format").bytes as usize;
            let rows: std::collections::HashSet<&[u8]> = picture.bytes.chunks(picture.row_bytes()).collect();
            assert_eq!(rows.len(), size.height as usize, "{fourcc}");
            let columns: std::collections::HashSet<Vec<&[u8]>> = (0..size.width as usize)
                .map(|x| {
                    picture.bytes.chunks(picture.row_bytes()).map(|r| &r[x * pixel_bytes..][..pixel_bytes]).collect()
                })
                .collect();
            assert_eq!(columns.len(), size.width as usize, "{fourcc}");
        }
    }

    #[test]
    fn pictures_are_kept_by_all_they_were_computed_from_and_no_more_than_so_many() {
        let mut kept = Kept { pictures: VecDeque::new(), bytes: 0 };
        let of = |(_, fourcc, size): (Pattern, Fourcc, Size), bytes| Picture { size, fourcc, bytes: vec![0; bytes] };
        let key = |stamp, fourcc, width| (Pattern { stamp }, fourcc, px(width, 1));
        let keys = [key(1, Fourcc::R8, 1), key(2, Fourcc::R8, 1), key(1, Fourcc::R16, 1), key(1, Fourcc::R8, 2)];
        let mut computed = 0;
        for key in keys.into_iter().chain(keys) {
            let compute = || {
                computed += 1;
                Ok(of(key, KEPT_BYTES / 2))
            };
            kept.get(key, compute).expect("computed");
        }
        assert_eq!(computed, 8, "each pushed the one before the last out");
        kept.get(keys[3], || panic!("it is kept")).expect("kept");
        assert_eq!((kept.pictures.len(), kept.bytes), (2, KEPT_BYTES));
        kept.get(keys[0], || Ok(of(keys[0], 2 * KEPT_BYTES))).expect("computed");
        assert_eq!((kept.pictures.len(), kept.bytes), (0, 0), "nothing that is larger than all that may be kept");
        let failed = kept.get(keys[0], || Err(Error::input("computing", "a picture", "it can't be")));
        assert!(failed.is_err() && kept.pictures.is_empty());
    }

    #[test]
    fn one_pixel_works_and_impossible_pictures_are_refused() {
        let one = Pattern { stamp: 9 }.picture(Fourcc::XR24, px(1, 1)).expect("valid size");
        assert_eq!(one.bytes.len(), 4);
        let error = Pattern { stamp: 0 }.picture(Fourcc::XR24, px(0, 4)).expect_err("no pixel");
        assert!(error.to_string().contains("1 to 32768 px"), "{error}");
        let error = Pattern { stamp: 0 }.picture(Fourcc::new(b"NV15"), px(4, 4)).expect_err("not known");
        assert!(error.to_string().contains("NV15 is not a format known here"), "{error}");
    }

    fn any_pattern() -> impl Strategy<Value = (Pattern, Fourcc, Size)> {
        let fourcc = proptest::sample::select(Fourcc::PACKED_RGB);
        (any::<u32>(), fourcc, 1u32..60, 1u32..60)
            .prop_map(|(stamp, fourcc, w, h)| (Pattern { stamp }, fourcc, px(w, h)))
    }

    fn words((pattern, fourcc, size): (Pattern, Fourcc, Size)) -> Vec<u64> {
        let layout = fourcc.pixel().expect("known format");
        let picture = pattern.picture(fourcc, size).expect("known format");
        picture.bytes.chunks(layout.bytes as usize).map(|p| layout.word(p) & layout.visible()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_next_stamp_differs_in_every_pixel((pattern, fourcc, size) in any_pattern()) {
            prop_assume!(pattern.stamp < u32::MAX);
            let next = Pattern { stamp: pattern.stamp + 1 };
            let (old, new) = (words((pattern, fourcc, size)), words((next, fourcc, size)));
            prop_assert!(old.iter().zip(&new).all(|(old, new)| old != new));
        }

        #[test]
        fn neighbours_differ_nearly_everywhere((pattern, fourcc, size) in any_pattern()) {
            let words = words((pattern, fourcc, size));
            let width = size.width as usize;
            let right = words.chunks(width).flat_map(|row| row.windows(2)).filter(|pair| pair[0] == pair[1]).count();
            let below = words.iter().zip(words.iter().skip(width)).filter(|(a, b)| a == b).count();
            // One component of 8 bits has 64 values of noise; more components are alike more rarely still.
            prop_assert!(right + below <= words.len() / 8 + 2, "{right} + {below} of {}", words.len());
        }
    }
}
