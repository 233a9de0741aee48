//! Vulkan's answers as [`Error`]s.

use ash::vk;

use crate::error::{Cause, Error};

/// The error of the Vulkan function `op` on `object`, by its name in the specification.
pub(super) fn failed(op: &'static str, object: impl Into<String>, code: vk::Result) -> Error {
    Error::new(op, object, Cause::Code(name(code)))
}

/// Whether `error` is that the driver takes no image of the layout that it was told.
pub(crate) fn is_layout_refused(error: &Error) -> bool {
    is_code(error, vk::Result::ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT)
}

/// Whether `error` is that the driver answered `code`.
pub(super) fn is_code(error: &Error, code: vk::Result) -> bool {
    matches!(&error.cause, Cause::Code(said) if *said == name(code))
}

/// `VK_ERROR_DEVICE_LOST`; the number for codes that `ash` does not know.
fn name(code: vk::Result) -> String {
    let text = format!("{code:?}");
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        format!("VK_{text}")
    } else {
        format!("VkResult {}", code.as_raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_have_names_and_unknown_ones_numbers() {
        let error = failed("vkAllocateMemory", "llvmpipe, 4096 B", vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        assert_eq!(error.to_string(), "vkAllocateMemory on llvmpipe, 4096 B: VK_ERROR_OUT_OF_DEVICE_MEMORY");
        assert_eq!(name(vk::Result::from_raw(-77_000)), "VkResult -77000");
    }
}
