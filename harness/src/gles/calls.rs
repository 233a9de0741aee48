#![expect(unsafe_code, reason = "calls EGL through pointers to its functions")]
//! The calls of EGL that a driver may refuse without an error, or with one that nobody knows: the crate takes that for a mistake of
//! ours, and panics.
//!
//! Source: the EGL 1.5 specification. Of `eglGetPlatformDisplay` it says that no error is raised where no display matches.

use khronos_egl::{self as egl, Attrib, Boolean, EGLContext, EGLDisplay, EGLImage, EGLSync, Enum, Int};

use super::egl::Api;
use crate::error::{Cause, Error, Result};

/// Functions of EGL, as its specification declares them.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    get_error: unsafe extern "system" fn() -> Int,
    get_platform_display: unsafe extern "system" fn(Enum, *mut std::ffi::c_void, *const Attrib) -> EGLDisplay,
    create_context: unsafe extern "system" fn(EGLDisplay, egl::EGLConfig, EGLContext, *const Int) -> EGLContext,
    create_image:
        unsafe extern "system" fn(EGLDisplay, EGLContext, Enum, egl::EGLClientBuffer, *const Attrib) -> EGLImage,
    create_sync: unsafe extern "system" fn(EGLDisplay, Enum, *const Attrib) -> EGLSync,
    client_wait_sync: unsafe extern "system" fn(EGLDisplay, EGLSync, Int, egl::Time) -> Int,
    wait_sync: unsafe extern "system" fn(EGLDisplay, EGLSync, Int) -> Boolean,
}

/// Errors by their numbers.
const ERRORS: &[(Int, &str)] = &[
    (0x3000, "no EGL error is set"),
    (0x3001, "EGL_NOT_INITIALIZED"),
    (0x3002, "EGL_BAD_ACCESS"),
    (0x3003, "EGL_BAD_ALLOC"),
    (0x3004, "EGL_BAD_ATTRIBUTE"),
    (0x3005, "EGL_BAD_CONFIG"),
    (0x3006, "EGL_BAD_CONTEXT"),
    (0x3007, "EGL_BAD_CURRENT_SURFACE"),
    (0x3008, "EGL_BAD_DISPLAY"),
    (0x3009, "EGL_BAD_MATCH"),
    (0x300A, "EGL_BAD_NATIVE_PIXMAP"),
    (0x300B, "EGL_BAD_NATIVE_WINDOW"),
    (0x300C, "EGL_BAD_PARAMETER"),
    (0x300D, "EGL_BAD_SURFACE"),
    (0x300E, "EGL_CONTEXT_LOST"),
];

/// The name of an error.
fn name(error: Int) -> String {
    let known = ERRORS.iter().find(|(number, _)| *number == error);
    known.map_or_else(|| format!("EGL error {error:#x}, which is none"), |(_, name)| (*name).to_owned())
}

