//! Frames whose planes come in dma-bufs of their own: a GPU takes them in as one image, each plane of which is bound to another
//! memory (`VK_IMAGE_CREATE_DISJOINT_BIT`).
//!
//! Of linear tiling, where the GPU itself says how rows lie. With a modifier the exporter tells it, which
//! `yuv::a_disjoint_image_takes_a_dma_buf_per_plane` is about.

use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::heap::Heaps;
use handover::share::parts::Parts;
use handover::yuv::Colours;

use super::{FIRST, GPUS, SIZES, is_vkms};

/// Who only has memory.
const HEAPS: [Role; 2] = [Udmabuf, DmaHeap];

/// In two planes and in three.
const FOURCCS: [Fourcc; 2] = [Fourcc::NV12, Fourcc::YU12];

const SIZE: Size = SIZES[0];

/// Memory behind a plane, for a device that asks for as much as the whole frame needs.
const BEHIND: u64 = 65536;

pub(super) fn register(cases: &mut Cases<Cx>) {
    for (from, to) in HEAPS.into_iter().flat_map(|from| GPUS.map(|to| (from, to))) {
        for fourcc in FOURCCS {
            let name = format!("matrix::arrives_with_a_dma_buf_per_plane::{from}_to_{to}::{fourcc}");
            let case = cases.add(name, move |cx| arrives(cx, from, to, fourcc)).from(from).to(to);
            case.needs(Need::Imports { role: to, format: fourcc.to_string() });
            if to == GpuB {
                case.must_fail_under("disjoint-bound-to-first");
            }
            if (from, to, fourcc) == (Udmabuf, GpuB, Fourcc::NV12) {
                case.must_fail_under("egl-first-plane-fd");
            }
        }
    }
}

/// What the CPU draws into as many buffers as there are planes the GPU sees in one image, and no plane in the place of another; and so
/// does one who converts it.
fn arrives(cx: &mut Cx, from: Role, to: Role, fourcc: Fourcc) -> Outcome {
    let gpu = cx.gpu(to)?;
    if !gpu.can_lie_apart(fourcc, Tiling::Linear, gpu.features(fourcc, Tiling::Linear)?)? {
        return Err(Trouble::Skip(format!("it does not bind the planes of {fourcc} with linear tiling one by one")));
    }
    // An image of its own tells where the planes of such images lie.
    let own = missing_is_skip(gpu.create_disjoint(fourcc, SIZE, &Layout::Linear))?.frame()?;
    let mut parts = Parts::export(fourcc, SIZE, |_| Heaps::default())?;
    let heap = cx.heap(from)?;
    if let Parts::Several { buffers, .. } = &mut parts {
        for (buffer, plane) in buffers.iter_mut().zip(&own.planes) {
            let Wish { fourccs, size } = buffer.wish();
            let frame = Frame::linear(fourccs[0], *size, *plane);
            let bytes = frame.end()? + BEHIND;
            let offer = heap.offer().clone();
            let storage = heap.allocate(&Agreement { heap: offer.heap.clone(), frame, bytes })?;
            *buffer = cx.lend(storage, offer)?;
        }
    }
    let target = Target::stamped(FIRST, fourcc, SIZE)?;
    for picture in target.before.iter().chain([&target.picture]) {
        cx.cpu_writes_parts(&parts, picture)?;
    }
    cx.cpu_sees_parts(&parts, &target)?;
    cx.gpu_sees_parts(to, &gpu, &parts, Tiling::Linear, &target)?;
    is_converted(cx, &parts, &target)?;
    cx.agree()
}

/// The screen as one more reader, or OpenGL ES if that can't show it; why not, if it can't.
fn is_converted(cx: &mut Cx, parts: &Parts, target: &Target) -> Outcome {
    let mut whys = Vec::new();
    let mut seen = Ok(());
    for reader in [Screen, Gles] {
        seen = match lack_of(cx, reader, target.picture.fourcc) {
            Ok(Some(why)) => Err(Trouble::Skip(why)),
            Err(trouble) => Err(trouble),
            Ok(None) if reader == Screen => cx.screen_shows_parts(parts, Colours::FULL, target),
            Ok(None) => cx.gles_sees_parts(parts, Colours::FULL, target),
        };
        let Err(Trouble::Skip(why)) = seen else { break };
        whys.push(format!("{reader}: {why}"));
        seen = Ok(());
    }
    if !whys.is_empty() {
        cx.fact("not shown", whys.join("; "));
    }
    seen
}

fn lack_of(cx: &mut Cx, reader: Role, fourcc: Fourcc) -> Result<Option<String>, Trouble> {
    let lack = cx.lack_of(&Need::Imports { role: reader, format: fourcc.to_string() })?;
    if lack.is_none() && reader == Screen && is_vkms(cx)? {
        return Ok(Some("vkms reads all planes out of the dma-buf of the first one".to_owned()));
    }
    Ok(lack)
}
