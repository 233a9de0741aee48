//! What does the wrong picture look like? A guess at the cause of a difference, verified against its pixels.
//!
//! Every guess predicts the actual picture from the target (or another picture the caller knows) and is kept only if
//! more than 95 % of the pixels are as it predicts, of all it predicts and of those that differ from the target. It names a shape
//! and never blames a device.

mod bytes;
#[cfg(test)]
mod damages;
mod evidence;
mod search;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compare::{Area, counted, grouped};
use crate::format::Channel;
use crate::picture::Picture;
pub use bytes::moved_bytes;
use evidence::Evidence;

/// A picture that the actual one could be, or hold parts of, instead of its target.
///
/// The previous frame, what the buffer was seeded with, the overlay without blending.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What it is, to follow "like": `the previous frame (stamp 6)`.
    pub name: &'a str,
    /// Its pixels; ignored unless of the target's size and format.
    pub picture: &'a Picture,
}

/// What else is known about the frame that differs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspects<'a> {
    /// Other pictures.
    pub known: &'a [Known<'a>],
    /// Pictures that it could be from end to end: what a screen would show that makes one mistake.
    pub slips: &'a [Known<'a>],
    /// Pitch of the frame in its buffer, in bytes; without it rows are taken to follow each other without padding.
    pub pitch: Option<u64>,
    /// Offset of the frame in its buffer, in bytes; 0 if it is not known, or nothing to be told by.
    pub offset: u64,
}

/// How an actual picture can be derived from its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum Shape {
    /// One byte everywhere: nobody wrote.
    Unwritten {
        /// Its value.
        byte: u8,
    },
    /// One pixel everywhere.
    OneColour {
        /// The pixel: `#102030ff`.
        pixel: String,
    },
    /// Another picture altogether.
    Instead {
        /// Its name.
        name: String,
    },
    /// Target in one part, something else in the other.
    Partly {
        /// What the other part holds.
        name: String,
        /// Pixels of the other part.
        pixels: u64,
        /// The smallest area that holds them.
        area: Area,
        /// Whether they fill that area.
        fills: bool,
        /// Whether that area is as wide as the picture.
        whole_rows: bool,
    },
    /// Channels changed places.
    Channels {
        /// Each channel that is wrong, with the channel of the target that it holds.
        holds: Vec<(Channel, Channel)>,
    },
    /// The bytes of each unit of a pixel came in the opposite order.
    BytesReversed {
        /// Size of the unit in bytes.
        unit: u32,
    },
    /// One channel has the same value everywhere, the others are right.
    Forced {
        /// Which.
        channel: Channel,
        /// Its value, with its full scale: `255 of 255`.
        value: String,
    },
    /// Colour is the target's times alpha.
    Multiplied,
    /// Colour is what gives the target's when multiplied by alpha.
    NotMultiplied,
    /// Colour went through the curve of sRGB once more, or once less, than it should have.
    Curve {
        /// Decoded, and not encoded.
        decoded: bool,
    },
    /// Upside down or mirrored.
    Flipped {
        /// Left and right changed.
        horizontally: bool,
        /// Top and bottom changed.
        vertically: bool,
    },
    /// The target, moved; what came in at the edges is unknown.
    Moved {
        /// To the right, in pixels; negative is left.
        right: i32,
        /// Down, in pixels; negative is up.
        down: i32,
    },
    /// Every byte was fetched from further on in the buffer.
    Offset {
        /// How much further, in bytes; negative is before.
        bytes: i64,
        /// Whether that is as far as the frame itself is from the start of its buffer.
        #[serde(default)]
        own: bool,
    },
    /// Each row was fetched from further on than the one above.
    RowPitch {
        /// By how much the pitch of the reading side exceeds that of the writing side, in bytes.
        bytes: i64,
        /// The same in pixels, where it is whole.
        pixels: Option<i64>,
    },
    /// No component is far off.
    Rounded {
        /// By how much at most: `1 of 255`.
        off: String,
        /// Whether the format is finer than 8 bits and the error coarser.
        through_8_bits: bool,
    },
    /// One channel is wrong in a way not known here, the others are right.
    OnlyOne {
        /// Which.
        channel: Channel,
    },
}

/// A guess that stood the test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guess {
    /// What it looks like.
    pub shape: Shape,
    /// Pixels that are as the guess predicts.
    pub explained: u64,
    /// Pixels for which it predicts anything: what comes from outside the picture is not predicted.
    pub predicted: u64,
    /// All pixels.
    pub total: u64,
}

/// The shape that explains `actual` best; `None` if none explains more than 95 % of it.
///
/// `None` also for pictures that can't be compared or do not differ, and for fewer than 16 differing pixels: so
/// few would fit many shapes by chance.
///
/// Takes well under 100 ms for 512x512 pixels, whatever they hold.
pub fn guess(target: &Picture, actual: &Picture, suspects: &Suspects<'_>) -> Option<Guess> {
    best(&Evidence::new(target, actual)?, suspects)
}

fn best(evidence: &Evidence<'_>, suspects: &Suspects<'_>) -> Option<Guess> {
    let mut guesses = Vec::new();
    search::unwritten(evidence, &mut guesses);
    search::known(evidence, suspects.known, &mut guesses);
    search::channels(evidence, &mut guesses);
    search::alpha(evidence, &mut guesses);
    search::curve(evidence, &mut guesses);
    search::flipped(evidence, &mut guesses);
    search::moved(evidence, &mut guesses);
    search::offset_and_pitch(evidence, suspects, &mut guesses);
    search::slips(evidence, suspects.slips, &mut guesses);
    search::rounded(evidence, &mut guesses);
    if guesses.is_empty() {
        search::only_one_channel(evidence, &mut guesses);
    }
    // The first of the best: where two shapes predict the same, the simpler one is searched first.
    guesses.into_iter().reduce(|best, next| if next.weight() > best.weight() { next } else { best })
}

