//! A Vulkan driver that hands every call on to a real one, and does one deed of [`handover_faults`] on the way.
//!
//! To the loader it is a driver like any other, so validation and every other layer sit above it and see what a faulty driver
//! would have shown them. Its interface is the one of "Vulkan Loader/Driver Interface" (LoaderDriverInterface.md). Handles are
//! the real driver's own, so the loader's dispatch tables stay where they are; what is remembered of them is in `state`.
//!
//! It is steered by the environment, since that is all that a driver gets:
//!
//! | variable | meaning |
//! |---|---|
//! | `HANDOVER_FAULT_DRIVER` | the real driver's library |
//! | `HANDOVER_FAULT` | the name of the deed; without one, or with one of another seam, nothing is broken |
//! | `HANDOVER_FAULT_COUNT` | a file that gets one byte whenever the deed is done |
#![expect(unsafe_code, reason = "a driver's entry points: C functions that take and give raw pointers")]

mod chain;
mod config;
mod deed;
mod deeds;
mod format;
mod mapping;
mod proxies;
mod real;
mod state;

use std::ffi::{CStr, c_char};

use ash::vk;

pub use deed::Deed;

/// Agrees on the version of the loader's interface: whatever the real driver agrees on.
///
/// # Safety
/// Called by the loader, with a version to read and write.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(version: *mut u32) -> vk::Result {
    match real::library() {
        // SAFETY: the caller's contract is the real function's.
        Some(library) => unsafe { (library.negotiate)(version) },
        None => vk::Result::ERROR_INITIALIZATION_FAILED,
    }
}

/// A function of the driver: ours where there is one, else the real one's.
///
/// # Safety
/// Called by the loader, with an instance of this driver or none, and a name that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    let library = real::library()?;
    // SAFETY: the caller's contract is the real function's.
    let real = unsafe { (library.get_instance_proc_addr)(instance, name) }?;
    // SAFETY: the loader gives a name that ends with NUL.
    Some(proxies::of(unsafe { CStr::from_ptr(name) }).unwrap_or(real))
}

/// A function of physical devices, as [`vk_icdGetInstanceProcAddr`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetPhysicalDeviceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    let library = real::library()?;
    // SAFETY: the caller's contract is the real function's.
    let real = unsafe { (library.get_physical_device_proc_addr?)(instance, name) }?;
    // SAFETY: the loader gives a name that ends with NUL.
    Some(proxies::of(unsafe { CStr::from_ptr(name) }).unwrap_or(real))
}
