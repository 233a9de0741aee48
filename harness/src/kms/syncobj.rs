//! DRM's own synchronization objects, as far as they carry the fences of sync files.
//!
//! Source: "DRM Sync Objects" in the kernel's DRM documentation. The raw calls of the drm crates import a sync file
//! into no object but number 0, so that call is here.
#![expect(unsafe_code, reason = "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE with an object of ours")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use super::commit::own_fd;
use super::prime::Prime;
use crate::error::{Error, Result};
use crate::fence::SyncFile;
use crate::restart::again;

/// `struct drm_syncobj_handle`, as it was before timelines; the kernel takes the rest as zeros.
#[repr(C)]
struct Handle {
    handle: u32,
    flags: u32,
    fd: i32,
    pad: u32,
}

/// `DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE`.
const IMPORT_SYNC_FILE: u32 = 1;

impl Prime {
    /// What comes out of a new syncobj of this card into which `file` went.
    ///
    /// # Errors
    /// As missing: the driver has no syncobjs. It refuses.
    pub fn through_syncobj(&self, file: &SyncFile) -> Result<SyncFile> {
        const CREATE: &str = "DRM_IOCTL_SYNCOBJ_CREATE";
        const FD_TO_HANDLE: Opcode = opcode::read_write::<Handle>(b'd', 0xc2);
        let card = self.card();
        let made = again(|| drm_ffi::syncobj::create(card.as_fd(), false)).map_err(|error| {
            if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) {
                return Error::missing(CREATE, card.to_string(), "EOPNOTSUPP: the driver has no syncobjs");
            }
            Error::new(CREATE, card.to_string(), error)
        })?;
        let mut import = Handle { handle: made.handle, flags: IMPORT_SYNC_FILE, fd: file.as_fd().as_raw_fd(), pad: 0 };
        let imported = again(|| {
            // SAFETY: the call is DRM_IOWR(0xC2, struct drm_syncobj_handle), of which `Handle` is the part that the
            // kernel needs.
            let request = unsafe { Updater::<FD_TO_HANDLE, Handle>::new(&mut import) };
            // SAFETY: the structure lives until the call returns, and has no pointers in it; the fd is open and stays
            // ours.
            unsafe { ioctl(card.as_fd(), request) }
        });
        let exported = again(|| drm_ffi::syncobj::handle_to_fd(card.as_fd(), made.handle, true));
        let exported = exported.map(|handle| own_fd(handle.fd));
        let destroyed = again(|| drm_ffi::syncobj::destroy(card.as_fd(), made.handle));
        imported.map_err(|error| Error::new("DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE", format!("{card}, {file}"), error))?;
        let exported =
            exported.map_err(|error| Error::new("DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD", card.to_string(), error))?;
        destroyed.map_err(|error| Error::new("DRM_IOCTL_SYNCOBJ_DESTROY", card.to_string(), error))?;
        SyncFile::from_fd(exported)
    }
}
