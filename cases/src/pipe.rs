//! The video pipe of the buffer-sharing proposal, on real devices: a GPU draws stamped frames, the screen shows them, and
//! after some frames a video device attaches that only takes contiguous memory, and later a converter that takes any.
//!
//! Every device is a stage of its own: while a frame is drawn and shown, the one before is at the others, mapped. So when the
//! strict one joins, buffers are in use that must move, the first of them on the screen; the move waits for it to leave, and
//! who maps the buffer meanwhile waits for the move.
//!
//! The buffers settle into new storage one after the other, each once. The pipe may stutter, but each frame is on the screen
//! and at each other device once, whole, and in its turn: every stamp is compared to the last pixel.

use handover::plot;
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::constraints::{Bytes, Constraints, Party};
use handover::share::heap::Heaps;
use handover::share::refused::ShareError;
use run::{Parts, Ran};
use stage::Eye;

mod buffers;
mod run;
mod stage;

/// Even, as vivid wants it, no multiple of a page, and with rows of RG16 that lie as close as the converter takes them.
const SIZE: Size = px(248, 130);

/// How long anything waits that is to come at once, on a machine that has other things to do.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Frames before the video device attaches, and after it.
const BEFORE: u32 = 8;
const AFTER: u32 = 10;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    cases
        .add("pipe::no_frame_is_lost_when_a_stricter_device_attaches", |cx| {
            let (before, after) = (BEFORE * cx.effort()?, AFTER * cx.effort()?);
            runs(cx, &Plan { fourcc: Fourcc::XR24, late: vec![(before + 1, Late::Contiguous)], frames: before + after })
        })
        .must_fail_under("dqbuf-wrong-index")
        .must_fail_under("frame-skipped")
        .from(GpuA)
        .to(Screen)
        .needs(Need::Writeback);
    cases
        .add("pipe::no_frame_is_lost_when_a_third_device_attaches_later", |cx| {
            let late = vec![(4, Late::Converter), (9, Late::Contiguous)];
            runs(cx, &Plan { fourcc: Fourcc::RG16, late, frames: 15 })
        })
        .must_fail_under("qbuf-first-buffer")
        .must_fail_under("frame-skipped")
        .from(GpuA)
        .to(Screen)
        .needs(Need::Writeback);
    cases
        .add("pipe::a_converter_takes_scattered_memory_but_one_pitch", takes_one_pitch)
        .must_fail_under("needs-unsaid");
    let case = cases.add("pipe::leaves_nothing_behind", leaves_nothing_behind);
    case.from(GpuA).to(Screen).needs(Need::Writeback);
    for fault in ["framebuffer-kept", "gem-handle-kept", "prime-export-grows", "mapping-kept", "close-forgotten"] {
        case.must_fail_under(fault);
    }
}

/// A video device that joins the pipe while it runs.
#[derive(Clone, Copy)]
enum Late {
    /// It only takes contiguous memory, and shows what it took.
    Contiguous,
    /// It takes any memory, and makes another format of what it took.
    Converter,
}

/// How a pipe is to run.
struct Plan {
    fourcc: Fourcc,
    /// Who joins, each with the first frame that it sees.
    late: Vec<(u32, Late)>,
    frames: u32,
}

fn runs(cx: &mut Cx, plan: &Plan) -> Outcome {
    let mut ran = Parts::open(cx, plan)?.run(cx)?;
    cx.save_text("timing.svg", &plot::frame_times("frames of the pipe", &ran.times_ms, &ran.moments))?;
    cx.fact("pool", ran.report);
    cx.equals("frames that nobody saw", 0, ran.report.lost);
    cx.claim("more than one buffer is in flight", ran.report.needed >= 3, || {
        Finding::new(format!("{} buffers were in use at once, so nothing overlapped", ran.report.needed))
    });
    ran.times_ms.sort_by(f64::total_cmp);
    cx.figure("frame_ms_median", ran.times_ms.get(ran.times_ms.len() / 2).copied().unwrap_or_default());
    cx.figure("frame_ms_most", ran.times_ms.last().copied().unwrap_or_default());
    cx.figure("buffers_worst_case", ran.report.worst as f64);
    figures(cx, &ran);
    cx.agree()
}

