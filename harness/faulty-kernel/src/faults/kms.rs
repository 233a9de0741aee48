//! Framebuffers, planes and commits.
//!
//! Source: `include/uapi/drm/drm_mode.h`.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::atomic::{ATOMIC, OUT_FENCE, Request, WRITEBACK_OUT_FENCE};
use super::fences::{Timeline, has_failed, signalled};
use super::{Done, Made, Named, answer_of, changing, ignoring};
use crate::call::Answer;
use crate::fields::{Fields, both};
use crate::perform::perform;

pub(super) const ALL: &[Named] = &[
    ("addfb2-pitch", addfb2_pitch),
    ("addfb2-offset-dropped", addfb2_offset_dropped),
    ("addfb2-modifier-ignored", addfb2_modifier_ignored),
    ("addfb2-red-blue", addfb2_red_blue),
    ("addfb2-chroma-swapped", addfb2_chroma_swapped),
    ("addfb2-modifier-of-32-bits", addfb2_modifier_of_32_bits),
    ("addfb2-planes-with-modifier", addfb2_planes_with_modifier),
    ("cursor-red-blue", cursor_red_blue),
    ("overlay-alpha-ignored", overlay_alpha_ignored),
    ("crop-twice", crop_twice),
    ("plane-moved", plane_moved),
    ("planes-exchanged", planes_exchanged),
    ("plane-fence-dropped", plane_fence_dropped),
    ("failed-fence-refused", failed_fence_refused),
    ("frame-skipped", frame_skipped),
    ("out-fence-early", out_fence_early),
    ("writeback-fence-early", writeback_fence_early),
    ("writeback-lost", writeback_lost),
    ("colour-range-ignored", colour_range_ignored),
    ("colour-encoding-ignored", colour_encoding_ignored),
    ("upside-down", upside_down),
    ("test-only-accepts", test_only_accepts),
    ("framebuffer-kept", framebuffer_kept),
    ("commit-unchecked", commit_unchecked),
    ("refused-commit-blanks", refused_commit_blanks),
];

/// `struct drm_mode_fb_cmd2`.
pub(super) mod fb {
    pub(crate) const SIZE: usize = 104;
    pub(crate) const ID: usize = 0;
    pub(crate) const WIDTH: usize = 4;
    pub(crate) const HEIGHT: usize = 8;
    pub(crate) const FORMAT: usize = 12;
    pub(crate) const FLAGS: usize = 16;
    pub(crate) const HANDLES: usize = 20;
    pub(crate) const PITCHES: usize = 36;
    pub(crate) const OFFSETS: usize = 52;
    pub(crate) const MODIFIERS: usize = 72;
    /// `DRM_MODE_FB_MODIFIERS`.
    pub(crate) const WITH_MODIFIERS: u32 = 2;
}

/// `DRM_IOCTL_MODE_ADDFB2`.
pub(super) const ADDFB2: u32 = both(b'd', 0xb8, fb::SIZE as u32);
/// `DRM_IOCTL_MODE_GETFB2`.
const GETFB2: u32 = both(b'd', 0xce, fb::SIZE as u32);
/// `DRM_IOCTL_MODE_RMFB` and `DRM_IOCTL_MODE_CLOSEFB`.
pub(super) const RMFB: u32 = both(b'd', 0xaf, 4);
const CLOSEFB: u32 = both(b'd', 0xd0, 8);
/// `DRM_IOCTL_GEM_CLOSE`.
pub(super) const GEM_CLOSE: u32 = crate::fields::writes(b'd', 0x09, 8);

/// A fourcc.
const fn code(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}

/// Bytes per pixel of the packed formats that the sandbox's cards show.
pub(super) fn bytes_per_pixel(format: u32) -> Option<u32> {
    match &format.to_le_bytes() {
        b"R8  " => Some(1),
        b"RG16" | b"BG16" | b"XR15" | b"AR15" | b"YUYV" | b"UYVY" | b"YVYU" | b"VYUY" => Some(2),
        [b'A' | b'X', b'R' | b'B', b'2' | b'3', b'4' | b'0'] => Some(4),
        [b'A' | b'X', b'R' | b'B', b'4', b'8' | b'H'] => Some(8),
        _ => None,
    }
}

