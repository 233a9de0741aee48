//! What stands between the sharing core and the devices and heaps around it, as a layer stands between a program and a
//! Vulkan driver.
//!
//! A process has none unless whoever starts it puts one in. A layer sees, and may change, what devices, heaps and other processes
//! tell the core and what the core asks of storage; and at some places what the core itself makes of it, such as whether storage
//! is made at once, how many buffers a pool may have, and whether a refusal is told to who asked. Beyond these the core's state is
//! out of its reach.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::constraints::Party;
use super::core::Backing;
use super::heap::{Heap, Heaps, Storage};

/// What stands behind a buffer of real memory.
pub type Behind = dyn Backing<Storage = Storage>;

/// A layer; what it does not say otherwise it hands on.
pub trait Layer: Send + Sync {
    /// What a buffer that is exported now has behind it: `below`, or something before that. Its storage will come from `heaps`.
    fn behind(&self, below: Box<Behind>, heaps: &Heaps) -> Box<Behind> {
        let _ = heaps;
        below
    }

    /// A heap that was found.
    fn heap(&self, heap: Arc<dyn Heap>) -> Arc<dyn Heap> {
        heap
    }

    /// What a device that attaches says of itself.
    fn party(&self, party: Party) -> Party {
        party
    }

    /// How long a device says that it will hold a mapping at most.
    fn hold(&self, hold: Duration) -> Duration {
        hold
    }

    /// Whether a device that is done with a mapping says so.
    fn unmaps(&self) -> bool {
        true
    }

    /// Whether an exporter that is to make its storage now does so.
    fn allocates(&self) -> bool {
        true
    }

    /// How many buffers a pool may have that is made for so many.
    fn most(&self, most: usize) -> usize {
        most
    }

    /// Whether who serves other processes tells them of a refusal.
    fn refuses(&self) -> bool {
        true
    }

    /// Whether who serves another process lets go of what it held when it has gone.
    fn releases(&self) -> bool {
        true
    }

    /// The files that come along with a frame of another process, as who is handed it takes them.
    fn files(&self, files: Vec<OwnedFd>) -> Vec<OwnedFd> {
        files
    }

    /// Whether who is handed a frame by another process looks whether it lies in its buffer.
    fn measures(&self) -> bool {
        true
    }

    /// Whether who looks at a frame of a pool is known to.
    fn notes_readers(&self) -> bool {
        true
    }

    /// Whether who is done with a frame of a pool, drawn or looked at, says so.
    fn gives_back(&self) -> bool {
        true
    }
}

static LAYER: OnceLock<Box<dyn Layer>> = OnceLock::new();

/// Puts `layer` in for as long as this process lives; whether there was none before. What is shared already stays without.
pub fn install(layer: Box<dyn Layer>) -> bool {
    LAYER.set(layer).is_ok()
}

/// Hands everything on.
struct Nothing;

impl Layer for Nothing {}

/// The layer of this process.
pub(super) fn layer() -> &'static dyn Layer {
    LAYER.get().map_or(&Nothing, |layer| &**layer)
}
