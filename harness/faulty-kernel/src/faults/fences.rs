//! Implicit fences of dma-bufs, and fences as files.
//!
//! Source: `include/uapi/linux/dma-buf.h` and `sync_file.h`, and "Writeback Connectors" in the kernel's KMS documentation.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::dmabuf::is_dmabuf;
use super::odd::SYNC;
use super::{Done, Made, Named, answer_of, give_in, hand_out, ignoring};
use crate::call::{Answer, Call};
use crate::fields::{Fields, both, writes};
use crate::filter::Filter;
use crate::perform::{own, perform};

pub(super) const ALL: &[Named] = &[
    ("implicit-fence-lost", implicit_fence_lost),
    ("implicit-fence-signalled", implicit_fence_signalled),
    ("reader-taken-for-writer", reader_taken_for_writer),
    ("poll-never-waits", poll_never_waits),
    ("wait-ends-at-signal", wait_ends_at_signal),
    ("sync-file-never-waits", sync_file_never_waits),
    ("sync-file-wakes-late", sync_file_wakes_late),
    ("sync-file-nameless", sync_file_nameless),
    ("sync-file-misnamed", sync_file_misnamed),
    ("fence-error-hidden", fence_error_hidden),
    ("merge-forgets-second", merge_forgets_second),
];

/// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE` and `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`, of flags and an fd.
const EXPORT_SYNC_FILE: u32 = both(b'b', 2, 8);
pub(super) const IMPORT_SYNC_FILE: u32 = writes(b'b', 3, 8);
pub(super) const FD: usize = 4;

/// `SYNC_IOC_MERGE`, of `struct sync_merge_data`.
const MERGE: u32 = both(b'>', 3, 48);
mod merge {
    pub(super) const SECOND: usize = 32;
    pub(super) const MADE: usize = 36;
}

/// `SYNC_IOC_FILE_INFO`, of `struct sync_file_info`.
const FILE_INFO: u32 = both(b'>', 4, 56);
mod file_info {
    pub(super) const STATUS: usize = 32;
    pub(super) const COUNT: usize = 40;
    pub(super) const FENCES: usize = 48;
}

/// `struct sync_fence_info`, which begins with the names of timeline and driver.
mod fence_info {
    pub(super) const NAMES: usize = 64;
    pub(super) const STATUS: usize = 64;
    pub(super) const SIZE: usize = 80;
}

fn implicit_fence_lost() -> Made {
    ignoring(&[IMPORT_SYNC_FILE])
}

/// `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_WRITE`.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// Who reads is noted as one who writes, too.
fn reader_taken_for_writer() -> Made {
    Made::on_ioctls(&[IMPORT_SYNC_FILE], |call| {
        let asked = call.structure()?;
        if asked.u32(0) & (READ | WRITE) != READ {
            return Ok(Done::UNTOUCHED);
        }
        let fence = call.file(asked.u32(FD).cast_signed())?;
        let mut noted = asked.clone();
        noted.set_u32(0, READ | WRITE).set_u32(FD, fence.as_raw_fd().cast_unsigned());
        let done = call.perform(&mut noted)?;
        Ok(Done { answer: answer_of(done), fired: done.is_ok() })
    })
}

/// Whether `fence` is a `sync_file` whose fences have signalled with an error.
pub(super) fn has_failed(fence: BorrowedFd<'_>) -> bool {
    let mut told = Fields::zeroed(56);
    perform(fence, FILE_INFO, &mut told).is_ok() && told.u32(file_info::STATUS).cast_signed() < 0
}

/// The fence that a dma-buf hands out is one that has signalled.
fn implicit_fence_signalled() -> Made {
    Made::on_ioctls(&[EXPORT_SYNC_FILE], |call| {
        let Some(fence) = signalled() else { return Ok(Done::UNTOUCHED) };
        let mut structure = call.structure()?;
        give_in(call, &mut structure, FD, &fence)?;
        call.set_structure(&structure)?;
        Ok(Done::fired(Answer::Return(0)))
    })
}

/// A sync file that has signalled, of a timeline that nobody else has.
pub(super) fn signalled() -> Option<OwnedFd> {
    Timeline::new()?.at(0)
}

/// A timeline of `sw_sync` (`drivers/dma-buf/sw_sync.c`).
pub(super) struct Timeline(File);

impl Timeline {
    pub(super) fn new() -> Option<Self> {
        let node = "/sys/kernel/debug/sync/sw_sync";
        fs::OpenOptions::new().read(true).write(true).open(node).ok().map(Self)
    }

    /// A sync file that signals when the timeline gets to `value`.
    pub(super) fn at(&self, value: u32) -> Option<OwnedFd> {
        // `SW_SYNC_IOC_CREATE_FENCE`, of value, name and fd.
        let mut fence = Fields::zeroed(40);
        perform(self.0.as_fd(), both(b'W', 0, 40), fence.set_u32(0, value)).ok()?;
        own(fence.u32(36).into())
    }
}

