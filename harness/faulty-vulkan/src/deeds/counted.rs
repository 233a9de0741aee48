#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out")]
//! What is done with semaphores and fences that stand for a payload: it is done with the payload's counter (`opaque`).
//!
//! `vkQueueSubmit` and `vkQueueBindSparse` know nothing of it: who orders by such semaphores uses `vkQueueSubmit2`.

use std::slice::from_raw_parts;
use std::time::{Duration, Instant};

use ash::vk::{self, Handle};

use super::opaque::{Borrowed, carry_over, payloads};
use crate::state::{RealDevice, device};

/// A list of a caller's, which may be null where it is empty.
///
/// # Safety
/// There are so many at `first`.
unsafe fn copied<T: Copy>(first: *const T, length: u32) -> Vec<T> {
    match length {
        0 => Vec::new(),
        // SAFETY: the caller's contract.
        length => unsafe { from_raw_parts(first, length as usize) }.to_vec(),
    }
}

/// `vkQueueSubmit2`, with counters in the places of what stands for them.
///
/// # Safety
/// As the function, of `real`, to which `queue` belongs.
pub(crate) unsafe fn queue_submit2(
    (of, real): (vk::Device, &RealDevice),
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let submit = real.raw.fp_v1_3().queue_submit2;
    if payloads().names.is_empty() {
        // SAFETY: the caller's contract is the real function's.
        return unsafe { submit(queue, count, submits, fence) };
    }
    // SAFETY: the caller's list.
    let mut told = unsafe { copied(submits, count) };
    let mut signalled = Vec::new();
    let mut lists = Vec::new();
    for submit in &told {
        // SAFETY: a list of the caller's, which is as long as it says.
        let mut waits = unsafe { copied(submit.p_wait_semaphore_infos, submit.wait_semaphore_info_count) };
        // SAFETY: as above.
        let mut signals = unsafe { copied(submit.p_signal_semaphore_infos, submit.signal_semaphore_info_count) };
        waits.iter_mut().for_each(|wait| waits_for(of, wait));
        signalled.extend(signals.iter_mut().filter_map(|signal| signals_to(of, signal)));
        lists.push((waits, signals));
    }
    for (submit, (waits, signals)) in told.iter_mut().zip(&lists) {
        submit.p_wait_semaphore_infos = waits.as_ptr();
        submit.p_signal_semaphore_infos = signals.as_ptr();
    }
    let mut last = [vk::SemaphoreSubmitInfo::default().semaphore(vk::Semaphore::from_raw(fence.as_raw()))];
    // A signal is one of all that was submitted before, whatever is in its own batch: so is that of a fence.
    let of_fence = signals_to(of, &mut last[0]);
    let fence = if of_fence.is_some() { vk::Fence::null() } else { fence };
    told.extend(of_fence.map(|_| vk::SubmitInfo2::default().signal_semaphore_infos(&last)));
    // SAFETY: the caller's contract is the real function's; the lists live during the call.
    let result = unsafe { submit(queue, told.len() as u32, told.as_ptr(), fence) };
    for (id, value, before) in signalled.into_iter().chain(of_fence) {
        match result {
            vk::Result::SUCCESS => carry_over(of, id, value),
            _ => _ = payloads().all.get_mut(&id).map(|payload| payload.asked = before),
        }
    }
    result
}

/// A submission waits for what `wait` stands for: by its counter, for what was asked of it last.
fn waits_for(of: vk::Device, wait: &mut vk::SemaphoreSubmitInfo<'_>) {
    let mut payloads = payloads();
    let name = (of, wait.semaphore.as_raw());
    let id = payloads.of(name);
    if let Some(stands) = payloads.names.get_mut(&name) {
        stands.borrowed = None;
    }
    let Some((id, counter)) = id.and_then(|id| Some((id, payloads.counter(of, id)?))) else { return };
    payloads.reached(id);
    wait.semaphore = counter;
    if let Some(payload) = payloads.all.get(&id).filter(|payload| !payload.counts) {
        wait.value = payload.asked;
    }
}

/// A submission signals what `signal` stands for: by its counter, as which value, and after which.
fn signals_to(of: vk::Device, signal: &mut vk::SemaphoreSubmitInfo<'_>) -> Option<(u64, u64, u64)> {
    let mut payloads = payloads();
    let id = payloads.of((of, signal.semaphore.as_raw()))?;
    signal.semaphore = payloads.counter(of, id)?;
    let payload = payloads.all.get_mut(&id)?;
    let before = payload.asked;
    if !payload.counts {
        payload.asked += 1;
        signal.value = payload.asked;
    }
    Some((id, signal.value, before))
}

