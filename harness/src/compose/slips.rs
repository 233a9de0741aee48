//! What would a screen show that makes one mistake with one of its layers? Pictures to hold a wrong one against.
//!
//! Each is a mistake that display drivers have made. None of them is blamed: the picture that a screen shows is one of
//! these, or it is not.

use super::{Composed, Layer, Rect, compose};
use crate::error::Result;
use crate::format::Fourcc;
use crate::frame::Size;
use crate::picture::Picture;

/// A layer beside its place.
const NEAR: [(i32, i32, &str); 4] =
    [(1, 0, "1 px to the right"), (-1, 0, "1 px to the left"), (0, 1, "1 px down"), (0, -1, "1 px up")];

/// What a screen of `size` would show of `layers`, whose rows are `pitches` bytes apart in memory, with one mistake:
/// which one to follow "like", and the picture.
///
/// # Errors
/// As [`compose`].
pub fn slips(size: Size, layers: &[Layer<'_>], pitches: &[u64]) -> Result<Vec<(String, Composed)>> {
    let mut found = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let who = who(layers, n);
        let mut add = |what: String, changed: Layer<'_>| -> Result<()> {
            let mut all = layers.to_vec();
            all[n] = changed;
            add_other(&mut found, format!("{who} {what}"), compose(size, &all)?);
            Ok(())
        };
        let Rect { x, y, size: cut } = layer.crop;
        if (x, y) != (0, 0) {
            let most = layer.picture.size;
            let (twice_x, twice_y) = ((2 * x).min(most.width - cut.width), (2 * y).min(most.height - cut.height));
            let twice = Rect { x: twice_x, y: twice_y, size: cut };
            add(format!("with the origin of its crop, ({x}, {y}), applied twice"), Layer { crop: twice, ..*layer })?;
            let none = Rect { x: 0, y: 0, size: cut };
            add(format!("with the origin of its crop, ({x}, {y}), ignored"), Layer { crop: none, ..*layer })?;
        }
        for (right, down, how) in NEAR {
            let at = (layer.at.0 + right, layer.at.1 + down);
            add(format!("moved {how}"), Layer { at, ..*layer })?;
        }
        if layer.at != (0, 0) {
            add("moved to the screen's origin".to_owned(), Layer { at: (0, 0), ..*layer })?;
        }
        for (what, fourcc) in mistaken(layer.picture.fourcc) {
            let picture = Picture { fourcc, ..layer.picture.clone() };
            add(format!("{what}, as if it were {fourcc}"), Layer { picture: &picture, ..*layer })?;
        }
        let all = layer.picture.size.height;
        let turned = Rect { x, y: all - y - cut.height, size: cut };
        let picture = upside_down(layer.picture);
        add("upside down".to_owned(), Layer { picture: &picture, crop: turned, ..*layer })?;
        let tight = layer.picture.row_bytes() as u64;
        if let Some(&pitch) = pitches.get(n).filter(|pitch| **pitch > tight) {
            let picture = read_with(layer.picture, pitch, tight);
            let what = format!("read with a pitch of {tight} B where rows are {pitch} B apart");
            add(what, Layer { picture: &picture, ..*layer })?;
        }
    }
    for n in 1..layers.len() {
        let mut others = layers.to_vec();
        others.swap(n - 1, n);
        add_other(&mut found, format!("{} above the next one", who(layers, n - 1)), compose(size, &others)?);
    }
    // The simplest, so that others that look the same go before.
    for n in 0..layers.len() {
        let mut others = layers.to_vec();
        others.remove(n);
        add_other(&mut found, format!("{} left out", who(layers, n)), compose(size, &others)?);
    }
    Ok(found)
}

