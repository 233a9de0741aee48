//! What sharing does when the process has no files left: each step fails in turn, says so, and leaves everything as it was.

use handover::prelude::*;
use handover::share::heap::Heaps;
use handover::share::refused::ShareError;
use handover::share::serve::{Limits, Service};
use handover::v4l2::{Device, Direction, Queue};

use super::{Counts, Memory, SYSTEM, heap, heaps, name_of, only, wish};

/// With 0, 1, 2 … files left, whichever step fails says so, and leaves nothing behind; with enough, none fails.
pub(super) fn survives_a_lack(cx: &mut Cx, memory: Memory) -> Outcome {
    let first = name_of(&heap(cx, memory)?);
    let heaps = heaps(cx, memory, SYSTEM)?;
    let formats = video_formats();
    let steps = |heaps: Heaps| -> Result<(), ShareError> {
        let buffer = Buffer::export(wish(), heaps);
        let chooses = buffer.attach(only(&first))?;
        let mmap = buffer.mmap("cpu mmap")?;
        drop(chooses);
        mmap.access(Access::Write)?.write(0, &[1, 2, 3, 4])?;
        let strict = buffer.attach(only("system")).inspect_err(|_| {
            // It did not move, so the CPU mmap can be written as before; were it still read-only, this would be a SIGSEGV.
            drop(mmap.access(Access::Write).map(|mut access| access.write(0, &[1, 2, 3, 4])));
        })?;
        let mapping = strict.map(Access::Read)?;
        let mut bytes = [0; 4];
        mapping.shared().dmabuf.map()?.read_into(0, &mut bytes)?;
        let (service, socket) = Service::start(&buffer, "peer", Limits::default())?;
        drop((socket, service));
        if bytes == [1, 2, 3, 4] { Ok(()) } else { Err(ShareError::StillMapped(format!("{bytes:?} came back"))) }
    };
    // A driver may keep what it opens when it is first used.
    steps(heaps.clone())?;
    let before = (cx.open_files()?, cx.dmabufs()?);
    let mut failures = 0;
    for left in 0..80 {
        let done = cx.with_files_left(left, |_| steps(heaps.clone()))?;
        let after = (cx.open_files()?, cx.dmabufs()?);
        cx.equals(format!("files and dma-bufs with {left} files left"), Counts(before), Counts(after));
        cx.equals(format!("formats of video devices with {left} files left"), formats.clone(), video_formats());
        match done {
            Ok(()) => break,
            Err(error) => {
                failures += 1;
                let said = error.to_string();
                // Vulkan has no better word for it where memory is allocated.
                let clear =
                    ["EMFILE", "VK_ERROR_TOO_MANY_OBJECTS", "vkAllocateMemory"].iter().any(|word| said.contains(word));
                cx.claim("the error", clear, || Finding::new(format!("with {left} files left it says: {error}")));
            }
        }
    }
    cx.claim("steps that failed", (4..79).contains(&failures), || {
        Finding::new(format!("{failures} numbers of files were too few; each of some steps needs one"))
    });
    cx.figure("walked", f64::from(failures));
    cx.agree()
}

/// The formats that video devices have now, those of all queues.
fn video_formats() -> String {
    let nodes = Device::nodes().unwrap_or_default();
    let devices = nodes.iter().filter_map(|node| Device::open(node).ok());
    let format = |device: &std::sync::Arc<Device>| {
        [Direction::Output, Direction::Capture]
            .map(|direction| Queue::open(device, direction).map_or(String::new(), |queue| queue.format().to_string()))
    };
    devices.map(|device| format(&device).join(" ")).collect::<Vec<_>>().join("; ")
}
