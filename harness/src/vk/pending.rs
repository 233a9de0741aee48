#![expect(unsafe_code, reason = "submits draws")]
//! Work whose end is not waited for at once: ordered with other devices by `sync_file`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::commands::{Order, Submission};
use super::draw::Ground;
use super::image::Image;
use super::pipeline::Pipeline;
use super::semaphore::{Semaphore, files, raw};
use crate::error::{Error, Result};
use crate::fence::SyncFile;

/// A drawing under way. Dropping it waits for its end, at most 5 s or what [`Self::within`] says, or abandons the device.
pub struct Pending<'a> {
    /// Waited for before what it uses goes.
    submission: Submission,
    end: Semaphore,
    _begin: Option<Semaphore>,
    _pipeline: Arc<Pipeline>,
    /// Nobody else may use it meanwhile.
    _image: &'a mut Image,
}

impl Image {
    /// Submits a drawing of the [pattern](crate::pattern) for each of `stamps`, one over the other, and returns at
    /// once.
    ///
    /// With `after` the drawing begins when that is signalled. Many stamps make slow work, and the picture shows the
    /// last.
    ///
    /// # Errors
    /// No stamp; the device cannot draw to such images, or order them by `sync_file`; or the driver fails.
    #[doc(alias = "vkImportSemaphoreFdKHR")]
    pub fn draw_patterns_after(&mut self, stamps: Range<u32>, after: Option<SyncFile>) -> Result<Pending<'_>> {
        const OP: &str = "drawing patterns";
        if stamps.is_empty() {
            return Err(Error::input(OP, self.object(), "no stamp; at least one would be valid"));
        }
        let gpu = self.gpu().clone();
        let begin = after.map(|file| {
            let begin = gpu.semaphore()?;
            begin.import(Some(file))?;
            Ok(begin)
        });
        let begin = begin.transpose()?;
        let end = gpu.exportable_semaphore()?;
        let begins: Vec<&Semaphore> = begin.iter().collect();
        let (files, wait) = (files(&begins), raw(&begins));
        let order = Order { wait: &wait, signal: &[(end.raw(), 0)], files: &files };
        let pattern = self.pattern_draw()?;
        let draw = |device: &ash::Device, commands| stamps.for_each(|stamp| pattern.record(device, commands, stamp));
        // SAFETY: draws with a pipeline for this format; `Pending` keeps it, the image and the semaphores until the end.
        let submission = unsafe { self.submit_draw(Ground::Covered, OP, order, draw) }?;
        Ok(Pending { submission, end, _begin: begin, _pipeline: pattern.pipeline, _image: self })
    }

    /// Draws the [pattern](crate::pattern) when all of `wait` are signalled, and waits for the end.
    ///
    /// # Errors
    /// As [`Self::draw_pattern`]; also if the end does not come within 5 s, which abandons the device.
    pub fn draw_pattern_after(&self, stamp: u32, wait: &[&Semaphore]) -> Result<()> {
        let (files, wait) = (files(wait), raw(wait));
        let order = Order { wait: &wait, signal: &[], files: &files };
        let pattern = self.pattern_draw()?;
        let draw = |device: &ash::Device, commands| pattern.record(device, commands, stamp);
        // SAFETY: a draw with a pipeline for this format, which `pattern` keeps alive; image and semaphores live until
        // the end.
        unsafe { self.submit_draw(Ground::Covered, "drawing the pattern", order, draw) }?.wait()
    }
}

impl Pending<'_> {
    /// The drawing may take so long, and not 5 s: much of it does on a machine with other things to do.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.submission.may_take(deadline);
        self
    }

    /// Whether the drawing is over.
    ///
    /// # Errors
    /// The device is lost.
    pub fn is_done(&self) -> Result<bool> {
        self.submission.is_done()
    }

    /// Waits until the drawing is over.
    ///
    /// # Errors
    /// It misses its deadline, which abandons the device, or the device is lost.
    pub fn wait(self) -> Result<()> {
        self.submission.wait()
    }

    /// A `sync_file` that is signalled at the drawing's end; `None` if the driver says that this has already come.
    ///
    /// Only once for each drawing: the export uses the semaphore's signal up.
    ///
    /// # Errors
    /// The driver fails, or answers what no driver may answer.
    #[doc(alias = "vkGetSemaphoreFdKHR")]
    pub fn export_sync_file(&self) -> Result<Option<SyncFile>> {
        self.end.export()
    }
}
