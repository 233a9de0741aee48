//! The model against the kernel: wherever the kernel's own dma-buf framework shows a rule of the sharing core, what the core
//! predicts is what the kernel does.
//!
//! The prediction is made by the core's state machine itself, on storage that is only counted. What the kernel does is told by
//! its trace events: which pages left the page allocator during which step, and which of them a device was then given. Where
//! the kernel's exporters differ from the rules, a case says how, so that a change is seen.
//!
//! What follows from the kernel's sources, and is seen here (Linux 7.3):
//!
//! | exporter | pages are allocated | source |
//! |---|---|---|
//! | udmabuf | at export, if the memory file has none yet | `udmabuf_pin_folios`, `drivers/dma-buf/udmabuf.c` |
//! | system heap | at export | `system_heap_allocate`, `drivers/dma-buf/heaps/system_heap.c` |
//! | V4L2, both allocators | at `VIDIOC_REQBUFS` or `VIDIOC_CREATE_BUFS` | `vb2_vmalloc_alloc`, `vb2_dc_alloc`, `drivers/media/common/videobuf2/` |
//! | GEM on shmem (vgem, vkms) | at the first attach, CPU mmap or vmap | `drm_gem_map_attach`, `drm_gem_shmem_mmap`, `drivers/gpu/drm/` |
//!
//! udmabuf maps a scatter list for a device of its own at the first `DMA_BUF_IOCTL_SYNC` (`begin_cpu_udmabuf`). None of these
//! exporters ever moves storage, so what two devices are given is the same.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use handover::cx::settled;
use handover::placement::probe::{Importer, Way};
use handover::placement::{Device, Segments, Source};
use handover::prelude::*;
use handover::run::kernel_log::KernelLog;
use handover::share::constraints::{Constraints, FormatModifier, Party};
use handover::share::core::{Access, Backing, Core};
use handover::share::refused::ShareError;

/// A frame that video devices have. In 57 pages, so that no list of them is cut: the kernel prints 128 segments.
const SIZE: Size = px(320, 180);
const PITCH: u64 = 1280;
const BYTES: u64 = PITCH * 180;

/// Who exports.
#[derive(Clone, Copy)]
struct Exporter {
    name: &'static str,
    from: Origin,
    /// Whether storage is there once the buffer is exported (S7).
    eager: bool,
}

#[derive(Clone, Copy)]
enum Origin {
    /// A heap of this kind.
    Heap(Kind, Which),
    /// The GPU that plays this role.
    Gpu(Role),
}

