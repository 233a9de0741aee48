//! Cards that only have dumb buffers to hand out: the processor draws into them.

use super::memory::Bytes;
use super::{Exported, Exporter, Importer, Parcel, Rows, Start};
use crate::case::{Role, Trouble};
use crate::cx::Cx;

/// vgem.
pub(super) static VGEM: Vgem = Vgem;

pub(super) struct Vgem;

/// Whether a dumb buffer can hold `parcel`: the card lays its rows, from its first byte on.
pub(super) fn dumb_can(parcel: &Parcel) -> bool {
    parcel.fourcc.pixel().is_some() && parcel.rows == Rows::Agreed && parcel.start == Start::First
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
        let shared = cx.vgem()?.frame(parcel.fourcc, parcel.size)?;
        Ok(Box::new(Bytes(cx.publish_memory(Role::Vgem, shared)?)))
    }
}
