#![expect(unsafe_code, reason = "loads the functions of instances and devices that the real driver made")]
//! What is remembered of the real driver's objects between two calls.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_void};
use std::mem::transmute;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use ash::{ext, khr, vk};

use crate::mapping::Mapping;
use crate::real;

/// An instance of the real driver, with its functions.
pub(crate) type RealInstance = ash::Instance;

/// A device of the real driver, with its functions.
pub(crate) struct RealDevice {
    pub(crate) raw: ash::Device,
    pub(crate) memory_fd: khr::external_memory_fd::DeviceFn,
    pub(crate) semaphore_fd: khr::external_semaphore_fd::DeviceFn,
    pub(crate) fence_fd: khr::external_fence_fd::DeviceFn,
    pub(crate) modifiers: ext::image_drm_format_modifier::DeviceFn,
    /// By whichever of its names the device has it.
    pub(crate) subresource_layout2: Option<vk::PFN_vkGetImageSubresourceLayout2KHR>,
}

/// An image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// As its maker asked for it.
    pub(crate) format: vk::Format,
    pub(crate) extent: vk::Extent3D,
    pub(crate) tiling: vk::ImageTiling,
    /// Handle types of memory that it can be bound to; empty if its memory stays here.
    pub(crate) external: vk::ExternalMemoryHandleTypeFlags,
    pub(crate) memory: vk::DeviceMemory,
    /// The modifier that it is said to have, if that is another than the real one.
    pub(crate) told: Option<u64>,
    /// Where its pixels end in bytes from where it is bound, if it has an explicit layout of one plane.
    pub(crate) end: u64,
}

/// Memory that was imported, or can be exported.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) size: u64,
    pub(crate) type_index: u32,
    /// The fd that it was imported by, as the number it had.
    pub(crate) imported_by: Option<RawFd>,
    pub(crate) export: vk::ExternalMemoryHandleTypeFlags,
    /// The bytes behind it, once there was an fd to map them by.
    pub(crate) bytes: Option<Arc<Mapping>>,
    /// The fd that it was exported as last, as the number it had.
    pub(crate) exported_as: Option<RawFd>,
    /// Other memory that was handed out in its place.
    pub(crate) stand_in: Option<vk::DeviceMemory>,
    /// What a caller was given in the place of a mapping: the real one and a snapshot of it.
    pub(crate) snapshot: Option<Snapshot>,
    /// What was in it when a submission was over that had it, or when a view was made: what a cache still has.
    pub(crate) cached: Option<Vec<u8>>,
    /// How many views of it there are.
    pub(crate) views: u32,
    /// What was written but does not show yet: the bytes as they were and as they are to be.
    pub(crate) late: Option<(Vec<u8>, Vec<u8>)>,
}

/// A mapping and the copy that stands in its place.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) real: *mut u8,
    pub(crate) copy: Vec<u8>,
    /// Whether something was submitted meanwhile.
    pub(crate) is_stale: bool,
}

// SAFETY: the address is only used under the lock of the tables.
unsafe impl Send for Snapshot {}

/// A command buffer.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    pub(crate) device: vk::Device,
    /// Memory of what it takes from others, and of what it gives to them.
    pub(crate) acquires: Vec<vk::DeviceMemory>,
    pub(crate) releases: Vec<vk::DeviceMemory>,
}

/// Everything that is remembered.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) instances: HashMap<vk::Instance, Arc<RealInstance>>,
    pub(crate) devices: HashMap<vk::Device, Arc<RealDevice>>,
    pub(crate) queues: HashMap<vk::Queue, vk::Device>,
    pub(crate) commands: HashMap<vk::CommandBuffer, Commands>,
    pub(crate) images: HashMap<(vk::Device, vk::Image), Image>,
    /// The memory of views of images that are bound to imported memory.
    pub(crate) views: HashMap<(vk::Device, vk::ImageView), vk::DeviceMemory>,
    pub(crate) buffers: HashMap<(vk::Device, vk::Buffer), vk::DeviceMemory>,
    pub(crate) memories: HashMap<(vk::Device, vk::DeviceMemory), Memory>,
    /// Fences that signal when a submission is over, by the semaphores that it signals as well.
    pub(crate) ends: HashMap<(vk::Device, vk::Semaphore), vk::Fence>,
    /// The numbers of the `sync_file`s that semaphores imported last.
    pub(crate) sync_fds: HashMap<(vk::Device, vk::Semaphore), RawFd>,
    /// Semaphores that have fd -1 imported, which nobody has waited for yet.
    pub(crate) awaited: HashSet<(vk::Device, vk::Semaphore)>,
    /// What semaphores imported last, and whether somebody has waited for it since.
    pub(crate) stays: HashMap<(vk::Device, vk::Semaphore), (OwnedFd, bool)>,
    /// Fences that have fd -1 imported.
    pub(crate) minus_one: HashSet<(vk::Device, vk::Fence)>,
    /// All fences of our own.
    pub(crate) fences: Vec<(vk::Device, vk::Fence)>,
    /// Devices on which somebody was told too early that work is over.
    pub(crate) hurried: Vec<vk::Device>,
    /// Pools that are to be reset when it is.
    pub(crate) resets: Vec<(vk::Device, vk::CommandPool, vk::CommandPoolResetFlags)>,
}

