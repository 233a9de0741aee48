//! Memory is one and the same in whatever order it is bound, exported and imported, however often, and whoever goes first.
//!
//! The orders are those that Vulkan leaves open, with the names of its conformance tests. What crosses is drawn after the last
//! of these steps, so a copy made on the way shows.

use handover::covering::covering;
use handover::dmabuf::Dmabuf;
use handover::prelude::*;
use handover::vk::Buffer as Words;

use crate::drivers::LAVAPIPE_25_0;

const SIZE: Size = px(250, 130);

/// No multiple of a page or of a workgroup.
const BYTES: u64 = 70_004;

/// Imports of one buffer that live at once, more than a driver's table of handles would have by chance.
const IMPORTS: u32 = 16;

/// Memory before, which is as much as drivers want things aligned to, and behind: llvmpipe works in blocks of 4 rows and touches
/// those behind the last one.
const SHARED_ROOM: Room = Room::SubAllocated { before: 65536, after: 65536 };

/// When the exporter binds its memory, and when the importer does.
#[derive(Clone, Copy)]
enum Order {
    /// The exporter binds, then exports.
    BindThenExport,
    /// It exports, then binds; then the other imports.
    ExportThenBind,
    /// It exports, the other imports, and only then both bind.
    BindLast,
}

const ORDERS: [(&str, Order); 3] = [
    ("bind_export_import_bind", Order::BindThenExport),
    ("export_bind_import_bind", Order::ExportThenBind),
    ("export_import_bind_bind", Order::BindLast),
];

/// What has the memory.
#[derive(Clone, Copy)]
enum What {
    Image,
    Buffer,
}

const WHATS: [(&str, What); 2] = [("image", What::Image), ("buffer", What::Buffer)];

const ROOMS: [(&str, Room); 2] = [("dedicated", Room::Dedicated), ("sub_allocated", SHARED_ROOM)];

/// Who exports and who imports; the same role twice is a second instance of the device.
const PAIRS: [(Role, Role); 4] = [(GpuA, GpuA), (GpuA, GpuB), (GpuB, GpuA), (GpuB, GpuB)];

/// Which claim, made of a GPU and its second instance, sees which faults of its driver.
const SEEN: [(&str, Role, &str); 7] = [
    ("a_buffer_outlives_its_exporter", GpuA, "free-clears-shared"),
    ("each_export_is_a_new_fd_of_one_buffer", GpuA, "same-fd-twice"),
    ("many_imports_see_one_buffer", GpuA, "import-leaks-fd"),
    ("many_imports_see_one_buffer", GpuA, "imported-memory-never-freed"),
    ("an_import_outlives_its_fd", GpuA, "no-memory-type"),
    ("an_import_outlives_its_fd", GpuB, "acquire-discards"),
    ("an_exporter_that_only_allocates_sees_what_the_importer_draws", GpuA, "export-reallocates"),
];

