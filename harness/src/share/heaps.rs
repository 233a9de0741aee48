//! Which heaps does this machine have, and why not the others?
//!
//! Each kind of heap is a file of its own. A heap is listed if it has given a page: what it says of itself was tried, and a
//! heap that can't be had is absent with the reason. A kind is looked for when it is first asked for, since GBM loads
//! drivers. The memory of a GPU comes from an open [`Gpu`], so whoever has one adds it.
//!
//! Costs, lowest first. They order what is scarce behind what is not, and say nothing of speed:
//!
//! | cost | kind | because |
//! |---|---|---|
//! | 10 | udmabuf | pages of ours, which pagemap can see |
//! | 20 | dma-heap | pages of the kernel's |
//! | 30 | dumb buffer | pages or video memory of a card, made for its screen |
//! | 40 | GBM | as above, through a driver's library |
//! | 50 | Vulkan | memory of a GPU |
//! | 60 | V4L2 | the queue of a device is ours for a moment |
//! | +100 | contiguous | scarce, and lost to fragmentation |

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustix::io::Errno;

use super::agreement::Agreement;
use super::heap::{Heap, Offer, Storage};
use super::layer::layer;
use crate::case::Role;
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Frame, Plane, px};
use crate::placement::reach;
use crate::vk::Gpu;

mod dma_heap;
mod dumb;
mod expbuf;
mod gbm;
mod udmabuf;
mod vulkan;

/// What sort of heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Pages of a memfd of ours.
    Udmabuf,
    /// A heap of `/dev/dma_heap`.
    DmaHeap,
    /// A dumb buffer of a card.
    Dumb,
    /// A buffer of a card through libgbm.
    Gbm,
    /// Memory of a Vulkan device.
    Vulkan,
    /// A buffer of a V4L2 queue.
    Expbuf,
}

impl Kind {
    /// Every kind, the cheapest first.
    pub const ALL: [Self; 6] = [Self::Udmabuf, Self::DmaHeap, Self::Dumb, Self::Gbm, Self::Vulkan, Self::Expbuf];

    /// The kind as it is written in names of cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udmabuf => "udmabuf",
            Self::DmaHeap => "dma_heap",
            Self::Dumb => "dumb",
            Self::Gbm => "gbm",
            Self::Vulkan => "vulkan",
            Self::Expbuf => "expbuf",
        }
    }

    fn cost(self) -> u32 {
        match self {
            Self::Udmabuf => 10,
            Self::DmaHeap => 20,
            Self::Dumb => 30,
            Self::Gbm => 40,
            Self::Vulkan => 50,
            Self::Expbuf => 60,
        }
    }
}

/// What contiguous memory costs more.
const CONTIGUOUS: u32 = 100;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What became of looking for a kind of heap.
#[derive(Default)]
struct Looked {
    /// Those that are there.
    present: Vec<Arc<dyn Heap>>,
    /// Why others are not.
    absent: Vec<Error>,
}

impl Looked {
    /// Adds a heap if it gives a page.
    fn add(&mut self, kind: Kind, source: impl Source + 'static, about: About) {
        match Bytes::open(kind, source, about) {
            Ok(heap) => self.present.push(layer().heap(Arc::new(heap))),
            Err(why) => self.absent.push(why),
        }
    }

    /// Whether something ran out while they were looked for that may be there again in a moment, so that nobody knows what is absent.
    fn is_short(&self) -> bool {
        self.absent.iter().any(Error::is_shortage)
    }

    /// Whether what ran out was numbers for files, without which no heap can be told.
    fn lacks_files(&self) -> bool {
        self.absent.iter().any(|why| why.is_errno(Errno::MFILE) || why.is_errno(Errno::NFILE))
    }

    /// There is none at all.
    fn none(why: Error) -> Self {
        Self { present: Vec::new(), absent: vec![why] }
    }
}

/// The heaps of this machine, as far as they were looked for.
#[derive(Default)]
pub struct Found {
    looked: BTreeMap<Kind, Looked>,
}

/// How often they are looked for where something runs out.
const LOOKS: u32 = 3;

