//! OpenGL ES as an end: it draws with a shader, and looks through a sampler.

use super::{Exported, Exporter, Imported, Importer, Parcel, Rows, Start};
use crate::case::{Need, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Held, Target};
use crate::gles::{self, GlImage, Through};
use crate::share::buffer::Buffer;
use crate::share::core::Access;

/// OpenGL ES.
pub(super) static GLES: OpenGlEs = OpenGlEs;

pub(super) struct OpenGlEs;

/// A frame that OpenGL ES made.
struct Made {
    gles: gles::Gles,
    image: GlImage,
    buffer: Buffer,
}

/// A frame that OpenGL ES imported.
struct TakenIn(Held<Textures>);

/// Both at once, as a compositor and a video player in one process would have it.
struct Textures {
    plain: GlImage,
    external: GlImage,
}

impl Exporter for OpenGlEs {
    fn role(&self) -> Role {
        Role::Gles
    }

    fn can(&self, parcel: &Parcel) -> bool {
        gles::can_create(parcel.fourcc) && parcel.rows == Rows::Agreed && parcel.start == Start::First
    }

    fn lacks(&self, cx: &mut Cx, _: &Parcel) -> Result<Option<String>, Trouble> {
        let exports = cx.gles()?.exports();
        Ok((!exports).then(|| "it lacks EGL_MESA_image_dma_buf_export".to_owned()))
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, _: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        let gles = cx.gles()?;
        let image = gles.create(parcel.fourcc, parcel.size)?;
        let shared = image.export()?;
        let buffer = cx.publish(Guest::Gles(&gles), shared)?;
        Ok(Box::new(Made { gles, image, buffer }))
    }
}

impl Exported for Made {
    fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Result<(), Trouble> {
        cx.fact("drawn by", self.gles.identity());
        let image = &self.image;
        cx.mapped(&Guest::Gles(&self.gles), &self.buffer, Access::Write, |_, _| Ok(image.draw_pattern(stamp)?))
    }

    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<bool, Trouble> {
        cx.sees("gles, whose image it is,", target, &self.image.sampled_picture()?)?;
        Ok(true)
    }
}

impl Importer for OpenGlEs {
    fn role(&self) -> Role {
        Role::Gles
    }

    fn can(&self, parcel: &Parcel) -> bool {
        parcel.fourcc.pixel().is_some()
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Imports { role: Role::Gles, format: parcel.fourcc.to_string() })
    }

    fn draws(&self, _: &Parcel) -> bool {
        true
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        let gles = cx.gles()?;
        cx.attach(&Guest::Gles(&gles), buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        let gles = cx.gles()?;
        let textures = cx.hold(&Guest::Gles(&gles), buffer, Access::Write, |shared| {
            let plain = gles.import(shared, Through::Texture2d)?;
            Ok(Textures { plain, external: gles.import(shared, Through::External)? })
        })?;
        Ok(Box::new(TakenIn(textures)))
    }
}

impl Imported for TakenIn {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        cx.sees("gles (2D texture)", target, &self.0.plain.sampled_picture()?)?;
        Ok(cx.sees("gles (external texture)", target, &self.0.external.sampled_picture()?)?)
    }

    fn draw(&mut self, _: &mut Cx, stamp: u32) -> Outcome {
        if !self.0.plain.is_drawable()? {
            return Err(Trouble::Skip("gles does not draw to textures of this format".to_owned()));
        }
        Ok(self.0.plain.draw_pattern(stamp)?)
    }
}
