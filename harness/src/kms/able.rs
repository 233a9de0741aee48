//! What must a card be able to do to be a screen, and what does its refusal mean?
//!
//! Pure, so that cards which lack something need not be at hand.

use drm::ClientCapability;
use rustix::io::Errno;

use crate::error::{Cause, Error};

/// What a screen asks of its card, in this order; whether it can be one without.
pub(super) const ASKED: [(ClientCapability, bool); 3] = [
    (ClientCapability::UniversalPlanes, true),
    (ClientCapability::Atomic, true),
    // A card without writeback can be looked at through its CRC.
    (ClientCapability::WritebackConnectors, false),
];

/// What a driver that refuses `capability` with `cause` lacks, on `card`.
///
/// The kernel answers `EOPNOTSUPP` where the driver has no such thing, and `EINVAL` to what it has never heard of; any other
/// answer is an error of its own ("Userland interfaces" of the kernel's DRM documentation, `DRM_IOCTL_SET_CLIENT_CAP`).
pub(super) fn refused(card: &str, capability: ClientCapability, cause: Cause) -> Error {
    const OP: &str = "DRM_IOCTL_SET_CLIENT_CAP";
    match cause {
        Cause::Errno(errno @ (Errno::OPNOTSUPP | Errno::INVAL)) => {
            Error::missing(OP, card, format!("its driver has no {}: {}", name(capability), Cause::Errno(errno)))
        }
        cause => Error::new(OP, format!("{card}, {}", name(capability)), cause),
    }
}

fn name(capability: ClientCapability) -> &'static str {
    match capability {
        ClientCapability::UniversalPlanes => "universal planes",
        ClientCapability::Atomic => "atomic mode setting",
        ClientCapability::WritebackConnectors => "writeback connectors",
        _ => "such capability",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_without_what_a_screen_needs_is_no_screen() {
        for (capability, needed) in ASKED {
            let error = refused("screen (made up)", capability, Cause::Errno(Errno::OPNOTSUPP));
            assert!(matches!(error.cause, Cause::Missing(_)), "a lack: {error}");
            let text = error.to_string();
            assert!(text.contains("screen (made up)") && text.contains("EOPNOTSUPP"), "{text}");
            assert!(text.contains(if needed { "its driver has no " } else { "writeback connectors" }), "{text}");
        }
        let old = refused("screen (old)", ClientCapability::Atomic, Cause::Errno(Errno::INVAL));
        assert!(old.to_string().contains("no atomic mode setting: EINVAL"), "{old}");
    }

    #[test]
    fn a_card_that_fails_otherwise_is_not_taken_for_one_that_lacks_something() {
        let error = refused("screen (gone)", ClientCapability::Atomic, Cause::Errno(Errno::NODEV));
        assert!(error.is_errno(Errno::NODEV), "{error}");
        assert!(error.to_string().contains("atomic mode setting"), "{error}");
    }
}
