//! Is what one side wrote what the other side sees, at once, and to the last byte: caches, mappings that are kept,
//! copies made in secret.
//!
//! Every frame is stamped, so that a stale one is told from a wrong one.

use std::time::Duration;

use handover::compare::compare;
use handover::ends::{Exporter, Importer, Parcel, exporters, importers};
use handover::interrupt;
use handover::prelude::*;
use handover::vk::{Buffer as Words, Span};

use crate::fences::screen_sees;

const SIZE: Size = px(64, 64);

/// A page and a half, so that the last page is not full.
const BYTES: u64 = 6144;
const WORDS: u32 = 1536;

/// Generations that a mapping is kept for.
const GENERATIONS: std::ops::Range<u32> = 7..12;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for from in [Udmabuf, DmaHeap, Screen, GpuA] {
        for to in [GpuA, GpuB, Gles, Gbm, Vgem].into_iter().filter(|to| *to != from) {
            let name = format!("coherency::an_import_is_no_copy::{from}_to_{to}");
            let case = cases.add(name, move |cx| is_no_copy(cx, from, to)).from(from).to(to);
            // Only the first GPU is broken on purpose.
            match to {
                GpuA => case.must_fail_under(IMPORT_COPIES),
                Vgem => case.must_fail_under(PRIME_COPIES),
                Gbm if from == Udmabuf => case.must_fail_under("gbm-map-stale"),
                _ => case,
            };
            if from == GpuA {
                case.must_fail_under("export-reallocates");
            }
        }
    }
    cases
        .add("coherency::an_import_is_no_copy::udmabuf_to_screen", screen_is_no_copy)
        .from(Udmabuf)
        .to(Screen)
        .needs(Need::Crc)
        .must_fail_under(PRIME_COPIES);
    cases.add("coherency::an_import_is_no_copy::udmabuf_to_video", video_is_no_copy).from(Udmabuf).to(Video);
    for by in [Cpu, GpuA, GpuB, Gles, Screen, Video] {
        let case = cases
            .add(format!("coherency::signals_in_the_middle_of_a_wait_change_nothing::{by}"), move |cx| {
                interrupted(cx, by)
            })
            .from(Udmabuf)
            .to(by)
            .fails_with(if by == GpuA { READ_EARLY } else { "did not wait for the fence…came while it waited" });
        match by {
            Cpu | Video | Gles => _ = case.must_fail_under("wait-ends-at-signal"),
            // GPUs wait for the fence on threads of their drivers, to which no signal comes, and we for them.
            GpuA => _ = case.must_fail_under("fence-wait-interrupted"),
            // The screen waits in the kernel.
            _ => {}
        }
    }
    for gpu in [GpuA, GpuB] {
        for (side, imported) in [("exported", false), ("imported", true)] {
            let name = format!("coherency::a_kept_mapping_sees_every_submission::{gpu}::{side}");
            let case = cases.add(name, move |cx| kept_mapping(cx, gpu, imported)).from(gpu);
            case.must_fail_under(if gpu == GpuA { IMPORT_COPIES } else { "stale-map" });
        }
        for (what, body) in [("image", image_released as fn(&mut Cx, Role) -> Outcome), ("buffer", buffer_released)] {
            let name = format!("coherency::a_release_to_foreign_is_there_at_its_fence::{gpu}::{what}");
            let case = cases.add(name, move |cx| body(cx, gpu)).from(gpu).to(Cpu);
            if gpu == GpuA {
                let other = if what == "image" { "release-discards" } else { "buffer-release-late" };
                case.must_fail_under("release-late").must_fail_under(other);
            }
        }
        let name = format!("coherency::a_release_to_external_is_there_at_its_fence::{gpu}");
        let case = cases.add(name, move |cx| kept_in_vulkan(cx, gpu)).from(gpu);
        if gpu == GpuA {
            case.must_fail_under(IMPORT_COPIES).must_fail_under("external-release-late");
        }
    }
    for from in exporters().into_iter().filter(|from| ![ScreenB, GlesGbm].contains(&from.role())) {
        let role = from.role();
        let name = |claim: &str| format!("coherency::{claim}::{role}");
        let case = cases
            .add(name("a_write_touches_nothing_else"), move |cx| with_buffer(cx, from, partial))
            .from(role)
            .to(Cpu)
            .must_fail_under("sync-writes-behind");
        if [Udmabuf, Screen].contains(&role) {
            case.must_fail_under("sync-forgets-last-line");
        }
        for gpu in [GpuA, GpuB] {
            let mut add = |claim: &str, faults: &[&str], body: fn(&mut Cx, Role, &Buffer, &SharedFrame) -> Checked| {
                let body =
                    move |cx: &mut Cx| with_buffer(cx, from, move |cx, buffer, shared| body(cx, gpu, buffer, shared));
                let case = cases.add(format!("coherency::{claim}::{role}_to_{gpu}"), body).from(role).to(gpu);
                for fault in faults.iter().filter(|_| gpu == GpuA) {
                    case.must_fail_under(fault);
                }
            };
            add("a_mapping_of_the_cpu_sees_every_submission", &[IMPORT_COPIES], cpu_mapping_kept);
            add("the_last_bytes_of_a_buffer_cross", &[IMPORT_COPIES, "tail-not-flushed"], tail);
        }
    }
}

