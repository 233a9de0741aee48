//! The CPU waits for the fences in a buffer when it begins an access (`DMA_BUF_IOCTL_SYNC`), for every exporter.

use std::time::Duration;

use handover::dmabuf::SharedFrame;
use handover::fence::within;
use handover::prelude::*;

use super::{IMPLICIT_LOST, READER_AS_WRITER, expect, owners, with_frame};

/// The kernel waits without a deadline of its own.
const PATIENCE: Duration = Duration::from_secs(8);
const SYNC: &str = "DMA_BUF_IOCTL_SYNC";

pub(super) fn register(cases: &mut Cases<Cx>) {
    for from in owners() {
        let role = from.role();
        let mut add = |claim: &str, body: fn(&mut Cx, &SharedFrame) -> Result<(), Trouble>| {
            let body = move |cx: &mut Cx| with_frame(cx, from, |cx, _, shared| body(cx, shared));
            let case = cases.add(format!("fences::{claim}::{role}"), body);
            case.from(role).to(Cpu).must_fail_under(IMPLICIT_LOST);
            if claim == "the_cpu_reads_beside_a_reader" {
                case.must_fail_under(READER_AS_WRITER);
            }
        };
        add("the_cpu_reads_after_the_writer", reads);
        add("the_cpu_writes_after_the_reader", writes);
        add("the_cpu_reads_beside_a_reader", reads_beside);
        add("the_cpu_reads_after_the_last_writer", reads_after_the_last);
        add("the_cpu_writes_after_the_last_reader", writes_after_the_last);
    }
}

fn another(shared: &SharedFrame) -> Result<SharedFrame> {
    Ok(SharedFrame { dmabuf: shared.dmabuf.try_clone()?, frame: shared.frame.clone() })
}

/// The buffer, with the fences that an access may have to wait for.
fn awaited(shared: &SharedFrame) -> String {
    format!("{} in {}", shared.frame, shared.dmabuf.with_fences(Use::Write))
}

fn reads(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    cx.reads_in_order("the cpu", shared, (FenceBy::SwSync, Put::InBuffer), &mut |_, turn| {
        let mine = another(shared)?;
        let picture = within(PATIENCE, SYNC, awaited(shared), move || mine.read_back())?;
        Ok(turn.generations.seen(&picture)?)
    })
}

fn writes(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    cx.writes_in_order("the cpu", shared, (FenceBy::SwSync, Put::InBuffer), &mut |_, turn| {
        let (mine, picture) = (another(shared)?, turn.generations.new.clone());
        Ok(within(PATIENCE, SYNC, awaited(shared), move || mine.write(&picture))?)
    })
}

/// A reader does not wait for a reader; it does for a writer, or that would show nothing.
fn reads_beside(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    let look = |shared: &SharedFrame| {
        let mine = another(shared)?;
        within(PATIENCE, SYNC, awaited(shared), move || mine.read_back())
    };
    let target = Target::stamped(7, shared.frame.fourcc, shared.frame.size)?;
    shared.write(&target.picture)?;
    cx.held_back("the cpu", (FenceBy::SwSync, Some((&shared.dmabuf, Use::Write))), &mut |_, round| {
        look(shared)?;
        Ok(round.ends(true)?)
    })?;
    let reader = cx.pending_fence(FenceBy::SwSync, Some((&shared.dmabuf, Use::Read)))?;
    expect(cx, "beside a reader", &shared.dmabuf, true, false)?;
    if cx.disagrees() {
        return Ok(reader.signal()?);
    }
    let seen = look(shared)?;
    cx.sees("the cpu, beside a reader,", &target, &seen)?;
    cx.equals("the reader is still under way", false, reader.file.is_signalled()?);
    reader.signal()?;
    Ok(())
}

/// One of two writers is done, and a reader is still under way: the CPU waits for the other writer, and for no one else.
fn reads_after_the_last(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    let dmabuf = &shared.dmabuf;
    cx.held_back("the cpu", (FenceBy::SwSync, Some((dmabuf, Use::Write))), &mut |cx, round| {
        let done = cx.pending_fence(FenceBy::SwSync, Some((dmabuf, Use::Write)))?;
        let reader = cx.pending_fence(FenceBy::SwSync, Some((dmabuf, Use::Read)))?;
        done.signal()?;
        let mine = another(shared)?;
        within(PATIENCE, SYNC, awaited(shared), move || mine.read_back())?;
        round.ends(true)?;
        cx.equals("the reader is still under way", false, reader.file.is_signalled()?);
        Ok(reader.signal()?)
    })
}

/// Two of three readers are done, the last one is not: the CPU waits for that before it writes.
fn writes_after_the_last(cx: &mut Cx, shared: &SharedFrame) -> Result<(), Trouble> {
    let dmabuf = &shared.dmabuf;
    let picture = Pattern { stamp: 7 }.picture(shared.frame.fourcc, shared.frame.size)?;
    cx.held_back("the cpu", (FenceBy::SwSync, Some((dmabuf, Use::Read))), &mut |cx, round| {
        for _ in 0..2 {
            cx.pending_fence(FenceBy::SwSync, Some((dmabuf, Use::Read)))?.signal()?;
        }
        let (mine, picture) = (another(shared)?, picture.clone());
        within(PATIENCE, SYNC, awaited(shared), move || mine.write(&picture))?;
        Ok(round.ends(true)?)
    })
}
