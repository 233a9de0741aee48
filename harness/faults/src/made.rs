//! Which fault is made in this process, and how often it was: for the libraries and layers that make one.

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

/// Whether the fault of this name is to be made.
pub fn is(name: &str) -> bool {
    *NAME == name
}

/// Counts that it was made: a byte more in the file that `HANDOVER_FAULT_COUNT` names.
///
/// Whatever becomes of this process, what was appended is there; and no file stays open, which somebody could find. A fault that
/// can't be counted counts as not made, which the runner finds out.
pub fn fired() {
    if let Some(path) = COUNT.as_ref() {
        let _ = OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| file.write_all(b"."));
    }
}
