//! The buffer that a writeback job writes into, seeded so that a job that wrote nothing is seen.

use std::sync::Arc;

use super::card::{Card, Framebuffer};
use crate::dmabuf::{Mapping, SharedFrame};
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::Size;
use crate::ledger;
use crate::picture::Picture;

/// A writeback buffer of the screen's own.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) framebuffer: Framebuffer,
    shared: SharedFrame,
    mapping: Mapping,
    /// What [`Self::seed`] puts there.
    seed: Vec<u8>,
    /// The buffer's bytes on their way into a picture, kept since fresh memory is slow in the sandbox.
    bytes: Vec<u8>,
}

impl Target {
    pub(super) fn new(card: &Arc<Card>, fourcc: Fourcc, size: Size) -> Result<Self> {
        let make = || {
            let shared = card.dumb(fourcc, size)?;
            let mapping = shared.dmabuf.map()?;
            let framebuffer = Framebuffer::new(card, &shared)?;
            Ok::<_, Error>((shared, mapping, framebuffer))
        };
        // The screen keeps it for its next picture of this size.
        let (shared, mapping, framebuffer) = ledger::keeping(|| format!("writeback buffer of {card}"), make)?;
        // No composed picture equals it: no byte follows itself, and no pixel repeats its neighbour.
        let seed: Vec<u8> = (0..shared.dmabuf.size).map(|n| (n as u8).wrapping_mul(101) ^ (n >> 8) as u8).collect();
        let bytes = vec![0; seed.len()];
        Ok(Self { framebuffer, shared, mapping, seed, bytes })
    }

    /// Another one of the same format and size.
    pub(super) fn another(&self, card: &Arc<Card>) -> Result<Self> {
        Self::new(card, self.shared.frame.fourcc, self.shared.frame.size)
    }

    /// Whether it holds pictures of this format and size.
    pub(super) fn is(&self, fourcc: Fourcc, size: Size) -> bool {
        (self.shared.frame.fourcc, self.shared.frame.size) == (fourcc, size)
    }

    /// Fills the buffer with a fixed pattern.
    pub(super) fn seed(&mut self) -> Result<()> {
        self.mapping.write(0, &self.seed)
    }

    /// What is there now; `None` if nothing was written since [`Self::seed`].
    pub(super) fn read(&mut self) -> Result<Option<Picture>> {
        self.mapping.read_into(0, &mut self.bytes)?;
        if self.bytes == self.seed {
            return Ok(None);
        }
        Picture::of_frame(&self.shared.frame, &self.bytes).map(Some)
    }
}
