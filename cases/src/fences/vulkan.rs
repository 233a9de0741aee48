//! Semaphores and fences of Vulkan that came from elsewhere, and that go there.
//!
//! What holds of them is in the specification's "Importing Semaphore Payloads" and "Importing Fence Payloads", and in
//! the descriptions of the handle type `SYNC_FD`: it is imported for one wait, it is exported at most once for each
//! signal, its fd belongs to the driver after an import that succeeded, and -1 is a fence that has signalled.

use std::ops::{Deref, Range};
use std::time::{Duration, Instant};

use handover::prelude::*;
use handover::vk::{Fence, Semaphore};

use super::{BY, EXPORT_EARLY, IMPORT_IGNORED, TRIES, exporter, is_less, must_fail_under, seen_on, with_frame};

mod fences;

/// Whoever is not held back is through before that.
const SOON: Duration = Duration::from_secs(5);
/// What has happened already is there within this time, however busy the machine is.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The same work may take so much longer the next time: the machine gets other things to do.
const HURRIED: u32 = 20;

/// Why nobody who looks by way of the kernel can be seen to lose.
pub(super) const FENCED_ANYWAY: &str =
    "the kernel's driver puts a fence of its own into the buffer, so that who looks waits for that";

/// The fault of a device whose waits for fences end at once.
const SIGNALLED_EARLY: &str = "fence-signalled-early";
/// The fault of a kernel that wakes nobody in time.
const WOKEN_LATE: &str = "sync-file-wakes-late";

type Claim = fn(&mut Cx, &Player) -> Result<(), Trouble>;

/// A GPU and the role that it plays.
struct Player {
    gpu: Gpu,
    role: Role,
}

impl Deref for Player {
    type Target = Gpu;

    fn deref(&self) -> &Gpu {
        &self.gpu
    }
}

impl Player {
    /// This one by what it does, in words.
    fn by(&self, what: &str) -> String {
        format!("{}, by {what},", self.role)
    }

    /// As [`Gpu::semaphore`]; that devices need not have.
    fn semaphore(&self) -> Result<Semaphore, Trouble> {
        missing_is_skip(self.gpu.semaphore())
    }

    /// As [`Gpu::exportable_semaphore`], likewise.
    fn exportable_semaphore(&self) -> Result<Semaphore, Trouble> {
        missing_is_skip(self.gpu.exportable_semaphore())
    }
}

