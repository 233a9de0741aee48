//! What a Vulkan device says about its images before it is asked for one: the answers must keep the rules, agree with each
//! other, and be true.

use handover::prelude::*;
use handover::vk::vk_format;

use crate::drivers::{LAVAPIPE, LAVAPIPE_25_0};

mod memory;
mod said;
mod truth;
mod video;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    memory::register(cases);
    said::register(cases);
    truth::register(cases);
    video::register(cases);
    for gpu in [GpuA, GpuB] {
        let case = cases
            .add(format!("queries::both_modifier_lists_agree::{gpu}"), move |cx| both_lists_agree(cx, gpu))
            .from(gpu)
            .known(LAVAPIPE_25_0, "cases/findings/lavapipe-empty-list2.md", "the two modifier lists");
        if gpu == GpuB {
            case.must_fail_under("second-list-empty");
        }
        cases
            .add(format!("queries::a_modifier_list_keeps_to_its_room::{gpu}"), move |cx| {
                list_keeps_to_its_room(cx, gpu)
            })
            .from(gpu)
            .known(LAVAPIPE, "cases/findings/lavapipe-list-overrun.md", "past the end of the array")
            .must_fail_under("list-count-whole");
        cases
            .add(format!("queries::an_unlisted_modifier_is_not_supported::{gpu}"), move |cx| unlisted_modifier(cx, gpu))
            .from(gpu)
            .known(LAVAPIPE, "cases/findings/lavapipe-any-modifier.md", "is supported, but not listed");
        let case = cases
            .add(format!("queries::a_frame_may_be_as_large_as_it_says::{gpu}"), move |cx| as_large(cx, gpu))
            .from(gpu)
            .to(Cpu);
        if gpu == GpuB {
            case.must_fail_under("rows-behind-1024-lost");
        }
        cases
            .add(format!("queries::a_layout_query_tells_an_explicit_offset::{gpu}"), move |cx| explicit_offset(cx, gpu))
            .from(gpu)
            .known(LAVAPIPE_25_0, "cases/findings/lavapipe-offset-query.md", "the offset of plane 0 in bytes: 0, not")
            .must_fail_under("layout-offset-zero");
    }
}

/// Every format that Vulkan has.
fn formats() -> impl Iterator<Item = Fourcc> {
    let known_here = Fourcc::PACKED_RGB.iter().copied().chain(Fourcc::all_yuv());
    known_here.filter(|fourcc| vk_format(*fourcc).is_some())
}

/// The modifiers of a list, as it is read.
fn modifiers(list: &[ModifierSupport]) -> String {
    match list {
        [] => "none".to_owned(),
        list => list.iter().map(|entry| entry.modifier.to_string()).collect::<Vec<_>>().join(", "),
    }
}

/// `VkDrmFormatModifierPropertiesListEXT` and `VkDrmFormatModifierPropertiesList2EXT` tell the same.
fn both_lists_agree(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let mut entries = 0;
    for fourcc in formats() {
        let (one, other) = (gpu.modifiers(fourcc)?, gpu.modifiers_by_list2(fourcc)?);
        entries += one.len().max(other.len());
        cx.claim(format!("lists of {fourcc}"), one == other, || {
            Finding::new(format!("the two modifier lists of {fourcc} differ"))
                .row("object", gpu.object(fourcc))
                .row("List", modifiers(&one))
                .row("List2", modifiers(&other))
                .row("like", "two answers of two functions, of which one was not kept up with the other")
        });
    }
    // Empty lists agree about nothing.
    cx.claim("entries", entries > 0, || {
        Finding::new("neither list has a modifier for any format that is known here, yet the device has the extension")
    });
    cx.agree()
}

/// A caller with room for fewer entries than there are gets as many, and nothing is written behind them.
fn list_keeps_to_its_room(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let count = gpu.modifiers(Fourcc::XR24)?.len() as u32;
    for room in [0, 1] {
        let valid = room.min(count);
        let list = gpu.modifiers_in_a_short_list(Fourcc::XR24, room)?;
        cx.claim(format!("list with room for {room}"), list.written <= room && list.said == valid, || {
            let finding = match list.written.saturating_sub(room) {
                0 => format!(
                    "VkDrmFormatModifierPropertiesListEXT with room for {room} of {count} entries is said to have {}",
                    list.said
                ),
                past => format!("{past} entries were written past the end of the array"),
            };
            Finding::new(finding)
                .row("object", gpu.object(format!("the modifier list of {}", Fourcc::XR24)))
                .row("room", format!("drmFormatModifierCount was {room} when the driver was asked"))
                .row("said", format!("{} entries, {valid} would be valid", list.said))
                .row("like", "the count of what there is, in the place of the count of what was written")
        });
    }
    cx.agree()
}

