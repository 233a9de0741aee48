#![expect(unsafe_code, reason = "creates images and binds their memory")]
//! How an image comes to be whose memory changes hands: created for export; and where the driver says its pixels lie.
//!
//! Import is in `import.rs`; what is done with the pixels is in `copy.rs`, `draw.rs` and `render.rs`.

use std::fmt;

use ash::vk;
use serde::{Deserialize, Serialize};

use super::check;
use super::commands::{Order, Submission};
use super::error::failed;
use super::gpu::Gpu;
use super::memory::{Dedicated, HandleType, Memory, OpaqueMemory, Requirements};
use super::owned::Owned;
use super::ownership::Owner;
use super::support::{Features, Tiling, known_format};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size};

/// Which memory layout an image is asked to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One of these modifiers, the driver chooses (`VkImageDrmFormatModifierListCreateInfoEXT`).
    Modifiers(Vec<Modifier>),
    /// Exactly this modifier and these planes (`VkImageDrmFormatModifierExplicitCreateInfoEXT`);
    /// offsets count from where the image is bound.
    Explicit(Modifier, Vec<Plane>),
    /// `VK_IMAGE_TILING_LINEAR`.
    Linear,
    /// `VK_IMAGE_TILING_OPTIMAL`: without a frame, for opaque fds or for no one else.
    Optimal,
}

impl Layout {
    /// The tilings that the driver may choose from.
    pub(super) fn tilings(&self) -> Vec<Tiling> {
        match self {
            Self::Modifiers(list) => list.iter().copied().map(Tiling::Modifier).collect(),
            Self::Explicit(modifier, _) => vec![Tiling::Modifier(*modifier)],
            Self::Linear => vec![Tiling::Linear],
            Self::Optimal => vec![Tiling::Optimal],
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Modifiers(list) => write!(f, "one of {list:?}"),
            Self::Explicit(modifier, planes) => {
                write!(f, "{modifier}")?;
                planes.iter().try_for_each(|plane| write!(f, ", offset {} B, pitch {} B", plane.offset, plane.pitch))
            }
            Self::Linear => f.pad("linear tiling"),
            Self::Optimal => f.pad("optimal tiling"),
        }
    }
}

/// Where a new image or buffer lies in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// In memory of its own, and the driver knows (`VkMemoryDedicatedAllocateInfo`).
    Dedicated,
    /// In a part of larger memory, as a sub-allocator would do.
    SubAllocated {
        /// Bytes before it; a multiple of the alignment that the driver asks for.
        before: u64,
        /// Bytes after it.
        after: u64,
    },
}

/// A new image.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// Width and height.
    pub size: Size,
    /// Pixel format.
    pub fourcc: Fourcc,
    /// Memory layout.
    pub layout: Layout,
    /// Place in memory.
    pub room: Room,
    /// As what its memory can be exported; empty: not at all.
    pub export: Vec<HandleType>,
}

/// An image's memory as an opaque fd, with what the importer must state to get the same image.
#[derive(Debug)]
pub struct OpaqueImage {
    /// The memory.
    pub memory: OpaqueMemory,
    /// What exporter and importer must agree on.
    pub terms: ImageTerms,
}

/// What exporter and importer of an opaque image must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageTerms {
    /// Width and height.
    pub size: Size,
    /// Pixel format.
    pub fourcc: Fourcc,
    /// Arrangement of the pixels.
    pub tiling: Tiling,
    /// What the image was made for.
    pub features: Features,
    /// Offset of the image in the memory, in bytes.
    pub offset: u64,
}

impl fmt::Display for ImageTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.fourcc, self.size, self.tiling)
    }
}

/// An image with memory that can change hands; [`super`] says who owns it between calls.
pub struct Image {
    /// Destroyed before the memory.
    raw: Owned<vk::Image>,
    memory: Memory,
    terms: ImageTerms,
    exportable: Vec<HandleType>,
    owner: Owner,
    gpu: Gpu,
}

