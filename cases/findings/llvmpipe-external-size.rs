//! llvmpipe: does textureSize of a samplerExternalOES tell a height of 0?
//!
//! Imports a dma-buf of 250x130 px, and has a fragment shader tell its size: as `samplerExternalOES`, and as `sampler2D`. Needs
//! EGL's surfaceless platform and `/dev/udmabuf`.
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
use std::process::ExitCode;

use glow::HasContext as _;
use khronos_egl as egl;

const SIZE: (usize, usize) = (250, 130);
const PITCH: usize = 1024;
/// `DRM_FORMAT_XRGB8888`.
const XR24: egl::Attrib = 0x3432_5258;

const PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31dd;
const LINUX_DMA_BUF_EXT: egl::Enum = 0x3270;
const LINUX_DRM_FOURCC_EXT: egl::Attrib = 0x3271;
/// fd, offset and pitch of plane 0.
const DMA_BUF_PLANE0_EXT: [egl::Attrib; 3] = [0x3272, 0x3273, 0x3274];
const TEXTURE_EXTERNAL_OES: u32 = 0x8d65;

const COVER: &str = "#version 310 es
void main() {
    gl_Position = vec4(float(gl_VertexID & 1) * 4.0 - 1.0, float(gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}
";

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
    // SAFETY: EGL is a system library, made to be loaded into any process.
    let egl = unsafe { egl::DynamicInstance::<egl::EGL1_5>::load_required_from_filename("libEGL.so.1") }
        .map_err(|error| format!("libEGL.so.1: {error:?}"))?;
    let (nothing, end) = (std::ptr::null_mut(), egl::ATTRIB_NONE);
    // SAFETY: this platform has no native display but the default one.
    let display = unsafe { egl.get_platform_display(PLATFORM_SURFACELESS_MESA, nothing, &[end]) }?;
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

    let dmabuf = udmabuf((PITCH * SIZE.1).next_multiple_of(4096))?;
    let [fd, offset, pitch] = DMA_BUF_PLANE0_EXT;
    let attributes = [
        [egl::WIDTH as egl::Attrib, SIZE.0],
        [egl::HEIGHT as egl::Attrib, SIZE.1],
        [LINUX_DRM_FOURCC_EXT, XR24],
        [fd, dmabuf.as_raw_fd() as egl::Attrib],
        [offset, 0],
        [pitch, PITCH],
    ];
    let attributes = [&attributes.concat()[..], &[end]].concat();
    // SAFETY: this target takes no context, which is a null pointer.
    let no_context = unsafe { egl::Context::from_ptr(egl::NO_CONTEXT) };
    // SAFETY: as above, for the buffer.
    let no_buffer = unsafe { egl::ClientBuffer::from_ptr(nothing) };
    let image = egl.create_image(display, no_context, LINUX_DMA_BUF_EXT, no_buffer, &attributes)?;
    let show = egl.get_proc_address("glEGLImageTargetTexture2DOES").ok_or("GL_OES_EGL_image is missing")?;
    // SAFETY: the function has this type.
    let show: extern "system" fn(u32, *mut c_void) = unsafe { std::mem::transmute(show) };

    let told = |target, extension, sampler| -> Result<[f32; 2], Box<dyn Error>> {
        // SAFETY: the context is current, here and below; the image is live.
        unsafe {
            let texture = gl.create_texture()?;
            gl.bind_texture(target, Some(texture));
            for name in [glow::TEXTURE_MIN_FILTER, glow::TEXTURE_MAG_FILTER] {
                gl.tex_parameter_i32(target, name, glow::NEAREST as i32);
            }
            show(target, image.as_ptr());
        }
        let said = size_in_a_shader(&gl, extension, sampler)?;
        println!("textureSize of a {sampler}: {} x {}; {} x {} would be right", said[0], said[1], SIZE.0, SIZE.1);
        Ok(said)
    };
    let right = [SIZE.0 as f32, SIZE.1 as f32];
    if told(glow::TEXTURE_2D, "", "sampler2D")? != right {
        return Err("even a plain texture does not tell its size".into());
    }
    let extension = "#extension GL_OES_EGL_image_external_essl3 : require";
    Ok(told(TEXTURE_EXTERNAL_OES, extension, "samplerExternalOES")? != right)
}

/// What a fragment shader is told of the size of the texture that is bound.
fn size_in_a_shader(gl: &glow::Context, extension: &str, sampler: &str) -> Result<[f32; 2], Box<dyn Error>> {
    let measure = format!(
        "#version 310 es\n{extension}\nprecision highp float;\nuniform highp {sampler} picture;\n\
         layout(location = 0) out vec4 seen;\nvoid main() {{ seen = vec4(vec2(textureSize(picture, 0)), 0.0, 1.0); }}\n"
    );
    let mut bytes = [0xff; 16];
    // SAFETY: the context is current; `bytes` has room for the one pixel.
    unsafe {
        let program = gl.create_program()?;
        for (kind, source) in [(glow::VERTEX_SHADER, COVER), (glow::FRAGMENT_SHADER, &measure)] {
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
        let pixel = gl.create_renderbuffer()?;
        gl.bind_renderbuffer(glow::RENDERBUFFER, Some(pixel));
        gl.renderbuffer_storage(glow::RENDERBUFFER, glow::RGBA32F, 1, 1);
        let framebuffer = gl.create_framebuffer()?;
        gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer));
        gl.framebuffer_renderbuffer(glow::FRAMEBUFFER, glow::COLOR_ATTACHMENT0, glow::RENDERBUFFER, Some(pixel));
        gl.viewport(0, 0, 1, 1);
        gl.draw_arrays(glow::TRIANGLES, 0, 3);
        gl.read_pixels(0, 0, 1, 1, glow::RGBA, glow::FLOAT, glow::PixelPackData::Slice(Some(&mut bytes)));
        match gl.get_error() {
            glow::NO_ERROR => {}
            error => return Err(format!("OpenGL ES error {error:#x}").into()),
        }
    }
    let number = |at: usize| f32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Ok([number(0), number(4)])
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
    File::from(memfd.try_clone()?).set_len(length as u64)?;
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
