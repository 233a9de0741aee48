//! What is said of a picture that was written back, and when it is there: a control, in which its X holds anything, formats that
//! there are not, and pictures that come late or not whole. The CRC of what is shown, which comes with the wrong frame.
//!
//! Source: "Writeback Connectors" in the kernel's KMS documentation; `drm_fourcc.h`, where X is padding.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{SeekFrom, fstat, seek};

use super::atomic::{ATOMIC, OUT_FENCE, Request, WRITEBACK_OUT_FENCE};
use super::kms::{bytes_per_pixel, fb, framebuffer};
use super::lists::{GETPROPBLOB, telling_blob};
use super::odd::SYNC;
use super::prime::{HANDLE_TO_FD, handle};
use super::{Done, Made, Named, owned};
use crate::call::{Answer, Call};
use crate::fields::Fields;
use crate::filter::Filter;
use crate::perform::{Mapped, perform};

pub(super) const ALL: &[Named] = &[
    ("writeback-x-garbage", writeback_x_garbage),
    ("writeback-formats-invented", writeback_formats_invented),
    ("writeback-of-frame-before", writeback_of_frame_before),
    ("writeback-not-flushed", writeback_not_flushed),
    ("crc-of-frame-before", crc_of_frame_before),
];

/// `ABGR16161616F`, which no plane of the sandbox has.
const HALF_FLOATS: u32 = u32::from_le_bytes(*b"AB4H");

/// Where a job writes.
struct Target {
    inode: u64,
    offset: usize,
    pitch: usize,
    width: usize,
    height: usize,
    /// Bytes of a pixel, and which of them are X, if any.
    pixel: usize,
    x: Range<usize>,
}

impl Target {
    /// Where row `y` lies.
    fn row(&self, y: usize) -> Range<usize> {
        let begin = self.offset + y * self.pitch;
        begin..begin + self.width * self.pixel
    }
}

/// What was committed, and when it is done.
type Jobs = Mutex<HashMap<u64, (Target, OwnedFd)>>;

/// A card that writes back without alpha, and anything in the place of it.
fn writeback_x_garbage() -> Made {
    let jobs = Jobs::default();
    Made::on_ioctls(&[GETPROPBLOB, ATOMIC, SYNC], move |call| match call.ioctl() {
        GETPROPBLOB => telling_blob(call, without_alpha).map(|done| Done { fired: false, ..done }),
        ATOMIC => committed(call, &jobs, |target| !target.x.is_empty()),
        _ => looked_at(call, &jobs, with_garbage),
    })
}

/// Whoever looks at what was written back finds the picture of the job before, if it was of the same shape.
fn writeback_of_frame_before() -> Made {
    type Shape = (usize, usize, usize);
    let before: Mutex<HashMap<Shape, Vec<u8>>> = Mutex::default();
    looking_at_jobs(move |target, bytes| {
        let rows: Vec<u8> = (0..target.height).filter_map(|y| bytes.get(target.row(y))).flatten().copied().collect();
        let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = before.insert((target.width, target.height, target.pixel), rows.clone()) else { return false };
        for (y, old) in old.chunks_exact(target.width * target.pixel).enumerate() {
            if let Some(row) = bytes.get_mut(target.row(y)) {
                row.copy_from_slice(old);
            }
        }
        old != rows
    })
}

/// The end of what was written back stays in a cache: whoever looks finds zeros there.
fn writeback_not_flushed() -> Made {
    /// Rows of it.
    const LATE: usize = 4;
    looking_at_jobs(|target, bytes| {
        for y in target.height.saturating_sub(LATE)..target.height {
            bytes.get_mut(target.row(y)).into_iter().flatten().for_each(|byte| *byte = 0);
        }
        true
    })
}

