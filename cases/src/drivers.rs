//! What drivers with known defects call themselves, as [`Case::known`](handover::case::Case::known) takes it.
//!
//! A version says nothing without its driver: each driver of Mesa has Mesa's. A Vulkan driver's follows the parenthesis, that of
//! OpenGL ES the name of the API.

use handover::prelude::*;

/// The software renderer of Vulkan, in any version.
pub(crate) const LAVAPIPE: &str = "llvmpipe…(Mesa ";
pub(crate) const LAVAPIPE_25_0: &str = "llvmpipe…(Mesa 25.0";
pub(crate) const LAVAPIPE_26: &str = "llvmpipe…(Mesa 26.";

/// The same without the validation layer, and below it.
pub(crate) const LAVAPIPE_26_ALONE: &str = "llvmpipe…(Mesa 26.…validation Off";
pub(crate) const LAVAPIPE_26_BELOW: [&str; 2] =
    ["llvmpipe…(Mesa 26.…validation Core", "llvmpipe…(Mesa 26.…validation Sync"];

/// The software renderer of OpenGL ES.
pub(crate) const LLVMPIPE_GL: &str = "llvmpipe…(OpenGL ES";

/// The Vulkan validation layer, as a crash is told that it is in.
pub(crate) const LAYER: &str = "libVkLayer_khronos_validation.so";

/// Code that a driver has made at run time, likewise.
pub(crate) const MADE_CODE: &str = "code of no file";

/// Lists `case` as one that ends its worker, by an invalid access to memory in `place`; or without a place, where the kernel's log
/// can't be read.
pub(crate) fn crashes<'c>(case: &'c mut Case<Cx>, on: &str, finding: &str, place: &str) -> &'c mut Case<Cx> {
    let there = format!("SIGSEGV…, in {place}");
    case.known_as_one_of(on, finding, &[&there, "SIGSEGV…that no kernel log tells"])
}

#[cfg(test)]
mod tests {
    use handover::case::{DeviceIdentity, Known};

    use super::*;

    #[test]
    fn a_version_of_mesa_is_that_of_the_software_renderer() {
        let identity = |name: &str, driver: &str| DeviceIdentity { name: name.to_owned(), driver: driver.to_owned() };
        let llvmpipe = "llvmpipe (LLVM 19.1.7, 256 bits)";
        let old = identity(llvmpipe, "Mesa 25.0.7-2+deb13u1 (LLVM 19.1.7), validation Sync");
        let new = identity(llvmpipe, "Mesa 26.1.6-1~bpo13+1 (LLVM 19.1.7), validation Sync");
        let alone = identity(llvmpipe, "Mesa 26.1.6-1~bpo13+1 (LLVM 19.1.7), validation Off");
        let gl = identity(llvmpipe, "OpenGL ES 3.2 Mesa 26.1.6-1~bpo13+1, EGL Mesa Project 1.5");
        let radv = identity("AMD Radeon RX 7900 XTX (RADV NAVI31)", "Mesa 26.1.6 (LLVM 19.1.7), validation Sync");
        let anv = identity("Intel(R) Arc(tm) A750 Graphics (DG2)", "Mesa 25.0.7, validation Sync");
        let radeonsi = identity(
            "AMD Radeon RX 7900 XTX (radeonsi, navi31, LLVM 19.1.7, DRM 3.59)",
            "OpenGL ES 3.2 Mesa 26.1.6, EGL Mesa Project 1.5",
        );
        let all = [&old, &new, &alone, &gl, &radv, &anv, &radeonsi];
        for (on, expected) in [
            (LAVAPIPE, vec![&old, &new, &alone]),
            (LAVAPIPE_25_0, vec![&old]),
            (LAVAPIPE_26, vec![&new, &alone]),
            (LAVAPIPE_26_ALONE, vec![&alone]),
            (LAVAPIPE_26_BELOW[0], vec![]),
            (LAVAPIPE_26_BELOW[1], vec![&new]),
            (LLVMPIPE_GL, vec![&gl]),
        ] {
            let known = Known { on: on.to_owned(), url: "x.md".to_owned(), matching: vec!["y".to_owned()] };
            let met: Vec<_> = all.into_iter().filter(|device| known.is_on(device)).collect();
            assert_eq!(met, expected, "{on}");
        }
    }
}
