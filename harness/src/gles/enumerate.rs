#![expect(unsafe_code, reason = "calls EGL through pointers to the functions of its extensions")]
//! The devices that EGL knows, for who wants another one than it takes by itself.
//!
//! Sources: `EGL_EXT_device_enumeration`, `EGL_EXT_device_query`, `EGL_EXT_device_drm`, `EGL_EXT_device_drm_render_node`.

use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::path::{Path, PathBuf};

use khronos_egl::{self as egl, Boolean, Int};

use super::calls::Calls;
use super::egl::Api;
use super::extensions::{has, no_devices};
use crate::error::{Error, Result};

/// By which extension of a device it tells a node of it, and as which string; the one first that anybody in its group may open.
const NODES: [(&str, Int); 2] = [("EGL_EXT_device_drm_render_node", 0x3377), ("EGL_EXT_device_drm", 0x3233)];

/// No machine has more devices, and a wrong count must not become an allocation.
const MOST: Int = 256;

type QueryDevices = unsafe extern "system" fn(Int, *mut *mut c_void, *mut Int) -> Boolean;
type QueryString = unsafe extern "system" fn(*mut c_void, Int) -> *const c_char;

/// A device of EGL, which is there as long as the process is.
#[derive(Clone, Debug)]
pub(super) struct EglDevice {
    raw: *mut c_void,
    nodes: Vec<PathBuf>,
}

impl EglDevice {
    /// The `EGLDeviceEXT`.
    pub(super) fn raw(&self) -> *mut c_void {
        self.raw
    }

    /// The node of the kernel's device that it drives, the one for everybody if there is one; a driver in software has none.
    pub(super) fn node(&self) -> Option<&Path> {
        self.nodes.first().map(PathBuf::as_path)
    }

    /// Whether `select` is a node of it.
    pub(super) fn has_node(&self, select: &str) -> bool {
        self.nodes.iter().any(|node| node == Path::new(select))
    }
}

impl fmt::Display for EglDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node() {
            Some(node) => write!(f, "EGL device on {}", node.display()),
            None => f.write_str("EGL device without a node"),
        }
    }
}

/// Every device that the library `api` knows.
///
/// # Errors
/// It lacks the extensions for that, or answers what no driver may answer.
pub(super) fn devices(api: &Api, calls: &Calls) -> Result<Vec<EglDevice>> {
    const OP: &str = "eglQueryDevicesEXT";
    let client = api.query_string(None, egl::EXTENSIONS).map(|text| text.to_string_lossy().into_owned());
    if let Some(lack) = no_devices(client.as_deref().unwrap_or_default()) {
        return Err(lack);
    }
    let find = |name: &'static str| {
        let why = "nothing, though the library lists the extension that has it";
        api.get_proc_address(name).ok_or_else(|| Error::answer("eglGetProcAddress", name, why))
    };
    let query = find(OP)?;
    // SAFETY: the function has the type that its extension declares, here and below.
    let query: QueryDevices = unsafe { std::mem::transmute_copy(&query) };
    let tell = find("eglQueryDeviceStringEXT")?;
    // SAFETY: as above.
    let tell: QueryString = unsafe { std::mem::transmute_copy(&tell) };
    let ask = |most, devices: *mut *mut c_void| {
        let mut count = 0;
        // SAFETY: `devices` has room for `most`, or both are nothing.
        if unsafe { query(most, devices, &raw mut count) } == egl::FALSE {
            return Err(Error::new(OP, "EGL", calls.cause()));
        }
        let length = usize::try_from(count).ok().filter(|_| count <= MOST);
        let why = || format!("a count of {count}; 0 to {MOST} would be believable");
        length.map(|length| (count, length)).ok_or_else(|| Error::answer(OP, "EGL", why()))
    };
    let (count, length) = ask(0, std::ptr::null_mut())?;
    let mut raw = vec![std::ptr::null_mut(); length];
    if count > 0 {
        let (_, told) = ask(count, raw.as_mut_ptr())?;
        raw.truncate(told);
    }
    let told = |device, name| {
        // SAFETY: a device of this library, which has just told it.
        let text = unsafe { tell(device, name) };
        // SAFETY: a text of the library's, which ends with NUL and stays.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    let device = |raw: *mut c_void| {
        let extensions = told(raw, egl::EXTENSIONS).unwrap_or_default();
        let known = NODES.iter().filter(|(extension, _)| has(&extensions, extension));
        EglDevice { raw, nodes: known.filter_map(|(_, name)| told(raw, *name)).map(PathBuf::from).collect() }
    };
    Ok(raw.into_iter().filter(|raw| !raw.is_null()).map(device).collect())
}
