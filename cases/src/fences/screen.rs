//! What the screen waits for before it shows a frame, and what signals when it has.
//!
//! Sources: `IN_FENCE_FD`, `OUT_FENCE_PTR` and `WRITEBACK_OUT_FENCE_PTR` under "Explicit Fencing Properties" in the
//! kernel's KMS documentation, and `drm_gem_plane_helper_prepare_fb` for the fences in a buffer.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use handover::compose::compose;
use handover::ends::Exporter;
use handover::fence::Holder;
use handover::prelude::*;

use super::{
    BY, IMPLICIT_LOST, IMPORT_IGNORED, READER_AS_WRITER, SIZE, expect, exporter, must_fail_under, owners, seen_on,
    with_frame,
};

const SOON: Duration = Duration::from_secs(5);

/// How long a fence is pending that nobody need wait for: less than a screen is waited for, so that one that waits shows.
const UNHEEDED: Duration = Duration::from_secs(3);

/// A screen flips at a time of its own: two frames of 60 Hz, and something.
const FRAMES: Duration = Duration::from_millis(40);

/// The fault of a plane that does not wait for the fence that it is given.
const PLANE_FENCE_DROPPED: &str = "plane-fence-dropped";
/// The fault of a commit whose fence comes too soon.
const OUT_FENCE_EARLY: &str = "out-fence-early";

/// The same of its writeback.
const WRITEBACK_FENCE_EARLY: &str = "writeback-fence-early";

/// Where the upper frame goes.
const AT: (i32, i32) = (16, 8);

pub(super) fn register(cases: &mut Cases<Cx>) {
    for by in BY {
        for plane in [Screen, Overlay] {
            let name = format!("fences::the_screen_shows_after_the_fence_it_is_given::{plane}::{}", by.as_str());
            let body = move |cx: &mut Cx| {
                with_frame(cx, exporter(Udmabuf), |cx, buffer, shared| {
                    ordered(cx, buffer, shared, plane, (by, Put::Given))
                })
            };
            let case = cases.add(name, body).from(Udmabuf).to(plane).needs(Need::Writeback);
            case.must_fail_under(PLANE_FENCE_DROPPED);
        }
    }
    // OpenGL ES hands out nothing without alpha, which would be blended.
    for from in owners().filter(|from| from.role() != Gles) {
        let body = move |cx: &mut Cx| shows_after_the_writer(cx, from);
        cases
            .add(format!("fences::the_screen_shows_after_the_writer::{}", from.role()), body)
            .from(from.role())
            .to(Screen)
            .needs(Need::Writeback)
            .must_fail_under(IMPLICIT_LOST);
    }
    type Claim = fn(&mut Cx, &Buffer, &SharedFrame) -> Result<(), Trouble>;
    let claims: [(&str, Claim, &[&str]); 5] = [
        ("the_screen_shows_beside_a_reader", beside_a_reader, &[IMPLICIT_LOST, READER_AS_WRITER]),
        (
            "a_fence_that_the_screen_is_given_overrules_those_in_the_buffer",
            overruled,
            &[IMPLICIT_LOST, PLANE_FENCE_DROPPED],
        ),
        ("a_fence_that_fails_does_not_hold_back_the_screen", failed, &[PLANE_FENCE_DROPPED, "failed-fence-refused"]),
        (
            "the_out_fence_signals_with_the_flip",
            out_fence,
            &[PLANE_FENCE_DROPPED, OUT_FENCE_EARLY, WRITEBACK_FENCE_EARLY],
        ),
        ("the_out_fence_follows_the_fence_in_the_buffer", out_fence_of_the_buffer, &[IMPLICIT_LOST, OUT_FENCE_EARLY]),
    ];
    for (claim, body, faults) in claims {
        for from in [Udmabuf, Screen] {
            let body = move |cx: &mut Cx| with_frame(cx, exporter(from), body);
            let case = cases.add(format!("fences::{claim}::{from}"), body).from(from).to(Screen).needs(Need::Writeback);
            // It takes a while to see that somebody is held back who should not be.
            let takes_long = |fault: &str| {
                fault == READER_AS_WRITER
                    || (fault, claim)
                        == (PLANE_FENCE_DROPPED, "a_fence_that_the_screen_is_given_overrules_those_in_the_buffer")
            };
            let faults: Vec<_> = faults.iter().copied().filter(|fault| from == Udmabuf || !takes_long(fault)).collect();
            must_fail_under(case, &faults);
        }
    }
    for gpu in [GpuA, GpuB] {
        let name = format!("fences::a_gpu_waits_for_the_screen::{gpu}");
        let case = cases.add(name, move |cx| a_gpu_waits(cx, gpu)).from(Screen).to(gpu);
        must_fail_under(case, seen_on(gpu, &[IMPORT_IGNORED])).must_fail_under(OUT_FENCE_EARLY);
    }
}

