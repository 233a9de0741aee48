//! What system calls may do and seldom do: unusual, and legal.

use super::Class::{Coherency, ErrorPath, Format, Kms, Layout, Synchronisation};
use super::kernel::control;
use super::{Fault, Seam};

/// Reasons of video devices that can't take rows with padding: two know no pitch, and a frame is too large for one page with it.
const ROWS_TOO_LONG: [&str; 3] = [
    "vicodec…at most 640 B as pitch",
    "vim2m…at most 128 B as pitch, plane 0 has 256 B",
    "vivid…needs contiguous memory, heap memory of…may provide 16384 B in runs of 4096 B",
];

/// The roles of who shows what is on a card, or makes buffers with one.
pub(super) const CARDS: &[&str] = &["screen", "screen_b", "overlay", "cursor", "gbm", "vgem"];

pub(super) const ALL: &[Fault] = &[
    Fault {
        id: "B04",
        what: "DRM_IOCTL_MODE_ADDFB2 refuses pitches that are no multiple of 256, and modifiers of small frames, with EINVAL; \
               DRM_IOCTL_MODE_CREATE_DUMB lays rows so",
        trigger: "packed formats; AB24 and RG16 of less than 64 px in width with DRM_MODE_FB_MODIFIERS; rows of another length",
        modelled_on: "amdgpu, radeon and others scan out at such pitches only; DRM_IOCTL_MODE_ADDFB2 says EINVAL, whyever",
        skips: &[
            "screen…takes multiples of 256 B…as pitch",
            "screen lists none of [RG16], or makes no frame of them however their rows lie",
            "screen lists none of [AB24], or makes no frame of them however their rows lie",
            "overlay can't take it in: DRM_IOCTL_MODE_ADDFB2…AB24 LINEAR, 33x17 px…EINVAL",
            ROWS_TOO_LONG[0],
            ROWS_TOO_LONG[1],
            ROWS_TOO_LONG[2],
        ],
        about: CARDS,
        ..control("addfb2-choosy", Layout)
    },
    Fault {
        what: "DRM_IOCTL_MODE_CREATE_DUMB lays rows at multiples of 256 B",
        trigger: "rows of another length",
        modelled_on: "drm_mode_create_dumb's documentation: pitch is the driver's; radeon, amdgpu and ast align so",
        skips: &ROWS_TOO_LONG,
        about: CARDS,
        ..control("dumb-pitch-256", Layout)
    },
    Fault {
        seam: Seam::EglGbm,
        what: "EGL and GBM refuse to take frames in whose pitches are no multiples of 256 B, with EGL_BAD_ALLOC and ENOSYS; GBM makes \
               buffers with such rows",
        trigger: "rows of another length",
        modelled_on: "LINEAR of AMD's GPUs from GFX9 on; dri2_create_image_from_fd and gbm_dri_bo_import of Mesa, which say so whyever",
        // Who made a frame lays it as it likes: EGL's own images are laid by Mesa, which knows nothing of this; two know no pitch, and
        // GBM's buffers are wide.
        skips: &[
            "gles…takes multiples of 256 B as pitch",
            "gbm…takes multiples of 256 B as pitch",
            "vim2m…at most 128 B as pitch, plane 0 has 512 B",
            "vivid…needs contiguous memory, heap memory of gbm…may provide",
        ],
        about: &["gles", "gles_gbm", "gbm"],
        ..control("egl-gbm-pitch-256", Layout)
    },
    Fault {
        what: "DRM_IOCTL_MODE_CREATE_DUMB refuses with EINVAL what has other than 8, 16 or 32 bits per pixel",
        trigger: "24 bits and 64, of a card with a display",
        modelled_on: "i915_gem_dumb_create, which knows a pixel of 1, 2 and 4 bytes",
        about: &["screen", "screen_b", "overlay", "cursor"],
        ..control("dumb-of-32-bits-at-most", ErrorPath)
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 refuses memory that came by PRIME from elsewhere with EINVAL",
        trigger: "a GEM handle that DRM_IOCTL_MODE_MAP_DUMB does not map",
        modelled_on: "amdgpu_display_user_framebuffer_create, where the display reads no system memory, and i915 with local memory, \
                      which says EREMOTE",
        skips: &["it shows no memory of others", "takes memory of none of the heaps"],
        about: CARDS,
        ..control("addfb2-own-memory-only", ErrorPath)
    },
    Fault {
        what: "DRM_CAP_ADDFB2_MODIFIERS is 0, no plane has IN_FORMATS, and DRM_IOCTL_MODE_ADDFB2 refuses DRM_MODE_FB_MODIFIERS with \
               EINVAL",
        trigger: "always",
        modelled_on: "fb_modifiers_not_supported of virtio-gpu, qxl and others, and drm_internal_framebuffer_create",
        about: CARDS,
        ..control("card-without-modifiers", Kms)
    },
    Fault {
        what: "SYNC_IOC_FILE_INFO tells neither driver nor timeline of a fence",
        trigger: "always",
        modelled_on: "linux/sync_file.h, which says nothing of what a name is: a driver may have none",
        skips: &["the kernel tells no name of its driver and timeline"],
        ..control("sync-file-nameless", Synchronisation)
    },
    Fault {
        what: "every ninth call of a device takes 2 ms longer",
        trigger: "ADDFB2, ATOMIC, PRIME_FD_TO_HANDLE, CREATE_DUMB, DMA_HEAP_IOCTL_ALLOC, DQBUF, DMA_BUF_IOCTL_SYNC",
        modelled_on: "any machine with something else to do",
        shares: true,
        ..control("slow-calls", Synchronisation)
    },
    Fault {
        what: "DRM_IOCTL_MODE_ATOMIC refuses with EINVAL what lights a CRTC and shows nothing on its primary plane",
        trigger: "a CRTC with a mode that is active after the commit",
        modelled_on: "drm_atomic_helper_check_crtc_primary_plane, which ast, mgag200 and many others call, and the check of amdgpu's own",
        shares: true,
        ..control("crtc-wants-primary", Kms)
    },
    Fault {
        id: "B06",
        what: "DMA_BUF_IOCTL_SYNC returns EINTR, then EAGAIN, then does it",
        trigger: "always",
        modelled_on: "linux/dma-buf.h: \"may fail with -EAGAIN or -EINTR, in which case it must be restarted\"",
        shares: true,
        ..control("sync-interrupted", Coherency)
    },
    Fault {
        what: "every other call of a DRM device returns EINTR before it has done anything",
        trigger: "ADDFB2, ATOMIC, PRIME_FD_TO_HANDLE and CREATE_DUMB",
        modelled_on: "drmIoctl of libdrm: \"while (ret == -1 && (errno == EINTR || errno == EAGAIN))\"",
        shares: true,
        ..control("drm-interrupted", ErrorPath)
    },
    Fault {
        what: "VIDIOC_DQBUF returns EAGAIN every other time, though poll said that a buffer is there",
        trigger: "single-planar queues",
        modelled_on: "poll(2): readiness may be spurious; VIDIOC_DQBUF's EAGAIN for O_NONBLOCK",
        shares: true,
        ..control("dqbuf-again", Synchronisation)
    },
    Fault {
        id: "B05",
        what: "the bytes of X of what a video device captured hold anything",
        trigger: "VIDIOC_DQBUF of a capture queue in XR24 or XB24",
        modelled_on: "the pixel formats of V4L2: X is padding, and undefined; IGT 85f4c1005 took it for colour",
        shares: true,
        ..control("captured-x-garbage", Format)
    },
    Fault {
        what: "DMA_HEAP_IOCTL_ALLOC rounds up to 64 KiB",
        trigger: "another length of more than 4096 B",
        modelled_on: "heaps with larger granules: secure heaps of vendors; the length is a least one",
        shares: true,
        ..control("heap-gives-more", Layout)
    },
    Fault {
        what: "the formats that are listed for writeback have no alpha, and the bytes of X of what was written hold anything",
        trigger: "a writeback that is done, before DMA_BUF_IOCTL_SYNC begins a read",
        modelled_on: "drm_fourcc.h, where X is padding; IGT 85f4c1005 took X of a writeback for colour",
        shares: true,
        ..control("writeback-x-garbage", Kms)
    },
];
