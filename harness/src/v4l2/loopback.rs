//! What does a V4L2 device see of a frame that was given to its output? vivid shows it: capture sees what output takes.
//!
//! For that both sides have the same format and size, neither crops nor scales, capture writes no text over the picture,
//! and a control says that the capture's input is connected to the output. Rows are then copied as bytes, so every bit of a
//! format arrives, alpha and padding bits too, whatever the pitch. It does so 60 times a second with whichever frame its
//! output holds, and the output holds on to its last.
//!
//! vivid copies pixels in pairs and has rectangles of even sizes only, from 16x16 px to that of its display, 1280x720 px.
//!
//! A device of another driver is such a loop if its control for that is called as vivid's.
//!
//! Source: `vivid-kthread-cap.c`, `vivid_copy_buffer`, and "Video Looping" in the kernel's vivid documentation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::controls::Rectangle;
use super::{Device, Direction, Done, Memory, MemoryPlane, PixelFormat, PlaneFormat, Queue, QueueFormat};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Frame, Plane, Size};
use crate::picture::Picture;

/// A driver whose devices have such a loop.
const DRIVER: &str = "vivid";

/// How the name of the control that connects an input ends.
const CONNECTED: &str = " Is Connected To";

/// Name of the item "no text" of vivid's control.
const NO_TEXT: &str = "None";

/// A frame takes 17 ms, and the sandbox may be busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// A device whose capture sees what its output takes.
#[derive(Clone, Debug)]
pub struct Loopback {
    capture: Arc<Device>,
    output: Arc<Device>,
}

/// The nodes of one device: that which captures, and that which outputs.
type Pair = (Option<Arc<Device>>, Option<Arc<Device>>);

impl Loopback {
    /// Every device of this machine with a node that captures, one that outputs, and a control that connects the two, those of
    /// vivid first; and what nodes that did not open answered.
    ///
    /// # Errors
    /// There is no video node, a device does not say what it can do, or files or memory have run out.
    pub fn all() -> Result<(Vec<Self>, String)> {
        let mut nodes: BTreeMap<String, Pair> = BTreeMap::new();
        let (devices, refused) = Device::all()?;
        let has = |device: &Arc<Device>, direction| match Queue::open(device, direction) {
            Ok(_) => Ok(true),
            Err(why) if why.is_shortage() => Err(why),
            Err(_) => Ok(false),
        };
        for device in devices.into_iter().filter(|device| !device.is_memory_to_memory()) {
            let (capture, output) = nodes.entry(device.name().to_owned()).or_default();
            if capture.is_none() && has(&device, Direction::Capture)? {
                *capture = Some(device);
            } else if output.is_none() && has(&device, Direction::Output)? {
                *output = Some(device);
            }
        }
        let mut loops = Vec::new();
        for (capture, output) in nodes.into_values() {
            let (Some(capture), Some(output)) = (capture, output) else { continue };
            if capture.has_control(CONNECTED)? {
                loops.push(Self { capture, output });
            }
        }
        loops.sort_by_key(|video| video.capture.driver() != DRIVER);
        Ok((loops, refused))
    }

    /// Has capture see what output takes.
    ///
    /// # Errors
    /// The device has no input and output that can be connected.
    pub fn connect(&self) -> Result<()> {
        let input = self.capture.choose_input("HDMI")?;
        let sent_to = self.output.choose_output("HDMI")?;
        self.capture.choose_control(&format!("{input}{CONNECTED}"), &format!("Output {sent_to}"))?;
        // Where it would draw into what it shows.
        if self.capture.driver() == DRIVER {
            self.capture.choose_control("OSD Text Mode", NO_TEXT)?;
            self.capture.set_control("Fill Percentage of Frame", 100)?;
        }
        Ok(())
    }

