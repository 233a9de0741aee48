//! llvmpipe: do EGL and GBM take layouts that reach outside the dma-buf, or whose rows overlap?
//!
//! Imports a frame that begins behind its dma-buf, and one whose rows are longer than its pitch. Nothing is accessed. Needs EGL's
//! surfaceless platform, a card on which GBM works, and `/dev/udmabuf`.
//!
//! Exit status: 0 the defect is there, 1 it is not, 2 it could not be tried.
//!
//! Run it with `rust-script FILE [EGL|GBM]`, or as `src/main.rs` of a package with
//!
//! ```cargo
//! [dependencies]
//! glow = "0.18"
//! khronos-egl = { version = "6", default-features = false, features = ["dynamic", "1_5"] }
//! libc = "0.2"
//! libloading = "0.8"
//! ```
#![allow(unsafe_code, reason = "calls EGL, OpenGL ES, GBM and the kernel")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "what makes calls of OpenGL ES sound is the same for all")]

use std::error::Error;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use glow::HasContext as _;
use khronos_egl::{self as egl, Attrib};
use libloading::Library;

const SIZE: [u32; 2] = [250, 130];
/// What a row has, and the pitch of the frame that fits.
const ROW: i32 = 1000;
const BUFFER: usize = 131_072;
/// What it is, offset and pitch; neither may be taken in.
const LAYOUTS: [(&str, i32, i32); 2] =
    [("an offset of 1 MiB in 128 KiB", 1 << 20, ROW), ("a pitch of 512 B for rows of 1000 B", 0, 512)];
const XR24: u32 = u32::from_le_bytes(*b"XR24");

/// `struct gbm_import_fd_modifier_data`.
#[repr(C)]
struct ImportFdModifier {
    width: u32,
    height: u32,
    format: u32,
    count: u32,
    fds: [i32; 4],
    strides: [i32; 4],
    offsets: [i32; 4],
    modifier: u64,
}

const IMPORT_FD_MODIFIER: u32 = 0x5504;

const PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31dd;
const LINUX_DMA_BUF_EXT: egl::Enum = 0x3270;
const LINUX_DRM_FOURCC_EXT: Attrib = 0x3271;
/// fd, offset and pitch of plane 0.
const DMA_BUF_PLANE0_EXT: [Attrib; 3] = [0x3272, 0x3273, 0x3274];

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
    let dmabuf = udmabuf(BUFFER)?;
    match std::env::args().nth(1).as_deref() {
        Some("EGL") => egl_takes(&dmabuf),
        Some("GBM") => gbm_takes(&dmabuf),
        Some(other) => Err(format!("{other} is neither EGL nor GBM").into()),
        None => {
            let answers = [egl_takes(&dmabuf), gbm_takes(&dmabuf)];
            for why in answers.iter().filter_map(|answer| answer.as_ref().err()) {
                println!("one of both could not be tried: {why}");
            }
            match answers {
                // One that shows it is enough, and only both can show that it is gone.
                [Ok(true), _] | [_, Ok(true)] => Ok(true),
                [egl, gbm] => Ok(egl? | gbm?),
            }
        }
    }
}

/// Whether EGL takes in one of the layouts, and OpenGL ES makes it a texture.
fn egl_takes(dmabuf: &OwnedFd) -> Result<bool, Box<dyn Error>> {
    let gles = Gles::open()?;
    gles.import(dmabuf, 0, ROW).map_err(|why| format!("EGL: not even a frame that fits is taken in: {why}"))?;
    let mut defect = false;
    for (what, offset, pitch) in LAYOUTS {
        let answer = gles.import(dmabuf, offset, pitch);
        defect |= answer.is_ok();
        println!("EGL: {what} is {}", answer.map_or_else(|why| format!("refused: {why}"), |()| "taken in".to_owned()));
    }
    Ok(defect)
}

/// Whether GBM takes in one of the layouts on some card.
fn gbm_takes(dmabuf: &OwnedFd) -> Result<bool, Box<dyn Error>> {
    let mut defect = false;
    for (path, gbm) in Gbm::all("card")? {
        let path = path.display();
        let taken = |offset, pitch| -> Result<bool, Box<dyn Error>> {
            Ok(!gbm.import(dmabuf.as_raw_fd(), SIZE, pitch, offset)?.is_null())
        };
        if !taken(0, ROW)? {
            return Err(format!("GBM on {path}: not even a frame that fits is taken in").into());
        }
        for (what, offset, pitch) in LAYOUTS {
            let taken = taken(offset, pitch)?;
            println!("GBM on {path}: {what} is {}", if taken { "taken in" } else { "refused" });
            defect |= taken;
        }
    }
    Ok(defect)
}

/// EGL's surfaceless platform, with a context of OpenGL ES 3.1 that is current.
struct Gles {
    egl: egl::DynamicInstance<egl::EGL1_5>,
    display: egl::Display,
    gl: glow::Context,
    /// `glEGLImageTargetTexture2DOES`.
    show: extern "system" fn(u32, *mut c_void),
}

impl Gles {
    fn open() -> Result<Self, Box<dyn Error>> {
        // SAFETY: EGL is a system library, made to be loaded into any process.
        let egl = unsafe { egl::DynamicInstance::<egl::EGL1_5>::load_required_from_filename("libEGL.so.1") }
            .map_err(|error| format!("libEGL.so.1: {error:?}"))?;
        let nothing = std::ptr::null_mut();
        // SAFETY: this platform has no native display but the default one.
        let display = unsafe { egl.get_platform_display(PLATFORM_SURFACELESS_MESA, nothing, &[egl::ATTRIB_NONE]) }?;
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
        let show = egl.get_proc_address("glEGLImageTargetTexture2DOES").ok_or("GL_OES_EGL_image is missing")?;
        // SAFETY: the function has this type.
        let show: extern "system" fn(u32, *mut c_void) = unsafe { std::mem::transmute(show) };
        Ok(Self { egl, display, gl, show })
    }

