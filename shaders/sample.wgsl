// Reads every pixel the way a consumer does: through a sampler. One vec4f for each pixel, row after row.

var<immediate> size: vec2u;
@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var nearest: sampler;
@group(0) @binding(2) var<storage, read_write> texels: array<vec4f>;

@compute @workgroup_size(8, 8)
fn look(@builtin(global_invocation_id) id: vec3u) {
    if any(id.xy >= size) {
        return;
    }
    let centre = (vec2f(id.xy) + 0.5) / vec2f(size);
    texels[id.y * size.x + id.x] = textureSampleLevel(picture, nearest, centre, 0.0);
}
