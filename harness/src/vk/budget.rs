#![expect(unsafe_code, reason = "asks the driver how much of its heaps is in use")]
//! How much memory does the driver say that this process has of it?
//!
//! Source: `VK_EXT_memory_budget`, whose `heapUsage` is an estimate of the driver's: good for what grows, and not for a
//! count.

use ash::{ext, vk};

use super::gpu::Gpu;
use crate::observed::{NotObservable, Observed};

impl Gpu {
    /// What this process uses of all heaps of the device, in bytes, as its driver estimates it.
    ///
    /// # Errors
    /// The driver does not tell.
    #[doc(alias = "VkPhysicalDeviceMemoryBudgetPropertiesEXT")]
    pub fn heap_usage(&self) -> Observed<u64> {
        const NAME: &str = "VK_EXT_memory_budget";
        let (instance, physical) = (self.device().instance.raw(), self.device().physical);
        // SAFETY: `physical` belongs to the live instance.
        let offered = unsafe { instance.enumerate_device_extension_properties(physical) }
            .map_err(|code| NotObservable(format!("vkEnumerateDeviceExtensionProperties: {code:?}")))?;
        if !offered.iter().any(|one| one.extension_name_as_c_str() == Ok(ext::memory_budget::NAME)) {
            return Err(NotObservable(format!("{} lacks {NAME}", self.identity().device_name)));
        }
        let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
        let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
        // SAFETY: the physical device has the extension, and the structs live during the call.
        unsafe { instance.get_physical_device_memory_properties2(physical, &mut properties) };
        let heaps = properties.memory_properties.memory_heap_count as usize;
        Ok(budget.heap_usage.iter().take(heaps).sum())
    }
}
