//! What happened in a run, as data: the one source of `report.json`, of the terminal's text, of JUnit and of the exit code.
//!
//! It judges nothing; verdicts come from [`crate::verdict`] and what a lane demands from [`crate::lane`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::case::{DeviceIdentity, Record, Role, Told};
use crate::run::journal::{self, JournalError, Unfinished};
use crate::verdict::{Try, Verdict};

pub mod html;

/// The version of the schema below. It grows by one when a field changes its meaning or goes; a new field keeps it.
pub const SCHEMA: u32 = 1;

/// The report's name in its directory.
pub const FILE: &str = "report.json";

/// The name of the page of `handover report` there.
pub const PAGE: &str = "report.html";

/// One run. Times are in ms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where the cases ran and who answered.
    pub machine: Machine,
    /// The lane by whose rules the run is judged, if one applies.
    pub lane: Option<String>,
    /// From the start of the run to its last verdict.
    pub wall_ms: u64,
    /// Where the time went.
    pub timings: Timings,
    /// The highest memory of the run's processes, after so many cases; the last is that of the whole run.
    #[serde(default)]
    pub memory: Vec<Peak>,
    /// How many cases got which verdict.
    pub summary: Summary,
    /// Whether the run was stopped before every case had its verdict.
    pub interrupted: bool,
    /// Why the run could not go on, if it could not.
    pub error: Option<String>,
    /// What makes the run red beyond the verdicts: a skip that is not allowed, a case that had to run, a wrong driver.
    pub problems: Vec<String>,
    /// Worth reading, but nothing that makes the run red.
    pub notes: Vec<String>,
    /// What devices told of their constraints during the run: each device's answers once, for whatever frames it gave them.
    #[serde(default)]
    pub constraints: Vec<Told>,
    /// One entry per case that got a verdict, in the order of registration.
    pub cases: Vec<CaseReport>,
}

/// Where a run took place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// `sandbox` or `host`.
    pub on: String,
    /// Release of the kernel under the cases; `null` when no worker came up.
    pub kernel: Option<String>,
    /// Where that kernel came from: a package with its version, or a path; empty on the host.
    pub kernel_from: String,
    /// The Mesa versions that belong to the sandbox, reference first; empty on the host.
    pub mesa: Vec<String>,
    /// Release of the kernel under the supervisor.
    pub host_kernel: String,
    /// Processors that the supervisor may use.
    pub processors: usize,
    /// `read`, or why the kernel log of the cases could not be read.
    pub kernel_log: String,
    /// The devices that answered, by role. More than one per role only if workers disagreed.
    pub devices: BTreeMap<Role, Vec<DeviceIdentity>>,
    /// The faults of system calls that were done on purpose beneath the run, by name, with commas between them; empty if
    /// none was, as in every run whose verdicts are about the machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub faults: String,
}

/// Where the time of a run went, in ms.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timings {
    /// From the start of the first worker (in the sandbox: of its kernel) to the first verdict.
    pub start_to_first_verdict_ms: Option<u64>,
    /// Workers that were started, replacements included.
    pub workers_started: usize,
    /// What was made for this run before it began, by what it is; empty if everything was there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_up_ms: BTreeMap<String, u64>,
}

/// The highest resident sets up to some case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// How many cases had ended.
    pub cases: usize,
    /// Of the process that runs the others; `null` where the kernel does not tell.
    pub supervisor_kib: Option<u64>,
    /// Of the worker with the most, as its own kernel counts; its peers are processes of their own.
    pub worker_kib: Option<u64>,
}

/// How many cases got which verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Cases that were asked for.
    pub selected: usize,
    /// Selected cases without a verdict, because the run was stopped.
    pub not_run: usize,
    /// The claim holds.
    pub pass: usize,
    /// The claim does not hold.
    pub fail: usize,
    /// The worker or its kernel ended in the case.
    pub crash: usize,
    /// No verdict before the deadline.
    pub timeout: usize,
    /// Something was missing.
    pub skip: usize,
    /// Failed as a known defect makes it fail.
    pub known: usize,
}

