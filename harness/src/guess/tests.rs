//! Which shape each kind of damage is taken for, and that noise is taken for none.

use proptest::prelude::*;

use super::*;
use crate::format::Fourcc;
use crate::frame::{Frame, Plane, Size, px};
use crate::pattern::Pattern;

const STAMP: u32 = 7;
const SIZE: Size = px(61, 43);

/// Formats of each pixel size, with and without padding bits.
const FORMATS: [Fourcc; 11] = [
    Fourcc::R8,
    Fourcc::RG16,
    Fourcc::AR12,
    Fourcc::RG24,
    Fourcc::XR24,
    Fourcc::AB24,
    Fourcc::RX24,
    Fourcc::AR30,
    Fourcc::XB30,
    Fourcc::AB48,
    Fourcc::AB4H,
];

fn pattern(fourcc: Fourcc, size: Size, stamp: u32) -> Picture {
    Pattern { stamp }.picture(fourcc, size).expect("known format")
}

fn pixel_bytes(picture: &Picture) -> usize {
    picture.fourcc.pixel().expect("known format").bytes as usize
}

/// A picture whose pixel at (x, y) is the one of `target` at the place that `from` says.
fn taken(target: &Picture, from: impl Fn(u32, u32) -> (u32, u32)) -> Picture {
    let n = pixel_bytes(target);
    let Size { width, height } = target.size;
    let bytes = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| {
        let (x, y) = from(x, y);
        let at = (y * width + x) as usize * n;
        target.bytes[at..at + n].iter().copied()
    });
    Picture { bytes: bytes.collect(), ..target.clone() }
}

/// A picture made of `target` word by word.
fn mapped(target: &Picture, f: impl Fn(u64) -> u64) -> Picture {
    let layout = target.fourcc.pixel().expect("known format");
    let n = pixel_bytes(target);
    let bytes = target.bytes.chunks(n).flat_map(|p| f(layout.word(p)).to_le_bytes().into_iter().take(n));
    Picture { bytes: bytes.collect(), ..target.clone() }
}

