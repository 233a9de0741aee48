//! What the bytes of one pixel mean: DRM fourcc codes, their components, and modifiers by name.
//!
//! Pure tables, after `include/uapi/drm/drm_fourcc.h`. Which device takes which format is asked of the device, not of this file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod planes;
mod yuv;

pub use planes::PlaneShape;
pub use yuv::{Part, YuvLayout};

/// A DRM fourcc code, known to this file or not.
///
/// Unknown codes are values, so that a driver may list what we have never heard of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fourcc(pub u32);

/// One component of a packed pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Which channel.
    pub channel: Channel,
    /// Position of its least significant bit in the little-endian pixel word, in bits.
    pub shift: u32,
    /// Width in bits.
    pub bits: u32,
}

/// The meaning of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Channel {
    /// Red.
    R,
    /// Green.
    G,
    /// Blue.
    B,
    /// Alpha.
    A,
    /// Padding: no consumer may look at it, any value is right.
    X,
}

/// How the bits of a component are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numeric {
    /// Unsigned normalised: 0 is 0.0, all ones is 1.0.
    Unorm,
    /// IEEE 754 half float.
    Float16,
}

/// A packed, single-plane RGB pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelLayout {
    /// Size of a pixel in bytes.
    pub bytes: u32,
    /// Its components, every bit of the pixel belongs to exactly one.
    pub components: &'static [Component],
    /// How a component's bits are read.
    pub numeric: Numeric,
}

impl PixelLayout {
    /// The little-endian word of the pixel at the start of `bytes`, which holds at least [`Self::bytes`] bytes.
    pub fn word(&self, bytes: &[u8]) -> u64 {
        // Every pixel of every frame comes through here: with its size known it is one load.
        match (self.bytes, bytes) {
            (4, &[a, b, c, d, ..]) => u64::from(u32::from_le_bytes([a, b, c, d])),
            (8, &[a, b, c, d, e, f, g, h, ..]) => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            (2, &[a, b, ..]) => u64::from(u16::from_le_bytes([a, b])),
            (n, _) => bytes[..n as usize].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        }
    }

    /// Puts the pixel with the bits `word` at the end of `bytes`.
    pub(crate) fn push(&self, word: u64, bytes: &mut Vec<u8>) {
        // Eight at once are one store.
        bytes.extend_from_slice(&word.to_le_bytes());
        bytes.truncate(bytes.len() - (8 - self.bytes as usize));
    }

    /// The bits of a pixel's word that mean something: all but those of [`Channel::X`].
    pub fn visible(&self) -> u64 {
        self.shown().fold(0, |mask, c| mask | c.mask())
    }

    /// The components that mean something: all but [`Channel::X`].
    pub fn shown(&self) -> impl Iterator<Item = &'static Component> {
        self.components.iter().filter(|c| c.channel != Channel::X)
    }
}

impl Component {
    /// The bits of this component in a pixel's word.
    pub fn mask(&self) -> u64 {
        u64::from(self.full()) << self.shift
    }

    /// The component taken out of a pixel's word.
    pub fn of(&self, word: u64) -> u32 {
        (word >> self.shift) as u32 & self.full()
    }

    /// All bits of the component: for [`Numeric::Unorm`] the value that means 1.0.
    pub fn full(&self) -> u32 {
        (1 << self.bits) - 1
    }
}

macro_rules! formats {
    ($( $name:ident $code:literal $bytes:literal $numeric:ident [ $( $channel:ident $shift:literal $bits:literal ),* ] ; )*) => {
        impl Fourcc {
            $(
                #[doc = concat!("`", stringify!($name), "`.")]
                pub const $name: Self = Self::new($code);
            )*

            /// Every packed RGB format whose pixel layout is known here.
            pub const PACKED_RGB: &'static [Self] = &[ $( Self::$name, )* ];

            /// The components of a pixel, for packed single-plane RGB formats.
            pub fn pixel(self) -> Option<&'static PixelLayout> {
                match self {
                    $(
                        Self::$name => Some(&PixelLayout {
                            bytes: $bytes,
                            components: &[ $( Component { channel: Channel::$channel, shift: $shift, bits: $bits } ),* ],
                            numeric: Numeric::$numeric,
                        }),
                    )*
                    _ => None,
                }
            }
        }
    };
}