impl Gpu {
    /// Creates an image, with memory, and hands it to whoever may see it; its contents are undefined.
    ///
    /// It can do whatever the device says that format and layout can do.
    ///
    /// # Errors
    /// The device does not say that it can do this; the request is wrong; or the driver fails, or answers
    /// what no driver may answer.
    #[doc(alias = "vkCreateImage")]
    pub fn create_image(&self, request: &ImageRequest) -> Result<Image> {
        let ImageRequest { size, fourcc, ref layout, room, ref export } = *request;
        let dedicated = room == Room::Dedicated;
        let wanted = Wanted { size, fourcc, layout, handles: export };
        let features = self.check_support(&wanted, dedicated, |support| support.exportable)?;
        let raw = self.raw_image(&wanted, features)?;
        let object = || self.device().object(&wanted);
        let needs = self.image_requirements(&raw, dedicated, object)?.covering(&wanted, dedicated, object)?;
        let place = place_in(room, &needs).map_err(|why| Error::input("sub-allocating", object(), why))?;
        let dedicated = if dedicated { Dedicated::ToImage(raw.raw()) } else { Dedicated::No };
        let memory = Memory::allocate(self.device(), place.memory_size, needs.types, dedicated, export)?;
        let tiling = self.tiling_of(&raw, layout, object)?;
        let terms = ImageTerms { size, fourcc, tiling, features, offset: place.offset };
        let image = self.bind(raw, memory, terms, HandleType::owner(export), export.clone())?;
        image.present_new()?;
        Ok(image)
    }

    /// How much memory the driver says that the image of `request` needs, in bytes; nothing is allocated.
    ///
    /// # Errors
    /// As [`Self::create_image`].
    #[doc(alias = "vkGetImageMemoryRequirements2")]
    pub fn required_memory(&self, request: &ImageRequest) -> Result<u64> {
        let ImageRequest { size, fourcc, ref layout, room, ref export } = *request;
        let dedicated = room == Room::Dedicated;
        let wanted = Wanted { size, fourcc, layout, handles: export };
        let features = self.check_support(&wanted, dedicated, |support| support.exportable)?;
        let raw = self.raw_image(&wanted, features)?;
        Ok(self.image_requirements(&raw, dedicated, || self.device().object(&wanted))?.size)
    }

    /// What an image of all the layouts that are wanted can do; an error unless the device says that it can be made,
    /// of this size, with or without dedicated memory, and change hands as wanted (`may`).
    pub(super) fn check_support(
        &self,
        wanted: &Wanted<'_>,
        dedicated: bool,
        may: impl Fn(&super::support::ImageSupport) -> bool,
    ) -> Result<Features> {
        const OP: &str = "vkGetPhysicalDeviceImageFormatProperties2";
        let missing = |why: String| Err(Error::missing(OP, self.device().object(wanted), why));
        let Wanted { size, fourcc, layout, handles } = *wanted;
        if size.width == 0 || size.height == 0 {
            return Err(Error::input(
                "creating an image",
                self.device().object(wanted),
                "at least 1x1 px would be valid",
            ));
        }
        let mut common: Option<Features> = None;
        for tiling in layout.tilings() {
            let features = self.features(fourcc, tiling)?;
            if features == Features::default() {
                let listed: Vec<Modifier> = self.modifiers(fourcc)?.iter().map(|entry| entry.modifier).collect();
                return missing(format!("{fourcc} with {tiling} is good for nothing; its modifier list is {listed:?}"));
            }
            common = Some(common.map_or(features, |others| others.and(features)));
        }
        let Some(features) = common else {
            return Err(Error::input("creating an image", self.device().object(wanted), "no modifier to choose from"));
        };
        for tiling in layout.tilings() {
            for &handle in handles {
                let Some(support) = self.image_support(fourcc, tiling, features, handle)? else {
                    return missing(format!("{tiling} as {handle}: VK_ERROR_FORMAT_NOT_SUPPORTED"));
                };
                let other = handles.iter().find(|other| !support.compatible.contains(other));
                if !may(&support) {
                    return missing(format!("{tiling}: memory does not change hands as {handle} this way"));
                } else if support.dedicated_only && !dedicated {
                    return missing(format!("{tiling} as {handle}: dedicated memory only"));
                } else if size.width > support.largest.width || size.height > support.largest.height {
                    return missing(format!("{tiling} as {handle}: largest image is {}", support.largest));
                } else if let Some(other) = other {
                    return missing(format!("{tiling} as {handle}: not compatible with {other} at the same time"));
                }
            }
        }
        Ok(features)
    }

