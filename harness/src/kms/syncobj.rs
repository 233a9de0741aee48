//! DRM's own synchronization objects: a box for a fence, or for a timeline of them, that several hold and wait for.
//!
//! Source: "DRM Sync Objects" in the kernel's DRM documentation, `include/uapi/drm/drm.h`, and `drm_syncobj.c`. The
//! crates' own call imports a sync file into no object but number 0, so calls are made by number here.
#![expect(unsafe_code, reason = "the ioctls of syncobjs, which take addresses of lists")]

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use drm_ffi::{
    drm_syncobj_array, drm_syncobj_create, drm_syncobj_destroy, drm_syncobj_eventfd, drm_syncobj_handle,
    drm_syncobj_timeline_array, drm_syncobj_timeline_wait, drm_syncobj_transfer, drm_syncobj_wait,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, opcode};

use super::card::Card;
use super::commit::own_fd;
use super::prime::Prime;
use crate::error::{Error, Result};
use crate::fence::SyncFile;
use crate::{ioctl, ledger, wait};

mod held;
mod misuse;

pub(super) use held::Held;
pub use misuse::BadSyncobj;

/// A handle of a syncobj, which goes when this is dropped; the object is there for as long as a handle or a file of it.
#[derive(Debug)]
pub struct Syncobj {
    card: Arc<Card>,
    handle: u32,
    gone: AtomicBool,
}

/// A file of a syncobj, to be handed to others.
#[derive(Debug)]
pub struct SyncobjFile(OwnedFd);

/// For what a wait for syncobjs waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// For all of them, and not for one.
    pub all: bool,
    /// Of one without a fence for the one to come; without this such a wait is refused.
    pub to_come: bool,
    /// Of points, only until there is a fence, whether or not it signals.
    pub there: bool,
    /// For how long; zero is a look.
    pub patience: Duration,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// What was waited for came; of one of them its number in the list. Which one is told of several, or of all, is the
    /// kernel's choice.
    Through(u32),
    /// It did not come in time (`ETIME`).
    TooLate,
    /// There is no fence, and none to come was waited for (`EINVAL`).
    NoFence,
    /// A handle had gone before it began (`ENOENT`).
    NoHandle,
}

/// An eventfd that a syncobj is to make readable.
#[derive(Debug)]
pub struct Told(OwnedFd);

