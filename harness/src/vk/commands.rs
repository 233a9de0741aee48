#![expect(unsafe_code, reason = "records and submits command buffers")]
//! How work gets to the device, and how its end is waited for, with a deadline.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ash::vk;

use super::error::failed;
use super::gpu::Device;
use super::owned::Owned;
use crate::error::{Error, Result};

/// How long a submission may take; software drivers draw our largest picture in a small part of it.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Work that was submitted. Dropping it waits for its end, or abandons the device.
pub(super) struct Submission {
    fence: Owned<vk::Fence>,
    /// Holds the command buffer.
    _pool: Owned<vk::CommandPool>,
    op: &'static str,
    object: String,
    is_over: bool,
}

/// With what a submission is ordered, besides the submissions before it.
#[derive(Clone, Copy, Default)]
pub(super) struct Order<'a> {
    /// It begins after these.
    pub(super) wait: &'a [vk::Semaphore],
    /// They are signalled at its end.
    pub(super) signal: &'a [vk::Semaphore],
}

impl Submission {
    /// Records with `record` and submits; `op` and `object` name the work in errors.
    ///
    /// # Safety
    /// `record` records valid commands outside any rendering, on live objects of this device that stay
    /// alive until the submission is waited for or dropped. Semaphores to wait for have a signal that will come.
    pub(super) unsafe fn submit(
        device: &Arc<Device>,
        op: &'static str,
        object: String,
        order: Order<'_>,
        record: impl FnOnce(&ash::Device, vk::CommandBuffer),
    ) -> Result<Self> {
        if device.is_abandoned() {
            return Err(Error::missing(op, object, "the device is abandoned: earlier work missed its deadline"));
        }
        let fail = |call: &'static str| {
            let object = format!("{object}, for {op}");
            move |code| failed(call, object, code)
        };
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(device.queue_family);
        // SAFETY: the queue family is the one that the device was created with.
        let pool = unsafe { device.create_command_pool(&info, None) }.map_err(fail("vkCreateCommandPool"))?;
        // SAFETY: just created, owned by nobody else.
        let pool = unsafe { Owned::new(device, pool) };
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool.raw()).command_buffer_count(1);
        // SAFETY: the pool is live.
        let commands = unsafe { device.allocate_command_buffers(&info) }.map_err(fail("vkAllocateCommandBuffers"))?[0];
        // SAFETY: no precondition.
        let fence =
            unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }.map_err(fail("vkCreateFence"))?;
        // SAFETY: just created, owned by nobody else.
        let fence = unsafe { Owned::new(device, fence) };

        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the buffer is new.
        unsafe { device.begin_command_buffer(commands, &info) }.map_err(fail("vkBeginCommandBuffer"))?;
        record(device.raw(), commands);
        // SAFETY: recording, outside a rendering by the caller's contract.
        unsafe { device.end_command_buffer(commands) }.map_err(fail("vkEndCommandBuffer"))?;

        let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let (wait, signal) = (semaphores(order.wait), semaphores(order.signal));
        let submits = [vk::SubmitInfo2::default()
            .command_buffer_infos(&buffers)
            .wait_semaphore_infos(&wait)
            .signal_semaphore_infos(&signal)];
        let queue = device.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the buffer is executable, what it uses lives by the caller's contract; the lock is the
        // external synchronization of the queue; the fence is new.
        unsafe { device.queue_submit2(*queue, &submits, fence.raw()) }.map_err(fail("vkQueueSubmit2"))?;
        drop(queue);
        Ok(Self { fence, _pool: pool, op, object, is_over: false })
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It misses [`DEADLINE`], which abandons the device, or the device is lost.
    pub(super) fn wait(mut self) -> Result<()> {
        self.end()
    }

    /// Whether the end has come.
    pub(super) fn is_done(&self) -> Result<bool> {
        // SAFETY: the fence is live and was submitted.
        unsafe { self.fence.device().get_fence_status(self.fence.raw()) }
            .map_err(|code| failed("vkGetFenceStatus", self.described(), code))
    }

    fn end(&mut self) -> Result<()> {
        const OP: &str = "vkWaitForFences";
        if self.is_over {
            return Ok(());
        }
        self.is_over = true;
        let device = self.fence.device();
        // SAFETY: the fence is live and was submitted.
        let waited = unsafe { device.wait_for_fences(&[self.fence.raw()], true, DEADLINE.as_nanos() as u64) };
        match waited {
            Ok(()) => Ok(()),
            // A lost device has stopped: its objects may be destroyed.
            Err(code @ vk::Result::ERROR_DEVICE_LOST) => Err(failed(OP, self.described(), code)),
            Err(code) => {
                device.abandon();
                match code {
                    vk::Result::TIMEOUT => Err(Error::deadline(OP, self.described(), DEADLINE)),
                    _ => Err(failed(OP, self.described(), code)),
                }
            }
        }
    }

    fn described(&self) -> String {
        format!("{}, for {}", self.object, self.op)
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!("{error}");
        }
    }
}

/// Each of `all`, for all commands.
fn semaphores(all: &[vk::Semaphore]) -> Vec<vk::SemaphoreSubmitInfo<'static>> {
    let stage = vk::PipelineStageFlags2::ALL_COMMANDS;
    all.iter().map(|&semaphore| vk::SemaphoreSubmitInfo::default().semaphore(semaphore).stage_mask(stage)).collect()
}
