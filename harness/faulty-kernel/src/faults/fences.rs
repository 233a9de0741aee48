//! Implicit fences of dma-bufs, and the fences of commits.
//!
//! Source: `include/uapi/linux/dma-buf.h`, and "Writeback Connectors" in the kernel's KMS documentation.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;

use super::dmabuf::is_dmabuf;
use super::{Done, Made, Named, ignoring};
use crate::call::Answer;
use crate::fields::{Fields, both, writes};
use crate::filter::Filter;
use crate::perform::{own, perform};

pub(super) const ALL: &[Named] = &[
    ("implicit-fence-lost", implicit_fence_lost),
    ("implicit-fence-signalled", implicit_fence_signalled),
    ("poll-never-waits", poll_never_waits),
];

/// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE` and `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`, of flags and an fd.
const EXPORT_SYNC_FILE: u32 = both(b'b', 2, 8);
const IMPORT_SYNC_FILE: u32 = writes(b'b', 3, 8);
const FD: usize = 4;

fn implicit_fence_lost() -> Made {
    ignoring(&[IMPORT_SYNC_FILE])
}

/// The fence that a dma-buf hands out is one that has signalled.
fn implicit_fence_signalled() -> Made {
    Made::on_ioctls(&[EXPORT_SYNC_FILE], |call| {
        let Some(fence) = signalled() else { return Ok(Done::UNTOUCHED) };
        let mut structure = call.structure()?;
        structure.set_u32(FD, call.give(fence, true)?.cast_unsigned());
        call.set_structure(&structure)?;
        Ok(Done::fired(Answer::Return(0)))
    })
}

/// A sync file that has signalled, of a timeline that nobody else has.
pub(super) fn signalled() -> Option<OwnedFd> {
    Timeline::new()?.at(0)
}

/// A timeline of `sw_sync` (`drivers/dma-buf/sw_sync.c`).
pub(super) struct Timeline(File);

impl Timeline {
    pub(super) fn new() -> Option<Self> {
        let node = "/sys/kernel/debug/sync/sw_sync";
        fs::OpenOptions::new().read(true).write(true).open(node).ok().map(Self)
    }

    /// A sync file that signals when the timeline gets to `value`.
    pub(super) fn at(&self, value: u32) -> Option<OwnedFd> {
        // `SW_SYNC_IOC_CREATE_FENCE`, of value, name and fd.
        let mut fence = Fields::zeroed(40);
        perform(self.0.as_fd(), both(b'W', 0, 40), fence.set_u32(0, value)).ok()?;
        own(fence.u32(36).into())
    }
}

/// poll of a dma-buf alone says at once that nobody uses it.
fn poll_never_waits() -> Made {
    Made::on(Filter::calls(&[libc::SYS_ppoll, POLL]), |call| {
        // `struct pollfd`: fd, events, revents.
        if call.arguments[1] != 1 {
            return Ok(Done::UNTOUCHED);
        }
        let mut asked = call.read(call.arguments[0], 8)?;
        let fd = i32::from_ne_bytes([asked[0], asked[1], asked[2], asked[3]]);
        if !is_dmabuf(call, fd) {
            return Ok(Done::UNTOUCHED);
        }
        let wanted = u16::from_ne_bytes([asked[4], asked[5]]) & (PollFlags::IN | PollFlags::OUT).bits();
        asked[6..].copy_from_slice(&wanted.to_ne_bytes());
        call.write(call.arguments[0], &asked)?;
        Ok(Done::fired(Answer::Return(1)))
    })
}

/// Only older architectures have it.
#[cfg(target_arch = "x86_64")]
const POLL: i64 = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
const POLL: i64 = libc::SYS_ppoll;
