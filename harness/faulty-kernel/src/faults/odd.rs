//! Controls: what a kernel may do, and seldom does.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;

use super::atomic::{ATOMIC, Request};
use super::kms::{ADDFB2, bytes_per_pixel, fb};
use super::memory::{ALLOC, LENGTH};
use super::prime::{CREATE_DUMB, FD_TO_HANDLE, GET_CAP, MAP_DUMB, dumb};
use super::video::{CAPTURE, DQBUF, G_FMT, QBUF, TYPE, buffer, is_single_planar};
use super::{Done, Made, Named, answer_of, changing, every_other};
use crate::call::{Answer, Call};
use crate::fields::{Fields, both, writes};
use crate::filter::Filter;
use crate::perform::{Mapped, perform};

pub(super) const ALL: &[Named] = &[
    ("addfb2-choosy", addfb2_choosy),
    ("captured-x-garbage", captured_x_garbage),
    ("sync-interrupted", sync_interrupted),
    ("drm-interrupted", drm_interrupted),
    ("dumb-pitch-256", dumb_pitch_256),
    ("heap-gives-more", heap_gives_more),
    ("dqbuf-again", dqbuf_again),
    ("slow-calls", slow_calls),
    ("crtc-wants-primary", crtc_wants_primary),
    ("card-without-planes", || card_without(UNIVERSAL_PLANES)),
    ("card-without-atomic", || card_without(CLIENT_ATOMIC)),
    ("card-without-modifiers", card_without_modifiers),
    ("dumb-of-32-bits-at-most", dumb_of_32_bits_at_most),
    ("addfb2-own-memory-only", addfb2_own_memory_only),
];

/// `DRM_IOCTL_SET_CLIENT_CAP`, of `struct drm_set_client_cap`, whose first field is one of these.
pub(super) const SET_CLIENT_CAP: u32 = writes(b'd', 0x0d, 16);
const UNIVERSAL_PLANES: u64 = 2;
const CLIENT_ATOMIC: u64 = 3;

/// `DRM_PLANE_TYPE_PRIMARY`.
pub(super) const PRIMARY: u64 = 1;

/// `DRM_CAP_ADDFB2_MODIFIERS`, which `DRM_IOCTL_GET_CAP` is asked for.
const ADDFB2_MODIFIERS: u64 = 0x10;

/// `DRM_IOCTL_MODE_GETRESOURCES`, of `struct drm_mode_card_res`: only a card that shows something has an answer.
const GETRESOURCES: u32 = both(b'd', 0xa0, 64);

/// `DRM_IOCTL_MODE_GETPROPERTY`, of `struct drm_mode_get_property`.
const GETPROPERTY: u32 = both(b'd', 0xaa, 64);
mod property {
    pub(super) const VALUES: usize = 0;
    pub(super) const ENUMS: usize = 8;
    pub(super) const ID: usize = 16;
    pub(super) const NAME: usize = 24;
    pub(super) const VALUES_COUNT: usize = 56;
}

/// A card of a driver that does not have what clients may ask for.
pub(super) fn card_without(capability: u64) -> Made {
    Made::on_ioctls(&[SET_CLIENT_CAP], move |call| {
        let is_it = call.structure()?.u64(0) == capability;
        Ok(if is_it { Done::fired(Answer::Fail(Errno::OPNOTSUPP)) } else { Done::UNTOUCHED })
    })
}

/// A card whose driver knows no modifiers of framebuffers: it says so, its planes list none, and it takes none.
fn card_without_modifiers() -> Made {
    Made::on_ioctls(&[GET_CAP, GETPROPERTY, ADDFB2], |call| {
        let mut structure = call.structure()?;
        match call.ioctl() {
            GET_CAP if structure.u64(0) == ADDFB2_MODIFIERS => {
                let done = call.perform(&mut structure)?;
                call.set_structure(structure.set_u64(8, 0))?;
                Ok(Done { answer: answer_of(done), fired: done.is_ok() })
            }
            GETPROPERTY => {
                // Without room for values, of which a property that is a blob has none.
                let mut told = Fields::zeroed(64);
                told.set_u32(property::ID, structure.u32(property::ID));
                let is_list = perform(call.device()?.as_fd(), GETPROPERTY, &mut told).is_ok()
                    && told.0[property::NAME..].starts_with(b"IN_FORMATS\0");
                if !is_list {
                    return Ok(Done::UNTOUCHED);
                }
                for field in [property::VALUES, property::ENUMS] {
                    told.set_u64(field, structure.u64(field));
                }
                // Whatever its name is, it is not the one that planes are asked for.
                told.0[property::NAME..property::VALUES_COUNT].copy_within(3.., 0);
                call.set_structure(&told)?;
                Ok(Done::fired(Answer::Return(0)))
            }
            ADDFB2 if structure.u32(fb::FLAGS) & fb::WITH_MODIFIERS != 0 => Ok(Done::fired(Answer::Fail(Errno::INVAL))),
            _ => Ok(Done::UNTOUCHED),
        }
    })
}

