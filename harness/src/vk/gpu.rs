#![expect(unsafe_code, reason = "creates and destroys the Vulkan device")]
//! How a device is chosen and opened, and what lives as long as it does.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ash::{ext, khr, vk};
use gpu_allocator::vulkan::{Allocator, AllocatorCreateDesc};

use super::commands::Recorders;
use super::error::failed;
use super::extensions::{FENCE_FD, required_extensions};
use super::identity::DriverIdentity;
use super::instance::{Instance, VERSION, Validation, names as device_names};
use super::messages::Message;
use super::pipeline::Pipelines;
use super::staging;
use super::{budget, check, kernel_device};
use crate::error::{Cause, Error, Result};
use crate::observed::Observed;
use crate::placement;

pub(super) use ash::khr::external_fence_fd as khr_fence_fd;

/// A Vulkan device, opened; clones are the same device.
///
/// Every `Gpu` that is opened has an instance of its own, as two programs would.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

/// What a [`Gpu`] owns. Fields are dropped in this order: users of the device before the device.
pub(super) struct Inner {
    pipelines: Pipelines,
    idle_staging: staging::Idle,
    allocator: Mutex<ManuallyDrop<Allocator>>,
    device: Arc<Device>,
}

impl Gpu {
    /// Every Vulkan device of this machine, in the loader's order; devices older than Vulkan 1.3 too.
    ///
    /// # Errors
    /// No Vulkan loader, no driver, or a driver fails to enumerate.
    pub fn list() -> Result<Vec<DriverIdentity>> {
        Ok(Instance::open(Validation::Off)?.devices()?.into_iter().map(|(_, identity)| identity).collect())
    }

    /// Opens the first device that [matches](DriverIdentity::matches) `wanted`, or the first of all.
    ///
    /// If the validation layer is not installed, or knows less than asked for, the device opens without;
    /// [`DriverIdentity::validation`] says what is on.
    ///
    /// # Errors
    /// No Vulkan loader, no driver, no such device, a device older than Vulkan 1.3 or without a required extension,
    /// or the driver fails.
    pub fn open(wanted: Option<&str>, validation: Validation) -> Result<Self> {
        let instance = Instance::open(validation)?;
        let all = instance.devices()?;
        let found = all.iter().find(|(_, identity)| wanted.is_none_or(|wanted| identity.matches(wanted)));
        let Some((physical, identity)) = found else {
            let object = wanted.map_or("any device".to_owned(), |wanted| format!("a device matching `{wanted}`"));
            return Err(Error::missing("opening a Vulkan device", object, format!("there is {}", device_names(&all))));
        };
        let device = Device::open(Arc::clone(&instance), *physical, identity.clone())?;
        let allocator = Allocator::new(&AllocatorCreateDesc {
            instance: instance.raw().clone(),
            device: device.raw().clone(),
            physical_device: *physical,
            debug_settings: Default::default(),
            buffer_device_address: false,
            allocation_sizes: Default::default(),
        })
        .map_err(|error| {
            Error::new("creating the staging allocator", identity.to_string(), Cause::Code(error.to_string()))
        })?;
        let allocator = Mutex::new(ManuallyDrop::new(allocator));
        Ok(Self(Arc::new(Inner {
            pipelines: Pipelines::default(),
            idle_staging: staging::Idle::default(),
            allocator,
            device,
        })))
    }

    /// Which driver and device this is.
    pub fn identity(&self) -> &DriverIdentity {
        &self.0.device.identity
    }

    /// `what`, as one of this device's: with its name and driver.
    pub fn object(&self, what: impl fmt::Display) -> String {
        self.0.device.object(what)
    }

    /// The device as the kernel's events name it, for what verdicts call `name`.
    pub fn kernel_device(&self, name: String) -> placement::Device {
        if self.identity().device_type == "cpu" {
            return placement::Device::of_cpu(name);
        }
        placement::Device { name, kernel: self.0.device.kernel.clone() }
    }

