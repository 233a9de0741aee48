//! The EGL vendor: what a few functions of Mesa's libEGL are called with, or answer.
//!
//! Source: `include/glvnd/libeglabi.h` of libglvnd; EGL_EXT_image_dma_buf_import,
//! EGL_EXT_image_dma_buf_import_modifiers, EGL_MESA_image_dma_buf_export and EGL_ANDROID_native_fence_sync.
#![expect(unsafe_code, reason = "the C interface between libEGL and its vendors")]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use handover_faults::made;
use libloading::Library;

const MESA: &str = "libEGL_mesa.so.0";

/// `__EGLapiImports`, up to what is looked at here.
#[repr(C)]
pub struct Imports {
    get_platform_display: *const c_void,
    get_supports_api: *const c_void,
    get_vendor_string: *const c_void,
    get_proc_address: Option<GetProcAddress>,
}

type GetProcAddress = unsafe extern "C" fn(*const c_char) -> *mut c_void;
type Main = unsafe extern "C" fn(u32, *const c_void, *mut c_void, *mut Imports) -> u32;
type CreateImage = unsafe extern "C" fn(*mut c_void, *mut c_void, u32, *mut c_void, *const isize) -> *mut c_void;
type CreateSync = unsafe extern "C" fn(*mut c_void, u32, *const isize) -> *mut c_void;
type QueryModifiers = unsafe extern "C" fn(*mut c_void, c_int, c_int, *mut u64, *mut u32, *mut c_int) -> u32;
type QueryFormats = unsafe extern "C" fn(*mut c_void, c_int, *mut c_int, *mut c_int) -> u32;
type QueryString = unsafe extern "C" fn(*mut c_void, c_int) -> *const c_char;
type ExportQuery = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int, *mut c_int, *mut u64) -> u32;
type GetError = unsafe extern "C" fn() -> c_int;
type Export = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int, *mut c_int, *mut c_int) -> u32;

/// `EGL_LINUX_DMA_BUF_EXT`.
const LINUX_DMA_BUF: u32 = 0x3270;
/// `EGL_LINUX_DRM_FOURCC_EXT`.
const FOURCC: isize = 0x3271;
/// `EGL_DMA_BUF_PLANE0_FD_EXT` and `EGL_DMA_BUF_PLANE0_OFFSET_EXT`.
const FD: isize = 0x3272;
const OFFSET: isize = 0x3273;
/// `EGL_DMA_BUF_PLANE0_PITCH_EXT`.
const PITCH: isize = 0x3274;
/// `EGL_DMA_BUF_PLANE0_PITCH_EXT` and those of the planes behind.
const PITCHES: [isize; 4] = [PITCH, 0x3277, 0x327a, 0x3442];
/// `EGL_DMA_BUF_PLANE1_FD_EXT` and those of the planes behind.
const OTHER_FDS: [isize; 3] = [0x3275, 0x3278, 0x3440];
/// `EGL_DMA_BUF_PLANE1_OFFSET_EXT`.
const CHROMA_OFFSET: isize = 0x3276;
/// `EGL_DMA_BUF_PLANE0_MODIFIER_HI_EXT` and those of the planes behind.
const UPPER_HALVES: [isize; 4] = [0x3444, 0x3446, 0x3448, 0x344a];
/// `EGL_YUV_COLOR_SPACE_HINT_EXT` and `EGL_SAMPLE_RANGE_HINT_EXT`.
const HINTS: [isize; 2] = [0x327b, 0x327c];
const HEIGHT: isize = 0x3056;
const WIDTH: isize = 0x3057;
const NONE: isize = 0x3038;
/// `EGL_SYNC_NATIVE_FENCE_ANDROID` and `EGL_SYNC_NATIVE_FENCE_FD_ANDROID`.
const NATIVE_FENCE: u32 = 0x3144;
const NATIVE_FENCE_FD: isize = 0x3145;

/// `I915_FORMAT_MOD_X_TILED`.
const X_TILED: u64 = 0x0100_0000_0000_0001;

/// `EGL_SUCCESS` and `EGL_BAD_ALLOC`.
const SUCCESS: c_int = 0x3000;
const BAD_ALLOC: c_int = 0x3003;

