#![expect(unsafe_code, reason = "creates images and binds their memory")]
//! How an image comes to be whose memory changes hands: created for export; and where the driver says its pixels lie.
//!
//! Import is in `import.rs`; what is done with the pixels is in `copy.rs`, `draw.rs` and `render.rs`.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ash::vk;
use serde::{Deserialize, Serialize};

use super::check;
use super::commands::{Order, Submission};
use super::error::failed;
use super::gpu::Gpu;
use super::memory::{Dedicated, HandleType, Memory, OpaqueMemory};
use super::owned::Owned;
use super::ownership::{Owner, Use};
use super::room::{Room, place_in};
use super::support::{Features, Tiling};
use super::wanted::Wanted;
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

/// An image whose memory is there and can change hands, but is not bound to it yet.
///
/// Vulkan binds, exports and imports in any order; most programs bind first.
pub struct Unbound(Image);

/// An image with memory that can change hands; [`super`] says who owns it between calls.
pub struct Image {
    /// For drawing, made when it is first drawn. Destroyed before the image.
    pub(super) attachment: OnceLock<Owned<vk::ImageView>>,
    /// Destroyed before the memory.
    raw: Owned<vk::Image>,
    memory: Memory,
    /// Of the planes behind the first, where each has memory of its own.
    others: Vec<Memory>,
    terms: ImageTerms,
    exportable: Vec<HandleType>,
    owner: Owner,
    /// Whether it was never in the layout at rest, so that nobody else could have used it: see [`Self::acquire`].
    new: AtomicBool,
    gpu: Gpu,
}

impl Gpu {
    /// Creates an image, with memory; its contents are undefined.
    ///
    /// It can do whatever the device says that format and layout can do. The first drawing or upload, which covers it all,
    /// hands it to whoever may see it; if somebody else is to draw first, [`Image::hand_over`] does.
    ///
    /// # Errors
    /// The device does not say that it can do this; the request is wrong; or the driver fails, or answers
    /// what no driver may answer.
    #[doc(alias = "vkCreateImage")]
    pub fn create_image(&self, request: &ImageRequest) -> Result<Image> {
        self.prepare_image(request, Features::ALL)?.bind()
    }

    /// [`Self::create_image`] for no more than `uses`, and without binding its memory.
    ///
    /// # Errors
    /// As [`Self::create_image`].
    pub fn prepare_image(&self, request: &ImageRequest, uses: Features) -> Result<Unbound> {
        let ImageRequest { size, fourcc, ref layout, room, ref export } = *request;
        let wanted = Wanted { size, fourcc, layout, handles: export, uses };
        let able = self.check_support(&wanted, |support| support.exportable)?;
        let features = able.features;
        let raw = self.raw_image(&wanted, features)?;
        let object = || self.device().object(&wanted);
        let needs = self.image_requirements(&raw, able, object)?;
        let needs = needs.covering(&wanted, room == Room::Dedicated || needs.dedicated, object)?;
        let place = place_in(room, &needs).map_err(|why| why.error(object()))?;
        let dedicated = if place.dedicated { Dedicated::ToImage(raw.raw()) } else { Dedicated::No };
        let memory = Memory::allocate(self.device(), place.memory_size, needs.types, dedicated, export)?;
        let tiling = self.tiling_of(&raw, layout, object)?;
        let terms = ImageTerms { size, fourcc, tiling, features, offset: place.offset };
        let new = AtomicBool::new(true);
        let owner = HandleType::owner(export);
        Ok(Unbound(Image {
            attachment: OnceLock::new(),
            raw,
            memory,
            others: Vec::new(),
            terms,
            exportable: export.clone(),
            owner,
            new,
            gpu: self.clone(),
        }))
    }

    /// How much memory the driver says that the image of `request` needs, in bytes; nothing is allocated.
    ///
    /// # Errors
    /// As [`Self::create_image`].
    #[doc(alias = "vkGetImageMemoryRequirements2")]
    pub fn required_memory(&self, request: &ImageRequest) -> Result<u64> {
        let ImageRequest { size, fourcc, ref layout, ref export, .. } = *request;
        let wanted = Wanted { size, fourcc, layout, handles: export, uses: Features::ALL };
        let able = self.check_support(&wanted, |support| support.exportable)?;
        let raw = self.raw_image(&wanted, able.features)?;
        Ok(self.image_requirements(&raw, able, || self.device().object(&wanted))?.size)
    }

    /// An image of imported memory.
    pub(super) fn unbound(
        &self,
        raw: Owned<vk::Image>,
        memory: Memory,
        terms: ImageTerms,
        handle: HandleType,
    ) -> Unbound {
        let owner = HandleType::owner(&[handle]);
        let new = AtomicBool::new(false);
        Unbound(Image {
            attachment: OnceLock::new(),
            raw,
            memory,
            others: Vec::new(),
            terms,
            exportable: Vec::new(),
            owner,
            new,
            gpu: self.clone(),
        })
    }
}

impl Unbound {
    /// Binds the image to its memory.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkBindImageMemory")]
    pub fn bind(self) -> Result<Image> {
        let Self(image) = self;
        let (raw, memory, offset) = (image.raw.raw(), image.memory.raw(), image.terms.offset);
        // SAFETY: both are live, the image is not yet bound; who made this checked size, alignment and memory type.
        unsafe { image.gpu.device().bind_image_memory(raw, memory, offset) }
            .map_err(|code| failed("vkBindImageMemory", image.object(), code))?;
        Ok(image)
    }

    /// As [`Image::export_dmabuf`].
    ///
    /// # Errors
    /// As there.
    pub fn export_dmabuf(&self) -> Result<SharedFrame> {
        self.0.export_dmabuf()
    }
}

