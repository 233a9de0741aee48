//! Planes above the lowest one as ends: what they are given is blended over a frame of the processor's.

use super::screen::{identity_of, lacks_in_plane, listed};
use super::{End, Imported, Importer, Parcel, Start};
use crate::case::{DeviceIdentity, Need, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::format::{Channel, Fourcc, Modifier, PixelLayout};
use crate::frame::{Size, px};
use crate::share::buffer::Buffer;

/// An overlay plane of the screen.
pub(super) static OVERLAY: Above = Above(Role::Overlay);
/// The cursor plane of the screen.
pub(super) static CURSOR: Above = Above(Role::Cursor);

/// What a driver that says nothing takes for its cursor.
const CURSOR_SIZE: Size = px(64, 64);

/// The plane that plays this role.
pub(super) struct Above(Role);

/// A buffer that the plane is to show.
struct Showable(Role, Buffer);

impl End for Above {
    fn role(&self) -> Role {
        self.0
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        identity_of(devices, self.0)
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }

    fn lacks_to_import(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        lacks_in_plane(devices, self.0, fourcc)
    }
}

impl Importer for Above {
    fn can(&self, parcel: &Parcel) -> bool {
        // How frames are read is the lowest plane's to show. These show how they are blended, for which small ones do.
        let blends = |pixel: &PixelLayout| pixel.shown().any(|c| c.channel == Channel::A);
        let new = match self.0 {
            // The one format that all cursors have, and the one with alpha that OpenGL ES draws, in a size that most have; what this
            // one says to it is asked below.
            Role::Cursor => [Fourcc::AR24, Fourcc::AB24].contains(&parcel.fourcc) && parcel.size == CURSOR_SIZE,
            _ => parcel.fourcc.pixel().is_some_and(blends) && parcel.size.width <= CURSOR_SIZE.width,
        };
        new && parcel.start == Start::First
    }

    fn strength(&self) -> usize {
        1
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, _: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        Ok(listed(cx.screen_of(self.0)?.plane(Devices::plane_of(self.0))?, fourcc))
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        let lack = cx.lack_of(&Need::Imports { role: self.0, format: parcel.fourcc.to_string() })?;
        if lack.is_some() {
            return Ok(lack);
        }
        cx.refusal_of(self.0, parcel.fourcc, parcel.size)
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        cx.attach(&Guest::Screen, buffer)
    }

    fn import(&self, _: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        Ok(Box::new(Showable(self.0, buffer.clone())))
    }
}

impl Imported for Showable {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        cx.plane_shows(self.0, &self.1, target)
    }
}
