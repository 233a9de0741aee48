//! Which video nodes there are, and for each queue its formats and the memory types its buffers can have.
//!
//! It asks only: `REQBUFS` is called with a count of zero, which allocates nothing and tells the queue's capabilities.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::access::{self, Mode};
use super::listed::Listed;
use super::memory::nodes;
use crate::error::Cause;
use crate::v4l2::uapi::{self, Capability, FmtDesc, RequestBuffers, text};
use crate::v4l2::{PixelFormat, ioctl};

/// A video node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V4l2Node {
    /// The device node.
    pub path: String,
    /// Name of the driver.
    pub driver: String,
    /// Name of the device.
    pub card: String,
    /// Where it sits.
    pub bus: String,
    /// `V4L2_CAP_*` of this node, without the prefix.
    pub caps: Vec<String>,
    /// Its video queues.
    pub queues: Vec<Listed<Queue>>,
}

/// One queue of buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// `V4L2_BUF_TYPE_*` without the prefix.
    pub name: String,
    /// V4L2 pixel formats, four characters each (not DRM fourccs), `-BE` for the big-endian variants.
    pub formats: Vec<String>,
    /// What `VIDIOC_ENUM_FMT` answered where it did not end the list in the documented way.
    pub formats_end: Option<String>,
    /// `V4L2_BUF_CAP_*` of the queue without the prefix, or why they are not known.
    pub buffers: Listed<BufferCaps>,
}

/// What a queue's buffers can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferCaps {
    /// Memory types: `MMAP` (EXPBUF makes it an exporter), `DMABUF` (it imports), `USERPTR`.
    pub memory: Vec<String>,
    /// The other capabilities.
    pub more: Vec<String>,
}

/// Paths of the video nodes, or why there is none.
pub(super) fn paths() -> Result<Vec<String>, String> {
    let dir = Path::new("/dev");
    let found = nodes(dir, "video").map_err(|error| access::refused("read", dir, &error, "no device nodes at all"))?;
    if found.is_empty() {
        return Err("no /dev/video*: no V4L2 driver has a device (`modprobe vivid` makes some), \
                    or a kernel without CONFIG_VIDEO_DEV"
            .into());
    }
    Ok(found)
}

/// Everything about the node `path`.
pub(super) fn node(path: &str) -> Listed<V4l2Node> {
    let file = match access::open(Path::new(path), Mode::ReadWrite, "the node has gone") {
        Ok(file) => file,
        Err(why) => return Listed::unavailable(path, why),
    };
    let mut cap = Capability::default();
    if let Err(errno) = ioctl::QUERYCAP.ask(&file, &mut cap) {
        return Listed::unavailable(path, format!("VIDIOC_QUERYCAP: {}", Cause::from(errno)));
    }
    let caps = cap.of_node();
    let queues = QUEUES.iter().filter(|queue| caps & queue.caps != 0);
    Listed::Present(V4l2Node {
        path: path.to_owned(),
        driver: text(&cap.driver),
        card: text(&cap.card),
        bus: text(&cap.bus_info),
        caps: names(caps, CAPS),
        queues: queues.map(|kind| queue(&file, kind)).collect(),
    })
}

fn queue(file: &File, kind: &QueueKind) -> Listed<Queue> {
    let (formats, formats_end) = formats(file, kind.buf_type);
    let buffers = buffers(file, kind.buf_type);
    Listed::Present(Queue { name: kind.name.to_owned(), formats, formats_end, buffers })
}

/// The formats of a queue, and the answer that ended the list if it was not the documented `EINVAL`.
fn formats(file: &File, buf_type: u32) -> (Vec<String>, Option<String>) {
    let mut formats = Vec::new();
    for index in 0..FORMATS_MAX {
        let mut desc = FmtDesc { index, buf_type, ..FmtDesc::default() };
        match ioctl::ENUM_FMT.ask(file, &mut desc) {
            Ok(()) => formats.push(PixelFormat(desc.pixelformat).to_string()),
            Err(Errno::INVAL) => return (formats, None),
            Err(errno) => return (formats, Some(format!("VIDIOC_ENUM_FMT {index}: {}", Cause::from(errno)))),
        }
    }
    (formats, Some(format!("VIDIOC_ENUM_FMT: still no end after {FORMATS_MAX} formats; EINVAL would end the list")))
}

/// What the buffers of a queue can be. Tried with each memory type, since a queue refuses those it does not have.
fn buffers(file: &File, buf_type: u32) -> Listed<BufferCaps> {
    let mut refusals = Vec::new();
    for &(memory, name) in MEMORY {
        let mut request = RequestBuffers { buf_type, memory, ..RequestBuffers::default() };
        match ioctl::REQBUFS.ask(file, &mut request) {
            Ok(()) if request.capabilities == 0 => {
                let why = "VIDIOC_REQBUFS told no capabilities: a driver without videobuf2, or a kernel before 4.20";
                return Listed::unavailable("buffers", why);
            }
            Ok(()) => {
                return Listed::Present(BufferCaps {
                    memory: names(request.capabilities, BUF_MEMORY),
                    more: names(request.capabilities, BUF_MORE),
                });
            }
            Err(errno) => refusals.push(format!("{name} {}", Cause::from(errno))),
        }
    }
    Listed::unavailable("buffers", format!("VIDIOC_REQBUFS: {}", refusals.join(", ")))
}