/// poll of a dma-buf alone says at once that nobody uses it.
fn poll_never_waits() -> Made {
    polled_at_once(is_dmabuf)
}

/// poll of a `sync_file` alone says at once that it has signalled.
fn sync_file_never_waits() -> Made {
    polled_at_once(is_sync_file)
}

fn is_sync_file(call: &Call<'_>, number: i32) -> bool {
    call.name_of_file(number).is_ok_and(|name| name == "anon_inode:sync_file")
}

/// Who waits in poll for one `sync_file` alone is woken 1.2 s after its signal, or 8 times as long as he had waited by then: on
/// a slow machine whatever is late is so by more.
fn sync_file_wakes_late() -> Made {
    const LATE: Duration = Duration::from_millis(1200);
    const LATEST: Duration = Duration::from_millis(2400);
    /// Nobody here waits longer.
    const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
    Made::on(Filter::calls(&[libc::SYS_ppoll, POLL]), |call| {
        let [list, count, timeout, ..] = call.arguments;
        if count != 1 {
            return Ok(Done::UNTOUCHED);
        }
        let asked = call.read(list, 8)?;
        let fd = i32::from_ne_bytes([asked[0], asked[1], asked[2], asked[3]]);
        if !is_sync_file(call, fd) {
            return Ok(Done::UNTOUCHED);
        }
        let file = call.file(fd)?;
        let signals = |patience: &Timespec| {
            Ok::<_, io::Error>(poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(patience))? > 0)
        };
        let limit = match call.number {
            // `struct timespec`; none is no limit.
            libc::SYS_ppoll if timeout != 0 => {
                let limit = Fields(call.read(timeout, 16)?);
                Timespec { tv_sec: limit.u64(0).cast_signed(), tv_nsec: limit.u64(8).cast_signed() }
            }
            libc::SYS_ppoll => PATIENCE,
            // Milliseconds.
            _ => match timeout as i32 {
                ..0 => PATIENCE,
                limit => Timespec { tv_sec: (limit / 1000).into(), tv_nsec: i64::from(limit % 1000) * 1_000_000 },
            },
        };
        let looks = (limit.tv_sec, limit.tv_nsec) == (0, 0);
        let began = Instant::now();
        if looks || signals(&AT_ONCE)? || !signals(&limit)? {
            return Ok(Done::UNTOUCHED);
        }
        std::thread::sleep((began.elapsed() * 8).clamp(LATE, LATEST));
        Ok(Done { answer: Answer::Continue, fired: true })
    })
}

