#![expect(unsafe_code, reason = "binds and maps staging buffers")]
//! How bytes get between the CPU and a device that keeps them to itself: staging buffers, in memory from gpu-allocator.

use std::mem::ManuallyDrop;
use std::sync::PoisonError;

use ash::vk;
use gpu_allocator::MemoryLocation;
use gpu_allocator::vulkan::{Allocation, AllocationCreateDesc, AllocationScheme};

use super::error::failed;
use super::gpu::Gpu;
use super::owned::Owned;
use super::ownership::{self, Use};
use crate::error::{Error, Result};

/// What read-back memory holds before the device writes: a byte that a forgotten write leaves for everyone to see.
const POISON: u8 = 0xd5;

/// A buffer that the CPU can see.
pub(super) struct Staging {
    /// Destroyed before the memory is given back, see `drop`.
    buffer: ManuallyDrop<Owned<vk::Buffer>>,
    allocation: Allocation,
    /// In bytes.
    size: u64,
    gpu: Gpu,
}

impl Staging {
    /// A buffer that holds `bytes`, for the device to read as `usage`.
    pub(super) fn with_bytes(gpu: &Gpu, bytes: &[u8], usage: vk::BufferUsageFlags) -> Result<Self> {
        let mut staging = Self::create(gpu, bytes.len() as u64, usage, MemoryLocation::CpuToGpu)?;
        staging.write(|all| all.copy_from_slice(bytes))?;
        Ok(staging)
    }

    /// A buffer of `size` bytes, all poison, for the device to write as `usage`.
    pub(super) fn for_read_back(gpu: &Gpu, size: u64, usage: vk::BufferUsageFlags) -> Result<Self> {
        let mut staging = Self::create(gpu, size, usage, MemoryLocation::GpuToCpu)?;
        // Memory is used again: without this, a read-back that the driver forgot would show the last one's pixels.
        staging.write(|all| all.fill(POISON))?;
        Ok(staging)
    }

    fn create(gpu: &Gpu, size: u64, usage: vk::BufferUsageFlags, location: MemoryLocation) -> Result<Self> {
        let device = gpu.device();
        let object = || device.object(format!("staging buffer of {size} B"));
        let info = vk::BufferCreateInfo::default().size(size).usage(usage);
        // SAFETY: callers ask for more than 0 bytes and usages that need no extension.
        let buffer =
            unsafe { device.create_buffer(&info, None) }.map_err(|code| failed("vkCreateBuffer", object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let buffer = unsafe { Owned::new(device, buffer) };
        // SAFETY: the buffer is live.
        let requirements = unsafe { device.get_buffer_memory_requirements(buffer.raw()) };
        super::check::requirements(&requirements)
            .map_err(|why| Error::answer("vkGetBufferMemoryRequirements", object(), why))?;
        let wanted = AllocationCreateDesc {
            name: "staging",
            requirements,
            location,
            linear: true,
            // A block to share would be 64 MiB, and a driver that fills new memory with poison takes seconds for that
            // where pages are dear.
            allocation_scheme: AllocationScheme::DedicatedBuffer(buffer.raw()),
        };
        let allocation = gpu
            .allocator()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .allocate(&wanted)
            .map_err(|error| Error::missing("allocating staging memory", object(), error.to_string()))?;
        // From here on, dropping gives the memory back.
        let staging = Self { buffer: ManuallyDrop::new(buffer), allocation, size, gpu: gpu.clone() };
        // SAFETY: a live allocation, whose memory is not freed here.
        let memory = unsafe { staging.allocation.memory() };
        // SAFETY: memory of this device that satisfies the buffer's requirements; the buffer is not yet bound.
        unsafe { device.bind_buffer_memory(staging.raw(), memory, staging.allocation.offset()) }
            .map_err(|code| failed("vkBindBufferMemory", object(), code))?;
        Ok(staging)
    }

    /// The handle; valid as long as `self`.
    pub(super) fn raw(&self) -> vk::Buffer {
        self.buffer.raw()
    }

    /// The barrier after a device's write as `what`, before [`Self::bytes`].
    pub(super) fn to_host(&self, what: Use) -> vk::BufferMemoryBarrier2<'static> {
        ownership::to_host(self.raw(), what)
    }

    fn write(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let size = self.size as usize;
        let device = self.gpu.device();
        let object = device.object(format!("staging buffer of {size} B"));
        let bytes = self
            .allocation
            .mapped_slice_mut()
            .and_then(|all| all.get_mut(..size))
            .ok_or_else(|| Error::missing("mapping staging memory", object.clone(), "the memory is not mapped"))?;
        fill(bytes);
        let ranges = [self.mapped_range()];
        // SAFETY: a mapped range of live memory, aligned by `mapped_range`.
        unsafe { self.gpu.device().flush_mapped_memory_ranges(&ranges) }
            .map_err(|code| failed("vkFlushMappedMemoryRanges", object, code))
    }

    /// What the device wrote; only after its submission was waited for.
    pub(super) fn bytes(&self) -> Result<&[u8]> {
        let device = self.gpu.device();
        let object = || device.object(format!("staging buffer of {} B", self.size));
        let ranges = [self.mapped_range()];
        // SAFETY: a mapped range of live memory, aligned by `mapped_range`.
        unsafe { device.invalidate_mapped_memory_ranges(&ranges) }
            .map_err(|code| failed("vkInvalidateMappedMemoryRanges", object(), code))?;
        self.allocation
            .mapped_slice()
            .and_then(|all| all.get(..self.size as usize))
            .ok_or_else(|| Error::missing("mapping staging memory", object(), "the memory is not mapped"))
    }

    /// From the start of the allocation to the end of the mapping, with the start on an atom of non-coherent memory.
    fn mapped_range(&self) -> vk::MappedMemoryRange<'static> {
        let atom = self.gpu.device().limits.non_coherent_atom_size.max(1);
        let start = self.allocation.offset();
        // SAFETY: a live allocation, whose memory is not freed here.
        let memory = unsafe { self.allocation.memory() };
        vk::MappedMemoryRange::default().memory(memory).offset(start - start % atom).size(vk::WHOLE_SIZE)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.gpu.is_abandoned() {
            return;
        }
        // SAFETY: dropped here only, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.buffer) };
        let allocation = std::mem::take(&mut self.allocation);
        let freed = self.gpu.allocator().lock().unwrap_or_else(PoisonError::into_inner).free(allocation);
        if let Err(error) = freed {
            tracing::warn!("staging memory was not given back: {error}");
        }
    }
}
