//! What went wrong in a call: the operation, the object it was asked of, and the answer.
//!
//! One shape for every driver, so that a reader of a verdict always finds the same three things in the same order.
//! It decides nothing: whether an error is a finding, a skip or an infrastructure failure is the caller's business.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Result of everything in the harness that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation.
///
/// Displays as `OP on OBJECT: CAUSE`, for example
/// `DRM_IOCTL_MODE_ADDFB2 on screen (vkms), XR24 LINEAR 250x130 px: EINVAL (invalid argument)`.
#[derive(Debug, thiserror::Error)]
#[error("{op} on {object}: {cause}")]
pub struct Error {
    /// The call or step, by the name its own documentation uses.
    pub op: Cow<'static, str>,
    /// What it was asked of, with the facts that matter (device, format, size).
    pub object: String,
    /// The answer.
    pub cause: Cause,
    /// What it looks like, where that is known.
    pub like: Option<&'static str>,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A system call's errno.
    #[error("{}", errno_text(*.0))]
    Errno(rustix::io::Errno),
    /// An API's own result code by name (`VK_ERROR_OUT_OF_DEVICE_MEMORY`), as the driver returned it.
    #[error("{0}")]
    Code(String),
    /// The answer did not come within the deadline.
    #[error("no answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The device or the machine lacks what the operation needs; says what.
    #[error("{0}")]
    Missing(String),
    /// Who was asked tells what its refusal means, too.
    #[error("{why}")]
    Refused {
        /// What it said.
        why: String,
        /// What that means.
        refusal: Refusal,
    },
    /// The driver answered with something that no driver may answer; says what and what would be valid.
    #[error("invalid answer: {0}")]
    Answer(String),
    /// The caller's input is wrong; says which value and what would be valid.
    #[error("{0}")]
    Input(String),
}

/// What it means that a device refuses what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Any device may refuse that.
    Allowed,
    /// It may refuse a layout that it did not choose itself, and this is one.
    Layout,
    /// It is an error.
    Other,
}

impl Error {
    /// An error of `op` on `object`.
    pub fn new(op: impl Into<Cow<'static, str>>, object: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self { op: op.into(), object: object.into(), cause: cause.into(), like: None }
    }

    /// The device or the machine lacks `what`.
    pub fn missing(op: impl Into<Cow<'static, str>>, object: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(op, object, Cause::Missing(what.into()))
    }

    /// The caller's value is wrong: `why` names it and what would be valid.
    pub fn input(op: impl Into<Cow<'static, str>>, object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(op, object, Cause::Input(why.into()))
    }

    /// The driver's answer is one that no driver may give.
    pub fn answer(op: impl Into<Cow<'static, str>>, object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(op, object, Cause::Answer(why.into()))
    }

    /// A refusal of which it is known what it means.
    pub fn refused(
        op: impl Into<Cow<'static, str>>,
        object: impl Into<String>,
        why: impl Into<String>,
        refusal: Refusal,
    ) -> Self {
        Self::new(op, object, Cause::Refused { why: why.into(), refusal })
    }

    /// What it looks like, for who reads of it.
    #[must_use]
    pub fn like(self, like: &'static str) -> Self {
        Self { like: Some(like), ..self }
    }

    /// What it means, as far as it tells by itself.
    pub fn refusal(&self) -> Refusal {
        match self.cause {
            Cause::Refused { refusal, .. } => refusal,
            _ => Refusal::Other,
        }
    }

    /// Whether the answer was this errno.
    pub fn is_errno(&self, errno: rustix::io::Errno) -> bool {
        matches!(self.cause, Cause::Errno(answered) if answered == errno)
    }

    /// Whether files or memory had run out, which may be there again in a moment.
    pub fn is_shortage(&self) -> bool {
        use rustix::io::Errno;
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM].into_iter().any(|errno| self.is_errno(errno))
    }

    /// No answer came within `deadline`.
    pub fn deadline(op: impl Into<Cow<'static, str>>, object: impl Into<String>, deadline: Duration) -> Self {
        Self::new(op, object, Cause::Deadline(deadline))
    }
}

impl From<rustix::io::Errno> for Cause {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Self {
        match rustix::io::Errno::from_io_error(&error) {
            Some(errno) => Self::Errno(errno),
            None => Self::Code(error.to_string()),
        }
    }
}

/// `EINVAL (Invalid argument)`; text and number where the name is not known here.
fn errno_text(errno: rustix::io::Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match KNOWN_ERRNO.iter().find(|(known, _)| *known == errno) {
        Some((_, name)) => format!("{name} ({})", text.split(" (os error").next().unwrap_or(&text)),
        None => text,
    }
}

/// The errnos that the kernel's graphics, media and dma-buf interfaces answer with.
const KNOWN_ERRNO: &[(rustix::io::Errno, &str)] = {
    use rustix::io::Errno as E;
    &[
        (E::ACCESS, "EACCES"),
        (E::AGAIN, "EAGAIN"),
        (E::BADF, "EBADF"),
        (E::BADFD, "EBADFD"),
        (E::BUSY, "EBUSY"),
        (E::EXIST, "EEXIST"),
        (E::FAULT, "EFAULT"),
        (E::INTR, "EINTR"),
        (E::INVAL, "EINVAL"),
        (E::IO, "EIO"),
        (E::MFILE, "EMFILE"),
        (E::NFILE, "ENFILE"),
        (E::NOBUFS, "ENOBUFS"),
        (E::NODEV, "ENODEV"),
        (E::NOENT, "ENOENT"),
        (E::NOMEM, "ENOMEM"),
        (E::NOSPC, "ENOSPC"),
        (E::NOSYS, "ENOSYS"),
        (E::NOTTY, "ENOTTY"),
        (E::NXIO, "ENXIO"),
        (E::OPNOTSUPP, "EOPNOTSUPP"),
        (E::OVERFLOW, "EOVERFLOW"),
        (E::PERM, "EPERM"),
        (E::PIPE, "EPIPE"),
        (E::RANGE, "ERANGE"),
        (E::REMOTE, "EREMOTE"),
        (E::ROFS, "EROFS"),
        (E::TIME, "ETIME"),
        (E::TIMEDOUT, "ETIMEDOUT"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_object_and_errno() {
        let error = Error::new("DMA_BUF_IOCTL_SYNC", "dma-buf (udmabuf, 4096 B)", rustix::io::Errno::NOTTY);
        assert!(error.to_string().starts_with("DMA_BUF_IOCTL_SYNC on dma-buf (udmabuf, 4096 B): ENOTTY ("), "{error}");
    }
}