impl Image {
    /// An image whose planes are bound to `memories`, one each.
    pub(super) fn of_planes(
        gpu: &Gpu,
        raw: Owned<vk::Image>,
        memories: Vec<Memory>,
        terms: ImageTerms,
        export: &[HandleType],
        new: AtomicBool,
    ) -> Result<Self> {
        let mut memories = memories.into_iter();
        let Some(memory) = memories.next() else {
            return Err(Error::input("vkBindImageMemory2", gpu.device().object(&terms), "at least one plane"));
        };
        let (others, exportable, owner) =
            (memories.collect(), export.to_vec(), HandleType::owner(&[HandleType::DmaBuf]));
        let attachment = OnceLock::new();
        Ok(Self { attachment, raw, memory, others, terms, exportable, owner, new, gpu: gpu.clone() })
    }

    /// The memory, or that of each plane.
    pub(super) fn memories(&self) -> impl Iterator<Item = &Memory> {
        std::iter::once(&self.memory).chain(&self.others)
    }

    /// The memory type of its memory, or of that of its first plane.
    pub fn memory_type(&self) -> u32 {
        self.memory.type_index()
    }

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

    /// Where the driver says that the pixels lie, from the start of the memory; each plane from that of its own, if it has one.
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
            Tiling::Linear => {
                aspects(Tiling::Linear, self.terms.fourcc.planes().map_or(1, |planes| planes.len() as u32))
            }
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
        let bound = |memory: &Memory| check::Bound {
            size: self.terms.size,
            fourcc: self.terms.fourcc,
            modifier,
            offset: self.terms.offset,
            memory: memory.size(),
        };
        let wrong = |(call, why)| Error::answer(call, self.object(), why);
        if self.others.is_empty() {
            let bound = bound(&self.memory);
            return check::frame(&bound, &planes).map_err(|why| wrong(why).like(check::like(&bound, &planes)));
        }
        let mut frame = Frame { size: self.terms.size, fourcc: self.terms.fourcc, modifier, planes: Vec::new() };
        for (plane, memory) in planes.iter().zip(self.memories()) {
            let (bound, planes) = (bound(memory), std::slice::from_ref(plane));
            let checked = check::frame(&bound, planes);
            frame.planes.extend(checked.map_err(|why| wrong(why).like(check::like(&bound, planes)))?.planes);
        }
        Ok(frame)
    }

    fn plane_aspects(&self, modifier: Modifier) -> Result<Vec<vk::ImageAspectFlags>> {
        let list = self.gpu.modifiers(self.terms.fourcc)?;
        let planes = list.iter().find(|entry| entry.modifier == modifier).map_or(1, |entry| entry.planes);
        // What lies row by row has the planes of its format, and no others.
        let own = self.terms.fourcc.planes().map(|planes| planes.len() as u32);
        if let Some(own) = own.filter(|own| modifier == Modifier::LINEAR && *own != planes) {
            let why = format!("drmFormatModifierPlaneCount {planes} for LINEAR; {own} would be valid");
            return Err(Error::answer("vkGetPhysicalDeviceFormatProperties2", self.object(), why)
                .like("planes of another modifier, such as one with metadata"));
        }
        Ok(aspects(Tiling::Modifier(modifier), planes))
    }

    /// A new dma-buf fd for its memory, with the frame as the driver describes it.
    ///
    /// # Errors
    /// It was not created for export as dma-buf, or the driver fails or answers what no driver may answer.
    #[doc(alias = "vkGetMemoryFdKHR")]
    pub fn export_dmabuf(&self) -> Result<SharedFrame> {
        self.check_exportable(HandleType::DmaBuf)?;
        if !self.others.is_empty() {
            let why = "its planes are in memory of their own; `export_planes` hands out each";
            return Err(Error::input("vkGetMemoryFdKHR", self.object(), why));
        }
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

    pub(super) fn check_exportable(&self, handle: HandleType) -> Result<()> {
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

    /// Hands a new image over as it is, for somebody else to draw first.
    ///
    /// # Errors
    /// The driver fails.
    pub fn hand_over(&self) -> Result<()> {
        if !self.new.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
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

    /// The barrier that takes the image for `what`. A new one has nothing to be preserved, and nobody to be taken from.
    ///
    /// # Errors
    /// It is new, and to be read.
    pub(super) fn acquire(&self, what: Use, op: &'static str) -> Result<vk::ImageMemoryBarrier2<'static>> {
        if !self.new.load(Ordering::Relaxed) {
            return Ok(self.owner.acquire_image(self.raw(), self.gpu.device().queue_family, what));
        }
        if !what.covers {
            let why =
                "nobody has drawn it; drawn by this device, or handed over to be drawn by another, it would be valid";
            return Err(Error::input(op, self.object(), why));
        }
        self.new.store(false, Ordering::Relaxed);
        Ok(Owner::take_new_image(self.raw(), what))
    }
}

/// The first `planes` planes of an image of `tiling`: those of memory if it has a modifier, else those of its format.
pub(super) fn aspects(tiling: Tiling, planes: u32) -> Vec<vk::ImageAspectFlags> {
    use vk::ImageAspectFlags as Aspect;
    let all: &[Aspect] = match (tiling, planes) {
        (Tiling::Modifier(_), _) => &[
            Aspect::MEMORY_PLANE_0_EXT,
            Aspect::MEMORY_PLANE_1_EXT,
            Aspect::MEMORY_PLANE_2_EXT,
            Aspect::MEMORY_PLANE_3_EXT,
        ],
        (_, ..=1) => &[Aspect::COLOR],
        _ => &[Aspect::PLANE_0, Aspect::PLANE_1, Aspect::PLANE_2],
    };
    all.iter().copied().take(planes as usize).collect()
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({})", self.object())
    }
}
