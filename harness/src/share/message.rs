//! What processes say to each other about a buffer that they share: one JSON value per packet, fds beside it.

use serde::{Deserialize, Serialize};

use super::constraints::Party;
use super::core::Access;
use crate::frame::Frame;

/// What a peer asks of the process that has the buffer. Numbers are those that it was given, and mean nothing to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Take part.
    Attach {
        /// Who, and with which constraints.
        party: Party,
    },
    /// Access; answered when the storage is there.
    Map {
        /// Of [`Answer::Attached`].
        attachment: u64,
        /// What for.
        access: Access,
        /// For how long at most, in ms.
        hold_ms: u64,
    },
    /// The access ends.
    Unmap {
        /// Of [`Answer::Mapped`].
        mapping: u64,
    },
    /// Take part no longer.
    Detach {
        /// Of [`Answer::Attached`].
        attachment: u64,
    },
}

/// What it is answered; there is one answer for each request, in their order, until [`Answer::CutOff`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It takes part.
    Attached {
        /// The attachment's number.
        attachment: u64,
    },
    /// The dma-buf comes along.
    Mapped {
        /// The mapping's number.
        mapping: u64,
        /// Which storage it is: a new number means a dma-buf that was not seen before.
        generation: u64,
        /// Name of the heap.
        heap: String,
        /// Where the frame lies in it.
        frame: Frame,
    },
    /// The mapping or the attachment is no more.
    Done,
    /// Nothing has changed.
    Refused {
        /// Why.
        why: String,
    },
    /// The last word, which comes unasked: the peer is served no longer, and what it held is released next.
    CutOff {
        /// Why.
        why: String,
    },
}
