//! Semaphores and fences of a process that has no fd left, or only a few: what fails leaves nothing behind, and works afterwards.
//!
//! `vkImportSemaphoreFdKHR` and `vkImportFenceFdKHR` take the fd if they succeed, and may fail with
//! `VK_ERROR_OUT_OF_HOST_MEMORY` or `VK_ERROR_INVALID_EXTERNAL_HANDLE`; an export may fail with `VK_ERROR_TOO_MANY_OBJECTS` or
//! `VK_ERROR_OUT_OF_HOST_MEMORY`.

use std::sync::Arc;
use std::time::Duration;

use handover::fence::{Holder, Timeline};
use handover::prelude::*;

use crate::refusals::judge;

/// What nothing holds back is over before that.
const SOON: Duration = Duration::from_secs(5);

/// So long what an export stands for stays pending: an export that does not wait for it is through by then.
const PENDING: Duration = Duration::from_millis(100);

/// So many fds are left at most: an import needs no more.
const MOST: usize = 8;

const IMPORT_REFUSALS: [&str; 3] =
    ["VK_ERROR_OUT_OF_HOST_MEMORY", "VK_ERROR_INVALID_EXTERNAL_HANDLE", "VK_ERROR_TOO_MANY_OBJECTS"];
const EXPORT_REFUSALS: [&str; 2] = ["VK_ERROR_TOO_MANY_OBJECTS", "VK_ERROR_OUT_OF_HOST_MEMORY"];

type Body = fn(&mut Cx, &Gpu) -> Result<(), Trouble>;

