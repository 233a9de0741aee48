//! What does one device need of a buffer: the layouts it takes, and where the memory behind them may lie?
//!
//! Pure data. Who asks a device for its constraints is with that device (`vk`, `kms`, `v4l2`); what satisfies several of
//! them at once is for [`super::agreement`] to say.
//!
//! Source: the fields are those that Vulkan (`VkDrmFormatModifierPropertiesEXT`, `VkMemoryFdPropertiesKHR`), KMS
//! (`IN_FORMATS`), V4L2 (`VIDIOC_ENUM_FMT`) and the kernel's `struct device_dma_parameters` tell of a device.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Size};

/// A device that takes part in sharing a buffer, with what it needs of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Who it is, as refusals and verdicts name it: `gpu_a`, `screen`, `vivid.1 (video6)`.
    pub name: String,
    /// What it needs.
    pub constraints: Constraints,
}

/// A pixel format with the layout of its planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FormatModifier {
    /// The format.
    pub fourcc: Fourcc,
    /// The layout.
    pub modifier: Modifier,
    /// How many planes the pair has in memory.
    pub planes: u32,
}

/// A number of bytes that a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// It must be a multiple of this power of two.
    pub alignment: u64,
    /// It must not be less.
    pub min: u64,
    /// It must not be more.
    pub max: u64,
}

/// What one device needs of backing storage and layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// The pairs that it takes, its best one first.
    pub formats: Vec<FormatModifier>,
    /// The smallest frame that it takes.
    pub smallest: Size,
    /// The largest frame that it takes.
    pub largest: Size,
    /// Pitch of each plane, in bytes.
    pub pitch: Bytes,
    /// Each plane's offset must be a multiple of this power of two, in bytes.
    pub offset_alignment: u64,
    /// Bytes that it may touch behind the end of the last plane.
    pub padding: u64,
    /// Whole rows that it may touch behind the last row of the last plane, before [`Self::padding`].
    pub rows_behind: u32,
    /// Size of the whole buffer, in bytes.
    pub size: Bytes,
    /// Where the memory may lie.
    pub memory: MemoryNeeds,
}

/// What one device needs of the memory itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNeeds {
    /// The heaps whose memory it imports, by name, if not every heap's will do.
    pub heaps: Option<BTreeSet<String>>,
    /// The Vulkan memory types (`memoryTypeBits`) one of which it must have, if the device has such. [`Self::heaps`] are those
    /// that provide one; this is what each mapping is held against.
    pub types: Option<u32>,
    /// Whether the device takes memory for one image alone, from its first byte. Any dma-buf will do, and the frame's layout must
    /// carry its offset; what can't be is several images in parts of one allocation.
    pub dedicated: bool,
    /// Whether the memory must be one run of addresses, as the device sees them.
    pub contiguous: bool,
    /// How many low bits of an address it can drive; 64 reaches everything.
    pub address_bits: u32,
    /// The most segments that it takes.
    pub segments: Option<u32>,
    /// The longest segment that it takes, in bytes.
    pub segment_size: Option<u64>,
    /// Whether it reads or writes through the CPU, so that the memory must be mappable.
    pub cpu: bool,
}

impl Bytes {
    /// Any number of bytes.
    pub const ANY: Self = Self { alignment: 1, min: 0, max: u64::MAX };

    /// Any multiple of `alignment`.
    pub const fn aligned(alignment: u64) -> Self {
        Self { alignment, ..Self::ANY }
    }

    /// Whether `bytes` is such a number.
    pub fn allow(&self, bytes: u64) -> bool {
        bytes.is_multiple_of(self.alignment) && (self.min..=self.max).contains(&bytes)
    }
}

impl MemoryNeeds {
    /// Memory of any kind.
    pub const ANY: Self = Self {
        heaps: None,
        types: None,
        dedicated: false,
        contiguous: false,
        address_bits: 64,
        segments: None,
        segment_size: None,
        cpu: false,
    };
}

impl Constraints {
    /// Those of a device that takes `formats` wherever and however they lie.
    pub fn of(formats: Vec<FormatModifier>) -> Self {
        Self {
            formats,
            smallest: Size { width: 1, height: 1 },
            largest: Size { width: u32::MAX, height: u32::MAX },
            pitch: Bytes::ANY,
            offset_alignment: 1,
            padding: 0,
            rows_behind: 0,
            size: Bytes::ANY,
            memory: MemoryNeeds::ANY,
        }
    }

