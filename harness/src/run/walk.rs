//! How does a case end when something goes wrong on its way, at every place where that can be?
//!
//! A [`Walk`] runs a case once for each system call that may fail, and has that one call fail; then with signals, with a clock
//! that goes back, and with a peer that is killed or stops at each of its steps. After each it asks: did the case end at all, did
//! it say what failed (or was the fault none to it), has nobody else found anything (the ledger, the kernel, the validation
//! layer), is nothing left behind, and does the case pass afterwards? And in the end:
//! do the workers, too? What each disturbance is, is said in [`crate::disturb`]; how an ending is judged, in `judge`.

mod ends;
mod judge;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::kernel_log;
use super::link::{Ending, Link};
use super::protocol::Request;
use super::stop::Stop;
use super::supervisor::Settings;
use crate::case::CaseInfo;
use crate::disturb::{Blow, Disturbance, Fault, Held, change, listed};
use crate::lane::WalkKnown;
use crate::verdict::{self, Verdict};
use ends::Walks;
use judge::{Clarity, clarity, is_the_peers_end};

pub use ends::{BadEnd, Ends};
pub use text::{is_green, summary};

/// More calls than any case makes that may fail alike.
const MOST: u32 = 5000;

/// How often a case runs with signals, and with a clock that goes back.
const STORMS: u32 = 3;

/// One kind of disturbance, and with it all its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `EINTR` of each call.
    Interrupted,
    /// `ENOMEM` of each call.
    NoMemory,
    /// `EMFILE` of each call.
    TooManyFiles,
    /// `EBUSY` of each call.
    Busy,
    /// The peer is killed at each of its calls, and stopped at each.
    Peer,
    /// A signal every millisecond.
    Signals,
    /// A clock that goes back.
    Clock,
}

impl Kind {
    /// Each of them, in the order of a report.
    pub const ALL: [Kind; 7] =
        [Kind::Interrupted, Kind::NoMemory, Kind::TooManyFiles, Kind::Busy, Kind::Peer, Kind::Signals, Kind::Clock];

    /// What stands above its column.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Interrupted => "EINTR",
            Kind::NoMemory => "ENOMEM",
            Kind::TooManyFiles => "EMFILE",
            Kind::Busy => "EBUSY",
            Kind::Peer => "peer",
            Kind::Signals => "signals",
            Kind::Clock => "clock",
        }
    }

    /// Whether it is done by who listens to system calls.
    fn listens(self) -> bool {
        !matches!(self, Kind::Signals | Kind::Clock)
    }

    fn does(self) -> &'static [Does] {
        match self {
            Kind::Interrupted => &[Does::Call(Fault::Interrupted)],
            Kind::NoMemory => &[Does::Call(Fault::NoMemory)],
            Kind::TooManyFiles => &[Does::Call(Fault::TooManyFiles)],
            Kind::Busy => &[Does::Call(Fault::Busy)],
            Kind::Peer => &[Does::Peer(Blow::Kill), Does::Peer(Blow::Stop)],
            Kind::Signals => &[Does::Storm(Disturbance::Signals)],
            Kind::Clock => &[Does::Storm(Disturbance::Clock)],
        }
    }
}

/// What is done again and again, at one place after another.
#[derive(Clone, Copy)]
enum Does {
    Call(Fault),
    Peer(Blow),
    Storm(Disturbance),
}

impl Does {
    fn step(self, nth: u32) -> Option<Disturbance> {
        match self {
            Does::Call(fault) => Some(Disturbance::Call { fault, nth }),
            Does::Peer(blow) => Some(Disturbance::Peer { blow, nth }),
            Does::Storm(storm) => (nth <= STORMS).then_some(storm),
        }
    }
}

/// What came of all steps of one kind in one case.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Steps {
    /// How often a disturbance was met.
    pub met: u32,
    /// How many of these the case did not mind.
    pub borne: u32,
    /// How many of these failed the case, which said why.
    pub named: u32,
    /// How many times something went wrong that is known, by where it is described.
    pub known: BTreeMap<String, u32>,
    /// How long all of it took, in ms.
    pub ms: u64,
    /// What is wrong, each once.
    pub findings: Vec<Found>,
}

