#![expect(unsafe_code, reason = "calls EGL, and its extensions through pointers to their functions")]
//! The EGL side of an OpenGL ES device: its display, its context, and how buffers get in and out.
//!
//! Sources: the EGL 1.5 specification, `EGL_EXT_image_dma_buf_import`, `EGL_EXT_image_dma_buf_import_modifiers`,
//! `EGL_MESA_image_dma_buf_export`, `EGL_MESA_platform_surfaceless`, `EGL_EXT_platform_device`, `EGL_KHR_no_config_context`.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use khronos_egl::{self as egl, Attrib, Int};

use super::calls::Calls;
use super::enumerate::{self, EglDevice};
use super::extensions::{has, lacking, no_platform};
use crate::dmabuf::{Dmabuf, SharedFrame, SharedPlanes};
use crate::error::{Cause, Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size};
use crate::gbm::{Gbm, KEPT};
use crate::ledger;
use crate::yuv::{Colours, Encoding, Range};

pub(super) type Api = egl::DynamicInstance<egl::EGL1_5>;

const LIBRARY: &str = "libEGL.so.1";

const PLATFORM_SURFACELESS: egl::Enum = 0x31DD;
const PLATFORM_GBM: egl::Enum = 0x31D7;
const PLATFORM_DEVICE: egl::Enum = 0x313F;
const LINUX_DMA_BUF: egl::Enum = 0x3270;
const LINUX_DRM_FOURCC: Attrib = 0x3271;
const GL_TEXTURE_2D: egl::Enum = 0x30B1;
/// fd, offset, pitch, low and high half of the modifier, of each plane that EGL knows.
pub(super) const PLANES: [[Attrib; 5]; 4] = [
    [0x3272, 0x3273, 0x3274, 0x3443, 0x3444],
    [0x3275, 0x3276, 0x3277, 0x3445, 0x3446],
    [0x3278, 0x3279, 0x327A, 0x3447, 0x3448],
    [0x3440, 0x3441, 0x3442, 0x3449, 0x344A],
];

/// The call that takes in.
const IMPORT: &str = "eglCreateImage(EGL_LINUX_DMA_BUF_EXT)";

/// What a refusal of a frame is like, by what is unusual about it.
fn like(shared: &impl SharedPlanes) -> Option<&'static str> {
    let planes = &shared.frame().planes;
    let fd = |n: usize| shared.dmabuf_of(n).fd.as_fd().as_raw_fd();
    match planes.len() {
        0 => None,
        count if (1..count).any(|n| fd(n) != fd(0)) => Some("an import that takes all planes by one fd only"),
        _ if planes.iter().any(|plane| plane.pitch > u16::MAX.into()) => {
            Some("a pitch that is kept in 16 bits, where this one is another")
        }
        _ => None,
    }
}

const YUV_COLOR_SPACE_HINT: Attrib = 0x327B;
const SAMPLE_RANGE_HINT: Attrib = 0x327C;

/// What a display is opened on.
#[derive(Clone, Debug)]
pub(super) enum Platform {
    /// Nothing: the driver chooses its device.
    Surfaceless,
    /// A device that was chosen.
    Device(EglDevice),
    /// A node of a DRM device.
    Gbm(Gbm),
}

impl Platform {
    /// The client extensions that bring it, one of which is enough.
    fn extensions(&self) -> &'static [&'static str] {
        match self {
            Self::Surfaceless => &["EGL_MESA_platform_surfaceless"],
            Self::Device(_) => &["EGL_EXT_platform_device"],
            Self::Gbm(_) => &["EGL_KHR_platform_gbm", "EGL_MESA_platform_gbm"],
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Surfaceless => f.write_str("EGL surfaceless platform"),
            Self::Device(device) => write!(f, "{device}"),
            Self::Gbm(gbm) => write!(f, "EGL GBM platform on {} ({})", gbm.node().display(), gbm.driver()),
        }
    }
}

/// Extension functions of EGL, as their specifications declare them.
struct Functions {
    query_formats: unsafe extern "system" fn(egl::EGLDisplay, Int, *mut Int, *mut Int) -> egl::Boolean,
    query_modifiers: QueryModifiers,
    /// `EGL_MESA_image_dma_buf_export`, where the driver has it.
    export: Option<Export>,
}

type QueryModifiers =
    unsafe extern "system" fn(egl::EGLDisplay, Int, Int, *mut u64, *mut egl::Boolean, *mut Int) -> egl::Boolean;

