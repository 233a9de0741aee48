//! An ioctl by its number, with the one structure that it takes.
#![expect(unsafe_code, reason = "ioctls whose number is not known when this is compiled")]

use std::ffi::c_void;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

use crate::restart;

/// What rustix is to call.
struct Asked<'a, T> {
    opcode: Opcode,
    argument: &'a mut T,
}

// SAFETY: the argument is a pointer to a `T` that is borrowed for as long as `self` lives; whoever calls `ask` promises
// that the number takes one.
unsafe impl<T> Ioctl for Asked<'_, T> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.argument).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Makes the call on `node`, again where a signal breaks it off.
///
/// # Safety
/// The kernel takes a pointer to one `T` for `opcode`, or knows no such number; and no address in `argument` is one where
/// it may not read or write.
pub(crate) unsafe fn ask<T>(node: impl AsFd, opcode: Opcode, argument: &mut T) -> Result<(), Errno> {
    loop {
        // SAFETY: the caller's promise; the argument lives until the call returns.
        match unsafe { ioctl(&node, Asked { opcode, argument: &mut *argument }) } {
            Err(Errno::INTR) => restart::count(),
            done => return done,
        }
    }
}
