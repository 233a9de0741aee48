#![expect(unsafe_code, reason = "calls libgbm through pointers to its functions")]
//! A DRM device through libgbm: buffers that its driver lays out, and buffers of others that it takes in.
//!
//! The gbm crate links the library, so that a program with it neither builds nor starts where there is none. This program
//! must start everywhere, and say what is missing, so it loads the library when it is first needed.
//!
//! GBM tells which formats a device supports for which use, and how many planes a format has with a modifier. It tells neither
//! which modifiers there are, nor what pitch or offset it takes, which is tried.
//!
//! Source: `gbm.h` and `gbm.c` of Mesa.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drm::Device as _;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, px};
use crate::inventory::access;
use crate::restart::again;
use crate::rows::Rows;
use crate::share::constraints::{Constraints, FormatModifier};

mod bo;
mod find;
mod functions;
mod usage;

pub(crate) use bo::KEPT;
pub use bo::{AskedImport, Bo, How};
pub(crate) use find::devices;
pub use find::{GbmDevice, NodeKind};
pub use usage::Usage;

use functions::{Functions, functions};

/// A DRM node with libgbm's driver for it; clones are the same one.
#[derive(Clone)]
pub struct Gbm(Arc<Inner>);

struct Inner {
    raw: Mutex<NonNull<c_void>>,
    functions: &'static Functions,
    path: PathBuf,
    driver: String,
    backend: String,
    rows: Rows,
    /// Closed after the device, which keeps to this fd.
    _node: Node,
}

// SAFETY: a `gbm_device` belongs to no thread; the lock lets one at a time use it.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// A DRM node.
#[derive(Debug)]
struct Node(OwnedFd);

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Node {}

impl Gbm {
    /// The largest buffer that is asked for as bytes: rows and height that 3D drivers still take.
    pub(crate) const LARGEST: u64 = Self::LONG_ROW * Self::MOST_ROWS;

    const MOST_ROWS: u64 = 16384;

    /// Bytes in a row.
    const ROW: u64 = 4096;

    /// Bytes in a row of a buffer that would need too many rows otherwise.
    const LONG_ROW: u64 = 4 * Self::ROW;

