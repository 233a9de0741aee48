//! vicodec: does VIDIOC_ENUM_FRAMESIZES list a size that VIDIOC_TRY_FMT changes?
//!
//! Asks every video node of the driver for the smallest size of YU12, and tries that on each of its queues.
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
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;

/// `struct v4l2_capability`.
#[repr(C)]
struct Capability {
    driver: [u8; 16],
    rest: [u8; 88],
}

/// `struct v4l2_frmsizeenum`: of a range, least, most and step of the width, then of the height.
#[repr(C)]
struct FrameSize {
    index: u32,
    pixelformat: u32,
    kind: u32,
    sides: [u32; 6],
    reserved: [u32; 2],
}

/// `struct v4l2_format` with the first fields of `struct v4l2_pix_format`.
#[repr(C, align(8))]
struct Format {
    queue: u32,
    padding: u32,
    width: u32,
    height: u32,
    pixelformat: u32,
    rest: [u32; 47],
}

const VIDIOC_QUERYCAP: libc::Ioctl = 0x8068_5600_u32 as libc::Ioctl;
const VIDIOC_TRY_FMT: libc::Ioctl = 0xc0d0_5640_u32 as libc::Ioctl;
const VIDIOC_ENUM_FRAMESIZES: libc::Ioctl = 0xc02c_564a_u32 as libc::Ioctl;

const YU12: u32 = u32::from_le_bytes(*b"YU12");

/// Capture and output, of a single-planar device.
const QUEUES: [u32; 2] = [1, 2];

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
    let mut tried = false;
    let mut defect = false;
    for path in nodes()? {
        let Ok(node) = File::options().read(true).write(true).open(&path) else { continue };
        if !is_vicodec(&node) {
            continue;
        }
        let Some((width, height)) = smallest(&node) else { continue };
        for queue in QUEUES {
            let mut format = Format { queue, padding: 0, width, height, pixelformat: YU12, rest: [0; 47] };
            // SAFETY: the number is that of a call that reads and writes this structure.
            let done = checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_TRY_FMT, &mut format) });
            // A queue of streams makes a stream of it.
            if done.is_err() || format.pixelformat != YU12 {
                continue;
            }
            tried = true;
            if (format.width, format.height) != (width, height) {
                let got = format!("{}x{}", format.width, format.height);
                println!("{}: {width}x{height} of YU12 is listed, queue {queue} makes {got} of it", path.display());
                defect = true;
            }
        }
    }
    if tried { Ok(defect) } else { Err("no node of vicodec takes YU12".into()) }
}

fn is_vicodec(node: &File) -> bool {
    let mut capability = Capability { driver: [0; 16], rest: [0; 88] };
    // SAFETY: the number is that of a call that writes this structure.
    let done = checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_QUERYCAP, &mut capability) });
    done.is_ok() && capability.driver.starts_with(b"vicodec")
}

/// The smallest size that the node lists for YU12.
fn smallest(node: &File) -> Option<(u32, u32)> {
    const DISCRETE: u32 = 1;
    let mut size = FrameSize { index: 0, pixelformat: YU12, kind: 0, sides: [0; 6], reserved: [0; 2] };
    // SAFETY: the number is that of a call that reads and writes this structure.
    checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_ENUM_FRAMESIZES, &mut size) }).ok()?;
    let height = if size.kind == DISCRETE { size.sides[1] } else { size.sides[3] };
    Some((size.sides[0], height))
}

fn checked(status: i32) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The video nodes, in the order of their names.
fn nodes() -> io::Result<Vec<PathBuf>> {
    let mut nodes: Vec<PathBuf> = std::fs::read_dir("/dev")?.flatten().map(|entry| entry.path()).collect();
    nodes.retain(|path| path.to_string_lossy().starts_with("/dev/video"));
    nodes.sort();
    Ok(nodes)
}
