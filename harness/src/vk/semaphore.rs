#![expect(unsafe_code, reason = "creates, imports and exports semaphores")]
//! Semaphores that change hands as `sync_file`: how Vulkan waits for others, and others for it.
//!
//! A `sync_file` is a fence that was, or is being, worked on: importing one is temporary, and exporting one takes the
//! semaphore's signal away ("copy transference" in Vulkan's "Importing Semaphore Payloads").

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ash::vk;

use super::commands::{Order, Submission};
use super::error::failed;
use super::gpu::{Device, Gpu};
use super::memory::close_on_exec;
use super::owned::Owned;
use crate::error::{Error, Result};
use crate::fence::SyncFile;
use crate::ledger;

/// A semaphore: a binary one, or one with a counter.
pub struct Semaphore {
    raw: Owned<vk::Semaphore>,
    /// The file that the next wait is for, in words.
    imported: Mutex<Option<String>>,
}

/// A submission without commands that is under way. Dropping it waits for its end, at most 5 s, or abandons the device.
pub struct Work<'s> {
    submission: Submission,
    /// They are in use.
    _semaphores: PhantomData<&'s Semaphore>,
}

const SYNC_FD: vk::ExternalSemaphoreHandleTypeFlags = vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD;
const OPAQUE_FD: vk::ExternalSemaphoreHandleTypeFlags = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;

impl Gpu {
    /// A semaphore that imports `sync_file`s.
    ///
    /// # Errors
    /// The device does not say that it can do this, or the driver fails.
    #[doc(alias = "vkCreateSemaphore")]
    pub fn semaphore(&self) -> Result<Semaphore> {
        check_support(self.device(), SYNC_FD, false, vk::ExternalSemaphoreFeatureFlags::IMPORTABLE)?;
        Semaphore::create(self.device(), &vk::SemaphoreCreateInfo::default())
    }

    /// A semaphore that imports `sync_file`s, and whose signal can be exported as one.
    ///
    /// # Errors
    /// As [`Self::semaphore`].
    pub fn exportable_semaphore(&self) -> Result<Semaphore> {
        let both = vk::ExternalSemaphoreFeatureFlags::IMPORTABLE | vk::ExternalSemaphoreFeatureFlags::EXPORTABLE;
        check_support(self.device(), SYNC_FD, false, both)?;
        let mut export = vk::ExportSemaphoreCreateInfo::default().handle_types(SYNC_FD);
        Semaphore::create(self.device(), &vk::SemaphoreCreateInfo::default().push_next(&mut export))
    }

    /// Submits no commands, between waiting for `wait` and signalling `signal`.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkQueueSubmit2")]
    pub fn submit<'s>(&self, wait: &[&'s Semaphore], signal: &[&'s Semaphore]) -> Result<Work<'s>> {
        self.submit_nothing(&raw(wait), &files(wait), &raw(signal))
    }

    /// As [`Self::submit`], with a counter that gets to `value`, which is more than it is.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkQueueSubmit2")]
    pub fn submit_counting<'s>(&self, wait: &[&'s Semaphore], counter: &'s Semaphore, value: u64) -> Result<Work<'s>> {
        self.submit_nothing(&raw(wait), &files(wait), &[(counter.raw(), value)])
    }

    /// Submits no commands, which wait until `counter` gets to `value` and then get it to the next one. Whoever gets it to `value`
    /// may come later.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkQueueSubmit2")]
    pub fn submit_after_count<'s>(&self, counter: &'s Semaphore, value: u64) -> Result<Work<'s>> {
        self.submit_nothing(&[(counter.raw(), value)], "", &[(counter.raw(), value + 1)])
    }

    fn submit_nothing<'s>(
        &self,
        wait: &[(vk::Semaphore, u64)],
        files: &str,
        signal: &[(vk::Semaphore, u64)],
    ) -> Result<Work<'s>> {
        let order = Order { wait, signal, files };
        let object = self.device().object("a submission without commands");
        // SAFETY: nothing is recorded; the semaphores outlive the submission, which borrows them.
        let submission =
            unsafe { Submission::submit(self.device(), "ordering by semaphores", object, order, |_, _| {}) }?;
        Ok(Work { submission, _semaphores: PhantomData })
    }

    /// What this device lacks to hand semaphores on as opaque fds, which only its own driver understands.
    ///
    /// # Errors
    /// As missing: it does not say that it can.
    pub fn check_opaque_semaphores(&self, timeline: bool) -> Result<()> {
        let both = vk::ExternalSemaphoreFeatureFlags::IMPORTABLE | vk::ExternalSemaphoreFeatureFlags::EXPORTABLE;
        check_support(self.device(), OPAQUE_FD, timeline, both)
    }
}

