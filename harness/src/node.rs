//! Whom does a device node let in?
//!
//! A machine may have the device that a case needs and not let us have it. Then it matters which group to join.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::inventory::access;

/// Opens a device node.
///
/// # Errors
/// It is not there, or we may not: then that is a lack, and the text says whom it lets in.
pub(crate) fn open(node: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(node, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => {
            let why = format!("permission denied; {}", access::way_in(node));
            Error::missing("open", node.display().to_string(), why)
        }
        _ => Error::new("open", node.display().to_string(), errno),
    })
}
