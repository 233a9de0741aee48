#![expect(unsafe_code, reason = "creates, imports, exports and waits for fences")]
//! Fences that change hands as `sync_file`: how a program waits through Vulkan for others, and for Vulkan without it.
//!
//! Source: `VK_KHR_external_fence_fd`, and "Importing Fence Payloads" in the Vulkan specification.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::sync::PoisonError;
use std::time::Duration;

use ash::vk;

use super::commands::DEADLINE;
use super::error::failed;
use super::gpu::{Gpu, khr_fence_fd};
use super::owned::Owned;
use super::semaphore::sync_file;
use crate::error::{Error, Result};
use crate::fence::SyncFile;

/// A fence. Dropping one that a submission is to signal waits for that, at most 5 s, or abandons the device.
pub struct Fence {
    raw: Owned<vk::Fence>,
    functions: khr_fence_fd::Device,
    submitted: Cell<bool>,
}

const SYNC_FD: vk::ExternalFenceHandleTypeFlags = vk::ExternalFenceHandleTypeFlags::SYNC_FD;

impl Gpu {
    /// A fence, unsignalled, that imports and exports `sync_file`s.
    ///
    /// # Errors
    /// The device does not say that it can do this, or the driver fails.
    #[doc(alias = "vkCreateFence")]
    pub fn fence(&self) -> Result<Fence> {
        const OP: &str = "vkCreateFence";
        let device = self.device();
        let object = || device.object("a fence for sync_file");
        let functions = device.fence_fd.clone();
        let functions = functions.ok_or_else(|| Error::missing(OP, object(), "VK_KHR_external_fence_fd is missing"))?;
        let info = vk::PhysicalDeviceExternalFenceInfo::default().handle_type(SYNC_FD);
        let mut says = vk::ExternalFenceProperties::default();
        // SAFETY: the physical device is of this instance, and the structs live during the call.
        unsafe {
            let instance = device.instance.raw();
            instance.get_physical_device_external_fence_properties(device.physical, &info, &mut says);
        };
        let both = vk::ExternalFenceFeatureFlags::IMPORTABLE | vk::ExternalFenceFeatureFlags::EXPORTABLE;
        if !says.external_fence_features.contains(both) {
            return Err(Error::missing(OP, object(), format!("fences are not {both:?} as sync_file")));
        }
        let mut export = vk::ExportFenceCreateInfo::default().handle_types(SYNC_FD);
        let info = vk::FenceCreateInfo::default().push_next(&mut export);
        // SAFETY: `info` lives during the call.
        let raw = unsafe { device.create_fence(&info, None) }.map_err(|code| failed(OP, object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let raw = unsafe { Owned::new(device, raw) };
        Ok(Fence { raw, functions, submitted: Cell::new(false) })
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
        let object = file.as_ref().map_or("fd -1".to_owned(), SyncFile::to_string);
        let info = vk::ImportFenceFdInfoKHR::default()
            .fence(self.raw.raw())
            .flags(vk::FenceImportFlags::TEMPORARY)
            .handle_type(SYNC_FD)
            .fd(file.as_ref().map_or(-1, |file| file.as_fd().as_raw_fd()));
        // SAFETY: the fence is live, and no submission is to signal it before it was waited for; the fd is open, or -1.
        unsafe { self.functions.import_fence_fd(&info) }
            .map_err(|code| failed("vkImportFenceFdKHR", self.raw.device().object(object), code))?;
        // A successful import gives the fd to the driver, a failed one does not.
        let _given_away = file.map(|file| OwnedFd::from(file).into_raw_fd());
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
        // SAFETY: the fence is live and made for this handle type; it is signalled, or a submission will signal it.
        let fd = unsafe { self.functions.get_fence_fd(&info) }.map_err(|code| failed(OP, self.object(), code))?;
        sync_file(fd, OP, || self.object())
    }

    /// Whether it is signalled.
    ///
    /// # Errors
    /// The device is lost.
    pub fn is_signalled(&self) -> Result<bool> {
        // SAFETY: the fence is live.
        unsafe { self.raw.device().get_fence_status(self.raw.raw()) }
            .map_err(|code| failed("vkGetFenceStatus", self.object(), code))
    }

    /// Whether it is signalled before `patience` is over.
    ///
    /// # Errors
    /// The driver fails.
    pub fn signals_within(&self, patience: Duration) -> Result<bool> {
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: the fence is live.
        match unsafe { self.raw.device().wait_for_fences(&[self.raw.raw()], true, nanoseconds) } {
            Ok(()) => Ok(true),
            Err(vk::Result::TIMEOUT) => Ok(false),
            Err(code) => Err(failed("vkWaitForFences", self.object(), code)),
        }
    }

    /// Unsignals it, and ends an import.
    ///
    /// # Errors
    /// The driver fails.
    pub fn reset(&self) -> Result<()> {
        // SAFETY: the fence is live, and no submission is to signal it: `submit` waits for those before.
        unsafe { self.raw.device().reset_fences(&[self.raw.raw()]) }
            .map_err(|code| failed("vkResetFences", self.object(), code))
    }

    /// Submits nothing, which signals it.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkQueueSubmit2")]
    pub fn submit(&self) -> Result<()> {
        let device = self.raw.device();
        let queue = device.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the lock is the external synchronization of the queue; the fence is live and unsignalled.
        unsafe { device.queue_submit2(*queue, &[], self.raw.raw()) }
            .map_err(|code| failed("vkQueueSubmit2", self.object(), code))?;
        self.submitted.set(true);
        Ok(())
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // The queue may still have it, even if its signal was exported, and what was submitted before it ends first.
        if self.submitted.get() {
            let device = self.raw.device();
            let queue = device.queue.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the lock is the external synchronization of the queue. Nothing that was submitted waits for us.
            if unsafe { device.queue_wait_idle(*queue) }.is_err() {
                tracing::warn!("a fence did not end within {} s", DEADLINE.as_secs());
                device.abandon();
            }
        }
    }
}