impl Summary {
    /// Counts `cases` of the `selected` ones.
    pub fn of(cases: &[CaseReport], selected: usize) -> Summary {
        let mut summary = Summary { selected, not_run: selected.saturating_sub(cases.len()), ..Summary::default() };
        for case in cases {
            *summary.of_verdict(case.verdict) += 1;
        }
        summary
    }

    fn of_verdict(&mut self, verdict: Verdict) -> &mut usize {
        match verdict {
            Verdict::Pass => &mut self.pass,
            Verdict::Fail => &mut self.fail,
            Verdict::Crash => &mut self.crash,
            Verdict::Timeout => &mut self.timeout,
            Verdict::Skip => &mut self.skip,
            Verdict::Known => &mut self.known,
        }
    }
}

/// One side of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The part it plays.
    pub role: Role,
    /// Who answered; `null` if nobody did, or if the worker did not live to say.
    pub device: Option<DeviceIdentity>,
}

/// One case and its verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseReport {
    /// The case's name.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Of a skip, what is missing; of a known failure, its URL.
    pub reason: Option<String>,
    /// Of a failure, the finding; its first line is a sentence.
    pub message: Option<String>,
    /// Of the first try, in ms; includes opening the devices that no case before had opened.
    pub duration_ms: f64,
    /// Who handed the buffer out.
    pub exporter: Option<Side>,
    /// Who took it in.
    pub importer: Option<Side>,
    /// Files that the case left, relative to the report's directory.
    pub artifacts: Vec<String>,
    /// What the kernel logged during the case.
    pub kernel_log: Vec<String>,
    /// What the worker printed during the case, kept unless it passed; the middle of a long text is left out.
    pub output: String,
    /// Every try; the second one ran in a fresh worker.
    pub attempts: Vec<Try>,
    /// Whether the lane allows this skip; `null` if it is none, or if no lane applies.
    pub allowed: Option<bool>,
    /// Why the lane allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What the case left beside its verdict.
    #[serde(flatten)]
    pub record: Record,
    /// The command that runs this case alone.
    pub again: String,
}

impl Report {
    /// Whether everything that ran is as it should be.
    pub fn is_green(&self) -> bool {
        self.error.is_none()
            && !self.interrupted
            && self.problems.is_empty()
            && !self.cases.iter().any(|case| case.verdict.is_red())
    }
}

impl Report {
    /// Reads the report in the directory `folder`; of a run that was killed, what its journal has.
    ///
    /// # Errors
    /// There is none, or it is none of this program's.
    pub fn read(folder: &Path) -> Result<Report, Unreadable> {
        #[derive(Deserialize)]
        struct Versioned {
            schema: u32,
        }
        let path = folder.join(FILE);
        let unreadable = |why: Why| Unreadable { path: path.clone(), why };
        if !path.exists() {
            match Unfinished::read(folder) {
                Ok(unfinished) => return Ok(unfinished.report(folder)),
                Err(JournalError::Missing(_)) => {}
                Err(error) => return Err(Unreadable { path: folder.join(journal::FILE), why: Why::Journal(error) }),
            }
        }
        let text = fs::read(&path).map_err(|error| {
            unreadable(if error.kind() == io::ErrorKind::NotFound { Why::Missing } else { Why::Io(error) })
        })?;
        // A report of another version may lack whatever this one has, but it has a version.
        let Versioned { schema } = serde_json::from_slice(&text).map_err(|error| unreadable(Why::NoReport(error)))?;
        if schema != SCHEMA {
            return Err(unreadable(Why::Schema(schema)));
        }
        serde_json::from_slice(&text).map_err(|error| unreadable(Why::NoReport(error)))
    }
}

/// A report that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("there is no such file; `handover run --report DIR` writes one")]
    Missing,
    #[error("{0}")]
    Io(io::Error),
    #[error("it is no report of Handover, or a damaged one: {0}")]
    NoReport(serde_json::Error),
    #[error("what is left of a run that was killed can't be read: {0}")]
    Journal(JournalError),
    #[error(
        "its schema is {0}; this program reads schema {SCHEMA}, so use the one that wrote it, or repeat the run with this one"
    )]
    Schema(u32),
}

