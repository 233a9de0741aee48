//! One atomic commit: properties by name, sent without blocking, then waited for with a deadline.
//!
//! Source: "Atomic Mode Setting" in the kernel's KMS documentation; `WRITEBACK_OUT_FENCE_PTR` under "Writeback
//! Connectors".
#![expect(unsafe_code, reason = "the kernel hands out fences and PRIME fds as plain numbers")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drm::control::atomic::AtomicModeReq;
use drm::control::{AtomicCommitFlags, Device as _, Event, RawResourceHandle, from_u32, property};
use rustix::io::Errno;

use super::DEADLINE;
use super::card::Card;
use super::objects::Object;
use super::wait;
use crate::error::{Error, Result};
use crate::ledger;
use crate::restart::again;

/// An atomic request under construction.
pub(super) struct Commit<'a> {
    card: &'a Card,
    request: AtomicModeReq,
    /// Where the kernel writes the fence of the writeback job. Boxed, since the request holds its address; atomic,
    /// since the kernel writes it behind the compiler's back.
    fence: Option<Box<AtomicI32>>,
    /// As `fence`, for the commit itself.
    out_fence: Option<Box<AtomicI32>>,
    flags: AtomicCommitFlags,
}

/// A commit that the kernel took.
pub(super) struct Sent {
    /// Signals when the writeback job is done, if the commit had one.
    pub(super) fence: Option<OwnedFd>,
    /// Signals when the commit took effect, if it asked for that.
    pub(super) out_fence: Option<OwnedFd>,
    /// Vertical blank count of the CRTC at which the commit took effect, as soon as that is known.
    sequence: Option<u32>,
    /// Which of the card's page flips is this one's.
    flip: u64,
}

/// How long the event of a commit that was to be refused is waited for.
const UNWANTED: Duration = Duration::from_millis(100);

/// Page flips of a card: how many were asked for, and how many came. Events carry nothing that tells one from another, and
/// come in the order of the commits.
#[derive(Debug, Default)]
pub(super) struct Flips {
    asked: AtomicU64,
    came: AtomicU64,
}

