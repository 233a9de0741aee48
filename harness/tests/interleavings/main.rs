//! Do the locks of the sharing core hold under every interleaving? The very sources of the core, on shuttle's locks.
//!
//! shuttle runs each small program thousands of times and decides at every lock, wait and wake-up who goes on. A program
//! that can stop for ever under one of the schedules is reported with that schedule. Nothing here touches a device.
#![expect(clippy::unwrap_used, reason = "programs under test fail as tests do")]

pub use handover::error;

mod pool;
mod programs;
mod share;
