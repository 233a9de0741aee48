//! The rules of the sharing core, S1 to S8, on real memory and real devices. Each claim is a rule's, by name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use handover::error::Error;
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::constraints::{Bytes, Constraints, MemoryNeeds, Party};
use handover::share::heap::{Heaps, Offer};
use handover::share::heaps::Kind;
use handover::share::refused::ShareError;

use crate::drivers::LAVAPIPE;

mod files;
mod liars;
mod mmaps;
mod model;
mod peers;
mod promises;
mod replay;
mod shortage;
mod stalls;

/// No multiple of a page in any direction.
const SIZE: Size = px(250, 130);

const FOURCC: Fourcc = Fourcc::XR24;

/// Patience with a mapping that will not end.
const SHORTLY: Duration = Duration::from_millis(20);

/// Memory that frames are put into.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    /// Of a heap of this kind that promises no contiguity.
    Of(Kind),
    /// Of a heap that promises contiguity, of whatever kind.
    Contiguous,
}

use Memory::{Contiguous, Of};

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Of(kind) => kind.fmt(f),
            Contiguous => f.write_str("contiguous"),
        }
    }
}

const UDMABUF: Memory = Of(Kind::Udmabuf);
const SYSTEM: Memory = Of(Kind::DmaHeap);

const MEMORIES: [Memory; 7] =
    [UDMABUF, SYSTEM, Of(Kind::Dumb), Of(Kind::Expbuf), Of(Kind::Gbm), Of(Kind::Vulkan), Contiguous];

pub(crate) fn register(cases: &mut Cases<Cx>) {
    cases.add("sharing::export_allocates_nothing", export_allocates_nothing).must_fail_under("export-allocates");
    cases
        .add("sharing::attaching_allocates_nothing", attaching_allocates_nothing)
        .from(GpuA)
        .to(Screen)
        .must_fail_under("export-allocates");
    for memory in MEMORIES {
        for gpu in [GpuA, GpuB] {
            let case = cases
                .add(format!("sharing::a_frame_arrives_through::{memory}::{gpu}_to_screen"), move |cx| {
                    arrives_through(cx, memory, gpu)
                })
                .from(gpu)
                .to(Screen)
                .needs(Need::Seen);
            if (memory, gpu) == (UDMABUF, GpuA) {
                case.must_fail_under("import-pitch-rounded");
            }
        }
        let name = format!("sharing::eager_memory_is_there_at_once::{memory}");
        let case = cases.add(name, move |cx| is_there_at_once(cx, memory));
        if memory == UDMABUF {
            case.must_fail_under("allocation-deferred").must_fail_under("heap-without-limits");
        }
        for to in MEMORIES.into_iter().filter(|to| *to != memory) {
            let case = cases
                .add(format!("sharing::contents_survive_a_move::{memory}_to_{to}"), move |cx| survives(cx, memory, to))
                .from(GpuA)
                .to(GpuA);
            if (memory, to) == (UDMABUF, SYSTEM) {
                case.must_fail_under("move-loses-contents");
            }
        }
    }
    cases.add("sharing::the_cheapest_memory_is_taken", the_cheapest_is_taken).must_fail_under("udmabuf-scarce");
    cases
        .add("sharing::a_heap_that_fails_is_passed_over", failing_heap_is_passed_over)
        .must_fail_under("udmabuf-scarce");
    cases
        .add("sharing::a_layout_suits_every_device", a_layout_suits_everybody)
        .from(GpuA)
        .to(Screen)
        .must_fail_under("needs-unsaid")
        .fails_with("the pitch in bytes…not 2048");
    for (name, collision) in COLLISIONS {
        let case = cases.add(format!("sharing::a_refusal_names_who_collides::{name}"), move |cx| {
            names_who_collides(cx, *collision)
        });
        if let Collision::Pitch | Collision::Size = collision {
            case.must_fail_under("needs-unsaid");
        }
    }
    cases.add("sharing::a_refusal_changes_nothing", refusal_changes_nothing).must_fail_under("refusal-late");
    cases.add("sharing::who_overstays_is_named", who_overstays_is_named).must_fail_under("stay-unsaid");
    cases.add("sharing::others_go_on_when_storage_can_not_move", others_go_on).must_fail_under("unmap-forgotten");
    cases
        .add("sharing::stalls::a_map_waits_for_a_move_and_sees_new_storage", stalls::a_map_waits)
        .must_fail_under("timed-wait-at-once")
        .must_fail_under("move-loses-contents");
    for memory in MEMORIES.into_iter().filter(|memory| *memory != SYSTEM) {
        let name = format!("sharing::every_step_survives_a_lack_of_files::{memory}");
        let case = cases.add(name, move |cx| files::survives_a_lack(cx, memory));
        if memory == UDMABUF {
            case.must_fail_under("udmabuf-lacks-as-einval");
        }
        if memory == Of(Kind::Vulkan) {
            for says in [
                "files and dma-bufs with…files left: ",
                "it says:…vkGetMemoryFdKHR…invalid answer: fd -1",
                "still open after the case",
                "memfd:lp_dma_buf (deleted)…still mapped after the case",
            ] {
                case.from(GpuA).known(LAVAPIPE, "cases/findings/lavapipe-out-of-files.md", says);
            }
        }
    }
    mmaps::register(cases);
    peers::register(cases);
    liars::register(cases);
    shortage::register(cases);
    replay::register(cases);
    promises::register(cases);
    for seed in 0..4 {
        let case = cases.add(format!("sharing::core_and_model_agree::seed_{seed}"), move |cx| replay::agrees(cx, seed));
        if seed == 0 {
            case.must_fail_under("mapping-not-replaced");
        }
    }
}