fn who(layers: &[Layer<'_>], n: usize) -> String {
    match layers.len() {
        1 => "the frame".to_owned(),
        count => format!("layer {} of {count} ({})", n + 1, layers[n].picture.fourcc),
    }
}

/// Of mistakes that look the same the first is kept.
fn add_other(found: &mut Vec<(String, Composed)>, what: String, picture: Composed) {
    if found.iter().all(|(_, other)| *other != picture) {
        found.push((what, picture));
    }
}

/// The formats that `fourcc` can be mistaken for, with what that looks like.
fn mistaken(fourcc: Fourcc) -> Vec<(&'static str, Fourcc)> {
    let code = fourcc.0.to_le_bytes();
    let other = |at: usize, from: u8, to: u8| {
        let mut other = code;
        other[at] = to;
        Some(Fourcc(u32::from_le_bytes(other))).filter(|other| code[at] == from && other.pixel().is_some())
    };
    let opaque = other(0, b'A', b'X').map(|fourcc| ("with its alpha ignored", fourcc));
    let swapped = other(1, b'R', b'B').or_else(|| other(1, b'B', b'R'));
    opaque.into_iter().chain(swapped.map(|fourcc| ("with red and blue swapped", fourcc))).collect()
}

/// `picture` with its last row first.
fn upside_down(picture: &Picture) -> Picture {
    let row = picture.row_bytes().max(1);
    let bytes = picture.bytes.chunks_exact(row).rev().flatten().copied().collect();
    Picture { bytes, ..picture.clone() }
}

/// `picture`, whose rows lie `pitch` bytes apart in memory with zeros between them, read with rows `wrong` bytes apart.
fn read_with(picture: &Picture, pitch: u64, wrong: u64) -> Picture {
    let (row, rows) = (picture.row_bytes(), picture.size.height as usize);
    let (pitch, wrong) = (pitch as usize, wrong as usize);
    let mut memory = vec![0; pitch * rows];
    for (to, from) in memory.chunks_exact_mut(pitch).zip(picture.bytes.chunks_exact(row)) {
        to[..row].copy_from_slice(from);
    }
    let bytes = (0..rows).flat_map(|y| memory[y * wrong..y * wrong + row].iter().copied()).collect();
    Picture { bytes, ..picture.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::px;
    use crate::pattern::Pattern;

    #[test]
    fn each_mistake_is_another_picture() {
        let below = Pattern { stamp: 1 }.picture(Fourcc::XR24, px(60, 40)).unwrap();
        let above = Pattern { stamp: 2 }.picture(Fourcc::AR24, px(30, 20)).unwrap();
        let crop = Rect { x: 3, y: 2, size: px(20, 10) };
        let layers = [
            Layer { picture: &below, crop: Rect::whole(below.size), at: (0, 0) },
            Layer { picture: &above, crop, at: (9, 7) },
        ];
        let size = px(64, 48);
        let right = compose(size, &layers).unwrap();
        let slips = slips(size, &layers, &[256, 120]).unwrap();
        for (n, (what, picture)) in slips.iter().enumerate() {
            assert!(*picture != right, "{what}");
            assert!(slips[..n].iter().all(|(_, other)| other != picture), "{what} looks like another");
        }
        let names: Vec<&str> = slips.iter().map(|(name, _)| name.as_str()).collect();
        for expected in [
            "layer 1 of 2 (XR24) read with a pitch of 240 B where rows are 256 B apart",
            "layer 2 of 2 (AR24) with the origin of its crop, (3, 2), applied twice",
            "layer 2 of 2 (AR24) with its alpha ignored, as if it were XR24",
            "layer 2 of 2 (AR24) moved 1 px to the right",
            "layer 2 of 2 (AR24) upside down",
            "layer 1 of 2 (XR24) above the next one",
        ] {
            assert!(names.contains(&expected), "{expected}: {names:?}");
        }
    }

    #[test]
    fn a_wrong_pitch_is_read_as_a_display_would() {
        let picture = Picture { fourcc: Fourcc::R8, size: px(2, 3), bytes: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(read_with(&picture, 3, 2).bytes, [1, 2, 0, 3, 4, 0]);
    }
}
