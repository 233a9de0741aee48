//! Which files of the cases are put into a page, and why are the others not?
//!
//! Cases that failed come first. The files of one folder belong together, as target and actual do: all of them are in the
//! page, or none.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::report::CaseReport;
use crate::verdict::Verdict;

/// What a page can show.
const SHOWN: &[&str] = &["png", "svg"];

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
    embedded: usize,
    /// Of each case, the number and the contents of its files.
    contents: HashMap<usize, Vec<(usize, String)>>,
}

impl Files {
    /// Reads those files of `cases` below `folder` that a page shows, up to `most_bytes` of the page.
    pub(super) fn choose(cases: &[CaseReport], folder: &Path, most_bytes: u64) -> Self {
        let mut files = Self { places: HashMap::new(), embedded: 0, contents: HashMap::new() };
        let mut left = most_bytes;
        let mut order: Vec<usize> = (0..cases.len()).collect();
        order.sort_by_key(|&at| (!cases[at].verdict.is_red(), cases[at].verdict != Verdict::Known));
        for at in order {
            for group in cases[at].artifacts.chunk_by(|one, other| parent(one) == parent(other)) {
                files.take_in(at, group, folder, most_bytes, &mut left);
            }
        }
        files
    }

    fn take_in(&mut self, at: usize, group: &[String], folder: &Path, most_bytes: u64, left: &mut u64) {
        let mut shown = Vec::new();
        // Of two cases that name the same file the first one brings it.
        for path in group.iter().filter(|path| !self.places.contains_key(*path)).collect::<BTreeSet<_>>() {
            match size(folder, path) {
                Ok(bytes) => shown.push((path, encoded(bytes))),
                Err(why) => self.leave_out(path, why),
            }
        }
        let bytes: u64 = shown.iter().map(|(_, bytes)| bytes).sum();
        if bytes > *left {
            for (path, _) in shown {
                self.leave_out(path, format!("the page holds {} MiB of files at most", most_bytes >> 20));
            }
            return;
        }
        for (path, _) in shown {
            match fs::read(folder.join(path)) {
                Ok(contents) => {
                    let number = self.embedded;
                    self.embedded += 1;
                    // It may have grown since it was measured.
                    *left = left.saturating_sub(encoded(contents.len() as u64));
                    self.contents.entry(at).or_default().push((number, BASE64.encode(contents)));
                    self.places.insert(path.clone(), Place::In(number));
                }
                Err(error) => self.leave_out(path, format!("it cannot be read: {error}")),
            }
        }
    }

    fn leave_out(&mut self, path: &str, why: String) {
        self.places.insert(path.to_owned(), Place::Out(why));
    }

    /// Where the file at `path` is.
    pub(super) fn place(&self, path: &str) -> Place {
        self.places.get(path).cloned().unwrap_or_else(|| Place::Out("it is no file of this report".to_owned()))
    }

    /// The files of the case numbered `at`, in base64.
    pub(super) fn take(&mut self, at: usize) -> Vec<(usize, String)> {
        self.contents.remove(&at).unwrap_or_default()
    }

    /// How many are in the page.
    pub(super) fn embedded(&self) -> usize {
        self.embedded
    }

    /// How many are not.
    pub(super) fn left_out(&self) -> usize {
        self.places.len() - self.embedded
    }
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
