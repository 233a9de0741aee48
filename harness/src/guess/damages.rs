//! A picture that was damaged in a known way is guessed right or not at all, whatever its size, format and pitch.
//!
//! What is in the padding and around the picture is of three sorts, since all of them are met: zeros, one byte, noise.

use proptest::prelude::*;

use super::*;
use crate::format::Fourcc;
use crate::frame::{Frame, Plane, Size, px};
use crate::pattern::Pattern;

/// What was done to a picture.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "what is not looked at is printed")]
enum Damage {
    /// Rows were written so many bytes apart, and read so many.
    Pitch { written: u64, read: u64 },
    /// It was read from so many bytes too far on.
    Offset { bytes: i64 },
    /// Both.
    PitchAndOffset { written: u64, read: u64, bytes: i64 },
    /// Two channels changed places.
    Swapped(Channel, Channel),
    /// The same, and it was read from too far on.
    SwappedAndOffset { bytes: i64 },
    /// These rows hold the frame before.
    Stale { from: u32, rows: u32 },
    /// These rows hold a frame that nobody knows.
    StaleOfOthers { from: u32, rows: u32 },
    /// These rows hold what was in the buffer.
    Missing { from: u32, rows: u32 },
}

/// A damaged picture, and how.
#[derive(Clone, Debug)]
struct Damaged {
    damage: Damage,
    target: Picture,
    before: Picture,
    actual: Picture,
    pitch: u64,
}

/// Bytes of a buffer before anybody writes to it.
fn filled(sort: u8, bytes: usize) -> Vec<u8> {
    match sort {
        0 => vec![0; bytes],
        1 => vec![0xcd; bytes],
        _ => (0..bytes as u32).map(|n| ((n ^ n >> 9).wrapping_mul(0x9E37_79B1) >> 23) as u8).collect(),
    }
}

/// `picture` as a reader sees it that takes another offset and pitch than the writer, in bytes.
fn seen(picture: &Picture, sort: u8, written: (u64, u64), read: (u64, u64)) -> Picture {
    let rows = u64::from(picture.size.height);
    let bytes = (written.0 + written.1 * rows).max(read.0 + read.1 * rows);
    let mut buffer = filled(sort, bytes as usize);
    let frame = |(offset, pitch)| Frame::linear(picture.fourcc, picture.size, Plane { offset, pitch });
    picture.write_to(&frame(written), &mut buffer).expect("fits");
    Picture::of_frame(&frame(read), &buffer).expect("fits")
}

/// The same with an offset alone, too large or, if it is negative, too small.
fn seen_from(picture: &Picture, sort: u8, pitches: (u64, u64), bytes: i64) -> Picture {
    let (written, read) = if bytes > 0 { (0, bytes as u64) } else { (bytes.unsigned_abs(), 0) };
    seen(picture, sort, (written, pitches.0), (read, pitches.1))
}

fn swapped(picture: &Picture, one: usize, other: usize) -> Picture {
    let layout = picture.fourcc.pixel().expect("known format");
    let shown: Vec<_> = layout.shown().collect();
    let (one, other) = (shown[one], shown[other]);
    let bytes = picture.bytes.chunks(layout.bytes as usize).flat_map(|pixel| {
        let word = layout.word(pixel);
        let rest = word & !(one.mask() | other.mask());
        let word = rest | u64::from(one.of(word)) << other.shift | u64::from(other.of(word)) << one.shift;
        word.to_le_bytes().into_iter().take(pixel.len())
    });
    Picture { bytes: bytes.collect(), ..picture.clone() }
}

/// A pitch for rows of so many bytes, of those that are met.
fn pitch(row: u64, which: u8, more: u64) -> u64 {
    match which {
        0 => row,
        1 => row.next_multiple_of(64),
        2 => row.next_multiple_of(256),
        3 => row.next_multiple_of(4096),
        4 => 2 * row.next_multiple_of(64),
        _ => row + more,
    }
}

