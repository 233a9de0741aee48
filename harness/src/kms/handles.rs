//! Which GEM handles and framebuffers does the kernel have for an open card, and which of them did we make?
//!
//! The kernel is asked, and not our own count. A framebuffer is told by its number, size, format, buffer, and the call that made
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use drm::control::Device as _;
use rustix::io::Errno;

use super::card::Card;
use crate::error::Result;
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Size, px};
use crate::ledger;
use crate::restart::again;

/// So many lines are said of those that should not be there, or should.
const LISTED: usize = 16;

/// What the kernel has for an open card, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handles {
    /// GEM handles.
    pub gems: BTreeSet<u32>,
    /// Framebuffers.
    pub framebuffers: BTreeSet<u32>,
    /// Handles of syncobjs.
    pub syncobjs: BTreeSet<u32>,
}

/// `GEM handle 1, 2; framebuffer 41`, or `none`.
impl fmt::Display for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("GEM handle", &self.gems), ("framebuffer", &self.framebuffers), ("syncobj", &self.syncobjs)];
        let kinds = kinds.into_iter().filter(|(_, numbers)| !numbers.is_empty());
        let told: Vec<String> = kinds.map(|(kind, numbers)| format!("{kind} {}", list(numbers))).collect();
        f.write_str(if told.is_empty() { "none" } else { "" })?;
        f.write_str(&told.join("; "))
    }
}

impl Handles {
    /// What is here and not in `other`.
    pub(crate) fn beyond(&self, other: &Self) -> Self {
        Self {
            gems: self.gems.difference(&other.gems).copied().collect(),
            framebuffers: self.framebuffers.difference(&other.framebuffers).copied().collect(),
            syncobjs: self.syncobjs.difference(&other.syncobjs).copied().collect(),
        }
    }
}

fn list(numbers: &BTreeSet<u32>) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Our framebuffers of a card, by number, each in words.
#[derive(Debug, Default)]
pub(super) struct Made {
    ours: BTreeMap<u32, String>,
    /// Removed since the card was last asked.
    removed: BTreeMap<u32, String>,
}

impl Made {
    pub(super) fn add(&mut self, id: u32, told: String) {
        self.removed.remove(&id);
        self.ours.insert(id, told);
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.removed.extend(self.ours.remove_entry(&id));
    }
}

/// As the journal has it: `framebuffer 41`.
pub(super) fn named(id: u32) -> String {
    format!("framebuffer {id}")
}

/// `XR24 64x64 px LINEAR of dma-buf 7`.
pub(super) fn told(fourcc: Fourcc, size: Size, modifier: Modifier, buffers: &[u64]) -> String {
    let mut buffers: Vec<String> = buffers.iter().map(u64::to_string).collect();
    buffers.dedup();
    format!("{fourcc} {size} {modifier} of dma-buf {}", buffers.join(", "))
}

/// How what the kernel has of a file differs from what is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Strays {
    /// What nobody of us made, or what is closed or removed here.
    more: Handles,
    /// What is ours and gone.
    gone: Handles,
    /// What there is to say of these framebuffers, by number.
    told: BTreeMap<u32, String>,
}

impl Strays {
    fn of(kernels: &Handles, ours: &Handles) -> Self {
        Self { more: kernels.beyond(ours), gone: ours.beyond(kernels), told: BTreeMap::new() }
    }

    /// What of it is not in `told`, if something is.
    fn news(&self, told: &Self) -> Option<Self> {
        let news = Self { more: self.more.beyond(&told.more), gone: self.gone.beyond(&told.gone), ..Self::default() };
        (news != Self::default()).then_some(news)
    }

    /// `GEM handle 7 was not closed`, a line for each kind of handle and each framebuffer.
    fn words(&self) -> String {
        let mut lines = Vec::new();
        if !self.more.gems.is_empty() {
            lines.push(format!("GEM handle {} was not closed", list(&self.more.gems)));
        }
        if !self.gone.gems.is_empty() {
            lines.push(format!("GEM handle {} was closed by somebody else", list(&self.gone.gems)));
        }
        let told = |id: &u32| self.told.get(id).map_or_else(String::new, |told| format!(" ({told})"));
        lines.extend(self.more.framebuffers.iter().map(|id| format!("{}{} was not removed", named(*id), told(id))));
        let gone = self.gone.framebuffers.iter();
        lines.extend(gone.map(|id| format!("{}{} was removed by somebody else", named(*id), told(id))));
        let more = lines.len().saturating_sub(LISTED);
        lines.truncate(LISTED);
        lines.extend((more > 0).then(|| format!("and {more} more")));
        lines.join("\n")
    }
}

impl Card {
    /// What the kernel has for this file, but for syncobjs.
    pub(super) fn handles(&self) -> Result<Handles> {
        let make = || {
            let dumb = again(|| drm_ffi::mode::dumbbuffer::create(self.as_fd(), 1, 1, 32, 0));
            dumb.map(|dumb| dumb.handle).map_err(|error| self.error("DRM_IOCTL_MODE_CREATE_DUMB", error))
        };
        let free = |handle| {
            let gone = again(|| drm_ffi::mode::dumbbuffer::destroy(self.as_fd(), handle));
            gone.map(drop).map_err(|error| self.error("DRM_IOCTL_MODE_DESTROY_DUMB", error))
        };
        let gems = self.highest_gem.taken(make, free)?;
        let framebuffers = match again(|| self.resource_handles()) {
            Ok(resources) => resources.framebuffers().iter().map(|handle| u32::from(*handle)).collect(),
            // A card without a display, such as vgem, makes none.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => BTreeSet::new(),
            Err(error) => return Err(self.error("DRM_IOCTL_MODE_GETRESOURCES", error)),
        };
        Ok(Handles { gems, framebuffers, syncobjs: BTreeSet::new() })
    }

