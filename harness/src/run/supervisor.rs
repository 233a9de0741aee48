//! How does every case get its verdict, whatever it does to the process it runs in?
//!
//! A supervisor keeps idle workers and lends one to each caller of [`Supervisor::run`]; how many run at once is for the
//! callers to say. It blames a dead worker on the case it was in, and on nothing else: a worker that dies outside any
//! case is replaced once, and then the run cannot go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::kernel_log;
use super::link::{Closing, Ending, KILLED, Link, SEGFAULT};
use super::memory;
use super::millis;
use super::protocol::Request;
use super::seen::{News, Seen};
use super::stop::Stop;
use crate::case::{CaseInfo, DeviceIdentity, GoldenMode, Known, Record, Role};
use crate::kernel::{Command, Kernel};
use crate::report::{CaseReport, ReportDir, Side};
use crate::verdict::{self, NEXT_FINDING, Try, Verdict};

/// Where the second try of a case leaves its files, in the case's folder: what is said of the first shows in its own.
const REPEATED: &str = "repeated";

/// What a supervisor works with.
pub struct Settings {
    /// Where workers run.
    pub kernel: Box<dyn Kernel>,
    /// What starts a worker.
    pub worker: Command,
    /// Deadline of one case.
    pub case_within: Duration,
    /// Whether a failure is tried once more in a fresh worker.
    pub repeat: bool,
    /// Deadline of a worker's start, with its kernel.
    pub start_within: Duration,
    /// Where cases leave their files.
    pub report: ReportDir,
    /// Whether golden images are compared or written.
    pub golden: GoldenMode,
    /// The command that runs one case, without the case's name.
    pub again: String,
}

/// Why a case got no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Somebody asked the run to stop.
    #[error("the run was interrupted")]
    Interrupted,
    /// No worker can be had; nothing is wrong with any case.
    #[error("{0}")]
    NoWorker(String),
}

/// Runs cases in workers. Share it between threads by reference.
pub struct Supervisor {
    settings: Settings,
    stop: Stop,
    idle: Mutex<Vec<Link>>,
    seen: Mutex<Seen>,
}

/// One try of a case, and what it left.
struct Attempt {
    tried: Try,
    devices: BTreeMap<Role, DeviceIdentity>,
    kernel_log: Vec<String>,
    output: String,
    record: Record,
    /// Whether the kernel had reported a defect before it began.
    is_marred: bool,
}

impl Supervisor {
    /// A supervisor with no worker yet.
    pub fn new(settings: Settings, stop: Stop) -> Supervisor {
        Supervisor { settings, stop, idle: Mutex::default(), seen: Mutex::default() }
    }

    /// Runs one case, a second time if it fails, and gives the verdict.
    ///
    /// # Errors
    /// When there is no verdict: the run was stopped, or no worker can be had.
    pub fn run(&self, case: &CaseInfo) -> Result<CaseReport, Halt> {
        // Images of an earlier run must not pass for this one's.
        let folder = self.settings.report.of_case(&case.name);
        let _ = std::fs::remove_dir_all(&folder);

        let link = self.idle().pop();
        let link = match link {
            Some(link) => link,
            None => self.start()?,
        };
        let (link, first) = self.attempt(link, case, &folder)?;
        let link = self.unless_marred(link, &first);
        let known = known_here(case, &first);
        let (link, second) = if self.settings.repeat && verdict::wants_repeat(&first.tried, &known) {
            self.retire(link);
            match self.start().and_then(|link| self.attempt(link, case, &folder.join(REPEATED))) {
                Ok((link, second)) => (self.unless_marred(link, &second), Some(second)),
                // What failed did so, whatever became of the machine; why nothing more can be tried, the next case finds out.
                Err(_) => (None, None),
            }
        } else {
            (link, None)
        };
        if let Some(link) = link {
            self.idle().push(link);
        }
        Ok(self.report(case, first, second))
    }

    /// The worker, unless its kernel has reported a defect: such a kernel says less of the next one. Lockdep and KASAN report
    /// one and are silent from then on, and what was damaged stays so.
    fn unless_marred(&self, link: Option<Link>, attempt: &Attempt) -> Option<Link> {
        if !attempt.is_marred && kernel_log::finding(&attempt.kernel_log).is_none() {
            return link;
        }
        self.retire(link);
        None
    }

    /// Closes every worker and says what was seen.
    pub fn finish(&self) -> Seen {
        let links = std::mem::take(&mut *self.idle());
        for link in links {
            self.retire(Some(link));
        }
        self.seen().clone()
    }

