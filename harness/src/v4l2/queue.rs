//! One queue of buffers of a V4L2 device: its format, its buffers, and what goes in and comes out.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::pix::{contradiction, mplane, planes, single};
use super::uapi::{self, Buffer, CreateBuffers, ExportBuffer, FmtDesc, Format, FormatMplane, Pix, PixMplane};
use super::{Device, PixelFormat, PlaneFormat, QueueFormat, ioctl};
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::frame::{Frame, Size};
use crate::{ledger, wait};

/// Which way pixels go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device writes buffers.
    Capture,
    /// The device reads buffers.
    Output,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Capture => "capture",
            Self::Output => "output",
        })
    }
}

/// Whose memory the buffers of a queue are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The device's own (`V4L2_MEMORY_MMAP`), which it can export.
    Own,
    /// dma-bufs of somebody else (`V4L2_MEMORY_DMABUF`).
    Dmabuf,
}

impl Memory {
    fn code(self) -> u32 {
        match self {
            Self::Own => uapi::MEMORY_MMAP,
            Self::Dmabuf => uapi::MEMORY_DMABUF,
        }
    }
}

/// A buffer that the device is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which slot.
    pub index: u32,
    /// Bytes in it; those of the first memory plane, if it has several.
    pub bytes: u32,
    /// Where the picture begins in each memory plane, in bytes (`data_offset`); nothing on a single-planar queue.
    pub offsets: Vec<u32>,
    /// Which frame of the device, counted from 0 since the queue started.
    pub sequence: u32,
}

/// Where one memory plane of a frame lies: a buffer, and the byte of it with which the plane begins.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPlane<'b> {
    /// The buffer.
    pub dmabuf: &'b Dmabuf,
    /// First byte of the plane.
    pub offset: u64,
}

/// A queue of an open device; stopped, and its buffers freed, when dropped. Two queues of one device share its node.
#[derive(Debug)]
pub struct Queue {
    device: Arc<Device>,
    direction: Direction,
    buf_type: u32,
    /// What the driver said last that its buffers hold.
    format: QueueFormat,
    /// The buffers, while there are any.
    buffers: Option<(Memory, u32)>,
    streaming: bool,
    /// The buffers that the device has.
    given: Mutex<BTreeSet<u32>>,
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.direction)
    }
}

