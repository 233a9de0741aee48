//! How colours become the bits of a pixel: the conversion of the Vulkan specification, "Conversion From Floating-Point
//! to Normalized Fixed-Point", done by the CPU.

use crate::format::{Channel, Numeric, PixelLayout};

/// The bytes of the pixel nearest to the colour `[R, G, B, A]`; padding takes the alpha.
pub(super) fn pack(colour: [f32; 4], layout: &PixelLayout) -> impl Iterator<Item = u8> {
    let word = layout.components.iter().fold(0u64, |word, component| {
        let value = match component.channel {
            Channel::R => colour[0],
            Channel::G => colour[1],
            Channel::B => colour[2],
            Channel::A | Channel::X => colour[3],
        };
        let bits = match layout.numeric {
            Numeric::Unorm => {
                let most = (1u64 << component.bits) - 1;
                (f64::from(value.clamp(0.0, 1.0)) * most as f64).round() as u64
            }
            Numeric::Float16 => u64::from(half::f16::from_f32(value).to_bits()),
        };
        word | bits << component.shift
    });
    word.to_le_bytes().into_iter().take(layout.bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Fourcc;
    use crate::frame::px;
    use crate::pattern::Pattern;

    #[test]
    fn every_value_of_the_pattern_survives() {
        let size = px(37, 23);
        for &fourcc in Fourcc::PACKED_RGB {
            let layout = fourcc.pixel().expect("known format");
            let picture = Pattern { stamp: 5 }.picture(fourcc, size).expect("known format");
            for (n, pixel) in picture.bytes.chunks_exact(layout.bytes as usize).enumerate() {
                let mut word = [0; 8];
                word[..pixel.len()].copy_from_slice(pixel);
                let word = u64::from_le_bytes(word);
                let mut colour = [0.0, 0.0, 0.0, 1.0];
                for c in layout.components {
                    let most = (1u64 << c.bits) - 1;
                    let bits = word >> c.shift & most;
                    let value = match layout.numeric {
                        Numeric::Unorm => bits as f32 / most as f32,
                        Numeric::Float16 => half::f16::from_bits(bits as u16).to_f32(),
                    };
                    match c.channel {
                        Channel::R => colour[0] = value,
                        Channel::G => colour[1] = value,
                        Channel::B => colour[2] = value,
                        Channel::A | Channel::X => colour[3] = value,
                    }
                }
                // Padding of half floats may be no number at all; it need not survive.
                let float_padding = fourcc == Fourcc::XB4H;
                let packed: Vec<u8> = pack(colour, layout).collect();
                let compared = if float_padding { 6 } else { packed.len() };
                assert_eq!(packed[..compared], pixel[..compared], "{fourcc}, pixel {n}");
            }
        }
    }
}
