//! What is this driver to do, and where does it count?

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::deed::Deed;

/// What the environment says.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// The real driver's library.
    pub(crate) driver: PathBuf,
    deed: Option<Deed>,
    count: Option<PathBuf>,
}

/// The environment as it was when it was first asked for.
pub(crate) fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Config {
            driver: path("HANDOVER_FAULT_DRIVER").unwrap_or_default(),
            deed: std::env::var("HANDOVER_FAULT").ok().as_deref().and_then(Deed::named),
            count: path("HANDOVER_FAULT_COUNT"),
        }
    })
}

/// Whether this is the one to be done.
pub(crate) fn is(deed: Deed) -> bool {
    config().deed == Some(deed)
}

/// It is done now, once more.
///
/// Whatever becomes of this process, what was appended is there; and no file stays open, which somebody could find.
pub(crate) fn fired() {
    if let Some(path) = &config().count {
        // Where a process has no file left, the deed is done all the same.
        let _ = OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| file.write_all(b"."));
    }
}

/// Says on standard error why nothing can go on; there is nobody else whom a driver could tell.
pub(crate) fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "faulty driver: {what}");
}
