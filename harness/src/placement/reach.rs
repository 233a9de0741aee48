//! How many address bits does a device drive, and how many does the memory of this machine have?
//!
//! A device whose addresses nothing translates can't reach memory above them, and the kernel does not copy what is shared as
//! it would copy a packet. One with an IOMMU before it is given addresses that it can drive, wherever the pages are.
//!
//! The kernel tells no more than that: how many segments a device takes, and how long they may be
//! (`struct device_dma_parameters`), is in no file.
//!
//! Sources: `drivers/pci/pci-sysfs.c` for `dma_mask_bits`; "iommu_groups" of the kernel's sysfs ABI; proc_zoneinfo(5).

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// Every address.
const ALL: u32 = 64;

/// How many low bits of a physical address the device drives that the kernel calls `name`; 64 if that is not told, or if an
/// IOMMU sees to it.
pub fn of_device(sysfs: &Path, name: &str) -> u32 {
    let device = sysfs.join("bus/pci/devices").join(name);
    let translated = fs::read_to_string(device.join("iommu_group/type")).is_ok_and(|kind| kind.trim() != "identity");
    let told = fs::read_to_string(device.join("dma_mask_bits")).ok().and_then(|bits| bits.trim().parse().ok());
    told.filter(|bits| !translated && (1..ALL).contains(bits)).unwrap_or(ALL)
}

/// How many low bits the physical addresses of this machine's memory have at most; 64 if that is not told. The kernel is asked
/// once, since it walks through all its zones to tell.
pub fn here() -> u32 {
    static BITS: LazyLock<u32> = LazyLock::new(|| of_memory(Path::new("/proc")));
    *BITS
}

/// As [`here`], by what `procfs` shows.
fn of_memory(procfs: &Path) -> u32 {
    let zones = fs::read_to_string(procfs.join("zoneinfo")).unwrap_or_default();
    let page = rustix::param::page_size() as u64;
    end_of_zones(&zones).and_then(|pages| pages.checked_mul(page)).map_or(ALL, |end| ALL - (end - 1).leading_zeros())
}

/// The page behind the last one of all zones of `/proc/zoneinfo`; `None` if it has none.
fn end_of_zones(zoneinfo: &str) -> Option<u64> {
    let mut spanned = 0_u64;
    let mut end = 0;
    for line in zoneinfo.lines() {
        let mut words = line.split_whitespace();
        let (word, number) = (words.next(), words.next().and_then(|number| number.parse::<u64>().ok()));
        match (word, number) {
            (Some("spanned"), Some(pages)) => spanned = pages,
            // Behind it in each zone that has pages.
            (Some("start_pfn:"), Some(first)) if spanned > 0 => end = end.max(first.checked_add(spanned)?),
            _ => {}
        }
    }
    (end > 0).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reaches_what_its_mask_says_unless_an_iommu_is_before_it() {
        let root = tempfile::tempdir().expect("a directory");
        let device = |name: &str, mask: &str, group: Option<&str>| {
            let place = root.path().join("bus/pci/devices").join(name);
            fs::create_dir_all(place.join("iommu_group")).expect("made");
            fs::write(place.join("dma_mask_bits"), mask).expect("written");
            if let Some(kind) = group {
                fs::write(place.join("iommu_group/type"), kind).expect("written");
            }
            of_device(root.path(), name)
        };
        assert_eq!(device("0000:01:00.0", "32\n", None), 32);
        assert_eq!(device("0000:02:00.0", "40\n", Some("identity\n")), 40);
        assert_eq!(device("0000:03:00.0", "32\n", Some("DMA-FQ\n")), 64);
        assert_eq!(device("0000:04:00.0", "64\n", None), 64);
        for nonsense in ["", "0\n", "-1\n", "4000000000000\n", "many\n"] {
            assert_eq!(device("0000:05:00.0", nonsense, None), 64, "{nonsense:?}");
        }
        assert_eq!(of_device(root.path(), "vkms"), 64);
    }

    #[test]
    fn memory_reaches_to_the_end_of_the_last_zone() {
        let zoneinfo = "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 1\n        spanned  4095\n        \
            present  3998\n  start_pfn:           1\nNode 0, zone   Normal\n        spanned  1044480\n  start_pfn:           \
            4096\nNode 0, zone  Movable\n        spanned  0\n        present  0\n";
        assert_eq!(end_of_zones(zoneinfo), Some(1 << 20));
        assert_eq!(end_of_zones("Node 0, zone Movable\n spanned 0\n start_pfn: 0\n"), None);
        assert_eq!(end_of_zones("spanned 18446744073709551615\nstart_pfn: 1\n"), None);
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(of_memory(root.path()), 64);
        fs::write(root.path().join("zoneinfo"), zoneinfo).expect("written");
        assert_eq!(of_memory(root.path()), 20 + rustix::param::page_size().ilog2());
        assert!((12..64).contains(&of_memory(Path::new("/proc"))));
    }
}
