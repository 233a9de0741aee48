//! Fences of OpenGL ES as `sync_file`: `EGL_ANDROID_native_fence_sync`.

use std::time::Duration;

use handover::gles::{Gles as Device, NativeFence, Through};
use handover::prelude::*;

use super::{BY, exporter, with_frame};
use crate::drivers::LLVMPIPE_GL;

/// The fault of an EGL that does not wait for what it is given.
const IGNORED: &str = "egl-fence-ignored";

const SOON: Duration = Duration::from_secs(5);

pub(super) fn register(cases: &mut Cases<Cx>) {
    for by in BY {
        for (claim, reads) in [
            ("opengl_es_reads_after_the_fence_it_is_given", true),
            ("opengl_es_draws_after_the_fence_it_is_given", false),
        ] {
            let name = format!("fences::{claim}::{}", by.as_str());
            cases.add(name, move |cx| given(cx, by, reads)).from(Udmabuf).to(Gles).must_fail_under(IGNORED);
        }
    }
    type Claim = fn(&mut Cx, &Device) -> Result<(), Trouble>;
    let claims: [(&str, Claim, &str); 4] = [
        ("a_program_waits_through_egl_for_the_fence_it_is_given", client_waits, IGNORED),
        ("a_fence_comes_out_of_egl_as_it_went_in", out_again, IGNORED),
        ("a_fence_of_opengl_es_signals", of_its_own, IGNORED),
        ("a_fence_in_egl_that_nobody_waits_for_is_let_go", never_waited_for, "egl-fence-keeps-fd"),
    ];
    for (claim, body, fault) in claims {
        let body = move |cx: &mut Cx| {
            let gles = cx.gles()?;
            body(cx, &gles)?;
            cx.agree()
        };
        cases.add(format!("fences::{claim}"), body).from(Gles).must_fail_under(fault);
    }
    cases.add("fences::opengl_es_waits_though_poll_is_refused", waits_without_poll).from(Gles).known(
        LLVMPIPE_GL,
        "cases/findings/llvmpipe-fence-poll.md",
        "opengl es, where poll is refused, did not wait for the fence",
    );
}

/// `file` as a fence of EGL's.
fn import(gles: &Device, file: SyncFile) -> Result<NativeFence, Trouble> {
    missing_is_skip(gles.import_fence(file))
}

/// The fence of the round as one of EGL's, or one that has signalled: EGL takes -1 for a fence of its own.
fn import_of(cx: &mut Cx, gles: &Device, round: &Round) -> Result<NativeFence, Trouble> {
    let file = match round.fence_fd()? {
        Some(file) => file,
        None => {
            let pending = cx.pending_fence(FenceBy::SwSync, None)?;
            let signalled = pending.file.try_clone()?;
            pending.signal()?;
            signalled
        }
    };
    import(gles, file)
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

/// It is woken while it waits, and not only told when it asks again.
fn client_waits(cx: &mut Cx, gles: &Device) -> Result<(), Trouble> {
    cx.held_back("a wait through EGL", (FenceBy::SwSync, None), &mut |cx, round| {
        let fence = import_of(cx, gles, round)?;
        // The fence first: one whose file is pending afterwards was looked at in time.
        if fence.signals_within(Duration::ZERO)? && round.is_pending()? {
            cx.claim("pending", false, || Finding::new("EGL says that a fence has signalled whose file is pending"));
        }
        Ok(round.ends(fence.signals_within(SOON)?)?)
    })
}

/// What EGL hands on of a fence that it was given is that fence.
fn out_again(cx: &mut Cx, gles: &Device) -> Result<(), Trouble> {
    for watched in [0, 1] {
        cx.held_back("the exported fence", (FenceBy::SwSync, None), &mut |cx, round| {
            let fence = import_of(cx, gles, round)?;
            let files = [fence.export()?, fence.export()?];
            drop(fence);
            round.ends(files[watched].signals_within(SOON)?)?;
            cx.equals("the other export signals, too", true, files[1 - watched].signals_within(SOON)?);
            Ok(())
        })?;
    }
    Ok(())
}

/// The fence of the commands so far can be exported, waits for what these wait for, and can be waited for by both.
fn of_its_own(cx: &mut Cx, gles: &Device) -> Result<(), Trouble> {
    cx.held_back("a fence of OpenGL ES", (FenceBy::SwSync, None), &mut |cx, round| {
        import_of(cx, gles, round)?.hold_back_drawing()?;
        let fence = missing_is_skip(gles.fence())?;
        let file = fence.export()?;
        round.ends(file.signals_within(SOON)?)?;
        cx.equals("a wait for the fence ends", true, fence.signals_within(SOON)?);
        Ok(())
    })
}

/// A driver that can't look whether the fence has signalled may say so; that it has, it may not take for granted.
fn waits_without_poll(cx: &mut Cx) -> Outcome {
    let gles = cx.gles()?;
    cx.held_back("opengl es, where poll is refused,", (FenceBy::SwSync, None), &mut |cx, round| {
        let fence = import_of(cx, &gles, round)?;
        if let Err(why) = cx.with_poll_refused(|_| fence.hold_back_drawing())? {
            cx.fact("answer", why);
            // Then it is for the caller to wait.
            return Ok(round.ends(round.fence().map_or(Ok(true), |file| file.signals_within(SOON))?)?);
        }
        // Of who waits later, on its device.
        Ok(round.ends(missing_is_skip(gles.fence())?.signals_within(SOON)?)?)
    })?;
    cx.agree()
}

fn never_waited_for(cx: &mut Cx, gles: &Device) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    drop(import(gles, pending.file.try_clone()?)?);
    let before = cx.files();
    for _ in 0..20 {
        let fence = import(gles, pending.file.try_clone()?)?;
        fence.export()?;
    }
    cx.no_file_stays(20, "fences that EGL was given and gave again", &before);
    cx.equals("the fence has signalled", false, pending.file.is_signalled()?);
    pending.signal()?;
    Ok(())
}
