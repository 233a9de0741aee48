//! The two ends of a handover: every device as one that hands frames out, and as one that takes them in.
//!
//! A claim about a handover is written once, and holds for every pair. What a device can do at all, by its interface, is told
//! without touching it, so that the names of cases depend on the source alone; what the one of this machine lacks is told by
//! [`Exporter::lacks`] and [`Importer::lacks`], in the driver's words.
//!
//! A new device is one file here, or a few lines in that of its kind: an [`End`] says who plays the role, how it is opened and
//! what it needs, an [`Exporter`] how it hands out, an [`Importer`] how it takes in. Beside that file it is a line in the table
//! of roles (`case/role.rs`), and one in `ENDS` with the `mod` above it. From these follow the name, the order and the columns
//! of reports, `handover run`'s needs, the claims of the matrix and who is asked for its constraints; nobody else knows a device
//! by its role but who is a reader of every frame (the screens, GPUs, OpenGL ES and the CPU) or a tool (vgem's fences), which
//! `harness/tests/tidy.rs` holds. A device of an interface that is not here yet has a module of its own for that beside
//! `kms` and `v4l2`, which names no role.

use std::path::PathBuf;
use std::sync::Arc;

use crate::case::{DeviceIdentity, Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::{Devices, Unplayed};
use crate::error::Error;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::gles::Gles;
use crate::share::agreement::Wish;
use crate::share::buffer::Buffer;
use crate::share::constraints::Constraints;
use crate::share::heap::{Heap, Storage};
use crate::vk::Gpu;

mod card;
mod codec;
mod converter;
mod cpu;
mod elsewhere;
mod gbm;
mod gles;
mod gpu;
mod memory;
mod parcel;
mod planes;
mod screen;
mod video;

pub use elsewhere::Elsewhere;
pub use parcel::{Order, Parcel, Planes, Rows, Start, Way};

use parcel::ROWS_BEHIND;

/// Every device that plays a role, in the order of the roles.
static ENDS: [&dyn End; Role::ALL.len()] = [
    &gpu::A,
    &gpu::B,
    &gles::GLES,
    &gles::GLES_GBM,
    &screen::SCREEN,
    &screen::SCREEN_B,
    &planes::OVERLAY,
    &planes::CURSOR,
    &video::SCATTERED,
    &video::CONTIGUOUS,
    &video::PLANAR,
    &converter::CONVERTER,
    &codec::CODEC,
    &card::VGEM,
    &gbm::GBM,
    &memory::UDMABUF,
    &memory::DMA_HEAP,
    &cpu::CPU,
];

/// The device that plays `role`.
///
/// # Errors
/// None does: a role without a device, which a test rules out.
pub fn of(role: Role) -> Result<&'static dyn End, Error> {
    let none = || Error::input("looking for a device", role.to_string(), "no end plays this role");
    ENDS.iter().copied().find(|end| end.role() == role).ok_or_else(none)
}

/// Every device that hands frames out, in the order in which reports name them.
pub fn exporters() -> Vec<&'static dyn Exporter> {
    ENDS.iter().filter_map(|end| end.exporter()).collect()
}

/// Devices that only fill memory of their own: for claims about what arrives, where who drew is no matter.
pub fn fillers() -> Vec<&'static dyn Exporter> {
    ENDS.iter().filter_map(|end| end.filler()).collect()
}

/// Every device that takes frames in, in the order in which reports name them.
pub fn importers() -> Vec<&'static dyn Importer> {
    ENDS.iter().filter_map(|end| end.importer()).collect()
}

/// Why no frame crosses from the device that plays `from` to that which plays `to`, whoever they are on this machine: the one hands
/// nothing out that the other takes. `None` if some do, or if one of the two hands nothing out or takes nothing in at all.
pub fn apart(from: Role, to: Role) -> Option<String> {
    let from = exporters().into_iter().chain(fillers()).find(|end| end.role() == from)?;
    let to = importers().into_iter().find(|end| end.role() == to)?;
    let handed_out = || Fourcc::known().map(|fourcc| Parcel::of(fourcc, COMMON)).filter(|parcel| from.can(parcel));
    if handed_out().any(|parcel| to.can(&parcel)) {
        return None;
    }
    let formats: Vec<String> = handed_out().map(|parcel| parcel.fourcc.to_string()).collect();
    Some(format!("{} hands out {}, and {} takes no such frame", from.role(), formats.join(", "), to.role()))
}

/// A size that every device has.
const COMMON: Size = px(64, 64);

/// A device as one that takes part in sharing a buffer.
pub enum Part {
    /// A GPU.
    Gpu(Gpu),
    /// OpenGL ES.
    Gles(Gles),
    /// One that the core knows by its role.
    Plays(Role),
}

