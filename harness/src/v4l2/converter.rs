//! What does a memory-to-memory device make of a frame? It turns 16 bits per pixel into 24 and back, and the bytes can be computed.
//!
//! Back, of components that are the nearest to those of 5 and 6 bits, whoever cuts bits off and whoever rounds make the same. The
//! other way devices differ in how they widen: of vim2m it is known, of others only how far it may be off. What is given in the
//! format that is wanted comes out as it was.
//!
//! Each time that vim2m's node is opened, the device starts anew, with controls of its own, so a [`Converter`] disturbs nobody.
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

use super::{Device, Direction, Memory, PixelFormat, Queue};
use crate::compare::Tolerance;
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::{Frame, Size};
use crate::picture::Picture;

/// The driver whose conversion is known to the bit, and which is asked first.
const DRIVER: &str = "vim2m";

/// What it is given, and what it makes of that.
const FROM: Fourcc = Fourcc::RG16;
const TO: Fourcc = Fourcc::BG24;

/// A frame takes some milliseconds, and the sandbox may be busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// A memory-to-memory device that widens RG16 to BG24, and narrows it again.
#[derive(Clone, Debug)]
pub struct Converter {
    device: Arc<Device>,
}

impl Converter {
    /// The first one of this machine that makes BG24 of RG16 and the other way round, of that name or driver or at that node if
    /// one is `wanted`; as quick as it can be.
    ///
    /// # Errors
    /// There is none, or it can't be set up; or files or memory have run out.
    pub fn find(wanted: Option<&str>) -> Result<Self> {
        let (devices, mut refused) = Device::memory_to_memory(wanted, DRIVER)?;
        let both = [FROM, TO].map(PixelFormat::of);
        let mut has_both = |device: &Arc<Device>, direction| {
            let listed = match Queue::open(device, direction).and_then(|queue| queue.pixel_formats()) {
                // Nobody knows what it makes.
                Err(why) if why.is_shortage() => return Err(why),
                Err(why) => {
                    refused.push_str(&format!("; {why}"));
                    Vec::new()
                }
                Ok(listed) => listed,
            };
            Ok(both.iter().all(|pixel| pixel.is_some_and(|pixel| listed.contains(&pixel))))
        };
        for device in devices {
            if has_both(&device, Direction::Output)? && has_both(&device, Direction::Capture)? {
                quicken(&device)?;
                return Ok(Self { device });
            }
        }
        let why = format!("no video node makes {TO} of {FROM} and the other way round{refused}");
        Err(Error::missing("opening a converter of frames", wanted.unwrap_or("/dev/video*"), why))
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

    /// By how much what it makes of a frame may be off [`Self::target`].
    pub fn tolerance(&self) -> Tolerance {
        if self.device.driver() == DRIVER {
            return Tolerance::Exact;
        }
        let reason =
            "V4L2 leaves open how 5 and 6 bits are widened to 8, by zeros, ones or the upper ones again".into();
        Tolerance::PerChannel { max: 7, pixels: 0, reason }
    }

    /// A buffer of the device's own memory for a frame of `size` in RG16, which nobody has filled; it is filled with what the
    /// device makes of frames in `from`, which is RG16 or BG24. The device is opened anew for it.
    ///
    /// # Errors
    /// It can't have such frames, or can't export them.
    pub fn own(&self, size: Size, from: Fourcc) -> Result<OwnConverted> {
        let device = Device::open(self.device.node())?;
        quicken(&device)?;
        let mut output = Queue::open(&device, Direction::Output)?;
        let source = output.set_any_pitch(from, size)?;
        let mut capture = Queue::open(&device, Direction::Capture)?;
        let frame = capture.set_any_pitch(FROM, size)?;
        output.request(Memory::Own, 1)?;
        let slots = capture.request(Memory::Own, OwnConverted::SLOT + 1)?;
        if slots <= OwnConverted::SLOT || !capture.keeps_exported()? {
            let why = format!("{slots} buffers, and it frees what it exported with its queue, or has too few of them");
            return Err(Error::missing("VIDIOC_EXPBUF", capture.to_string(), why));
        }
        let source = SharedFrame { dmabuf: output.export(0)?, frame: source };
        let shared = SharedFrame { dmabuf: capture.export(OwnConverted::SLOT)?, frame };
        output.start()?;
        capture.start()?;
        Ok(OwnConverted { output, capture, source, shared })
    }

    /// `picture`, which is RG16, in BG24: each component in 8 bits, as near as it can be.
    fn source(picture: &Picture) -> Result<Picture> {
        let wide = |red: u8, green: u8, blue: u8| [red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2];
        widened("computing what a converter is given", picture, wide)
    }

    /// What it must make of `picture`, which is RG16: the bits that a channel lacks are ones.
    ///
    /// # Errors
    /// The picture has another format.
    pub fn target(picture: &Picture) -> Result<Picture> {
        let wide = |red: u8, green: u8, blue: u8| [red << 3 | 7, green << 2 | 3, blue << 3 | 7];
        widened("computing what a converter makes", picture, wide)
    }
}

/// `picture`, which is RG16, in BG24, with what `wide` makes of the components of each pixel.
fn widened(op: &'static str, picture: &Picture, wide: impl Fn(u8, u8, u8) -> [u8; 3]) -> Result<Picture> {
    if picture.fourcc != FROM {
        let why = format!("{}; {FROM} would be valid", picture.fourcc);
        return Err(Error::input(op, format!("{picture:?}"), why));
    }
    let pixel = |word: &[u8; 2]| {
        let word = u16::from_le_bytes(*word);
        wide((word >> 11) as u8, (word >> 5 & 0x3f) as u8, (word & 0x1f) as u8)
    };
    let bytes = picture.bytes.as_chunks().0.iter().flat_map(pixel).collect();
    Ok(Picture { size: picture.size, fourcc: TO, bytes })
}

/// A buffer of the device's own memory (`V4L2_MEMORY_MMAP`), which it fills. Its queues are nobody else's; what was exported stays
/// when they go.
#[derive(Debug)]
pub struct OwnConverted {
    output: Queue,
    capture: Queue,
    /// What it is given, in its own memory, too.
    source: SharedFrame,
    shared: SharedFrame,
}

impl OwnConverted {
    /// Not the first one, which an export that looks at no index would hand out.
    const SLOT: u32 = 1;