/// A card with a display makes dumb buffers of 8, 16 and 32 bits per pixel. The sandbox's GBM makes its own of another card's.
fn dumb_of_32_bits_at_most() -> Made {
    Made::on_ioctls(&[CREATE_DUMB], |call| {
        if [8, 16, 32].contains(&call.structure()?.u32(dumb::BPP)) {
            return Ok(Done::UNTOUCHED);
        }
        let shows = perform(call.device()?.as_fd(), GETRESOURCES, &mut Fields::zeroed(64)).is_ok();
        Ok(if shows { Done::fired(Answer::Fail(Errno::INVAL)) } else { Done::UNTOUCHED })
    })
}

/// A card makes framebuffers of what it made itself alone, which it would map.
fn addfb2_own_memory_only() -> Made {
    Made::on_ioctls(&[ADDFB2], |call| {
        let (frame, card) = (call.structure()?, call.device()?);
        let handles = (0..4).map(|plane| frame.u32(fb::HANDLES + 4 * plane)).filter(|handle| *handle != 0);
        let is_foreign = |handle| {
            let mapped = perform(card.as_fd(), MAP_DUMB, Fields::zeroed(16).set_u32(0, handle));
            // Of a handle that there is not it says something else.
            mapped == Err(Errno::INVAL)
        };
        let foreign = handles.into_iter().any(is_foreign);
        Ok(if foreign { Done::fired(Answer::Fail(Errno::INVAL)) } else { Done::UNTOUCHED })
    })
}

/// `DMA_BUF_IOCTL_SYNC`.
pub(super) const SYNC: u32 = writes(b'b', 0, 8);

/// A card that scans out rows at multiples of 256 bytes, as many do, and lays its own so; and no small frames of some formats
/// with a modifier.
fn addfb2_choosy() -> Made {
    let dumb = dumb_pitch_256();
    Made::on_ioctls(&[ADDFB2, CREATE_DUMB], move |call| {
        if call.ioctl() == CREATE_DUMB {
            return (dumb.answer)(call);
        }
        let frame = call.structure()?;
        let format = frame.u32(fb::FORMAT);
        let pitch = bytes_per_pixel(format).is_some() && !frame.u32(fb::PITCHES).is_multiple_of(256);
        let modifier = frame.u32(fb::FLAGS) & fb::WITH_MODIFIERS != 0
            && [*b"AB24", *b"RG16"].contains(&format.to_le_bytes())
            && frame.u32(fb::WIDTH) < 64;
        Ok(if pitch || modifier { Done::fired(Answer::Fail(Errno::INVAL)) } else { Done::UNTOUCHED })
    })
}

/// The bytes of X of what was captured hold anything.
fn captured_x_garbage() -> Made {
    // By the device and the slot: which dma-buf was given for it last, by its inode.
    let given: Mutex<HashMap<(u64, u32), u64>> = Mutex::default();
    Made::on_ioctls(&[QBUF, DQBUF], move |call| {
        let mut taken = call.structure()?;
        if taken.u32(buffer::TYPE) != CAPTURE {
            return Ok(Done::UNTOUCHED);
        }
        let device = fstat(call.device()?)?.st_rdev;
        let mut given = given.lock().unwrap_or_else(PoisonError::into_inner);
        if call.ioctl() == QBUF {
            let is_dmabuf = taken.u32(buffer::MEMORY) == buffer::DMABUF;
            let file = is_dmabuf.then(|| call.file(taken.u32(buffer::FD).cast_signed()).ok()).flatten();
            let inode = file.and_then(|file| Some(fstat(file).ok()?.st_ino));
            given.extend(inode.map(|inode| ((device, taken.u32(buffer::INDEX)), inode)));
            return Ok(Done::UNTOUCHED);
        }
        let done = call.perform(&mut taken)?;
        let inode = given.get(&(device, taken.u32(buffer::INDEX))).copied();
        let fired = done.is_ok() && garble(call, &taken, inode)?;
        call.set_structure(&taken)?;
        Ok(Done { answer: answer_of(done), fired })
    })
}

