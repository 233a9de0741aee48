//! How frames reach devices: every access is a mapping of the sharing core, and every mapping is observed.
//!
//! A case names who looks; that it attaches, maps, is watched by the kernel's own events and held against its constraints
//! follows from here, so no case that goes this way can forget it. Two kinds of mapping go another way: those of cases about
//! the core itself, whose parties are made up and have no device that the kernel could tell of, and those of memory without a
//! frame (Vulkan buffers and opaque fds).

use std::fmt;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::Cx;
use crate::case::{MappingRecord, Outcome, Role, Told, Trouble};
use crate::dmabuf::SharedFrame;
use crate::ends::{self, Part};
use crate::error::Result;
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size, px};
use crate::gbm::Gbm;
use crate::gles::Gles;
use crate::kms::{Layer, Shown};
use crate::ledger;
use crate::observed::NotObservable;
use crate::placement::{self, Checked, check, reach};
use crate::share::agreement::{Agreement, Wish};
use crate::share::buffer::{Attachment, Buffer, Mapping};
use crate::share::constraints::{Constraints, FormatModifier, Party};
use crate::share::core::Access;
use crate::share::heap::{Heaps, Offer, Storage};
use crate::share::refused::ShareError;
use crate::share::unsaid::{add_unsaid, lack};
use crate::v4l2::{self, Direction, Queue};
use crate::vk::{Gpu, Image, ImportRequest};

