#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out")]
//! Work that is submitted, and waited for.

use std::slice::from_raw_parts;
use std::sync::Arc;
use std::time::Instant;

use ash::vk;
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use super::counted;
use super::semaphores::{hold_up, note_waits};
use crate::config::{fired, is};
use crate::deed::Deed;
use crate::mapping::Mapping;
use crate::state::{RealDevice, device, device_of_queue, tables};

/// Bytes at the end of what was written that stay in a cache.
const TAIL: usize = 64;

/// Waits for what somebody believes to be over, before it is taken away.
pub(crate) fn let_work_end(handle: vk::Device) {
    let hurried = {
        let mut tables = tables();
        let before = tables.hurried.len();
        tables.hurried.retain(|other| *other != handle);
        before != tables.hurried.len()
    };
    if hurried {
        // SAFETY: a live device; who destroys an object of it does not use its queue meanwhile.
        let _ = unsafe { device(handle).raw.device_wait_idle() };
        let all = std::mem::take(&mut tables().resets);
        let (due, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(of, ..)| *of == handle);
        tables().resets = others;
        for (_, pool, flags) in due {
            // SAFETY: a live pool of this device, which is idle; who asked for this has not used it since.
            let _ = unsafe { device(handle).raw.reset_command_pool(pool, flags) };
        }
    }
}

/// What a submission is about, as far as a deed depends on it.
struct Work {
    waits: Vec<vk::Semaphore>,
    commands: Vec<vk::CommandBuffer>,
    signals: Vec<vk::Semaphore>,
}

/// The deeds that change what a submission gives to others.
const RELEASES: [Deed; 6] = [
    Deed::ReleaseLate,
    Deed::ExternalReleaseLate,
    Deed::BufferReleaseLate,
    Deed::ReleaseDiscards,
    Deed::TailNotFlushed,
    Deed::RowsBehindWritten,
];

/// Memory that a submission took from others, with what was there and what a cache had in its place.
struct Had {
    memory: vk::DeviceMemory,
    bytes: Arc<Mapping>,
    current: Vec<u8>,
    cached: Option<Vec<u8>>,
}

impl Had {
    /// The submission is over: what was only read of a cache is in the memory as it was, and the cache has what is there now.
    fn ends(self, handle: vk::Device) {
        let mut after = self.bytes.bytes();
        if let Some(cached) = self.cached.filter(|_| !is(Deed::AcquireBringsBack)) {
            for ((after, cached), current) in after.iter_mut().zip(&cached).zip(&self.current) {
                if *after == *cached {
                    *after = *current;
                }
            }
            self.bytes.write(0, &after);
        }
        if !is(Deed::ViewStale)
            && let Some(known) = tables().memories.get_mut(&(handle, self.memory))
        {
            known.cached = Some(after);
        }
    }
}