/// Which heap of a kind.
#[derive(Clone, Copy)]
enum Which {
    Named(&'static str),
    Contiguous,
    Scattered,
}

const SYSTEM_HEAP: Exporter =
    Exporter { name: "system_heap", from: Origin::Heap(Kind::DmaHeap, Which::Named("system")), eager: true };
const CONTIGUOUS: Exporter =
    Exporter { name: "contiguous_expbuf", from: Origin::Heap(Kind::Expbuf, Which::Contiguous), eager: true };
const EXPORTERS: &[Exporter] = &[
    SYSTEM_HEAP,
    CONTIGUOUS,
    Exporter { name: "udmabuf", from: Origin::Heap(Kind::Udmabuf, Which::Scattered), eager: true },
    Exporter { name: "expbuf", from: Origin::Heap(Kind::Expbuf, Which::Scattered), eager: true },
    Exporter { name: "gpu_a", from: Origin::Gpu(GpuA), eager: true },
    Exporter { name: "vgem_dumb", from: Origin::Heap(Kind::Dumb, Which::Named("vgem dumb")), eager: false },
    Exporter { name: "vkms_dumb", from: Origin::Heap(Kind::Dumb, Which::Named("vkms dumb")), eager: false },
];

/// Which claim, made of which exporter, sees which faults.
const SEEN: [(&str, &str, &str); 12] = [
    ("allocates_at_export", "heap-memory-twice", "system_heap"),
    ("attach_allocates_nothing", "heap-memory-twice", "system_heap"),
    ("attach_allocates_nothing", "heap-waits-for-attach", "system_heap"),
    ("allocates_nothing_at_export", "dumb-made-at-once", "vgem_dumb"),
    ("allocates_at_the_first_map", "dumb-made-at-once", "vgem_dumb"),
    ("allocates_at_attach_where_the_model_waits", "dumb-made-at-once", "vgem_dumb"),
    ("two_attachments_map_the_same_pages", "scatter-lists-move", "system_heap"),
    ("stays_where_it_is_between_two_maps", "scatter-lists-move", "system_heap"),
    ("knows_every_attached_device", "gem-handle-kept", "system_heap"),
    ("a_strict_importer_takes_one_run_and_nothing_else", "qbuf-unchecked", "system_heap"),
    ("an_importer_on_the_cpu_attaches_no_device", "qbuf-attaches-others", "system_heap"),
    ("tells_the_same_of_a_buffer_everywhere", "size-rounded", "vkms_dumb"),
];

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for &exporter in EXPORTERS {
        let mut add = |claim: &str, body: fn(&mut Cx, Exporter) -> Outcome| {
            let case = cases.add(format!("kernel::{claim}::{}", exporter.name), move |cx| body(cx, exporter));
            if let Origin::Gpu(role) = exporter.from {
                case.from(role);
            }
            for (_, fault, _) in SEEN.iter().filter(|(by, _, of)| (*by, *of) == (claim, exporter.name)) {
                case.must_fail_under(fault);
            }
        };
        match exporter.eager {
            true => {
                add("allocates_at_export", allocates_at_export);
                add("attach_allocates_nothing", attach_allocates_nothing);
            }
            false => {
                add("allocates_nothing_at_export", allocates_at_export);
                add("allocates_at_the_first_map", allocates_at_the_first_map);
                add("allocates_at_attach_where_the_model_waits", attach_allocates_all);
            }
        }
        add("two_attachments_map_the_same_pages", two_attachments);
        add("stays_where_it_is_between_two_maps", stays_where_it_is);
        add("knows_every_attached_device", knows_every_device);
        add("a_strict_importer_takes_one_run_and_nothing_else", strict_importer);
        add("an_importer_on_the_cpu_attaches_no_device", cpu_importer);
        add("tells_the_same_of_a_buffer_everywhere", tells_the_same);
    }
    cases.add("kernel::a_strict_importer_is_told_efault::system_heap", told_efault).must_fail_under("qbuf-unchecked");
}

/// The buffer of an exporter, and what must live as long.
struct Exported {
    shared: SharedFrame,
    _keep: Box<dyn std::any::Any>,
}

impl Exporter {
    /// Exports a buffer for the frame.
    fn export(self, cx: &mut Cx) -> Result<Exported, Trouble> {
        let frame = Frame::linear(Fourcc::XR24, SIZE, Plane { offset: 0, pitch: PITCH });
        match self.from {
            Origin::Gpu(role) => {
                let gpu = cx.gpu(role)?;
                let layout = Layout::Modifiers(vec![Modifier::LINEAR]);
                let export = vec![HandleType::DmaBuf];
                let request = ImageRequest { size: SIZE, fourcc: Fourcc::XR24, layout, room: Room::Dedicated, export };
                let image = gpu.create_image(&request)?;
                let shared = image.export_dmabuf()?;
                Ok(Exported { shared, _keep: Box::new(image) })
            }
            Origin::Heap(kind, which) => {
                let heaps = cx.heaps(kind)?;
                let heap = heaps.iter().find(|heap| match which {
                    Which::Named(name) => heap.offer().heap == name,
                    Which::Contiguous => heap.offer().contiguous,
                    Which::Scattered => !heap.offer().contiguous,
                });
                let heap = heap.ok_or_else(|| Trouble::Skip(format!("this machine has no heap for {}", self.name)))?;
                let Storage { shared, pages, keep, .. } =
                    heap.allocate(&Agreement { heap: heap.offer().heap.clone(), frame, bytes: BYTES })?;
                Ok(Exported { shared, _keep: Box::new((pages, keep)) })
            }
        }
    }