/// Every heap with such memory; there is at least one.
fn all_heaps(cx: &mut Cx, memory: Memory) -> Result<Vec<Arc<dyn Heap>>, Trouble> {
    let mut found = match memory {
        Of(kind) => cx.heaps(kind)?,
        Contiguous => {
            let kinds = [Kind::Expbuf, Kind::DmaHeap];
            kinds.into_iter().filter_map(|kind| cx.heaps(kind).ok()).flatten().collect()
        }
    };
    found.retain(|heap| heap.offer().contiguous == (memory == Contiguous));
    match found.is_empty() {
        true => Err(Trouble::Skip(format!("no heap of this machine has {memory} memory"))),
        false => Ok(found),
    }
}

/// One heap with such memory.
fn heap(cx: &mut Cx, memory: Memory) -> Result<Heaps, Trouble> {
    Ok(Heaps::new(all_heaps(cx, memory)?.into_iter().take(1)))
}

/// One heap with memory of the one sort, and one of the other.
fn heaps(cx: &mut Cx, one: Memory, other: Memory) -> Result<Heaps, Trouble> {
    Ok(heap(cx, one)?.and(&heap(cx, other)?))
}

fn name_of(heaps: &Heaps) -> String {
    heaps.offers().first().map_or_else(String::new, |offer| offer.heap.clone())
}

/// A party that is content with anything that a CPU can work with, in the memory of one heap.
fn only(heap: &str) -> Party {
    let any = Constraints::cpu(&[FOURCC]);
    let memory = MemoryNeeds { heaps: Some([heap.to_owned()].into()), ..any.memory.clone() };
    Party { name: format!("a device that only takes {heap}"), constraints: Constraints { memory, ..any } }
}

fn easy(name: &str) -> Party {
    Party { name: name.to_owned(), constraints: Constraints::cpu(&[FOURCC]) }
}

fn wish() -> Wish {
    Wish { fourccs: vec![FOURCC], size: SIZE }
}

fn stamped(stamp: u32) -> Result<Picture> {
    Pattern { stamp }.picture(FOURCC, SIZE)
}

/// S1: a buffer of any size is published without a file or a page.
fn export_allocates_nothing(cx: &mut Cx) -> Outcome {
    let heaps = heap(cx, UDMABUF)?;
    let before = (cx.open_files()?, cx.dmabufs()?);
    let huge = Wish { fourccs: vec![FOURCC], size: px(30_000, 30_000) };
    let buffers: Vec<Buffer> = (0..50).map(|_| Buffer::export(huge.clone(), heaps.clone())).collect();
    let after = (cx.open_files()?, cx.dmabufs()?);
    cx.claim("files and dma-bufs after 50 exports", before == after, || {
        made_early("50 exports", after.1.saturating_sub(before.1))
            .row("target", format!("{} files and dma-bufs", Counts(before)))
            .row("actual", format!("{} files and dma-bufs", Counts(after)))
    });
    // The claim would hold of a buffer that never has storage, too.
    let small = Buffer::export(wish(), heaps);
    let attachment = small.attach(easy("cpu"))?;
    let mapping = attachment.map(Access::Read)?;
    cx.equals("dma-bufs after a map", before.1 + 1, cx.dmabufs()?);
    drop((mapping, buffers));
    cx.agree()
}

