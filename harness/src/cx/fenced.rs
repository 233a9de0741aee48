//! Handovers under a fence, each in four runs, so that none can pass by luck and none without proof.
//!
//! One side works slowly: half of the frame, then a pause, then the other half, and only then its fence signals. In the
//! first two runs there is no fence, and the other side must be seen to lose: it gets the frame before, or parts of
//! two. Then it has the fence, twice. The pause then lasts longer than the other side took without it, so that
//! whoever does not wait is through before the signal; and the signal must let it go on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Cx, missing_is_skip};
use crate::case::{Role, Trouble};
use crate::dmabuf::{Dmabuf, OpenAccess, SharedFrame};
use crate::error::{Cause, Error, Result};
use crate::fence::{Generations, Holder, PendingFence, Released, Seen, SyncFile, Timeline, Use};
use crate::finding::Finding;
use crate::pattern::Pattern;
use crate::picture::Picture;
use crate::share::core::Access;

/// Where the fence is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Into the other side's hands.
    Given,
    /// Into the dma-buf.
    InBuffer,
}

/// Who makes the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceBy {
    /// A software timeline.
    SwSync,
    /// vgem, which attaches it to a buffer.
    Vgem,
}

impl FenceBy {
    /// As it is written in names of cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SwSync => "sw_sync",
            Self::Vgem => "vgem",
        }
    }
}

/// What the other side is given in one run.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'t> {
    /// What it finds in the buffer, and what it is to find or to leave there.
    pub generations: &'t Generations,
    /// Number of the new one's pattern.
    pub stamp: u32,
    /// The fence, if it is given one. One that is in the buffer has to be looked for there.
    pub fence: Option<&'t SyncFile>,
}

impl Turn<'_> {
    /// Another fd of the fence, if there is one, for who takes it.
    ///
    /// # Errors
    /// The process has no fd left.
    pub fn fence_fd(&self) -> Result<Option<SyncFile>> {
        self.fence.map(SyncFile::try_clone).transpose()
    }
}

/// Which side is the slow one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slow {
    Writer,
    Reader,
}

/// How a run goes.
#[derive(Clone, Copy)]
struct Plan {
    /// Number of the new frame's pattern.
    stamp: u32,
    /// How much of the frame is done before the other side begins: nothing, or a half.
    halves: u32,
    fence: Option<(FenceBy, Put)>,
    /// For how long the slow side waits for the other one to be through.
    pause: Duration,
}

/// How it went.
struct Ran {
    seen: Seen,
    released: Released,
    /// From the signal until it was through.
    late: Duration,
    fence: String,
    /// What it is like if it did not wait.
    dropped: &'static str,
    times: Times,
}

/// Without a fence nothing holds the other side back for so long.
const UNFENCED: Duration = Duration::from_secs(10);

/// When what came in a round, since the one who was to wait began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When the signal was to come, where nobody got through before.
    pub(super) due: Duration,
    /// When it came: who is through before is not waited for.
    pub(super) signalled: Duration,
    /// When who was to wait was through.
    pub(super) through: Duration,
}

impl Times {
    /// `finding` with them, in the order in which they came.
    pub(super) fn on(self, finding: Finding, overtaken: bool) -> Finding {
        let ms = |time: Duration| format!("after {:.2} ms", time.as_secs_f64() * 1e3);
        match overtaken {
            true => finding.row("through", format!("{}, with the fence pending", ms(self.through))).row(
                "signalled",
                format!("{}, when that was seen; {:.0} ms were due", ms(self.signalled), self.due.as_secs_f64() * 1e3),
            ),
            false => finding.row("signalled", ms(self.signalled)).row("through", ms(self.through)),
        }
    }
}

/// After its signal a fence holds nobody back for longer: [`late_after`].
const LATE: Duration = Duration::from_millis(250);

/// So many turns has who is late, since a machine that has other things to do is late once, and who is not told of signals
/// is each time.
pub(super) const TURNS: u32 = 2;

/// So often the other side has the fence. Who does not wait, but was late by chance as the machine had other things to do,
/// will hardly be so again.
pub(super) const FENCED: u32 = 2;

