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
    deed: Option<Deed>,
}

/// The environment as it was when it was first asked for.
pub(crate) fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| Config {
        driver: std::env::var_os("HANDOVER_FAULT_DRIVER").map(PathBuf::from).unwrap_or_default(),
        deed: Deed::named(made::name()),
    })
}

/// Whether this is the one to be done.
pub(crate) fn is(deed: Deed) -> bool {
    config().deed == Some(deed)
}

/// Whether the driver has a modifier beside LINEAR: [`Deed::has_tiles`].
pub(crate) fn has_tiles() -> bool {
    config().deed.is_some_and(Deed::has_tiles)
}

/// Says on standard error why nothing can go on; there is nobody else whom a driver could tell.
pub(crate) fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "faulty driver: {what}");
}
