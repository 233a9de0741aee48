//! How a message and its fds reach another process: one JSON value per packet, fds by `SCM_RIGHTS`, every wait with a deadline.
//!
//! It knows nothing of what is said over it; that is [`crate::peer`]'s business.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::{restart, wait};

/// The longest message, in bytes. Pixels travel in an fd, not in a message.
const MESSAGE_MAX: usize = 32 * 1024;

/// The most fds in one message: one per plane of a frame.
const FDS_MAX: usize = 4;

/// A reader that leaves no room for so long does not read any more.
const SEND_DEADLINE: Duration = Duration::from_secs(5);

/// The longest text that [`brief`] leaves, in bytes: JSON may need six for one, and other things want room beside it.
const TEXT_MAX: usize = 4 * 1024;

/// `text`, or its beginning and how much is missing, so that a message has room for it.
pub fn brief(text: String) -> String {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let cut = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{} ... ({} B more)", &text[..cut], text.len() - cut)
}

/// One end of a connection to another process.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// Who is at the other end, for errors.
    other_end: String,
}

/// A message with the fds that came with it.
#[derive(Debug)]
pub struct Received<T> {
    /// The message.
    pub message: T,
    /// The fds, close-on-exec, in the order in which they were sent; an error if fewer came than were sent. What did come
    /// is closed then.
    pub fds: Result<Vec<OwnedFd>>,
}

impl Channel {
    /// A channel to `other_end`, and the socket to hand to that process.
    ///
    /// # Errors
    /// The kernel's errno, such as EMFILE.
    pub fn pair(other_end: impl Into<String>) -> Result<(Self, OwnedFd)> {
        let other_end = other_end.into();
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| Error::new("socketpair", other_end.clone(), errno))?;
        Ok((Self { socket: ours, other_end }, theirs))
    }

    /// The channel on a socket that another process handed to this one.
    pub fn on(socket: OwnedFd, other_end: impl Into<String>) -> Self {
        Self { socket, other_end: other_end.into() }
    }

    /// Sends `message` with `fds`; the other end gets duplicates of them.
    ///
    /// # Errors
    /// The message is too long, there are too many fds, the other end is gone (EPIPE), or it does not read and there has
    /// been no room for one more message for 5 s.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.send_within(message, fds, SEND_DEADLINE)
    }

    /// [`Self::send`] that waits for room for `deadline` at most.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_within<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>], deadline: Duration) -> Result<()> {
        let fail = |cause: crate::error::Cause| Error::new("sendmsg", self.other_end.clone(), cause);
        let bytes = serde_json::to_vec(message)
            .map_err(|error| Error::input("sendmsg", self.other_end.clone(), format!("not serialisable: {error}")))?;
        if bytes.len() > MESSAGE_MAX || fds.len() > FDS_MAX {
            let why = format!(
                "{} B with {} fds; a message has at most {MESSAGE_MAX} B and {FDS_MAX} fds",
                bytes.len(),
                fds.len()
            );
            return Err(Error::input("sendmsg", self.other_end.clone(), why));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Error::input("sendmsg", self.other_end.clone(), "no room for the fds".to_owned()));
        }
        let until = after(deadline);
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => restart::count(),
                Err(Errno::AGAIN) => {
                    let ready = self.wait(PollFlags::OUT, until)?;
                    if !ready {
                        return Err(Error::deadline("sendmsg", self.other_end.clone(), deadline));
                    }
                }
                Err(errno) => return Err(fail(errno.into())),
            }
        }
    }

    /// Waits at most `deadline` for the next message; `None` when the other end has closed.
    ///
    /// # Errors
    /// Nothing came in time, the message was cut or is not a `T`, or the kernel's errno.
    pub fn recv<T: DeserializeOwned>(&self, deadline: Duration) -> Result<Option<Received<T>>> {
        if !self.wait(PollFlags::IN, after(deadline))? {
            return Err(Error::deadline("waiting for a message", self.other_end.clone(), deadline));
        }
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => break got,
                Err(Errno::INTR) => restart::count(),
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(Error::new("recvmsg", self.other_end.clone(), errno)),
            }
        };
        // Taken out first, so that they are closed when the message turns out to be bad.
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if got.bytes == 0 {
            return Ok(None);
        }
        if got.flags.contains(ReturnFlags::TRUNC) {
            let why = format!("a message longer than {MESSAGE_MAX} B");
            return Err(Error::answer("recvmsg", self.other_end.clone(), why));
        }
        // The space is aligned, so one more may fit into it.
        let fds = match got.flags.contains(ReturnFlags::CTRUNC) || fds.len() > FDS_MAX {
            false => Ok(fds),
            true => Err(self.lost(fds.len())),
        };
        match serde_json::from_slice(&bytes[..got.bytes]) {
            Ok(message) => Ok(Some(Received { message, fds })),
            Err(error) => Err(Error::answer("recvmsg", self.other_end.clone(), format!("not a message: {error}"))),
        }
    }

    /// Why only `came` of the fds of a message came. The kernel cuts them off and does not say why.
    fn lost(&self, came: usize) -> Error {
        const OP: &str = "recvmsg(SCM_RIGHTS)";
        if came >= FDS_MAX {
            return Error::answer(OP, self.other_end.clone(), format!("a message with more than {FDS_MAX} fds"));
        }
        let why = format!(
            "{came} of the fds of a message came and the rest were lost: this process has too few fds left (EMFILE) or no \
             memory for them (ENOMEM)"
        );
        Error::missing(OP, self.other_end.clone(), why)
    }

    /// Ends the conversation at both ends: whoever waits for a message is told that there will be none.
    pub fn close(&self) {
        // It fails only where there is nothing left to close.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    /// Another handle of this end.
    ///
    /// # Errors
    /// The process has no fd left.
    pub fn try_clone(&self) -> Result<Self> {
        let socket = self.socket.try_clone().map_err(|error| Error::new("dup", self.other_end.clone(), error))?;
        Ok(Self { socket, other_end: self.other_end.clone() })
    }

    /// Whether the socket was ready for `what` before `until`.
    fn wait(&self, what: PollFlags, until: Instant) -> Result<bool> {
        let came = wait::events(&self.socket, what, until);
        came.map(|came| !came.is_empty()).map_err(|errno| Error::new("poll", self.other_end.clone(), errno))
    }
}

