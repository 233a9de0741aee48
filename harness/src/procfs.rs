//! Files of procfs that tell of one thing, such as `status` and those in `fdinfo`: the kernel makes all of their text at once,
//! and hands out as much of it as there is room for. Lists, such as `maps`, come in pieces.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::restart::again;

/// Few of them have so many bytes.
const SHORT: usize = 4 << 10;

/// The inode of the first pid namespace (`PID_NS_INIT_INO`): only there do our pids mean the same to the kernel.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether procfs is mounted and shows all processes of the machine, under the numbers by which the kernel has them.
pub(crate) fn sees_all_processes() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new(FIRST_PID_NAMESPACE))
}

/// Whether process `pid` is known to have ended: not where it may only be out of sight.
pub(crate) fn has_ended(pid: u32) -> bool {
    sees_all_processes() && !Path::new(&format!("/proc/{pid}")).exists()
}

/// The file of this program: without procfs the one that the kernel was asked to execute (`AT_EXECFN`).
///
/// # Errors
/// Neither is there.
pub(crate) fn this_program() -> io::Result<PathBuf> {
    std::env::current_exe().or_else(|_| named(rustix::param::linux_execfn()))
}

/// The file that such a name stands for, which may be one from where the program was started.
fn named(name: &CStr) -> io::Result<PathBuf> {
    fs::canonicalize(OsStr::from_bytes(name.to_bytes()))
}

/// The text of such a file, in one read: `std` asks for its size, which is 0, and then reads some bytes at a time.
///
/// # Errors
/// The file is not there, or may not be read.
pub(crate) fn text(path: &str) -> io::Result<String> {
    let mut text = [0; SHORT];
    let mut file = again(|| File::open(path))?;
    let length = again(|| file.read(&mut text))?;
    // There may be more.
    if length == SHORT {
        return fs::read_to_string(path);
    }
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_has_all_of_it() {
        let status = text("/proc/self/status").expect("procfs");
        assert!(
            status.starts_with("Name:") && status.contains("\nnonvoluntary_ctxt_switches:") && status.ends_with('\n')
        );
        assert!(text("/proc/self/no such file").is_err());
    }

    #[test]
    fn who_runs_has_not_ended_and_who_is_out_of_sight_may_run() {
        assert!(!has_ended(std::process::id()));
        // No pid is so large (`PID_MAX_LIMIT`).
        assert_eq!(has_ended(u32::MAX), sees_all_processes());
    }
}
