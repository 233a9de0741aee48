//! Vulkan devices as ends: they draw with a shader, and look by copying.

use super::{
    Elsewhere, End, Exported, Exporter, Imported, Importer, Order, Parcel, Part, ROWS_BEHIND, Start, Way, elsewhere,
};
use crate::case::{DeviceIdentity, Need, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Held, NewFrame, Target};
use crate::devices::{Devices, Unplayed};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::picture::Picture;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::vk::{self, Features, Gpu, HandleType, Image, ImageSupport, ImportRequest, Room, Tiling, Unbound};

/// The first GPU.
pub(super) static A: Vulkan = Vulkan(Role::GpuA);
/// The second GPU.
pub(super) static B: Vulkan = Vulkan(Role::GpuB);

/// The GPU that plays this role.
pub(super) struct Vulkan(Role);

/// A frame that a GPU made.
struct Made {
    gpu: Gpu,
    image: Memory,
    buffer: Buffer,
}

/// An image of which the memory was handed out.
enum Memory {
    /// Before it was bound, or while that fails.
    Unbound(Option<Unbound>),
    Bound(Image),
}

impl Memory {
    /// The image, bound by now.
    fn image(&mut self) -> Result<&Image, Trouble> {
        if let Self::Unbound(unbound) = self {
            let unbound =
                unbound.take().ok_or_else(|| Finding::new("an image that could not be bound has no memory"))?;
            *self = Self::Bound(unbound.bind()?);
        }
        match self {
            Self::Bound(image) => Ok(image),
            Self::Unbound(_) => Err(Finding::new("an image is still not bound").into()),
        }
    }
}

/// A frame that a GPU imported.
struct TakenIn {
    role: Role,
    gpu: Gpu,
    image: Held<Image>,
}

/// Whether `parcel` lies as its way has it: dedicated memory begins with what it is for. It has exactly the size that the driver says
/// its image needs, and lavapipe leaves the offset of an explicit layout out of that (`cases/findings/lavapipe-offset-query.md`).
fn lies_by_its_way(parcel: &Parcel) -> bool {
    !parcel.way.dedicated || parcel.start == Start::First
}

/// Bytes of somebody else's behind a frame that is not alone, who must not be hurt: room for the rows that devices touch, and a
/// page beyond. More of them would say nothing more, and each page takes its time.
fn somebody_behind(parcel: &Parcel) -> u64 {
    const PAGE: u64 = 4096;
    // Drivers align rows to so many bytes, at most.
    let pitch = parcel.pitch().unwrap_or(parcel.row()).next_multiple_of(256);
    (ROWS_BEHIND * pitch).next_multiple_of(PAGE) + PAGE + parcel.start.bytes_behind()
}

/// The modifiers of frames of `fourcc` as dma-buf with which `gpu` does what `does` asks for, and which change hands as `may` asks.
fn modifiers(
    gpu: &Gpu,
    fourcc: Fourcc,
    does: fn(&Features) -> bool,
    may: fn(&ImageSupport) -> bool,
) -> Result<Vec<Modifier>> {
    let mut found = Vec::new();
    if vk::vk_format(fourcc).is_none() {
        return Ok(found);
    }
    for entry in gpu.modifiers(fourcc)?.into_iter().filter(|entry| does(&entry.features)) {
        let tiling = Tiling::Modifier(entry.modifier);
        if gpu.image_support(fourcc, tiling, entry.features, HandleType::DmaBuf)?.is_some_and(|support| may(&support)) {
            found.push(entry.modifier);
        }
    }
    Ok(found)
}

fn gpu_lacks(gpu: &Gpu, fourcc: Fourcc, exports: bool) -> Result<Option<String>, Error> {
    if vk::vk_format(fourcc).is_none() {
        return Ok(Some(format!("Vulkan has no format with the bytes of {fourcc}")));
    }
    let tiling = Tiling::Modifier(Modifier::LINEAR);
    // What is exported is drawn, where there is drawing, and what is imported is copied out.
    if exports
        && fourcc.yuv().is_none()
        && let Some(why) = does_not_draw(gpu, fourcc)?
    {
        return Ok(Some(why));
    }
    let features = gpu.features(fourcc, tiling)?;
    if !features.copy_from {
        return Ok(Some(format!("it does not copy from {fourcc} LINEAR")));
    }
    Ok(match gpu.image_support(fourcc, tiling, features, HandleType::DmaBuf)? {
        None => Some(format!("it refuses {fourcc} LINEAR as dma-buf")),
        Some(support) if exports && !support.exportable => Some(format!("it does not export {fourcc} LINEAR")),
        Some(support) if !exports && !support.importable => Some(format!("it does not import {fourcc} LINEAR")),
        Some(_) => None,
    })
}

fn does_not_draw(gpu: &Gpu, fourcc: Fourcc) -> Result<Option<String>, Error> {
    if vk::vk_format(fourcc).is_none() {
        return Ok(Some(format!("Vulkan has no format with the bytes of {fourcc}")));
    }
    let draws = gpu.features(fourcc, Tiling::Modifier(Modifier::LINEAR))?.draw;
    Ok((!draws).then(|| format!("it does not draw {fourcc} LINEAR")))
}

impl Vulkan {
    /// `shared` as an image of this GPU, in a process that runs no case.
    fn taken(&self, devices: &mut Devices, shared: &SharedFrame, dedicated: bool) -> Result<Image> {
        let gpu = devices.gpu(self.0).map_err(|why| why.opening(self.0))?;
        gpu.import_image(shared, &ImportRequest { dedicated, ..ImportRequest::default() })
    }
}

