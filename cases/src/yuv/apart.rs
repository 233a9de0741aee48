//! Frames whose planes come with an fd each: of dma-bufs of their own, or of one.

use handover::dmabuf::SharedPlanes;
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::heap::Heaps;
use handover::share::parts::Parts;
use handover::yuv::Colours;

use super::{SIZE, STAMP, add, bytes_of, laid};
use crate::drivers::{LAVAPIPE_26_ALONE, LAVAPIPE_26_BELOW, LAYER, crashes};
use crate::screen;

/// What looks at a frame.
const READERS: [Role; 3] = [Cpu, Gles, Screen];

/// In two planes and in three.
const FORMATS: [Fourcc; 2] = [Fourcc::NV12, Fourcc::YU12];

/// Where the planes of an image are those of its format, and where they are those of its memory.
const TILINGS: [(&str, Tiling); 2] = [("linear", Tiling::Linear), ("modifier", Tiling::Modifier(Modifier::LINEAR))];

const MEMORY_PLANES: &str = "cases/findings/lavapipe-memory-planes.md";

pub(super) fn register(cases: &mut Cases<Cx>) {
    for (reader, fourcc) in READERS.into_iter().flat_map(|reader| FORMATS.map(|fourcc| (reader, fourcc))) {
        let shown = reader == Screen && fourcc == Fourcc::YU12;
        let name = format!("arrives_with_a_dma_buf_per_plane::{reader}::{fourcc}");
        let case = add(cases, &name, reader, fourcc, Colours::FULL, looks_at_several);
        if reader == Screen {
            screen::adds_the_offset_twice(case, fourcc);
        }
        if shown {
            case.must_fail_under("addfb2-chroma-swapped");
        }
        if (reader, fourcc) == (Gles, Fourcc::NV12) {
            case.must_fail_under("egl-first-plane-fd");
        }
        let name = format!("arrives_with_an_fd_per_plane_of_one_dma_buf::{reader}::{fourcc}");
        let case = add(cases, &name, reader, fourcc, Colours::FULL, looks_at_one);
        if shown {
            case.must_fail_under("addfb2-chroma-swapped");
        }
        let name = format!("stays_whole_when_one_plane_moves::{reader}::{fourcc}");
        let case = add(cases, &name, reader, fourcc, Colours::FULL, looks_when_one_moved);
        if reader == Screen {
            screen::adds_the_offset_twice(case, fourcc);
        } else if (reader, fourcc) == (Cpu, Fourcc::NV12) {
            case.must_fail_under("move-loses-contents");
        }
    }
    for (gpu, fourcc) in [GpuA, GpuB].into_iter().flat_map(|gpu| FORMATS.map(|fourcc| (gpu, fourcc))) {
        let format = fourcc.to_string();
        for (name, tiling) in TILINGS {
            // Where the worker dies of it, once is enough.
            if tiling != Tiling::Linear && fourcc != Fourcc::NV12 {
                continue;
            }
            let name = format!("yuv::a_disjoint_image_is_a_dma_buf_per_plane::{gpu}::{fourcc}_{name}");
            let case = cases.add(name, move |cx| hands_planes_out(cx, gpu, fourcc, tiling)).from(gpu).to(Cpu);
            case.needs(Need::Exports { role: gpu, format: format.clone() });
            match tiling {
                Tiling::Modifier(_) => {
                    crashes_in_the_layer(case);
                    crashes(case, LAVAPIPE_26_ALONE, MEMORY_PLANES, "libc.so")
                }
                _ if gpu == GpuB => case.must_fail_under("disjoint-bound-to-first"),
                _ => case,
            };
        }
    }
    for gpu in [GpuA, GpuB] {
        let name = format!("yuv::a_disjoint_image_takes_a_dma_buf_per_plane::{gpu}");
        let case = cases.add(name, move |cx| takes_planes_in(cx, gpu)).from(Udmabuf).to(gpu);
        case.needs(Need::Imports { role: gpu, format: Fourcc::NV12.to_string() });
        crashes_in_the_layer(case);
        case.known(LAVAPIPE_26_ALONE, MEMORY_PLANES, "where the device says that the planes lie");
    }
}

