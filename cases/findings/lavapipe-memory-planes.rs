//! lavapipe: does vkGetImageSubresourceLayout tell the first memory plane's layout for the others, too?
//!
//! Creates an NV12 image with DRM_FORMAT_MOD_LINEAR, and asks where its two memory planes are.
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
    let device = open(&instance, physical)?;
    // DRM_FORMAT_MOD_LINEAR is 0.
    let modifiers = [0];
    let mut list = vk::ImageDrmFormatModifierListCreateInfoEXT::default().drm_format_modifiers(&modifiers);
    let mut external =
        vk::ExternalMemoryImageCreateInfo::default().handle_types(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT);
    let info = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(vk::Format::G8_B8R8_2PLANE_420_UNORM)
        .extent(vk::Extent3D { width: 64, height: 64, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
        .usage(vk::ImageUsageFlags::TRANSFER_SRC)
        .push_next(&mut list)
        .push_next(&mut external);
    // SAFETY: everything in the chain lives until the call returns.
    let image = unsafe { device.create_image(&info, None) }?;
    let aspects = [vk::ImageAspectFlags::MEMORY_PLANE_0_EXT, vk::ImageAspectFlags::MEMORY_PLANE_1_EXT];
    let told = aspects.map(|aspect_mask| {
        let plane = vk::ImageSubresource { aspect_mask, ..Default::default() };
        // SAFETY: the image is live, and NV12 with DRM_FORMAT_MOD_LINEAR has these planes.
        unsafe { device.get_image_subresource_layout(image, plane) }
    });
    for (n, plane) in told.iter().enumerate() {
        println!("memory plane {n}: offset {} B, pitch {} B, {} B long", plane.offset, plane.row_pitch, plane.size);
    }
    // SAFETY: nothing uses the image.
    unsafe { device.destroy_image(image, None) };
    Ok(told[1].offset < told[0].offset + told[0].size && told[0].offset < told[1].offset + told[1].size)
}

/// A device of Vulkan that shares dma-bufs, with its one queue.
fn open(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Result<ash::Device, vk::Result> {
    let extensions = [
        ash::ext::image_drm_format_modifier::NAME,
        ash::ext::external_memory_dma_buf::NAME,
        ash::khr::external_memory_fd::NAME,
    ]
    .map(std::ffi::CStr::as_ptr);
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&extensions);
    // SAFETY: what `info` points to lives until the call returns.
    unsafe { instance.create_device(physical, &info, None) }
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
