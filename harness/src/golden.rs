//! Is a rendered picture still what the reference driver once rendered?
//!
//! For pictures whose pixels can't be computed; computed ones need no golden. A golden lies at
//! `golden/<family>/<claim>/<parameters>.png` after the name of its case, and `golden/ORIGIN.toml` says what rendered it.
//! A missing golden fails: nothing here writes one but [`Goldens::bless`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::compare::{Difference, Tolerance, compare};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::guess::{Guess, Suspects, guess};
use crate::picture::Picture;
use crate::png;

/// Goldens are small on purpose: no file exceeds so many bytes.
pub const LARGEST_FILE: u64 = 64 * 1024;

/// Variable that names another folder of goldens.
pub const VARIABLE: &str = "HANDOVER_GOLDEN";

/// Name of the file that says what rendered the goldens.
const ORIGIN: &str = "ORIGIN.toml";

/// Name of the only driver that may render goldens: a software renderer gives every machine the same pixels.
pub const REFERENCE: &str = "llvmpipe";

/// First lines of the list of origins.
const ORIGIN_HEAD: &str = "# What rendered each golden. Written by `handover bless`.\n\n";

/// A folder of goldens.
#[derive(Clone, Debug)]
pub struct Goldens {
    root: PathBuf,
}

/// What rendered a golden, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Name of the driver.
    pub driver: String,
    /// Its version.
    pub version: String,
    /// The day, in UTC, as `2026-05-04`.
    pub date: String,
}

/// Who asks for a golden to be written.
#[derive(Clone, Debug)]
pub struct Blessing<'a> {
    /// What rendered the picture.
    pub origin: Origin,
    /// Name of the only driver that may.
    pub reference_driver: &'a str,
    /// Whether this is an automated run, which never may.
    pub in_ci: bool,
}

/// How a picture differs from its golden.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The golden's picture.
    pub target: Picture,
    /// The exact numbers, which decide.
    pub difference: Difference,
    /// What the picture is like, if it is like anything.
    pub like: Option<Guess>,
    /// Mean of the FLIP error map, from 0 (looks the same) to 1; reported, never judged.
    pub flip_mean: f32,
    /// Where the golden lies.
    pub path: PathBuf,
    /// What rendered it, if that is known.
    pub origin: Option<Origin>,
}

impl Origin {
    /// An origin of today.
    pub fn today(driver: impl Into<String>, version: impl Into<String>) -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self { driver: driver.into(), version: version.into(), date: date(seconds / 86400) }
    }
}

impl<'a> Blessing<'a> {
    /// A blessing asked for in this process, which is an automated run if `CI` is set to anything.
    pub fn from_environment(origin: Origin, reference_driver: &'a str) -> Self {
        Self { origin, reference_driver, in_ci: std::env::var_os("CI").is_some_and(|v| !v.is_empty()) }
    }
}

impl Goldens {
    /// The goldens of the source this was built from, or those in the folder that `HANDOVER_GOLDEN` names.
    pub fn open() -> Self {
        match std::env::var_os(VARIABLE) {
            Some(folder) if !folder.is_empty() => Self::at(folder),
            _ => Self::at(Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("golden")),
        }
    }

    /// The goldens in the folder `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the golden of `case` lies, whether it exists or not.
    ///
    /// # Errors
    /// `case` is not the name of a case: two or more parts of letters, digits and `_.+-`, apart by `::`.
    pub fn path(&self, case: &str) -> Result<PathBuf> {
        let valid = |part: &str| {
            let letter = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(letter)
        };
        let parts: Vec<&str> = case.split("::").collect();
        if parts.len() < 2 || !parts.iter().all(|part| valid(part)) {
            let why = "a case name such as render::triangle_is_sharp::xr24_64x48 would be valid: \
                       parts of letters, digits and _.+- apart by ::";
            return Err(Error::input("finding a golden", format!("`{case}`"), why));
        }
        let mut path = self.root.clone();
        path.extend(parts);
        // Not `set_extension`, which would take a dot in the parameters for one.
        path.as_mut_os_string().push(".png");
        Ok(path)
    }

