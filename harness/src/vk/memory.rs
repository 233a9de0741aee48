#![expect(unsafe_code, reason = "allocates, imports and exports device memory")]
//! Where memory comes from that changes hands: allocated for export, or imported.
//!
//! `vkAllocateMemory` of our own, one allocation for each image or buffer: gpu-allocator can neither chain the export
//! and import structs nor make dedicated external memory. Staging memory is in `staging.rs`.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use ash::vk;
use rustix::mm::{Advice, madvise};
use serde::{Deserialize, Serialize};

use super::check;
use super::error::{failed, is_code};
use super::gpu::Device;
use super::identity::Uuid;
use super::owned::Owned;
use super::ownership::Owner;
use crate::dmabuf::Dmabuf;
use crate::error::{Error, Result};
use crate::ledger::{self, Fd, Given};

/// In which shape memory leaves or enters a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandleType {
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_DMA_BUF_BIT_EXT`: any device may import it.
    DmaBuf,
    /// `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT`: only the same driver on the same device may.
    OpaqueFd,
}

impl HandleType {
    pub(super) fn flag(self) -> vk::ExternalMemoryHandleTypeFlags {
        match self {
            Self::DmaBuf => vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT,
            Self::OpaqueFd => vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD,
        }
    }

    /// All of `types` in one mask.
    pub(super) fn flags(types: &[Self]) -> vk::ExternalMemoryHandleTypeFlags {
        types.iter().map(|handle| handle.flag()).fold(vk::ExternalMemoryHandleTypeFlags::empty(), |all, one| all | one)
    }

    /// Who owns, between two calls, memory that was exported or imported as `types`.
    pub(super) fn owner(types: &[Self]) -> Owner {
        if types.contains(&Self::DmaBuf) {
            Owner::Foreign
        } else if types.contains(&Self::OpaqueFd) {
            Owner::External
        } else {
            Owner::Us
        }
    }
}

impl fmt::Display for HandleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DmaBuf => "dma-buf",
            Self::OpaqueFd => "opaque fd",
        })
    }
}

/// Memory as an opaque fd, with what the importer must state to get the same memory.
#[derive(Debug)]
pub struct OpaqueMemory {
    /// The handle.
    pub fd: OwnedFd,
    /// What exporter and importer must agree on.
    pub terms: MemoryTerms,
}

/// What exporter and importer of an opaque fd must agree on (the Vulkan specification, `VkImportMemoryFdInfoKHR`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryTerms {
    /// `allocationSize`, in bytes.
    pub size: u64,
    /// `memoryTypeIndex`.
    pub memory_type: u32,
    /// Whether the memory is dedicated to one image or buffer.
    pub dedicated: bool,
    /// Device of the exporter.
    pub device_uuid: Uuid,
    /// Driver of the exporter.
    pub driver_uuid: Uuid,
}

/// What an image or buffer needs of its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requirements {
    /// In bytes.
    pub(super) size: u64,
    /// In bytes, a power of two.
    pub(super) alignment: u64,
    /// Mask of memory types, not empty.
    pub(super) types: u32,
    /// Whether the driver accepts memory only that is dedicated to it.
    pub(super) dedicated: bool,
}

impl Requirements {
    /// Checks the answer of `vkGet…MemoryRequirements2`, `Err` says what is wrong with it.
    pub(super) fn checked(
        given: &vk::MemoryRequirements,
        says: &vk::MemoryDedicatedRequirements<'_>,
    ) -> Result<Self, String> {
        check::requirements(given)?;
        let vk::MemoryRequirements { size, alignment, memory_type_bits: types } = *given;
        Ok(Self { size, alignment, types, dedicated: says.requires_dedicated_allocation == vk::TRUE })
    }

    /// Checks that memory of `terms` has room for this at `offset`; `Err` has the numbers of both sides.
    ///
    /// The same image or buffer, on the same device and driver, must need the same as on the exporter's side.
    pub(super) fn check_place(&self, offset: u64, terms: &MemoryTerms) -> Result<(), String> {
        if self.dedicated && !terms.dedicated {
            return Err("the exporter, on the same device and driver, was not told to have dedicated memory".to_owned());
        }
        let fits = offset.checked_add(self.size).is_some_and(|end| end <= terms.size);
        let has_type = self.types.checked_shr(terms.memory_type).is_some_and(|types| types & 1 == 1);
        if fits && has_type && offset.is_multiple_of(self.alignment) {
            return Ok(());
        }
        Err(format!(
            "the exporter, on the same device and driver, put it at byte {offset} of {} B of memory type {}; the importer needs {} B aligned to {} B of memory types {:#b}",
            terms.size, terms.memory_type, self.size, self.alignment, self.types
        ))
    }
}

/// What a dedicated allocation is dedicated to.
#[derive(Clone, Copy)]
pub(super) enum Dedicated {
    No,
    ToImage(vk::Image),
    ToBuffer(vk::Buffer),
}

impl Dedicated {
    fn is_dedicated(self) -> bool {
        !matches!(self, Self::No)
    }

    fn info(self) -> vk::MemoryDedicatedAllocateInfo<'static> {
        match self {
            Self::No => vk::MemoryDedicatedAllocateInfo::default(),
            Self::ToImage(image) => vk::MemoryDedicatedAllocateInfo::default().image(image),
            Self::ToBuffer(buffer) => vk::MemoryDedicatedAllocateInfo::default().buffer(buffer),
        }
    }
}

/// The call that exports.
const GET_FD: &str = "vkGetMemoryFdKHR";

/// The call that allocates.
const ALLOCATE: &str = "vkAllocateMemory";

/// The same when it imports.
const IMPORT: &str = "vkAllocateMemory (import)";

/// Device memory that can change hands.
pub(super) struct Memory {
    raw: Owned<vk::DeviceMemory>,
    /// In bytes.
    size: u64,
    type_index: u32,
    dedicated: bool,
    /// The number of the fd that was handed out last, or -1; it may be closed since.
    exported: AtomicI32,
    /// The fd that it was imported by, which is the driver's now. Looked at again when the memory is freed.
    given: Last,
}

/// Of more memory, in bytes, a case may never touch the most.
const LARGEST_POPULATED: u64 = 8 << 20;

/// An fd that is looked at when the memory that came of it is gone.
struct Last(Option<Given>);

/// The call that frees.
const FREE: &str = "vkFreeMemory";

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(given) = &self.0 {
            given.look(FREE, true);
            ledger::step(FREE, None, "");
        }
    }
}

impl Drop for Memory {
    // Before the fields go, of which the memory is the first.
    fn drop(&mut self) {
        if let Some(given) = &self.given.0 {
            given.look(FREE, false);
        }
    }
}

impl Memory {
    /// Allocates `size` bytes of one of the memory types in `types`, for export as `export`.
    ///
    /// Takes the first device-local type, else the first: what a program would do that knows nothing of the importer.
    pub(super) fn allocate(
        device: &Arc<Device>,
        size: u64,
        types: u32,
        dedicated: Dedicated,
        export: &[HandleType],
    ) -> Result<Self> {
        let type_index = first_type(&device.memory, types).ok_or_else(|| {
            let count = device.memory.memory_type_count;
            let why = format!("memoryTypeBits {types:#b}, but the device has {count} memory types");
            Error::answer("choosing a memory type", device.object(format!("{size} B")), why)
        })?;
        let mut export_info = vk::ExportMemoryAllocateInfo::default().handle_types(HandleType::flags(export));
        let mut info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(type_index);
        if !export.is_empty() {
            info = info.push_next(&mut export_info);
        }
        let memory = Self::create(ALLOCATE, device, info, dedicated)?;
        if !export.is_empty() && device.identity.device_type == "cpu" {
            memory.populate();
        }
        Ok(memory)
    }

    /// Has every page of the memory at hand for a device that is the CPU: one call, in the place of a fault for each page when the
    /// device draws there first. In the sandbox these faults take longer than a small drawing.
    ///
    /// Where that can't be done there are faults.
    fn populate(&self) {
        let device = self.raw.device();
        if self.size > LARGEST_POPULATED || !self.flags(device).contains(vk::MemoryPropertyFlags::HOST_VISIBLE) {
            return;
        }
        // SAFETY: the memory is live, can be mapped, and is not: it was allocated just now.
        let Ok(start) = (unsafe { device.map_memory(self.raw(), 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()) })
        else {
            return;
        };
        let page = rustix::param::page_size();
        if start.addr().is_multiple_of(page) {
            let length = (self.size as usize).next_multiple_of(page);
            // SAFETY: mapped above, and a page that is mapped in part is mapped; it changes nothing that is in them.
            let _ = unsafe { madvise(start, length, Advice::LinuxPopulateWrite) };
        }
        // SAFETY: mapped above, and nobody kept the address.
        unsafe { device.unmap_memory(self.raw()) };
    }

    /// Imports `fd`; it is closed whether that works or not, with the memory or now.
    pub(super) fn import(
        device: &Arc<Device>,
        fd: Fd,
        handle: HandleType,
        size: u64,
        type_index: u32,
        dedicated: Dedicated,
    ) -> Result<Self> {
        let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(handle.flag()).fd(fd.as_raw_fd());
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(size)
            .memory_type_index(type_index)
            .push_next(&mut import);
        let inode = Some(fd.inode());
        let refused = |error: Error| {
            ledger::step("vkAllocateMemory (import, refused)", inode, format_args!("{size} B"));
            match is_code(&error, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY) {
                true => {
                    error.like("an import that wants more than the memory requirements say, or takes memory of its own")
                }
                false => error,
            }
        };
        let mut memory = Self::create(IMPORT, device, info, dedicated).map_err(refused)?;
        // A successful import gives the fd to the driver, a failed one does not (`VkImportMemoryFdInfoKHR`).
        memory.given = Last(fd.give(IMPORT));
        ledger::step(IMPORT, inode, format_args!("{size} B"));
        Ok(memory)
    }

    fn create(
        call: &'static str,
        device: &Arc<Device>,
        info: vk::MemoryAllocateInfo<'_>,
        dedicated: Dedicated,
    ) -> Result<Self> {
        let mut dedicated_info = dedicated.info();
        let (size, type_index) = (info.allocation_size, info.memory_type_index);
        let info = if dedicated.is_dedicated() { info.push_next(&mut dedicated_info) } else { info };
        let _call = ledger::calling(call, device.object(format!("{size} B of memory type {type_index}")));
        // SAFETY: the callers take the type index from the device's own masks and name a live image or buffer
        // of this device; an fd in the chain stays open until after the call.
        let raw = unsafe { device.allocate_memory(&info, None) }.map_err(|code| {
            let dedicated = if dedicated.is_dedicated() { ", dedicated" } else { "" };
            failed(call, device.object(format!("{size} B of memory type {type_index}{dedicated}")), code)
        })?;
        // SAFETY: just allocated, owned by nobody else; images and buffers drop before their memory.
        let raw = unsafe { Owned::new(device, raw) };
        let exported = AtomicI32::new(-1);
        Ok(Self { raw, size, type_index, dedicated: dedicated.is_dedicated(), exported, given: Last(None) })
    }

    /// The handle; valid as long as `self`.
    pub(super) fn raw(&self) -> vk::DeviceMemory {
        self.raw.raw()
    }

    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Its memory type, by its number.
    pub(super) fn type_index(&self) -> u32 {
        self.type_index
    }

    /// What its memory type is.
    pub(super) fn flags(&self, device: &Device) -> vk::MemoryPropertyFlags {
        let types = device.memory.memory_types.get(self.type_index as usize);
        types.map_or(vk::MemoryPropertyFlags::empty(), |kind| kind.property_flags)
    }

    fn object(&self, handle: HandleType) -> String {
        self.raw.device().object(format!("{} B as {handle}", self.size))
    }

    /// A new fd for the memory, which must have been allocated for export as `handle`.
    fn export(&self, handle: HandleType) -> Result<OwnedFd> {
        let device = self.raw.device();
        let object = || self.object(handle);
        let before = self.exported.load(Ordering::Relaxed);
        let still_open = before >= 0 && is_open(before);
        let info = vk::MemoryGetFdInfoKHR::default().memory(self.raw()).handle_type(handle.flag());
        let _call = ledger::calling("vkGetMemoryFdKHR", object());
        // SAFETY: the memory is live, and its owner checks that it was allocated for this handle type.
        let fd = unsafe { device.memory_fd.get_memory_fd(&info) }.map_err(|code| failed(GET_FD, object(), code))?;
        if fd < 0 {
            return Err(Error::answer(GET_FD, object(), format!("fd {fd}; an open file would be valid")));
        }
        if still_open && fd == before {
            // It has an owner already, so it must not get another.
            let why = format!("fd {fd}, which was handed out before and is still open; a new fd would be valid");
            return Err(Error::answer(GET_FD, object(), why)
                .like("an fd that the driver keeps, and hands out without a duplicate"));
        }
        self.exported.store(fd, Ordering::Relaxed);
        // SAFETY: each successful call makes a new fd that belongs to the caller.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// A new dma-buf fd.
    pub(super) fn export_dmabuf(&self) -> Result<Dmabuf> {
        let fd = self.export(HandleType::DmaBuf)?;
        // A file that is no dma-buf is this call's wrong answer.
        let dmabuf = Dmabuf::from_fd(fd).map_err(|error| Error {
            op: GET_FD.into(),
            object: self.object(HandleType::DmaBuf),
            like: Some("the file that the memory is made of, handed out as it is"),
            ..error
        })?;
        ledger::step(GET_FD, Some(dmabuf.inode()), format_args!("{} B", dmabuf.size));
        Ok(dmabuf)
    }

    /// A new opaque fd.
    pub(super) fn export_opaque(&self) -> Result<OpaqueMemory> {
        let fd = self.export(HandleType::OpaqueFd)?;
        close_on_exec(&fd).map_err(|errno| Error::new(GET_FD, self.object(HandleType::OpaqueFd), errno))?;
        ledger::step("vkGetMemoryFdKHR (opaque fd)", None, format_args!("{} B", self.size));
        let identity = &self.raw.device().identity;
        let terms = MemoryTerms {
            size: self.size,
            memory_type: self.type_index,
            dedicated: self.dedicated,
            device_uuid: identity.device_uuid,
            driver_uuid: identity.driver_uuid,
        };
        Ok(OpaqueMemory { fd, terms })
    }
}

/// Else the next process that we start keeps what `fd` stands for, for as long as it runs.
pub(super) fn close_on_exec(fd: &OwnedFd) -> rustix::io::Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)
}

/// Whether a file is open at this number.
fn is_open(fd: RawFd) -> bool {
    // SAFETY: only asked of, and what is not open is answered with an error.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(fd).is_ok()
}

/// A duplicate of `fd`, which an import can use up.
pub(super) fn duplicate(fd: &OwnedFd) -> Result<Fd> {
    let object = || format!("fd {}", fd.as_raw_fd());
    let duplicate = fd.try_clone().map_err(|error| Error::new("fcntl(F_DUPFD_CLOEXEC)", object(), error))?;
    Fd::new(duplicate).map_err(|errno| Error::new("fstat", object(), errno))
}

/// The memory types that can import `dmabuf`, as a mask that is not empty.
pub(super) fn importable_types(device: &Device, dmabuf: &Dmabuf) -> Result<u32> {
    const OP: &str = "vkGetMemoryFdPropertiesKHR";
    let object = || device.object(format!("dma-buf of {} B", dmabuf.size));
    let mut properties = vk::MemoryFdPropertiesKHR::default();
    let raw = dmabuf.fd.as_raw_fd();
    // SAFETY: the fd is open during the call, which does not take it.
    unsafe { device.memory_fd.get_memory_fd_properties(HandleType::DmaBuf.flag(), raw, &mut properties) }
        .map_err(|code| failed(OP, object(), code))?;
    if properties.memory_type_bits == 0 {
        let why =
            "VK_SUCCESS with memoryTypeBits 0b0; a memory type, or VK_ERROR_INVALID_EXTERNAL_HANDLE, would be valid";
        return Err(Error::answer(OP, object(), why).like("an answer that was never filled in"));
    }
    let (bits, count) = (properties.memory_type_bits, device.memory.memory_type_count);
    if bits.checked_shr(count).is_some_and(|beyond| beyond != 0) {
        let why = format!("memoryTypeBits {bits:#b} names a memory type that there is none of: the device has {count}");
        return Err(Error::answer(OP, object(), why).like("a mask of another device, or of more types than there are"));
    }
    Ok(bits)
}

/// The first memory type that both the dma-buf (`offered`) and the image or buffer (`needed`) can have.
pub(super) fn common_type(device: &Device, offered: u32, needed: u32, object: &str) -> Result<u32> {
    first_type(&device.memory, offered & needed).ok_or_else(|| {
        let why = format!(
            "no memory type serves both sides: the dma-buf can be imported as {offered:#b}, the importer needs one of {needed:#b}"
        );
        Error::missing("choosing a memory type", object, why)
    })
}

/// Refuses terms that only another device or driver can meet.
pub(super) fn check_terms(device: &Device, terms: &MemoryTerms) -> Result<()> {
    let here = &device.identity;
    if (terms.device_uuid, terms.driver_uuid) == (here.device_uuid, here.driver_uuid) {
        return Ok(());
    }
    let why = format!(
        "an opaque fd can only be imported where it came from: device {} driver {}, this is device {} driver {}",
        terms.device_uuid, terms.driver_uuid, here.device_uuid, here.driver_uuid
    );
    Err(Error::missing("importing an opaque fd", device.object(format!("{} B", terms.size)), why))
}

/// The first device-local type of `types` that the CPU sees, else the first device-local one, else the first; `None` if the device
/// has none of them.
///
/// A driver may let no CPU map what it exports from memory that the CPU does not see, and then nobody but GPUs can say what is in
/// it.
fn first_type(memory: &vk::PhysicalDeviceMemoryProperties, types: u32) -> Option<u32> {
    use vk::MemoryPropertyFlags as Flags;
    let count = memory.memory_type_count.min(vk::MAX_MEMORY_TYPES as u32);
    let first = |flags: Flags| {
        (0..count).find(|&n| types & (1 << n) != 0 && memory.memory_types[n as usize].property_flags.contains(flags))
    };
    [Flags::DEVICE_LOCAL | Flags::HOST_VISIBLE, Flags::DEVICE_LOCAL, Flags::empty()].into_iter().find_map(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_local_memory_comes_first_and_unknown_types_never() {
        let mut memory = vk::PhysicalDeviceMemoryProperties { memory_type_count: 3, ..Default::default() };
        memory.memory_types[2].property_flags = vk::MemoryPropertyFlags::DEVICE_LOCAL;
        assert_eq!(first_type(&memory, 0b111), Some(2));
        assert_eq!(first_type(&memory, 0b011), Some(0));
        assert_eq!(first_type(&memory, 0b010), Some(1));
        assert_eq!(first_type(&memory, 0b1000), None);
        assert_eq!(first_type(&memory, 0), None);
        memory.memory_type_count = 4;
        memory.memory_types[3].property_flags =
            vk::MemoryPropertyFlags::DEVICE_LOCAL | vk::MemoryPropertyFlags::HOST_VISIBLE;
        assert_eq!(first_type(&memory, 0b1111), Some(3), "the CPU sees it");
    }
}
