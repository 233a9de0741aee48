//! Which differences are found, counted and described, and which are none.

use proptest::prelude::*;

use super::*;
use crate::frame::px;
use crate::pattern::Pattern;

fn pattern(fourcc: Fourcc) -> Picture {
    Pattern { stamp: 5 }.picture(fourcc, px(33, 17)).expect("known format")
}

fn differ(target: &Picture, actual: &Picture, tolerance: &Tolerance) -> Option<Difference> {
    compare(target, actual, tolerance).expect("comparable")
}

fn within(max: u32, pixels: u64) -> Tolerance {
    Tolerance::PerChannel { max, pixels, reason: "a test".into() }
}

#[test]
fn equal_pictures_match_in_every_format() {
    for &fourcc in Fourcc::PACKED_RGB {
        assert_eq!(differ(&pattern(fourcc), &pattern(fourcc), &Tolerance::Exact), None, "{fourcc}");
    }
}

#[test]
fn padding_bits_never_count_and_every_other_bit_does() {
    for &fourcc in Fourcc::PACKED_RGB {
        let layout = fourcc.pixel().expect("known format");
        let target = pattern(fourcc);
        for bit in 0..8 * layout.bytes as usize {
            let mut actual = target.clone();
            let pixel = 40 * layout.bytes as usize;
            actual.bytes[pixel + bit / 8] ^= 1 << (bit % 8);
            let found = differ(&target, &actual, &Tolerance::Exact);
            let counts = layout.visible() >> bit & 1 == 1;
            assert_eq!(found.is_some(), counts, "{fourcc} bit {bit}");
            if let Some(found) = found {
                assert_eq!((found.count, found.first.x, found.first.y), (1, 7, 1), "{fourcc} bit {bit}");
            }
        }
    }
}

#[test]
fn a_difference_says_where_and_how_much() {
    let target = pattern(Fourcc::XR24);
    let mut actual = target.clone();
    for (x, y, off) in [(3, 2, 5u8), (9, 2, 7), (4, 6, 1)] {
        let green = &mut actual.bytes[(y * 33 + x) * 4 + 1];
        *green = green.wrapping_add(off);
    }
    let found = differ(&target, &actual, &Tolerance::Exact).expect("three pixels differ");
    assert_eq!((found.count, found.total), (3, 561));
    assert_eq!(found.area, Area { x: 3, y: 2, width: 7, height: 5 });
    insta::assert_snapshot!(found.rows, @"0 to 1 exact, 2 differs, 3 to 5 exact, 6 differs, 7 to 16 exact");
    insta::assert_snapshot!(found.area, @"x 3 to 9, y 2 to 6");
    insta::assert_snapshot!(found.most_text(), @"r 0, g 7, b 0   (of 255; allowed 0)");
    insta::assert_snapshot!(found.first, @"x 3, y 2    target #4c4bf0    actual #4c50f0");
}

#[test]
fn tolerance_holds_at_its_edge_and_not_one_step_beyond() {
    let target = Picture { size: px(4, 1), fourcc: Fourcc::AR24, bytes: vec![100; 16] };
    let mut actual = target.clone();
    actual.bytes[0] = 103;
    actual.bytes[7] = 97;
    assert_eq!(differ(&target, &actual, &within(3, 0)), None);
    assert_eq!(differ(&target, &actual, &within(2, 2)), None);
    let found = differ(&target, &actual, &within(2, 1)).expect("one pixel too many");
    assert_eq!(found.count, 2);
    insta::assert_snapshot!(found.most_text(), @"r 0, g 0, b 3, a 3   (of 255; allowed 2 of 255, more in at most 1 pixel: a test)");
}

#[test]
fn steps_are_of_the_full_scale_of_each_component() {
    // One step of 5 bits is 8.2 of 255, one of 6 bits 4.05.
    let target = Picture { size: px(1, 1), fourcc: Fourcc::RG16, bytes: vec![0, 0] };
    let green = Picture { bytes: vec![0x20, 0], ..target.clone() };
    let blue = Picture { bytes: vec![1, 0], ..target.clone() };
    assert_eq!(differ(&target, &green, &within(5, 0)), None);
    assert!(differ(&target, &green, &within(4, 0)).is_some());
    assert!(differ(&target, &blue, &within(8, 0)).is_some());
    assert_eq!(differ(&target, &blue, &within(9, 0)), None);
    let found = differ(&target, &blue, &Tolerance::Exact).expect("differs");
    insta::assert_snapshot!(found.most_text(), @"r 0 of 31, g 0 of 63, b 1 of 31   (allowed 0)");
}

#[test]
fn half_floats_compare_by_value_and_nan_is_as_far_as_can_be() {
    let picture = |r: f32| {
        let bytes = [r, 0.5, 0.25, 1.0].into_iter().flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect();
        Picture { size: px(1, 1), fourcc: Fourcc::AB4H, bytes }
    };
    assert_eq!(differ(&picture(0.5), &picture(0.5 + 1.0 / 256.0), &within(1, 0)), None);
    assert!(differ(&picture(0.5), &picture(0.51), &within(1, 0)).is_some());
    let found = differ(&picture(0.5), &picture(f32::NAN), &within(255, 0)).expect("NaN is never near");
    insta::assert_snapshot!(found.most_text(), @"r 131008, g 0, b 0, a 0   (of 1.0; allowed 255 of 255, more in at most 0 pixels: a test)");
    insta::assert_snapshot!(found.first, @"x 0, y 0    target #3800 3800 3400 3c00    actual #7e00 3800 3400 3c00");
    let json = serde_json::to_string(&found).expect("serialisable");
    assert_eq!(serde_json::from_str::<Difference>(&json).expect("round trip"), found);
}

