//! Cards without a display: they hand dumb buffers out, into which the processor draws, and hand on what they took in.
//!
//! vgem has nothing that draws or looks. As an importer it shows one thing: that what crossed to it is what it hands on, the
//! same dma-buf with the same pixels, read and written by the processor.

use super::memory::Bytes;
use super::{Exported, Exporter, Imported, Importer, Parcel, Planes, Rows, Start};
use crate::case::{Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Held, Target};
use crate::dmabuf::SharedFrame;
use crate::format::Fourcc;
use crate::frame::Frame;
use crate::kms;
use crate::pattern::Pattern;
use crate::share::buffer::Buffer;
use crate::share::core::Access;

/// vgem.
pub(super) static VGEM: Vgem = Vgem;

pub(super) struct Vgem;

/// Whether a dumb buffer can hold `parcel`: the card lays rows of RGB, from its first byte on; for YUV it only has bytes.
pub(super) fn dumb_can(parcel: &Parcel) -> bool {
    let laid = parcel.rows == Rows::Agreed && parcel.start == Start::First && parcel.planes == Planes::Contiguous;
    if parcel.fourcc.yuv().is_some() { parcel.pitch().is_some() } else { parcel.fourcc.pixel().is_some() && laid }
}

impl Exporter for Vgem {
    fn role(&self) -> Role {
        Role::Vgem
    }

    fn can(&self, parcel: &Parcel) -> bool {
        dumb_can(parcel)
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.vgem().map(|_| None)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, _: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        let vgem = cx.vgem()?;
        let shared = match parcel.told().filter(|_| parcel.fourcc.yuv().is_some()) {
            Some((frame, bytes)) => SharedFrame { dmabuf: vgem.of_bytes(bytes)?, frame },
            None => vgem.frame(parcel.fourcc, parcel.size)?,
        };
        Ok(Box::new(Bytes(cx.publish_memory(Role::Vgem, shared)?)))
    }
}

/// Who looks at what vgem took in, and draws to it.
const READER: &str = "cpu (through the dma-buf that vgem handed on)";

/// A buffer behind a handle of vgem.
struct TakenIn {
    /// The frame as vgem hands it on: a handle of an imported buffer can't be mapped (`drm_gem_dumb_map_offset`), so this is
    /// the only way to what is behind it.
    handed_on: SharedFrame,
    _handle: Held<kms::Imported>,
}

impl Importer for Vgem {
    fn role(&self) -> Role {
        Role::Vgem
    }

    fn can(&self, parcel: &Parcel) -> bool {
        // It knows of no format.
        parcel.fourcc == Fourcc::XR24
    }

    fn strength(&self) -> usize {
        1
    }

    fn draws(&self, _: &Parcel) -> bool {
        true
    }

    fn keeps(&self) -> bool {
        true
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.vgem().map(|_| None)
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        cx.attach(&Guest::Vgem, buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        let prime = cx.prime(Role::Vgem)?;
        let mut taken = None;
        let handle = cx.hold(&Guest::Vgem, buffer, Access::Write, |shared| {
            taken = Some((shared.frame.clone(), shared.dmabuf.identity()?.inode));
            prime.import(&shared.dmabuf)
        })?;
        let (frame, inode) = taken.ok_or_else(|| Trouble::Skip("nothing was mapped".to_owned()))?;
        let handed_on = SharedFrame { dmabuf: handle.export()?, frame };
        // That it is the dma-buf of the exporter is part of what the pair claims.
        cx.equals("inode of the dma-buf that vgem handed on", inode, handed_on.dmabuf.identity()?.inode);
        Ok(Box::new(TakenIn { handed_on, _handle: handle }))
    }
}

impl Imported for TakenIn {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        Ok(cx.sees(READER, target, &self.handed_on.read_back()?)?)
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Outcome {
        cx.fact("then drawn by", READER);
        let Frame { fourcc, size, .. } = self.handed_on.frame;
        Ok(self.handed_on.write(&Pattern { stamp }.picture(fourcc, size)?)?)
    }
}
