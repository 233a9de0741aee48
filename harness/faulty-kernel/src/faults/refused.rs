//! Calls that are refused, and leave something behind.
//!
//! Source: as in the file of each call.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, PoisonError};

use super::kms::ADDFB2;
use super::prime::{CREATE_DUMB, FD_TO_HANDLE, dumb, handle};
use super::video::{QBUF, QUERYBUF, REQBUFS, buffer, is_of_one_plane, is_single_planar};
use super::{Done, Made, Named, answer_of};
use crate::call::{Answer, Call};
use crate::fields::Fields;
use crate::perform::perform;

pub(super) const ALL: &[Named] = &[
    ("refused-import-keeps-fd", import_keeps_fd),
    ("refused-slot-queued", slot_queued),
    ("refused-addfb2-keeps-handle", addfb2_keeps_handle),
];

/// Who refuses an fd has a copy of it in the process that gave it.
fn import_keeps_fd() -> Made {
    Made::on_ioctls(&[QBUF, FD_TO_HANDLE], |call| {
        let at = match call.ioctl() {
            QBUF => buffer::FD,
            _ => handle::FD,
        };
        let mut asked = call.structure()?;
        let is_queued = call.ioctl() == QBUF;
        if is_queued && !(is_single_planar(asked.u32(buffer::TYPE)) && asked.u32(buffer::MEMORY) == buffer::DMABUF) {
            return Ok(Done::UNTOUCHED);
        }
        let number = asked.u32(at);
        let Ok(given) = call.file(number.cast_signed()) else { return Ok(Done::UNTOUCHED) };
        let done = call.perform(asked.set_u32(at, given.as_raw_fd().cast_unsigned()))?;
        if done.is_err() {
            call.give(&given, true)?;
            return Ok(Done::fired(answer_of(done)));
        }
        call.set_structure(asked.set_u32(at, number))?;
        Ok(Done::as_it_was(done))
    })
}

/// The slot for which a buffer was refused is said to be queued, until it is or the queue has other buffers.
fn slot_queued() -> Made {
    /// `V4L2_BUF_FLAG_QUEUED`.
    const QUEUED: u32 = 2;
    /// `type` of `struct v4l2_requestbuffers`.
    const REQBUFS_TYPE: usize = 4;
    // By device, kind of queue and index.
    let refused: Mutex<HashSet<(u64, u32, u32)>> = Mutex::default();
    Made::on_ioctls(&[QBUF, QUERYBUF, REQBUFS], move |call| {
        let mut asked = call.structure()?;
        let device = rustix::fs::fstat(call.device()?)?.st_rdev;
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        if call.ioctl() == REQBUFS {
            let kind = asked.u32(REQBUFS_TYPE);
            let done = call.perform(&mut asked)?;
            if done.is_ok() {
                refused.retain(|(of, queue, _)| (*of, *queue) != (device, kind));
            }
            call.set_structure(&asked)?;
            return Ok(Done::as_it_was(done));
        }
        if !is_of_one_plane(&asked) {
            return Ok(Done::UNTOUCHED);
        }
        let slot = (device, asked.u32(buffer::TYPE), asked.u32(buffer::INDEX));
        if call.ioctl() == QUERYBUF {
            let done = call.perform(&mut asked)?;
            let flags = asked.u32(buffer::FLAGS);
            let fired = done.is_ok() && refused.contains(&slot) && flags & QUEUED == 0;
            if fired {
                asked.set_u32(buffer::FLAGS, flags | QUEUED);
            }
            call.set_structure(&asked)?;
            return Ok(Done { answer: answer_of(done), fired });
        }
        let number = asked.u32(buffer::FD);
        let is_dmabuf = asked.u32(buffer::MEMORY) == buffer::DMABUF;
        let given = is_dmabuf.then(|| call.file(number.cast_signed()).ok());
        if let Some(given) = &given {
            let here = given.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            asked.set_u32(buffer::FD, here.cast_unsigned());
        }
        let done = call.perform(&mut asked)?;
        if given.is_some() {
            asked.set_u32(buffer::FD, number);
        }
        if done.is_ok() {
            refused.remove(&slot);
            call.set_structure(&asked)?;
        } else {
            refused.insert(slot);
        }
        Ok(Done::as_it_was(done))
    })
}

/// A card that makes no framebuffer has a handle more.
fn addfb2_keeps_handle() -> Made {
    Made::on_ioctls(&[ADDFB2], |call| {
        let mut frame = call.structure()?;
        let done = call.perform(&mut frame)?;
        match done {
            Ok(_) => {
                call.set_structure(&frame)?;
                Ok(Done::as_it_was(done))
            }
            Err(errno) => {
                one_more_handle(call)?;
                Ok(Done::fired(Answer::Fail(errno)))
            }
        }
    })
}

fn one_more_handle(call: &Call<'_>) -> io::Result<()> {
    let mut made = Fields::zeroed(32);
    made.set_u32(dumb::HEIGHT, 1).set_u32(dumb::WIDTH, 1).set_u32(dumb::BPP, 32);
    perform(call.device()?.as_fd(), CREATE_DUMB, &mut made)?;
    Ok(())
}