    /// Compares `actual` with the golden of `case`; `None` is a match within `tolerance`.
    ///
    /// # Errors
    /// The golden is missing, corrupt, too large, or of another size or format; each says what to do.
    pub fn check(&self, case: &str, actual: &Picture, tolerance: &Tolerance) -> Result<Option<Mismatch>> {
        let path = self.path(case)?;
        let name = path.display().to_string();
        let refuse = |why: String| Err(Error::input("checking against the golden", name.clone(), why));
        let bless = format!("look at the actual picture, then on the reference lane: handover bless {case}");
        let restore = format!("restore it with git, or {bless}");
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::missing("checking against the golden", name, format!("there is none; {bless}")));
            }
            Err(error) => return Err(Error::new("checking against the golden", name, error)),
        };
        if length > LARGEST_FILE {
            return refuse(format!("the file has {length} B; up to {LARGEST_FILE} B would be valid; {restore}"));
        }
        let target = match png::load(&path) {
            Ok(target) => target,
            Err(error) => return refuse(format!("{}; {restore}", error.cause)),
        };
        if (target.size, target.fourcc) != (actual.size, actual.fourcc) {
            let (is, was) =
                (format!("{} {}", actual.fourcc, actual.size), format!("{} {}", target.fourcc, target.size));
            return refuse(format!("the golden is {was}, the actual picture {is}; if that is meant, {bless}"));
        }
        let Some(difference) = compare(&target, actual, tolerance)? else { return Ok(None) };
        let flip_mean = flip_mean(&target, actual)?;
        let like = guess(&target, actual, &Suspects::default());
        // Only for the text: a damaged list of origins must not hide what the pixels say. `dead` reports it.
        let origin = self.origins().ok().and_then(|mut origins| origins.remove(case));
        Ok(Some(Mismatch { target, difference, like, flip_mean, path, origin }))
    }

    /// Makes `picture` the golden of `case` and returns its path.
    ///
    /// # Errors
    /// Refused in an automated run, for any driver but the reference, for formats that a PNG does not hold exactly and
    /// for files above [`LARGEST_FILE`]; fails if the list of origins is damaged, or with the file system. Nothing
    /// is written then.
    pub fn bless(&self, case: &str, picture: &Picture, blessing: &Blessing<'_>) -> Result<PathBuf> {
        let path = self.path(case)?;
        let name = path.display().to_string();
        let refuse = |why: String| Err(Error::input("blessing a golden", name.clone(), why));
        if blessing.in_ci {
            return refuse(
                "CI is set: goldens are blessed by a person who looked at them, never by an automated run".into(),
            );
        }
        let Blessing { origin, reference_driver, .. } = blessing;
        if origin.driver != *reference_driver {
            return refuse(format!(
                "rendered by `{}`; only the reference driver `{reference_driver}` may bless",
                origin.driver
            ));
        }
        let file = png::encode(picture)?;
        if file.len() as u64 > LARGEST_FILE {
            let why = "draw a smaller or plainer picture";
            return refuse(format!(
                "the file would have {} B; up to {LARGEST_FILE} B would be valid: {why}",
                file.len()
            ));
        }
        png::decode(&file, &name)?;
        let mut origins = self.origins()?;
        origins.insert(case.to_owned(), origin.clone());
        let list = toml::to_string(&origins).map_err(|e| Error::input("blessing a golden", ORIGIN, e.to_string()))?;

        // Both are complete before either appears.
        let failed = |error: std::io::Error| Error::new("blessing a golden", name.clone(), error);
        let list_path = self.root.join(ORIGIN);
        let pending_file = png::pending(&path, &file).map_err(failed)?;
        let pending_list = png::pending(&list_path, (ORIGIN_HEAD.to_owned() + &list).as_bytes()).map_err(failed)?;
        pending_file.persist(&path).map_err(|e| failed(e.error))?;
        pending_list.persist(&list_path).map_err(|e| failed(e.error))?;
        Ok(path)
    }

    /// What is wrong with the folder as a whole, one line each: goldens of which no case knows, goldens without an
    /// origin and origins without a golden, files that are too large or no goldens.
    ///
    /// # Errors
    /// The folder or the list of origins can't be read. A folder that does not exist is empty.
    pub fn dead<'a>(&self, cases: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>> {
        let cases: BTreeSet<&str> = cases.into_iter().collect();
        let origins = self.origins()?;
        let mut files = Vec::new();
        if self.root.exists() {
            walk(&self.root, &mut files)
                .map_err(|e| Error::new("listing the goldens", self.root.display().to_string(), e))?;
        }
        let mut lines = Vec::new();
        let mut found = BTreeSet::new();
        for (path, length) in files {
            let inside = path.strip_prefix(&self.root).unwrap_or(&path);
            if inside == Path::new(ORIGIN) {
                continue;
            }
            let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
            let case = parts.join("::");
            let Some(case) = case.strip_suffix(".png").filter(|case| self.path(case).is_ok_and(|p| p == path)) else {
                lines.push(format!("{}: is no golden of any case", inside.display()));
                continue;
            };
            if !cases.contains(case) {
                lines.push(format!("{}: there is no case {case}", inside.display()));
            }
            if !origins.contains_key(case) {
                lines.push(format!("{}: {ORIGIN} does not say what rendered it", inside.display()));
            }
            if length > LARGEST_FILE {
                lines.push(format!("{}: {length} B; up to {LARGEST_FILE} B would be valid", inside.display()));
            }
            found.insert(case.to_owned());
        }
        lines.extend(
            origins.keys().filter(|case| !found.contains(*case)).map(|case| format!("{ORIGIN}: {case} has no golden")),
        );
        lines.sort();
        Ok(lines)
    }

    /// What rendered each golden, by the name of its case.
    fn origins(&self) -> Result<BTreeMap<String, Origin>> {
        let path = self.root.join(ORIGIN);
        let name = path.display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                let why = format!("{}; restore the file with git", error.to_string().trim_end());
                Error::input("reading the origins of the goldens", name, why)
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(Error::new("reading the origins of the goldens", name, error)),
        }
    }
}