impl Gpu {
    /// A semaphore with a counter, which begins with 0 and is this device's alone.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkCreateSemaphore")]
    pub fn timeline_semaphore(&self) -> Result<Semaphore> {
        let mut kind = kind(true);
        Semaphore::create(self.device(), &vk::SemaphoreCreateInfo::default().push_next(&mut kind))
    }

    /// A semaphore that is exported as opaque fd; with a counter if it is to be a `timeline`.
    ///
    /// # Errors
    /// As [`Self::check_opaque_semaphores`]; the driver fails.
    pub fn opaque_semaphore(&self, timeline: bool) -> Result<Semaphore> {
        self.check_opaque_semaphores(timeline)?;
        let mut kind = kind(timeline);
        let mut export = vk::ExportSemaphoreCreateInfo::default().handle_types(OPAQUE_FD);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind).push_next(&mut export);
        Semaphore::create(self.device(), &info)
    }

    /// The semaphore of another instance of this device, for good.
    ///
    /// # Errors
    /// As [`Self::opaque_semaphore`].
    pub fn import_opaque_semaphore(&self, fd: OwnedFd, timeline: bool) -> Result<Semaphore> {
        self.check_opaque_semaphores(timeline)?;
        let mut kind = kind(timeline);
        let made = Semaphore::create(self.device(), &vk::SemaphoreCreateInfo::default().push_next(&mut kind))?;
        let info =
            vk::ImportSemaphoreFdInfoKHR::default().semaphore(made.raw()).handle_type(OPAQUE_FD).fd(fd.as_raw_fd());
        let _call = ledger::calling("vkImportSemaphoreFdKHR", self.device().object("an opaque fd"));
        // SAFETY: the semaphore is new, the fd open and of a semaphore of this kind.
        unsafe { self.device().semaphore_fd.import_semaphore_fd(&info) }
            .map_err(|code| failed("vkImportSemaphoreFdKHR", self.device().object("an opaque fd"), code))?;
        // A successful import gives the fd to the driver, a failed one does not.
        let _given_away = fd.into_raw_fd();
        Ok(made)
    }
}

impl Semaphore {
    /// It as an opaque fd.
    ///
    /// # Errors
    /// The driver fails, or answers what no driver may answer.
    pub fn export_opaque(&self) -> Result<OwnedFd> {
        const OP: &str = "vkGetSemaphoreFdKHR";
        let device = self.raw.device();
        let object = || device.object("a semaphore as opaque fd");
        let info = vk::SemaphoreGetFdInfoKHR::default().semaphore(self.raw()).handle_type(OPAQUE_FD);
        let _call = ledger::calling("vkGetSemaphoreFdKHR", object());
        // SAFETY: the semaphore is live and made for this handle type.
        let fd = unsafe { device.semaphore_fd.get_semaphore_fd(&info) }.map_err(|code| failed(OP, object(), code))?;
        if fd < 0 {
            return Err(Error::answer(OP, object(), format!("fd {fd}; an open file would be valid")));
        }
        // SAFETY: each successful call makes a new fd that belongs to the caller.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        close_on_exec(&fd).map_err(|errno| Error::new(OP, object(), errno))?;
        Ok(fd)
    }

