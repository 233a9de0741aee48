#![expect(unsafe_code, reason = "maps device memory and copies out of it")]
//! Memory of a buffer that stays mapped while devices work: what a program sees that keeps a pointer.

use std::ffi::c_void;
use std::ptr::NonNull;

use ash::vk;

use super::buffer::Buffer;
use super::error::failed;
use super::gpu::Gpu;
use crate::error::{Error, Result};

/// The bytes of a buffer, mapped through Vulkan. Unmapped when dropped.
pub struct MappedBuffer<'b> {
    start: NonNull<u8>,
    words: usize,
    memory: vk::DeviceMemory,
    gpu: &'b Gpu,
}

impl Buffer {
    /// Maps its memory, once at a time.
    ///
    /// # Errors
    /// As missing: the memory is not both host-visible and host-coherent. The driver fails.
    #[doc(alias = "vkMapMemory")]
    pub fn map(&mut self) -> Result<MappedBuffer<'_>> {
        const OP: &str = "vkMapMemory";
        let (memory, span, gpu) = (self.memory(), self.span(), self.gpu());
        let device = gpu.device();
        let object = || device.object(span);
        let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let flags = memory.flags(device);
        if !flags.contains(wanted) {
            return Err(Error::missing(OP, object(), format!("its memory is {flags:?}; {wanted:?} is needed")));
        }
        let (raw, all) = (memory.raw(), vk::MemoryMapFlags::empty());
        // SAFETY: live memory of this device, host-visible, and mapped once, since the buffer is borrowed for as long
        // as that lasts.
        let start =
            unsafe { device.map_memory(raw, 0, vk::WHOLE_SIZE, all) }.map_err(|code| failed(OP, object(), code))?;
        let Some(start) = NonNull::new(start.cast::<u8>()) else {
            return Err(Error::answer(OP, object(), "a null address"));
        };
        // SAFETY: the buffer lies in its memory, all of which is mapped.
        let start = unsafe { start.add(span.offset as usize) };
        Ok(MappedBuffer { start, words: (span.size / 4) as usize, memory: raw, gpu })
    }
}

impl MappedBuffer<'_> {
    /// What its words are now.
    pub fn words(&self) -> Vec<u32> {
        let mut words = vec![0_u32; self.words];
        let (from, to) = (self.start.as_ptr().cast::<c_void>(), words.as_mut_ptr().cast::<c_void>());
        // SAFETY: the source is mapped for so many words; the destination is private memory. No reference to mapped
        // memory is ever made, and whoever writes meanwhile can only make words torn.
        unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), self.words * 4) };
        words
    }
}

impl Drop for MappedBuffer<'_> {
    fn drop(&mut self) {
        // SAFETY: mapped by `Buffer::map`, and unmapped only here; no pointer to it is left.
        unsafe { self.gpu.device().unmap_memory(self.memory) };
    }
}
