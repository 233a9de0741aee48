//! DRM's syncobjs.
//!
//! Source: `include/uapi/drm/drm.h`, and "DRM Sync Objects" in the kernel's DRM documentation.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::fences::signalled;
use super::{Done, Made, Named, ignoring, owned};
use crate::call::{Answer, Call};
use crate::fields::{Fields, both};
use crate::perform::perform;

pub(super) const ALL: &[Named] = &[
    ("syncobj-import-dropped", import_dropped),
    ("syncobj-crosses-as-copy", crosses_as_copy),
    ("syncobj-never-waits", never_waits),
    ("syncobj-reset-keeps", reset_keeps),
    ("syncobj-query-ahead", query_ahead),
    ("syncobj-eventfd-lost", eventfd_lost),
    ("syncobj-handle-kept", handle_kept),
    ("syncobj-unchecked", unchecked),
    ("syncobj-refusal-leaves-handle", refusal_leaves_handle),
];

/// `DRM_IOCTL_SYNCOBJ_CREATE`, of `struct drm_syncobj_create`: handle and flags.
const CREATE: u32 = both(b'd', 0xbf, 8);
/// `DRM_IOCTL_SYNCOBJ_DESTROY`, of `struct drm_syncobj_destroy`: handle and padding.
const DESTROY: u32 = both(b'd', 0xc0, 8);

/// `DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD` and `DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE`, of `struct drm_syncobj_handle`.
const HANDLE_TO_FD: u32 = both(b'd', 0xc1, handle::SIZE);
const FD_TO_HANDLE: u32 = both(b'd', 0xc2, handle::SIZE);
mod handle {
    pub(super) const SIZE: u32 = 24;
    pub(super) const HANDLE: usize = 0;
    pub(super) const FLAGS: usize = 4;
    pub(super) const FD: usize = 8;
    /// Of the flags: the fence of a sync file, and not the object.
    pub(super) const SYNC_FILE: u32 = 1;
}

/// `DRM_IOCTL_SYNCOBJ_WAIT`, of `struct drm_syncobj_wait`, and where it says which of them has signalled, until when it waits, and
/// for how many.
const WAIT: u32 = both(b'd', 0xc3, 40);
const WAIT_FIELDS: (usize, usize, usize) = (24, 8, 16);
/// `DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT`, of `struct drm_syncobj_timeline_wait`, likewise.
const TIMELINE_WAIT: u32 = both(b'd', 0xca, 48);
const TIMELINE_WAIT_FIELDS: (usize, usize, usize) = (32, 16, 24);

/// `DRM_IOCTL_SYNCOBJ_RESET` and `DRM_IOCTL_SYNCOBJ_SIGNAL`, of `struct drm_syncobj_array`, and its count of handles.
const RESET: u32 = both(b'd', 0xc4, 16);
const SIGNAL: u32 = both(b'd', 0xc5, 16);
const COUNT: usize = 8;

/// `DRM_IOCTL_SYNCOBJ_QUERY`, of `struct drm_syncobj_timeline_array`, and its flag for the last point that has a fence.
const QUERY: u32 = both(b'd', 0xcb, 24);
const QUERY_FLAGS: usize = 20;
const LAST_SUBMITTED: u32 = 1;

/// `DRM_IOCTL_SYNCOBJ_EVENTFD`, of `struct drm_syncobj_eventfd`, and its first field.
const EVENTFD: u32 = both(b'd', 0xcf, 24);
const EVENTFD_HANDLE: usize = 0;

/// The fence of a sync file goes nowhere.
fn import_dropped() -> Made {
    Made::on_ioctls(&[FD_TO_HANDLE], |call| {
        let imports = call.structure()?.u32(handle::FLAGS) & handle::SYNC_FILE != 0;
        Ok(if imports { Done::fired(Answer::Return(0)) } else { Done::UNTOUCHED })
    })
}

/// What is taken of an object's file is a new object.
fn crosses_as_copy() -> Made {
    Made::on_ioctls(&[FD_TO_HANDLE], |call| {
        let mut taken = call.structure()?;
        if taken.u32(handle::FLAGS) != 0 {
            return Ok(Done::UNTOUCHED);
        }
        call.set_structure(taken.set_u32(handle::HANDLE, new_object(call)?))?;
        Ok(Done::fired(Answer::Return(0)))
    })
}

/// The handle of a new object of the card.
fn new_object(call: &Call<'_>) -> io::Result<u32> {
    let mut made = Fields::zeroed(8);
    perform(call.device()?.as_fd(), CREATE, &mut made)?;
    Ok(made.u32(0))
}

/// Every wait ends at once, by the first of those that are waited for.
fn never_waits() -> Made {
    Made::on_ioctls(&[WAIT, TIMELINE_WAIT], |call| {
        let mut asked = call.structure()?;
        let is_binary = call.ioctl() == WAIT;
        let (first, timeout, count) = if is_binary { WAIT_FIELDS } else { TIMELINE_WAIT_FIELDS };
        // Without patience first: what is over is no deed.
        let mut look = asked.clone();
        let length = asked.u32(count) as usize;
        let mut lists = vec![call.read(asked.u64(0), 4 * length)?];
        if !is_binary {
            lists.push(call.read(asked.u64(8), 8 * length)?);
        }
        for (n, list) in lists.iter_mut().enumerate() {
            look.set_u64(8 * n, list.as_mut_ptr().expose_provenance() as u64);
        }
        let done = call.perform(look.set_u64(timeout, 0))?;
        let index = if done.is_ok() { look.u32(first) } else { 0 };
        call.set_structure(asked.set_u32(first, index))?;
        Ok(match done {
            // Also where the handle went before the look, which the wait would have had by then.
            Err(_) => Done::fired(Answer::Return(0)),
            done => Done::as_it_was(done),
        })
    })
}