    /// The counter of a timeline semaphore becomes `value`, which is more than it was.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkSignalSemaphore")]
    pub fn advance_to(&self, value: u64) -> Result<()> {
        let device = self.raw.device();
        let info = vk::SemaphoreSignalInfo::default().semaphore(self.raw()).value(value);
        let _call = ledger::calling("vkSignalSemaphore", device.object("a timeline semaphore"));
        // SAFETY: the semaphore is live.
        unsafe { device.signal_semaphore(&info) }
            .map_err(|code| failed("vkSignalSemaphore", device.object("a timeline semaphore"), device.heeded(code)))
    }

    /// Whether the counter of a timeline semaphore is `value` or more before `patience` is over.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkWaitSemaphores")]
    pub fn reaches_within(&self, value: u64, patience: Duration) -> Result<bool> {
        let device = self.raw.device();
        let (semaphores, values) = ([self.raw()], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let _call = ledger::calling("vkWaitSemaphores", device.object("a timeline semaphore"));
        // SAFETY: the semaphore is live, and `info` lives during the call.
        match unsafe { device.wait_semaphores(&info, nanoseconds) } {
            Ok(()) => Ok(true),
            Err(vk::Result::TIMEOUT) => Ok(false),
            Err(code) => Err(failed("vkWaitSemaphores", device.object("a timeline semaphore"), device.heeded(code))),
        }
    }

    pub(super) fn raw(&self) -> vk::Semaphore {
        self.raw.raw()
    }

    fn create(device: &Arc<Device>, info: &vk::SemaphoreCreateInfo<'_>) -> Result<Self> {
        // SAFETY: `info` lives during the call.
        let raw = unsafe { device.create_semaphore(info, None) }
            .map_err(|code| failed("vkCreateSemaphore", device.object("a semaphore"), code))?;
        // SAFETY: just created, owned by nobody else.
        let raw = unsafe { Owned::new(device, raw) };
        Ok(Self { raw, imported: Mutex::default() })
    }

    /// Whoever waits for it next waits for `file`, and for nothing if that is `None` (fd -1); then it is what it was
    /// before.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "vkImportSemaphoreFdKHR")]
    pub fn import(&self, file: Option<SyncFile>) -> Result<()> {
        let device = self.raw.device();
        let label = file.as_ref().map(SyncFile::to_string);
        let object = device.object(label.clone().unwrap_or("fd -1".to_owned()));
        // The only permanence that a sync_file can have (VUID-VkImportSemaphoreFdInfoKHR-handleType-07307).
        let info = vk::ImportSemaphoreFdInfoKHR::default()
            .semaphore(self.raw())
            .flags(vk::SemaphoreImportFlags::TEMPORARY)
            .handle_type(SYNC_FD)
            .fd(file.as_ref().map_or(-1, |file| file.as_fd().as_raw_fd()));
        let _call = ledger::calling("vkImportSemaphoreFdKHR", &object);
        // SAFETY: the semaphore is live and not in use, since a `Work` borrows it; the fd is open, or -1, which is
        // valid.
        let done = unsafe { device.semaphore_fd.import_semaphore_fd(&info) };
        ledger::step("vkImportSemaphoreFdKHR", None, &object);
        done.map_err(|code| failed("vkImportSemaphoreFdKHR", object, code))?;
        *self.imported.lock().unwrap_or_else(PoisonError::into_inner) = label;
        // A successful import gives the fd to the driver, a failed one does not.
        file.and_then(|file| file.give("vkImportSemaphoreFdKHR"));
        Ok(())
    }

    /// A `sync_file` that signals when the signal comes that was submitted; `None` if the driver says that it has come
    /// (fd -1).
    ///
    /// It uses that signal up: nobody can wait for the semaphore before another one is submitted.
    ///
    /// # Errors
    /// The driver fails, or answers what no driver may answer.
    #[doc(alias = "vkGetSemaphoreFdKHR")]
    pub fn export(&self) -> Result<Option<SyncFile>> {
        const OP: &str = "vkGetSemaphoreFdKHR";
        let device = self.raw.device();
        let object = || device.object("a semaphore as sync_file");
        let info = vk::SemaphoreGetFdInfoKHR::default().semaphore(self.raw()).handle_type(SYNC_FD);
        let _call = ledger::calling("vkGetSemaphoreFdKHR", object());
        // SAFETY: the semaphore is live and made for this handle type.
        let fd = unsafe { device.semaphore_fd.get_semaphore_fd(&info) };
        ledger::step(OP, None, object());
        sync_file(fd.map_err(|code| failed(OP, object(), code))?, OP, object)
    }
}

/// The answer of a driver that was asked for a `sync_file`.
pub(super) fn sync_file(fd: i32, op: &'static str, object: impl Fn() -> String) -> Result<Option<SyncFile>> {
    match fd {
        -1 => Ok(None),
        0.. => {
            // SAFETY: the caller was just given this fd by a call that makes a new one, which belongs to the caller.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            let no_fence = |error: Error| Error { op: op.into(), object: object(), ..error };
            SyncFile::from_fd(fd).map(Some).map_err(no_fence)
        }
        _ => Err(Error::answer(op, object(), format!("fd {fd}; an open file or -1 would be valid"))),
    }
}

impl Work<'_> {
    /// Whether it has ended.
    ///
    /// # Errors
    /// The device is lost.
    pub fn is_done(&self) -> Result<bool> {
        self.submission.is_done()
    }

