//! The GBM backend: what a few functions of Mesa's backend are called with, or answer.
//!
//! Source: `src/gbm/main/gbm_backend_abi.h` of Mesa, version 0 of each structure, which later versions only append to.
#![expect(unsafe_code, reason = "the C interface between libgbm and its backends")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

use handover_faults::made;
use libloading::Library;
use std::os::fd::BorrowedFd;

/// `struct gbm_backend`.
#[repr(C)]
pub struct Backend {
    version: u32,
    name: *const c_char,
    create_device: CreateDevice,
}

// SAFETY: its pointers are to constants and functions of a library that is never unloaded.
unsafe impl Send for Backend {}
// SAFETY: as above; nobody changes it.
unsafe impl Sync for Backend {}

type CreateDevice = unsafe extern "C" fn(c_int, u32) -> *mut Device;
type Create = unsafe extern "C" fn(*mut Device, u32, u32, u32, u32, *const u64, u32) -> *mut c_void;
type GetBackend = unsafe extern "C" fn(*const c_void) -> *const Backend;

type Map = unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32, u32, *mut u32, *mut *mut c_void) -> *mut c_void;

/// `struct gbm_device`, up to the last function that is looked at here.
#[repr(C)]
pub struct Device {
    dummy: *const c_void,
    description: *const c_void,
    version: u32,
    fd: c_int,
    name: *const c_char,
    destroy: *const c_void,
    is_format_supported: unsafe extern "C" fn(*mut Device, u32, u32) -> c_int,
    plane_count_of: *const c_void,
    create: Create,
    import: unsafe extern "C" fn(*mut Device, u32, *mut c_void, u32) -> *mut c_void,
    map: Map,
    unmap: *const c_void,
    write: *const c_void,
    get_fd: *const c_void,
    planes: unsafe extern "C" fn(*mut c_void) -> c_int,
    handle: *const c_void,
    plane_fd: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    stride: unsafe extern "C" fn(*mut c_void, c_int) -> u32,
    offset: *const c_void,
    modifier: unsafe extern "C" fn(*mut c_void) -> u64,
    destroy_object: unsafe extern "C" fn(*mut c_void),
}

/// Mesa's functions, as the first device has them; those of another are the same.
struct Real {
    is_format_supported: unsafe extern "C" fn(*mut Device, u32, u32) -> c_int,
    create: Create,
    import: unsafe extern "C" fn(*mut Device, u32, *mut c_void, u32) -> *mut c_void,
    map: Map,
    plane_fd: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    planes: unsafe extern "C" fn(*mut c_void) -> c_int,
    stride: unsafe extern "C" fn(*mut c_void, c_int) -> u32,
    modifier: unsafe extern "C" fn(*mut c_void) -> u64,
    destroy_object: unsafe extern "C" fn(*mut c_void),
}

static REAL: OnceLock<Real> = OnceLock::new();
static MESA: OnceLock<&'static Backend> = OnceLock::new();

/// The entry of a backend.
///
/// # Safety
/// libgbm calls it, with what its header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbmint_get_backend(core: *const c_void) -> *const Backend {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    static OURS: OnceLock<Backend> = OnceLock::new();
    let Some(path) = std::env::var_os("HANDOVER_FAULT_GBM") else { return std::ptr::null() };
    // SAFETY: Mesa's backend is made to be loaded by any process that uses GBM.
    let Some(library) = LIBRARY.get_or_init(|| unsafe { Library::new(path) }.ok()) else { return std::ptr::null() };
    // SAFETY: the type is that of gbm_backend_abi.h.
    let Ok(get) = (unsafe { library.get::<GetBackend>(b"gbmint_get_backend") }) else { return std::ptr::null() };
    // SAFETY: the argument is the one that we were called with.
    let backend = unsafe { get(core) };
    // SAFETY: a backend is a constant of its library, which is never unloaded.
    let Some(mesa) = (unsafe { backend.as_ref() }) else { return std::ptr::null() };
    let mesa = *MESA.get_or_init(|| mesa);
    OURS.get_or_init(|| Backend { version: mesa.version, name: mesa.name, create_device })
}

