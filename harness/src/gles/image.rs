#![expect(unsafe_code, reason = "calls OpenGL ES")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "what makes these calls sound is the same for all: a current context"
)]
//! Images of OpenGL ES in memory that other devices share: taken in, handed out, drawn to and looked at.

use std::ffi::c_void;

use glow::HasContext as _;

use super::Gles;
use super::egl::EglImage;
use super::program::Work;
use crate::dmabuf::{SharedFrame, SharedPlanes};
use crate::error::{Cause, Error, Result};
use crate::format::{Fourcc, Numeric};
use crate::frame::{Size, px};
use crate::picture::Picture;
use crate::texel;
use crate::yuv::Colours;

/// `GL_TEXTURE_EXTERNAL_OES`.
const TEXTURE_EXTERNAL: u32 = 0x8D65;

/// Which kind of texture shows an imported image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Through {
    /// `GL_TEXTURE_2D`: can be drawn to, where the driver can.
    Texture2d,
    /// `GL_TEXTURE_EXTERNAL_OES`: can be sampled only, and converts YUV.
    External,
}

impl Through {
    fn target(self) -> u32 {
        match self {
            Self::Texture2d => glow::TEXTURE_2D,
            Self::External => TEXTURE_EXTERNAL,
        }
    }
}

/// An image of a [`Gles`] device.
pub struct GlImage {
    texture: glow::Texture,
    through: Through,
    /// What the texture shows, if that came from outside or is to go there.
    image: Option<EglImage>,
    fourcc: Fourcc,
    size: Size,
    gles: Gles,
}

type TargetTexture = unsafe extern "system" fn(u32, *mut c_void);

impl Gles {
    /// Takes in `shared`, to be shown by a texture of kind `through`. EGL takes no fd.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn import(&self, shared: &SharedFrame, through: Through) -> Result<GlImage> {
        self.import_as(shared, through, Colours::VIDEO)
    }

    /// [`Self::import`] of a frame with an fd for each plane, too, which is converted as `colours` says if it is YUV.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn import_as(&self, shared: &impl SharedPlanes, through: Through, colours: Colours) -> Result<GlImage> {
        const OP: &str = "glEGLImageTargetTexture2DOES";
        let function = self.egl().function(c"glEGLImageTargetTexture2DOES");
        if function.is_null() {
            return Err(Error::missing(OP, self.object(shared), "GL_OES_EGL_image is missing"));
        }
        // SAFETY: the type is that of the extension.
        let show: TargetTexture = unsafe { std::mem::transmute(function) };
        let image = self.egl().import(shared, colours)?;
        let mut made = self.texture(through, shared.frame().fourcc, shared.frame().size)?;
        // SAFETY: the texture was bound by `texture`, and the image lives as long as it does.
        unsafe { show(through.target(), image.raw()) };
        self.check(OP, format!("{shared} as {through:?}"))?;
        made.image = Some(image);
        Ok(made)
    }

    /// An image of the driver's own, for [`GlImage::export`].
    ///
    /// # Errors
    /// OpenGL ES has no texture with these bytes, or the driver fails.
    pub fn create(&self, fourcc: Fourcc, size: Size) -> Result<GlImage> {
        const OP: &str = "glTexStorage2D";
        let Some(format) = internal_format(fourcc) else {
            let why = format!("OpenGL ES has no format with the bytes of {fourcc}");
            return Err(Error::missing(OP, self.object(size), why));
        };
        let (Ok(width), Ok(height)) = (i32::try_from(size.width), i32::try_from(size.height)) else {
            return Err(Error::input(OP, self.object(size), "a side is longer than 2147483647 px"));
        };
        let mut made = self.texture(Through::Texture2d, fourcc, size)?;
        // SAFETY: the texture was bound by `texture`.
        unsafe { self.gl().tex_storage_2d(glow::TEXTURE_2D, 1, format, width, height) };
        self.check(OP, format!("{fourcc} {size}"))?;
        let glow::NativeTexture(name) = made.texture;
        let image = self.egl().of_texture(name.get(), &format!("{fourcc} {size}"))?;
        made.image = Some(image);
        Ok(made)
    }

    /// A texture without contents, bound.
    fn texture(&self, through: Through, fourcc: Fourcc, size: Size) -> Result<GlImage> {
        const OP: &str = "glGenTextures";
        let gl = self.begin()?;
        // SAFETY: the context is current, here and below.
        let texture =
            unsafe { gl.create_texture() }.map_err(|why| Error::new(OP, self.object(size), Cause::Code(why)))?;
        let made = GlImage { texture, through, image: None, fourcc, size, gles: self.clone() };
        self.0.looks.set(true);
        let target = through.target();
        // SAFETY: as above; these are parameters that both targets have.
        unsafe {
            gl.active_texture(glow::TEXTURE0);
            gl.bind_texture(target, Some(texture));
            for (name, value) in [
                (glow::TEXTURE_MIN_FILTER, glow::NEAREST),
                (glow::TEXTURE_MAG_FILTER, glow::NEAREST),
                (glow::TEXTURE_WRAP_S, glow::CLAMP_TO_EDGE),
                (glow::TEXTURE_WRAP_T, glow::CLAMP_TO_EDGE),
            ] {
                gl.tex_parameter_i32(target, name, value as i32);
            }
        }
        self.check(OP, format!("{through:?}"))?;
        Ok(made)
    }
}

