//! Where the pixels of a frame lie in a buffer: size, fourcc, modifier and planes.
//!
//! Pure description. It holds no fd and no pixel; who allocates, maps or shows a frame is elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier, PlaneShape};

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Shorthand for a [`Size`] of `width` x `height` pixels.
pub const fn px(width: u32, height: u32) -> Size {
    Size { width, height }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} px", self.width, self.height)
    }
}

/// Where one plane lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plane {
    /// First byte of the plane, in bytes from the start of the dma-buf.
    pub offset: u64,
    /// From one row to the next, in bytes.
    pub pitch: u64,
}

/// Something that holds a frame.
pub trait Framed {
    /// Width and height of the frame.
    fn size(&self) -> Size;
}

/// A picture in a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Width and height.
    pub size: Size,
    /// Pixel format.
    pub fourcc: Fourcc,
    /// Memory layout of the planes.
    pub modifier: Modifier,
    /// The planes in the order of the fourcc's documentation.
    pub planes: Vec<Plane>,
}

impl Frame {
    /// A single-plane LINEAR frame.
    pub fn linear(fourcc: Fourcc, size: Size, plane: Plane) -> Self {
        Self { size, fourcc, modifier: Modifier::LINEAR, planes: vec![plane] }
    }

    /// A LINEAR frame whose planes follow each other without a gap, the first one from `first` on. Pitches are in proportion to
    /// the samples in a row: what V4L2 makes of one `bytesperline`, and what most devices lay out. `None` if the planes of the
    /// format are not known.
    pub fn contiguous(fourcc: Fourcc, size: Size, first: Plane) -> Option<Self> {
        let shapes = fourcc.planes()?;
        let luma = shapes.first()?;
        let mut offset = first.offset;
        let plane = |shape: &PlaneShape| {
            let (of, per) = (u64::from(shape.bytes * luma.across), u64::from(luma.bytes * shape.across));
            let pitch = (first.pitch * of / per).max(shape.row(size.width));
            let plane = Plane { offset, pitch };
            offset += pitch * u64::from(shape.rows(size.height));
            plane
        };
        let planes = shapes.iter().map(plane).collect();
        Some(Self { size, fourcc, modifier: Modifier::LINEAR, planes })
    }

    /// Where the rows of each plane of a LINEAR frame lie.
    ///
    /// # Errors
    /// The format is not known, the modifier is not LINEAR, the frame has more or fewer planes than its format, a pitch is
    /// shorter than a row, or a plane's end does not fit in 64 bits.
    pub fn rows(&self) -> Result<Vec<Rows>> {
        let refuse = |why: String| Error::input("addressing rows", self.to_string(), why);
        if self.modifier != Modifier::LINEAR {
            return Err(refuse(format!("only rows of LINEAR frames have addresses, this one is {}", self.modifier)));
        }
        let shapes =
            self.fourcc.planes().ok_or_else(|| refuse(format!("the planes of {} are not known here", self.fourcc)))?;
        if shapes.len() != self.planes.len() {
            return Err(refuse(format!(
                "{} has {} planes, this frame {}",
                self.fourcc,
                shapes.len(),
                self.planes.len()
            )));
        }
        let rows = |(shape, plane): (&PlaneShape, &Plane)| {
            let (row, count) = (shape.row(self.size.width), u64::from(shape.rows(self.size.height)));
            let Plane { offset, pitch } = *plane;
            if pitch < row {
                return Err(refuse(format!("pitch {pitch} B is shorter than a row of {row} B")));
            }
            let end = pitch.checked_mul(count.max(1) - 1).and_then(|n| n.checked_add(row)?.checked_add(offset));
            let end = end.ok_or_else(|| refuse(format!("pitch {pitch} B x {count} rows does not fit in 64 bits")))?;
            Ok(Rows { offset, pitch, row, count, end })
        };
        shapes.iter().zip(&self.planes).map(rows).collect()
    }

