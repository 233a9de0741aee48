//! How contents get from one storage to another: by the CPU, and row by row where the layouts differ.

use crate::dmabuf::SharedFrame;
use crate::error::{Error, Result};

/// Copies the frame in `from`, and where both lie alike everything around it as well, to `to`.
///
/// # Errors
/// They are not the same picture in layouts that the CPU can address; one of them can't be mapped.
pub(super) fn contents(from: &SharedFrame, to: &SharedFrame) -> Result<()> {
    let (source, mut target) = (from.dmabuf.map()?, to.dmabuf.map()?);
    if from.frame == to.frame {
        return target.copy_from(&source, [(0, 0, from.dmabuf.size.min(to.dmabuf.size))]);
    }
    if (from.frame.size, from.frame.fourcc) != (to.frame.size, to.frame.fourcc) {
        return Err(Error::input("moving contents", from.to_string(), format!("{} is another picture", to.frame)));
    }
    let planes = from.frame.rows()?.into_iter().zip(to.frame.rows()?);
    let rows = planes.flat_map(|(at, new)| {
        (0..at.count).map(move |y| (at.offset + y * at.pitch, new.offset + y * new.pitch, at.row))
    });
    target.copy_from(&source, rows)
}
