#![expect(unsafe_code, reason = "loads the functions of OpenGL ES")]
//! An OpenGL ES device through EGL: a third kind of driver that takes dma-bufs in and hands them out.
//!
//! Libraries are loaded when they are first needed, so that a machine without them can say so. A device belongs to the
//! thread that opened it, as its context does.

use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use glow::HasContext as _;

use crate::dmabuf::SharedFrame;
use crate::error::{Cause, Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::gbm::Gbm;
use crate::rows::Rows;
use crate::share::constraints::{Constraints, FormatModifier, MemoryNeeds};
use crate::yuv::Colours;

mod calls;
mod egl;
mod enumerate;
mod extensions;
mod image;
mod misuse;
mod program;
mod sync;

pub use egl::ListedModifier;
pub(crate) use egl::kept_for_good;
pub use image::{GlImage, Through, can_create};
pub use misuse::{Attribute, attributes_of};

pub use sync::NativeFence;

use egl::{Egl, Platform};
use program::Programs;

/// An OpenGL ES context; clones are the same one.
#[derive(Clone)]
pub struct Gles(Rc<Inner>);

/// What a [`Gles`] owns. Fields are dropped in this order: users of the context before it.
struct Inner {
    programs: Programs,
    gl: glow::Context,
    egl: Rc<Egl>,
    identity: GlesIdentity,
    rows: Rows,
    /// Whether it has made an image, or was opened, since [`Gles::looked`] was asked last.
    looks: Cell<bool>,
}

/// Which driver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlesIdentity {
    /// `GL_RENDERER`, such as `llvmpipe (LLVM 19.1.7, 256 bits)`.
    pub renderer: String,
    /// `GL_VERSION`, such as `OpenGL ES 3.2 Mesa 26.1.6`.
    pub version: String,
    /// `EGL_VENDOR`.
    pub egl_vendor: String,
    /// `EGL_VERSION`.
    pub egl_version: String,
}

impl fmt::Display for GlesIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.renderer, self.version)
    }
}

impl Gles {
    /// Opens the device that EGL takes by itself, on the surfaceless platform; or that of which `select` is a node, or a part of
    /// `GL_RENDERER`.
    ///
    /// # Errors
    /// No EGL 1.5, no such platform or device, a driver without dma-buf import, or the driver fails.
    pub fn open(select: Option<&str>) -> Result<Self> {
        let Some(select) = select else { return Self::on(Platform::Surfaceless) };
        let (mut others, mut is_lack) = (Vec::new(), true);
        for device in egl::devices()? {
            let is_node = device.has_node(select);
            // A node is known before anything is opened.
            if !is_node && select.starts_with('/') {
                others.push(device.to_string());
                continue;
            }
            match Self::on(Platform::Device(device.clone())) {
                Ok(gles) if is_node || gles.identity().renderer.contains(select) => return Ok(gles),
                Ok(gles) => others.push(format!("{} ({device})", gles.identity())),
                Err(why) if is_node => return Err(why),
                Err(why) => {
                    is_lack &= matches!(why.cause, Cause::Missing(_));
                    others.push(why.to_string());
                }
            }
        }
        let there = if others.is_empty() { "none".to_owned() } else { others.join("; ") };
        let why = format!("there is {there}");
        let cause = if is_lack { Cause::Missing(why) } else { Cause::Code(why) };
        Err(Error::new("opening OpenGL ES", format!("a device of EGL matching `{select}`"), cause))
    }

