//! How a step behaves when there is hardly anything left: file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Cx;
use crate::error::{Error, Result};
use crate::ledger;

impl Cx {
    /// Does `work` while this process can open `left` more files and no others.
    ///
    /// # Errors
    /// procfs is not mounted, or the limit can't be set.
    pub fn with_files_left<R>(&mut self, left: usize, work: impl FnOnce(&mut Self) -> R) -> Result<R> {
        // They would take numbers that are counted here.
        ledger::without_canaries(|| self.limited(left, work))
    }

    fn limited<R>(&mut self, left: usize, work: impl FnOnce(&mut Self) -> R) -> Result<R> {
        const LIST: &str = "/proc/self/fd";
        let failed = |error: std::io::Error| Error::new("read", LIST, error);
        let mut open = Vec::new();
        for entry in std::fs::read_dir(LIST).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // That of the directory itself is free again when the limit is set.
            if std::fs::read_link(entry.path()).is_ok_and(|path| path.starts_with("/proc") && path.ends_with("fd")) {
                continue;
            }
            open.extend(entry.file_name().to_string_lossy().parse::<u64>());
        }
        open.sort_unstable();
        // The lowest number that has `left` free ones below it.
        let free = (0..).filter(|number| !open.contains(number));
        let limit = free.skip(left).find(|_| true).unwrap_or(u64::MAX);
        let before = getrlimit(Resource::Nofile);
        let set = |limit: Rlimit| {
            setrlimit(Resource::Nofile, limit)
                .map_err(|errno| Error::new("setrlimit(RLIMIT_NOFILE)", "this process", errno))
        };
        set(Rlimit { current: Some(limit), maximum: before.maximum })?;
        let done = work(self);
        set(before)?;
        Ok(done)
    }
}
