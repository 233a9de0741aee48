#![expect(unsafe_code, reason = "queries of the Vulkan instance")]
//! Which Vulkan devices answer, through which drivers, and what of theirs can change hands.
//!
//! It makes one instance and asks physical devices; it makes no device, allocates no memory and runs no work.

use std::ffi::CStr;
use std::mem::ManuallyDrop;

use ash::vk;
use serde::{Deserialize, Serialize};

use super::listed::Listed;
use crate::vk::{Uuid, type_text, version_text};
use formats::{FormatSupport, HandleSupport};

pub mod formats;
pub(super) mod manifests;

/// What the Vulkan loader offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vulkan {
    /// Instance version of the loader.
    pub loader_version: Option<String>,
    /// Names of the layers that can be enabled.
    pub layers: Vec<String>,
    /// Driver manifests that the loader finds, in its order.
    pub manifests: Vec<String>,
    /// One entry per device of every driver; an unavailable one may be named after its manifest.
    pub devices: Vec<Listed<VulkanDevice>>,
    /// What loader and drivers printed while they were asked.
    pub messages: Vec<String>,
}

/// A physical device and its driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VulkanDevice {
    /// `deviceName`.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: String,
    /// `driverName`.
    pub driver_name: String,
    /// `driverInfo`, which carries the version in the driver's own words.
    pub driver_info: String,
    /// `driverVersion`, encoded as its vendor likes.
    pub driver_version: u32,
    /// Vulkan version of the device.
    pub api_version: String,
    /// Conformance test version that the driver claims.
    pub conformance: String,
    /// PCI vendor, or a Khronos vendor id above 0xffff.
    pub vendor_id: u32,
    /// The vendor's number for the device.
    pub device_id: u32,
    /// `driverUUID`. Opaque fds may change hands where this and the next are equal.
    pub driver_uuid: Uuid,
    /// `deviceUUID`.
    pub device_uuid: Uuid,
    /// DRM nodes of the device as `major:minor`; empty where it has none or does not tell.
    pub drm_nodes: Vec<String>,
    /// Names of all device extensions.
    pub extensions: Vec<String>,
    /// Memory heaps and the types in them.
    pub heaps: Vec<MemoryHeap>,
    /// Buffers (usage: transfer and storage) by handle type.
    pub buffers: Vec<Listed<HandleSupport>>,
    /// Binary semaphores by handle type.
    pub semaphores: Vec<Listed<HandleSupport>>,
    /// Timeline semaphores by handle type.
    pub timelines: Vec<Listed<HandleSupport>>,
    /// Fences by handle type.
    pub fences: Vec<Listed<HandleSupport>>,
    /// Images by format and layout.
    pub formats: Vec<FormatSupport>,
}

/// A heap of device memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryHeap {
    /// Size in bytes.
    pub size: u64,
    /// `VK_MEMORY_HEAP_*` without prefix and suffix.
    pub flags: String,
    /// Memory types in it: index, and `VK_MEMORY_PROPERTY_*` without prefix and suffix.
    pub types: Vec<(usize, String)>,
}

/// Asks the loader for everything. Drivers that crash or hang take the caller along.
pub(super) fn list() -> Vulkan {
    let mut found = Vulkan::default();
    if let Err(why) = fill(&mut found) {
        found.devices.push(Listed::unavailable("Vulkan", why));
    }
    found
}

fn fill(found: &mut Vulkan) -> Result<(), String> {
    // SAFETY: loads the system's Vulkan loader, whose initialisers are made to run in any process.
    let entry = unsafe { ash::Entry::load() }.map_err(|error| format!("no Vulkan loader: {error}"))?;
    // Loader and instance stay to the end of the process: a driver that fails in its clean-up has answered all the same.
    let entry = ManuallyDrop::new(entry);
    // SAFETY: the loader is loaded; this function has no preconditions.
    let version = unsafe { entry.try_enumerate_instance_version() }
        .map_err(|code| failed("vkEnumerateInstanceVersion", code))?
        .unwrap_or(vk::API_VERSION_1_0);
    found.loader_version = Some(version_text(version));
    if version < vk::API_VERSION_1_1 {
        return Err("the loader knows Vulkan 1.0 only: external memory can be asked about from 1.1 on".into());
    }
    // SAFETY: as above.
    let layers = unsafe { entry.enumerate_instance_layer_properties() };
    let layers = layers.map_err(|code| failed("vkEnumerateInstanceLayerProperties", code))?;
    found.layers = layers.iter().map(|layer| lossy(layer.layer_name_as_c_str())).collect();

    let application = vk::ApplicationInfo::default().application_name(c"handover").api_version(version);
    let create = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: `create` points to live data, and enables neither layers nor extensions.
    let instance = unsafe { entry.create_instance(&create, None) }.map_err(|code| match code {
        vk::Result::ERROR_INCOMPATIBLE_DRIVER => "vkCreateInstance: VK_ERROR_INCOMPATIBLE_DRIVER; the loader found \
             no driver that it can load (Debian mesa-vulkan-drivers, Fedora mesa-vulkan-drivers, Arch vulkan-swrast)"
            .to_owned(),
        code => failed("vkCreateInstance", code),
    })?;
    // SAFETY: `instance` is live.
    let devices = match unsafe { instance.enumerate_physical_devices() } {
        Ok(devices) => devices,
        Err(code) => return Err(failed("vkEnumeratePhysicalDevices", code)),
    };
    if devices.is_empty() {
        found.devices.push(Listed::unavailable("Vulkan", "vkEnumeratePhysicalDevices: the drivers found no device"));
    }
    found.devices.extend(devices.into_iter().map(|physical| device(&Physical { instance: &instance, physical })));
    Ok(())
}

