//! A buffer that can change hands: an fd, its size in bytes, and where the frame lies in it.

use std::os::fd::OwnedFd;

use crate::frame::Frame;

/// A dma-buf.
#[derive(Debug)]
pub struct Dmabuf {
    /// The file.
    pub fd: OwnedFd,
    /// Size in bytes, as the kernel says (`lseek` to the end).
    pub size: u64,
}

/// A frame in a dma-buf: what an exporter hands out and an importer takes in.
#[derive(Debug)]
pub struct SharedFrame {
    /// The buffer.
    pub dmabuf: Dmabuf,
    /// Where the pixels lie in it.
    pub frame: Frame,
}
