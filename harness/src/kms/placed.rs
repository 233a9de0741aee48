//! Where a framebuffer goes: the properties of one plane.
//!
//! Source: "Plane Composition Properties" in the kernel's KMS documentation.

use super::commit::Commit;
use super::objects::Object;
use crate::compose::Rect;
use crate::error::Result;
use crate::yuv::{Colours, Encoding, Range};

/// A framebuffer and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    /// Which of the pipe's planes.
    pub(super) plane: usize,
    pub(super) framebuffer: u32,
    pub(super) crop: Rect,
    pub(super) at: (i32, i32),
    /// For YUV.
    pub(super) colours: Option<Colours>,
}

impl Commit<'_> {
    /// Puts a framebuffer on `plane` of `crtc`, without scaling.
    pub(super) fn place(&mut self, plane: &Object, crtc: u64, placed: &Placed) -> Result<()> {
        let Placed { framebuffer, crop, at, colours, .. } = placed;
        // Source positions are 16.16 fixed point, screen positions are signed.
        let fixed = |pixels: u32| u64::from(pixels) << 16;
        let signed = |pixels: i32| i64::from(pixels) as u64;
        self.set(plane, "FB_ID", u64::from(*framebuffer))?
            .set(plane, "CRTC_ID", crtc)?
            .set(plane, "SRC_X", fixed(crop.x))?
            .set(plane, "SRC_Y", fixed(crop.y))?
            .set(plane, "SRC_W", fixed(crop.size.width))?
            .set(plane, "SRC_H", fixed(crop.size.height))?
            .set(plane, "CRTC_X", signed(at.0))?
            .set(plane, "CRTC_Y", signed(at.1))?
            .set(plane, "CRTC_W", crop.size.width.into())?
            .set(plane, "CRTC_H", crop.size.height.into())?;
        if let Some(Colours { encoding, range }) = colours {
            let encoding = plane.choice("COLOR_ENCODING", encoding_name(*encoding))?;
            let range = plane.choice("COLOR_RANGE", range_name(*range))?;
            self.set(plane, "COLOR_ENCODING", encoding)?.set(plane, "COLOR_RANGE", range)?;
        }
        Ok(())
    }
}

/// What KMS calls it ("Plane Color Properties" of its documentation).
fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Bt601 => "ITU-R BT.601 YCbCr",
        Encoding::Bt709 => "ITU-R BT.709 YCbCr",
        Encoding::Bt2020 => "ITU-R BT.2020 YCbCr",
    }
}

/// What KMS calls it.
fn range_name(range: Range) -> &'static str {
    match range {
        Range::Limited => "YCbCr limited range",
        Range::Full => "YCbCr full range",
    }
}
