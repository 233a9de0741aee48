//! udmabuf and dma-heaps.
//!
//! Source: `include/uapi/linux/udmabuf.h` and `dma-heap.h`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, OFlags, SealFlags};

use super::prime::{CREATE_DUMB, HANDLE_TO_FD, dumb, handle};
use super::{Done, Made, Named, answer_of, changing, give_in, owned};
use crate::call::{Answer, Call};
use crate::fields::{Fields, both, writes};
use crate::perform::{Mapped, perform};

pub(super) const ALL: &[Named] = &[
    ("udmabuf-pages-swapped", udmabuf_pages_swapped),
    ("udmabuf-copies", udmabuf_copies),
    ("udmabuf-kept", udmabuf_kept),
    ("heap-memory-twice", heap_memory_twice),
    ("heap-not-cleared", heap_not_cleared),
    ("heap-short", heap_short),
    ("heap-waits-for-attach", heap_waits_for_attach),
];

/// `UDMABUF_CREATE` and `UDMABUF_CREATE_LIST`.
pub(super) const CREATE: u32 = writes(b'u', 0x42, 24);
const CREATE_LIST: u32 = writes(b'u', 0x43, 8);

/// `struct udmabuf_create`.
pub(super) mod udmabuf {
    pub(crate) const MEMFD: usize = 0;
    pub(crate) const FLAGS: usize = 4;
    pub(crate) const OFFSET: usize = 8;
    pub(crate) const SIZE: usize = 16;
}
use udmabuf::{FLAGS, MEMFD, OFFSET, SIZE};

/// `DMA_HEAP_IOCTL_ALLOC`, of `struct dma_heap_allocation_data`.
pub(super) const ALLOC: u32 = both(b'H', 0, 24);
pub(super) const LENGTH: usize = 0;
pub(super) mod heap {
    pub(crate) const FD: usize = 8;
    pub(crate) const FD_FLAGS: usize = 12;
    pub(crate) const FLAGS: usize = 16;
}
use heap::FD;

const PAGE: u64 = 4096;

/// The first two pages of a udmabuf are each other's.
fn udmabuf_pages_swapped() -> Made {
    Made::on_ioctls(&[CREATE], |call| {
        let asked = call.structure()?;
        let (offset, size) = (asked.u64(OFFSET), asked.u64(SIZE));
        if size < 2 * PAGE {
            return Ok(Done::UNTOUCHED);
        }
        let memfd = call.file(asked.u32(MEMFD).cast_signed())?;
        let parts = [(offset + PAGE, PAGE), (offset, PAGE), (offset + 2 * PAGE, size - 2 * PAGE)];
        let parts: Vec<_> = parts.into_iter().filter(|(_, size)| *size > 0).collect();
        let mut list = Fields::zeroed(8 + 24 * parts.len());
        list.set_u32(0, asked.u32(FLAGS)).set_u32(4, parts.len() as u32);
        for (n, (offset, size)) in parts.into_iter().enumerate() {
            let at = 8 + 24 * n;
            let number = memfd.as_raw_fd().cast_unsigned();
            list.set_u32(at, number).set_u64(at + 8, offset).set_u64(at + 16, size);
        }
        hand_over(call, perform(call.device()?.as_fd(), CREATE_LIST, &mut list), asked.u32(FLAGS))
    })
}

/// Gives the caller the fd that a call made here.
pub(super) fn hand_over(call: &Call<'_>, made: Result<i64, rustix::io::Errno>, flags: u32) -> io::Result<Done> {
    Ok(match made {
        Ok(fd) => Done::fired(Answer::Return(call.give(owned(fd)?, flags & 1 != 0)?.into())),
        Err(errno) => Done::as_it_was(Err(errno)),
    })
}

/// A udmabuf has pages of its own, with the contents that the memfd had.
fn udmabuf_copies() -> Made {
    Made::on_ioctls(&[CREATE], |call| {
        let mut asked = call.structure()?;
        let (offset, size) = (asked.u64(OFFSET), asked.u64(SIZE));
        let memfd = call.file(asked.u32(MEMFD).cast_signed())?;
        let copy = rustix::fs::memfd_create("copy", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&copy, size)?;
        rustix::fs::fcntl_add_seals(&copy, SealFlags::SHRINK)?;
        if let (Ok(from), Ok(to)) =
            (Mapped::new(memfd.as_fd(), offset, size as usize), Mapped::new(copy.as_fd(), 0, size as usize))
        {
            to.write(&from.read());
        }
        let number = copy.as_raw_fd().cast_unsigned();
        asked.set_u32(MEMFD, number).set_u64(OFFSET, 0);
        let flags = asked.u32(FLAGS);
        let made = call.perform(&mut asked)?;
        hand_over(call, made, flags)
    })
}