impl Guess {
    /// Pixels that speak for the guess, less those that speak against it.
    fn weight(&self) -> i64 {
        2 * self.explained as i64 - self.predicted as i64
    }
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; explains ", self.shape)?;
        if self.explained == self.total {
            return write!(f, "all {}", counted(self.total, "pixel"));
        }
        write!(f, "{} of {}", grouped(self.explained), counted(self.predicted, "pixel"))?;
        match self.total - self.predicted {
            0 => Ok(()),
            outside => write!(f, ", the other {} hold what is outside the picture", grouped(outside)),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten { byte } => write!(f, "like a buffer that nobody wrote: every byte is {byte:#04x}"),
            Self::OneColour { pixel } => write!(f, "like one colour everywhere: every pixel is {pixel}"),
            Self::Instead { name } => write!(f, "like {name} in place of the target"),
            Self::Partly { name, area, fills: true, whole_rows: true, .. } => {
                let (first, last) = (area.y, area.y + area.height - 1);
                let rows = match area.height {
                    1 => format!("row {first} holds"),
                    _ => format!("rows {first} to {last} hold"),
                };
                write!(f, "like a partial update: {rows} {name}, the others the target")
            }
            Self::Partly { name, area, fills: true, .. } => {
                write!(f, "like a partial update: {area} holds {name}, the rest the target")
            }
            Self::Partly { name, pixels, area, .. } => {
                let pixels = counted(*pixels, "pixel");
                write!(f, "like a partial update: {pixels} within {area} hold {name}, the rest the target")
            }
            Self::Channels { holds } => match holds[..] {
                [(a, b), (c, d)] if (a, b) == (d, c) => write!(f, "like channels {a:?} and {b:?} swapped"),
                _ => {
                    let each: Vec<String> = holds.iter().map(|(is, was)| format!("{is:?} holds {was:?}")).collect();
                    write!(f, "like channels in another order: {}", each.join(", "))
                }
            },
            Self::BytesReversed { unit } => {
                write!(f, "like the other byte order: the {unit} bytes of each unit of {unit} B are reversed")
            }
            Self::Forced { channel: Channel::A, value } => {
                write!(f, "like alpha forced to {value}: every other channel is exact")
            }
            Self::Forced { channel, value } => {
                write!(f, "like channel {channel:?} forced to {value}: every other channel is exact")
            }
            Self::Multiplied => write!(f, "like colour multiplied by alpha once too often"),
            Self::NotMultiplied => write!(f, "like alpha ignored: colour is not multiplied by it"),
            Self::Curve { decoded: true } => write!(f, "like colour taken for sRGB and decoded, though it is linear"),
            Self::Curve { .. } => write!(f, "like colour encoded for sRGB, though it is to stay linear"),
            Self::Flipped { horizontally: true, vertically: true } => write!(f, "like a picture turned by 180 degrees"),
            Self::Flipped { horizontally: true, .. } => write!(f, "like a picture with left and right exchanged"),
            Self::Flipped { .. } => write!(f, "like a picture upside down"),
            Self::Moved { right, down } => {
                let way = |n: i32, forth: &str, back: &str| {
                    (n != 0).then(|| format!("{} px {}", n.unsigned_abs(), if n > 0 { forth } else { back }))
                };
                let ways: Vec<String> =
                    [way(*right, "right", "left"), way(*down, "down", "up")].into_iter().flatten().collect();
                write!(f, "like a picture moved {}, as by an origin applied twice or not at all", ways.join(" and "))?;
                // Where nothing else is known it may be the buffer that begins elsewhere.
                let rows = counted(down.unsigned_abs().into(), "row");
                if *right == 0 { write!(f, ", or an offset that is {rows} off") } else { Ok(()) }
            }
            Self::Offset { bytes, own } => {
                let (way, ignored_by, added_by) = match *bytes > 0 {
                    true => ("large", "who drew", "who reads"),
                    false => ("small", "who reads", "who drew"),
                };
                write!(f, "like an offset {} B too {way}", bytes.unsigned_abs())?;
                match own {
                    true => {
                        write!(f, ", which is the frame's own: ignored by {ignored_by}, or added twice by {added_by}")
                    }
                    false => Ok(()),
                }
            }
            Self::RowPitch { bytes, pixels } => {
                let (size, way) = if *bytes > 0 { ("large", "left") } else { ("small", "right") };
                let shift = match pixels {
                    Some(pixels) => format!("{} px", pixels.unsigned_abs()),
                    None => format!("{} B", bytes.unsigned_abs()),
                };
                let bytes = bytes.unsigned_abs();
                write!(f, "like a row pitch {bytes} B too {size}: each row is {shift} further {way} than the one above")
            }
            Self::Rounded { off, through_8_bits: false } => {
                write!(f, "like rounding: no component is off by more than {off}")
            }
            Self::Rounded { off, .. } => {
                write!(f, "like a detour through 8 bits: no component is off by more than {off}")
            }
            Self::OnlyOne { channel } => {
                write!(f, "like channel {channel:?} alone treated otherwise: every other channel is exact")
            }
        }
    }
}
