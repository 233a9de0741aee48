#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out, and fds as numbers")]
//! Memory: allocated, imported, exported, mapped, bound and freed.

use std::ffi::c_void;
use std::io::Write;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use ash::vk;
use rustix::fs::MemfdFlags;

use super::submissions::let_work_end;
use crate::chain::{Changed, find, without};
use crate::config::{done, fired, is};
use crate::deed::Deed;
use crate::mapping::Mapping;
use crate::state::{Memory, RealDevice, Snapshot, device, tables};

type Allocator<'a> = *const vk::AllocationCallbacks<'a>;

const DMA_BUF: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;

/// Whether what is written to shared memory has to be seen, and changed, from here.
fn watches_bytes() -> bool {
    const ALL: [Deed; 11] = [
        Deed::ReleaseLate,
        Deed::TailNotFlushed,
        Deed::AcquireDiscards,
        Deed::FreeClearsShared,
        Deed::RowsBehindWritten,
        Deed::ExternalReleaseLate,
        Deed::BufferReleaseLate,
        Deed::ReleaseDiscards,
        Deed::AcquireBringsBack,
        Deed::AcquireStale,
        Deed::ViewStale,
    ];
    ALL.into_iter().any(is)
}

/// # Safety
/// `fd` is open.
unsafe fn size_of(fd: RawFd) -> Option<u64> {
    // SAFETY: the caller's contract.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::fs::seek(fd, rustix::fs::SeekFrom::End(0)).ok()
}

