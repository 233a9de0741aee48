//! Frames in YUV beyond what the matrix has of them: every format that a device lists, every way to convert, and an fd for each
//! plane, of one dma-buf or of several.

use handover::ends::{Importer, importers};
use handover::prelude::*;
use handover::yuv::planes::split;
use handover::yuv::{Colours, Encoding, Range, without_colour};

use crate::drivers::LLVMPIPE_GL;

mod apart;

const SIZE: Size = px(250, 130);

/// For formats of which four pixels share a sample, each way.
const QUARTERED: Size = px(252, 132);

/// A row of any of the formats and some padding, so that no plane begins where a GPU would not have it.
const PITCH: u64 = 576;

/// What is seen must be this frame; the one before is in the buffer first.
const STAMP: u32 = 7;

/// What Vulkan has a format for, in two planes, three and one.
const GPU_FORMATS: [Fourcc; 5] = [Fourcc::NV12, Fourcc::NV16, Fourcc::YU12, Fourcc::P010, Fourcc::YUYV];

/// In both ranges, whose middles of chroma are the same.
const GREYS: [Colours; 2] = [Colours::VIDEO, Colours::FULL];

/// Who looks, at what, told how: or a skip.
type Look = fn(&mut Cx, Role, Fourcc, Colours) -> Outcome;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for reader in [Gles, Screen] {
        for fourcc in Fourcc::all_yuv() {
            let name = format!("converts_what_it_lists::{reader}::{fourcc}");
            let case = add(cases, &name, reader, fourcc, Colours::FULL, looks);
            known_of_words(case, reader, fourcc);
            if reader == Screen && [Fourcc::NV12, Fourcc::YU12].contains(&fourcc) {
                case.must_fail_under("addfb2-chroma-swapped");
            }
            if reader == Gles && [Fourcc::NV12, Fourcc::YU12].contains(&fourcc) {
                case.must_fail_under("egl-chroma-swapped");
            }
        }
        for colours in Colours::ALL {
            // Without sub-sampling, so that nothing but the conversion can differ.
            let name = format!("converts_as_it_is_told::{reader}::{colours}");
            let case = add(cases, &name, reader, Fourcc::NV24, colours, looks);
            if reader == Screen {
                case.must_fail_under("colour-range-ignored");
            }
            // What is done without a word is BT.601 in the limited range.
            if reader == Screen && colours.encoding != Encoding::Bt601 {
                case.must_fail_under("colour-encoding-ignored");
            }
            if reader == Gles && colours != Colours::VIDEO {
                case.must_fail_under("egl-hints-ignored");
            }
            if reader == Screen && colours.range == Range::Limited {
                case.known(
                    "vkms",
                    "cases/findings/vkms-limited-range.md",
                    "converts NV24 with limited range scaled by 256 for 255",
                );
            }
        }
    }
    for reader in [Gles, Screen] {
        for fourcc in [Fourcc::NV12, Fourcc::NV16, Fourcc::YU12] {
            let name = format!("converts_an_odd_size::{reader}::{fourcc}");
            let case = add(cases, &name, reader, fourcc, Colours::FULL, looks_at_odd);
            if reader == Gles {
                case.known(LLVMPIPE_GL, "cases/findings/mesa-odd-chroma.md", "gles (external texture) does not see");
            }
            if (reader, fourcc) == (Screen, Fourcc::YU12) {
                case.must_fail_under("addfb2-chroma-swapped");
            }
        }
        for (fourcc, colours) in [Fourcc::NV12, Fourcc::P010].into_iter().flat_map(|f| GREYS.map(|c| (f, c))) {
            let name = format!("grey_is_grey::{reader}::{fourcc}_{colours}");
            let case = add(cases, &name, reader, fourcc, colours, looks_at_grey);
            match (fourcc, reader) {
                (Fourcc::P010, Gles) => case.known(LLVMPIPE_GL, "cases/findings/mesa-p010-grey.md", "with a tint"),
                (Fourcc::P010, _) => case.known("vkms", "cases/findings/vkms-p010-grey.md", "with a tint"),
                (_, Gles) if colours == Colours::FULL => {
                    case.must_fail_under("egl-chroma-offset-ignored").must_fail_under("egl-hints-ignored")
                }
                (_, Gles) => case.must_fail_under("egl-chroma-offset-ignored"),
                _ => case.must_fail_under("colour-range-ignored"),
            };
        }
    }
    for (name, size) in [("even", px(34, 18)), ("odd", px(34, 17))] {
        let name = format!("yuv::a_framebuffer_ends_within_its_buffer::{name}_height");
        cases
            .add(name, move |cx| framebuffer_ends_within(cx, size))
            .must_fail_under("addfb2-unchecked")
            .from(Udmabuf)
            .to(Screen)
            .needs(Need::Imports { role: Screen, format: Fourcc::NV12.to_string() });
    }
    for to in importers().into_iter().filter(|to| [GpuA, GpuB, Gles].contains(&to.role())) {
        for fourcc in [Fourcc::NV12, Fourcc::P010] {
            let name = format!("yuv::planes_arrive_one_by_one::{}::{fourcc}", to.role());
            let case = cases.add(name, move |cx| planes_arrive(cx, to, fourcc)).from(Udmabuf).to(to.role());
            if (to.role(), fourcc) == (GpuA, Fourcc::NV12) {
                case.must_fail_under("import-offset-rounded");
            }
        }
    }
    for (gpu, fourcc) in [GpuA, GpuB].into_iter().flat_map(|gpu| GPU_FORMATS.map(|fourcc| (gpu, fourcc))) {
        let name = format!("passes_through_a_gpu::{gpu}::{fourcc}");
        let case = add(cases, &name, gpu, fourcc, Colours::FULL, looks);
        if (gpu, fourcc) == (GpuB, Fourcc::NV12) {
            case.must_fail_under("second-plane-lost").must_fail_under("planes-refused");
        }
    }
    apart::register(cases);
}

