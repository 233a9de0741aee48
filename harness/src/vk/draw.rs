#![expect(unsafe_code, reason = "records draws and dispatches")]
//! How shaders write an image and look at it: the stamped pattern drawn, every pixel sampled.

use std::sync::Arc;

use ash::vk;

use super::commands::{Order, Submission};
use super::descriptors::{Resource, Through};
use super::image::Image;
use super::ownership::{COMPUTE_TO, DRAW_TO, SAMPLE_IN_COMPUTE};
use super::pipeline::{Pipeline, Work};
use super::staging::Staging;
use super::support::known_format;
use crate::error::{Error, Result};
use crate::format::Numeric;
use crate::frame::Size;
use crate::picture::Picture;
use crate::texel;

/// What a draw begins with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ground {
    /// Nothing: the draw covers every pixel.
    Covered,
    /// One colour: R, G, B, A.
    Colour([f32; 4]),
}

/// The draw call for the pattern on one image.
pub(super) struct PatternDraw {
    pub(super) pipeline: Arc<Pipeline>,
    size: Size,
    is_float16: bool,
    /// Width of R, G, B, A.
    bits: [u32; 4],
}

impl PatternDraw {
    /// Records the draw, inside a rendering to that image.
    pub(super) fn record(&self, device: &ash::Device, commands: vk::CommandBuffer, stamp: u32) {
        let [r, g, b, a] = self.bits;
        let immediates = [self.size.width, self.size.height, stamp, u32::from(self.is_float16), r, g, b, a];
        let immediates: Vec<u8> = immediates.into_iter().flat_map(u32::to_ne_bytes).collect();
        // SAFETY: recording; the pipeline is live and made for this attachment's format.
        unsafe { device.cmd_bind_pipeline(commands, vk::PipelineBindPoint::GRAPHICS, self.pipeline.raw.raw()) };
        let layout = self.pipeline.layout.raw();
        // SAFETY: recording; the layout has these 32 bytes.
        unsafe { device.cmd_push_constants(commands, layout, vk::ShaderStageFlags::ALL, 0, &immediates) };
        // SAFETY: recording, inside a rendering; all dynamic state is set.
        unsafe { device.cmd_draw(commands, 3, 1, 0, 0) };
    }
}

/// Size of a workgroup of `shaders/sample.wgsl` in pixels.
const SAMPLE_GROUP: u32 = 8;

impl Image {
    /// Draws the [pattern](crate::pattern) with a shader, exactly.
    ///
    /// # Errors
    /// The format is not packed RGB, the device cannot draw to such images, or the driver fails.
    #[doc(alias = "vkCmdDraw")]
    pub fn draw_pattern(&self, stamp: u32) -> Result<()> {
        let pattern = self.pattern_draw()?;
        let draw = |device: &ash::Device, commands| pattern.record(device, commands, stamp);
        // SAFETY: a draw with a pipeline for this format, which `pattern` keeps alive.
        unsafe { self.draw_on(Ground::Covered, "drawing the pattern", draw) }
    }

    /// What it takes to draw the pattern.
    pub(super) fn pattern_draw(&self) -> Result<PatternDraw> {
        let Some(pixel) = self.fourcc().pixel() else {
            let why = format!("{} is not a packed RGB format known here", self.fourcc());
            return Err(Error::input("drawing the pattern", self.object(), why));
        };
        let pipeline = self.gpu().pipeline(Work::Pattern, known_format(self.gpu().device(), self.fourcc())?)?;
        let is_float16 = pixel.numeric == Numeric::Float16;
        Ok(PatternDraw { pipeline, size: self.size(), is_float16, bits: texel::widths(pixel) })
    }