    /// Opens EGL's GBM platform on `gbm`, as compositors do that show what they draw.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(gbm: &Gbm) -> Result<Self> {
        // A node of its own, which nobody else uses at the same time.
        Self::on(Platform::Gbm(Gbm::open(gbm.node())?))
    }

    fn on(platform: Platform) -> Result<Self> {
        let egl = Egl::open(platform)?;
        let renderer = told(&egl, glow::RENDERER, "GL_RENDERER")?;
        let version = told(&egl, glow::VERSION, "GL_VERSION")?;
        if !is_version(&version) {
            let why = format!("GL_VERSION {version:?}; `OpenGL ES N.N` and more would be valid");
            return Err(Error::answer("glGetString", egl.object(""), why));
        }
        // SAFETY: the context is current, and every function is called with it current. It reads the version that was checked.
        let gl = unsafe { glow::Context::from_loader_function_cstr(|name| egl.function(name)) };
        let identity =
            GlesIdentity { renderer, version, egl_vendor: egl.vendor.clone(), egl_version: egl.version.clone() };
        Ok(Self(Rc::new(Inner {
            programs: Programs::default(),
            gl,
            egl,
            identity,
            rows: Rows::default(),
            looks: Cell::new(true),
        })))
    }

    /// Whether it has made an image, or was opened, since [`Self::looks_at_nothing_else`]: what it may look at, or is to look at
    /// next.
    pub(crate) fn has_looked(&self) -> bool {
        self.0.looks.get()
    }

    /// What it has looked at last is what it may go on looking at.
    pub(crate) fn looks_at_nothing_else(&self) {
        self.0.looks.set(false);
    }

    /// Which driver and device this is.
    pub fn identity(&self) -> &GlesIdentity {
        &self.0.identity
    }

    /// The extensions of its EGL display.
    pub fn egl_extensions(&self) -> impl Iterator<Item = &str> {
        self.0.egl.extensions.split_whitespace()
    }

    /// What verdicts call it: `gles`, or `gles on gbm (card0)`.
    pub fn name(&self) -> String {
        match &self.0.egl.platform() {
            Platform::Surfaceless | Platform::Device(_) => "gles".to_owned(),
            Platform::Gbm(gbm) => format!("gles on {}", gbm.name()),
        }
    }

    /// The node that it is on, if it was given one or one was chosen.
    pub(crate) fn node(&self) -> Option<&Path> {
        match self.0.egl.platform() {
            Platform::Surfaceless => None,
            Platform::Device(device) => device.node(),
            Platform::Gbm(gbm) => Some(gbm.node()),
        }
    }

    /// Whether the device is the CPU, which then touches memory as the CPU does.
    pub fn is_software(&self) -> bool {
        ["llvmpipe", "softpipe", "SwiftShader"].iter().any(|name| self.identity().renderer.contains(name))
    }

    /// Whether it can hand images out.
    pub fn exports(&self) -> bool {
        self.0.egl.exports()
    }

    /// The formats that it lists for import.
    ///
    /// # Errors
    /// The driver fails.
    pub fn formats(&self) -> Result<Vec<Fourcc>> {
        self.0.egl.formats()
    }

    /// The modifiers that it lists for import of `fourcc`.
    ///
    /// # Errors
    /// The driver fails; also if it does not list the format.
    pub fn modifiers(&self, fourcc: Fourcc) -> Result<Vec<ListedModifier>> {
        self.0.egl.modifiers(fourcc)
    }

    /// Whether it says that only external textures show frames of `fourcc` and `modifier`.
    ///
    /// # Errors
    /// As [`Self::modifiers`].
    pub fn is_external_only(&self, fourcc: Fourcc, modifier: Modifier) -> Result<bool> {
        Ok(self.modifiers(fourcc)?.iter().any(|listed| listed.modifier == modifier && listed.external_only))
    }

    /// Whether `error` is that EGL refuses where the planes of `shared` lie: `EGL_EXT_image_dma_buf_import` has EGL_BAD_ACCESS for
    /// pitches and offsets "not supported by the driver". Mesa's gallium has EGL_BAD_ALLOC for whatever its driver does not take,
    /// which is the layout if it is refused again when a larger frame of the driver's own is taken in.
    pub(crate) fn refuses_layout(&self, shared: &SharedFrame, error: &Error) -> bool {
        let again = || self.import(shared, Through::External).is_err_and(|error| is_code(&error, "EGL_BAD_ALLOC"));
        is_code(error, "EGL_BAD_ACCESS")
            || is_code(error, "EGL_BAD_ALLOC") && self.takes_one_of_its_own(shared.frame.size).is_ok() && again()
    }

    /// It makes a frame of as many bytes as any of `size` has, and takes it in.
    fn takes_one_of_its_own(&self, size: Size) -> Result<()> {
        // 4 B a pixel, where none has more than 8.
        let made = self.create(Fourcc::AB24, px(size.width, size.height.saturating_mul(2)))?;
        self.import(&made.export()?, Through::External).map(drop)
    }

    /// What it needs of a frame of one of `fourccs`, of this width, in memory of one of `heaps`, if that is still to be chosen.
    /// EGL tells formats and modifiers; which rows it takes is tried.
    ///
    /// A driver that lists no modifier of a format takes LINEAR frames of it, as the extension has it for drivers that
    /// know no others.
    ///
    /// # Errors
    /// It imports none of them, or the driver fails.
    pub fn constraints(&self, fourccs: &[Fourcc], width: u32, heaps: &[String]) -> Result<Constraints> {
        let listed = self.formats()?;
        let mut formats = Vec::new();
        for &fourcc in fourccs.iter().filter(|fourcc| listed.contains(fourcc)) {
            let planes = fourcc.planes().map_or(1, |planes| planes.len() as u32);
            let mut modifiers: Vec<Modifier> =
                self.modifiers(fourcc)?.into_iter().map(|listed| listed.modifier).collect();
            if modifiers.is_empty() {
                modifiers.push(Modifier::LINEAR);
            }
            formats.extend(modifiers.into_iter().map(|modifier| FormatModifier { fourcc, modifier, planes }));
        }
        if formats.is_empty() {
            let object = self.object(format!("{fourccs:?}"));
            return Err(Error::missing("gathering constraints", object, "it imports none of these as dma-buf"));
        }
        let memory = MemoryNeeds { cpu: self.is_software(), ..MemoryNeeds::ANY };
        let mut found = Constraints { memory, ..Constraints::of(formats) };
        // No texture shows it, so that nothing is asked of OpenGL ES.
        let refuses = |shared: &SharedFrame| match self.0.egl.import(shared, Colours::VIDEO) {
            Ok(_) => Ok(None),
            Err(error) if ["EGL_BAD_ACCESS", "EGL_BAD_ALLOC"].iter().any(|name| is_code(&error, name)) => {
                Ok(Some(error))
            }
            Err(error) => Err(error),
        };
        let has_room = || self.takes_one_of_its_own(px(width, 1)).is_ok();
        self.0.rows.add_to(&mut found, (width, heaps), refuses, has_room)?;
        Ok(found)
    }

    /// The functions, with the context current.
    fn gl(&self) -> &glow::Context {
        &self.0.gl
    }

    fn egl(&self) -> &Rc<Egl> {
        &self.0.egl
    }

    fn programs(&self) -> &Programs {
        &self.0.programs
    }

    /// The device's name and `what`, as the object of an error.
    fn object(&self, what: impl fmt::Display) -> String {
        format!("{}, {what}", self.identity())
    }

    /// Takes the context for this thread, and forgets errors that nobody asked about.
    ///
    /// # Errors
    /// It can't be had.
    fn begin(&self) -> Result<&glow::Context> {
        self.0.egl.make_current()?;
        // A lost context answers the same error for ever.
        for _ in 0..8 {
            // SAFETY: the context is current.
            if unsafe { self.gl().get_error() } == glow::NO_ERROR {
                break;
            }
        }
        Ok(self.gl())
    }

    /// Fails if a call since [`Self::begin`] did.
    ///
    /// # Errors
    /// The first error by its name.
    fn check(&self, op: &'static str, object: impl fmt::Display) -> Result<()> {
        // SAFETY: the context is current.
        let name = match unsafe { self.gl().get_error() } {
            glow::NO_ERROR => return Ok(()),
            glow::INVALID_ENUM => "GL_INVALID_ENUM".to_owned(),
            glow::INVALID_VALUE => "GL_INVALID_VALUE".to_owned(),
            glow::INVALID_OPERATION => "GL_INVALID_OPERATION".to_owned(),
            glow::INVALID_FRAMEBUFFER_OPERATION => "GL_INVALID_FRAMEBUFFER_OPERATION".to_owned(),
            glow::OUT_OF_MEMORY => "GL_OUT_OF_MEMORY".to_owned(),
            glow::CONTEXT_LOST => "GL_CONTEXT_LOST".to_owned(),
            other => format!("GL error {other:#x}"),
        };
        Err(Error::new(op, self.object(object), Cause::Code(name)))
    }
}

