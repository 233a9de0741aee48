//! The faults of a Vulkan driver.

use super::Class::*;
use super::Seam::{VulkanA, VulkanB};
use super::{Fault, Kind, Oracle};

pub(super) const ALL: &[Fault] = &[Fault {
    id: "P01",
    what: "vkGetImageSubresourceLayout tells a rowPitch that is 64 B larger than the true one",
    trigger: "tiling LINEAR or DRM_FORMAT_MODIFIER, and external memory",
    modelled_on: "radv c10808441cc, 9573bd70e1e",
    seen_by: &[Oracle::Pixels, Oracle::Layout],
    names: &["pitch"],
    ..fault("pitch-too-large", Layout)
}];

/// A fault of the first GPU's driver, to be filled in.
const fn fault(name: &'static str, class: super::Class) -> Fault {
    Fault {
        name,
        id: "",
        kind: Kind::Fault,
        seam: VulkanA,
        class,
        what: "",
        trigger: "",
        modelled_on: "",
        seen_by: &[],
        names: &[],
        gap: None,
    }
}

/// A control in the first GPU's driver, to be filled in.
const fn control(name: &'static str, class: super::Class) -> Fault {
    Fault { kind: Kind::Control, ..fault(name, class) }
}
