//! What do the bytes of a sample mean in a YUV format: which component comes where, in how many bits?
//!
//! A pure table, after `include/uapi/drm/drm_fourcc.h`, beside the shapes of the planes in [`super::planes`]. Components of 10
//! and 12 bits lie in the upper bits of 16, or in the lower ones; the others are padding, written as zeros.

use super::Fourcc;

/// One component of a sample of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Luma of the pixel so many columns from the sample's first one.
    Y(u32),
    /// Blue-difference chroma (Cb).
    U,
    /// Red-difference chroma (Cr).
    V,
    /// Alpha.
    A,
    /// Padding: no consumer may look at it, any value is right.
    X,
}

/// How the components of a YUV format lie in its planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YuvLayout {
    /// Of each plane, the components of a sample in the order of their bytes.
    pub planes: &'static [&'static [Part]],
    /// Width of a component in bits.
    pub bits: u32,
    /// Bytes that a component takes.
    pub bytes: u32,
    /// Bits of padding below a component.
    pub below: u32,
}

impl YuvLayout {
    /// A packed format of as many components as plane `plane` has per sample, with the same bytes: to look at the plane by itself.
    pub fn stand_in(&self, plane: usize) -> Option<Fourcc> {
        let parts = *self.planes.get(plane)?;
        // Padding comes last where there is some.
        Some(match (parts.len(), self.bytes, parts.contains(&Part::X)) {
            (1, 1, _) => Fourcc::R8,
            (2, 1, _) => Fourcc::GR88,
            (3, 1, _) => Fourcc::BG24,
            (4, 1, false) => Fourcc::AB24,
            (4, 1, true) => Fourcc::XB24,
            (1, 2, _) => Fourcc::R16,
            (2, 2, _) => Fourcc::GR32,
            (4, 2, false) => Fourcc::AB48,
            (4, 2, true) => Fourcc::XB48,
            _ => return None,
        })
    }

    /// The names of the components of plane `plane`: `U V`.
    pub fn names(&self, plane: usize) -> String {
        let names: Vec<&str> = self.planes.get(plane).into_iter().flat_map(|parts| *parts).map(Part::name).collect();
        names.join(" ")
    }
}

impl Part {
    /// Its letter.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Y(_) => "Y",
            Self::U => "U",
            Self::V => "V",
            Self::A => "A",
            Self::X => "X",
        }
    }
}

const Y: &[Part] = &[Part::Y(0)];
const U: &[Part] = &[Part::U];
const V: &[Part] = &[Part::V];
const UV: &[Part] = &[Part::U, Part::V];
const VU: &[Part] = &[Part::V, Part::U];
const YUYV: &[Part] = &[Part::Y(0), Part::U, Part::Y(1), Part::V];

const fn bytes_of(planes: &'static [&'static [Part]]) -> YuvLayout {
    YuvLayout { planes, bits: 8, bytes: 1, below: 0 }
}

const fn upper_bits_of_16(bits: u32, planes: &'static [&'static [Part]]) -> YuvLayout {
    YuvLayout { planes, bits, bytes: 2, below: 16 - bits }
}

const fn lower_bits_of_16(bits: u32, planes: &'static [&'static [Part]]) -> YuvLayout {
    YuvLayout { planes, bits, bytes: 2, below: 0 }
}

/// Formats by code.
const LAYOUTS: &[(&[&[u8; 4]], YuvLayout)] = &[
    (&[b"NV12", b"NV16", b"NV24"], bytes_of(&[Y, UV])),
    (&[b"NV21", b"NV61", b"NV42"], bytes_of(&[Y, VU])),
    (&[b"YU12", b"YU16", b"YU24", b"YUV9", b"YU11"], bytes_of(&[Y, U, V])),
    (&[b"YV12", b"YV16", b"YV24", b"YVU9", b"YV11"], bytes_of(&[Y, V, U])),
    (&[b"P010", b"P210"], upper_bits_of_16(10, &[Y, UV])),
    (&[b"P012"], upper_bits_of_16(12, &[Y, UV])),
    (&[b"P016"], upper_bits_of_16(16, &[Y, UV])),
    (&[b"S010", b"S210", b"S410"], lower_bits_of_16(10, &[Y, U, V])),
    (&[b"S012", b"S212", b"S412"], lower_bits_of_16(12, &[Y, U, V])),
    (&[b"S016", b"S216", b"S416"], lower_bits_of_16(16, &[Y, U, V])),
    (&[b"YUYV"], bytes_of(&[YUYV])),
    (&[b"Y210"], upper_bits_of_16(10, &[YUYV])),
    (&[b"Y212"], upper_bits_of_16(12, &[YUYV])),
    (&[b"Y216"], upper_bits_of_16(16, &[YUYV])),
    (&[b"YVYU"], bytes_of(&[&[Part::Y(0), Part::V, Part::Y(1), Part::U]])),
    (&[b"UYVY"], bytes_of(&[&[Part::U, Part::Y(0), Part::V, Part::Y(1)]])),
    (&[b"VYUY"], bytes_of(&[&[Part::V, Part::Y(0), Part::U, Part::Y(1)]])),
    (&[b"AYUV"], bytes_of(&[&[Part::V, Part::U, Part::Y(0), Part::A]])),
    (&[b"XYUV"], bytes_of(&[&[Part::V, Part::U, Part::Y(0), Part::X]])),
    (&[b"AVUY"], bytes_of(&[&[Part::Y(0), Part::U, Part::V, Part::A]])),
    (&[b"XVUY"], bytes_of(&[&[Part::Y(0), Part::U, Part::V, Part::X]])),
    (&[b"VU24"], bytes_of(&[&[Part::Y(0), Part::U, Part::V]])),
    (&[b"Y412"], upper_bits_of_16(12, &[&[Part::U, Part::Y(0), Part::V, Part::A]])),
    (&[b"XV36"], upper_bits_of_16(12, &[&[Part::U, Part::Y(0), Part::V, Part::X]])),
    (&[b"Y416"], upper_bits_of_16(16, &[&[Part::U, Part::Y(0), Part::V, Part::A]])),
    (&[b"XV48"], upper_bits_of_16(16, &[&[Part::U, Part::Y(0), Part::V, Part::X]])),
];

