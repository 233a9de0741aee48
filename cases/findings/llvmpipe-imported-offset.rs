//! GBM with llvmpipe: is gbm_bo_get_offset 0 for a buffer that was imported with an offset?
//!
//! Imports a frame that begins at byte 65536 of its dma-buf, and asks where it begins.
//!
//! Exit status: 0 the defect is there, 1 it is not, 2 it could not be tried.
//!
//! Run it with `rust-script FILE`, or as `src/main.rs` of a package with
//!
//! ```cargo
//! [dependencies]
//! libc = "0.2"
//! libloading = "0.8"
//! ```
#![allow(unsafe_code, reason = "calls GBM")]

use std::error::Error;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use libloading::Library;

const XR24: u32 = u32::from_le_bytes(*b"XR24");

const OFFSET: i32 = 65536;

/// `struct gbm_import_fd_modifier_data`.
#[repr(C)]
struct ImportFdModifier {
    width: u32,
    height: u32,
    format: u32,
    count: u32,
    fds: [i32; 4],
    strides: [i32; 4],
    offsets: [i32; 4],
    modifier: u64,
}

const IMPORT_FD_MODIFIER: u32 = 0x5504;

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
    let dmabuf = udmabuf(65536 + (1024 * 130_usize).next_multiple_of(4096))?;
    let (mut tried, mut defect) = (false, false);
    for (path, gbm) in Gbm::all("card")? {
        let bo = gbm.import(dmabuf.as_raw_fd(), [250, 130], 1024, OFFSET)?;
        if bo.is_null() {
            println!("{}: it is refused", path.display());
            continue;
        }
        let ask: unsafe extern "C" fn(*mut c_void, i32) -> u32 = function(&gbm.library, "gbm_bo_get_offset")?;
        // SAFETY: the bo is live, and has this plane.
        let told = unsafe { ask(bo, 0) };
        println!("{}: imported with an offset of {OFFSET} B, {told} B told", path.display());
        tried = true;
        defect |= told != OFFSET as u32;
    }
    if tried { Ok(defect) } else { Err("no card takes it in".into()) }
}

/// libgbm, with a device.
struct Gbm {
    library: Library,
    device: *mut c_void,
    // Open as long as the device.
    _node: File,
}

impl Gbm {
    /// A device on each node of `/dev/dri` whose name begins so, and on which there can be one.
    fn all(prefix: &str) -> Result<Vec<(PathBuf, Self)>, Box<dyn Error>> {
        let mut nodes: Vec<PathBuf> = std::fs::read_dir("/dev/dri")?.flatten().map(|entry| entry.path()).collect();
        nodes.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
        nodes.sort();
        let mut devices = Vec::new();
        for path in nodes {
            // SAFETY: a system library, made to be loaded into any process.
            let library = unsafe { Library::new("libgbm.so.1") }?;
            let Ok(node) = File::options().read(true).write(true).open(&path) else { continue };
            let create: unsafe extern "C" fn(i32) -> *mut c_void = function(&library, "gbm_create_device")?;
            // SAFETY: the node is open, and kept so.
            let device = unsafe { create(node.as_raw_fd()) };
            if !device.is_null() {
                devices.push((path, Self { library, device, _node: node }));
            }
        }
        if devices.is_empty() { Err("GBM has no device here".into()) } else { Ok(devices) }
    }

    /// Takes in a LINEAR frame of one plane in a dma-buf; null if that is refused.
    fn import(
        &self,
        fd: i32,
        [width, height]: [u32; 2],
        stride: i32,
        offset: i32,
    ) -> Result<*mut c_void, Box<dyn Error>> {
        let import: unsafe extern "C" fn(*mut c_void, u32, *mut ImportFdModifier, u32) -> *mut c_void =
            function(&self.library, "gbm_bo_import")?;
        let mut data = ImportFdModifier {
            width,
            height,
            format: XR24,
            count: 1,
            fds: [fd, -1, -1, -1],
            strides: [stride, 0, 0, 0],
            offsets: [offset, 0, 0, 0],
            modifier: 0,
        };
        // SAFETY: the device is live, and the structure is that of this kind of import.
        Ok(unsafe { import(self.device, IMPORT_FD_MODIFIER, &mut data, 0) })
    }
}

/// A function of the library, of the type that `gbm.h` declares.
fn function<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: every caller gives that type.
    Ok(*unsafe { library.get::<T>(name.as_bytes()) }?)
}

/// A dma-buf of the pages of a memfd.
fn udmabuf(length: usize) -> io::Result<OwnedFd> {
    /// `struct udmabuf_create`.
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    const UDMABUF_CREATE: libc::Ioctl = 0x4018_7542;
    // SAFETY: the name is a text that ends with 0.
    let memfd = owned(unsafe { libc::memfd_create(c"repro".as_ptr(), libc::MFD_ALLOW_SEALING) })?;
    let memfd = File::from(memfd);
    memfd.set_len(length as u64)?;
    // SAFETY: this command takes a number.
    if unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let device = File::options().read(true).write(true).open("/dev/udmabuf")?;
    let create = Create { memfd: memfd.as_raw_fd() as u32, flags: 0, offset: 0, size: length as u64 };
    // SAFETY: the number is that of a call that reads this structure.
    owned(unsafe { libc::ioctl(device.as_raw_fd(), UDMABUF_CREATE, &create) })
}

/// The descriptor that a call returned.
fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so this descriptor is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
