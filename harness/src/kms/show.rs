//! Showing frames: the commit, and what writeback and CRC say of it.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::assign::assign;
use super::card::Framebuffer;
use super::commit::{Commit, Sent};
use super::crc::{self, Capture, Crc};
use super::placed::Placed;
use super::writeback::Target;
use super::{DEADLINE, PlaneKind, Screen, vkms, wait};
use crate::compose::{self, Rect};
use crate::dmabuf::{SharedFrame, SharedPlanes};
use crate::error::{Error, Result};
use crate::fence::{SyncFile, Use};
use crate::format::Fourcc;
use crate::frame::{Framed, Size};
use crate::observed::{NotObservable, Observed};
use crate::picture::Picture;
use crate::yuv::Colours;

/// A frame on the screen.
#[derive(Debug)]
pub struct Layer<'a, F = SharedFrame> {
    /// The frame.
    pub frame: &'a F,
    /// The part of it that is shown, in pixels.
    pub crop: Rect,
    /// Where the crop's top left pixel goes, in pixels from the screen's top left.
    pub at: (i32, i32),
    /// A sync file that the screen waits for before it reads the frame (`IN_FENCE_FD`).
    pub fence: Option<BorrowedFd<'a>>,
    /// The kind of plane that it goes to; `None` for the next one above that of the layer before.
    pub plane: Option<PlaneKind>,
    /// How the screen is to convert the frame (`COLOR_ENCODING`, `COLOR_RANGE`), if it is YUV.
    pub colours: Colours,
}

impl<F> Clone for Layer<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Layer<'_, F> {}

impl<'a, F> Layer<'a, F> {
    /// All of `frame` at the screen's top left.
    pub fn whole(frame: &'a F) -> Self
    where
        F: Framed,
    {
        Self { frame, crop: Rect::whole(frame.size()), at: (0, 0), fence: None, plane: None, colours: Colours::FULL }
    }

    /// Another frame in the same place.
    pub fn with<'b, G>(&self, frame: &'b G) -> Layer<'b, G>
    where
        'a: 'b,
    {
        Layer { frame, crop: self.crop, at: self.at, fence: self.fence, plane: self.plane, colours: self.colours }
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
    /// The CRTC's CRC of the same picture.
    pub crc: Observed<Crc>,
    /// Vertical blank count of the CRTC from which on the frames were shown.
    pub sequence: u32,
    /// Writeback jobs that the driver lost on the way, and what brought the picture back.
    pub recoveries: Recoveries,
}

/// What it took to get a writeback done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// Times the CRC source was switched off and on, and the job then came to its end.
    pub woken: u32,
    /// Further jobs that were queued until one came to its end.
    pub repeated: u32,
}

/// Frames on their way to the screen. Without [`Pending::finish`] they get there as well, and nobody looks at them.
#[must_use]
pub struct Pending<'s> {
    pub(super) screen: &'s mut Screen,
    what: String,
    capture: Observed<Capture>,
    sent: Sent,
    /// Jobs queued for this picture: the fence of each, in the order of `screen.targets`.
    jobs: Vec<OwnedFd>,
    /// What was asked for with [`Screen::submit_fenced`].
    out_fence: Option<OwnedFd>,
    /// Framebuffers of `screen.on_screen` that belong to these frames: the last ones.
    framebuffers: usize,
    /// How the planes are set, for a job that must be repeated; `None` if they stay as they are.
    planes: Option<Vec<Placed>>,
    /// The fence that each was given, likewise: a plane without one waits for those in its buffer.
    fences: Vec<Option<OwnedFd>>,
    /// Whether somebody has looked, or tried to.
    looked: bool,
}

/// What is waited for.
const FLIP: &str = "waiting for the page flip event";

/// How many jobs one picture may take.
const JOBS: usize = 6;