impl Part {
    /// As the core knows it.
    pub(crate) fn guest(&self) -> Guest<'_> {
        match self {
            Self::Gpu(gpu) => Guest::Gpu(gpu),
            Self::Gles(gles) => Guest::Gles(gles),
            Self::Plays(role) => Guest::Plays(*role),
        }
    }

    /// The name by which more is known of the driver that draws than it says.
    pub(crate) fn renderer(&self) -> Option<&str> {
        match self {
            Self::Gpu(gpu) => Some(&gpu.identity().device_name),
            Self::Gles(gles) => Some(&gles.identity().renderer),
            Self::Plays(_) => None,
        }
    }
}

/// A device that plays a role: who it is on this machine, and what it needs.
pub trait End: Sync {
    /// The part it plays.
    fn role(&self) -> Role;

    /// Who plays it on this machine; opens it where it is not open yet.
    ///
    /// # Errors
    /// Why nobody does.
    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed>;

    /// As one that hands frames out, if it does.
    fn exporter(&'static self) -> Option<&'static dyn Exporter> {
        None
    }

    /// As one that only fills memory of its own, if it does: see [`fillers`].
    fn filler(&'static self) -> Option<&'static dyn Exporter> {
        None
    }

    /// As one that takes frames in, if it does.
    fn importer(&'static self) -> Option<&'static dyn Importer> {
        None
    }

    /// The node by which the kernel knows it, if it takes part as [`Guest::Plays`].
    ///
    /// # Errors
    /// As [`Self::identity`].
    fn node(&self, _: &mut Devices) -> Result<Option<PathBuf>, Unplayed> {
        Ok(None)
    }

    /// As one that takes part in sharing.
    ///
    /// # Errors
    /// As [`Self::identity`].
    fn part(&self, _: &mut Devices) -> Result<Part, Unplayed> {
        Ok(Part::Plays(self.role()))
    }

    /// What it needs of frames like `wish`, tried with memory like `probes` where it does not say; `None` for one that makes
    /// nothing of what is in a buffer.
    ///
    /// # Errors
    /// As [`Self::identity`]; or the driver fails.
    fn constraints(&self, _: &mut Devices, _: &Wish, _: &[&Storage]) -> Result<Option<Constraints>, Trouble> {
        Ok(None)
    }

    /// The heap whose memory stands for it.
    ///
    /// # Errors
    /// There is none, or it is no heap.
    fn heap(&self, _: &mut Devices) -> Result<Arc<dyn Heap>, String> {
        Err(format!("{} is no heap", self.role()))
    }

    /// What it lacks to hand out LINEAR frames of `fourcc`; `None` if nothing, or if only trying tells.
    ///
    /// # Errors
    /// As [`Self::identity`].
    fn lacks_to_export(&self, _: &mut Devices, _: Fourcc) -> Result<Option<String>, Unplayed> {
        Ok(None)
    }

    /// As [`Self::lacks_to_export`], to take them in.
    ///
    /// # Errors
    /// As [`Self::identity`].
    fn lacks_to_import(&self, _: &mut Devices, _: Fourcc) -> Result<Option<String>, Unplayed> {
        Ok(None)
    }

    /// As [`Self::lacks_to_export`], to draw into those that it took in.
    ///
    /// # Errors
    /// As [`Self::identity`].
    fn lacks_to_draw(&self, _: &mut Devices, _: Fourcc) -> Result<Option<String>, Unplayed> {
        Ok(None)
    }
}

/// Whoever is part of this kernel.
fn of_linux(name: impl Into<String>) -> DeviceIdentity {
    let driver = format!("Linux {}", rustix::system::uname().release().to_string_lossy());
    DeviceIdentity { name: name.into(), driver }
}

/// A device that hands frames out.
pub trait Exporter: End {
    /// Whether devices of this kind could hand out `parcel`, as far as their interface goes. Touches no device.
    fn can(&self, parcel: &Parcel) -> bool;

    /// How many things are worth varying together for it, at most; 1 where another device of the same kind went before.
    fn strength(&self) -> usize {
        usize::MAX
    }

    /// Whether a frame can be [`Way::dedicated`] to it.
    fn dedicates(&self) -> bool {
        false
    }

    /// Whether it can hand memory out before it binds it ([`Order::ExportFirst`]).
    fn binds_late(&self) -> bool {
        false
    }

    /// Whether it draws by itself. Otherwise the processor draws into its memory.
    fn draws_itself(&self) -> bool {
        false
    }

    /// Whether devices of this kind know other modifiers than LINEAR.
    fn knows_modifiers(&self) -> bool {
        false
    }

    /// The modifiers in which the one of this machine hands out frames of `fourcc` that it draws, its best one first; of one
    /// that lists none, those of `asked` that it has.
    ///
    /// # Errors
    /// There is none, or it does not say.
    fn modifiers(&self, _: &mut Cx, _: Fourcc, _asked: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        Ok(vec![Modifier::LINEAR])
    }

    /// What the one of this machine lacks for that, in its driver's words; `None` if nothing.
    ///
    /// # Errors
    /// There is none, or it does not say.
    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble>;

    /// As [`Self::export`], in one of `modifiers`, which the driver chooses.
    ///
    /// # Errors
    /// As there.
    fn export_as(
        &self,
        cx: &mut Cx,
        parcel: &Parcel,
        _modifiers: &[Modifier],
        to: &dyn Importer,
    ) -> Result<Box<dyn Exported>, Trouble> {
        self.export(cx, parcel, to)
    }

    /// Makes the frame, which nobody has drawn yet, for `to`.
    ///
    /// # Errors
    /// The driver fails.
    fn export(&self, cx: &mut Cx, parcel: &Parcel, to: &dyn Importer) -> Result<Box<dyn Exported>, Trouble>;
}

/// A frame in the hands of its exporter.
pub trait Exported {
    /// What was handed out.
    fn buffer(&self) -> &Buffer;

    /// Draws the pattern of `stamp`: by the exporter itself where it draws, by the CPU where it only has memory.
    ///
    /// # Errors
    /// The driver fails.
    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Result<(), Trouble>;

    /// The exporter looks at its own frame, and must see `target`; `false` if it can't look.
    ///
    /// # Errors
    /// The driver fails.
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<bool, Trouble>;
}

/// A device that takes frames in.
pub trait Importer: End {
    /// Whether devices of this kind could take `parcel`, as far as their interface goes. Touches no device.
    fn can(&self, parcel: &Parcel) -> bool;

    /// As [`Exporter::strength`].
    fn strength(&self) -> usize {
        usize::MAX
    }

    /// As [`Exporter::dedicates`].
    fn dedicates(&self) -> bool {
        false
    }

    /// As another process has it, if it can be [`Way::elsewhere`].
    fn elsewhere(&self) -> Option<&dyn Elsewhere> {
        None
    }

    /// Whether it keeps what it took in, so that it matters whether it did before or after the frame was drawn
    /// ([`Order::ImportFirst`]).
    fn keeps(&self) -> bool {
        false
    }

    /// Whether it can take an fd for each plane ([`Way::fd_per_plane`]).
    fn takes_fds(&self) -> bool {
        false
    }

    /// As [`Exporter::knows_modifiers`].
    fn knows_modifiers(&self) -> bool {
        false
    }

    /// The modifiers in which the one of this machine takes in frames of `fourcc`; of one that lists none, those of `asked`
    /// that it has.
    ///
    /// # Errors
    /// There is none, or it does not say.
    fn modifiers(&self, _: &mut Cx, _: Fourcc, _asked: &[Modifier]) -> Result<Vec<Modifier>, Trouble> {
        Ok(vec![Modifier::LINEAR])
    }

    /// Whether devices of this kind could draw into a frame like `parcel` that they take in. Touches no device.
    fn draws(&self, _parcel: &Parcel) -> bool {
        false
    }

    /// What the one of this machine lacks for that, in its driver's words; `None` if nothing.
    ///
    /// # Errors
    /// There is none, or it does not say.
    fn lacks(&self, cx: &mut Cx, parcel: &Parcel) -> Result<Option<String>, Trouble>;

    /// Attaches to `buffer`, so that its storage is chosen with the needs of this device in mind.
    ///
    /// # Errors
    /// The device can't be asked for its needs, or they can't be met.
    fn attach(&self, cx: &mut Cx, buffer: &Buffer) -> Result<(), Trouble>;

    /// Takes `buffer` in.
    ///
    /// # Errors
    /// The driver refuses.
    fn import(&self, cx: &mut Cx, buffer: &Buffer) -> Result<Box<dyn Imported>, Trouble>;

    /// Takes `buffer` in by `way`, where it has more than one.
    ///
    /// # Errors
    /// As [`Self::import`]; also if the other process is gone.
    fn import_by(&self, cx: &mut Cx, buffer: &Buffer, _way: Way) -> Result<Box<dyn Imported>, Trouble> {
        self.import(cx, buffer)
    }
}

/// A frame in the hands of its importer.
pub trait Imported {
    /// The importer looks, and must see `target`.
    ///
    /// # Errors
    /// The driver fails.
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble>;

    /// Draws the pattern of `stamp`.
    ///
    /// # Errors
    /// A skip if the device does not draw to such frames; the driver fails.
    fn draw(&mut self, _: &mut Cx, _stamp: u32) -> Outcome {
        Err(Trouble::Skip("it does not draw".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_played_by_one_end_and_in_order() {
        let played: Vec<Role> = ENDS.iter().map(|end| end.role()).collect();
        assert_eq!(played, Role::ALL);
    }

    #[test]
    fn devices_without_a_frame_in_common_say_why() {
        let why = apart(Role::Converter, Role::Overlay).expect("a converter has no alpha");
        assert_eq!(why, "converter hands out RG16, and overlay takes no such frame");
        assert_eq!(apart(Role::Converter, Role::Cpu), None);
        assert_eq!(apart(Role::Cpu, Role::Overlay), None, "the CPU hands nothing out");
    }

    #[test]
    fn nobody_is_an_exporter_and_a_filler() {
        let both: Vec<Role> = ENDS
            .iter()
            .filter(|end| end.exporter().is_some() && end.filler().is_some())
            .map(|end| end.role())
            .collect();
        assert!(both.is_empty(), "{both:?} would have every case twice");
    }
}
