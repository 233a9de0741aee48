//! What a buffer of GBM is to be used for: the flags of `enum gbm_bo_flags`.

use std::fmt;
use std::ops::BitOr;

/// One or more uses; none of them is a use, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage(pub u32);

impl Usage {
    /// Shown by a screen.
    pub const SCANOUT: Self = Self(1 << 0);
    /// Shown as a cursor.
    pub const CURSOR: Self = Self(1 << 1);
    /// Drawn to by a GPU.
    pub const RENDERING: Self = Self(1 << 2);
    /// Written by `gbm_bo_write`.
    pub const WRITE: Self = Self(1 << 3);
    /// Rows one after the other, not tiled.
    pub const LINEAR: Self = Self(1 << 4);

    /// Each by itself.
    pub const EACH: [Self; 5] = [Self::SCANOUT, Self::CURSOR, Self::RENDERING, Self::WRITE, Self::LINEAR];

    const NAMES: [(Self, &'static str); 5] = [
        (Self::SCANOUT, "scanout"),
        (Self::CURSOR, "cursor"),
        (Self::RENDERING, "rendering"),
        (Self::WRITE, "write"),
        (Self::LINEAR, "linear"),
    ];
}

impl BitOr for Usage {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Usage {
    /// `scanout_linear`; `any` if nothing is said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Self::NAMES.iter().filter(|(flag, _)| self.0 & flag.0 != 0).map(|(_, name)| *name).collect();
        if names.is_empty() { f.pad("any") } else { f.pad(&names.join("_")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_named() {
        assert_eq!((Usage::SCANOUT | Usage::LINEAR).to_string(), "scanout_linear");
        assert_eq!(Usage::default().to_string(), "any");
    }
}
