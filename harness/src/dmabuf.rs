//! A buffer that can change hands: is this fd a dma-buf, which one, and what do its bytes say to a CPU.
//!
//! The CPU reader is one of the harness's independent readers: it maps the dma-buf itself, brackets each access with
//! `DMA_BUF_IOCTL_SYNC` and addresses the pixels by the frame's description, so it shares nothing with the driver that
//! drew. It allocates nothing and waits for no fence: `DMA_BUF_IOCTL_SYNC` orders caches and, where the exporter does
//! so, waits for the implicit fences; a case that needs an explicit fence waits for it first.
//!
//! Source: `Documentation/driver-api/dma-buf.rst` and `include/uapi/linux/dma-buf.h` of the kernel.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::Modifier;
use crate::frame::{Frame, Framed, Rows, Size};
use crate::ledger::Fd;
use crate::observed::Observed;
use crate::picture::Picture;

mod edge;
mod fdinfo;
mod guards;
mod mapping;
mod misuse;
pub(crate) mod scratch;
mod split;

pub use edge::Edge;
pub use fdinfo::Fdinfo;
pub use guards::{Damage, Region};
pub use mapping::{Mapping, OpenAccess, Window};
pub use misuse::Misuse;
pub use split::{SharedPlanes, SplitFrame};

/// A dma-buf.
#[derive(Debug)]
pub struct Dmabuf {
    /// The file.
    pub fd: Fd,
    /// Size in bytes, as the kernel says (`lseek` to the end).
    pub size: u64,
    /// Whether the fd was closed on exec when it came.
    closed_on_exec: bool,
    /// Asked for once: it never changes.
    identity: OnceLock<Identity>,
}

/// How an fd may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// `O_RDONLY`.
    ReadOnly,
    /// `O_WRONLY`.
    WriteOnly,
    /// `O_RDWR`.
    ReadWrite,
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ReadOnly => "O_RDONLY",
            Self::WriteOnly => "O_WRONLY",
            Self::ReadWrite => "O_RDWR",
        })
    }
}

/// Which dma-buf this is; two fds with the same inode are the same buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Inode in the kernel's dma-buf file system.
    pub inode: u64,
    /// Who exported it, as `/proc/self/fdinfo` says (`exp_name`); absent where procfs does not tell.
    pub exporter: Option<String>,
    /// Size in bytes.
    pub size: u64,
}

impl Dmabuf {
    /// Takes `fd` if it is a dma-buf.
    ///
    /// # Errors
    /// The fd is something else (the error names it, for example `/memfd:buffer (deleted)`), or its size can't be
    /// asked.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        const OP: &str = "checking that an fd is a dma-buf";
        let status = rustix::fs::fstatfs(&fd).map_err(|errno| Error::new("fstatfs", describe(fd.as_fd()), errno))?;
        if i128::from(status.f_type) != i128::from(DMA_BUF_MAGIC) {
            let why = format!("it is `{}`, not a dma-buf", link(fd.as_fd()));
            return Err(Error::answer(OP, describe(fd.as_fd()), why));
        }
        let size = rustix::fs::seek(&fd, rustix::fs::SeekFrom::End(0))
            .map_err(|errno| Error::new("lseek(SEEK_END)", describe(fd.as_fd()), errno))?;
        let fd = Fd::new(fd).map_err(|errno| Error::new("fstat", format!("dma-buf ({size} B)"), errno))?;
        let failed = |op, errno| Error::new(op, format!("dma-buf ({size} B)"), errno);
        let flags = rustix::io::fcntl_getfd(&fd).map_err(|errno| failed("fcntl(F_GETFD)", errno))?;
        let closed_on_exec = flags.contains(FdFlags::CLOEXEC);
        if !closed_on_exec {
            // Else the next process that we start keeps the buffer for as long as it runs.
            rustix::io::fcntl_setfd(&fd, flags | FdFlags::CLOEXEC).map_err(|errno| failed("fcntl(F_SETFD)", errno))?;
        }
        Ok(Self { fd, size, closed_on_exec, identity: OnceLock::new() })
    }

    /// Inode in the kernel's dma-buf file system: what tells one buffer from another.
    pub fn inode(&self) -> u64 {
        self.fd.inode()
    }

    /// Which buffer this is.
    ///
    /// # Errors
    /// None any more; callers treat it as they treat what the kernel may refuse.
    pub fn identity(&self) -> Result<Identity> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity.clone());
        }
        let identity = Identity { inode: self.inode(), exporter: exporter(self.fd.as_fd()), size: self.size };
        // What procfs did not tell it may tell when there are files left to be opened.
        match identity.exporter {
            Some(_) => Ok(self.identity.get_or_init(|| identity).clone()),
            None => Ok(identity),
        }
    }

    /// What procfs tells of its fd.
    ///
    /// # Errors
    /// procfs is not mounted, or does not tell.
    pub fn fdinfo(&self) -> Observed<Fdinfo> {
        Fdinfo::of(self.fd.as_fd())
    }

    /// Whether its fd would have been closed when this process becomes another program, as it came from whoever made it. It
    /// is closed then in any case, since the harness sees to that.
    pub fn came_close_on_exec(&self) -> bool {
        self.closed_on_exec
    }

    /// Whether the fd is still open, and still this buffer: nobody to whom it was only lent has closed it.
    pub fn is_open(&self) -> bool {
        self.fd.stands()
    }

    /// How the fd may be used.
    ///
    /// # Errors
    /// The kernel refuses `fcntl`.
    pub fn access_mode(&self) -> Result<AccessMode> {
        let flags =
            rustix::fs::fcntl_getfl(&self.fd).map_err(|errno| Error::new("fcntl(F_GETFL)", self.to_string(), errno))?;
        Ok(match flags & rustix::fs::OFlags::ACCMODE {
            mode if mode == rustix::fs::OFlags::RDWR => AccessMode::ReadWrite,
            mode if mode == rustix::fs::OFlags::WRONLY => AccessMode::WriteOnly,
            _ => AccessMode::ReadOnly,
        })
    }

    /// Its length in bytes, by `lseek` to its end and back.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn length(&self) -> Result<u64> {
        let to = |to| rustix::fs::seek(&self.fd, to).map_err(|errno| Error::new("lseek", self.to_string(), errno));
        let length = to(rustix::fs::SeekFrom::End(0))?;
        to(rustix::fs::SeekFrom::Start(0))?;
        Ok(length)
    }

    /// Another fd of the same buffer.
    ///
    /// # Errors
    /// The process has no fd left.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.duplicate().map_err(|error| Error::new("dup", self.to_string(), error))?;
        Ok(Self { fd, size: self.size, closed_on_exec: true, identity: self.identity.clone() })
    }

    /// Maps the whole buffer for the CPU. The mapping holds an fd of its own and outlives `self`.
    ///
    /// # Errors
    /// The exporter refuses `mmap`, or the process has no fd left.
    pub fn map(&self) -> Result<Mapping> {
        Mapping::new(self.try_clone()?)
    }
}

