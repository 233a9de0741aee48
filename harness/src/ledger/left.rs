//! What nobody accounts for, and how long it may stay before that is a finding. Pure.

use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::time::Duration;

use super::attached::Change;
use super::mappings::Bytes;
use crate::placement::bufinfo::Entry;

/// So long a file or a buffer may stay after the case: the kernel cleans up by and by, and drivers have threads.
const SETTLED: Duration = Duration::from_millis(300);

/// So long what a screen showed before may stay: its driver lets go of it some vertical blanks later, in a worker of the kernel, for
/// which a busy machine may have no time.
const SHOWN_BEFORE: Duration = Duration::from_secs(3);

/// What nobody accounts for.
pub(super) struct Left {
    pub(super) files: Vec<RawFd>,
    pub(super) buffers: Vec<Entry>,
    pub(super) mappings: Bytes,
    /// Buffers that are somebody's, with other devices than before.
    pub(super) attached: Vec<Change>,
}

impl Left {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.buffers.is_empty() && self.mappings.is_empty() && self.attached.is_empty()
    }

    /// For how long, if a screen showed the buffers `on_loan` before.
    pub(super) fn may_stay(&self, on_loan: &BTreeSet<u64>) -> Duration {
        let mut buffers = self.buffers.iter();
        let shown_before = !self.buffers.is_empty() && buffers.all(|entry| on_loan.contains(&entry.buffer.inode));
        if self.files.is_empty() && shown_before { SHOWN_BEFORE } else { SETTLED }
    }
}
