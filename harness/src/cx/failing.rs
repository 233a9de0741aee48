//! Does a call that fails, or that undoes what it did, leave everything as it was?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Cx;
use crate::error::Result;
use crate::finding::{Finding, LEAVES};
use crate::kms::Handles;
use crate::ledger::{self, Standing, objects};

/// So long what is otherwise may take to be as it was: the kernel cleans up by and by.
const SETTLED: Duration = Duration::from_millis(300);

/// How a call ended that must leave everything as it was, in words.
struct Ended {
    word: &'static str,
    leaves: &'static str,
    like: &'static str,
}

const FAILS: Ended = Ended {
    word: "fails",
    leaves: "what a failed call leaves",
    like: "an error path that does not undo, or undoes once too often",
};

const ENDS: Ended = Ended {
    word: "ends",
    leaves: "what a call leaves that undoes what it did",
    like: "something is not undone, or once too often",
};

/// What there is at one moment.
struct Moment {
    held: Standing,
    /// Of the cards with which the case has made something, or why that can't be said.
    handles: BTreeMap<String, Result<Handles>>,
    objects: u64,
}

impl Moment {
    /// What is otherwise in `after`, a line for each.
    fn changes(&self, after: &Self) -> Vec<String> {
        let mut lines = self.held.changes(&after.held);
        for (card, was) in &self.handles {
            // What could not be asked before is stated.
            let Ok(was) = was else { continue };
            let is = match after.handles.get(card) {
                Some(Ok(is)) => is,
                Some(Err(why)) => {
                    lines.push(format!("{card} does not tell its handles any more: {why}"));
                    continue;
                }
                None => {
                    lines.push(format!("{card} is not there any more"));
                    continue;
                }
            };
            let (more, gone) = (is.beyond(was), was.beyond(is));
            if more != Handles::default() {
                lines.push(format!("{card} has more: {more}"));
            }
            if gone != Handles::default() {
                lines.push(format!("{card} has no more: {gone}"));
            }
        }
        if self.objects != after.objects {
            lines.push(format!("{} Vulkan objects, not {}", after.objects, self.objects));
        }
        lines
    }
}

impl Cx {
    fn moment(&self) -> Moment {
        let handles = self.devices.touched_handles().collect();
        Moment { held: ledger::standing(), handles, objects: objects::alive() }
    }

    /// Makes `call`, and claims that it leaves everything as it was if it fails: the same open files, dma-bufs with the same
    /// devices, mappings of them, GEM handles, syncobjs and framebuffers, and Vulkan objects. What of that can't be observed is
    /// stated.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn failing<T>(&mut self, what: &str, call: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.failing_by(what, Result::is_err, call)
    }

    /// [`Self::failing`], where `failed` knows from the answer whether the call failed.
    pub fn failing_by<R>(
        &mut self,
        what: &str,
        failed: impl FnOnce(&R) -> bool,
        call: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let before = self.moment();
        let answer = call(self);
        if failed(&answer) {
            self.is_as_it_was(&before, what, &FAILS);
        }
        answer
    }

    /// Makes `call`, which leaves nothing of what it makes, and claims that everything is as it was, whatever it answers; otherwise
    /// [`Self::failing`].
    pub fn leaving_nothing<R>(&mut self, what: &str, call: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.moment();
        let answer = call(self);
        self.is_as_it_was(&before, what, &ENDS);
        answer
    }

    /// Claims that everything is as it was `before`, after `what`, which `ended` so.
    fn is_as_it_was(&mut self, before: &Moment, what: &str, ended: &Ended) {
        let began = Instant::now();
        let changes = loop {
            let changes = before.changes(&self.moment());
            if changes.is_empty() || began.elapsed() >= SETTLED {
                break changes;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        for why in &before.held.unobserved {
            self.fact("not observed", format!("{}: {why}", ended.leaves));
        }
        for (card, why) in before.handles.iter().filter_map(|(card, handles)| Some((card, handles.as_ref().err()?))) {
            self.fact("not observed", format!("handles of {card}: {why}"));
        }
        self.claim(format!("everything after {what}"), changes.is_empty(), || {
            let first = changes.first().map_or("", String::as_str);
            let others = changes.get(1..).filter(|others| !others.is_empty()).map(|others| others.join("\n"));
            Finding::new(format!("{what} {}, and {LEAVES}: {first}", ended.word))
                .maybe("and", others)
                .row("target", "everything as it was before the call")
                .row("like", ended.like)
                .maybe("calls", ledger::last_calls())
        });
    }
}