fn figures(cx: &mut Cx, ran: &Ran) {
    cx.figure("frames", ran.times_ms.len() as f64);
    cx.figure("moves", ran.moves_ms.len() as f64);
    cx.figure("stall_ms_most", ran.moves_ms.iter().copied().fold(0.0, f64::max));
    cx.figure("drain_ms_most", ran.drain_ms);
    cx.figure("map_stall_ms_most", ran.map_ms);
    cx.figure("buffers_needed", ran.report.needed as f64);
}

/// After a long run of the pipe nothing is held that was not held after a short one, and nothing at all by a black screen.
///
/// Some things are made once and kept, so they are in what the short run leaves: open devices with what they keep, what each
/// told of its constraints, a small buffer of each heap. The short run is as short as a pipe can be that all devices join.
fn leaves_nothing_behind(cx: &mut Cx) -> Outcome {
    let (mut ledgers, mut last, mut took) = (Vec::new(), Ran::default(), 0.0);
    for effort in [0, cx.effort()?] {
        let late = vec![(3 + BEFORE * effort, Late::Contiguous), (4 + BEFORE * effort, Late::Converter)];
        let plan = Plan { fourcc: Fourcc::RG16, late, frames: 6 + (BEFORE + AFTER) * effort };
        let parts = Parts::open(cx, &plan)?;
        let began = std::time::Instant::now();
        last = parts.run(cx)?;
        took = began.elapsed().as_secs_f64();
        drop(parts);
        cx.black_screen()?;
        ledgers.push(cx.holdings()?);
    }
    for ledger in &ledgers {
        cx.screen_is_free(ledger);
    }
    cx.nothing_more("a longer run of the pipe", &ledgers[0], &ledgers[1]);
    cx.no_growth("a frame", &last.growth);
    cx.figure("frames_per_s", last.times_ms.len() as f64 / took);
    figures(cx, &last);
    cx.agree()
}

/// What is gathered of a converter is what it can do: the rows must touch, and the memory may be anything.
fn takes_one_pitch(cx: &mut Cx) -> Outcome {
    let converter = cx.converter()?;
    let video = Eye::Converter(converter.clone());
    let (guest, heaps) = (video.guest(), Heaps::new(cx.heaps(Kind::Udmabuf)?));
    let wish = Wish { fourccs: vec![Fourcc::RG16], size: SIZE };
    let buffer = Buffer::export(wish.clone(), heaps.clone());
    let party = cx.party_of(&guest, &buffer)?;
    cx.equals("whether it needs contiguous memory", false, party.constraints.memory.contiguous);
    cx.equals("the least pitch in bytes", 496, party.constraints.pitch.min);
    cx.equals("the largest pitch in bytes", 496, party.constraints.pitch.max);
    let target = Target::stamped(3, Fourcc::RG16, SIZE)?;
    let _attached = buffer.attach(party.clone())?;
    cx.cpu_writes(&buffer, &target.picture)?;
    let seen = cx.mapped(&guest, &buffer, Access::Read, |_, shared| Ok(converter.seen_of(shared)?))?;
    cx.sees("video", &video.target(target)?, &seen)?;
    // A device with a wider pitch can't have the same buffer.
    let buffer = Buffer::export(wish, heaps);
    let pitch = Bytes::aligned(512);
    let wide =
        Party { name: "wide".to_owned(), constraints: Constraints { pitch, ..Constraints::cpu(&[Fourcc::RG16]) } };
    let (_wide, attached) = (buffer.attach(wide)?, buffer.attach(party)?);
    let said = match attached.map(Access::Read) {
        Err(ShareError::Refused(refusal)) => refusal.to_string(),
        Err(other) => return Err(Finding::new(format!("it is refused for another reason: {other}")).into()),
        Ok(mapping) => {
            let finding = Finding::new("a converter got a pitch that it does not take");
            let finding =
                finding.row("frame", mapping.shared().frame.to_string()).row("takes", "a pitch of 496 B alone");
            return Err(finding.row("like", "constraints that did not reach who makes the storage").into());
        }
    };
    let named = said.contains("pitch") && said.contains("wide") && said.contains(attached.name());
    cx.claim("the refusal", named, || Finding::new("the refusal does not name who collides").row("said", said.clone()));
    cx.agree()
}
