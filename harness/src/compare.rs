//! Is the actual picture the target picture, and if not, how many pixels differ, where and by how much?
//!
//! Padding components (X) never count. It draws no conclusion about the cause: that is [`crate::guess`].

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::{Channel, Component, Fourcc, Numeric, PixelLayout};
use crate::picture::Picture;

/// What may differ between target and actual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tolerance {
    /// Nothing: the answer is known to the bit.
    Exact,
    /// A little, for rendered pictures.
    PerChannel {
        /// How far each component may be off, in steps of 1/255 of its own full scale.
        max: u32,
        /// How many pixels may be off by more than that.
        pixels: u64,
        /// Why an exact answer can't be asked for; never empty.
        reason: Cow<'static, str>,
    },
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Left column.
    pub x: u32,
    /// Top row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// The first pixel that differs, in reading order.
///
/// Values are written as `#` and the components in the order R, G, B, A in hexadecimal, whatever their order in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstPixel {
    /// Column, from 0.
    pub x: u32,
    /// Row, from 0.
    pub y: u32,
    /// What the pixel must be.
    pub target: String,
    /// What it is.
    pub actual: String,
}

/// How far one component was off at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Most {
    /// Which channel.
    pub channel: Channel,
    /// The largest difference of any pixel, in the component's own steps; for half floats, in their value.
    pub off: f32,
    /// The component's full scale in the same unit: 255 for 8 bits, 1 for half floats.
    pub full: f32,
}

/// Neighbouring rows that are all right or all wrong somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRun {
    /// First row.
    pub first: u32,
    /// Last row.
    pub last: u32,
    /// Whether pixels of these rows differ.
    pub differs: bool,
}

/// Which rows are right and which are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Rows in which no pixel differs.
    pub exact: u32,
    /// All rows.
    pub total: u32,
    /// The runs from the top, if they are few enough to read; else empty.
    pub runs: Vec<RowRun>,
}

/// How an actual picture differs from its target by more than the tolerance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Pixels that differ by more than the tolerance allows a pixel.
    pub count: u64,
    /// All pixels.
    pub total: u64,
    /// The first of them.
    pub first: FirstPixel,
    /// The smallest area that holds them all.
    pub area: Area,
    /// The largest difference per channel, in the order R, G, B, A.
    pub most: Vec<Most>,
    /// Which rows hold them.
    pub rows: Rows,
    /// What was allowed.
    pub tolerance: Tolerance,
}

/// More runs of rows than this are counted, not listed.
const RUNS_LISTED: usize = 6;

/// The largest difference two finite half floats can have; stands for NaN and infinity too.
const HALF_RANGE: f32 = 2.0 * 65504.0;

/// Compares `actual` with `target`; `None` is a match within `tolerance`.
///
/// # Errors
/// Size or format differ, there is no pixel to compare, the format is not packed RGB, the bytes of a picture are not as
/// many as its size says, or the tolerance has no reason: none of these is a statement about pixels.
pub fn compare(target: &Picture, actual: &Picture, tolerance: &Tolerance) -> Result<Option<Difference>> {
    let layout = comparable(target, actual)?;
    if let Tolerance::PerChannel { reason, .. } = tolerance
        && reason.trim().is_empty()
    {
        let why = "a tolerance needs a reason: say why an exact answer can't be asked for";
        return Err(Error::input("comparing pictures", format!("{} {}", target.fourcc, target.size), why));
    }
    if target.bytes == actual.bytes {
        return Ok(None);
    }

    let visible = layout.visible();
    let row_bytes = target.row_bytes();
    let mask: Vec<u8> =
        visible.to_le_bytes()[..layout.bytes as usize].iter().copied().cycle().take(row_bytes).collect();
    let shown = in_reading_order(layout);
    let mut tally = Tally { most: vec![0.0; shown.len()], ..Tally::default() };
    for (y, (target_row, actual_row)) in
        (0..).zip(target.bytes.chunks_exact(row_bytes).zip(actual.bytes.chunks_exact(row_bytes)))
    {
        let before = tally.count;
        if !alike(target_row, actual_row, &mask) {
            let pixel_bytes = layout.bytes as usize;
            let pairs = target_row.chunks_exact(pixel_bytes).zip(actual_row.chunks_exact(pixel_bytes));
            for (x, (t, a)) in (0..).zip(pairs) {
                let (t, a) = (layout.word(t) & visible, layout.word(a) & visible);
                if t != a {
                    tally.pixel(x, y, (t, a), &shown, layout, tolerance);
                }
            }
        }
        tally.end_row(y, tally.count != before);
    }
    Ok(tally.difference(target, layout, &shown, tolerance))
}

