//! What does one line of the kernel's trace say?
//!
//! Pure text. A line that is not understood is kept as it is ([`What::Other`]): a newer kernel may say more, and what it says
//! must not be lost. A list that the kernel cut short is one of "at least".
//!
//! Source: the formats are those of `include/trace/events/dma_buf.h`, `include/trace/events/dma.h` and
//! `include/trace/events/kmem.h`; the columns before them `kernel/trace/trace_output.c`.

use std::fmt;
use std::time::Duration;

use super::{Segment, Segments, Source};
use crate::dmabuf::Identity;

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Something happened.
    Event(Event),
    /// So many events were overwritten before anybody read them; `None` where the kernel does not count.
    Lost(Option<u64>),
}

/// Something that happened in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The thread that did it, by the kernel's number.
    pub thread: u32,
    /// When, since the machine started; the user-mode kernel counts in steps of 10 ms.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A buffer was exported (`dma_buf_export`).
    Export(Identity),
    /// A process got an fd of the buffer (`dma_buf_fd`).
    Fd(Identity),
    /// A driver looked an fd up (`dma_buf_get`).
    Get(Identity),
    /// A driver let go of the buffer (`dma_buf_put`).
    Put(Identity),
    /// A process mapped it for the CPU: through its fd (`dma_buf_mmap_internal`) or through a driver (`dma_buf_mmap`).
    Mmap(Identity),
    /// A device was attached (`dma_buf_dynamic_attach`): after the exporter's own part of it.
    Attach {
        /// The buffer.
        buffer: Identity,
        /// The device, by the kernel's name.
        device: String,
    },
    /// A device was detached (`dma_buf_detach`).
    Detach {
        /// The buffer.
        buffer: Identity,
        /// The device, by the kernel's name.
        device: String,
    },
    /// Memory was mapped for a device (`dma_map_sg`). Of which buffer it is part is not said.
    Map {
        /// Addresses as the device sees them.
        segments: Segments,
        /// Physical address of each segment before the mapping, the first 128.
        physical: Vec<u64>,
    },
    /// It could not be (`dma_map_sg_err`).
    MapFailed {
        /// The device, by the kernel's name.
        device: String,
        /// A negative errno.
        errno: i32,
    },
    /// A mapping ended (`dma_unmap_sg`). The kernel drops this event where it has more than some 500 segments.
    Unmap {
        /// The device, by the kernel's name.
        device: String,
        /// Physical address of each segment.
        physical: Vec<u64>,
    },
    /// A driver allocated contiguous memory for a device (`dma_alloc`).
    Alloc {
        /// The device, by the kernel's name.
        device: String,
        /// Addresses as the device sees them.
        memory: Segment,
    },
    /// It was freed (`dma_free`).
    Free {
        /// The device, by the kernel's name.
        device: String,
        /// Addresses as the device sees them.
        memory: Segment,
    },
    /// Pages were taken from the page allocator (`mm_page_alloc`); only while [`super::Observer::watch_pages`] is on.
    Pages(Segment),
    /// Something else, as the kernel wrote it.
    Other(String),
}

impl What {
    /// The buffer that it is about, if it says so.
    pub fn buffer(&self) -> Option<&Identity> {
        match self {
            Self::Export(buffer) | Self::Fd(buffer) | Self::Get(buffer) | Self::Put(buffer) | Self::Mmap(buffer) => {
                Some(buffer)
            }
            Self::Attach { buffer, .. } | Self::Detach { buffer, .. } => Some(buffer),
            _ => None,
        }
    }

    /// The device that it is about, by the kernel's name.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::Attach { device, .. }
            | Self::Detach { device, .. }
            | Self::MapFailed { device, .. }
            | Self::Unmap { device, .. }
            | Self::Alloc { device, .. }
            | Self::Free { device, .. } => Some(device),
            Self::Map { segments: Segments { source: Source::ScatterList { device, .. }, .. }, .. } => Some(device),
            _ => None,
        }
    }
}

