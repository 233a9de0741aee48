//! What one Vulkan device draws, another sees: same driver or not, same process or not, image or buffer.
//!
//! All targets are computed, and the CPU looks at every dma-buf too: two devices that make the same mistake agree
//! with each other, but not with it.

use handover::compare::{Area, compare};
use handover::dmabuf::Edge;
use handover::prelude::*;
use handover::udmabuf;

use crate::drivers::{LAVAPIPE, LAVAPIPE_26, MADE_CODE, crashes};

const SIZE: Size = px(250, 130);

/// Memory behind the frame: llvmpipe works in blocks of 4 rows and touches those behind the last one.
const SLACK: Room = Room::SubAllocated { before: 0, after: 65536 };

/// No multiple of a page or of a workgroup.
const BUFFER_BYTES: u64 = 70_004;

/// Formats that are sampled: with alpha, without, in either order, and wider than 8 bits.
const SAMPLED: [Fourcc; 7] =
    [Fourcc::XR24, Fourcc::AR24, Fourcc::AB24, Fourcc::RG16, Fourcc::AB48, Fourcc::AB4H, Fourcc::R8];

/// The two ends of a handover.
#[derive(Clone, Copy)]
enum Route {
    /// To a second instance of the same driver.
    SecondInstance(Role),
    /// To the other driver.
    Device(Role, Role),
    /// To another process, which plays the second role.
    ToPeer(Role, Role),
    /// From another process, which plays the first role.
    FromPeer(Role, Role),
}

use Route::{Device, FromPeer, SecondInstance, ToPeer};

const ROUTES: &[(&str, Route)] = &[
    ("gpu_a_to_its_second_instance", SecondInstance(GpuA)),
    ("gpu_b_to_its_second_instance", SecondInstance(GpuB)),
    ("gpu_a_to_gpu_b", Device(GpuA, GpuB)),
    ("gpu_b_to_gpu_a", Device(GpuB, GpuA)),
    ("gpu_a_to_a_process_with_gpu_a", ToPeer(GpuA, GpuA)),
    ("gpu_a_to_a_process_with_gpu_b", ToPeer(GpuA, GpuB)),
    ("gpu_b_to_a_process_with_gpu_a", ToPeer(GpuB, GpuA)),
    ("a_process_with_gpu_b_to_gpu_a", FromPeer(GpuB, GpuA)),
    ("a_process_with_gpu_a_to_gpu_b", FromPeer(GpuA, GpuB)),
];

