//! What a shared buffer must do, told one operation after another: no thread, no lock, no memory.
//!
//! It is written from the rules S1 to S8 and not from the code that keeps them. Two heaps are enough to make storage move:
//! a plain one that is cheap, and a contiguous one.

use std::collections::BTreeMap;

/// Pitch of the frame where nobody asks for more, in bytes.
pub(super) const NATURAL_PITCH: u64 = 1000;

/// What a [`Kind::WidePitch`] asks for, in bytes.
pub(super) const WIDE_PITCH: u64 = 4096;

/// Pixels that are written and read, by number.
pub(super) const PIXELS: usize = 6;

/// What a party needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything.
    Plain,
    /// Contiguous memory: only one heap has that.
    Contiguous,
    /// A pitch that is a multiple of [`WIDE_PITCH`].
    WidePitch,
    /// Memory of the plain heap.
    PlainHeapOnly,
    /// A pitch whose minimum is above its maximum.
    Contradictory,
}

/// One step. Numbers choose among what there is, and do nothing if there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Attach {
        kind: Kind,
        remote: bool,
    },
    Detach(usize),
    Map(usize),
    Unmap(usize),
    Relocate,
    Mmap,
    Munmap(usize),
    /// Through a mapping, a pixel and its new value.
    Write(usize, usize, u32),
    /// Through a mapping, a pixel.
    Read(usize, usize),
    /// Through a CPU mmap, a pixel and its new value.
    Store(usize, usize, u32),
    /// The remote peer is killed.
    Kill,
}

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// There was nothing to do it to.
    Nothing,
    Busy,
    Refused,
    Invalid,
    StillMapped,
    /// The value that was read, if it is known what it must be.
    Value(Option<u32>),
}

/// Storage as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) contiguous: bool,
    pub(super) pitch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    kind: Kind,
    remote: bool,
}

/// The buffer.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    next: usize,
    members: BTreeMap<usize, Member>,
    /// Mappings by number, with the attachment of each.
    mappings: BTreeMap<usize, usize>,
    /// CPU mmaps by number, with the pitch that each pins.
    mmaps: BTreeMap<usize, u64>,
    pub(super) place: Option<Place>,
    pub(super) generation: u64,
    pub(super) pixels: [Option<u32>; PIXELS],
}

/// The `n`th of what there is, counted round.
pub(super) fn nth<T: Copy>(of: impl ExactSizeIterator<Item = T>, n: usize) -> Option<T> {
    let mut of = of;
    let count = of.len();
    if count == 0 { None } else { of.nth(n % count) }
}

impl Model {
    /// Everything that has a say in where storage lies.
    fn parties(&self) -> usize {
        self.members.len() + self.mmaps.len()
    }

    pub(super) fn attached(&self) -> usize {
        self.parties()
    }

    pub(super) fn mapped(&self) -> usize {
        self.mappings.len()
    }

    /// Where storage for everybody, and for `newcomer`, lies; `None` if nothing suits them all.
    fn agreed(&self, newcomer: Option<Kind>) -> Option<Place> {
        let kinds: Vec<Kind> = self.members.values().map(|member| member.kind).chain(newcomer).collect();
        let has = |kind| kinds.contains(&kind);
        let contiguous = has(Kind::Contiguous);
        if contiguous && has(Kind::PlainHeapOnly) {
            return None;
        }
        let asked = if has(Kind::WidePitch) { WIDE_PITCH } else { NATURAL_PITCH };
        let pinned = self.mmaps.values().copied().next();
        match pinned {
            Some(pitch) if has(Kind::WidePitch) && !pitch.is_multiple_of(WIDE_PITCH) => None,
            Some(pitch) => Some(Place { contiguous, pitch }),
            None => Some(Place { contiguous, pitch: asked }),
        }
    }

    fn suits(place: Place, kind: Kind) -> bool {
        match kind {
            Kind::Plain => true,
            Kind::Contiguous => place.contiguous,
            Kind::WidePitch => place.pitch.is_multiple_of(WIDE_PITCH),
            Kind::PlainHeapOnly => !place.contiguous,
            Kind::Contradictory => false,
        }
    }

