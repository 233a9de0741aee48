//! Calls on a queue that must be refused: numbers that are no dma-bufs, slots that there are not.
//!
//! Source: `VIDIOC_QBUF`, `VIDIOC_EXPBUF` and `VIDIOC_REQBUFS` in the kernel's V4L2 documentation, and videobuf2's
//! core.

use std::os::fd::{AsFd, RawFd};

use super::uapi::{self, Buffer, ExportBuffer, RequestBuffers};
use super::{Queue, ioctl};
use crate::dmabuf::Dmabuf;
use crate::error::{Error, Result};

impl Queue {
    /// Gives the number `fd` in slot `index`, as if it were a dma-buf of `length` bytes.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn give_number(&self, index: u32, fd: RawFd, length: u32) -> Result<()> {
        let place = uapi::Place::fd(fd);
        let mut plane = uapi::Plane { bytesused: length, length, place, ..Default::default() };
        let mut buffer = Buffer {
            index,
            buf_type: self.buf_type(),
            bytesused: length,
            field: uapi::FIELD_NONE,
            memory: uapi::MEMORY_DMABUF,
            place,
            length,
            ..Default::default()
        };
        let given = match self.is_multi_planar() {
            true => ioctl::QBUF.ask_planes(self.device(), &mut buffer, std::slice::from_mut(&mut plane)),
            false => ioctl::QBUF.ask(self.device(), &mut buffer),
        };
        let object = format!("{self}, slot {index}, fd {fd}, {length} B");
        given.map_err(|errno| super::gone(Error::new(ioctl::QBUF.name, object, errno)))
    }

    /// Has the driver export plane `plane` of slot `index` with `flags`, whatever they are.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn export_as(&self, index: u32, plane: u32, flags: u32) -> Result<Dmabuf> {
        let mut request = ExportBuffer { buf_type: self.buf_type(), index, plane, flags, ..Default::default() };
        let fd = ioctl::export(self.device().as_fd(), &mut request).map_err(|errno| {
            Error::new("VIDIOC_EXPBUF", format!("{self}, slot {index}, plane {plane}, flags {flags:#x}"), errno)
        })?;
        Dmabuf::from_fd(fd)
    }

    /// Asks for one slot of memory of the number `memory`, whatever it is.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn request_number(&self, memory: u32) -> Result<()> {
        let mut request = RequestBuffers { count: 1, buf_type: self.buf_type(), memory, ..Default::default() };
        let refused = |errno| Error::new(ioctl::REQBUFS.name, format!("{self}, memory {memory}"), errno);
        ioctl::REQBUFS.ask(self.device(), &mut request).map_err(refused)
    }
}
