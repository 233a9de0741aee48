//! What does this machine lack of what a case needs?
//!
//! The devices are asked, in their own words; nothing is allocated or shown.

use super::Cx;
use crate::case::{Need, Role};
use crate::devices::{Devices, Unplayed};
use crate::error::Result;
use crate::faults::Faults;
use crate::format::{Fourcc, Modifier};
use crate::vk::{self, Gpu, HandleType, Tiling};

impl Cx {
    /// What the machine has instead of `need`, or `None` when the need is met.
    ///
    /// # Errors
    /// Nobody plays a role of it.
    pub(super) fn lacks(&mut self, need: &Need) -> Result<Option<String>, Unplayed> {
        let parsed = |format: &str| format.split(' ').next().unwrap_or_default().parse::<Fourcc>();
        Ok(match need {
            Need::Device(role @ (Role::GpuA | Role::GpuB)) => self.devices.gpu(*role).map(|_| None)?,
            Need::Device(role @ (Role::Screen | Role::ScreenB | Role::Overlay | Role::Cursor)) => {
                self.devices.screen(*role)?.plane(Devices::plane_of(*role)).err().map(|why| why.to_string())
            }
            Need::Device(Role::Gles) => self.devices.gles().map(|_| None)?,
            Need::Device(role @ (Role::Video | Role::DmaVideo | Role::PlanarVideo)) => {
                self.devices.video_loop(*role).map(|_| None)?
            }
            Need::Device(Role::Codec) => self.devices.codec().map(|_| None)?,
            Need::Device(Role::Converter) => self.devices.converter().map(|_| None)?,
            Need::Device(Role::Vgem) => self.devices.vgem().map(|_| None)?,
            Need::Device(Role::Gbm) => self.devices.gbm().map(|_| None)?,
            Need::Device(role @ (Role::Udmabuf | Role::DmaHeap)) => self.devices.heap(*role).err(),
            Need::Device(Role::Cpu) => None,
            Need::Exports { role, format } | Need::Imports { role, format } => match parsed(format) {
                Ok(fourcc) => self.lacks_format(*role, fourcc, matches!(need, Need::Exports { .. }))?,
                Err(error) => Some(error.to_string()),
            },
            Need::Draws { role: role @ (Role::GpuA | Role::GpuB), format } => match parsed(format) {
                Ok(fourcc) => does_not_draw(&self.devices.gpu(*role)?, fourcc).map_err(Unplayed::Broken)?,
                Err(error) => Some(error.to_string()),
            },
            // Who takes it in draws to it, or says that it does not.
            Need::Draws { .. } => None,
            Need::Writeback => {
                let none = self.devices.screen(Role::Screen)?.writeback_formats().is_empty();
                none.then(|| "it has no writeback connector".to_owned())
            }
            Need::Crc => self.devices.screen(Role::Screen)?.crc_missing(),
            Need::FailingAllocations => Faults::missing(),
        })
    }

    /// What the device in `role` lacks to export or import LINEAR frames of `fourcc`; `None` if nothing.
    fn lacks_format(&mut self, role: Role, fourcc: Fourcc, exports: bool) -> Result<Option<String>, Unplayed> {
        Ok(match role {
            Role::GpuA | Role::GpuB => {
                gpu_lacks(&self.devices.gpu(role)?, fourcc, exports).map_err(Unplayed::Broken)?
            }
            Role::Screen | Role::ScreenB => {
                let lowest = self.devices.screen(role)?.planes().next();
                let listed = lowest.is_some_and(|plane| plane.lists(fourcc, Modifier::LINEAR));
                (!listed && !exports).then(|| format!("its lowest plane does not list {fourcc} LINEAR"))
            }
            Role::Overlay | Role::Cursor => {
                let kind = Devices::plane_of(role);
                match self.devices.screen(role)?.plane(kind) {
                    Ok(plane) if plane.lists(fourcc, Modifier::LINEAR) => None,
                    Ok(_) => Some(format!("its {kind} plane does not list {fourcc} LINEAR")),
                    Err(why) => Some(why.to_string()),
                }
            }
            Role::Gles => {
                let listed = exports || self.devices.gles()?.formats().map_err(Unplayed::Broken)?.contains(&fourcc);
                (!listed).then(|| format!("it does not list {fourcc} for import"))
            }
            // What they take is the CPU's business or the core's, which asks them.
            _ => None,
        })
    }
}

fn gpu_lacks(gpu: &Gpu, fourcc: Fourcc, exports: bool) -> Result<Option<String>> {
    if vk::vk_format(fourcc).is_none() {
        return Ok(Some(format!("Vulkan has no format with the bytes of {fourcc}")));
    }
    let tiling = Tiling::Modifier(Modifier::LINEAR);
    // What is exported is drawn, where there is drawing, and what is imported is copied out.
    if exports
        && fourcc.yuv().is_none()
        && let Some(why) = does_not_draw(gpu, fourcc)?
    {
        return Ok(Some(why));
    }
    let features = gpu.features(fourcc, tiling)?;
    if !features.copy_from {
        return Ok(Some(format!("it does not copy from {fourcc} LINEAR")));
    }
    Ok(match gpu.image_support(fourcc, tiling, features, HandleType::DmaBuf)? {
        None => Some(format!("it refuses {fourcc} LINEAR as dma-buf")),
        Some(support) if exports && !support.exportable => Some(format!("it does not export {fourcc} LINEAR")),
        Some(support) if !exports && !support.importable => Some(format!("it does not import {fourcc} LINEAR")),
        Some(_) => None,
    })
}

fn does_not_draw(gpu: &Gpu, fourcc: Fourcc) -> Result<Option<String>> {
    if vk::vk_format(fourcc).is_none() {
        return Ok(Some(format!("Vulkan has no format with the bytes of {fourcc}")));
    }
    let draws = gpu.features(fourcc, Tiling::Modifier(Modifier::LINEAR))?.draw;
    Ok((!draws).then(|| format!("it does not draw {fourcc} LINEAR")))
}
