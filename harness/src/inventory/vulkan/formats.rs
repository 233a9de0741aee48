#![expect(unsafe_code, reason = "queries of a physical device")]
//! In which forms a Vulkan device's memory, images and synchronisation can change hands.

use std::ffi::CStr;

use ash::vk;
use serde::{Deserialize, Serialize};

use super::{Physical, failed};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::inventory::listed::Listed;
use crate::vk::vk_format;

/// What a device does with one type of handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleSupport {
    /// The handle type: `dma_buf`, `opaque_fd` or `sync_fd`.
    pub name: String,
    /// It can hand such a handle out.
    pub exportable: bool,
    /// It can take such a handle in.
    pub importable: bool,
    /// Memory only: it has to be allocated for this one buffer or image.
    pub dedicated_only: bool,
    /// Handle types that the same object can be exported as together with this one.
    pub compatible: Vec<String>,
    /// Handle types that an object can have been imported from, to be exported as this one.
    pub export_from_imported: Vec<String>,
    /// Images only: the largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Size>,
}

/// What a device offers for the images of one fourcc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatSupport {
    /// The DRM format.
    pub fourcc: Fourcc,
    /// The Vulkan format of the same bytes, without `VK_FORMAT_`.
    pub vk_format: String,
    /// Layouts in which images can be made; none if the device does not know the format.
    pub layouts: Vec<Listed<LayoutSupport>>,
}

/// What a device offers for images of one layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutSupport {
    /// DRM format modifier; `None` for `VK_IMAGE_TILING_OPTIMAL`, whose layout is a private matter of the driver.
    pub modifier: Option<Modifier>,
    /// Memory planes; 1 for `OPTIMAL`.
    pub planes: u32,
    /// `VK_FORMAT_FEATURE_*` without prefix and suffix.
    pub features: String,
    /// By handle type, asked for every usage among transfer, sampled and colour attachment that the features allow.
    pub handles: Vec<Listed<HandleSupport>>,
}

const MEMORY_HANDLES: [vk::ExternalMemoryHandleTypeFlags; 2] =
    [vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT, vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD];

/// More modifiers than any driver lists for a format; a longer list is a driver's error.
const MODIFIERS_MAX: u32 = 4096;

fn has(extensions: &[String], extension: &CStr) -> bool {
    extensions.iter().any(|name| name.as_bytes() == extension.to_bytes())
}

/// `op` can't be asked because `extension` is missing.
fn missing<T>(name: &str, extension: &CStr) -> Listed<T> {
    Listed::unavailable(name, format!("the device has no {}", extension.to_string_lossy()))
}

/// The extension that a device needs for memory handles of type `handle`.
fn memory_extension(handle: vk::ExternalMemoryHandleTypeFlags) -> &'static CStr {
    if handle == vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT {
        ash::ext::external_memory_dma_buf::NAME
    } else {
        ash::khr::external_memory_fd::NAME
    }
}

/// `dma_buf`, or `dma_buf|opaque_fd` for several; bits without a name by number.
fn memory_names(flags: vk::ExternalMemoryHandleTypeFlags) -> Vec<String> {
    names(format!("{flags:?}"))
}

/// The flags that `ash` prints as `A | B`, in lower case and without `_EXT`.
fn names(debug: String) -> Vec<String> {
    debug
        .split(" | ")
        .filter(|name| !name.is_empty() && *name != "0")
        .map(|name| name.trim_end_matches("_EXT").trim_end_matches("_BIT").to_lowercase())
        .collect()
}

fn memory_support(
    handle: vk::ExternalMemoryHandleTypeFlags,
    of: &vk::ExternalMemoryProperties,
    max_size: Option<Size>,
) -> HandleSupport {
    let features = of.external_memory_features;
    HandleSupport {
        name: memory_names(handle).join("|"),
        exportable: features.contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE),
        importable: features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE),
        dedicated_only: features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY),
        compatible: memory_names(of.compatible_handle_types),
        export_from_imported: memory_names(of.export_from_imported_handle_types),
        max_size,
    }
}

