//! Whether an answer of a driver about memory is one that a driver may give.
//!
//! Pure. A driver under test may say anything; what it says becomes sizes and offsets of ours, so it is checked first.
//! Each function returns what is wrong and what would be valid.

use ash::vk;

use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size};

/// Most memory planes that a modifier may have (`VK_IMAGE_ASPECT_MEMORY_PLANE_3_BIT_EXT` is the last).
pub(super) const MOST_PLANES: u32 = 4;

/// `VkMemoryRequirements` of an image or buffer.
pub(super) fn requirements(given: &vk::MemoryRequirements) -> Result<(), String> {
    if given.size == 0 {
        return Err("size 0 B; at least the pixels' size would be valid".to_owned());
    }
    if !given.alignment.is_power_of_two() {
        return Err(format!("alignment {} B; a power of two would be valid", given.alignment));
    }
    if given.memory_type_bits == 0 {
        return Err("memoryTypeBits 0b0; at least one memory type would be valid".to_owned());
    }
    Ok(())
}

/// `VkPhysicalDeviceMemoryProperties`.
pub(super) fn memory(given: &vk::PhysicalDeviceMemoryProperties) -> Result<(), String> {
    let (types, heaps) = (given.memory_type_count, given.memory_heap_count);
    let most = (vk::MAX_MEMORY_TYPES, vk::MAX_MEMORY_HEAPS);
    if types == 0 || types as usize > most.0 || heaps == 0 || heaps as usize > most.1 {
        return Err(format!(
            "{types} memory types and {heaps} heaps; 1 to {} and 1 to {} would be valid",
            most.0, most.1
        ));
    }
    match given.memory_types_as_slice().iter().position(|one| one.heap_index >= heaps) {
        Some(n) => Err(format!("memory type {n} is in heap {}; there are {heaps}", given.memory_types[n].heap_index)),
        None => Ok(()),
    }
}

/// `drmFormatModifierPlaneCount`.
pub(super) fn plane_count(given: u32) -> Result<u32, String> {
    if (1..=MOST_PLANES).contains(&given) {
        Ok(given)
    } else {
        Err(format!("{given} memory planes; 1 to {MOST_PLANES} would be valid"))
    }
}

/// Most modifiers that a list may have: no driver is near it, and a wrong length must not become an allocation.
pub(super) const LONGEST_LIST: u32 = 4096;

/// `drmFormatModifierCount`.
pub(super) fn list_length(given: u32) -> Result<usize, String> {
    match given {
        0..=LONGEST_LIST => Ok(given as usize),
        _ => Err(format!("{given} modifiers; at most {LONGEST_LIST} are taken for valid")),
    }
}

/// An image in memory: what it is, and where it was bound.
pub(super) struct Bound {
    pub(super) size: Size,
    pub(super) fourcc: Fourcc,
    pub(super) modifier: Modifier,
    /// Offset of the binding in the memory, in bytes.
    pub(super) offset: u64,
    /// Size of the memory in bytes.
    pub(super) memory: u64,
}