/// Changes what whoever looks at a job that is done finds, before the first look; it fires if `change` says so.
fn looking_at_jobs(change: impl Fn(&Target, &mut [u8]) -> bool + Send + Sync + 'static) -> Made {
    let jobs = Jobs::default();
    Made::on_ioctls(&[ATOMIC, SYNC], move |call| match call.ioctl() {
        ATOMIC => committed(call, &jobs, |_| true),
        _ => looked_at(call, &jobs, &change),
    })
}

/// Each CRC comes with the number of the frame after its own.
fn crc_of_frame_before() -> Made {
    // What the CRC before was, by the thread that reads.
    let before: Mutex<HashMap<u32, Vec<u8>>> = Mutex::default();
    Made::on(Filter::calls(&[libc::SYS_read]), move |call| {
        let [fd, address, length, ..] = call.arguments;
        if length > LONGEST_LINE || !call.name_of_file(fd as RawFd).is_ok_and(|name| name.ends_with("/crc/data")) {
            return Ok(Done::UNTOUCHED);
        }
        let mut line = vec![0; length as usize];
        let read = match rustix::io::read(call.device()?, &mut line) {
            Ok(read) => read,
            Err(errno) => return Ok(Done::as_it_was(Err(errno))),
        };
        line.truncate(read);
        // `0x0000002a 0x12345678`: the values begin behind the number.
        let values = line.iter().position(|byte| *byte == b' ').unwrap_or(read);
        let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
        let own = line[values..].to_vec();
        let old = before.insert(call.thread, own.clone()).filter(|old| old.len() == own.len() && *old != own);
        if let Some(old) = &old {
            line[values..].copy_from_slice(old);
        }
        call.write(address, &line)?;
        Ok(Done { answer: Answer::Return(read as i64), fired: old.is_some() })
    })
}

/// More than the line of any CRC.
const LONGEST_LINE: u64 = 4096;

/// A card that lists a format more than it writes back in, in the place of its last one.
fn writeback_formats_invented() -> Made {
    Made::on_ioctls(&[GETPROPBLOB], |call| {
        telling_blob(call, |blob| {
            let last = blob.0.len().saturating_sub(4);
            let is_list = is_list_of_formats(blob) && last > 0;
            if is_list {
                blob.set_u32(last, HALF_FLOATS);
            }
            is_list
        })
    })
}

/// Whether a blob is a list of formats alone, as `WRITEBACK_PIXEL_FORMATS` is.
fn is_list_of_formats(blob: &Fields) -> bool {
    blob.0.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ')
}

/// Changes a blob that is such a list.
fn without_alpha(blob: &mut Fields) -> bool {
    let is_list = is_list_of_formats(blob);
    for at in (0..blob.0.len()).step_by(4).filter(|_| is_list) {
        match &blob.u32(at).to_le_bytes() {
            b"AR24" | b"AB24" => blob.set_u32(at, u32::from_le_bytes(*b"XR24")),
            b"AR48" | b"AB48" => blob.set_u32(at, u32::from_le_bytes(*b"XR48")),
            _ => continue,
        };
    }
    is_list
}

/// Makes a commit in the caller's place, and remembers what it writes back to, if `is_wanted`, and its fence.
fn committed(call: &Call<'_>, jobs: &Jobs, is_wanted: impl Fn(&Target) -> bool) -> io::Result<Done> {
    let request = Request::read(call)?;
    let mut asked = None;
    for connector in request.objects() {
        let id = request.value(connector, "WRITEBACK_FB_ID")?.filter(|id| *id != 0);
        let place = request.value(connector, WRITEBACK_OUT_FENCE)?.filter(|place| *place != 0);
        if let (Some(id), Some(place)) = (id, place) {
            let card = request.card.as_fd();
            let target = framebuffer(card, id as u32, |frame| target(card, frame))?;
            asked = target.filter(&is_wanted).map(|target| (target, place));
        }
    }
    let Some((target, place)) = asked.filter(|_| !request.is_test()) else { return Ok(Done::UNTOUCHED) };
    // Where no fence can be written to, the kernel refuses the commit.
    for object in request.objects() {
        for pointer in [OUT_FENCE, WRITEBACK_OUT_FENCE] {
            let place = request.value(object, pointer)?.filter(|place| *place != 0);
            if place.is_some_and(|place| !call.can_write(place)) {
                return Ok(Done::UNTOUCHED);
            }
        }
    }
    let (done, fences) = request.perform()?;
    request.give(&fences)?;
    let fence = fences.into_iter().find(|fence| fence.place == place).and_then(|fence| fence.file);
    if let Some(fence) = fence.filter(|_| done.is_ok()) {
        jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(target.inode, (target, fence));
    }
    Ok(Done::as_it_was(done))
}

