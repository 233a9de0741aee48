//! How is a case disturbed inside the worker that runs it? By a thread that hears of every system call, a timer, and the clock.
//!
//! The thread that listens must not wait for one that it holds up: it allocates nothing and takes no lock under which somebody
//! makes a system call that waits for it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handover_faulty_kernel::{Answer, Filter, Listener};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, Timespec, clock_settime};

use super::{Blow, Call, Disturbance, Fault, Held, Met, change};
use crate::error::{Error, Result};
use crate::gles;
use crate::interrupt;
use crate::ledger;
use crate::peer;
use crate::placement::bufinfo;

/// Within this time everything is gone that is freed by and by.
const SETTLED: Duration = Duration::from_millis(300);

/// So long a peer may be silent while cases are disturbed, at least and at most; opening its devices is part of its first answer.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(20));

/// The same where one is to be silent, whose devices are open by then: all of it is waited for at each of its steps.
const SHORT_PATIENCE: Duration = Duration::from_millis(700);

/// In between, it is so often the longest time of a case that nothing disturbs.
const SLOWER: u32 = 4;

/// From one signal to the next.
const SIGNAL_EVERY: Duration = Duration::from_millis(1);

/// How far the clock goes back at once, in s, and how often.
const BACK: i64 = 3600;
const BACK_EVERY: Duration = Duration::from_millis(5);

/// Disturbs cases of this process.
#[derive(Debug)]
pub struct Disturber {
    watch: Arc<Mutex<Watch>>,
    pace: Mutex<Pace>,
}

/// How long the slowest case took here that nothing disturbed.
#[derive(Clone, Copy, Debug, Default)]
struct Pace(Duration);

impl Pace {
    /// How long a peer may be silent under `disturbance`: on a busy machine it is silent for longer.
    fn patience(self, disturbance: Disturbance) -> Duration {
        match disturbance {
            Disturbance::Nothing => PATIENCE.1,
            Disturbance::Peer { blow: Blow::Stop, .. } => SHORT_PATIENCE,
            _ => self.0.saturating_mul(SLOWER).clamp(PATIENCE.0, PATIENCE.1),
        }
    }
}

/// What the thread that listens looks for, and what it saw.
#[derive(Clone, Copy, Debug)]
struct Watch {
    disturbance: Disturbance,
    count: u32,
    met: Option<Call>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    GoesOn,
    Fails(Errno),
    /// Its process gets a signal.
    Struck(Signal),
}

impl Watch {
    const IDLE: Watch = Watch { disturbance: Disturbance::Nothing, count: 0, met: None };

    /// Decides about `call`, of a peer or of this process, on a file of a filesystem or something else.
    fn decide(&mut self, call: Call, of_peer: impl FnOnce() -> bool, of_file: impl FnOnce() -> bool) -> Fate {
        let (counts, nth, fate) = match self.disturbance {
            Disturbance::Call { fault, nth } => {
                let never = fault == Fault::Interrupted && call.moves_bytes() && self.met.is_none() && of_file();
                (call.may(fault) && !never, nth, Fate::Fails(errno(fault)))
            }
            Disturbance::Peer { blow, nth } => (of_peer(), nth, Fate::Struck(signal(blow))),
            Disturbance::Nothing | Disturbance::Signals | Disturbance::Clock => return Fate::GoesOn,
        };
        if !counts || self.met.is_some() {
            return Fate::GoesOn;
        }
        self.count += 1;
        if self.count < nth {
            return Fate::GoesOn;
        }
        self.met = Some(call);
        fate
    }
}

fn errno(fault: Fault) -> Errno {
    match fault {
        Fault::Interrupted => Errno::INTR,
        Fault::NoMemory => Errno::NOMEM,
        Fault::TooManyFiles => Errno::MFILE,
        Fault::Busy => Errno::BUSY,
    }
}

fn signal(blow: Blow) -> Signal {
    match blow {
        Blow::Kill => Signal::KILL,
        Blow::Stop => Signal::STOP,
    }
}

