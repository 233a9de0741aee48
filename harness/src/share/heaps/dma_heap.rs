//! The heaps of `/dev/dma_heap`, by their names: `system`, and those that a machine has besides.

use super::{About, Allocated, Kind, Looked, Source};
use crate::dma_heap;
use crate::error::Result;

/// The heaps that the kernel's documentation ("DMA-BUF heaps") says give contiguous memory; other names promise nothing.
const CONTIGUOUS: &[&str] = &["default_cma_region", "reserved", "linux,cma", "default-pool"];

/// A heap of `/dev/dma_heap`.
struct DmaHeap(String);

impl Source for DmaHeap {
    fn allocate(&self, bytes: u64) -> Result<Allocated> {
        dma_heap::allocate(&self.0, bytes).map(Allocated::from)
    }
}

pub(super) fn find() -> Looked {
    let names = match dma_heap::names() {
        Ok(names) => names,
        Err(why) => return Looked::none(why),
    };
    let mut looked = Looked::default();
    for name in names {
        let contiguous = CONTIGUOUS.contains(&name.as_str());
        let largest = if contiguous { super::largest_run() } else { super::machine_memory() };
        looked.add(Kind::DmaHeap, DmaHeap(name.clone()), About { name, contiguous, largest });
    }
    looked
}
