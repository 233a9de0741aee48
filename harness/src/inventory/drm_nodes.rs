//! Which DRM nodes there are, and for each its driver, capabilities, planes with formats and modifiers, and connectors.
//!
//! It asks only. A card whose display nobody drives is probed for its connectors, as any display server would.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use drm::control::{Device as _, PropertyValueSet, ResourceHandles, connector, plane};
use drm::{ClientCapability, Device as _, DriverCapability};
use serde::{Deserialize, Serialize};

use super::access::{self, Mode, answer};
use super::listed::Listed;
use super::memory::nodes;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::kms::{self, Offer};

/// A DRM node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrmNode {
    /// The device node.
    pub path: String,
    /// Its device number, `major:minor`, by which Vulkan names it.
    pub device: String,
    /// Name of the driver.
    pub driver: String,
    /// Version of the driver.
    pub version: String,
    /// The driver about itself.
    pub description: String,
    /// Bus and name of the device, such as `pci 0000:03:00.0`; `None` for devices without a parent.
    pub parent: Option<String>,
    /// `DRM_CAP_*` without the prefix, each with its value.
    pub caps: Vec<Listed<Cap>>,
    /// Keys of the memory accounting in the node's fdinfo; empty where the driver does none.
    pub accounting: Vec<String>,
    /// Display part: of primary nodes only.
    pub modeset: Option<Listed<Modeset>>,
}

/// A capability and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// What a card can show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modeset {
    /// `DRM_CLIENT_CAP_*` without the prefix; 1 where the card grants it.
    pub client_caps: Vec<Listed<Cap>>,
    /// Number of CRTCs.
    pub crtcs: usize,
    /// The planes.
    pub planes: Vec<Listed<Plane>>,
    /// The connectors, writeback among them.
    pub connectors: Vec<Listed<Connector>>,
}

/// A plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plane {
    /// Its KMS object id.
    pub id: u32,
    /// `Primary`, `Overlay` or `Cursor`.
    pub kind: String,
    /// Positions of the CRTCs that can show it.
    pub crtcs: Vec<usize>,
    /// The formats it takes, with their modifiers.
    pub formats: Vec<Offer>,
    /// Why nothing is known about modifiers; then every format has `INVALID` alone.
    pub no_modifiers: Option<String>,
}

/// A connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connector {
    /// Its name, such as `HDMI-A-1`.
    pub name: String,
    /// Its KMS object id.
    pub id: u32,
    /// `connected`, `disconnected` or `unknown`.
    pub status: String,
    /// Number of its modes.
    pub modes: usize,
    /// The first mode, by convention the preferred one, such as `1920x1080@60`.
    pub first_mode: Option<String>,
    /// Largest mode in pixels.
    pub largest: Option<Size>,
    /// Writeback connectors: the formats they write, or why they are not known.
    pub writeback: Option<Listed<WritebackFormats>>,
}

/// What a writeback connector writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritebackFormats {
    /// The formats.
    pub formats: Vec<Fourcc>,
}

/// More planes than any card has; a longer list is a driver's error.
const PLANES_MAX: usize = 1024;

/// An open DRM node.
struct Node(File);

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Node {}
impl drm::control::Device for Node {}

/// Paths of the DRM nodes, or why there is none.
pub(super) fn paths() -> Result<Vec<String>, String> {
    let dir = Path::new("/dev/dri");
    let none = "no DRM driver has a device here: `modprobe vkms` makes one, `handover sandbox` brings its own";
    let mut found = nodes(dir, "card").map_err(|error| access::refused("read", dir, &error, none))?;
    found.extend(nodes(dir, "renderD").map_err(|error| access::refused("read", dir, &error, none))?);
    if found.is_empty() { Err(format!("{} is empty; {none}", dir.display())) } else { Ok(found) }
}

/// Everything about the node `path`.
pub(super) fn node(path: &str) -> Listed<DrmNode> {
    let node = match access::open(Path::new(path), Mode::ReadWrite, "the node has gone") {
        Ok(file) => Node(file),
        Err(why) => return Listed::unavailable(path, why),
    };
    let driver = match node.get_driver() {
        Ok(driver) => driver,
        Err(error) => return Listed::unavailable(path, format!("DRM_IOCTL_VERSION: {}", answer(&error))),
    };
    let device = device_number(path);
    let primary = path.rsplit('/').next().is_some_and(|name| name.starts_with("card"));
    let (major, minor, patch) = driver.version;
    Listed::Present(DrmNode {
        path: path.to_owned(),
        driver: driver.name().to_string_lossy().into_owned(),
        version: format!("{major}.{minor}.{patch}"),
        description: driver.description().to_string_lossy().into_owned(),
        parent: parent(&device),
        device,
        caps: CAPS.iter().map(|(name, cap)| listed_cap(name, node.get_driver_capability(*cap))).collect(),
        accounting: accounting(&node.0),
        modeset: primary.then(|| modeset(&node)),
    })
}

