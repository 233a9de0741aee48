//! lavapipe: does it list DRM_FORMAT_MOD_LINEAR for NV12 with uses that it then refuses?
//!
//! Asks for the modifiers of NV12, and for each use that the list claims whether there can be such an image.
//!
//! Exit status: 0 the defect is there, 1 it is not, 2 it could not be tried.
//!
//! Run it with `rust-script FILE [PART OF A DEVICE'S NAME OR DRIVER]`, or as `src/main.rs` of a package with
//!
//! ```cargo
//! [dependencies]
//! ash = "0.38"
//! ```
#![allow(unsafe_code, reason = "calls Vulkan")]

use std::error::Error;
use std::process::ExitCode;

use ash::vk;

fn main() -> ExitCode {
    let (said, status) = match try_it() {
        Ok(true) => ("the defect is there".to_owned(), 0),
        Ok(false) => ("the defect is not there".to_owned(), 1),
        Err(why) => (format!("it could not be tried: {why}"), 2),
    };
    println!("{said}");
    ExitCode::from(status)
}

fn try_it() -> Result<bool, Box<dyn Error>> {
    // SAFETY: the loader is a system library, made to be loaded into any process.
    let entry = unsafe { ash::Entry::load() }?;
    let (instance, physical) = device(&entry)?;
    let format = vk::Format::G8_B8R8_2PLANE_420_UNORM;
    let mut entries = [vk::DrmFormatModifierPropertiesEXT::default(); 64];
    let mut list = vk::DrmFormatModifierPropertiesListEXT::default().drm_format_modifier_properties(&mut entries);
    let mut properties = vk::FormatProperties2::default().push_next(&mut list);
    // SAFETY: the device belongs to the instance, and what the chain points to lives until the call returns.
    unsafe { instance.get_physical_device_format_properties2(physical, format, &mut properties) };
    let count = list.drm_format_modifier_count as usize;
    // DRM_FORMAT_MOD_LINEAR is 0.
    let linear = entries[..count.min(64)].iter().find(|entry| entry.drm_format_modifier == 0);
    let Some(linear) = linear else { return Err("the device does not list LINEAR for NV12".into()) };
    let claimed = linear.drm_format_modifier_tiling_features;
    println!("listed: LINEAR, {} planes, {claimed:?}", linear.drm_format_modifier_plane_count);
    let mut refused = false;
    for (feature, usage) in [
        (vk::FormatFeatureFlags::TRANSFER_SRC, vk::ImageUsageFlags::TRANSFER_SRC),
        (vk::FormatFeatureFlags::TRANSFER_DST, vk::ImageUsageFlags::TRANSFER_DST),
        (vk::FormatFeatureFlags::SAMPLED_IMAGE, vk::ImageUsageFlags::SAMPLED),
    ] {
        let mut modifier = vk::PhysicalDeviceImageDrmFormatModifierInfoEXT::default();
        let info = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(format)
            .ty(vk::ImageType::TYPE_2D)
            .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
            .usage(usage)
            .push_next(&mut modifier);
        let mut properties = vk::ImageFormatProperties2::default();
        // SAFETY: the device belongs to the instance, and what the chain points to lives until the call returns.
        let asked = unsafe { instance.get_physical_device_image_format_properties2(physical, &info, &mut properties) };
        println!("{usage:?}: {asked:?}");
        refused |= claimed.contains(feature) && asked == Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED);
    }
    Ok(refused)
}

/// The first device with DRM format modifiers whose name or driver has the first argument in it.
fn device(entry: &ash::Entry) -> Result<(ash::Instance, vk::PhysicalDevice), Box<dyn Error>> {
    let part = std::env::args().nth(1).unwrap_or_default();
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
    let info = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: what `info` points to lives until the call returns.
    let instance = unsafe { entry.create_instance(&info, None) }?;
    // SAFETY: the instance is live.
    for physical in unsafe { instance.enumerate_physical_devices() }? {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: the device belongs to the instance, and Vulkan 1.2 has the structure in the chain.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let properties = properties.properties;
        let name = properties.device_name_as_c_str()?.to_string_lossy();
        let name = format!("{name}, {}", driver.driver_info_as_c_str()?.to_string_lossy());
        // SAFETY: the device belongs to the instance.
        let extensions = unsafe { instance.enumerate_device_extension_properties(physical) }?;
        let wanted = ash::ext::image_drm_format_modifier::NAME;
        let has_modifiers = extensions.iter().any(|extension| extension.extension_name_as_c_str() == Ok(wanted));
        if name.contains(&part) && has_modifiers {
            println!("{name}");
            return Ok((instance, physical));
        }
    }
    Err(format!("no Vulkan device with `{part}` in its name or driver has VK_EXT_image_drm_format_modifier").into())
}
