//! OpenGL ES as an end: it draws with a shader, and looks through a sampler.

use super::{End, Exported, Exporter, Imported, Importer, Parcel, Planes, Rows, Start, Way};
use crate::case::{DeviceIdentity, Need, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Held, Target};
use crate::devices::{Devices, Unplayed};
use crate::dmabuf::SplitFrame;
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, px};
use crate::gles::{self, GlImage, Through};
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::yuv::Colours;

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
struct TakenIn {
    textures: Held<Textures>,
    buffer: Buffer,
}

/// Both at once, as a compositor and a video player in one process would have it.
struct Textures {
    /// None where only external ones show it, as YUV, which they convert.
    plain: Option<GlImage>,
    external: GlImage,
}

impl End for OpenGlEs {
    fn role(&self) -> Role {
        Role::Gles
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        let gles = devices.gles()?;
        let identity = gles.identity();
        let egl = format!("EGL {} {}", identity.egl_vendor, identity.egl_version);
        Ok(DeviceIdentity { name: identity.renderer.clone(), driver: format!("{}, {egl}", identity.version) })
    }

    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        Some(self)
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }

    fn lacks_to_import(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        let listed = devices.gles()?.formats().map_err(Unplayed::Broken)?.contains(&fourcc);
        Ok((!listed).then(|| format!("it does not list {fourcc} for import")))
    }
}

impl Exporter for OpenGlEs {
    fn can(&self, parcel: &Parcel) -> bool {
        let plain = parcel.rows == Rows::Agreed && parcel.start == Start::First;
        gles::can_create(parcel.fourcc) && plain && parcel.planes == Planes::Contiguous
    }

    fn draws_itself(&self) -> bool {
        true
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, _: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        let gles = cx.gles()?;
        if !gles.exports() {
            return Ok(Vec::new());
        }
        // It lays out its own images as it likes, and says how when they are there.
        Ok(vec![gles.create(fourcc, px(64, 64))?.export()?.frame.modifier])
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
    fn can(&self, parcel: &Parcel) -> bool {
        // Mesa leaves the last sample of chroma out where sizes are odd, which `yuv::converts_an_odd_size` is about.
        parcel.fourcc.is_known() && parcel.is_sampled_evenly()
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Imports { role: Role::Gles, format: parcel.fourcc.to_string() })
    }

    fn draws(&self, _: &Parcel) -> bool {
        true
    }

    fn keeps(&self) -> bool {
        true
    }

    fn takes_fds(&self) -> bool {
        true
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, _: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        let gles = cx.gles()?;
        if !gles.formats()?.contains(&fourcc) {
            return Ok(Vec::new());
        }
        let listed = gles.modifiers(fourcc)?;
        // Who lists none takes LINEAR.
        Ok(if listed.is_empty() {
            vec![Modifier::LINEAR]
        } else {
            listed.into_iter().map(|one| one.modifier).collect()
        })
    }

    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble> {
        let gles = cx.gles()?;
        cx.attach(&Guest::Gles(&gles), buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        self.import_by(cx, buffer, Way::default())
    }

    fn import_by(&self, cx: &mut Cx, buffer: &Buffer, way: Way) -> Result<Box<dyn Imported>, Trouble> {
        let gles = cx.gles()?;
        let textures = cx.hold(&Guest::Gles(&gles), buffer, Access::Write, |shared| {
            let Frame { fourcc, modifier, .. } = shared.frame;
            let is_plain = fourcc.pixel().is_some() && !gles.is_external_only(fourcc, modifier)?;
            let plain = is_plain.then(|| gles.import(shared, Through::Texture2d)).transpose()?;
            let external = match way.fd_per_plane {
                true => gles.import_as(&SplitFrame::of_one(shared)?, Through::External, Colours::VIDEO),
                false => gles.import(shared, Through::External),
            };
            Ok(Textures { plain, external: external? })
        })?;
        Ok(Box::new(TakenIn { textures, buffer: buffer.clone() }))
    }
}

impl Imported for TakenIn {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        let Textures { plain, external } = &*self.textures;
        if target.picture.fourcc.yuv().is_some() {
            let actual = external.sampled_rgb()?;
            let storage = self.buffer.storage().ok_or_else(|| Finding::new("an imported frame has no storage"))?;
            return Ok(cx.gles_converts(&storage.shared, Colours::VIDEO, target, &actual)?);
        }
        if let Some(plain) = plain {
            cx.sees("gles (2D texture)", target, &plain.sampled_picture()?)?;
        }
        Ok(cx.sees("gles (external texture)", target, &external.sampled_picture()?)?)
    }

    fn draw(&mut self, _: &mut Cx, stamp: u32) -> Outcome {
        match &self.textures.plain {
            Some(plain) if plain.is_drawable()? => Ok(plain.draw_pattern(stamp)?),
            _ => Err(Trouble::Skip("gles does not draw to textures of this format".to_owned())),
        }
    }
}
