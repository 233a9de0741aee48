//! The rendered pictures: four scenes as data, for a device to draw and a golden to judge.
//!
//! They need what the [pattern](crate::pattern) does not: interpolation, index buffers, sampling, blending and
//! primitives that cover few pixels. What must come out is not computed here; the goldens say it.
//! Shaders are `shaders/scene_*.wgsl`.

use std::fmt;

use crate::format::Fourcc;
use crate::frame::{Size, px};
use crate::picture::Picture;

/// Size that the goldens of all scenes have.
pub const SIZE: Size = px(192, 144);

/// A picture to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scene {
    /// A colour of its own in each corner, interpolated.
    Gradient,
    /// Overlapping triangles from a vertex and an index buffer.
    Triangles,
    /// A turned quad with a translucent texture over a gradient.
    TexturedQuad,
    /// Hundreds of translucent triangles of 1 to 5 pixels.
    Confetti,
}

impl Scene {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Gradient, Self::Triangles, Self::TexturedQuad, Self::Confetti];

    /// What to draw, in this order, over which background.
    pub fn drawing(self) -> Drawing {
        let generated =
            |shader, vertices, instances| Draw { shader, geometry: Geometry::Generated { vertices, instances } };
        let (background, draws) = match self {
            Self::Gradient => ([0.0, 0.0, 0.0, 1.0], vec![generated(SceneShader::Gradient, 6, 1)]),
            Self::Triangles => {
                let geometry = Geometry::Mesh { vertices: MESH.to_vec(), indices: MESH_INDICES.to_vec() };
                ([0.125, 0.1875, 0.25, 0.75], vec![Draw { shader: SceneShader::Triangles, geometry }])
            }
            Self::TexturedQuad => {
                ([0.0, 0.0, 0.0, 1.0], vec![generated(SceneShader::Gradient, 6, 1), generated(SceneShader::Quad, 6, 1)])
            }
            Self::Confetti => ([0.875, 0.8125, 0.75, 0.5], vec![generated(SceneShader::Confetti, 3, 600)]),
        };
        Drawing { background, draws }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gradient => "gradient",
            Self::Triangles => "triangles",
            Self::TexturedQuad => "textured-quad",
            Self::Confetti => "confetti",
        })
    }
}

/// A scene's parts.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Colour of every pixel at first: R, G, B, A.
    pub background: [f32; 4],
    /// What is drawn over it, in this order.
    pub draws: Vec<Draw>,
}

/// One draw call.
#[derive(Clone, Debug)]
pub struct Draw {
    /// With which shader.
    pub shader: SceneShader,
    /// Which triangles.
    pub geometry: Geometry,
}

/// A shader of `shaders/scene_*.wgsl`; all have the entry points `place` and `colour`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SceneShader {
    /// Opaque.
    Gradient,
    /// Opaque, colours from the vertices.
    Triangles,
    /// Blended, samples the [texture].
    Quad,
    /// Blended.
    Confetti,
}

impl SceneShader {
    /// Whether it samples the [texture].
    pub fn is_textured(self) -> bool {
        self == Self::Quad
    }

    /// Whether it blends premultiplied colours over what is there.
    pub fn is_blended(self) -> bool {
        matches!(self, Self::Quad | Self::Confetti)
    }
}

/// The triangles of a draw call.
#[derive(Clone, Debug)]
pub enum Geometry {
    /// The shader computes them from vertex and instance number.
    Generated {
        /// Vertices of an instance.
        vertices: u32,
        /// How many instances.
        instances: u32,
    },
    /// They come from a vertex and an index buffer.
    Mesh {
        /// The vertex buffer.
        vertices: Vec<Vertex>,
        /// The index buffer, three for each triangle.
        indices: Vec<u16>,
    },
}

/// A vertex as it lies in the vertex buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Vertex {
    /// In clip space: -1 to 1, y down.
    pub position: [f32; 2],
    /// R, G, B, A.
    pub colour: [f32; 4],
}

impl Vertex {
    /// Its bytes in the vertex buffer.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        let [x, y] = self.position;
        let [r, g, b, a] = self.colour;
        [x, y, r, g, b, a].into_iter().flat_map(f32::to_le_bytes)
    }
}

const fn vertex(x: f32, y: f32, colour: [f32; 4]) -> Vertex {
    Vertex { position: [x, y], colour }
}

/// A fan around a point off the centre, then two triangles over it that share an edge, one of them thin.
const MESH: [Vertex; 10] = [
    vertex(0.07, -0.11, [1.0, 1.0, 1.0, 0.75]),
    vertex(-0.93, -0.81, [0.9, 0.1, 0.2, 0.5]),
    vertex(0.61, -0.97, [0.2, 0.8, 0.1, 0.625]),
    vertex(0.95, 0.23, [0.1, 0.3, 0.95, 0.75]),
    vertex(0.31, 0.89, [0.8, 0.7, 0.05, 0.875]),
    vertex(-0.87, 0.57, [0.05, 0.75, 0.8, 0.375]),
    vertex(-0.71, 0.05, [0.6, 0.15, 0.7, 0.5]),
    vertex(0.43, -0.37, [0.95, 0.5, 0.1, 0.5]),
    vertex(0.53, 0.41, [0.1, 0.2, 0.1, 0.5]),
    vertex(-0.69, 0.11, [0.9, 0.9, 0.3, 0.5]),
];

const MESH_INDICES: [u16; 21] = [0, 1, 2, 0, 2, 3, 0, 3, 4, 0, 4, 5, 0, 5, 1, 6, 7, 8, 6, 8, 9];

/// Side of the texture in pixels.
const TEXTURE_SIDE: u32 = 64;

/// The texture of [`SceneShader::Quad`], premultiplied, in `AB24`: rings, denser to the right, on a chequered ground.
pub fn texture() -> Picture {
    let size = px(TEXTURE_SIDE, TEXTURE_SIDE);
    let pixel = |x: u32, y: u32| {
        let (dx, dy) = (x.abs_diff(23), y.abs_diff(38));
        let ring = (dx * dx + dy * dy) / 64 % 2;
        let square = (x / 8 + y / 8) % 2;
        let alpha = 64 + x * 2;
        let colour = [40 + ring * 200, 60 + y * 2, 30 + square * 160];
        let premultiplied = colour.map(|c| (c * alpha + 127) / 255);
        [premultiplied[0], premultiplied[1], premultiplied[2], alpha].map(|c| c.min(255) as u8)
    };
    let bytes = (0..TEXTURE_SIDE).flat_map(|y| (0..TEXTURE_SIDE).flat_map(move |x| pixel(x, y))).collect();
    Picture { size, fourcc: Fourcc::AB24, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texture_is_premultiplied_and_never_opaque_or_transparent() {
        for pixel in texture().bytes.chunks_exact(4) {
            assert!((64..=191).contains(&pixel[3]));
            assert!(pixel[..3].iter().all(|c| c <= &pixel[3]), "{pixel:?}");
        }
    }

    #[test]
    fn every_index_has_a_vertex() {
        assert!(MESH_INDICES.iter().all(|&index| usize::from(index) < MESH.len()));
        assert_eq!(MESH_INDICES.len() % 3, 0);
        assert_eq!(MESH[0].bytes().count(), size_of::<Vertex>());
    }
}