pub(crate) unsafe extern "system" fn signal_semaphore(
    handle: vk::Device,
    info: *const vk::SemaphoreSignalInfo<'_>,
) -> vk::Result {
    // SAFETY: the caller's struct.
    let mut asked = unsafe { *info };
    let mut payloads = payloads();
    let id = payloads.of((handle, asked.semaphore.as_raw()));
    if let Some(counter) = id.and_then(|id| payloads.counter(handle, id)) {
        asked.semaphore = counter;
    }
    // SAFETY: the caller's contract is the real function's; a counter has come to what its names have.
    let result = unsafe { (device(handle).raw.fp_v1_2().signal_semaphore)(handle, &raw const asked) };
    if let Some(id) = id {
        payloads.reached(id);
    }
    result
}

pub(crate) unsafe extern "system" fn get_semaphore_counter_value(
    handle: vk::Device,
    semaphore: vk::Semaphore,
    value: *mut u64,
) -> vk::Result {
    let id = payloads().of((handle, semaphore.as_raw()));
    if let Some(id) = id {
        let reached = payloads().reached(id);
        // SAFETY: the caller's.
        unsafe { *value = reached };
        return vk::Result::SUCCESS;
    }
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_2().get_semaphore_counter_value)(handle, semaphore, value) }
}

pub(crate) unsafe extern "system" fn wait_semaphores(
    handle: vk::Device,
    info: *const vk::SemaphoreWaitInfo<'_>,
    timeout: u64,
) -> vk::Result {
    // SAFETY: the caller's struct.
    let mut asked = unsafe { *info };
    // SAFETY: its list is as long as it says.
    let mut semaphores = unsafe { from_raw_parts(asked.p_semaphores, asked.semaphore_count as usize) }.to_vec();
    for semaphore in &mut semaphores {
        let mut payloads = payloads();
        let Some(id) = payloads.of((handle, semaphore.as_raw())) else { continue };
        payloads.reached(id);
        *semaphore = payloads.counter(handle, id).unwrap_or(*semaphore);
    }
    asked.p_semaphores = semaphores.as_ptr();
    // SAFETY: the caller's contract is the real function's; the list lives during the call.
    unsafe { (device(handle).raw.fp_v1_2().wait_semaphores)(handle, &raw const asked, timeout) }
}

pub(crate) unsafe extern "system" fn get_fence_status(handle: vk::Device, fence: vk::Fence) -> vk::Result {
    let mut payloads = payloads();
    match payloads.of((handle, fence.as_raw())) {
        Some(id) if payloads.is_signalled(id) => vk::Result::SUCCESS,
        Some(_) => vk::Result::NOT_READY,
        None => {
            drop(payloads);
            // SAFETY: the caller's contract is the real function's.
            unsafe { (device(handle).raw.fp_v1_0().get_fence_status)(handle, fence) }
        }
    }
}

/// `vkWaitForFences`; `None` if all of them are the real driver's own.
///
/// # Safety
/// As the function.
pub(crate) unsafe fn wait_for_fences(
    of: vk::Device,
    fences: &[vk::Fence],
    all: vk::Bool32,
    timeout: u64,
) -> Option<vk::Result> {
    /// Between two looks.
    const PAUSE: Duration = Duration::from_micros(200);
    fences.iter().find(|fence| payloads().of((of, fence.as_raw())).is_some())?;
    let began = Instant::now();
    loop {
        // SAFETY: live fences of this device.
        let states = fences.iter().map(|fence| unsafe { get_fence_status(of, *fence) });
        let states: Vec<vk::Result> = states.collect();
        let is_done = |state: &vk::Result| *state == vk::Result::SUCCESS;
        if let Some(lost) = states.iter().find(|state| !is_done(state) && **state != vk::Result::NOT_READY) {
            return Some(*lost);
        }
        if if all == vk::FALSE { states.iter().any(is_done) } else { states.iter().all(is_done) } {
            return Some(vk::Result::SUCCESS);
        }
        if began.elapsed().as_nanos() >= u128::from(timeout) {
            return Some(vk::Result::TIMEOUT);
        }
        std::thread::sleep(PAUSE);
    }
}

/// `vkResetFences`, as far as they are not the real driver's own, which are left in the list that is returned.
pub(crate) fn reset_fences(of: vk::Device, fences: &[vk::Fence]) -> Vec<vk::Fence> {
    let mut payloads = payloads();
    let is_real = |fence: &&vk::Fence| {
        let Some(stands) = payloads.names.get_mut(&(of, fence.as_raw())) else { return true };
        let borrowed = stands.borrowed.take();
        let Some(own) = stands.own else { return true };
        payloads.reached(own);
        if let Some(payload) = payloads.all.get_mut(&own) {
            payload.reset = payload.asked;
        }
        matches!(borrowed, Some(Borrowed::Real))
    };
    fences.iter().filter(is_real).copied().collect()
}