/// What a check of a buffer comes to.
type Checked = Result<(), Trouble>;

/// What it looks like when a signal ends the wait for a GPU's work: that waited for the fence, and we did not for it.
const READ_EARLY: &str = "gpu_a saw…of neither frame…came while it waited";

/// The fault of a GPU whose imports are copies.
const IMPORT_COPIES: &str = "import-copies";
/// The same of a DRM card.
const PRIME_COPIES: &str = "prime-import-copies";

/// The device that plays `role`, as one that hands out.
fn exporter(role: Role) -> &'static dyn Exporter {
    exporters().into_iter().find(|exporter| exporter.role() == role).expect("the role is one of an exporter")
}

/// The device that plays `role`, as one that takes in.
fn importer(role: Role) -> &'static dyn Importer {
    importers().into_iter().find(|importer| importer.role() == role).expect("the role is one of an importer")
}

/// What crosses: OpenGL ES draws to no format with an unused component.
fn parcel(from: Role, to: Role) -> Parcel {
    let fourcc = if [from, to].contains(&Gles) { Fourcc::AB24 } else { Fourcc::XR24 };
    Parcel::of(fourcc, SIZE)
}

/// A frame of `from`'s, in the hands of the CPU while `work` runs.
fn with_buffer(
    cx: &mut Cx,
    from: &'static dyn Exporter,
    work: impl FnOnce(&mut Cx, &Buffer, &SharedFrame) -> Checked,
) -> Outcome {
    let parcel = parcel(from.role(), Cpu);
    if let Some(why) = from.lacks(cx, &parcel)? {
        return Err(Trouble::Skip(format!("{} can't hand it out: {why}", from.role())));
    }
    let exported = from.export(cx, &parcel, importer(Cpu))?;
    let buffer = exported.buffer().clone();
    cx.mapped(&Guest::Cpu, &buffer, Access::Write, |cx, shared| work(cx, &buffer, shared))?;
    cx.agree()
}

/// What is written on either side after the import is seen on the other: the two are one memory.
fn is_no_copy(cx: &mut Cx, from: Role, to: Role) -> Outcome {
    let (from, to, parcel) = (exporter(from), importer(to), parcel(from, to));
    for (role, why) in [(from.role(), from.lacks(cx, &parcel)?), (to.role(), to.lacks(cx, &parcel)?)] {
        if let Some(why) = why {
            return Err(Trouble::Skip(format!("{role}: {why}")));
        }
    }
    let mut exported = from.export(cx, &parcel, to)?;
    exported.draw(cx, 6)?;
    let target = |stamp| Target::stamped(stamp, parcel.fourcc, parcel.size);
    // What is not there the importer can't be blamed for.
    let there = cx.mapped(&Guest::Cpu, exported.buffer(), Access::Read, |_, shared| Ok(shared.read_back()?))?;
    cx.sees(format!("whoever maps what {} handed out", from.role()), &target(6)?, &there)?;
    let mut imported = to.import(cx, exported.buffer())?;
    imported.sees(cx, &target(6)?)?;
    for stamp in [7, 8] {
        exported.draw(cx, stamp)?;
        imported.sees(cx, &target(stamp)?)?;
    }
    if to.draws(&parcel) {
        imported.draw(cx, 9)?;
        cx.cpu_sees(exported.buffer(), &target(9)?)?;
        exported.sees(cx, &target(9)?)?;
    }
    cx.agree()
}

