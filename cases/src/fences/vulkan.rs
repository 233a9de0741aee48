//! Semaphores and fences of Vulkan that came from elsewhere, and that go there.
//!
//! What holds of them is in the specification's "Importing Semaphore Payloads" and "Importing Fence Payloads", and in
//! the descriptions of the handle type `SYNC_FD`: it is imported for one wait, it is exported at most once for each
//! signal, its fd belongs to the driver after an import that succeeded, and -1 is a fence that has signalled.

use std::ops::Range;
use std::time::{Duration, Instant};

use handover::fence::Holder;
use handover::prelude::*;
use handover::vk::Fence;

use super::{BY, EXPORT_EARLY, IMPORT_IGNORED, exporter, is_less, must_fail_under, seen_on, with_frame};

/// Whoever is not held back is through before that.
const SOON: Duration = Duration::from_secs(5);
/// Whoever is held back is watched for so long; submissions without commands take a tenth of it.
const WATCHED: Duration = Duration::from_millis(5);

type Claim = fn(&mut Cx, &Gpu) -> Result<(), Trouble>;

/// With the faults that each catches.
type Listed = (&'static str, Claim, &'static [&'static str]);

const SEMAPHORES: [Listed; 8] = [
    ("a_submission_waits_for_every_semaphore", every_semaphore, &[IMPORT_IGNORED]),
    ("fd_minus_one_holds_back_nobody", minus_one, &[]),
    ("a_second_import_takes_the_place_of_the_first", second_import, &[IMPORT_IGNORED]),
    ("one_fence_in_two_semaphores_holds_back_both", imported_twice, &[IMPORT_IGNORED]),
    ("an_import_is_for_one_wait", restored, &[IMPORT_IGNORED]),
    ("a_signal_is_exported_once_and_comes_again", exported_again, &[]),
    ("an_export_follows_what_its_work_waits_for", follows, &[IMPORT_IGNORED, EXPORT_EARLY]),
    ("an_import_that_nobody_waits_for_is_let_go", never_waited_for, &[]),
];

const FENCES: [Listed; 5] = [
    ("an_imported_fence_signals_with_its_file", fence_follows, &[]),
    ("a_fence_of_fd_minus_one_has_signalled", fence_minus_one, &[]),
    ("a_reset_ends_the_import_of_a_fence", fence_reset, &[]),
    ("an_export_resets_its_fence", fence_export, &[]),
    ("a_second_import_of_a_fence_takes_the_place_of_the_first", fence_second_import, &[]),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for gpu in [GpuA, GpuB] {
        for by in BY {
            for (claim, reads) in
                [("a_gpu_reads_after_the_fence_it_is_given", true), ("a_gpu_draws_after_the_fence_it_is_given", false)]
            {
                let name = format!("fences::{claim}::{gpu}::{}", by.as_str());
                let case = cases.add(name, move |cx| given(cx, gpu, by, reads)).from(Udmabuf).to(gpu);
                must_fail_under(case, seen_on(gpu, &[IMPORT_IGNORED]));
            }
        }
        for (claim, body, faults) in SEMAPHORES.into_iter().chain(FENCES) {
            let body = move |cx: &mut Cx| {
                let gpu = cx.gpu(gpu)?;
                body(cx, &gpu)?;
                cx.agree()
            };
            let case = cases.add(format!("fences::{claim}::{gpu}"), body).from(gpu);
            must_fail_under(case, seen_on(gpu, faults));
        }
        let name = format!("fences::an_exported_fence_signals_when_the_drawing_is_there::{gpu}");
        let case = cases.add(name, move |cx| slow(cx, gpu)).from(gpu);
        must_fail_under(case, seen_on(gpu, &[EXPORT_EARLY]));
        for (kind, timeline) in [("binary", false), ("timeline", true)] {
            let name = format!("fences::semaphores_cross_as_opaque_fds::{gpu}::{kind}");
            cases.add(name, move |cx| opaque(cx, gpu, timeline)).from(gpu);
        }
    }
}

/// A GPU that is given a fence waits for it before it reads, or draws.
fn given(cx: &mut Cx, role: Role, by: FenceBy, reads: bool) -> Outcome {
    let gpu = cx.gpu(role)?;
    with_frame(cx, exporter(Udmabuf), |cx, buffer, shared| {
        let image = cx.import(&gpu, buffer, &ImportRequest::default())?;
        let name = role.to_string();
        // Left out, there is no semaphore at all.
        let begin = |turn: &Turn<'_>| -> Result<Vec<_>> {
            let Some(file) = turn.fence_fd()? else { return Ok(Vec::new()) };
            let begin = gpu.semaphore()?;
            begin.import(Some(file))?;
            Ok(vec![begin])
        };
        if reads {
            return cx.reads_in_order(&name, shared, (by, Put::Given), &mut |_, turn| {
                let begin = begin(turn)?;
                let wait: Vec<_> = begin.iter().collect();
                Ok(turn.generations.seen(&image.read_back_after(&wait)?)?)
            });
        }
        cx.writes_in_order(&name, shared, (by, Put::Given), &mut |_, turn| {
            let begin = begin(turn)?;
            let wait: Vec<_> = begin.iter().collect();
            Ok(image.draw_pattern_after(turn.stamp, &wait)?)
        })
    })
}

/// As many patterns drawn over each other as take this device 150 ms, or more if the machine has other things to do.
pub(super) fn slow_stamps(cx: &mut Cx, image: &mut Image) -> Result<Range<u32>, Trouble> {
    const TRIED: u32 = 8;
    const SLOW: Duration = Duration::from_millis(150);
    // The first draw compiles the shader.
    image.draw_pattern(0)?;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        image.draw_patterns_after(1..1 + TRIED, None)?.wait()?;
        fastest = fastest.min(began.elapsed());
    }
    let count = SLOW.as_nanos() * u128::from(TRIED) / fastest.as_nanos().max(1);
    let count = count.clamp(u128::from(TRIED), 20_000) as u32;
    cx.figure("patterns", count.into());
    Ok(1..1 + count)
}