// Components from the least significant bit up, as in drm_fourcc.h read from right to left.
formats! {
    R8   b"R8  " 1 Unorm [R 0 8];
    GR88 b"GR88" 2 Unorm [R 0 8, G 8 8];
    R16  b"R16 " 2 Unorm [R 0 16];
    GR32 b"GR32" 4 Unorm [R 0 16, G 16 16];
    RG16 b"RG16" 2 Unorm [B 0 5, G 5 6, R 11 5];
    BG16 b"BG16" 2 Unorm [R 0 5, G 5 6, B 11 5];
    AR12 b"AR12" 2 Unorm [B 0 4, G 4 4, R 8 4, A 12 4];
    AR15 b"AR15" 2 Unorm [B 0 5, G 5 5, R 10 5, A 15 1];
    XR15 b"XR15" 2 Unorm [B 0 5, G 5 5, R 10 5, X 15 1];
    RG24 b"RG24" 3 Unorm [B 0 8, G 8 8, R 16 8];
    BG24 b"BG24" 3 Unorm [R 0 8, G 8 8, B 16 8];
    XR24 b"XR24" 4 Unorm [B 0 8, G 8 8, R 16 8, X 24 8];
    AR24 b"AR24" 4 Unorm [B 0 8, G 8 8, R 16 8, A 24 8];
    XB24 b"XB24" 4 Unorm [R 0 8, G 8 8, B 16 8, X 24 8];
    AB24 b"AB24" 4 Unorm [R 0 8, G 8 8, B 16 8, A 24 8];
    RX24 b"RX24" 4 Unorm [X 0 8, B 8 8, G 16 8, R 24 8];
    RA24 b"RA24" 4 Unorm [A 0 8, B 8 8, G 16 8, R 24 8];
    BX24 b"BX24" 4 Unorm [X 0 8, R 8 8, G 16 8, B 24 8];
    BA24 b"BA24" 4 Unorm [A 0 8, R 8 8, G 16 8, B 24 8];
    XR30 b"XR30" 4 Unorm [B 0 10, G 10 10, R 20 10, X 30 2];
    AR30 b"AR30" 4 Unorm [B 0 10, G 10 10, R 20 10, A 30 2];
    XB30 b"XB30" 4 Unorm [R 0 10, G 10 10, B 20 10, X 30 2];
    AB30 b"AB30" 4 Unorm [R 0 10, G 10 10, B 20 10, A 30 2];
    XR48 b"XR48" 8 Unorm [B 0 16, G 16 16, R 32 16, X 48 16];
    AR48 b"AR48" 8 Unorm [B 0 16, G 16 16, R 32 16, A 48 16];
    XB48 b"XB48" 8 Unorm [R 0 16, G 16 16, B 32 16, X 48 16];
    AB48 b"AB48" 8 Unorm [R 0 16, G 16 16, B 32 16, A 48 16];
    XB4H b"XB4H" 8 Float16 [R 0 16, G 16 16, B 32 16, X 48 16];
    AB4H b"AB4H" 8 Float16 [R 0 16, G 16 16, B 32 16, A 48 16];
}

impl Fourcc {
    /// The code of four ASCII characters.
    pub const fn new(code: &[u8; 4]) -> Self {
        Self(u32::from_le_bytes(*code))
    }
}

impl fmt::Display for Fourcc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.to_le_bytes();
        if bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ') && bytes[0] != b' ' {
            let text: String = bytes.iter().map(|&b| char::from(b)).collect();
            f.pad(text.trim_end())
        } else {
            write!(f, "{:#010x}", self.0)
        }
    }
}

impl fmt::Debug for Fourcc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fourcc> for String {
    fn from(fourcc: Fourcc) -> Self {
        fourcc.to_string()
    }
}

/// Text that is no fourcc.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no DRM fourcc: four ASCII characters such as XR24, or a hexadecimal code such as 0x34325258, would be valid"
)]
pub struct NoFourcc(String);

impl FromStr for Fourcc {
    type Err = NoFourcc;

    fn from_str(text: &str) -> Result<Self, NoFourcc> {
        if let Some(hex) = text.strip_prefix("0x") {
            return u32::from_str_radix(hex, 16).map(Self).map_err(|_| NoFourcc(text.to_owned()));
        }
        let bytes = text.as_bytes();
        // Blanks may stand inside, as in `R  F`; those at the end are filled in.
        let known = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let valid = (1..=4).contains(&bytes.len()) && bytes.iter().all(known) && text.trim() == text;
        if !valid {
            return Err(NoFourcc(text.to_owned()));
        }
        let mut code = [b' '; 4];
        code[..bytes.len()].copy_from_slice(bytes);
        Ok(Self::new(&code))
    }
}

impl TryFrom<String> for Fourcc {
    type Error = NoFourcc;

    fn try_from(text: String) -> Result<Self, NoFourcc> {
        text.parse()
    }
}

