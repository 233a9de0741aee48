//! What it means for a case that a device refuses something, whichever process it is in.

use super::{Cx, Guest};
use crate::case::Trouble;
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Refusal};
use crate::finding::Finding;
use crate::gbm;
use crate::vk;

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        // Nobody says here whose layout it is.
        error.refusal().trouble(false, &error)
    }
}

impl Refusal {
    /// What `error` means of `guest`, who was given `shared`.
    pub(crate) fn by(guest: &Guest<'_>, shared: &SharedFrame, error: &Error) -> Self {
        // No interface names the multiples that it takes before it is asked, and what trials have found need not be all.
        let is_layout = match guest {
            Guest::Gpu(_) => vk::is_layout_refused(error),
            Guest::Gles(gles) => gles.refuses_layout(shared, error),
            Guest::Gbm(_) => gbm::is_layout_refused(error),
            _ => false,
        };
        if is_layout { Self::Layout } else { error.refusal() }
    }

    /// What comes of `error`, which means this, in a case that has chosen how its frames lie, or has not.
    fn trouble(self, chose_layout: bool, error: &Error) -> Trouble {
        match (self, chose_layout) {
            (Self::Allowed, _) | (Self::Layout, true) => Trouble::Skip(error.to_string()),
            (Self::Layout, false) | (Self::Other, _) => Trouble::Fail(Finding::from_error(error)),
        }
    }
}

impl Cx {
    /// What comes of it that `guest` answers `error` to `shared`: a skip if it refuses a layout that this case has chosen.
    pub(crate) fn refused_by(&self, guest: &Guest<'_>, shared: &SharedFrame, error: &Error) -> Trouble {
        Refusal::by(guest, shared, error).trouble(self.case.chose_layout, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_means_the_same_whichever_process_it_is_in() {
        let skips = |error: &Error, chose| matches!(error.refusal().trouble(chose, error), Trouble::Skip(_));
        let from_peer = |refusal| Error::refused("reading", "peer process with gpu_a", "it refuses", refusal);
        assert!(skips(&from_peer(Refusal::Layout), true) && !skips(&from_peer(Refusal::Layout), false));
        assert!(skips(&from_peer(Refusal::Allowed), true) && skips(&from_peer(Refusal::Allowed), false));
        assert!(!skips(&from_peer(Refusal::Other), true) && !skips(&from_peer(Refusal::Other), false));
        // A peer that has ended refuses nothing.
        assert!(!skips(&Error::missing("reading", "peer process with gpu_a", "the process ended"), true));
    }
}