impl Disturber {
    /// From now on, this thread and what it starts can be disturbed, but for their system calls.
    ///
    /// A call that waits for a listener can be interrupted there by a signal, also one that waits for nothing in the kernel and
    /// never returns `EINTR` otherwise. So signals come where nobody listens.
    pub fn without_listener() -> Self {
        Self { watch: Arc::new(Mutex::new(Watch::IDLE)), pace: Mutex::default() }
    }

    /// From now on, this thread and what it starts can be disturbed; threads that are there already can not.
    ///
    /// Before a call meets its disturbance `tell` is told of it, on another thread: it allocates nothing, and nothing that it
    /// waits for may need a system call of this thread.
    ///
    /// # Errors
    /// The kernel has no seccomp filters with a listener, or this process has one already.
    pub fn start(tell: impl Fn(Call) + Send + 'static) -> Result<Self> {
        let failed = |error: io::Error| Error::new("listening to system calls", "this process", error);
        let watch = Arc::new(Mutex::new(Watch::IDLE));
        let (give, take) = mpsc::channel::<Listener>();
        let watched = Arc::clone(&watch);
        let listen = move || {
            if let Ok(listener) = take.recv() {
                attend(&listener, &watched, tell);
            }
        };
        std::thread::Builder::new().name("listener".into()).spawn(listen).map_err(failed)?;
        let filter = Filter::calls(&Call::numbers()).sparing_memory();
        let listener = Listener::install(&filter).map_err(failed)?;
        give.send(listener).map_err(|_| failed(io::Error::other("the thread that listens is gone")))?;
        Ok(Self { watch, pace: Mutex::default() })
    }

    /// Lets `disturbance` happen until the result is dropped.
    ///
    /// # Errors
    /// The disturbance can't be made here.
    pub fn begin(&self, disturbance: Disturbance) -> Result<Disturbed<'_>> {
        let failed = |error: io::Error| Error::new("disturbing", disturbance.to_string(), error);
        let clock = matches!(disturbance, Disturbance::Clock).then(Clock::begin).transpose().map_err(failed)?;
        // It lasts until the case is over, also for those that are asked only then.
        peer::set_patience(self.pace().patience(disturbance));
        *self.watch() = Watch { disturbance, ..Watch::IDLE };
        Ok(Disturbed { disturber: self, clock })
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the calls that wait, until nobody is left who could call.
fn attend(listener: &Listener, watch: &Mutex<Watch>, tell: impl Fn(Call)) {
    let answer = |waiting: &handover_faulty_kernel::Call<'_>| {
        let call = Call { number: waiting.number, args: waiting.arguments };
        // Locked until it is told, so that nothing is told once the disturbance has ended.
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        let fate = watch.decide(call, || !is_own(waiting.thread), || is_file(waiting.thread, call.args[0]));
        if fate != Fate::GoesOn {
            tell(call);
        }
        drop(watch);
        Ok(match fate {
            Fate::GoesOn => Answer::Continue,
            Fate::Fails(errno) => Answer::Fail(errno),
            Fate::Struck(signal) => {
                if let Some(process) = i32::try_from(waiting.thread).ok().and_then(Pid::from_raw) {
                    // It fails only if the process is gone, which is what is wanted.
                    let _ = kill_process(process, signal);
                }
                Answer::Continue
            }
        })
    };
    // It fails where the kernel gives no more calls, and then there is nothing to disturb.
    let _ = listener.serve(answer, |_, _| ());
}

/// Whether a thread is one of this process.
fn is_own(thread: u32) -> bool {
    at(format_args!("/proc/self/task/{thread}"), |path| rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok())
}

/// Whether an fd of a thread is of a file of a filesystem.
fn is_file(thread: u32, fd: u64) -> bool {
    let is_file = |status: rustix::fs::Stat| rustix::fs::FileType::from_raw_mode(status.st_mode).is_file();
    at(format_args!("/proc/{thread}/fd/{fd}"), |path| rustix::fs::stat(path).is_ok_and(is_file))
}