/// Something that must not be, with the first step that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What is wrong, as a sentence.
    pub what: String,
    /// The first step.
    pub step: String,
    /// The call that it met, if it did.
    pub call: Option<String>,
    /// What the case said.
    pub said: String,
    /// How many steps show it.
    pub times: u32,
}

/// What came of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Walked {
    /// The case's name.
    pub name: String,
    /// By kind, in the order of [`Kind::ALL`]; a kind that the case never met is there with no steps, and one that was not
    /// walked is not.
    pub kinds: BTreeMap<Kind, Steps>,
}

impl Walked {
    /// Everything that is wrong.
    pub fn findings(&self) -> impl Iterator<Item = (Kind, &Found)> {
        self.kinds.iter().flat_map(|(kind, steps)| steps.findings.iter().map(|found| (*kind, found)))
    }
}

/// What came of a walk.
#[derive(Debug)]
pub struct Outcome {
    /// Every case, in the order in which they were given.
    pub cases: Vec<Walked>,
    /// How the workers ended.
    pub workers: Ends,
    /// Why it is not all.
    pub error: Option<String>,
}

/// Walks cases in workers of its own.
pub struct Walk {
    settings: Settings,
    known: Vec<WalkKnown>,
    stop: Stop,
}

/// A worker, and what it held after the last run that nothing had disturbed.
struct Worker {
    link: Link,
    held: Held,
    walks: Walks,
}

/// How one run ended.
struct Ran {
    verdict: Verdict,
    text: String,
    /// What its body said, each finding by itself; or why it was skipped.
    body: Vec<String>,
    /// Each thing that was found when its body had ended.
    beside: Vec<String>,
    /// The call that met its disturbance.
    call: Option<String>,
    /// How often it met that.
    times: u32,
    /// What is held afterwards, if the worker told.
    held: Option<Held>,
}

impl Ran {
    /// How its ending is to be taken, having met `step`. Nothing where its body said nothing: what was found when it had ended is
    /// told of by itself.
    fn taken(&self, step: Disturbance) -> Option<Clarity> {
        if self.body.is_empty() && !self.beside.is_empty() {
            let of_peers = self.beside.iter().all(|said| is_the_peers_end(step, said));
            return of_peers.then_some(Clarity::Named);
        }
        Some(clarity(step, self.verdict, &self.body, self.call.as_deref()))
    }

    /// `what` is wrong, and where, if it crashed.
    fn placed(&self, what: String) -> String {
        let file = if self.verdict == Verdict::Crash { crashed_in(&self.text) } else { None };
        what + &file.map_or_else(String::new, |file| format!(", in {file}"))
    }
}

impl Walk {
    /// A walk with workers of `settings`, which are told how they can be disturbed.
    ///
    /// What is `known` of drivers of others is counted and no finding.
    pub fn new(settings: Settings, known: Vec<WalkKnown>, stop: Stop) -> Walk {
        Walk { settings, known, stop }
    }

    /// Walks each of `cases` by its kinds, `jobs` workers at a time. Of each that has ended, `ended` is told.
    ///
    /// What ended by then if no worker can be had, or the walk was stopped.
    pub fn all(
        &self,
        cases: &[(&CaseInfo, Vec<Kind>)],
        jobs: usize,
        ended: impl Fn(&str, Kind, &Steps) + Sync,
    ) -> Outcome {
        let mut parts: Vec<(&CaseInfo, Kind)> =
            cases.iter().flat_map(|(case, kinds)| kinds.iter().map(move |kind| (*case, *kind))).collect();
        // Each kind of worker is started once, as long as none is lost. What waits the longest goes first.
        parts.sort_by_key(|(_, kind)| (kind.listens(), *kind != Kind::Peer));
        let (next, done, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(None));
        let workers = Mutex::new(Ends::default());
        let done = || lock(&done);
        let work = || {
            let mut worker: Option<Worker> = None;
            let mut last: Option<Kind> = None;
            loop {
                let part = parts.get(next.fetch_add(1, Ordering::Relaxed));
                if last.is_some_and(|kind| part.is_none_or(|(_, next)| next.listens() != kind.listens()))
                    && let Some(Worker { link, walks, .. }) = worker.take()
                {
                    let closing = link.close();
                    lock(&workers).note(&walks, closing, &self.known);
                }
                let Some((case, kind)) = part else { return };
                match self.steps(&mut worker, case, *kind) {
                    Ok(steps) => {
                        ended(&case.name, *kind, &steps);
                        done().push((case.name.clone(), *kind, steps));
                        last = Some(*kind);
                    }
                    Err(why) => {
                        lock(&broken).get_or_insert(why);
                        return;
                    }
                }
                if lock(&broken).is_some() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for job in 1..jobs.clamp(1, parts.len().max(1)) {
                // Fewer jobs do the same work.
                let _ = std::thread::Builder::new().name(format!("job {job}")).spawn_scoped(scope, work);
            }
            work();
        });
        let mut walked: Vec<Walked> =
            cases.iter().map(|(case, _)| Walked { name: case.name.clone(), kinds: BTreeMap::new() }).collect();
        for (name, kind, steps) in std::mem::take(&mut *done()) {
            if let Some(walked) = walked.iter_mut().find(|walked| walked.name == name) {
                walked.kinds.insert(kind, steps);
            }
        }
        let (workers, error) = (std::mem::take(&mut *lock(&workers)), lock(&broken).take());
        Outcome { cases: walked, workers, error }
    }

