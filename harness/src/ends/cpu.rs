//! The processor as an end: it looks through mmap, by its own addressing.

use super::{Elsewhere, End, Imported, Importer, Parcel, Way, elsewhere};
use crate::case::{DeviceIdentity, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::dmabuf::SharedFrame;
use crate::error::Result;
use crate::pattern::Pattern;
use crate::picture::Picture;
use crate::share::buffer::Buffer;
use crate::share::parts::Parts;

/// The processor.
pub(super) static CPU: Cpu = Cpu;

pub(super) struct Cpu;

/// A buffer that the processor has in hand.
struct InHand {
    buffer: Buffer,
    fd_per_plane: bool,
}

impl End for Cpu {
    fn role(&self) -> Role {
        Role::Cpu
    }

    fn identity(&self, _: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        Ok(DeviceIdentity { name: std::env::consts::ARCH.to_owned(), driver: String::new() })
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }
}

impl Importer for Cpu {
    fn can(&self, parcel: &Parcel) -> bool {
        parcel.fourcc.is_known()
    }

    fn lacks(&self, _: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        Ok(None)
    }

    fn draws(&self, _: &Parcel) -> bool {
        true
    }

    fn elsewhere(&self) -> Option<&dyn Elsewhere> {
        Some(self)
    }

    fn takes_fds(&self) -> bool {
        true
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        cx.attach(&Guest::Cpu, buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        self.import_by(cx, buffer, Way::default())
    }

    fn import_by(&self, _: &mut Cx, buffer: &Buffer, way: Way) -> Result<Box<dyn Imported>, Trouble> {
        if way.elsewhere {
            return Ok(elsewhere::taken(self, buffer, way));
        }
        Ok(Box::new(InHand { buffer: buffer.clone(), fd_per_plane: way.fd_per_plane }))
    }
}

impl Imported for InHand {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        match self.fd_per_plane {
            true => cx.cpu_sees_parts(&Parts::One(self.buffer.clone()), target),
            false => cx.cpu_sees(&self.buffer, target),
        }
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Outcome {
        let wish = self.buffer.wish();
        let picture = Pattern { stamp }.picture(wish.fourccs[0], wish.size)?;
        cx.cpu_writes(&self.buffer, &picture)
    }
}

impl Elsewhere for Cpu {
    fn read(&self, _: &mut Devices, shared: &SharedFrame, _: bool) -> Result<Picture> {
        shared.read_back()
    }

    fn draw(&self, _: &mut Devices, shared: &SharedFrame, _: bool, stamp: u32) -> Result<()> {
        shared.write(&Pattern { stamp }.picture(shared.frame.fourcc, shared.frame.size)?)
    }
}
