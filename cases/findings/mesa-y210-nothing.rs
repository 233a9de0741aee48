//! Mesa: are imported Y210 dma-bufs sampled as if nothing were in them?
//!
//! Samples frames that are grey everywhere: as Y212, and with the same bytes as Y210 and as Y216, of which the words have more or
//! fewer bits of padding. All must be the same grey.
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
/// fd, offset and pitch of the one plane.
const DMA_BUF_PLANE: [Attrib; 3] = [0x3272, 0x3273, 0x3274];
/// `EGL_YUV_COLOR_SPACE_HINT_EXT` is `EGL_ITU_REC601_EXT`.
const REC601: [Attrib; 2] = [0x327b, 0x327f];
const SAMPLE_RANGE_HINT_EXT: Attrib = 0x327c;
const YUV_FULL_RANGE_EXT: Attrib = 0x3282;
const TEXTURE_EXTERNAL_OES: u32 = 0x8d65;

const COVER: &str = "#version 310 es
void main() {
    gl_Position = vec4(float(gl_VertexID & 1) * 4.0 - 1.0, float(gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}
";

const SAMPLE: &str = "#version 310 es
#extension GL_OES_EGL_image_external_essl3 : require
precision highp float;
uniform highp samplerExternalOES picture;
uniform vec2 size;
layout(location = 0) out vec4 seen;
void main() {
    seen = texture(picture, gl_FragCoord.xy / size);
}
";

/// So far the greys may be apart, on a scale of 0 to 1: what the formats have for white differs.
const NEAR: f32 = 0.02;

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
    // Y, U, Y and V of two pixels, in the upper 10 bits of 16.
    let words = [504_u16 << 6, 512 << 6, 504 << 6, 512 << 6];
    let pixels: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let bytes = pixels.repeat(64 * 64 / 2);
    let grey = |fourcc: &[u8; 4]| {
        let seen = sampled(&opened, &Frame { fourcc, size: [64, 64], pitch: 256, bytes: &bytes })?;
        println!("{}: {:?}", String::from_utf8_lossy(fourcc), seen[0]);
        Ok::<_, Box<dyn Error>>(seen[0])
    };
    let target = grey(b"Y212")?;
    if target.iter().any(|value| (value - 0.49).abs() > NEAR) {
        return Err("grey is not even grey in Y212".into());
    }
    let differs = |seen: [f32; 3]| seen.iter().zip(target).any(|(seen, target)| (seen - target).abs() > NEAR);
    let (y210, y216) = (differs(grey(b"Y210")?), differs(grey(b"Y216")?));
    Ok(y210 || y216)
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

/// A frame of one plane in a udmabuf.
struct Frame<'b> {
    fourcc: &'b [u8; 4],
    size: [usize; 2],
    pitch: usize,
    bytes: &'b [u8],
}

/// The pixels of `frame`, R, G and B, as a sampler shows them at their centres.
fn sampled(
    (egl, display, gl): &(egl::DynamicInstance<egl::EGL1_5>, egl::Display, glow::Context),
    frame: &Frame<'_>,
) -> Result<Vec<[f32; 3]>, Box<dyn Error>> {
    let (memory, dmabuf) = udmabuf(frame.bytes.len().next_multiple_of(4096))?;
    memory.write_all_at(frame.bytes, 0)?;
    let [width, height] = frame.size;
    let mut attributes = vec![egl::WIDTH as Attrib, width, egl::HEIGHT as Attrib, height];
    attributes.extend([LINUX_DRM_FOURCC_EXT, u32::from_le_bytes(*frame.fourcc) as Attrib]);
    let [fd, offset, pitch] = DMA_BUF_PLANE;
    attributes.extend([fd, dmabuf.as_raw_fd() as Attrib, offset, 0, pitch, frame.pitch]);
    attributes.extend([REC601[0], REC601[1], SAMPLE_RANGE_HINT_EXT, YUV_FULL_RANGE_EXT, egl::ATTRIB_NONE]);
    // SAFETY: this target takes no context, which is a null pointer.
    let no_context = unsafe { egl::Context::from_ptr(egl::NO_CONTEXT) };
    // SAFETY: as above, for the buffer.
    let no_buffer = unsafe { egl::ClientBuffer::from_ptr(std::ptr::null_mut()) };
    let image = egl.create_image(*display, no_context, LINUX_DMA_BUF_EXT, no_buffer, &attributes)?;
    let show = egl.get_proc_address("glEGLImageTargetTexture2DOES").ok_or("GL_OES_EGL_image is missing")?;
    // SAFETY: the function has this type.
    let show: extern "system" fn(u32, *mut c_void) = unsafe { std::mem::transmute(show) };
    let mut bytes = vec![0xff; width * height * 16];
    let (columns, rows) = (width as i32, height as i32);
    // SAFETY: the context is current, the image is live, and `bytes` has room for every pixel.
    unsafe {
        let texture = gl.create_texture()?;
        gl.bind_texture(TEXTURE_EXTERNAL_OES, Some(texture));
        for name in [glow::TEXTURE_MIN_FILTER, glow::TEXTURE_MAG_FILTER] {
            gl.tex_parameter_i32(TEXTURE_EXTERNAL_OES, name, glow::NEAREST as i32);
        }
        show(TEXTURE_EXTERNAL_OES, image.as_ptr());
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
        let place = gl.get_uniform_location(program, "size");
        gl.uniform_2_f32(place.as_ref(), width as f32, height as f32);
        let pixels = gl.create_renderbuffer()?;
        gl.bind_renderbuffer(glow::RENDERBUFFER, Some(pixels));
        gl.renderbuffer_storage(glow::RENDERBUFFER, glow::RGBA32F, columns, rows);
        let framebuffer = gl.create_framebuffer()?;
        gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer));
        gl.framebuffer_renderbuffer(glow::FRAMEBUFFER, glow::COLOR_ATTACHMENT0, glow::RENDERBUFFER, Some(pixels));
        gl.viewport(0, 0, columns, rows);
        gl.draw_arrays(glow::TRIANGLES, 0, 3);
        let into = glow::PixelPackData::Slice(Some(&mut bytes));
        gl.read_pixels(0, 0, columns, rows, glow::RGBA, glow::FLOAT, into);
        match gl.get_error() {
            glow::NO_ERROR => {}
            error => return Err(format!("OpenGL ES error {error:#x}").into()),
        }
    }
    let number = |bytes: &[u8]| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(bytes.chunks(16).map(|pixel| [number(pixel), number(&pixel[4..]), number(&pixel[8..])]).collect())
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
