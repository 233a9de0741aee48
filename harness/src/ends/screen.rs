//! The screen as an end: it hands out dumb buffers, and shows what it is given, seen through writeback and CRC.

use super::card::dumb_can;
use super::memory::Bytes;
use super::{Exported, Exporter, Imported, Importer, Parcel};
use crate::case::{Need, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::dmabuf::SharedFrame;
use crate::kms::Layer;
use crate::share::buffer::Buffer;

/// The screen.
pub(super) static SCREEN: Screen = Screen;

pub(super) struct Screen;

/// A buffer that the screen is to show.
struct Showable(Buffer);

impl Exporter for Screen {
    fn role(&self) -> Role {
        Role::Screen
    }

    fn can(&self, parcel: &Parcel) -> bool {
        dumb_can(parcel)
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.screen().map(|_| None)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, _: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        let screen = cx.screen()?;
        let shared = match parcel.told().filter(|_| parcel.fourcc.yuv().is_some()) {
            Some((frame, bytes)) => SharedFrame { dmabuf: screen.dumb_of_bytes(bytes)?, frame },
            None => screen.dumb(parcel.fourcc, parcel.size)?,
        };
        Ok(Box::new(Bytes(cx.publish_memory(Role::Screen, shared)?)))
    }
}

impl Importer for Screen {
    fn role(&self) -> Role {
        Role::Screen
    }

    fn can(&self, parcel: &Parcel) -> bool {
        parcel.fourcc.is_known()
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Imports { role: Role::Screen, format: parcel.fourcc.to_string() })
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        cx.attach(&Guest::Screen, buffer)
    }

    fn import(&self, _: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        Ok(Box::new(Showable(buffer.clone())))
    }
}

impl Imported for Showable {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        cx.screen_shows(&[(Layer::whole(&self.0), target)])
    }
}
