//! A second card, made for as long as somebody holds it: a vkms of its own, through configfs.
//!
//! A machine has one display card as a rule, and the sandbox has one vkms. What changes hands between two cards needs another
//! one; vkms makes any number of them, each a device with its own planes, CRTC and connectors. Making one takes root, configfs
//! and a few milliseconds, so it is made when it is first needed, and no list of cards shows it to anybody else
//! ([`is_made_here`]).
//!
//! Source: "Configuring With Configfs" in the kernel's vkms documentation.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::procfs;

/// Where vkms has its devices; there only if the driver is, and configfs is mounted.
const VKMS: &str = "/sys/kernel/config/vkms";

/// Names of our devices begin with it, then comes the process that made it.
const PREFIX: &str = "handover-";

/// The items of the device, a plane of each kind and what it takes to show them, in the order in which they are made.
const ITEMS: [&str; 6] =
    ["planes/primary", "planes/overlay", "planes/cursor", "crtcs/crtc", "encoders/encoder", "connectors/display"];

/// Files of the items, with what they are set to: numbers of `enum drm_plane_type` and `enum drm_connector_status`.
const VALUES: [(&str, &str); 5] = [
    ("planes/primary/type", "1"),
    ("planes/overlay/type", "0"),
    ("planes/cursor/type", "2"),
    ("crtcs/crtc/writeback", "1"),
    ("connectors/display/status", "1"),
];

/// Links between the items: from, and to.
const LINKS: [(&str, &str); 5] = [
    ("planes/primary/possible_crtcs/crtc", "crtcs/crtc"),
    ("planes/overlay/possible_crtcs/crtc", "crtcs/crtc"),
    ("planes/cursor/possible_crtcs/crtc", "crtcs/crtc"),
    ("encoders/encoder/possible_crtcs/crtc", "crtcs/crtc"),
    ("connectors/display/possible_encoders/encoder", "encoders/encoder"),
];

/// A card of our own; removed when dropped.
#[derive(Debug)]
pub(crate) struct SecondCard {
    directory: PathBuf,
    node: PathBuf,
}

impl SecondCard {
    /// Makes the card.
    ///
    /// # Errors
    /// This kernel has no vkms, configfs is not mounted, or we are not root; or the driver refuses.
    pub(crate) fn make() -> Result<Self> {
        const OP: &str = "making a second card";
        if !Path::new(VKMS).is_dir() {
            let why = "there is no such directory: the kernel lacks vkms or its configfs interface, or configfs is not mounted";
            return Err(Error::missing(OP, VKMS, why));
        }
        remove_orphans();
        let name = format!("{PREFIX}{}", std::process::id());
        let directory = Path::new(VKMS).join(&name);
        if let Err(error) = fs::create_dir(&directory) {
            return Err(match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    Error::missing(OP, VKMS, "permission denied: only root makes a card")
                }
                _ => Error::new(OP, directory.display().to_string(), error),
            });
        }
        // From here on dropping it removes what there is.
        let mut card = Self { directory, node: PathBuf::new() };
        let failed = |path: &str, error| Error::new(OP, card.directory.join(path).display().to_string(), error);
        for item in ITEMS {
            fs::create_dir(card.directory.join(item)).map_err(|error| failed(item, error))?;
        }
        for (file, value) in VALUES {
            fs::write(card.directory.join(file), value).map_err(|error| failed(file, error))?;
        }
        for (link, to) in LINKS {
            symlink(card.directory.join(to), card.directory.join(link)).map_err(|error| failed(link, error))?;
        }
        fs::write(card.directory.join("enabled"), "1").map_err(|error| failed("enabled", error))?;
        card.node = node_of(&name).ok_or_else(|| Error::answer(OP, name, "it is enabled, and has no card node"))?;
        Ok(card)
    }

    /// The device node.
    pub(crate) fn node(&self) -> &Path {
        &self.node
    }
}

impl Drop for SecondCard {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

/// Takes a device apart, in the order that configfs wants. What is not there need not be removed.
fn remove(directory: &Path) {
    let _ = fs::write(directory.join("enabled"), "0");
    for (link, _) in LINKS {
        let _ = fs::remove_file(directory.join(link));
    }
    for item in ITEMS.iter().rev() {
        let _ = fs::remove_dir(directory.join(item));
    }
    if let Err(error) = fs::remove_dir(directory) {
        tracing::error!(%error, directory = %directory.display(), "could not remove the second card");
    }
}

/// Removes cards of processes that ended without doing so.
fn remove_orphans() {
    let Ok(entries) = fs::read_dir(VKMS) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        if pid.is_some_and(procfs::has_ended) {
            remove(&entry.path());
        }
    }
}

/// The card node of the device called `name`.
fn node_of(name: &str) -> Option<PathBuf> {
    let nodes = fs::read_dir("/sys/class/drm").ok()?;
    let card = |entry: fs::DirEntry| {
        let node = Path::new("/dev/dri").join(entry.file_name());
        (device_of(&node).as_deref() == Some(name) && node.exists()).then_some(node)
    };
    nodes.filter_map(Result::ok).find_map(card)
}

/// What the kernel calls the device behind a node: `vkms`.
fn device_of(node: &Path) -> Option<String> {
    let device = fs::canonicalize(Path::new("/sys/class/drm").join(node.file_name()?).join("device")).ok()?;
    Some(device.file_name()?.to_string_lossy().into_owned())
}

/// Whether the card at `node` was made by a [`SecondCard`], of this process or another one.
pub(crate) fn is_made_here(node: &Path) -> bool {
    device_of(node).is_some_and(|device| device.starts_with(PREFIX))
}
