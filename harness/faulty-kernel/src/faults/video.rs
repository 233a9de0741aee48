//! Buffers and formats of video devices.
//!
//! Source: `include/uapi/linux/videodev2.h`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::Errno;

use super::odd::SYNC;
use super::{Done, Made, Named, answer_of, changing, memory, owned, reporting};
use crate::call::Answer;
use crate::fields::{Fields, both, writes};
use crate::perform::{Mapped, perform};

pub(super) const ALL: &[Named] = &[
    ("video-pitch-ignored", video_pitch_ignored),
    ("video-data-offset-dropped", video_data_offset_dropped),
    ("qbuf-first-buffer", qbuf_first_buffer),
    ("qbuf-sends-nothing", qbuf_sends_nothing),
    ("dqbuf-wrong-index", dqbuf_wrong_index),
    ("dqbuf-empty", dqbuf_empty),
    ("expbuf-first-buffer", expbuf_first_buffer),
    ("capture-writes-again", capture_writes_again),
    ("enum-fmt-invented", enum_fmt_invented),
    ("frame-sizes-invented", frame_sizes_invented),
    ("try-fmt-otherwise", try_fmt_otherwise),
    ("video-gone", video_gone),
    ("queue-dmabuf-unsaid", queue_dmabuf_unsaid),
];

/// `VIDIOC_ENUM_FMT`, of `struct v4l2_fmtdesc`: `index`, and `pixelformat`.
const ENUM_FMT: u32 = both(b'V', 2, 64);
const NUMBER: usize = 0;
const PIXEL_FORMAT: usize = 44;

/// `VIDIOC_G_FMT` and `VIDIOC_S_FMT`, of `struct v4l2_format`.
pub(super) const G_FMT: u32 = both(b'V', 4, 208);
const S_FMT: u32 = both(b'V', 5, 208);
/// `VIDIOC_REQBUFS`, of `struct v4l2_requestbuffers`.
pub(super) const REQBUFS: u32 = both(b'V', 8, 20);
const COUNT: usize = 0;
const CAPABILITIES: usize = 12;

/// `VIDIOC_QUERYBUF`, `VIDIOC_QBUF` and `VIDIOC_DQBUF`, of `struct v4l2_buffer`.
pub(super) const QUERYBUF: u32 = both(b'V', 9, 88);
pub(super) const QBUF: u32 = both(b'V', 15, 88);
pub(super) const EXPBUF: u32 = both(b'V', 16, 64);
pub(super) const DQBUF: u32 = both(b'V', 17, 88);
pub(super) const STREAMON: u32 = writes(b'V', 18, 4);

/// `VIDIOC_STREAMOFF`, of a `enum v4l2_buf_type`.
const STREAMOFF: u32 = writes(b'V', 19, 4);

/// `enum v4l2_buf_type`, of which those from 9 on have several planes.
pub(super) const CAPTURE: u32 = 1;
const OUTPUT: u32 = 2;
const CAPTURE_MPLANE: u32 = 9;
const OUTPUT_MPLANE: u32 = 10;

/// `struct v4l2_format`: `type`, and `bytesperline` of `struct v4l2_pix_format`.
pub(super) const TYPE: usize = 0;
const BYTES_PER_LINE: usize = 8 + 16;

/// `struct v4l2_buffer`.
pub(super) mod buffer {
    pub(crate) const INDEX: usize = 0;
    pub(crate) const TYPE: usize = 4;
    pub(crate) const BYTES_USED: usize = 8;
    pub(crate) const FLAGS: usize = 12;
    pub(crate) const MEMORY: usize = 60;
    pub(crate) const FD: usize = 64;
    pub(crate) const PLANES: usize = 64;
    pub(crate) const LENGTH: usize = 72;
    /// `V4L2_MEMORY_DMABUF`.
    pub(crate) const DMABUF: u32 = 4;
    /// `V4L2_MEMORY_MMAP`.
    pub(crate) const MMAP: u32 = 1;
}

/// `struct v4l2_exportbuffer`.
pub(super) mod expbuf {
    pub(crate) const INDEX: usize = 4;
    pub(crate) const PLANE: usize = 8;
    pub(crate) const FLAGS: usize = 12;
    pub(crate) const FD: usize = 16;
}

pub(super) fn is_single_planar(kind: u32) -> bool {
    matches!(kind, CAPTURE | OUTPUT)
}

