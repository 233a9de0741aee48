//! Displays as most hardware has them: nothing is written back, or the lowest plane must cover the CRTC.
//!
//! Source: `struct drm_mode_modeinfo` and `struct drm_mode_get_blob` in `include/uapi/drm/drm_mode.h`.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::atomic::{ATOMIC, Request};
use super::kms::{ADDFB2, fb, plane_moved};
use super::lists::GETPROPBLOB;
use super::odd::{PRIMARY, SET_CLIENT_CAP, card_without};
use super::{Done, Made, Named, changing};
use crate::call::Answer;
use crate::fields::Fields;
use crate::perform::perform;

pub(super) const ALL: &[Named] = &[
    ("card-without-writeback", || card_without(WRITEBACK_CONNECTORS)),
    ("plane-moved-unwritten", || unwritten(ATOMIC, plane_moved())),
    ("red-blue-unwritten", || unwritten(ADDFB2, one_order_alone())),
    ("crtc-covered", crtc_covered),
];

/// `DRM_CLIENT_CAP_WRITEBACK_CONNECTORS`.
const WRITEBACK_CONNECTORS: u64 = 5;

/// `made`, which is about the ioctl `number`, of a card without writeback.
fn unwritten(number: u32, made: Made) -> Made {
    let without = card_without(WRITEBACK_CONNECTORS);
    Made::on_ioctls(&[SET_CLIENT_CAP, number], move |call| match call.ioctl() {
        SET_CLIENT_CAP => Ok(Done { fired: false, ..(without.answer)(call)? }),
        _ => (made.answer)(call),
    })
}

/// A card to which red is in one place.
fn one_order_alone() -> Made {
    changing(ADDFB2, |frame| {
        let other = match &frame.u32(fb::FORMAT).to_le_bytes() {
            b"XB24" => *b"XR24",
            b"AB24" => *b"AR24",
            _ => return false,
        };
        frame.set_u32(fb::FORMAT, u32::from_le_bytes(other));
        true
    })
}

/// A card whose primary planes cover their CRTCs.
fn crtc_covered() -> Made {
    Made::on_ioctls(&[ATOMIC], |call| {
        let request = Request::read(call)?;
        for plane in request.planes()? {
            let shows = request.afterwards(plane, "FB_ID")?.is_some_and(|framebuffer| framebuffer != 0);
            if !shows || request.afterwards(plane, "type")? != Some(PRIMARY) {
                continue;
            }
            let crtc = request.afterwards(plane, "CRTC_ID")?.unwrap_or(0) as u32;
            let Some(mode) = mode_of(&request, crtc)? else { continue };
            for ((start, length), all) in [("CRTC_X", "CRTC_W"), ("CRTC_Y", "CRTC_H")].into_iter().zip(mode) {
                let value = |name| Ok::<_, io::Error>(request.afterwards(plane, name)?.unwrap_or(0).cast_signed());
                let (start, length) = (value(start)?, value(length)?);
                if start > 0 || start.saturating_add(length) < all {
                    return Ok(Done::fired(Answer::Fail(Errno::INVAL)));
                }
            }
        }
        Ok(Done::UNTOUCHED)
    })
}

/// Width and height of the mode that `crtc` has after `request`; none if it has none.
fn mode_of(request: &Request<'_>, crtc: u32) -> io::Result<Option<[i64; 2]>> {
    // `hdisplay` and `vdisplay`, of 16 bits each, of 68 bytes.
    const SIZES: [usize; 2] = [4, 14];
    let Some(id) = request.afterwards(crtc, "MODE_ID")?.filter(|id| *id != 0) else { return Ok(None) };
    let mut mode = Fields::zeroed(68);
    let mut asked = Fields::zeroed(16);
    asked.set_u32(0, id as u32).set_u32(4, 68).set_u64(8, mode.0.as_mut_ptr().expose_provenance() as u64);
    // What is no mode is for the commit to refuse.
    let is_there = perform(request.card.as_fd(), GETPROPBLOB, &mut asked).is_ok();
    Ok(is_there.then(|| SIZES.map(|at| i64::from(mode.u32(at) & 0xffff))))
}