/// Hands `work` on by `submit`, with what happens before and after.
fn submitted(queue: vk::Queue, work: &Work, submit: impl FnOnce(&RealDevice) -> vk::Result) -> vk::Result {
    let (handle, real) = device_of_queue(queue);
    hold_up(handle, &work.waits);
    note_waits(handle, &work.waits);
    let mut released: Vec<(vk::DeviceMemory, Arc<Mapping>, Vec<u8>)> = Vec::new();
    let mut had: Vec<Had> = Vec::new();
    {
        let mut tables = tables();
        for ((_, _), known) in tables.memories.iter_mut().filter(|((of, _), _)| *of == handle) {
            if let (Some((old, new)), Some(bytes)) = (known.late.take(), &known.bytes) {
                bytes.write_changed(&old, &new);
            }
        }
        let shared = tables
            .memories
            .iter_mut()
            .filter(|((of, _), known)| *of == handle && (known.imported_by.is_some() || known.exported_as.is_some()));
        for snapshot in shared.filter_map(|(_, known)| known.snapshot.as_mut()) {
            if !std::mem::replace(&mut snapshot.is_stale, true) {
                fired();
            }
        }
        // What waits for others can't be waited for here.
        let commands = work.commands.iter().filter(|_| work.waits.is_empty());
        let commands = commands.filter_map(|commands| tables.commands.get(commands));
        let bytes = |memory: &vk::DeviceMemory| tables.memories.get(&(handle, *memory))?.bytes.clone();
        if is(Deed::AcquireBringsBack) || is(Deed::AcquireStale) || is(Deed::ViewStale) {
            let (taken, given): (Vec<_>, Vec<_>) =
                commands.map(|commands| (commands.acquires.clone(), commands.releases.clone())).unzip();
            let (taken, given) = (taken.concat(), given.concat());
            for memory in taken {
                let Some(known) = tables.memories.get(&(handle, memory)) else { continue };
                let Some(bytes) = known.bytes.clone() else { continue };
                let (current, mut cached) = (bytes.bytes(), known.cached.clone());
                // A copy looks at the memory, and not through a view.
                cached.take_if(|cached| *cached == current || (is(Deed::ViewStale) && known.views == 0));
                if let Some(cached) = &cached {
                    fired();
                    bytes.write(0, cached);
                }
                had.push(Had { memory, bytes, current, cached });
            }
            // What it gives away it has seen last, too.
            for memory in given {
                let bytes = tables.memories.get(&(handle, memory)).and_then(|known| known.bytes.clone());
                if let Some(bytes) = bytes.filter(|_| had.iter().all(|had| had.memory != memory)) {
                    had.push(Had { memory, bytes, current: Vec::new(), cached: None });
                }
            }
        } else if is(Deed::AcquireDiscards) {
            for mapping in commands.flat_map(|commands| &commands.acquires).filter_map(bytes) {
                fired();
                mapping.write(0, &vec![0xdd; mapping.len()]);
            }
        } else if RELEASES.into_iter().any(is) {
            let memories = commands.flat_map(|commands| &commands.releases);
            released = memories
                .filter_map(|memory| {
                    let mapping = bytes(memory)?;
                    let before = mapping.bytes();
                    Some((*memory, mapping, before))
                })
                .collect();
        }
    }
    let result = submit(&real);
    if result == vk::Result::SUCCESS && is(Deed::ExportedFenceEarly) && !work.signals.is_empty() {
        note_end(&real, (handle, queue), &work.signals);
    }
    if result != vk::Result::SUCCESS || (released.is_empty() && had.is_empty()) {
        return result;
    }
    // SAFETY: the queue is the caller's for the length of the call.
    let _ = unsafe { real.raw.queue_wait_idle(queue) };
    had.into_iter().for_each(|had| had.ends(handle));
    for (memory, mapping, before) in released {
        let after = mapping.bytes();
        let Some(last) = before.iter().zip(&after).rposition(|(before, after)| before != after) else { continue };
        fired();
        if is(Deed::ReleaseDiscards) {
            mapping.write(0, &vec![0xdd; mapping.len()]);
            continue;
        }
        if is(Deed::RowsBehindWritten) {
            mapping.write(last + 1, &[0xee; TAIL]);
            continue;
        }
        if is(Deed::TailNotFlushed) {
            let first = (last + 1).saturating_sub(TAIL);
            mapping.write(first, &before[first..=last]);
            continue;
        }
        mapping.write_changed(&after, &before);
        if let Some(known) = tables().memories.get_mut(&(handle, memory)) {
            known.late = Some((before, after));
        }
    }
    result
}

/// Notes a fence that signals when all that was submitted to `queue` is over, for the semaphores that signal then, too.
///
/// The caller's own may be reset or gone by the time that somebody asks.
fn note_end(real: &RealDevice, (handle, queue): (vk::Device, vk::Queue), signals: &[vk::Semaphore]) {
    // SAFETY: a live device.
    let Ok(end) = (unsafe { real.raw.create_fence(&vk::FenceCreateInfo::default(), None) }) else { return };
    let mut tables = tables();
    // It lives as long as the device, which is used by few cases.
    tables.fences.push((handle, end));
    // SAFETY: the queue is the caller's for the length of the call, and the fence was made just now.
    if unsafe { real.raw.queue_submit(queue, &[], end) }.is_ok() {
        tables.ends.extend(signals.iter().map(|semaphore| ((handle, *semaphore), end)));
    }
}