/// Storage was there before anybody mapped.
fn made_early(by: &str, count: usize) -> Finding {
    Finding::new(format!("{by} made {count} dma-bufs, and nobody has mapped"))
        .row("like", "an exporter whose storage is there before it is known who takes part")
}

/// S2: devices take part before anything is allocated, and the storage suits them when it comes.
fn attaching_allocates_nothing(cx: &mut Cx) -> Outcome {
    let heaps = heap(cx, UDMABUF)?;
    let gpu = cx.gpu(GpuA)?;
    let guests = [Guest::Gpu(&gpu), Guest::Screen, Guest::Cpu];
    // Devices are tried with a small buffer of the heap when they are first asked for their constraints.
    drop(cx.share(FOURCC, SIZE, heaps.clone(), &guests)?);
    let before = cx.dmabufs()?;
    let buffer = cx.share(FOURCC, SIZE, heaps, &guests)?;
    cx.equals("parties", 3, buffer.parties().len());
    let after = cx.dmabufs()?;
    cx.claim("dma-bufs", before == after, || made_early("3 attachments", after.saturating_sub(before)));
    cx.equals("storages", 0, buffer.generation());
    cx.cpu_writes(&buffer, &stamped(1)?)?;
    cx.equals("storages after the first map", 1, buffer.generation());
    cx.agree()
}

/// S3, S4: memory of each kind carries a frame from a GPU to a screen, and all readers see it.
fn arrives_through(cx: &mut Cx, memory: Memory, gpu: Role) -> Outcome {
    let heaps = heap(cx, memory)?;
    let gpu = cx.gpu(gpu)?;
    let buffer = cx.share(FOURCC, SIZE, heaps, &[Guest::Gpu(&gpu), Guest::Screen, Guest::Cpu])?;
    let target = cx.draw_into(&gpu, &buffer, 7)?;
    cx.cpu_sees(&buffer, &target)?;
    cx.screen_shows(&[(Layer::whole(&buffer), &target)])?;
    cx.agree()
}

/// S6: a device that only takes the other memory attaches; the frame is in that memory afterwards, to the last pixel.
fn survives(cx: &mut Cx, from: Memory, to: Memory) -> Outcome {
    let (here, there) = (name_of(&heap(cx, from)?), name_of(&heap(cx, to)?));
    let heaps = heaps(cx, from, to)?;
    let gpu = cx.gpu(GpuA)?;
    let buffer = cx.share(FOURCC, SIZE, heaps, &[Guest::Gpu(&gpu)])?;
    // Whichever of the two is cheaper: it begins where it is wanted.
    let keeper = buffer.attach(only(&here))?;
    let target = cx.draw_into(&gpu, &buffer, 7)?;
    drop(keeper);
    let heap_of = |buffer: &Buffer| buffer.storage().map_or_else(String::new, |storage| storage.heap.clone());
    cx.equals("the heap before", here.clone(), heap_of(&buffer));
    let strict = buffer.attach(only(&there))?;
    cx.equals("the heap afterwards", there, heap_of(&buffer));
    cx.equals("moves", 1, buffer.moves().len());
    cx.cpu_sees(&buffer, &target)?;
    cx.gpu_sees(GpuA, &gpu, &buffer, &Default::default(), &target)?;
    drop(strict);
    if let Some(moved) = buffer.moves().first() {
        cx.figure("stall_ms", moved.stall().as_secs_f64() * 1e3);
    }
    cx.agree()
}

/// S7: with allocate-now the storage is there before anybody maps, and it is what the first map shows.
fn is_there_at_once(cx: &mut Cx, memory: Memory) -> Outcome {
    let buffer = Buffer::export(wish(), heap(cx, memory)?);
    let attachment = buffer.attach(easy("cpu"))?;
    buffer.allocate()?;
    cx.claim("storage", buffer.generation() == 1, || {
        Finding::new("storage that is to be made at once is not there before the first map")
            .row("object", format!("{memory}, storage {} of the buffer", buffer.generation()))
            .row(
                "like",
                "an exporter that defers its allocation, and learns of a lack of memory when it is too late to say so",
            )
    });
    let inode = |buffer: &Buffer| {
        Ok::<_, Trouble>(match buffer.storage() {
            Some(storage) => storage.shared.dmabuf.identity()?.inode,
            None => 0,
        })
    };
    let before = inode(&buffer)?;
    let mapping = attachment.map(Access::Read)?;
    if before != 0 {
        cx.equals("the dma-buf that the first map shows", before, mapping.shared().dmabuf.identity()?.inode);
    }
    // Memory that is not there is said at once, too.
    let huge = Buffer::export(Wish { size: px(1 << 20, 1 << 20), ..wish() }, heap(cx, memory)?);
    let said = huge.allocate();
    cx.claim("a buffer of 4 TiB is refused", said.is_err(), || {
        let has = huge.storage().map_or(0, |storage| storage.shared.dmabuf.size);
        Finding::new(format!("a buffer of 4 TiB was allocated, and has {has} B"))
            .row("like", "a heap that does not hold what it is asked for against what it has")
    });
    cx.agree()
}

