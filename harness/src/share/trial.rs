//! Which rows does a device take that does not tell? The smallest multiples are looked for, at which it takes a LINEAR frame in.
//!
//! Pure: the device is asked by who knows it. One that takes all is asked twice, and none more than 29 times.

use crate::error::{Error, Result};
use crate::format::PlaneShape;
use crate::frame::Plane;

/// The largest alignment that is looked for, in bytes.
pub(crate) const LARGEST_ALIGNMENT: u64 = 4096;

/// A multiple of it is one of every alignment that is looked for, and of twice the largest, so that each is tried alone.
const EVEN: u64 = 2 * LARGEST_ALIGNMENT;

/// A frame whose rows lie now here, now there.
pub(crate) struct Trial {
    /// Of each plane its pitch, and where it begins.
    planes: Vec<Plane>,
    /// Where the last one ends, wherever its rows lie.
    end: u64,
}

/// What a device takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alignments {
    /// Pitches are multiples of it.
    pub pitch: u64,
    /// Offsets are multiples of it; of 2^63 where 0 is the only one.
    pub offset: u64,
}

impl Trial {
    /// A frame of planes of these shapes, so many pixels wide and so many rows high.
    pub(crate) fn of(shapes: &[PlaneShape], width: u32, height: u32) -> Self {
        let mut end = EVEN;
        let mut planes = Vec::new();
        for shape in shapes {
            let pitch = shape.row(width).next_multiple_of(EVEN);
            planes.push(Plane { offset: end - EVEN, pitch });
            let rows = (pitch + LARGEST_ALIGNMENT) * u64::from(shape.rows(height));
            end = (end + rows + LARGEST_ALIGNMENT).next_multiple_of(EVEN);
        }
        Self { planes, end }
    }

    /// How many bytes the buffer must have, in whole pages.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// What a device takes that `refuses` a frame with such planes, or does not; if it refuses all, how the last one. What it refused
    /// before it must refuse again, so that what it had no memory for at that moment is not taken for a rule of its own.
    ///
    /// # Errors
    /// That of `refuses`, whose error is that it could not be asked; a refusal that is none the second time.
    pub(crate) fn alignments(
        &self,
        mut refuses: impl FnMut(&[Plane]) -> Result<Option<Error>>,
    ) -> Result<Result<Alignments>> {
        let pitched = |by: u64| self.placed(|plane| Plane { pitch: plane.pitch + by, ..plane });
        let pitch = match smallest(pitched, &mut refuses)? {
            Ok(pitch) => pitch,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let moved = |by: u64| {
            self.placed(|plane| Plane { offset: plane.offset + EVEN + by, pitch: plane.pitch + LARGEST_ALIGNMENT })
        };
        Ok(Ok(Alignments { pitch, offset: smallest(moved, &mut refuses)?.unwrap_or(1 << 63) }))
    }

    fn placed(&self, place: impl Fn(Plane) -> Plane) -> Vec<Plane> {
        self.planes.iter().copied().map(place).collect()
    }
}

/// The smallest power of two of which `place` makes planes that are not refused, or the refusal of the largest.
fn smallest(
    place: impl Fn(u64) -> Vec<Plane>,
    refuses: &mut impl FnMut(&[Plane]) -> Result<Option<Error>>,
) -> Result<Result<u64>> {
    let (mut alignment, mut before) = (1, None);
    while let Some(refusal) = refuses(&place(alignment))? {
        if alignment == LARGEST_ALIGNMENT {
            return Ok(Err(refusal));
        }
        before = Some(refusal);
        alignment *= 2;
    }
    match before {
        Some(refusal) if refuses(&place(alignment / 2))?.is_none() => Err(refusal),
        _ => Ok(Ok(alignment)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Fourcc;

    fn trial(fourcc: Fourcc) -> Trial {
        Trial::of(fourcc.planes().expect("known"), 250, 4)
    }

    fn refusal() -> Error {
        Error::input("taking in", "a device", "its rows")
    }

    #[test]
    fn what_is_a_multiple_of_all_that_is_wanted_is_found() {
        for (wanted, offset) in [(1, 1), (64, 256), (256, 4096), (4096, 1)] {
            for fourcc in [Fourcc::XR24, Fourcc::NV12, Fourcc::YU12] {
                let mut asked = 0;
                let takes = |plane: &Plane| plane.pitch.is_multiple_of(wanted) && plane.offset.is_multiple_of(offset);
                let found = trial(fourcc).alignments(|planes| {
                    asked += 1;
                    Ok((!planes.iter().all(takes)).then(refusal))
                });
                assert_eq!(found.unwrap().unwrap(), Alignments { pitch: wanted, offset });
                assert!(asked <= 29 && (wanted, offset, asked > 2) != (1, 1, true), "asked {asked} times");
            }
        }
    }

    #[test]
    fn planes_lie_apart_and_inside_the_buffer() {
        for fourcc in [Fourcc::XR24, Fourcc::NV12, Fourcc::YU12] {
            let (trial, shapes) = (trial(fourcc), fourcc.planes().unwrap());
            trial
                .alignments(|planes| {
                    let ends = planes.iter().zip(shapes).map(|(plane, shape)| {
                        let (row, rows) = (shape.row(250), u64::from(shape.rows(4)));
                        assert!(plane.pitch >= row);
                        plane.offset + plane.pitch * (rows - 1) + row
                    });
                    let starts = planes.iter().skip(1).map(|plane| plane.offset).chain([trial.bytes()]);
                    ends.zip(starts).for_each(|(end, next)| assert!(end <= next, "{planes:?} of {fourcc}"));
                    let even = |plane: &Plane| plane.pitch.is_multiple_of(4096) && plane.offset.is_multiple_of(4096);
                    Ok((!planes.iter().all(even)).then(refusal))
                })
                .unwrap()
                .unwrap();
        }
    }

    #[test]
    fn a_device_that_takes_no_offset_or_nothing_at_all_says_so() {
        let at_zero = |planes: &[Plane]| Ok((planes[0].offset != 0).then(refusal));
        let found = trial(Fourcc::XR24).alignments(at_zero).unwrap().unwrap();
        assert_eq!(found, Alignments { pitch: 1, offset: 1 << 63 });
        assert!(trial(Fourcc::XR24).alignments(|_| Ok(Some(refusal()))).unwrap().is_err());
    }

    #[test]
    fn a_shortage_that_passes_is_no_rule() {
        let mut left = 3;
        let short = |_: &[Plane]| {
            left -= 1;
            Ok((left >= 0).then(refusal))
        };
        assert!(trial(Fourcc::XR24).alignments(short).is_err());
        assert!(trial(Fourcc::XR24).alignments(|_| Err(refusal())).is_err());
    }
}