/// With the faults that each catches.
type Listed = (&'static str, Claim, &'static [&'static str]);

const SEMAPHORES: [Listed; 10] = [
    ("a_submission_waits_for_every_semaphore", every_semaphore, &[IMPORT_IGNORED]),
    ("fd_minus_one_holds_back_nobody", minus_one, &[IMPORT_IGNORED, "minus-one-pending"]),
    ("a_second_import_takes_the_place_of_the_first", second_import, &[IMPORT_IGNORED]),
    ("one_fence_in_two_semaphores_holds_back_both", imported_twice, &[IMPORT_IGNORED]),
    ("an_import_is_for_one_wait", restored, &[IMPORT_IGNORED, "semaphore-import-stays"]),
    ("a_signal_is_exported_once_and_comes_again", exported_again, &[IMPORT_IGNORED, EXPORT_EARLY]),
    ("an_export_follows_what_its_work_waits_for", follows, &[IMPORT_IGNORED, EXPORT_EARLY]),
    ("an_import_that_nobody_waits_for_is_let_go", never_waited_for, NEVER_WAITED_FOR),
    ("a_counter_follows_what_its_work_waits_for", counted, &[IMPORT_IGNORED]),
    ("a_counter_is_waited_for_before_anybody_is_to_advance_it", counted_before, &["counter-wait-dropped"]),
];

/// What an import may do to fds that nobody looks at.
const NEVER_WAITED_FOR: &[&str] = &["semaphore-import-keeps-fd", "sync-fd-closed-twice"];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for gpu in [GpuA, GpuB] {
        for by in BY {
            for (claim, reads) in
                [("a_gpu_reads_after_the_fence_it_is_given", true), ("a_gpu_draws_after_the_fence_it_is_given", false)]
            {
                let name = format!("fences::{claim}::{gpu}::{}", by.as_str());
                let case = cases.add(name, move |cx| given(cx, gpu, by, reads)).from(Udmabuf).to(gpu);
                // Whose fence is late makes no difference, and being late takes its time.
                let woken = reads && by == FenceBy::SwSync;
                must_fail_under(
                    case,
                    seen_on(gpu, if woken { &[IMPORT_IGNORED, WOKEN_LATE] } else { &[IMPORT_IGNORED] }),
                );
            }
        }
        for (claim, body, faults) in SEMAPHORES.into_iter().chain(fences::ALL) {
            let body = move |cx: &mut Cx| {
                let player = Player { gpu: cx.gpu(gpu)?, role: gpu };
                body(cx, &player)?;
                cx.agree()
            };
            let case = cases.add(format!("fences::{claim}::{gpu}"), body).from(gpu);
            must_fail_under(case, faults);
        }
        let name = format!("fences::nothing_is_taken_over_before_the_fence::{gpu}");
        let case = cases.add(name, move |cx| taken_over(cx, gpu)).from(Udmabuf).to(gpu);
        must_fail_under(case, if gpu == GpuA { &["acquire-before-wait"] } else { &[] });
        let name = format!("fences::an_exported_fence_signals_when_the_drawing_is_there::{gpu}");
        let case = cases.add(name, move |cx| slow(cx, gpu)).from(gpu);
        must_fail_under(case, &[EXPORT_EARLY]);
    }
}

/// A GPU that is given a fence waits for it before it reads, or draws.
fn given(cx: &mut Cx, role: Role, by: FenceBy, reads: bool) -> Outcome {
    let gpu = cx.gpu(role)?;
    with_frame(cx, exporter(Udmabuf), |cx, buffer, shared| {
        let image = cx.import(&gpu, buffer, &ImportRequest::default())?;
        let name = role.to_string();
        // Left out, there is no semaphore at all.
        let begin = |turn: &Turn<'_>| -> Result<Vec<_>, Trouble> {
            let Some(file) = turn.fence_fd()? else { return Ok(Vec::new()) };
            let begin = missing_is_skip(gpu.semaphore())?;
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

/// A submission that takes an image over from others waits just as one that takes nothing does: it must not look at what they
/// are still to write.
fn taken_over(cx: &mut Cx, role: Role) -> Outcome {
    let player = Player { gpu: cx.gpu(role)?, role };
    with_frame(cx, exporter(Udmabuf), |cx, buffer, _| {
        let image = cx.import(&player.gpu, buffer, &ImportRequest::default())?;
        held_back(cx, &player.by("a submission that takes nothing over"), &mut |_, round| {
            let semaphore = player.semaphore()?;
            semaphore.import(round.fence_fd()?)?;
            let work = player.submit(&[&semaphore], &[])?;
            Ok(round.ends(work.ends_within(SOON)?)?)
        })?;
        if cx.disagrees() {
            return Ok(());
        }
        held_back(cx, &format!("{role}, as it takes an image from FOREIGN_EXT,"), &mut |_, round| {
            let semaphore = player.semaphore()?;
            semaphore.import(round.fence_fd()?)?;
            image.read_back_after(&[&semaphore])?;
            Ok(round.ends(true)?)
        })
    })
}

/// Work of some length.
pub(super) struct Slow {
    /// Patterns to draw one over the other.
    pub(super) stamps: Range<u32>,
    /// That is not to take longer than this on the machine as it is now.
    pub(super) patience: Duration,
}

/// As many patterns drawn over each other as take this device 150 ms, or more if the machine has other things to do.
pub(super) fn slow_work(cx: &mut Cx, image: &mut Image) -> Result<Slow, Trouble> {
    const TRIED: u32 = 8;
    const SLOW: Duration = Duration::from_millis(150);
    // The first draw compiles the shader.
    image.draw_pattern(0)?;
    let (mut fastest, mut slowest) = (Duration::MAX, Duration::ZERO);
    for _ in 0..3 {
        let began = Instant::now();
        missing_is_skip(image.draw_patterns_after(1..1 + TRIED, None))?.wait()?;
        fastest = fastest.min(began.elapsed());
        slowest = slowest.max(began.elapsed());
    }
    let count = SLOW.as_nanos() * u128::from(TRIED) / fastest.as_nanos().max(1);
    let count = count.clamp(u128::from(TRIED), 20_000) as u32;
    cx.figure("patterns", count.into());
    let patience = SOON.max(slowest * (count / TRIED) * HURRIED);
    cx.figure("patience_ms", patience.as_secs_f64() * 1e3);
    Ok(Slow { stamps: 1..1 + count, patience })
}

/// When the exported fence says that it has signalled the contents stand: those of a drawing of 150 ms, seen through
/// the dma-buf at that moment. A look without the fence sees less.
fn slow(cx: &mut Cx, role: Role) -> Outcome {
    let gpu = cx.gpu(role)?;
    let size = px(256, 256);
    let (mut image, buffer) = cx.make(&gpu, &NewFrame::of(Fourcc::XR24, size))?;
    let Slow { stamps, mut patience } = slow_work(cx, &mut image)?;
    let target = Target::stamped(stamps.end - 1, Fourcc::XR24, size)?;
    cx.mapped(&Guest::Cpu, &buffer, Access::Read, |cx, shared| {
        let mut less = false;
        // Without the fence first, which on a machine that is busy with other things may see the end of the drawing, too.
        for fenced in std::iter::repeat_n(false, TRIES).chain([true]) {
            if less && !fenced {
                continue;
            }
            image.draw_pattern(0)?;
            let began = Instant::now();
            let drawing = image.draw_patterns_after(stamps.clone(), None)?.within(patience);
            let fenced_anyway = !shared.dmabuf.ready()?.to_read;
            if fenced && let Some(file) = drawing.export_sync_file()? {
                file.wait(patience)?;
            }
            let signalled = began.elapsed();
            let seen = shared.read_back()?;
            drawing.wait()?;
            let ended = began.elapsed();
            if fenced_anyway {
                return Err(Trouble::Skip(FENCED_ANYWAY.to_owned()));
            }
            if !fenced {
                cx.figure("drawing_ms", ended.as_secs_f64() * 1e3);
                patience = patience.max(ended * HURRIED);
                less = is_less(&seen, &target)?;
                continue;
            }
            cx.claim("less without the fence", less, || {
                Finding::new("the end of a long drawing was seen without a fence: with one it would show nothing")
            });
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

/// `who` waits for a fence that it is given, and for nothing without one. `act` submits what should wait.
fn held_back(
    cx: &mut Cx,
    who: &str,
    act: &mut dyn FnMut(&mut Cx, &mut Round) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    cx.held_back(who, (FenceBy::SwSync, None), act)
}

/// A submission ends within that time, though nothing should hold it back; says so otherwise.
fn goes_on(cx: &mut Cx, gpu: &Player, what: &str, is_done: bool) {
    cx.claim(format!("goes on {what}"), is_done, || {
        Finding::new(format!("a submission of {} did not end within {} s {what}", gpu.role, SOON.as_secs()))
            .row("like", "it waits for a fence that is not its own, or was not told of the signal")
    });
}

/// With either of two fences signalled after the submission it still waits for the other.
fn every_semaphore(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    for last in [0, 1] {
        held_back(cx, &gpu.by("a submission with one of two semaphores signalled"), &mut |cx, round| {
            let first = cx.pending_fence(FenceBy::SwSync, None)?;
            let semaphores = [gpu.semaphore()?, gpu.semaphore()?];
            semaphores[1 - last].import(Some(first.file.try_clone()?))?;
            semaphores[last].import(round.fence_fd()?)?;
            let work = gpu.submit(&[&semaphores[0], &semaphores[1]], &[])?;
            first.signal()?;
            Ok(round.ends(work.ends_within(SOON)?)?)
        })?;
    }
    Ok(())
}

/// That it is the fd that lets it go, and not that nobody waits, the same semaphore shows with a pending fence.
fn minus_one(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let semaphore = gpu.semaphore()?;
    semaphore.import(None)?;
    let began = Instant::now();
    gpu.submit(&[&semaphore], &[])?.wait()?;
    let took = began.elapsed();
    cx.claim("fd -1 holds back nobody", took < AT_ONCE, || {
        Finding::new(format!("a submission of {} that waits for fd -1 took {} ms", gpu.role, took.as_millis()))
            .row("target", format!("less than {} ms, as fd -1 has signalled", AT_ONCE.as_millis()))
            .row("like", "fd -1 was taken for a fence that is still to signal")
    });
    if cx.disagrees() {
        return Ok(());
    }
    held_back(cx, &gpu.by("a submission"), &mut |_, round| {
        let semaphore = gpu.semaphore()?;
        semaphore.import(round.fence_fd()?)?;
        let work = gpu.submit(&[&semaphore], &[])?;
        Ok(round.ends(work.ends_within(SOON)?)?)
    })
}

/// The last import counts, whether it is the pending one or the one that has signalled.
fn second_import(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    held_back(cx, &gpu.by("a submission after a second import"), &mut |cx, round| {
        let semaphore = gpu.semaphore()?;
        let replaced = cx.pending_fence(FenceBy::SwSync, None)?;
        match round.fence_fd()? {
            None => {
                semaphore.import(Some(replaced.file.try_clone()?))?;
                semaphore.import(None)?;
            }
            Some(file) => {
                semaphore.import(None)?;
                semaphore.import(Some(file))?;
            }
        }
        let work = gpu.submit(&[&semaphore], &[])?;
        round.ends(work.ends_within(SOON)?)?;
        cx.equals("the fence that was replaced has signalled", false, replaced.file.is_signalled()?);
        Ok(())
    })
}

/// Each semaphore has the fence for itself: a wait for the one uses up nothing of the other.
fn imported_twice(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    for watched in [0, 1] {
        held_back(cx, &gpu.by("a submission that shares its fence"), &mut |cx, round| {
            let semaphores = [gpu.semaphore()?, gpu.semaphore()?];
            for semaphore in &semaphores {
                semaphore.import(round.fence_fd()?)?;
            }
            // What is watched is submitted first: the queue may keep the order.
            let (first, second) = (&semaphores[watched], &semaphores[1 - watched]);
            let (first, second) = (gpu.submit(&[first], &[])?, gpu.submit(&[second], &[])?);
            round.ends(first.ends_within(SOON)?)?;
            goes_on(cx, gpu, "beside the other one", second.ends_within(SOON)?);
            Ok(())
        })?;
    }
    Ok(())
}

/// After the wait the semaphore is what it was before: signalled by submissions, and imported into again.
fn restored(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let semaphore = gpu.exportable_semaphore()?;
    for _ in 0..2 {
        held_back(cx, &gpu.by("a submission after an import"), &mut |cx, round| {
            semaphore.import(round.fence_fd()?)?;
            let work = gpu.submit(&[&semaphore], &[])?;
            round.ends(work.ends_within(SOON)?)?;
            drop(work);
            let signal = gpu.submit(&[], &[&semaphore])?;
            let wait = gpu.submit(&[&semaphore], &[])?;
            goes_on(cx, gpu, "after a signal of the semaphore's own", wait.ends_within(SOON)?);
            drop((signal, wait));
            Ok(())
        })?;
        if cx.disagrees() {
            break;
        }
        held_back(cx, &gpu.by("the fence that it exports after an import"), &mut |cx, round| {
            exported(cx, gpu, &semaphore, round, OF_ITS_OWN)
        })?;
    }
    Ok(())
}

/// Each export takes one signal, and stands for that one; the next signal can be exported, or waited for.
fn exported_again(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let semaphore = gpu.exportable_semaphore()?;
    for _ in 0..2 {
        held_back(cx, &gpu.by("the fence that it exports"), &mut |cx, round| {
            exported(cx, gpu, &semaphore, round, ITS)
        })?;
    }
    let signal = gpu.submit(&[], &[&semaphore])?;
    let wait = gpu.submit(&[&semaphore], &[])?;
    goes_on(cx, gpu, "after a signal that follows exports", wait.ends_within(SOON)?);
    drop((signal, wait));
    Ok(())
}

/// What an export is of that had signalled while its submission was under way, in words, and what it looks like.
type Early = (&'static str, &'static str);

const ITS: Early = (
    "exported had signalled while its submission was under way",
    "the export does not stand for the submission that signals the semaphore",
);

/// After an import into the same semaphore, which was waited for.
const OF_ITS_OWN: Early = (
    "exported of a semaphore that had imported another had signalled before its own",
    "the import outlasts the wait for it, and is handed out in the place of what was signalled later",
);

/// What is exported of `end`, which a submission signals that waits for the round's fence.
fn exported(cx: &mut Cx, gpu: &Player, end: &Semaphore, round: &mut Round, early: Early) -> Result<(), Trouble> {
    let begin = gpu.semaphore()?;
    begin.import(round.fence_fd()?)?;
    // Exported while it is under way: the validation layer does not count an export of what has ended as the wait that
    // it is.
    let work = gpu.submit(&[&begin], &[end])?;
    let file = end.export()?;
    // Without a file the driver says that the signal has come.
    let signalled = file.as_ref().map_or(Ok(true), SyncFile::is_signalled)?;
    // A submission that is still under way is not to blame.
    let is_over = work.ends_within(Duration::ZERO)?;
    if signalled && round.is_pending()? {
        let summary = match is_over {
            true => format!("a submission of {} was over while the fence that it waits for was pending", gpu.role),
            false => format!("the fence that {} {}", gpu.role, early.0),
        };
        cx.claim("early", false, || {
            Finding::new(summary).row("exported", file.as_ref().map_or("fd -1".to_owned(), SyncFile::to_string)).row(
                "like",
                match is_over {
                    true => "the import of the fence was not waited for",
                    false => early.1,
                },
            )
        });
    }
    round.ends(file.as_ref().map_or(Ok(true), |file| file.signals_within(SOON))?)?;
    Ok(work.wait()?)
}

/// A fence that comes in holds back the one that goes out, also if the driver waits while it exports.
fn follows(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    held_back(cx, &gpu.by("the fence that it exports"), &mut |cx, round| {
        exported(cx, gpu, &gpu.exportable_semaphore()?, round, ITS)
    })
}

/// A semaphore is destroyed with a pending fence in it: nothing stays open, and the fence is what it was.
fn never_waited_for(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    // What the driver makes at its first import and keeps.
    let warm = gpu.semaphore()?;
    warm.import(Some(pending.file.try_clone()?))?;
    drop(warm);
    let before = cx.files();
    for _ in 0..20 {
        let semaphore = gpu.semaphore()?;
        semaphore.import(Some(pending.file.try_clone()?))?;
        // One that is replaced is let go, too.
        semaphore.import(Some(pending.file.try_clone()?))?;
    }
    cx.no_file_stays(40, "imports into semaphores", &before);
    cx.equals("the fence has signalled", false, pending.file.is_signalled()?);
    pending.signal()?;
    Ok(())
}

/// A file holds back the submission that waits for it, that the counter which it advances, and that the program.
fn counted(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let counter = gpu.timeline_semaphore()?;
    let mut value = 0;
    held_back(cx, &gpu.by("a wait for a counter"), &mut |cx, round| {
        value += 2;
        let begin = gpu.semaphore()?;
        begin.import(round.fence_fd()?)?;
        let work = gpu.submit_counting(&[&begin], &counter, value)?;
        // The counter first: a file that is pending afterwards was pending then.
        if counter.reaches_within(value, Duration::ZERO)? && round.is_pending()? {
            cx.claim("pending", false, || {
                Finding::new(format!(
                    "a counter of {} got to its value while the fence that its submission waits for was pending",
                    gpu.role
                ))
                .row("like", "the import of the fence was not waited for")
            });
        }
        round.ends(counter.reaches_within(value, SOON)?)?;
        cx.equals("it gets to a value that nobody gives it", false, counter.reaches_within(value + 1, Duration::ZERO)?);
        Ok(work.wait()?)
    })
}

/// A submission waits for a value, and the program for the one that the submission makes of it, when nobody has been told yet to
/// get the counter there. Who is told then waits for the fence.
fn counted_before(cx: &mut Cx, gpu: &Player) -> Result<(), Trouble> {
    let counter = gpu.timeline_semaphore()?;
    let mut value = 0;
    held_back(cx, &gpu.by("a wait of its queue for a counter"), &mut |cx, round| {
        value += 2;
        let work = gpu.submit_after_count(&counter, value - 1)?;
        let fence = round.fence_fd()?;
        let (ended, advanced) = std::thread::scope(|scope| {
            let advancer = scope.spawn(|| {
                fence.as_ref().map_or(Ok(()), |fence| fence.wait(SOON))?;
                // Past it, there is nothing to advance.
                if counter.reaches_within(value, Duration::ZERO)? { Ok(()) } else { counter.advance_to(value - 1) }
            });
            // Who is through must not wait for the one who waits for the fence.
            let ended = counter.reaches_within(value, SOON).and_then(|through| round.ends(through));
            (ended, advancer.join())
        });
        ended?;
        let advanced = advanced.map_err(|_| Finding::new("who was to advance the counter has panicked"))?;
        advanced?;
        cx.equals("it gets to a value that nobody gives it", false, counter.reaches_within(value + 1, Duration::ZERO)?);
        Ok(work.wait()?)
    })
}
