#![expect(unsafe_code, reason = "functions of a driver: raw pointers in, raw pointers out, and fds as numbers")]
//! Semaphores and fences that are handed on as opaque fds, within this process, on top of a driver that knows none.
//!
//! What a semaphore or a fence stands for, its payload, is a counter that each device has one of: a timeline semaphore of the
//! real driver. A signal raises the counter of the device that signals, and whoever waits for that carries it over to the others.
//! The handle that an application has is only a name for the payload: whatever is done with it is done with the counter of its
//! device. An import makes it a name for another payload, as "Importing Semaphore Payloads" and "Importing Fence Payloads" of
//! the Vulkan specification have it: by reference, for good or until a wait or a reset gives the own one back.
//!
//! What is done with such a name, and how, is in `counted`.

use std::collections::{BTreeMap, HashMap};
use std::ops::{BitAnd, Not};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ash::vk::{self, Handle};
use rustix::fs::MemfdFlags;

use crate::chain::{Changed, find};
use crate::config::{done, fired, hands_on_opaque, is};
use crate::deed::Deed;
use crate::state::{RealDevice, any_instance, device};

/// What semaphores and fences of several devices stand for together.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    /// Whether applications count with it.
    pub(super) counts: bool,
    /// The counter of each device that has one.
    counters: HashMap<vk::Device, vk::Semaphore>,
    /// The last value that somebody was asked to signal, if applications do not count.
    pub(super) asked: u64,
    /// What had been asked for when a fence was reset.
    pub(super) reset: u64,
    /// What it had come to by the devices that are gone.
    reached: u64,
}

/// A semaphore or a fence of an application, by its number: no two objects of a device have the same.
pub(super) type Name = (vk::Device, u64);

/// What a semaphore or a fence stands for until a wait or a reset.
#[derive(Clone, Copy, Debug)]
pub(super) enum Borrowed {
    Payload(u64),
    /// What the real driver's own was given.
    Real,
}

/// What a semaphore or a fence stands for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stands {
    /// The real driver's own, if there is none.
    pub(super) own: Option<u64>,
    pub(super) borrowed: Option<Borrowed>,
}

/// All that is handed on.
#[derive(Default)]
pub(super) struct Payloads {
    pub(super) all: BTreeMap<u64, Payload>,
    pub(super) names: HashMap<Name, Stands>,
    /// Who carries signals of a device over to the others.
    carriers: Vec<(vk::Device, JoinHandle<()>)>,
}

impl Payloads {
    fn add(&mut self, payload: Payload) -> u64 {
        let id = self.all.last_key_value().map_or(1, |(last, _)| last + 1);
        self.all.insert(id, payload);
        id
    }

    /// What `name` stands for at present; `None` if it is the real driver's own.
    pub(super) fn of(&self, name: Name) -> Option<u64> {
        let stands = self.names.get(&name)?;
        match stands.borrowed {
            Some(Borrowed::Payload(id)) => Some(id),
            Some(Borrowed::Real) => None,
            None => stands.own,
        }
    }

    /// What `id` has come to on any device, which the counters of all others are raised to.
    pub(super) fn reached(&mut self, id: u64) -> u64 {
        let Some(payload) = self.all.get_mut(&id) else { return 0 };
        let values = payload.counters.iter().map(|(of, counter)| {
            let real = device(*of);
            // SAFETY: a counter of ours, of a device that is there: whoever destroys it takes the counter away first.
            let value = unsafe { real.raw.get_semaphore_counter_value(*counter) };
            (real, *counter, value)
        });
        // A device that is lost says nothing.
        let values: Vec<_> = values.filter_map(|(real, counter, value)| Some((real, counter, value.ok()?))).collect();
        let reached = values.iter().map(|(.., value)| *value).chain([payload.reached]).max().unwrap_or(0);
        for (real, counter, _) in values.iter().filter(|(.., value)| *value < reached) {
            let info = vk::SemaphoreSignalInfo::default().semaphore(*counter).value(reached);
            // SAFETY: as above; it has not come so far, and nobody else raises it meanwhile but who was asked for more.
            let _ = unsafe { real.raw.signal_semaphore(&info) };
        }
        payload.reached = reached;
        reached
    }

    /// The counter of a device for `id`.
    pub(super) fn counter(&mut self, of: vk::Device, id: u64) -> Option<vk::Semaphore> {
        if let Some(counter) = self.all.get(&id)?.counters.get(&of) {
            return Some(*counter);
        }
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(self.reached(id));
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: a live device, and a struct that lives during the call.
        let counter = unsafe { device(of).raw.create_semaphore(&info, None) }.ok()?;
        self.all.get_mut(&id)?.counters.insert(of, counter);
        Some(counter)
    }

