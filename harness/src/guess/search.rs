//! The shapes that are tried, each as a prediction of the actual picture.

use std::collections::BTreeSet;

use super::evidence::{Bits, Evidence};
use super::{Guess, Known, Shape, Suspects};
use crate::compare::{comparable, pixel_text};
use crate::format::{Channel, Component, Numeric};

/// Looks at single pixels that the search for one kind of shape may cost; only flat pictures come near it.
const LOOKS: usize = 4_000_000;

/// Candidates of one kind that may be verified against all pixels; only flat pictures have so many plausible ones.
const VERIFIED: usize = 8;

/// Skews and offsets up to this are tried byte by byte.
const BYTE_BY_BYTE: i64 = 256;

/// What one kind of search may still cost.
struct Budget {
    looks: usize,
    verified: usize,
    /// Whether pixels come from elsewhere, so that those of one colour say nothing.
    from_elsewhere: bool,
}

impl Budget {
    fn new() -> Self {
        Self { looks: LOOKS, verified: VERIFIED, from_elsewhere: false }
    }

    fn from_elsewhere() -> Self {
        Self { from_elsewhere: true, ..Self::new() }
    }

    fn is_spent(&self) -> bool {
        self.looks == 0 || self.verified == 0
    }

    /// Verifies `shape` if a few pixels do not speak against it.
    fn attempt(
        &mut self,
        evidence: &Evidence<'_>,
        shape: impl Fn() -> Shape,
        predict: impl Fn(usize, usize) -> Option<Bits>,
    ) -> Option<Guess> {
        if self.is_spent() {
            return None;
        }
        let (plausible, looks) = evidence.plausible(&predict);
        self.looks = self.looks.saturating_sub(looks);
        if !plausible {
            return None;
        }
        self.verified -= 1;
        let says_enough = !self.from_elsewhere || evidence.is_varied(&predict);
        evidence.verify(shape(), predict).filter(|_| says_enough)
    }
}

/// One value everywhere, or everywhere where the picture is wrong.
pub(super) fn unwritten(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let Some(value) = majority(evidence, |word| word) else { return };
    let repeated = |byte: u8| u64::from_le_bytes([byte; 8]) & evidence.visible;
    let byte = value.to_le_bytes().into_iter().find(|&byte| repeated(byte) == value);
    let pixel = pixel_text(evidence.picture.fourcc, value);
    if evidence.all_differ() {
        let shape = byte.map_or(Shape::OneColour { pixel }, |byte| Shape::Unwritten { byte });
        guesses.extend(evidence.verify(shape, |_, _| Some((value, u64::MAX))));
    } else {
        let name = byte.map_or(format!("one colour ({pixel})"), |byte| format!("bytes of {byte:#04x}"));
        guesses.extend(partly(evidence, &name, |_| value));
    }
}

/// Another picture, altogether or where the picture is wrong.
pub(super) fn known(evidence: &Evidence<'_>, known: &[Known<'_>], guesses: &mut Vec<Guess>) {
    for Known { name, picture } in known {
        if comparable(evidence.picture, picture).is_err() {
            continue;
        }
        let n = evidence.layout.bytes as usize;
        let word = |i: usize| evidence.layout.word(&picture.bytes[i * n..]) & evidence.visible;
        if evidence.all_differ() {
            let shape = Shape::Instead { name: (*name).to_owned() };
            guesses.extend(evidence.verify(shape, |x, y| Some((word(evidence.at(x, y)), u64::MAX))));
        } else {
            guesses.extend(partly(evidence, name, word));
        }
    }
}

/// One of these pictures, from end to end; what is right by chance does not count against it.
pub(super) fn slips(evidence: &Evidence<'_>, slips: &[Known<'_>], guesses: &mut Vec<Guess>) {
    for Known { name, picture } in slips {
        if comparable(evidence.picture, picture).is_err() {
            continue;
        }
        let n = evidence.layout.bytes as usize;
        let word = |i: usize| evidence.layout.word(&picture.bytes[i * n..]) & evidence.visible;
        let shape = Shape::Instead { name: (*name).to_owned() };
        guesses.extend(evidence.verify(shape, |x, y| Some((word(evidence.at(x, y)), u64::MAX))));
    }
}