impl End for Vulkan {
    fn role(&self) -> Role {
        self.0
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        let gpu = devices.gpu(self.0)?;
        let identity = gpu.identity();
        // A run without the validation layer must not look like one with it.
        let driver = format!("{}, validation {:?}", identity.driver_info, identity.validation);
        Ok(DeviceIdentity { name: identity.device_name.clone(), driver })
    }

    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        Some(self)
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }

    fn part(&self, devices: &mut Devices) -> Result<Part, Unplayed> {
        Ok(Part::Gpu(devices.gpu(self.0)?))
    }

    fn lacks_to_export(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        gpu_lacks(&devices.gpu(self.0)?, fourcc, true).map_err(Unplayed::Broken)
    }

    fn lacks_to_import(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        gpu_lacks(&devices.gpu(self.0)?, fourcc, false).map_err(Unplayed::Broken)
    }

    fn lacks_to_draw(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        does_not_draw(&devices.gpu(self.0)?, fourcc).map_err(Unplayed::Broken)
    }
}

impl Exporter for Vulkan {
    fn can(&self, parcel: &Parcel) -> bool {
        // In YUV they do not draw.
        vk::vk_format(parcel.fourcc).is_some() && parcel.fourcc.pixel().is_some() && lies_by_its_way(parcel)
    }

    fn dedicates(&self) -> bool {
        true
    }

    fn binds_late(&self) -> bool {
        true
    }

    fn draws_itself(&self) -> bool {
        true
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, _: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        Ok(modifiers(&cx.gpu(self.0)?, fourcc, |features| features.draw, |support| support.exportable)?)
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Exports { role: self.0, format: parcel.fourcc.to_string() })
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
        let gpu = cx.gpu(self.0)?;
        let plain = NewFrame::of(parcel.fourcc, parcel.size).in_one_of(modifiers);
        let frame = match parcel.pitch() {
            None => plain,
            Some(pitch) => {
                cx.chooses_layout();
                plain.pitched(pitch)
            }
        };
        let (before, after) = (parcel.start.bytes(), somebody_behind(parcel));
        let frame = if parcel.way.dedicated { frame } else { frame.in_room(Room::SubAllocated { before, after }) };
        let (mut image, buffer) = match parcel.way.order {
            Order::BindFirst => {
                let (image, buffer) = cx.make(&gpu, &frame)?;
                (Memory::Bound(image), buffer)
            }
            Order::ExportFirst | Order::ImportFirst => {
                let (unbound, buffer) = cx.prepare(&gpu, &frame)?;
                (Memory::Unbound(Some(unbound)), buffer)
            }
        };
        if parcel.way.order == Order::ExportFirst {
            image.image()?;
        }
        Ok(Box::new(Made { gpu, image, buffer }))
    }
}

impl Exported for Made {
    fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Result<(), Trouble> {
        cx.fact("drawn by", self.gpu.identity());
        let who = cx.name_of(&Guest::Gpu(&self.gpu)).to_owned();
        cx.fact("laid by", format!("vkGetImageSubresourceLayout of {who}"));
        let image = self.image.image()?;
        cx.mapped(&Guest::Gpu(&self.gpu), &self.buffer, Access::Write, |_, _| Ok(image.draw_pattern(stamp)?))
    }

    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<bool, Trouble> {
        let who = cx.name_of(&Guest::Gpu(&self.gpu));
        cx.sees(format!("{who}, whose image it is,"), target, &self.image.image()?.read_back()?)?;
        Ok(true)
    }
}

impl Importer for Vulkan {
    fn can(&self, parcel: &Parcel) -> bool {
        // Sizes that sub-sampling does not divide are not valid.
        vk::vk_format(parcel.fourcc).is_some() && parcel.is_sampled_evenly() && lies_by_its_way(parcel)
    }

    fn dedicates(&self) -> bool {
        true
    }

    fn elsewhere(&self) -> Option<&dyn Elsewhere> {
        Some(self)
    }

    fn keeps(&self) -> bool {
        true
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, _: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        Ok(modifiers(&cx.gpu(self.0)?, fourcc, |features| features.copy_from, |support| support.importable)?)
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Imports { role: self.0, format: parcel.fourcc.to_string() })
    }

    fn draws(&self, _: &Parcel) -> bool {
        true
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        let gpu = cx.gpu(self.0)?;
        cx.attach(&Guest::Gpu(&gpu), buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        self.import_by(cx, buffer, Way::default())
    }

    fn import_by(&self, cx: &mut Cx, buffer: &Buffer, way: Way) -> Result<Box<dyn Imported>, Trouble> {
        if way.elsewhere {
            return Ok(elsewhere::taken(self, buffer, way));
        }
        let (role, dedicated) = (self.0, way.dedicated);
        let gpu = cx.gpu(role)?;
        let image = cx.import(&gpu, buffer, &ImportRequest { dedicated, ..ImportRequest::default() })?;
        Ok(Box::new(TakenIn { role, gpu, image }))
    }
}

impl Imported for TakenIn {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        let actual = self.image.read_back()?;
        Ok(cx.sees(self.role, target, &actual)?)
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Outcome {
        cx.fact("then drawn by", self.gpu.identity());
        Ok(self.image.draw_pattern(stamp)?)
    }
}

impl Elsewhere for Vulkan {
    fn read(&self, devices: &mut Devices, shared: &SharedFrame, dedicated: bool) -> Result<Picture> {
        self.taken(devices, shared, dedicated)?.read_back()
    }

    fn draw(&self, devices: &mut Devices, shared: &SharedFrame, dedicated: bool, stamp: u32) -> Result<()> {
        self.taken(devices, shared, dedicated)?.draw_pattern(stamp)
    }
}
