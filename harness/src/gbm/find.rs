//! Which devices of this machine can libgbm drive, and by which of their nodes?
//!
//! A device has a card node, a render node, or both. Which of them gives memory differs: the render node of a GPU does, that
//! of a device with nothing but dumb buffers does not, though it takes buffers in.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Fourcc, Gbm, How, Usage};
use crate::error::{Cause, Error, Result};
use crate::frame::px;
use crate::kms;

/// What sort of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// `/dev/dri/card*`: the one that can be master of a screen.
    Card,
    /// `/dev/dri/renderD*`: for everybody in its group.
    Render,
}

impl NodeKind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        match name {
            _ if name.starts_with("renderD") => Some(Self::Render),
            _ if name.starts_with("card") => Some(Self::Card),
            _ => None,
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Card => "card",
            Self::Render => "render",
        })
    }
}

/// A device by those of its nodes that open.
#[derive(Clone, Debug)]
pub struct GbmDevice {
    /// The node that gives memory.
    pub gives: Gbm,
    /// The others, which take memory in.
    pub others: Vec<Gbm>,
    /// Why some of its nodes can't be had.
    pub absent: Vec<String>,
}

impl GbmDevice {
    /// Every node, the one that gives memory first.
    pub fn nodes(&self) -> impl Iterator<Item = &Gbm> {
        std::iter::once(&self.gives).chain(&self.others)
    }

    /// What sort of node gives memory.
    pub fn gives_by(&self) -> NodeKind {
        // Nodes of any other name are not looked at.
        NodeKind::of(self.gives.node()).unwrap_or(NodeKind::Card)
    }

    /// The node of `kind`.
    ///
    /// # Errors
    /// It has none, or why it can't be had.
    pub fn node(&self, kind: NodeKind) -> Result<&Gbm> {
        self.nodes().find(|gbm| NodeKind::of(gbm.node()) == Some(kind)).ok_or_else(|| {
            let why = if self.absent.is_empty() { "the device has none".to_owned() } else { self.absent.join("; ") };
            Error::missing("opening a GBM device", format!("the {kind} node of {}", self.gives.driver()), why)
        })
    }

    /// The first device that gives memory, of those with the driver or the node `select`.
    ///
    /// # Errors
    /// There is none, and why.
    pub(crate) fn find(select: Option<&str>) -> Result<Self> {
        let mut absent = Vec::new();
        for device in devices()? {
            match device {
                Ok(device) if select.is_none_or(|select| device.is(select)) => return Ok(device),
                Ok(device) => {
                    let driver = device.gives.driver();
                    absent.push(Error::missing("opening a GBM device", driver, "another one was chosen"));
                }
                Err(mut why) => match why.iter().position(|why| matches!(why.cause, Cause::Answer(_))) {
                    Some(at) => return Err(why.swap_remove(at)),
                    None => absent.extend(why),
                },
            }
        }
        Err(none(select, &absent))
    }

    /// Whether `select` is its driver or one of its nodes.
    fn is(&self, select: &str) -> bool {
        self.gives.driver() == select || self.nodes().any(|gbm| gbm.node() == Path::new(select))
    }

    /// The device behind `nodes`, those tried first that are first.
    fn of(nodes: &[PathBuf]) -> Result<Self, Vec<Error>> {
        let (mut gives, mut others, mut absent) = (None, Vec::new(), Vec::new());
        for node in nodes {
            let gbm = match Gbm::open(node) {
                Ok(gbm) => gbm,
                Err(why) => {
                    absent.push(why);
                    continue;
                }
            };
            match gbm.create(Fourcc::XR24, px(64, 64), &How::Plain(Usage::LINEAR)) {
                Ok(_) if gives.is_none() => gives = Some(gbm),
                Ok(_) => others.push(gbm),
                // An answer that none may give is the driver's, whatever another device can do.
                Err(why) if matches!(why.cause, Cause::Answer(_)) => return Err(vec![why]),
                Err(why) => {
                    others.push(gbm);
                    absent.push(why);
                }
            }
        }
        match gives {
            Some(gives) => Ok(Self { gives, others, absent: absent.iter().map(Error::to_string).collect() }),
            None => Err(absent),
        }
    }
}

