//! lavapipe: does vkGetMemoryFdKHR return an fd that is not closed on exec?
//!
//! Allocates 4096 B for export as dma-buf, exports them, and asks procfs for the flags of the fd.
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

const CLOEXEC: u32 = 0o2_000_000;

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
    let handle = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;
    let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(handle);
    let info = vk::MemoryAllocateInfo::default().allocation_size(4096).memory_type_index(0).push_next(&mut export);
    // SAFETY: the chain lives until the call returns, and every device has a memory type 0.
    let memory = unsafe { device.allocate_memory(&info, None) }?;
    let functions = ash::khr::external_memory_fd::Device::new(&instance, &device);
    let info = vk::MemoryGetFdInfoKHR::default().memory(memory).handle_type(handle);
    // SAFETY: the memory is live, and was allocated for export as this.
    let fd = unsafe { functions.get_memory_fd(&info) }?;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).ok_or("procfs tells no flags")?;
    println!("flags of fd {fd}: {}, O_CLOEXEC is {CLOEXEC:#o}", flags.trim());
    // SAFETY: nothing uses the memory.
    unsafe { device.free_memory(memory, None) };
    Ok(u32::from_str_radix(flags.trim(), 8)? & CLOEXEC == 0)
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
