//! The faults of system calls, and of the libraries between them and a program: EGL's vendor and GBM's backend.

use super::Class::{Aliasing, Coherency, ErrorPath, Format, Handle, Kms, Layout, Modifier, Ownership, Synchronisation};
use super::Oracle::{Capability, Fds, Fences, Layout as Layouts, Pixels, References, Result};
use super::{Class, Fault, Kind, Oracle, Seam};

/// Faults of the kernel.
pub(super) const fn fault(
    name: &'static str,
    class: Class,
    seen_by: &'static [Oracle],
    names: &'static [&'static str],
) -> Fault {
    let (what, trigger, modelled_on) = ("", "", "");
    Fault {
        name,
        id: "",
        kind: Kind::Fault,
        seam: Seam::Kernel,
        class,
        what,
        trigger,
        modelled_on,
        seen_by,
        names,
        skips: &[],
        about: &[],
        shares: false,
        gap: None,
    }
}

/// Faults of EGL and GBM.
pub(super) const fn library(
    name: &'static str,
    class: Class,
    seen_by: &'static [Oracle],
    names: &'static [&'static str],
) -> Fault {
    Fault { seam: Seam::EglGbm, ..fault(name, class, seen_by, names) }
}

/// What a kernel may do.
pub(super) const fn control(name: &'static str, class: Class) -> Fault {
    Fault { kind: Kind::Control, ..fault(name, class, &[], &[]) }
}

