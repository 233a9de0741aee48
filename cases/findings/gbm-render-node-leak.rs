//! GBM: does a render node let go of a buffer that it took in?
//!
//! On each render node: imports a dma-buf, destroys the bo, closes the dma-buf, and looks for it in the kernel's list.
//! Needs root, debugfs on /sys/kernel/debug, udmabuf, and a device without a driver of its own in Mesa, such as vgem.
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
#![allow(unsafe_code, reason = "calls GBM and the kernel")]

use std::error::Error;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;

use libloading::Library;

const XR24: u32 = u32::from_le_bytes(*b"XR24");

/// `GBM_BO_IMPORT_FD_MODIFIER`.
const IMPORT_FD_MODIFIER: u32 = 0x5504;

const BYTES: u64 = 64 << 10;

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
    let (mut tried, mut defect) = (false, false);
    for (path, gbm) in Gbm::all("renderD")? {
        let dmabuf = udmabuf()?;
        let inode = File::from(dmabuf.try_clone()?).metadata()?.ino();
        if !gbm.takes(&dmabuf)? {
            println!("{}: it does not take the buffer", path.display());
            continue;
        }
        if !is_listed(inode)? {
            return Err(format!("the kernel's list of dma-bufs does not tell of {inode}, which is open").into());
        }
        drop(dmabuf);
        tried = true;
        let stays = is_listed(inode)?;
        println!("{}: bo destroyed, dma-buf {inode} closed; the kernel still has it: {stays}", path.display());
        defect |= stays;
    }
    if tried { Ok(defect) } else { Err("no render node takes the buffer".into()) }
}

/// Whether the kernel has a dma-buf of this inode.
fn is_listed(inode: u64) -> io::Result<bool> {
    let list = std::fs::read_to_string("/sys/kernel/debug/dma_buf/bufinfo")?;
    let of = |line: &str| line.split('\t').nth(5).and_then(|field| field.trim().parse::<u64>().ok()) == Some(inode);
    Ok(list.lines().any(of))
}

/// `struct gbm_import_fd_modifier_data`.
#[repr(C)]
struct Import {
    width: u32,
    height: u32,
    format: u32,
    num_fds: u32,
    fds: [i32; 4],
    strides: [i32; 4],
    offsets: [i32; 4],
    modifier: u64,
}

/// A dma-buf of pages of a memory file.
fn udmabuf() -> io::Result<OwnedFd> {
    /// `struct udmabuf_create`.
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    const CREATE: libc::c_ulong = 0x4018_7542;
    // SAFETY: the name ends with NUL.
    let memfd = checked(unsafe { libc::memfd_create(c"pages".as_ptr(), libc::MFD_ALLOW_SEALING) })?;
    // SAFETY: made just now.
    let memfd = unsafe { OwnedFd::from_raw_fd(memfd) };
    // SAFETY: numbers are all that it takes.
    checked(unsafe { libc::ftruncate(memfd.as_raw_fd(), BYTES as libc::off_t) })?;
    // SAFETY: as above.
    checked(unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) })?;
    let node = File::options().read(true).write(true).open("/dev/udmabuf")?;
    let create = Create { memfd: memfd.as_raw_fd() as u32, flags: 1, offset: 0, size: BYTES };
    // SAFETY: the structure is that of UDMABUF_CREATE, and lives until the call returns.
    let made = checked(unsafe { libc::ioctl(node.as_raw_fd(), CREATE, &raw const create) })?;
    // SAFETY: made just now.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

fn checked(status: i32) -> io::Result<i32> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(status) }
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

    /// Whether the device takes the buffer in; the bo is destroyed at once.
    fn takes(&self, dmabuf: &OwnedFd) -> Result<bool, Box<dyn Error>> {
        let import: unsafe extern "C" fn(*mut c_void, u32, *mut c_void, u32) -> *mut c_void =
            function(&self.library, "gbm_bo_import")?;
        let destroy: unsafe extern "C" fn(*mut c_void) = function(&self.library, "gbm_bo_destroy")?;
        let mut data = Import {
            width: 64,
            height: 64,
            format: XR24,
            num_fds: 1,
            fds: [dmabuf.as_raw_fd(), -1, -1, -1],
            strides: [256, 0, 0, 0],
            offsets: [0; 4],
            modifier: 0,
        };
        // SAFETY: the device is live, the structure is that of this type of import, and its descriptor is open.
        let bo = unsafe { import(self.device, IMPORT_FD_MODIFIER, (&raw mut data).cast(), 0) };
        if bo.is_null() {
            return Ok(false);
        }
        // SAFETY: made just now, and nobody else has it.
        unsafe { destroy(bo) };
        Ok(true)
    }
}

/// A function of the library, of the type that `gbm.h` declares.
fn function<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: every caller gives that type.
    Ok(*unsafe { library.get::<T>(name.as_bytes()) }?)
}