/// How long a report directory is asked for: a run that was killed while it started a worker has it until that worker's
/// program begins, as the worker starts as a copy of the run with all of its fds.
const LEFT: Duration = Duration::from_secs(2);

/// A directory that a run writes its report to.
///
/// It is one run's alone, for as long as that has it open: two would write each other's files.
#[derive(Clone, Debug)]
pub struct ReportDir {
    path: PathBuf,
    /// The directory, locked.
    _lock: Arc<File>,
}

impl ReportDir {
    /// Makes the directory, if need be, locks it, and tries whether a file can be written in it.
    ///
    /// # Errors
    /// Names the directory and what is wrong with it; the process that has it, if another one does.
    pub fn open(path: &Path) -> Result<ReportDir, ReportError> {
        let failed = |doing, source| ReportError { doing, path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(|error| failed("make the report directory", error))?;
        let path = path.canonicalize().map_err(|error| failed("find the report directory", error))?;
        let lock = File::open(&path).map_err(|error| failed("open the report directory", error))?;
        let began = Instant::now();
        let locked = loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if began.elapsed() < LEFT => thread::sleep(Duration::from_millis(10)),
                ended => break ended,
            }
        };
        match locked {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let why = format!("{} writes its report there; choose another with --report", whose(&lock));
                return Err(failed("use the report directory", io::Error::other(why)));
            }
            // Some file systems lock no directory.
            Err(errno) => tracing::warn!(path = %path.display(), %errno, "the report directory can't be locked"),
        }
        tempfile::NamedTempFile::new_in(&path)
            .and_then(|mut file| file.write_all(b"{}"))
            .map_err(|error| failed("write in the report directory", error))?;
        Ok(ReportDir { path, _lock: Arc::new(lock) })
    }

    /// The directory, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a case leaves its files.
    pub fn of_case(&self, name: &str) -> PathBuf {
        self.path.join("cases").join(name.replace("::", "."))
    }

    /// The files that a case left, relative to the directory and sorted.
    pub fn files_of_case(&self, name: &str) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.of_case(name)];
        while let Some(folder) = folders.pop() {
            // A case that left nothing made no folder.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(relative) = path.strip_prefix(&self.path) {
                    files.push(relative.to_string_lossy().into_owned());
                }
            }
        }
        files.sort();
        files
    }

    /// The error for a file whose contents could not even be made.
    pub(crate) fn unwritable(&self, name: &str, source: impl std::error::Error + Send + Sync + 'static) -> ReportError {
        ReportError { doing: "write", path: self.path.join(name), source: io::Error::other(source) }
    }

    /// Writes one file as a whole: it is either the old one or the new one, never half of one.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<PathBuf, ReportError> {
        self.write_with(name, |file| file.write_all(contents))
    }

    /// The same for what is longer than one wants to hold: `contents` is what writes it.
    ///
    /// # Errors
    /// Names the file.
    pub fn write_with(
        &self,
        name: &str,
        contents: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<PathBuf, ReportError> {
        let path = self.path.join(name);
        write_whole_with(&path, contents).map_err(|source| ReportError {
            doing: "write",
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }
}

/// Which process holds the lock of `file`, as far as the kernel tells.
fn whose(file: &File) -> String {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let holder = file.metadata().ok().and_then(|file| {
        // `1: FLOCK  ADVISORY  WRITE 708 00:1b:4242 0 EOF`
        let inode = format!(":{}", file.ino());
        let words = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.filter(|words| words.get(1) == Some(&"FLOCK")).find_map(|words| {
            let pid: u32 = words.get(4)?.parse().ok()?;
            words.get(5).is_some_and(|place| place.ends_with(&inode)).then_some(pid)
        })
    });
    match holder {
        // Of another namespace.
        None | Some(0) => "another process".to_owned(),
        Some(pid) => {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("process {pid} (`{}`)", command.trim_end_matches('\0').replace('\0', " "))
        }
    }
}

pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    write_whole_with(path, |file| file.write_all(contents))
}

fn write_whole_with(path: &Path, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o644)).tempfile_in(folder)?;
    let mut file = io::BufWriter::new(file);
    contents(&mut file)?;
    file.into_inner()?.persist(path)?;
    Ok(())
}

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct ReportError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Reports for tests.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub(crate) fn case(name: &str, verdict: Verdict) -> CaseReport {
        CaseReport {
            name: name.into(),
            verdict,
            reason: None,
            message: None,
            duration_ms: 0.0,
            exporter: None,
            importer: None,
            artifacts: vec![],
            kernel_log: vec![],
            output: String::new(),
            attempts: vec![],
            allowed: None,
            because: None,
            record: Record::default(),
            again: String::new(),
        }
    }

    pub(crate) fn report(cases: Vec<CaseReport>) -> Report {
        Report {
            schema: SCHEMA,
            machine: Machine::default(),
            lane: None,
            wall_ms: 0,
            timings: Timings::default(),
            memory: vec![],
            summary: Summary::of(&cases, cases.len()),
            interrupted: false,
            error: None,
            problems: vec![],
            notes: vec![],
            constraints: vec![],
            cases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_cannot_be_read_says_why_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let said = || Report::read(folder.path()).unwrap_err().to_string();
        let text = said();
        assert!(text.contains("report.json: there is no such file") && text.contains("handover run"), "{text}");
        for (contents, expected) in [
            ("", "no report of Handover, or a damaged one: EOF"),
            ("[1, 2", "damaged one"),
            ("{\"name\": \"x\"}", "missing field `schema`"),
            ("{\"schema\": 1, \"machine\"", "damaged one"),
            ("{\"schema\": 1}", "missing field `machine`"),
            ("{\"schema\": 7}", "its schema is 7; this program reads schema 1"),
        ] {
            fs::write(folder.path().join(FILE), contents).unwrap();
            let text = said();
            assert!(text.contains(expected), "{contents}: {text}");
        }
        let whole = serde_json::to_vec(&samples::report(vec![samples::case("a::b_works", Verdict::Pass)])).unwrap();
        fs::write(folder.path().join(FILE), whole).unwrap();
        assert_eq!(Report::read(folder.path()).unwrap().cases[0].name, "a::b_works");
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report");
        fs::write(&file, "x").unwrap();
        let error = ReportDir::open(&file).unwrap_err().to_string();
        assert!(error.contains("report directory") && error.contains(&file.display().to_string()), "{error}");
    }

    #[test]
    fn a_directory_is_one_runs_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = ReportDir::open(folder.path()).unwrap();
        let error = ReportDir::open(folder.path()).unwrap_err().to_string();
        let us = format!("process {} (`", std::process::id());
        assert!(error.contains(&us) && error.contains("choose another with --report"), "{error}");
        drop(first);
        ReportDir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_copy_of_a_killed_run_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let lock = File::open(folder.path()).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(100));
                drop(lock);
            });
            ReportDir::open(folder.path()).unwrap();
        });
    }

    #[test]
    fn nothing_is_left_beside_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let report = ReportDir::open(folder.path()).unwrap();
        report.write("report.json", b"one").unwrap();
        report.write("report.json", b"two").unwrap();
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["report.json"]);
        assert_eq!(fs::read(folder.path().join("report.json")).unwrap(), b"two");
    }

    #[test]
    fn artifacts_are_relative_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let report = ReportDir::open(folder.path()).unwrap();
        let place = report.of_case("a::b_works::AB24");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("target.png"), "").unwrap();
        fs::write(place.join("actual.png"), "").unwrap();
        assert_eq!(
            report.files_of_case("a::b_works::AB24"),
            ["cases/a.b_works.AB24/actual.png", "cases/a.b_works.AB24/target.png"]
        );
        assert!(report.files_of_case("a::c_works").is_empty());
    }
}
