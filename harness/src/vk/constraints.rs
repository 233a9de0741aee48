#![expect(unsafe_code, reason = "asks images without memory where their rows lie")]
//! What does a Vulkan device need of a buffer that it imports? It tells of formats and sizes; pitches and memory are tried.
//!
//! Trials create images without memory, and import nothing. They cost some 20 calls for each format, well below 1 ms each, and
//! what they found is kept for as long as the device is open.

use ash::vk;

use super::error::is_layout_refused;
use super::format::vk_format;
use super::gpu::Gpu;
use super::image::Layout;
use super::memory::{HandleType, Requirements, importable_types};
use super::owned::Owned;
use super::support::{Features, Tiling};
use super::wanted::{Able, Wanted};
use crate::dmabuf::Dmabuf;
use crate::error::{Cause, Error, Result};
use crate::format::{Fourcc, Modifier, PlaneShape};
use crate::frame::{Plane, Size};
use crate::observed::{NotObservable, Observed};
use crate::placement::MemoryTypes;
use crate::share::constraints::{Bytes, Constraints, FormatModifier, MemoryNeeds};
use crate::share::heap::Storage;

/// The largest alignment of a pitch that is looked for, in bytes.
const LARGEST_ALIGNMENT: u64 = 4096;

impl Gpu {
    /// What the device needs of a frame of one of `fourccs` in `size`, in memory like that of `probes`: small buffers, one
    /// for each heap in question.
    ///
    /// The pitch that it needs is asked for the LINEAR layout; of others only the driver knows where rows lie.
    ///
    /// # Errors
    /// It imports none of them in this size, or the driver fails, or answers what no driver may answer.
    pub fn constraints(&self, fourccs: &[Fourcc], size: Size, probes: &[&Storage]) -> Result<Constraints> {
        let object = || self.device().object(format!("{fourccs:?} {size}"));
        let mut found = Constraints::of(Vec::new());
        let mut types = u32::MAX;
        let mut dedicated = false;
        for &fourcc in fourccs.iter().filter(|fourcc| vk_format(**fourcc).is_some()) {
            for support in self.modifiers(fourcc)? {
                let tiling = Tiling::Modifier(support.modifier);
                let Some(image) = self.image_support(fourcc, tiling, support.features, HandleType::DmaBuf)? else {
                    continue;
                };
                if !image.importable || size.width > image.largest.width || size.height > image.largest.height {
                    continue;
                }
                let format = FormatModifier { fourcc, modifier: support.modifier, planes: support.planes };
                found.formats.push(format);
                found.largest.width = found.largest.width.min(image.largest.width);
                found.largest.height = found.largest.height.min(image.largest.height);
                if support.modifier != Modifier::LINEAR {
                    continue;
                }
                let Some([shape]) = fourcc.planes() else { continue };
                let able = Able { features: support.features, dedicated_only: image.dedicated_only };
                let linear = Linear { gpu: self, fourcc, size, shape, able };
                let pitch = linear.pitches()?;
                let needs = linear.needs(&pitch)?;
                found.pitch.alignment = found.pitch.alignment.max(pitch.alignment);
                found.pitch.min = found.pitch.min.max(pitch.min);
                found.pitch.max = found.pitch.max.min(pitch.max);
                found.offset_alignment = found.offset_alignment.max(needs.offset_alignment);
                found.padding = found.padding.max(needs.padding);
                found.rows_behind = found.rows_behind.max(needs.rows_behind);
                types &= needs.types;
                dedicated |= needs.dedicated;
            }
        }
        if found.formats.is_empty() {
            let why = "it imports none of these as dma-buf in this size";
            let like = "an answer of vkGetPhysicalDeviceImageFormatProperties2 without IMPORTABLE for DMA_BUF";
            return Err(Error::missing("gathering constraints", object(), why).like(like));
        }
        found.memory = MemoryNeeds { dedicated, ..self.memory_needs(types, probes)? };
        Ok(found)
    }

    /// As what memory types the device can import `dmabuf`.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn memory_types(&self, dmabuf: &Dmabuf) -> Observed<MemoryTypes> {
        let device = self.device();
        let bits = importable_types(device, dmabuf).map_err(|error| NotObservable(error.to_string()))?;
        let known = (0..).zip(device.memory.memory_types_as_slice()).filter(|(n, _)| bits & (1_u32 << n) != 0);
        Ok(MemoryTypes { bits, types: known.map(|(n, one)| format!("{n} {:?}", one.property_flags)).collect() })
    }

    /// Which heaps' memory the device takes for an image that needs one of the memory types `types`.
    fn memory_needs(&self, types: u32, probes: &[&Storage]) -> Result<MemoryNeeds> {
        let takes = |probe: &&&Storage| match importable_types(self.device(), &probe.shared.dmabuf) {
            Ok(offered) => Ok(offered & types != 0),
            // What a driver says of memory of which it has nothing to do.
            Err(Error { cause: Cause::Code(code), .. }) if code == "VK_ERROR_INVALID_EXTERNAL_HANDLE" => Ok(false),
            Err(error) => Err(error),
        };
        let mut taken = Vec::new();
        for probe in probes {
            if takes(&probe)? {
                taken.push(probe);
            }
        }
        let all = taken.len() == probes.len();
        // A device that is the CPU reaches memory as the CPU does.
        let cpu = self.identity().device_type == "cpu";
        let heaps = (!all).then(|| taken.iter().map(|probe| probe.heap.clone()).collect());
        Ok(MemoryNeeds { heaps, types: (types != u32::MAX).then_some(types), cpu, ..MemoryNeeds::ANY })
    }
}