    /// Whether it ends before `patience` is over.
    ///
    /// # Errors
    /// The device is lost.
    pub fn ends_within(&self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            if self.is_done()? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits for its end, at most for `patience`.
    ///
    /// # Errors
    /// It does not come, with the files that it waits for; the device is lost.
    pub fn ends_before(&self, patience: Duration) -> Result<()> {
        if self.ends_within(patience)? { Ok(()) } else { Err(self.submission.late(patience)) }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not come within 5 s, which abandons the device, or the device is lost.
    pub fn wait(self) -> Result<()> {
        self.submission.wait()
    }
}

/// The handles of semaphores without a counter.
pub(super) fn raw(all: &[&Semaphore]) -> Vec<(vk::Semaphore, u64)> {
    all.iter().map(|semaphore| (semaphore.raw(), 0)).collect()
}

/// The files that `all` stand for in the submission that waits for them, in words; after it they stand for none.
pub(super) fn files(all: &[&Semaphore]) -> String {
    let imported = |semaphore: &&Semaphore| semaphore.imported.lock().unwrap_or_else(PoisonError::into_inner).take();
    all.iter().filter_map(imported).collect::<Vec<_>>().join(" and ")
}

/// A semaphore with a counter, or one that is signalled or not.
fn kind(timeline: bool) -> vk::SemaphoreTypeCreateInfo<'static> {
    let kind = if timeline { vk::SemaphoreType::TIMELINE } else { vk::SemaphoreType::BINARY };
    vk::SemaphoreTypeCreateInfo::default().semaphore_type(kind)
}

/// Refuses a device that does not say that semaphores are `what` as `handle`.
fn check_support(
    device: &Device,
    handle: vk::ExternalSemaphoreHandleTypeFlags,
    timeline: bool,
    what: vk::ExternalSemaphoreFeatureFlags,
) -> Result<()> {
    let mut kind = kind(timeline);
    let info = vk::PhysicalDeviceExternalSemaphoreInfo::default().handle_type(handle).push_next(&mut kind);
    let mut properties = vk::ExternalSemaphoreProperties::default();
    // SAFETY: the physical device is of this instance, and the structs live during the call.
    unsafe {
        let instance = device.instance.raw();
        instance.get_physical_device_external_semaphore_properties(device.physical, &info, &mut properties);
    };
    if properties.external_semaphore_features.contains(what) {
        return Ok(());
    }
    let kind = if timeline { "timeline semaphores" } else { "semaphores" };
    let why = format!("{kind} are not {what:?} as {handle:?}");
    Err(Error::missing("vkGetPhysicalDeviceExternalSemaphoreProperties", device.object(format!("{handle:?}")), why))
}
