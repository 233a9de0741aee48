//! What is left of a case for the report, beside its verdict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Unobserved;
use crate::placement::Placement;
use crate::share::constraints::Constraints;

/// What a case leaves for the report, beside its verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Golden images that were written, relative to the repository.
    pub blessed: Vec<String>,
    /// Every mapping, as the kernel showed it, in the order in which they ended; those that were alike are one.
    pub mappings: Vec<MappingRecord>,
    /// Who could not see what the case did, and why; the verdict is that of the others.
    #[serde(default, skip_serializing_if = "Unobserved::is_empty")]
    pub unobserved: Unobserved,
    /// What was measured, by name with its unit: `stall_ms`.
    pub figures: BTreeMap<String, f64>,
    /// What was stated, each with its label: the buffer, who drew it, which readers saw their targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
}

/// What one device told that it needs of buffers for some frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Who, as mappings name it: `gpu_a`, `screen`, `vivid-001 (video7)`.
    pub device: String,
    /// For which frames it was asked: `XR24 250x130 px`.
    pub frames: Vec<String>,
    /// What it answered, or what was found by trial.
    pub constraints: Constraints,
}

impl Told {
    /// Takes `other` in if the same device answered the same, and says whether it did.
    pub fn takes_in(&mut self, other: &Self) -> bool {
        let alike = self.device == other.device && self.constraints == other.constraints;
        if alike {
            let new = other.frames.iter().filter(|frame| !self.frames.contains(frame));
            let new: Vec<String> = new.cloned().collect();
            self.frames.extend(new);
        }
        alike
    }
}

/// Accesses of one device to a buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MappingRecord {
    /// Who.
    pub device: String,
    /// `read` or `write`.
    pub access: String,
    /// Which storage of its buffer it was, counted from 1.
    pub generation: u64,
    /// How often it was mapped just so.
    pub times: u64,
    /// How long mapping waited for storage to be made or moved, in ms; the longest of all times.
    pub stalled_ms: f64,
    /// Where the buffer was.
    pub placement: Placement,
    /// The constraints of the device that could not be checked, and why not; never a pass.
    pub unchecked: Vec<String>,
}

impl MappingRecord {
    /// Takes `other` in if it differs in nothing but how long it waited, and says whether it did.
    pub fn takes_in(&mut self, other: &Self) -> bool {
        let alike = Self { times: self.times, stalled_ms: self.stalled_ms, ..other.clone() } == *self;
        if alike {
            self.times += other.times;
            self.stalled_ms = self.stalled_ms.max(other.stalled_ms);
        }
        alike
    }
}
