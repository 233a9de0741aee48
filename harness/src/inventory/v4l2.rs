#![expect(unsafe_code, reason = "ioctls of the V4L2 interface")]
//! Which video nodes there are, and for each queue its formats and the memory types its buffers can have.
//!
//! Structures and numbers after `include/uapi/linux/videodev2.h`. It asks only: `REQBUFS` is called with a count of
//! zero, which allocates nothing and tells the queue's capabilities.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use rustix::ioctl::{self, opcode};
use serde::{Deserialize, Serialize};

use super::access::{self, Mode};
use super::listed::Listed;
use super::memory::nodes;
use crate::error::Cause;

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
    // SAFETY: VIDIOC_QUERYCAP writes one v4l2_capability, whose layout `Capability` has.
    if let Err(errno) = unsafe { ask::<QUERYCAP, _>(&file, &mut cap) } {
        return Listed::unavailable(path, format!("VIDIOC_QUERYCAP: {}", Cause::from(errno)));
    }
    // Nodes of drivers from before 2012 have no device_caps; capabilities are those of the whole device then.
    let caps = if cap.capabilities & CAP_DEVICE_CAPS == 0 { cap.capabilities } else { cap.device_caps };
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
        // SAFETY: VIDIOC_ENUM_FMT reads and writes one v4l2_fmtdesc, whose layout `FmtDesc` has.
        match unsafe { ask::<ENUM_FMT, _>(file, &mut desc) } {
            Ok(()) => formats.push(fourcc(desc.pixelformat)),
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
        // SAFETY: VIDIOC_REQBUFS reads and writes one v4l2_requestbuffers, whose layout `RequestBuffers` has.
        match unsafe { ask::<REQBUFS, _>(file, &mut request) } {
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

/// The ioctl `OPCODE` on `file` with `argument`.
///
/// # Safety
/// The kernel's argument of this ioctl is a pointer to one structure with the layout of `T`.
unsafe fn ask<const OPCODE: ioctl::Opcode, T>(file: &File, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: the caller states that the opcode takes a pointer to a `T`.
    let call = unsafe { ioctl::Updater::<OPCODE, T>::new(argument) };
    // SAFETY: as above; the structure has no pointers in it, so the kernel touches nothing else.
    unsafe { ioctl::ioctl(file, call) }
}

/// More formats than any driver has; a longer list is a driver's error.
const FORMATS_MAX: u32 = 1024;

/// The names of the bits set in `bits`; bits without a name are given as one number.
fn names(bits: u32, table: &[(u32, &str)]) -> Vec<String> {
    table.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| (*name).to_owned()).collect()
}

/// Text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A V4L2 pixel format by name; its top bit marks the big-endian variant.
fn fourcc(code: u32) -> String {
    let bytes = (code & 0x7fff_ffff).to_le_bytes();
    if !bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return format!("{code:#010x}");
    }
    let name: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let endian = if code >> 31 == 1 { "-BE" } else { "" };
    format!("{}{endian}", name.trim_end())
}

const QUERYCAP: ioctl::Opcode = opcode::read::<Capability>(b'V', 0);
const ENUM_FMT: ioctl::Opcode = opcode::read_write::<FmtDesc>(b'V', 2);
const REQBUFS: ioctl::Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Default)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Default)]
struct FmtDesc {
    index: u32,
    buf_type: u32,
    flags: u32,
    description: [u8; 32],
    pixelformat: u32,
    mbus_code: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Default)]
struct RequestBuffers {
    count: u32,
    buf_type: u32,
    memory: u32,
    capabilities: u32,
    flags: u8,
    reserved: [u8; 3],
}

/// A kind of queue: its buffer type, and the capabilities of nodes that have it.
struct QueueKind {
    name: &'static str,
    buf_type: u32,
    caps: u32,
}

const QUEUES: &[QueueKind] = &[
    QueueKind { name: "VIDEO_CAPTURE", buf_type: 1, caps: 0x0000_8001 },
    QueueKind { name: "VIDEO_OUTPUT", buf_type: 2, caps: 0x0000_8002 },
    QueueKind { name: "VIDEO_CAPTURE_MPLANE", buf_type: 9, caps: 0x0000_5000 },
    QueueKind { name: "VIDEO_OUTPUT_MPLANE", buf_type: 10, caps: 0x0000_6000 },
    QueueKind { name: "META_CAPTURE", buf_type: 13, caps: 0x0080_0000 },
    QueueKind { name: "META_OUTPUT", buf_type: 14, caps: 0x0800_0000 },
];

const MEMORY: &[(u32, &str)] = &[(1, "MMAP"), (4, "DMABUF"), (2, "USERPTR")];

const BUF_MEMORY: &[(u32, &str)] = &[(0x1, "MMAP"), (0x4, "DMABUF"), (0x2, "USERPTR")];

const BUF_MORE: &[(u32, &str)] = &[
    (0x008, "REQUESTS"),
    (0x010, "ORPHANED_BUFS"),
    (0x020, "M2M_HOLD_CAPTURE_BUF"),
    (0x040, "MMAP_CACHE_HINTS"),
    (0x080, "MAX_NUM_BUFFERS"),
    (0x100, "REMOVE_BUFS"),
];

const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

const CAPS: &[(u32, &str)] = &[
    (0x0000_0001, "VIDEO_CAPTURE"),
    (0x0000_0002, "VIDEO_OUTPUT"),
    (0x0000_0004, "VIDEO_OVERLAY"),
    (0x0000_0200, "VIDEO_OUTPUT_OVERLAY"),
    (0x0000_1000, "VIDEO_CAPTURE_MPLANE"),
    (0x0000_2000, "VIDEO_OUTPUT_MPLANE"),
    (0x0000_4000, "VIDEO_M2M_MPLANE"),
    (0x0000_8000, "VIDEO_M2M"),
    (0x0001_0000, "TUNER"),
    (0x0002_0000, "AUDIO"),
    (0x0004_0000, "RADIO"),
    (0x0008_0000, "MODULATOR"),
    (0x0020_0000, "EXT_PIX_FORMAT"),
    (0x0080_0000, "META_CAPTURE"),
    (0x0100_0000, "READWRITE"),
    (0x0200_0000, "EDID"),
    (0x0400_0000, "STREAMING"),
    (0x0800_0000, "META_OUTPUT"),
    (0x1000_0000, "TOUCH"),
    (0x2000_0000, "IO_MC"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        assert_eq!(size_of::<Capability>(), 104);
        assert_eq!(size_of::<FmtDesc>(), 64);
        assert_eq!(size_of::<RequestBuffers>(), 20);
    }

    #[test]
    fn formats_have_names() {
        assert_eq!(fourcc(u32::from_le_bytes(*b"YUYV")), "YUYV");
        assert_eq!(fourcc(u32::from_le_bytes(*b"Y16 ")), "Y16");
        assert_eq!(fourcc(u32::from_le_bytes(*b"Y16 ") | 1 << 31), "Y16-BE");
        assert_eq!(fourcc(1), "0x00000001");
    }
}