/// What buffers can do.
pub(super) fn buffers(of: &Physical<'_>, extensions: &[String]) -> Vec<Listed<HandleSupport>> {
    let ask = |handle| {
        let extension = memory_extension(handle);
        if !has(extensions, extension) {
            return missing(&memory_names(handle).join("|"), extension);
        }
        let usage = vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST
            | vk::BufferUsageFlags::STORAGE_BUFFER;
        let info = vk::PhysicalDeviceExternalBufferInfo::default().usage(usage).handle_type(handle);
        let mut answer = vk::ExternalBufferProperties::default();
        // SAFETY: a live device of Vulkan 1.1 or later that has the extension of the handle type.
        unsafe { of.instance.get_physical_device_external_buffer_properties(of.physical, &info, &mut answer) };
        Listed::Present(memory_support(handle, &answer.external_memory_properties, None))
    };
    MEMORY_HANDLES.map(ask).into()
}

/// What semaphores of `kind` can do, on a device of this `version` of Vulkan.
pub(super) fn semaphores(
    of: &Physical<'_>,
    version: u32,
    extensions: &[String],
    kind: vk::SemaphoreType,
) -> Vec<Listed<HandleSupport>> {
    type Handle = vk::ExternalSemaphoreHandleTypeFlags;
    let is_timeline = kind == vk::SemaphoreType::TIMELINE;
    let ask = |handle: Handle| {
        let name = names(format!("{handle:?}")).join("|");
        // A driver that does not know the structure would answer for binary ones.
        if is_timeline && version < vk::API_VERSION_1_2 && !has(extensions, ash::khr::timeline_semaphore::NAME) {
            return missing(&name, ash::khr::timeline_semaphore::NAME);
        }
        if !has(extensions, ash::khr::external_semaphore_fd::NAME) {
            return missing(&name, ash::khr::external_semaphore_fd::NAME);
        }
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(kind);
        let mut info = vk::PhysicalDeviceExternalSemaphoreInfo::default().handle_type(handle);
        // Binary is what a driver assumes by itself.
        if is_timeline {
            info = info.push_next(&mut kind);
        }
        let mut answer = vk::ExternalSemaphoreProperties::default();
        // SAFETY: a live device of Vulkan 1.1 or later that has the extension of the handle types.
        unsafe { of.instance.get_physical_device_external_semaphore_properties(of.physical, &info, &mut answer) };
        let features = answer.external_semaphore_features;
        Listed::Present(HandleSupport {
            name,
            exportable: features.contains(vk::ExternalSemaphoreFeatureFlags::EXPORTABLE),
            importable: features.contains(vk::ExternalSemaphoreFeatureFlags::IMPORTABLE),
            dedicated_only: false,
            compatible: names(format!("{:?}", answer.compatible_handle_types)),
            export_from_imported: names(format!("{:?}", answer.export_from_imported_handle_types)),
            max_size: None,
        })
    };
    if is_timeline {
        // A sync_file has no value to wait for: VUID-VkExportSemaphoreCreateInfo-handleTypes-03263.
        return vec![ask(Handle::OPAQUE_FD)];
    }
    vec![ask(Handle::SYNC_FD), ask(Handle::OPAQUE_FD)]
}

