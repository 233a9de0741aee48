//! Which connectors of a CRTC are used together, and which CRTC is the better screen?
//!
//! Pure, so that cards whose display excludes writeback need not be at hand.

use super::vkms;

/// An encoder, as `DRM_IOCTL_MODE_GETENCODER` tells. Bits stand for places in the card's lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder {
    /// Its own bit among encoders.
    pub(super) bit: u32,
    /// CRTCs that it reaches.
    pub(super) crtcs: u32,
    /// Encoders that can be on the same CRTC.
    pub(super) clones: u32,
}

impl Encoder {
    /// Whether it can be on the CRTC of this place.
    pub(super) fn reaches(&self, crtc_index: usize) -> bool {
        bit(crtc_index) & self.crtcs != 0
    }

    /// Whether both can be on one CRTC. The kernel wants each to know the other (`drm_atomic_check_valid_clones`).
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        self.clones & other.bit != 0 && other.clones & self.bit != 0
    }
}

/// The bit of a place in a list; none beyond the 32 that there are.
pub(super) fn bit(index: usize) -> u32 {
    u32::try_from(index).ok().and_then(|index| 1_u32.checked_shl(index)).unwrap_or(0)
}

/// What a screen is rather, if it can't be both: what somebody sees, or what is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefer {
    Display,
    Writeback,
}

impl Prefer {
    /// vkms has a display that nobody sees, and what is written back is seen better than by a CRC. Elsewhere the display is what
    /// the driver is for.
    pub(super) fn of(driver: &str) -> Self {
        if driver == vkms::DRIVER { Self::Writeback } else { Self::Display }
    }

    /// How good a CRTC is that has a display, or not, and writeback, or not: the less the better.
    pub(super) fn rank(self, display: bool, writeback: bool) -> (bool, bool) {
        match self {
            Self::Display => (!display, !writeback),
            Self::Writeback => (!writeback, !display),
        }
    }
}

/// Which of a CRTC's connectors are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// Of the connected displays.
    pub(super) display: Option<usize>,
    pub(super) writeback: bool,
}

impl Used {
    /// Of connected displays and a writeback connector, by their encoders: a display that can be beside the writeback connector,
    /// or else the one of the two that is preferred.
    pub(super) fn of(prefer: Prefer, displays: &[&[Encoder]], writeback: Option<&[Encoder]>) -> Self {
        let first = (!displays.is_empty()).then_some(0);
        let Some(writeback) = writeback else { return Self { display: first, writeback: false } };
        let goes_with =
            |display: &&[Encoder]| display.iter().any(|encoder| writeback.iter().any(|other| encoder.goes_with(other)));
        match (displays.iter().position(goes_with), prefer, first) {
            (None, Prefer::Display, Some(first)) => Self { display: Some(first), writeback: false },
            (display, ..) => Self { display, writeback: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_and_a_writeback_connector_are_on_one_crtc_only_if_each_can_be_with_the_other() {
        let display = Encoder { bit: bit(0), crtcs: 0b01, clones: 0b11 };
        let writeback = Encoder { bit: bit(1), crtcs: 0b11, clones: 0b11 };
        assert!(display.reaches(0) && !display.reaches(1) && !display.reaches(32));
        assert!(display.goes_with(&writeback));
        // What the kernel makes of a driver that says nothing: itself alone.
        let alone = Encoder { clones: 0b10, ..writeback };
        assert!(!display.goes_with(&alone) && !alone.goes_with(&display));
    }

    #[test]
    fn writeback_wins_over_a_display_on_vkms_alone() {
        // As amdgpu has them: each is a clone of itself alone.
        let panel = Encoder { bit: bit(0), crtcs: 1, clones: 0b001 };
        let writeback = Encoder { bit: bit(1), crtcs: 1, clones: 0b010 };
        let beside = Encoder { bit: bit(2), crtcs: 1, clones: 0b110 };
        let (panel, alone, knows) = (&[panel][..], &[writeback][..], &[Encoder { clones: 0b110, ..writeback }][..]);
        let of = |prefer, displays: &[&[Encoder]], writeback| {
            let Used { display, writeback } = Used::of(prefer, displays, writeback);
            (display, writeback)
        };
        for prefer in [Prefer::Display, Prefer::Writeback] {
            assert_eq!(of(prefer, &[panel], None), (Some(0), false));
            assert_eq!(of(prefer, &[], Some(alone)), (None, true));
            assert_eq!(of(prefer, &[panel, &[beside]], Some(knows)), (Some(1), true), "both is best");
            let ranks = [(true, true), (true, false), (false, true)].map(|(one, other)| prefer.rank(one, other));
            assert!(ranks[0] < ranks[1] && ranks[0] < ranks[2]);
            assert_eq!(ranks[1] < ranks[2], prefer == Prefer::Display);
        }
        assert_eq!(of(Prefer::Display, &[panel], Some(alone)), (Some(0), false));
        assert_eq!(of(Prefer::Writeback, &[panel], Some(alone)), (None, true));
    }
}