/// Lists `case` as one that the validation layer crashes before the driver fails it.
fn crashes_in_the_layer(case: &mut Case<Cx>) {
    for on in LAVAPIPE_26_BELOW {
        crashes(case, on, "cases/findings/layer-memory-planes.md", LAYER);
    }
}

/// What was drawn into `parts` is what `reader` sees, and the CPU.
fn seen(cx: &mut Cx, reader: Role, parts: &Parts, colours: Colours) -> Outcome {
    let target = drawn(cx, parts)?;
    looks(cx, reader, parts, colours, &target)?;
    cx.agree()
}

/// The CPU draws into `parts`, over the frame before.
fn drawn(cx: &mut Cx, parts: &Parts) -> Result<Target, Trouble> {
    let target = Target::stamped(STAMP, parts.wish().fourccs[0], SIZE)?;
    for picture in target.before.iter().chain([&target.picture]) {
        cx.cpu_writes_parts(parts, picture)?;
    }
    Ok(target)
}

fn looks(cx: &mut Cx, reader: Role, parts: &Parts, colours: Colours, target: &Target) -> Outcome {
    cx.cpu_sees_parts(parts, target)?;
    match reader {
        Gles => cx.gles_sees_parts(parts, colours, target),
        Screen => cx.screen_shows_parts(parts, colours, target),
        _ => Ok(()),
    }
}

/// Planes in dma-bufs of two exporters, each from a byte of its own on: `4096 * n` for plane n.
fn several(cx: &mut Cx, fourcc: Fourcc) -> Result<Parts, Trouble> {
    let mut parts = Parts::export(fourcc, SIZE, |_| Heaps::default())?;
    if let Parts::Several { buffers, .. } = &mut parts {
        for (n, (buffer, plane)) in buffers.iter_mut().zip(laid(fourcc)?.planes).enumerate() {
            let heap = cx.heap(if n == 0 { Udmabuf } else { DmaHeap })?;
            let plane = Plane { offset: 4096 * n as u64, ..plane };
            // Enough for a device that takes the offset twice, another plane for this one, or memory for all of them for each.
            let bytes = plane.offset * 2 + laid(fourcc)?.end()? + 4 * super::PITCH;
            let Wish { fourccs, size } = buffer.wish();
            let frame = Frame::linear(fourccs[0], *size, plane);
            let offer = heap.offer().clone();
            let storage = heap.allocate(&Agreement { heap: offer.heap.clone(), frame, bytes })?;
            *buffer = cx.lend(storage, offer)?;
        }
    }
    Ok(parts)
}

/// None of the planes is taken for another.
fn looks_at_several(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours) -> Outcome {
    let parts = several(cx, fourcc)?;
    seen(cx, reader, &parts, colours)
}

/// Planes lie in one dma-buf, and come with an fd each.
fn looks_at_one(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours) -> Outcome {
    let frame = laid(fourcc)?;
    let heap = cx.heap(Udmabuf)?;
    let bytes = frame.end()? + 4 * super::PITCH;
    let shared = SharedFrame { frame, ..bytes_of(heap.as_ref(), bytes)? };
    let parts = Parts::One(cx.publish_memory(Udmabuf, shared)?);
    seen(cx, reader, &parts, colours)
}

/// The storage of the last plane moves to another heap's, and that of the others stays; what the frame shows is the same.
fn looks_when_one_moved(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours) -> Outcome {
    let (scattered, kernel) = (cx.heap(Udmabuf)?, cx.heap(DmaHeap)?);
    let parts = Parts::export(fourcc, SIZE, |_| Heaps::new([scattered.clone(), kernel.clone()]))?;
    let target = drawn(cx, &parts)?;
    let Some((last, others)) = parts.buffers().split_last() else { return cx.agree() };
    last.relocate(handover::share::buffer::PATIENCE)?;
    cx.equals("which storage the last plane has", 2, last.generation());
    for (n, other) in others.iter().enumerate() {
        cx.equals(format!("which storage plane {n} has"), 1, other.generation());
    }
    looks(cx, reader, &parts, colours, &target)?;
    cx.agree()
}

