//! What is left of a run whose supervisor was killed? Every case that had its verdict, and all that is needed to go on.
//!
//! A run appends a line of JSON to `journal.jsonl` in its report directory for each case that ends, and removes the file when
//! `report.json` holds them all. A line that was cut off in the middle counts as none.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::seen::{News, add};
use crate::procfs;
use crate::report::{CaseReport, Machine, Report, SCHEMA, Summary, Timings, write_whole};

/// The journal's name in a report directory.
pub const FILE: &str = "journal.jsonl";

/// What a run was asked for, and by what it is done: all of it must be the same where it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// That of the report.
    pub schema: u32,
    /// Length and checksum of the program.
    pub program: String,
    /// Digest of the names of all its cases.
    pub cases: String,
    /// Where the cases run.
    pub on: String,
    /// The lane by whose rules they are judged, with a digest of its file if it has one.
    pub lane: Option<String>,
    /// What of the environment bears on cases.
    pub environment: Vec<(String, String)>,
    /// How many cases were selected.
    pub selected: usize,
}

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beginning {
    /// What must be the same.
    pub header: Header,
    /// The arguments of the command, behind its name.
    pub arguments: Vec<String>,
    /// The directory that it was given in.
    pub directory: PathBuf,
    /// The lane's file, if one was named, there or in the environment.
    pub lane_file: Option<PathBuf>,
    /// Where it runs, as far as that is known before a worker came up.
    pub machine: Machine,
}

/// Every other line: a case has its verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// From the start of the run, in ms.
    pub at_ms: u64,
    /// The case.
    pub case: CaseReport,
    /// What was learned beside it since the line before.
    #[serde(default)]
    pub news: News,
}

/// A run that is not finished.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// How it began.
    pub beginning: Beginning,
    /// What ended, in that order.
    pub entries: Vec<Entry>,
    /// So many bytes of the file are whole lines.
    whole: u64,
}

/// A journal that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is none.
    #[error(
        "{}: there is no such file: the run in this directory came to its end, or none began; `handover run --report DIR` begins \
         one", .0.display()
    )]
    Missing(PathBuf),
    /// It can't be read or written.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// What it holds is none.
    #[error("{}: line {line} is no line of a journal: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The run can't go on here.
    #[error("{}: the run can't go on, since it began otherwise: {}", .0.display(), .1.join("; "))]
    Differs(PathBuf, Vec<String>),
}

impl Header {
    /// What differs between a run that began like this and one that is to go on with it.
    pub fn differences(&self, now: &Header) -> Vec<String> {
        let lane = |lane: &Option<String>| lane.clone().unwrap_or_else(|| "none".into());
        let variables = |list: &[(String, String)]| {
            let words: Vec<String> = list.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if words.is_empty() { "nothing".into() } else { words.join(" ") }
        };
        [
            ("the report's schema", self.schema.to_string(), now.schema.to_string()),
            ("the program", self.program.clone(), now.program.clone()),
            ("the list of cases", self.cases.clone(), now.cases.clone()),
            ("the place", self.on.clone(), now.on.clone()),
            ("the lane", lane(&self.lane), lane(&now.lane)),
            ("the environment", variables(&self.environment), variables(&now.environment)),
            ("the number of selected cases", self.selected.to_string(), now.selected.to_string()),
        ]
        .into_iter()
        .filter(|(_, then, now)| then != now)
        .map(|(what, then, now)| format!("{what} was {then} and is {now}"))
        .collect()
    }
}

/// A short digest of `parts`, in which they can't be mistaken for one another.
pub fn digest<'p>(parts: impl IntoIterator<Item = &'p str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Length and checksum of this program; which file it is does not matter.
///
/// # Errors
/// It can't be read.
pub fn this_program() -> io::Result<String> {
    let mut file = File::open(procfs::this_program()?)?;
    let mut sum = crc32fast::Hasher::new();
    let (mut piece, mut length) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(format!("{length} B, checksum {:08x}", sum.finalize())),
            read => {
                sum.update(&piece[..read]);
                length += read;
            }
        }
    }
}

