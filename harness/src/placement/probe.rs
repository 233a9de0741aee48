//! Who on this machine can be made to take a dma-buf, and by which way does each reach its storage?
//!
//! A probe needs nothing of the buffer but its fd, so it shows how the kernel presents any buffer to a device. The way of each
//! importer is found by trial: it takes a buffer, and the kernel's events say what it did.
//!
//! In the sandbox: a V4L2 device with videobuf2's contiguous allocator maps a scatter list, and shows it even where it refuses
//! the buffer afterwards (`vb2_dc_map_dmabuf`); a card whose GEM objects are shmem only attaches
//! (`drm_gem_shmem_prime_import_no_map`); a V4L2 device with the vmalloc allocator maps through the CPU and attaches nobody
//! (`vb2_vmalloc_map_dmabuf`).

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::parse::{Event, What};
use super::{Device, Observer};
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Frame, Plane, px};
use crate::kms::{DumbBuffers, Prime};
use crate::observed::{NotObservable, Observed};
use crate::udmabuf;
use crate::v4l2::{self, Direction, Memory, Queue, QueueFormat};

/// How an importer reaches the storage of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It attaches, and maps nothing until it needs to.
    Attaches,
    /// It attaches, and the kernel maps a scatter list for it.
    ScatterList,
    /// It attaches no device, and the kernel's own CPU mapping is all it has.
    Cpu,
}

/// Somebody who takes dma-bufs.
#[derive(Debug)]
pub struct Importer {
    /// Who it is.
    pub device: Device,
    /// Its driver.
    pub driver: String,
    /// How it reaches storage.
    pub way: Way,
    taker: Taker,
}

#[derive(Debug)]
enum Taker {
    Card(Prime),
    Queue(Arc<v4l2::Device>, Direction),
}

/// What an importer said to a buffer.
pub struct Answer {
    /// How many bytes from the start of the buffer it wants to work with; 0 if it does not say.
    pub needs: u64,
    /// The buffer in its hands, which it leaves when this is dropped, or why it does not take it.
    pub taken: Result<Box<dyn Any>>,
}

impl Importer {
    /// Those of this machine that took a buffer, found by trial.
    ///
    /// # Errors
    /// The trial can't be seen, or there is no buffer for it.
    pub fn find(observer: &mut Observer) -> Observed<Vec<Self>> {
        // Where nobody sees what they do, no device is opened: some show to whoever is before them that they are.
        let mark = observer.mark();
        observer.since(mark)?;
        let trial = trial_buffer().map_err(|error| NotObservable(format!("importers are found by trial: {error}")))?;
        let mut candidates = Vec::new();
        for node in DumbBuffers::nodes().unwrap_or_default() {
            candidates.extend(if_there(card(&node))?);
        }
        for node in if_there(v4l2::Device::nodes())?.unwrap_or_default() {
            candidates.extend(if_there(queues(&node))?.unwrap_or_default());
        }
        let mut importers = Vec::new();
        for mut importer in candidates {
            let mark = observer.mark();
            let answer = importer.take(&trial);
            let events = observer.since(mark)?;
            // Who refuses a frame this plain, and mapped nothing, takes none.
            importer.way = way(&events);
            if answer.taken.is_ok() || importer.way == Way::ScatterList {
                importers.push(importer);
            }
        }
        Ok(importers)
    }

    /// Hands it `shared`. A V4L2 queue takes the frame's own format if it has it, else one that fits into the buffer.
    pub fn take(&self, shared: &SharedFrame) -> Answer {
        match &self.taker {
            Taker::Card(card) => {
                let taken = card.import(&shared.dmabuf);
                Answer { needs: 0, taken: taken.map(|taken| Box::new(taken) as Box<dyn Any>) }
            }
            Taker::Queue(device, direction) => {
                let mut needs = 0;
                let taken = queued(device, *direction, shared, &mut needs);
                Answer { needs, taken: taken.map(|taken| Box::new(taken) as Box<dyn Any>) }
            }
        }
    }
}

