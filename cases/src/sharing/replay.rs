//! The same operations on the model and on the real thing, compared after every step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use handover::channel::Channel;
use handover::dmabuf::SharedFrame;
use handover::error::{Error, Result};
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::buffer::{Attachment, Buffer, Mapping};
use handover::share::constraints::{Bytes, Constraints, MemoryNeeds, Party};
use handover::share::core::Access;
use handover::share::cpu::CpuMapping;
use handover::share::heap::Heaps;
use handover::share::refused::ShareError;
use handover::share::remote::{RemoteBuffer, RemoteMapping};
use handover::share::serve::{Limits, Service};

use proptest::prelude::{Just, Strategy, prop, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::Memory::Contiguous;
use super::UDMABUF;
use super::model::{Kind, Model, NATURAL_PITCH, Op, Outcome, PIXELS, WIDE_PITCH, nth};

/// With 4 bytes a pixel, a row of [`NATURAL_PITCH`].
const SIZE: Size = px(250, 6);

/// How long a move waits for mappings that will not end: every `Busy` costs it.
const PATIENCE: Duration = Duration::from_millis(3);

/// In what the two differ.
#[derive(Debug)]
pub(super) struct Differs {
    pub(super) step: usize,
    pub(super) what: String,
    pub(super) model: String,
    pub(super) real: String,
}

enum Held {
    Local(Mapping),
    Remote(RemoteMapping),
}

enum Joined {
    Local(Attachment),
    Remote(u64),
}

/// The real buffer, with everything that was made of it.
struct Real {
    buffer: Buffer,
    peer: Option<(Service, RemoteBuffer)>,
    next: usize,
    members: BTreeMap<usize, Joined>,
    mappings: BTreeMap<usize, (usize, Held)>,
    mmaps: BTreeMap<usize, Arc<CpuMapping>>,
    /// Their guards are kept, so that it is not their end that detaches.
    detached: Vec<Attachment>,
}

fn party(kind: Kind, plain: &str) -> Party {
    let any = Constraints::cpu(&[Fourcc::XR24]);
    let constraints = match kind {
        Kind::Plain => any,
        Kind::Contiguous => Constraints { memory: MemoryNeeds { contiguous: true, ..any.memory.clone() }, ..any },
        Kind::WidePitch => Constraints { pitch: Bytes::aligned(WIDE_PITCH), ..any },
        Kind::PlainHeapOnly => {
            Constraints { memory: MemoryNeeds { heaps: Some([plain.to_owned()].into()), ..any.memory.clone() }, ..any }
        }
        Kind::Contradictory => Constraints { pitch: Bytes { min: 2, max: 1, ..Bytes::ANY }, ..any },
    };
    Party { name: format!("{kind:?}"), constraints }
}

fn outcome(result: Result<(), ShareError>) -> Result<Outcome> {
    match result {
        Ok(()) => Ok(Outcome::Done),
        Err(ShareError::Busy(_)) => Ok(Outcome::Busy),
        Err(ShareError::Refused(_)) => Ok(Outcome::Refused),
        Err(ShareError::Invalid { .. }) => Ok(Outcome::Invalid),
        Err(ShareError::StillMapped(_)) => Ok(Outcome::StillMapped),
        Err(other) => Err(Error::answer("a step", "a shared buffer", other.to_string())),
    }
}

/// [`outcome`] of what was said over a socket.
fn outcome_told(result: Result<()>) -> Result<Outcome> {
    let Err(error) = result else { return Ok(Outcome::Done) };
    let told = error.cause.to_string();
    let outcomes = [
        ("busy:", Outcome::Busy),
        ("nothing suits everybody:", Outcome::Refused),
        ("contradict themselves", Outcome::Invalid),
        ("still has a mapping", Outcome::StillMapped),
    ];
    outcomes.into_iter().find(|(text, _)| told.contains(text)).map(|(_, outcome)| outcome).ok_or(error)
}

/// Where a pixel's word lies.
fn address(shared: &SharedFrame, pixel: usize) -> u64 {
    let plane = shared.frame.planes[0];
    plane.offset + pixel as u64 * plane.pitch + pixel as u64 * 4
}

impl Real {
    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn step(&mut self, op: Op, plain: &str) -> Result<Outcome> {
        Ok(match op {
            Op::Attach { kind, remote: false } => match self.buffer.attach_within(party(kind, plain), PATIENCE) {
                Ok(attachment) => {
                    let number = self.number();
                    self.members.insert(number, Joined::Local(attachment));
                    Outcome::Done
                }
                Err(error) => outcome(Err(error))?,
            },
            Op::Attach { kind, remote: true } => {
                let attached = self.peer()?.attach(&party(kind, plain));
                match attached {
                    Ok(attachment) => {
                        let number = self.number();
                        self.members.insert(number, Joined::Remote(attachment));
                        Outcome::Done
                    }
                    Err(error) => outcome_told(Err(error))?,
                }
            }
            Op::Detach(n) => {
                let Some(number) = nth(self.members.keys().copied(), n) else { return Ok(Outcome::Nothing) };
                let told = match &self.members[&number] {
                    Joined::Local(attachment) => outcome(attachment.detach())?,
                    Joined::Remote(attachment) => {
                        let attachment = *attachment;
                        outcome_told(self.peer()?.detach(attachment))?
                    }
                };
                if told == Outcome::Done
                    && let Some(Joined::Local(attachment)) = self.members.remove(&number)
                {
                    // Who has detached maps no more; it must be gone before its guard is.
                    if !matches!(attachment.map(Access::Read), Err(ShareError::NotAttached(_))) {
                        let why = format!("{} mapped after it had detached", attachment.name());
                        return Err(Error::answer("a step", "a shared buffer", why));
                    }
                    self.detached.push(attachment);
                }
                told
            }
            Op::Map(n) => {
                let Some(number) = nth(self.members.keys().copied(), n) else { return Ok(Outcome::Nothing) };
                let held = match &self.members[&number] {
                    Joined::Local(attachment) => match attachment.map(Access::Write) {
                        Ok(mapping) => Held::Local(mapping),
                        Err(error) => return outcome(Err(error)),
                    },
                    Joined::Remote(attachment) => {
                        let attachment = *attachment;
                        match self.peer()?.map(attachment, Access::Write, Duration::from_secs(1)) {
                            Ok(mapping) => Held::Remote(mapping),
                            Err(error) => return outcome_told(Err(error)),
                        }
                    }
                };
                let mapping = self.number();
                self.mappings.insert(mapping, (number, held));
                Outcome::Done
            }
            Op::Unmap(n) => {
                let Some(number) = nth(self.mappings.keys().copied(), n) else { return Ok(Outcome::Nothing) };
                if let Some((_, Held::Remote(mapping))) = self.mappings.remove(&number) {
                    self.peer()?.unmap(mapping.number)?;
                }
                Outcome::Done
            }
            Op::Relocate => outcome(self.buffer.relocate(PATIENCE))?,
            Op::Mmap => match self.buffer.mmap("cpu mmap") {
                Ok(mmap) => {
                    let number = self.number();
                    self.mmaps.insert(number, mmap);
                    Outcome::Done
                }
                Err(error) => outcome(Err(error))?,
            },
            Op::Munmap(n) => match nth(self.mmaps.keys().copied(), n) {
                None => Outcome::Nothing,
                Some(number) => {
                    self.mmaps.remove(&number);
                    Outcome::Done
                }
            },
            Op::Write(n, pixel, value) => match nth(self.mappings.values(), n) {
                None => Outcome::Nothing,
                Some((_, held)) => {
                    let shared = held.shared();
                    shared.dmabuf.map()?.write(address(shared, pixel), &value.to_ne_bytes())?;
                    Outcome::Done
                }
            },
            Op::Read(n, pixel) => match nth(self.mappings.values(), n) {
                None => Outcome::Nothing,
                Some((_, held)) => {
                    let shared = held.shared();
                    let mut bytes = [0; 4];
                    shared.dmabuf.map()?.read_into(address(shared, pixel), &mut bytes)?;
                    Outcome::Value(Some(u32::from_ne_bytes(bytes)))
                }
            },
            Op::Store(n, pixel, value) => match nth(self.mmaps.values(), n) {
                None => Outcome::Nothing,
                Some(mmap) => {
                    let mut access = match mmap.access(Access::Write) {
                        Ok(access) => access,
                        Err(error) => return outcome(Err(error)),
                    };
                    let plane = mmap.frame().planes[0];
                    let at = plane.offset + pixel as u64 * plane.pitch + pixel as u64 * 4;
                    access.write(at, &value.to_ne_bytes())?;
                    Outcome::Done
                }
            },
            Op::Kill => {
                self.mappings.retain(|_, (_, held)| matches!(held, Held::Local(_)));
                self.members.retain(|_, joined| matches!(joined, Joined::Local(_)));
                if let Some((service, remote)) = self.peer.take() {
                    drop(remote);
                    service.ended(Duration::from_secs(5))?;
                }
                Outcome::Done
            }
        })
    }

    /// The one peer; it comes when it is first needed, and again after it was killed.
    fn peer(&mut self) -> Result<&RemoteBuffer> {
        if self.peer.is_none() {
            let limits = Limits { patience: PATIENCE, ..Limits::default() };
            let (service, socket) = Service::start(&self.buffer, "peer", limits)?;
            self.peer = Some((service, RemoteBuffer::on(Channel::on(socket, "the buffer's process"))));
        }
        self.peer
            .as_ref()
            .map(|(_, remote)| remote)
            .ok_or_else(|| Error::answer("starting a peer", "a shared buffer", "there is none"))
    }
}

impl Held {
    fn shared(&self) -> &SharedFrame {
        match self {
            Held::Local(mapping) => mapping.shared(),
            Held::Remote(mapping) => &mapping.shared,
        }
    }
}

/// Runs `ops` on both; `Ok(None)` if they agree throughout.
///
/// # Errors
/// A call failed that had to work.
pub(super) fn replay(ops: &[Op], heaps: &Heaps, (plain, contiguous): (&str, &str)) -> Result<Option<Differs>> {
    let wish = Wish { fourccs: vec![Fourcc::XR24], size: SIZE };
    let buffer = Buffer::export(wish, heaps.only(&[plain, contiguous]));
    let mut model = Model::default();
    let mut real = Real {
        buffer,
        peer: None,
        next: 0,
        members: BTreeMap::new(),
        mappings: BTreeMap::new(),
        mmaps: BTreeMap::new(),
        detached: Vec::new(),
    };
    for (step, &op) in ops.iter().enumerate() {
        let expected = model.step(op);
        let differs = |what: &str, model: &dyn std::fmt::Debug, real: &dyn std::fmt::Debug| {
            Ok(Some(Differs { step, what: what.to_owned(), model: format!("{model:?}"), real: format!("{real:?}") }))
        };
        let seen = match real.step(op, plain) {
            Ok(seen) => seen,
            Err(error) => return differs("the outcome", &expected, &error.to_string()),
        };
        let alike = match (expected, seen) {
            // Nobody has written there.
            (Outcome::Value(None), Outcome::Value(_)) => true,
            (expected, seen) => expected == seen,
        };
        if !alike {
            return differs("the outcome", &expected, &seen);
        }
        let storage = real.buffer.storage();
        let place = storage.as_ref().map(|storage| (storage.heap.as_str(), storage.shared.frame.planes[0].pitch));
        let expected = model.place.map(|place| (if place.contiguous { contiguous } else { plain }, place.pitch));
        if place != expected {
            return differs("where storage lies", &expected, &place);
        }
        let counts = (real.buffer.parties().len(), real.buffer.mappings(), real.buffer.generation());
        let expected = (model.attached(), model.mapped(), model.generation);
        if counts != expected {
            return differs("parties, mappings and generation", &expected, &counts);
        }
        for mmap in real.mmaps.values() {
            let plane = mmap.frame().planes[0];
            for pixel in 0..PIXELS {
                let mut bytes = [0; 4];
                mmap.peek(plane.offset + pixel as u64 * plane.pitch + pixel as u64 * 4, &mut bytes)?;
                let seen = u32::from_ne_bytes(bytes);
                if model.pixels[pixel].is_some_and(|value| value != seen) {
                    return differs(
                        &format!("pixel {pixel} as a CPU mmap shows it"),
                        &model.pixels[pixel],
                        &Some(seen),
                    );
                }
            }
        }
    }
    Ok(None)
}

/// `ops` as a case of their own.
pub(super) fn as_case(name: &str, ops: &[Op]) -> String {
    let mut text = format!("cases.add(\"sharing::replays::{name}\", |cx| {{\n    replays(\n        cx,\n        &[\n");
    for op in ops {
        let _ = writeln!(text, "            Op::{op:?},");
    }
    text.push_str("        ],\n    )\n});");
    text.replace("kind: ", "kind: Kind::")
}

/// Sequences that stay cases of their own; one that was printed goes here as it stands.
pub(super) fn register(cases: &mut Cases<Cx>) {
    let case = cases.add("sharing::replays::every_kind_of_step", |cx| {
        replays(
            cx,
            &[
                Op::Attach { kind: Kind::Plain, remote: false },
                Op::Map(0),
                Op::Write(0, 3, 7),
                Op::Mmap,
                Op::Unmap(0),
                Op::Store(0, 5, 9),
                Op::Munmap(0),
                Op::Attach { kind: Kind::Contiguous, remote: true },
                Op::Map(1),
                Op::Read(0, 3),
                Op::Kill,
                Op::Relocate,
                Op::Detach(0),
            ],
        )
    });
    case.must_fail_under("sent-fds-lost");
}

/// One sequence, on the model and on the real thing.
fn replays(cx: &mut Cx, ops: &[Op]) -> Result<(), Trouble> {
    let (plain, contiguous) = (super::heap(cx, UDMABUF)?, super::heap(cx, Contiguous)?);
    let names = (super::name_of(&plain), super::name_of(&contiguous));
    let differs = replay(ops, &plain.and(&contiguous), (&names.0, &names.1))?;
    cx.claim(format!("{} steps", ops.len()), differs.is_none(), || {
        Finding::new(format!("the core differs from the model: {differs:?}"))
    });
    cx.agree()
}

const _: () = assert!(NATURAL_PITCH == SIZE.width as u64 * 4);

/// Sequences that one case tries, and steps that one has at most. A sequence takes 3 to 5 ms in the sandbox, so four cases
/// try a thousand in 4 s of one processor.
const SEQUENCES: u32 = 250;
const STEPS: usize = 24;

/// Any step, the common ones more often.
fn steps() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        4 => Just(Kind::Plain),
        2 => Just(Kind::Contiguous),
        2 => Just(Kind::WidePitch),
        2 => Just(Kind::PlainHeapOnly),
        1 => Just(Kind::Contradictory),
    ];
    let (any, pixel) = (0..8_usize, 0..PIXELS);
    prop_oneof![
        4 => (kind, prop::bool::weighted(0.3)).prop_map(|(kind, remote)| Op::Attach { kind, remote }),
        2 => any.clone().prop_map(Op::Detach),
        4 => any.clone().prop_map(Op::Map),
        4 => any.clone().prop_map(Op::Unmap),
        1 => Just(Op::Relocate),
        1 => Just(Op::Mmap),
        1 => any.clone().prop_map(Op::Munmap),
        3 => (any.clone(), pixel.clone(), any_value()).prop_map(|(n, pixel, value)| Op::Write(n, pixel, value)),
        3 => (any.clone(), pixel.clone()).prop_map(|(n, pixel)| Op::Read(n, pixel)),
        2 => (any, pixel, any_value()).prop_map(|(n, pixel, value)| Op::Store(n, pixel, value)),
        1 => Just(Op::Kill),
    ]
}

