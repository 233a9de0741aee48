#![expect(unsafe_code, reason = "creates buffers, binds their memory, records fills and copies")]
//! How a buffer's memory changes hands: created for export, imported, filled and read back.

use std::fmt;

use ash::vk;
use serde::{Deserialize, Serialize};

use super::commands::{Order, Submission};
use super::descriptors::Resource;
use super::error::failed;
use super::gpu::Gpu;
use super::memory::{
    Dedicated, HandleType, Memory, OpaqueMemory, Requirements, check_terms, common_type, duplicate, importable_types,
};
use super::owned::Owned;
use super::ownership::{COMPUTE_TO, COPY_FROM, COPY_TO, Owner, Use};
use super::pipeline::Work;
use super::room::{Room, only_dedicated, place_in};
use super::staging::Staging;
use crate::dmabuf::Dmabuf;
use crate::error::{Error, Result};

/// A new buffer.
#[derive(Clone, Debug)]
pub struct BufferRequest {
    /// Length in bytes, a multiple of 4.
    pub size: u64,
    /// Place in memory.
    pub room: Room,
    /// As what its memory can be exported; empty: not at all.
    pub export: Vec<HandleType>,
}

/// Where a buffer lies in memory that changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte, from the start of the memory.
    pub offset: u64,
    /// Length in bytes, a multiple of 4.
    pub size: u64,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buffer of {} B at byte {}", self.size, self.offset)
    }
}

/// A buffer with memory that can change hands; [`super`] says who owns it between calls.
pub struct Buffer {
    /// Destroyed before the memory.
    raw: Owned<vk::Buffer>,
    memory: Memory,
    span: Span,
    exportable: Vec<HandleType>,
    owner: Owner,
    gpu: Gpu,
}

/// A buffer whose memory is there and can change hands, but is not bound to it yet: see [`Unbound`](super::Unbound).
pub struct UnboundBuffer {
    buffer: Buffer,
    /// Nobody has had it before.
    new: bool,
}

/// Workgroup size of `shaders/fill.wgsl`, and the most groups that every device takes.
const FILL_GROUP: u32 = 64;
const MOST_GROUPS: u32 = 65_535;

impl Gpu {
    /// Creates a buffer, with memory; its contents are undefined.
    ///
    /// # Errors
    /// The device does not say that it can do this; the request is wrong; or the driver fails, or answers
    /// what no driver may answer.
    #[doc(alias = "vkCreateBuffer")]
    pub fn create_buffer(&self, request: &BufferRequest) -> Result<Buffer> {
        self.prepare_buffer(request)?.bind()
    }

    /// [`Self::create_buffer`] without binding its memory.
    ///
    /// # Errors
    /// As there.
    pub fn prepare_buffer(&self, request: &BufferRequest) -> Result<UnboundBuffer> {
        let BufferRequest { size, room, ref export } = *request;
        let object = || self.device().object(format!("buffer of {size} B"));
        let can = vk::ExternalMemoryFeatureFlags::EXPORTABLE;
        let dedicated_only = self.check_buffer_support(export, can, object)?;
        for &handle in export {
            self.check_compatible(handle, export, object)?;
        }
        let raw = self.raw_buffer(size, export)?;
        let needs = self.buffer_requirements(&raw, dedicated_only, object)?;
        let place = place_in(room, &needs).map_err(|why| why.error(object()))?;
        let dedicated = if place.dedicated { Dedicated::ToBuffer(raw.raw()) } else { Dedicated::No };
        let memory = Memory::allocate(self.device(), place.memory_size, needs.types, dedicated, export)?;
        let span = Span { offset: place.offset, size };
        Ok(self.unbound_buffer(raw, memory, span, export, true))
    }

    /// Imports the part `span` of `dmabuf`; the fd is duplicated, `dmabuf` stays the caller's. Contents are preserved.
    ///
    /// # Errors
    /// The device does not say that it can import this; the span does not fit the dma-buf; no memory type serves
    /// both sides; or the driver fails, or answers what no driver may answer.
    pub fn import_buffer(&self, dmabuf: &Dmabuf, span: Span, dedicated: bool) -> Result<Buffer> {
        self.prepare_buffer_import(dmabuf, span, dedicated)?.bind()
    }

