//! Where are the kernel's own file systems mounted, and if they are not, what would mount them?

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::access;
use crate::restart::again;

/// What `/proc` says about file systems.
pub(crate) struct Mounts {
    /// Text of `/proc/self/mounts`.
    mounts: String,
    /// Text of `/proc/filesystems`.
    known: String,
    /// Why one of them can't be read.
    unread: Option<String>,
}

/// Where a file system of the kernel is mounted, or where it belongs and why it is not there.
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    missing: Option<String>,
}

impl Mounts {
    /// What can be read of it; why nothing can is said for each mount.
    pub(crate) fn read() -> Self {
        Self::of(Path::new("/proc"))
    }

    fn of(proc: &Path) -> Self {
        let text = |name| {
            let path = proc.join(name);
            let read = again(|| fs::read_to_string(&path));
            read.map_err(|error| access::refused("read", &path, &error, "procfs is not mounted"))
        };
        match text("self/mounts").and_then(|mounts| Ok((mounts, text("filesystems")?))) {
            Ok((mounts, known)) => Self { mounts, known, unread: None },
            Err(why) => Self { mounts: String::new(), known: String::new(), unread: Some(why) },
        }
    }

    /// What it says.
    ///
    /// # Errors
    /// It can't be read: procfs is not mounted, or this process has no fd left.
    pub(crate) fn ask() -> io::Result<Self> {
        let text = |path| again(|| fs::read_to_string(path));
        Ok(Self { mounts: text("/proc/self/mounts")?, known: text("/proc/filesystems")?, unread: None })
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
        let missing = if let Some(why) = &self.unread {
            format!("whether {kind} is mounted can't be told: {why}")
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
            unread: None,
        };
        assert_eq!(mounts.debugfs().ready(), Ok(Path::new("/debug")));
        let why = mounts.tracefs().ready().map(Path::to_owned);
        assert_eq!(why, Err("tracefs is not mounted: `mount -t tracefs tracefs /sys/kernel/tracing` as root".into()));
        // A file where a directory should be stands for whatever keeps it from being read.
        let why = Mounts::of(Path::new("/dev/null")).debugfs().ready().map(Path::to_owned).expect_err("unread");
        assert!(why.starts_with("whether debugfs is mounted can't be told: read /dev/null/self/mounts: "), "{why}");
        let why = mounts.find("nofs", "/no", "CONFIG_NO").ready().map(Path::to_owned);
        assert_eq!(why, Err("nofs is not in /proc/filesystems: kernel without CONFIG_NO".into()));
    }
}