fn planes(frame: &Fields) -> usize {
    (0..4).filter(|plane| frame.u32(fb::HANDLES + 4 * plane) != 0).count()
}

fn swap(frame: &mut Fields, one: usize, other: usize) -> bool {
    let (first, second) = (frame.u32(one), frame.u32(other));
    frame.set_u32(one, second).set_u32(other, first);
    first != second
}

fn addfb2_pitch() -> Made {
    changing(ADDFB2, |frame| {
        if planes(frame) > 1 {
            return swap(frame, fb::PITCHES, fb::PITCHES + 4);
        }
        let Some(bytes) = bytes_per_pixel(frame.u32(fb::FORMAT)) else { return false };
        let tight = frame.u32(fb::WIDTH) * bytes;
        let padded = frame.u32(fb::PITCHES) > tight;
        frame.set_u32(fb::PITCHES, tight);
        padded
    })
}

fn addfb2_offset_dropped() -> Made {
    changing(ADDFB2, |frame| {
        let with_offset = planes(frame) == 1 && frame.u32(fb::OFFSETS) != 0;
        frame.set_u32(fb::OFFSETS, 0);
        with_offset
    })
}

fn addfb2_modifier_ignored() -> Made {
    changing(ADDFB2, |frame| {
        let modified = frame.u32(fb::FLAGS) & fb::WITH_MODIFIERS != 0 && frame.u64(fb::MODIFIERS) != 0;
        frame.set_u32(fb::FLAGS, frame.u32(fb::FLAGS) & !fb::WITH_MODIFIERS);
        for plane in 0..4 {
            frame.set_u64(fb::MODIFIERS + 8 * plane, 0);
        }
        modified
    })
}

fn addfb2_modifier_of_32_bits() -> Made {
    changing(ADDFB2, |frame| {
        let modifiers = [0, 1, 2, 3].map(|plane| fb::MODIFIERS + 8 * plane);
        let is_cut = modifiers.into_iter().any(|at| frame.u32(at + 4) != 0);
        for at in modifiers {
            frame.set_u64(at, frame.u32(at).into());
        }
        is_cut
    })
}

/// Several planes with modifiers are refused, as if they had none but for the first.
fn addfb2_planes_with_modifier() -> Made {
    Made::on_ioctls(&[ADDFB2], |call| {
        let frame = call.structure()?;
        match planes(&frame) > 1 && frame.u32(fb::FLAGS) & fb::WITH_MODIFIERS != 0 {
            true => Ok(Done::fired(Answer::Fail(Errno::INVAL))),
            false => Ok(Done::UNTOUCHED),
        }
    })
}

/// The size that every card takes for a cursor, each way.
const CURSOR: u32 = 64;

fn cursor_red_blue() -> Made {
    changing(ADDFB2, |frame| {
        let is_cursor = (frame.u32(fb::WIDTH), frame.u32(fb::HEIGHT)) == (CURSOR, CURSOR);
        let is_cursor = is_cursor && frame.u32(fb::FORMAT) == code(b"AR24");
        if is_cursor {
            frame.set_u32(fb::FORMAT, code(b"AB24"));
        }
        is_cursor
    })
}

fn addfb2_red_blue() -> Made {
    changing(ADDFB2, |frame| {
        let other = match &frame.u32(fb::FORMAT).to_le_bytes() {
            [alpha, b'R', rest @ ..] => [*alpha, b'B', rest[0], rest[1]],
            [alpha, b'B', rest @ ..] => [*alpha, b'R', rest[0], rest[1]],
            _ => return false,
        };
        // What the drivers of the sandbox do not show in the other order stays as it is.
        let known = [b"AR24", b"AB24", b"XR24", b"XB24"].map(code).contains(&code(&other));
        if known {
            frame.set_u32(fb::FORMAT, code(&other));
        }
        known
    })
}

