//! What does a V4L2 queue need of a buffer? `VIDIOC_TRY_FMT` tells of layouts, a buffer that is given to it of memory.
//!
//! It costs some twenty calls of 0.1 ms. The queue must not have buffers, and is as before afterwards.

use super::{Memory, PixelFormat, PlaneFormat, Queue, QueueFormat};
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size, px};
use crate::share::constraints::{Bytes, Constraints, FormatModifier, MemoryNeeds};
use crate::udmabuf;

/// What a dma-buf of videobuf2's contiguous allocator says of itself (`exp_name`).
pub(crate) const CONTIGUOUS: &str = "videobuf2_dma_contig";

/// Only 0 is a multiple of it that fits in a buffer: a single-planar queue has no offsets.
const NO_OFFSET: u64 = 1 << 63;

/// The largest alignment of a pitch that is looked for, in bytes.
const LARGEST_ALIGNMENT: u32 = 4096;

/// A frame as a queue has it in one memory plane, whose first plane has this pitch.
fn laid(fourcc: Fourcc, size: Size, pitch: u32) -> Frame {
    let first = Plane { offset: 0, pitch: pitch.into() };
    Frame::contiguous(fourcc, size, first).unwrap_or_else(|| Frame::linear(fourcc, size, first))
}

impl Queue {
    /// What the device says that its format is now (`VIDIOC_G_FMT`).
    ///
    /// # Errors
    /// It refuses, or answers what no device may answer.
    pub fn current_format(&self) -> Result<QueueFormat> {
        self.negotiate(None, false)
    }

    /// What the queue needs of a frame of the first of `fourccs` that it takes in `size`: pitches differ between formats, and
    /// some drivers have one only.
    ///
    /// # Errors
    /// It takes none of them; or the driver refuses what it must answer.
    pub fn constraints(&mut self, fourccs: &[Fourcc], size: Size) -> Result<Constraints> {
        let listed = self.pixel_formats()?;
        let mut why = Vec::new();
        for &fourcc in fourccs {
            let wanted = match PixelFormat::of(fourcc) {
                Some(pixel) if listed.contains(&pixel) => QueueFormat::new(pixel, size, 0),
                Some(pixel) => {
                    why.push(format!("it does not list {pixel} ({fourcc})"));
                    continue;
                }
                None => {
                    why.push(format!("V4L2 has no LINEAR format in one memory plane with the bytes of {fourcc}"));
                    continue;
                }
            };
            let given = self.try_format(&wanted)?;
            if (given.pixel, given.size) == (wanted.pixel, wanted.size) {
                return self.constraints_of(fourcc, &given);
            }
            why.push(format!("it makes {given} of {wanted}"));
        }
        Err(Error::missing("gathering constraints", self.to_string(), why.join("; ")))
    }

    fn constraints_of(&mut self, fourcc: Fourcc, given: &QueueFormat) -> Result<Constraints> {
        let [PlaneFormat { pitch, bytes }] = given.planes[..] else {
            let why = format!("{} memory planes for {}; 1 would be valid", given.planes.len(), given.pixel);
            return Err(Error::answer("VIDIOC_TRY_FMT", format!("{self}, {given}"), why));
        };
        let extreme =
            |edge: u32| Ok::<_, Error>(self.try_format(&QueueFormat::new(given.pixel, px(edge, edge), 0))?.size);
        let (laid, planes) = (laid(fourcc, given.size, pitch), fourcc.planes().map_or(1, |planes| planes.len() as u32));
        let format = FormatModifier { fourcc, modifier: Modifier::LINEAR, planes };
        let mut pitches = self.pitches(given, pitch)?;
        if planes > 1 {
            // What is told is the pitch of the first plane; those of the others are in proportion to it.
            let least = laid.planes.iter().map(|plane| plane.pitch).min().unwrap_or(0);
            pitches.alignment = (pitches.alignment * least / u64::from(pitch).max(1)).next_power_of_two();
            (pitches.min, pitches.max) = (pitches.min.min(least), pitches.max.saturating_mul(2));
        }
        let rows = laid.planes.iter().zip(fourcc.planes().unwrap_or_default());
        let holds: u64 = rows.map(|(plane, shape)| plane.pitch * u64::from(shape.rows(given.size.height))).sum();
        Ok(Constraints {
            smallest: extreme(1)?,
            largest: extreme(u16::MAX.into())?,
            pitch: pitches,
            offset_alignment: if self.is_multi_planar() || planes > 1 { 1 } else { NO_OFFSET },
            padding: u64::from(bytes).saturating_sub(holds),
            memory: MemoryNeeds { contiguous: self.needs_contiguous(given)?, ..MemoryNeeds::ANY },
            ..Constraints::of(vec![format])
        })
    }

