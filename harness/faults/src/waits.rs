//! Waits, messages between processes, and work that is forgotten.

use super::Class::{ErrorPath, Kms, Synchronisation};
use super::Fault;
use super::Oracle::{Fences, Result};
use super::kernel::fault;

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "a futex that waits until a deadline says at once that it has come",
        trigger: "FUTEX_WAIT and FUTEX_WAIT_BITSET with a timeout",
        modelled_on: "Mesa ef980ac0c1c, c638301b42b and fc28692a5af: a deadline that is taken for a duration",
        ..fault(
            "timed-wait-at-once",
            Synchronisation,
            &[Result],
            &["a wait of 20 ms ended before its deadline", "has held a mapping (read) for 0 ms"],
        )
    },
    Fault {
        what: "a message between two processes arrives twice",
        trigger: "sendmsg of a packet socket, without fds",
        modelled_on: "the class of sends that are made again after a signal though they were done; no single bug was looked up",
        ..fault(
            "message-twice",
            ErrorPath,
            &[Result],
            &["is no answer to what was asked", "the answer to less…does not say"],
        )
    },
    Fault {
        what: "every fourth writeback job is forgotten, and its fence never signals",
        trigger: "a commit with WRITEBACK_OUT_FENCE_PTR",
        modelled_on: "vkms: the finding vkms-lost-writeback of this repository",
        ..fault("writeback-lost", Kms, &[Fences], &["writebacks were lost: their fences did not signal"])
    },
];