fn shows_after_the_writer(cx: &mut Cx, from: &'static dyn Exporter) -> Outcome {
    with_frame(cx, from, |cx, buffer, shared| ordered(cx, buffer, shared, Screen, (FenceBy::SwSync, Put::InBuffer)))
}

/// The plane that plays `plane` shows `buffer` when its writer is done, over a frame at rest if it is not the lowest
/// one.
fn ordered(
    cx: &mut Cx,
    buffer: &Buffer,
    shared: &SharedFrame,
    plane: Role,
    fence: (FenceBy, Put),
) -> Result<(), Trouble> {
    let below = cx.screen()?.dumb(Fourcc::XR24, px(96, 80))?;
    let below = cx.publish(Guest::Screen, below)?;
    let ground = Pattern { stamp: 9 }.picture(Fourcc::XR24, px(96, 80))?;
    cx.cpu_writes(&below, &ground)?;
    // What there is to be made for a first frame is not part of how long the next ones take.
    cx.show(&[Layer::whole(&below)])?;
    cx.reads_in_order(plane.as_str(), shared, fence, &mut |cx, turn| {
        let fence = turn.fence.map(AsFd::as_fd);
        let upper = Layer { fence, ..Layer::whole(buffer) };
        let layers = match plane {
            Overlay => vec![Layer::whole(&below), Layer { at: AT, plane: Some(PlaneKind::Overlay), ..upper }],
            _ => vec![upper],
        };
        let below: &[&Picture] = if plane == Overlay { &[&ground] } else { &[] };
        screen_sees(cx, &layers, below, turn.generations)
    })
}

