//! Does a placement satisfy the constraints of the device that maps it?
//!
//! Pure. Each constraint that the placement breaks is a [`Violation`], a sentence with numbers; each that could not be held
//! against anything is [`Unchecked`], with the reason. What is in neither list was seen to hold.

use std::fmt;

use super::{Placement, Segments, Source};
use crate::compare::counted;
use crate::frame::Rows;
use crate::observed::NotObservable;
use crate::share::constraints::{Bytes, Constraints, MemoryNeeds};

/// A constraint that a placement breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it is about: `contiguity`, `pitch`.
    pub about: &'static str,
    /// What the device needs and what it got, as a sentence with numbers and units.
    pub text: String,
}

/// A constraint that could not be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// What it is about.
    pub about: &'static str,
    /// Why not.
    pub why: NotObservable,
}

/// What became of the constraints of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Those that are broken.
    pub violations: Vec<Violation>,
    /// Those that could not be checked; never a pass.
    pub unchecked: Vec<Unchecked>,
}

/// The constraints that `placement` breaks: [`check`] without what could not be checked.
pub fn violations(placement: &Placement, constraints: &Constraints) -> Vec<Violation> {
    check(placement, constraints).violations
}

/// Holds `placement` against what its device needs.
pub fn check(placement: &Placement, constraints: &Constraints) -> Checked {
    let mut checked = Checked::default();
    layout(placement, constraints, &mut checked);
    bytes(placement, constraints, &mut checked);
    provenance(placement, &constraints.memory, &mut checked);
    addresses(placement, constraints, &mut checked);
    checked
}

impl Checked {
    fn breaks(&mut self, about: &'static str, text: String) {
        self.violations.push(Violation { about, text });
    }

    fn unseen(&mut self, about: &'static str, why: impl Into<String>) {
        self.unchecked.push(Unchecked { about, why: NotObservable(why.into()) });
    }
}

/// Format, size, pitches and offsets.
fn layout(placement: &Placement, constraints: &Constraints, checked: &mut Checked) {
    let (device, frame) = (&placement.device, &placement.frame);
    let pair = constraints.formats.iter().find(|pair| (pair.fourcc, pair.modifier) == (frame.fourcc, frame.modifier));
    match pair {
        None => {
            let listed: Vec<String> = constraints.formats.iter().map(ToString::to_string).collect();
            let pair = format!("{} {}", frame.fourcc, frame.modifier);
            checked.breaks("format", format!("the frame is {pair}; {device} takes {}", listed.join(", ")));
        }
        Some(pair) if pair.planes as usize != frame.planes.len() => {
            let planes = counted(frame.planes.len() as u64, "plane");
            checked.breaks("planes", format!("the frame has {planes}; {device} takes {pair} with {}", pair.planes));
        }
        Some(_) => {}
    }
    let (smallest, largest) = (constraints.smallest, constraints.largest);
    let inside = (smallest.width..=largest.width).contains(&frame.size.width)
        && (smallest.height..=largest.height).contains(&frame.size.height);
    if !inside {
        let up_to = if largest.width == u32::MAX { "or more".to_owned() } else { format!("to {largest}") };
        let text = format!("the frame is {}; {device} takes {smallest} {up_to}", frame.size);
        checked.breaks("frame size", text);
    }
    for (n, plane) in frame.planes.iter().enumerate() {
        if !constraints.pitch.allow(plane.pitch) {
            let pitch = plane.pitch;
            let text = format!("plane {n} has a pitch of {pitch} B; {device} takes {}", valid(&constraints.pitch));
            checked.breaks("pitch", text);
        }
        let alignment = constraints.offset_alignment;
        if !plane.offset.is_multiple_of(alignment) {
            let text = format!("plane {n} begins at {} B; {device} takes multiples of {alignment} B", plane.offset);
            checked.breaks("offset", text);
        }
    }
}

