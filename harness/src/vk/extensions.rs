//! Which device extensions the harness needs, and what for.

use std::ffi::CStr;

use ash::{ext, khr};

/// A device extension and the reason why it is asked for.
pub(super) struct Extension {
    /// Its name.
    pub(super) name: &'static CStr,
    /// What cannot be done without it.
    pub(super) reason: &'static str,
}

/// What a device may lack: a case that needs it says so.
pub(super) const FENCE_FD: &CStr = khr::external_fence_fd::NAME;

/// The device extensions without which a device is of no use here; everything else is core Vulkan 1.3.
pub(super) const fn required_extensions() -> [Extension; 5] {
    [
        Extension { name: khr::external_memory_fd::NAME, reason: "memory changes hands as an fd" },
        Extension { name: ext::external_memory_dma_buf::NAME, reason: "the fd is a dma-buf, which other devices know" },
        Extension {
            name: ext::image_drm_format_modifier::NAME,
            reason: "images state their layout in other devices' terms",
        },
        Extension { name: ext::queue_family_foreign::NAME, reason: "contents are handed to devices outside Vulkan" },
        Extension { name: khr::external_semaphore_fd::NAME, reason: "work is ordered with other devices by sync_file" },
    ]
}