impl fmt::Debug for Gles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gles({})", self.identity())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.egl.make_current().is_ok() {
            self.delete_programs();
        }
    }
}

/// Whether an error is this one of EGL's.
fn is_code(error: &Error, name: &str) -> bool {
    matches!(&error.cause, Cause::Code(code) if code == name)
}

/// What the driver says of itself, before anything relies on it: glow panics where that is no text.
fn told(egl: &Egl, what: u32, name: &str) -> Result<String> {
    const OP: &str = "glGetString";
    let function = egl.function(c"glGetString");
    if function.is_null() {
        return Err(Error::answer("eglGetProcAddress", OP, "nothing, though it tells the address of every function"));
    }
    // SAFETY: the function has the type that OpenGL ES declares for it.
    let get_string: unsafe extern "system" fn(u32) -> *const std::ffi::c_char =
        unsafe { std::mem::transmute_copy(&function) };
    // SAFETY: the context is current.
    let text = unsafe { get_string(what) };
    if text.is_null() {
        return Err(Error::answer(OP, egl.object(name), "a null pointer; a text would be valid"));
    }
    // SAFETY: a text of the driver's, which ends with NUL and stays.
    Ok(unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Whether it begins as OpenGL ES has it.
fn is_version(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.len() < 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = text.strip_prefix("OpenGL ES ").and_then(|rest| rest.split_once('.'));
    rest.is_some_and(|(major, rest)| number(major) && number(rest.split(' ').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_from_any_other_text() {
        assert!(is_version("OpenGL ES 3.2 Mesa 26.0.1") && is_version("OpenGL ES 3.1"));
        assert!(!is_version("4.6 (Compatibility Profile)") && !is_version("OpenGL ES-CM 1.1") && !is_version(""));
        assert!(!is_version("OpenGL ES 3.x"));
    }
}
