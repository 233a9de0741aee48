#![expect(unsafe_code, reason = "records and submits command buffers")]
//! How work gets to the device, and how its end is waited for, with a deadline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ash::vk;

use super::error::failed;
use super::gpu::Device;
use super::owned::Owned;
use crate::error::{Error, Result};
use crate::ledger;
use crate::ledger::objects::cached;

/// How long a submission may take; software drivers draw our largest picture in a small part of it.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

const WAIT: &str = "vkWaitForFences";

/// Work that was submitted. Dropping it waits for its end, or abandons the device.
pub(super) struct Submission {
    /// `None` once the end has come.
    recorder: Option<Recorder>,
    op: &'static str,
    object: String,
    deadline: Duration,
    /// What it waits for that others signal, in words.
    files: String,
}

/// A command buffer, with its pool, and a fence for its end.
struct Recorder {
    fence: Owned<vk::Fence>,
    pool: Owned<vk::CommandPool>,
    commands: vk::CommandBuffer,
}

/// Those that no submission uses: making one costs as much as a small submission does.
#[derive(Default)]
pub(super) struct Recorders(Mutex<Vec<Recorder>>);

impl Recorders {
    /// Forgets them, so that their device can go: each holds on to it.
    pub(super) fn clear(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Recorder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// One that nobody uses, ready to record: its pool was reset when its submission had ended.
    fn take(device: &Arc<Device>) -> Result<Self, (&'static str, vk::Result)> {
        let idle = device.recorders.idle().pop();
        let Some(recorder) = idle else { return cached(|| Self::create(device)) };
        // SAFETY: the fence is live, and its submission was waited for.
        unsafe { device.reset_fences(&[recorder.fence.raw()]) }.map_err(|code| ("vkResetFences", code))?;
        Ok(recorder)
    }

    fn create(device: &Arc<Device>) -> Result<Self, (&'static str, vk::Result)> {
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(device.queue_family);
        // SAFETY: the queue family is the one that the device was created with.
        let pool = unsafe { device.create_command_pool(&info, None) }.map_err(|code| ("vkCreateCommandPool", code))?;
        // SAFETY: just created, owned by nobody else.
        let pool = unsafe { Owned::new(device, pool) };
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool.raw()).command_buffer_count(1);
        // SAFETY: the pool is live.
        let commands =
            unsafe { device.allocate_command_buffers(&info) }.map_err(|code| ("vkAllocateCommandBuffers", code))?[0];
        // SAFETY: no precondition.
        let fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }
            .map_err(|code| ("vkCreateFence", code))?;
        // SAFETY: just created, owned by nobody else.
        let fence = unsafe { Owned::new(device, fence) };
        Ok(Self { fence, pool, commands })
    }
}

/// With what a submission is ordered, besides the submissions before it.
#[derive(Clone, Copy, Default)]
pub(super) struct Order<'a> {
    /// It begins after these; one with a counter is waited for until it gets to this value.
    pub(super) wait: &'a [(vk::Semaphore, u64)],
    /// They are signalled at its end; one with a counter gets to this value.
    pub(super) signal: &'a [(vk::Semaphore, u64)],
    /// Files that the semaphores before it stand for, in words.
    pub(super) files: &'a str,
}

impl Submission {
    /// Records with `record` and submits; `op` and `object` name the work in errors.
    ///
    /// # Safety
    /// `record` records valid commands outside any rendering, on live objects of this device that stay
    /// alive until the submission is waited for or dropped. Semaphores to wait for have a signal that will come, if need be by
    /// the program.
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
            move |code| failed(call, object, device.heeded(code))
        };
        let recorder = Recorder::take(device).map_err(|(call, code)| fail(call)(code))?;
        let (commands, fence) = (recorder.commands, recorder.fence.raw());
        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the buffer is new, or was reset.
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
        let _call = ledger::calling("vkQueueSubmit2", format_args!("{object}, for {op}"));
        // SAFETY: the buffer is executable, what it uses lives by the caller's contract; the lock is the
        // external synchronization of the queue; the fence is new, or was reset.
        unsafe { device.queue_submit2(*queue, &submits, fence) }.map_err(fail("vkQueueSubmit2"))?;
        drop(queue);
        Ok(Self { recorder: Some(recorder), op, object, deadline: DEADLINE, files: order.files.to_owned() })
    }

    /// The end may take so long to come, and not [`DEADLINE`].
    pub(super) fn may_take(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It misses its deadline, which abandons the device, or the device is lost.
    pub(super) fn wait(mut self) -> Result<()> {
        self.end()
    }

    /// Whether the end has come.
    pub(super) fn is_done(&self) -> Result<bool> {
        let Some(Recorder { fence, .. }) = &self.recorder else { return Ok(true) };
        // SAFETY: the fence is live and was submitted.
        unsafe { fence.device().get_fence_status(fence.raw()) }
            .map_err(|code| failed("vkGetFenceStatus", self.described(), fence.device().heeded(code)))
    }

    fn end(&mut self) -> Result<()> {
        let Some(recorder) = self.recorder.take() else { return Ok(()) };
        let device = Arc::clone(recorder.fence.device());
        let _call = ledger::calling("vkWaitForFences", self.described());
        // SAFETY: the fence is live and was submitted.
        let waited = unsafe { device.wait_for_fences(&[recorder.fence.raw()], true, self.deadline.as_nanos() as u64) };
        match waited.map_err(|code| device.heeded(code)) {
            Ok(()) => {
                // Now, and not when it is used again: the commands of long work take many megabytes.
                // SAFETY: the pool is live, and the submission of its one buffer was waited for.
                unsafe { device.reset_command_pool(recorder.pool.raw(), vk::CommandPoolResetFlags::empty()) }
                    .map_err(|code| failed("vkResetCommandPool", self.described(), device.heeded(code)))?;
                device.recorders.idle().push(recorder);
                Ok(())
            }
            // A lost device has stopped: its objects may be destroyed.
            Err(code @ vk::Result::ERROR_DEVICE_LOST) => Err(failed(WAIT, self.described(), code)),
            Err(code) => {
                device.abandon();
                match code {
                    vk::Result::TIMEOUT => Err(self.late(self.deadline)),
                    _ => Err(failed(WAIT, self.described(), code)),
                }
            }
        }
    }

    /// What is said when the end did not come within `patience`.
    pub(super) fn late(&self, patience: Duration) -> Error {
        let waits = if self.files.is_empty() { String::new() } else { format!(", which waits for {}", self.files) };
        Error::deadline(WAIT, format!("{}{waits}", self.described()), patience)
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

/// Each of `all`, before or after all commands; the value counts where there is a counter.
pub(super) fn semaphores(all: &[(vk::Semaphore, u64)]) -> Vec<vk::SemaphoreSubmitInfo<'static>> {
    let info = vk::SemaphoreSubmitInfo::default().stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS);
    all.iter().map(|&(semaphore, value)| info.semaphore(semaphore).value(value)).collect()
}
