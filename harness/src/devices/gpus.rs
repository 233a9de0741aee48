//! Which of the Vulkan devices of this machine plays which role?

use super::{GPU_A, GPU_B, chosen};
use crate::case::Role;
use crate::error::{Error, Result};
use crate::vk::{Gpu, Validation};

/// Opens the GPU that plays `role`: the chosen one, else the first device for `gpu_a` and the first other one for
/// `gpu_b`.
pub(super) fn open_gpu(role: Role) -> Result<Gpu> {
    // Nearly every command is given to each GPU, and the layer judges synchronization for each device by itself: that it does so on
    // one is enough.
    let default = if role == Role::GpuA { Validation::Sync } else { Validation::Core };
    let validation = Validation::from_environment()?.unwrap_or(default);
    match role {
        Role::GpuA => Gpu::open(chosen(GPU_A).as_deref(), validation),
        Role::GpuB => open_other_gpu(chosen(GPU_A).as_deref(), chosen(GPU_B).as_deref(), validation),
        _ => Err(Error::input("opening a GPU", role.to_string(), "only gpu_a and gpu_b are Vulkan devices")),
    }
}

/// Opens the first device that matches `wanted` and does not play `gpu_a`, which is the first that matches `first`: a
/// pair that is one device twice would show nothing.
fn open_other_gpu(first: Option<&str>, wanted: Option<&str>, validation: Validation) -> Result<Gpu> {
    if let (Some(first), Some(wanted)) = (first, wanted) {
        // The usual way, without a look at every driver.
        let gpu = Gpu::open(Some(wanted), validation)?;
        if !gpu.identity().matches(first) {
            return Ok(gpu);
        }
    }
    let all = Gpu::list()?;
    let taken = all.iter().find(|device| first.is_none_or(|first| device.matches(first)));
    let other = all
        .iter()
        .filter(|device| taken.is_none_or(|taken| taken.device_uuid != device.device_uuid))
        .find(|device| wanted.is_none_or(|wanted| device.matches(wanted)));
    match other {
        Some(other) => Gpu::open(Some(&other.device_uuid.to_string()), validation),
        None => {
            let object = wanted.map_or("gpu_b".to_owned(), |wanted| format!("gpu_b, a device matching `{wanted}`"));
            let why = match taken {
                Some(taken) => format!("this machine has no such Vulkan device beside gpu_a, which is {taken}"),
                None => "this machine has no such Vulkan device".to_owned(),
            };
            Err(Error::missing("opening a GPU", object, why))
        }
    }
}
