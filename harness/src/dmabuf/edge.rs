#![expect(unsafe_code, reason = "reserves addresses")]
//! A place for the next mapping behind which there is nothing: whoever reads or writes behind its end is killed for that, and does
//! not meet, unseen, what happens to lie there.

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::error::{Error, Result};

/// What mappings are made of.
const PAGE: usize = 4096;

/// So much of what lies behind may not be touched.
const BEHIND: usize = 16 << 20;

/// So many gaps are filled at most.
const GAPS: usize = 256;

/// Addresses that nobody may touch, for as long as it lives.
#[derive(Debug)]
pub struct Edge(Vec<Reserved>);

impl Edge {
    /// The next mapping of `length` bytes in this process lies before such addresses: the kernel takes the highest gap that is
    /// large enough, and those above the right one are filled. A mapping that is made and gone by then makes no difference.
    ///
    /// # Errors
    /// The kernel gives no addresses.
    pub fn behind_the_next(length: u64) -> Result<Self> {
        let failed = |errno| Error::new("mmap(PROT_NONE)", format!("{length} B"), errno);
        let length = usize::try_from(length).ok().and_then(|length| length.checked_next_multiple_of(PAGE));
        let length = length.ok_or_else(|| failed(Errno::OVERFLOW))?;
        let whole = Reserved::new(length + BEHIND).map_err(failed)?;
        let place = whole.start;
        let mut kept = vec![whole.without_first(length).map_err(failed)?];
        for _ in 0..GAPS {
            let gap = Reserved::new(length).map_err(failed)?;
            if gap.start == place {
                break;
            }
            kept.push(gap);
        }
        Ok(Self(kept))
    }

    /// How many ranges of addresses it keeps.
    pub fn ranges(&self) -> usize {
        self.0.len()
    }
}

/// A range of addresses of its own, which nobody may touch.
#[derive(Debug)]
struct Reserved {
    start: NonNull<c_void>,
    length: usize,
}

impl Reserved {
    fn new(length: usize) -> rustix::io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing that exists.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::empty(), flags) }?;
        NonNull::new(start).map(|start| Self { start, length }).ok_or(Errno::FAULT)
    }

    /// It without its first `length` bytes, which are whole pages and less than it has.
    fn without_first(self, length: usize) -> rustix::io::Result<Self> {
        let whole = std::mem::ManuallyDrop::new(self);
        // SAFETY: the beginning of our own mapping, of which nobody knows.
        unsafe { munmap(whole.start.as_ptr(), length) }?;
        // SAFETY: `length` is less than what the mapping has.
        Ok(Self { start: unsafe { whole.start.byte_add(length) }, length: whole.length - length })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which nobody knows.
        let _ = unsafe { munmap(self.start.as_ptr(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_mapping_lies_before_it() {
        let length = 130 * 4096;
        let edge = Edge::behind_the_next(length as u64).unwrap();
        let behind = &edge.0[0];
        let next = Reserved::new(length).unwrap();
        // Other threads of the test map, too.
        let end = next.start.as_ptr() as usize + length;
        assert!(edge.ranges() > GAPS || end <= behind.start.as_ptr() as usize, "{next:?} {edge:?}");
    }
}
