//! Calls about syncobjs that must be refused.
//!
//! Source: `drm_syncobj.c` of the kernel.
#![expect(unsafe_code, reason = "makes ioctls with wrong arguments")]

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use drm_ffi::{drm_syncobj_array, drm_syncobj_handle, drm_syncobj_wait};

use super::{FD_TO_HANDLE, HANDLE_TO_FD, RESET, SIGNAL, SYNC_FILE, Syncobj, WAIT, ask};
use crate::error::Result;
use crate::kms::Prime;
use crate::kms::commit::own_fd;

/// A call about syncobjs that must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSyncobj {
    /// A syncobj with a flag that there is not.
    CreateWithUnknownFlag,
    /// A handle that there is not goes.
    DestroyUnknown,
    /// One goes with padding that is not 0.
    DestroyWithPadding,
    /// A handle of what a number is that is no file of a syncobj.
    TakeFrom(RawFd),
    /// A handle of a file of a syncobj, with a flag that there is not.
    TakeWithUnknownFlag,
    /// The same with padding that is not 0.
    TakeWithPadding,
    /// The fence of what a number is that is no sync file.
    ImportFrom(RawFd),
    /// A file of a handle that there is not.
    ShareUnknown,
    /// A file of one with a flag that there is not.
    ShareWithUnknownFlag,
    /// A sync file of a handle that there is not.
    ExportUnknown,
    /// A sync file of an object without a fence.
    ExportEmpty,
    /// A wait for a handle that there is not.
    WaitForUnknown,
    /// A wait with a flag that there is not.
    WaitWithUnknownFlag,
    /// No handle at all loses its fence.
    ResetNone,
    /// No handle at all signals.
    SignalNone,
}

/// A number that no file of a card gives to a handle.
const NO_HANDLE: u32 = 0x7fff_ffff;
/// A flag that none of these calls has.
const NO_FLAG: u32 = 1 << 30;

impl Syncobj {
    /// Makes the call, with this object where one is needed that there is; and undoes it if it is not refused.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn asks(&self, bad: BadSyncobj) -> Result<()> {
        let card = &self.card;
        let what = format!("{self}, {bad:?}");
        let ask_handle = |call, mut argument: drm_syncobj_handle| {
            // SAFETY: there is no address in it.
            unsafe { ask(card, call, &mut argument, &what) }.map(|()| argument)
        };
        let of_file = drm_syncobj_handle { handle: self.handle, fd: -1, ..Default::default() };
        let take = |fd, flags, pad| {
            let taken = ask_handle(FD_TO_HANDLE, drm_syncobj_handle { handle: 0, flags, fd, pad, ..of_file })?;
            card.destroy_syncobj(taken.handle, 0)
        };
        let file = |flags, handle| {
            let made = ask_handle(HANDLE_TO_FD, drm_syncobj_handle { handle, flags, ..of_file })?;
            drop(own_fd(made.fd)?);
            Ok(())
        };
        let wait_for = |handle: u32, flags| {
            let handles = (&raw const handle).expose_provenance() as u64;
            let mut argument = drm_syncobj_wait { handles, count_handles: 1, flags, ..Default::default() };
            // SAFETY: the one handle lives until the call returns.
            unsafe { ask(card, WAIT, &mut argument, &what) }
        };
        let for_none = |call| {
            let mut argument = drm_syncobj_array::default();
            // SAFETY: no handle is said to be there.
            unsafe { ask(card, call, &mut argument, &what) }
        };
        match bad {
            BadSyncobj::CreateWithUnknownFlag => card.destroy_syncobj(card.new_syncobj(NO_FLAG)?, 0),
            BadSyncobj::DestroyUnknown => card.destroy_syncobj(NO_HANDLE, 0),
            BadSyncobj::DestroyWithPadding => {
                let handle = card.new_syncobj(0)?;
                let destroyed = card.destroy_syncobj(handle, 1);
                // Refused or not, and whether or not it was done all the same.
                let _ = card.destroy_syncobj(handle, 0);
                destroyed
            }
            BadSyncobj::TakeFrom(number) => take(number, 0, 0),
            BadSyncobj::TakeWithUnknownFlag => take(self.share()?.0.as_raw_fd(), NO_FLAG, 0),
            BadSyncobj::TakeWithPadding => take(self.share()?.0.as_raw_fd(), 0, 1),
            BadSyncobj::ImportFrom(fd) => {
                ask_handle(FD_TO_HANDLE, drm_syncobj_handle { flags: SYNC_FILE, fd, ..of_file }).map(drop)
            }
            BadSyncobj::ShareUnknown => file(0, NO_HANDLE),
            BadSyncobj::ShareWithUnknownFlag => file(NO_FLAG, self.handle),
            BadSyncobj::ExportUnknown => file(SYNC_FILE, NO_HANDLE),
            BadSyncobj::ExportEmpty => file(SYNC_FILE, Prime(Arc::clone(card)).syncobj()?.handle),
            BadSyncobj::WaitForUnknown => wait_for(NO_HANDLE, 0),
            BadSyncobj::WaitWithUnknownFlag => wait_for(self.handle, NO_FLAG),
            BadSyncobj::ResetNone => for_none(RESET),
            BadSyncobj::SignalNone => for_none(SIGNAL),
        }
    }
}