/// `EGL_EXTENSIONS`.
const EXTENSIONS: c_int = 0x3055;

/// `DRM_FORMAT_XRGB8888`.
const XR24: isize = u32::from_le_bytes(*b"XR24") as isize;

/// `DRM_FORMAT_ABGR8888`.
const AB24: c_int = u32::from_le_bytes(*b"AB24") as c_int;

/// `__DRI_IMAGE_FOURCC_SARGB8888`, a name of Mesa's own for AR24 in sRGB, which is none of DRM's.
const SARGB8888: c_int = 0x8332_4258_u32 as c_int;

/// `DRM_FORMAT_RGBA8888`, which Mesa does not take in.
const RA24: c_int = u32::from_le_bytes(*b"RA24") as c_int;

static REAL: OnceLock<GetProcAddress> = OnceLock::new();
static GET_ERROR: OnceLock<GetError> = OnceLock::new();

/// The entry of a vendor library.
///
/// # Safety
/// libEGL calls it, with what its header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __egl_Main(
    version: u32,
    exports: *const c_void,
    vendor: *mut c_void,
    imports: *mut Imports,
) -> u32 {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    // SAFETY: Mesa's library is made to be loaded by any process that uses EGL.
    let library = LIBRARY.get_or_init(|| unsafe { Library::new(MESA) }.ok());
    let Some(library) = library else { return 0 };
    // SAFETY: the type is that of libeglabi.h.
    let Ok(main) = (unsafe { library.get::<Main>(b"__egl_Main") }) else { return 0 };
    // SAFETY: the arguments are those that we were called with.
    let done = unsafe { main(version, exports, vendor, imports) };
    // SAFETY: libEGL passes a structure that is longer than ours, and Mesa has just filled it.
    let Some(imports) = (unsafe { imports.as_mut() }) else { return done };
    if let Some(real) = imports.get_proc_address.filter(|_| done != 0) {
        let _ = REAL.set(real);
        imports.get_proc_address = Some(get_proc_address);
    }
    done
}

/// Mesa's function of this name.
fn real(name: &CStr) -> *mut c_void {
    // SAFETY: a function of Mesa's, of the type that libeglabi.h declares, called with a text that ends.
    REAL.get().map_or(std::ptr::null_mut(), |real| unsafe { real(name.as_ptr()) })
}

unsafe extern "C" fn get_proc_address(name: *const c_char) -> *mut c_void {
    // SAFETY: libEGL passes the name of a function.
    let name = unsafe { CStr::from_ptr(name) };
    let found = real(name);
    if found.is_null() {
        return found;
    }
    match name.to_bytes() {
        b"eglCreateImage" => create_image as CreateImage as *mut c_void,
        // To look a function up makes Mesa forget its error, so that this one is known before it is asked.
        b"eglGetError" => {
            // SAFETY: EGL declares it so.
            let _ = GET_ERROR.set(unsafe { std::mem::transmute::<*mut c_void, GetError>(found) });
            get_error as GetError as *mut c_void
        }
        b"eglCreateSync" => create_sync as CreateSync as *mut c_void,
        b"eglQueryDmaBufFormatsEXT" => query_formats as QueryFormats as *mut c_void,
        b"eglQueryDmaBufModifiersEXT" => query_modifiers as QueryModifiers as *mut c_void,
        b"eglQueryString" => query_string as QueryString as *mut c_void,
        b"eglExportDMABUFImageQueryMESA" => export_query as ExportQuery as *mut c_void,
        b"eglExportDMABUFImageMESA" => export as Export as *mut c_void,
        _ => found,
    }
}

/// Takes the fds out of `attributes`, pairs of a name and a value, that are another number than that of the first plane.
fn forget_other_fds(attributes: &mut Vec<isize>) {
    let pairs: Vec<[isize; 2]> = attributes.as_chunks::<2>().0.to_vec();
    let first = pairs.iter().find(|[name, _]| *name == FD).map(|[_, fd]| *fd);
    let is_other = |[name, fd]: &[isize; 2]| OTHER_FDS.contains(name) && Some(*fd) != first;
    if pairs.iter().any(is_other) {
        made::fired();
        *attributes = pairs.into_iter().filter(|pair| !is_other(pair)).flatten().collect();
    }
}

