#![expect(unsafe_code, reason = "walks and changes chains of structs that the caller of a driver made")]
//! The `pNext` chains of Vulkan's structs.

use std::ffi::c_void;

use ash::vk::{self, TaggedStructure};

/// The struct of type `T` in the chain that begins at `first`.
///
/// # Safety
/// `first` is null or a chain as Vulkan describes it, alive for as long as the result is used.
pub(crate) unsafe fn find<T: TaggedStructure>(first: *const c_void) -> Option<*mut T> {
    let mut at = first.cast::<vk::BaseInStructure<'_>>();
    while !at.is_null() {
        // SAFETY: every struct of a chain begins with its type and the next one.
        let vk::BaseInStructure { s_type, p_next, .. } = unsafe { at.read() };
        if s_type == T::STRUCTURE_TYPE {
            return Some(at.cast_mut().cast());
        }
        at = p_next;
    }
    None
}

/// A value that is another for as long as this lives.
///
/// Drivers may not change what they are given, so it is as it was when the call returns. That it can be written, though Vulkan
/// calls it `const`, and that nobody else looks meanwhile, holds for who calls this driver: the harness and the layers above
/// make these structs on their stacks, for one call each.
pub(crate) struct Changed<T: Copy> {
    at: *mut T,
    was: T,
}

impl<T: Copy> Changed<T> {
    /// Puts `new` in the place of what is `at`.
    ///
    /// # Safety
    /// `at` can be written, until this is dropped.
    pub(crate) unsafe fn to(at: *mut T, new: T) -> Self {
        // SAFETY: the caller's contract.
        let was = unsafe { at.replace(new) };
        Self { at, was }
    }
}

impl<T: Copy> Drop for Changed<T> {
    fn drop(&mut self) {
        // SAFETY: the contract of `to`.
        unsafe { self.at.write(self.was) };
    }
}

/// Takes the struct of type `T` out of the chain that begins at the link `first`, for as long as the result lives.
///
/// # Safety
/// As [`find`]; each link can be written.
pub(crate) unsafe fn without<T: TaggedStructure>(first: *mut *const c_void) -> Option<Changed<*const c_void>> {
    let mut link = first;
    loop {
        // SAFETY: a link of a chain.
        let at = unsafe { link.read() }.cast::<vk::BaseInStructure<'_>>();
        if at.is_null() {
            return None;
        }
        // SAFETY: every struct of a chain begins with its type and the next one.
        let vk::BaseInStructure { s_type, p_next, .. } = unsafe { at.read() };
        if s_type == T::STRUCTURE_TYPE {
            // SAFETY: the caller's contract.
            return Some(unsafe { Changed::to(link, p_next.cast()) });
        }
        // SAFETY: a field of a struct that is alive.
        link = unsafe { &raw mut (*at.cast_mut()).p_next }.cast();
    }
}