#[derive(Clone, Copy)]
struct Export {
    query: unsafe extern "system" fn(egl::EGLDisplay, egl::EGLImage, *mut Int, *mut Int, *mut u64) -> egl::Boolean,
    export: unsafe extern "system" fn(egl::EGLDisplay, egl::EGLImage, *mut Int, *mut Int, *mut Int) -> egl::Boolean,
}

/// A modifier of a format, as a display lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedModifier {
    /// The modifier.
    pub modifier: Modifier,
    /// Whether images of it can only be sampled as `GL_TEXTURE_EXTERNAL_OES`, and not drawn to.
    pub external_only: bool,
}

/// An initialised display with a context. It belongs to the thread that opened it.
pub(super) struct Egl {
    api: &'static Api,
    calls: Calls,
    context: egl::Context,
    functions: Functions,
    pub(super) vendor: String,
    pub(super) version: String,
    pub(super) extensions: String,
    /// It outlives the context.
    open: Display,
}

/// An initialised display.
struct Display {
    api: &'static Api,
    raw: egl::Display,
    /// Its GBM device outlives the display.
    platform: Platform,
}

impl Drop for Display {
    fn drop(&mut self) {
        // One on a device of ours goes before that does; any other is one per process and platform, and others may use it.
        if let Platform::Gbm(_) = self.platform {
            let _ = self.api.terminate(self.raw);
        }
    }
}

/// Whether a display was initialised that stays as long as the process does.
static STAYS: AtomicBool = AtomicBool::new(false);

/// The buffers that drivers keep for displays that stay as long as the process does: Mesa's was seen to keep one, with the fence
/// of what was drawn last.
pub(crate) fn kept_for_good() -> u32 {
    STAYS.load(Ordering::Relaxed).into()
}

/// An EGLImage.
pub(super) struct EglImage {
    raw: egl::Image,
    egl: Rc<Egl>,
}

/// The library, loaded once: drivers do not expect to be unloaded.
fn api() -> Result<&'static Api> {
    static LOADED: OnceLock<Result<Api, String>> = OnceLock::new();
    // SAFETY: a system library whose initialisers are made to run in any process that links it.
    let load = || unsafe { Api::load_required_from_filename(LIBRARY) }.map_err(|error| format!("{error:?}"));
    LOADED.get_or_init(load).as_ref().map_err(|why| {
        let install = "install EGL 1.5 (Debian libegl1, Fedora libglvnd-egl, Arch libglvnd)";
        Error::missing("loading a library", LIBRARY, format!("{why}; {install}"))
    })
}

/// `EGL_BAD_MATCH` and the like, as the specification has them: the crate calls that one `BadMatch`.
pub(super) fn code(error: egl::Error) -> Cause {
    let mut name = "EGL".to_owned();
    for letter in format!("{error:?}").chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    Cause::Code(name)
}

/// Every device that EGL knows, for [`Platform::Device`].
///
/// # Errors
/// There is no EGL 1.5, or it does not tell.
pub(super) fn devices() -> Result<Vec<EglDevice>> {
    let api = api()?;
    enumerate::devices(api, &Calls::load(api)?)
}