fn video_pitch_ignored() -> Made {
    Made::on_ioctls(&[S_FMT], |call| {
        let mut format = call.structure()?;
        let asked = format.u32(BYTES_PER_LINE);
        if !is_single_planar(format.u32(TYPE)) || asked == 0 {
            return Ok(Done::UNTOUCHED);
        }
        let mut tight = format.clone();
        let done = call.perform(tight.set_u32(BYTES_PER_LINE, 0))?;
        let real = tight.u32(BYTES_PER_LINE);
        format = tight;
        format.set_u32(BYTES_PER_LINE, asked);
        call.set_structure(&format)?;
        Ok(Done { answer: answer_of(done), fired: asked > real })
    })
}

/// `struct v4l2_plane`.
const PLANE: usize = 64;
const DATA_OFFSET: usize = 16;

fn video_data_offset_dropped() -> Made {
    Made::on_ioctls(&[QBUF], |call| {
        let queued = call.structure()?;
        if !matches!(queued.u32(buffer::TYPE), CAPTURE_MPLANE | OUTPUT_MPLANE) {
            return Ok(Done::UNTOUCHED);
        }
        let mut fired = false;
        for plane in 0..u64::from(queued.u32(buffer::LENGTH)) {
            let address = queued.u64(buffer::PLANES) + plane * PLANE as u64;
            let mut plane = Fields(call.read(address, PLANE)?);
            fired |= plane.u32(DATA_OFFSET) != 0;
            plane.set_u32(DATA_OFFSET, 0);
            call.write(address, &plane.0)?;
        }
        Ok(Done { answer: Answer::Continue, fired })
    })
}

/// An index keeps the first dma-buf that was queued for it.
fn qbuf_first_buffer() -> Made {
    type Known = HashMap<(u64, u32, u32), OwnedFd>;
    let first: Mutex<Known> = Mutex::default();
    Made::on_ioctls(&[QBUF], move |call| {
        let mut queued = call.structure()?;
        let kind = queued.u32(buffer::TYPE);
        if !is_single_planar(kind) || queued.u32(buffer::MEMORY) != buffer::DMABUF {
            return Ok(Done::UNTOUCHED);
        }
        let device = rustix::fs::fstat(call.device()?)?.st_rdev;
        let given = call.file(queued.u32(buffer::FD).cast_signed())?;
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = first.entry((device, kind, queued.u32(buffer::INDEX)));
        let (kept, known) = match kept {
            Entry::Occupied(kept) => (kept.into_mut(), true),
            Entry::Vacant(room) => (room.insert(given), false),
        };
        let inode = |file: BorrowedFd<'_>| rustix::fs::fstat(file).map(|status| status.st_ino);
        if !known || inode(kept.as_fd())? == inode(call.file(queued.u32(buffer::FD).cast_signed())?.as_fd())? {
            return Ok(Done::UNTOUCHED);
        }
        // The other buffer's fd is in our table, so we queue it.
        let number = kept.as_raw_fd().cast_unsigned();
        let asked = queued.u32(buffer::FD);
        let done = call.perform(queued.set_u32(buffer::FD, number))?;
        if done.is_err() {
            // It does not suit any more: then the one that was given.
            *kept = call.file(asked.cast_signed())?;
            return Ok(Done::UNTOUCHED);
        }
        call.set_structure(queued.set_u32(buffer::FD, asked))?;
        Ok(Done::fired(answer_of(done)))
    })
}

/// What is sent is an empty buffer of the same size as the one that was given.
fn qbuf_sends_nothing() -> Made {
    Made::on_ioctls(&[QBUF], |call| {
        let mut queued = call.structure()?;
        if queued.u32(buffer::TYPE) != OUTPUT || queued.u32(buffer::MEMORY) != buffer::DMABUF {
            return Ok(Done::UNTOUCHED);
        }
        let asked = queued.u32(buffer::FD);
        let size = seek(call.file(asked.cast_signed())?, SeekFrom::End(0))?;
        let Some(empty) = memory::empty(size)? else { return Ok(Done::UNTOUCHED) };
        let done = call.perform(queued.set_u32(buffer::FD, empty.as_raw_fd().cast_unsigned()))?;
        if done.is_err() {
            // It has to lie elsewhere: then the one that was given.
            return Ok(Done::UNTOUCHED);
        }
        call.set_structure(queued.set_u32(buffer::FD, asked))?;
        Ok(Done::fired(answer_of(done)))
    })
}

/// Of a single-planar queue: the planes of another are where the caller has them.
pub(super) fn is_of_one_plane(taken: &Fields) -> bool {
    is_single_planar(taken.u32(buffer::TYPE))
}

/// What comes back is said to be another buffer than it is.
fn dqbuf_wrong_index() -> Made {
    reporting(DQBUF, is_of_one_plane, |taken| {
        let index = taken.u32(buffer::INDEX);
        taken.set_u32(buffer::INDEX, index ^ 1);
        true
    })
}