impl Found {
    /// Whether heaps of `kind` were looked for.
    pub fn has_looked(&self, kind: Kind) -> bool {
        self.looked.contains_key(&kind)
    }

    /// Every heap of `kind`; each has given a page.
    ///
    /// # Errors
    /// There is none, and why not; or files or memory ran out at each of some looks, and whoever asks again has them looked for again.
    pub fn of_kind(&mut self, kind: Kind) -> Result<Vec<Arc<dyn Heap>>, String> {
        let find = || match kind {
            Kind::Udmabuf => udmabuf::find(),
            Kind::DmaHeap => dma_heap::find(),
            Kind::Dumb => dumb::find(),
            Kind::Gbm => gbm::find(),
            Kind::Vulkan => Looked::none(Error::missing("listing heaps", kind.as_str(), "no GPU is open")),
            Kind::Expbuf => expbuf::find(),
        };
        let mut looked = self.looked.remove(&kind).unwrap_or_else(find);
        for _ in 1..LOOKS {
            if looked.is_short() {
                looked = find();
            }
        }
        let why: Vec<_> = looked.absent.iter().map(Error::to_string).collect();
        let answer = match looked.present.is_empty() || looked.lacks_files() {
            false => Ok(looked.present.clone()),
            true if why.is_empty() => Err(format!("nothing here is a {kind} heap")),
            true => Err(why.join("; ")),
        };
        // A heap that is out of memory beside others that are not is one whose memory is all in use.
        if answer.is_ok() || !looked.is_short() {
            self.looked.insert(kind, looked);
        }
        answer
    }

    /// Adds the memory of `gpu`, which plays `role`, as the heap `gpu_a memory` or the like; once for each role.
    pub fn add_gpu(&mut self, role: Role, gpu: &Gpu) {
        let name = format!("{role} memory");
        let looked = self.looked.entry(Kind::Vulkan).or_default();
        if looked.present.iter().all(|heap| heap.offer().heap != name) {
            vulkan::add(looked, name, gpu);
        }
    }
}

/// What allocates bytes.
trait Source: Send + Sync {
    /// A buffer of at least `bytes` bytes, a multiple of the granule, with what must live as long.
    fn allocate(&self, bytes: u64) -> Result<Allocated>;
}

/// A buffer as its source gives it.
struct Allocated {
    dmabuf: Dmabuf,
    /// The memfd with its pages.
    pages: Option<std::os::fd::OwnedFd>,
    keep: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl From<Dmabuf> for Allocated {
    fn from(dmabuf: Dmabuf) -> Self {
        Self { dmabuf, pages: None, keep: None }
    }
}

/// What its finder says of a heap; the rest is tried.
struct About {
    name: String,
    contiguous: bool,
    largest: u64,
}

/// A heap that lays frames into bytes of a source.
struct Bytes<S> {
    source: S,
    offer: Offer,
}

impl<S: Source> Bytes<S> {
    /// Tries the source with one page.
    fn open(kind: Kind, source: S, about: About) -> Result<Self> {
        let page = rustix::param::page_size() as u64;
        let About { name, contiguous, largest } = about;
        let offer = Offer {
            heap: name,
            cost: kind.cost() + if contiguous { CONTIGUOUS } else { 0 },
            contiguous,
            address_bits: reach::here(),
            granule: page,
            largest: largest - largest % page,
            cpu: false,
        };
        let mut heap = Self { source, offer };
        let frame = Frame::linear(Fourcc::R8, px(1, 1), Plane { offset: 0, pitch: 1 });
        let probe = heap.allocate(&Agreement { heap: heap.offer.heap.clone(), frame, bytes: 1 })?;
        heap.offer.cpu = probe.shared.dmabuf.map().is_ok();
        // Some give more than a page, since they think in pictures; their runs are no longer for that.
        Ok(heap)
    }
}

impl<S: Source> Heap for Bytes<S> {
    fn offer(&self) -> &Offer {
        &self.offer
    }

