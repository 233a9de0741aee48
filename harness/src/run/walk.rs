//! How does a case end when something goes wrong on its way, at every place where that can be?
//!
//! A [`Walk`] runs a case once for each system call that may fail, and has that one call fail; then with signals, with a clock
//! that goes back, and with each step of a peer as its last. After each it asks: did the case end at all, did it say what
//! failed (or was the fault none to it), is nothing left behind, and does the case pass afterwards? What each disturbance is,
//! is said in [`crate::disturb`]; how an ending is judged, in `judge`.

mod judge;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::kernel_log;
use super::link::{Ending, Link};
use super::protocol::Request;
use super::stop::Stop;
use super::supervisor::Settings;
use crate::case::CaseInfo;
use crate::disturb::{Blow, Disturbance, Fault, Met};
use crate::lane::WalkKnown;
use crate::verdict::Verdict;
use judge::{Clarity, clarity};

pub use text::summary;

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
    /// The peer is killed at each of its calls, and stopped at some.
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

    fn step(self, nth: u32) -> Option<Disturbance> {
        let call = |fault| Some(Disturbance::Call { fault, nth });
        match self {
            Kind::Interrupted => call(Fault::Interrupted),
            Kind::NoMemory => call(Fault::NoMemory),
            Kind::TooManyFiles => call(Fault::TooManyFiles),
            Kind::Busy => call(Fault::Busy),
            Kind::Peer => Some(Disturbance::Peer { blow: Blow::Kill, nth }),
            Kind::Signals => (nth <= STORMS).then_some(Disturbance::Signals),
            Kind::Clock => (nth <= STORMS).then_some(Disturbance::Clock),
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
    /// By kind, in the order of [`Kind::ALL`]; a kind that the case never met is there with no steps.
    pub kinds: BTreeMap<Kind, Steps>,
}

impl Walked {
    /// Everything that is wrong.
    pub fn findings(&self) -> impl Iterator<Item = (Kind, &Found)> {
        self.kinds.iter().flat_map(|(kind, steps)| steps.findings.iter().map(|found| (*kind, found)))
    }
}

/// Walks cases in workers of its own.
pub struct Walk {
    settings: Settings,
    known: Vec<WalkKnown>,
    stop: Stop,
}

/// How one run ended.
struct Ran {
    verdict: Verdict,
    text: String,
    met: Met,
}

impl Walk {
    /// A walk with workers of `settings`, which are told how they can be disturbed.
    ///
    /// What is `known` of drivers of others is counted and no finding.
    pub fn new(settings: Settings, known: Vec<WalkKnown>, stop: Stop) -> Walk {
        Walk { settings, known, stop }
    }

    /// Walks `cases` by `kinds`, `jobs` workers at a time. Of each that has ended, `ended` is told.
    ///
    /// # Errors
    /// No worker can be had, or the walk was stopped.
    pub fn all(
        &self,
        cases: &[&CaseInfo],
        kinds: &[Kind],
        jobs: usize,
        ended: impl Fn(&str, Kind, &Steps) + Sync,
    ) -> Result<Vec<Walked>, String> {
        let mut parts: Vec<(&CaseInfo, Kind)> =
            cases.iter().flat_map(|case| kinds.iter().map(move |kind| (*case, *kind))).collect();
        // Each kind of worker is started once, as long as none is lost.
        parts.sort_by_key(|(_, kind)| kind.listens());
        let (next, done, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(None));
        let work = || {
            let mut link = None;
            let mut before = None;
            while let Some((case, kind)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                if before.replace(kind.listens()) != Some(kind.listens()) {
                    link = None;
                }
                match self.steps(&mut link, case, *kind) {
                    Ok(steps) => {
                        ended(&case.name, *kind, &steps);
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((case.name.clone(), *kind, steps));
                    }
                    Err(why) => {
                        broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
                        return;
                    }
                }
                if broken.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
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
        if let Some(why) = broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(why);
        }
        let mut walked: Vec<Walked> =
            cases.iter().map(|case| Walked { name: case.name.clone(), kinds: BTreeMap::new() }).collect();
        for (name, kind, steps) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Some(walked) = walked.iter_mut().find(|walked| walked.name == name) {
                walked.kinds.insert(kind, steps);
            }
        }
        Ok(walked)
    }

    /// All steps of one kind in one case.
    fn steps(&self, link: &mut Option<Link>, case: &CaseInfo, kind: Kind) -> Result<Steps, String> {
        let began = Instant::now();
        let mut steps = Steps::default();
        if self.warm_up(link, case, kind, &mut steps)? {
            for nth in 1..=MOST {
                let Some(step) = kind.step(nth) else { break };
                // A fresh worker, since the last one was lost or given up.
                if link.is_none() && !self.warm_up(link, case, kind, &mut steps)? {
                    break;
                }
                if !self.step(link, case, kind, step, &mut steps)? {
                    break;
                }
            }
            if kind == Kind::Peer && steps.met > 0 {
                // Each of these is a deadline that passes, so it is not done at every step.
                let met = steps.met;
                for nth in [met / 2 + 1, met] {
                    if link.is_none() && !self.warm_up(link, case, kind, &mut steps)? {
                        break;
                    }
                    self.step(link, case, kind, Disturbance::Peer { blow: Blow::Stop, nth }, &mut steps)?;
                    // One that was stopped behind its last answer would keep the next case waiting.
                    *link = None;
                }
            }
        }
        // What the last step left is not the next case's to find.
        if let Some(step) = kind.step(1)
            && link.is_some()
            && steps.met > 0
        {
            let none = Ran { verdict: Verdict::Pass, text: String::new(), met: Met::default() };
            self.afterwards(link, case, kind, step, &none, &mut steps)?;
        }
        steps.forgive(&self.known);
        steps.ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(steps)
    }

    /// Runs the case undisturbed until what is made once is there. Says whether it passes.
    fn warm_up(&self, link: &mut Option<Link>, case: &CaseInfo, kind: Kind, steps: &mut Steps) -> Result<bool, String> {
        for _ in 0..2 {
            let ran = self.run(link, case, kind, Disturbance::Nothing, steps)?;
            if ran.verdict != Verdict::Pass {
                steps.found(format!("{} without a disturbance", past(ran.verdict)), Disturbance::Nothing, &ran);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One step, and what is to be said of it. Whether there may be another.
    fn step(
        &self,
        link: &mut Option<Link>,
        case: &CaseInfo,
        kind: Kind,
        step: Disturbance,
        steps: &mut Steps,
    ) -> Result<bool, String> {
        let mut ran = self.run(link, case, kind, step, steps)?;
        if matches!(step, Disturbance::Peer { .. }) && ran.met.call.is_none() && ran.verdict == Verdict::Fail {
            // A peer that was struck behind its last answer may have died after this case looked whether it lives.
            ran = self.run(link, case, kind, step, steps)?;
        }
        let is_counted = matches!(step, Disturbance::Call { .. } | Disturbance::Peer { .. });
        let lived = !matches!(ran.verdict, Verdict::Crash | Verdict::Timeout);
        if lived && is_counted && ran.met.call.is_none() {
            if ran.verdict != Verdict::Pass {
                steps.found(format!("{}, though nothing was met", past(ran.verdict)), step, &ran);
                *link = None;
            }
            return Ok(false);
        }
        steps.met += 1;
        match clarity(step, ran.verdict, &ran.text, ran.met.call.as_deref()) {
            Clarity::Borne => steps.borne += 1,
            Clarity::Named => steps.named += 1,
            Clarity::Wrong(what) => {
                let file = if ran.verdict == Verdict::Crash { crashed_in(&ran.text) } else { None };
                let place = file.map_or_else(String::new, |file| format!(", in {file}"));
                steps.found(what + &place, step, &ran);
            }
        }
        if lived && ran.verdict == Verdict::Pass && ran.met.held.is_empty() {
            return Ok(true);
        }
        let Some(mut held) = self.afterwards(link, case, kind, step, &ran, steps)? else { return Ok(true) };
        if lived && !held.is_empty() {
            // What is kept for the next time is kept once; what is lost is lost each time.
            for _ in 0..2 {
                let more = self.run(link, case, kind, step, steps)?;
                let Some(more) = self.afterwards(link, case, kind, step, &more, steps)? else { return Ok(true) };
                held.retain(|what, _| more.contains_key(what));
            }
        }
        if lived && !held.is_empty() {
            let list: Vec<String> = held.iter().map(|(what, count)| format!("{count:+} {what}")).collect();
            steps.found(format!("holds something else afterwards, each time: {}", list.join(", ")), step, &ran);
            // The next step begins with a process that has lost nothing.
            *link = None;
        }
        Ok(true)
    }

    /// Runs the case undisturbed after `ran`, and says what is held by then that was not before `ran`. None if it does not pass.
    ///
    /// What a broken device held is opened again by the run afterwards, so only both together tell what is left.
    fn afterwards(
        &self,
        link: &mut Option<Link>,
        case: &CaseInfo,
        kind: Kind,
        step: Disturbance,
        ran: &Ran,
        steps: &mut Steps,
    ) -> Result<Option<BTreeMap<String, i64>>, String> {
        let mut held = ran.met.held.clone();
        let again = self.run(link, case, kind, Disturbance::Nothing, steps)?;
        add(&mut held, &again.met.held);
        if again.verdict != Verdict::Pass {
            let call = ran.met.call.clone();
            let again = Ran { met: Met { call, ..again.met }, ..again };
            steps.found(format!("{} when it is done again", past(again.verdict)), step, &again);
            *link = None;
            return Ok(None);
        }
        Ok(Some(held))
    }

    fn run(
        &self,
        link: &mut Option<Link>,
        case: &CaseInfo,
        kind: Kind,
        disturbance: Disturbance,
        steps: &mut Steps,
    ) -> Result<Ran, String> {
        let Settings { kernel, worker, start_within, case_within, report, golden, .. } = &self.settings;
        let mut worker = match link.take() {
            Some(worker) => worker,
            None => {
                let how = if kind.listens() { "with-listener" } else { "without-listener" };
                let worker = worker.clone().args(["--disturbed", how]);
                Link::start(kernel.as_ref(), &worker, *start_within, &self.stop)?
            }
        };
        let request = Request {
            run: case.name.clone(),
            artifacts: report.of_case(&case.name),
            golden: *golden,
            disturbance: Some(disturbance),
        };
        let ending = worker.run(&request, *case_within, &self.stop);
        let call = worker.met.as_ref().map(|call| call.name());
        let ended = |verdict, text| Ok(Ran { verdict, text, met: Met { call, ..Met::default() } });
        match ending {
            Ending::Done(done) => {
                *link = Some(worker);
                let ran = Ran { verdict: done.verdict, text: done.text, met: done.met.unwrap_or_default() };
                for said in done.before {
                    let before = Ran { verdict: ran.verdict, text: said, met: Met::default() };
                    steps.found("something is objected to after the run before".to_owned(), disturbance, &before);
                }
                Ok(ran)
            }
            Ending::Crashed(how) => {
                let log = worker.kernel_log();
                let defect = kernel_log::finding(&log).unwrap_or_default();
                // In which file the code lies that it crashed in.
                let place = log.iter().rfind(|line| line.contains("segfault at")).cloned().unwrap_or_default();
                ended(Verdict::Crash, format!("{how}\n{place}\n{defect}\n{}", worker.output_text()))
            }
            Ending::NeverBegan(how) => Err(format!("a worker {how} before it could walk {}", case.name)),
            Ending::TimedOut => ended(
                Verdict::Timeout,
                format!("no verdict after {} s; the worker was killed", case_within.as_secs_f64()),
            ),
            Ending::Stopped => Err("the walk was interrupted".to_owned()),
        }
    }
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
    fn found(&mut self, what: String, step: Disturbance, ran: &Ran) {
        let call = ran.met.call.clone();
        match self.findings.iter_mut().find(|found| found.what == what && found.call == call) {
            Some(found) => found.times += 1,
            None => {
                self.findings.push(Found { what, step: step.to_string(), call, said: ran.text.clone(), times: 1 });
            }
        }
    }
}

/// In which file the code lies that crashed, as the kernel tells: `… error 7 in libvulkan_lvp.so[18d389,40aa1000+404000]`.
fn crashed_in(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.contains("segfault at"))?;
    line.rsplit_once(" in ")?.1.split('[').next()
}

/// Adds what changed to what changed before; what comes to nothing is gone.
fn add(held: &mut BTreeMap<String, i64>, more: &BTreeMap<String, i64>) {
    for (what, count) in more {
        *held.entry(what.clone()).or_default() += count;
    }
    held.retain(|_, count| *count != 0);
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
}