impl Queue {
    /// The queue of `device` in `direction`, as it is.
    ///
    /// # Errors
    /// The node has no such queue, or the driver refuses.
    pub fn open(device: &Arc<Device>, direction: Direction) -> Result<Self> {
        let object = || format!("{device} {direction}");
        let has = |caps: u32| device.caps & caps != 0;
        let (single, multi, single_type, multi_type) = match direction {
            Direction::Capture => (
                uapi::CAP_VIDEO_CAPTURE | uapi::CAP_VIDEO_M2M,
                uapi::CAP_VIDEO_CAPTURE_MPLANE | uapi::CAP_VIDEO_M2M_MPLANE,
                uapi::BUF_TYPE_VIDEO_CAPTURE,
                uapi::BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            ),
            Direction::Output => (
                uapi::CAP_VIDEO_OUTPUT | uapi::CAP_VIDEO_M2M,
                uapi::CAP_VIDEO_OUTPUT_MPLANE | uapi::CAP_VIDEO_M2M_MPLANE,
                uapi::BUF_TYPE_VIDEO_OUTPUT,
                uapi::BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            ),
        };
        let buf_type = match (has(single), has(multi)) {
            (true, _) => single_type,
            (false, true) => multi_type,
            (false, false) => {
                return Err(Error::missing("opening a queue", object(), "the node has no such video queue"));
            }
        };
        if !has(uapi::CAP_STREAMING) {
            return Err(Error::missing("opening a queue", object(), "the node has no streaming I/O"));
        }
        let format = QueueFormat::new(PixelFormat(0), Size { width: 0, height: 0 }, 0);
        let mut queue = Self {
            device: Arc::clone(device),
            direction,
            buf_type,
            format,
            buffers: None,
            streaming: false,
            given: Mutex::default(),
        };
        queue.format = queue.negotiate(None, false)?;
        Ok(queue)
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// What the buffers hold.
    pub fn format(&self) -> &QueueFormat {
        &self.format
    }

    /// Whether a buffer can have several memory planes, and a picture an offset in them.
    pub fn is_multi_planar(&self) -> bool {
        matches!(self.buf_type, uapi::BUF_TYPE_VIDEO_CAPTURE_MPLANE | uapi::BUF_TYPE_VIDEO_OUTPUT_MPLANE)
    }

    /// The pixel formats that the driver lists.
    ///
    /// # Errors
    /// The list has no end, or not the documented one.
    pub fn pixel_formats(&self) -> Result<Vec<PixelFormat>> {
        Ok(self.listed()?.iter().map(|desc| PixelFormat(desc.pixelformat)).collect())
    }

    /// Those of them that are streams of bytes, and no pictures (`V4L2_FMT_FLAG_COMPRESSED`).
    ///
    /// # Errors
    /// As [`Self::pixel_formats`].
    pub fn stream_formats(&self) -> Result<Vec<PixelFormat>> {
        let streams = self.listed()?.into_iter().filter(|desc| desc.flags & uapi::FMT_FLAG_COMPRESSED != 0);
        Ok(streams.map(|desc| PixelFormat(desc.pixelformat)).collect())
    }

    fn listed(&self) -> Result<Vec<FmtDesc>> {
        let mut formats = Vec::new();
        for index in 0..FORMATS_MAX {
            let mut desc = FmtDesc { index, buf_type: self.buf_type, ..FmtDesc::default() };
            match ioctl::ENUM_FMT.ask(&self.device, &mut desc) {
                Ok(()) => formats.push(desc),
                Err(Errno::INVAL) => return Ok(formats),
                Err(errno) => return Err(self.error(ioctl::ENUM_FMT.name, format_args!("format {index}"), errno)),
            }
        }
        let why = format!("still no end after {FORMATS_MAX} formats; EINVAL would end the list");
        Err(Error::answer(ioctl::ENUM_FMT.name, self.to_string(), why))
    }

    /// What the driver would make of `wanted`; nothing changes.
    ///
    /// # Errors
    /// The driver refuses instead of proposing something else.
    pub fn try_format(&self, wanted: &QueueFormat) -> Result<QueueFormat> {
        self.negotiate(Some(wanted), false)
    }

    /// Sets the format as near to `wanted` as the driver comes; [`Self::format`] says how near.
    ///
    /// # Errors
    /// The driver refuses: `EBUSY` while there are buffers.
    pub fn set_format(&mut self, wanted: &QueueFormat) -> Result<&QueueFormat> {
        self.format = self.negotiate(Some(wanted), true)?;
        if let Some(why) = contradiction(&self.format) {
            return Err(Error::answer(ioctl::S_FMT.name, format!("{self}, {wanted}"), why));
        }
        Ok(&self.format)
    }

    /// Sets the format that `frame` has, with its pitch.
    ///
    /// # Errors
    /// The driver makes something else of it (which the error names), or refuses.
    pub fn set_frame(&mut self, frame: &Frame) -> Result<()> {
        let wanted = QueueFormat::of_frame(frame)?;
        let given = self.set_format(&wanted)?;
        let same = given.pixel == wanted.pixel
            && given.size == wanted.size
            && given.planes.first().map(|plane| plane.pitch) == wanted.planes.first().map(|plane| plane.pitch);
        if same {
            return Ok(());
        }
        let why = format!("the driver makes {given} of it");
        Err(Error::missing(ioctl::S_FMT.name, format!("{self}, {wanted}"), why))
    }

    pub(super) fn negotiate(&self, wanted: Option<&QueueFormat>, set: bool) -> Result<QueueFormat> {
        let object = || {
            let wanted = wanted.map_or_else(String::new, |wanted| format!(", {wanted}"));
            format!("{self}{wanted}{}", self.device.burden())
        };
        if self.is_multi_planar() {
            let call = match (wanted, set) {
                (None, _) => ioctl::G_FMT_MPLANE,
                (Some(_), false) => ioctl::TRY_FMT_MPLANE,
                (Some(_), true) => ioctl::S_FMT_MPLANE,
            };
            let mut format = FormatMplane::new(self.buf_type, wanted.map(mplane).unwrap_or_default());
            call.ask(&self.device, &mut format).map_err(|errno| Error::new(call.name, object(), errno))?;
            let pix = format.pix;
            let planes = planes(&pix).map_err(|why| Error::answer(call.name, object(), why))?;
            Ok(QueueFormat {
                pixel: PixelFormat(pix.pixelformat),
                size: Size { width: pix.width, height: pix.height },
                planes,
            })
        } else {
            let call = match (wanted, set) {
                (None, _) => ioctl::G_FMT,
                (Some(_), false) => ioctl::TRY_FMT,
                (Some(_), true) => ioctl::S_FMT,
            };
            let mut format = Format::new(self.buf_type, wanted.map(single).unwrap_or_default());
            call.ask(&self.device, &mut format).map_err(|errno| Error::new(call.name, object(), errno))?;
            let pix = format.pix;
            Ok(QueueFormat {
                pixel: PixelFormat(pix.pixelformat),
                size: Size { width: pix.width, height: pix.height },
                planes: vec![PlaneFormat { pitch: pix.bytesperline, bytes: pix.sizeimage }],
            })
        }
    }

    /// Makes `count` slots for buffers in `memory`; returns how many there are, which the driver may choose.
    ///
    /// # Errors
    /// The queue does not take such memory, or is in use (`EBUSY`), or memory runs out (`ENOMEM`).
    pub fn request(&mut self, memory: Memory, count: u32) -> Result<u32> {
        let mut request =
            uapi::RequestBuffers { count, buf_type: self.buf_type, memory: memory.code(), ..Default::default() };
        let object = format!("{count} buffers of {memory:?} memory");
        ioctl::REQBUFS
            .ask(&self.device, &mut request)
            .map_err(|errno| self.error(ioctl::REQBUFS.name, object, errno))?;
        self.given().clear();
        self.buffers = (count > 0).then_some((memory, request.count));
        Ok(request.count)
    }

    /// Whether buffers that were exported outlive being freed here (`V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS`).
    ///
    /// # Errors
    /// The driver has no such memory.
    pub fn keeps_exported(&self) -> Result<bool> {
        let buf_type = self.buf_type;
        // Creating no buffer tells the capabilities, and disturbs nobody who uses the queue.
        let caps = if self.is_multi_planar() {
            let mut create = CreateBuffers::one(uapi::MEMORY_MMAP, FormatMplane::new(buf_type, PixMplane::default()));
            create.count = 0;
            ioctl::CREATE_BUFS_MPLANE.ask(&self.device, &mut create).map(|()| create.capabilities)
        } else {
            let mut create = CreateBuffers::one(uapi::MEMORY_MMAP, Format::new(buf_type, Pix::default()));
            create.count = 0;
            ioctl::CREATE_BUFS.ask(&self.device, &mut create).map(|()| create.capabilities)
        };
        let caps = caps.map_err(|errno| self.error(ioctl::CREATE_BUFS.name, "no buffers", errno))?;
        Ok(caps & uapi::BUF_CAP_SUPPORTS_ORPHANED_BUFS != 0)
    }

    /// Makes one buffer of the device's own memory with `bytes` bytes, whatever the format needs; returns its slot.
    ///
    /// # Errors
    /// As [`Self::request`]; also if the format needs more.
    pub fn create(&mut self, bytes: u32) -> Result<u32> {
        let mut sized = self.format.clone();
        sized.planes.truncate(1);
        sized.planes.iter_mut().for_each(|plane| plane.bytes = bytes);
        let (buf_type, memory) = (self.buf_type, uapi::MEMORY_MMAP);
        let (made, count, index) = if self.is_multi_planar() {
            let mut create = CreateBuffers::one(memory, FormatMplane::new(buf_type, mplane(&sized)));
            let made = ioctl::CREATE_BUFS_MPLANE.ask(&self.device, &mut create);
            (made, create.count, create.index)
        } else {
            let mut create = CreateBuffers::one(memory, Format::new(buf_type, single(&sized)));
            let made = ioctl::CREATE_BUFS.ask(&self.device, &mut create);
            (made, create.count, create.index)
        };
        made.map_err(|errno| self.error(ioctl::CREATE_BUFS.name, format_args!("a buffer of {bytes} B"), errno))?;
        let before = self.buffers.map_or(0, |(_, count)| count);
        self.buffers = Some((Memory::Own, before + count));
        if count == 0 {
            let why = "it made no buffer; at least 1 would be valid";
            return Err(Error::answer(ioctl::CREATE_BUFS.name, format!("{self}, a buffer of {bytes} B"), why));
        }
        Ok(index)
    }

    /// The buffer in slot `index`, which is of the device's own memory, as a dma-buf.
    ///
    /// # Errors
    /// There is no such buffer, or the driver can't export it.
    pub fn export(&self, index: u32) -> Result<Dmabuf> {
        let flags = (rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC).bits();
        let mut request = ExportBuffer { buf_type: self.buf_type, index, flags, ..Default::default() };
        let fd = ioctl::export(self.device.as_fd(), &mut request)
            .map_err(|errno| self.error("VIDIOC_EXPBUF", format_args!("buffer {index}"), errno))?;
        let dmabuf = Dmabuf::from_fd(fd)?;
        ledger::step("VIDIOC_EXPBUF", Some(dmabuf.inode()), &self.device);
        Ok(dmabuf)
    }

    /// Gives slot `index`, whose buffer is of the device's own memory, to the device. An output queue sends all of it.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn give_own(&self, index: u32) -> Result<()> {
        self.give_bytes_of_own(index, self.format.planes.first().map_or(0, |plane| plane.bytes))
    }