    /// The same with who it is, if something was made since [`Self::imbalance`] was asked.
    pub(super) fn touched_handles(&self) -> Option<(String, Result<Handles>)> {
        if !self.touched.load(Ordering::Relaxed) && !self.syncobjs.is_touched() {
            return None;
        }
        let all = || Ok(Handles { syncobjs: self.touched_syncobjs()?, ..self.handles()? });
        Some((format!("{self}, fd {}", self.as_fd().as_raw_fd()), all()))
    }

    /// Whether the kernel has other GEM handles and framebuffers of this file than we have, and that was not told before:
    /// more are leaked, and fewer were closed by somebody else. Asked only if something was made since it was asked last.
    pub(super) fn imbalance(&self) -> Option<Finding> {
        if !self.touched.swap(false, Ordering::Relaxed) {
            return None;
        }
        let kernels = match self.handles() {
            Ok(handles) => handles,
            Err(error) => return Some(Finding::from_error(&error)),
        };
        let gems = self.gems.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        let mut made = self.framebuffers.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = std::mem::take(&mut made.removed);
        let ours = Handles { gems, framebuffers: made.ours.keys().copied().collect(), ..Handles::default() };
        let strays = Strays::of(&kernels, &ours);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = strays.news(&told);
        *told = strays;
        drop(told);
        let mut news = news?;
        let known = |id: &u32| made.ours.get(id).or_else(|| removed.get(id)).cloned();
        let framebuffers = news.more.framebuffers.iter().chain(&news.gone.framebuffers);
        let told = framebuffers.filter_map(|id| {
            let by = ledger::call_about(&named(*id)).map_or_else(String::new, |call| format!("; made in {call}"));
            Some((*id, format!("{}{by}", known(id).or_else(|| self.look_at(*id))?)))
        });
        news.told = told.collect();
        drop(made);
        let summary = format!("{self} holds other handles after the case than were made and not closed");
        let finding = Finding::new(summary)
            .row("target", ours.to_string())
            .row("actual", kernels.to_string())
            .row("which", news.words());
        Some(finding.row("node", self.path.display().to_string()).maybe("calls", ledger::last_calls()))
    }

    /// A framebuffer in the kernel's words (`DRM_IOCTL_MODE_GETFB2`); `None` if it gives none.
    fn look_at(&self, id: u32) -> Option<String> {
        let got = again(|| drm_ffi::mode::get_framebuffer2(self.as_fd(), id)).ok()?;
        let gems = self.gems.lock().unwrap_or_else(PoisonError::into_inner);
        let handles: BTreeSet<u32> = got.handles.into_iter().filter(|handle| *handle != 0).collect();
        // It makes a handle for each buffer, which would be one more that stays.
        for handle in handles.into_iter().filter(|handle| !gems.contains_key(handle)) {
            if let Err(error) = again(|| drm_ffi::gem::close(self.as_fd(), handle)) {
                tracing::error!(card = %self, handle, %error, "DRM_IOCTL_GEM_CLOSE failed");
            }
        }
        let (fourcc, size) = (Fourcc(got.pixel_format), px(got.width, got.height));
        Some(format!("{fourcc} {size}, pitch {} B", got.pitches[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handles(gems: &[u32], framebuffers: &[u32]) -> Handles {
        Handles {
            gems: gems.iter().copied().collect(),
            framebuffers: framebuffers.iter().copied().collect(),
            ..Handles::default()
        }
    }

    #[test]
    fn a_handle_is_told_of_once_and_by_its_number() {
        let ours = handles(&[1], &[40]);
        let first = Strays::of(&handles(&[1, 3], &[40]), &ours);
        assert_eq!(first.news(&Strays::default()), Some(first.clone()));
        assert!(
            first.news(&first).is_none() && Strays::default().news(&first).is_none(),
            "nor when it is closed after all"
        );
        for other in
            [handles(&[1, 3, 5], &[40]), handles(&[3], &[40]), handles(&[1, 3], &[40, 41]), handles(&[1, 3], &[])]
        {
            let other = Strays::of(&other, &ours);
            let news = other.news(&first).map(|news| news.words()).unwrap_or_default();
            assert!(!news.is_empty() && !news.contains("GEM handle 3"), "{news}");
        }
        // One that came as another went is as many as before.
        let swapped = Strays::of(&handles(&[2], &[41]), &ours);
        let words = "GEM handle 2 was not closed\nGEM handle 1 was closed by somebody else\n\
                     framebuffer 41 was not removed\nframebuffer 40 was removed by somebody else";
        assert_eq!(swapped.words(), words);
        assert_eq!(handles(&[5, 3], &[41]).to_string(), "GEM handle 3, 5; framebuffer 41");
        assert_eq!(Handles::default().to_string(), "none");
        let with = |syncobjs: &[u32]| Handles { syncobjs: syncobjs.iter().copied().collect(), ..handles(&[1], &[]) };
        assert_eq!(with(&[2, 3]).beyond(&with(&[2])).to_string(), "syncobj 3");
    }

    #[test]
    fn a_framebuffer_that_stays_is_told_with_what_it_is() {
        let mut made = Made::default();
        made.add(41, told(Fourcc::XR24, px(64, 32), Modifier::LINEAR, &[7, 7]));
        made.remove(41);
        let mut strays = Strays::of(&handles(&[], &[41]), &Handles::default());
        strays.told = made.removed;
        assert_eq!(strays.words(), "framebuffer 41 (XR24 64x32 px LINEAR of dma-buf 7) was not removed");
    }
}
