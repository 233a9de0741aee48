//! What devices are asked when a case ends, and which of them are not kept for the next.

use super::{Devices, Kept, Slot};
use crate::error::Result;
use crate::finding::Finding;
use crate::kms::{Handles, Prime, Screen};
use crate::ledger;
use crate::observed::NotObservable;
use crate::peer::Peer;
use crate::vk::Gpu;

impl Devices {
    /// What of the GEM handles, framebuffers and syncobjs of our cards is not as it must be after a case.
    pub fn imbalances(&self) -> Vec<Finding> {
        let screens = self.screens.values().filter_map(Slot::open).filter_map(Screen::imbalance);
        let primes = self.primes.values().filter_map(Slot::open).flat_map(Prime::imbalances);
        let kept = self.kept.values().filter_map(Slot::open).filter_map(|device| device.imbalance());
        screens.chain(primes).chain(kept).collect()
    }

    /// What the kernel has for each open card with which the case made something, by which one it is.
    pub fn touched_handles(&self) -> impl Iterator<Item = (String, Result<Handles>)> {
        let screens = self.screens.values().filter_map(Slot::open).filter_map(Screen::touched_handles);
        let primes = self.primes.values().filter_map(Slot::open).filter_map(Prime::touched_handles);
        let kept = self.kept.values().filter_map(Slot::open).filter_map(|device| device.touched_handles());
        screens.chain(primes).chain(kept)
    }

    /// Lets go of every device that has been unplugged, so that the next who needs it looks for it again; says whether there
    /// was one.
    pub fn forget_unplugged(&mut self) -> bool {
        let gone = |slot: &Slot<Box<dyn Kept>>| matches!(slot, Slot::Open(device) if device.is_gone());
        if !self.kept.values().any(gone) {
            return false;
        }
        ledger::letting_go(|| self.kept.retain(|_, slot| !gone(slot)));
        true
    }

    /// Has peers that the case used let go of what it left them with, and says which of them are not there any more, and what
    /// stays open in those that are; and of which that can't be observed, and why.
    pub fn unburden_peers(&mut self) -> (Vec<Finding>, Vec<NotObservable>) {
        let peers = self.peers.values_mut().filter_map(|slot| match slot {
            Slot::Open(peer) => Some(peer),
            _ => None,
        });
        let (mut findings, mut unobserved) = (Vec::new(), Vec::new());
        for said in peers.map(Peer::forget) {
            match said {
                Ok(Ok(left)) => findings.extend(left),
                Ok(Err(why)) => unobserved.push(why),
                Err(error) => findings.push(Finding::from_error(&error)),
            }
        }
        (findings, unobserved)
    }

    /// Lets go of every device that can't be trusted after a failure: peers, and GPUs that missed a deadline or are lost.
    pub fn forget_broken(&mut self) {
        let broken = |slot: &Slot<Peer>| matches!(slot, Slot::Open(peer) if peer.is_broken());
        let useless = |slot: &Slot<Gpu>| matches!(slot, Slot::Open(gpu) if gpu.is_abandoned() || gpu.is_lost());
        let gpus = || self.gpus.values().chain(self.second_instances.values());
        if !self.peers.values().any(broken) && !gpus().any(useless) {
            return;
        }
        ledger::letting_go(|| {
            self.peers.retain(|_, slot| !broken(slot));
            for slots in [&mut self.gpus, &mut self.second_instances] {
                slots.retain(|_, slot| !useless(slot));
            }
        });
    }
}
