//! How memory that came from elsewhere becomes an image of this device.
//!
//! Fds are duplicated: what the caller holds stays the caller's, and a failed import leaves nothing open.

use super::gpu::Gpu;
use super::image::{Image, ImageTerms, Layout, OpaqueImage, Unbound};
use super::memory::{Dedicated, HandleType, Memory, check_terms, common_type, duplicate, importable_types};
use super::room::only_dedicated;
use super::support::{Features, Tiling};
use super::wanted::{Able, Wanted};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::frame::Plane;

/// Which of Vulkan's two offsets carries a frame's offset on import: both are legal and must show the same pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetBy {
    /// `VkSubresourceLayout::offset` of the explicit layout; the image is bound at 0.
    #[default]
    Layout,
    /// `vkBindImageMemory` at the first plane's offset; the explicit layout starts at 0.
    Binding,
}

/// How to import a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportRequest {
    /// With `VkMemoryDedicatedAllocateInfo`, whether the driver demands that or not; the offset can then only be the layout's.
    pub dedicated: bool,
    /// What carries the offset.
    pub offset_by: OffsetBy,
}

/// What the device says of the memory of an image that is to be imported; masks have a bit for each of its memory types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportMemory {
    /// As which the dma-buf can be imported (`vkGetMemoryFdPropertiesKHR`); not empty.
    pub offered: u32,
    /// Of which the image can be (`vkGetImageMemoryRequirements2`); not empty.
    pub taken: u32,
    /// Whether such images change hands in dedicated memory only (`VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT`).
    pub dedicated_only: bool,
    /// Whether this image takes no other (`VkMemoryDedicatedRequirements::requiresDedicatedAllocation`).
    pub requires_dedicated: bool,
}

impl Gpu {
    /// What the device says of the memory of an import of `shared`; nothing is imported.
    ///
    /// # Errors
    /// As [`Self::import_image`], as far as that has to ask.
    pub fn import_memory(&self, shared: &SharedFrame) -> Result<ImportMemory> {
        let SharedFrame { dmabuf, frame } = shared;
        let object = || self.device().object(format!("dma-buf of {} B with {frame}", dmabuf.size));
        let layout = Layout::Explicit(frame.modifier, frame.planes.clone());
        let handles = [HandleType::DmaBuf];
        let wanted =
            Wanted { size: frame.size, fourcc: frame.fourcc, layout: &layout, handles: &handles, uses: Features::ALL };
        let able = self.check_support(&wanted, |support| support.importable)?;
        let raw = self.raw_image(&wanted, able.features)?;
        let needs = self.image_requirements(&raw, Able { dedicated_only: false, ..able }, object)?;
        Ok(ImportMemory {
            offered: importable_types(self.device(), dmabuf)?,
            taken: needs.types,
            dedicated_only: able.dedicated_only,
            requires_dedicated: needs.dedicated,
        })
    }

    /// Imports `shared` with the layout that its frame states. Contents are preserved.
    ///
    /// # Errors
    /// The device does not say that it can import this; the frame or the image does not fit the buffer; no memory type
    /// serves both sides; or the driver fails, or answers what no driver may answer.
    #[doc(alias = "VkImportMemoryFdInfoKHR")]
    pub fn import_image(&self, shared: &SharedFrame, how: &ImportRequest) -> Result<Image> {
        self.prepare_import(shared, how)?.bind()
    }

    /// [`Self::import_image`] without binding the memory.
    ///
    /// # Errors
    /// As there.
    pub fn prepare_import(&self, shared: &SharedFrame, how: &ImportRequest) -> Result<Unbound> {
        const OP: &str = "importing a frame";
        let device = self.device();
        let frame = &shared.frame;
        let object = || device.object(format!("dma-buf of {} B with {frame}", shared.dmabuf.size));
        if let Some(at) = frame.packed().ok().filter(|at| at.end > shared.dmabuf.size) {
            return Err(Error::input(OP, object(), format!("the frame ends at byte {}, after the buffer", at.end)));
        }
        let (offset, planes) = split_offset(&frame.planes, how).map_err(|why| Error::input(OP, object(), why))?;
        let layout = Layout::Explicit(frame.modifier, planes);
        let handles = [HandleType::DmaBuf];
        let wanted =
            Wanted { size: frame.size, fourcc: frame.fourcc, layout: &layout, handles: &handles, uses: Features::ALL };
        let able = self.check_support(&wanted, |support| support.importable)?;
        let features = able.features;
        let raw = self.raw_image(&wanted, features)?;
        let tiling = self.tiling_of(&raw, &layout, object)?;
        let needs = self.image_requirements(&raw, able, object)?;
        let dedicated = how.dedicated || needs.dedicated;
        if dedicated && offset != 0 {
            return Err(only_dedicated(object(), offset));
        }
        let needs = needs.covering(&wanted, dedicated, object)?;
        if !offset.is_multiple_of(needs.alignment) {
            let why = format!("an image bound at byte {offset}; a multiple of {} B is needed", needs.alignment);
            return Err(Error::missing(OP, object(), why));
        }
        if offset.checked_add(needs.size).is_none_or(|end| end > shared.dmabuf.size) {
            let why = format!("the importer needs {} B from byte {offset}, and that ends after the buffer", needs.size);
            return Err(Error::missing(OP, object(), why));
        }
        let offered = importable_types(device, &shared.dmabuf)?;
        let type_index = common_type(device, offered, needs.types, &object())?;
        // Dedicated memory has the size of its image (VUID-VkMemoryDedicatedAllocateInfo-image-02964).
        let (memory_size, dedicated) =
            if dedicated { (needs.size, Dedicated::ToImage(raw.raw())) } else { (shared.dmabuf.size, Dedicated::No) };
        let fd = duplicate(&shared.dmabuf.fd)?;
        let memory = Memory::import(device, fd, HandleType::DmaBuf, memory_size, type_index, dedicated)?;
        let terms = ImageTerms { size: frame.size, fourcc: frame.fourcc, tiling, features, offset };
        Ok(self.unbound(raw, memory, terms, HandleType::DmaBuf))
    }

