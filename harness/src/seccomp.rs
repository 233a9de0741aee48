//! How does a process see system calls before the kernel does them, whoever makes them: libc, Rust, or a driver's own assembly?
//!
//! By seccomp's user notification: calls with certain numbers wait until a listener says whether they go on or fail. It holds
//! for the thread that installs it and for every thread and process that this one starts from then on, for ever.
//!
//! Source: "Seccomp BPF (SECure COMPuting with filters)" in the kernel's documentation, and seccomp_unotify(2).
#![expect(
    unsafe_code,
    reason = "seccomp(2) and the ioctls of its listener have no safe wrapper: they are given pointers to structures"
)]

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// The end at which calls wait. Calls that wait when it is closed, and later ones, fail with `ENOSYS`.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    id: u64,
    /// The thread that makes it.
    pub(crate) thread: u32,
    /// Its number, a constant `libc::SYS_…`.
    pub(crate) number: i64,
    /// Its arguments. Pointers are those of the process that calls.
    pub(crate) args: [u64; 6],
}

/// `AUDIT_ARCH_X86_64` of `linux/audit.h`: the machine for which call numbers are meant.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
/// `AUDIT_ARCH_AARCH64`.
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K` of `linux/filter.h`.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// The program for calls with one of `numbers`. A mapping of no file is left alone: it is memory, of which there are too many.
fn program(numbers: &[i64]) -> Vec<libc::sock_filter> {
    let step = |code, k, yes, no| libc::sock_filter { code, jt: yes, jf: no, k };
    let offset = |at: usize| u32::try_from(at).unwrap_or_default();
    let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let fd_of_mmap = offset(offset_of!(libc::seccomp_data, args) + 4 * size_of::<u64>());
    let mut steps = vec![
        step(LOAD, offset(offset_of!(libc::seccomp_data, arch)), 0, 0),
        step(EQUAL, ARCH, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(LOAD, offset(offset_of!(libc::seccomp_data, nr)), 0, 0),
    ];
    for one in numbers.iter().filter(|one| **one != libc::SYS_mmap) {
        steps.push(step(EQUAL, number(*one), 0, 1));
        steps.push(step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0));
    }
    if numbers.contains(&libc::SYS_mmap) {
        steps.push(step(EQUAL, number(libc::SYS_mmap), 0, 3));
        steps.push(step(LOAD, fd_of_mmap, 0, 0));
        // The lower half of -1, on a machine that has it first.
        steps.push(step(EQUAL, u32::MAX, 1, 0));
        steps.push(step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0));
    }
    steps.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    steps
}

/// From now on the calls of this thread with one of `numbers` wait at the listener.
///
/// Whoever listens must do so on a thread that was there before; its own calls would wait for itself.
///
/// # Errors
/// The kernel has no seccomp filters, or somebody listens already.
pub(crate) fn listen(numbers: &[i64]) -> io::Result<Listener> {
    rustix::thread::set_no_new_privs(true)?;
    let mut steps = program(numbers);
    let length = u16::try_from(steps.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len: length, filter: steps.as_mut_ptr() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the third argument points to a program that lives until the call is over, and whose length is that of its steps;
    // the kernel copies both.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match i32::try_from(fd) {
        // SAFETY: the kernel made this fd for this call, and nobody else has it.
        Ok(fd @ 0..) => Ok(Listener(unsafe { OwnedFd::from_raw_fd(fd) })),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Listener {
    /// The next call that waits.
    ///
    /// # Errors
    /// Nobody is left who could call.
    pub(crate) fn next(&self) -> io::Result<Call> {
        loop {
            // SAFETY: a structure of integers, of which zero is a value; the kernel demands zeros.
            let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            let at = &raw mut notification;
            // SAFETY: the argument points to a structure of the type that this ioctl fills.
            let done = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, at) };
            if done == 0 {
                let libc::seccomp_notif { id, pid, data, .. } = notification;
                return Ok(Call { id, thread: pid, number: data.nr.into(), args: data.args });
            }
            match io::Error::last_os_error() {
                // Who called was killed meanwhile.
                error if matches!(Errno::from_io_error(&error), Some(Errno::INTR | Errno::NOENT)) => {}
                error => return Err(error),
            }
        }
    }

    /// Lets `call` go on as if nobody had listened.
    pub(crate) fn allow(&self, call: &Call) {
        let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or_default();
        self.answer(libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags });
    }

    /// Has `call` fail with `errno`; it is not done.
    pub(crate) fn fail(&self, call: &Call, errno: Errno) {
        self.answer(libc::seccomp_notif_resp { id: call.id, val: 0, error: -errno.raw_os_error(), flags: 0 });
    }

    fn answer(&self, response: libc::seccomp_notif_resp) {
        // It fails only for a caller that is gone, which needs no answer.
        // SAFETY: the argument points to a structure of the type that this ioctl reads.
        let _ = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{Mode, OFlags, open};

    use super::*;

    /// On a thread of its own, since a filter is for ever.
    #[test]
    fn a_call_waits_and_goes_on_or_fails() {
        let (ready, listener) = mpsc::channel::<Listener>();
        let listening = std::thread::spawn(move || {
            let listener = listener.recv().unwrap();
            let mut opened = 0;
            while let Ok(call) = listener.next() {
                assert_eq!(call.number, libc::SYS_openat);
                opened += 1;
                if opened == 2 { listener.fail(&call, Errno::MFILE) } else { listener.allow(&call) }
            }
            opened
        });
        let caller = std::thread::spawn(move || {
            match listen(&[libc::SYS_openat, libc::SYS_mmap]) {
                Ok(listener) => ready.send(listener).unwrap(),
                // Where tests themselves run under a filter with a listener.
                Err(error) => return assert!(error.to_string().contains("os error"), "{error}"),
            }
            let open = || open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map(drop);
            assert_eq!([open(), open(), open()], [Ok(()), Err(Errno::MFILE), Ok(())]);
            // Memory of no file does not wait.
            drop(vec![0_u8; 64 << 20]);
        });
        caller.join().unwrap();
        let (done, waited) = mpsc::channel();
        std::thread::spawn(move || done.send(listening.join()));
        let opened = waited.recv_timeout(Duration::from_secs(10)).expect("its caller is gone").unwrap();
        assert!(opened == 3 || opened == 0, "{opened}");
    }
}