/// S3: among heaps that all would do, the cheapest is taken, whatever their order.
fn the_cheapest_is_taken(cx: &mut Cx) -> Outcome {
    let mut all = Vec::new();
    for kind in [Kind::Expbuf, Kind::Dumb, Kind::DmaHeap, Kind::Udmabuf] {
        all.extend(cx.heaps(kind)?);
    }
    for _ in 0..all.len() {
        all.rotate_left(1);
        let heaps = Heaps::new(all.clone());
        let cheapest =
            heaps.offers().into_iter().min_by_key(|offer| (offer.cost, offer.heap.clone())).map(|offer| offer.heap);
        let buffer = Buffer::export(wish(), heaps.clone());
        let attachment = buffer.attach(easy("cpu"))?;
        let mapping = attachment.map(Access::Read)?;
        let (cheapest, taken) = (cheapest.unwrap_or_default(), mapping.storage().heap.clone());
        cx.claim("the heap", taken == cheapest, || {
            Finding::new(format!("memory was taken from {taken}, and {cheapest} is the cheapest that would do"))
                .row("like", "a heap that refuses what it offers, or a choice that does not look at the cost")
        });
        if cx.disagrees() {
            // It would say the same of each order.
            break;
        }
        // A device that needs contiguous memory costs more, and gets it.
        let contiguous = heaps.offers().into_iter().filter(|offer| offer.contiguous);
        let contiguous = contiguous.min_by_key(|offer| (offer.cost, offer.heap.clone())).map(|offer| offer.heap);
        let buffer = Buffer::export(wish(), heaps);
        let strict =
            Constraints { memory: MemoryNeeds { contiguous: true, ..MemoryNeeds::ANY }, ..Constraints::cpu(&[FOURCC]) };
        let attachment = buffer.attach(Party { name: "strict".to_owned(), constraints: strict })?;
        let mapping = attachment.map(Access::Read)?;
        cx.equals("the heap of a strict device", contiguous.unwrap_or_default(), mapping.storage().heap.clone());
    }
    cx.agree()
}

/// A heap that offers much and has nothing.
struct Empty(Offer);

impl Heap for Empty {
    fn offer(&self) -> &Offer {
        &self.0
    }

    fn allocate(&self, _: &Agreement) -> Result<Storage> {
        Err(Error::missing("allocating from a heap", "the empty heap", "it has nothing left"))
    }
}

/// S3: where the cheapest heap has nothing left, the next one provides; where no other is, the error names it, and the
/// buffer can be mapped once there is memory.
fn failing_heap_is_passed_over(cx: &mut Cx) -> Outcome {
    let good = cx.heaps(Kind::Udmabuf)?;
    let offer = Offer { heap: "empty".to_owned(), cost: 0, ..good[0].offer().clone() };
    let empty: Arc<dyn Heap> = Arc::new(Empty(offer));
    let buffer = Buffer::export(wish(), Heaps::new([empty.clone(), good[0].clone()]));
    let attachment = buffer.attach(easy("cpu"))?;
    cx.equals("the heap", "udmabuf".to_owned(), attachment.map(Access::Read)?.storage().heap.clone());
    let buffer = Buffer::export(wish(), Heaps::new([empty]));
    let attachment = buffer.attach(easy("cpu"))?;
    for _ in 0..2 {
        let said = attachment.map(Access::Read).err().map(|error| error.to_string()).unwrap_or_default();
        let clear = said.contains("empty: ") && said.contains("nothing left");
        cx.claim("the error", clear, || Finding::new("a heap that has nothing is not named").row("said", said));
        cx.equals("storages", 0, buffer.generation());
    }
    cx.agree()
}

