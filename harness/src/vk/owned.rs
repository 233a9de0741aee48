#![expect(unsafe_code, reason = "destroys raw Vulkan handles")]
//! Who destroys a Vulkan object: the one [`Owned`] that holds it, before its device goes.

use std::sync::Arc;

use ash::vk;

use super::gpu::Device;
use crate::ledger::objects;

/// A handle that is destroyed with this value; keeps its device alive.
pub(super) struct Owned<H: Object> {
    raw: H,
    device: Arc<Device>,
    /// The ledger's number of it.
    number: u64,
}

impl<H: Object> Owned<H> {
    /// Takes ownership of `raw`.
    ///
    /// # Safety
    /// `raw` is a live object of `device` and nobody else destroys it. Objects that it needs (the buffer of a
    /// view, say) outlive it; memory outlives nothing that is bound to it and still used.
    pub(super) unsafe fn new(device: &Arc<Device>, raw: H) -> Self {
        Self { raw, device: Arc::clone(device), number: objects::made(H::KIND) }
    }

    /// The handle. It stays valid as long as `self`.
    pub(super) fn raw(&self) -> H {
        self.raw
    }

    /// The device it belongs to.
    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl<H: Object> Drop for Owned<H> {
    fn drop(&mut self) {
        objects::gone(self.number);
        if self.device.is_abandoned() {
            return;
        }
        // SAFETY: by the contract of `new` the object is live and ours alone; each submission was waited for before
        // the call that made it returned (else the device is abandoned), so no queue uses it.
        unsafe { self.raw.destroy(self.device.raw()) };
    }
}

/// A kind of Vulkan object that a device creates and destroys.
pub(super) trait Object: Copy {
    /// What Vulkan calls it, without `Vk`.
    const KIND: &'static str;

    /// Destroys it.
    ///
    /// # Safety
    /// It is a live object of `device`, not in use by any queue, and not used afterwards.
    unsafe fn destroy(self, device: &ash::Device);
}

macro_rules! objects {
    ($( $handle:ident $destroy:ident; )*) => { $(
        impl Object for vk::$handle {
            const KIND: &'static str = stringify!($handle);

            unsafe fn destroy(self, device: &ash::Device) {
                // SAFETY: the caller's contract is the one of this function.
                unsafe { device.$destroy(self, None) };
            }
        }
    )* };
}

objects! {
    Buffer destroy_buffer;
    CommandPool destroy_command_pool;
    DescriptorPool destroy_descriptor_pool;
    DescriptorSetLayout destroy_descriptor_set_layout;
    DeviceMemory free_memory;
    Fence destroy_fence;
    Image destroy_image;
    ImageView destroy_image_view;
    Pipeline destroy_pipeline;
    PipelineLayout destroy_pipeline_layout;
    Sampler destroy_sampler;
    Semaphore destroy_semaphore;
    ShaderModule destroy_shader_module;
}
