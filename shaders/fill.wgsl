// Stamped noise for buffers. Its Rust twin is harness/src/vk/words.rs.

struct Fill {
    // Length of the buffer in words of 32 bits.
    words: u32,
    stamp: u32,
}
var<immediate> fill: Fill;
@group(0) @binding(0) var<storage, read_write> buffer: array<u32>;

@compute @workgroup_size(64)
fn write(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var n = id.x; n < fill.words; n += groups.x * 64u) {
        buffer[n] = noise(n, 0u, 0u, fill.stamp);
    }
}