    /// As [`Self::give_own`], but an output queue sends the first `bytes` bytes.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn give_bytes_of_own(&self, index: u32, bytes: u32) -> Result<()> {
        let mut plane = uapi::Plane { bytesused: bytes, ..Default::default() };
        let buffer = self.buffer(Memory::Own, index, bytes);
        self.give(buffer, std::slice::from_mut(&mut plane), format_args!("buffer {index}"))
    }

    /// Gives `shared` to the device in slot `index`; it stays the caller's, and the kernel's until the slot is given
    /// something else or freed.
    ///
    /// # Errors
    /// The device can't take it: `EFAULT` where memory must be contiguous and is not; `EINVAL` where it is too small;
    /// or the frame has an offset, and the queue none.
    pub fn give_dmabuf(&self, index: u32, shared: &SharedFrame) -> Result<()> {
        let offset = shared.frame.planes.first().map_or(0, |plane| plane.offset);
        self.give_planes(index, &[MemoryPlane { dmabuf: &shared.dmabuf, offset }], format_args!("{shared}"))
    }

    /// As [`Self::give_dmabuf`], for `what`, whose memory planes lie in buffers of their own. Where a capture queue's planes
    /// begin is for the device to say.
    ///
    /// # Errors
    /// As [`Self::give_dmabuf`]; also if the format has another number of memory planes.
    pub fn give_planes(&self, index: u32, planes: &[MemoryPlane<'_>], what: fmt::Arguments<'_>) -> Result<()> {
        const OP: &str = "VIDIOC_QBUF";
        let object = || format!("{self}, {what}");
        if planes.len() != self.format.planes.len() {
            let why = format!("{} buffers for {} memory planes", planes.len(), self.format.planes.len());
            return Err(Error::input(OP, object(), why));
        }
        let mut given = Vec::new();
        for (n, (plane, format)) in planes.iter().zip(&self.format.planes).enumerate() {
            let Ok(offset) = u32::try_from(plane.offset) else {
                return Err(Error::input(OP, object(), "its offset does not fit in 32 bits"));
            };
            if offset != 0 && !self.is_multi_planar() {
                let why = format!("plane {n} starts at byte {offset}; a single-planar queue takes 0 only");
                return Err(Error::input(OP, object(), why));
            }
            let needed = format.bytes;
            let end = offset.checked_add(needed).filter(|&end| u64::from(end) <= plane.dmabuf.size);
            let Some(end) = end else {
                let why = format!("the device needs {needed} B from byte {offset}, and that ends after the buffer");
                return Err(Error::missing(OP, object(), why));
            };
            // As long as the picture and no longer: a device that needs contiguous memory needs it for that length alone.
            let place = uapi::Place::fd(plane.dmabuf.fd.as_raw_fd());
            let data_offset = offset;
            given.push(uapi::Plane { bytesused: end, length: end, place, data_offset, ..Default::default() });
        }
        let first = given.first().copied().unwrap_or_default();
        let mut buffer = self.buffer(Memory::Dmabuf, index, first.bytesused);
        buffer.length = first.length;
        buffer.place = first.place;
        let inode = planes.first().map(|plane| plane.dmabuf.inode());
        ledger::step("VIDIOC_QBUF (dma-buf)", inode, &self.device);
        self.give(buffer, &mut given, what)
    }

    fn buffer(&self, memory: Memory, index: u32, bytes: u32) -> Buffer {
        let field = if self.direction == Direction::Output { uapi::FIELD_NONE } else { uapi::FIELD_ANY };
        Buffer { index, buf_type: self.buf_type, bytesused: bytes, field, memory: memory.code(), ..Default::default() }
    }

    fn give(&self, mut buffer: Buffer, planes: &mut [uapi::Plane], what: fmt::Arguments<'_>) -> Result<()> {
        let given = if self.is_multi_planar() {
            ioctl::QBUF.ask_planes(&self.device, &mut buffer, planes)
        } else {
            ioctl::QBUF.ask(&self.device, &mut buffer)
        };
        given.map_err(|errno| self.error(ioctl::QBUF.name, what, errno))?;
        self.given().insert(buffer.index);
        Ok(())
    }

    /// The device takes `frame` in the only slot that the queue then has: sets the format, makes the slot, maps.
    ///
    /// # Errors
    /// As [`Self::set_frame`], [`Self::request`] and [`Self::give_dmabuf`]; nothing stays mapped then.
    pub fn import(&mut self, shared: &SharedFrame) -> Result<()> {
        self.set_frame(&shared.frame)?;
        self.request(Memory::Dmabuf, 1)?;
        let given = self.give_dmabuf(0, shared);
        if given.is_err() {
            self.release()?;
        }
        given
    }

    /// Starts moving pixels.
    ///
    /// # Errors
    /// The driver refuses, for example without a buffer.
    pub fn start(&mut self) -> Result<()> {
        let mut buf_type = self.buf_type;
        ioctl::STREAMON
            .ask(&self.device, &mut buf_type)
            .map_err(|errno| self.error(ioctl::STREAMON.name, "start", errno))?;
        self.streaming = true;
        Ok(())
    }

    fn given(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops, and takes back every buffer.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn stop(&mut self) -> Result<()> {
        let mut buf_type = self.buf_type;
        ioctl::STREAMOFF
            .ask(&self.device, &mut buf_type)
            .map_err(|errno| self.error(ioctl::STREAMOFF.name, "stop", errno))?;
        self.streaming = false;
        self.given().clear();
        Ok(())
    }

    /// Waits for `patience` at most until the device is done with a buffer, and takes it back.
    ///
    /// # Errors
    /// It is not done in time, or says that the contents are damaged.
    pub fn take(&self, patience: Duration) -> Result<Done> {
        let deadline = Instant::now() + patience;
        loop {
            let mut plane = [uapi::Plane::default(); uapi::MAX_PLANES];
            let memory = self.buffers.map_or(Memory::Own, |(memory, _)| memory);
            let mut buffer = self.buffer(memory, 0, 0);
            let taken = if self.is_multi_planar() {
                ioctl::DQBUF.ask_planes(&self.device, &mut buffer, &mut plane)
            } else {
                ioctl::DQBUF.ask(&self.device, &mut buffer)
            };
            match taken {
                Ok(()) if buffer.flags & uapi::BUF_FLAG_ERROR != 0 => {
                    let why = format!("buffer {} is marked as damaged (V4L2_BUF_FLAG_ERROR)", buffer.index);
                    return Err(Error::answer(ioctl::DQBUF.name, self.to_string(), why));
                }
                Ok(()) if !self.given().remove(&buffer.index) => {
                    let why = format!("it took out buffer {}; given to it were {:?}", buffer.index, self.given());
                    return Err(Error::answer(ioctl::DQBUF.name, self.to_string(), why));
                }
                Ok(()) => {
                    let multi = self.is_multi_planar();
                    let bytes = if multi { plane[0].bytesused } else { buffer.bytesused };
                    let planes = if multi { self.format.planes.len() } else { 0 };
                    let offsets = plane.iter().take(planes).map(|plane| plane.data_offset).collect();
                    return Ok(Done { index: buffer.index, bytes, offsets, sequence: buffer.sequence });
                }
                Err(Errno::AGAIN) if Instant::now() < deadline => self.poll(deadline)?,
                Err(Errno::AGAIN) => {
                    return Err(Error::deadline("waiting for a buffer", self.to_string(), patience));
                }
                Err(errno) => return Err(self.error(ioctl::DQBUF.name, "a buffer that is done", errno)),
            }
        }
    }

    fn poll(&self, deadline: Instant) -> Result<()> {
        let events = match self.direction {
            Direction::Capture => PollFlags::IN,
            Direction::Output => PollFlags::OUT,
        };
        let polled = wait::events(&*self.device, events, deadline);
        polled.map(drop).map_err(|errno| self.error("poll", "a buffer that is done", errno))
    }

    /// Stops if it must, and frees the buffers.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn release(&mut self) -> Result<()> {
        if self.streaming {
            self.stop()?;
        }
        if let Some((memory, _)) = self.buffers {
            self.request(memory, 0)?;
        }
        Ok(())
    }

    pub(super) fn buf_type(&self) -> u32 {
        self.buf_type
    }

    fn error(&self, op: &'static str, what: impl fmt::Display, errno: Errno) -> Error {
        self.device.error(op, format_args!("{}, {what}", self.direction), errno)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Once more, since memory may have been short for a moment.
        if let Err(error) = self.release().or_else(|_| self.release()) {
            tracing::error!(%error, "could not free the buffers of a V4L2 queue");
            self.device.keeps(&error);
        }
    }
}