pub(crate) unsafe extern "system" fn queue_submit2(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let mut work = Work { waits: Vec::new(), commands: Vec::new(), signals: Vec::new() };
    if count > 0 {
        // SAFETY: the caller's list.
        for submit in unsafe { from_raw_parts(submits, count as usize) } {
            if submit.wait_semaphore_info_count > 0 {
                let length = submit.wait_semaphore_info_count as usize;
                // SAFETY: its list is as long as it says.
                let waits = unsafe { from_raw_parts(submit.p_wait_semaphore_infos, length) };
                work.waits.extend(waits.iter().map(|info| info.semaphore));
            }
            if submit.command_buffer_info_count > 0 {
                let length = submit.command_buffer_info_count as usize;
                // SAFETY: its list is as long as it says.
                let buffers = unsafe { from_raw_parts(submit.p_command_buffer_infos, length) };
                work.commands.extend(buffers.iter().map(|info| info.command_buffer));
            }
            if submit.signal_semaphore_info_count > 0 {
                let length = submit.signal_semaphore_info_count as usize;
                // SAFETY: its list is as long as it says.
                let signals = unsafe { from_raw_parts(submit.p_signal_semaphore_infos, length) };
                work.signals.extend(signals.iter().map(|info| info.semaphore));
            }
        }
    }
    if is(Deed::AcquireBeforeWait) && !work.waits.is_empty() && takes_over(&work) {
        fired();
        // SAFETY: the caller's list.
        let mut told = unsafe { from_raw_parts(submits, count as usize) }.to_vec();
        told.iter_mut().for_each(|submit| submit.wait_semaphore_info_count = 0);
        // SAFETY: the caller's contract is the real function's; the list lives during the call.
        return submitted(queue, &work, |real| unsafe {
            (real.raw.fp_v1_3().queue_submit2)(queue, count, told.as_ptr(), fence)
        });
    }
    if is(Deed::CounterWaitDropped) && count > 0 {
        // SAFETY: the caller's list.
        let asked = unsafe { from_raw_parts(submits, count as usize) };
        let waits: Vec<Vec<vk::SemaphoreSubmitInfo<'_>>> = asked.iter().map(uncounted_waits).collect();
        let mut told = asked.to_vec();
        for (submit, waits) in told.iter_mut().zip(&waits) {
            submit.wait_semaphore_info_count = waits.len() as u32;
            submit.p_wait_semaphore_infos = waits.as_ptr();
        }
        // SAFETY: the caller's contract is the real function's; the lists live during the call.
        return submitted(queue, &work, |real| unsafe {
            (real.raw.fp_v1_3().queue_submit2)(queue, count, told.as_ptr(), fence)
        });
    }
    let (handle, _) = device_of_queue(queue);
    // SAFETY: the caller's contract is the real function's.
    submitted(queue, &work, |real| unsafe { counted::queue_submit2((handle, real), queue, count, submits, fence) })
}

/// Whether commands of `work` take something from others.
fn takes_over(work: &Work) -> bool {
    let tables = tables();
    work.commands.iter().filter_map(|commands| tables.commands.get(commands)).any(|known| !known.acquires.is_empty())
}

/// What `submit` waits for, but for counters: who waits for a value names one above 0.
fn uncounted_waits<'a>(submit: &vk::SubmitInfo2<'a>) -> Vec<vk::SemaphoreSubmitInfo<'a>> {
    if submit.wait_semaphore_info_count == 0 {
        return Vec::new();
    }
    // SAFETY: its list is as long as it says.
    let waits = unsafe { from_raw_parts(submit.p_wait_semaphore_infos, submit.wait_semaphore_info_count as usize) };
    let kept: Vec<_> = waits.iter().filter(|info| info.value == 0).copied().collect();
    if kept.len() < waits.len() {
        fired();
    }
    kept
}

pub(crate) unsafe extern "system" fn queue_submit(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let mut work = Work { waits: Vec::new(), commands: Vec::new(), signals: Vec::new() };
    if count > 0 {
        // SAFETY: the caller's list.
        for submit in unsafe { from_raw_parts(submits, count as usize) } {
            if submit.wait_semaphore_count > 0 {
                let length = submit.wait_semaphore_count as usize;
                // SAFETY: its list is as long as it says.
                work.waits.extend(unsafe { from_raw_parts(submit.p_wait_semaphores, length) });
            }
            if submit.command_buffer_count > 0 {
                let length = submit.command_buffer_count as usize;
                // SAFETY: its list is as long as it says.
                work.commands.extend(unsafe { from_raw_parts(submit.p_command_buffers, length) });
            }
            if submit.signal_semaphore_count > 0 {
                let length = submit.signal_semaphore_count as usize;
                // SAFETY: its list is as long as it says.
                work.signals.extend(unsafe { from_raw_parts(submit.p_signal_semaphores, length) });
            }
        }
    }
    // SAFETY: the caller's contract is the real function's.
    submitted(queue, &work, |real| unsafe { (real.raw.fp_v1_0().queue_submit)(queue, count, submits, fence) })
}

/// Work that waits for nobody is over by then, in nanoseconds: no signal ends a wait for it.
const SHORT_WAIT: u64 = 8_000_000;

/// Between two looks at the fences.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

