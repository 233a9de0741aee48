//! Memory of a Vulkan device as nothing but bytes: for a frame whose layout was agreed on elsewhere.

use super::buffer::BufferRequest;
use super::gpu::Gpu;
use super::memory::HandleType;
use super::room::Room;
use crate::dmabuf::Dmabuf;
use crate::error::Result;

impl Gpu {
    /// Allocates `bytes` bytes for any buffer and exports them; the dma-buf is all that is left of them.
    ///
    /// # Errors
    /// The device does not export buffers, or the driver refuses.
    #[doc(alias = "vkGetMemoryFdKHR")]
    pub fn export_bytes(&self, bytes: u64) -> Result<Dmabuf> {
        let room = Room::SubAllocated { before: 0, after: 0 };
        let request = BufferRequest { size: bytes, room, export: vec![HandleType::DmaBuf] };
        self.prepare_buffer(&request)?.export_dmabuf()
    }

    /// The largest buffer that [`Self::export_bytes`] can make, in bytes: no larger than the largest memory heap.
    pub fn largest_allocation(&self) -> u64 {
        let memory = &self.device().memory;
        let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
        heaps.map(|heap| heap.size).max().unwrap_or_default().min(u32::MAX.into())
    }
}
