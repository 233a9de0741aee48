//! A display through KMS: what does its CRTC show when it scans out a frame that somebody else allocated and drew?
//!
//! [`Screen::show`] imports frames (PRIME, `AddFB2` with modifiers), puts them on planes without scaling by an atomic commit and
//! looks at the result twice: through the writeback connector and through the CRTC's CRC. What should be there is computed
//! by [`crate::compose`]. It draws nothing, and takes no part in who owns a frame.
//!
//! Sources: the kernel's "KMS" documentation and `include/uapi/drm/drm_mode.h`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::compose::{self, Rect};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Size, px};
use crate::picture::Picture;

mod card;
mod commit;
mod crc;
mod find;
mod formats;
mod mode;
mod objects;
mod wait;
mod writeback;

use card::{Blob, Card, Framebuffer};
use commit::{Commit, Flip};
use objects::Pipe;
use writeback::Target;

pub use crc::Crc;
pub use formats::Offer;
pub use objects::{Plane, PlaneKind};

/// A frame on the screen.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The frame.
    pub frame: &'a SharedFrame,
    /// The part of it that is shown, in pixels.
    pub crop: Rect,
    /// Where the crop's top left pixel goes, in pixels from the screen's top left.
    pub at: (i32, i32),
}

impl<'a> Layer<'a> {
    /// All of `frame` at the screen's top left.
    pub fn whole(frame: &'a SharedFrame) -> Self {
        Self { frame, crop: Rect::whole(frame.frame.size), at: (0, 0) }
    }

    /// The same layer for [`compose::compose`], of the pixels that the frame should hold.
    pub fn of<'p>(&self, picture: &'p Picture) -> compose::Layer<'p> {
        compose::Layer { picture, crop: self.crop, at: self.at }
    }
}

/// What the screen showed.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The CRTC's picture, as its writeback connector wrote it.
    pub writeback: Observed<Picture>,
    /// The CRTC's CRC of the same frame.
    pub crc: Observed<Crc>,
    /// Vertical blank count of the CRTC from which on the frame was shown.
    pub sequence: u32,
    /// How often a writeback job had to be repeated or woken because the driver lost it.
    pub recoveries: u32,
}

/// An observation, or why this device or machine can't make it.
pub type Observed<T> = Result<T, NotObservable>;

/// Why something can't be observed here. Never a pass of the claim that needs it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not observable: {0}")]
pub struct NotObservable(pub String);

/// Which screen answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Kernel driver.
    pub driver: String,
    /// Device node.
    pub node: PathBuf,
    /// Connector by the kernel's name, such as `Virtual-1`.
    pub connector: String,
    /// Kernel release.
    pub kernel: String,
}

/// A display that we are master of.
pub struct Screen {
    // Dropped in this order: what is on the CRTC last, after `drop` switched it off.
    target: Option<Target>,
    on_screen: Vec<Framebuffer>,
    mode: Option<(Size, Blob)>,
    pipe: Pipe,
    crc: Observed<crc::Source>,
    settle: Duration,
    card: Arc<Card>,
}

/// Until when a commit must be on the screen, and its writeback done.
const DEADLINE: Duration = Duration::from_secs(5);

/// After this long without its fence a writeback counts as lost.
const LOST: Duration = Duration::from_millis(200);

/// Size of the mode where we may choose it: small, since a software composer pays per pixel.
const SMALL: Size = px(320, 240);

impl Screen {
    /// Opens the display of driver `select` (`vkms`) or at the node `select` (`/dev/dri/card0`), any that works without it,
    /// and becomes its master. The CRTC stays as it is until the first [`Self::show`].
    ///
    /// # Errors
    /// No node serves; says of each why not.
    pub fn open(select: Option<&str>) -> Result<Self> {
        let (card, pipe) = find::card(select)?;
        let crc = find::minor(&card).and_then(|minor| crc::Source::find(minor, pipe.crtc_index)).map_err(NotObservable);
        Ok(Self {
            target: None,
            on_screen: Vec::new(),
            mode: None,
            pipe,
            crc,
            settle: Duration::ZERO,
            card: Arc::new(card),
        })
    }

