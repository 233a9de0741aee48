//! The fences that a dma-buf has of its own, which whoever knows nothing of the others waits for.
//!
//! Each is there for reading or for writing: a reader must wait for the writers, a writer for everybody.
//!
//! Source: `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`, `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` and "Implicit Fence Poll Support" in the
//! kernel's documentation of dma-bufs.
#![expect(unsafe_code, reason = "the two ioctls, one of which makes an fd")]

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

use super::SyncFile;
use crate::dmabuf::Dmabuf;
use crate::error::{Error, Result};
use crate::ledger;
use crate::restart::again;
use crate::wait;

/// What somebody does with a buffer under a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Looking.
    Read,
    /// Drawing.
    Write,
    /// Both, which is to the kernel what drawing is.
    Both,
}

impl Use {
    /// `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_WRITE`.
    fn flags(self) -> u32 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Both => 3,
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Both => "read and write",
        })
    }
}

/// Who may go on, as `poll` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// No writer is under way (`POLLIN`).
    pub to_read: bool,
    /// Nobody is under way (`POLLOUT`).
    pub to_write: bool,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |ready| if ready { "ready" } else { "busy" };
        write!(f, "readers {}, writers {}", word(self.to_read), word(self.to_write))
    }
}

/// `struct dma_buf_export_sync_file` and `struct dma_buf_import_sync_file`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Exchange {
    flags: u32,
    fd: RawFd,
}

impl Dmabuf {
    /// What somebody has to wait for who is about to `what`: a snapshot of the buffer's fences.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn export_sync_file(&self, what: Use) -> Result<SyncFile> {
        const OP: &str = "DMA_BUF_IOCTL_EXPORT_SYNC_FILE";
        const EXPORT: Opcode = opcode::read_write::<Exchange>(b'b', 2);
        let object = || format!("{self}, to {what}");
        let mut exchange = Exchange { flags: what.flags(), fd: -1 };
        let exported = again(|| {
            // SAFETY: the call is _IOWR('b', 2, struct dma_buf_export_sync_file), which `Exchange` is.
            let request = unsafe { Updater::<EXPORT, Exchange>::new(&mut exchange) };
            // SAFETY: the structure lives until the call returns, and has no pointers in it.
            unsafe { ioctl(&self.fd, request) }
        });
        ledger::step(OP, Some(self.inode()), what);
        exported.map_err(|error| Error::new(OP, object(), error))?;
        if exchange.fd < 0 {
            return Err(Error::answer(OP, object(), format!("fd {}; an open file was due", exchange.fd)));
        }
        // SAFETY: the call succeeded, so this is an fd that the kernel just made and that nobody else owns.
        SyncFile::from_fd(unsafe { OwnedFd::from_raw_fd(exchange.fd) })
    }

    /// Adds the fences of `file`: somebody is under way, to `what`, until they signal.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn import_sync_file(&self, what: Use, file: &SyncFile) -> Result<()> {
        const OP: &str = "DMA_BUF_IOCTL_IMPORT_SYNC_FILE";
        const IMPORT: Opcode = opcode::write::<Exchange>(b'b', 3);
        let exchange = Exchange { flags: what.flags(), fd: file.as_fd().as_raw_fd() };
        let imported = again(|| {
            // SAFETY: the call is _IOW('b', 3, struct dma_buf_import_sync_file), which `Exchange` is.
            let request = unsafe { Setter::<IMPORT, Exchange>::new(exchange) };
            // SAFETY: the request only reads its argument; the fd in it is open meanwhile and stays ours.
            unsafe { ioctl(&self.fd, request) }
        });
        ledger::step(OP, Some(self.inode()), file);
        imported.map_err(|error| Error::new(OP, format!("{self}, {file}"), error))
    }

    /// Who may go on now, as `poll` says.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn ready(&self) -> Result<Ready> {
        let events = self.poll(PollFlags::IN | PollFlags::OUT, Duration::ZERO)?;
        Ok(Ready { to_read: events.contains(PollFlags::IN), to_write: events.contains(PollFlags::OUT) })
    }

    /// Whether one may go on who is about to `what`, before `patience` is over.
    ///
    /// # Errors
    /// The kernel refuses `poll`.
    pub fn is_ready_within(&self, what: Use, patience: Duration) -> Result<bool> {
        let events = if what == Use::Read { PollFlags::IN } else { PollFlags::OUT };
        Ok(self.poll(events, patience)?.intersects(events))
    }

    /// Waits in `poll` until one may go on who is about to `what`.
    ///
    /// # Errors
    /// That is not before `patience` is over, and for which fences; or the kernel refuses `poll`.
    pub fn wait(&self, what: Use, patience: Duration) -> Result<()> {
        match self.is_ready_within(what, patience)? {
            true => Ok(()),
            false => Err(Error::deadline("poll", self.with_fences(what), patience)),
        }
    }

    /// Whom somebody has to wait for who is about to `what`, in words; `None` if that is nobody, or can't be said.
    ///
    /// For the texts of waits that have no end of their own: it is asked when they begin, or when they are over in vain.
    pub fn under_way(&self, what: Use) -> Option<String> {
        let file = self.export_sync_file(what).ok()?;
        (!file.is_signalled().ok()?).then(|| file.to_string())
    }

    /// It in words, with [whom](Self::under_way) somebody has to wait for.
    pub fn with_fences(&self, what: Use) -> String {
        match self.under_way(what) {
            Some(fences) => format!("{self}, where {fences} is pending"),
            None => self.to_string(),
        }
    }

    fn poll(&self, events: PollFlags, patience: Duration) -> Result<PollFlags> {
        let polled = wait::events(&self.fd, events, Instant::now() + patience);
        polled.map_err(|errno| Error::new("poll", self.to_string(), errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_the_kernels_flags() {
        assert_eq!([Use::Read, Use::Write, Use::Both].map(Use::flags), [1, 2, 3]);
    }
}
