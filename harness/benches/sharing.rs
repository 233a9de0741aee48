//! How long does sharing take: agreeing on storage with many devices, mapping it, moving it?
//!
//! Agreeing touches no device. The rest runs on real heaps; where this machine has none, in the sandbox:
//!
//! ```text
//! cargo build
//! export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/target/debug/handover sandbox --"
//! cargo bench -p handover --bench sharing             # or some of it: … --bench sharing -- '^map'
//! ```
//!
//! `--profile dev` measures the build that `cargo test` makes.
//!
//! - `map`: what the core adds to a map and its unmap is `map_unmap` less `bare_calls`, which is the one system call that it
//!   makes: it asks for the time. `cpu_map_unmap` has a device behind it, the CPU, which loads one word by mmap,
//!   `DMA_BUF_IOCTL_SYNC` and munmap; `cpu_bare_calls` are those without the core.
//! - `move`: a frame moves from one heap to another. `whole` is all that a map may have to wait for, with choosing, allocating
//!   and freeing. `memcpy_fresh` is plain copying between two buffers of the same heaps that were mapped just now, as those
//!   of a move are. `memcpy_warm` copies to where it has copied before: that is faster by what the first write to each page
//!   costs, which in the sandbox, where a page fault takes 20 to 40 µs, is nearly all of it.
#![expect(clippy::unwrap_used, reason = "a step that fails has no time; the bench ends there, with the error")]
#![expect(clippy::print_stderr, reason = "criterion prints no figure of ours, nor what could not be measured")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use handover::dmabuf::{Dmabuf, Mapping};
use handover::format::{Fourcc, Modifier};
use handover::frame::{Frame, Plane, Size, px};
use handover::share::agreement::{Agreement, Wish, agree};
use handover::share::buffer::Buffer;
use handover::share::constraints::{Bytes, Constraints, FormatModifier, MemoryNeeds, Party};
use handover::share::core::Access;
use handover::share::heap::{Heap, Heaps, Offer, Storage};
use handover::share::heaps::{Found, Kind};

/// A frame as screens have it.
const SIZE: Size = px(1920, 1080);

const FOURCC: Fourcc = Fourcc::XR24;

/// As many pairs as a GPU tells of: five formats with ten modifiers each, LINEAR the last. All are everybody's, but in
/// an order of each device's own.
fn pairs(device: u64) -> Vec<FormatModifier> {
    let fourccs = [Fourcc::XR24, Fourcc::AR24, Fourcc::XB24, Fourcc::AB24, Fourcc::RG16];
    let modifier = move |n: u64| if n == 9 { Modifier::LINEAR } else { Modifier(1 << 56 | ((n + device) % 9 + 1)) };
    fourccs
        .into_iter()
        .flat_map(|fourcc| (0..10).map(move |n| FormatModifier { fourcc, modifier: modifier(n), planes: 1 }))
        .collect()
}

fn parties() -> Vec<Party> {
    let constraints = |n: u64| Constraints {
        pitch: Bytes::aligned(1 << (n % 9)),
        offset_alignment: 1 << (n % 5),
        padding: n * 64,
        memory: MemoryNeeds { contiguous: n == 7, segments: Some(1 << 20), ..MemoryNeeds::ANY },
        ..Constraints::of(pairs(n))
    };
    (0..16).map(|n| Party { name: format!("device {n}"), constraints: constraints(n) }).collect()
}

fn offers() -> Vec<Offer> {
    let offer = |n: u32| Offer {
        heap: format!("heap {n}"),
        cost: 8 - n,
        contiguous: n < 2,
        address_bits: 64,
        granule: 4096,
        largest: 1 << 30,
        cpu: true,
    };
    (0..8).map(offer).collect()
}

fn agreeing(c: &mut Criterion) {
    let wish = Wish {
        fourccs: vec![Fourcc::RG16, Fourcc::AB24, Fourcc::XB24, Fourcc::AR24, Fourcc::XR24],
        size: px(1920, 1080),
    };
    let (mut parties, offers) = (parties(), offers());
    agree(&wish, &parties, &offers).unwrap();
    c.bench_function("agree/16_devices_50_pairs", |b| {
        b.iter(|| agree(black_box(&wish), &parties, &offers).unwrap());
    });
    parties[3].constraints.formats.retain(|pair| pair.modifier != Modifier::LINEAR);
    parties[5].constraints.memory.heaps = Some(["another heap".to_owned()].into());
    agree(&wish, &parties, &offers).unwrap_err();
    c.bench_function("agree/16_devices_50_pairs_refused", |b| {
        b.iter(|| agree(black_box(&wish), &parties, &offers).unwrap_err());
    });
}

/// The first heap of each of the kinds that there is here, and on standard error why the others are not.
fn real_heaps(kinds: &[Kind]) -> Vec<Arc<dyn Heap>> {
    let mut found = Found::default();
    let mut first = |kind| match found.of_kind(kind) {
        Ok(heaps) => heaps.into_iter().next(),
        Err(why) => {
            eprintln!("NOT MEASURED: what needs a {kind} heap, which this machine lacks: {why}");
            None
        }
    };
    kinds.iter().filter_map(|kind| first(*kind)).collect()
}

