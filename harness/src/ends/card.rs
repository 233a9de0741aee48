//! Cards that only have dumb buffers to hand out: the processor draws into them.

use super::memory::Bytes;
use super::{Exported, Exporter, Importer, Parcel, Planes, Rows, Start};
use crate::case::{Role, Trouble};
use crate::cx::Cx;
use crate::dmabuf::SharedFrame;

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
