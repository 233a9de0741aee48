//! A sentry: takes a number in the very moment in which its owner closes it, so that who closes it again closes a
//! canary.
//!
//! A driver that keeps an imported fd as long as the memory lives closes it in `vkFreeMemory`. If it closes the number
//! twice there, nobody is between the two calls to set a canary: the second one fails with `EBADF`, unless another
//! thread got the number. That other thread is the sentry.
//!
//! It learns of the close from the kernel: a process loses its POSIX lock on a file when it closes *any* fd of that
//! file (`fcntl(2)`, "Advisory record locking"; `locks_remove_posix` in `filp_close`). So the process locks the file,
//! the sentry waits for a lock that conflicts with it (of an open file description, whose owner is another one), is
//! woken by the close, and takes the number with `F_DUPFD`, which never takes one that is in use. Where one processor
//! runs both, as in the sandbox, it has the number before the driver's next call. Where they run side by side it may
//! come too late, and sees nothing; it is never wrong.
#![expect(unsafe_code, reason = "locks of open file descriptions, and a driver's fd that is known by its number")]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::files;

/// Numbers of our own fds here lie from this one on, so that they are in nobody's way.
const OUT_OF_THE_WAY: RawFd = 200;

/// So long it may take until the sentry waits, or answers.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the sentry is to watch.
struct Order {
    /// The file, by an fd of our own.
    file: Arc<OwnedFd>,
    number: RawFd,
    canary: Arc<OwnedFd>,
}

/// The thread that watches; one for the process, since one call at a time frees memory.
struct Sentry {
    orders: Sender<Order>,
    /// Who waits for them: woken when there is one. A receiver that waits by itself yields some times before, each time by a call.
    thread: Thread,
    /// The canary at the number, if that was free.
    answers: Receiver<Option<OwnedFd>>,
}

/// The sentry on watch.
pub(super) struct Watch {
    /// Locked until the watch ends. Nobody closes it before, since that would end the lock.
    file: Arc<OwnedFd>,
}

static SENTRY: OnceLock<Option<Sentry>> = OnceLock::new();
/// Whether somebody uses it.
static TAKEN: Mutex<bool> = Mutex::new(false);
/// Whether it is about to wait.
static WAITS: AtomicBool = AtomicBool::new(false);
/// Whether the watch is over.
static ENDS: AtomicBool = AtomicBool::new(false);

/// So many fds of one file are closed in one call, at most.
const CLOSES: u32 = 16;

impl Sentry {
    fn start() -> Option<Self> {
        let (orders, taken) = bounded::<Order>(1);
        let (given, answers) = bounded(1);
        let watch = move || {
            prefer();
            loop {
                let Order { file, number, canary } = match taken.try_recv() {
                    Ok(order) => order,
                    Err(TryRecvError::Empty) => {
                        std::thread::park();
                        continue;
                    }
                    Err(TryRecvError::Disconnected) => return,
                };
                WAITS.store(true, Ordering::SeqCst);
                let at = take(&file, number, &canary);
                // Before the answer, so that nothing is open that a ledger would see.
                drop((file, canary));
                if given.send(at).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("sentry".into()).spawn(watch).ok()?.thread().clone();
        Some(Self { orders, thread, answers })
    }
}

/// Has this thread run as soon as it is woken, where we may ask for that: root may.
fn prefer() {
    // SAFETY: the structure is plain data, for which zeros are valid.
    let mut wanted: libc::sched_param = unsafe { std::mem::zeroed() };
    wanted.sched_priority = 1;
    // SAFETY: it is for this thread, and the structure lives until the call returns.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const wanted) };
}

/// Takes `number` as soon as it is free. Whoever closes another fd of the file wakes the sentry, too, and ends the lock of the
/// process: it is set again, by us as well as by anybody else of the process.
fn take(file: &OwnedFd, number: RawFd, canary: &OwnedFd) -> Option<OwnedFd> {
    let mut taken = None;
    for _ in 0..CLOSES {
        if !lock(file, libc::F_OFD_SETLKW, libc::F_WRLCK) {
            break;
        }
        // It is in use where another fd of the file was closed.
        if files::node(number).is_none() {
            let next = rustix::io::fcntl_dupfd_cloexec(canary, number).ok();
            taken = next.filter(|fd| fd.as_raw_fd() == number);
        }
        lock(file, libc::F_OFD_SETLK, libc::F_UNLCK);
        if taken.is_some() || ENDS.load(Ordering::SeqCst) {
            break;
        }
        lock(file, libc::F_SETLK, libc::F_WRLCK);
        if ENDS.load(Ordering::SeqCst) {
            break;
        }
    }
    // Nobody else of the process has use for it.
    lock(file, libc::F_SETLK, libc::F_UNLCK);
    taken
}

/// Sets, or ends, a lock on all of the file; waits for it with `F_OFD_SETLKW`.
fn lock(file: &OwnedFd, command: libc::c_int, kind: libc::c_int) -> bool {
    // SAFETY: the structure is plain data, for which zeros are valid: from the first byte to the end, of no process.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    wanted.l_type = kind as libc::c_short;
    wanted.l_whence = libc::SEEK_SET as libc::c_short;
    loop {
        // SAFETY: the fd is open, and the structure lives until the call returns.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut wanted) } == 0;
        if done || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return done;
        }
    }
}

/// Whether somebody waits for a lock of an open file description: the kernel lists it behind the one that it waits for.
fn is_waited_for() -> bool {
    let mut list = Vec::new();
    let mut part = [0; 4096];
    loop {
        match locks().map(|locks| locks.read_at(&mut part, list.len() as u64)) {
            Some(Ok(0)) => break,
            Some(Ok(length)) => list.extend_from_slice(&part[..length]),
            // Without the list it is not known, and a wait would only take time.
            _ => return true,
        }
        if list.windows(WAITS_FOR_IT.len()).any(|words| words == WAITS_FOR_IT) {
            return true;
        }
    }
    false
}

/// The kernel's list of locks. It stays open, so it is to be opened before a case begins.
pub(super) fn locks() -> Option<&'static File> {
    static LOCKS: OnceLock<Option<File>> = OnceLock::new();
    LOCKS.get_or_init(|| File::open("/proc/locks").ok()).as_ref()
}

