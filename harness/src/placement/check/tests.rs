//! Does each broken constraint show, alone, with its numbers; and is nothing that was not seen taken for a pass?

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::dmabuf::Identity;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size, px};
use crate::placement::{MemoryTypes, Segment};
use crate::share::constraints::FormatModifier;

const SIZE: u64 = 64 * 1024;

fn segments(device: &str, list: &[(u64, u64)]) -> Segments {
    let list: Vec<Segment> = list.iter().map(|&(address, length)| Segment { address, length }).collect();
    Segments { source: Source::ScatterList { device: device.into(), physical: true }, count: list.len() as u64, list }
}

/// A 64 KiB buffer in four segments, two of them neighbours, as `vivid.1` was told.
fn placement() -> Placement {
    Placement {
        device: "camera".into(),
        kernel_device: Some("vivid.1".into()),
        buffer: Identity { inode: 5, exporter: Some("system".into()), size: SIZE },
        frame: Frame::linear(Fourcc::XR24, px(100, 100), Plane { offset: 4096, pitch: 512 }),
        heap: Some("system".into()),
        memory: Some(Ok(MemoryTypes { bits: 0b10, types: vec!["1 HOST_VISIBLE".into()] })),
        segments: Ok(segments(
            "vivid.1",
            &[(0x1_0000, 0x4000), (0x1_4000, 0x4000), (0x5_0000, 0x4000), (0x9_0000, 0x4000)],
        )),
        mapped_by_cpu: true,
    }
}

fn anything() -> Constraints {
    Constraints::of(vec![FormatModifier { fourcc: Fourcc::XR24, modifier: Modifier::LINEAR, planes: 1 }])
}

fn memory(memory: MemoryNeeds) -> Constraints {
    Constraints { memory, ..anything() }
}

#[test]
fn what_suits_a_device_breaks_nothing() {
    let fits = Constraints {
        smallest: px(100, 100),
        largest: px(100, 100),
        pitch: Bytes { alignment: 512, min: 512, max: 512 },
        offset_alignment: 4096,
        padding: SIZE - (4096 + 99 * 512 + 400),
        size: Bytes { alignment: 4096, min: SIZE, max: SIZE },
        memory: MemoryNeeds {
            heaps: Some(BTreeSet::from(["system".into()])),
            types: Some(0b11),
            dedicated: true,
            contiguous: false,
            address_bits: 20,
            segments: Some(3),
            segment_size: None,
            cpu: true,
        },
        ..anything()
    };
    assert_eq!(check(&placement(), &fits), Checked::default());
}

