//! What does a V4L2 device see of a frame that was given to its output? vivid shows it: capture sees what output takes.
//!
//! For that both sides have the same format and size, neither crops nor scales, capture writes no text over the picture,
//! and a control says that the capture's input is connected to the output. Rows are then copied as bytes, so every bit of a
//! format arrives, alpha and padding bits too, whatever the pitch. It does so 60 times a second with whichever frame its
//! output holds, and the output holds on to its last.
//!
//! vivid copies pixels in pairs and has rectangles of even sizes only, from 16x16 px to that of its display, 1280x720 px.
//!
//! Source: `vivid-kthread-cap.c`, `vivid_copy_buffer`, and "Video Looping" in the kernel's vivid documentation.

use std::sync::Arc;
use std::time::Duration;

use super::controls::Rectangle;
use super::{Device, Direction, Memory, Queue};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::frame::Size;
use crate::picture::Picture;

/// Driver of the devices that have such a loop.
const DRIVER: &str = "vivid";

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

impl Loopback {
    /// The loop of the device called `name` (`vivid-001`): connects its capture to its output.
    ///
    /// # Errors
    /// There is no such device, or it has no such loop.
    pub fn of(name: &str) -> Result<Self> {
        const OP: &str = "opening a video loop";
        let (mut capture, mut output) = (None, None);
        for node in Device::nodes()? {
            // A node that does not open is another device's, or its absence is told below.
            let Ok(device) = Device::open(&node) else { continue };
            if device.name() != name {
                continue;
            }
            if device.driver() != DRIVER {
                let why = format!("its driver is {}; {DRIVER} has such a loop", device.driver());
                return Err(Error::missing(OP, name, why));
            }
            if capture.is_none() && Queue::open(&device, Direction::Capture).is_ok() {
                capture = Some(device);
            } else if output.is_none() && Queue::open(&device, Direction::Output).is_ok() {
                output = Some(device);
            }
        }
        let (Some(capture), Some(output)) = (capture, output) else {
            return Err(Error::missing(OP, name, "there is no such device with a capture and an output node"));
        };
        let input = capture.choose_input("HDMI")?;
        let sent_to = output.choose_output("HDMI")?;
        capture.choose_control(&format!("{input} Is Connected To"), &format!("Output {sent_to}"))?;
        capture.choose_control("OSD Text Mode", NO_TEXT)?;
        capture.set_control("Fill Percentage of Frame", 100)?;
        Ok(Self { capture, output })
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
        let _output = self.sending(shared)?;
        let mut capture = Queue::open(&self.capture, Direction::Capture)?;
        capture.set_frame(&shared.frame)?;
        uncropped(&capture, shared)?;
        capture.request(Memory::Own, 1)?;
        let captured = SharedFrame { dmabuf: capture.export(0)?, frame: shared.frame.clone() };
        capture.give_own(0)?;
        capture.start()?;
        capture.take(PATIENCE)?;
        captured.read_back()
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
        let _output = self.sending(shared)?;
        let mut capture = Queue::open(&self.capture, Direction::Capture)?;
        capture.set_frame(&into.frame)?;
        uncropped(&capture, into)?;
        capture.request(Memory::Dmabuf, 1)?;
        capture.give_dmabuf(0, into)?;
        capture.start()?;
        capture.take(PATIENCE)?;
        Ok(())
    }

    /// The output queue, with `shared` as its last and only frame.
    fn sending(&self, shared: &SharedFrame) -> Result<Queue> {
        let Size { width, height } = shared.frame.size;
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            let why = "vivid loops even sizes only; an even width and height would be valid";
            return Err(Error::input("a video loop", format!("{}, {shared}", self.output), why));
        }
        let mut output = Queue::open(&self.output, Direction::Output)?;
        output.set_frame(&shared.frame)?;
        uncropped(&output, shared)?;
        output.request(Memory::Dmabuf, 1)?;
        output.give_dmabuf(0, shared)?;
        output.start()?;
        Ok(output)
    }
}

/// All of the frame, as it is.
fn uncropped(queue: &Queue, shared: &SharedFrame) -> Result<()> {
    let size = shared.frame.size;
    // Each limits the other to a quarter and to four times its size, so it takes two steps.
    let (first, second) = (Rectangle::Compose, Rectangle::Crop);
    if queue.select(first, size).is_err() || queue.select(second, size).is_err() {
        queue.select(second, size)?;
        queue.select(first, size)?;
    }
    Ok(())
}
