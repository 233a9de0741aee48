//! lavapipe: does vkGetPhysicalDeviceImageFormatProperties2 say that every DRM format modifier is supported?
//!
//! Asks for a modifier of another vendor, which the format's list does not have.
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

const FORMAT: vk::Format = vk::Format::B8G8R8A8_UNORM;

/// A modifier of a vendor that `drm_fourcc.h` has not.
const FOREIGN: u64 = 0x7e00_0000_0000_0001;

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
    // More room than any driver has modifiers for a format.
    let mut listed = [vk::DrmFormatModifierPropertiesEXT::default(); 256];
    let mut list = vk::DrmFormatModifierPropertiesListEXT::default().drm_format_modifier_properties(&mut listed);
    let mut format = vk::FormatProperties2::default().push_next(&mut list);
    // SAFETY: everything in the chain lives until the call returns.
    unsafe { instance.get_physical_device_format_properties2(physical, FORMAT, &mut format) };
    let count = list.drm_format_modifier_count as usize;
    let listed: Vec<u64> = listed.iter().take(count).map(|entry| entry.drm_format_modifier).collect();
    println!("listed for {FORMAT:?}: {listed:#018x?}");
    if listed.contains(&FOREIGN) {
        return Err(format!("{FOREIGN:#018x} is listed, so it is no foreign modifier here").into());
    }
    let mut modifier = vk::PhysicalDeviceImageDrmFormatModifierInfoEXT::default().drm_format_modifier(FOREIGN);
    let mut external = vk::PhysicalDeviceExternalImageFormatInfo::default()
        .handle_type(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT);
    let info = vk::PhysicalDeviceImageFormatInfo2::default()
        .format(FORMAT)
        .ty(vk::ImageType::TYPE_2D)
        .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
        .usage(vk::ImageUsageFlags::SAMPLED)
        .push_next(&mut modifier)
        .push_next(&mut external);
    let mut memory = vk::ExternalImageFormatProperties::default();
    let mut properties = vk::ImageFormatProperties2::default().push_next(&mut memory);
    // SAFETY: everything in both chains lives until the call returns.
    let said = unsafe { instance.get_physical_device_image_format_properties2(physical, &info, &mut properties) };
    println!("{FOREIGN:#018x}: {said:?}; ERROR_FORMAT_NOT_SUPPORTED would be right");
    println!("    {:?}", memory.external_memory_properties.external_memory_features);
    match said {
        Ok(()) => Ok(true),
        Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED) => Ok(false),
        Err(other) => Err(other.into()),
    }
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
