//! Devices and heaps around the sharing core that do one thing wrong, chosen by name: a [`Layer`] of the core.
//!
//! `handover-faults` says what each does and when. A program that calls [`install`] has the one that its environment names, as
//! a Vulkan program has the layers that its environment names; the core knows of none.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use handover::dmabuf::Dmabuf;
use handover::share::constraints::{Bytes, Constraints, Party};
use handover::share::heap::{Heap, Heaps};
use handover::share::layer::{self, Behind, Layer};
use handover::udmabuf;
use handover_faults::made;

mod backing;
mod heap;

use backing::{Before, Slip};

/// Puts the fault in that the environment names (`HANDOVER_FAULT`), if it is one of this crate.
pub fn install() {
    if let Some(faulty) = make(made::name()) {
        layer::install(faulty);
    }
}

type Named = (&'static str, fn() -> Box<dyn Layer>);

const ALL: &[Named] = &[
    ("export-allocates", || Box::new(ExportAllocates)),
    ("refusal-late", || Box::new(Slips(Slip::RefusesLate))),
    ("move-converts", || Box::new(Slips(Slip::Converts))),
    ("move-loses-contents", || Box::new(Slips(Slip::LosesContents))),
    ("needs-unsaid", || Box::new(NeedsUnsaid)),
    ("name-taken", || Box::new(NameTaken)),
    ("stay-unsaid", || Box::new(StayUnsaid)),
    ("unmap-forgotten", || Box::new(UnmapForgotten)),
    ("allocation-deferred", || Box::new(AllocationDeferred)),
    ("frame-kept", || Box::new(FrameKept(AtomicU64::new(1)))),
    ("pool-over-its-cap", || Box::new(PoolOverItsCap)),
    ("refusal-unsaid", || Box::new(RefusalUnsaid)),
    ("orphans-kept", || Box::new(OrphansKept)),
    ("frame-unmeasured", || Box::new(FrameUnmeasured)),
    ("frame-files-untold", || Box::new(FrameFilesUntold)),
    ("reader-unnoted", || Box::new(ReaderUnnoted)),
    ("heap-without-limits", || Box::new(HeapWithoutLimits)),
];

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

fn make(name: &str) -> Option<Box<dyn Layer>> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, make)| make())
}

/// Whoever exports a buffer has memory made for it at once.
struct ExportAllocates;

impl Layer for ExportAllocates {
    fn behind(&self, below: Box<Behind>, heaps: &Heaps) -> Box<Behind> {
        match heaps.probes() {
            Ok(made) if !made.is_empty() => {
                made::fired();
                Box::new(Before { below, slip: None, _made: made })
            }
            _ => below,
        }
    }
}

/// Something is wrong with how storage is found and changed.
struct Slips(Slip);

impl Layer for Slips {
    fn behind(&self, below: Box<Behind>, _: &Heaps) -> Box<Behind> {
        Box::new(Before { below, slip: Some(self.0), _made: Vec::new() })
    }
}

/// A device does not say which pitch and which size it needs.
struct NeedsUnsaid;

impl Layer for NeedsUnsaid {
    fn party(&self, party: Party) -> Party {
        let said = Constraints {
            pitch: Bytes::ANY,
            size: Bytes::ANY,
            padding: 0,
            rows_behind: 0,
            ..party.constraints.clone()
        };
        if said != party.constraints {
            made::fired();
        }
        Party { constraints: said, ..party }
    }
}

/// A device of another process goes by the name that it gives itself.
struct NameTaken;

impl Layer for NameTaken {
    fn party(&self, party: Party) -> Party {
        let Some((_, own)) = party.name.split_once(" calling itself ") else { return party };
        made::fired();
        Party { name: own.trim_matches('"').to_owned(), ..party }
    }
}

/// A device says of each mapping that it may last an hour.
struct StayUnsaid;

impl Layer for StayUnsaid {
    fn hold(&self, _: Duration) -> Duration {
        made::fired();
        Duration::from_secs(3600)
    }
}

/// A device never says that it is done with a mapping.
struct UnmapForgotten;

impl Layer for UnmapForgotten {
    fn unmaps(&self) -> bool {
        made::fired();
        false
    }
}

/// An exporter that is to make its storage now makes it at the first map.
struct AllocationDeferred;

impl Layer for AllocationDeferred {
    fn allocates(&self) -> bool {
        made::fired();
        false
    }
}

/// Every third time somebody does not say that he is done with a frame; counts from 1.
struct FrameKept(AtomicU64);

impl Layer for FrameKept {
    fn gives_back(&self) -> bool {
        let is_kept = self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        if is_kept {
            made::fired();
        }
        !is_kept
    }
}

/// A pool may have one buffer more.
struct PoolOverItsCap;

impl Layer for PoolOverItsCap {
    fn most(&self, most: usize) -> usize {
        made::fired();
        most + 1
    }
}

/// Who serves other processes says that it has done what it refuses.
struct RefusalUnsaid;

impl Layer for RefusalUnsaid {
    fn refuses(&self) -> bool {
        made::fired();
        false
    }
}

/// Who serves another process keeps for it what it held when it went.
struct OrphansKept;

impl Layer for OrphansKept {
    fn releases(&self) -> bool {
        made::fired();
        false
    }
}

/// A frame need not lie in the buffer that another process hands out with it.
struct FrameUnmeasured;

impl Layer for FrameUnmeasured {
    fn measures(&self) -> bool {
        made::fired();
        false
    }
}

/// A frame needs no dma-buf: where none comes along first, it is put into memory of one's own, and what comes along besides is let
/// go.
struct FrameFilesUntold;

impl Layer for FrameFilesUntold {
    fn files(&self, mut files: Vec<OwnedFd>) -> Vec<OwnedFd> {
        /// Enough for every frame that peers are handed in cases.
        const BYTES: u64 = 1 << 20;
        let is_one = |file: &OwnedFd| file.try_clone().is_ok_and(|copy| Dmabuf::from_fd(copy).is_ok());
        let surplus = files.len().saturating_sub(1);
        files.truncate(1);
        if surplus == 0 && files.iter().any(is_one) {
            return files;
        }
        made::fired();
        if files.iter().any(is_one) {
            return files;
        }
        let own = udmabuf::create(BYTES).ok().and_then(|(memory, _)| memory.fd.try_clone().ok());
        own.map_or(files, |own| vec![own])
    }
}

/// Nobody knows who looks at a frame.
struct ReaderUnnoted;

impl Layer for ReaderUnnoted {
    fn notes_readers(&self) -> bool {
        made::fired();
        false
    }
}

/// A heap offers more than there is, and gives a page for it.
struct HeapWithoutLimits;

impl Layer for HeapWithoutLimits {
    fn heap(&self, heap: Arc<dyn Heap>) -> Arc<dyn Heap> {
        Arc::new(heap::WithoutLimits::before(heap))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use handover_faults::Seam;

    #[test]
    fn every_fault_of_the_core_can_be_made_and_no_other() {
        let listed = handover_faults::all().filter(|fault| fault.seam == Seam::Core).map(|fault| fault.name);
        assert_eq!(super::names().collect::<BTreeSet<_>>(), listed.collect());
    }
}