/// More formats than any driver has; a longer list is a driver's error.
const FORMATS_MAX: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_freed_is_told_in_what_fails_later() {
        // No V4L2 device: it refuses every call.
        let device = Arc::new(Device::of_nothing());
        let format = QueueFormat::new(PixelFormat(0), Size { width: 0, height: 0 }, 0);
        let mut queue = Queue {
            device: Arc::clone(&device),
            direction: Direction::Capture,
            buf_type: uapi::BUF_TYPE_VIDEO_CAPTURE,
            format: format.clone(),
            buffers: Some((Memory::Own, 1)),
            streaming: false,
            given: Mutex::new(BTreeSet::from([0])),
        };
        let refused = queue.request(Memory::Own, 2).expect_err("refused").to_string();
        assert!(refused.contains("ENOTTY") && !refused.contains("keeps"), "{refused}");
        assert!(queue.given().contains(&0), "what the device has it has after a refusal");
        drop(queue);
        assert!(device.is_gone());
        let later = Queue {
            device,
            direction: Direction::Capture,
            buf_type: 1,
            format,
            buffers: None,
            streaming: false,
            given: Mutex::default(),
        };
        let said = later.try_format(later.format()).expect_err("refused").to_string();
        assert!(said.contains("VIDIOC_TRY_FMT") && said.contains("it keeps buffers: VIDIOC_REQBUFS"), "{said}");
    }
}
