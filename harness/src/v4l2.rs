//! A V4L2 device: queues of buffers that it fills (capture) or takes (output), its own or dma-bufs.
//!
//! [`Device`] is an open node, [`Queue`] one of its queues. A dma-buf that is handed to a queue stays the caller's: the
//! kernel holds on to it by itself. [`Loopback`] is a device whose capture sees what its output takes, such as vivid.
//! [`Converter`] makes another frame of the one that it is given, as vim2m does. [`Codec`] makes a stream of bytes of a frame,
//! and a frame of that again, as vicodec does. Each but the codec is found by what it can do; a driver that is known is only tried
//! first.
//!
//! What videobuf2, which every driver here uses, makes of a dma-buf was read in its source and seen in the sandbox:
//!
//! - `VIDIOC_QBUF` attaches and maps at once, streaming or not; so a refusal comes before anything moves. The same dma-buf
//!   queued again in the same slot stays mapped in between, until another takes its place or the buffers are freed.
//! - dma-contig wants as many bytes in one run as the queue says that the buffer has, and else answers `EFAULT` with
//!   "contiguous chunk is too small" in the kernel log. vmalloc takes the dma-buf by `vmap`, and attaches no device.
//! - A single-planar queue has no offset: the picture starts with the buffer. A multi-planar one has `data_offset`.
//!
//! Source: "Streaming I/O (DMA buffer importing)" in the kernel's V4L2 documentation.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Cause, Error, Result};
use crate::node;
use rustix::fs::OFlags;
use rustix::io::Errno;

mod codec;
mod constraints;
mod controls;
mod converter;
mod format;
pub(crate) mod ioctl;
mod loopback;
mod misuse;
mod pix;
mod queue;
mod queue_format;
mod said;
mod sizes;
mod slots;
pub(crate) mod uapi;
mod unplug;

pub use codec::{Codec, Given};
pub(crate) use constraints::CONTIGUOUS;
pub use converter::{Converter, ConverterStream, OwnConverted};
pub use format::PixelFormat;
pub use loopback::{LoopStream, Loopback, OwnFrame};
pub use queue::{Direction, Done, Memory, MemoryPlane, Queue};
pub use queue_format::{PlaneFormat, QueueFormat};
pub use said::Kinds;
pub use sizes::FrameSizes;
pub use slots::Slots;
pub use unplug::Unplugged;

/// An open video node.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    node: PathBuf,
    name: String,
    driver: String,
    caps: u32,
    /// Why it keeps buffers that it should have let go of, until it is closed.
    stuck: Mutex<Option<String>>,
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, base_name(&self.node))
    }
}

impl Device {
    /// Every video node of this machine, in the order of their numbers.
    ///
    /// # Errors
    /// There is none.
    pub fn nodes() -> Result<Vec<PathBuf>> {
        const DIRECTORY: &str = "/dev";
        let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
        let entries = std::fs::read_dir(DIRECTORY).map_err(|error| Error::new("read", DIRECTORY, error))?;
        let mut nodes: Vec<_> =
            entries.filter_map(Result::ok).filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
        nodes.sort();
        if nodes.is_empty() {
            return Err(Error::missing(
                "listing video nodes",
                DIRECTORY,
                "no /dev/video*: no V4L2 driver has a device",
            ));
        }
        Ok(nodes.into_iter().map(|(_, path)| path).collect())
    }

    /// Opens every video node of this machine that opens, and says what the others answered.
    ///
    /// # Errors
    /// There is no node; or files or memory have run out, so that nobody knows which there are.
    fn all() -> Result<(Vec<Arc<Self>>, String)> {
        let (mut open, mut refused) = (Vec::new(), String::new());
        for node in Self::nodes()? {
            match Self::open(&node) {
                Ok(device) => open.push(device),
                Err(why) if why.is_shortage() => return Err(why),
                // One of them may be what is looked for.
                Err(why) => refused.push_str(&format!("; {why}")),
            }
        }
        Ok((open, refused))
    }

