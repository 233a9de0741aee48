//! Which devices play the roles on this machine: opened when a case first needs them, and kept open for the next.
//!
//! A role that nobody can play stays unplayed, with the reason; whether that is allowed is for the lane to say.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::case::{DeviceIdentity, Role, Trouble};
use crate::dmabuf::SharedFrame;
use crate::ends;
use crate::error::{Cause, Error, Result};
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, px};
use crate::gbm::{Bo, Gbm, GbmDevice, NodeKind, Usage};
use crate::gles::{GlImage, Gles, Through};
use crate::kms::{DumbBuffers, Handles, PlaneKind, Prime, Screen, SecondCard};
use crate::ledger;
use crate::observed::Observed;
use crate::peer::Peer;
use crate::share::heap::Heap;
use crate::share::heaps::{Found, Kind};
use crate::udmabuf;
use crate::v4l2::{Codec, Converter, Loopback};
use crate::vk::{self, Gpu, Message};
use gpus::open_gpu;
use videos::open_loop;

mod closing;
mod gpus;
mod videos;

/// Environment variable that chooses `gpu_a`: part of a device name, driver name or driver info, or a device UUID.
pub const GPU_A: &str = "HANDOVER_GPU_A";
/// Environment variable that chooses `gpu_b`, as [`GPU_A`].
pub const GPU_B: &str = "HANDOVER_GPU_B";
/// Environment variable that chooses the screen: a kernel driver's name, or a device node.
pub const SCREEN: &str = "HANDOVER_SCREEN";
/// Environment variable that chooses the second screen, as [`SCREEN`]; without it, one is made.
pub const SCREEN_B: &str = "HANDOVER_SCREEN_B";
/// Environment variable that chooses the device that plays `gbm`, as [`SCREEN`].
pub const GBM: &str = "HANDOVER_GBM";
/// Environment variable that chooses the device that plays `gles`: part of its `GL_RENDERER`, or a device node.
pub const GLES: &str = "HANDOVER_GLES";

/// Environment variable that chooses the device that plays `video`: where it sits as its driver says (`vivid-001`), its driver,
/// or a node of it.
pub const VIDEO: &str = "HANDOVER_VIDEO";
/// Environment variable that chooses the device that plays `dma_video`, as [`VIDEO`].
pub const DMA_VIDEO: &str = "HANDOVER_DMA_VIDEO";
/// Environment variable that chooses the device that plays `planar_video`, as [`VIDEO`].
pub const PLANAR_VIDEO: &str = "HANDOVER_PLANAR_VIDEO";
/// Environment variable that chooses the device that plays `converter`, as [`VIDEO`].
pub const CONVERTER: &str = "HANDOVER_CONVERTER";
/// Environment variable that chooses the device that plays `codec`, as [`VIDEO`].
pub const CODEC: &str = "HANDOVER_CODEC";

/// A device that may have been tried.
#[derive(Debug, Default)]
enum Slot<T> {
    /// Not needed yet.
    #[default]
    Untried,
    /// Open.
    Open(T),
    /// This machine has none, and why that is known.
    Absent(String),
}

impl<T> Slot<T> {
    fn open(&self) -> Option<&T> {
        if let Self::Open(device) = self { Some(device) } else { None }
    }

    fn get(&mut self, open: impl FnOnce() -> Result<T>) -> Result<&mut T, Unplayed> {
        let kind = std::any::type_name::<T>().rsplit("::").next().unwrap_or("device");
        self.get_called(kind, open)
    }

    fn get_called(&mut self, what: &str, open: impl FnOnce() -> Result<T>) -> Result<&mut T, Unplayed> {
        if let Self::Untried = self {
            // It is kept, with all that its driver opens for it.
            *self = match ledger::keeping(|| format!("{what} that is open for all cases"), open) {
                Ok(device) => Self::Open(device),
                Err(Error { cause: Cause::Missing(why), op, object, .. }) => {
                    Self::Absent(Error::missing(op, object, why).to_string())
                }
                // Not kept: what was in the way may be gone when the next case asks.
                Err(error) => return Err(Unplayed::Broken(error)),
            };
        }
        match self {
            Self::Open(device) => Ok(device),
            Self::Absent(why) => Err(Unplayed::Absent(why.clone())),
            Self::Untried => Err(Unplayed::Absent("not opened".to_owned())),
        }
    }
}

/// Why nobody plays a role.
#[derive(Debug, thiserror::Error)]
pub enum Unplayed {
    /// This machine has no such device: a reason to skip.
    #[error("{0}")]
    Absent(String),
    /// It may have one, and opening it fails: a finding.
    #[error(transparent)]
    Broken(Error),
}

