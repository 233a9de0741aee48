//! Frames in YUV: their pattern, their planes one by one, and what a device that converts them to RGB must see.
//!
//! Pure. A YUV [`Picture`] holds its planes one after the other; here it is computed, taken apart, and converted. What its
//! bytes mean is [`crate::format`]'s table; how two of them are compared is [`planes`].
//!
//! # The pattern
//!
//! A component is the [pattern](crate::pattern) of its position among the samples of its own plane: Y takes the place of R, U of
//! G, V of B, and with `v` for `value16` there it is `22528 + v * 5 / 16`, of which the upper bits are kept. So the planes hold
//! different noise, and no colour is so strong that a conversion to RGB would cut it off, which would hide errors. Alpha and
//! padding are `v` as it is.
//!
//! # The conversion
//!
//! ITU-R BT.601, BT.709 and BT.2020 (non-constant luminance) define R, G and B by Kr and Kb alone, and the quantisation of
//! limited range; full range is that of ISO/IEC 23091-2 (`VideoFullRangeFlag`). A sample of a sub-sampled plane is taken for
//! every pixel it stands for: nothing is interpolated.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::{Channel, Fourcc, Part, PlaneShape, YuvLayout};
use crate::frame::{Frame, Size, px};
use crate::pattern::Pattern;
use crate::picture::Picture;

pub mod planes;
pub(crate) mod shown;
mod slip;

pub(crate) use slip::Slip;

/// Which colours Y, U and V stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020 with non-constant luminance.
    Bt2020,
}

/// Which numbers of a component are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Range {
    /// Of 8 bits 16 to 235, and 16 to 240 for chroma.
    Limited,
    /// All.
    Full,
}

/// How a device is told to convert YUV to RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Colours {
    /// The colours.
    pub encoding: Encoding,
    /// The numbers.
    pub range: Range,
}

impl Colours {
    /// What video is taken for when nobody says anything.
    pub const VIDEO: Self = Self { encoding: Encoding::Bt601, range: Range::Limited };

    /// What frames are shown as of which nothing but their arrival is claimed: every number stands for a colour, and vkms shows
    /// limited range too bright, which is the claim of a case of its own.
    pub const FULL: Self = Self { encoding: Encoding::Bt601, range: Range::Full };

    /// Every way.
    pub const ALL: [Self; 6] = [
        Self::VIDEO,
        Self { encoding: Encoding::Bt709, range: Range::Limited },
        Self { encoding: Encoding::Bt2020, range: Range::Limited },
        Self::FULL,
        Self { encoding: Encoding::Bt709, range: Range::Full },
        Self { encoding: Encoding::Bt2020, range: Range::Full },
    ];

    /// R, G and B from 0.0 to 1.0 of components of `bits` bits, cut off where a colour is outside.
    fn rgb(self, components: [u32; 3], bits: u32) -> [f64; 3] {
        let step = f64::from(1 << (bits - 8));
        self.rgb_of_bytes(components.map(|component| f64::from(component) / step), 256.0 - 1.0 / step, 1.0)
    }

    /// [`Self::rgb`] of components in steps of 8 bits, the largest of which is `full`; all is scaled by `scale`.
    fn rgb_of_bytes(self, [y, u, v]: [f64; 3], full: f64, scale: f64) -> [f64; 3] {
        let (u, v) = (u - 128.0, v - 128.0);
        let (y, u, v) = match self.range {
            Range::Limited => ((y - 16.0) / 219.0, u / 224.0, v / 224.0),
            Range::Full => (y / full, u / full, v / full),
        };
        let (y, u, v) = (y * scale, u * scale, v * scale);
        let (kr, kb) = match self.encoding {
            Encoding::Bt601 => (0.299, 0.114),
            Encoding::Bt709 => (0.2126, 0.0722),
            Encoding::Bt2020 => (0.2627, 0.0593),
        };
        let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
        let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
        [r, g, b].map(|value| value.clamp(0.0, 1.0))
    }

