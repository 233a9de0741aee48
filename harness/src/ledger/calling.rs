//! Which call is the case in right now? For who asks when it does not come back.
//!
//! What is told by [`super::step`] are calls that came back; the one that did not is known only if it was announced. Announced are
//! those that may wait for somebody else: for a fence, for a device, for another process.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{BOOK, is_open};

/// The call that is under way, and what it is about.
static CALL: Mutex<Option<(&'static str, String)>> = Mutex::new(None);

fn call() -> MutexGuard<'static, Option<(&'static str, String)>> {
    CALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call that is under way until this is dropped.
pub(crate) struct Calling(());

impl Drop for Calling {
    fn drop(&mut self) {
        forget();
    }
}

/// `op` is about to be called on `object`, and may not come back.
#[must_use = "the call is taken for over when it is dropped"]
pub(crate) fn calling(op: &'static str, object: impl fmt::Display) -> Calling {
    if is_open() {
        *call() = Some((op, object.to_string()));
    }
    Calling(())
}

/// No call is under way.
pub(super) fn forget() {
    *call() = None;
}

/// In which call the case is, or after which one, and what its thread does there; for another thread.
pub(crate) fn whereabouts() -> String {
    [Some(last_call()), thread_state()].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// In which call the case is, or after which one; for another thread.
pub(crate) fn last_call() -> String {
    let call = call().clone();
    // Who hangs may have the book.
    let last = BOOK.try_lock().ok().and_then(|book| book.as_ref()?.journal.last());
    place(call, last)
}

fn place(call: Option<(&'static str, String)>, last: Option<String>) -> String {
    match (call, last) {
        (Some((op, object)), None) => format!("in {op} on {object}"),
        (Some((op, object)), Some(last)) => format!("in {op} on {object}, after {last}"),
        (None, Some(last)) => format!("in no call that is known to wait, after {last}"),
        (None, None) => "in no call that is known to wait, before the first that is told of".to_owned(),
    }
}

/// What the first thread of the process does, which runs the case.
fn thread_state() -> Option<String> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let state = match stat.rsplit_once(") ")?.1.chars().next()? {
        'R' => "runs",
        'S' => "sleeps",
        'D' => "sleeps in the kernel, and no signal wakes it",
        _ => return None,
    };
    // `0` is no place in the kernel.
    let place = std::fs::read_to_string("/proc/self/wchan").ok().filter(|place| !["", "0"].contains(&place.trim()));
    Some(format!("its thread {state}{}", place.map_or_else(String::new, |place| format!(" ({})", place.trim()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_that_is_under_way_is_named_before_the_last_that_came_back() {
        let last = || Some("call 2 of 2: UDMABUF_CREATE".to_owned());
        let told = place(Some(("vkGetSemaphoreFdKHR", "gpu".to_owned())), last());
        assert_eq!(told, "in vkGetSemaphoreFdKHR on gpu, after call 2 of 2: UDMABUF_CREATE");
        assert!(place(None, last()).ends_with("after call 2 of 2: UDMABUF_CREATE"));
    }
}
