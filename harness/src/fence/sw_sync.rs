//! Fences that a program signals itself: the kernel's software timelines, made for testing.
//!
//! Source: `drivers/dma-buf/sw_sync.c`; its header is no part of the kernel's interface, so the structures are here.
#![expect(unsafe_code, reason = "the ioctls of sw_sync, one of which makes an fd")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

use super::{NAME, SyncFile, bytes};
use crate::error::{Error, Result};
use crate::inventory::mounts::Mounts;
use crate::restart::again;

/// A software timeline, which counts from 0. When it is dropped all its fences signal, with `ENOENT`.
#[derive(Debug)]
pub struct Timeline(OwnedFd);

impl Timeline {
    /// A new one.
    ///
    /// # Errors
    /// As missing: procfs or debugfs is not mounted, the kernel has no `sw_sync`, or we may not open it. Otherwise it can't be
    /// opened: the process has no fd left, say.
    pub fn open() -> Result<Self> {
        const OP: &str = "opening a software timeline";
        let debugfs = Mounts::ask().map_err(|error| match is_missing(&error) {
            true => Error::missing(OP, "the list of mounts", format!("{error}; procfs is not mounted")),
            false => Error::new(OP, "the list of mounts", error),
        })?;
        let debugfs = debugfs.debugfs();
        let path: PathBuf = debugfs.ready().map_err(|why| Error::missing(OP, "sw_sync", why))?.join("sync/sw_sync");
        let opened = again(|| rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()));
        opened.map(Self).map_err(|error| {
            let object = path.display().to_string();
            match is_missing(&error) {
                true => Error::missing(OP, object, format!("{error}; a kernel with CONFIG_SW_SYNC has it, for root")),
                false => Error::new(OP, object, error),
            }
        })
    }

    /// A fence that signals when the timeline has counted to `value`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn fence(&self, value: u32) -> Result<SyncFile> {
        const OP: &str = "SW_SYNC_IOC_CREATE_FENCE";
        const CREATE: Opcode = opcode::read_write::<Create>(b'W', 0);
        let object = || format!("software timeline, point {value}");
        let mut create = Create { value, name: bytes("handover"), fence: -1 };
        let made = again(|| {
            // SAFETY: SW_SYNC_IOC_CREATE_FENCE is _IOWR('W', 0, struct sw_sync_create_fence_data), which `Create` is.
            let request = unsafe { Updater::<CREATE, Create>::new(&mut create) };
            // SAFETY: the structure lives until the call returns, and has no pointers in it.
            unsafe { ioctl(&self.0, request) }
        });
        made.map_err(|error| Error::new(OP, object(), error))?;
        if create.fence < 0 {
            return Err(Error::answer(OP, object(), format!("fd {}; an open file was due", create.fence)));
        }
        // SAFETY: the call succeeded, so this is an fd that the kernel just made and that nobody else owns.
        SyncFile::from_fd(unsafe { OwnedFd::from_raw_fd(create.fence) })
    }

    /// Counts on by `by`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn advance(&self, by: u32) -> Result<()> {
        const INC: Opcode = opcode::write::<u32>(b'W', 1);
        let counted = again(|| {
            // SAFETY: SW_SYNC_IOC_INC is _IOW('W', 1, __u32).
            let request = unsafe { Setter::<INC, u32>::new(by) };
            // SAFETY: the request only reads its argument, which lives until the call returns.
            unsafe { ioctl(&self.0, request) }
        });
        counted.map_err(|error| Error::new("SW_SYNC_IOC_INC", "software timeline", error))
    }
}

/// Whether what could not be opened is not there, or not for us; everything else is a failure.
fn is_missing(error: &io::Error) -> bool {
    let missing = [Errno::NOENT, Errno::NODEV, Errno::NXIO, Errno::ACCESS, Errno::PERM];
    Errno::from_io_error(error).is_some_and(|errno| missing.contains(&errno))
}

/// `struct sw_sync_create_fence_data`.
#[repr(C)]
struct Create {
    value: u32,
    name: [u8; NAME],
    fence: RawFd,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_files_lacks_no_facility() {
        assert!(is_missing(&Errno::NOENT.into()) && is_missing(&Errno::ACCESS.into()));
        assert!(!is_missing(&Errno::MFILE.into()) && !is_missing(&Errno::NOMEM.into()));
    }
}
