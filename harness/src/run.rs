//! How does a run go from a list of cases to a report?
//!
//! A [`Session`] is one run: it lends its supervisor to whoever has a case to run, and at the end judges the lane and
//! writes the report. The `handover` command and the `cargo test` target both drive cases through it.

pub mod choice;
pub(crate) mod heap;
pub mod injection;
pub mod journal;
pub mod kernel_log;
mod last_words;
mod leaks;
mod link;
pub mod memory;
pub mod progress;
pub mod protocol;
pub mod seen;
pub mod select;
pub mod stop;
pub mod supervisor;
pub mod text;
pub mod walk;
pub mod worker;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::case::{CaseInfo, GoldenMode, Witness};
use crate::compare::counted;
use crate::golden::Goldens;
use crate::junit;
use crate::kernel::{Command, Kernel};
use crate::lane::{DEBUG_RELEASE, Lane};
use crate::report::{self, CaseReport, Machine, Report, ReportDir, ReportError, SCHEMA, Summary, Timings};
use crate::verdict::Verdict;
use journal::{Entry, Journal};
use progress::Progress;
use seen::Seen;
use stop::Stop;
use supervisor::{Halt, Settings, Supervisor};

/// Deadline of one case where neither the user nor the lane has another.
pub const CASE_WITHIN: Duration = Duration::from_secs(30);

/// Deadline of a worker's start; a kernel of its own needs a second of it.
pub(crate) const START_WITHIN: Duration = Duration::from_secs(60);

/// Environment variable that says how many seconds the set-up took that was done before this command.
pub(crate) const SET_UP_S: &str = "HANDOVER_SET_UP_S";

/// Environment variable that names the faults of system calls that are done beneath this process: `handover seam` sets it for
/// what it starts, and the report of a run there says so.
pub(crate) const SEAM: &str = "HANDOVER_SEAM";

/// What a session needs to know before its first case.
pub struct Plan {
    /// Where workers run.
    pub kernel: Box<dyn Kernel>,
    /// What starts a worker.
    pub worker: Command,
    /// The rules by which the run is judged.
    pub lane: Option<Lane>,
    /// Whether every case was asked for; what is missing can only be judged then.
    pub whole: bool,
    /// Whether it is red when nothing ran; not where another runner asks for one case at a time.
    pub none_is_red: bool,
    /// Deadline of one case; without one, the lane's, or 30 s.
    pub case_within: Option<Duration>,
    /// Where the report goes.
    pub report: ReportDir,
    /// Whether golden images are compared or written.
    pub golden: GoldenMode,
    /// The command that runs one case, without the case's name.
    pub again: String,
}

/// The `worker` with what it reads and writes: it may run where only what is shared is seen, and goldens lie wherever the source
/// lies.
pub(crate) fn with_folders(worker: Command, report: &Path) -> Command {
    let goldens = Goldens::open();
    let worker = worker.share(report);
    if goldens.root().is_dir() { worker.share(goldens.root()) } else { worker }
}

/// One run.
pub struct Session {
    supervisor: Supervisor,
    lane: Option<Lane>,
    whole: bool,
    none_is_red: bool,
    report: ReportDir,
    machine: Machine,
    set_up_ms: BTreeMap<String, u64>,
    stop: Stop,
    began: Instant,
    /// What earlier parts of the run took.
    before: Duration,
    journal: Mutex<Option<Journal>>,
}

impl Session {
    /// Begins a run; no worker is started before the first case.
    pub fn open(plan: Plan, stop: Stop) -> Session {
        let began = Instant::now();
        let place = plan.kernel.describe();
        let set_up = plan.kernel.set_up().iter().map(|(what, took)| ((*what).to_owned(), whole_millis(*took)));
        let mut set_up_ms: BTreeMap<String, u64> = set_up.collect();
        // A script that sets up before it starts us says how long that took.
        let before = std::env::var(SET_UP_S).ok().and_then(|text| text.parse::<u64>().ok());
        set_up_ms.extend(before.map(|seconds| ("in all".to_owned(), seconds.saturating_mul(1000))));
        let machine = Machine {
            on: place.name,
            kernel: None,
            kernel_from: place.kernel,
            mesa: place.mesa,
            host_kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processors: processors(),
            kernel_log: "not read: no worker came up".into(),
            devices: Default::default(),
            faults: std::env::var(SEAM).unwrap_or_default(),
        };
        if plan.golden == GoldenMode::Bless {
            // Failing here would only hide the clearer message of the case that wants to write.
            let _ = std::fs::create_dir_all(Goldens::open().root());
        }
        let mut worker = with_folders(plan.worker, plan.report.path());
        let lane_within = plan.lane.as_ref().and_then(|lane| lane.timeout_s).map(Duration::from_secs);
        for (name, value) in plan.lane.iter().flat_map(|lane| &lane.environment) {
            worker = worker.env(name, value);
        }
        let settings = Settings {
            kernel: plan.kernel,
            worker,
            case_within: plan.case_within.or(lane_within).unwrap_or(CASE_WITHIN),
            repeat: true,
            start_within: START_WITHIN,
            report: plan.report.clone(),
            golden: plan.golden,
            again: plan.again,
        };
        Session {
            supervisor: Supervisor::new(settings, stop.clone()),
            lane: plan.lane,
            whole: plan.whole,
            none_is_red: plan.none_is_red,
            report: plan.report,
            machine,
            set_up_ms,
            stop,
            began,
            before: Duration::ZERO,
            journal: Mutex::default(),
        }
    }