unsafe extern "C" fn create_device(fd: c_int, version: u32) -> *mut Device {
    let Some(mesa) = MESA.get() else { return std::ptr::null_mut() };
    // SAFETY: the arguments are libgbm's.
    let made = unsafe { (mesa.create_device)(fd, version) };
    // SAFETY: a backend makes a device, or returns nothing; nobody else has it yet.
    if let Some(device) = unsafe { made.as_mut() } {
        REAL.get_or_init(|| Real {
            is_format_supported: device.is_format_supported,
            create: device.create,
            import: device.import,
            map: device.map,
            plane_fd: device.plane_fd,
            planes: device.planes,
            stride: device.stride,
            modifier: device.modifier,
            destroy_object: device.destroy_object,
        });
        device.is_format_supported = is_format_supported;
        device.create = create;
        device.import = import;
        device.map = map;
        device.plane_fd = plane_fd;
        device.planes = planes;
        device.stride = stride;
        device.modifier = modifier;
        device.destroy_object = destroy_object;
    }
    made
}

fn real() -> &'static Real {
    // Set before any device has our functions.
    REAL.get().expect("a device was made")
}

unsafe extern "C" fn is_format_supported(device: *mut Device, format: u32, usage: u32) -> c_int {
    // SAFETY: the arguments are the caller's.
    let supported = unsafe { (real().is_format_supported)(device, format, usage) };
    if supported == 0 && made::is("gbm-supports-anything") {
        made::fired();
        return 1;
    }
    supported
}

unsafe extern "C" fn create(
    device: *mut Device,
    width: u32,
    height: u32,
    format: u32,
    usage: u32,
    modifiers: *const u64,
    count: u32,
) -> *mut c_void {
    // A multiple of 256 B whatever a pixel has, of formats that have a whole number of bytes for each.
    let wide = if made::is("egl-gbm-pitch-256") { width.next_multiple_of(256) } else { width };
    if wide != width {
        made::fired();
    }
    // SAFETY: the arguments are the caller's, but for the width, which is one like any.
    unsafe { (real().create)(device, wide, height, format, usage, modifiers, count) }
}

unsafe extern "C" {
    /// Where the C library keeps the errno of this thread: a part of the ABI of glibc and musl.
    fn __errno_location() -> *mut c_int;
}

/// Answers as Mesa's backend does where its driver does not take a frame in.
fn refused() -> *mut c_void {
    // SAFETY: takes nothing, and returns an address that is this thread's.
    let errno = unsafe { __errno_location() };
    // SAFETY: as above; nobody holds a reference to it.
    unsafe { errno.write(rustix::io::Errno::NOSYS.raw_os_error()) };
    std::ptr::null_mut()
}

/// `GBM_BO_IMPORT_FD_MODIFIER`.
const FD_MODIFIER: u32 = 0x5504;

/// `struct gbm_import_fd_modifier_data`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FdModifier {
    width: u32,
    height: u32,
    format: u32,
    num_fds: u32,
    fds: [c_int; 4],
    strides: [c_int; 4],
    offsets: [c_int; 4],
    modifier: u64,
}

unsafe extern "C" fn import(device: *mut Device, kind: u32, buffer: *mut c_void, usage: u32) -> *mut c_void {
    let ask = |buffer: *mut c_void| {
        // SAFETY: the arguments are the caller's, or a structure of the same type that lives until the call returns.
        unsafe { (real().import)(device, kind, buffer, usage) }
    };
    if kind == FD_MODIFIER && made::is("gbm-modifier-of-32-bits") {
        // SAFETY: for this kind the buffer is this structure.
        let asked = unsafe { buffer.cast::<FdModifier>().read() };
        let mut cut = FdModifier { modifier: asked.modifier & 0xffff_ffff, ..asked };
        if cut.modifier != asked.modifier {
            made::fired();
        }
        return ask((&raw mut cut).cast());
    }
    if kind == FD_MODIFIER && made::is("egl-gbm-pitch-256") {
        // SAFETY: for this kind the buffer is this structure.
        let asked = unsafe { buffer.cast::<FdModifier>().read() };
        if asked.strides.iter().take(asked.num_fds as usize).any(|pitch| pitch % 256 != 0) {
            made::fired();
            return refused();
        }
    }
    if kind == FD_MODIFIER && made::is("gbm-unchecked") {
        let made = ask(buffer);
        if !made.is_null() {
            return made;
        }
        // SAFETY: for this kind the buffer is this structure.
        let asked = unsafe { buffer.cast::<FdModifier>().read() };
        let mut plain = FdModifier { format: u32::from_le_bytes(*b"XR24"), num_fds: 1, modifier: 0, ..asked };
        let made = ask((&raw mut plain).cast());
        if !made.is_null() {
            made::fired();
        }
        return made;
    }
    if kind != FD_MODIFIER || !made::is("gbm-offset-ignored") {
        return ask(buffer);
    }
    // SAFETY: for this kind the buffer is this structure.
    let mut wanted = unsafe { buffer.cast::<FdModifier>().read() };
    if wanted.offsets[0] != 0 {
        wanted.offsets[0] = 0;
        made::fired();
    }
    ask((&raw mut wanted).cast())
}