#[test]
fn what_is_not_comparable_is_an_error_that_names_both_sides() {
    let target = pattern(Fourcc::XR24);
    let other = Pattern { stamp: 5 }.picture(Fourcc::XR24, px(34, 17)).expect("known format");
    let text = |actual: &Picture, tolerance: &Tolerance| {
        compare(&target, actual, tolerance).expect_err("not comparable").to_string()
    };
    insta::assert_snapshot!(text(&other, &Tolerance::Exact), @"comparing pictures on target XR24 33x17 px: the actual picture is XR24 34x17 px");
    insta::assert_snapshot!(text(&pattern(Fourcc::XB24), &Tolerance::Exact), @"comparing pictures on target XR24 33x17 px: the actual picture is XB24 33x17 px");
    let mut short = target.clone();
    short.bytes.pop();
    insta::assert_snapshot!(text(&short, &Tolerance::Exact), @"comparing pictures on target XR24 33x17 px: the actual picture has 2243 B, its size needs 2244 B");
    let no_reason = Tolerance::PerChannel { max: 1, pixels: 0, reason: " ".into() };
    insta::assert_snapshot!(text(&target, &no_reason), @"comparing pictures on XR24 33x17 px: a tolerance needs a reason: say why an exact answer can't be asked for");
    let nothing = Picture { size: px(0, 3), fourcc: Fourcc::XR24, bytes: Vec::new() };
    assert!(compare(&nothing, &nothing, &Tolerance::Exact).expect_err("no pixel").to_string().contains("no pixel"));
}

#[test]
fn bytes_differ_in_ranges() {
    let target = vec![7; 100];
    let mut actual = target.clone();
    assert_eq!(compare_bytes(&target, &actual).expect("same length"), None);
    for at in [3, 4, 5, 9, 99] {
        actual[at] = 8;
    }
    let found = compare_bytes(&target, &actual).expect("same length").expect("differs");
    assert_eq!((found.count, found.at, found.target, found.actual), (5, 3, 7, 8));
    insta::assert_snapshot!(found, @"byte 3 to 5, 9, 99");
    let stripes: Vec<u8> = (0..100).map(|n| if n % 3 == 0 { 7 } else { 1 }).collect();
    insta::assert_snapshot!(compare_bytes(&target, &stripes).expect("same length").expect("differs"), @"byte 1 to 2, 4 to 5, 7 to 8, 10 to 11, 13 to 14, 16 to 17, 19 to 20, 22 to 23 and 25 more ranges");
    assert!(compare_bytes(&target, &[]).is_err());
    assert!(compare_bytes(&[], &[]).is_err());
}

fn any_picture(fourcc: Fourcc) -> impl Strategy<Value = Picture> {
    let bytes = fourcc.pixel().map_or(0, |p| p.bytes as usize) * 24;
    // Few values, so that equal pixels are common.
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], bytes).prop_map(move |bytes| Picture {
        size: px(6, 4),
        fourcc,
        bytes,
    })
}

fn any_pair() -> impl Strategy<Value = (Picture, Picture)> {
    proptest::sample::select(Fourcc::PACKED_RGB).prop_flat_map(|fourcc| (any_picture(fourcc), any_picture(fourcc)))
}

proptest! {
    #[test]
    fn comparing_is_symmetric((a, b) in any_pair(), max in 0u32..256) {
        for tolerance in [Tolerance::Exact, within(max, 0)] {
            let (there, back) = (differ(&a, &b, &tolerance), differ(&b, &a, &tolerance));
            let facts = |d: &Difference| (d.count, d.area, d.rows.clone());
            prop_assert_eq!(there.as_ref().map(facts), back.as_ref().map(facts));
        }
    }

    #[test]
    fn the_count_is_the_number_of_pixels_whose_visible_bits_differ((a, b) in any_pair()) {
        let layout = a.fourcc.pixel().expect("known format");
        let n = layout.bytes as usize;
        let differing = a.bytes.chunks(n).zip(b.bytes.chunks(n))
            .filter(|(a, b)| (layout.word(a) ^ layout.word(b)) & layout.visible() != 0)
            .count() as u64;
        prop_assert_eq!(differ(&a, &b, &Tolerance::Exact).map_or(0, |d| d.count), differing);
    }

    #[test]
    fn tolerance_only_forgives((a, b) in any_pair(), max in 0u32..256, pixels in 0u64..24) {
        let exact = differ(&a, &b, &Tolerance::Exact).map_or(0, |d| d.count);
        let tolerated = differ(&a, &b, &within(max, pixels)).map_or(0, |d| d.count);
        prop_assert!(tolerated <= exact);
        prop_assert!(tolerated == 0 || tolerated > pixels);
    }
}