    /// The pitches that the driver keeps when it is asked for them; the one that it chooses itself is `own`.
    fn pitches(&self, given: &QueueFormat, own: u32) -> Result<Bytes> {
        let keeps = |pitch: u32| {
            let tried = self.try_format(&QueueFormat::new(given.pixel, given.size, pitch))?;
            Ok::<_, Error>((tried.planes.first().map_or(0, |plane| plane.pitch), pitch))
        };
        // Behind a multiple of all alignments, so that each is tried alone.
        let base = own.next_multiple_of(2 * LARGEST_ALIGNMENT);
        let mut alignment = 1;
        while alignment <= LARGEST_ALIGNMENT {
            let (kept, asked) = keeps(base + alignment)?;
            if kept == asked {
                let (max, _) = keeps(u32::MAX / 2)?;
                return Ok(Bytes { alignment: alignment.into(), min: own.into(), max: max.max(kept).into() });
            }
            alignment *= 2;
        }
        Ok(Bytes { alignment: 1, min: own.into(), max: own.into() })
    }

    /// Whether memory must be one run of addresses to the device: tried with memory that is not.
    fn needs_contiguous(&mut self, given: &QueueFormat) -> Result<bool> {
        let page = rustix::param::page_size() as u64;
        let before = self.format().clone();
        // A picture that ends on the first page says nothing.
        let mut tried = given.clone();
        while tried.planes.first().is_some_and(|plane| u64::from(plane.bytes) <= page) {
            let larger = px(tried.size.width.saturating_mul(2), tried.size.height.saturating_mul(2));
            let next = self.try_format(&QueueFormat::new(given.pixel, larger, 0))?;
            if next.size == tried.size {
                break;
            }
            tried = next;
        }
        let plane = tried.planes.first().copied().unwrap_or(PlaneFormat { pitch: 0, bytes: 0 });
        let folded = udmabuf::folded(u64::from(plane.bytes).next_multiple_of(2 * page));
        let needs = match folded {
            Ok(folded) => self.refuses(&tried, plane, folded),
            // The queue takes memory in as it gives memory out.
            Err(_) => self.gives_contiguous(&tried),
        };
        self.release()?;
        self.set_format(&before)?;
        needs
    }

    /// Whether the device refuses `memory` as it refuses memory that is no run of addresses.
    fn refuses(&mut self, format: &QueueFormat, plane: PlaneFormat, memory: Dmabuf) -> Result<bool> {
        let fourcc = format.pixel.fourcc().unwrap_or(Fourcc::R8);
        let shared = SharedFrame { dmabuf: memory, frame: laid(fourcc, format.size, plane.pitch) };
        match self.import(&shared) {
            Ok(()) => Ok(false),
            Err(error) if error.is_errno(rustix::io::Errno::FAULT) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn gives_contiguous(&mut self, format: &QueueFormat) -> Result<bool> {
        self.set_format(format)?;
        self.request(Memory::Own, 1)?;
        Ok(self.export(0)?.identity()?.exporter.as_deref() == Some(CONTIGUOUS))
    }
}
