//! Frames in YUV beyond what the matrix has of them: every format that a device lists, every way to convert, and an fd for each
//! plane, of one dma-buf or of several.

use handover::dmabuf::{SharedPlanes, SplitFrame};
use handover::prelude::*;
use handover::yuv::Colours;

const SIZE: Size = px(250, 130);

/// A row and some padding, for the first plane.
const PITCH: u64 = 320;

/// What is seen must be this frame; the one before is in the buffer first.
const STAMP: u32 = 7;

/// What looks at a frame.
const READERS: [Role; 3] = [Cpu, Gles, Screen];

/// Who looks, at what, told how: or a skip.
type Look = fn(&mut Cx, Role, Fourcc, Colours) -> Outcome;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for reader in [Gles, Screen] {
        for fourcc in Fourcc::all_yuv() {
            add(cases, &format!("converts_what_it_lists::{reader}::{fourcc}"), reader, fourcc, Colours::VIDEO, looks);
        }
        for colours in Colours::ALL {
            // Without sub-sampling, so that nothing but the conversion can differ.
            let name = format!("converts_as_it_is_told::{reader}::{colours}");
            add(cases, &name, reader, Fourcc::NV24, colours, looks);
        }
    }
    for (reader, fourcc) in READERS.into_iter().flat_map(|reader| [Fourcc::NV12, Fourcc::YU12].map(|f| (reader, f))) {
        let name = format!("arrives_with_a_dma_buf_per_plane::{reader}::{fourcc}");
        let case = add(cases, &name, reader, fourcc, Colours::VIDEO, looks_at_several);
        if reader == Screen {
            case.known("vkms", "cases/findings/vkms-offset-twice.md", "screen (writeback) does not see");
        }
        let name = format!("arrives_with_an_fd_per_plane_of_one_dma_buf::{reader}::{fourcc}");
        add(cases, &name, reader, fourcc, Colours::VIDEO, looks_at_one);
    }
}

fn add<'c>(
    cases: &'c mut Cases<Cx>,
    claim: &str,
    reader: Role,
    fourcc: Fourcc,
    colours: Colours,
    look: Look,
) -> &'c mut Case<Cx> {
    let case = cases.add(format!("yuv::{claim}"), move |cx| look(cx, reader, fourcc, colours));
    let case = case.from(Udmabuf).to(reader);
    if reader == Screen { case.needs(Need::Writeback) } else { case }
        .needs(Need::Imports { role: reader, format: fourcc.to_string() })
}

/// A device that lists a format converts every pixel of it, as it is told.
fn looks(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours) -> Outcome {
    let target = Target::stamped(STAMP, fourcc, SIZE)?;
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Cpu])?;
    for picture in target.before.iter().chain([&target.picture]) {
        cx.cpu_writes(&buffer, picture)?;
    }
    cx.cpu_sees(&buffer, &target)?;
    if reader == Gles {
        cx.gles_sees_yuv(&buffer, colours, &target)?;
    } else {
        cx.screen_shows(&[(Layer { colours, ..Layer::whole(&buffer) }, &target)])?;
    }
    cx.agree()
}

/// Planes lie in dma-bufs of two exporters, each from a byte of its own on, and none is taken for another.
fn looks_at_several(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours) -> Outcome {
    let mut frame = laid(fourcc)?;
    let mut dmabufs = Vec::new();
    for (n, plane) in frame.planes.iter_mut().enumerate() {
        plane.offset = 4096 * n as u64;
        let heap = cx.heap(if n == 0 { Udmabuf } else { DmaHeap })?;
        // Enough for a device that takes the offset twice, or another plane for this one.
        let bytes = plane.offset * 2 + plane.pitch * (u64::from(SIZE.height) + 4);
        dmabufs.push(bytes_of(heap.as_ref(), bytes)?.dmabuf);
    }
    seen(cx, reader, &SplitFrame::new(frame, dmabufs)?, colours)
}

/// Planes lie in one dma-buf, and come with an fd each.
fn looks_at_one(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours) -> Outcome {
    let frame = laid(fourcc)?;
    let heap = cx.heap(Udmabuf)?;
    let bytes = frame.end()? + 4 * PITCH;
    let shared = SharedFrame { frame, ..bytes_of(heap.as_ref(), bytes)? };
    seen(cx, reader, &SplitFrame::of_one(&shared)?, colours)
}

/// The frame as it lies where nothing else is said.
fn laid(fourcc: Fourcc) -> Result<Frame, Trouble> {
    let frame = Frame::contiguous(fourcc, SIZE, Plane { offset: 0, pitch: PITCH });
    frame.ok_or_else(|| Finding::new(format!("the planes of {fourcc} are not known")).into())
}

/// A buffer of `bytes` bytes, with a frame of one byte in it.
fn bytes_of(heap: &dyn Heap, bytes: u64) -> Result<SharedFrame> {
    let frame = Frame::linear(Fourcc::R8, px(1, 1), Plane { offset: 0, pitch: 1 });
    Ok(heap.allocate(&Agreement { heap: heap.offer().heap.clone(), frame, bytes })?.shared)
}

/// What was drawn into `split` is what `reader` sees, and the CPU.
fn seen(cx: &mut Cx, reader: Role, split: &SplitFrame, colours: Colours) -> Outcome {
    let target = Target::stamped(STAMP, split.frame().fourcc, SIZE)?;
    for picture in target.before.iter().chain([&target.picture]) {
        split.write(picture)?;
    }
    cx.cpu_sees_split(split, &target)?;
    match reader {
        Gles => cx.gles_sees_split(split, colours, &target)?,
        Screen => cx.screen_shows_split(split, colours, &target)?,
        _ => {}
    }
    cx.agree()
}
