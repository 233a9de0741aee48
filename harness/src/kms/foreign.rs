//! Does a card show memory that it did not make?
//!
//! One with memory of its own may take others' in (PRIME) and still make no framebuffer there: amdgpu says `EINVAL` where its
//! display reads none of the system's memory (`amdgpu_display_user_framebuffer_create`), i915 `EREMOTE` (`intel_fb_bo_framebuffer_init`
//! and what it calls). The kernel refuses frames that it does not like by the same words, so what shows the difference is the same
//! small frame in a dumb buffer of the card's.

use super::Screen;
use super::card::{ADDFB2, Framebuffer};
use super::tried::is_refusal;
use crate::dmabuf::{Dmabuf, SharedFrame, SharedPlanes};
use crate::error::{Error, Refusal, Result};
use crate::format::Modifier;
use crate::frame::{Frame, Plane, px};

/// Width and height of the small frame in pixels, if the card takes such small ones.
const SMALL: u32 = 10;

/// A pitch that most cards take.
const PITCH: u64 = 256;

impl Screen {
    /// A framebuffer of `shared`.
    ///
    /// # Errors
    /// The driver refuses: as any may ([`Refusal::Allowed`]) if it makes none in this memory, whatever the frame.
    pub(super) fn framebuffer(&self, shared: &impl SharedPlanes) -> Result<Framebuffer> {
        let error = match Framebuffer::new(&self.card, shared) {
            Err(error) if is_refused(&error) => error,
            made => return made,
        };
        // What fails on the way to an explanation must not cost the answer.
        let is_foreign = |n| self.shows_memory(shared.dmabuf_of(n)).is_ok_and(|shows| !shows);
        match (0..shared.frame().planes.len()).any(is_foreign) {
            true => {
                let why = format!("it shows no memory of others: {}", error.cause);
                Err(Error::refused(error.op, error.object, why, Refusal::Allowed))
            }
            false => Err(error),
        }
    }

    /// Whether the driver makes framebuffers in `dmabuf`, which it imports. Where it can't be told, it does.
    pub(super) fn shows_memory(&self, dmabuf: &Dmabuf) -> Result<bool> {
        let Some(frame) = self.small_frame() else { return Ok(true) };
        let bytes = frame.end()?;
        if dmabuf.size < bytes {
            return Ok(true);
        }
        let refuses = |dmabuf: &Dmabuf| {
            let shared = SharedFrame { dmabuf: dmabuf.try_clone()?, frame: frame.clone() };
            match Framebuffer::new(&self.card, &shared) {
                Ok(_) => Ok(false),
                Err(error) if is_refused(&error) => Ok(true),
                Err(error) => Err(error),
            }
        };
        // A frame that is refused there as well says nothing of the memory.
        Ok(!refuses(dmabuf)? || refuses(&self.card.dumb_of_bytes(bytes)?)?)
    }

    /// A frame that fits in a page; `None` if the card takes none that is so small, in a format of which the bytes are known.
    fn small_frame(&self) -> Option<Frame> {
        let (smallest, _) = self.frame_sizes();
        let size = px(smallest.width.max(SMALL), smallest.height.max(SMALL));
        let plane = self.planes().next()?;
        let is_small = |bytes: u32| u64::from(size.width * bytes) <= PITCH;
        let fourcc = plane.formats.iter().copied().find(|fourcc| {
            fourcc.pixel().is_some_and(|pixel| is_small(pixel.bytes)) && plane.lists(*fourcc, Modifier::LINEAR)
        })?;
        let frame = Frame::linear(fourcc, size, Plane { offset: 0, pitch: PITCH });
        (PITCH * u64::from(size.height) <= rustix::param::page_size() as u64).then_some(frame)
    }
}

/// Whether a framebuffer was refused, and not the import of its memory.
fn is_refused(error: &Error) -> bool {
    error.op == ADDFB2 && is_refusal(error)
}
