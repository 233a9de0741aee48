#![expect(unsafe_code, reason = "loads the real driver's library and takes its functions")]
//! The driver that does the work.

use std::ffi::c_char;
use std::sync::OnceLock;

use ash::vk;
use libloading::os::unix::{Library as File, RTLD_LOCAL, RTLD_NOW};

use crate::config::{complain, config};

/// `vk_icdGetInstanceProcAddr` and `vk_icdGetPhysicalDeviceProcAddr`.
pub(crate) type GetProcAddr = unsafe extern "system" fn(vk::Instance, *const c_char) -> vk::PFN_vkVoidFunction;

/// The functions that a driver's library exports.
pub(crate) struct Library {
    pub(crate) negotiate: unsafe extern "system" fn(*mut u32) -> vk::Result,
    pub(crate) get_instance_proc_addr: GetProcAddr,
    pub(crate) get_physical_device_proc_addr: Option<GetProcAddr>,
    _file: File,
}

/// The real driver's library, loaded when it is first asked for; `None` if it can't be.
pub(crate) fn library() -> Option<&'static Library> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    let load = || {
        let path = &config().driver;
        let loaded = load(path);
        loaded.map_err(|error| complain(&format!("HANDOVER_FAULT_DRIVER {}: {error}", path.display()))).ok()
    };
    LIBRARY.get_or_init(load).as_ref()
}

fn load(path: &std::path::Path) -> Result<Library, libloading::Error> {
    // SAFETY: a Vulkan driver, whose initialisers have no preconditions; the loader would load it just so.
    let file = unsafe { File::open(Some(path), RTLD_NOW | RTLD_LOCAL) }?;
    // SAFETY: the type is the one that the loader's interface gives this name.
    let negotiate = *unsafe { file.get(b"vk_icdNegotiateLoaderICDInterfaceVersion\0") }?;
    // SAFETY: as above.
    let get_instance_proc_addr = *unsafe { file.get(b"vk_icdGetInstanceProcAddr\0") }?;
    // SAFETY: as above.
    let physical = unsafe { file.get::<GetProcAddr>(b"vk_icdGetPhysicalDeviceProcAddr\0") };
    let get_physical_device_proc_addr = physical.ok().map(|symbol| *symbol);
    Ok(Library { negotiate, get_instance_proc_addr, get_physical_device_proc_addr, _file: file })
}
