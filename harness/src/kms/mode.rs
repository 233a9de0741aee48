//! A display mode of any size, for displays that are no real ones.

use drm_ffi::drm_mode_modeinfo;

use crate::frame::Size;

/// Smallest and largest mode that vkms takes, in pixels each way.
pub(super) const SMALLEST: u32 = 10;
pub(super) const LARGEST: u32 = 8192;

/// Timings for a mode of `size` with the least blanking that the kernel accepts.
///
/// `size` must lie between [`SMALLEST`] and [`LARGEST`] each way, so that it fits the 16 bits of the kernel's structure.
pub(super) fn timings(size: Size) -> drm_mode_modeinfo {
    let (width, height) = (size.width as u16, size.height as u16);
    let (htotal, vtotal) = (width + 8, height + 3);
    let mut name = [0; 32];
    for (to, from) in name.iter_mut().zip(format!("{width}x{height}").bytes()) {
        *to = from as core::ffi::c_char;
    }
    let refresh = refresh_hz(size);
    drm_mode_modeinfo {
        clock: (u64::from(htotal) * u64::from(vtotal) * u64::from(refresh)).div_ceil(1000) as u32,
        hdisplay: width,
        hsync_start: width + 2,
        hsync_end: width + 4,
        htotal,
        vdisplay: height,
        vsync_start: height + 1,
        vsync_end: height + 2,
        vtotal,
        vrefresh: refresh,
        type_: drm_ffi::DRM_MODE_TYPE_USERDEF,
        name,
        ..Default::default()
    }
}

/// Frames per second for a mode of `size`.
///
/// A shown frame costs at least one frame period, so the period should be short; but while writeback or CRC are on, the composer of
/// vkms runs once per period at about 40 ns per pixel, and must keep up.
fn refresh_hz(size: Size) -> u32 {
    let pixels = u64::from(size.width) * u64::from(size.height);
    (1_000_000_000 / (60 * pixels)).clamp(24, 480) as u32
}
