#![expect(unsafe_code, reason = "vkGetPhysicalDevice…Properties2 queries")]
//! What a device says it can do with a format, a modifier and a handle type.
//!
//! The device's word, not yet the truth: whether it keeps it is what the cases are about.

use std::fmt;

use ash::vk;
use serde::{Deserialize, Serialize};

use super::check;
use super::error::failed;
use super::format::vk_format;
use super::gpu::{Device, Gpu};
use super::memory::HandleType;
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};

/// How the pixels of an image are arranged, as asked of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tiling {
    /// `VK_IMAGE_TILING_OPTIMAL`: as the driver likes, no other device can know.
    Optimal,
    /// `VK_IMAGE_TILING_LINEAR`: rows one after the other, from before modifiers.
    Linear,
    /// `VK_IMAGE_TILING_DRM_FORMAT_MODIFIER_EXT`.
    Modifier(Modifier),
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Optimal => f.pad("optimal tiling"),
            Self::Linear => f.pad("linear tiling"),
            Self::Modifier(modifier) => write!(f, "modifier {modifier}"),
        }
    }
}

/// What a device says can be done with images of a format and tiling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Copied from.
    pub copy_from: bool,
    /// Copied to.
    pub copy_to: bool,
    /// Sampled.
    pub sample: bool,
    /// Drawn into.
    pub draw: bool,
    /// Drawn into with blending.
    pub blend: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&str> = self.each().into_iter().map(|(name, _)| name).collect();
        names.extend(self.blend.then_some("blended"));
        match names.is_empty() {
            true => f.write_str("nothing can be done with it"),
            false => f.write_str(&names.join(", ")),
        }
    }
}

impl Features {
    /// All there is.
    pub const ALL: Self = Self { copy_from: true, copy_to: true, sample: true, draw: true, blend: true };

    /// Each of these alone, by name.
    pub fn each(self) -> Vec<(&'static str, Self)> {
        let none = Self::default();
        let all = [
            ("copied from", self.copy_from, Self { copy_from: true, ..none }),
            ("copied to", self.copy_to, Self { copy_to: true, ..none }),
            ("sampled", self.sample, Self { sample: true, ..none }),
            ("drawn into", self.draw, Self { draw: true, ..none }),
        ];
        all.into_iter().filter(|(_, has, _)| *has).map(|(name, _, one)| (name, one)).collect()
    }

    fn of(flags: vk::FormatFeatureFlags) -> Self {
        use vk::FormatFeatureFlags as Flags;
        Self {
            copy_from: flags.contains(Flags::TRANSFER_SRC),
            copy_to: flags.contains(Flags::TRANSFER_DST),
            sample: flags.contains(Flags::SAMPLED_IMAGE),
            draw: flags.contains(Flags::COLOR_ATTACHMENT),
            blend: flags.contains(Flags::COLOR_ATTACHMENT_BLEND),
        }
    }

    /// What both can do.
    pub fn and(self, other: Self) -> Self {
        Self {
            copy_from: self.copy_from && other.copy_from,
            copy_to: self.copy_to && other.copy_to,
            sample: self.sample && other.sample,
            draw: self.draw && other.draw,
            blend: self.blend && other.blend,
        }
    }

    /// The usage of an image that is to do all of this.
    pub(super) fn usage(self) -> vk::ImageUsageFlags {
        use vk::ImageUsageFlags as Flags;
        let parts = [
            (self.copy_from, Flags::TRANSFER_SRC),
            (self.copy_to, Flags::TRANSFER_DST),
            (self.sample, Flags::SAMPLED),
            (self.draw, Flags::COLOR_ATTACHMENT),
        ];
        parts.into_iter().filter(|(can, _)| *can).fold(Flags::empty(), |all, (_, flag)| all | flag)
    }
}

/// One entry of a format's modifier list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifierSupport {
    /// The modifier.
    pub modifier: Modifier,
    /// Memory planes of such an image, 1 to 4.
    pub planes: u32,
    /// What can be done with it.
    pub features: Features,
    /// Whether the planes of such an image can be bound one by one (`VK_FORMAT_FEATURE_DISJOINT_BIT`).
    pub disjoint: bool,
}

impl fmt::Display for ModifierSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} planes, {}", self.modifier, self.planes, self.features)?;
        f.write_str(if self.disjoint { ", bound one by one" } else { "" })
    }
}

