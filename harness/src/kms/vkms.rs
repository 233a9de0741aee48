//! What is known of vkms, seen in Linux 7.3, that a harness must not run into; and a measurement of the worst of it.
//!
//! **Lost writebacks.** When a job is done, a work item cleans up after it and switches the composer off. If the next
//! job was committed in the meantime, nobody composes it and its fence never signals. The lost job stays at the head of
//! the connector's queue: from then on each finished job signals the fence of the one before it, for every later user
//! of the device, whatever is switched off and on. Starting a CRC capture switches the composer on again; done before
//! the next commit, that brings the lost job to its end.
//!
//! **Offsets.** See [`safe`].

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::commit::Commit;
use super::{DEADLINE, Screen, wait};
use crate::dmabuf::SharedPlanes;
use crate::error::{Error, Result};
use crate::frame::Size;

/// Its name.
pub(super) const DRIVER: &str = "vkms";

/// How long to wait after a writeback before the next commit, so that the clean-up runs first.
pub(super) const SETTLE: Duration = Duration::from_millis(1);

/// How long to wait before a job whose predecessor's end can't be seen, so that it is composed and cleaned up after.
pub(super) fn between_jobs(size: Size) -> Duration {
    SETTLE + Duration::from_nanos(200) * size.width * size.height
}

/// After this long without its fence a writeback of `size` counts as lost: far longer than composing it takes (about 40
/// ns per pixel), so that a busy machine is not taken for a loss.
pub(super) fn patience(size: Size) -> Duration {
    Duration::from_millis(150) + Duration::from_micros(u64::from(size.width) * u64::from(size.height))
}

/// Refuses a frame that makes vkms read past the end of its buffer.
///
/// vkms takes the address of a framebuffer's first plane for all of them, in which `drm_gem_fb_vmap` has that plane's offset
/// already, and `packed_pixels_offset` adds each plane's own offset to it. Such a frame shows the wrong bytes if the first
/// offset is not 0 or planes lie in several buffers, and one without slack behind it takes the kernel down. A frame with slack
/// may pass, so that a case can measure the fault.
pub(super) fn safe(shared: &impl SharedPlanes) -> Result<()> {
    const OP: &str = "showing a frame on vkms";
    let frame = shared.frame();
    let offset = frame.planes.first().map_or(0, |plane| plane.offset);
    let size = shared.dmabuf_of(0).size;
    let elsewhere = (1..frame.planes.len()).any(|n| shared.dmabuf_of(n).size > size);
    if offset == 0 && !elsewhere {
        return Ok(());
    }
    let reads_until = frame.end()?.saturating_add(offset);
    if reads_until <= size {
        return Ok(());
    }
    let why = format!(
        "vkms takes the first plane's buffer for all planes, adds its offset of {offset} B to theirs and would read until \
         byte {reads_until}, which takes the kernel down; {} B more at the end of that buffer would make it safe to show",
        reads_until - size,
    );
    Err(Error::input(OP, shared.to_string(), why))
}

/// What became of writeback jobs that followed each other at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Race {
    /// Jobs committed.
    pub jobs: u32,
    /// Jobs whose fence did not signal in time.
    pub lost: u32,
    /// Lost jobs whose fence signalled after a CRC capture was started.
    pub woken: u32,
}

impl Screen {
    /// Commits up to `jobs` writeback jobs, `pause` apart: each when the one before is on the screen, in pairs whose fences are
    /// then waited for. Ends with the first loss, since all later jobs would be judged by the wrong fence.
    ///
    /// A lost job is woken where the CRC can be observed, and [`Self::show`] copes with one that is not. Show a frame
    /// before, which finds out whether the fences are late already.
    ///
    /// # Errors
    /// Nothing is on the screen, it has no writeback connector, or an earlier loss has put its fences out of step; the
    /// driver refuses a commit.
    pub fn race_writeback(&mut self, jobs: u32, pause: Duration) -> Result<Race> {
        const OP: &str = "racing writeback jobs";
        if self.on_screen.is_empty() {
            return Err(Error::input(OP, self.card.to_string(), "nothing is on the screen: show a frame first"));
        }
        self.aim(None, self.size())?;
        if self.behind > 0 {
            let why = format!("its fences are {} jobs late since an earlier loss", self.behind);
            return Err(Error::missing(OP, self.card.to_string(), why));
        }
        let mut race = Race::default();
        while race.jobs < jobs && race.lost == 0 {
            let pair = [self.send_writeback_alone(pause)?, self.send_writeback_alone(pause)?];
            race.jobs += 2;
            // A lost job's fence is signalled by the one that follows, so it is the last fence that stays behind.
            let lost = pair.iter().map(|fence| self.signals(fence)).collect::<Result<Vec<bool>>>()?.contains(&false);
            if lost {
                race.lost += 1;
                let capture = self.crc.as_ref().ok().map(|source| source.start()).transpose()?;
                if capture.is_some() && self.signals(&pair[1])? {
                    race.woken += 1;
                } else {
                    self.behind += 1;
                }
            }
        }
        Ok(race)
    }

    /// Commits a writeback job and nothing else, and waits until it is on the screen but not for its fence, then for `pause`.
    fn send_writeback_alone(&self, pause: Duration) -> Result<OwnedFd> {
        const OP: &str = "racing writeback jobs";
        let (Some((connector, _)), Some(target)) = (&self.pipe.writeback, self.targets.first()) else {
            return Err(Error::missing(OP, self.card.to_string(), "it has no writeback connector"));
        };
        let mut commit = Commit::new(&self.card);
        commit.set(&self.pipe.crtc, "ACTIVE", 1)?.write_back(connector, target.framebuffer.id)?;
        let mut sent = commit.send("a writeback job alone")?;
        if sent.sequence(&self.card, Instant::now() + DEADLINE)?.is_none() {
            return Err(Error::deadline(OP, self.card.to_string(), DEADLINE));
        }
        std::thread::sleep(pause);
        sent.fence.ok_or_else(|| Error::answer(OP, self.card.to_string(), "no fence for a writeback job"))
    }

    fn signals(&self, fence: &OwnedFd) -> Result<bool> {
        wait::readable(fence, Instant::now() + patience(self.size()))
            .map_err(|errno| Error::new("poll", self.card.to_string(), errno))
    }
}