    /// All steps of one kind in one case.
    fn steps(&self, worker: &mut Option<Worker>, case: &CaseInfo, kind: Kind) -> Result<Steps, String> {
        let began = Instant::now();
        let mut steps = Steps::default();
        let mut goes_on = self.warm_up(worker, case, kind, &mut steps)?;
        for does in kind.does() {
            for (nth, step) in (1..=MOST).map_while(|nth| Some((nth, does.step(nth)?))) {
                // A fresh worker, since the last one was lost or given up.
                goes_on = goes_on && (worker.is_some() || self.warm_up(worker, case, kind, &mut steps)?);
                if !goes_on || !self.step(worker, case, kind, step, &mut steps)? {
                    break;
                }
                if nth == MOST {
                    let what = format!("it makes {MOST} calls that may fail, or more, and only those were walked");
                    steps.found(what, step, None, String::new());
                }
            }
        }
        // What the last step left is not the next case's to find.
        if worker.is_some() && steps.met > 0 {
            self.afterwards(worker, case, kind, ("the last step", None), &mut steps)?;
        }
        steps.forgive(&self.known);
        steps.ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(steps)
    }

    /// Runs the case undisturbed until what is made once is there. Says whether it passes.
    fn warm_up(
        &self,
        worker: &mut Option<Worker>,
        case: &CaseInfo,
        kind: Kind,
        steps: &mut Steps,
    ) -> Result<bool, String> {
        for _ in 0..2 {
            let ran = self.run(worker, case, kind, Disturbance::Nothing, None, steps)?;
            if ran.verdict != Verdict::Pass {
                steps.found(format!("{} without a disturbance", past(ran.verdict)), "nothing", None, ran.text);
                return Ok(false);
            }
            if let (Some(worker), Some(held)) = (worker.as_mut(), ran.held) {
                worker.held = held;
            }
        }
        Ok(true)
    }

