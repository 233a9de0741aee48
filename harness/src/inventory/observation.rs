//! Which facilities of this machine let the harness observe placement, ownership and pictures, and why the others do not.
//!
//! It opens files and closes them again. It mounts nothing, switches nothing on, and reads no more than it must.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::access::{self, Mode};
use super::drm_nodes::DrmNode;
use super::listed::Listed;
use super::mounts::{Mount, Mounts};
use super::vulkan::Vulkan;
use crate::placement::pagemap;

/// Something that shows what the code under test really did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facility {
    /// What it is called here.
    pub name: String,
    /// The file, directory or object that it is used through.
    pub path: String,
    /// More about it: counts, names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The file, the errno and what would make it available; `None` if it is available.
    pub why_not: Option<String>,
}

impl Facility {
    /// Whether it can be used by this process.
    pub fn available(&self) -> bool {
        self.why_not.is_none()
    }

    fn new(name: &str, path: impl Into<PathBuf>, found: Result<Option<String>, String>) -> Self {
        let (detail, why_not) = match found {
            Ok(detail) => (detail, None),
            Err(why) => (None, Some(why)),
        };
        Self { name: name.to_owned(), path: path.into().to_string_lossy().into_owned(), detail, why_not }
    }
}

/// Every facility that the harness knows to use.
pub(super) fn facilities(drm: &[Listed<DrmNode>], vulkan: &Vulkan) -> Vec<Facility> {
    let mounts = Mounts::read();
    let tracefs = mounts.tracefs();
    let debugfs = mounts.debugfs();
    let in_tracefs = |name, file, mode, absent| below(name, &tracefs, file, mode, absent);
    let in_debugfs = |name, file, mode, absent| below(name, &debugfs, file, mode, absent);
    vec![
        in_tracefs(
            "trace events dma_buf",
            "events/dma_buf/enable",
            Mode::Write,
            "kernel without dma-buf trace events: one that has include/trace/events/dma_buf.h, with CONFIG_DMA_SHARED_BUFFER",
        ),
        in_tracefs(
            "trace events dma",
            "events/dma/enable",
            Mode::Write,
            "kernel without DMA mapping trace events: Linux 6.12 or later with CONFIG_HAS_DMA",
        ),
        in_tracefs("trace buffer", "trace", Mode::Read, "tracefs without a trace file"),
        in_debugfs("dma-buf list", "dma_buf/bufinfo", Mode::Read, "kernel without CONFIG_DMA_SHARED_BUFFER"),
        fdinfo(),
        pagemap(),
        kernel_log(),
        crc(&debugfs),
        writeback(drm),
        in_debugfs("software fences", "sync/sw_sync", Mode::ReadWrite, "kernel without CONFIG_SW_SYNC"),
        fault_injection(&debugfs),
        in_debugfs("DMA API checks", "dma-api/error_count", Mode::Read, "kernel without CONFIG_DMA_API_DEBUG"),
        in_debugfs("kernel leak scan", "kmemleak", Mode::ReadWrite, "kernel without CONFIG_DEBUG_KMEMLEAK"),
        accounting(drm),
        dmem(),
        validation(vulkan),
    ]
}

/// A facility that is one file below a mount point.
fn below(name: &str, mount: &Mount, file: &str, mode: Mode, absent: &str) -> Facility {
    let path = mount.point.join(file);
    let found = mount.ready().and_then(|_| access::open(&path, mode, absent)).map(|_| None);
    Facility::new(name, path, found)
}

fn fdinfo() -> Facility {
    let dir = Path::new("/proc/self/fdinfo");
    let found = fs::read_dir(dir).map(|_| None);
    let absent = "kernel without CONFIG_PROC_FS, or /proc is not mounted";
    Facility::new("fdinfo of dma-bufs", dir, found.map_err(|error| access::refused("read", dir, &error, absent)))
}

/// Physical addresses of a process's pages.
fn pagemap() -> Facility {
    Facility::new("pagemap", pagemap::PATH, pagemap::readable().map(|()| None))
}

fn kernel_log() -> Facility {
    let path = Path::new("/dev/kmsg");
    let restricted = fs::read_to_string("/proc/sys/kernel/dmesg_restrict").is_ok_and(|text| text.trim() == "1");
    let found = access::open(path, Mode::Read, "kernel without CONFIG_PRINTK, or /dev without the node");
    let found = found.map(|_| None).map_err(|why| {
        let sysctl = "; `sysctl kernel.dmesg_restrict=0` or CAP_SYSLOG opens it";
        if restricted { format!("{why}{sysctl}") } else { why }
    });
    Facility::new("kernel log", path, found)
}

