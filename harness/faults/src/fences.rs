//! Fences as files: what the kernel tells of them, and what Vulkan and EGL make of those that they are given.

use super::Class::{Aliasing, Coherency, Ownership, Synchronisation};
use super::Fault;
use super::Oracle::{Fds, Fences, Pixels, Result};
use super::Seam::VulkanB;
use super::kernel::{fault, library};
use super::vulkan::{control, fault as driver};

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "vkImportFenceFdKHR closes the fd and leaves the fence as it was",
        trigger: "handle type SYNC_FD",
        modelled_on: "gfxstream 16ff26e7b: an imported fence never signals",
        seen_by: &[Fences],
        names: &["whether the fence of fd -1 has signalled: false"],
        ..driver("fence-import-dropped", Synchronisation)
    },
    Fault {
        seam: VulkanB,
        what: "vkResetFences does nothing",
        trigger: "a fence that has fd -1 imported",
        modelled_on: "Mesa 22bca8ef19e and 8aa9d0acb8c (radv): a temporary payload that stays",
        seen_by: &[Fences],
        names: &["whether a reset fence has signalled: true"],
        ..driver("fence-reset-keeps-import", Synchronisation)
    },
    Fault {
        what: "vkImportSemaphoreFdKHR keeps a copy of the fd",
        trigger: "handle type SYNC_FD, a fence",
        modelled_on: "Mesa eceb4fb904b (freedreno), mutter 1c03a9ab10, Hyprland 99e9cb510",
        seen_by: &[Fds],
        names: &["open after 40 imports into semaphores", "stays open after 1 import into a semaphore with"],
        ..driver("semaphore-import-keeps-fd", Ownership)
    },
    Fault {
        what: "a submission does not wait for semaphores with a counter",
        trigger: "vkQueueSubmit2, a wait for a value above 0",
        modelled_on: "Mesa 2a3f6e0267f (turnip), which left out some of the semaphores that a submission waits for",
        seen_by: &[Fences],
        names: &["by a wait of its queue for a counter, did not wait for the fence"],
        ..driver("counter-wait-dropped", Synchronisation)
    },
    Fault {
        what: "a submission that waits for an imported fd of -1 is held up for 1.5 s",
        trigger: "handle type SYNC_FD, the first wait after the import",
        modelled_on: "Mesa 25.0.2 (freedreno) and MR 21651 (turnip): what an fd of -1 stands for",
        seen_by: &[Fences],
        names: &["gpu_a that waits for fd -1 took"],
        ..driver("minus-one-pending", Synchronisation)
    },
    Fault {
        what: "vkImportFenceFdKHR keeps a copy of the fd",
        trigger: "handle type SYNC_FD, a fence",
        modelled_on: "Mesa 917d3b43f2b and 7c255788637 (radv), which leak what an import brought",
        seen_by: &[Fds],
        names: &["open after 40 imports into fences", "stays open after 1 import into a fence with"],
        ..driver("fence-import-keeps-fd", Ownership)
    },
    Fault {
        what: "vkGetSemaphoreFdKHR and vkGetFenceFdKHR succeed with fd -1, and leave the semaphore or the fence as it was",
        trigger: "handle type SYNC_FD, in a process that can open no file more",
        modelled_on: "Mesa 25.0.2 (freedreno) and MR 21651 (turnip): what an fd of -1 stands for",
        seen_by: &[Fences],
        names: &[
            "an export of a semaphore says that work has ended which is under way",
            "an export of a fence says that work has ended which is under way",
        ],
        ..driver("no-fd-is-minus-one", Synchronisation)
    },
    Fault {
        what: "vkDestroySemaphore closes the number that the fd had which was imported last, once more",
        trigger: "a semaphore that imported a sync_file, if something is open at that number by then",
        modelled_on: "Mesa 3af81715470 (anv) and gs-madrona PR 67, which do so with memory",
        seen_by: &[Fds],
        names: &["was closed twice…a sync_file that vkImportSemaphoreFdKHR took"],
        ..driver("sync-fd-closed-twice", Ownership)
    },
    Fault {
        what: "eglCreateSync closes the fd that it is given, and makes a fence of the commands so far",
        trigger: "EGL_SYNC_NATIVE_FENCE_ANDROID with an fd",
        modelled_on: "ivi-homescreen PR 388",
        ..library(
            "egl-fence-ignored",
            Synchronisation,
            &[Fences, Pixels],
            &[
                "opengl es did not wait for the fence…like the fence was taken",
                "a wait through EGL did not wait for the fence",
                "a fence of OpenGL ES did not wait for the fence",
                "the exported fence did not wait for the fence",
            ],
        )
    },
    Fault {
        what: "eglCreateSync keeps a copy of the fd that it is given",
        trigger: "EGL_SYNC_NATIVE_FENCE_ANDROID with an fd",
        modelled_on: "Mesa eceb4fb904b (freedreno), smithay 0d49747f",
        ..library("egl-fence-keeps-fd", Ownership, &[Fds], &["stay open after 20 fences that EGL was given"])
    },
    Fault {
        what: "poll of a sync_file says at once that it has signalled",
        trigger: "no other file in the same call",
        modelled_on: "Mesa 25.3.1 (vulkan/drm-syncobj)",
        ..fault(
            "sync-file-never-waits",
            Synchronisation,
            &[Fences],
            &["a wait for a fence that never signals ended as if it had signalled"],
        )
    },
    Fault {
        what: "poll of a sync_file returns 1.2 s to 2.4 s after the signal that it waited for, the later the longer it had waited",
        trigger: "no other file in the same call, and a fence that has not signalled",
        modelled_on: "the class of signals that somebody learns of from a timer; no single bug was looked up",
        ..fault(
            "sync-file-wakes-late",
            Synchronisation,
            &[Fences],
            &[
                "after the fence had signalled…a fence that is not its own, or was not told of the signal",
                "went on only…after the fence had signalled",
            ],
        )
    },
    Fault {
        what: "SYNC_IOC_FILE_INFO tells another driver and timeline than those of the fence",
        trigger: "always",
        modelled_on: "the class of drivers that do not say who they are; no single bug was looked up",
        ..fault(
            "sync-file-misnamed",
            Synchronisation,
            &[Result],
            &["a pending fence tells another signaller than its own", "does not say which fence that is"],
        )
    },
    Fault {
        what: "SYNC_IOC_FILE_INFO tells of a fence that failed that it has signalled",
        trigger: "a status below 0",
        modelled_on: "the class of errors that a fence does not hand on; no single bug was looked up",
        ..fault("fence-error-hidden", Synchronisation, &[Fences], &["is signalled, though nobody signalled it"])
    },
    Fault {
        what: "SYNC_IOC_MERGE makes a file of the fences of the first alone",
        trigger: "always",
        modelled_on: "Mesa 2a3f6e0267f (turnip), which left out some of the semaphores that a submission waits for",
        ..fault(
            "merge-forgets-second",
            Synchronisation,
            &[Fences],
            &["SYNC_IOC_MERGE of fences of two timelines makes a file with 1 of them"],
        )
    },
    Fault {
        what: "DMA_BUF_IOCTL_SYNC brings back what was in the buffer when the access began",
        trigger: "the end of an access of the CPU that may write",
        modelled_on: "kernel 1ffe09590121 (udmabuf): a sync in the wrong direction",
        ..fault(
            "sync-backwards",
            Coherency,
            &[Pixels],
            &[
                "the contents of the last frame: 0 in every pixel, not 5",
                "a reader saw frame…a frame whose drawing was lost",
            ],
        )
    },
    Fault {
        what: "DMA_BUF_IOCTL_SYNC writes 4 B behind the last byte that an access changed",
        trigger: "the end of an access of the CPU that may write",
        modelled_on: "the class of caches that write back more than was written; no single bug was looked up",
        ..fault(
            "sync-writes-behind",
            Coherency,
            &[Pixels],
            &["a second mapping after 1 B at byte 0…a cache that writes back more than was written"],
        )
    },
    Fault {
        what: "DMA_BUF_IOCTL_IMPORT_SYNC_FILE adds the fence of a reader as that of a writer",
        trigger: "DMA_BUF_SYNC_READ alone",
        modelled_on: "the class of exclusive fences where shared ones would do; no single bug was looked up",
        ..fault(
            "reader-taken-for-writer",
            Synchronisation,
            &[Fences],
            &[
                "beside a reader, whoever is about to read must wait",
                "the screen waited for a fence, though it is a reader's",
            ],
        )
    },
    Fault {
        what: "vkImportSemaphoreFdKHR copies what the fd stands for: the semaphore is one of its own, as far as the other had come",
        trigger: "handle type OPAQUE_FD",
        modelled_on: "the class of copies where a reference is meant (Importing Semaphore Payloads); no single bug was looked up",
        seen_by: &[Fences],
        names: &[
            "a submission of another instance, by a semaphore that came as opaque fd, did not wait",
            "the counter of another instance did not come to 1, which gpu_a signalled",
        ],
        ..driver("opaque-semaphore-copied", Aliasing)
    },
    Fault {
        what: "vkImportFenceFdKHR imports for good",
        trigger: "handle type OPAQUE_FD, VK_FENCE_IMPORT_TEMPORARY_BIT",
        modelled_on: "Mesa 22bca8ef19e and 8aa9d0acb8c (radv): a temporary payload that stays",
        seen_by: &[Fences],
        names: &["vkResetFences by an importer was one of the exporter's fence, though its import was temporary"],
        ..driver("opaque-fence-for-good", Synchronisation)
    },
    Fault {
        what: "vkImportFenceFdKHR imports until a reset",
        trigger: "handle type OPAQUE_FD, without VK_FENCE_IMPORT_TEMPORARY_BIT",
        modelled_on: "the class of permanences that are taken for each other; no single bug was looked up",
        seen_by: &[Fences],
        names: &["vkResetFences by an importer was not one of the exporter's fence, though its import was for good"],
        ..driver("opaque-fence-until-reset", Synchronisation)
    },
    // Legal.
    Fault {
        what: "semaphores and fences are handed on as OPAQUE_FD as well, within a process",
        trigger: "always",
        modelled_on: "VkExternalSemaphoreProperties and VkExternalFenceProperties: a driver may hand on what it can",
        shares: true,
        ..control("opaque-fences", Synchronisation)
    },
];
