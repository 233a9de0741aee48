//! Files that are no dma-bufs, and numbers that are no files: what a confused program hands to a driver in place of a
//! buffer.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{Error, Result};
use crate::ledger::{Fd, Kind};
use crate::procfs;

/// What is handed over instead of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// The reading end of a pipe.
    Pipe,
    /// A memory file, which has bytes and is no dma-buf.
    Memfd,
    /// A file of a file system: this program.
    RegularFile,
    /// A directory.
    Directory,
    /// An eventfd.
    Eventfd,
    /// One end of a socket.
    Socket,
    /// A node of a device that makes dma-bufs: `/dev/udmabuf`.
    DeviceNode,
    /// A number that was an fd, and is closed.
    Closed,
    /// -1.
    MinusOne,
    /// A number beyond any limit.
    Huge,
}

/// A stray, open for as long as this lives.
#[derive(Debug)]
pub struct Open {
    number: RawFd,
    _files: Vec<Fd>,
}

impl Stray {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Pipe,
        Self::Memfd,
        Self::RegularFile,
        Self::Directory,
        Self::Eventfd,
        Self::Socket,
        Self::DeviceNode,
        Self::Closed,
        Self::MinusOne,
        Self::Huge,
    ];

    /// As it stands in names of cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pipe => "a_pipe",
            Self::Memfd => "a_memfd",
            Self::RegularFile => "a_regular_file",
            Self::Directory => "a_directory",
            Self::Eventfd => "an_eventfd",
            Self::Socket => "a_socket",
            Self::DeviceNode => "a_device_node",
            Self::Closed => "a_closed_fd",
            Self::MinusOne => "minus_one",
            Self::Huge => "a_number_beyond_any_limit",
        }
    }

    /// Whether there is a file at all: `EBADF` is for those who hand over none.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Closed | Self::MinusOne | Self::Huge)
    }

    /// Opens it.
    ///
    /// # Errors
    /// The process has no fd left.
    pub fn open(self) -> Result<Open> {
        let failed = |errno| Error::new("opening a file that is no dma-buf", self.as_str(), errno);
        let node = |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(failed);
        let files = match self {
            Self::Pipe => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
                vec![read, write]
            }
            Self::Memfd => {
                let memfd = memfd_create("stray", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(failed)?;
                rustix::fs::ftruncate(&memfd, 1 << 20).map_err(failed)?;
                vec![memfd]
            }
            Self::RegularFile => {
                let program = procfs::this_program().and_then(File::open);
                vec![program.map_err(|error| Error::new("open", "this program", error))?.into()]
            }
            Self::Directory => vec![node("/", OFlags::RDONLY | OFlags::DIRECTORY)?],
            Self::Eventfd => vec![eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?],
            Self::Socket => {
                let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
                let (one, other) = pair.map_err(failed)?;
                vec![one, other]
            }
            Self::DeviceNode => vec![node("/dev/udmabuf", OFlags::RDWR)?],
            Self::Closed => {
                let eventfd = eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?;
                // High above what others open meanwhile.
                let number = rustix::io::fcntl_dupfd_cloexec(&eventfd, 900).map_err(failed)?.as_raw_fd();
                return Ok(Open { number, _files: Vec::new() });
            }
            Self::MinusOne => return Ok(Open { number: -1, _files: Vec::new() }),
            Self::Huge => return Ok(Open { number: RawFd::MAX, _files: Vec::new() }),
        };
        let number = files.first().map_or(-1, AsRawFd::as_raw_fd);
        let files = files.into_iter().map(|file| Fd::of(Kind::Stray, file).map_err(failed)).collect::<Result<_>>()?;
        Ok(Open { number, _files: files })
    }
}

impl Open {
    /// Its number, for those calls that take any.
    pub fn number(&self) -> RawFd {
        self.number
    }
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dmabuf::Dmabuf;

    #[test]
    fn no_stray_is_a_dma_buf() {
        // A machine without udmabuf has no such node.
        for stray in Stray::ALL.into_iter().filter(|stray| *stray != Stray::DeviceNode) {
            let open = stray.open().expect("fds");
            assert_eq!(
                stray.is_open(),
                std::fs::metadata(format!("/proc/self/fd/{}", open.number())).is_ok(),
                "{stray}"
            );
            for file in open._files {
                assert!(Dmabuf::from_fd(file.into_plain()).is_err(), "{stray}");
            }
        }
    }
}