impl Mismatch {
    /// The text of the failure; `what` says whose, in a sentence: `gpu_a no longer renders its golden`.
    pub fn finding(&self, what: &str) -> Finding {
        let origin = self.origin.as_ref();
        Finding::differs(what, &self.difference, self.like.as_ref())
            .row("flip", format!("mean {:.4} (0 looks the same, 1 is the most; not judged)", self.flip_mean))
            .verbatim("golden", self.path.display().to_string())
            .row("origin", origin.map_or("not known".to_owned(), |o| format!("{} {}, {}", o.driver, o.version, o.date)))
    }
}

/// Mean of the FLIP error map of two comparable pictures; alpha does not count.
fn flip_mean(target: &Picture, actual: &Picture) -> Result<f32> {
    let layout = crate::compare::comparable(target, actual)?;
    let image = |picture: &Picture| {
        nv_flip::FlipImageRgb8::with_data(picture.size.width, picture.size.height, &png::rgb8(picture, layout))
    };
    let map = nv_flip::flip(image(target), image(actual), nv_flip::DEFAULT_PIXELS_PER_DEGREE);
    Ok(nv_flip::FlipPool::from_image(&map).mean())
}

/// All files below `folder` with their lengths in bytes.
fn walk(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.push((entry.path(), metadata.len()));
        }
    }
    Ok(())
}

/// The date `days` after 1970-01-01, as `2026-05-04`.
fn date(days: u64) -> String {
    let leap = |year: u64| u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)));
    let (mut year, mut day) = (1970, days);
    while day >= 365 + leap(year) {
        day -= 365 + leap(year);
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests;
