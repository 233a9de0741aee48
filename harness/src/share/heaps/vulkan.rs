//! The heaps `gpu_a memory`, `gpu_b memory`: what a Vulkan device allocates for export.

use super::{About, Allocated, Kind, Looked, Source};
use crate::error::Result;
use crate::vk::Gpu;

impl Source for Gpu {
    fn allocate(&self, bytes: u64) -> Result<Allocated> {
        self.export_bytes(bytes).map(Allocated::from)
    }
}

pub(super) fn add(looked: &mut Looked, name: String, gpu: &Gpu) {
    let largest = gpu.largest_allocation();
    looked.add(Kind::Vulkan, gpu.clone(), About { name, contiguous: false, largest });
}
