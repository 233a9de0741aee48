//! Do the pattern, the conversion and the words about planes hold for every YUV format that is known here?

use super::planes::{PlaneDifference, chroma_swapped, compare_planes, greys, split};
use super::*;
use crate::frame::Plane;

fn stamped(stamp: u32, fourcc: Fourcc, size: Size) -> Picture {
    Pattern { stamp }.picture(fourcc, size).expect("known format")
}

/// Of sizes that no sub-sampling divides, too.
const SIZES: [Size; 3] = [px(64, 64), px(250, 130), px(33, 17)];

#[test]
fn every_sample_changes_with_the_stamp_and_planes_differ() {
    for (fourcc, size) in Fourcc::all_yuv().flat_map(|fourcc| SIZES.map(|size| (fourcc, size))) {
        let (one, next) = (stamped(7, fourcc, size), stamped(8, fourcc, size));
        for (n, (one, next)) in split(&one).unwrap().iter().zip(&split(&next).unwrap()).enumerate() {
            let difference = compare_first(one, next);
            assert_eq!(
                difference,
                u64::from(one.size.width) * u64::from(one.size.height),
                "{fourcc} {size}, plane {n}"
            );
        }
        let planes = split(&one).unwrap();
        if let [_, u, v] = &planes[..] {
            assert!(compare_first(u, v) * 10 > 9 * u64::from(u.size.width) * u64::from(u.size.height), "{fourcc}");
        }
    }
}

fn compare_first(one: &Picture, other: &Picture) -> u64 {
    use crate::compare::{Tolerance, compare};
    compare(one, other, &Tolerance::Exact).unwrap().map_or(0, |difference| difference.count)
}

#[test]
fn padding_is_zero_and_values_are_in_the_upper_bits() {
    let picture = stamped(3, Fourcc::P010, px(33, 17));
    let words: Vec<u16> = picture.bytes.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word)).collect();
    assert!(words.iter().all(|word| word & 0x3f == 0 && word >> 6 != 0));
    assert!(words.iter().any(|word| word & 0x40 != 0));
}

#[test]
fn values_in_the_lower_bits_are_those_of_the_upper_ones() {
    let words = |fourcc| {
        let picture = stamped(3, fourcc, px(34, 18));
        picture.bytes.as_chunks().0[..34 * 18].iter().map(|word| u16::from_le_bytes(*word)).collect::<Vec<_>>()
    };
    let (upper, lower) = (words(Fourcc::P010), words(Fourcc::S010));
    assert!(upper.iter().zip(&lower).all(|(upper, lower)| *upper == lower << 6));
}

/// Of a whole pixel AYUV has four bytes, of which the last is alpha, and that is what becomes of it.
#[test]
fn alpha_is_kept() {
    let picture = stamped(3, Fourcc::AYUV, px(34, 18));
    let rgb = Colours::VIDEO.convert(&picture).unwrap();
    let (pixels, converted) = (picture.bytes.as_chunks::<4>().0, rgb.bytes.as_chunks::<8>().0);
    assert!(pixels.iter().any(|pixel| pixel[3] != pixels[0][3]));
    for (pixel, converted) in pixels.iter().zip(converted) {
        assert_eq!(converted[6..], [pixel[3]; 2]);
    }
    let opaque = Colours::VIDEO.convert(&stamped(3, Fourcc::new(b"XYUV"), px(34, 18))).unwrap();
    assert!(opaque.bytes.as_chunks::<8>().0.iter().all(|pixel| pixel[6..] == [0xff; 2]));
}

/// By hand, after BT.601: white, black, and pure colours of limited range; grey of full range.
#[test]
fn known_colours_convert() {
    let rgb =
        |colours: Colours, yuv: [u32; 3], bits| colours.rgb(yuv, bits).map(|value| (value * 255.0).round() as u32);
    assert_eq!(rgb(Colours::VIDEO, [235, 128, 128], 8), [255, 255, 255]);
    assert_eq!(rgb(Colours::VIDEO, [16, 128, 128], 8), [0, 0, 0]);
    assert_eq!(rgb(Colours::VIDEO, [81, 90, 240], 8), [254, 0, 0]);
    assert_eq!(rgb(Colours::VIDEO, [41, 240, 110], 8), [0, 0, 255]);
    assert_eq!(rgb(Colours::VIDEO, [940, 512, 512], 10), [255, 255, 255]);
    let full = |encoding| Colours { encoding, range: Range::Full };
    for encoding in [Encoding::Bt601, Encoding::Bt709, Encoding::Bt2020] {
        assert_eq!(rgb(full(encoding), [77, 128, 128], 8), [77, 77, 77]);
    }
    // 1.5748 x 50 above, 0.4681 x 50 below.
    assert_eq!(rgb(full(Encoding::Bt709), [100, 128, 178], 8), [179, 77, 100]);
}

