#![expect(unsafe_code, reason = "has the kernel write to a mapping")]
//! How the CPU writes to many pages of a mapping at once: the kernel copies there, out of a file, in one call.
//!
//! The first store to each page is a fault, even where all of them are at hand to be read. In the sandbox that takes 20 us, or
//! 1.4 ms for 64 pages; the kernel, which writes through the same mapping, needs a tenth of it.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};

use super::page_size;

/// What is written passes through it; one at a time.
static FILE: OnceLock<Option<Mutex<OwnedFd>>> = OnceLock::new();

/// More is stored by this process, in bytes: the file keeps the pages that it had once.
const MOST: usize = 1 << 20;

/// More runs the kernel does not take in one call.
const MOST_RUNS: usize = 1024;

/// As many faults take less time than the two calls.
const FEW_PAGES: usize = 2;

/// Opens the file, which is open from then on. Who does not do so stores by itself.
pub(crate) fn open() {
    FILE.get_or_init(|| memfd_create("scratch", MemfdFlags::CLOEXEC).ok().map(Mutex::new));
}

/// Writes each source to its destination. `false` if this is not for the kernel to do, or it did not do all of it.
///
/// # Safety
/// Each destination is mapped, as long as its source, apart from it, and no reference points there.
pub(super) unsafe fn write(runs: &[(*mut u8, &[u8])]) -> bool {
    let total: usize = runs.iter().map(|(_, bytes)| bytes.len()).sum();
    let pages = runs.len().max(total / page_size() as usize);
    if pages <= FEW_PAGES || total > MOST || runs.len() > MOST_RUNS {
        return false;
    }
    let Some(Some(file)) = FILE.get() else { return false };
    let file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let sources: Vec<IoSlice<'_>> = runs.iter().map(|(_, bytes)| IoSlice::new(bytes)).collect();
    if rustix::io::pwritev(&*file, &sources, 0) != Ok(total) {
        return false;
    }
    let to = |(start, bytes): &(*mut u8, &[u8])| libc::iovec { iov_base: start.cast(), iov_len: bytes.len() };
    let to: Vec<libc::iovec> = runs.iter().map(to).collect();
    // SAFETY: the caller says that the destinations are memory to write to, and there are no more of them than an int counts.
    let done = unsafe { libc::preadv(file.as_raw_fd(), to.as_ptr(), to.len() as libc::c_int, 0) };
    usize::try_from(done) == Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_writes_each_run_to_its_place() {
        open();
        let (mut memory, source) = (vec![0_u8; 64 << 10], vec![7_u8; 20 << 10]);
        let start = memory.as_mut_ptr();
        let at = |offset| start.wrapping_add(offset);
        let runs = [(at(100), &source[..10]), (at(9000), &source[..]), (at(60_000), &source[..1])];
        // SAFETY: the runs lie in memory of our own, which nobody else looks at meanwhile.
        assert!(unsafe { write(&runs) });
        let written: Vec<usize> = (0..memory.len()).filter(|at| memory[*at] == 7).collect();
        let wanted: Vec<usize> = (100..110).chain(9000..9000 + (20 << 10)).chain([60_000]).collect();
        assert_eq!(written, wanted);
        // SAFETY: nothing is written.
        assert!(!unsafe { write(&[]) }, "there is nothing to do");
    }
}
