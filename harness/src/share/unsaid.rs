//! What does a driver need of storage that it does not say?
//!
//! Pure. It counts where storage is still to be chosen; where it is there already, only what the driver itself says does.

use super::constraints::Constraints;
use crate::frame::Frame;

/// A driver that says less than it needs.
struct Rule {
    /// Part of the name of its devices, in Vulkan as in OpenGL ES.
    device: &'static str,
    /// A pitch must be a multiple of it, in bytes, though the driver takes others.
    pitch: u64,
    /// It works in blocks of so many rows, though the driver asks for memory up to the last row only.
    rows: u32,
}

/// llvmpipe crashes when it draws with a pitch that is no multiple of 16 bytes
/// (`cases/findings/llvmpipe-unaligned-pitch.md`), and rasterises blocks of 4x4 px, whole ones at the edge
/// (`cases/findings/llvmpipe-rows-behind.md`).
const RULES: &[Rule] = &[Rule { device: "llvmpipe", pitch: 16, rows: 4 }];

/// Adds to `said`, what the device called `name` says that it needs to draw frames of `height` rows, what it needs besides.
pub(crate) fn add_unsaid(said: &mut Constraints, name: &str, height: u32) {
    for rule in RULES.iter().filter(|rule| name.contains(rule.device)) {
        said.pitch.alignment = said.pitch.alignment.max(rule.pitch);
        said.rows_behind = said.rows_behind.max(height.next_multiple_of(rule.rows) - height);
    }
}

/// What `frame`, in a buffer of `size` bytes, lacks of what the device called `name` needs besides what it says, to draw into it.
pub(crate) fn lack(name: &str, frame: &Frame, size: u64) -> Option<String> {
    let rows = frame.rows().ok()?;
    RULES.iter().filter(|rule| name.contains(rule.device)).find_map(|rule| {
        let Rule { device, pitch, rows: block } = *rule;
        if let Some(plane) = frame.planes.iter().find(|plane| !plane.pitch.is_multiple_of(pitch)) {
            return Some(format!(
                "{device} draws with pitches of multiples of {pitch} B, and not of {} B",
                plane.pitch
            ));
        }
        let behind = u64::from(frame.size.height.next_multiple_of(block) - frame.size.height);
        let end = rows
            .iter()
            .map(|rows| rows.end + (rows.pitch - rows.row) * u64::from(behind > 0) + rows.pitch * behind)
            .max()?;
        let short = end.saturating_sub(size);
        (short > 0)
            .then(|| format!("{device} draws whole blocks of {block} rows, and the buffer ends {short} B before"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Fourcc;
    use crate::frame::{Plane, px};
    use crate::share::constraints::Bytes;

    #[test]
    fn a_frame_lacks_what_whole_blocks_would_need() {
        let lack = |name, pitch, height, size| {
            lack(name, &Frame::linear(Fourcc::R8, px(33, height), Plane { offset: 0, pitch }), size)
        };
        assert_eq!(lack("llvmpipe (LLVM 19)", 48, 16, 15 * 48 + 33), None);
        assert_eq!(lack("llvmpipe (LLVM 19)", 48, 17, 20 * 48), None);
        let short = lack("llvmpipe (LLVM 19)", 48, 17, 20 * 48 - 1).expect("too small");
        assert!(short.contains("4 rows") && short.contains("ends 1 B before"), "{short}");
        let pitch = lack("llvmpipe (LLVM 19)", 40, 16, 4096).expect("no multiple");
        assert!(pitch.contains("multiples of 16 B, and not of 40 B"), "{pitch}");
        assert_eq!(lack("AMD Radeon", 40, 17, 17 * 40), None);
    }

    #[test]
    fn what_a_device_says_is_never_made_less() {
        let needs = |pitch, rows_behind, name| {
            let any = Constraints::cpu(&[Fourcc::XR24]);
            let mut found = Constraints { pitch: Bytes::aligned(pitch), rows_behind, ..any };
            add_unsaid(&mut found, name, 130);
            (found.pitch.alignment, found.rows_behind)
        };
        assert_eq!(needs(1, 0, "llvmpipe (LLVM 19.1.7, 256 bits)"), (16, 2));
        assert_eq!(needs(64, 3, "llvmpipe (LLVM 19.1.7, 256 bits)"), (64, 3));
        assert_eq!(needs(1, 0, "AMD Radeon"), (1, 0));
    }
}
