#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out")]
//! Instances, devices, queues and command buffers: handed on, and remembered.

use std::ffi::{CStr, c_char};
use std::sync::Arc;

use ash::vk;

use crate::state::{Commands, device, load_device, load_instance, tables};
use crate::{proxies, real};

type Allocator<'a> = *const vk::AllocationCallbacks<'a>;

pub(crate) unsafe extern "system" fn create_instance(
    info: *const vk::InstanceCreateInfo<'_>,
    allocator: Allocator<'_>,
    made: *mut vk::Instance,
) -> vk::Result {
    let Some(library) = real::library() else { return vk::Result::ERROR_INITIALIZATION_FAILED };
    // SAFETY: `vkCreateInstance` is asked of no instance.
    let create = unsafe { (library.get_instance_proc_addr)(vk::Instance::null(), c"vkCreateInstance".as_ptr()) };
    let Some(create) = create else { return vk::Result::ERROR_INITIALIZATION_FAILED };
    // SAFETY: the function has the type that its name says.
    let create = unsafe { std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkCreateInstance>(create) };
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { create(info, allocator, made) };
    if result == vk::Result::SUCCESS {
        // SAFETY: written by the call that succeeded.
        let instance = unsafe { *made };
        // SAFETY: the real driver made it just now.
        let functions = unsafe { load_instance(library, instance) };
        tables().instances.insert(instance, Arc::new(functions));
    }
    result
}

pub(crate) unsafe extern "system" fn destroy_instance(instance: vk::Instance, allocator: Allocator<'_>) {
    let Some(functions) = tables().instances.remove(&instance) else { return };
    // SAFETY: the caller's contract is the real function's.
    unsafe { (functions.fp_v1_0().destroy_instance)(instance, allocator) };
}

pub(crate) unsafe extern "system" fn create_device(
    physical: vk::PhysicalDevice,
    info: *const vk::DeviceCreateInfo<'_>,
    allocator: Allocator<'_>,
    made: *mut vk::Device,
) -> vk::Result {
    let instance = crate::state::any_instance();
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (instance.fp_v1_0().create_device)(physical, info, allocator, made) };
    if result == vk::Result::SUCCESS {
        // SAFETY: written by the call that succeeded.
        let handle = unsafe { *made };
        // SAFETY: the real driver made it just now.
        let functions = unsafe { load_device(&instance, handle) };
        tables().devices.insert(handle, Arc::new(functions));
    }
    result
}

pub(crate) unsafe extern "system" fn destroy_device(handle: vk::Device, allocator: Allocator<'_>) {
    if handle == vk::Device::null() {
        return;
    }
    super::submissions::let_work_end(handle);
    let Some(functions) = tables().devices.remove(&handle) else { return };
    super::opaque::forget_device(handle, &functions);
    for (_, fence) in tables().fences.extract_if(.., |(of, _)| *of == handle) {
        // SAFETY: ours, and whoever destroys a device has waited for its work.
        unsafe { functions.raw.destroy_fence(fence, None) };
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (functions.raw.fp_v1_0().destroy_device)(handle, allocator) };
    let mut tables = tables();
    tables.queues.retain(|_, of| *of != handle);
    tables.commands.retain(|_, commands| commands.device != handle);
    tables.images.retain(|(of, _), _| *of != handle);
    tables.buffers.retain(|(of, _), _| *of != handle);
    tables.memories.retain(|(of, _), _| *of != handle);
    tables.ends.retain(|(of, _), _| *of != handle);
    tables.awaited.retain(|(of, _)| *of != handle);
    tables.minus_one.retain(|(of, _)| *of != handle);
    tables.hurried.retain(|of| *of != handle);
    tables.stays.retain(|(of, _), _| *of != handle);
    tables.sync_fds.retain(|(of, _), _| *of != handle);
    tables.views.retain(|(of, _), _| *of != handle);
    tables.resets.retain(|(of, ..)| *of != handle);
}

pub(crate) unsafe extern "system" fn get_device_proc_addr(
    handle: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    let of = crate::state::any_instance().fp_v1_0().get_device_proc_addr;
    // SAFETY: the caller's contract is the real function's.
    let real = unsafe { of(handle, name) }?;
    // SAFETY: a name ends with NUL.
    Some(proxies::of(unsafe { CStr::from_ptr(name) }).unwrap_or(real))
}

pub(crate) unsafe extern "system" fn get_device_queue(
    handle: vk::Device,
    family: u32,
    index: u32,
    queue: *mut vk::Queue,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_0().get_device_queue)(handle, family, index, queue) };
    // SAFETY: written by the call.
    tables().queues.insert(unsafe { *queue }, handle);
}

pub(crate) unsafe extern "system" fn get_device_queue2(
    handle: vk::Device,
    info: *const vk::DeviceQueueInfo2<'_>,
    queue: *mut vk::Queue,
) {
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_1().get_device_queue2)(handle, info, queue) };
    // SAFETY: written by the call.
    tables().queues.insert(unsafe { *queue }, handle);
}

pub(crate) unsafe extern "system" fn allocate_command_buffers(
    handle: vk::Device,
    info: *const vk::CommandBufferAllocateInfo<'_>,
    made: *mut vk::CommandBuffer,
) -> vk::Result {
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (device(handle).raw.fp_v1_0().allocate_command_buffers)(handle, info, made) };
    if result == vk::Result::SUCCESS {
        // SAFETY: the caller's.
        let count = unsafe { (*info).command_buffer_count } as usize;
        // SAFETY: the call wrote so many.
        let made = unsafe { std::slice::from_raw_parts(made, count) };
        let new = || Commands { device: handle, acquires: Vec::new(), releases: Vec::new() };
        tables().commands.extend(made.iter().map(|commands| (*commands, new())));
    }
    result
}
