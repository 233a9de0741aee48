#![expect(unsafe_code, reason = "creates, imports, exports and waits for fences")]
//! Fences that change hands: as `sync_file`, which is how a program waits through Vulkan for others, and for Vulkan without
//! it; or as opaque fd, which only the driver that made it understands.
//!
//! A `sync_file` is copied into a fence, until that is reset. An opaque fd refers to a fence, so that two are one, for good
//! or until the importer is reset.
//!
//! Source: `VK_KHR_external_fence_fd`, and "Importing Fence Payloads" in the Vulkan specification.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ash::vk;

use super::commands::{DEADLINE, semaphores};
use super::error::failed;
use super::gpu::{Device, Gpu, khr_fence_fd};
use super::memory::close_on_exec;
use super::owned::Owned;
use super::semaphore::{Semaphore, raw, sync_file};
use crate::error::{Error, Result};
use crate::fence::SyncFile;
use crate::ledger;

/// A fence. Dropping one that a submission is to signal waits for that, at most 5 s, or abandons the device.
pub struct Fence {
    raw: Owned<vk::Fence>,
    functions: khr_fence_fd::Device,
    submitted: Cell<bool>,
    /// The file that it is until it is reset, in words.
    imported: RefCell<Option<String>>,
    /// What its submissions wait for. They go after the queue was waited for.
    waited_for: RefCell<Vec<Semaphore>>,
}

const SYNC_FD: vk::ExternalFenceHandleTypeFlags = vk::ExternalFenceHandleTypeFlags::SYNC_FD;
const OPAQUE_FD: vk::ExternalFenceHandleTypeFlags = vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;

/// How long an import lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permanence {
    /// For good: the two fences are one.
    Permanent,
    /// Until the fence is reset, which then is what it was before.
    Temporary,
}

impl Gpu {
    /// A fence, unsignalled, that imports and exports `sync_file`s.
    ///
    /// # Errors
    /// The device does not say that it can do this, or the driver fails.
    #[doc(alias = "vkCreateFence")]
    pub fn fence(&self) -> Result<Fence> {
        self.external_fence(SYNC_FD, true)
    }

    /// A fence, unsignalled, that is exported as opaque fd, if it is to be, or else takes one in.
    ///
    /// # Errors
    /// As missing: the device does not say that it hands fences on as opaque fds. The driver fails.
    #[doc(alias = "vkCreateFence")]
    pub fn opaque_fence(&self, exported: bool) -> Result<Fence> {
        self.external_fence(OPAQUE_FD, exported)
    }

