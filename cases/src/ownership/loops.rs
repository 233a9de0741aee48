//! A hundred times the same: what is left behind each time is a leak, and what is left behind once is a cache.

use handover::gbm::{AskedImport, How, Usage};
use handover::gles::{Attribute, Through, attributes_of};
use handover::prelude::*;
use handover::stray::Stray;
use handover::v4l2::{Direction, Memory, PixelFormat, Queue, QueueFormat};

use super::{PITCH, SIZE, drawn};

/// So often.
const CYCLES: u32 = 100;

/// How a GPU imports.
const WAYS: [&str; 4] = ["image", "dedicated_image", "buffer", "opaque_fd"];

/// Who hands out by other means than Vulkan.
const HEAPS: [Role; 5] = [Udmabuf, DmaHeap, Gbm, Video, DmaVideo];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for gpu in [GpuA, GpuB] {
        for way in WAYS {
            cases
                .add(format!("ownership::a_hundred_imports_leave_nothing::{gpu}_{way}"), move |cx| {
                    gpu_imports(cx, gpu, way)
                })
                .from(if way == "opaque_fd" { gpu } else { Udmabuf })
                .to(gpu)
                .must_fail_under("import-leaks-fd")
                .must_fail_under("fd-closed-twice");
        }
        cases
            .add(format!("ownership::a_hundred_exports_leave_nothing::{gpu}"), move |cx| gpu_exports(cx, gpu))
            .from(gpu);
    }
    for (name, to, body) in IMPORTS {
        let name = format!("ownership::a_hundred_imports_leave_nothing::{name}");
        let framebuffers = name.ends_with("framebuffer");
        let case = cases.add(name, body).from(Udmabuf).to(to);
        if framebuffers {
            case.must_fail_under("framebuffer-kept").fails_with("leaves framebuffers behind: +1.00 each time");
        }
    }
    for heap in HEAPS {
        let name = format!("ownership::a_hundred_exports_leave_nothing::{heap}");
        let case = cases.add(name, move |cx| heap_exports(cx, heap)).from(heap);
        if heap == Udmabuf {
            case.must_fail_under("close-forgotten");
        }
    }
    for (name, from, body) in EXPORTS {
        let case = cases.add(format!("ownership::a_hundred_exports_leave_nothing::{name}"), body).from(from);
        if from == Screen {
            case.must_fail_under("prime-export-grows");
        }
    }
    for (name, to, body) in FAILURES {
        let name = format!("ownership::a_hundred_failed_imports_leave_nothing::{name}");
        let case = cases.add(name, body).from(Udmabuf).to(to);
        if to == Gles {
            case.must_fail_under("egl-import-keeps-fd");
        }
    }
}

type Body = fn(&mut Cx) -> Outcome;

const IMPORTS: [(&str, Role, Body); 9] = [
    ("gles_plain", Gles, |cx| gles_imports(cx, Through::Texture2d)),
    ("gles_external", Gles, |cx| gles_imports(cx, Through::External)),
    ("gbm", Gbm, gbm_imports),
    ("vgem", Vgem, |cx| prime_imports(cx, Vgem)),
    ("screen_prime", Screen, |cx| prime_imports(cx, Screen)),
    ("screen_framebuffer", Screen, framebuffers),
    ("video", Video, |cx| queue_imports(cx, Video)),
    ("planar_video", PlanarVideo, |cx| queue_imports(cx, PlanarVideo)),
    ("cpu", Cpu, cpu_maps),
];

const EXPORTS: [(&str, Role, Body); 5] = [
    ("gles", Gles, gles_exports),
    ("screen", Screen, screen_exports),
    ("vgem_that_hands_on", Vgem, hands_on),
    ("gbm_bo", Gbm, gbm_exports),
    ("expbuf", Video, expbufs),
];

const FAILURES: [(&str, Role, Body); 7] = [
    ("gles", Gles, gles_fails),
    ("gbm", Gbm, gbm_fails),
    ("vgem", Vgem, |cx| prime_fails(cx, Vgem)),
    ("screen_prime", Screen, |cx| prime_fails(cx, Screen)),
    ("screen_framebuffer", Screen, framebuffer_fails),
    ("video", Video, |cx| queue_fails(cx, Video)),
    ("planar_video", PlanarVideo, |cx| queue_fails(cx, PlanarVideo)),
];

/// The claim needs something to have worked: the bytes of `shared` are still those that were drawn.
fn intact(cx: &mut Cx, shared: &SharedFrame) -> Outcome {
    let target = Target::from(Pattern { stamp: 7 }.picture(Fourcc::XR24, SIZE)?);
    cx.sees("cpu", &target, &shared.read_back()?)?;
    cx.claim("the fd", shared.dmabuf.is_open(), || Finding::new("the fd was closed by somebody to whom it was lent"));
    cx.agree()
}