    /// Where the run takes place, as far as that is known before a worker came up.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// From now on what ends is kept in `journal`.
    pub fn keep(&self, journal: Journal) {
        *self.journal() = Some(journal);
    }

    /// Takes what a run came to that was cut off for the beginning of this one.
    pub fn recall(&mut self, entries: &[Entry]) -> Vec<CaseReport> {
        for entry in entries {
            self.supervisor.recall(&entry.news);
        }
        self.before = entries.last().map_or(Duration::ZERO, |entry| Duration::from_millis(entry.at_ms));
        entries.iter().map(|entry| entry.case.clone()).collect()
    }

    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one case; callable from many threads at once.
    ///
    /// # Errors
    /// When there is no verdict: the run was stopped, or no worker can be had.
    pub fn run(&self, case: &CaseInfo) -> Result<CaseReport, Halt> {
        let mut report = self.supervisor.run(case)?;
        if let (Verdict::Skip, Some(lane)) = (report.verdict, &self.lane) {
            let allowed = lane.judge_case(&report).is_none();
            let because = lane.allows_skip(&report.name, report.reason.as_deref().unwrap_or_default());
            report.allowed = Some(allowed);
            report.because = because.filter(|_| allowed).map(str::to_owned);
        }
        let mut journal = self.journal();
        if let Some(open) = journal.as_mut() {
            let at_ms = whole_millis(self.before + self.began.elapsed());
            let entry = Entry { at_ms, case: report, news: self.supervisor.news() };
            if let Err(error) = open.ended(&entry) {
                // The run can do without; whoever kills it will miss it.
                tracing::warn!(%error, "the journal ends here");
                *journal = None;
            }
            return Ok(entry.case);
        }
        Ok(report)
    }

    /// What the lane finds wrong with one case beyond its verdict.
    pub fn problem_of(&self, case: &CaseReport) -> Option<String> {
        self.lane.as_ref()?.judge_case(case)
    }

