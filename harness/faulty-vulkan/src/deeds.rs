//! What is done otherwise, by what it is done to. Each function is called in the place of the real driver's.

pub(crate) mod commands;
pub(crate) mod counted;
pub(crate) mod images;
pub(crate) mod memory;
pub(crate) mod objects;
pub(crate) mod opaque;
pub(crate) mod queries;
pub(crate) mod semaphores;
pub(crate) mod submissions;