fn any_value() -> impl Strategy<Value = u32> {
    1..u32::MAX
}

/// The core does on real memory what the model does, whatever the sequence. A sequence on which they differ is made as
/// short as it can be, and printed as a case.
pub(super) fn agrees(cx: &mut Cx, seed: u8) -> Result<(), Trouble> {
    let (plain, contiguous) = (super::heap(cx, UDMABUF)?, super::heap(cx, Contiguous)?);
    let names = (super::name_of(&plain), super::name_of(&contiguous));
    let heaps = super::heaps(cx, UDMABUF, Contiguous)?;
    let before = (cx.open_files()?, cx.dmabufs()?);
    let config = Config { cases: SEQUENCES * cx.effort()?, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let result =
        runner.run(&prop::collection::vec(steps(), 1..STEPS), |ops| match replay(&ops, &heaps, (&names.0, &names.1)) {
            Ok(None) => Ok(()),
            Ok(Some(Differs { step, what, model, real })) => {
                Err(TestCaseError::fail(format!("{what} after step {step}\n{model}\n{real}")))
            }
            Err(error) => Err(TestCaseError::fail(format!("{error}\n\n"))),
        });
    match result {
        Ok(()) => cx.claim("sequences", true, || Finding::new("")),
        Err(TestError::Fail(reason, ops)) => {
            let reason = reason.message().to_owned();
            let mut lines = reason.lines();
            let mut next = || lines.next().unwrap_or_default().to_owned();
            return Err(Finding::new(format!("the core differs from the model: {}", next()))
                .row("target", next())
                .row("actual", next())
                .verbatim("sequence", as_case("a_sequence", &ops))
                .into());
        }
        Err(TestError::Abort(reason)) => return Err(Finding::new(format!("proptest gave up: {reason}")).into()),
    }
    cx.figure("sequences", f64::from(SEQUENCES * cx.effort()?));
    cx.equals("files and dma-bufs afterwards", super::Counts(before), super::Counts((cx.open_files()?, cx.dmabufs()?)));
    cx.agree()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted() {
        let ops = [Op::Attach { kind: Kind::Plain, remote: false }, Op::Map(0), Op::Write(0, 3, 7), Op::Mmap];
        let printed = as_case("every_kind_of_step", &ops);
        let printed: Vec<&str> = printed.lines().map(str::trim).take(8).collect();
        let line = |line: &'static str| line.trim().trim_start_matches("let case = ");
        let source: Vec<&str> = include_str!("replay.rs").lines().map(line).collect();
        assert!(source.windows(8).any(|lines| lines == printed), "{printed:#?}");
    }
}
