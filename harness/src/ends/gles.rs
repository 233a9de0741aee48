//! OpenGL ES as an end: it draws with a shader, and looks through a sampler.
//!
//! On EGL's surfaceless platform it hands out textures of its own (`EGL_MESA_image_dma_buf_export`). On the GBM platform it does as
//! compositors do: GBM makes a buffer, EGL takes that in by its fd, and OpenGL ES draws into it. Maker and display have a file of the
//! same node each, as an allocator and a renderer have.

use super::{
    Elsewhere, End, Exported, Exporter, Imported, Importer, Parcel, Part, Planes, Rows, Start, Way, elsewhere, gbm,
};
use crate::case::{DeviceIdentity, Need, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Held, Target};
use crate::devices::{Devices, Unplayed};
use crate::dmabuf::{SharedFrame, SplitFrame};
use crate::error::{Error, Refusal, Result};
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, px};
use crate::gbm::Bo;
use crate::gles::{self, GlImage, Through};
use crate::picture::Picture;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::yuv::Colours;

/// OpenGL ES on the surfaceless platform.
pub(super) static GLES: OpenGlEs = OpenGlEs { role: Role::Gles, on: On::Nothing };
/// OpenGL ES on the GBM platform.
pub(super) static GLES_GBM: OpenGlEs = OpenGlEs { role: Role::GlesGbm, on: On::Gbm };

/// OpenGL ES, as who plays a role.
pub(super) struct OpenGlEs {
    role: Role,
    on: On,
}

/// What its display is on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// The surfaceless platform.
    Nothing,
    /// The GBM platform, on the node that gives memory.
    Gbm,
}

/// What is handed out and taken in on the GBM platform, where it is the same renderer behind another winsys: what every device has
/// one of, and what is blended, or lies in two planes.
const GIVEN_ON_GBM: [Fourcc; 3] = [Fourcc::XR24, Fourcc::RG16, Fourcc::AR24];
const TAKEN_ON_GBM: [Fourcc; 3] = [Fourcc::XR24, Fourcc::RG16, Fourcc::NV12];

/// A frame that OpenGL ES made, or GBM for it.
struct Made {
    gles: gles::Gles,
    image: GlImage,
    /// Goes after the image, which is one of it.
    _bo: Option<Bo>,
    buffer: Buffer,
}

/// A frame that OpenGL ES imported.
struct TakenIn {
    gles: gles::Gles,
    textures: Held<Textures>,
    buffer: Buffer,
}

/// Both at once, as a compositor and a video player in one process would have it.
struct Textures {
    /// None where only external ones show it, as YUV, which they convert.
    plain: Option<GlImage>,
    external: GlImage,
}

impl OpenGlEs {
    fn open(&self, devices: &mut Devices) -> Result<gles::Gles, Unplayed> {
        match self.on {
            On::Nothing => devices.gles(),
            On::Gbm => devices.gles_by_gbm(),
        }
    }

    fn strength(&self) -> usize {
        if self.on == On::Nothing { usize::MAX } else { 1 }
    }
}

/// Which formats it draws to is the driver's choice.
fn does_not_draw(gles: &gles::Gles) -> String {
    format!("{} does not draw to textures of this format", gles.name())
}

impl End for OpenGlEs {
    fn role(&self) -> Role {
        self.role
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        let gles = self.open(devices)?;
        let identity = gles.identity();
        let mut driver = format!("{}, EGL {} {}", identity.version, identity.egl_vendor, identity.egl_version);
        match (self.on, gles.node()) {
            (On::Gbm, _) => driver.push_str(&format!(", on {}", devices.gbm()?.gives.driver())),
            (On::Nothing, Some(node)) => driver.push_str(&format!(", on {}", node.display())),
            (On::Nothing, None) => {}
        }
        Ok(DeviceIdentity { name: identity.renderer.clone(), driver })
    }

    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        Some(self)
    }

    fn importer(&'static self) -> Option<&'static dyn Importer> {
        Some(self)
    }

    fn part(&self, devices: &mut Devices) -> Result<Part, Unplayed> {
        Ok(Part::Gles(self.open(devices)?))
    }

    fn lacks_to_import(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        let listed = self.open(devices)?.formats().map_err(Unplayed::Broken)?.contains(&fourcc);
        Ok((!listed).then(|| format!("it does not list {fourcc} for import")))
    }
}

impl Exporter for OpenGlEs {
    fn can(&self, parcel: &Parcel) -> bool {
        let plain = parcel.rows == Rows::Agreed && parcel.start == Start::First;
        let makes = match self.on {
            On::Nothing => gles::can_create(parcel.fourcc),
            On::Gbm => GIVEN_ON_GBM.contains(&parcel.fourcc),
        };
        makes && plain && parcel.planes == Planes::Contiguous
    }

    fn strength(&self) -> usize {
        self.strength()
    }

    fn draws_itself(&self) -> bool {
        true
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, asked: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        if self.on == On::Gbm {
            // What it draws into it has taken in.
            let taken = Importer::modifiers(self, cx, fourcc, asked)?;
            return gbm::known(&cx.gbm()?.gives, fourcc, &taken);
        }
        let gles = self.open(cx.devices())?;
        if !gles.exports() {
            return Ok(Vec::new());
        }
        // It lays out its own images as it likes, and says how when they are there.
        Ok(vec![gles.create(fourcc, px(64, 64))?.export()?.frame.modifier])
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        let gles = self.open(cx.devices())?;
        match self.on {
            On::Nothing => Ok((!gles.exports()).then(|| "it lacks EGL_MESA_image_dma_buf_export".to_owned())),
            On::Gbm => match gbm::lack(cx, parcel.fourcc)? {
                None => Importer::lacks(self, cx, parcel),
                lack => Ok(lack),
            },
        }
    }

