//! A buffer for other processes: attach, map and unmap as messages, dma-bufs by `SCM_RIGHTS`.
//!
//! Each peer is served by a thread of its own and under numbers of its own, so a peer can reach nothing but what it was
//! given. When it goes, however it goes, everything that it held is released. A peer that lies gets an error; one that
//! does nothing else is shown the door.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use super::buffer::{Attachment, Buffer, Mapping};
use super::message::{Answer, Request};
use crate::channel::{Channel, Received};
use crate::error::{Cause, Error, Result};

/// What one peer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attachments at a time.
    pub attachments: usize,
    /// Mappings at a time.
    pub mappings: usize,
    /// Requests that could not be granted, one after another, until it is cut off.
    pub refusals: usize,
    /// The longest that a mapping may be held.
    pub hold: Duration,
    /// How long one of its requests may wait for others.
    pub patience: Duration,
    /// How long it may say nothing.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attachments: 16,
            mappings: 64,
            refusals: 100,
            hold: super::buffer::HOLD,
            patience: super::buffer::PATIENCE,
            silence: Duration::from_secs(3600),
        }
    }
}

/// How the service of a peer ended, and what it left to be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Why.
    pub why: String,
    /// Attachments that it had.
    pub attachments: usize,
    /// Mappings that it had.
    pub mappings: usize,
    /// Requests that it made.
    pub requests: usize,
    /// Those that could not be granted.
    pub refused: usize,
}

/// The service of one peer. Dropping it ends the service.
#[derive(Debug)]
pub struct Service {
    thread: Option<JoinHandle<Left>>,
    channel: Channel,
}

impl Service {
    /// Serves `buffer` to the peer `name`, on a thread of its own; the peer gets the socket that comes back.
    ///
    /// # Errors
    /// The process has no fd or no thread left.
    pub fn start(buffer: &Buffer, name: &str, limits: Limits) -> Result<(Self, OwnedFd)> {
        let (channel, socket) = Channel::pair(name)?;
        let ours = channel.try_clone()?;
        let session = Session {
            buffer: buffer.clone(),
            limits,
            next: 0,
            attachments: BTreeMap::new(),
            mappings: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new().name(format!("serves {name}")).spawn(move || session.serve(&ours));
        let thread = thread.map_err(|error| Error::new("starting a thread", name.to_owned(), error))?;
        Ok((Self { thread: Some(thread), channel }, socket))
    }

    /// Waits until the peer has gone, for `deadline` at most.
    ///
    /// # Errors
    /// It is still there.
    pub fn ended(mut self, deadline: Duration) -> Result<Left> {
        let until = std::time::Instant::now() + deadline;
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if std::time::Instant::now() >= until {
                return Err(Error::deadline("waiting for a peer to go", "the service of a shared buffer", deadline));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let left = self.thread.take().and_then(|thread| thread.join().ok());
        left.ok_or_else(|| Error::answer("serving a peer", "the service of a shared buffer", "its thread panicked"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.channel.close();
        if let Some(thread) = self.thread.take() {
            // What it says does not matter any more.
            let _ = thread.join();
        }
    }
}

/// What one peer holds. Dropping it releases that.
struct Session {
    buffer: Buffer,
    limits: Limits,
    next: u64,
    /// With the mappings of each by number; declared first, so that mappings go first.
    mappings: BTreeMap<u64, (u64, Mapping)>,
    attachments: BTreeMap<u64, Attachment>,
}

impl Session {
    fn serve(mut self, channel: &Channel) -> Left {
        let (mut requests, mut refused, mut in_a_row) = (0, 0, 0);
        let why = loop {
            let (answer, fd) = match channel.recv::<Request>(self.limits.silence) {
                Ok(None) => break "it closed its end".to_owned(),
                // The fds that came along, if any, are closed here: no request has any.
                Ok(Some(Received { message, fds: _ })) => {
                    self.answer(message).unwrap_or_else(|why| (Answer::Refused { why }, None))
                }
                Err(error) if matches!(error.cause, Cause::Answer(_)) => {
                    (Answer::Refused { why: error.cause.to_string() }, None)
                }
                Err(error) => break error.to_string(),
            };
            requests += 1;
            let is_refusal = matches!(answer, Answer::Refused { .. });
            refused += usize::from(is_refusal);
            in_a_row = if is_refusal { in_a_row + 1 } else { 0 };
            let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
            if let Err(error) = channel.send(&answer, &fds) {
                break error.to_string();
            }
            if in_a_row >= self.limits.refusals {
                break format!("{in_a_row} requests in a row could not be granted, the last one: {answer:?}");
            }
        };
        channel.close();
        Left { why, attachments: self.attachments.len(), mappings: self.mappings.len(), requests, refused }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn attachment(&self, number: u64) -> Result<&Attachment, String> {
        let known: Vec<_> = self.attachments.keys().collect();
        self.attachments
            .get(&number)
            .ok_or_else(|| format!("attachment {number} is not one of yours, which are {known:?}"))
    }

    fn answer(&mut self, request: Request) -> Result<(Answer, Option<OwnedFd>), String> {
        match request {
            Request::Attach { party } => {
                if self.attachments.len() >= self.limits.attachments {
                    return Err(format!("{} attachments at a time are the most", self.limits.attachments));
                }
                let attached =
                    self.buffer.attach_within(party, self.limits.patience).map_err(|error| error.to_string())?;
                let attachment = self.number();
                self.attachments.insert(attachment, attached);
                Ok((Answer::Attached { attachment }, None))
            }
            Request::Map { attachment, access, hold_ms } => {
                if self.mappings.len() >= self.limits.mappings {
                    return Err(format!("{} mappings at a time are the most", self.limits.mappings));
                }
                let hold = Duration::from_millis(hold_ms).min(self.limits.hold);
                let mapped = self.attachment(attachment)?.map_within(access, hold, self.limits.patience);
                let mapped = mapped.map_err(|error| error.to_string())?;
                let dmabuf = mapped.shared().dmabuf.try_clone().map_err(|error| error.to_string())?;
                let (generation, frame) = (mapped.generation(), mapped.shared().frame.clone());
                let heap = mapped.storage().heap.clone();
                let mapping = self.number();
                self.mappings.insert(mapping, (attachment, mapped));
                Ok((Answer::Mapped { mapping, generation, heap, frame }, Some(dmabuf.fd)))
            }
            Request::Unmap { mapping } => match self.mappings.remove(&mapping) {
                Some(_) => Ok((Answer::Done, None)),
                None => Err(format!("mapping {mapping} is not one of yours: never made, or ended already")),
            },
            Request::Detach { attachment } => {
                let name = self.attachment(attachment)?.name().to_owned();
                if self.mappings.values().any(|(of, _)| *of == attachment) {
                    return Err(format!("{name} still has a mapping, so it can't detach"));
                }
                self.attachments.remove(&attachment);
                Ok((Answer::Done, None))
            }
        }
    }
}
