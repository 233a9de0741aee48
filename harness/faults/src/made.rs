//! Which fault is made in this process, or which controls, and how often each was: for the libraries and layers that make them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

static NAME: LazyLock<String> = LazyLock::new(|| std::env::var("HANDOVER_FAULT").unwrap_or_default());

static COUNT: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("HANDOVER_FAULT_COUNT").filter(|path| !path.is_empty()).map(PathBuf::from));

/// The fault that the environment names (`HANDOVER_FAULT`); empty if it names none.
pub fn name() -> &'static str {
    &NAME
}

/// All that the environment names, where several can be made at once: with commas between them.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAME.split(',')
}

/// The byte that is written each time the fault of this place is made, of several in one process.
pub fn mark_of(place: usize) -> u8 {
    b'a' + place as u8
}

/// Whether the fault of this name is to be made.
pub fn is(name: &str) -> bool {
    *NAME == name
}

/// Counts that it was made: a byte more in the file that `HANDOVER_FAULT_COUNT` names.
///
/// Whatever becomes of this process, what was appended is there; and no file stays open, which somebody could find. A fault that
/// can't be counted counts as not made, which the runner finds out.
pub fn fired() {
    count(b'.');
}

/// As [`fired`], where several can be made at once, of the one of this name.
pub fn fired_by(name: &str) {
    if let Some(place) = names().position(|other| other == name) {
        count(mark_of(place));
    }
}

fn count(mark: u8) {
    if let Some(path) = COUNT.as_ref() {
        let _ = OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| file.write_all(&[mark]));
    }
}
