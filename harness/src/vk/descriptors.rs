#![expect(unsafe_code, reason = "creates views, samplers and descriptor sets")]
//! What a shader sees: views, samplers, and the descriptor set that names them.

use ash::vk;

use super::error::failed;
use super::format::has_padding;
use super::gpu::Gpu;
use super::image::Image;
use super::owned::Owned;
use super::ownership::WHOLE_IMAGE;
use super::pipeline::Pipeline;
use super::support::known_format;
use crate::error::Result;

/// Who looks through a view.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    /// A draw: components must be as they are.
    Attachment,
    /// A sampler: padding reads as one.
    Sampler,
}

impl Image {
    /// The view of the whole image through which it is drawn, the same for each drawing.
    pub(super) fn as_attachment(&self) -> Result<&Owned<vk::ImageView>> {
        match self.attachment.get() {
            Some(view) => Ok(view),
            None => {
                let view = self.view(Through::Attachment)?;
                Ok(self.attachment.get_or_init(|| view))
            }
        }
    }

    /// A view of the whole image.
    pub(super) fn view(&self, through: Through) -> Result<Owned<vk::ImageView>> {
        let device = self.gpu().device();
        let alpha = if through == Through::Sampler && has_padding(self.fourcc()) {
            vk::ComponentSwizzle::ONE
        } else {
            vk::ComponentSwizzle::IDENTITY
        };
        let info = vk::ImageViewCreateInfo::default()
            .image(self.raw())
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(known_format(device, self.fourcc())?)
            .components(vk::ComponentMapping { a: alpha, ..Default::default() })
            .subresource_range(WHOLE_IMAGE);
        // SAFETY: the image is live, bound, and of this format; the view is dropped before the image is, and a view for a
        // sampler before the call that made it returns.
        let raw = unsafe { device.create_image_view(&info, None) }
            .map_err(|code| failed("vkCreateImageView", self.object(), code))?;
        // SAFETY: just created, owned by nobody else.
        Ok(unsafe { Owned::new(device, raw) })
    }
}

/// One binding of a descriptor set.
#[derive(Clone, Copy)]
pub(super) enum Resource<'a> {
    /// A sampled image, and the layout it will be in.
    View(&'a Owned<vk::ImageView>, vk::ImageLayout),
    Sampler(&'a Owned<vk::Sampler>),
    /// A storage buffer, all of it.
    Buffer(vk::Buffer),
}

/// A descriptor set, with the pool of its own that it comes from.
pub(super) struct DescriptorSet {
    raw: vk::DescriptorSet,
    _pool: Owned<vk::DescriptorPool>,
}

impl DescriptorSet {
    /// The handle; valid as long as `self`.
    pub(super) fn raw(&self) -> vk::DescriptorSet {
        self.raw
    }
}

impl Gpu {
    /// A sampler without mipmaps that stays inside the image.
    pub(super) fn sampler(&self, filter: vk::Filter) -> Result<Owned<vk::Sampler>> {
        let clamp = vk::SamplerAddressMode::CLAMP_TO_EDGE;
        let info = vk::SamplerCreateInfo::default()
            .mag_filter(filter)
            .min_filter(filter)
            .address_mode_u(clamp)
            .address_mode_v(clamp)
            .address_mode_w(clamp);
        let device = self.device();
        // SAFETY: `info` lives during the call.
        let raw = unsafe { device.create_sampler(&info, None) }
            .map_err(|code| failed("vkCreateSampler", device.object("a sampler"), code))?;
        // SAFETY: just created, owned by nobody else.
        Ok(unsafe { Owned::new(device, raw) })
    }

    /// A set for `pipeline` that names `resources`, in the order of its bindings.
    pub(super) fn descriptor_set(&self, pipeline: &Pipeline, resources: &[Resource<'_>]) -> Result<DescriptorSet> {
        let device = self.device();
        let object = || device.object("a descriptor set");
        let sizes: Vec<_> = pipeline
            .bindings
            .iter()
            .map(|&kind| vk::DescriptorPoolSize::default().ty(kind).descriptor_count(1))
            .collect();
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes);
        // SAFETY: `info` lives during the call.
        let pool = unsafe { device.create_descriptor_pool(&info, None) }
            .map_err(|code| failed("vkCreateDescriptorPool", object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let pool = unsafe { Owned::new(device, pool) };
        let layouts = [pipeline.set.raw()];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool.raw()).set_layouts(&layouts);
        // SAFETY: pool and layout are live, and the pool has room for one set of this layout.
        let sets = unsafe { device.allocate_descriptor_sets(&info) }
            .map_err(|code| failed("vkAllocateDescriptorSets", object(), code))?;

        let images: Vec<_> = resources
            .iter()
            .map(|resource| match resource {
                Resource::View(view, layout) => {
                    [vk::DescriptorImageInfo::default().image_view(view.raw()).image_layout(*layout)]
                }
                Resource::Sampler(sampler) => [vk::DescriptorImageInfo::default().sampler(sampler.raw())],
                Resource::Buffer(_) => [vk::DescriptorImageInfo::default()],
            })
            .collect();
        let buffers: Vec<_> = resources
            .iter()
            .map(|resource| match resource {
                Resource::Buffer(buffer) => [vk::DescriptorBufferInfo::default().buffer(*buffer).range(vk::WHOLE_SIZE)],
                _ => [vk::DescriptorBufferInfo::default()],
            })
            .collect();
        let writes: Vec<_> = (0u32..)
            .zip(pipeline.bindings)
            .zip(resources.iter().zip(images.iter().zip(&buffers)))
            .map(|((n, &kind), (resource, (image, buffer)))| {
                let write = vk::WriteDescriptorSet::default().dst_set(sets[0]).dst_binding(n).descriptor_type(kind);
                match resource {
                    Resource::Buffer(_) => write.buffer_info(buffer),
                    _ => write.image_info(image),
                }
            })
            .collect();
        // SAFETY: the set is not in use; the resources are live and of the bindings' types.
        unsafe { device.update_descriptor_sets(&writes, &[]) };
        Ok(DescriptorSet { raw: sets[0], _pool: pool })
    }
}