    /// Whether a fence that stands for `id` is signalled.
    pub(super) fn is_signalled(&mut self, id: u64) -> bool {
        let reached = self.reached(id);
        self.all.get(&id).is_some_and(|payload| payload.asked > payload.reset && reached >= payload.asked)
    }
}

/// Of all devices, for this thread alone.
pub(super) fn payloads() -> MutexGuard<'static, Payloads> {
    static PAYLOADS: LazyLock<Mutex<Payloads>> = LazyLock::new(Mutex::default);
    PAYLOADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has somebody wait until `id` has come to `value` on a device, and carry that over to the others.
pub(super) fn carry_over(of: vk::Device, id: u64, value: u64) {
    /// Whatever takes longer is waited for by nobody.
    const AT_MOST: Duration = Duration::from_secs(60);
    let real = device(of);
    let Some(counter) = payloads().counter(of, id) else { return };
    let carrier = std::thread::spawn(move || {
        let (counters, values) = ([counter], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&counters).values(&values);
        // SAFETY: whoever destroys the device waits for this thread before it destroys the counter.
        if unsafe { real.raw.wait_semaphores(&info, AT_MOST.as_nanos() as u64) }.is_ok() {
            payloads().reached(id);
        }
    });
    let mut payloads = payloads();
    payloads.carriers.retain(|(_, carrier)| !carrier.is_finished());
    payloads.carriers.push((of, carrier));
}

/// A device goes, whose work is over.
pub(crate) fn forget_device(of: vk::Device, real: &RealDevice) {
    let carriers: Vec<_> = payloads().carriers.extract_if(.., |(other, _)| *other == of).collect();
    for (_, carrier) in carriers {
        let _ = carrier.join();
    }
    let mut payloads = payloads();
    payloads.names.retain(|(other, _), _| *other != of);
    let ids: Vec<u64> = payloads.all.keys().copied().collect();
    for id in ids {
        payloads.reached(id);
        if let Some(counter) = payloads.all.get_mut(&id).and_then(|payload| payload.counters.remove(&of)) {
            // SAFETY: ours, and whoever destroys a device has waited for its work.
            unsafe { real.raw.destroy_semaphore(counter, None) };
        }
    }
}

/// A semaphore or a fence goes.
pub(crate) fn forget(of: vk::Device, object: impl Handle) {
    payloads().names.remove(&(of, object.as_raw()));
}

/// A file that stands for `id` in this process.
fn file_of(id: u64) -> Option<OwnedFd> {
    let file = rustix::fs::memfd_create("opaque payload", MemfdFlags::CLOEXEC).ok()?;
    rustix::io::write(&file, &token(id)).ok()?;
    Some(file)
}

/// What a file says that stands for `id`; nobody but this process knows what that is.
fn token(id: u64) -> [u8; 12] {
    let mut token = [0; 12];
    token[..4].copy_from_slice(&std::process::id().to_le_bytes());
    token[4..].copy_from_slice(&id.to_le_bytes());
    token
}

/// Which payload the file `fd` stands for.
///
/// # Safety
/// `fd` is open.
unsafe fn payload_of(fd: RawFd) -> Option<u64> {
    let mut said = [0; 13];
    // SAFETY: the caller's contract.
    let length = rustix::io::pread(unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) }, &mut said, 0).ok()?;
    let all = &payloads().all;
    all.keys().copied().find(|id| said[..length] == token(*id))
}

/// Makes a semaphore or a fence stand for what `fd` does.
///
/// # Safety
/// `fd` is open, and given away by a call that succeeds.
unsafe fn import(name: Name, fd: RawFd, is_temporary: bool, is_copied: bool) -> vk::Result {
    // SAFETY: the caller's contract.
    let Some(id) = (unsafe { payload_of(fd) }) else { return vk::Result::ERROR_INVALID_EXTERNAL_HANDLE };
    let mut payloads = payloads();
    let id = match payloads.all.get(&id) {
        Some(payload) if is_copied => {
            fired();
            let copy = Payload { counters: HashMap::new(), ..payload.clone() };
            payloads.add(copy)
        }
        _ => id,
    };
    let stands = payloads.names.entry(name).or_default();
    *stands = match is_temporary {
        true => Stands { borrowed: Some(Borrowed::Payload(id)), ..*stands },
        false => Stands { own: Some(id), borrowed: None },
    };
    // SAFETY: a successful import takes the fd.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    vk::Result::SUCCESS
}