    /// As [`Self::export`], where it is known how the kernel's code behind it makes storage. A GPU's own may lie in its memory,
    /// be made late, and move.
    fn export_as_modelled(self, cx: &mut Cx) -> Result<Exported, Trouble> {
        let exported = self.export(cx)?;
        if let Origin::Gpu(role) = self.from {
            match exported.shared.dmabuf.identity()?.exporter.as_deref() {
                Some("udmabuf") => {}
                Some(other) => {
                    return Err(Trouble::Skip(format!(
                        "how {other}, who exports for {role}, makes storage is its own"
                    )));
                }
                None => return Err(Trouble::Skip(format!("procfs does not tell who exports for {role}"))),
            }
        }
        Ok(exported)
    }

    /// Exports a buffer that no earlier step of this process has prepared.
    fn fresh(self, cx: &mut Cx) -> Result<(Exported, Deed), Trouble> {
        // The first buffer may open a device, which allocates for itself.
        drop(self.export_as_modelled(cx)?);
        let (exported, deed) = cx.watch(|cx| self.export(cx))?;
        Ok((exported?, deed))
    }

    /// A card that attaches to the buffers of this exporter, which its own does not.
    fn attacher(self, cx: &mut Cx) -> Result<std::sync::Arc<Importer>, Trouble> {
        let cards = cx.importers(Way::Attaches)?;
        let other = cards.into_iter().find(|card| !self.name.starts_with(&card.driver));
        other.ok_or_else(|| Trouble::Skip("this machine has no second card that attaches".to_owned()))
    }
}

/// One thing that is done to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Export,
    Attach,
    Map,
}

/// How much of a buffer's storage was made in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Nothing,
    All,
    Some { bytes: u64, of: u64 },
}

impl Made {
    fn of(bytes: u64, storage: &Segments) -> Self {
        match (bytes, storage.bytes()) {
            (0, _) => Self::Nothing,
            (bytes, all) if bytes == all => Self::All,
            (bytes, of) => Self::Some { bytes, of },
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no storage"),
            Self::All => f.write_str("all storage"),
            Self::Some { bytes, of } => write!(f, "{bytes} B of {of} B of storage"),
        }
    }
}

/// Storage that is only counted.
#[derive(Default)]
struct Counted(AtomicU32);

impl Backing for Counted {
    type Storage = ();

    fn check(&self, _: &[Party], _: Option<&()>) -> Result<(), ShareError> {
        Ok(())
    }

    fn allocate(&self, _: &[Party], _: Option<&()>) -> Result<(), ShareError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn suits(&self, (): &(), _: &Party) -> Result<(), String> {
        Ok(())
    }

    fn relocate(&self, (): &(), (): &()) -> Result<(), ShareError> {
        Ok(())
    }
}

/// What the core says is made in each of `steps`: the model. A second map is that of a second device.
fn predicted(eager: bool, steps: &[Step]) -> Result<Vec<Made>, Trouble> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let failed = |error: ShareError| Trouble::from(Finding::new(format!("the model refuses: {error}")));
    let core = Core::new(Counted::default());
    let formats = vec![FormatModifier { fourcc: Fourcc::XR24, modifier: Modifier::LINEAR, planes: 1 }];
    let party = || Party { name: "device".to_owned(), constraints: Constraints::of(formats.clone()) };
    let mut made = Vec::new();
    for step in steps {
        let before = core.backing().0.load(Ordering::Relaxed);
        match step {
            Step::Export if eager => core.allocate(PATIENCE).map_err(failed)?,
            Step::Export => {}
            Step::Attach => {
                core.attach(party(), PATIENCE).map_err(failed)?;
            }
            Step::Map => {
                let attachment = core.attach(party(), PATIENCE).map_err(failed)?;
                drop(core.map(attachment, Access::Read, PATIENCE, PATIENCE).map_err(failed)?);
            }
        }
        let after = core.backing().0.load(Ordering::Relaxed);
        made.push(if after > before { Made::All } else { Made::Nothing });
    }
    Ok(made)
}

