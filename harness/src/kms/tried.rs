//! Would a plane show such a frame? The driver is asked, and nothing is shown.
//!
//! What a plane lists is a promise: `AddFB2` must make a framebuffer of it, and a commit must be taken. What it does not list
//! must be refused by one of the two. `DRM_MODE_ATOMIC_TEST_ONLY` goes through all checks of a commit ("Atomic Mode Setting" in
//! the kernel's KMS documentation).

use drm::{Device as _, DriverCapability};
use rustix::io::Errno;

use super::assign;
use super::card::{ADDFB2, Framebuffer};
use super::commit::Commit;
use super::placed::Placed;
use super::{Plane, PlaneKind, Screen, vkms};
use crate::compose::Rect;
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Refusal, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{self, Frame, Size, px};
use crate::restart::again;

/// What the driver says to a frame on a plane.
#[derive(Debug)]
pub enum Answer {
    /// It would show it.
    Taken,
    /// It makes no framebuffer of it.
    NoFramebuffer(Error),
    /// It makes a framebuffer of it, and refuses to put it on the plane.
    NotOnPlane(Error),
}

/// What the kernel says of a card whose driver does not say how large its cursor is.
const USUAL_CURSOR: u64 = 64;

/// Rows of planes begin at a multiple of so many bytes, which every known driver takes.
const PITCH: u64 = 256;

/// Planes of a frame begin at a multiple of so many bytes.
const PLANE: u64 = 4096;

impl Screen {
    /// The lowest plane of `kind`.
    ///
    /// # Errors
    /// The card has none; says which it has.
    pub fn plane(&self, kind: PlaneKind) -> Result<&Plane> {
        let kinds: Vec<PlaneKind> = self.planes().map(|plane| plane.kind).collect();
        let why = || format!("it has no {kind} plane; {}", assign::told(&kinds));
        let none = || Error::missing("choosing a plane", self.card.to_string(), why());
        self.planes().find(|plane| plane.kind == kind).ok_or_else(none)
    }

    /// The size of frames that the cursor plane is sure to take (`DRM_CAP_CURSOR_WIDTH`, `_HEIGHT`).
    ///
    /// # Errors
    /// The driver says something that is no size.
    pub fn cursor_size(&self) -> Result<Size> {
        let ask = |capability| match again(|| self.card.get_driver_capability(capability)) {
            Ok(0) => Ok(USUAL_CURSOR as u32),
            Ok(pixels) => u32::try_from(pixels).map_err(|_| {
                let why = format!("{pixels} px, which does not fit in 32 bits");
                Error::answer("DRM_IOCTL_GET_CAP", format!("{}, {capability:?}", self.card), why)
            }),
            Err(error) => Err(Error::new("DRM_IOCTL_GET_CAP", format!("{}, {capability:?}", self.card), error)),
        };
        Ok(px(ask(DriverCapability::CursorWidth)?, ask(DriverCapability::CursorHeight)?))
    }

    /// A frame in a dumb buffer of the card's, as it lies when nobody wants anything particular: planes one behind the other.
    ///
    /// # Errors
    /// The planes of the format are not known here; the driver refuses the buffer.
    pub fn plain(&self, fourcc: Fourcc, modifier: Modifier, size: Size) -> Result<SharedFrame> {
        let shapes = fourcc.planes().ok_or_else(|| {
            let why = format!("the planes of {fourcc} are not known here");
            Error::input("laying out a frame", format!("{}, {fourcc} {size}", self.card), why)
        })?;
        let mut end = 0;
        let mut planes = Vec::new();
        for shape in shapes {
            let pitch = shape.row(size.width).next_multiple_of(PITCH);
            planes.push(frame::Plane { offset: end, pitch });
            end = (end + pitch * u64::from(shape.rows(size.height))).next_multiple_of(PLANE);
        }
        let dmabuf = self.card.dumb_of_bytes(end)?;
        Ok(SharedFrame { dmabuf, frame: Frame { size, fourcc, modifier, planes } })
    }

