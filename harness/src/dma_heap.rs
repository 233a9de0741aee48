//! Memory from the kernel's dma-heaps, by name.
//!
//! Source: `include/uapi/linux/dma-heap.h`, and "Allocating dma-buf using heaps" in the kernel's documentation.
#![expect(unsafe_code, reason = "DMA_HEAP_IOCTL_ALLOC answers with an fd in its structure")]

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::retry_on_intr;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use crate::dmabuf::Dmabuf;
use crate::error::{Error, Result};
use crate::{ledger, node};

const DIRECTORY: &str = "/dev/dma_heap";

/// Names of this machine's dma-heaps, sorted.
///
/// # Errors
/// There is none.
pub fn names() -> Result<Vec<String>> {
    const NONE: &str = "no dma-heap: a kernel without CONFIG_DMABUF_HEAPS and a heap (CONFIG_DMABUF_HEAPS_SYSTEM)";
    let entries = std::fs::read_dir(DIRECTORY)
        .map_err(|error| Error::missing("listing dma-heaps", DIRECTORY, format!("{error}; {NONE}")))?;
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    if names.is_empty() { Err(Error::missing("listing dma-heaps", DIRECTORY, NONE)) } else { Ok(names) }
}

/// Allocates `size` bytes from the heap `name`; the kernel rounds up to whole pages.
///
/// # Errors
/// There is no such heap or we may not open it; or the kernel refuses: `ENOMEM`.
pub fn allocate(name: &str, size: u64) -> Result<Dmabuf> {
    ask(name, Allocation::of(size))
}

/// Has the heap `name` allocate what is asked for, whatever that is.
///
/// # Errors
/// As [`allocate`]; the kernel's answer.
pub fn ask(name: &str, mut allocation: Allocation) -> Result<Dmabuf> {
    let size = allocation.len;
    const ALLOC: Opcode = opcode::read_write::<Allocation>(b'H', 0);
    const OP: &str = "DMA_HEAP_IOCTL_ALLOC";
    let object = || format!("{DIRECTORY}/{name} ({size} B)");
    let heap = node::open(&Path::new(DIRECTORY).join(name), OFlags::RDONLY)?;
    retry_on_intr(|| {
        // SAFETY: DMA_HEAP_IOCTL_ALLOC is _IOWR('H', 0, struct dma_heap_allocation_data), which `Allocation` is.
        let request = unsafe { Updater::<ALLOC, Allocation>::new(&mut allocation) };
        // SAFETY: the structure lives until the call returns, and has no pointers in it.
        unsafe { ioctl(&heap, request) }
    })
    .map_err(|errno| Error::new(OP, object(), errno))?;
    // SAFETY: the call succeeded, so this is an fd that the kernel just made and that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(allocation.fd.cast_signed()) };
    let dmabuf = Dmabuf::from_fd(fd)?;
    ledger::step(OP, Some(dmabuf.inode()), name);
    Ok(dmabuf)
}

/// What `DMA_HEAP_IOCTL_ALLOC` is told, in its own words: `struct dma_heap_allocation_data`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// In bytes.
    pub len: u64,
    /// 0 until the kernel answers.
    pub fd: u32,
    /// `O_CLOEXEC` and an access mode.
    pub fd_flags: u32,
    /// None is defined.
    pub heap_flags: u64,
}

impl Allocation {
    /// `len` bytes, asked for as they should be.
    pub fn of(len: u64) -> Self {
        Self { len, fd: 0, fd_flags: (OFlags::RDWR | OFlags::CLOEXEC).bits(), heap_flags: 0 }
    }
}