impl Unplayed {
    /// As the error of opening the device that plays `role`.
    pub(crate) fn opening(self, role: Role) -> Error {
        Error::missing("opening the device", role.to_string(), self.to_string())
    }
}

impl From<Unplayed> for Trouble {
    fn from(unplayed: Unplayed) -> Self {
        match unplayed {
            Unplayed::Absent(why) => Self::Skip(why),
            Unplayed::Broken(error) => Self::Fail(Finding::from_error(&error)),
        }
    }
}

/// A device that stays open for the role that it plays, of whatever kind.
pub(crate) trait Kept: Any {
    /// Whether what is open is of no more use, and the next who needs it is to look for it again.
    fn is_gone(&self) -> bool {
        false
    }

    /// What of its handles is not as it must be after a case.
    fn imbalance(&self) -> Option<Finding> {
        None
    }

    /// As [`Screen::touched_handles`].
    fn touched_handles(&self) -> Option<(String, Result<Handles>)> {
        None
    }
}

impl Kept for DumbBuffers {
    fn imbalance(&self) -> Option<Finding> {
        Self::imbalance(self)
    }

    fn touched_handles(&self) -> Option<(String, Result<Handles>)> {
        Self::touched_handles(self)
    }
}

impl Kept for Loopback {
    fn is_gone(&self) -> bool {
        self.output().is_gone() || self.capture().is_gone()
    }
}

impl Kept for Converter {
    fn is_gone(&self) -> bool {
        self.device().is_gone()
    }
}

impl Kept for Codec {
    fn is_gone(&self) -> bool {
        self.encoder().is_gone() || self.decoder().is_gone()
    }
}

/// The devices of one process.
#[derive(Default)]
pub struct Devices {
    gpus: BTreeMap<Role, Slot<Gpu>>,
    second_instances: BTreeMap<Role, Slot<Gpu>>,
    peers: BTreeMap<Role, Slot<Peer>>,
    gles: Slot<Gles>,
    gles_on_gbm: BTreeMap<NodeKind, Slot<Gles>>,
    gbm: Slot<GbmDevice>,
    /// Cards that take buffers, as two files of each.
    primes: BTreeMap<(Role, usize), Slot<Prime>>,
    screens: BTreeMap<Role, Slot<Screen>>,
    // Below the screens, so that nobody has it open when it goes.
    second_card: Slot<SecondCard>,
    /// Of every other kind.
    kept: BTreeMap<Role, Slot<Box<dyn Kept>>>,
    heaps: Found,
    /// What drivers look at when a case is over, and as what they took it in: see [`Self::look_away`].
    elsewhere: Option<SharedFrame>,
    textures: Vec<(String, Option<GlImage>)>,
    bos: Option<Vec<Bo>>,
    /// Whether a device was opened that the case closes again.
    closes_one: bool,
}

/// Whose the buffer is.
const ELSEWHERE: fn() -> String = || "what drivers look at between cases".to_owned();

impl Devices {
    /// The GPU that plays `role`.
    ///
    /// # Errors
    /// Why none does.
    pub fn gpu(&mut self, role: Role) -> Result<Gpu, Unplayed> {
        self.gpus.entry(role).or_default().get(|| open_gpu(role)).cloned()
    }

