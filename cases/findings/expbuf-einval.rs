//! videobuf2: does VIDIOC_EXPBUF say EINVAL when there is no memory?
//!
//! Has each allocation in turn fail that making and exporting a buffer takes, on every video node. Needs root, and a
//! kernel with CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS.
//!
//! Exit status: 0 the defect is there, 1 it is not, 2 it could not be tried.
//!
//! Run it with `rust-script FILE`, or as `src/main.rs` of a package with
//!
//! ```cargo
//! [dependencies]
//! libc = "0.2"
//! ```
#![allow(unsafe_code, reason = "calls the kernel")]

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `struct v4l2_format`; only the type of the queue matters here, the driver fills in the rest.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Format {
    queue: u32,
    rest: [u32; 51],
}

/// `struct v4l2_create_buffers`.
#[repr(C)]
struct CreateBuffers {
    index: u32,
    count: u32,
    memory: u32,
    format: Format,
    capabilities: u32,
    flags: u32,
    max_num_buffers: u32,
    reserved: [u32; 5],
}

/// `struct v4l2_exportbuffer`.
#[repr(C)]
struct ExportBuffer {
    queue: u32,
    index: u32,
    plane: u32,
    flags: u32,
    fd: i32,
    reserved: [u32; 11],
}

const VIDIOC_G_FMT: libc::Ioctl = 0xc0d0_5604_u32 as libc::Ioctl;
const VIDIOC_EXPBUF: libc::Ioctl = 0xc040_5610_u32 as libc::Ioctl;
const VIDIOC_CREATE_BUFS: libc::Ioctl = 0xc100_565c_u32 as libc::Ioctl;
const V4L2_MEMORY_MMAP: u32 = 1;

/// Capture and output, of single-planar and multi-planar devices.
const QUEUES: [u32; 4] = [1, 2, 9, 10];

fn main() -> ExitCode {
    let (said, status) = match try_it() {
        Ok(true) => ("the defect is there".to_owned(), 0),
        Ok(false) => ("the defect is not there".to_owned(), 1),
        Err(why) => (format!("it could not be tried: {why}"), 2),
    };
    println!("{said}");
    ExitCode::from(status)
}

fn try_it() -> Result<bool, Box<dyn Error>> {
    prepare_faults()?;
    let queues = queues()?;
    if queues.is_empty() {
        return Err("no video device exports buffers".into());
    }
    let mut defect = false;
    for (node, queue) in queues {
        for nth in 1..1000 {
            let (done, failed) = failing(nth, || export(&node, queue))?;
            if !failed {
                break;
            }
            let Ok(Err(error)) = done else { continue };
            if error.raw_os_error() == Some(libc::EINVAL) {
                let node = node.display();
                println!(
                    "VIDIOC_EXPBUF on {node}, queue {queue}: allocation {nth} fails: {error}; ENOMEM would be right"
                );
                defect = true;
            }
        }
    }
    Ok(defect)
}

/// Makes a buffer and exports it; what came of the former and of the latter. Closing the node frees what is left.
fn export(node: &Path, queue: u32) -> io::Result<io::Result<()>> {
    let node = File::options().read(true).write(true).open(node)?;
    let mut format = Format { queue, rest: [0; 51] };
    // SAFETY: the number is that of a call that reads and writes this structure; so are those below.
    checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_G_FMT, &mut format) })?;
    let memory = V4L2_MEMORY_MMAP;
    let (capabilities, flags, max_num_buffers, reserved) = (0, 0, 0, [0; 5]);
    let mut create =
        CreateBuffers { index: 0, count: 1, memory, format, capabilities, flags, max_num_buffers, reserved };
    // SAFETY: as above.
    checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_CREATE_BUFS, &mut create) })?;
    let mut export = ExportBuffer { queue, index: create.index, plane: 0, flags: 0, fd: -1, reserved: [0; 11] };
    // SAFETY: as above.
    let exported = checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_EXPBUF, &mut export) });
    if exported.is_ok() {
        // SAFETY: the call succeeded, so this descriptor is ours.
        checked(unsafe { libc::close(export.fd) })?;
    }
    Ok(exported)
}

fn checked(status: i32) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The video nodes, in the order of their names, and their queues that can export.
fn queues() -> io::Result<Vec<(PathBuf, u32)>> {
    let mut nodes: Vec<PathBuf> = std::fs::read_dir("/dev")?.flatten().map(|entry| entry.path()).collect();
    nodes.retain(|path| path.to_string_lossy().starts_with("/dev/video"));
    nodes.sort();
    let all = nodes.into_iter().flat_map(|node| QUEUES.map(|queue| (node.clone(), queue)));
    Ok(all.filter(|(node, queue)| matches!(export(node, *queue), Ok(Ok(())))).collect())
}

/// Has every allocation of the slab allocator be one that can fail, also one that may wait for memory.
fn prepare_faults() -> Result<(), Box<dyn Error>> {
    for (knob, value) in [("ignore-gfp-wait", "N"), ("cache-filter", "N"), ("verbose", "0")] {
        let path = format!("/sys/kernel/debug/failslab/{knob}");
        std::fs::write(&path, value).map_err(|error| {
            format!("{path}: {error}; needed are root, debugfs, CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS")
        })?;
    }
    Ok(())
}

/// Does `work` while the `nth` allocation that the kernel makes for it fails; also says whether there were so many.
fn failing<T>(nth: u32, work: impl FnOnce() -> T) -> io::Result<(T, bool)> {
    let mut file = File::options().read(true).write(true).open("/proc/thread-self/fail-nth")?;
    let mut left = [0; 16];
    write!(file, "{nth}")?;
    let done = work();
    let length = file.read_at(&mut left, 0);
    write!(file, "0")?;
    // What is left to count; 0 once it failed.
    Ok((done, left[..length?].trim_ascii() == b"0"))
}
