//! Why a file can't be opened, and how to get in: the errno, who owns the file, and the one thing to do about it.
//!
//! It opens files and looks at owners and groups. It changes nothing.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::io::Errno;

use crate::error::Cause;

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
    ReadWrite,
}

/// Opens `path` without waiting for anybody.
///
/// # Errors
/// Why not, as one sentence that names the call, the errno and the way in. `absent` says what it means that the file
/// is not there.
pub(crate) fn open(path: &Path, mode: Mode, absent: &str) -> Result<File, String> {
    let mut options = OpenOptions::new();
    options.read(mode != Mode::Write).write(mode != Mode::Read);
    options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    options.open(path).map_err(|error| refused("open", path, &error, absent))
}

/// The failed call `op` on `path` as a reason.
pub(crate) fn refused(op: &str, path: &Path, error: &std::io::Error, absent: &str) -> String {
    let errno = Errno::from_io_error(error);
    let answer = format!("{op} {}: {}", path.display(), answer(error));
    match errno {
        Some(Errno::ACCESS | Errno::PERM) => format!("{answer}; {}", way_in(path)),
        Some(Errno::NOENT | Errno::NOTDIR) => format!("{answer}; {absent}"),
        Some(Errno::NXIO | Errno::NODEV) => format!("{answer}; no driver stands behind this node"),
        Some(Errno::BUSY) => format!("{answer}; another process has it"),
        _ => answer,
    }
}

/// `EACCES (Permission denied)`: an I/O error by its name.
pub(crate) fn answer(error: &std::io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(errno) => Cause::from(errno).to_string(),
        None => error.to_string(),
    }
}

/// How this process could get to a file that it may not open.
pub(crate) fn way_in(path: &Path) -> String {
    if rustix::process::geteuid().is_root() {
        return "even root may not: a container without this device or capability, or kernel lockdown".into();
    }
    let Ok(file) = fs::metadata(path) else {
        return format!("{} is closed to all but root: run as root", closed_directory(path));
    };
    let group = name(Path::new("/etc/group"), file.gid());
    let owner = name(Path::new("/etc/passwd"), file.uid());
    let mine = rustix::process::getgroups().unwrap_or_default();
    let member = rustix::process::getegid().as_raw() == file.gid() || mine.iter().any(|gid| gid.as_raw() == file.gid());
    let open_to_group = file.mode() & 0o060 == 0o060 && file.gid() != 0;
    format!("owner {owner}, group {group}, mode {:04o}{}", file.mode() & 0o7777, advice(&group, open_to_group, member))
}

/// What helps against a file of `group`, which lets that group in or not, and this process is its member or not.
fn advice(group: &str, open_to_group: bool, member: bool) -> String {
    match (open_to_group, member) {
        (false, _) => ": run as root".to_owned(),
        (true, true) => ", and this process is in that group: a container or security module forbids it".to_owned(),
        (true, false) => format!(": `sudo usermod -aG {group} $USER`, then log in again"),
    }
}

/// The directory on the way to `path` that can be seen, but not entered.
fn closed_directory(path: &Path) -> String {
    let closed = path.ancestors().find(|dir| fs::metadata(dir).is_ok()).unwrap_or(path);
    closed.display().to_string()
}

/// The name of user or group `id` in `table`, `/etc/passwd` or `/etc/group`; the number where it has none.
fn name(table: &Path, id: u32) -> String {
    let text = fs::read_to_string(table).unwrap_or_default();
    named(&text, id).unwrap_or_else(|| if id == 0 { "root".into() } else { id.to_string() })
}

fn named(table: &str, id: u32) -> Option<String> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_number() {
        let groups = "root:x:0:\nvideo:x:44:ann,bob\nbroken line\nrender:x:105:\n";
        assert_eq!(named(groups, 44).as_deref(), Some("video"));
        assert_eq!(named(groups, 105).as_deref(), Some("render"));
        assert_eq!(named(groups, 1000), None);
    }

    #[test]
    fn who_may_not_open_a_node_learns_which_group_may() {
        assert_eq!(advice("render", true, false), ": `sudo usermod -aG render $USER`, then log in again");
        assert!(advice("render", true, true).contains("this process is in that group"));
        assert_eq!(advice("root", false, false), ": run as root");
    }

    #[test]
    fn an_absent_file_says_what_that_means() {
        let why = open(Path::new("/nonexistent/node"), Mode::Read, "kernel without CONFIG_NODE").expect_err("absent");
        assert!(why.starts_with("open /nonexistent/node: ENOENT ("), "{why}");
        assert!(why.ends_with("; kernel without CONFIG_NODE"), "{why}");
    }
}