/// When the exported fence says that it has signalled the contents stand: those of a drawing of 150 ms, seen through
/// the dma-buf at that moment. A look without the fence sees less.
fn slow(cx: &mut Cx, role: Role) -> Outcome {
    let gpu = cx.gpu(role)?;
    let size = px(256, 256);
    let (mut image, buffer) = cx.make(&gpu, &NewFrame::of(Fourcc::XR24, size))?;
    let stamps = slow_stamps(cx, &mut image)?;
    let target = Target::stamped(stamps.end - 1, Fourcc::XR24, size)?;
    cx.mapped(&Guest::Cpu, &buffer, Access::Read, |cx, shared| {
        for fenced in [false, true] {
            image.draw_pattern(0)?;
            let began = Instant::now();
            let drawing = image.draw_patterns_after(stamps.clone(), None)?;
            if fenced && let Some(file) = drawing.export_sync_file()? {
                file.wait(SOON)?;
            }
            let signalled = began.elapsed();
            let seen = shared.read_back()?;
            drawing.wait()?;
            let ended = began.elapsed();
            if !fenced {
                cx.figure("drawing_ms", ended.as_secs_f64() * 1e3);
                cx.claim("less without the fence", is_less(&seen, &target)?, || {
                    Finding::new("the end of a long drawing was seen without a fence: with one it would show nothing")
                });
                continue;
            }
            let early = is_less(&seen, &target)?;
            cx.sees("the cpu, when the exported fence had signalled,", &target, &seen)?;
            if early {
                let (signalled, ended) = (signalled.as_secs_f64() * 1e3, ended.as_secs_f64() * 1e3);
                let like = "the fence was signalled before the work that it stands for had ended";
                cx.fact(
                    "signalled",
                    format!("{signalled:.1} ms after the submission, which ended after {ended:.1} ms"),
                );
                cx.fact("like", like);
            }
        }
        Ok(())
    })?;
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}

