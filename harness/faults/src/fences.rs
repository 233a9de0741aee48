//! Fences as files: what the kernel tells of them, and what Vulkan and EGL make of those that they are given.

use super::Class::{Coherency, Ownership, Synchronisation};
use super::Fault;
use super::Oracle::{Fds, Fences, Pixels, Result};
use super::kernel::{fault, library};
use super::vulkan::fault as driver;

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "vkImportFenceFdKHR closes the fd and leaves the fence as it was",
        trigger: "handle type SYNC_FD",
        modelled_on: "the class of imports that are dropped without a word; no single bug was looked up",
        seen_by: &[Fences],
        names: &["the fence of fd -1 is signalled is not what it must be"],
        ..driver("fence-import-dropped", Synchronisation)
    },
    Fault {
        what: "vkResetFences does nothing",
        trigger: "a fence that has fd -1 imported",
        modelled_on: "the class of temporary imports that stay; no single bug was looked up",
        seen_by: &[Fences],
        names: &["a reset fence is signalled is not what it must be"],
        ..driver("fence-reset-keeps-import", Synchronisation)
    },
    Fault {
        what: "vkImportSemaphoreFdKHR keeps a copy of the fd",
        trigger: "handle type SYNC_FD, a fence",
        modelled_on: "the class of fds that are duplicated and not closed; no single bug was looked up",
        seen_by: &[Fds],
        names: &["files that 40 imports left open"],
        ..driver("semaphore-import-keeps-fd", Ownership)
    },
    Fault {
        what: "eglCreateSync closes the fd that it is given, and makes a fence of the commands so far",
        trigger: "EGL_SYNC_NATIVE_FENCE_ANDROID with an fd",
        modelled_on: "the class of fences that are taken and not waited for; no single bug was looked up",
        ..library(
            "egl-fence-ignored",
            Synchronisation,
            &[Fences, Pixels],
            &[
                "opengl es did not wait for the fence",
                "a wait through EGL did not wait for the fence",
                "a fence of OpenGL ES did not wait for the fence",
                "the exported fence did not wait for the fence",
            ],
        )
    },
    Fault {
        what: "eglCreateSync keeps a copy of the fd that it is given",
        trigger: "EGL_SYNC_NATIVE_FENCE_ANDROID with an fd",
        modelled_on: "the class of fds that are duplicated and not closed; no single bug was looked up",
        ..library("egl-fence-keeps-fd", Ownership, &[Fds], &["files that 20 fences left open"])
    },
    Fault {
        what: "poll of a sync_file says at once that it has signalled",
        trigger: "no other file in the same call",
        modelled_on: "the class of waits that end too early; no single bug was looked up",
        ..fault("sync-file-never-waits", Synchronisation, &[Fences], &["a wait of 4 ms took 0."])
    },
    Fault {
        what: "SYNC_IOC_FILE_INFO tells neither driver nor timeline of a fence",
        trigger: "always",
        modelled_on: "the class of drivers that do not say who they are; no single bug was looked up",
        ..fault("sync-file-nameless", Synchronisation, &[Result], &["a pending fence does not tell who signals it"])
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
        modelled_on: "the class of fences that are lost where many become one; no single bug was looked up",
        ..fault(
            "merge-forgets-second",
            Synchronisation,
            &[Fences],
            &["a file merged of one that has signalled and one that has not is not what it must be"],
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
            &["a second mapping after 1 B at byte 0 does not see the target"],
        )
    },
];
