//! A device that converts from memory to memory, as an end: what it takes comes out again in another format, and what it hands
//! out it has filled itself. It is given that in the same format: what vim2m narrows is wrong in each second pixel, which
//! `v4l2::narrows_every_pixel_of_a_row` is about.

use super::{End, Exported, Exporter, Imported, Importer, Parcel, Rows, Start, of_linux};
use crate::case::{DeviceIdentity, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::format::Fourcc;
use crate::frame::px;
use crate::guess::Suspects;
use crate::pattern::Pattern;
use crate::share::agreement::Wish;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::v4l2::{Converter, OwnConverted};

/// A device that converts from memory to memory.
pub(super) static CONVERTER: Converts = Converts;

pub(super) struct Converts;

/// A buffer of its own, into which it converts.
struct Made {
    converter: Converter,
    own: OwnConverted,
    buffer: Buffer,
}

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

    fn filler(&'static self) -> Option<&'static dyn Exporter> {
        Some(self)
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }
}

/// It has neither pitch nor offset; this is the size whose rows every exporter lays without padding.
fn converts(parcel: &Parcel) -> bool {
    let plain = parcel.rows == Rows::Agreed && parcel.start == Start::First;
    parcel.fourcc == Fourcc::RG16 && parcel.size == px(64, 64) && plain
}

impl Exporter for Converts {
    fn can(&self, parcel: &Parcel) -> bool {
        converts(parcel)
    }

    fn strength(&self) -> usize {
        1
    }

    fn draws_itself(&self) -> bool {
        true
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.converter().map(|_| None)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, _: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        let converter = cx.converter()?;
        let own = converter.own(parcel.size, parcel.fourcc)?;
        let buffer = cx.publish(Guest::Filler(converter.device()), own.shared()?)?;
        Ok(Box::new(Made { converter, own, buffer }))
    }
}

impl Exported for Made {
    fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Result<(), Trouble> {
        let device = self.converter.device();
        cx.fact("drawn by", device);
        let Wish { fourccs, size } = self.buffer.wish();
        let picture = Pattern { stamp }.picture(fourccs[0], *size)?;
        let own = &mut self.own;
        cx.mapped(&Guest::Filler(device), &self.buffer, Access::Write, |_, _| Ok(own.fill(&picture)?))
    }

    fn sees(&mut self, _: &mut Cx, _: &Target) -> Result<bool, Trouble> {
        // What it makes of a frame is what the importer of this name sees.
        Ok(false)
    }
}

impl Importer for Converts {
    fn can(&self, parcel: &Parcel) -> bool {
        converts(parcel)
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
        Ok(cx.sees_within(Role::Converter, &target, &actual, &converter.tolerance(), &Suspects::default())?)
    }
}