/// `other` wherever the picture is wrong.
fn partly(evidence: &Evidence<'_>, name: &str, other: impl Fn(usize) -> u64) -> Option<Guess> {
    let area = evidence.area;
    let shape = Shape::Partly {
        name: name.to_owned(),
        pixels: evidence.differing,
        area,
        fills: evidence.differing * 100 > u64::from(area.width) * u64::from(area.height) * 90,
        whole_rows: area.width as usize == evidence.width,
    };
    evidence.judge(shape, |x, y| {
        let i = evidence.at(x, y);
        Some(evidence.actual[i] == evidence.target[i] || evidence.actual[i] == other(i))
    })
}

/// The value that most wrong pixels have, if any has a majority (after Boyer and Moore; to be verified).
fn majority(evidence: &Evidence<'_>, value: impl Fn(u64) -> u64) -> Option<u64> {
    let mut candidate = None;
    let mut lead = 0u64;
    for (target, &actual) in evidence.target.iter().zip(&evidence.actual) {
        if *target == actual {
            continue;
        }
        let value = value(actual);
        if lead == 0 {
            candidate = Some(value);
        }
        lead = if candidate == Some(value) { lead + 1 } else { lead - 1 };
    }
    candidate
}

/// Channels in another order, and bytes in another order.
pub(super) fn channels(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let orders = orders(evidence.layout.components);
    // Two channels swapped is simpler than reversed bytes, and those are simpler than any other order.
    let (swaps, others): (Vec<Order>, _) = orders.into_iter().partition(|order| order.holds.len() == 2);
    channels_in(&swaps, evidence, guesses);
    bytes_reversed(evidence, guesses);
    channels_in(&others, evidence, guesses);
}

/// An order of the components.
struct Order {
    /// The component at `i` holds what belongs to the one at `from[i]`.
    from: Vec<usize>,
    /// What that means for those that change: each channel with the one it holds.
    holds: Vec<(Channel, Channel)>,
}

/// The orders worth a try.
fn orders(components: &'static [Component]) -> Vec<Order> {
    let order = |from: Vec<usize>| {
        let pairs = || components.iter().zip(from.iter().map(|&i| &components[i]));
        let mut holds: Vec<_> = pairs()
            .filter(|(is, was)| is.channel != was.channel && is.channel != Channel::X)
            .map(|(is, was)| (is.channel, was.channel))
            .collect();
        holds.sort();
        // What comes out of padding is unknown: an order must move two channels that do not.
        let known = holds.iter().filter(|(_, was)| *was != Channel::X).count();
        let possible = known >= 2 && pairs().all(|(is, was)| is.bits == was.bits);
        possible.then_some(Order { from, holds })
    };
    permutations(components.len()).into_iter().filter_map(order).collect()
}

fn channels_in(orders: &[Order], evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let mut budget = Budget::new();
    for Order { from, holds } in orders {
        let permuted = |x, y| Some(permute(evidence.layout.components, from, evidence.target[evidence.at(x, y)]));
        guesses.extend(budget.attempt(evidence, || Shape::Channels { holds: holds.clone() }, permuted));
    }
}

fn bytes_reversed(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let n = evidence.layout.bytes as usize;
    let mut budget = Budget::new();
    for unit in [2, 4, 8].into_iter().filter(|unit| n.is_multiple_of(*unit)) {
        let reversed = |word: u64| {
            let mut pixel = word.to_le_bytes();
            pixel[..n].chunks_exact_mut(unit).for_each(<[u8]>::reverse);
            u64::from_le_bytes(pixel)
        };
        let known = reversed(evidence.visible);
        let at = |x, y| Some((reversed(evidence.target[evidence.at(x, y)]), known));
        guesses.extend(budget.attempt(evidence, || Shape::BytesReversed { unit: unit as u32 }, at));
    }
}

/// The bits of `word` with its components in another order; those that come out of padding are unknown.
fn permute(components: &[Component], from: &[usize], word: u64) -> Bits {
    components.iter().zip(from).fold((0, 0), |(bits, known), (is, &from)| {
        let was = &components[from];
        let known_here = if was.channel == Channel::X { 0 } else { is.mask() };
        (bits | u64::from(was.of(word)) << is.shift, known | known_here)
    })
}

