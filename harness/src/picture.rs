//! Pixels themselves, taken out of any buffer: rows without padding, in one packed format.
//!
//! A picture is what comparisons and PNG files work on. Where the pixels lay in a buffer is the business of [`crate::frame`].

use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Frame, Rows, Size};

/// Tightly packed pixels of one frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width and height.
    pub size: Size,
    /// Format of [`Self::bytes`]: packed RGB, or YUV.
    pub fourcc: Fourcc,
    /// The planes one after the other, of each its rows from the top, samples from the left, no padding.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// Bytes in a row of a picture of one plane.
    pub fn row_bytes(&self) -> usize {
        self.bytes.len() / self.size.height.max(1) as usize
    }

    /// The pixels of `frame` found in `buffer`, the dma-buf's bytes from its start, by the frame's own description.
    ///
    /// This is the harness's independent addressing: it knows nothing of what a driver did.
    ///
    /// # Errors
    /// The frame can't be addressed by byte, or it ends after the end of the buffer.
    pub fn of_frame(frame: &Frame, buffer: &[u8]) -> Result<Self> {
        let mut bytes = Vec::new();
        for rows in placed(frame, "reading pixels", buffer.len())? {
            bytes.reserve((rows.row * rows.count) as usize);
            for y in 0..rows.count {
                let start = (rows.offset + y * rows.pitch) as usize;
                bytes.extend_from_slice(&buffer[start..start + rows.row as usize]);
            }
        }
        Ok(Self { size: frame.size, fourcc: frame.fourcc, bytes })
    }

    /// Writes the pixels into `buffer` where `frame` says they lie, and touches no other byte.
    ///
    /// # Errors
    /// As [`Self::of_frame`]; also if size or format differ between picture and frame.
    pub fn write_to(&self, frame: &Frame, buffer: &mut [u8]) -> Result<()> {
        placed(frame, "writing pixels", buffer.len())?;
        for (at, row) in self.rows_in(frame)? {
            buffer[at as usize..at as usize + row.len()].copy_from_slice(row);
        }
        Ok(())
    }

    /// The rows of all planes, each with the byte where it lies in `frame`.
    ///
    /// # Errors
    /// The frame can't be addressed by byte; size or format differ between picture and frame, or its bytes do not match.
    pub fn rows_in(&self, frame: &Frame) -> Result<Vec<(u64, &[u8])>> {
        let all = frame.rows()?;
        let refuse = |why: String| Err(Error::input("writing pixels", frame.to_string(), why));
        if (self.size, self.fourcc) != (frame.size, frame.fourcc) {
            return refuse(format!("the picture is {} {}", self.fourcc, self.size));
        }
        let needed: u64 = all.iter().map(|rows| rows.row * rows.count).sum();
        if needed != self.bytes.len() as u64 {
            return refuse(format!("the picture has {} B, its size needs {needed} B", self.bytes.len()));
        }
        let mut rest = self.bytes.as_slice();
        let mut placed = Vec::new();
        for rows in all {
            let (plane, behind) = rest.split_at((rows.row * rows.count) as usize);
            rest = behind;
            let rows_of_plane = plane.chunks_exact((rows.row as usize).max(1));
            placed.extend((0..).zip(rows_of_plane).map(|(y, row)| (rows.offset + y * rows.pitch, row)));
        }
        Ok(placed)
    }
}

/// The rows of `frame`, which must end within `length` bytes.
fn placed(frame: &Frame, op: &'static str, length: usize) -> Result<Vec<Rows>> {
    let rows = frame.rows()?;
    let end = rows.iter().map(|rows| rows.end).max().unwrap_or(0);
    if end > length as u64 {
        let why = format!("the frame ends at byte {end}, the buffer has {length} bytes");
        return Err(Error::input(op, frame.to_string(), why));
    }
    Ok(rows)
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} {}, {} B)", self.fourcc, self.size, self.bytes.len())
    }
}
