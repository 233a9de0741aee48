#![expect(unsafe_code, reason = "EGL's sync objects, and an extension function through its pointer")]
//! Fences of OpenGL ES that change hands as `sync_file`.
//!
//! Source: `EGL_ANDROID_native_fence_sync`, and "Sync Objects" of the EGL 1.5 specification.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use glow::HasContext as _;
use khronos_egl::{self as egl, Attrib, Int};

use super::Gles;
use super::egl::Egl;
use super::extensions::has;
use crate::error::{Error, Result};
use crate::fence::SyncFile;
use crate::ledger;

const EXTENSION: &str = "EGL_ANDROID_native_fence_sync";
const NATIVE_FENCE: egl::Enum = 0x3144;
const NATIVE_FENCE_FD: Attrib = 0x3145;
const NO_FENCE_FD: Int = -1;

type Dup = unsafe extern "system" fn(egl::EGLDisplay, egl::EGLSync) -> Int;

/// A fence of EGL that is a `sync_file` outside.
pub struct NativeFence {
    raw: egl::Sync,
    /// The file that it was made of, in words.
    file: Option<String>,
    egl: Rc<Egl>,
    gles: Gles,
}

impl Gles {
    /// A fence that is signalled when `file` is.
    ///
    /// # Errors
    /// As missing: the display has no such fences. The driver refuses.
    pub fn import_fence(&self, file: SyncFile) -> Result<NativeFence> {
        let mut fence = self.native_fence(file.as_fd().as_raw_fd())?;
        fence.file = Some(file.to_string());
        // EGL has the fd once the call succeeded.
        file.give("eglCreateSync");
        Ok(fence)
    }

    /// A fence that is signalled when everything drawn so far is there.
    ///
    /// # Errors
    /// As [`Self::import_fence`].
    pub fn fence(&self) -> Result<NativeFence> {
        let fence = self.native_fence(NO_FENCE_FD)?;
        // It gets its fd when the commands before it are flushed.
        let gl = self.begin()?;
        // SAFETY: the context is current.
        unsafe { gl.flush() };
        self.check("glFlush", "a fence")?;
        Ok(fence)
    }

    fn native_fence(&self, fd: Int) -> Result<NativeFence> {
        const OP: &str = "eglCreateSync(EGL_SYNC_NATIVE_FENCE_ANDROID)";
        let egl = self.egl();
        if !has(&egl.extensions, EXTENSION) {
            return Err(Error::missing(OP, egl.object(""), format!("{EXTENSION} is missing")));
        }
        self.begin()?;
        let attributes = [NATIVE_FENCE_FD, fd as Attrib, egl::ATTRIB_NONE];
        // SAFETY: the display is live; the fd is open, or the number that stands for none.
        let raw = unsafe { egl.calls().sync(egl.display(), NATIVE_FENCE, &attributes) };
        ledger::step("eglCreateSync", None, format_args!("fd {fd}"));
        let raw = raw.map_err(|cause| Error::new(OP, egl.object(format!("fd {fd}")), cause))?;
        Ok(NativeFence { raw, file: None, egl: Rc::clone(egl), gles: self.clone() })
    }
}

impl NativeFence {
    /// What is drawn from now on waits for it, in the driver or on the device; the call need not.
    ///
    /// # Errors
    /// The driver refuses.
    #[doc(alias = "eglWaitSync")]
    pub fn hold_back_drawing(&self) -> Result<()> {
        self.gles.begin()?;
        // SAFETY: display and fence are live, and belong to each other.
        unsafe { self.egl.calls().server_wait(self.egl.display(), self.raw) }
            .map_err(|cause| Error::new("eglWaitSync", self.egl.object("a native fence"), cause))
    }

    /// Whether it is signalled before `patience` is over.
    ///
    /// # Errors
    /// The driver fails.
    #[doc(alias = "eglClientWaitSync")]
    pub fn signals_within(&self, patience: Duration) -> Result<bool> {
        const OP: &str = "eglClientWaitSync";
        self.gles.begin()?;
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let _call = ledger::calling(OP, self.egl.object("a native fence"));
        // SAFETY: display and fence are live, and belong to each other.
        let answer = unsafe { self.egl.calls().client_wait(self.egl.display(), self.raw, nanoseconds) };
        match answer.map_err(|cause| Error::new(OP, self.egl.object("a native fence"), cause))? {
            egl::CONDITION_SATISFIED => Ok(true),
            egl::TIMEOUT_EXPIRED => Ok(false),
            other => {
                let why = format!("{other:#x}; EGL_CONDITION_SATISFIED or EGL_TIMEOUT_EXPIRED would be valid");
                Err(Error::answer(OP, self.egl.object("a native fence"), why))
            }
        }
    }

    /// Waits until it is signalled.
    ///
    /// # Errors
    /// It is not within `patience`, with the file that it was made of; the driver fails.
    #[doc(alias = "eglClientWaitSync")]
    pub fn wait(&self, patience: Duration) -> Result<()> {
        if self.signals_within(patience)? {
            return Ok(());
        }
        let file = self.file.as_ref().map_or(String::new(), |file| format!(", which is {file}"));
        Err(Error::deadline("eglClientWaitSync", format!("{}{file}", self.egl.object("a native fence")), patience))
    }

    /// It as a `sync_file`.
    ///
    /// # Errors
    /// The driver refuses, or answers what no driver may answer.
    #[doc(alias = "eglDupNativeFenceFDANDROID")]
    pub fn export(&self) -> Result<SyncFile> {
        const OP: &str = "eglDupNativeFenceFDANDROID";
        let object = || self.egl.object("a native fence");
        let Some(function) = self.egl.api().get_proc_address(OP) else {
            return Err(Error::answer("eglGetProcAddress", OP, "nothing, though the display lists the extension"));
        };
        // SAFETY: the function has the type that its extension declares.
        let dup: Dup = unsafe { std::mem::transmute_copy(&function) };
        // SAFETY: display and fence are live, and belong to each other.
        let fd = unsafe { dup(self.egl.display().as_ptr(), self.raw.as_ptr()) };
        ledger::step(OP, None, "a native fence");
        if fd < 0 {
            let error = self.egl.calls().cause();
            return Err(Error::answer(OP, object(), format!("fd {fd} ({error}); an open file was due")));
        }
        // SAFETY: each successful call makes a new fd that belongs to the caller.
        SyncFile::from_fd(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Drop for NativeFence {
    fn drop(&mut self) {
        // SAFETY: display and fence are live and belong to each other; it is destroyed once, and EGL keeps what waits
        // for it.
        if let Err(error) = unsafe { self.egl.api().destroy_sync(self.egl.display(), self.raw) } {
            tracing::warn!("a native fence was not destroyed: {error:?}");
        }
    }
}