fn addfb2_chroma_swapped() -> Made {
    changing(ADDFB2, |frame| {
        let other = match &frame.u32(fb::FORMAT).to_le_bytes() {
            b"NV12" => b"NV21",
            b"NV21" => b"NV12",
            b"NV16" => b"NV61",
            b"NV61" => b"NV16",
            b"NV24" => b"NV42",
            b"NV42" => b"NV24",
            b"YU12" => b"YV12",
            b"YV12" => b"YU12",
            b"YU16" => b"YV16",
            b"YV16" => b"YU16",
            b"YU24" => b"YV24",
            b"YV24" => b"YU24",
            _ => return false,
        };
        frame.set_u32(fb::FORMAT, code(other));
        true
    })
}

fn overlay_alpha_ignored() -> Made {
    changing(ADDFB2, |frame| {
        let with_alpha = frame.u32(fb::FORMAT) == code(b"AR24");
        if with_alpha {
            frame.set_u32(fb::FORMAT, code(b"XR24"));
        }
        with_alpha
    })
}

/// Changes the commits that show something, which are not those that are only tried; it fires if `change` says so.
fn committing(change: impl Fn(&mut Request<'_>) -> io::Result<bool> + Send + Sync + 'static) -> Made {
    Made::on_ioctls(&[ATOMIC], move |call| {
        let mut request = Request::read(call)?;
        if request.is_test() || !change(&mut request)? {
            return Ok(Done::UNTOUCHED);
        }
        let (done, fences) = request.perform()?;
        request.give(&fences)?;
        Ok(Done { answer: answer_of(done), fired: true })
    })
}

/// A commit that the kernel refuses for good; what is done about it.
fn refused(then: impl Fn(&Request<'_>, Errno) -> io::Result<Answer> + Send + Sync + 'static) -> Made {
    Made::on_ioctls(&[ATOMIC], move |call| {
        let request = Request::read(call)?;
        if request.is_test() {
            return Ok(Done::UNTOUCHED);
        }
        let (done, fences) = request.perform()?;
        request.give(&fences)?;
        match done {
            // Who is not done with the commit before is asked again.
            Err(errno) if errno != Errno::BUSY => Ok(Done::fired(then(&request, errno)?)),
            _ => Ok(Done::as_it_was(done)),
        }
    })
}

/// It is said to be carried out, and is not.
fn commit_unchecked() -> Made {
    refused(|_, _| Ok(Answer::Return(0)))
}

/// It is refused, and the planes that it sets are black.
fn refused_commit_blanks() -> Made {
    refused(|request, errno| {
        request.blank()?;
        Ok(Answer::Fail(errno))
    })
}

fn crop_twice() -> Made {
    committing(|request| {
        let mut fired = false;
        for plane in request.objects() {
            let Some(id) = request.value(plane, "FB_ID")?.filter(|id| *id != 0) else { continue };
            let (width, height) = size_of(request.card.as_fd(), id as u32)?;
            for (from, length, all) in [("SRC_X", "SRC_W", width), ("SRC_Y", "SRC_H", height)] {
                let (Some(at), Some(length)) = (request.value(plane, from)?, request.value(plane, length)?) else {
                    continue;
                };
                // 16.16 fixed point.
                let twice = (2 * at).min((u64::from(all) << 16).saturating_sub(length));
                fired |= twice != at;
                request.set(plane, from, twice)?;
            }
        }
        Ok(fired)
    })
}

/// Width and height of a framebuffer.
fn size_of(card: BorrowedFd<'_>, id: u32) -> io::Result<(u32, u32)> {
    framebuffer(card, id, |frame| Ok((frame.u32(fb::WIDTH), frame.u32(fb::HEIGHT))))
}

/// What `look` makes of a framebuffer.
pub(super) fn framebuffer<T>(
    card: BorrowedFd<'_>,
    id: u32,
    look: impl FnOnce(&Fields) -> io::Result<T>,
) -> io::Result<T> {
    let mut frame = Fields::zeroed(fb::SIZE);
    frame.set_u32(fb::ID, id);
    perform(card, GETFB2, &mut frame)?;
    let looked = look(&frame);
    // Whoever is master gets handles of its own, one for each object.
    let mut handles: Vec<u32> = (0..4).map(|plane| frame.u32(fb::HANDLES + 4 * plane)).collect();
    handles.sort_unstable();
    handles.dedup();
    for handle in handles.into_iter().filter(|handle| *handle != 0) {
        let mut close = Fields::zeroed(8);
        perform(card, GEM_CLOSE, close.set_u32(0, handle))?;
    }
    looked
}

pub(super) fn plane_moved() -> Made {
    committing(|request| {
        let mut fired = false;
        for plane in request.objects() {
            let shown = request.value(plane, "FB_ID")?.is_some_and(|id| id != 0);
            if let Some(x) = request.value(plane, "CRTC_X")?.filter(|x| shown && *x != 0) {
                request.set(plane, "CRTC_X", x.wrapping_add(1))?;
                fired = true;
            }
        }
        Ok(fired)
    })
}

/// The two planes with the largest numbers show what the other one was to show, where three show something.
fn planes_exchanged() -> Made {
    const PLACE: [&str; 9] = ["FB_ID", "SRC_X", "SRC_Y", "SRC_W", "SRC_H", "CRTC_X", "CRTC_Y", "CRTC_W", "CRTC_H"];
    committing(|request| {
        let mut shown = Vec::new();
        for plane in request.objects() {
            if request.value(plane, "FB_ID")?.is_some_and(|id| id != 0) {
                shown.push(plane);
            }
        }
        let [.., _, one, other] = shown[..] else { return Ok(false) };
        for name in PLACE {
            if let (Some(first), Some(second)) = (request.value(one, name)?, request.value(other, name)?) {
                request.set(one, name, second)?;
                request.set(other, name, first)?;
            }
        }
        Ok(true)
    })
}

fn plane_fence_dropped() -> Made {
    committing(|request| {
        let mut fired = false;
        for plane in request.objects() {
            if request.value(plane, "IN_FENCE_FD")?.is_some_and(|fd| fd.cast_signed() >= 0) {
                request.set(plane, "IN_FENCE_FD", u64::MAX)?;
                fired = true;
            }
        }
        Ok(fired)
    })
}

/// A commit with the fence of somebody who failed is one with a wrong argument.
fn failed_fence_refused() -> Made {
    Made::on_ioctls(&[ATOMIC], |call| {
        let request = Request::read(call)?;
        for plane in request.objects() {
            let Some(fence) = request.value(plane, "IN_FENCE_FD")?.filter(|fd| fd.cast_signed() >= 0) else { continue };
            let Ok(fence) = call.file(fence as i32) else { continue };
            if has_failed(fence.as_fd()) {
                return Ok(Done::fired(Answer::Fail(Errno::INVAL)));
            }
        }
        Ok(Done::UNTOUCHED)
    })
}

/// A plane keeps its framebuffer in every second commit that gives it another one of the same size.
fn frame_skipped() -> Made {
    // By card and plane: what it shows, and how often it was given something.
    let shown: Mutex<HashMap<(u64, u32), (u64, u64)>> = Mutex::default();
    committing(move |request| {
        let card = rustix::fs::fstat(&request.card)?.st_rdev;
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fired = false;
        for plane in request.objects() {
            let Some(given) = request.value(plane, "FB_ID")? else { continue };
            let (before, count) = shown.get(&(card, plane)).copied().unwrap_or_default();
            let size = |id: u64| size_of(request.card.as_fd(), id as u32).ok();
            let alike = before != 0
                && given != 0
                && before != given
                && size(before).is_some_and(|old| Some(old) == size(given));
            let keeps = alike && (count + 1).is_multiple_of(2);
            if keeps {
                request.set(plane, "FB_ID", before)?;
                fired = true;
            }
            let count = if given == 0 { 0 } else { count + 1 };
            shown.insert((card, plane), (if keeps { before } else { given }, count));
        }
        Ok(fired)
    })
}

/// The fence of a CRTC or of a writeback job has signalled before the kernel has begun.
fn fence_early(pointer: &'static str) -> Made {
    Made::on_ioctls(&[ATOMIC], move |call| {
        let request = Request::read(call)?;
        let mut places = Vec::new();
        for object in request.objects() {
            places.extend(request.value(object, pointer)?.filter(|place| *place != 0));
        }
        if request.is_test() || places.is_empty() {
            return Ok(Done::UNTOUCHED);
        }
        let (done, mut fences) = request.perform()?;
        let mut fired = false;
        for fence in fences.iter_mut().filter(|fence| places.contains(&fence.place) && fence.file.is_some()) {
            if let Some(early) = signalled() {
                fence.file = Some(early);
                fired = true;
            }
        }
        request.give(&fences)?;
        Ok(Done { answer: answer_of(done), fired })
    })
}

fn out_fence_early() -> Made {
    fence_early(OUT_FENCE)
}

fn writeback_fence_early() -> Made {
    fence_early(WRITEBACK_OUT_FENCE)
}

/// Every fourth writeback job is forgotten, and its fence never signals.
fn writeback_lost() -> Made {
    let count = AtomicU64::new(1);
    let never = Mutex::<Option<Timeline>>::default();
    Made::on_ioctls(&[ATOMIC], move |call| {
        let mut request = Request::read(call)?;
        let mut lost = Vec::new();
        for connector in if request.is_test() { Vec::new() } else { request.objects() } {
            let place = request.value(connector, WRITEBACK_OUT_FENCE)?.filter(|place| *place != 0);
            let Some(place) = place.filter(|_| count.fetch_add(1, Ordering::Relaxed).is_multiple_of(4)) else {
                continue;
            };
            let mut never = never.lock().unwrap_or_else(PoisonError::into_inner);
            if never.is_none() {
                *never = Timeline::new();
            }
            let Some(fence) = never.as_ref().and_then(|never| never.at(1)) else { continue };
            request.set(connector, WRITEBACK_OUT_FENCE, 0)?;
            request.set(connector, "WRITEBACK_FB_ID", 0)?;
            lost.push((place, fence));
        }
        if lost.is_empty() {
            return Ok(Done::UNTOUCHED);
        }
        let (done, fences) = request.perform()?;
        request.give(&fences)?;
        // Who is refused gets no fence, and asks again.
        for (place, fence) in lost.into_iter().filter(|_| done.is_ok()) {
            let number = call.give(fence, true)?;
            call.write(place, &number.to_ne_bytes())?;
        }
        Ok(Done { answer: answer_of(done), fired: done.is_ok() })
    })
}

fn colour_range_ignored() -> Made {
    committing(|request| {
        let mut fired = false;
        for plane in request.objects() {
            // 0 is the limited range, 1 the full one, with every driver: drm_color_mgmt.h.
            if let Some(range) = request.value(plane, "COLOR_RANGE")? {
                request.set(plane, "COLOR_RANGE", 1 - range.min(1))?;
                fired = true;
            }
        }
        Ok(fired)
    })
}

/// Every picture is converted by BT.601, which is 0 with every driver: drm_color_mgmt.h.
fn colour_encoding_ignored() -> Made {
    committing(|request| {
        let mut fired = false;
        for plane in request.objects() {
            if request.value(plane, "COLOR_ENCODING")?.is_some_and(|encoding| encoding != 0) {
                request.set(plane, "COLOR_ENCODING", 0)?;
                fired = true;
            }
        }
        Ok(fired)
    })
}

/// What a plane shows it shows upside down.
fn upside_down() -> Made {
    /// `DRM_MODE_ROTATE_0` and `DRM_MODE_REFLECT_Y`.
    const UPSIDE_DOWN: u64 = 1 << 0 | 1 << 5;
    committing(|request| {
        let mut fired = false;
        for plane in request.objects() {
            if request.value(plane, "FB_ID")?.is_some_and(|id| id != 0) {
                fired |= request.add(plane, "rotation", UPSIDE_DOWN)?;
            }
        }
        Ok(fired)
    })
}

fn test_only_accepts() -> Made {
    Made::on_ioctls(&[ATOMIC], |call| {
        let request = Request::read(call)?;
        if !request.is_test() {
            return Ok(Done::UNTOUCHED);
        }
        let (done, fences) = request.perform()?;
        request.give(&fences)?;
        Ok(if done.is_ok() { Done::as_it_was(done) } else { Done::fired(Answer::Return(0)) })
    })
}

fn framebuffer_kept() -> Made {
    ignoring(&[RMFB, CLOSEFB])
}
