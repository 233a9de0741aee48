//! What is known of formats where a deed depends on them. Pure.

use ash::vk::Format;

/// Bytes of a pixel of the formats that images share; `None` of all others.
pub(crate) fn bytes_per_pixel(format: Format) -> Option<u32> {
    match format {
        Format::R8_UNORM => Some(1),
        Format::R8G8_UNORM | Format::R16_UNORM | Format::R5G6B5_UNORM_PACK16 | Format::B5G6R5_UNORM_PACK16 => Some(2),
        Format::B8G8R8A8_UNORM | Format::R8G8B8A8_UNORM | Format::B8G8R8A8_SRGB | Format::R8G8B8A8_SRGB => Some(4),
        Format::A2R10G10B10_UNORM_PACK32 | Format::A2B10G10R10_UNORM_PACK32 | Format::R16G16_UNORM => Some(4),
        Format::R16G16B16A16_UNORM | Format::R16G16B16A16_SFLOAT => Some(8),
        _ => None,
    }
}

/// The format with red and blue in each other's place.
pub(crate) fn red_blue_swapped(format: Format) -> Option<Format> {
    match format {
        Format::B8G8R8A8_UNORM => Some(Format::R8G8B8A8_UNORM),
        Format::R8G8B8A8_UNORM => Some(Format::B8G8R8A8_UNORM),
        Format::B8G8R8A8_SRGB => Some(Format::R8G8B8A8_SRGB),
        Format::R8G8B8A8_SRGB => Some(Format::B8G8R8A8_SRGB),
        _ => None,
    }
}

/// The same bytes, taken for sRGB.
pub(crate) fn as_srgb(format: Format) -> Option<Format> {
    match format {
        Format::B8G8R8A8_UNORM => Some(Format::B8G8R8A8_SRGB),
        Format::R8G8B8A8_UNORM => Some(Format::R8G8B8A8_SRGB),
        _ => None,
    }
}

/// Whether a pixel has alpha, by Vulkan's name for it.
pub(crate) fn has_alpha(format: Format) -> bool {
    matches!(
        format,
        Format::B8G8R8A8_UNORM
            | Format::R8G8B8A8_UNORM
            | Format::A2R10G10B10_UNORM_PACK32
            | Format::A2B10G10R10_UNORM_PACK32
            | Format::R16G16B16A16_UNORM
            | Format::R16G16B16A16_SFLOAT
    )
}
