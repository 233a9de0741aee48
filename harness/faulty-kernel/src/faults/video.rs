//! Buffers and formats of video devices.
//!
//! Source: `include/uapi/linux/videodev2.h`.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use super::{Done, Made, Named, answer_of, changing, reporting};
use crate::call::Answer;
use crate::fields::{Fields, both};

pub(super) const ALL: &[Named] = &[
    ("video-pitch-ignored", video_pitch_ignored),
    ("video-data-offset-dropped", video_data_offset_dropped),
    ("qbuf-first-buffer", qbuf_first_buffer),
    ("dqbuf-wrong-index", dqbuf_wrong_index),
    ("dqbuf-error-hidden", dqbuf_error_hidden),
    ("expbuf-first-buffer", expbuf_first_buffer),
    ("orphans-refused", orphans_refused),
];

const S_FMT: u32 = both(b'V', 5, 208);
const REQBUFS: u32 = both(b'V', 8, 20);
const QBUF: u32 = both(b'V', 15, 88);
const EXPBUF: u32 = both(b'V', 16, 64);
pub(super) const DQBUF: u32 = both(b'V', 17, 88);

/// `enum v4l2_buf_type`, of which those from 9 on have several planes.
const CAPTURE: u32 = 1;
const OUTPUT: u32 = 2;
const CAPTURE_MPLANE: u32 = 9;
const OUTPUT_MPLANE: u32 = 10;

/// `struct v4l2_format`: `type`, and `bytesperline` of `struct v4l2_pix_format`.
pub(super) const TYPE: usize = 0;
const BYTES_PER_LINE: usize = 8 + 16;

/// `struct v4l2_buffer`.
mod buffer {
    pub(super) const INDEX: usize = 0;
    pub(super) const TYPE: usize = 4;
    pub(super) const FLAGS: usize = 12;
    pub(super) const MEMORY: usize = 60;
    pub(super) const FD: usize = 64;
    pub(super) const PLANES: usize = 64;
    pub(super) const LENGTH: usize = 72;
    /// `V4L2_MEMORY_DMABUF`.
    pub(super) const DMABUF: u32 = 4;
    /// `V4L2_BUF_FLAG_ERROR`.
    pub(super) const ERROR: u32 = 0x40;
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
            std::collections::hash_map::Entry::Occupied(kept) => (kept.into_mut(), true),
            std::collections::hash_map::Entry::Vacant(room) => (room.insert(given), false),
        };
        if !known {
            return Ok(Done::UNTOUCHED);
        }
        // The other buffer's fd is in our table, so we queue it.
        let number = std::os::fd::AsRawFd::as_raw_fd(kept).cast_unsigned();
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

/// What comes back is said to be another buffer than it is.
fn dqbuf_wrong_index() -> Made {
    reporting(DQBUF, |_, taken| {
        let single = is_single_planar(taken.u32(buffer::TYPE));
        if single {
            let index = taken.u32(buffer::INDEX);
            taken.set_u32(buffer::INDEX, index ^ 1);
        }
        Ok(single)
    })
}

/// A buffer that the device could not fill comes back as a good one.
fn dqbuf_error_hidden() -> Made {
    reporting(DQBUF, |_, taken| {
        let flags = taken.u32(buffer::FLAGS);
        taken.set_u32(buffer::FLAGS, flags & !buffer::ERROR);
        Ok(flags & buffer::ERROR != 0)
    })
}

/// Whatever buffer is asked for, the first one is exported.
fn expbuf_first_buffer() -> Made {
    const INDEX: usize = 4;
    changing(EXPBUF, |asked| {
        let index = asked.u32(INDEX);
        asked.set_u32(INDEX, 0);
        index != 0
    })
}

/// Buffers can't be given back while a dma-buf of them is open.
fn orphans_refused() -> Made {
    const COUNT: usize = 0;
    Made::on_ioctls(&[REQBUFS], |call| match call.structure()?.u32(COUNT) {
        0 => Ok(Done::fired(Answer::Fail(rustix::io::Errno::BUSY))),
        _ => Ok(Done::UNTOUCHED),
    })
}