    fn external_fence(&self, handle: vk::ExternalFenceHandleTypeFlags, exported: bool) -> Result<Fence> {
        const OP: &str = "vkCreateFence";
        let device = self.device();
        let object = || device.object(format!("a fence for {handle:?}"));
        let functions = device.fence_fd.clone();
        let functions = functions.ok_or_else(|| Error::missing(OP, object(), "VK_KHR_external_fence_fd is missing"))?;
        let info = vk::PhysicalDeviceExternalFenceInfo::default().handle_type(handle);
        let mut says = vk::ExternalFenceProperties::default();
        // SAFETY: the physical device is of this instance, and the structs live during the call.
        unsafe {
            let instance = device.instance.raw();
            instance.get_physical_device_external_fence_properties(device.physical, &info, &mut says);
        };
        let both = vk::ExternalFenceFeatureFlags::IMPORTABLE | vk::ExternalFenceFeatureFlags::EXPORTABLE;
        if !says.external_fence_features.contains(both) {
            return Err(Error::missing(OP, object(), format!("fences are not {both:?} as {handle:?}")));
        }
        let mut export = vk::ExportFenceCreateInfo::default().handle_types(handle);
        let info = vk::FenceCreateInfo::default();
        let info = if exported { info.push_next(&mut export) } else { info };
        // SAFETY: `info` lives during the call.
        let raw = unsafe { device.create_fence(&info, None) }.map_err(|code| failed(OP, object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let raw = unsafe { Owned::new(device, raw) };
        Ok(Fence {
            raw,
            functions,
            submitted: Cell::new(false),
            imported: RefCell::default(),
            waited_for: RefCell::default(),
        })
    }
}

impl Fence {
    fn object(&self) -> String {
        self.raw.device().object("a fence")
    }

    /// It is what `file` is, and signalled if that is `None` (fd -1), until it is reset.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkImportFenceFdKHR")]
    pub fn import(&self, file: Option<SyncFile>) -> Result<()> {
        let label = file.as_ref().map(SyncFile::to_string);
        let object = label.clone().unwrap_or("fd -1".to_owned());
        let info = vk::ImportFenceFdInfoKHR::default()
            .fence(self.raw.raw())
            .flags(vk::FenceImportFlags::TEMPORARY)
            .handle_type(SYNC_FD)
            .fd(file.as_ref().map_or(-1, |file| file.as_fd().as_raw_fd()));
        let _call = ledger::calling("vkImportFenceFdKHR", self.object());
        // SAFETY: the fence is live, and no submission is to signal it before it was waited for; the fd is open, or -1.
        let done = unsafe { self.functions.import_fence_fd(&info) };
        ledger::step("vkImportFenceFdKHR", None, &object);
        done.map_err(|code| failed("vkImportFenceFdKHR", self.raw.device().object(object), code))?;
        self.imported.replace(label);
        // A successful import gives the fd to the driver, a failed one does not.
        file.and_then(|file| file.give("vkImportFenceFdKHR"));
        Ok(())
    }

    /// A `sync_file` of it, which resets it; `None` if the driver says that it has signalled (fd -1).
    ///
    /// # Errors
    /// The driver fails, or answers what no driver may answer.
    #[doc(alias = "vkGetFenceFdKHR")]
    pub fn export(&self) -> Result<Option<SyncFile>> {
        const OP: &str = "vkGetFenceFdKHR";
        let info = vk::FenceGetFdInfoKHR::default().fence(self.raw.raw()).handle_type(SYNC_FD);
        let _call = ledger::calling("vkGetFenceFdKHR", self.object());
        // SAFETY: the fence is live and made for this handle type; it is signalled, or a submission will signal it.
        let fd = unsafe { self.functions.get_fence_fd(&info) };
        ledger::step(OP, None, self.object());
        sync_file(fd.map_err(|code| failed(OP, self.object(), code))?, OP, || self.object())
    }

    /// It as an opaque fd. What becomes of the fence becomes of whatever imports that.
    ///
    /// # Errors
    /// The driver fails, or answers what no driver may answer.
    #[doc(alias = "vkGetFenceFdKHR")]
    pub fn export_opaque(&self) -> Result<OwnedFd> {
        const OP: &str = "vkGetFenceFdKHR";
        let info = vk::FenceGetFdInfoKHR::default().fence(self.raw.raw()).handle_type(OPAQUE_FD);
        let _call = ledger::calling("vkGetFenceFdKHR", self.object());
        // SAFETY: the fence is live and made for this handle type.
        let fd = unsafe { self.functions.get_fence_fd(&info) }.map_err(|code| failed(OP, self.object(), code))?;
        if fd < 0 {
            return Err(Error::answer(OP, self.object(), format!("fd {fd}; an open file would be valid")));
        }
        // SAFETY: each successful call makes a new fd that belongs to the caller.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        close_on_exec(&fd).map_err(|errno| Error::new(OP, self.object(), errno))?;
        Ok(fd)
    }

    /// It is the fence of another instance of the device, whose opaque fd this is.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkImportFenceFdKHR")]
    pub fn import_opaque(&self, fd: OwnedFd, permanence: Permanence) -> Result<()> {
        let flags = match permanence {
            Permanence::Permanent => vk::FenceImportFlags::empty(),
            Permanence::Temporary => vk::FenceImportFlags::TEMPORARY,
        };
        let fence = self.raw.raw();
        let info =
            vk::ImportFenceFdInfoKHR::default().fence(fence).flags(flags).handle_type(OPAQUE_FD).fd(fd.as_raw_fd());
        let _call = ledger::calling("vkImportFenceFdKHR", self.object());
        // SAFETY: the fence is live, no submission is to signal it, and the fd is open and of a fence of this driver.
        unsafe { self.functions.import_fence_fd(&info) }
            .map_err(|code| failed("vkImportFenceFdKHR", self.raw.device().object("an opaque fd"), code))?;
        // A successful import gives the fd to the driver, a failed one does not.
        let _given_away = fd.into_raw_fd();
        Ok(())
    }

    /// Whether it is signalled.
    ///
    /// # Errors
    /// The device is lost.
    pub fn is_signalled(&self) -> Result<bool> {
        // SAFETY: the fence is live.
        unsafe { self.raw.device().get_fence_status(self.raw.raw()) }
            .map_err(|code| failed("vkGetFenceStatus", self.object(), self.raw.device().heeded(code)))
    }

    /// Whether it is signalled before `patience` is over.
    ///
    /// # Errors
    /// The driver fails.
    pub fn signals_within(&self, patience: Duration) -> Result<bool> {
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let _call = ledger::calling("vkWaitForFences", self.object());
        // SAFETY: the fence is live.
        match unsafe { self.raw.device().wait_for_fences(&[self.raw.raw()], true, nanoseconds) } {
            Ok(()) => Ok(true),
            Err(vk::Result::TIMEOUT) => Ok(false),
            Err(code) => Err(failed("vkWaitForFences", self.object(), self.raw.device().heeded(code))),
        }
    }

    /// Waits until it is signalled.
    ///
    /// # Errors
    /// It is not within `patience`, with the file that it is; the driver fails.
    pub fn wait(&self, patience: Duration) -> Result<()> {
        if self.signals_within(patience)? {
            return Ok(());
        }
        let file = self.imported.borrow().as_ref().map_or(String::new(), |file| format!(", which is {file}"));
        Err(Error::deadline("vkWaitForFences", format!("{}{file}", self.object()), patience))
    }

    /// Unsignals it, and ends an import.
    ///
    /// # Errors
    /// The driver fails.
    pub fn reset(&self) -> Result<()> {
        // SAFETY: the fence is live, and no submission is to signal it: whoever submits waits for that first.
        unsafe { self.raw.device().reset_fences(&[self.raw.raw()]) }
            .map_err(|code| failed("vkResetFences", self.object(), code))?;
        self.imported.take();
        Ok(())
    }

    /// Submits no commands, which signals it when all of `wait` are signalled, and keeps those.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkQueueSubmit2")]
    pub fn submit_after(&self, wait: Vec<Semaphore>) -> Result<()> {
        let device = self.raw.device();
        let mut kept = self.waited_for.borrow_mut();
        let already = kept.len();
        kept.extend(wait);
        let wait = semaphores(&raw(&kept[already..].iter().collect::<Vec<_>>()));
        let submits = [vk::SubmitInfo2::default().wait_semaphore_infos(&wait)];
        let queue = device.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let _call = ledger::calling("vkQueueSubmit2", self.object());
        // SAFETY: the lock is the external synchronization of the queue; the fence is live and unsignalled. The semaphores
        // live until the queue was waited for.
        unsafe { device.queue_submit2(*queue, &submits, self.raw.raw()) }
            .map_err(|code| failed("vkQueueSubmit2", self.object(), device.heeded(code)))?;
        self.submitted.set(true);
        Ok(())
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // The queue may still have it, even if its signal was exported, and what was submitted before it ends first.
        if self.submitted.get() {
            let device = self.raw.device();
            // `vkQueueWaitIdle` has no deadline.
            if let Err(code) = end_of_queue(device, || self.object()).map_err(|code| device.heeded(code)) {
                tracing::warn!("what a fence was submitted with did not end within {} s: {code:?}", DEADLINE.as_secs());
                if code != vk::Result::ERROR_DEVICE_LOST {
                    device.abandon();
                }
            }
        }
    }
}

/// Waits until all that was submitted has ended, with a fence behind it.
fn end_of_queue(device: &Arc<Device>, object: impl Fn() -> String) -> Result<(), vk::Result> {
    // SAFETY: no precondition.
    let fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }?;
    // SAFETY: just created, owned by nobody else.
    let fence = unsafe { Owned::new(device, fence) };
    {
        let queue = device.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let _call = ledger::calling("vkQueueSubmit2", object());
        // SAFETY: the lock is the external synchronization of the queue; the fence is new.
        unsafe { device.queue_submit2(*queue, &[], fence.raw()) }?;
    }
    let _call = ledger::calling("vkWaitForFences", object());
    // SAFETY: the fence is live and was submitted.
    let waited = unsafe { device.wait_for_fences(&[fence.raw()], true, DEADLINE.as_nanos() as u64) };
    if waited == Err(vk::Result::TIMEOUT) {
        // An abandoned device keeps what it uses.
        std::mem::forget(fence);
    }
    waited
}
