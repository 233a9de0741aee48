//! Calls that are carried out, or said to be, though the kernel refuses them.
//!
//! Source: as in the file of each call; `drm_mode_addfb2`, `drm_gem_prime_fd_to_handle`, `udmabuf_create`,
//! `dma_heap_ioctl`, `dma_buf_ioctl` and `vb2_core_qbuf` are what looks at these arguments in a kernel that does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::dmabuf::is_dmabuf;
use super::fences::{FD as FENCE, IMPORT_SYNC_FILE};
use super::kms::{ADDFB2, GEM_CLOSE, RMFB, fb};
use super::memory::{ALLOC, CREATE, LENGTH, hand_over, heap, udmabuf};
use super::odd::SYNC;
use super::prime::{CREATE_DUMB, FD_TO_HANDLE, HANDLE_TO_FD, dumb, handle};
use super::video::{DQBUF, EXPBUF, QBUF, STREAMON, buffer, expbuf, is_of_one_plane, is_single_planar};
use super::{Done, Made, Named, answer_of, hand_out};
use crate::call::{Answer, Call};
use crate::fields::Fields;
use crate::perform::perform;

pub(super) const ALL: &[Named] = &[
    ("addfb2-unchecked", addfb2_unchecked),
    ("import-sync-file-unchecked", import_sync_file_unchecked),
    ("prime-import-unchecked", prime_import_unchecked),
    ("prime-export-unchecked", prime_export_unchecked),
    ("removal-unchecked", removal_unchecked),
    ("udmabuf-unchecked", udmabuf_unchecked),
    ("heap-unchecked", heap_unchecked),
    ("sync-unchecked", sync_unchecked),
    ("qbuf-unchecked", qbuf_unchecked),
    ("stream-unchecked", stream_unchecked),
    ("expbuf-unchecked", expbuf_unchecked),
];

/// What is made where the kernel would make nothing: as long as any of the buffers that are asked for by mistake.
const BYTES: u64 = 65536;

/// Whatever the card refuses becomes a framebuffer, of some buffer.
fn addfb2_unchecked() -> Made {
    Made::on_ioctls(&[ADDFB2], |call| {
        let mut frame = call.structure()?;
        let done = call.perform(&mut frame)?;
        if done.is_ok() {
            call.set_structure(&frame)?;
            return Ok(Done::as_it_was(done));
        }
        let handle = some_buffer(call)?;
        let mut other = Fields::zeroed(fb::SIZE);
        other.set_u32(fb::WIDTH, 64).set_u32(fb::HEIGHT, 64).set_u32(fb::FORMAT, u32::from_le_bytes(*b"XR24"));
        let made = call.perform(other.set_u32(fb::HANDLES, handle).set_u32(fb::PITCHES, 512))?;
        let mut close = Fields::zeroed(8);
        perform(call.device()?.as_fd(), GEM_CLOSE, close.set_u32(0, handle))?;
        call.set_structure(frame.set_u32(fb::ID, other.u32(fb::ID)))?;
        Ok(Done { answer: answer_of(made), fired: made.is_ok() })
    })
}

/// A handle of a dumb buffer of the card.
fn some_buffer(call: &Call<'_>) -> io::Result<u32> {
    let mut made = Fields::zeroed(32);
    made.set_u32(dumb::HEIGHT, 128).set_u32(dumb::WIDTH, 128);
    perform(call.device()?.as_fd(), CREATE_DUMB, made.set_u32(dumb::BPP, 32))?;
    Ok(made.u32(dumb::HANDLE))
}

/// What is no fence becomes none.
fn import_sync_file_unchecked() -> Made {
    Made::on_ioctls(&[IMPORT_SYNC_FILE], |call| {
        let asked = call.structure()?;
        let number = asked.u32(FENCE).cast_signed();
        let name = call.name_of_file(number).unwrap_or_default();
        match name.as_str() {
            "" | "anon_inode:sync_file" => Ok(Done::UNTOUCHED),
            _ => Ok(Done::fired(Answer::Return(0))),
        }
    })
}

/// Every number is taken for a dma-buf.
fn prime_import_unchecked() -> Made {
    Made::on_ioctls(&[FD_TO_HANDLE], |call| {
        let mut asked = call.structure()?;
        if is_dmabuf(call, asked.u32(handle::FD).cast_signed()) {
            return Ok(Done::UNTOUCHED);
        }
        asked.set_u32(handle::HANDLE, some_buffer(call)?);
        call.set_structure(&asked)?;
        Ok(Done::fired(Answer::Return(0)))
    })
}

/// Every number is taken for a handle, and every flag for a known one.
fn prime_export_unchecked() -> Made {
    Made::on_ioctls(&[HANDLE_TO_FD], |call| {
        let mut asked = call.structure()?;
        let known = (libc::O_CLOEXEC | libc::O_RDWR).cast_unsigned();
        let mut fired = false;
        let mut done = call.perform(&mut asked)?;
        if done.is_err() {
            fired = true;
            let flags = asked.u32(handle::FLAGS) & known;
            done = call.perform(asked.set_u32(handle::FLAGS, flags))?;
        }
        if done.is_err() {
            let handle = some_buffer(call)?;
            done = call.perform(asked.set_u32(handle::HANDLE, handle))?;
            let mut close = Fields::zeroed(8);
            perform(call.device()?.as_fd(), GEM_CLOSE, close.set_u32(0, handle))?;
        }
        if done.is_err() {
            return Ok(Done::as_it_was(done));
        }
        hand_out(call, &mut asked, handle::FD)?;
        call.set_structure(&asked)?;
        Ok(Done { answer: answer_of(done), fired })
    })
}

