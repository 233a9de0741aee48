//! An open card node, and RAII for what we make on it: GEM handles, framebuffers, property blobs.
//!
//! Source: "GEM - Graphics Execution Manager" and "PRIME Buffer Sharing" in the kernel's DRM memory management
//! documentation.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use drm::DriverCapability;
use drm::control::Device as _;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::commit::{Flips, own_fd};
use super::handles::{Made, Strays, named, told};
use super::syncobj::Held;
use super::taken::Highest;
use crate::dmabuf::{Dmabuf, SharedFrame, SharedPlanes};
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size};
use crate::restart::again;
use crate::{ledger, node};

/// The ioctl that makes a dumb buffer.
const CREATE_DUMB: &str = "DRM_IOCTL_MODE_CREATE_DUMB";

/// The ioctl that makes a framebuffer.
pub(super) const ADDFB2: &str = "DRM_IOCTL_MODE_ADDFB2";

/// An open card node.
#[derive(Debug)]
pub(super) struct Card {
    fd: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) driver: String,
    /// Of the driver: major, minor, patch level.
    pub(super) version: (i32, i32, i32),
    /// How often each GEM handle is in use: importing a buffer that the card already knows yields the same handle
    /// again, and one close ends it for all.
    pub(super) gems: Mutex<HashMap<u32, usize>>,
    pub(super) highest_gem: Highest,
    pub(super) framebuffers: Mutex<Made>,
    /// The same of handles of syncobjs.
    pub(super) syncobjs: Held,
    /// Whether something was made since [`Self::imbalance`] was asked.
    pub(super) touched: AtomicBool,
    /// What was told of already, which is no finding of later cases.
    pub(super) told: Mutex<Strays>,
    pub(super) flips: Flips,
    /// Whether it shows something: vgem and render nodes do not.
    has_display: bool,
    /// Whether framebuffers have modifiers (`DRM_CAP_ADDFB2_MODIFIERS`). Without, all of them lie as LINEAR is, unless the driver
    /// has told the buffer otherwise.
    pub(super) has_modifiers: bool,
}

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl drm::Device for Card {}
impl drm::control::Device for Card {}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.has_display { "screen" } else { "card" }, self.driver)
    }
}

impl Card {
    pub(super) fn new(fd: OwnedFd, path: &Path) -> Result<Self> {
        let mut card = Self {
            fd,
            path: path.to_owned(),
            driver: String::new(),
            version: (0, 0, 0),
            gems: Mutex::default(),
            highest_gem: Highest::default(),
            framebuffers: Mutex::default(),
            syncobjs: Held::default(),
            touched: AtomicBool::new(false),
            told: Mutex::default(),
            flips: Flips::default(),
            has_display: true,
            has_modifiers: false,
        };
        let version = again(|| drm::Device::get_driver(&card))
            .map_err(|error| Error::new("DRM_IOCTL_VERSION", path.display().to_string(), error))?;
        card.driver = version.name().to_string_lossy().into_owned();
        card.version = version.version;
        card.has_display = again(|| card.resource_handles()).is_ok();
        // A card that has never heard of the question has none.
        card.has_modifiers = again(|| drm::Device::get_driver_capability(&card, DriverCapability::AddFB2Modifiers))
            .is_ok_and(|told| told == 1);
        Ok(card)
    }

    /// Opens `node` without staying its master.
    pub(super) fn open(node: &Path) -> Result<Self> {
        let fd = node::open(node, OFlags::RDWR)?;
        let card = Self::new(fd, node)?;
        // Whoever opens a card first is its master, which is the screen's to be. If somebody else is, there is nothing to
        // give back, and the answer says so.
        let _ = again(|| drm::Device::release_master_lock(&card));
        Ok(card)
    }

    /// Whether `DRM_IOCTL_MODE_ADDFB2` is to be told `modifier`: a card without modifiers takes LINEAR frames without a word.
    pub(super) fn is_told(&self, modifier: Modifier) -> bool {
        modifier != Modifier::INVALID && (self.has_modifiers || modifier != Modifier::LINEAR)
    }

    /// An error of `op` on this card.
    pub(super) fn error(&self, op: &'static str, error: std::io::Error) -> Error {
        Error::new(op, self.to_string(), error)
    }

    /// A new dumb buffer, exported. Its GEM handle is closed again: the dma-buf alone owns the memory.
    pub(super) fn dumb(&self, fourcc: Fourcc, size: Size) -> Result<SharedFrame> {
        let object = || format!("{self}, {fourcc} {size}");
        let Some(pixel) = fourcc.pixel() else {
            return Err(Error::input(CREATE_DUMB, object(), "not a packed RGB format known here"));
        };
        let (dmabuf, pitch) = match self.create_dumb(size.width, size.height, pixel.bytes * 8, object) {
            // Many drivers make none but of 8, 16 and 32 bits. A row of 32 bits each has the same bytes.
            Err(error)
                if error.op == CREATE_DUMB && error.is_errno(Errno::INVAL) && ![1, 2, 4].contains(&pixel.bytes) =>
            {
                self.create_dumb((size.width * pixel.bytes).div_ceil(4), size.height, 32, object)
            }
            made => made,
        }?;
        Ok(SharedFrame { dmabuf, frame: Frame::linear(fourcc, size, Plane { offset: 0, pitch }) })
    }

