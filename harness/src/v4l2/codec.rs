//! Does a codec see the frame that it is given, and does it put frames where it is told? vicodec is one in software.
//!
//! Each time that a node of it is opened, the device starts anew, so a first frame is always coded by itself, and the same
//! picture gives the same stream. What that stream is cannot be computed here: the code (FWHT, a Hadamard transform with run
//! lengths) loses some of the picture in ways that are the driver's own. So a stream of imported memory is held against that of
//! the same picture in the device's own memory, and likewise a decoded frame: the device is its own reference, and the path of
//! the memory is all that differs.
//!
//! Of the interface of codecs no more is spoken than vicodec needs: it says at once what a stream holds, and keeps no frame back,
//! so its events are not waited for and it is not drained. Others are not asked: what they refuse would be no finding.
//!
//! The driver has no pitch: every row begins where the one before ended. Frames are 640x360 to 4096x2160 px, in blocks of 8x8.
//!
//! Source: "Memory-to-Memory Stateful Video Encoder Interface" and "... Decoder Interface" of the kernel's V4L2 documentation;
//! `drivers/media/test-drivers/vicodec/vicodec-core.c` of Linux 7.3.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Device, Direction, Memory, PixelFormat, Queue, QueueFormat};
use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};
use crate::format::Fourcc;
use crate::frame::Size;
use crate::picture::Picture;

/// The driver that was read, and the only one that is asked.
const DRIVER: &str = "vicodec";

/// A frame takes some 10 milliseconds, and the sandbox may be busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two nodes: one makes streams of frames, the other frames of streams.
#[derive(Clone, Debug)]
pub struct Codec {
    encoder: PathBuf,
    decoder: PathBuf,
    /// Open for its name and for what its queues need; every stream has the node opened anew.
    device: Arc<Device>,
    filler: Arc<Device>,
    /// The compressed format.
    stream: PixelFormat,
}

