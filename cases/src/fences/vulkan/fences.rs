//! Claims about `VkFence`s that are imported and exported.

use super::*;

/// With the faults that each catches.
pub(super) const ALL: [Listed; 6] = [
    ("an_imported_fence_signals_with_its_file", fence_follows, &[SIGNALLED_EARLY, WOKEN_LATE]),
    ("an_import_of_a_fence_that_nobody_waits_for_is_let_go", fence_never_waited_for, &["fence-import-keeps-fd"]),
    ("a_fence_of_fd_minus_one_has_signalled", fence_minus_one, &["fence-import-dropped"]),
    ("a_reset_ends_the_import_of_a_fence", fence_reset, &["fence-reset-keeps-import"]),
    ("an_export_resets_its_fence", fence_export, &[IMPORT_IGNORED]),
    ("a_second_import_of_a_fence_takes_the_place_of_the_first", fence_second_import, &[SIGNALLED_EARLY]),
];

/// A fence is destroyed with a pending file in it: nothing stays open, and the file is what it was.
fn fence_never_waited_for(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    // What the driver makes at its first import and keeps.
    fence(gpu)?.import(Some(pending.file.try_clone()?))?;
    let before = cx.files();
    for _ in 0..20 {
        let fence = fence(gpu)?;
        fence.import(Some(pending.file.try_clone()?))?;
        // One that is replaced is let go, too.
        fence.import(Some(pending.file.try_clone()?))?;
    }
    cx.no_file_stays(40, "imports into fences", &before);
    cx.equals("the fence has signalled", false, pending.file.is_signalled()?);
    pending.signal()?;
    Ok(())
}

/// The device's fence, as one that can be imported and exported.
fn fence(gpu: &Gpu) -> Result<Fence, Trouble> {
    missing_is_skip(gpu.fence())
}

fn fence_follows(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    held_back(cx, &gpu.by("a wait for a fence"), &mut |cx, round| {
        let fence = fence(gpu)?;
        fence.import(round.fence_fd()?)?;
        // The fence first: one whose file is pending afterwards was looked at in time.
        if fence.is_signalled()? && round.is_pending()? {
            cx.claim("pending", false, || {
                Finding::new("a fence is signalled while the file that it imported is pending")
            });
        }
        round.ends(fence.signals_within(SOON)?)?;
        cx.equals("the fence is signalled after a wait that ended", true, fence.is_signalled()?);
        Ok(())
    })
}

fn fence_minus_one(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let fence = fence(gpu)?;
    cx.equals("a new fence is signalled", false, fence.is_signalled()?);
    fence.import(None)?;
    let like = "an import that succeeds and changes nothing, so that who waits waits for ever";
    cx.equals_else("whether the fence of fd -1 has signalled", true, fence.signals_within(AT_ONCE)?, like);
    Ok(())
}

/// What is imported is there until a reset, after which the fence is its own again.
fn fence_reset(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let (fence, pending) = (fence(gpu)?, cx.pending_fence(FenceBy::SwSync, None)?);
    fence.import(None)?;
    fence.reset()?;
    let like = "a reset of the fence's own payload alone, below the one that was imported";
    cx.equals_else("whether a reset fence has signalled", false, fence.is_signalled()?, like);
    fence.import(Some(pending.file.try_clone()?))?;
    fence.reset()?;
    fence.submit_after(Vec::new())?;
    cx.equals("after a reset a submission signals it, whatever was imported before", true, fence.signals_within(SOON)?);
    cx.equals("that file has signalled", false, pending.file.is_signalled()?);
    Ok(())
}

/// Each export stands for its submission, and leaves the fence as a reset does.
fn fence_export(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let fence = fence(gpu)?;
    for _ in 0..2 {
        held_back(cx, &gpu.by("the fence that it exports"), &mut |cx, round| {
            let begin = gpu.semaphore()?;
            begin.import(round.fence_fd()?)?;
            fence.submit_after(vec![begin])?;
            let file = fence.export()?;
            round.ends(file.as_ref().map_or(Ok(true), |file| file.signals_within(SOON))?)?;
            cx.equals("the fence is signalled after its export", false, fence.is_signalled()?);
            Ok(())
        })?;
    }
    Ok(())
}

fn fence_second_import(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    held_back(cx, &gpu.by("a wait for a fence after a second import"), &mut |cx, round| {
        let (fence, replaced) = (fence(gpu)?, cx.pending_fence(FenceBy::SwSync, None)?);
        match round.fence_fd()? {
            None => {
                fence.import(Some(replaced.file.try_clone()?))?;
                fence.import(None)?;
            }
            Some(file) => {
                fence.import(None)?;
                fence.import(Some(file))?;
            }
        }
        round.ends(fence.signals_within(SOON)?)?;
        cx.equals("the fence that was replaced has signalled", false, replaced.file.is_signalled()?);
        Ok(())
    })
}