/// A frame is written while it is on the screen: what is scanned out next has it, with nothing committed in between.
fn screen_is_no_copy(cx: &mut Cx) -> Outcome {
    let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[Guest::Screen])?;
    let target = |stamp| Target::stamped(stamp, Fourcc::XR24, SIZE);
    for stamp in [7, 9] {
        cx.cpu_writes(&buffer, &target(stamp)?.picture)?;
        cx.screen_shows(&[(Layer::whole(&buffer), &target(stamp)?)])?;
        let next = target(stamp + 1)?;
        cx.cpu_writes(&buffer, &next.picture)?;
        cx.screen_goes_on_to_show(Layer::whole(&buffer), &next)?;
    }
    cx.agree()
}

/// Output holds on to its frame: what is written into it then is what capture sees next.
fn video_is_no_copy(cx: &mut Cx) -> Outcome {
    let video = cx.video_loop(Video)?;
    let guest = Guest::Video(video.output());
    let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[guest])?;
    let target = |stamp| Target::stamped(stamp, Fourcc::XR24, SIZE);
    cx.cpu_writes(&buffer, &target(7)?.picture)?;
    cx.mapped(&guest, &buffer, Access::Read, |cx, shared| {
        let mut stream = video.stream();
        let seen = stream.pass(shared)?;
        cx.sees("video", &target(7)?, &seen)?;
        for stamp in [8, 9] {
            shared.write(&target(stamp)?.picture)?;
            let seen = stream.look_again(shared)?;
            cx.sees("video, whose frame was written after it took it,", &target(stamp)?, &seen)?;
        }
        Ok(())
    })?;
    cx.agree()
}

/// A pointer that Vulkan gave is kept while the device works: it sees each generation, as a fresh mapping of the
/// dma-buf does.
fn kept_mapping(cx: &mut Cx, role: Role, imported: bool) -> Outcome {
    let gpu = cx.gpu(role)?;
    let request = BufferRequest { size: BYTES, room: Room::Dedicated, export: vec![HandleType::DmaBuf] };
    let made = gpu.create_buffer(&request)?;
    let (dmabuf, span) = (made.export_dmabuf()?, made.span());
    cx.fact("buffer", format!("{span} in {dmabuf}"));
    // Who works is the one whose memory is mapped, through another buffer of that memory.
    let mut mapped: Words = if imported { gpu.import_buffer(&dmabuf, span, true)? } else { made };
    mapped.upload(&noise_words(GENERATIONS.start - 1, WORDS))?;
    let worker = gpu.import_buffer(&dmabuf, span, true)?;
    let map = missing_is_skip(mapped.map())?;
    for stamp in GENERATIONS {
        let before = noise_words(stamp - 1, WORDS);
        cx.sees_words(format!("the kept mapping before submission {stamp}"), &before, &map.words())?;
        worker.fill(stamp)?;
        let target = noise_words(stamp, WORDS);
        cx.cpu_sees_words(&dmabuf, span, &target)?;
        let kept = map.words();
        cx.claim("kept mapping", kept != before, || {
            let (old, fresh) = (stamp - 1, "a fresh mapping of the dma-buf shows that");
            Finding::new(format!(
                "the kept mapping shows generation {old} after the fence of generation {stamp}, and {fresh}"
            ))
            .row("like", "a snapshot, or a cache that is not coherent")
        });
        if cx.disagrees() {
            break;
        }
        cx.sees_words(format!("the kept mapping after submission {stamp}"), &target, &kept)?;
    }
    cx.agree()
}