/// The pause is at most so long: no longer than fences and the patience of devices last.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// So often is tried how long it takes without the fence: a machine with other things to do may be too slow to tell.
pub(super) const TRIES: u32 = 3;

/// The pause is at least so long.
pub(super) const PAUSE: Duration = Duration::from_millis(3);

impl Cx {
    /// A software timeline.
    ///
    /// # Errors
    /// A skip that says why there is none.
    pub fn timeline(&mut self) -> Result<Timeline, Trouble> {
        missing_is_skip(Timeline::open())
    }

    /// A fence by `by` that we signal; by vgem, and the case says so, where there is no `sw_sync`, which is root's. If there is
    /// a buffer for it, it is in the buffer: somebody is under way there, to `what`.
    ///
    /// # Errors
    /// A skip that says what is missing; the kernel refuses.
    pub fn pending_fence(&mut self, by: FenceBy, buffer: Option<(&Dmabuf, Use)>) -> Result<PendingFence, Trouble> {
        match by {
            FenceBy::SwSync => {
                let pending = match PendingFence::sw_sync() {
                    Err(error) if matches!(error.cause, Cause::Missing(_)) => self.instead_of_sw_sync(&error)?,
                    made => made?,
                };
                if let Some((dmabuf, what)) = buffer {
                    dmabuf.import_sync_file(what, &pending.file)?;
                }
                Ok(pending)
            }
            FenceBy::Vgem => {
                let elsewhere = match buffer {
                    Some(_) => None,
                    None => Some(self.devices.dumb_buffers(Role::Vgem, "vgem")?.of_bytes(4096)?),
                };
                let Some((dmabuf, what)) = buffer.or(elsewhere.as_ref().map(|own| (own, Use::Write))) else {
                    return Err(Finding::new("vgem has no buffer for a fence").into());
                };
                let imported = self.prime(Role::Vgem)?.import(dmabuf)?;
                let fence = imported.attach_fence(what)?;
                // What one waits for who wants to write is every fence there is.
                let file = dmabuf.export_sync_file(Use::Write)?;
                Ok(PendingFence::new(file, move || {
                    let _until_now = (imported, elsewhere);
                    fence.signal()
                }))
            }
        }
    }

    fn instead_of_sw_sync(&mut self, missing: &Error) -> Result<PendingFence, Trouble> {
        let pending = self.pending_fence(FenceBy::Vgem, None).map_err(|trouble| match trouble {
            Trouble::Skip(why) => Trouble::Skip(format!("{missing}; {why}")),
            fail => fail,
        })?;
        self.fact("fence", format!("of vgem, which signals any after 10 s: {missing}"));
        Ok(pending)
    }

