//! The faults of a Vulkan driver. What does them is `handover-faulty-vulkan`.

use super::Class::{
    Aliasing, Coherency, ErrorPath, Format, Handle, Layout, Modifier, Ownership, QueueFamily, Synchronisation,
};
use super::Oracle::{Capability, Fds, Fences, Pixels, References, Result};
use super::Seam::{VulkanA, VulkanB};
use super::{Class, Fault, Kind, Oracle};

pub(super) const ALL: &[Fault] = &[
    // The list that the project began with.
    Fault {
        id: "P01",
        what: "vkGetImageSubresourceLayout and vkGetImageSubresourceLayout2 tell a rowPitch that is 64 B larger than the true one",
        trigger: "tiling DRM_FORMAT_MODIFIER, or LINEAR with external memory",
        modelled_on: "Mesa c10808441cc and 9573bd70e1e (radv)",
        seen_by: &[Pixels, Oracle::Layout],
        names: &["vkGetImageSubresourceLayout…plane 0 has…B, which is too little for…rows at row pitch"],
        ..fault("pitch-too-large", Layout)
    },
    Fault {
        id: "P02",
        what: "vkCreateImage makes the image as if pPlaneLayouts[0].offset were 0",
        trigger: "an explicit layout whose first offset is not 0",
        modelled_on: "Mesa e46b2ef7243 (lima) and e5a81ac7043 (vc5)",
        seen_by: &[Pixels],
        names: &[
            "cpu does not see the target…like an offset 65536 B too",
            "gpu_a, whose image is told that its plane lies behind…like a picture moved 64 px down",
        ],
        ..fault("import-offset-ignored", Layout)
    },
    Fault {
        id: "P04",
        what: "a copy between image and buffer, or between images, reaches only height * tight pitch / pitch rows",
        trigger: "an image that others address, with a pitch larger than its rows",
        modelled_on: "gfxstream bbe8f9190",
        seen_by: &[Pixels],
        names: &[
            "like a partial update: rows 126 to 129…like a copy of as many bytes as 130 rows of 1000 B have, which ends after 126 of \
             1024 B",
        ],
        ..fault("bottom-rows-lost", Layout)
    },
    Fault {
        id: "P05",
        what: "vkGetPhysicalDeviceFormatProperties2 leaves LINEAR out of the modifier list of B8G8R8A8_UNORM",
        trigger: "always",
        modelled_on: "VK-GL-CTS 0c0805687, smithay issue 2112",
        seen_by: &[Capability],
        names: &["LINEAR is supported for being copied from, but its modifier list does not say so"],
        ..fault("linear-vanishes", Modifier)
    },
    Fault {
        id: "P06",
        what: "the modifier list has I915_X_TILED with the features of LINEAR; an image of that list is made as LINEAR",
        trigger: "formats B8G8R8A8_UNORM and R8G8B8A8_UNORM",
        modelled_on: "Mesa 17d78ece36a (vc4) and 660b4d6e250 (panfrost)",
        seen_by: &[Capability],
        names: &["vkGetImageDrmFormatModifierPropertiesEXT…modifier LINEAR; one of [INTEL:0x0100000000000001]"],
        ..fault("modifier-unusable", Modifier)
    },
    Fault {
        id: "P07",
        what: "B8G8R8A8 and R8G8B8A8 are exchanged for images and their views, so that a round trip in one driver is exact",
        trigger: "every image with external memory",
        modelled_on: "mutter 06d0989014, gamescope 76292f01",
        seen_by: &[Pixels],
        names: &[
            "the cpu, when gpu_a has released to FOREIGN_EXT, does not see the target…like channels R and B swapped…sampled by \
             gpu_a itself it is the target",
        ],
        ..fault("red-blue-swapped", Format)
    },
    Fault {
        seam: VulkanB,
        id: "P08",
        what: "views have components.a = ONE",
        trigger: "images of imported memory, in a format with alpha",
        modelled_on: "egl-wayland e1165ad, gamescope 28a4744b",
        seen_by: &[Pixels],
        names: &["a sampler of gpu_b…like alpha forced to 255 of 255"],
        ..fault("alpha-one", Format)
    },
    Fault {
        id: "P09",
        what: "vkAllocateMemory imports a duplicate of the fd, and leaves the fd that it was given open",
        trigger: "every import that succeeds",
        modelled_on: "Mesa b7cc07432ac (radv) and 8bbe55533f5 (venus)",
        seen_by: &[Fds],
        names: &[
            "vkAllocateMemory (import)…never closes the one that it was given",
            "peer process with gpu_a has let go of everything, and keeps fd",
            "stay open after 50 times an import…opened by…vkAllocateMemory (import)…(opaque fd)",
        ],
        ..fault("import-leaks-fd", Ownership)
    },
    Fault {
        id: "P10",
        what: "vkFreeMemory closes the number that the imported fd had, once more",
        trigger: "imported memory, if something is open at that number by then",
        modelled_on: "Mesa 3af81715470 (anv), gs-madrona PR 67",
        seen_by: &[Fds],
        names: &["numbers closed twice behind…was closed twice, seen after vkFreeMemory…the canary that was set there"],
        ..fault("fd-closed-twice", Ownership)
    },
    Fault {
        id: "P11",
        what: "vkGetMemoryFdPropertiesKHR returns VK_SUCCESS with memoryTypeBits 0",
        trigger: "handle type DMA_BUF",
        modelled_on: "Mesa 5e1cb16768d (anv)",
        seen_by: &[Result],
        names: &["vkGetMemoryFdPropertiesKHR…memoryTypeBits 0b0"],
        ..fault("no-memory-type", Handle)
    },
    Fault {
        seam: VulkanB,
        id: "P12",
        what: "vkGetMemoryFdKHR returns a memfd with the same contents where a dma-buf was asked for",
        trigger: "every export as DMA_BUF; the bug needed OPAQUE_FD beside it, which no driver here claims to go together",
        modelled_on: "Mesa issue 13798 (lavapipe)",
        seen_by: &[Fds],
        names: &["vkGetMemoryFdKHR…memfd…not a dma-buf"],
        ..fault("memfd-for-dmabuf", Handle)
    },
    Fault {
        id: "P13",
        what: "an import allocates memory of its own and copies the contents into it, once",
        trigger: "every import that succeeds",
        modelled_on: "Mesa 769603564ec (radeonsi)",
        seen_by: &[Pixels],
        names: &[
            "while gpu_a drew does not see the target…like a buffer that nobody wrote",
            "when a process with gpu_a has drawn, does not see the target",
            "gpu_a, by its import in that order, does not see the target",
            "gpu_a at the end of the buffer does not see the target…like a buffer that nobody wrote",
            "gpu_a in its second instance does not see the target…like a buffer that nobody wrote",
            "gpu_a does not see the target…like the frame that was in the buffer before",
            "gpu_b does not see the target…like the frame that was in the buffer before",
            "gpu_a, in a buffer, does not see the target…like the frame that was in the buffer before",
            "gpu_a does not see the target…taken in by its fd and by another one",
        ],
        ..fault("import-copies", Aliasing)
    },
    Fault {
        seam: VulkanB,
        id: "P14",
        what: "vkMapMemory gives a private snapshot, which vkUnmapMemory writes back",
        trigger: "memory that is exported or imported, and stays mapped across a submission",
        modelled_on: "Mesa 915820cc59c (i965), VK-GL-CTS cae29ed28",
        seen_by: &[Pixels],
        names: &["the kept mapping shows generation…like a snapshot, or a cache that is not coherent"],
        ..fault("stale-map", Coherency)
    },
    Fault {
        id: "P15",
        what: "what a command buffer wrote that gives to VK_QUEUE_FAMILY_FOREIGN_EXT reaches the dma-buf at the next submission",
        trigger: "a release to FOREIGN_EXT, in a submission that waits for no semaphore",
        modelled_on: "Mesa 25.0.2 (zink) and 26.1.1 (nvk)",
        seen_by: &[Pixels],
        names: &[
            "when gpu_a has released to FOREIGN_EXT, does not see the target…like the frame that was in the buffer before…a release of \
             an image that takes effect with the next submission",
            "screen…the target is not in the buffer yet",
        ],
        ..fault("release-late", QueueFamily)
    },
    Fault {
        id: "P16",
        what: "vkImportSemaphoreFdKHR closes the fd and imports -1, which has signalled",
        trigger: "handle type SYNC_FD, with a fence that is still pending",
        modelled_on: "ivi-homescreen PR 388, Mesa MR 21651 (turnip)",
        seen_by: &[Fences],
        names: &[
            "gpu_a did not wait for the fence…the fence was taken and not waited for",
            "gpu_a did not wait for the fence…the fence is in the buffer, and nobody waited for it",
            "gpu_a, by a submission…did not wait for the fence…the fence was taken and not waited for",
            "gpu_a, by the fence that it exports, did not wait for the fence…like the fence was taken",
            "a submission of gpu_a was over while the fence that it waits for was pending",
            "gpu_a, by a wait for a counter, did not wait for the fence",
        ],
        ..fault("imported-fence-ignored", Synchronisation)
    },
    Fault {
        id: "P17",
        what: "vkGetSemaphoreFdKHR returns -1, for signalled, at once, and leaves the semaphore as it is",
        trigger: "handle type SYNC_FD, while the work that was submitted up to the semaphore's signal still runs",
        modelled_on: "Mesa cb74cd816c0 (anv), gst-wayland-display PR 49",
        seen_by: &[Fences],
        names: &[
            "exported had signalled while its submission was under way",
            "when the exported fence had signalled, does not see",
            "the fence was signalled before the work that it stands for",
        ],
        ..fault("exported-fence-early", Synchronisation)
    },
    // More.
    Fault {
        what: "vkCreateImage rounds pPlaneLayouts[0].offset down to a page",
        trigger: "an explicit layout whose first offset is no multiple of 4096 B",
        modelled_on: "Mesa 25.2.1 (freedreno/layout), nvidia-vaapi-driver PR 446",
        seen_by: &[Pixels],
        names: &["gpu_a does not see the target…like a picture moved 2 px down"],
        ..fault("import-offset-rounded", Layout)
    },
    Fault {
        what: "vkCreateImage rounds pPlaneLayouts[0].rowPitch up to 256 B, without a word",
        trigger: "an explicit layout with another pitch",
        modelled_on: "LookingGlass PR 719, Mesa MR 19620 (panfrost)",
        seen_by: &[Pixels],
        names: &[
            "like a row pitch 192 B too",
            "cpu does not see the target…like a row pitch 16 B too small",
            "the pitch in bytes of a frame that was asked for with it: 1280, not 1064",
        ],
        ..fault("import-pitch-rounded", Layout)
    },
    Fault {
        what: "vkGetImageSubresourceLayout tells rowPitch in pixels instead of bytes",
        trigger: "formats of 8 B a pixel",
        modelled_on: "Mesa c10808441cc (radv)",
        seen_by: &[Oracle::Layout],
        names: &["vkGetImageSubresourceLayout…is shorter than a row"],
        ..fault("pitch-in-pixels", Layout)
    },
    Fault {
        seam: VulkanB,
        what: "vkCreateImage takes the offset of the first plane for the second",
        trigger: "an explicit layout of at least two planes",
        modelled_on: "Mesa ab7744b2801 and 640e8cb3dc8 (gallium, dri2), gamescope a85c8d76",
        seen_by: &[Pixels],
        names: &["samples of plane 1 (U V) differ: gpu_b does not see…like what lies where plane 0 begins"],
        ..fault("second-plane-lost", Layout)
    },
    Fault {
        seam: VulkanB,
        what: "vkBindImageMemory2 binds every plane to the memory of the first",
        trigger: "a disjoint image",
        modelled_on: "Mesa 25.2.2 (panvk), Mesa ab7744b2801 and 640e8cb3dc8 (gallium, dri2)",
        seen_by: &[Pixels],
        names: &[
            "nothing of what is copied to plane 1 reaches the dma-buf of plane 1",
            "samples of plane…was read out of the memory of plane 0",
        ],
        ..fault("disjoint-bound-to-first", Layout)
    },
    Fault {
        what: "vkGetImageSubresourceLayout tells size 0",
        trigger: "tiling DRM_FORMAT_MODIFIER, or LINEAR with external memory",
        modelled_on: "Mesa 7fcec8ea5e4 (anv)",
        seen_by: &[Oracle::Layout],
        names: &["vkGetImageSubresourceLayout…plane 0 has no bytes"],
        ..fault("size-of-layout-zero", Layout)
    },
    Fault {
        what: "vkBindImageMemory binds at 0",
        trigger: "external memory and another offset",
        modelled_on: "Mesa e5a81ac7043 (vc5) and 25.2.2 (panvk)",
        seen_by: &[Pixels],
        names: &["gpu_a, whose image is bound behind…like a picture moved 64 px down"],
        ..fault("image-bound-at-zero", Layout)
    },
    Fault {
        what: "vkBindBufferMemory binds at 0",
        trigger: "shared memory and another offset",
        modelled_on: "Mesa 26.1.1 (v3dv)",
        seen_by: &[Pixels],
        names: &[
            "bytes differ: cpu does not see the target…like an offset 4096 B too",
            "cpu does not see the target…like a buffer that nobody wrote…gpu_a, which copied it into a buffer",
        ],
        ..fault("buffer-bound-at-zero", Layout)
    },
    Fault {
        what: "vkGetImageMemoryRequirements and vkGetImageMemoryRequirements2 tell an eighth too little",
        trigger: "images with external memory",
        modelled_on: "Mesa d19bc94e4eb (radv) and e074a08a6de (anv)",
        seen_by: &[Oracle::Layout],
        names: &["vkGetImageMemoryRequirements2 failed: invalid answer:…B, and the last row of plane 0 begins at byte"],
        ..fault("memory-size-short", Layout)
    },
    Fault {
        what: "the modifier list says that LINEAR has two memory planes",
        trigger: "format B8G8R8A8_UNORM",
        modelled_on: "Mesa f8887909c66 (iris) and 36bd3e98683 (dri2)",
        seen_by: &[Capability, Oracle::Layout],
        names: &[
            "vkGetPhysicalDeviceFormatProperties2 failed: invalid answer: drmFormatModifierPlaneCount 2 for LINEAR",
        ],
        ..fault("plane-count-two", Modifier)
    },
    Fault {
        what: "vkGetImageDrmFormatModifierPropertiesEXT tells DRM_FORMAT_MOD_INVALID",
        trigger: "always",
        modelled_on: "Mesa 02b82fe80a7 and 3b05a120a31",
        seen_by: &[Oracle::Layout],
        names: &["vkGetImageDrmFormatModifierPropertiesEXT…modifier INVALID"],
        ..fault("modifier-reported-invalid", Modifier)
    },
    Fault {
        what: "the modifier list has I915_X_TILED, in rows; an image that is imported with it begins 64 B too late",
        trigger: "formats B8G8R8A8_UNORM and R8G8B8A8_UNORM",
        modelled_on: "Mesa 21376cffb37 (iris) and d5c857837aa (dri2)",
        seen_by: &[Pixels],
        names: &["gpu_a does not see the target…modifier INTEL:0x0100000000000001"],
        ..fault("tiled-offset-64", Modifier)
    },
    Fault {
        what: "the modifier list says that LINEAR is not sampled",
        trigger: "formats B8G8R8A8_UNORM and R8G8B8A8_UNORM",
        modelled_on: "Mesa 7499f84956f (radv)",
        seen_by: &[Capability],
        names: &[
            "LINEAR is supported for being sampled, but its modifier list does not say so…like features of a modifier",
        ],
        ..fault("features-lost", Modifier)
    },
    Fault {
        seam: VulkanB,
        what: "VkDrmFormatModifierPropertiesList2EXT is filled as if there were no modifier",
        trigger: "always",
        modelled_on: "Mesa 26.1.3 (panvk)",
        seen_by: &[Capability],
        names: &["the two modifier lists of…differ"],
        ..fault("second-list-empty", Modifier)
    },
    Fault {
        what: "views take UNORM for SRGB, so that sampling decodes what is not encoded",
        trigger: "images of imported memory, B8G8R8A8_UNORM and R8G8B8A8_UNORM",
        modelled_on: "gamescope 47069426 and 5caef73b",
        seen_by: &[Pixels],
        names: &[
            "a sampler of gpu_a…like colour taken for sRGB and decoded",
            "gpu_a does not see the target…like colour encoded for sRGB",
        ],
        ..fault("srgb-decoded", Format)
    },
    Fault {
        what: "vkGetMemoryFdPropertiesKHR names only a memory type that does not exist",
        trigger: "handle type DMA_BUF",
        modelled_on: "Mesa b0550453786 (radv), GraphiteEditor PR 4321",
        seen_by: &[Capability],
        names: &["vkGetMemoryFdPropertiesKHR…names a memory type that there is none of"],
        ..fault("memory-type-beyond-all", Handle)
    },
    Fault {
        what: "vkAllocateMemory refuses a dma-buf whose size is no multiple of 64 KiB",
        trigger: "handle type DMA_BUF",
        modelled_on: "ivi-homescreen issues 598 and 219 (v3dv), Apollo-Linux issue 23 (radeonsi)",
        seen_by: &[Result],
        names: &["vkAllocateMemory (import) failed: VK_ERROR_OUT_OF_DEVICE_MEMORY…B of memory type"],
        ..fault("import-wants-padding", Handle)
    },
    Fault {
        what: "vkGetPhysicalDeviceImageFormatProperties2 says that dma-bufs can't be imported",
        trigger: "handle type DMA_BUF",
        modelled_on: "Mesa 486472a98db (radv) and 57d416d4236 (anv)",
        seen_by: &[Capability],
        names: &["gathering constraints failed: it imports none of these as dma-buf"],
        ..fault("import-not-offered", Handle)
    },
    Fault {
        what: "an import fills the memory with 0",
        trigger: "handle type DMA_BUF",
        modelled_on: "Mesa 25.0.2 (nvk)",
        seen_by: &[Pixels],
        names: &["gpu_a does not see the target…like a buffer that nobody wrote: every byte is 0x00"],
        ..fault("import-zero-fills", Aliasing)
    },
    Fault {
        what: "vkGetMemoryFdKHR hands out other memory, with the contents of that moment",
        trigger: "handle type DMA_BUF",
        modelled_on: "Mesa 769603564ec (radeonsi)",
        seen_by: &[Pixels],
        names: &[
            "gpu_a, whose image it is, does not see the target…shape like",
            "whoever maps what gpu_a handed out does not see the target…shape like",
            "by what gpu_a handed out, does not see the target…shape like",
        ],
        ..fault("export-reallocates", Aliasing)
    },
    Fault {
        what: "the second vkGetMemoryFdKHR returns the number of the first, which is still open",
        trigger: "memory that is exported twice",
        modelled_on: "smithay c542d097",
        seen_by: &[Fds],
        names: &["vkGetMemoryFdKHR…which was handed out before and is still open"],
        ..fault("same-fd-twice", Ownership)
    },
    Fault {
        what: "vkAllocateMemory closes the fd of an import that it refuses",
        trigger: "every import that fails",
        modelled_on: "gamescope f58d2b4b, amd/xdna-driver PR 1599",
        seen_by: &[Fds],
        names: &["was closed by somebody else while it was in use…vkAllocateMemory (import, refused)"],
        // The first GPU's does so by itself: cases/findings/lavapipe-refused-import.md.
        seam: VulkanB,
        ..fault("refused-import-takes-fd", ErrorPath)
    },
    Fault {
        what: "vkAllocateMemory says VK_ERROR_UNKNOWN of an import that it refuses",
        trigger: "every import that fails",
        modelled_on: "the class of errors that are no longer known where they are told; no single bug was looked up",
        seen_by: &[Result],
        names: &["an fd for reading only is refused otherwise than documented"],
        seam: VulkanB,
        ..fault("refused-import-unknown", ErrorPath)
    },
    Fault {
        what: "vkFreeMemory frees nothing",
        trigger: "imported memory",
        modelled_on: "Mesa f56e22e4967 (radv) and 0aa6a818ef6 (kms winsys)",
        seen_by: &[References],
        names: &["vkAllocateMemory (import)…memory that is never freed"],
        ..fault("imported-memory-never-freed", Ownership)
    },
    Fault {
        what: "the last 64 B that a command buffer wrote do not reach the dma-buf",
        trigger: "a release to FOREIGN_EXT, in a submission that waits for no semaphore",
        modelled_on: "Mesa 64604420490 (panfrost) and d4f7962d48b (radeonsi)",
        seen_by: &[Pixels],
        names: &["16 of…like a partial update: x 234 to 249, y 129", "8 of 1250 pixels differ…x 242 to 249, y 4"],
        ..fault("tail-not-flushed", Coherency)
    },
    Fault {
        seam: VulkanB,
        what: "an acquire discards what is in the memory, as if the old layout were UNDEFINED",
        trigger: "an acquire from FOREIGN_EXT or EXTERNAL, in a submission that waits for no semaphore",
        modelled_on: "gamescope 37577dc8, wlroots 2c4d3ad12d, gfxstream e6704deb2",
        seen_by: &[Pixels],
        names: &["gpu_b does not see the target…like a buffer that nobody wrote: every byte is 0xdd"],
        ..fault("acquire-discards", QueueFamily)
    },
    Fault {
        what: "vkWaitForFences returns VK_SUCCESS at once",
        trigger: "fences that have not signalled",
        modelled_on: "Mesa 25.3.1 (vulkan/drm-syncobj)",
        seen_by: &[Fences],
        names: &["gpu_a, by a wait for a fence…did not wait for the fence"],
        ..fault("fence-signalled-early", Synchronisation)
    },
    Fault {
        what: "vkWaitForFences returns VK_SUCCESS when a signal comes in the middle",
        trigger: "a wait that has taken 8 ms",
        modelled_on: "the class of waits that a signal ends (libdrm and Mesa make calls again by drmIoctl); no single bug was looked up",
        seen_by: &[Fences],
        names: &["after the fence had signalled, gpu_a saw…of neither frame…signals…came while it waited"],
        ..fault("fence-wait-interrupted", Synchronisation)
    },
    Fault {
        what: "what a semaphore imported outlasts the wait for it: vkGetSemaphoreFdKHR hands that out for what it signals later, \
               which it leaves as it is",
        trigger: "handle type SYNC_FD, an export after an import that was waited for",
        modelled_on: "VkImportSemaphoreFdInfoKHR: an import of SYNC_FD is temporary; no single bug was looked up",
        seen_by: &[Fences],
        names: &["exported of a semaphore that had imported another had signalled"],
        ..fault("semaphore-import-stays", Synchronisation)
    },
    Fault {
        seam: VulkanB,
        what: "vkGetImageSubresourceLayout tells that a plane begins at offset 0",
        trigger: "an explicit layout with another offset",
        modelled_on: "Mesa 25.0's lavapipe, which was found to do so while this was written",
        seen_by: &[Oracle::Layout],
        names: &["the offset of plane 0 in bytes: 0, not…like the offset was dropped"],
        ..fault("layout-offset-zero", Layout)
    },
    // Legal.
    Fault {
        what: "nothing is otherwise",
        trigger: "always",
        modelled_on: "the Vulkan loader's driver interface",
        shares: true,
        ..control("passes-through", Handle)
    },
    Fault {
        id: "B01",
        what: "images have a rowPitch that is a multiple of 512 B, as told and as honoured",
        trigger: "an image made from a modifier list with LINEAR",
        modelled_on: "VkSubresourceLayout: rowPitch is the driver's choice",
        // They know no pitch, or need contiguous memory, which is a page of it here.
        skips: &[
            "vim2m…at most 128 B as pitch, plane 0 has 512 B",
            "vicodec…at most 640 B as pitch, plane 0 has 1024 B",
            "vivid…needs contiguous memory, heap memory of gpu_a may provide 32768 B in runs of 4096 B",
        ],
        ..control("pitch-of-512", Layout)
    },
    Fault {
        id: "B02",
        what: "vkGetSemaphoreFdKHR and vkGetFenceFdKHR return -1",
        trigger: "handle type SYNC_FD, when the work is over",
        modelled_on: "VkSemaphoreGetFdInfoKHR: -1 for what has signalled",
        shares: true,
        ..control("done-is-minus-one", Synchronisation)
    },
    Fault {
        id: "B03",
        what: "the modifier list begins with a modifier that is refused for shared memory, with VK_ERROR_FORMAT_NOT_SUPPORTED",
        trigger: "formats B8G8R8A8_UNORM and R8G8B8A8_UNORM",
        modelled_on: "VkDrmFormatModifierPropertiesListEXT has no order, and is not all there is to ask",
        shares: true,
        ..control("list-in-other-order", Modifier)
    },
    Fault {
        what: "the modifier list has I915_X_TILED, in rows, with a second memory plane, without which no import is taken",
        trigger: "formats B8G8R8A8_UNORM and R8G8B8A8_UNORM",
        modelled_on: "I915_FORMAT_MOD_Y_TILED_CCS: a plane of memory that is none of the format",
        ..control("modifier-of-two-planes", Modifier)
    },
    Fault {
        what: "images are shared only with memory that is dedicated to them",
        trigger: "images with external memory",
        modelled_on: "VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT, VkMemoryDedicatedRequirements",
        skips: &["accepts dedicated memory only", "takes dedicated memory only"],
        ..control("dedicated-only", Handle)
    },
    Fault {
        what: "memory requirements have an alignment of 64 KiB",
        trigger: "images with external memory",
        modelled_on: "VkMemoryRequirements: alignment is any power of two",
        skips: &["takes multiples of 65536 B as offset"],
        ..control("alignment-of-64-ki", Layout)
    },
    Fault {
        what: "there is one more memory type, the first, which is not device-local and which no dma-buf is imported as",
        trigger: "always",
        modelled_on: "VkPhysicalDeviceMemoryProperties: types in an order of their own",
        shares: true,
        ..control("memory-type-more", Handle)
    },
    Fault {
        what: "nonCoherentAtomSize is 256 B",
        trigger: "always",
        modelled_on: "Vulkan's required limits: 256 at most",
        shares: true,
        ..control("large-atom", Coherency)
    },
];

/// A fault of the first GPU's driver, to be filled in.
pub(super) const fn fault(name: &'static str, class: Class) -> Fault {
    Fault {
        name,
        id: "",
        kind: Kind::Fault,
        seam: VulkanA,
        class,
        what: "",
        trigger: "",
        modelled_on: "",
        seen_by: &[],
        names: &[],
        skips: &[],
        about: &[],
        shares: false,
        gap: None,
    }
}

/// A control in the first GPU's driver, to be filled in.
pub(super) const fn control(name: &'static str, class: Class) -> Fault {
    Fault { kind: Kind::Control, ..fault(name, class) }
}
