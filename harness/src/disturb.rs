//! What may happen to a case from outside while it runs: a system call that fails, signals, a clock that is set back, a peer
//! that is killed or stops.
//!
//! A [`Disturbance`] says what, and [`Met`] what came of it. Which calls a fault may meet is in `calls` (pure); what makes it
//! happen inside a worker is the [`Disturber`].

mod calls;
pub mod disturber;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use calls::Call;
pub use disturber::{Disturbed, Disturber};

/// An error that a system call may give at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// `EINTR`: a signal came; the caller repeats the call.
    Interrupted,
    /// `ENOMEM`: the kernel has no memory.
    NoMemory,
    /// `EMFILE`: the process has as many files open as it may.
    TooManyFiles,
    /// `EBUSY`: somebody else uses what is asked for.
    Busy,
}

impl Fault {
    /// Each of them.
    pub const ALL: [Fault; 4] = [Fault::Interrupted, Fault::NoMemory, Fault::TooManyFiles, Fault::Busy];

    /// The error's name.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Interrupted => "EINTR",
            Fault::NoMemory => "ENOMEM",
            Fault::TooManyFiles => "EMFILE",
            Fault::Busy => "EBUSY",
        }
    }
}

/// What happens to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blow {
    /// It is killed.
    Kill,
    /// It is stopped, and answers no more.
    Stop,
}

/// What happens while one case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// Nothing: what is held before and after is looked at all the same.
    Nothing,
    /// The `nth` system call, counted from 1, that may fail so does; of the case's process and of its peers.
    Call {
        /// The error.
        fault: Fault,
        /// Which call.
        nth: u32,
    },
    /// At the `nth` system call, counted from 1, of a peer.
    Peer {
        /// What happens to it.
        blow: Blow,
        /// Which call.
        nth: u32,
    },
    /// A signal every millisecond, to a handler that does not have calls restarted.
    Signals,
    /// The wall clock goes back by an hour, again and again.
    Clock,
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disturbance::Nothing => f.write_str("nothing"),
            Disturbance::Call { fault, nth } => write!(f, "{} of call {nth}", fault.name()),
            Disturbance::Peer { blow: Blow::Kill, nth } => write!(f, "peer killed at its call {nth}"),
            Disturbance::Peer { blow: Blow::Stop, nth } => write!(f, "peer stopped at its call {nth}"),
            Disturbance::Signals => f.write_str("a signal every millisecond"),
            Disturbance::Clock => f.write_str("a clock that goes back"),
        }
    }
}

/// What came of a disturbance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// The call that met it, by the name its documentation has for it.
    pub call: Option<String>,
    /// How often it happened: calls that could have met it up to the one that did, signals, or steps of the clock.
    pub times: u32,
    /// What is held after the case.
    pub held: Held,
}

/// What is held: open files by what they are, and dma-bufs of all processes.
pub type Held = BTreeMap<String, i64>;

/// What is held `after` and was not `before`, or, negative, the other way around.
pub fn change(before: &Held, after: &Held) -> Held {
    let count = |held: &Held, what: &String| held.get(what).copied().unwrap_or_default();
    let all = before.keys().chain(after.keys());
    let changes = all.map(|what| (what.clone(), count(after, what) - count(before, what)));
    changes.filter(|(_, change)| *change != 0).collect()
}

/// `+1 socket, -2 pipe`: a change.
pub fn listed(change: &Held) -> String {
    let each: Vec<String> = change.iter().map(|(what, count)| format!("{count:+} {what}")).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_and_what_has_gone_is_a_change() {
        let held =
            |of: &[(&str, i64)]| -> Held { of.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect() };
        let (before, after) = (held(&[("socket", 2), ("pipe", 1)]), held(&[("socket", 3), ("/dev/null", 1)]));
        assert_eq!(change(&before, &after), held(&[("/dev/null", 1), ("pipe", -1), ("socket", 1)]));
        assert_eq!(listed(&change(&before, &after)), "+1 /dev/null, -1 pipe, +1 socket");
        assert!(change(&after, &after).is_empty());
    }
}