    /// The devices of [`Self::all`] that work from memory to memory and are called `wanted`, those of `driver` first: what it
    /// makes is known best.
    fn memory_to_memory(wanted: Option<&str>, driver: &str) -> Result<(Vec<Arc<Self>>, String)> {
        let (mut devices, refused) = Self::all()?;
        devices.retain(|device| device.is_memory_to_memory());
        if let Some(wanted) = wanted {
            let there: Vec<String> = devices.iter().map(ToString::to_string).collect();
            devices.retain(|device| device.is_called(wanted));
            if devices.is_empty() {
                let why = format!("no such device; those from memory to memory here: [{}]{refused}", there.join(", "));
                return Err(Error::missing("opening a video device", wanted, why));
            }
        }
        devices.sort_by_key(|device| device.driver() != driver);
        Ok((devices, refused))
    }

    /// Opens `node`.
    ///
    /// # Errors
    /// We may not, or it is no V4L2 device.
    pub fn open(node: &Path) -> Result<Arc<Self>> {
        let object = || node.display().to_string();
        // Non-blocking, so that only poll waits.
        let fd = node::open(node, OFlags::RDWR | OFlags::NONBLOCK)?;
        let mut cap = uapi::Capability::default();
        ioctl::QUERYCAP.ask(&fd, &mut cap).map_err(|errno| Error::new(ioctl::QUERYCAP.name, object(), errno))?;
        let bus = uapi::text(&cap.bus_info);
        let name = bus.strip_prefix("platform:").unwrap_or(&bus).to_owned();
        let driver = uapi::text(&cap.driver);
        Ok(Arc::new(Self { fd, node: node.to_owned(), name, driver, caps: cap.of_node(), stuck: Mutex::default() }))
    }

    /// Where the device sits, as its driver says: `vivid-001`. The nodes of one device share it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's name of the device that does the DMA, as trace events have it: `vivid.0`, which both vivids share.
    pub fn kernel_name(&self) -> Option<String> {
        let device = std::fs::read_link(sysfs(&self.node).join("device")).ok()?;
        Some(device.file_name()?.to_string_lossy().into_owned())
    }

    /// The device node.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// Kernel driver.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Whether `wanted` names it: where it sits, its driver, or its node.
    pub fn is_called(&self, wanted: &str) -> bool {
        self.name == wanted || self.driver == wanted || self.node == Path::new(wanted)
    }

    /// Whether it works from memory to memory: takes buffers, and fills others with what it makes of them.
    pub fn is_memory_to_memory(&self) -> bool {
        self.caps & (uapi::CAP_VIDEO_M2M | uapi::CAP_VIDEO_M2M_MPLANE) != 0
    }

    /// Whether the device sits behind an IOMMU, so that what is one run of addresses to it may be scattered in memory.
    pub fn behind_iommu(&self) -> bool {
        sysfs(&self.node).join("device/iommu_group").exists()
    }

    /// An error of `op` on this device and `what`.
    fn error(&self, op: &'static str, what: impl fmt::Display, cause: impl Into<Cause>) -> Error {
        gone(Error::new(op, format!("{self}, {what}{}", self.burden()), cause))
    }

    /// Buffers could not be freed, with this error.
    fn keeps(&self, error: &Error) {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
    }

    /// What is to be said of it wherever it fails, since it may be why.
    fn burden(&self) -> String {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.as_ref().map_or_else(String::new, |error| format!(" (it keeps buffers: {error})"))
    }

    #[cfg(test)]
    fn of_nothing() -> Self {
        let fd = node::open(Path::new("/dev/null"), OFlags::RDWR).expect("/dev/null");
        let (node, name) = (PathBuf::from("/dev/null"), "nothing".to_owned());
        Self { fd, node, name, driver: String::new(), caps: 0, stuck: Mutex::default() }
    }
}

/// What `error` is like, if the device is said to be gone.
fn gone(error: Error) -> Error {
    match error.is_errno(Errno::NODEV) {
        true => error.like("a driver that takes its device for gone, in the middle of its work"),
        false => error,
    }
}

fn base_name(node: &Path) -> String {
    node.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The node in sysfs.
fn sysfs(node: &Path) -> PathBuf {
    Path::new("/sys/class/video4linux").join(base_name(node))
}
