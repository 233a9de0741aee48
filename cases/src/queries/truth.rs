//! What a device says of a format is true: what it lists can be made and lies where it says, and what it does not list is
//! refused by the other query, too.
//!
//! Nothing is created that the device does not claim: that would be our mistake. Each use is tried alone, so that a device may
//! claim little.

use handover::prelude::*;

use crate::drivers::{LAVAPIPE_25_0, LAVAPIPE_26};

/// Odd both ways.
const SIZE: Size = px(33, 17);

/// Even both ways, as sub-sampled chroma wants it.
const YUV_SIZE: Size = px(34, 18);

pub(super) fn register(cases: &mut Cases<Cx>) {
    for gpu in [GpuA, GpuB] {
        for fourcc in super::formats() {
            let case = cases
                .add(format!("queries::what_is_listed_is_true::{gpu}::{fourcc}"), move |cx| is_true(cx, gpu, fourcc))
                .from(gpu);
            // P210 neither has.
            if fourcc.planes().is_some_and(|planes| planes.len() > 1) && fourcc != Fourcc::new(b"P210") {
                // That one it does not list.
                if fourcc != Fourcc::NV24 {
                    let refused = "cases/findings/lavapipe-planes-refused.md";
                    case.known(LAVAPIPE_25_0, refused, "the modifier list says so, but no such image is supported");
                }
                let memory_planes = "cases/findings/lavapipe-memory-planes.md";
                case.known(LAVAPIPE_26, memory_planes, "the layout query lays planes over each other");
                if fourcc == Fourcc::new(b"S016") {
                    case.known(LAVAPIPE_26, memory_planes, "its own device does not import it again");
                }
            }
            if (gpu, fourcc) == (GpuA, Fourcc::XR24) {
                case.must_fail_under("linear-vanishes").must_fail_under("features-lost");
                case.must_fail_under("modifier-unusable");
                case.must_fail_under("listed-modifier-crashes").must_fail_under("plane-count-zero");
                case.must_fail_under("plane-count-endless").must_fail_under("pitch-zero");
                case.must_fail_under("size-of-layout-endless");
            }
        }
    }
}

/// All modifiers of a format, with each use alone and all of them together.
fn is_true(cx: &mut Cx, gpu: Role, fourcc: Fourcc) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let listed = gpu.modifiers(fourcc)?;
    let mut made = 0_u32;
    for entry in &listed {
        counts_planes(cx, fourcc, entry);
        for (name, uses) in entry.features.each().into_iter().chain([("used in every way", entry.features)]) {
            is_confirmed(cx, &gpu, fourcc, entry, (name, uses))?;
            made += u32::from(can_be_made(cx, &gpu, fourcc, entry, (name, uses))?);
        }
    }
    for (name, uses) in Features::ALL.each() {
        let claimed = listed.iter().any(|entry| entry.modifier == Modifier::LINEAR && entry.features.and(uses) == uses);
        if !claimed {
            let says = gpu.image_support(fourcc, Tiling::Modifier(Modifier::LINEAR), uses, HandleType::DmaBuf)?;
            cx.claim(format!("{fourcc} LINEAR, {name}: refused"), says.is_none(), || {
                let what =
                    format!("{fourcc} LINEAR is supported for being {name}, but its modifier list does not say so");
                let like = match listed.iter().any(|entry| entry.modifier == Modifier::LINEAR) {
                    true => "features of a modifier that were not filled in from those of the format",
                    false => "a list that leaves out a modifier that the device has",
                };
                let entries = listed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Finding::new(what)
                    .row("object", gpu.object(format!("{fourcc} LINEAR, {name}")))
                    .row("listed", if entries.is_empty() { "nothing".to_owned() } else { entries })
                    .maybe("says", says.map(|says| says.to_string()))
                    .row("like", like)
            });
        }
    }
    refuses_the_rest(cx, &gpu, fourcc)?;
    cx.figure("images_made", made.into());
    cx.agree()
}

/// What a device does not claim of its other tilings, where nothing is shared, the query for images refuses, too.
fn refuses_the_rest(cx: &mut Cx, gpu: &Gpu, fourcc: Fourcc) -> Result<(), Trouble> {
    for tiling in [Tiling::Linear, Tiling::Optimal] {
        let claimed = gpu.features(fourcc, tiling)?;
        for (name, uses) in Features::ALL.each().into_iter().filter(|(_, uses)| claimed.and(*uses) != *uses) {
            let possible = gpu.is_possible(fourcc, tiling, uses, None)?;
            cx.claim(format!("{fourcc} with {tiling}, {name}: refused"), !possible, || {
                let what =
                    format!("{fourcc} with {tiling} is supported for being {name}, but its features do not say so");
                Finding::new(what).row("object", gpu.object(fourcc)).row("features", claimed.to_string())
            });
        }
    }
    Ok(())
}

/// An image has the planes of its format; only a modifier may add some, of metadata.
fn counts_planes(cx: &mut Cx, fourcc: Fourcc, entry: &ModifierSupport) {
    let Some(own) = fourcc.planes().map(|planes| planes.len() as u32) else { return };
    let what = format!("planes of {fourcc} {}", entry.modifier);
    match entry.modifier {
        Modifier::LINEAR => cx.equals(what, own, entry.planes),
        _ => cx.claim(&what, entry.planes >= own, || {
            Finding::new(format!("{what}: the modifier list says {}, the format has {own}", entry.planes))
        }),
    }
}