/// What a driver did with an array that is too short for its modifier list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortList {
    /// Entries that there was room for.
    pub room: u32,
    /// Entries that the driver says it wrote; more than `room` is wrong.
    pub said: u32,
    /// Entries that it did write; more than `room` is past the end of the caller's array.
    pub written: u32,
}

/// What a device says about images of one format, tiling and handle type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSupport {
    /// Its memory can be exported as the handle type.
    pub exportable: bool,
    /// The handle type can be imported for it.
    pub importable: bool,
    /// Only with memory dedicated to it.
    pub dedicated_only: bool,
    /// Handle types that memory can be exported as at the same time.
    pub compatible: Vec<HandleType>,
    /// Largest image.
    pub largest: Size,
}

impl fmt::Display for ImageSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let can =
            [(self.exportable, "exported"), (self.importable, "imported"), (self.dedicated_only, "dedicated only")];
        let can: Vec<&str> = can.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        let can = if can.is_empty() { "neither exported nor imported".to_owned() } else { can.join(", ") };
        write!(f, "supported, {can}, up to {}", self.largest)
    }
}

impl Gpu {
    /// The modifier list of `fourcc` (`VkDrmFormatModifierPropertiesListEXT`); empty if the driver offers none.
    ///
    /// # Errors
    /// Vulkan has no such format, or the list has an impossible plane count.
    #[doc(alias = "vkGetPhysicalDeviceFormatProperties2")]
    pub fn modifiers(&self, fourcc: Fourcc) -> Result<Vec<ModifierSupport>> {
        let mut list = vk::DrmFormatModifierPropertiesListEXT::default();
        // The first call asks for the length, the second for the entries.
        query_format(self.device(), fourcc, &mut vk::FormatProperties2::default().push_next(&mut list))?;
        let mut entries = vec![
            vk::DrmFormatModifierPropertiesEXT::default();
            length(self.device(), fourcc, list.drm_format_modifier_count)?
        ];
        let mut list = list.drm_format_modifier_properties(&mut entries);
        query_format(self.device(), fourcc, &mut vk::FormatProperties2::default().push_next(&mut list))?;
        let count = length(self.device(), fourcc, list.drm_format_modifier_count)?;
        entries.truncate(count);
        entries
            .iter()
            .map(|entry| {
                self.entry(
                    fourcc,
                    entry.drm_format_modifier,
                    entry.drm_format_modifier_plane_count,
                    entry.drm_format_modifier_tiling_features,
                )
            })
            .collect()
    }

    /// As [`Self::modifiers`], by `VkDrmFormatModifierPropertiesList2EXT`: the two must agree, and a driver
    /// that does not fill this one shows an empty list.
    ///
    /// # Errors
    /// As [`Self::modifiers`].
    pub fn modifiers_by_list2(&self, fourcc: Fourcc) -> Result<Vec<ModifierSupport>> {
        let mut list = vk::DrmFormatModifierPropertiesList2EXT::default();
        query_format(self.device(), fourcc, &mut vk::FormatProperties2::default().push_next(&mut list))?;
        let mut entries = vec![
            vk::DrmFormatModifierProperties2EXT::default();
            length(self.device(), fourcc, list.drm_format_modifier_count)?
        ];
        let mut list = list.drm_format_modifier_properties(&mut entries);
        query_format(self.device(), fourcc, &mut vk::FormatProperties2::default().push_next(&mut list))?;
        let count = length(self.device(), fourcc, list.drm_format_modifier_count)?;
        entries.truncate(count);
        entries
            .iter()
            .map(|entry| {
                self.entry(
                    fourcc,
                    entry.drm_format_modifier,
                    entry.drm_format_modifier_plane_count,
                    low_bits(entry.drm_format_modifier_tiling_features),
                )
            })
            .collect()
    }

