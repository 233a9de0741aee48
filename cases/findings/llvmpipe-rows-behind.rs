//! llvmpipe: does drawing to a dma-buf that ends with its last row crash?
//!
//! Imports 250x130 px with a pitch of 4096 B, in 130 pages and in 132, as a texture, and draws a triangle over all of it, each in a
//! process of its own. Needs EGL's surfaceless platform and `/dev/udmabuf`.
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
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "what makes calls of OpenGL ES sound is the same for all")]

use std::error::Error;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use glow::HasContext as _;
use khronos_egl::{self as egl, Attrib};

const PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31dd;
const LINUX_DMA_BUF_EXT: egl::Enum = 0x3270;
const LINUX_DRM_FOURCC_EXT: Attrib = 0x3271;
/// fd, offset and pitch of both planes.
const DMA_BUF_PLANES: [[Attrib; 3]; 2] = [[0x3272, 0x3273, 0x3274], [0x3275, 0x3276, 0x3277]];

const COVER: &str = "#version 310 es
void main() {
    gl_Position = vec4(float(gl_VertexID & 1) * 4.0 - 1.0, float(gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}
";

const WHITE: &str = "#version 310 es
precision highp float;
layout(location = 0) out vec4 colour;
void main() {
    colour = vec4(1.0);
}
";

const PAGE: usize = 4096;

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
    if let Some(rows) = std::env::args().nth(1) {
        return draw(rows.parse()?);
    }
    let drawn = |rows: &str| Command::new(std::env::current_exe()?).arg(rows).status();
    let (enough, exact) = (drawn("132")?, drawn("130")?);
    println!(
        "drawing to 130 rows in 132 pages {enough}, in 130 pages {exact}; a refusal or an exit status of 1 would be right"
    );
    if enough.code() != Some(1) {
        return Err("not even the larger buffer can be drawn to".into());
    }
    Ok(exact.signal().is_some())
}

/// Returns, if it does, that the defect is not there.
fn draw(pages: usize) -> Result<bool, Box<dyn Error>> {
    let opened = open()?;
    let dmabuf = udmabuf(pages * PAGE)?;
    let image = import(&opened, &dmabuf, b"XR24", [250, 130], &[[0, PAGE]])?;
    let (egl, _, gl) = &opened;
    let show = egl.get_proc_address("glEGLImageTargetTexture2DOES").ok_or("GL_OES_EGL_image is missing")?;
    // SAFETY: the function has this type.
    let show: extern "system" fn(u32, *mut c_void) = unsafe { std::mem::transmute(show) };
    // SAFETY: the context is current, and the image is live.
    unsafe {
        let texture = gl.create_texture()?;
        gl.bind_texture(glow::TEXTURE_2D, Some(texture));
        show(glow::TEXTURE_2D, image.as_ptr());
        let framebuffer = gl.create_framebuffer()?;
        gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer));
        let (to, plain) = (glow::COLOR_ATTACHMENT0, glow::TEXTURE_2D);
        gl.framebuffer_texture_2d(glow::FRAMEBUFFER, to, plain, Some(texture), 0);
        let program = gl.create_program()?;
        for (kind, source) in [(glow::VERTEX_SHADER, COVER), (glow::FRAGMENT_SHADER, WHITE)] {
            let shader = gl.create_shader(kind)?;
            gl.shader_source(shader, source);
            gl.compile_shader(shader);
            gl.attach_shader(program, shader);
        }
        gl.link_program(program);
        gl.use_program(Some(program));
        gl.viewport(0, 0, 250, 130);
        gl.draw_arrays(glow::TRIANGLES, 0, 3);
        gl.finish();
        match gl.get_error() {
            glow::NO_ERROR => Ok(false),
            error => Err(format!("OpenGL ES error {error:#x}").into()),
        }
    }
}

/// EGL's surfaceless platform, with a context of OpenGL ES 3.1 that is current.
fn open() -> Result<(egl::DynamicInstance<egl::EGL1_5>, egl::Display, glow::Context), Box<dyn Error>> {
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
    Ok((egl, display, gl))
}

/// Takes in a LINEAR frame of a dma-buf, whose planes have these offsets and pitches.
fn import(
    (egl, display, _): &(egl::DynamicInstance<egl::EGL1_5>, egl::Display, glow::Context),
    dmabuf: &OwnedFd,
    fourcc: &[u8; 4],
    [width, height]: [usize; 2],
    planes: &[[usize; 2]],
) -> Result<egl::Image, Box<dyn Error>> {
    let mut attributes = vec![egl::WIDTH as Attrib, width, egl::HEIGHT as Attrib, height];
    attributes.extend([LINUX_DRM_FOURCC_EXT, u32::from_le_bytes(*fourcc) as Attrib]);
    for ([fd, offset, pitch], plane) in DMA_BUF_PLANES.into_iter().zip(planes) {
        attributes.extend([fd, dmabuf.as_raw_fd() as Attrib, offset, plane[0], pitch, plane[1]]);
    }
    attributes.push(egl::ATTRIB_NONE);
    // SAFETY: this target takes no context, which is a null pointer.
    let no_context = unsafe { egl::Context::from_ptr(egl::NO_CONTEXT) };
    // SAFETY: as above, for the buffer.
    let no_buffer = unsafe { egl::ClientBuffer::from_ptr(std::ptr::null_mut()) };
    Ok(egl.create_image(*display, no_context, LINUX_DMA_BUF_EXT, no_buffer, &attributes)?)
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