/// Every order of `n` things.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    (0..n).fold(vec![Vec::new()], |orders, thing| {
        let longer = |order: Vec<usize>| {
            (0..=order.len()).map(move |at| {
                let mut order = order.clone();
                order.insert(at, thing);
                order
            })
        };
        orders.into_iter().flat_map(longer).collect()
    })
}

/// One channel forced to a value; colour multiplied by alpha or not.
pub(super) fn alpha(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let shown: Vec<&Component> = evidence.layout.shown().collect();
    if shown.len() < 2 {
        return;
    }
    let mut budget = Budget::new();
    for component in &shown {
        let Some(value) = majority(evidence, |word| u64::from(component.of(word))) else { continue };
        let forced = |x, y| {
            let others = evidence.target[evidence.at(x, y)] & !component.mask();
            Some((others | value << component.shift, u64::MAX))
        };
        let text = match evidence.layout.numeric {
            Numeric::Unorm => format!("{value} of {}", component.full()),
            Numeric::Float16 => half::f16::from_bits(value as u16).to_string(),
        };
        let shape = || Shape::Forced { channel: component.channel, value: text.clone() };
        guesses.extend(budget.attempt(evidence, shape, forced));
    }
    multiplied(evidence, &shown, guesses);
}

/// Colour multiplied by alpha once too often, or not at all.
fn multiplied(evidence: &Evidence<'_>, shown: &[&Component], guesses: &mut Vec<Guess>) {
    let Some(alpha) = shown.iter().find(|c| c.channel == Channel::A && c.bits >= 8) else { return };
    let value = |component: &Component, word: u64| match evidence.layout.numeric {
        Numeric::Unorm => component.of(word) as f32 / component.full() as f32,
        Numeric::Float16 => half::f16::from_bits(component.of(word) as u16).to_f32(),
    };
    let step = |component: &Component| match evidence.layout.numeric {
        Numeric::Unorm => 1.0 / component.full() as f32,
        Numeric::Float16 => 1.0 / 1024.0,
    };
    // Alpha near its ends changes colour too little, or leaves none: such pixels say nothing.
    let colour_is = |i: usize, product: &[u64], factor: &[u64]| {
        let by = value(alpha, evidence.target[i]);
        let near = |c: &Component| (value(c, product[i]) - value(c, factor[i]) * by).abs() <= step(c) * 1.01;
        (0.1..=0.9).contains(&by).then(|| shown.iter().filter(|c| c.channel != Channel::A).all(|c| near(c)))
    };
    guesses.extend(
        evidence.judge(Shape::Multiplied, |x, y| colour_is(evidence.at(x, y), &evidence.actual, &evidence.target)),
    );
    guesses.extend(
        evidence.judge(Shape::NotMultiplied, |x, y| colour_is(evidence.at(x, y), &evidence.target, &evidence.actual)),
    );
}

/// Colour through the curve of sRGB in either direction, alpha as it was.
///
/// The curve is that of the Khronos Data Format Specification, "sRGB EOTF".
pub(super) fn curve(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let colour = |c: &&Component| c.channel != Channel::A;
    let (colours, alpha): (Vec<&Component>, Vec<&Component>) = evidence.layout.shown().partition(colour);
    // A component of few bits is near to anything.
    if evidence.layout.numeric != Numeric::Unorm || colours.is_empty() || colours.iter().any(|c| c.bits < 8) {
        return;
    }
    let decode = |v: f32| if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
    let encode = |v: f32| if v <= 0.003_130_8 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
    let holds = |by: &dyn Fn(f32) -> f32, x, y| {
        let i = evidence.at(x, y);
        let (target, actual) = (evidence.target[i], evidence.actual[i]);
        let near = |c: &&Component| {
            let full = c.full() as f32;
            (by(c.of(target) as f32 / full) - c.of(actual) as f32 / full).abs() <= 1.6 / full
        };
        Some(colours.iter().all(near) && alpha.iter().all(|c| c.of(target) == c.of(actual)))
    };
    guesses.extend(evidence.judge(Shape::Curve { decoded: true }, |x, y| holds(&decode, x, y)));
    guesses.extend(evidence.judge(Shape::Curve { decoded: false }, |x, y| holds(&encode, x, y)));
}

