//! Who waits for a fence, where no pixels tell: in rounds of two kinds, so that nobody passes by luck and nobody
//! without proof.
//!
//! In the first round the fence is left out, and whoever should wait must be through, which is also how long it takes.
//! In the second round it has the fence, which stays pending for longer than that: who is through before the signal did
//! not wait. After the signal it must go on. That round is made twice: who does not wait, but was late by chance as the
//! machine had other things to do, will hardly be so again.

use std::time::{Duration, Instant};

use super::Cx;
use super::fenced::{FENCED, FenceBy, PAUSE, TRIES, TURNS, Times, dropped, late_after, pause_after};
use crate::case::Trouble;
use crate::dmabuf::Dmabuf;
use crate::error::Result;
use crate::fence::{Holder, PendingFence, Released, SyncFile, Use};
use crate::finding::Finding;

/// One of the rounds.
pub struct Round {
    fence: Option<SyncFile>,
    began: Instant,
    /// How long its fence stays pending, where nobody is through before.
    due: Duration,
    holder: Option<Holder>,
    ended: Option<Ended>,
}

/// How it ended.
struct Ended {
    /// Whether the side that should wait got through at all.
    through: bool,
    times: Times,
    /// With the fence: whether it overtook the signal, and for how long it was watched.
    released: Option<Released>,
    /// From the signal until it was through.
    late: Duration,
}

impl Round {
    /// The fence; nothing in the round in which it is left out. One that is in a buffer has to be looked for there.
    pub fn fence(&self) -> Option<&SyncFile> {
        self.fence.as_ref()
    }

    /// Another fd of the fence, if there is one, for who takes it.
    ///
    /// # Errors
    /// The process has no fd left.
    pub fn fence_fd(&self) -> Result<Option<SyncFile>> {
        self.fence.as_ref().map(SyncFile::try_clone).transpose()
    }

    /// Whether there is a fence that has not signalled. What was seen before the answer was seen while it was pending.
    ///
    /// # Errors
    /// The kernel refuses `poll`.
    pub fn is_pending(&self) -> Result<bool> {
        Ok(self.fence.as_ref().map(SyncFile::is_signalled).transpose()? == Some(false))
    }

    /// The side that should wait is through, or is not within its own patience. The round ends with that; what comes
    /// later is no part of it.
    ///
    /// # Errors
    /// The fence can't be signalled.
    pub fn ends(&mut self, through: bool) -> Result<()> {
        let took = self.began.elapsed();
        let released = self.holder.take().map(Holder::other_is_through).transpose()?;
        let signalled = released.map_or(Duration::ZERO, |released| released.after(self.began));
        let times = Times { due: self.due, signalled, through: took };
        let late = released.filter(|released| !released.overtaken).map_or(Duration::ZERO, |released| released.since());
        self.ended = Some(Ended { through, times, released, late });
        Ok(())
    }
}

impl Cx {
    /// Whoever `acts` waits for a fence by the one who is named, which is in that buffer, as somebody's who is under
    /// way to do that, or is given to it if there is no buffer: it must be through without the fence, and with it not
    /// before its signal. `act` says so by [`Round::ends`].
    ///
    /// # Errors
    /// Those of `act`; there is no such fence; a skip if it takes so long without it that it can't be told to wait.
    pub fn held_back(
        &mut self,
        who: &str,
        fence: (FenceBy, Option<(&Dmabuf, Use)>),
        act: &mut dyn FnMut(&mut Self, &mut Round) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        self.held_back_for(who, fence, PAUSE, act)
    }

