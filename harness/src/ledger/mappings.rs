#![expect(unsafe_code, reason = "an ioctl that is in no safe crate")]
//! What of files does this process have mapped for others to see: dma-bufs, memory files, devices?
//!
//! Libraries are mapped privately, so few mappings are left to be asked for (`PROCMAP_QUERY`), and none where the sum of all has
//! not changed, which the kernel tells at once.
//!
//! Source: `struct procmap_query` in `include/uapi/linux/fs.h`, from Linux 6.11 on; `proc_pid_status(5)`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::observed::{NotObservable, Observed};

const MAPS: &str = "/proc/self/maps";
const STATUS: &str = "/proc/self/status";

/// A file by its device's major and minor number and its inode.
pub(super) type Of = (u32, u32, u64);

/// How many bytes of each file are mapped.
pub(super) type Bytes = BTreeMap<Of, u64>;

/// Where mappings are listed, opened once: there may be no fd left when it is needed.
pub(super) struct Mappings {
    maps: File,
    status: File,
}

/// `struct procmap_query`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    vma_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    major: u32,
    minor: u32,
    name_size: u32,
    build_id_size: u32,
    name: u64,
    build_id: u64,
}

/// `_IOWR('f', 17, struct procmap_query)`.
const PROCMAP_QUERY: libc::Ioctl = 0xc068_6611_u32 as libc::Ioctl;
const SHARED: u64 = 0x8;
const THIS_OR_NEXT: u64 = 0x10;
const OF_A_FILE: u64 = 0x20;

impl Mappings {
    pub(super) fn open() -> Observed<Self> {
        let open = |path: &str| File::open(path).map_err(|error| NotObservable(format!("{path}: {error}")));
        let mappings = Self { maps: open(MAPS)?, status: open(STATUS)? };
        mappings.bytes().map(|_| mappings)
    }

    /// What is mapped for others to see or from files that are only read, in KiB; `None` if the kernel does not tell.
    pub(super) fn sum(&self) -> Option<u64> {
        let mut text = [0; 4096];
        let length = self.status.read_at(&mut text, 0).ok()?;
        sum(&String::from_utf8_lossy(&text[..length]))
    }

    /// What is mapped for others to see, by file.
    pub(super) fn bytes(&self) -> Observed<Bytes> {
        let mut bytes = Bytes::new();
        let mut query = Query::default();
        loop {
            query = Query {
                size: size_of::<Query>() as u64,
                flags: SHARED | THIS_OR_NEXT | OF_A_FILE,
                address: query.end,
                ..Query::default()
            };
            // SAFETY: the kernel writes to the structure alone, whose size is in it; it asks for no name and no build ID.
            let done = unsafe { libc::ioctl(self.maps.as_raw_fd(), PROCMAP_QUERY, &raw mut query) };
            if done < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    ErrorKind::NotFound => return Ok(bytes),
                    ErrorKind::Interrupted => continue,
                    _ => return Err(NotObservable(format!("PROCMAP_QUERY (Linux 6.11 has it): {error}"))),
                }
            }
            *bytes.entry((query.major, query.minor, query.inode)).or_default() += query.end - query.start;
        }
    }
}

/// From the text of `/proc/self/status`.
fn sum(status: &str) -> Option<u64> {
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let private = ["VmData", "VmStk", "VmExe", "VmLib"].iter().map(|key| value(key)).sum::<Option<u64>>()?;
    value("VmSize")?.checked_sub(private)
}

/// Of which files `now` has more than `before` and `kept` together, and how many bytes.
pub(super) fn more(now: &Bytes, before: &Bytes, kept: &Bytes) -> Bytes {
    let of = |bytes: &Bytes, file: &Of| bytes.get(file).copied().unwrap_or_default();
    let more = |file: &Of, bytes: u64| bytes.saturating_sub(of(before, file) + of(kept, file));
    now.iter().map(|(file, bytes)| (*file, more(file, *bytes))).filter(|(_, more)| *more > 0).collect()
}

/// The file's name, and where its last mapping is.
pub(super) fn describe(file: Of) -> String {
    let maps = fs::read_to_string(MAPS).unwrap_or_default();
    let named = maps.lines().rev().find_map(|line| named(line, file));
    named.unwrap_or_else(|| format!("inode {} of device {}:{}", file.2, file.0, file.1))
}

/// Address and name from a line of `/proc/self/maps`, if it is of `file`.
fn named(line: &str, file: Of) -> Option<String> {
    let mut words = line.split_whitespace();
    let (range, device, inode) = (words.next()?, words.nth(2)?, words.next()?);
    let (major, minor) = device.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    if (number(major)?, number(minor)?, inode.parse().ok()?) != file {
        return None;
    }
    let name: Vec<&str> = words.collect();
    Some(format!("{} (inode {inode}) at 0x{}", name.join(" "), range.split('-').next()?))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    use super::*;

    #[test]
    fn a_mapping_that_stays_is_told_with_its_file() {
        // An older kernel does not tell; then there is nothing to test.
        let Ok(mappings) = Mappings::open() else { return };
        let file = memfd_create("pixels", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&file, 8192).expect("a size");
        let before = (mappings.bytes().expect("asked before"), mappings.sum().expect("procfs"));
        let (protection, flags) = (ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let at = unsafe { mmap(std::ptr::null_mut(), 8192, protection, flags, &file, 0) }.expect("mapped");
        let after = (mappings.bytes().expect("asked before"), mappings.sum().expect("procfs"));
        let inode = fstat(&file).expect("open").st_ino;
        // Other tests map meanwhile.
        let more = more(&after.0, &before.0, &Bytes::new());
        let (of, bytes) = more.iter().find(|(of, _)| of.2 == inode).expect("ours");
        assert_eq!(*bytes, 8192);
        assert!(describe(*of).starts_with("/memfd:pixels (deleted) (inode "), "{}", describe(*of));
        assert_ne!(before.1, after.1);

        // As the ledger has it, the file is closed and its mapping stays.
        let mut book = super::super::Book::new();
        book.before.mappings.remove(of);
        book.before.mapped = None;
        drop(file);
        let left = book.close([], Vec::new()).findings;
        let text = "8192 B of /memfd:pixels (deleted)";
        assert!(left.iter().any(|finding| finding.summary.starts_with(text)), "{left:?}");
        // SAFETY: mapped above, and nobody looks at it.
        unsafe { munmap(at, 8192) }.expect("unmapped");
        assert!(!mappings.bytes().expect("asked before").contains_key(of));
    }

    #[test]
    fn what_a_device_keeps_mapped_is_no_more_than_it_was() {
        let bytes = |bytes| Bytes::from([((0, 5, 7), bytes)]);
        assert!(more(&bytes(8192), &bytes(4096), &bytes(4096)).is_empty());
        assert_eq!(more(&bytes(8192), &bytes(4096), &Bytes::new()), bytes(4096));
    }

    #[test]
    fn the_sum_leaves_out_what_is_private() {
        let status = "VmPeak:\t  900 kB\nVmSize:\t  800 kB\nVmData:\t  400 kB\nVmStk:\t  132 kB\nVmExe:\t  8 kB\nVmLib:\t  60 kB\n";
        assert_eq!(sum(status), Some(200));
        assert_eq!(sum("Name:\tkthreadd\n"), None);
    }
}