/// A claim, and for each of what it is about the body and the fault that fails it.
type Claim = (&'static str, [(&'static str, Body, &'static str); 2]);

/// The fault of an export that says that all is over where it lacks an fd.
const NO_FD_IS_MINUS_ONE: &str = "no-fd-is-minus-one";

const CLAIMS: [Claim; 2] = [
    (
        "without_fds_left_nothing_stays",
        [("semaphores", semaphores, "semaphore-import-keeps-fd"), ("fences", fences, "fence-import-keeps-fd")],
    ),
    (
        "an_export_without_an_fd_left_loses_no_fence",
        [("semaphores", pending_semaphores, NO_FD_IS_MINUS_ONE), ("fences", pending_fences, NO_FD_IS_MINUS_ONE)],
    ),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    let all = CLAIMS.into_iter().flat_map(|(claim, kinds)| kinds.map(|kind| (claim, kind)));
    for (claim, (kind, body, fault)) in all {
        for gpu in [GpuA, GpuB] {
            let name = format!("fences::{claim}::{gpu}_{kind}");
            let body = move |cx: &mut Cx| {
                let device = cx.gpu(gpu)?;
                body(cx, &device)?;
                cx.agree()
            };
            let case = cases.add(name, body).from(gpu);
            if gpu == GpuA {
                case.must_fail_under(fault);
            }
        }
    }
}

/// Imports `file` with fewer fds left than it may need, and then with more, until it works twice.
fn imports(
    cx: &mut Cx,
    into: &str,
    file: &SyncFile,
    mut import: impl FnMut(&mut Cx, usize, SyncFile) -> Result<Result<()>, Trouble>,
) -> Result<(), Trouble> {
    let mut worked = 0;
    for left in 0..MOST {
        let before = cx.files();
        let what = format!("import into a {into} with {left} fds left");
        let refuses = |answer: &Result<Result<()>, Trouble>| matches!(answer, Ok(Err(_)));
        let answer = cx.failing_by(&format!("an {what}"), refuses, |cx| import(cx, left, file.try_clone()?))?;
        cx.no_file_stays(1, what, &before);
        match answer {
            Ok(()) => worked += 1,
            Err(error) => {
                judge(cx, &format!("an import into a {into} without an fd left"), &IMPORT_REFUSALS, Err(error))
            }
        }
        if cx.disagrees() || worked > 1 {
            break;
        }
    }
    cx.claim("an import that works", worked > 0, || {
        Finding::new(format!("with {} fds left no import into a {into} works", MOST - 1))
    });
    cx.equals("the fence has signalled", false, file.is_signalled()?);
    Ok(())
}

/// What an export of a semaphore or a fence answers without an fd left; if it is refused, everything is as it was.
fn without_fds(
    cx: &mut Cx,
    of: &str,
    export: impl FnOnce() -> Result<Option<SyncFile>>,
) -> Result<Result<Option<SyncFile>>, Trouble> {
    let refuses = |answer: &Result<Result<Option<SyncFile>>, Trouble>| matches!(answer, Ok(Err(_)));
    let what = format!("an export of a {of} without an fd left");
    cx.failing_by(&what, refuses, |cx| cx.with_files_left(0, |_| export()))
}

/// What an export answered without an fd left: refused, it works afterwards.
fn exported(
    cx: &mut Cx,
    of: &str,
    answer: Result<Option<SyncFile>>,
    again: impl FnOnce() -> Result<Option<SyncFile>>,
) -> Result<(), Trouble> {
    if let Err(error) = answer {
        judge(cx, &format!("an export of a {of} without an fd left"), &EXPORT_REFUSALS, Err(error));
        let file = again()?;
        let signalled = file.as_ref().map_or(Ok(true), SyncFile::is_signalled)?;
        cx.equals(format!("what a {of} exports afterwards has signalled"), true, signalled);
    }
    Ok(())
}

/// A fence that is pending until whoever holds it lets it signal.
struct Held {
    // It stays open when it has signalled: its number would be one that is left.
    timeline: Arc<Timeline>,
    file: SyncFile,
}

impl Held {
    fn new(cx: &mut Cx) -> Result<Self, Trouble> {
        let timeline = Arc::new(cx.timeline()?);
        Ok(Self { file: timeline.fence(1)?, timeline })
    }

    /// What `export` answers without an fd left, while what it stands for waits for this fence: that it is over is none. It may
    /// wait, for the fence signals in any case.
    fn exported(
        &self,
        cx: &mut Cx,
        of: &str,
        export: impl FnOnce() -> Result<Option<SyncFile>>,
    ) -> Result<Result<Option<SyncFile>>, Trouble> {
        let timeline = Arc::clone(&self.timeline);
        let holder = Holder::start(PENDING, || Ok(()), move || timeline.advance(1))?;
        // What it leaves, work that is over shows: this has fds of its own until it is.
        let (answer, early) = cx.with_files_left(0, |_| {
            let answer = export();
            let says = |file: &Option<SyncFile>| file.as_ref().map_or(Ok(true), SyncFile::is_signalled);
            // The fence last: one that is pending was so when the export said what it says.
            let early = answer.as_ref().map_or(Ok(false), says).and_then(|says| Ok(says && !self.file.is_signalled()?));
            (answer, early)
        })?;
        holder.other_is_through()?;
        let said = || match &answer {
            Ok(None) => "fd -1".to_owned(),
            Ok(Some(file)) => file.to_string(),
            Err(error) => error.cause.to_string(),
        };
        cx.claim(format!("what an export of a {of} without an fd left stands for is not over"), !early?, || {
            Finding::new(format!("without an fd left an export of a {of} says that work has ended which is under way"))
                .row("target", EXPORT_REFUSALS.join(" or "))
                .row("actual", said())
                .row(
                    "like",
                    "an fd that could not be made is handed on as -1, which stands for a fence that has signalled",
                )
        });
        Ok(answer)
    }
}

fn pending_semaphores(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let (begin, end) = (missing_is_skip(gpu.semaphore())?, missing_is_skip(gpu.exportable_semaphore())?);
    let held = Held::new(cx)?;
    begin.import(Some(held.file.try_clone()?))?;
    let work = gpu.submit(&[&begin], &[&end])?;
    let answer = held.exported(cx, "semaphore", || end.export())?;
    work.ends_before(SOON)?;
    exported(cx, "semaphore", answer, || end.export())
}

fn pending_fences(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let (begin, end) = (missing_is_skip(gpu.semaphore())?, missing_is_skip(gpu.fence())?);
    let held = Held::new(cx)?;
    begin.import(Some(held.file.try_clone()?))?;
    end.submit_after(vec![begin])?;
    let answer = held.exported(cx, "fence", || end.export())?;
    // An export that works has reset it.
    if answer.is_err() {
        end.wait(SOON)?;
    }
    exported(cx, "fence", answer, || end.export())
}

fn semaphores(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    // What the driver makes at its first import and keeps.
    missing_is_skip(gpu.semaphore())?.import(Some(pending.file.try_clone()?))?;
    imports(cx, "semaphore", &pending.file, |cx, left, file| {
        let semaphore = gpu.semaphore()?;
        cx.with_files_left(left, |_| semaphore.import(Some(file)))
    })?;
    let begin = gpu.semaphore()?;
    begin.import(Some(pending.file.try_clone()?))?;
    pending.signal()?;
    gpu.submit(&[&begin], &[])?.wait()?;
    let end = missing_is_skip(gpu.exportable_semaphore())?;
    gpu.submit(&[], &[&end])?.wait()?;
    let answer = without_fds(cx, "semaphore", || end.export())?;
    exported(cx, "semaphore", answer, || end.export())
}

fn fences(cx: &mut Cx, gpu: &Gpu) -> Result<(), Trouble> {
    let fence = || missing_is_skip(gpu.fence());
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    // What the driver makes at its first import and keeps.
    fence()?.import(Some(pending.file.try_clone()?))?;
    imports(cx, "fence", &pending.file, |cx, left, file| {
        let fence = fence()?;
        cx.with_files_left(left, |_| fence.import(Some(file)))
    })?;
    let imported = fence()?;
    imported.import(Some(pending.file.try_clone()?))?;
    pending.signal()?;
    imported.wait(SOON)?;
    let end = fence()?;
    end.submit_after(Vec::new())?;
    end.wait(SOON)?;
    let answer = without_fds(cx, "fence", || end.export())?;
    exported(cx, "fence", answer, || end.export())
}
