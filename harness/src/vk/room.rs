//! Where a new image or buffer lies in its memory.

use super::memory::Requirements;
use crate::error::Error;

/// Where a new image or buffer lies in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// In memory of its own, and the driver knows (`VkMemoryDedicatedAllocateInfo`).
    Dedicated,
    /// In a part of larger memory, as a sub-allocator would do.
    SubAllocated {
        /// Bytes before it; a multiple of the alignment that the driver asks for.
        before: u64,
        /// Bytes after it.
        after: u64,
    },
}

/// Memory to be, and the offset in it; in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) memory_size: u64,
    /// Whether the driver is told what the memory is for.
    pub(super) dedicated: bool,
}

/// Why something has no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The request is wrong; the text says what would be valid.
    Invalid(String),
    /// The driver has no such memory for it.
    Unsupported(String),
}

impl NoPlace {
    /// The error of the call that wanted it.
    pub(super) fn error(self, object: String) -> Error {
        const OP: &str = "sub-allocating";
        match self {
            Self::Invalid(why) => Error::input(OP, object, why),
            Self::Unsupported(why) => Error::missing(OP, object, why),
        }
    }
}

/// Where something with `needs` lies in `room`. What is nowhere but at the start of its memory is dedicated to it if the driver
/// demands that.
pub(super) fn place_in(room: Room, needs: &Requirements) -> Result<Place, NoPlace> {
    let Requirements { size, alignment, dedicated: demanded, .. } = *needs;
    let (before, after) = match room {
        Room::Dedicated => return Ok(Place { offset: 0, memory_size: size, dedicated: true }),
        Room::SubAllocated { before, after } => (before, after),
    };
    let Some(memory_size) =
        before.checked_add(size).and_then(|end| end.checked_add(after)).filter(|_| before.is_multiple_of(alignment))
    else {
        return Err(NoPlace::Invalid(format!(
            "{before} B before and {after} B after {size} B; before, a multiple of {alignment} B, and all within 64 bits, would be valid"
        )));
    };
    if demanded && (before, after) != (0, 0) {
        let why = format!("{ONLY_DEDICATED}, without the {before} B before and {after} B after that are wanted");
        return Err(NoPlace::Unsupported(why));
    }
    Ok(Place { offset: before, memory_size, dedicated: demanded })
}

/// What an error says of a driver that demands it.
pub(super) const ONLY_DEDICATED: &str = "the driver accepts dedicated memory only";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_allocation_keeps_the_alignment_and_does_not_overflow() {
        let needs = Requirements { size: 1000, alignment: 64, types: 1, dedicated: false };
        let place = place_in(Room::SubAllocated { before: 4096, after: 24 }, &needs);
        assert_eq!(place, Ok(Place { offset: 4096, memory_size: 5120, dedicated: false }));
        let invalid =
            |before| matches!(place_in(Room::SubAllocated { before, after: 0 }, &needs), Err(NoPlace::Invalid(_)));
        assert!(invalid(100) && invalid(u64::MAX - 63));
    }

    #[test]
    fn what_the_driver_demands_is_dedicated_wherever_it_can_be() {
        let needs = Requirements { size: 1000, alignment: 64, types: 1, dedicated: true };
        let place = Ok(Place { offset: 0, memory_size: 1000, dedicated: true });
        assert_eq!(place_in(Room::Dedicated, &needs), place);
        assert_eq!(place_in(Room::SubAllocated { before: 0, after: 0 }, &needs), place);
        let refused = place_in(Room::SubAllocated { before: 64, after: 0 }, &needs);
        let Err(NoPlace::Unsupported(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("dedicated memory only") && why.contains("64 B before"), "{why}");
    }
}