    /// `picture` in RGB of 16 bits each (AB48, opaque where it has no alpha), each rounded to nearest.
    ///
    /// # Errors
    /// It is not YUV of a format known here, or its bytes do not match its size.
    pub fn convert(self, picture: &Picture) -> Result<Picture> {
        self.convert_with(None, picture)
    }

    /// [`Self::convert`] as a driver does it that makes the mistake `slip`.
    ///
    /// # Errors
    /// As [`Self::convert`].
    pub(crate) fn convert_with(self, slip: Option<Slip>, picture: &Picture) -> Result<Picture> {
        let Size { width, height } = picture.size;
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Ok(Picture { size: picture.size, ..self.convert_at(slip, picture, places)? })
    }

    /// [`Self::convert_with`] of the pixels at `places` alone, which come in one row.
    ///
    /// # Errors
    /// As [`Self::convert`].
    ///
    /// # Panics
    /// If a place is not in the picture.
    pub(crate) fn convert_at(
        self,
        slip: Option<Slip>,
        picture: &Picture,
        places: impl Iterator<Item = (u32, u32)>,
    ) -> Result<Picture> {
        let (layout, _) = layout(picture.fourcc, picture.size)?;
        match slip {
            None => convert_by(picture, places, |components| self.rgb(components, layout.bits), |_| None),
            Some(slip) => convert_by(
                picture,
                places,
                |components| slip.rgb(self, components, layout),
                |alpha| slip.alpha(alpha, layout),
            ),
        }
    }
}

/// The pixels at `places` in RGB as `rgb` has them, with alpha as it is, unless `alpha` makes something else of it.
fn convert_by(
    picture: &Picture,
    places: impl Iterator<Item = (u32, u32)>,
    rgb: impl Fn([u32; 3]) -> [f64; 3],
    alpha: impl Fn(u32) -> Option<u16>,
) -> Result<Picture> {
    let samples = Samples::of(picture)?;
    let mut bytes = Vec::with_capacity(places.size_hint().0 * 8);
    for (x, y) in places {
        let [r, g, b] = rgb(samples.at(x, y)).map(|value| (value * 65535.0).round() as u64);
        let a = u64::from(samples.alpha_at(x, y, &alpha));
        bytes.extend_from_slice(&(r | g << 16 | b << 32 | a << 48).to_le_bytes());
    }
    Ok(Picture { size: px((bytes.len() / 8) as u32, 1), fourcc: Fourcc::AB48, bytes })
}

impl std::fmt::Display for Colours {
    /// As it stands in the names of cases: `bt601_limited`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.encoding {
            Encoding::Bt601 => "bt601",
            Encoding::Bt709 => "bt709",
            Encoding::Bt2020 => "bt2020",
        })?;
        f.write_str(match self.range {
            Range::Limited => "_limited",
            Range::Full => "_full",
        })
    }
}

/// The layout of `fourcc` with the shapes of its planes.
///
/// # Errors
/// It is not a YUV format known here.
pub(crate) fn layout(fourcc: Fourcc, size: Size) -> Result<(&'static YuvLayout, &'static [PlaneShape])> {
    fourcc.yuv().zip(fourcc.planes()).ok_or_else(|| {
        let why = format!("{fourcc} is not a YUV format known here; NV12 or YU12 would be valid");
        Error::input("looking at YUV samples", format!("{fourcc} {size}"), why)
    })
}

