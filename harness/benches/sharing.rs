//! How long does sharing take before anything is drawn: agreeing on storage with many devices?
//!
//! No device is touched. `cargo bench --bench sharing --profile dev` measures the build that `cargo test` makes.
#![expect(clippy::unwrap_used, reason = "what is measured is given what can be agreed on")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use handover::format::{Fourcc, Modifier};
use handover::frame::px;
use handover::share::agreement::{Wish, agree};
use handover::share::constraints::{Bytes, Constraints, FormatModifier, MemoryNeeds, Party};
use handover::share::heap::Offer;

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

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = agreeing
}
criterion_main!(benches);