    /// One step, and what is to be said of it. Whether there may be another.
    fn step(
        &self,
        worker: &mut Option<Worker>,
        case: &CaseInfo,
        kind: Kind,
        step: Disturbance,
        steps: &mut Steps,
    ) -> Result<bool, String> {
        let mut ran = self.run(worker, case, kind, step, None, steps)?;
        if matches!(step, Disturbance::Peer { .. }) && ran.call.is_none() && ran.verdict == Verdict::Fail {
            // A peer that nobody had stopped was given up, since the machine had other things to do.
            self.afterwards(worker, case, kind, (step, None), steps)?;
            ran = self.run(worker, case, kind, step, None, steps)?;
        }
        let is_counted = matches!(step, Disturbance::Call { .. } | Disturbance::Peer { .. });
        let lived = !matches!(ran.verdict, Verdict::Crash | Verdict::Timeout);
        // A storm may come too late: the case was over before the first signal.
        let is_met = if is_counted { ran.call.is_some() } else { ran.times > 0 };
        if lived && !is_met {
            if ran.verdict != Verdict::Pass {
                steps.found(format!("{}, though nothing was met", past(ran.verdict)), step, None, ran.text);
                *worker = None;
            }
            return Ok(!is_counted);
        }
        steps.met += 1;
        let call = ran.call.as_deref();
        // When a case has ended, what comes of its peers is said; nobody else has anything to say.
        for said in ran.beside.iter().filter(|said| !is_the_peers_end(step, said)) {
            steps.found(format!("found when it had ended: {}", headline(said)), step, call, said.clone());
        }
        match ran.taken(step) {
            None => {}
            Some(Clarity::Borne) => steps.borne += 1,
            Some(Clarity::Named) => steps.named += 1,
            Some(Clarity::Wrong(what)) => steps.found(ran.placed(what), step, call, ran.text.clone()),
        }
        let holds_more = worker.as_ref().is_none_or(|worker| ran.held.as_ref() != Some(&worker.held));
        if ran.verdict == Verdict::Pass && !holds_more {
            return Ok(true);
        }
        let Some(mut lost) = self.afterwards(worker, case, kind, (step, call), steps)? else { return Ok(true) };
        // What is kept for the next time is kept once; what is lost is lost each time.
        for _ in 0..2 {
            if !lived || lost.is_empty() {
                break;
            }
            let again = self.run(worker, case, kind, step, None, steps)?;
            // Such a step may be borne once and not the next time.
            if let Some(Clarity::Wrong(what)) = again.taken(step) {
                steps.found(again.placed(what), step, call, again.text);
            }
            let Some(more) = self.afterwards(worker, case, kind, (step, call), steps)? else { return Ok(true) };
            lost.retain(|what, _| more.contains_key(what));
        }
        if lived && !lost.is_empty() {
            let what = format!("holds something else afterwards, each time: {}", listed(&lost));
            steps.found(what, step, call, ran.text);
            // The next step begins with a process that has lost nothing.
            *worker = None;
        }
        Ok(true)
    }

    /// Runs the case undisturbed after the step `at`, which met a call, and says what is held by then that was not after the last
    /// such run. None if it does not pass.
    ///
    /// What a broken device held is opened again by the run afterwards, so only both together tell what is left.
    fn afterwards(
        &self,
        worker: &mut Option<Worker>,
        case: &CaseInfo,
        kind: Kind,
        (at, call): (impl fmt::Display, Option<&str>),
        steps: &mut Steps,
    ) -> Result<Option<Held>, String> {
        let before = worker.as_ref().map(|worker| worker.held.clone());
        let ran = self.run(worker, case, kind, Disturbance::Nothing, before.clone(), steps)?;
        if ran.verdict != Verdict::Pass {
            steps.found(format!("{} when it is done again", past(ran.verdict)), at, call, ran.text);
            *worker = None;
            return Ok(None);
        }
        let held = ran.held.unwrap_or_default();
        let lost = before.map_or_else(Held::new, |before| change(&before, &held));
        if let Some(worker) = worker {
            worker.held = held;
        }
        Ok(Some(lost))
    }

