//! How the planes of an image lie in a buffer that it is copied to: one after the other, as a [`Picture`] has them, but each from
//! a byte on that every format may begin with.
//!
//! Pure. Source: "Copying Data Between Buffers and Images" of the Vulkan specification: a plane of a multi-planar format is
//! copied by an aspect of its own, in texels of the plane.

use ash::vk;

use crate::format::Fourcc;
use crate::frame::{Size, px};
use crate::picture::Picture;

/// A multiple of every texel's size, and of 4.
const ALIGNMENT: u64 = 16;

/// The copies that take an image out, and what they write.
pub(super) struct Copies {
    pub(super) regions: Vec<vk::BufferImageCopy>,
    /// First byte and length of each plane.
    planes: Vec<(u64, u64)>,
}

impl Copies {
    /// Those of an image of `fourcc`; `None` if its planes are not known.
    pub(super) fn of(fourcc: Fourcc, size: Size) -> Option<Self> {
        use vk::ImageAspectFlags as Aspect;
        if !fourcc.is_known() {
            return None;
        }
        let shapes = fourcc.planes()?;
        let aspects = match shapes.len() {
            1 => &[Aspect::COLOR][..],
            _ => &[Aspect::PLANE_0, Aspect::PLANE_1, Aspect::PLANE_2],
        };
        let mut copies = Self { regions: Vec::new(), planes: Vec::new() };
        let mut end = 0u64;
        for (shape, &aspect) in shapes.iter().zip(aspects) {
            let start = end.next_multiple_of(ALIGNMENT);
            let bytes = shape.row(size.width) * u64::from(shape.rows(size.height));
            // Pairs of pixels in one plane are texels of two, whose image has the width of all pixels.
            let texels = match shapes.len() {
                1 => size,
                _ => px(size.width / shape.across, size.height / shape.down),
            };
            let layers = vk::ImageSubresourceLayers::default().aspect_mask(aspect).layer_count(1);
            let extent = vk::Extent3D { width: texels.width, height: texels.height, depth: 1 };
            let region = vk::BufferImageCopy::default().buffer_offset(start).image_subresource(layers);
            copies.regions.push(region.image_extent(extent));
            copies.planes.push((start, bytes));
            end = start + bytes;
        }
        Some(copies)
    }

    /// Bytes that a buffer needs for them.
    pub(super) fn bytes(&self) -> u64 {
        self.planes.last().map_or(0, |(start, bytes)| start + bytes)
    }

    /// What a buffer holds from which these copies bring `picture` into an image.
    pub(super) fn packed(&self, picture: &Picture) -> Vec<u8> {
        let mut buffer = vec![0; self.bytes() as usize];
        let mut rest = picture.bytes.as_slice();
        for &(start, bytes) in &self.planes {
            let (plane, after) = rest.split_at((bytes as usize).min(rest.len()));
            buffer[start as usize..][..plane.len()].copy_from_slice(plane);
            rest = after;
        }
        buffer
    }

    /// The picture in `buffer`, which has [`Self::bytes`] bytes.
    pub(super) fn picture(&self, fourcc: Fourcc, size: Size, buffer: &[u8]) -> Picture {
        let plane = |(start, bytes): &(u64, u64)| &buffer[*start as usize..(start + bytes) as usize];
        Picture { size, fourcc, bytes: self.planes.iter().flat_map(plane).copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    #[test]
    fn planes_are_copied_in_their_own_texels() {
        let of = |fourcc| {
            let copies = Copies::of(fourcc, px(250, 130)).expect("known");
            let region = |region: &vk::BufferImageCopy| {
                (region.buffer_offset, region.image_extent.width, region.image_extent.height)
            };
            copies.regions.iter().map(region).collect::<Vec<_>>()
        };
        assert_eq!(of(Fourcc::XR24), [(0, 250, 130)]);
        assert_eq!(of(Fourcc::YUYV), [(0, 250, 130)]);
        assert_eq!(of(Fourcc::NV12), [(0, 250, 130), (32512, 125, 65)]);
        assert_eq!(of(Fourcc::YU12), [(0, 250, 130), (32512, 125, 65), (40640, 125, 65)]);
        assert!(Copies::of(Fourcc::new(b"NV15"), px(4, 4)).is_none());
    }

    #[test]
    fn what_is_packed_for_an_image_is_what_comes_out_of_it() {
        for fourcc in [Fourcc::NV12, Fourcc::YU12, Fourcc::XR24] {
            let picture = Pattern { stamp: 3 }.picture(fourcc, px(34, 18)).expect("known");
            let copies = Copies::of(fourcc, picture.size).expect("known");
            let buffer = copies.packed(&picture);
            assert_eq!(copies.picture(fourcc, picture.size, &buffer), picture);
        }
    }
}