/// `export`, `attach vkms`, `map for vivid.1: 1 segment of …`.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Export(_) => f.write_str("export"),
            Self::Fd(_) => f.write_str("fd"),
            Self::Get(_) => f.write_str("get"),
            Self::Put(_) => f.write_str("put"),
            Self::Mmap(_) => f.write_str("mmap"),
            Self::Attach { device, .. } => write!(f, "attach {device}"),
            Self::Detach { device, .. } => write!(f, "detach {device}"),
            Self::Map { segments, .. } => write!(f, "map {segments}"),
            Self::MapFailed { device, errno } => write!(f, "map for {device} failed with errno {}", errno.abs()),
            Self::Unmap { device, .. } => write!(f, "unmap for {device}"),
            Self::Alloc { device, memory } => write!(f, "allocation for {device} of {memory}"),
            Self::Free { device, memory } => write!(f, "free for {device} of {memory}"),
            Self::Pages(pages) => write!(f, "pages of {pages}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Reads one line, without its line end; `None` for one without words.
pub fn line(text: &str) -> Option<Line> {
    let words = text.trim();
    if words.is_empty() || words.starts_with('#') {
        return None;
    }
    if let Some(lost) = words.strip_prefix("CPU:").and_then(|rest| rest.split_once(" [LOST ")) {
        return Some(Line::Lost(lost.1.split(' ').next().and_then(|count| count.parse().ok())));
    }
    let event =
        columns(words).unwrap_or_else(|| Event { thread: 0, at: Duration::ZERO, what: What::Other(words.to_owned()) });
    Some(Line::Event(event))
}

/// `handover-31      [000] .....     0.250000: dma_buf_export: exp_name=drm size=131072 ino=1`.
fn columns(words: &str) -> Option<Event> {
    // A task's name may hold anything: the processor's column is the first that is a number in brackets.
    let (task, rest) = words.match_indices(" [").find_map(|(at, bracket)| {
        let (processor, rest) = words[at + bracket.len()..].split_once("] ")?;
        processor.parse::<u32>().is_ok().then(|| (&words[..at], rest))
    })?;
    // With the option record-tgid there is one more column before it.
    let task = task.rsplit_once(" (").filter(|(_, group)| group.ends_with(')')).map_or(task, |(task, _)| task);
    let thread = task.trim_end().rsplit_once('-')?.1.parse().ok()?;
    let (before, text) = rest.split_once(": ")?;
    let (seconds, micros) = before.rsplit(' ').next()?.split_once('.')?;
    let at = Duration::new(seconds.parse().ok()?, micros.parse::<u32>().ok()?.checked_mul(1000)?);
    let what = text.split_once(": ").and_then(|(name, fields)| what(name, fields));
    Some(Event { thread, at, what: what.unwrap_or_else(|| What::Other(text.to_owned())) })
}

fn what(name: &str, fields: &str) -> Option<What> {
    Some(match name {
        "dma_buf_export" => What::Export(identity(fields)?),
        "dma_buf_fd" => What::Fd(identity(fields)?),
        "dma_buf_get" => What::Get(identity(fields)?),
        "dma_buf_put" => What::Put(identity(fields)?),
        "dma_buf_mmap" | "dma_buf_mmap_internal" => What::Mmap(identity(fields)?),
        "dma_buf_dynamic_attach" => What::Attach { buffer: identity(fields)?, device: attached(fields)? },
        "dma_buf_detach" => What::Detach { buffer: identity(fields)?, device: attached(fields)? },
        "dma_map_sg" => map(fields)?,
        "dma_map_sg_err" => What::MapFailed { device: device(fields)?, errno: field(fields, "err")?.parse().ok()? },
        "dma_unmap_sg" => What::Unmap { device: device(fields)?, physical: array(fields, "phys_addrs")? },
        "dma_alloc" => What::Alloc { device: device(fields)?, memory: memory(fields)? },
        "dma_free" => What::Free { device: device(fields)?, memory: memory(fields)? },
        "mm_page_alloc" => pages(fields)?,
        _ => return None,
    })
}

/// `exp_name=udmabuf size=135168 ino=5`; the name may have blanks in it.
fn identity(fields: &str) -> Option<Identity> {
    let (exporter, rest) = fields.strip_prefix("exp_name=")?.rsplit_once(" size=")?;
    let (size, rest) = rest.split_once(" ino=")?;
    let inode = rest.split(' ').next()?;
    Some(Identity { inode: inode.parse().ok()?, exporter: Some(exporter.to_owned()), size: size.parse().ok()? })
}

/// The device behind `dev_name=`, the last field.
fn attached(fields: &str) -> Option<String> {
    Some(fields.split_once("dev_name=")?.1.to_owned())
}

/// The device at the start of a `dma_*` event.
fn device(fields: &str) -> Option<String> {
    Some(fields.split_once(" dir=")?.0.to_owned())
}

/// The value of `name=`.
fn field<'f>(fields: &'f str, name: &str) -> Option<&'f str> {
    fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