    /// A new dumb buffer of `width` x `height` px with `bits` each, exported, with its pitch in bytes.
    pub(super) fn create_dumb(
        &self,
        width: u32,
        height: u32,
        bits: u32,
        object: impl Fn() -> String,
    ) -> Result<(Dmabuf, u64)> {
        self.touched.store(true, Ordering::Relaxed);
        let created = again(|| drm_ffi::mode::dumbbuffer::create(self.as_fd(), width, height, bits, 0))
            .map_err(|error| Error::new(CREATE_DUMB, object(), error))?;
        self.highest_gem.note(created.handle);
        let exported = again(|| drm_ffi::gem::handle_to_fd(self.as_fd(), created.handle, drm::CLOEXEC | drm::RDWR));
        let exported = exported.map(|prime| own_fd(prime.fd));
        // Closing only fails for a handle that is none, and then nothing leaks.
        let closed = again(|| drm_ffi::mode::dumbbuffer::destroy(self.as_fd(), created.handle));
        let fd = exported.map_err(|error| Error::new("DRM_IOCTL_PRIME_HANDLE_TO_FD", object(), error))??;
        closed.map_err(|error| Error::new("DRM_IOCTL_MODE_DESTROY_DUMB", object(), error))?;
        let rows = u64::from(created.pitch) * u64::from(height);
        if created.size < rows {
            let why = format!("{} B for {height} rows of {} B", created.size, created.pitch);
            return Err(
                Error::answer(CREATE_DUMB, object(), why).like("a size that was computed of another pitch or height")
            );
        }
        let dmabuf = Dmabuf::from_fd(fd)?;
        ledger::step("DRM_IOCTL_PRIME_HANDLE_TO_FD (dumb buffer)", Some(dmabuf.inode()), &*self.driver);
        Ok((dmabuf, created.pitch.into()))
    }
}

/// A GEM handle of an imported dma-buf.
#[derive(Debug)]
pub(super) struct Gem {
    card: Arc<Card>,
    handle: u32,
}

impl Gem {
    pub(super) fn import(card: &Arc<Card>, buffer: &Dmabuf) -> Result<Self> {
        // Held over the call: a close by another thread between import and count would end our handle.
        let mut gems = card.gems.lock().unwrap_or_else(PoisonError::into_inner);
        card.touched.store(true, Ordering::Relaxed);
        let imported = again(|| drm_ffi::gem::fd_to_handle(card.as_fd(), buffer.fd.as_fd()))
            .map_err(|error| Error::new("DRM_IOCTL_PRIME_FD_TO_HANDLE", format!("{card}, {buffer}"), error))?;
        card.highest_gem.note(imported.handle);
        *gems.entry(imported.handle).or_default() += 1;
        drop(gems);
        ledger::step("DRM_IOCTL_PRIME_FD_TO_HANDLE", Some(buffer.inode()), &*card.driver);
        Ok(Self { card: card.clone(), handle: imported.handle })
    }

    pub(super) fn handle(&self) -> u32 {
        self.handle
    }

    pub(super) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// The dma-buf that the card has for its handle.
    pub(super) fn export(&self) -> Result<Dmabuf> {
        let exported = again(|| drm_ffi::gem::handle_to_fd(self.card.as_fd(), self.handle, drm::CLOEXEC | drm::RDWR));
        let prime = exported.map_err(|error| self.error("DRM_IOCTL_PRIME_HANDLE_TO_FD", error))?;
        Dmabuf::from_fd(own_fd(prime.fd)?)
    }

    pub(super) fn map_offset(&self) -> Result<u64> {
        let mapped = again(|| drm_ffi::mode::dumbbuffer::map(self.card.as_fd(), self.handle, 0, 0));
        mapped.map(|map| map.offset).map_err(|error| self.error("DRM_IOCTL_MODE_MAP_DUMB", error))
    }

    fn error(&self, op: &'static str, error: std::io::Error) -> Error {
        Error::new(op, format!("{}, GEM handle {}", self.card, self.handle), error)
    }
}

impl Drop for Gem {
    fn drop(&mut self) {
        let mut gems = self.card.gems.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(uses) = gems.get_mut(&self.handle) else { return };
        *uses -= 1;
        if *uses == 0 {
            gems.remove(&self.handle);
            if let Err(error) = again(|| drm_ffi::gem::close(self.card.as_fd(), self.handle)) {
                tracing::error!(card = %self.card, handle = self.handle, %error, "DRM_IOCTL_GEM_CLOSE failed");
            }
        }
    }
}

/// A framebuffer on an imported dma-buf.
#[derive(Debug)]
pub(super) struct Framebuffer {
    pub(super) id: u32,
    card: Arc<Card>,
    /// Inodes of its dma-bufs.
    pub(super) buffers: Vec<u64>,
    /// Of each plane. Closed after the framebuffer is removed, which `drop` does before fields go, if not before.
    pub(super) gems: Vec<Gem>,
}