pub(crate) unsafe extern "system" fn wait_for_fences(
    handle: vk::Device,
    count: u32,
    fences: *const vk::Fence,
    all: vk::Bool32,
    timeout: u64,
) -> vk::Result {
    let real = device(handle);
    // SAFETY: the caller's list.
    let asked = unsafe { from_raw_parts(fences, count as usize) };
    // SAFETY: the caller's contract.
    if let Some(result) = unsafe { counted::wait_for_fences(handle, asked, all, timeout) } {
        return result;
    }
    if is(Deed::FenceSignalledEarly) {
        // SAFETY: live fences of this device.
        let is_over = |fence: &vk::Fence| unsafe { real.raw.get_fence_status(*fence) } != Ok(false);
        if !asked.iter().all(is_over) {
            fired();
            tables().hurried.push(handle);
            return vk::Result::SUCCESS;
        }
    }
    if is(Deed::FenceWaitInterrupted) {
        // SAFETY: the caller's contract is the real function's, for less time.
        let briefly =
            unsafe { (real.raw.fp_v1_0().wait_for_fences)(handle, count, fences, all, timeout.min(SHORT_WAIT)) };
        if briefly != vk::Result::TIMEOUT || timeout <= SHORT_WAIT {
            return briefly;
        }
        // Sleeps as long as the caller has patience for, so that a signal to this thread is met in it.
        let began = Instant::now();
        while began.elapsed().as_nanos() < u128::from(timeout - SHORT_WAIT) {
            if let NanosleepRelativeResult::Interrupted(_) = nanosleep(&PAUSE) {
                fired();
                tables().hurried.push(handle);
                return vk::Result::SUCCESS;
            }
            // SAFETY: the caller's contract is the real function's, for no time.
            let over = unsafe { (real.raw.fp_v1_0().wait_for_fences)(handle, count, fences, all, 0) };
            if over != vk::Result::TIMEOUT {
                return over;
            }
        }
        return vk::Result::TIMEOUT;
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (real.raw.fp_v1_0().wait_for_fences)(handle, count, fences, all, timeout) }
}

pub(crate) unsafe extern "system" fn reset_fences(
    handle: vk::Device,
    count: u32,
    fences: *const vk::Fence,
) -> vk::Result {
    let_work_end(handle);
    let real = device(handle);
    if is(Deed::FenceResetKeepsImport) {
        // SAFETY: the caller's list.
        let asked = unsafe { from_raw_parts(fences, count as usize) };
        let mut others = asked.to_vec();
        others.retain(|fence| !tables().minus_one.contains(&(handle, *fence)));
        if others.len() < asked.len() {
            fired();
            if others.is_empty() {
                return vk::Result::SUCCESS;
            }
            // SAFETY: the caller's contract is the real function's, of a part of the list.
            return unsafe { (real.raw.fp_v1_0().reset_fences)(handle, others.len() as u32, others.as_ptr()) };
        }
    }
    // SAFETY: the caller's list.
    let left = counted::reset_fences(handle, unsafe { from_raw_parts(fences, count as usize) });
    if left.is_empty() {
        return vk::Result::SUCCESS;
    }
    // SAFETY: the caller's contract is the real function's, of a part of the list.
    unsafe { (real.raw.fp_v1_0().reset_fences)(handle, left.len() as u32, left.as_ptr()) }
}

pub(crate) unsafe extern "system" fn reset_command_pool(
    handle: vk::Device,
    pool: vk::CommandPool,
    flags: vk::CommandPoolResetFlags,
) -> vk::Result {
    if is(Deed::FenceWaitInterrupted) && tables().hurried.contains(&handle) {
        tables().resets.push((handle, pool, flags));
        return vk::Result::SUCCESS;
    }
    let_work_end(handle);
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_0().reset_command_pool)(handle, pool, flags) }
}

pub(crate) unsafe extern "system" fn destroy_image_view(
    handle: vk::Device,
    view: vk::ImageView,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    let_work_end(handle);
    {
        let mut tables = tables();
        let memory = tables.views.remove(&(handle, view));
        if let Some(known) = memory.and_then(|memory| tables.memories.get_mut(&(handle, memory))) {
            known.views = known.views.saturating_sub(1);
        }
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_0().destroy_image_view)(handle, view, allocator) };
}

/// A function that destroys an object, once the work is over that may use it.
macro_rules! destroyed_after_work {
    ($name:ident, $type:ty) => {
        pub(crate) unsafe extern "system" fn $name(
            handle: vk::Device,
            object: $type,
            allocator: *const vk::AllocationCallbacks<'_>,
        ) {
            let_work_end(handle);
            // SAFETY: the caller's contract is the real function's.
            unsafe { (device(handle).raw.fp_v1_0().$name)(handle, object, allocator) };
        }
    };
}

destroyed_after_work!(destroy_buffer, vk::Buffer);
destroyed_after_work!(destroy_pipeline, vk::Pipeline);
destroyed_after_work!(destroy_descriptor_pool, vk::DescriptorPool);
destroyed_after_work!(destroy_sampler, vk::Sampler);
destroyed_after_work!(destroy_command_pool, vk::CommandPool);
