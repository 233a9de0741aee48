//! The format of a queue as the kernel's structures have it. Pure.

use super::queue_format::{PlaneFormat, QueueFormat};
use super::uapi::{self, Pix, PixMplane};

pub(super) fn single(format: &QueueFormat) -> Pix {
    let plane = format.planes.first().copied().unwrap_or(PlaneFormat { pitch: 0, bytes: 0 });
    Pix {
        width: format.size.width,
        height: format.size.height,
        pixelformat: format.pixel.0,
        field: uapi::FIELD_NONE,
        bytesperline: plane.pitch,
        sizeimage: plane.bytes,
        ..Default::default()
    }
}

pub(super) fn mplane(format: &QueueFormat) -> PixMplane {
    let mut pix = PixMplane {
        width: format.size.width,
        height: format.size.height,
        pixelformat: format.pixel.0,
        field: uapi::FIELD_NONE,
        num_planes: format.planes.len().min(uapi::MAX_PLANES) as u8,
        ..Default::default()
    };
    for (to, from) in pix.planes.iter_mut().zip(&format.planes) {
        to.bytesperline = from.pitch;
        to.sizeimage = from.bytes;
    }
    pix
}

/// What is wrong with a format that can't be: rows that do not fit into their buffer.
pub(super) fn contradiction(format: &QueueFormat) -> Option<String> {
    // The last row need not be padded.
    let rows = u64::from(format.size.height.saturating_sub(1));
    let first = format.planes.first().filter(|plane| u64::from(plane.pitch) * rows > plane.bytes.into())?;
    let PlaneFormat { pitch, bytes } = first;
    let needed = u64::from(*pitch) * rows;
    Some(format!(
        "a pitch (bytesperline) of {pitch} B, with which {rows} rows take {needed} B, and a size (sizeimage) of {bytes} B"
    ))
}
