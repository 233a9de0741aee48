//! Dumb buffers of a card that nobody has to be master of.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use drm::{Device as _, DriverCapability};
use rustix::fs::{Mode, OFlags};

use super::card::Card;
use super::find;
use crate::dmabuf::Dmabuf;
use crate::error::{Error, Result};

/// A card that makes dumb buffers, exported as dma-bufs.
#[derive(Debug)]
pub(crate) struct DumbBuffers(Card);

impl DumbBuffers {
    /// The largest buffer that can be asked for, in bytes.
    pub(crate) const LARGEST: u64 = u32::MAX as u64 + 1 - Self::ROW;

    /// Bytes in a row of what we ask for: a page, which every driver's alignment divides or is a multiple of.
    const ROW: u64 = 4096;

    /// The card nodes of this machine.
    pub(crate) fn nodes() -> Result<Vec<PathBuf>> {
        find::nodes().map_err(|why| Error::missing("listing cards", "dumb buffers", why))
    }

    /// Opens `node`.
    ///
    /// # Errors
    /// We may not, or the card has no dumb buffers, or does not export them.
    pub(crate) fn open(node: &Path) -> Result<Self> {
        let name = || node.display().to_string();
        let fd = rustix::fs::open(node, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::new("open", name(), errno))?;
        let card = Card::new(fd, node)?;
        // Whoever opens a card first is its master, which is the screen's to be. If somebody else is, there is nothing to
        // give back, and the answer says so.
        let _ = card.release_master_lock();
        let lacks = |what: &str| Error::missing("DRM_IOCTL_GET_CAP", format!("{} ({})", name(), card.driver), what);
        let has = |capability| {
            card.get_driver_capability(capability)
                .map_err(|error| Error::new("DRM_IOCTL_GET_CAP", format!("{} ({})", name(), card.driver), error))
        };
        if has(DriverCapability::DumbBuffer)? == 0 {
            return Err(lacks("no dumb buffers"));
        }
        if has(DriverCapability::Prime)? & u64::from(drm_ffi::DRM_PRIME_CAP_EXPORT) == 0 {
            return Err(lacks("no PRIME export"));
        }
        Ok(Self(card))
    }

    /// Kernel driver.
    pub(crate) fn driver(&self) -> &str {
        &self.0.driver
    }

    /// A buffer of at least `bytes` bytes.
    ///
    /// # Errors
    /// The driver refuses.
    pub(crate) fn of_bytes(&self, bytes: u64) -> Result<Dmabuf> {
        let Self(card) = self;
        let object = || format!("{} ({}), {bytes} B", card.path.display(), card.driver);
        // 32 bits per pixel is what every driver has.
        let height = u32::try_from(bytes.div_ceil(Self::ROW))
            .map_err(|_| Error::input("DRM_IOCTL_MODE_CREATE_DUMB", object(), "more rows than fit in 32 bits"))?;
        card.create_dumb((Self::ROW / 4) as u32, height, 32, object).map(|(dmabuf, _)| dmabuf)
    }
}

impl AsFd for DumbBuffers {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
