#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out")]
//! What the driver says that its devices can do.

use ash::vk;

use super::images::{LINEAR, X_TILED};
use crate::chain::{Changed, find};
use crate::config::{done, fired, has_tiles, is};
use crate::deed::Deed;
use crate::state::{any_instance, tables};

/// An entry of either of the two modifier lists.
trait Entry: Copy + Default {
    fn modifier(&mut self) -> &mut u64;
    fn planes(&mut self) -> &mut u32;
    /// Takes from what can be done that images are sampled.
    fn lose_sampling(&mut self);
}

impl Entry for vk::DrmFormatModifierPropertiesEXT {
    fn modifier(&mut self) -> &mut u64 {
        &mut self.drm_format_modifier
    }

    fn planes(&mut self) -> &mut u32 {
        &mut self.drm_format_modifier_plane_count
    }

    fn lose_sampling(&mut self) {
        self.drm_format_modifier_tiling_features &= !vk::FormatFeatureFlags::SAMPLED_IMAGE;
    }
}

impl Entry for vk::DrmFormatModifierProperties2EXT {
    fn modifier(&mut self) -> &mut u64 {
        &mut self.drm_format_modifier
    }

    fn planes(&mut self) -> &mut u32 {
        &mut self.drm_format_modifier_plane_count
    }

    fn lose_sampling(&mut self) {
        self.drm_format_modifier_tiling_features &= !vk::FormatFeatureFlags2::SAMPLED_IMAGE;
    }
}

/// The list as it is told; `None` if nothing about it is otherwise.
fn told<E: Entry>(mut list: Vec<E>, format: vk::Format) -> Option<Vec<E>> {
    let is_bgra = format == vk::Format::B8G8R8A8_UNORM;
    let is_common = is_bgra || format == vk::Format::R8G8B8A8_UNORM;
    let linear = list.clone().into_iter().find_map(|mut entry| (*entry.modifier() == LINEAR).then_some(entry));
    let tiled = linear.map(|mut entry| {
        *entry.modifier() = X_TILED;
        if is(Deed::ModifierOfTwoPlanes) {
            *entry.planes() = 2;
        }
        entry
    });
    match () {
        () if is(Deed::LinearVanishes) && is_bgra => list.retain_mut(|entry| *entry.modifier() != LINEAR),
        () if (is(Deed::ModifierUnusable) || is(Deed::ListedModifierCrashes) || has_tiles()) && is_common => {
            list.extend(tiled);
        }
        () if is(Deed::ListInOtherOrder) && is_common => {
            list.splice(0..0, tiled).for_each(drop);
            done(Deed::ListInOtherOrder);
            return Some(list);
        }
        () if is(Deed::PlaneCountTwo) && is_bgra => list.iter_mut().for_each(|entry| *entry.planes() = 2),
        () if is(Deed::PlaneCountZero) && is_bgra => list.iter_mut().for_each(|entry| *entry.planes() = 0),
        () if is(Deed::PlaneCountEndless) && is_bgra => list.iter_mut().for_each(|entry| *entry.planes() = u32::MAX),
        () if is(Deed::ListCountWhole) => {}
        () if is(Deed::FeaturesLost) && is_common => list.iter_mut().for_each(Entry::lose_sampling),
        () => return None,
    }
    fired();
    Some(list)
}

/// Answers a caller's list of `count` entries at `entries` with `list`, as Vulkan's arrays of unknown length are answered.
///
/// # Safety
/// `count` can be read and written, and `entries` is null or has room for so many.
unsafe fn answer<E: Entry>(list: &[E], count: *mut u32, entries: *mut E) {
    if entries.is_null() {
        // SAFETY: the caller's contract.
        unsafe { *count = list.len() as u32 };
        return;
    }
    // SAFETY: the caller's contract.
    let room = unsafe { *count } as usize;
    let written = room.min(list.len());
    // SAFETY: there is room for so many, and the two are apart.
    unsafe { std::ptr::copy_nonoverlapping(list.as_ptr(), entries, written) };
    // SAFETY: the caller's contract.
    unsafe { *count = if is(Deed::ListCountWhole) { list.len() } else { written } as u32 };
}

/// Room for more modifiers than any driver lists.
const MOST: usize = 256;

