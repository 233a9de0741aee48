//! Why the sharing core does not do what it was asked: nothing has changed when it says so.

use std::fmt;
use std::time::Duration;

use super::agreement::Refusal;
use super::constraints::Contradiction;
use super::core::{Access, AttachmentId, MappingId};
use crate::error::Error;

/// Why a call of the sharing core failed. Everything is as it was before the call.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// A device's constraints contradict themselves.
    #[error("the constraints of {who} contradict themselves: {why}")]
    Invalid {
        /// The device.
        who: String,
        /// The contradiction.
        why: Contradiction,
    },
    /// No storage suits everybody.
    #[error("nothing suits everybody: {0}")]
    Refused(#[from] Refusal),
    /// There is storage, it does not suit a device, and there is no heap that it could move to.
    #[error("{who} can't work with the memory as it is, and it can't move: {why}")]
    Unsuited {
        /// The device.
        who: String,
        /// The constraint that it breaks.
        why: String,
    },
    /// A party that is not trusted asks for more than others can bear.
    #[error("{who} asks for too much: {why}")]
    Unbearable {
        /// The party.
        who: String,
        /// What it asks for, and what would be valid.
        why: String,
    },
    /// Storage can't move, since it is mapped.
    #[error("busy: {0}")]
    Busy(Busy),
    /// The attachment is not one of this buffer, or not any more.
    #[error("attachment {} is not one of this buffer", .0.0)]
    NotAttached(AttachmentId),
    /// The mapping is not one of this buffer, or not any more.
    #[error("mapping {} is not one of this buffer: never made, or ended already", .0.0)]
    NotMapped(MappingId),
    /// A party that wants to leave still has a mapping.
    #[error("{0} still has a mapping, so it can't detach")]
    StillMapped(String),
    /// What would suit everybody can't be had; one line per heap that was tried.
    #[error("no heap that suits everybody could provide it: {}", join(.0))]
    NoStorage(Vec<(String, Error)>),
    /// A call that the core makes failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

fn join(tried: &[(String, Error)]) -> String {
    let lines: Vec<String> = tried.iter().map(|(heap, error)| format!("{heap}: {error}")).collect();
    lines.join("; ")
}

/// How many mappings a text names: one peer may hold so many that nobody else would be read of.
const NAMED: usize = 8;

/// The mappings that a move waited for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Who holds them, those first who should have ended theirs. Empty if another move took too long.
    pub holders: Vec<Overstayed>,
}

/// A mapping that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overstayed {
    /// The device.
    pub who: String,
    /// What the mapping is for.
    pub access: Access,
    /// Where it was mapped: source file and line.
    pub place: String,
    /// For how long it has been held.
    pub held: Duration,
    /// For how long it should have ended; `None` if it still may be held.
    pub late: Option<Duration>,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.holders.is_empty() {
            return f.write_str("another move has not come to its end");
        }
        for (n, holder) in self.holders.iter().take(NAMED).enumerate() {
            write!(f, "{}{holder}", if n == 0 { "" } else { "; " })?;
        }
        match self.holders.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; {more} mappings more"),
        }
    }
}

impl fmt::Display for Overstayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, access, place, held, late } = self;
        write!(f, "{who} has held a mapping ({access}) for {} ms, mapped at {place}", held.as_millis())?;
        match late {
            Some(late) => write!(f, ", {} ms longer than it said", late.as_millis()),
            None => Ok(()),
        }
    }
}