fn listed_cap(name: &str, value: io::Result<u64>) -> Listed<Cap> {
    match value {
        Ok(value) => Listed::Present(Cap { name: name.to_owned(), value }),
        Err(error) => Listed::unavailable(name, answer(&error)),
    }
}

fn device_number(path: &str) -> String {
    let rdev = fs::metadata(path).map_or(0, |file| file.rdev());
    format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev))
}

/// Bus and name of the device behind device number `device`.
fn parent(device: &str) -> Option<String> {
    let parent = fs::canonicalize(format!("/sys/dev/char/{device}/device")).ok()?;
    let bus = fs::canonicalize(parent.join("subsystem")).ok()?;
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    Some(format!("{} {}", name(&bus)?, name(&parent)?))
}

/// The keys that speak of memory in the fdinfo of an open node; see the kernel's drm-usage-stats.rst.
fn accounting(node: &File) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", node.as_raw_fd())).unwrap_or_default();
    memory_keys(&text).map(str::to_owned).collect()
}

/// The keys of a DRM fdinfo that speak of memory. They are sums over all buffers of a client, so they do not tell where one
/// buffer lies.
fn memory_keys(text: &str) -> impl Iterator<Item = &str> {
    let keys = text.lines().filter_map(|line| Some(line.split_once(':')?.0));
    let of_memory = |key: &str| {
        let name = MEMORY_KINDS.iter().find_map(|kind| key.strip_prefix(kind));
        // `drm-total-cycles-rcs` counts an engine's time.
        name.is_some_and(|name| !name.starts_with("cycles-"))
    };
    keys.filter(move |key| key.strip_prefix("drm-").is_some_and(of_memory))
}

/// What a driver counts; `memory-` is the older name of `resident-`.
const MEMORY_KINDS: [&str; 6] = ["memory-", "total-", "shared-", "resident-", "active-", "purgeable-"];

fn modeset(node: &Node) -> Listed<Modeset> {
    // Order matters: writeback connectors are granted to atomic clients only.
    let client_caps = CLIENT_CAPS
        .iter()
        .map(|(name, cap)| listed_cap(name, node.set_client_capability(*cap, true).map(|()| 1)))
        .collect();
    let resources = match node.resource_handles() {
        Ok(resources) => resources,
        Err(error) => {
            return Listed::unavailable("modeset", format!("DRM_IOCTL_MODE_GETRESOURCES: {}", answer(&error)));
        }
    };
    let planes = match node.plane_handles() {
        Ok(planes) if planes.len() > PLANES_MAX => {
            let why = format!("the driver lists {} planes; up to {PLANES_MAX} would be believed", planes.len());
            vec![Listed::unavailable("planes", why)]
        }
        Ok(planes) => planes.into_iter().map(|handle| plane(node, &resources, handle)).collect(),
        Err(error) => {
            vec![Listed::unavailable("planes", format!("DRM_IOCTL_MODE_GETPLANERESOURCES: {}", answer(&error)))]
        }
    };
    let connectors = resources.connectors().iter().map(|&handle| connector(node, handle)).collect();
    Listed::Present(Modeset { client_caps, crtcs: resources.crtcs().len(), planes, connectors })
}

fn plane(node: &Node, resources: &ResourceHandles, handle: plane::Handle) -> Listed<Plane> {
    let id = u32::from(handle);
    let name = || format!("plane {id}");
    let info = match node.get_plane(handle) {
        Ok(info) => info,
        Err(error) => return Listed::unavailable(name(), format!("DRM_IOCTL_MODE_GETPLANE: {}", answer(&error))),
    };
    let properties = match node.get_properties(handle) {
        Ok(properties) => properties,
        Err(error) => {
            return Listed::unavailable(name(), format!("DRM_IOCTL_MODE_OBJ_GETPROPERTIES: {}", answer(&error)));
        }
    };
    let kind = match property(node, &properties, "type") {
        Some(0) => "Overlay".to_owned(),
        Some(1) => "Primary".to_owned(),
        Some(2) => "Cursor".to_owned(),
        Some(other) => format!("type {other}"),
        None => "without a type".to_owned(),
    };
    let shown_by = resources.filter_crtcs(info.possible_crtcs());
    let crtcs = resources.crtcs().iter().enumerate().filter(|(_, crtc)| shown_by.contains(crtc));
    let crtcs = crtcs.map(|(position, _)| position).collect();
    let (formats, no_modifiers) = match in_formats(node, &properties) {
        Ok(offers) => (offers, None),
        Err(why) => {
            let fourccs = info.formats().iter().map(|&code| Fourcc(code));
            (fourccs.map(|fourcc| Offer { fourcc, modifiers: vec![Modifier::INVALID] }).collect(), Some(why))
        }
    };
    Listed::Present(Plane { id, kind, crtcs, formats, no_modifiers })
}