    /// One run of the case. It gets a moment to hold what was held `before`.
    fn run(
        &self,
        worker: &mut Option<Worker>,
        case: &CaseInfo,
        kind: Kind,
        disturbance: Disturbance,
        before: Option<Held>,
        steps: &mut Steps,
    ) -> Result<Ran, String> {
        let Settings { kernel, worker: command, start_within, case_within, report, golden, .. } = &self.settings;
        let Worker { mut link, held, mut walks } = match worker.take() {
            Some(worker) => worker,
            None => {
                let how = if kind.listens() { "with-listener" } else { "without-listener" };
                let command = command.clone().args(["--disturbed", how]);
                let link = Link::start(kernel.as_ref(), &command, *start_within, &self.stop)?;
                Worker { link, held: Held::new(), walks: Walks::default() }
            }
        };
        walks.goes_on(&case.name, kind);
        let request = Request {
            run: case.name.clone(),
            artifacts: report.of_case(&case.name),
            golden: *golden,
            within: *case_within,
            disturbance: Some(disturbance),
            held: before,
        };
        let ending = link.run(&request, *case_within, &self.stop);
        let call = link.met.as_ref().map(|call| call.name());
        let lost = |verdict, text: String| {
            Ok(Ran { verdict, body: vec![text.clone()], text, beside: Vec::new(), call, times: 0, held: None })
        };
        match ending {
            Ending::Done(done) => {
                *worker = Some(Worker { link, held, walks });
                for said in done.before {
                    steps.found("something is objected to after the run before".to_owned(), disturbance, None, said);
                }
                let times = done.met.as_ref().map_or(0, |met| met.times);
                let (call, held) = done.met.map_or((None, None), |met| (met.call, Some(met.held)));
                let mut body = done.findings;
                let beside = body.split_off(done.of_the_body.min(body.len()));
                // A skip is no finding.
                if done.verdict == Verdict::Skip {
                    body.push(done.text.clone());
                }
                Ok(Ran { verdict: done.verdict, text: done.text, body, beside, call, times, held })
            }
            Ending::Crashed(how) => {
                let log = link.kernel_log();
                let defect = kernel_log::finding(&log).unwrap_or_default();
                // In which file the code lies that it crashed in.
                let place = log.iter().rfind(|line| line.contains("segfault at")).cloned().unwrap_or_default();
                lost(Verdict::Crash, format!("{how}\n{place}\n{defect}\n{}", link.output_text()))
            }
            Ending::NeverBegan(how) => Err(format!("a worker {how} before it could walk {}", case.name)),
            Ending::TimedOut(place) => lost(Verdict::Timeout, verdict::late(*case_within, place.as_deref())),
            Ending::Stopped => Err("the walk was interrupted".to_owned()),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Steps {
    /// Counts what is known apart.
    fn forgive(&mut self, known: &[WalkKnown]) {
        self.findings.retain(|found| {
            let call = found.call.as_deref().unwrap_or("no call");
            let text = format!("{} ({call})\n{}", found.what, found.said);
            match known.iter().find(|known| known.shows(&text)) {
                Some(known) => {
                    *self.known.entry(known.finding.clone()).or_default() += found.times;
                    false
                }
                None => true,
            }
        });
    }

    /// Notes what is wrong, once for each thing that is.
    fn found(&mut self, what: String, step: impl fmt::Display, call: Option<&str>, said: String) {
        match self.findings.iter_mut().find(|found| found.what == what && found.call.as_deref() == call) {
            Some(found) => found.times += 1,
            None => {
                let call = call.map(str::to_owned);
                self.findings.push(Found { what, step: step.to_string(), call, said, times: 1 });
            }
        }
    }
}

/// In which file the code lies that crashed, as the kernel tells: `… error 7 in libvulkan_lvp.so[18d389,40aa1000+404000]`.
fn crashed_in(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.contains("segfault at"))?;
    line.rsplit_once(" in ")?.1.split('[').next()
}

/// The first line of a finding, in which numbers are `N`, since they differ from step to step.
fn headline(said: &str) -> String {
    let mut text = String::new();
    for character in said.lines().next().unwrap_or_default().chars() {
        match character {
            '0'..='9' if text.ends_with('N') => {}
            '0'..='9' => text.push('N'),
            other => text.push(other),
        }
    }
    text
}

fn past(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passes",
        Verdict::Skip => "is skipped",
        Verdict::Crash => "crashes",
        Verdict::Timeout => "hangs",
        Verdict::Fail | Verdict::Known => "fails",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_has_the_file_that_it_was_in() {
        let text = "the worker was killed by SIGSEGV in the middle of this case\n\
                    worker[27]: segfault at ffffffffffffffff ip 0000000040bd1389 sp 0000000043be17c0 error 7 in \
                    libvulkan_lvp.so[18d389,40aa1000+404000]\n";
        assert_eq!(crashed_in(text), Some("libvulkan_lvp.so"));
        assert_eq!(crashed_in("the worker was killed by SIGABRT"), None);
    }

    #[test]
    fn a_finding_is_one_whatever_its_numbers() {
        let of = |fd, buffer| {
            headline(&format!("fd {fd} of dma-buf {buffer} was closed by somebody else\n\n  after    mmap"))
        };
        assert_eq!(of(33, 4), "fd N of dma-buf N was closed by somebody else");
        assert_eq!(of(33, 4), of(7, 120));
    }
}
