//! What of this machine can the harness use: Vulkan drivers, EGL displays, DRM nodes with and without GBM, heaps, video nodes and
//! observation facilities,
//! and for what is missing, why, and what would bring it.
//!
//! One data model. `--json` prints it as it is, the text is a view of it. It asks devices and changes nothing; which of
//! them a case needs is the runner's business.

use std::io::Write;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

pub use drm_nodes::DrmNode;
pub use egl::EglDisplay;
pub use gbm::GbmNode;
pub use libraries::LibraryFile;
pub use listed::{Listed, Unavailable};
pub use memory::{DmaHeap, Udmabuf};
pub use observation::Facility;
pub use v4l2::V4l2Node;
pub use vulkan::{Vulkan, VulkanDevice};

use probe::Probe;

pub(crate) mod access;
mod collect;
pub mod drm_nodes;
pub mod egl;
pub mod gbm;
mod libraries;
mod listed;
mod memory;
mod modifier;
pub(crate) mod mounts;
mod observation;
mod probe;
mod text;
pub mod v4l2;
pub mod vulkan;

/// Everything that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The running kernel.
    pub kernel: Kernel,
    /// Libraries that drivers come through.
    pub libraries: Vec<Listed<LibraryFile>>,
    /// Vulkan loader, drivers and devices.
    pub vulkan: Vulkan,
    /// EGL displays with OpenGL ES: the surfaceless platform, and the GBM platform on each DRM node.
    pub egl: Vec<Listed<EglDisplay>>,
    /// DRM nodes.
    pub drm: Vec<Listed<DrmNode>>,
    /// The same nodes through libgbm.
    pub gbm: Vec<Listed<GbmNode>>,
    /// dma-heaps.
    pub dma_heaps: Vec<Listed<DmaHeap>>,
    /// The udmabuf device.
    pub udmabuf: Listed<Udmabuf>,
    /// Video nodes.
    pub v4l2: Vec<Listed<V4l2Node>>,
    /// Ways to observe what really happened.
    pub observation: Vec<Facility>,
}

/// The running kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// It is a user-mode kernel, as in the sandbox.
    pub uml: bool,
}

/// List what this machine has that a case can use, and why the rest is missing.
#[derive(Clone, Debug, clap::Args)]
pub struct DevicesArgs {
    /// Print the whole data as JSON.
    #[arg(long)]
    json: bool,
    /// Put one question to one driver and print the answer as JSON; the listing does so to itself.
    #[arg(long, hide = true, value_name = "QUESTION")]
    probe: Option<Probe>,
}

/// `handover devices`: prints the inventory of this machine. Succeeds whatever is missing.
pub fn command(args: DevicesArgs) -> ExitCode {
    let printed = match args.probe {
        Some(probe) => answer(&probe),
        None if args.json => collect::json(&mut std::io::stdout().lock(), &Inventory::collect()),
        None => anstream::stdout().lock().write_all(text::page(&Inventory::collect()).as_bytes()),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough: `handover devices | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is gone too, nobody is left to tell it to.
            let _ = writeln!(anstream::stderr(), "cannot print the inventory: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers the parent process. Drivers that print on stdout print on stderr meanwhile.
fn answer(probe: &Probe) -> std::io::Result<()> {
    let mut stdout = std::fs::File::from(rustix::io::dup(rustix::stdio::stdout())?);
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    collect::answer(probe, &mut stdout)
}