    /// Whether a buffer can have several memory planes, and a picture an offset in them.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn is_multi_planar(&self) -> Result<bool> {
        Ok(Queue::open(&self.output, Direction::Output)?.is_multi_planar())
    }

    /// The node that takes frames.
    pub fn output(&self) -> &Arc<Device> {
        &self.output
    }

    /// The node that makes frames.
    pub fn capture(&self) -> &Arc<Device> {
        &self.capture
    }

    /// What capture sees, in memory of its own, of `shared` given to output.
    ///
    /// # Errors
    /// The device can't take the frame: see [`Queue::import`]; width or height is odd; or nothing arrives within 2 s.
    pub fn seen_of(&self, shared: &SharedFrame) -> Result<Picture> {
        self.stream().pass(shared)
    }

    /// Frames through this loop, one after the other; it starts with the first one.
    pub fn stream(&self) -> LoopStream {
        LoopStream { video: self.clone(), running: None }
    }

    /// Capture writes into `into` what it sees of `shared` given to output.
    ///
    /// # Errors
    /// As [`Self::seen_of`], for both frames; also if they differ in format or size.
    pub fn copy(&self, shared: &SharedFrame, into: &SharedFrame) -> Result<()> {
        if (shared.frame.fourcc, shared.frame.size) != (into.frame.fourcc, into.frame.size) {
            let why = format!("{shared} and {into} must have the same format and size");
            return Err(Error::input("a video loop", self.capture.to_string(), why));
        }
        let (_output, _) = self.sending(shared, 1)?;
        self.capture_into(into)
    }

    /// Capture writes into `into` what it sees of `picture`, which output has in memory of its own.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn write(&self, picture: &Picture, into: &SharedFrame) -> Result<()> {
        let _output = self.sending_own(picture)?;
        self.capture_into(into)
    }

    /// A buffer of capture's own memory for `frame`, which nobody has filled; `None` for a pitch is as capture has it.
    ///
    /// # Errors
    /// The device can't have such frames, or can't export them.
    pub fn own(&self, fourcc: Fourcc, size: Size, pitch: Option<u64>) -> Result<OwnFrame> {
        let mut queue = Queue::open(&self.capture, Direction::Capture)?;
        let frame = match pitch {
            Some(pitch) => {
                let frame = Frame::linear(fourcc, size, Plane { offset: 0, pitch });
                queue.set_frame(&frame)?;
                frame
            }
            None => queue.set_any_pitch(fourcc, size)?,
        };
        uncropped(&queue, size)?;
        if !queue.keeps_exported()? {
            let why = "it frees what it exported with its queue (no V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS)";
            return Err(Error::missing("VIDIOC_EXPBUF", queue.to_string(), why));
        }
        queue.request(Memory::Own, 1)?;
        let shared = SharedFrame { dmabuf: queue.export(0)?, frame };
        Ok(OwnFrame { video: self.clone(), queue, shared })
    }

    /// The output queue with `picture` in memory of its own, as its last and only frame.
    fn sending_own(&self, picture: &Picture) -> Result<Queue> {
        let mut output = Queue::open(&self.output, Direction::Output)?;
        let frame = output.set_any_pitch(picture.fourcc, picture.size)?;
        uncropped(&output, picture.size)?;
        output.request(Memory::Own, 1)?;
        SharedFrame { dmabuf: output.export(0)?, frame }.write(picture)?;
        output.give_own(0)?;
        output.start()?;
        Ok(output)
    }

    /// The memory planes of frames of `pixel` in `size`.
    ///
    /// # Errors
    /// The device has no such frames.
    pub fn planes(&self, pixel: PixelFormat, size: Size) -> Result<Vec<PlaneFormat>> {
        let mut output = Queue::open(&self.output, Direction::Output)?;
        Ok(self.set(&mut output, pixel, size)?.planes)
    }

    /// Capture writes into `into`, a buffer for each memory plane, what it sees of the planes `from` given to output; says
    /// where it put them.
    ///
    /// # Errors
    /// As [`Self::copy`]; also if the format has another number of memory planes.
    pub fn copy_planes(
        &self,
        pixel: PixelFormat,
        size: Size,
        from: &[MemoryPlane<'_>],
        into: &[MemoryPlane<'_>],
    ) -> Result<Done> {
        let what = format_args!("{pixel} {size}");
        let mut output = Queue::open(&self.output, Direction::Output)?;
        self.set(&mut output, pixel, size)?;
        output.request(Memory::Dmabuf, 1)?;
        output.give_planes(0, from, what)?;
        output.start()?;
        let mut capture = Queue::open(&self.capture, Direction::Capture)?;
        self.set(&mut capture, pixel, size)?;
        capture.request(Memory::Dmabuf, 1)?;
        capture.give_planes(0, into, what)?;
        capture.start()?;
        capture.take(PATIENCE)
    }

    /// Sets `queue` to just this.
    fn set(&self, queue: &mut Queue, pixel: PixelFormat, size: Size) -> Result<QueueFormat> {
        let given = queue.set_format(&QueueFormat::new(pixel, size, 0))?.clone();
        if (given.pixel, given.size) != (pixel, size) {
            let why = format!("the driver makes {given} of it");
            return Err(Error::missing("VIDIOC_S_FMT", format!("{queue}, {pixel} {size}"), why));
        }
        uncropped(queue, size)?;
        Ok(given)
    }

    /// Capture fills `into` with what it sees now.
    fn capture_into(&self, into: &SharedFrame) -> Result<()> {
        let mut capture = Queue::open(&self.capture, Direction::Capture)?;
        capture.set_frame(&into.frame)?;
        uncropped(&capture, into.frame.size)?;
        capture.request(Memory::Dmabuf, 1)?;
        capture.give_dmabuf(0, into)?;
        capture.start()?;
        capture.take(PATIENCE)?;
        Ok(())
    }

    /// What capture sees of `shared`, which output has. Its buffers are there for this frame alone: capture may also be where
    /// others get memory from, and then it must be free in between.
    fn captured(&self, shared: &SharedFrame) -> Result<Picture> {
        let mut capture = Queue::open(&self.capture, Direction::Capture)?;
        // As the frame lies, but from the first byte on.
        let mut frame = shared.frame.clone();
        let first = frame.planes.first().map_or(0, |plane| plane.offset);
        frame.planes.iter_mut().for_each(|plane| plane.offset = plane.offset.saturating_sub(first));
        capture.set_frame(&frame)?;
        uncropped(&capture, frame.size)?;
        capture.request(Memory::Own, 1)?;
        let captured = SharedFrame { dmabuf: capture.export(0)?, frame };
        capture.give_own(0)?;
        capture.start()?;
        capture.take(PATIENCE)?;
        captured.read_back()
    }

    /// The output queue, with `shared` as its last and only frame, and how many slots it has: `slots` or more.
    fn sending(&self, shared: &SharedFrame, slots: u32) -> Result<(Queue, u32)> {
        let Size { width, height } = shared.frame.size;
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            let why = "vivid loops even sizes only; an even width and height would be valid";
            return Err(Error::input("a video loop", format!("{}, {shared}", self.output), why));
        }
        let mut output = Queue::open(&self.output, Direction::Output)?;
        output.set_frame(&shared.frame)?;
        uncropped(&output, shared.frame.size)?;
        let slots = output.request(Memory::Dmabuf, slots)?;
        output.give_dmabuf(0, shared)?;
        output.start()?;
        Ok((output, slots))
    }
}