/// What the screen shows of the last of `layers`, over those that show `below`.
pub(crate) fn screen_sees(
    cx: &mut Cx,
    layers: &[Layer<'_, Buffer>],
    below: &[&Picture],
    generations: &Generations,
) -> Result<Seen, Trouble> {
    let shown = cx.show(layers)?;
    let actual = shown.writeback.map_err(|why| Trouble::Skip(why.to_string()))?;
    let size = cx.screen()?.size();
    let through = |picture: &Picture| {
        let pictures = below.iter().copied().chain([picture]);
        let layers: Vec<_> = layers.iter().zip(pictures).map(|(layer, picture)| layer.of(picture)).collect();
        compose(size, &layers)?.to(actual.fourcc)
    };
    let Generations { old, new } = generations;
    Ok(Generations { old: through(old)?, new: through(new)? }.seen(&actual)?)
}

/// The screen waits for a fence that it is given, or for a writer's in the buffer: what a claim about one for which it
/// does not wait stands on.
fn waits(cx: &mut Cx, buffer: &Buffer, shared: &SharedFrame, put: Put) -> Result<(), Trouble> {
    // What there is to be made for a first frame is not part of how long the next ones take.
    cx.show(&[Layer::whole(buffer)])?;
    let in_buffer = (put == Put::InBuffer).then_some((&shared.dmabuf, Use::Write));
    cx.held_back_for("the screen", (FenceBy::SwSync, in_buffer), FRAMES, &mut |cx, round| {
        let given = round.fence_fd()?.filter(|_| put == Put::Given);
        cx.show(&[Layer { fence: given.as_ref().map(AsFd::as_fd), ..Layer::whole(buffer) }])?;
        Ok(round.ends(true)?)
    })
}

/// What the screen shows of `buffer`, which has a fence that it need not wait for.
fn is_shown_meanwhile(
    cx: &mut Cx,
    layer: Layer<'_, Buffer>,
    shared: &SharedFrame,
    (why, like): (&str, &str),
    pending: PendingFence,
) -> Result<(), Trouble> {
    let target = Target::stamped(7, shared.frame.fourcc, SIZE)?;
    let fence = pending.file.to_string();
    let holder = Holder::start(UNHEEDED, || Ok(()), pending.into_signal())?;
    let shown = cx.screen_shows(&[(layer, &target)]);
    let released = holder.other_is_through()?;
    shown?;
    cx.claim("does not wait", released.overtaken, || {
        Finding::new(format!("the screen waited for a fence, though {why}"))
            .row("fence", fence)
            .row("waited", format!("{} s, until that fence signalled", UNHEEDED.as_secs()))
            .row("like", like)
    });
    Ok(())
}

fn beside_a_reader(cx: &mut Cx, buffer: &Buffer, shared: &SharedFrame) -> Result<(), Trouble> {
    waits(cx, buffer, shared, Put::InBuffer)?;
    shared.write(&Pattern { stamp: 7 }.picture(shared.frame.fourcc, SIZE)?)?;
    let reader = cx.pending_fence(FenceBy::SwSync, Some((&shared.dmabuf, Use::Read)))?;
    expect(cx, "beside a reader", &shared.dmabuf, true, false)?;
    let why = ("it is a reader's, as the screen is", "a reader's fence that was taken for a writer's");
    is_shown_meanwhile(cx, Layer::whole(buffer), shared, why, reader)
}

/// A program that brings its own fence is asked for no other: one buffer can be on two screens of different speed.
fn overruled(cx: &mut Cx, buffer: &Buffer, shared: &SharedFrame) -> Result<(), Trouble> {
    waits(cx, buffer, shared, Put::InBuffer)?;
    shared.write(&Pattern { stamp: 7 }.picture(shared.frame.fourcc, SIZE)?)?;
    let timeline = cx.timeline()?;
    let own = timeline.fence(1)?;
    timeline.advance(1)?;
    let writer = cx.pending_fence(FenceBy::SwSync, Some((&shared.dmabuf, Use::Write)))?;
    expect(cx, "with a writer under way", &shared.dmabuf, false, false)?;
    let layer = Layer { fence: Some(own.as_fd()), ..Layer::whole(buffer) };
    let why = "it was given one of its own, which overrules that in the buffer";
    is_shown_meanwhile(cx, layer, shared, (why, "IN_FENCE_FD that did not get to the plane"), writer)
}

/// The maker of a fence goes away before its signal: whoever waits goes on.
fn failed(cx: &mut Cx, buffer: &Buffer, shared: &SharedFrame) -> Result<(), Trouble> {
    waits(cx, buffer, shared, Put::Given)?;
    shared.write(&Pattern { stamp: 7 }.picture(shared.frame.fourcc, SIZE)?)?;
    // One of vgem would not fail.
    let timeline = cx.timeline()?;
    let file = timeline.fence(1)?;
    drop(timeline);
    let state = file.info()?.state;
    cx.claim("the fence has failed", matches!(state, handover::fence::State::Failed(_)), || {
        Finding::new(format!("a fence whose maker is gone is {state}, and should have failed"))
    });
    let target = Target::stamped(7, shared.frame.fourcc, SIZE)?;
    let shown = cx.screen_shows(&[(Layer { fence: Some(file.as_fd()), ..Layer::whole(buffer) }, &target)]);
    let Err(Trouble::Fail(finding)) = shown else { return shown };
    let summary = format!("the screen does not show a frame whose fence has failed: {}", finding.summary);
    Err(Finding { summary, ..finding }.row("like", "the error of who draws became one of who shows").into())
}

fn out_fence(cx: &mut Cx, _: &Buffer, shared: &SharedFrame) -> Result<(), Trouble> {
    follows_the_flip(cx, shared, Put::Given)
}

fn out_fence_of_the_buffer(cx: &mut Cx, _: &Buffer, shared: &SharedFrame) -> Result<(), Trouble> {
    follows_the_flip(cx, shared, Put::InBuffer)
}

/// Neither the flip nor its fences come before what the screen waits for; then the out-fence has signalled when the
/// event is there, and the writeback's fence comes after the flip.
fn follows_the_flip(cx: &mut Cx, shared: &SharedFrame, put: Put) -> Result<(), Trouble> {
    // What there is to be made for a first frame is not part of how long the next ones take.
    cx.screen()?.submit_fenced(&[Layer::whole(shared)])?.finish()?;
    cx.black_screen()?;
    let buffer = (put == Put::InBuffer).then_some((&shared.dmabuf, Use::Write));
    cx.held_back_for("the screen", (FenceBy::SwSync, buffer), FRAMES, &mut |cx, round| {
        let given = round.fence_fd()?.filter(|_| put == Put::Given);
        let screen = cx.screen()?;
        let layer = Layer { fence: given.as_ref().map(AsFd::as_fd), ..Layer::whole(shared) };
        let mut sent = screen.submit_fenced(&[layer])?;
        let (out, written) = (sent.out_fence()?, sent.writeback_fence()?);
        let mut early = BTreeSet::new();
        let began = Instant::now();
        let flipped = loop {
            let mut before = Vec::new();
            for (name, file) in [("out-fence", &out), ("writeback's fence", &written)] {
                // The fence first: what is pending afterwards was pending then.
                if let Some(file) = file
                    && file.is_signalled()?
                    && round.is_pending()?
                {
                    before.push(name);
                }
            }
            let flipped = sent.flipped(Duration::from_millis(2))?;
            // With a flip that has come meanwhile it is the screen that was early, and they with it.
            early.extend(before.into_iter().filter(|_| !flipped));
            if flipped || began.elapsed() > SOON {
                break flipped;
            }
        };
        round.ends(flipped)?;
        let with_the_flip = out.as_ref().map(SyncFile::is_signalled).transpose()?;
        let shown = sent.finish();
        let written = written.as_ref().map(SyncFile::is_signalled).transpose()?;
        // Only what goes through `cx.show` is taken off by itself.
        cx.black_screen()?;
        cx.claim("no fence before the flip", early.is_empty(), || {
            let early: Vec<_> = early.into_iter().collect();
            Finding::new(format!("the {} signalled before the frame was on the screen", early.join(" and the ")))
                .row("like", "a fence that signals with the commit, or stands for the frame before")
        });
        let Some(with_the_flip) = with_the_flip else {
            return Err(Finding::new("the commit gave no out-fence").into());
        };
        cx.claim("out-fence at the flip", with_the_flip, || {
            Finding::new("the flip event has come and the out-fence has not signalled").row(
                "like",
                "the two stand for different moments, or the fence is signalled by whoever cleans up later",
            )
        });
        shown?;
        if let Some(written) = written {
            cx.equals("the writeback's fence has signalled when the picture is there", true, written);
        }
        Ok(())
    })
}

/// The screen's own fence, held back by one that we signal, holds back a GPU.
fn a_gpu_waits(cx: &mut Cx, role: Role) -> Outcome {
    let gpu = cx.gpu(role)?;
    with_frame(cx, exporter(Screen), |cx, _, shared| {
        cx.held_back_for(role.as_str(), (FenceBy::SwSync, None), FRAMES, &mut |cx, round| {
            let given = round.fence_fd()?;
            let semaphore = missing_is_skip(gpu.semaphore())?;
            let screen = cx.screen()?;
            let layer = Layer { fence: given.as_ref().map(AsFd::as_fd), ..Layer::whole(shared) };
            let sent = screen.submit_fenced(&[layer])?;
            let Some(out) = sent.out_fence()? else {
                return Err(Finding::new("the commit gave no out-fence").into());
            };
            // The fence first: what is pending afterwards was pending then.
            let is_early = out.is_signalled()? && round.is_pending()?;
            semaphore.import(Some(out))?;
            let work = gpu.submit(&[&semaphore], &[])?;
            round.ends(work.ends_within(SOON)?)?;
            let shown = sent.finish();
            cx.black_screen()?;
            shown?;
            if is_early {
                cx.claim("no fence before the flip", false, || {
                    Finding::new("the out-fence signalled before the frame was on the screen")
                        .row("like", "a fence that stands for another commit, or for none")
                });
            }
            Ok(())
        })
    })
}
