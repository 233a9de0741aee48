//! GEM handles, PRIME, and dumb buffers.
//!
//! Source: `include/uapi/drm/drm.h` and `drm_mode.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::SeekFrom;

use super::kms::GEM_CLOSE;
use super::{Done, Made, Named, answer_of, changing, give_in, hand_out, ignoring, reporting};
use crate::call::Answer;
use crate::fields::{Fields, both};
use crate::perform::{Mapped, perform};

pub(super) const ALL: &[Named] = &[
    ("gem-handle-kept", gem_handle_kept),
    ("prime-import-copies", prime_import_copies),
    ("prime-export-inherited", prime_export_inherited),
    ("prime-export-read-only", prime_export_read_only),
    ("prime-export-grows", prime_export_grows),
    ("imported-mapped", imported_mapped),
    ("dumb-rows-missing", dumb_rows_missing),
    ("prime-import-unsaid", || prime_without(1)),
    ("prime-export-unsaid", || prime_without(2)),
];

/// `DRM_IOCTL_PRIME_HANDLE_TO_FD`, `DRM_IOCTL_PRIME_FD_TO_HANDLE`, of `struct drm_prime_handle`.
pub(super) const HANDLE_TO_FD: u32 = both(b'd', 0x2d, 12);
pub(super) const FD_TO_HANDLE: u32 = both(b'd', 0x2e, 12);
pub(super) mod handle {
    pub(crate) const HANDLE: usize = 0;
    pub(crate) const FLAGS: usize = 4;
    pub(crate) const FD: usize = 8;
}
use handle::{FD, FLAGS, HANDLE};

/// `DRM_IOCTL_MODE_CREATE_DUMB`, of `struct drm_mode_create_dumb`.
pub(super) const CREATE_DUMB: u32 = both(b'd', 0xb2, 32);
pub(super) mod dumb {
    pub(crate) const HEIGHT: usize = 0;
    pub(crate) const WIDTH: usize = 4;
    pub(crate) const BPP: usize = 8;
    pub(crate) const HANDLE: usize = 16;
    pub(crate) const SIZE: usize = 24;
}

/// `DRM_IOCTL_MODE_MAP_DUMB`, of `struct drm_mode_map_dumb`.
pub(super) const MAP_DUMB: u32 = both(b'd', 0xb3, 16);

/// `DRM_IOCTL_GET_CAP`, of `struct drm_get_cap`, and `DRM_CAP_PRIME`.
pub(super) const GET_CAP: u32 = both(b'd', 0x0c, 16);
const CAP_PRIME: u64 = 5;

/// A card that does not tell one of `DRM_PRIME_CAP_*`.
fn prime_without(bit: u64) -> Made {
    reporting(
        GET_CAP,
        |asked| asked.u64(0) == CAP_PRIME,
        move |told| {
            let all = told.u64(8);
            told.set_u64(8, all & !bit);
            all & bit != 0
        },
    )
}

fn gem_handle_kept() -> Made {
    ignoring(&[GEM_CLOSE])
}

/// What a card imports is another buffer, with the contents of the moment.
fn prime_import_copies() -> Made {
    Made::on_ioctls(&[FD_TO_HANDLE], |call| {
        let mut structure = call.structure()?;
        let source = call.file(structure.u32(FD).cast_signed())?;
        if call.name_of_file(structure.u32(FD).cast_signed())?.starts_with("/dmabuf") {
            let card = call.device()?;
            // A card's own buffers come back as they are.
            if is_own(card.as_fd(), source.as_fd()) {
                return Ok(Done::UNTOUCHED);
            }
            if let Some(handle) = copy(card.as_fd(), source.as_fd())? {
                structure.set_u32(HANDLE, handle);
                call.set_structure(&structure)?;
                return Ok(Done::fired(Answer::Return(0)));
            }
        }
        Ok(Done::UNTOUCHED)
    })
}

/// Whether `card` made the buffer: it says where it would map it, and refuses that for what it has taken in, which nobody
/// else has a handle of here.
fn is_own(card: BorrowedFd<'_>, source: BorrowedFd<'_>) -> bool {
    let mut taken = Fields::zeroed(12);
    if perform(card, FD_TO_HANDLE, taken.set_u32(FD, source.as_raw_fd().cast_unsigned())).is_err() {
        return false;
    }
    let handle = taken.u32(HANDLE);
    let (mut map, mut close) = (Fields::zeroed(16), Fields::zeroed(8));
    let is_own = perform(card, MAP_DUMB, map.set_u32(0, handle)).is_ok();
    // The handle of a buffer of its own may be the caller's.
    is_own || {
        let _ = perform(card, GEM_CLOSE, close.set_u32(0, handle));
        false
    }
}

/// The handle of a dumb buffer of `card` with the contents of `source`; `None` if that can't be read.
fn copy(card: BorrowedFd<'_>, source: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    const ROW: u64 = 4096;
    let size = rustix::fs::seek(source, SeekFrom::End(0))?;
    let Ok(from) = Mapped::new(source, 0, size as usize) else { return Ok(None) };
    let mut made = Fields::zeroed(32);
    made.set_u32(dumb::HEIGHT, size.div_ceil(ROW) as u32).set_u32(dumb::WIDTH, (ROW / 4) as u32);
    perform(card, CREATE_DUMB, made.set_u32(dumb::BPP, 32))?;
    let handle = made.u32(dumb::HANDLE);
    let mut map = Fields::zeroed(16);
    perform(card, MAP_DUMB, map.set_u32(0, handle))?;
    Mapped::new(card, map.u64(8), size as usize)?.write(&from.read());
    Ok(Some(handle))
}

fn prime_export_inherited() -> Made {
    changing(HANDLE_TO_FD, |export| {
        let flags = export.u32(FLAGS);
        export.set_u32(FLAGS, flags & !libc::O_CLOEXEC.cast_unsigned());
        flags & libc::O_CLOEXEC.cast_unsigned() != 0
    })
}

fn prime_export_read_only() -> Made {
    changing(HANDLE_TO_FD, |export| {
        let flags = export.u32(FLAGS);
        export.set_u32(FLAGS, flags & !libc::O_RDWR.cast_unsigned());
        flags & libc::O_RDWR.cast_unsigned() != 0
    })
}

/// Each export leaves a file open in the process that asked.
fn prime_export_grows() -> Made {
    Made::on_ioctls(&[HANDLE_TO_FD], |call| {
        let mut structure = call.structure()?;
        let done = call.perform(&mut structure)?;
        if done.is_err() {
            return Ok(Done::as_it_was(done));
        }
        let exported = hand_out(call, &mut structure, FD)?;
        // Nobody is told of this one.
        give_in(call, &mut structure.clone(), FD, &exported)?;
        call.set_structure(&structure)?;
        Ok(Done::fired(answer_of(done)))
    })
}

/// A card says where it would map what it did not make.
fn imported_mapped() -> Made {
    Made::on_ioctls(&[MAP_DUMB], |call| {
        let mut structure = call.structure()?;
        let done = call.perform(&mut structure)?;
        let refused = done.is_err();
        if refused {
            structure.set_u64(8, 0x1_0000_0000);
        }
        call.set_structure(&structure)?;
        match refused {
            true => Ok(Done::fired(Answer::Return(0))),
            false => Ok(Done::as_it_was(done)),
        }
    })
}

/// Half of the rows have no memory.
fn dumb_rows_missing() -> Made {
    changing(CREATE_DUMB, |asked| {
        let height = asked.u32(dumb::HEIGHT);
        asked.set_u32(dumb::HEIGHT, height.div_ceil(2));
        height > 64
    })
}