    /// Those of the same device for plane `plane` of a LINEAR frame of `fourcc` that has a buffer of its own: there it is a
    /// frame by itself, in the packed format with its bytes. There are none if the device takes no such frame.
    pub fn of_plane(&self, fourcc: Fourcc, plane: usize) -> Self {
        let takes = |pair: &&FormatModifier| (pair.fourcc, pair.modifier) == (fourcc, Modifier::LINEAR);
        let stand_in =
            fourcc.yuv().and_then(|yuv| yuv.stand_in(plane)).filter(|_| self.formats.iter().any(|pair| takes(&pair)));
        let formats = stand_in.map(|fourcc| FormatModifier { fourcc, modifier: Modifier::LINEAR, planes: 1 });
        let (across, down) =
            fourcc.planes().and_then(|planes| planes.get(plane)).map_or((1, 1), |shape| (shape.across, shape.down));
        let part = |size: Size| Size { width: size.width.div_ceil(across), height: size.height.div_ceil(down) };
        Self {
            formats: formats.into_iter().collect(),
            smallest: part(self.smallest),
            largest: part(self.largest),
            ..self.clone()
        }
    }

    /// Those of the same device for a frame of `modifier` that is laid out already. What was found of rows says nothing of another
    /// layout than LINEAR: what that needs its driver checks when it takes the frame in.
    pub fn of_layout(self, modifier: Modifier) -> Self {
        match modifier {
            Modifier::LINEAR | Modifier::INVALID => self,
            _ => Self { pitch: Bytes::ANY, offset_alignment: 1, padding: 0, rows_behind: 0, ..self },
        }
    }

    /// Those of the CPU: a LINEAR layout of one of `fourccs`, in memory that can be mapped.
    pub fn cpu(fourccs: &[Fourcc]) -> Self {
        let planes = |fourcc: Fourcc| fourcc.planes().map_or(1, |planes| planes.len() as u32);
        let linear = |&fourcc| FormatModifier { fourcc, modifier: Modifier::LINEAR, planes: planes(fourcc) };
        let formats = fourccs.iter().map(linear);
        let memory = MemoryNeeds { cpu: true, ..MemoryNeeds::ANY };
        Self { memory, ..Self::of(formats.collect()) }
    }

    /// Those of the CPU that has `length` bytes of a buffer with `frame` mapped: the layout can't change under it.
    pub fn pinned(frame: &Frame, length: u64) -> Self {
        let format =
            FormatModifier { fourcc: frame.fourcc, modifier: frame.modifier, planes: frame.planes.len() as u32 };
        let pitches = frame.planes.iter().map(|plane| plane.pitch);
        let (min, max) = (pitches.clone().min().unwrap_or(0), pitches.max().unwrap_or(u64::MAX));
        Self {
            formats: vec![format],
            pitch: Bytes { alignment: 1, min, max },
            size: Bytes { min: length, ..Bytes::ANY },
            ..Self::cpu(&[frame.fourcc])
        }
    }

    /// Checks that they do not contradict themselves.
    ///
    /// # Errors
    /// The field, its value, and what would be valid.
    pub fn check(&self) -> Result<(), Contradiction> {
        let wrong =
            |field: &'static str, value: String, valid: &'static str| Err(Contradiction { field, value, valid });
        if self.formats.is_empty() {
            return wrong("formats", "an empty list".into(), "at least one pair of format and modifier");
        }
        if let Some(pair) = self.formats.iter().find(|pair| pair.planes == 0 || pair.planes > 4) {
            return wrong("formats", format!("{pair} with {} planes", pair.planes), "1 to 4 planes");
        }
        for (field, bytes) in [("pitch", &self.pitch), ("size", &self.size)] {
            if !bytes.alignment.is_power_of_two() {
                return wrong(field, format!("alignment {}", bytes.alignment), "a power of two");
            }
            if bytes.min > bytes.max {
                let value = format!("at least {} B and at most {} B", bytes.min, bytes.max);
                return wrong(field, value, "a minimum that is not above the maximum");
            }
            let first = bytes.min.max(1).checked_next_multiple_of(bytes.alignment);
            if first.is_none_or(|first| first > bytes.max) {
                return wrong(field, bytes.to_string(), "a range with a multiple of the alignment in it");
            }
        }
        if !self.offset_alignment.is_power_of_two() {
            return wrong("offset_alignment", self.offset_alignment.to_string(), "a power of two");
        }
        let Size { width, height } = self.smallest;
        if width > self.largest.width || height > self.largest.height {
            let value = format!("at least {} and at most {}", self.smallest, self.largest);
            return wrong("largest", value, "a largest frame that is not below the smallest");
        }
        if self.largest.width == 0 || self.largest.height == 0 {
            return wrong("largest", self.largest.to_string(), "at least 1x1 px");
        }
        // The first plane of every format has as many rows as the frame.
        let pitch = u128::from(self.pitch.min.max(1).next_multiple_of(self.pitch.alignment));
        let rows = u128::from(height.max(1)) + u128::from(self.rows_behind);
        let least = (pitch * rows + u128::from(self.padding)).next_multiple_of(self.size.alignment.into());
        if least > self.size.max.into() {
            let value = format!("at most {} B, where the smallest frame needs {least} B", self.size.max);
            return wrong("size", value, "room for the smallest frame");
        }
        let memory = &self.memory;
        if memory.heaps.as_ref().is_some_and(BTreeSet::is_empty) {
            return wrong("heaps", "an empty list".into(), "the name of a heap, or no list at all");
        }
        if !(1..=64).contains(&memory.address_bits) {
            return wrong("address_bits", memory.address_bits.to_string(), "1 to 64");
        }
        if memory.segments == Some(0) {
            return wrong("segments", "0".into(), "at least 1");
        }
        if memory.segment_size == Some(0) {
            return wrong("segment_size", "0 B".into(), "at least 1 B");
        }
        Ok(())
    }
}

