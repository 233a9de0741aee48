//! Semaphores and fences that a Vulkan driver hands on to itself, as opaque fds.

use std::time::{Duration, Instant};

use handover::prelude::*;
use handover::vk::Permanence;

/// Whoever is not held back is through before that.
const SOON: Duration = Duration::from_secs(5);
/// A wait that is to last is watched for so long at least.
const PAUSE: Duration = Duration::from_millis(3);

pub(super) fn register(cases: &mut Cases<Cx>) {
    for gpu in [GpuA, GpuB] {
        for (kind, timeline) in [("binary", false), ("timeline", true)] {
            let name = format!("fences::semaphores_cross_as_opaque_fds::{gpu}::{kind}");
            cases.add(name, move |cx| opaque(cx, gpu, timeline)).from(gpu).must_fail_under("opaque-semaphore-copied");
        }
        for (kind, permanence) in [("permanent", Permanence::Permanent), ("temporary", Permanence::Temporary)] {
            let name = format!("fences::fences_cross_as_opaque_fds::{gpu}::{kind}");
            let fault = match permanence {
                Permanence::Permanent => "opaque-fence-until-reset",
                Permanence::Temporary => "opaque-fence-for-good",
            };
            cases.add(name, move |cx| opaque_fence(cx, gpu, permanence)).from(gpu).must_fail_under(fault);
        }
    }
}

/// Where the driver hands semaphores on to itself.
fn opaque(cx: &mut Cx, role: Role, timeline: bool) -> Outcome {
    let gpu = cx.gpu(role)?;
    missing_is_skip(gpu.check_opaque_semaphores(timeline))?;
    let second = cx.second_instance(role)?;
    let here = gpu.opaque_semaphore(timeline)?;
    let there = second.import_opaque_semaphore(here.export_opaque()?, timeline)?;
    if timeline {
        for value in [1, 3] {
            // How long a wait takes that nothing holds back.
            let began = Instant::now();
            cx.equals("a value below is reached", true, there.reaches_within(value - 1, Duration::ZERO)?);
            let watched = PAUSE.max(began.elapsed() * 3);
            let early = there.reaches_within(value, watched)?;
            cx.equals(format!("{value} is reached before it is signalled"), false, early);
            here.advance_to(value)?;
            let reached = there.reaches_within(value, SOON)?;
            cx.claim("the counter follows that of another instance", reached, || {
                let seconds = SOON.as_secs();
                Finding::new(format!("the counter of another instance did not come to {value}, which {role} signalled"))
                    .row("waited", format!("{seconds} s, by vkWaitSemaphores; {role}'s own came to it at once"))
                    .row(
                        "like",
                        "vkImportSemaphoreFdKHR copied what the opaque fd stands for, in place of referring to it",
                    )
            });
            if !reached {
                break;
            }
            // The next one is the one after that.
            here.advance_to(value + 1)?;
        }
        return cx.agree();
    }
    for _ in 0..2 {
        // Held back by a fence of ours, the signal on the one side holds back the other.
        cx.held_back(
            "a submission of another instance, by a semaphore that came as opaque fd,",
            (FenceBy::SwSync, None),
            &mut |_, round| {
                let begin = missing_is_skip(gpu.semaphore())?;
                begin.import(round.fence_fd()?)?;
                let signal = gpu.submit(&[&begin], &[&here])?;
                let wait = second.submit(&[&there], &[])?;
                round.ends(wait.ends_within(SOON)?)?;
                Ok(signal.wait()?)
            },
        )?;
    }
    cx.agree()
}

/// The fence of one instance in another one: for good they are one fence, until a reset it is borrowed.
fn opaque_fence(cx: &mut Cx, role: Role, permanence: Permanence) -> Outcome {
    let gpu = cx.gpu(role)?;
    let here = missing_is_skip(gpu.opaque_fence(true))?;
    let second = cx.second_instance(role)?;
    let there = missing_is_skip(second.opaque_fence(false))?;
    for _ in 0..2 {
        // A reference and no copy: what is imported is unsignalled, and signals later.
        there.import_opaque(here.export_opaque()?, permanence)?;
        cx.held_back("a wait in another instance", (FenceBy::SwSync, None), &mut |cx, round| {
            let begin = missing_is_skip(gpu.semaphore())?;
            begin.import(round.fence_fd()?)?;
            here.submit_after(vec![begin])?;
            round.ends(there.signals_within(SOON)?)?;
            cx.equals("the fence of its maker is signalled, too", true, here.signals_within(SOON)?);
            there.reset()?;
            let (is_signalled, stays) = (here.is_signalled()?, permanence == Permanence::Temporary);
            cx.claim("a reset by the importer reaches as far as its import", is_signalled == stays, || {
                let (import, reached, like) = match permanence {
                    Permanence::Permanent => (
                        "for good",
                        "not one of the exporter's fence",
                        "an import until a reset, which nobody asked for",
                    ),
                    Permanence::Temporary => {
                        ("temporary", "one of the exporter's fence", "VK_FENCE_IMPORT_TEMPORARY_BIT was ignored")
                    }
                };
                Finding::new(format!("vkResetFences by an importer was {reached}, though its import was {import}"))
                    .row("target", format!("vkGetFenceStatus of {role}'s fence: {}", status(stays)))
                    .row("actual", format!("vkGetFenceStatus of {role}'s fence: {}", status(is_signalled)))
                    .row("like", like)
            });
            if cx.disagrees() {
                // What is done with them once more is done with fences that are not what they are taken for.
                return cx.agree();
            }
            if permanence == Permanence::Temporary {
                cx.equals("the importer's own fence is signalled", false, there.is_signalled()?);
                here.reset()?;
                there.import_opaque(here.export_opaque()?, permanence)?;
            }
            Ok(())
        })?;
    }
    cx.agree()
}

fn status(is_signalled: bool) -> &'static str {
    if is_signalled { "VK_SUCCESS" } else { "VK_NOT_READY" }
}
