//! Waits, messages between processes, and work that is forgotten.

use super::Class::{ErrorPath, Kms, Synchronisation};
use super::Fault;
use super::Oracle::{Fences, Pixels, Result};
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
            &[
                "a wait of 20 ms ended before its deadline",
                "a move was given up before its deadline…busy: holder has held a mapping (read)",
                "who overstays is in the way for ever",
            ],
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
    Fault {
        what: "a commit with a fence that failed is refused with EINVAL",
        trigger: "IN_FENCE_FD of a plane, whose status is below 0",
        modelled_on: "the class of errors of who draws that become errors of who shows; no single bug was looked up",
        ..fault(
            "failed-fence-refused",
            Synchronisation,
            &[Result],
            &["the screen does not show a frame whose fence has failed"],
        )
    },
    Fault {
        what: "the two upper ones of three planes show each what the other one was to show",
        trigger: "planes by their numbers, in a commit that shows three at least and is not only tried",
        modelled_on: "the class of planes in the wrong order; no single bug was looked up",
        ..fault("planes-exchanged", Kms, &[Pixels], &["screen…like layer 2 of 3 (XR24) above the next one"])
    },
    Fault {
        what: "a plane keeps the framebuffer that it has, in every second commit",
        trigger: "another framebuffer of the same size, in a commit that is not only tried",
        modelled_on: "the class of frames that are dropped on their way, which the fences and events of their commits do not tell; no single bug was looked up",
        ..fault(
            "frame-skipped",
            Kms,
            &[Pixels],
            &[
                "screen…the buffer holds the target, and the screen shows an older frame",
                "writeback of two frames look the same…CRC of two frames look the same",
            ],
        )
    },
];
