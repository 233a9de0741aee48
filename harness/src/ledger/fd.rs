//! An fd of a buffer or a fence, whose number nobody gets again while the case runs.

use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::fs::fstat;

use super::canaries::{Given, given};
use super::{Kind, Node, closes, hand_over, retire};

/// An fd that is closed with a canary in its place: see [`super`].
///
/// When it is closed it must still stand for the file that it stood for at first: somebody else who closed it, such as
/// a driver that was only lent it, may have closed another's by now.
#[derive(Debug)]
pub struct Fd {
    /// None only in the moment in which it is given up.
    fd: Option<OwnedFd>,
    node: Node,
    kind: Kind,
    /// Whether it is closed with a canary in its place.
    guarded: bool,
}

impl Fd {
    /// `fd` of a dma-buf, and the file that it stands for.
    ///
    /// # Errors
    /// The kernel refuses `fstat`.
    pub(crate) fn new(fd: OwnedFd) -> rustix::io::Result<Self> {
        Self::of(Kind::Buffer, fd)
    }

    /// `fd` of a file of this kind.
    ///
    /// # Errors
    /// The kernel refuses `fstat`.
    pub(crate) fn of(kind: Kind, fd: OwnedFd) -> rustix::io::Result<Self> {
        let node = Node::of(&fstat(&fd)?);
        Ok(Self { fd: Some(fd), node, kind, guarded: true })
    }

    /// A duplicate that is closed like any other: for our own use, which no driver learns of. It spares three calls.
    pub(crate) fn duplicate(&self) -> std::io::Result<Self> {
        Ok(Self { fd: Some(self.try_clone()?), node: self.node, kind: self.kind, guarded: false })
    }

    /// Inode of the file.
    pub(crate) fn inode(&self) -> u64 {
        self.node.inode
    }

    /// Whether it still stands for the file that it stood for at first.
    pub(crate) fn stands(&self) -> bool {
        fstat(&**self).is_ok_and(|status| Node::of(&status) == self.node)
    }

    /// A driver took it in the call `by`, and closes it when it likes.
    pub(crate) fn give(self, by: &'static str) -> Option<Given> {
        let (kind, node) = (self.kind, self.node);
        given(self.into_plain().into_raw_fd(), kind, node, by)
    }

    /// The plain fd, for those who give it away or close it themselves.
    pub fn into_plain(mut self) -> OwnedFd {
        let fd = self.fd.take().expect("it is taken here and in drop alone");
        hand_over(fd.as_raw_fd());
        fd
    }
}

impl Deref for Fd {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        self.fd.as_ref().expect("it is taken in drop and `into_plain` alone")
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        match self.fd.take() {
            Some(fd) if self.guarded => retire(fd, self.kind, self.node),
            Some(fd) => closes(fd.as_raw_fd()),
            None => {}
        }
    }
}
