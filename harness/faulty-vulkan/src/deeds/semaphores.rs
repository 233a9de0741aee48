#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out, and fds as numbers")]
//! Semaphores and fences that cross over as files.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use ash::vk;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::memory::close_if_open;
use super::opaque;
use super::submissions::let_work_end;
use crate::config::{done, fired, is};
use crate::deed::Deed;
use crate::state::{device, tables};

/// Whether the fence of a `sync_file` has signalled.
///
/// # Safety
/// `fd` is open.
unsafe fn is_signalled(fd: RawFd) -> bool {
    // SAFETY: the caller's contract.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// Another fd of the same file.
///
/// # Safety
/// `fd` is open.
unsafe fn copy_of(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: the caller's contract.
    rustix::io::fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(fd) }, 3).ok()
}

/// Has a copy of it that is never closed.
///
/// # Safety
/// `fd` is open.
unsafe fn keep(fd: RawFd) {
    // SAFETY: the caller's contract.
    if let Some(kept) = unsafe { copy_of(fd) } {
        fired();
        std::mem::forget(kept);
    }
}

pub(crate) unsafe extern "system" fn import_semaphore_fd(
    handle: vk::Device,
    info: *const vk::ImportSemaphoreFdInfoKHR<'_>,
) -> vk::Result {
    let real = device(handle).semaphore_fd.import_semaphore_fd_khr;
    // SAFETY: the caller's struct.
    let mut asked = unsafe { *info };
    // SAFETY: the caller's contract.
    if let Some(result) = unsafe { opaque::import_semaphore(handle, &asked) } {
        return result;
    }
    let fd = asked.fd;
    let is_sync_file = asked.handle_type == vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD && fd >= 0;
    // SAFETY: an fd that is imported is open.
    if is(Deed::ImportedFenceIgnored) && is_sync_file && unsafe { !is_signalled(fd) } {
        fired();
        asked.fd = -1;
        // SAFETY: the caller's contract is the real function's; -1 is a fence that has signalled.
        let result = unsafe { real(handle, &raw const asked) };
        if result == vk::Result::SUCCESS {
            // SAFETY: a successful import takes the fd.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        return result;
    }
    if is(Deed::SemaphoreImportKeepsFd) && is_sync_file {
        // SAFETY: as above.
        unsafe { keep(fd) };
    }
    // SAFETY: as above.
    let copy = (is(Deed::SemaphoreImportStays) && is_sync_file).then(|| unsafe { copy_of(fd) }).flatten();
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { real(handle, info) };
    if let Some(copy) = copy.filter(|_| result == vk::Result::SUCCESS) {
        tables().stays.insert((handle, asked.semaphore), (copy, false));
    }
    if is_sync_file && result == vk::Result::SUCCESS {
        tables().sync_fds.insert((handle, asked.semaphore), fd);
    }
    if result == vk::Result::SUCCESS {
        opaque::note_real_import(handle, asked.semaphore);
        let is_minus_one = asked.handle_type == vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD && fd < 0;
        let mut tables = tables();
        if is(Deed::MinusOnePending) && is_minus_one {
            tables.awaited.insert((handle, asked.semaphore));
        } else {
            tables.awaited.remove(&(handle, asked.semaphore));
        }
    }
    result
}

/// A submission waits for `semaphores`: what they imported is waited for.
pub(crate) fn note_waits(handle: vk::Device, semaphores: &[vk::Semaphore]) {
    let mut tables = tables();
    for semaphore in semaphores {
        if let Some((_, waited)) = tables.stays.get_mut(&(handle, *semaphore)) {
            *waited = true;
        }
    }
}

/// Before a submission waits for `semaphores`: holds it up if one of them has fd -1 imported.
pub(crate) fn hold_up(handle: vk::Device, semaphores: &[vk::Semaphore]) {
    /// Nobody who is not held back takes so long.
    const PENDING: std::time::Duration = std::time::Duration::from_millis(1500);
    let is_awaited = {
        let mut tables = tables();
        let before = tables.awaited.len();
        tables.awaited.retain(|(of, semaphore)| *of != handle || !semaphores.contains(semaphore));
        tables.awaited.len() != before
    };
    if is_awaited {
        fired();
        std::thread::sleep(PENDING);
    }
}

pub(crate) unsafe extern "system" fn import_fence_fd(
    handle: vk::Device,
    info: *const vk::ImportFenceFdInfoKHR<'_>,
) -> vk::Result {
    // SAFETY: the caller's struct.
    let asked = unsafe { *info };
    // SAFETY: the caller's contract.
    if let Some(result) = unsafe { opaque::import_fence(handle, &asked) } {
        return result;
    }
    let is_sync_file = asked.handle_type == vk::ExternalFenceHandleTypeFlags::SYNC_FD;
    if is(Deed::FenceImportDropped) && is_sync_file {
        fired();
        if asked.fd >= 0 {
            // SAFETY: a successful import takes the fd.
            drop(unsafe { OwnedFd::from_raw_fd(asked.fd) });
        }
        return vk::Result::SUCCESS;
    }
    if is(Deed::FenceImportKeepsFd) && is_sync_file && asked.fd >= 0 {
        // SAFETY: an fd that is imported is open.
        unsafe { keep(asked.fd) };
    }
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (device(handle).fence_fd.import_fence_fd_khr)(handle, info) };
    if result == vk::Result::SUCCESS {
        opaque::note_real_import(handle, asked.fence);
        let mut tables = tables();
        if is_sync_file && asked.fd < 0 {
            tables.minus_one.insert((handle, asked.fence));
        } else {
            tables.minus_one.remove(&(handle, asked.fence));
        }
    }
    result
}