/// Size of the buffer, and what is left of it behind the frame.
fn bytes(placement: &Placement, constraints: &Constraints, checked: &mut Checked) {
    let (device, size) = (&placement.device, placement.buffer.size);
    if !constraints.size.allow(size) {
        checked.breaks("size", format!("the buffer has {size} B; {device} takes {}", valid(&constraints.size)));
    }
    let rows = match placement.frame.rows() {
        Ok(rows) => rows,
        // Only who made such storage knows where its planes end, and nobody asked.
        Err(_) if constraints.padding == 0 && constraints.rows_behind == 0 => return,
        Err(error) => {
            return checked.unseen("padding", format!("where the last plane ends is not known: {}", error.cause));
        }
    };
    let (end, padding) = (end(&rows), touched(&rows, constraints));
    if end > size {
        checked.breaks("size", format!("the frame ends at {end} B; the buffer has {size} B"));
    } else if size - end < padding {
        let behind = size - end;
        checked.breaks("padding", format!("{behind} B lie behind the frame; {device} may touch {padding} B there"));
    }
}

fn end(rows: &[Rows]) -> u64 {
    rows.iter().map(|rows| rows.end).max().unwrap_or(0)
}

/// Bytes behind the last row that a device of `constraints` may touch.
fn touched(rows: &[Rows], constraints: &Constraints) -> u64 {
    let last = rows.iter().max_by_key(|rows| rows.end);
    let whole = match (constraints.rows_behind, last) {
        (0, _) | (_, None) => 0,
        (behind, Some(last)) => (last.pitch - last.row).saturating_add(last.pitch.saturating_mul(behind.into())),
    };
    whole.saturating_add(constraints.padding)
}

/// Bytes from the start of the buffer that a device of `constraints` works with; all of them where only it knows.
fn worked_with(placement: &Placement, constraints: &Constraints) -> u64 {
    let size = placement.buffer.size;
    let rows = placement.frame.rows();
    rows.map_or(size, |rows| end(&rows).saturating_add(touched(&rows, constraints)).min(size))
}

/// Which heap it came from, which memory types it can have, and whether the CPU reaches it.
fn provenance(placement: &Placement, memory: &MemoryNeeds, checked: &mut Checked) {
    let device = &placement.device;
    match (&memory.heaps, &placement.heap) {
        (Some(heaps), Some(heap)) if !heaps.contains(heap) => {
            let heaps: Vec<&str> = heaps.iter().map(String::as_str).collect();
            checked.breaks("heap", format!("the memory is of heap {heap}; {device} imports {}", heaps.join(", ")));
        }
        (Some(_), None) => checked.unseen("heap", "nobody said which heap provided the buffer"),
        (None, _) | (Some(_), Some(_)) => {}
    }
    match (memory.types, &placement.memory) {
        (None, _) => {}
        (Some(needed), Some(Ok(offered))) if offered.bits & needed == 0 => {
            let offered = offered.types.join(" or ");
            checked
                .breaks("memory type", format!("the memory is of type {offered}; {device} needs one of {needed:#b}"));
        }
        (Some(_), Some(Ok(_))) => {}
        (Some(_), Some(Err(NotObservable(why)))) => checked.unseen("memory type", why.clone()),
        (Some(_), None) => checked.unseen("memory type", "nobody asked as what type the buffer can be imported"),
    }
    if memory.cpu && !placement.mapped_by_cpu {
        checked.unseen("cpu access", "no process was seen to map the buffer for the CPU");
    }
}

