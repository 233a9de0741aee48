//! The Vulkan validation layer: does it crash when the memory planes of a disjoint image are bound?
//!
//! Creates a disjoint NV12 image with DRM_FORMAT_MOD_LINEAR, gives each of its memory planes memory, and binds them, with the layer
//! and without. It does so in processes of their own, to see one die.
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
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use ash::vk;

/// Tell the processes that may die from their parent.
const BIND: &str = "--bind";
const BIND_WITH_LAYER: &str = "--bind-with-layer";

const LAYER: &std::ffi::CStr = c"VK_LAYER_KHRONOS_validation";

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
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.last().map(String::as_str) {
        Some(BIND) => return bind(&[]),
        Some(BIND_WITH_LAYER) => return bind(&[LAYER.as_ptr()]),
        _ => {}
    }
    if arguments.is_empty() {
        arguments.push(String::new());
    }
    let this = std::env::current_exe()?;
    let run = |how: &str| -> Result<ExitStatus, Box<dyn Error>> {
        let ended = Command::new(&this).args(&arguments).arg(how).status()?;
        println!("{how} {ended}");
        Ok(ended)
    };
    // What a driver does alone is no fault of the layer.
    if run(BIND)?.code() != Some(1) {
        return Err("binding does not work without the layer".into());
    }
    let ended = run(BIND_WITH_LAYER)?;
    match (ended.signal(), ended.code()) {
        (Some(_), _) => Ok(true),
        (None, Some(1)) => Ok(false),
        _ => Err("binding with the layer was not tried".into()),
    }
}

/// Returns, if it does, that the defect is not there.
fn bind(layers: &[*const std::ffi::c_char]) -> Result<bool, Box<dyn Error>> {
    // SAFETY: the loader is a system library, made to be loaded into any process.
    let entry = unsafe { ash::Entry::load() }?;
    let (instance, physical) = device(&entry, layers)?;
    let device = open(&instance, physical)?;
    // DRM_FORMAT_MOD_LINEAR is 0.
    let modifiers = [0];
    let mut list = vk::ImageDrmFormatModifierListCreateInfoEXT::default().drm_format_modifiers(&modifiers);
    let info = vk::ImageCreateInfo::default()
        .flags(vk::ImageCreateFlags::DISJOINT)
        .image_type(vk::ImageType::TYPE_2D)
        .format(vk::Format::G8_B8R8_2PLANE_420_UNORM)
        .extent(vk::Extent3D { width: 64, height: 64, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
        .usage(vk::ImageUsageFlags::TRANSFER_SRC)
        .push_next(&mut list);
    // SAFETY: everything in the chain lives until the call returns.
    let image = unsafe { device.create_image(&info, None) }?;
    let aspects = [vk::ImageAspectFlags::MEMORY_PLANE_0_EXT, vk::ImageAspectFlags::MEMORY_PLANE_1_EXT];
    for aspect in aspects {
        let mut of_plane = vk::ImagePlaneMemoryRequirementsInfo::default().plane_aspect(aspect);
        let asked = vk::ImageMemoryRequirementsInfo2::default().image(image).push_next(&mut of_plane);
        let mut needs = vk::MemoryRequirements2::default();
        // SAFETY: the image is live and disjoint, and has this memory plane.
        unsafe { device.get_image_memory_requirements2(&asked, &mut needs) };
        let needs = needs.memory_requirements;
        let memory = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(needs.memory_type_bits.trailing_zeros());
        // SAFETY: `memory` points to nothing.
        let memory = unsafe { device.allocate_memory(&memory, None) }?;
        let mut to_plane = vk::BindImagePlaneMemoryInfo::default().plane_aspect(aspect);
        let binding = [vk::BindImageMemoryInfo::default().image(image).memory(memory).push_next(&mut to_plane)];
        println!("vkBindImageMemory2 with planeAspect {aspect:?}");
        // SAFETY: the memory is as large as the plane needs, of a type that it takes, and nobody else's.
        unsafe { device.bind_image_memory2(&binding) }?;
    }
    println!("bound");
    Ok(false)
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
fn device(
    entry: &ash::Entry,
    layers: &[*const std::ffi::c_char],
) -> Result<(ash::Instance, vk::PhysicalDevice), Box<dyn Error>> {
    let part = std::env::args().nth(1).unwrap_or_default();
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
    let info = vk::InstanceCreateInfo::default().application_info(&application).enabled_layer_names(layers);
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