pub(crate) unsafe extern "system" fn get_format_properties2(
    physical: vk::PhysicalDevice,
    format: vk::Format,
    properties: *mut vk::FormatProperties2<'_>,
) {
    let instance = any_instance();
    let real = instance.fp_v1_1().get_physical_device_format_properties2;
    // SAFETY: the caller's struct.
    let chain = unsafe { (*properties).p_next }.cast_const();
    // SAFETY: the caller's chain, alive during the call.
    let list = unsafe { find::<vk::DrmFormatModifierPropertiesListEXT<'_>>(chain) };
    // SAFETY: as above.
    let list2 = unsafe { find::<vk::DrmFormatModifierPropertiesList2EXT<'_>>(chain) };

    let mut all = [vk::DrmFormatModifierPropertiesEXT::default(); MOST];
    let mut asked = vk::DrmFormatModifierPropertiesListEXT::default().drm_format_modifier_properties(&mut all);
    let mut whole = vk::FormatProperties2::default().push_next(&mut asked);
    // SAFETY: a query of ours, with room.
    unsafe { real(physical, format, &raw mut whole) };
    let count = asked.drm_format_modifier_count as usize;
    // What nobody asks for is not told.
    let all = list.and_then(|_| told(all[..count.min(MOST)].to_vec(), format));

    let mut all2 = [vk::DrmFormatModifierProperties2EXT::default(); MOST];
    let mut asked = vk::DrmFormatModifierPropertiesList2EXT::default().drm_format_modifier_properties(&mut all2);
    // A driver that does not know this list leaves its length alone.
    let room = asked.drm_format_modifier_count;
    let mut whole = vk::FormatProperties2::default().push_next(&mut asked);
    // SAFETY: a query of ours, with room.
    unsafe { real(physical, format, &raw mut whole) };
    let count = if asked.drm_format_modifier_count == room { 0 } else { asked.drm_format_modifier_count as usize };
    let all2 = list2.filter(|_| count > 0).and_then(|_| match is(Deed::SecondListEmpty) {
        true => {
            fired();
            Some(Vec::new())
        }
        false => told(all2[..count.min(MOST)].to_vec(), format),
    });

    let (list, list2) = (list.filter(|_| all.is_some()), list2.filter(|_| all2.is_some()));
    {
        // Only their lengths are asked for meanwhile, so that nothing is written twice.
        let hidden = list.map(|list| {
            // SAFETY: a field of the caller's struct, which is alive.
            let at = unsafe { &raw mut (*list).p_drm_format_modifier_properties };
            // SAFETY: the caller gave it to be written.
            unsafe { Changed::to(at, std::ptr::null_mut()) }
        });
        let hidden2 = list2.map(|list| {
            // SAFETY: a field of the caller's struct, which is alive.
            let at = unsafe { &raw mut (*list).p_drm_format_modifier_properties };
            // SAFETY: the caller gave it to be written.
            unsafe { Changed::to(at, std::ptr::null_mut()) }
        });
        let count = list.map(|list| {
            // SAFETY: a field of the caller's struct, which is alive.
            let at = unsafe { &raw mut (*list).drm_format_modifier_count };
            // SAFETY: the caller gave it to be written.
            unsafe { Changed::to(at, 0) }
        });
        let count2 = list2.map(|list| {
            // SAFETY: a field of the caller's struct, which is alive.
            let at = unsafe { &raw mut (*list).drm_format_modifier_count };
            // SAFETY: the caller gave it to be written.
            unsafe { Changed::to(at, 0) }
        });
        // SAFETY: the caller's contract is the real function's.
        unsafe { real(physical, format, properties) };
        drop((hidden, hidden2, count, count2));
    }
    if let (Some(list), Some(all)) = (list, all) {
        // SAFETY: the caller's struct, which is alive.
        let list = unsafe { &mut *list };
        // SAFETY: the caller's array has room for as many as it says.
        unsafe { answer(&all, &raw mut list.drm_format_modifier_count, list.p_drm_format_modifier_properties) };
    }
    if let (Some(list), Some(all)) = (list2, all2) {
        // SAFETY: the caller's struct, which is alive.
        let list = unsafe { &mut *list };
        // SAFETY: the caller's array has room for as many as it says.
        unsafe { answer(&all, &raw mut list.drm_format_modifier_count, list.p_drm_format_modifier_properties) };
    }
}

pub(crate) unsafe extern "system" fn get_image_format_properties2(
    physical: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    properties: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    let real = any_instance().fp_v1_1().get_physical_device_image_format_properties2;
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { real(physical, info, properties) };
    // SAFETY: the caller's struct.
    let chain = unsafe { (*info).p_next };
    // SAFETY: the caller's chain, alive during the call.
    let modifier = unsafe { find::<vk::PhysicalDeviceImageDrmFormatModifierInfoEXT<'_>>(chain) };
    // SAFETY: found in a chain that is alive.
    let modifier = modifier.map(|modifier| unsafe { (*modifier).drm_format_modifier });
    // SAFETY: the caller's chain, alive during the call.
    let handle = unsafe { find::<vk::PhysicalDeviceExternalImageFormatInfo<'_>>(chain) };
    // SAFETY: found in a chain that is alive.
    let handle = handle.map_or_else(Default::default, |handle| unsafe { (*handle).handle_type });
    if is(Deed::ListInOtherOrder) && modifier == Some(X_TILED) && !handle.is_empty() {
        return vk::Result::ERROR_FORMAT_NOT_SUPPORTED;
    }
    // SAFETY: the caller's struct, written by the call.
    let chain = unsafe { (*properties).p_next }.cast_const();
    // SAFETY: the caller's chain, alive during the call.
    let Some(external) = (unsafe { find::<vk::ExternalImageFormatProperties<'_>>(chain) }) else { return result };
    // SAFETY: found in a chain that is alive and was written by the call.
    let features = unsafe { &mut (*external).external_memory_properties.external_memory_features };
    if result != vk::Result::SUCCESS || handle.is_empty() {
        return result;
    }
    match () {
        () if is(Deed::DedicatedOnly) || is(Deed::DedicatedUnsaid) => {
            *features |= vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY
        }
        () if is(Deed::ImportNotOffered) && handle == vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT => {
            *features &= !vk::ExternalMemoryFeatureFlags::IMPORTABLE;
        }
        () => return result,
    }
    fired();
    result
}

/// A first type of memory that is host-visible, and not device-local: legal, and not the one that images like best.
fn with_one_more_type(memory: &mut vk::PhysicalDeviceMemoryProperties) {
    if !super::images::has_one_more_type() {
        return;
    }
    if is(Deed::MemoryTypeMore) {
        done(Deed::MemoryTypeMore);
    }
    memory.memory_types.rotate_right(1);
    memory.memory_types[0] = vk::MemoryType {
        property_flags: vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT,
        heap_index: memory.memory_types[1].heap_index,
    };
    memory.memory_type_count += 1;
}

pub(crate) unsafe extern "system" fn get_memory_properties(
    physical: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (any_instance().fp_v1_0().get_physical_device_memory_properties)(physical, properties) };
    // SAFETY: the caller's struct, written by the call.
    with_one_more_type(unsafe { &mut *properties });
}

pub(crate) unsafe extern "system" fn get_memory_properties2(
    physical: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties2<'_>,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (any_instance().fp_v1_1().get_physical_device_memory_properties2)(physical, properties) };
    // SAFETY: the caller's struct, written by the call.
    with_one_more_type(unsafe { &mut (*properties).memory_properties });
}

fn with_large_atoms(limits: &mut vk::PhysicalDeviceLimits) {
    if is(Deed::LargeAtom) {
        done(Deed::LargeAtom);
        // The most that Vulkan allows.
        limits.non_coherent_atom_size = 256;
    }
}

pub(crate) unsafe extern "system" fn get_properties(
    physical: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (any_instance().fp_v1_0().get_physical_device_properties)(physical, properties) };
    // SAFETY: the caller's struct, written by the call.
    with_large_atoms(unsafe { &mut (*properties).limits });
}

pub(crate) unsafe extern "system" fn get_properties2(
    physical: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (any_instance().fp_v1_1().get_physical_device_properties2)(physical, properties) };
    // SAFETY: the caller's struct, written by the call.
    with_large_atoms(unsafe { &mut (*properties).properties.limits });
}

/// Nothing is otherwise, and this is called all the same: for whoever wants to see that it is.
pub(crate) unsafe extern "system" fn enumerate_physical_devices(
    instance: vk::Instance,
    count: *mut u32,
    devices: *mut vk::PhysicalDevice,
) -> vk::Result {
    let real = tables().instances.get(&instance).map(|instance| instance.fp_v1_0().enumerate_physical_devices);
    let Some(real) = real else { return vk::Result::ERROR_INITIALIZATION_FAILED };
    if is(Deed::PassesThrough) {
        done(Deed::PassesThrough);
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { real(instance, count, devices) }
}