/// Hands on what `name` stands for, at `made`; `None` if that is the real driver's own.
///
/// # Safety
/// `made` can be written.
unsafe fn export(name: Name, made: *mut RawFd) -> Option<vk::Result> {
    let id = payloads().of(name)?;
    let Some(file) = file_of(id) else { return Some(vk::Result::ERROR_TOO_MANY_OBJECTS) };
    if is(Deed::OpaqueFences) {
        done(Deed::OpaqueFences);
    }
    // SAFETY: the caller's contract.
    unsafe { *made = file.into_raw_fd() };
    Some(vk::Result::SUCCESS)
}

/// `vkImportSemaphoreFdKHR`; `None` if it is about no opaque fd.
///
/// # Safety
/// As the function.
pub(crate) unsafe fn import_semaphore(of: vk::Device, info: &vk::ImportSemaphoreFdInfoKHR<'_>) -> Option<vk::Result> {
    let is_opaque = info.handle_type == vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
    let is_temporary = info.flags.contains(vk::SemaphoreImportFlags::TEMPORARY);
    let is_copied = is(Deed::OpaqueSemaphoreCopied);
    (hands_on_opaque() && is_opaque)
        // SAFETY: the caller's contract.
        .then(|| unsafe { import((of, info.semaphore.as_raw()), info.fd, is_temporary, is_copied) })
}

/// `vkImportFenceFdKHR`; `None` if it is about no opaque fd.
///
/// # Safety
/// As the function.
pub(crate) unsafe fn import_fence(of: vk::Device, info: &vk::ImportFenceFdInfoKHR<'_>) -> Option<vk::Result> {
    if !hands_on_opaque() || info.handle_type != vk::ExternalFenceHandleTypeFlags::OPAQUE_FD {
        return None;
    }
    let asked = info.flags.contains(vk::FenceImportFlags::TEMPORARY);
    let is_temporary = match asked {
        true => !is(Deed::OpaqueFenceForGood),
        false => is(Deed::OpaqueFenceUntilReset),
    };
    if is_temporary != asked {
        fired();
    }
    // SAFETY: the caller's contract.
    Some(unsafe { import((of, info.fence.as_raw()), info.fd, is_temporary, false) })
}

/// `object` was given what the real driver knows, until a wait or a reset.
pub(crate) fn note_real_import(of: vk::Device, object: impl Handle) {
    if let Some(stands) = payloads().names.get_mut(&(of, object.as_raw())) {
        stands.borrowed = Some(Borrowed::Real);
    }
}

/// `vkGetSemaphoreFdKHR`; `None` if it is about no opaque fd.
///
/// # Safety
/// As the function.
pub(crate) unsafe fn export_semaphore(
    of: vk::Device,
    info: &vk::SemaphoreGetFdInfoKHR<'_>,
    made: *mut RawFd,
) -> Option<vk::Result> {
    let is_opaque = info.handle_type == vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
    // SAFETY: the caller's contract.
    is_opaque.then(|| unsafe { export((of, info.semaphore.as_raw()), made) }).flatten()
}

/// `vkGetFenceFdKHR`; `None` if it is about no opaque fd.
///
/// # Safety
/// As the function.
pub(crate) unsafe fn export_fence(
    of: vk::Device,
    info: &vk::FenceGetFdInfoKHR<'_>,
    made: *mut RawFd,
) -> Option<vk::Result> {
    let is_opaque = info.handle_type == vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;
    // SAFETY: the caller's contract.
    is_opaque.then(|| unsafe { export((of, info.fence.as_raw()), made) }).flatten()
}

/// Notes what a semaphore or a fence stands for that was made just now.
fn name(of: vk::Device, object: impl Handle, counts: bool, value: u64) {
    let payload = Payload { counts, counters: HashMap::new(), asked: value, reset: 0, reached: value };
    let mut payloads = payloads();
    let own = Some(payloads.add(payload));
    payloads.names.insert((of, object.as_raw()), Stands { own, borrowed: None });
}

/// Has the driver below `make` an object whose caller asks for handles of the types `at` there, without `hidden`.
///
/// # Safety
/// `at` is of a structure that a caller made for this call, and is alive during it.
unsafe fn without<T: Copy + BitAnd<Output = T> + Not<Output = T>>(
    at: *mut T,
    hidden: T,
    make: impl FnOnce() -> vk::Result,
) -> vk::Result {
    // SAFETY: the caller's contract.
    let asked = unsafe { *at };
    // SAFETY: what a caller makes for one call can be written during it.
    let _hidden = unsafe { Changed::to(at, asked & !hidden) };
    make()
}

