//! Who owns an image or buffer between two calls, and the barriers that acquire it and release it again.
//!
//! Pure: makes barriers, records none. The rules are in Vulkan's "Queue Family Ownership Transfer".

use ash::vk;

/// Who may use a resource while no call of ours runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Only this device.
    Us,
    /// Any device, in Vulkan or not: `VK_QUEUE_FAMILY_FOREIGN_EXT`.
    Foreign,
    /// Other Vulkan instances on the same device and driver: `VK_QUEUE_FAMILY_EXTERNAL`.
    External,
}

/// What a call does with an image or buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) stage: vk::PipelineStageFlags2,
    pub(super) access: vk::AccessFlags2,
    /// For images.
    pub(super) layout: vk::ImageLayout,
    /// Whether nothing is left of what was there before.
    pub(super) covers: bool,
}

/// Copied from.
pub(super) const COPY_FROM: Use = Use {
    stage: vk::PipelineStageFlags2::COPY,
    access: vk::AccessFlags2::TRANSFER_READ,
    layout: vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
    covers: false,
};

/// Copied to.
pub(super) const COPY_TO: Use = Use {
    stage: vk::PipelineStageFlags2::COPY,
    access: vk::AccessFlags2::TRANSFER_WRITE,
    layout: vk::ImageLayout::TRANSFER_DST_OPTIMAL,
    covers: true,
};

/// Drawn into.
pub(super) const DRAW_TO: Use = Use {
    stage: vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT,
    access: vk::AccessFlags2::from_raw(
        vk::AccessFlags2::COLOR_ATTACHMENT_READ.as_raw() | vk::AccessFlags2::COLOR_ATTACHMENT_WRITE.as_raw(),
    ),
    layout: vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL,
    covers: true,
};

/// Sampled by a compute shader.
pub(super) const SAMPLE_IN_COMPUTE: Use = Use {
    stage: vk::PipelineStageFlags2::COMPUTE_SHADER,
    access: vk::AccessFlags2::SHADER_SAMPLED_READ,
    layout: vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
    covers: false,
};

/// Written by a compute shader as a storage buffer.
pub(super) const COMPUTE_TO: Use = Use {
    stage: vk::PipelineStageFlags2::COMPUTE_SHADER,
    access: vk::AccessFlags2::SHADER_STORAGE_WRITE,
    layout: vk::ImageLayout::GENERAL,
    covers: true,
};

/// The layout of every image between two calls, the only one that others can know.
pub(super) const AT_REST: vk::ImageLayout = vk::ImageLayout::GENERAL;

impl Owner {
    /// Queue families of an acquire: from whom, to whom.
    fn families(self, ours: u32) -> (u32, u32) {
        match self {
            Self::Us => (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED),
            Self::Foreign => (vk::QUEUE_FAMILY_FOREIGN_EXT, ours),
            Self::External => (vk::QUEUE_FAMILY_EXTERNAL, ours),
        }
    }

    /// What an acquire waits for: nothing of ours was in flight, so the fence of the last call or the importer's own
    /// wait has ordered everything, except that our own writes must be made visible if nobody else had the image.
    fn earlier(self) -> (vk::PipelineStageFlags2, vk::AccessFlags2) {
        match self {
            Self::Us => (vk::PipelineStageFlags2::ALL_COMMANDS, vk::AccessFlags2::MEMORY_WRITE),
            Self::Foreign | Self::External => (vk::PipelineStageFlags2::ALL_COMMANDS, vk::AccessFlags2::NONE),
        }
    }

    /// What a release makes way for; a release to others is made visible by them.
    fn later(self) -> (vk::PipelineStageFlags2, vk::AccessFlags2) {
        match self {
            Self::Us => {
                (vk::PipelineStageFlags2::ALL_COMMANDS, vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE)
            }
            Self::Foreign | Self::External => (vk::PipelineStageFlags2::ALL_COMMANDS, vk::AccessFlags2::NONE),
        }
    }

