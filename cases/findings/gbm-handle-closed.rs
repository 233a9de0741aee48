//! GBM: does a bo outlive another one of the same buffer, on the same device?
//!
//! On each card: makes a bo, takes its dma-buf in twice, destroys what was taken in, and maps what is left each time.
//! Needs a card without a driver of its own in Mesa, such as vgem.
//!
//! Exit status: 0 the defect is there, 1 it is not, 2 it could not be tried.
//!
//! Run it with `rust-script FILE`, or as `src/main.rs` of a package with
//!
//! ```cargo
//! [dependencies]
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

/// In pixels.
const SIDE: u32 = 64;

/// `GBM_BO_IMPORT_FD_MODIFIER`.
const IMPORT_FD_MODIFIER: u32 = 0x5504;

/// `DRM_FORMAT_MOD_LINEAR`.
const LINEAR: u64 = 0;

/// `GBM_BO_TRANSFER_READ`.
const READ: u32 = 1;

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
    for (path, gbm) in Gbm::all("card")? {
        let path = path.display();
        let made = gbm.make();
        if made.is_null() {
            println!("{path}: it makes no such bo");
            continue;
        }
        let dmabuf = gbm.export(made)?;
        let (first, second) = (gbm.take(&dmabuf), gbm.take(&dmabuf));
        if first.is_null() || second.is_null() {
            println!("{path}: it does not take in what it made");
            continue;
        }
        tried = true;
        let mut look = |when: &str, bo: *mut c_void| {
            let mapped = gbm.map(bo);
            let said = mapped.as_ref().err().map_or_else(|| "mapped".to_owned(), ToString::to_string);
            println!("{path}: {when}: {said}");
            defect |= mapped.is_err();
        };
        look("the bo that was made", made);
        gbm.destroy(first);
        look("the bo that was made, when one that was taken in is destroyed", made);
        look("the other one that was taken in", second);
        gbm.destroy(second);
        look("the bo that was made, when both are destroyed", made);
        gbm.destroy(made);
    }
    if tried { Ok(defect) } else { Err("no card makes a bo and takes it in".into()) }
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

    fn of<T: Copy>(&self, name: &str) -> T {
        function(&self.library, name).expect("libgbm has it since 2013, and by plane since 2017")
    }

    /// A new bo, or nothing.
    fn make(&self) -> *mut c_void {
        let create: unsafe extern "C" fn(*mut c_void, u32, u32, u32, *const u64, u32) -> *mut c_void =
            self.of("gbm_bo_create_with_modifiers");
        let linear = [LINEAR];
        // SAFETY: the device is live, and the list has one entry.
        unsafe { create(self.device, SIDE, SIDE, XR24, linear.as_ptr(), 1) }
    }

    fn export(&self, bo: *mut c_void) -> io::Result<OwnedFd> {
        let export: unsafe extern "C" fn(*mut c_void) -> i32 = self.of("gbm_bo_get_fd");
        // SAFETY: the bo is live.
        match unsafe { export(bo) } {
            // SAFETY: each call makes a new fd, which is the caller's.
            fd if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes the buffer in; nothing if it is refused.
    fn take(&self, dmabuf: &OwnedFd) -> *mut c_void {
        let import: unsafe extern "C" fn(*mut c_void, u32, *mut c_void, u32) -> *mut c_void = self.of("gbm_bo_import");
        let mut data = Import {
            width: SIDE,
            height: SIDE,
            format: XR24,
            num_fds: 1,
            fds: [dmabuf.as_raw_fd(), -1, -1, -1],
            strides: [SIDE as i32 * 4, 0, 0, 0],
            offsets: [0; 4],
            modifier: LINEAR,
        };
        // SAFETY: the device is live, the structure is that of this type of import, and its descriptor is open.
        unsafe { import(self.device, IMPORT_FD_MODIFIER, (&raw mut data).cast(), 0) }
    }

    /// Maps all of the bo, and unmaps it.
    fn map(&self, bo: *mut c_void) -> io::Result<()> {
        type Map =
            unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32, u32, *mut u32, *mut *mut c_void) -> *mut c_void;
        let map: Map = self.of("gbm_bo_map");
        let unmap: unsafe extern "C" fn(*mut c_void, *mut c_void) = self.of("gbm_bo_unmap");
        let (mut stride, mut cookie) = (0, std::ptr::null_mut());
        // SAFETY: the bo is live, and both answers have room.
        let start = unsafe { map(bo, 0, 0, SIDE, SIDE, READ, &raw mut stride, &raw mut cookie) };
        if start.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: mapped just now.
        unsafe { unmap(bo, cookie) };
        Ok(())
    }

    fn destroy(&self, bo: *mut c_void) {
        let destroy: unsafe extern "C" fn(*mut c_void) = self.of("gbm_bo_destroy");
        // SAFETY: live until now, and nobody else has it.
        unsafe { destroy(bo) };
    }
}

/// A function of the library, of the type that `gbm.h` declares.
fn function<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: every caller gives that type.
    Ok(*unsafe { library.get::<T>(name.as_bytes()) }?)
}
