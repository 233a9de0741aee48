//! llvmpipe: where `poll` refuses to look at a fence, is the fence not waited for?
//!
//! Hands a fence of a software timeline to EGL, has OpenGL ES wait for it, and sees whether it has signalled when the wait is over;
//! then once more while `RLIMIT_NOFILE` is 0, where `poll` of any file fails with `EINVAL`. A thread signals each fence a while
//! later. Needs EGL's surfaceless platform and, as root, debugfs with `sync/sw_sync`.
//!
//! Exit status: 0 the defect is there, 1 it is not, 2 it could not be tried.
//!
//! Run it with `rust-script FILE`, or as `src/main.rs` of a package with
//!
//! ```cargo
//! [dependencies]
//! glow = "0.18"
//! khronos-egl = { version = "6", default-features = false, features = ["dynamic", "1_5"] }
//! libc = "0.2"
//! ```
#![allow(unsafe_code, reason = "calls EGL, OpenGL ES and the kernel")]

use std::error::Error;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use glow::HasContext as _;
use khronos_egl as egl;

const PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31dd;
const SYNC_NATIVE_FENCE_ANDROID: egl::Enum = 0x3144;
const SYNC_NATIVE_FENCE_FD_ANDROID: egl::Attrib = 0x3145;

/// So long a fence is pending.
const PENDING: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let (said, status) = match try_it() {
        Ok(true) => ("the defect is there".to_owned(), 0),
        Ok(false) => ("the defect is not there".to_owned(), 1),
        Err(why) => (format!("it could not be tried: {why}"), 2),
    };
    println!("{said}");
    ExitCode::from(status)
}

fn try_it() -> Result<bool, Box<dyn Error>> {
    // SAFETY: EGL is a system library, made to be loaded into any process.
    let egl = unsafe { egl::DynamicInstance::<egl::EGL1_5>::load_required_from_filename("libEGL.so.1") }
        .map_err(|error| format!("libEGL.so.1: {error:?}"))?;
    let (nothing, end) = (std::ptr::null_mut(), egl::ATTRIB_NONE);
    // SAFETY: this platform has no native display but the default one.
    let display = unsafe { egl.get_platform_display(PLATFORM_SURFACELESS_MESA, nothing, &[end]) }?;
    egl.initialize(display)?;
    egl.bind_api(egl::OPENGL_ES_API)?;
    // SAFETY: `EGL_NO_CONFIG_KHR` is a null pointer.
    let no_config = unsafe { egl::Config::from_ptr(nothing) };
    let version = [egl::CONTEXT_MAJOR_VERSION, 3, egl::CONTEXT_MINOR_VERSION, 1, egl::NONE];
    let context = egl.create_context(display, no_config, None, &version)?;
    egl.make_current(display, None, None, Some(context))?;
    let function = |name: &str| egl.get_proc_address(name).map_or(std::ptr::null(), |found| found as *const c_void);
    // SAFETY: the context is current, and stays so.
    let gl = unsafe { glow::Context::from_loader_function(function) };
    // SAFETY: as above.
    println!("{}", unsafe { gl.get_parameter_string(glow::VERSION) });

    let timeline = File::options().read(true).write(true).open("/sys/kernel/debug/sync/sw_sync")?;
    let waits = |point: u32, without_files: bool| -> Result<bool, Box<dyn Error>> {
        let ours = fence(&timeline, point)?;
        let theirs = ours.try_clone()?;
        let attributes = [SYNC_NATIVE_FENCE_FD_ANDROID, theirs.as_raw_fd() as egl::Attrib, end];
        // SAFETY: the display is live, and the fd is open.
        let sync = unsafe { egl.create_sync(display, SYNC_NATIVE_FENCE_ANDROID, &attributes) }?;
        // EGL has it by now.
        let _ = theirs.into_raw_fd();
        let signaller = timeline.try_clone()?;
        let signals = std::thread::spawn(move || {
            std::thread::sleep(PENDING);
            advance(&signaller)
        });
        let limited = without_files.then(Limited::to_none).transpose()?;
        let ordered = egl.wait_sync(display, sync, 0);
        // SAFETY: the context is current.
        unsafe { gl.finish() };
        drop(limited);
        let signalled = has_signalled(&ours)?;
        ordered?;
        signals.join().map_err(|_| "the thread that signals has panicked")??;
        // SAFETY: nobody uses the sync any more.
        unsafe { egl.destroy_sync(display, sync) }?;
        let said = if signalled { "has signalled" } else { "is still pending" };
        println!("when the wait is over{}, the fence {said}", if without_files { ", where poll fails" } else { "" });
        Ok(signalled)
    };
    if !waits(1, false)? {
        return Err("a fence is not waited for at all".into());
    }
    Ok(!waits(2, true)?)
}

/// While it lives, `poll` of any file fails with `EINVAL`, for it looks at more files than may be open.
struct Limited(libc::rlimit);

impl Limited {
    fn to_none() -> io::Result<Self> {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure lives until the call returns.
        checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut before) })?;
        let none = libc::rlimit { rlim_cur: 0, ..before };
        // SAFETY: as above.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) })?;
        Ok(Self(before))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // SAFETY: the structure lives until the call returns.
        if let Err(error) = checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &self.0) }) {
            println!("the limit of files stays lowered: {error}");
        }
    }
}

/// A fence that signals when the timeline has counted to `point`.
fn fence(timeline: &File, point: u32) -> io::Result<OwnedFd> {
    /// `struct sw_sync_create_fence_data`.
    #[repr(C)]
    struct Create {
        value: u32,
        name: [u8; 32],
        fence: i32,
    }
    const SW_SYNC_IOC_CREATE_FENCE: libc::Ioctl = 0xc028_5700_u32 as libc::Ioctl;
    let mut create = Create { value: point, name: [0; 32], fence: -1 };
    // SAFETY: the number is that of a call that reads and writes this structure.
    checked(unsafe { libc::ioctl(timeline.as_raw_fd(), SW_SYNC_IOC_CREATE_FENCE, &mut create) })?;
    checked(create.fence)?;
    // SAFETY: the call succeeded, so this descriptor is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(create.fence) })
}

/// Has the timeline count on by one.
fn advance(timeline: &File) -> io::Result<()> {
    const SW_SYNC_IOC_INC: libc::Ioctl = 0x4004_5701;
    let by = 1_u32;
    // SAFETY: the number is that of a call that reads this number.
    checked(unsafe { libc::ioctl(timeline.as_raw_fd(), SW_SYNC_IOC_INC, &by) })
}

fn has_signalled(fence: &OwnedFd) -> io::Result<bool> {
    let mut asked = libc::pollfd { fd: fence.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: it is one structure, which lives until the call returns.
    checked(unsafe { libc::poll(&mut asked, 1, 0) })?;
    Ok(asked.revents & libc::POLLIN != 0)
}

fn checked(status: i32) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
