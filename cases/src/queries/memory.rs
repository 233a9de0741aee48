//! What a device says of the memory of what it hands out and takes in: of one and the same buffer its answers must go together.

use handover::prelude::*;

const SIZE: Size = px(250, 130);

/// Of every size of pixel one.
const FORMATS: [Fourcc; 4] = [Fourcc::R8, Fourcc::RG16, Fourcc::XR24, Fourcc::AB4H];

/// Why there is no image to ask about.
const NOT_SHARED: &str = "the device does not hand it out and take it in";

pub(super) fn register(cases: &mut Cases<Cx>) {
    for gpu in [GpuA, GpuB] {
        let name = format!("queries::a_dma_buf_can_be_had_as_the_memory_that_it_is::{gpu}");
        let case = cases.add(name, move |cx| as_it_is(cx, gpu)).from(gpu);
        if gpu == GpuA {
            case.must_fail_under("fd-of-another-type");
        }
        let name = format!("queries::what_is_shared_in_dedicated_memory_only_requires_it::{gpu}");
        let case = cases.add(name, move |cx| requires_dedicated(cx, gpu)).from(gpu);
        if gpu == GpuA {
            case.must_fail_under("dedicated-unsaid");
        }
    }
}

/// An image of the device's own that it exports and says that it imports, with what it says of that image; or why there is none.
fn exported(gpu: &Gpu, fourcc: Fourcc, room: Room) -> Result<std::result::Result<(Image, SharedFrame), &'static str>> {
    let tiling = Tiling::Modifier(Modifier::LINEAR);
    let features = gpu.features(fourcc, tiling)?;
    let Some(support) = gpu.image_support(fourcc, tiling, features, HandleType::DmaBuf)? else {
        return Ok(Err(NOT_SHARED));
    };
    if !support.exportable || !support.importable {
        return Ok(Err(NOT_SHARED));
    }
    if support.dedicated_only && room != Room::Dedicated {
        return Ok(Err("the device takes dedicated memory only"));
    }
    let (layout, export) = (Layout::Modifiers(vec![Modifier::LINEAR]), vec![HandleType::DmaBuf]);
    let image = gpu.create_image(&ImageRequest { size: SIZE, fourcc, layout, room, export })?;
    let shared = image.export_dmabuf()?;
    Ok(Ok((image, shared)))
}

/// `vkGetMemoryFdPropertiesKHR` names the memory type that the dma-buf was allocated from, by the same device; and one that the
/// image takes which it is to be imported as.
fn as_it_is(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let mut asked = 0_u32;
    for (fourcc, room) in FORMATS
        .into_iter()
        .flat_map(|fourcc| [Room::Dedicated, Room::SubAllocated { before: 65536, after: 0 }].map(|room| (fourcc, room)))
    {
        let (image, shared) = match exported(&gpu, fourcc, room)? {
            Ok(exported) => exported,
            Err(why) => {
                cx.fact("not shown", format!("{fourcc}: {why}"));
                continue;
            }
        };
        asked += 1;
        let says = gpu.import_memory(&shared)?;
        let own = 1_u32.checked_shl(image.memory_type()).unwrap_or(0);
        let what = format!("{fourcc} LINEAR, {}", if room == Room::Dedicated { "dedicated" } else { "with room" });
        cx.claim(format!("memory type of {what}"), says.offered & own != 0, || {
            Finding::new(format!("{what}: its dma-buf can't be imported as the memory type that it is of"))
                .row("object", gpu.object(&what))
                .row("is of", format!("memory type {}, {own:#b}", image.memory_type()))
                .row("says", format!("memoryTypeBits {:#b} (vkGetMemoryFdPropertiesKHR)", says.offered))
                .row("like", "types that are numbered otherwise for an fd than for the memory that it was made of")
        });
        cx.claim(format!("memory types of {what}"), says.offered & says.taken != 0, || {
            Finding::new(format!("{what}: no memory type is one of its dma-buf and one of the image that it is to be"))
                .row("object", gpu.object(&what))
                .row("dma-buf", format!("memoryTypeBits {:#b} (vkGetMemoryFdPropertiesKHR)", says.offered))
                .row("image", format!("memoryTypeBits {:#b} (vkGetImageMemoryRequirements2)", says.taken))
        });
    }
    if asked == 0 {
        return Err(Trouble::Skip("the device hands out and takes in none of these formats".to_owned()));
    }
    cx.figure("images_made", asked.into());
    cx.agree()
}

/// `VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT` and `requiresDedicatedAllocation` say the same of one image.
fn requires_dedicated(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let mut asked = 0_u32;
    for fourcc in FORMATS {
        let Ok((_image, shared)) = exported(&gpu, fourcc, Room::Dedicated)? else { continue };
        asked += 1;
        let says = gpu.import_memory(&shared)?;
        cx.claim(fourcc, !says.dedicated_only || says.requires_dedicated, || {
            let what = format!("{fourcc} LINEAR is shared in dedicated memory only, and does not require it");
            Finding::new(what)
                .row("object", gpu.object(format!("{fourcc} LINEAR")))
                .row("features", "VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT")
                .row("says", "requiresDedicatedAllocation VK_FALSE (VkMemoryDedicatedRequirements)")
                .row("like", "two queries of one limit, of which one was forgotten")
        });
    }
    if asked == 0 {
        return Err(Trouble::Skip("the device hands out and takes in none of these formats".to_owned()));
    }
    cx.agree()
}
