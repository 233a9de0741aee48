//! Where a new image or buffer lies in its memory.

use super::memory::Requirements;

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
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) memory_size: u64,
}

/// Where something with `needs` lies in `room`; `Err` says what would be valid.
pub(super) fn place_in(room: Room, needs: &Requirements) -> Result<Place, String> {
    let Room::SubAllocated { before, after } = room else {
        return Ok(Place { offset: 0, memory_size: needs.size });
    };
    let memory_size = before.checked_add(needs.size).and_then(|end| end.checked_add(after));
    match memory_size {
        Some(memory_size) if before.is_multiple_of(needs.alignment) => Ok(Place { offset: before, memory_size }),
        _ => Err(format!(
            "{before} B before and {after} B after {} B; before, a multiple of {} B, and all within 64 bits, would be valid",
            needs.size, needs.alignment
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_allocation_keeps_the_alignment_and_does_not_overflow() {
        let needs = Requirements { size: 1000, alignment: 64, types: 1 };
        let place = place_in(Room::SubAllocated { before: 4096, after: 24 }, &needs).expect("aligned");
        assert_eq!((place.offset, place.memory_size), (4096, 5120));
        assert!(place_in(Room::SubAllocated { before: 100, after: 0 }, &needs).is_err());
        assert!(place_in(Room::SubAllocated { before: u64::MAX - 63, after: 0 }, &needs).is_err());
    }
}