/// Asks for a path without an allocation.
fn at(path: std::fmt::Arguments<'_>, ask: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut bytes = [0_u8; 48];
    let mut left = bytes.as_mut_slice();
    if left.write_fmt(path).is_err() {
        return false;
    }
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    ask(&bytes[..length])
}

/// While it lives, a case is disturbed.
pub struct Disturbed<'d> {
    disturber: &'d Disturber,
    clock: Option<Clock>,
}

impl Disturbed<'_> {
    /// Does `work`, with signals if that is what is to happen; ends the disturbance, and says what came of it. What is held is
    /// not looked at.
    ///
    /// # Errors
    /// No signals can be had.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> Result<(T, Met)> {
        let disturbance = self.disturber.watch().disturbance;
        let began = Instant::now();
        let (done, signals) = match disturbance {
            Disturbance::Signals => {
                let (done, came) = interrupt::while_interrupted(SIGNAL_EVERY, work)?;
                (done, Some(came))
            }
            _ => (work(), None),
        };
        if disturbance == Disturbance::Nothing {
            let mut pace = self.disturber.pace();
            pace.0 = pace.0.max(began.elapsed());
        }
        let Watch { count, met, .. } = *self.disturber.watch();
        let times = signals.or(self.clock.as_ref().map(Clock::steps)).unwrap_or(count);
        Ok((done, Met { call: met.map(|call| call.name()), times, held: Held::new() }))
    }
}

impl Drop for Disturbed<'_> {
    fn drop(&mut self) {
        *self.disturber.watch() = Watch::IDLE;
    }
}

/// The wall clock goes back while it lives, and is right again afterwards.
struct Clock {
    stop: Arc<AtomicBool>,
    steps: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
    began: (Timespec, Instant),
}

impl Clock {
    fn begin() -> io::Result<Self> {
        if !fs::read_to_string("/proc/cpuinfo").is_ok_and(|cpu| cpu.contains("User Mode Linux")) {
            return Err(io::Error::other("the clock belongs to this machine; a sandbox has its own"));
        }
        let (stop, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut clock = Self { stop, steps, thread: None, began: (now(), Instant::now()) };
        // Whatever fails from here on, it is right again afterwards.
        set_back()?;
        let (stopped, counted) = (Arc::clone(&clock.stop), Arc::clone(&clock.steps));
        let work = move || {
            while !stopped.load(Ordering::SeqCst) && set_back().is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(BACK_EVERY);
            }
        };
        clock.thread = Some(std::thread::Builder::new().name("clock".into()).spawn(work)?);
        Ok(clock)
    }

    fn steps(&self) -> u32 {
        1 + self.steps.load(Ordering::SeqCst)
    }
}

/// As std has it; rustix looks for functions in the vDSO that user-mode Linux lacks.
fn now() -> Timespec {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timespec { tv_sec: i64::try_from(since.as_secs()).unwrap_or_default(), tv_nsec: i64::from(since.subsec_nanos()) }
}

fn set_back() -> io::Result<()> {
    let now = now();
    Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec: now.tv_sec - BACK, ..now })?)
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let (then, since) = self.began;
        let passed = i64::try_from(since.elapsed().as_secs()).unwrap_or_default();
        let now = Timespec { tv_sec: then.tv_sec + passed, ..then };
        if let Err(error) = clock_settime(ClockId::Realtime, now) {
            tracing::error!(%error, "the clock stays wrong");
        }
    }
}

/// What is held now.
pub fn held() -> Held {
    let mut held = dmabufs();
    let canary = ledger::canary();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        // The one of the directory is gone by now. In how many gaps the ledger has a canary depends on where files lay.
        if let Ok(target) = fs::read_link(entry.path())
            && !(target.starts_with("/proc") && target.ends_with("fd"))
            && Some(&target) != canary.as_ref()
        {
            *held.entry(kind(&target)).or_default() += 1;
        }
    }
    held
}