    /// [`Self::import_buffer`] without binding the memory.
    ///
    /// # Errors
    /// As there.
    pub fn prepare_buffer_import(&self, dmabuf: &Dmabuf, span: Span, dedicated: bool) -> Result<UnboundBuffer> {
        const OP: &str = "importing a buffer";
        let handle = HandleType::DmaBuf;
        let object = || self.device().object(format!("dma-buf of {} B with {span}", dmabuf.size));
        let can = vk::ExternalMemoryFeatureFlags::IMPORTABLE;
        let dedicated_only = self.check_buffer_support(&[handle], can, object)?;
        let raw = self.raw_buffer(span.size, &[handle])?;
        let needs = self.buffer_requirements(&raw, dedicated_only, object)?;
        if needs.dedicated && span.offset != 0 {
            return Err(only_dedicated(object(), span.offset));
        }
        let dedicated = dedicated || needs.dedicated;
        if span.offset.checked_add(needs.size).is_none_or(|end| end > dmabuf.size) {
            let why = format!("the importer needs {} B from byte {}, after the end", needs.size, span.offset);
            return Err(Error::missing(OP, object(), why));
        }
        if !span.offset.is_multiple_of(needs.alignment) || (dedicated && span.offset != 0) {
            let why =
                format!("offset {} B; a multiple of {} B, 0 if dedicated, is needed", span.offset, needs.alignment);
            return Err(Error::missing(OP, object(), why));
        }
        let offered = importable_types(self.device(), dmabuf)?;
        let type_index = common_type(self.device(), offered, needs.types, &object())?;
        let (size, dedicated) =
            if dedicated { (needs.size, Dedicated::ToBuffer(raw.raw())) } else { (dmabuf.size, Dedicated::No) };
        let fd = duplicate(&dmabuf.fd)?;
        let memory = Memory::import(self.device(), fd, handle, size, type_index, dedicated)?;
        Ok(self.unbound_buffer(raw, memory, span, &[handle], false))
    }

    /// Imports a buffer by opaque fd; the fd is duplicated, `opaque` stays the caller's. Contents are preserved.
    ///
    /// # Errors
    /// It came from another device or driver, or the driver fails, or answers what no driver may answer.
    pub fn import_opaque_buffer(&self, opaque: &OpaqueMemory, span: Span) -> Result<Buffer> {
        let handle = HandleType::OpaqueFd;
        let terms = &opaque.terms;
        check_terms(self.device(), terms)?;
        let object = || self.device().object(format!("opaque fd of {} B with {span}", terms.size));
        let can = vk::ExternalMemoryFeatureFlags::IMPORTABLE;
        let dedicated_only = self.check_buffer_support(&[handle], can, object)?;
        let raw = self.raw_buffer(span.size, &[handle])?;
        self.buffer_requirements(&raw, dedicated_only, object)?
            .check_place(span.offset, terms)
            .map_err(|why| Error::answer("vkGetBufferMemoryRequirements2", object(), why))?;
        let dedicated = if terms.dedicated { Dedicated::ToBuffer(raw.raw()) } else { Dedicated::No };
        let fd = duplicate(&opaque.fd)?;
        let memory = Memory::import(self.device(), fd, handle, terms.size, terms.memory_type, dedicated)?;
        self.unbound_buffer(raw, memory, span, &[handle], false).bind()
    }