    /// An image without memory, as wanted; [`Self::check_support`] has said that it is possible.
    pub(super) fn raw_image(&self, wanted: &Wanted<'_>, features: Features) -> Result<Owned<vk::Image>> {
        let Wanted { size, fourcc, layout, handles } = *wanted;
        let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(HandleType::flags(handles));
        let mut codes = Vec::new();
        let mut planes = Vec::new();
        let mut list = vk::ImageDrmFormatModifierListCreateInfoEXT::default();
        let mut explicit = vk::ImageDrmFormatModifierExplicitCreateInfoEXT::default();
        let mut info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(known_format(self.device(), fourcc)?)
            .extent(vk::Extent3D { width: size.width, height: size.height, depth: 1 })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .usage(features.usage())
            .initial_layout(vk::ImageLayout::UNDEFINED);
        if !handles.is_empty() {
            info = info.push_next(&mut external);
        }
        info = match layout {
            Layout::Modifiers(modifiers) => {
                codes.extend(modifiers.iter().map(|modifier| modifier.0));
                list = list.drm_format_modifiers(&codes);
                info.tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT).push_next(&mut list)
            }
            Layout::Explicit(modifier, wanted) => {
                // Size, array pitch and depth pitch must be 0 (VUID-VkImageDrmFormatModifierExplicitCreateInfoEXT-size-02267).
                planes.extend(wanted.iter().map(|plane| vk::SubresourceLayout {
                    offset: plane.offset,
                    row_pitch: plane.pitch,
                    ..Default::default()
                }));
                explicit = explicit.drm_format_modifier(modifier.0).plane_layouts(&planes);
                info.tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT).push_next(&mut explicit)
            }
            Layout::Linear => info.tiling(vk::ImageTiling::LINEAR),
            Layout::Optimal => info.tiling(vk::ImageTiling::OPTIMAL),
        };
        // SAFETY: `info` and its chain live during the call, and the device said that it supports such images.
        let raw = unsafe { self.device().create_image(&info, None) }
            .map_err(|code| failed("vkCreateImage", self.device().object(wanted), code))?;
        // SAFETY: just created, owned by nobody else.
        Ok(unsafe { Owned::new(self.device(), raw) })
    }

    /// What `image` needs of its memory.
    pub(super) fn image_requirements(
        &self,
        image: &Owned<vk::Image>,
        dedicated: bool,
        object: impl Fn() -> String,
    ) -> Result<Requirements> {
        const OP: &str = "vkGetImageMemoryRequirements2";
        let mut says = vk::MemoryDedicatedRequirements::default();
        let mut given = vk::MemoryRequirements2::default().push_next(&mut says);
        let info = vk::ImageMemoryRequirementsInfo2::default().image(image.raw());
        // SAFETY: the image is live, the structs live during the call.
        unsafe { self.device().get_image_memory_requirements2(&info, &mut given) };
        let needs =
            Requirements::checked(&given.memory_requirements).map_err(|why| Error::answer(OP, object(), why))?;
        if says.requires_dedicated_allocation == vk::TRUE && !dedicated {
            return Err(Error::missing(OP, object(), "the driver accepts dedicated memory only"));
        }
        Ok(needs)
    }

    /// What the driver chose for `image` from `layout`.
    pub(super) fn tiling_of(
        &self,
        image: &Owned<vk::Image>,
        layout: &Layout,
        object: impl Fn() -> String,
    ) -> Result<Tiling> {
        const OP: &str = "vkGetImageDrmFormatModifierPropertiesEXT";
        let allowed = match layout {
            Layout::Linear => return Ok(Tiling::Linear),
            Layout::Optimal => return Ok(Tiling::Optimal),
            Layout::Modifiers(list) => list.as_slice(),
            Layout::Explicit(modifier, _) => std::slice::from_ref(modifier),
        };
        let mut chosen = vk::ImageDrmFormatModifierPropertiesEXT::default();
        // SAFETY: the image is live and has modifier tiling.
        unsafe { self.device().modifier.get_image_drm_format_modifier_properties(image.raw(), &mut chosen) }
            .map_err(|code| failed(OP, object(), code))?;
        let chosen = Modifier(chosen.drm_format_modifier);
        if allowed.contains(&chosen) {
            return Ok(Tiling::Modifier(chosen));
        }
        Err(Error::answer(OP, object(), format!("modifier {chosen}; one of {allowed:?} would be valid")))
    }

    /// Binds `raw` to `memory` at the offset of `terms`.
    pub(super) fn bind(
        &self,
        raw: Owned<vk::Image>,
        memory: Memory,
        terms: ImageTerms,
        owner: Owner,
        exportable: Vec<HandleType>,
    ) -> Result<Image> {
        // SAFETY: both are live, the image is not yet bound; callers checked size, alignment and memory type.
        unsafe { self.device().bind_image_memory(raw.raw(), memory.raw(), terms.offset) }
            .map_err(|code| failed("vkBindImageMemory", self.device().object(&terms), code))?;
        Ok(Image { raw, memory, terms, exportable, owner, gpu: self.clone() })
    }
}