    /// Whether `other` is a clone of this one, and not the same device opened once more.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether a submission missed its deadline, after which nothing of this device is ever destroyed.
    pub fn is_abandoned(&self) -> bool {
        self.0.device.is_abandoned()
    }

    /// Whether the driver said that the device is lost, after which it does nothing any more.
    pub fn is_lost(&self) -> bool {
        self.0.device.lost.load(Ordering::Relaxed)
    }

    /// Whether `message` was said of this device's instance.
    pub fn heard(&self, message: &Message) -> bool {
        self.0.device.instance.token() == message.token
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.0.device
    }

    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.0.pipelines
    }

    pub(super) fn idle_staging(&self) -> &staging::Idle {
        &self.0.idle_staging
    }

    pub(super) fn allocator(&self) -> &Mutex<ManuallyDrop<Allocator>> {
        &self.0.allocator
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.identity())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.device.is_abandoned() {
            return;
        }
        let allocator = self.allocator.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.idle_staging.free(allocator);
        self.device.recorders.clear();
        // SAFETY: dropped here only, and nothing can reach it any more. Staging buffers in use held a `Gpu`, so all are idle,
        // and those were given back.
        unsafe { ManuallyDrop::drop(allocator) };
    }
}

/// The logical device with its functions: what every object holds on to.
pub(super) struct Device {
    raw: ash::Device,
    /// `VK_KHR_external_memory_fd`.
    pub(super) memory_fd: khr::external_memory_fd::Device,
    /// `VK_KHR_external_semaphore_fd`.
    pub(super) semaphore_fd: khr::external_semaphore_fd::Device,
    /// `VK_KHR_external_fence_fd`, where the device has it.
    pub(super) fence_fd: Option<khr_fence_fd::Device>,
    /// `VK_EXT_image_drm_format_modifier`.
    pub(super) modifier: ext::image_drm_format_modifier::Device,
    /// The physical device.
    pub(super) physical: vk::PhysicalDevice,
    /// Memory types and heaps.
    pub(super) memory: vk::PhysicalDeviceMemoryProperties,
    /// Limits.
    pub(super) limits: vk::PhysicalDeviceLimits,
    /// A queue family that can draw, compute and copy.
    pub(super) queue_family: u32,
    /// Its first queue.
    pub(super) queue: Mutex<vk::Queue>,
    /// Who answered.
    pub(super) identity: DriverIdentity,
    /// What the kernel calls it.
    kernel: Observed<String>,
    /// Whether it tells how much memory is in use.
    pub(super) budget: Observed<()>,
    /// What submissions are recorded and waited for with.
    pub(super) recorders: Recorders,
    abandoned: AtomicBool,
    lost: AtomicBool,
    /// Dropped last.
    pub(super) instance: Arc<Instance>,
}