/// Whether two rows are the same in the bits of `mask`; all three are of one length.
fn alike(target: &[u8], actual: &[u8], mask: &[u8]) -> bool {
    let ((target, t), (actual, a), (mask, m)) = (target.as_chunks(), actual.as_chunks(), mask.as_chunks());
    let words = target.iter().zip(actual).zip(mask);
    let differs = |((t, a), m): ((&[u8; 8], &[u8; 8]), &[u8; 8])| {
        (u64::from_ne_bytes(*t) ^ u64::from_ne_bytes(*a)) & u64::from_ne_bytes(*m) != 0
    };
    !words.into_iter().any(differs) && t.iter().zip(a).zip(m).all(|((t, a), m)| (t ^ a) & m == 0)
}

/// The pixel layout shared by both pictures, if they can be compared at all.
pub(crate) fn comparable(target: &Picture, actual: &Picture) -> Result<&'static PixelLayout> {
    let refuse =
        |why: String| Err(Error::input("comparing pictures", format!("target {} {}", target.fourcc, target.size), why));
    if (target.size, target.fourcc) != (actual.size, actual.fourcc) {
        return refuse(format!("the actual picture is {} {}", actual.fourcc, actual.size));
    }
    let Some(layout) = target.fourcc.pixel() else {
        return refuse(format!("{} is not a packed RGB format known here", target.fourcc));
    };
    let pixels = u64::from(target.size.width) * u64::from(target.size.height);
    if pixels == 0 {
        return refuse("there is no pixel to compare".to_owned());
    }
    for (side, picture) in [("target", target), ("actual", actual)] {
        let (found, needed) = (picture.bytes.len() as u64, pixels * u64::from(layout.bytes));
        if found != needed {
            return refuse(format!("the {side} picture has {found} B, its size needs {needed} B"));
        }
    }
    Ok(layout)
}

/// What a walk over the pixels has seen so far.
#[derive(Default)]
struct Tally {
    count: u64,
    first: Option<(u32, u32, u64, u64)>,
    left: u32,
    right: u32,
    top: u32,
    bottom: u32,
    most: Vec<f32>,
    runs: Vec<RowRun>,
}

impl Tally {
    /// Takes note of one pixel whose bits differ.
    fn pixel(
        &mut self,
        x: u32,
        y: u32,
        (target, actual): (u64, u64),
        shown: &[Component],
        layout: &PixelLayout,
        tolerance: &Tolerance,
    ) {
        let mut beyond = *tolerance == Tolerance::Exact;
        for (component, most) in shown.iter().zip(&mut self.most) {
            let off = distance(layout.numeric, component, target, actual);
            if let Tolerance::PerChannel { max, .. } = tolerance {
                beyond |= off * 255.0 > *max as f32 * full_scale(layout.numeric, component);
            }
            *most = most.max(off);
        }
        if !beyond {
            return;
        }
        if self.first.is_none() {
            (self.left, self.right, self.top) = (x, x, y);
            self.first = Some((x, y, target, actual));
        }
        self.count += 1;
        self.left = self.left.min(x);
        self.right = self.right.max(x);
        self.bottom = y;
    }

