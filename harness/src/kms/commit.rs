//! One atomic commit: properties by name, sent without blocking, then waited for with a deadline.
//!
//! Source: "Atomic Mode Setting" in the kernel's KMS documentation; `WRITEBACK_OUT_FENCE_PTR` under "Writeback Connectors".
#![expect(unsafe_code, reason = "the kernel hands out fences and PRIME fds as plain numbers")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use drm::control::atomic::AtomicModeReq;
use drm::control::{AtomicCommitFlags, Device as _, Event};
use rustix::io::Errno;

use super::card::Card;
use super::objects::Object;
use super::wait;
use crate::error::{Cause, Error, Result};

/// An atomic request under construction.
pub(super) struct Commit<'a> {
    card: &'a Card,
    request: AtomicModeReq,
    /// Where the kernel writes the fence of the writeback job. Boxed, since the request holds its address; atomic, since the
    /// kernel writes it behind the compiler's back.
    fence: Option<Box<AtomicI32>>,
    flags: AtomicCommitFlags,
}

/// A commit that is on the screen.
pub(super) struct Flip {
    /// Vertical blank count of the CRTC at which the commit took effect.
    pub(super) sequence: u32,
    /// Signals when the writeback job is done, if the commit had one.
    pub(super) fence: Option<OwnedFd>,
}

impl<'a> Commit<'a> {
    pub(super) fn new(card: &'a Card) -> Self {
        let flags = AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT;
        Self { card, request: AtomicModeReq::new(), fence: None, flags }
    }

    /// Sets a property of an object.
    ///
    /// # Errors
    /// The object has no property of that name.
    pub(super) fn set(&mut self, object: &Object, property: &'static str, value: u64) -> Result<&mut Self> {
        let handle = object.property(property)?;
        self.request.add_raw_property(object.handle, handle, value);
        Ok(self)
    }

    /// Lets the commit switch the CRTC on or off or change its mode.
    pub(super) fn allow_modeset(&mut self) -> &mut Self {
        self.flags |= AtomicCommitFlags::ALLOW_MODESET;
        self
    }

    /// Adds a writeback job into framebuffer `id`.
    pub(super) fn write_back(&mut self, connector: &Object, id: u32) -> Result<&mut Self> {
        let fence = Box::new(AtomicI32::new(-1));
        let address = fence.as_ptr().expose_provenance() as u64;
        self.set(connector, "WRITEBACK_FB_ID", u64::from(id))?.set(connector, "WRITEBACK_OUT_FENCE_PTR", address)?;
        self.fence = Some(fence);
        Ok(self)
    }

    /// Sends the request and waits until it took effect.
    ///
    /// # Errors
    /// The driver refuses it; it did not take effect within `deadline`, for example because a fence of a shown buffer never
    /// signals.
    pub(super) fn flip(self, what: &str, deadline: Duration) -> Result<Flip> {
        let until = Instant::now() + deadline;
        let object = || format!("{}, {what}", self.card);
        let refused = |error: std::io::Error| Error::new("DRM_IOCTL_MODE_ATOMIC", object(), error);
        let late = || Error::deadline("waiting for the page flip event", object(), deadline);
        // An event that was not waited for in time must not be taken for ours.
        self.events()?;
        while let Err(error) = self.card.atomic_commit(self.flags, self.request.clone()) {
            match Errno::from_io_error(&error) {
                // EBUSY: the commit before has not finished yet.
                Some(Errno::BUSY) if Instant::now() < until => std::thread::sleep(Duration::from_micros(200)),
                Some(Errno::INTR | Errno::AGAIN) if Instant::now() < until => {}
                _ => return Err(refused(error)),
            }
        }
        let fence = match self.fence.as_ref().map(|fence| fence.load(Ordering::Acquire)) {
            None => None,
            Some(fd) if fd >= 0 => Some(own_fd(fd)),
            Some(fd) => {
                let why = format!("WRITEBACK_OUT_FENCE_PTR got {fd}, an fd was due");
                return Err(Error::answer("DRM_IOCTL_MODE_ATOMIC", object(), why));
            }
        };
        loop {
            if let Some(sequence) = self.events()? {
                return Ok(Flip { sequence, fence });
            }
            match wait::readable(self.card, until) {
                Ok(true) => {}
                Ok(false) => return Err(late()),
                Err(errno) => return Err(Error::new("poll", object(), errno)),
            }
        }
    }

    /// Takes the events that are there; the sequence of the last page flip among them.
    fn events(&self) -> Result<Option<u32>> {
        let mut flipped = None;
        loop {
            match self.card.receive_events() {
                Ok(events) => {
                    let mut any = false;
                    for event in events {
                        any = true;
                        if let Event::PageFlip(flip) = event {
                            flipped = Some(flip.frame);
                        }
                    }
                    if !any {
                        return Ok(flipped);
                    }
                }
                Err(error) => match Error::new("read of DRM events", self.card.to_string(), error) {
                    Error { cause: Cause::Errno(Errno::AGAIN), .. } => return Ok(flipped),
                    Error { cause: Cause::Errno(Errno::INTR), .. } => {}
                    error => return Err(error),
                },
            }
        }
    }
}

/// Takes ownership of an fd that an ioctl has just handed to this process.
pub(super) fn own_fd(fd: RawFd) -> OwnedFd {
    // SAFETY: both callers pass the number that a successful DRM_IOCTL_MODE_ATOMIC or DRM_IOCTL_PRIME_HANDLE_TO_FD wrote: a
    // new fd that nobody else in this process knows.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
