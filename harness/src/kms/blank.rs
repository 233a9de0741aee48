//! Black for the primary plane, where a driver lights no CRTC without one and no frame goes there.

use std::sync::Arc;

use super::card::{Card, Framebuffer};
use super::placed::Placed;
use crate::compose::Rect;
use crate::dmabuf::SharedFrame;
use crate::error::Result;
use crate::format::Fourcc;
use crate::frame::Size;
use crate::ledger;

/// A black frame of the screen's own, as large as its picture.
#[derive(Debug)]
pub(super) struct Blank {
    framebuffer: Framebuffer,
    size: Size,
    _shared: SharedFrame,
}

impl Blank {
    /// In a format in which bytes of 0 are black and nothing shines through: one without alpha.
    pub(super) fn new(card: &Arc<Card>, fourcc: Fourcc, size: Size) -> Result<Self> {
        let make = || {
            // A new dumb buffer is all zeros.
            let shared = card.dumb(fourcc, size)?;
            Ok(Self { framebuffer: Framebuffer::new(card, &shared)?, size, _shared: shared })
        };
        ledger::keeping(|| format!("a black frame of {card}"), make)
    }

    /// All over the lowest plane.
    pub(super) fn placed(&self) -> Placed {
        Placed { plane: 0, framebuffer: self.framebuffer.id, crop: Rect::whole(self.size), at: (0, 0), colours: None }
    }
}