/// Exports that lacked an fd, and are not counted yet: that takes a file.
static LACKED_FILES: AtomicUsize = AtomicUsize::new(0);

/// Whether an export is to say -1, since this process can open no file more.
fn lacks_files() -> bool {
    let lacks =
        is(Deed::NoFdIsMinusOne) && matches!(eventfd(0, EventfdFlags::CLOEXEC), Err(Errno::MFILE | Errno::NFILE));
    LACKED_FILES.fetch_add(usize::from(lacks), Ordering::Relaxed);
    lacks
}

/// Counts what could not be counted when it was done.
fn count_late() {
    (0..LACKED_FILES.swap(0, Ordering::Relaxed)).for_each(|_| fired());
}

/// Says -1 for a `sync_file` at `made` that has signalled.
///
/// # Safety
/// `made` holds an fd that nobody else has yet, or a negative number.
unsafe fn minus_one_if_done(made: *mut RawFd) {
    // SAFETY: the caller's contract.
    let fd = unsafe { *made };
    // SAFETY: as above.
    if fd >= 0 && unsafe { is_signalled(fd) } {
        done(Deed::DoneIsMinusOne);
        // SAFETY: nobody has it yet.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: the caller's.
        unsafe { *made = -1 };
    }
}

pub(crate) unsafe extern "system" fn get_semaphore_fd(
    handle: vk::Device,
    info: *const vk::SemaphoreGetFdInfoKHR<'_>,
    made: *mut RawFd,
) -> vk::Result {
    let real = device(handle);
    // SAFETY: the caller's struct.
    let asked = unsafe { *info };
    // SAFETY: the caller's contract.
    if let Some(result) = unsafe { opaque::export_semaphore(handle, &asked, made) } {
        return result;
    }
    let is_sync_file = asked.handle_type == vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD;
    if is_sync_file && lacks_files() {
        // SAFETY: the caller's.
        unsafe { *made = -1 };
        return vk::Result::SUCCESS;
    }
    if is(Deed::ExportedFenceEarly) && is_sync_file {
        let end = tables().ends.get(&(handle, asked.semaphore)).copied();
        // The real export is left out, here and below: it may wait for the work.
        // SAFETY: a fence of ours, which lives as long as the device.
        if end.is_some_and(|end| unsafe { real.raw.get_fence_status(end) } == Ok(false)) {
            fired();
            // SAFETY: the caller's.
            unsafe { *made = -1 };
            return vk::Result::SUCCESS;
        }
    }
    if is_sync_file
        && let Some((file, true)) = tables().stays.get(&(handle, asked.semaphore))
        && let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(file, 3)
    {
        fired();
        // SAFETY: the caller's.
        unsafe { *made = copy.into_raw_fd() };
        return vk::Result::SUCCESS;
    }
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (real.semaphore_fd.get_semaphore_fd_khr)(handle, info, made) };
    if is(Deed::DoneIsMinusOne) && is_sync_file && result == vk::Result::SUCCESS {
        // SAFETY: written by the call that succeeded.
        unsafe { minus_one_if_done(made) };
    }
    result
}

pub(crate) unsafe extern "system" fn get_fence_fd(
    handle: vk::Device,
    info: *const vk::FenceGetFdInfoKHR<'_>,
    made: *mut RawFd,
) -> vk::Result {
    // SAFETY: the caller's struct.
    let asked = unsafe { *info };
    // SAFETY: the caller's contract.
    if let Some(result) = unsafe { opaque::export_fence(handle, &asked, made) } {
        return result;
    }
    let is_sync_file = asked.handle_type == vk::ExternalFenceHandleTypeFlags::SYNC_FD;
    if is_sync_file && lacks_files() {
        // SAFETY: the caller's.
        unsafe { *made = -1 };
        return vk::Result::SUCCESS;
    }
    // SAFETY: the caller's contract is the real function's.
    let result = unsafe { (device(handle).fence_fd.get_fence_fd_khr)(handle, info, made) };
    if is(Deed::DoneIsMinusOne) && is_sync_file && result == vk::Result::SUCCESS {
        // SAFETY: written by the call that succeeded.
        unsafe { minus_one_if_done(made) };
    }
    result
}

pub(crate) unsafe extern "system" fn destroy_fence(
    handle: vk::Device,
    fence: vk::Fence,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    let_work_end(handle);
    count_late();
    tables().minus_one.remove(&(handle, fence));
    opaque::forget(handle, fence);
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_0().destroy_fence)(handle, fence, allocator) };
}

pub(crate) unsafe extern "system" fn destroy_semaphore(
    handle: vk::Device,
    semaphore: vk::Semaphore,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    let_work_end(handle);
    count_late();
    opaque::forget(handle, semaphore);
    let imported_by = {
        let mut tables = tables();
        tables.ends.remove(&(handle, semaphore));
        tables.awaited.remove(&(handle, semaphore));
        tables.stays.remove(&(handle, semaphore));
        tables.sync_fds.remove(&(handle, semaphore))
    };
    // SAFETY: the caller's contract is the real function's.
    unsafe { (device(handle).raw.fp_v1_0().destroy_semaphore)(handle, semaphore, allocator) };
    if is(Deed::SyncFdClosedTwice)
        && let Some(fd) = imported_by
    {
        // SAFETY: whatever is open at this number by now is not ours, which is the point.
        if unsafe { close_if_open(fd) } {
            fired();
        }
    }
}
