//! Which devices have which buffers, and where do these lie? What follows from the events so far, in their order.
//!
//! Pure. `dma_map_sg` does not say of which buffer the memory is, so a mapping is given to the buffer that it can only belong
//! to: attached to that device, as long as the mapping, and not mapped for it yet. Where two buffers would do, neither gets
//! it, and the reason is kept.
//!
//! The kernel's exporters map in `dma_buf_map_attachment`, for the attached device. udmabuf also maps for a device of its own
//! at the first `DMA_BUF_IOCTL_SYNC`, without attaching it (`begin_cpu_udmabuf`): every udmabuf counts as attached to it.

use std::collections::BTreeMap;

use super::parse::{Event, What};
use super::{Segments, Source};
use crate::dmabuf::Identity;

/// The device that udmabuf maps for itself.
pub const UDMABUF: &str = "udmabuf";

/// So many buffers are remembered, the youngest: an inode is never used for a second buffer.
const BUFFERS: usize = 512;

/// What is known of the buffers that were seen.
#[derive(Debug, Default)]
pub struct History {
    buffers: BTreeMap<u64, Buffer>,
    /// Events that nobody saw; what happened to a buffer meanwhile is not known.
    lost: u64,
}

#[derive(Debug)]
struct Buffer {
    size: u64,
    /// By the device's name.
    devices: BTreeMap<String, Seen>,
    mapped_by_cpu: bool,
    /// Events were lost after it was first seen.
    gap: bool,
}

/// What was seen of one device's use of one buffer.
#[derive(Debug, Default)]
struct Seen {
    attachments: u32,
    mapped: Option<Mapped>,
    /// Why a mapping that may be this one was given to nobody.
    unclear: Option<String>,
}

#[derive(Debug)]
struct Mapped {
    segments: Segments,
    physical: Vec<u64>,
    live: bool,
}

impl History {
    /// Takes note of what happened next.
    pub fn add(&mut self, event: &Event) {
        match &event.what {
            What::Attach { buffer, device } => {
                let seen = self.buffer(buffer).devices.entry(device.clone()).or_default();
                seen.attachments += 1;
            }
            What::Detach { buffer, device } => {
                let seen = self.buffer(buffer).devices.entry(device.clone()).or_default();
                seen.attachments = seen.attachments.saturating_sub(1);
                if let (0, Some(mapped)) = (seen.attachments, &mut seen.mapped) {
                    mapped.live = false;
                }
            }
            What::Map { segments, physical } => self.map(segments, physical),
            What::Unmap { device, physical } => self.unmap(device, physical),
            what => {
                if let Some(buffer) = what.buffer() {
                    let by_cpu = matches!(what, What::Mmap(_));
                    self.buffer(buffer).mapped_by_cpu |= by_cpu;
                }
            }
        }
    }

    /// Forgets the buffers that are gone: the kernel has no event for the end of one.
    pub fn keep(&mut self, lives: impl Fn(u64) -> bool) {
        self.buffers.retain(|inode, _| lives(*inode));
    }

    /// Takes note that `count` events were missed.
    pub fn lose(&mut self, count: u64) {
        self.lost += count;
        for buffer in self.buffers.values_mut() {
            buffer.gap = true;
            buffer.devices.clear();
        }
    }

    /// Where the buffer lay when `device` last mapped it.
    ///
    /// # Errors
    /// Why that is not known, as the end of a sentence.
    pub fn segments(&self, inode: u64, device: &str) -> Result<&Segments, String> {
        let Some(buffer) = self.buffers.get(&inode) else {
            return Err(format!("no event of the buffer was seen{}", self.loss()));
        };
        let Some(seen) = buffer.devices.get(device) else {
            let loss = if buffer.gap { self.loss() } else { String::new() };
            return Err(format!("{device} was not attached to the buffer: it takes no scatter list{loss}"));
        };
        match (&seen.mapped, &seen.unclear) {
            (Some(mapped), _) => Ok(&mapped.segments),
            (None, Some(why)) => Err(why.clone()),
            (None, None) => {
                Err(format!("{device} was attached, but no scatter list was mapped for it: it reads through the CPU"))
            }
        }
    }

