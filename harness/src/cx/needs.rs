//! What does this machine lack of what a case needs?
//!
//! The devices are asked, in their own words; nothing is allocated or shown.

use std::time::Duration;

use super::Cx;
use crate::case::{Need, Role, Trouble};
use crate::devices::{Devices, Unplayed};
use crate::ends;
use crate::error::{Cause, Result};
use crate::faults::Faults;
use crate::format::Fourcc;
use crate::vk;

/// What a device, or this machine, does not say that it can do is a skip; what it says and fails at is a failure.
///
/// # Errors
/// That of `made`.
pub fn missing_is_skip<T>(made: Result<T>) -> Result<T, Trouble> {
    made.map_err(|error| match error.cause {
        Cause::Missing(_) => Trouble::Skip(error.to_string()),
        _ => error.into(),
    })
}

/// A layout of an image that the case has chosen, and not a device, is one that each may refuse: then it is a skip.
///
/// # Errors
/// That of `made`.
pub fn refused_layout_is_skip<T>(made: Result<T>) -> Result<T, Trouble> {
    made.map_err(|error| match vk::is_layout_refused(&error) {
        true => Trouble::Skip(error.to_string()),
        false => error.into(),
    })
}

fn no_writeback(devices: &mut Devices) -> Result<Option<String>, Unplayed> {
    let none = devices.screen(Role::Screen)?.writeback_formats().is_empty();
    Ok(none.then(|| "it has no writeback connector".to_owned()))
}

impl Cx {
    /// The time that the case has from its beginning on (`--timeout`).
    pub fn within(&self) -> Duration {
        self.case.within
    }

    /// What the machine has instead of `need`, or `None` when the need is met.
    ///
    /// # Errors
    /// Nobody plays a role of it.
    pub(super) fn lacks(&mut self, need: &Need) -> Result<Option<String>, Unplayed> {
        let end = |role: &Role| ends::of(*role).map_err(Unplayed::Broken);
        let devices = &mut self.devices;
        Ok(match need {
            Need::Device(role) => end(role)?.identity(devices).map(|_| None)?,
            Need::Exports { role, format } | Need::Imports { role, format } | Need::Draws { role, format } => {
                let fourcc = match format.split(' ').next().unwrap_or_default().parse::<Fourcc>() {
                    Ok(fourcc) => fourcc,
                    Err(error) => return Ok(Some(error.to_string())),
                };
                match need {
                    Need::Exports { .. } => end(role)?.lacks_to_export(devices, fourcc)?,
                    Need::Imports { .. } => end(role)?.lacks_to_import(devices, fourcc)?,
                    _ => end(role)?.lacks_to_draw(devices, fourcc)?,
                }
            }
            Need::Writeback => no_writeback(devices)?,
            Need::Crc => devices.screen(Role::Screen)?.crc_missing(),
            Need::Seen => {
                let (writeback, crc) = (no_writeback(devices)?, devices.screen(Role::Screen)?.crc_missing());
                let unseen = writeback.zip(crc).map(|(writeback, crc)| format!("{writeback}, and {crc}"));
                match unseen {
                    None => devices.screen(Role::Screen)?.wants_cover().map_err(Unplayed::Broken)?,
                    unseen => unseen,
                }
            }
            Need::FailingAllocations => Faults::missing(),
        })
    }
}