/// What is known of devices that `case` has look at a frame of components in the upper bits of words: every pixel is to the bit
/// what that mistake makes of it. Mesa sees nothing in two formats of one plane.
pub(crate) fn known_of_words(case: &mut Case<Cx>, reader: Role, fourcc: Fourcc) {
    let is_of_words = fourcc.yuv().is_some_and(|yuv| yuv.bytes * 8 == yuv.bits + yuv.below && yuv.bytes == 2);
    let is_unseen = [Fourcc::Y210, Fourcc::new(b"Y216")].contains(&fourcc);
    let how = format!("converts {fourcc} as if its words were bytes widened by repetition");
    match reader {
        Gles if is_unseen => case.known(LLVMPIPE_GL, "cases/findings/mesa-y210-nothing.md", "does not see the target"),
        Gles if is_of_words => case.known(LLVMPIPE_GL, "cases/findings/mesa-p010-grey.md", &how),
        Screen if is_of_words => case.known("vkms", "cases/findings/vkms-p010-grey.md", &how),
        _ => case,
    };
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
    let odd = |across: u32, down: u32| !SIZE.width.is_multiple_of(across) || !SIZE.height.is_multiple_of(down);
    let is_odd = fourcc.planes().is_some_and(|planes| planes.iter().any(|plane| odd(plane.across, plane.down)));
    looks_at(cx, reader, fourcc, colours, if is_odd { QUARTERED } else { SIZE })
}

/// The last column and the last row have a sample of chroma of their own.
fn looks_at_odd(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours) -> Outcome {
    looks_at(cx, reader, fourcc, colours, px(33, 17))
}

/// A picture without colour has none after the conversion, and is as light as it was.
fn looks_at_grey(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours) -> Outcome {
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Cpu])?;
    let grey = Target::from(without_colour(&Pattern { stamp: STAMP }.picture(fourcc, SIZE)?)?);
    cx.cpu_writes(&buffer, &grey.picture)?;
    cx.cpu_sees(&buffer, &grey)?;
    cx.shows_grey(reader, &buffer, colours, &grey.picture)?;
    cx.agree()
}

fn looks_at(cx: &mut Cx, reader: Role, fourcc: Fourcc, colours: Colours, size: Size) -> Outcome {
    let target = Target::stamped(STAMP, fourcc, size)?;
    let buffer = cx.udmabuf(fourcc, size, &[Guest::Cpu])?;
    for picture in target.before.iter().chain([&target.picture]) {
        cx.cpu_writes(&buffer, picture)?;
    }
    cx.cpu_sees(&buffer, &target)?;
    match reader {
        Gles => cx.gles_sees_yuv(&buffer, colours, &target)?,
        Screen => cx.screen_shows(&[(Layer { colours, ..Layer::whole(&buffer) }, &target)])?,
        gpu => {
            let device = cx.gpu(gpu)?;
            cx.gpu_sees(gpu, &device, &buffer, &ImportRequest::default(), &target)?;
        }
    }
    cx.agree()
}

/// A framebuffer whose last row of chroma lies behind the end of its buffer is refused, and one with the row inside is taken.
/// Nothing is shown.
fn framebuffer_ends_within(cx: &mut Cx, size: Size) -> Outcome {
    const BYTES: u64 = 65536;
    let heap = cx.heap(Udmabuf)?;
    let contiguous = Frame::contiguous(Fourcc::NV12, size, Plane { offset: 0, pitch: PITCH });
    let frame = contiguous.ok_or_else(|| Finding::new("the planes of NV12 are not known"))?;
    let rows = frame.rows()?[1].count;
    for (inside, rows_inside) in [(true, rows), (false, rows - 1)] {
        let mut frame = frame.clone();
        frame.planes[1].offset = BYTES - rows_inside * PITCH;
        let shared = SharedFrame { frame, ..bytes_of(heap.as_ref(), BYTES)? };
        let taken = cx.screen()?.takes(&shared)?;
        let what = if inside { "a frame that ends within its buffer" } else { "a frame that ends behind its buffer" };
        cx.claim(what, taken == inside, || {
            Finding::new(format!("{what} was {}", if taken { "taken as a framebuffer" } else { "refused" }))
                .row("frame", shared.to_string())
                .row("end", format!("{rows_inside} of {rows} rows of plane 1 lie in the buffer"))
        });
    }
    cx.agree()
}

/// A device that does not convert takes each plane in by itself, as a frame of one or two components that begins where the
/// plane does.
fn planes_arrive(cx: &mut Cx, to: &'static dyn Importer, fourcc: Fourcc) -> Outcome {
    let frame = laid(fourcc)?;
    let heap = cx.heap(Udmabuf)?;
    let target = Target::stamped(STAMP, fourcc, SIZE)?;
    // Some work in blocks of rows.
    let whole = SharedFrame { frame: frame.clone(), ..bytes_of(heap.as_ref(), frame.end()? + 8 * PITCH)? };
    for picture in target.before.iter().chain([&target.picture]) {
        whole.write(picture)?;
    }
    for (n, (picture, plane)) in split(&target.picture)?.into_iter().zip(&frame.planes).enumerate() {
        let frame = Frame::linear(picture.fourcc, picture.size, *plane);
        let alone = SharedFrame { dmabuf: whole.dmabuf.try_clone()?, frame };
        let buffer = cx.publish_memory(format!("plane {n}"), alone)?;
        to.import(cx, &buffer)?.sees(cx, &Target::from(picture))?;
    }
    cx.agree()
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