    /// Where the buffer lay when any device last mapped it, those first that still do.
    pub fn anywhere(&self, inode: u64) -> Option<&Segments> {
        let devices = self.buffers.get(&inode)?.devices.values();
        let mapped = devices.filter_map(|seen| seen.mapped.as_ref());
        mapped.max_by_key(|mapped| mapped.live).map(|mapped| &mapped.segments)
    }

    /// Whether a process was seen to map the buffer.
    pub fn mapped_by_cpu(&self, inode: u64) -> bool {
        self.buffers.get(&inode).is_some_and(|buffer| buffer.mapped_by_cpu)
    }

    fn loss(&self) -> String {
        if self.lost == 0 { String::new() } else { format!("; {} events were lost", self.lost) }
    }

    fn buffer(&mut self, identity: &Identity) -> &mut Buffer {
        while self.buffers.len() >= BUFFERS && !self.buffers.contains_key(&identity.inode) {
            self.buffers.pop_first();
        }
        self.buffers.entry(identity.inode).or_insert_with(|| {
            let mut devices = BTreeMap::new();
            if identity.exporter.as_deref() == Some(UDMABUF) {
                devices.insert(UDMABUF.to_owned(), Seen { attachments: 1, ..Seen::default() });
            }
            Buffer { size: identity.size, devices, mapped_by_cpu: false, gap: false }
        })
    }

    fn map(&mut self, segments: &Segments, physical: &[u64]) {
        let Source::ScatterList { device, .. } = &segments.source else { return };
        let fits = |size: u64| match segments.complete() {
            true => segments.bytes() == size.next_multiple_of(rustix::param::page_size() as u64),
            false => segments.bytes() < size,
        };
        let candidates: Vec<&mut Seen> = self
            .buffers
            .values_mut()
            .filter(|buffer| fits(buffer.size))
            .filter_map(|buffer| buffer.devices.get_mut(device))
            .filter(|seen| seen.attachments > 0 && !seen.mapped.as_ref().is_some_and(|mapped| mapped.live))
            .collect();
        let several = candidates.len();
        for seen in candidates {
            match several {
                1 => {
                    let mapped = Mapped { segments: segments.clone(), physical: physical.to_vec(), live: true };
                    (seen.mapped, seen.unclear) = (Some(mapped), None);
                }
                _ => {
                    let why = format!("{several} buffers of {} B were attached to {device} at once", segments.bytes());
                    seen.unclear = Some(format!("{why}, and the kernel does not say which one it mapped"));
                }
            }
        }
    }