    /// New storage at `place`: contents stay if there are any.
    fn settle(&mut self, place: Place) {
        self.place = Some(place);
        self.generation += 1;
    }

    fn moved(&mut self, newcomer: Option<Kind>) -> Outcome {
        match self.agreed(newcomer) {
            None => Outcome::Refused,
            Some(_) if !self.mappings.is_empty() => Outcome::Busy,
            Some(place) => {
                self.settle(place);
                Outcome::Done
            }
        }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// The storage is there, or is made now.
    fn made(&mut self) -> bool {
        if self.place.is_none() {
            let Some(place) = self.agreed(None) else { return false };
            self.settle(place);
        }
        true
    }

    /// What `op` must do.
    pub(super) fn step(&mut self, op: Op) -> Outcome {
        match op {
            Op::Attach { kind: Kind::Contradictory, .. } => Outcome::Invalid,
            Op::Attach { kind, remote } => {
                let outcome = match self.place {
                    // Who is not trusted is not let in where it would be in the way of the first map.
                    None if remote && self.agreed(Some(kind)).is_none() => Outcome::Refused,
                    Some(place) if !Self::suits(place, kind) => self.moved(Some(kind)),
                    _ => Outcome::Done,
                };
                if outcome == Outcome::Done {
                    let number = self.number();
                    self.members.insert(number, Member { kind, remote });
                }
                outcome
            }
            Op::Detach(n) => match nth(self.members.keys().copied(), n) {
                None => Outcome::Nothing,
                Some(number) if self.mappings.values().any(|of| *of == number) => Outcome::StillMapped,
                Some(number) => {
                    self.members.remove(&number);
                    Outcome::Done
                }
            },
            Op::Map(n) => match nth(self.members.keys().copied(), n) {
                None => Outcome::Nothing,
                Some(_) if !self.made() => Outcome::Refused,
                Some(attachment) => {
                    let number = self.number();
                    self.mappings.insert(number, attachment);
                    Outcome::Done
                }
            },
            Op::Unmap(n) => match nth(self.mappings.keys().copied(), n) {
                None => Outcome::Nothing,
                Some(number) => {
                    self.mappings.remove(&number);
                    Outcome::Done
                }
            },
            Op::Relocate if self.place.is_none() => Outcome::Done,
            Op::Relocate => self.moved(None),
            Op::Mmap if !self.made() => Outcome::Refused,
            Op::Mmap => {
                let number = self.number();
                if let Some(place) = self.place {
                    self.mmaps.insert(number, place.pitch);
                }
                Outcome::Done
            }
            Op::Munmap(n) => match nth(self.mmaps.keys().copied(), n) {
                None => Outcome::Nothing,
                Some(number) => {
                    self.mmaps.remove(&number);
                    Outcome::Done
                }
            },
            Op::Write(n, pixel, value) => match nth(self.mappings.keys().copied(), n) {
                None => Outcome::Nothing,
                Some(_) => {
                    self.pixels[pixel] = Some(value);
                    Outcome::Done
                }
            },
            Op::Read(n, pixel) => match nth(self.mappings.keys().copied(), n) {
                None => Outcome::Nothing,
                Some(_) => Outcome::Value(self.pixels[pixel]),
            },
            Op::Store(n, pixel, value) => match nth(self.mmaps.keys().copied(), n) {
                None => Outcome::Nothing,
                Some(_) => {
                    self.pixels[pixel] = Some(value);
                    Outcome::Done
                }
            },
            Op::Kill => {
                let remote = |members: &BTreeMap<usize, Member>, number: &usize| members[number].remote;
                self.mappings.retain(|_, of| !remote(&self.members, of));
                let members = self.members.clone();
                self.members.retain(|number, _| !remote(&members, number));
                Outcome::Done
            }
        }
    }
}