impl Route {
    fn ends(self) -> (Role, Role) {
        match self {
            SecondInstance(role) => (role, role),
            Device(from, to) | ToPeer(from, to) | FromPeer(from, to) => (from, to),
        }
    }
}

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for &(name, route) in ROUTES {
        let (from, to) = route.ends();
        for fourcc in [Fourcc::XR24, Fourcc::AB24, Fourcc::RG16, Fourcc::AB48, Fourcc::AB4H, Fourcc::R8] {
            let case = cases
                .add(format!("vulkan::image_arrives::{name}::{fourcc}"), move |cx| image_arrives(cx, route, fourcc))
                .from(from)
                .to(to)
                .needs(Need::Exports { role: from, format: fourcc.to_string() })
                .needs(Need::Imports { role: to, format: fourcc.to_string() });
            if let SecondInstance(role) = route {
                case.info.opens.push(format!("a second instance of {role}"));
            }
            if let SecondInstance(GpuA) = route {
                sees_faults_of_an_arrival(case, fourcc);
            }
        }
    }
    for (from, to) in [(GpuA, GpuB), (GpuB, GpuA)] {
        let pair = format!("{from}_to_{to}");
        let plain = NewFrame::of(Fourcc::XR24, SIZE);
        let frames = [
            ("dedicated", plain.clone(), OffsetBy::Layout),
            ("padded_pitch", plain.clone().padded(72).in_room(SLACK), OffsetBy::Layout),
            ("pitch_of_a_page", plain.clone().padded(4096 - 1000).in_room(SLACK), OffsetBy::Layout),
            ("neighbour_behind", plain.clone().in_room(SLACK), OffsetBy::Layout),
            (
                "offset_in_the_layout",
                plain.clone().in_room(Room::SubAllocated { before: 65536, after: 4096 }),
                OffsetBy::Layout,
            ),
            (
                "offset_in_the_binding",
                plain.clone().in_room(Room::SubAllocated { before: 65536, after: 4096 }),
                OffsetBy::Binding,
            ),
        ];
        for (layout, frame, offset_by) in frames {
            let case = cases
                .add(format!("vulkan::layout_is_honoured::{pair}::{layout}"), move |cx| {
                    layout_is_honoured(cx, (from, to), &frame, offset_by)
                })
                .from(from)
                .to(to);
            match (to, layout) {
                (GpuB, "dedicated") => case.must_fail_under("release-late").must_fail_under("red-blue-swapped"),
                (GpuA, "offset_in_the_layout") => case.must_fail_under("import-offset-ignored"),
                (GpuA, "offset_in_the_binding") => case.must_fail_under("image-bound-at-zero"),
                _ => case,
            };
        }
        let name = format!("vulkan::importer_draws_and_exporter_sees::{pair}");
        let case = cases.add(name, move |cx| importer_draws(cx, from, to)).from(from).to(to);
        match from {
            GpuA => case
                .must_fail_under("pitch-too-large")
                .must_fail_under("bottom-rows-lost")
                .must_fail_under("acquire-brings-back"),
            _ => case.must_fail_under("import-copies").must_fail_under("import-not-offered"),
        };
        let name = format!("vulkan::buffer_arrives::{pair}");
        let case = cases.add(name, move |cx| buffer_arrives(cx, from, to)).from(from).to(to);
        if from == GpuA {
            case.must_fail_under("buffer-bound-at-zero");
        }
    }
    for (gpu, fourcc) in [GpuA, GpuB].into_iter().flat_map(|gpu| SAMPLED.map(|fourcc| (gpu, fourcc))) {
        let name = format!("vulkan::samples_what_it_took_in::{gpu}::{fourcc}");
        let case = cases.add(name, move |cx| samples(cx, gpu, fourcc)).from(Udmabuf).to(gpu);
        if [Fourcc::AR24, Fourcc::AB24].contains(&fourcc) {
            case.must_fail_under(if gpu == GpuA { "srgb-decoded" } else { "alpha-one" });
        }
        if (gpu, fourcc) == (GpuA, Fourcc::AR24) {
            case.must_fail_under("swizzled-twice");
        }
    }
    for gpu in [GpuA, GpuB] {
        let name = format!("vulkan::a_sampler_sees_each_frame_in_turn::{gpu}");
        let case = cases.add(name, move |cx| samples_in_turn(cx, gpu)).from(Udmabuf).to(gpu);
        case.must_fail_under(if gpu == GpuA { "view-stale" } else { "acquire-stale" });
    }
    for gpu in [GpuA, GpuB] {
        let name = format!("vulkan::draws_with_any_pitch_it_accepts::{gpu}");
        let case = cases.add(name, move |cx| draws_with_any_pitch(cx, gpu)).from(gpu);
        case.must_fail_under("pitch-too-large").must_fail_under("import-pitch-rounded");
        crashes(case, LAVAPIPE, "cases/findings/llvmpipe-unaligned-pitch.md", MADE_CODE);
        let name = format!("vulkan::draws_to_a_frame_that_ends_with_its_buffer::{gpu}");
        let case = cases.add(name, move |cx| draws_the_last_row(cx, gpu)).from(Udmabuf).to(gpu);
        case.must_fail_under("memory-size-short").must_fail_under("tail-not-flushed");
        crashes(case, LAVAPIPE_26, "cases/findings/llvmpipe-rows-behind.md", MADE_CODE);
        let case = cases
            .add(format!("vulkan::opaque_image_arrives::{gpu}_to_its_second_instance"), move |cx| opaque_image(cx, gpu))
            .from(gpu)
            .to(gpu)
            .must_fail_under("opaque-import-separate");
        // Which no driver forgets with the image.
        case.info.opens.push(format!("drawing in the tiles of {gpu}"));
        cases
            .add(format!("vulkan::opaque_buffer_arrives::{gpu}_to_its_second_instance"), move |cx| {
                opaque_buffer(cx, gpu)
            })
            .from(gpu)
            .to(gpu)
            .must_fail_under("opaque-import-separate");
    }
}

