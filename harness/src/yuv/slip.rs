//! Which wrong conversion does a driver make, if it makes one that is known?
//!
//! Pixels that are wrong by a known mistake are as wrong as others, but they are told apart: a finding that names the mistake is
//! of pixels that are to the bit what that mistake makes of the right samples, so that a known defect hides no other.

use std::fmt;

use super::{Colours, Range};
use crate::format::YuvLayout;

/// A mistake of a conversion that some driver makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// Components in the upper bits of 16 are taken for ones of 8 widened by repetition: `vkms-p010-grey.md` and
    /// `mesa-p010-grey.md`.
    Widened,
    /// Limited range is scaled by 256/219 and 256/224: `vkms-limited-range.md`.
    By256,
}

impl Slip {
    /// Every one.
    pub(crate) const ALL: [Self; 2] = [Self::Widened, Self::By256];

    /// What becomes of components that lie as `layout` says.
    pub(super) fn rgb(self, colours: Colours, components: [u32; 3], layout: &YuvLayout) -> [f64; 3] {
        match self {
            // 65535 / 255 is 257.
            Self::Widened if layout.bytes == 2 => {
                let widened = components.map(|component| f64::from(component << layout.below) / 257.0);
                colours.rgb_of_bytes(widened, 255.0, 1.0)
            }
            Self::By256 if colours.range == Range::Limited => {
                let step = f64::from(1 << (layout.bits - 8));
                colours.rgb_of_bytes(components.map(|component| f64::from(component) / step), 255.0, 256.0 / 255.0)
            }
            _ => colours.rgb(components, layout.bits),
        }
    }
}

impl Slip {
    /// What becomes of alpha, of 65535.
    pub(super) fn alpha(self, alpha: u32, layout: &YuvLayout) -> Option<u16> {
        (self == Self::Widened && layout.bytes == 2).then_some((alpha << layout.below) as u16)
    }
}

impl fmt::Display for Slip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Widened => "as if its words were bytes widened by repetition",
            Self::By256 => "with limited range scaled by 256 for 255",
        })
    }
}
