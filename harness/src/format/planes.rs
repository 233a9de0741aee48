//! How many bytes has a row of each plane of a LINEAR frame, and how many rows are there?
//!
//! A pure table, after `include/uapi/drm/drm_fourcc.h`. Formats that exist in vendor layouts only are not in it.

use super::Fourcc;

/// What one plane of a format holds, when its rows lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneShape {
    /// Pixels of the frame that one sample of the plane stands for, across.
    pub across: u32,
    /// Pixels of the frame that one sample of the plane stands for, down.
    pub down: u32,
    /// Samples that can't be told apart by bytes; a row has a whole number of such blocks.
    pub block: u32,
    /// Size of a block in bytes.
    pub bytes: u32,
}

impl PlaneShape {
    /// Length of a row of the plane in a frame of `width` pixels, in bytes.
    ///
    /// What is left of a sample or a block at the right edge counts as a whole one.
    pub fn row(&self, width: u32) -> u64 {
        u64::from(width.div_ceil(self.across).div_ceil(self.block)) * u64::from(self.bytes)
    }

    /// Rows of the plane in a frame of `height` pixels.
    pub fn rows(&self, height: u32) -> u32 {
        height.div_ceil(self.down)
    }
}

/// `bytes` per sample of `across` x `down` pixels.
const fn sampled(across: u32, down: u32, bytes: u32) -> PlaneShape {
    PlaneShape { across, down, block: 1, bytes }
}

/// `bytes` per `block` samples of `across` x `down` pixels.
const fn blocks(across: u32, down: u32, block: u32, bytes: u32) -> PlaneShape {
    PlaneShape { across, down, block, bytes }
}

/// Every pixel has all its components in `bytes`.
const fn packed(bytes: u32) -> [PlaneShape; 1] {
    [sampled(1, 1, bytes)]
}

/// Two pixels share their chroma, and `bytes`.
const fn pairs(bytes: u32) -> [PlaneShape; 1] {
    [sampled(2, 1, bytes)]
}

/// Luma, then both chroma components in turn; `bytes` per component.
const fn semi_planar(across: u32, down: u32, bytes: u32) -> [PlaneShape; 2] {
    [sampled(1, 1, bytes), sampled(across, down, 2 * bytes)]
}

/// One plane per component, `bytes` each.
const fn planar(across: u32, down: u32, bytes: u32) -> [PlaneShape; 3] {
    [sampled(1, 1, bytes), sampled(across, down, bytes), sampled(across, down, bytes)]
}

/// Ten bits per component, four components in five bytes.
const fn packed_10(across: u32, down: u32) -> [PlaneShape; 2] {
    [blocks(1, 1, 4, 5), blocks(across, down, 2, 5)]
}

/// Ten bits per component, three components in four bytes.
const fn padded_10(across: u32, down: u32) -> [PlaneShape; 2] {
    [blocks(1, 1, 3, 4), blocks(across, down, 3, 8)]
}

/// Formats by code, apart from those of packed RGB whose components [`Fourcc::pixel`] knows.
const SHAPES: &[(&[&[u8; 4]], &[PlaneShape])] = &[
    (&[b"C8  ", b"D8  ", b"RGB8", b"BGR8", b"GREY"], &packed(1)),
    (&[b"R10 ", b"R12 ", b"RG88", b"XR12", b"XB12", b"RX12", b"BX12", b"AB12", b"RA12", b"BA12"], &packed(2)),
    (&[b"XB15", b"RX15", b"BX15", b"AB15", b"RA15", b"BA15", b"R  H"], &packed(2)),
    (&[b"VU24"], &packed(3)),
    (&[b"RG32", b"RX30", b"BX30", b"RA30", b"BA30", b"R  F", b"GR H"], &packed(4)),
    (&[b"AYUV", b"AVUY", b"XYUV", b"XVUY", b"XY30", b"Y410", b"XV30"], &packed(4)),
    (&[b"RG48", b"BG48", b"BGRH"], &packed(6)),
    (&[b"XR4H", b"AR4H", b"AB10", b"Y412", b"Y416", b"XV36", b"XV48", b"GR F"], &packed(8)),
    (&[b"BGRF"], &packed(12)),
    (&[b"AB8F"], &packed(16)),
    (&[b"YUYV", b"YVYU", b"UYVY", b"VYUY"], &pairs(4)),
    (&[b"Y210", b"Y212", b"Y216"], &pairs(8)),
    (&[b"NV12", b"NV21"], &semi_planar(2, 2, 1)),
    (&[b"NV16", b"NV61"], &semi_planar(2, 1, 1)),
    (&[b"NV24", b"NV42"], &semi_planar(1, 1, 1)),
    (&[b"P010", b"P012", b"P016"], &semi_planar(2, 2, 2)),
    (&[b"P210"], &semi_planar(2, 1, 2)),
    (&[b"NV15"], &packed_10(2, 2)),
    (&[b"NV20"], &packed_10(2, 1)),
    (&[b"NV30"], &packed_10(1, 1)),
    (&[b"P030"], &padded_10(2, 2)),
    (&[b"P230"], &padded_10(2, 1)),
    (&[b"YUV9", b"YVU9"], &planar(4, 4, 1)),
    (&[b"YU11", b"YV11"], &planar(4, 1, 1)),
    (&[b"YU12", b"YV12"], &planar(2, 2, 1)),
    (&[b"YU16", b"YV16"], &planar(2, 1, 1)),
    (&[b"YU24", b"YV24"], &planar(1, 1, 1)),
    (&[b"S010", b"S012", b"S016"], &planar(2, 2, 2)),
    (&[b"S210", b"S212", b"S216"], &planar(2, 1, 2)),
    (&[b"S410", b"S412", b"S416", b"Q410", b"Q401"], &planar(1, 1, 2)),
];

