#![expect(unsafe_code, reason = "asks the kernel for pages, and gives them back")]
//! A worker's heap has its pages at hand when it starts, where it is told to take many at once, and gives back what it does not
//! need any more where that is much.
//!
//! In the sandbox a page that is touched for the first time takes 20 us, and one of many that are asked for in one call less than
//! 3 us. A worker's drivers need all that its heap is made with before their first case has ended.

use std::fs;

use rustix::mm::{Advice, madvise};

/// Smaller heaps grow as the C library likes; and of larger ones nobody may need the rest.
const SIZES: std::ops::RangeInclusive<usize> = 32 << 20..=128 << 20;

/// Gives what is free back to the kernel. In the sandbox the C library is told to keep it; but of a device that is closed again it
/// scatters over the heap, and the next one touches other pages: twelve in a row took 22 MiB, though each freed all that it had.
pub(crate) fn give_back() {
    /// So much of the heap's end stays as it is: what was at hand from the beginning.
    const KEPT: usize = 64 << 20;
    #[cfg(target_env = "gnu")]
    // SAFETY: only what is free is given back, which is nobody's.
    unsafe {
        libc::malloc_trim(KEPT);
    }
}

/// Has the pages of the heap at hand. Where that can't be done there are faults.
pub(super) fn populate() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some((start, length)) = heap(&maps).filter(|(_, length)| SIZES.contains(length)) else { return };
    // SAFETY: it is the heap of this process, whose pages only come to be there; what is in them does not change.
    let _ = unsafe { madvise(std::ptr::without_provenance_mut(start), length, Advice::LinuxPopulateWrite) };
}

/// Where the heap is, and how large, by the text of `/proc/self/maps`.
fn heap(maps: &str) -> Option<(usize, usize)> {
    let line = maps.lines().find(|line| line.ends_with("[heap]"))?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let start = number(start)?;
    Some((start, number(end)?.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_found_in_the_kernels_list() {
        let maps = "5500000000-5500001000 r--p 00000000 00:13 7 /handover\n5500040000-5504080000 rw-p 00000000 00:00 0 [heap]\n";
        assert_eq!(heap(maps), Some((0x55_0004_0000, 0x404_0000)));
        assert_eq!(heap("7f00-7f01 rw-p 00000000 00:00 0 [stack]\n"), None);
        populate();
        give_back();
    }
}