pub(crate) fn register(cases: &mut Cases<Cx>) {
    // Every two of pair, order, kind of resource and place in memory together.
    for row in covering(&[PAIRS.len(), ORDERS.len(), WHATS.len(), ROOMS.len()], 2, |_| true) {
        let (pair, order) = (PAIRS[row[0]], ORDERS[row[1]]);
        let (what, room) = (WHATS[row[2]], ROOMS[row[3]]);
        let name = format!("orders::memory_is_one::{}::{}::{}_{}", between(pair), order.0, room.0, what.0);
        let body = move |cx: &mut Cx| match what.1 {
            What::Image => one_image(cx, pair, order.1, room.1),
            What::Buffer => one_buffer(cx, pair, order.1, room.1),
        };
        let case = cases.add(name, body).from(pair.0).to(pair.1);
        if pair == (GpuA, GpuA) && what.0 == "image" && room.0 == "dedicated" {
            case.must_fail_under("import-copies");
        }
    }
    for gpu in [GpuA, GpuB] {
        cases
            .add(format!("orders::an_exported_fd_is_closed_on_exec::{gpu}"), move |cx| closed_on_exec(cx, gpu))
            .from(gpu)
            .known(LAVAPIPE_25_0, "cases/findings/lavapipe-no-cloexec.md", "the exported fd is not closed on exec")
            .must_fail_under("export-inherited");
    }
    for pair in PAIRS {
        let (from, to) = pair;
        let name = |claim: &str| format!("orders::{claim}::{}", between(pair));
        let mut add = |claim: &str, body: fn(&mut Cx, (Role, Role)) -> Outcome| {
            let case = cases.add(name(claim), move |cx| body(cx, pair)).from(from).to(to);
            let faults = SEEN.iter().filter(|(by, gpu, _)| *by == claim && pair == (*gpu, *gpu));
            faults.for_each(|(_, _, fault)| _ = case.must_fail_under(fault));
            if claim == "each_export_is_a_new_fd_of_one_buffer" {
                case.fails_with("which was handed out before and is still open");
            }
        };
        add("each_export_is_a_new_fd_of_one_buffer", exports_twice);
        add("many_imports_see_one_buffer", many_imports);
        add("an_import_outlives_its_fd", outlives_its_fd);
        add("a_buffer_outlives_its_exporter", outlives_its_exporter);
        add("an_exporter_that_only_allocates_sees_what_the_importer_draws", only_allocates);
    }
}

fn between((from, to): (Role, Role)) -> String {
    match from == to {
        true => format!("{from}_to_its_second_instance"),
        false => format!("{from}_to_{to}"),
    }
}

/// Both ends.
fn gpus(cx: &mut Cx, (from, to): (Role, Role)) -> Result<(Gpu, Gpu), Trouble> {
    let importer = if from == to { cx.second_instance(to)? } else { cx.gpu(to)? };
    Ok((cx.gpu(from)?, importer))
}

fn request(room: Room) -> ImageRequest {
    let layout = Layout::Modifiers(vec![Modifier::LINEAR]);
    ImageRequest { size: SIZE, fourcc: Fourcc::XR24, layout, room, export: vec![HandleType::DmaBuf] }
}

/// Dedicated memory is imported as such.
fn how(room: Room) -> ImportRequest {
    ImportRequest { dedicated: room == Room::Dedicated, ..ImportRequest::default() }
}

/// What the exporter draws at the end, the importer sees, and the other way round.
fn one_image(cx: &mut Cx, pair: (Role, Role), order: Order, room: Room) -> Outcome {
    let (exporter, importer) = gpus(cx, pair)?;
    let unbound = exporter.prepare_image(&request(room), Features::ALL)?;
    let shared = unbound.export_dmabuf();
    let (image, buffer, imported);
    let take = |shared: &SharedFrame| importer.prepare_import(shared, &how(room));
    match order {
        Order::BindThenExport => {
            drop(shared);
            image = unbound.bind()?;
            buffer = cx.publish(Guest::Gpu(&exporter), image.export_dmabuf()?)?;
            imported = cx.hold(&Guest::Gpu(&importer), &buffer, Access::Write, |shared| take(shared)?.bind())?;
        }
        Order::ExportThenBind => {
            buffer = cx.publish(Guest::Gpu(&exporter), shared?)?;
            image = unbound.bind()?;
            imported = cx.hold(&Guest::Gpu(&importer), &buffer, Access::Write, |shared| take(shared)?.bind())?;
        }
        Order::BindLast => {
            buffer = cx.publish(Guest::Gpu(&exporter), shared?)?;
            let mut bound = None;
            imported = cx.hold(&Guest::Gpu(&importer), &buffer, Access::Write, |shared| {
                let taken = take(shared)?;
                bound = Some(unbound.bind()?);
                taken.bind()
            })?;
            image = bound.ok_or_else(|| Finding::new("the importer was not asked"))?;
        }
    }
    let seeded = Target::stamped(7, Fourcc::XR24, SIZE)?;
    if let Some(before) = &seeded.before {
        cx.cpu_writes(&buffer, before)?;
    }
    cx.mapped(&Guest::Gpu(&exporter), &buffer, Access::Write, |_, _| Ok(image.draw_pattern(7)?))?;
    cx.cpu_sees(&buffer, &seeded)?;
    cx.sees(format!("{}, by its import in that order,", pair.1), &seeded, &imported.read_back()?)?;
    imported.draw_pattern(8)?;
    let target = Target::stamped(8, Fourcc::XR24, SIZE)?;
    cx.sees(format!("{} after the importer drew", pair.0), &target, &image.read_back()?)?;
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}