/// The pattern of `stamp` in the YUV format `fourcc`.
///
/// # Errors
/// It is not a YUV format known here.
pub(crate) fn pattern(pattern: Pattern, fourcc: Fourcc, size: Size) -> Result<Picture> {
    let (layout, shapes) = layout(fourcc, size)?;
    let mut bytes = Vec::new();
    for (parts, shape) in layout.planes.iter().zip(shapes) {
        let columns = size.width.div_ceil(shape.across);
        let rows = shape.rows(size.height);
        for (x, y) in (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y))) {
            for part in *parts {
                // Lumas that share a sample are neighbours among those of the whole row.
                let (channel, x, columns) = match part {
                    Part::Y(nth) => (Channel::R, x * shape.across + nth, columns * shape.across),
                    Part::U => (Channel::G, x, columns),
                    Part::V => (Channel::B, x, columns),
                    Part::A => (Channel::A, x, columns),
                    Part::X => (Channel::X, x, columns),
                };
                let value = pattern.value16(x, y, channel, px(columns, rows));
                let value = if matches!(part, Part::A | Part::X) { value } else { 22528 + value * 5 / 16 };
                let kept = value >> (16 - layout.bits) << layout.below;
                bytes.extend_from_slice(&kept.to_le_bytes()[..layout.bytes as usize]);
            }
        }
    }
    Ok(Picture { size, fourcc, bytes })
}

/// `picture` without colour: every sample of chroma is the middle one.
///
/// # Errors
/// It is not YUV of a format known here.
pub fn without_colour(picture: &Picture) -> Result<Picture> {
    let (layout, shapes) = layout(picture.fourcc, picture.size)?;
    let middle = 1u32 << (layout.bits - 1 + layout.below);
    let mut grey = picture.clone();
    let mut rest = grey.bytes.as_mut_slice();
    for (parts, shape) in layout.planes.iter().zip(shapes) {
        let length = shape.row(picture.size.width) as usize * shape.rows(picture.size.height) as usize;
        let (plane, behind) = std::mem::take(&mut rest).split_at_mut_checked(length).unwrap_or_default();
        rest = behind;
        let components = plane.chunks_exact_mut(layout.bytes as usize);
        let is_chroma = |part: &Part| matches!(part, Part::U | Part::V);
        for (component, _) in components.zip(parts.iter().cycle()).filter(|(_, part)| is_chroma(part)) {
            component.copy_from_slice(&middle.to_le_bytes()[..layout.bytes as usize]);
        }
    }
    Ok(grey)
}

/// Where each component of a picture is found.
struct Samples<'p> {
    picture: &'p Picture,
    layout: &'static YuvLayout,
    /// Of Y, U and V.
    places: [Place; 3],
    alpha: Option<Place>,
}

/// Where the values of one component lie in the bytes of a picture.
#[derive(Clone, Copy, Default)]
struct Place {
    /// First byte of the plane.
    start: usize,
    /// Bytes in a row.
    row: usize,
    /// Bytes of a sample.
    sample: usize,
    /// Pixels that share a sample, each way.
    across: u32,
    down: u32,
    /// Where the component lies in a sample; for luma of the first pixel, and how far the next one is.
    at: usize,
    next: usize,
}

impl<'p> Samples<'p> {
    fn of(picture: &'p Picture) -> Result<Self> {
        let (layout, shapes) = layout(picture.fourcc, picture.size)?;
        let (mut places, mut alpha) = ([Place::default(); 3], None);
        let mut start = 0;
        for (parts, shape) in layout.planes.iter().zip(shapes) {
            let row = shape.row(picture.size.width) as usize;
            for (n, part) in parts.iter().enumerate() {
                let at = n * layout.bytes as usize;
                let plane = Place {
                    start,
                    row,
                    sample: shape.bytes as usize,
                    across: shape.across,
                    down: shape.down,
                    at,
                    next: 0,
                };
                match part {
                    Part::Y(0) => places[0] = plane,
                    Part::Y(_) => places[0].next = at - places[0].at,
                    Part::U => places[1] = plane,
                    Part::V => places[2] = plane,
                    Part::A => alpha = Some(plane),
                    Part::X => {}
                }
            }
            start += row * shape.rows(picture.size.height) as usize;
        }
        if picture.bytes.len() != start {
            let why = format!("it has {} B, its size needs {start} B", picture.bytes.len());
            return Err(Error::input("looking at YUV samples", format!("{picture:?}"), why));
        }
        Ok(Self { picture, layout, places, alpha })
    }

