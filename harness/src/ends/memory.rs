//! Memory without a device that draws: heaps, whose frames lie as they are told, or as the importer needs them.

use std::sync::Arc;

use super::{End, Exported, Exporter, Importer, Parcel, Planes, Start, of_linux};
use crate::case::{DeviceIdentity, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::frame::Frame;
use crate::pattern::Pattern;
use crate::share::agreement::Agreement;
use crate::share::buffer::Buffer;
use crate::share::heap::{Heap, Heaps};
use crate::share::heaps::Kind;

/// Pages of a memfd.
pub(super) static UDMABUF: Memory = Memory { role: Role::Udmabuf, kind: Kind::Udmabuf };
/// Pages of the kernel.
pub(super) static DMA_HEAP: Memory = Memory { role: Role::DmaHeap, kind: Kind::DmaHeap };

/// The first heap of a kind, as who plays a role.
pub(super) struct Memory {
    role: Role,
    kind: Kind,
}

/// A frame that the processor draws.
pub(super) struct Bytes(pub(super) Buffer);

impl End for Memory {
    fn role(&self) -> Role {
        self.role
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        Ok(of_linux(self.heap(devices).map_err(Unplayed::Absent)?.offer().heap.clone()))
    }

    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        Some(self)
    }

    fn heap(&self, devices: &mut Devices) -> Result<Arc<dyn Heap>, String> {
        devices.heap_of(self.kind, "")
    }
}

impl Exporter for Memory {
    fn can(&self, parcel: &Parcel) -> bool {
        can(parcel)
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.heap(self.role).map(|_| None)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, to: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        export(cx, self.role, parcel, to)
    }
}

/// Whether bytes of a heap can be `parcel`.
pub(super) fn can(parcel: &Parcel) -> bool {
    // Where a frame begins, and where its planes lie, is told together with its rows.
    let plain = parcel.start == Start::First && parcel.planes == Planes::Contiguous;
    parcel.fourcc.is_known() && (parcel.pitch().is_some() || plain)
}

/// `parcel` in memory of the heap that plays `role`.
pub(super) fn export(
    cx: &mut Cx,
    role: Role,
    parcel: &Parcel,
    to: &dyn Importer,
) -> Result<Box<dyn Exported>, Trouble> {
    if let Some(told) = parcel.told() {
        return laid(cx, role, told);
    }
    let heap = cx.heap(role)?;
    let buffer = cx.share(parcel.fourcc, parcel.size, Heaps::new([heap]), &[Guest::Cpu])?;
    to.attach(cx, &buffer)?;
    Ok(Box::new(Bytes(buffer)))
}

/// A frame as it is told to lie, in bytes of the heap that plays `role`.
pub(super) fn laid(cx: &mut Cx, role: Role, (frame, bytes): (Frame, u64)) -> Result<Box<dyn Exported>, Trouble> {
    let heap = cx.heap(role)?;
    let offer = heap.offer().clone();
    let storage = heap.allocate(&Agreement { heap: offer.heap.clone(), frame, bytes })?;
    cx.chooses_layout();
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