/// What fences can do.
pub(super) fn fences(of: &Physical<'_>, extensions: &[String]) -> Vec<Listed<HandleSupport>> {
    let ask = |handle: vk::ExternalFenceHandleTypeFlags| {
        let name = names(format!("{handle:?}")).join("|");
        if !has(extensions, ash::khr::external_fence_fd::NAME) {
            return missing(&name, ash::khr::external_fence_fd::NAME);
        }
        let info = vk::PhysicalDeviceExternalFenceInfo::default().handle_type(handle);
        let mut answer = vk::ExternalFenceProperties::default();
        // SAFETY: a live device of Vulkan 1.1 or later that has the extension of the handle types.
        unsafe { of.instance.get_physical_device_external_fence_properties(of.physical, &info, &mut answer) };
        let features = answer.external_fence_features;
        Listed::Present(HandleSupport {
            name,
            exportable: features.contains(vk::ExternalFenceFeatureFlags::EXPORTABLE),
            importable: features.contains(vk::ExternalFenceFeatureFlags::IMPORTABLE),
            dedicated_only: false,
            compatible: names(format!("{:?}", answer.compatible_handle_types)),
            export_from_imported: names(format!("{:?}", answer.export_from_imported_handle_types)),
            max_size: None,
        })
    };
    vec![ask(vk::ExternalFenceHandleTypeFlags::SYNC_FD), ask(vk::ExternalFenceHandleTypeFlags::OPAQUE_FD)]
}

/// What images can do, for every fourcc that Vulkan has a format for.
pub(super) fn images(of: &Physical<'_>, extensions: &[String]) -> Vec<FormatSupport> {
    let known = Fourcc::PACKED_RGB.iter().copied().chain(Fourcc::all_yuv());
    let known = known.filter_map(|fourcc| Some((fourcc, vk_format(fourcc)?)));
    known
        .map(|(fourcc, format)| FormatSupport {
            fourcc,
            vk_format: format!("{format:?}"),
            layouts: layouts(of, extensions, format),
        })
        .collect()
}

fn layouts(of: &Physical<'_>, extensions: &[String], format: vk::Format) -> Vec<Listed<LayoutSupport>> {
    let mut basic = vk::FormatProperties2::default();
    // SAFETY: a live device of Vulkan 1.1 or later.
    unsafe { of.instance.get_physical_device_format_properties2(of.physical, format, &mut basic) };
    let mut layouts = Vec::new();
    if !basic.format_properties.optimal_tiling_features.is_empty() {
        let features = basic.format_properties.optimal_tiling_features;
        layouts.push(Listed::Present(of.layout(extensions, format, None, 1, features)));
    }
    if !has(extensions, ash::ext::image_drm_format_modifier::NAME) {
        layouts.push(missing("modifiers", ash::ext::image_drm_format_modifier::NAME));
        return layouts;
    }
    match of.modifiers(format) {
        Ok(modifiers) => layouts.extend(modifiers.iter().map(|listed| {
            let modifier = Modifier(listed.drm_format_modifier);
            let features = listed.drm_format_modifier_tiling_features;
            let planes = listed.drm_format_modifier_plane_count;
            Listed::Present(of.layout(extensions, format, Some(modifier), planes, features))
        })),
        Err(why) => layouts.push(Listed::unavailable("modifiers", why)),
    }
    layouts
}

