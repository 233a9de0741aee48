//! Whom does a device node let in?
//!
//! A machine may have the device that a case needs and not let us have it. Then it matters which group to join.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Opens a device node.
///
/// # Errors
/// It is not there, or we may not: then that is a lack, and the text says whom it lets in.
pub(crate) fn open(node: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(node, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => Error::missing("open", node.display().to_string(), denied(node)),
        _ => Error::new("open", node.display().to_string(), errno),
    })
}

/// Why `node` does not open: its mode, and the group that it lets in.
pub(crate) fn denied(node: &Path) -> String {
    let Ok(meta) = std::fs::metadata(node) else { return "permission denied".to_owned() };
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    told(meta.mode(), &group(meta.gid(), &groups))
}

fn told(mode: u32, group: &str) -> String {
    match mode & 0o060 {
        0o060 => format!("permission denied: its mode is {:03o}, its group {group}; join that group", mode & 0o777),
        _ => format!("permission denied: its mode is {:03o}, which lets in its owner alone", mode & 0o777),
    }
}

/// The name of group `gid` in the text of `/etc/group`; its number if it has none.
fn group(gid: u32, groups: &str) -> String {
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    };
    groups.lines().find_map(of_line).unwrap_or_else(|| gid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_to_join_is_named() {
        let groups = "root:x:0:\nvideo:x:44:alice,bob\nrender:x:105:\n";
        assert_eq!(group(44, groups), "video");
        assert_eq!(group(7, groups), "7");
        assert_eq!(told(0o100_660, "video"), "permission denied: its mode is 660, its group video; join that group");
        // Joining would not help.
        assert!(told(0o100_600, "video").ends_with("lets in its owner alone"));
    }
}