/// Constraints that nothing could satisfy, whoever else takes part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value}; {valid} would be valid")]
pub struct Contradiction {
    /// The field of [`Constraints`].
    pub field: &'static str,
    /// What it says.
    pub value: String,
    /// What it could say.
    pub valid: &'static str,
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alignment, min, max } = *self;
        let parts = [
            (alignment > 1).then(|| format!("multiples of {alignment} B")),
            (min > 0).then(|| format!("at least {min} B")),
            (max < u64::MAX).then(|| format!("at most {max} B")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { f.write_str("any number of bytes") } else { f.write_str(&parts.join(", ")) }
    }
}

impl fmt::Display for FormatModifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.fourcc, self.modifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Constraints {
        Constraints::of(vec![FormatModifier { fourcc: Fourcc::XR24, modifier: Modifier::LINEAR, planes: 1 }])
    }

    #[test]
    fn a_plane_needs_what_the_frame_needs() {
        let planar = FormatModifier { fourcc: Fourcc::NV12, modifier: Modifier::LINEAR, planes: 2 };
        let (smallest, largest) = (Size { width: 16, height: 16 }, Size { width: 101, height: 99 });
        let whole = Constraints { smallest, largest, pitch: Bytes::aligned(64), ..Constraints::of(vec![planar]) };
        let chroma = whole.of_plane(Fourcc::NV12, 1);
        let pair = FormatModifier { fourcc: Fourcc::GR88, modifier: Modifier::LINEAR, planes: 1 };
        assert_eq!((chroma.formats.as_slice(), chroma.pitch), (&[pair][..], Bytes::aligned(64)));
        assert_eq!((chroma.smallest, chroma.largest), (Size { width: 8, height: 8 }, Size { width: 51, height: 50 }));
        assert_eq!(whole.of_plane(Fourcc::NV12, 0).largest, largest);
        assert!(whole.of_plane(Fourcc::YU12, 0).check().is_err(), "it takes no such frame");
        assert!(whole.of_plane(Fourcc::NV12, 2).check().is_err(), "there is no such plane");
    }

    #[test]
    fn what_rows_need_is_not_asked_of_tiles() {
        let (tiled, pitch) = (Modifier(0x0100_0000_0000_0001), Bytes::aligned(64));
        let rows = Constraints { pitch, offset_alignment: 4096, padding: 64, rows_behind: 3, ..valid() };
        assert_eq!(rows.clone().of_layout(Modifier::LINEAR), rows);
        assert_eq!(rows.of_layout(tiled), valid());
    }

    #[test]
    fn a_contradiction_names_field_value_and_what_would_be_valid() {
        assert_eq!(valid().check(), Ok(()));
        let memory = MemoryNeeds::ANY;
        for (constraints, text) in [
            (Constraints::of(vec![]), "formats: an empty list"),
            (Constraints { pitch: Bytes::aligned(0), ..valid() }, "pitch: alignment 0; a power of two"),
            (Constraints { pitch: Bytes::aligned(48), ..valid() }, "pitch: alignment 48; a power of two"),
            (Constraints { size: Bytes { min: 2, max: 1, ..Bytes::ANY }, ..valid() }, "size: at least 2 B and at most"),
            (
                Constraints { pitch: Bytes { alignment: 64, min: 65, max: 127 }, ..valid() },
                "pitch: multiples of 64 B, at least 65 B, at most 127 B",
            ),
            (Constraints { offset_alignment: 0, ..valid() }, "offset_alignment: 0; a power of two"),
            (
                Constraints {
                    pitch: Bytes::aligned(64),
                    padding: 1,
                    rows_behind: 1,
                    size: Bytes { max: 128, ..Bytes::ANY },
                    ..valid()
                },
                "size: at most 128 B, where the smallest frame needs 129 B; room for the smallest frame",
            ),
            (Constraints { largest: Size { width: 0, height: 1 }, ..valid() }, "largest: at least 1x1 px"),
            (
                Constraints { memory: MemoryNeeds { address_bits: 0, ..memory.clone() }, ..valid() },
                "address_bits: 0; 1 to 64",
            ),
            (
                Constraints { memory: MemoryNeeds { heaps: Some(BTreeSet::new()), ..memory.clone() }, ..valid() },
                "heaps: an empty list",
            ),
            (Constraints { memory: MemoryNeeds { segments: Some(0), ..memory }, ..valid() }, "segments: 0"),
        ] {
            let said = constraints.check().expect_err(text).to_string();
            assert!(said.contains(text), "{said}");
        }
    }
}
