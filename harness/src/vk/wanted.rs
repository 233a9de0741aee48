#![expect(unsafe_code, reason = "creates images and asks what they need")]
//! What is settled before an image has memory: whether the device can make it, and what it needs.

use std::fmt;

use ash::vk;

use super::error::{failed, is_layout_refused};
use super::gpu::Gpu;
use super::image::Layout;
use super::memory::{HandleType, Requirements};
use super::owned::Owned;
use super::support::{Features, ImageSupport, Tiling, known_format};
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Size};
use crate::ledger;

/// An image to be, without its memory.
pub(super) struct Wanted<'a> {
    pub(super) size: Size,
    pub(super) fourcc: Fourcc,
    pub(super) layout: &'a Layout,
    pub(super) handles: &'a [HandleType],
    /// What it is to do, as far as the device can.
    pub(super) uses: Features,
}

/// What a device says of an image that is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Able {
    /// What it can do.
    pub(super) features: Features,
    /// Whether it changes hands in dedicated memory only (`VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT`).
    pub(super) dedicated_only: bool,
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

impl Gpu {
    /// What an image of all the layouts that are wanted can do, and whether only with dedicated memory; an error unless the
    /// device says that it can be made, of this size, and change hands as wanted (`may`).
    pub(super) fn check_support(&self, wanted: &Wanted<'_>, may: impl Fn(&ImageSupport) -> bool) -> Result<Able> {
        const OP: &str = "vkGetPhysicalDeviceImageFormatProperties2";
        let missing = |why: String| Err(Error::missing(OP, self.device().object(wanted), why));
        let Wanted { size, fourcc, layout, handles, uses } = *wanted;
        if size.width == 0 || size.height == 0 {
            return Err(Error::input(
                "creating an image",
                self.device().object(wanted),
                "at least 1x1 px would be valid",
            ));
        }
        let mut common: Option<Features> = None;
        for tiling in layout.tilings() {
            let features = self.features(fourcc, tiling)?.and(uses);
            if features == Features::default() {
                let listed: Vec<Modifier> = self.modifiers(fourcc)?.iter().map(|entry| entry.modifier).collect();
                return missing(format!(
                    "the device does nothing with {fourcc} and {tiling}; its modifier list is {listed:?}"
                ));
            }
            common = Some(common.map_or(features, |others| others.and(features)));
        }
        let Some(features) = common else {
            return Err(Error::input("creating an image", self.device().object(wanted), "no modifier to choose from"));
        };
        let mut dedicated_only = false;
        for tiling in layout.tilings() {
            for &handle in handles {
                let Some(support) = self.image_support(fourcc, tiling, features, handle)? else {
                    return missing(format!("{tiling} as {handle}: VK_ERROR_FORMAT_NOT_SUPPORTED"));
                };
                let other = handles.iter().find(|other| !support.compatible.contains(other));
                if !may(&support) {
                    return missing(format!("{tiling}: memory does not change hands as {handle} this way"));
                } else if size.width > support.largest.width || size.height > support.largest.height {
                    return missing(format!("{tiling} as {handle}: largest image is {}", support.largest));
                } else if let Some(other) = other {
                    return missing(format!("{tiling} as {handle}: not compatible with {other} at the same time"));
                }
                dedicated_only |= support.dedicated_only;
            }
        }
        Ok(Able { features, dedicated_only })
    }

    /// An image without memory, as wanted; [`Self::check_support`] has said that it is possible.
    pub(super) fn raw_image(&self, wanted: &Wanted<'_>, features: Features) -> Result<Owned<vk::Image>> {
        self.raw_image_as(wanted, features, vk::ImageCreateFlags::empty())
    }

    /// [`Self::raw_image`] with `flags`, which the device must have been asked about, too.
    pub(super) fn raw_image_as(
        &self,
        wanted: &Wanted<'_>,
        features: Features,
        flags: vk::ImageCreateFlags,
    ) -> Result<Owned<vk::Image>> {
        let Wanted { size, fourcc, layout, handles, .. } = *wanted;
        let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(HandleType::flags(handles));
        let mut codes = Vec::new();
        let mut planes = Vec::new();
        let mut list = vk::ImageDrmFormatModifierListCreateInfoEXT::default();
        let mut explicit = vk::ImageDrmFormatModifierExplicitCreateInfoEXT::default();
        let mut info = vk::ImageCreateInfo::default()
            .flags(flags)
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
        let _call = ledger::calling("vkCreateImage", self.device().object(wanted));
        // SAFETY: `info` and its chain live during the call, and the device said that it supports such images.
        let raw = unsafe { self.device().create_image(&info, None) }.map_err(|code| {
            let error = failed("vkCreateImage", self.device().object(wanted), code);
            match &wanted.layout {
                Layout::Explicit(_, planes) if is_layout_refused(&error) && planes.len() > 1 => {
                    error.like("a modifier that is listed with so many planes, and is taken with one only")
                }
                _ => error,
            }
        })?;
        // SAFETY: just created, owned by nobody else.
        Ok(unsafe { Owned::new(self.device(), raw) })
    }

    /// What `image` needs of its memory.
    pub(super) fn image_requirements(
        &self,
        image: &Owned<vk::Image>,
        able: Able,
        object: impl Fn() -> String,
    ) -> Result<Requirements> {
        const OP: &str = "vkGetImageMemoryRequirements2";
        let mut says = vk::MemoryDedicatedRequirements::default();
        let mut given = vk::MemoryRequirements2::default().push_next(&mut says);
        let info = vk::ImageMemoryRequirementsInfo2::default().image(image.raw());
        // SAFETY: the image is live, the structs live during the call.
        unsafe { self.device().get_image_memory_requirements2(&info, &mut given) };
        let given = given.memory_requirements;
        let needs = Requirements::checked(&given, &says).map_err(|why| Error::answer(OP, object(), why))?;
        Ok(Requirements { dedicated: needs.dedicated || able.dedicated_only, ..needs })
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
        let why = format!("modifier {chosen}; one of {allowed:?} would be valid");
        Err(Error::answer(OP, object(), why).like("a layout that is chosen without a look at the list that was given"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Plane, px};

    #[test]
    fn a_forgotten_offset_is_added_unless_the_memory_is_dedicated() {
        let needs = Requirements { size: 1024 * 130, alignment: 64, types: 1, dedicated: false };
        let at = |offset| Layout::Explicit(Modifier::LINEAR, vec![Plane { offset, pitch: 1024 }]);
        let size = |layout: &Layout, dedicated| {
            let wanted = Wanted { size: px(250, 130), fourcc: Fourcc::XR24, layout, handles: &[], uses: Features::ALL };
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