/// What is reset has its fence as before.
fn reset_keeps() -> Made {
    ignoring(&[RESET])
}

/// The point that is told is the last one that has a fence.
fn query_ahead() -> Made {
    Made::on_ioctls(&[QUERY], |call| {
        let mut asked = call.structure()?;
        let flags = asked.u32(QUERY_FLAGS);
        call.set_structure(asked.set_u32(QUERY_FLAGS, flags | LAST_SUBMITTED))?;
        Ok(Done { answer: Answer::Continue, fired: flags & LAST_SUBMITTED == 0 })
    })
}

/// Nobody is told.
fn eventfd_lost() -> Made {
    Made::on_ioctls(&[EVENTFD], |call| {
        // Whether there is the call is asked for with this one.
        let asks = call.structure()?.u32(EVENTFD_HANDLE) == 0;
        Ok(if asks { Done::UNTOUCHED } else { Done::fired(Answer::Return(0)) })
    })
}

/// No handle goes.
fn handle_kept() -> Made {
    ignoring(&[DESTROY])
}

/// What the card refuses is done all the same, or something else is, or nothing and it is said to be.
fn unchecked() -> Made {
    Made::on_ioctls(&[CREATE, DESTROY, HANDLE_TO_FD, FD_TO_HANDLE, RESET, SIGNAL], |call| {
        let mut asked = call.structure()?;
        match call.ioctl() {
            RESET | SIGNAL if asked.u32(COUNT) == 0 => Ok(Done::fired(Answer::Return(0))),
            // Their handles are in the caller's memory.
            RESET | SIGNAL => Ok(Done::UNTOUCHED),
            FD_TO_HANDLE => take_anything(call, asked),
            HANDLE_TO_FD => hand_out_anything(call, asked),
            number => {
                let done = call.perform(&mut asked)?;
                if done.is_ok() {
                    call.set_structure(&asked)?;
                    return Ok(Done::as_it_was(done));
                }
                if number == CREATE {
                    call.set_structure(asked.set_u32(0, new_object(call)?))?;
                }
                Ok(Done::fired(Answer::Return(0)))
            }
        }
    })
}

/// Who is refused a handle of a file has one more.
fn refusal_leaves_handle() -> Made {
    Made::on_ioctls(&[FD_TO_HANDLE], |call| {
        let mut asked = call.structure()?;
        let number = asked.u32(handle::FD);
        let file = call.file(number.cast_signed());
        let ours = file.as_ref().map_or(-1, AsRawFd::as_raw_fd).cast_unsigned();
        let done = call.perform(asked.set_u32(handle::FD, ours))?;
        if done.is_ok() {
            call.set_structure(asked.set_u32(handle::FD, number))?;
            return Ok(Done::as_it_was(done));
        }
        new_object(call)?;
        Ok(Done { fired: true, ..Done::as_it_was(done) })
    })
}

/// A handle of whatever file it is, or its fence.
fn take_anything(call: &Call<'_>, mut asked: Fields) -> io::Result<Done> {
    let number = asked.u32(handle::FD);
    let file = call.file(number.cast_signed());
    let ours = file.as_ref().map_or(-1, AsRawFd::as_raw_fd).cast_unsigned();
    let done = call.perform(asked.set_u32(handle::FD, ours))?;
    asked.set_u32(handle::FD, number);
    if done.is_err() && asked.u32(handle::FLAGS) & handle::SYNC_FILE == 0 {
        asked.set_u32(handle::HANDLE, new_object(call)?);
    }
    call.set_structure(&asked)?;
    Ok(if done.is_ok() { Done::as_it_was(done) } else { Done::fired(Answer::Return(0)) })
}

/// A file of whatever handle it is, or of its fence.
fn hand_out_anything(call: &Call<'_>, mut asked: Fields) -> io::Result<Done> {
    let done = call.perform(&mut asked)?;
    let made = match done {
        Ok(_) => Some(owned(asked.u32(handle::FD).into())?),
        Err(_) if asked.u32(handle::FLAGS) & handle::SYNC_FILE != 0 => signalled(),
        Err(_) => Some(file_of_new_object(call)?),
    };
    let Some(made) = made else { return Ok(Done::as_it_was(done)) };
    asked.set_u32(handle::FD, call.give(made, true)?.cast_unsigned());
    call.set_structure(&asked)?;
    Ok(Done { answer: Answer::Return(0), fired: done.is_err() })
}

fn file_of_new_object(call: &Call<'_>) -> io::Result<OwnedFd> {
    let (card, object) = (call.device()?, new_object(call)?);
    let mut shared = Fields::zeroed(handle::SIZE as usize);
    let done = perform(card.as_fd(), HANDLE_TO_FD, shared.set_u32(handle::HANDLE, object));
    let mut gone = Fields::zeroed(8);
    perform(card.as_fd(), DESTROY, gone.set_u32(0, object))?;
    done?;
    owned(shared.u32(handle::FD).into())
}
