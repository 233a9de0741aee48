//! Controls: what a kernel may do, and seldom does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::kms::{ADDFB2, bytes_per_pixel, fb};
use super::memory::{ALLOC, LENGTH};
use super::prime::{CREATE_DUMB, FD_TO_HANDLE, dumb};
use super::video::{DQBUF, TYPE, is_single_planar};
use super::{Done, Made, Named, changing, every_other};
use crate::call::Answer;
use crate::fields::{both, writes};
use crate::filter::Filter;

pub(super) const ALL: &[Named] = &[
    ("addfb2-wants-256", addfb2_wants_256),
    ("sync-interrupted", sync_interrupted),
    ("drm-interrupted", drm_interrupted),
    ("dumb-pitch-256", dumb_pitch_256),
    ("heap-gives-more", heap_gives_more),
    ("dqbuf-again", dqbuf_again),
    ("slow-calls", slow_calls),
];

/// `DMA_BUF_IOCTL_SYNC`.
pub(super) const SYNC: u32 = writes(b'b', 0, 8);
const ATOMIC: u32 = both(b'd', 0xbc, 56);

/// A card that scans out rows at multiples of 256 bytes, as many do.
fn addfb2_wants_256() -> Made {
    Made::on_ioctls(&[ADDFB2], |call| {
        let frame = call.structure()?;
        let odd = bytes_per_pixel(frame.u32(fb::FORMAT)).is_some() && !frame.u32(fb::PITCHES).is_multiple_of(256);
        Ok(if odd { Done::fired(Answer::Fail(Errno::INVAL)) } else { Done::UNTOUCHED })
    })
}

/// Two of three times, what may be interrupted is.
fn sync_interrupted() -> Made {
    let count = AtomicU64::new(0);
    Made::on_ioctls(&[SYNC], move |_| {
        Ok(match count.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => Done::fired(Answer::Fail(Errno::INTR)),
            1 => Done::fired(Answer::Fail(Errno::AGAIN)),
            _ => Done::UNTOUCHED,
        })
    })
}

/// Every other call of a card is interrupted before it has done anything.
fn drm_interrupted() -> Made {
    let count = AtomicU64::new(0);
    Made::on_ioctls(&[ADDFB2, ATOMIC, FD_TO_HANDLE, CREATE_DUMB], move |_| {
        Ok(if every_other(&count) { Done::fired(Answer::Fail(Errno::INTR)) } else { Done::UNTOUCHED })
    })
}

/// Rows of dumb buffers begin at multiples of 256 bytes.
fn dumb_pitch_256() -> Made {
    changing(CREATE_DUMB, |asked| {
        let (width, bits) = (asked.u32(dumb::WIDTH), asked.u32(dumb::BPP));
        let wider = (width * bits / 8).next_multiple_of(256) * 8 / bits.max(8);
        asked.set_u32(dumb::WIDTH, wider);
        wider != width
    })
}

/// A heap rounds up to 64 KiB.
fn heap_gives_more() -> Made {
    changing(ALLOC, |asked| {
        let length = asked.u64(LENGTH);
        asked.set_u64(LENGTH, length.saturating_add(0xffff) & !0xffff);
        length & 0xffff != 0
    })
}

/// A buffer is not there at the first look, whatever poll said.
fn dqbuf_again() -> Made {
    let count = AtomicU64::new(0);
    Made::on_ioctls(&[DQBUF], move |call| {
        let single = is_single_planar(call.structure()?.u32(TYPE + 4));
        Ok(if single && every_other(&count) { Done::fired(Answer::Fail(Errno::AGAIN)) } else { Done::UNTOUCHED })
    })
}

/// What the kernel is asked most takes 2 ms longer.
fn slow_calls() -> Made {
    Made::on(Filter::ioctls(&[ADDFB2, ATOMIC, FD_TO_HANDLE, CREATE_DUMB, ALLOC, DQBUF, SYNC]), |_| {
        std::thread::sleep(Duration::from_millis(2));
        Ok(Done::fired(Answer::Continue))
    })
}
