//! What does a memory-to-memory device make of a frame? vim2m turns 16 bits per pixel into 24, and the bytes can be computed.
//!
//! Each time that its node is opened, the device starts anew, with controls of its own, so a [`Converter`] disturbs nobody.
//! It reads frames of any memory, through the CPU (videobuf2's vmalloc), but it has no pitch: it takes every row to begin
//! where the one before ended, whatever the queue was asked for. Frames are 32x32 to 640x480 px, of an even width. For each
//! it sleeps as long as a control says, 40 ms unless told otherwise.
//!
//! A format that is converted says more than one that is copied: each pixel has gone through the device, and bytes that were
//! in the target before are no answer.
//!
//! Source: `drivers/media/test-drivers/vim2m.c`, `copy_two_pixels` and `vidioc_try_fmt`, of Linux 7.3.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Device, Direction, Memory, Queue, QueueFormat};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Frame, Plane};
use crate::picture::Picture;

/// Driver of the devices whose conversion is known here.
const DRIVER: &str = "vim2m";

/// What it is given, and what it makes of that.
const FROM: Fourcc = Fourcc::RG16;
const TO: Fourcc = Fourcc::BG24;

/// A frame takes some milliseconds, and the sandbox may be busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// A memory-to-memory device that widens RG16 to BG24.
#[derive(Clone, Debug)]
pub struct Converter {
    device: Arc<Device>,
}

impl Converter {
    /// The first one of this machine, as quick as it can be.
    ///
    /// # Errors
    /// There is none, or it can't be set up.
    pub fn find() -> Result<Self> {
        let (devices, refused) = Device::all()?;
        let Some(device) = devices.into_iter().find(|device| device.driver() == DRIVER) else {
            let why = format!("no video node has the driver {DRIVER}{refused}");
            return Err(Error::missing("opening a converter of frames", "/dev/video*", why));
        };
        device.set_control("Transaction Time (msec)", 1)?;
        device.set_control("Buffers Per Transaction", 1)?;
        Ok(Self { device })
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// What the device makes of `shared`, which is RG16: BG24 in memory of its own.
    ///
    /// # Errors
    /// The device can't take the frame: see [`Queue::import`]; or nothing arrives within 2 s.
    pub fn seen_of(&self, shared: &SharedFrame) -> Result<Picture> {
        self.stream().pass(shared)
    }

    /// Frames through this device, one after the other; it starts with the first one.
    pub fn stream(&self) -> ConverterStream {
        ConverterStream { device: self.device.clone(), running: None }
    }

    /// What it must make of `picture`, which is RG16: the bits that a channel lacks are ones.
    ///
    /// # Errors
    /// The picture has another format.
    pub fn target(picture: &Picture) -> Result<Picture> {
        if picture.fourcc != FROM {
            let why = format!("{}; {FROM} would be valid", picture.fourcc);
            return Err(Error::input("computing what a converter makes", format!("{picture:?}"), why));
        }
        let wide = |word: &[u8; 2]| {
            let word = u16::from_le_bytes(*word);
            let [red, green, blue] = [word >> 11, word >> 5 & 0x3f, word & 0x1f];
            [(red << 3 | 7) as u8, (green << 2 | 3) as u8, (blue << 3 | 7) as u8]
        };
        let bytes = picture.bytes.as_chunks().0.iter().flat_map(wide).collect();
        Ok(Picture { size: picture.size, fourcc: TO, bytes })
    }
}

/// A converter that frames are sent through. Stopped when dropped.
#[derive(Debug)]
pub struct ConverterStream {
    device: Arc<Device>,
    running: Option<Running>,
}

/// The two queues of a converter, both streaming.
#[derive(Debug)]
struct Running {
    output: Queue,
    capture: Queue,
    captured: SharedFrame,
    /// How every frame of this stream lies.
    frame: Frame,
    /// Slots of output without a frame, the one that was longest without one first.
    free: VecDeque<u32>,
}

impl ConverterStream {
    const SLOTS: u32 = 2;

    /// What the device makes of `shared`, as [`Converter::seen_of`]; it is done with the frame then.
    ///
    /// # Errors
    /// As [`Converter::seen_of`]; also if the frame does not lie as the first one.
    pub fn pass(&mut self, shared: &SharedFrame) -> Result<Picture> {
        let running = match &mut self.running {
            Some(running) => {
                running.give(shared)?;
                running
            }
            None => self.running.insert(Running::start(&self.device, shared, Self::SLOTS)?),
        };
        // It begins when both queues have a buffer.
        running.capture.give_own(0)?;
        running.capture.take(PATIENCE)?;
        running.free.push_back(running.output.take(PATIENCE)?.index);
        running.captured.read_back()
    }
}

impl Running {
    fn start(device: &Arc<Device>, shared: &SharedFrame, slots: u32) -> Result<Self> {
        let mut output = Queue::open(device, Direction::Output)?;
        output.set_frame(&shared.frame)?;
        let slots = output.request(Memory::Dmabuf, slots)?;
        output.give_dmabuf(0, shared)?;
        output.start()?;
        let mut capture = Queue::open(device, Direction::Capture)?;
        let frame = |pitch| Frame::linear(TO, shared.frame.size, Plane { offset: 0, pitch });
        let wanted = QueueFormat::of_frame(&frame(0))?;
        let given = capture.set_format(&wanted)?.clone();
        let pitch = given.planes.first().map_or(0, |plane| plane.pitch.into());
        if (given.pixel, given.size) != (wanted.pixel, wanted.size) {
            let why = format!("the driver makes {given} of it");
            return Err(Error::missing("VIDIOC_S_FMT", format!("{capture}, {wanted}"), why));
        }
        capture.request(Memory::Own, 1)?;
        let captured = SharedFrame { dmabuf: capture.export(0)?, frame: frame(pitch) };
        capture.start()?;
        Ok(Self { output, capture, captured, frame: shared.frame.clone(), free: (1..slots).collect() })
    }

    fn give(&mut self, shared: &SharedFrame) -> Result<()> {
        if shared.frame != self.frame {
            let why = format!("the stream began with {}; its queues would have to start anew", self.frame);
            return Err(Error::input("converting frames", shared.to_string(), why));
        }
        let Some(slot) = self.free.pop_front() else {
            let why = "no slot is free, though the device is done with every frame";
            return Err(Error::answer("converting frames", self.output.to_string(), why));
        };
        self.output.give_dmabuf(slot, shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::px;

    #[test]
    fn bits_that_are_missing_are_ones() {
        let words: [u16; 4] = [0, 0xffff, 0xf800, 1 << 11 | 2 << 5 | 3];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let picture = Picture { size: px(2, 2), fourcc: Fourcc::RG16, bytes };
        let target = Converter::target(&picture).expect("RG16");
        assert_eq!(target.fourcc, Fourcc::BG24);
        assert_eq!(target.bytes, [7, 3, 7, 255, 255, 255, 255, 3, 7, 0b1111, 0b1011, 0b11111]);
        let other = Picture { fourcc: Fourcc::XR24, ..picture };
        assert!(Converter::target(&other).expect_err("another format").to_string().contains("RG16 would be valid"));
    }
}