    /// Imports an image by opaque fd. Contents are preserved.
    ///
    /// # Errors
    /// It came from another device or driver, or the driver fails, or answers what no driver may answer.
    pub fn import_opaque_image(&self, opaque: &OpaqueImage) -> Result<Image> {
        let OpaqueImage { memory, terms } = opaque;
        let device = self.device();
        check_terms(device, &memory.terms)?;
        let object = || device.object(format!("opaque fd with {terms}"));
        let layout = match terms.tiling {
            Tiling::Optimal => Layout::Optimal,
            Tiling::Linear => Layout::Linear,
            Tiling::Modifier(modifier) => Layout::Modifiers(vec![modifier]),
        };
        let handles = [HandleType::OpaqueFd];
        let wanted =
            Wanted { size: terms.size, fourcc: terms.fourcc, layout: &layout, handles: &handles, uses: Features::ALL };
        let able = self.check_support(&wanted, |support| support.importable)?;
        let raw = self.raw_image(&wanted, terms.features)?;
        self.image_requirements(&raw, able, object)?
            .check_place(terms.offset, &memory.terms)
            .map_err(|why| Error::answer("vkGetImageMemoryRequirements2", object(), why))?;
        let dedicated = if memory.terms.dedicated { Dedicated::ToImage(raw.raw()) } else { Dedicated::No };
        let fd = duplicate(&memory.fd)?;
        let (size, type_index) = (memory.terms.size, memory.terms.memory_type);
        let memory = Memory::import(device, fd, HandleType::OpaqueFd, size, type_index, dedicated)?;
        self.unbound(raw, memory, terms.clone(), HandleType::OpaqueFd).bind()
    }
}

/// Where the image is bound, and its planes counted from there.
fn split_offset(planes: &[Plane], how: &ImportRequest) -> Result<(u64, Vec<Plane>), String> {
    let first = planes.first().ok_or("the frame has no plane")?.offset;
    let bound_at = match how.offset_by {
        OffsetBy::Layout => 0,
        OffsetBy::Binding if how.dedicated && first != 0 => {
            return Err(format!("dedicated memory is bound at 0: the layout must carry the offset of {first} B"));
        }
        OffsetBy::Binding => first,
    };
    let moved = |plane: &Plane| {
        let offset = plane.offset.checked_sub(bound_at);
        offset.map(|offset| Plane { offset, ..*plane }).ok_or_else(|| {
            format!("plane at {} B; bound at the first plane's {first} B, the others must lie after it", plane.offset)
        })
    };
    Ok((bound_at, planes.iter().map(moved).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_goes_to_the_layout_or_to_the_binding() {
        let planes = [Plane { offset: 4096, pitch: 64 }, Plane { offset: 8192, pitch: 32 }];
        let request = |dedicated, offset_by| ImportRequest { dedicated, offset_by };
        assert_eq!(split_offset(&planes, &request(true, OffsetBy::Layout)), Ok((0, planes.to_vec())));
        let moved = vec![Plane { offset: 0, pitch: 64 }, Plane { offset: 4096, pitch: 32 }];
        assert_eq!(split_offset(&planes, &request(false, OffsetBy::Binding)), Ok((4096, moved)));
        assert!(split_offset(&planes, &request(true, OffsetBy::Binding)).is_err());
        assert!(split_offset(&[planes[1], planes[0]], &request(false, OffsetBy::Binding)).is_err());
        assert!(split_offset(&[], &request(false, OffsetBy::Layout)).is_err());
    }
}