    /// Starts a worker; a second one if the first does not come up.
    fn start(&self) -> Result<Link, Halt> {
        if let Some(broken) = self.seen().broken.clone() {
            return Err(Halt::NoWorker(broken));
        }
        self.start_once().or_else(|first| {
            if self.stop.is_stopped() {
                return Err(Halt::Interrupted);
            }
            self.start_once().map_err(|second| {
                if self.stop.is_stopped() {
                    return Halt::Interrupted;
                }
                let why = match first == second {
                    true => format!("{second} (twice)"),
                    false => format!("{second}\nand the one before: {first}"),
                };
                self.seen().broken = Some(why.clone());
                Halt::NoWorker(why)
            })
        })
    }

    fn start_once(&self) -> Result<Link, String> {
        if self.stop.is_stopped() {
            return Err(Halt::Interrupted.to_string());
        }
        {
            let mut seen = self.seen();
            seen.started.get_or_insert_with(Instant::now);
            seen.workers_started += 1;
        }
        let Settings { kernel, worker, start_within, .. } = &self.settings;
        let link = Link::start(kernel.as_ref(), worker, *start_within, &self.stop)?;
        let mut seen = self.seen();
        seen.unclosed += 1;
        if seen.hello.is_none() {
            seen.hello = Some(link.hello.clone());
            seen.news.hello = Some(link.hello.clone());
        }
        drop(seen);
        Ok(link)
    }

    /// Tries the case in `link`, or in a fresh worker if that one died before it began; what it leaves goes into `folder`.
    fn attempt(&self, link: Link, case: &CaseInfo, folder: &Path) -> Result<(Option<Link>, Attempt), Halt> {
        match self.try_in(link, case, folder) {
            Tried::Ended(ended) => return Ok(*ended),
            Tried::Stopped => return Err(Halt::Interrupted),
            Tried::NeverBegan(how, _) => self.ended_badly(format!("died between two cases and was replaced: it {how}")),
        }
        match self.try_in(self.start()?, case, folder) {
            Tried::Ended(ended) => Ok(*ended),
            Tried::Stopped => Err(Halt::Interrupted),
            // What a worker says last is lost when its kernel panics, so this case may have begun twice. It is the one that
            // was asked for both times.
            Tried::NeverBegan(_, attempt) => {
                self.seen().saw(&attempt.devices);
                Ok((None, *attempt))
            }
        }
    }

    fn try_in(&self, mut link: Link, case: &CaseInfo, folder: &Path) -> Tried {
        let settings = &self.settings;
        let ran_before = link.ran.len();
        let began = Instant::now();
        let within = settings.case_within;
        let request = Request {
            run: case.name.clone(),
            artifacts: folder.to_owned(),
            golden: settings.golden,
            within,
            disturbance: None,
            held: None,
        };
        let ending = link.run(&request, within, &self.stop);
        let (verdict, text) = match ending {
            Ending::Stopped => return Tried::Stopped,
            Ending::NeverBegan(how) => {
                self.seen().unclosed -= 1;
                let text = format!(
                    "the worker {how}; two in a row died when this case was asked for, before they could say that it began"
                );
                let ran = link.ran.clone();
                let attempt = Self::broken(&mut link, case, Verdict::Crash, text, began.elapsed(), ran);
                return Tried::NeverBegan(how, Box::new(attempt));
            }
            Ending::Done(done) => {
                let devices = link.devices_of(case);
                self.seen().saw(&devices);
                // What ran before matters to a failure alone; a copy for each pass would cost more with each case.
                let count = if done.verdict.is_red() { ran_before } else { 0 };
                let before = &link.ran[..ran_before];
                let after = before.last().map_or("the start of the worker", String::as_str);
                let objections = done.before.iter().map(|said| format!("between {after} and {}: {said}", case.name));
                self.seen().object(objections.collect());
                let is_marred = done.before.iter().any(|said| said.starts_with(kernel_log::WORDS));
                self.seen().heard(&done.told);
                self.seen().memory.ended(done.peak_kib, memory::peak_kib);
                let ran_before = before[..count].to_vec();
                let attempt = Attempt {
                    tried: Try {
                        verdict: done.verdict,
                        text: done.text,
                        findings: done.findings,
                        on_the_way: done.on_the_way,
                        duration_ms: done.duration_ms,
                        ran_before,
                    },
                    devices,
                    kernel_log: done.kernel_log,
                    output: link.output_text(),
                    record: done.record,
                    is_marred,
                };
                return Tried::Ended(Box::new((Some(link), attempt)));
            }
            Ending::Crashed(how) => (Verdict::Crash, how),
            Ending::TimedOut(place) => (Verdict::Timeout, verdict::late(within, place.as_deref())),
        };
        self.seen().saw(&link.devices_of(case));
        self.seen().unclosed -= 1;
        self.seen().memory.ended(None, memory::peak_kib);
        let ran_before = link.ran[..ran_before].to_vec();
        let attempt = Self::broken(&mut link, case, verdict, text, began.elapsed(), ran_before);
        Tried::Ended(Box::new((None, attempt)))
    }

