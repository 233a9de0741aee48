//! Buffers of a DRM device through libgbm, which is loaded when it is first needed.
//!
//! The gbm crate links the library, so that a program with it neither builds nor starts where there is none. This program
//! must start everywhere, and say what is missing; it needs five functions.
//!
//! Source: `gbm.h` of Mesa, which has kept these functions since 2011. A device may be used by one thread at a time.
#![expect(unsafe_code, reason = "calls libgbm through pointers to its functions")]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock, PoisonError};

use drm::Device as _;
use libloading::Library;
use rustix::fs::{Mode, OFlags};

use crate::dmabuf::Dmabuf;
use crate::error::{Error, Result};
use crate::format::Fourcc;

const LIBRARY: &str = "libgbm.so.1";

/// `GBM_BO_USE_LINEAR`.
const USE_LINEAR: u32 = 1 << 4;

/// The functions, as `gbm.h` declares them.
struct Functions {
    create_device: unsafe extern "C" fn(c_int) -> *mut c_void,
    device_destroy: unsafe extern "C" fn(*mut c_void),
    bo_create: unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32) -> *mut c_void,
    bo_get_fd: unsafe extern "C" fn(*mut c_void) -> c_int,
    bo_destroy: unsafe extern "C" fn(*mut c_void),
    _library: Library,
}

/// The library, loaded once: drivers do not expect to be unloaded.
fn functions() -> Result<&'static Functions> {
    static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| load().map_err(|error| error.to_string()));
    loaded.as_ref().map_err(|why| {
        let install = "install GBM (Debian libgbm1, Fedora mesa-libgbm, Arch mesa)";
        Error::missing("loading a library", LIBRARY, format!("{why}; {install}"))
    })
}

fn load() -> Result<Functions, libloading::Error> {
    // SAFETY: a system library whose initialisers are made to run in any process that links it.
    let library = unsafe { Library::new(LIBRARY) }?;
    // SAFETY: the types are those of `gbm.h`, here and below.
    let create_device = *unsafe { library.get(b"gbm_create_device") }?;
    // SAFETY: as above.
    let device_destroy = *unsafe { library.get(b"gbm_device_destroy") }?;
    // SAFETY: as above.
    let bo_create = *unsafe { library.get(b"gbm_bo_create") }?;
    // SAFETY: as above.
    let bo_get_fd = *unsafe { library.get(b"gbm_bo_get_fd") }?;
    // SAFETY: as above.
    let bo_destroy = *unsafe { library.get(b"gbm_bo_destroy") }?;
    Ok(Functions { create_device, device_destroy, bo_create, bo_get_fd, bo_destroy, _library: library })
}

/// A DRM node.
#[derive(Debug)]
struct Node(OwnedFd);

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Node {}

/// A DRM device with libgbm's driver for it.
pub(crate) struct Gbm {
    raw: Mutex<NonNull<c_void>>,
    functions: &'static Functions,
    path: PathBuf,
    driver: String,
    /// Closed after the device, which keeps to this fd.
    _node: Node,
}

// SAFETY: a `gbm_device` belongs to no thread; the lock lets one at a time use it.
unsafe impl Send for Gbm {}
// SAFETY: as above.
unsafe impl Sync for Gbm {}

impl Gbm {
    /// The largest buffer that is asked for, in bytes: rows and height that 3D drivers still take.
    pub(crate) const LARGEST: u64 = Self::LONG_ROW * Self::MOST_ROWS;

    const MOST_ROWS: u64 = 16384;

    /// Bytes in a row.
    const ROW: u64 = 4096;

    /// Bytes in a row of a buffer that would need too many rows otherwise.
    const LONG_ROW: u64 = 4 * Self::ROW;

    /// Opens the DRM node `path`.
    ///
    /// # Errors
    /// There is no libgbm; we may not open the node; or libgbm has no driver for it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let object = || path.display().to_string();
        let functions = functions()?;
        let fd = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::new("open", object(), errno))?;
        let node = Node(fd);
        let version = node.get_driver().map_err(|error| Error::new("DRM_IOCTL_VERSION", object(), error))?;
        let driver = version.name().to_string_lossy().into_owned();
        // Whoever opens a card first is its master, which is the screen's to be; a render node has none.
        let _ = node.release_master_lock();
        // SAFETY: the fd is open, and stays so for as long as the device lives.
        let raw = unsafe { (functions.create_device)(node.0.as_raw_fd()) };
        let raw = NonNull::new(raw)
            .ok_or_else(|| Error::missing("gbm_create_device", object(), "libgbm has no driver for this device"))?;
        Ok(Self { raw: Mutex::new(raw), functions, path: path.to_owned(), driver, _node: node })
    }

    /// Kernel driver.
    pub(crate) fn driver(&self) -> &str {
        &self.driver
    }

    /// A buffer of at least `bytes` bytes, exported.
    ///
    /// # Errors
    /// The driver refuses, or does not export what it made.
    pub(crate) fn of_bytes(&self, bytes: u64) -> Result<Dmabuf> {
        let row = if bytes <= Self::ROW * Self::MOST_ROWS { Self::ROW } else { Self::LONG_ROW };
        let (width, rows) = ((row / 4) as u32, bytes.div_ceil(row).min(Self::MOST_ROWS) as u32);
        let object =
            || format!("{} ({}), {bytes} B as XR24 LINEAR {width}x{rows} px", self.path.display(), self.driver);
        let device = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the device is live, and ours alone while it is locked.
        let bo = unsafe { (self.functions.bo_create)(device.as_ptr(), width, rows, Fourcc::XR24.0, USE_LINEAR) };
        let Some(bo) = NonNull::new(bo) else {
            return Err(Error::new("gbm_bo_create", object(), std::io::Error::last_os_error()));
        };
        // SAFETY: the buffer was just made.
        let fd = unsafe { (self.functions.bo_get_fd)(bo.as_ptr()) };
        let failed = std::io::Error::last_os_error();
        // SAFETY: nobody else has the buffer; the dma-buf keeps its memory.
        unsafe { (self.functions.bo_destroy)(bo.as_ptr()) };
        if fd < 0 {
            return Err(Error::new("gbm_bo_get_fd", object(), failed));
        }
        // SAFETY: each successful call makes a new fd that belongs to the caller.
        Dmabuf::from_fd(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Drop for Gbm {
    fn drop(&mut self) {
        let raw = self.raw.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the device is live, and its buffers were destroyed as soon as they had been exported.
        unsafe { (self.functions.device_destroy)(raw.as_ptr()) };
    }
}
