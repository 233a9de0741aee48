//! GBM: is every format supported on a render node where no buffer can be made?
//!
//! On each render node: asks whether XR24 is supported for rendering, and then for such a buffer. Needs a device without a driver
//! of its own in Mesa, such as vgem.
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

const XR24: u32 = u32::from_le_bytes(*b"XR24");
const RENDERING: u32 = 4;
const LINEAR: u32 = 16;

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
        let supported = gbm.is_supported(XR24, RENDERING | LINEAR)?;
        let (made, errno) = gbm.makes(250, 130, XR24, RENDERING | LINEAR)?;
        println!("{}: XR24 is supported: {supported}, is made: {made}, errno {errno}", path.display());
        tried |= supported;
        defect |= supported && !made;
    }
    if tried { Ok(defect) } else { Err("no render node says that it supports XR24".into()) }
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

    fn is_supported(&self, format: u32, usage: u32) -> Result<bool, Box<dyn Error>> {
        let ask: unsafe extern "C" fn(*mut c_void, u32, u32) -> i32 =
            function(&self.library, "gbm_device_is_format_supported")?;
        // SAFETY: the device is live.
        Ok(unsafe { ask(self.device, format, usage) } == 1)
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
