//! A Vulkan driver's memory when it is freed, exported and imported as what it is not, and written beyond its end.

use super::Class::{Aliasing, Layout, Modifier, Ownership};
use super::Fault;
use super::Oracle::{Capability, Fds, Pixels};
use super::Seam::VulkanB;
use super::vulkan::fault;

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "vkFreeMemory clears memory that others still have as a dma-buf",
        trigger: "memory that was exported or imported as DMA_BUF",
        modelled_on: "gfxstream 70fe8f8cc: memory that goes while another process has it",
        seen_by: &[Pixels],
        names: &[
            "who imported before, does not see the target…like a buffer that nobody wrote",
            "after others went, does not see the target…like a buffer that nobody wrote",
            "while the process lives, does not see the target…like a buffer that nobody wrote",
            "by its mapping, does not see the target",
        ],
        ..fault("free-clears-shared", Ownership)
    },
    Fault {
        seam: VulkanB,
        what: "an import allocates memory of its own, with nothing in it",
        trigger: "handle type OPAQUE_FD",
        modelled_on: "Mesa 769603564ec (radeonsi)",
        seen_by: &[Pixels],
        names: &["second instance of gpu_b does not see"],
        ..fault("opaque-import-separate", Aliasing)
    },
    Fault {
        seam: VulkanB,
        what: "vkGetMemoryFdKHR hands out an fd that is not closed on exec",
        trigger: "handle type DMA_BUF",
        modelled_on: "Mesa 25.0's lavapipe: the finding lavapipe-no-cloexec of this repository",
        seen_by: &[Fds],
        names: &["the exported fd is not closed on exec"],
        ..fault("export-inherited", Ownership)
    },
    Fault {
        what: "VkDrmFormatModifierPropertiesListEXT is said to have all entries",
        trigger: "a list with room for fewer",
        modelled_on: "Mesa 25.0's lavapipe: the finding lavapipe-list-overrun of this repository",
        seen_by: &[Capability],
        names: &["VkDrmFormatModifierPropertiesListEXT with room for 0 of…entries is said to have"],
        ..fault("list-count-whole", Modifier)
    },
    Fault {
        what: "a submission writes 64 B behind the last pixel that it drew",
        trigger: "a release to FOREIGN_EXT, in a submission that waits for no semaphore",
        modelled_on: "llvmpipe, which draws in blocks of 4 rows: the finding llvmpipe-rows-behind of this repository",
        seen_by: &[Pixels],
        names: &["wrote outside it: 64 of"],
        ..fault("rows-behind-written", Layout)
    },
    Fault {
        what: "a copy from or to an image leaves out the last row",
        trigger: "images whose memory stays with the driver",
        modelled_on: "gfxstream bbe8f9190, libplacebo 3dd24a5b: extents of a transfer that are too small",
        seen_by: &[Pixels],
        names: &["does not render its golden…143 differs"],
        ..fault("last-row-lost", Layout)
    },
    Fault {
        seam: VulkanB,
        what: "a copy from or to an image ends with row 1024",
        trigger: "images of more rows",
        modelled_on: "the class of bugs that only large pictures show; no single one was looked up",
        seen_by: &[Pixels],
        names: &[
            "gpu_b does not see the target…like a partial update: rows 1024 to 1080",
            "gpu_b does not see the target…like a partial update: rows 1024 to 16383",
        ],
        ..fault("rows-behind-1024-lost", Layout)
    },
];