/// The ioctls, with the name of each.
type Call = (&'static str, Opcode);
const CREATE: Call = ("DRM_IOCTL_SYNCOBJ_CREATE", opcode::read_write::<drm_syncobj_create>(b'd', 0xbf));
const DESTROY: Call = ("DRM_IOCTL_SYNCOBJ_DESTROY", opcode::read_write::<drm_syncobj_destroy>(b'd', 0xc0));
const HANDLE_TO_FD: Call = ("DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD", opcode::read_write::<drm_syncobj_handle>(b'd', 0xc1));
const FD_TO_HANDLE: Call = ("DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE", opcode::read_write::<drm_syncobj_handle>(b'd', 0xc2));
const WAIT: Call = ("DRM_IOCTL_SYNCOBJ_WAIT", opcode::read_write::<drm_syncobj_wait>(b'd', 0xc3));
const RESET: Call = ("DRM_IOCTL_SYNCOBJ_RESET", opcode::read_write::<drm_syncobj_array>(b'd', 0xc4));
const SIGNAL: Call = ("DRM_IOCTL_SYNCOBJ_SIGNAL", opcode::read_write::<drm_syncobj_array>(b'd', 0xc5));
const TIMELINE_WAIT: Call =
    ("DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT", opcode::read_write::<drm_syncobj_timeline_wait>(b'd', 0xca));
const QUERY: Call = ("DRM_IOCTL_SYNCOBJ_QUERY", opcode::read_write::<drm_syncobj_timeline_array>(b'd', 0xcb));
const TRANSFER: Call = ("DRM_IOCTL_SYNCOBJ_TRANSFER", opcode::read_write::<drm_syncobj_transfer>(b'd', 0xcc));
const TIMELINE_SIGNAL: Call =
    ("DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL", opcode::read_write::<drm_syncobj_timeline_array>(b'd', 0xcd));
const EVENTFD: Call = ("DRM_IOCTL_SYNCOBJ_EVENTFD", opcode::read_write::<drm_syncobj_eventfd>(b'd', 0xcf));

/// `DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE` and `DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE`.
const SYNC_FILE: u32 = 1;
/// `DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED`.
const LAST_SUBMITTED: u32 = 1;
/// `DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL`, `…_WAIT_FOR_SUBMIT` and `…_WAIT_AVAILABLE`.
const WAIT_ALL: u32 = 1;
const WAIT_FOR_SUBMIT: u32 = 2;
const WAIT_AVAILABLE: u32 = 4;

/// # Safety
/// As that of [`ioctl::ask`]: no address in `argument` is one where the kernel may not read or write.
unsafe fn ask<T>(card: &Card, call: Call, argument: &mut T, what: impl fmt::Display) -> Result<()> {
    let (op, opcode) = call;
    // SAFETY: the number was made with the size of `T`; the rest is the caller's promise.
    unsafe { ioctl::ask(card, opcode, argument) }.map_err(|errno| match errno {
        Errno::OPNOTSUPP => Error::missing(op, card.to_string(), "EOPNOTSUPP: the driver has no syncobjs"),
        errno => Error::new(op, format!("{card}, {what}"), errno),
    })
}

impl Card {
    fn new_syncobj(&self, flags: u32) -> Result<u32> {
        let mut made = drm_syncobj_create { handle: 0, flags };
        // SAFETY: there is no address in it.
        unsafe { ask(self, CREATE, &mut made, format_args!("flags {flags:#x}")) }?;
        Ok(made.handle)
    }

    fn destroy_syncobj(&self, handle: u32, pad: u32) -> Result<()> {
        let mut gone = drm_syncobj_destroy { handle, pad };
        // SAFETY: there is no address in it.
        unsafe { ask(self, DESTROY, &mut gone, format_args!("syncobj {handle}")) }
    }
}

impl Prime {
    /// A new syncobj, without a fence.
    ///
    /// # Errors
    /// As missing: the driver has no syncobjs. It refuses.
    pub fn syncobj(&self) -> Result<Syncobj> {
        let handle = self.card().new_syncobj(0)?;
        Ok(Syncobj::of(self.card(), handle))
    }

    /// A new handle of the object that `file` is of.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn take_syncobj(&self, file: &SyncobjFile) -> Result<Syncobj> {
        let mut taken = drm_syncobj_handle { fd: file.0.as_raw_fd(), ..Default::default() };
        // SAFETY: there is no address in it.
        unsafe { ask(self.card(), FD_TO_HANDLE, &mut taken, "a file of a syncobj") }?;
        Ok(Syncobj::of(self.card(), taken.handle))
    }

    /// Waits for the fences that `objects` have now.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn wait_for_syncobjs(&self, objects: &[&Syncobj], wait: Wait) -> Result<Waited> {
        let handles: Vec<u32> = objects.iter().map(|object| object.handle).collect();
        let mut asked = drm_syncobj_wait {
            handles: handles.as_ptr().expose_provenance() as u64,
            timeout_nsec: until(wait.patience),
            count_handles: handles.len() as u32,
            flags: wait.flags(),
            ..Default::default()
        };
        // SAFETY: the list lives until the call returns, and has as many handles as it says.
        let waited = unsafe { ask(self.card(), WAIT, &mut asked, format_args!("syncobjs {handles:?}, {wait}")) };
        ended(waited, wait, asked.first_signaled)
    }

    /// The same for points of timelines. One that has not got to its point has no fence for it.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn wait_for_points(&self, points: &[(&Syncobj, u64)], wait: Wait) -> Result<Waited> {
        let handles: Vec<u32> = points.iter().map(|(object, _)| object.handle).collect();
        let numbers: Vec<u64> = points.iter().map(|(_, point)| *point).collect();
        let mut asked = drm_syncobj_timeline_wait {
            handles: handles.as_ptr().expose_provenance() as u64,
            points: numbers.as_ptr().expose_provenance() as u64,
            timeout_nsec: until(wait.patience),
            count_handles: handles.len() as u32,
            flags: wait.flags(),
            ..Default::default()
        };
        let what = format_args!("syncobjs {handles:?}, points {numbers:?}, {wait}");
        // SAFETY: the lists live until the call returns, and have as many entries as it says.
        let waited = unsafe { ask(self.card(), TIMELINE_WAIT, &mut asked, what) };
        ended(waited, wait, asked.first_signaled)
    }
}

