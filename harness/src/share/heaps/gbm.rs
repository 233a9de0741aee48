//! The heaps `vkms gbm`, `amdgpu gbm`: buffers of a DRM device through libgbm, which chooses the driver.

use std::path::{Path, PathBuf};

use super::{About, Allocated, Kind, Looked, Source};
use crate::error::{Error, Result};
use crate::gbm::Gbm;
use crate::kms;

impl Source for Gbm {
    fn allocate(&self, bytes: u64) -> Result<Allocated> {
        self.of_bytes(bytes).map(Allocated::from)
    }
}

pub(super) fn find() -> Looked {
    let nodes = match nodes() {
        Ok(nodes) => nodes,
        Err(why) => return Looked::none(why),
    };
    let mut looked = Looked::default();
    // Each device once, by the first of its nodes that gives memory.
    let mut devices: Vec<(PathBuf, String)> = Vec::new();
    for node in nodes {
        let device = device(&node);
        if devices.iter().any(|(other, _)| *other == device) {
            continue;
        }
        match Gbm::open(&node) {
            Err(why) => looked.absent.push(why),
            Ok(gbm) => {
                let mut name = format!("{} gbm", gbm.driver());
                if devices.iter().any(|(_, other)| *other == name) {
                    name = format!("{name} ({})", node.file_name().unwrap_or_default().to_string_lossy());
                }
                let before = looked.present.len();
                looked.add(Kind::Gbm, gbm, About { name: name.clone(), contiguous: false, largest: Gbm::LARGEST });
                if looked.present.len() > before {
                    devices.push((device, name));
                }
            }
        }
    }
    looked
}

/// Render nodes, which anybody in their group may allocate on; then card nodes.
fn nodes() -> Result<Vec<PathBuf>> {
    const DIRECTORY: &str = "/dev/dri";
    let why = "no kernel graphics driver is loaded, or /dev is not mounted";
    let entries = std::fs::read_dir(DIRECTORY)
        .map_err(|error| Error::missing("listing DRM nodes", DIRECTORY, format!("{error}; {why}")))?;
    let mut nodes: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let starts =
        |path: &Path, with: &str| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(with));
    nodes.retain(|path| (starts(path, "renderD") || starts(path, "card")) && !kms::is_made_here(path));
    nodes.sort_by_key(|path| (starts(path, "card"), path.clone()));
    if nodes.is_empty() { Err(Error::missing("listing DRM nodes", DIRECTORY, why)) } else { Ok(nodes) }
}

/// The device behind a node, as sysfs has it; the node itself where sysfs does not tell.
fn device(node: &Path) -> PathBuf {
    let name = node.file_name().unwrap_or_default();
    let device = Path::new("/sys/class/drm").join(name).join("device");
    std::fs::canonicalize(device).unwrap_or_else(|_| node.to_owned())
}