    /// What the driver says to `shared` on the lowest plane of `kind`, at the screen's top left. It switches the screen on.
    ///
    /// # Errors
    /// There is no such plane; the card does not take the memory; or it must not be asked.
    pub fn answer(&mut self, kind: PlaneKind, shared: &SharedFrame) -> Result<Answer> {
        self.answer_to_part(kind, shared, Rect::whole(shared.frame.size))
    }

    /// The same of a part of the frame, or of more than there is of it.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn answer_to_part(&mut self, kind: PlaneKind, shared: &SharedFrame, crop: Rect) -> Result<Answer> {
        let id = self.plane(kind)?.id;
        if self.is_vkms() {
            vkms::safe(shared)?;
        }
        self.resize(self.size())?;
        let framebuffer = match self.framebuffer(shared) {
            Ok(framebuffer) => framebuffer,
            Err(error) if error.op == ADDFB2 && is_refusal(&error) => {
                return Ok(Answer::NoFramebuffer(error));
            }
            Err(error) => return Err(error),
        };
        let Some(plane) = self.pipe.planes.iter().position(|(plane, _)| plane.id == id) else {
            return Err(Error::missing("choosing a plane", self.card.to_string(), format!("plane {id} is gone")));
        };
        // Which conversion is asked for changes nothing about whether there is one.
        let placed = Placed { plane, framebuffer: framebuffer.id, crop, at: (0, 0), colours: None };
        let what = format!("{shared} on its {kind} plane");
        let mut answer = self.try_planes(&[placed], &what);
        if answer.as_ref().is_err_and(|error| !error.is_errno(Errno::NOMEM)) && plane > 0 {
            // There are drivers that show nothing above an empty plane.
            let size = self.size();
            let below = Framebuffer::new(&self.card, &self.plain(Fourcc::XR24, Modifier::LINEAR, size)?)?;
            let lowest = Placed { plane: 0, framebuffer: below.id, crop: Rect::whole(size), at: (0, 0), colours: None };
            answer = self.try_planes(&[lowest, placed], &what);
        }
        match answer {
            Ok(()) => Ok(Answer::Taken),
            Err(error) if !is_refusal(&error) => Err(error),
            Err(error) => match if plane == 0 { self.unless_covered(error) } else { error } {
                error if error.refusal() == Refusal::Allowed => Err(error),
                error => Ok(Answer::NotOnPlane(error)),
            },
        }
    }

    /// What the driver says to these planes, with the others as they are.
    fn try_planes(&self, placed: &[Placed], what: &str) -> Result<()> {
        let crtc = u64::from(u32::from(self.pipe.crtc.handle));
        let mut commit = Commit::new(&self.card);
        for placed in placed {
            commit.place(&self.pipe.planes[placed.plane].1, crtc, placed)?;
        }
        commit.try_out(what)
    }
}

/// Whether an error says something of the frame. Others are of the card (`EIO`), of who asks (`EACCES`), or of the moment.
pub(super) fn is_refusal(error: &Error) -> bool {
    [Errno::INVAL, Errno::RANGE, Errno::NOSPC, Errno::OPNOTSUPP, Errno::NOENT, Errno::REMOTE]
        .iter()
        .any(|errno| error.is_errno(*errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_driver_says_of_a_frame_is_a_refusal_of_it() {
        let of = |errno: Errno| is_refusal(&Error::new("DRM_IOCTL_MODE_ATOMIC (test only)", "screen (made up)", errno));
        assert!([Errno::INVAL, Errno::RANGE, Errno::NOSPC, Errno::REMOTE].into_iter().all(of));
        assert!(![Errno::ACCESS, Errno::NODEV, Errno::IO, Errno::NOMEM, Errno::BUSY].into_iter().any(of));
        assert!(!is_refusal(&Error::input("DRM_IOCTL_MODE_ADDFB2", "screen (made up)", "a pitch of 5 GiB")));
    }
}