/// A DRM format modifier: how the pixels of a plane are laid out in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Modifier(pub u64);

impl Modifier {
    /// Rows one after the other, `pitch` bytes apart.
    pub const LINEAR: Self = Self(0);
    /// No modifier stated: the layout is a private matter of the driver (`DRM_FORMAT_MOD_INVALID`).
    pub const INVALID: Self = Self(0x00ff_ffff_ffff_ffff);
    /// One of a vendor that there is not: `drm_fourcc.h` gives that prefix to nobody, so no device lists it.
    pub const FOREIGN: Self = Self(0x7e00_0000_0000_0001);
    /// Another of that vendor, which only its upper half tells from LINEAR.
    pub const FOREIGN_ABOVE_LINEAR: Self = Self(0x7e00_0000_0000_0000);

    /// Which memory plane of a frame of one plane holds no rows, but a colour that the others are cleared to: `drm_fourcc.h` has
    /// them as `I915_FORMAT_MOD_*_RC_CCS_CC`, with a pitch that says nothing.
    pub fn clear_color_plane(self) -> Option<usize> {
        // Of Gen12, DG2 and MTL.
        match self.0 {
            0x0100_0000_0000_0008 | 0x0100_0000_0000_000f => Some(2),
            0x0100_0000_0000_000c => Some(1),
            _ => None,
        }
    }

    /// Vendor prefix of the code (its top 8 bits) by name, `None` for vendors unknown here.
    pub fn vendor(self) -> Option<&'static str> {
        const VENDORS: [&str; 13] = [
            "NONE",
            "INTEL",
            "AMD",
            "NVIDIA",
            "SAMSUNG",
            "QCOM",
            "VIVANTE",
            "BROADCOM",
            "ARM",
            "ALLWINNER",
            "AMLOGIC",
            "MTK",
            "APPLE",
        ];
        VENDORS.get((self.0 >> 56) as usize).copied()
    }
}

impl fmt::Display for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, self.vendor()) {
            (Self::LINEAR, _) => f.pad("LINEAR"),
            (Self::INVALID, _) => f.pad("INVALID"),
            (_, Some(vendor)) => write!(f, "{vendor}:{:#018x}", self.0),
            (_, None) => write!(f, "{:#018x}", self.0),
        }
    }
}

impl fmt::Debug for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Modifier> for String {
    fn from(modifier: Modifier) -> Self {
        modifier.to_string()
    }
}

/// Text that is no modifier.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no DRM format modifier: LINEAR, INVALID or a hexadecimal code such as 0x0100000000000001 would be valid"
)]
pub struct NoModifier(String);

impl FromStr for Modifier {
    type Err = NoModifier;

    fn from_str(text: &str) -> Result<Self, NoModifier> {
        match text {
            "LINEAR" => return Ok(Self::LINEAR),
            "INVALID" => return Ok(Self::INVALID),
            _ => {}
        }
        let code = text.rsplit(':').next().unwrap_or(text);
        code.strip_prefix("0x")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| NoModifier(text.to_owned()))
    }
}

impl TryFrom<String> for Modifier {
    type Error = NoModifier;

    fn try_from(text: String) -> Result<Self, NoModifier> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_every_pixel_belongs_to_one_component() {
        for &fourcc in Fourcc::PACKED_RGB {
            let pixel = fourcc.pixel().expect("listed formats are known");
            let mut seen = 0u64;
            for c in pixel.components {
                let mask = ((1u64 << c.bits) - 1) << c.shift;
                assert_eq!(seen & mask, 0, "{fourcc}: {:?} overlaps another component", c.channel);
                seen |= mask;
            }
            let all = if pixel.bytes == 8 { u64::MAX } else { (1u64 << (8 * pixel.bytes)) - 1 };
            assert_eq!(seen, all, "{fourcc}: bits without a component");
        }
    }

    #[test]
    fn names_round_trip() {
        for fourcc in Fourcc::known() {
            assert_eq!(fourcc.to_string().parse::<Fourcc>().expect("own name parses"), fourcc);
        }
        for modifier in [Modifier::LINEAR, Modifier::INVALID, Modifier(0x0100_0000_0000_0001)] {
            assert_eq!(modifier.to_string().parse::<Modifier>().expect("own name parses"), modifier);
        }
    }

    #[test]
    fn wrong_text_is_refused_with_what_would_be_valid() {
        let error = "XR245".parse::<Fourcc>().expect_err("five characters");
        assert!(error.to_string().contains("XR24,"), "{error}");
        let error = "TILED".parse::<Modifier>().expect_err("not a code");
        assert!(error.to_string().contains("LINEAR"), "{error}");
    }
}