/// The tables, for this thread alone.
pub(crate) fn tables() -> MutexGuard<'static, Tables> {
    static TABLES: LazyLock<Mutex<Tables>> = LazyLock::new(Mutex::default);
    TABLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Any instance: its functions for physical devices are those of the driver, whichever instance it is.
pub(crate) fn any_instance() -> Arc<RealInstance> {
    Arc::clone(tables().instances.values().next().expect("a physical device has an instance"))
}

/// The device and its functions.
pub(crate) fn device(handle: vk::Device) -> Arc<RealDevice> {
    Arc::clone(tables().devices.get(&handle).expect("a device that this driver made"))
}

/// The device of a queue.
pub(crate) fn device_of_queue(queue: vk::Queue) -> (vk::Device, Arc<RealDevice>) {
    let handle = *tables().queues.get(&queue).expect("a queue that this driver gave");
    (handle, device(handle))
}

/// The device of a command buffer.
pub(crate) fn device_of_commands(commands: vk::CommandBuffer) -> (vk::Device, Arc<RealDevice>) {
    let handle = tables().commands.get(&commands).expect("a command buffer that this driver allocated").device;
    (handle, device(handle))
}

/// The functions of `instance`.
///
/// # Safety
/// The real driver made it just now.
pub(crate) unsafe fn load_instance(library: &real::Library, instance: vk::Instance) -> RealInstance {
    // SAFETY: the caller's contract; a function is taken for what its name says.
    let load = |name: &CStr| address(unsafe { (library.get_instance_proc_addr)(instance, name.as_ptr()) });
    // SAFETY: `load` gives the functions of this instance.
    unsafe { ash::Instance::load_with(load, instance) }
}

/// The functions of `device`.
///
/// # Safety
/// The real driver made it just now.
pub(crate) unsafe fn load_device(instance: &RealInstance, device: vk::Device) -> RealDevice {
    let of = instance.fp_v1_0().get_device_proc_addr;
    // SAFETY: the caller's contract; a function is taken for what its name says.
    let load = |name: &CStr| address(unsafe { of(device, name.as_ptr()) });
    let names =
        [c"vkGetImageSubresourceLayout2", c"vkGetImageSubresourceLayout2KHR", c"vkGetImageSubresourceLayout2EXT"];
    // SAFETY: the caller's contract.
    let layout2 = names.into_iter().find_map(|name| unsafe { of(device, name.as_ptr()) });
    RealDevice {
        // SAFETY: under each of these names it has this type.
        subresource_layout2: layout2.map(|function| unsafe {
            transmute::<unsafe extern "system" fn(), vk::PFN_vkGetImageSubresourceLayout2KHR>(function)
        }),
        // SAFETY: `load` gives the functions of this device.
        raw: unsafe { ash::Device::load_with(load, device) },
        memory_fd: khr::external_memory_fd::DeviceFn::load(load),
        semaphore_fd: khr::external_semaphore_fd::DeviceFn::load(load),
        fence_fd: khr::external_fence_fd::DeviceFn::load(load),
        modifiers: ext::image_drm_format_modifier::DeviceFn::load(load),
    }
}

fn address(function: vk::PFN_vkVoidFunction) -> *const c_void {
    // SAFETY: an optional function is its address, or null.
    unsafe { transmute::<vk::PFN_vkVoidFunction, *const c_void>(function) }
}