#[test]
fn each_constraint_that_is_broken_reads_as_a_sentence() {
    let any = MemoryNeeds::ANY;
    let broken = [
        Constraints::of(vec![FormatModifier { fourcc: Fourcc::RG16, modifier: Modifier::LINEAR, planes: 1 }]),
        Constraints::of(vec![FormatModifier { fourcc: Fourcc::XR24, modifier: Modifier::LINEAR, planes: 2 }]),
        Constraints { smallest: px(101, 1), ..anything() },
        Constraints { largest: Size { width: 4096, height: 99 }, ..anything() },
        Constraints { pitch: Bytes::aligned(1024), ..anything() },
        Constraints { pitch: Bytes { alignment: 64, min: 1024, max: 16384 }, ..anything() },
        Constraints { offset_alignment: 8192, ..anything() },
        Constraints { padding: 65536, ..anything() },
        Constraints { size: Bytes { max: 4096, ..Bytes::ANY }, ..anything() },
        memory(MemoryNeeds { heaps: Some(BTreeSet::from(["udmabuf".into(), "vgem dumb".into()])), ..any.clone() }),
        memory(MemoryNeeds { types: Some(0b101), ..any.clone() }),
        memory(MemoryNeeds { contiguous: true, ..any.clone() }),
        memory(MemoryNeeds { address_bits: 19, ..any.clone() }),
        memory(MemoryNeeds { segments: Some(2), ..any.clone() }),
        memory(MemoryNeeds { segments: Some(6), segment_size: Some(0x2000), ..any }),
    ];
    let mut texts = Vec::new();
    for constraints in &broken {
        let checked = check(&placement(), constraints);
        assert_eq!(checked.unchecked, [], "all of it was seen");
        texts.push(checked.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn a_frame_that_does_not_fit_its_buffer_breaks_its_size() {
    let mut placement = placement();
    placement.buffer.size = 4096 + 99 * 512 + 399;
    let text = violations(&placement, &anything()).first().map(ToString::to_string);
    assert_eq!(text.as_deref(), Some("size: the frame ends at 55184 B; the buffer has 55183 B"));
}

#[test]
fn what_was_not_seen_is_never_a_pass() {
    let strict = memory(MemoryNeeds {
        heaps: Some(BTreeSet::from(["system".into()])),
        types: Some(1),
        dedicated: false,
        contiguous: true,
        address_bits: 32,
        segments: Some(1),
        segment_size: Some(4096),
        cpu: true,
    });
    let why = "vkms was attached, but no scatter list was mapped for it: it reads through the CPU";
    let unseen = Placement {
        heap: None,
        memory: None,
        segments: Err(NotObservable(why.into())),
        mapped_by_cpu: false,
        ..placement()
    };
    let checked = check(&unseen, &strict);
    assert_eq!(checked.violations, []);
    let about: Vec<&str> = checked.unchecked.iter().map(|unchecked| unchecked.about).collect();
    assert_eq!(about, ["heap", "memory type", "cpu access", "contiguity", "address", "segment count", "segment size"]);
    assert_eq!(checked.unchecked[3].to_string(), format!("contiguity: not observable: {why}"));
    // A device that asks for nothing of that is not told what could not be seen.
    assert_eq!(check(&unseen, &anything()), Checked::default());
}

#[test]
fn where_pixels_of_a_tiled_frame_end_is_not_known() {
    let mut tiled = placement();
    tiled.frame.modifier = Modifier(0x0200_0000_0000_0001);
    let formats = vec![FormatModifier { fourcc: Fourcc::XR24, modifier: tiled.frame.modifier, planes: 1 }];
    assert_eq!(check(&tiled, &Constraints::of(formats.clone())), Checked::default());
    let checked = check(&tiled, &Constraints { padding: 1, ..Constraints::of(formats) });
    assert_eq!((checked.violations.len(), checked.unchecked[0].about), (0, "padding"));
}

#[test]
fn a_list_that_was_cut_proves_only_what_is_in_it() {
    let contiguous = memory(MemoryNeeds { contiguous: true, address_bits: 32, segments: Some(1), ..MemoryNeeds::ANY });
    let cut = |list: &[(u64, u64)]| {
        let segments = Segments { count: 200, ..segments("vivid.1", list) };
        check(&Placement { segments: Ok(segments), ..placement() }, &contiguous)
    };
    let one_run = cut(&[(0x1000, 0x1000), (0x2000, 0x1000)]);
    assert_eq!(one_run.violations, []);
    assert_eq!(one_run.unchecked.len(), 3);
    assert_eq!(one_run.unchecked[0].to_string(), "contiguity: not observable: the kernel printed 2 of 200 segments");
    let two_runs = cut(&[(0x1000, 0x1000), (0x4000, 0x1000)]);
    assert!(two_runs.violations[0].text.contains("at least 2 runs"), "{:?}", two_runs.violations);
}

#[test]
fn the_addresses_of_another_device_prove_only_what_suits() {
    let contiguous = memory(MemoryNeeds { contiguous: true, ..MemoryNeeds::ANY });
    let seen_by = |segments| check(&Placement { segments: Ok(segments), ..placement() }, &contiguous);
    assert_eq!(seen_by(segments("udmabuf", &[(0x1000, SIZE)])), Checked::default());
    let scattered = seen_by(Segments { source: Source::Pagemap, ..segments("", &[(0, 4096), (8192, 4096)]) });
    assert_eq!(scattered.violations, [], "an IOMMU may show it in one run");
    let why = scattered.unchecked[0].to_string();
    assert!(why.contains("seen by pagemap of the memory file, not in a scatter list of camera"), "{why}");
    let translated = Source::ScatterList { device: "gpu".into(), physical: false };
    let translated = seen_by(Segments { source: translated, ..segments("", &[(0x1000, SIZE)]) });
    let why = translated.unchecked[0].to_string();
    assert!(why.contains("which shows that device's own addresses"), "{why}");
}

proptest! {
    /// Cutting a run into pieces, or putting neighbours together, changes no verdict about contiguity, reach or count.
    #[test]
    fn how_a_run_is_cut_does_not_matter(
        gaps in prop::collection::vec((1_u64..8, 1_u64..6, any::<bool>()), 1..12),
        contiguous: bool,
        bits in 13_u32..20,
        most in 1_u32..12,
    ) {
        let mut pieces = Vec::new();
        let mut address = 4096;
        for (length, gap, apart) in gaps {
            address += if apart { gap * 4096 } else { 0 };
            pieces.push((address, length * 4096));
            address += length * 4096;
        }
        let needs = memory(MemoryNeeds { contiguous, address_bits: bits, segments: Some(most), ..MemoryNeeds::ANY });
        let whole = segments("vivid.1", &pieces);
        let merged = Segments { list: whole.runs(), count: whole.runs().len() as u64, ..whole.clone() };
        let verdict = |segments: &Segments| check(&Placement { segments: Ok(segments.clone()), ..placement() }, &needs);
        prop_assert_eq!(verdict(&whole), verdict(&merged));
        let broken = |about| verdict(&whole).violations.iter().any(|violation| violation.about == about);
        // The frame's last byte; what lies behind it need not be in the first run.
        let short = merged.list[0].length < 4096 + 99 * 512 + 400;
        prop_assert_eq!(broken("contiguity"), contiguous && merged.list.len() > 1 && short);
        prop_assert_eq!(broken("address"), address > 1 << bits);
        prop_assert_eq!(broken("segment count"), merged.list.len() > most as usize);
    }

    /// Whatever was seen, a constraint is broken, unchecked or held, and never two of them.
    #[test]
    fn nothing_is_broken_and_unchecked_at_once(
        own: bool, seen: bool, cut: bool, contiguous: bool, bits in 1_u32..=64,
        most in prop::option::of(1_u32..4), longest in prop::option::of(1_u64..65536),
    ) {
        let mut all = segments(if own { "vivid.1" } else { "udmabuf" }, &[(0x1000, 0x1000), (0x8000, 0x3000)]);
        all.count += u64::from(cut);
        let segments = if seen { Ok(all) } else { Err(NotObservable("blind".into())) };
        let placement = Placement { segments, ..placement() };
        let needs = MemoryNeeds { contiguous, address_bits: bits, segments: most, segment_size: longest, ..MemoryNeeds::ANY };
        let Checked { violations, unchecked } = check(&placement, &memory(needs));
        let mut about: Vec<&str> = violations.iter().map(|violation| violation.about).collect();
        about.extend(unchecked.iter().map(|unchecked| unchecked.about));
        let distinct: BTreeSet<&str> = about.iter().copied().collect();
        prop_assert_eq!(about.len(), distinct.len());
        prop_assert!(seen || violations.is_empty());
        prop_assert!(own || violations.is_empty());
    }
}
