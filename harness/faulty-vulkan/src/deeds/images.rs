#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out")]
//! Images: how they are made, where their pixels lie, what memory they want, and what views show of them.

use ash::vk;

use crate::chain::{Changed, find, without};
use crate::config::{fired, has_tiles, is};
use crate::deed::Deed;
use crate::format::{as_srgb, bytes_per_pixel, has_alpha, red_blue_swapped};
use crate::state::{Image, device, tables};

type Allocator<'a> = *const vk::AllocationCallbacks<'a>;

/// `DRM_FORMAT_MOD_LINEAR` and `DRM_FORMAT_MOD_INVALID`, of the kernel's `drm_fourcc.h`.
pub(crate) const LINEAR: u64 = 0;
const INVALID: u64 = 0x00ff_ffff_ffff_ffff;

/// `I915_FORMAT_MOD_X_TILED`, which no software renderer has.
pub(crate) const X_TILED: u64 = 0x0100_0000_0000_0001;

pub(crate) unsafe extern "system" fn create_image(
    handle: vk::Device,
    given: *const vk::ImageCreateInfo<'_>,
    allocator: Allocator<'_>,
    made: *mut vk::Image,
) -> vk::Result {
    let device = device(handle);
    let create = device.raw.fp_v1_0().create_image;
    // SAFETY: the caller's struct, alive during the call.
    let mut info = unsafe { *given };
    // SAFETY: as above, with its chain.
    let external = unsafe { find::<vk::ExternalMemoryImageCreateInfo<'_>>(info.p_next) };
    // SAFETY: found in a chain that is alive.
    let external = external.map_or_else(Default::default, |external| unsafe { (*external).handle_types });
    let mut remembered =
        Image { format: info.format, extent: info.extent, tiling: info.tiling, external, ..Image::default() };
    if is(Deed::RedBlueSwapped)
        && !external.is_empty()
        && let Some(swapped) = red_blue_swapped(info.format)
    {
        info.format = swapped;
        fired();
    }
    // SAFETY: the caller's chain, alive during the call.
    if is(Deed::PlanesRefused) && unsafe { second_plane(&info) }.is_some() {
        fired();
        return vk::Result::ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT;
    }
    // SAFETY: the caller's chain, alive during the call.
    let planes = unsafe { explicit_planes(&info) };
    let _changed = planes.and_then(|planes| {
        // SAFETY: explicit layouts have at least one plane.
        let first = unsafe { *planes };
        let mut new = first;
        let page = 4096;
        match () {
            () if is(Deed::ImportOffsetIgnored) => new.offset = 0,
            () if is(Deed::ImportOffsetRounded) => new.offset -= first.offset % page,
            () if is(Deed::ImportPitchRounded) => new.row_pitch = first.row_pitch.next_multiple_of(256),
            () => {}
        }
        let changes = (new.offset, new.row_pitch) != (first.offset, first.row_pitch);
        changes.then(|| {
            fired();
            // SAFETY: the caller's struct, which is its own to write; it is as it was when the call returns.
            unsafe { Changed::to(planes.cast_mut(), new) }
        })
    });
    // SAFETY: the caller's chain, alive during the call.
    let _untiled = match unsafe { tiled_import(&info) } {
        Ok(changed) => changed,
        Err(refused) => return refused,
    };
    if _untiled.is_some() {
        remembered.told = Some(X_TILED);
    }
    // SAFETY: explicit layouts have at least one plane.
    let first = planes.map(|planes| unsafe { *planes });
    if let (Some(first), Some(bytes)) = (first, bytes_per_pixel(info.format)) {
        let rows = u64::from(info.extent.height.saturating_sub(1));
        remembered.end = first.offset + rows * first.row_pitch + u64::from(info.extent.width * bytes);
    }
    // SAFETY: as above.
    let second = unsafe { second_plane(&info) }.filter(|_| is(Deed::SecondPlaneLost));
    let _lost = second.map(|(first, second)| {
        fired();
        // SAFETY: as above.
        let first = unsafe { (*first).offset };
        // SAFETY: a field of the caller's struct, as above.
        let offset = unsafe { &raw mut (*second.cast_mut()).offset };
        // SAFETY: the caller's struct is its own to write; it is as it was when the call returns.
        unsafe { Changed::to(offset, first) }
    });
    // SAFETY: the caller's chain, alive during the call.
    let listed = unsafe { find::<vk::ImageDrmFormatModifierListCreateInfoEXT<'_>>(info.p_next) };
    let listed: Vec<u64> = listed.map_or_else(Vec::new, |list| {
        // SAFETY: found in a chain that is alive.
        let list = unsafe { *list };
        // SAFETY: the list is as long as it says.
        unsafe { std::slice::from_raw_parts(list.p_drm_format_modifiers, list.drm_format_modifier_count as usize) }
            .to_vec()
    });
    let foreign = listed.contains(&X_TILED);
    if is(Deed::ListInOtherOrder) && foreign && !listed.contains(&LINEAR) {
        if !external.is_empty() {
            // Refused as the query says.
            return vk::Result::ERROR_FORMAT_NOT_SUPPORTED;
        }
        // How it is laid out, nobody else will know.
        remembered.told = Some(X_TILED);
    }
    if is(Deed::ModifierUnusable) && listed == [X_TILED] {
        fired();
    }
    if is(Deed::ListedModifierCrashes) && listed == [X_TILED] {
        fired();
        // SAFETY: nothing is there, which is the point.
        unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(0) };
    }
    let only_linear = [LINEAR];
    let mut explicit_layout = [vk::SubresourceLayout::default()];
    let mut list = vk::ImageDrmFormatModifierListCreateInfoEXT::default().drm_format_modifiers(&only_linear);
    let mut explicit = vk::ImageDrmFormatModifierExplicitCreateInfoEXT::default().drm_format_modifier(LINEAR);
    let wide = bytes_per_pixel(info.format).filter(|_| is(Deed::PitchOf512) && listed.contains(&LINEAR));
    let mut _taken_out = None;
    if let Some(bytes) = wide {
        // SAFETY: the caller's chain and `info`'s own link, which can be written.
        _taken_out = unsafe { without::<vk::ImageDrmFormatModifierListCreateInfoEXT<'_>>(&raw mut info.p_next) };
        explicit_layout[0].row_pitch = u64::from(info.extent.width * bytes).next_multiple_of(512);
        explicit = explicit.plane_layouts(&explicit_layout);
        explicit.p_next = info.p_next;
        info.p_next = (&raw const explicit).cast();
        fired();
    } else if foreign
        && (has_tiles()
            || [Deed::ModifierUnusable, Deed::ListedModifierCrashes, Deed::ListInOtherOrder].into_iter().any(is))
    {
        if has_tiles() && listed == [X_TILED] {
            remembered.told = Some(X_TILED);
        }
        // SAFETY: as above.
        _taken_out = unsafe { without::<vk::ImageDrmFormatModifierListCreateInfoEXT<'_>>(&raw mut info.p_next) };
        list.p_next = info.p_next;
        info.p_next = (&raw const list).cast();
    }
    // SAFETY: the caller's contract is the real function's; what was changed of it is valid as it was.
    let result = unsafe { create(handle, &raw const info, allocator, made) };
    if result == vk::Result::SUCCESS {
        remembered.tiling = info.tiling;
        // SAFETY: written by the call that succeeded.
        tables().images.insert((handle, unsafe { *made }), remembered);
    }
    result
}

/// What is changed of an explicit layout with the driver's own modifier for the real driver, which knows LINEAR only and takes
/// the first plane of it. One that does not have the planes that the modifier has is refused.
///
/// # Safety
/// `info` is alive with its chain.
unsafe fn tiled_import<'c>(info: &vk::ImageCreateInfo<'c>) -> Result<Option<Tiled<'c>>, vk::Result> {
    // SAFETY: the caller's contract.
    let explicit = unsafe { find::<vk::ImageDrmFormatModifierExplicitCreateInfoEXT<'_>>(info.p_next) };
    let Some(explicit) = explicit.filter(|_| has_tiles()) else { return Ok(None) };
    // SAFETY: found in a chain that is alive.
    let mut new = unsafe { *explicit };
    if new.drm_format_modifier != X_TILED {
        return Ok(None);
    }
    // SAFETY: the list is as long as it says.
    let planes =
        unsafe { std::slice::from_raw_parts(new.p_plane_layouts, new.drm_format_modifier_plane_count as usize) };
    let is_whole = match planes {
        [first, second] if is(Deed::ModifierOfTwoPlanes) => {
            let told = second_of(first);
            (second.offset, second.row_pitch) == (told.offset, told.row_pitch)
        }
        [_] => !is(Deed::ModifierOfTwoPlanes),
        _ => false,
    };
    if !is_whole {
        return Err(vk::Result::ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT);
    }
    let first = new.p_plane_layouts.cast_mut();
    let later = is(Deed::TiledOffset64).then(|| {
        fired();
        let later = vk::SubresourceLayout { offset: planes[0].offset + 64, ..planes[0] };
        // SAFETY: the caller's struct is its own to write; it is as it was when the call returns.
        unsafe { Changed::to(first, later) }
    });
    (new.drm_format_modifier, new.drm_format_modifier_plane_count) = (LINEAR, 1);
    // SAFETY: as above.
    let linear = unsafe { Changed::to(explicit, new) };
    Ok(Some(Tiled { _later: later, _linear: linear }))
}

/// What [`tiled_import`] has changed, as long as this lives.
struct Tiled<'c> {
    _later: Option<Changed<vk::SubresourceLayout>>,
    _linear: Changed<vk::ImageDrmFormatModifierExplicitCreateInfoEXT<'c>>,
}

/// Where the second plane of the driver's own modifier lies, as far as anybody is told: nothing is ever there.
fn second_of(first: &vk::SubresourceLayout) -> vk::SubresourceLayout {
    vk::SubresourceLayout { size: 0, offset: first.offset + 64, row_pitch: 128, ..Default::default() }
}

/// The planes that an image is to have, if it is made with an explicit layout.
///
/// # Safety
/// `info` is alive with its chain.
unsafe fn explicit_planes(info: &vk::ImageCreateInfo<'_>) -> Option<*const vk::SubresourceLayout> {
    // SAFETY: the caller's contract.
    let explicit = unsafe { find::<vk::ImageDrmFormatModifierExplicitCreateInfoEXT<'_>>(info.p_next) }?;
    // SAFETY: found in a chain that is alive.
    let explicit = unsafe { *explicit };
    (explicit.drm_format_modifier_plane_count > 0).then_some(explicit.p_plane_layouts)
}

/// The first two planes that an image is to have, if it is made with an explicit layout of so many.
///
/// # Safety
/// `info` is alive with its chain.
unsafe fn second_plane(
    info: &vk::ImageCreateInfo<'_>,
) -> Option<(*const vk::SubresourceLayout, *const vk::SubresourceLayout)> {
    // SAFETY: the caller's contract.
    let explicit = unsafe { find::<vk::ImageDrmFormatModifierExplicitCreateInfoEXT<'_>>(info.p_next) }?;
    // SAFETY: found in a chain that is alive.
    let explicit = unsafe { *explicit };
    let planes = explicit.p_plane_layouts;
    // SAFETY: the list is as long as it says.
    (explicit.drm_format_modifier_plane_count > 1).then(|| (planes, unsafe { planes.add(1) }))
}

pub(crate) unsafe extern "system" fn destroy_image(handle: vk::Device, image: vk::Image, allocator: Allocator<'_>) {
    super::submissions::let_work_end(handle);
    tables().images.remove(&(handle, image));
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_0().destroy_image)(handle, image, allocator) };
}

/// What is remembered of an image.
pub(crate) fn remembered(handle: vk::Device, image: vk::Image) -> Image {
    tables().images.get(&(handle, image)).cloned().unwrap_or_default()
}

/// Whether others can address the image by a pitch.
fn is_addressed(image: &Image) -> bool {
    image.tiling == vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT
        || (image.tiling == vk::ImageTiling::LINEAR && !image.external.is_empty())
}

/// The pitch of the image's first plane as the real driver has it, if others can address it by one.
pub(crate) fn true_pitch(handle: vk::Device, image: vk::Image) -> Option<u64> {
    let known = remembered(handle, image);
    if !is_addressed(&known) {
        return None;
    }
    let aspect = match known.tiling {
        vk::ImageTiling::LINEAR => vk::ImageAspectFlags::COLOR,
        _ => vk::ImageAspectFlags::MEMORY_PLANE_0_EXT,
    };
    let plane = vk::ImageSubresource::default().aspect_mask(aspect);
    // SAFETY: a live image that is not of optimal tiling.
    Some(unsafe { device(handle).raw.get_image_subresource_layout(image, plane) }.row_pitch)
}

pub(crate) unsafe extern "system" fn get_image_subresource_layout(
    handle: vk::Device,
    image: vk::Image,
    subresource: *const vk::ImageSubresource,
    layout: *mut vk::SubresourceLayout,
) {
    let device = device(handle);
    // SAFETY: the caller's struct.
    let mut asked = unsafe { *subresource };
    let is_second = asked.aspect_mask == vk::ImageAspectFlags::MEMORY_PLANE_1_EXT && is(Deed::ModifierOfTwoPlanes);
    if is_second {
        asked.aspect_mask = vk::ImageAspectFlags::MEMORY_PLANE_0_EXT;
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device.raw.fp_v1_0().get_image_subresource_layout)(handle, image, &raw const asked, layout) };
    // SAFETY: the caller's struct, written by the call.
    let told = unsafe { &mut *layout };
    if is_second {
        fired();
        *told = second_of(told);
    }
    change_layout(&remembered(handle, image), told);
}