/// Contiguity, reach, number and length of segments.
fn addresses(placement: &Placement, constraints: &Constraints, checked: &mut Checked) {
    let MemoryNeeds { contiguous, address_bits, segments: most, segment_size: longest, .. } = constraints.memory;
    let asked = [
        ("contiguity", contiguous),
        ("address", address_bits < 64),
        ("segment count", most.is_some()),
        ("segment size", longest.is_some()),
    ];
    let segments = match &placement.segments {
        Ok(segments) => segments,
        Err(NotObservable(why)) => {
            for (about, asked) in asked {
                if asked {
                    checked.unseen(about, why.clone());
                }
            }
            return;
        }
    };
    if !is_own(segments, placement) && !segments.are_physical() {
        let why = format!("{}, which shows that device's own addresses", others(segments, placement));
        for (about, asked) in asked {
            if asked {
                checked.unseen(about, why.clone());
            }
        }
        return;
    }
    let mut found = Checked::default();
    let device = &placement.device;
    let runs = segments.runs();
    let cut = || format!("the kernel printed {} of {} segments", segments.list.len(), segments.count);
    if contiguous {
        // What lies behind its part of the buffer is not this device's business: the kernel compares the first run, too.
        let needed = worked_with(placement, constraints);
        let first = runs.first().map_or(0, |run| run.length);
        if first < needed && runs.len() > 1 {
            let text = format!(
                "{device} needs one run of addresses; the buffer lies in {}{}, the first has {first} B of {needed} B",
                if segments.complete() { "" } else { "at least " },
                counted(runs.len() as u64, "run"),
            );
            found.breaks("contiguity", text);
        } else if first < needed && !segments.complete() {
            found.unseen("contiguity", cut());
        }
    }
    if address_bits < 64 {
        let end = runs.iter().map(super::Segment::end).max().unwrap_or(0);
        if end > 1 << address_bits {
            let last = end - 1;
            let text = format!("the buffer reaches to address {last:#x}; {device} drives {address_bits} address bits");
            found.breaks("address", text);
        } else if !segments.complete() {
            found.unseen("address", cut());
        }
    }
    if let Some(most) = most {
        let pieces = |run: u64| longest.map_or(1, |longest| run.div_ceil(longest.max(1)));
        let fewest: u64 = runs.iter().map(|run| pieces(run.length)).sum();
        if fewest > u64::from(most) {
            let at_least = if segments.complete() { "" } else { "at least " };
            let text = format!("the buffer lies in {at_least}{fewest} segments; {device} takes {most}");
            found.breaks("segment count", text);
        } else if !segments.complete() {
            found.unseen("segment count", cut());
        }
    }
    if let Some(longest) = longest.filter(|_| is_own(segments, placement)) {
        let actual = segments.list.iter().map(|segment| segment.length).max().unwrap_or(0);
        if actual > longest {
            found.breaks("segment size", format!("a segment has {actual} B; {device} takes up to {longest} B"));
        } else if !segments.complete() {
            found.unseen("segment size", cut());
        }
    } else if longest.is_some() {
        found.unseen("segment size", others(segments, placement));
    }
    if is_own(segments, placement) {
        checked.violations.append(&mut found.violations);
    } else {
        // An IOMMU may show the device other addresses, in fewer runs: physical addresses that suit it as they lie suit it in
        // any case, and of those that do not nothing follows.
        let open = found.violations.drain(..);
        let open =
            open.map(|violation| (violation.about, format!("{}; {}", others(segments, placement), violation.text)));
        checked.unchecked.extend(open.map(|(about, why)| Unchecked { about, why: NotObservable(why) }));
    }
    checked.unchecked.append(&mut found.unchecked);
}

/// Whether the addresses are those that the device itself was given.
fn is_own(segments: &Segments, placement: &Placement) -> bool {
    match &segments.source {
        Source::ScatterList { device, .. } => placement.kernel_device.as_ref() == Some(device),
        Source::Pagemap => false,
    }
}

fn others(segments: &Segments, placement: &Placement) -> String {
    format!("seen by {}, not in a scatter list of {}", segments.source, placement.device)
}

/// `64 B to 16384 B in steps of 64 B`.
fn valid(bytes: &Bytes) -> String {
    let Bytes { alignment, min, max } = *bytes;
    let range = match (min, max) {
        (0, u64::MAX) => String::new(),
        (min, u64::MAX) => format!("{min} B or more"),
        (min, max) => format!("{min} B to {max} B"),
    };
    match (range.is_empty(), alignment) {
        (true, alignment) => format!("multiples of {alignment} B"),
        (false, 1) => range,
        (false, alignment) => format!("{range} in steps of {alignment} B"),
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.text)
    }
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.why)
    }
}

#[cfg(test)]
mod tests;