impl Fourcc {
    /// `NV12`.
    pub const NV12: Self = Self::new(b"NV12");
    /// `NV21`.
    pub const NV21: Self = Self::new(b"NV21");
    /// `NV16`.
    pub const NV16: Self = Self::new(b"NV16");
    /// `NV24`.
    pub const NV24: Self = Self::new(b"NV24");
    /// `YU12`.
    pub const YU12: Self = Self::new(b"YU12");
    /// `YV12`.
    pub const YV12: Self = Self::new(b"YV12");
    /// `AYUV`.
    pub const AYUV: Self = Self::new(b"AYUV");
    /// `Y210`.
    pub const Y210: Self = Self::new(b"Y210");
    /// `S010`.
    pub const S010: Self = Self::new(b"S010");
    /// `P010`.
    pub const P010: Self = Self::new(b"P010");
    /// `P016`.
    pub const P016: Self = Self::new(b"P016");
    /// `YUYV`.
    pub const YUYV: Self = Self::new(b"YUYV");

    /// How the components lie, for YUV formats whose samples are known here.
    pub fn yuv(self) -> Option<&'static YuvLayout> {
        LAYOUTS.iter().find(|(codes, _)| codes.iter().any(|code| Self::new(code) == self)).map(|(_, layout)| layout)
    }

    /// Every YUV format whose samples are known here.
    pub fn all_yuv() -> impl Iterator<Item = Self> {
        LAYOUTS.iter().flat_map(|(codes, _)| *codes).map(|code| Self::new(code))
    }

    /// Whether the pixels of LINEAR frames can be computed: packed RGB, or YUV.
    pub fn is_known(self) -> bool {
        self.pixel().is_some() || self.yuv().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_fill_the_planes_of_their_format() {
        for fourcc in Fourcc::all_yuv() {
            let (layout, shapes) = (fourcc.yuv().expect("listed"), fourcc.planes().expect("its planes are known"));
            assert_eq!(layout.planes.len(), shapes.len(), "{fourcc}");
            for (n, (parts, shape)) in layout.planes.iter().zip(shapes).enumerate() {
                assert_eq!((parts.len() as u32 * layout.bytes, 1), (shape.bytes, shape.block), "{fourcc}, plane {n}");
                let stand_in = layout.stand_in(n).and_then(Fourcc::pixel).expect("a packed format has these bytes");
                assert_eq!((stand_in.bytes, stand_in.components.len()), (shape.bytes, parts.len()), "{fourcc}, {n}");
                let padding = (layout.bytes * 8 - layout.bits, parts.iter().position(|part| *part == Part::X));
                assert!(layout.below <= padding.0, "{fourcc}, {n}");
                assert!(padding.1.is_none_or(|at| at + 1 == parts.len()), "{fourcc}, {n}: padding comes last");
            }
        }
    }

    #[test]
    fn every_pixel_has_one_luma_and_a_share_of_both_chromas() {
        for fourcc in Fourcc::all_yuv() {
            let (layout, shapes) = (fourcc.yuv().expect("listed"), fourcc.planes().expect("listed"));
            let all: Vec<(Part, u32)> = layout
                .planes
                .iter()
                .zip(shapes)
                .flat_map(|(parts, shape)| parts.iter().map(|part| (*part, shape.across)))
                .collect();
            let lumas = all.iter().filter(|(part, _)| matches!(part, Part::Y(_)));
            let across = lumas.clone().map(|(_, across)| *across).next().expect("a luma");
            assert_eq!(lumas.count() as u32, across, "{fourcc}");
            assert_eq!(all.iter().filter(|(part, _)| *part == Part::U).count(), 1, "{fourcc}");
            assert_eq!(all.iter().filter(|(part, _)| *part == Part::V).count(), 1, "{fourcc}");
        }
    }
}
