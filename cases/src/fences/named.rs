//! A fence that does not signal: whoever is given it gives up at a deadline, and says which fence it was.
//!
//! The deadlines here are short; the texts are those with which every wait ends that is over in vain.

use std::os::fd::AsFd;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use handover::fence::within;
use handover::prelude::*;

use super::SIZE;
use super::files::{DRIVERS, nameless};

/// So long the fence is pending at least.
const PATIENCE: Duration = Duration::from_millis(60);

/// What is over in vain is over before that.
const SOON: Duration = Duration::from_secs(5);

/// What a wait for the fence says; what has to be done before and after the signal is done by whoever waits.
type Waits = fn(&mut Cx, Role, PendingFence) -> Result<Result<()>, Trouble>;

const WAITS: [(&str, Role, Waits); 8] = [
    ("by_semaphore", GpuA, semaphore),
    ("by_semaphore", GpuB, semaphore),
    ("by_fence", GpuA, fence),
    ("by_fence", GpuB, fence),
    ("by_fence", Gles, native_fence),
    ("that_is_given", Screen, given),
    ("in_the_buffer", Screen, in_buffer),
    ("in_the_buffer", Cpu, access),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for (how, role, waits) in WAITS {
        cases
            .add(format!("fences::who_waits_in_vain_names_the_fence::{role}::{how}"), move |cx| named(cx, role, waits))
            .to(role)
            // The CPU's wait is for a buffer of nobody's.
            .needs(Need::Device(if role == Cpu { Udmabuf } else { role }))
            .must_fail_under("sync-file-misnamed");
    }
}

fn named(cx: &mut Cx, role: Role, waits: Waits) -> Outcome {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    let nameless = nameless(&pending.file)?;
    let began = Instant::now();
    let answer = waits(cx, role, pending)?;
    let took = began.elapsed();
    let said = match answer.map_err(Trouble::from) {
        Err(Trouble::Fail(finding)) => finding.to_string(),
        Err(Trouble::Skip(why)) => format!("a skip: {why}"),
        Ok(()) => "nothing".to_owned(),
    };
    cx.claim("deadline", said.contains("within 60 ms") && took < SOON, || {
        Finding::new(format!("{role} did not give up after 60 ms on a fence that does not signal"))
            .row("said", said.clone())
            .row("took", format!("{:.1} ms", took.as_secs_f64() * 1e3))
    });
    if let Some(why) = nameless
        && !cx.disagrees()
    {
        return Err(why);
    }
    // By the kernel's own names for its maker, sw_sync or what stands in for it, and for the timeline.
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_named = DRIVERS.iter().any(|driver| words.contains(&format!("driver {driver}, timeline")));
    cx.claim("named", is_named, || {
        Finding::new(format!("{role} waits for a fence that does not signal, and does not say which fence that is"))
            .row("said", said.clone())
    });
    cx.agree()
}

fn semaphore(cx: &mut Cx, role: Role, pending: PendingFence) -> Result<Result<()>, Trouble> {
    let gpu = cx.gpu(role)?;
    let begin = missing_is_skip(gpu.semaphore())?;
    begin.import(Some(pending.file.try_clone()?))?;
    // A driver may wait where it submits, and then is over only when the fence is.
    let work = gpu.submit(&[&begin], &[])?;
    let waited = work.ends_before(PATIENCE);
    pending.signal()?;
    work.wait()?;
    Ok(waited)
}

fn fence(cx: &mut Cx, role: Role, pending: PendingFence) -> Result<Result<()>, Trouble> {
    let fence = missing_is_skip(cx.gpu(role)?.fence())?;
    fence.import(Some(pending.file.try_clone()?))?;
    let waited = fence.wait(PATIENCE);
    pending.signal()?;
    Ok(waited)
}

fn native_fence(cx: &mut Cx, _: Role, pending: PendingFence) -> Result<Result<()>, Trouble> {
    let fence = missing_is_skip(cx.gles()?.import_fence(pending.file.try_clone()?))?;
    let waited = fence.wait(PATIENCE);
    pending.signal()?;
    Ok(waited)
}

fn given(cx: &mut Cx, _: Role, pending: PendingFence) -> Result<Result<()>, Trouble> {
    let shared = cx.screen()?.dumb(Fourcc::XR24, SIZE)?;
    let file = pending.file.try_clone()?;
    appears(cx, Layer { fence: Some(file.as_fd()), ..Layer::whole(&shared) }, pending)
}

fn in_buffer(cx: &mut Cx, _: Role, pending: PendingFence) -> Result<Result<()>, Trouble> {
    let shared = cx.screen()?.dumb(Fourcc::XR24, SIZE)?;
    shared.dmabuf.import_sync_file(Use::Write, &pending.file)?;
    appears(cx, Layer::whole(&shared), pending)
}

fn appears(cx: &mut Cx, layer: Layer<'_>, pending: PendingFence) -> Result<Result<()>, Trouble> {
    // Another mode, if there is to be one, is not part of the wait.
    cx.black_screen()?;
    let mut sent = cx.screen()?.submit(&[layer], None)?;
    let waited = sent.appears(PATIENCE);
    pending.signal()?;
    let shown = sent.finish();
    // Only what goes through `cx.show` is taken off by itself.
    cx.black_screen()?;
    shown?;
    Ok(waited)
}

/// The kernel's wait has no deadline: it goes on by itself when we have given up.
fn access(_: &mut Cx, _: Role, pending: PendingFence) -> Result<Result<()>, Trouble> {
    let (dmabuf, _) = handover::udmabuf::create(65536)?;
    dmabuf.import_sync_file(Use::Write, &pending.file)?;
    let (running, ended) = mpsc::channel::<()>();
    let mine = dmabuf.try_clone()?;
    let look = move || {
        let seen = mine.map()?.read(0..4096).map(drop);
        drop((mine, running));
        seen
    };
    let waited = within(PATIENCE, "DMA_BUF_IOCTL_SYNC", dmabuf.with_fences(Use::Read), look);
    pending.signal()?;
    match ended.recv_timeout(SOON) {
        Err(RecvTimeoutError::Timeout) => {
            Err(Finding::new("the kernel's wait did not end when the fence had signalled").into())
        }
        _ => Ok(waited),
    }
}
