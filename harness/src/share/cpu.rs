//! A buffer as the CPU has it mapped: the same addresses for as long as it lives, whatever storage is behind them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::buffer::{Attachment, Mapping};
use super::core::Access;
use super::refused::ShareError;
use crate::dmabuf::{self, Dmabuf, Window};
use crate::error::Result;
use crate::frame::Frame;

/// A buffer mapped for the CPU. It follows the storage where it moves to.
///
/// Stores belong between [`Self::access`] and the end of its result, as `DMA_BUF_IOCTL_SYNC` asks of every program. While
/// storage moves, a store outside of that is a SIGSEGV, and not lost. Loads are right at any time.
pub struct CpuMapping {
    region: Mutex<dmabuf::Mapping>,
    window: Window,
    frame: Frame,
    attachment: Attachment,
}

/// Access by the CPU, bracketed by `DMA_BUF_IOCTL_SYNC`. Storage stays where it is meanwhile.
pub struct CpuAccess<'m> {
    mapping: &'m CpuMapping,
    granted: Mapping,
}

impl CpuMapping {
    pub(super) fn new(region: dmabuf::Mapping, frame: Frame, attachment: Attachment) -> Self {
        Self { window: region.window(), region: Mutex::new(region), frame, attachment }
    }

    /// Begins an access; waits while storage moves.
    ///
    /// # Errors
    /// As [`Attachment::map`].
    #[track_caller]
    pub fn access(&self, access: Access) -> Result<CpuAccess<'_>, ShareError> {
        Ok(CpuAccess { granted: self.attachment.map(access)?, mapping: self })
    }

    /// What the addresses from byte `at` on show at this moment, without a bracket: as a program sees it that kept a pointer.
    ///
    /// # Errors
    /// The range reaches outside.
    pub fn peek(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.window.peek(at, bytes)
    }

    /// Where the frame lies; the same for as long as this lives.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// How many bytes are mapped.
    pub fn length(&self) -> u64 {
        self.region().length()
    }

    pub(super) fn set_writable(&self, writable: bool) -> Result<()> {
        self.region().set_writable(writable)
    }

    pub(super) fn show(&self, dmabuf: &Dmabuf) -> Result<()> {
        self.region().show(dmabuf.try_clone()?)
    }

    fn region(&self) -> MutexGuard<'_, dmabuf::Mapping> {
        self.region.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CpuAccess<'_> {
    /// Fills `bytes` from byte `at` on.
    ///
    /// # Errors
    /// The range reaches outside; `DMA_BUF_IOCTL_SYNC` fails.
    pub fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.mapping.region().read_into(at, bytes)
    }

    /// Writes `bytes` to where they belong, from byte `at` on.
    ///
    /// # Errors
    /// As [`Self::read_into`].
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.mapping.region().write(at, bytes)
    }

    /// Which storage it is: see [`Mapping::generation`].
    pub fn generation(&self) -> u64 {
        self.granted.generation()
    }
}