    /// Which device this is.
    pub fn identity(&self) -> Identity {
        Identity {
            driver: self.card.driver.clone(),
            node: self.card.path.clone(),
            connector: self.pipe.connector_name.clone(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }

    /// The planes that layers go to, the lowest first: layer n goes to plane n.
    pub fn planes(&self) -> impl Iterator<Item = &Plane> {
        self.pipe.planes.iter().map(|(plane, _)| plane)
    }

    /// Formats of the writeback connector; none if there is no such connector.
    pub fn writeback_formats(&self) -> &[Fourcc] {
        self.pipe.writeback.as_ref().map_or(&[], |(_, formats)| formats)
    }

    /// Width and height of the CRTC's picture.
    pub fn size(&self) -> Size {
        self.mode.as_ref().map_or_else(|| self.first_size(), |(size, _)| *size)
    }

    fn first_size(&self) -> Size {
        match self.pipe.modes.first() {
            Some(mode) if !self.any_size() => px(mode.size().0.into(), mode.size().1.into()),
            _ => SMALL,
        }
    }

    /// Whether the connector is no real display, so that it shows any size.
    fn any_size(&self) -> bool {
        self.card.driver == "vkms"
    }

    /// How long [`Self::show`] waits after a writeback before it returns.
    ///
    /// vkms loses a writeback when the next commit comes before the clean-up of the job before ran.
    pub fn set_settle(&mut self, settle: Duration) {
        self.settle = settle;
    }

    /// An empty frame of the card's own memory: a dumb buffer, exported as a dma-buf.
    ///
    /// # Errors
    /// The format is not packed RGB; the driver refuses.
    pub fn dumb(&self, fourcc: Fourcc, size: Size) -> Result<SharedFrame> {
        self.card.dumb(fourcc, size)
    }

    /// Sets the mode to one of `size`.
    ///
    /// # Errors
    /// A real display has no such mode; the driver refuses.
    pub fn resize(&mut self, size: Size) -> Result<()> {
        const OP: &str = "choosing a mode";
        if self.mode.as_ref().is_some_and(|(now, _)| *now == size) {
            return Ok(());
        }
        let blob = if self.any_size() {
            if size.width == 0 || size.height == 0 || size.width > 8192 || size.height > 8192 {
                return Err(Error::input(
                    OP,
                    self.card.to_string(),
                    format!("{size}; 1 to 8192 px each way are valid"),
                ));
            }
            Blob::new(&self.card, &mode::timings(size))?
        } else {
            let fits = |mode: &&drm::control::Mode| px(mode.size().0.into(), mode.size().1.into()) == size;
            let mode = self.pipe.modes.iter().find(fits);
            let mode = mode.ok_or_else(|| Error::missing(OP, self.card.to_string(), format!("no mode of {size}")))?;
            Blob::new(&self.card, &drm_ffi::drm_mode_modeinfo::from(*mode))?
        };
        self.off()?;
        let mut commit = Commit::new(&self.card);
        commit.allow_modeset();
        let crtc = u64::from(u32::from(self.pipe.crtc.handle));
        commit.set(&self.pipe.connector, "CRTC_ID", crtc)?;
        if let Some((connector, _)) = &self.pipe.writeback {
            commit.set(connector, "CRTC_ID", crtc)?;
        }
        commit.set(&self.pipe.crtc, "MODE_ID", blob.id)?.set(&self.pipe.crtc, "ACTIVE", 1)?;
        commit.flip(&format!("mode of {size}"), DEADLINE)?;
        self.mode = Some((size, blob));
        self.target = None;
        Ok(())
    }

    /// Switches the CRTC off and lets go of every frame that was shown.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn off(&mut self) -> Result<()> {
        if self.mode.is_some() {
            let mut commit = Commit::new(&self.card);
            commit.allow_modeset();
            for (_, plane) in &self.pipe.planes {
                commit.set(plane, "FB_ID", 0)?.set(plane, "CRTC_ID", 0)?;
            }
            commit.set(&self.pipe.connector, "CRTC_ID", 0)?;
            if let Some((connector, _)) = &self.pipe.writeback {
                commit.set(connector, "CRTC_ID", 0)?;
            }
            commit.set(&self.pipe.crtc, "ACTIVE", 0)?.set(&self.pipe.crtc, "MODE_ID", 0)?;
            commit.flip("switching off", DEADLINE)?;
            self.mode = None;
        }
        self.on_screen.clear();
        Ok(())
    }

    /// Shows `layers`, the lowest first, over black, and looks at the result. They stay on the screen, and their buffers in use,
    /// until the next [`Self::show`] or [`Self::off`].
    ///
    /// `writeback` is the format to write back in, the connector's most precise if `None`.
    ///
    /// # Errors
    /// A crop lies outside its frame, there are more layers than planes, or the driver refuses an import, a framebuffer or the
    /// commit; the commit or its writeback did not end within 5 s; the writeback signalled but wrote nothing.
    pub fn show(&mut self, layers: &[Layer<'_>], writeback: Option<Fourcc>) -> Result<Shown> {
        self.check(layers)?;
        let size = self.size();
        self.resize(size)?;
        let framebuffers =
            layers.iter().map(|layer| Framebuffer::new(&self.card, layer.frame)).collect::<Result<Vec<_>>>()?;
        self.aim(writeback, size)?;

        let what = layers.iter().map(|layer| layer.frame.to_string()).collect::<Vec<_>>().join(" + ");
        let mut capture = match &self.crc {
            Ok(source) => Ok(source.start()?),
            Err(why) => Err(why.clone()),
        };
        let flip = self.commit(layers, &framebuffers, &what)?;
        // From here on the CRTC reads the new frames, whatever else happens.
        self.on_screen = framebuffers;

        let object = || format!("{}, {what}", self.card);
        let until = Instant::now() + DEADLINE;
        let mut recoveries = 0;
        if let Some(fence) = &flip.fence {
            while !wait::readable(fence, (Instant::now() + LOST).min(until))
                .map_err(|errno| Error::new("poll", object(), errno))?
            {
                if Instant::now() >= until {
                    return Err(Error::deadline("waiting for the writeback fence", object(), DEADLINE));
                }
                recoveries += 1;
                capture = match capture {
                    // Switches the composer of vkms on again.
                    Ok(capture) => Ok(capture.restart()?),
                    Err(why) => Err(why),
                };
            }
        }
        let crc = match &mut capture {
            Ok(capture) => match capture.of_frame(flip.sequence, Instant::now() + LOST)? {
                Some(crc) => Ok(crc),
                None => return Err(Error::deadline("waiting for a CRC", object(), LOST)),
            },
            Err(why) => Err(why.clone()),
        };
        let writeback = match &self.target {
            None => Err(NotObservable(format!("{} has no writeback connector", self.card))),
            Some(target) => match target.read()? {
                Some(picture) => Ok(picture),
                None => {
                    let why = "the fence signalled, but the buffer still holds the seed in every byte";
                    return Err(Error::answer("writeback", object(), why));
                }
            },
        };
        drop(capture);
        std::thread::sleep(self.settle);
        Ok(Shown { writeback, crc, sequence: flip.sequence, recoveries })
    }

    /// Refuses what no driver should be asked.
    fn check(&self, layers: &[Layer<'_>]) -> Result<()> {
        const OP: &str = "showing frames";
        if layers.is_empty() || layers.len() > self.pipe.planes.len() {
            let why = format!("{} layers, 1 to {} are valid", layers.len(), self.pipe.planes.len());
            return Err(Error::input(OP, self.card.to_string(), why));
        }
        for layer in layers {
            let frame = &layer.frame.frame;
            if !layer.crop.fits(frame.size) {
                let why = format!("the crop {} does not lie in it or is empty", layer.crop);
                return Err(Error::input(OP, frame.to_string(), why));
            }
            if self.card.driver == "vkms" {
                safe_for_vkms(layer.frame)?;
            }
        }
        Ok(())
    }

    /// Gets a seeded writeback buffer of `size` ready, if there is a writeback connector.
    fn aim(&mut self, writeback: Option<Fourcc>, size: Size) -> Result<()> {
        let Some((_, formats)) = &self.pipe.writeback else { return Ok(()) };
        let most_precise = |fourcc: &&Fourcc| fourcc.pixel().map_or(0, |pixel| pixel.bytes);
        let fourcc = writeback.or_else(|| formats.iter().max_by_key(most_precise).copied());
        let Some(fourcc) = fourcc.filter(|fourcc| formats.contains(fourcc)) else {
            let why = format!("{fourcc:?} is not among its writeback formats {formats:?}");
            return Err(Error::input("choosing a writeback format", self.card.to_string(), why));
        };
        if self.target.as_ref().is_none_or(|target| !target.is(fourcc, size)) {
            self.target = Some(Target::new(&self.card, fourcc, size)?);
        }
        self.target.as_mut().map_or(Ok(()), Target::seed)
    }

    /// Puts the layers on the planes, nothing on the others, and writes back.
    fn commit(&self, layers: &[Layer<'_>], framebuffers: &[Framebuffer], what: &str) -> Result<Flip> {
        let mut commit = Commit::new(&self.card);
        for (n, (_, plane)) in self.pipe.planes.iter().enumerate() {
            let (Some(layer), Some(framebuffer)) = (layers.get(n), framebuffers.get(n)) else {
                commit.set(plane, "FB_ID", 0)?.set(plane, "CRTC_ID", 0)?;
                continue;
            };
            // Source positions are 16.16 fixed point, screen positions are signed.
            let fixed = |pixels: u32| u64::from(pixels) << 16;
            let signed = |pixels: i32| i64::from(pixels) as u64;
            let Rect { x, y, size } = layer.crop;
            commit
                .set(plane, "FB_ID", framebuffer.id.into())?
                .set(plane, "CRTC_ID", u32::from(self.pipe.crtc.handle).into())?
                .set(plane, "SRC_X", fixed(x))?
                .set(plane, "SRC_Y", fixed(y))?
                .set(plane, "SRC_W", fixed(size.width))?
                .set(plane, "SRC_H", fixed(size.height))?
                .set(plane, "CRTC_X", signed(layer.at.0))?
                .set(plane, "CRTC_Y", signed(layer.at.1))?
                .set(plane, "CRTC_W", size.width.into())?
                .set(plane, "CRTC_H", size.height.into())?;
        }
        if let (Some((connector, _)), Some(target)) = (&self.pipe.writeback, &self.target) {
            commit.write_back(connector, target.framebuffer.id)?;
        }
        commit.flip(what, DEADLINE)
    }
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

/// Refuses a frame that makes vkms read past the end of its buffer.
///
/// vkms (seen in 7.3) adds the offset of a framebuffer's first plane twice: `drm_gem_fb_vmap` has it in the address already,
/// and `packed_pixels_offset` adds it again. Such a frame shows the wrong bytes, and one without slack behind it takes the
/// kernel down. A frame with slack may pass, so that a case can measure the fault.
fn safe_for_vkms(shared: &SharedFrame) -> Result<()> {
    const OP: &str = "showing a frame on vkms";
    let offset = shared.frame.planes.first().map_or(0, |plane| plane.offset);
    if offset == 0 {
        return Ok(());
    }
    let reads_until = shared.frame.packed()?.end.saturating_add(offset);
    if reads_until <= shared.dmabuf.size {
        return Ok(());
    }
    let why = format!(
        "vkms adds its offset of {offset} B twice and would read until byte {reads_until} of {}: {} B of slack at the end \
         of the buffer would make it safe to show",
        shared.dmabuf.size,
        reads_until - shared.dmabuf.size,
    );
    Err(Error::input(OP, shared.to_string(), why))
}