    /// What it exports: another fd of the buffer (`VIDIOC_EXPBUF`).
    ///
    /// # Errors
    /// The process has no fd left.
    pub fn shared(&self) -> Result<SharedFrame> {
        Ok(SharedFrame { dmabuf: self.shared.dmabuf.try_clone()?, frame: self.shared.frame.clone() })
    }

    /// The device fills it with `picture`, which is RG16, of the format that it is given.
    ///
    /// # Errors
    /// Size or format differ, or nothing arrives within 2 s.
    pub fn fill(&mut self, picture: &Picture) -> Result<()> {
        match self.source.frame.fourcc {
            TO => self.source.write(&Converter::source(picture)?)?,
            _ => self.source.write(picture)?,
        }
        self.output.give_own(0)?;
        self.capture.give_own(Self::SLOT)?;
        self.capture.take(PATIENCE)?;
        self.output.take(PATIENCE).map(drop)
    }
}

/// Has it wait no longer than it must, and for one frame only, where it can be told.
fn quicken(device: &Device) -> Result<()> {
    if device.driver() != DRIVER {
        return Ok(());
    }
    device.set_control("Transaction Time (msec)", 1)?;
    device.set_control("Buffers Per Transaction", 1)
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
        let frame = capture.set_any_pitch(TO, shared.frame.size)?;
        capture.request(Memory::Own, 1)?;
        let captured = SharedFrame { dmabuf: capture.export(0)?, frame };
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
    fn what_it_is_given_is_the_target_with_its_lower_bits_cut_off_or_rounded() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let picture = Picture { size: px(256, 256), fourcc: Fourcc::RG16, bytes };
        let source = Converter::source(&picture).expect("RG16");
        let narrowed = |narrow: fn(u8, u32) -> u16| -> Vec<u8> {
            let word = |p: &[u8; 3]| narrow(p[0], 5) << 11 | narrow(p[1], 6) << 5 | narrow(p[2], 5);
            source.bytes.as_chunks().0.iter().flat_map(|pixel| word(pixel).to_le_bytes()).collect()
        };
        let rounds = |byte: u8, bits: u32| (u16::from(byte) * ((1 << bits) - 1) + 127) / 255;
        assert!(narrowed(|byte, bits| u16::from(byte >> (8 - bits))) == picture.bytes, "cut off");
        assert!(narrowed(rounds) == picture.bytes, "rounded");
    }

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
