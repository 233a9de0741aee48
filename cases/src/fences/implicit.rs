//! The fences that a dma-buf has of its own, for every exporter: who has to wait, and for whom.

use std::time::Duration;

use handover::prelude::*;

use super::{IMPLICIT_LOST, expect, owners, with_frame};

const SOON: Duration = Duration::from_secs(5);

/// A claim about the fences in a buffer.
type Claim = fn(&mut Cx, &SharedFrame) -> Result<(), Trouble>;

const CLAIMS: [(&str, Claim); 8] = [
    ("everybody_waits_for_a_writer", for_a_writer),
    ("only_writers_wait_for_a_reader", for_a_reader),
    ("everybody_waits_for_who_does_both", for_both),
    ("a_writer_waits_for_the_last_reader", for_the_last_reader),
    ("a_reader_waits_for_every_writer", for_every_writer),
    ("an_exported_fence_is_what_there_was", snapshot),
    ("a_merged_fence_holds_for_all_its_parts", merged),
    ("poll_wakes_at_the_signal", poll_wakes),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for from in owners() {
        for (claim, body) in CLAIMS {
            let name = format!("fences::{claim}::{}", from.role());
            let body = move |cx: &mut Cx| with_frame(cx, from, |cx, _, shared| body(cx, shared));
            let case = cases.add(name, body).from(from.role()).must_fail_under(IMPLICIT_LOST);
            if claim == "everybody_waits_for_a_writer" {
                case.must_fail_under("implicit-fence-signalled");
            } else if claim == "poll_wakes_at_the_signal" {
                case.must_fail_under("poll-never-waits");
            }
        }
        // Attached by a driver and not by the ioctl, so that the ioctl's part is seen by itself.
        let name = format!("fences::everybody_waits_for_a_driver_that_writes::{}", from.role());
        let body = move |cx: &mut Cx| with_frame(cx, from, |cx, _, shared| for_a_driver(cx, shared));
        let case = cases.add(name, body).from(from.role()).needs(Need::Device(Vgem));
        case.must_fail_under("implicit-fence-signalled");
    }
}

/// Who is under way holds back those who must wait, and nobody once he is done.
fn held_by(cx: &mut Cx, shared: &SharedFrame, by: FenceBy, what: Use, readers_wait: bool) -> Result<(), Trouble> {
    let dmabuf = &shared.dmabuf;
    expect(cx, "before anybody is under way", dmabuf, true, true)?;
    let fence = cx.pending_fence(by, Some((dmabuf, what)))?;
    cx.fact("fence", &fence.file);
    expect(cx, &format!("while somebody is under way to {what}"), dmabuf, !readers_wait, false)?;
    fence.signal()?;
    expect(cx, "when the fence has signalled", dmabuf, true, true)
}

fn for_a_writer(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    held_by(cx, shared, FenceBy::SwSync, Use::Write, true)
}

fn for_a_reader(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    held_by(cx, shared, FenceBy::SwSync, Use::Read, false)
}

fn for_both(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    held_by(cx, shared, FenceBy::SwSync, Use::Both, true)
}

fn for_a_driver(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    held_by(cx, shared, FenceBy::Vgem, Use::Write, true)?;
    held_by(cx, shared, FenceBy::Vgem, Use::Read, false)
}

/// Readers do not wait for each other, and a writer waits for all of them, in whatever order they end.
fn for_the_last_reader(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    let dmabuf = &shared.dmabuf;
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(cx.pending_fence(FenceBy::SwSync, Some((dmabuf, Use::Read)))?);
    }
    // The middle one, the last, the first.
    for ended in [1, 1, 0] {
        expect(cx, &format!("with {} readers under way", readers.len()), dmabuf, true, false)?;
        readers.remove(ended).signal()?;
    }
    expect(cx, "when the last reader is done", dmabuf, true, true)
}

/// Writers on timelines of their own add up, and a later point of one timeline stands for the points before; whoever
/// ends first.
fn for_every_writer(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    let dmabuf = &shared.dmabuf;
    for first in [0, 1] {
        let mut writers = Vec::new();
        for _ in 0..2 {
            writers.push(cx.pending_fence(FenceBy::SwSync, Some((dmabuf, Use::Write)))?);
        }
        let reader = cx.pending_fence(FenceBy::SwSync, Some((dmabuf, Use::Read)))?;
        writers.remove(first).signal()?;
        expect(cx, "with one of two writers done", dmabuf, false, false)?;
        writers.remove(0).signal()?;
        expect(cx, "with both writers done, and a reader under way", dmabuf, true, false)?;
        reader.signal()?;
        expect(cx, "with all of them done", dmabuf, true, true)?;
    }
    let timeline = cx.timeline()?;
    for point in [1, 2] {
        dmabuf.import_sync_file(Use::Write, &timeline.fence(point)?)?;
    }
    timeline.advance(1)?;
    expect(cx, "at the first of two points of a timeline", dmabuf, false, false)?;
    timeline.advance(1)?;
    expect(cx, "at the last point", dmabuf, true, true)
}

/// Who comes later does not hold back who has asked before.
fn snapshot(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    let dmabuf = &shared.dmabuf;
    let at_rest = dmabuf.export_sync_file(Use::Write)?;
    let first = cx.pending_fence(FenceBy::SwSync, Some((dmabuf, Use::Write)))?;
    let with_first = dmabuf.export_sync_file(Use::Write)?;
    let second = cx.pending_fence(FenceBy::SwSync, Some((dmabuf, Use::Write)))?;
    cx.equals("the fence exported at rest has signalled", true, at_rest.is_signalled()?);
    cx.equals("the fence exported with one writer has signalled", false, with_first.is_signalled()?);
    first.signal()?;
    cx.equals("it has when that writer is done", true, with_first.is_signalled()?);
    expect(cx, "with the second writer under way", dmabuf, false, false)?;
    second.signal()?;
    expect(cx, "with both done", dmabuf, true, true)
}

/// A file of two fences, put into the buffer, holds until both have signalled, in whatever order it was merged and they
/// signal.
fn merged(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    let dmabuf = &shared.dmabuf;
    for (swapped, first) in [(false, 0), (true, 0), (false, 1), (true, 1)] {
        let mut parts = vec![cx.pending_fence(FenceBy::SwSync, None)?, cx.pending_fence(FenceBy::SwSync, None)?];
        let [one, other] = if swapped { [1, 0] } else { [0, 1] };
        let both = parts[one].file.merged_with(&parts[other].file, "both")?;
        dmabuf.import_sync_file(Use::Write, &both)?;
        expect(cx, "with neither part signalled", dmabuf, false, false)?;
        parts.remove(first).signal()?;
        expect(cx, "with one part signalled", dmabuf, false, false)?;
        parts.remove(0).signal()?;
        expect(cx, "with both parts signalled", dmabuf, true, true)?;
        cx.equals("the merged file has signalled", true, both.is_signalled()?);
    }
    Ok(())
}

/// Whoever sleeps in `poll` is woken by the signal, and not before.
fn poll_wakes(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    for what in [Use::Read, Use::Write] {
        // A reader holds back nobody but writers.
        let under_way = if what == Use::Read { Use::Write } else { Use::Read };
        let fence = (FenceBy::SwSync, Some((&shared.dmabuf, under_way)));
        cx.held_back(&format!("poll of who is about to {what}"), fence, &mut |_, round| {
            Ok(round.ends(shared.dmabuf.is_ready_within(what, SOON)?)?)
        })?;
    }
    Ok(())
}