/// `{0x2350000,0x2360000}`.
fn array(fields: &str, name: &str) -> Option<Vec<u64>> {
    let list = field(fields, name)?.strip_prefix('{')?.strip_suffix('}')?;
    list.split(',').filter(|number| !number.is_empty()).map(hex).collect()
}

fn hex(number: &str) -> Option<u64> {
    u64::from_str_radix(number.strip_prefix("0x").unwrap_or(number), 16).ok()
}

/// `vivid.0 dir=FROM_DEVICE nents=128/225 ents=128/225 [TRUNCATED] dma_addrs={…} sizes={…} phys_addrs={…} attrs=`; kernels
/// that print the whole list say no numbers.
fn map(fields: &str) -> Option<What> {
    let addresses = array(fields, "dma_addrs")?;
    let lengths = array(fields, "sizes")?;
    let physical = array(fields, "phys_addrs")?;
    let same = addresses == physical;
    let list: Vec<Segment> =
        addresses.into_iter().zip(lengths).map(|(address, length)| Segment { address, length }).collect();
    let count = match field(fields, "ents") {
        Some(ents) => ents.split_once('/')?.1.parse().ok()?,
        None => list.len() as u64,
    };
    let source = Source::ScatterList { device: device(fields)?, physical: same };
    Some(What::Map { segments: Segments { source, list, count }, physical })
}

/// `vivid.1 dir=BIDIRECTIONAL dma_addr=2a00000 size=921600 …`: this address has no prefix.
fn memory(fields: &str) -> Option<Segment> {
    Some(Segment { address: hex(field(fields, "dma_addr")?)?, length: field(fields, "size")?.parse().ok()? })
}

