//! The KMS objects of a card, and the pipe from plane to connector that the screen uses.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use drm::control::{Device as _, RawResourceHandle, ResourceHandle, connector, crtc, property};
use serde::{Deserialize, Serialize};

use super::card::Card;
use super::connectors::{Encoder, Prefer, Used, bit};
use super::formats::{self, Offer};
use crate::error::{Cause, Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::restart::again;

/// A KMS object with its properties by name.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) handle: RawResourceHandle,
    /// `plane 31`, for error texts.
    name: String,
    properties: BTreeMap<String, (property::Handle, u64)>,
    /// The values that a property can have, by name, where it is an enumeration.
    choices: BTreeMap<String, Vec<(String, u64)>>,
}

impl Object {
    fn read<H: ResourceHandle>(card: &Card, handle: H, kind: &str) -> Result<Self> {
        let name = format!("{kind} {}", Into::<u32>::into(handle));
        let failed = |op, error| Error::new(op, format!("{card}, {name}"), error);
        let values =
            again(|| card.get_properties(handle)).map_err(|error| failed("DRM_IOCTL_MODE_OBJ_GETPROPERTIES", error))?;
        let (mut properties, mut choices) = (BTreeMap::new(), BTreeMap::new());
        for (id, value) in values {
            let info = again(|| card.get_property(id)).map_err(|error| failed("DRM_IOCTL_MODE_GETPROPERTY", error))?;
            let property = info.name().to_string_lossy().into_owned();
            if let property::ValueType::Enum(values) = info.value_type() {
                let choice = |one: &property::EnumValue| (one.name().to_string_lossy().into_owned(), one.value());
                choices.insert(property.clone(), values.values().1.iter().map(choice).collect());
            }
            properties.insert(property, (id, value));
        }
        Ok(Self { handle: handle.into(), name, properties, choices })
    }

    /// The one of this handle, which may be among those that were read already.
    fn of<H: ResourceHandle>(read: &[&Self], card: &Card, handle: H, kind: &str) -> Result<Self> {
        match read.iter().find(|object| object.handle == handle.into()) {
            Some(object) => Ok((*object).clone()),
            None => Self::read(card, handle, kind),
        }
    }

    /// The handle of a property.
    pub(super) fn property(&self, name: &'static str) -> Result<property::Handle> {
        let found = self.properties.get(name).map(|(handle, _)| *handle);
        found.ok_or_else(|| Error::missing("setting a property", &*self.name, format!("it has no property {name}")))
    }

    /// The value of the enumeration `property` that is called `name`.
    ///
    /// # Errors
    /// The object has no such property, or the property no such value.
    pub(super) fn choice(&self, property: &'static str, name: &str) -> Result<u64> {
        self.property(property)?;
        let choices = self.choices.get(property).map_or(&[][..], Vec::as_slice);
        choices.iter().find(|(choice, _)| choice == name).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| name.as_str()).collect();
            Error::missing("setting a property", &*self.name, format!("{property} can't be `{name}`, but {names:?}"))
        })
    }

    /// Value of a property when the screen was opened.
    fn value(&self, name: &str) -> Option<u64> {
        self.properties.get(name).map(|(_, value)| *value)
    }
}

/// What a plane is for (its `type` property).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaneKind {
    /// Lowest.
    Primary,
    /// Between primary and cursor.
    Overlay,
    /// Uppermost; some devices take only cursor-sized frames here.
    Cursor,
}

/// A plane of the screen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plane {
    /// What it is for.
    pub kind: PlaneKind,
    /// KMS object id.
    pub id: u32,
    /// Formats and modifiers it lists (`IN_FORMATS`); LINEAR alone of a card without modifiers.
    pub offers: Vec<Offer>,
    /// Formats it lists without a word on modifiers (`DRM_IOCTL_MODE_GETPLANE`), which all planes do.
    pub formats: Vec<Fourcc>,
}

impl Plane {
    /// Whether the plane lists `fourcc` with `modifier`.
    pub fn lists(&self, fourcc: Fourcc, modifier: Modifier) -> bool {
        self.offers.iter().any(|offer| offer.fourcc == fourcc && offer.modifiers.contains(&modifier))
    }
}

