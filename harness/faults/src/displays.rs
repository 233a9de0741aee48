//! Displays as most hardware has them: nothing is written back, so that the CRC alone shows what they show; or the lowest plane
//! must cover the CRTC.

use super::Class::{Format, Kms};
use super::Fault;
use super::Oracle::Pixels;
use super::controls::CARDS;
use super::kernel::{control, fault};

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "DRM_IOCTL_SET_CLIENT_CAP of DRM_CLIENT_CAP_WRITEBACK_CONNECTORS fails with EOPNOTSUPP",
        trigger: "always",
        modelled_on: "cards without writeback connectors, which are most: i915, nvidia, and amdgpu before Linux 6.8",
        skips: &[
            "it has no writeback connector",
            "screen (vkms) has no writeback connector",
            "without writeback nobody sees what the screen makes of YUV",
            "could only be held against a copy of the same frame on the same plane",
        ],
        about: CARDS,
        ..control("card-without-writeback", Kms)
    },
    Fault {
        what: "card-without-writeback, and CRTC_X of a plane is one pixel too large",
        trigger: "a plane that does not begin at the left edge, in a commit that is not only tried",
        modelled_on: "as plane-moved, of a display of which only the CRC is seen",
        ..fault(
            "plane-moved-unwritten",
            Kms,
            &[Pixels],
            &["screen (CRC, as of layer…moved 1 px to the right)…no writeback connector"],
        )
    },
    Fault {
        what: "card-without-writeback, and DRM_IOCTL_MODE_ADDFB2 takes XB24 for XR24, and AB24 for AR24",
        trigger: "XB24 and AB24",
        modelled_on: "as addfb2-red-blue, of a driver that knows one order of the channels alone",
        ..fault(
            "red-blue-unwritten",
            Format,
            &[Pixels],
            &["screen (CRC, as of…with red and blue swapped, as if it were…no writeback connector"],
        )
    },
    Fault {
        what: "DRM_IOCTL_MODE_ATOMIC refuses with EINVAL a primary plane that does not cover its CRTC",
        trigger: "a CRTC that has a mode after the commit",
        modelled_on: "intel_atomic_plane_check_clipping of i915 before Skylake, and drm_atomic_helper_check_plane_state of drivers \
                      that can't position their plane",
        skips: &["its lowest plane must cover the screen"],
        about: CARDS,
        ..control("crtc-covered", Kms)
    },
];
