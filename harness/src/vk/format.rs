//! Which Vulkan format has the same bytes as a DRM fourcc.
//!
//! Pure table, after the format definitions of both sides: `drm_fourcc.h` names components from the most significant
//! bit of a little-endian word, so do Vulkan's `PACK` formats; Vulkan's other formats name them in byte order.
//!
//! X formats: Vulkan has none. `XR24` and `AR24` both are `B8G8R8A8_UNORM`, so what Vulkan calls alpha is padding
//! there: whatever a shader writes to it lands in memory, and whatever it reads from it is undefined unless the view says `ONE`.
//!
//! sRGB formats are left out: same bytes, but a draw would not be exact.

use ash::vk;

use crate::format::{Channel, Fourcc};

/// The Vulkan format whose bytes are those of `fourcc`, `None` if Vulkan has none (such as for `RA24`).
pub fn vk_format(fourcc: Fourcc) -> Option<vk::Format> {
    use vk::Format as F;
    Some(match fourcc {
        Fourcc::R8 => F::R8_UNORM,
        Fourcc::GR88 => F::R8G8_UNORM,
        Fourcc::R16 => F::R16_UNORM,
        Fourcc::GR32 => F::R16G16_UNORM,
        Fourcc::RG16 => F::R5G6B5_UNORM_PACK16,
        Fourcc::BG16 => F::B5G6R5_UNORM_PACK16,
        Fourcc::AR12 => F::A4R4G4B4_UNORM_PACK16,
        Fourcc::AR15 | Fourcc::XR15 => F::A1R5G5B5_UNORM_PACK16,
        Fourcc::RG24 => F::B8G8R8_UNORM,
        Fourcc::BG24 => F::R8G8B8_UNORM,
        Fourcc::AR24 | Fourcc::XR24 => F::B8G8R8A8_UNORM,
        Fourcc::AB24 | Fourcc::XB24 => F::R8G8B8A8_UNORM,
        Fourcc::AR30 | Fourcc::XR30 => F::A2R10G10B10_UNORM_PACK32,
        Fourcc::AB30 | Fourcc::XB30 => F::A2B10G10R10_UNORM_PACK32,
        Fourcc::AB48 | Fourcc::XB48 => F::R16G16B16A16_UNORM,
        Fourcc::AB4H | Fourcc::XB4H => F::R16G16B16A16_SFLOAT,
        _ => return yuv_format(fourcc),
    })
}

/// The same for YUV: Vulkan names G for Y, B for U and R for V.
fn yuv_format(fourcc: Fourcc) -> Option<vk::Format> {
    use vk::Format as F;
    const FORMATS: &[(&[u8; 4], vk::Format)] = &[
        (b"NV12", F::G8_B8R8_2PLANE_420_UNORM),
        (b"NV16", F::G8_B8R8_2PLANE_422_UNORM),
        (b"NV24", F::G8_B8R8_2PLANE_444_UNORM),
        (b"YU12", F::G8_B8_R8_3PLANE_420_UNORM),
        (b"YU16", F::G8_B8_R8_3PLANE_422_UNORM),
        (b"YU24", F::G8_B8_R8_3PLANE_444_UNORM),
        (b"P010", F::G10X6_B10X6R10X6_2PLANE_420_UNORM_3PACK16),
        (b"P012", F::G12X4_B12X4R12X4_2PLANE_420_UNORM_3PACK16),
        (b"P016", F::G16_B16R16_2PLANE_420_UNORM),
        (b"P210", F::G10X6_B10X6R10X6_2PLANE_422_UNORM_3PACK16),
        (b"S016", F::G16_B16_R16_3PLANE_420_UNORM),
        (b"S216", F::G16_B16_R16_3PLANE_422_UNORM),
        (b"S416", F::G16_B16_R16_3PLANE_444_UNORM),
        (b"Y210", F::G10X6B10X6G10X6R10X6_422_UNORM_4PACK16),
        (b"Y212", F::G12X4B12X4G12X4R12X4_422_UNORM_4PACK16),
        (b"Y216", F::G16B16G16R16_422_UNORM),
        (b"YUYV", F::G8B8G8R8_422_UNORM),
        (b"UYVY", F::B8G8R8G8_422_UNORM),
    ];
    FORMATS.iter().find(|(code, _)| Fourcc::new(code) == fourcc).map(|(_, format)| *format)
}

/// Whether the format's fourth component is padding, which a view must replace by one.
pub(super) fn has_padding(fourcc: Fourcc) -> bool {
    fourcc.pixel().is_some_and(|pixel| pixel.components.iter().any(|c| c.channel == Channel::X))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vulkan_names_agree_with_our_component_table() {
        // `R5G6B5_UNORM_PACK16` names components from the top bit down, `B8G8R8A8_UNORM` from the first byte up.
        for &fourcc in Fourcc::PACKED_RGB {
            let Some(format) = vk_format(fourcc) else { continue };
            let name = format!("{format:?}");
            let (components, rest) = name.split_once('_').expect("component part");
            let mut named: Vec<(char, u32)> = Vec::new();
            for part in components.split_inclusive(char::is_numeric).collect::<String>().chars() {
                match part.to_digit(10) {
                    None => named.push((part, 0)),
                    Some(digit) => {
                        let last = named.last_mut().expect("a letter comes first");
                        last.1 = last.1 * 10 + digit;
                    }
                }
            }
            if rest.contains("PACK") {
                named.reverse();
            }
            let pixel = fourcc.pixel().expect("known format");
            let ours: Vec<(char, u32)> = pixel
                .components
                .iter()
                .map(|c| (if c.channel == Channel::X { 'A' } else { format!("{:?}", c.channel).remove(0) }, c.bits))
                .collect();
            assert_eq!(ours, named, "{fourcc} as {name}");
        }
    }
}
