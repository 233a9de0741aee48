//! Which devices that few cases need were not needed for long?

use std::collections::BTreeMap;

use super::{Devices, Slot};
use crate::case::Role;
use crate::gbm::NodeKind;
use crate::ledger;

/// After so many cases that did not need it, such a device is closed: it holds as much memory as one that every case needs.
const CASES: u64 = 32;

/// What is known of the devices that few cases need.
#[derive(Default)]
pub(super) struct Idle {
    /// How many cases have ended.
    pub(super) ended: u64,
    pub(super) seconds: Needed<Role>,
    pub(super) gles_on_gbm: Needed<NodeKind>,
}

/// Devices by what they are, each with how many cases had ended when it was needed last.
pub(super) struct Needed<K>(BTreeMap<K, u64>);

impl<K> Default for Needed<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Needed<K> {
    /// `device` is needed when `ended` cases have ended.
    pub(super) fn note(&mut self, device: K, ended: u64) {
        self.0.insert(device, ended);
    }

    /// Takes off those that were not needed for long, now that `ended` cases have ended.
    pub(super) fn take_idle(&mut self, ended: u64) -> Vec<K> {
        let idle: Vec<K> =
            self.0.iter().filter(|(_, last)| ended - **last > CASES).map(|(device, _)| *device).collect();
        self.0.retain(|device, _| !idle.contains(device));
        idle
    }
}

impl Devices {
    /// A case has ended: closes devices that few cases need, if they were not needed for long. Who needs one again opens it again.
    pub fn rest(&mut self) {
        self.idle.ended += 1;
        let ended = self.idle.ended;
        let (seconds, nodes) = (self.idle.seconds.take_idle(ended), self.idle.gles_on_gbm.take_idle(ended));
        if seconds.is_empty() && nodes.is_empty() {
            return;
        }
        ledger::letting_go(|| {
            for role in seconds {
                self.second_instances.remove(&role);
            }
            for node in nodes {
                if let Some(Slot::Open(gles)) = self.gles_on_gbm.remove(&node) {
                    // What it looked at between cases goes first.
                    self.textures.retain(|(name, _)| *name != gles.name());
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_idle_when_so_many_cases_did_not_need_it() {
        let mut needed = Needed::default();
        needed.note('a', 0);
        needed.note('b', 0);
        needed.note('b', 7);
        assert!(needed.take_idle(CASES).is_empty());
        assert_eq!(needed.take_idle(CASES + 1), ['a']);
        assert!(needed.take_idle(CASES + 1).is_empty(), "it is told once");
        assert_eq!(needed.take_idle(CASES + 8), ['b']);
    }
}