/// `work` is not done while a fence is pending; says so otherwise.
fn still_waits(cx: &mut Cx, what: &str, is_done: bool) {
    cx.claim(format!("waits {what}"), !is_done, || {
        Finding::new(format!("a submission ended {what}, whose fence is pending"))
            .row("watched", format!("for {} ms", WATCHED.as_millis()))
            .row("like", "the wait was dropped")
    });
}

/// `work` is done soon; says so otherwise.
fn goes_on(cx: &mut Cx, what: &str, is_done: bool) {
    cx.claim(format!("goes on {what}"), is_done, || {
        Finding::new(format!("a submission did not end within {} s {what}", SOON.as_secs()))
            .row("like", "it waits for a fence that is not its own, or was not told of the signal")
    });
}

fn every_semaphore(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    for first in [0, 1] {
        let mut fences = vec![cx.pending_fence(FenceBy::SwSync, None)?, cx.pending_fence(FenceBy::SwSync, None)?];
        let (one, other) = (gpu.semaphore()?, gpu.semaphore()?);
        one.import(Some(fences[0].file.try_clone()?))?;
        other.import(Some(fences[1].file.try_clone()?))?;
        let work = gpu.submit(&[&one, &other], &[])?;
        still_waits(cx, "before both of its semaphores", work.ends_within(WATCHED)?);
        fences.remove(first).signal()?;
        still_waits(cx, "with one of two semaphores signalled", work.ends_within(WATCHED)?);
        fences.remove(0).signal()?;
        goes_on(cx, "with both signalled", work.ends_within(SOON)?);
    }
    Ok(())
}

fn minus_one(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let semaphore = gpu.semaphore()?;
    semaphore.import(None)?;
    let work = gpu.submit(&[&semaphore], &[])?;
    goes_on(cx, "after a wait for fd -1", work.ends_within(SOON)?);
    Ok(())
}

/// The last import counts, whether it is the pending one or the one that has signalled.
fn second_import(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    let semaphore = gpu.semaphore()?;
    semaphore.import(Some(pending.file.try_clone()?))?;
    semaphore.import(None)?;
    let work = gpu.submit(&[&semaphore], &[])?;
    goes_on(cx, "after fd -1 was imported over a pending fence", work.ends_within(SOON)?);
    cx.equals("the replaced fence has signalled", false, pending.file.is_signalled()?);
    drop(work);
    let again = gpu.semaphore()?;
    again.import(None)?;
    again.import(Some(pending.file.try_clone()?))?;
    let work = gpu.submit(&[&again], &[])?;
    still_waits(cx, "after a pending fence was imported over fd -1", work.ends_within(WATCHED)?);
    pending.signal()?;
    goes_on(cx, "after its signal", work.ends_within(SOON)?);
    Ok(())
}

/// Each semaphore has the fence for itself: a wait for the one uses up nothing of the other.
fn imported_twice(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    let (one, other) = (gpu.semaphore()?, gpu.semaphore()?);
    one.import(Some(pending.file.try_clone()?))?;
    other.import(Some(pending.file.try_clone()?))?;
    let (first, second) = (gpu.submit(&[&one], &[])?, gpu.submit(&[&other], &[])?);
    still_waits(cx, "before its semaphore", first.ends_within(WATCHED)?);
    still_waits(cx, "before the other semaphore", second.is_done()?);
    pending.signal()?;
    goes_on(cx, "after the signal", first.ends_within(SOON)?);
    goes_on(cx, "after the signal, as the second", second.ends_within(SOON)?);
    Ok(())
}