/// When a wait of `patience` from now is over, in ns of the clock that the kernel compares it with. rustix asks the vDSO,
/// which user-mode Linux has none of, and std does not tell.
fn until(patience: Duration) -> i64 {
    if patience.is_zero() {
        return 0;
    }
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives until the call returns, which can't fail: every kernel has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let now = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32);
    i64::try_from(now.saturating_add(patience).as_nanos()).unwrap_or(i64::MAX)
}

fn ended(waited: Result<()>, wait: Wait, first: u32) -> Result<Waited> {
    match waited {
        Ok(()) => Ok(Waited::Through(first)),
        Err(error) if error.is_errno(Errno::TIME) => Ok(Waited::TooLate),
        Err(error) if error.is_errno(Errno::NOENT) => Ok(Waited::NoHandle),
        Err(error) if error.is_errno(Errno::INVAL) && !wait.to_come && !wait.there => Ok(Waited::NoFence),
        Err(error) => Err(error),
    }
}

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Through(first) => write!(f, "ended by number {first}"),
            Self::TooLate => f.write_str("ETIME"),
            Self::NoFence => f.write_str("EINVAL"),
            Self::NoHandle => f.write_str("ENOENT"),
        }
    }
}

impl Wait {
    fn flags(self) -> u32 {
        [(self.all, WAIT_ALL), (self.to_come, WAIT_FOR_SUBMIT), (self.there, WAIT_AVAILABLE)]
            .iter()
            .map(|(asked, flag)| if *asked { *flag } else { 0 })
            .sum()
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.patience.as_secs_f64() * 1e3;
        write!(f, "{} of them for {ms} ms", if self.all { "all" } else { "one" })?;
        f.write_str(if self.to_come { ", also if there is no fence yet" } else { "" })?;
        f.write_str(if self.there { ", until there is one" } else { "" })
    }
}

impl Syncobj {
    fn of(card: &Arc<Card>, handle: u32) -> Self {
        card.syncobjs.add(handle);
        ledger::step("a handle of a syncobj", None, &*card.driver);
        Self { card: Arc::clone(card), handle, gone: AtomicBool::new(false) }
    }