/// A LINEAR image to be, of one plane.
struct Linear<'g> {
    gpu: &'g Gpu,
    fourcc: Fourcc,
    size: Size,
    shape: &'g PlaneShape,
    able: Able,
}

/// What such an image needs, in bytes.
struct Needs {
    offset_alignment: u64,
    padding: u64,
    rows_behind: u32,
    /// Mask of memory types.
    types: u32,
    dedicated: bool,
}

impl Linear<'_> {
    /// An image of `layout` without memory; `None` if the driver says that it can't have this layout.
    fn image(&self, layout: &Layout) -> Result<Option<Owned<vk::Image>>> {
        let handles = [HandleType::DmaBuf];
        let wanted = Wanted { size: self.size, fourcc: self.fourcc, layout, handles: &handles, uses: Features::ALL };
        match self.gpu.raw_image(&wanted, self.able.features) {
            Ok(image) => Ok(Some(image)),
            Err(error) if is_layout_refused(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn with_pitch(&self, pitch: u64) -> Result<Option<Owned<vk::Image>>> {
        self.image(&Layout::Explicit(Modifier::LINEAR, vec![Plane { offset: 0, pitch }]))
    }

    /// The pitches that the driver takes: multiples of the smallest power of two of which it takes one that is a multiple of
    /// nothing larger; or its own only, if it takes no other.
    fn pitches(&self) -> Result<Bytes> {
        // Behind a multiple of all alignments, so that each is tried alone.
        let base = self.shape.row(self.size.width).next_multiple_of(2 * LARGEST_ALIGNMENT);
        let mut alignment = 1;
        while alignment <= LARGEST_ALIGNMENT {
            if self.with_pitch(base + alignment)?.is_some() {
                return Ok(Bytes::aligned(alignment));
            }
            alignment *= 2;
        }
        let own = self.own_pitch()?;
        Ok(Bytes { alignment: 1, min: own, max: own })
    }

    /// The pitch that the driver chooses.
    fn own_pitch(&self) -> Result<u64> {
        const OP: &str = "vkGetImageSubresourceLayout";
        let object = || self.gpu.device().object(format!("{} LINEAR {}", self.fourcc, self.size));
        let image = self.image(&Layout::Modifiers(vec![Modifier::LINEAR]))?;
        let image =
            image.ok_or_else(|| Error::answer("vkCreateImage", object(), "no LINEAR layout, though it lists it"))?;
        let plane = vk::ImageSubresource::default().aspect_mask(vk::ImageAspectFlags::MEMORY_PLANE_0_EXT);
        // SAFETY: the image is live, has modifier tiling, and every such image has a first plane.
        let layout = unsafe { self.gpu.device().get_image_subresource_layout(image.raw(), plane) };
        let row = self.shape.row(self.size.width);
        if layout.row_pitch < row {
            return Err(Error::answer(OP, object(), format!("pitch {} B; a row has {row} B", layout.row_pitch)));
        }
        Ok(layout.row_pitch)
    }

    /// What the image needs with the largest pitch that an agreement is likely to come to: a page's multiple, in case that
    /// another device wants so much. For smaller ones it is enough, unless a driver rounds sizes up to more than a page.
    fn needs(&self, pitches: &Bytes) -> Result<Needs> {
        let object = || self.gpu.device().object(format!("{} LINEAR {}", self.fourcc, self.size));
        let (row, height) = (self.shape.row(self.size.width), self.shape.rows(self.size.height));
        let pitch = row.next_multiple_of(LARGEST_ALIGNMENT.max(pitches.alignment)).clamp(pitches.min, pitches.max);
        let image = self.with_pitch(pitch)?.ok_or_else(|| {
            let why = format!("pitch {pitch} B is refused; it keeps to what the driver took before");
            Error::answer("vkCreateImage", object(), why)
        })?;
        let needs = self.gpu.image_requirements(&image, self.able, object)?;
        let behind = needs.size.saturating_sub(pitch * u64::from(height));
        let rows_behind = u32::try_from(behind / pitch.max(1)).unwrap_or(u32::MAX);
        let Requirements { alignment: offset_alignment, types, dedicated, .. } = needs;
        Ok(Needs { offset_alignment, padding: behind % pitch.max(1), rows_behind, types, dedicated })
    }
}
