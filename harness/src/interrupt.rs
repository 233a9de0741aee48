//! What if signals come in the middle of a call? Its thread is interrupted again and again, by a signal that does
//! nothing.
//!
//! The handler is set without `SA_RESTART`, so that a call of the kernel that waits is broken off (`EINTR`) and whoever
//! made it has to make it again. signal-hook sets none like that, so this goes by libc.
//!
//! Source: signal(7), "Interruption of system calls and library functions by signal handlers".
#![expect(unsafe_code, reason = "sigaction without SA_RESTART, and a signal to one thread")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::{Cause, Error, Result};

pub use crate::restart::made_again;

/// Nobody else here uses it.
const SIGNAL: libc::c_int = libc::SIGUSR2;

/// How many have been taken.
static TAKEN: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    TAKEN.fetch_add(1, Ordering::Relaxed);
}

/// Does `work` while its thread is sent a signal every `period`; how many came.
///
/// # Errors
/// The handler can't be set, or the machine has no thread left.
pub fn while_interrupted<T>(period: Duration, work: impl FnOnce() -> T) -> Result<(T, u32)> {
    const OP: &str = "interrupting a thread";
    handled()?;
    let before = TAKEN.load(Ordering::Relaxed);
    // SAFETY: no precondition.
    let target = unsafe { libc::pthread_self() };
    let over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&over);
    let interrupt = move || {
        while !seen.load(Ordering::Acquire) {
            // SAFETY: the target is alive: it joins this thread before it goes on. The handler is set, so that nothing
            // else happens.
            unsafe { libc::pthread_kill(target, SIGNAL) };
            std::thread::sleep(period);
        }
    };
    let thread = std::thread::Builder::new().name("interrupter".to_owned()).spawn(interrupt);
    let thread = thread.map_err(|error| Error::new(OP, "a thread", error))?;
    // A panic of the work must not leave the other thread with a target that is gone.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    over.store(true, Ordering::Release);
    thread.join().map_err(|_| Error::new(OP, "a thread", Cause::Code("it panicked".to_owned())))?;
    match done {
        Ok(done) => Ok((done, TAKEN.load(Ordering::Relaxed).wrapping_sub(before))),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Sets the handler, once for the process: what comes late must not end it.
fn handled() -> Result<()> {
    static SET: OnceLock<Result<(), i32>> = OnceLock::new();
    let set = SET.get_or_init(|| {
        // SAFETY: all zeros are a valid `sigaction`: no flags, an empty mask, the default handler.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = count as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the handler only adds to an atomic number, which is async-signal-safe; nobody else here handles this
        // signal.
        match unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or_default()),
        }
    });
    set.map_err(|errno| Error::new("sigaction", "SIGUSR2", std::io::Error::from_raw_os_error(errno)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_waits_is_broken_off() {
        let (pipe, _open) = rustix::pipe::pipe().expect("a pipe");
        let (read, signals) = while_interrupted(Duration::from_millis(1), || {
            let mut byte = [0];
            rustix::io::read(&pipe, &mut byte)
        })
        .expect("a handler");
        assert_eq!(read, Err(rustix::io::Errno::INTR));
        assert!(signals > 0);
    }
}
