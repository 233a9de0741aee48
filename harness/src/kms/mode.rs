//! A display mode of any size, for displays that are no real ones.

use drm_ffi::drm_mode_modeinfo;

use crate::frame::Size;

/// Frames per second of the modes made here.
///
/// A shown frame costs at least one frame period; the composer of vkms, which runs once per period while writeback or CRC are
/// on, must keep up.
const REFRESH_HZ: u32 = 120;

/// Timings for a mode of `size`, which must not be empty: the least blanking the kernel accepts.
pub(super) fn timings(size: Size) -> drm_mode_modeinfo {
    // The kernel's mode structure counts in 16 bits; `Screen` has checked `size` against the driver's largest framebuffer.
    let (width, height) = (size.width as u16, size.height as u16);
    let (htotal, vtotal) = (width + 8, height + 3);
    let mut name = [0; 32];
    for (to, from) in name.iter_mut().zip(format!("{width}x{height}").bytes()) {
        *to = from as core::ffi::c_char;
    }
    drm_mode_modeinfo {
        clock: (u32::from(htotal) * u32::from(vtotal) * REFRESH_HZ).div_ceil(1000),
        hdisplay: width,
        hsync_start: width + 2,
        hsync_end: width + 4,
        htotal,
        vdisplay: height,
        vsync_start: height + 1,
        vsync_end: height + 2,
        vtotal,
        vrefresh: REFRESH_HZ,
        type_: drm_ffi::DRM_MODE_TYPE_USERDEF,
        name,
        ..Default::default()
    }
}
