//! Vulkan devices as ends: they draw with a shader, and look by copying.

use super::{Exported, Exporter, Imported, Importer, Parcel, Start};
use crate::case::{Need, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Held, NewFrame, Target};
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::vk::{self, Gpu, Image, ImportRequest, Room};

/// The first GPU.
pub(super) static A: Vulkan = Vulkan(Role::GpuA);
/// The second GPU.
pub(super) static B: Vulkan = Vulkan(Role::GpuB);

/// The GPU that plays this role.
pub(super) struct Vulkan(Role);

/// A frame that a GPU made.
struct Made {
    gpu: Gpu,
    image: Image,
    buffer: Buffer,
}

/// A frame that a GPU imported.
struct TakenIn {
    role: Role,
    gpu: Gpu,
    image: Held<Image>,
}

impl Exporter for Vulkan {
    fn role(&self) -> Role {
        self.0
    }

    fn can(&self, parcel: &Parcel) -> bool {
        // In YUV they do not draw.
        vk::vk_format(parcel.fourcc).is_some() && parcel.fourcc.pixel().is_some()
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Exports { role: self.0, format: parcel.fourcc.to_string() })
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, _: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        let gpu = cx.gpu(self.0)?;
        let plain = NewFrame::of(parcel.fourcc, parcel.size);
        let frame = match parcel.pitch() {
            None => plain,
            Some(pitch) => plain.pitched(pitch),
        };
        // Behind a frame that is told to lie somewhere there is somebody else, who must not be hurt.
        let frame = match (parcel.start, parcel.pitch()) {
            (Start::First, None) => frame,
            (start, _) => {
                frame.in_room(Room::SubAllocated { before: start.bytes(), after: 65536 + start.bytes_behind() })
            }
        };
        let (image, buffer) = cx.make(&gpu, &frame)?;
        Ok(Box::new(Made { gpu, image, buffer }))
    }
}

impl Exported for Made {
    fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Result<(), Trouble> {
        cx.fact("drawn by", self.gpu.identity());
        let image = &self.image;
        cx.mapped(&Guest::Gpu(&self.gpu), &self.buffer, Access::Write, |_, _| Ok(image.draw_pattern(stamp)?))
    }

    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<bool, Trouble> {
        let who = cx.name_of(&Guest::Gpu(&self.gpu));
        cx.sees(format!("{who}, whose image it is,"), target, &self.image.read_back()?)?;
        Ok(true)
    }
}

impl Importer for Vulkan {
    fn role(&self) -> Role {
        self.0
    }

    fn can(&self, parcel: &Parcel) -> bool {
        // Sizes that sub-sampling does not divide are not valid.
        vk::vk_format(parcel.fourcc).is_some() && parcel.is_sampled_evenly()
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
        let gpu = cx.gpu(self.0)?;
        let image = cx.import(&gpu, buffer, &ImportRequest::default())?;
        Ok(Box::new(TakenIn { role: self.0, gpu, image }))
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
