//! Is every agreement one, is it the best one, and is every refusal true?

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::format::Modifier;
use crate::frame::px;
use crate::share::constraints::{Bytes, Constraints, MemoryNeeds};

mod strategies;

use strategies::{any_offer, any_party, any_size, small, small_party};

const NV12: Fourcc = Fourcc::new(b"NV12");
const TILED: Modifier = Modifier(0x0100_0000_0000_0001);

fn pair(fourcc: Fourcc, modifier: Modifier) -> FormatModifier {
    FormatModifier { fourcc, modifier, planes: if fourcc == NV12 { 2 } else { 1 } }
}

fn linear(fourccs: &[Fourcc]) -> Constraints {
    Constraints::of(fourccs.iter().map(|fourcc| pair(*fourcc, Modifier::LINEAR)).collect())
}

fn party(name: &str, constraints: Constraints) -> Party {
    Party { name: name.into(), constraints }
}

/// Row length in bytes and rows of each plane, written down once more.
fn rows(fourcc: Fourcc, size: Size) -> Vec<(u64, u64)> {
    let (width, height) = (u64::from(size.width), u64::from(size.height));
    match fourcc {
        Fourcc::R8 => vec![(width, height)],
        Fourcc::RG16 => vec![(2 * width, height)],
        Fourcc::XR24 | Fourcc::AR24 => vec![(4 * width, height)],
        NV12 => vec![(width, height), (width.div_ceil(2) * 2, height.div_ceil(2))],
        _ => panic!("no test has {fourcc}"),
    }
}

/// The segments of the worst that `offer` may provide, one by one.
fn worst_segments(bytes: u64, offer: &Offer, longest: Option<u64>) -> u64 {
    let longest = longest.unwrap_or(u64::MAX);
    let run = if offer.contiguous { bytes } else { offer.granule.max(1) };
    let (mut left, mut count) = (bytes, 0);
    while left > 0 {
        let mut of_run = run.min(left);
        left -= of_run;
        while of_run > 0 {
            of_run -= longest.min(of_run);
            count += 1;
        }
    }
    count
}

/// Whether `memory` can be that of a buffer of `bytes` from `offer`, of which `worked_with` are the device's.
fn memory_does(memory: &MemoryNeeds, bytes: u64, worked_with: u64, offer: &Offer) -> bool {
    memory.heaps.as_ref().is_none_or(|heaps| heaps.iter().any(|heap| *heap == offer.heap))
        && (!memory.contiguous || offer.contiguous || offer.granule >= worked_with)
        && memory.address_bits >= offer.address_bits
        && memory.segments.is_none_or(|most| worst_segments(bytes, offer, memory.segment_size) <= u64::from(most))
        && (!memory.cpu || offer.cpu)
}

/// Whether `bytes` are within `bounds`.
fn bytes_do(bounds: &Bytes, bytes: u64) -> bool {
    bytes.is_multiple_of(bounds.alignment) && bytes >= bounds.min && bytes <= bounds.max
}

/// Whether everybody can work with `agreement`: what the solver has to see to, said in another way.
fn works(agreement: &Agreement, wish: &Wish, parties: &[Party], offers: &[Offer]) -> bool {
    let Agreement { heap, frame, bytes } = agreement;
    let mut end = 0;
    for (plane, (row, count)) in frame.planes.iter().zip(rows(frame.fourcc, frame.size)) {
        if plane.pitch < row || plane.offset < end {
            return false;
        }
        end = plane.offset + plane.pitch * count;
    }
    let planes = frame.planes.len();
    let does = |party: &Party| {
        let Constraints { formats, smallest, largest, pitch, offset_alignment, padding, rows_behind, size, memory } =
            &party.constraints;
        let behind = padding + u64::from(*rows_behind) * frame.planes.last().map_or(0, |plane| plane.pitch);
        formats
            .iter()
            .any(|pair| (pair.fourcc, pair.modifier, pair.planes as usize) == (frame.fourcc, frame.modifier, planes))
            && frame.size.width >= smallest.width
            && frame.size.height >= smallest.height
            && frame.size.width <= largest.width
            && frame.size.height <= largest.height
            && frame
                .planes
                .iter()
                .all(|plane| bytes_do(pitch, plane.pitch) && plane.offset.is_multiple_of(*offset_alignment))
            && end + behind <= *bytes
            && bytes_do(size, *bytes)
            && offers.iter().any(|offer| offer.heap == *heap && memory_does(memory, *bytes, end + behind, offer))
    };
    frame.size == wish.size
        && frame.modifier == Modifier::LINEAR
        && wish.fourccs.contains(&frame.fourcc)
        && planes == rows(frame.fourcc, frame.size).len()
        && end <= *bytes
        && offers.iter().any(|o| o.heap == *heap && bytes.is_multiple_of(o.granule.max(1)) && *bytes <= o.largest)
        && parties.iter().all(does)
}

