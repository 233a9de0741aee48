#![expect(unsafe_code, reason = "imports and exports semaphores")]
//! Work whose end is not waited for at once: ordered with other devices by `sync_file`.

use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use ash::vk;

use super::commands::{Order, Submission};
use super::draw::Ground;
use super::error::failed;
use super::gpu::{Device, Gpu};
use super::image::Image;
use super::owned::Owned;
use super::pipeline::Pipeline;
use crate::error::{Error, Result};

/// A drawing under way. Dropping it waits for its end, at most 5 s, or abandons the device.
pub struct Pending<'a> {
    /// Waited for before what it uses goes.
    submission: Submission,
    end: Owned<vk::Semaphore>,
    _begin: Option<Owned<vk::Semaphore>>,
    _view: Owned<vk::ImageView>,
    _pipeline: Arc<Pipeline>,
    /// Nobody else may use it meanwhile.
    image: &'a mut Image,
}

impl Image {
    /// Submits a drawing of the [pattern](crate::pattern) for each of `stamps`, one over the other, and returns at once.
    ///
    /// With `after`, a `sync_file`, the drawing begins when that is signalled. Many stamps make slow work,
    /// and the picture shows the last.
    ///
    /// # Errors
    /// No stamp; the device cannot draw to such images, or order them by `sync_file`; or the driver fails.
    #[doc(alias = "vkImportSemaphoreFdKHR")]
    pub fn draw_patterns_after(&mut self, stamps: Range<u32>, after: Option<OwnedFd>) -> Result<Pending<'_>> {
        const OP: &str = "drawing patterns";
        if stamps.is_empty() {
            return Err(Error::input(OP, self.object(), "no stamp; at least one would be valid"));
        }
        let gpu = self.gpu().clone();
        let begin = after.map(|fd| gpu.semaphore_of(fd)).transpose()?;
        let end = gpu.exportable_semaphore()?;
        let wait: Vec<vk::Semaphore> = begin.iter().map(Owned::raw).collect();
        let order = Order { wait: &wait, signal: &[end.raw()] };
        let pattern = self.pattern_draw()?;
        let draw = |device: &ash::Device, commands| stamps.for_each(|stamp| pattern.record(device, commands, stamp));
        // SAFETY: draws with a pipeline for this format; `Pending` keeps it, the view and the semaphores until the end.
        let (submission, view) = unsafe { self.submit_draw(Ground::Covered, OP, order, draw) }?;
        Ok(Pending { submission, end, _begin: begin, _view: view, _pipeline: pattern.pipeline, image: self })
    }
}

impl Pending<'_> {
    /// Whether the drawing is over.
    ///
    /// # Errors
    /// The device is lost.
    pub fn is_done(&self) -> Result<bool> {
        self.submission.is_done()
    }

    /// Waits until the drawing is over.
    ///
    /// # Errors
    /// It is not within 5 s, which abandons the device, or the device is lost.
    pub fn wait(self) -> Result<()> {
        self.submission.wait()
    }

    /// A `sync_file` that is signalled at the drawing's end; `None` if the driver says that this has already come.
    ///
    /// Only once for each drawing: the export uses the semaphore's signal up.
    ///
    /// # Errors
    /// The driver fails, or answers what no driver may answer.
    #[doc(alias = "vkGetSemaphoreFdKHR")]
    pub fn export_sync_file(&mut self) -> Result<Option<OwnedFd>> {
        const OP: &str = "vkGetSemaphoreFdKHR";
        let info = vk::SemaphoreGetFdInfoKHR::default().semaphore(self.end.raw()).handle_type(SYNC_FD);
        let device = self.end.device();
        // SAFETY: the semaphore is live, made for this handle type, and its signal was submitted.
        let fd = unsafe { device.semaphore_fd.get_semaphore_fd(&info) }
            .map_err(|code| failed(OP, self.image.object(), code))?;
        match fd {
            -1 => Ok(None),
            // SAFETY: each successful call makes a new fd that belongs to the caller.
            0.. => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
            _ => Err(Error::answer(OP, self.image.object(), format!("fd {fd}; an open file or -1 would be valid"))),
        }
    }
}

const SYNC_FD: vk::ExternalSemaphoreHandleTypeFlags = vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD;

impl Gpu {
    /// A semaphore that is signalled when the `sync_file` is.
    fn semaphore_of(&self, sync_file: OwnedFd) -> Result<Owned<vk::Semaphore>> {
        let device = self.device();
        let object = || device.object(format!("sync_file fd {}", sync_file.as_raw_fd()));
        check_support(device, vk::ExternalSemaphoreFeatureFlags::IMPORTABLE)?;
        let semaphore = new_semaphore(device, &vk::SemaphoreCreateInfo::default())?;
        // The only permanence that a sync_file can have (VUID-VkImportSemaphoreFdInfoKHR-handleType-07307).
        let info = vk::ImportSemaphoreFdInfoKHR::default()
            .semaphore(semaphore.raw())
            .flags(vk::SemaphoreImportFlags::TEMPORARY)
            .handle_type(SYNC_FD)
            .fd(sync_file.as_raw_fd());
        // SAFETY: the semaphore is live and not in use, the fd is open.
        unsafe { device.semaphore_fd.import_semaphore_fd(&info) }
            .map_err(|code| failed("vkImportSemaphoreFdKHR", object(), code))?;
        // A successful import gives the fd to the driver, a failed one does not.
        let _given_away = sync_file.into_raw_fd();
        Ok(semaphore)
    }

    /// A semaphore whose signal can be exported as `sync_file`.
    fn exportable_semaphore(&self) -> Result<Owned<vk::Semaphore>> {
        check_support(self.device(), vk::ExternalSemaphoreFeatureFlags::EXPORTABLE)?;
        let mut export = vk::ExportSemaphoreCreateInfo::default().handle_types(SYNC_FD);
        new_semaphore(self.device(), &vk::SemaphoreCreateInfo::default().push_next(&mut export))
    }
}

fn new_semaphore(device: &Arc<Device>, info: &vk::SemaphoreCreateInfo<'_>) -> Result<Owned<vk::Semaphore>> {
    // SAFETY: `info` lives during the call.
    let raw = unsafe { device.create_semaphore(info, None) }
        .map_err(|code| failed("vkCreateSemaphore", device.object("a semaphore"), code))?;
    // SAFETY: just created, owned by nobody else.
    Ok(unsafe { Owned::new(device, raw) })
}

/// Refuses a device that does not say that semaphores are `what` as `sync_file`.
fn check_support(device: &Device, what: vk::ExternalSemaphoreFeatureFlags) -> Result<()> {
    let info = vk::PhysicalDeviceExternalSemaphoreInfo::default().handle_type(SYNC_FD);
    let mut properties = vk::ExternalSemaphoreProperties::default();
    // SAFETY: the physical device is of this instance, and the structs live during the call.
    unsafe {
        let instance = device.instance.raw();
        instance.get_physical_device_external_semaphore_properties(device.physical, &info, &mut properties);
    };
    if properties.external_semaphore_features.contains(what) {
        return Ok(());
    }
    let why = format!("semaphores are not {what:?} as sync_file");
    Err(Error::missing("vkGetPhysicalDeviceExternalSemaphoreProperties", device.object("sync_file"), why))
}