/// The faults of `gpu_a` that a frame which it draws, hands to its second instance and shows the CPU is built to see.
fn sees_faults_of_an_arrival(case: &mut Case<Cx>, fourcc: Fourcc) {
    let faults: &[&str] = match fourcc {
        Fourcc::XR24 => &[
            "tail-not-flushed",
            "import-zero-fills",
            "import-wants-padding",
            "size-of-layout-zero",
            "memory-size-short",
            "memory-type-beyond-all",
            "plane-count-two",
            "modifier-reported-invalid",
        ],
        Fourcc::AB48 => &["pitch-in-pixels"],
        _ => &[],
    };
    for fault in faults {
        case.must_fail_under(fault);
    }
}

/// A drawn image crosses the route and is read at the far end and by the CPU.
fn image_arrives(cx: &mut Cx, route: Route, fourcc: Fourcc) -> Outcome {
    let (from, to) = route.ends();
    let (buffer, target) = match route {
        FromPeer(..) => {
            let shared = cx.peer(from)?.draw(fourcc, SIZE, 7)?;
            (cx.publish(Guest::Peer(from), shared)?, Target::stamped(7, fourcc, SIZE)?)
        }
        _ => {
            let gpu = cx.gpu(from)?;
            let drawn = cx.draw(&gpu, &NewFrame::of(fourcc, SIZE), 7)?;
            (drawn.buffer, drawn.target)
        }
    };
    cx.cpu_sees(&buffer, &target)?;
    let importer = match route {
        ToPeer(..) => {
            let seen = cx.mapped(&Guest::Peer(to), &buffer, Access::Read, |cx, shared| {
                Ok(cx.peer(to)?.read(shared, false)?)
            })?;
            cx.sees(format!("a process with {to}"), &target, &seen)?;
            return cx.agree();
        }
        SecondInstance(role) => cx.second_instance(role)?,
        Device(..) | FromPeer(..) => cx.gpu(to)?,
    };
    cx.gpu_sees(to, &importer, &buffer, &ImportRequest::default(), &target)?;
    cx.agree()
}

/// Pitch and offset of the exporter's layout are the importer's too, whichever of Vulkan's two offsets carries them.
fn layout_is_honoured(cx: &mut Cx, (from, to): (Role, Role), frame: &NewFrame, offset_by: OffsetBy) -> Outcome {
    let (exporter, importer) = (cx.gpu(from)?, cx.gpu(to)?);
    if offset_by == OffsetBy::Binding && demands_dedicated(&importer, frame.fourcc)? {
        return Err(Trouble::Skip(format!("{to} takes dedicated memory only, which is bound at 0")));
    }
    let drawn = cx.draw(&exporter, frame, 7)?;
    cx.cpu_sees_of(&format!("the cpu, when {from} has released to FOREIGN_EXT,"), &drawn.buffer, &drawn.target)?;
    let is_unseen = cx.disagrees();
    let how = ImportRequest { dedicated: frame.room == Room::Dedicated, offset_by };
    let reader = match (offset_by, frame.room) {
        (OffsetBy::Binding, _) => format!("{to}, whose image is bound behind the start of the memory,"),
        (OffsetBy::Layout, Room::SubAllocated { before: 1.., .. }) => {
            format!("{to}, whose image is told that its plane lies behind the start of the memory,")
        }
        _ => to.to_string(),
    };
    cx.gpu_sees(reader, &importer, &drawn.buffer, &how, &drawn.target)?;
    if is_unseen {
        cx.looks_again(from, &exporter, &drawn, &how);
    }
    cx.agree()
}

/// Whether `gpu` imports LINEAR dma-bufs of `fourcc` as dedicated memory only.
fn demands_dedicated(gpu: &Gpu, fourcc: Fourcc) -> Result<bool> {
    let tiling = Tiling::Modifier(Modifier::LINEAR);
    let support = gpu.image_support(fourcc, tiling, gpu.features(fourcc, tiling)?, HandleType::DmaBuf)?;
    Ok(support.is_some_and(|support| support.dedicated_only))
}

/// What the CPU wrote a sampler shows: every channel in its place, as linear as it is, and alpha too.
fn samples(cx: &mut Cx, gpu: Role, fourcc: Fourcc) -> Outcome {
    let reader = cx.gpu(gpu)?;
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Gpu(&reader)])?;
    let target = Target::stamped(7, fourcc, SIZE)?;
    for picture in target.before.iter().chain([&target.picture]) {
        cx.cpu_writes(&buffer, picture)?;
    }
    cx.gpu_samples(format!("a sampler of {gpu}"), &reader, &buffer, &target)?;
    cx.agree()
}