pub(crate) unsafe extern "system" fn get_image_subresource_layout2(
    handle: vk::Device,
    image: vk::Image,
    subresource: *const vk::ImageSubresource2KHR<'_>,
    layout: *mut vk::SubresourceLayout2KHR<'_>,
) {
    // The driver has one of the three names for it, or nobody could have asked us.
    let Some(real) = device(handle).subresource_layout2 else { return };
    // SAFETY: the caller's contract is the real function's.
    unsafe { real(handle, image, subresource, layout) };
    // SAFETY: the caller's struct, written by the call.
    change_layout(&remembered(handle, image), unsafe { &mut (*layout).subresource_layout });
}

/// By so many bytes a pitch is told too large, where size and memory go with it.
const TOO_LARGE: u64 = 64;

/// Tells another layout than the real driver did.
fn change_layout(known: &Image, layout: &mut vk::SubresourceLayout) {
    if !is_addressed(known) {
        return;
    }
    match () {
        () if is(Deed::PitchTooLarge) => layout.row_pitch += 64,
        () if is(Deed::PitchAndSizeTooLarge) && known.end == 0 => {
            layout.row_pitch += TOO_LARGE;
            layout.size += TOO_LARGE * u64::from(known.extent.height);
        }
        () if is(Deed::PitchInPixels) && bytes_per_pixel(known.format) == Some(8) => layout.row_pitch /= 8,
        () if is(Deed::SizeOfLayoutZero) => layout.size = 0,
        () if is(Deed::PitchZero) => layout.row_pitch = 0,
        () if is(Deed::LayoutOffsetZero) && layout.offset != 0 => layout.offset = 0,
        () if is(Deed::SizeOfLayoutEndless) => layout.size = u64::MAX,
        () => return,
    }
    fired();
}