impl Egl {
    /// Opens a display on `platform`, with a context of OpenGL ES 3.1 or later that is current to this thread.
    pub(super) fn open(platform: Platform) -> Result<Rc<Self>> {
        let api = api()?;
        let object = || platform.to_string();
        let client = api.query_string(None, egl::EXTENSIONS).map(|text| text.to_string_lossy().into_owned());
        let platforms = platform.extensions();
        if !platforms.iter().any(|name| has(client.as_deref().unwrap_or_default(), name)) {
            return Err(no_platform(object(), platforms));
        }
        let (name, native) = match &platform {
            Platform::Surfaceless => (PLATFORM_SURFACELESS, std::ptr::null_mut()),
            Platform::Device(device) => (PLATFORM_DEVICE, device.raw()),
            Platform::Gbm(gbm) => (PLATFORM_GBM, gbm.raw()),
        };
        let calls = Calls::load(api)?;
        // SAFETY: the surfaceless platform has no native display, so that `EGL_DEFAULT_DISPLAY` is the only valid one; that of
        // the device platform is an `EGLDeviceEXT`, which stays, and that of the GBM platform a `gbm_device`, which lives as long
        // as the display.
        let display = unsafe { calls.platform_display(name, native) }
            .ok_or_else(|| Error::missing("eglGetPlatformDisplay", object(), calls.cause().to_string()))?;
        api.initialize(display).map_err(|error| Error::new("eglInitialize", object(), code(error)))?;
        if !matches!(platform, Platform::Gbm(_)) {
            STAYS.store(true, Ordering::Relaxed);
        }
        // From here on it is terminated, whatever fails.
        let open = Display { api, raw: display, platform };
        let text = |name| api.query_string(Some(display), name).map(|text| text.to_string_lossy().into_owned());
        let vendor = text(egl::VENDOR).unwrap_or_default();
        let version = text(egl::VERSION).unwrap_or_default();
        let extensions = text(egl::EXTENSIONS).unwrap_or_default();
        if let Some(lack) = lacking(&extensions) {
            let object = format!("{} ({vendor} {version})", open.platform);
            return Err(Error::missing("eglQueryString(EGL_EXTENSIONS)", object, lack));
        }
        let functions = Functions::load(api, has(&extensions, "EGL_MESA_image_dma_buf_export"))?;
        api.bind_api(egl::OPENGL_ES_API)
            .map_err(|error| Error::new("eglBindAPI", open.platform.to_string(), code(error)))?;
        let wanted = [egl::CONTEXT_MAJOR_VERSION, 3, egl::CONTEXT_MINOR_VERSION, 1];
        let context = calls.context(display, &wanted).map_err(|cause| {
            let object = format!("{}, OpenGL ES 3.1", open.platform);
            match &cause {
                // What a driver says of a version that it does not have.
                Cause::Code(code) if code == "EGL_BAD_MATCH" => {
                    Error::missing("eglCreateContext", object, "EGL_BAD_MATCH: OpenGL ES 3.1 or later is needed")
                }
                _ => Error::new("eglCreateContext", object, cause),
            }
        })?;
        let egl = Rc::new(Self { api, calls, context, functions, vendor, version, extensions, open });
        egl.make_current()?;
        Ok(egl)
    }

    /// Makes the context this thread's.
    pub(super) fn make_current(&self) -> Result<()> {
        self.api
            .make_current(self.open.raw, None, None, Some(self.context))
            .map_err(|error| Error::new("eglMakeCurrent", self.object(""), code(error)))
    }

    /// The address of a function of OpenGL ES; null if there is none.
    pub(super) fn function(&self, name: &CStr) -> *const c_void {
        let found = name.to_str().ok().and_then(|name| self.api.get_proc_address(name));
        found.map_or(std::ptr::null(), |function| function as *const c_void)
    }

