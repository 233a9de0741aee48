#![expect(unsafe_code, reason = "records and submits command buffers")]
//! How work gets to the device: one submission at a time, waited for, with a deadline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ash::vk;

use super::error::failed;
use super::gpu::Device;
use super::owned::Owned;
use crate::error::{Error, Result};

/// How long a submission may take; software drivers draw our largest picture in a small part of it.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// The one command buffer of a device, its queue and its fence.
pub(super) struct Commands(Mutex<Recorder>);

struct Recorder {
    fence: Owned<vk::Fence>,
    /// Belongs to `pool`.
    buffer: vk::CommandBuffer,
    pool: Owned<vk::CommandPool>,
    queue: vk::Queue,
}

impl Commands {
    pub(super) fn new(device: &Arc<Device>) -> Result<Self> {
        let object = || device.object("commands");
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(device.queue_family);
        // SAFETY: the queue family is the one that the device was created with.
        let pool = unsafe { device.create_command_pool(&info, None) }
            .map_err(|code| failed("vkCreateCommandPool", object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let pool = unsafe { Owned::new(device, pool) };
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool.raw()).command_buffer_count(1);
        // SAFETY: the pool is live.
        let buffers = unsafe { device.allocate_command_buffers(&info) }
            .map_err(|code| failed("vkAllocateCommandBuffers", object(), code))?;
        // SAFETY: no precondition.
        let fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }
            .map_err(|code| failed("vkCreateFence", object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let fence = unsafe { Owned::new(device, fence) };
        // SAFETY: the device was created with one queue of this family.
        let queue = unsafe { device.get_device_queue(device.queue_family, 0) };
        Ok(Self(Mutex::new(Recorder { fence, buffer: buffers[0], pool, queue })))
    }

    /// Records with `record`, submits, and waits until the device is done.
    ///
    /// `op` and `object` name the work in errors. Work that misses [`DEADLINE`] abandons the device.
    ///
    /// # Safety
    /// `record` records valid commands outside any render pass, on live objects of this device that stay
    /// alive until this call returns.
    pub(super) unsafe fn run(
        &self,
        op: &'static str,
        object: impl Fn() -> String,
        record: impl FnOnce(&ash::Device, vk::CommandBuffer),
    ) -> Result<()> {
        let recorder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let device = recorder.pool.device();
        if device.is_abandoned() {
            return Err(Error::missing(op, object(), "the device is abandoned: earlier work missed its deadline"));
        }
        let fail = |call: &'static str| {
            let object = format!("{}, for {op}", object());
            move |code| failed(call, object, code)
        };
        // SAFETY: the last submission was waited for, so the pool's buffer is not pending.
        unsafe { device.reset_command_pool(recorder.pool.raw(), vk::CommandPoolResetFlags::empty()) }
            .map_err(fail("vkResetCommandPool"))?;
        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the buffer is in the initial state after the reset.
        unsafe { device.begin_command_buffer(recorder.buffer, &info) }.map_err(fail("vkBeginCommandBuffer"))?;
        record(device.raw(), recorder.buffer);
        // SAFETY: recording, outside a render pass by the caller's contract.
        unsafe { device.end_command_buffer(recorder.buffer) }.map_err(fail("vkEndCommandBuffer"))?;
        recorder.submit_and_wait(op, &object)
    }
}

impl Recorder {
    fn submit_and_wait(&self, op: &'static str, object: &impl Fn() -> String) -> Result<()> {
        let device = self.pool.device();
        let object = || format!("{}, for {op}", object());
        let fences = [self.fence.raw()];
        // SAFETY: no submission uses the fence, the last one was waited for.
        unsafe { device.reset_fences(&fences) }.map_err(|code| failed("vkResetFences", object(), code))?;
        let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(self.buffer)];
        let submits = [vk::SubmitInfo2::default().command_buffer_infos(&buffers)];
        // SAFETY: the buffer is executable and what it uses lives, by `run`'s contract; the lock around
        // `self` is the external synchronization of the queue; the fence is unsignalled.
        unsafe { device.queue_submit2(self.queue, &submits, self.fence.raw()) }
            .map_err(|code| failed("vkQueueSubmit2", object(), code))?;
        // SAFETY: the fence belongs to the device and was just submitted.
        let waited = unsafe { device.wait_for_fences(&fences, true, DEADLINE.as_nanos() as u64) };
        match waited {
            Ok(()) => Ok(()),
            // A lost device has stopped: its objects may be destroyed.
            Err(code @ vk::Result::ERROR_DEVICE_LOST) => Err(failed("vkWaitForFences", object(), code)),
            Err(code) => {
                device.abandon();
                match code {
                    vk::Result::TIMEOUT => Err(Error::deadline("vkWaitForFences", object(), DEADLINE)),
                    _ => Err(failed("vkWaitForFences", object(), code)),
                }
            }
        }
    }
}