pub(super) const ALL: &[Fault] = &[
    Fault {
        id: "P03",
        what: "DRM_IOCTL_MODE_ADDFB2 takes the pitch of one plane for width times bytes per pixel, and of several exchanges \
               the first two",
        trigger: "a pitch with padding, or planes of different pitches",
        modelled_on: "mpv 84c18f6b96, linux-meson PR 67, weston b0409743",
        ..fault("addfb2-pitch", Layout, &[Pixels], &["screen…like the frame read with a pitch of"])
    },
    Fault {
        id: "P18",
        what: "DMA_BUF_IOCTL_IMPORT_SYNC_FILE returns 0 and does nothing",
        trigger: "always",
        modelled_on: "radv 85fe0e551fc, amdgpu 6e11ea9de957",
        ..fault(
            "implicit-fence-lost",
            Synchronisation,
            &[Fences],
            &["a fence that did not get into the buffer: poll does not wait either", "with one writer has signalled"],
        )
    },
    Fault {
        id: "P19",
        what: "DRM_IOCTL_MODE_ADDFB2 takes ARGB8888 for XRGB8888; over black, on the lowest plane, that looks the same",
        trigger: "format AR24",
        modelled_on: "vkms 39cba5cf8c2c",
        ..fault("overlay-alpha-ignored", Kms, &[Pixels], &["screen…with its alpha ignored, as if it were XR24"])
    },
    Fault {
        id: "P20",
        what: "SRC_X and SRC_Y of a plane are doubled, as far as the crop stays in the framebuffer",
        trigger: "SRC_X or SRC_Y is not 0, in a commit that is not only tried",
        modelled_on: "vc4 5e68a4e15d2a",
        ..fault("crop-twice", Kms, &[Pixels], &["screen…with the origin of its crop…applied twice"])
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 takes the offset of a plane for 0",
        trigger: "one plane, with an offset",
        modelled_on: "lima e46b2ef7243, on the GPU's side; no bug of a display driver was looked up",
        ..fault("addfb2-offset-dropped", Layout, &[Pixels], &["screen…with the offset of…ignored"])
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 takes whatever modifier for LINEAR",
        trigger: "DRM_MODE_FB_MODIFIERS with another modifier than LINEAR",
        modelled_on: "smithay issue 2112, CTS 0c0805687",
        ..fault(
            "addfb2-modifier-ignored",
            Modifier,
            &[Capability, Result],
            &["plane takes…0x7e00000000000001, which it does not list"],
        )
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 exchanges XR24 and XB24, and AR24 and AB24",
        trigger: "one of these formats",
        modelled_on: "mutter 06d0989014, gamescope 76292f01",
        ..fault("addfb2-red-blue", Format, &[Pixels], &["screen…like channels R and B swapped"])
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 exchanges NV12 and NV21, YU12 and YV12, and their likes",
        trigger: "a YUV format with a counterpart",
        modelled_on: "Mesa d491b0dfd97, and 0a2dcd3a8ac (android)",
        ..fault(
            "addfb2-chroma-swapped",
            Format,
            &[Pixels],
            &[
                "screen…like a picture read with U and V swapped",
                "screen…like a picture read with the planes of U and V swapped",
            ],
        )
    },
    Fault {
        what: "CRTC_X of a plane is one pixel too large",
        trigger: "a plane that does not begin at the left edge, in a commit that is not only tried",
        modelled_on: "the class of wrong positions of planes; no single bug was looked up",
        ..fault("plane-moved", Kms, &[Pixels], &["screen…like layer…moved 1 px to the right"])
    },
    Fault {
        what: "IN_FENCE_FD of a plane is taken for -1",
        trigger: "a plane with a fence, in a commit that is not only tried",
        modelled_on: "Hyprland 1bf410e1f, which scanned out without IN_FENCE_FD",
        ..fault(
            "plane-fence-dropped",
            Synchronisation,
            &[Fences],
            &[
                "screen did not wait for the fence…the fence was taken and not waited for",
                "overlay did not wait for the fence…the fence was taken and not waited for",
                "the first commit has reached the screen before its fence",
                "the screen waited for a fence…one of its own…like IN_FENCE_FD that did not get to the plane",
            ],
        )
    },
    Fault {
        what: "OUT_FENCE_PTR of a CRTC gets a fence that has signalled",
        trigger: "a commit with OUT_FENCE_PTR",
        modelled_on: "gamescope f35e1b38: a buffer that is released while the backend still refers to it",
        ..fault(
            "out-fence-early",
            Synchronisation,
            &[Fences],
            &["out-fence signalled before the frame was on the screen"],
        )
    },
    Fault {
        what: "WRITEBACK_OUT_FENCE_PTR gets a fence that has signalled",
        trigger: "a writeback job",
        modelled_on: "Mesa cb74cd816c0 (anv), on the GPU's side: a stale signal that is handed out; no bug of a writeback was looked up",
        ..fault(
            "writeback-fence-early",
            Synchronisation,
            &[Fences, Pixels],
            &["the writeback's fence signalled before the frame was on the screen"],
        )
    },
    Fault {
        what: "COLOR_RANGE of a plane is the other one",
        trigger: "a plane whose COLOR_RANGE is set, in a commit that is not only tried",
        modelled_on: "gamescope 9d61912b, 274d2a65 and 7bc3c677",
        ..fault(
            "colour-range-ignored",
            Format,
            &[Pixels],
            &[
                "screen…like a picture converted as bt709_full in place of bt709_limited",
                "screen…like a picture converted as bt2020_limited in place of bt2020_full",
                "screen shows another grey…a picture converted as bt601",
            ],
        )
    },
    Fault {
        what: "a commit with DRM_MODE_ATOMIC_TEST_ONLY is always said to be possible",
        trigger: "TEST_ONLY",
        modelled_on: "gamescope 5228f370, smithay 25968e99: what can't be shown is found out when it is to be",
        ..fault("test-only-accepts", ErrorPath, &[Result], &["says in a test that it would show"])
    },
    Fault {
        what: "DRM_IOCTL_MODE_ATOMIC returns 0 for a commit that the kernel refuses",
        trigger: "a commit that is not only tried, and an error other than EBUSY",
        modelled_on: "Mesa a740318e425 (radv), on the GPU's side: a failure that is not handed on; no bug of a display driver was looked up",
        ..fault(
            "commit-unchecked",
            ErrorPath,
            &[Result],
            &["a commit with…, sent, is not refused", "a commit of who is not master is not refused"],
        )
    },
    Fault {
        what: "a commit that the kernel refuses takes its planes off the screen",
        trigger: "a commit that is not only tried, and an error other than EBUSY",
        modelled_on: "venus 38e0067643b, for handles: a failure that takes away what is in use",
        ..fault(
            "refused-commit-blanks",
            ErrorPath,
            &[Pixels],
            &["screen, with nothing new to show,…does not see the target"],
        )
    },
    Fault {
        what: "DRM_IOCTL_MODE_RMFB and CLOSEFB return 0 and keep the framebuffer",
        trigger: "always",
        modelled_on: "gamescope issue 60, moonlight PR 1954, for handles: memory runs out of what is never given back",
        ..fault(
            "framebuffer-kept",
            Ownership,
            &[References],
            &[
                "a black screen still has…framebuffers…like DRM_IOCTL_MODE_RMFB",
                "framebuffer…of dma-buf…made in call…was not removed",
            ],
        )
    },
    Fault {
        what: "DRM_IOCTL_GEM_CLOSE returns 0 and keeps the handle",
        trigger: "always",
        modelled_on: "gamescope issue 60, moonlight PR 1954",
        ..fault(
            "gem-handle-kept",
            Ownership,
            &[References],
            &[
                "a black screen still has…GEM handles…like DRM_IOCTL_GEM_CLOSE",
                "the buffer is still there, and nobody has it…GEM handle",
                "like a GEM handle that is never closed keeps its attachment",
            ],
        )
    },
    Fault {
        what: "DRM_IOCTL_PRIME_FD_TO_HANDLE makes a dumb buffer with the contents of the moment",
        trigger: "a dma-buf that can be mapped",
        modelled_on: "radeonsi 769603564ec; USB displays (udl, evdi) that copy",
        ..fault(
            "prime-import-copies",
            Aliasing,
            &[Pixels, References],
            &[
                "hands on another buffer than it took in",
                "has two GEM handles for one dma-buf",
                "inode of the dma-buf that vgem handed on…taken in by its fd and by another one",
            ],
        )
    },
    Fault {
        what: "DRM_IOCTL_PRIME_HANDLE_TO_FD drops DRM_CLOEXEC",
        trigger: "DRM_CLOEXEC is asked for",
        modelled_on: "mesa and wlroots exports without it; the finding lavapipe-no-cloexec of this repository",
        ..fault("prime-export-inherited", Ownership, &[Fds], &["the fd is not closed on exec"])
    },
    Fault {
        what: "DRM_IOCTL_PRIME_HANDLE_TO_FD drops DRM_RDWR",
        trigger: "DRM_RDWR is asked for",
        modelled_on: "kernels before DRM_RDWR; no single bug was looked up",
        ..fault("prime-export-read-only", Handle, &[Fds, Result], &["the fd is O_RDONLY and not O_RDWR"])
    },
    Fault {
        what: "DRM_IOCTL_PRIME_HANDLE_TO_FD leaves a second fd open in the caller",
        trigger: "always",
        modelled_on: "gbm and minigbm exports that dup once too often: venus 8bbe55533f5, radv b7cc07432ac",
        ..fault("prime-export-grows", Ownership, &[Fds], &["DRM_IOCTL_PRIME_HANDLE_TO_FD…one for each export"])
    },
    Fault {
        what: "DRM_IOCTL_MODE_MAP_DUMB says where an imported buffer would be mapped, instead of EINVAL",
        trigger: "a handle that MAP_DUMB refuses",
        modelled_on: "kernels before drm_gem_dumb_map_offset() refused imported buffers",
        ..fault("imported-mapped", ErrorPath, &[Result], &["a handle of an imported buffer can be mapped"])
    },
    Fault {
        what: "DRM_IOCTL_MODE_CREATE_DUMB has memory for half of the rows",
        trigger: "more than 64 rows",
        modelled_on: "Mesa e074a08a6de (anv): pitch times height in too few bits",
        ..fault(
            "dumb-rows-missing",
            Layout,
            &[Layouts, Result],
            &["DRM_IOCTL_MODE_CREATE_DUMB failed: invalid answer:…B for…rows of"],
        )
    },
    Fault {
        what: "DMA_BUF_IOCTL_EXPORT_SYNC_FILE hands out a fence that has signalled",
        trigger: "always",
        modelled_on: "gst-wayland-display PR 49",
        ..fault(
            "implicit-fence-signalled",
            Synchronisation,
            &[Fences],
            &["a fence that is in the buffer, for poll waits for it, and is not the one exported"],
        )
    },
    Fault {
        what: "poll of a dma-buf returns at once, ready for what was asked",
        trigger: "poll of one dma-buf",
        modelled_on: "smithay bcae5c83 and Hyprland 0e521788b, whose reads did not wait for the buffer's fence",
        ..fault(
            "poll-never-waits",
            Synchronisation,
            &[Fences],
            &["poll of who is about to read did not wait…like the fence is in the buffer"],
        )
    },
    Fault {
        what: "poll of a dma-buf or a sync_file and DMA_BUF_IOCTL_SYNC that would wait, and did so just before, as when a signal has \
               come meanwhile, return at once",
        trigger: "the same call of one thread within 500 ms, of one file with a pending fence",
        modelled_on: "the class of waits that a signal ends (libdrm and Mesa make calls again by drmIoctl); no single bug was looked up",
        ..fault(
            "wait-ends-at-signal",
            Synchronisation,
            &[Fences, Pixels],
            &["did not wait for the fence…signals…calls were made again"],
        )
    },
    Fault {
        what: "close of every eighth dma-buf fd returns 0 and leaves it open",
        trigger: "dma-buf fds",
        modelled_on: "radv b7cc07432ac",
        ..fault("close-forgotten", Ownership, &[Fds, References], &["a close that now and then does nothing"])
    },
    Fault {
        what: "close of the last fd that a process has of a dma-buf clears the buffer",
        trigger: "a dma-buf that the process has mapped",
        modelled_on: "gfxstream 70fe8f8cc: a buffer that goes while another process has it",
        ..fault(
            "close-clears-mapped",
            Ownership,
            &[Pixels],
            &["the mapping, after others went, does not see the target"],
        )
    },
    Fault {
        what: "a message arrives without its last fd",
        trigger: "SCM_RIGHTS",
        modelled_on: "mutter aad237a04a: fds that are closed before they are handed on; recvmsg(2): MSG_CTRUNC",
        ..fault("sent-fds-lost", Ownership, &[Fds], &["0 fds came along"])
    },
    Fault {
        what: "munmap of a dma-buf returns 0 and leaves the mapping where it is",
        trigger: "a mapping of a dma-buf",
        modelled_on: "the class of mappings that stay; no single bug was looked up",
        ..fault(
            "mapping-kept",
            Ownership,
            &[References],
            &[
                "mappings of shared memory stay after",
                "the buffer that the pool refused is still there when its client has let go…like a mapping, or another reference",
            ],
        )
    },
    Fault {
        what: "the first two pages of a udmabuf are exchanged",
        trigger: "UDMABUF_CREATE of two pages or more",
        modelled_on: "the class of pages in the wrong order; no single bug was looked up",
        ..fault(
            "udmabuf-pages-swapped",
            Layout,
            &[Pixels],
            &["the pages of the udmabuf are those of its memfd in another order"],
        )
    },
    Fault {
        what: "memory of a heap has old bytes in it",
        trigger: "always",
        modelled_on: "the class of memory that is not cleared: the system heap asks for __GFP_ZERO; no single bug was looked up",
        ..fault("heap-not-cleared", Coherency, &[Pixels], &["gives memory that is not cleared"])
    },
    Fault {
        what: "VIDIOC_S_FMT takes bytesperline for the smallest, and tells the one that was asked for",
        trigger: "single-planar formats, a larger bytesperline than needed",
        modelled_on: "Mesa c03fbb41aa3 (iris), on the GPU's side",
        ..fault("video-pitch-ignored", Layout, &[Pixels, Layouts], &["VIDIOC_S_FMT…a pitch (bytesperline)"])
    },
    Fault {
        what: "VIDIOC_QBUF takes data_offset of each plane for 0",
        trigger: "multi-planar queues, a plane with data_offset",
        modelled_on: "vc5 e5a81ac7043, on the GPU's side; no bug of a video device was looked up",
        ..fault(
            "video-data-offset-dropped",
            Layout,
            &[Pixels],
            &["plane 0 does not see the target…like an offset 4096 B too small"],
        )
    },
    Fault {
        what: "VIDIOC_QBUF takes the first dma-buf that was queued for an index",
        trigger: "single-planar queues, another dma-buf for the same index",
        modelled_on: "mpv fc8c1fcfb2: a number that comes again stands for the buffer that had it before",
        ..fault(
            "qbuf-first-buffer",
            Aliasing,
            &[Pixels],
            &["the buffer that was queued…like the frame that was in the buffer before"],
        )
    },
    Fault {
        what: "VIDIOC_QBUF sends an empty buffer of the same size in place of the dma-buf that it is given",
        trigger: "single-planar queues of what is sent, dma-bufs, devices that take scattered memory",
        modelled_on: "the class of imports that read what was there before the frame; no single bug was looked up",
        ..fault(
            "qbuf-sends-nothing",
            Aliasing,
            &[Pixels],
            &[
                "bytes of the stream: ",
                "differ: video does not see the target…like a buffer that nobody wrote: every byte is 0x00",
            ],
        )
    },
    Fault {
        what: "VIDIOC_DQBUF tells another index than that of the buffer it takes out",
        trigger: "single-planar queues",
        modelled_on: "vkms 0ca33adb91c0, for CRCs: what is told of another frame than its own",
        ..fault(
            "dqbuf-wrong-index",
            Ownership,
            &[Result, Pixels],
            &["VIDIOC_DQBUF…it took out buffer", "VIDIOC_DQBUF gives the buffers back in the order"],
        )
    },
    Fault {
        what: "VIDIOC_DQBUF tells a bytesused of 0",
        trigger: "single-planar queues",
        modelled_on: "the class of lengths that a video device does not tell; no single bug was looked up",
        ..fault("dqbuf-empty", Layout, &[Result], &["VIDIOC_DQBUF…a stream of 0 bytes"])
    },
    Fault {
        what: "VIDIOC_EXPBUF exports the first buffer, whichever is asked for",
        trigger: "another index than 0",
        modelled_on: "Mesa ab7744b2801 and 640e8cb3dc8 (gallium, dri2): the handle of one plane for all",
        ..fault(
            "expbuf-first-buffer",
            Aliasing,
            &[References, Pixels],
            &["VIDIOC_EXPBUF of buffer 1 hands out buffer 0", "VIDIOC_EXPBUF of buffer 2 hands out buffer 0"],
        )
    },
    Fault {
        what: "what was captured comes into its buffer once more after VIDIOC_STREAMOFF, before DMA_BUF_IOCTL_SYNC begins a read",
        trigger: "multi-planar queues, a buffer of their own, others' pixels in it",
        modelled_on: "nvidia-vaapi-driver 338091d: an older frame that comes over a newer one",
        ..fault(
            "capture-writes-again",
            Ownership,
            &[Pixels],
            &[
                "cpu does not see the target…like the frame that was in the buffer before…planar_video has written over it",
            ],
        )
    },
    Fault {
        what: "VIDIOC_ENUM_FMT tells a code that there is none of for the second format",
        trigger: "a list of at least two formats",
        modelled_on: "Mesa b28a2510cc4 (dri), on EGL's side; no bug of a video device was looked up",
        ..fault("enum-fmt-invented", Format, &[Capability], &["ZZZZ is listed, and neither known here"])
    },
    Fault {
        what: "eglCreateImage takes EGL_DMA_BUF_PLANE0_OFFSET_EXT for 0",
        trigger: "a dma-buf with an offset",
        modelled_on: "lima e46b2ef7243, vc5 e5a81ac7043",
        ..library(
            "egl-offset-ignored",
            Layout,
            &[Pixels],
            &["gles (2D texture) does not see the target…like a picture moved"],
        )
    },
    Fault {
        what: "eglCreateImage takes AR24 and AB24 for XR24 and XB24",
        trigger: "a dma-buf with alpha",
        modelled_on: "egl-wayland e1165ad, gamescope 28a4744b",
        ..library("egl-alpha-ignored", Format, &[Pixels], &["gles does not see the target…like alpha forced to 255"])
    },
    Fault {
        what: "eglCreateImage keeps a copy of the fd of the first plane",
        trigger: "EGL_LINUX_DMA_BUF_EXT, whatever the file",
        modelled_on: "radv b7cc07432ac, venus 8bbe55533f5, and st/dri's dup of fds",
        ..library(
            "egl-import-keeps-fd",
            Ownership,
            &[Fds, References],
            &[
                "eglCreateImage…keeps a duplicate of the fd",
                "stay open after 50 times a failed import",
                "an import of an eventfd (EGL_LINUX_DMA_BUF_EXT) ends, and leaves something behind: fd…stays open",
            ],
        )
    },
    Fault {
        what: "eglCreateImage takes the lower 16 bits of a pitch",
        trigger: "a pitch of 64 KiB or more",
        modelled_on: "the class of bugs that only large pictures show; no single one was looked up",
        ..library(
            "egl-pitch-of-16-bits",
            Layout,
            &[Result],
            &["eglCreateImage(EGL_LINUX_DMA_BUF_EXT) failed…pitch 65536 B"],
        )
    },
    Fault {
        what: "eglCreateImage takes no plane whose fd is another number than that of the first",
        trigger: "an fd for each plane, also of one dma-buf",
        modelled_on: "Mesa d5c857837aa (dri2)",
        ..library(
            "egl-one-fd-only",
            Handle,
            &[Result],
            &["eglCreateImage(EGL_LINUX_DMA_BUF_EXT) failed…plane 1: dma-buf"],
        )
    },
    Fault {
        what: "eglQueryDmaBufModifiersEXT lists I915_FORMAT_MOD_X_TILED as well, which eglCreateImage does not take",
        trigger: "always",
        modelled_on: "vc4 17d78ece36a, panfrost 660b4d6e250",
        ..library(
            "egl-modifier-invented",
            Modifier,
            &[Capability, Result],
            &["EGL lists XR24 with the modifier INTEL:0x0100000000000001"],
        )
    },
    Fault {
        what: "eglExportDMABUFImageMESA tells a pitch that is 64 B too large",
        trigger: "always",
        modelled_on: "radv c10808441cc; gst-gl exports",
        ..library(
            "egl-pitch-too-large",
            Layout,
            &[Pixels, Layouts],
            &["eglExportDMABUFImageMESA failed: invalid answer:…pitch 1088 B…ends at byte"],
        )
    },
    Fault {
        what: "gbm_bo_get_stride_for_plane tells 64 B too many",
        trigger: "always",
        modelled_on: "radv c10808441cc, minigbm's stride of dumb buffers",
        ..library(
            "gbm-pitch-too-large",
            Layout,
            &[Pixels, Layouts],
            &[
                "the pitch in bytes that gbm_bo_get_stride_for_plane tells: 1344, not 1280",
                "gbm_bo_get_stride_for_plane and gbm_bo_get_offset failed: invalid answer: the frame ends at byte",
                "like a row pitch 64 B too large…gbm_bo_get_stride_for_plane and gbm_bo_get_offset of gbm",
            ],
        )
    },
    Fault {
        what: "gbm_bo_import takes offsets[0] for 0",
        trigger: "GBM_BO_IMPORT_FD_MODIFIER, an offset",
        modelled_on: "lima e46b2ef7243",
        ..library(
            "gbm-offset-ignored",
            Layout,
            &[Pixels],
            &["gbm (card0) does not see the target…like a picture moved"],
        )
    },
    Fault {
        what: "gbm_bo_get_fd_for_plane leaves a second fd open",
        trigger: "always",
        modelled_on: "minigbm and nvidia's gbm exports; venus 8bbe55533f5",
        ..library("gbm-export-keeps-fd", Ownership, &[Fds], &["gbm_bo_get_fd_for_plane…one for each export"])
    },
    Fault {
        what: "gbm_bo_get_modifier tells I915_FORMAT_MOD_X_TILED",
        trigger: "always",
        modelled_on: "Mesa 02b82fe80a7 and 3b05a120a31",
        ..library(
            "gbm-modifier-invented",
            Modifier,
            &[Capability],
            &["gbm_bo_get_modifier …INTEL:0x0100000000000001…LINEAR"],
        )
    },
    Fault {
        what: "gbm_device_is_format_supported says yes to everything",
        trigger: "a format or a use that is not supported",
        modelled_on: "gbm_dri_is_format_supported's USE_WRITE; the finding gbm-write-usage of this repository",
        ..library(
            "gbm-supports-anything",
            Handle,
            &[Capability],
            &[
                "is said to be supported, and refused",
                "what GBM says of…LINEAR contradicts itself…a format that is said to be supported",
            ],
        )
    },
    // Those that take nothing away are made at once, each asked after the one before: who only delays a call or breaks it off
    // comes before who carries it out.
];
