//! The programs that show findings without Handover, for `handover repro`; the crate of `findings/` builds them.

use handover::reproduction::Reproduction;

/// One for each finding that a case names.
pub const REPRODUCTIONS: &[Reproduction] = &[
    Reproduction { finding: "expbuf-einval", program: include_str!("../findings/expbuf-einval.rs") },
    Reproduction { finding: "expbuf-warning", program: include_str!("../findings/expbuf-warning.rs") },
    Reproduction { finding: "gbm-dumb-render-node", program: include_str!("../findings/gbm-dumb-render-node.rs") },
    Reproduction { finding: "gbm-handle-closed", program: include_str!("../findings/gbm-handle-closed.rs") },
    Reproduction { finding: "gbm-no-errno", program: include_str!("../findings/gbm-no-errno.rs") },
    Reproduction { finding: "gbm-plane-count", program: include_str!("../findings/gbm-plane-count.rs") },
    Reproduction { finding: "gbm-planes-of-first", program: include_str!("../findings/gbm-planes-of-first.rs") },
    Reproduction { finding: "gbm-render-node-leak", program: include_str!("../findings/gbm-render-node-leak.rs") },
    Reproduction { finding: "gbm-write-usage", program: include_str!("../findings/gbm-write-usage.rs") },
    Reproduction { finding: "lavapipe-any-modifier", program: include_str!("../findings/lavapipe-any-modifier.rs") },
    Reproduction { finding: "lavapipe-empty-list2", program: include_str!("../findings/lavapipe-empty-list2.rs") },
    Reproduction { finding: "lavapipe-list-overrun", program: include_str!("../findings/lavapipe-list-overrun.rs") },
    Reproduction { finding: "lavapipe-memory-planes", program: include_str!("../findings/lavapipe-memory-planes.rs") },
    Reproduction { finding: "lavapipe-no-cloexec", program: include_str!("../findings/lavapipe-no-cloexec.rs") },
    Reproduction { finding: "lavapipe-offset-query", program: include_str!("../findings/lavapipe-offset-query.rs") },
    Reproduction { finding: "lavapipe-out-of-files", program: include_str!("../findings/lavapipe-out-of-files.rs") },
    Reproduction {
        finding: "lavapipe-planes-refused",
        program: include_str!("../findings/lavapipe-planes-refused.rs"),
    },
    Reproduction {
        finding: "lavapipe-refused-import",
        program: include_str!("../findings/lavapipe-refused-import.rs"),
    },
    Reproduction { finding: "layer-memory-planes", program: include_str!("../findings/layer-memory-planes.rs") },
    Reproduction { finding: "llvmpipe-external-size", program: include_str!("../findings/llvmpipe-external-size.rs") },
    Reproduction { finding: "llvmpipe-fence-poll", program: include_str!("../findings/llvmpipe-fence-poll.rs") },
    Reproduction { finding: "llvmpipe-import-bounds", program: include_str!("../findings/llvmpipe-import-bounds.rs") },
    Reproduction {
        finding: "llvmpipe-imported-offset",
        program: include_str!("../findings/llvmpipe-imported-offset.rs"),
    },
    Reproduction { finding: "llvmpipe-rows-behind", program: include_str!("../findings/llvmpipe-rows-behind.rs") },
    Reproduction {
        finding: "llvmpipe-unaligned-pitch",
        program: include_str!("../findings/llvmpipe-unaligned-pitch.rs"),
    },
    Reproduction { finding: "mesa-export-no-fd", program: include_str!("../findings/mesa-export-no-fd.rs") },
    Reproduction { finding: "mesa-external-only", program: include_str!("../findings/mesa-external-only.rs") },
    Reproduction { finding: "mesa-odd-chroma", program: include_str!("../findings/mesa-odd-chroma.rs") },
    Reproduction { finding: "mesa-p010-grey", program: include_str!("../findings/mesa-p010-grey.rs") },
    Reproduction { finding: "mesa-y210-nothing", program: include_str!("../findings/mesa-y210-nothing.rs") },
    Reproduction { finding: "shmem-enospc", program: include_str!("../findings/shmem-enospc.rs") },
    Reproduction { finding: "vicodec-frame-sizes", program: include_str!("../findings/vicodec-frame-sizes.rs") },
    Reproduction { finding: "vim2m-565-pairs", program: include_str!("../findings/vim2m-565-pairs.rs") },
    Reproduction { finding: "vivid-frame-sizes", program: include_str!("../findings/vivid-frame-sizes.rs") },
    Reproduction { finding: "vkms-blend-wraps", program: include_str!("../findings/vkms-blend-wraps.rs") },
    Reproduction { finding: "vkms-limited-range", program: include_str!("../findings/vkms-limited-range.rs") },
    Reproduction { finding: "vkms-lost-writeback", program: include_str!("../findings/vkms-lost-writeback.rs") },
    Reproduction { finding: "vkms-offset-twice", program: include_str!("../findings/vkms-offset-twice.rs") },
    Reproduction { finding: "vkms-p010-grey", program: include_str!("../findings/vkms-p010-grey.rs") },
];