/// The formats of a plane with their modifiers.
fn in_formats(node: &Node, properties: &PropertyValueSet) -> Result<Vec<Offer>, String> {
    let blob = property(node, properties, "IN_FORMATS").ok_or("the plane has no IN_FORMATS property")?;
    let bytes =
        node.get_property_blob(blob).map_err(|error| format!("DRM_IOCTL_MODE_GETPROPBLOB: {}", answer(&error)))?;
    kms::in_formats(&bytes)
}

fn connector(node: &Node, handle: connector::Handle) -> Listed<Connector> {
    let id = u32::from(handle);
    let name = || format!("connector {id}");
    // A probe, which only the master may do: if somebody drives this display, the kernel answers with what it knows.
    let info = match node.get_connector(handle, true) {
        Ok(info) => info,
        Err(error) => return Listed::unavailable(name(), format!("DRM_IOCTL_MODE_GETCONNECTOR: {}", answer(&error))),
    };
    let largest = info.modes().iter().map(|mode| mode.size()).max_by_key(|&(w, h)| u32::from(w) * u32::from(h));
    Listed::Present(Connector {
        name: format!("{}-{}", info.interface().as_str(), info.interface_id()),
        id,
        status: match info.state() {
            connector::State::Connected => "connected",
            connector::State::Disconnected => "disconnected",
            connector::State::Unknown => "unknown",
        }
        .to_owned(),
        modes: info.modes().len(),
        first_mode: info.modes().first().map(|mode| {
            let (width, height) = mode.size();
            format!("{width}x{height}@{}", mode.vrefresh())
        }),
        largest: largest.map(|(width, height)| px(width.into(), height.into())),
        writeback: (info.interface() == connector::Interface::Writeback).then(|| writeback(node, handle)),
    })
}

fn writeback(node: &Node, handle: connector::Handle) -> Listed<WritebackFormats> {
    let name = "WRITEBACK_PIXEL_FORMATS";
    let ask = || {
        let properties = node
            .get_properties(handle)
            .map_err(|error| format!("DRM_IOCTL_MODE_OBJ_GETPROPERTIES: {}", answer(&error)))?;
        let blob = property(node, &properties, name).ok_or("the connector has no such property")?;
        let bytes =
            node.get_property_blob(blob).map_err(|error| format!("DRM_IOCTL_MODE_GETPROPBLOB: {}", answer(&error)))?;
        kms::writeback_formats(&bytes)
    };
    match ask() {
        Ok(formats) => Listed::Present(WritebackFormats { formats }),
        Err::<_, String>(why) => Listed::unavailable(name, why),
    }
}

/// The value of the property called `name`.
fn property(node: &Node, properties: &PropertyValueSet, name: &str) -> Option<u64> {
    let called = |handle| node.get_property(handle).is_ok_and(|info| info.name().to_bytes() == name.as_bytes());
    properties.iter().find(|(handle, _)| called(**handle)).map(|(_, value)| *value)
}

const CAPS: &[(&str, DriverCapability)] = &[
    ("PRIME", DriverCapability::Prime),
    ("DUMB_BUFFER", DriverCapability::DumbBuffer),
    ("ADDFB2_MODIFIERS", DriverCapability::AddFB2Modifiers),
    ("SYNCOBJ", DriverCapability::SyncObj),
    ("SYNCOBJ_TIMELINE", DriverCapability::TimelineSyncObj),
    ("ASYNC_PAGE_FLIP", DriverCapability::ASyncPageFlip),
    ("ATOMIC_ASYNC_PAGE_FLIP", DriverCapability::AtomicASyncPageFlip),
    ("CURSOR_WIDTH", DriverCapability::CursorWidth),
    ("CURSOR_HEIGHT", DriverCapability::CursorHeight),
    ("TIMESTAMP_MONOTONIC", DriverCapability::MonotonicTimestamp),
    ("CRTC_IN_VBLANK_EVENT", DriverCapability::CRTCInVBlankEvent),
];

const CLIENT_CAPS: &[(&str, ClientCapability)] = &[
    ("UNIVERSAL_PLANES", ClientCapability::UniversalPlanes),
    ("ATOMIC", ClientCapability::Atomic),
    ("WRITEBACK_CONNECTORS", ClientCapability::WritebackConnectors),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_speak_of_memory_are_told_from_those_of_engines() {
        let text = "drm-driver:\tamdgpu\ndrm-total-vram:\t1024 KiB\ndrm-memory-gtt: 4 KiB\n\
                    drm-total-cycles-rcs: 5\ndrm-engine-rcs: 1\n";
        assert_eq!(memory_keys(text).collect::<Vec<_>>(), ["drm-total-vram", "drm-memory-gtt"]);
    }
}
