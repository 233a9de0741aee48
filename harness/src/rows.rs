//! Which rows do devices take that tell of formats alone, as OpenGL ES and GBM do? They are given frames in memory of nobody's.
//!
//! What was found is kept with the device: neither the height of a frame nor its heap changes it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::dmabuf::SharedFrame;
use crate::error::{Cause, Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, px};
use crate::share::constraints::{Bytes, Constraints};
use crate::share::trial::{Alignments, LARGEST_ALIGNMENT, Trial};
use crate::udmabuf;

/// A whole number of samples of every format.
const HEIGHT: u32 = 4;

/// What was found of a device, by format and width.
#[derive(Default)]
pub(crate) struct Rows(Mutex<BTreeMap<(Fourcc, u32), Found>>);

/// What was found of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It takes such rows.
    Takes(Alignments),
    /// It takes none, wherever they lie: it is the memory that it does not take.
    TakesNone,
    /// There is no memory of nobody's here; or it takes none of several planes, which may have to lie in some way to each other.
    Unknown,
}

impl Rows {
    /// Adds to `constraints` of a device, which are for memory of one of `heaps`, what rows of each of their LINEAR formats need,
    /// `width` pixels wide. It `refuses` a frame, or does not; whether it `has_room` is asked if it refuses all.
    ///
    /// # Errors
    /// It could not be asked, or has no room.
    pub(crate) fn add_to(
        &self,
        constraints: &mut Constraints,
        (width, heaps): (u32, &[String]),
        refuses: impl Fn(&SharedFrame) -> Result<Option<Error>>,
        has_room: impl Fn() -> bool,
    ) -> Result<()> {
        let mut takes_none = false;
        for pair in constraints.formats.iter().filter(|pair| pair.modifier == Modifier::LINEAR) {
            let kept = self.lock().get(&(pair.fourcc, width)).copied();
            let found = kept.map_or_else(|| find(pair.fourcc, width, &refuses, &has_room), Ok)?;
            self.lock().insert((pair.fourcc, width), found);
            if let Found::Takes(needs) = found {
                let pitch = constraints.pitch.alignment.max(needs.pitch);
                constraints.pitch = Bytes { alignment: pitch, ..constraints.pitch };
                constraints.offset_alignment = constraints.offset_alignment.max(needs.offset);
            }
            takes_none |= found == Found::TakesNone;
        }
        if takes_none && !heaps.is_empty() {
            constraints.memory.heaps = Some(heaps.iter().filter(|heap| *heap != udmabuf::HEAP).cloned().collect());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Fourcc, u32), Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(
    fourcc: Fourcc,
    width: u32,
    refuses: impl Fn(&SharedFrame) -> Result<Option<Error>>,
    has_room: impl Fn() -> bool,
) -> Result<Found> {
    let Some(shapes) = fourcc.planes() else { return Ok(Found::Unknown) };
    let trial = Trial::of(shapes, width, HEIGHT);
    let dmabuf = match udmabuf::create(trial.bytes()) {
        Ok((dmabuf, _)) => dmabuf,
        Err(why) if matches!(why.cause, Cause::Missing(_)) || why.is_errno(Errno::NOENT) => return Ok(Found::Unknown),
        Err(why) => return Err(why),
    };
    let frame = Frame { size: px(width, HEIGHT), fourcc, modifier: Modifier::LINEAR, planes: Vec::new() };
    let mut shared = SharedFrame { dmabuf, frame };
    let found = trial.alignments(|planes| {
        shared.frame.planes = planes.to_vec();
        refuses(&shared)
    })?;
    match found {
        // Of several planes all but the first lie behind others anyway.
        Ok(needs) if shapes.len() > 1 => {
            Ok(Found::Takes(Alignments { offset: needs.offset.min(LARGEST_ALIGNMENT), ..needs }))
        }
        Ok(needs) => Ok(Found::Takes(needs)),
        Err(_) if shapes.len() > 1 => Ok(Found::Unknown),
        Err(_) if has_room() => Ok(Found::TakesNone),
        Err(refusal) => Err(refusal),
    }
}