/// How the kernel lists it.
const WAITS_FOR_IT: &[u8] = b"-> OFDLCK";

/// Another fd of what `number` stands for, which is a driver's.
fn duplicate(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: an fd of the process by its number; it is asked for a duplicate, and fails if it is none.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, OUT_OF_THE_WAY) };
    // SAFETY: made just now, and nobody else knows it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Watches `number` until the watch ends; `None` if that can't be done here, or somebody else has the sentry.
pub(super) fn watch(number: RawFd, canary: Arc<OwnedFd>) -> Option<Watch> {
    let sentry = SENTRY.get_or_init(Sentry::start).as_ref()?;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if *taken {
        return None;
    }
    let file = Arc::new(duplicate(number)?);
    if !lock(&file, libc::F_SETLK, libc::F_WRLCK) {
        return None;
    }
    WAITS.store(false, Ordering::SeqCst);
    ENDS.store(false, Ordering::SeqCst);
    sentry.orders.try_send(Order { file: Arc::clone(&file), number, canary }).ok()?;
    sentry.thread.unpark();
    *taken = true;
    let until = Instant::now() + PATIENCE;
    while !(WAITS.load(Ordering::SeqCst) && is_waited_for()) && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(20));
    }
    Some(Watch { file })
}

impl Watch {
    /// Ends it: the canary, if the number was closed and nobody else took it.
    pub(super) fn end(self) -> Option<OwnedFd> {
        let sentry = SENTRY.get()?.as_ref()?;
        // Most have it by now.
        let answer = sentry.answers.try_recv().ok().or_else(|| {
            ENDS.store(true, Ordering::SeqCst);
            lock(&self.file, libc::F_SETLK, libc::F_UNLCK);
            sentry.answers.recv_timeout(PATIENCE).ok()
        });
        // Who does not answer is not asked again.
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = answer.is_none();
        if let Some(file) = Arc::into_inner(self.file) {
            files::close(file);
        }
        answer.flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// Tests share the sentry.
    #[test]
    fn a_number_is_taken_when_it_is_closed_and_not_before() {
        let memfd = |name: &str| memfd_create(name, MemfdFlags::CLOEXEC).expect("memfd");
        let held = memfd("driver");
        let watched = watch(held.as_raw_fd(), Arc::new(memfd("canary"))).expect("nobody else has it");
        assert!(watched.end().is_none(), "the number is in use");

        let number = duplicate(held.as_raw_fd()).expect("fds").into_raw_fd();
        let watched = watch(number, Arc::new(memfd("canary"))).expect("nobody else has it");
        // SAFETY: made above, and nobody else knows it.
        unsafe { libc::close(number) };
        let canary = watched.end().expect("the number was free");
        assert_eq!(canary.as_raw_fd(), number);
    }
}
