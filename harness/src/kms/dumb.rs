//! Dumb buffers of a card that nobody has to be master of.

use std::path::{Path, PathBuf};

use super::card::Card;
use super::find;
use super::handles::Handles;
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::format::Fourcc;
use crate::frame::Size;

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
    /// We may not, or it is no card. Whether it has dumb buffers shows when one is made: cards without a display, such as
    /// vgem's, have some and do not say so (`DRM_CAP_DUMB_BUFFER`).
    pub(crate) fn open(node: &Path) -> Result<Self> {
        Card::open(node).map(Self)
    }

    /// Opens the first card of `driver`.
    ///
    /// # Errors
    /// There is none, or we may not open it.
    pub(crate) fn of_driver(driver: &str) -> Result<Self> {
        let mut refused = None;
        for node in Self::nodes()? {
            match Self::open(&node) {
                Ok(card) if card.driver() == driver => return Ok(card),
                Ok(_) => {}
                Err(why) => refused = Some(why),
            }
        }
        // A card that does not open may have been the one.
        let none = || Error::missing("listing cards", driver, "no card has this driver");
        Err(refused.unwrap_or_else(none))
    }

    /// The device node.
    pub(crate) fn node(&self) -> &Path {
        &self.0.path
    }

    /// Kernel driver.
    pub(crate) fn driver(&self) -> &str {
        &self.0.driver
    }

    /// What of its handles is not as it must be after a case: see [`crate::ledger`].
    pub(crate) fn imbalance(&self) -> Option<Finding> {
        self.0.imbalance()
    }

    /// As [`Screen::touched_handles`](super::Screen::touched_handles).
    pub(crate) fn touched_handles(&self) -> Option<(String, Result<Handles>)> {
        self.0.touched_handles()
    }

    /// A buffer for a frame, as the driver lays it.
    ///
    /// # Errors
    /// The format is not packed RGB, or the driver refuses.
    pub(crate) fn frame(&self, fourcc: Fourcc, size: Size) -> Result<SharedFrame> {
        self.0.dumb(fourcc, size)
    }

    /// A buffer of at least `bytes` bytes.
    ///
    /// # Errors
    /// The driver refuses.
    pub(crate) fn of_bytes(&self, bytes: u64) -> Result<Dmabuf> {
        self.0.dumb_of_bytes(bytes)
    }
}

impl Card {
    /// A dumb buffer of at least `bytes` bytes, exported.
    pub(super) fn dumb_of_bytes(&self, bytes: u64) -> Result<Dmabuf> {
        const ROW: u64 = DumbBuffers::ROW;
        let object = || format!("{} ({}), {bytes} B", self.path.display(), self.driver);
        // 32 bits per pixel is what every driver has.
        let height = u32::try_from(bytes.div_ceil(ROW))
            .map_err(|_| Error::input("DRM_IOCTL_MODE_CREATE_DUMB", object(), "more rows than fit in 32 bits"))?;
        self.create_dumb((ROW / 4) as u32, height, 32, object).map(|(dmabuf, _)| dmabuf)
    }
}