    /// Runs `cases`, `jobs` at a time and the [widest first](select::widest_first), until all have a verdict or the run must stop.
    /// Their reports are in the order of `cases`.
    pub fn run_all(&self, cases: &[&CaseInfo], jobs: usize, progress: &Progress) -> Vec<CaseReport> {
        let order = select::widest_first(cases, jobs);
        let next = AtomicUsize::new(0);
        let verdicts = Mutex::new(Vec::new());
        let work = || {
            while let Some(case) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                progress.began(&case.name);
                // Why it halted is the supervisor's to keep; every other thread meets the same.
                let Ok(report) = self.run(case) else { return };
                progress.ended(&report);
                verdicts.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            }
        };
        std::thread::scope(|scope| {
            let (working, idle) = crossbeam_channel::bounded::<()>(0);
            for job in 1..jobs.min(cases.len()).max(1) {
                let working = working.clone();
                let spawned = std::thread::Builder::new().name(format!("job {job}")).spawn_scoped(scope, move || {
                    work();
                    drop(working);
                });
                if spawned.is_err() {
                    // Fewer jobs do the same work.
                    break;
                }
            }
            let ticker = std::thread::Builder::new().name("progress".into());
            let _ = ticker.spawn_scoped(scope, move || {
                while idle.recv_timeout(Duration::from_secs(1)) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                    progress.tick();
                }
            });
            work();
            drop(working);
        });
        progress.finish();
        let mut verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let places: HashMap<&str, usize> = cases.iter().enumerate().map(|(n, case)| (case.name.as_str(), n)).collect();
        verdicts.sort_by_key(|report| places.get(report.name.as_str()).copied());
        verdicts
    }

    /// Ends the workers, judges the lane and makes the report of `cases`. `names` are the cases that were asked for.
    pub fn conclude(&self, names: &[&str], cases: Vec<CaseReport>) -> Report {
        let wall_ms = whole_millis(self.before + self.began.elapsed());
        let seen = self.supervisor.finish();
        let interrupted = self.stop.is_stopped();
        let machine = self.machine_of(&seen);
        let mut notes = seen.notes;
        let mut constraints = seen.told;
        // Workers are asked in no fixed order.
        constraints.sort_by(|one, other| (&one.device, &one.frames).cmp(&(&other.device, &other.frames)));
        let mut problems = Vec::new();
        for ((observer, why), names) in unobserved(&cases) {
            let said = format!("{observer} did not see all of {} cases that did not fail: {why}", names.len());
            match &self.lane {
                Some(lane) if lane.must_observe.contains(&observer) => {
                    problems.push(format!("{said}; lane {} demands it; the first is {}", lane.name, names[0]));
                }
                _ => notes.push(said),
            }
        }
        if seen.broken.is_none() && !interrupted {
            problems.extend(self.problems(&machine, names, &cases));
            if let Some(said) = unclosed(seen.unclosed) {
                // Its leak detector is asked when a worker closes its devices, and not before.
                let has_detector = machine.kernel.as_ref().is_some_and(|release| release.ends_with(DEBUG_RELEASE));
                if has_detector { problems.push(said) } else { notes.push(said) }
            }
        }
        problems.extend(seen.problems);
        Report {
            schema: SCHEMA,
            machine,
            lane: self.lane.as_ref().map(|lane| lane.name.clone()),
            wall_ms,
            timings: Timings {
                start_to_first_verdict_ms: seen.to_first_verdict.map(whole_millis),
                workers_started: seen.workers_started,
                set_up_ms: self.set_up_ms.clone(),
            },
            memory: seen.memory.all(memory::peak_kib()),
            summary: Summary::of(&cases, names.len()),
            interrupted,
            error: seen.broken,
            problems,
            notes,
            constraints,
            cases,
        }
    }

    /// Writes `report.json` and `junit.xml`, each as a whole, and returns the path of the former.
    ///
    /// # Errors
    /// Names the file that could not be written.
    pub fn write(&self, report: &Report) -> Result<PathBuf, ReportError> {
        let path = self.report.write_with(report::FILE, |file| {
            serde_json::to_writer_pretty(&mut *file, report)?;
            file.write_all(b"\n")
        })?;
        let xml = junit::document(report).map_err(|error| self.report.unwritable("junit.xml", error))?;
        self.report.write("junit.xml", xml.as_bytes())?;
        // What has no verdict yet can still get one.
        if report.summary.not_run == 0 {
            *self.journal() = None;
            Journal::done(self.report.path());
        }
        Ok(path)
    }

    fn machine_of(&self, seen: &Seen) -> Machine {
        let mut machine = self.machine.clone();
        if let Some(hello) = &seen.hello {
            hello.tell(&mut machine);
        }
        for (role, devices) in &seen.devices {
            machine.devices.insert(*role, devices.iter().cloned().collect());
        }
        machine
    }

    fn problems(&self, machine: &Machine, names: &[&str], cases: &[CaseReport]) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(lane) = &self.lane {
            problems.extend(lane.judge_cases(cases));
            problems.extend(lane.judge_devices(machine, self.whole));
            if self.whole {
                problems.extend(lane.judge_missing(names, cases));
            }
        }
        let nothing_ran = cases.iter().all(|case| case.verdict == Verdict::Skip);
        let all_allowed = cases.iter().all(|case| case.allowed == Some(true));
        // A few cases that may all skip here are no reason for alarm when they were asked for; a whole run of them is.
        if self.none_is_red && nothing_ran && (self.whole || !all_allowed) {
            problems.push(match cases.len() {
                0 => "no case ran: there is none".into(),
                skipped => format!("no case ran: {skipped} were skipped, so nothing was shown"),
            });
        }
        problems
    }
}

/// What is to be said of `workers` that nobody has seen close their devices.
fn unclosed(workers: usize) -> Option<String> {
    (workers > 0).then(|| {
        format!(
            "how {} closed their devices is not known, since the run that went before this one was killed: what drivers or \
             the kernel object to by then, such as memory that is not freed, nobody saw; a run in one piece shows it",
            counted(workers as u64, "worker")
        )
    })
}

/// The cases that did not fail but that one of the harness's observers could not see, by observer and reason.
fn unobserved(cases: &[CaseReport]) -> BTreeMap<(Witness, &str), Vec<&str>> {
    let mut by_reason: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for case in cases.iter().filter(|case| matches!(case.verdict, Verdict::Pass | Verdict::Known)) {
        for (observer, why) in &case.record.unobserved {
            by_reason.entry((*observer, why.as_str())).or_default().push(&case.name);
        }
    }
    by_reason
}

/// How many processors this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A case's duration as reports give it: in ms, to a tenth.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