/// 640x480 px in memory of nobody's.
fn trial_buffer() -> Result<SharedFrame> {
    udmabuf::for_frame(Frame::linear(Fourcc::XR24, px(640, 480), Plane { offset: 0, pitch: 2560 }), 0)
}

/// What was found; `None` of what there is not.
///
/// # Errors
/// Files or memory had run out, so that nobody knows which of the two it is.
fn if_there<T>(found: Result<T>) -> Observed<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_shortage() => Err(NotObservable(format!("importers are found by trial: {error}"))),
        Err(_) => Ok(None),
    }
}

fn card(node: &Path) -> Result<Importer> {
    let card = Prime::open(node)?;
    let driver = card.driver().to_owned();
    let device = Device::of_node(driver.clone(), node);
    Ok(Importer { device, driver, way: Way::Attaches, taker: Taker::Card(card) })
}

fn queues(node: &Path) -> Result<Vec<Importer>> {
    let device = v4l2::Device::open(node)?;
    let mut there = Vec::new();
    for direction in [Direction::Capture, Direction::Output] {
        match Queue::open(&device, direction) {
            Ok(_) => there.push(Importer {
                device: Device::of_node(format!("{device} {direction}"), node),
                driver: device.driver().to_owned(),
                way: Way::Cpu,
                taker: Taker::Queue(Arc::clone(&device), direction),
            }),
            Err(error) if error.is_shortage() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(there)
}

/// A queue that has its format back when this is dropped: a device keeps it for whoever opens it next.
struct Borrowed {
    queue: Queue,
    before: QueueFormat,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let restored = self.queue.release().and_then(|()| self.queue.set_format(&self.before).map(drop));
        if let Err(error) = restored {
            tracing::warn!(%error, before = %self.before, "a queue keeps the format of a trial");
        }
    }
}

/// Puts the start of `shared` into a queue of `device`.
fn queued(device: &Arc<v4l2::Device>, direction: Direction, shared: &SharedFrame, needs: &mut u64) -> Result<Borrowed> {
    let queue = Queue::open(device, direction)?;
    let mut borrowed = Borrowed { before: queue.format().clone(), queue };
    let queue = &mut borrowed.queue;
    let wanted = QueueFormat::of_frame(&shared.frame)?;
    if queue.set_format(&wanted)?.planes.first().is_none_or(|plane| u64::from(plane.bytes) > shared.dmabuf.size) {
        // The smallest that it has.
        queue.set_format(&QueueFormat::new(wanted.pixel, px(1, 1), 0))?;
    }
    *needs = queue.format().planes.first().map_or(0, |plane| plane.bytes.into());
    queue.request(Memory::Dmabuf, 1)?;
    let dmabuf: Dmabuf = shared.dmabuf.try_clone()?;
    let mut frame = shared.frame.clone();
    // Of the pixels nothing is wanted, and not every queue takes an offset.
    frame.planes.iter_mut().for_each(|plane| plane.offset = 0);
    queue.give_dmabuf(0, &SharedFrame { dmabuf, frame })?;
    Ok(borrowed)
}

fn way(events: &[Event]) -> Way {
    let has = |wanted: fn(&What) -> bool| events.iter().any(|event| wanted(&event.what));
    if has(|what| matches!(what, What::Map { .. })) {
        Way::ScatterList
    } else if has(|what| matches!(what, What::Attach { .. })) {
        Way::Attaches
    } else {
        Way::Cpu
    }
}

impl fmt::Display for Importer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device.name)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Attaches => "attaches only",
            Self::ScatterList => "maps a scatter list",
            Self::Cpu => "maps through the CPU",
        })
    }
}

impl Answer {
    /// What it was said, in a word: `taken`, or the error.
    pub fn said(&self) -> String {
        match &self.taken {
            Ok(_) => "taken".to_owned(),
            Err(Error { cause, .. }) => cause.to_string(),
        }
    }
}