/// Where the framebuffer lies; `None` if its pixels are not known.
fn target(card: std::os::fd::BorrowedFd<'_>, frame: &Fields) -> io::Result<Option<Target>> {
    let Some(pixel) = bytes_per_pixel(frame.u32(fb::FORMAT)) else { return Ok(None) };
    let pixel = pixel as usize;
    let x = match &frame.u32(fb::FORMAT).to_le_bytes() {
        b"XR24" => 3..4,
        b"XR48" => 6..8,
        _ => 0..0,
    };
    let mut exported = Fields::zeroed(12);
    exported.set_u32(handle::HANDLE, frame.u32(fb::HANDLES)).set_u32(handle::FLAGS, libc::O_CLOEXEC.cast_unsigned());
    perform(card, HANDLE_TO_FD, &mut exported)?;
    let inode = fstat(owned(exported.u32(handle::FD).into())?)?.st_ino;
    let [offset, pitch, width, height] =
        [fb::OFFSETS, fb::PITCHES, fb::WIDTH, fb::HEIGHT].map(|field| frame.u32(field) as usize);
    Ok(Some(Target { inode, offset, pitch, width, height, pixel, x }))
}

/// X of what was written becomes anything.
fn with_garbage(target: &Target, bytes: &mut [u8]) -> bool {
    for (y, x) in (0..target.height).flat_map(|y| (0..target.width).map(move |x| (y, x))) {
        let at = target.offset + y * target.pitch + x * target.pixel;
        for byte in bytes.get_mut(at + target.x.start..at + target.x.end).into_iter().flatten() {
            *byte = (31 * x + 17 * y) as u8;
        }
    }
    true
}

/// Before the CPU reads what a job has written, `change` changes it; it fires if that says so.
fn looked_at(call: &Call<'_>, jobs: &Jobs, change: impl Fn(&Target, &mut [u8]) -> bool) -> io::Result<Done> {
    /// `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_END`.
    const READ: u64 = 1;
    const END: u64 = 4;
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    if call.structure()?.u64(0) & (READ | END) != READ {
        return Ok(Done::UNTOUCHED);
    }
    let file = call.device()?;
    let inode = fstat(&file)?.st_ino;
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((target, fence)) = jobs.remove(&inode) else { return Ok(Done::UNTOUCHED) };
    if poll(&mut [PollFd::new(&fence, PollFlags::IN)], Some(&AT_ONCE))? == 0 {
        jobs.insert(inode, (target, fence));
        return Ok(Done::UNTOUCHED);
    }
    let size = seek(&file, SeekFrom::End(0))? as usize;
    let mapped = Mapped::new(file.as_fd(), 0, size)?;
    let mut bytes = mapped.read();
    let fired = change(&target, &mut bytes);
    mapped.write(&bytes);
    Ok(Done { answer: Answer::Continue, fired })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_formats_loses_its_alpha() {
        let mut list = Fields(b"AR24XR24AB24XR48AR48RG16".to_vec());
        assert!(without_alpha(&mut list));
        assert_eq!(list.0, b"XR24XR24XR24XR48XR48RG16");
        let mut other = Fields(b"\x01\0\0\0AR24".to_vec());
        assert!(!without_alpha(&mut other));
        assert_eq!(other.0, b"\x01\0\0\0AR24");
    }
}
