#![expect(unsafe_code, reason = "asks the driver how much of its heaps is in use")]
//! How much memory does the driver say that this process has of it?
//!
//! Source: `VK_EXT_memory_budget`, whose `heapUsage` is an estimate of the driver's: good for what grows, and not for a
//! count.

use ash::{ext, vk};

use super::gpu::Gpu;
use crate::observed::{NotObservable, Observed};

/// Whether a device of this type with these extensions tells.
pub(super) fn tells(device_type: &str, offered: &[vk::ExtensionProperties]) -> Observed<()> {
    if device_type == "cpu" {
        let why = "a driver that draws with the processor tells of the machine's memory, and not of its own";
        return Err(NotObservable(why.to_owned()));
    }
    let has_it = offered.iter().any(|one| one.extension_name_as_c_str() == Ok(ext::memory_budget::NAME));
    has_it.then_some(()).ok_or_else(|| NotObservable("a driver lacks VK_EXT_memory_budget".to_owned()))
}

impl Gpu {
    /// What this process uses of all heaps of the device, in bytes, as its driver estimates it.
    ///
    /// # Errors
    /// The driver does not tell.
    #[doc(alias = "VkPhysicalDeviceMemoryBudgetPropertiesEXT")]
    pub fn heap_usage(&self) -> Observed<u64> {
        self.device().budget.clone()?;
        let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
        let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
        let (instance, physical) = (self.device().instance.raw(), self.device().physical);
        // SAFETY: the physical device belongs to the live instance and has the extension; the structs live during the call.
        unsafe { instance.get_physical_device_memory_properties2(physical, &mut properties) };
        let heaps = properties.memory_properties.memory_heap_count as usize;
        Ok(budget.heap_usage.iter().take(heaps).fold(0, |sum, usage| sum.saturating_add(*usage)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_driver_with_memory_of_its_own_tells_of_it() {
        let budget = vk::ExtensionProperties::default().extension_name(ext::memory_budget::NAME).expect("it fits");
        assert_eq!(tells("discrete", &[budget]), Ok(()));
        assert!(tells("cpu", &[budget]).is_err_and(|why| why.0.contains("the machine's memory")));
        assert!(tells("discrete", &[]).is_err_and(|why| why.0.contains("VK_EXT_memory_budget")));
    }
}