/// The call whose answer is wrong, and what is wrong with it.
type Wrong = (&'static str, String);

/// Where the planes of an image lie.
const LAYOUT: &str = "vkGetImageSubresourceLayout";

/// How much memory an image needs.
const REQUIREMENTS: &str = "vkGetImageMemoryRequirements2";

/// The frame of an image whose planes the driver says lie at `planes`.
pub(super) fn frame(image: &Bound, planes: &[vk::SubresourceLayout]) -> Result<Frame, Wrong> {
    let wrong = |why: String| (LAYOUT, why);
    if planes.is_empty() {
        return Err(wrong(format!("0 memory planes; 1 to {MOST_PLANES} would be valid")));
    }
    let mut frame =
        Frame { size: image.size, fourcc: image.fourcc, modifier: image.modifier, planes: Vec::with_capacity(4) };
    for (n, plane) in planes.iter().enumerate() {
        let fits = plane.offset.checked_add(plane.size).and_then(|end| end.checked_add(image.offset));
        let Some(end) = fits.filter(|&end| end <= image.memory) else {
            if let Some(row) = row_behind(image, plane) {
                let asked = image.memory.saturating_sub(image.offset);
                return Err((REQUIREMENTS, format!("{asked} B, and the last row of plane {n} begins at byte {row}")));
            }
            return Err(wrong(format!(
                "plane {n} of {} B at offset {} B, in an image bound at {} B, ends after the memory of {} B",
                plane.size, plane.offset, image.offset, image.memory
            )));
        };
        if plane.row_pitch == 0 && image.modifier.clear_color_plane() != Some(n) {
            return Err(wrong(format!("plane {n} has row pitch 0 B; at least a row of pixels would be valid")));
        }
        frame.planes.push(Plane { offset: image.offset + plane.offset, pitch: plane.row_pitch });
        if image.modifier == Modifier::LINEAR && image.fourcc.pixel().is_some() {
            let pixels_end = frame.packed().map_err(|error| wrong(error.cause.to_string()))?.end;
            if pixels_end > end {
                let ends = pixels_end - image.offset - plane.offset;
                return Err(wrong(match plane.size {
                    0 => format!("plane {n} has no bytes; its last pixel ends at {ends} B"),
                    size => format!(
                        "plane {n} has {size} B, which is too little for {} rows at row pitch {} B; its last pixel ends at {ends} B",
                        image.size.height, plane.row_pitch
                    ),
                }));
            }
        }
    }
    Ok(frame)
}

/// Nobody knows which of them is wrong.
const NOT_TOGETHER: &str = "a pitch, a size or an offset that was not computed with the others";

/// What a layout that [`frame`] refuses is like.
pub(super) fn like(image: &Bound, planes: &[vk::SubresourceLayout]) -> &'static str {
    let [plane] = planes else { return NOT_TOGETHER };
    let row = image.fourcc.pixel().map(|pixel| u64::from(image.size.width) * u64::from(pixel.bytes));
    let Some(row) = row.filter(|_| image.modifier == Modifier::LINEAR && image.size.height > 1) else {
        return NOT_TOGETHER;
    };
    let (above, tight) = (u64::from(image.size.height) - 1, row.saturating_mul(image.size.height.into()));
    let within = plane.offset.checked_add(plane.size).and_then(|end| end.checked_add(image.offset));
    let needs = plane.row_pitch.checked_mul(above).and_then(|rows| rows.checked_add(row));
    // Memory and size agree with each other, and so do pixels and size: the pitch alone is too large for them.
    let is_pitch = plane.size > tight
        && within.is_some_and(|end| end <= image.memory)
        && needs.is_none_or(|needs| needs > plane.size);
    if is_pitch {
        "a row pitch that is larger than the one that size and memory were computed with"
    } else {
        NOT_TOGETHER
    }
}

