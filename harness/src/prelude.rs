//! Everything that a file of cases uses.

pub use crate::case::Role::{self, *};
pub use crate::case::{Case, Cases, Need, Outcome, Trouble};
pub use crate::compare::Tolerance;
pub use crate::compose::Rect;
pub use crate::cx::{
    Cx, Deed, Drawn, FenceBy, Guest, NewFrame, Put, Round, Target, Turn, missing_is_skip, refused_layout_is_skip,
};
pub use crate::dmabuf::SharedFrame;
pub use crate::error::Result;
pub use crate::fence::{Generations, PendingFence, Seen, SyncFile, Use};
pub use crate::finding::Finding;
pub use crate::format::{Fourcc, Modifier};
pub use crate::frame::{Frame, Plane, Size, px};
pub use crate::kms::{Answer, Layer, PlaneKind};
pub use crate::pattern::Pattern;
pub use crate::picture::Picture;
pub use crate::scene::{self, Scene};
pub use crate::share::agreement::Agreement;
pub use crate::share::buffer::Buffer;
pub use crate::share::core::Access;
pub use crate::share::heap::{Heap, Storage};
pub use crate::share::heaps::Kind;
pub use crate::vk::{
    BufferRequest, Features, Gpu, HandleType, Image, ImageRequest, ImportRequest, Layout, ModifierSupport, OffsetBy,
    Room, Tiling, noise_words,
};