    /// An attempt that ended with its worker: what that one printed and its kernel logged is all that is left of it.
    fn broken(
        link: &mut Link,
        case: &CaseInfo,
        verdict: Verdict,
        mut text: String,
        took: Duration,
        ran_before: Vec<String>,
    ) -> Attempt {
        let kernel_log = link.kernel_log();
        let output = link.output_text();
        if verdict == Verdict::Crash && text.contains(SEGFAULT) {
            text = format!("{text}, {}", kernel_log::place_of_segfault(&kernel_log));
        }
        // Why a process gives itself up, it says last.
        if let (Verdict::Crash, Some(last)) = (verdict, output.lines().rfind(|line| !line.trim().is_empty())) {
            text = format!("{text}\n\n{}", verdict::row("said last", last));
        }
        let mut findings = Vec::new();
        if let Some(finding) = kernel_log::finding(&kernel_log) {
            // A known crash does not answer for it.
            findings = vec![text.clone(), finding.clone()];
            text = format!("{text}{NEXT_FINDING}{finding}");
        }
        Attempt {
            tried: Try { verdict, text, findings, on_the_way: true, duration_ms: millis(took), ran_before },
            devices: link.devices_of(case),
            kernel_log,
            output,
            record: Record::default(),
            is_marred: false,
        }
    }

    /// What was learned since this was last asked.
    pub fn news(&self) -> News {
        let mut seen = self.seen();
        let unclosed = seen.unclosed;
        News { unclosed, ..std::mem::take(&mut seen.news) }
    }

    /// Takes what was learned by a supervisor that is no more for its own; of several, in their order, before any case is run.
    pub fn recall(&self, news: &News) {
        self.seen().recall(news);
    }

    fn retire(&self, link: Option<Link>) {
        let Some(link) = link else { return };
        let last = link.ran.last().cloned();
        let Closing { badly, objections } = link.close();
        self.seen().unclosed -= 1;
        let after = last.map_or_else(String::new, |name| format!(", after {name}"));
        let said = |said: String| format!("when a worker closed its devices{after}: {said}");
        self.seen().object(objections.into_iter().map(said).collect());
        if let Some(how) = badly {
            self.ended_badly(format!("{how}{after}"));
        }
    }

    /// A worker that ends outside of any case makes the run red, unless somebody else killed it.
    fn ended_badly(&self, how: String) {
        let said = format!("a worker {how}");
        match how.contains(KILLED) {
            true => self.seen().note(said),
            false => self.seen().object(vec![said]),
        }
    }

    fn report(&self, case: &CaseInfo, first: Attempt, second: Option<Attempt>) -> CaseReport {
        let known = known_here(case, &first);
        let settled = verdict::settle(&first.tried, second.as_ref().map(|second| &second.tried), &known);
        // A worker that died while it opened its devices could not name them; the fresh one had the same.
        let mut devices = second.as_ref().map(|second| second.devices.clone()).unwrap_or_default();
        devices.extend(first.devices);
        let side = |role: Option<Role>| role.map(|role| Side { role, device: devices.get(&role).cloned() });
        let output = if settled.verdict == Verdict::Pass { String::new() } else { first.output };
        CaseReport {
            name: case.name.clone(),
            verdict: settled.verdict,
            reason: settled.reason,
            message: settled.message,
            duration_ms: first.tried.duration_ms,
            exporter: side(case.exporter),
            importer: side(case.importer),
            artifacts: self.settings.report.files_of_case(&case.name),
            kernel_log: first.kernel_log,
            output,
            attempts: std::iter::once(first.tried)
                .chain(second.map(|second| second.tried))
                .map(|tried| if settled.verdict.is_red() { tried } else { without_its_sequence(tried) })
                .collect(),
            allowed: None,
            because: None,
            record: first.record,
            again: format!("{} {}", self.settings.again, case.name),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of the case on the devices that answered.
fn known_here<'c>(case: &'c CaseInfo, attempt: &Attempt) -> Vec<&'c Known> {
    let has = |known: &&Known| attempt.devices.values().any(|device| known.is_on(device));
    case.known.iter().filter(has).collect()
}

/// What ran before matters to a failure alone; with every known defect it would fill the report.
fn without_its_sequence(tried: Try) -> Try {
    Try { ran_before: Vec::new(), ..tried }
}

enum Tried {
    /// The worker, if it lives, and the attempt.
    Ended(Box<(Option<Link>, Attempt)>),
    /// How the worker ended, and what is to be said of the case if that is not the first time.
    NeverBegan(String, Box<Attempt>),
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Host;

