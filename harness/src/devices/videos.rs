//! Which of the video devices of this machine plays which role? What a device can do decides; its name only if the user says so.

use super::{DMA_VIDEO, PLANAR_VIDEO, VIDEO, chosen};
use crate::case::Role;
use crate::error::{Error, Result};
use crate::v4l2::Loopback;

/// What a loop's buffers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buffers {
    /// One of each frame, in memory that may be scattered.
    Scattered,
    /// One of each frame, contiguous.
    Contiguous,
    /// One for each memory plane.
    Planes,
}

impl Buffers {
    fn of(video: &Loopback, contiguous: &[String]) -> Result<Self> {
        let is_contiguous = || contiguous.iter().any(|heap| heap.starts_with(video.capture().name()));
        Ok(match video.is_multi_planar()? {
            true => Self::Planes,
            false if is_contiguous() => Self::Contiguous,
            false => Self::Scattered,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Scattered => "memory that may be scattered",
            Self::Contiguous => "contiguous memory",
            Self::Planes => "a buffer for each memory plane",
        }
    }
}

/// Opens the loop that plays `role`: the first one that takes such buffers, of those that the user names if there are any.
/// The heaps called `contiguous` are memory of devices that have it so.
pub(super) fn open_loop(role: Role, contiguous: &[String]) -> Result<Loopback> {
    const OP: &str = "opening a video loop";
    let (wanted, buffers) = match role {
        Role::Video => (VIDEO, Buffers::Scattered),
        Role::DmaVideo => (DMA_VIDEO, Buffers::Contiguous),
        Role::PlanarVideo => (PLANAR_VIDEO, Buffers::Planes),
        _ => {
            let why = "only `video`, `dma_video` and `planar_video` are such";
            return Err(Error::input(OP, role.to_string(), why));
        }
    };
    let wanted = chosen(wanted);
    let (loops, refused) = Loopback::all()?;
    let mut others = Vec::new();
    for video in loops {
        let name = video.capture().name();
        let has = Buffers::of(&video, contiguous)?;
        if wanted
            .as_deref()
            .is_some_and(|wanted| !video.capture().is_called(wanted) && !video.output().is_called(wanted))
        {
            others.push(format!("{name} is another"));
        } else if has != buffers {
            others.push(format!("{name} takes {}", has.as_str()));
        } else {
            match video.connect() {
                Ok(()) => return Ok(video),
                // It may be the one, in a moment.
                Err(why) if why.is_shortage() => return Err(why),
                Err(why) => others.push(why.to_string()),
            }
        }
    }
    let there_is = if others.is_empty() { "nothing here loops frames".to_owned() } else { others.join(", ") };
    let why =
        format!("{there_is}; a device whose capture sees its output, with {}, would do{refused}", buffers.as_str());
    Err(Error::missing(OP, wanted.unwrap_or_else(|| "any device".to_owned()), why))
}