    /// Its handle goes, and whatever is asked of it later is refused; who waits for it goes on waiting.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn destroy(&self) -> Result<()> {
        if self.gone.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.card.syncobjs.remove(self.handle);
        self.card.destroy_syncobj(self.handle, 0)
    }

    /// The number of its handle.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// Its fence is that of `file` from now on.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn import(&self, file: &SyncFile) -> Result<()> {
        let mut import = drm_syncobj_handle {
            handle: self.handle,
            flags: SYNC_FILE,
            fd: file.as_fd().as_raw_fd(),
            ..Default::default()
        };
        // SAFETY: there is no address in it.
        unsafe { ask(&self.card, FD_TO_HANDLE, &mut import, format_args!("{self}, {file}")) }
    }

    /// The fence that it has now as a new file; nothing if it has none (`EINVAL`).
    ///
    /// # Errors
    /// The driver refuses otherwise, or what it hands out is no sync file.
    pub fn fence(&self) -> Result<Option<SyncFile>> {
        let mut export = drm_syncobj_handle { handle: self.handle, flags: SYNC_FILE, fd: -1, ..Default::default() };
        // SAFETY: there is no address in it.
        match unsafe { ask(&self.card, HANDLE_TO_FD, &mut export, self) } {
            Ok(()) => SyncFile::from_fd(own_fd(export.fd)?).map(Some),
            Err(error) if error.is_errno(Errno::INVAL) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A new file of the object itself.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn share(&self) -> Result<SyncobjFile> {
        let mut shared = drm_syncobj_handle { handle: self.handle, fd: -1, ..Default::default() };
        // SAFETY: there is no address in it.
        unsafe { ask(&self.card, HANDLE_TO_FD, &mut shared, self) }?;
        own_fd(shared.fd).map(SyncobjFile)
    }

    /// It has no fence any more.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn reset(&self) -> Result<()> {
        self.array(RESET)
    }

    /// Its fence is one that has signalled.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn signal(&self) -> Result<()> {
        self.array(SIGNAL)
    }

    fn array(&self, call: Call) -> Result<()> {
        let handles = (&raw const self.handle).expose_provenance() as u64;
        let mut argument = drm_syncobj_array { handles, count_handles: 1, ..Default::default() };
        // SAFETY: the one handle lives until the call returns.
        unsafe { ask(&self.card, call, &mut argument, self) }
    }

    /// Waits for it alone.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn waits(&self, wait: Wait) -> Result<Waited> {
        Prime(Arc::clone(&self.card)).wait_for_syncobjs(&[self], wait)
    }

    /// Waits for its `point` alone.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn waits_for(&self, point: u64, wait: Wait) -> Result<Waited> {
        Prime(Arc::clone(&self.card)).wait_for_points(&[(self, point)], wait)
    }

    /// Its timeline has `point`, with a fence that has signalled.
    ///
    /// # Errors
    /// As missing: the driver has no timelines. It refuses.
    pub fn signal_point(&self, point: u64) -> Result<()> {
        self.timeline(TIMELINE_SIGNAL, 0, point).map(drop)
    }

    /// The last point up to which everything has signalled; 0 if there is none.
    ///
    /// # Errors
    /// As [`Self::signal_point`].
    pub fn reached(&self) -> Result<u64> {
        self.timeline(QUERY, 0, 0)
    }

    /// The last point that has a fence.
    ///
    /// # Errors
    /// As [`Self::signal_point`].
    pub fn submitted(&self) -> Result<u64> {
        self.timeline(QUERY, LAST_SUBMITTED, 0)
    }

    fn timeline(&self, call: Call, flags: u32, mut point: u64) -> Result<u64> {
        let mut argument = drm_syncobj_timeline_array {
            handles: (&raw const self.handle).expose_provenance() as u64,
            points: (&raw mut point).expose_provenance() as u64,
            count_handles: 1,
            flags,
        };
        let asked = point;
        // SAFETY: the one handle and the one point live until the call returns.
        unsafe { ask(&self.card, call, &mut argument, format_args!("{self}, point {asked}")) }?;
        Ok(point)
    }

    /// `to` gets the fence that this one has at `from` for its point `at`; point 0 is the fence that there is, or the one
    /// that takes its place.
    ///
    /// # Errors
    /// As [`Self::signal_point`].
    pub fn transfer(&self, from: u64, to: &Syncobj, at: u64) -> Result<()> {
        let mut transfer = drm_syncobj_transfer {
            src_handle: self.handle,
            dst_handle: to.handle,
            src_point: from,
            dst_point: at,
            ..Default::default()
        };
        // SAFETY: there is no address in it.
        unsafe { ask(&self.card, TRANSFER, &mut transfer, format_args!("{self}, point {from}, to {to}, point {at}")) }
    }

    /// An eventfd that becomes readable when `point` has signalled, or is `there`; the point 0 is the fence that it has, or
    /// gets.
    ///
    /// # Errors
    /// As missing: the kernel has no such call (Linux 6.6 has), or the driver no timelines. It refuses.
    pub fn tell(&self, point: u64, there: bool) -> Result<Told> {
        let (op, _) = EVENTFD;
        let file = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let file = file.map_err(|errno| Error::new("eventfd", self.to_string(), errno))?;
        let flags = if there { WAIT_AVAILABLE } else { 0 };
        let ask_for = |handle| {
            let fd = file.as_raw_fd();
            let mut asked = drm_syncobj_eventfd { handle, point, flags, fd, ..Default::default() };
            // SAFETY: there is no address in it.
            unsafe { ask(&self.card, EVENTFD, &mut asked, format_args!("syncobj {handle}, point {point}")) }
        };
        let Err(error) = ask_for(self.handle) else { return Ok(Told(file)) };
        // Who has the call knows that there is no handle 0.
        let has_it = ask_for(0).is_err_and(|error| error.is_errno(Errno::NOENT));
        let is_unknown = error.is_errno(Errno::INVAL) || error.is_errno(Errno::NOTTY);
        Err(match is_unknown && !has_it {
            true => Error::missing(op, self.card.to_string(), "the kernel has no such call"),
            false => error,
        })
    }
}