impl Physical<'_> {
    /// The modifier list of `format`.
    fn modifiers(&self, format: vk::Format) -> Result<Vec<vk::DrmFormatModifierPropertiesEXT>, String> {
        let mut list = vk::DrmFormatModifierPropertiesListEXT::default();
        let mut properties = vk::FormatProperties2::default().push_next(&mut list);
        // SAFETY: a live device with VK_EXT_image_drm_format_modifier; without an array it tells the count.
        unsafe { self.instance.get_physical_device_format_properties2(self.physical, format, &mut properties) };
        let count = list.drm_format_modifier_count;
        if count > MODIFIERS_MAX {
            return Err(format!("the driver lists {count} modifiers; up to {MODIFIERS_MAX} would be believed"));
        }
        let mut modifiers = vec![vk::DrmFormatModifierPropertiesEXT::default(); count as usize];
        let mut list = vk::DrmFormatModifierPropertiesListEXT::default().drm_format_modifier_properties(&mut modifiers);
        let mut properties = vk::FormatProperties2::default().push_next(&mut list);
        // SAFETY: as above; the array has the length that the structure tells.
        unsafe { self.instance.get_physical_device_format_properties2(self.physical, format, &mut properties) };
        let filled = list.drm_format_modifier_count;
        if filled > count {
            return Err(format!("the driver listed {count} modifiers, then claims to have filled in {filled}"));
        }
        modifiers.truncate(filled as usize);
        Ok(modifiers)
    }

    fn layout(
        &self,
        extensions: &[String],
        format: vk::Format,
        modifier: Option<Modifier>,
        planes: u32,
        features: vk::FormatFeatureFlags,
    ) -> LayoutSupport {
        let ask = |handle| {
            let extension = memory_extension(handle);
            if !has(extensions, extension) {
                return missing(&memory_names(handle).join("|"), extension);
            }
            match self.image(format, modifier, usage(features), handle) {
                Ok(support) => Listed::Present(support),
                Err(why) => Listed::unavailable(memory_names(handle).join("|"), why),
            }
        };
        let features = format!("{features:?}").replace(" | ", "|");
        LayoutSupport { modifier, planes, features, handles: MEMORY_HANDLES.map(ask).into() }
    }

    fn image(
        &self,
        format: vk::Format,
        modifier: Option<Modifier>,
        usage: vk::ImageUsageFlags,
        handle: vk::ExternalMemoryHandleTypeFlags,
    ) -> Result<HandleSupport, String> {
        if usage.is_empty() {
            return Err("the features allow no use as transfer, sampled image or colour attachment".into());
        }
        let mut external = vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(handle);
        let mut layout = vk::PhysicalDeviceImageDrmFormatModifierInfoEXT::default();
        let mut info = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(format)
            .ty(vk::ImageType::TYPE_2D)
            .tiling(vk::ImageTiling::OPTIMAL)
            .usage(usage)
            .push_next(&mut external);
        if let Some(modifier) = modifier {
            layout = layout.drm_format_modifier(modifier.0).sharing_mode(vk::SharingMode::EXCLUSIVE);
            info = info.tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT).push_next(&mut layout);
        }
        let mut answer = vk::ExternalImageFormatProperties::default();
        let mut properties = vk::ImageFormatProperties2::default().push_next(&mut answer);
        // SAFETY: a live device that has the extensions of the handle type and, with a modifier, of modifiers.
        unsafe { self.instance.get_physical_device_image_format_properties2(self.physical, &info, &mut properties) }
            .map_err(|code| failed("vkGetPhysicalDeviceImageFormatProperties2", code))?;
        let largest = properties.image_format_properties.max_extent;
        let largest = px(largest.width, largest.height);
        Ok(memory_support(handle, &answer.external_memory_properties, Some(largest)))
    }
}

/// The usages that `features` allow.
fn usage(features: vk::FormatFeatureFlags) -> vk::ImageUsageFlags {
    type Feature = vk::FormatFeatureFlags;
    type Usage = vk::ImageUsageFlags;
    let pairs = [
        (Feature::TRANSFER_SRC, Usage::TRANSFER_SRC),
        (Feature::TRANSFER_DST, Usage::TRANSFER_DST),
        (Feature::SAMPLED_IMAGE, Usage::SAMPLED),
        (Feature::COLOR_ATTACHMENT, Usage::COLOR_ATTACHMENT),
    ];
    let allowed = pairs.iter().filter(|(feature, _)| features.contains(*feature));
    allowed.fold(Usage::empty(), |usages, (_, usage)| usages | *usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handle_types_have_the_names_of_the_issue() {
        assert_eq!(memory_names(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT), ["dma_buf"]);
        let both = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT | vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;
        assert_eq!(memory_names(both), ["opaque_fd", "dma_buf"]);
        assert_eq!(memory_names(vk::ExternalMemoryHandleTypeFlags::empty()), [""; 0]);
    }

    #[test]
    fn only_allowed_usages_are_asked_for() {
        let features = vk::FormatFeatureFlags::SAMPLED_IMAGE | vk::FormatFeatureFlags::TRANSFER_SRC;
        assert_eq!(usage(features), vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::TRANSFER_SRC);
    }
}