    /// Y, U and V of the pixel at (`x`, `y`), without padding.
    fn at(&self, x: u32, y: u32) -> [u32; 3] {
        self.places.map(|place| self.component(place, x, y))
    }

    /// Alpha of the pixel at (`x`, `y`), of 65535, or what `other` makes of it; opaque where there is none.
    fn alpha_at(&self, x: u32, y: u32, other: impl Fn(u32) -> Option<u16>) -> u16 {
        let most = (1 << self.layout.bits) - 1;
        let Some(alpha) = self.alpha.map(|place| self.component(place, x, y)) else { return u16::MAX };
        other(alpha).unwrap_or(((alpha * 65535 + most / 2) / most) as u16)
    }

    fn component(&self, place: Place, x: u32, y: u32) -> u32 {
        let sample = (y / place.down) as usize * place.row + (x / place.across) as usize * place.sample;
        let at = place.start + sample + place.at + (x % place.across) as usize * place.next;
        let low = u32::from(self.picture.bytes[at]);
        let high = if self.layout.bytes == 2 { u32::from(self.picture.bytes[at + 1]) << 8 } else { 0 };
        (low | high) >> self.layout.below
    }
}

/// What readers see that address the planes of `frame` wrongly in one of the usual ways, when `target` is in it, by name.
///
/// `apart` is whether each plane lies in a dma-buf of its own, so that one that looks for it in the first one finds another.
pub(crate) fn misread(target: &Picture, frame: &Frame, apart: bool) -> Vec<(String, Picture)> {
    let Ok(end) = frame.end() else { return Vec::new() };
    let first = frame.planes.first().map_or(0, |plane| plane.offset);
    let mut wrong: Vec<(String, Frame)> = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(usize, &mut crate::frame::Plane)| {
        let mut read = frame.clone();
        read.planes.iter_mut().enumerate().for_each(|(n, plane)| change(n, plane));
        if read != *frame {
            wrong.push((name.to_owned(), read));
        }
    };
    let luma = frame.planes.first().map_or(0, |plane| plane.pitch);
    add("with the offset of the first plane added to all planes once more", &|_, plane| plane.offset += first);
    add("with the offset of the first plane ignored", &|n, plane| plane.offset *= u64::from(n != 0));
    add("with the offsets of all but the first plane ignored", &|n, plane| plane.offset *= u64::from(n == 0));
    add("with the pitch of the first plane for all planes", &|_, plane| plane.pitch = luma);
    let mut swapped = frame.clone();
    if let [_, one, other] = &mut swapped.planes[..] {
        std::mem::swap(one, other);
        wrong.push(("with the planes of U and V swapped".to_owned(), swapped));
    }
    // Readers reach further than the frame does.
    let length = |read: &Frame| read.end().unwrap_or(0);
    let longest = wrong.iter().map(|(_, read)| length(read)).max().unwrap_or(0).max(end);
    let mut buffer = vec![0; longest as usize];
    let mut pictures = Vec::new();
    if target.write_to(frame, &mut buffer).is_ok() {
        let read = |(name, read): &(String, Frame)| Some((name.clone(), Picture::of_frame(read, &buffer).ok()?));
        pictures.extend(wrong.iter().filter_map(read));
    }
    if let (true, Ok(rows), Ok(placed)) = (apart, frame.rows(), target.rows_in(frame)) {
        let mut of_first = vec![0; end as usize];
        for (at, row) in placed.into_iter().take(rows.first().map_or(0, |rows| rows.count as usize)) {
            of_first[at as usize..at as usize + row.len()].copy_from_slice(row);
        }
        let name = "with all planes read from the dma-buf of the first one";
        pictures.extend(Picture::of_frame(frame, &of_first).ok().map(|picture| (name.to_owned(), picture)));
    }
    pictures.extend(planes::chroma_swapped(target).map(|picture| ("with U and V swapped".to_owned(), picture)));
    pictures
}

#[cfg(test)]
mod tests;
