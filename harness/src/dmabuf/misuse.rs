//! Calls on a dma-buf that must be refused, as no sane reader of it would make them.
//!
//! Source: `dma_buf_ioctl`, `dma_buf_llseek` and `dma_buf_mmap_internal` in `drivers/dma-buf/dma-buf.c`.
#![expect(unsafe_code, reason = "makes ioctls and mappings with wrong arguments")]

use std::ffi::c_void;
use std::os::fd::RawFd;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Dmabuf;
use crate::error::{Error, Result};

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

/// A call whose argument is a `T`.
struct Call<'a, T> {
    opcode: Opcode,
    argument: &'a mut T,
}

// SAFETY: the argument is a pointer to a `T` that is borrowed for as long as `self` lives, and of the size that the
// number says.
unsafe impl<T> Ioctl for Call<'_, T> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.argument).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

impl Dmabuf {
    /// Makes the call, and undoes it if it is not refused.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn misuse(&self, misuse: Misuse) -> Result<()> {
        let (op, done) = match misuse {
            Misuse::Sync(mut flags) => {
                let call = Call { opcode: opcode::write::<u64>(b'b', 0), argument: &mut flags };
                // SAFETY: `struct dma_buf_sync` is one __u64.
                ("DMA_BUF_IOCTL_SYNC", unsafe { ioctl(&self.fd, call) })
            }
            Misuse::Seek(at) => ("lseek", rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(at)).map(drop)),
            Misuse::SeekFromHere => ("lseek", rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Current(0)).map(drop)),
            Misuse::Map { offset, length } => {
                let (prot, null) = (ProtFlags::READ | ProtFlags::WRITE, std::ptr::null_mut());
                let length = length as usize;
                // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing that exists.
                let mapped = unsafe { mmap(null, length, prot, MapFlags::SHARED, &self.fd, offset) };
                if let Ok(start) = mapped {
                    // SAFETY: mapped just now, and nobody else knows of it.
                    let _ = unsafe { munmap(start, length) };
                }
                ("mmap", mapped.map(drop))
            }
            Misuse::ExportSyncFile(flags) => {
                let mut argument = SyncFile { flags, fd: -1 };
                let call = Call { opcode: opcode::read_write::<SyncFile>(b'b', 2), argument: &mut argument };
                // SAFETY: `struct dma_buf_export_sync_file` is a __u32 and a __s32.
                ("DMA_BUF_IOCTL_EXPORT_SYNC_FILE", unsafe { ioctl(&self.fd, call) })
            }
            Misuse::ImportSyncFile { flags, fd } => {
                let mut argument = SyncFile { flags, fd };
                let call = Call { opcode: opcode::write::<SyncFile>(b'b', 3), argument: &mut argument };
                // SAFETY: `struct dma_buf_import_sync_file` is a __u32 and a __s32.
                ("DMA_BUF_IOCTL_IMPORT_SYNC_FILE", unsafe { ioctl(&self.fd, call) })
            }
            Misuse::NoSuchCall => {
                let mut nothing = 0_u64;
                let call = Call { opcode: opcode::write::<u64>(b'b', 200), argument: &mut nothing };
                // SAFETY: the kernel knows no such number, and reads nothing.
                ("ioctl", unsafe { ioctl(&self.fd, call) })
            }
            Misuse::Read => ("read", rustix::io::read(&self.fd, &mut [0_u8; 16]).map(drop)),
        };
        done.map_err(|errno| Error::new(op, format!("{self}, {misuse:?}"), errno))
    }
}

/// `struct dma_buf_export_sync_file` and `struct dma_buf_import_sync_file`.
#[repr(C)]
struct SyncFile {
    flags: u32,
    fd: i32,
}
