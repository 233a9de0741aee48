//! System calls that the supervisor makes in the caller's place.
#![expect(unsafe_code, reason = "ioctls by number, and mappings of what the caller has")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::fields::Fields;

/// Makes the ioctl `number` on `file` with `structure`.
///
/// # Errors
/// The kernel's.
pub(crate) fn perform(file: BorrowedFd<'_>, number: u32, structure: &mut Fields) -> Result<i64, Errno> {
    // SAFETY: the structure has the size that the number says, and lives until the call returns. Addresses in it are
    // those of memory that the callers in this crate keep meanwhile.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), number.into(), structure.0.as_mut_ptr()) };
    if done < 0 { Err(last()) } else { Ok(done.into()) }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The bytes of `file` from `offset` on, mapped for reading and writing until this is dropped.
#[derive(Debug)]
pub struct Mapped {
    start: *mut std::ffi::c_void,
    length: usize,
}

impl Mapped {
    /// Maps them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(file: BorrowedFd<'_>, offset: u64, length: usize) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, offset)
        }?;
        Ok(Self { start, length })
    }

    /// What is there now.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        // SAFETY: the mapping has `length` bytes and lives as long as `self`; others may write meanwhile, which shows
        // in what is read and nowhere else.
        unsafe { std::ptr::copy_nonoverlapping(self.start.cast::<u8>(), bytes.as_mut_ptr(), self.length) };
        bytes
    }

    /// Writes `bytes` at the start.
    pub fn write(&self, bytes: &[u8]) {
        let length = bytes.len().min(self.length);
        // SAFETY: as in `read`; no more bytes than both have.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.cast::<u8>(), length) };
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has an address in it beyond the calls above.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

/// Owns the fd that a call of [`perform`] made for this process.
pub(crate) fn own(number: i64) -> Option<OwnedFd> {
    let number = RawFd::try_from(number).ok().filter(|number| *number >= 0)?;
    // SAFETY: all callers pass what a successful call of `perform` has just returned as a new fd, once.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