/// A mistake shows in every format and every way to convert that it is of, and in no other.
#[test]
fn a_slip_is_wrong_where_it_applies() {
    for (fourcc, colours) in Fourcc::all_yuv().flat_map(|fourcc| Colours::ALL.map(|colours| (fourcc, colours))) {
        let picture = stamped(7, fourcc, px(34, 18));
        for slip in Slip::ALL {
            let applies = match slip {
                Slip::Widened => fourcc.yuv().unwrap().bytes == 2,
                Slip::By256 => colours.range == Range::Limited,
            };
            let wrong = colours.convert_with(Some(slip), &picture).unwrap();
            assert_eq!(wrong != colours.convert(&picture).unwrap(), applies, "{fourcc} {colours} {slip}");
        }
    }
}

/// The pattern keeps clear of the edges of RGB, where a conversion would cut off what is wrong.
#[test]
fn single_pixels_convert_as_in_the_whole_picture() {
    for &fourcc in &[Fourcc::NV12, Fourcc::YUYV, Fourcc::P010, Fourcc::new(b"AYUV")] {
        let picture = stamped(3, fourcc, px(34, 18));
        for slip in [None].into_iter().chain(Slip::ALL.map(Some)) {
            let whole = Colours::VIDEO.convert_with(slip, &picture).unwrap();
            let places = [(33, 17), (0, 0), (7, 3), (8, 3)];
            let some = Colours::VIDEO.convert_at(slip, &picture, places.into_iter()).unwrap();
            let pixels = whole.bytes.as_chunks::<8>().0;
            let expected: Vec<u8> = places.iter().flat_map(|(x, y)| pixels[(y * 34 + x) as usize]).collect();
            assert_eq!((some.size, some.bytes), (px(4, 1), expected), "{fourcc}");
        }
    }
}

#[test]
fn the_pattern_is_hardly_cut_off() {
    for colours in Colours::ALL {
        let picture = colours.convert(&stamped(7, Fourcc::NV24, px(64, 64))).unwrap();
        let words: Vec<u16> = picture.bytes.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word)).collect();
        let cut = words.chunks_exact(4).flat_map(|pixel| &pixel[..3]).filter(|v| **v == 0 || **v == u16::MAX).count();
        assert!(cut * 100 < words.len(), "{colours}: {cut} of {}", words.len());
    }
}

/// The same samples in another order of bytes are the same colours.
#[test]
fn formats_that_hold_the_same_samples_convert_alike() {
    let size = px(34, 18);
    let of = |code: &[u8; 4]| Colours::VIDEO.convert(&stamped(5, Fourcc::new(code), size)).unwrap();
    assert_eq!(of(b"NV12"), of(b"YU12"));
    assert_eq!(of(b"NV21"), of(b"YV12"));
    assert_eq!(of(b"NV12"), of(b"NV21"));
    assert_eq!(of(b"NV16"), of(b"YUYV"));
    assert_eq!(of(b"YVYU"), of(b"UYVY"));
    assert_eq!(of(b"NV24"), of(b"YV24"));
    assert_ne!(of(b"NV12"), of(b"NV16"));
    for code in [b"XYUV", b"XVUY", b"VU24"] {
        assert_eq!(of(b"NV24"), of(code));
    }
    assert_eq!(of(b"AYUV"), of(b"AVUY"));
    assert_eq!(of(b"P210"), of(b"Y210"));
    assert_eq!(of(b"P010"), of(b"S010"));
    assert_eq!(of(b"S416"), of(b"XV48"));
}

#[test]
fn grey_converts_to_grey() {
    for fourcc in Fourcc::all_yuv() {
        let grey = without_colour(&stamped(7, fourcc, px(34, 18))).unwrap();
        for colours in Colours::ALL {
            let rgb = colours.convert(&grey).unwrap();
            let words: Vec<u16> = rgb.bytes.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word)).collect();
            let tinted = words.chunks_exact(4).filter(|pixel| pixel[0] != pixel[1] || pixel[1] != pixel[2]).count();
            assert_eq!(tinted, 0, "{fourcc} {colours}");
        }
        assert_ne!(grey, stamped(7, fourcc, px(34, 18)), "{fourcc}");
    }
}

