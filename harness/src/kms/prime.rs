//! A card that takes part in sharing a buffer and does nothing with it: PRIME import, and export of what was imported.
//!
//! Source: "PRIME Buffer Sharing" in the kernel's DRM memory management documentation.

use std::path::Path;
use std::sync::Arc;

use drm::{Device as _, DriverCapability};

use super::card::{Card, Framebuffer, Gem};
use super::handles::Handles;
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::restart::again;

/// A card that nobody has to be master of.
#[derive(Clone, Debug)]
pub struct Prime(pub(super) Arc<Card>);

/// What a card says that it does with dma-bufs (`DRM_CAP_PRIME`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// It takes them in (`DRM_PRIME_CAP_IMPORT`).
    pub imports: bool,
    /// It hands its own out (`DRM_PRIME_CAP_EXPORT`).
    pub exports: bool,
}

/// A dma-buf in the hands of a card; it lets go when dropped.
#[derive(Debug)]
pub struct Imported(pub(super) Gem);

/// A framebuffer that alone has its buffer for the card: the handle that it was made of is closed.
#[derive(Debug)]
pub struct BareFramebuffer(Framebuffer);

impl Prime {
    pub(super) fn card(&self) -> &Arc<Card> {
        &self.0
    }

    /// Opens `node`.
    ///
    /// # Errors
    /// We may not.
    pub(crate) fn open(node: &Path) -> Result<Self> {
        Card::open(node).map(|card| Self(Arc::new(card)))
    }

    /// Kernel driver.
    pub(crate) fn driver(&self) -> &str {
        &self.0.driver
    }

    /// What of its handles is not as it must be after a case: see [`crate::ledger`].
    pub(crate) fn imbalances(&self) -> impl Iterator<Item = Finding> {
        self.0.imbalance().into_iter().chain(self.0.syncobj_imbalance())
    }

    /// As [`Screen::touched_handles`](super::Screen::touched_handles).
    pub(crate) fn touched_handles(&self) -> Option<(String, Result<Handles>)> {
        self.0.touched_handles()
    }

    /// What the card says that it does with dma-bufs.
    ///
    /// # Errors
    /// It does not say.
    pub fn says(&self) -> Result<Shares> {
        const IMPORT: u64 = 1;
        const EXPORT: u64 = 2;
        let told = again(|| self.0.get_driver_capability(DriverCapability::Prime));
        let told =
            told.map_err(|error| Error::new("DRM_IOCTL_GET_CAP", format!("{}, DRM_CAP_PRIME", self.0), error))?;
        Ok(Shares { imports: told & IMPORT != 0, exports: told & EXPORT != 0 })
    }

    /// A dumb buffer of the card's, of a page, as it hands it out.
    ///
    /// # Errors
    /// The driver has none, or does not hand it out (`DRM_IOCTL_PRIME_HANDLE_TO_FD`).
    pub fn own(&self) -> Result<Dmabuf> {
        self.0.dumb_of_bytes(rustix::param::page_size() as u64)
    }

    /// Hands `buffer` to the card. Its own buffers it takes back without attaching to them.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn import(&self, buffer: &Dmabuf) -> Result<Imported> {
        Gem::import(&self.0, buffer).map(Imported)
    }

    /// A framebuffer of `shared`, which keeps the buffer without a handle.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn framebuffer(&self, shared: &SharedFrame) -> Result<BareFramebuffer> {
        let mut framebuffer = Framebuffer::new(&self.0, shared)?;
        framebuffer.gems.clear();
        Ok(BareFramebuffer(framebuffer))
    }
}

impl BareFramebuffer {
    /// What the card hands on for a handle that it gives of the framebuffer.
    ///
    /// # Errors
    /// We are neither root nor the card's master, or the driver refuses.
    pub fn export(&self) -> Result<Dmabuf> {
        self.0.gem()?.export()
    }
}

impl Imported {
    pub(super) fn card(&self) -> &Arc<Card> {
        self.0.card()
    }

    /// Number of the GEM handle, which this file of the card has for the buffer.
    pub fn handle(&self) -> u32 {
        self.0.handle()
    }

    /// What the card hands on for its handle.
    ///
    /// # Errors
    /// The driver refuses, or what it hands out is no dma-buf.
    pub fn export(&self) -> Result<Dmabuf> {
        self.0.export()
    }

    /// Where the card would have its handle mapped (`DRM_IOCTL_MODE_MAP_DUMB`).
    ///
    /// # Errors
    /// The driver refuses.
    pub fn map_offset(&self) -> Result<u64> {
        self.0.map_offset()
    }
}
