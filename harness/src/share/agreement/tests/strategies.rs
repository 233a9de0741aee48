//! Wishes, parties and offers for properties: small ones that can be tried out, and any at all.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{NV12, TILED, linear, pair, party};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::share::agreement::Wish;
use crate::share::constraints::{Bytes, Constraints, FormatModifier, MemoryNeeds, Party};
use crate::share::heap::Offer;

fn small_bytes() -> impl Strategy<Value = Bytes> {
    let bounded = (select(vec![1, 2, 4, 8]), 0..10u64, prop_oneof![3 => Just(u64::MAX), 2 => 8..60u64]);
    prop_oneof![2 => Just(Bytes::ANY), 3 => bounded.prop_map(|(alignment, min, max)| Bytes { alignment, min, max })]
        .prop_filter("no contradiction", |bytes| {
            bytes.min.max(1).next_multiple_of(bytes.alignment) <= bytes.max && bytes.min <= bytes.max
        })
}

fn small_memory() -> impl Strategy<Value = MemoryNeeds> {
    let heaps = prop_oneof![
        4 => Just(None),
        1 => subsequence(vec!["a", "b", "c"], 1..=2)
            .prop_map(|heaps| Some(heaps.into_iter().map(str::to_owned).collect())),
    ];
    let segments = prop_oneof![
        3 => Just((None, None)),
        1 => (1..9u32).prop_map(|most| (Some(most), None)),
        2 => (1..16u32, 1..16u64).prop_map(|(most, size)| (Some(most), Some(size))),
    ];
    let rarely = prop::bool::weighted(0.2);
    (heaps, rarely, select(vec![64, 64, 64, 32]), segments, rarely).prop_map(
        |(heaps, contiguous, address_bits, (segments, segment_size), cpu)| MemoryNeeds {
            heaps,
            types: None,
            dedicated: false,
            contiguous,
            address_bits,
            segments,
            segment_size,
            cpu,
        },
    )
}

fn small_formats() -> impl Strategy<Value = Vec<FormatModifier>> {
    let all = vec![
        pair(Fourcc::R8, Modifier::LINEAR),
        pair(Fourcc::RG16, Modifier::LINEAR),
        pair(NV12, Modifier::LINEAR),
        pair(Fourcc::R8, TILED),
        FormatModifier { planes: 3, ..pair(NV12, Modifier::LINEAR) },
    ];
    subsequence(all, 1..=5).prop_shuffle()
}

pub(super) fn small_party() -> impl Strategy<Value = Constraints> {
    let bounds = (1..3u32, 1..3u32, 2..6u32, 2..6u32);
    let rest = (select(vec![1, 1, 2, 4, 8]), 0..6u64, 0..2u32);
    (small_formats(), bounds, small_bytes(), rest, small_bytes(), small_memory()).prop_map(
        |(formats, (w, h, wider, higher), pitch, (offset_alignment, padding, rows_behind), size, memory)| Constraints {
            formats,
            smallest: px(w, h),
            largest: px(wider, higher),
            pitch,
            offset_alignment,
            padding,
            rows_behind,
            size,
            memory,
        },
    )
}

fn small_offer() -> impl Strategy<Value = Offer> {
    let kind = (0..3u32, any::<bool>(), select(vec![32, 64]), select(vec![1, 3, 4, 8, 16]), 8..90u64, any::<bool>());
    kind.prop_map(|(cost, contiguous, address_bits, granule, largest, cpu)| Offer {
        heap: String::new(),
        cost,
        contiguous,
        address_bits,
        granule,
        largest,
        cpu,
    })
}

fn small_wish() -> impl Strategy<Value = Wish> {
    let fourccs = subsequence(vec![Fourcc::R8, Fourcc::RG16, NV12], 1..=3).prop_shuffle();
    (fourccs, 1..5u32, 1..4u32).prop_map(|(fourccs, width, height)| Wish { fourccs, size: px(width, height) })
}

/// A wish, and parties and offers of different names.
pub(super) fn small(most: usize) -> impl Strategy<Value = (Wish, Vec<Party>, Vec<Offer>)> {
    let parties = prop::collection::vec(small_party(), 0..=most).prop_map(|all| {
        all.into_iter().zip(["p", "q", "r", "s"]).map(|(constraints, name)| party(name, constraints)).collect()
    });
    let offers = prop::collection::vec(small_offer(), 0..=3).prop_map(|all| {
        all.into_iter().zip(["a", "b", "c"]).map(|(offer, heap)| Offer { heap: heap.into(), ..offer }).collect()
    });
    (small_wish(), parties, offers)
}

/// Anything, with a liking for edges.
fn any_bytes() -> impl Strategy<Value = u64> {
    prop_oneof![select(vec![0, 1, 2, 64, 4096, 1 << 32, 1 << 63, u64::MAX - 1, u64::MAX]), any::<u64>()]
}

pub(super) fn any_size() -> impl Strategy<Value = Size> {
    let side = || prop_oneof![select(vec![0, 1, 2, 4096, u32::MAX]), any::<u32>()];
    (side(), side()).prop_map(|(width, height)| px(width, height))
}

fn any_bounds() -> impl Strategy<Value = Bytes> {
    (any_bytes(), any_bytes(), any_bytes()).prop_map(|(alignment, min, max)| Bytes { alignment, min, max })
}

/// Constraints of any kind: in most of them something makes no sense.
pub(super) fn any_party() -> impl Strategy<Value = Party> {
    let pairs = (select(vec![Fourcc::XR24, NV12, Fourcc(7)]), select(vec![Modifier::LINEAR, TILED]), 0..6u32)
        .prop_map(|(fourcc, modifier, planes)| FormatModifier { fourcc, modifier, planes });
    let usual = pair(Fourcc::XR24, Modifier::LINEAR);
    let formats = (prop::collection::vec(pairs, 0..4), any::<bool>())
        .prop_map(move |(pairs, more)| pairs.into_iter().chain(more.then_some(usual)).collect::<Vec<_>>());
    let layout = (any_bounds(), any_bytes(), any_bytes(), any_bounds());
    // One thing at a time is out of the ordinary, or everything.
    (formats, any_size(), any_size(), layout, small_memory(), any::<[bool; 6]>(), select(vec!["p", "q", "heap a"]))
        .prop_map(|(formats, smallest, largest, (pitch, offset_alignment, padding, size), memory, odd, name)| {
            let valid = linear(&[Fourcc::XR24, NV12]);
            let constraints = Constraints {
                formats: if odd[0] { formats } else { valid.formats },
                smallest: if odd[1] { smallest } else { valid.smallest },
                largest: if odd[1] { largest } else { valid.largest },
                pitch: if odd[2] { pitch } else { valid.pitch },
                offset_alignment: if odd[3] { offset_alignment } else { valid.offset_alignment },
                padding: if odd[4] { padding } else { valid.padding },
                rows_behind: if odd[4] { padding as u32 } else { valid.rows_behind },
                size: if odd[5] { size } else { valid.size },
                memory,
            };
            party(name, constraints)
        })
}

pub(super) fn any_offer() -> impl Strategy<Value = Offer> {
    let kind = (select(vec!["a", "b"]), any::<u32>(), any::<bool>(), any::<u32>());
    (kind, any_bytes(), any_bytes(), any::<bool>()).prop_map(
        |((heap, cost, contiguous, address_bits), granule, largest, cpu)| Offer {
            heap: heap.into(),
            cost,
            contiguous,
            address_bits,
            granule,
            largest,
            cpu,
        },
    )
}
