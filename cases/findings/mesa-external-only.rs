//! Mesa: are formats that are listed as external only taken as GL_TEXTURE_2D?
//!
//! Asks whether LINEAR NV12 is for external textures only, binds such an image to a texture that is none, and prints what a shader
//! samples there. Needs EGL's surfaceless platform and `/dev/udmabuf`.
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
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use glow::HasContext as _;
use khronos_egl::{self as egl, Attrib};

const PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31dd;
const LINUX_DMA_BUF_EXT: egl::Enum = 0x3270;
const LINUX_DRM_FOURCC_EXT: Attrib = 0x3271;
/// fd, offset and pitch of both planes.
const DMA_BUF_PLANES: [[Attrib; 3]; 2] = [[0x3272, 0x3273, 0x3274], [0x3275, 0x3276, 0x3277]];

/// A red.
const LUMA: u8 = 120;
const CHROMA: [u8; 2] = [90, 220];

/// Covers everything.
const COVER: &str = "#version 310 es
void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    gl_Position = vec4(corner * 4.0 - 1.0, 0.0, 1.0);
}";

const SAMPLE: &str = "#version 310 es
precision highp float;
uniform sampler2D image;
out vec4 colour;
void main() {
    colour = texture(image, vec2(0.5));
}";

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
    let opened = open()?;
    let (memory, dmabuf) = udmabuf((64 * 96_usize).next_multiple_of(4096))?;
    memory.write_all_at(&[[LUMA; 64 * 64].as_slice(), &CHROMA.repeat(32 * 32)].concat(), 0)?;
    let image = import(&opened, &dmabuf, b"NV12", [64, 64], &[[0, 64], [64 * 64, 64]])?;
    let (egl, display, gl) = &opened;
    type Query = extern "system" fn(egl::EGLDisplay, i32, i32, *mut u64, *mut egl::Boolean, *mut i32) -> egl::Boolean;
    let found = egl.get_proc_address("eglQueryDmaBufModifiersEXT").ok_or("eglQueryDmaBufModifiersEXT is missing")?;
    // SAFETY: the function has this type.
    let query: Query = unsafe { std::mem::transmute(found) };
    let (mut modifiers, mut external, mut count) = ([u64::MAX; 64], [egl::FALSE; 64], 0);
    let format = u32::from_le_bytes(*b"NV12") as i32;
    query(display.as_ptr(), format, 64, modifiers.as_mut_ptr(), external.as_mut_ptr(), &mut count);
    let linear = modifiers.iter().position(|&modifier| modifier == 0).ok_or("LINEAR NV12 is not listed")?;
    println!("LINEAR NV12 is external only: {}", external[linear] == egl::TRUE);
    if external[linear] != egl::TRUE {
        return Ok(false);
    }
    let show = egl.get_proc_address("glEGLImageTargetTexture2DOES").ok_or("GL_OES_EGL_image is missing")?;
    // SAFETY: the function has this type.
    let show: extern "system" fn(u32, *mut c_void) = unsafe { std::mem::transmute(show) };
    // SAFETY: the context is current, and the image is live.
    let error = unsafe {
        let texture = gl.create_texture()?;
        gl.bind_texture(glow::TEXTURE_2D, Some(texture));
        for name in [glow::TEXTURE_MIN_FILTER, glow::TEXTURE_MAG_FILTER] {
            gl.tex_parameter_i32(glow::TEXTURE_2D, name, glow::NEAREST as i32);
        }
        show(glow::TEXTURE_2D, image.as_ptr());
        gl.get_error()
    };
    println!(
        "glEGLImageTargetTexture2DOES(GL_TEXTURE_2D) raises {error:#x}; GL_INVALID_OPERATION, 0x502, would be right"
    );
    if error == glow::NO_ERROR {
        let pixel = sampled(gl)?;
        println!("Y {LUMA}, U {}, V {} is sampled there as R, G, B, A {pixel:?}", CHROMA[0], CHROMA[1]);
    }
    Ok(error == glow::NO_ERROR)
}

/// What a shader samples in the middle of the texture that is bound.
fn sampled(gl: &glow::Context) -> Result<[u8; 4], Box<dyn Error>> {
    let mut pixel = [0; 4];
    // SAFETY: the context is current, and `pixel` has room for one.
    unsafe {
        let program = gl.create_program()?;
        for (kind, source) in [(glow::VERTEX_SHADER, COVER), (glow::FRAGMENT_SHADER, SAMPLE)] {
            let shader = gl.create_shader(kind)?;
            gl.shader_source(shader, source);
            gl.compile_shader(shader);
            if !gl.get_shader_compile_status(shader) {
                return Err(gl.get_shader_info_log(shader).into());
            }
            gl.attach_shader(program, shader);
        }
        gl.link_program(program);
        gl.use_program(Some(program));
        let pixels = gl.create_renderbuffer()?;
        gl.bind_renderbuffer(glow::RENDERBUFFER, Some(pixels));
        gl.renderbuffer_storage(glow::RENDERBUFFER, glow::RGBA8, 1, 1);
        let framebuffer = gl.create_framebuffer()?;
        gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer));
        gl.framebuffer_renderbuffer(glow::FRAMEBUFFER, glow::COLOR_ATTACHMENT0, glow::RENDERBUFFER, Some(pixels));
        gl.viewport(0, 0, 1, 1);
        gl.draw_arrays(glow::TRIANGLES, 0, 3);
        let into = glow::PixelPackData::Slice(Some(&mut pixel));
        gl.read_pixels(0, 0, 1, 1, glow::RGBA, glow::UNSIGNED_BYTE, into);
        match gl.get_error() {
            glow::NO_ERROR => Ok(pixel),
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

/// A memfd, and a dma-buf of its pages.
fn udmabuf(length: usize) -> io::Result<(File, OwnedFd)> {
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
    let dmabuf = owned(unsafe { libc::ioctl(device.as_raw_fd(), UDMABUF_CREATE, &create) })?;
    Ok((memfd, dmabuf))
}

/// The descriptor that a call returned.
fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so this descriptor is ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
