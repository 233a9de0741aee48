// One triangle of 1 to 5 pixels for each instance, place and colour from noise, premultiplied.

struct Corner {
    @builtin(position) position: vec4f,
    @location(0) @interpolate(flat) colour: vec4f,
}

const FRAME = vec2f(192.0, 144.0);

// A number from 0 to 1 on a grid of 1/256, so that every device computes the same.
fn unit(instance: u32, what: u32) -> f32 {
    return f32(noise(instance, what, 5u, 0u) >> 24u) / 256.0;
}

@vertex
fn place(@builtin(vertex_index) vertex: u32, @builtin(instance_index) instance: u32) -> Corner {
    let centre = vec2f(unit(instance, 0u), unit(instance, 1u)) * FRAME;
    let side = 1.0 + 4.0 * unit(instance, 2u);
    var corners = array(vec2f(-0.5, -0.375), vec2f(0.5, -0.125), vec2f(-0.125, 0.5));
    var corner = corners[vertex];
    if (noise(instance, 3u, 5u, 0u) & 1u) == 1u {
        corner = -corner;
    }
    let at = (centre + corner * side) / FRAME * 2.0 - 1.0;
    let alpha = 0.25 + 0.5 * unit(instance, 4u);
    let colour = vec3f(unit(instance, 5u), unit(instance, 6u), unit(instance, 7u));
    return Corner(vec4f(at, 0.0, 1.0), vec4f(colour * alpha, alpha));
}

@fragment
fn colour(in: Corner) -> @location(0) vec4f {
    return in.colour;
}