/// The moment `wait` from now; a wait without end is one of a year.
fn after(wait: Duration) -> Instant {
    Instant::now() + wait.min(Duration::from_secs(365 * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_message_arrives_with_its_fd() {
        let (ours, theirs) = Channel::pair("test").unwrap();
        let theirs = Channel::on(theirs, "test");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"pixels").unwrap();
        ours.send(&"frame", &[file.as_fd()]).unwrap();
        let received = theirs.recv::<String>(SOON).unwrap().unwrap();
        assert_eq!(received.message, "frame");
        let mut copy = std::fs::File::from(received.fds.unwrap().into_iter().next().unwrap());
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "pixels");
    }

    #[test]
    fn silence_ends_at_the_deadline_and_a_closed_end_is_told_from_it() {
        let (ours, theirs) = Channel::pair("a silent peer").unwrap();
        let error = ours.recv::<String>(Duration::from_millis(5)).unwrap_err();
        assert!(error.to_string().contains("a silent peer: no answer within 5 ms"), "{error}");
        drop(theirs);
        assert!(ours.recv::<String>(SOON).unwrap().is_none());
    }

    #[test]
    fn garbage_is_an_error_that_closes_its_fds() {
        let (ours, theirs) = Channel::pair("a liar").unwrap();
        let theirs = Channel::on(theirs, "test");
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        theirs.send(&7, &[writer.as_fd()]).unwrap();
        drop(writer);
        let error = ours.recv::<String>(SOON).unwrap_err();
        assert!(error.to_string().contains("a liar: invalid answer: not a message"), "{error}");
        let mut byte = [0; 1];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 0, "the writing end is still open");
    }

    /// Sent past [`Channel::send`], which would not.
    #[test]
    fn a_message_with_too_many_fds_says_so() {
        let (ours, theirs) = Channel::pair("a liar").unwrap();
        for count in [FDS_MAX + 1, 3 * FDS_MAX] {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3 * FDS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds = vec![theirs.as_fd(); count];
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(&theirs, &[IoSlice::new(b"7")], &mut control, SendFlags::empty()).unwrap();
            let received = ours.recv::<u32>(SOON).unwrap().unwrap();
            assert_eq!(received.message, 7);
            let error = received.fds.unwrap_err().to_string();
            assert!(error.contains("a message with more than 4 fds"), "{error}");
        }
        let error = ours.lost(0).to_string();
        assert!(error.contains("0 of the fds") && error.contains("EMFILE"), "{error}");
    }

    #[test]
    fn a_wait_without_end_is_none_that_overflows() {
        let (ours, theirs) = Channel::pair("test").unwrap();
        drop(theirs);
        assert!(ours.recv::<String>(Duration::MAX).unwrap().is_none());
    }

    #[test]
    fn a_text_of_any_length_fits_into_a_message() {
        assert_eq!(brief("busy".to_owned()), "busy");
        let (ours, theirs) = Channel::pair("test").unwrap();
        let theirs = Channel::on(theirs, "test");
        // The worst that JSON makes of a byte, and a character that the cut must not halve.
        for (text, missing) in
            [("\u{1}".repeat(100_000), "95904 B more"), (format!("a{}", "é".repeat(50_000)), "B more")]
        {
            let text = brief(text);
            assert!(text.contains(missing), "{}", &text[4000..]);
            ours.send(&text, &[]).unwrap();
            assert_eq!(theirs.recv::<String>(SOON).unwrap().unwrap().message, text);
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_not_sent() {
        let (ours, _theirs) = Channel::pair("test").unwrap();
        let error = ours.send(&"x".repeat(MESSAGE_MAX), &[]).unwrap_err();
        assert!(error.to_string().contains("at most 32768 B"), "{error}");
    }
}
