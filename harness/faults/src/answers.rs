//! Answers that nobody should take for what they say: impossible ones, and ones that contradict others; and devices that lack
//! what others have.

use super::Class::{ErrorPath, Handle, Kms, Layout, Modifier};
use super::Oracle::{Capability, Layout as Layouts, Pixels, Result};
use super::kernel::{control, fault, library};
use super::vulkan::fault as driver;
use super::{Fault, Kind};

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "the modifier list has I915_X_TILED with the features of LINEAR; making an image of it writes to address 8",
        trigger: "formats B8G8R8A8_UNORM and R8G8B8A8_UNORM, a list with no other modifier",
        modelled_on: "Mesa 17d78ece36a (vc4), where the client aborted",
        seen_by: &[Result],
        names: &["SIGSEGV…in vkCreateImage on"],
        ..driver("listed-modifier-crashes", Modifier)
    },
    Fault {
        what: "the modifier list says that LINEAR has no memory plane",
        trigger: "format B8G8R8A8_UNORM",
        modelled_on: "Mesa f8887909c66 (iris) and 36bd3e98683 (dri2), which counted others",
        seen_by: &[Capability],
        names: &["VkDrmFormatModifierPropertiesEXT failed: invalid answer: 0 memory planes"],
        ..driver("plane-count-zero", Modifier)
    },
    Fault {
        what: "the modifier list says that LINEAR has 4294967295 memory planes",
        trigger: "format B8G8R8A8_UNORM",
        modelled_on: "Mesa f8887909c66 (iris) and 36bd3e98683 (dri2), which counted others",
        seen_by: &[Capability],
        names: &["VkDrmFormatModifierPropertiesEXT failed: invalid answer: 4294967295 memory planes"],
        ..driver("plane-count-endless", Modifier)
    },
    Fault {
        what: "vkGetImageSubresourceLayout tells rowPitch 0",
        trigger: "tiling DRM_FORMAT_MODIFIER, or LINEAR with external memory",
        modelled_on: "Mesa a0fe98b4787 (freedreno), whose layout was computed before the size of a pixel",
        seen_by: &[Layouts],
        names: &["vkGetImageSubresourceLayout…plane 0 has row pitch 0 B"],
        ..driver("pitch-zero", Layout)
    },
    Fault {
        what: "vkGetImageSubresourceLayout tells size 2^64 - 1",
        trigger: "tiling DRM_FORMAT_MODIFIER, or LINEAR with external memory",
        modelled_on: "Mesa e074a08a6de (anv), where the size did not fit its type",
        seen_by: &[Layouts],
        names: &["vkGetImageSubresourceLayout…plane 0 of 18446744073709551615 B at offset 0 B"],
        ..driver("size-of-layout-endless", Layout)
    },
    Fault {
        what: "there is one more memory type, the first, and vkGetMemoryFdPropertiesKHR names no other, though images are in \
               others",
        trigger: "handle type DMA_BUF",
        modelled_on: "Mesa 5e1cb16768d (anv) and b0550453786 (radv), which named none and one too many",
        seen_by: &[Capability],
        names: &["can't be imported as the memory type that it is of"],
        ..driver("fd-of-another-type", Handle)
    },
    Fault {
        what: "images are said to be shared only with memory that is dedicated to them, and do not require it",
        trigger: "images with external memory",
        modelled_on: "the class of queries that contradict each other (Mesa 486472a98db); no single bug was looked up",
        seen_by: &[Capability],
        names: &["is shared in dedicated memory only, and does not require it"],
        ..driver("dedicated-unsaid", Handle)
    },
    Fault {
        what: "VIDIOC_ENUM_FRAMESIZES says that ranges of sizes end at a width of 65535",
        trigger: "a format whose sizes are a range",
        modelled_on: "the class of lists that are not kept to; no single bug was looked up",
        ..fault("frame-sizes-invented", Layout, &[Capability], &["65535x…is listed, and VIDIOC_TRY_FMT makes"])
    },
    Fault {
        what: "VIDIOC_TRY_FMT tells 4096 B more than VIDIOC_S_FMT does",
        trigger: "a queue of one memory plane",
        modelled_on: "the class of queries that contradict each other; no single bug was looked up",
        ..fault(
            "try-fmt-otherwise",
            Layout,
            &[Capability],
            &["VIDIOC_TRY_FMT and VIDIOC_S_FMT make different things of"],
        )
    },
    Fault {
        what: "VIDIOC_REQBUFS does not tell V4L2_BUF_CAP_SUPPORTS_DMABUF of a queue that takes dma-bufs",
        trigger: "a request for no buffers",
        modelled_on: "the class of queries that contradict what is done; no single bug was looked up",
        ..fault(
            "queue-dmabuf-unsaid",
            Handle,
            &[Capability],
            &["V4L2_BUF_CAP_SUPPORTS_DMABUF is not said, and VIDIOC_REQBUFS works"],
        )
    },
    Fault {
        what: "DRM_IOCTL_GET_CAP tells DRM_CAP_PRIME without DRM_PRIME_CAP_IMPORT",
        trigger: "always",
        modelled_on: "the class of queries that contradict what is done; no single bug was looked up",
        ..fault(
            "prime-import-unsaid",
            Handle,
            &[Capability],
            &["DRM_PRIME_CAP_IMPORT is not said, and DRM_IOCTL_PRIME_FD_TO_HANDLE works"],
        )
    },
    Fault {
        what: "DRM_IOCTL_GET_CAP tells DRM_CAP_PRIME without DRM_PRIME_CAP_EXPORT",
        trigger: "always",
        modelled_on: "the class of queries that contradict what is done; no single bug was looked up",
        ..fault(
            "prime-export-unsaid",
            Handle,
            &[Capability],
            &["DRM_PRIME_CAP_EXPORT is not said, and DRM_IOCTL_PRIME_HANDLE_TO_FD works"],
        )
    },
    Fault {
        what: "VIDIOC_QBUF fails with ENODEV, as where a device has gone in the middle",
        trigger: "always",
        modelled_on: "\"Return Value\" of the kernel's V4L2 documentation, of a device that was disconnected",
        ..fault("video-gone", ErrorPath, &[Result], &["VIDIOC_QBUF failed: ENODEV"])
    },
    Fault {
        what: "the last format of WRITEBACK_PIXEL_FORMATS is AB4H, which no plane has",
        trigger: "a blob that is a list of formats alone",
        modelled_on: "the class of lists that are not kept to; no single bug was looked up",
        ..fault("writeback-formats-invented", Kms, &[Capability], &["AB4H is listed for writeback, and"])
    },
    Fault {
        what: "eglExportDMABUFImageQueryMESA tells the modifier I915_X_TILED",
        trigger: "always",
        modelled_on: "Mesa 36bd3e98683 (dri2): answers of an export that are another image's",
        ..library(
            "egl-export-modifier-invented",
            Modifier,
            &[Capability],
            &["INTEL:0x0100000000000001 is exported, and not listed for import"],
        )
    },
    Fault {
        what: "eglExportDMABUFImageQueryMESA tells 2147483647 planes",
        trigger: "always",
        modelled_on: "Mesa 36bd3e98683 (dri2), which counted others",
        ..library(
            "egl-export-planes-endless",
            Layout,
            &[Layouts],
            &["eglExportDMABUFImageQueryMESA failed: invalid answer: 2147483647 planes"],
        )
    },
    Fault {
        what: "eglExportDMABUFImageMESA tells a pitch of 0",
        trigger: "always",
        modelled_on: "Mesa a0fe98b4787 (freedreno), whose layout was computed before the size of a pixel",
        ..library(
            "egl-export-pitch-zero",
            Layout,
            &[Layouts],
            &["eglExportDMABUFImageMESA failed: invalid answer:…pitch 0 B is shorter than a row"],
        )
    },
    Fault {
        what: "eglExportDMABUFImageMESA tells an offset that is a row too large",
        trigger: "always",
        modelled_on: "the class of offsets that are told twice or not at all; no single bug was looked up",
        ..library(
            "egl-export-row-late",
            Layout,
            &[Pixels],
            &["cpu does not see the target…an offset that is 1 row off…heap memory of gles on gbm"],
        )
    },
    Fault {
        what: "gbm_bo_get_plane_count tells 2147483647 planes",
        trigger: "always",
        modelled_on: "Mesa 36bd3e98683 (dri2), which counted others",
        ..library(
            "gbm-planes-endless",
            Layout,
            &[Layouts],
            &["gbm_bo_get_plane_count…invalid answer: 2147483647 planes"],
        )
    },
    Fault {
        what: "gbm_bo_get_stride_for_plane tells a pitch of 0",
        trigger: "always",
        modelled_on: "Mesa a0fe98b4787 (freedreno), whose layout was computed before the size of a pixel",
        ..library(
            "gbm-pitch-zero",
            Layout,
            &[Layouts],
            &["the pitch in bytes that gbm_bo_get_stride_for_plane tells: 0, not"],
        )
    },
    // Legal.
    Fault {
        what: "DRM_IOCTL_SET_CLIENT_CAP of DRM_CLIENT_CAP_ATOMIC fails with EOPNOTSUPP",
        trigger: "always",
        modelled_on: "\"Userland interfaces\" of the kernel's DRM documentation: drivers without DRIVER_ATOMIC",
        skips: &["its driver has no atomic mode setting: EOPNOTSUPP"],
        about: super::controls::CARDS,
        ..control("card-without-atomic", Kms)
    },
    Fault {
        what: "DRM_IOCTL_SET_CLIENT_CAP of DRM_CLIENT_CAP_UNIVERSAL_PLANES fails with EOPNOTSUPP",
        trigger: "always",
        modelled_on: "\"Userland interfaces\" of the kernel's DRM documentation: drivers without DRIVER_MODESET",
        skips: &["its driver has no universal planes: EOPNOTSUPP"],
        about: super::controls::CARDS,
        ..control("card-without-planes", Kms)
    },
    Fault {
        what: "the extensions of a display lack EGL_EXT_image_dma_buf_import, and all others of dma-bufs",
        trigger: "always",
        modelled_on: "EGL 1.5, eglQueryString: extensions are what an implementation has",
        skips: &["EGL_EXT_image_dma_buf_import is missing (to import dma-bufs)"],
        kind: Kind::Control,
        about: &["gles"],
        ..library("egl-without-dma-bufs", Handle, &[], &[])
    },
];
