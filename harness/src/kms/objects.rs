//! The KMS objects of a card, and the pipe from plane to connector that the screen uses.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use drm::control::{Device as _, RawResourceHandle, ResourceHandle, connector, crtc, property};
use serde::{Deserialize, Serialize};

use super::card::Card;
use super::formats::{self, Offer};
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::restart::again;

/// A KMS object with its properties by name.
#[derive(Debug)]
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
    /// Formats and modifiers it lists (`IN_FORMATS`).
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
}

impl Pipe {
    /// The objects of its connectors.
    pub(super) fn connectors(&self) -> impl Iterator<Item = &Object> {
        self.display.iter().chain(self.writeback.as_ref().map(|(object, _)| object))
    }

    /// The first CRTC with a primary plane that a writeback connector, a connected display or best both of them reach.
    ///
    /// # Errors
    /// No such CRTC; says what is missing.
    pub(super) fn choose(card: &Card) -> Result<Self> {
        let lists =
            again(|| card.resource_handles()).map_err(|error| card.error("DRM_IOCTL_MODE_GETRESOURCES", error))?;
        let reach = Reach::read(card, &lists)?;
        let mut why = vec![format!("{} CRTCs, {} connectors", lists.crtcs().len(), lists.connectors().len())];
        let mut pipes = Vec::new();
        for (index, &crtc) in lists.crtcs().iter().enumerate() {
            match reach.pipe(card, index, crtc) {
                Ok(pipe) => pipes.push(pipe),
                Err(Error { object, cause, .. }) => why.push(format!("{object}: {cause}")),
            }
        }
        // `min_by_key` takes the first of equals.
        let best = pipes.into_iter().min_by_key(|pipe| (pipe.writeback.is_none(), pipe.display.is_none()));
        best.ok_or_else(|| Error::missing("choosing a CRTC", card.to_string(), why.join("; ")))
    }
}

/// Which connectors reach which CRTCs.
struct Reach {
    /// Connector and the CRTCs its encoders reach.
    connectors: Vec<(connector::Info, Vec<crtc::Handle>)>,
    lists: drm::control::ResourceHandles,
}

impl Reach {
    fn read(card: &Card, lists: &drm::control::ResourceHandles) -> Result<Self> {
        let mut connectors = Vec::new();
        for &handle in lists.connectors() {
            let info = again(|| card.get_connector(handle, true))
                .map_err(|error| card.error("DRM_IOCTL_MODE_GETCONNECTOR", error))?;
            let mut crtcs = Vec::new();
            for &encoder in info.encoders() {
                let encoder = again(|| card.get_encoder(encoder))
                    .map_err(|error| card.error("DRM_IOCTL_MODE_GETENCODER", error))?;
                crtcs.extend(lists.filter_crtcs(encoder.possible_crtcs()));
            }
            connectors.push((info, crtcs));
        }
        Ok(Self { connectors, lists: lists.clone() })
    }

    fn pipe(&self, card: &Card, crtc_index: usize, crtc: crtc::Handle) -> Result<Pipe> {
        let reaching = |writeback: bool| {
            self.connectors
                .iter()
                .filter(move |(info, _)| (info.interface() == connector::Interface::Writeback) == writeback)
                .filter(move |(_, crtcs)| crtcs.contains(&crtc))
                .map(|(info, _)| info)
        };
        let missing = |what: &str| Error::missing("choosing a CRTC", format!("CRTC {}", Into::<u32>::into(crtc)), what);
        let display = reaching(false).find(|info| info.state() == connector::State::Connected);
        let connector = display.or_else(|| reaching(true).next());
        let connector = connector.ok_or_else(|| missing("neither a connected display nor writeback reaches it"))?;
        let planes = self.planes(card, crtc)?;
        if planes.first().is_none_or(|(plane, _)| plane.kind != PlaneKind::Primary) {
            return Err(missing("it has no primary plane"));
        }
        let writeback = match reaching(true).next() {
            None => None,
            Some(info) => {
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
        })
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
                None => info
                    .formats()
                    .iter()
                    .map(|&code| Offer { fourcc: Fourcc(code), modifiers: vec![Modifier::INVALID] })
                    .collect(),
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
