//! GBM: does it count planes for formats that it does not support?
//!
//! Asks for RG24 and BG24, LINEAR, whether they are supported for any use, and how many planes they have.
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
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use libloading::Library;

const SCANOUT: u32 = 1;
const CURSOR: u32 = 2;
const RENDERING: u32 = 4;
const WRITE: u32 = 8;
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
    for (path, gbm) in Gbm::all("card")? {
        for name in ["RG24", "BG24", "RX24", "XR24"] {
            let format = u32::from_le_bytes(name.as_bytes().try_into()?);
            let mut supported = false;
            for usage in [SCANOUT, CURSOR, RENDERING, WRITE, LINEAR] {
                supported |= gbm.is_supported(format, usage)?;
            }
            let planes = gbm.planes(format)?;
            println!("{}: {name} is supported: {supported}, planes of it in LINEAR: {planes}", path.display());
            tried |= !supported;
            defect |= !supported && planes > 0;
        }
    }
    if tried { Ok(defect) } else { Err("all of these formats are supported".into()) }
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

    fn planes(&self, format: u32) -> Result<i32, Box<dyn Error>> {
        let ask: unsafe extern "C" fn(*mut c_void, u32, u64) -> i32 =
            function(&self.library, "gbm_device_get_format_modifier_plane_count")?;
        // SAFETY: the device is live.
        Ok(unsafe { ask(self.device, format, 0) })
    }
}

/// A function of the library, of the type that `gbm.h` declares.
fn function<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: every caller gives that type.
    Ok(*unsafe { library.get::<T>(name.as_bytes()) }?)
}
