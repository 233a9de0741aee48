//! What does the kernel say of each slot of a queue?
//!
//! Source: `VIDIOC_QUERYBUF` and "Buffer Flags" in the kernel's V4L2 documentation.

use std::fmt;

use rustix::io::Errno;

use super::uapi::{self, Buffer};
use super::{Queue, ioctl};
use crate::error::{Error, Result};

/// More slots than a queue has.
const MOST: u32 = 1024;

/// Flags of a buffer that say where it is, with their names.
const FLAGS: &[(u32, &str)] =
    &[(0x1, "mapped"), (0x2, "queued"), (0x4, "done"), (uapi::BUF_FLAG_ERROR, "error"), (0x400, "prepared")];

/// Where the buffer of each slot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots(Vec<u32>);

/// `slot 0 queued, slot 1 idle`, or `no slots`.
impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |flags: &u32| {
            let set = FLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name);
            let set: Vec<&str> = set.collect();
            if set.is_empty() { "idle".to_owned() } else { set.join(" ") }
        };
        let each: Vec<String> =
            self.0.iter().enumerate().map(|(at, flags)| format!("slot {at} {}", of(flags))).collect();
        f.write_str(&if each.is_empty() { "no slots".to_owned() } else { each.join(", ") })
    }
}

impl Queue {
    /// Where the kernel has the buffer of each slot.
    ///
    /// # Errors
    /// The driver refuses otherwise than for a slot that there is not (`EINVAL`).
    pub fn slots(&self) -> Result<Slots> {
        let all = FLAGS.iter().fold(0, |all, (flag, _)| all | flag);
        let mut slots = Vec::new();
        for index in 0..MOST {
            let mut planes = [uapi::Plane::default(); uapi::MAX_PLANES];
            let mut buffer = Buffer { index, buf_type: self.buf_type(), ..Default::default() };
            let asked = match self.is_multi_planar() {
                true => ioctl::QUERYBUF.ask_planes(self.device(), &mut buffer, &mut planes),
                false => ioctl::QUERYBUF.ask(self.device(), &mut buffer),
            };
            match asked {
                Ok(()) => slots.push(buffer.flags & all),
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(Error::new(ioctl::QUERYBUF.name, format!("{self}, slot {index}"), errno)),
            }
        }
        Ok(Slots(slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_told_by_where_its_buffer_is() {
        let slots = Slots(vec![0x2, 0, 0x1 | 0x4 | 0x40]);
        assert_eq!(slots.to_string(), "slot 0 queued, slot 1 idle, slot 2 mapped done error");
        assert_eq!(Slots(Vec::new()).to_string(), "no slots");
    }
}
