//! Calls on a dma-buf that must be refused, as no sane reader of it would make them.
//!
//! Source: `dma_buf_ioctl`, `dma_buf_llseek` and `dma_buf_mmap_internal` in `drivers/dma-buf/dma-buf.c`.
#![expect(unsafe_code, reason = "makes ioctls and mappings with wrong arguments")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::ioctl::opcode;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Dmabuf;
use crate::error::{Error, Result};
use crate::ioctl::ask;

/// A call that must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// `DMA_BUF_IOCTL_SYNC` with these flags.
    Sync(u64),
    /// `lseek` from the start to this byte.
    Seek(u64),
    /// `lseek` from where it is.
    SeekFromHere,
    /// `mmap` of so many bytes from an offset of so many.
    Map {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE` with these flags.
    ExportSyncFile(u32),
    /// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` with these flags, of this fd.
    ImportSyncFile {
        /// `DMA_BUF_SYNC_READ`, `_WRITE`.
        flags: u32,
        /// What should be a `sync_file`.
        fd: RawFd,
    },
    /// An ioctl that there is not.
    NoSuchCall,
    /// `read`.
    Read,
}

/// So long a call that must be restarted is.
const PATIENCE: Duration = Duration::from_secs(1);

impl Misuse {
    /// The call, by its own name.
    pub fn call(self) -> &'static str {
        match self {
            Self::Sync(_) => "DMA_BUF_IOCTL_SYNC",
            Self::Seek(_) | Self::SeekFromHere => "lseek",
            Self::Map { .. } => "mmap",
            Self::ExportSyncFile(_) => "DMA_BUF_IOCTL_EXPORT_SYNC_FILE",
            Self::ImportSyncFile { .. } => "DMA_BUF_IOCTL_IMPORT_SYNC_FILE",
            Self::NoSuchCall => "ioctl",
            Self::Read => "read",
        }
    }
}

impl Dmabuf {
    /// Makes the call, and undoes it if it is not refused.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn misuse(&self, misuse: Misuse) -> Result<()> {
        let done = match misuse {
            Misuse::Sync(mut flags) => {
                // What its documentation has restarted is no answer.
                let until = Instant::now() + PATIENCE;
                loop {
                    // SAFETY: `struct dma_buf_sync` is one __u64.
                    match unsafe { ask(&self.fd, opcode::write::<u64>(b'b', 0), &mut flags) } {
                        Err(Errno::AGAIN) if Instant::now() < until => {}
                        done => break done,
                    }
                }
            }
            Misuse::Seek(at) => rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(at)).map(drop),
            Misuse::SeekFromHere => rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Current(0)).map(drop),
            Misuse::Map { offset, length } => {
                let (prot, null) = (ProtFlags::READ | ProtFlags::WRITE, std::ptr::null_mut());
                let length = length as usize;
                // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing that exists.
                let mapped = unsafe { mmap(null, length, prot, MapFlags::SHARED, &self.fd, offset) };
                if let Ok(start) = mapped {
                    // SAFETY: mapped just now, and nobody else knows of it.
                    let _ = unsafe { munmap(start, length) };
                }
                mapped.map(drop)
            }
            Misuse::ExportSyncFile(flags) => {
                let mut argument = SyncFile { flags, fd: -1 };
                // SAFETY: `struct dma_buf_export_sync_file` is a __u32 and a __s32.
                let done = unsafe { ask(&self.fd, opcode::read_write::<SyncFile>(b'b', 2), &mut argument) };
                if done.is_ok() && argument.fd >= 0 {
                    // SAFETY: the call has just made it, and it is ours.
                    drop(unsafe { OwnedFd::from_raw_fd(argument.fd) });
                }
                done
            }
            Misuse::ImportSyncFile { flags, fd } => {
                let mut argument = SyncFile { flags, fd };
                // SAFETY: `struct dma_buf_import_sync_file` is a __u32 and a __s32.
                unsafe { ask(&self.fd, opcode::write::<SyncFile>(b'b', 3), &mut argument) }
            }
            Misuse::NoSuchCall => {
                let mut nothing = 0_u64;
                // SAFETY: the kernel knows no such number, and reads nothing.
                unsafe { ask(&self.fd, opcode::write::<u64>(b'b', 200), &mut nothing) }
            }
            Misuse::Read => rustix::io::read(&self.fd, &mut [0_u8; 16]).map(drop),
        };
        done.map_err(|errno| Error::new(misuse.call(), format!("{self}, {misuse:?}"), errno))
    }
}

/// `struct dma_buf_export_sync_file` and `struct dma_buf_import_sync_file`.
#[repr(C)]
struct SyncFile {
    flags: u32,
    fd: i32,
}
