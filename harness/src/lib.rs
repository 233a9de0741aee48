//! Everything a case stands on: the harness of Handover.

pub mod channel;
pub mod dmabuf;
pub mod error;
pub mod format;
pub mod frame;
pub mod picture;
