//! The claims: one file per family, each with a plain list of its cases.
//!
//! A case reads like the sentence it claims. What it stands on is in the crate `handover`; no case names a driver's types
//! or opens a device by itself.
#![forbid(unsafe_code)]

use handover::case::Cases;
use handover::cx::Cx;

mod bounds;
mod coherency;
mod drivers;
mod fences;
mod findings;
mod formats;
mod gbm;
mod gles;
mod heaps;
mod kernel;
mod matrix;
mod orders;
mod ownership;
mod pipe;
mod planes;
mod pool;
mod prime;
mod queries;
mod refusals;
mod render;
mod scanout;
mod screen;
mod sharing;
mod v4l2;
mod vulkan;
mod writeback;
mod yuv;

pub use findings::REPRODUCTIONS;

/// Every case, family by family.
pub fn register(cases: &mut Cases<Cx>) {
    // First, since everything that looks at the screen stands on it, and it needs no GPU to start.
    screen::register(cases);
    scanout::register(cases);
    planes::register(cases);
    vulkan::register(cases);
    matrix::register(cases);
    yuv::register(cases);
    orders::register(cases);
    ownership::register(cases);
    bounds::register(cases);
    queries::register(cases);
    formats::register(cases);
    refusals::register(cases);
    gles::register(cases);
    gbm::register(cases);
    heaps::register(cases);
    prime::register(cases);
    v4l2::register(cases);
    kernel::register(cases);
    render::register(cases);
    writeback::register(cases);
    sharing::register(cases);
    pool::register(cases);
    pipe::register(cases);
    fences::register(cases);
    coherency::register(cases);
}
