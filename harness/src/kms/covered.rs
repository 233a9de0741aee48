//! Must the lowest plane cover the CRTC? Some can't lie elsewhere or be smaller: i915's before Skylake
//! (`intel_atomic_plane_check_clipping`), and those of drivers that say so to `drm_atomic_helper_check_plane_state`.
//!
//! They refuse by the words for everything else, so it is tried.

use super::Screen;
use super::blank::Blank;
use super::tried::is_refusal;
use crate::error::{Error, Refusal, Result};
use crate::frame::px;

impl Screen {
    /// Why the screen can't show a frame that is smaller than itself; `None` if it can. It is asked once, and shows nothing for that.
    ///
    /// # Errors
    /// The driver can't be asked.
    pub fn wants_cover(&mut self) -> Result<Option<String>> {
        let must = match self.covered {
            Some(must) => must,
            None => *self.covered.insert(self.refuses_small()?),
        };
        Ok(must.then(|| "its lowest plane must cover the screen, and frames of cases are smaller".to_owned()))
    }

    /// Whether a small frame on the lowest plane is refused in a test, and one that covers the screen is taken.
    fn refuses_small(&self) -> Result<bool> {
        let size = self.size();
        let half = px((size.width / 2).max(1), (size.height / 2).max(1));
        let (Some(small), Some(whole)) = (self.blank_of(half)?, self.blank_of(size)?) else { return Ok(false) };
        let mode = self.mode_blob(size)?;
        let refuses = |blank: &Blank| {
            let tried = self.modeset(&mode, Some(blank))?.try_out("a frame on its lowest plane");
            match tried {
                Ok(()) => Ok(false),
                Err(error) if is_refusal(&error) => Ok(true),
                Err(error) => Err(error),
            }
        };
        // What is refused in any size is refused for something else.
        Ok(refuses(&small)? && !refuses(&whole)?)
    }

    /// `error`, by which a commit was refused that showed something on the lowest plane; as one that any driver may have
    /// ([`Refusal::Allowed`]) if that must cover the CRTC.
    pub(super) fn unless_covered(&mut self, error: Error) -> Error {
        // What fails on the way to an explanation must not cost the answer.
        match is_refusal(&error).then(|| self.wants_cover().ok().flatten()).flatten() {
            Some(why) => Error::refused(error.op, error.object, format!("{why}: {}", error.cause), Refusal::Allowed),
            None => error,
        }
    }
}