/// S3: pitch and padding are those that every device takes.
fn a_layout_suits_everybody(cx: &mut Cx) -> Outcome {
    let heaps = heap(cx, UDMABUF)?;
    let gpu = cx.gpu(GpuA)?;
    let buffer = cx.share(FOURCC, SIZE, heaps, &[Guest::Gpu(&gpu), Guest::Screen])?;
    let wide = Constraints { pitch: Bytes::aligned(2048), padding: 100_000, ..Constraints::cpu(&[FOURCC]) };
    let _wide = buffer.attach(Party { name: "wide".to_owned(), constraints: wide })?;
    buffer.allocate()?;
    if let Some(storage) = buffer.storage() {
        let pitch = storage.shared.frame.planes[0].pitch;
        cx.equals("the pitch in bytes", 2048, pitch);
        let behind = storage.shared.dmabuf.size.saturating_sub(storage.shared.frame.packed()?.end);
        cx.claim("padding", behind >= 100_000, || {
            Finding::new(format!("{behind} B lie behind the frame, of 100000 B"))
        });
    }
    let target = cx.draw_into(&gpu, &buffer, 3)?;
    cx.cpu_sees(&buffer, &target)?;
    cx.screen_shows(&[(Layer::whole(&buffer), &target)])?;
    cx.agree()
}

/// Two devices that can't share, and what they quarrel about.
#[derive(Clone, Copy)]
enum Collision {
    Format,
    Pitch,
    Heap,
    Contiguity,
    Size,
}

const COLLISIONS: &[(&str, Collision)] = &[
    ("format", Collision::Format),
    ("pitch", Collision::Pitch),
    ("heap", Collision::Heap),
    ("contiguity", Collision::Contiguity),
    ("size", Collision::Size),
];

/// S3: nothing suits both; the refusal names both, and what would work.
fn names_who_collides(cx: &mut Cx, collision: Collision) -> Outcome {
    let heaps = heaps(cx, UDMABUF, SYSTEM)?;
    let any = Constraints::cpu(&[FOURCC]);
    let contiguous = MemoryNeeds { contiguous: true, ..MemoryNeeds::ANY };
    let (one, other) = match collision {
        Collision::Format => (any.clone(), Constraints::cpu(&[Fourcc::AR24])),
        Collision::Pitch => (
            Constraints { pitch: Bytes { alignment: 1, min: 0, max: 1023 }, ..any.clone() },
            Constraints { pitch: Bytes::aligned(1024), ..any.clone() },
        ),
        Collision::Heap => (only("udmabuf").constraints, only("system").constraints),
        Collision::Contiguity => (any.clone(), Constraints { memory: contiguous, ..any.clone() }),
        Collision::Size => (
            Constraints { size: Bytes { max: 131_072, ..Bytes::ANY }, ..any.clone() },
            Constraints { padding: 65_536, ..any },
        ),
    };
    let buffer = Buffer::export(Wish { fourccs: vec![FOURCC, Fourcc::AR24], ..wish() }, heaps);
    let first = buffer.attach(Party { name: "device one".to_owned(), constraints: one })?;
    let second = buffer.attach(Party { name: "device two".to_owned(), constraints: other })?;
    let said = match first.map(Access::Read) {
        Err(ShareError::Refused(refusal)) => refusal,
        Err(other) => return Err(Finding::new(format!("it is refused for another reason: {other}")).into()),
        Ok(_) => return Err(Finding::new("two devices that can't share got memory").into()),
    };
    let text = said.to_string();
    // Of contiguity one device and the heaps quarrel, of everything else two devices.
    let named =
        text.contains("device two") && (matches!(collision, Collision::Contiguity) || text.contains("device one"));
    cx.claim("the refusal names who collides", named, || {
        Finding::new("a refusal does not name who collides").row("said", text.clone())
    });
    cx.claim("the refusal says what would work", said.nearest.is_some(), || {
        Finding::new("a refusal does not say what would work").row("said", text.clone())
    });
    // Without the second one there is nothing in the way.
    drop(second);
    if !matches!(collision, Collision::Contiguity) {
        cx.equals("the map of the first one alone", true, first.map(Access::Read).is_ok());
    }
    cx.agree()
}

