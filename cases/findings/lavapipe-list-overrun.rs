//! lavapipe: is the DRM format modifier list written past the end of the caller's array?
//!
//! Asks `vkGetPhysicalDeviceFormatProperties2` for a list with room for no element, in an array that holds a known pattern,
//! and looks at the pattern.
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

/// What no driver would write.
const PATTERN: u64 = 0x5a5a_5a5a_5a5a_5a5a;

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
    let pattern = vk::DrmFormatModifierPropertiesEXT { drm_format_modifier: PATTERN, ..Default::default() };
    let mut array = [pattern; 4];
    let mut list = vk::DrmFormatModifierPropertiesListEXT {
        drm_format_modifier_count: 0,
        p_drm_format_modifier_properties: array.as_mut_ptr(),
        ..Default::default()
    };
    let mut format = vk::FormatProperties2::default().push_next(&mut list);
    // SAFETY: the array has room for more than the count says, and everything lives until the call returns.
    unsafe { instance.get_physical_device_format_properties2(physical, vk::Format::B8G8R8A8_UNORM, &mut format) };
    let said = list.drm_format_modifier_count;
    let written = array.iter().filter(|entry| entry.drm_format_modifier != PATTERN).count();
    println!("room for 0 elements: {written} written, a count of {said} returned; 0 and 0 would be right");
    Ok(written > 0 || said > 0)
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