/// Who takes part in sharing a buffer.
#[derive(Clone, Copy, Debug)]
pub enum Guest<'g> {
    /// The CPU of this process.
    Cpu,
    /// A GPU of this process.
    Gpu(&'g Gpu),
    /// OpenGL ES.
    Gles(&'g Gles),
    /// A node of a DRM device, through libgbm.
    Gbm(&'g Gbm),
    /// The screen.
    Screen,
    /// Whatever device plays this role: its end tells which one it is to the kernel, and what it needs.
    Plays(Role),
    /// Another process that plays a role.
    Peer(Role),
    /// A video device that is given frames to read.
    Video(&'g Arc<v4l2::Device>),
    /// A video device that is given frames to fill.
    Filler(&'g Arc<v4l2::Device>),
}

impl Guest<'_> {
    /// The screen that plays `role`, or whose plane does.
    pub fn screen(role: Role) -> Self {
        match role {
            Role::ScreenB => Self::Plays(role),
            _ => Self::Screen,
        }
    }
}

/// What a device made of memory that came from elsewhere, such as an image. Dropping it ends the mapping.
pub struct Held<T> {
    // In this order: the driver lets go before the core hears of it.
    what: T,
    _mapping: Mapping,
    _attachment: Attachment,
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.what
    }
}

impl From<ShareError> for Trouble {
    fn from(error: ShareError) -> Self {
        match error {
            // What no devices here could do together is nothing that a case can show false.
            ShareError::Refused(_) | ShareError::Unsuited { .. } => Self::Skip(error.to_string()),
            ShareError::Failed(error) => error.into(),
            other => Self::Fail(Finding::new(other.to_string())),
        }
    }
}

impl Cx {
    /// A buffer for a frame that all of `guests` take part in, in the cheapest memory of `heaps` that suits them. Nothing is
    /// allocated before the first of them maps it.
    ///
    /// # Errors
    /// A device can't be asked for its constraints.
    pub fn share(&mut self, fourcc: Fourcc, size: Size, heaps: Heaps, guests: &[Guest<'_>]) -> Result<Buffer, Trouble> {
        let wish = Wish { fourccs: vec![fourcc], size };
        let buffer = Buffer::export(wish, heaps);
        for guest in guests {
            self.attach(guest, &buffer)?;
        }
        Ok(buffer)
    }

    /// A buffer of memory that `exporter` made, which stays as it lies: a device that can't work with it is refused.
    ///
    /// # Errors
    /// The exporter can't be asked for its constraints, or its own memory does not suit it.
    pub fn publish(&mut self, exporter: Guest<'_>, shared: SharedFrame) -> Result<Buffer, Trouble> {
        let buffer = self.publish_memory(self.name_of(&exporter), shared)?;
        self.attach(&exporter, &buffer)?;
        Ok(buffer)
    }

    /// [`Self::publish`] for memory of `owner`, who only has it and does nothing with it.
    ///
    /// # Errors
    /// The dma-buf is smaller than its frame.
    pub fn publish_memory(&mut self, owner: impl fmt::Display, shared: SharedFrame) -> Result<Buffer, Trouble> {
        let heap = format!("memory of {owner}");
        let offer = Offer {
            heap: heap.clone(),
            cost: 0,
            contiguous: false,
            address_bits: reach::here(),
            // One page is contiguous, whoever made it.
            granule: rustix::param::page_size() as u64,
            largest: shared.dmabuf.size,
            // Whether it can be mapped is for the exporter to say when somebody does.
            cpu: true,
        };
        self.lend(Storage::new(heap, shared), offer)
    }

    /// A buffer of `storage`, which stays as it lies; its heap offered it as `offer`.
    ///
    /// # Errors
    /// The dma-buf is smaller than its frame.
    pub fn lend(&mut self, storage: Storage, offer: Offer) -> Result<Buffer, Trouble> {
        self.fact("buffer", &storage.shared);
        Ok(Buffer::of_storage(storage, offer, Heaps::default())?)
    }

    /// `guest` maps `buffer` while `work` runs; where the buffer was meanwhile is observed and checked.
    ///
    /// # Errors
    /// Those of attaching, mapping and `work`.
    pub fn mapped<R>(
        &mut self,
        guest: &Guest<'_>,
        buffer: &Buffer,
        access: Access,
        work: impl FnOnce(&mut Self, &SharedFrame) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let (party, device) = self.party(guest, buffer)?;
        let constraints = party.constraints.clone();
        let attachment = buffer.attach(party)?;
        let mapping = attachment.map(access)?;
        let done = work(self, mapping.shared());
        // A failure needs to know even more where the buffer was.
        let observed = self.observe(guest, &device, &constraints, &mapping, access);
        let done = done?;
        observed?;
        Ok(done)
    }

    /// Where `buffer` is while `mapping` lasts, which `guest` made on a thread of its own: observed and checked as it is for
    /// [`Self::mapped`].
    ///
    /// # Errors
    /// The device can't be asked for its constraints, or the kernel does not identify the buffer.
    pub fn observed(
        &mut self,
        guest: &Guest<'_>,
        buffer: &Buffer,
        mapping: &Mapping,
        access: Access,
    ) -> Result<(), Trouble> {
        let (party, device) = self.party(guest, buffer)?;
        Ok(self.observe(guest, &device, &party.constraints, mapping, access)?)
    }

    /// `gpu` imports `buffer`, and maps it for as long as the result lives.
    ///
    /// # Errors
    /// Those of attaching and mapping, and of the import.
    pub fn import(&mut self, gpu: &Gpu, buffer: &Buffer, how: &ImportRequest) -> Result<Held<Image>, Trouble> {
        self.hold(&Guest::Gpu(gpu), buffer, Access::Write, |shared| gpu.import_image(shared, how))
    }

    /// `guest` takes `buffer` in with `take`, and maps it for as long as the result lives.
    ///
    /// # Errors
    /// Those of attaching, mapping and `take`; a skip if the device refuses a layout that the case has chosen.
    pub fn hold<T>(
        &mut self,
        guest: &Guest<'_>,
        buffer: &Buffer,
        access: Access,
        take: impl FnOnce(&SharedFrame) -> Result<T>,
    ) -> Result<Held<T>, Trouble> {
        let (party, device) = self.party(guest, buffer)?;
        let constraints = party.constraints.clone();
        let attachment = buffer.attach(party)?;
        let mapping = attachment.map(access)?;
        let what = take(mapping.shared());
        // A failure needs to know even more where the buffer was.
        let observed = self.observe(guest, &device, &constraints, &mapping, access);
        let what = what.map_err(|error| self.refused_by(guest, mapping.shared(), &error))?;
        observed?;
        Ok(Held { what, _mapping: mapping, _attachment: attachment })
    }

    /// From here on a frame of this case lies as the case has chosen, and not a device.
    pub(crate) fn chooses_layout(&mut self) {
        self.case.chose_layout = true;
    }

    /// `guest` takes part in `buffer` until the case ends, so that storage is chosen with its needs in mind.
    ///
    /// # Errors
    /// The device can't be asked for its constraints, or nothing suits everybody.
    pub fn attach(&mut self, guest: &Guest<'_>, buffer: &Buffer) -> Result<(), Trouble> {
        let (party, _) = self.party(guest, buffer)?;
        self.case.attached.push(buffer.attach(party)?);
        Ok(())
    }

    /// The screen shows `layers`, the lowest first, and keeps them mapped until it shows others.
    ///
    /// # Errors
    /// Those of attaching, mapping and showing.
    pub fn show(&mut self, layers: &[Layer<'_, Buffer>]) -> Result<Shown, Trouble> {
        self.show_on(Role::Screen, layers)
    }

    /// As [`Self::show`], on the screen that plays `role`.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn show_on(&mut self, role: Role, layers: &[Layer<'_, Buffer>]) -> Result<Shown, Trouble> {
        self.show_in(role, layers, None)
    }

    /// As [`Self::show_on`], written back in this format, or in the most precise one that there is.
    pub(super) fn show_in(
        &mut self,
        role: Role,
        layers: &[Layer<'_, Buffer>],
        writeback: Option<Fourcc>,
    ) -> Result<Shown, Trouble> {
        let screen = Guest::screen(role);
        let mut mapped = Vec::new();
        for layer in layers {
            let (party, device) = self.party(&screen, layer.frame)?;
            let constraints = party.constraints.clone();
            let attachment = layer.frame.attach(party)?;
            mapped.push((attachment.map(Access::Read)?, device, constraints));
        }
        let frames: Vec<Layer<'_>> =
            layers.iter().zip(&mapped).map(|(layer, (mapping, ..))| layer.with(mapping.shared())).collect();
        let shown = self.screen_of(role)?.show(&frames, writeback);
        let observed = mapped.iter().try_for_each(|(mapping, device, constraints)| {
            self.observe(&screen, device, constraints, mapping, Access::Read)
        });
        let shown = shown?;
        observed?;
        // Only now is the screen done with what it showed before.
        self.on_screen.insert(role, mapped.into_iter().map(|(mapping, ..)| mapping).collect());
        Ok(shown)
    }

    /// `guest` as a party of `buffer`: what it needs of such a frame.
    ///
    /// # Errors
    /// The device can't be asked.
    pub fn party_of(&mut self, guest: &Guest<'_>, buffer: &Buffer) -> Result<Party, Trouble> {
        Ok(self.party(guest, buffer)?.0)
    }

    /// Takes everything off the screen, and lets go of it.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn black_screen(&mut self) -> Result<(), Trouble> {
        self.black_screen_of(Role::Screen)
    }

    /// As [`Self::black_screen`], of the screen that plays `role`.
    ///
    /// # Errors
    /// As [`Self::black_screen`].
    pub fn black_screen_of(&mut self, role: Role) -> Result<(), Trouble> {
        self.screen_of(role)?.off()?;
        self.on_screen.remove(&role);
        Ok(())
    }

    /// What `buffer`, whose storage is there, lacks for `role` to draw into it, that its driver needs and does not say.
    ///
    /// # Errors
    /// Nobody plays the role.
    pub fn lacks_room(&mut self, role: Role, buffer: &Buffer) -> Result<Option<String>, Trouble> {
        let part = ends::of(role)?.part(&mut self.devices)?;
        let (Some(driver), Some(storage)) = (part.renderer(), buffer.storage()) else { return Ok(None) };
        Ok(lack(driver, &storage.shared.frame, storage.shared.dmabuf.size))
    }

    /// What verdicts call `guest`.
    pub fn name_of(&self, guest: &Guest<'_>) -> String {
        match guest {
            Guest::Cpu => Role::Cpu.to_string(),
            Guest::Screen => Role::Screen.to_string(),
            Guest::Plays(role) => role.to_string(),
            Guest::Gpu(gpu) => self.devices.name_of(gpu),
            Guest::Gles(gles) => gles.name(),
            Guest::Gbm(gbm) => gbm.name(),
            Guest::Peer(role) => format!("a process with {role}"),
            Guest::Video(video) | Guest::Filler(video) => video.to_string(),
        }
    }

    /// `guest` with its constraints for such a frame, and by the name that the kernel has for it.
    fn party(&mut self, guest: &Guest<'_>, buffer: &Buffer) -> Result<(Party, placement::Device), Trouble> {
        let (mut party, device) = self.party_for(guest, buffer.wish(), buffer.heaps())?;
        if let Some(storage) = buffer.storage() {
            let frame = &storage.shared.frame;
            if let Some(pair) = self.pair_of(guest, frame, &party.constraints)? {
                let formats = &mut party.constraints.formats;
                formats.retain(|other| (other.fourcc, other.modifier) != (pair.fourcc, pair.modifier));
                formats.push(pair);
            }
            party.constraints = party.constraints.of_layout(frame.modifier);
        }
        Self::has_formats(&party, buffer.wish())?;
        Ok((party, device))
    }

    /// The pair that `frame` is, if `guest` has it, and does not tell before there is one how many planes it has in memory: KMS
    /// and EGL list modifiers and leave that to whoever made the frame, and GBM lists none but answers what it is asked.
    fn pair_of(
        &mut self,
        guest: &Guest<'_>,
        frame: &Frame,
        constraints: &Constraints,
    ) -> Result<Option<FormatModifier>, Trouble> {
        let Frame { fourcc, modifier, ref planes, .. } = *frame;
        if [Modifier::LINEAR, Modifier::INVALID].contains(&modifier) {
            return Ok(None);
        }
        let given = FormatModifier { fourcc, modifier, planes: planes.len() as u32 };
        Ok(match guest {
            Guest::Gbm(gbm) => gbm.planes(fourcc, modifier)?.map(|planes| FormatModifier { planes, ..given }),
            Guest::Gles(_) => {
                let is_listed = |pair: &FormatModifier| (pair.fourcc, pair.modifier) == (fourcc, modifier);
                constraints.formats.iter().any(is_listed).then_some(given)
            }
            Guest::Screen | Guest::Plays(Role::ScreenB) => {
                let role = if matches!(guest, Guest::Screen) { Role::Screen } else { Role::ScreenB };
                self.screen_of(role)?.planes().any(|plane| plane.lists(fourcc, modifier)).then_some(given)
            }
            _ => None,
        })
    }

    /// A skip if `party` takes no frame as `wish` says.
    pub(super) fn has_formats(party: &Party, wish: &Wish) -> Outcome {
        let Party { name, constraints } = party;
        let why =
            || format!("{name} lists none of {:?}, or makes no frame of them however their rows lie", wish.fourccs);
        if constraints.formats.is_empty() { Err(Trouble::Skip(why())) } else { Ok(()) }
    }

    /// [`Self::party`] for a frame as `wish` says, in memory of one of `heaps`. It may have no format: of what lists no LINEAR
    /// there may be one with a modifier.
    pub(super) fn party_for(
        &mut self,
        guest: &Guest<'_>,
        wish: &Wish,
        heaps: &Heaps,
    ) -> Result<(Party, placement::Device), Trouble> {
        let name = self.name_of(guest);
        let Wish { fourccs, size } = wish;
        // The same device as here: it tells the same.
        let here = match guest {
            Guest::Peer(role) => Some(ends::of(*role)?.part(&mut self.devices)?),
            _ => None,
        };
        let guest = &here.as_ref().map_or(*guest, Part::guest);
        let gpu = match guest {
            Guest::Gpu(gpu) => Some((*gpu).clone()),
            _ => None,
        };
        let end = match guest {
            Guest::Screen => Some(ends::of(Role::Screen)?),
            Guest::Plays(role) => Some(ends::of(*role)?),
            _ => None,
        };
        let node = end.map(|end| end.node(&mut self.devices)).transpose()?.flatten();
        let device = match (guest, &gpu) {
            (Guest::Screen | Guest::Plays(_), _) => match node {
                Some(node) => placement::Device::of_node(name.clone(), node),
                None => placement::Device::of_cpu(name.clone()),
            },
            (Guest::Video(video) | Guest::Filler(video), _) => placement::Device::of_node(name.clone(), video.node()),
            (Guest::Gbm(gbm), _) => placement::Device::of_node(name.clone(), gbm.node()),
            (_, Some(gpu)) => gpu.kernel_device(name.clone()),
            // A driver in software is the CPU; of others EGL tells no node but that which it was given.
            (Guest::Gles(gles), _) if !gles.is_software() => match gles.node() {
                Some(node) => placement::Device::of_node(name.clone(), node),
                None => placement::Device {
                    name: name.clone(),
                    kernel: Err(NotObservable("EGL does not tell which kernel device it drives".to_owned())),
                },
            },
            _ => placement::Device::of_cpu(name.clone()),
        };
        if matches!(guest, Guest::Cpu) {
            return Ok((Party { constraints: Constraints::cpu(fourccs), name }, device));
        }
        let names: Vec<String> = heaps.offers().into_iter().map(|offer| offer.heap).collect();
        // What a device tells, and what is found by trial, does not change from case to case.
        let key = format!("{name}, {fourccs:?}, {size}, {names:?}");
        if let Some(constraints) = self.told.get(&key) {
            return Ok((Party { constraints: constraints.clone(), name }, device));
        }
        self.probe(heaps);
        let probes: Vec<&Storage> = names.iter().filter_map(|heap| self.probes.get(heap)).collect();
        let driver = match (guest, &gpu) {
            (Guest::Gles(gles), _) => Some(gles.identity().renderer.clone()),
            (_, Some(gpu)) => Some(gpu.identity().device_name.clone()),
            _ => None,
        };
        let mut constraints = match (guest, gpu) {
            (Guest::Gles(gles), _) => gles.constraints(fourccs, size.width, &names)?,
            (Guest::Gbm(gbm), _) => gbm.constraints(fourccs, size.width, &names)?,
            (Guest::Video(video), _) => Queue::open(video, Direction::Output)?.constraints(fourccs, *size)?,
            (Guest::Filler(video), _) => Queue::open(video, Direction::Capture)?.constraints(fourccs, *size)?,
            (_, Some(gpu)) => gpu.constraints(fourccs, *size, &probes)?,
            (_, None) => {
                let told = end.map(|end| end.constraints(&mut self.devices, wish, &probes)).transpose()?.flatten();
                // Who hands buffers on as they are needs nothing of them, and whoever looks goes through the CPU.
                let Some(told) = told else {
                    return Ok((Party { constraints: Constraints::cpu(fourccs), name }, device));
                };
                told
            }
        };
        if constraints.memory.heaps.as_ref().is_some_and(|heaps| heaps.is_empty()) {
            let heaps: Vec<&str> = probes.iter().map(|probe| probe.heap.as_str()).collect();
            return Err(Trouble::Skip(format!("{name} takes memory of none of the heaps: {}", heaps.join(", "))));
        }
        // Nothing is to be chosen where memory and layout are there.
        let draws = !probes.is_empty() && fourccs.iter().any(|fourcc| fourcc.pixel().is_some());
        if let Some(driver) = driver.filter(|_| draws) {
            add_unsaid(&mut constraints, &driver, size.height);
        }
        constraints.memory.address_bits = device.address_bits();
        let frames = fourccs.iter().map(|fourcc| format!("{fourcc} {size}")).collect();
        self.case.told.push(Told { device: name.clone(), frames, constraints: constraints.clone() });
        self.told.insert(key, constraints.clone());
        Ok((Party { constraints, name }, device))
    }

    /// Has a small buffer of each of `heaps` at hand.
    fn probe(&mut self, heaps: &Heaps) {
        let page = rustix::param::page_size() as u64;
        for offer in heaps.offers() {
            if self.probes.contains_key(&offer.heap) {
                continue;
            }
            let frame = Frame::linear(Fourcc::R8, px(1, 1), Plane { offset: 0, pitch: 1 });
            let agreement = Agreement { heap: offer.heap.clone(), frame, bytes: page };
            // A heap that has nothing now says so again when it is needed.
            if let Some(Ok(storage)) = heaps.get(&offer.heap).map(|heap| {
                ledger::keeping(|| format!("a small buffer of heap {}", offer.heap), || heap.allocate(&agreement))
            }) {
                self.probes.insert(offer.heap, storage);
            }
        }
    }

    /// Holds where the buffer is against what its device needs; what is broken is a finding of this case.
    pub(super) fn observe(
        &mut self,
        guest: &Guest<'_>,
        device: &placement::Device,
        constraints: &Constraints,
        mapping: &Mapping,
        access: Access,
    ) -> Result<()> {
        let storage = mapping.storage();
        let pages = storage.pages.as_ref().map(AsFd::as_fd);
        let placement = self.observer().placement_of(device, &storage.shared, pages)?;
        let memory = match guest {
            Guest::Gpu(gpu) => Some(gpu.memory_types(&storage.shared.dmabuf)),
            _ => None,
        };
        let placement = placement.known_as(Some(&storage.heap), memory);
        let Checked { violations, unchecked } = check(&placement, constraints);
        self.fact("placement", &placement);
        for violation in &violations {
            let finding =
                Finding::new(format!("{} got memory that breaks its constraints: {}", device.name, violation.text));
            self.case.disagreed.push(finding.row("about", violation.about).row("mapped", placement.to_string()));
        }
        let record = MappingRecord {
            device: device.name.clone(),
            access: access.to_string(),
            generation: mapping.generation(),
            times: 1,
            stalled_ms: mapping.stalled().as_secs_f64() * 1e3,
            placement: placement.abridged(),
            unchecked: unchecked.iter().map(|one| format!("{}: {}", one.about, one.why)).collect(),
        };
        let records = &mut self.case.record.mappings;
        if !records.iter_mut().any(|before| before.takes_in(&record)) {
            records.push(record);
        }
        Ok(())
    }
}