/// Changes the bytes of X in a buffer that was taken out of a queue, and was given as the dma-buf `inode`; whether it has any.
fn garble(call: &Call<'_>, taken: &Fields, inode: Option<u64>) -> io::Result<bool> {
    // `struct v4l2_format` of one plane: width, height, pixel format, pitch.
    const WIDTH: usize = 8;
    const HEIGHT: usize = 12;
    const FORMAT: usize = 16;
    const PITCH: usize = 24;
    let device = call.device()?;
    let mut format = Fields::zeroed(208);
    if perform(device.as_fd(), G_FMT, format.set_u32(TYPE, CAPTURE)).is_err()
        || ![*b"XR24", *b"XB24"].contains(&format.u32(FORMAT).to_le_bytes())
    {
        return Ok(false);
    }
    let [width, height, pitch] = [WIDTH, HEIGHT, PITCH].map(|field| format.u32(field) as usize);
    let length = pitch * height;
    let mapped = match taken.u32(buffer::MEMORY) {
        // Whoever gave it may have closed it since.
        buffer::DMABUF => {
            let Ok(file) = call.file(taken.u32(buffer::FD).cast_signed()) else { return Ok(false) };
            // Its number may be another file's by then.
            if inode != Some(fstat(&file)?.st_ino) {
                return Ok(false);
            }
            Mapped::new(file.as_fd(), 0, length)
        }
        buffer::MMAP => Mapped::new(device.as_fd(), taken.u32(buffer::FD).into(), length),
        _ => return Ok(false),
    };
    let Ok(mapped) = mapped else { return Ok(false) };
    let mut bytes = mapped.read();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        bytes[y * pitch + 4 * x + 3] = (31 * x + 17 * y) as u8;
    }
    mapped.write(&bytes);
    Ok(true)
}

/// A card that lights no CRTC without its primary plane.
fn crtc_wants_primary() -> Made {
    Made::on_ioctls(&[ATOMIC], |call| {
        let request = Request::read(call)?;
        // Primary planes that show something, by their CRTCs.
        let mut shown = Vec::new();
        for plane in request.planes()? {
            if request.afterwards(plane, "type")? == Some(PRIMARY)
                && request.afterwards(plane, "FB_ID")?.is_some_and(|framebuffer| framebuffer != 0)
            {
                shown.extend(request.afterwards(plane, "CRTC_ID")?);
            }
        }
        let mut touched: Vec<u32> = Vec::new();
        for object in request.objects() {
            touched.push(object);
            touched.extend(request.value(object, "CRTC_ID")?.map(|crtc| crtc as u32));
            touched.extend(request.current(object, "CRTC_ID")?.map(|(_, crtc)| crtc as u32));
        }
        for crtc in touched {
            let is_set = request.afterwards(crtc, "MODE_ID")?.is_some_and(|mode| mode != 0);
            if is_set && request.afterwards(crtc, "ACTIVE")? == Some(1) && !shown.contains(&crtc.into()) {
                return Ok(Done::fired(Answer::Fail(Errno::INVAL)));
            }
        }
        Ok(Done::UNTOUCHED)
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
        // So many pixels, or a multiple, fill rows of such a length: the size of a pixel may have factors that 256 has not.
        let step = (256 * 8) >> bits.trailing_zeros().min(11);
        let wider = width.next_multiple_of(step);
        asked.set_u32(dumb::WIDTH, wider);
        wider != width
    })
}

/// A heap rounds up to 64 KiB what is more than a page, and what it may be able to give.
fn heap_gives_more() -> Made {
    changing(ALLOC, |asked| {
        let length = asked.u64(LENGTH);
        let rounds = (4097..1 << 40).contains(&length) && length & 0xffff != 0;
        if rounds {
            asked.set_u64(LENGTH, length.next_multiple_of(0x1_0000));
        }
        rounds
    })
}

/// A buffer is not there at the first look, whatever poll said. A queue that poll says something else of has another answer.
fn dqbuf_again() -> Made {
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let count = AtomicU64::new(0);
    Made::on_ioctls(&[DQBUF], move |call| {
        if !is_single_planar(call.structure()?.u32(buffer::TYPE)) {
            return Ok(Done::UNTOUCHED);
        }
        let device = call.device()?;
        let mut asked = [PollFd::new(&device, PollFlags::IN | PollFlags::OUT)];
        poll(&mut asked, Some(&AT_ONCE))?;
        let said = asked[0].revents();
        let is_there = said.intersects(PollFlags::IN | PollFlags::OUT) && !said.contains(PollFlags::ERR);
        let again = is_there && every_other(&count);
        Ok(if again { Done::fired(Answer::Fail(Errno::AGAIN)) } else { Done::UNTOUCHED })
    })
}

/// What the kernel is asked most takes 2 ms longer now and then.
fn slow_calls() -> Made {
    let count = AtomicU64::new(0);
    Made::on(Filter::ioctls(&[ADDFB2, ATOMIC, FD_TO_HANDLE, CREATE_DUMB, ALLOC, DQBUF, SYNC]), move |_| {
        Ok(match count.fetch_add(1, Ordering::Relaxed).is_multiple_of(9) {
            true => {
                std::thread::sleep(Duration::from_millis(2));
                Done::fired(Answer::Continue)
            }
            false => Done::UNTOUCHED,
        })
    })
}