    /// Whoever `looks` waits for the fence of a slow writer: it must see the old frame without the fence, parts of both without
    /// the fence, and the new frame with it, and not before its signal.
    ///
    /// # Errors
    /// Those of `look`; there is no such fence.
    pub fn reads_in_order(
        &mut self,
        reader: &str,
        shared: &SharedFrame,
        fence: (FenceBy, Put),
        look: &mut dyn FnMut(&mut Self, &Turn<'_>) -> Result<Seen, Trouble>,
    ) -> Result<(), Trouble> {
        self.in_order(reader, Slow::Writer, shared, fence, look).map(drop)
    }

    /// Whoever `writes` waits for the fence of a slow reader: the reader must see nothing but the new frame without the fence,
    /// parts of both without the fence, and the old frame with it; and then the new one is there.
    ///
    /// # Errors
    /// Those of `write`; there is no such fence.
    pub fn writes_in_order(
        &mut self,
        writer: &str,
        shared: &SharedFrame,
        fence: (FenceBy, Put),
        write: &mut dyn FnMut(&mut Self, &Turn<'_>) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        // What the reader saw is known when the writer is through.
        let mut write = |cx: &mut Self, turn: &Turn<'_>| write(cx, turn).map(|()| Seen::New);
        let stamp = self.in_order(writer, Slow::Reader, shared, fence, &mut write)?;
        let new = Pattern { stamp }.picture(shared.frame.fourcc, shared.frame.size)?;
        let old = Pattern { stamp: stamp - 1 }.picture(shared.frame.fourcc, shared.frame.size)?;
        let seen = Generations { old, new }.seen(&shared.read_back()?)?;
        self.claim("what was written", seen == Seen::New, || {
            Finding::new(format!("{writer} waited for the reader, and what it then left in the buffer is {seen}"))
        });
        Ok(())
    }

    /// The number of the last pattern.
    fn in_order(
        &mut self,
        other: &str,
        slow: Slow,
        shared: &SharedFrame,
        fence: (FenceBy, Put),
        act: &mut dyn FnMut(&mut Self, &Turn<'_>) -> Result<Seen, Trouble>,
    ) -> Result<u32, Trouble> {
        let mut tries = 0;
        let (pause, unfenced) = loop {
            // Seeds the buffer with the frame before the first.
            shared.write(&Pattern { stamp: 1 }.picture(shared.frame.fourcc, shared.frame.size)?)?;
            let unfenced = Plan { stamp: 2, halves: 0, fence: None, pause: UNFENCED };
            let stale = self.run(slow, shared, unfenced, act)?;
            self.loses(other, slow, "stale", &stale, stale.seen == Seen::Old);
            let torn = self.run(slow, shared, Plan { stamp: 3, halves: 1, ..unfenced }, act)?;
            self.loses(other, slow, "torn", &torn, matches!(torn.seen, Seen::Torn { .. }));
            tries += 1;
            let took = torn.times.through.max(stale.times.through);
            match pause_after(took) {
                Ok(pause) => break (pause, took),
                Err(_) if tries < TRIES => {}
                Err(too_slow) => return Err(too_slow),
            }
        };
        let mut stamp = 3;
        for _ in 0..FENCED {
            let mut turns = 0;
            let ran = loop {
                (stamp, turns) = (stamp + 1, turns + 1);
                let ran = self.run(slow, shared, Plan { stamp, halves: 1, fence: Some(fence), pause }, act)?;
                if ran.late <= late_after(unfenced) || turns == TURNS {
                    break ran;
                }
            };
            self.waits(other, slow, &ran, unfenced);
            self.figure("unfenced_ms", unfenced.as_secs_f64() * 1e3);
            self.figure("held_ms", ran.released.watched.as_secs_f64() * 1e3);
            self.figure("late_ms", ran.late.as_secs_f64() * 1e3);
            if self.disagrees() {
                break;
            }
        }
        Ok(stamp)
    }

    /// One run: the slow side begins, the other one acts, the slow side ends.
    fn run(
        &mut self,
        slow: Slow,
        shared: &SharedFrame,
        plan: Plan,
        act: &mut dyn FnMut(&mut Self, &Turn<'_>) -> Result<Seen, Trouble>,
    ) -> Result<Ran, Trouble> {
        let picture = |stamp| Pattern { stamp }.picture(shared.frame.fourcc, shared.frame.size);
        let generations = Generations { old: picture(plan.stamp - 1)?, new: picture(plan.stamp)? };
        let mut side = Side::begin(slow, shared, &generations)?;
        for _ in 0..plan.halves {
            side.work_a_half()?;
        }
        // What came before did not wait; this is what it would have to wait for.
        let what = if slow == Slow::Writer { Use::Write } else { Use::Read };
        let pending = match plan.fence {
            None => None,
            Some((by, Put::Given)) => Some(self.pending_fence(by, None)?),
            Some((by, Put::InBuffer)) => Some(self.pending_fence(by, Some((&shared.dmabuf, what)))?),
        };
        let in_buffer = match plan.fence {
            Some((by, Put::InBuffer)) => Some((by, &shared.dmabuf, what)),
            _ => None,
        };
        let dropped = dropped(in_buffer)?;
        let (given, signal) = match pending {
            None => (None, None),
            Some(pending) => (Some(pending.file.try_clone()?), Some(pending.into_signal())),
        };
        let fence = given.as_ref().map_or("none".to_owned(), SyncFile::to_string);
        let kept = Arc::clone(&side.bytes);
        let signal = move || signal.map_or(Ok(()), |signal| signal());
        let holder = Holder::start(plan.pause, move || side.end(), signal)?;
        let in_hand = given.filter(|_| matches!(plan.fence, Some((_, Put::Given))));
        let turn = Turn { generations: &generations, stamp: plan.stamp, fence: in_hand.as_ref() };
        let began = Instant::now();
        let acted = act(self, &turn);
        let took = began.elapsed();
        let released = holder.other_is_through()?;
        let late = if released.overtaken { Duration::ZERO } else { released.since() };
        let seen = match slow {
            Slow::Writer => acted?,
            Slow::Reader => {
                acted?;
                let bytes = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
                let read = Picture { bytes, ..generations.old.clone() };
                generations.swapped().seen(&read)?
            }
        };
        let times = Times { due: plan.pause, signalled: released.after(began), through: took };
        Ok(Ran { seen, released, late, fence, dropped, times })
    }

    /// Without a fence `other` must lose, or a fence would show nothing.
    fn loses(&mut self, other: &str, slow: Slow, hazard: &str, ran: &Ran, lost: bool) {
        let through = ran.released.overtaken;
        self.claim(format!("{hazard} without the fence"), lost && through, || {
            let saw = slow.saw(other, ran.seen);
            let summary = match through {
                false => format!("{other} did not go on within {} s though there was no fence", UNFENCED.as_secs()),
                true => {
                    format!("without a fence {saw}, where a {hazard} one was due: with a fence it would show nothing")
                }
            };
            Finding::new(summary)
                .row("like", "something else than the fence holds it back, or another buffer is looked at")
        });
    }

    /// With the fence it must wait, and go on at its signal.
    fn waits(&mut self, other: &str, slow: Slow, ran: &Ran, unfenced: Duration) {
        let saw = slow.saw(other, ran.seen);
        let row = |finding: Finding| ran.times.on(finding.row("fence", &ran.fence), ran.released.overtaken);
        self.claim("waits for the fence", !ran.released.overtaken, || {
            row(Finding::new(format!("{other} did not wait for the fence: {saw}"))).row("like", ran.dropped)
        });
        if ran.released.overtaken {
            return;
        }
        self.claim("fenced", ran.seen == Seen::New, || {
            row(Finding::new(format!("after the fence had signalled, {saw}"))).row(
                "like",
                "work that began before the wait, was looked at before it was over, or was not made visible",
            )
        });
        let most = late_after(unfenced);
        self.claim("goes on at the signal", ran.late <= most, || {
            let late = ran.late.as_secs_f64() * 1e3;
            row(Finding::new(format!("{other} went on only {late:.0} ms after the fence had signalled")))
                .row("target", format!("{} ms at most, {TURNS} times", most.as_millis()))
                .row("like", "it was not told of the signal")
        });
    }
}

impl Slow {
    /// What was seen, in words; of a slow reader what it saw while `other` was to wait.
    fn saw(self, other: &str, seen: Seen) -> String {
        match (self, seen) {
            (Self::Writer, seen) => format!("{other} saw {seen}"),
            // The reader's target is the old frame.
            (Self::Reader, Seen::New) => format!("{other} left the reader its frame"),
            (Self::Reader, Seen::Old) => format!("{other} replaced the frame before it was read (stale)"),
            (Self::Reader, Seen::Torn { new, old }) => {
                format!("{other} wrote under the reader, who saw {new} pixels of its frame and {old} of the next")
            }
            (Self::Reader, seen) => format!("the reader saw {seen}"),
        }
    }
}

/// The slow side of one run. It begins its access to the buffer before there is a fence, as nobody waits for himself.
struct Side {
    access: OpenAccess,
    /// Of each row that is left: the byte where it lies, and for a writer what it is to be.
    rows: VecDeque<(u64, Vec<u8>)>,
    half: usize,
    reads: bool,
    /// What a reader has read.
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Side {
    fn begin(slow: Slow, shared: &SharedFrame, generations: &Generations) -> Result<Self> {
        let reads = slow == Slow::Reader;
        let rows: VecDeque<_> =
            generations.new.rows_in(&shared.frame)?.into_iter().map(|(at, row)| (at, row.to_vec())).collect();
        let access = if reads { Access::Read } else { Access::Write };
        let access = shared.dmabuf.map()?.begin(access)?;
        Ok(Self { access, half: rows.len() / 2, rows, reads, bytes: Arc::default() })
    }

    fn work_a_half(&mut self) -> Result<()> {
        for _ in 0..self.half {
            self.work_a_row()?;
        }
        self.access.renew()
    }

    fn work_a_row(&mut self) -> Result<()> {
        let Some((at, mut row)) = self.rows.pop_front() else { return Ok(()) };
        if self.reads {
            self.access.read_into(at, &mut row)?;
            self.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&row);
            return Ok(());
        }
        self.access.write(at, &row)
    }

    /// Works what is left, and ends the access.
    fn end(mut self) -> Result<()> {
        while !self.rows.is_empty() {
            self.work_a_row()?;
        }
        self.access.end()
    }
}

/// After its signal a fence holds nobody back for longer whom nothing held back for as long as `unfenced` without it.
pub(super) fn late_after(unfenced: Duration) -> Duration {
    LATE.max(unfenced * 20)
}

/// How long a fence stays pending for a side that took so long without it: three times as long, when everything was
/// made that is made once. Displays and video devices take up to a frame more or less.
pub(super) fn pause_after(took: Duration) -> Result<Duration, Trouble> {
    let pause = PAUSE.max(took * 3).min(LONGEST_PAUSE);
    if pause < took * 2 {
        return Err(Trouble::Skip(format!("too slow to tell: {:.1} s without the fence", took.as_secs_f64())));
    }
    Ok(pause)
}

/// What it is like if somebody does not wait for a fence that is pending now: one that he was given, or, of a buffer, one that was
/// put into it, and is there by all that can be asked, or is not.
pub(super) fn dropped(buffer: Option<(FenceBy, &Dmabuf, Use)>) -> Result<&'static str> {
    let Some((by, dmabuf, under_way)) = buffer else { return Ok("the fence was taken and not waited for") };
    // A reader holds back nobody but writers.
    let what = if under_way == Use::Read { Use::Write } else { Use::Read };
    let is_free = dmabuf.is_ready_within(what, Duration::ZERO)? && dmabuf.export_sync_file(what)?.is_signalled()?;
    Ok(match (is_free, by) {
        (true, FenceBy::SwSync) => {
            "a fence that did not get into the buffer: poll does not wait either, and it exports none that is pending, though \
             DMA_BUF_IOCTL_IMPORT_SYNC_FILE took one"
        }
        (true, FenceBy::Vgem) => {
            "a fence that did not get into the buffer: poll does not wait either, and it exports none that is pending, though \
             DRM_IOCTL_VGEM_FENCE_ATTACH made one"
        }
        (false, _) => "the fence is in the buffer, and nobody waited for it",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a run without a fence, in which the reader was to see the old frame.
    fn said(seen: Seen, through: bool) -> Option<String> {
        let mut cx = Cx::default();
        let (none, fence) = (Duration::ZERO, String::new());
        let times = Times { due: none, signalled: none, through: none };
        let ran = Ran { seen, released: Released::now(through), late: none, fence, dropped: "", times };
        cx.loses("gpu_a", Slow::Writer, "stale", &ran, seen == Seen::Old);
        cx.provoked().first().map(Finding::to_string)
    }

    #[test]
    fn who_sees_the_right_frame_without_a_fence_would_show_nothing_with_one() {
        assert_eq!(said(Seen::Old, true), None);
        let right = said(Seen::New, true).unwrap();
        assert!(right.contains("where a stale one was due: with a fence it would show nothing"), "{right}");
        let waited = said(Seen::Old, false).unwrap();
        assert!(waited.starts_with("gpu_a did not go on within 10 s though there was no fence"), "{waited}");
    }
}