/// One look at a frame, by whoever plays a role.
type Look<'l> = Box<dyn FnMut(&mut Cx, &Turn<'_>) -> Result<Seen, Trouble> + 'l>;

/// How `by` looks at `buffer`: after whoever draws there, which the CPU and the screen wait for by themselves, and GPUs when
/// they are given the fence. A video device can't be given one: there it is the program that waits.
fn looking<'l>(cx: &mut Cx, by: Role, buffer: &'l Buffer, shared: &'l SharedFrame) -> Result<Look<'l>, Trouble> {
    let fence = || shared.dmabuf.export_sync_file(Use::Read);
    Ok(match by {
        Screen => Box::new(move |cx, turn| screen_sees(cx, &[Layer::whole(buffer)], &[], turn.generations)),
        Gles => {
            let gles = cx.gles()?;
            let image = cx.hold(&Guest::Gles(&gles), buffer, Access::Read, |shared| {
                gles.import(shared, handover::gles::Through::Texture2d)
            })?;
            Box::new(move |_, turn| {
                gles.import_fence(fence()?)?.hold_back_drawing()?;
                Ok(turn.generations.seen(&image.sampled_picture()?)?)
            })
        }
        Video => {
            let video = cx.video_loop(Video)?;
            Box::new(move |cx, turn| {
                shared.dmabuf.wait(Use::Read, Duration::from_secs(5))?;
                let guest = Guest::Video(video.output());
                let seen = cx.mapped(&guest, buffer, Access::Read, |_, shared| Ok(video.seen_of(shared)?))?;
                Ok(turn.generations.seen(&seen)?)
            })
        }
        GpuA | GpuB => {
            let gpu = cx.gpu(by)?;
            let image = cx.import(&gpu, buffer, &ImportRequest::default())?;
            Box::new(move |_, turn| {
                let begin = missing_is_skip(gpu.semaphore())?;
                begin.import(Some(fence()?))?;
                Ok(turn.generations.seen(&image.read_back_after(&[&begin])?)?)
            })
        }
        _ => Box::new(move |_, turn| Ok(turn.generations.seen(&shared.read_back()?)?)),
    })
}

/// How often it is tried to have a signal come in the middle of a wait.
const TRIES: u32 = 3;

/// Signals come every millisecond while whoever looks waits for the fence of a slow writer: each call that they break
/// off is made again, and the frame is the new one all the same. Without the fence, the signals alone hold back nobody.
fn interrupted(cx: &mut Cx, by: Role) -> Outcome {
    let fourcc = if by == Gles { Fourcc::AB24 } else { Fourcc::XR24 };
    let buffer = cx.udmabuf(fourcc, SIZE, &[Guest::Cpu])?;
    cx.mapped(&Guest::Cpu, &buffer, Access::Write, |cx, shared| {
        let mut look = looking(cx, by, &buffer, shared)?;
        let (mut signals, mut restarts) = (0, 0);
        // A driver's waits are calls of its own.
        let is_the_drivers = [GpuA, GpuB, Gles].contains(&by);
        // On a machine that is busy with other things the fence may signal before the first signal comes.
        for _ in 0..TRIES {
            cx.reads_in_order(by.as_str(), shared, (FenceBy::SwSync, Put::InBuffer), &mut |cx, turn| {
                let before = interrupt::made_again();
                let is_fenced = !shared.dmabuf.ready()?.to_read;
                let (seen, came) = interrupt::while_interrupted(Duration::from_millis(1), || look(cx, turn))?;
                if is_fenced {
                    signals += came;
                    restarts += interrupt::made_again() - before;
                }
                seen
            })?;
            let came = if is_the_drivers { signals.into() } else { restarts };
            if came > 0 || cx.disagrees() {
                break;
            }
        }
        cx.figure("signals", signals.into());
        cx.figure("restarts", restarts as f64);
        let again = if restarts > 0 { format!(", and {restarts} calls were made again") } else { String::new() };
        cx.fact("signals", format!("{signals} came while it waited{again}"));
        cx.claim("interrupted", signals > 0, || Finding::new("no signal came while the other side waited"));
        if is_the_drivers {
            cx.fact("not observed", "which calls the driver made again: its waits are calls of its own");
        } else {
            cx.claim("restarted", restarts > 0, || {
                Finding::new(format!("{signals} signals came, and none broke off a call that was then made again"))
                    .row("like", "the wait is not one that signals interrupt, or it ended before the first")
            });
        }
        Ok(())
    })?;
    cx.agree()
}

