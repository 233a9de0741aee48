// A quad over the whole frame with a colour of its own in each corner.

struct Corner {
    @builtin(position) position: vec4f,
    @location(0) colour: vec4f,
}

@vertex
fn place(@builtin(vertex_index) vertex: u32) -> Corner {
    var corners = array(0u, 1u, 2u, 2u, 1u, 3u);
    var colours = array(
        vec4f(0.9, 0.1, 0.2, 0.25),
        vec4f(0.1, 0.8, 0.3, 0.5),
        vec4f(0.2, 0.15, 0.95, 0.75),
        vec4f(0.95, 0.9, 0.05, 0.875),
    );
    let corner = corners[vertex];
    let at = vec2f(f32(corner & 1u), f32(corner >> 1u)) * 2.0 - 1.0;
    return Corner(vec4f(at, 0.0, 1.0), colours[corner]);
}

@fragment
fn colour(in: Corner) -> @location(0) vec4f {
    return in.colour;
}