    /// As [`Self::held_back`], where what nothing holds back may take `least` longer one time than another, as a
    /// display does that begins at its own moments. The fence is pending for no less.
    ///
    /// # Errors
    /// As there.
    pub fn held_back_for(
        &mut self,
        who: &str,
        fence: (FenceBy, Option<(&Dmabuf, Use)>),
        least: Duration,
        act: &mut dyn FnMut(&mut Self, &mut Round) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut tries = 0;
        let (pause, free) = loop {
            let free = self.round(None, act)?;
            self.claim(format!("{who} goes on without the fence"), free.through, || {
                let summary = format!(
                    "{who} did not go on within {:.1} s though there was no fence",
                    free.times.through.as_secs_f64()
                );
                Finding::new(summary)
                    .row("like", "it waits for something else, so that with a fence it would show nothing")
            });
            // It would seem to wait for a fence, too.
            if !free.through {
                return Ok(());
            }
            tries += 1;
            match pause_after(free.times.through) {
                Ok(pause) => break (pause.max(least), free),
                Err(_) if tries < TRIES => {}
                Err(too_slow) => return Err(too_slow),
            }
        };
        for _ in 0..FENCED {
            let mut held = |cx: &mut Self| {
                let pending = cx.pending_fence(fence.0, fence.1)?;
                let (label, dropped) =
                    (pending.file.to_string(), dropped(fence.1.map(|(dmabuf, what)| (fence.0, dmabuf, what)))?);
                Ok::<_, Trouble>((cx.round(Some((pending, pause)), act)?, label, dropped))
            };
            let mut turns = 0;
            let (fenced, label, dropped) = loop {
                let held = held(self)?;
                turns += 1;
                if held.0.late <= late_after(free.times.through) || turns == TURNS {
                    break held;
                }
            };
            self.waited(who, &free, &fenced, (&label, dropped))?;
            if self.disagrees() {
                break;
            }
        }
        Ok(())
    }

    /// With the fence it must have waited, and gone on at its signal.
    fn waited(
        &mut self,
        who: &str,
        free: &Ended,
        fenced: &Ended,
        (label, dropped): (&str, &str),
    ) -> Result<(), Trouble> {
        let Some(released) = fenced.released else { return Err(Finding::new("a round had no fence").into()) };
        let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        let row = |finding: Finding| {
            fenced
                .times
                .on(finding.row("fence", label), released.overtaken)
                .row("without it", format!("through after {}", ms(free.times.through)))
        };
        self.claim(format!("{who} waits for the fence"), !released.overtaken, || {
            row(Finding::new(format!("{who} did not wait for the fence"))).row("like", dropped)
        });
        if !released.overtaken {
            let most = late_after(free.times.through);
            self.claim(format!("{who} goes on at the signal"), fenced.through && fenced.late <= most, || {
                row(Finding::new(format!(
                    "{who} did not go on within {} ms after the fence had signalled",
                    most.as_millis()
                )))
                .row("late", format!("{}, the second time", ms(fenced.late)))
                .row("like", "it waits for a fence that is not its own, or was not told of the signal")
            });
        }
        self.figure("unfenced_ms", free.times.through.as_secs_f64() * 1e3);
        self.figure("held_ms", released.watched.as_secs_f64() * 1e3);
        self.figure("late_ms", fenced.late.as_secs_f64() * 1e3);
        Ok(())
    }

    fn round(
        &mut self,
        fence: Option<(PendingFence, Duration)>,
        act: &mut dyn FnMut(&mut Self, &mut Round) -> Result<(), Trouble>,
    ) -> Result<Ended, Trouble> {
        let (fence, holder, due) = match fence {
            None => (None, None, Duration::ZERO),
            Some((pending, pause)) => {
                let file = pending.file.try_clone()?;
                (Some(file), Some(Holder::start(pause, || Ok(()), pending.into_signal())?), pause)
            }
        };
        let mut round = Round { fence, began: Instant::now(), due, holder, ended: None };
        act(self, &mut round)?;
        round
            .ended
            .ok_or_else(|| Finding::new("the case did not say when the side that should wait was through").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_without_a_fence_would_show_nothing_with_one() {
        let mut cx = Cx::default();
        let mut rounds = 0;
        let ended = cx.held_back("somebody", (FenceBy::SwSync, None), &mut |_, round| {
            rounds += 1;
            Ok(round.ends(false)?)
        });
        assert!(ended.is_ok() && rounds == 1, "{rounds} rounds: {ended:?}");
        let [finding] = cx.provoked().try_into().expect("one finding");
        assert!(
            finding.summary.starts_with("somebody did not go on within 0.0 s though there was no fence"),
            "{finding}"
        );
        assert!(finding.to_string().contains("with a fence it would show nothing"), "{finding}");
    }
}
