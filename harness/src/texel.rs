//! How colours become the bits of a pixel: the conversion of the Vulkan specification, "Conversion From Floating-Point
//! to Normalized Fixed-Point", which is that of OpenGL ES as well, done by the CPU.

use crate::error::{Error, Result};
use crate::format::{Channel, Fourcc, Numeric, PixelLayout};
use crate::frame::Size;
use crate::picture::Picture;

/// A colour as shaders have it: R, G, B, A.
pub(crate) type Colour = [f32; 4];

/// The colours that a device wrote as four floats each.
pub(crate) fn colours(bytes: &[u8]) -> Vec<Colour> {
    let (floats, _) = bytes.as_chunks::<4>();
    let (colours, _) = floats.as_chunks::<4>();
    colours.iter().map(|colour| colour.map(f32::from_ne_bytes)).collect()
}

/// `colours` as pixels of `fourcc`; padding takes the alpha.
///
/// # Errors
/// The format is not packed RGB.
pub(crate) fn picture(colours: &[Colour], fourcc: Fourcc, size: Size) -> Result<Picture> {
    let Some(layout) = fourcc.pixel() else {
        let why = format!("{fourcc} is not a packed RGB format known here");
        return Err(Error::input("packing colours", size.to_string(), why));
    };
    let bytes = colours.iter().flat_map(|colour| pack(*colour, layout)).collect();
    Ok(Picture { size, fourcc, bytes })
}

/// Width of R, G, B, A in bits; 8 where there is none, so that a shader has something to divide by.
pub(crate) fn widths(layout: &PixelLayout) -> [u32; 4] {
    [Channel::R, Channel::G, Channel::B, Channel::A]
        .map(|wanted| layout.components.iter().find(|c| c.channel == wanted).map_or(8, |c| c.bits))
}

/// The bytes of the pixel nearest to `colour`; padding takes the alpha.
fn pack(colour: Colour, layout: &PixelLayout) -> impl Iterator<Item = u8> {
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
