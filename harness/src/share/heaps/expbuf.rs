//! The heaps `vivid-000 expbuf`, `vivid-001 expbuf`: buffers of a V4L2 queue, exported.
//!
//! V4L2 is eager: memory is there as soon as the queue has the buffer. Once exported, the buffer is freed from the queue and
//! lives on as a dma-buf (`V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS`), so the queue is ours for a moment only. Where the driver
//! can't do that, the queue stays with the storage, and the heap has no second buffer meanwhile (`EBUSY`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::io::Errno;

use super::{About, Allocated, Kind, Looked, Source};
use crate::dmabuf::Dmabuf;
use crate::error::{Cause, Error, Result};
use crate::frame::px;
use crate::v4l2::{CONTIGUOUS, Device, Direction, PixelFormat, Queue, QueueFormat};

/// The queues of one device; they all take their memory from the same allocator.
struct Expbuf {
    name: String,
    /// In the order in which they are tried: one that has buffers is busy.
    queues: Vec<(PathBuf, Direction)>,
}

impl Source for Expbuf {
    fn allocate(&self, bytes: u64) -> Result<Allocated> {
        let object = || format!("{}, a buffer of {bytes} B", self.name);
        let narrow = u32::try_from(bytes).map_err(|_| {
            Error::input("VIDIOC_CREATE_BUFS", object(), format!("up to {} B would be valid", u32::MAX))
        })?;
        let mut busy = None;
        for (node, direction) in &self.queues {
            let refused = match exported(node, *direction, narrow) {
                Ok(allocated) => return Ok(allocated),
                Err(error) => error,
            };
            match refused.cause {
                Cause::Errno(Errno::BUSY) => busy = Some(refused),
                _ => return Err(refused),
            }
        }
        Err(busy.unwrap_or_else(|| Error::missing("VIDIOC_CREATE_BUFS", object(), "the device has no queue")))
    }
}

fn exported(node: &std::path::Path, direction: Direction, bytes: u32) -> Result<Allocated> {
    let mut queue = Queue::open(&Device::open(node)?, direction)?;
    let before = queue.format().clone();
    match export_from(&mut queue, bytes).and_then(|dmabuf| Ok((dmabuf, queue.keeps_exported()?))) {
        Ok((dmabuf, false)) => Ok(Allocated { dmabuf, pages: None, keep: Some(Box::new(queue)) }),
        Ok((dmabuf, true)) => {
            queue.release()?;
            queue.set_format(&before)?;
            Ok(dmabuf.into())
        }
        Err(error) => {
            // The device is left as it was found; why it can't be is less than why it failed. What is not freed, the queue tells of.
            if let Err(kept) = queue.release().and_then(|()| queue.set_format(&before).map(drop)) {
                tracing::warn!(%kept, %before, "a queue keeps the format of a buffer that was not made");
            }
            Err(error)
        }
    }
}

fn export_from(queue: &mut Queue, bytes: u32) -> Result<Dmabuf> {
    // The smallest picture, since a buffer must hold at least one; it may be more than we want.
    let smallest = queue.set_format(&QueueFormat::new(PixelFormat::new(b"GREY"), px(1, 1), 0))?;
    let bytes = smallest.planes.iter().map(|plane| plane.bytes).fold(bytes, u32::max);
    let index = queue.create(bytes)?;
    queue.export(index)
}

pub(super) fn find() -> Looked {
    let nodes = match Device::nodes() {
        Ok(nodes) => nodes,
        Err(why) => return Looked::none(why),
    };
    let mut looked = Looked::default();
    let mut devices: BTreeMap<String, Expbuf> = BTreeMap::new();
    // Output first: its smallest picture is the smaller one, as no camera's sizes limit it.
    for direction in [Direction::Output, Direction::Capture] {
        for node in &nodes {
            let Ok(device) = Device::open(node) else { continue };
            if Queue::open(&device, direction).is_ok() {
                let name = device.name().to_owned();
                let expbuf = devices.entry(name.clone()).or_insert(Expbuf { name, queues: Vec::new() });
                expbuf.queues.push((node.clone(), direction));
            }
        }
    }
    for (name, expbuf) in devices {
        let probe = expbuf.allocate(rustix::param::page_size() as u64).and_then(|probe| probe.dmabuf.identity());
        let behind_iommu = expbuf.queues.iter().any(|(node, _)| Device::open(node).is_ok_and(|d| d.behind_iommu()));
        match probe {
            Err(why) => looked.absent.push(why),
            Ok(identity) => {
                let contiguous = identity.exporter.as_deref() == Some(CONTIGUOUS) && !behind_iommu;
                let largest = if contiguous { super::largest_run() } else { u32::MAX.into() };
                let about = About { name: format!("{name} expbuf"), contiguous, largest };
                looked.add(Kind::Expbuf, expbuf, about);
            }
        }
    }
    looked
}