    /// As [`Self::submit_draw`], and waits.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn draw_on(
        &self,
        ground: Ground,
        op: &'static str,
        draw: impl FnOnce(&ash::Device, vk::CommandBuffer),
    ) -> Result<()> {
        // SAFETY: the caller's contract is the one of this function.
        unsafe { self.submit_draw(ground, op, Order::default(), draw) }?.wait()
    }

    /// Records a rendering to the whole image around `draw`, and submits it.
    ///
    /// # Safety
    /// `draw` records valid draws for this attachment, on objects that live until the submission's end, as the image does. As
    /// [`Submission::submit`] for `order`.
    pub(super) unsafe fn submit_draw(
        &self,
        ground: Ground,
        op: &'static str,
        order: Order<'_>,
        draw: impl FnOnce(&ash::Device, vk::CommandBuffer),
    ) -> Result<Submission> {
        if !self.features().draw {
            return Err(Error::missing(op, self.object(), "the device does not draw to such images"));
        }
        let view = self.as_attachment()?;
        let attachment = vk::RenderingAttachmentInfo::default()
            .image_view(view.raw())
            .image_layout(DRAW_TO.layout)
            .store_op(vk::AttachmentStoreOp::STORE);
        let attachments = [match ground {
            Ground::Covered => attachment.load_op(vk::AttachmentLoadOp::DONT_CARE),
            Ground::Colour(float32) => attachment
                .load_op(vk::AttachmentLoadOp::CLEAR)
                .clear_value(vk::ClearValue { color: vk::ClearColorValue { float32 } }),
        }];
        let (width, height) = (self.size().width, self.size().height);
        let area = vk::Rect2D { offset: vk::Offset2D::default(), extent: vk::Extent2D { width, height } };
        let rendering = vk::RenderingInfo::default().render_area(area).layer_count(1).color_attachments(&attachments);
        let viewport =
            vk::Viewport { width: width as f32, height: height as f32, max_depth: 1.0, ..Default::default() };
        let record = |device: &ash::Device, commands| {
            // SAFETY: recording; the view is live, its image in the layout that is stated.
            unsafe { device.cmd_begin_rendering(commands, &rendering) };
            // SAFETY: recording.
            unsafe { device.cmd_set_viewport(commands, 0, &[viewport]) };
            // SAFETY: recording.
            unsafe { device.cmd_set_scissor(commands, 0, &[area]) };
            draw(device, commands);
            // SAFETY: the rendering was begun above.
            unsafe { device.cmd_end_rendering(commands) };
        };
        // SAFETY: a complete rendering to this image, which keeps the view.
        unsafe { self.submit_acquired(DRAW_TO, op, order, record) }
    }

    /// Every pixel as a sampler shows it: R, G, B, A, rows from the top.
    ///
    /// Components that the format lacks, and padding, read as they do for any shader: 0 for colour, 1 for alpha.
    ///
    /// # Errors
    /// The device cannot sample such images, or the driver fails.
    pub fn sample(&self) -> Result<Vec<[f32; 4]>> {
        const OP: &str = "sampling";
        if !self.features().sample {
            return Err(Error::missing(OP, self.object(), "the device does not sample such images"));
        }
        let gpu = self.gpu();
        let pipeline = gpu.pipeline(Work::Sample, vk::Format::UNDEFINED)?;
        let view = self.view(Through::Sampler)?;
        let sampler = gpu.sampler(vk::Filter::NEAREST)?;
        let (width, height) = (self.size().width, self.size().height);
        let bytes = u64::from(width) * u64::from(height) * 16;
        let staging = Staging::for_read_back(gpu, bytes, vk::BufferUsageFlags::STORAGE_BUFFER)?;
        let resources = [
            Resource::View(&view, SAMPLE_IN_COMPUTE.layout),
            Resource::Sampler(&sampler),
            Resource::Buffer(staging.raw()),
        ];
        let set = gpu.descriptor_set(&pipeline, &resources)?;
        let immediates: Vec<u8> = [width, height].into_iter().flat_map(u32::to_ne_bytes).collect();
        let groups = (width.div_ceil(SAMPLE_GROUP), height.div_ceil(SAMPLE_GROUP));
        let record = |device: &ash::Device, commands| {
            let point = vk::PipelineBindPoint::COMPUTE;
            let layout = pipeline.layout.raw();
            // SAFETY: recording; the pipeline is live.
            unsafe { device.cmd_bind_pipeline(commands, point, pipeline.raw.raw()) };
            // SAFETY: recording; the set is live and of this layout.
            unsafe { device.cmd_bind_descriptor_sets(commands, point, layout, 0, &[set.raw()], &[]) };
            // SAFETY: recording; the layout has these 8 bytes.
            unsafe { device.cmd_push_constants(commands, layout, vk::ShaderStageFlags::ALL, 0, &immediates) };
            // SAFETY: recording; everything the shader uses is bound, and it stays inside image and buffer.
            unsafe { device.cmd_dispatch(commands, groups.0, groups.1, 1) };
            let to_host = staging.to_host(COMPUTE_TO);
            let to_host = vk::DependencyInfo::default().buffer_memory_barriers(std::slice::from_ref(&to_host));
            // SAFETY: recording; the buffer is live.
            unsafe { device.cmd_pipeline_barrier2(commands, &to_host) };
        };
        // SAFETY: a dispatch on live objects of this device, which samples this image in this layout.
        unsafe { self.acquired_for(SAMPLE_IN_COMPUTE, OP, record) }?;
        Ok(texel::colours(staging.bytes()?))
    }

    /// What a sampler shows, as pixels of the image's own format; padding is all ones.
    ///
    /// # Errors
    /// As [`Self::sample`]; also if the format is not packed RGB.
    pub fn sampled_picture(&self) -> Result<Picture> {
        texel::picture(&self.sample()?, self.fourcc(), self.size())
    }
}