/// Whether OpenGL ES has textures with the bytes of `fourcc` that it can draw to.
pub fn can_create(fourcc: Fourcc) -> bool {
    internal_format(fourcc).is_some()
}

/// The sized format whose pixels are `fourcc`'s bytes, of those that OpenGL ES 3.1 can draw to.
fn internal_format(fourcc: Fourcc) -> Option<u32> {
    Some(match fourcc {
        Fourcc::AB24 => glow::RGBA8,
        Fourcc::R8 => glow::R8,
        Fourcc::GR88 => glow::RG8,
        Fourcc::RG16 => glow::RGB565,
        Fourcc::AB30 => glow::RGB10_A2,
        _ => return None,
    })
}

/// A framebuffer for one piece of work.
struct Target<'g> {
    gles: &'g Gles,
    framebuffer: glow::Framebuffer,
    pixels: Option<glow::Renderbuffer>,
}

impl<'g> Target<'g> {
    fn new(gles: &'g Gles) -> Result<Self> {
        let gl = gles.begin()?;
        // SAFETY: the context is current.
        let framebuffer = unsafe { gl.create_framebuffer() }
            .map_err(|why| Error::new("glGenFramebuffers", gles.object(""), Cause::Code(why)))?;
        // SAFETY: as above; the framebuffer is live.
        unsafe { gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer)) };
        Ok(Self { gles, framebuffer, pixels: None })
    }

    /// Gives it pixels of its own, four floats each.
    fn with_floats(mut self, size: Size) -> Result<Self> {
        let gl = self.gles.gl();
        // SAFETY: the context is current.
        let pixels = unsafe { gl.create_renderbuffer() }
            .map_err(|why| Error::new("glGenRenderbuffers", self.gles.object(size), Cause::Code(why)))?;
        self.pixels = Some(pixels);
        // SAFETY: as above; the renderbuffer is live, and the framebuffer is bound.
        unsafe {
            gl.bind_renderbuffer(glow::RENDERBUFFER, Some(pixels));
            gl.renderbuffer_storage(glow::RENDERBUFFER, glow::RGBA32F, size.width as i32, size.height as i32);
            let (to, kind) = (glow::COLOR_ATTACHMENT0, glow::RENDERBUFFER);
            gl.framebuffer_renderbuffer(glow::FRAMEBUFFER, to, kind, Some(pixels));
        }
        Ok(self)
    }

    /// Whether it can be drawn to.
    fn is_complete(&self) -> bool {
        // SAFETY: the context is current, and the framebuffer bound.
        let status = unsafe { self.gles.gl().check_framebuffer_status(glow::FRAMEBUFFER) };
        status == glow::FRAMEBUFFER_COMPLETE
    }

    /// Fails unless it can be drawn to.
    fn complete(&self, what: &str) -> Result<()> {
        if self.is_complete() {
            return Ok(());
        }
        Err(Error::missing("glCheckFramebufferStatus", self.gles.object(what), "the driver does not draw to it"))
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        let gl = self.gles.gl();
        // SAFETY: the context is current since `new`; both are live and deleted once.
        unsafe {
            gl.bind_framebuffer(glow::FRAMEBUFFER, None);
            gl.delete_framebuffer(self.framebuffer);
            if let Some(pixels) = self.pixels {
                gl.delete_renderbuffer(pixels);
            }
        }
    }
}

impl GlImage {
    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Hands the image out, with the layout that the driver chose.
    ///
    /// # Errors
    /// The driver can't, refuses, or answers what no driver may answer.
    pub fn export(&self) -> Result<SharedFrame> {
        match &self.image {
            Some(image) => image.export(self.size),
            None => Err(Error::input("exporting", self.object(), "it is no EGLImage")),
        }
    }

    /// Whether the driver draws to it.
    ///
    /// # Errors
    /// The driver fails.
    pub fn is_drawable(&self) -> Result<bool> {
        Ok(self.through == Through::Texture2d && self.as_target()?.is_complete())
    }

