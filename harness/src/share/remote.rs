//! A buffer that another process has, from the side of the process that takes part in it.
//!
//! That process may lie, too: what comes for a dma-buf is checked to be one, and to have room for the frame that it is said
//! to hold. Where an answer is none, or comes too late, the connection is closed, since later ones would be taken for answers
//! to other questions; then the other process releases what this one held.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::constraints::Party;
use super::core::Access;
use super::layer::layer;
use super::message::{Answer, Request};
use crate::channel::{Channel, Received};
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::format::Modifier;
use crate::frame::Frame;

/// Within this time the other process must answer: its patience with others, and some.
const DEADLINE: Duration = Duration::from_secs(10);

/// What errors call it.
const OBJECT: &str = "a buffer of another process";

/// A buffer that another process has.
#[derive(Debug)]
pub struct RemoteBuffer {
    channel: Channel,
}

/// Access to a buffer that another process has; it lasts until [`RemoteBuffer::unmap`].
#[derive(Debug)]
pub struct RemoteMapping {
    /// The mapping's number.
    pub number: u64,
    /// Which storage it shows.
    pub generation: u64,
    /// Name of the heap.
    pub heap: String,
    /// The dma-buf, and where the frame lies in it.
    pub shared: SharedFrame,
}

impl RemoteBuffer {
    /// The buffer that is served on `channel`.
    pub fn on(channel: Channel) -> Self {
        Self { channel }
    }

    /// Takes part; the attachment's number.
    ///
    /// # Errors
    /// The other process refuses, is gone, or does not answer in time.
    pub fn attach(&self, party: &Party) -> Result<u64> {
        match self.ask(&Request::Attach { party: party.clone() })? {
            Received { message: Answer::Attached { attachment }, .. } => Ok(attachment),
            other => Err(self.unexpected(&other.message)),
        }
    }

    /// Access for `hold` at most.
    ///
    /// # Errors
    /// As [`Self::attach`]; also if what comes along is no dma-buf, or the frame reaches outside, or this process has no fd
    /// left for it. There is no mapping then, on the other side neither.
    pub fn map(&self, attachment: u64, access: Access, hold: Duration) -> Result<RemoteMapping> {
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::Map { attachment, access, hold_ms })? {
            Received { message: Answer::Mapped { mapping, generation, heap, frame }, fds } => {
                match fds.and_then(|fds| shared(fds, frame)) {
                    Ok(shared) => Ok(RemoteMapping { number: mapping, generation, heap, shared }),
                    Err(error) => {
                        // There it is mapped, here it is not.
                        if let Err(why) = self.unmap(mapping) {
                            tracing::warn!(%why, "a mapping that was of no use could not be ended");
                            self.channel.close();
                        }
                        Err(error)
                    }
                }
            }
            other => Err(self.unexpected(&other.message)),
        }
    }

    /// The access ends.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn unmap(&self, mapping: u64) -> Result<()> {
        self.done(&Request::Unmap { mapping })
    }

    /// Takes part no longer.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn detach(&self, attachment: u64) -> Result<()> {
        self.done(&Request::Detach { attachment })
    }

    fn done(&self, request: &Request) -> Result<()> {
        match self.ask(request)?.message {
            Answer::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&self, request: &Request) -> Result<Received<Answer>> {
        if let Err(error) = self.channel.send(request, &[]) {
            // Its last word may have come meanwhile.
            return match self.channel.recv(Duration::ZERO) {
                Ok(Some(Received { message: Answer::CutOff { why }, .. })) => Err(cut_off(&why)),
                _ => Err(error),
            };
        }
        match self.channel.recv(DEADLINE) {
            Ok(Some(Received { message: Answer::Refused { why }, .. })) => Err(Error::missing("asking", OBJECT, why)),
            Ok(Some(Received { message: Answer::CutOff { why }, .. })) => Err(cut_off(&why)),
            Ok(Some(received)) => Ok(received),
            Ok(None) => Err(Error::missing("asking", OBJECT, "the other process has closed the connection")),
            Err(error) => {
                self.channel.close();
                Err(error)
            }
        }
    }

    fn unexpected(&self, answer: &Answer) -> Error {
        self.channel.close();
        Error::answer("asking", OBJECT, format!("{answer:?} is no answer to what was asked"))
    }
}

fn cut_off(why: &str) -> Error {
    Error::missing("asking", OBJECT, format!("the other process has closed the connection: {why}"))
}

/// The frame in the one dma-buf that came along, if it lies in there.
fn shared(fds: Vec<OwnedFd>, frame: Frame) -> Result<SharedFrame> {
    let fds = layer().files(fds);
    let count = fds.len();
    let Ok([fd]) = <[OwnedFd; 1]>::try_from(fds) else {
        return Err(Error::answer("mapping", OBJECT, format!("{count} fds came along; 1 dma-buf would be valid")));
    };
    let dmabuf = Dmabuf::from_fd(fd)?;
    match lies_within(&frame, dmabuf.size) {
        Ok(()) => Ok(SharedFrame { dmabuf, frame }),
        Err(_) if !layer().measures() => Ok(SharedFrame { dmabuf, frame }),
        Err(why) => Err(Error::answer("mapping", format!("{OBJECT}, {frame} in {dmabuf}"), why)),
    }
}