fn gpu_imports(cx: &mut Cx, gpu: Role, way: &'static str) -> Outcome {
    let importer = if way == "opaque_fd" { cx.second_instance(gpu)? } else { cx.gpu(gpu)? };
    let exporter = cx.gpu(gpu)?;
    let shared = drawn(7)?;
    let bytes = shared.dmabuf.size;
    let span = handover::vk::Span { offset: 0, size: bytes };
    let request = BufferRequest { size: 65536, room: Room::Dedicated, export: vec![HandleType::OpaqueFd] };
    let opaque = (way == "opaque_fd").then(|| missing_is_skip(exporter.create_buffer(&request))).transpose()?;
    cx.leaves_nothing("an import", CYCLES, std::slice::from_ref(&importer), |_| {
        match (way, &opaque) {
            (_, Some(opaque)) => drop(importer.import_opaque_buffer(&opaque.export_opaque()?, opaque.span())?),
            ("image", _) => drop(importer.import_image(&shared, &ImportRequest::default())?),
            ("dedicated_image", _) => {
                let how = ImportRequest { dedicated: true, ..ImportRequest::default() };
                drop(importer.import_image(&shared, &how)?);
            }
            _ => drop(importer.import_buffer(&shared.dmabuf, span, false)?),
        }
        Ok(())
    })?;
    intact(cx, &shared)
}

fn gpu_exports(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let request = ImageRequest {
        size: SIZE,
        fourcc: Fourcc::XR24,
        layout: Layout::Modifiers(vec![Modifier::LINEAR]),
        room: Room::Dedicated,
        export: vec![HandleType::DmaBuf],
    };
    cx.leaves_nothing("an export", CYCLES, std::slice::from_ref(&gpu), |_| {
        let image = gpu.create_image(&request)?;
        let (one, other) = (image.export_dmabuf()?, image.export_dmabuf()?);
        // Whoever goes first.
        drop((one, image, other));
        Ok(())
    })?;
    cx.agree()
}

fn heap_exports(cx: &mut Cx, heap: Role) -> Outcome {
    let heap = cx.heap(heap)?;
    let frame = Frame::linear(Fourcc::XR24, SIZE, Plane { offset: 0, pitch: PITCH });
    let agreement = Agreement { heap: heap.offer().heap.clone(), frame, bytes: 65536 };
    cx.leaves_nothing("an export", CYCLES, &[], |_| {
        let storage = heap.allocate(&agreement)?;
        Ok(storage.shared.dmabuf.map()?.write(0, &[1, 2, 3, 4])?)
    })?;
    cx.agree()
}

fn gles_imports(cx: &mut Cx, through: Through) -> Outcome {
    let gles = cx.gles()?;
    let shared = drawn(7)?;
    cx.leaves_nothing("an import", CYCLES, &[], |_| Ok(gles.import(&shared, through).map(drop)?))?;
    intact(cx, &shared)
}

fn gles_exports(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    if !gles.exports() {
        return Err(Trouble::Skip("gles lacks EGL_MESA_image_dma_buf_export".to_owned()));
    }
    cx.leaves_nothing("an export", CYCLES, &[], |_| {
        let image = gles.create(Fourcc::AB24, SIZE)?;
        let (one, other) = (image.export()?, image.export()?);
        drop((one, image, other));
        Ok(())
    })?;
    cx.agree()
}

fn gbm_imports(cx: &mut Cx) -> Outcome {
    let device = cx.gbm()?;
    let shared = drawn(7)?;
    cx.leaves_nothing("an import", CYCLES, &[], |_| {
        Ok(device.nodes().try_for_each(|gbm| gbm.import(&shared, Usage::default())?.read().map(drop))?)
    })?;
    intact(cx, &shared)
}

fn gbm_exports(cx: &mut Cx) -> Outcome {
    let gbm = cx.gbm()?.gives;
    cx.leaves_nothing("an export", CYCLES, &[], |_| {
        let bo = gbm.create(Fourcc::XR24, SIZE, &How::Plain(Usage::LINEAR))?;
        let (one, other) = (bo.export()?, bo.export()?);
        drop((one, bo, other));
        Ok(())
    })?;
    cx.agree()
}

fn prime_imports(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?;
    let shared = drawn(7)?;
    cx.leaves_nothing("an import", CYCLES, &[], |_| Ok(prime.import(&shared.dmabuf).map(drop)?))?;
    intact(cx, &shared)
}

fn hands_on(cx: &mut Cx) -> Outcome {
    let prime = cx.prime(Vgem)?;
    let shared = drawn(7)?;
    cx.leaves_nothing("handing on", CYCLES, &[], |_| Ok(prime.import(&shared.dmabuf)?.export().map(drop)?))?;
    intact(cx, &shared)
}