/// More formats than any driver has; a longer list is a driver's error.
const FORMATS_MAX: u32 = 1024;

/// The names of the bits set in `bits`; bits without a name are given as one number.
fn names(bits: u32, table: &[(u32, &str)]) -> Vec<String> {
    let named = table.iter().fold(0, |named, (bit, _)| named | bit);
    let rest = (bits & !named != 0).then(|| format!("{:#x}", bits & !named));
    table.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| (*name).to_owned()).chain(rest).collect()
}

/// A kind of queue: its buffer type, and the capabilities of nodes that have it.
struct QueueKind {
    name: &'static str,
    buf_type: u32,
    caps: u32,
}

const QUEUES: &[QueueKind] = &[
    QueueKind {
        name: "VIDEO_CAPTURE",
        buf_type: uapi::BUF_TYPE_VIDEO_CAPTURE,
        caps: uapi::CAP_VIDEO_CAPTURE | uapi::CAP_VIDEO_M2M,
    },
    QueueKind {
        name: "VIDEO_OUTPUT",
        buf_type: uapi::BUF_TYPE_VIDEO_OUTPUT,
        caps: uapi::CAP_VIDEO_OUTPUT | uapi::CAP_VIDEO_M2M,
    },
    QueueKind {
        name: "VIDEO_CAPTURE_MPLANE",
        buf_type: uapi::BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        caps: uapi::CAP_VIDEO_CAPTURE_MPLANE | uapi::CAP_VIDEO_M2M_MPLANE,
    },
    QueueKind {
        name: "VIDEO_OUTPUT_MPLANE",
        buf_type: uapi::BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        caps: uapi::CAP_VIDEO_OUTPUT_MPLANE | uapi::CAP_VIDEO_M2M_MPLANE,
    },
    QueueKind { name: "META_CAPTURE", buf_type: uapi::BUF_TYPE_META_CAPTURE, caps: uapi::CAP_META_CAPTURE },
    QueueKind { name: "META_OUTPUT", buf_type: uapi::BUF_TYPE_META_OUTPUT, caps: uapi::CAP_META_OUTPUT },
];

const MEMORY: &[(u32, &str)] =
    &[(uapi::MEMORY_MMAP, "MMAP"), (uapi::MEMORY_DMABUF, "DMABUF"), (uapi::MEMORY_USERPTR, "USERPTR")];

const BUF_MEMORY: &[(u32, &str)] = &[
    (uapi::BUF_CAP_SUPPORTS_MMAP, "MMAP"),
    (uapi::BUF_CAP_SUPPORTS_DMABUF, "DMABUF"),
    (uapi::BUF_CAP_SUPPORTS_USERPTR, "USERPTR"),
];

const BUF_MORE: &[(u32, &str)] = &[
    (0x008, "REQUESTS"),
    (uapi::BUF_CAP_SUPPORTS_ORPHANED_BUFS, "ORPHANED_BUFS"),
    (0x020, "M2M_HOLD_CAPTURE_BUF"),
    (0x040, "MMAP_CACHE_HINTS"),
    (0x080, "MAX_NUM_BUFFERS"),
    (0x100, "REMOVE_BUFS"),
];

const CAPS: &[(u32, &str)] = &[
    (uapi::CAP_VIDEO_CAPTURE, "VIDEO_CAPTURE"),
    (uapi::CAP_VIDEO_OUTPUT, "VIDEO_OUTPUT"),
    (0x0000_0004, "VIDEO_OVERLAY"),
    (0x0000_0200, "VIDEO_OUTPUT_OVERLAY"),
    (uapi::CAP_VIDEO_CAPTURE_MPLANE, "VIDEO_CAPTURE_MPLANE"),
    (uapi::CAP_VIDEO_OUTPUT_MPLANE, "VIDEO_OUTPUT_MPLANE"),
    (uapi::CAP_VIDEO_M2M_MPLANE, "VIDEO_M2M_MPLANE"),
    (uapi::CAP_VIDEO_M2M, "VIDEO_M2M"),
    (0x0001_0000, "TUNER"),
    (0x0002_0000, "AUDIO"),
    (0x0004_0000, "RADIO"),
    (0x0008_0000, "MODULATOR"),
    (0x0020_0000, "EXT_PIX_FORMAT"),
    (uapi::CAP_META_CAPTURE, "META_CAPTURE"),
    (0x0100_0000, "READWRITE"),
    (0x0200_0000, "EDID"),
    (uapi::CAP_STREAMING, "STREAMING"),
    (uapi::CAP_META_OUTPUT, "META_OUTPUT"),
    (0x1000_0000, "TOUCH"),
    (0x2000_0000, "IO_MC"),
];
