//! Which sizes does a driver list for a format?
//!
//! Source: "ioctl VIDIOC_ENUM_FRAMESIZES" in the kernel's V4L2 documentation.

use rustix::io::Errno;

use super::uapi::{self, FrameSize};
use super::{PixelFormat, Queue, ioctl};
use crate::error::{Error, Result};
use crate::frame::{Size, px};

/// One entry of the list of sizes of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSizes {
    /// Just this one.
    One(Size),
    /// From the one to the other, in steps.
    Range {
        /// The smallest.
        least: Size,
        /// The largest.
        most: Size,
    },
}

impl FrameSizes {
    /// The smallest and the largest.
    pub fn ends(self) -> [Size; 2] {
        match self {
            Self::One(size) => [size, size],
            Self::Range { least, most } => [least, most],
        }
    }
}

/// More entries than any driver lists.
const SIZES_MAX: u32 = 256;

impl Queue {
    /// The sizes that the driver lists for `pixel`; `None` if it lists none of any format, or of this one.
    ///
    /// # Errors
    /// The list has no end, or not the documented one.
    pub fn frame_sizes(&self, pixel: PixelFormat) -> Result<Option<Vec<FrameSizes>>> {
        let call = &ioctl::ENUM_FRAMESIZES;
        let object = || format!("{self}, sizes of {pixel}");
        let mut sizes = Vec::new();
        for index in 0..SIZES_MAX {
            let mut entry = FrameSize { index, pixelformat: pixel.0, ..FrameSize::default() };
            match call.ask(self.device(), &mut entry) {
                Ok(()) => {}
                Err(Errno::NOTTY | Errno::INVAL) if index == 0 => return Ok(None),
                Err(Errno::INVAL) => return Ok(Some(sizes)),
                Err(errno) => return Err(Error::new(call.name, object(), errno)),
            }
            let [least_width, most_width, _, least_height, most_height, _] = entry.sides;
            if entry.kind == uapi::FRMSIZE_TYPE_DISCRETE {
                sizes.push(FrameSizes::One(px(entry.sides[0], entry.sides[1])));
                continue;
            }
            // A range is all there is.
            let (least, most) = (px(least_width, least_height), px(most_width, most_height));
            return Ok(Some(vec![FrameSizes::Range { least, most }]));
        }
        let why = format!("still no end after {SIZES_MAX} sizes; EINVAL would end the list");
        Err(Error::answer(call.name, object(), why))
    }
}
