//! A frame whose planes come with an fd each: of dma-bufs of their own, or of one dma-buf.
//!
//! KMS takes a GEM handle for each plane, EGL an fd and Vulkan memory, so that both ways are legal, and a device must not take
//! one plane's memory for another's. How they are agreed on, mapped and moved is [`crate::share::parts`].

use std::fmt;

use super::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::format::Modifier;
use crate::frame::{Frame, Framed, Size};
use crate::picture::Picture;

/// A frame with the dma-buf of each of its planes.
pub trait SharedPlanes: Framed + fmt::Display {
    /// Where the pixels lie, each plane's offset from the start of its own dma-buf.
    fn frame(&self) -> &Frame;

    /// The dma-buf of plane `plane`, one of the frame's.
    fn dmabuf_of(&self, plane: usize) -> &Dmabuf;
}

impl SharedPlanes for SharedFrame {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn dmabuf_of(&self, _: usize) -> &Dmabuf {
        &self.dmabuf
    }
}

/// A LINEAR frame with an fd for each plane.
#[derive(Debug)]
pub struct SplitFrame {
    frame: Frame,
    /// As many as the frame has planes.
    dmabufs: Vec<Dmabuf>,
}

impl SplitFrame {
    /// A frame whose plane n lies in dma-buf n.
    ///
    /// # Errors
    /// There are not as many dma-bufs as planes, the frame is not LINEAR in a known format, or a plane does not fit.
    pub fn new(frame: Frame, dmabufs: Vec<Dmabuf>) -> Result<Self> {
        let refuse = |why: String| Err(Error::input("sharing a frame", frame.to_string(), why));
        if frame.modifier != Modifier::LINEAR {
            return refuse(format!("modifier {}; LINEAR would be valid", frame.modifier));
        }
        if dmabufs.len() != frame.planes.len() {
            return refuse(format!("{} dma-bufs; one for each of {} planes", dmabufs.len(), frame.planes.len()));
        }
        for (n, (rows, dmabuf)) in frame.rows()?.iter().zip(&dmabufs).enumerate() {
            if rows.end > dmabuf.size {
                return refuse(format!("plane {n} ends at byte {}, its buffer has {} bytes", rows.end, dmabuf.size));
            }
        }
        Ok(Self { frame, dmabufs })
    }

    /// `shared` with an fd of its one dma-buf for each plane.
    ///
    /// # Errors
    /// As [`Self::new`]; the process has no fd left.
    pub fn of_one(shared: &SharedFrame) -> Result<Self> {
        let dmabufs = shared.frame.planes.iter().map(|_| shared.dmabuf.try_clone()).collect::<Result<_>>()?;
        Self::new(shared.frame.clone(), dmabufs)
    }

    /// Where the planes lie, and in which dma-bufs.
    pub fn into_planes(self) -> (Frame, Vec<Dmabuf>) {
        (self.frame, self.dmabufs)
    }

    /// The CPU writes `picture`, plane by plane.
    ///
    /// # Errors
    /// A dma-buf can't be mapped, or the picture is of another size or format.
    pub fn write(&self, picture: &Picture) -> Result<()> {
        let mut placed = picture.rows_in(&self.frame)?.into_iter();
        for (rows, dmabuf) in self.frame.rows()?.iter().zip(&self.dmabufs) {
            dmabuf.map()?.write_all(placed.by_ref().take(rows.count as usize))?;
        }
        Ok(())
    }

    /// The pixels as the CPU reads them, plane by plane.
    ///
    /// # Errors
    /// A dma-buf can't be mapped.
    pub fn read_back(&self) -> Result<Picture> {
        let mut bytes = Vec::new();
        for (rows, dmabuf) in self.frame.rows()?.iter().zip(&self.dmabufs) {
            let plane = dmabuf.map()?.read(0..rows.end)?;
            for y in 0..rows.count {
                let start = (rows.offset + y * rows.pitch) as usize;
                bytes.extend_from_slice(&plane[start..start + rows.row as usize]);
            }
        }
        Ok(Picture { size: self.frame.size, fourcc: self.frame.fourcc, bytes })
    }
}

impl SharedPlanes for SplitFrame {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn dmabuf_of(&self, plane: usize) -> &Dmabuf {
        &self.dmabufs[plane]
    }
}

impl Framed for SplitFrame {
    fn size(&self) -> Size {
        self.frame.size
    }
}

impl fmt::Display for SplitFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in", self.frame)?;
        for (n, dmabuf) in self.dmabufs.iter().enumerate() {
            write!(f, "{} plane {n}: {dmabuf}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
