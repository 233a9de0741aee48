#![expect(unsafe_code, reason = "makes functions of many types into one, as a driver hands them out")]
//! Which functions are ours? All others are the real driver's own.

use std::ffi::CStr;
use std::mem::transmute;

use ash::vk;

use crate::deeds::{commands, counted, images, memory, objects, opaque, queries, semaphores, submissions};

type Function = unsafe extern "system" fn();

macro_rules! table {
    ($($type:ident: $($name:literal),+ => $function:path;)+) => {
        /// Our function of this name.
        pub(crate) fn of(name: &CStr) -> Option<Function> {
            match name.to_str().ok()? {
                $($($name)|+ => {
                    let function: vk::$type = $function;
                    // SAFETY: function pointers are alike; who calls it takes it for what its name says.
                    Some(unsafe { transmute::<vk::$type, Function>(function) })
                })+
                _ => None,
            }
        }
    };
}

table! {
    PFN_vkCreateInstance: "vkCreateInstance" => objects::create_instance;
    PFN_vkDestroyInstance: "vkDestroyInstance" => objects::destroy_instance;
    PFN_vkEnumeratePhysicalDevices: "vkEnumeratePhysicalDevices" => queries::enumerate_physical_devices;
    PFN_vkCreateDevice: "vkCreateDevice" => objects::create_device;
    PFN_vkDestroyDevice: "vkDestroyDevice" => objects::destroy_device;
    PFN_vkGetDeviceProcAddr: "vkGetDeviceProcAddr" => objects::get_device_proc_addr;
    PFN_vkGetDeviceQueue: "vkGetDeviceQueue" => objects::get_device_queue;
    PFN_vkGetDeviceQueue2: "vkGetDeviceQueue2" => objects::get_device_queue2;
    PFN_vkAllocateCommandBuffers: "vkAllocateCommandBuffers" => objects::allocate_command_buffers;

    PFN_vkGetPhysicalDeviceProperties: "vkGetPhysicalDeviceProperties" => queries::get_properties;
    PFN_vkGetPhysicalDeviceProperties2:
        "vkGetPhysicalDeviceProperties2", "vkGetPhysicalDeviceProperties2KHR" => queries::get_properties2;
    PFN_vkGetPhysicalDeviceMemoryProperties:
        "vkGetPhysicalDeviceMemoryProperties" => queries::get_memory_properties;
    PFN_vkGetPhysicalDeviceMemoryProperties2:
        "vkGetPhysicalDeviceMemoryProperties2", "vkGetPhysicalDeviceMemoryProperties2KHR"
        => queries::get_memory_properties2;
    PFN_vkGetPhysicalDeviceFormatProperties2:
        "vkGetPhysicalDeviceFormatProperties2", "vkGetPhysicalDeviceFormatProperties2KHR"
        => queries::get_format_properties2;
    PFN_vkGetPhysicalDeviceImageFormatProperties2:
        "vkGetPhysicalDeviceImageFormatProperties2", "vkGetPhysicalDeviceImageFormatProperties2KHR"
        => queries::get_image_format_properties2;

    PFN_vkGetPhysicalDeviceExternalSemaphoreProperties:
        "vkGetPhysicalDeviceExternalSemaphoreProperties", "vkGetPhysicalDeviceExternalSemaphorePropertiesKHR"
        => opaque::get_external_semaphore_properties;
    PFN_vkGetPhysicalDeviceExternalFenceProperties:
        "vkGetPhysicalDeviceExternalFenceProperties", "vkGetPhysicalDeviceExternalFencePropertiesKHR"
        => opaque::get_external_fence_properties;

    PFN_vkCreateImage: "vkCreateImage" => images::create_image;
    PFN_vkDestroyImage: "vkDestroyImage" => images::destroy_image;
    PFN_vkGetImageSubresourceLayout: "vkGetImageSubresourceLayout" => images::get_image_subresource_layout;
    PFN_vkGetImageSubresourceLayout2KHR:
        "vkGetImageSubresourceLayout2", "vkGetImageSubresourceLayout2KHR", "vkGetImageSubresourceLayout2EXT"
        => images::get_image_subresource_layout2;
    PFN_vkGetImageDrmFormatModifierPropertiesEXT:
        "vkGetImageDrmFormatModifierPropertiesEXT" => images::get_image_drm_format_modifier_properties;
    PFN_vkGetImageMemoryRequirements: "vkGetImageMemoryRequirements" => images::get_image_memory_requirements;
    PFN_vkGetImageMemoryRequirements2:
        "vkGetImageMemoryRequirements2", "vkGetImageMemoryRequirements2KHR" => images::get_image_memory_requirements2;
    PFN_vkGetBufferMemoryRequirements: "vkGetBufferMemoryRequirements" => images::get_buffer_memory_requirements;
    PFN_vkGetBufferMemoryRequirements2:
        "vkGetBufferMemoryRequirements2", "vkGetBufferMemoryRequirements2KHR"
        => images::get_buffer_memory_requirements2;
    PFN_vkCreateImageView: "vkCreateImageView" => images::create_image_view;
    PFN_vkBindImageMemory: "vkBindImageMemory" => images::bind_image_memory;
    PFN_vkBindImageMemory2: "vkBindImageMemory2", "vkBindImageMemory2KHR" => images::bind_image_memory2;

    PFN_vkAllocateMemory: "vkAllocateMemory" => memory::allocate_memory;
    PFN_vkFreeMemory: "vkFreeMemory" => memory::free_memory;
    PFN_vkGetMemoryFdKHR: "vkGetMemoryFdKHR" => memory::get_memory_fd;
    PFN_vkGetMemoryFdPropertiesKHR: "vkGetMemoryFdPropertiesKHR" => memory::get_memory_fd_properties;
    PFN_vkMapMemory: "vkMapMemory" => memory::map_memory;
    PFN_vkUnmapMemory: "vkUnmapMemory" => memory::unmap_memory;
    PFN_vkBindBufferMemory: "vkBindBufferMemory" => memory::bind_buffer_memory;
    PFN_vkBindBufferMemory2: "vkBindBufferMemory2", "vkBindBufferMemory2KHR" => memory::bind_buffer_memory2;

    PFN_vkBeginCommandBuffer: "vkBeginCommandBuffer" => commands::begin_command_buffer;
    PFN_vkCmdCopyImageToBuffer: "vkCmdCopyImageToBuffer" => commands::copy_image_to_buffer;
    PFN_vkCmdCopyBufferToImage: "vkCmdCopyBufferToImage" => commands::copy_buffer_to_image;
    PFN_vkCmdCopyImage: "vkCmdCopyImage" => commands::copy_image;
    PFN_vkCmdCopyImage2: "vkCmdCopyImage2", "vkCmdCopyImage2KHR" => commands::copy_image2;
    PFN_vkCmdCopyImageToBuffer2:
        "vkCmdCopyImageToBuffer2", "vkCmdCopyImageToBuffer2KHR" => commands::copy_image_to_buffer2;
    PFN_vkCmdCopyBufferToImage2:
        "vkCmdCopyBufferToImage2", "vkCmdCopyBufferToImage2KHR" => commands::copy_buffer_to_image2;
    PFN_vkCmdPipelineBarrier: "vkCmdPipelineBarrier" => commands::pipeline_barrier;
    PFN_vkCmdPipelineBarrier2: "vkCmdPipelineBarrier2", "vkCmdPipelineBarrier2KHR" => commands::pipeline_barrier2;

    PFN_vkQueueSubmit: "vkQueueSubmit" => submissions::queue_submit;
    PFN_vkQueueSubmit2: "vkQueueSubmit2", "vkQueueSubmit2KHR" => submissions::queue_submit2;
    PFN_vkWaitForFences: "vkWaitForFences" => submissions::wait_for_fences;
    PFN_vkResetFences: "vkResetFences" => submissions::reset_fences;
    PFN_vkResetCommandPool: "vkResetCommandPool" => submissions::reset_command_pool;
    PFN_vkDestroyImageView: "vkDestroyImageView" => submissions::destroy_image_view;
    PFN_vkDestroyBuffer: "vkDestroyBuffer" => submissions::destroy_buffer;
    PFN_vkDestroyPipeline: "vkDestroyPipeline" => submissions::destroy_pipeline;
    PFN_vkDestroyDescriptorPool: "vkDestroyDescriptorPool" => submissions::destroy_descriptor_pool;
    PFN_vkDestroySampler: "vkDestroySampler" => submissions::destroy_sampler;
    PFN_vkDestroyFence: "vkDestroyFence" => semaphores::destroy_fence;
    PFN_vkDestroyCommandPool: "vkDestroyCommandPool" => submissions::destroy_command_pool;

    PFN_vkCreateSemaphore: "vkCreateSemaphore" => opaque::create_semaphore;
    PFN_vkCreateFence: "vkCreateFence" => opaque::create_fence;
    PFN_vkGetFenceStatus: "vkGetFenceStatus" => counted::get_fence_status;
    PFN_vkSignalSemaphore: "vkSignalSemaphore", "vkSignalSemaphoreKHR" => counted::signal_semaphore;
    PFN_vkWaitSemaphores: "vkWaitSemaphores", "vkWaitSemaphoresKHR" => counted::wait_semaphores;
    PFN_vkGetSemaphoreCounterValue:
        "vkGetSemaphoreCounterValue", "vkGetSemaphoreCounterValueKHR" => counted::get_semaphore_counter_value;
    PFN_vkImportSemaphoreFdKHR: "vkImportSemaphoreFdKHR" => semaphores::import_semaphore_fd;
    PFN_vkGetSemaphoreFdKHR: "vkGetSemaphoreFdKHR" => semaphores::get_semaphore_fd;
    PFN_vkImportFenceFdKHR: "vkImportFenceFdKHR" => semaphores::import_fence_fd;
    PFN_vkGetFenceFdKHR: "vkGetFenceFdKHR" => semaphores::get_fence_fd;
    PFN_vkDestroySemaphore: "vkDestroySemaphore" => semaphores::destroy_semaphore;
}
