//! In which kinds of memory does a queue say that its buffers can be?
//!
//! Source: `VIDIOC_REQBUFS` and its table of capabilities in the kernel's V4L2 documentation.

use super::uapi::{self, RequestBuffers};
use super::{Memory, Queue, ioctl};
use crate::error::{Error, Result};

/// Kinds of memory of which a queue says whether it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    /// The bit that stands for `memory`, by its name.
    pub fn bit(memory: Memory) -> &'static str {
        match memory {
            Memory::Own => "V4L2_BUF_CAP_SUPPORTS_MMAP",
            Memory::Dmabuf => "V4L2_BUF_CAP_SUPPORTS_DMABUF",
        }
    }

    /// Whether buffers are said to be possible there.
    pub fn has(self, memory: Memory) -> bool {
        let bit = match memory {
            Memory::Own => uapi::BUF_CAP_SUPPORTS_MMAP,
            Memory::Dmabuf => uapi::BUF_CAP_SUPPORTS_DMABUF,
        };
        self.0 & bit != 0
    }
}

impl Queue {
    /// What the queue says; `None` if its driver says nothing. Its buffers are freed.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn says(&mut self) -> Result<Option<Kinds>> {
        self.release()?;
        let mut asked = RequestBuffers { buf_type: self.buf_type(), memory: uapi::MEMORY_MMAP, ..Default::default() };
        let refused = |errno| Error::new(ioctl::REQBUFS.name, format!("{self}, no buffers"), errno);
        ioctl::REQBUFS.ask(self.device(), &mut asked).map_err(refused)?;
        Ok((asked.capabilities != 0).then_some(Kinds(asked.capabilities)))
    }
}