/// The way from planes through one CRTC to a connector, and back by writeback.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) crtc: Object,
    /// Position of the CRTC in the card's list; debugfs counts so.
    pub(super) crtc_index: usize,
    /// The connector of the display; none where only writeback looks.
    display: Option<Object>,
    /// Its name, or the writeback connector's.
    pub(super) connector_name: String,
    pub(super) modes: Vec<drm::control::Mode>,
    /// Lowest first.
    pub(super) planes: Vec<(Plane, Object)>,
    pub(super) writeback: Option<(Object, Vec<Fourcc>)>,
    /// Smallest and largest framebuffer.
    pub(super) sizes: (Size, Size),
    /// What who was master before left behind, on the whole card, with what must be set to be rid of it.
    pub(super) inherited: Vec<(Object, Vec<Setting>)>,
}

/// A property by name, and its value.
pub(super) type Setting = (&'static str, u64);

/// Properties that take an object out of use when they are 0.
const IN_USE: [&str; 5] = ["CRTC_ID", "FB_ID", "ACTIVE", "MODE_ID", "WRITEBACK_FB_ID"];

/// Properties that change a picture, and the values with which they do not ("Plane Composition Properties" and "Color
/// Management Properties" of the KMS documentation). Blend modes have no fixed number.
const NEUTRAL: [Setting; 6] = [
    ("rotation", drm_ffi::DRM_MODE_ROTATE_0 as u64),
    ("alpha", 0xffff),
    ("GAMMA_LUT", 0),
    ("DEGAMMA_LUT", 0),
    ("CTM", 0),
    ("VRR_ENABLED", 0),
];

/// What must be set of an object so that nothing of its earlier use is left; `value` is what a property has, `premultiplied` the
/// number of the blend mode that is usual.
fn leftovers(value: impl Fn(&str) -> Option<u64>, premultiplied: Option<u64>) -> Vec<Setting> {
    let off = IN_USE.map(|property| (property, 0));
    let blend = premultiplied.map(|mode| ("pixel blend mode", mode));
    let wanted = off.into_iter().chain(NEUTRAL).chain(blend);
    wanted.filter(|(property, neutral)| value(property).is_some_and(|value| value != *neutral)).collect()
}

impl Pipe {
    /// The objects of its connectors.
    pub(super) fn connectors(&self) -> impl Iterator<Item = &Object> {
        self.display.iter().chain(self.writeback.as_ref().map(|(object, _)| object))
    }

    /// The first CRTC with a primary plane that a writeback connector, a connected display or best both of them reach; else
    /// the first with the one of the two that is [preferred](Prefer::of).
    ///
    /// # Errors
    /// No such CRTC; says what is missing, or what a driver answered that none may answer.
    pub(super) fn choose(card: &Card) -> Result<Self> {
        let lists =
            again(|| card.resource_handles()).map_err(|error| card.error("DRM_IOCTL_MODE_GETRESOURCES", error))?;
        let reach = Reach::read(card, &lists)?;
        let mut why = vec![format!("{} CRTCs, {} connectors", lists.crtcs().len(), lists.connectors().len())];
        let (mut pipes, mut wrong) = (Vec::new(), None);
        for (index, &crtc) in lists.crtcs().iter().enumerate() {
            match reach.pipe(card, index, crtc) {
                Ok(pipe) => pipes.push(pipe),
                Err(Error { object, cause: Cause::Missing(what), .. }) => why.push(format!("{object}: {what}")),
                // It may be why there is no other.
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        // `min_by_key` takes the first of equals.
        let rank = |pipe: &Self| Prefer::of(&card.driver).rank(pipe.display.is_some(), pipe.writeback.is_some());
        let best = pipes.into_iter().min_by_key(rank);
        let none = || wrong.unwrap_or_else(|| Error::missing("choosing a CRTC", card.to_string(), why.join("; ")));
        let pipe = best.ok_or_else(none)?;
        Ok(Self { inherited: reach.inherited(card, &pipe)?, ..pipe })
    }
}

/// Which connectors reach which CRTCs.
struct Reach {
    /// Connector and its encoders.
    connectors: Vec<(connector::Info, Vec<Encoder>)>,
    lists: drm::control::ResourceHandles,
}

impl Reach {
    fn read(card: &Card, lists: &drm::control::ResourceHandles) -> Result<Self> {
        let mut connectors = Vec::new();
        for &handle in lists.connectors() {
            let info = again(|| card.get_connector(handle, true))
                .map_err(|error| card.error("DRM_IOCTL_MODE_GETCONNECTOR", error))?;
            let mut encoders = Vec::new();
            for &encoder in info.encoders() {
                // The drm crate keeps what encoders go together to itself.
                let told = again(|| drm_ffi::mode::get_encoder(card.as_fd(), encoder.into()))
                    .map_err(|error| card.error("DRM_IOCTL_MODE_GETENCODER", error))?;
                let place = lists.encoders().iter().position(|other| *other == encoder);
                encoders.push(Encoder {
                    bit: place.map_or(0, bit),
                    crtcs: told.possible_crtcs,
                    clones: told.possible_clones,
                });
            }
            connectors.push((info, encoders));
        }
        Ok(Self { connectors, lists: lists.clone() })
    }

    fn pipe(&self, card: &Card, crtc_index: usize, crtc: crtc::Handle) -> Result<Pipe> {
        let reaching = |writeback: bool| {
            self.connectors
                .iter()
                .filter(move |(info, _)| (info.interface() == connector::Interface::Writeback) == writeback)
                .filter(move |(_, encoders)| encoders.iter().any(|encoder| encoder.reaches(crtc_index)))
        };
        let missing = |what: &str| Error::missing("choosing a CRTC", format!("CRTC {}", Into::<u32>::into(crtc)), what);
        let is_connected = |(info, _): &&(connector::Info, Vec<Encoder>)| info.state() == connector::State::Connected;
        let displays: Vec<_> = reaching(false).filter(is_connected).collect();
        let writes_back = reaching(true).next();
        let encoders: Vec<&[Encoder]> = displays.iter().map(|(_, encoders)| encoders.as_slice()).collect();
        let Used { display, writeback } =
            Used::of(Prefer::of(&card.driver), &encoders, writes_back.map(|(_, all)| all.as_slice()));
        let display = display.map(|place| &displays[place].0);
        if let (Some(shown), Some((left, _)), false) = (display, writes_back, writeback) {
            tracing::info!(display = %shown, connector = %left, "the screen goes without writeback: the two can't be on one CRTC");
        }
        let writes_back = writes_back.filter(|_| writeback);
        let connector = display.or(writes_back.map(|(info, _)| info));
        let connector = connector.ok_or_else(|| missing("neither a connected display nor writeback reaches it"))?;
        let planes = self.planes(card, crtc)?;
        match planes.first() {
            Some((plane, _)) if plane.kind == PlaneKind::Primary => {}
            Some((plane, _)) => {
                return Err(missing(&format!("its lowest plane, {}, is no primary one but {}", plane.id, plane.kind)));
            }
            None => return Err(missing("it has no plane")),
        }
        let writeback = match writes_back {
            None => None,
            Some((info, _)) => {
                let object = Object::read(card, info.handle(), "connector")?;
                let blob = blob(card, &object, "WRITEBACK_PIXEL_FORMATS")?.unwrap_or_default();
                let formats = formats::writeback_formats(&blob).map_err(|why| wrong(card, &object, why))?;
                Some((object, formats))
            }
        };
        Ok(Pipe {
            crtc: Object::read(card, crtc, "CRTC")?,
            crtc_index,
            display: display.map(|info| Object::read(card, info.handle(), "connector")).transpose()?,
            connector_name: connector.to_string(),
            modes: connector.modes().to_vec(),
            planes,
            writeback,
            sizes: sizes(card)?,
            inherited: Vec::new(),
        })
    }

    /// All objects of the card that are in use, or do something to a picture, with how they do not.
    fn inherited(&self, card: &Card, pipe: &Pipe) -> Result<Vec<(Object, Vec<Setting>)>> {
        let read: Vec<&Object> =
            pipe.planes.iter().map(|(_, plane)| plane).chain(pipe.connectors()).chain([&pipe.crtc]).collect();
        let planes =
            again(|| card.plane_handles()).map_err(|error| card.error("DRM_IOCTL_MODE_GETPLANERESOURCES", error))?;
        let planes = planes.into_iter().map(|plane| Object::of(&read, card, plane, "plane"));
        let connectors = self.lists.connectors().iter().map(|&it| Object::of(&read, card, it, "connector"));
        let crtcs = self.lists.crtcs().iter().map(|&crtc| Object::of(&read, card, crtc, "CRTC"));
        let mut inherited = Vec::new();
        for object in planes.chain(connectors).chain(crtcs) {
            let object = object?;
            let settings =
                leftovers(|property| object.value(property), object.choice("pixel blend mode", "Pre-multiplied").ok());
            if !settings.is_empty() {
                inherited.push((object, settings));
            }
        }
        Ok(inherited)
    }

    /// The planes that reach `crtc`, lowest first.
    fn planes(&self, card: &Card, crtc: crtc::Handle) -> Result<Vec<(Plane, Object)>> {
        let failed = |op, error| card.error(op, error);
        let handles =
            again(|| card.plane_handles()).map_err(|error| failed("DRM_IOCTL_MODE_GETPLANERESOURCES", error))?;
        let mut planes = Vec::new();
        for handle in handles {
            let info = again(|| card.get_plane(handle)).map_err(|error| failed("DRM_IOCTL_MODE_GETPLANE", error))?;
            if !self.lists.filter_crtcs(info.possible_crtcs()).contains(&crtc) {
                continue;
            }
            let object = Object::read(card, handle, "plane")?;
            // DRM_PLANE_TYPE_* of include/drm/drm_plane.h, which user space knows by these numbers.
            let kind = match object.value("type") {
                Some(0) => PlaneKind::Overlay,
                Some(1) => PlaneKind::Primary,
                Some(2) => PlaneKind::Cursor,
                other => return Err(wrong(card, &object, format!("its type is {other:?}, 0 to 2 are defined"))),
            };
            let offers = match blob(card, &object, "IN_FORMATS")? {
                Some(blob) => formats::in_formats(&blob).map_err(|why| wrong(card, &object, why))?,
                None => {
                    let modifier = if card.has_modifiers { Modifier::INVALID } else { Modifier::LINEAR };
                    let offer = |&code| Offer { fourcc: Fourcc(code), modifiers: vec![modifier] };
                    info.formats().iter().map(offer).collect()
                }
            };
            let formats = info.formats().iter().map(|&code| Fourcc(code)).collect();
            planes.push((Plane { kind, id: handle.into(), offers, formats }, object));
        }
        planes.sort_by_key(|(plane, object)| (object.value("zpos"), plane.kind, plane.id));
        Ok(planes)
    }
}

/// Smallest and largest framebuffer of the card. The drm crate keeps them as ranges that can only be asked about one
/// value.
fn sizes(card: &Card) -> Result<(Size, Size)> {
    let limits = again(|| drm_ffi::mode::get_resources(card.as_fd(), None, None, None, None))
        .map_err(|error| card.error("DRM_IOCTL_MODE_GETRESOURCES", error))?;
    Ok((px(limits.min_width, limits.min_height), px(limits.max_width, limits.max_height)))
}

fn wrong(card: &Card, object: &Object, why: String) -> Error {
    Error::answer("reading KMS properties", format!("{card}, {}", object.name), why)
}

/// Contents of a blob property, if the object has it and it is set.
fn blob(card: &Card, object: &Object, name: &str) -> Result<Option<Vec<u8>>> {
    match object.value(name) {
        None | Some(0) => Ok(None),
        Some(id) => again(|| card.get_property_blob(id))
            .map(Some)
            .map_err(|error| Error::new("DRM_IOCTL_MODE_GETPROPBLOB", format!("{card}, {}", object.name), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_use_or_changes_a_picture_is_set_and_nothing_else() {
        let plane = [("FB_ID", 7), ("CRTC_ID", 3), ("rotation", 2), ("alpha", 0xffff), ("pixel blend mode", 1)];
        let of =
            |list: &[(&str, u64)], name: &str| list.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        let settings = leftovers(|name| of(&plane, name), Some(0));
        assert_eq!(settings, [("CRTC_ID", 0), ("FB_ID", 0), ("rotation", 1), ("pixel blend mode", 0)]);
        let crtc = [("ACTIVE", 1), ("MODE_ID", 9), ("CTM", 5), ("GAMMA_LUT", 0)];
        assert_eq!(leftovers(|name| of(&crtc, name), None), [("ACTIVE", 0), ("MODE_ID", 0), ("CTM", 0)]);
        let idle = [("CRTC_ID", 0), ("ACTIVE", 0), ("rotation", 1)];
        assert!(leftovers(|name| of(&idle, name), None).is_empty());
    }
}
