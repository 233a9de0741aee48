//! Where storage comes from, when, and how long it stays.
//!
//! Source: `include/uapi/linux/udmabuf.h`, `drm_mode.h` and `videodev2.h`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::io::Errno;

use super::dmabuf::is_dmabuf;
use super::kms::GEM_CLOSE;
use super::memory::{CREATE, hand_over, udmabuf};
use super::prime::{CREATE_DUMB, FD_TO_HANDLE, MAP_DUMB, dumb, handle};
use super::video::{EXPBUF, QBUF, buffer, expbuf, is_single_planar};
use super::{Done, Made, Named, answer_of, hand_out};
use crate::call::{Answer, Call};
use crate::fields::{Fields, both};
use crate::filter::Filter;
use crate::perform::{Mapped, perform};

pub(super) const ALL: &[Named] = &[
    ("udmabuf-memory-twice", udmabuf_memory_twice),
    ("udmabuf-scarce", udmabuf_scarce),
    ("udmabuf-lacks-as-einval", udmabuf_lacks_as_einval),
    ("dumb-made-at-once", dumb_made_at_once),
    ("size-rounded", size_rounded),
    ("requeue-clears-exported", requeue_clears_exported),
    ("qbuf-attaches-others", qbuf_attaches_others),
    ("unplugged-as-eio", unplugged_as_eio),
];

/// Every second udmabuf has the pages of the one before, if that had the same size.
fn udmabuf_memory_twice() -> Made {
    let before: Mutex<Option<((u64, u64), OwnedFd)>> = Mutex::default();
    Made::on_ioctls(&[CREATE], move |call| {
        let mut asked = call.structure()?;
        let place = (asked.u64(udmabuf::OFFSET), asked.u64(udmabuf::SIZE));
        let memfd = call.file(asked.u32(udmabuf::MEMFD).cast_signed())?;
        let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, same)) = before.take_if(|(known, _)| *known == place) else {
            *before = Some((place, memfd));
            return Ok(Done::UNTOUCHED);
        };
        let made = call.perform(asked.set_u32(udmabuf::MEMFD, same.as_raw_fd().cast_unsigned()))?;
        hand_over(call, made, asked.u32(udmabuf::FLAGS))
    })
}

/// There is memory for a page, and not for more.
fn udmabuf_scarce() -> Made {
    const PAGE: u64 = 4096;
    Made::on_ioctls(&[CREATE], |call| {
        let is_more = call.structure()?.u64(udmabuf::SIZE) > PAGE;
        Ok(if is_more { Done::fired(Answer::Fail(Errno::NOMEM)) } else { Done::UNTOUCHED })
    })
}

/// Where there is no fd left, it is the arguments that are said to be wrong.
fn udmabuf_lacks_as_einval() -> Made {
    Made::on(Filter::ioctls(&[CREATE]).and(&Filter::calls(&[libc::SYS_memfd_create])), |call| {
        if call.number == libc::SYS_memfd_create {
            let flags = MemfdFlags::from_bits_retain(call.arguments[1] as u32);
            let made = rustix::fs::memfd_create("storage", flags)?;
            return Ok(match call.give(made, flags.contains(MemfdFlags::CLOEXEC)) {
                Ok(number) => Done { answer: Answer::Return(number.into()), fired: false },
                Err(_) => Done::fired(Answer::Fail(Errno::INVAL)),
            });
        }
        let mut asked = call.structure()?;
        let memfd = call.file(asked.u32(udmabuf::MEMFD).cast_signed())?;
        let made = call.perform(asked.set_u32(udmabuf::MEMFD, memfd.as_raw_fd().cast_unsigned()))?;
        match hand_over(call, made, asked.u32(udmabuf::FLAGS)) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) => {
                Ok(Done::fired(Answer::Fail(Errno::INVAL)))
            }
            other => other.map(|done| Done { fired: false, ..done }),
        }
    })
}

/// Pages of a dumb buffer are there before anybody attaches or maps.
fn dumb_made_at_once() -> Made {
    Made::on_ioctls(&[CREATE_DUMB], |call| {
        let mut asked = call.structure()?;
        let done = call.perform(&mut asked)?;
        call.set_structure(&asked)?;
        if done.is_ok() {
            let card = call.device()?;
            let mut map = Fields::zeroed(16);
            perform(card.as_fd(), MAP_DUMB, map.set_u32(0, asked.u32(dumb::HANDLE)))?;
            Mapped::new(card.as_fd(), map.u64(8), asked.u64(dumb::SIZE) as usize)?.read();
        }
        Ok(Done { answer: answer_of(done), fired: done.is_ok() })
    })
}

