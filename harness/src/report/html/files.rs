//! Which files of the cases are put into a page, and why are the others not?
//!
//! Cases that failed come first. The files of one folder belong together, as target and actual do: all of them are in the
//! page, or none. What is the same in many cases is in the page once. A listed defect shows in dozens of cases, so after the
//! first of its pictures only those are taken that are there anyway.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::report::CaseReport;
use crate::verdict::Verdict;

/// What a page can show.
const SHOWN: &[&str] = &["png", "svg"];

/// So many folders of new pictures a page takes of one listed defect: one alone does not tell what is the same in all.
const FOLDERS_OF_A_DEFECT: usize = 2;

/// Where a file of a case is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the page, under this number.
    In(usize),
    /// Not in the page, for this reason.
    Out(String),
}

/// The files of all cases.
pub(super) struct Files {
    places: HashMap<String, Place>,
    /// Numbers by the digest of the contents.
    numbers: HashMap<[u8; 32], usize>,
    /// By number, in base64.
    contents: Vec<String>,
    left_out: usize,
    left_bytes: u64,
}

/// What was read of a file that a page may show.
struct Found<'p> {
    path: &'p String,
    digest: [u8; 32],
    contents: Vec<u8>,
}

impl Files {
    /// Reads those files of `cases` below `folder` that a page shows, up to `most_bytes` of the page.
    pub(super) fn choose(cases: &[CaseReport], folder: &Path, most_bytes: u64) -> Self {
        let (places, numbers) = (HashMap::new(), HashMap::new());
        let mut files = Self { places, numbers, contents: Vec::new(), left_out: 0, left_bytes: most_bytes };
        let mut shown_of: HashMap<&str, usize> = HashMap::new();
        for case in in_order(cases) {
            let defect = case.reason.as_deref().filter(|_| case.verdict == Verdict::Known);
            let mut shown = defect.map(|defect| shown_of.entry(defect).or_default());
            for group in case.artifacts.chunk_by(|one, other| parent(one) == parent(other)) {
                let enough = shown.as_ref().is_some_and(|shown| **shown >= FOLDERS_OF_A_DEFECT);
                let new = files.take_in(group, folder, most_bytes, enough);
                if let Some(shown) = shown.as_mut().filter(|_| new) {
                    **shown += 1;
                }
            }
        }
        files
    }

    /// Takes in the files of one folder; with `enough` only if all of them are there already. Returns whether one is new.
    fn take_in(&mut self, group: &[String], folder: &Path, most_bytes: u64, enough: bool) -> bool {
        let mut shown = Vec::new();
        let mut bytes = 0_u64;
        for path in group.iter().filter(|path| !self.places.contains_key(*path)).collect::<BTreeSet<_>>() {
            match size(folder, path) {
                Ok(size) => {
                    shown.push(path);
                    bytes += encoded(size);
                }
                Err(why) => self.leave_out(path, why),
            }
        }
        let too_much = || format!("the page holds {} MiB of files at most", most_bytes >> 20);
        // Nothing is read that could not be taken in anyway.
        if bytes > most_bytes {
            shown.into_iter().for_each(|path| self.leave_out(path, too_much()));
            return false;
        }
        let mut read = Vec::new();
        for path in shown {
            match fs::read(folder.join(path)) {
                Ok(contents) => read.push(Found { path, digest: Sha256::digest(&contents).into(), contents }),
                Err(error) => self.leave_out(path, format!("it cannot be read: {error}")),
            }
        }
        let new: HashMap<[u8; 32], u64> = read
            .iter()
            .filter(|found| !self.numbers.contains_key(&found.digest))
            .map(|found| (found.digest, encoded(found.contents.len() as u64)))
            .collect();
        let bytes = new.values().sum::<u64>();
        if enough && !new.is_empty() {
            let why = format!(
                "of a known defect a page holds the pictures of {FOLDERS_OF_A_DEFECT} cases, and those like them"
            );
            read.iter().for_each(|found| self.leave_out(found.path, why.clone()));
            return false;
        }
        if bytes > self.left_bytes {
            read.iter().for_each(|found| self.leave_out(found.path, too_much()));
            return false;
        }
        self.left_bytes -= bytes;
        for Found { path, digest, contents } in read {
            let number = *self.numbers.entry(digest).or_insert_with(|| {
                self.contents.push(BASE64.encode(contents));
                self.contents.len() - 1
            });
            self.places.insert(path.clone(), Place::In(number));
        }
        !new.is_empty()
    }

    fn leave_out(&mut self, path: &str, why: String) {
        self.left_out += 1;
        self.places.insert(path.to_owned(), Place::Out(why));
    }

    /// Where the file at `path` is.
    pub(super) fn place(&self, path: &str) -> Place {
        self.places.get(path).cloned().unwrap_or_else(|| Place::Out("it is no file of this report".to_owned()))
    }

    /// The files in the page, by number, in base64.
    pub(super) fn contents(&self) -> &[String] {
        &self.contents
    }

    /// How many are not in the page.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }
}

/// The cases that failed first, the first one of every claim before the second of any; then known defects, then the rest.
fn in_order(cases: &[CaseReport]) -> Vec<&CaseReport> {
    let mut of_claim: HashMap<&str, usize> = HashMap::new();
    let mut order: Vec<_> = cases
        .iter()
        .map(|case| {
            let red = case.verdict.is_red();
            let earlier = of_claim.entry(claim(&case.name)).or_default();
            *earlier += usize::from(red);
            ((!red, case.verdict != Verdict::Known, if red { *earlier } else { 0 }), case)
        })
        .collect();
    order.sort_by_key(|(rank, _)| *rank);
    order.into_iter().map(|(_, case)| case).collect()
}

/// `family::claim` of a case's name.
fn claim(name: &str) -> &str {
    name.match_indices("::").nth(1).map_or(name, |(at, _)| &name[..at])
}

fn parent(path: &str) -> Option<&Path> {
    Path::new(path).parent()
}

/// Length in base64.
fn encoded(bytes: u64) -> u64 {
    bytes.div_ceil(3) * 4
}

/// The size of a file that a page shows, or why it does not.
fn size(folder: &Path, path: &str) -> Result<u64, String> {
    let path = Path::new(path);
    // A report may come from anywhere; it does not choose which files of this machine go into a page.
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err("its path leads out of the report's directory".to_owned());
    }
    if !path.extension().is_some_and(|kind| SHOWN.iter().any(|shown| kind == *shown)) {
        return Err("a page shows PNG and SVG".to_owned());
    }
    let real = folder.join(path).canonicalize().map_err(|error| format!("it cannot be read: {error}"))?;
    if !folder.canonicalize().is_ok_and(|folder| real.starts_with(folder)) {
        return Err("its path leads out of the report's directory".to_owned());
    }
    match fs::metadata(&real) {
        Ok(found) if found.is_file() => Ok(found.len()),
        Ok(_) => Err("it is no file".to_owned()),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}
