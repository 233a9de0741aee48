//! Who wrote where no pixel is: seeds the bytes around a frame and finds the ones that changed.
//!
//! The bytes before the frame, between its rows (pitch padding) and after it belong to nobody who draws or shows it.
//! Whether an exporter of one's own may use the padding is for the case to say; this only finds what changed.

use std::fmt;
use std::ops::Range;

use super::SharedFrame;
use crate::error::Result;
use crate::frame::Packed;

/// Where a guard byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Before the first pixel.
    Before,
    /// Between the end of this row's pixels and the next row.
    Padding {
        /// The row, from 0 at the top.
        row: u32,
    },
    /// After the last pixel.
    After,
}

/// Guard bytes that no longer hold their seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first of them, in bytes from the start of the dma-buf.
    pub first: u64,
    /// Where that one lies.
    pub region: Region,
    /// How many there are.
    pub count: u64,
    /// How many were checked.
    pub checked: u64,
}

impl SharedFrame {
    /// Fills every byte of the buffer outside the frame's pixels with a pattern that depends on `stamp` and position.
    ///
    /// # Errors
    /// The frame can't be addressed by byte or does not fit the buffer; the CPU can't access the buffer.
    pub fn seed_guards(&self, stamp: u32) -> Result<()> {
        let runs: Vec<_> = self
            .guards()?
            .map(|(_, range)| (range.start, range.map(|at| seed(stamp, at)).collect::<Vec<u8>>()))
            .collect();
        self.dmabuf.map()?.write_all(runs.iter().map(|(at, bytes)| (*at, &bytes[..])))
    }

    /// Finds guard bytes that differ from what [`Self::seed_guards`] wrote with the same `stamp`.
    ///
    /// # Errors
    /// As [`Self::seed_guards`].
    pub fn check_guards(&self, stamp: u32) -> Result<Option<Damage>> {
        let bytes = self.dmabuf.map()?.read(0..self.dmabuf.size)?;
        let mut damage: Option<Damage> = None;
        let mut checked = 0;
        for (region, range) in self.guards()? {
            checked += range.end - range.start;
            for at in range.filter(|&at| bytes[at as usize] != seed(stamp, at)) {
                damage.get_or_insert(Damage { first: at, region, count: 0, checked: 0 }).count += 1;
            }
        }
        Ok(damage.map(|damage| Damage { checked, ..damage }))
    }

    /// The bytes around the frame, in the order of their addresses.
    fn guards(&self) -> Result<impl Iterator<Item = (Region, Range<u64>)> + use<>> {
        let at = self.frame.packed()?;
        if at.end > self.dmabuf.size {
            let why = format!("the frame ends at byte {}, the buffer has {} bytes", at.end, self.dmabuf.size);
            return Err(crate::error::Error::input("finding guard bytes", self.to_string(), why));
        }
        Ok(regions(at, self.frame.size.height, self.dmabuf.size))
    }
}

/// The bytes of a buffer of `size` bytes that are not pixels of the frame at `at`.
fn regions(at: Packed, height: u32, size: u64) -> impl Iterator<Item = (Region, Range<u64>)> {
    let padding = (0..height.max(1) - 1).map(move |row| {
        let start = at.offset + u64::from(row) * at.pitch;
        (Region::Padding { row }, start + at.row..start + at.pitch)
    });
    std::iter::once((Region::Before, 0..at.offset))
        .chain(padding)
        .chain(std::iter::once((Region::After, at.end..size)))
        .filter(|(_, range)| !range.is_empty())
}

/// The guard byte at `at`: a mixed counter (splitmix64), so that no shifted or repeated copy of guards looks intact.
fn seed(stamp: u32, at: u64) -> u8 {
    let mut x = (u64::from(stamp) << 40 ^ at >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31).to_le_bytes()[(at & 7) as usize]
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} guard bytes changed, the first at byte {}, ", self.count, self.checked, self.first)?;
        match self.region {
            Region::Before => write!(f, "before the frame"),
            Region::Padding { row } => write!(f, "in the padding of row {row}"),
            Region::After => write!(f, "after the frame"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Fourcc;
    use crate::frame::{Frame, Plane, px};

    #[test]
    fn guards_and_pixels_together_are_every_byte_once() {
        let frame = Frame::linear(Fourcc::XR24, px(3, 4), Plane { offset: 20, pitch: 16 });
        let at = frame.packed().expect("addressable");
        let mut owners = [0u8; 128];
        for (_, range) in regions(at, 4, 128) {
            range.for_each(|n| owners[n as usize] += 1);
        }
        for y in 0..4 {
            (20 + y * 16..20 + y * 16 + 12).for_each(|n| owners[n] += 1);
        }
        assert_eq!(owners, [1; 128]);
    }

    #[test]
    fn seeds_depend_on_stamp_and_position() {
        let line = |stamp| (0..64).map(|at| seed(stamp, at)).collect::<Vec<u8>>();
        assert_ne!(line(1), line(2));
        assert_ne!(line(1)[..8], line(1)[8..16]);
    }
}
