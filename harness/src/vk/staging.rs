#![expect(unsafe_code, reason = "binds and maps staging buffers")]
//! How bytes get between the CPU and a device that keeps them to itself: staging buffers, in memory from gpu-allocator.
//!
//! Buffers are used again: a new one costs a page fault for each of its pages, and where pages are dear that is more than
//! the copy. What an earlier use left in them is overwritten with poison first.

use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};

use ash::vk;
use gpu_allocator::MemoryLocation;
use gpu_allocator::vulkan::{Allocation, AllocationCreateDesc, AllocationScheme, Allocator};

use super::error::failed;
use super::gpu::Gpu;
use super::owned::Owned;
use super::ownership::{self, Use};
use crate::error::{Error, Result};
use crate::ledger::objects::cached;

/// What read-back memory holds before the device writes: a byte that a forgotten write leaves for everyone to see.
const POISON: u8 = 0xd5;

/// A buffer that the CPU can see. Dropping it leaves it for the next one who needs such a buffer.
pub(super) struct Staging {
    mapped: ManuallyDrop<Mapped>,
    /// How much of it is used, in bytes.
    size: u64,
    gpu: Gpu,
}

/// A buffer with memory that is mapped.
struct Mapped {
    /// Destroyed before the memory is given back.
    buffer: Owned<vk::Buffer>,
    allocation: Allocation,
    kind: Kind,
    /// In bytes.
    capacity: u64,
}

/// What a buffer is for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    usage: vk::BufferUsageFlags,
    location: MemoryLocation,
}

/// Staging buffers that nobody uses, the youngest last.
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<Mapped>>);

/// So many are kept.
const MOST_IDLE: usize = 6;

/// Larger ones are not kept, in bytes: whole screens fit, the largest images do not.
const LARGEST_IDLE: u64 = 8 << 20;

/// Smaller ones are not made, in bytes.
const SMALLEST: u64 = 64 << 10;

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
        let kind = Kind { usage, location };
        let mapped = match gpu.idle_staging().take(kind, size) {
            Some(mapped) => mapped,
            None if size > LARGEST_IDLE => Mapped::create(gpu, kind, size)?,
            // It may stay for the next who needs one.
            None => cached(|| Mapped::create(gpu, kind, size.max(SMALLEST).next_power_of_two()))?,
        };
        Ok(Self { mapped: ManuallyDrop::new(mapped), size, gpu: gpu.clone() })
    }

    /// The handle; valid as long as `self`.
    pub(super) fn raw(&self) -> vk::Buffer {
        self.mapped.buffer.raw()
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
            .mapped
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
        self.mapped
            .allocation
            .mapped_slice()
            .and_then(|all| all.get(..self.size as usize))
            .ok_or_else(|| Error::missing("mapping staging memory", object(), "the memory is not mapped"))
    }

    /// From the start of the allocation to the end of the mapping, with the start on an atom of non-coherent memory.
    fn mapped_range(&self) -> vk::MappedMemoryRange<'static> {
        let atom = self.gpu.device().limits.non_coherent_atom_size.max(1);
        let start = self.mapped.allocation.offset();
        // SAFETY: a live allocation, whose memory is not freed here.
        let memory = unsafe { self.mapped.allocation.memory() };
        vk::MappedMemoryRange::default().memory(memory).offset(start - start % atom).size(vk::WHOLE_SIZE)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.gpu.is_abandoned() {
            return;
        }
        // SAFETY: taken here only, and not used afterwards.
        let mapped = unsafe { ManuallyDrop::take(&mut self.mapped) };
        if let Some(mapped) = self.gpu.idle_staging().keep(mapped) {
            mapped.free(&mut self.gpu.allocator().lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Mapped {
    fn create(gpu: &Gpu, kind: Kind, capacity: u64) -> Result<Self> {
        let device = gpu.device();
        let object = || device.object(format!("staging buffer of {capacity} B"));
        let info = vk::BufferCreateInfo::default().size(capacity).usage(kind.usage);
        // SAFETY: the size is more than 0 bytes, and callers ask for usages that need no extension.
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
            location: kind.location,
            linear: true,
            // A block to share would be 64 MiB, and a driver that fills new memory with poison takes seconds for that
            // where pages are dear.
            allocation_scheme: AllocationScheme::DedicatedBuffer(buffer.raw()),
        };
        let allocator = gpu.allocator();
        let allocation = allocator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .allocate(&wanted)
            .map_err(|error| Error::missing("allocating staging memory", object(), error.to_string()))?;
        let mapped = Self { buffer, allocation, kind, capacity };
        // SAFETY: a live allocation, whose memory is not freed here.
        let memory = unsafe { mapped.allocation.memory() };
        // SAFETY: memory of this device that satisfies the buffer's requirements; the buffer is not yet bound.
        match unsafe { device.bind_buffer_memory(mapped.buffer.raw(), memory, mapped.allocation.offset()) } {
            Ok(()) => Ok(mapped),
            Err(code) => {
                mapped.free(&mut allocator.lock().unwrap_or_else(PoisonError::into_inner));
                Err(failed("vkBindBufferMemory", object(), code))
            }
        }
    }

    fn free(self, allocator: &mut Allocator) {
        drop(self.buffer);
        if let Err(error) = allocator.free(self.allocation) {
            tracing::warn!("staging memory was not given back: {error}");
        }
    }
}

impl Idle {
    /// The smallest one of this kind that has `size` bytes.
    fn take(&self, kind: Kind, size: u64) -> Option<Mapped> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = (0..).zip(idle.iter()).filter(|(_, mapped)| mapped.kind == kind && mapped.capacity >= size);
        let at = fitting.min_by_key(|(_, mapped)| mapped.capacity)?.0;
        Some(idle.remove(at))
    }

    /// Keeps `mapped`; what is one too many is returned.
    fn keep(&self, mapped: Mapped) -> Option<Mapped> {
        if mapped.capacity > LARGEST_IDLE {
            return Some(mapped);
        }
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(mapped);
        (idle.len() > MOST_IDLE).then(|| idle.remove(0))
    }

    /// Gives all of them back.
    pub(super) fn free(&mut self, allocator: &mut Allocator) {
        for mapped in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            mapped.free(allocator);
        }
    }
}