    /// Takes in a LINEAR frame of one plane in a dma-buf, and makes it a texture.
    fn import(&self, dmabuf: &OwnedFd, offset: i32, pitch: i32) -> Result<(), Box<dyn Error>> {
        let [width, height] = SIZE;
        let [fd, offset_of, pitch_of] = DMA_BUF_PLANE0_EXT;
        let attributes = [
            [egl::WIDTH as Attrib, width as Attrib],
            [egl::HEIGHT as Attrib, height as Attrib],
            [LINUX_DRM_FOURCC_EXT, XR24 as Attrib],
            [fd, dmabuf.as_raw_fd() as Attrib],
            [offset_of, offset as Attrib],
            [pitch_of, pitch as Attrib],
        ];
        let attributes = [&attributes.concat()[..], &[egl::ATTRIB_NONE]].concat();
        // SAFETY: this target takes no context, which is a null pointer.
        let no_context = unsafe { egl::Context::from_ptr(egl::NO_CONTEXT) };
        // SAFETY: as above, for the buffer.
        let no_buffer = unsafe { egl::ClientBuffer::from_ptr(std::ptr::null_mut()) };
        let image = self.egl.create_image(self.display, no_context, LINUX_DMA_BUF_EXT, no_buffer, &attributes)?;
        // SAFETY: the context is current, and the image is live.
        let error = unsafe {
            let texture = self.gl.create_texture()?;
            self.gl.bind_texture(glow::TEXTURE_2D, Some(texture));
            (self.show)(glow::TEXTURE_2D, image.as_ptr());
            self.gl.get_error()
        };
        if error == glow::NO_ERROR { Ok(()) } else { Err(format!("OpenGL ES error {error:#x}").into()) }
    }
}

/// libgbm, with a device.
struct Gbm {
    library: Library,
    device: *mut c_void,
    // Open as long as the device.
    _node: File,
}

impl Gbm {
    /// A device on each node of `/dev/dri` whose name begins so, and on which there can be one.
    fn all(prefix: &str) -> Result<Vec<(PathBuf, Self)>, Box<dyn Error>> {
        let mut nodes: Vec<PathBuf> = std::fs::read_dir("/dev/dri")?.flatten().map(|entry| entry.path()).collect();
        nodes.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
        nodes.sort();
        let mut devices = Vec::new();
        for path in nodes {
            // SAFETY: a system library, made to be loaded into any process.
            let library = unsafe { Library::new("libgbm.so.1") }?;
            let Ok(node) = File::options().read(true).write(true).open(&path) else { continue };
            let create: unsafe extern "C" fn(i32) -> *mut c_void = function(&library, "gbm_create_device")?;
            // SAFETY: the node is open, and kept so.
            let device = unsafe { create(node.as_raw_fd()) };
            if !device.is_null() {
                devices.push((path, Self { library, device, _node: node }));
            }
        }
        if devices.is_empty() { Err("GBM has no device here".into()) } else { Ok(devices) }
    }

    /// Takes in a LINEAR frame of one plane in a dma-buf; null if that is refused.
    fn import(
        &self,
        fd: i32,
        [width, height]: [u32; 2],
        stride: i32,
        offset: i32,
    ) -> Result<*mut c_void, Box<dyn Error>> {
        let import: unsafe extern "C" fn(*mut c_void, u32, *mut ImportFdModifier, u32) -> *mut c_void =
            function(&self.library, "gbm_bo_import")?;
        let mut data = ImportFdModifier {
            width,
            height,
            format: XR24,
            count: 1,
            fds: [fd, -1, -1, -1],
            strides: [stride, 0, 0, 0],
            offsets: [offset, 0, 0, 0],
            modifier: 0,
        };
        // SAFETY: the device is live, and the structure is that of this kind of import.
        Ok(unsafe { import(self.device, IMPORT_FD_MODIFIER, &mut data, 0) })
    }
}

/// A function of the library, of the type that `gbm.h` declares.
fn function<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: every caller gives that type.
    Ok(*unsafe { library.get::<T>(name.as_bytes()) }?)
}

/// A dma-buf of the pages of a memfd.
fn udmabuf(length: usize) -> io::Result<OwnedFd> {
    /// `struct udmabuf_create`.
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    const UDMABUF_CREATE: libc::Ioctl = 0x4018_7542;
    // SAFETY: the name is a text that ends with 0.
    let memfd = owned(unsafe { libc::memfd_create(c"repro".as_ptr(), libc::MFD_ALLOW_SEALING) })?;
    let memfd = File::from(memfd);
    memfd.set_len(length as u64)?;
    // SAFETY: this command takes a number.
    if unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let device = File::options().read(true).write(true).open("/dev/udmabuf")?;
    let create = Create { memfd: memfd.as_raw_fd() as u32, flags: 0, offset: 0, size: length as u64 };
    // SAFETY: the number is that of a call that reads this structure.
    owned(unsafe { libc::ioctl(device.as_raw_fd(), UDMABUF_CREATE, &create) })
}

/// The descriptor that a call returned.
fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so this descriptor is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