    pub(super) fn api(&self) -> &'static Api {
        self.api
    }

    pub(super) fn display(&self) -> egl::Display {
        self.open.raw
    }

    /// What its display is on.
    pub(super) fn platform(&self) -> &Platform {
        &self.open.platform
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    pub(super) fn object(&self, what: impl fmt::Display) -> String {
        format!("EGL ({}) {what}", self.vendor)
    }

    /// Whether `EGL_MESA_image_dma_buf_export` is there.
    pub(super) fn exports(&self) -> bool {
        self.functions.export.is_some()
    }

    /// Every format that can be imported.
    ///
    /// # Errors
    /// The driver fails, or answers what no driver may answer.
    pub(super) fn formats(&self) -> Result<Vec<Fourcc>> {
        const OP: &str = "eglQueryDmaBufFormatsEXT";
        let ask = |most, formats: *mut Int, count: &mut Int| {
            // SAFETY: the display is live; `formats` has room for `most`, or both are nothing.
            let done = unsafe { (self.functions.query_formats)(self.open.raw.as_ptr(), most, formats, count) };
            self.done(OP, "", done)
        };
        let mut count = 0;
        ask(0, std::ptr::null_mut(), &mut count)?;
        let mut formats = vec![0; self.length(OP, "", count)?];
        ask(count, formats.as_mut_ptr(), &mut count)?;
        formats.truncate(self.length(OP, "", count)?);
        Ok(formats.into_iter().map(|code| Fourcc(code as u32)).collect())
    }

    /// Every modifier of `fourcc` that can be imported.
    ///
    /// # Errors
    /// As [`Self::formats`]; also if `fourcc` is none of them.
    pub(super) fn modifiers(&self, fourcc: Fourcc) -> Result<Vec<ListedModifier>> {
        const OP: &str = "eglQueryDmaBufModifiersEXT";
        let ask = |most, modifiers: *mut u64, external: *mut egl::Boolean, count: &mut Int| {
            let (display, format) = (self.open.raw.as_ptr(), fourcc.0 as Int);
            // SAFETY: the display is live; both arrays have room for `most`, or all are nothing.
            let done = unsafe { (self.functions.query_modifiers)(display, format, most, modifiers, external, count) };
            self.done(OP, fourcc, done)
        };
        let mut count = 0;
        ask(0, std::ptr::null_mut(), std::ptr::null_mut(), &mut count)?;
        let length = self.length(OP, fourcc, count)?;
        let (mut modifiers, mut external) = (vec![0; length], vec![egl::FALSE; length]);
        ask(count, modifiers.as_mut_ptr(), external.as_mut_ptr(), &mut count)?;
        let length = self.length(OP, fourcc, count)?;
        let listed = modifiers.into_iter().zip(external).take(length);
        Ok(listed
            .map(|(code, external)| ListedModifier { modifier: Modifier(code), external_only: external != egl::FALSE })
            .collect())
    }

    /// A count that a driver answered, as a length that one can allocate.
    fn length(&self, op: &'static str, what: impl fmt::Display, count: Int) -> Result<usize> {
        usize::try_from(count).ok().filter(|count| *count <= 4096).ok_or_else(|| {
            Error::answer(op, self.object(what), format!("a count of {count}; 0 to 4096 would be believable"))
        })
    }

    fn done(&self, op: &'static str, what: impl fmt::Display, done: egl::Boolean) -> Result<()> {
        match done {
            egl::FALSE => Err(Error::new(op, self.object(what), self.calls.cause())),
            _ => Ok(()),
        }
    }

    /// Takes in a frame; if it is YUV, to be converted as `colours` says. EGL keeps no fd of the caller's. A modifier of `INVALID`
    /// is not told: then the driver has to know how the frame lies.
    ///
    /// # Errors
    /// A number does not fit into EGL's attributes, or the driver refuses.
    pub(super) fn import(self: &Rc<Self>, shared: &impl SharedPlanes, colours: Colours) -> Result<EglImage> {
        const OP: &str = IMPORT;
        let Frame { size, fourcc, modifier, planes } = shared.frame();
        let object = || self.object(shared);
        if planes.is_empty() || planes.len() > PLANES.len() {
            let why = format!("{} planes; 1 to {} would be valid", planes.len(), PLANES.len());
            return Err(Error::input(OP, object(), why));
        }
        // EGL's attributes are as wide as a pointer, but Mesa reads what is behind them as `int`.
        let number = |name: &str, value: u64| match i32::try_from(value) {
            Ok(value) => Ok(value as Attrib),
            Err(_) => Err(Error::input(OP, object(), format!("{name} of {value} B; at most {} B would fit", i32::MAX))),
        };
        let mut attributes = vec![
            egl::WIDTH as Attrib,
            size.width as Attrib,
            egl::HEIGHT as Attrib,
            size.height as Attrib,
            LINUX_DRM_FOURCC,
            fourcc.0 as Attrib,
        ];
        if fourcc.yuv().is_some() {
            attributes.extend([YUV_COLOR_SPACE_HINT, color_space(colours.encoding)]);
            attributes.extend([SAMPLE_RANGE_HINT, sample_range(colours.range)]);
        }
        for (n, (plane, [fd_name, offset, pitch, low, high])) in planes.iter().zip(PLANES).enumerate() {
            let fd = shared.dmabuf_of(n).fd.as_fd().as_raw_fd() as Attrib;
            attributes.extend([fd_name, fd, offset, number("an offset", plane.offset)?]);
            attributes.extend([pitch, number("a pitch", plane.pitch)?]);
            if *modifier != Modifier::INVALID {
                attributes.extend([low, (modifier.0 & 0xffff_ffff) as Attrib, high, (modifier.0 >> 32) as Attrib]);
            }
        }
        let image = self.image_of(&mut attributes, object).map_err(|error| Error { like: like(shared), ..error });
        ledger::step(IMPORT, Some(shared.dmabuf_of(0).inode()), "");
        if let (Platform::Gbm(gbm), Ok(_)) = (&self.open.platform, &image)
            && gbm.keeps_what_it_took_in()
        {
            (0..planes.len()).for_each(|n| ledger::excuse(shared.dmabuf_of(n).inode(), KEPT));
        }
        // Its number may be anybody's by the next call.
        if let Some(n) = (0..planes.len()).find(|n| !shared.dmabuf_of(*n).is_open()) {
            return Err(Error::answer(OP, object(), format!("the fd of plane {n}, which it was only lent, is closed")));
        }
        image
    }

    /// The image that `attributes` describe, which end here.
    fn image_of(self: &Rc<Self>, attributes: &mut Vec<Attrib>, object: impl Fn() -> String) -> Result<EglImage> {
        attributes.push(egl::ATTRIB_NONE);
        // SAFETY: this target takes neither a context nor a buffer, which are null pointers by definition.
        let raw = unsafe {
            self.calls.image(self.open.raw, egl::NO_CONTEXT, LINUX_DMA_BUF, std::ptr::null_mut(), attributes)
        };
        let raw = raw.map_err(|cause| Error::new(IMPORT, object(), cause))?;
        Ok(EglImage { raw, egl: Rc::clone(self) })
    }

    /// Whether the driver takes in what `attributes` describe, whatever that is; it lets go at once.
    ///
    /// # Errors
    /// The driver's answer.
    pub(super) fn try_import(self: &Rc<Self>, attributes: &[Attrib], object: impl Fn() -> String) -> Result<()> {
        self.image_of(&mut attributes.to_vec(), || self.object(object())).map(drop)
    }

    /// The image of a texture of this context.
    ///
    /// # Errors
    /// The driver refuses.
    pub(super) fn of_texture(self: &Rc<Self>, texture: u32, what: &str) -> Result<EglImage> {
        const OP: &str = "eglCreateImage(EGL_GL_TEXTURE_2D)";
        let buffer = texture as usize as *mut c_void;
        // SAFETY: for this target the client buffer is the texture's name in the shape of a pointer, which EGL does not follow.
        let raw = unsafe {
            self.calls.image(self.open.raw, self.context.as_ptr(), GL_TEXTURE_2D, buffer, &[egl::ATTRIB_NONE])
        };
        let raw = raw.map_err(|cause| Error::new(OP, self.object(what), cause))?;
        Ok(EglImage { raw, egl: Rc::clone(self) })
    }
}