/// The journal of a run, open for the next case.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Begins the journal of a run in `folder`, in which nothing of an earlier run remains that could be taken for it.
    ///
    /// # Errors
    /// Names the file that can't be written or removed.
    pub fn begin(folder: &Path, beginning: &Beginning) -> Result<Journal, JournalError> {
        let path = folder.join(FILE);
        remove(&path)?;
        remove_views(folder)?;
        let begin = || {
            // It is there with its first line, or not at all.
            write_whole(&path, &line_of(beginning)?)?;
            File::options().append(true).open(&path)
        };
        let file = begin().map_err(|error| JournalError::Io(path.clone(), error))?;
        Ok(Journal { file, path })
    }

    /// Goes on with the journal of `unfinished` in `folder`.
    ///
    /// # Errors
    /// Names the file that can't be written.
    pub fn go_on(folder: &Path, unfinished: &Unfinished) -> Result<Journal, JournalError> {
        // Those of the part before, if it was interrupted.
        remove_views(folder)?;
        let path = folder.join(FILE);
        let open = || {
            let file = File::options().append(true).open(&path)?;
            file.set_len(unfinished.whole)?;
            Ok(file)
        };
        let file = open().map_err(|error| JournalError::Io(path.clone(), error))?;
        Ok(Journal { file, path })
    }

    /// A case has its verdict.
    ///
    /// # Errors
    /// Names the file that can't be written.
    pub fn ended(&mut self, entry: &Entry) -> Result<(), JournalError> {
        line_of(entry)
            .and_then(|line| self.file.write_all(&line))
            .map_err(|error| JournalError::Io(self.path.clone(), error))
    }

    /// Removes the one in `folder`, if there is one: the report holds everything.
    pub fn done(folder: &Path) {
        if let Err(error) = remove(&folder.join(FILE)) {
            tracing::warn!(%error, "a journal that is not needed any more stays");
        }
    }
}

/// Removes what is made of a whole run.
fn remove_views(folder: &Path) -> Result<(), JournalError> {
    [crate::report::FILE, crate::report::PAGE, "junit.xml"].iter().try_for_each(|view| remove(&folder.join(view)))
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::Io(path.to_owned(), error)),
        _ => Ok(()),
    }
}