/// `GBM_BO_TRANSFER_READ`.
const TRANSFER_READ: u32 = 1;

/// What was found in objects when somebody mapped them first, to read.
static SHADOWS: Mutex<BTreeMap<usize, Vec<u8>>> = Mutex::new(BTreeMap::new());

unsafe extern "C" fn map(
    object: *mut c_void,
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    flags: u32,
    stride: *mut u32,
    data: *mut *mut c_void,
) -> *mut c_void {
    // SAFETY: the arguments are the caller's.
    let start = unsafe { (real().map)(object, x, y, width, height, flags, stride, data) };
    if start.is_null() || flags != TRANSFER_READ || !made::is("gbm-map-stale") {
        return start;
    }
    // SAFETY: the call succeeded, so the stride was written.
    let length = unsafe { stride.read() } as usize * height as usize;
    // SAFETY: Mesa maps the whole object, which has so many rows of that stride, until `data` is unmapped.
    let found = || unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) }.to_vec();
    let mut shadows = SHADOWS.lock().unwrap_or_else(PoisonError::into_inner);
    match shadows.entry(object.addr()) {
        Entry::Vacant(new) => {
            new.insert(found());
            start
        }
        Entry::Occupied(old) if old.get().len() == length => {
            made::fired();
            // It stays where it is until the object goes; nobody writes to what he maps to read.
            old.into_mut().as_mut_ptr().cast()
        }
        Entry::Occupied(_) => start,
    }
}

unsafe extern "C" fn plane_fd(object: *mut c_void, plane: c_int) -> c_int {
    // SAFETY: the arguments are the caller's.
    let number = unsafe { (real().plane_fd)(object, plane) };
    if number >= 0 && made::is("gbm-export-keeps-fd") {
        // SAFETY: the backend has just made it.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if let Ok(kept) = rustix::io::fcntl_dupfd_cloexec(fd, 3) {
            std::mem::forget(kept);
            made::fired();
        }
    }
    number
}

unsafe extern "C" fn planes(object: *mut c_void) -> c_int {
    if made::is("gbm-planes-endless") {
        made::fired();
        return c_int::MAX;
    }
    // SAFETY: the argument is the caller's.
    unsafe { (real().planes)(object) }
}

unsafe extern "C" fn stride(object: *mut c_void, plane: c_int) -> u32 {
    // SAFETY: the arguments are the caller's.
    let stride = unsafe { (real().stride)(object, plane) };
    if made::is("gbm-pitch-too-large") {
        made::fired();
        return stride + 64;
    }
    if made::is("gbm-pitch-zero") {
        made::fired();
        return 0;
    }
    stride
}

unsafe extern "C" fn modifier(object: *mut c_void) -> u64 {
    // SAFETY: the argument is the caller's.
    let modifier = unsafe { (real().modifier)(object) };
    if made::is("gbm-modifier-untold") {
        made::fired();
        // `DRM_FORMAT_MOD_INVALID`.
        return 0x00ff_ffff_ffff_ffff;
    }
    if made::is("gbm-modifier-invented") {
        made::fired();
        // `I915_FORMAT_MOD_X_TILED`.
        return 0x0100_0000_0000_0001;
    }
    modifier
}

unsafe extern "C" fn destroy_object(object: *mut c_void) {
    if made::is("gbm-object-kept") {
        made::fired();
        return;
    }
    SHADOWS.lock().unwrap_or_else(PoisonError::into_inner).remove(&object.addr());
    // SAFETY: the argument is the caller's.
    unsafe { (real().destroy_object)(object) };
}