/// `EGL_ITU_REC601_EXT` and the like.
fn color_space(encoding: Encoding) -> Attrib {
    match encoding {
        Encoding::Bt601 => 0x327F,
        Encoding::Bt709 => 0x3280,
        Encoding::Bt2020 => 0x3281,
    }
}

/// `EGL_YUV_FULL_RANGE_EXT` and the like.
fn sample_range(range: Range) -> Attrib {
    match range {
        Range::Full => 0x3282,
        Range::Limited => 0x3283,
    }
}

impl Functions {
    fn load(api: &Api, exports: bool) -> Result<Self> {
        let find = |name: &'static str| {
            api.get_proc_address(name).ok_or_else(|| {
                Error::answer("eglGetProcAddress", name, "nothing, though the display lists the extension that has it")
            })
        };
        let query_formats = find("eglQueryDmaBufFormatsEXT")?;
        let query_modifiers = find("eglQueryDmaBufModifiersEXT")?;
        let export = match exports {
            true => Some((find("eglExportDMABUFImageQueryMESA")?, find("eglExportDMABUFImageMESA")?)),
            false => None,
        };
        let export = export.map(|(query, export)| Export {
            // SAFETY: each function has the type that its extension declares, here and below.
            query: unsafe { std::mem::transmute_copy(&query) },
            // SAFETY: as above.
            export: unsafe { std::mem::transmute_copy(&export) },
        });
        Ok(Self {
            // SAFETY: as above.
            query_formats: unsafe { std::mem::transmute_copy(&query_formats) },
            // SAFETY: as above.
            query_modifiers: unsafe { std::mem::transmute_copy(&query_modifiers) },
            export,
        })
    }
}

impl Drop for Egl {
    fn drop(&mut self) {
        // What fails here would fail in the next case, where somebody reads it.
        let _ = self.api.make_current(self.open.raw, None, None, None);
        let _ = self.api.destroy_context(self.open.raw, self.context);
    }
}

impl EglImage {
    /// The handle; valid as long as `self`.
    pub(super) fn raw(&self) -> *mut c_void {
        self.raw.as_ptr()
    }