    const HELLO: &str = r#"echo '{"is":"hello","kernel":"7.3","no_kernel_log":null}'"#;
    const ANSWERS: &str = r#"echo '{"is":"began"}'
        echo '{"is":"done","verdict":"pass","text":"","duration_ms":1,"kernel_log":[],"record":{"blessed":[],"mappings":[],"figures":{}}}'"#;

    fn case() -> CaseInfo {
        CaseInfo {
            name: "a::b_works".into(),
            exporter: None,
            importer: None,
            needs: vec![],
            opens: vec![],
            known: vec![],
            must_fail_under: vec![],
            fails_with: None,
        }
    }

    /// A supervisor whose worker is a shell script, with the folder that the script runs in.
    fn supervisor(script: &str) -> (Supervisor, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let worker = Command::new("/bin/sh").args(["-c", script]).cwd(folder.path());
        let settings = Settings {
            kernel: Box::new(Host),
            worker,
            case_within: Duration::from_secs(5),
            repeat: true,
            start_within: Duration::from_millis(4500),
            report: ReportDir::open(folder.path()).unwrap(),
            golden: GoldenMode::Check,
            again: "again".into(),
        };
        (Supervisor::new(settings, Stop::default()), folder)
    }

    #[test]
    fn a_worker_that_dies_before_its_case_is_replaced_once() {
        let script = format!("{HELLO}; read request; [ -e died ] || {{ touch died; exit 3; }}; {ANSWERS}; read end");
        let (supervisor, _folder) = supervisor(&script);
        let report = supervisor.run(&case()).unwrap();
        assert_eq!((report.verdict, report.attempts.len()), (Verdict::Pass, 1));
        let problems = &supervisor.seen().problems;
        assert_eq!(problems, &["a worker died between two cases and was replaced: it ended with exit status 3"]);
    }

    #[test]
    fn a_worker_that_was_killed_between_two_cases_is_only_noted() {
        let script =
            format!("{HELLO}; read request; [ -e died ] || {{ touch died; kill -9 $$; }}; {ANSWERS}; read end");
        let (supervisor, _folder) = supervisor(&script);
        assert_eq!(supervisor.run(&case()).unwrap().verdict, Verdict::Pass);
        let seen = supervisor.seen();
        assert!(seen.problems.is_empty() && seen.notes[0].contains("SIGKILL"), "{seen:?}");
    }

    #[test]
    fn a_failure_is_told_of_though_no_worker_can_be_had_for_its_repetition() {
        let fails = ANSWERS.replace(r#""verdict":"pass","text":"""#, r#""verdict":"fail","text":"it is red""#);
        let script = format!("[ -e began ] && exit 9; touch began; {HELLO}; read request; {fails}; read end");
        let (supervisor, _folder) = supervisor(&script);
        let report = supervisor.run(&case()).unwrap();
        assert_eq!((report.verdict, report.attempts.len()), (Verdict::Fail, 1));
        assert!(supervisor.run(&case()).is_err(), "nothing more can be tried");
    }

    #[test]
    fn two_workers_that_die_at_its_start_are_a_crash_of_the_case() {
        let (supervisor, _folder) = supervisor(&format!("{HELLO}; read request; exit 3"));
        assert_eq!(supervisor.run(&case()).unwrap().verdict, Verdict::Crash);
    }

    #[test]
    fn a_worker_that_never_greets_is_an_error_with_its_words() {
        for (script, expected) in [
            (
                "echo where is my driver >&2; exec sleep 60",
                "was not ready after 4.5 s; it printed:\n    where is my driver",
            ),
            (
                "echo Xlib: no display; exec sleep 60",
                "did not greet: 17 bytes that are no answer: \"Xlib: no display\\n\"",
            ),
            ("exec /nonexistent/worker", "ended with exit status 127 before it was ready"),
        ] {
            let (supervisor, _folder) = supervisor(script);
            let halt = supervisor.run(&case()).unwrap_err().to_string();
            assert!(halt.contains(expected), "{halt}");
            assert_eq!(supervisor.seen().workers_started, 2);
        }
    }

    #[test]
    fn a_worker_that_answers_out_of_turn_is_a_crash() {
        let (supervisor, _folder) = supervisor(&format!("{HELLO}; read request; {HELLO}; exec sleep 60"));
        let report = supervisor.run(&case()).unwrap();
        assert_eq!(report.verdict, Verdict::Crash);
        assert!(report.message.unwrap().contains("out of turn"));
    }
}
