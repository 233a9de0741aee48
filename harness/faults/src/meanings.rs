//! What the numbers mean that everybody passes on: formats, modifiers, colours, and which frame a picture is of.

use super::Class::{Format, Kms, Modifier};
use super::Fault;
use super::Oracle::{Capability, Pixels, Result};
use super::Seam::VulkanB;
use super::kernel::{fault, library};
use super::vulkan::fault as driver;

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "views exchange red and blue by their components, though their format is the right one",
        trigger: "images of imported memory, B8G8R8A8_UNORM and R8G8B8A8_UNORM",
        modelled_on: "mpv 345342f50a: an importer that swizzles what was swizzled already",
        seen_by: &[Pixels],
        names: &["a sampler of gpu_a…like channels R and B swapped"],
        ..driver("swizzled-twice", Format)
    },
    Fault {
        what: "COLOR_ENCODING of a plane is BT.601, whichever is set",
        trigger: "another encoding, in a commit that is not only tried",
        modelled_on: "gamescope 9d61912b, 274d2a65 and 7bc3c677: colours of NV12 by another matrix",
        ..fault(
            "colour-encoding-ignored",
            Format,
            &[Pixels],
            &["screen…like a picture converted as bt601_full in place of bt709_full"],
        )
    },
    Fault {
        what: "eglCreateImage takes no notice of EGL_YUV_COLOR_SPACE_HINT_EXT and EGL_SAMPLE_RANGE_HINT_EXT",
        trigger: "a dma-buf with one of these",
        modelled_on: "gamescope 9d61912b, 274d2a65 and 7bc3c677, on a compositor's side",
        ..library(
            "egl-hints-ignored",
            Format,
            &[Pixels],
            &[
                "gles (external texture) does not see the target…like a picture converted as bt601_limited",
                "gles shows another grey…a picture converted as bt601",
            ],
        )
    },
    Fault {
        what: "eglCreateImage exchanges NV12 and NV21, and YU12 and YV12",
        trigger: "one of these formats",
        modelled_on: "Mesa 0a2dcd3a8ac (android), whose test for YV12 was the wrong way round",
        ..library(
            "egl-chroma-swapped",
            Format,
            &[Pixels],
            &[
                "gles…like a picture read with U and V swapped",
                "gles…like a picture read with the planes of U and V swapped",
            ],
        )
    },
    Fault {
        what: "eglQueryDmaBufFormatsEXT lists Mesa's own name for AR24 in sRGB as well, which is none of DRM's",
        trigger: "always",
        modelled_on: "Mesa 01c0aa9f058 (st/dri), which told clients of a format that is for Mesa alone",
        ..library("egl-srgb-exposed", Format, &[Capability], &["0x83324258 is listed, and neither known here"])
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 takes AR24 for AB24",
        trigger: "64x64 px, as cursors are",
        modelled_on: "gamescope 76292f01: a cursor in the other order of channels",
        ..fault(
            "cursor-red-blue",
            Kms,
            &[Pixels],
            &["screen…like layer…(AR24) with red and blue swapped, as if it were AB24"],
        )
    },
    Fault {
        what: "planes show their pictures upside down",
        trigger: "a plane with a rotation property, in a commit that is not only tried",
        modelled_on: "weston 319397e0, wlroots e05a8532 and 1d835f20: a picture that is upside down where it is scanned out",
        ..fault("upside-down", Kms, &[Pixels], &["screen…like the frame upside down"])
    },
    Fault {
        what: "what was written back is the picture of the job before when the CPU looks",
        trigger: "a job after one of the same shape, before DMA_BUF_IOCTL_SYNC begins a read",
        modelled_on: "kernel 0ca33adb91c0 (vkms), for CRCs: what is told of another frame than its own",
        ..fault(
            "writeback-of-frame-before",
            Kms,
            &[Pixels],
            &["a writeback of the frame before: the CRC tells the two apart"],
        )
    },
    Fault {
        what: "each CRC of a CRTC comes with the number of the frame after its own",
        trigger: "a CRC that is another than the one before",
        modelled_on: "kernel 0ca33adb91c0 (vkms): a race on the number of the frame",
        ..fault(
            "crc-of-frame-before",
            Kms,
            &[Pixels],
            &["the CRC of the frame before: the writeback tells the two apart"],
        )
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 takes the lower 32 bits of each modifier",
        trigger: "DRM_MODE_FB_MODIFIERS, a modifier with an upper half",
        modelled_on: "Mesa 2b08dfbb69e (virgl): a modifier that was cut off",
        ..fault(
            "addfb2-modifier-of-32-bits",
            Modifier,
            &[Result],
            &["plane takes…0x7e00000000000000, which…a modifier of which only the lower half is looked at"],
        )
    },
    Fault {
        what: "DRM_IOCTL_MODE_ADDFB2 refuses frames of several planes with modifiers, with EINVAL",
        trigger: "DRM_MODE_FB_MODIFIERS, two planes or more",
        modelled_on: "Mesa 21376cffb37 (iris) and d5c857837aa (dri2), which refused them; mpv 84c18f6b96",
        ..fault(
            "addfb2-planes-with-modifier",
            Modifier,
            &[Capability, Result],
            &["plane lists NV12 LINEAR and refuses it"],
        )
    },
    Fault {
        what: "eglCreateImage takes EGL_DMA_BUF_PLANE0_MODIFIER_HI_EXT for 0",
        trigger: "a modifier with an upper half",
        modelled_on: "Mesa 11e549ae3f3 and 80ac89a9529 (egl, gbm), where a modifier's upper half was another",
        ..library(
            "egl-modifier-of-32-bits",
            Modifier,
            &[Result],
            &["a modifier whose lower half is that of LINEAR was imported"],
        )
    },
    Fault {
        what: "gbm_bo_import takes the lower 32 bits of the modifier",
        trigger: "GBM_BO_IMPORT_FD_MODIFIER, a modifier with an upper half",
        modelled_on: "Mesa 11e549ae3f3 and 80ac89a9529 (egl, gbm), where a modifier's upper half was another",
        ..library(
            "gbm-modifier-of-32-bits",
            Modifier,
            &[Result],
            &["a modifier whose lower half is that of LINEAR was taken in"],
        )
    },
    Fault {
        what: "gbm_bo_get_modifier tells DRM_FORMAT_MOD_INVALID",
        trigger: "always",
        modelled_on: "Mesa 3a90641b0d6: a handle that is exported without its modifier",
        ..library(
            "gbm-modifier-untold",
            Modifier,
            &[Capability],
            &["the modifier that gbm_bo_get_modifier tells: INVALID, not LINEAR"],
        )
    },
    Fault {
        seam: VulkanB,
        what: "vkCreateImage refuses explicit layouts of two planes, with VK_ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT",
        trigger: "two planes or more",
        modelled_on: "Mesa 21376cffb37 (iris) and d5c857837aa (dri2), which refused images of several planes with modifiers",
        seen_by: &[Result],
        names: &["vkCreateImage failed: VK_ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT…NV12"],
        ..driver("planes-refused", Modifier)
    },
];
