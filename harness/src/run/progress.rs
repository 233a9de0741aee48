//! How far is the run? A bar on a terminal, plain lines otherwise; on standard error in both cases.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::text;
use crate::report::CaseReport;
use crate::verdict::Verdict;

/// How often plain output says that the run is still alive.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Where a run stands, for whoever watches it. Safe to share between threads.
pub struct Progress {
    state: Mutex<State>,
    bar: Option<ProgressBar>,
}

struct State {
    total: usize,
    done: usize,
    failing: usize,
    running: BTreeSet<String>,
    last_line: Instant,
}

impl Progress {
    /// Progress of a run of `total` cases.
    pub fn new(total: usize) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64);
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {prefix}{wide_msg}");
            // The template is a constant; with a bad one the bar has its default look.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let state = State { total, done: 0, failing: 0, running: BTreeSet::new(), last_line: Instant::now() };
        Progress { state: Mutex::new(state), bar }
    }

    /// A case begins.
    pub fn began(&self, name: &str) {
        let mut state = self.state();
        state.running.insert(name.to_owned());
        self.show_running(&state);
    }

    /// A case has its verdict.
    pub fn ended(&self, case: &CaseReport) {
        let mut state = self.state();
        state.running.remove(&case.name);
        state.done += 1;
        if case.verdict.is_red() {
            state.failing += 1;
        }
        if let Some(bar) = &self.bar {
            bar.inc(1);
            if state.failing > 0 {
                bar.set_prefix(format!("{} failing  ", state.failing));
            }
        }
        // Hundreds of lines of what is skipped or known would hide the one that fails; the end of the run counts them.
        if case.verdict.is_red() || (case.verdict != Verdict::Pass && state.total <= text::FEW) {
            let line = text::line(case);
            self.line(&mut state, &line);
        } else if self.bar.is_none() && state.last_line.elapsed() >= HEARTBEAT {
            self.say_how_far(&mut state);
        }
    }

    /// Called now and then while cases run: plain output says which ones, if it has been silent for long.
    pub fn tick(&self) {
        let mut state = self.state();
        if self.bar.is_none() && state.last_line.elapsed() >= HEARTBEAT {
            self.say_how_far(&mut state);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn say_how_far(&self, state: &mut State) {
        let running: Vec<&str> = state.running.iter().map(String::as_str).collect();
        let line = format!(
            "        {} of {} cases, {} failing; now {}",
            state.done,
            state.total,
            state.failing,
            running.join(", ")
        );
        self.line(state, &line);
    }

    fn show_running(&self, state: &State) {
        if let Some(bar) = &self.bar {
            let running: Vec<&str> = state.running.iter().map(String::as_str).collect();
            bar.set_message(running.join(", "));
        }
    }

    fn line(&self, state: &mut State, line: &str) {
        state.last_line = Instant::now();
        let print = || {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(anstream::stderr(), "{line}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