    /// Takes `image` from its owner for `what`, contents preserved.
    pub(super) fn acquire_image(self, image: vk::Image, ours: u32, what: Use) -> vk::ImageMemoryBarrier2<'static> {
        let (from, to) = self.families(ours);
        let (stage, access) = self.earlier();
        image_barrier(image, (stage, access, AT_REST), (what.stage, what.access, what.layout), (from, to))
    }

    /// Gives `image` back to its owner after `what`.
    pub(super) fn release_image(self, image: vk::Image, ours: u32, what: Use) -> vk::ImageMemoryBarrier2<'static> {
        let (from, to) = self.families(ours);
        let (stage, access) = self.later();
        image_barrier(image, (what.stage, what.access, what.layout), (stage, access, AT_REST), (to, from))
    }

    /// Takes a new `image`, whose contents are undefined, for `what`, which covers it.
    pub(super) fn take_new_image(image: vk::Image, what: Use) -> vk::ImageMemoryBarrier2<'static> {
        let ignored = (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED);
        let undefined = (vk::PipelineStageFlags2::NONE, vk::AccessFlags2::NONE, vk::ImageLayout::UNDEFINED);
        image_barrier(image, undefined, (what.stage, what.access, what.layout), ignored)
    }

    /// Brings a new `image`, whose contents are undefined, into the layout at rest and gives it to its owner.
    ///
    /// These are two barriers, to be recorded one after the other: the second is the release, which none of our
    /// contents-preserving acquires would match otherwise.
    pub(super) fn present_new_image(self, image: vk::Image, ours: u32) -> [vk::ImageMemoryBarrier2<'static>; 2] {
        let all = vk::PipelineStageFlags2::ALL_COMMANDS;
        let none = vk::AccessFlags2::NONE;
        let at_rest = Use { stage: all, access: vk::AccessFlags2::MEMORY_WRITE, layout: AT_REST, covers: true };
        let ignored = (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED);
        let undefined = (vk::PipelineStageFlags2::NONE, none, vk::ImageLayout::UNDEFINED);
        [
            image_barrier(image, undefined, (all, at_rest.access, AT_REST), ignored),
            self.release_image(image, ours, at_rest),
        ]
    }

    /// Takes `buffer` from its owner for `what`.
    pub(super) fn acquire_buffer(self, buffer: vk::Buffer, ours: u32, what: Use) -> vk::BufferMemoryBarrier2<'static> {
        let (from, to) = self.families(ours);
        let (stage, access) = self.earlier();
        buffer_barrier(buffer, (stage, access), (what.stage, what.access), (from, to))
    }

    /// Gives `buffer` back to its owner after `what`.
    pub(super) fn release_buffer(self, buffer: vk::Buffer, ours: u32, what: Use) -> vk::BufferMemoryBarrier2<'static> {
        let (from, to) = self.families(ours);
        let (stage, access) = self.later();
        buffer_barrier(buffer, (what.stage, what.access), (stage, access), (to, from))
    }
}

/// Makes what `what` wrote to `buffer` visible to the CPU, once the submission is waited for.
pub(super) fn to_host(buffer: vk::Buffer, what: Use) -> vk::BufferMemoryBarrier2<'static> {
    let host = (vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_READ);
    let ignored = (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED);
    buffer_barrier(buffer, (what.stage, what.access), host, ignored)
}

type Scope = (vk::PipelineStageFlags2, vk::AccessFlags2);
type ImageScope = (vk::PipelineStageFlags2, vk::AccessFlags2, vk::ImageLayout);

fn image_barrier(
    image: vk::Image,
    before: ImageScope,
    after: ImageScope,
    (from, to): (u32, u32),
) -> vk::ImageMemoryBarrier2<'static> {
    vk::ImageMemoryBarrier2::default()
        .src_stage_mask(before.0)
        .src_access_mask(before.1)
        .old_layout(before.2)
        .dst_stage_mask(after.0)
        .dst_access_mask(after.1)
        .new_layout(after.2)
        .src_queue_family_index(from)
        .dst_queue_family_index(to)
        .image(image)
        .subresource_range(WHOLE_IMAGE)
}

fn buffer_barrier(
    buffer: vk::Buffer,
    before: Scope,
    after: Scope,
    (from, to): (u32, u32),
) -> vk::BufferMemoryBarrier2<'static> {
    vk::BufferMemoryBarrier2::default()
        .src_stage_mask(before.0)
        .src_access_mask(before.1)
        .dst_stage_mask(after.0)
        .dst_access_mask(after.1)
        .src_queue_family_index(from)
        .dst_queue_family_index(to)
        .buffer(buffer)
        .size(vk::WHOLE_SIZE)
}

/// The one level and layer that our images have.
pub(super) const WHOLE_IMAGE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: 1,
    base_array_layer: 0,
    layer_count: 1,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acquired_from_others_keeps_its_contents_and_goes_back_to_them() {
        for (owner, family) in
            [(Owner::Foreign, vk::QUEUE_FAMILY_FOREIGN_EXT), (Owner::External, vk::QUEUE_FAMILY_EXTERNAL)]
        {
            let acquire = owner.acquire_image(vk::Image::null(), 3, DRAW_TO);
            assert_eq!((acquire.src_queue_family_index, acquire.dst_queue_family_index), (family, 3));
            assert_eq!(acquire.old_layout, vk::ImageLayout::GENERAL);
            let release = owner.release_image(vk::Image::null(), 3, DRAW_TO);
            assert_eq!((release.src_queue_family_index, release.dst_queue_family_index), (3, family));
            assert_eq!((release.old_layout, release.new_layout), (acquire.new_layout, acquire.old_layout));
            assert_eq!(release.src_access_mask, DRAW_TO.access);
        }
    }

    #[test]
    fn only_a_new_image_starts_undefined() {
        let [first, second] = Owner::Foreign.present_new_image(vk::Image::null(), 0);
        assert_eq!(first.old_layout, vk::ImageLayout::UNDEFINED);
        assert_eq!(Owner::take_new_image(vk::Image::null(), DRAW_TO).old_layout, vk::ImageLayout::UNDEFINED);
        assert_eq!((second.old_layout, second.new_layout), (first.new_layout, AT_REST));
        assert_eq!(second.dst_queue_family_index, vk::QUEUE_FAMILY_FOREIGN_EXT);
    }
}