/// A sampler looks again and again at one image: each time at the frame that the CPU wrote since.
fn samples_in_turn(cx: &mut Cx, gpu: Role) -> Outcome {
    let (reader, fourcc) = (cx.gpu(gpu)?, Fourcc::AR24);
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Gpu(&reader)])?;
    let image = cx.import(&reader, &buffer, &ImportRequest::default())?;
    for (n, again) in ["", " again", " again"].into_iter().enumerate() {
        let target = Target::stamped(7 + n as u32, fourcc, SIZE)?;
        cx.cpu_writes(&buffer, &target.picture)?;
        // A copy has no view: it tells whether the frame has got to the device.
        cx.sees(format!("{gpu}, which takes the frame over{again} and copies it,"), &target, &image.read_back()?)?;
        cx.sees(format!("a sampler of {gpu} that looks{again}"), &target, &image.sampled_picture()?)?;
        if cx.disagrees() {
            break;
        }
    }
    cx.agree()
}

/// The two images are one memory: what the importer draws afterwards, the exporter sees.
fn importer_draws(cx: &mut Cx, from: Role, to: Role) -> Outcome {
    let (exporter, importer) = (cx.gpu(from)?, cx.gpu(to)?);
    let drawn = cx.draw(&exporter, &NewFrame::of(Fourcc::XR24, SIZE), 7)?;
    let target = cx.draw_into(&importer, &drawn.buffer, 8)?;
    let there = |cx: &mut Cx| cx.mapped(&Guest::Cpu, &drawn.buffer, Access::Read, |_, shared| Ok(shared.read_back()?));
    let before = there(cx)?;
    let actual = drawn.image.read_back()?;
    cx.sees(from, &target, &actual)?;
    if cx.disagrees() {
        let pitch =
            cx.mapped(&Guest::Cpu, &drawn.buffer, Access::Read, |_, shared| Ok(shared.frame.planes[0].pitch))?;
        ends_too_early(cx, &target.picture, &actual, pitch)?;
    }
    cx.cpu_sees(&drawn.buffer, &target)?;
    // Nobody has drawn meanwhile.
    if cx.disagrees() && there(cx)?.bytes != before.bytes {
        cx.fact("like", "an acquire that brings back what its device gave away, over what others have drawn since");
    }
    cx.agree()
}

/// Says so if `actual` is the target down to the row where a copy ends that has as many bytes as the rows have without padding, and
/// spends them on rows of `pitch` bytes.
fn ends_too_early(cx: &mut Cx, target: &Picture, actual: &Picture, pitch: u64) -> Result<()> {
    let (rows, row) = (target.size.height, target.row_bytes());
    let end = u64::from(rows) * row as u64 / pitch;
    let is_cut = |area: &Area| u64::from(area.y) == end && area.y + area.height == rows;
    if compare(target, actual, &Tolerance::Exact)?.is_some_and(|difference| is_cut(&difference.area)) {
        let like =
            format!("a copy of as many bytes as {rows} rows of {row} B have, which ends after {end} of {pitch} B");
        cx.fact("like", like);
    }
    Ok(())
}

/// Words that a compute shader wrote into a buffer cross to the other device; the CPU finds them in the dma-buf.
fn buffer_arrives(cx: &mut Cx, from: Role, to: Role) -> Outcome {
    let (exporter, importer) = (cx.gpu(from)?, cx.gpu(to)?);
    let buffer = exporter.create_buffer(&BufferRequest {
        size: BUFFER_BYTES,
        room: Room::SubAllocated { before: 4096, after: 4096 },
        export: vec![HandleType::DmaBuf],
    })?;
    buffer.upload(&noise_words(6, BUFFER_BYTES as u32 / 4))?;
    buffer.fill(7)?;
    let dmabuf = buffer.export_dmabuf()?;
    cx.fact("buffer", format!("{} in {dmabuf}", buffer.span()));
    let target = noise_words(7, BUFFER_BYTES as u32 / 4);
    cx.cpu_sees_words(&dmabuf, buffer.span(), &target)?;
    let imported = importer.import_buffer(&dmabuf, buffer.span(), false)?;
    cx.sees_words(to, &target, &imported.read_back()?)?;
    let target = noise_words(8, BUFFER_BYTES as u32 / 4);
    imported.fill(8)?;
    cx.sees_words(format!("{from} after {to} wrote"), &target, &buffer.read_back()?)?;
    cx.agree()
}