    /// A framebuffer that draws to it.
    fn as_target(&self) -> Result<Target<'_>> {
        if self.through == Through::External {
            return Err(Error::missing(
                "glFramebufferTexture2D",
                self.object(),
                "an external texture can't be drawn to",
            ));
        }
        let target = Target::new(&self.gles)?;
        let (framebuffer, to) = (glow::FRAMEBUFFER, glow::COLOR_ATTACHMENT0);
        // SAFETY: the context is current; framebuffer and texture are live.
        unsafe { self.gles.gl().framebuffer_texture_2d(framebuffer, to, glow::TEXTURE_2D, Some(self.texture), 0) };
        Ok(target)
    }

    /// Draws the [pattern](crate::pattern) with a shader, exactly, and waits for the end.
    ///
    /// # Errors
    /// The format is not packed RGB, the device cannot draw to such images, or the driver fails.
    pub fn draw_pattern(&self, stamp: u32) -> Result<()> {
        const OP: &str = "drawing the pattern";
        let Some(pixel) = self.fourcc.pixel() else {
            let why = format!("{} is not a packed RGB format known here", self.fourcc);
            return Err(Error::input(OP, self.object(), why));
        };
        let target = self.as_target()?;
        target.complete(&self.description())?;
        let program = self.gles.program(Work::Pattern)?;
        let gl = self.gles.gl();
        let Size { width, height } = self.size;
        let [r, g, b, a] = texel::widths(pixel);
        // SAFETY: as above; the program is live, and a name that it does not have gives no location, which GL ignores.
        unsafe {
            gl.use_program(Some(program));
            let at = |name: &str| gl.get_uniform_location(program, &format!("_immediates_binding_fs.{name}"));
            gl.uniform_2_u32(at("size").as_ref(), width, height);
            gl.uniform_1_u32(at("stamp").as_ref(), stamp);
            gl.uniform_1_u32(at("half_floats").as_ref(), u32::from(pixel.numeric == Numeric::Float16));
            gl.uniform_4_u32(at("bits").as_ref(), r, g, b, a);
            gl.disable(glow::DITHER);
            gl.viewport(0, 0, width as i32, height as i32);
            gl.draw_arrays(glow::TRIANGLES, 0, 3);
            gl.finish();
        }
        self.gles.check(OP, self.description())
    }

    /// Every pixel as a sampler shows it: R, G, B, A, rows from the top.
    ///
    /// # Errors
    /// The driver fails.
    pub fn sample(&self) -> Result<Vec<[f32; 4]>> {
        self.look(Work::Sample(self.through), "sampling", self.size)
    }

    /// The size that a shader is told of the texture (`textureSize`): width and height.
    ///
    /// # Errors
    /// The driver fails.
    pub fn told_size(&self) -> Result<(f32, f32)> {
        let seen = self.look(Work::Measure(self.through), "asking a texture for its size", px(1, 1))?;
        Ok(seen.first().map_or((0.0, 0.0), |&[width, height, ..]| (width, height)))
    }

    /// What `work` makes of the texture, `size` pixels of four floats.
    fn look(&self, work: Work, op: &'static str, size: Size) -> Result<Vec<texel::Colour>> {
        let target = Target::new(&self.gles)?.with_floats(size)?;
        target.complete("RGBA32F")?;
        let program = self.gles.program(work)?;
        let gl = self.gles.gl();
        let (width, height) = (size.width as i32, size.height as i32);
        // What a forgotten read leaves is no number.
        let mut bytes = vec![0xff; size.width as usize * size.height as usize * 16];
        // SAFETY: the context is current; program and texture are live; `bytes` has room for every pixel.
        unsafe {
            gl.active_texture(glow::TEXTURE0);
            gl.bind_texture(self.through.target(), Some(self.texture));
            gl.use_program(Some(program));
            gl.uniform_1_i32(gl.get_uniform_location(program, "picture").as_ref(), 0);
            let at = gl.get_uniform_location(program, "size");
            gl.uniform_2_f32(at.as_ref(), width as f32, height as f32);
            gl.viewport(0, 0, width, height);
            gl.draw_arrays(glow::TRIANGLES, 0, 3);
            let into = glow::PixelPackData::Slice(Some(&mut bytes));
            gl.read_pixels(0, 0, width, height, glow::RGBA, glow::FLOAT, into);
        }
        self.gles.check(op, self.description())?;
        Ok(texel::colours(&bytes))
    }

    /// What a sampler shows, as pixels of the image's own format; padding is all ones.
    ///
    /// # Errors
    /// As [`Self::sample`]; also if the format is not packed RGB.
    pub fn sampled_picture(&self) -> Result<Picture> {
        texel::picture(&self.sample()?, self.fourcc, self.size)
    }

    /// What a sampler shows of a frame in YUV: RGB of 16 bits each (AB48).
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn sampled_rgb(&self) -> Result<Picture> {
        texel::picture(&self.sample()?, Fourcc::AB48, self.size)
    }

    fn description(&self) -> String {
        format!("{} {} as {:?}", self.fourcc, self.size, self.through)
    }

    fn object(&self) -> String {
        self.gles.object(self.description())
    }
}

impl Drop for GlImage {
    fn drop(&mut self) {
        if self.gles.egl().make_current().is_ok() {
            // SAFETY: the context is current; the texture is live and deleted once.
            unsafe { self.gles.gl().delete_texture(self.texture) };
        }
    }
}