    fn end_row(&mut self, y: u32, differs: bool) {
        match self.runs.last_mut() {
            Some(run) if run.differs == differs => run.last = y,
            _ => self.runs.push(RowRun { first: y, last: y, differs }),
        }
    }

    fn difference(
        self,
        target: &Picture,
        layout: &PixelLayout,
        shown: &[Component],
        tolerance: &Tolerance,
    ) -> Option<Difference> {
        let (x, y, first_target, first_actual) = self.first?;
        if let Tolerance::PerChannel { pixels, .. } = tolerance
            && self.count <= *pixels
        {
            return None;
        }
        let exact = self.runs.iter().filter(|r| !r.differs).map(|r| r.last - r.first + 1).sum();
        let few = self.runs.len() <= RUNS_LISTED;
        let most = shown.iter().zip(&self.most).map(|(component, &off)| Most {
            channel: component.channel,
            off,
            full: full_scale(layout.numeric, component),
        });
        Some(Difference {
            count: self.count,
            total: u64::from(target.size.width) * u64::from(target.size.height),
            first: FirstPixel {
                x,
                y,
                target: pixel_text(target.fourcc, first_target),
                actual: pixel_text(target.fourcc, first_actual),
            },
            area: Area {
                x: self.left,
                y: self.top,
                width: self.right - self.left + 1,
                height: self.bottom - self.top + 1,
            },
            most: most.collect(),
            rows: Rows { exact, total: target.size.height, runs: if few { self.runs } else { Vec::new() } },
            tolerance: tolerance.clone(),
        })
    }
}

/// How far a component of `actual` is from the one of `target`, in its own steps; in value for half floats.
pub(crate) fn distance(numeric: Numeric, component: &Component, target: u64, actual: u64) -> f32 {
    let (t, a) = (component.of(target), component.of(actual));
    match numeric {
        Numeric::Unorm => t.abs_diff(a) as f32,
        Numeric::Float16 if t == a => 0.0,
        Numeric::Float16 => {
            let value = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
            let off = (value(t) - value(a)).abs();
            if off.is_nan() { HALF_RANGE } else { off.min(HALF_RANGE) }
        }
    }
}

/// Full scale of a component in the unit of [`distance`].
pub(crate) fn full_scale(numeric: Numeric, component: &Component) -> f32 {
    match numeric {
        Numeric::Unorm => component.full() as f32,
        Numeric::Float16 => 1.0,
    }
}

/// The visible components in the order R, G, B, A.
fn in_reading_order(layout: &PixelLayout) -> Vec<Component> {
    let mut shown: Vec<Component> = layout.shown().copied().collect();
    shown.sort_by_key(|c| c.channel);
    shown
}

/// A pixel as `#` and its components in the order R, G, B, A in hexadecimal, apart by spaces where they are not bytes.
///
/// The plain word for formats unknown here.
pub fn pixel_text(fourcc: Fourcc, word: u64) -> String {
    let Some(layout) = fourcc.pixel() else { return format!("{word:#x}") };
    let shown = in_reading_order(layout);
    let bytes = shown.iter().all(|c| c.bits == 8);
    let parts: Vec<String> =
        shown.iter().map(|c| format!("{:0digits$x}", c.of(word), digits = c.bits.div_ceil(4) as usize)).collect();
    format!("#{}", parts.join(if bytes { "" } else { " " }))
}

/// A count with its thousands apart by commas, from 10,000 on.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of things: `1 pixel`, `32,480 pixels`.
pub(crate) fn counted(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(n), if n == 1 { "" } else { "s" })
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("allowed 0"),
            Self::PerChannel { max, pixels, reason } => {
                write!(f, "allowed {max} of 255, more in at most {}: {reason}", counted(*pixels, "pixel"))
            }
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |first: u32, length: u32| match length {
            1 => first.to_string(),
            _ => format!("{first} to {}", first + length - 1),
        };
        write!(f, "x {}, y {}", span(self.x, self.width), span(self.y, self.height))
    }
}

