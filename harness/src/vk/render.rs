#![expect(unsafe_code, reason = "records draws")]
//! How a scene is rendered into an image, wherever its memory came from.

use std::sync::Arc;

use ash::vk;

use super::descriptors::{DescriptorSet, Resource, Through};
use super::draw::Ground;
use super::gpu::Gpu;
use super::image::{Image, ImageRequest, Layout};
use super::owned::Owned;
use super::ownership::AT_REST;
use super::pipeline::{Pipeline, Work};
use super::room::Room;
use super::staging::Staging;
use super::support::known_format;
use crate::error::{Error, Result};
use crate::scene::{Draw, Geometry, Scene, texture};

/// A draw call with everything it uses.
struct Prepared {
    pipeline: Arc<Pipeline>,
    texture: Option<(DescriptorSet, Texture)>,
    mesh: Option<(Staging, Staging)>,
    /// Vertices, or indices of a mesh.
    count: u32,
    instances: u32,
}

/// The scenes' texture, in an image of our own.
struct Texture {
    _view: Owned<vk::ImageView>,
    _sampler: Owned<vk::Sampler>,
    _image: Image,
}

impl Image {
    /// Renders `scene` over everything that was there.
    ///
    /// # Errors
    /// The device cannot draw to such images, or not with blending, or the driver fails.
    pub fn render(&self, scene: Scene) -> Result<()> {
        const OP: &str = "rendering a scene";
        let drawing = scene.drawing();
        if drawing.draws.iter().any(|draw| draw.shader.is_blended()) && !self.features().blend {
            return Err(Error::missing(OP, self.object(), "the device does not blend into such images"));
        }
        let format = known_format(self.gpu().device(), self.fourcc())?;
        let draws: Vec<Prepared> =
            drawing.draws.iter().map(|draw| Prepared::new(self.gpu(), draw, format)).collect::<Result<_>>()?;
        let record = |device: &ash::Device, commands| draws.iter().for_each(|draw| draw.record(device, commands));
        // SAFETY: draws with pipelines for this format, whose objects `draws` keeps alive.
        unsafe { self.draw_on(Ground::Colour(drawing.background), OP, record) }
    }
}

impl Prepared {
    fn new(gpu: &Gpu, draw: &Draw, format: vk::Format) -> Result<Self> {
        let pipeline = gpu.pipeline(Work::Scene(draw.shader), format)?;
        let texture = if draw.shader.is_textured() { Some(Texture::create(gpu, &pipeline)?) } else { None };
        Ok(match &draw.geometry {
            &Geometry::Generated { vertices, instances } => {
                Self { pipeline, texture, mesh: None, count: vertices, instances }
            }
            Geometry::Mesh { vertices, indices } => {
                let vertex_bytes: Vec<u8> = vertices.iter().flat_map(|vertex| vertex.bytes()).collect();
                let index_bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_ne_bytes()).collect();
                let vertices = Staging::with_bytes(gpu, &vertex_bytes, vk::BufferUsageFlags::VERTEX_BUFFER)?;
                let buffer = Staging::with_bytes(gpu, &index_bytes, vk::BufferUsageFlags::INDEX_BUFFER)?;
                let mesh = Some((vertices, buffer));
                Self { pipeline, texture, mesh, count: indices.len() as u32, instances: 1 }
            }
        })
    }

    /// Records the draw, inside a rendering.
    fn record(&self, device: &ash::Device, commands: vk::CommandBuffer) {
        let point = vk::PipelineBindPoint::GRAPHICS;
        // SAFETY: recording; the pipeline is live and made for the attachment's format.
        unsafe { device.cmd_bind_pipeline(commands, point, self.pipeline.raw.raw()) };
        if let Some((set, _)) = &self.texture {
            let layout = self.pipeline.layout.raw();
            // SAFETY: recording; the set is live and of this layout.
            unsafe { device.cmd_bind_descriptor_sets(commands, point, layout, 0, &[set.raw()], &[]) };
        }
        let Some((vertices, indices)) = &self.mesh else {
            // SAFETY: recording, inside a rendering; all state that the pipeline needs is set.
            unsafe { device.cmd_draw(commands, self.count, self.instances, 0, 0) };
            return;
        };
        // SAFETY: recording; the buffer is live and holds vertices as the pipeline reads them.
        unsafe { device.cmd_bind_vertex_buffers(commands, 0, &[vertices.raw()], &[0]) };
        // SAFETY: recording; the buffer is live and holds 16-bit indices.
        unsafe { device.cmd_bind_index_buffer(commands, indices.raw(), 0, vk::IndexType::UINT16) };
        // SAFETY: recording, inside a rendering; as many indices as the buffer holds, each of a vertex that is there.
        unsafe { device.cmd_draw_indexed(commands, self.count, self.instances, 0, 0, 0) };
    }
}

impl Texture {
    /// The texture, ready to be sampled, in a descriptor set for `pipeline`.
    fn create(gpu: &Gpu, pipeline: &Pipeline) -> Result<(DescriptorSet, Self)> {
        let picture = texture();
        let image = gpu.create_image(&ImageRequest {
            size: picture.size,
            fourcc: picture.fourcc,
            layout: Layout::Optimal,
            room: Room::SubAllocated { before: 0, after: 0 },
            export: Vec::new(),
        })?;
        image.upload(&picture)?;
        let view = image.view(Through::Sampler)?;
        let sampler = gpu.sampler(vk::Filter::LINEAR)?;
        let set = gpu.descriptor_set(pipeline, &[Resource::View(&view, AT_REST), Resource::Sampler(&sampler)])?;
        Ok((set, Self { _view: view, _sampler: sampler, _image: image }))
    }
}