/// Whether `frame` lies within `bytes` bytes, as far as its planes can be told to end.
fn lies_within(frame: &Frame, bytes: u64) -> Result<(), String> {
    let Frame { size, fourcc, modifier, planes } = frame;
    if size.width == 0 || size.height == 0 || planes.is_empty() {
        return Err(format!("a frame of {size} in {} planes; at least 1x1 px in 1 plane would be valid", planes.len()));
    }
    let shapes = fourcc.planes().filter(|_| *modifier == Modifier::LINEAR);
    if let Some(shapes) = shapes.filter(|shapes| shapes.len() != planes.len()) {
        return Err(format!("{} planes; {fourcc} has {}", planes.len(), shapes.len()));
    }
    for (n, plane) in planes.iter().enumerate() {
        // Where other layouts end only their exporter knows; the least that they have is a byte.
        let (row, rows) = shapes.map_or((1, 1), |shapes| (shapes[n].row(size.width), shapes[n].rows(size.height)));
        if shapes.is_some() && plane.pitch < row {
            return Err(format!("plane {n} has a pitch of {} B; at least {row} B would be valid", plane.pitch));
        }
        let before_last = u128::from(plane.pitch) * u128::from(rows.saturating_sub(1));
        let end = u128::from(plane.offset) + before_last + u128::from(row);
        if end > bytes.into() {
            return Err(format!("plane {n} reaches up to byte {end} of a buffer of {bytes} B"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    use crate::format::Fourcc;
    use crate::frame::{Plane, px};

    const SOON: Duration = Duration::from_secs(5);

    fn planes(fourcc: Fourcc, modifier: Modifier, planes: &[(u64, u64)]) -> Frame {
        let planes = planes.iter().map(|&(offset, pitch)| Plane { offset, pitch }).collect();
        Frame { size: px(64, 4), fourcc, modifier, planes }
    }

    #[test]
    fn a_frame_reaches_no_further_than_its_buffer() {
        let nv12 = Fourcc::new(b"NV12");
        let linear = Modifier::LINEAR;
        let end = 16 + 3 * 300 + 256;
        let frame = planes(Fourcc::XR24, linear, &[(16, 300)]);
        assert_eq!(lies_within(&frame, end), Ok(()));
        assert_eq!(
            lies_within(&frame, end - 1),
            Err("plane 0 reaches up to byte 1172 of a buffer of 1171 B".to_owned())
        );
        assert_eq!(lies_within(&planes(nv12, linear, &[(0, 64), (256, 64)]), 384), Ok(()));
        let tiled = Modifier(1 << 56 | 1);
        assert_eq!(lies_within(&planes(Fourcc::XR24, tiled, &[(0, 1)]), 1), Ok(()));
        for (frame, bytes, why) in [
            (planes(nv12, linear, &[(0, 64), (256, 64)]), 383, "plane 1 reaches up to byte 384"),
            (planes(nv12, linear, &[(0, 64)]), 4096, "1 planes; NV12 has 2"),
            (planes(Fourcc::XR24, linear, &[]), 4096, "in 0 planes"),
            (planes(Fourcc::XR24, linear, &[(0, 255)]), 4096, "a pitch of 255 B; at least 256 B"),
            (planes(Fourcc::XR24, linear, &[(u64::MAX, u64::MAX)]), u64::MAX, "plane 0 reaches up to byte"),
            (planes(Fourcc::XR24, tiled, &[(0, 1), (4096, 1)]), 4096, "plane 1 reaches up to byte 4097"),
            (Frame { size: px(0, 4), ..frame }, 4096, "a frame of 0x4 px"),
        ] {
            let said = lies_within(&frame, bytes).expect_err(why);
            assert!(said.contains(why), "{said}");
        }
    }

    /// What [`RemoteBuffer::map`] says to `files` memfds, and what is asked next.
    fn mapped(files: usize) -> (String, Request) {
        let (owner, socket) = Channel::pair("a peer").unwrap();
        let remote = RemoteBuffer::on(Channel::on(socket, "an owner"));
        std::thread::scope(|scope| {
            let next = scope.spawn(move || {
                owner.recv::<Request>(SOON).unwrap().unwrap();
                let frame = planes(Fourcc::XR24, Modifier::LINEAR, &[(0, 256)]);
                let answer = Answer::Mapped { mapping: 7, generation: 1, heap: "udmabuf".to_owned(), frame };
                let memfd = rustix::fs::memfd_create("no dma-buf", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
                owner.send(&answer, &vec![memfd.as_fd(); files]).unwrap();
                let next = owner.recv::<Request>(SOON).unwrap().unwrap().message;
                owner.send(&Answer::Done, &[]).unwrap();
                next
            });
            let said = remote.map(1, Access::Read, SOON).unwrap_err().to_string();
            (said, next.join().unwrap())
        })
    }

    #[test]
    fn what_is_no_dmabuf_is_refused_and_given_back() {
        for (files, why) in
            [(0, "0 fds came along"), (1, "memfd:no dma-buf (deleted)`, not a dma-buf"), (2, "2 fds came")]
        {
            let (said, next) = mapped(files);
            assert!(said.contains(why), "{said}");
            assert_eq!(next, Request::Unmap { mapping: 7 });
        }
    }

    #[test]
    fn the_last_word_is_heard_and_a_wrong_answer_ends_the_conversation() {
        let (owner, socket) = Channel::pair("a peer").unwrap();
        let remote = RemoteBuffer::on(Channel::on(socket, "an owner"));
        owner.send(&Answer::CutOff { why: "it talks too much".to_owned() }, &[]).unwrap();
        owner.close();
        let said = remote.unmap(1).unwrap_err().to_string();
        assert!(said.contains("closed the connection: it talks too much"), "{said}");

        let (owner, socket) = Channel::pair("a peer").unwrap();
        let remote = RemoteBuffer::on(Channel::on(socket, "an owner"));
        owner.send(&Answer::Attached { attachment: 1 }, &[]).unwrap();
        assert!(remote.unmap(1).unwrap_err().to_string().contains("is no answer to what was asked"));
        owner.recv::<Request>(SOON).unwrap().unwrap();
        assert!(owner.recv::<Request>(SOON).unwrap().is_none(), "the connection is still open");
    }
}