impl fmt::Display for Dmabuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identity().ok().and_then(|identity| identity.exporter) {
            Some(exporter) => write!(f, "dma-buf ({exporter}, {} B)", self.size),
            None => write!(f, "dma-buf ({} B)", self.size),
        }
    }
}

/// Size of a page in bytes: what memory comes in.
pub fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// `DMA_BUF_MAGIC` of `include/uapi/linux/magic.h`, what `fstatfs` says of every dma-buf.
const DMA_BUF_MAGIC: u32 = 0x444d_4142;

/// `fd 7 (/memfd:buffer (deleted))`.
fn describe(fd: BorrowedFd<'_>) -> String {
    format!("fd {} ({})", fd.as_raw_fd(), link(fd))
}

/// What procfs says the fd refers to.
fn link(fd: BorrowedFd<'_>) -> String {
    match std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
        Ok(target) => target.display().to_string(),
        Err(error) => format!("unknown: /proc/self/fd says {error}"),
    }
}

/// Who exported it, where procfs tells.
fn exporter(fd: BorrowedFd<'_>) -> Option<String> {
    Fdinfo::of(fd).ok().map(|fdinfo| fdinfo.exporter)
}

/// A frame in a dma-buf: what an exporter hands out and an importer takes in.
#[derive(Debug)]
pub struct SharedFrame {
    /// The buffer.
    pub dmabuf: Dmabuf,
    /// Where the pixels lie in it.
    pub frame: Frame,
}

impl SharedFrame {
    /// Checks that the frame lies in the dma-buf, as far as anybody but its exporter can know: LINEAR ones of known formats.
    ///
    /// # Errors
    /// It does not, or contradicts itself.
    pub fn check(&self) -> Result<()> {
        let Frame { fourcc, modifier, .. } = self.frame;
        if modifier != Modifier::LINEAR || fourcc.planes().is_none() {
            return Ok(());
        }
        let (end, size) = (self.frame.end()?, self.dmabuf.size);
        if end > size {
            let why = format!("the frame ends at byte {end}, the buffer has {size} bytes");
            return Err(Error::input("sharing a frame", self.to_string(), why));
        }
        Ok(())
    }

    /// The pixels as the CPU reads them from a fresh mapping.
    ///
    /// # Errors
    /// The frame can't be addressed by byte or does not fit the buffer; the exporter refuses `mmap` or
    /// `DMA_BUF_IOCTL_SYNC`.
    pub fn read_back(&self) -> Result<Picture> {
        let rows = self.frame.rows()?;
        let runs = rows.iter().flat_map(|rows| (0..rows.count).map(|y| (rows.offset + y * rows.pitch, rows.row)));
        let bytes = Mapping::of_first(&self.dmabuf, end(&rows))?.gather(runs)?;
        Ok(Picture { size: self.frame.size, fourcc: self.frame.fourcc, bytes })
    }

    /// Writes `picture` as the CPU, row by row; no byte outside the frame's pixels is touched.
    ///
    /// # Errors
    /// As [`Self::read_back`]; also if size or format of the picture are not the frame's.
    pub fn write(&self, picture: &Picture) -> Result<()> {
        let placed = picture.rows_in(&self.frame)?;
        Mapping::of_first(&self.dmabuf, end(&self.frame.rows()?))?.write_all(placed)
    }
}

/// The end of the last of `rows`, in bytes from the start of the buffer.
fn end(rows: &[Rows]) -> u64 {
    rows.iter().map(|rows| rows.end).max().unwrap_or(0)
}

impl Framed for SharedFrame {
    fn size(&self) -> Size {
        self.frame.size
    }
}

impl fmt::Display for SharedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.frame, self.dmabuf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memfd_is_refused_by_name() {
        let memfd = rustix::fs::memfd_create("buffer", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        let error = Dmabuf::from_fd(memfd).expect_err("a memfd is no dma-buf").to_string();
        assert!(error.contains("/memfd:buffer"), "{error}");
        assert!(error.contains("not a dma-buf"), "{error}");
    }
}
