//! Where are the kernel's own file systems mounted, and if they are not, what would mount them?

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::restart::again;

/// What `/proc` says about file systems.
pub(crate) struct Mounts {
    /// Text of `/proc/self/mounts`.
    mounts: String,
    /// Text of `/proc/filesystems`.
    known: String,
}

/// Where a file system of the kernel is mounted, or where it belongs and why it is not there.
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    missing: Option<String>,
}

impl Mounts {
    /// What can be read of it.
    pub(crate) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self { mounts: text("/proc/self/mounts"), known: text("/proc/filesystems") }
    }

    /// What it says.
    ///
    /// # Errors
    /// It can't be read: procfs is not mounted, or this process has no fd left.
    pub(crate) fn ask() -> io::Result<Self> {
        let text = |path| again(|| fs::read_to_string(path));
        Ok(Self { mounts: text("/proc/self/mounts")?, known: text("/proc/filesystems")? })
    }

    /// Where the kernel's trace events are.
    pub(crate) fn tracefs(&self) -> Mount {
        self.find("tracefs", "/sys/kernel/tracing", "CONFIG_TRACING")
    }

    /// Where drivers show what they show to nobody else.
    pub(crate) fn debugfs(&self) -> Mount {
        self.find("debugfs", "/sys/kernel/debug", "CONFIG_DEBUG_FS")
    }

    /// The mount point of `kind`, which belongs on `usual` and needs kernel option `config`.
    fn find(&self, kind: &str, usual: &str, config: &str) -> Mount {
        let mounted = self.mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let point = fields.nth(1)?;
            (fields.next()? == kind).then(|| PathBuf::from(point))
        });
        if let Some(point) = mounted {
            return Mount { point, missing: None };
        }
        let known = self.known.lines().any(|line| line.split_whitespace().last() == Some(kind));
        let missing = if self.known.is_empty() {
            format!("whether {kind} is mounted can't be told: procfs is not")
        } else if known {
            format!("{kind} is not mounted: `mount -t {kind} {kind} {usual}` as root")
        } else {
            format!("{kind} is not in /proc/filesystems: kernel without {config}")
        };
        Mount { point: usual.into(), missing: Some(missing) }
    }
}

impl Mount {
    /// The mount point, or why there is none.
    pub(crate) fn ready(&self) -> Result<&Path, String> {
        self.missing.clone().map_or(Ok(&self.point), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_or_explained() {
        let mounts = Mounts {
            mounts: "proc /proc proc rw 0 0\nnone /debug debugfs rw 0 0\n".into(),
            known: "nodev\tproc\nnodev\tdebugfs\nnodev\ttracefs\n".into(),
        };
        assert_eq!(mounts.debugfs().ready(), Ok(Path::new("/debug")));
        let why = mounts.tracefs().ready().map(Path::to_owned);
        assert_eq!(why, Err("tracefs is not mounted: `mount -t tracefs tracefs /sys/kernel/tracing` as root".into()));
        let none = Mounts { mounts: String::new(), known: String::new() };
        let why = none.debugfs().ready().map(Path::to_owned);
        assert_eq!(why, Err("whether debugfs is mounted can't be told: procfs is not".into()));
        let why = mounts.find("nofs", "/no", "CONFIG_NO").ready().map(Path::to_owned);
        assert_eq!(why, Err("nofs is not in /proc/filesystems: kernel without CONFIG_NO".into()));
    }
}
