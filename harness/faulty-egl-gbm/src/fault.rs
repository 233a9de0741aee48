//! Which fault is made, and how often it was.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::LazyLock;

static NAME: LazyLock<String> = LazyLock::new(|| std::env::var("HANDOVER_FAULT").unwrap_or_default());

static COUNT: LazyLock<Option<File>> = LazyLock::new(|| {
    let path = std::env::var_os("HANDOVER_FAULT_COUNT")?;
    OpenOptions::new().append(true).create(true).open(path).ok()
});

/// Whether the fault of this name is to be made.
pub(crate) fn is(name: &str) -> bool {
    *NAME == name
}

/// Counts that it was made. A fault that can't be counted counts as not made, which the runner finds out.
pub(crate) fn fired() {
    if let Some(mut file) = COUNT.as_ref() {
        let _ = file.write_all(b".");
    }
}