    /// Asks for the modifier list of `fourcc` with an array of `room` entries, and sees what the driver writes.
    ///
    /// The array is followed by room for what a driver writes past its end, so that this stays harmless.
    ///
    /// # Errors
    /// As [`Self::modifiers`].
    pub fn modifiers_in_a_short_list(&self, fourcc: Fourcc, room: u32) -> Result<ShortList> {
        const UNTOUCHED: u64 = 0x5555_5555_5555_5555;
        let room = room.min(check::LONGEST_LIST);
        let untouched = vk::DrmFormatModifierPropertiesEXT { drm_format_modifier: UNTOUCHED, ..Default::default() };
        let slack = self.modifiers(fourcc)?.len() + 64;
        let mut entries = vec![untouched; room as usize + slack];
        let mut list = vk::DrmFormatModifierPropertiesListEXT::default().drm_format_modifier_properties(&mut entries);
        list.drm_format_modifier_count = room;
        query_format(self.device(), fourcc, &mut vk::FormatProperties2::default().push_next(&mut list))?;
        let said = list.drm_format_modifier_count;
        let written = entries.iter().filter(|entry| entry.drm_format_modifier != UNTOUCHED).count() as u32;
        Ok(ShortList { room, said, written })
    }

    fn entry(
        &self,
        fourcc: Fourcc,
        modifier: u64,
        planes: u32,
        flags: vk::FormatFeatureFlags,
    ) -> Result<ModifierSupport> {
        let modifier = Modifier(modifier);
        let planes = check::plane_count(planes).map_err(|why| {
            let object = self.device().object(format!("{fourcc} {modifier}"));
            Error::answer("VkDrmFormatModifierPropertiesEXT", object, why).like("a count that was never filled in")
        })?;
        let disjoint = flags.contains(vk::FormatFeatureFlags::DISJOINT);
        Ok(ModifierSupport { modifier, planes, features: Features::of(flags), disjoint })
    }

    /// What can be done with images of `fourcc` and `tiling`; nothing for a modifier that is not in the list.
    ///
    /// # Errors
    /// As [`Self::modifiers`].
    pub fn features(&self, fourcc: Fourcc, tiling: Tiling) -> Result<Features> {
        if let Tiling::Modifier(modifier) = tiling {
            let found = self.modifiers(fourcc)?.into_iter().find(|entry| entry.modifier == modifier);
            return Ok(found.map_or_else(Features::default, |entry| entry.features));
        }
        Ok(Features::of(self.tiling_flags(fourcc, tiling)?))
    }

    /// What the device says of a tiling that is no modifier.
    pub(super) fn tiling_flags(&self, fourcc: Fourcc, tiling: Tiling) -> Result<vk::FormatFeatureFlags> {
        let mut properties = vk::FormatProperties2::default();
        query_format(self.device(), fourcc, &mut properties)?;
        Ok(match tiling {
            Tiling::Linear => properties.format_properties.linear_tiling_features,
            _ => properties.format_properties.optimal_tiling_features,
        })
    }

    /// What the device says about images of `fourcc` and `tiling` that do what `features` says and change hands as
    /// `handle`; `None` if it says that it does not support them (`VK_ERROR_FORMAT_NOT_SUPPORTED`).
    ///
    /// Asks for any modifier, listed or not.
    ///
    /// # Errors
    /// Vulkan has no such format, or the query fails otherwise.
    #[doc(alias = "vkGetPhysicalDeviceImageFormatProperties2")]
    pub fn image_support(
        &self,
        fourcc: Fourcc,
        tiling: Tiling,
        features: Features,
        handle: HandleType,
    ) -> Result<Option<ImageSupport>> {
        let mut external = vk::ExternalImageFormatProperties::default();
        let mut properties = vk::ImageFormatProperties2::default().push_next(&mut external);
        let no_flags = vk::ImageCreateFlags::empty();
        if !self.query_image(fourcc, tiling, (features, no_flags), Some(handle), &mut properties)? {
            return Ok(None);
        }
        let extent = properties.image_format_properties.max_extent;
        let memory = external.external_memory_properties;
        let says = |feature| memory.external_memory_features.contains(feature);
        Ok(Some(ImageSupport {
            exportable: says(vk::ExternalMemoryFeatureFlags::EXPORTABLE),
            importable: says(vk::ExternalMemoryFeatureFlags::IMPORTABLE),
            dedicated_only: says(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY),
            compatible: [HandleType::DmaBuf, HandleType::OpaqueFd]
                .into_iter()
                .filter(|handle| memory.compatible_handle_types.contains(handle.flag()))
                .collect(),
            largest: px(extent.width, extent.height),
        }))
    }
}