impl Image {
    /// Width and height.
    pub fn size(&self) -> Size {
        self.terms.size
    }

    /// Pixel format.
    pub fn fourcc(&self) -> Fourcc {
        self.terms.fourcc
    }

    /// Arrangement of the pixels that the driver chose.
    pub fn tiling(&self) -> Tiling {
        self.terms.tiling
    }

    /// What can be done with it.
    pub fn features(&self) -> Features {
        self.terms.features
    }

    /// The device it belongs to.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Where the driver says that the pixels lie, from the start of the memory.
    ///
    /// # Errors
    /// The image has optimal tiling, which has no frame, or the driver answers what no driver may answer.
    #[doc(alias = "vkGetImageSubresourceLayout")]
    pub fn frame(&self) -> Result<Frame> {
        const OP: &str = "vkGetImageSubresourceLayout";
        let aspects = match self.terms.tiling {
            Tiling::Optimal => {
                return Err(Error::input(OP, self.object(), "only the driver knows where its pixels lie"));
            }
            Tiling::Linear => vec![vk::ImageAspectFlags::COLOR],
            Tiling::Modifier(modifier) => self.plane_aspects(modifier)?,
        };
        let modifier = if let Tiling::Modifier(modifier) = self.terms.tiling { modifier } else { Modifier::LINEAR };
        let planes: Vec<vk::SubresourceLayout> = aspects
            .into_iter()
            .map(|aspect| {
                let plane = vk::ImageSubresource::default().aspect_mask(aspect);
                // SAFETY: the image is live, not of optimal tiling, and has this plane.
                unsafe { self.gpu.device().get_image_subresource_layout(self.raw(), plane) }
            })
            .collect();
        let bound = check::Bound {
            size: self.terms.size,
            fourcc: self.terms.fourcc,
            modifier,
            offset: self.terms.offset,
            memory: self.memory.size(),
        };
        check::frame(&bound, &planes).map_err(|why| Error::answer(OP, self.object(), why))
    }

    fn plane_aspects(&self, modifier: Modifier) -> Result<Vec<vk::ImageAspectFlags>> {
        use vk::ImageAspectFlags as Aspect;
        let all = [
            Aspect::MEMORY_PLANE_0_EXT,
            Aspect::MEMORY_PLANE_1_EXT,
            Aspect::MEMORY_PLANE_2_EXT,
            Aspect::MEMORY_PLANE_3_EXT,
        ];
        let list = self.gpu.modifiers(self.terms.fourcc)?;
        let planes = list.iter().find(|entry| entry.modifier == modifier).map_or(1, |entry| entry.planes);
        Ok(all.into_iter().take(planes as usize).collect())
    }

    /// A new dma-buf fd for its memory, with the frame as the driver describes it.
    ///
    /// # Errors
    /// It was not created for export as dma-buf, or the driver fails or answers what no driver may answer.
    #[doc(alias = "vkGetMemoryFdKHR")]
    pub fn export_dmabuf(&self) -> Result<SharedFrame> {
        self.check_exportable(HandleType::DmaBuf)?;
        Ok(SharedFrame { dmabuf: self.memory.export_dmabuf()?, frame: self.frame()? })
    }

    /// A new opaque fd for its memory.
    ///
    /// # Errors
    /// It was not created for export as opaque fd, or the driver fails or answers what no driver may answer.
    pub fn export_opaque(&self) -> Result<OpaqueImage> {
        self.check_exportable(HandleType::OpaqueFd)?;
        Ok(OpaqueImage { memory: self.memory.export_opaque()?, terms: self.terms.clone() })
    }

    fn check_exportable(&self, handle: HandleType) -> Result<()> {
        if self.exportable.contains(&handle) {
            return Ok(());
        }
        let why = format!("it was not created for export as {handle}, but as {:?}", self.exportable);
        Err(Error::input("vkGetMemoryFdKHR", self.object(), why))
    }

    /// The handle; valid as long as `self`.
    pub(super) fn raw(&self) -> vk::Image {
        self.raw.raw()
    }

    /// Who owns it between two calls.
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// The device's name and the image, as the object of an error.
    pub(super) fn object(&self) -> String {
        self.gpu.device().object(&self.terms)
    }

