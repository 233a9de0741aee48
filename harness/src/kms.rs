//! A display through KMS: what does its CRTC show when it scans out a frame that somebody else allocated and drew?
//!
//! [`Screen::show`] imports frames (PRIME, `AddFB2` with modifiers), puts them on planes without scaling by an atomic
//! commit and looks at the result twice: through the writeback connector and through the CRTC's CRC. What should be
//! there is computed by [`crate::compose`]. It draws nothing, and takes no part in who owns a frame.
//!
//! Sources: the kernel's "KMS" documentation and `include/uapi/drm/drm_mode.h`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::dmabuf::{Dmabuf, SharedFrame, SharedPlanes};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::format::Fourcc;
use crate::frame::{Size, px};
use crate::observed::{NotObservable, Observed};
use crate::wait;

mod able;
mod assign;
mod blank;
mod card;
mod commit;
mod connectors;
mod constraints;
mod covered;
mod crc;
mod dumb;
mod find;
mod foreign;
mod formats;
mod handles;
mod misuse;
mod mode;
mod objects;
mod placed;
mod prime;
mod second;
mod show;
mod syncobj;
mod taken;
mod tried;
mod vgem;
mod vkms;
mod writeback;

use blank::Blank;
use card::{Blob, Card, Framebuffer};
use commit::Commit;
use objects::Pipe;
use writeback::Target;

pub use crc::Crc;
pub(crate) use dumb::DumbBuffers;
pub use formats::Offer;
pub(crate) use formats::{in_formats, writeback_formats};
pub use handles::Handles;
pub use misuse::{AddFb, BadCommit};
pub use objects::{Plane, PlaneKind};
pub use prime::{BareFramebuffer, Imported, Prime};
pub(crate) use second::{SecondCard, is_made_here};
pub use show::{Layer, Pending, Recoveries, Shown};
pub use syncobj::{BadSyncobj, Syncobj, SyncobjFile, Told, Wait, Waited};
pub use tried::Answer;
pub use vgem::VgemFence;
pub use vkms::Race;

/// Which screen answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Kernel driver.
    pub driver: String,
    /// Version of the driver, as `DRM_IOCTL_VERSION` says.
    pub version: String,
    /// Device node.
    pub node: PathBuf,
    /// Connector by the kernel's name, such as `Virtual-1`; the writeback connector where no display is connected.
    pub connector: String,
    /// Kernel release.
    pub kernel: String,
}

/// A display that we are master of.
pub struct Screen {
    /// Writeback buffers, one per job that a picture took, all of one format and size.
    targets: Vec<Target>,
    /// By how many jobs the writeback fences are late, see [`vkms`].
    behind: usize,
    /// What the CRTC scans out, or will in a moment.
    on_screen: Vec<Framebuffer>,
    /// The mode that is set, while the CRTC is on.
    mode: Option<Blob>,
    size: Size,
    /// What lies on the primary plane where no layer does, if the driver lights no CRTC without one.
    blank: Option<Blank>,
    pipe: Pipe,
    /// Whether the lowest plane must cover the CRTC, once that was tried.
    covered: Option<bool>,
    crc: Observed<crc::Source>,
    card: Arc<Card>,
}

/// Until when a commit must be on the screen, and its writeback done.
const DEADLINE: Duration = Duration::from_secs(5);

/// Size of the mode where we may choose it: small, since a software composer pays per pixel.
const SMALL: Size = px(288, 160);