/// A dma-buf tells a size in units of 1 MiB.
fn size_rounded() -> Made {
    Made::on(Filter::calls(&[libc::SYS_lseek]), |call| {
        let [fd, offset, whence, ..] = call.arguments;
        if (offset, whence) != (0, libc::SEEK_END as u64) || !is_dmabuf(call, fd as i32) {
            return Ok(Done::UNTOUCHED);
        }
        let size = rustix::fs::seek(call.device()?, SeekFrom::End(0))?;
        let told = size.next_multiple_of(1 << 20);
        Ok(Done { answer: Answer::Return(told.cast_signed()), fired: told != size })
    })
}

/// `VIDIOC_REQBUFS`, of `struct v4l2_requestbuffers`.
const REQBUFS: u32 = both(b'V', 8, 20);

/// When a queue gives up its buffers, those who have them find zeros.
fn requeue_clears_exported() -> Made {
    // By device and type of queue.
    let handed_out: Mutex<Vec<((u64, u32), OwnedFd)>> = Mutex::default();
    Made::on_ioctls(&[EXPBUF, REQBUFS], move |call| {
        // `type` of both structures.
        const REQBUFS_TYPE: usize = 4;
        const EXPBUF_TYPE: usize = 0;
        let mut handed_out = handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = call.structure()?;
        let device = rustix::fs::fstat(call.device()?)?.st_rdev;
        if call.ioctl() == REQBUFS {
            let queue = (device, asked.u32(REQBUFS_TYPE));
            let is_given_up = |(of, _): &mut ((u64, u32), OwnedFd)| *of == queue && asked.u32(0) == 0;
            let given_up: Vec<_> = handed_out.extract_if(.., is_given_up).collect();
            for (_, file) in &given_up {
                let size = rustix::fs::seek(file, SeekFrom::End(0))? as usize;
                Mapped::new(file.as_fd(), 0, size)?.write(&vec![0; size]);
            }
            return Ok(Done { answer: Answer::Continue, fired: !given_up.is_empty() });
        }
        let done = call.perform(&mut asked)?;
        if done.is_err() {
            return Ok(Done::as_it_was(done));
        }
        let exported = hand_out(call, &mut asked, expbuf::FD)?;
        call.set_structure(&asked)?;
        handed_out.push(((device, asked.u32(EXPBUF_TYPE)), exported));
        Ok(Done::as_it_was(done))
    })
}

/// A queue has a card attach to what it is given, but for the first buffer.
fn qbuf_attaches_others() -> Made {
    let seen: Mutex<HashSet<(u64, u32)>> = Mutex::default();
    Made::on_ioctls(&[QBUF], move |call| {
        let queued = call.structure()?;
        let kind = queued.u32(buffer::TYPE);
        if !is_single_planar(kind) || queued.u32(buffer::MEMORY) != buffer::DMABUF {
            return Ok(Done::UNTOUCHED);
        }
        let device = rustix::fs::fstat(call.device()?)?.st_rdev;
        if seen.lock().unwrap_or_else(PoisonError::into_inner).insert((device, kind)) {
            return Ok(Done::UNTOUCHED);
        }
        let fired = attach(call, queued.u32(buffer::FD).cast_signed())?;
        Ok(Done { answer: Answer::Continue, fired })
    })
}

/// Has the first card that will attach to the caller's dma-buf, and let go of it; whether one did.
fn attach(call: &Call<'_>, number: i32) -> io::Result<bool> {
    let given = call.file(number)?;
    for entry in fs::read_dir("/dev/dri")? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("card") {
            continue;
        }
        let card = fs::OpenOptions::new().read(true).write(true).open(entry.path())?;
        let mut taken = Fields::zeroed(12);
        taken.set_u32(handle::FD, given.as_raw_fd().cast_unsigned());
        if perform(card.as_fd(), FD_TO_HANDLE, &mut taken).is_ok() {
            let mut close = Fields::zeroed(8);
            perform(card.as_fd(), GEM_CLOSE, close.set_u32(0, taken.u32(handle::HANDLE)))?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// `VIDIOC_G_FMT`, `VIDIOC_S_FMT` and `VIDIOC_TRY_FMT`.
const FORMATS: [u32; 3] = [both(b'V', 4, 208), both(b'V', 5, 208), both(b'V', 64, 208)];

/// A device that is gone is said to have failed.
fn unplugged_as_eio() -> Made {
    Made::on_ioctls(&[FORMATS[0], FORMATS[1], FORMATS[2], REQBUFS], |call| {
        let mut asked = call.structure()?;
        let done = call.perform(&mut asked)?;
        call.set_structure(&asked)?;
        Ok(match done {
            Err(Errno::NODEV) => Done::fired(Answer::Fail(Errno::IO)),
            other => Done::as_it_was(other),
        })
    })
}