    /// Opens the DRM node `path`, and does not stay its master: that is the screen's to be.
    ///
    /// # Errors
    /// There is no libgbm; we may not open the node, and who may; or libgbm has no driver for it.
    pub fn open(path: &Path) -> Result<Self> {
        let object = || path.display().to_string();
        let functions = functions()?;
        let fd = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| closed(path, errno))?;
        let node = Node(fd);
        let version = again(|| node.get_driver()).map_err(|error| Error::new("DRM_IOCTL_VERSION", object(), error))?;
        let driver = version.name().to_string_lossy().into_owned();
        // Whoever opens a card first is its master; a render node has none, and says so.
        let _ = again(|| node.release_master_lock());
        // SAFETY: the fd is open, and stays so for as long as the device lives.
        let raw = unsafe { (functions.create_device)(node.0.as_raw_fd()) };
        let raw = NonNull::new(raw)
            .ok_or_else(|| Error::missing("gbm_create_device", object(), "libgbm has no driver for this device"))?;
        // SAFETY: the device was just made.
        let name = NonNull::new(unsafe { (functions.backend_name)(raw.as_ptr()) }.cast_mut());
        // SAFETY: a text that belongs to the device.
        let backend = name.map(|name| unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned());
        let inner = Inner {
            raw: Mutex::new(raw),
            functions,
            path: path.to_owned(),
            driver,
            backend: backend.unwrap_or_default(),
            rows: Rows::default(),
            _node: node,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Kernel driver.
    pub fn driver(&self) -> &str {
        &self.0.driver
    }

    /// What libgbm calls the driver of its own that it took, such as `drm`.
    pub fn backend(&self) -> &str {
        &self.0.backend
    }

    /// The device node.
    pub fn node(&self) -> &Path {
        &self.0.path
    }

    /// Whether it closes no GEM handle of what it took in, so that every such buffer stays until the node is closed: a finding,
    /// `cases/findings/gbm-render-node-leak.md`, which `ownership::gbm_lets_go_of_what_it_took_in` claims.
    pub(crate) fn keeps_what_it_took_in(&self) -> bool {
        let is_render = self.node().file_name().is_some_and(|name| name.to_string_lossy().starts_with("renderD"));
        is_render && self.driver() == "vgem"
    }

    /// What verdicts call it: `gbm (renderD128)`.
    pub fn name(&self) -> String {
        format!("gbm ({})", self.node().file_name().unwrap_or_default().to_string_lossy())
    }

    /// Whether the driver says that it has buffers of `fourcc` for `usage`.
    pub fn supports(&self, fourcc: Fourcc, usage: Usage) -> bool {
        // SAFETY: the device is live, and ours alone while it is locked.
        unsafe { (self.0.functions.is_format_supported)(self.lock().as_ptr(), fourcc.0, usage.0) != 0 }
    }

    /// How many planes the driver says that `fourcc` has with `modifier`; `None` if it says that there is no such pair.
    ///
    /// # Errors
    /// A count that no driver may answer.
    pub fn planes(&self, fourcc: Fourcc, modifier: Modifier) -> Result<Option<u32>> {
        // SAFETY: as above.
        let count = unsafe { (self.0.functions.plane_count_of)(self.lock().as_ptr(), fourcc.0, modifier.0) };
        match count {
            -1 => Ok(None),
            1..=4 => Ok(Some(count.unsigned_abs())),
            _ => {
                let object = self.object(format!("{fourcc} {modifier}"));
                let why = format!("{count} planes; 1 to 4, or -1 for a pair that there is not, would be valid");
                Err(Error::answer("gbm_device_get_format_modifier_plane_count", object, why))
            }
        }
    }

    /// What it needs of a frame of one of `fourccs`, of this width, in memory of one of `heaps`, if that is still to be chosen:
    /// LINEAR ones, since GBM lists no modifiers, and LINEAR is the one that another device can be expected to know. Which rows it
    /// takes is tried.
    ///
    /// # Errors
    /// It answers what no driver may answer, or can't be asked.
    pub fn constraints(&self, fourccs: &[Fourcc], width: u32, heaps: &[String]) -> Result<Constraints> {
        let mut formats = Vec::new();
        for &fourcc in fourccs.iter().filter(|fourcc| self.supports(**fourcc, Usage::default())) {
            let modifier = Modifier::LINEAR;
            let planes = self.planes(fourcc, modifier)?;
            formats.extend(planes.map(|planes| FormatModifier { fourcc, modifier, planes }));
        }
        let mut found = Constraints::of(formats);
        let refuses = |shared: &SharedFrame| match self.import(shared, Usage::default()) {
            Ok(_) => Ok(None),
            Err(error) if is_layout_refused(&error) => Ok(Some(error)),
            Err(error) => Err(error),
        };
        self.0.rows.add_to(&mut found, (width, heaps), refuses, || self.takes_one_of_its_own().is_ok())?;
        Ok(found)
    }

    fn takes_one_of_its_own(&self) -> Result<()> {
        let frame = Frame::linear(Fourcc::XR24, px((Self::ROW / 4) as u32, 1), Plane { offset: 0, pitch: Self::ROW });
        let shared = SharedFrame { dmabuf: self.of_bytes(Self::ROW)?, frame };
        self.import(&shared, Usage::default()).map(drop)
    }

    /// A buffer of at least `bytes` bytes, exported.
    ///
    /// # Errors
    /// The driver refuses, or does not export what it made.
    pub(crate) fn of_bytes(&self, bytes: u64) -> Result<Dmabuf> {
        let row = if bytes <= Self::ROW * Self::MOST_ROWS { Self::ROW } else { Self::LONG_ROW };
        let (width, rows) = ((row / 4) as u32, bytes.div_ceil(row).min(Self::MOST_ROWS) as u32);
        let made = self.create(Fourcc::XR24, px(width, rows), &How::Plain(Usage::LINEAR))?;
        made.export_bytes()
    }

    /// The `gbm_device`, for an EGL display on it. It lives as long as any clone of `self`.
    pub(crate) fn raw(&self) -> *mut c_void {
        self.lock().as_ptr()
    }

    /// The device, for one thread at a time.
    fn lock(&self) -> MutexGuard<'_, NonNull<c_void>> {
        self.0.raw.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device's name and `what`, as the object of an error.
    fn object(&self, what: impl fmt::Display) -> String {
        format!("{} ({}), {what}", self.node().display(), self.driver())
    }
}

/// Whether `error` is that a driver does not take a frame in, which may be for where its rows lie: `gbm_bo_import` documents no errno,
/// and ENOSYS is what Mesa's backend sets where its driver does not take one.
pub(crate) fn is_layout_refused(error: &Error) -> bool {
    error.is_errno(Errno::INVAL) || error.is_errno(Errno::NOSYS)
}

/// Why a node does not open: what this machine or this user lacks is told apart from what fails.
fn closed(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NXIO | Errno::NODEV => {
            let why = access::refused("open", path, &errno.into(), "the node has gone");
            Error::missing("opening a GBM device", path.display().to_string(), why)
        }
        _ => Error::new("open", path.display().to_string(), errno),
    }
}

impl fmt::Debug for Gbm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gbm({}, {})", self.node().display(), self.driver())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let raw = self.raw.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the device is live; its buffers and EGL displays keep it so, and there is none any more.
        unsafe { (self.functions.device_destroy)(raw.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn a_node_that_may_not_be_opened_is_a_lack_and_one_that_fails_is_not() {
        let node = Path::new("/dev/null");
        let error = closed(node, Errno::ACCESS);
        assert!(matches!(error.cause, Cause::Missing(_)), "{error:?}");
        assert!(error.to_string().contains("open /dev/null: EACCES (Permission denied); "), "{error}");
        let error = closed(Path::new("/dev/dri/card77"), Errno::NOENT);
        assert!(
            matches!(error.cause, Cause::Missing(_)) && error.to_string().ends_with("the node has gone"),
            "{error}"
        );
        assert!(closed(node, Errno::MFILE).is_errno(Errno::MFILE));
    }
}
