//! What the kernel shows, looked at over many cases by one process.
//!
//! A worker opens one [`Observer`] and keeps it. In the sandbox opening takes 10 ms, a look that finds nothing 13 µs, a mark, which
//! also reads the list of dma-bufs, some 0.2 ms.
//!
//! ```no_run
//! # use handover::placement::{Device, Observer, check};
//! # fn example(shared: &handover::dmabuf::SharedFrame, constraints: &handover::share::constraints::Constraints)
//! # -> handover::error::Result<()> {
//! let mut observer = Observer::open();
//! let mark = observer.mark();
//! // … a device maps `shared` …
//! let events = observer.since(mark);
//! let screen = Device::of_node("screen", "/dev/dri/card1");
//! let placement = observer.placement_of(&screen, shared, None)?;
//! let checked = check(&placement, constraints);
//! # let _ = (events, checked);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::bufinfo::Bufinfo;
use super::history::History;
use super::parse::{Event, Line};
use super::trace::Trace;
use super::{Placement, Segments, pagemap, reach};
use crate::dmabuf::SharedFrame;
use crate::error::Result;
use crate::observed::{NotObservable, Observed};

/// So many events are kept for [`Observer::since`], the youngest.
const EVENTS: usize = 1 << 16;

/// Room for so many is kept from case to case; most have fewer.
const KEPT_EVENTS: usize = 1 << 8;

/// Whose placement is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As verdicts name it: `gpu_a`, `vivid.1 (video6)`.
    pub name: String,
    /// Its name in the kernel, by which events name it, or why it has none: `0000:01:00.0`, `vkms`, `vivid.1`.
    pub kernel: Observed<String>,
}

/// A moment in what the kernel has shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// Looks at the kernel while cases run.
#[derive(Debug)]
pub struct Observer {
    trace: Observed<Trace>,
    bufinfo: Observed<Bufinfo>,
    history: History,
    events: Vec<Event>,
    /// How many events came before the first of `events`.
    forgotten: u64,
    /// After how many events some were lost, and how many.
    lost: Vec<(u64, u64)>,
}

impl Device {
    /// A device that the kernel calls `kernel`.
    pub fn named(name: impl Into<String>, kernel: impl Into<String>) -> Self {
        Self { name: name.into(), kernel: Ok(kernel.into()) }
    }

    /// The device behind a node such as `/dev/dri/card0` or `/dev/video4`.
    pub fn of_node(name: impl Into<String>, node: impl AsRef<Path>) -> Self {
        Self { name: name.into(), kernel: kernel_name(node.as_ref()).map_err(NotObservable) }
    }

    /// A device that is none to the kernel, such as a renderer that runs on the CPU.
    pub fn of_cpu(name: impl Into<String>) -> Self {
        let name = name.into();
        let why =
            format!("{name} is no device of the kernel: it maps buffers as a process does, and takes no scatter list");
        Self { name, kernel: Err(NotObservable(why)) }
    }

    /// How many low bits of a physical address it drives; 64 if it reaches everything, or the kernel does not tell.
    pub fn address_bits(&self) -> u32 {
        self.kernel.as_ref().map_or(64, |kernel| reach::of_device(Path::new("/sys"), kernel))
    }
}

/// The name of the device that drives `node`, as `dev_name` of the kernel's driver model says it.
fn kernel_name(node: &Path) -> std::result::Result<String, String> {
    let rdev = fs::metadata(node).map_err(|error| format!("{}: {error}", node.display()))?.rdev();
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    name_of_number(Path::new("/sys"), major.into(), minor.into()).map_err(|why| format!("{} {why}", node.display()))
}

