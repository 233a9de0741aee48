//! The processor as an end: it looks through mmap, by its own addressing.

use super::{End, Imported, Importer, Parcel};
use crate::case::{DeviceIdentity, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::pattern::Pattern;
use crate::share::buffer::Buffer;

/// The processor.
pub(super) static CPU: Cpu = Cpu;

pub(super) struct Cpu;

/// A buffer that the processor has in hand.
struct InHand(Buffer);

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

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        cx.attach(&Guest::Cpu, buffer)
    }

    fn import(&self, _: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        Ok(Box::new(InHand(buffer.clone())))
    }
}

impl Imported for InHand {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        cx.cpu_sees(&self.0, target)
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Outcome {
        let wish = self.0.wish();
        let picture = Pattern { stamp }.picture(wish.fourccs[0], wish.size)?;
        cx.cpu_writes(&self.0, &picture)
    }
}