/// Takes how YUV is to be converted out of `attributes`.
fn forget_hints(attributes: &mut Vec<isize>) {
    let pairs: Vec<[isize; 2]> = attributes.as_chunks::<2>().0.to_vec();
    if pairs.iter().any(|[name, _]| HINTS.contains(name)) {
        made::fired();
        *attributes = pairs.into_iter().filter(|[name, _]| !HINTS.contains(name)).flatten().collect();
    }
}

/// Has every plane in the dma-buf of the first one.
fn fds_of_the_first_plane(attributes: &mut [isize]) {
    let first = attributes.chunks(2).find(|pair| pair[0] == FD).map(|pair| pair[1]);
    for pair in attributes.chunks_mut(2).filter(|pair| OTHER_FDS.contains(&pair[0])) {
        if let Some(first) = first.filter(|first| *first != pair[1]) {
            pair[1] = first;
            made::fired();
        }
    }
}

unsafe extern "C" fn create_image(
    display: *mut c_void,
    context: *mut c_void,
    target: u32,
    buffer: *mut c_void,
    attributes: *const isize,
) -> *mut c_void {
    let function = real(c"eglCreateImage");
    // SAFETY: EGL 1.5 declares it so; it was there when this function was handed out.
    let function = unsafe { std::mem::transmute::<*mut c_void, CreateImage>(function) };
    let mut changed = Vec::new();
    let mut at = attributes;
    while target == LINUX_DMA_BUF && !at.is_null() {
        // SAFETY: a list of attributes is pairs up to EGL_NONE.
        let name = unsafe { at.read() };
        if name == NONE {
            break;
        }
        // SAFETY: as above: behind a name is its value.
        let place = unsafe { at.add(1) };
        // SAFETY: as above.
        changed.extend([name, changed_import(name, unsafe { place.read() })]);
        // SAFETY: as above: behind the value is the next name, or EGL_NONE.
        at = unsafe { at.add(2) };
    }
    if made::is("egl-gbm-pitch-256") && changed.as_chunks::<2>().0.iter().any(is_pitch_of_others) {
        made::fired();
        REFUSED.set(Some(BAD_ALLOC));
        return std::ptr::null_mut();
    }
    if made::is("egl-one-fd-only") {
        forget_other_fds(&mut changed);
    }
    if made::is("egl-hints-ignored") {
        forget_hints(&mut changed);
    }
    if made::is("egl-first-plane-fd") {
        fds_of_the_first_plane(&mut changed);
    }
    changed.push(NONE);
    let attributes = if changed.len() > 1 { changed.as_ptr() } else { attributes };
    // SAFETY: the arguments are the caller's, but for a list that is as long, and lives until the call returns.
    let made = unsafe { function(display, context, target, buffer, attributes) };
    if target != LINUX_DMA_BUF {
        return made;
    }
    if made.is_null() && made::is("egl-unchecked") {
        let plain = plain(&changed);
        // SAFETY: as above; the list is another one, which ends and lives until the call returns.
        let made = unsafe { function(display, context, target, buffer, plain.as_ptr()) };
        if !made.is_null() {
            made::fired();
        }
        return made;
    }
    if !made.is_null() && made::is("egl-import-takes-fd") {
        let fds = changed.as_chunks::<2>().0.iter().filter(|[name, fd]| *name == FD && *fd >= 0);
        for [_, fd] in fds {
            // SAFETY: it is only asked whether there is such a file; the caller named it, and closes none meanwhile.
            let lent = unsafe { BorrowedFd::borrow_raw(*fd as c_int) };
            if rustix::io::fcntl_getfd(lent).is_ok() {
                // SAFETY: none of ours to close, which is the point.
                drop(unsafe { OwnedFd::from_raw_fd(*fd as c_int) });
                made::fired();
            }
        }
    }
    made
}

thread_local! {
    /// What was answered in the place of Mesa's libEGL, which knows nothing of it.
    static REFUSED: Cell<Option<c_int>> = const { Cell::new(None) };
}

unsafe extern "C" fn get_error() -> c_int {
    if let Some(error) = REFUSED.take() {
        return error;
    }
    // SAFETY: it takes nothing, and was there when this function was handed out.
    GET_ERROR.get().map_or(SUCCESS, |function| unsafe { function() })
}

