//! GBM: does gbm_bo_create return NULL and leave errno as it was?
//!
//! Asks for a buffer in RGBA8888 (RA24), and for one with a modifier of another vendor; where one is refused, errno has to say why.
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
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use libloading::Library;

const RA24: u32 = u32::from_le_bytes(*b"RA24");
const XR24: u32 = u32::from_le_bytes(*b"XR24");
const LINEAR: u32 = 16;

/// A modifier of a vendor that `drm_fourcc.h` has not.
const FOREIGN: u64 = 0x7e00_0000_0000_0001;

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
        let plain = gbm.makes(250, 130, RA24, LINEAR)?;
        let foreign = gbm.makes_with(250, 130, XR24, FOREIGN)?;
        for (what, (made, errno)) in [("RA24 LINEAR", plain), ("XR24 with a foreign modifier", foreign)] {
            println!("{}: {what} is made: {made}, errno {errno}", path.display());
            tried |= !made;
            defect |= !made && errno == 0;
        }
    }
    if tried { Ok(defect) } else { Err("nothing of it is refused".into()) }
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

    /// Whether a buffer can be made, and errno, which is 0 before.
    fn makes(&self, width: u32, height: u32, format: u32, usage: u32) -> Result<(bool, i32), Box<dyn Error>> {
        let create: unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32) -> *mut c_void =
            function(&self.library, "gbm_bo_create")?;
        set_errno(0);
        // SAFETY: the device is live.
        let bo = unsafe { create(self.device, width, height, format, usage) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Ok((!bo.is_null(), errno))
    }

    /// The same, with one modifier.
    fn makes_with(&self, width: u32, height: u32, format: u32, modifier: u64) -> Result<(bool, i32), Box<dyn Error>> {
        let create: unsafe extern "C" fn(*mut c_void, u32, u32, u32, *const u64, u32) -> *mut c_void =
            function(&self.library, "gbm_bo_create_with_modifiers")?;
        set_errno(0);
        // SAFETY: the device is live, and the list has one modifier.
        let bo = unsafe { create(self.device, width, height, format, &modifier, 1) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Ok((!bo.is_null(), errno))
    }
}

/// A function of the library, of the type that `gbm.h` declares.
fn function<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: every caller gives that type.
    Ok(*unsafe { library.get::<T>(name.as_bytes()) }?)
}

fn set_errno(value: i32) {
    // SAFETY: there is an errno in every thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: it is this thread's.
    unsafe { *place = value };
}
