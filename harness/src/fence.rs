//! Who may go on, and since when: fences as files, in buffers, and under our own control.
//!
//! A [`SyncFile`] is a fence as every API passes it on. A [`PendingFence`] is one whose end we choose, so that a claim
//! about waiting depends on no luck: it is held until whoever should wait was seen to wait. What others attached to a
//! dma-buf is asked and told by [`implicit`]. [`Holder`] is the side that works slowly under such a fence, [`Seen`]
//! what became of the other side.
//!
//! Sources: `include/uapi/linux/sync_file.h`, and "Sync File API Guide" and "Buffer Sharing and Synchronization
//! (dma-buf)" in the kernel's documentation.
#![expect(unsafe_code, reason = "the ioctls of sync files, which make fds and fill arrays")]

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use crate::error::{Cause, Error, Result};
use crate::ledger::{self, Fd, Given, Kind};
use crate::restart::again;
use crate::wait;

mod holder;
pub mod implicit;
mod seen;
mod sw_sync;

pub use holder::{Holder, Released, within};
pub use implicit::{Ready, Use};
pub use seen::{Generations, Seen};
pub use sw_sync::Timeline;

/// A fence, or several of which all must signal, as a file.
#[derive(Debug)]
pub struct SyncFile {
    fd: Fd,
    /// What it was called when we got it: the kernel forgets the names of a driver's fence when it signals.
    label: String,
}

/// How far a fence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not signalled.
    Pending,
    /// Signalled.
    Signalled,
    /// Signalled with this error.
    Failed(Errno),
}

/// What the kernel tells of a sync file (`SYNC_IOC_FILE_INFO`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The file's own name.
    pub name: String,
    /// Of all fences together.
    pub state: State,
    /// Each fence in it.
    pub fences: Vec<FenceInfo>,
}

/// What the kernel tells of one fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceInfo {
    /// Who signals it; nothing if the driver does not say.
    pub driver: String,
    /// On which timeline of the driver; nothing if it does not say.
    pub timeline: String,
    /// How far it is.
    pub state: State,
    /// When it signalled, by the monotonic clock.
    pub signalled_at: Option<Duration>,
}

impl FenceInfo {
    /// `sw_sync` and its timeline; says so where a driver tells neither.
    fn label(&self) -> String {
        let told = |name: &str| if name.is_empty() { "not told".to_owned() } else { name.to_owned() };
        format!("driver {}, timeline {}", told(&self.driver), told(&self.timeline))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Signalled => f.write_str("signalled"),
            Self::Failed(errno) => write!(f, "signalled with errno {}", errno.raw_os_error()),
        }
    }
}