pub(crate) unsafe extern "system" fn get_image_drm_format_modifier_properties(
    handle: vk::Device,
    image: vk::Image,
    properties: *mut vk::ImageDrmFormatModifierPropertiesEXT<'_>,
) -> vk::Result {
    let get = device(handle).modifiers.get_image_drm_format_modifier_properties_ext;
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { get(handle, image, properties) };
    if let Some(told) = remembered(handle, image).told {
        // SAFETY: the caller's struct.
        unsafe { (*properties).drm_format_modifier = told };
    }
    if is(Deed::ModifierReportedInvalid) {
        fired();
        // SAFETY: the caller's struct.
        unsafe { (*properties).drm_format_modifier = INVALID };
    }
    result
}

pub(crate) unsafe extern "system" fn get_image_memory_requirements2(
    handle: vk::Device,
    info: *const vk::ImageMemoryRequirementsInfo2<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_1().get_image_memory_requirements2)(handle, info, requirements) };
    // SAFETY: the caller's struct.
    let image = unsafe { (*info).image };
    // SAFETY: the caller's struct, written by the call, with its chain.
    unsafe { change_requirements(&remembered(handle, image), requirements) };
}

pub(crate) unsafe extern "system" fn get_image_memory_requirements(
    handle: vk::Device,
    image: vk::Image,
    requirements: *mut vk::MemoryRequirements,
) {
    // SAFETY: the caller's contract is the real function's.
    let given = unsafe { device(handle).raw.get_image_memory_requirements(image) };
    let mut all = vk::MemoryRequirements2::default().memory_requirements(given);
    // SAFETY: a struct of ours, without a chain.
    unsafe { change_requirements(&remembered(handle, image), &raw mut all) };
    // SAFETY: the caller's struct.
    unsafe { *requirements = all.memory_requirements };
}