/// Whether an attribute is a pitch that is no multiple of 256.
fn is_pitch_of_others([name, value]: &[isize; 2]) -> bool {
    PITCHES.contains(name) && value % 256 != 0
}

unsafe extern "C" fn create_sync(display: *mut c_void, kind: u32, attributes: *const isize) -> *mut c_void {
    let function = real(c"eglCreateSync");
    // SAFETY: EGL 1.5 declares it so; it was there when this function was handed out.
    let function = unsafe { std::mem::transmute::<*mut c_void, CreateSync>(function) };
    let given = match kind {
        // SAFETY: as the caller of `eglCreateSync` promises.
        NATIVE_FENCE => unsafe { fence_in(attributes) },
        _ => None,
    };
    if let Some(fd) = given.filter(|_| made::is("egl-fence-ignored")) {
        let none = [NONE];
        // SAFETY: the arguments are the caller's, but for a list that ends, and lives until the call returns.
        let made = unsafe { function(display, kind, none.as_ptr()) };
        if !made.is_null() {
            made::fired();
            // SAFETY: a successful call takes the fd.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        return made;
    }
    if let Some(fd) = given.filter(|fd| *fd >= 0 && made::is("egl-fence-keeps-fd")) {
        // SAFETY: the caller's fd is open as long as the call lasts.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        if let Ok(kept) = rustix::io::fcntl_dupfd_cloexec(fd, 3) {
            std::mem::forget(kept);
            made::fired();
        }
    }
    // SAFETY: the arguments are the caller's.
    unsafe { function(display, kind, attributes) }
}

/// The fd that the attributes of a native fence name, if they name one.
///
/// # Safety
/// They are null or pairs up to EGL_NONE.
unsafe fn fence_in(attributes: *const isize) -> Option<c_int> {
    let mut at = attributes;
    while !at.is_null() {
        // SAFETY: the caller's contract.
        let name = unsafe { at.read() };
        if name == NONE {
            break;
        }
        // SAFETY: as above: behind a name is its value.
        let place = unsafe { at.add(1) };
        // SAFETY: as above.
        let value = unsafe { place.read() };
        if name == NATIVE_FENCE_FD && value >= 0 {
            return Some(value as c_int);
        }
        // SAFETY: as above: behind the value is the next name, or EGL_NONE.
        at = unsafe { at.add(2) };
    }
    None
}

/// An XR24 LINEAR frame at the start of the dma-buf that `attributes` name, if they name one.
fn plain(attributes: &[isize]) -> Vec<isize> {
    let pairs = attributes.as_chunks::<2>().0;
    let told = |name: isize| pairs.iter().find(|[other, _]| *other == name).map(|[_, value]| *value);
    let [width, height] = [WIDTH, HEIGHT].map(|name| told(name).filter(|length| *length > 0).unwrap_or(16));
    let frame = [(WIDTH, width), (HEIGHT, height), (FOURCC, XR24), (OFFSET, 0), (PITCH, (4 * width + 255) & !255)];
    let fd = told(FD).map(|fd| (FD, fd));
    frame.into_iter().chain(fd).flat_map(|(name, value)| [name, value]).chain([NONE]).collect()
}