pub(crate) unsafe extern "system" fn create_semaphore(
    handle: vk::Device,
    info: *const vk::SemaphoreCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    made: *mut vk::Semaphore,
) -> vk::Result {
    let real = device(handle).raw.fp_v1_0().create_semaphore;
    // SAFETY: the caller's struct.
    let chain = unsafe { (*info).p_next };
    // SAFETY: the caller's chain, alive during the call.
    let export = unsafe { find::<vk::ExportSemaphoreCreateInfo<'_>>(chain) };
    let opaque = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
    // SAFETY: found in a chain that is alive.
    let export = export.filter(|export| hands_on_opaque() && unsafe { (**export).handle_types }.contains(opaque));
    let Some(export) = export else {
        // SAFETY: the caller's contract is the real function's.
        return unsafe { real(handle, info, allocator, made) };
    };
    // SAFETY: a field of the caller's struct, which is alive.
    let at = unsafe { &raw mut (*export).handle_types };
    // SAFETY: the caller's contract is the real function's.
    let make = || unsafe { real(handle, info, allocator, made) };
    // SAFETY: as above.
    let result = unsafe { without(at, opaque, make) };
    if result == vk::Result::SUCCESS {
        // SAFETY: the caller's chain, alive during the call.
        let kind = unsafe { find::<vk::SemaphoreTypeCreateInfo<'_>>(chain) };
        // SAFETY: found in a chain that is alive.
        let kind = kind.map_or_else(Default::default, |kind| unsafe { *kind });
        let counts = kind.semaphore_type == vk::SemaphoreType::TIMELINE;
        // SAFETY: written by the call that succeeded.
        name(handle, unsafe { *made }, counts, if counts { kind.initial_value } else { 0 });
    }
    result
}

pub(crate) unsafe extern "system" fn create_fence(
    handle: vk::Device,
    info: *const vk::FenceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    made: *mut vk::Fence,
) -> vk::Result {
    let real = device(handle).raw.fp_v1_0().create_fence;
    // SAFETY: the caller's struct.
    let vk::FenceCreateInfo { p_next, flags, .. } = unsafe { *info };
    // SAFETY: the caller's chain, alive during the call.
    let export = unsafe { find::<vk::ExportFenceCreateInfo<'_>>(p_next) };
    let opaque = vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;
    // SAFETY: found in a chain that is alive.
    let export = export.filter(|export| hands_on_opaque() && unsafe { (**export).handle_types }.contains(opaque));
    let Some(export) = export else {
        // SAFETY: the caller's contract is the real function's.
        return unsafe { real(handle, info, allocator, made) };
    };
    // SAFETY: a field of the caller's struct, which is alive.
    let at = unsafe { &raw mut (*export).handle_types };
    // SAFETY: the caller's contract is the real function's.
    let make = || unsafe { real(handle, info, allocator, made) };
    // SAFETY: as above.
    let result = unsafe { without(at, opaque, make) };
    if result == vk::Result::SUCCESS {
        // SAFETY: written by the call that succeeded.
        name(handle, unsafe { *made }, false, u64::from(flags.contains(vk::FenceCreateFlags::SIGNALED)));
    }
    result
}

pub(crate) unsafe extern "system" fn get_external_semaphore_properties(
    physical: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalSemaphoreInfo<'_>,
    properties: *mut vk::ExternalSemaphoreProperties<'_>,
) {
    let real = any_instance().fp_v1_1().get_physical_device_external_semaphore_properties;
    // SAFETY: the caller's contract is the real function's.
    unsafe { real(physical, info, properties) };
    let opaque = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
    // SAFETY: the caller's struct.
    if hands_on_opaque() && unsafe { (*info).handle_type } == opaque {
        // SAFETY: the caller's struct, written by the call.
        let said = unsafe { &mut *properties };
        said.export_from_imported_handle_types = opaque;
        said.compatible_handle_types = opaque;
        said.external_semaphore_features =
            vk::ExternalSemaphoreFeatureFlags::EXPORTABLE | vk::ExternalSemaphoreFeatureFlags::IMPORTABLE;
    }
}

pub(crate) unsafe extern "system" fn get_external_fence_properties(
    physical: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalFenceInfo<'_>,
    properties: *mut vk::ExternalFenceProperties<'_>,
) {
    let real = any_instance().fp_v1_1().get_physical_device_external_fence_properties;
    // SAFETY: the caller's contract is the real function's.
    unsafe { real(physical, info, properties) };
    let opaque = vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;
    // SAFETY: the caller's struct.
    if hands_on_opaque() && unsafe { (*info).handle_type } == opaque {
        // SAFETY: the caller's struct, written by the call.
        let said = unsafe { &mut *properties };
        said.export_from_imported_handle_types = opaque;
        said.compatible_handle_types = opaque;
        said.external_fence_features =
            vk::ExternalFenceFeatureFlags::EXPORTABLE | vk::ExternalFenceFeatureFlags::IMPORTABLE;
    }
}