/// What a device that maps a scatter list is given, whether it takes the buffer or not.
fn mapped(cx: &mut Cx, shared: &SharedFrame) -> Result<(Segments, Deed), Trouble> {
    let importers = cx.importers(Way::ScatterList)?;
    let importer = &importers[0];
    let (_, deed) = cx.watch(|_| importer.take(shared))?;
    let segments = cx.segments(&importer.device, shared)?;
    let own = matches!(&segments.source, Source::ScatterList { device, .. } if Some(device) == importer.device.kernel.as_ref().ok());
    match own {
        true => Ok((segments, deed)),
        false => Err(Finding::new(format!("{importer} mapped no scatter list")).row("kernel", deed.to_string()).into()),
    }
}

/// What it is like where an exporter makes less than the model, and where it makes more.
const MADE_BEFORE: &str = "memory that was there already, such as a buffer that somebody else still has";
const MADE_LATE: &str = "an exporter that makes storage only when somebody attaches or maps";
const MADE_EARLY: &str = "an exporter that makes storage before it is known who takes part";

/// Holds what the kernel made in each step against the model.
fn compare<const STEPS: usize>(
    cx: &mut Cx,
    eager: bool,
    deeds: [(Step, &Deed); STEPS],
    storage: &Segments,
) -> Result<(), Trouble> {
    let provided = Deed::provided(deeds.map(|(_, deed)| deed), storage);
    let is_made = provided.iter().any(|bytes| *bytes > 0);
    let predicted = predicted(eager, &deeds.map(|(step, _)| step))?;
    for (n, (((step, deed), bytes), model)) in deeds.into_iter().zip(provided).zip(predicted).enumerate() {
        let kernel = Made::of(bytes, storage);
        let like = match kernel {
            Made::Nothing if is_made => MADE_LATE,
            Made::Nothing => MADE_BEFORE,
            _ => MADE_EARLY,
        };
        cx.claim(format!("step {n}, {step:?}"), kernel == model, || {
            Finding::new(format!("in step {n}, {step:?}, the kernel makes {kernel}, and the model {model}"))
                .row("like", like)
                .row("kernel", deed.to_string())
                .row("storage", storage.to_string())
        });
    }
    Ok(())
}

/// S1 for exporters that wait, S7 for eager ones: what is there after export, and what a map of a device adds.
fn allocates_at_export(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let (exported, export) = exporter.fresh(cx)?;
    cx.fact("buffer", &exported.shared);
    let (storage, map) = mapped(cx, &exported.shared)?;
    compare(cx, exporter.eager, [(Step::Export, &export), (Step::Map, &map)], &storage)?;
    cx.agree()
}

/// S2: attaching is bookkeeping.
fn attach_allocates_nothing(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let card = exporter.attacher(cx)?;
    let (exported, export) = exporter.fresh(cx)?;
    cx.fact("buffer", &exported.shared);
    let (answer, attach) = cx.watch(|_| card.take(&exported.shared))?;
    cx.equals(format!("{card} is offered the buffer"), "taken".to_owned(), answer.said());
    let (storage, map) = mapped(cx, &exported.shared)?;
    let deeds = [(Step::Export, &export), (Step::Attach, &attach), (Step::Map, &map)];
    compare(cx, exporter.eager, deeds, &storage)?;
    cx.agree()
}