pub(crate) unsafe extern "system" fn allocate_memory(
    handle: vk::Device,
    given: *const vk::MemoryAllocateInfo<'_>,
    allocator: Allocator<'_>,
    made: *mut vk::DeviceMemory,
) -> vk::Result {
    let device = device(handle);
    let allocate = device.raw.fp_v1_0().allocate_memory;
    // SAFETY: the caller's struct.
    let mut info = unsafe { *given };
    if super::images::has_one_more_type() {
        info.memory_type_index = info.memory_type_index.saturating_sub(1);
    }
    // SAFETY: the caller's chain, alive during the call.
    let export = unsafe { find::<vk::ExportMemoryAllocateInfo<'_>>(info.p_next) };
    // SAFETY: found in a chain that is alive.
    let export = export.map_or_else(Default::default, |export| unsafe { (*export).handle_types });
    let mut memory =
        Memory { size: info.allocation_size, type_index: info.memory_type_index, export, ..Memory::default() };
    // SAFETY: the caller's chain, alive during the call.
    let import = unsafe { find::<vk::ImportMemoryFdInfoKHR<'_>>(info.p_next) };
    let result = match import {
        // SAFETY: found in a chain that is alive.
        Some(import) if unsafe { (*import).fd } >= 0 => {
            // SAFETY: as above.
            memory.imported_by = Some(unsafe { (*import).fd });
            // SAFETY: the caller's contract is the real function's; an fd that is imported is open.
            unsafe { import_memory(&device, (handle, info, allocator), import, made, &mut memory) }
        }
        // SAFETY: the caller's contract is the real function's.
        _ => unsafe { allocate(handle, &raw const info, allocator, made) },
    };
    if result == vk::Result::SUCCESS && (memory.imported_by.is_some() || !export.is_empty()) {
        // SAFETY: written by the call that succeeded.
        tables().memories.insert((handle, unsafe { *made }), memory);
    }
    result
}

/// # Safety
/// As `vkAllocateMemory`, with the struct of its chain that names an open fd.
unsafe fn import_memory(
    device: &RealDevice,
    (handle, mut info, allocator): (vk::Device, vk::MemoryAllocateInfo<'_>, Allocator<'_>),
    import: *mut vk::ImportMemoryFdInfoKHR<'_>,
    made: *mut vk::DeviceMemory,
    memory: &mut Memory,
) -> vk::Result {
    let allocate = device.raw.fp_v1_0().allocate_memory;
    // SAFETY: the caller's contract.
    let vk::ImportMemoryFdInfoKHR { fd, handle_type, .. } = unsafe { *import };
    let is_dmabuf = handle_type == DMA_BUF;
    // SAFETY: the caller's contract.
    let has = unsafe { size_of(fd) }.unwrap_or(0);
    if is(Deed::ImportWantsPadding) && is_dmabuf && !has.is_multiple_of(1 << 16) {
        fired();
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY: the caller's contract.
    let to_clear = (is(Deed::ImportZeroFills) && is_dmabuf).then(|| unsafe { Mapping::of(fd, None) }).flatten();
    if watches_bytes() && is_dmabuf {
        // SAFETY: the caller's contract.
        memory.bytes = unsafe { Mapping::of(fd, None) }.map(Arc::new);
    }
    if is(Deed::OpaqueImportSeparate) && handle_type == vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD {
        // SAFETY: the caller's chain, and the link of our own copy.
        let _out = unsafe { without::<vk::ImportMemoryFdInfoKHR<'_>>(&raw mut info.p_next) };
        // SAFETY: an ordinary allocation of the same size and type.
        let result = unsafe { allocate(handle, &raw const info, allocator, made) };
        if result == vk::Result::SUCCESS {
            fired();
            // SAFETY: a successful import takes the fd.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        return result;
    }
    if is(Deed::ImportCopies) {
        // SAFETY: the caller's contract.
        let Some(bytes) = (unsafe { Mapping::of(fd, None) }) else { return vk::Result::ERROR_INVALID_EXTERNAL_HANDLE };
        // What the driver refuses stays refused.
        // SAFETY: as the caller's.
        let result = unsafe { import_another(device, (handle, info, allocator), import, made) };
        if result != vk::Result::SUCCESS {
            return result;
        }
        // SAFETY: written by the call that succeeded.
        let original = unsafe { *made };
        // SAFETY: made just now, and nobody else has it.
        unsafe { (device.raw.fp_v1_0().free_memory)(handle, original, allocator) };
        // SAFETY: the caller's chain, and the link of our own copy.
        let _out = unsafe { without::<vk::ImportMemoryFdInfoKHR<'_>>(&raw mut info.p_next) };
        // SAFETY: an ordinary allocation of the same size and type.
        let result = unsafe { allocate(handle, &raw const info, allocator, made) };
        if result == vk::Result::SUCCESS {
            fired();
            let mut bytes = bytes.bytes();
            // A dma-buf may be longer than what is imported of it.
            bytes.truncate(usize::try_from(info.allocation_size).unwrap_or(usize::MAX));
            // SAFETY: written by the call that succeeded.
            let memory = unsafe { *made };
            // SAFETY: made just now, nobody else has it yet, and it is so long.
            unsafe { fill(device, memory, &bytes) };
            // SAFETY: a successful import takes the fd.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        return result;
    }
    if is(Deed::ImportLeaksFd) {
        // SAFETY: as the caller's.
        let result = unsafe { import_another(device, (handle, info, allocator), import, made) };
        if result == vk::Result::SUCCESS {
            // The fd of the caller, which is the driver's now, stays open for ever.
            fired();
        }
        return result;
    }
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { allocate(handle, &raw const info, allocator, made) };
    if let Some(bytes) = to_clear
        && result == vk::Result::SUCCESS
    {
        fired();
        bytes.write(0, &vec![0; bytes.len()]);
    }
    if is(Deed::RefusedImportTakesFd) && result != vk::Result::SUCCESS {
        fired();
        // SAFETY: none of ours to close, which is the point.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    if is(Deed::RefusedImportUnknown) && result != vk::Result::SUCCESS {
        fired();
        return vk::Result::ERROR_UNKNOWN;
    }
    result
}

/// The caller's import, by another fd of the same file: the driver takes that one.
///
/// # Safety
/// As `vkAllocateMemory`, with the struct of its chain that names an open fd.
unsafe fn import_another(
    device: &RealDevice,
    (handle, info, allocator): (vk::Device, vk::MemoryAllocateInfo<'_>, Allocator<'_>),
    import: *mut vk::ImportMemoryFdInfoKHR<'_>,
    made: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY: the caller's contract.
    let number = unsafe { (*import).fd };
    // SAFETY: an fd that is imported is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(borrowed, 0) else {
        return vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
    };
    // From here on it is the driver's, unless that refuses it and leaves it open.
    let copy = copy.into_raw_fd();
    // SAFETY: a field of the caller's struct, which is alive.
    let number = unsafe { &raw mut (*import).fd };
    // SAFETY: the harness makes these structs on its stack for one call; it is as it was when this returns.
    let _changed = unsafe { Changed::to(number, copy) };
    // SAFETY: as the caller's, by another fd of the same file.
    let result = unsafe { (device.raw.fp_v1_0().allocate_memory)(handle, &raw const info, allocator, made) };
    if result != vk::Result::SUCCESS {
        // SAFETY: nobody else of this thread has opened a file meanwhile; a driver that closes what it refused has done so.
        unsafe { close_if_open(copy) };
    }
    result
}

/// Closes `number` if it is open. Closing one that is not aborts a program with debug assertions.
///
/// # Safety
/// What is open at the number is ours to close, or a fault is to close what is not.
pub(super) unsafe fn close_if_open(number: RawFd) -> bool {
    // SAFETY: it is only asked whether it is open.
    let is_open = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok();
    if is_open {
        // SAFETY: the caller's contract.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    is_open
}

/// Writes `bytes` from the start of `memory` on.
///
/// # Safety
/// The memory is live, host-visible, not mapped, and no shorter.
unsafe fn fill(device: &RealDevice, memory: vk::DeviceMemory, bytes: &[u8]) {
    let all = vk::MemoryMapFlags::empty();
    // SAFETY: the caller's contract.
    let Ok(at) = (unsafe { device.raw.map_memory(memory, 0, vk::WHOLE_SIZE, all) }) else { return };
    // SAFETY: as long as the memory, and so no shorter than the bytes.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len()) };
    // SAFETY: mapped just now.
    unsafe { device.raw.unmap_memory(memory) };
}

/// The first `size` bytes of `memory`.
///
/// # Safety
/// The memory is live, host-visible, not mapped, and so long.
unsafe fn contents(device: &RealDevice, memory: vk::DeviceMemory, size: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    let all = vk::MemoryMapFlags::empty();
    // SAFETY: the caller's contract.
    let at = unsafe { device.raw.map_memory(memory, 0, vk::WHOLE_SIZE, all) }.ok()?;
    // SAFETY: the mapping is as long as the memory.
    unsafe { std::ptr::copy_nonoverlapping(at.cast(), bytes.as_mut_ptr(), bytes.len()) };
    // SAFETY: mapped just now.
    unsafe { device.raw.unmap_memory(memory) };
    Some(bytes)
}

pub(crate) unsafe extern "system" fn free_memory(
    handle: vk::Device,
    memory: vk::DeviceMemory,
    allocator: Allocator<'_>,
) {
    let_work_end(handle);
    let real = device(handle);
    let known = tables().memories.remove(&(handle, memory)).unwrap_or_default();
    if let (Some((old, new)), Some(bytes)) = (&known.late, &known.bytes) {
        bytes.write_changed(old, new);
    }
    if is(Deed::FreeClearsShared)
        && let Some(bytes) = &known.bytes
    {
        fired();
        bytes.write(0, &vec![0; bytes.len()]);
    }
    if is(Deed::ImportedMemoryNeverFreed) && known.imported_by.is_some() {
        fired();
        return;
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (real.raw.fp_v1_0().free_memory)(handle, memory, allocator) };
    if let Some(stand_in) = known.stand_in {
        // SAFETY: made by `get_memory_fd`, and freed only here.
        unsafe { real.raw.free_memory(stand_in, None) };
    }
    if is(Deed::FdClosedTwice)
        && let Some(fd) = known.imported_by
    {
        // SAFETY: whatever is open at this number by now is not ours, which is the point.
        if unsafe { close_if_open(fd) } {
            fired();
        }
    }
}

pub(crate) unsafe extern "system" fn get_memory_fd(
    handle: vk::Device,
    info: *const vk::MemoryGetFdInfoKHR<'_>,
    made: *mut RawFd,
) -> vk::Result {
    let real = device(handle);
    // SAFETY: the caller's struct.
    let asked = unsafe { *info };
    let is_dmabuf = asked.handle_type == DMA_BUF;
    let (stand_in, size, type_index, export, before) = match tables().memories.get(&(handle, asked.memory)) {
        Some(known) => (known.stand_in, known.size, known.type_index, known.export, known.exported_as),
        None => Default::default(),
    };
    let mut source = asked.memory;
    if is(Deed::ExportReallocates) && is_dmabuf {
        if stand_in.is_none() {
            // SAFETY: live memory of this device, which others do not map while they export it.
            let other = unsafe { another(&real, asked.memory, size, type_index, export) };
            if let Some(known) = tables().memories.get_mut(&(handle, asked.memory)) {
                known.stand_in = other;
            }
        }
        let stand_in = tables().memories.get(&(handle, asked.memory)).and_then(|known| known.stand_in);
        if let Some(other) = stand_in {
            source = other;
            fired();
        }
    }
    let asked = vk::MemoryGetFdInfoKHR { memory: source, ..asked };
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (real.memory_fd.get_memory_fd_khr)(handle, &raw const asked, made) };
    if result != vk::Result::SUCCESS {
        return result;
    }
    // SAFETY: written by the call that succeeded.
    let fd = unsafe { *made };
    if is(Deed::MemfdForDmabuf)
        && is_dmabuf
        // SAFETY: open, and the caller's only when this returns.
        && let Some(memfd) = unsafe { memfd_of(fd) }
    {
        fired();
        // SAFETY: nobody has it yet.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: the caller's.
        unsafe { *made = memfd.into_raw_fd() };
        return result;
    }
    if is(Deed::ExportInherited) && is_dmabuf {
        // SAFETY: open, and the caller's only when this returns.
        let made = unsafe { BorrowedFd::borrow_raw(fd) };
        if rustix::io::fcntl_setfd(made, rustix::io::FdFlags::empty()).is_ok() {
            fired();
        }
    }
    if is(Deed::SameFdTwice)
        && let Some(before) = before
        // SAFETY: open, and the caller's only when this returns.
        && unsafe { is_same_file(before, fd) }
    {
        fired();
        // SAFETY: nobody has it yet.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: the caller's.
        unsafe { *made = before };
        return result;
    }
    if let Some(known) = tables().memories.get_mut(&(handle, asked.memory)) {
        known.exported_as = Some(fd);
        if watches_bytes() && is_dmabuf && known.bytes.is_none() {
            // SAFETY: open.
            known.bytes = unsafe { Mapping::of(fd, None) }.map(Arc::new);
        }
    }
    result
}

/// Memory like `memory`, with the same bytes.
///
/// # Safety
/// `memory` is live, host-visible and not mapped.
unsafe fn another(
    device: &RealDevice,
    memory: vk::DeviceMemory,
    size: u64,
    type_index: u32,
    export: vk::ExternalMemoryHandleTypeFlags,
) -> Option<vk::DeviceMemory> {
    // SAFETY: the caller's contract.
    let bytes = unsafe { contents(device, memory, size) }?;
    let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(export);
    let info =
        vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(type_index).push_next(&mut export);
    // SAFETY: as the caller's own was allocated.
    let other = unsafe { device.raw.allocate_memory(&info, None) }.ok()?;
    // SAFETY: made just now, and nobody else has it yet.
    unsafe { fill(device, other, &bytes) };
    Some(other)
}

/// A memfd with the bytes of `fd`.
///
/// # Safety
/// `fd` is open.
unsafe fn memfd_of(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: the caller's contract.
    let bytes = unsafe { Mapping::of(fd, None) }?.bytes();
    let mut file = std::fs::File::from(rustix::fs::memfd_create("allocation", MemfdFlags::CLOEXEC).ok()?);
    file.write_all(&bytes).ok()?;
    Some(file.into())
}

/// Whether both are open, and the same file.
///
/// # Safety
/// `new` is open; `old` may be anything.
unsafe fn is_same_file(old: RawFd, new: RawFd) -> bool {
    // SAFETY: only asked of; what is not open is answered with an error.
    let old = unsafe { BorrowedFd::borrow_raw(old) };
    // SAFETY: the caller's contract.
    let new = unsafe { BorrowedFd::borrow_raw(new) };
    match (rustix::fs::fstat(old), rustix::fs::fstat(new)) {
        (Ok(old), Ok(new)) => (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino),
        _ => false,
    }
}

pub(crate) unsafe extern "system" fn get_memory_fd_properties(
    handle: vk::Device,
    kind: vk::ExternalMemoryHandleTypeFlags,
    fd: RawFd,
    properties: *mut vk::MemoryFdPropertiesKHR<'_>,
) -> vk::Result {
    let real = device(handle);
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (real.memory_fd.get_memory_fd_properties_khr)(handle, kind, fd, properties) };
    if result != vk::Result::SUCCESS || kind != DMA_BUF {
        return result;
    }
    // SAFETY: the caller's struct, written by the call.
    let bits = unsafe { &mut (*properties).memory_type_bits };
    match () {
        () if is(Deed::NoMemoryType) => *bits = 0,
        () if is(Deed::MemoryTypeBeyondAll) => *bits = 1 << 31,
        () if is(Deed::MemoryTypeMore) => {
            *bits <<= 1;
            done(Deed::MemoryTypeMore);
            return result;
        }
        // The new first one.
        () if is(Deed::FdOfAnotherType) => *bits = 1,
        () => return result,
    }
    fired();
    result
}

pub(crate) unsafe extern "system" fn map_memory(
    handle: vk::Device,
    memory: vk::DeviceMemory,
    offset: vk::DeviceSize,
    size: vk::DeviceSize,
    flags: vk::MemoryMapFlags,
    mapped: *mut *mut c_void,
) -> vk::Result {
    let real = device(handle);
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (real.raw.fp_v1_0().map_memory)(handle, memory, offset, size, flags, mapped) };
    if result != vk::Result::SUCCESS || !is(Deed::StaleMap) {
        return result;
    }
    if let Some(known) = tables().memories.get_mut(&(handle, memory)) {
        let length = if size == vk::WHOLE_SIZE { known.size.saturating_sub(offset) } else { size };
        // SAFETY: written by the call that succeeded.
        let start = unsafe { *mapped }.cast::<u8>();
        let mut copy = vec![0; length as usize];
        // SAFETY: the mapping is so long.
        unsafe { std::ptr::copy_nonoverlapping(start.cast_const(), copy.as_mut_ptr(), copy.len()) };
        // SAFETY: the caller's; a vector's bytes stay where they are when it moves.
        unsafe { *mapped = copy.as_mut_ptr().cast() };
        // Until something is submitted, nobody can have written what the snapshot lacks.
        known.snapshot = Some(Snapshot { real: start, copy, is_stale: false });
    }
    result
}

pub(crate) unsafe extern "system" fn unmap_memory(handle: vk::Device, memory: vk::DeviceMemory) {
    let snapshot = tables().memories.get_mut(&(handle, memory)).and_then(|known| known.snapshot.take());
    if let Some(Snapshot { real, copy, .. }) = snapshot {
        // SAFETY: still mapped, and as long as when the copy was made.
        unsafe { std::ptr::copy_nonoverlapping(copy.as_ptr(), real, copy.len()) };
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_0().unmap_memory)(handle, memory) };
}

/// Notes the memory of `buffer`, and where it is bound.
fn bound_at(handle: vk::Device, buffer: vk::Buffer, memory: vk::DeviceMemory, offset: u64) -> u64 {
    let mut tables = tables();
    let is_shared = tables.memories.contains_key(&(handle, memory));
    if is_shared {
        tables.buffers.insert((handle, buffer), memory);
    }
    if is(Deed::BufferBoundAtZero) && is_shared && offset != 0 {
        fired();
        return 0;
    }
    offset
}

pub(crate) unsafe extern "system" fn bind_buffer_memory(
    handle: vk::Device,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    offset: vk::DeviceSize,
) -> vk::Result {
    let offset = bound_at(handle, buffer, memory, offset);
    // SAFETY: the caller's contract is the real function's; 0 is a multiple of every alignment.
    unsafe { (device(handle).raw.fp_v1_0().bind_buffer_memory)(handle, buffer, memory, offset) }
}

pub(crate) unsafe extern "system" fn bind_buffer_memory2(
    handle: vk::Device,
    count: u32,
    infos: *const vk::BindBufferMemoryInfo<'_>,
) -> vk::Result {
    // SAFETY: the caller's list.
    let mut infos = unsafe { std::slice::from_raw_parts(infos, count as usize) }.to_vec();
    for info in &mut infos {
        info.memory_offset = bound_at(handle, info.buffer, info.memory, info.memory_offset);
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_1().bind_buffer_memory2)(handle, count, infos.as_ptr()) }
}
