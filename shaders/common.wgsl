// Noise and shapes that several shaders need. Its Rust twin is harness/src/pattern.rs.

// The finaliser of MurmurHash3.
fn fmix(key: u32) -> u32 {
    var k = (key ^ (key >> 16u)) * 0x85EBCA6Bu;
    k = (k ^ (k >> 13u)) * 0xC2B2AE35u;
    return k ^ (k >> 16u);
}

// Noise of position, channel and stamp.
fn noise(x: u32, y: u32, channel: u32, stamp: u32) -> u32 {
    return fmix(x * 0x9E3779B1u ^ y * 0x85EBCA77u ^ channel * 0xC2B2AE3Du ^ stamp * 0x27D4EB2Fu);
}

// Corner `vertex` (0 to 2) of one triangle that covers the whole frame.
fn whole_frame(vertex: u32) -> vec4f {
    return vec4f(f32(vertex & 1u) * 4.0 - 1.0, f32(vertex >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}