    /// The same device as [`Self::gpu`], opened once more: an instance and a device of its own.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn second_instance(&mut self, role: Role) -> Result<Gpu, Unplayed> {
        self.second_instances.entry(role).or_default().get(|| open_gpu(role)).cloned()
    }

    /// The same device once more, which nobody keeps.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn fresh_gpu(&mut self, role: Role) -> Result<Gpu, Unplayed> {
        // So that one who is absent is known to be.
        self.gpu(role)?;
        self.closes_one = true;
        open_gpu(role).map_err(Unplayed::Broken)
    }

    /// Whether the case that ends has closed a device again, whose memory is free now.
    pub(crate) fn has_closed_one(&mut self) -> bool {
        std::mem::take(&mut self.closes_one)
    }

    /// A process of its own in which `role` is played.
    ///
    /// # Errors
    /// It can't be started, or has ended in the middle of this case.
    pub fn peer(&mut self, role: Role) -> Result<&mut Peer, Unplayed> {
        let slot = self.peers.entry(role).or_default();
        if let Slot::Open(peer) = slot
            && !peer.is_fit().map_err(Unplayed::Broken)?
        {
            ledger::letting_go(|| *slot = Slot::Untried);
        }
        slot.get(|| Peer::start(role))
    }

    /// The screen that plays `role`, or the one whose plane does.
    ///
    /// # Errors
    /// Why there is none.
    pub fn screen(&mut self, role: Role) -> Result<&mut Screen, Unplayed> {
        let (role, select) = match (role, chosen(SCREEN_B)) {
            (Role::ScreenB, None) => {
                let card = self.second_card.get(SecondCard::make)?;
                (role, Some(card.node().display().to_string()))
            }
            (Role::ScreenB, select) => (role, select),
            _ => (Role::Screen, chosen(SCREEN)),
        };
        self.screens.entry(role).or_default().get(|| Screen::open(select.as_deref()))
    }

    /// The kind of plane that plays `role`: the lowest one is the screen itself.
    pub fn plane_of(role: Role) -> PlaneKind {
        match role {
            Role::Overlay => PlaneKind::Overlay,
            Role::Cursor => PlaneKind::Cursor,
            _ => PlaneKind::Primary,
        }
    }

    /// The OpenGL ES device.
    ///
    /// # Errors
    /// Why there is none.
    pub fn gles(&mut self) -> Result<Gles, Unplayed> {
        self.gles.get(|| Gles::open(chosen(GLES).as_deref())).cloned()
    }

    /// OpenGL ES on a node of the GBM device.
    ///
    /// # Errors
    /// Why there is none.
    pub fn gles_on_gbm(&mut self, node: NodeKind) -> Result<Gles, Unplayed> {
        let device = self.gbm()?;
        self.gles_on_gbm.entry(node).or_default().get(|| Gles::open_on(device.node(node)?)).cloned()
    }

    /// OpenGL ES on that node of the GBM device which gives memory.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn gles_by_gbm(&mut self) -> Result<Gles, Unplayed> {
        let node = self.gbm()?.gives_by();
        self.gles_on_gbm(node)
    }

    /// The DRM device that libgbm drives: the chosen one, else the first one that gives memory.
    ///
    /// # Errors
    /// Why there is none.
    pub fn gbm(&mut self) -> Result<GbmDevice, Unplayed> {
        self.gbm.get(|| GbmDevice::find(chosen(GBM).as_deref())).cloned()
    }

    /// The video device that shows what it is given, and plays `role`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn video_loop(&mut self, role: Role) -> Result<Loopback, Unplayed> {
        let contiguous = match self.kept.get(&role).and_then(Slot::open) {
            Some(_) => Vec::new(),
            // It takes memory in as it gives memory out.
            None => match self.heaps(Kind::Expbuf) {
                Ok(heaps) => heaps,
                // Nobody gives such memory, so nobody is known to want some.
                Err(_) if self.heaps.has_looked(Kind::Expbuf) => Vec::new(),
                Err(why) => {
                    let error = Error::missing("looking for memory of video devices", role.to_string(), why);
                    return Err(Unplayed::Broken(error));
                }
            },
        };
        let contiguous = contiguous.iter().map(|heap| heap.offer()).filter(|offer| offer.contiguous);
        let contiguous: Vec<String> = contiguous.map(|offer| offer.heap.clone()).collect();
        self.kept(role, || open_loop(role, &contiguous)).cloned()
    }

    /// The video device that makes another frame of each that it is given.
    ///
    /// # Errors
    /// Why there is none.
    pub fn converter(&mut self) -> Result<Converter, Unplayed> {
        self.kept(Role::Converter, || Converter::find(chosen(CONVERTER).as_deref())).cloned()
    }

    /// The video device that makes streams of frames, and frames of streams.
    ///
    /// # Errors
    /// Why there is none.
    pub fn codec(&mut self) -> Result<Codec, Unplayed> {
        self.kept(Role::Codec, || Codec::find(chosen(CODEC).as_deref())).cloned()
    }

    /// The device that plays `role`, opened by `open` when it is first needed.
    ///
    /// # Errors
    /// Why there is none; or the role is played by a device of another kind.
    pub(crate) fn kept<T: Kept>(&mut self, role: Role, open: impl FnOnce() -> Result<T>) -> Result<&mut T, Unplayed> {
        let kept = self.kept.entry(role).or_default().get_called(role.as_str(), || {
            let device: Box<dyn Kept> = Box::new(open()?);
            Ok(device)
        })?;
        let device: &mut dyn Any = &mut **kept;
        device.downcast_mut().ok_or_else(|| {
            Unplayed::Broken(Error::input("opening a device", role.to_string(), "it is open as one of another kind"))
        })
    }

    /// The dumb buffers of the first card of `driver`, which plays `role`.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) fn dumb_buffers(&mut self, role: Role, driver: &str) -> Result<&mut DumbBuffers, Unplayed> {
        self.kept(role, || DumbBuffers::of_driver(driver))
    }

    /// The card that plays `role` as one that takes buffers; file `number` of it.
    ///
    /// # Errors
    /// Why there is none, or that the role is no card's.
    pub fn prime(&mut self, role: Role, number: usize) -> Result<Prime, Unplayed> {
        let node = ends::of(role).map_err(Unplayed::Broken)?.node(self)?;
        let none = || Unplayed::Broken(Error::input("opening a card", role.to_string(), "it has no node"));
        let node = node.ok_or_else(none)?;
        self.primes.entry((role, number)).or_default().get(|| Prime::open(&node)).cloned()
    }

    /// The heap that plays `role`: its memory stands for the device.
    ///
    /// # Errors
    /// Why there is none, or why no heap can play that.
    pub fn heap(&mut self, role: Role) -> Result<Arc<dyn Heap>, String> {
        ends::of(role).map_err(|why| why.to_string())?.heap(self)
    }

    /// The first heap of `kind` whose name begins with `owner`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn heap_of(&mut self, kind: Kind, owner: &str) -> Result<Arc<dyn Heap>, String> {
        let found = self.heaps(kind)?.into_iter().find(|heap| heap.offer().heap.starts_with(owner));
        found.ok_or_else(|| format!("no {kind} heap of this machine is {owner}'s"))
    }

    /// What verdicts call `gpu`, by the role in which it was opened.
    pub fn name_of(&self, gpu: &Gpu) -> String {
        let found = |slots: &BTreeMap<Role, Slot<Gpu>>| {
            let mut open = slots.iter().filter(|(_, slot)| matches!(slot, Slot::Open(open) if open.is(gpu)));
            open.next().map(|(role, _)| *role)
        };
        match (found(&self.gpus), found(&self.second_instances)) {
            (Some(role), _) => role.to_string(),
            (None, Some(role)) => format!("second instance of {role}"),
            (None, None) => gpu.identity().to_string(),
        }
    }

    /// How much memory the driver of each GPU that is open says that this process uses, by role.
    pub(crate) fn heap_use(&self) -> BTreeMap<String, Observed<u64>> {
        let told = |(role, slot): (&Role, &Slot<Gpu>)| Some((role.to_string(), slot.open()?.heap_usage()));
        self.gpus.iter().filter_map(told).collect()
    }

    /// Every heap of `kind`, looked for when it is first needed.
    ///
    /// # Errors
    /// Why there is none.
    pub fn heaps(&mut self, kind: Kind) -> Result<Vec<Arc<dyn Heap>>, String> {
        match self.heaps.has_looked(kind) {
            true => self.find_heaps(kind),
            false => ledger::keeping(|| format!("heaps of kind {kind}"), || self.find_heaps(kind)),
        }
    }

    fn find_heaps(&mut self, kind: Kind) -> Result<Vec<Arc<dyn Heap>>, String> {
        if kind == Kind::Vulkan {
            let mut absent = Vec::new();
            for role in [Role::GpuA, Role::GpuB] {
                match self.gpu(role) {
                    Ok(gpu) => self.heaps.add_gpu(role, &gpu),
                    Err(Unplayed::Absent(why)) => absent.push(why),
                    // It may be there in a moment, and with it its memory.
                    Err(Unplayed::Broken(error)) if error.is_shortage() => return Err(error.to_string()),
                    Err(Unplayed::Broken(error)) => absent.push(error.to_string()),
                }
            }
            if let [why, _] = absent.as_slice() {
                return Err(why.clone());
            }
        }
        self.heaps.of_kind(kind)
    }

    /// Who plays `role`.
    pub fn identify(&mut self, role: Role) -> Option<DeviceIdentity> {
        ends::of(role).ok()?.identity(self).ok()
    }

    /// What the validation layers of this process and of its peers have objected to since they were last asked.
    pub fn objections(&mut self) -> Vec<String> {
        let own = vk::take_messages();
        let own = own.into_iter().filter(|message| !self.excuses(message));
        let mut objections: Vec<String> =
            own.map(|message| format!("the validation layer objects: {message}")).collect();
        for slot in self.peers.values_mut() {
            if let Slot::Open(peer) = slot {
                objections.extend(peer.take_objections());
            }
        }
        objections
    }

    /// Whether the validation layer says `message` only because a driver misinformed it.
    ///
    /// The layer learns what a modifier can do from `VkDrmFormatModifierPropertiesList2EXT`. A driver that leaves that
    /// list empty makes it believe that nothing can be done, whatever the other list says. The empty list is a finding
    /// of its own (`queries::both_modifier_lists_agree`); what follows from it is not a second one in every other case.
    fn excuses(&self, message: &Message) -> bool {
        const FEATURES: [&str; 3] = [
            "VUID-VkImageViewCreateInfo-None-02273",
            "VUID-vkCmdCopyBufferToImage-dstImage-01997",
            "VUID-vkCmdCopyImageToBuffer-srcImage-01998",
        ];
        let misinforms = |slot: &Slot<Gpu>| match slot {
            Slot::Open(gpu) if gpu.heard(message) => {
                gpu.modifiers_by_list2(Fourcc::XR24).is_ok_and(|list| list.is_empty())
                    && gpu.modifiers(Fourcc::XR24).is_ok_and(|list| !list.is_empty())
            }
            Slot::Open(_) | Slot::Untried | Slot::Absent(_) => false,
        };
        FEATURES.contains(&message.vuid.as_str())
            && self.gpus.values().chain(self.second_instances.values()).any(misinforms)
    }

    /// Has OpenGL ES and GBM look at a small buffer of ours, if they have looked at something.
    ///
    /// A context keeps what it looked at last until it looks at something else, also when that is destroyed by then: no
    /// leak, and one buffer at most. What it keeps from now on is accounted for.
    ///
    /// # Errors
    /// A driver fails at that.
    pub fn look_away(&mut self) -> Result<()> {
        let gbm = ledger::used("gbm_bo_");
        let contexts = [&self.gles].into_iter().chain(self.gles_on_gbm.values());
        let looked: Vec<Gles> = contexts.filter_map(Slot::open).filter(|gles| gles.has_looked()).cloned().collect();
        if looked.is_empty() && !gbm {
            return Ok(());
        }
        if self.elsewhere.is_none() {
            let frame = Frame::linear(Fourcc::XR24, px(16, 16), Plane { offset: 0, pitch: 256 });
            // Without udmabuf there is nothing to look at. One page, which lies in one piece for whoever needs that.
            self.elsewhere = ledger::keeping(ELSEWHERE, || udmabuf::for_frame(frame, 0)).ok();
        }
        let Some(elsewhere) = &self.elsewhere else { return Ok(()) };
        for gles in looked {
            let image = match self.textures.iter().find(|(name, _)| *name == gles.name()) {
                Some((_, image)) => image,
                None => {
                    let through = match gles.is_external_only(Fourcc::XR24, Modifier::LINEAR)? {
                        true => Through::External,
                        false => Through::Texture2d,
                    };
                    let image = ledger::keeping(ELSEWHERE, || gles.import(elsewhere, through));
                    self.textures.push((gles.name(), image.ok()));
                    &self.textures[self.textures.len() - 1].1
                }
            };
            // Whoever does not take it in has nothing else to look at.
            if let Some(image) = image {
                image.sampled_picture()?;
            }
            gles.looks_at_nothing_else();
        }
        if let (Slot::Open(device), true) = (&self.gbm, gbm) {
            // As above.
            let take_in = |node: &Gbm| ledger::keeping(ELSEWHERE, || node.import(elsewhere, Usage::default())).ok();
            let bos = self.bos.get_or_insert_with(|| device.nodes().filter_map(take_in).collect());
            bos.iter().try_for_each(|bo| bo.read().map(drop))?;
        }
        Ok(())
    }

    /// Inodes of the dma-bufs that screens show.
    pub fn shown(&self) -> Vec<u64> {
        let shown = |slot: &Slot<Screen>| match slot {
            Slot::Open(screen) => screen.shown().collect(),
            Slot::Untried | Slot::Absent(_) => Vec::new(),
        };
        self.screens.values().flat_map(shown).collect()
    }
}

/// The value of an environment variable, unless empty.
fn chosen(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_is_absent_stays_so_and_what_fails_is_tried_again() {
        let mut slot = Slot::<u32>::default();
        let full = || Err(Error::new("open", "/dev/dri/card0", Errno::MFILE));
        let trouble = Trouble::from(slot.get(full).unwrap_err());
        assert!(matches!(&trouble, Trouble::Fail(finding) if finding.to_string().contains("EMFILE")), "{trouble:?}");
        assert_eq!(*slot.get(|| Ok(7)).unwrap(), 7);

        let mut slot = Slot::<u32>::default();
        let none = || Err(Error::missing("opening a screen", "any driver", "/dev/dri has no card node"));
        assert!(matches!(Trouble::from(slot.get(none).unwrap_err()), Trouble::Skip(_)));
        assert!(matches!(slot.get(|| Ok(7)), Err(Unplayed::Absent(why)) if why.ends_with("has no card node")));
    }
}