/// One channel is wrong, the others are right.
pub(super) fn only_one_channel(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    for component in evidence.layout.shown() {
        let others = evidence.visible & !component.mask();
        let right = |x, y| Some((evidence.target[evidence.at(x, y)], others));
        guesses.extend(evidence.verify(Shape::OnlyOne { channel: component.channel }, right));
    }
}

/// Mirrored and upside down.
pub(super) fn flipped(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let mut budget = Budget::new();
    for (horizontally, vertically) in [(false, true), (true, false), (true, true)] {
        let from = |x: usize, y: usize| {
            let x = if horizontally { evidence.width - 1 - x } else { x };
            let y = if vertically { evidence.height - 1 - y } else { y };
            Some((evidence.target[evidence.at(x, y)], u64::MAX))
        };
        guesses.extend(budget.attempt(evidence, || Shape::Flipped { horizontally, vertically }, from));
    }
}

/// Moved by whole pixels, as far as enough of the picture is left to tell.
pub(super) fn moved(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let (width, height) = (evidence.width as i64, evidence.height as i64);
    let mut budget = Budget::from_elsewhere();
    for down in nearest_first(height * 2 / 3) {
        for right in nearest_first(width * 2 / 3).filter(|&right| (right, down) != (0, 0)) {
            if budget.is_spent() {
                return;
            }
            let from = |x: usize, y: usize| {
                let (x, y) = (x as i64 - right, y as i64 - down);
                let inside = (0..width).contains(&x) && (0..height).contains(&y);
                inside.then(|| (evidence.target[(y * width + x) as usize], u64::MAX))
            };
            let shape = || Shape::Moved { right: right as i32, down: down as i32 };
            guesses.extend(budget.attempt(evidence, shape, from));
        }
    }
}

/// 0, 1, -1, 2, -2 and so on to `furthest` and its negative.
fn nearest_first(furthest: i64) -> impl Iterator<Item = i64> {
    (0..=2 * furthest).map(|n| if n % 2 == 1 { n / 2 + 1 } else { -(n / 2) })
}

/// A wrong offset, and a wrong pitch on one side.
///
/// From further on than about a row bytes come by whole rows, and how many bytes those are nobody can tell who does not know
/// the pitch.
pub(super) fn offset_and_pitch(evidence: &Evidence<'_>, suspects: &Suspects<'_>, guesses: &mut Vec<Guess>) {
    let pixel = i64::from(evidence.layout.bytes);
    let row = evidence.width as i64 * pixel;
    let stated = suspects.pitch.and_then(|p| i64::try_from(p).ok()).filter(|&p| p >= row);
    let most = stated.map_or(row / 2, |stated| stated.saturating_mul(evidence.height as i64));
    let stated = stated.unwrap_or(row);
    let candidates = byte_counts(pixel, row, stated, evidence.height as i64, most);

    let mut budget = Budget::from_elsewhere();
    for &bytes in &candidates {
        let from = |x, y| at_byte(evidence, x, y, stated, stated, bytes);
        let own = bytes.unsigned_abs() == suspects.offset;
        guesses.extend(budget.attempt(evidence, || Shape::Offset { bytes, own }, from));
    }

    let mut budget = Budget::from_elsewhere();
    let mut found: Vec<Guess> = Vec::new();
    for &bytes in &candidates {
        let pixels = (bytes % pixel == 0).then_some(bytes / pixel);
        // Written or read at the stated pitch; the other side at another one.
        let pairs = [(stated, stated + bytes), (stated - bytes, stated)];
        for (written, read) in pairs.into_iter().filter(|&(written, read)| written >= row && read > 0) {
            let from = |x, y| at_byte(evidence, x, y, written, read, 0);
            found.extend(budget.attempt(evidence, || Shape::RowPitch { bytes, pixels }, from));
        }
    }
    // Every other row is what both a pitch twice as large shows and one of half the size for the other side: who can't tell
    // which it is does not guess.
    let best = found.iter().map(Guess::weight).max();
    found.retain(|guess| Some(guess.weight()) == best);
    found.dedup_by(|one, other| one.shape == other.shape);
    guesses.extend(found.pop().filter(|_| found.is_empty()));
}