/// Any of them, by numbers that mean nothing by themselves; `None` where they make no damage.
fn damaged(
    (fourcc, size, stamp): (Fourcc, Size, u32),
    (kind, sort): (u8, u8),
    (one, two, three): (u8, u64, u64),
    back: bool,
) -> Option<Damaged> {
    let picture = |stamp| Pattern { stamp }.picture(fourcc, size).expect("known format");
    let (target, before, others) = (picture(stamp), picture(stamp - 1), picture(stamp + 1 + two as u32 % 40));
    let pixel = u64::from(fourcc.pixel().expect("known format").bytes);
    let row = target.row_bytes() as u64;
    let (mut stated, other) = (pitch(row, one % 6, two), pitch(row, one / 6 % 6, three));
    let further = [4096, 65536, (1 + two % 8) * stated, 1 + two, (1 + two % 16) * pixel, (1 + two % 8) * 4096];
    let bytes = further[three as usize % further.len()] as i64 * if back { -1 } else { 1 };
    let from = two as u32 % size.height;
    let rows = 1 + three as u32 % (size.height - from);
    let part = from as usize * row as usize..(from + rows) as usize * row as usize;
    let replaced = |by: &[u8]| {
        let mut actual = target.clone();
        actual.bytes[part.clone()].copy_from_slice(by);
        actual
    };
    let shown: Vec<_> = fourcc.pixel().expect("known format").shown().collect();
    let (a, b) = (two as usize % shown.len(), three as usize % shown.len());
    let can_swap = a != b && shown[a].bits == shown[b].bits;
    let (damage, actual) = match kind {
        0 if stated != other => {
            let actual = seen(&target, sort, (0, stated), (0, other));
            let damage = Damage::Pitch { written: stated, read: other };
            if back {
                stated = other;
            }
            (damage, actual)
        }
        1 => (Damage::Offset { bytes }, seen_from(&target, sort, (stated, stated), bytes)),
        2 if stated != other => {
            let damage = Damage::PitchAndOffset { written: stated, read: other, bytes };
            (damage, seen_from(&target, sort, (stated, other), bytes))
        }
        3 if can_swap => (Damage::Swapped(shown[a].channel, shown[b].channel), swapped(&target, a, b)),
        4 if can_swap => {
            let actual = seen_from(&swapped(&target, a, b), sort, (stated, stated), bytes);
            (Damage::SwappedAndOffset { bytes }, actual)
        }
        5 => (Damage::Stale { from, rows }, replaced(&before.bytes[part.clone()])),
        6 => (Damage::StaleOfOthers { from, rows }, replaced(&others.bytes[part.clone()])),
        7 => (Damage::Missing { from, rows }, replaced(&filled(sort, part.len()))),
        _ => return None,
    };
    Some(Damaged { damage, target, before, actual, pitch: stated })
}

fn any_damage() -> impl Strategy<Value = Damaged> {
    let format = proptest::sample::select(Fourcc::PACKED_RGB.to_vec());
    let size = prop_oneof![Just(px(33, 17)), (1u32..64, 1u32..64).prop_map(|(width, height)| px(width, height))];
    let numbers = (any::<u8>(), 0u64..250, 0u64..250);
    let made = ((format, size, 1u32..1000), (0u8..8, 0u8..3), numbers, any::<bool>());
    made.prop_filter_map("no damage", |(picture, kind, numbers, back)| damaged(picture, kind, numbers, back))
}

