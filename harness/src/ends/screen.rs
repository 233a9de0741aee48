//! The screen as an end: it hands out dumb buffers, and shows what it is given, seen through writeback and CRC.

use super::card::dumb_can;
use super::memory::Bytes;
use super::{Exported, Exporter, Imported, Importer, Parcel, Start};
use crate::case::{Need, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::dmabuf::SharedFrame;
use crate::format::Fourcc;
use crate::frame::px;
use crate::kms::Layer;
use crate::share::buffer::Buffer;

/// The screen.
pub(super) static SCREEN: Screen = Screen(Role::Screen);
/// Another card's screen.
pub(super) static SCREEN_B: Screen = Screen(Role::ScreenB);

/// The screen that plays this role.
pub(super) struct Screen(Role);

/// A buffer that the screen is to show.
struct Showable(Role, Buffer);

impl Screen {
    /// The second card says nothing new of formats, sizes and offsets; what is new is that it is another card.
    fn can(&self, parcel: &Parcel) -> bool {
        let plain = (parcel.fourcc, parcel.size, parcel.start) == (Fourcc::XR24, px(64, 64), Start::First);
        self.0 == Role::Screen || plain
    }

    fn strength(&self) -> usize {
        if self.0 == Role::Screen { usize::MAX } else { 1 }
    }
}

impl Exporter for Screen {
    fn role(&self) -> Role {
        self.0
    }

    fn can(&self, parcel: &Parcel) -> bool {
        dumb_can(parcel) && self.can(parcel)
    }

    fn strength(&self) -> usize {
        self.strength()
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.screen_of(self.0).map(|_| None)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, _: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        let screen = cx.screen_of(self.0)?;
        let shared = match parcel.told().filter(|_| parcel.fourcc.yuv().is_some()) {
            Some((frame, bytes)) => SharedFrame { dmabuf: screen.dumb_of_bytes(bytes)?, frame },
            None => screen.dumb(parcel.fourcc, parcel.size)?,
        };
        Ok(Box::new(Bytes(cx.publish_memory(self.0, shared)?)))
    }
}

impl Importer for Screen {
    fn role(&self) -> Role {
        self.0
    }

    fn can(&self, parcel: &Parcel) -> bool {
        parcel.fourcc.is_known() && self.can(parcel)
    }

    fn strength(&self) -> usize {
        self.strength()
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Imports { role: self.0, format: parcel.fourcc.to_string() })
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        cx.attach(&Guest::screen(self.0), buffer)
    }

    fn import(&self, _: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        Ok(Box::new(Showable(self.0, buffer.clone())))
    }
}

impl Imported for Showable {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        cx.shows_on(self.0, &[(Layer::whole(&self.1), target)])
    }
}
