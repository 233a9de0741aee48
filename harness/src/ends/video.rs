//! Video devices as ends: what they take comes out again, as it was or converted.

use super::{Imported, Importer, Parcel, Rows, Start};
use crate::case::{Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::format::Fourcc;
use crate::frame::px;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::v4l2::{Converter, Direction, Loopback, PixelFormat, Queue};

/// A loop that takes scattered pages.
pub(super) static SCATTERED: Loop = Loop(Role::Video);
/// A loop that takes contiguous memory only.
pub(super) static CONTIGUOUS: Loop = Loop(Role::DmaVideo);
/// A device that converts from memory to memory.
pub(super) static CONVERTER: Converts = Converts;

/// The video loop that plays this role.
pub(super) struct Loop(Role);

pub(super) struct Converts;

/// A buffer that is to go through a loop.
struct Looped {
    role: Role,
    video: Loopback,
    buffer: Buffer,
}

/// A buffer that is to be converted.
struct Converted {
    converter: Converter,
    buffer: Buffer,
}

impl Importer for Loop {
    fn role(&self) -> Role {
        self.0
    }

    fn can(&self, parcel: &Parcel) -> bool {
        let (width, height) = (parcel.size.width, parcel.size.height);
        let even = width.is_multiple_of(2) && height.is_multiple_of(2);
        // V4L2 has no offset of a plane in its buffer, but `data_offset`, which output ignores.
        let first = parcel.start == Start::First;
        let known = PixelFormat::of(parcel.fourcc).is_some() && parcel.is_contiguous();
        known && even && width >= 16 && height >= 16 && first
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        let video = cx.video_loop(self.0)?;
        let (Some(pixel), Some(_)) = (PixelFormat::of(parcel.fourcc), parcel.fourcc.yuv()) else { return Ok(None) };
        let listed = Queue::open(video.output(), Direction::Output)?.pixel_formats()?.contains(&pixel);
        Ok((!listed).then(|| format!("it does not list {pixel}")))
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        let video = cx.video_loop(self.0)?;
        cx.attach(&Guest::Video(video.output()), buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        let video = cx.video_loop(self.0)?;
        Ok(Box::new(Looped { role: self.0, video, buffer: buffer.clone() }))
    }
}

impl Imported for Looped {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        let video = &self.video;
        let actual = cx.mapped(&Guest::Video(video.output()), &self.buffer, Access::Read, |_, shared| {
            Ok(video.seen_of(shared)?)
        })?;
        Ok(cx.sees(self.role, target, &actual)?)
    }
}

impl Importer for Converts {
    fn role(&self) -> Role {
        Role::Converter
    }

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
