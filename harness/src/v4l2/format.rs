//! Which DRM fourcc has the bytes of a V4L2 pixel format? The two use the same four letters, and mean different things.
//!
//! `RG16` is RGB 5:6:5 to DRM and a Bayer pattern to V4L2; RGB 5:6:5 is `RGBP` to V4L2. So there is a table, and a format
//! that is not in it has no other name.
//!
//! Source: `videodev2.h` with "RGB Formats" of the kernel's V4L2 documentation (bytes in memory), and `drm_fourcc.h` (bits
//! of a little-endian word).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::format::Fourcc;

/// A V4L2 pixel format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PixelFormat(pub u32);

/// Formats in one memory plane that both sides have; the planes of DRM's follow each other without a gap. The codes of the first
/// group are the same, with the same bytes.
const NAMES: &[(&[u8; 4], Fourcc)] = &[
    (b"XR24", Fourcc::XR24),
    (b"AR24", Fourcc::AR24),
    (b"XB24", Fourcc::XB24),
    (b"AB24", Fourcc::AB24),
    (b"RX24", Fourcc::RX24),
    (b"RA24", Fourcc::RA24),
    (b"BX24", Fourcc::BX24),
    (b"BA24", Fourcc::BA24),
    (b"AR12", Fourcc::AR12),
    (b"AR15", Fourcc::AR15),
    (b"XR15", Fourcc::XR15),
    (b"YUYV", Fourcc::new(b"YUYV")),
    (b"UYVY", Fourcc::new(b"UYVY")),
    (b"YVYU", Fourcc::new(b"YVYU")),
    (b"VYUY", Fourcc::new(b"VYUY")),
    (b"NV12", Fourcc::NV12),
    (b"NV21", Fourcc::NV21),
    (b"NV16", Fourcc::NV16),
    (b"NV61", Fourcc::new(b"NV61")),
    (b"NV24", Fourcc::NV24),
    (b"NV42", Fourcc::new(b"NV42")),
    (b"YU12", Fourcc::YU12),
    (b"YV12", Fourcc::YV12),
    (b"P010", Fourcc::P010),
    (b"422P", Fourcc::new(b"YU16")),
    (b"RGBP", Fourcc::RG16),
    (b"RGB3", Fourcc::BG24),
    (b"BGR3", Fourcc::RG24),
    (b"GREY", Fourcc::R8),
    (b"Y16 ", Fourcc::R16),
    (b"VUYA", Fourcc::AYUV),
    (b"VUYX", Fourcc::new(b"XYUV")),
    (b"YUVA", Fourcc::new(b"AVUY")),
    (b"YUVX", Fourcc::new(b"XVUY")),
    (b"Y210", Fourcc::Y210),
    (b"Y212", Fourcc::new(b"Y212")),
    (b"Y216", Fourcc::new(b"Y216")),
];

impl PixelFormat {
    /// The format of four ASCII characters.
    pub const fn new(code: &[u8; 4]) -> Self {
        Self(u32::from_le_bytes(*code))
    }

    /// The format in one memory plane with the bytes of `fourcc`, if V4L2 has one.
    pub fn of(fourcc: Fourcc) -> Option<Self> {
        NAMES.iter().find(|(_, drm)| *drm == fourcc).map(|(code, _)| Self::new(code))
    }

    /// The DRM format with the same bytes, if there is one.
    pub fn fourcc(self) -> Option<Fourcc> {
        NAMES.iter().find(|(code, _)| Self::new(code) == self).map(|(_, drm)| *drm)
    }
}

impl fmt::Display for PixelFormat {
    /// Four characters, with `-BE` for the big-endian variant that the top bit marks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = (self.0 & 0x7fff_ffff).to_le_bytes();
        if !bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
            return write!(f, "{:#010x}", self.0);
        }
        let name: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let endian = if self.0 >> 31 == 1 { "-BE" } else { "" };
        write!(f, "{}{endian}", name.trim_end())
    }
}

impl fmt::Debug for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names() {
        assert_eq!(PixelFormat::new(b"YUYV").to_string(), "YUYV");
        assert_eq!(PixelFormat::new(b"Y16 ").to_string(), "Y16");
        assert_eq!(PixelFormat(PixelFormat::new(b"Y16 ").0 | 1 << 31).to_string(), "Y16-BE");
        assert_eq!(PixelFormat(1).to_string(), "0x00000001");
    }

    #[test]
    fn the_same_letters_may_mean_other_bytes() {
        assert_eq!(PixelFormat::new(b"RG16").fourcc(), None);
        assert_eq!(PixelFormat::of(Fourcc::RG16), Some(PixelFormat::new(b"RGBP")));
        for (code, fourcc) in NAMES {
            assert_eq!(PixelFormat::of(*fourcc), Some(PixelFormat::new(code)));
            assert_eq!(PixelFormat::new(code).fourcc(), Some(*fourcc));
        }
    }
}