pub(crate) unsafe extern "system" fn get_buffer_memory_requirements2(
    handle: vk::Device,
    info: *const vk::BufferMemoryRequirementsInfo2<'_>,
    requirements: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_1().get_buffer_memory_requirements2)(handle, info, requirements) };
    // SAFETY: the caller's struct, written by the call, with its chain.
    unsafe { change_requirements(&Image::default(), requirements) };
}

pub(crate) unsafe extern "system" fn get_buffer_memory_requirements(
    handle: vk::Device,
    buffer: vk::Buffer,
    requirements: *mut vk::MemoryRequirements,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_0().get_buffer_memory_requirements)(handle, buffer, requirements) };
    if has_one_more_type() {
        // SAFETY: the caller's struct, written by the call.
        unsafe { (*requirements).memory_type_bits <<= 1 };
    }
}

/// Whether the device has one more memory type than the real one, before all others.
pub(crate) fn has_one_more_type() -> bool {
    is(Deed::MemoryTypeMore) || is(Deed::FdOfAnotherType)
}

/// # Safety
/// `requirements` was written by the real driver and is alive with its chain.
unsafe fn change_requirements(image: &Image, requirements: *mut vk::MemoryRequirements2<'_>) {
    // SAFETY: the caller's contract.
    let all = unsafe { &mut *requirements };
    let needs = &mut all.memory_requirements;
    if has_one_more_type() {
        // Nothing but the new first type is not for it.
        needs.memory_type_bits <<= 1;
    }
    if image.external.is_empty() {
        return;
    }
    match () {
        () if is(Deed::MemorySizeShort) => needs.size -= needs.size / 8,
        // As much as the rows would need that it is to be told of.
        () if is(Deed::PitchAndSizeTooLarge) && image.end == 0 && is_addressed(image) => {
            needs.size += TOO_LARGE * u64::from(image.extent.height);
        }
        () if is(Deed::AlignmentOf64Ki) => needs.alignment = needs.alignment.max(1 << 16),
        () if is(Deed::DedicatedOnly) => {
            // Who demands memory of just this size has to count the offset in, which Mesa 25.0 forgets.
            if needs.size < image.end {
                needs.size = image.end.next_multiple_of(4096);
            }
            // SAFETY: the caller's contract.
            let Some(dedicated) = (unsafe { find::<vk::MemoryDedicatedRequirements<'_>>(all.p_next) }) else { return };
            // SAFETY: found in a chain that is alive and was written by the real driver.
            let dedicated = unsafe { &mut *dedicated };
            (dedicated.requires_dedicated_allocation, dedicated.prefers_dedicated_allocation) = (vk::TRUE, vk::TRUE);
        }
        () => return,
    }
    fired();
}

pub(crate) unsafe extern "system" fn create_image_view(
    handle: vk::Device,
    given: *const vk::ImageViewCreateInfo<'_>,
    allocator: Allocator<'_>,
    made: *mut vk::ImageView,
) -> vk::Result {
    // SAFETY: the caller's struct.
    let mut info = unsafe { *given };
    let image = remembered(handle, info.image);
    let is_imported = || {
        let tables = tables();
        tables.memories.get(&(handle, image.memory)).is_some_and(|memory| memory.imported_by.is_some())
    };
    let mut changed = true;
    match () {
        () if is(Deed::RedBlueSwapped) && !image.external.is_empty() => {
            info.format = red_blue_swapped(info.format).unwrap_or(info.format);
            changed = false;
        }
        () if is(Deed::AlphaOne) && has_alpha(info.format) && is_imported() => {
            info.components.a = vk::ComponentSwizzle::ONE;
        }
        () if is(Deed::SwizzledTwice) && red_blue_swapped(info.format).is_some() && is_imported() => {
            (info.components.r, info.components.b) = (vk::ComponentSwizzle::B, vk::ComponentSwizzle::R);
        }
        () if is(Deed::SrgbDecoded) && as_srgb(info.format).is_some() && is_imported() => {
            info.format = as_srgb(info.format).unwrap_or(info.format);
        }
        () => changed = false,
    }
    if changed {
        fired();
    }
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (device(handle).raw.fp_v1_0().create_image_view)(handle, &raw const info, allocator, made) };
    if is(Deed::ViewStale) && result == vk::Result::SUCCESS && is_imported() {
        let mut tables = tables();
        // SAFETY: written by the call that succeeded.
        tables.views.insert((handle, unsafe { *made }), image.memory);
        if let Some(known) = tables.memories.get_mut(&(handle, image.memory)) {
            known.views += 1;
            // The first one is what all later ones show.
            if known.cached.is_none() {
                known.cached = known.bytes.as_ref().map(|bytes| bytes.bytes());
            }
        }
    }
    result
}

pub(crate) unsafe extern "system" fn bind_image_memory(
    handle: vk::Device,
    image: vk::Image,
    memory: vk::DeviceMemory,
    offset: vk::DeviceSize,
) -> vk::Result {
    let offset = bound_at(handle, image, memory, offset);
    // SAFETY: the caller's contract is the real function's; 0 is a multiple of every alignment.
    unsafe { (device(handle).raw.fp_v1_0().bind_image_memory)(handle, image, memory, offset) }
}

pub(crate) unsafe extern "system" fn bind_image_memory2(
    handle: vk::Device,
    count: u32,
    infos: *const vk::BindImageMemoryInfo<'_>,
) -> vk::Result {
    // SAFETY: the caller's list.
    let mut infos = unsafe { std::slice::from_raw_parts(infos, count as usize) }.to_vec();
    for info in &mut infos {
        info.memory_offset = bound_at(handle, info.image, info.memory, info.memory_offset);
    }
    if is(Deed::DisjointBoundToFirst)
        && let Some((first, others)) = infos.split_first_mut()
    {
        for other in others.iter_mut().filter(|other| other.image == first.image && other.memory != first.memory) {
            fired();
            other.memory = first.memory;
        }
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_1().bind_image_memory2)(handle, count, infos.as_ptr()) }
}

/// Notes the memory of `image`, and where it is bound.
fn bound_at(handle: vk::Device, image: vk::Image, memory: vk::DeviceMemory, offset: u64) -> u64 {
    let mut external = false;
    if let Some(known) = tables().images.get_mut(&(handle, image)) {
        known.memory = memory;
        external = !known.external.is_empty();
    }
    if is(Deed::ImageBoundAtZero) && external && offset != 0 {
        fired();
        return 0;
    }
    offset
}
