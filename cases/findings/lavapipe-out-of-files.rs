//! lavapipe: out of file descriptors, does vkAllocateMemory leak one, and vkGetMemoryFdKHR succeed with fd -1?
//!
//! Allocates memory that can be exported as a dma-buf, and exports it, while `RLIMIT_NOFILE` leaves so many descriptors and no
//! more; counts what `/proc/self/fd` has before and after.
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
use std::os::fd::AsRawFd;
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
    let external = ash::khr::external_memory_fd::Device::new(&instance, &device);
    // What is opened once and kept is there from now on.
    println!("with any number of files: {}", export(&device, &external)?.0);
    let mut defect = false;
    for left in 1..=6 {
        let before = open_files()?;
        let limited = Limited::to(left)?;
        let exported = export(&device, &external);
        drop(limited);
        let after = open_files()?;
        let (said, ok) = match exported {
            Ok((said, ok)) => (said, ok),
            Err(error) => (format!("{error}"), true),
        };
        println!("with {left} files left: {said}; {before} files open before, {after} after");
        defect |= !ok || after != before;
    }
    Ok(defect)
}

/// Allocates, exports and frees; what came of it, and whether that is as it should be.
fn export(
    device: &ash::Device,
    external: &ash::khr::external_memory_fd::Device,
) -> Result<(String, bool), Box<dyn Error>> {
    let dmabuf = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;
    let mut exportable = vk::ExportMemoryAllocateInfo::default().handle_types(dmabuf);
    let info = vk::MemoryAllocateInfo::default().allocation_size(65536).push_next(&mut exportable);
    // SAFETY: everything in the chain lives until the call returns.
    let memory = match unsafe { device.allocate_memory(&info, None) } {
        Ok(memory) => memory,
        Err(error) => return Ok((format!("vkAllocateMemory says {error:?}"), true)),
    };
    let get = vk::MemoryGetFdInfoKHR::default().memory(memory).handle_type(dmabuf);
    // SAFETY: the memory is live and can be exported so.
    let got = unsafe { external.get_memory_fd(&get) };
    if let Ok(fd @ 0..) = got {
        // SAFETY: the call succeeded, so this descriptor is ours.
        unsafe { libc::close(fd) };
    }
    // SAFETY: nobody uses the memory.
    unsafe { device.free_memory(memory, None) };
    Ok((format!("vkGetMemoryFdKHR says {got:?}"), !matches!(got, Ok(..0))))
}

fn open_files() -> io::Result<usize> {
    // One is the folder's own.
    Ok(std::fs::read_dir("/proc/self/fd")?.count() - 1)
}

/// While it lives, only so many more files can be opened.
struct Limited {
    before: libc::rlimit,
    _filling: Vec<File>,
}

impl Limited {
    fn to(left: u64) -> io::Result<Self> {
        // New files get the lowest number that is free; when two in a row have numbers in a row behind all others, the gaps
        // are filled.
        let highest = || -> io::Result<i32> {
            let names = std::fs::read_dir("/proc/self/fd")?.flatten().map(|entry| entry.file_name());
            Ok(names.filter_map(|name| name.to_str()?.parse().ok()).max().unwrap_or(0))
        };
        let mut filling = Vec::new();
        let last = loop {
            let before = highest()?;
            let file = File::open("/dev/null")?;
            let number = file.as_raw_fd();
            filling.push(file);
            if number >= before {
                break number;
            }
        };
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure lives until the call returns.
        checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut before) })?;
        let limit = libc::rlimit { rlim_cur: last as u64 + 1 + left, ..before };
        // SAFETY: as above.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
        Ok(Self { before, _filling: filling })
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // SAFETY: the structure lives until the call returns.
        if let Err(error) = checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &self.before) }) {
            println!("the limit of files stays lowered: {error}");
        }
    }
}

fn checked(status: i32) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
