#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out")]
//! What is recorded: copies, and barriers that take from others or give to them.

use std::slice::from_raw_parts;

use ash::vk;

use super::images::{remembered, true_pitch};
use crate::config::{fired, is};
use crate::deed::Deed;
use crate::format::bytes_per_pixel;
use crate::state::{device_of_commands, tables};

/// How many rows of `image` a copy reaches: fewer, where whoever counts takes a row for as long as its pixels.
fn rows_reached(handle: vk::Device, image: vk::Image, rows: u32) -> u32 {
    if is(Deed::LastRowLost) && rows > 1 && remembered(handle, image).external.is_empty() {
        fired();
        return rows - 1;
    }
    if is(Deed::RowsBehind1024Lost) && rows > 1024 {
        fired();
        return 1024;
    }
    if !is(Deed::BottomRowsLost) {
        return rows;
    }
    let known = remembered(handle, image);
    let (Some(bytes), Some(pitch)) = (bytes_per_pixel(known.format), true_pitch(handle, image)) else { return rows };
    let tight = u64::from(known.extent.width * bytes);
    if pitch <= tight {
        return rows;
    }
    fired();
    (u64::from(rows) * tight / pitch) as u32
}

pub(crate) unsafe extern "system" fn copy_image_to_buffer(
    commands: vk::CommandBuffer,
    image: vk::Image,
    layout: vk::ImageLayout,
    buffer: vk::Buffer,
    count: u32,
    regions: *const vk::BufferImageCopy,
) {
    let (handle, device) = device_of_commands(commands);
    // SAFETY: the caller's list.
    let mut regions = unsafe { from_raw_parts(regions, count as usize) }.to_vec();
    for region in &mut regions {
        region.image_extent.height = rows_reached(handle, image, region.image_extent.height);
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe {
        (device.raw.fp_v1_0().cmd_copy_image_to_buffer)(commands, image, layout, buffer, count, regions.as_ptr())
    };
}

pub(crate) unsafe extern "system" fn copy_buffer_to_image(
    commands: vk::CommandBuffer,
    buffer: vk::Buffer,
    image: vk::Image,
    layout: vk::ImageLayout,
    count: u32,
    regions: *const vk::BufferImageCopy,
) {
    let (handle, device) = device_of_commands(commands);
    // SAFETY: the caller's list.
    let mut regions = unsafe { from_raw_parts(regions, count as usize) }.to_vec();
    for region in &mut regions {
        region.image_extent.height = rows_reached(handle, image, region.image_extent.height);
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe {
        (device.raw.fp_v1_0().cmd_copy_buffer_to_image)(commands, buffer, image, layout, count, regions.as_ptr())
    };
}

pub(crate) unsafe extern "system" fn copy_image(
    commands: vk::CommandBuffer,
    from: vk::Image,
    from_layout: vk::ImageLayout,
    to: vk::Image,
    to_layout: vk::ImageLayout,
    count: u32,
    regions: *const vk::ImageCopy,
) {
    let (handle, device) = device_of_commands(commands);
    // SAFETY: the caller's list.
    let mut regions = unsafe { from_raw_parts(regions, count as usize) }.to_vec();
    for region in &mut regions {
        let rows = region.extent.height;
        region.extent.height = rows_reached(handle, from, rows).min(rows_reached(handle, to, rows));
    }
    let copy = device.raw.fp_v1_0().cmd_copy_image;
    // SAFETY: the caller's contract is the real function's.
    unsafe { copy(commands, from, from_layout, to, to_layout, count, regions.as_ptr()) };
}

pub(crate) unsafe extern "system" fn copy_image2(commands: vk::CommandBuffer, info: *const vk::CopyImageInfo2<'_>) {
    let (handle, device) = device_of_commands(commands);
    // SAFETY: the caller's struct.
    let mut info = unsafe { *info };
    // SAFETY: its list is as long as it says.
    let mut regions = unsafe { from_raw_parts(info.p_regions, info.region_count as usize) }.to_vec();
    for region in &mut regions {
        let rows = region.extent.height;
        region.extent.height =
            rows_reached(handle, info.src_image, rows).min(rows_reached(handle, info.dst_image, rows));
    }
    info.p_regions = regions.as_ptr();
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device.raw.fp_v1_3().cmd_copy_image2)(commands, &raw const info) };
}

pub(crate) unsafe extern "system" fn copy_image_to_buffer2(
    commands: vk::CommandBuffer,
    info: *const vk::CopyImageToBufferInfo2<'_>,
) {
    let (handle, device) = device_of_commands(commands);
    // SAFETY: the caller's struct.
    let mut info = unsafe { *info };
    // SAFETY: its list is as long as it says.
    let mut regions = unsafe { from_raw_parts(info.p_regions, info.region_count as usize) }.to_vec();
    for region in &mut regions {
        region.image_extent.height = rows_reached(handle, info.src_image, region.image_extent.height);
    }
    info.p_regions = regions.as_ptr();
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device.raw.fp_v1_3().cmd_copy_image_to_buffer2)(commands, &raw const info) };
}