fn framebuffers(cx: &mut Cx) -> Outcome {
    let shared = drawn(7)?;
    cx.leaves_nothing("a framebuffer", CYCLES, &[], |cx| {
        let taken = cx.screen()?.takes(&shared)?;
        cx.claim("AddFB2", taken, || Finding::new("the screen makes no framebuffer of XR24"));
        Ok(())
    })?;
    intact(cx, &shared)
}

fn screen_exports(cx: &mut Cx) -> Outcome {
    cx.leaves_nothing("a dumb buffer", CYCLES, &[], |cx| Ok(cx.screen()?.dumb(Fourcc::XR24, SIZE).map(drop)?))?;
    cx.agree()
}

fn queue_of(cx: &mut Cx, video: Role) -> Result<Queue, Trouble> {
    let video = cx.video_loop(video)?;
    let mut queue = Queue::open(video.output(), Direction::Output)?;
    queue.set_format(&QueueFormat::new(PixelFormat::new(b"XR24"), px(64, 16), 0))?;
    Ok(queue)
}

fn queue_imports(cx: &mut Cx, video: Role) -> Outcome {
    let mut queue = queue_of(cx, video)?;
    let shared = drawn(7)?;
    cx.leaves_nothing("a buffer that is queued", CYCLES, &[], |_| {
        queue.request(Memory::Dmabuf, 1)?;
        queue.give_dmabuf(0, &shared)?;
        Ok(queue.release()?)
    })?;
    intact(cx, &shared)
}

fn expbufs(cx: &mut Cx) -> Outcome {
    let mut queue = queue_of(cx, Video)?;
    cx.leaves_nothing("an export", CYCLES, &[], |_| {
        queue.request(Memory::Own, 1)?;
        let (one, other) = (queue.export(0)?, queue.export(0)?);
        drop(one);
        queue.release()?;
        drop(other);
        Ok(())
    })?;
    cx.agree()
}

fn cpu_maps(cx: &mut Cx) -> Outcome {
    let shared = drawn(7)?;
    cx.leaves_nothing("a mapping", CYCLES, &[], |_| Ok(shared.dmabuf.map()?.read(0..4096).map(drop)?))?;
    intact(cx, &shared)
}

/// A call that must fail: `Err` if it does not.
fn failed(what: &str, answer: Result<()>) -> Outcome {
    match answer {
        Err(_) => Ok(()),
        Ok(()) => Err(Finding::new(format!("{what} succeeds, and must fail")).into()),
    }
}

fn gles_fails(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    let shared = drawn(7)?;
    let mut wrong = attributes_of(&shared);
    wrong.retain(|(name, _)| *name != Attribute::Pitch(0));
    cx.leaves_nothing("a failed import", CYCLES, &[], |_| failed("an import", gles.import_attributes(&wrong)))?;
    gles.import(&shared, Through::Texture2d)?;
    intact(cx, &shared)
}

fn gbm_fails(cx: &mut Cx) -> Outcome {
    let device = cx.gbm()?;
    let shared = drawn(7)?;
    let wrong = AskedImport { format: 0x3939_5a5a, ..AskedImport::of(&shared) };
    cx.leaves_nothing("a failed import", CYCLES, &[], |_| {
        device.nodes().try_for_each(|gbm| failed("an import", gbm.try_import(&wrong)))
    })?;
    device.gives.import(&shared, Usage::default())?;
    intact(cx, &shared)
}

fn prime_fails(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?;
    let shared = drawn(7)?;
    let stray = Stray::Memfd.open()?;
    cx.leaves_nothing("a failed import", CYCLES, &[], |_| failed("an import", prime.import_number(stray.number())))?;
    prime.import(&shared.dmabuf)?;
    intact(cx, &shared)
}

fn framebuffer_fails(cx: &mut Cx) -> Outcome {
    let prime = cx.prime(Screen)?;
    let shared = drawn(7)?;
    let handle = prime.import(&shared.dmabuf)?;
    let mut wrong = handle.add_fb(&shared);
    wrong.pitches[0] /= 2;
    cx.leaves_nothing("a failed AddFB2", CYCLES, &[], |_| failed("AddFB2", prime.add_framebuffer(&wrong)))?;
    if let Err(refusal) = prime.add_framebuffer(&handle.add_fb(&shared)) {
        cx.skips_foreign(&shared)?;
        return Err(refusal.into());
    }
    drop(handle);
    intact(cx, &shared)
}

fn queue_fails(cx: &mut Cx, video: Role) -> Outcome {
    let mut queue = queue_of(cx, video)?;
    let shared = drawn(7)?;
    let stray = Stray::Memfd.open()?;
    queue.request(Memory::Dmabuf, 1)?;
    cx.leaves_nothing("a failed VIDIOC_QBUF", CYCLES, &[], |_| {
        failed("VIDIOC_QBUF", queue.give_number(0, stray.number(), 65536))
    })?;
    queue.give_dmabuf(0, &shared)?;
    queue.release()?;
    intact(cx, &shared)
}