impl SyncFile {
    /// Takes `fd` if it is a sync file.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let fd = Fd::of(Kind::Fence, fd).map_err(|errno| Error::new("fstat", "a sync_file", errno))?;
        let mut file = Self { fd, label: String::new() };
        let info = file.info()?;
        let fences: Vec<String> = info.fences.iter().map(FenceInfo::label).collect();
        file.label = match fences.as_slice() {
            [] => format!("sync_file `{}` without a fence", info.name),
            fences => format!("sync_file `{}` ({})", info.name, fences.join("; ")),
        };
        Ok(file)
    }

    /// What the kernel tells of it.
    ///
    /// # Errors
    /// It refuses.
    pub fn info(&self) -> Result<Info> {
        let mut head = FileInfo { flags: 0, ..FileInfo::default() };
        self.ask(&mut head)?;
        let mut list = vec![RawFence::default(); head.num_fences.min(MOST_FENCES) as usize];
        if !list.is_empty() {
            head = FileInfo { num_fences: list.len() as u32, ..FileInfo::default() };
            head.fences = list.as_mut_ptr().expose_provenance() as u64;
            self.ask(&mut head)?;
        }
        list.truncate(head.num_fences as usize);
        let fences = list.iter().map(|raw| {
            let state = state(raw.status);
            FenceInfo {
                driver: text(&raw.driver),
                timeline: text(&raw.timeline),
                state,
                signalled_at: (state != State::Pending).then(|| Duration::from_nanos(raw.timestamp_ns)),
            }
        });
        Ok(Info { name: text(&head.name), state: state(head.status), fences: fences.collect() })
    }

    fn ask(&self, info: &mut FileInfo) -> Result<()> {
        const FILE_INFO: Opcode = opcode::read_write::<FileInfo>(b'>', 4);
        let asked = again(|| {
            // SAFETY: SYNC_IOC_FILE_INFO is _IOWR('>', 4, struct sync_file_info), which `FileInfo` is.
            let request = unsafe { Updater::<FILE_INFO, FileInfo>::new(info) };
            // SAFETY: the structure lives until the call returns; its list is null with a count of 0, or has room for
            // its count.
            unsafe { ioctl(&self.fd, request) }
        });
        asked.map_err(|error| self.error("SYNC_IOC_FILE_INFO", error))
    }

    /// A sync file that signals when this one and `other` have.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn merged_with(&self, other: &Self, name: &str) -> Result<Self> {
        const OP: &str = "SYNC_IOC_MERGE";
        const MERGE: Opcode = opcode::read_write::<Merge>(b'>', 3);
        let mut merge = Merge { name: bytes(name), fd2: other.fd.as_raw_fd(), fence: -1, flags: 0, pad: 0 };
        let merged = again(|| {
            // SAFETY: SYNC_IOC_MERGE is _IOWR('>', 3, struct sync_merge_data), which `Merge` is.
            let request = unsafe { Updater::<MERGE, Merge>::new(&mut merge) };
            // SAFETY: the structure lives until the call returns, and has no pointers in it.
            unsafe { ioctl(&self.fd, request) }
        });
        ledger::step(OP, None, self);
        merged.map_err(|error| self.error(OP, error))?;
        if merge.fence < 0 {
            return Err(Error::answer(OP, self.label.clone(), format!("fd {}; an open file was due", merge.fence)));
        }
        // SAFETY: the call succeeded, so this is an fd that the kernel just made and that nobody else owns.
        Self::from_fd(unsafe { OwnedFd::from_raw_fd(merge.fence) })
    }

    /// Whether it has signalled, with or without an error.
    ///
    /// # Errors
    /// The kernel refuses `poll`.
    pub fn is_signalled(&self) -> Result<bool> {
        self.signals_within(Duration::ZERO)
    }

    /// Whether it signals before `patience` is over.
    ///
    /// # Errors
    /// As [`Self::is_signalled`].
    pub fn signals_within(&self, patience: Duration) -> Result<bool> {
        wait::readable(&self.fd, Instant::now() + patience).map_err(|errno| self.error("poll", errno))
    }

    /// Waits until it has signalled.
    ///
    /// # Errors
    /// It has not within `patience`, and which fence that is; or the kernel refuses `poll`.
    pub fn wait(&self, patience: Duration) -> Result<()> {
        if self.signals_within(patience)? {
            return Ok(());
        }
        Err(Error::deadline("waiting for a fence", self.label.clone(), patience))
    }

    /// Another fd of the same file.
    ///
    /// # Errors
    /// The process has no fd left.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|error| Error::new("dup", self.label.clone(), error))?;
        let fd = Fd::of(Kind::Fence, fd).map_err(|errno| self.error("fstat", errno))?;
        Ok(Self { fd, label: self.label.clone() })
    }

    /// Whether its number still stands for a file such as it was; another fence in its place is not told from it.
    pub fn stands(&self) -> bool {
        self.fd.stands()
    }

    /// A driver took it in the call `by`, and closes it when it likes.
    pub(crate) fn give(self, by: &'static str) -> Option<Given> {
        self.fd.give(by)
    }

    fn error(&self, op: &'static str, cause: impl Into<Cause>) -> Error {
        Error::new(op, self.to_string(), cause)
    }
}

impl AsFd for SyncFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for SyncFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.label.is_empty() { write!(f, "fd {}", self.fd.as_raw_fd()) } else { f.write_str(&self.label) }
    }
}