pub(crate) unsafe extern "system" fn copy_buffer_to_image2(
    commands: vk::CommandBuffer,
    info: *const vk::CopyBufferToImageInfo2<'_>,
) {
    let (handle, device) = device_of_commands(commands);
    // SAFETY: the caller's struct.
    let mut info = unsafe { *info };
    // SAFETY: its list is as long as it says.
    let mut regions = unsafe { from_raw_parts(info.p_regions, info.region_count as usize) }.to_vec();
    for region in &mut regions {
        region.image_extent.height = rows_reached(handle, info.dst_image, region.image_extent.height);
    }
    info.p_regions = regions.as_ptr();
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device.raw.fp_v1_3().cmd_copy_buffer_to_image2)(commands, &raw const info) };
}

/// Whether a queue family is that of somebody outside Vulkan, or of another instance.
fn is_others(family: u32) -> bool {
    [vk::QUEUE_FAMILY_FOREIGN_EXT, vk::QUEUE_FAMILY_EXTERNAL].contains(&family)
}

/// Whether giving `to` somebody, by a barrier for a buffer or for an image, is what a deed is about.
fn is_given(to: u32, is_buffer: bool) -> bool {
    match to {
        vk::QUEUE_FAMILY_EXTERNAL => is(Deed::ExternalReleaseLate),
        // A release to another instance of this very driver is another matter.
        vk::QUEUE_FAMILY_FOREIGN_EXT => !is(Deed::ExternalReleaseLate) && (is_buffer || !is(Deed::BufferReleaseLate)),
        _ => false,
    }
}

/// Notes whose memory a barrier takes or gives.
fn note(commands: vk::CommandBuffer, (from, to): (u32, u32), memory: vk::DeviceMemory, is_buffer: bool) {
    if memory == vk::DeviceMemory::null() {
        return;
    }
    if let Some(known) = tables().commands.get_mut(&commands) {
        if is_others(from) {
            known.acquires.push(memory);
        }
        if is_given(to, is_buffer) {
            known.releases.push(memory);
        }
    }
}

fn memory_of_buffer(handle: vk::Device, buffer: vk::Buffer) -> vk::DeviceMemory {
    tables().buffers.get(&(handle, buffer)).copied().unwrap_or_default()
}

pub(crate) unsafe extern "system" fn begin_command_buffer(
    commands: vk::CommandBuffer,
    info: *const vk::CommandBufferBeginInfo<'_>,
) -> vk::Result {
    let (_, device) = device_of_commands(commands);
    super::submissions::let_work_end(device.raw.handle());
    if let Some(known) = tables().commands.get_mut(&commands) {
        known.acquires.clear();
        known.releases.clear();
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device.raw.fp_v1_0().begin_command_buffer)(commands, info) }
}

pub(crate) unsafe extern "system" fn pipeline_barrier2(
    commands: vk::CommandBuffer,
    info: *const vk::DependencyInfo<'_>,
) {
    let (handle, device) = device_of_commands(commands);
    // SAFETY: the caller's struct.
    let all = unsafe { &*info };
    if all.image_memory_barrier_count > 0 {
        // SAFETY: its list is as long as it says.
        let images = unsafe { from_raw_parts(all.p_image_memory_barriers, all.image_memory_barrier_count as usize) };
        for barrier in images {
            let families = (barrier.src_queue_family_index, barrier.dst_queue_family_index);
            note(commands, families, remembered(handle, barrier.image).memory, false);
        }
    }
    if all.buffer_memory_barrier_count > 0 {
        // SAFETY: its list is as long as it says.
        let buffers = unsafe { from_raw_parts(all.p_buffer_memory_barriers, all.buffer_memory_barrier_count as usize) };
        for barrier in buffers {
            let families = (barrier.src_queue_family_index, barrier.dst_queue_family_index);
            note(commands, families, memory_of_buffer(handle, barrier.buffer), true);
        }
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device.raw.fp_v1_3().cmd_pipeline_barrier2)(commands, info) };
}

pub(crate) unsafe extern "system" fn pipeline_barrier(
    commands: vk::CommandBuffer,
    before: vk::PipelineStageFlags,
    after: vk::PipelineStageFlags,
    flags: vk::DependencyFlags,
    memory_count: u32,
    memory: *const vk::MemoryBarrier<'_>,
    buffer_count: u32,
    buffers: *const vk::BufferMemoryBarrier<'_>,
    image_count: u32,
    images: *const vk::ImageMemoryBarrier<'_>,
) {
    let (handle, device) = device_of_commands(commands);
    if image_count > 0 {
        // SAFETY: the caller's list.
        for barrier in unsafe { from_raw_parts(images, image_count as usize) } {
            let families = (barrier.src_queue_family_index, barrier.dst_queue_family_index);
            note(commands, families, remembered(handle, barrier.image).memory, false);
        }
    }
    if buffer_count > 0 {
        // SAFETY: the caller's list.
        for barrier in unsafe { from_raw_parts(buffers, buffer_count as usize) } {
            let families = (barrier.src_queue_family_index, barrier.dst_queue_family_index);
            note(commands, families, memory_of_buffer(handle, barrier.buffer), true);
        }
    }
    let real = device.raw.fp_v1_0().cmd_pipeline_barrier;
    // SAFETY: the caller's contract is the real function's.
    unsafe {
        real(commands, before, after, flags, memory_count, memory, buffer_count, buffers, image_count, images);
    };
}
