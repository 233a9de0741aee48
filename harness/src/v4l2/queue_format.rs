//! What do the buffers of a queue hold, and can a frame be one of them?

use std::fmt;

use super::{PixelFormat, Queue};
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size};

/// What the buffers of a queue hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFormat {
    /// The pixels.
    pub pixel: PixelFormat,
    /// Width and height.
    pub size: Size,
    /// The memory planes; one on a single-planar queue, whatever the format.
    pub planes: Vec<PlaneFormat>,
}

/// One memory plane of a [`QueueFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneFormat {
    /// From one row to the next, in bytes (`bytesperline`); 0 for compressed formats.
    pub pitch: u32,
    /// What a buffer must hold, in bytes (`sizeimage`).
    pub bytes: u32,
}

impl QueueFormat {
    /// `pixel` of `size`, with rows `pitch` bytes apart; 0 leaves that to the driver.
    pub fn new(pixel: PixelFormat, size: Size, pitch: u32) -> Self {
        Self { pixel, size, planes: vec![PlaneFormat { pitch, bytes: 0 }] }
    }

    /// The format that `frame` has.
    ///
    /// # Errors
    /// V4L2 has no such format in one memory plane, or it has the planes elsewhere; or a number does not fit in 32 bits.
    pub fn of_frame(frame: &Frame) -> Result<Self> {
        let refuse = |why: &str| Error::missing("naming the V4L2 format", frame.to_string(), why);
        let contiguous = |first: &Plane| Frame::contiguous(frame.fourcc, frame.size, *first);
        let pixel = PixelFormat::of(frame.fourcc).filter(|_| frame.modifier == Modifier::LINEAR);
        let pixel = pixel.ok_or_else(|| refuse("V4L2 has no LINEAR format in one memory plane with these bytes"))?;
        let Some(plane) = frame.planes.first() else { return Err(refuse("a frame of at least one plane is needed")) };
        if frame.planes.len() > 1 && contiguous(plane).is_none_or(|contiguous| contiguous.planes != frame.planes) {
            return Err(refuse(
                "planes that follow each other without a gap, with pitches in proportion, would be valid",
            ));
        }
        let pitch = u32::try_from(plane.pitch).map_err(|_| refuse("the pitch does not fit in 32 bits"))?;
        Ok(Self::new(pixel, frame.size, pitch))
    }
}

impl Queue {
    /// Sets the format to frames of `fourcc` and `size`, whose rows lie as the driver likes, and says how.
    ///
    /// # Errors
    /// As [`Self::set_frame`].
    pub fn set_any_pitch(&mut self, fourcc: Fourcc, size: Size) -> Result<Frame> {
        let linear = |pitch| Frame::linear(fourcc, size, Plane { offset: 0, pitch });
        let given = self.set_format(&QueueFormat::of_frame(&linear(0))?)?;
        let frame = linear(given.planes.first().map_or(0, |plane| plane.pitch.into()));
        self.set_frame(&frame)?;
        Ok(frame)
    }
}

impl fmt::Display for QueueFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pixel, self.size)?;
        self.planes.iter().try_for_each(|plane| write!(f, ", pitch {} B, {} B", plane.pitch, plane.bytes))
    }
}