impl Flips {
    /// A commit was taken that will have one; which it is.
    fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One came; which it is.
    fn come(&self) -> u64 {
        self.came.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Every commit has ended: what did not come will not come, and what came too often belongs to none.
    pub(super) fn settle(&self) {
        self.came.store(self.asked.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl<'a> Commit<'a> {
    pub(super) fn new(card: &'a Card) -> Self {
        let flags = AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT;
        Self { card, request: AtomicModeReq::new(), fence: None, out_fence: None, flags }
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

    /// Sets a property of an object, both by their numbers, whatever these are.
    ///
    /// # Errors
    /// One of them is 0.
    pub(super) fn set_number(&mut self, object: u32, property: u32, value: u64) -> Result<&mut Self> {
        let none = || Error::input("setting a property", self.card.to_string(), "0 is no number of an object");
        let numbers = RawResourceHandle::new(object).zip(from_u32::<property::Handle>(property));
        let (object, property) = numbers.ok_or_else(none)?;
        self.request.add_raw_property(object, property, value);
        Ok(self)
    }

    /// With these flags and no others.
    pub(super) fn with_flags(&mut self, flags: AtomicCommitFlags) -> &mut Self {
        self.flags = flags;
        self
    }

    /// Lets the commit switch the CRTC on or off or change its mode.
    pub(super) fn allow_modeset(&mut self) -> &mut Self {
        self.flags |= AtomicCommitFlags::ALLOW_MODESET;
        self
    }

    /// Makes [`Self::send`] wait until the kernel carried the commit out and cleaned up after it, and sends no event.
    pub(super) fn carry_out_now(&mut self) -> &mut Self {
        self.flags -= AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT;
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

    /// Asks for a fence that signals when the commit took effect on `crtc` (`OUT_FENCE_PTR`).
    pub(super) fn out_fence(&mut self, crtc: &Object) -> Result<&mut Self> {
        let fence = Box::new(AtomicI32::new(-1));
        let address = fence.as_ptr().expose_provenance() as u64;
        self.set(crtc, "OUT_FENCE_PTR", address)?;
        self.out_fence = Some(fence);
        Ok(self)
    }

    /// Asks the driver whether it would carry the request out; nothing changes on the screen.
    ///
    /// # Errors
    /// It would not.
    pub(super) fn try_out(self, what: &str) -> Result<()> {
        let flags = AtomicCommitFlags::TEST_ONLY | (self.flags & AtomicCommitFlags::ALLOW_MODESET);
        again(|| self.card.atomic_commit(flags, self.request.clone()))
            .map_err(|error| Error::new("DRM_IOCTL_MODE_ATOMIC (test only)", format!("{}, {what}", self.card), error))
    }

    /// Hands the request to the kernel, once.
    ///
    /// # Errors
    /// The driver refuses it, or is not done with the one before (`EBUSY`).
    pub(super) fn send_once(&self, what: &str) -> Result<()> {
        again(|| self.card.atomic_commit(self.flags, self.request.clone()))
            .map_err(|error| Error::new("DRM_IOCTL_MODE_ATOMIC", format!("{}, {what}", self.card), error))?;
        let flip = self.flip();
        let mut sent = Sent { fence: None, out_fence: None, sequence: None, flip };
        // Nobody who sends so wants it to be taken: its event is not left to the next one, who would wait for it.
        if flip > 0 && sent.sequence(self.card, Instant::now() + UNWANTED)?.is_none() {
            self.card.flips.settle();
        }
        Ok(())
    }

    /// Counts the event that the commit, which was taken, will have; which it is.
    fn flip(&self) -> u64 {
        let has_event = self.flags.contains(AtomicCommitFlags::PAGE_FLIP_EVENT);
        if has_event && !self.flags.contains(AtomicCommitFlags::TEST_ONLY) { self.card.flips.ask() } else { 0 }
    }

    /// Hands the request to the kernel, which carries it out on its own.
    ///
    /// # Errors
    /// The driver refuses it, or the commit before it did not end in time.
    pub(super) fn send(self, what: &str) -> Result<Sent> {
        const OP: &str = "DRM_IOCTL_MODE_ATOMIC";
        let until = Instant::now() + DEADLINE;
        let object = || format!("{}, {what}", self.card);
        // What is there already need not be read later.
        events(self.card, u64::MAX)?;
        let _call = ledger::calling(OP, object());
        while let Err(error) = self.card.atomic_commit(self.flags, self.request.clone()) {
            match Errno::from_io_error(&error) {
                // EBUSY: the commit before has not finished yet.
                Some(Errno::BUSY) if Instant::now() < until => std::thread::sleep(Duration::from_micros(200)),
                Some(Errno::INTR | Errno::AGAIN) if Instant::now() < until => {}
                _ => return Err(Error::new(OP, object(), error)),
            }
        }
        // The event of a commit before may have come since, or come yet.
        let flip = self.flip();
        let made =
            |pointer: &str, fence: &Option<Box<AtomicI32>>| match fence.as_ref().map(|fd| fd.load(Ordering::Acquire)) {
                None => Ok(None),
                Some(fd) if fd >= 0 => own_fd(fd).map(Some),
                Some(fd) => Err(Error::answer(OP, object(), format!("{pointer} got {fd}, an fd was due"))),
            };
        // Both are owned before either is found wrong.
        let (fence, out_fence) = (made("WRITEBACK_OUT_FENCE_PTR", &self.fence), made("OUT_FENCE_PTR", &self.out_fence));
        Ok(Sent { fence: fence?, out_fence: out_fence?, sequence: None, flip })
    }
}

impl Sent {
    /// The vertical blank count at which the commit took effect; `None` if it did not before `until`.
    ///
    /// # Errors
    /// The card's events can't be read.
    pub(super) fn sequence(&mut self, card: &Card, until: Instant) -> Result<Option<u32>> {
        while self.sequence.is_none() {
            self.sequence = events(card, self.flip)?;
            if self.sequence.is_none()
                && !wait::readable(card, until).map_err(|errno| Error::new("poll", card.to_string(), errno))?
            {
                break;
            }
        }
        Ok(self.sequence)
    }
}

/// Takes the events that are there; the sequence of the first page flip among them that is number `wanted` or a later one.
pub(super) fn events(card: &Card, wanted: u64) -> Result<Option<u32>> {
    let mut flipped = None;
    loop {
        let events = match card.receive_events() {
            Ok(events) => events,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => return Ok(flipped),
                Some(Errno::INTR) => continue,
                _ => return Err(Error::new("read of DRM events", card.to_string(), error)),
            },
        };
        let mut any = false;
        for event in events {
            any = true;
            if let Event::PageFlip(flip) = event
                && card.flips.come() >= wanted
            {
                flipped.get_or_insert(flip.frame);
            }
        }
        if !any {
            return Ok(flipped);
        }
    }
}

/// Takes ownership of an fd that an ioctl has just handed to this process.
///
/// # Errors
/// It is none.
pub(super) fn own_fd(fd: RawFd) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Error::answer(
            "taking a new fd",
            "a DRM ioctl that succeeded",
            format!("fd {fd}; an open file was due"),
        ));
    }
    // SAFETY: all callers pass the number that a successful DRM_IOCTL_MODE_ATOMIC, DRM_IOCTL_PRIME_HANDLE_TO_FD or
    // DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD wrote: a new fd that nobody else in this process knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flip_of_an_earlier_commit_is_not_taken_for_that_of_a_later_one() {
        let flips = Flips::default();
        let [first, second] = [flips.ask(), flips.ask()];
        assert!(flips.come() >= first);
        assert!(flips.come() >= second);
        // One that never came, and one that nobody asked for, are made good when all is at an end.
        flips.ask();
        flips.settle();
        let next = flips.ask();
        assert!(flips.come() >= next);
        flips.come();
        flips.settle();
        let next = flips.ask();
        assert_eq!(flips.come(), next);
    }

    #[test]
    fn an_fd_that_is_none_is_an_answer() {
        let error = own_fd(-1).expect_err("none").to_string();
        assert!(error.contains("fd -1; an open file was due"), "{error}");
    }
}