/// A reference to each udmabuf is never put.
fn udmabuf_kept() -> Made {
    let kept: Mutex<Vec<OwnedFd>> = Mutex::default();
    Made::on_ioctls(&[CREATE], move |call| {
        let mut asked = call.structure()?;
        let flags = asked.u32(FLAGS);
        let memfd = call.file(asked.u32(MEMFD).cast_signed())?;
        asked.set_u32(MEMFD, memfd.as_raw_fd().cast_unsigned());
        let made = match call.perform(&mut asked)? {
            Ok(fd) => owned(fd)?,
            Err(errno) => return Ok(Done::as_it_was(Err(errno))),
        };
        let number = call.give(&made, flags & 1 != 0)?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        Ok(Done::fired(Answer::Return(number.into())))
    })
}

/// Makes an allocation of a heap in the caller's place; `change` sees what it asked for, and what it got.
fn allocating(change: impl Fn(&Fields, OwnedFd) -> io::Result<(OwnedFd, bool)> + Send + Sync + 'static) -> Made {
    Made::on_ioctls(&[ALLOC], move |call| {
        let mut asked = call.structure()?;
        let done = call.perform(&mut asked)?;
        if done.is_err() {
            return Ok(Done::as_it_was(done));
        }
        let (file, fired) = change(&asked, owned(asked.u32(FD).into())?)?;
        give_in(call, &mut asked, FD, &file)?;
        call.set_structure(&asked)?;
        Ok(Done { answer: answer_of(done), fired })
    })
}

/// Every second allocation is the memory of the one before, if that had the same length.
fn heap_memory_twice() -> Made {
    let before: Mutex<Option<(u64, OwnedFd)>> = Mutex::default();
    allocating(move |asked, file| {
        let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
        let length = asked.u64(LENGTH);
        if let Some((_, same)) = before.take_if(|(known, _)| *known == length) {
            return Ok((same, true));
        }
        *before = Some((length, rustix::io::fcntl_dupfd_cloexec(&file, 3)?));
        Ok((file, false))
    })
}

/// Memory of a heap still has what was in it.
fn heap_not_cleared() -> Made {
    allocating(|asked, file| {
        let length = asked.u64(LENGTH) as usize;
        let mapped = Mapped::new(file.as_fd(), 0, length)?;
        mapped.write(&(0..length).map(|n| (n as u8).wrapping_mul(37) | 1).collect::<Vec<u8>>());
        drop(mapped);
        Ok((file, true))
    })
}

/// A heap gives a buffer of the first card that makes dumb ones, which has no pages before somebody attaches or maps.
fn heap_waits_for_attach() -> Made {
    allocating(|asked, file| Ok(dumb_buffer(asked.u64(LENGTH))?.map_or((file, false), |deferred| (deferred, true))))
}

/// A dumb buffer of at least `bytes`.
fn dumb_buffer(bytes: u64) -> io::Result<Option<OwnedFd>> {
    for entry in fs::read_dir("/dev/dri")? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("card") {
            continue;
        }
        let card = fs::OpenOptions::new().read(true).write(true).open(entry.path())?;
        let mut made = Fields::zeroed(32);
        made.set_u32(dumb::HEIGHT, bytes.div_ceil(PAGE) as u32).set_u32(dumb::WIDTH, PAGE as u32).set_u32(dumb::BPP, 8);
        if perform(card.as_fd(), CREATE_DUMB, &mut made).is_err() {
            continue;
        }
        let mut out = Fields::zeroed(12);
        let flags = OFlags::CLOEXEC | OFlags::RDWR;
        out.set_u32(handle::HANDLE, made.u32(dumb::HANDLE)).set_u32(handle::FLAGS, flags.bits());
        if perform(card.as_fd(), HANDLE_TO_FD, &mut out).is_ok() {
            // The handle goes with the card's file, and the buffer stays as long as somebody has the fd.
            return Ok(Some(owned(out.u32(handle::FD).into())?));
        }
    }
    Ok(None)
}

/// A new buffer of the system's heap, if there is that heap.
pub(super) fn empty(bytes: u64) -> io::Result<Option<OwnedFd>> {
    let Ok(heap) = fs::OpenOptions::new().read(true).open("/dev/dma_heap/system") else { return Ok(None) };
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mut asked = Fields::zeroed(24);
    perform(heap.as_fd(), ALLOC, asked.set_u64(LENGTH, bytes).set_u32(heap::FD_FLAGS, flags.bits()))?;
    owned(asked.u32(FD).into()).map(Some)
}

/// A heap gives a page less than it was asked for.
fn heap_short() -> Made {
    changing(ALLOC, |asked| {
        let length = asked.u64(LENGTH);
        asked.set_u64(LENGTH, length.saturating_sub(PAGE).max(1));
        length > PAGE
    })
}
