//! What can provide backing storage: dma-heap, udmabuf, dumb buffer, GBM, V4L2 EXPBUF, a Vulkan memory type.
//!
//! A heap provides bytes. Where pixels lie in them is agreed on before ([`super::agreement`]), so that one frame can lie in
//! the storage of any heap and move between them. It knows nothing of who attaches.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::agreement::Agreement;
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Frame, Plane, px};

/// What a heap can provide, as far as it can be said before anything is allocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The heap's name: `system`, `udmabuf`, `vgem dumb`, `vivid-001 expbuf`. No two heaps of a machine share one.
    pub heap: String,
    /// Which is taken when several would do: the one with the lowest cost.
    pub cost: u32,
    /// Whether its memory is one run of addresses, whatever its size.
    pub contiguous: bool,
    /// How many low bits an address of its memory has at most; 64 promises nothing. What a card has beside the machine's memory
    /// its driver lets others map where they reach it, or not at all: that is for each mapping to show.
    pub address_bits: u32,
    /// Memory comes in runs of at least so many bytes; sizes are rounded up to a multiple.
    pub granule: u64,
    /// The largest buffer, in bytes.
    pub largest: u64,
    /// Whether the CPU can map it.
    pub cpu: bool,
}

/// Something that can provide backing storage.
pub trait Heap: Send + Sync {
    /// What it can provide.
    fn offer(&self) -> &Offer;

    /// Allocates storage for `agreement`, whose contents may be anything.
    ///
    /// # Errors
    /// The kernel or the driver refuses, with its errno: `ENOMEM`, `EMFILE`. Nothing stays allocated then.
    fn allocate(&self, agreement: &Agreement) -> Result<Storage>;
}

/// Backing storage of one buffer.
pub struct Storage {
    /// The dma-buf, with the frame in it.
    pub shared: SharedFrame,
    /// Name of the heap that it came from.
    pub heap: String,
    /// The memfd that holds the pages, if they are ours: what pagemap can see.
    pub pages: Option<OwnedFd>,
    /// What must live as long as the storage: a GEM handle, a V4L2 queue.
    pub keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Storage {
    /// Storage of the heap `heap` that is kept alive by its dma-buf alone.
    pub fn new(heap: impl Into<String>, shared: SharedFrame) -> Self {
        Self { shared, heap: heap.into(), pages: None, keep: None }
    }

    /// The bytes in `range`, read from the memfd that holds the pages and not through the dma-buf.
    ///
    /// # Errors
    /// There is no such memfd, or `range` reaches outside.
    pub fn read_pages(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        self.memfd()?
            .read_exact_at(&mut bytes, range.start)
            .map_err(|error| Error::new("read", self.to_string(), error))?;
        Ok(bytes)
    }

    /// Writes `bytes` from byte `at` on to the memfd that holds the pages.
    ///
    /// # Errors
    /// As [`Self::read_pages`].
    pub fn write_pages(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.memfd()?.write_all_at(bytes, at).map_err(|error| Error::new("write", self.to_string(), error))
    }

    fn memfd(&self) -> Result<File> {
        let none = || Error::missing("looking at pages", self.to_string(), "its pages are not in a memfd of ours");
        let pages = self.pages.as_ref().ok_or_else(none)?;
        let pages = pages.try_clone().map_err(|error| Error::new("dup", self.to_string(), error))?;
        Ok(File::from(pages))
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of heap {}", self.shared, self.heap)
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("shared", &self.shared).field("heap", &self.heap).finish_non_exhaustive()
    }
}

/// The heaps of a machine, in no order: costs decide.
#[derive(Clone, Default)]
pub struct Heaps {
    heaps: Vec<Arc<dyn Heap>>,
}

impl Heaps {
    /// These heaps.
    pub fn new(heaps: impl IntoIterator<Item = Arc<dyn Heap>>) -> Self {
        Self { heaps: heaps.into_iter().collect() }
    }

    /// What they offer.
    pub fn offers(&self) -> Vec<Offer> {
        self.heaps.iter().map(|heap| heap.offer().clone()).collect()
    }

    /// These and those of `others`.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        Self { heaps: self.heaps.iter().chain(&others.heaps).cloned().collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.heaps.is_empty()
    }

    /// The heap called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Heap>> {
        self.heaps.iter().find(|heap| heap.offer().heap == name)
    }

    /// A small buffer of each, by the name of the heap: for trying which of them a device takes.
    ///
    /// # Errors
    /// A heap does not give one.
    pub fn probes(&self) -> Result<Vec<Storage>> {
        let small = |heap: &Arc<dyn Heap>| {
            let name = heap.offer().heap.clone();
            let frame = Frame::linear(Fourcc::R8, px(1, 1), Plane { offset: 0, pitch: 1 });
            heap.allocate(&Agreement { heap: name, frame, bytes: 1 })
        };
        self.heaps.iter().map(small).collect()
    }

    /// Only the heaps called one of `names`.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        Self { heaps: self.heaps.iter().filter(|heap| names.contains(&heap.offer().heap.as_str())).cloned().collect() }
    }
}

impl fmt::Debug for Heaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.heaps.iter().map(|heap| &heap.offer().heap)).finish()
    }
}