/// A fence whose end we choose. It signals when it is dropped, so that nobody waits for ever: one of `sw_sync` with an
/// error, one of vgem, which can't do that, without.
pub struct PendingFence {
    /// The fence.
    pub file: SyncFile,
    signal: Box<dyn FnOnce() -> Result<()> + Send>,
}

impl PendingFence {
    /// `file`, which `signal` signals. What `signal` holds on to keeps the fence from signalling by itself.
    pub fn new(file: SyncFile, signal: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        Self { file, signal: Box::new(signal) }
    }

    /// A fence of a software timeline of its own.
    ///
    /// # Errors
    /// As [`Timeline::open`].
    pub fn sw_sync() -> Result<Self> {
        let timeline = Timeline::open()?;
        let file = timeline.fence(1)?;
        Ok(Self::new(file, move || timeline.advance(1)))
    }

    /// What signals it, to be called where the work under the fence ends.
    pub fn into_signal(self) -> Box<dyn FnOnce() -> Result<()> + Send> {
        self.signal
    }

    /// Signals it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(self) -> Result<()> {
        (self.signal)()
    }
}

impl fmt::Debug for PendingFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingFence({})", self.file)
    }
}

/// More fences than a file has: merged ones keep one of each timeline, and a device has a few for each of its queues. The
/// kernel refuses to tell only some of them (`sync_file_ioctl_fence_info`).
const MOST_FENCES: u32 = 4096;

/// Length of every name in these structures.
const NAME: usize = 32;

/// `struct sync_file_info`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FileInfo {
    name: [u8; NAME],
    status: i32,
    flags: u32,
    num_fences: u32,
    pad: u32,
    fences: u64,
}

/// `struct sync_fence_info`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawFence {
    timeline: [u8; NAME],
    driver: [u8; NAME],
    status: i32,
    flags: u32,
    timestamp_ns: u64,
}

/// `struct sync_merge_data`.
#[repr(C)]
struct Merge {
    name: [u8; NAME],
    fd2: RawFd,
    fence: RawFd,
    flags: u32,
    pad: u32,
}

/// 0 is pending, 1 signalled, a negative number an error.
fn state(status: i32) -> State {
    match status {
        0 => State::Pending,
        ..0 => State::Failed(Errno::from_raw_os_error(-status)),
        _ => State::Signalled,
    }
}

/// A name up to its first zero.
fn text(bytes: &[u8; NAME]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// `name`, cut so that a zero follows it.
fn bytes(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    let length = name.len().min(NAME - 1);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_named_by_driver_and_timeline_or_as_not_told() {
        let mut fence = FenceInfo {
            driver: "sw_sync".into(),
            timeline: "handover".into(),
            state: State::Pending,
            signalled_at: None,
        };
        assert_eq!(fence.label(), "driver sw_sync, timeline handover");
        fence.driver.clear();
        assert_eq!(fence.label(), "driver not told, timeline handover");
    }

    #[test]
    fn names_are_cut_and_end_at_their_zero() {
        let long = "a name of many more letters than fit";
        assert_eq!(text(&bytes(long)), long[..31]);
        assert_eq!(text(&bytes("short")), "short");
        // A driver may forget the zero.
        assert_eq!(text(&[b'x'; NAME]).len(), NAME);
    }

    #[test]
    fn a_status_is_pending_signalled_or_an_error() {
        assert_eq!(state(0), State::Pending);
        assert_eq!(state(1), State::Signalled);
        assert_eq!(state(-2), State::Failed(Errno::NOENT));
        assert_eq!(state(-2).to_string(), "signalled with errno 2");
    }

    #[test]
    fn what_is_no_sync_file_is_refused() {
        let memfd = rustix::fs::memfd_create("fence", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        let error = SyncFile::from_fd(memfd).expect_err("a memfd is no sync file").to_string();
        assert!(error.starts_with("SYNC_IOC_FILE_INFO on fd "), "{error}");
    }

    #[test]
    fn layouts_are_those_of_the_kernel() {
        assert_eq!((size_of::<FileInfo>(), size_of::<RawFence>(), size_of::<Merge>()), (56, 80, 48));
    }
}