/// [`one_image`] for words that a compute shader writes.
fn one_buffer(cx: &mut Cx, pair: (Role, Role), order: Order, room: Room) -> Outcome {
    let (exporter, importer) = gpus(cx, pair)?;
    let request = BufferRequest { size: BYTES, room, export: vec![HandleType::DmaBuf] };
    let unbound = exporter.prepare_buffer(&request)?;
    let span = unbound.span();
    let take = |dmabuf: &Dmabuf| importer.prepare_buffer_import(dmabuf, span, room == Room::Dedicated);
    let (buffer, dmabuf, imported): (Words, Dmabuf, Words);
    match order {
        Order::BindThenExport => {
            buffer = unbound.bind()?;
            dmabuf = buffer.export_dmabuf()?;
            imported = take(&dmabuf)?.bind()?;
        }
        Order::ExportThenBind => {
            dmabuf = unbound.export_dmabuf()?;
            buffer = unbound.bind()?;
            imported = take(&dmabuf)?.bind()?;
        }
        Order::BindLast => {
            dmabuf = unbound.export_dmabuf()?;
            let taken = take(&dmabuf)?;
            buffer = unbound.bind()?;
            imported = taken.bind()?;
        }
    }
    cx.fact("buffer", format!("{span} in {dmabuf}"));
    let words = BYTES as u32 / 4;
    buffer.upload(&noise_words(6, words))?;
    buffer.fill(7)?;
    cx.cpu_sees_words(&dmabuf, span, &noise_words(7, words))?;
    cx.sees_words(pair.1, &noise_words(7, words), &imported.read_back()?)?;
    imported.fill(8)?;
    cx.sees_words(format!("{} after the importer wrote", pair.0), &noise_words(8, words), &buffer.read_back()?)?;
    cx.agree()
}

/// Each export is an fd of its own, and all are one buffer: the later ones work when the first is closed.
fn exports_twice(cx: &mut Cx, pair: (Role, Role)) -> Outcome {
    let (exporter, importer) = gpus(cx, pair)?;
    let drawn = cx.draw(&exporter, &NewFrame::of(Fourcc::XR24, SIZE), 7)?;
    let (first, second) = (drawn.image.export_dmabuf()?, drawn.image.export_dmabuf()?);
    let (one, other) = (first.dmabuf.identity()?, second.dmabuf.identity()?);
    cx.equals("the inode of the second export", one.inode, other.inode);
    drop(first);
    let buffer = cx.publish(Guest::Gpu(&exporter), second)?;
    cx.gpu_sees(pair.1, &importer, &buffer, &ImportRequest::default(), &drawn.target)?;
    cx.cpu_sees(&drawn.buffer, &drawn.target)?;
    cx.agree()
}

/// A program that this one starts does not get its buffers.
fn closed_on_exec(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let export = cx.draw(&gpu, &NewFrame::of(Fourcc::XR24, SIZE), 7)?.image.export_dmabuf()?;
    cx.claim("close-on-exec", export.dmabuf.came_close_on_exec(), || {
        Finding::new("the exported fd is not closed on exec: every program that is started gets the buffer")
            .row("fd", export.dmabuf.to_string())
            .row("like", "a duplicate that was made by dup(), which does not keep FD_CLOEXEC")
    });
    cx.agree()
}

