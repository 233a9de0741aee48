//! GBM as an end: its driver lays frames out, and maps them and those of others for us to draw and to look.
//!
//! A device with several nodes takes each frame in by every one of them: a compositor has the card, and its clients have the
//! render node.

use std::sync::Arc;

use rustix::io::Errno;

use super::{End, Exported, Exporter, Imported, Importer, Parcel, Start, memory, of_linux};
use crate::case::{DeviceIdentity, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Held, Target};
use crate::devices::{Devices, Unplayed};
use crate::error::{Cause, Error};
use crate::format::{Fourcc, Modifier};
use crate::gbm::{Bo, Gbm, How, Usage};
use crate::pattern::Pattern;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::share::heap::Heap;
use crate::share::heaps::Kind;

/// A DRM device through libgbm.
pub(super) static GBM: GbmNodes = GbmNodes;

pub(super) struct GbmNodes;

/// A frame that GBM laid out.
struct Made {
    gbm: Gbm,
    bo: Bo,
    buffer: Buffer,
}

/// A frame that each node took in.
struct TakenIn(Vec<(Gbm, Held<Bo>)>);

/// What GBM lacks for `fourcc`.
pub(super) fn lack(cx: &mut Cx, fourcc: Fourcc) -> Result<Option<String>, Trouble> {
    let gbm = cx.gbm()?.gives;
    let supported = gbm.supports(fourcc, Usage::LINEAR);
    Ok((!supported).then(|| format!("gbm_device_is_format_supported says no to {fourcc} LINEAR")))
}

/// Those of `asked` that `gbm` knows for `fourcc`: it lists none, but tells how many planes they have.
pub(super) fn known(gbm: &Gbm, fourcc: Fourcc, asked: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
    let mut known = Vec::new();
    for &modifier in asked {
        if gbm.planes(fourcc, modifier)?.is_some() {
            known.push(modifier);
        }
    }
    Ok(known)
}

impl End for GbmNodes {
    fn role(&self) -> Role {
        Role::Gbm
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        let gbm = devices.gbm()?.gives;
        let DeviceIdentity { name, driver } = of_linux(format!("{} gbm", gbm.driver()));
        Ok(DeviceIdentity { name, driver: format!("backend {}, {driver}", gbm.backend()) })
    }

    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        Some(self)
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }

    fn heap(&self, devices: &mut Devices) -> Result<Arc<dyn Heap>, String> {
        // Memory of the device that plays the role.
        let driver = devices.gbm().map_err(|why| why.to_string())?.gives.driver().to_owned();
        devices.heap_of(Kind::Gbm, &driver)
    }
}

impl Exporter for GbmNodes {
    fn can(&self, parcel: &Parcel) -> bool {
        // What is told to lie somewhere lies in bytes of a buffer, where GBM knows nothing of it.
        parcel.fourcc.pixel().is_some() && (parcel.pitch().is_some() || parcel.start == Start::First)
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        if parcel.pitch().is_some() { Ok(None) } else { lack(cx, parcel.fourcc) }
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, asked: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        known(&cx.gbm()?.gives, fourcc, asked)
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, to: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        self.export_as(cx, parcel, &[Modifier::LINEAR], to)
    }

    fn export_as(
        &self,
        cx: &mut Cx,
        parcel: &Parcel,
        modifiers: &[Modifier],
        _: &dyn Importer,
    ) -> Result<Box<dyn Exported>, Trouble> {
        if let Some(told) = parcel.told() {
            return memory::laid(cx, Role::Gbm, told);
        }
        let (gbm, bo) = made(cx, parcel, modifiers)?;
        let buffer = cx.publish(Guest::Gbm(&gbm), bo.export()?)?;
        Ok(Box::new(Made { gbm, bo, buffer }))
    }
}

/// A bo for `parcel`, by the node that gives memory, in one of `modifiers`, which its driver chooses.
pub(super) fn made(cx: &mut Cx, parcel: &Parcel, modifiers: &[Modifier]) -> Result<(Gbm, Bo), Trouble> {
    let gbm = cx.gbm()?.gives;
    match gbm.create(parcel.fourcc, parcel.size, &How::Modifiers(modifiers.to_vec())) {
        // It lists none, and has not said that it makes such buffers.
        Err(why) if !modifiers.contains(&Modifier::LINEAR) && is_refusal(&why) => Err(Trouble::Skip(why.to_string())),
        bo => Ok((gbm, bo?)),
    }
}

/// Whether a driver refuses, and does not answer nonsense or lack what it needs.
fn is_refusal(error: &Error) -> bool {
    const LACKS: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    !matches!(error.cause, Cause::Answer(_)) && !LACKS.iter().any(|lack| error.is_errno(*lack))
}

impl Exported for Made {
    fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Result<(), Trouble> {
        cx.fact("drawn by", self.gbm.name());
        cx.fact("laid by", format!("gbm_bo_get_stride_for_plane and gbm_bo_get_offset of {}", self.gbm.name()));
        let bo = &self.bo;
        let picture = Pattern { stamp }.picture(bo.frame().fourcc, bo.frame().size)?;
        cx.mapped(&Guest::Gbm(&self.gbm), &self.buffer, Access::Write, |_, _| Ok(bo.write(&picture)?))
    }

    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<bool, Trouble> {
        cx.sees(format!("{}, whose buffer it is,", self.gbm.name()), target, &self.bo.read()?)?;
        Ok(true)
    }
}

impl Importer for GbmNodes {
    fn can(&self, parcel: &Parcel) -> bool {
        parcel.fourcc.pixel().is_some()
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        lack(cx, parcel.fourcc)
    }

    fn draws(&self, _: &Parcel) -> bool {
        true
    }

    fn keeps(&self) -> bool {
        true
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, asked: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        let device = cx.gbm()?;
        device.nodes().try_fold(asked.to_vec(), |both, gbm| known(gbm, fourcc, &both))
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        let device = cx.gbm()?;
        device.nodes().try_for_each(|gbm| cx.attach(&Guest::Gbm(gbm), buffer))
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        let device = cx.gbm()?;
        let mut taken = Vec::new();
        for gbm in device.nodes() {
            let bo = cx.hold(&Guest::Gbm(gbm), buffer, Access::Write, |shared| gbm.import(shared, Usage::default()))?;
            taken.push((gbm.clone(), bo));
        }
        Ok(Box::new(TakenIn(taken)))
    }
}

impl Imported for TakenIn {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        self.0.iter().try_for_each(|(gbm, bo)| Ok(cx.sees(gbm.name(), target, &bo.read()?)?))
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Outcome {
        // Not by the node that gives memory, if there is another one.
        let Some((gbm, bo)) = self.0.last() else { return Ok(()) };
        cx.fact("then drawn by", gbm.name());
        Ok(bo.write(&Pattern { stamp }.picture(bo.frame().fourcc, bo.frame().size)?)?)
    }
}
