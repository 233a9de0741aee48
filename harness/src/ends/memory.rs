//! Memory without a device that draws: heaps, whose frames lie as they are told, or as the importer needs them.

use super::{Exported, Exporter, Importer, Parcel, Planes, Start};
use crate::case::{Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::frame::Frame;
use crate::pattern::Pattern;
use crate::share::agreement::Agreement;
use crate::share::buffer::Buffer;
use crate::share::heap::Heaps;

/// Buffers of a V4L2 queue, in scattered pages.
pub(super) static VIDEO: Memory = Memory(Role::Video);
/// Buffers of a V4L2 queue, contiguous.
pub(super) static DMA_VIDEO: Memory = Memory(Role::DmaVideo);
/// Pages of a memfd.
pub(super) static UDMABUF: Memory = Memory(Role::Udmabuf);
/// Pages of the kernel.
pub(super) static DMA_HEAP: Memory = Memory(Role::DmaHeap);

/// The heap that plays this role.
pub(super) struct Memory(Role);

/// A frame that the processor draws.
pub(super) struct Bytes(pub(super) Buffer);

impl Exporter for Memory {
    fn role(&self) -> Role {
        self.0
    }

    fn can(&self, parcel: &Parcel) -> bool {
        // Where a frame begins, and where its planes lie, is told together with its rows.
        let plain = parcel.start == Start::First && parcel.planes == Planes::Contiguous;
        parcel.fourcc.is_known() && (parcel.pitch().is_some() || plain)
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.heap(self.0).map(|_| None)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, to: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        if let Some(told) = parcel.told() {
            return laid(cx, self.0, told);
        }
        let heap = cx.heap(self.0)?;
        let buffer = cx.share(parcel.fourcc, parcel.size, Heaps::new([heap]), &[Guest::Cpu])?;
        to.attach(cx, &buffer)?;
        Ok(Box::new(Bytes(buffer)))
    }
}

/// A frame as it is told to lie, in bytes of the heap that plays `role`.
pub(super) fn laid(cx: &mut Cx, role: Role, (frame, bytes): (Frame, u64)) -> Result<Box<dyn Exported>, Trouble> {
    let heap = cx.heap(role)?;
    let offer = heap.offer().clone();
    let storage = heap.allocate(&Agreement { heap: offer.heap.clone(), frame, bytes })?;
    Ok(Box::new(Bytes(cx.lend(storage, offer)?)))
}

impl Exported for Bytes {
    fn buffer(&self) -> &Buffer {
        &self.0
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Result<(), Trouble> {
        let wish = self.0.wish();
        let picture = Pattern { stamp }.picture(wish.fourccs[0], wish.size)?;
        cx.cpu_writes(&self.0, &picture)
    }

    fn sees(&mut self, _: &mut Cx, _: &Target) -> Result<bool, Trouble> {
        // The CPU looks at every frame anyway.
        Ok(false)
    }
}
