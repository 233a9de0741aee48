//! A buffer that another process has, from the side of the process that takes part in it.

use std::time::Duration;

use super::constraints::Party;
use super::core::Access;
use super::message::{Answer, Request};
use crate::channel::{Channel, Received};
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};

/// Within this time the other process must answer: its patience with others, and some.
const DEADLINE: Duration = Duration::from_secs(10);

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
    /// As [`Self::attach`]; also if what comes along is no dma-buf.
    pub fn map(&self, attachment: u64, access: Access, hold: Duration) -> Result<RemoteMapping> {
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::Map { attachment, access, hold_ms })? {
            Received { message: Answer::Mapped { mapping, generation, heap, frame }, fds } => {
                let fd = fds.into_iter().next();
                let fd =
                    fd.ok_or_else(|| Error::answer("mapping", "a buffer of another process", "no dma-buf came along"))?;
                let shared = SharedFrame { dmabuf: Dmabuf::from_fd(fd)?, frame };
                Ok(RemoteMapping { number: mapping, generation, heap, shared })
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
        const OBJECT: &str = "a buffer of another process";
        self.channel.send(request, &[])?;
        match self.channel.recv(DEADLINE)? {
            Some(Received { message: Answer::Refused { why }, .. }) => Err(Error::missing("asking", OBJECT, why)),
            Some(received) => Ok(received),
            None => Err(Error::missing("asking", OBJECT, "the other process has closed the connection")),
        }
    }

    fn unexpected(&self, answer: &Answer) -> Error {
        Error::answer("asking", "a buffer of another process", format!("{answer:?} is no answer to what was asked"))
    }
}