impl Told {
    /// Whether it becomes readable before `patience` is over.
    ///
    /// # Errors
    /// The kernel refuses `poll`.
    pub fn within(&self, patience: Duration) -> Result<bool> {
        wait::readable(&self.0, Instant::now() + patience)
            .map_err(|errno| Error::new("poll", "an eventfd of a syncobj", errno))
    }
}

impl fmt::Display for Syncobj {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "syncobj {}", self.handle)
    }
}

impl Drop for Syncobj {
    fn drop(&mut self) {
        if let Err(error) = self.destroy() {
            tracing::warn!("a handle of a syncobj stays: {error}");
        }
    }
}

impl AsFd for SyncobjFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        let numbers = [
            CREATE,
            DESTROY,
            HANDLE_TO_FD,
            FD_TO_HANDLE,
            WAIT,
            RESET,
            SIGNAL,
            TIMELINE_WAIT,
            QUERY,
            TRANSFER,
            TIMELINE_SIGNAL,
            EVENTFD,
        ]
        .map(|(_, number)| number);
        // Direction and size, `d`, and the number of the call.
        let kernels = [
            0xc008_64bf,
            0xc008_64c0,
            0xc018_64c1,
            0xc018_64c2,
            0xc028_64c3,
            0xc010_64c4,
            0xc010_64c5,
            0xc030_64ca,
            0xc018_64cb,
            0xc020_64cc,
            0xc018_64cd,
            0xc018_64cf,
        ];
        assert_eq!(numbers, kernels);
    }

    #[test]
    fn a_look_has_no_deadline_and_a_wait_one_that_is_to_come() {
        let before = until(Duration::from_nanos(1));
        assert_eq!(until(Duration::ZERO), 0);
        assert!(until(Duration::from_secs(1)) >= before + 999_999_999);
        assert_eq!(until(Duration::MAX), i64::MAX);
    }

    #[test]
    fn a_wait_asks_for_what_it_says() {
        assert_eq!(Wait::default().flags(), 0);
        let all = Wait { all: true, to_come: true, there: true, patience: Duration::from_millis(4) };
        assert_eq!(all.flags(), WAIT_ALL | WAIT_FOR_SUBMIT | WAIT_AVAILABLE);
        assert_eq!(all.to_string(), "all of them for 4 ms, also if there is no fence yet, until there is one");
    }
}
