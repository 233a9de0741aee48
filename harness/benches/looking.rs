//! How long does a look at a frame take: making its target, finding the pixels, comparing them, guessing at a cause?
//!
//! Every case does all of this, several times, in whatever build runs the cases: `cargo bench --bench looking --profile dev`
//! measures the one that `cargo test` makes. No device is touched.
#![expect(clippy::unwrap_used, reason = "what is measured is given valid pictures")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use handover::compare::{Tolerance, compare};
use handover::compose::{Layer, Rect, compose};
use handover::format::Fourcc;
use handover::frame::{Frame, Plane, Size, px};
use handover::guess::{Suspects, guess};
use handover::pattern::Pattern;
use handover::picture::Picture;

const SIZE: Size = px(512, 512);

/// The mode of the screen in the sandbox.
const SCREEN: Size = px(1024, 768);

fn pattern(stamp: u32, fourcc: Fourcc, size: Size) -> Picture {
    Pattern { stamp }.picture(fourcc, size).unwrap()
}

/// `picture` in a buffer, written with one pitch and read with another.
fn skewed(picture: &Picture, written: u64, read: u64) -> Picture {
    let frame = |pitch| Frame::linear(picture.fourcc, picture.size, Plane { offset: 0, pitch });
    let mut buffer = vec![0; (written.max(read) * u64::from(picture.size.height)) as usize];
    picture.write_to(&frame(written), &mut buffer).unwrap();
    Picture::of_frame(&frame(read), &buffer).unwrap()
}

fn looking(c: &mut Criterion) {
    c.bench_function("pattern/512x512_AR24", |b| b.iter(|| pattern(black_box(7), Fourcc::AR24, SIZE)));

    let target = pattern(7, Fourcc::AR24, SIZE);
    let (equal, different) = (target.clone(), pattern(8, Fourcc::AR24, SIZE));
    c.bench_function("compare/512x512_AR24_equal", |b| {
        b.iter(|| compare(black_box(&target), &equal, &Tolerance::Exact).unwrap());
    });
    c.bench_function("compare/512x512_AR24_different", |b| {
        b.iter(|| compare(black_box(&target), &different, &Tolerance::Exact).unwrap());
    });

    let skew = skewed(&target, 2048, 2048 + 64);
    c.bench_function("guess/512x512_AR24_skew", |b| {
        b.iter(|| guess(black_box(&target), &skew, &Suspects::default()).unwrap());
    });
    c.bench_function("guess/512x512_AR24_nothing", |b| {
        b.iter(|| guess(black_box(&target), &different, &Suspects::default()));
    });

    let shown = pattern(7, Fourcc::XR24, SCREEN);
    let layer = [Layer { picture: &shown, crop: Rect::whole(SCREEN), at: (0, 0) }];
    c.bench_function("compose/1024x768_XR24", |b| b.iter(|| compose(SCREEN, black_box(&layer)).unwrap()));
    let composed = compose(SCREEN, &layer).unwrap();
    c.bench_function("compose/1024x768_to_XR24", |b| b.iter(|| black_box(&composed).to(Fourcc::XR24).unwrap()));
    c.bench_function("compose/1024x768_crc", |b| b.iter(|| black_box(&composed).crc_vkms()));

    let frame = Frame::linear(Fourcc::AR24, SIZE, Plane { offset: 4096, pitch: 2048 + 64 });
    let mut buffer = vec![0; 4096 + 512 * (2048 + 64)];
    target.write_to(&frame, &mut buffer).unwrap();
    c.bench_function("picture/512x512_AR24_of_frame", |b| {
        b.iter(|| Picture::of_frame(&frame, black_box(&buffer)).unwrap())
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = looking
}
criterion_main!(benches);