/// After the wait the semaphore is what it was before: signalled by submissions, and imported into again.
fn restored(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let semaphore = gpu.exportable_semaphore()?;
    for round in 1..=2 {
        let pending = cx.pending_fence(FenceBy::SwSync, None)?;
        semaphore.import(Some(pending.file.try_clone()?))?;
        let work = gpu.submit(&[&semaphore], &[])?;
        still_waits(cx, &format!("before import {round}"), work.ends_within(WATCHED)?);
        pending.signal()?;
        goes_on(cx, &format!("after import {round}"), work.ends_within(SOON)?);
        drop(work);
        let signal = gpu.submit(&[], &[&semaphore])?;
        let wait = gpu.submit(&[&semaphore], &[])?;
        goes_on(cx, &format!("after a signal of its own, round {round}"), wait.ends_within(SOON)?);
        drop((signal, wait));
    }
    Ok(())
}

/// Each export takes one signal; the next signal can be exported, or waited for.
fn exported_again(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let semaphore = gpu.exportable_semaphore()?;
    for round in 1..=3 {
        // While it is under way: the validation layer does not count an export of what has ended as the wait that it
        // is.
        let work = gpu.submit(&[], &[&semaphore])?;
        let file = semaphore.export()?;
        let signalled = match &file {
            // The driver says that the signal has come.
            None => true,
            Some(file) => file.signals_within(SOON)?,
        };
        work.wait()?;
        cx.claim(format!("export {round}"), signalled, || {
            Finding::new(format!("export {round} of a signal that has come did not signal within {} s", SOON.as_secs()))
        });
    }
    let signal = gpu.submit(&[], &[&semaphore])?;
    let wait = gpu.submit(&[&semaphore], &[])?;
    goes_on(cx, "after a signal that follows exports", wait.ends_within(SOON)?);
    drop((signal, wait));
    Ok(())
}

/// A fence that comes in holds back the one that goes out, also if the driver waits while it exports.
fn follows(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    for fenced in [false, true] {
        let (begin, end) = (gpu.semaphore()?, gpu.exportable_semaphore()?);
        let pending = cx.pending_fence(FenceBy::SwSync, None)?;
        // Left out on purpose, the fence holds back nobody.
        begin.import(fenced.then(|| pending.file.try_clone()).transpose()?)?;
        let holder = Holder::start(if fenced { WATCHED } else { SOON }, || Ok(()), pending.into_signal())?;
        let work = gpu.submit(&[&begin], &[&end])?;
        let file = end.export()?;
        let signalled = file.as_ref().map_or(Ok(true), |file| file.signals_within(SOON))?;
        let released = holder.other_is_through()?;
        work.wait()?;
        let file = file.as_ref().map_or("fd -1".to_owned(), SyncFile::to_string);
        cx.claim(if fenced { "follows" } else { "goes on without" }, released.overtaken != fenced, || {
            let what = if fenced { "had signalled while" } else { "did not signal until" };
            Finding::new(format!("the exported fence {what} what its submission waits for was pending"))
                .row("exported", file.clone())
                .row("like", "the export does not stand for the submission that signals the semaphore")
        });
        cx.claim("signals", signalled, || {
            Finding::new(format!("the exported fence did not signal within {} s", SOON.as_secs())).row("exported", file)
        });
    }
    Ok(())
}

/// A semaphore is destroyed with a pending fence in it: nothing stays open, and the fence is what it was.
fn never_waited_for(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    // What the driver makes at its first import and keeps.
    let warm = gpu.semaphore()?;
    warm.import(Some(pending.file.try_clone()?))?;
    drop(warm);
    let before = cx.open_files()?;
    for _ in 0..20 {
        let semaphore = gpu.semaphore()?;
        semaphore.import(Some(pending.file.try_clone()?))?;
        // One that is replaced is let go, too.
        semaphore.import(Some(pending.file.try_clone()?))?;
    }
    cx.equals("files that 40 imports left open", before, cx.open_files()?);
    cx.equals("the fence has signalled", false, pending.file.is_signalled()?);
    pending.signal()?;
    Ok(())
}

/// The device's fence, as one that can be imported and exported.
fn fence(gpu: &Gpu) -> Result<Fence, Trouble> {
    gpu.fence().map_err(|error| match error.cause {
        handover::error::Cause::Missing(_) => Trouble::Skip(error.to_string()),
        _ => error.into(),
    })
}