/// What was drawn before a release to devices outside Vulkan is in the dma-buf when the fence of that same submission
/// signals.
fn image_released(cx: &mut Cx, role: Role) -> Outcome {
    let gpu = cx.gpu(role)?;
    let mut drawn = cx.draw(&gpu, &NewFrame::of(Fourcc::XR24, SIZE), GENERATIONS.start - 1)?;
    let reader = format!("the cpu, when {role} has released to FOREIGN_EXT,");
    cx.cpu_sees_of(&reader, &drawn.buffer, &drawn.target)?;
    for stamp in GENERATIONS {
        cx.redraw(&gpu, &mut drawn, stamp)?;
        // Nothing else is submitted in between, and the mapping is a fresh one.
        cx.cpu_sees_of(&reader, &drawn.buffer, &drawn.target)?;
        if cx.disagrees() {
            cx.looks_again(role, &gpu, &drawn, &ImportRequest::default());
            break;
        }
    }
    cx.agree()
}

fn buffer_released(cx: &mut Cx, role: Role) -> Outcome {
    let gpu = cx.gpu(role)?;
    let request = BufferRequest { size: BYTES, room: Room::Dedicated, export: vec![HandleType::DmaBuf] };
    let buffer = gpu.create_buffer(&request)?;
    let (dmabuf, span) = (buffer.export_dmabuf()?, buffer.span());
    cx.fact("buffer", format!("{span} in {dmabuf}"));
    for stamp in GENERATIONS {
        buffer.fill(stamp)?;
        let target = noise_words(stamp, WORDS);
        cx.cpu_sees_words(&dmabuf, span, &target)?;
        if cx.disagrees() {
            // Any other submission, without a fence of the first one's.
            buffer.read_back()?;
            let bytes: Vec<u8> = target.iter().flat_map(|word| word.to_ne_bytes()).collect();
            if dmabuf.map()?.read(span.offset..span.offset + span.size)? == bytes {
                cx.fact(
                    "like",
                    "a release of a buffer that takes effect with the next submission: it is there by then",
                );
            }
            break;
        }
    }
    cx.agree()
}

/// What was written before a release to other instances of the device is there for them when the fence signals.
fn kept_in_vulkan(cx: &mut Cx, role: Role) -> Outcome {
    let (gpu, second) = (cx.gpu(role)?, cx.second_instance(role)?);
    let request = BufferRequest { size: BYTES, room: Room::Dedicated, export: vec![HandleType::DmaBuf] };
    let buffer = gpu.prepare_buffer(&request)?.kept_in_vulkan().bind()?;
    let (dmabuf, span): (_, Span) = (buffer.export_dmabuf()?, buffer.span());
    cx.fact("buffer", format!("{span} in {dmabuf}"));
    let other = second.prepare_buffer_import(&dmabuf, span, true)?.kept_in_vulkan().bind()?;
    for stamp in GENERATIONS {
        buffer.fill(stamp)?;
        let target = noise_words(stamp, WORDS);
        cx.sees_words(format!("{role} in its second instance"), &target, &other.read_back()?)?;
        if cx.disagrees() {
            buffer.read_back()?;
            if other.read_back()? == target {
                cx.fact(
                    "like",
                    "a release to EXTERNAL that takes effect with the next submission: it is there by then",
                );
            }
            break;
        }
        other.fill(stamp + 100)?;
        cx.sees_words(format!("{role} in its first instance"), &noise_words(stamp + 100, WORDS), &buffer.read_back()?)?;
    }
    cx.agree()
}

