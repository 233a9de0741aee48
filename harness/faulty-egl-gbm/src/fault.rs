//! Which fault is made, and how often it was.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

static NAME: LazyLock<String> = LazyLock::new(|| std::env::var("HANDOVER_FAULT").unwrap_or_default());

static COUNT: LazyLock<Option<PathBuf>> = LazyLock::new(|| Some(std::env::var_os("HANDOVER_FAULT_COUNT")?.into()));

/// Whether the fault of this name is to be made.
pub(crate) fn is(name: &str) -> bool {
    *NAME == name
}

/// Counts that it was made. A fault that can't be counted counts as not made, which the runner finds out. No file stays open,
/// which somebody could find.
pub(crate) fn fired() {
    if let Some(path) = COUNT.as_ref() {
        let _ = OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| file.write_all(b"."));
    }
}