/// Every device of this machine, opened one by one: it gives memory through libgbm, or why not.
///
/// # Errors
/// There is none at all.
pub(crate) fn devices() -> Result<impl Iterator<Item = Result<GbmDevice, Vec<Error>>>> {
    Ok(by_device(nodes()?, device).into_iter().map(|nodes| GbmDevice::of(&nodes)))
}

/// No device gives memory, because of `absent`: a lack of this machine if every single one is.
fn none(select: Option<&str>, absent: &[Error]) -> Error {
    let is_lack = absent.iter().all(|error| matches!(error.cause, Cause::Missing(_)));
    let why = absent.iter().map(Error::to_string).collect::<Vec<_>>().join("; ");
    let object = select.unwrap_or("any driver");
    Error::new("opening a GBM device", object, if is_lack { Cause::Missing(why) } else { Cause::Code(why) })
}

/// Nodes of the same device together, in the order in which they come.
fn by_device(nodes: Vec<PathBuf>, device: impl Fn(&Path) -> PathBuf) -> Vec<Vec<PathBuf>> {
    let mut devices: Vec<(PathBuf, Vec<PathBuf>)> = Vec::new();
    for node in nodes {
        let of = device(&node);
        match devices.iter_mut().find(|(known, _)| *known == of) {
            Some((_, nodes)) => nodes.push(node),
            None => devices.push((of, vec![node])),
        }
    }
    devices.into_iter().map(|(_, nodes)| nodes).collect()
}

/// Render nodes, which anybody in their group may allocate on; then card nodes.
fn nodes() -> Result<Vec<PathBuf>> {
    const DIRECTORY: &str = "/dev/dri";
    let why = "no kernel graphics driver is loaded, or /dev is not mounted";
    let entries = std::fs::read_dir(DIRECTORY)
        .map_err(|error| Error::missing("listing DRM nodes", DIRECTORY, format!("{error}; {why}")))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !kms::is_made_here(path));
    let mut nodes: Vec<_> = paths.filter_map(|path| Some((NodeKind::of(&path)?, path))).collect();
    nodes.sort_by_key(|(kind, path)| (*kind == NodeKind::Card, path.clone()));
    if nodes.is_empty() {
        return Err(Error::missing("listing DRM nodes", DIRECTORY, why));
    }
    Ok(nodes.into_iter().map(|(_, path)| path).collect())
}

/// The device behind a node, as sysfs has it; the node itself where sysfs does not tell.
fn device(node: &Path) -> PathBuf {
    let name = node.file_name().unwrap_or_default();
    let device = Path::new("/sys/class/drm").join(name).join("device");
    std::fs::canonicalize(device).unwrap_or_else(|_| node.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_and_its_render_node_are_one_device() {
        let nodes = ["renderD128", "renderD129", "card0", "card1", "card2"].map(PathBuf::from);
        let device = |node: &Path| {
            PathBuf::from(match node.to_str() {
                Some("renderD128" | "card1") => "gpu",
                Some("card0" | "renderD129") => "other",
                _ => "display",
            })
        };
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let devices = by_device(nodes.to_vec(), device);
        assert_eq!(devices, [paths(&["renderD128", "card1"]), paths(&["renderD129", "card0"]), paths(&["card2"])]);
    }

    #[test]
    fn a_machine_without_a_device_lacks_one_and_one_that_fails_is_a_finding() {
        let lack = || Error::missing("opening a GBM device", "/dev/dri/card0", "open: EACCES");
        let failure = Error::new("gbm_bo_create", "/dev/dri/card1", rustix::io::Errno::NOMEM);
        assert!(matches!(none(None, &[lack(), lack()]).cause, Cause::Missing(_)));
        let both = none(Some("vgem"), &[lack(), failure]);
        assert!(matches!(both.cause, Cause::Code(_)), "{both:?}");
        assert!(
            both.to_string().contains("/dev/dri/card0: open: EACCES; gbm_bo_create on /dev/dri/card1: ENOMEM"),
            "{both}"
        );
    }

    #[test]
    fn nodes_are_told_by_their_names() {
        let kind = |path: &str| NodeKind::of(Path::new(path));
        assert_eq!(kind("/dev/dri/card0"), Some(NodeKind::Card));
        assert_eq!(kind("/dev/dri/renderD128"), Some(NodeKind::Render));
        assert_eq!(kind("/dev/dri/by-path"), None);
    }
}