impl Screen {
    /// Which GEM handles and framebuffers its file has.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn handles(&self) -> Result<Handles> {
        self.card.handles()
    }

    /// The same with who it is, if the case made something with it.
    pub(crate) fn touched_handles(&self) -> Option<(String, Result<Handles>)> {
        self.card.touched_handles()
    }

    /// What of its handles is not as it must be after a case: see [`crate::ledger`].
    pub(crate) fn imbalance(&self) -> Option<Finding> {
        self.card.imbalance()
    }

    /// Inodes of the dma-bufs that it shows, which it keeps until it shows others.
    pub(crate) fn shown(&self) -> impl Iterator<Item = u64> {
        self.on_screen.iter().flat_map(|framebuffer| framebuffer.buffers.iter().copied())
    }

    /// Opens the display of driver `select` (`vkms`) or at the node `select` (`/dev/dri/card0`), any that works without
    /// it, and becomes its master. The CRTC stays as it is until the first [`Self::show`].
    ///
    /// # Errors
    /// No node serves; says of each why not.
    pub fn open(select: Option<&str>) -> Result<Self> {
        let (card, pipe) = find::card(select)?;
        let crc = find::minor(&card).and_then(|minor| crc::Source::find(minor, pipe.crtc_index)).map_err(NotObservable);
        let size = match pipe.modes.first() {
            Some(mode) if card.driver != vkms::DRIVER => size_of(mode),
            _ => SMALL,
        };
        Ok(Self {
            targets: Vec::new(),
            behind: 0,
            on_screen: Vec::new(),
            mode: None,
            size,
            blank: None,
            pipe,
            covered: None,
            crc,
            card: Arc::new(card),
        })
    }

    /// Which device this is.
    pub fn identity(&self) -> Identity {
        let (major, minor, patch) = self.card.version;
        Identity {
            driver: self.card.driver.clone(),
            version: format!("{major}.{minor}.{patch}"),
            node: self.card.path.clone(),
            connector: self.pipe.connector_name.clone(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }

    /// The planes that layers go to, the lowest first.
    pub fn planes(&self) -> impl Iterator<Item = &Plane> {
        self.pipe.planes.iter().map(|(plane, _)| plane)
    }

    /// Formats of the writeback connector; none if there is no such connector.
    pub fn writeback_formats(&self) -> &[Fourcc] {
        self.pipe.writeback.as_ref().map_or(&[], |(_, formats)| formats)
    }

    /// Why the CRTC's CRC can't be observed; `None` if it can.
    pub fn crc_missing(&self) -> Option<String> {
        self.crc.as_ref().err().map(|why| why.0.clone())
    }

    /// Smallest and largest frame that the device takes.
    pub fn frame_sizes(&self) -> (Size, Size) {
        self.pipe.sizes
    }

    /// Width and height of the CRTC's picture.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Whether the connector is no real display, so that it shows any size, but the driver has faults of its own.
    fn is_vkms(&self) -> bool {
        self.card.driver == vkms::DRIVER
    }

    /// How long the next commit waits after [`Self::show`] has seen its writeback: 1 ms on vkms, which loses a writeback when
    /// the next commit comes before the clean-up of the job before ran; nothing elsewhere.
    fn settle(&self) -> Duration {
        if self.is_vkms() { vkms::SETTLE } else { Duration::ZERO }
    }

    /// How long a frame takes that comes at all.
    fn patience(&self) -> Duration {
        // Of a display several refreshes, of the slowest one.
        if self.is_vkms() { vkms::patience(self.size()) } else { Duration::from_millis(250) }
    }

    /// An empty frame of the card's own memory: a dumb buffer, exported as a dma-buf.
    ///
    /// # Errors
    /// The format is not packed RGB; the driver refuses.
    pub fn dumb(&self, fourcc: Fourcc, size: Size) -> Result<SharedFrame> {
        self.card.dumb(fourcc, size)
    }

    /// At least `bytes` bytes of the card's own memory, exported as a dma-buf.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn dumb_of_bytes(&self, bytes: u64) -> Result<Dmabuf> {
        self.card.dumb_of_bytes(bytes)
    }

    /// Whether the driver makes a framebuffer of `shared` (`AddFB2`), which is then removed without being shown.
    ///
    /// # Errors
    /// It refuses otherwise than with `EINVAL` or `EREMOTE`, which is how it refuses frames; or whatever lies in such memory.
    pub fn takes(&self, shared: &impl SharedPlanes) -> Result<bool> {
        match self.framebuffer(shared) {
            Ok(_) => Ok(true),
            Err(error) if error.is_errno(Errno::INVAL) || error.is_errno(Errno::REMOTE) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the mode to one of `size`.
    ///
    /// # Errors
    /// A real display has no such mode; the driver refuses.
    pub fn resize(&mut self, size: Size) -> Result<()> {
        if self.mode.is_some() && self.size == size {
            return Ok(());
        }
        let blob = self.mode_blob(size)?;
        self.off()?;
        self.take_over()?;
        let what = format!("mode of {size}");
        match self.wait(self.modeset(&blob, None)?, &what) {
            Err(error) if error.is_errno(Errno::INVAL) => {
                // Many drivers light no CRTC without its primary plane (`drm_atomic_helper_check_crtc_primary_plane`).
                let Some(blank) = self.blank_of(size)? else { return Err(error) };
                if self.modeset(&blob, Some(&blank))?.try_out(&what).is_err() {
                    return Err(error);
                }
                self.wait(self.modeset(&blob, Some(&blank))?, &what)?;
                self.blank = Some(blank);
            }
            lit => lit?,
        }
        self.mode = Some(blob);
        self.size = size;
        Ok(())
    }

    /// A mode of `size`, for the CRTC's `MODE_ID`.
    fn mode_blob(&self, size: Size) -> Result<Blob> {
        const OP: &str = "choosing a mode";
        if self.is_vkms() {
            let valid = mode::SMALLEST..=mode::LARGEST;
            if !valid.contains(&size.width) || !valid.contains(&size.height) {
                let why = format!("{size}; {} to {} px each way are valid", mode::SMALLEST, mode::LARGEST);
                return Err(Error::input(OP, self.card.to_string(), why));
            }
            return Blob::new(&self.card, &mode::timings(size));
        }
        let mode = self.pipe.modes.iter().find(|mode| size_of(mode) == size);
        let mode = mode.ok_or_else(|| Error::missing(OP, self.card.to_string(), format!("no mode of {size}")))?;
        Blob::new(&self.card, &drm_ffi::drm_mode_modeinfo::from(*mode))
    }

    /// The commit that switches the CRTC on, with nothing on it but `blank`.
    fn modeset(&self, mode: &Blob, blank: Option<&Blank>) -> Result<Commit<'_>> {
        let mut commit = Commit::new(&self.card);
        commit.allow_modeset();
        let crtc = u64::from(u32::from(self.pipe.crtc.handle));
        for connector in self.pipe.connectors() {
            commit.set(connector, "CRTC_ID", crtc)?;
        }
        commit.set(&self.pipe.crtc, "MODE_ID", mode.id)?.set(&self.pipe.crtc, "ACTIVE", 1)?;
        if let (Some(blank), Some((_, primary))) = (blank, self.pipe.planes.first()) {
            commit.place(primary, crtc, &blank.placed())?;
        }
        Ok(commit)
    }

    /// Black on the primary plane, which is the lowest; `None` if that has no format that we know black in.
    fn blank_of(&self, size: Size) -> Result<Option<Blank>> {
        let lists = |fourcc: &Fourcc| self.planes().next().is_some_and(|primary| primary.formats.contains(fourcc));
        match [Fourcc::XR24, Fourcc::RG16].into_iter().find(lists) {
            Some(fourcc) => Blank::new(&self.card, fourcc, size).map(Some),
            None => Ok(None),
        }
    }

    /// Puts out of use what who was master before us has left on the card: other displays, planes, and what turns or colours a
    /// picture. Once, since nobody changes it while we are master.
    fn take_over(&mut self) -> Result<()> {
        if self.pipe.inherited.is_empty() {
            return Ok(());
        }
        let mut commit = Commit::new(&self.card);
        for (object, settings) in &self.pipe.inherited {
            for (property, value) in settings {
                commit.set(object, property, *value)?;
            }
        }
        commit.allow_modeset().carry_out_now();
        commit.send("taking the card over")?;
        self.pipe.inherited.clear();
        Ok(())
    }

    /// Sends a commit and waits until it took effect.
    fn wait(&self, commit: Commit<'_>, what: &str) -> Result<()> {
        match commit.send(what)?.sequence(&self.card, Instant::now() + DEADLINE)? {
            Some(_) => Ok(()),
            None => Err(Error::deadline("waiting for the page flip event", format!("{}, {what}", self.card), DEADLINE)),
        }
    }

    /// Switches the CRTC off and lets go of everything: frames that were shown, and the screen's own buffers.
    ///
    /// When it returns the kernel has let go as well, so that what is left of a frame's references is somebody else's.
    ///
    /// # Errors
    /// The driver refuses; what was sent before does not end within 5 s.
    pub fn off(&mut self) -> Result<()> {
        if self.mode.is_some() {
            // The commit that switches off waits in the kernel, and a fence that never signals would make it wait for
            // long. This one changes nothing, ends when all before it did, and we need not wait for it.
            let mut commit = Commit::new(&self.card);
            commit.set(&self.pipe.crtc, "ACTIVE", 1)?;
            self.wait(commit, "waiting for earlier commits")?;
            let mut commit = Commit::new(&self.card);
            for (_, plane) in &self.pipe.planes {
                commit.set(plane, "FB_ID", 0)?.set(plane, "CRTC_ID", 0)?;
            }
            for connector in self.pipe.connectors() {
                commit.set(connector, "CRTC_ID", 0)?;
            }
            commit.set(&self.pipe.crtc, "ACTIVE", 0)?.set(&self.pipe.crtc, "MODE_ID", 0)?;
            commit.allow_modeset().carry_out_now();
            commit.send("switching off")?;
            self.mode = None;
            commit::events(&self.card, u64::MAX)?;
            self.card.flips.settle();
        }
        self.on_screen.clear();
        self.targets.clear();
        self.blank = None;
        Ok(())
    }
}

fn size_of(mode: &drm::control::Mode) -> Size {
    px(mode.size().0.into(), mode.size().1.into())
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Err(error) = self.off() {
            tracing::error!(%error, "could not switch the screen off");
        }
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Screen({} {}, {})", self.card.driver, self.pipe.connector_name, self.size())
    }
}