impl Device {
    fn open(instance: Arc<Instance>, physical: vk::PhysicalDevice, identity: DriverIdentity) -> Result<Arc<Self>> {
        const OP: &str = "vkCreateDevice";
        let object = identity.to_string();
        // SAFETY: `physical` belongs to the live instance.
        let properties = unsafe { instance.raw().get_physical_device_properties(physical) };
        if properties.api_version < VERSION {
            return Err(Error::missing(OP, object, "Vulkan 1.3 or later is needed"));
        }
        let offered = check_extensions(instance.raw(), physical, &identity)?;
        let has_fences = offered.iter().any(|extension| extension.extension_name_as_c_str() == Ok(FENCE_FD));
        let queue_family = find_queue_family(instance.raw(), physical)
            .ok_or_else(|| Error::missing(OP, object.clone(), "no queue family can draw and compute"))?;

        let names = required_extensions().into_iter().map(|extension| extension.name.as_ptr());
        let names: Vec<_> = names.chain(has_fences.then_some(FENCE_FD.as_ptr())).collect();
        let priorities = [1.0];
        let queues =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(queue_family).queue_priorities(&priorities)];
        // All three features are mandatory in Vulkan 1.3.
        let mut counters = vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(true);
        let mut features = vk::PhysicalDeviceVulkan13Features::default().dynamic_rendering(true).synchronization2(true);
        // SAFETY: `physical` belongs to the live instance.
        let memory = unsafe { instance.raw().get_physical_device_memory_properties(physical) };
        check::memory(&memory)
            .map_err(|why| Error::answer("vkGetPhysicalDeviceMemoryProperties", identity.to_string(), why))?;
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut counters)
            .push_next(&mut features);
        // SAFETY: `info` and what it points to live until the call returns; extensions were checked, the queue
        // family exists, the features are mandatory.
        let raw =
            unsafe { instance.raw().create_device(physical, &info, None) }.map_err(|code| failed(OP, object, code))?;
        // SAFETY: the device was created with one queue of this family.
        let queue = unsafe { raw.get_device_queue(queue_family, 0) };
        Ok(Arc::new(Self {
            memory_fd: khr::external_memory_fd::Device::new(instance.raw(), &raw),
            semaphore_fd: khr::external_semaphore_fd::Device::new(instance.raw(), &raw),
            fence_fd: has_fences.then(|| khr_fence_fd::Device::new(instance.raw(), &raw)),
            modifier: ext::image_drm_format_modifier::Device::new(instance.raw(), &raw),
            raw,
            kernel: kernel_device::of(instance.raw(), physical),
            budget: budget::tells(&identity.device_type, &offered),
            physical,
            memory,
            limits: properties.limits,
            queue_family,
            queue: Mutex::new(queue),
            identity,
            recorders: Recorders::default(),
            abandoned: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            instance,
        }))
    }

    /// The functions; valid as long as `self`.
    pub(super) fn raw(&self) -> &ash::Device {
        &self.raw
    }

    /// Gives the device up: a submission may still be running, so nothing it uses may be destroyed.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// See [`Gpu::is_abandoned`].
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// `code`, and notes if it says that the device is lost.
    pub(super) fn heeded(&self, code: vk::Result) -> vk::Result {
        if code == vk::Result::ERROR_DEVICE_LOST {
            self.lost.store(true, Ordering::Relaxed);
        }
        code
    }

    /// The device's name and `what`, as the object of an error.
    pub(super) fn object(&self, what: impl fmt::Display) -> String {
        format!("{} ({}), {what}", self.identity.device_name, self.identity.driver_info)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.is_abandoned() {
            // The instance must stay too.
            std::mem::forget(Arc::clone(&self.instance));
            return;
        }
        // SAFETY: every child holds an `Arc` of this device, so none is left, and each submission was waited for.
        unsafe { self.raw.destroy_device(None) };
    }
}

impl Deref for Device {
    type Target = ash::Device;

    fn deref(&self) -> &ash::Device {
        &self.raw
    }
}

/// Refuses a device that lacks a required extension, naming each that is missing and what for.
///
/// Returns what it offers.
fn check_extensions(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    identity: &DriverIdentity,
) -> Result<Vec<vk::ExtensionProperties>> {
    const OP: &str = "vkEnumerateDeviceExtensionProperties";
    // SAFETY: `physical` belongs to the live instance.
    let offered = unsafe { instance.enumerate_device_extension_properties(physical) }
        .map_err(|code| failed(OP, identity.to_string(), code))?;
    let lacks = |name| !offered.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name));
    let missing: Vec<String> = required_extensions()
        .into_iter()
        .filter(|extension| lacks(extension.name))
        .map(|extension| format!("{} is missing ({})", extension.name.to_string_lossy(), extension.reason))
        .collect();
    if missing.is_empty() { Ok(offered) } else { Err(Error::missing(OP, identity.to_string(), missing.join(", "))) }
}

/// The first queue family that can draw, compute and so also copy.
fn find_queue_family(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Option<u32> {
    let wanted = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE;
    // SAFETY: `physical` belongs to the live instance.
    let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
    let index = families.iter().position(|family| family.queue_flags.contains(wanted) && family.queue_count > 0)?;
    u32::try_from(index).ok()
}
