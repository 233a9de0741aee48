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

/// The memory planes of a multi-planar format; `Err` says what is wrong with their number.
pub(super) fn planes(pix: &PixMplane) -> Result<Vec<PlaneFormat>, String> {
    let count = usize::from(pix.num_planes);
    match pix.planes.get(..count).filter(|planes| !planes.is_empty()) {
        None => Err(format!("{count} memory planes (num_planes); 1 to {} would be valid", uapi::MAX_PLANES)),
        Some(planes) => {
            Ok(planes.iter().map(|plane| PlaneFormat { pitch: plane.bytesperline, bytes: plane.sizeimage }).collect())
        }
    }
}

/// How many rows of pixels a row of chroma stands for, at most: no format of V4L2's has more.
const SUB_SAMPLED: u32 = 4;

/// What is wrong with a format that can't be: rows that do not fit into their buffer.
pub(super) fn contradiction(format: &QueueFormat) -> Option<String> {
    (0..).zip(&format.planes).find_map(|(number, PlaneFormat { pitch, bytes })| {
        let height = if number == 0 { format.size.height } else { format.size.height.div_ceil(SUB_SAMPLED) };
        // The last row need not be padded.
        let rows = u64::from(height.saturating_sub(1));
        let needed = u64::from(*pitch) * rows;
        let of = if number == 0 { String::new() } else { format!("of memory plane {number}: ") };
        (needed > u64::from(*bytes)).then(|| {
            format!(
                "{of}a pitch (bytesperline) of {pitch} B, with which {rows} rows take {needed} B, and a size (sizeimage) of {bytes} B"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::PixelFormat;
    use super::*;
    use crate::frame::px;

    #[test]
    fn every_plane_has_room_for_its_rows() {
        let of = |planes: [(u32, u32); 2]| QueueFormat {
            pixel: PixelFormat(0),
            size: px(64, 64),
            planes: planes.map(|(pitch, bytes)| PlaneFormat { pitch, bytes }).into(),
        };
        assert_eq!(contradiction(&of([(64, 64 * 64), (64, 64 * 32)])), None);
        // Chroma of which a row stands for four, the last one not padded.
        assert_eq!(contradiction(&of([(64, 64 * 63), (64, 64 * 15)])), None);
        let first = contradiction(&of([(64, 64), (64, 64)])).expect("one row of 64");
        assert!(first.starts_with("a pitch (bytesperline) of 64 B, with which 63 rows take 4032 B"), "{first}");
        let second = contradiction(&of([(64, 4096), (u32::MAX, 64)])).expect("endless rows");
        assert!(second.starts_with("of memory plane 1: a pitch (bytesperline) of 4294967295 B"), "{second}");
    }

    #[test]
    fn as_many_planes_are_taken_as_there_can_be() {
        let of = |num_planes| planes(&PixMplane { num_planes, ..Default::default() });
        assert_eq!(of(2).map(|planes| planes.len()), Ok(2));
        assert_eq!(of(8).map(|planes| planes.len()), Ok(8));
        for count in [0, 9, 255] {
            assert_eq!(of(count), Err(format!("{count} memory planes (num_planes); 1 to 8 would be valid")));
        }
    }
}
