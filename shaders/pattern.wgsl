// The stamped pattern. The maths, and why, is in harness/src/pattern.rs: both sides must agree bit for bit.

struct Pattern {
    // Width and height of the frame in pixels.
    size: vec2u,
    stamp: u32,
    // 1: half floats, 0: unorm.
    half_floats: u32,
    // Width of R, G, B, A in bits.
    bits: vec4u,
}
var<immediate> pattern: Pattern;

const RAMP = 49152u;

@vertex
fn cover(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
    return whole_frame(vertex);
}

@fragment
fn draw(@builtin(position) at: vec4f) -> @location(0) vec4f {
    let p = vec2u(at.xy);
    let w = pattern.size.x;
    let h = pattern.size.y;
    let ramps = vec4u(
        p.x * RAMP / w,
        p.y * RAMP / h,
        ((w - 1u - p.x) + (h - 1u - p.y)) * RAMP / (w + h),
        (p.x + (h - 1u - p.y)) * RAMP / (w + h),
    );
    let turn = pattern.stamp % 12u * 20480u;
    let noises = vec4u(
        noise(p.x, p.y, 0u, pattern.stamp),
        noise(p.x, p.y, 1u, pattern.stamp),
        noise(p.x, p.y, 2u, pattern.stamp),
        noise(p.x, p.y, 3u, pattern.stamp),
    );
    var value = (ramps + vec4u(turn)) % vec4u(RAMP) + (noises >> vec4u(18u));
    value.a = 16384u + value.a / 2u;
    if pattern.half_floats == 1u {
        return vec4f(value >> vec4u(5u)) / 2048.0;
    }
    let bits = pattern.bits;
    return vec4f(value >> (vec4u(16u) - bits)) / vec4f((vec4u(1u) << bits) - vec4u(1u));
}