/// The name of the device that drives the character device of this number, by what `sysfs` shows.
pub(crate) fn name_of_number(sysfs: &Path, major: i64, minor: i64) -> std::result::Result<String, String> {
    let link = sysfs.join(format!("dev/char/{major}:{minor}/device"));
    let device = fs::canonicalize(&link).map_err(|error| format!("has no device: {}: {error}", link.display()))?;
    Ok(device.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

impl Observer {
    /// Begins to look. What is missing on this machine is said by what is asked for it.
    pub fn open() -> Self {
        Self {
            trace: Trace::open(),
            bufinfo: Bufinfo::find(),
            history: History::default(),
            events: Vec::new(),
            forgotten: 0,
            lost: Vec::new(),
        }
    }

    /// Why the kernel's events can't be seen; `None` if they can.
    pub fn blind(&self) -> Option<&NotObservable> {
        self.trace.as_ref().err()
    }

    /// Follows a process that was started before this observer; those started later are followed if this process or one that
    /// is followed starts them.
    ///
    /// # Errors
    /// Events can't be seen, or the process has ended.
    pub fn follow(&self, pid: u32) -> Observed<()> {
        self.trace.as_ref().map_err(Clone::clone)?.follow(pid)
    }

    /// A case begins: what happened before it is forgotten, and no mark of before is asked about any more.
    ///
    /// `live` are the dma-bufs that there are; `None` if they are to be looked up.
    pub fn begin(&mut self, live: Option<BTreeSet<u64>>) {
        match live {
            Some(live) => {
                self.look();
                self.history.keep(|inode| live.contains(&inode));
            }
            None => {
                self.mark();
            }
        }
        self.forgotten = self.count();
        self.events.clear();
        self.events.shrink_to(KEPT_EVENTS);
        self.lost.clear();
    }

    /// Now; what is gone by now is forgotten.
    pub fn mark(&mut self) -> Mark {
        self.look();
        // Otherwise a buffer that nobody has any more could be mistaken for a later one of its size.
        if let Ok(list) = self.bufinfo.as_ref().map_err(Clone::clone).and_then(Bufinfo::entries) {
            let live: BTreeSet<u64> = list.into_iter().map(|entry| entry.buffer.inode).collect();
            self.history.keep(|inode| live.contains(&inode));
        }
        Mark(self.count())
    }

    /// What happened since `mark`, in its order.
    ///
    /// # Errors
    /// Events can't be seen, or some of those were lost.
    pub fn since(&mut self, mark: Mark) -> Observed<Vec<Event>> {
        self.look();
        self.trace.as_ref().map_err(Clone::clone)?;
        let lost: u64 = self.lost.iter().filter(|(after, _)| *after >= mark.0).map(|(_, count)| count).sum();
        let Some(from) = mark.0.checked_sub(self.forgotten) else {
            return Err(NotObservable(format!("more than {EVENTS} events happened")));
        };
        match lost {
            0 => Ok(self.events[from as usize..].to_vec()),
            lost => Err(NotObservable(format!("{lost} events were lost"))),
        }
    }

    /// Whether [`Self::since`] also tells of pages that leave the page allocator. They are many: this is for a short while.
    ///
    /// # Errors
    /// Events can't be seen, or the kernel has none for this.
    pub fn watch_pages(&self, on: bool) -> Observed<()> {
        self.trace.as_ref().map_err(Clone::clone)?.pages(on)
    }

    /// Where `shared` lies, as `device` sees it if that was seen, else as somebody does.
    ///
    /// `pages` is the memory file behind the buffer, if it is ours. Sources in this order: the scatter list that was last
    /// mapped for the device, pagemap of the memory file, the scatter list that was last mapped for any device.
    ///
    /// # Errors
    /// The kernel refuses to identify the buffer.
    pub fn placement_of(
        &mut self,
        device: &Device,
        shared: &SharedFrame,
        pages: Option<BorrowedFd<'_>>,
    ) -> Result<Placement> {
        self.look();
        let buffer = shared.dmabuf.identity()?;
        Ok(Placement {
            device: device.name.clone(),
            kernel_device: device.kernel.clone().ok(),
            segments: self.segments(device, buffer.inode, buffer.size, pages),
            mapped_by_cpu: self.history.mapped_by_cpu(buffer.inode),
            buffer,
            frame: shared.frame.clone(),
            heap: None,
            memory: None,
        })
    }

    fn segments(&self, device: &Device, inode: u64, size: u64, pages: Option<BorrowedFd<'_>>) -> Observed<Segments> {
        let own = match (&self.trace, &device.kernel) {
            (Err(why), _) | (_, Err(why)) => Err(why.0.clone()),
            (Ok(_), Ok(kernel)) => self.history.segments(inode, kernel).cloned(),
        };
        let mut whys = match own {
            Ok(segments) => return Ok(segments),
            Err(why) => vec![why],
        };
        if let Some(pages) = pages {
            match pagemap::segments(pages.as_fd(), size) {
                Ok(segments) => return Ok(segments),
                Err(why) => whys.push(why.0),
            }
        }
        match self.history.anywhere(inode) {
            Some(segments) => Ok(segments.clone()),
            None => Err(NotObservable(whys.join("; "))),
        }
    }

    /// Reads what the kernel has written by now.
    fn look(&mut self) {
        let Ok(trace) = &mut self.trace else { return };
        let lines = match trace.look() {
            Ok(lines) => lines,
            Err(why) => {
                self.trace = Err(why);
                return;
            }
        };
        for line in lines {
            match line {
                Line::Event(event) => {
                    self.history.add(&event);
                    self.events.push(event);
                }
                Line::Lost(count) => {
                    // At least one, if the kernel does not count.
                    let count = count.unwrap_or(1);
                    self.history.lose(count);
                    self.lost.push((self.count(), count));
                }
            }
        }
        if let Some(over) = self.events.len().checked_sub(EVENTS) {
            self.events.drain(..over);
            self.forgotten += over as u64;
        }
    }

    fn count(&self) -> u64 {
        self.forgotten + self.events.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::parse::What;
    use crate::udmabuf;

    #[test]
    fn a_node_without_a_device_says_so() {
        let null = Device::of_node("nobody", "/dev/null");
        assert!(null.kernel.is_err_and(|why| why.0.contains("/dev/null has no device")));
        let absent = Device::of_node("nobody", "/dev/dri/card99");
        assert!(absent.kernel.is_err_and(|why| why.0.starts_with("/dev/dri/card99: ")));
    }

    /// In the sandbox this is the kernel's own word; elsewhere the reason why there is none.
    #[test]
    fn what_this_process_does_is_seen_by_its_own_observer_alone() {
        let (mut observer, mut other) = (Observer::open(), Observer::open());
        let (mark, others) = (observer.mark(), other.mark());
        let Ok((dmabuf, memfd)) = udmabuf::create(1 << 20) else { return };
        let frame = crate::frame::Frame::linear(
            crate::format::Fourcc::XR24,
            crate::frame::px(256, 256),
            crate::frame::Plane { offset: 0, pitch: 1024 },
        );
        let shared = SharedFrame { dmabuf, frame };
        let buffer = shared.dmabuf.identity().expect("a dma-buf");
        shared.dmabuf.map().expect("mappable").read(0..4).expect("readable");
        let events = match (observer.since(mark), observer.blind().cloned()) {
            (Ok(events), None) => events,
            (Err(why), Some(blind)) => {
                assert_eq!(why, blind);
                return;
            }
            (events, blind) => panic!("{events:?}, {blind:?}"),
        };
        assert!(events.iter().any(|event| event.what == What::Export(buffer.clone())), "{events:?}");
        // The other one is of this process, too; it saw the same, by a trace of its own.
        assert_eq!(other.since(others).map(|events| events.len()), Ok(events.len()));
        // udmabuf maps for a device of its own, and these are the pages of the memory file.
        let by_itself = observer.placement_of(&Device::named("udmabuf", "udmabuf"), &shared, None).expect("identified");
        let by_pagemap =
            observer.placement_of(&Device::of_cpu("cpu"), &shared, Some(memfd.as_fd())).expect("identified");
        let (seen, pages) = (by_itself.segments.expect("mapped"), by_pagemap.segments.expect("root sees pages"));
        assert_eq!(seen.bytes(), 1 << 20);
        assert_eq!(seen.runs(), pages.runs());
        assert!(by_itself.mapped_by_cpu);
    }
}