impl Gpu {
    /// Whether the device says that there can be images of `fourcc` and `tiling` that do what `features` says, and change hands
    /// as `handle` if there is one; in which way they do is not asked.
    ///
    /// # Errors
    /// As [`Self::image_support`].
    pub fn is_possible(
        &self,
        fourcc: Fourcc,
        tiling: Tiling,
        features: Features,
        handle: Option<HandleType>,
    ) -> Result<bool> {
        let no_flags = vk::ImageCreateFlags::empty();
        self.query_image(fourcc, tiling, (features, no_flags), handle, &mut vk::ImageFormatProperties2::default())
    }

    /// Whether the device says that there can be images that are shared as dma-buf and created with `flags`.
    ///
    /// # Errors
    /// As [`Self::image_support`].
    pub(super) fn is_possible_as(
        &self,
        fourcc: Fourcc,
        tiling: Tiling,
        features: Features,
        flags: vk::ImageCreateFlags,
    ) -> Result<bool> {
        let (handle, mut properties) = (Some(HandleType::DmaBuf), vk::ImageFormatProperties2::default());
        self.query_image(fourcc, tiling, (features, flags), handle, &mut properties)
    }

    /// `vkGetPhysicalDeviceImageFormatProperties2`, with what `properties` has in its chain; `false` is
    /// `VK_ERROR_FORMAT_NOT_SUPPORTED`.
    fn query_image(
        &self,
        fourcc: Fourcc,
        tiling: Tiling,
        (features, flags): (Features, vk::ImageCreateFlags),
        handle: Option<HandleType>,
        properties: &mut vk::ImageFormatProperties2<'_>,
    ) -> Result<bool> {
        let mut external = vk::PhysicalDeviceExternalImageFormatInfo::default();
        let mut modifier_info = vk::PhysicalDeviceImageDrmFormatModifierInfoEXT::default();
        let mut info = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(known_format(self.device(), fourcc)?)
            .flags(flags)
            .ty(vk::ImageType::TYPE_2D)
            .usage(features.usage());
        if let Some(handle) = handle {
            external = external.handle_type(handle.flag());
            info = info.push_next(&mut external);
        }
        info = match tiling {
            Tiling::Optimal => info.tiling(vk::ImageTiling::OPTIMAL),
            Tiling::Linear => info.tiling(vk::ImageTiling::LINEAR),
            Tiling::Modifier(modifier) => {
                modifier_info = modifier_info.drm_format_modifier(modifier.0);
                info.tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT).push_next(&mut modifier_info)
            }
        };
        let device = self.device();
        // SAFETY: the physical device is of this instance, the extensions of the chained structs are required ones,
        // and all structs live during the call.
        let asked = unsafe {
            device.instance.raw().get_physical_device_image_format_properties2(device.physical, &info, properties)
        };
        match asked {
            Ok(()) => Ok(true),
            Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED) => Ok(false),
            Err(code) => {
                let handle = handle.map(|handle| format!(" as {handle}")).unwrap_or_default();
                let object = device.object(format!("{fourcc} {tiling}{handle}"));
                Err(failed("vkGetPhysicalDeviceImageFormatProperties2", object, code))
            }
        }
    }
}

/// The Vulkan format of `fourcc`, or an error that says there is none.
pub(super) fn known_format(device: &Device, fourcc: Fourcc) -> Result<vk::Format> {
    vk_format(fourcc).ok_or_else(|| {
        Error::missing("naming the format", device.object(fourcc), "Vulkan has no format with these bytes")
    })
}

/// The same bits of `VkFormatFeatureFlags`.
fn low_bits(flags: vk::FormatFeatureFlags2) -> vk::FormatFeatureFlags {
    vk::FormatFeatureFlags::from_raw(flags.as_raw() as u32)
}

/// The length of a modifier list, as the driver gave it.
fn length(device: &Device, fourcc: Fourcc, given: u32) -> Result<usize> {
    let wrong = |why| Error::answer("vkGetPhysicalDeviceFormatProperties2", device.object(fourcc), why);
    check::list_length(given).map_err(wrong)
}

/// `vkGetPhysicalDeviceFormatProperties2`, with what `properties` has in its chain.
fn query_format(device: &Device, fourcc: Fourcc, properties: &mut vk::FormatProperties2<'_>) -> Result<()> {
    let format = known_format(device, fourcc)?;
    // SAFETY: the physical device is of this instance, and the borrows in the chain live during the call.
    unsafe { device.instance.raw().get_physical_device_format_properties2(device.physical, format, properties) };
    Ok(())
}
