//! Which parts there are to play: one line for each, from which all else that is known of them by name follows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Makes the roles of one table: what each is, as an identifier, and as it is written in names, lane files and reports.
macro_rules! roles {
    ($($(#[doc = $doc:literal])+ $role:ident = $name:literal,)+) => {
        /// The part a device plays in a case. Names of devices never appear in a case; roles do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
        pub enum Role {
            $($(#[doc = $doc])+ #[serde(rename = $name)] #[value(name = $name)] $role,)+
        }

        impl Role {
            /// Every role, in the order in which reports name them.
            pub const ALL: [Role; [$($name),+].len()] = [$(Role::$role),+];

            /// The role as it is written in names, lane files and reports.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Role::$role => $name,)+
                }
            }
        }
    };
}

roles! {
    /// The first GPU.
    GpuA = "gpu_a",
    /// The second GPU: another driver or another device, never the same one twice.
    GpuB = "gpu_b",
    /// OpenGL ES through EGL.
    Gles = "gles",
    /// OpenGL ES through EGL on a GBM device, whose buffers it draws into.
    GlesGbm = "gles_gbm",
    /// A KMS card with its lowest plane and its writeback or CRC.
    Screen = "screen",
    /// Another card than the screen's, with its own planes.
    ScreenB = "screen_b",
    /// A plane of the screen that lies over the lowest one.
    Overlay = "overlay",
    /// The plane of the screen that is meant for the pointer.
    Cursor = "cursor",
    /// A video device that shows what it is given, in memory that may be scattered.
    Video = "video",
    /// A video device that shows what it is given, and needs contiguous memory.
    DmaVideo = "dma_video",
    /// A video device that shows what it is given, and takes a buffer for each memory plane, with an offset.
    PlanarVideo = "planar_video",
    /// A video device that makes another frame of each that it is given.
    Converter = "converter",
    /// A video device that makes streams of frames, and frames of streams.
    Codec = "codec",
    /// A DRM device without hardware: vgem.
    Vgem = "vgem",
    /// A DRM device through libgbm.
    Gbm = "gbm",
    /// Pages of a memfd.
    Udmabuf = "udmabuf",
    /// Pages of a heap of `/dev/dma_heap`.
    DmaHeap = "dma_heap",
    /// The processor, through `mmap` of the buffer.
    Cpu = "cpu",
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