impl Framebuffer {
    /// Imports the buffer of each plane and makes a framebuffer of the frame (`DRM_IOCTL_MODE_ADDFB2`).
    ///
    /// The drm crate's own call takes its format from an enumeration that ends with the formats of Linux 5.10, before
    /// the 16 bit ones; the same crate family's raw call takes any code.
    pub(super) fn new(card: &Arc<Card>, shared: &impl SharedPlanes) -> Result<Self> {
        let frame = shared.frame();
        let object = || format!("{card}, {shared}");
        if frame.planes.is_empty() || frame.planes.len() > 4 {
            return Err(Error::input(
                ADDFB2,
                object(),
                format!("a frame has 1 to 4 planes, not {}", frame.planes.len()),
            ));
        }
        let narrow = |value: u64, what: &str| {
            let refused = || Error::input(ADDFB2, object(), format!("{what} {value} B does not fit in 32 bits"));
            u32::try_from(value).map_err(|_| refused())
        };
        let with_modifier = card.is_told(frame.modifier);
        let gems =
            (0..frame.planes.len()).map(|n| Gem::import(card, shared.dmabuf_of(n))).collect::<Result<Vec<_>>>()?;
        let (mut handles, mut pitches, mut offsets, mut modifiers) = ([0; 4], [0; 4], [0; 4], [0; 4]);
        for (n, plane) in frame.planes.iter().enumerate() {
            handles[n] = gems[n].handle;
            pitches[n] = narrow(plane.pitch, "pitch")?;
            offsets[n] = narrow(plane.offset, "offset")?;
            modifiers[n] = if with_modifier { frame.modifier.0 } else { 0 };
        }
        let flags = if with_modifier { drm_ffi::DRM_MODE_FB_MODIFIERS } else { 0 };
        let Size { width, height } = frame.size;
        let code = frame.fourcc.0;
        let added = again(|| {
            drm_ffi::mode::add_fb2(card.as_fd(), width, height, code, &handles, &pitches, &offsets, &modifiers, flags)
        })
        .map_err(|error| Error::new(ADDFB2, object(), error))?;
        let buffers: Vec<u64> = (0..frame.planes.len()).map(|n| shared.dmabuf_of(n).inode()).collect();
        let told = told(frame.fourcc, frame.size, frame.modifier, &buffers);
        card.framebuffers.lock().unwrap_or_else(PoisonError::into_inner).add(added.fb_id, told);
        ledger::step(ADDFB2, Some(buffers[0]), format_args!("{}, {}", card.driver, named(added.fb_id)));
        Ok(Self { id: added.fb_id, card: card.clone(), buffers, gems })
    }

    /// A new handle of the buffer of its first plane (`DRM_IOCTL_MODE_GETFB2`), which the card's master and root get.
    pub(super) fn gem(&self) -> Result<Gem> {
        const OP: &str = "DRM_IOCTL_MODE_GETFB2";
        let card = &self.card;
        let object = || format!("{card}, framebuffer {}", self.id);
        let mut gems = card.gems.lock().unwrap_or_else(PoisonError::into_inner);
        card.touched.store(true, Ordering::Relaxed);
        let got = again(|| drm_ffi::mode::get_framebuffer2(card.as_fd(), self.id))
            .map_err(|error| Error::new(OP, object(), error))?;
        // One for each buffer, which planes may have in common.
        let handles: BTreeSet<u32> = got.handles.into_iter().filter(|handle| *handle != 0).collect();
        for handle in &handles {
            card.highest_gem.note(*handle);
            *gems.entry(*handle).or_default() += 1;
        }
        drop(gems);
        let all: Vec<Gem> = handles.into_iter().map(|handle| Gem { card: card.clone(), handle }).collect();
        let first = all.into_iter().find(|gem| gem.handle == got.handles[0]);
        first.ok_or_else(|| Error::missing(OP, object(), "it gives no handle to who is neither master nor root"))
    }
}

impl Drop for Framebuffer {
    fn drop(&mut self) {
        let card = &self.card;
        if let Err(error) = again(|| drm_ffi::mode::rm_fb(card.as_fd(), self.id)) {
            tracing::error!(%card, id = self.id, %error, "DRM_IOCTL_MODE_RMFB failed");
        }
        card.framebuffers.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
    }
}

/// A property blob of our own.
#[derive(Debug)]
pub(super) struct Blob {
    card: Arc<Card>,
    pub(super) id: u64,
}

impl Blob {
    /// A blob with the contents of `data`.
    pub(super) fn new<T>(card: &Arc<Card>, data: &T) -> Result<Self> {
        const OP: &str = "DRM_IOCTL_MODE_CREATEPROPBLOB";
        let value = again(|| card.create_property_blob(data)).map_err(|error| card.error(OP, error))?;
        Ok(Self { card: card.clone(), id: value.into() })
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if let Err(error) = again(|| self.card.destroy_property_blob(self.id)) {
            tracing::error!(card = %self.card, id = self.id, %error, "DRM_IOCTL_MODE_DESTROYPROPBLOB failed");
        }
    }
}