/// An image whose layout only the driver knows crosses by opaque fd, and both ends write and read it.
fn opaque_image(cx: &mut Cx, gpu: Role) -> Outcome {
    let (exporter, importer) = (cx.gpu(gpu)?, cx.second_instance(gpu)?);
    let image = exporter.create_image(&ImageRequest {
        size: SIZE,
        fourcc: Fourcc::AB24,
        layout: Layout::Optimal,
        room: Room::Dedicated,
        export: vec![HandleType::OpaqueFd],
    })?;
    // The targets below say that frame 6 was there before.
    image.draw_pattern(6)?;
    image.draw_pattern(7)?;
    let imported = importer.import_opaque_image(&image.export_opaque()?)?;
    cx.sees(format!("second instance of {gpu}"), &Target::stamped(7, Fourcc::AB24, SIZE)?, &imported.read_back()?)?;
    imported.draw_pattern(8)?;
    let target = Target::stamped(8, Fourcc::AB24, SIZE)?;
    cx.sees(format!("{gpu} after its second instance drew"), &target, &image.read_back()?)?;
    cx.agree()
}

/// A buffer crosses by opaque fd, and both ends write and read it.
fn opaque_buffer(cx: &mut Cx, gpu: Role) -> Outcome {
    let (exporter, importer) = (cx.gpu(gpu)?, cx.second_instance(gpu)?);
    let buffer = exporter.create_buffer(&BufferRequest {
        size: BUFFER_BYTES,
        room: Room::Dedicated,
        export: vec![HandleType::OpaqueFd],
    })?;
    buffer.fill(7)?;
    let imported = importer.import_opaque_buffer(&buffer.export_opaque()?, buffer.span())?;
    let count = BUFFER_BYTES as u32 / 4;
    cx.sees_words(format!("second instance of {gpu}"), &noise_words(7, count), &imported.read_back()?)?;
    imported.fill(8)?;
    cx.sees_words(format!("{gpu} after its second instance wrote"), &noise_words(8, count), &buffer.read_back()?)?;
    cx.agree()
}

/// A pitch that the device takes at creation is one it can draw with: 1064 bytes, no multiple of 16.
fn draws_with_any_pitch(cx: &mut Cx, gpu: Role) -> Outcome {
    const PITCH: u64 = SIZE.width as u64 * 4 + 64;
    let gpu = cx.gpu(gpu)?;
    let drawn = cx.draw(&gpu, &NewFrame::of(Fourcc::XR24, SIZE).padded(64), 7)?;
    let pitch = cx.mapped(&Guest::Cpu, &drawn.buffer, Access::Read, |_, shared| Ok(shared.frame.planes[0].pitch))?;
    let like = "a pitch that the driver rounds, where it has to refuse it";
    cx.equals_else("the pitch in bytes of a frame that was asked for with it", PITCH, pitch, like);
    cx.cpu_sees(&drawn.buffer, &drawn.target)?;
    cx.agree()
}

/// Memory as long as the driver asks for is enough to draw in. Rows lie 2 MiB apart, so that whoever draws three rows more than
/// there are does so where nothing is mapped, and not in what lies next to the buffer by chance.
fn draws_the_last_row(cx: &mut Cx, gpu: Role) -> Outcome {
    let (gpu, fourcc, size) = (cx.gpu(gpu)?, Fourcc::AB48, px(250, 5));
    let plane = Plane { offset: 0, pitch: 2 << 20 };
    let frame = Frame::linear(fourcc, size, plane);
    let needs = refused_layout_is_skip(gpu.required_memory(&ImageRequest {
        size,
        fourcc,
        layout: Layout::Explicit(Modifier::LINEAR, vec![plane]),
        room: Room::Dedicated,
        export: vec![HandleType::DmaBuf],
    }))?;
    cx.fact("needs", format!("{needs} B, as the driver says; the frame has {} B", frame.end()?));
    let behind = needs.saturating_sub(frame.end()?);
    let buffer = cx.publish(Guest::Cpu, udmabuf::for_frame(frame, behind)?)?;
    // Whoever draws behind the end shall not draw, unseen, into what happens to lie there.
    let edge = Edge::behind_the_next(needs)?;
    let target = cx.draw_into(&gpu, &buffer, 7)?;
    drop(edge);
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}