    /// Whether buffers change hands in dedicated memory only; an error unless the device says that they do as `handles` this
    /// way (`may`).
    fn check_buffer_support(
        &self,
        handles: &[HandleType],
        may: vk::ExternalMemoryFeatureFlags,
        object: impl Fn() -> String,
    ) -> Result<bool> {
        let mut dedicated_only = false;
        for &handle in handles {
            let features = self.buffer_features(handle);
            if !features.contains(may) {
                let why = format!("memory does not change hands as {handle} this way");
                return Err(Error::missing("vkGetPhysicalDeviceExternalBufferProperties", object(), why));
            }
            dedicated_only |= features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY);
        }
        Ok(dedicated_only)
    }

    /// An error unless buffers can change hands as `handle` and as all of `others` (VUID-VkBufferCreateInfo-pNext-00920).
    fn check_compatible(&self, handle: HandleType, others: &[HandleType], object: impl Fn() -> String) -> Result<()> {
        let compatible = self.external_buffer(handle).compatible_handle_types;
        match others.iter().find(|other| **other != handle && !compatible.contains(other.flag())) {
            None => Ok(()),
            Some(other) => {
                let why = format!("{handle} is not compatible with {other} at the same time");
                Err(Error::missing("vkGetPhysicalDeviceExternalBufferProperties", object(), why))
            }
        }
    }

    fn buffer_features(&self, handle: HandleType) -> vk::ExternalMemoryFeatureFlags {
        self.external_buffer(handle).external_memory_features
    }

    fn external_buffer(&self, handle: HandleType) -> vk::ExternalMemoryProperties {
        let device = self.device();
        let info = vk::PhysicalDeviceExternalBufferInfo::default().usage(Buffer::USAGE).handle_type(handle.flag());
        let mut properties = vk::ExternalBufferProperties::default();
        // SAFETY: the physical device is of this instance, and the structs live during the call.
        unsafe {
            let instance = device.instance.raw();
            instance.get_physical_device_external_buffer_properties(device.physical, &info, &mut properties);
        };
        properties.external_memory_properties
    }

    fn raw_buffer(&self, size: u64, handles: &[HandleType]) -> Result<Owned<vk::Buffer>> {
        const OP: &str = "vkCreateBuffer";
        let object = || self.device().object(format!("buffer of {size} B"));
        if size == 0 || !size.is_multiple_of(4) || size > u64::from(u32::MAX) {
            return Err(Error::input(
                OP,
                object(),
                "a multiple of 4 B, more than 0 B and less than 4 GiB, would be valid",
            ));
        }
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(HandleType::flags(handles));
        let mut info = vk::BufferCreateInfo::default().size(size).usage(Buffer::USAGE);
        if !handles.is_empty() {
            info = info.push_next(&mut external);
        }
        // SAFETY: `info` and its chain live during the call, and the device said that it supports such buffers.
        let raw = unsafe { self.device().create_buffer(&info, None) }.map_err(|code| failed(OP, object(), code))?;
        // SAFETY: just created, owned by nobody else.
        Ok(unsafe { Owned::new(self.device(), raw) })
    }

    fn buffer_requirements(
        &self,
        buffer: &Owned<vk::Buffer>,
        dedicated_only: bool,
        object: impl Fn() -> String,
    ) -> Result<Requirements> {
        const OP: &str = "vkGetBufferMemoryRequirements2";
        let mut says = vk::MemoryDedicatedRequirements::default();
        let mut given = vk::MemoryRequirements2::default().push_next(&mut says);
        let info = vk::BufferMemoryRequirementsInfo2::default().buffer(buffer.raw());
        // SAFETY: the buffer is live, the structs live during the call.
        unsafe { self.device().get_buffer_memory_requirements2(&info, &mut given) };
        let given = given.memory_requirements;
        let needs = Requirements::checked(&given, &says).map_err(|why| Error::answer(OP, object(), why))?;
        Ok(Requirements { dedicated: needs.dedicated || dedicated_only, ..needs })
    }

    fn unbound_buffer(
        &self,
        raw: Owned<vk::Buffer>,
        memory: Memory,
        span: Span,
        handles: &[HandleType],
        new: bool,
    ) -> UnboundBuffer {
        let exportable = if new { handles.to_vec() } else { Vec::new() };
        let owner = HandleType::owner(handles);
        UnboundBuffer { buffer: Buffer { raw, memory, span, exportable, owner, gpu: self.clone() }, new }
    }
}

impl UnboundBuffer {
    /// Binds the buffer to its memory.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkBindBufferMemory")]
    pub fn bind(self) -> Result<Buffer> {
        let Self { buffer, new } = self;
        let (raw, memory, offset) = (buffer.raw.raw(), buffer.memory.raw(), buffer.span.offset);
        // SAFETY: both are live, the buffer is not yet bound; who made this checked size, alignment and memory type.
        unsafe { buffer.gpu.device().bind_buffer_memory(raw, memory, offset) }
            .map_err(|code| failed("vkBindBufferMemory", buffer.object(), code))?;
        if new {
            buffer.release_new()?;
        }
        Ok(buffer)
    }

