//! lavapipe: does drawing to an image with an accepted rowPitch of 1064 bytes crash?
//!
//! Creates a LINEAR image with that pitch, and draws to it: by a blit that scales, which llvmpipe does with a shader. It does so
//! in a process of its own, to see that one die.
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
use std::process::{Command, ExitCode};

use ash::vk;

const FORMAT: vk::Format = vk::Format::B8G8R8A8_UNORM;

/// No multiple of 16.
const PITCH: u64 = 1064;

/// Tells the process that is to die from its parent.
const DRAW: &str = "--draw";

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
    if arguments.last().is_some_and(|last| last == DRAW) {
        return draw();
    }
    if arguments.is_empty() {
        arguments.push(String::new());
    }
    let ended = Command::new(std::env::current_exe()?).args(arguments).arg(DRAW).status()?;
    println!("drawing {ended}; a refusal or an exit status of 1 would be right");
    match (ended.signal(), ended.code()) {
        (Some(_), _) => Ok(true),
        (None, Some(1)) => Ok(false),
        _ => Err("drawing was not tried".into()),
    }
}

/// Returns, if it does, that the defect is not there.
fn draw() -> Result<bool, Box<dyn Error>> {
    // SAFETY: the loader is a system library, made to be loaded into any process.
    let entry = unsafe { ash::Entry::load() }?;
    let (instance, physical) = device(&entry)?;
    let device = open(&instance, physical)?;
    let planes = [vk::SubresourceLayout { row_pitch: PITCH, ..Default::default() }];
    // DRM_FORMAT_MOD_LINEAR is 0.
    let mut layout = vk::ImageDrmFormatModifierExplicitCreateInfoEXT::default().plane_layouts(&planes);
    let mut external =
        vk::ExternalMemoryImageCreateInfo::default().handle_types(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT);
    let target = image_of(250, 130)
        .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
        .usage(vk::ImageUsageFlags::TRANSFER_DST | vk::ImageUsageFlags::COLOR_ATTACHMENT)
        .push_next(&mut layout)
        .push_next(&mut external);
    // SAFETY: everything in the chain lives until the call returns.
    let target = match unsafe { device.create_image(&target, None) } {
        Ok(target) => target,
        Err(vk::Result::ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT) => {
            println!("a pitch of {PITCH} B is refused");
            return Ok(false);
        }
        Err(other) => return Err(other.into()),
    };
    println!("a pitch of {PITCH} B is accepted");
    bind(&device, target, vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT)?;
    let source = image_of(25, 13).usage(vk::ImageUsageFlags::TRANSFER_SRC);
    // SAFETY: `source` points to nothing.
    let source = unsafe { device.create_image(&source, None) }?;
    bind(&device, source, vk::ExternalMemoryHandleTypeFlags::empty())?;

    // SAFETY: the family is the one that the device was created with.
    let pool = unsafe { device.create_command_pool(&vk::CommandPoolCreateInfo::default(), None) }?;
    let commands = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    // SAFETY: the pool is live.
    let commands = unsafe { device.allocate_command_buffers(&commands) }?;
    // SAFETY: nobody else uses the command buffer.
    unsafe { device.begin_command_buffer(commands[0], &vk::CommandBufferBeginInfo::default()) }?;
    let color = vk::ImageAspectFlags::COLOR;
    let all = vk::ImageSubresourceRange { aspect_mask: color, level_count: 1, layer_count: 1, ..Default::default() };
    let barriers = [source, target].map(|image| {
        vk::ImageMemoryBarrier::default()
            .image(image)
            .new_layout(vk::ImageLayout::GENERAL)
            .dst_access_mask(vk::AccessFlags::TRANSFER_READ | vk::AccessFlags::TRANSFER_WRITE)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .subresource_range(all)
    });
    let (top, transfer) = (vk::PipelineStageFlags::TOP_OF_PIPE, vk::PipelineStageFlags::TRANSFER);
    let none = vk::DependencyFlags::empty();
    // SAFETY: the command buffer is being recorded, and the images are live.
    unsafe { device.cmd_pipeline_barrier(commands[0], top, transfer, none, &[], &[], &barriers) };
    let layer = vk::ImageSubresourceLayers { aspect_mask: color, layer_count: 1, ..Default::default() };
    let corner = |x, y| vk::Offset3D { x, y, z: 1 };
    let blit = [vk::ImageBlit {
        src_subresource: layer,
        src_offsets: [vk::Offset3D::default(), corner(25, 13)],
        dst_subresource: layer,
        dst_offsets: [vk::Offset3D::default(), corner(250, 130)],
    }];
    let (general, nearest) = (vk::ImageLayout::GENERAL, vk::Filter::NEAREST);
    // SAFETY: the images are live, of the layout that the barriers give them, and larger than the regions.
    unsafe { device.cmd_blit_image(commands[0], source, general, target, general, &blit, nearest) };
    // SAFETY: the command buffer is being recorded.
    unsafe { device.end_command_buffer(commands[0]) }?;
    // SAFETY: the device has this queue.
    let queue = unsafe { device.get_device_queue(0, 0) };
    let submit = [vk::SubmitInfo::default().command_buffers(&commands)];
    // SAFETY: what the commands use is live, and nobody else uses the queue.
    unsafe { device.queue_submit(queue, &submit, vk::Fence::null()) }?;
    // SAFETY: nobody else uses the device.
    unsafe { device.device_wait_idle() }?;
    println!("drawn");
    Ok(false)
}

fn image_of(width: u32, height: u32) -> vk::ImageCreateInfo<'static> {
    vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(FORMAT)
        .extent(vk::Extent3D { width, height, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
}

/// Gives the image memory of its own, which can be exported as `handles`.
fn bind(
    device: &ash::Device,
    image: vk::Image,
    handles: vk::ExternalMemoryHandleTypeFlags,
) -> Result<(), Box<dyn Error>> {
    // SAFETY: the image is live.
    let needs = unsafe { device.get_image_memory_requirements(image) };
    let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().image(image);
    let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(handles);
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(needs.size)
        .memory_type_index(needs.memory_type_bits.trailing_zeros())
        .push_next(&mut dedicated)
        .push_next(&mut export);
    // SAFETY: everything in the chain lives until the call returns.
    let memory = unsafe { device.allocate_memory(&info, None) }?;
    // SAFETY: the memory is as large as the image needs, of a type that it takes, and nobody else's.
    Ok(unsafe { device.bind_image_memory(image, memory, 0) }?)
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
