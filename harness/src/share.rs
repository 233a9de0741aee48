//! The sharing core: one buffer, many devices, and storage that suits all of them.
//!
//! This is the buffer-sharing framework of the original dma-buf proposal, in user space over real fds. Every frame of every
//! case goes through it. Its rules:
//!
//! - **S1** Export comes first and allocates nothing.
//! - **S2** Attaching is bookkeeping: the buffer knows every device that takes part, and its [`constraints`].
//! - **S3** Storage is chosen at the first map, when the devices are known: the cheapest [`heap`] and a layout that satisfy
//!   all of them ([`agreement`]), or a refusal that says which constraints collide.
//! - **S4** Importers go through these functions, never through the exporter's.
//! - **S5** A mapping ends in finite time; one that overstays is named, and nobody else hangs for ever.
//! - **S6** A stricter device may attach later: new maps stall, outstanding mappings drain, the contents move.
//! - **S7** Storage can be made at once, for exporters that are eager.
//! - **S8** CPU mmaps belong to the buffer, and show the new storage at the same address after a move.
//! - **S9** Frames are passed on by pull and by push, on one [`pool`].
//! - **S10** Of its buffers one is current; nobody draws into one that is still looked at.
//! - **S11** It grows on demand, waits where it can't grow, and shrinks when idle.
//!
//! [`core`] is the state machine, and knows neither fds nor layouts; [`agreement`] and [`constraints`] are pure. A [`layer`] may
//! stand between it and the devices and heaps around it.

pub mod agreement;
pub mod buffer;
pub mod constraints;
mod copy;
pub mod core;
pub mod cpu;
mod demands;
pub mod heap;
pub mod heaps;
pub mod layer;
pub mod message;
pub mod parts;
pub mod pool;
#[cfg(test)]
mod pool_tests;
pub mod refused;
pub mod remote;
pub mod serve;
mod sync;
pub(crate) mod trial;
pub(crate) mod unsaid;
