//! A display mode of any size, for displays that are no real ones.

use drm_ffi::drm_mode_modeinfo;

use crate::frame::Size;

/// Smallest and largest mode that vkms takes, in pixels each way.
pub(super) const SMALLEST: u32 = 10;
pub(super) const LARGEST: u32 = 8192;

/// Timings for a mode of `size` with the least blanking that the kernel accepts.
///
/// `size` must lie between [`SMALLEST`] and [`LARGEST`] each way, so that it fits the 16 bits of the kernel's
/// structure.
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
/// A shown frame costs at least one frame period, so the period should be short; but while writeback or CRC are on, the
/// composer of vkms runs once per period at 40 to 80 ns per pixel, and must keep up.
fn refresh_hz(size: Size) -> u32 {
    let pixels = u64::from(size.width) * u64::from(size.height);
    (1_000_000_000 / (100 * pixels)).clamp(24, 480) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::px;

    #[test]
    fn timings_are_in_the_order_that_the_kernel_demands() {
        for size in [px(SMALLEST, SMALLEST), px(251, 131), px(1024, 768), px(LARGEST, LARGEST)] {
            let mode = timings(size);
            assert!(
                mode.hdisplay <= mode.hsync_start && mode.hsync_start < mode.hsync_end && mode.hsync_end <= mode.htotal
            );
            assert!(
                mode.vdisplay <= mode.vsync_start && mode.vsync_start < mode.vsync_end && mode.vsync_end <= mode.vtotal
            );
            let frames = u64::from(mode.clock) * 1000 / (u64::from(mode.htotal) * u64::from(mode.vtotal));
            assert!((24..=490).contains(&frames), "{size}: {frames} Hz");
        }
    }
}