/// What the list says an image can do the query for images says, too; and of one that changes hands the same whether the answer
/// has room for how it does or not.
fn is_confirmed(
    cx: &mut Cx,
    gpu: &Gpu,
    fourcc: Fourcc,
    entry: &ModifierSupport,
    (name, uses): (&str, Features),
) -> Result<(), Trouble> {
    let tiling = Tiling::Modifier(entry.modifier);
    let what = format!("{fourcc} {}, {name}", entry.modifier);
    let possible = gpu.is_possible(fourcc, tiling, uses, None)?;
    cx.claim(format!("{what}: both queries"), possible, || {
        let refused = "VK_ERROR_FORMAT_NOT_SUPPORTED of vkGetPhysicalDeviceImageFormatProperties2, for no handle type";
        Finding::new(format!("{what}: the modifier list says so, but no such image is supported"))
            .row("object", gpu.object(&what))
            .row("listed", entry.to_string())
            .row("says", refused)
    });
    let shared = gpu.image_support(fourcc, tiling, uses, HandleType::DmaBuf)?.is_some();
    let unasked = gpu.is_possible(fourcc, tiling, uses, Some(HandleType::DmaBuf))?;
    cx.claim(format!("{what}: with and without properties"), shared == unasked, || {
        let answer = |supported| if supported { "supported" } else { "VK_ERROR_FORMAT_NOT_SUPPORTED" };
        Finding::new(format!("{what}: whether it is supported as dma-buf depends on what else is asked"))
            .row("object", gpu.object(&what))
            .row("with", format!("{} with VkExternalImageFormatProperties in the chain", answer(shared)))
            .row("without", answer(unasked))
    });
    Ok(())
}

/// The size in which a format is tried.
fn size_of(fourcc: Fourcc) -> Size {
    if fourcc.yuv().is_some() { YUV_SIZE } else { SIZE }
}

/// Whether an image with this modifier was made for `uses`; what is wrong with it is a finding of the case.
fn can_be_made(
    cx: &mut Cx,
    gpu: &Gpu,
    fourcc: Fourcc,
    entry: &ModifierSupport,
    (name, uses): (&str, Features),
) -> Result<bool, Trouble> {
    let tiling = Tiling::Modifier(entry.modifier);
    let what = format!("{fourcc} {}, {name}", entry.modifier);
    let Some(support) = gpu.image_support(fourcc, tiling, uses, HandleType::DmaBuf)? else {
        // As dma-buf; that it can be made at all is not claimed for dma-bufs.
        cx.fact("not as dma-buf", &what);
        return Ok(false);
    };
    if !support.exportable {
        cx.fact("not exported", &what);
        return Ok(false);
    }
    let layout = Layout::Modifiers(vec![entry.modifier]);
    let export = vec![HandleType::DmaBuf];
    let request = ImageRequest { size: size_of(fourcc), fourcc, layout, room: Room::Dedicated, export };
    let image = match gpu.prepare_image(&request, uses).and_then(|unbound| unbound.bind()) {
        Ok(image) => image,
        Err(error) => {
            cx.claim(&what, false, || {
                Finding::new(format!("{what}: listed and supported, but it can't be made"))
                    .row("object", gpu.object(&what))
                    .row("why", error.to_string())
            });
            return Ok(false);
        }
    };
    let shared = image.export_dmabuf()?;
    if support.importable {
        // The image's memory types and those of the dma-buf have one in common, since its own device exported it.
        let imported = gpu.import_image(&shared, &ImportRequest { dedicated: true, ..ImportRequest::default() });
        cx.claim(format!("{what}: import by its own device"), imported.is_ok(), || {
            let why = imported.err().map_or_else(String::new, |error| error.to_string());
            Finding::new(format!("{what}: its own device does not import it again"))
                .row("object", gpu.object(&what))
                .row("why", why)
        });
    }
    if entry.modifier == Modifier::LINEAR && lie_apart(cx, &shared.frame, &what) {
        lies_where_it_says(cx, gpu, &image, shared, &what)?;
    }
    Ok(true)
}

/// Whether the planes of `frame` lie apart, as the layout query tells it; a finding of the case if they don't.
fn lie_apart(cx: &mut Cx, frame: &Frame, what: &str) -> bool {
    let apart = match frame.rows() {
        Ok(rows) => !rows
            .iter()
            .enumerate()
            .any(|(n, one)| rows[..n].iter().any(|other| one.offset < other.end && other.offset < one.end)),
        Err(_) => false,
    };
    cx.claim(format!("{what}: planes apart"), apart, || {
        Finding::new(format!("{what}: the layout query lays planes over each other")).row("frame", frame.to_string())
    });
    apart
}

/// What the device writes the CPU finds in the frame that the layout query told, and the other way round.
fn lies_where_it_says(cx: &mut Cx, gpu: &Gpu, image: &Image, shared: SharedFrame, what: &str) -> Result<(), Trouble> {
    let (fourcc, features) = (image.fourcc(), image.features());
    let buffer = cx.publish(Guest::Gpu(gpu), shared)?;
    let [first, second, third] = [1, 2, 3].map(|stamp| Pattern { stamp }.picture(fourcc, size_of(fourcc)));
    // In YUV nobody draws, and sampling converts.
    let is_rgb = fourcc.pixel().is_some();
    if features.draw && is_rgb {
        image.draw_pattern(1)?;
        cx.cpu_sees(&buffer, &first?.into())?;
    }
    if features.copy_to {
        let second = second?;
        image.upload(&second)?;
        cx.cpu_sees(&buffer, &second.into())?;
    }
    image.hand_over()?;
    let target = third?;
    cx.cpu_writes(&buffer, &target)?;
    let target = Target::from(target);
    if features.copy_from {
        cx.sees(format!("{what}: copied out"), &target, &image.read_back()?)?;
    }
    if features.sample && is_rgb {
        cx.sees(format!("{what}: sampled"), &target, &image.sampled_picture()?)?;
    }
    Ok(())
}
