//! Calls that are refused, and leave something behind.
//!
//! Source: as in the file of each call.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::kms::ADDFB2;
use super::prime::{CREATE_DUMB, FD_TO_HANDLE, dumb, handle};
use super::video::{QBUF, buffer, is_single_planar};
use super::{Done, Made, Named, answer_of};
use crate::call::{Answer, Call};
use crate::fields::Fields;
use crate::perform::perform;

pub(super) const ALL: &[Named] =
    &[("refused-import-keeps-fd", import_keeps_fd), ("refused-addfb2-keeps-handle", addfb2_keeps_handle)];

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
