//! What can a Vulkan device do with a buffer that changes hands: make it, take it in, draw into it, look at it.
//!
//! Everything through `ash`, one module per noun. It takes no decision about a pair of devices (that is the sharing
//! core's) and compares no pixels.
//!
//! # Rules of this module
//!
//! - A [`Gpu`] has an instance and a device of its own; any number of them may be open at once, on one driver or several.
//! - Every submission waits for its fence, with a deadline. Nothing is in flight between two calls, so an object may
//!   be dropped at any time; what a [`Pending`] drawing uses, it keeps. A missed deadline makes the [`Gpu`] *abandoned*: it is leaked on purpose, with all that belongs
//!   to it, because destroying what a hung driver still uses is undefined. The process should be replaced.
//! - Between two calls, an image or buffer that others can see belongs to them: it is released to
//!   `VK_QUEUE_FAMILY_FOREIGN_EXT` (`EXTERNAL` where only opaque fds are concerned) in layout `GENERAL`. Each call
//!   acquires it with that layout, so contents are preserved, and releases it afterwards, in one submission. Only a new image
//!   starts as `UNDEFINED`, with a drawing that covers it.
//! - Exported and imported memory is `vkAllocateMemory` of our own: gpu-allocator makes no exportable memory. It serves
//!   staging and read-back.
//! - What a driver answers is checked before it is used: [`Cause::Answer`](crate::error::Cause::Answer).

mod budget;
mod buffer;
mod check;
mod commands;
mod constraints;
mod copy;
mod descriptors;
mod disjoint;
mod draw;
mod error;
mod extensions;
mod external_fence;
mod format;
mod gpu;
mod heap;
mod identity;
mod image;
mod import;
mod instance;
mod kernel_device;
mod mapped;
mod memory;
mod messages;
mod owned;
mod ownership;
mod pending;
mod pipeline;
mod planes;
mod render;
mod room;
mod semaphore;
mod staging;
mod support;
mod wanted;
mod words;

pub use buffer::{Buffer, BufferRequest, Span, UnboundBuffer};
pub(crate) use error::is_layout_refused;
pub use external_fence::{Fence, Permanence};
pub use format::vk_format;
pub use gpu::Gpu;
pub use identity::{DriverIdentity, Uuid};
pub(crate) use identity::{type_text, version_text};
pub use image::{Image, ImageRequest, ImageTerms, Layout, OpaqueImage, Unbound};
pub use import::{ImportMemory, ImportRequest, OffsetBy};
pub use instance::Validation;
pub use mapped::MappedBuffer;
pub use memory::{HandleType, MemoryTerms, OpaqueMemory};
pub use messages::{Message, take_messages};
pub use pending::Pending;
pub use room::Room;
pub use semaphore::{Semaphore, Work};
pub use support::{Features, ImageSupport, ModifierSupport, ShortList, Tiling};
pub use words::noise_words;
