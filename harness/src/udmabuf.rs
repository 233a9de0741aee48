//! A dma-buf whose pages are a memfd of our own: the simplest exporter there is, and one whose bytes we can see twice.
//!
//! The CPU writes and reads the pages through the memfd as well as through the dma-buf, so a reader that looked at
//! other pages than the exporter's is found out. It decides nothing about frames: size and alignment are the caller's.
//!
//! Source: `drivers/dma-buf/udmabuf.c` and `include/uapi/linux/udmabuf.h` of the kernel.
#![expect(unsafe_code, reason = "UDMABUF_CREATE answers with an fd as its return value")]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::frame::Frame;

const NODE: &str = "/dev/udmabuf";

/// Exports `size` bytes of fresh, zeroed memory as a dma-buf; returns it with the memfd that holds the pages.
///
/// # Errors
/// `size` is not a positive multiple of the page size; the machine has no `/dev/udmabuf` or we may not open it; the
/// kernel refuses (its limit is 64 MiB unless `udmabuf.size_limit_mb` says otherwise).
pub fn create(size: u64) -> Result<(Dmabuf, OwnedFd)> {
    let object = || format!("{NODE} ({size} B)");
    let page = rustix::param::page_size() as u64;
    if size == 0 || !size.is_multiple_of(page) {
        return Err(Error::input("UDMABUF_CREATE", object(), format!("size must be a positive multiple of {page} B")));
    }
    let device = rustix::fs::open(NODE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::new("open", NODE, errno))?;
    let memfd = rustix::fs::memfd_create("handover", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|errno| Error::new("memfd_create", object(), errno))?;
    rustix::fs::ftruncate(&memfd, size).map_err(|errno| Error::new("ftruncate", object(), errno))?;
    // The driver takes only memory that can't shrink under it.
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK)
        .map_err(|errno| Error::new("fcntl(F_ADD_SEALS)", object(), errno))?;
    let request = Create { memfd: memfd.as_raw_fd() as u32, flags: UDMABUF_FLAGS_CLOEXEC, offset: 0, size };
    // SAFETY: `Create` is `struct udmabuf_create` and lives until the call returns, and `memfd` is open meanwhile.
    let fd = unsafe { ioctl(&device, request) }.map_err(|errno| Error::new("UDMABUF_CREATE", object(), errno))?;
    Ok((Dmabuf::from_fd(fd)?, memfd))
}

/// A udmabuf just large enough for `frame` and `slack` bytes after it, rounded up to whole pages.
///
/// # Errors
/// As [`create`]; also if the frame can't be addressed by byte.
pub fn for_frame(frame: Frame, slack: u64) -> Result<SharedFrame> {
    let page = rustix::param::page_size() as u64;
    let size = frame.packed()?.end.checked_add(slack).and_then(|end| end.checked_next_multiple_of(page));
    let size =
        size.ok_or_else(|| Error::input("UDMABUF_CREATE", frame.to_string(), "its size does not fit in 64 bits"))?;
    let (dmabuf, _) = create(size)?;
    Ok(SharedFrame { dmabuf, frame })
}

const UDMABUF_FLAGS_CLOEXEC: u32 = 1;

/// `struct udmabuf_create`.
#[repr(C)]
struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

// SAFETY: UDMABUF_CREATE is _IOW('u', 0x42, struct udmabuf_create); it reads the struct and returns a new fd.
unsafe impl Ioctl for Create {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::write::<Self>(b'u', 0x42)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(fd: IoctlOutput, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the call succeeded, so this is an fd that the kernel just made and that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
