//! From the fences in a buffer to those of an API and back, as compositors do it: what is in the buffer is exported as
//! `sync_file` and given to the GPU, and the GPU's own fence is put into the buffer.

use handover::ends::Exporter;
use handover::prelude::*;

use super::{
    EXPORT_EARLY, IMPLICIT_LOST, IMPORT_IGNORED, TRIES, is_less, must_fail_under, owners, seen_on, with_frame,
};
use crate::fences::vulkan::{FENCED_ANYWAY, Slow, slow_work};

pub(super) fn register(cases: &mut Cases<Cx>) {
    for from in owners() {
        for gpu in [GpuA, GpuB] {
            let pair = format!("{}_to_{gpu}", from.role());
            for (claim, reads) in [("a_gpu_reads_after_the_writer", true), ("a_gpu_draws_after_the_reader", false)] {
                let name = format!("fences::{claim}::{pair}");
                let case = cases.add(name, move |cx| bridged(cx, from, gpu, reads)).from(from.role()).to(gpu);
                must_fail_under(case.must_fail_under(IMPLICIT_LOST), seen_on(gpu, &[IMPORT_IGNORED]));
            }
        }
        // What OpenGL ES exports itself it takes in by another way.
        if from.role() != Gles {
            cases
                .add(format!("fences::opengl_es_reads_after_the_writer::{}", from.role()), move |cx| sampled(cx, from))
                .from(from.role())
                .to(Gles)
                .must_fail_under(IMPLICIT_LOST);
        }
    }
    for gpu in [GpuA, GpuB] {
        let name = format!("fences::what_a_gpu_draws_is_waited_for_in_the_buffer::{gpu}");
        let case = cases.add(name, move |cx| put_back(cx, gpu)).from(gpu).to(Cpu);
        // Its driver keeps the room that it needs for so much work at once.
        case.info.opens.push(format!("a long drawing of {gpu}"));
        must_fail_under(case, seen_on(gpu, &[EXPORT_EARLY]));
    }
}

/// The GPU waits for what the buffer says, and for nothing if that is nothing.
fn bridged(cx: &mut Cx, from: &'static dyn Exporter, role: Role, reads: bool) -> Outcome {
    let gpu = cx.gpu(role)?;
    with_frame(cx, from, |cx, buffer, shared| {
        let image = cx.import(&gpu, buffer, &ImportRequest::default())?;
        let name = role.to_string();
        let fence = (FenceBy::SwSync, Put::InBuffer);
        // The semaphore takes the fence over, also one that has signalled.
        let begin = |what| -> Result<_, Trouble> {
            let begin = missing_is_skip(gpu.semaphore())?;
            begin.import(Some(shared.dmabuf.export_sync_file(what)?))?;
            Ok(begin)
        };
        if reads {
            return cx.reads_in_order(&name, shared, fence, &mut |_, turn| {
                Ok(turn.generations.seen(&image.read_back_after(&[&begin(Use::Read)?])?)?)
            });
        }
        cx.writes_in_order(&name, shared, fence, &mut |_, turn| {
            Ok(image.draw_pattern_after(turn.stamp, &[&begin(Use::Write)?])?)
        })
    })
}

fn sampled(cx: &mut Cx, from: &'static dyn Exporter) -> Outcome {
    let gles = cx.gles()?;
    with_frame(cx, from, |cx, buffer, shared| {
        let image = cx.hold(&Guest::Gles(&gles), buffer, Access::Read, |shared| {
            gles.import(shared, handover::gles::Through::Texture2d)
        })?;
        cx.reads_in_order("opengl es", shared, (FenceBy::SwSync, Put::InBuffer), &mut |_, turn| {
            let fence = gles.import_fence(shared.dmabuf.export_sync_file(Use::Read)?)?;
            fence.hold_back_drawing()?;
            Ok(turn.generations.seen(&image.sampled_picture()?)?)
        })
    })
}

/// The GPU's own fence is put into the buffer, and the CPU, who knows nothing of the GPU, sees all of a long drawing.
/// Without that it sees less.
fn put_back(cx: &mut Cx, role: Role) -> Outcome {
    let gpu = cx.gpu(role)?;
    let (mut image, buffer) = cx.make(&gpu, &NewFrame::of(Fourcc::XR24, px(256, 256)))?;
    let Slow { stamps, patience } = slow_work(cx, &mut image)?;
    let last = stamps.end - 1;
    let target = Target::stamped(last, Fourcc::XR24, px(256, 256))?;
    cx.mapped(&Guest::Cpu, &buffer, Access::Read, |cx, shared| {
        let mut less = false;
        // On a machine that is busy with other things the drawing may be done by the time of the look.
        for _ in 0..TRIES {
            image.draw_pattern(0)?;
            let drawing = image.draw_patterns_after(stamps.clone(), None)?.within(patience);
            let fenced_anyway = !shared.dmabuf.ready()?.to_read;
            let early = shared.read_back()?;
            drawing.wait()?;
            if fenced_anyway {
                return Err(Trouble::Skip(FENCED_ANYWAY.to_owned()));
            }
            less = is_less(&early, &target)?;
            if less {
                break;
            }
        }
        cx.claim("less without the fence", less, || {
            Finding::new("the cpu saw the end of a long drawing without a fence: with one it would show nothing")
        });
        image.draw_pattern(0)?;
        let drawing = image.draw_patterns_after(stamps.clone(), None)?.within(patience);
        let mut pending = false;
        if let Some(file) = drawing.export_sync_file()? {
            pending = !file.is_signalled()?;
            shared.dmabuf.import_sync_file(Use::Write, &file)?;
        }
        let seen = shared.read_back()?;
        drawing.wait()?;
        let is_early = is_less(&seen, &target)?;
        cx.sees("the cpu, after the fence in the buffer,", &target, &seen)?;
        if is_early {
            cx.fact("like", "the fence was signalled before the work that it stands for had ended");
        }
        if !pending && !cx.disagrees() {
            let why = "the driver has its work done before it exports the fence, so that there is nothing to wait for";
            return Err(Trouble::Skip(why.to_owned()));
        }
        Ok(())
    })?;
    // The exporter's own look comes last: nothing was drawn any more.
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}