/// What Mesa is told of an attribute.
fn changed_import(name: isize, value: isize) -> isize {
    match name {
        OFFSET if value != 0 && made::is("egl-offset-ignored") => {
            made::fired();
            0
        }
        CHROMA_OFFSET if value != 0 && made::is("egl-chroma-offset-ignored") => {
            made::fired();
            0
        }
        FOURCC if made::is("egl-alpha-ignored") => {
            let opaque = match &(value as u32).to_le_bytes() {
                [b'A', rest @ ..] if rest.ends_with(b"24") => u32::from_le_bytes([b'X', rest[0], rest[1], rest[2]]),
                _ => return value,
            };
            made::fired();
            opaque as isize
        }
        FOURCC if made::is("egl-red-blue") => {
            let other = match &(value as u32).to_le_bytes() {
                [alpha, b'R', rest @ ..] if rest == b"24" => [*alpha, b'B', rest[0], rest[1]],
                [alpha, b'B', rest @ ..] if rest == b"24" => [*alpha, b'R', rest[0], rest[1]],
                _ => return value,
            };
            made::fired();
            u32::from_le_bytes(other) as isize
        }
        FOURCC if made::is("egl-chroma-swapped") => {
            let other = match &(value as u32).to_le_bytes() {
                b"NV12" => b"NV21",
                b"NV21" => b"NV12",
                b"YU12" => b"YV12",
                b"YV12" => b"YU12",
                _ => return value,
            };
            made::fired();
            u32::from_le_bytes(*other) as isize
        }
        upper if value != 0 && UPPER_HALVES.contains(&upper) && made::is("egl-modifier-of-32-bits") => {
            made::fired();
            0
        }
        PITCH if value > 0xffff && made::is("egl-pitch-of-16-bits") => {
            made::fired();
            value & 0xffff
        }
        HEIGHT if value % 4 != 0 && made::is("egl-height-rounded") => {
            made::fired();
            (value + 3) & !3
        }
        FD if value >= 0 && made::is("egl-import-keeps-fd") => {
            // SAFETY: the caller's fd is open as long as the call lasts.
            let fd = unsafe { BorrowedFd::borrow_raw(value as c_int) };
            if let Ok(kept) = rustix::io::fcntl_dupfd_cloexec(fd, 3) {
                std::mem::forget(kept);
                made::fired();
            }
            value
        }
        _ => value,
    }
}

unsafe extern "C" fn query_modifiers(
    display: *mut c_void,
    format: c_int,
    room: c_int,
    modifiers: *mut u64,
    external: *mut u32,
    count: *mut c_int,
) -> u32 {
    let function = real(c"eglQueryDmaBufModifiersEXT");
    // SAFETY: the extension declares it so; it was there when this function was handed out.
    let function = unsafe { std::mem::transmute::<*mut c_void, QueryModifiers>(function) };
    if format != AB24 && made::is("egl-modifiers-lost") {
        made::fired();
        // SAFETY: the caller wants to know the count.
        unsafe { count.write(0) };
        return 1;
    }
    // SAFETY: the arguments are the caller's.
    let done = unsafe { function(display, format, room, modifiers, external, count) };
    if made::is("egl-format-invented") && format == RA24 {
        // SAFETY: as the caller of `eglQueryDmaBufModifiersEXT` promises.
        unsafe { tell_linear(room, modifiers, external, count) };
        return 1;
    }
    if done == 0 || !made::is("egl-modifier-invented") {
        return done;
    }
    // SAFETY: it succeeded, so the count was written.
    let Some(count) = (unsafe { count.as_mut() }) else { return done };
    let last = *count as usize;
    *count += 1;
    if room as usize > last && !modifiers.is_null() {
        // SAFETY: the caller has room for `room` modifiers.
        let place = unsafe { modifiers.add(last) };
        // SAFETY: as above.
        unsafe { place.write(X_TILED) };
        if !external.is_null() {
            // SAFETY: as above, for the second list.
            let place = unsafe { external.add(last) };
            // SAFETY: as above.
            unsafe { place.write(0) };
        }
        made::fired();
    } else if room > 0 {
        *count = last as c_int;
    }
    done
}

/// Answers that LINEAR is the only modifier.
///
/// # Safety
/// The lists are null or have room for `room` entries; the count can be written.
unsafe fn tell_linear(room: c_int, modifiers: *mut u64, external: *mut u32, count: *mut c_int) {
    // SAFETY: the caller's contract.
    unsafe { count.write(1) };
    if room > 0 && !modifiers.is_null() {
        // SAFETY: the caller's contract.
        unsafe { modifiers.write(0) };
        if !external.is_null() {
            // SAFETY: the caller's contract.
            unsafe { external.write(0) };
        }
    }
}

unsafe extern "C" fn query_string(display: *mut c_void, name: c_int) -> *const c_char {
    static FEWER: OnceLock<CString> = OnceLock::new();
    let function = real(c"eglQueryString");
    // SAFETY: EGL 1.5 declares it so; it was there when this function was handed out.
    let function = unsafe { std::mem::transmute::<*mut c_void, QueryString>(function) };
    // SAFETY: the arguments are the caller's.
    let told = unsafe { function(display, name) };
    if told.is_null() || display.is_null() || name != EXTENSIONS || !made::is("egl-without-dma-bufs") {
        return told;
    }
    made::fired();
    // SAFETY: EGL answers with a text that ends and stays.
    let all = unsafe { CStr::from_ptr(told) }.to_string_lossy();
    let fewer = || all.split_whitespace().filter(|one| !one.contains("dma_buf")).collect::<Vec<_>>().join(" ");
    FEWER.get_or_init(|| CString::new(fewer()).unwrap_or_default()).as_ptr()
}