/// The smallest buffer of `offer` that holds a frame of `fourcc` and suits everybody, by trying all there are.
fn smallest_by_trial(fourcc: Fourcc, wish: &Wish, parties: &[Party], offer: &Offer) -> Option<u64> {
    const MOST: u64 = 120;
    let rows = rows(fourcc, wish.size);
    let pitches: Vec<u64> =
        (1..=16).filter(|bytes| parties.iter().all(|party| bytes_do(&party.constraints.pitch, *bytes))).collect();
    let sizes: Vec<u64> = (1..=MOST)
        .filter(|bytes| parties.iter().all(|party| bytes_do(&party.constraints.size, *bytes)))
        .filter(|bytes| bytes.is_multiple_of(offer.granule) && *bytes <= offer.largest)
        .collect();
    let last = if rows.len() == 1 { vec![0] } else { (0..MOST).collect() };
    let mut best = None;
    for bytes in sizes {
        for second in &last {
            for first in &pitches {
                for other in if rows.len() == 1 { &pitches[..1] } else { &pitches[..] } {
                    let planes = [Plane { offset: 0, pitch: *first }, Plane { offset: *second, pitch: *other }];
                    let planes = planes[..rows.len()].to_vec();
                    let frame = Frame { size: wish.size, fourcc, modifier: Modifier::LINEAR, planes };
                    let tried = Agreement { heap: offer.heap.clone(), frame, bytes };
                    if best.is_none() && works(&tried, wish, parties, std::slice::from_ref(offer)) {
                        best = Some(bytes);
                    }
                }
            }
        }
        if best.is_some() {
            break;
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Agreements are those that trying everything finds: on each heap the first format, in the smallest buffer.
    #[test]
    fn an_agreement_is_what_trying_everything_finds((wish, parties, offers) in small(3)) {
        let mut target: Vec<(u32, &str, Fourcc, u64)> = offers
            .iter()
            .filter_map(|offer| {
                wish.fourccs.iter().find_map(|fourcc| {
                    let bytes = smallest_by_trial(*fourcc, &wish, &parties, offer)?;
                    Some((offer.cost, offer.heap.as_str(), *fourcc, bytes))
                })
            })
            .collect();
        target.sort();
        let agreed = agree(&wish, &parties, &offers).unwrap_or_default();
        for agreement in &agreed {
            prop_assert!(works(agreement, &wish, &parties, &offers), "{}", agreement);
        }
        let actual: Vec<_> = agreed.iter().map(|a| (a.heap.as_str(), a.frame.fourcc, a.bytes)).collect();
        prop_assert_eq!(actual, target.iter().map(|(_, heap, fourcc, bytes)| (*heap, *fourcc, *bytes)).collect::<Vec<_>>());
    }

    /// Storage that was agreed on suits another device exactly if it breaks none of its constraints.
    #[test]
    fn storage_suits_whom_it_breaks_nothing_of((wish, parties, offers) in small(2), other in small_party()) {
        let other = party("other", other);
        for agreement in agree(&wish, &parties, &offers).unwrap_or_default() {
            let offer = offers.iter().find(|offer| offer.heap == agreement.heap).expect("of this heap");
            let all: Vec<Party> = parties.iter().chain([&other]).cloned().collect();
            let does = works(&agreement, &wish, &all, &offers);
            prop_assert_eq!(suits(&agreement, offer, &other).is_ok(), does, "{}", agreement);
            for party in &parties {
                prop_assert_eq!(suits(&agreement, offer, party), Ok(()));
            }
        }
    }

    #[test]
    fn the_order_of_parties_and_offers_changes_nothing(
        ((wish, parties, offers), (others, heaps)) in small(4).prop_flat_map(|all| {
            let shuffled = (Just(all.1.clone()).prop_shuffle(), Just(all.2.clone()).prop_shuffle());
            (Just(all), shuffled)
        }),
    ) {
        prop_assert_eq!(agree(&wish, &parties, &offers), agree(&wish, &others, &heaps));
    }

    #[test]
    fn nonsense_is_refused_without_a_panic(
        fourccs in prop::collection::vec(select(vec![Fourcc::XR24, NV12, Fourcc(7)]), 0..3),
        size in any_size(),
        parties in prop::collection::vec(any_party(), 0..4),
        offers in prop::collection::vec(any_offer(), 0..3),
    ) {
        let wish = Wish { fourccs, size };
        match agree(&wish, &parties, &offers) {
            Ok(agreed) => {
                for agreement in &agreed {
                    let offer = offers.iter().find(|offer| offer.heap == agreement.heap);
                    for party in &parties {
                        // Two offers of one name: that of the agreement is not known.
                        if offers.iter().filter(|offer| offer.heap == agreement.heap).count() == 1 {
                            prop_assert_eq!(suits(agreement, offer.expect("named"), party), Ok(()));
                        }
                    }
                }
                prop_assert!(!agreed.is_empty());
            }
            Err(refusal) => {
                prop_assert!(!refusal.collisions.is_empty());
                prop_assert!(refusal.collisions.iter().all(|collision| !collision.sides.is_empty()));
            }
        }
        for party in &parties {
            for offer in &offers {
                let frame = Frame::linear(Fourcc::XR24, size, Plane { offset: u64::MAX, pitch: u64::MAX });
                let _ = suits(&Agreement { heap: offer.heap.clone(), frame, bytes: 1 }, offer, party);
            }
        }
    }

    /// The sides of a collision collide, and do not without any one of them.
    #[test]
    fn every_side_of_a_collision_is_needed((mut wish, parties, offers) in small(4)) {
        wish.fourccs.truncate(1);
        let Err(refusal) = agree(&wish, &parties, &offers) else { return Ok(()) };
        for collision in &refusal.collisions {
            let names: Vec<&str> = collision.sides.iter().map(|(who, _)| who.as_str()).collect();
            let alone = match collision.about.as_str() {
                "contradiction" => true,
                "heap" => offers.is_empty(),
                // Not one multiple of its granule.
                "size" => offers.iter().any(|offer| offer.granule > offer.largest),
                _ => false,
            };
            prop_assert!(names.len() > 1 || alone, "{}", refusal);
            let named: Vec<Party> = parties.iter().filter(|party| names.contains(&party.name.as_str())).cloned().collect();
            let heaps: Vec<Offer> =
                offers.iter().filter(|offer| names.contains(&format!("heap {}", offer.heap).as_str())).cloned().collect();
            let about_layout = ["format and modifier", "frame size", "pitch", "size"].contains(&collision.about.as_str());
            let heaps = if heaps.is_empty() { offers.clone() } else { heaps };
            if about_layout {
                let enough = agree(&wish, &named, &heaps).expect_err("these collide");
                // Which demands of theirs are named may differ, if there are several ways in which they collide.
                let still = enough.collisions.iter().any(|other| other.about == collision.about);
                prop_assert!(still, "{}\nwithout others: {}", refusal, enough);
            }
            for left_out in &named {
                let others: Vec<Party> = named.iter().filter(|party| party.name != left_out.name).cloned().collect();
                if let Err(rest) = agree(&wish, &others, &heaps) {
                    let still = rest.collisions.iter().any(|other| {
                        other.about == collision.about && other.sides.iter().all(|side| collision.sides.contains(side))
                    });
                    prop_assert!(!still, "{}\nwithout {}: {}", refusal, left_out.name, rest);
                }
            }
        }
    }
}

/// The heaps of a small machine.
fn heaps() -> Vec<Offer> {
    let offer = |heap: &str, cost, contiguous, largest| Offer {
        heap: heap.into(),
        cost,
        contiguous,
        address_bits: 64,
        granule: 4096,
        largest,
        cpu: true,
    };
    vec![
        offer("system", 2, false, 1 << 40),
        offer("udmabuf", 1, false, 64 << 20),
        offer("vivid.1 expbuf", 5, true, 16 << 20),
    ]
}

fn wish(fourccs: &[Fourcc], size: Size) -> Wish {
    Wish { fourccs: fourccs.to_vec(), size }
}

fn gpu(fourccs: &[Fourcc]) -> Party {
    party("gpu_a", Constraints { pitch: Bytes::aligned(64), ..linear(fourccs) })
}

fn vivid(fourccs: &[Fourcc]) -> Party {
    party("vivid.1", Constraints { memory: MemoryNeeds { contiguous: true, ..MemoryNeeds::ANY }, ..linear(fourccs) })
}

fn agreed(wish: &Wish, parties: &[Party], offers: &[Offer]) -> String {
    let agreed = agree(wish, parties, offers).expect("everybody can agree");
    agreed.iter().map(Agreement::to_string).collect::<Vec<_>>().join("\n")
}

/// A line per collision, and one for what would work.
fn refused(wish: &Wish, parties: &[Party], offers: &[Offer]) -> String {
    agree(wish, parties, offers).expect_err("nobody can agree").to_string().replace("; ", "\n")
}

#[test]
fn agreements_of_everyday() {
    let (heaps, xr24) = (heaps(), [Fourcc::XR24]);
    insta::assert_snapshot!(agreed(&wish(&xr24, px(250, 130)), &[], &heaps), @r#"
    heap udmabuf, XR24 LINEAR, 250x130 px, pitch 1000 B, 131072 B in all
    heap system, XR24 LINEAR, 250x130 px, pitch 1000 B, 131072 B in all
    heap vivid.1 expbuf, XR24 LINEAR, 250x130 px, pitch 1000 B, 131072 B in all
    "#);
    insta::assert_snapshot!(agreed(&wish(&xr24, px(250, 130)), &[gpu(&xr24)], &heaps), @r#"
    heap udmabuf, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    heap system, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    heap vivid.1 expbuf, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    "#);
    // The contiguous heap is dear, and taken only where it must be.
    insta::assert_snapshot!(agreed(&wish(&xr24, px(250, 130)), &[gpu(&xr24), vivid(&xr24)], &heaps), @"heap vivid.1 expbuf, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all");
    let gpu = gpu(&[NV12, Fourcc::XR24]);
    let video = [NV12, Fourcc::XR24];
    insta::assert_snapshot!(agreed(&wish(&video, px(1921, 1081)), &[gpu, vivid(&[NV12])], &heaps), @"heap vivid.1 expbuf, NV12 LINEAR, 1921x1081 px, pitch 1984 B and 1984 B, 3219456 B in all");
}

#[test]
fn refusals_name_what_collides_and_what_would_work() {
    let (heaps, xr24) = (heaps(), [Fourcc::XR24]);
    let everyday = wish(&xr24, px(250, 130));
    let scattered: Vec<Offer> = heaps.iter().filter(|offer| !offer.contiguous).cloned().collect();
    let refused_by = |parties: &[Party]| refused(&everyday, parties, &heaps);

    // Contiguity.
    insta::assert_snapshot!(refused(&everyday, &[gpu(&xr24), vivid(&xr24)], &scattered), @r#"
    contiguity: vivid.1 needs contiguous memory, heap udmabuf may provide 133120 B in runs of 4096 B, heap system may provide 133120 B in runs of 4096 B
    nearest: without vivid.1: heap udmabuf, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    "#);
    insta::assert_snapshot!(refused(&everyday, &[vivid(&xr24)], &scattered), @r#"
    contiguity: vivid.1 needs contiguous memory, heap udmabuf may provide 130000 B in runs of 4096 B, heap system may provide 130000 B in runs of 4096 B
    nearest: heap udmabuf would do but for contiguity
    "#);

    // Formats: nothing in common, another one in common, and one in a layout that no heap has.
    let screen = |formats| party("screen", Constraints::of(formats));
    let argb = screen(vec![pair(Fourcc::AR24, Modifier::LINEAR)]);
    insta::assert_snapshot!(refused_by(&[gpu(&xr24), argb.clone()]), @r#"
    format and modifier: the frame is to be XR24, screen takes no XR24, but AR24 LINEAR
    nearest: without screen: heap udmabuf, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    "#);
    insta::assert_snapshot!(refused_by(&[gpu(&[Fourcc::XR24, Fourcc::AR24]), argb]), @r#"
    format and modifier: the frame is to be XR24, screen takes no XR24, but AR24 LINEAR
    nearest: as AR24: heap udmabuf, AR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    "#);
    let tiled = || vec![pair(Fourcc::XR24, TILED)];
    let gpu_b = party("gpu_b", Constraints::of(tiled().into_iter().chain(linear(&xr24).formats).collect()));
    insta::assert_snapshot!(refused_by(&[gpu_b, screen(tiled())]), @r#"
    format and modifier: every heap lays out LINEAR frames of known formats only, screen takes XR24 INTEL:0x0100000000000001
    nearest: without screen: heap udmabuf, XR24 LINEAR, 250x130 px, pitch 1000 B, 131072 B in all
    "#);

    // Pitch: one wants more than another takes.
    let pitch = |alignment, max| Constraints { pitch: Bytes { alignment, min: 0, max }, ..linear(&xr24) };
    let encoder = party("encoder", pitch(1, 1008));
    insta::assert_snapshot!(refused_by(&[gpu(&xr24), encoder, party("gpu_b", pitch(256, u64::MAX))]), @r#"
    pitch: the frame (XR24 LINEAR, 250x130 px) has rows of 1000 B, encoder takes at most 1008 B as pitch, gpu_b takes multiples of 256 B as pitch
    nearest: without encoder: heap udmabuf, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    "#);

    // Size of the frame, and of the buffer.
    let small = party("screen", Constraints { largest: px(4096, 2160), ..linear(&xr24) });
    insta::assert_snapshot!(refused(&wish(&xr24, px(7680, 4320)), &[gpu(&xr24), small], &heaps), @r#"
    frame size: the frame has 7680x4320 px, screen takes at most 4096x2160 px
    nearest: at 4096x2160 px: heap udmabuf, XR24 LINEAR, 4096x2160 px, pitch 16384 B, 35389440 B in all
    "#);
    let little: Vec<Offer> = heaps.iter().filter(|offer| offer.largest < 1 << 40).cloned().collect();
    insta::assert_snapshot!(refused(&wish(&xr24, px(7680, 4320)), &[gpu(&xr24)], &little), @r#"
    size: the frame (XR24 LINEAR, 7680x4320 px) has 132710400 B of pixels, heap udmabuf provides at most 67108864 B as size, heap vivid.1 expbuf provides at most 16777216 B as size
    nearest: heap udmabuf would do but for size
    "#);

    // Memory of all kinds at once.
    let picky = MemoryNeeds {
        heaps: Some(["gbm".to_owned()].into()),
        address_bits: 32,
        segments: Some(16),
        segment_size: Some(65536),
        ..MemoryNeeds::ANY
    };
    let picky = party("capture card", Constraints { memory: picky, ..linear(&xr24) });
    insta::assert_snapshot!(refused(&everyday, &[gpu(&xr24), picky], &heaps[..1]), @r#"
    addresses: capture card reaches addresses of 32 bits, heap system provides addresses of up to 64 bits
    heap: capture card imports memory of gbm only, heap system is not among these
    segments: capture card takes at most 16 segments of at most 65536 B, heap system may provide 135168 B in runs of 4096 B, which is 33 segments
    nearest: without capture card: heap system, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    "#);

    // What can't be, whoever takes part.
    let nonsense = party("gpu_b", Constraints { offset_alignment: 48, ..linear(&xr24) });
    insta::assert_snapshot!(refused_by(&[gpu(&xr24), nonsense]), @r#"
    contradiction: gpu_b says offset_alignment: 48
    a power of two would be valid
    nearest: without gpu_b: heap udmabuf, XR24 LINEAR, 250x130 px, pitch 1024 B, 135168 B in all
    "#);
    insta::assert_snapshot!(refused(&everyday, &[gpu(&xr24)], &[]), @"heap: the machine offers none");
    insta::assert_snapshot!(refused(&wish(&[], px(0, 10)), &[], &heaps), @r#"
    frame size: the frame has 0x10 px
    format and modifier: the frame is to be of no format
    "#);
    insta::assert_snapshot!(refused(&wish(&[Fourcc::XR48], px(u32::MAX, u32::MAX)), &[], &heaps[..1]), @r#"
    size: the frame (XR48 LINEAR, 4294967295x4294967295 px) has 147573952520956936200 B of pixels
    nearest: heap system would do but for size
    "#);
}

#[test]
fn what_storage_lacks_for_one_more_is_named() {
    let xr24 = [Fourcc::XR24];
    let heaps = heaps();
    let agreement = &agree(&wish(&xr24, px(250, 130)), &[gpu(&xr24)], &heaps).expect("everybody can agree")[0];
    let offer = heaps.iter().find(|offer| offer.heap == agreement.heap).expect("its heap");
    assert_eq!(suits(agreement, offer, &gpu(&xr24)), Ok(()));
    let strict = Constraints {
        largest: px(128, 128),
        pitch: Bytes::aligned(256),
        padding: 4096,
        size: Bytes::aligned(1 << 20),
        memory: MemoryNeeds { contiguous: true, ..MemoryNeeds::ANY },
        ..linear(&[Fourcc::AR24])
    };
    let lacks = suits(agreement, offer, &party("strict", strict)).expect_err("nothing of this is so");
    insta::assert_snapshot!(lacks.replace("; ", "\n"), @r#"
    takes no XR24 LINEAR
    takes 1x1 px to 128x128 px, the frame has 250x130 px
    touches 4096 B behind the last plane, where there are 2048 B
    takes multiples of 1048576 B as size, the buffer has 135168 B
    needs contiguous memory, heap udmabuf may provide 135168 B in runs of 4096 B
    "#);
}

/// Of several modifiers, the one that all like best together; of equals, the one with the smallest code.
#[test]
fn the_order_of_modifiers_is_that_of_all_lists() {
    let modifiers: Vec<FormatModifier> = [9, 7, 8, 0]
        .map(|code| pair(Fourcc::XR24, Modifier(0x0100_0000_0000_0000 * u64::from(code > 0) + code)))
        .into();
    let [nine, seven, eight, linear] = modifiers[..] else { panic!("four were made") };
    let lists = [vec![nine, seven, eight, linear], vec![eight, linear, seven, nine], vec![seven, nine, eight]];
    let parties: Vec<Party> = lists.into_iter().map(|list| party("p", Constraints::of(list))).collect();
    let listed = listed(&parties);
    let all: Vec<&Listed<'_>> = listed.iter().collect();
    assert_eq!(common(Some(&[Fourcc::XR24]), &all), [seven, eight, nine]);
}

/// A run that is longer than a segment may be is cut, and what is left of it is not joined with the next run.
#[test]
fn segments_are_counted_as_they_may_come_at_worst() {
    let needs = |most| MemoryNeeds { segments: Some(most), segment_size: Some(60 << 10), ..MemoryNeeds::ANY };
    let offer = Offer { granule: 64 << 10, ..heaps()[0].clone() };
    let extent = Extent { whole: 256 << 10, worked_with: 1 << 10 };
    assert!(memory::meets(&needs(8), &offer, extent));
    assert!(!memory::meets(&needs(7), &offer, extent));
    assert!(memory::meets(&needs(5), &Offer { contiguous: true, ..offer }, extent));
}

/// A device is given all segments of a buffer, but only its part of it has to be one run.
#[test]
fn of_a_part_of_a_buffer_only_the_contiguity_matters() {
    let heap = Offer { granule: 4096, ..heaps()[0].clone() };
    let frame = Frame::linear(Fourcc::XR24, px(1, 1), Plane { offset: 0, pitch: 4 });
    let agreement = Agreement { heap: heap.heap.clone(), frame, bytes: 8192 };
    let needs = |memory| party("p", Constraints { memory, ..linear(&[Fourcc::XR24]) });
    let contiguous = needs(MemoryNeeds { contiguous: true, ..MemoryNeeds::ANY });
    assert_eq!(suits(&agreement, &heap, &contiguous), Ok(()));
    let one_segment = needs(MemoryNeeds { segments: Some(1), ..MemoryNeeds::ANY });
    let why = suits(&agreement, &heap, &one_segment).expect_err("two pages, one segment");
    assert!(why.contains("which is 2 segments"), "{why}");
}
