//! Video loops as ends: what they take comes out again as it was, in memory of their own or of others.

use std::sync::Arc;

use super::{End, Exported, Exporter, Imported, Importer, Parcel, Start, memory, of_linux};
use crate::case::{DeviceIdentity, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::format::Fourcc;
use crate::pattern::Pattern;
use crate::share::agreement::Wish;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::share::heap::{Heap, Heaps};
use crate::share::heaps::Kind;
use crate::v4l2::{Direction, Loopback, OwnFrame, PixelFormat, Queue};

/// A loop that takes scattered pages.
pub(super) static SCATTERED: Loop = Loop(Role::Video);
/// A loop that takes contiguous memory only.
pub(super) static CONTIGUOUS: Loop = Loop(Role::DmaVideo);
/// A loop that takes an offset, by the multi-planar interface.
pub(super) static PLANAR: Loop = Loop(Role::PlanarVideo);

/// A frame takes tens of milliseconds, and its rows are copied as bytes: two sizes of pixels show what all would.
const BYTES: [Fourcc; 2] = [Fourcc::XR24, Fourcc::RG16];
/// The same of frames that it fills itself; these are for planes that blend, too.
const FILLED: [Fourcc; 2] = [Fourcc::AR24, Fourcc::RG16];

/// The video loop that plays this role.
pub(super) struct Loop(Role);

/// A loop's own buffer, which the loop itself fills.
struct Filled {
    video: Loopback,
    /// Where the first frame is filled, and no other, so that whoever looks has the queues for itself.
    own: Option<OwnFrame>,
    buffer: Buffer,
}

/// A buffer that is to go through a loop.
struct Looped {
    role: Role,
    video: Loopback,
    buffer: Buffer,
}

/// Whether V4L2 has such frames, and loops do: of even sizes that are not too small.
fn loops(parcel: &Parcel) -> bool {
    let (width, height) = (parcel.size.width, parcel.size.height);
    let even = width.is_multiple_of(2) && height.is_multiple_of(2);
    PixelFormat::of(parcel.fourcc).is_some() && parcel.is_contiguous() && even && width >= 16 && height >= 16
}

impl Loop {
    /// Whether its own buffers are filled by the device. Those of the others are a heap, and the processor fills them as it does
    /// those of any.
    fn fills(&self) -> bool {
        self.0 == Role::PlanarVideo
    }
}

impl End for Loop {
    fn role(&self) -> Role {
        self.0
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        Ok(of_linux(devices.video_loop(self.0)?.output().to_string()))
    }

    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        if self.fills() { None } else { Some(self) }
    }

    fn filler(&'static self) -> Option<&'static dyn Exporter> {
        if self.fills() { Some(self) } else { None }
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }

    fn heap(&self, devices: &mut Devices) -> Result<Arc<dyn Heap>, String> {
        let video = devices.video_loop(self.0).map_err(|why| why.to_string())?;
        devices.heap_of(Kind::Expbuf, video.capture().name())
    }
}

impl Importer for Loop {
    fn can(&self, parcel: &Parcel) -> bool {
        // Only the multi-planar interface has an offset of a picture in its buffer. All else it has in common with the other.
        let planar = self.0 == Role::PlanarVideo;
        let new = if planar { BYTES.contains(&parcel.fourcc) } else { parcel.start == Start::First };
        loops(parcel) && new
    }

    fn strength(&self) -> usize {
        if self.0 == Role::PlanarVideo { 1 } else { usize::MAX }
    }

    fn draws(&self, parcel: &Parcel) -> bool {
        // Where a frame begins in a buffer that is filled by the multi-planar interface is for the device to say.
        self.0 != Role::PlanarVideo && BYTES.contains(&parcel.fourcc)
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

impl Exporter for Loop {
    fn can(&self, parcel: &Parcel) -> bool {
        if !self.fills() {
            return memory::can(parcel);
        }
        // Where a picture begins in a buffer that it fills is for the device to say.
        loops(parcel) && parcel.start == Start::First && FILLED.contains(&parcel.fourcc)
    }

    fn strength(&self) -> usize {
        if self.fills() { 1 } else { usize::MAX }
    }

    fn draws_itself(&self) -> bool {
        self.fills()
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        if self.fills() { cx.video_loop(self.0).map(|_| None) } else { cx.heap(self.0).map(|_| None) }
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, to: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        if !self.fills() {
            return memory::export(cx, self.0, parcel, to);
        }
        let video = cx.video_loop(self.0)?;
        let filler = Guest::Filler(video.capture());
        // It can be asked what it needs while its queue is free, and is not asked twice.
        let wish = Wish { fourccs: vec![parcel.fourcc], size: parcel.size };
        cx.party_of(&filler, &Buffer::export(wish, Heaps::default()))?;
        let own = video.own(parcel.fourcc, parcel.size, parcel.pitch())?;
        let buffer = cx.publish(filler, own.shared()?)?;
        Ok(Box::new(Filled { video: video.clone(), own: Some(own), buffer }))
    }
}

impl Exported for Filled {
    fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Result<(), Trouble> {
        cx.fact("drawn by", self.video.capture());
        let Wish { fourccs, size } = self.buffer.wish();
        let picture = Pattern { stamp }.picture(fourccs[0], *size)?;
        let (video, own) = (&self.video, self.own.take());
        let filler = Guest::Filler(video.capture());
        cx.mapped(&filler, &self.buffer, Access::Write, |_, shared| match own {
            Some(mut own) => Ok(own.fill(&picture)?),
            // Its own memory, come back as anybody's.
            None => Ok(video.write(&picture, shared)?),
        })
    }

    fn sees(&mut self, _: &mut Cx, _: &Target) -> Result<bool, Trouble> {
        // What its output shows is what the importer of this name sees.
        Ok(false)
    }
}

impl Imported for Looped {
    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Outcome {
        let Wish { fourccs, size } = self.buffer.wish();
        let picture = Pattern { stamp }.picture(fourccs[0], *size)?;
        let video = &self.video;
        let filler = Guest::Filler(video.capture());
        cx.mapped(&filler, &self.buffer, Access::Write, |_, shared| Ok(video.write(&picture, shared)?))
    }

    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        let video = &self.video;
        let actual = cx.mapped(&Guest::Video(video.output()), &self.buffer, Access::Read, |_, shared| {
            Ok(video.seen_of(shared)?)
        })?;
        Ok(cx.sees(self.role, target, &actual)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ends::{exporters, fillers};

    /// Of all others the processor writes the pixels, and a look of the processor would be no other one's.
    #[test]
    fn who_draws_by_itself_is_a_device() {
        let all = exporters().into_iter().chain(fillers());
        let draw: Vec<Role> = all.filter(|end| end.draws_itself()).map(|end| end.role()).collect();
        assert_eq!(draw, [Role::GpuA, Role::GpuB, Role::Gles, Role::GlesGbm, Role::PlanarVideo, Role::Converter]);
    }
}
