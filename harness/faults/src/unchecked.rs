//! What accepts that which must be refused: system calls, EGL and GBM.

use super::Class::{ErrorPath, Format, Handle, Kms, Layout, Ownership};
use super::Fault;
use super::Oracle::{Capability, Fds, References, Result};
use super::kernel::{fault, library};

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "VIDIOC_QBUF and DRM_IOCTL_PRIME_FD_TO_HANDLE leave a duplicate of an fd that they refuse open in the caller",
        trigger: "an open fd that is refused; of queues, a single-planar one",
        modelled_on: "venus 8bbe55533f5 and radv b7cc07432ac: error paths that forget a duplicate",
        ..fault(
            "refused-import-keeps-fd",
            Ownership,
            &[Fds],
            &[
                "(VIDIOC_QBUF) fails, and leaves something behind: fd…stays open",
                "(DRM_IOCTL_PRIME_FD_TO_HANDLE) fails, and leaves something behind: fd…stays open",
            ],
        )
    },
    Fault {
        what: "VIDIOC_QUERYBUF tells V4L2_BUF_FLAG_QUEUED of a slot for which VIDIOC_QBUF has refused a buffer",
        trigger: "a single-planar queue, until a buffer is taken for that slot or the queue has other buffers, or none",
        modelled_on: "the class of error paths that do not undo; no single bug was looked up",
        ..fault(
            "refused-slot-queued",
            Ownership,
            &[References],
            &["slots after…(VIDIOC_QBUF): slot 0 queued…not slot 0 idle"],
        )
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 leaves a GEM handle with a file whose frame it refuses",
        trigger: "what the card refuses",
        modelled_on: "gamescope issue 60, moonlight PR 1954, for handles: memory runs out of what is never given back",
        ..fault(
            "refused-addfb2-keeps-handle",
            Ownership,
            &[References],
            &["ADDFB2 of…fails, and leaves something behind:…has more: GEM handle"],
        )
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 makes a framebuffer of whatever it is asked for",
        trigger: "what the card refuses",
        modelled_on: "wlroots f90b024a: bounds that let a pitch of zero pass",
        ..fault(
            "addfb2-unchecked",
            Kms,
            &[Result],
            &["ADDFB2 of…is not refused", "a frame that ends behind its buffer was taken as a framebuffer"],
        )
    },
    Fault {
        what: "DMA_BUF_IOCTL_IMPORT_SYNC_FILE returns 0 for what is no sync_file",
        trigger: "an fd of another file",
        modelled_on: "the class of arguments that nobody looks at; no single bug was looked up",
        ..fault(
            "import-sync-file-unchecked",
            Handle,
            &[Result],
            &["a dma-buf as a fence (DMA_BUF_IOCTL_IMPORT_SYNC_FILE) is not refused"],
        )
    },
    Fault {
        what: "DRM_IOCTL_PRIME_FD_TO_HANDLE makes a handle of any number",
        trigger: "what is no dma-buf",
        modelled_on: "kms_swrast of Mesa, which takes a memory file for a dma-buf: it does not ask",
        ..fault("prime-import-unchecked", Handle, &[Result], &["a pipe (DRM_IOCTL_PRIME_FD_TO_HANDLE) is not refused"])
    },
    Fault {
        what: "DRM_IOCTL_PRIME_HANDLE_TO_FD takes unknown flags for none, and exports another buffer for an unknown handle",
        trigger: "what the card refuses",
        modelled_on: "Mesa 11a3679e3ab (amdgpu) and aba3aed96e4 (iris): a handle of another file, and so another buffer",
        ..fault("prime-export-unchecked", ErrorPath, &[Result], &["(DRM_IOCTL_PRIME_HANDLE_TO_FD) is not refused"])
    },
    Fault {
        what: "DRM_IOCTL_GEM_CLOSE and DRM_IOCTL_MODE_RMFB return 0 for what there is not",
        trigger: "what the card refuses",
        modelled_on: "mpv fc8c1fcfb2: a handle that was freed twice",
        ..fault(
            "removal-unchecked",
            ErrorPath,
            &[Result],
            &["(DRM_IOCTL_GEM_CLOSE) is not refused", "(DRM_IOCTL_MODE_RMFB) is not refused"],
        )
    },
    Fault {
        what: "UDMABUF_CREATE makes a buffer of 64 KiB whatever it is asked for",
        trigger: "a file, an offset or a size that it refuses",
        modelled_on: "CVE-2023-2008: udmabuf did not check an offset",
        ..fault("udmabuf-unchecked", ErrorPath, &[Result], &["UDMABUF_CREATE of…is not refused"])
    },
    Fault {
        what: "DMA_HEAP_IOCTL_ALLOC takes unknown flags for none, and a length of 0 or beyond all for 64 KiB",
        trigger: "what it answers EINVAL to",
        modelled_on: "the class of flags that nobody checks; no single bug was looked up",
        ..fault("heap-unchecked", ErrorPath, &[Result], &["an allocation from system with…is not refused"])
    },
    Fault {
        what: "DMA_BUF_IOCTL_SYNC returns 0 for flags that there are not",
        trigger: "what it answers EINVAL to",
        modelled_on: "libdrmtap issues 10 and 43: syncs that are missing or out of balance, which nobody told",
        ..fault("sync-unchecked", ErrorPath, &[Result], &["(DMA_BUF_IOCTL_SYNC) is not refused with EINVAL"])
    },
    Fault {
        what: "VIDIOC_QBUF says that a buffer is queued, and does not queue it",
        trigger: "single-planar queues, a dma-buf that the queue refuses, or what is none",
        modelled_on: "gamescope dcb0f6bc: a failed import that is used as if it had not",
        ..fault(
            "qbuf-unchecked",
            ErrorPath,
            &[Result],
            &[
                "(VIDIOC_QBUF) is not refused",
                "needs…B in one run…answers taken",
                "scattered memory for a device that needs one run of addresses is not found out",
            ],
        )
    },
    Fault {
        what: "VIDIOC_STREAMON and VIDIOC_DQBUF return 0 and do nothing",
        trigger: "a queue that is not to be started, and a single-planar one that stands",
        modelled_on: "the class of errors that are found when the device runs; no single bug was looked up",
        ..fault(
            "stream-unchecked",
            ErrorPath,
            &[Result],
            &["(VIDIOC_STREAMON) is not refused", "(VIDIOC_DQBUF) is not refused"],
        )
    },
    Fault {
        what: "VIDIOC_EXPBUF exports the first buffer",
        trigger: "a buffer, a plane or a flag that there is not",
        modelled_on: "Mesa ab7744b2801 and 640e8cb3dc8 (gallium, dri2): the handle of the first plane for every one",
        ..fault("expbuf-unchecked", ErrorPath, &[Result], &["VIDIOC_EXPBUF of slot…plane…flags…is not refused"])
    },
    Fault {
        what: "eglCreateImage takes in an XR24 LINEAR frame from the start of the dma-buf",
        trigger: "a dma-buf whose attributes Mesa refuses",
        modelled_on: "llvmpipe, which checks no bounds of an import: the finding llvmpipe-import-bounds of this repository",
        ..library(
            "egl-unchecked",
            ErrorPath,
            &[Result],
            &[
                "an import by EGL with…is not refused",
                "a format that nobody knows was imported",
                "EGL does not list…for import, and takes it in",
                "another vendor was imported",
            ],
        )
    },
    Fault {
        what: "gbm_bo_import takes in an XR24 LINEAR frame in the first fd",
        trigger: "GBM_BO_IMPORT_FD_MODIFIER, what Mesa refuses",
        modelled_on: "SDL issue 9075: a modifier that is not handed on",
        ..library(
            "gbm-unchecked",
            ErrorPath,
            &[Result],
            &["a modifier of another vendor was taken in", "an import by GBM with…is not refused"],
        )
    },
    Fault {
        what: "eglCreateImage rounds EGL_HEIGHT up to a multiple of 4",
        trigger: "a dma-buf with another height",
        modelled_on: "the class of sizes in blocks that get out: llvmpipe works in blocks of 4 rows",
        ..library("egl-height-rounded", Layout, &[Capability], &["the height that a shader is told"])
    },
    Fault {
        what: "eglCreateImage takes EGL_DMA_BUF_PLANE1_OFFSET_EXT for 0",
        trigger: "a second plane with another offset",
        modelled_on: "the class of offsets that are taken for the first plane only; no single bug was looked up",
        ..library(
            "egl-chroma-offset-ignored",
            Layout,
            &[super::Oracle::Pixels],
            &["gles shows grey of NV12 with a tint"],
        )
    },
    Fault {
        what: "eglCreateImage takes the fd of the first plane for every one",
        trigger: "planes with fds of different numbers",
        modelled_on: "Mesa ab7744b2801 and 640e8cb3dc8 (gallium, dri2): the handle of the first plane for every one",
        ..library(
            "egl-first-plane-fd",
            Layout,
            &[super::Oracle::Pixels],
            &["gles…like a picture read with all planes read from the dma-buf of the first one"],
        )
    },
    Fault {
        what: "eglCreateImage exchanges XR24 and XB24, and AR24 and AB24",
        trigger: "one of these formats",
        modelled_on: "mutter 06d0989014, gamescope 76292f01",
        ..library(
            "egl-red-blue",
            Format,
            &[super::Oracle::Pixels],
            &[
                "gles on gbm…does not see the target…like channels R and B swapped",
                "where OpenGL ES drew, does not see the target…like channels R and B swapped",
            ],
        )
    },
    Fault {
        what: "eglCreateImage closes the fd of the first plane, which it was lent",
        trigger: "an import that succeeds",
        modelled_on: "gamescope f58d2b4b, amd/xdna-driver PR 1599: whoever takes an fd that is lent",
        ..library(
            "egl-import-takes-fd",
            Ownership,
            &[Fds],
            &["eglCreateImage(EGL_LINUX_DMA_BUF_EXT)…which it was only lent, is closed"],
        )
    },
];
