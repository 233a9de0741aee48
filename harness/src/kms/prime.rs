//! A card that takes part in sharing a buffer and does nothing with it: PRIME import alone.
//!
//! Source: "PRIME Buffer Sharing" in the kernel's DRM memory management documentation.

use std::path::Path;
use std::sync::Arc;

use super::card::{Card, Gem};
use crate::dmabuf::Dmabuf;
use crate::error::Result;

/// A card that nobody has to be master of.
#[derive(Debug)]
pub(crate) struct Prime(Arc<Card>);

/// A dma-buf in the hands of a card; it lets go when dropped.
#[derive(Debug)]
pub(crate) struct Imported {
    _gem: Gem,
}

impl Prime {
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

    /// Hands `buffer` to the card. Its own buffers it takes back without attaching to them.
    ///
    /// # Errors
    /// The driver refuses.
    pub(crate) fn import(&self, buffer: &Dmabuf) -> Result<Imported> {
        Gem::import(&self.0, buffer).map(|gem| Imported { _gem: gem })
    }
}
