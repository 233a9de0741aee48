//! Which fault is made, and how often it was.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

static COUNT: LazyLock<Option<PathBuf>> = LazyLock::new(|| Some(std::env::var_os("HANDOVER_FAULT_COUNT")?.into()));

/// The fault that the environment names.
pub(crate) fn name() -> Option<String> {
    std::env::var("HANDOVER_FAULT").ok()
}

/// Counts that it was made. A fault that can't be counted counts as not made, which the runner finds out. No file stays open,
/// which somebody could find.
pub(crate) fn fired() {
    if let Some(path) = COUNT.as_ref() {
        let _ = OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| file.write_all(b"."));
    }
}