/// Where the last row of the first plane begins, if that is behind the memory though size and pitch of the plane agree with
/// each other: then it is the memory that is too short.
fn row_behind(image: &Bound, plane: &vk::SubresourceLayout) -> Option<u64> {
    let before = plane.row_pitch.checked_mul(u64::from(image.size.height.max(1) - 1))?;
    let row = plane.offset.checked_add(before)?;
    let is_behind = row.checked_add(image.offset)? >= image.memory;
    (image.fourcc.pixel().is_some() && before < plane.size && is_behind).then_some(row)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::px;

    fn image() -> Bound {
        Bound { size: px(250, 130), fourcc: Fourcc::XR24, modifier: Modifier::LINEAR, offset: 4096, memory: 200_000 }
    }

    fn plane(offset: u64, size: u64, row_pitch: u64) -> [vk::SubresourceLayout; 1] {
        [vk::SubresourceLayout { offset, size, row_pitch, ..Default::default() }]
    }

    #[test]
    fn a_sound_layout_becomes_a_frame_with_the_binding_added() {
        let frame = frame(&image(), &plane(64, 130 * 1024, 1024)).expect("sound");
        assert_eq!(frame.planes, [Plane { offset: 4160, pitch: 1024 }]);
    }

    #[test]
    fn unsound_layouts_are_refused_with_numbers() {
        let refused = |planes: [vk::SubresourceLayout; 1]| frame(&image(), &planes).expect_err("unsound").1;
        insta::assert_snapshot!(refused(plane(0, 130_000, 0)), @"plane 0 has row pitch 0 B; at least a row of pixels would be valid");
        insta::assert_snapshot!(refused(plane(0, 130_000, 999)), @"pitch 999 B is shorter than a row of 1000 B");
        insta::assert_snapshot!(refused(plane(0, 1000, 1024)), @"plane 0 has 1000 B, which is too little for 130 rows at row pitch 1024 B; its last pixel ends at 133096 B");
        insta::assert_snapshot!(refused(plane(0, 195_905, 1024)), @"plane 0 of 195905 B at offset 0 B, in an image bound at 4096 B, ends after the memory of 200000 B");
        insta::assert_snapshot!(refused(plane(u64::MAX, 4096, 1024)), @"plane 0 of 4096 B at offset 18446744073709551615 B, in an image bound at 4096 B, ends after the memory of 200000 B");
        insta::assert_snapshot!(refused(plane(0, 4096, u64::MAX)), @"pitch 18446744073709551615 B x 130 rows does not fit in 64 bits");
    }

    #[test]
    fn a_colour_that_others_are_cleared_to_has_no_rows() {
        let planes = [(0, 65536, 1024), (65536, 4096, 64), (69632, 64, 0)].map(|of| plane(of.0, of.1, of.2)[0]);
        let of = |modifier, planes: &[_]| frame(&Bound { modifier: Modifier(modifier), ..image() }, planes);
        let pitches = |frame: Frame| frame.planes.iter().map(|plane| plane.pitch).collect::<Vec<_>>();
        let (gen12, dg2, mtl, plain) =
            (0x0100_0000_0000_0008, 0x0100_0000_0000_000c, 0x0100_0000_0000_000f, 0x0100_0000_0000_0006);
        assert_eq!(of(gen12, &planes).map(pitches), Ok(vec![1024, 64, 0]));
        assert_eq!(of(mtl, &planes).map(pitches), Ok(vec![1024, 64, 0]));
        assert_eq!(of(dg2, &[planes[0], planes[2]]).map(pitches), Ok(vec![1024, 0]));
        // What holds rows has a pitch, also beside such a plane.
        let said = |modifier, planes: &[_]| of(modifier, planes).expect_err("a plane of rows without a pitch").1;
        assert!(said(gen12, &[planes[0], planes[2], planes[2]]).starts_with("plane 1 has row pitch 0 B"));
        assert!(said(plain, &planes).starts_with("plane 2 has row pitch 0 B"));
    }

    #[test]
    fn a_pitch_is_to_blame_where_size_and_memory_agree_and_have_room_for_padding() {
        let like = |size, pitch| like(&Bound { memory: 200_000 + 4096, ..image() }, &plane(0, size, pitch));
        assert!(like(140_480, 1128).contains("a row pitch that is larger"));
        // Rows without padding, less than that, more than the memory has, and nothing wrong.
        assert!(
            [(130_000, 1128), (1000, 1024), (200_001, 4096), (140_480, 1064)]
                .iter()
                .all(|of| like(of.0, of.1) == NOT_TOGETHER)
        );
    }

    #[test]
    fn memory_that_ends_before_the_last_row_is_too_short_and_no_layout_wrong() {
        let short = Bound { offset: 0, memory: 118_272, ..image() };
        let (call, why) = frame(&short, &plane(0, 135_168, 1024)).expect_err("short");
        assert_eq!(call, REQUIREMENTS);
        insta::assert_snapshot!(why, @"118272 B, and the last row of plane 0 begins at byte 132096");
        // A layout that contradicts itself says nothing of the memory.
        let (call, _) = frame(&short, &plane(0, 118_273, 1024)).expect_err("unsound");
        assert_eq!(call, LAYOUT);
    }

    #[test]
    fn requirements_and_plane_counts_have_bounds() {
        let sound = vk::MemoryRequirements { size: 4096, alignment: 64, memory_type_bits: 1 };
        assert!(requirements(&sound).is_ok());
        assert!(requirements(&vk::MemoryRequirements { size: 0, ..sound }).is_err());
        assert!(requirements(&vk::MemoryRequirements { alignment: 0, ..sound }).is_err());
        assert!(requirements(&vk::MemoryRequirements { alignment: 48, ..sound }).is_err());
        assert!(requirements(&vk::MemoryRequirements { memory_type_bits: 0, ..sound }).is_err());
        assert!(plane_count(5).is_err() && plane_count(4).is_ok());
        let said = |given| plane_count(given).expect_err("no such count");
        insta::assert_snapshot!(said(0), @"0 memory planes; 1 to 4 would be valid");
        insta::assert_snapshot!(said(u32::MAX), @"4294967295 memory planes; 1 to 4 would be valid");
    }

    #[test]
    fn a_list_has_a_length_that_can_be_allocated() {
        assert_eq!((list_length(0), list_length(LONGEST_LIST)), (Ok(0), Ok(4096)));
        let said = list_length(u32::MAX).expect_err("too long");
        insta::assert_snapshot!(said, @"4294967295 modifiers; at most 4096 are taken for valid");
    }

    #[test]
    fn a_layout_without_planes_or_past_64_bits_is_refused() {
        let refused = |image: &Bound, planes: &[_]| frame(image, planes).expect_err("unsound").1;
        insta::assert_snapshot!(refused(&image(), &[]), @"0 memory planes; 1 to 4 would be valid");
        let whole = Bound { offset: u64::MAX, memory: u64::MAX, ..image() };
        insta::assert_snapshot!(refused(&whole, &plane(0, 133_120, 1024)), @"plane 0 of 133120 B at offset 0 B, in an image bound at 18446744073709551615 B, ends after the memory of 18446744073709551615 B");
        insta::assert_snapshot!(refused(&image(), &plane(0, u64::MAX, 1024)), @"plane 0 of 18446744073709551615 B at offset 0 B, in an image bound at 4096 B, ends after the memory of 200000 B");
    }

    /// Numbers at the edges as often as any.
    fn any_number() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0_u64..5000, u64::MAX - 5000..=u64::MAX, Just(1 << 32), Just((1 << 32) - 1)]
    }

    proptest! {
        #[test]
        fn whatever_a_driver_answers_is_a_frame_inside_the_memory_or_refused(
            planes in prop::collection::vec((any_number(), any_number(), any_number()), 0..6),
            offset in any_number(),
            memory in any_number(),
            modifier in prop_oneof![Just(Modifier::LINEAR), Just(Modifier(0x0100_0000_0000_0001))],
        ) {
            let layouts: Vec<_> = planes.iter().map(|&(offset, size, pitch)| plane(offset, size, pitch)[0]).collect();
            if let Ok(frame) = frame(&Bound { offset, memory, modifier, ..image() }, &layouts) {
                prop_assert_eq!(frame.planes.len(), layouts.len());
                prop_assert!(frame.planes.iter().all(|plane| plane.offset >= offset && plane.pitch > 0));
                for (plane, given) in frame.planes.iter().zip(&layouts) {
                    prop_assert!(plane.offset.checked_add(given.size).is_some_and(|end| end <= memory));
                }
                if modifier == Modifier::LINEAR {
                    prop_assert!(frame.packed().is_ok_and(|at| at.end <= memory));
                }
            }
        }
    }
}