/// What comes back is said to hold nothing.
fn dqbuf_empty() -> Made {
    reporting(DQBUF, is_of_one_plane, |taken| {
        let used = taken.u32(buffer::BYTES_USED);
        taken.set_u32(buffer::BYTES_USED, 0);
        used != 0
    })
}

/// Whatever buffer is asked for, the first one is exported.
fn expbuf_first_buffer() -> Made {
    changing(EXPBUF, |asked| {
        let index = asked.u32(expbuf::INDEX);
        asked.set_u32(expbuf::INDEX, 0);
        index != 0
    })
}

/// What a stopped queue captured last into a buffer of its own comes there once more, before the processor reads a dma-buf.
fn capture_writes_again() -> Made {
    /// `DMA_BUF_SYNC_READ`, without `DMA_BUF_SYNC_END`.
    const BEGIN_TO_READ: u64 = 1;
    let last: Mutex<Option<(OwnedFd, Vec<u8>)>> = Mutex::default();
    Made::on_ioctls(&[STREAMOFF, SYNC], move |call| {
        let structure = call.structure()?;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if call.ioctl() == SYNC {
            let due = (structure.u64(0) == BEGIN_TO_READ).then(|| last.take()).flatten();
            let Some((memory, captured)) = due else { return Ok(Done::UNTOUCHED) };
            let mapped = Mapped::new(memory.as_fd(), 0, captured.len())?;
            let fired = mapped.read() != captured;
            mapped.write(&captured);
            return Ok(Done { answer: Answer::Continue, fired });
        }
        if structure.u32(0) != CAPTURE_MPLANE {
            return Ok(Done::UNTOUCHED);
        }
        let mut first = Fields::zeroed(64);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        first.set_u32(TYPE, CAPTURE_MPLANE).set_u32(expbuf::FLAGS, flags.bits());
        // One whose buffers are others' has none to export.
        if perform(call.device()?.as_fd(), EXPBUF, &mut first).is_ok() {
            let memory = owned(first.u32(expbuf::FD).into())?;
            let size = seek(&memory, SeekFrom::End(0))?;
            let captured = Mapped::new(memory.as_fd(), 0, size as usize)?.read();
            *last = Some((memory, captured));
        }
        Ok(Done::UNTOUCHED)
    })
}

/// A queue that does not tell that it takes dma-bufs.
fn queue_dmabuf_unsaid() -> Made {
    /// `V4L2_BUF_CAP_SUPPORTS_DMABUF`.
    const DMABUFS: u32 = 4;
    reporting(
        REQBUFS,
        |asked| asked.u32(COUNT) == 0,
        |told| {
            let all = told.u32(CAPABILITIES);
            told.set_u32(CAPABILITIES, all & !DMABUFS);
            all & DMABUFS != 0
        },
    )
}

/// `VIDIOC_ENUM_FRAMESIZES`, of `struct v4l2_frmsizeenum`: whether it is one size, and the widest of a range.
const ENUM_FRAMESIZES: u32 = both(b'V', 74, 44);
const SIZE_TYPE: usize = 8;
const WIDEST: usize = 16;

/// Ranges of sizes end at a width of 65535.
fn frame_sizes_invented() -> Made {
    const DISCRETE: u32 = 1;
    reporting(
        ENUM_FRAMESIZES,
        |_| true,
        |told| {
            let is_range = told.u32(SIZE_TYPE) != DISCRETE;
            if is_range {
                told.set_u32(WIDEST, 65535);
            }
            is_range
        },
    )
}

/// `VIDIOC_TRY_FMT`, and `sizeimage` of `struct v4l2_pix_format`.
const TRY_FMT: u32 = both(b'V', 64, 208);
const SIZE_IMAGE: usize = 8 + 20;

/// A format that is only tried takes a page more.
fn try_fmt_otherwise() -> Made {
    reporting(
        TRY_FMT,
        |asked| is_single_planar(asked.u32(TYPE)),
        |told| {
            told.set_u32(SIZE_IMAGE, told.u32(SIZE_IMAGE) + 4096);
            true
        },
    )
}

/// No buffer reaches a device any more.
fn video_gone() -> Made {
    Made::on_ioctls(&[QBUF], |_| Ok(Done::fired(Answer::Fail(Errno::NODEV))))
}

/// The second format of a list is one that nobody has heard of.
fn enum_fmt_invented() -> Made {
    reporting(
        ENUM_FMT,
        |asked| asked.u32(NUMBER) == 1,
        |told| {
            told.set_u32(PIXEL_FORMAT, u32::from_le_bytes(*b"ZZZZ"));
            true
        },
    )
}
