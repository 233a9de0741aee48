//! lavapipe: does an import that vkAllocateMemory refuses close the descriptor, which is still its owner's?
//!
//! Makes a dma-buf of 64 MiB, lowers the limit of the address space so that nobody can map it, has vkAllocateMemory
//! import it, and asks whether the descriptor is open.
//!
//! Exit status: 0 the defect is there, 1 it is not, 2 it could not be tried.
//!
//! Run it with `rust-script FILE [PART OF A DEVICE'S NAME OR DRIVER]`, or as `src/main.rs` of a package with
//!
//! ```cargo
//! [dependencies]
//! ash = "0.38"
//! libc = "0.2"
//! ```
#![allow(unsafe_code, reason = "calls Vulkan and the kernel")]

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::process::ExitCode;

use ash::vk;

/// More than fits below the limit.
const BYTES: u64 = 64 << 20;

/// So much address space is left for the driver's own needs.
const LEFT: u64 = 8 << 20;

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
    let external = ash::khr::external_memory_fd::Device::new(&instance, &device);
    let dmabuf = udmabuf()?;
    let kind = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;
    let mut properties = vk::MemoryFdPropertiesKHR::default();
    // SAFETY: the descriptor is open, and the structure lives until the call returns.
    unsafe { external.get_memory_fd_properties(kind, dmabuf.as_raw_fd(), &mut properties) }?;
    let fd = dmabuf.into_raw_fd();
    let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(kind).fd(fd);
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(BYTES)
        .memory_type_index(properties.memory_type_bits.trailing_zeros())
        .push_next(&mut import);
    let before = limit_address_space()?;
    // SAFETY: everything in the chain lives until the call returns.
    let imported = unsafe { device.allocate_memory(&info, None) };
    // SAFETY: the structure lives until the call returns.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_AS, &before) })?;
    // SAFETY: this command takes no argument.
    let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
    println!("vkAllocateMemory says {:?}; the descriptor is open: {open}", imported.err());
    match imported {
        Ok(_) => Err("the import worked though the buffer can't be mapped".into()),
        Err(_) => Ok(!open),
    }
}

/// A dma-buf of pages of a memory file.
fn udmabuf() -> io::Result<OwnedFd> {
    /// `struct udmabuf_create`.
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    const CREATE: libc::c_ulong = 0x4018_7542;
    // SAFETY: the name ends with NUL.
    let memfd = checked(unsafe { libc::memfd_create(c"pages".as_ptr(), libc::MFD_ALLOW_SEALING) })?;
    // SAFETY: made just now.
    let memfd = unsafe { OwnedFd::from_raw_fd(memfd) };
    // SAFETY: numbers are all that it takes.
    checked(unsafe { libc::ftruncate(memfd.as_raw_fd(), BYTES as libc::off_t) })?;
    // SAFETY: as above.
    checked(unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) })?;
    let node = File::options().read(true).write(true).open("/dev/udmabuf")?;
    let create = Create { memfd: memfd.as_raw_fd() as u32, flags: 1, offset: 0, size: BYTES };
    // SAFETY: the structure is that of UDMABUF_CREATE, and lives until the call returns.
    let made = checked(unsafe { libc::ioctl(node.as_raw_fd(), CREATE, &raw const create) })?;
    // SAFETY: made just now.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Leaves this process little more address space than it has; returns the limit that was.
fn limit_address_space() -> Result<libc::rlimit, Box<dyn Error>> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm")?.split(' ').next().unwrap_or_default().parse()?;
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives until the call returns.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut before) })?;
    let limit = libc::rlimit { rlim_cur: pages * 4096 + LEFT, ..before };
    // SAFETY: as above.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) })?;
    Ok(before)
}

fn checked(status: i32) -> io::Result<i32> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(status) }
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