impl Damaged {
    /// Whether `shape` is what happened, or at least what there is to see.
    fn is(&self, shape: &Shape, stated: Option<u64>) -> bool {
        let row = self.target.row_bytes() as i64;
        let moved = |bytes: i64, pitch: i64| match *shape {
            Shape::Offset { bytes: guessed, .. } => guessed == bytes,
            Shape::Moved { right, down } => {
                let pixel = row / i64::from(self.target.size.width);
                i64::from(right) * pixel + i64::from(down) * pitch == -bytes
            }
            _ => false,
        };
        // Where all that is seen is what was there before, that is all that can be said.
        let nothing = matches!(shape, Shape::Unwritten { .. } | Shape::Partly { .. });
        let within = |from: u32, rows: u32| match shape {
            Shape::Partly { area, .. } => area.y >= from && area.y + area.height <= from + rows,
            Shape::Unwritten { .. } | Shape::Instead { .. } => rows * 100 > self.target.size.height * 95,
            _ => false,
        };
        let named = |wanted: &str| match shape {
            Shape::Partly { name, .. } | Shape::Instead { name } => name == wanted,
            _ => false,
        };
        match self.damage {
            Damage::Pitch { written, read } => match shape {
                Shape::RowPitch { bytes, .. } => *bytes == read as i64 - written as i64,
                _ => nothing,
            },
            Damage::Offset { bytes } => nothing || moved(bytes, stated.unwrap_or(self.pitch) as i64),
            // With two rows or one there is hardly a pitch.
            Damage::PitchAndOffset { written, bytes, .. } => {
                nothing || self.target.size.height <= 2 && moved(bytes, written as i64)
            }
            Damage::Swapped(one, other) => match shape {
                Shape::Channels { holds } => holds.len() == 2 && holds.contains(&(one, other)),
                _ => false,
            },
            // By just the distance of the two, one of them is where it was.
            Damage::SwappedAndOffset { .. } => nothing || matches!(shape, Shape::OnlyOne { .. }),
            Damage::Stale { from, rows } => within(from, rows) && named("before"),
            Damage::StaleOfOthers { .. } => false,
            Damage::Missing { from, rows } => within(from, rows) && !named("before"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_damaged_picture_is_guessed_right_or_not_at_all(damaged in any_damage(), knows_pitch: bool, knows_frame: bool) {
        let known = [Known { name: "before", picture: &damaged.before }];
        let pitch = knows_pitch.then_some(damaged.pitch);
        let suspects = Suspects { known: if knows_frame { &known } else { &[] }, pitch, ..Suspects::default() };
        if let Some(found) = guess(&damaged.target, &damaged.actual, &suspects) {
            prop_assert!(damaged.is(&found.shape, pitch), "{:?}, pitch {:?}: {}", damaged.damage, pitch, found);
        }
    }
}

#[test]
fn how_many_bytes_rows_are_is_told_by_the_pitch() {
    // Rows on pages, of which the fifth is read first.
    let target = Pattern { stamp: 7 }.picture(Fourcc::RG16, px(33, 17)).expect("known format");
    let text = |bytes: i64, pitch| {
        let actual = seen_from(&target, 2, (4096, 4096), bytes);
        guess(&target, &actual, &Suspects { pitch, ..Suspects::default() }).map(|found| found.shape)
    };
    assert_eq!(text(20480, Some(4096)), Some(Shape::Moved { right: 0, down: -5 }));
    assert_eq!(text(3, Some(4096)), Some(Shape::Offset { bytes: 3, own: false }));
    // 66 B a row, if they lay one behind the other, but who says so?
    assert_eq!(text(20480, None), Some(Shape::Moved { right: 0, down: -5 }));
    assert_eq!(text(66 * 5 + 3, None), None);
    // Every other row is seen.
    let actual = seen(&target, 2, (0, 4096), (0, 8192));
    assert_eq!(guess(&target, &actual, &Suspects { pitch: Some(8192), ..Suspects::default() }), None);
}

#[test]
fn a_picture_that_is_gone_comes_from_nowhere() {
    // It lay on a black screen, all of which looks alike.
    let size = px(256, 180);
    let frame = Pattern { stamp: 7 }.picture(Fourcc::XR24, px(33, 17)).expect("known format");
    let black = Picture { size, fourcc: Fourcc::XR24, bytes: vec![0; 256 * 180 * 4] };
    for at in [(0, 0), (11, 5), (200, 150)] {
        let mut target = black.clone();
        for (y, row) in frame.bytes.chunks(33 * 4).enumerate() {
            let start = ((y + at.1) * 256 + at.0) * 4;
            target.bytes[start..start + row.len()].copy_from_slice(row);
        }
        let mut last_row = black.clone();
        let end = frame.bytes.len();
        last_row.bytes[..33 * 4].copy_from_slice(&frame.bytes[end - 33 * 4..]);
        for actual in [&black, &last_row] {
            let found = guess(&target, actual, &Suspects::default()).map(|found| found.shape);
            assert!(matches!(found, None | Some(Shape::Partly { .. })), "{at:?}: {found:?}");
        }
    }
}
