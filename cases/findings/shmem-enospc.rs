//! shmem: does it say ENOSPC instead of ENOMEM when an inode can't be allocated?
//!
//! Has each allocation in turn fail that `memfd_create()` makes, and `DRM_IOCTL_MODE_CREATE_DUMB` on cards whose objects are
//! shmem files. Needs root, and a kernel with CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS.
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
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

/// `struct drm_mode_create_dumb`.
#[repr(C)]
#[derive(Default)]
struct CreateDumb {
    height: u32,
    width: u32,
    bpp: u32,
    flags: u32,
    handle: u32,
    pitch: u32,
    size: u64,
}

const DRM_IOCTL_MODE_CREATE_DUMB: libc::Ioctl = 0xc020_64b2_u32 as libc::Ioctl;
const DRM_IOCTL_MODE_DESTROY_DUMB: libc::Ioctl = 0xc004_64b4_u32 as libc::Ioctl;

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
    prepare_faults()?;
    let mut defect = walk("memfd_create", || {
        // SAFETY: the name is a text that ends with 0.
        let fd = checked(unsafe { libc::memfd_create(c"repro".as_ptr(), 0) })?;
        // SAFETY: the call succeeded, so this descriptor is ours.
        checked(unsafe { libc::close(fd) }).map(drop)
    })?;
    for entry in std::fs::read_dir("/dev/dri").into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(card) = File::options().read(true).write(true).open(&path) else { continue };
        let create = || {
            let mut dumb = CreateDumb { height: 32, width: 64, bpp: 32, ..Default::default() };
            // SAFETY: the number is that of a call that reads and writes this structure.
            checked(unsafe { libc::ioctl(card.as_raw_fd(), DRM_IOCTL_MODE_CREATE_DUMB, &mut dumb) })?;
            // SAFETY: the structure of this call is the handle alone.
            checked(unsafe { libc::ioctl(card.as_raw_fd(), DRM_IOCTL_MODE_DESTROY_DUMB, &mut dumb.handle) }).map(drop)
        };
        match create() {
            Ok(()) => defect |= walk(&format!("DRM_IOCTL_MODE_CREATE_DUMB on {}", path.display()), create)?,
            Err(error) => println!("{}: {error}; left out", path.display()),
        }
    }
    Ok(defect)
}

/// Whether `step` says `ENOSPC` when one of its allocations fails.
fn walk(what: &str, step: impl Fn() -> io::Result<()>) -> Result<bool, Box<dyn Error>> {
    step()?;
    let mut defect = false;
    for nth in 1..1000 {
        let (done, failed) = failing(nth, &step)?;
        match done {
            Ok(()) if !failed => return Ok(defect),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                println!("{what}: allocation {nth} fails: {error}; ENOMEM would be right");
                defect = true;
            }
            _ => {}
        }
    }
    Err(format!("{what}: no end of its allocations").into())
}

fn checked(status: i32) -> io::Result<i32> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(status) }
}

/// Has every allocation of the slab allocator be one that can fail, also one that may wait for memory.
fn prepare_faults() -> Result<(), Box<dyn Error>> {
    for (knob, value) in [("ignore-gfp-wait", "N"), ("cache-filter", "N"), ("verbose", "0")] {
        let path = format!("/sys/kernel/debug/failslab/{knob}");
        std::fs::write(&path, value).map_err(|error| {
            format!("{path}: {error}; needed are root, debugfs, CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS")
        })?;
    }
    Ok(())
}

/// Does `work` while the `nth` allocation that the kernel makes for it fails; also says whether there were so many.
fn failing<T>(nth: u32, work: impl FnOnce() -> T) -> io::Result<(T, bool)> {
    let mut file = File::options().read(true).write(true).open("/proc/thread-self/fail-nth")?;
    let mut left = [0; 16];
    write!(file, "{nth}")?;
    let done = work();
    let length = file.read_at(&mut left, 0);
    write!(file, "0")?;
    // What is left to count; 0 once it failed.
    Ok((done, left[..length?].trim_ascii() == b"0"))
}