/// A buffer of capture's own memory, and the queue that it is a slot of (`V4L2_MEMORY_MMAP`). The queue is nobody else's
/// until this is dropped; what was exported stays.
#[derive(Debug)]
pub struct OwnFrame {
    video: Loopback,
    queue: Queue,
    shared: SharedFrame,
}

impl OwnFrame {
    /// What it exports: another fd of the buffer (`VIDIOC_EXPBUF`).
    ///
    /// # Errors
    /// The process has no fd left.
    pub fn shared(&self) -> Result<SharedFrame> {
        Ok(SharedFrame { dmabuf: self.shared.dmabuf.try_clone()?, frame: self.shared.frame.clone() })
    }

    /// The device fills it with what it sees of `picture`, which output has in memory of its own.
    ///
    /// # Errors
    /// Size or format differ, or nothing arrives within 2 s, or not from the first byte on.
    pub fn fill(&mut self, picture: &Picture) -> Result<()> {
        const OP: &str = "filling a buffer of its own";
        let frame = &self.shared.frame;
        if (picture.size, picture.fourcc) != (frame.size, frame.fourcc) {
            let why = format!("the picture is {} {}", picture.fourcc, picture.size);
            return Err(Error::input(OP, format!("{}, {frame}", self.queue), why));
        }
        let _output = self.video.sending_own(picture)?;
        self.queue.give_own(0)?;
        self.queue.start()?;
        let done = self.queue.take(PATIENCE)?;
        self.queue.stop()?;
        match done.offsets.first() {
            None | Some(0) => Ok(()),
            Some(offset) => {
                let why = format!("the picture begins with byte {offset}; its format has no such header");
                Err(Error::answer(OP, format!("{}, {frame}", self.queue), why))
            }
        }
    }
}

