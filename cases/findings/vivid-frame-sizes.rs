//! vivid: does VIDIOC_TRY_FMT take a size that is in none of the steps that VIDIOC_ENUM_FRAMESIZES lists?
//!
//! Asks every capture node of the driver, with each of its inputs, for the sizes of YUYV, and tries one between two of them.
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

const VIDIOC_G_INPUT: libc::Ioctl = 0x8004_5626_u32 as libc::Ioctl;
const VIDIOC_S_INPUT: libc::Ioctl = 0xc004_5627_u32 as libc::Ioctl;

const YUYV: u32 = u32::from_le_bytes(*b"YUYV");

/// The capture queue of a single-planar device.
const CAPTURE: u32 = 1;

/// More inputs than vivid has.
const INPUTS: i32 = 16;

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
        if !is_vivid(&node) {
            continue;
        }
        // Output nodes have none.
        let Ok(before) = input(&node) else { continue };
        for input in 0..INPUTS {
            let Some((width, height)) = between(&node, input) else { continue };
            let mut format = Format { queue: CAPTURE, padding: 0, width, height, pixelformat: YUYV, rest: [0; 47] };
            // SAFETY: the number is that of a call that reads and writes this structure.
            let done = checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_TRY_FMT, &mut format) });
            if done.is_err() || format.pixelformat != YUYV {
                continue;
            }
            tried = true;
            let got = format!("{}x{}", format.width, format.height);
            println!("{}, input {input}: {width}x{height} of YUYV is not listed, and becomes {got}", path.display());
            defect |= (format.width, format.height) == (width, height);
        }
        set_input(&node, before)?;
    }
    if tried { Ok(defect) } else { Err("no input of vivid has a range of sizes of YUYV".into()) }
}

fn is_vivid(node: &File) -> bool {
    let mut capability = Capability { driver: [0; 16], rest: [0; 88] };
    // SAFETY: the number is that of a call that writes this structure.
    let done = checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_QUERYCAP, &mut capability) });
    done.is_ok() && capability.driver.starts_with(b"vivid")
}

/// The input that the node has.
fn input(node: &File) -> io::Result<i32> {
    let mut input = 0_i32;
    // SAFETY: the number is that of a call that writes this number.
    checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_G_INPUT, &mut input) })?;
    Ok(input)
}

fn set_input(node: &File, mut input: i32) -> io::Result<()> {
    // SAFETY: the number is that of a call that reads and writes this number.
    checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_S_INPUT, &mut input) })
}

/// A size of YUYV behind the smallest one that the node lists with this input, and before the next.
fn between(node: &File, input: i32) -> Option<(u32, u32)> {
    const STEPWISE: u32 = 3;
    set_input(node, input).ok()?;
    let mut size = FrameSize { index: 0, pixelformat: YUYV, kind: 0, sides: [0; 6], reserved: [0; 2] };
    // SAFETY: the number is that of a call that reads and writes this structure.
    checked(unsafe { libc::ioctl(node.as_raw_fd(), VIDIOC_ENUM_FRAMESIZES, &mut size) }).ok()?;
    let [width, most_width, width_step, height, most_height, height_step] = size.sides;
    let is_range = size.kind == STEPWISE && width_step > 1 && height_step > 1;
    (is_range && width < most_width && height < most_height).then_some((width + 1, height + 1))
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
