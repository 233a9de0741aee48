//! Where do the planes of a LINEAR frame lie so that several demands hold at once, and how many bytes is that?
//!
//! Every demand only ever pushes numbers up or bounds them from above. So the smallest pitches, offsets and sizes are the
//! best ones, and demands that collide still collide when more are added.
//!
//! Arithmetic is in 128 bits, which the largest frame with the largest demands does not fill.

use super::memory::Extent;
use crate::format::{Modifier, PlaneShape};
use crate::frame::Size;
use crate::share::constraints::{Bytes, Constraints, FormatModifier};
use crate::share::heap::Offer;

/// One demand on a layout; in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// The frame has to fit.
    Frame,
    /// Pitches are multiples of this.
    PitchAlignment(u64),
    /// Pitches are not less.
    PitchMin(u64),
    /// Pitches are not more.
    PitchMax(u64),
    /// Offsets of planes are multiples of this.
    OffsetAlignment(u64),
    /// So much is behind the end of the last plane: rows of its pitch, and bytes behind these.
    Behind { rows: u32, bytes: u64 },
    /// The size of the buffer is a multiple of this.
    SizeAlignment(u64),
    /// The size of the buffer is not less.
    SizeMin(u64),
    /// The size of the buffer is not more.
    SizeMax(u64),
}

/// What `constraints` demand, without the frame.
pub(super) fn demands(constraints: &Constraints) -> [Demand; 8] {
    let Constraints { pitch, size, .. } = constraints;
    [
        Demand::PitchAlignment(pitch.alignment),
        Demand::PitchMin(pitch.min),
        Demand::PitchMax(pitch.max),
        Demand::OffsetAlignment(constraints.offset_alignment),
        Demand::Behind { rows: constraints.rows_behind, bytes: constraints.padding },
        Demand::SizeAlignment(size.alignment),
        Demand::SizeMin(size.min),
        Demand::SizeMax(size.max),
    ]
}

/// What the memory of `offer` demands.
pub(super) fn demands_of_heap(offer: &Offer) -> [Demand; 2] {
    [Demand::SizeAlignment(offer.granule.max(1)), Demand::SizeMax(offer.largest)]
}

/// Demands, taken together.
#[derive(Clone, Debug)]
pub(super) struct Together {
    frame: bool,
    pitch: Bytes,
    offset_alignment: u64,
    /// Which one is the most, depends on the pitch.
    behind: Vec<(u32, u64)>,
    size_alignment: u128,
    size_min: u64,
    size_max: u64,
}

impl Together {
    /// All of `demands`.
    pub(super) fn of(demands: impl IntoIterator<Item = Demand>) -> Self {
        let nothing = Self {
            frame: false,
            pitch: Bytes::ANY,
            offset_alignment: 1,
            behind: Vec::new(),
            size_alignment: 1,
            size_min: 0,
            size_max: u64::MAX,
        };
        nothing.with(demands)
    }

    /// These and `demands` as well.
    pub(super) fn with(mut self, demands: impl IntoIterator<Item = Demand>) -> Self {
        for demand in demands {
            match demand {
                Demand::Frame => self.frame = true,
                Demand::PitchAlignment(bytes) => self.pitch.alignment = self.pitch.alignment.max(bytes),
                Demand::PitchMin(bytes) => self.pitch.min = self.pitch.min.max(bytes),
                Demand::PitchMax(bytes) => self.pitch.max = self.pitch.max.min(bytes),
                Demand::OffsetAlignment(bytes) => self.offset_alignment = self.offset_alignment.max(bytes),
                Demand::Behind { rows, bytes } => self.behind.push((rows, bytes)),
                Demand::SizeAlignment(bytes) => self.size_alignment = common_multiple(self.size_alignment, bytes),
                Demand::SizeMin(bytes) => self.size_min = self.size_min.max(bytes),
                Demand::SizeMax(bytes) => self.size_max = self.size_max.min(bytes),
            }
        }
        self
    }