/// S3, S6: an attach that is refused leaves parties, storage and contents as they were.
fn refusal_changes_nothing(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heap(cx, UDMABUF)?);
    let target = Target::from(stamped(2)?);
    cx.cpu_writes(&buffer, &target.picture)?;
    let before = (buffer.generation(), buffer.parties().len());
    for refused in [only("a heap that is not there"), contradictory()] {
        let said = buffer.attach(refused).err();
        cx.claim("the attach", said.is_some(), || Finding::new("an attach that nothing can satisfy was granted"));
    }
    cx.equals("storage and parties", Counts(before), Counts((buffer.generation(), buffer.parties().len())));
    // Nobody is made to wait for what can't be: it is said before a mapping has to end, and others map meanwhile.
    let holder = buffer.attach(easy("holder"))?;
    let held = holder.map(Access::Read)?;
    let began = Instant::now();
    let said = buffer.attach_within(only("a heap that is not there"), SHORTLY * 50).err();
    cx.claim("the refusal of a mapped buffer", matches!(said, Some(ShareError::Refused(_))), || {
        let said = said.map_or_else(|| "nothing: it was granted".to_owned(), |said| said.to_string());
        Finding::new("a device that nothing can satisfy is told to wait, and not that it is refused")
            .row("said", said)
            .row("like", "a search for storage that begins only when every mapping has ended")
    });
    cx.claim("the wait for it", began.elapsed() < SHORTLY * 25, || {
        Finding::new(format!("a refusal waited {} ms for a mapping to end", began.elapsed().as_millis()))
    });
    drop(held);
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}

fn contradictory() -> Party {
    let constraints = Constraints { pitch: Bytes { alignment: 1, min: 2, max: 1 }, ..Constraints::cpu(&[FOURCC]) };
    Party { name: "contradictory".to_owned(), constraints }
}

/// S5: who holds a mapping for longer than it said is named, with the place where it mapped.
fn who_overstays_is_named(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let slow = buffer.attach(easy("the slow one"))?;
    let quick = buffer.attach(easy("the quick one"))?;
    let _held = slow.map_within(Access::Write, Duration::ZERO, SHORTLY)?;
    let _also = quick.map(Access::Read)?;
    let began = Instant::now();
    let busy = match buffer.attach_within(only("system"), SHORTLY) {
        Err(ShareError::Busy(busy)) => busy,
        Err(other) => return Err(Finding::new(format!("a mapped buffer is not busy: {other}")).into()),
        Ok(_) => return Err(Finding::new("storage moved under a mapping").into()),
    };
    cx.claim("the wait had an end", began.elapsed() < SHORTLY * 50, || Finding::new("the wait did not end in time"));
    let first = busy.holders.first();
    let named =
        first.is_some_and(|one| one.who == "the slow one" && one.late.is_some() && one.place.contains("sharing.rs"));
    cx.claim("who overstays", named, || {
        Finding::new("who overstays is not named first: the slow one, who was to hold its mapping for 0 ms")
            .row("said", busy.to_string())
            .row("like", "a deadline of the device that the buffer was not told of")
    });
    let innocent = busy.holders.get(1).is_some_and(|one| one.who == "the quick one" && one.late.is_none());
    cx.claim("who does not", innocent, || Finding::new("who is in time is blamed").row("said", busy.to_string()));
    cx.agree()
}

/// S6: where storage can't move, the newcomer is told so, and everybody else goes on with what they had.
fn others_go_on(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let target = Target::from(stamped(9)?);
    cx.cpu_writes(&buffer, &target.picture)?;
    let holder = buffer.attach(easy("holder"))?;
    let held = holder.map(Access::Read)?;
    let refused = buffer.attach_within(only("system"), SHORTLY);
    cx.claim("busy", matches!(refused, Err(ShareError::Busy(_))), || Finding::new("storage moved under a mapping"));
    cx.equals("storages", 1, buffer.generation());
    cx.cpu_sees(&buffer, &target)?;
    drop(held);
    let granted = buffer.attach_within(only("system"), SHORTLY * 50);
    cx.claim("the attach when the mapping has ended", granted.is_ok(), || {
        let said = granted.as_ref().map_or_else(ToString::to_string, |_| String::new());
        Finding::new("storage can't move though every mapping has ended")
            .row("said", said)
            .row("like", "a device that does not say that it is done with a mapping")
    });
    cx.equals("storages afterwards", 2, buffer.generation());
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}

/// Two numbers that belong together.
#[derive(PartialEq)]
struct Counts<A, B>((A, B));

impl<A: std::fmt::Display, B: std::fmt::Display> std::fmt::Display for Counts<A, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} and {}", self.0.0, self.0.1)
    }
}
