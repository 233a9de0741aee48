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
        /// From one to the next.
        step: Size,
    },
}

impl FrameSizes {
    /// Some of them: the smallest, the next larger one if there is one, and the largest, whether it lies on the steps or not.
    pub fn some(self) -> Vec<Size> {
        match self {
            Self::One(size) => vec![size],
            Self::Range { least, most, step } => {
                let next = px(least.width.saturating_add(step.width), least.height.saturating_add(step.height));
                [Some(least), Some(next).filter(|next| self.has(*next)), Some(most)].into_iter().flatten().collect()
            }
        }
    }

    /// Whether `size` is one of them.
    pub fn has(self, size: Size) -> bool {
        let on = |side: u32, least: u32, most: u32, step: u32| {
            (least..=most).contains(&side) && (side - least).is_multiple_of(step.max(1))
        };
        match self {
            Self::One(one) => one == size,
            Self::Range { least, most, step } => {
                on(size.width, least.width, most.width, step.width)
                    && on(size.height, least.height, most.height, step.height)
            }
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
            let [least_width, most_width, width_step, least_height, most_height, height_step] = entry.sides;
            if entry.kind == uapi::FRMSIZE_TYPE_DISCRETE {
                sizes.push(FrameSizes::One(px(entry.sides[0], entry.sides[1])));
                continue;
            }
            // A range is all there is.
            let (least, most) = (px(least_width, least_height), px(most_width, most_height));
            let step = px(width_step, height_step);
            return Ok(Some(vec![FrameSizes::Range { least, most, step }]));
        }
        let why = format!("still no end after {SIZES_MAX} sizes; EINVAL would end the list");
        Err(Error::answer(call.name, object(), why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_ends_and_what_lies_on_its_steps() {
        let range = FrameSizes::Range { least: px(16, 8), most: px(64, 32), step: px(4, 2) };
        assert_eq!(range.some(), [px(16, 8), px(20, 10), px(64, 32)]);
        assert!(range.has(px(24, 30)) && !range.has(px(24, 31)) && !range.has(px(68, 32)) && !range.has(px(15, 8)));
        let without_step = FrameSizes::Range { least: px(1, 1), most: px(3, 3), step: px(0, 0) };
        assert!(without_step.has(px(2, 3)));
        assert_eq!(FrameSizes::One(px(5, 5)).some(), [px(5, 5)]);
    }
}
