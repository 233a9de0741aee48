//! What a filled buffer must hold: noise of position and stamp, as `shaders/fill.wgsl` computes it.

/// `count` words for stamp `stamp`; no two neighbours, and no two stamps, are alike.
pub fn noise_words(stamp: u32, count: u32) -> Vec<u32> {
    (0..count).map(|n| fmix(n.wrapping_mul(0x9E37_79B1) ^ stamp.wrapping_mul(0x27D4_EB2F))).collect()
}

/// The finaliser of MurmurHash3.
fn fmix(key: u32) -> u32 {
    let k = (key ^ (key >> 16)).wrapping_mul(0x85EB_CA6B);
    let k = (k ^ (k >> 13)).wrapping_mul(0xC2B2_AE35);
    k ^ (k >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_stamp_changes_every_word() {
        let pairs = noise_words(1, 10_000).into_iter().zip(noise_words(2, 10_000));
        assert_eq!(pairs.filter(|(one, two)| one == two).count(), 0);
    }
}