    /// One past the last byte of the last row of any plane of a LINEAR frame.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn end(&self) -> Result<u64> {
        Ok(self.rows()?.iter().map(|rows| rows.end).max().unwrap_or(0))
    }

    /// The one plane of a LINEAR frame in a packed RGB format, with the size of its pixel in bytes.
    ///
    /// # Errors
    /// The format is not packed RGB, the modifier is not LINEAR, the plane count is not one, the pitch is shorter
    /// than a row, or the plane's end does not fit in 64 bits: only the exporter can know where such pixels lie.
    pub fn packed(&self) -> Result<Packed> {
        let refuse = |why: String| Err(Error::input("addressing pixels", self.to_string(), why));
        let Some(pixel) = self.fourcc.pixel() else {
            return refuse(format!("{} is not a packed RGB format known here", self.fourcc));
        };
        if self.modifier != Modifier::LINEAR {
            return refuse(format!("only LINEAR frames can be addressed by byte, this one is {}", self.modifier));
        }
        let [plane] = self.planes[..] else {
            return refuse(format!("a packed frame has 1 plane, this one has {}", self.planes.len()));
        };
        let row = u64::from(self.size.width) * u64::from(pixel.bytes);
        if plane.pitch < row {
            return refuse(format!("pitch {} B is shorter than a row of {row} B", plane.pitch));
        }
        let rows_before_last = u64::from(self.size.height.max(1) - 1);
        let end = plane
            .pitch
            .checked_mul(rows_before_last)
            .and_then(|n| n.checked_add(row))
            .and_then(|n| n.checked_add(plane.offset));
        match end {
            Some(end) => Ok(Packed { offset: plane.offset, pitch: plane.pitch, row, pixel: pixel.bytes, end }),
            None => refuse(format!("pitch {} B x {} rows does not fit in 64 bits", plane.pitch, self.size.height)),
        }
    }
}

/// Addresses of one plane of a LINEAR frame; all but the count in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// First byte of the first row.
    pub offset: u64,
    /// From one row to the next.
    pub pitch: u64,
    /// Length of a row, without padding.
    pub row: u64,
    /// How many rows there are.
    pub count: u64,
    /// One past the last byte of the last row.
    pub end: u64,
}

/// Addresses of a packed LINEAR frame; all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// First byte of the first row.
    pub offset: u64,
    /// From one row to the next.
    pub pitch: u64,
    /// Length of a row's pixels, without padding.
    pub row: u64,
    /// Size of a pixel.
    pub pixel: u32,
    /// One past the last byte of the last pixel.
    pub end: u64,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.fourcc, self.modifier, self.size)?;
        for (n, plane) in self.planes.iter().enumerate() {
            write!(f, ", plane {n} offset {} B, pitch {} B", plane.offset, plane.pitch)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_as_one_line() {
        let frame = Frame::linear(Fourcc::XR24, px(250, 130), Plane { offset: 4096, pitch: 1088 });
        insta::assert_snapshot!(frame, @"XR24 LINEAR, 250x130 px, plane 0 offset 4096 B, pitch 1088 B");
        assert_eq!(frame.packed().expect("addressable").end, 4096 + 129 * 1088 + 1000);
    }

    #[test]
    fn planes_end_where_their_last_row_does() {
        let planes = vec![Plane { offset: 0, pitch: 256 }, Plane { offset: 65536, pitch: 512 }];
        let frame = Frame { size: px(251, 131), fourcc: Fourcc::new(b"NV12"), modifier: Modifier::LINEAR, planes };
        let rows = frame.rows().expect("known");
        assert_eq!((rows[0].row, rows[0].count, rows[0].end), (251, 131, 130 * 256 + 251));
        assert_eq!((rows[1].row, rows[1].count, rows[1].end), (252, 66, 65536 + 65 * 512 + 252));
        assert_eq!(frame.end().expect("known"), rows[1].end);
        let one = Frame { planes: frame.planes[..1].to_vec(), ..frame };
        assert!(one.end().expect_err("a plane is missing").to_string().contains("NV12 has 2 planes, this frame 1"));
    }

    #[test]
    fn contiguous_planes_have_pitches_in_proportion() {
        let planes = |fourcc, pitch| {
            let frame = Frame::contiguous(fourcc, px(250, 130), Plane { offset: 4096, pitch }).expect("known");
            frame.planes.iter().map(|plane| (plane.offset, plane.pitch)).collect::<Vec<_>>()
        };
        assert_eq!(planes(Fourcc::NV12, 256), [(4096, 256), (4096 + 130 * 256, 256)]);
        let second = 4096 + 130 * 256;
        assert_eq!(planes(Fourcc::YU12, 256), [(4096, 256), (second, 128), (second + 65 * 128, 128)]);
        assert_eq!(planes(Fourcc::NV24, 256), [(4096, 256), (second, 512)]);
        assert_eq!(planes(Fourcc::P010, 512), [(4096, 512), (4096 + 130 * 512, 512)]);
        assert_eq!(planes(Fourcc::YUYV, 512), [(4096, 512)]);
    }

    #[test]
    fn a_pitch_shorter_than_a_row_and_an_overflow_are_refused() {
        let short = Frame::linear(Fourcc::XR24, px(250, 130), Plane { offset: 0, pitch: 999 });
        assert!(short.packed().expect_err("too short").to_string().contains("999 B is shorter than a row of 1000 B"));
        let huge = Frame::linear(Fourcc::XR24, px(250, 130), Plane { offset: 0, pitch: u64::MAX / 2 });
        assert!(huge.packed().expect_err("overflow").to_string().contains("64 bits"));
    }
}
