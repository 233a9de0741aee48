//! Where is what was built once, and how does it get there whole?
//!
//! Each entry is a directory whose name holds a digest of everything it is made from. It is built
//! under another name and renamed when it is complete, so an entry that is there is whole. A lock
//! per entry makes a second builder wait for the first; what a killed builder leaves is removed by
//! a shell that outlives it, or else by the next builder.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::SetupError;
use super::progress::Progress;

/// Between an entry's name and the rest of the name it is built under.
const PARTIAL: &str = ".partial-";

/// The directory of all entries.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

/// The name of an entry: what it is, and a digest of everything it is made from.
pub(super) fn entry_name(kind: &str, inputs: &[&str]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        // The length keeps apart inputs that read the same when put together.
        hash.update((input.len() as u64).to_le_bytes());
        hash.update(input.as_bytes());
    }
    let digest = hash.finalize();
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}-{hex}")
}

impl Cache {
    /// The cache of this user: `handover` in the XDG cache directory.
    pub(super) fn of_user() -> Result<Self, SetupError> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let base = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .ok_or(SetupError::NoCacheDir)?;
        Ok(Self::at(base.join("handover")))
    }

    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry of this name, if it was built.
    pub(super) fn get(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        path.is_dir().then_some(path)
    }

    /// The entry of this name; `build` fills the directory it is given if the entry is not there.
    pub(super) fn get_or_build(
        &self,
        name: &str,
        progress: &mut dyn Progress,
        build: impl FnOnce(&Path, &mut dyn Progress) -> Result<(), SetupError>,
    ) -> Result<PathBuf, SetupError> {
        if let Some(ready) = self.get(name) {
            return Ok(ready);
        }
        let doing = || format!("making {} in {}", name, self.dir.display());
        fs::create_dir_all(&self.dir).map_err(SetupError::io(doing()))?;
        let _lock = self.lock(name, progress).map_err(SetupError::io(doing()))?;
        if let Some(ready) = self.get(name) {
            return Ok(ready); // another builder was at it while this one waited
        }
        self.remove_abandoned(name);
        let partial = tempfile::Builder::new()
            .prefix(&format!("{name}{PARTIAL}"))
            .tempdir_in(&self.dir)
            .map_err(SetupError::io(doing()))?;
        let cleaner = Cleaner::start(partial.path()).map_err(SetupError::io(doing()))?;
        let built = build(partial.path(), progress)
            .and_then(|()| self.install(partial.path(), name).map_err(SetupError::io(doing())));
        // In this order, so that no moment is without somebody who removes what is left.
        drop(partial);
        drop(cleaner);
        built
    }

    fn install(&self, partial: &Path, name: &str) -> io::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(partial, fs::Permissions::from_mode(0o755))?;
        // The name must not reach the disk before the contents do.
        rustix::fs::syncfs(File::open(partial)?)?;
        let entry = self.dir.join(name);
        fs::rename(partial, &entry)?;
        Ok(entry)
    }

    fn lock(&self, name: &str, progress: &mut dyn Progress) -> io::Result<File> {
        let file = File::create(self.dir.join(format!("{name}.lock")))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            progress.step(&format!("waiting for another process that makes {name}"));
            flock(&file, FlockOperation::LockExclusive)?;
        }
        Ok(file)
    }

    /// Whoever built these did not hold the lock to the end.
    fn remove_abandoned(&self, name: &str) {
        let prefix = format!("{name}{PARTIAL}");
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// A shell in a process group of its own that removes a directory if this process ends first.
struct Cleaner(Child);

impl Cleaner {
    fn start(dir: &Path) -> io::Result<Self> {
        // Processes that write there are being killed at the same time: hence the second round.
        const SCRIPT: &str = r#"read -r _; rm -rf -- "$1"; sleep 1; rm -rf -- "$1""#;
        Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(dir)
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::super::progress::Silent;
    use super::*;

    fn leftovers(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_name_follows_every_input() {
        let name = entry_name("kernel", &["a", "bc"]);
        assert!(name.starts_with("kernel-") && name.len() == "kernel-".len() + 16);
        assert_eq!(name, entry_name("kernel", &["a", "bc"]));
        assert_ne!(name, entry_name("kernel", &["ab", "c"]));
        assert_ne!(name, entry_name("kernel", &["a", "bd"]));
        assert_ne!(name, entry_name("root", &["a", "bc"]));
    }

    #[test]
    fn two_builders_make_one_entry_and_build_it_once() {
        let base = tempfile::tempdir().unwrap();
        let cache = Cache::at(base.path().join("handover"));
        let builds = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let entry = cache.get_or_build("thing", &mut Silent, |dir, _| {
                        builds.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(50));
                        fs::write(dir.join("file"), "whole").unwrap();
                        Ok(())
                    });
                    let text = fs::read_to_string(entry.unwrap().join("file")).unwrap();
                    assert_eq!(text, "whole");
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
        assert_eq!(leftovers(cache.dir()), ["thing"]);
    }

    #[test]
    fn a_build_that_fails_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let cache = Cache::at(base.path().to_owned());
        let failed = cache.get_or_build("thing", &mut Silent, |dir, _| {
            fs::write(dir.join("half"), "").unwrap();
            Err(SetupError::NoCacheDir)
        });
        assert!(matches!(failed, Err(SetupError::NoCacheDir)));
        assert!(cache.get("thing").is_none());
        assert!(leftovers(cache.dir()).is_empty());
    }

    #[test]
    fn what_a_killed_builder_left_is_no_entry_and_goes() {
        let base = tempfile::tempdir().unwrap();
        let cache = Cache::at(base.path().to_owned());
        fs::create_dir(base.path().join(format!("thing{PARTIAL}killed"))).unwrap();
        assert!(cache.get("thing").is_none());
        cache.get_or_build("thing", &mut Silent, |_, _| Ok(())).unwrap();
        assert_eq!(leftovers(cache.dir()), ["thing"]);
    }

    #[test]
    fn the_cleaner_outlives_its_builder() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("partial");
        fs::create_dir(&dir).unwrap();
        let mut cleaner = Cleaner::start(&dir).unwrap();
        drop(cleaner.0.stdin.take()); // what the end of this process does
        cleaner.0.wait().unwrap();
        assert!(!dir.exists());
    }
}
