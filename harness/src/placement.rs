//! Where is the storage behind a buffer really, as the kernel shows it, and does that suit the device that maps it?
//!
//! [`Placement`] is what was seen of one buffer in the hands of one device; [`check()`](check::check) holds it against that
//! device's constraints. Both are pure. An [`Observer`] does the looking, and keeps looking over many cases: what the kernel
//! traces of each dma-buf ([`trace`], [`parse`], [`history`]), its list of them ([`bufinfo`]), and the pages of our own
//! memory files ([`pagemap`]). How far a device [reaches](reach) is told apart from any buffer. A [`probe`] is somebody who takes any buffer, so that there is something to see.
//!
//! Nothing here takes the word of the code under test. What can't be seen is [`NotObservable`], with the reason, and that is
//! never a pass.
//!
//! Sources: `include/trace/events/dma_buf.h`, `include/trace/events/dma.h` and `drivers/dma-buf/dma-buf.c` of the kernel.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dmabuf;
use crate::frame::Frame;
use crate::observed::{NotObservable, Observed};

pub mod bufinfo;
pub mod check;
pub mod history;
mod observer;
pub mod pagemap;
pub mod parse;
pub mod probe;
pub mod reach;
pub mod trace;

pub use check::{Checked, Unchecked, Violation, check, violations};
pub(crate) use observer::name_of_number;
pub use observer::{Device, Mark, Observer};

/// A run of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// The first address, in bytes.
    pub address: u64,
    /// Length in bytes.
    pub length: u64,
}

/// By what segments were seen, which is also whose addresses they have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The scatter list that the kernel mapped for this device (`dma_map_sg`): addresses as that device sees them.
    ScatterList {
        /// The device, by the kernel's name.
        device: String,
        /// Whether its addresses are the physical ones, as far as they were seen: nothing translates them.
        physical: bool,
    },
    /// `/proc/self/pagemap` of the memory file behind the buffer: physical addresses.
    Pagemap,
}

/// The runs of addresses that storage lies in, in the order of the buffer's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// By what they were seen.
    pub source: Source,
    /// Those that were seen: the first ones, if the kernel cut the list short.
    pub list: Vec<Segment>,
    /// How many there are, seen or not. The kernel prints 128 of a scatter list (`DMA_TRACE_MAX_ENTRIES`).
    pub count: u64,
}

/// Where one buffer lies, as seen while one device had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Which device it is that maps the buffer, as verdicts name it: `gpu_a`, `screen`, `vivid.1 (video6)`.
    pub device: String,
    /// Its name in the kernel, if it has one.
    pub kernel_device: Option<String>,
    /// Which buffer.
    pub buffer: dmabuf::Identity,
    /// Where the pixels lie in it.
    pub frame: Frame,
    /// The heap that provided it, if that is known.
    pub heap: Option<String>,
    /// As what memory types a Vulkan device can import it, if that is who maps it.
    pub memory: Option<Observed<MemoryTypes>>,
    /// Where it lies.
    pub segments: Observed<Segments>,
    /// Whether a process was seen to map it for the CPU.
    pub mapped_by_cpu: bool,
}

/// Memory types of a Vulkan device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryTypes {
    /// A bit for each type (`memoryTypeBits`).
    pub bits: u32,
    /// Each by its number and properties: `0 DEVICE_LOCAL | HOST_VISIBLE`.
    pub types: Vec<String>,
}

impl Segment {
    /// The address behind the last byte.
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.length)
    }
}

impl Segments {
    /// Whether all of them were seen.
    pub fn complete(&self) -> bool {
        self.count == self.list.len() as u64
    }

    /// Whether these are physical addresses.
    pub fn are_physical(&self) -> bool {
        matches!(self.source, Source::Pagemap | Source::ScatterList { physical: true, .. })
    }

    /// The same addresses in as few runs as possible: neighbours become one.
    pub fn runs(&self) -> Vec<Segment> {
        let mut runs: Vec<Segment> = Vec::new();
        for segment in &self.list {
            match runs.last_mut() {
                Some(last) if last.end() == segment.address => last.length += segment.length,
                _ => runs.push(*segment),
            }
        }
        runs
    }

    /// Bytes that were seen.
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|segment| segment.length).sum()
    }
}

/// So many segments are kept in a report.
const ABRIDGED: usize = 32;

impl Placement {
    /// With as much of the scatter list as a report keeps; the count stays that of all.
    #[must_use]
    pub fn abridged(mut self) -> Self {
        if let Ok(segments) = &mut self.segments {
            segments.list.truncate(ABRIDGED);
        }
        self
    }

    /// With the heap that provided the buffer, and what Vulkan says of its memory types.
    #[must_use]
    pub fn known_as(self, heap: Option<&str>, memory: Option<Observed<MemoryTypes>>) -> Self {
        Self { heap: heap.map(str::to_owned), memory, ..self }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B at {:#x}", self.length, self.address)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScatterList { device, .. } => write!(f, "scatter list of {device}"),
            Self::Pagemap => write!(f, "pagemap of the memory file"),
        }
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.list.iter().map(|segment| segment.length);
        match (self.count, &self.list[..]) {
            (1, [one]) => write!(f, "1 segment of {one}")?,
            (count, []) => write!(f, "{count} segments, none of them printed")?,
            (count, [first, ..]) => {
                let (shortest, longest) = (lengths.clone().min().unwrap_or(0), lengths.max().unwrap_or(0));
                let address = first.address;
                match shortest == longest {
                    true => write!(f, "{count} segments of {shortest} B from {address:#x}")?,
                    false => write!(f, "{count} segments of {shortest} B to {longest} B from {address:#x}")?,
                }
                let runs = self.runs().len();
                match (self.complete(), runs == self.list.len()) {
                    (true, true) => {}
                    (true, false) => write!(f, " in {runs} run{}", if runs == 1 { "" } else { "s" })?,
                    (false, _) => write!(f, ", the kernel printed {} of them", self.list.len())?,
                }
            }
        }
        write!(f, " ({})", self.source)
    }
}

/// `screen: udmabuf of 135168 B, inode 5, heap udmabuf, 1 segment of 135168 B at 0x2971000 (pagemap of the memory file)`.
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exporter = self.buffer.exporter.as_deref().unwrap_or("dma-buf");
        write!(f, "{}: {exporter} of {} B, inode {}", self.device, self.buffer.size, self.buffer.inode)?;
        if let Some(heap) = &self.heap {
            write!(f, ", heap {heap}")?;
        }
        match &self.memory {
            None => {}
            Some(Ok(memory)) => write!(f, ", memory type {}", memory.types.join(" or "))?,
            Some(Err(NotObservable(why))) => write!(f, ", memory type not observable: {why}")?,
        }
        match &self.segments {
            Ok(segments) => write!(f, ", {segments}"),
            Err(NotObservable(why)) => write!(f, ", addresses not observable: {why}"),
        }
    }
}