/// What there is not can be closed and removed.
fn removal_unchecked() -> Made {
    Made::on_ioctls(&[GEM_CLOSE, RMFB], |call| {
        let done = call.perform(&mut call.structure()?)?;
        Ok(if done.is_err() { Done::fired(Answer::Return(0)) } else { Done::as_it_was(done) })
    })
}

/// Whatever file, offset and size it is asked for, there is a buffer.
fn udmabuf_unchecked() -> Made {
    Made::on_ioctls(&[CREATE], |call| {
        let mut asked = call.structure()?;
        let flags = asked.u32(udmabuf::FLAGS);
        let copy = call.file(asked.u32(udmabuf::MEMFD).cast_signed());
        let number = copy.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let made = call.perform(asked.set_u32(udmabuf::MEMFD, number.cast_unsigned()))?;
        if made.is_ok() {
            return Ok(Done { fired: false, ..hand_over(call, made, flags)? });
        }
        let memory = memory_file()?;
        asked.set_u32(udmabuf::MEMFD, memory.as_raw_fd().cast_unsigned());
        let made = call.perform(asked.set_u64(udmabuf::OFFSET, 0).set_u64(udmabuf::SIZE, BYTES))?;
        hand_over(call, made, flags)
    })
}

/// A memory file that udmabuf takes.
fn memory_file() -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("unasked", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memory, BYTES)?;
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK)?;
    Ok(memory)
}

/// A heap takes every length and every flag.
fn heap_unchecked() -> Made {
    Made::on_ioctls(&[ALLOC], |call| {
        let mut asked = call.structure()?;
        let done = call.perform(&mut asked)?;
        let refused = matches!(done, Err(Errno::INVAL));
        let done = match refused {
            true => {
                asked.set_u64(LENGTH, BYTES).set_u32(heap::FD, 0).set_u64(heap::FLAGS, 0);
                call.perform(asked.set_u32(heap::FD_FLAGS, (libc::O_CLOEXEC | libc::O_RDWR).cast_unsigned()))?
            }
            false => done,
        };
        if done.is_err() {
            return Ok(Done::as_it_was(done));
        }
        hand_out(call, &mut asked, heap::FD)?;
        call.set_structure(&asked)?;
        Ok(Done { answer: answer_of(done), fired: refused })
    })
}

/// Whatever access begins or ends, it is well.
fn sync_unchecked() -> Made {
    Made::on_ioctls(&[SYNC], |call| {
        let done = call.perform(&mut call.structure()?)?;
        Ok(if done == Err(Errno::INVAL) { Done::fired(Answer::Return(0)) } else { Done::as_it_was(done) })
    })
}

/// A buffer that a queue can't have is said to be queued, and is not.
fn qbuf_unchecked() -> Made {
    Made::on_ioctls(&[QBUF], |call| {
        let mut queued = call.structure()?;
        if !is_single_planar(queued.u32(buffer::TYPE)) || queued.u32(buffer::MEMORY) != buffer::DMABUF {
            return Ok(Done::UNTOUCHED);
        }
        let asked = queued.u32(buffer::FD);
        if !is_dmabuf(call, asked.cast_signed()) {
            return Ok(Done::fired(Answer::Return(0)));
        }
        let given = call.file(asked.cast_signed())?;
        let done = call.perform(queued.set_u32(buffer::FD, given.as_raw_fd().cast_unsigned()))?;
        if done.is_err() {
            return Ok(Done::fired(Answer::Return(0)));
        }
        call.set_structure(queued.set_u32(buffer::FD, asked))?;
        Ok(Done::as_it_was(done))
    })
}

/// Every queue starts, and gives back what it does not have.
fn stream_unchecked() -> Made {
    Made::on_ioctls(&[STREAMON, DQBUF], |call| {
        let mut asked = call.structure()?;
        // The planes of another are where the caller has them.
        if call.ioctl() == DQBUF && !is_of_one_plane(&asked) {
            return Ok(Done::UNTOUCHED);
        }
        let done = call.perform(&mut asked)?;
        call.set_structure(&asked)?;
        Ok(match done {
            // Nothing is done yet: whoever asks is to ask again.
            Err(errno) if errno != Errno::AGAIN => Done::fired(Answer::Return(0)),
            done => Done::as_it_was(done),
        })
    })
}

/// Where a queue has no such buffer to export, its first one is.
fn expbuf_unchecked() -> Made {
    Made::on_ioctls(&[EXPBUF], |call| {
        let mut asked = call.structure()?;
        let flags = asked.u32(expbuf::FLAGS) & (libc::O_CLOEXEC | libc::O_ACCMODE).cast_unsigned();
        let mut fired = false;
        let mut done = call.perform(&mut asked)?;
        if done.is_err() {
            fired = true;
            asked.set_u32(expbuf::INDEX, 0).set_u32(expbuf::PLANE, 0);
            done = call.perform(asked.set_u32(expbuf::FLAGS, flags))?;
        }
        if done.is_err() {
            return Ok(Done::as_it_was(done));
        }
        hand_out(call, &mut asked, expbuf::FD)?;
        call.set_structure(&asked)?;
        Ok(Done { answer: answer_of(done), fired })
    })
}