/// A loop that frames are sent through. Stopped when dropped.
///
/// Output reads the frame that was given last until another one is given, so that frame must stay where it is.
#[derive(Debug)]
pub struct LoopStream {
    video: Loopback,
    running: Option<Running>,
}

/// Output that streams.
#[derive(Debug)]
struct Running {
    output: Queue,
    /// How every frame of this stream lies.
    frame: Frame,
    /// Slots of output without a frame, the one that was longest without one first.
    free: VecDeque<u32>,
}

impl LoopStream {
    /// One slot for the frame that output holds on to, and one for the next.
    const SLOTS: u32 = 2;

    /// What capture sees of `shared` given to output. Output is then done with the frame before, and reads this one until
    /// the next is given, or the stream is dropped.
    ///
    /// # Errors
    /// As [`Loopback::seen_of`]; also if the frame does not lie as the first one.
    pub fn pass(&mut self, shared: &SharedFrame) -> Result<Picture> {
        match &mut self.running {
            Some(running) => running.replace(shared)?,
            None => {
                let (output, slots) = self.video.sending(shared, Self::SLOTS)?;
                self.running = Some(Running { output, frame: shared.frame.clone(), free: (1..slots).collect() });
            }
        }
        self.video.captured(shared)
    }

    /// What capture sees now of `shared`, which output holds since [`Self::pass`].
    ///
    /// # Errors
    /// As [`Loopback::seen_of`].
    pub fn look_again(&self, shared: &SharedFrame) -> Result<Picture> {
        self.video.captured(shared)
    }
}

impl Running {
    /// Output takes `shared`, and lets go of what it has.
    fn replace(&mut self, shared: &SharedFrame) -> Result<()> {
        if shared.frame != self.frame {
            let why = format!("the stream began with {}; its queues would have to start anew", self.frame);
            return Err(Error::input("a video loop", shared.to_string(), why));
        }
        let Some(slot) = self.free.pop_front() else {
            let why = "it has one slot only; two would let it take a frame while it holds another";
            return Err(Error::answer("a video loop", self.output.to_string(), why));
        };
        self.output.give_dmabuf(slot, shared)?;
        // vivid lets go of a frame only when there is another one behind it.
        self.free.push_back(self.output.take(PATIENCE)?.index);
        Ok(())
    }
}

/// All of the frame, as it is.
fn uncropped(queue: &Queue, size: Size) -> Result<()> {
    // Each limits the other to a quarter and to four times its size, so it takes two steps.
    let (first, second) = (Rectangle::Compose, Rectangle::Crop);
    if queue.select(first, size).is_err() || queue.select(second, size).is_err() {
        queue.select(second, size)?;
        queue.select(first, size)?;
    }
    Ok(())
}
