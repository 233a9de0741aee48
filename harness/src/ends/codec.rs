//! A codec as an end: it takes frames in and puts frames out, but neither hands on what the matrix could hold to the bit.
//!
//! Its code loses some of every picture, in ways that are the driver's own, so there is no target for what it makes of the
//! pattern: a claim that a frame arrives would be a claim about the code. Within a tolerance it would be one that a damaged frame
//! passes. What can be claimed of its memory to the bit is that it codes a frame of any exporter as it codes the same picture in
//! memory of its own, and decodes into a frame of any exporter what it decodes into its own: `v4l2::codes_an_imported_frame_as_its_own`
//! and `v4l2::decodes_into_an_imported_frame_as_into_its_own`, with every exporter of the matrix. So it plays a role here, and is
//! neither an [`Exporter`](super::Exporter) nor an [`Importer`](super::Importer).

use std::sync::Arc;

use super::{End, of_linux};
use crate::case::{DeviceIdentity, Role};
use crate::devices::{Devices, Unplayed};
use crate::error::Error;
use crate::format::Fourcc;
use crate::v4l2::{Device, Direction, PixelFormat, Queue};

/// A device that makes streams of frames, and frames of streams.
pub(super) static CODEC: Codes = Codes;

pub(super) struct Codes;

impl End for Codes {
    fn role(&self) -> Role {
        Role::Codec
    }

    fn identity(&self, devices: &mut Devices) -> Result<DeviceIdentity, Unplayed> {
        Ok(of_linux(devices.codec()?.encoder().to_string()))
    }

    fn lacks_to_import(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        lacks(devices.codec()?.encoder(), Direction::Output, fourcc).map_err(Unplayed::Broken)
    }

    fn lacks_to_export(&self, devices: &mut Devices, fourcc: Fourcc) -> Result<Option<String>, Unplayed> {
        lacks(devices.codec()?.decoder(), Direction::Capture, fourcc).map_err(Unplayed::Broken)
    }
}

/// What the queue of `device` in `direction` lacks for frames of `fourcc`.
fn lacks(device: &Arc<Device>, direction: Direction, fourcc: Fourcc) -> Result<Option<String>, Error> {
    let listed = Queue::open(device, direction)?.pixel_formats()?;
    let is_listed = PixelFormat::of(fourcc).is_some_and(|pixel| listed.contains(&pixel));
    Ok((!is_listed).then(|| format!("{device} does not list {fourcc}")))
}