/// S3: storage is made at the first map, here that of the CPU, and the second finds it.
fn allocates_at_the_first_map(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let (exported, export) = exporter.fresh(cx)?;
    cx.fact("buffer", &exported.shared);
    let dmabuf = &exported.shared.dmabuf;
    let (one, first) = cx.watch(|_| dmabuf.map())?;
    let (other, second) = cx.watch(|_| dmabuf.map())?;
    let (storage, third) = mapped(cx, &exported.shared)?;
    let deeds = [(Step::Export, &export), (Step::Map, &first), (Step::Map, &second), (Step::Map, &third)];
    compare(cx, exporter.eager, deeds, &storage)?;
    drop((one?, other?));
    cx.agree()
}

/// The kernel's GEM helpers pin storage for every attachment (`drm_gem_map_attach`), and make it for that: here the kernel
/// allocates one step before the model, which waits for the map.
fn attach_allocates_all(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let card = exporter.attacher(cx)?;
    let (exported, export) = exporter.fresh(cx)?;
    cx.fact("buffer", &exported.shared);
    let (answer, attach) = cx.watch(|_| card.take(&exported.shared))?;
    cx.equals(format!("{card} is offered the buffer"), "taken".to_owned(), answer.said());
    let (storage, map) = mapped(cx, &exported.shared)?;
    let model = predicted(exporter.eager, &[Step::Export, Step::Attach, Step::Map])?;
    cx.fact("model", format!("export: {}, attach: {}, map: {}", model[0], model[1], model[2]));
    cx.fact("kernel", format!("export: {export}\nattach: {attach}\nmap: {map}"));
    let provided = Deed::provided([&export, &attach, &map], &storage);
    for ((step, made), bytes) in
        [("export", Made::Nothing), ("attach", Made::All), ("map", Made::Nothing)].into_iter().zip(provided)
    {
        let kernel = Made::of(bytes, &storage);
        cx.claim(format!("what {step} makes"), kernel == made, || {
            Finding::new(format!("at {step}, {} makes {kernel}, not {made}", exporter.name))
                .row("like", if step == "export" { MADE_EARLY } else { "storage that was made before" })
        });
    }
    cx.agree()
}

/// Two attachments to one buffer are given the same pages in the same order.
fn two_attachments(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let exported = exporter.export_as_modelled(cx)?;
    let shared = &exported.shared;
    cx.fact("buffer", shared);
    let mut seen = Vec::new();
    for importer in cx.importers(Way::ScatterList)? {
        let answer = importer.take(shared);
        let segments = cx.segments(&importer.device, shared)?;
        seen.push((importer, segments, answer));
    }
    let [(first, target, _), others @ ..] = &seen[..] else {
        return Err(Trouble::Skip("no importer maps a scatter list".to_owned()));
    };
    if others.is_empty() {
        return Err(Trouble::Skip(format!("only {first} maps a scatter list; two importers are needed")));
    }
    for (other, actual, _) in others {
        cx.claim(format!("{first} and {other}"), target.runs() == actual.runs(), || {
            Finding::new(format!("{first} and {other} are given different pages of one buffer"))
                .row("target", target.to_string())
                .row("actual", actual.to_string())
                .row(
                    "like",
                    "an exporter that copies the buffer for one of them, or moves it while the other has it mapped",
                )
        });
    }
    cx.agree()
}

/// The model may move storage while nobody maps it (S6); the kernel's exporters of this list never do.
fn stays_where_it_is(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let exported = exporter.export_as_modelled(cx)?;
    cx.fact("buffer", &exported.shared);
    let (first, _) = mapped(cx, &exported.shared)?;
    let (second, map) = mapped(cx, &exported.shared)?;
    cx.claim("addresses", first.runs() == second.runs(), || {
        Finding::new("between two maps the storage moved")
            .row("target", first.to_string())
            .row("actual", second.to_string())
            .row("like", "an exporter that evicts what nobody maps, and brings it back elsewhere")
    });
    let [provided] = Deed::provided([&map], &second);
    cx.equals("storage that the second map makes", Made::Nothing, Made::of(provided, &second));
    cx.agree()
}