/// Imports of one buffer all see it, those that were there before it was drawn and after others went; nothing is left open.
fn many_imports(cx: &mut Cx, pair: (Role, Role)) -> Outcome {
    let (exporter, importer) = gpus(cx, pair)?;
    let mut drawn = cx.draw(&exporter, &NewFrame::of(Fourcc::XR24, SIZE), 7)?;
    // What is made at the first import and kept, such as an fd that stands for the buffer.
    cx.gpu_sees("an import before", &importer, &drawn.buffer, &ImportRequest::default(), &drawn.target)?;
    let before = cx.files();
    let mut imports = Vec::new();
    for _ in 0..IMPORTS {
        imports.push(cx.import(&importer, &drawn.buffer, &ImportRequest::default())?);
    }
    cx.redraw(&exporter, &mut drawn, 8)?;
    let mut number = 0;
    // From the middle, the front and the back in turn.
    while !imports.is_empty() {
        let at = [imports.len() / 2, 0, imports.len() - 1][number % 3];
        let actual = imports.swap_remove(at).read_back()?;
        cx.sees(format!("import {number} of {IMPORTS}"), &drawn.target, &actual)?;
        number += 1;
    }
    cx.no_file_stays(IMPORTS, "imports", &before);
    cx.cpu_sees(&drawn.buffer, &drawn.target)?;
    cx.agree()
}

/// An import by a duplicate works when every fd that the exporter made is closed, and so does what was imported before.
fn outlives_its_fd(cx: &mut Cx, pair: (Role, Role)) -> Outcome {
    let (exporter, importer) = gpus(cx, pair)?;
    let drawn = cx.draw(&exporter, &NewFrame::of(Fourcc::XR24, SIZE), 7)?;
    let SharedFrame { dmabuf, frame } = drawn.image.export_dmabuf()?;
    let duplicate = dmabuf.try_clone()?;
    drop(dmabuf);
    let shared = SharedFrame { dmabuf: duplicate, frame };
    let imported = importer.import_image(&shared, &ImportRequest::default())?;
    drop(shared);
    drawn.image.draw_pattern(8)?;
    let target = Target::stamped(8, Fourcc::XR24, SIZE)?;
    cx.sees(pair.1, &target, &imported.read_back()?)?;
    cx.cpu_sees(&drawn.buffer, &target)?;
    cx.agree()
}

/// When the exporter has destroyed its image and freed its memory, those who have the buffer still see it, and those who
/// import it then do, too.
fn outlives_its_exporter(cx: &mut Cx, pair: (Role, Role)) -> Outcome {
    let (exporter, importer) = gpus(cx, pair)?;
    let Drawn { image, buffer, target } = cx.draw(&exporter, &NewFrame::of(Fourcc::XR24, SIZE), 7)?;
    let early = cx.import(&importer, &buffer, &ImportRequest::default())?;
    drop(image);
    // Takes the place of the memory, if that was given back.
    let other = cx.draw(&exporter, &NewFrame::of(Fourcc::XR24, SIZE), 9)?;
    cx.sees(format!("{}, who imported before,", pair.1), &target, &early.read_back()?)?;
    cx.gpu_sees(
        format!("{}, who imported afterwards,", pair.1),
        &importer,
        &buffer,
        &ImportRequest::default(),
        &target,
    )?;
    cx.cpu_sees(&buffer, &target)?;
    cx.sees(format!("{} in its next image", pair.0), &other.target, &other.image.read_back()?)?;
    cx.agree()
}

/// The exporter makes the image and hands it over as it is; who imports it draws first.
fn only_allocates(cx: &mut Cx, pair: (Role, Role)) -> Outcome {
    let (exporter, importer) = gpus(cx, pair)?;
    let (image, buffer) = cx.make(&exporter, &NewFrame::of(Fourcc::XR24, SIZE))?;
    image.hand_over()?;
    let target = cx.draw_into(&importer, &buffer, 7)?;
    cx.sees(format!("{}, whose image it is,", pair.0), &target, &image.read_back()?)?;
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}