impl fmt::Display for FirstPixel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x {}, y {}    target {}    actual {}", self.x, self.y, self.target, self.actual)
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exact == 0 {
            return write!(f, "all {} differ", self.total);
        }
        if self.runs.is_empty() {
            return write!(f, "{} of {} exact, the others differ in many runs", self.exact, self.total);
        }
        for (n, run) in self.runs.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let word = match (run.differs, run.first == run.last) {
                (false, _) => "exact",
                (true, true) => "differs",
                (true, false) => "differ",
            };
            match run.first == run.last {
                true => write!(f, "{comma}{} {word}", run.first)?,
                false => write!(f, "{comma}{} to {} {word}", run.first, run.last)?,
            }
        }
        Ok(())
    }
}

impl Difference {
    /// The largest difference per channel and what was allowed, in one line: `r 0, g 16, b 63   (of 255; allowed 0)`.
    pub fn most_text(&self) -> String {
        let same = self.most.windows(2).all(|pair| pair[0].full == pair[1].full);
        let parts: Vec<String> = self
            .most
            .iter()
            .map(|most| {
                let channel = format!("{:?}", most.channel).to_lowercase();
                if same {
                    format!("{channel} {}", most.off)
                } else {
                    format!("{channel} {} of {}", most.off, most.full)
                }
            })
            .collect();
        let scale = match self.most.first() {
            Some(most) if same && most.full == 1.0 => "of 1.0; ".to_owned(),
            Some(most) if same => format!("of {}; ", most.full),
            _ => String::new(),
        };
        format!("{}   ({scale}{})", parts.join(", "), self.tolerance)
    }
}

/// How the bytes of a buffer differ from what they must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteDifference {
    /// Bytes that differ.
    pub count: u64,
    /// All bytes compared.
    pub total: u64,
    /// Offset of the first that differs, in bytes.
    pub at: u64,
    /// What it must be.
    pub target: u8,
    /// What it is.
    pub actual: u8,
    /// The first ranges of bytes that differ, each as first and last offset; a run of equal bytes parts two ranges.
    pub ranges: Vec<(u64, u64)>,
    /// Further ranges, not listed.
    pub more_ranges: u64,
}

/// At most so many ranges of bytes are listed.
const RANGES_LISTED: usize = 8;

/// Compares bytes one by one; `None` is equality.
///
/// # Errors
/// The lengths differ, or there is no byte to compare.
pub fn compare_bytes(target: &[u8], actual: &[u8]) -> Result<Option<ByteDifference>> {
    if target.len() != actual.len() || target.is_empty() {
        let why = format!("the actual bytes are {} B; as many, and at least 1, would be valid", actual.len());
        return Err(Error::input("comparing bytes", format!("target of {} B", target.len()), why));
    }
    if target == actual {
        return Ok(None);
    }
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for (at, _) in (0u64..).zip(target.iter().zip(actual)).filter(|(_, (t, a))| t != a) {
        match ranges.last_mut() {
            Some(range) if range.1 + 1 == at => range.1 = at,
            _ => ranges.push((at, at)),
        }
    }
    let Some(&(at, _)) = ranges.first() else { return Ok(None) };
    let count = ranges.iter().map(|(first, last)| last - first + 1).sum();
    let more_ranges = ranges.len().saturating_sub(RANGES_LISTED) as u64;
    ranges.truncate(RANGES_LISTED);
    let (target_byte, actual_byte) = (target[at as usize], actual[at as usize]);
    let total = target.len() as u64;
    Ok(Some(ByteDifference { count, total, at, target: target_byte, actual: actual_byte, ranges, more_ranges }))
}

impl fmt::Display for ByteDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<String> = self
            .ranges
            .iter()
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first} to {last}") })
            .collect();
        write!(f, "byte {}", ranges.join(", "))?;
        match self.more_ranges {
            0 => Ok(()),
            more => write!(f, " and {}", counted(more, "more range")),
        }
    }
}

#[cfg(test)]
mod tests;
