//! What only a broken driver does: it reads where nothing is, waits in the kernel where no signal wakes it, and calls the kernel
//! without the care that its documents ask for.
#![expect(unsafe_code, reason = "does on purpose what the compiler keeps everybody else from")]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};

/// Reads a byte through a pointer that was never one.
pub(crate) fn read_nowhere() -> u8 {
    // SAFETY: none; nothing is mapped there, which is the point. The processor refuses it, and the kernel ends this process.
    unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() }
}

/// Sleeps in the kernel as long as a child that shares this memory neither ends nor becomes another program, which it does
/// never. No signal but SIGKILL ends that sleep (state D).
pub(crate) fn sleep_in_the_kernel() {
    extern "C" fn child(_: *mut c_void) -> c_int {
        loop {
            // SAFETY: takes nothing; the child waits for signals, of which SIGKILL is one.
            unsafe { libc::pause() };
        }
    }
    /// More than the child needs.
    const STACK: usize = 64 << 10;
    let mut stack = vec![0_u8; STACK];
    let end = stack.as_mut_ptr_range().end;
    // SAFETY: the child has a stack of its own, which this frame keeps as long as it sleeps here, and touches nothing else.
    unsafe { libc::clone(child, end.cast(), libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, std::ptr::null_mut()) };
}

/// Maps the first `bytes` of `file`, and forgets where.
///
/// # Errors
/// The kernel's.
pub(crate) fn map_for_good(file: impl AsFd, bytes: usize) -> std::io::Result<()> {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    // SAFETY: a new mapping at an address of the kernel's choice, which nobody will know.
    unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
    Ok(())
}

/// `DMA_BUF_IOCTL_SYNC` of the begin of a read, once: whoever calls it so is not ready for a signal.
///
/// # Errors
/// The kernel's, EINTR and EAGAIN too.
pub(crate) fn begin_read_once(buffer: impl AsFd) -> std::io::Result<()> {
    const SYNC: libc::Ioctl = 0x4008_6200;
    let begin_read: u64 = 1;
    // SAFETY: the call reads 8 bytes at the address, which live until it returns.
    match unsafe { libc::ioctl(buffer.as_fd().as_raw_fd(), SYNC, &raw const begin_read) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
