//! Attributes of `eglCreateImage` that must be refused: missing ones, ones too many, and values that are none.
//!
//! Source: "Errors" of `EGL_EXT_image_dma_buf_import` and `EGL_EXT_image_dma_buf_import_modifiers`.

use std::os::fd::AsRawFd;

use khronos_egl::Attrib;

use super::Gles;
use super::egl::PLANES;
use crate::dmabuf::SharedFrame;
use crate::error::Result;

/// An attribute of an import; those of a plane have its number, 0 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `EGL_WIDTH`.
    Width,
    /// `EGL_HEIGHT`.
    Height,
    /// `EGL_LINUX_DRM_FOURCC_EXT`.
    Fourcc,
    /// `EGL_DMA_BUF_PLANEn_FD_EXT`.
    Fd(usize),
    /// `EGL_DMA_BUF_PLANEn_OFFSET_EXT`.
    Offset(usize),
    /// `EGL_DMA_BUF_PLANEn_PITCH_EXT`.
    Pitch(usize),
    /// `EGL_DMA_BUF_PLANEn_MODIFIER_LO_EXT`.
    ModifierLow(usize),
    /// `EGL_DMA_BUF_PLANEn_MODIFIER_HI_EXT`.
    ModifierHigh(usize),
    /// `EGL_YUV_COLOR_SPACE_HINT_EXT`.
    ColorSpace,
    /// `EGL_SAMPLE_RANGE_HINT_EXT`.
    SampleRange,
    /// A number that is no attribute of images.
    Unknown,
}

impl Attribute {
    fn code(self) -> Attrib {
        let of = |plane: usize, which: usize| PLANES[plane % PLANES.len()][which];
        match self {
            Self::Width => 0x3057,
            Self::Height => 0x3056,
            Self::Fourcc => 0x3271,
            Self::Fd(plane) => of(plane, 0),
            Self::Offset(plane) => of(plane, 1),
            Self::Pitch(plane) => of(plane, 2),
            Self::ModifierLow(plane) => of(plane, 3),
            Self::ModifierHigh(plane) => of(plane, 4),
            Self::ColorSpace => 0x327B,
            Self::SampleRange => 0x327C,
            Self::Unknown => 0x2FFF,
        }
    }
}

/// The attributes of a frame as they should be, in order: to be changed for the worse. Values are `EGLAttrib`s.
pub fn attributes_of(shared: &SharedFrame) -> Vec<(Attribute, i64)> {
    let frame = &shared.frame;
    let mut list = vec![
        (Attribute::Width, frame.size.width.into()),
        (Attribute::Height, frame.size.height.into()),
        (Attribute::Fourcc, frame.fourcc.0.into()),
    ];
    for (n, plane) in frame.planes.iter().enumerate() {
        list.extend([
            (Attribute::Fd(n), shared.dmabuf.fd.as_raw_fd().into()),
            (Attribute::Offset(n), plane.offset.cast_signed()),
            (Attribute::Pitch(n), plane.pitch.cast_signed()),
            (Attribute::ModifierLow(n), (frame.modifier.0 & 0xffff_ffff).cast_signed()),
            (Attribute::ModifierHigh(n), (frame.modifier.0 >> 32).cast_signed()),
        ]);
    }
    list
}

impl Gles {
    /// Has EGL take in what `attributes` say, and lets go of it.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn import_attributes(&self, attributes: &[(Attribute, i64)]) -> Result<()> {
        let list = attributes.iter().flat_map(|(name, value)| [name.code(), *value as Attrib]);
        self.egl().try_import(&list.collect::<Vec<_>>(), || format!("{attributes:?}"))
    }
}