    /// Between two calls it belongs to other Vulkan instances of this device and driver, and to no device outside Vulkan: it is
    /// released to `VK_QUEUE_FAMILY_EXTERNAL`.
    #[must_use]
    pub fn kept_in_vulkan(mut self) -> Self {
        self.buffer.owner = Owner::External;
        self
    }

    /// Where it will lie in its memory.
    pub fn span(&self) -> Span {
        self.buffer.span
    }

    /// As [`Buffer::export_dmabuf`].
    ///
    /// # Errors
    /// As there.
    pub fn export_dmabuf(&self) -> Result<Dmabuf> {
        self.buffer.export_dmabuf()
    }
}

impl Buffer {
    /// What every buffer of the harness can do.
    const USAGE: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
        vk::BufferUsageFlags::TRANSFER_SRC.as_raw()
            | vk::BufferUsageFlags::TRANSFER_DST.as_raw()
            | vk::BufferUsageFlags::STORAGE_BUFFER.as_raw(),
    );

    /// Where it lies in its memory.
    pub fn span(&self) -> Span {
        self.span
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// A new dma-buf fd for its memory; [`Self::span`] says where in it the buffer lies.
    ///
    /// # Errors
    /// It was not created for export as dma-buf, or the driver fails or answers what no driver may answer.
    pub fn export_dmabuf(&self) -> Result<Dmabuf> {
        self.check_exportable(HandleType::DmaBuf)?;
        self.memory.export_dmabuf()
    }

    /// A new opaque fd for its memory; [`Self::span`] says where in it the buffer lies.
    ///
    /// # Errors
    /// It was not created for export as opaque fd, or the driver fails or answers what no driver may answer.
    pub fn export_opaque(&self) -> Result<OpaqueMemory> {
        self.check_exportable(HandleType::OpaqueFd)?;
        self.memory.export_opaque()
    }

    /// Fills it with the words of [`noise_words`](super::noise_words), by a compute shader.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkCmdDispatch")]
    pub fn fill(&self, stamp: u32) -> Result<()> {
        let pipeline = self.gpu.pipeline(Work::Fill, vk::Format::UNDEFINED)?;
        let set = self.gpu.descriptor_set(&pipeline, &[Resource::Buffer(self.raw.raw())])?;
        let immediates: Vec<u8> = [self.words(), stamp].into_iter().flat_map(u32::to_ne_bytes).collect();
        let groups = self.words().div_ceil(FILL_GROUP).min(MOST_GROUPS);
        let record = |device: &ash::Device, commands| {
            let point = vk::PipelineBindPoint::COMPUTE;
            let layout = pipeline.layout.raw();
            // SAFETY: recording; the pipeline is live.
            unsafe { device.cmd_bind_pipeline(commands, point, pipeline.raw.raw()) };
            // SAFETY: recording; the set is live and of this layout.
            unsafe { device.cmd_bind_descriptor_sets(commands, point, layout, 0, &[set.raw()], &[]) };
            // SAFETY: recording; the layout has these 8 bytes.
            unsafe { device.cmd_push_constants(commands, layout, vk::ShaderStageFlags::ALL, 0, &immediates) };
            // SAFETY: recording; everything the shader uses is bound, and it stays inside the buffer.
            unsafe { device.cmd_dispatch(commands, groups, 1, 1) };
        };
        // SAFETY: a dispatch on live objects of this device, which writes this buffer.
        unsafe { self.acquired_for(COMPUTE_TO, "filling a buffer", record) }
    }

    /// Copies `words` into it, from its start.
    ///
    /// # Errors
    /// Not as many words as the buffer has, or the driver fails.
    #[doc(alias = "vkCmdCopyBuffer")]
    pub fn upload(&self, words: &[u32]) -> Result<()> {
        const OP: &str = "uploading to a buffer";
        if words.len() != self.words() as usize {
            let why = format!("{} words; as many as the buffer's {} would be valid", words.len(), self.words());
            return Err(Error::input(OP, self.object(), why));
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let staging = Staging::with_bytes(&self.gpu, &bytes, vk::BufferUsageFlags::TRANSFER_SRC)?;
        let whole = [vk::BufferCopy::default().size(self.span.size)];
        let copy = |device: &ash::Device, commands| {
            // SAFETY: recording; both buffers are live and of this length.
            unsafe { device.cmd_copy_buffer(commands, staging.raw(), self.raw.raw(), &whole) };
        };
        // SAFETY: a copy between live buffers of this device.
        unsafe { self.acquired_for(COPY_TO, OP, copy) }
    }

    /// Copies its words out.
    ///
    /// # Errors
    /// The driver fails.
    pub fn read_back(&self) -> Result<Vec<u32>> {
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let staging = Staging::for_read_back(&self.gpu, self.span.size, usage)?;
        let whole = [vk::BufferCopy::default().size(self.span.size)];
        let copy = |device: &ash::Device, commands| {
            // SAFETY: recording; both buffers are live and of this length.
            unsafe { device.cmd_copy_buffer(commands, self.raw.raw(), staging.raw(), &whole) };
            let to_host = staging.to_host(COPY_TO);
            let to_host = vk::DependencyInfo::default().buffer_memory_barriers(std::slice::from_ref(&to_host));
            // SAFETY: recording; the buffer is live.
            unsafe { device.cmd_pipeline_barrier2(commands, &to_host) };
        };
        // SAFETY: a copy between live buffers of this device, then a barrier.
        unsafe { self.acquired_for(COPY_FROM, "reading a buffer back", copy) }?;
        let word = |bytes: &[u8]| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok(staging.bytes()?.chunks_exact(4).map(word).collect())
    }

    /// Length in words; `raw_buffer` refused what does not fit.
    fn words(&self) -> u32 {
        (self.span.size / 4) as u32
    }

    fn object(&self) -> String {
        self.gpu.device().object(self.span)
    }

    fn check_exportable(&self, handle: HandleType) -> Result<()> {
        if self.exportable.contains(&handle) {
            return Ok(());
        }
        let why = format!("it was not created for export as {handle}, but as {:?}", self.exportable);
        Err(Error::input("vkGetMemoryFdKHR", self.object(), why))
    }

    /// Gives a new buffer to its owner.
    fn release_new(&self) -> Result<()> {
        let release = [self.owner.release_buffer(self.raw.raw(), self.gpu.device().queue_family, COPY_TO)];
        let record = |device: &ash::Device, commands| {
            let release = vk::DependencyInfo::default().buffer_memory_barriers(&release);
            // SAFETY: recording; the buffer is live.
            unsafe { device.cmd_pipeline_barrier2(commands, &release) };
        };
        // SAFETY: a barrier on a live buffer of this device.
        unsafe { self.run("handing a new buffer over", record) }
    }

    /// Runs what `record` records, between an acquire of this buffer for `what` and its release.
    ///
    /// # Safety
    /// As [`Submission::submit`]; `record` uses the buffer as `what` says.
    unsafe fn acquired_for(
        &self,
        what: Use,
        op: &'static str,
        record: impl FnOnce(&ash::Device, vk::CommandBuffer),
    ) -> Result<()> {
        let ours = self.gpu.device().queue_family;
        let acquire = [self.owner.acquire_buffer(self.raw.raw(), ours, what)];
        let release = [self.owner.release_buffer(self.raw.raw(), ours, what)];
        let record = |device: &ash::Device, commands| {
            let acquire = vk::DependencyInfo::default().buffer_memory_barriers(&acquire);
            // SAFETY: recording; the buffer is live.
            unsafe { device.cmd_pipeline_barrier2(commands, &acquire) };
            record(device, commands);
            let release = vk::DependencyInfo::default().buffer_memory_barriers(&release);
            // SAFETY: recording; the buffer is live.
            unsafe { device.cmd_pipeline_barrier2(commands, &release) };
        };
        // SAFETY: barriers on a live buffer around what the caller vouches for.
        unsafe { self.run(op, record) }
    }

    /// Submits what `record` records, and waits.
    ///
    /// # Safety
    /// As [`Submission::submit`].
    unsafe fn run(&self, op: &'static str, record: impl FnOnce(&ash::Device, vk::CommandBuffer)) -> Result<()> {
        // SAFETY: the caller's contract is the one of this function.
        unsafe { Submission::submit(self.gpu.device(), op, self.object(), Order::default(), record) }?.wait()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({})", self.object())
    }
}