    /// Gives a new image to its owner, see [`Owner::present_new_image`].
    fn present_new(&self) -> Result<()> {
        let barriers = self.owner.present_new_image(self.raw(), self.gpu.device().queue_family);
        let record = |device: &ash::Device, commands| {
            for barrier in &barriers {
                let one = vk::DependencyInfo::default().image_memory_barriers(std::slice::from_ref(barrier));
                // SAFETY: the buffer is recording, and the image is live.
                unsafe { device.cmd_pipeline_barrier2(commands, &one) };
            }
        };
        // SAFETY: a barrier on a live image of this device.
        unsafe {
            Submission::submit(self.gpu.device(), "handing a new image over", self.object(), Order::default(), record)
        }?
        .wait()
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({})", self.object())
    }
}

/// An image to be, without its memory.
pub(super) struct Wanted<'a> {
    pub(super) size: Size,
    pub(super) fourcc: Fourcc,
    pub(super) layout: &'a Layout,
    pub(super) handles: &'a [HandleType],
}

impl Requirements {
    /// These requirements, enlarged to hold the pixels of an explicit layout, should the driver have forgotten them.
    ///
    /// Drivers that ignore the offset here exist, and would write after the end of the memory. Memory that is
    /// dedicated must have exactly the size that the driver said, so there it is an error.
    pub(super) fn covering(self, wanted: &Wanted<'_>, dedicated: bool, object: impl Fn() -> String) -> Result<Self> {
        let Layout::Explicit(Modifier::LINEAR, planes) = wanted.layout else { return Ok(self) };
        let Wanted { size, fourcc, .. } = *wanted;
        if fourcc.pixel().is_none() {
            return Ok(self);
        }
        let at = Frame { size, fourcc, modifier: Modifier::LINEAR, planes: planes.clone() }.packed()?;
        if at.end <= self.size {
            return Ok(self);
        }
        if dedicated {
            let why = format!("size {} B; the pixels of the explicit layout end at byte {}", self.size, at.end);
            return Err(Error::answer("vkGetImageMemoryRequirements2", object(), why));
        }
        Ok(Self { size: self.size.saturating_add(at.offset).max(at.end), ..self })
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.fourcc, self.size, self.layout)
    }
}

/// Memory to be, and the offset in it; in bytes.
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) memory_size: u64,
}

/// Where something with `needs` lies in `room`; `Err` says what would be valid.
pub(super) fn place_in(room: Room, needs: &Requirements) -> Result<Place, String> {
    let Room::SubAllocated { before, after } = room else {
        return Ok(Place { offset: 0, memory_size: needs.size });
    };
    let memory_size = before.checked_add(needs.size).and_then(|end| end.checked_add(after));
    match memory_size {
        Some(memory_size) if before.is_multiple_of(needs.alignment) => Ok(Place { offset: before, memory_size }),
        _ => Err(format!(
            "{before} B before and {after} B after {} B; before, a multiple of {} B, and all within 64 bits, would be valid",
            needs.size, needs.alignment
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_allocation_keeps_the_alignment_and_does_not_overflow() {
        let needs = Requirements { size: 1000, alignment: 64, types: 1 };
        let place = place_in(Room::SubAllocated { before: 4096, after: 24 }, &needs).expect("aligned");
        assert_eq!((place.offset, place.memory_size), (4096, 5120));
        assert!(place_in(Room::SubAllocated { before: 100, after: 0 }, &needs).is_err());
        assert!(place_in(Room::SubAllocated { before: u64::MAX - 63, after: 0 }, &needs).is_err());
    }

    #[test]
    fn a_forgotten_offset_is_added_unless_the_memory_is_dedicated() {
        let needs = Requirements { size: 1024 * 130, alignment: 64, types: 1 };
        let at = |offset| Layout::Explicit(Modifier::LINEAR, vec![Plane { offset, pitch: 1024 }]);
        let size = |layout: &Layout, dedicated| {
            let wanted = Wanted { size: crate::frame::px(250, 130), fourcc: Fourcc::XR24, layout, handles: &[] };
            needs.covering(&wanted, dedicated, String::new).map(|needs| needs.size)
        };
        assert_eq!(size(&at(0), true).expect("enough"), needs.size);
        assert_eq!(size(&at(4096), false).expect("enlarged"), needs.size + 4096);
        let error = size(&at(4096), true).expect_err("too small").to_string();
        assert!(
            error.ends_with("invalid answer: size 133120 B; the pixels of the explicit layout end at byte 137192"),
            "{error}"
        );
    }
}