fn line_of(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

impl Unfinished {
    /// Reads the journal in `folder`.
    ///
    /// # Errors
    /// There is none, or it is none of this program's.
    pub fn read(folder: &Path) -> Result<Unfinished, JournalError> {
        let path = folder.join(FILE);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => JournalError::Missing(path.clone()),
            _ => JournalError::Io(path.clone(), error),
        })?;
        Self::parse(&text).map_err(|(line, why)| JournalError::Damaged { path, line, why })
    }

    fn parse(text: &[u8]) -> Result<Unfinished, (usize, String)> {
        // What stands behind the last end of a line was being written.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut lines = text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate();
        let damaged = |at: usize, error: serde_json::Error| (at + 1, error.to_string());
        let Some((at, first)) = lines.next() else { return Err((1, "it is empty".into())) };
        let beginning = serde_json::from_slice(first).map_err(|error| damaged(at, error))?;
        let entries = lines
            .map(|(at, line)| serde_json::from_slice(line).map_err(|error| damaged(at, error)))
            .collect::<Result<_, _>>()?;
        Ok(Unfinished { beginning, entries, whole: whole as u64 })
    }

    /// Checks that a run that began like this can go on as `now` on `machine`.
    ///
    /// # Errors
    /// Names what differs.
    pub fn check(&self, folder: &Path, now: &Header, machine: &Machine) -> Result<(), JournalError> {
        let Beginning { header, machine: then, .. } = &self.beginning;
        let kernels = [
            ("the kernel of the machine", &then.host_kernel, &machine.host_kernel),
            ("the sandbox's kernel", &then.kernel_from, &machine.kernel_from),
            ("the sandbox's Mesa", &then.mesa.join(" and "), &machine.mesa.join(" and ")),
        ];
        let kernels = kernels.into_iter().filter(|(_, then, now)| then != now);
        let mut differences = header.differences(now);
        differences.extend(kernels.map(|(what, then, now)| format!("{what} was {then} and is {now}")));
        match differences.is_empty() {
            true => Ok(()),
            false => Err(JournalError::Differs(folder.join(FILE), differences)),
        }
    }

    /// The report of what ended; no lane has judged it.
    pub fn report(self, folder: &Path) -> Report {
        let Beginning { header, mut machine, .. } = self.beginning;
        let wall_ms = self.entries.last().map_or(0, |entry| entry.at_ms);
        let (mut notes, mut problems, mut constraints) = (Vec::new(), Vec::new(), Vec::new());
        let mut cases = Vec::new();
        for Entry { case, news, .. } in self.entries {
            news.tell(&mut machine);
            notes.extend(news.notes);
            problems.extend(news.problems);
            news.told.iter().for_each(|told| add(&mut constraints, told));
            cases.push(case);
        }
        notes.push(format!(
            "the run was killed after {} of {} cases; `handover run --resume {}` finishes it",
            cases.len(),
            header.selected,
            folder.display()
        ));
        Report {
            schema: SCHEMA,
            machine,
            lane: header.lane,
            wall_ms,
            timings: Timings::default(),
            memory: Vec::new(),
            summary: Summary::of(&cases, header.selected),
            interrupted: true,
            error: None,
            problems,
            notes,
            constraints,
            cases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use crate::verdict::Verdict;

    fn beginning() -> Beginning {
        let header = Header {
            schema: SCHEMA,
            program: "7 B, checksum 00000001".into(),
            cases: digest(["a::b_works", "a::c_works"]),
            on: "host".into(),
            lane: None,
            environment: vec![],
            selected: 2,
        };
        Beginning {
            header,
            arguments: vec!["run".into()],
            directory: "/".into(),
            lane_file: None,
            machine: Machine::default(),
        }
    }

    fn entry() -> Entry {
        let news = News { notes: vec!["a worker was replaced".into()], ..News::default() };
        Entry { at_ms: 12, case: samples::case("a::b_works", Verdict::Pass), news }
    }

    #[test]
    fn what_ended_is_read_back_and_a_line_that_was_cut_off_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for stale in [crate::report::FILE, crate::report::PAGE, FILE] {
            fs::write(folder.path().join(stale), "of an earlier run").unwrap();
        }
        Journal::begin(folder.path(), &beginning()).unwrap().ended(&entry()).unwrap();
        for stale in [crate::report::FILE, crate::report::PAGE] {
            assert!(!folder.path().join(stale).exists());
        }
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        let cut = [&whole[..], &whole[..40]].concat();
        fs::write(&path, &cut).unwrap();
        let unfinished = Unfinished::read(folder.path()).unwrap();
        assert_eq!(unfinished.entries.len(), 1);
        let mut journal = Journal::go_on(folder.path(), &unfinished).unwrap();
        journal.ended(&entry()).unwrap();
        assert_eq!(Unfinished::read(folder.path()).unwrap().entries.len(), 2);
        let report = Report::read(folder.path()).unwrap();
        assert!(report.interrupted && report.notes.iter().any(|note| note.contains("--resume")), "{report:?}");
        Journal::done(folder.path());
        let missing = Unfinished::read(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("came to its end, or none began"), "{missing}");
    }

    #[test]
    fn a_damaged_journal_says_where() {
        let parse = |text: &str| Unfinished::parse(text.as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!(parse("").0, 1);
        let first = serde_json::to_string(&beginning()).unwrap();
        assert_eq!(parse(&format!("{first}\n{{}}\n")).0, 2);
    }

    #[test]
    fn what_differs_is_named() {
        let then = beginning().header;
        assert!(then.differences(&then).is_empty());
        let now = Header {
            program: "8 B, checksum 00000002".into(),
            lane: Some("lab".into()),
            environment: vec![("HANDOVER_VALIDATION".into(), "0".into())],
            ..then.clone()
        };
        assert_eq!(
            then.differences(&now),
            [
                "the program was 7 B, checksum 00000001 and is 8 B, checksum 00000002",
                "the lane was none and is lab",
                "the environment was nothing and is HANDOVER_VALIDATION=0",
            ]
        );
    }

    #[test]
    fn digests_keep_parts_apart() {
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
        assert!(this_program().unwrap().contains(" B, checksum "));
    }
}
