//! Which generation of a frame did somebody see: the new one, the old one, or parts of both?
//!
//! Pure.

use std::fmt;

use crate::compare::{comparable, grouped};
use crate::error::Result;
use crate::picture::Picture;

/// What was in a buffer and what is there afterwards; they differ somewhere.
#[derive(Clone, Debug)]
pub struct Generations {
    /// The frame before.
    pub old: Picture,
    /// The frame that takes its place.
    pub new: Picture,
}

/// What of two generations was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All of the new one.
    New,
    /// All of the old one.
    Old,
    /// Some pixels of each, and no others.
    Torn {
        /// Pixels of the new one, of those in which the two differ.
        new: u64,
        /// Pixels of the old one.
        old: u64,
    },
    /// Pixels of neither.
    Neither {
        /// How many.
        pixels: u64,
        /// The row of the first.
        row: u32,
    },
}

impl Generations {
    /// Which of them `actual` shows.
    ///
    /// # Errors
    /// The pictures can't be compared: size, format or length differ.
    pub fn seen(&self, actual: &Picture) -> Result<Seen> {
        let layout = comparable(&self.new, actual)?;
        comparable(&self.old, actual)?;
        let (visible, bytes) = (layout.visible(), layout.bytes as usize);
        let pixels = |picture: &'_ Picture| {
            picture.bytes.chunks_exact(bytes).map(|pixel| layout.word(pixel) & visible).collect::<Vec<u64>>()
        };
        let (mut new, mut old, mut neither, mut row) = (0, 0, 0, None);
        let width = u64::from(actual.size.width.max(1));
        let all = pixels(&self.new).into_iter().zip(pixels(&self.old)).zip(pixels(actual));
        for (at, ((is_new, is_old), seen)) in (0_u64..).zip(all) {
            match (seen == is_new, seen == is_old) {
                (true, true) => {}
                (true, false) => new += 1,
                (false, true) => old += 1,
                (false, false) => {
                    neither += 1;
                    row.get_or_insert((at / width) as u32);
                }
            }
        }
        Ok(match (new, old, row) {
            (.., Some(row)) => Seen::Neither { pixels: neither, row },
            (_, 0, None) => Seen::New,
            (0, _, None) => Seen::Old,
            (new, old, None) => Seen::Torn { new, old },
        })
    }

    /// The two in the eyes of somebody who is to see the old one.
    #[must_use]
    pub fn swapped(&self) -> Self {
        Self { old: self.new.clone(), new: self.old.clone() }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("the new frame"),
            Self::Old => f.write_str("the old frame (stale)"),
            Self::Torn { new, old } => {
                write!(f, "a torn frame: {} pixels of the new one, {} of the old one", grouped(*new), grouped(*old))
            }
            Self::Neither { pixels, row } => {
                write!(f, "{} pixels of neither frame, from row {row} on", grouped(*pixels))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Fourcc;
    use crate::frame::px;
    use crate::pattern::Pattern;

    fn picture(stamp: u32) -> Picture {
        Pattern { stamp }.picture(Fourcc::XR24, px(16, 8)).expect("a pattern")
    }

    #[test]
    fn generations_are_told_apart() {
        let generations = Generations { old: picture(1), new: picture(2) };
        assert_eq!(generations.seen(&picture(2)).expect("comparable"), Seen::New);
        assert_eq!(generations.seen(&picture(1)).expect("comparable"), Seen::Old);
        assert_eq!(generations.swapped().seen(&picture(1)).expect("comparable"), Seen::New);
        assert!(matches!(generations.seen(&picture(3)).expect("comparable"), Seen::Neither { row: 0, .. }));
        let mut torn = picture(2);
        let half = torn.bytes.len() / 2;
        torn.bytes[half..].copy_from_slice(&picture(1).bytes[half..]);
        assert_eq!(generations.seen(&torn).expect("comparable"), Seen::Torn { new: 64, old: 64 });
    }

    #[test]
    fn unused_bits_are_nobodys() {
        let generations = Generations { old: picture(1), new: picture(2) };
        let mut seen = picture(2);
        seen.bytes.iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 0xff);
        assert_eq!(generations.seen(&seen).expect("comparable"), Seen::New);
    }
}
