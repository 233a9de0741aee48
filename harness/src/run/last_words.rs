//! What does a worker say that dies of a signal? In which call it was: a thread of its own tells, while the one that was hit waits.
//!
//! A handler may do next to nothing, least of all where memory may be spoilt. So it wakes that thread by a byte in a pipe, gives
//! it a moment, and has the signal come once more, to whom it came before.
//!
//! Source: signal-safety(7); sigaction(2), "a faulting instruction is executed again" when a handler returns.
#![expect(unsafe_code, reason = "sigaction, and what its handler does")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::IntoRawFd;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Signals that a thread gets for what it has just done.
const SIGNALS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// So many ms the thread that was hit waits for the other one, which may wait for what that one holds.
const MOMENT: libc::c_int = 300;

static HIT: AtomicBool = AtomicBool::new(false);
/// Where the handler writes, and where it waits.
static PIPES: [AtomicI32; 2] = [AtomicI32::new(-1), AtomicI32::new(-1)];
static BEFORE: OnceLock<[libc::sigaction; 4]> = OnceLock::new();

extern "C" fn hit(signal: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    let [wake, told] = PIPES.each_ref().map(|fd| fd.load(Ordering::Relaxed));
    if !HIT.swap(true, Ordering::Relaxed) {
        // SAFETY: one byte of a constant, to an fd that stays open.
        if unsafe { libc::write(wake, ptr::from_ref(&0_u8).cast(), 1) } == 1 {
            let mut answer = libc::pollfd { fd: told, events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry, of this frame.
            unsafe { libc::poll(&raw mut answer, 1, MOMENT) };
        }
    }
    let before = BEFORE.get().and_then(|all| SIGNALS.iter().zip(all).find(|(known, _)| **known == signal));
    if let Some((_, before)) = before {
        // SAFETY: what was set for the signal before.
        unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
    }
    // What the processor found it finds again when this returns; what a program sent has to be sent once more.
    // SAFETY: the kernel's, for as long as the handler runs.
    if unsafe { info.as_ref() }.is_some_and(|info| info.si_code <= 0) {
        // SAFETY: no precondition.
        unsafe { libc::raise(signal) };
    }
}

/// From now on `tell` is called, in a thread of its own, when a thread of this process is hit by a signal, before that ends it.
///
/// # Errors
/// There is no fd or no thread left.
pub(super) fn on_death(tell: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (woken, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (told, answer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (mut woken, mut answer) = (File::from(woken), File::from(answer));
    std::thread::Builder::new().name("last words".into()).spawn(move || {
        if woken.read_exact(&mut [0]).is_ok() {
            tell();
            let _ = answer.write_all(&[0]);
        }
    })?;
    // They stay open for as long as the process lives.
    PIPES[0].store(wake.into_raw_fd(), Ordering::Relaxed);
    PIPES[1].store(told.into_raw_fd(), Ordering::Relaxed);
    BEFORE.get_or_init(|| {
        SIGNALS.map(|signal| {
            // SAFETY: all zeros are a valid `sigaction`.
            let [mut action, mut before]: [libc::sigaction; 2] = unsafe { std::mem::zeroed() };
            action.sa_sigaction =
                hit as extern "C" fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void) as usize;
            // The stack may be what is used up; the runtime gives threads another one for handlers.
            action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
            // SAFETY: the handler calls what is safe in one.
            unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
            before
        })
    });
    Ok(())
}
