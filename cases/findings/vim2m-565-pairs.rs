//! vim2m: is each second pixel of RGB565 the one before?
//!
//! Has vim2m convert a frame from RGB24 to RGB565 whose pixels are red and blue by turns.
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
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// `struct v4l2_capability`.
#[repr(C)]
struct Capability {
    driver: [u8; 16],
    rest: [u8; 88],
}

/// `struct v4l2_format` with `struct v4l2_pix_format`.
#[repr(C, align(8))]
struct Format {
    queue: u32,
    padding: u32,
    width: u32,
    height: u32,
    pixelformat: u32,
    rest: [u32; 47],
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
struct RequestBuffers {
    count: u32,
    queue: u32,
    memory: u32,
    rest: [u32; 2],
}

/// `struct v4l2_buffer`.
#[repr(C, align(8))]
struct Buffer {
    index: u32,
    queue: u32,
    bytesused: u32,
    flags: u32,
    field: u32,
    times: [u32; 9],
    sequence: u32,
    memory: u32,
    offset: u32,
    offset_rest: u32,
    length: u32,
    rest: [u32; 3],
}

const VIDIOC_QUERYCAP: libc::Ioctl = 0x8068_5600_u32 as libc::Ioctl;
const VIDIOC_S_FMT: libc::Ioctl = 0xc0d0_5605_u32 as libc::Ioctl;
const VIDIOC_REQBUFS: libc::Ioctl = 0xc014_5608_u32 as libc::Ioctl;
const VIDIOC_QUERYBUF: libc::Ioctl = 0xc058_5609_u32 as libc::Ioctl;
const VIDIOC_QBUF: libc::Ioctl = 0xc058_560f_u32 as libc::Ioctl;
const VIDIOC_DQBUF: libc::Ioctl = 0xc058_5611_u32 as libc::Ioctl;
const VIDIOC_STREAMON: libc::Ioctl = 0x4004_5612_u32 as libc::Ioctl;
const CAPTURE: u32 = 1;
const OUTPUT: u32 = 2;
const V4L2_MEMORY_MMAP: u32 = 1;

const WIDTH: u32 = 64;
const HEIGHT: u32 = 64;

/// Each is made of ones and zeros only, so that there is nothing to round.
const RED: ([u8; 3], u16) = ([0xff, 0, 0], 0xf800);
const BLUE: ([u8; 3], u16) = ([0, 0, 0xff], 0x001f);

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
    let node = vim2m()?;
    let (source, output_bytes) = prepare(&node, OUTPUT, b"RGB3")?;
    let (made, capture_bytes) = prepare(&node, CAPTURE, b"RGBP")?;
    let pixels = (WIDTH * HEIGHT) as usize;
    if output_bytes < pixels * 3 || capture_bytes < pixels * 2 {
        return Err(format!("buffers of {output_bytes} and {capture_bytes} B").into());
    }
    for pixel in 0..pixels {
        let (bytes, _) = if pixel % 2 == 0 { RED } else { BLUE };
        for (at, byte) in bytes.into_iter().enumerate() {
            // SAFETY: within the mapping, whose length was checked above.
            unsafe { source.wrapping_add(pixel * 3 + at).write_volatile(byte) };
        }
    }
    for queue in [OUTPUT, CAPTURE] {
        let mut buffer = described(queue);
        buffer.bytesused = if queue == OUTPUT { output_bytes as u32 } else { 0 };
        call(&node, VIDIOC_QBUF, &mut buffer)?;
    }
    for mut queue in [OUTPUT, CAPTURE] {
        call(&node, VIDIOC_STREAMON, &mut queue)?;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = call(&node, VIDIOC_DQBUF, &mut described(CAPTURE)) {
        if error.kind() != io::ErrorKind::WouldBlock || Instant::now() > deadline {
            return Err(format!("VIDIOC_DQBUF: {error}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut as_before = 0;
    for pixel in 0..pixels {
        // SAFETY: within the mapping, and each pixel is two bytes from its beginning on.
        let actual = unsafe { made.cast::<u16>().wrapping_add(pixel).read_volatile() };
        let (target, other) = if pixel % 2 == 0 { (RED.1, BLUE.1) } else { (BLUE.1, RED.1) };
        match u16::from_le(actual) {
            actual if actual == target => {}
            actual if actual == other && pixel % 2 == 1 => as_before += 1,
            actual => return Err(format!("pixel {pixel} is {actual:#06x}, which is neither red nor blue").into()),
        }
    }
    println!("{as_before} of {pixels} pixels have the colour of the one before; 0 would be right");
    Ok(as_before > 0)
}

/// The first node of vim2m, which waits for nothing.
fn vim2m() -> Result<File, Box<dyn Error>> {
    let mut nodes: Vec<PathBuf> = std::fs::read_dir("/dev")?.flatten().map(|entry| entry.path()).collect();
    nodes.retain(|path| path.to_string_lossy().starts_with("/dev/video"));
    nodes.sort();
    for path in nodes {
        let node = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path)?;
        let mut capability = Capability { driver: [0; 16], rest: [0; 88] };
        if call(&node, VIDIOC_QUERYCAP, &mut capability).is_ok() && capability.driver.starts_with(b"vim2m\0") {
            return Ok(node);
        }
    }
    Err("no video node is vim2m's".into())
}

/// Sets the format of a queue, and maps the one buffer that it is given; says where it lies, and how many bytes it has.
fn prepare(node: &File, queue: u32, code: &[u8; 4]) -> Result<(*mut u8, usize), Box<dyn Error>> {
    let pixelformat = u32::from_le_bytes(*code);
    let mut format = Format { queue, padding: 0, width: WIDTH, height: HEIGHT, pixelformat, rest: [0; 47] };
    call(node, VIDIOC_S_FMT, &mut format)?;
    if (format.width, format.height, format.pixelformat) != (WIDTH, HEIGHT, pixelformat) {
        return Err("it has no such frames".into());
    }
    call(node, VIDIOC_REQBUFS, &mut RequestBuffers { count: 1, queue, memory: V4L2_MEMORY_MMAP, rest: [0; 2] })?;
    let mut buffer = described(queue);
    call(node, VIDIOC_QUERYBUF, &mut buffer)?;
    let (length, access) = (buffer.length as usize, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping, which nothing else knows and nobody takes away before the program ends.
    let mapped = unsafe {
        libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, node.as_raw_fd(), buffer.offset.into())
    };
    match mapped {
        libc::MAP_FAILED => Err(io::Error::last_os_error().into()),
        mapped => Ok((mapped.cast(), length)),
    }
}

/// The first buffer of a queue.
fn described(queue: u32) -> Buffer {
    Buffer {
        index: 0,
        queue,
        bytesused: 0,
        flags: 0,
        field: 1,
        times: [0; 9],
        sequence: 0,
        memory: V4L2_MEMORY_MMAP,
        offset: 0,
        offset_rest: 0,
        length: 0,
        rest: [0; 3],
    }
}

fn call<T>(node: &File, number: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: each number above is that of a call that reads and writes the structure that it is used with, or its first bytes.
    let status = unsafe { libc::ioctl(node.as_raw_fd(), number, std::ptr::from_mut(argument)) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
