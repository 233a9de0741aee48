//! Fences that vgem attaches to a buffer, for its user to signal: made for testing how others wait.
//!
//! Source: `include/uapi/drm/vgem_drm.h` and `drivers/gpu/drm/vgem/vgem_fence.c` of the kernel.
#![expect(unsafe_code, reason = "vgem's two ioctls")]

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

use super::card::Card;
use super::prime::Imported;
use crate::error::{Error, Result};
use crate::fence::Use;
use crate::restart::again;

/// A fence that vgem attached. It signals when it is dropped. Whatever becomes of it vgem signals it after 10 s, or when the
/// card's file is closed.
#[derive(Debug)]
pub struct VgemFence {
    card: Arc<Card>,
    fence: u32,
    signalled: bool,
}

/// First number of a driver's own ioctls (`DRM_COMMAND_BASE`).
const COMMAND_BASE: u8 = 0x40;
/// `VGEM_FENCE_WRITE`.
const WRITE: u32 = 1;

/// `struct drm_vgem_fence_attach`.
#[repr(C)]
struct Attach {
    handle: u32,
    flags: u32,
    out_fence: u32,
    pad: u32,
}

/// `struct drm_vgem_fence_signal`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Signal {
    fence: u32,
    flags: u32,
}

impl Imported {
    /// Attaches a new fence to the buffer: somebody is under way, to `what`.
    ///
    /// # Errors
    /// The card is not vgem, or refuses: `EBUSY` if there is a fence that one who is about to `what` must wait for.
    pub fn attach_fence(&self, what: Use) -> Result<VgemFence> {
        const ATTACH: Opcode = opcode::read_write::<Attach>(b'd', COMMAND_BASE + 1);
        let card = self.card();
        let flags = if what == Use::Read { 0 } else { WRITE };
        let mut attach = Attach { handle: self.handle(), flags, out_fence: 0, pad: 0 };
        let attached = again(|| {
            // SAFETY: DRM_IOCTL_VGEM_FENCE_ATTACH is DRM_IOWR(DRM_COMMAND_BASE + 1, struct drm_vgem_fence_attach).
            let request = unsafe { Updater::<ATTACH, Attach>::new(&mut attach) };
            // SAFETY: the structure lives until the call returns, and has no pointers in it.
            unsafe { ioctl(card.as_fd(), request) }
        });
        attached.map_err(|error| Error::new("DRM_IOCTL_VGEM_FENCE_ATTACH", format!("{card}, to {what}"), error))?;
        Ok(VgemFence { card: Arc::clone(card), fence: attach.out_fence, signalled: false })
    }
}

impl VgemFence {
    /// Signals it.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn signal(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        const SIGNAL: Opcode = opcode::write::<Signal>(b'd', COMMAND_BASE + 2);
        if std::mem::replace(&mut self.signalled, true) {
            return Ok(());
        }
        let signalled = again(|| {
            // SAFETY: DRM_IOCTL_VGEM_FENCE_SIGNAL is DRM_IOW(DRM_COMMAND_BASE + 2, struct drm_vgem_fence_signal).
            let request = unsafe { Setter::<SIGNAL, Signal>::new(Signal { fence: self.fence, flags: 0 }) };
            // SAFETY: the request only reads its argument, which lives until the call returns.
            unsafe { ioctl(self.card.as_fd(), request) }
        });
        signalled.map_err(|error| {
            Error::new("DRM_IOCTL_VGEM_FENCE_SIGNAL", format!("{}, fence {}", self.card, self.fence), error)
        })
    }
}

impl Drop for VgemFence {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!("a fence that nobody signalled stays pending: {error}");
        }
    }
}
