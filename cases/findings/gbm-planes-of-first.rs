//! GBM: is each plane of a frame that was taken in handed on in its own dma-buf?
//!
//! On each node of a DRM device: takes in NV12 whose two planes are in two dma-bufs, and asks for the fd of each plane.
//! Needs udmabuf, and a device without a driver of its own in Mesa, such as vgem.
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

const NV12: u32 = u32::from_le_bytes(*b"NV12");

/// In pixels.
const SIDE: u32 = 64;

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
    for (path, gbm) in Gbm::all()? {
        let planes = [udmabuf()?, udmabuf()?];
        let Some(handed_on) = gbm.hands_on(&planes)? else {
            println!("{}: it does not take NV12 in", path.display());
            continue;
        };
        tried = true;
        for (n, (taken, given)) in planes.iter().zip(&handed_on).enumerate() {
            let (taken, given) = (inode(taken)?, inode(given)?);
            println!("{}: plane {n} was taken in as dma-buf {taken}, and is handed on as {given}", path.display());
            defect |= taken != given;
        }
    }
    if tried { Ok(defect) } else { Err("no device takes NV12 in".into()) }
}

fn inode(dmabuf: &OwnedFd) -> io::Result<u64> {
    Ok(File::from(dmabuf.try_clone()?).metadata()?.ino())
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
    /// A device on each node of `/dev/dri` on which there can be one.
    fn all() -> Result<Vec<(PathBuf, Self)>, Box<dyn Error>> {
        let mut nodes: Vec<PathBuf> = std::fs::read_dir("/dev/dri")?.flatten().map(|entry| entry.path()).collect();
        nodes.retain(|path| !path.is_dir());
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

    /// The fd of each plane of NV12 that was taken in from these; nothing if it is refused.
    fn hands_on(&self, planes: &[OwnedFd; 2]) -> Result<Option<[OwnedFd; 2]>, Box<dyn Error>> {
        let import: unsafe extern "C" fn(*mut c_void, u32, *mut c_void, u32) -> *mut c_void =
            function(&self.library, "gbm_bo_import")?;
        let fd_of: unsafe extern "C" fn(*mut c_void, i32) -> i32 = function(&self.library, "gbm_bo_get_fd_for_plane")?;
        let destroy: unsafe extern "C" fn(*mut c_void) = function(&self.library, "gbm_bo_destroy")?;
        let mut data = Import {
            width: SIDE,
            height: SIDE,
            format: NV12,
            num_fds: 2,
            fds: [planes[0].as_raw_fd(), planes[1].as_raw_fd(), -1, -1],
            strides: [SIDE as i32, SIDE as i32, 0, 0],
            offsets: [0; 4],
            modifier: 0,
        };
        // SAFETY: the device is live, the structure is that of this type of import, and its descriptors are open.
        let bo = unsafe { import(self.device, IMPORT_FD_MODIFIER, (&raw mut data).cast(), 0) };
        if bo.is_null() {
            return Ok(None);
        }
        // SAFETY: the bo is live, and has these planes; each fd is new.
        let fds = [0, 1].map(|plane| checked(unsafe { fd_of(bo, plane) }));
        // SAFETY: live until now, and nobody else has it.
        unsafe { destroy(bo) };
        let [first, second] = fds;
        // SAFETY: made just now, and nobody else's.
        let owned = [first?, second?].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Some(owned))
    }
}

/// A function of the library, of the type that `gbm.h` declares.
fn function<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: every caller gives that type.
    Ok(*unsafe { library.get::<T>(name.as_bytes()) }?)
}
