//! Who looks at the frames of a pipe, each on a thread of its own: the CPU, and the video devices.
//!
//! A stage takes frames in their order. It attaches to a buffer when it first sees it, so that one buffer after the other
//! moves, and each when it is in use. It keeps its mapping for as long as its device needs the frame, whatever the other
//! stages do meanwhile; what it saw, and the mapping, it passes on to whoever runs the pipe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

use handover::prelude::*;
use handover::share::buffer::{Attachment, HOLD, Mapping};
use handover::share::constraints::Party;
use handover::share::core::Moved;
use handover::share::pool::{Looking, Reader};
use handover::v4l2::{ConverterStream, LoopStream, Loopback};

use super::buffers::{Gate, Slot};

/// What looks.
pub(super) enum Eye {
    /// It looks at each frame as soon as it is on the screen.
    Cpu,
    /// It only takes contiguous memory, and shows what it took. The contiguous heap is its capture side.
    Loop(Loopback, Gate),
    /// It takes any memory, and makes another format of what it took.
    Converter(handover::v4l2::Converter),
}

impl Eye {
    pub(super) fn guest(&self) -> Guest<'_> {
        match self {
            Self::Cpu => Guest::Cpu,
            Self::Loop(video, _) => Guest::Video(video.output()),
            Self::Converter(video) => Guest::Video(video.device()),
        }
    }

    /// Whether storage must move for it.
    pub(super) fn is_strict(&self) -> bool {
        matches!(self, Self::Loop(..))
    }

    /// What it must see of `frame`.
    pub(super) fn target(&self, frame: Target) -> Result<Target> {
        match self {
            Self::Cpu | Self::Loop(..) => Ok(frame),
            Self::Converter(_) => Ok(Target {
                picture: handover::v4l2::Converter::target(&frame.picture)?,
                before: frame.before.as_ref().map(handover::v4l2::Converter::target).transpose()?,
            }),
        }
    }

    fn stream(&self) -> Stream {
        match self {
            Self::Cpu => Stream::Cpu,
            Self::Loop(video, gate) => Stream::Loop(video.stream(), gate.clone()),
            Self::Converter(video) => Stream::Converter(Box::new(video.stream())),
        }
    }
}

/// A device that frames go through.
enum Stream {
    Cpu,
    Loop(LoopStream, Gate),
    Converter(Box<ConverterStream>),
}

impl Stream {
    fn pass(&mut self, shared: &SharedFrame) -> Result<Picture> {
        match self {
            Self::Cpu => shared.read_back(),
            Self::Loop(stream, gate) => {
                let _gate = gate.lock();
                stream.pass(shared)
            }
            Self::Converter(stream) => stream.pass(shared),
        }
    }

    /// Whether it reads a frame until it has the next one.
    fn keeps(&self) -> bool {
        matches!(self, Self::Loop(..))
    }
}

/// A frame that a stage has mapped.
pub(super) struct Taken {
    // In this order: nobody draws into a buffer that is still mapped.
    pub(super) mapping: Mapping,
    pub(super) looking: Looking<Slot>,
}

/// What a stage saw.
pub(super) struct Saw {
    pub(super) taken: Arc<Taken>,
    pub(super) picture: Picture,
    /// The storage moved for this stage before it could map it.
    pub(super) moved: Option<Moved>,
}

/// What a stage says, and which one.
pub(super) struct Word {
    pub(super) stage: usize,
    pub(super) said: Result<Box<Saw>, Trouble>,
}

/// A stage that runs, from the side of whoever runs the pipe.
pub(super) struct Stage {
    pub(super) name: String,
    reader: Reader<Slot>,
    frames: Sender<Looking<Slot>>,
    /// The last frame that it has begun to map.
    maps: Arc<AtomicU64>,
    /// Frames that it was given and has said nothing of.
    pub(super) owed: usize,
}

impl Stage {
    /// Starts stage `number`; `party` is who it is, and the one in this place that took part in the pipe.
    pub(super) fn start<'s>(
        scope: &'s Scope<'s, '_>,
        (number, eye): (usize, &Eye),
        (place, party): (usize, Party),
        reader: Reader<Slot>,
        words: Sender<Word>,
    ) -> Self {
        let (frames, given) = channel();
        let maps = Arc::new(AtomicU64::new(0));
        let name = party.name.clone();
        let work = Work { place, party, stream: eye.stream(), maps: maps.clone() };
        scope.spawn(move || {
            let say = |said| words.send(Word { stage: number, said }).is_ok();
            if let Err(trouble) = work.run(&given, |saw| say(Ok(Box::new(saw)))) {
                say(Err(trouble));
            }
        });
        Self { name, reader, frames, maps, owed: 0 }
    }

    /// Gives it the frame that is current.
    pub(super) fn give(&mut self) -> Result<(), Trouble> {
        let looking = self.reader.next(super::PATIENCE)?;
        self.owed += 1;
        // If it has ended, it has said why.
        let _ = self.frames.send(looking);
        Ok(())
    }

    /// Whether it has begun to map `frame`.
    pub(super) fn maps(&self, frame: u64) -> bool {
        self.maps.load(SeqCst) >= frame
    }

    /// Frames that it was never given.
    pub(super) fn missed(&self) -> u64 {
        self.reader.skipped()
    }
}

/// What runs on a stage's thread.
struct Work {
    place: usize,
    party: Party,
    stream: Stream,
    maps: Arc<AtomicU64>,
}

impl Work {
    fn run(self, given: &Receiver<Looking<Slot>>, say: impl Fn(Saw) -> bool) -> Result<(), Trouble> {
        let Self { place, party, stream, maps } = self;
        // Dropped in the opposite order: the device lets go of the last frame before its mapping ends.
        let mut own: BTreeMap<usize, Attachment> = BTreeMap::new();
        let mut _kept = None;
        let mut stream = stream;
        for looking in given {
            let Slot { number, buffer, attached, .. } = &*looking;
            let before = buffer.moves().len();
            if attached.len() <= place && !own.contains_key(number) {
                own.insert(*number, buffer.attach_within(party.clone(), super::PATIENCE)?);
            }
            let moved = buffer.moves().get(before).copied();
            let Some(attachment) = attached.get(place).or_else(|| own.get(number)) else { continue };
            maps.store(looking.frame(), SeqCst);
            let mapping = attachment.map_within(Access::Read, HOLD, super::PATIENCE)?;
            let picture = stream.pass(mapping.shared())?;
            let taken = Arc::new(Taken { mapping, looking });
            // The device is done with the one that was kept before.
            _kept = stream.keeps().then(|| taken.clone());
            if !say(Saw { taken, picture, moved }) {
                break;
            }
        }
        Ok(())
    }
}
