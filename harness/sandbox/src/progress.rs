//! What does somebody see who waits for the set-up?
//!
//! A bar on a terminal; plain lines elsewhere, so that a log of a CI job shows that it lives.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Takes what a set-up has to say about itself.
pub trait Progress {
    /// A new step begins; the one before is done.
    fn step(&mut self, what: &str);
    /// So many of about so many parts of the step are done.
    fn count(&mut self, done: u64, total: u64);
    /// The step goes on. Said about every second.
    fn alive(&mut self);
    /// Something to know that stays on the screen.
    fn note(&mut self, what: &str);
    /// Another one, for work that goes on at the same time.
    fn beside(&self) -> Box<dyn Progress + Send>;
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _: &str) {}
    fn count(&mut self, _: u64, _: u64) {}
    fn alive(&mut self) {}
    fn note(&mut self, _: &str) {}
    fn beside(&self) -> Box<dyn Progress + Send> {
        Box::new(Self)
    }
}

/// Says it on standard error: with a bar if that is a terminal, in lines if not.
#[derive(Debug)]
pub struct Shown {
    bars: Option<MultiProgress>,
    /// Until the first step there is nothing to show.
    bar: Option<ProgressBar>,
    step: String,
    step_started: Instant,
    counted: Option<(u64, u64)>,
    last_line: Instant,
}

/// Between two lines about the same step.
const QUIET: Duration = Duration::from_secs(15);

impl Default for Shown {
    fn default() -> Self {
        // It draws to standard error.
        Self::on(io::stderr().is_terminal().then(MultiProgress::new))
    }
}

impl Shown {
    fn on(bars: Option<MultiProgress>) -> Self {
        let now = Instant::now();
        Self { bars, bar: None, step: String::new(), step_started: now, counted: None, last_line: now }
    }

    fn line(&mut self, text: &str) {
        self.last_line = Instant::now();
        // Nobody to tell is no reason to stop.
        let _ = writeln!(io::stderr(), "handover: {text}");
    }
}

impl Progress for Shown {
    fn step(&mut self, what: &str) {
        self.step = what.to_owned();
        self.step_started = Instant::now();
        self.counted = None;
        let Some(bars) = &self.bars else {
            return self.line(what);
        };
        let bar = self.bar.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::no_length());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        bar.set_length(0);
        bar.set_position(0);
        bar.set_style(style("{spinner} {msg} ({elapsed})"));
        bar.reset_elapsed();
        bar.set_message(self.step.clone());
    }

    fn count(&mut self, done: u64, total: u64) {
        // The total is what such a build took once; it may be off by a few.
        let total = total.max(done);
        if let Some(bar) = &self.bar {
            if bar.length() != Some(total) {
                bar.set_style(style("{spinner} {msg} [{bar:30}] {pos}/{len} ({elapsed})"));
                bar.set_length(total);
            }
            bar.set_position(done);
        }
        self.counted = Some((done, total));
        self.alive();
    }

    fn alive(&mut self) {
        if self.bars.is_some() || self.last_line.elapsed() < QUIET {
            return;
        }
        let seconds = self.step_started.elapsed().as_secs();
        let counted = self.counted.map_or(String::new(), |(done, total)| format!("{done} of about {total}, "));
        self.line(&format!("{}: {counted}{seconds} s", self.step));
    }

    fn note(&mut self, what: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| {
                let _ = writeln!(io::stderr(), "handover: {what}");
            }),
            None => self.line(what),
        }
    }

    fn beside(&self) -> Box<dyn Progress + Send> {
        Box::new(Self::on(self.bars.clone()))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
