//! What a card says that its planes can do.
//!
//! Source: `struct drm_format_modifier_blob` in `include/uapi/drm/drm_mode.h`.

use std::io;

use super::{Done, Made, Named, answer_of};
use crate::call::Call;
use crate::fields::{Fields, both};

pub(super) const ALL: &[Named] = &[("in-formats-invented", in_formats_invented)];

/// `DRM_IOCTL_MODE_GETPROPBLOB`, of `struct drm_mode_get_blob`.
pub(super) const GETPROPBLOB: u32 = both(b'd', 0xac, 16);
const LENGTH: usize = 4;
const DATA: usize = 8;

/// `ABGR16161616F`, which no card of the sandbox shows.
const HALF_FLOATS: u32 = u32::from_le_bytes(*b"AB4H");

/// The last format of each `IN_FORMATS` is another one.
fn in_formats_invented() -> Made {
    Made::on_ioctls(&[GETPROPBLOB], |call| telling_blob(call, invent))
}

/// What is told of a blob is what `change` makes of it, in its own length; it fires if that says so.
pub(super) fn telling_blob(call: &Call<'_>, change: impl Fn(&mut Fields) -> bool) -> io::Result<Done> {
    let mut asked = call.structure()?;
    let (length, place) = (asked.u32(LENGTH) as usize, asked.u64(DATA));
    if length == 0 || place == 0 {
        return Ok(Done::UNTOUCHED);
    }
    let mut blob = Fields::zeroed(length);
    let done = call.perform(asked.set_u64(DATA, blob.0.as_mut_ptr().expose_provenance() as u64))?;
    // The kernel copies a blob only into room for just that.
    let is_told = done.is_ok() && asked.u32(LENGTH) as usize == length;
    let fired = is_told && change(&mut blob);
    call.set_structure(asked.set_u64(DATA, place))?;
    if is_told {
        call.write(place, &blob.0)?;
    }
    Ok(Done { answer: answer_of(done), fired })
}

/// Changes the last format of a blob that is a list of formats and modifiers.
fn invent(blob: &mut Fields) -> bool {
    let [version, flags, formats, formats_at, modifiers, modifiers_at] =
        [0, 4, 8, 12, 16, 20].map(|at| blob.u32(at) as usize);
    let is_list = blob.0.len() >= 24
        && (version, flags) == (1, 0)
        && formats > 0
        && formats_at + 4 * formats <= modifiers_at
        && modifiers_at + 24 * modifiers == blob.0.len();
    if is_list {
        blob.set_u32(formats_at + 4 * (formats - 1), HALF_FLOATS);
    }
    is_list
}