fn fence_follows(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let (fence, pending) = (fence(gpu)?, cx.pending_fence(FenceBy::SwSync, None)?);
    fence.import(Some(pending.file.try_clone()?))?;
    cx.equals("the fence is signalled while its file is pending", false, fence.is_signalled()?);
    cx.equals("a wait for it ends meanwhile", false, fence.signals_within(WATCHED)?);
    pending.signal()?;
    cx.equals("a wait for it ends after the signal", true, fence.signals_within(SOON)?);
    cx.equals("the fence is signalled", true, fence.is_signalled()?);
    Ok(())
}

fn fence_minus_one(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let fence = fence(gpu)?;
    cx.equals("a new fence is signalled", false, fence.is_signalled()?);
    fence.import(None)?;
    cx.equals("the fence of fd -1 is signalled", true, fence.signals_within(SOON)?);
    Ok(())
}

/// What is imported is there until a reset, after which the fence is its own again.
fn fence_reset(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let (fence, pending) = (fence(gpu)?, cx.pending_fence(FenceBy::SwSync, None)?);
    fence.import(None)?;
    fence.reset()?;
    cx.equals("a reset fence is signalled", false, fence.is_signalled()?);
    fence.import(Some(pending.file.try_clone()?))?;
    fence.reset()?;
    fence.submit()?;
    cx.equals("after a reset a submission signals it, whatever was imported before", true, fence.signals_within(SOON)?);
    cx.equals("that file has signalled", false, pending.file.is_signalled()?);
    Ok(())
}

fn fence_export(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let fence = fence(gpu)?;
    for _ in 0..2 {
        fence.submit()?;
        let file = fence.export()?;
        let signalled = file.as_ref().map_or(Ok(true), |file| file.signals_within(SOON))?;
        cx.equals("the exported fence signals", true, signalled);
        cx.equals("the fence is signalled after its export", false, fence.is_signalled()?);
    }
    Ok(())
}

fn fence_second_import(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let (fence, pending) = (fence(gpu)?, cx.pending_fence(FenceBy::SwSync, None)?);
    fence.import(None)?;
    fence.import(Some(pending.file.try_clone()?))?;
    cx.equals("the second import, which is pending, is signalled", false, fence.signals_within(WATCHED)?);
    fence.import(None)?;
    cx.equals("the third import, of fd -1, is signalled", true, fence.signals_within(SOON)?);
    Ok(())
}

/// Where the driver hands semaphores on to itself.
fn opaque(cx: &mut Cx, role: Role, timeline: bool) -> Outcome {
    let gpu = cx.gpu(role)?;
    if let Err(why) = gpu.check_opaque_semaphores(timeline) {
        return Err(Trouble::Skip(why.to_string()));
    }
    let second = cx.second_instance(role)?;
    let here = gpu.opaque_semaphore(timeline)?;
    let there = second.import_opaque_semaphore(here.export_opaque()?, timeline)?;
    if timeline {
        for value in [1, 3] {
            cx.equals(
                format!("{value} is reached before it is signalled"),
                false,
                there.reaches_within(value, WATCHED)?,
            );
            here.advance_to(value)?;
            cx.equals(format!("{value} is reached"), true, there.reaches_within(value, SOON)?);
        }
        return cx.agree();
    }
    for _ in 0..2 {
        // Held back by a fence of ours, the signal on the one side holds back the other.
        let (begin, pending) = (gpu.semaphore()?, cx.pending_fence(FenceBy::SwSync, None)?);
        begin.import(Some(pending.file.try_clone()?))?;
        let signal = gpu.submit(&[&begin], &[&here])?;
        let wait = second.submit(&[&there], &[])?;
        still_waits(cx, "before the semaphore of another instance", wait.ends_within(WATCHED)?);
        pending.signal()?;
        goes_on(cx, "after the signal of another instance", wait.ends_within(SOON)?);
        signal.wait()?;
    }
    cx.agree()
}