impl Screen {
    /// Shows `layers`, the lowest first, over black, and looks at the result: [`Self::submit`] and [`Pending::finish`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn show<F: SharedPlanes>(&mut self, layers: &[Layer<'_, F>], writeback: Option<Fourcc>) -> Result<Shown> {
        self.submit(layers, writeback)?.finish()
    }

    /// Sends `layers` to the screen without waiting for them to appear: each goes to the plane that it wants, or the next one
    /// above that of the layer before; the rest is black.
    ///
    /// They stay on the screen, and their buffers in use, until other frames have been shown or [`Screen::off`].
    /// `writeback` is the format to write back in; `None` is the connector's most precise.
    ///
    /// # Errors
    /// A crop lies outside its frame, there are more layers than planes, `writeback` is not offered, or the driver
    /// refuses an import, a framebuffer or the commit.
    pub fn submit<F: SharedPlanes>(
        &mut self,
        layers: &[Layer<'_, F>],
        writeback: Option<Fourcc>,
    ) -> Result<Pending<'_>> {
        self.submit_with(layers, writeback, false)
    }

    /// [`Self::submit`], with a fence that signals when the frames are on the screen: [`Pending::out_fence`].
    ///
    /// # Errors
    /// As there.
    pub fn submit_fenced<F: SharedPlanes>(&mut self, layers: &[Layer<'_, F>]) -> Result<Pending<'_>> {
        self.submit_with(layers, None, true)
    }

    /// The CRC of what is on the screen, of a frame that is scanned out from now on: nothing is committed for it.
    ///
    /// # Errors
    /// Nothing is on the screen, or it is not scanned out within 5 s.
    pub fn crc_now(&mut self) -> Result<Observed<Crc>> {
        const OP: &str = "looking at the CRC";
        if self.on_screen.is_empty() {
            return Err(Error::input(OP, self.card.to_string(), "nothing is on the screen: show a frame first"));
        }
        let source = match &self.crc {
            Ok(source) => source,
            Err(why) => return Ok(Err(why.clone())),
        };
        let (until, patience) = (Instant::now() + DEADLINE, self.patience());
        let mut capture = source.start()?;
        loop {
            match crc::observed(capture.of_whole_frame(until.min(Instant::now() + patience)))? {
                Ok(Some(crc)) => return Ok(Ok(crc)),
                Ok(None) if Instant::now() < until => capture.restart()?,
                Ok(None) => return Err(Error::deadline(OP, self.card.to_string(), DEADLINE)),
                Err(why) => return Ok(Err(why)),
            }
        }
    }

    fn submit_with<F: SharedPlanes>(
        &mut self,
        layers: &[Layer<'_, F>],
        writeback: Option<Fourcc>,
        fenced: bool,
    ) -> Result<Pending<'_>> {
        let assigned = self.check(layers)?;
        let size = self.size();
        self.resize(size)?;
        self.aim(writeback, size)?;
        let framebuffers = layers.iter().map(|layer| self.framebuffer(layer.frame)).collect::<Result<Vec<_>>>()?;
        let placed = |(plane, (layer, framebuffer)): (usize, (&Layer<'_, F>, &Framebuffer))| Placed {
            plane,
            framebuffer: framebuffer.id,
            crop: layer.crop,
            at: layer.at,
            colours: layer.frame.frame().fourcc.yuv().map(|_| layer.colours),
        };
        let planes: Vec<_> = std::iter::zip(assigned, std::iter::zip(layers, &framebuffers)).map(placed).collect();
        let what = layers.iter().map(|layer| layer.frame.to_string()).collect::<Vec<_>>().join(" + ");
        let capture = self.capture();
        let another = |fence: BorrowedFd<'_>| fence.try_clone_to_owned();
        let fences = layers.iter().map(|layer| layer.fence.map(another).transpose()).collect::<Result<Vec<_>, _>>();
        let fences = fences.map_err(|error| Error::new("dup", "a fence of a frame", error))?;
        let planes = Some(planes);
        let sent = self.send(planes.as_deref(), &fences, 0, fenced, &what);
        let mut sent = sent.map_err(|error| self.unless_covered(error))?;
        let jobs = sent.fence.take().into_iter().collect();
        let out_fence = sent.out_fence.take();
        let count = framebuffers.len();
        // Both the old frames and the new ones are in use until the commit is done.
        self.on_screen.extend(framebuffers);
        Ok(Pending {
            screen: self,
            what,
            capture,
            sent,
            jobs,
            out_fence,
            framebuffers: count,
            planes,
            fences,
            looked: false,
        })
    }

    /// Looks at what is on the screen, with a commit that sets no plane.
    ///
    /// # Errors
    /// Those of [`Self::submit`] and [`Pending::finish`].
    pub fn look_again(&mut self) -> Result<Shown> {
        let size = self.size();
        self.resize(size)?;
        self.aim(None, size)?;
        let what = "what is on it".to_owned();
        let capture = self.capture();
        let mut sent = self.send(None, &[], 0, false, &what)?;
        let jobs = sent.fence.take().into_iter().collect();
        let framebuffers = self.on_screen.len();
        let (planes, fences) = (None, Vec::new());
        Pending {
            screen: self,
            what,
            capture,
            sent,
            jobs,
            out_fence: None,
            framebuffers,
            planes,
            fences,
            looked: false,
        }
        .finish()
    }

    fn capture(&self) -> Observed<Capture> {
        match &self.crc {
            Ok(source) => source.start().map_err(|error| NotObservable(error.to_string())),
            Err(why) => Err(why.clone()),
        }
    }

    /// Refuses what no driver should be asked; the plane of each layer.
    fn check<F: SharedPlanes>(&self, layers: &[Layer<'_, F>]) -> Result<Vec<usize>> {
        const OP: &str = "showing frames";
        if layers.is_empty() {
            let why = format!("no layers, 1 to {} are valid", self.pipe.planes.len());
            return Err(Error::input(OP, self.card.to_string(), why));
        }
        let kinds: Vec<PlaneKind> = self.planes().map(|plane| plane.kind).collect();
        let wanted: Vec<Option<PlaneKind>> = layers.iter().map(|layer| layer.plane).collect();
        let assigned = assign(&kinds, &wanted).map_err(|why| Error::missing(OP, self.card.to_string(), why))?;
        for layer in layers {
            let frame = layer.frame.frame();
            if !layer.crop.fits(frame.size) {
                let why = format!("the crop {} does not lie in it or is empty", layer.crop);
                return Err(Error::input(OP, frame.to_string(), why));
            }
            if self.is_vkms() {
                vkms::safe(layer.frame)?;
            }
        }
        Ok(assigned)
    }

    /// Gets a seeded writeback buffer of `size` ready, if there is a writeback connector.
    pub(super) fn aim(&mut self, writeback: Option<Fourcc>, size: Size) -> Result<()> {
        let Some((_, formats)) = &self.pipe.writeback else { return Ok(()) };
        let most_precise = |fourcc: &&Fourcc| fourcc.pixel().map_or(0, |pixel| pixel.bytes);
        let fourcc = writeback.or_else(|| formats.iter().max_by_key(most_precise).copied());
        let Some(fourcc) = fourcc.filter(|fourcc| formats.contains(fourcc)) else {
            let why = format!("{fourcc:?} is not among its writeback formats {formats:?}");
            return Err(Error::input("choosing a writeback format", self.card.to_string(), why));
        };
        self.targets.retain(|target| target.is(fourcc, size));
        if self.targets.is_empty() {
            self.targets.push(Target::new(&self.card, fourcc, size)?);
        }
        self.targets.iter_mut().try_for_each(Target::seed)
    }

    /// Commits the planes, if they change, each after its fence if it has one, and a writeback job into target `job`.
    fn send(
        &self,
        planes: Option<&[Placed]>,
        fences: &[Option<OwnedFd>],
        job: usize,
        fenced: bool,
        what: &str,
    ) -> Result<Sent> {
        let mut commit = Commit::new(&self.card);
        if fenced {
            commit.out_fence(&self.pipe.crtc)?;
        }
        let crtc = u64::from(u32::from(self.pipe.crtc.handle));
        let Some(planes) = planes else {
            // So that there is something to wait for where nothing is written back.
            commit.set(&self.pipe.crtc, "ACTIVE", 1)?;
            return self.send_job(commit, job, what);
        };
        for (n, (_, plane)) in self.pipe.planes.iter().enumerate() {
            let Some(shown) = planes.iter().position(|placed| placed.plane == n) else {
                match &self.blank {
                    Some(blank) if n == 0 => commit.place(plane, crtc, &blank.placed())?,
                    _ => _ = commit.set(plane, "FB_ID", 0)?.set(plane, "CRTC_ID", 0)?,
                }
                continue;
            };
            commit.place(plane, crtc, &planes[shown])?;
            if let Some(fence) = &fences[shown] {
                commit.set(plane, "IN_FENCE_FD", fence.as_raw_fd() as u64)?;
            }
        }
        self.send_job(commit, job, what)
    }

    fn send_job(&self, mut commit: Commit<'_>, job: usize, what: &str) -> Result<Sent> {
        if let (Some((connector, _)), Some(target)) = (&self.pipe.writeback, self.targets.get(job)) {
            commit.write_back(connector, target.framebuffer.id)?;
        }
        commit.send(what)
    }
}

/// Another fd of the fence that is `fd`.
fn sync_file(fd: &OwnedFd) -> Result<SyncFile> {
    let fd = fd.try_clone().map_err(|error| Error::new("dup", "a fence of the screen", error))?;
    SyncFile::from_fd(fd)
}

impl Pending<'_> {
    /// Whether the frames are on the screen; waits for it at most `patience`.
    ///
    /// # Errors
    /// The card's events can't be read.
    pub fn flipped(&mut self, patience: Duration) -> Result<bool> {
        Ok(self.sequence(Instant::now() + patience)?.is_some())
    }

    /// Waits until the frames are on the screen.
    ///
    /// # Errors
    /// They are not within `patience`, with the fences that they wait for; the card's events can't be read.
    pub fn appears(&mut self, patience: Duration) -> Result<()> {
        if self.flipped(patience)? { Ok(()) } else { Err(self.late(FLIP, patience)) }
    }

    /// The fence that signals when the frames are on the screen (`OUT_FENCE_PTR`); `None` unless it was asked for.
    ///
    /// # Errors
    /// The process has no fd left, or what the kernel gave is no sync file.
    pub fn out_fence(&self) -> Result<Option<SyncFile>> {
        self.out_fence.as_ref().map(sync_file).transpose()
    }

    /// The fence that signals when the picture is written back (`WRITEBACK_OUT_FENCE_PTR`); `None` without writeback.
    ///
    /// # Errors
    /// As [`Self::out_fence`].
    pub fn writeback_fence(&self) -> Result<Option<SyncFile>> {
        self.jobs.first().map(sync_file).transpose()
    }

    /// Waits until the frames are on the screen, and looks at it.
    ///
    /// # Errors
    /// The commit or its writeback did not end within 5 s, for example since a fence of a frame never signals; the
    /// writeback ended but wrote nothing.
    pub fn finish(mut self) -> Result<Shown> {
        let shown = self.look();
        self.looked = true;
        if shown.is_err() {
            self.calm_down();
        }
        shown
    }

    /// Leaves the screen so that the next one can look at it, though this one could not: a commit that comes too early after
    /// another loses its writeback (see [`super::vkms`]).
    fn calm_down(&self) {
        let until = Instant::now() + self.screen.patience();
        for fence in &self.jobs {
            // Of a job that is lost there is nothing to wait for.
            if !matches!(wait::readable(fence, until), Ok(true)) {
                break;
            }
        }
        std::thread::sleep(self.screen.settle());
    }

    fn look(&mut self) -> Result<Shown> {
        let until = Instant::now() + DEADLINE;
        let Some(sequence) = self.sequence(until)? else {
            return Err(self.late(FLIP, DEADLINE));
        };
        let frames_before = self.screen.on_screen.len() - self.framebuffers;
        self.screen.on_screen.drain(..frames_before);
        let mut recoveries = Recoveries::default();
        let writeback = match self.jobs.is_empty() {
            true => Err(NotObservable(format!("{} has no writeback connector", self.screen.card))),
            false if self.screen.is_vkms() => Ok(self.written(until, &mut recoveries)?),
            false => Ok(self.written_once(until)?),
        };
        let crc = self.crc(sequence, until)?;
        std::thread::sleep(self.screen.settle());
        Ok(Shown { writeback, crc, sequence, recoveries })
    }

    /// Vertical blank count from which on the frames are shown; `None` if they are not before `until`.
    fn sequence(&mut self, until: Instant) -> Result<Option<u32>> {
        loop {
            let slice = until.min(Instant::now() + Duration::from_millis(100));
            if let Some(sequence) = self.sent.sequence(&self.screen.card, slice)? {
                return Ok(Some(sequence));
            }
            self.drain()?;
            if Instant::now() >= until {
                return Ok(None);
            }
        }
    }

    /// Takes the CRCs that are there, so that the kernel need not keep them.
    fn drain(&mut self) -> Result<()> {
        if let Ok(capture) = &mut self.capture
            && let Err(why) = crc::observed(capture.drain())?
        {
            self.capture = Err(why);
        }
        Ok(())
    }

    /// The picture of the only job: what vkms loses is not made good for others.
    fn written_once(&mut self, until: Instant) -> Result<Picture> {
        loop {
            let slice = until.min(Instant::now() + Duration::from_millis(100));
            if let Some(picture) = self.done(slice)? {
                return Ok(picture);
            }
            if self.jobs.first().is_some_and(|fence| matches!(wait::readable(fence, Instant::now()), Ok(true))) {
                return Err(Error::answer("writeback", self.object(), "it ended, and its buffer has not changed"));
            }
            if Instant::now() >= until {
                return Err(self.late("waiting for the writeback fence", DEADLINE));
            }
            self.drain()?;
        }
    }

    /// The picture of the first job that is done and wrote something.
    ///
    /// vkms can lose a job (see [`super::vkms`]). Restarting the CRC source wakes it, with no other effect; where that
    /// is not possible, or an earlier user of the device left jobs behind, another job for the same picture makes the
    /// kernel go on.
    fn written(&mut self, until: Instant, recoveries: &mut Recoveries) -> Result<Picture> {
        while self.jobs.len() <= self.screen.behind {
            self.repeat()?;
        }
        let patience = vkms::patience(self.screen.size());
        let mut restarted = false;
        loop {
            if let Some(picture) = self.done((Instant::now() + patience).min(until))? {
                recoveries.woken = (restarted && self.jobs.len() == 1).into();
                recoveries.repeated = self.jobs.len() as u32 - 1;
                self.screen.behind = self.jobs.len() - 1;
                return Ok(picture);
            }
            match &mut self.capture {
                _ if Instant::now() >= until => return Err(self.late("waiting for the writeback fence", DEADLINE)),
                Ok(capture) if !restarted => {
                    capture.restart()?;
                    restarted = true;
                }
                _ if self.jobs.len() < JOBS => self.repeat()?,
                _ => {
                    let why = format!("{JOBS} jobs, and the buffer of none that ended has changed");
                    return Err(Error::answer("writeback", self.object(), why));
                }
            }
        }
    }

    /// The CRC of what is on the screen since `sequence`.
    ///
    /// vkms counts a frame by the vertical blank at which it begins. Hardware has the CRC of a frame when it ends, and counts
    /// it by that one: what has the number of the flip may be the frame before.
    fn crc(&mut self, sequence: u32, until: Instant) -> Result<Observed<Crc>> {
        let patience = self.screen.patience();
        let sequence = if self.screen.is_vkms() { sequence } else { sequence.wrapping_add(1) };
        loop {
            match &mut self.capture {
                Err(why) => return Ok(Err(why.clone())),
                Ok(capture) => match crc::observed(capture.of_frame(sequence, until.min(Instant::now() + patience)))? {
                    Ok(Some(crc)) => return Ok(Ok(crc)),
                    Ok(None) if Instant::now() < until => capture.restart()?,
                    Ok(None) => return Err(self.late("waiting for a CRC", DEADLINE)),
                    Err(why) => return Ok(Err(why)),
                },
            }
        }
    }

    /// Queues another job for the same picture.
    fn repeat(&mut self) -> Result<()> {
        let job = self.jobs.len();
        if self.screen.targets.len() == job {
            let another = self.screen.targets[0].another(&self.screen.card)?;
            self.screen.targets.push(another);
        }
        self.screen.targets[job].seed()?;
        std::thread::sleep(vkms::between_jobs(self.screen.size()));
        let mut sent = self.screen.send(self.planes.as_deref(), &self.fences, job, false, &self.what)?;
        self.jobs.extend(sent.fence.take());
        match sent.sequence(&self.screen.card, Instant::now() + DEADLINE)? {
            Some(_) => Ok(()),
            None => Err(self.late(FLIP, DEADLINE)),
        }
    }

    /// The picture of a job whose fence signals before `until` and that wrote something.
    ///
    /// Jobs end in the order of the queue, so the first one's fence is the one to wait for.
    fn done(&mut self, until: Instant) -> Result<Option<Picture>> {
        for (fence, target) in std::iter::zip(&self.jobs, &mut self.screen.targets) {
            let signalled =
                wait::readable(fence, until).map_err(|errno| Error::new("poll", "a writeback fence", errno))?;
            if !signalled {
                break;
            }
            if let Some(picture) = target.read()? {
                return Ok(Some(picture));
            }
        }
        Ok(None)
    }

    fn object(&self) -> String {
        format!("{}, {}", self.screen.card, self.what)
    }

    fn late(&self, op: &'static str, patience: Duration) -> Error {
        let fences = self.under_way();
        let waits =
            if fences.is_empty() { String::new() } else { format!(", which waits for {}", fences.join(" and ")) };
        Error::deadline(op, format!("{}{waits}", self.object()), patience)
    }

    /// The fences that the frames wait for and that are pending: each frame's own, or else those in its buffers.
    fn under_way(&self) -> Vec<String> {
        let first = self.screen.on_screen.len().saturating_sub(self.framebuffers);
        let all = std::iter::zip(&self.fences, &self.screen.on_screen[first..]);
        let fences = all.flat_map(|(given, framebuffer)| match given {
            Some(fence) => {
                let pending =
                    sync_file(fence).ok().filter(|file| file.is_signalled().is_ok_and(|signalled| !signalled));
                pending.map(|file| file.to_string()).into_iter().collect::<Vec<_>>()
            }
            None => {
                let buffers = framebuffer.gems.iter().filter_map(|gem| gem.export().ok());
                buffers.filter_map(|dmabuf| dmabuf.under_way(Use::Read)).collect()
            }
        });
        let mut fences: Vec<String> = fences.collect();
        fences.dedup();
        fences
    }
}

impl Drop for Pending<'_> {
    /// Who gave up on the way leaves the next one a screen that he can look at. What waits for a fence that is still to signal is
    /// not waited for any longer than a frame takes.
    fn drop(&mut self) {
        if !self.looked {
            let patience = self.screen.patience();
            if self.flipped(patience).unwrap_or_default() {
                self.calm_down();
            }
        }
    }
}