impl Calls {
    /// Those of the library that `api` is.
    pub(super) fn load(api: &Api) -> Result<Self> {
        let find = |name: &'static str| {
            let why = "nothing, though it tells the address of every function of EGL 1.5";
            api.get_proc_address(name).ok_or_else(|| Error::answer("eglGetProcAddress", name, why))
        };
        let get_error = find("eglGetError")?;
        let get_platform_display = find("eglGetPlatformDisplay")?;
        let create_context = find("eglCreateContext")?;
        let create_image = find("eglCreateImage")?;
        let create_sync = find("eglCreateSync")?;
        let client_wait_sync = find("eglClientWaitSync")?;
        let wait_sync = find("eglWaitSync")?;
        Ok(Self {
            // SAFETY: the function has the type that the specification declares for its name, here and below.
            get_error: unsafe { std::mem::transmute_copy(&get_error) },
            // SAFETY: as above.
            get_platform_display: unsafe { std::mem::transmute_copy(&get_platform_display) },
            // SAFETY: as above.
            create_context: unsafe { std::mem::transmute_copy(&create_context) },
            // SAFETY: as above.
            create_image: unsafe { std::mem::transmute_copy(&create_image) },
            // SAFETY: as above.
            create_sync: unsafe { std::mem::transmute_copy(&create_sync) },
            // SAFETY: as above.
            client_wait_sync: unsafe { std::mem::transmute_copy(&client_wait_sync) },
            // SAFETY: as above.
            wait_sync: unsafe { std::mem::transmute_copy(&wait_sync) },
        })
    }

    /// The error of this thread's last call, which is then forgotten.
    pub(super) fn cause(&self) -> Cause {
        // SAFETY: no preconditions.
        Cause::Code(name(unsafe { (self.get_error)() }))
    }

    /// The display on what `native` points to; `None` if there is none.
    ///
    /// # Safety
    /// `native` is what `platform` says, and lives as long as the display.
    pub(super) unsafe fn platform_display(
        &self,
        platform: Enum,
        native: *mut std::ffi::c_void,
    ) -> Option<egl::Display> {
        // SAFETY: the caller's contract; the list has its end.
        let raw = unsafe { (self.get_platform_display)(platform, native, [egl::ATTRIB_NONE].as_ptr()) };
        // SAFETY: a display of this library.
        (raw != egl::NO_DISPLAY).then(|| unsafe { egl::Display::from_ptr(raw) })
    }

    /// A context without a config, as `attributes` say; the error.
    pub(super) fn context(&self, display: egl::Display, attributes: &[Int]) -> Result<egl::Context, Cause> {
        let mut list = attributes.to_vec();
        list.push(egl::NONE);
        let (no_config, none) = (std::ptr::null_mut(), egl::NO_CONTEXT);
        // SAFETY: the display is live, the others are nothing by definition, and the list has its end.
        let raw = unsafe { (self.create_context)(display.as_ptr(), no_config, none, list.as_ptr()) };
        match raw == egl::NO_CONTEXT {
            true => Err(self.cause()),
            // SAFETY: just created.
            false => Ok(unsafe { egl::Context::from_ptr(raw) }),
        }
    }

    /// An image of `buffer`; the error.
    ///
    /// # Safety
    /// `context` and `buffer` are what `target` says; the list of `attributes` has its end.
    pub(super) unsafe fn image(
        &self,
        display: egl::Display,
        context: EGLContext,
        target: Enum,
        buffer: egl::EGLClientBuffer,
        attributes: &[Attrib],
    ) -> Result<egl::Image, Cause> {
        debug_assert!(attributes.contains(&egl::ATTRIB_NONE));
        // SAFETY: the caller's contract; the display is live.
        let raw = unsafe { (self.create_image)(display.as_ptr(), context, target, buffer, attributes.as_ptr()) };
        match raw == egl::NO_IMAGE {
            true => Err(self.cause()),
            // SAFETY: just created.
            false => Ok(unsafe { egl::Image::from_ptr(raw) }),
        }
    }

    /// A sync object of `kind`; the error.
    ///
    /// # Safety
    /// The list of `attributes` has its end; an fd in it is open, or the number that stands for none.
    pub(super) unsafe fn sync(
        &self,
        display: egl::Display,
        kind: Enum,
        attributes: &[Attrib],
    ) -> Result<egl::Sync, Cause> {
        debug_assert!(attributes.contains(&egl::ATTRIB_NONE));
        // SAFETY: the caller's contract; the display is live.
        let raw = unsafe { (self.create_sync)(display.as_ptr(), kind, attributes.as_ptr()) };
        match raw == egl::NO_SYNC {
            true => Err(self.cause()),
            // SAFETY: just created.
            false => Ok(unsafe { egl::Sync::from_ptr(raw) }),
        }
    }

    /// How a wait of `nanoseconds` for `sync` ended, after a flush; the error.
    ///
    /// # Safety
    /// `sync` is live, and of `display`.
    pub(super) unsafe fn client_wait(
        &self,
        display: egl::Display,
        sync: egl::Sync,
        nanoseconds: u64,
    ) -> Result<Int, Cause> {
        // SAFETY: the caller's contract.
        let answer = unsafe {
            (self.client_wait_sync)(display.as_ptr(), sync.as_ptr(), egl::SYNC_FLUSH_COMMANDS_BIT, nanoseconds)
        };
        if answer == egl::FALSE as Int { Err(self.cause()) } else { Ok(answer) }
    }

    /// What is drawn from now on waits for `sync`; the error.
    ///
    /// # Safety
    /// As [`Self::client_wait`].
    pub(super) unsafe fn server_wait(&self, display: egl::Display, sync: egl::Sync) -> Result<(), Cause> {
        // SAFETY: the caller's contract.
        let done = unsafe { (self.wait_sync)(display.as_ptr(), sync.as_ptr(), 0) };
        if done == egl::FALSE { Err(self.cause()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_none_is_told_by_its_number() {
        assert_eq!(name(0x3009), "EGL_BAD_MATCH");
        assert_eq!(name(0x3000), "no EGL error is set");
        assert_eq!(name(7), "EGL error 0x7, which is none");
    }
}
