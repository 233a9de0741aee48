//! Which physical pages does a memory file of ours have?
//!
//! A dma-buf itself shows none: its mappings are of page frames alone, which pagemap skips. The memory file behind a udmabuf
//! of our own shows them.
//!
//! Source: `Documentation/admin-guide/mm/pagemap.rst` of the kernel.
#![expect(unsafe_code, reason = "the pages are mapped, so that the kernel lists them")]

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{Segment, Segments, Source};
use crate::error::Cause;
use crate::inventory::access::{self, Mode};
use crate::observed::{NotObservable, Observed};

/// The file that tells.
pub(crate) const PATH: &str = "/proc/self/pagemap";

/// Where the first `size` bytes of the memory file lie, in physical addresses.
///
/// # Errors
/// The kernel hides physical addresses from us, or a page of the file is not in memory.
pub fn segments(pages: BorrowedFd<'_>, size: u64) -> Observed<Segments> {
    look(pages, size).map_err(NotObservable)
}

/// Checks that the kernel shows physical addresses; the file alone is not enough, it hides them from most readers.
///
/// # Errors
/// Why it does not.
pub(crate) fn readable() -> Result<(), String> {
    let probe = Box::new(1_u8);
    let address = std::ptr::from_ref(std::hint::black_box(&*probe)).addr() as u64;
    frames(address, 1).map(drop)
}

fn look(pages: BorrowedFd<'_>, size: u64) -> Result<Segments, String> {
    let page = rustix::param::page_size() as u64;
    let length = size.next_multiple_of(page);
    let mapped = Mapped::new(pages, usize::try_from(length).map_err(|_| format!("{size} B can't be mapped"))?)?;
    let frames = frames(mapped.start.addr() as u64, length / page)?;
    let list: Vec<Segment> = frames.into_iter().map(|frame| Segment { address: frame * page, length: page }).collect();
    let mut segments = Segments { source: Source::Pagemap, count: 0, list };
    // A page is no unit that anybody maps by: neighbours are one segment.
    segments.list = segments.runs();
    segments.count = segments.list.len() as u64;
    Ok(segments)
}

/// The page frame numbers of `count` pages of this process from `address` on.
fn frames(address: u64, count: u64) -> Result<Vec<u64>, String> {
    /// Bits 0 to 54 are the page frame number, bit 63 says that the page is in memory.
    const FRAME: u64 = (1 << 55) - 1;
    const PRESENT: u64 = 1 << 63;
    let path = Path::new(PATH);
    let file: File = access::open(path, Mode::Read, "kernel without CONFIG_PROC_PAGE_MONITOR")?;
    let mut bytes = vec![0; count as usize * 8];
    file.read_exact_at(&mut bytes, address / rustix::param::page_size() as u64 * 8)
        .map_err(|error| access::refused("read", path, &error, "no entry for a page in use"))?;
    let entries = bytes.as_chunks().0.iter().map(|entry| u64::from_ne_bytes(*entry));
    entries
        .enumerate()
        .map(|(n, entry)| match (entry & PRESENT, entry & FRAME) {
            (0, _) => Err(format!("page {n} of {count} is not in memory")),
            (_, 0) => {
                Err("the kernel hides physical addresses from this process: needs CAP_SYS_ADMIN, run as root"
                    .to_owned())
            }
            (_, frame) => Ok(frame),
        })
        .collect()
}

/// A mapping of a memory file with all its pages in it.
struct Mapped {
    start: *mut std::ffi::c_void,
    length: usize,
}

impl Mapped {
    fn new(pages: BorrowedFd<'_>, length: usize) -> Result<Self, String> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing that exists.
        let start = unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, flags, pages, 0) };
        let start = start.map_err(|errno| format!("mmap of the memory file: {}", Cause::from(errno)))?;
        Ok(Self { start, length })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, nothing refers to it, and it is unmapped only here.
        if let Err(errno) = unsafe { munmap(self.start, self.length) } {
            tracing::error!(%errno, "munmap of a memory file failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_memory_file_has_pages_or_a_reason() {
        let memfd = rustix::fs::memfd_create("pages", rustix::fs::MemfdFlags::CLOEXEC).expect("a memory file");
        rustix::fs::ftruncate(&memfd, 64 << 10).expect("a size");
        match segments(memfd.as_fd(), 64 << 10) {
            Ok(segments) => {
                assert_eq!(segments.bytes(), 64 << 10);
                assert!(segments.complete());
            }
            Err(NotObservable(why)) => assert!(why.contains("CAP_SYS_ADMIN") || why.contains("CONFIG_"), "{why}"),
        }
    }
}