/// Skips where the device says that it has no such images.
fn can_lie_apart(gpu: &Gpu, fourcc: Fourcc, tiling: Tiling) -> Outcome {
    match gpu.can_lie_apart(fourcc, tiling, gpu.features(fourcc, tiling)?)? {
        true => Ok(()),
        false => Err(Trouble::Skip(format!("it does not bind the planes of {fourcc} with {tiling} one by one"))),
    }
}

/// Each plane of an image that a GPU makes is handed out by itself, and holds what the GPU copied to that plane.
fn hands_planes_out(cx: &mut Cx, gpu: Role, fourcc: Fourcc, tiling: Tiling) -> Outcome {
    let device = cx.gpu(gpu)?;
    let layout = match tiling {
        Tiling::Modifier(modifier) => Layout::Modifiers(vec![modifier]),
        _ => Layout::Linear,
    };
    can_lie_apart(&device, fourcc, tiling)?;
    let image = device.create_disjoint(fourcc, SIZE, &layout)?;
    let parts = cx.publish_planes(Guest::Gpu(&device), image.export_planes()?)?;
    let target = Target::stamped(STAMP, fourcc, SIZE)?;
    image.hand_over()?;
    if let Some(before) = &target.before {
        cx.cpu_writes_parts(&parts, before)?;
    }
    let before = bytes_of_planes(cx, &parts)?;
    image.upload(&target.picture)?;
    for (n, (before, after)) in before.iter().zip(bytes_of_planes(cx, &parts)?).enumerate() {
        cx.claim(format!("what is copied to plane {n} reaches its dma-buf"), *before != after, || {
            Finding::new(format!("nothing of what is copied to plane {n} reaches the dma-buf of plane {n}"))
                .row("object", parts.buffers()[n].wish().fourccs[0])
                .row("like", "planes of the image that are bound to the memory of another one")
        });
    }
    cx.cpu_sees_parts(&parts, &target)?;
    cx.sees(format!("{gpu}, whose image it is,"), &target, &image.read_back()?)?;
    cx.agree()
}

/// All bytes of the dma-buf of each plane.
fn bytes_of_planes(cx: &mut Cx, parts: &Parts) -> Result<Vec<Vec<u8>>, Trouble> {
    cx.mapped_parts(&Guest::Cpu, parts, Access::Read, |_, split| {
        let all = (0..split.frame().planes.len()).map(|n| split.dmabuf_of(n));
        Ok(all.map(|dmabuf| dmabuf.map()?.read(0..dmabuf.size)).collect::<Result<_, _>>()?)
    })
}

/// An image takes its planes from dma-bufs of two exporters.
fn takes_planes_in(cx: &mut Cx, gpu: Role) -> Outcome {
    let (device, fourcc) = (cx.gpu(gpu)?, Fourcc::NV12);
    can_lie_apart(&device, fourcc, Tiling::Modifier(Modifier::LINEAR))?;
    let parts = several(cx, fourcc)?;
    let target = drawn(cx, &parts)?;
    cx.cpu_sees_parts(&parts, &target)?;
    cx.mapped_parts(&Guest::Gpu(&device), &parts, Access::Read, |cx, split| {
        let told = device.import_disjoint(split)?.frame()?;
        cx.equals("where the device says that the planes lie", split.frame().clone(), told);
        Ok(())
    })?;
    // Of one that takes a plane for another nobody can say what its copy would touch.
    if !cx.disagrees() {
        cx.gpu_sees_parts(gpu, &device, &parts, Tiling::Modifier(Modifier::LINEAR), &target)?;
    }
    cx.agree()
}
