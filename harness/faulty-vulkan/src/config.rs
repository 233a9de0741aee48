//! What is this driver to do, and where does it count?

use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use handover_faults::made;
pub(crate) use handover_faults::made::fired;

use crate::deed::Deed;

/// What the environment says.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// The real driver's library.
    pub(crate) driver: PathBuf,
    /// One, or several that are legal.
    deeds: Vec<Deed>,
}

/// The environment as it was when it was first asked for.
pub(crate) fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| Config {
        driver: std::env::var_os("HANDOVER_FAULT_DRIVER").map(PathBuf::from).unwrap_or_default(),
        deeds: made::names().filter_map(Deed::named).collect(),
    })
}

/// Whether this is the one to be done.
pub(crate) fn is(deed: Deed) -> bool {
    config().deeds.contains(&deed)
}

/// Whether the driver has a modifier beside LINEAR: [`Deed::has_tiles`].
pub(crate) fn has_tiles() -> bool {
    config().deeds.iter().any(|deed| deed.has_tiles())
}

/// Whether semaphores and fences are handed on as opaque fds: [`Deed::hands_on_opaque`].
pub(crate) fn hands_on_opaque() -> bool {
    config().deeds.iter().any(|deed| deed.hands_on_opaque())
}

/// Counts that this one was done, which may be one of several.
pub(crate) fn done(deed: Deed) {
    made::fired_by(deed.name());
}

/// Says on standard error why nothing can go on; there is nobody else whom a driver could tell.
pub(crate) fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "faulty driver: {what}");
}
