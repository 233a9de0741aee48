//! Cards without a display: they hand dumb buffers out, into which the processor draws, and hand on what they took in.
//!
//! vgem has nothing that draws or looks. As an importer it shows one thing: that what crossed to it is what it hands on, the
//! same dma-buf with the same pixels, read and written by the processor.

use std::path::PathBuf;

use super::memory::Bytes;
use super::{
    Elsewhere, End, Exported, Exporter, Imported, Importer, Parcel, Planes, Rows, Start, Way, elsewhere, of_linux,
};
use crate::case::{DeviceIdentity, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Held, Target};
use crate::devices::{Devices, Unplayed};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::Frame;
use crate::kms::{self, DumbBuffers};
use crate::pattern::Pattern;
use crate::picture::Picture;
use crate::share::buffer::Buffer;
use crate::share::core::Access;

/// vgem.
pub(super) static VGEM: Card = Card { role: Role::Vgem, driver: "vgem" };

/// The first card of a driver, as who plays a role.
pub(super) struct Card {
    role: Role,
    driver: &'static str,
}

impl Card {
    fn open<'d>(&self, devices: &'d mut Devices) -> Result<&'d mut DumbBuffers, Unplayed> {
        devices.dumb_buffers(self.role, self.driver)
    }
}

impl End for Card {
    fn role(&self) -> Role {
        self.role
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        Ok(of_linux(self.open(devices)?.driver()))
    }

    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        Some(self)
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }

    fn node(&self, devices: &mut Devices) -> Result<Option<PathBuf>, Unplayed> {
        Ok(Some(self.open(devices)?.node().to_owned()))
    }
}

/// Whether a dumb buffer can hold `parcel`: the card lays rows of RGB from its first byte on, and else it only has bytes.
pub(super) fn dumb_can(parcel: &Parcel) -> bool {
    let laid = parcel.rows == Rows::Agreed && parcel.start == Start::First && parcel.planes == Planes::Contiguous;
    (laid && parcel.fourcc.pixel().is_some()) || parcel.pitch().is_some()
}

impl Exporter for Card {
    fn can(&self, parcel: &Parcel) -> bool {
        dumb_can(parcel)
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        self.open(cx.devices()).map(|_| None).map_err(Trouble::from)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, _: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        let card = self.open(cx.devices())?;
        let shared = match parcel.told() {
            Some((frame, bytes)) => {
                let dmabuf = card.of_bytes(bytes)?;
                cx.chooses_layout();
                SharedFrame { dmabuf, frame }
            }
            None => card.frame(parcel.fourcc, parcel.size)?,
        };
        Ok(Box::new(Bytes(cx.publish_memory(self.role, shared)?)))
    }
}

/// A buffer behind a handle of the card.
struct TakenIn {
    role: Role,
    /// The frame as the card hands it on: a handle of an imported buffer can't be mapped (`drm_gem_dumb_map_offset`), so this is
    /// the only way to what is behind it.
    handed_on: SharedFrame,
    _handle: Held<kms::Imported>,
}

impl TakenIn {
    /// Who looks at it, and draws to it.
    fn reader(&self) -> String {
        format!("cpu (through the dma-buf that {} handed on)", self.role)
    }
}

impl Importer for Card {
    fn can(&self, parcel: &Parcel) -> bool {
        // It knows of no format: what most hand out, and what those do that draw with no unused component.
        [Fourcc::XR24, Fourcc::RG16].contains(&parcel.fourcc)
    }

    fn strength(&self) -> usize {
        1
    }

    fn draws(&self, _: &Parcel) -> bool {
        true
    }

    fn elsewhere(&self) -> Option<&dyn Elsewhere> {
        Some(self)
    }

    fn keeps(&self) -> bool {
        true
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        self.open(cx.devices()).map(|_| None).map_err(Trouble::from)
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        cx.attach(&Guest::Plays(self.role), buffer)
    }

    fn import_by(&self, cx: &mut Cx, buffer: &Buffer, way: Way) -> Result<Box<dyn Imported>, Trouble> {
        if way.elsewhere { Ok(elsewhere::taken(self, buffer, way)) } else { self.import(cx, buffer) }
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        let (role, prime) = (self.role, cx.prime(self.role)?);
        let mut taken = None;
        let handle = cx.hold(&Guest::Plays(role), buffer, Access::Write, |shared| {
            taken = Some((shared.frame.clone(), shared.dmabuf.identity()?.inode));
            prime.import(&shared.dmabuf)
        })?;
        let (frame, inode) = taken.ok_or_else(|| Trouble::Skip("nothing was mapped".to_owned()))?;
        let handed_on = SharedFrame { dmabuf: handle.export()?, frame };
        // That it is the dma-buf of the exporter is part of what the pair claims.
        cx.equals(format!("inode of the dma-buf that {role} handed on"), inode, handed_on.dmabuf.identity()?.inode);
        Ok(Box::new(TakenIn { role, handed_on, _handle: handle }))
    }
}

impl Imported for TakenIn {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        Ok(cx.sees(self.reader(), target, &self.handed_on.read_back()?)?)
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Outcome {
        cx.fact("then drawn by", self.reader());
        let Frame { fourcc, size, .. } = self.handed_on.frame;
        Ok(self.handed_on.write(&Pattern { stamp }.picture(fourcc, size)?)?)
    }
}

impl Card {
    /// What `work` makes of `shared` as the card hands it on, in a process that runs no case.
    fn handed_on<T>(
        &self,
        devices: &mut Devices,
        shared: &SharedFrame,
        work: impl FnOnce(&SharedFrame) -> Result<T>,
    ) -> Result<T> {
        let prime = devices.prime(self.role, 0).map_err(|why| why.opening(self.role))?;
        let handle = prime.import(&shared.dmabuf)?;
        let handed_on = SharedFrame { dmabuf: handle.export()?, frame: shared.frame.clone() };
        if handed_on.dmabuf.inode() != shared.dmabuf.inode() {
            let why = format!("{} for {}, which was taken in", handed_on.dmabuf, shared.dmabuf);
            return Err(Error::answer("DRM_IOCTL_PRIME_HANDLE_TO_FD", self.role.to_string(), why));
        }
        work(&handed_on)
    }
}

impl Elsewhere for Card {
    fn read(&self, devices: &mut Devices, shared: &SharedFrame, _: bool) -> Result<Picture> {
        self.handed_on(devices, shared, SharedFrame::read_back)
    }

    fn draw(&self, devices: &mut Devices, shared: &SharedFrame, _: bool, stamp: u32) -> Result<()> {
        let picture = Pattern { stamp }.picture(shared.frame.fourcc, shared.frame.size)?;
        self.handed_on(devices, shared, |handed_on| handed_on.write(&picture))
    }
}
