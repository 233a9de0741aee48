//! Where storage comes from, when, and how long it stays; what is told of it, and what the CPU has mapped of it.

use super::Class::{Aliasing, Coherency, ErrorPath, Handle, Layout, Modifier, Ownership};
use super::Fault;
use super::Oracle::{Capability, Layout as Layouts, Pixels, References, Result};
use super::kernel::{fault, library};

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "mmap of a dma-buf over another one, MAP_FIXED, returns the address and changes nothing; nor does mprotect",
        trigger: "a mapping of a dma-buf that another takes the place of",
        modelled_on: "Mesa 836d22a2fb9 (etnaviv): a view that does not follow what it is of",
        ..fault(
            "mapping-not-replaced",
            Coherency,
            &[Pixels],
            &[
                "the word that the CPU mmap",
                "the CPU mmap after the move",
                "the core differs from the model: pixel 0 as a CPU mmap shows it",
            ],
        )
    },
    Fault {
        what: "mprotect of a dma-buf's mapping returns 0, and stores go on",
        trigger: "PROT_READ alone",
        modelled_on: "the class of mappings that stay writable while pages move; no single bug was looked up",
        ..fault("mapping-stays-writable", Coherency, &[Result], &["while storage moves a CPU mmap can be stored to"])
    },
    Fault {
        what: "every second udmabuf has the pages of the one before",
        trigger: "two UDMABUF_CREATE of the same size and offset, one after the other",
        modelled_on: "nvidia-vaapi-driver 338091d: an image that is handed out again while its frame is on its way",
        ..fault(
            "udmabuf-memory-twice",
            Aliasing,
            &[Pixels],
            &[
                "which is looked at, became…drawn into another dma-buf…two dma-bufs of one memory",
                "screen…something else than the target is in the buffer",
            ],
        )
    },
    Fault {
        what: "UDMABUF_CREATE fails with ENOMEM",
        trigger: "more than a page",
        modelled_on: "the class of limits that are lower than what is told: udmabuf's size_limit_mb and list_limit",
        ..fault(
            "udmabuf-scarce",
            ErrorPath,
            &[Result],
            &[
                "UDMABUF_CREATE on /dev/udmabuf…ENOMEM",
                "and udmabuf is the cheapest that would do…a heap that refuses what it offers",
            ],
        )
    },
    Fault {
        what: "memfd_create and UDMABUF_CREATE fail with EINVAL where there is no fd left",
        trigger: "EMFILE",
        modelled_on: "VIDIOC_EXPBUF, which says EINVAL for every lack: the finding expbuf-einval of this repository",
        ..fault(
            "udmabuf-lacks-as-einval",
            ErrorPath,
            &[Result],
            &["files left it says…EINVAL", "without a file left, growing does not fail with EMFILE"],
        )
    },
    Fault {
        what: "DRM_IOCTL_MODE_CREATE_DUMB makes all pages at once",
        trigger: "always",
        modelled_on: "drivers whose dumb buffers are contiguous (drm_gem_dma_create), and so are there before anybody maps",
        ..fault(
            "dumb-made-at-once",
            Layout,
            &[Layouts],
            &["in step 0, Export, the kernel makes all storage", "at export, vgem_dumb makes all storage"],
        )
    },
    Fault {
        what: "lseek to the end of a dma-buf tells a multiple of 1 MiB",
        trigger: "another size",
        modelled_on: "venus 40fbfd8b5b5, Mesa 25.3.1: sizes of dma-bufs that are too large",
        ..fault(
            "size-rounded",
            Layout,
            &[Layouts],
            &[
                "size in bytes that lseek to the end tells: ",
                "a udmabuf of 4096 B, of which lseek tells 1048576 B, is shared",
            ],
        )
    },
    Fault {
        what: "VIDIOC_REQBUFS with a count of 0 clears the buffers that were exported",
        trigger: "a queue that gives up buffers which others have",
        modelled_on: "queues before V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS",
        ..fault("requeue-clears-exported", Ownership, &[Pixels], &["cpu, after the queue freed it"])
    },
    Fault {
        what: "VIDIOC_QBUF has a card attach to the dma-buf that it is given",
        trigger: "single-planar queues, but for their first buffer",
        modelled_on: "the class of devices that take part though they do no DMA; no single bug was looked up",
        ..fault("qbuf-attaches-others", Handle, &[References], &["attaches or maps for a device"])
    },
    Fault {
        what: "VIDIOC_G_FMT, S_FMT, TRY_FMT and REQBUFS say EIO of a device that is unplugged",
        trigger: "ENODEV",
        modelled_on: "the class of errors that are called something else; no single bug was looked up",
        ..fault("unplugged-as-eio", ErrorPath, &[Result], &["was unplugged, and the error does not say so"])
    },
    Fault {
        what: "every second scatter list that the kernel's trace tells of lies 256 MiB behind where it does",
        trigger: "read of trace_pipe",
        modelled_on: "exporters that move storage between maps (TTM of amdgpu, nouveau and radeon); none is in the sandbox",
        ..fault(
            "scatter-lists-move",
            Layout,
            &[Layouts],
            &["between two maps the storage moved", "are given different pages of one buffer"],
        )
    },
    Fault {
        what: "the last format of each IN_FORMATS is AB4H instead of what it is",
        trigger: "DRM_IOCTL_MODE_GETPROPBLOB of such a list",
        modelled_on: "Mesa b28a2510cc4 (dri): formats that are listed and can't be used",
        ..fault(
            "in-formats-invented",
            Modifier,
            &[Capability],
            &["plane lists AB4H LINEAR and refuses it", "plane differ: IN_FORMATS alone has AB4H"],
        )
    },
    Fault {
        what: "eglQueryDmaBufFormatsEXT lists RA24 as well, with LINEAR, and eglCreateImage does not take it",
        trigger: "always",
        modelled_on: "vc4 17d78ece36a, panfrost 660b4d6e250, for modifiers",
        ..library("egl-format-invented", Modifier, &[Capability], &["RA24 LINEAR is listed, and refused"])
    },
    Fault {
        what: "eglQueryDmaBufModifiersEXT says for whatever it is asked that it knows it, and lists none",
        trigger: "every format but AB24",
        modelled_on: "Mesa 26.1.3 (panvk), whose other list had none",
        ..library(
            "egl-modifiers-lost",
            Modifier,
            &[Capability],
            &["for import, and no modifier of it", "formats not for import, and answers for their modifiers"],
        )
    },
    Fault {
        what: "gbm_bo_destroy does nothing",
        trigger: "always",
        modelled_on: "GBM's render node, which keeps what it took in: the finding gbm-render-node-leak of this repository",
        ..library("gbm-object-kept", Ownership, &[References], &["is still there when GBM has let go"])
    },
    Fault {
        what: "a heap gives a dumb buffer of a card, which has no pages before somebody attaches or maps",
        trigger: "always",
        modelled_on: "GEM on shmem (vgem, vkms): drm_gem_map_attach makes the pages that CREATE_DUMB did not",
        ..fault(
            "heap-waits-for-attach",
            Layout,
            &[Layouts],
            &[
                "Attach, the kernel makes all storage",
                "an exporter that makes storage only when somebody attaches or maps",
            ],
        )
    },
    Fault {
        what: "a udmabuf has pages of its own, with the contents of the moment",
        trigger: "UDMABUF_CREATE",
        modelled_on: "Mesa issue 13798 (lavapipe)",
        ..fault("udmabuf-copies", Aliasing, &[Pixels], &["what is written to the udmabuf is not in its memfd…a copy"])
    },
    Fault {
        what: "a reference to each udmabuf is never put",
        trigger: "UDMABUF_CREATE",
        modelled_on: "udmabuf_create's leak when dma_buf_fd fails",
        ..fault(
            "udmabuf-kept",
            Ownership,
            &[References],
            &[
                "udmabuf leaks: the kernel still lists its dma-buf",
                "dma-bufs of buffers that a pool gave up are still there",
                "udmabuf: dma-bufs after allocation…failed",
            ],
        )
    },
    Fault {
        what: "every second allocation of a heap is the memory of the one before",
        trigger: "two allocations of the same length, one after the other",
        modelled_on: "nvidia-vaapi-driver 338091d: an image that is handed out again while its frame is on its way",
        ..fault(
            "heap-memory-twice",
            Aliasing,
            &[Pixels, References],
            &[
                "gave one buffer for…allocations",
                "Export, the kernel makes no storage…like memory that was there already",
            ],
        )
    },
    Fault {
        what: "a heap gives a page less than it was asked for",
        trigger: "more than a page",
        modelled_on: "venus 40fbfd8b5b5, Mesa 25.3.1: sizes of dma-bufs that are too small",
        ..fault("heap-short", Layout, &[Layouts, Result], &["allocating from a heap failed…at least"])
    },
];
