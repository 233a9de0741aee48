//! The faults of system calls: what the kernel, or a library above it, does wrong.

use super::Fault;

pub(super) const ALL: &[Fault] = &[];
