//! Whoever works slowly under a fence: done with the first half, it waits until the other side was seen to wait or to
//! be through, does the second half, and only then signals.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Cause, Error, Result};

const OP: &str = "working under a fence";

/// The slow side, on a thread of its own. Dropping it has it finish.
#[derive(Debug)]
pub struct Holder {
    other: Arc<Other>,
    thread: Option<JoinHandle<Result<Released>>>,
}

/// What the slow side knows of the other one.
#[derive(Debug, Default)]
struct Other {
    through: Mutex<bool>,
    changed: Condvar,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub struct Released {
    /// The other side was through while the fence was pending.
    pub overtaken: bool,
    /// How long the slow side watched the other one with the fence pending.
    pub watched: Duration,
    /// Just before the fence signalled.
    at: Instant,
}

impl Released {
    /// How long ago that is.
    pub fn since(&self) -> Duration {
        self.at.elapsed()
    }

    /// How long after `began` that was.
    pub fn after(&self, began: Instant) -> Duration {
        self.at.saturating_duration_since(began)
    }
}

#[cfg(test)]
impl Released {
    /// One whose fence has just signalled.
    pub(crate) fn now(overtaken: bool) -> Self {
        Self { overtaken, watched: Duration::ZERO, at: Instant::now() }
    }
}

impl Other {
    fn is_through(&self) {
        *self.through.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it is before `patience` is over.
    fn is_through_within(&self, patience: Duration) -> bool {
        let guard = self.through.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, patience, |through| !*through);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Holder {
    /// Watches the other side for `patience`, at most until it is through; then `finish` does the rest of the work, and
    /// `signal` signals the fence.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(
        patience: Duration,
        finish: impl FnOnce() -> Result<()> + Send + 'static,
        signal: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let other = Arc::new(Other::default());
        let watched = Arc::clone(&other);
        let work = move || {
            let started = Instant::now();
            let overtaken = watched.is_through_within(patience);
            let watched = started.elapsed();
            // Without its signal the other side would wait for ever, so that one comes whatever else fails.
            let finished = finish();
            let at = Instant::now();
            signal()?;
            finished?;
            Ok(Released { overtaken, watched, at })
        };
        let thread = std::thread::Builder::new().name("holder".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::new(OP, "a thread", error))?;
        Ok(Self { other, thread: Some(thread) })
    }

    /// The other side is through; waits for the end of the slow one.
    ///
    /// # Errors
    /// It failed.
    pub fn other_is_through(mut self) -> Result<Released> {
        self.finish()
    }

    fn finish(&mut self) -> Result<Released> {
        self.other.is_through();
        let gone = || Error::new(OP, "the slow side", Cause::Code("it panicked".to_owned()));
        let thread = self.thread.take().ok_or_else(gone)?;
        thread.join().map_err(|_| gone())?
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(error) = self.finish()
        {
            tracing::warn!(%error, "the slow side failed");
        }
    }
}

/// What `work` makes, on a thread of its own: for calls of the kernel that have no deadline.
///
/// # Errors
/// Those of `work`; or `op` on `object` did not end within `patience`. Its thread is then left behind.
pub fn within<T: Send + 'static>(
    patience: Duration,
    op: &'static str,
    object: impl Into<String>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = mpsc::channel();
    let spawned = std::thread::Builder::new().name("waiter".to_owned()).spawn(move || {
        // Nobody listens any more if the deadline has passed.
        let _ = send.send(work());
    });
    spawned.map_err(|error| Error::new(op, "a thread", error))?;
    match receive.recv_timeout(patience) {
        Ok(made) => made,
        Err(RecvTimeoutError::Timeout) => Err(Error::deadline(op, object, patience)),
        Err(RecvTimeoutError::Disconnected) => Err(Error::new(op, object, Cause::Code("it panicked".to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn it_waits_for_the_other_side_or_until_its_patience_is_over() {
        let done = Arc::new(AtomicU32::new(0));
        let (finished, signalled) = (Arc::clone(&done), Arc::clone(&done));
        let holder = Holder::start(
            Duration::from_secs(20),
            move || {
                finished.store(1, Ordering::SeqCst);
                Ok(())
            },
            move || {
                // The fence comes last.
                assert_eq!(signalled.swap(2, Ordering::SeqCst), 1);
                Ok(())
            },
        );
        let released = holder.expect("a thread").other_is_through().expect("it ends");
        assert!(released.overtaken && released.watched < Duration::from_secs(20), "{released:?}");
        assert_eq!(done.load(Ordering::SeqCst), 2);

        let holder = Holder::start(Duration::ZERO, || Ok(()), || Ok(())).expect("a thread");
        std::thread::sleep(Duration::from_millis(20));
        assert!(!holder.other_is_through().expect("it ends").overtaken);
    }

    #[test]
    fn what_does_not_end_is_named() {
        let stuck = || {
            std::thread::sleep(Duration::from_millis(200));
            Ok(())
        };
        let error = within(Duration::from_millis(1), "poll", "dma-buf (udmabuf, 4096 B)", stuck).expect_err("late");
        assert_eq!(error.to_string(), "poll on dma-buf (udmabuf, 4096 B): no answer within 1 ms");
        assert_eq!(within(Duration::from_secs(20), "poll", "", || Ok(7)).expect("in time"), 7);
    }

    #[test]
    fn the_fence_signals_even_if_the_work_fails() {
        let signalled = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&signalled);
        let fail = || Err(Error::input("writing", "a frame", "too large"));
        let holder = Holder::start(Duration::ZERO, fail, move || {
            seen.store(1, Ordering::SeqCst);
            Ok(())
        });
        assert!(holder.expect("a thread").other_is_through().is_err());
        assert_eq!(signalled.load(Ordering::SeqCst), 1);
    }
}
