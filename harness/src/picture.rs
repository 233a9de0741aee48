//! Pixels themselves, taken out of any buffer: rows without padding, in one packed format.
//!
//! A picture is what comparisons and PNG files work on. Where the pixels lay in a buffer is the business of [`crate::frame`].

use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Frame, Size};

/// Tightly packed pixels of one frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width and height.
    pub size: Size,
    /// Packed RGB format of [`Self::bytes`].
    pub fourcc: Fourcc,
    /// Rows from the top, pixels from the left, no padding: width x height x bytes per pixel.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// Bytes in a row.
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
        let at = frame.packed()?;
        if at.end > buffer.len() as u64 {
            let why = format!("the frame ends at byte {}, the buffer has {} bytes", at.end, buffer.len());
            return Err(Error::input("reading pixels", frame.to_string(), why));
        }
        let row = at.row as usize;
        let mut bytes = Vec::with_capacity(row * frame.size.height as usize);
        for y in 0..u64::from(frame.size.height) {
            let start = (at.offset + y * at.pitch) as usize;
            bytes.extend_from_slice(&buffer[start..start + row]);
        }
        Ok(Self { size: frame.size, fourcc: frame.fourcc, bytes })
    }

    /// Writes the pixels into `buffer` where `frame` says they lie, and touches no other byte.
    ///
    /// # Errors
    /// As [`Self::of_frame`]; also if size or format differ between picture and frame.
    pub fn write_to(&self, frame: &Frame, buffer: &mut [u8]) -> Result<()> {
        let at = frame.packed()?;
        if (self.size, self.fourcc) != (frame.size, frame.fourcc) {
            let why = format!("the picture is {} {}", self.fourcc, self.size);
            return Err(Error::input("writing pixels", frame.to_string(), why));
        }
        if at.end > buffer.len() as u64 {
            let why = format!("the frame ends at byte {}, the buffer has {} bytes", at.end, buffer.len());
            return Err(Error::input("writing pixels", frame.to_string(), why));
        }
        for (y, row) in self.bytes.chunks_exact(at.row as usize).enumerate() {
            let start = (at.offset + y as u64 * at.pitch) as usize;
            buffer[start..start + row.len()].copy_from_slice(row);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} {}, {} B)", self.fourcc, self.size, self.bytes.len())
    }
}
