#![expect(unsafe_code, reason = "asks and binds each plane by itself")]
//! Images whose planes lie in memory of their own (`VK_IMAGE_CREATE_DISJOINT_BIT`), each of which can be a dma-buf.
//!
//! Of linear tiling the planes are those of the format, of a modifier those of memory. Each is asked for what it needs and has
//! memory that is not dedicated (VUID-VkMemoryDedicatedAllocateInfo-image-01797), and all are bound in one call
//! (VUID-vkBindImageMemory2-pBindInfos-02858).

use std::sync::atomic::AtomicBool;

use ash::vk;

use super::error::failed;
use super::gpu::Gpu;
use super::image::{Image, ImageTerms, Layout, aspects};
use super::memory::{Dedicated, HandleType, Memory, Requirements, common_type, duplicate, importable_types};
use super::owned::Owned;
use super::support::{Features, Tiling};
use super::wanted::Wanted;
use crate::dmabuf::{SharedPlanes, SplitFrame};
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::Size;

/// What such images change hands as.
const HANDLES: [HandleType; 1] = [HandleType::DmaBuf];

/// The call that binds.
const BIND: &str = "vkBindImageMemory2";

/// An image without memory, and the planes that it has.
struct Apart {
    raw: Owned<vk::Image>,
    features: Features,
    tiling: Tiling,
    aspects: Vec<vk::ImageAspectFlags>,
}

impl Gpu {
    /// Creates an image with memory of its own for each plane, which [`Image::export_planes`] hands out; its contents are
    /// undefined.
    ///
    /// # Errors
    /// The device does not say that it can do this, the layout is explicit, or the driver fails, or answers what no driver may
    /// answer.
    #[doc(alias = "VK_IMAGE_CREATE_DISJOINT_BIT")]
    pub fn create_disjoint(&self, fourcc: Fourcc, size: Size, layout: &Layout) -> Result<Image> {
        let wanted = Wanted { size, fourcc, layout, handles: &HANDLES, uses: Features::ALL };
        let apart = self.apart(&wanted, |support| support.exportable)?;
        let memory = |aspect: &vk::ImageAspectFlags| {
            let needs = self.needs_of_plane(&apart.raw, *aspect, &wanted)?;
            Memory::allocate(self.device(), needs.size, needs.types, Dedicated::No, &HANDLES)
        };
        let memories = apart.aspects.iter().map(memory).collect::<Result<Vec<_>>>()?;
        self.bind_apart(apart, memories, &wanted, true)
    }

    /// Imports each plane of `split` as memory of its own. Contents are preserved.
    ///
    /// # Errors
    /// The device does not say that it can do this; a plane does not fit its buffer; no memory type serves both sides; or the
    /// driver fails, or answers what no driver may answer.
    #[doc(alias = "VK_IMAGE_CREATE_DISJOINT_BIT")]
    pub fn import_disjoint(&self, split: &SplitFrame) -> Result<Image> {
        let frame = split.frame();
        self.import_apart(split, &Layout::Explicit(frame.modifier, frame.planes.clone()))
    }

    /// As [`Self::import_disjoint`] with linear tiling, of which the device says itself where the planes lie.
    ///
    /// # Errors
    /// As there; or it says that they lie elsewhere.
    #[doc(alias = "VK_IMAGE_CREATE_DISJOINT_BIT")]
    pub fn import_disjoint_as_laid(&self, split: &SplitFrame) -> Result<Image> {
        let image = self.import_apart(split, &Layout::Linear)?;
        let laid = image.frame()?;
        match laid == *split.frame() {
            true => Ok(image),
            false => {
                let why = format!("with linear tiling the device has {laid}");
                Err(Error::missing("importing planes", self.device().object(split), why))
            }
        }
    }

    fn import_apart(&self, split: &SplitFrame, layout: &Layout) -> Result<Image> {
        let frame = split.frame();
        let wanted = Wanted { size: frame.size, fourcc: frame.fourcc, layout, handles: &HANDLES, uses: Features::ALL };
        let apart = self.apart(&wanted, |support| support.importable)?;
        let memory = |(n, aspect): (usize, &vk::ImageAspectFlags)| {
            let needs = self.needs_of_plane(&apart.raw, *aspect, &wanted)?;
            let dmabuf = split.dmabuf_of(n);
            let object = || self.device().object(format!("plane {n} of {split}"));
            if needs.size > dmabuf.size {
                let why = format!("the importer needs {} B, and the buffer has {} B", needs.size, dmabuf.size);
                return Err(Error::missing("importing a plane", object(), why));
            }
            let offered = importable_types(self.device(), dmabuf)?;
            let type_index = common_type(self.device(), offered, needs.types, &object())?;
            let fd = duplicate(&dmabuf.fd)?;
            Memory::import(self.device(), fd, HandleType::DmaBuf, dmabuf.size, type_index, Dedicated::No)
        };
        let memories = apart.aspects.iter().enumerate().map(memory).collect::<Result<Vec<_>>>()?;
        self.bind_apart(apart, memories, &wanted, false)
    }