    fn unmap(&mut self, device: &str, physical: &[u64]) {
        for seen in self.buffers.values_mut().filter_map(|buffer| buffer.devices.get_mut(device)) {
            if let Some(mapped) = &mut seen.mapped {
                // Both lists may be cut.
                let same = mapped.physical.iter().zip(physical).all(|(one, other)| one == other);
                mapped.live &= !same || physical.is_empty();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::placement::Segment;

    fn history(events: impl IntoIterator<Item = What>) -> History {
        let mut history = History::default();
        for what in events {
            history.add(&Event { thread: 1, at: Duration::ZERO, what });
        }
        history
    }

    fn buffer(inode: u64, size: u64) -> Identity {
        Identity { inode, exporter: Some("system".into()), size }
    }

    fn attach(inode: u64, size: u64, device: &str) -> What {
        What::Attach { buffer: buffer(inode, size), device: device.into() }
    }

    fn map(device: &str, address: u64, length: u64) -> What {
        let source = Source::ScatterList { device: device.into(), physical: true };
        let segments = Segments { source, list: vec![Segment { address, length }], count: 1 };
        What::Map { segments, physical: vec![address] }
    }

    fn at(history: &History, inode: u64, device: &str) -> Result<u64, String> {
        history.segments(inode, device).map(|segments| segments.list[0].address)
    }

    #[test]
    fn a_mapping_belongs_to_the_buffer_that_is_attached_and_as_long() {
        let history = history([
            attach(1, 8192, "vivid.0"),
            attach(2, 10_000, "vivid.0"),
            attach(3, 8192, "vivid.1"),
            map("vivid.0", 0x1000, 12_288),
            map("vivid.1", 0x9000, 8192),
        ]);
        assert_eq!(at(&history, 2, "vivid.0"), Ok(0x1000), "sizes are rounded up to pages");
        assert_eq!(at(&history, 3, "vivid.1"), Ok(0x9000));
        assert!(at(&history, 1, "vivid.0").expect_err("not mapped").contains("no scatter list was mapped"));
        assert!(at(&history, 1, "vkms").expect_err("not attached").contains("vkms was not attached"));
        assert!(at(&history, 9, "vkms").expect_err("unknown").contains("no event"));
    }

    #[test]
    fn of_two_alike_the_one_that_is_not_mapped_yet_gets_it() {
        let history = history([
            attach(1, 4096, "vivid.0"),
            map("vivid.0", 0x1000, 4096),
            attach(2, 4096, "vivid.0"),
            map("vivid.0", 0x2000, 4096),
        ]);
        assert_eq!((at(&history, 1, "vivid.0"), at(&history, 2, "vivid.0")), (Ok(0x1000), Ok(0x2000)));
    }

    #[test]
    fn of_two_alike_and_unmapped_nobody_gets_it() {
        let both = [attach(1, 4096, "vivid.0"), attach(2, 4096, "vivid.0"), map("vivid.0", 0x1000, 4096)];
        let why = at(&history(both), 1, "vivid.0").expect_err("unclear");
        assert!(why.starts_with("2 buffers of 4096 B were attached to vivid.0"), "{why}");
    }

    #[test]
    fn after_an_unmap_it_can_be_mapped_elsewhere() {
        let history = history([
            attach(1, 4096, "gpu"),
            map("gpu", 0x1000, 4096),
            What::Unmap { device: "gpu".into(), physical: vec![0x1000] },
            map("gpu", 0x5000, 4096),
        ]);
        assert_eq!(at(&history, 1, "gpu"), Ok(0x5000));
    }

    #[test]
    fn udmabuf_maps_for_itself_without_attaching() {
        let identity = Identity { inode: 5, exporter: Some(UDMABUF.into()), size: 4096 };
        let history = history([What::Export(identity), map(UDMABUF, 0x1000, 4096)]);
        assert_eq!(at(&history, 5, UDMABUF), Ok(0x1000));
        assert!(history.anywhere(5).is_some());
    }

    #[test]
    fn a_buffer_that_is_gone_is_mistaken_for_no_other() {
        let alike = |inode| What::Export(Identity { inode, exporter: Some(UDMABUF.into()), size: 4096 });
        let mut history = history([alike(1), alike(2)]);
        history.keep(|inode| inode != 1);
        history.add(&Event { thread: 1, at: Duration::ZERO, what: map(UDMABUF, 0x1000, 4096) });
        assert_eq!(at(&history, 2, UDMABUF), Ok(0x1000));
    }

    #[test]
    fn after_lost_events_nothing_is_known_of_older_buffers() {
        let mut history = history([attach(1, 4096, "gpu"), map("gpu", 0x1000, 4096)]);
        history.lose(7);
        let why = at(&history, 1, "gpu").expect_err("lost");
        assert!(why.ends_with("; 7 events were lost"), "{why}");
    }

    #[test]
    fn it_forgets_the_oldest() {
        let many = (0..2 * BUFFERS as u64).map(|inode| attach(inode, 4096, "gpu"));
        let history = history(many);
        assert_eq!(history.buffers.len(), BUFFERS);
        assert!(history.segments(0, "gpu").is_err_and(|why| why.contains("no event")));
    }
}