/// Errors of up to `most` bytes that are worth a try, smallest first.
fn byte_counts(pixel: i64, row: i64, stated: i64, height: i64, most: i64) -> Vec<i64> {
    let whole_pixels = (1..=row / pixel).map(|n| n * pixel);
    let whole_rows = (1..=height).map(|n| n * stated);
    let alignments = (9..=16).map(|power| 1 << power);
    let pages = (1..=64).map(|n| n * 4096);
    let sizes: BTreeSet<i64> = (1..=BYTE_BY_BYTE)
        .chain(whole_pixels)
        .chain(whole_rows)
        .chain(alignments)
        .chain(pages)
        .chain([stated - row, row, stated / 2, stated / 3 * 2])
        .filter(|&n| n > 0 && n <= most)
        .collect();
    sizes.into_iter().flat_map(|n| [n, -n]).collect()
}

/// The bits at pixel (`x`, `y`) for a reader with pitch `read` and an `offset` too large, of a target written at pitch
/// `written`; all in bytes. Unknown where that is in the padding of a row or outside the picture.
fn at_byte(evidence: &Evidence<'_>, x: usize, y: usize, written: i64, read: i64, offset: i64) -> Option<Bits> {
    let n = evidence.layout.bytes as usize;
    let row = evidence.width * n;
    let address = y as i64 * read + (x * n) as i64 + offset;
    let (y, at) = (usize::try_from(address.div_euclid(written)).ok()?, address.rem_euclid(written) as usize);
    let start = y * row + at;
    // Without padding a pixel may be put together from the end of one row and the start of the next.
    let padding = written as usize != row && at + n > row;
    if padding || start + n > evidence.picture.bytes.len() {
        return None;
    }
    let word = evidence.layout.word(&evidence.picture.bytes[start..]);
    // Padding bits of the target are unknown wherever they come to lie.
    let phase = at % n;
    let visible = evidence.visible;
    let known = if phase == 0 {
        visible
    } else {
        let (low, high) = (8 * phase as u32, 8 * (n - phase) as u32);
        visible >> low | visible << high
    };
    Some((word, known))
}

/// Every component within one step, or within one step of 8 bits.
pub(super) fn rounded(evidence: &Evidence<'_>, guesses: &mut Vec<Guess>) {
    let shown: Vec<&Component> = evidence.layout.shown().collect();
    let same = shown.windows(2).all(|pair| pair[0].bits == pair[1].bits);
    let full = shown.first().map_or(0, |c| c.full());
    let float = evidence.layout.numeric == Numeric::Float16;
    let all_near = |near: &dyn Fn(&Component, u64, u64) -> bool, x, y| {
        let i = evidence.at(x, y);
        let (target, actual) = (evidence.target[i], evidence.actual[i]);
        Some(target == actual || shown.iter().all(|c| near(c, target, actual)))
    };

    // In components of few bits one step is no rounding but another value.
    let one_step = |c: &Component, t: u64, a: u64| c.of(t).abs_diff(c.of(a)) <= u32::from(c.bits >= 5);
    let off = match (float, same) {
        (true, _) => "1 unit in the last place".to_owned(),
        (_, true) => format!("1 of {full}"),
        _ => "1 step".to_owned(),
    };
    let shape = Shape::Rounded { off, through_8_bits: false };
    guesses.extend(evidence.judge(shape, |x, y| all_near(&one_step, x, y)));

    if shown.iter().all(|c| c.bits <= 8) {
        return;
    }
    let eighth = |c: &Component| c.full().div_ceil(255);
    let coarse = |c: &Component, t: u64, a: u64| match evidence.layout.numeric {
        Numeric::Float16 => crate::compare::distance(Numeric::Float16, c, t, a) <= 1.0 / 255.0,
        Numeric::Unorm if c.bits > 8 => c.of(t).abs_diff(c.of(a)) <= eighth(c),
        Numeric::Unorm => c.of(t) == c.of(a),
    };
    let off = match (float, shown.first()) {
        (false, Some(c)) => format!("{} of {full}", eighth(c)),
        _ => "1/255".to_owned(),
    };
    let shape = Shape::Rounded { off, through_8_bits: true };
    guesses.extend(evidence.judge(shape, |x, y| all_near(&coarse, x, y)));
}
