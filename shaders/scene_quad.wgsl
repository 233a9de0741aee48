// A quad, turned and larger than its texture, which is premultiplied and sampled linearly.

@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var linear: sampler;

struct Corner {
    @builtin(position) position: vec4f,
    @location(0) at: vec2f,
}

@vertex
fn place(@builtin(vertex_index) vertex: u32) -> Corner {
    var corners = array(0u, 1u, 2u, 2u, 1u, 3u);
    let corner = corners[vertex];
    let at = vec2f(f32(corner & 1u), f32(corner >> 1u));
    // Half of each side of the frame, turned by about 20 degrees.
    let from_centre = at * 2.0 - 1.0;
    let turned = vec2f(
        from_centre.x * 0.6 - from_centre.y * 0.2,
        from_centre.x * 0.25 + from_centre.y * 0.65,
    );
    return Corner(vec4f(turned + vec2f(0.05, -0.03), 0.0, 1.0), at);
}

@fragment
fn colour(in: Corner) -> @location(0) vec4f {
    return textureSampleLevel(picture, linear, in.at, 0.0);
}