/// How a codec is given a picture, or the room for one.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// The picture in memory of the device's own (`V4L2_MEMORY_MMAP`).
    Own(&'a Picture),
    /// A dma-buf of somebody else that holds it.
    Dmabuf(&'a SharedFrame),
}

impl Codec {
    /// The first two nodes of vicodec, of the device called `wanted` if one is, of which one makes streams of frames and
    /// the other takes such streams.
    ///
    /// # Errors
    /// There are none; or files or memory have run out.
    pub fn find(wanted: Option<&str>) -> Result<Self> {
        let (mut devices, mut refused) = Device::memory_to_memory(wanted, DRIVER)?;
        let others: Vec<String> =
            devices.extract_if(.., |device| device.driver() != DRIVER).map(|device| device.to_string()).collect();
        if !others.is_empty() {
            refused.push_str(&format!("; not asked, since only {DRIVER} is spoken to: [{}]", others.join(", ")));
        }
        let mut streams = |device: &Arc<Device>, direction| {
            match Queue::open(device, direction).and_then(|queue| queue.stream_formats()) {
                // Nobody knows what it makes.
                Err(why) if why.is_shortage() => Err(why),
                Err(why) => {
                    refused.push_str(&format!("; {why}"));
                    Ok(Vec::new())
                }
                listed => listed,
            }
        };
        for device in &devices {
            for stream in streams(device, Direction::Capture)? {
                for filler in &devices {
                    if streams(filler, Direction::Output)?.contains(&stream) {
                        let [encoder, decoder] = [device, filler].map(|device| device.node().to_owned());
                        return Ok(Self { encoder, decoder, device: device.clone(), filler: filler.clone(), stream });
                    }
                }
            }
        }
        let why = format!("no two video nodes make and take the same streams{refused}");
        Err(Error::missing("opening a codec", wanted.unwrap_or("/dev/video*"), why))
    }

    /// The node that takes frames.
    pub fn encoder(&self) -> &Arc<Device> {
        &self.device
    }

    /// The node that fills frames.
    pub fn decoder(&self) -> &Arc<Device> {
        &self.filler
    }

    /// The stream of one frame.
    ///
    /// # Errors
    /// The device can't take such a frame; or it is not done within 5 s.
    pub fn encode(&self, given: Given<'_>) -> Result<Vec<u8>> {
        let device = Device::open(&self.encoder)?;
        let mut output = Queue::open(&device, Direction::Output)?;
        match given {
            Given::Dmabuf(shared) => {
                output.set_frame(&shared.frame)?;
                output.request(Memory::Dmabuf, 1)?;
                output.give_dmabuf(0, shared)?;
            }
            Given::Own(picture) => {
                let frame = output.set_any_pitch(picture.fourcc, picture.size)?;
                output.request(Memory::Own, 1)?;
                SharedFrame { dmabuf: output.export(0)?, frame }.write(picture)?;
                output.give_own(0)?;
            }
        }
        let size = output.format().size;
        let mut capture = Queue::open(&device, Direction::Capture)?;
        capture.set_format(&QueueFormat::new(self.stream, size, 0))?;
        capture.request(Memory::Own, 1)?;
        let stream = capture.export(0)?;
        capture.give_own(0)?;
        output.start()?;
        capture.start()?;
        let done = capture.take(PATIENCE)?;
        if done.bytes == 0 {
            let why = "a stream of 0 bytes (bytesused)";
            return Err(
                Error::answer("VIDIOC_DQBUF", capture.to_string(), why).like("a length that was never filled in")
            );
        }
        stream.map()?.read(0..done.bytes.into())
    }

    /// The frame of a stream in memory of the device's own, in `fourcc` and `size`.
    ///
    /// # Errors
    /// The stream is none, or has another size; or the device is not done within 5 s.
    pub fn decode(&self, stream: &[u8], fourcc: Fourcc, size: Size) -> Result<Picture> {
        let (_output, mut capture) = self.reading(stream)?;
        let frame = capture.set_any_pitch(fourcc, size)?;
        capture.request(Memory::Own, 1)?;
        let decoded = SharedFrame { dmabuf: capture.export(0)?, frame };
        capture.give_own(0)?;
        capture.start()?;
        capture.take(PATIENCE)?;
        decoded.read_back()
    }

    /// The frame of a stream is written into `into`.
    ///
    /// # Errors
    /// As [`Self::decode`]; also if the device can't take the buffer.
    pub fn decode_into(&self, stream: &[u8], into: &SharedFrame) -> Result<()> {
        let (_output, mut capture) = self.reading(stream)?;
        capture.set_frame(&into.frame)?;
        capture.request(Memory::Dmabuf, 1)?;
        capture.give_dmabuf(0, into)?;
        capture.start()?;
        capture.take(PATIENCE)?;
        Ok(())
    }

    /// The queues of a decoder that has read the head of `stream`, and knows what frames it will make.
    fn reading(&self, stream: &[u8]) -> Result<(Queue, Queue)> {
        let object = || format!("{}, a stream of {} B", self.filler, stream.len());
        let bytes = u32::try_from(stream.len())
            .map_err(|_| Error::input("decoding", object(), "a stream of less than 4 GiB would be valid"))?;
        let device = Device::open(&self.decoder)?;
        let mut output = Queue::open(&device, Direction::Output)?;
        let mut wanted = output.format().clone();
        wanted.pixel = self.stream;
        wanted.planes.iter_mut().for_each(|plane| plane.bytes = plane.bytes.max(bytes));
        let room = output.set_format(&wanted)?.planes.first().map_or(0, |plane| plane.bytes);
        if room < bytes {
            return Err(Error::input("decoding", object(), format!("the device takes up to {room} B")));
        }
        output.request(Memory::Own, 1)?;
        output.export(0)?.map()?.write(0, stream)?;
        output.give_bytes_of_own(0, bytes)?;
        output.start()?;
        // Only now does the other queue have the format of the stream.
        let capture = Queue::open(&device, Direction::Capture)?;
        Ok((output, capture))
    }
}