    /// The smallest layout of `rows` that keeps to everything but the upper bounds.
    pub(super) fn lay_out(&self, rows: &Rows) -> Laid {
        // Any frame is at least one row of one byte.
        let smallest = [(1, 1)];
        let rows = if self.frame { rows.0.as_slice() } else { &smallest };
        let mut end = 0u128;
        let mut planes = Vec::with_capacity(rows.len());
        for (row, count) in rows {
            let offset = round_up(end, self.offset_alignment.into());
            let pitch = round_up((*row).max(self.pitch.min).into(), self.pitch.alignment.into());
            end = offset + pitch * u128::from(*count);
            planes.push((offset, pitch));
        }
        let last = planes.last().map_or(0, |(_, pitch)| *pitch);
        let behind = self.behind.iter().map(|(rows, bytes)| last * u128::from(*rows) + u128::from(*bytes));
        end += behind.max().unwrap_or(0);
        let bytes = round_up(end.max(self.size_min.into()), self.size_alignment);
        Laid { planes, bytes }
    }

    /// Whether no pitch of `laid` is above the upper bounds.
    pub(super) fn pitch_fits(&self, laid: &Laid) -> bool {
        laid.planes.iter().all(|(_, pitch)| *pitch <= self.pitch.max.into())
    }

    /// Whether the size of `laid` is not above the upper bounds.
    pub(super) fn size_fits(&self, laid: &Laid) -> bool {
        laid.bytes <= self.size_max.into()
    }
}

/// Of each plane of a frame, the length of a row in bytes, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rows(pub(super) Vec<(u64, u32)>);

impl Rows {
    /// Those of a frame of `size` with these planes.
    pub(super) fn of(shapes: &[PlaneShape], size: Size) -> Self {
        Self(shapes.iter().map(|shape| (shape.row(size.width), shape.rows(size.height))).collect())
    }
}

/// A layout; all in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Laid {
    /// Offset and pitch of each plane.
    pub(super) planes: Vec<(u128, u128)>,
    /// Size of the whole buffer.
    pub(super) bytes: u128,
}

impl Laid {
    /// How much of this buffer, which holds `rows`, a device of `constraints` takes.
    pub(super) fn extent(&self, rows: &Rows, constraints: &Constraints) -> Extent {
        let worked_with = worked_with(&self.planes, rows, constraints).min(self.bytes);
        Extent { whole: self.bytes, worked_with }
    }
}

/// Where the last of `planes`, each with its offset and pitch, ends if they hold `rows`.
pub(super) fn end(planes: &[(u128, u128)], rows: &Rows) -> u128 {
    let ends = planes.iter().zip(&rows.0).map(|((offset, pitch), (_, count))| offset + pitch * u128::from(*count));
    ends.max().unwrap_or(0)
}

/// Bytes from the start of the buffer that a device of `constraints` works with: up to the end of the frame, and what it may
/// touch behind that.
pub(super) fn worked_with(planes: &[(u128, u128)], rows: &Rows, constraints: &Constraints) -> u128 {
    let pitch = planes.last().map_or(0, |(_, pitch)| *pitch);
    end(planes, rows) + pitch * u128::from(constraints.rows_behind) + u128::from(constraints.padding)
}

/// The planes of frames that are `pair`, if such frames can be laid out by who does not make them.
///
/// A heap provides bytes, so that is LINEAR frames of known formats. An exporter whose own images are the storage could
/// lay out other modifiers; what it lays out would be part of its offer, and asked for here.
pub(super) fn shapes(pair: &FormatModifier) -> Option<&'static [PlaneShape]> {
    let shapes = pair.fourcc.planes()?;
    (pair.modifier == Modifier::LINEAR && shapes.len() == pair.planes as usize).then_some(shapes)
}

/// The first multiple of `step` that is not less than `number`.
fn round_up(number: u128, step: u128) -> u128 {
    number.div_ceil(step) * step
}

/// The least common multiple; `other` is a granule or a power of two, and `number` is made of these.
fn common_multiple(number: u128, other: u64) -> u128 {
    let (mut a, mut b) = (number, u128::from(other));
    while b != 0 {
        (a, b) = (b, a % b);
    }
    number / a * u128::from(other)
}
