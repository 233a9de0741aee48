//! The bytes of a dma-buf as the CPU sees them: `mmap`, and `DMA_BUF_IOCTL_SYNC` around every access.
//!
//! No Rust reference to the mapped memory is ever made, since devices and other processes write to it at will: bytes
//! are copied out and in.
#![expect(unsafe_code, reason = "mmap, munmap and raw copies of memory that devices share")]

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Dmabuf;
use crate::error::{Error, Result};

/// A dma-buf mapped for the CPU, from its first byte to its last. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    buffer: Dmabuf,
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Mapping {}

/// How long `DMA_BUF_IOCTL_SYNC` may keep answering `EINTR` or `EAGAIN` before we give up.
const SYNC_DEADLINE: Duration = Duration::from_secs(5);

/// `DMA_BUF_SYNC_READ`, `_WRITE` and `_END` of `include/uapi/linux/dma-buf.h`; `_START` is 0.
const SYNC_READ: u64 = 1;
const SYNC_WRITE: u64 = 2;
const SYNC_END: u64 = 4;

impl Mapping {
    pub(super) fn new(buffer: Dmabuf) -> Result<Self> {
        let refused = |errno| Error::new("mmap", buffer.to_string(), errno);
        let length = usize::try_from(buffer.size).map_err(|_| refused(Errno::OVERFLOW))?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing that exists.
        let start = unsafe { mmap(std::ptr::null_mut(), length, prot, MapFlags::SHARED, &buffer.fd, 0) };
        let start = start.map_err(refused)?;
        let start = NonNull::new(start).ok_or_else(|| Error::answer("mmap", buffer.to_string(), "a null address"))?;
        Ok(Self { buffer, start, length })
    }

    /// A copy of the bytes in `range`, in bytes from the start of the buffer.
    ///
    /// # Errors
    /// The range reaches outside the buffer; `DMA_BUF_IOCTL_SYNC` fails.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let length = range.end.saturating_sub(range.start);
        // Before the allocation, whose size may be nonsense.
        self.at(range.start, length)?;
        let mut bytes = vec![0; length as usize];
        self.read_into(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes` with the bytes from `at` on: [`Self::read`] without a new allocation, which in the sandbox costs
    /// more than the copy.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let from = self.at(at, bytes.len() as u64)?;
        self.sync(SYNC_READ)?;
        // SAFETY: `at` checked that the source lies in the mapping; the destination is private memory, since no
        // reference to a mapping is ever handed out. Whoever writes meanwhile can only make bytes torn, and every byte
        // is a valid u8.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        self.sync(SYNC_READ | SYNC_END)
    }

    /// Copies `bytes` to where they belong, `at` bytes from the start of the buffer.
    ///
    /// # Errors
    /// The range reaches outside the buffer; `DMA_BUF_IOCTL_SYNC` fails.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.write_all([(at, bytes)])
    }

    /// Copies several runs of bytes, each `(bytes from the start of the buffer, content)`, in one CPU access.
    ///
    /// # Errors
    /// A range reaches outside the buffer (the runs before it are written); `DMA_BUF_IOCTL_SYNC` fails.
    pub fn write_all<'a>(&mut self, runs: impl IntoIterator<Item = (u64, &'a [u8])>) -> Result<()> {
        self.sync(SYNC_WRITE)?;
        let written = runs.into_iter().try_for_each(|(at, bytes)| {
            let to = self.at(at, bytes.len() as u64)?;
            // SAFETY: `at` checked that the destination lies in the mapping; `bytes` is private memory, since no
            // reference to a mapping is ever handed out, so the two do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
            Ok(())
        });
        self.sync(SYNC_WRITE | SYNC_END)?;
        written
    }

    /// The address of byte `at`, if `length` bytes from there on are inside the mapping.
    fn at(&self, at: u64, length: u64) -> Result<*mut u8> {
        if at.checked_add(length).is_none_or(|end| end > self.length as u64) {
            let why = format!("{length} B at byte {at} reach outside the buffer");
            return Err(Error::input("CPU access", self.buffer.to_string(), why));
        }
        // SAFETY: the offset is at most the mapping's length, which is one allocation of that size.
        Ok(unsafe { self.start.as_ptr().cast::<u8>().add(at as usize) })
    }

    /// `DMA_BUF_IOCTL_SYNC`, restarted as its documentation asks: "this can fail with -EAGAIN or -EINTR, in which case
    /// it must be restarted".
    fn sync(&self, flags: u64) -> Result<()> {
        const SYNC: Opcode = opcode::write::<u64>(b'b', 0);
        let started = Instant::now();
        loop {
            // SAFETY: `struct dma_buf_sync` is one __u64, and DMA_BUF_IOCTL_SYNC is _IOW('b', 0, struct dma_buf_sync).
            let sync = unsafe { Setter::<SYNC, u64>::new(flags) };
            // SAFETY: the request only reads its argument, which lives until the call returns.
            match unsafe { ioctl(&self.buffer.fd, sync) } {
                Ok(()) => return Ok(()),
                Err(Errno::INTR | Errno::AGAIN) if started.elapsed() < SYNC_DEADLINE => {}
                Err(Errno::INTR | Errno::AGAIN) => {
                    return Err(Error::deadline("DMA_BUF_IOCTL_SYNC", self.buffer.to_string(), SYNC_DEADLINE));
                }
                Err(errno) => return Err(Error::new("DMA_BUF_IOCTL_SYNC", self.buffer.to_string(), errno)),
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, nothing refers to it any more, and it is unmapped only here.
        if let Err(errno) = unsafe { munmap(self.start.as_ptr(), self.length) } {
            tracing::error!(buffer = %self.buffer, %errno, "munmap failed");
        }
    }
}
