//! Fences of OpenGL ES as `sync_file`: `EGL_ANDROID_native_fence_sync`.

use std::time::Duration;

use handover::fence::Holder;
use handover::gles::{Gles as Device, NativeFence, Through};
use handover::prelude::*;

use super::{BY, exporter, with_frame};

const SOON: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_millis(5);

pub(super) fn register(cases: &mut Cases<Cx>) {
    for by in BY {
        for (claim, reads) in [
            ("opengl_es_reads_after_the_fence_it_is_given", true),
            ("opengl_es_draws_after_the_fence_it_is_given", false),
        ] {
            let name = format!("fences::{claim}::{}", by.as_str());
            cases.add(name, move |cx| given(cx, by, reads)).from(Udmabuf).to(Gles);
        }
    }
    type Claim = fn(&mut Cx, &Device) -> Result<(), Trouble>;
    let claims: [(&str, Claim); 4] = [
        ("a_program_waits_through_egl_for_the_fence_it_is_given", client_waits),
        ("a_fence_comes_out_of_egl_as_it_went_in", out_again),
        ("a_fence_of_opengl_es_signals", of_its_own),
        ("a_fence_in_egl_that_nobody_waits_for_is_let_go", never_waited_for),
    ];
    for (claim, body) in claims {
        let body = move |cx: &mut Cx| {
            let gles = cx.gles()?;
            body(cx, &gles)?;
            cx.agree()
        };
        cases.add(format!("fences::{claim}"), body).from(Gles);
    }
}

/// `file` as a fence of EGL's.
fn import(gles: &Device, file: SyncFile) -> Result<NativeFence, Trouble> {
    gles.import_fence(file).map_err(|error| match error.cause {
        handover::error::Cause::Missing(_) => Trouble::Skip(error.to_string()),
        _ => error.into(),
    })
}

/// What is drawn after the wait was ordered, in whichever place the driver waits, sees or leaves what the fence stands
/// for.
fn given(cx: &mut Cx, by: FenceBy, reads: bool) -> Outcome {
    let gles = cx.gles()?;
    with_frame(cx, exporter(Udmabuf), |cx, buffer, shared| {
        let access = if reads { Access::Read } else { Access::Write };
        let image = cx.hold(&Guest::Gles(&gles), buffer, access, |shared| gles.import(shared, Through::Texture2d))?;
        let hold_back = |turn: &Turn<'_>| -> Result<(), Trouble> {
            match turn.fence_fd()? {
                None => Ok(()),
                Some(file) => Ok(import(&gles, file)?.hold_back_drawing()?),
            }
        };
        if reads {
            return cx.reads_in_order("opengl es", shared, (by, Put::Given), &mut |_, turn| {
                hold_back(turn)?;
                Ok(turn.generations.seen(&image.sampled_picture()?)?)
            });
        }
        cx.writes_in_order("opengl es", shared, (by, Put::Given), &mut |_, turn| {
            hold_back(turn)?;
            Ok(image.draw_pattern(turn.stamp)?)
        })
    })
}

fn client_waits(cx: &mut Cx, gles: &Device) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    let fence = import(gles, pending.file.try_clone()?)?;
    cx.equals("a wait for a pending fence ends", false, fence.signals_within(WATCHED)?);
    // It is woken while it waits, and not only told when it asks again.
    let holder = Holder::start(WATCHED, || Ok(()), pending.into_signal())?;
    let woken = fence.signals_within(SOON)?;
    let released = holder.other_is_through()?;
    cx.equals("a wait ends before the signal", false, released.overtaken);
    cx.equals("a wait ends at the signal", true, woken);
    Ok(())
}

/// What EGL hands on of a fence that it was given is that fence.
fn out_again(cx: &mut Cx, gles: &Device) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    let fence = import(gles, pending.file.try_clone()?)?;
    let (first, second) = (fence.export()?, fence.export()?);
    drop(fence);
    cx.fact("exported", &first);
    cx.equals("the exported fence has signalled", false, first.signals_within(WATCHED)?);
    pending.signal()?;
    cx.equals("it signals with the fence that was imported", true, first.signals_within(SOON)?);
    cx.equals("so does a second export", true, second.signals_within(SOON)?);
    Ok(())
}

/// The fence of the commands so far can be exported, signals, and can be waited for by both.
fn of_its_own(cx: &mut Cx, gles: &Device) -> Result<(), Trouble> {
    let fence = gles.fence().map_err(|error| match error.cause {
        handover::error::Cause::Missing(_) => Trouble::Skip(error.to_string()),
        _ => error.into(),
    })?;
    let file = fence.export()?;
    cx.equals("the exported fence signals", true, file.signals_within(SOON)?);
    cx.equals("a wait for the fence ends", true, fence.signals_within(SOON)?);
    Ok(())
}

fn never_waited_for(cx: &mut Cx, gles: &Device) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    drop(import(gles, pending.file.try_clone()?)?);
    let before = cx.open_files()?;
    for _ in 0..20 {
        let fence = import(gles, pending.file.try_clone()?)?;
        fence.export()?;
    }
    cx.equals("files that 20 fences left open", before, cx.open_files()?);
    cx.equals("the fence has signalled", false, pending.file.is_signalled()?);
    pending.signal()?;
    Ok(())
}