/// `page=00000000b5d0a2e4 pfn=0x2971 order=0 …`.
fn pages(fields: &str) -> Option<What> {
    let page = rustix::param::page_size() as u64;
    let (pfn, order) = (hex(field(fields, "pfn")?)?, field(fields, "order")?.parse().ok()?);
    // The kernel had none to give, and says so with a 0.
    let pfn: u64 = Some(pfn).filter(|pfn| *pfn != 0)?;
    Some(What::Pages(Segment { address: pfn.checked_mul(page)?, length: page.checked_shl(order)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        match line(text) {
            Some(Line::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    fn identity(exporter: &str, size: u64, inode: u64) -> Identity {
        Identity { inode, exporter: Some(exporter.into()), size }
    }

    fn list(device: &str) -> Source {
        Source::ScatterList { device: device.into(), physical: true }
    }

    /// All lines of this test were printed by the sandbox's kernel, 7.3.4.
    #[test]
    fn lines_of_the_sandbox() {
        let export =
            "        handover-31      [000] .....     0.250000: dma_buf_export: exp_name=drm size=131072 ino=1";
        let buffer = identity("drm", 131_072, 1);
        assert_eq!(
            event(export),
            Event { thread: 31, at: Duration::from_millis(250), what: What::Export(buffer.clone()) }
        );
        let fd = "        handover-31      [000] .....     0.250000: dma_buf_fd: exp_name=drm size=131072 ino=1 fd=7";
        assert_eq!(event(fd).what, What::Fd(buffer.clone()));
        let mmap = "    handover-31 [000] .....     0.260000: dma_buf_mmap_internal: exp_name=drm size=131072 ino=1";
        assert_eq!(event(mmap).what, What::Mmap(buffer));
        let attach = "        handover-31      [000] .....     1.290000: dma_buf_dynamic_attach: exp_name=udmabuf \
                      size=135168 ino=5 attachment:00000000507557a5 is_dynamic=0 dev_name=vkms";
        let buffer = identity("udmabuf", 135_168, 5);
        assert_eq!(event(attach).what, What::Attach { buffer, device: "vkms".into() });
        let map = "        handover-31      [000] .....     1.050000: dma_map_sg: udmabuf dir=TO_DEVICE nents=1/1 ents=1/1 \
                   dma_addrs={0x2971000} sizes={0x21000} phys_addrs={0x2971000} attrs=SKIP_CPU_SYNC";
        let segments = Segments {
            source: list("udmabuf"),
            list: vec![Segment { address: 0x297_1000, length: 0x2_1000 }],
            count: 1,
        };
        assert_eq!(event(map).what, What::Map { segments, physical: vec![0x297_1000] });
        let unmap = "        handover-31      [000] .....     1.320000: dma_unmap_sg: udmabuf dir=TO_DEVICE \
                     phys_addrs={0x2971000} attrs=SKIP_CPU_SYNC";
        assert_eq!(event(unmap).what, What::Unmap { device: "udmabuf".into(), physical: vec![0x297_1000] });
    }

    #[test]
    fn a_list_cut_short_says_how_long_it_was() {
        let map = "x-1 [000] ..... 1.0: dma_map_sg: vivid.0 dir=FROM_DEVICE nents=2/225 ents=2/225 [TRUNCATED] \
                   dma_addrs={0x1000,0x3000} sizes={0x1000,0x1000} phys_addrs={0x1000,0x3000} attrs=";
        let What::Map { segments, physical } = event(map).what else { panic!("a map") };
        assert_eq!((segments.count, segments.list.len(), segments.complete()), (225, 2, false));
        assert_eq!(physical, [0x1000, 0x3000]);
    }

    #[test]
    fn older_kernels_print_whole_lists_without_numbers() {
        let map = "x-1 [000] ..... 1.0: dma_map_sg: 0000:01:00.0 dir=BIDIRECTIONAL dma_addrs={0x1000} sizes={0x1000} \
                   phys_addrs={0x1000} attrs=";
        let What::Map { segments, .. } = event(map).what else { panic!("a map") };
        assert!(segments.complete());
        assert_eq!(segments.source, list("0000:01:00.0"));
    }

    #[test]
    fn names_with_blanks_and_dashes_are_names() {
        let text =
            "  my - task [1-31   (     31) [003] d..1.   12.345678: dma_buf_put: exp_name=a size=1 b size=4096 ino=7";
        let event = event(text);
        assert_eq!(event.what, What::Put(identity("a size=1 b", 4096, 7)));
        assert_eq!((event.thread, event.at), (31, Duration::from_micros(12_345_678)));
    }

    #[test]
    fn lost_events_are_counted_and_unknown_lines_kept() {
        assert_eq!(line("CPU:0 [LOST 123 EVENTS]"), Some(Line::Lost(Some(123))));
        assert_eq!(line("CPU:1 [LOST EVENTS]"), Some(Line::Lost(None)));
        assert_eq!(line("# tracer: nop"), None);
        assert_eq!(
            line("[LINE TOO BIG]").map(|_| event("[LINE TOO BIG]").what),
            Some(What::Other("[LINE TOO BIG]".into()))
        );
        let odd = "x-1 [000] ..... 1.000000: dma_buf_export: exp_name=drm ino=?";
        assert_eq!(event(odd).what, What::Other("dma_buf_export: exp_name=drm ino=?".into()));
        let other = "x-1 [000] ..... 1.000000: dma_pool_grow: new";
        assert_eq!(event(other).what, What::Other("dma_pool_grow: new".into()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = line(&text);
            let _ = line(&format!("x-1 [000] ..... 1.000000: dma_map_sg: {text}"));
            let _ = line(&format!("x-1 [000] ..... 1.000000: mm_page_alloc: {text}"));
        }
    }
}