/// Bytes written somewhere in the middle, across the end of a page and at both ends are there, and no other byte has
/// changed, as a second mapping sees it.
fn partial(cx: &mut Cx, _: &Buffer, shared: &SharedFrame) -> Result<(), Trouble> {
    let (mut one, other) = (shared.dmabuf.map()?, shared.dmabuf.map()?);
    let size = shared.dmabuf.size;
    let mut target: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
    one.write(0, &target)?;
    cx.sees_bytes("a second mapping", &target, &other.read(0..size)?)?;
    let page = handover::dmabuf::page_size();
    for (at, length) in [(0, 1), (page - 3, 7), (size / 2 + 1, 129), (size - 1, 1), (size - 17, 16)] {
        let bytes: Vec<u8> = (0..length).map(|n| 0x80 | (at + n) as u8).collect();
        one.write(at, &bytes)?;
        let written = at as usize..(at + length) as usize;
        target[written.clone()].copy_from_slice(&bytes);
        let seen = other.read(0..size)?;
        let before = cx.disagrees();
        cx.sees_bytes(format!("a second mapping after {length} B at byte {at}"), &target, &seen)?;
        if cx.disagrees() && !before {
            let is_wrong = |inside| (0..target.len()).any(|n| written.contains(&n) == inside && seen[n] != target[n]);
            match (is_wrong(true), is_wrong(false)) {
                (true, false) => cx.fact("like", "a cache that does not write back all that was written"),
                (false, true) => cx.fact("like", "a cache that writes back more than was written"),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The last words of the last page cross in both directions.
fn tail(cx: &mut Cx, role: Role, _: &Buffer, shared: &SharedFrame) -> Checked {
    let gpu = cx.gpu(role)?;
    let (dmabuf, size) = (&shared.dmabuf, shared.dmabuf.size);
    let span = Span { offset: size - 4096, size: 4096 };
    let words = gpu.import_buffer(dmabuf, span, false)?;
    let mut mapping = dmabuf.map()?;
    let target = noise_words(7, 1024);
    let bytes: Vec<u8> = target.iter().flat_map(|word| word.to_ne_bytes()).collect();
    // In two parts, the second of which is the last byte alone.
    mapping.write(span.offset, &bytes[..4095])?;
    mapping.write(size - 1, &bytes[4095..])?;
    cx.sees_words(format!("{role} at the end of the buffer"), &target, &words.read_back()?)?;
    words.fill(8)?;
    cx.cpu_sees_words(dmabuf, span, &noise_words(8, 1024))?;
    Ok(())
}

/// One mapping of the CPU is kept while a GPU draws, and sees each generation in an access of its own.
fn cpu_mapping_kept(cx: &mut Cx, role: Role, buffer: &Buffer, shared: &SharedFrame) -> Checked {
    let gpu = cx.gpu(role)?;
    let image = cx.import(&gpu, buffer, &ImportRequest::default())?;
    let kept = shared.dmabuf.map()?;
    let end = shared.frame.end()?;
    for stamp in GENERATIONS {
        image.draw_pattern(stamp)?;
        let seen = Picture::of_frame(&shared.frame, &kept.read(0..end)?)?;
        let target = Target::stamped(stamp, shared.frame.fourcc, SIZE)?;
        cx.sees(format!("the cpu through a mapping kept while {role} drew"), &target, &seen)?;
        if cx.disagrees() {
            // What is only late is there when the importer has read its own.
            let own = image.read_back()?;
            let later = Picture::of_frame(&shared.frame, &kept.read(0..end)?)?;
            let same =
                |one: &Picture, other: &Picture| Ok::<_, Trouble>(compare(one, other, &Tolerance::Exact)?.is_none());
            if same(&target.picture, &own)? && same(&seen, &later)? {
                cx.fact(
                    "like",
                    format!("an import that is a copy: {role} sees what it drew, and the buffer has none of it"),
                );
            }
            break;
        }
    }
    Ok(())
}
