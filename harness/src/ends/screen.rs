//! The screen as an end: it hands out dumb buffers, and shows what it is given, seen through writeback and CRC.

use std::path::PathBuf;

use super::card::dumb_can;
use super::memory::Bytes;
use super::{End, Exported, Exporter, Imported, Importer, Parcel, Start, Way};
use crate::case::{DeviceIdentity, Need, Role, Trouble};
use crate::compose::Rect;
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::dmabuf::SharedFrame;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::kms::{Layer, Plane, PlaneKind};
use crate::share::agreement::Wish;
use crate::share::buffer::Buffer;
use crate::share::constraints::Constraints;
use crate::share::heap::Storage;
use crate::share::parts::Parts;
use crate::yuv::Colours;

/// The screen.
pub(super) static SCREEN: Screen = Screen(Role::Screen);
/// Another card's screen.
pub(super) static SCREEN_B: Screen = Screen(Role::ScreenB);

/// What the second card is given: what most hand out, and what those do that draw with no unused component.
const TAKEN: [Fourcc; 2] = [Fourcc::XR24, Fourcc::RG16];
/// What it gives: that, and what is blended.
const GIVEN: [Fourcc; 3] = [Fourcc::XR24, Fourcc::RG16, Fourcc::AR24];

/// The screen that plays this role.
pub(super) struct Screen(Role);

/// A buffer that the screen is to show.
struct Showable {
    role: Role,
    buffer: Buffer,
    fd_per_plane: bool,
}

/// The modifiers that `plane` lists for `fourcc`; those that say nothing of them are left out.
pub(super) fn listed(plane: &Plane, fourcc: Fourcc) -> Vec<Modifier> {
    let offers = plane.offers.iter().filter(|offer| offer.fourcc == fourcc);
    offers.flat_map(|offer| offer.modifiers.iter().copied()).filter(|code| *code != Modifier::INVALID).collect()
}

impl Screen {
    /// The second card says nothing new of formats, sizes and offsets; what is new is that it is another card. So it has what
    /// every pair needs to have one in common.
    fn can(&self, parcel: &Parcel, fourccs: &[Fourcc]) -> bool {
        let plain = (parcel.size, parcel.start) == (px(64, 64), Start::First);
        self.0 == Role::Screen || (fourccs.contains(&parcel.fourcc) && plain)
    }

    fn strength(&self) -> usize {
        if self.0 == Role::Screen { usize::MAX } else { 1 }
    }
}

/// The screen that plays `role`, or whose plane does.
pub(super) fn identity_of(devices: &mut Devices, role: Role) -> Result<DeviceIdentity, Unplayed> {
    let screen = devices.screen(role)?;
    screen.plane(Devices::plane_of(role)).map_err(|why| Unplayed::Absent(why.to_string()))?;
    let identity = screen.identity();
    Ok(DeviceIdentity {
        name: format!("{} {}", identity.driver, identity.connector),
        driver: format!("Linux {}", identity.kernel),
    })
}

/// What the plane that plays `role` lacks to show LINEAR frames of `fourcc`.
pub(super) fn lacks_in_plane(devices: &mut Devices, role: Role, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
    let kind = Devices::plane_of(role);
    let called = if kind == PlaneKind::Primary { "lowest".to_owned() } else { kind.to_string() };
    let screen = devices.screen(role)?;
    match screen.plane(kind) {
        Ok(plane) if plane.lists(fourcc, Modifier::LINEAR) => screen.wants_cover().map_err(Unplayed::Broken),
        Ok(_) => Ok(Some(format!("its {called} plane does not list {fourcc} LINEAR"))),
        Err(why) => Ok(Some(why.to_string())),
    }
}

impl End for Screen {
    fn role(&self) -> Role {
        self.0
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        identity_of(devices, self.0)
    }

    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        Some(self)
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }

    fn node(&self, devices: &mut Devices) -> Result<Option<PathBuf>, Unplayed> {
        Ok(Some(devices.screen(self.0)?.identity().node))
    }

    fn constraints(
        &self,
        devices: &mut Devices,
        wish: &Wish,
        probes: &[&Storage],
    ) -> Result<Option<Constraints>, Trouble> {
        Ok(Some(devices.screen(self.0)?.constraints(&wish.fourccs, wish.size, probes)?))
    }

    fn lacks_to_import(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        lacks_in_plane(devices, self.0, fourcc)
    }
}

impl Exporter for Screen {
    fn can(&self, parcel: &Parcel) -> bool {
        dumb_can(parcel) && self.can(parcel, &GIVEN)
    }

    fn strength(&self) -> usize {
        self.strength()
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        cx.screen_of(self.0).map(|_| None)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, _: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        let screen = cx.screen_of(self.0)?;
        let shared = match parcel.told() {
            Some((frame, bytes)) => {
                let dmabuf = screen.dumb_of_bytes(bytes)?;
                cx.chooses_layout();
                SharedFrame { dmabuf, frame }
            }
            None => screen.dumb(parcel.fourcc, parcel.size)?,
        };
        Ok(Box::new(Bytes(cx.publish_memory(self.0, shared)?)))
    }
}

impl Importer for Screen {
    fn can(&self, parcel: &Parcel) -> bool {
        parcel.fourcc.is_known() && self.can(parcel, &TAKEN)
    }

    fn strength(&self) -> usize {
        self.strength()
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Imports { role: self.0, format: parcel.fourcc.to_string() })
    }

    fn takes_fds(&self) -> bool {
        self.0 == Role::Screen
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, _: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        Ok(cx.screen_of(self.0)?.planes().next().map(|lowest| listed(lowest, fourcc)).unwrap_or_default())
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        cx.attach(&Guest::screen(self.0), buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        self.import_by(cx, buffer, Way::default())
    }

    fn import_by(&self, _: &mut Cx, buffer: &Buffer, way: Way) -> Result<Box<dyn Imported>, Trouble> {
        Ok(Box::new(Showable { role: self.0, buffer: buffer.clone(), fd_per_plane: way.fd_per_plane }))
    }
}

impl Imported for Showable {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        let Self { role, buffer, fd_per_plane } = self;
        if *fd_per_plane {
            return cx.screen_shows_parts(&Parts::One(buffer.clone()), Colours::FULL, target);
        }
        let layer =
            Layer { crop: last_corner(target.picture.size, cx.screen_of(*role)?.size()), ..Layer::whole(buffer) };
        cx.shows_on(*role, &[(layer, target)])
    }
}

/// What a screen of size `screen` shows of a frame that is larger: its last rows, and their last pixels, which are the furthest
/// from its first byte.
fn last_corner(frame: Size, screen: Size) -> Rect {
    let size = px(frame.width.min(screen.width), frame.height.min(screen.height));
    Rect { x: frame.width - size.width, y: frame.height - size.height, size }
}
