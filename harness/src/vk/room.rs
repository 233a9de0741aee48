//! Where a new image or buffer lies in its memory.

use super::memory::Requirements;
use crate::error::{Error, Refusal};

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

/// The step at which it turns out that there is no place.
const OP: &str = "sub-allocating";

/// That the driver demands dedicated memory for `object`, which was to lie at `offset`: nothing that a case can show false.
pub(super) fn only_dedicated(object: String, offset: u64) -> Error {
    let why = format!(
        "the driver accepts dedicated memory only, which begins with what it is for; {offset} B before are wanted"
    );
    Error::refused(OP, object, why, Refusal::Allowed)
}

/// Why something has no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The request is wrong; the text says what would be valid.
    Invalid(String),
    /// The driver demands dedicated memory, and so many bytes were to lie before.
    Dedicated(u64),
}

impl NoPlace {
    /// The error of the call that wanted it.
    pub(super) fn error(self, object: String) -> Error {
        match self {
            Self::Invalid(why) => Error::input(OP, object, why),
            Self::Dedicated(before) => only_dedicated(object, before),
        }
    }
}

/// Where something with `needs` lies in `room`. If the driver demands dedicated memory, it has what begins with it to itself, and
/// no room behind.
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
    match (demanded, before) {
        (false, _) => Ok(Place { offset: before, memory_size, dedicated: false }),
        (true, 0) => Ok(Place { offset: 0, memory_size: size, dedicated: true }),
        (true, _) => Err(NoPlace::Dedicated(before)),
    }
}

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
        assert_eq!(place_in(Room::SubAllocated { before: 0, after: 4096 }, &needs), place);
        assert_eq!(place_in(Room::SubAllocated { before: 64, after: 0 }, &needs), Err(NoPlace::Dedicated(64)));
        let error = NoPlace::Dedicated(64).error("image".to_owned());
        assert!(error.refusal() == Refusal::Allowed && error.to_string().contains("64 B before are wanted"), "{error}");
        assert_eq!(NoPlace::Invalid(String::new()).error("image".to_owned()).refusal(), Refusal::Other);
    }
}
