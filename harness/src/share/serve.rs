//! A buffer for other processes: attach, map and unmap as messages, dma-bufs by `SCM_RIGHTS`.
//!
//! Each peer is served by a thread of its own and under numbers of its own, so a peer can reach nothing but what it was
//! given. When it goes, however it goes, everything that it held is released. A peer that lies gets an error; one that
//! does nothing else is shown the door, and so is one that holds a mapping for longer than [`Limits::hold`]. In texts it
//! is called what whoever started the service calls it, whatever it calls itself.
//!
//! What ends with a mapping is the bookkeeping: storage may move, and later maps show the new one. The fd is the peer's to
//! keep, since no dma-buf can be taken back. With it the peer sees, and may write, that storage for as long as it likes:
//! the pixels that others use until they have moved away, and memory that nobody else uses afterwards. Nor does
//! [`super::core::Access::Read`] keep it from writing. The fds of a dma-buf are as writable as its exporter made them,
//! which is `O_RDWR` for every heap here, and there is no way to open it again with less. So what a peer says of its
//! access is for whoever looks for its mistakes; a peer that must not write pixels must not get them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::buffer::{Attachment, Buffer, Mapping};
use super::constraints::Party;
use super::core::Access;
use super::demands::{bearable, speakable};
use super::layer::layer;
use super::message::{Answer, Request};
use crate::channel::{Channel, Received, brief};
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
    /// The longest that a mapping may be held; a peer that holds one for longer is cut off.
    pub hold: Duration,
    /// How many bytes its constraints, alone or with those of other peers, may make the buffer larger than four times the
    /// bytes of its pixels.
    pub excess: u64,
    /// How long one of its requests may wait for others.
    pub patience: Duration,
    /// How long it may leave no room for an answer: it does not read any more.
    pub unread: Duration,
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
            // Room for a device that thinks in large pages of 2 MiB.
            excess: 4 << 20,
            patience: super::buffer::PATIENCE,
            unread: Duration::from_secs(5),
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
    /// Serves `buffer` to the peer that texts are to call `name`, on a thread of its own; the peer gets the socket that comes
    /// back.
    ///
    /// # Errors
    /// The process has no fd or no thread left.
    pub fn start(buffer: &Buffer, name: &str, limits: Limits) -> Result<(Self, OwnedFd)> {
        let (channel, socket) = Channel::pair(name)?;
        let ours = channel.try_clone()?;
        let session = Session {
            buffer: buffer.clone(),
            name: name.to_owned(),
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
        let began = Instant::now();
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if began.elapsed() >= deadline {
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
    name: String,
    limits: Limits,
    next: u64,
    /// By number; declared first, so that mappings go first.
    mappings: BTreeMap<u64, Held>,
    attachments: BTreeMap<u64, Attachment>,
}

/// A mapping that a peer holds.
struct Held {
    attachment: u64,
    access: Access,
    since: Instant,
    /// Ends when it is dropped.
    _mapping: Mapping,
}

impl Session {
    fn serve(mut self, channel: &Channel) -> Left {
        let (mut requests, mut refused, mut in_a_row) = (0, 0, 0);
        let why = loop {
            if let Some(why) = self.overstayed() {
                tracing::warn!(%why, "a peer is cut off");
                break why;
            }
            let wait = self.limits.silence.min(self.held_for_yet());
            let (answer, fd) = match channel.recv::<Request>(wait) {
                Ok(None) => break "it closed its end".to_owned(),
                // It was not silent for too long, but a mapping has been held for so long meanwhile.
                Err(error) if matches!(error.cause, Cause::Deadline(_)) && wait < self.limits.silence => continue,
                // The fds that came along, if any, are closed here: no request has any.
                Ok(Some(Received { message, fds: _ })) => {
                    self.answer(message).unwrap_or_else(|why| match layer().refuses() {
                        true => (Answer::Refused { why: brief(why) }, None),
                        false => (Answer::Done, None),
                    })
                }
                Err(error) if matches!(error.cause, Cause::Answer(_)) => {
                    (Answer::Refused { why: brief(error.cause.to_string()) }, None)
                }
                Err(error) => break error.to_string(),
            };
            requests += 1;
            let is_refusal = matches!(answer, Answer::Refused { .. });
            refused += usize::from(is_refusal);
            in_a_row = if is_refusal { in_a_row + 1 } else { 0 };
            let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
            // A peer that does not read can't make a mapping last, either.
            if let Err(error) = channel.send_within(&answer, &fds, self.limits.unread.min(self.held_for_yet())) {
                break error.to_string();
            }
            if in_a_row >= self.limits.refusals {
                break format!("{in_a_row} requests in a row could not be granted, the last one: {answer:?}");
            }
        };
        // If it does not hear that, it sees that the connection is closed.
        let _ = channel.send_within(&Answer::CutOff { why: brief(why.clone()) }, &[], Duration::ZERO);
        channel.close();
        let left = Left { why, attachments: self.attachments.len(), mappings: self.mappings.len(), requests, refused };
        if !layer().releases() {
            std::mem::forget((self.mappings, self.attachments));
        }
        left
    }

    /// How long until a mapping has been held for too long; a year if there is none.
    fn held_for_yet(&self) -> Duration {
        let left = |held: &Held| self.limits.hold.saturating_sub(held.since.elapsed());
        self.mappings.values().map(left).min().unwrap_or(Duration::from_secs(365 * 24 * 3600))
    }

    /// How long one of its requests may wait: also no longer than a mapping may be held, since it may wait for that one.
    fn patience(&self) -> Duration {
        self.limits.patience.min(self.held_for_yet())
    }

    /// Who holds a mapping for too long, if so.
    fn overstayed(&self) -> Option<String> {
        let most = self.limits.hold;
        let (number, held) = self.mappings.iter().find(|(_, held)| held.since.elapsed() >= most)?;
        let who = self.attachments.get(&held.attachment).map_or(&*self.name, Attachment::name);
        let (access, held) = (held.access, held.since.elapsed().as_millis());
        Some(format!("{who} has held mapping {number} ({access}) for {held} ms, of at most {} ms", most.as_millis()))
    }

    /// `party` by a name that it did not choose alone.
    fn named(&self, party: Party) -> Party {
        let name = match party.name == self.name {
            true => party.name,
            false => format!("{} calling itself {:?}", self.name, party.name),
        };
        Party { name, ..party }
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
                speakable(&party)?;
                let judge = |parties: &[Party]| bearable(parties, self.buffer.wish(), self.limits.excess);
                let attached = self.buffer.attach_checked(self.named(party), self.patience(), &judge);
                let attached = attached.map_err(|error| error.to_string())?;
                let attachment = self.number();
                self.attachments.insert(attachment, attached);
                Ok((Answer::Attached { attachment }, None))
            }
            Request::Map { attachment, access, hold_ms } => {
                if self.mappings.len() >= self.limits.mappings {
                    return Err(format!("{} mappings at a time are the most", self.limits.mappings));
                }
                let hold = Duration::from_millis(hold_ms).min(self.limits.hold);
                let mapped = self.attachment(attachment)?.map_within(access, hold, self.patience());
                let mapped = mapped.map_err(|error| error.to_string())?;
                let dmabuf = mapped.shared().dmabuf.try_clone().map_err(|error| error.to_string())?;
                let (generation, frame) = (mapped.generation(), mapped.shared().frame.clone());
                let heap = mapped.storage().heap.clone();
                let mapping = self.number();
                let held = Held { attachment, access, since: Instant::now(), _mapping: mapped };
                self.mappings.insert(mapping, held);
                Ok((Answer::Mapped { mapping, generation, heap, frame }, Some(dmabuf.fd.into_plain())))
            }
            Request::Unmap { mapping } => match self.mappings.remove(&mapping) {
                Some(_) => Ok((Answer::Done, None)),
                None => Err(format!("mapping {mapping} is not one of yours: never made, or ended already")),
            },
            Request::Detach { attachment } => {
                let name = self.attachment(attachment)?.name().to_owned();
                if self.mappings.values().any(|held| held.attachment == attachment) {
                    return Err(format!("{name} still has a mapping, so it can't detach"));
                }
                self.attachments.remove(&attachment);
                Ok((Answer::Done, None))
            }
        }
    }
}
