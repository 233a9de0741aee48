#![expect(unsafe_code, reason = "mmap, munmap and raw copies of memory that devices share")]
//! The bytes of a buffer's file, as this driver changes them behind everybody's back.

use std::ffi::c_void;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A file's bytes from the first on, mapped shared. The fd may be closed meanwhile.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Mapping {}
// SAFETY: its bytes are only copied by raw pointers.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `length` bytes of `fd`, or all of them; `None` if it can't be mapped.
    ///
    /// # Safety
    /// `fd` is open.
    pub(crate) unsafe fn of(fd: RawFd, length: Option<usize>) -> Option<Mapping> {
        // SAFETY: the caller's contract.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let all = usize::try_from(rustix::fs::seek(fd, rustix::fs::SeekFrom::End(0)).ok()?).ok()?;
        let length = length.map_or(all, |length| length.min(all));
        // SAFETY: a new mapping wherever the kernel likes.
        let start =
            unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0) };
        Some(Mapping { start: NonNull::new(start.ok()?)?, length })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Its address.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// A copy of all bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        // SAFETY: both are `length` bytes long, and apart.
        unsafe { ptr::copy_nonoverlapping(self.start().cast_const(), bytes.as_mut_ptr(), self.length) };
        bytes
    }

    /// Writes `bytes` from byte `at` on, as far as there is room.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        let room = self.length.saturating_sub(at).min(bytes.len());
        if room == 0 {
            return;
        }
        // SAFETY: `at` is inside, since there is room behind it.
        let to = unsafe { self.start().add(at) };
        // SAFETY: `room` bytes of both are inside, and they are apart.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, room) };
    }

    /// Writes those bytes of `new` that differ from `old`.
    pub(crate) fn write_changed(&self, old: &[u8], new: &[u8]) {
        let mut at = 0;
        for same in
            old.iter().zip(new).map(|(old, new)| old == new).collect::<Vec<_>>().chunk_by(|one, other| one == other)
        {
            if !same[0] {
                self.write(at, &new[at..at + same.len()]);
            }
            at += same.len();
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, unmapped only here.
        let _ = unsafe { munmap(self.start.as_ptr(), self.length) };
    }
}
