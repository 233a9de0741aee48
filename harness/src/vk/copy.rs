#![expect(unsafe_code, reason = "records copies")]
//! How a picture gets into an image and out of it by copying, through staging memory.

use ash::vk;

use super::commands::{Order, Submission};
use super::image::Image;
use super::ownership::{COPY_FROM, COPY_TO, Use};
use super::planes::Copies;
use super::semaphore::{Semaphore, files, raw};
use super::staging::Staging;
use crate::error::{Error, Result};
use crate::picture::Picture;

impl Image {
    /// Copies `picture` into the image.
    ///
    /// # Errors
    /// Size or format differ, the format is neither packed RGB nor YUV, the device cannot copy to such images, or the driver
    /// fails.
    #[doc(alias = "vkCmdCopyBufferToImage")]
    pub fn upload(&self, picture: &Picture) -> Result<()> {
        const OP: &str = "uploading a picture";
        if (picture.size, picture.fourcc) != (self.size(), self.fourcc()) {
            let why = format!("the picture is {} {}", picture.fourcc, picture.size);
            return Err(Error::input(OP, self.object(), why));
        }
        let copies = self.copies(OP)?;
        if !self.features().copy_to {
            return Err(Error::missing(OP, self.object(), "the device does not copy to such images"));
        }
        let staging = Staging::with_bytes(self.gpu(), &copies.packed(picture), vk::BufferUsageFlags::TRANSFER_SRC)?;
        let copy = |device: &ash::Device, commands| {
            // SAFETY: recording; the buffer holds a packed picture, the image has its size and is in this layout.
            unsafe {
                device.cmd_copy_buffer_to_image(commands, staging.raw(), self.raw(), COPY_TO.layout, &copies.regions);
            };
        };
        // SAFETY: a copy between a live buffer and a live image of this device.
        unsafe { self.acquired_for(COPY_TO, OP, copy) }
    }

    /// Copies the image's pixels out.
    ///
    /// # Errors
    /// The format is neither packed RGB nor YUV, the device cannot copy from such images, or the driver fails.
    #[doc(alias = "vkCmdCopyImageToBuffer")]
    pub fn read_back(&self) -> Result<Picture> {
        self.read_back_after(&[])
    }

    /// [`Self::read_back`], when all of `wait` are signalled.
    ///
    /// # Errors
    /// As there; also if the end does not come within 5 s, which abandons the device.
    pub fn read_back_after(&self, wait: &[&Semaphore]) -> Result<Picture> {
        const OP: &str = "reading back";
        let copies = self.copies(OP)?;
        if !self.features().copy_from {
            return Err(Error::missing(OP, self.object(), "the device does not copy from such images"));
        }
        let staging = Staging::for_read_back(self.gpu(), copies.bytes(), vk::BufferUsageFlags::TRANSFER_DST)?;
        let copy = |device: &ash::Device, commands| {
            // SAFETY: recording; the buffer has room for the packed picture, the image is in this layout.
            unsafe {
                device.cmd_copy_image_to_buffer(commands, self.raw(), COPY_FROM.layout, staging.raw(), &copies.regions);
            };
            let to_host = staging.to_host(COPY_TO);
            let to_host = vk::DependencyInfo::default().buffer_memory_barriers(std::slice::from_ref(&to_host));
            // SAFETY: recording; the buffer is live.
            unsafe { device.cmd_pipeline_barrier2(commands, &to_host) };
        };
        let (files, wait) = (files(wait), raw(wait));
        let order = Order { wait: &wait, signal: &[], files: &files };
        // SAFETY: a copy between a live image and a live buffer of this device, then a barrier; the semaphores live until
        // its end.
        unsafe { self.submit_acquired(COPY_FROM, OP, order, copy) }?.wait()?;
        Ok(copies.picture(self.fourcc(), self.size(), staging.bytes()?))
    }

    fn copies(&self, op: &'static str) -> Result<Copies> {
        Copies::of(self.fourcc(), self.size()).ok_or_else(|| {
            let why = format!("{} is neither a packed RGB format known here nor one of YUV", self.fourcc());
            Error::input(op, self.object(), why)
        })
    }

    /// As [`Self::submit_acquired`], and waits.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn acquired_for(
        &self,
        what: Use,
        op: &'static str,
        record: impl FnOnce(&ash::Device, vk::CommandBuffer),
    ) -> Result<()> {
        // SAFETY: the caller's contract is the one of this function.
        unsafe { self.submit_acquired(what, op, Order::default(), record) }?.wait()
    }

    /// Submits what `record` records, between an acquire of this image for `what` and its release.
    ///
    /// # Safety
    /// As [`Submission::submit`]; `record` uses the image as `what` says, in its layout.
    pub(super) unsafe fn submit_acquired(
        &self,
        what: Use,
        op: &'static str,
        order: Order<'_>,
        record: impl FnOnce(&ash::Device, vk::CommandBuffer),
    ) -> Result<Submission> {
        let ours = self.gpu().device().queue_family;
        let acquire = [self.acquire(what, op)?];
        let release = [self.owner().release_image(self.raw(), ours, what)];
        let record = |device: &ash::Device, commands| {
            let acquire = vk::DependencyInfo::default().image_memory_barriers(&acquire);
            // SAFETY: recording; the image is live and, since each call releases it, at rest.
            unsafe { device.cmd_pipeline_barrier2(commands, &acquire) };
            record(device, commands);
            let release = vk::DependencyInfo::default().image_memory_barriers(&release);
            // SAFETY: recording; the image is live and in the layout of `what`.
            unsafe { device.cmd_pipeline_barrier2(commands, &release) };
        };
        // SAFETY: barriers on a live image around what the caller vouches for.
        unsafe { Submission::submit(self.gpu().device(), op, self.object(), order, record) }
    }
}