    /// The image that is wanted, if the device says that its planes can lie apart.
    fn apart(&self, wanted: &Wanted<'_>, may: impl Fn(&super::ImageSupport) -> bool) -> Result<Apart> {
        let object = || self.device().object(wanted);
        let able = self.check_support(wanted, may)?;
        for tiling in wanted.layout.tilings() {
            if !self.can_lie_apart(wanted.fourcc, tiling, able.features)? {
                let why = format!("{tiling}: the planes of {} can't lie in memory of their own", wanted.fourcc);
                return Err(Error::missing("VK_IMAGE_CREATE_DISJOINT_BIT", object(), why));
            }
        }
        let raw = self.raw_image_as(wanted, able.features, vk::ImageCreateFlags::DISJOINT)?;
        let tiling = self.tiling_of(&raw, wanted.layout, object)?;
        let aspects = match tiling {
            Tiling::Modifier(modifier) => {
                let listed = self.modifiers(wanted.fourcc)?.into_iter().find(|listed| listed.modifier == modifier);
                aspects(tiling, listed.map_or(1, |listed| listed.planes))
            }
            _ => aspects(tiling, wanted.fourcc.planes().map_or(1, |planes| planes.len() as u32)),
        };
        Ok(Apart { raw, features: able.features, tiling, aspects })
    }

    /// Whether the device says that the planes of such images can be bound one by one: as a feature of the format
    /// (`VK_FORMAT_FEATURE_DISJOINT_BIT`), and when it is asked for an image.
    ///
    /// # Errors
    /// Vulkan has no such format, or the query fails.
    pub fn can_lie_apart(&self, fourcc: Fourcc, tiling: Tiling, features: Features) -> Result<bool> {
        let is_feature = match tiling {
            Tiling::Modifier(modifier) => {
                self.modifiers(fourcc)?.iter().any(|listed| listed.modifier == modifier && listed.disjoint)
            }
            _ => self.tiling_flags(fourcc, tiling)?.contains(vk::FormatFeatureFlags::DISJOINT),
        };
        Ok(is_feature && self.is_possible_as(fourcc, tiling, features, vk::ImageCreateFlags::DISJOINT)?)
    }

    fn needs_of_plane(
        &self,
        image: &Owned<vk::Image>,
        aspect: vk::ImageAspectFlags,
        wanted: &Wanted<'_>,
    ) -> Result<Requirements> {
        const OP: &str = "vkGetImageMemoryRequirements2";
        let mut says = vk::MemoryDedicatedRequirements::default();
        let mut given = vk::MemoryRequirements2::default().push_next(&mut says);
        let mut plane = vk::ImagePlaneMemoryRequirementsInfo::default().plane_aspect(aspect);
        let info = vk::ImageMemoryRequirementsInfo2::default().image(image.raw()).push_next(&mut plane);
        // SAFETY: the image is live, disjoint and has this plane; the structs live during the call.
        unsafe { self.device().get_image_memory_requirements2(&info, &mut given) };
        let given = given.memory_requirements;
        let object = || self.device().object(format_args!("{aspect:?} of {wanted}"));
        let needs = Requirements::checked(&given, &says).map_err(|why| Error::answer(OP, object(), why))?;
        match needs.dedicated {
            false => Ok(needs),
            true => Err(Error::answer(OP, object(), "dedicated memory for one plane; Vulkan has no such thing")),
        }
    }

    /// Binds each plane to its memory.
    fn bind_apart(&self, apart: Apart, memories: Vec<Memory>, wanted: &Wanted<'_>, new: bool) -> Result<Image> {
        let Apart { raw, features, tiling, aspects } = apart;
        let plane = |aspect: &vk::ImageAspectFlags| vk::BindImagePlaneMemoryInfo::default().plane_aspect(*aspect);
        let mut planes: Vec<_> = aspects.iter().map(plane).collect();
        let bind = |(memory, plane)| {
            let memory: &Memory = memory;
            vk::BindImageMemoryInfo::default().image(raw.raw()).memory(memory.raw()).push_next(plane)
        };
        let binds: Vec<_> = memories.iter().zip(&mut planes).map(bind).collect();
        // SAFETY: all are live, no plane is bound yet, each has memory of a type and a size that it needs, from its first byte on.
        unsafe { self.device().bind_image_memory2(&binds) }
            .map_err(|code| failed(BIND, self.device().object(wanted), code))?;
        let terms = ImageTerms { size: wanted.size, fourcc: wanted.fourcc, tiling, features, offset: 0 };
        let export = if new { &HANDLES[..] } else { &[] };
        Image::of_planes(self, raw, memories, terms, export, AtomicBool::new(new))
    }
}

impl Image {
    /// A new dma-buf fd for the memory of each plane, with the frame as the driver describes it.
    ///
    /// # Errors
    /// Its planes lie in one memory, it was not created for export as dma-buf, or the driver fails or answers what no driver may
    /// answer.
    #[doc(alias = "vkGetMemoryFdKHR")]
    pub fn export_planes(&self) -> Result<SplitFrame> {
        self.check_exportable(HandleType::DmaBuf)?;
        let dmabufs = self.memories().map(Memory::export_dmabuf).collect::<Result<_>>()?;
        let frame = self.frame()?;
        SplitFrame::new(frame, dmabufs)
    }
}