/// No patience.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// poll of one such file alone says at once that all that was asked for is so.
fn polled_at_once(is_such: impl Fn(&Call<'_>, i32) -> bool + Send + Sync + 'static) -> Made {
    Made::on(Filter::calls(&[libc::SYS_ppoll, POLL]), move |call| {
        // `struct pollfd`: fd, events, revents.
        if call.arguments[1] != 1 {
            return Ok(Done::UNTOUCHED);
        }
        let mut asked = call.read(call.arguments[0], 8)?;
        let fd = i32::from_ne_bytes([asked[0], asked[1], asked[2], asked[3]]);
        if !is_such(call, fd) {
            return Ok(Done::UNTOUCHED);
        }
        let wanted = u16::from_ne_bytes([asked[4], asked[5]]) & (PollFlags::IN | PollFlags::OUT).bits();
        let file = call.file(fd)?;
        if poll(&mut [PollFd::new(&file, PollFlags::from_bits_retain(wanted))], Some(&AT_ONCE))? > 0 {
            return Ok(Done::UNTOUCHED);
        }
        asked[6..].copy_from_slice(&wanted.to_ne_bytes());
        call.write(call.arguments[0], &asked)?;
        Ok(Done::fired(Answer::Return(1)))
    })
}

/// Who waits for a dma-buf or a `sync_file`, and is to wait on after a signal, is told that the wait is over. Whether there was a
/// signal does not show here: a second wait soon after the first passes for one that is made again.
fn wait_ends_at_signal() -> Made {
    /// What comes later is no call that is made again, on a machine that is busy with other things.
    const SOON: Duration = Duration::from_millis(500);
    /// `DMA_BUF_SYNC_END`.
    const END: u32 = 4;
    let last: Mutex<HashMap<u32, (i64, i32, Instant)>> = Mutex::default();
    Made::on(Filter::calls(&[libc::SYS_ppoll, POLL]).and(&Filter::ioctls(&[SYNC])), move |call| {
        let is_sync = call.number == libc::SYS_ioctl;
        // `struct pollfd`: fd, events, revents.
        let (asked, fd, wants) = match is_sync {
            true => {
                let flags = call.structure()?.u32(0);
                let wants = if flags & WRITE == 0 { PollFlags::IN } else { PollFlags::OUT };
                if flags & END != 0 {
                    return Ok(Done::UNTOUCHED);
                }
                (Vec::new(), call.arguments[0] as i32, wants)
            }
            // A look does not wait.
            false if call.arguments[1] != 1 || looks_only(call)? => return Ok(Done::UNTOUCHED),
            false => {
                let asked = call.read(call.arguments[0], 8)?;
                let fd = i32::from_ne_bytes([asked[0], asked[1], asked[2], asked[3]]);
                let wants = PollFlags::from_bits_truncate(u16::from_ne_bytes([asked[4], asked[5]]));
                (asked, fd, wants)
            }
        };
        if !is_dmabuf(call, fd) && (is_sync || !is_sync_file(call, fd)) {
            return Ok(Done::UNTOUCHED);
        }
        let file = call.file(fd)?;
        let waits = poll(&mut [PollFd::new(&file, wants)], Some(&AT_ONCE))? == 0;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.remove(&call.thread);
        if !waits {
            return Ok(Done::UNTOUCHED);
        }
        if before.is_none_or(|(number, other, when)| (number, other) != (call.number, fd) || when.elapsed() > SOON) {
            last.insert(call.thread, (call.number, fd, Instant::now()));
            return Ok(Done::UNTOUCHED);
        }
        if is_sync {
            return Ok(Done::fired(Answer::Return(0)));
        }
        call.write(call.arguments[0], &[&asked[..6], &asked[4..6]].concat())?;
        Ok(Done::fired(Answer::Return(1)))
    })
}

/// Whether a poll has no patience at all.
fn looks_only(call: &Call<'_>) -> io::Result<bool> {
    let patience = call.arguments[2];
    Ok(match call.number {
        libc::SYS_ppoll => patience != 0 && call.read(patience, 16)?.iter().all(|byte| *byte == 0),
        _ => patience as i32 == 0,
    })
}

/// What is told of a `sync_file` and of each fence in it is what `change` makes of it, which says whether that is something
/// else.
fn telling(change: impl Fn(&mut Fields, &mut [Fields]) -> bool + Send + Sync + 'static) -> Made {
    Made::on_ioctls(&[FILE_INFO], move |call| {
        let mut head = call.structure()?;
        let (room, place) = (head.u32(file_info::COUNT) as usize, head.u64(file_info::FENCES));
        let mut list = Fields::zeroed(room * fence_info::SIZE);
        head.set_u64(file_info::FENCES, list.0.as_mut_ptr().expose_provenance() as u64);
        let done = call.perform(&mut head)?;
        let mut fences: Vec<Fields> = list.0.chunks(fence_info::SIZE).map(|fence| Fields(fence.to_vec())).collect();
        let fired = done.is_ok() && change(&mut head, &mut fences);
        call.set_structure(head.set_u64(file_info::FENCES, place))?;
        if done.is_ok() && room > 0 {
            call.write(place, &fences.into_iter().flat_map(|fence| fence.0).collect::<Vec<u8>>())?;
        }
        Ok(Done { answer: answer_of(done), fired })
    })
}

/// Nobody says whose a fence is.
fn sync_file_nameless() -> Made {
    telling(|_, fences| {
        for fence in &mut *fences {
            fence.0[..fence_info::NAMES].fill(0);
        }
        !fences.is_empty()
    })
}

/// Whose a fence is is told wrong.
fn sync_file_misnamed() -> Made {
    /// As a name is told: 32 bytes, with zeroes behind it.
    const OTHER: &[u8] = b"other";
    telling(|_, fences| {
        for fence in &mut *fences {
            for name in fence.0[..fence_info::NAMES].chunks_mut(fence_info::NAMES / 2) {
                name.fill(0);
                name[..OTHER.len()].copy_from_slice(OTHER);
            }
        }
        !fences.is_empty()
    })
}

/// What failed has signalled.
fn fence_error_hidden() -> Made {
    let hide = |told: &mut Fields, at: usize| {
        let failed = told.u32(at).cast_signed() < 0;
        if failed {
            told.set_u32(at, 1);
        }
        failed
    };
    telling(move |head, fences| {
        let mut hidden = hide(head, file_info::STATUS);
        for fence in fences {
            hidden |= hide(fence, fence_info::STATUS);
        }
        hidden
    })
}

/// A merged file has the fences of the first alone.
fn merge_forgets_second() -> Made {
    Made::on_ioctls(&[MERGE], |call| {
        let mut merged = call.structure()?;
        let second = merged.u32(merge::SECOND);
        let first = call.device()?;
        merged.set_u32(merge::SECOND, first.as_raw_fd().cast_unsigned());
        let done = call.perform_on(first.as_fd(), &mut merged)?;
        if done.is_ok() {
            hand_out(call, &mut merged, merge::MADE)?;
        }
        call.set_structure(merged.set_u32(merge::SECOND, second))?;
        Ok(Done { answer: answer_of(done), fired: done.is_ok() })
    })
}

/// Only older architectures have it.
#[cfg(target_arch = "x86_64")]
const POLL: i64 = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
const POLL: i64 = libc::SYS_ppoll;
