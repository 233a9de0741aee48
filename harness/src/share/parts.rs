//! A frame whose planes come with an fd each: of buffers of their own, or of one buffer.
//!
//! KMS takes a GEM handle for each plane, EGL an fd, Vulkan memory (`VK_IMAGE_CREATE_DISJOINT_BIT`), so that a frame may lie in
//! several dma-bufs, of several exporters. To the core each of them is a [`Buffer`] with a frame of its own: the plane, in the
//! packed format that has its bytes. So every rule holds for each plane: it is agreed on, attached to, mapped, observed and
//! moved by itself, and may lie in another heap than its neighbour. What a device needs of the whole frame it needs of each
//! plane ([`Constraints::of_plane`](super::constraints::Constraints::of_plane)).

use super::agreement::Wish;
use super::buffer::{Buffer, Mapping};
use super::heap::Heaps;
use crate::dmabuf::SplitFrame;
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier, PlaneShape};
use crate::frame::{Frame, Size, px};

/// A frame with an fd for each of its planes.
#[derive(Clone)]
pub enum Parts {
    /// Each plane lies in a buffer of its own.
    Several {
        /// Pixel format of the frame.
        fourcc: Fourcc,
        /// Width and height of the frame.
        size: Size,
        /// As many as it has planes.
        buffers: Vec<Buffer>,
    },
    /// All planes lie in this one.
    One(Buffer),
}

impl Parts {
    /// A frame of `fourcc`, whose plane n will lie in storage of one of `heaps(n)`; nothing is allocated.
    ///
    /// # Errors
    /// The samples of the format are not known here.
    pub fn export(fourcc: Fourcc, size: Size, heaps: impl Fn(usize) -> Heaps) -> Result<Self> {
        let planes = plane_frames(fourcc, size)?;
        let buffer = |(n, (fourcc, size))| Buffer::export(Wish { fourccs: vec![fourcc], size }, heaps(n));
        Ok(Self::Several { fourcc, size, buffers: planes.into_iter().enumerate().map(buffer).collect() })
    }

    /// What the frame holds, or is to hold.
    pub fn wish(&self) -> Wish {
        match self {
            Self::Several { fourcc, size, .. } => Wish { fourccs: vec![*fourcc], size: *size },
            Self::One(buffer) => buffer.wish().clone(),
        }
    }

    /// The buffers that it lies in, in the order of its planes.
    pub fn buffers(&self) -> &[Buffer] {
        match self {
            Self::Several { buffers, .. } => buffers,
            Self::One(buffer) => std::slice::from_ref(buffer),
        }
    }

    /// The frame as it lies while `mappings`, one of each buffer, last.
    ///
    /// # Errors
    /// There are more or fewer mappings, or the process has no fd left.
    pub fn shared(&self, mappings: &[&Mapping]) -> Result<SplitFrame> {
        let (fourcc, size) = match (self, mappings) {
            (Self::One(_), [mapping]) => return SplitFrame::of_one(mapping.shared()),
            (Self::Several { fourcc, size, .. }, _) => (*fourcc, *size),
            (Self::One(buffer), _) => {
                let why = format!("{} mappings of one buffer", mappings.len());
                return Err(Error::input("putting planes together", buffer.wish().size.to_string(), why));
            }
        };
        let planes = mappings.iter().flat_map(|mapping| mapping.shared().frame.planes.iter().copied()).collect();
        let dmabufs = mappings.iter().map(|mapping| mapping.shared().dmabuf.try_clone()).collect::<Result<_>>()?;
        SplitFrame::new(Frame { size, fourcc, modifier: Modifier::LINEAR, planes }, dmabufs)
    }
}

/// Format and size of each plane of a frame, as a frame of its own.
///
/// # Errors
/// The samples of the format are not known here.
pub(crate) fn plane_frames(fourcc: Fourcc, size: Size) -> Result<Vec<(Fourcc, Size)>> {
    let unknown = || Error::input("taking planes apart", format!("{fourcc} {size}"), "not a YUV format known here");
    let (yuv, shapes) = fourcc.yuv().zip(fourcc.planes()).ok_or_else(unknown)?;
    let plane = |(n, shape): (usize, &PlaneShape)| {
        let size = px(size.width.div_ceil(shape.across), shape.rows(size.height));
        Some((yuv.stand_in(n)?, size))
    };
    shapes.iter().enumerate().map(|plane_of| plane(plane_of).ok_or_else(unknown)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_frames_of_their_own_bytes() {
        let of = |fourcc| plane_frames(fourcc, px(33, 17)).expect("known");
        assert_eq!(of(Fourcc::NV12), [(Fourcc::R8, px(33, 17)), (Fourcc::GR88, px(17, 9))]);
        assert_eq!(of(Fourcc::P010), [(Fourcc::R16, px(33, 17)), (Fourcc::GR32, px(17, 9))]);
        assert_eq!(of(Fourcc::YU12), [(Fourcc::R8, px(33, 17)), (Fourcc::R8, px(17, 9)), (Fourcc::R8, px(17, 9))]);
        assert!(plane_frames(Fourcc::XR24, px(33, 17)).is_err());
    }

    #[test]
    fn nothing_is_allocated_before_somebody_maps() {
        let parts = Parts::export(Fourcc::NV12, px(64, 64), |_| Heaps::default()).expect("known");
        assert_eq!(parts.wish(), Wish { fourccs: vec![Fourcc::NV12], size: px(64, 64) });
        assert_eq!(parts.buffers().len(), 2);
        assert!(parts.buffers().iter().all(|buffer| buffer.generation() == 0 && buffer.storage().is_none()));
        assert!(parts.shared(&[]).is_err());
    }
}