/// A party that takes anything that the CPU can work with, in memory of one heap.
fn takes(heap: &str) -> Party {
    let any = Constraints::cpu(&[FOURCC]);
    let memory = MemoryNeeds { heaps: Some([heap.to_owned()].into()), ..any.memory.clone() };
    Party { name: format!("takes {heap}"), constraints: Constraints { memory, ..any } }
}

fn wish(size: Size) -> Wish {
    Wish { fourccs: vec![FOURCC], size }
}

/// One load by the CPU, as a program has to do it.
fn load(dmabuf: &Dmabuf) -> [u8; 4] {
    let mut word = [0; 4];
    dmabuf.map().unwrap().read_into(0, &mut word).unwrap();
    word
}

fn mapping(c: &mut Criterion, heap: &Arc<dyn Heap>) {
    let name = heap.offer().heap.clone();
    let mut group = c.benchmark_group(format!("map/{name}"));
    let buffer = Buffer::export(wish(px(64, 64)), Heaps::new([heap.clone()]));
    let attachment = buffer.attach(takes(&name)).unwrap();
    buffer.allocate().unwrap();
    group.bench_function("bare_calls", |b| b.iter(Instant::now));
    group.bench_function("map_unmap", |b| b.iter(|| attachment.map(Access::Read).unwrap()));
    group.bench_function("attach_map_unmap_detach", |b| {
        b.iter_batched(
            || takes(&name),
            |party| drop(buffer.attach(party).unwrap().map(Access::Read).unwrap()),
            BatchSize::SmallInput,
        );
    });
    let mapped = attachment.map(Access::Read).unwrap();
    group.bench_function("cpu_bare_calls", |b| b.iter(|| load(&mapped.shared().dmabuf)));
    group.bench_function("cpu_map_unmap", |b| {
        b.iter(|| load(&attachment.map(Access::Read).unwrap().shared().dmabuf));
    });
    group.finish();
}

/// Storage for one frame.
fn frame_in(heap: &dyn Heap) -> Storage {
    let frame = Frame::linear(FOURCC, SIZE, Plane { offset: 0, pitch: u64::from(SIZE.width) * 4 });
    let bytes = frame.packed().unwrap().end;
    heap.allocate(&Agreement { heap: heap.offer().heap.clone(), frame, bytes }).unwrap()
}

/// What going to the second heap and back takes, `count` times; half of it, since the two ways may differ.
fn both_ways(count: u64, mut to: impl FnMut(usize)) -> Duration {
    let began = Instant::now();
    for _ in 0..count {
        to(1);
        to(0);
    }
    began.elapsed() / 2
}

fn moving(c: &mut Criterion, [one, other]: [&Arc<dyn Heap>; 2]) {
    let names = [one, other].map(|heap| heap.offer().heap.clone());
    let stored = [one, other].map(|heap| frame_in(&**heap).shared);
    let bytes = stored[0].frame.packed().unwrap().end;
    let mut group = c.benchmark_group(format!("move/{}_{}", names[0], names[1]));
    group.throughput(Throughput::Bytes(bytes)).sample_size(10);

    let copy = |source: &Mapping, target: &mut Mapping| target.copy_from(source, [(0, 0, bytes)]).unwrap();
    let map = |n: usize| stored[n].dmabuf.map().unwrap();
    group.bench_function("memcpy_fresh", |b| {
        b.iter_custom(|count| both_ways(count, |to| copy(&map(1 - to), &mut map(to))));
    });
    let (mut first, mut second) = (map(0), map(1));
    group.bench_function("memcpy_warm", |b| {
        b.iter_custom(|count| {
            both_ways(count, |to| match to {
                0 => copy(&second, &mut first),
                _ => copy(&first, &mut second),
            })
        });
    });

    let buffer = Buffer::export(wish(SIZE), Heaps::new([one.clone(), other.clone()]));
    drop(buffer.attach(takes(&names[0])).unwrap().map(Access::Write).unwrap());
    let mut stalls = Vec::new();
    let mut to = |n: usize| {
        let before = buffer.generation();
        drop(buffer.attach(takes(&names[n])).unwrap());
        assert_eq!(buffer.generation(), before + 1, "it did not move");
        stalls.push(buffer.moves().last().unwrap().stall());
    };
    group.bench_function("whole", |b| b.iter_custom(|count| both_ways(count, &mut to)));
    group.finish();
    stalls.sort();
    if let (Some(median), Some(most)) = (stalls.get(stalls.len() / 2), stalls.last()) {
        let [median, most] = [median, most].map(|stall| stall.as_secs_f64() * 1e3);
        eprintln!("stall of {} moves: {median:.1} ms in the median, {most:.1} ms at most", stalls.len());
    }
}

fn sharing(c: &mut Criterion) {
    let heaps = real_heaps(&[Kind::Udmabuf, Kind::DmaHeap]);
    for heap in &heaps {
        mapping(c, heap);
    }
    if let [one, other] = &heaps[..] {
        moving(c, [one, other]);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = agreeing, sharing
}
criterion_main!(benches);