#[test]
fn a_frame_comes_back_from_any_layout() {
    for (fourcc, size) in Fourcc::all_yuv().flat_map(|fourcc| SIZES.map(|size| (fourcc, size))) {
        let picture = stamped(9, fourcc, size);
        let mut frame = Frame::contiguous(fourcc, size, Plane { offset: 64, pitch: 1088 }).unwrap();
        frame.planes.reverse();
        let mut pitches: Vec<u64> = frame.planes.iter().map(|plane| plane.pitch).collect();
        pitches.reverse();
        // Backwards, each where there is room for a plane with the largest pitch.
        for (n, (plane, pitch)) in frame.planes.iter_mut().zip(pitches).enumerate() {
            *plane = Plane { offset: (2 - n as u64) * (1 << 19), pitch };
        }
        let mut buffer = vec![0xa5; 1 << 21];
        picture.write_to(&frame, &mut buffer).unwrap();
        assert_eq!(Picture::of_frame(&frame, &buffer).unwrap(), picture, "{frame}");
        let written = buffer.iter().filter(|byte| **byte != 0xa5).count();
        assert!(written <= picture.bytes.len() && written * 10 > picture.bytes.len() * 9, "{frame}: {written}");
    }
}

#[test]
fn a_finding_names_plane_and_sample() {
    let target = stamped(7, Fourcc::NV12, px(64, 48));
    let mut actual = target.clone();
    // Sample 3 of row 2 of the chroma plane: V.
    let at = 64 * 48 + 2 * 64 + 3 * 2 + 1;
    actual.bytes[at] = !actual.bytes[at];
    let differ = compare_planes(&target, &actual, None, &[]).unwrap();
    let finding = PlaneDifference::finding("cpu does not see the target", &differ).unwrap().to_string();
    let (old, new) = (target.bytes[at], actual.bytes[at]);
    assert!(finding.starts_with("1 of 768 samples of plane 1 (U V) differs: cpu does not"), "{finding}");
    assert!(finding.contains("x 3, y 2 of the plane"), "{finding}");
    assert!(finding.contains(&format!("v {old:02x} ")) && finding.contains(&format!("v {new:02x}")), "{finding}");
}

#[test]
fn swapped_chroma_is_told() {
    for code in [b"NV12", b"YU12", b"P010", b"YUYV"] {
        let target = stamped(7, Fourcc::new(code), px(64, 48));
        let swapped = chroma_swapped(&target).unwrap();
        assert_eq!(chroma_swapped(&swapped).unwrap(), target);
        let differ = compare_planes(&target, &swapped, None, &[]).unwrap();
        let text = PlaneDifference::finding("it does not", &differ).unwrap().to_string();
        assert!(text.contains("shape"), "{text}");
        let luma = target.fourcc.yuv().unwrap().planes.len() > 1;
        assert!(!luma || differ.iter().all(|one| one.plane != 0), "{text}");
    }
}

#[test]
fn misreadings_are_other_pictures() {
    let target = stamped(7, Fourcc::YU12, px(64, 48));
    let frame = Frame::contiguous(Fourcc::YU12, px(64, 48), Plane { offset: 4096, pitch: 128 }).unwrap();
    let wrong = misread(&target, &frame, true);
    let names: Vec<&str> = wrong.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 7, "{names:?}");
    for (name, picture) in &wrong {
        assert!(!compare_planes(&target, picture, None, &[]).unwrap().is_empty(), "{name}");
    }
}

#[test]
fn grey_images_hold_every_component() {
    let picture = stamped(7, Fourcc::NV12, px(64, 48));
    let images = greys(&picture).unwrap();
    assert_eq!((images.size, images.fourcc), (px(64, 48 + 24 + 24), Fourcc::XB24));
    assert_eq!(images.bytes[..4], [picture.bytes[0]; 4]);
    let v = 4 * 64 * (48 + 24);
    assert_eq!(images.bytes[v], picture.bytes[64 * 48 + 1]);
    assert_eq!(greys(&stamped(7, Fourcc::P010, px(33, 17))).unwrap().size, px(33, 17 + 9 + 9));
    assert_eq!(greys(&stamped(7, Fourcc::YUYV, px(34, 18))).unwrap().size, px(34, 54));
}
