//! Which heaps of the kernel can be had: dma-heaps and udmabuf.
//!
//! Nodes are opened and closed again; nothing is allocated.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::access::{self, Mode};
use super::listed::Listed;

/// A dma-heap that this process may allocate from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmaHeap {
    /// Name of the heap, as in `/dev/dma_heap`.
    pub name: String,
}

/// The udmabuf device and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Udmabuf {
    /// The device node.
    pub path: String,
    /// Largest buffer in MiB, `None` where the kernel does not say.
    pub size_limit_mib: Option<u64>,
    /// Most parts that one buffer can be put together from.
    pub list_limit: Option<u64>,
}

/// Every dma-heap of the machine.
pub(super) fn dma_heaps() -> Vec<Listed<DmaHeap>> {
    let dir = Path::new("/dev/dma_heap");
    let none = "no dma-heap: kernel without CONFIG_DMABUF_HEAPS and a heap (CONFIG_DMABUF_HEAPS_SYSTEM)";
    let nodes = match nodes(dir, "") {
        Ok(nodes) if nodes.is_empty() => return vec![Listed::unavailable(dir.to_string_lossy(), none)],
        Ok(nodes) => nodes,
        Err(error) => {
            return vec![Listed::unavailable(dir.to_string_lossy(), access::refused("read", dir, &error, none))];
        }
    };
    let heap = |path: &String| match access::open(Path::new(path), Mode::Read, none) {
        Ok(_) => Listed::Present(DmaHeap { name: path.rsplit('/').next().unwrap_or(path).to_owned() }),
        Err(why) => Listed::unavailable(path, why),
    };
    nodes.iter().map(heap).collect()
}

/// The udmabuf device.
pub(super) fn udmabuf() -> Listed<Udmabuf> {
    let path = "/dev/udmabuf";
    let limit = |name| {
        let text = fs::read_to_string(format!("/sys/module/udmabuf/parameters/{name}")).ok()?;
        text.trim().parse().ok()
    };
    match access::open(Path::new(path), Mode::ReadWrite, "`modprobe udmabuf`, or a kernel without CONFIG_UDMABUF") {
        Ok(_) => Listed::Present(Udmabuf {
            path: path.into(),
            size_limit_mib: limit("size_limit_mb"),
            list_limit: limit("list_limit"),
        }),
        Err(why) => Listed::unavailable(path, why),
    }
}

/// Paths of the entries of `dir` whose names start with `prefix`, in the order of their numbers.
pub(super) fn nodes(dir: &Path, prefix: &str) -> std::io::Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(dir)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_by_key(|name| {
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        (name[..name.len() - digits.len()].to_owned(), digits.parse::<u64>().unwrap_or(u64::MAX))
    });
    Ok(names.iter().map(|name| dir.join(name).to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["video10", "video2", "card1", "video0"] {
            fs::write(dir.path().join(name), "").expect("a file");
        }
        let nodes = nodes(dir.path(), "video").expect("readable");
        let names: Vec<_> = nodes.iter().filter_map(|path| path.rsplit('/').next()).collect();
        assert_eq!(names, ["video0", "video2", "video10"]);
    }
}
