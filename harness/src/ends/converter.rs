//! A device that converts from memory to memory, as an end: what it takes comes out again in another format.

use super::{End, Imported, Importer, Parcel, Rows, Start, of_linux};
use crate::case::{DeviceIdentity, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::format::Fourcc;
use crate::frame::px;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::v4l2::Converter;

/// A device that converts from memory to memory.
pub(super) static CONVERTER: Converts = Converts;

pub(super) struct Converts;

/// A buffer that is to be converted.
struct Converted {
    converter: Converter,
    buffer: Buffer,
}

impl End for Converts {
    fn role(&self) -> Role {
        Role::Converter
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        Ok(of_linux(devices.converter()?.device().to_string()))
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }
}

impl Importer for Converts {
    fn can(&self, parcel: &Parcel) -> bool {
        // It has neither pitch nor offset; this is the size whose rows every exporter lays without padding.
        let plain = parcel.rows == Rows::Agreed && parcel.start == Start::First;
        parcel.fourcc == Fourcc::RG16 && parcel.size == px(64, 64) && plain
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.converter().map(|_| None)
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        let converter = cx.converter()?;
        cx.attach(&Guest::Video(converter.device()), buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        Ok(Box::new(Converted { converter: cx.converter()?, buffer: buffer.clone() }))
    }
}

impl Imported for Converted {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        let converter = &self.converter;
        let guest = Guest::Video(converter.device());
        let actual = cx.mapped(&guest, &self.buffer, Access::Read, |_, shared| Ok(converter.seen_of(shared)?))?;
        let before = target.before.as_ref().map(Converter::target).transpose()?;
        let target = Target { picture: Converter::target(&target.picture)?, before };
        Ok(cx.sees(Role::Converter, &target, &actual)?)
    }
}