/// `target` written into a buffer at one offset and pitch and read at others, all in bytes.
fn reread(target: &Picture, written: (u64, u64), read: (u64, u64)) -> Picture {
    let mut buffer: Vec<u8> = (0..64 * 1024u32).map(|n| (n.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    let frame = |(offset, pitch)| Frame::linear(target.fourcc, target.size, Plane { offset, pitch });
    target.write_to(&frame(written), &mut buffer).expect("fits");
    Picture::of_frame(&frame(read), &buffer).expect("fits")
}

fn shape(target: &Picture, actual: &Picture, suspects: &Suspects<'_>) -> Shape {
    guess(target, actual, suspects).expect("a guess").shape
}

fn alone(target: &Picture, actual: &Picture) -> Shape {
    shape(target, actual, &Suspects::default())
}

#[test]
fn equal_noisy_and_incomparable_pictures_give_no_guess() {
    for fourcc in FORMATS {
        let target = pattern(fourcc, SIZE, STAMP);
        assert_eq!(guess(&target, &target, &Suspects::default()), None, "{fourcc}");
        let unrelated = pattern(fourcc, SIZE, STAMP + 40);
        assert_eq!(guess(&target, &unrelated, &Suspects::default()), None, "{fourcc}");
        let noise = mapped(&target, |word| word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 7);
        assert_eq!(guess(&target, &noise, &Suspects::default()), None, "{fourcc}");
    }
    let drawn = pattern(Fourcc::AR24, SIZE, STAMP);
    assert_eq!(guess(&mapped(&drawn, |_| 0), &drawn, &Suspects::default()), None, "nothing was to be drawn");
    let target = pattern(Fourcc::XR24, SIZE, STAMP);
    assert_eq!(guess(&target, &pattern(Fourcc::XB24, SIZE, STAMP), &Suspects::default()), None);
    assert_eq!(guess(&target, &pattern(Fourcc::XR24, px(5, 5), STAMP), &Suspects::default()), None);
}

#[test]
fn a_shape_that_explains_only_part_of_the_wrong_pixels_is_no_guess() {
    let target = pattern(Fourcc::XR24, SIZE, STAMP);
    let old = pattern(Fourcc::XR24, SIZE, STAMP - 1);
    let other = pattern(Fourcc::XR24, SIZE, STAMP + 9);
    let row = target.row_bytes();
    // 3 rows old, 3 rows of something else: most pixels are right, and still half of the wrong ones are unexplained.
    let mut actual = target.clone();
    actual.bytes[..3 * row].copy_from_slice(&old.bytes[..3 * row]);
    actual.bytes[9 * row..12 * row].copy_from_slice(&other.bytes[9 * row..12 * row]);
    let known = [Known { name: "the previous frame", picture: &old }];
    assert_eq!(guess(&target, &actual, &Suspects { known: &known, pitch: None, ..Suspects::default() }), None);
}

#[test]
fn a_few_wrong_pixels_do_not_hide_the_shape() {
    let target = pattern(Fourcc::AR24, SIZE, STAMP);
    let mut actual = reread(&target, (0, 244), (0, 256));
    for at in (0..actual.bytes.len()).step_by(4 * 40) {
        actual.bytes[at] ^= 0x55;
    }
    let found = guess(&target, &actual, &Suspects::default()).expect("a guess");
    assert_eq!(found.shape, Shape::RowPitch { bytes: 12, pixels: Some(3) });
    assert!(found.explained < found.predicted, "{found}");
}

#[test]
fn texts_of_every_shape() {
    let target = pattern(Fourcc::AR24, SIZE, STAMP);
    let old = pattern(Fourcc::AR24, SIZE, STAMP - 1);
    let row = target.row_bytes();
    let known = [Known { name: "the previous frame (stamp 6)", picture: &old }];
    let with_known = Suspects { known: &known, pitch: None, ..Suspects::default() };
    let wide = pattern(Fourcc::AB48, SIZE, STAMP);
    let half = pattern(Fourcc::AB4H, SIZE, STAMP);
    let mut texts = Vec::new();
    let mut see = |what: &str, target: &Picture, actual: &Picture, suspects: &Suspects<'_>| {
        let guess = guess(target, actual, suspects).map_or("no guess".to_owned(), |guess| guess.to_string());
        texts.push(format!("{what}\n    {guess}"));
    };
    let none = Suspects::default();

    see("zeros", &target, &mapped(&target, |_| 0), &none);
    see("poison", &target, &mapped(&target, |_| 0xcdcd_cdcd), &none);
    see("one colour", &target, &mapped(&target, |_| 0xff10_2030), &none);
    see("previous", &target, &old, &with_known);

    let mut actual = target.clone();
    actual.bytes[30 * row..].copy_from_slice(&old.bytes[30 * row..]);
    see("bottom rows previous", &target, &actual, &with_known);
    actual.bytes[30 * row..].fill(0);
    see("bottom rows zero", &target, &actual, &none);
    let right_half = taken(&target, |x, y| (x, y));
    let mut actual = right_half;
    for y in 0..43 {
        actual.bytes[y * row + 128..(y + 1) * row].copy_from_slice(&old.bytes[y * row + 128..(y + 1) * row]);
    }
    see("right half previous", &target, &actual, &with_known);
    let mut actual = target.clone();
    for y in (0..43).step_by(2) {
        actual.bytes[y * row..][..row].copy_from_slice(&old.bytes[y * row..][..row]);
    }
    see("every other row previous", &target, &actual, &with_known);

    let swap = |word: u64| word & 0xff00_ff00 | (word & 0xff) << 16 | word >> 16 & 0xff;
    see("red and blue swapped", &target, &mapped(&target, swap), &none);
    see("rotated", &target, &mapped(&target, |word| word << 8 & 0xffff_ff00 | word >> 24), &none);
    see("reversed", &target, &mapped(&target, |word| u64::from((word as u32).swap_bytes())), &none);
    see("opaque", &target, &mapped(&target, |word| word | 0xff00_0000), &none);
    see("transparent", &target, &mapped(&target, |word| word & 0x00ff_ffff), &none);
    see("no red", &target, &mapped(&target, |word| word & 0xff00_ffff), &none);
    let through = |curve: fn(f64) -> f64| {
        move |word: u64| {
            let one = |shift: u32| (curve((word >> shift & 0xff) as f64 / 255.0) * 255.0).round() as u64;
            word & 0xff00_0000 | one(16) << 16 | one(8) << 8 | one(0)
        }
    };
    let decode = |v: f64| if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
    let encode = |v: f64| if v <= 0.003_130_8 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
    see("sRGB decoded", &target, &mapped(&target, through(decode)), &none);
    see("sRGB encoded", &target, &mapped(&target, through(encode)), &none);
    see("alpha noise", &target, &mapped(&target, |word| word ^ ((word * 77) & 0xff00_0000) | 0x0100_0000), &none);
    see("red noise", &target, &mapped(&target, |word| word ^ ((word * 77) & 0x00ff_0000)), &none);
    see("opaque half float", &half, &mapped(&half, |word| word & 0xffff_ffff_ffff | 0x3c00 << 48), &none);

    let multiply = |word: u64| {
        let alpha = word >> 24;
        let times = |shift: u32| (((word >> shift & 0xff) * alpha + 127) / 255) << shift;
        alpha << 24 | times(16) | times(8) | times(0)
    };
    see("multiplied", &target, &mapped(&target, multiply), &none);
    see("not multiplied", &mapped(&target, multiply), &target, &none);

    see("upside down", &target, &taken(&target, |x, y| (x, 42 - y)), &none);
    see("mirrored", &target, &taken(&target, |x, y| (60 - x, y)), &none);
    see("turned", &target, &taken(&target, |x, y| (60 - x, 42 - y)), &none);
    see("crop twice", &target, &taken(&target, |x, y| ((x + 16).min(60), (y + 8).min(42))), &none);
    see("one row down", &target, &taken(&target, |x, y| (x, y.saturating_sub(1))), &none);

    see(
        "pitch too large",
        &target,
        &reread(&target, (0, 256), (0, 320)),
        &Suspects { known: &[], pitch: Some(320), ..Suspects::default() },
    );
    see(
        "pitch too small",
        &target,
        &reread(&target, (0, 256), (0, 244)),
        &Suspects { known: &[], pitch: Some(256), ..Suspects::default() },
    );
    see("pitch by a byte", &target, &reread(&target, (0, 244), (0, 245)), &none);
    see(
        "offset ignored",
        &target,
        &reread(&target, (64, 256), (0, 256)),
        &Suspects { known: &[], pitch: Some(256), offset: 64, ..Suspects::default() },
    );
    see("offset twice", &target, &reread(&target, (34, 244), (68, 244)), &none);

    see("rounded", &target, &mapped(&target, |word| word ^ 0x0001_0101), &none);
    let eighth = |word: u64| (word >> 8 & 0x00ff_00ff_00ff_00ff) * 0x101;
    see("through 8 bits", &wide, &mapped(&wide, eighth), &none);
    insta::assert_snapshot!(texts.join("\n"));
}

/// How often the search may look at each pixel, in the mean; without a budget it is thousands of times.
const MOST: u64 = 100;

#[test]
fn flat_pictures_stay_within_the_budget() {
    // Nearly everything is plausible on a flat picture, nothing explains the box on it.
    let size = px(512, 512);
    let flat = Picture { size, fourcc: Fourcc::XR24, bytes: vec![0x40; 512 * 512 * 4] };
    let mut actual = flat.clone();
    for y in 100..400 {
        for x in 100..400 {
            actual.bytes[(y * 512 + x) * 4] = (x ^ y) as u8;
        }
    }
    for (target, actual) in [(&flat, &actual), (&actual, &flat)] {
        let evidence = Evidence::new(target, actual).unwrap();
        let _ = best(&evidence, &Suspects { known: &[], pitch: Some(4096), ..Suspects::default() });
        let all = evidence.looks.get() / (512 * 512);
        assert!((1..MOST).contains(&all), "every pixel was looked at {all} times");
    }
}

fn any_format() -> impl Strategy<Value = Fourcc> {
    proptest::sample::select(FORMATS.to_vec())
}

/// A picture that is not too small to tell shapes apart.
fn any_target() -> impl Strategy<Value = Picture> {
    (any_format(), 16u32..60, 16u32..60, 0u32..1000)
        .prop_map(|(fourcc, w, h, stamp)| pattern(fourcc, px(w, h), stamp + 1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_previous_frame_is_recognised(target in any_target(), stamp in 0u32..1000) {
        let old = pattern(target.fourcc, target.size, stamp + 2000);
        let known = [Known { name: "the previous frame", picture: &old }];
        let found = shape(&target, &old, &Suspects { known: &known, pitch: None, ..Suspects::default() });
        prop_assert_eq!(found, Shape::Instead { name: "the previous frame".to_owned() });
    }

    #[test]
    fn constants_are_recognised(target in any_target(), byte: u8) {
        let actual = Picture { bytes: vec![byte; target.bytes.len()], ..target.clone() };
        prop_assert_eq!(alone(&target, &actual), Shape::Unwritten { byte });
    }

    #[test]
    fn a_partial_update_is_recognised(target in any_target(), from in 2u32..8, rows in 3u32..8) {
        let old = pattern(target.fourcc, target.size, 3000);
        let mut actual = target.clone();
        let row = target.row_bytes();
        let part = from as usize * row..(from + rows) as usize * row;
        actual.bytes[part.clone()].copy_from_slice(&old.bytes[part]);
        let known = [Known { name: "old", picture: &old }];
        match shape(&target, &actual, &Suspects { known: &known, pitch: None, ..Suspects::default() }) {
            Shape::Partly { area, fills: true, .. } => prop_assert_eq!((area.y, area.height), (from, rows)),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn flips_are_recognised(target in any_target(), horizontally: bool, vertically: bool) {
        prop_assume!(horizontally || vertically);
        let Size { width, height } = target.size;
        let actual = taken(&target, |x, y| {
            (if horizontally { width - 1 - x } else { x }, if vertically { height - 1 - y } else { y })
        });
        prop_assert_eq!(alone(&target, &actual), Shape::Flipped { horizontally, vertically });
    }

    #[test]
    fn moves_are_recognised(target in any_target(), right in -5i32..=5, down in -5i32..=5) {
        prop_assume!((right, down) != (0, 0));
        let Size { width, height } = target.size;
        let actual = taken(&target, |x, y| {
            let clamp = |n: i32, side: u32| n.clamp(0, side as i32 - 1) as u32;
            (clamp(x as i32 - right, width), clamp(y as i32 - down, height))
        });
        prop_assert_eq!(alone(&target, &actual), Shape::Moved { right, down });
    }

    #[test]
    fn a_wrong_pitch_is_recognised(target in any_target(), bytes in 1u64..200, too_large: bool, padding in 0u64..90) {
        let row = target.row_bytes() as u64;
        // Else most of the picture comes from elsewhere.
        let (bytes, padding) = (bytes.min(row / 3), padding.min(row / 4));
        let (short, long) = (row + padding, row + padding + bytes);
        let (written, read) = if too_large { (short, long) } else { (long, short) };
        let actual = reread(&target, (0, written), (0, read));
        for stated in [written, read] {
            let n = pixel_bytes(&target) as i64;
            let bytes = if too_large { bytes as i64 } else { -(bytes as i64) };
            let pixels = (bytes % n == 0).then_some(bytes / n);
            let found = guess(&target, &actual, &Suspects { known: &[], pitch: Some(stated), ..Suspects::default() });
            prop_assert_eq!(found.map(|g| g.shape), Some(Shape::RowPitch { bytes, pixels }));
        }
    }

    #[test]
    fn a_wrong_offset_is_recognised(target in any_target(), bytes in 1u64..200, too_large: bool, padding in 1u64..90) {
        let pitch = target.row_bytes() as u64 + padding;
        let n = pixel_bytes(&target) as u64;
        prop_assume!(bytes < target.row_bytes() as u64 / 2);
        // By whole pixels, a moved picture predicts the same.
        prop_assume!(!bytes.is_multiple_of(n));
        // By part of a pixel that has padding bits, channels in another order do.
        let has_padding = target.fourcc.pixel().is_some_and(|p| p.visible().count_ones() < 8 * p.bytes);
        prop_assume!(bytes > n || !has_padding);
        let (written, read) = if too_large { (0, bytes) } else { (bytes, 0) };
        let actual = reread(&target, (written, pitch), (read, pitch));
        let bytes = if too_large { bytes as i64 } else { -(bytes as i64) };
        let found = shape(&target, &actual, &Suspects { known: &[], pitch: Some(pitch), ..Suspects::default() });
        prop_assert_eq!(found, Shape::Offset { bytes, own: false });
    }

    #[test]
    fn swapped_channels_are_recognised(target in any_target(), one in 0usize..4, two in 0usize..4) {
        let shown: Vec<_> = target.fourcc.pixel().expect("known format").shown().collect();
        prop_assume!(one < two && two < shown.len() && shown[one].bits == shown[two].bits);
        let (a, b) = (shown[one], shown[two]);
        let actual = mapped(&target, |word| {
            word & !(a.mask() | b.mask()) | u64::from(a.of(word)) << b.shift | u64::from(b.of(word)) << a.shift
        });
        let mut holds = vec![(a.channel, b.channel), (b.channel, a.channel)];
        holds.sort();
        prop_assert_eq!(alone(&target, &actual), Shape::Channels { holds });
    }

    #[test]
    fn the_other_byte_order_is_recognised(target in any_target()) {
        let bytes = target.fourcc.pixel().expect("known format").bytes;
        prop_assume!(bytes == 2 || bytes == 4);
        let actual = mapped(&target, |word| word.swap_bytes() >> (64 - 8 * bytes));
        prop_assert_eq!(alone(&target, &actual), Shape::BytesReversed { unit: bytes });
    }

    #[test]
    fn forced_channels_are_recognised(target in any_target(), which in 0usize..4, ones: bool) {
        let layout = target.fourcc.pixel().expect("known format");
        let shown: Vec<_> = layout.shown().collect();
        prop_assume!(shown.len() > 1 && which < shown.len());
        let component = shown[which];
        let actual = mapped(&target, |word| if ones { word | component.mask() } else { word & !component.mask() });
        match alone(&target, &actual) {
            Shape::Forced { channel, .. } => prop_assert_eq!(channel, component.channel),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn rounding_is_recognised(target in any_target()) {
        let shown: Vec<_> = target.fourcc.pixel().expect("known format").shown().copied().collect();
        prop_assume!(shown.iter().all(|c| c.bits >= 5));
        let actual = mapped(&target, |word| shown.iter().fold(word, |word, c| word ^ 1 << c.shift));
        match alone(&target, &actual) {
            Shape::Rounded { through_8_bits: false, .. } => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
