//! What is given to others and taken back: releases and acquires of Vulkan, and caches between those who share a buffer.

use super::Class::{Coherency, Layout, QueueFamily};
use super::Fault;
use super::Oracle::{Fences, Layout as Layouts, Pixels};
use super::Seam::VulkanB;
use super::kernel::{fault, library};
use super::vulkan::fault as driver;

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "an image that the driver lays out is told to have rows 64 B further apart than it has, and size and memory for them",
        trigger: "tiling DRM_FORMAT_MODIFIER without an explicit layout, or LINEAR with external memory",
        modelled_on: "Mesa c10808441cc (radv), where the pitch that is told is not the one that the hardware has",
        seen_by: &[Pixels, Layouts],
        names: &["cpu does not see the target…like a row pitch 64 B too large…vkGetImageSubresourceLayout of gpu_a"],
        ..driver("pitch-and-size-too-large", Layout)
    },
    Fault {
        what: "what a command buffer wrote that gives to VK_QUEUE_FAMILY_EXTERNAL reaches the memory at the next submission",
        trigger: "a release to EXTERNAL, in a submission that waits for no semaphore",
        modelled_on: "Mesa 25.0.2 (zink), where a release was followed by no barrier and older frames flickered",
        seen_by: &[Pixels],
        names: &["a release to EXTERNAL that takes effect with the next submission"],
        ..driver("external-release-late", QueueFamily)
    },
    Fault {
        what: "what a command buffer wrote into a buffer that it gives to VK_QUEUE_FAMILY_FOREIGN_EXT reaches the dma-buf at the next submission",
        trigger: "a release by VkBufferMemoryBarrier2, in a submission that waits for no semaphore; images are released in time",
        modelled_on: "Mesa 26.1.1 (nvk), which did not handle all dependencies on foreign queues",
        seen_by: &[Pixels],
        names: &["a release of a buffer that takes effect with the next submission"],
        ..driver("buffer-release-late", QueueFamily)
    },
    Fault {
        what: "a release leaves nothing of what is in the memory, as if its new layout were UNDEFINED",
        trigger: "a release to FOREIGN_EXT, in a submission that waits for no semaphore",
        modelled_on: "gamescope ec92dc75, whose releases came from another queue family than the one that had the image",
        seen_by: &[Pixels],
        names: &[
            "when gpu_a has released to FOREIGN_EXT, does not see the target…like a buffer that nobody wrote: every byte is 0xdd",
        ],
        ..driver("release-discards", QueueFamily)
    },
    Fault {
        what: "an acquire brings back what the device gave away by its last release, over what others have written since",
        trigger: "an acquire from FOREIGN_EXT or EXTERNAL, in a submission that waits for no semaphore",
        modelled_on: "Mesa 0667c1f14b0 and b4c7ce360bc (radv): a state of the image that is carried over an external queue",
        seen_by: &[Pixels],
        names: &["gpu_a does not see the target…an acquire that brings back what its device gave away"],
        ..driver("acquire-brings-back", QueueFamily)
    },
    Fault {
        what: "a submission that takes something over waits for none of its semaphores",
        trigger: "vkQueueSubmit2, an acquire from FOREIGN_EXT or EXTERNAL",
        modelled_on: "libplacebo fd01c75c and c6662474: a transition of the layout that runs before the wait for the semaphore",
        seen_by: &[Fences],
        names: &["as it takes an image from FOREIGN_EXT, did not wait for the fence"],
        ..driver("acquire-before-wait", QueueFamily)
    },
    Fault {
        seam: VulkanB,
        what: "what a device takes over it sees as it was when it last had it",
        trigger: "an acquire from FOREIGN_EXT or EXTERNAL, in a submission that waits for no semaphore",
        modelled_on: "Mesa 25.2.2 (radv, anv): a cache that is not invalidated",
        seen_by: &[Pixels],
        names: &[
            "gpu_b, which takes the frame over again and copies it, does not see the target…like the frame that was in the buffer before",
        ],
        ..driver("acquire-stale", Coherency)
    },
    Fault {
        what: "a view shows what was in the memory when the first view of it was made; copies see what is there",
        trigger: "images of imported memory, in a submission that waits for no semaphore",
        modelled_on: "Mesa 836d22a2fb9 (etnaviv): a change of an imported buffer that did not get to the view",
        seen_by: &[Pixels],
        names: &[
            "a sampler of gpu_a that looks again does not see the target…like the frame that was in the buffer before",
        ],
        ..driver("view-stale", Coherency)
    },
    Fault {
        what: "DMA_BUF_IOCTL_SYNC forgets what was written last, of 64 B that were not written to their end",
        trigger: "the end of an access of the CPU that may write",
        modelled_on: "libdrmtap issues 10 and 43, whose syncs were missing; Mesa 64604420490 (panfrost): what was drawn in part is not flushed",
        ..fault(
            "sync-forgets-last-line",
            Coherency,
            &[Pixels],
            &["a second mapping after 1 B at byte 0…a cache that does not write back all that was written"],
        )
    },
    Fault {
        what: "the last 4 rows of what was written back are 0 when the CPU looks",
        trigger: "a writeback that is done, before DMA_BUF_IOCTL_SYNC begins a read",
        modelled_on: "Mesa 915820cc59c (i965): a mapping of the CPU that is not coherent with what the display has",
        ..fault(
            "writeback-not-flushed",
            Coherency,
            &[Pixels],
            &["screen (writeback) does not see the target…like a partial update: rows 156 to 159"],
        )
    },
    Fault {
        what: "gbm_bo_map shows what the object held when it was first mapped",
        trigger: "a mapping to read alone, but for an object's first",
        modelled_on: "raspberrypi/linux issue 5727: a bounce buffer that is never synced again",
        ..library(
            "gbm-map-stale",
            Coherency,
            &[Pixels],
            &["gbm (card0) does not see the target…like the frame that was in the buffer before"],
        )
    },
];