    /// Hands the image out as a dma-buf, with the layout that the driver chose.
    ///
    /// # Errors
    /// The driver can't export, refuses, or answers what no driver may answer: no fd, no plane, a plane of another
    /// buffer.
    pub(super) fn export(&self, size: Size) -> Result<SharedFrame> {
        const QUERY: &str = "eglExportDMABUFImageQueryMESA";
        const EXPORT: &str = "eglExportDMABUFImageMESA";
        let egl = &self.egl;
        let Some(functions) = egl.functions.export else {
            return Err(Error::missing(EXPORT, egl.object(size), "EGL_MESA_image_dma_buf_export is missing"));
        };
        let (mut fourcc, mut planes, mut modifier) = (0, 0, 0);
        let (display, image) = (egl.open.raw.as_ptr(), self.raw());
        // SAFETY: display and image are live; each pointer has room for its one answer, and there is one modifier.
        let done = unsafe { (functions.query)(display, image, &raw mut fourcc, &raw mut planes, &raw mut modifier) };
        egl.done(QUERY, size, done)?;
        let fourcc = Fourcc(fourcc as u32);
        let count = usize::try_from(planes).ok().filter(|count| (1..=PLANES.len()).contains(count));
        let Some(count) = count else {
            let why = format!("{planes} planes; 1 to {} would be valid", PLANES.len());
            return Err(Error::answer(QUERY, egl.object(format!("{fourcc} {size}")), why)
                .like("a count that was never filled in"));
        };
        let (mut fds, mut pitches, mut offsets) = ([-1; 4], [0; 4], [0; 4]);
        // SAFETY: as above, with room for as many planes as there can be.
        let done =
            unsafe { (functions.export)(display, image, fds.as_mut_ptr(), pitches.as_mut_ptr(), offsets.as_mut_ptr()) };
        egl.done(EXPORT, format!("{fourcc} {size}"), done)?;
        let given = |n: usize| fds[n] >= 0 && fds[..n].contains(&fds[n]);
        if let Some(n) = (1..count).find(|n| given(*n)) {
            // It would get two owners.
            let why = format!("fd {} for plane {n} and one before it; a new fd for each would be valid", fds[n]);
            return Err(Error::answer(EXPORT, egl.object(format!("{fourcc} {size}")), why));
        }
        // SAFETY: each fd that the driver gives is new and ours; -1 stands for none.
        let owned = |fd: &Int| (*fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(*fd) });
        let mut fds = fds[..count].iter().map(owned).collect::<Vec<_>>().into_iter();
        let object = || egl.object(format!("{fourcc} {size}, {count} planes"));
        let Some(first) = fds.next().flatten() else {
            return Err(Error::answer(EXPORT, object(), "success, but no fd"));
        };
        let number = |name: &str, value: Int| {
            u64::try_from(value)
                .map_err(|_| Error::answer(EXPORT, object(), format!("{name} of {value} B; 0 or more would be valid")))
        };
        let planes = offsets[..count].iter().zip(&pitches).map(|(offset, pitch)| {
            Ok(Plane { offset: number("an offset", *offset)?, pitch: number("a pitch", *pitch)? })
        });
        let planes = planes.collect::<Result<_>>()?;
        let frame = Frame { size, fourcc, modifier: Modifier(modifier), planes };
        // A file that is no dma-buf is this call's wrong answer.
        let dmabuf = Dmabuf::from_fd(first).map_err(|error| Error { op: EXPORT.into(), object: object(), ..error })?;
        ledger::step(EXPORT, Some(dmabuf.inode()), format_args!("{} B", dmabuf.size));
        // A plane without an fd is in the dma-buf of the first one.
        for (n, other) in fds.enumerate().filter_map(|(n, fd)| Some((n + 1, fd?))) {
            if Dmabuf::from_fd(other)?.inode() != dmabuf.inode() {
                let why = format!("plane {n} is in another dma-buf than plane 0, and frames are in one here");
                return Err(Error::missing(EXPORT, object(), why));
            }
        }
        // Only of a layout that is known there is an end to be told.
        const FOREIGN: &str = "a pitch or an offset of another layout than the buffer has";
        if frame.modifier == Modifier::LINEAR && fourcc.planes().is_some() {
            let end = frame
                .end()
                .map_err(|why| Error::answer(EXPORT, object(), format!("{frame}: {}", why.cause)).like(FOREIGN))?;
            if end > dmabuf.size {
                let why = format!("{frame} ends at byte {end} of a dma-buf of {} B", dmabuf.size);
                return Err(Error::answer(EXPORT, object(), why).like(FOREIGN));
            }
        }
        Ok(SharedFrame { dmabuf, frame })
    }
}

impl Drop for EglImage {
    fn drop(&mut self) {
        if let Err(error) = self.egl.api.destroy_image(self.egl.open.raw, self.raw) {
            tracing::warn!("an EGLImage was not destroyed: {error:?}");
        }
    }
}