    fn export(&self, cx: &mut Cx, parcel: &Parcel, to: &dyn Importer) -> Result<Box<dyn Exported>, Trouble> {
        self.export_as(cx, parcel, &[Modifier::LINEAR], to)
    }

    fn export_as(
        &self,
        cx: &mut Cx,
        parcel: &Parcel,
        modifiers: &[Modifier],
        _: &dyn Importer,
    ) -> Result<Box<dyn Exported>, Trouble> {
        let gles = self.open(cx.devices())?;
        if self.on == On::Gbm {
            let (_, bo) = gbm::made(cx, parcel, modifiers)?;
            let shared = bo.export()?;
            let image = gles.import(&shared, Through::Texture2d)?;
            if !image.is_drawable()? {
                let why = format!("{} does not draw to {} of GBM's", gles.name(), parcel.fourcc);
                return Err(Trouble::Skip(why));
            }
            let buffer = cx.publish(Guest::Gles(&gles), shared)?;
            return Ok(Box::new(Made { gles, image, _bo: Some(bo), buffer }));
        }
        let image = gles.create(parcel.fourcc, parcel.size)?;
        let shared = image.export()?;
        let buffer = cx.publish(Guest::Gles(&gles), shared)?;
        Ok(Box::new(Made { gles, image, _bo: None, buffer }))
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
        cx.sees(format!("{}, whose image it is,", self.gles.name()), target, &self.image.sampled_picture()?)?;
        Ok(true)
    }
}

impl Importer for OpenGlEs {
    fn can(&self, parcel: &Parcel) -> bool {
        // Mesa leaves the last sample of chroma out where sizes are odd, which `yuv::converts_an_odd_size` is about.
        let takes = match self.on {
            On::Nothing => parcel.fourcc.is_known(),
            // Where the planes lie to each other is the renderer's business.
            On::Gbm => TAKEN_ON_GBM.contains(&parcel.fourcc) && parcel.planes == Planes::Contiguous,
        };
        takes && parcel.is_sampled_evenly()
    }

    fn strength(&self) -> usize {
        self.strength()
    }

    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble> {
        cx.lack_of(&Need::Imports { role: self.role, format: parcel.fourcc.to_string() })
    }

    fn draws(&self, _: &Parcel) -> bool {
        true
    }

    fn keeps(&self) -> bool {
        true
    }

    fn elsewhere(&self) -> Option<&dyn Elsewhere> {
        Some(self)
    }

    fn takes_fds(&self) -> bool {
        true
    }

    fn knows_modifiers(&self) -> bool {
        true
    }

    fn modifiers(&self, cx: &mut Cx, fourcc: Fourcc, _: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        let gles = self.open(cx.devices())?;
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
        let gles = self.open(cx.devices())?;
        cx.attach(&Guest::Gles(&gles), buffer)
    }

    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble> {
        self.import_by(cx, buffer, Way::default())
    }

    fn import_by(&self, cx: &mut Cx, buffer: &Buffer, way: Way) -> Result<Box<dyn Imported>, Trouble> {
        if way.elsewhere {
            return Ok(elsewhere::taken(self, buffer, way));
        }
        let gles = self.open(cx.devices())?;
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
        Ok(Box::new(TakenIn { gles, textures, buffer: buffer.clone() }))
    }
}

impl Imported for TakenIn {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        let Textures { plain, external } = &*self.textures;
        if target.picture.fourcc.yuv().is_some() {
            let actual = external.sampled_rgb()?;
            let storage = self.buffer.storage().ok_or_else(|| Finding::new("an imported frame has no storage"))?;
            return Ok(cx.gles_converts(&self.gles, &storage.shared, Colours::VIDEO, target, &actual)?);
        }
        if let Some(plain) = plain {
            cx.sees(format!("{} (2D texture)", self.gles.name()), target, &plain.sampled_picture()?)?;
        }
        Ok(cx.sees(format!("{} (external texture)", self.gles.name()), target, &external.sampled_picture()?)?)
    }

    fn draw(&mut self, _: &mut Cx, stamp: u32) -> Outcome {
        match &self.textures.plain {
            Some(plain) if plain.is_drawable()? => Ok(plain.draw_pattern(stamp)?),
            _ => Err(Trouble::Skip(does_not_draw(&self.gles))),
        }
    }
}

impl Elsewhere for OpenGlEs {
    fn read(&self, devices: &mut Devices, shared: &SharedFrame, _: bool) -> Result<Picture> {
        let gles = self.open(devices).map_err(|why| why.opening(self.role))?;
        let through = match gles.is_external_only(shared.frame.fourcc, shared.frame.modifier)? {
            true => Through::External,
            false => Through::Texture2d,
        };
        gles.import(shared, through)?.sampled_picture()
    }

    fn draw(&self, devices: &mut Devices, shared: &SharedFrame, _: bool, stamp: u32) -> Result<()> {
        let gles = self.open(devices).map_err(|why| why.opening(self.role))?;
        let refused = || Error::refused("drawing", shared.to_string(), does_not_draw(&gles), Refusal::Allowed);
        if gles.is_external_only(shared.frame.fourcc, shared.frame.modifier)? {
            return Err(refused());
        }
        let image = gles.import(shared, Through::Texture2d)?;
        if image.is_drawable()? { image.draw_pattern(stamp) } else { Err(refused()) }
    }
}
