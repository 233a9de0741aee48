//! The functions of libgbm, as `gbm.h` of Mesa declares them, loaded when the first is needed.
#![expect(unsafe_code, reason = "loads libgbm, and gives its functions their types")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use libloading::Library;

use crate::error::{Error, Result};

const LIBRARY: &str = "libgbm.so.1";

/// What makes it be there.
const INSTALL: &str = "install GBM (Debian libgbm1, Fedora mesa-libgbm, Arch mesa)";

/// `struct gbm_device`.
pub(super) type Device = *mut c_void;
/// `struct gbm_bo`.
pub(super) type BufferObject = *mut c_void;

/// `struct gbm_import_fd_modifier_data`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct ImportFdModifier {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) format: u32,
    pub(super) num_fds: u32,
    pub(super) fds: [c_int; 4],
    pub(super) strides: [c_int; 4],
    pub(super) offsets: [c_int; 4],
    pub(super) modifier: u64,
}

/// `gbm_bo_create_with_modifiers2`.
type CreateFor = unsafe extern "C" fn(Device, u32, u32, u32, *const u64, c_uint, u32) -> BufferObject;
/// `gbm_bo_map`.
type Map = unsafe extern "C" fn(BufferObject, u32, u32, u32, u32, u32, *mut u32, *mut *mut c_void) -> *mut c_void;

/// Declares the struct and its loader. Newer functions than those of 2018 may be missing.
macro_rules! functions {
    (
        always { $( $field:ident $symbol:literal $type:ty; )* }
        newer { $( $newer:ident $newer_symbol:literal $newer_type:ty; )* }
    ) => {
        /// The functions.
        pub(super) struct Functions {
            $( pub(super) $field: $type, )*
            $( pub(super) $newer: Option<$newer_type>, )*
            _library: Library,
        }

        fn load() -> Result<Functions, libloading::Error> {
            // SAFETY: a system library whose initialisers are made to run in any process that links it.
            let library = unsafe { Library::new(LIBRARY) }?;
            Ok(Functions {
                $(
                    // SAFETY: the type is that of `gbm.h`.
                    $field: *unsafe { library.get($symbol) }?,
                )*
                $(
                    // SAFETY: as above.
                    $newer: unsafe { library.get($newer_symbol) }.ok().map(|found| *found),
                )*
                _library: library,
            })
        }
    };
}

functions! {
    always {
        create_device b"gbm_create_device" unsafe extern "C" fn(c_int) -> Device;
        device_destroy b"gbm_device_destroy" unsafe extern "C" fn(Device);
        backend_name b"gbm_device_get_backend_name" unsafe extern "C" fn(Device) -> *const c_char;
        is_format_supported b"gbm_device_is_format_supported" unsafe extern "C" fn(Device, u32, u32) -> c_int;
        plane_count_of b"gbm_device_get_format_modifier_plane_count" unsafe extern "C" fn(Device, u32, u64) -> c_int;
        create b"gbm_bo_create" unsafe extern "C" fn(Device, u32, u32, u32, u32) -> BufferObject;
        create_with_modifiers b"gbm_bo_create_with_modifiers"
            unsafe extern "C" fn(Device, u32, u32, u32, *const u64, c_uint) -> BufferObject;
        import b"gbm_bo_import" unsafe extern "C" fn(Device, u32, *mut c_void, u32) -> BufferObject;
        destroy b"gbm_bo_destroy" unsafe extern "C" fn(BufferObject);
        format b"gbm_bo_get_format" unsafe extern "C" fn(BufferObject) -> u32;
        modifier b"gbm_bo_get_modifier" unsafe extern "C" fn(BufferObject) -> u64;
        plane_count b"gbm_bo_get_plane_count" unsafe extern "C" fn(BufferObject) -> c_int;
        offset b"gbm_bo_get_offset" unsafe extern "C" fn(BufferObject, c_int) -> u32;
        stride b"gbm_bo_get_stride_for_plane" unsafe extern "C" fn(BufferObject, c_int) -> u32;
        fd b"gbm_bo_get_fd" unsafe extern "C" fn(BufferObject) -> c_int;
        map b"gbm_bo_map" Map;
        unmap b"gbm_bo_unmap" unsafe extern "C" fn(BufferObject, *mut c_void);
    }
    newer {
        fd_for_plane b"gbm_bo_get_fd_for_plane" unsafe extern "C" fn(BufferObject, c_int) -> c_int;
        create_for b"gbm_bo_create_with_modifiers2" CreateFor;
    }
}

/// The library, loaded once: drivers do not expect to be unloaded.
///
/// # Errors
/// It is not installed, or lacks a function that it has had since 2018.
pub(super) fn functions() -> Result<&'static Functions> {
    static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| load().map_err(|error| error.to_string()));
    loaded.as_ref().map_err(|why| missing(why))
}

unsafe extern "C" {
    /// Where the C library keeps the errno of this thread: a part of the ABI of glibc and musl.
    fn __errno_location() -> *mut c_int;
}

/// Forgets the errno of this thread: what an earlier call left would be taken for an answer.
pub(super) fn clear_errno() {
    // SAFETY: takes nothing, and returns an address that is this thread's.
    let errno = unsafe { __errno_location() };
    // SAFETY: as above; nobody holds a reference to it.
    unsafe { errno.write(0) };
}

fn missing(why: &str) -> Error {
    Error::missing("loading a library", LIBRARY, format!("{why}; {INSTALL}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn a_library_that_is_missing_is_a_lack_that_says_what_to_install() {
        let error = missing("libgbm.so.1: cannot open shared object file");
        assert!(matches!(error.cause, Cause::Missing(_)), "{error:?}");
        assert!(error.to_string().contains("libgbm.so.1: cannot open shared object file; install GBM"), "{error}");
    }
}