/// Packed formats by the size of their pixel in bytes, less one.
const PACKED: [[PlaneShape; 1]; 8] =
    [packed(1), packed(2), packed(3), packed(4), packed(5), packed(6), packed(7), packed(8)];

impl Fourcc {
    /// Every format whose planes are known here.
    pub fn known() -> impl Iterator<Item = Self> {
        let shaped = SHAPES.iter().flat_map(|(codes, _)| codes.iter().map(|code| Self::new(code)));
        Self::PACKED_RGB.iter().copied().chain(shaped)
    }

    /// The planes of a LINEAR frame of this format, in the order of its documentation; `None` for formats unknown here.
    pub fn planes(self) -> Option<&'static [PlaneShape]> {
        if let Some(pixel) = self.pixel() {
            return PACKED.get(pixel.bytes as usize - 1).map(<[_; 1]>::as_slice);
        }
        SHAPES.iter().find(|(codes, _)| codes.iter().any(|code| Self::new(code) == self)).map(|(_, shapes)| *shapes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Row length in bytes and rows of every plane of a frame of `width` x `height` pixels.
    fn planes(code: &[u8; 4], width: u32, height: u32) -> Vec<(u64, u32)> {
        let shapes = Fourcc::new(code).planes().expect("a format of the table");
        shapes.iter().map(|shape| (shape.row(width), shape.rows(height))).collect()
    }

    /// Against the documentation of the formats, for a size that no sub-sampling divides.
    #[test]
    fn rows_are_those_that_the_documentation_says() {
        assert_eq!(planes(b"XR24", 5, 3), [(20, 3)]);
        assert_eq!(planes(b"AB4H", 5, 3), [(40, 3)]);
        assert_eq!(planes(b"RG24", 5, 3), [(15, 3)]);
        assert_eq!(planes(b"YUYV", 5, 3), [(12, 3)]);
        assert_eq!(planes(b"Y210", 5, 3), [(24, 3)]);
        assert_eq!(planes(b"NV12", 5, 3), [(5, 3), (6, 2)]);
        assert_eq!(planes(b"NV16", 5, 3), [(5, 3), (6, 3)]);
        assert_eq!(planes(b"NV24", 5, 3), [(5, 3), (10, 3)]);
        assert_eq!(planes(b"P010", 5, 3), [(10, 3), (12, 2)]);
        assert_eq!(planes(b"YU12", 5, 3), [(5, 3), (3, 2), (3, 2)]);
        assert_eq!(planes(b"YV16", 5, 3), [(5, 3), (3, 3), (3, 3)]);
        assert_eq!(planes(b"YUV9", 5, 3), [(5, 3), (2, 1), (2, 1)]);
        assert_eq!(planes(b"NV15", 5, 3), [(10, 3), (10, 2)]);
        assert_eq!(planes(b"P030", 7, 3), [(12, 3), (16, 2)]);
        assert_eq!(planes(b"S410", 5, 3), [(10, 3), (10, 3), (10, 3)]);
    }

    #[test]
    fn every_packed_rgb_format_has_one_plane_of_its_pixels() {
        for fourcc in Fourcc::PACKED_RGB {
            let [plane] = fourcc.planes().expect("known") else { panic!("{fourcc} is packed") };
            assert_eq!(plane.row(7), 7 * u64::from(fourcc.pixel().expect("listed").bytes), "{fourcc}");
        }
    }

    #[test]
    fn no_format_is_listed_twice() {
        let mut seen: BTreeSet<_> = Fourcc::PACKED_RGB.iter().copied().collect();
        for code in SHAPES.iter().flat_map(|(codes, _)| *codes) {
            assert!(seen.insert(Fourcc::new(code)), "{} is listed twice", Fourcc::new(code));
        }
    }

    #[test]
    fn the_largest_frame_overflows_nothing() {
        for (codes, shapes) in SHAPES {
            for shape in *shapes {
                assert!(shape.row(u32::MAX) >= u64::from(u32::MAX / 4), "{codes:?}");
                assert_eq!((shape.row(0), shape.rows(0)), (0, 0));
            }
        }
    }
}