unsafe extern "C" fn query_formats(display: *mut c_void, room: c_int, formats: *mut c_int, count: *mut c_int) -> u32 {
    let function = real(c"eglQueryDmaBufFormatsEXT");
    // SAFETY: the extension declares it so; it was there when this function was handed out.
    let function = unsafe { std::mem::transmute::<*mut c_void, QueryFormats>(function) };
    // SAFETY: the arguments are the caller's.
    let done = unsafe { function(display, room, formats, count) };
    let invented = match () {
        () if made::is("egl-format-invented") => RA24,
        () if made::is("egl-srgb-exposed") => SARGB8888,
        () => return done,
    };
    if done == 0 {
        return done;
    }
    // SAFETY: it succeeded, so the count was written.
    let Some(count) = (unsafe { count.as_mut() }) else { return done };
    let last = *count as usize;
    if formats.is_null() || room == 0 {
        *count += 1;
    } else if room as usize > last {
        *count += 1;
        // SAFETY: the caller has room for `room` formats.
        let place = unsafe { formats.add(last) };
        // SAFETY: as above.
        unsafe { place.write(invented) };
        made::fired();
    }
    done
}

unsafe extern "C" fn export_query(
    display: *mut c_void,
    image: *mut c_void,
    fourcc: *mut c_int,
    planes: *mut c_int,
    modifiers: *mut u64,
) -> u32 {
    let function = real(c"eglExportDMABUFImageQueryMESA");
    // SAFETY: the extension declares it so; it was there when this function was handed out.
    let function = unsafe { std::mem::transmute::<*mut c_void, ExportQuery>(function) };
    // SAFETY: the arguments are the caller's.
    let done = unsafe { function(display, image, fourcc, planes, modifiers) };
    if done == 0 {
        return done;
    }
    // SAFETY: the caller has room for the modifier, or wants none.
    let modifier = unsafe { modifiers.as_mut() };
    if let Some(modifier) = modifier.filter(|_| made::is("egl-export-modifier-invented")) {
        *modifier = X_TILED;
        made::fired();
    }
    // SAFETY: the caller has room for the number of planes, or does not want it.
    let planes = unsafe { planes.as_mut() };
    if let Some(planes) = planes.filter(|_| made::is("egl-export-planes-endless")) {
        *planes = c_int::MAX;
        made::fired();
    }
    done
}

unsafe extern "C" fn export(
    display: *mut c_void,
    image: *mut c_void,
    fds: *mut c_int,
    strides: *mut c_int,
    offsets: *mut c_int,
) -> u32 {
    let function = real(c"eglExportDMABUFImageMESA");
    // SAFETY: the extension declares it so; it was there when this function was handed out.
    let function = unsafe { std::mem::transmute::<*mut c_void, Export>(function) };
    // SAFETY: the arguments are the caller's.
    let done = unsafe { function(display, image, fds, strides, offsets) };
    // SAFETY: the caller has room for the pitch of each plane, or wants none.
    if let Some(stride) = unsafe { strides.as_mut() }.filter(|_| done != 0 && made::is("egl-pitch-too-large")) {
        *stride += 64;
        made::fired();
    }
    // SAFETY: as above.
    let stride = unsafe { strides.as_ref() };
    // SAFETY: as above, for the offset of each.
    let offset = unsafe { offsets.as_mut() };
    if let (Some(stride), Some(offset)) = (stride, offset)
        && done != 0
        && made::is("egl-export-row-late")
    {
        *offset += *stride;
        made::fired();
    }
    // SAFETY: as above.
    if let Some(stride) = unsafe { strides.as_mut() }.filter(|_| done != 0 && made::is("egl-export-pitch-zero")) {
        *stride = 0;
        made::fired();
    }
    done
}