/// A modifier that the list does not have is refused by `vkGetPhysicalDeviceImageFormatProperties2` too.
fn unlisted_modifier(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let listed = gpu.modifiers(Fourcc::XR24)?;
    let foreign = Modifier::FOREIGN;
    if listed.iter().any(|entry| entry.modifier == foreign) {
        return Err(Trouble::Skip(format!("the device lists {foreign}, so it is no foreign modifier here")));
    }
    let features = gpu.features(Fourcc::XR24, Tiling::Modifier(Modifier::LINEAR))?;
    let says = gpu.image_support(Fourcc::XR24, Tiling::Modifier(foreign), features, HandleType::DmaBuf)?;
    cx.claim("image format properties", says.is_none(), || {
        Finding::new(format!("XR24 {foreign} is supported, but not listed"))
            .row("object", gpu.object("XR24"))
            .row("listed", modifiers(&listed))
            .maybe("says", says.map(|says| says.to_string()))
    });
    cx.agree()
}

/// More than any device has in one direction.
const LARGEST: u32 = 1 << 17;

/// A frame of one row that is as wide as `maxExtent` of the image format properties allows, and one of one column that is as high,
/// can be made and hold what is drawn, up to the last pixel.
fn as_large(cx: &mut Cx, gpu: Role) -> Outcome {
    let (role, gpu) = (gpu, cx.gpu(gpu)?);
    let (fourcc, tiling) = (Fourcc::XR24, Tiling::Modifier(Modifier::LINEAR));
    let features = gpu.features(fourcc, tiling)?;
    let support = gpu.image_support(fourcc, tiling, features, HandleType::DmaBuf)?;
    let Some(support) = support.filter(|support| support.exportable && features.draw && features.copy_from) else {
        return Err(Trouble::Skip(format!("it does not draw {fourcc} LINEAR and hand it out")));
    };
    let Size { width, height } = support.largest;
    cx.claim("maxExtent", (1..=LARGEST).contains(&width) && (1..=LARGEST).contains(&height), || {
        Finding::new(format!("images of {fourcc} LINEAR may be {width} x {height} px, which no device has"))
    });
    if cx.disagrees() {
        return cx.agree();
    }
    for size in [px(width, 1), px(1, height)] {
        let drawn = cx.draw(&gpu, &NewFrame::of(fourcc, size), 7)?;
        cx.cpu_sees(&drawn.buffer, &drawn.target)?;
        cx.sees(role, &drawn.target, &drawn.image.read_back()?)?;
    }
    cx.agree()
}

/// `vkGetImageSubresourceLayout` tells the offset that the image was created with.
fn explicit_offset(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let asked = Plane { offset: 4096, pitch: 1280 };
    let image = refused_layout_is_skip(gpu.create_image(&ImageRequest {
        size: px(250, 132),
        fourcc: Fourcc::XR24,
        layout: Layout::Explicit(Modifier::LINEAR, vec![asked]),
        room: Room::SubAllocated { before: 0, after: 65536 },
        export: vec![HandleType::DmaBuf],
    }))?;
    let told = image.frame()?;
    cx.fact("frame", &told);
    let offset = told.planes.first().map_or(0, |plane| plane.offset);
    cx.claim("the offset of plane 0 in bytes", offset == asked.offset, || {
        Finding::new(format!("the offset of plane 0 in bytes: {offset}, not {}", asked.offset))
            .row(
                "object",
                format!("an image of {} whose plane 0 was to begin at byte {}", gpu.identity(), asked.offset),
            )
            .row("like", "the offset was dropped on the way into the image, or on the way into the answer")
    });
    cx.equals("the pitch of plane 0 in bytes", asked.pitch, told.planes.first().map_or(0, |plane| plane.pitch));
    cx.agree()
}