/// The dma-bufs of [`held`], where the kernel lists them, but for those that drivers keep for good.
pub fn dmabufs() -> Held {
    let count = |list: Vec<_>| i64::try_from(list.len()).unwrap_or(i64::MAX) - i64::from(gles::kept_for_good());
    let listed = bufinfo::list().map(|list| ("dma-bufs of all processes".to_owned(), count(list)));
    listed.into_iter().collect()
}

/// What is `held` once it is what it was `before`, or has settled.
pub fn settled(before: &Held, held: impl Fn() -> Held) -> Held {
    let deadline = Instant::now() + SETTLED;
    loop {
        let now = held();
        if Instant::now() >= deadline || change(before, &now).is_empty() {
            return now;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What an open file is, without what differs from one to the next.
fn kind(target: &Path) -> String {
    let text = target.to_string_lossy();
    match text.split_once(":[") {
        Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
        _ => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Call = Call { number: libc::SYS_openat, args: [0; 6] };
    const POLL: Call = Call { number: libc::SYS_ppoll, args: [0; 6] };

    #[test]
    fn the_nth_call_that_can_fails_and_no_other() {
        let disturbance = Disturbance::Call { fault: Fault::TooManyFiles, nth: 2 };
        let mut watch = Watch { disturbance, ..Watch::IDLE };
        let fates = [OPEN, POLL, OPEN, OPEN].map(|call| watch.decide(call, || false, || false));
        assert_eq!(fates, [Fate::GoesOn, Fate::GoesOn, Fate::Fails(Errno::MFILE), Fate::GoesOn]);
        assert_eq!((watch.count, watch.met), (2, Some(OPEN)));
    }

    #[test]
    fn nobody_is_interrupted_in_the_middle_of_a_file() {
        let disturbance = Disturbance::Call { fault: Fault::Interrupted, nth: 1 };
        let read = Call { number: libc::SYS_read, args: [3, 0, 0, 0, 0, 0] };
        let mut watch = Watch { disturbance, ..Watch::IDLE };
        assert_eq!(watch.decide(read, || false, || true), Fate::GoesOn);
        assert_eq!(watch.decide(read, || false, || false), Fate::Fails(Errno::INTR), "a pipe");
        let (file, (pipe, _other)) = (fs::File::open("/proc/self/status").unwrap(), io::pipe().unwrap());
        let number = |fd: &dyn std::os::fd::AsRawFd| u64::try_from(fd.as_raw_fd()).unwrap();
        let own = std::process::id();
        assert!(is_file(own, number(&file)) && !is_file(own, number(&pipe)));
    }

    #[test]
    fn peers_have_longer_where_everything_takes_longer() {
        let (kill, stop) =
            (Disturbance::Peer { blow: Blow::Kill, nth: 1 }, Disturbance::Peer { blow: Blow::Stop, nth: 1 });
        let ms = Duration::from_millis;
        for (slowest, of_kill) in [(0, 8_000), (500, 8_000), (3_000, 12_000), (9_000, 20_000)] {
            let pace = Pace(ms(slowest));
            assert_eq!((pace.patience(kill), pace.patience(stop)), (ms(of_kill), ms(700)), "{pace:?}");
            assert_eq!(pace.patience(Disturbance::Nothing), ms(20_000), "{pace:?}");
        }
    }

    #[test]
    fn a_peer_is_struck_at_its_own_calls() {
        let mut watch = Watch { disturbance: Disturbance::Peer { blow: Blow::Kill, nth: 1 }, ..Watch::IDLE };
        assert_eq!(watch.decide(OPEN, || false, || false), Fate::GoesOn);
        assert_eq!(watch.decide(OPEN, || true, || false), Fate::Struck(Signal::KILL));
    }

    #[test]
    fn what_is_opened_is_held() {
        let before = held();
        let file = fs::File::open("/dev/null").unwrap();
        assert!(change(&before, &held()).get("/dev/null").is_some_and(|more| *more >= 1));
        drop(file);
        assert!(is_own(std::process::id()) && !is_own(1));
    }
}
