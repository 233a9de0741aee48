//! What is to cross between two ends: a frame, how it lies, and how it is handed over. Touches no device.

use std::fmt;

use crate::format::{Fourcc, PlaneShape};
use crate::frame::{Frame, Plane, Size};

/// Where the rows of a frame lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// As the exporter lays them, or as both agree where the exporter only has bytes.
    Agreed,
    /// With padding behind each row, and the next one on a multiple of 64 bytes.
    Padded,
    /// Each on a page of its own, and after it another one.
    Pages,
}

/// Where a frame begins in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// With the first byte.
    First,
    /// After 64 KiB that are somebody else's.
    Behind,
}

impl Start {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Behind => 65536,
        }
    }

    /// Bytes behind the frame that are somebody else's, too. As many as before it, so that vkms, which adds a frame's offset
    /// twice, stays inside the buffer.
    pub fn bytes_behind(self) -> u64 {
        self.bytes()
    }
}

/// Where the planes of a frame of several lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planes {
    /// Each behind the one before, with pitches in proportion.
    Contiguous,
    /// With a page of somebody else's between them, and each with a pitch of its own.
    Gaps,
    /// As with gaps, the last plane first.
    Backwards,
}

/// In which order memory is bound, handed out and taken in. Nobody has drawn yet when it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Its exporter has bound it, hands it out and draws; then it is taken in.
    #[default]
    BindFirst,
    /// Handed out, then bound; drawn; then taken in.
    ExportFirst,
    /// Handed out and taken in, then bound, if it has not been before; then drawn.
    ImportFirst,
}

/// How a frame is handed over, where a device that takes part has more than one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Way {
    /// Whether Vulkan devices have memory for it alone, and say so (`VkMemoryDedicatedAllocateInfo`), as exporter and as
    /// importer. Otherwise it is sub-allocated: somebody else's memory lies behind it, and before it unless it begins with
    /// the first byte.
    pub dedicated: bool,
    /// Whether the importer is in another process, to which the fd is sent.
    pub elsewhere: bool,
    /// In which order.
    pub order: Order,
    /// Whether each plane has an fd of its own, all of one dma-buf. Otherwise one fd stands for all.
    pub fd_per_plane: bool,
}

/// A frame that is to cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parcel {
    /// Pixel format.
    pub fourcc: Fourcc,
    /// Width and height.
    pub size: Size,
    /// Where its rows lie.
    pub rows: Rows,
    /// Where it begins.
    pub start: Start,
    /// Where its planes lie to each other.
    pub planes: Planes,
    /// How it is handed over.
    pub way: Way,
}

/// Bytes of somebody else's between two planes: a page, whatever its size.
const GAP: u64 = 4096;

/// Rows behind a frame that a device may touch: llvmpipe works in blocks of four.
pub(super) const ROWS_BEHIND: u64 = 4;

impl Parcel {
    /// A frame that lies as its exporter has it, and crosses as most do.
    pub fn of(fourcc: Fourcc, size: Size) -> Self {
        let (rows, start, planes) = (Rows::Agreed, Start::First, Planes::Contiguous);
        Self { fourcc, size, rows, start, planes, way: Way::default() }
    }

    /// Bytes of a row of the first plane.
    pub fn row(&self) -> u64 {
        self.shapes().first().map_or(0, |shape| shape.row(self.size.width))
    }

    fn shapes(&self) -> &'static [PlaneShape] {
        self.fourcc.planes().unwrap_or_default()
    }

    /// Whether the planes lie as V4L2 has them in one memory plane, where there is more than one.
    pub fn is_contiguous(&self) -> bool {
        self.shapes().len() == 1 || (self.planes == Planes::Contiguous && self.rows != Rows::Agreed)
    }

    /// Whether every sample of every plane stands for as many pixels.
    pub fn is_sampled_evenly(&self) -> bool {
        let Size { width, height } = self.size;
        self.shapes().iter().all(|shape| width.is_multiple_of(shape.across) && height.is_multiple_of(shape.down))
    }

    /// Whether the first plane does not begin with the first byte.
    pub fn begins_behind(&self) -> bool {
        self.start == Start::Behind || self.planes == Planes::Backwards
    }

    /// From one row to the next in bytes, if that is told.
    pub fn pitch(&self) -> Option<u64> {
        match self.rows {
            Rows::Agreed => None,
            Rows::Padded => Some((self.row() + 1).next_multiple_of(64)),
            Rows::Pages => Some((self.row() + 4096).next_multiple_of(4096)),
        }
    }

    /// The frame as it is told to lie, and bytes enough for it; `None` if that is to be agreed on.
    pub fn told(&self) -> Option<(Frame, u64)> {
        let (offset, pitch) = (self.start.bytes(), self.pitch()?);
        let mut frame = Frame::contiguous(self.fourcc, self.size, Plane { offset, pitch })?;
        let shapes = self.shapes();
        let rows = |n: usize| u64::from(shapes[n].rows(self.size.height));
        if self.planes != Planes::Contiguous {
            let mut order: Vec<usize> = (0..shapes.len()).collect();
            if self.planes == Planes::Backwards {
                order.reverse();
            }
            let mut end = offset;
            for (n, plane) in order.into_iter().enumerate() {
                let place = &mut frame.planes[plane];
                // No two planes have the same padding.
                *place = Plane { offset: end, pitch: place.pitch + 64 * (plane as u64 + 1) };
                end = place.offset + place.pitch * rows(plane);
                end = if n + 1 < shapes.len() { end.next_multiple_of(GAP) + GAP } else { end };
            }
        }
        let ends =
            frame.planes.iter().enumerate().map(|(n, plane)| plane.offset + plane.pitch * (rows(n) + ROWS_BEHIND));
        // As many behind the frame as before its first plane, so that vkms, which adds that offset twice, stays inside.
        let first = frame.planes.first().map_or(0, |plane| plane.offset);
        let bytes = ends.max()? + first;
        Some((frame, bytes))
    }
}

impl fmt::Display for Parcel {
    /// As it stands in the names of cases: `XR24_250x130_padded_behind`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { width, height } = self.size;
        write!(f, "{}_{width}x{height}", self.fourcc)?;
        f.write_str(match self.rows {
            Rows::Agreed => "",
            Rows::Padded => "_padded",
            Rows::Pages => "_pages",
        })?;
        f.write_str(match self.start {
            Start::First => "",
            Start::Behind => "_behind",
        })?;
        f.write_str(match self.planes {
            Planes::Contiguous => "",
            Planes::Gaps => "_gaps",
            Planes::Backwards => "_backwards",
        })?;
        let Way { dedicated, elsewhere, order, fd_per_plane } = self.way;
        f.write_str(if dedicated { "_dedicated" } else { "" })?;
        f.write_str(if elsewhere { "_elsewhere" } else { "" })?;
        f.write_str(match order {
            Order::BindFirst => "",
            Order::ExportFirst => "_exported_first",
            Order::ImportFirst => "_imported_first",
        })?;
        f.write_str(if fd_per_plane { "_fd_per_plane" } else { "" })
    }
}
