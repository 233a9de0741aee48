//! What a modifier's number says, in the words of `include/uapi/drm/drm_fourcc.h`.
//!
//! For reading only: the number stays the name of a modifier, and one that is unknown here is as good as any other.

use crate::format::Modifier;

/// The modifier, with the meaning of its number where that is known here: `INTEL:0x0100000000000001(X_TILED)`.
pub(super) fn text(modifier: Modifier) -> String {
    match meaning(modifier) {
        Some(meaning) => format!("{modifier}({meaning})"),
        None => modifier.to_string(),
    }
}

fn meaning(modifier: Modifier) -> Option<String> {
    let value = modifier.0 & 0x00ff_ffff_ffff_ffff;
    let simple = |names: &[(u64, &str)]| find(names, value).map(str::to_owned);
    match modifier.vendor()? {
        "INTEL" => simple(INTEL),
        "AMD" => Some(amd(value)),
        "NVIDIA" => nvidia(value),
        "SAMSUNG" => simple(&[(1, "64_32_TILE"), (2, "16_16_TILE")]),
        "QCOM" => simple(&[(1, "COMPRESSED"), (2, "TILED2"), (3, "TILED3")]),
        "VIVANTE" => simple(&[(1, "TILED"), (2, "SUPER_TILED"), (3, "SPLIT_TILED"), (4, "SPLIT_SUPER_TILED")]),
        "BROADCOM" => broadcom(value),
        "ARM" => arm(value),
        "ALLWINNER" => simple(&[(1, "TILED")]),
        "APPLE" => simple(&[(1, "GPU_TILED"), (2, "GPU_TILED_COMPRESSED")]),
        _ => None,
    }
}

fn find<'a>(names: &[(u64, &'a str)], value: u64) -> Option<&'a str> {
    names.iter().find(|(known, _)| *known == value).map(|(_, name)| *name)
}

/// The names of the bits that are set in `value`.
fn bits(names: &[(u32, &str)], value: u64) -> Vec<String> {
    names.iter().filter(|(bit, _)| value >> bit & 1 == 1).map(|(_, name)| (*name).to_owned()).collect()
}

const INTEL: &[(u64, &str)] = &[
    (1, "X_TILED"),
    (2, "Y_TILED"),
    (3, "Yf_TILED"),
    (4, "Y_TILED_CCS"),
    (5, "Yf_TILED_CCS"),
    (6, "Y_TILED_GEN12_RC_CCS"),
    (7, "Y_TILED_GEN12_MC_CCS"),
    (8, "Y_TILED_GEN12_RC_CCS_CC"),
    (9, "4_TILED"),
    (10, "4_TILED_DG2_RC_CCS"),
    (11, "4_TILED_DG2_MC_CCS"),
    (12, "4_TILED_DG2_RC_CCS_CC"),
    (13, "4_TILED_MTL_RC_CCS"),
    (14, "4_TILED_MTL_MC_CCS"),
    (15, "4_TILED_MTL_RC_CCS_CC"),
    (16, "4_TILED_LNL_CCS"),
    (17, "4_TILED_BMG_CCS"),
];

/// Generation, tile, compression and the bits of the addresses: `AMD_FMT_MOD_*`.
fn amd(value: u64) -> String {
    const GENERATIONS: &[(u64, &str)] =
        &[(0, "GFX6"), (1, "GFX9"), (2, "GFX10"), (3, "GFX10_RBPLUS"), (4, "GFX11"), (5, "GFX12")];
    const GFX6_TILES: &[(u64, &str)] = &[(2, "1D_TILED_THIN1"), (4, "2D_TILED_THIN1")];
    const TILES: &[(u64, &str)] = &[
        (9, "64K_S"),
        (10, "64K_D"),
        (22, "4K_D_X"),
        (25, "64K_S_X"),
        (26, "64K_D_X"),
        (27, "64K_R_X"),
        (31, "256K_R_X"),
    ];
    const GFX12_TILES: &[(u64, &str)] = &[(1, "256B_2D"), (2, "4K_2D"), (3, "64K_2D"), (4, "256K_2D")];
    const COMPRESSION: &[(u32, &str)] = &[
        (13, "DCC"),
        (14, "RETILE"),
        (15, "PIPE_ALIGN"),
        (16, "INDEPENDENT_64B"),
        (17, "INDEPENDENT_128B"),
        (20, "CONSTANT_ENCODE"),
    ];
    const COUNTS: &[(u32, &str)] =
        &[(21, "PIPE_XOR_BITS"), (24, "BANK_XOR_BITS"), (27, "PACKERS"), (30, "RB"), (33, "PIPE")];

    let generation = value & 0xff;
    let tile = value >> 8 & 0x1f;
    let tiles = match generation {
        0 => GFX6_TILES,
        5 => GFX12_TILES,
        _ => TILES,
    };
    let mut parts = vec![
        find(GENERATIONS, generation).map_or_else(|| format!("TILE_VERSION={generation}"), str::to_owned),
        find(tiles, tile).map_or_else(|| format!("TILE={tile}"), str::to_owned),
    ];
    // The other bits of GFX6 mean other things.
    if generation != 0 {
        parts.extend(bits(COMPRESSION, value));
        if value >> 13 & 1 == 1 {
            let largest = find(&[(0, "64B"), (1, "128B"), (2, "256B")], value >> 18 & 3).unwrap_or("?");
            parts.push(format!("MAX_{largest}"));
        }
        let counts = COUNTS.iter().map(|(shift, name)| (name, value >> shift & 7)).filter(|(_, count)| *count > 0);
        parts.extend(counts.map(|(name, count)| format!("{name}={count}")));
    }
    parts.join(",")
}