/// A physical device and the instance it belongs to.
struct Physical<'a> {
    instance: &'a ash::Instance,
    physical: vk::PhysicalDevice,
}

fn device(of: &Physical<'_>) -> Listed<VulkanDevice> {
    // SAFETY: `physical` belongs to `instance`, which is live; so in all queries of this file.
    let basic = unsafe { of.instance.get_physical_device_properties(of.physical) };
    let name = lossy(basic.device_name_as_c_str());
    if basic.api_version < vk::API_VERSION_1_1 {
        let version = version_text(basic.api_version);
        return Listed::unavailable(name, format!("Vulkan {version} only: external memory needs 1.1 or later"));
    }
    // SAFETY: as above.
    let extensions = match unsafe { of.instance.enumerate_device_extension_properties(of.physical) } {
        Ok(extensions) => extensions.iter().map(|e| lossy(e.extension_name_as_c_str())).collect::<Vec<_>>(),
        Err(code) => return Listed::unavailable(name, failed("vkEnumerateDeviceExtensionProperties", code)),
    };
    let has = |extension: &CStr| extensions.iter().any(|name| name.as_bytes() == extension.to_bytes());

    let mut ids = vk::PhysicalDeviceIDProperties::default();
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut drm = vk::PhysicalDeviceDrmPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut ids);
    if basic.api_version >= vk::API_VERSION_1_2 || has(ash::khr::driver_properties::NAME) {
        properties = properties.push_next(&mut driver);
    }
    if has(ash::ext::physical_device_drm::NAME) {
        properties = properties.push_next(&mut drm);
    }
    // SAFETY: the device is of Vulkan 1.1 or later, and has the versions or extensions of the chained structures.
    unsafe { of.instance.get_physical_device_properties2(of.physical, &mut properties) };

    let conformance = driver.conformance_version;
    let nodes =
        [(drm.has_primary, drm.primary_major, drm.primary_minor), (drm.has_render, drm.render_major, drm.render_minor)];
    let nodes = nodes.iter().filter(|(has, _, _)| *has == vk::TRUE);
    Listed::Present(VulkanDevice {
        name,
        kind: type_text(basic.device_type).to_owned(),
        driver_name: lossy(driver.driver_name_as_c_str()),
        driver_info: lossy(driver.driver_info_as_c_str()),
        driver_version: basic.driver_version,
        api_version: version_text(basic.api_version),
        conformance: format!(
            "{}.{}.{}.{}",
            conformance.major, conformance.minor, conformance.subminor, conformance.patch
        ),
        vendor_id: basic.vendor_id,
        device_id: basic.device_id,
        driver_uuid: Uuid(ids.driver_uuid),
        device_uuid: Uuid(ids.device_uuid),
        drm_nodes: nodes.map(|(_, major, minor)| format!("{major}:{minor}")).collect(),
        heaps: of.heaps(),
        buffers: formats::buffers(of, &extensions),
        semaphores: formats::semaphores(of, basic.api_version, &extensions, vk::SemaphoreType::BINARY),
        timelines: formats::semaphores(of, basic.api_version, &extensions, vk::SemaphoreType::TIMELINE),
        fences: formats::fences(of, &extensions),
        formats: formats::images(of, &extensions),
        extensions,
    })
}

impl Physical<'_> {
    fn heaps(&self) -> Vec<MemoryHeap> {
        // SAFETY: `physical` belongs to `instance`, which is live.
        let memory = unsafe { self.instance.get_physical_device_memory_properties(self.physical) };
        // The arrays have fixed lengths; a driver that counts further than they reach is cut off at their ends.
        let types = memory.memory_types.iter().take(memory.memory_type_count as usize).enumerate();
        let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize).enumerate();
        let heap = |(index, heap): (usize, &vk::MemoryHeap)| MemoryHeap {
            size: heap.size,
            flags: format!("{:?}", heap.flags),
            types: types
                .clone()
                .filter(|(_, kind)| kind.heap_index as usize == index)
                .map(|(number, kind)| (number, format!("{:?}", kind.property_flags)))
                .collect(),
        };
        heaps.map(heap).collect()
    }
}

/// `vkFunction: VK_ERROR_…`
fn failed(op: &str, code: vk::Result) -> String {
    let text = format!("{code:?}");
    let prefix = if text.starts_with(|first: char| first.is_ascii_alphabetic()) { "VK_" } else { "VkResult " };
    format!("{op}: {prefix}{text}")
}

/// The text of a fixed array; a driver that forgot the NUL gets a name that says so.
fn lossy(text: Result<&CStr, std::ffi::FromBytesUntilNulError>) -> String {
    match text {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => "(text without an end)".into(),
    }
}
