//! Where do the two sides of one sandbox meet?
//!
//! In a directory of their own under the temporary directory: the job, the init program, mount
//! points, and what the kernel keeps about itself. It goes with the sandbox; one whose owner was
//! killed goes with the next sandbox that starts.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::wire::{Job, file};
use crate::kernel::Error;

/// Beginning of the names of all such directories.
const PREFIX: &str = "handover-sandbox-";

/// Held, and locked, as long as the directory's owner lives.
const LOCK: &str = "lock";

/// The directory of one sandbox. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Control {
    dir: tempfile::TempDir,
    _lock: File,
}

impl Control {
    /// Makes the directory, with `job` and `init` in it.
    pub(super) fn new(job: &Job, init: &Path) -> Result<Self, Error> {
        let parent = parent();
        remove_abandoned(&parent);
        let doing = || format!("making a directory for the sandbox in {}", parent.display());
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent).map_err(Error::system(doing()))?;
        // It is locked before it is there for others, who would take it for one that was left.
        let new = dir.path().join("lock.new");
        let lock = File::create(&new).map_err(Error::system(doing()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(Error::system(doing()))?;
        fs::rename(new, dir.path().join(LOCK)).map_err(Error::system(doing()))?;
        let control = Self { dir, _lock: lock };
        control.fill(job, init).map_err(Error::system(doing()))?;
        Ok(control)
    }

    fn fill(&self, job: &Job, init: &Path) -> io::Result<()> {
        fs::create_dir(self.path().join(file::ROOT))?;
        fs::create_dir(self.path().join(file::SCRATCH))?;
        fs::write(self.path().join(file::JOB), serde_json::to_vec(job)?)?;
        let link = self.path().join(file::INIT);
        if init.exists() {
            symlink(init, link)
        } else {
            // The program was replaced while it runs, by a build; this is what runs.
            fs::copy("/proc/self/exe", link).map(drop)
        }
    }

    /// The directory; its path has neither blanks nor quotes.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// The temporary directory, unless the kernel's command line could not carry its name.
fn parent() -> PathBuf {
    let usual = std::env::temp_dir();
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b',' | b'=');
    let short = usual.as_os_str().len() < 200;
    match usual.to_str() {
        Some(text) if short && usual.is_absolute() && text.bytes().all(plain) => usual,
        _ => "/tmp".into(),
    }
}

/// Removes the directories of sandboxes whose owner was killed.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // Anybody may have put anything there.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(lock) = rustix::fs::open(entry.path().join(LOCK), flags, Mode::empty()) else {
            continue; // being made at this moment, or another user's
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            root: "/".into(),
            shares: Vec::new(),
            cwd: "/".into(),
            program: "true".into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    #[test]
    fn a_living_owner_keeps_its_directory_and_a_dead_one_does_not() {
        let mine = Control::new(&job(), Path::new("/bin/sh")).unwrap();
        let abandoned = mine.path().with_file_name(format!("{PREFIX}abandoned-{}", std::process::id()));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        remove_abandoned(mine.path().parent().unwrap());
        assert!(mine.path().join(file::JOB).exists());
        assert!(!abandoned.exists());
        let path = mine.path().to_owned();
        drop(mine);
        assert!(!path.exists());
    }

    #[test]
    fn a_program_that_was_replaced_is_copied() {
        let control = Control::new(&job(), Path::new("/nowhere/program (deleted)")).unwrap();
        let copy = fs::metadata(control.path().join(file::INIT)).unwrap();
        assert!(copy.is_file() && copy.len() > 0);
    }
}