/// S2: the buffer knows who is attached, from attach to detach.
fn knows_every_device(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let card = exporter.attacher(cx)?;
    let exported = exporter.export_as_modelled(cx)?;
    cx.fact("buffer", &exported.shared);
    let buffer = exported.shared.dmabuf.identity()?;
    let attached = |cx: &Cx| Ok::<_, Trouble>(cx.listed(&buffer)?.map_or_else(Vec::new, |entry| entry.attached));
    let before = attached(cx)?;
    let answer = card.take(&exported.shared);
    let name = card.device.kernel.clone().map_err(|why| Trouble::Skip(why.to_string()))?;
    let during = attached(cx)?;
    cx.equals("whether the card was offered and took it", "taken".to_owned(), answer.said());
    drop(answer);
    let after = settled(|| attached(cx), |after| *after == before)?;
    cx.claim("devices afterwards", before == after, || {
        let stay: Vec<&str> = after.iter().filter(|device| !before.contains(device)).map(String::as_str).collect();
        Finding::new(format!("{} let go of the buffer, and the kernel lists as attached: {}", card, stay.join(", ")))
            .row("target", before.join(", "))
            .row("actual", after.join(", "))
            .row("like", "a GEM handle that is never closed keeps its attachment")
    });
    let others: Vec<String> = during.iter().filter(|device| **device != name).cloned().collect();
    cx.equals("devices while it is attached", before.join(", "), others.join(", "));
    cx.equals("attachments of the card", 1, during.len() - others.len());
    cx.agree()
}

/// S3, S6: an importer that needs one run of addresses takes a buffer that begins with one that is long enough, and answers
/// EFAULT to any other.
fn strict_importer(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let exported = exporter.export(cx)?;
    cx.fact("buffer", &exported.shared);
    for importer in cx.importers(Way::ScatterList)? {
        strictly(cx, &importer, &exported.shared)?;
    }
    cx.agree()
}

/// Whether `importer` answers `shared` as the placement of it says.
fn strictly(cx: &mut Cx, importer: &Importer, shared: &SharedFrame) -> Result<bool, Trouble> {
    let mut log = KernelLog::open();
    let answer = importer.take(shared);
    let segments = cx.segments(&importer.device, shared)?;
    if !segments.complete() {
        return Err(Trouble::Skip(format!("how long the first run is can't be seen: {segments}")));
    }
    let first = segments.runs().first().map_or(0, |run| run.length);
    let suits = first >= answer.needs;
    let target = if suits { "taken".to_owned() } else { "EFAULT (Bad address)".to_owned() };
    let said = answer.said();
    cx.claim(importer, said == target, || {
        // How long the first run is is the kernel's to choose.
        let has = if suits { "and has that" } else { "has less" };
        Finding::new(format!("{importer} needs {} B in one run, {has}, and answers {said}", answer.needs))
            .row("has", format!("{first} B"))
            .row("target", target)
            .row("actual", said.clone())
            .row("placement", segments.to_string())
            .row(
                "like",
                if suits { "a check of something else" } else { "a length that is not held against the first run" },
            )
    });
    match &mut log {
        // vb2_dc_map_dmabuf() says why; EFAULT alone has other reasons, too.
        Ok(log) if !suits => {
            let lines = log.take().lines;
            let told = lines.iter().any(|line| line.contains("contiguous chunk is too small"));
            cx.claim(format!("the kernel's reason for {importer}"), told, || {
                let lines = lines.join("; ");
                Finding::new(format!("{importer} answers EFAULT for another reason than contiguity")).row("log", lines)
            });
        }
        Ok(_) => {}
        Err(why) => cx.fact("kernel log", format!("not readable: {why}")),
    }
    Ok(suits)
}