    fn allocate(&self, agreement: &Agreement) -> Result<Storage> {
        const OP: &str = "allocating from a heap";
        let Offer { heap, granule, largest, .. } = &self.offer;
        let object = || format!("{heap}, {} for {} B", agreement.frame, agreement.bytes);
        if agreement.bytes == 0 || agreement.bytes > *largest {
            let why = format!("{} B; 1 to {largest} B would be valid", agreement.bytes);
            return Err(Error::input(OP, object(), why));
        }
        // Cannot overflow: `largest` is a multiple of the granule.
        let Allocated { dmabuf, pages, keep } = self.source.allocate(agreement.bytes.next_multiple_of(*granule))?;
        if dmabuf.size < agreement.bytes {
            let why = format!("a buffer of {} B; at least {} B would be valid", dmabuf.size, agreement.bytes);
            let error = Error::answer(OP, object(), why);
            let (page, rest) = (crate::dmabuf::page_size(), agreement.bytes - dmabuf.size);
            return Err(match dmabuf.size.is_multiple_of(page) && rest < page {
                true => error.like("a length that was rounded down to whole pages, and not up"),
                false => error,
            });
        }
        let shared = SharedFrame { dmabuf, frame: agreement.frame.clone() };
        Ok(Storage { shared, heap: heap.clone(), pages, keep })
    }
}

/// Bytes of memory that this machine has.
fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(info.mem_unit.into())
}

/// The longest run of addresses that the kernel could give, in bytes: of its page allocator, which warns in its log when it
/// is asked for more, or of memory that it keeps for that (CMA).
fn largest_run() -> u64 {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let page = rustix::param::page_size() as u64;
    let order = orders(&read("/proc/buddyinfo")).saturating_sub(1);
    let run = page.checked_shl(order).unwrap_or(page);
    run.max(cma_total(&read("/proc/meminfo")))
}

/// How many sizes of runs the page allocator has: the columns of `/proc/buddyinfo` behind the zone's name.
fn orders(buddyinfo: &str) -> u32 {
    let columns =
        |line: &str| line.split_once("zone").map_or(0, |(_, zone)| zone.split_whitespace().count().saturating_sub(1));
    buddyinfo.lines().map(columns).max().unwrap_or_default() as u32
}

/// `CmaTotal` of `/proc/meminfo`, in bytes; 0 without CMA.
fn cma_total(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("CmaTotal:"));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or_default();
    kib.saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_how_long_a_run_can_be() {
        let buddyinfo =
            "Node 0, zone   Normal     12      7      3      1      0      0      1      2      0      1    925\n";
        assert_eq!(orders(buddyinfo), 11);
        assert_eq!(orders("Node 0, zone"), 0);
        assert_eq!(orders(""), 0);
        assert_eq!(cma_total("MemTotal: 4 kB\nCmaTotal:          65536 kB\nCmaFree: 1 kB\n"), 64 << 20);
        assert_eq!(cma_total("MemTotal: 4 kB\n"), 0);
    }

    /// A source that can be seen to be asked, in memory that is no dma-buf: nothing may get that far.
    struct Never;

    impl Source for Never {
        fn allocate(&self, bytes: u64) -> Result<Allocated> {
            Err(Error::missing("asking the source", format!("{bytes} B"), "it was asked"))
        }
    }

    #[test]
    fn sizes_outside_the_offer_do_not_reach_the_source() {
        let page = rustix::param::page_size() as u64;
        let offer = Offer {
            heap: "never".to_owned(),
            cost: 0,
            contiguous: false,
            address_bits: 64,
            granule: page,
            largest: 2 * page,
            cpu: true,
        };
        let heap = Bytes { source: Never, offer };
        let frame = Frame::linear(Fourcc::R8, px(1, 1), Plane { offset: 0, pitch: 1 });
        let said = |bytes| {
            let agreement = Agreement { heap: "never".to_owned(), frame: frame.clone(), bytes };
            heap.allocate(&agreement).expect_err("there is no memory").to_string()
        };
        for refused in [0, 2 * page + 1, u64::MAX] {
            assert!(said(refused).contains("would be valid"), "{}", said(refused));
        }
        assert!(said(page + 1).contains(&format!("{} B: it was asked", 2 * page)), "{}", said(page + 1));
    }
}