fn crc(debugfs: &Mount) -> Facility {
    let dri = debugfs.point.join("dri");
    let pattern = dri.join("*/crtc-*/crc/control");
    let found = debugfs.ready().and_then(|_| {
        let none = "kernel without CONFIG_DRM, or no DRM driver has a device";
        let cards = fs::read_dir(&dri).map_err(|error| access::refused("read", &dri, &error, none))?;
        // A card has one directory and several links to it.
        let mut cards: Vec<_> = cards.filter_map(|entry| fs::canonicalize(entry.ok()?.path()).ok()).collect();
        cards.sort();
        cards.dedup();
        let controls: Vec<_> = cards.iter().flat_map(|card| crc_controls(card)).collect();
        let open = |path: &PathBuf| access::open(path, Mode::Read, "the CRTC has gone").map(|_| ());
        let Some(first) = controls.first() else {
            return Err("no CRTC offers CRCs: the driver has no support for them (vkms, i915, amdgpu have)".into());
        };
        open(first)?;
        Ok(Some(format!("{} CRTC{}", controls.len(), if controls.len() == 1 { "" } else { "s" })))
    });
    Facility::new("CRC", pattern, found)
}

/// The control files of a card's CRTCs that offer CRCs.
fn crc_controls(card: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(card) else { return Vec::new() };
    let crtcs = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("crtc-"));
    crtcs.map(|crtc| crtc.path().join("crc/control")).filter(|control| control.exists()).collect()
}

fn writeback(drm: &[Listed<DrmNode>]) -> Facility {
    let mut found = Vec::new();
    for node in drm.iter().filter_map(Listed::present) {
        let modeset = node.modeset.as_ref().and_then(Listed::present);
        let connectors = modeset.into_iter().flat_map(|modeset| &modeset.connectors).filter_map(Listed::present);
        let writeback = connectors.filter(|connector| connector.writeback.is_some());
        found.extend(writeback.map(|connector| format!("{} {}", node.path, connector.name)));
    }
    let why = "no card that can be opened has a writeback connector (`modprobe vkms enable_writeback=1` makes one)";
    let found = if found.is_empty() { Err(why.into()) } else { Ok(Some(found.join(", "))) };
    Facility::new("writeback", "/dev/dri/card*", found)
}

fn fault_injection(debugfs: &Mount) -> Facility {
    let pattern = debugfs.point.join("fail*");
    let found = debugfs.ready().and_then(|point| {
        let entries =
            fs::read_dir(point).map_err(|error| access::refused("read", point, &error, "debugfs has gone"))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("fail")).collect();
        names.sort();
        match names.is_empty() {
            true => Err("kernel without CONFIG_FAULT_INJECTION_DEBUG_FS and a fault such as CONFIG_FAILSLAB".into()),
            false => Ok(Some(names.join(", "))),
        }
    });
    Facility::new("fault injection", pattern, found)
}

fn accounting(drm: &[Listed<DrmNode>]) -> Facility {
    let nodes = drm.iter().filter_map(Listed::present).filter(|node| !node.accounting.is_empty());
    let nodes: Vec<_> = nodes.map(|node| node.path.clone()).collect();
    let why = "the fdinfo of no DRM node that can be opened has drm-memory-* or drm-total-* keys: the drivers account \
               for no memory";
    let found = if nodes.is_empty() { Err(why.into()) } else { Ok(Some(nodes.join(", "))) };
    Facility::new("DRM memory accounting", "/proc/self/fdinfo/*", found)
}

/// The cgroup controller that counts device memory.
fn dmem() -> Facility {
    let path = Path::new("/sys/fs/cgroup/cgroup.controllers");
    let absent =
        "cgroup v2 is not mounted: `mount -t cgroup2 cgroup2 /sys/fs/cgroup` as root, kernel with CONFIG_CGROUPS";
    let found = access::open(path, Mode::Read, absent).and_then(|mut file| {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| access::refused("read", path, &error, absent))?;
        let there = text.split_whitespace().any(|controller| controller == "dmem");
        if there { Ok(None) } else { Err(format!("no dmem in `{}`: kernel without CONFIG_CGROUP_DMEM", text.trim())) }
    });
    Facility::new("device memory cgroup", path, found)
}

fn validation(vulkan: &Vulkan) -> Facility {
    let name = "VK_LAYER_KHRONOS_validation";
    let found = if vulkan.layers.iter().any(|layer| layer == name) {
        Ok(None)
    } else if vulkan.loader_version.is_none() {
        Err("no Vulkan loader that could load it".into())
    } else {
        Err("the loader does not list it: install it (Debian vulkan-validationlayers)".into())
    };
    Facility::new("Vulkan validation", name, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_nothing_has_a_reason_for_everything() {
        let facilities = facilities(&[], &Vulkan::default());
        for name in ["writeback", "DRM memory accounting", "Vulkan validation"] {
            let facility = facilities.iter().find(|f| f.name == name).expect("always listed");
            assert!(!facility.available(), "{facility:?}");
        }
    }
}