/// `DRM_FORMAT_MOD_NVIDIA_BLOCK_LINEAR_2D(c, s, g, k, h)`.
fn nvidia(value: u64) -> Option<String> {
    if value == 1 {
        return Some("TEGRA_TILED".into());
    }
    (value & 0x10 != 0).then(|| {
        let (height, kind, generation) = (value & 0xf, value >> 12 & 0xff, value >> 20 & 3);
        let (sector, compression) = (value >> 22 & 1 | value >> 25 & 6, value >> 23 & 7);
        format!("BLOCK_LINEAR_2D,c={compression},s={sector},g={generation},k={kind:#04x},h={height}")
    })
}

fn broadcom(value: u64) -> Option<String> {
    let names = [(1, "VC4_T_TILED"), (2, "SAND32"), (3, "SAND64"), (4, "SAND128"), (5, "SAND256"), (6, "UIF")];
    let name = find(&names, value & 0xff)?;
    Some(match value >> 8 {
        0 => name.to_owned(),
        height => format!("{name},COL_HEIGHT={height}"),
    })
}

/// Arm's compression, in types: AFBC, AFRC and others.
fn arm(value: u64) -> Option<String> {
    const AFBC_BLOCKS: &[(u64, &str)] = &[(1, "16x16"), (2, "32x8"), (3, "64x4"), (4, "32x8_64x4")];
    const AFBC: &[(u32, &str)] = &[
        (4, "YTR"),
        (5, "SPLIT"),
        (6, "SPARSE"),
        (7, "CBR"),
        (8, "TILED"),
        (9, "SC"),
        (10, "DB"),
        (11, "BCH"),
        (12, "USM"),
    ];
    let mode = value & 0x000f_ffff_ffff_ffff;
    match value >> 52 & 0xf {
        0 => {
            let block = find(AFBC_BLOCKS, mode & 0xf)?;
            let parts = [vec!["AFBC".to_owned(), block.to_owned()], bits(AFBC, mode)].concat();
            Some(parts.join(","))
        }
        1 => find(&[(1, "16X16_BLOCK_U_INTERLEAVED"), (2, "INTERLEAVED_64K")], mode).map(str::to_owned),
        2 => {
            let unit = |shift: u32| find(&[(1, "16"), (2, "24"), (3, "32")], mode >> shift & 0xf).unwrap_or("none");
            let layout = if mode >> 8 & 1 == 1 { "SCAN" } else { "ROT" };
            Some(format!("AFRC,P0={},P12={},{layout}", unit(0), unit(4)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_meaning_of_the_kernel_header() {
        let text = |code| text(Modifier(code));
        assert_eq!(text(0), "LINEAR");
        assert_eq!(text(0x0100_0000_0000_0001), "INTEL:0x0100000000000001(X_TILED)");
        assert_eq!(text(0x0200_0000_0040_1901), "AMD:0x0200000000401901(GFX9,64K_S_X,PIPE_XOR_BITS=2)");
        assert_eq!(
            text(0x0200_0000_1826_bb03),
            "AMD:0x020000001826bb03(GFX10_RBPLUS,64K_R_X,DCC,PIPE_ALIGN,INDEPENDENT_128B,MAX_128B,PIPE_XOR_BITS=1,PACKERS=3)"
        );
        assert_eq!(text(0x0300_0000_0060_6014), "NVIDIA:0x0300000000606014(BLOCK_LINEAR_2D,c=0,s=1,g=2,k=0x06,h=4)");
        assert_eq!(text(0x0800_0000_0000_0051), "ARM:0x0800000000000051(AFBC,16x16,YTR,SPARSE)");
        assert_eq!(text(0x0700_0000_0000_8004), "BROADCOM:0x0700000000008004(SAND128,COL_HEIGHT=128)");
        assert_eq!(text(0x0a00_0000_0000_0001), "AMLOGIC:0x0a00000000000001");
    }
}