/// Memory of the system heap comes in pieces of 1 MiB, 64 KiB and 4 KiB. A strict importer is told so, and a contiguous heap's is taken.
fn told_efault(cx: &mut Cx) -> Outcome {
    let importers = cx.importers(Way::ScatterList)?;
    let mut suits = Vec::new();
    // Pieces can lie side by side by chance, so one buffer is not enough; those before stay, and take the good places.
    let mut held = Vec::new();
    for _ in 0..16 {
        let exported = SYSTEM_HEAP.export(cx)?;
        suits.push(strictly(cx, &importers[0], &exported.shared)?);
        held.push(exported);
    }
    if !suits.contains(&false) {
        return Err(Trouble::Skip(format!("{} buffers of the system heap lie in one run each", suits.len())));
    }
    let exported = CONTIGUOUS.export(cx)?;
    let suits = strictly(cx, &importers[0], &exported.shared)?;
    cx.equals("whether the contiguous heap's buffer suits", true, suits);
    cx.agree()
}

/// S4 seen from the other side: who maps through the CPU is no device of the buffer's, and no scatter list shows where it lies.
fn cpu_importer(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let importers = cx.importers(Way::Cpu)?;
    let exported = exporter.export(cx)?;
    cx.fact("buffer", &exported.shared);
    // A codec's smallest picture may be larger than the buffer.
    let room = exported.shared.dmabuf.size;
    let importer = importers.iter().find(|importer| importer.take(&exported.shared).needs <= room);
    let importer = importer.ok_or_else(|| Trouble::Skip(format!("no importer on the CPU works with {room} B")))?;
    let (answer, deed) = cx.watch(|_| importer.take(&exported.shared))?;
    cx.equals(format!("{importer} is offered the buffer"), "taken".to_owned(), answer.said());
    let devices = |deed: &Deed| deed.events.iter().filter_map(|event| event.what.device()).count();
    cx.claim("no device", devices(&deed) == 0, || {
        Finding::new(format!("{importer} attaches or maps for a device"))
            .row("kernel", deed.to_string())
            .row("like", "an importer that takes a scatter list that it does not use, and holds up a move with it")
    });
    let entry = cx.listed(&exported.shared.dmabuf.identity()?)?;
    cx.equals(
        "devices that the kernel lists",
        String::new(),
        entry.map_or_else(String::new, |entry| entry.attached.join(", ")),
    );
    let seen = cx.segments(&Device::named(importer.to_string(), "nobody"), &exported.shared);
    cx.claim("placement", matches!(seen, Err(Trouble::Skip(_))), || {
        Finding::new(format!("a scatter list is seen where {importer} has none")).row("kernel", deed.to_string())
    });
    cx.agree()
}

/// Size, exporter and inode are the same in lseek, fstat, fdinfo and the kernel's list.
fn tells_the_same(cx: &mut Cx, exporter: Exporter) -> Outcome {
    let exported = exporter.export(cx)?;
    let dmabuf = &exported.shared.dmabuf;
    let buffer = dmabuf.identity()?;
    let fdinfo = dmabuf.fdinfo().map_err(|why| Trouble::Skip(why.to_string()))?;
    let listed = cx.listed(&buffer)?.ok_or_else(|| Finding::new(format!("the kernel does not list {dmabuf}")))?;
    let exporter = buffer.exporter.clone().unwrap_or_default();
    // Who is alone with a size is wrong.
    let told = [("lseek to the end", buffer.size), ("fdinfo", fdinfo.size), ("the kernel's list", listed.buffer.size)];
    let sizes = told.map(|(_, size)| size);
    let most = sizes.into_iter().max_by_key(|size| sizes.iter().filter(|other| *other == size).count());
    for (who, size) in told {
        let like = "a size that is rounded on the way to one of those who ask";
        cx.equals_else(format!("size in bytes that {who} tells"), most.unwrap_or_default(), size, like);
    }
    cx.equals("exporter in the list", exporter, listed.buffer.exporter.unwrap_or_default());
    cx.equals("inode in fdinfo", buffer.inode, fdinfo.inode.unwrap_or(buffer.inode));
    cx.equals("references", fdinfo.references, listed.references);
    cx.agree()
}
