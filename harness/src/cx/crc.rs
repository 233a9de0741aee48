//! What is the CRC of a screen held against? That of the target, computed where it is known how it is made, and else as the CPU
//! writes it.
//!
//! Two frames that look the same have the same CRC, and that is all that is known of most displays. A copy of the layers that
//! were shown would go the same way through the same planes, and be shown as wrong as they are. So the target is composed and
//! shown as one frame on the lowest plane. Of what 8 bits do not hold there is only the copy, which shows nothing but whether the
//! memory matters.

use std::fmt;

use super::{Cx, Guest, Target};
use crate::case::{Role, Trouble};
use crate::compose::{Composed, compose};
use crate::error::Result;
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::kms::Layer;
use crate::observed::{NotObservable, Observed};
use crate::pattern::Pattern;
use crate::picture::Picture;
use crate::share::buffer::Buffer;
use crate::share::core::Access;

/// Number of a pattern that no case has on the screen.
const OTHER: u32 = 0x6f74;

/// A frame as large as a screen, on its lowest plane.
pub(super) struct Whole {
    buffer: Buffer,
    /// The CRC of a picture that is nobody's target.
    other: Vec<u32>,
}

/// CRC values, as the kernel's interface prints them.
#[derive(PartialEq)]
pub(super) struct Values(pub(super) Vec<u32>);

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|value| format!("{value:#010x}")).collect();
        f.write_str(&words.join(" "))
    }
}

/// What tells a CRC that nobody can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reference {
    /// The target as one frame on the lowest plane.
    Composed,
    /// The targets in dumb buffers, each in the place of its layer.
    Copies,
    /// Nothing.
    Nothing,
}

impl Reference {
    /// Of a target that 8 bits for each component hold, or do not; where the lowest plane shows 8 bits, or does not; and of
    /// layers that are all of them what their copies would be, or are not.
    fn of(is_held: bool, shows_8_bits: bool, are_copies: bool) -> Self {
        match (is_held && shows_8_bits, are_copies) {
            (true, _) => Self::Composed,
            (false, false) => Self::Copies,
            (false, true) => Self::Nothing,
        }
    }
}

impl Cx {
    /// The CRC of the screen that plays `role` while it shows `layers`, whose targets are composed to `expected`; or why none can
    /// be told. Then `layers` are on the screen again.
    ///
    /// # Errors
    /// The screen can't show what is to be compared.
    pub(super) fn crc_of_target(
        &mut self,
        role: Role,
        expected: &Composed,
        layers: &[(Layer<'_, Buffer>, &Target)],
    ) -> Result<Observed<Vec<u32>>, Trouble> {
        let screen = self.screen_of(role)?;
        // vkms publishes how its CRC is made; but one without writeback may be older, and have made it of other bytes.
        if screen.identity().driver == "vkms" && !screen.writeback_formats().is_empty() {
            return Ok(Ok(vec![expected.crc_vkms()]));
        }
        let shows_8_bits = screen.planes().next().is_some_and(|plane| plane.lists(Fourcc::XR24, Modifier::LINEAR));
        let are_copies = self.are_copies(role, layers);
        let target = match Reference::of(expected.is_held_by_8_bits(), shows_8_bits, are_copies) {
            Reference::Composed => self.crc_of_composed(role, &expected.to(Fourcc::XR24)?)?,
            Reference::Copies => self.crc_of_copies(role, expected, layers)?,
            Reference::Nothing => {
                let why = "the CRC could only be held against a copy of the same frame on the same plane, which shows nothing";
                return Ok(Err(NotObservable(format!("{role}: {why}"))));
            }
        };
        let plain: Vec<Layer<'_, Buffer>> = layers.iter().map(|(layer, _)| *layer).collect();
        self.show_on(role, &plain)?;
        Ok(Ok(target))
    }

    /// Whether `layers` are dumb buffers of the screen's that nobody but the CPU can have written to.
    fn are_copies(&self, role: Role, layers: &[(Layer<'_, Buffer>, &Target)]) -> bool {
        let own = format!("memory of {role}");
        let is_own = |buffer: &Buffer| buffer.storage().is_some_and(|storage| storage.heap == own);
        let (write, cpu) = (Access::Write.to_string(), self.name_of(&Guest::Cpu));
        let mappings = &self.case.record.mappings;
        let by_others = mappings.iter().any(|mapping| mapping.access == write && mapping.device != cpu);
        !by_others && layers.iter().all(|(layer, _)| is_own(layer.frame))
    }

    /// The CRC of `picture`, as large as the screen, on its lowest plane.
    fn crc_of_composed(&mut self, role: Role, picture: &Picture) -> Result<Vec<u32>, Trouble> {
        let kept = self.case.wholes.remove(&role).filter(|whole| whole.buffer.wish().size == picture.size);
        let whole = match kept {
            Some(whole) => whole,
            None => {
                let dumb = self.screen_of(role)?.dumb(picture.fourcc, picture.size)?;
                let buffer = self.publish(Guest::screen(role), dumb)?;
                self.cpu_writes(&buffer, &Pattern { stamp: OTHER }.picture(picture.fourcc, picture.size)?)?;
                let other = self.crc_of(role, &[Layer::whole(&buffer)])?;
                Whole { buffer, other }
            }
        };
        self.cpu_writes(&whole.buffer, picture)?;
        let target = self.crc_of(role, &[Layer::whole(&whole.buffer)])?;
        self.tells_pictures(role, &target, &whole.other);
        self.case.wholes.insert(role, whole);
        Ok(target)
    }

    /// The CRC of the targets, which are composed to `expected`, shown from dumb buffers in the place of `layers`.
    fn crc_of_copies(
        &mut self,
        role: Role,
        expected: &Composed,
        layers: &[(Layer<'_, Buffer>, &Target)],
    ) -> Result<Vec<u32>, Trouble> {
        let targets: Vec<&Picture> = layers.iter().map(|(_, target)| &target.picture).collect();
        let others = targets.iter().map(|picture| Pattern { stamp: OTHER }.picture(picture.fourcc, picture.size));
        let others = others.collect::<Result<Vec<_>>>()?;
        let composed: Vec<_> = layers.iter().zip(&others).map(|((layer, _), other)| layer.of(other)).collect();
        let differ = compose(expected.size, &composed)? != *expected;
        let target = self.crc_of_pictures(role, layers, &targets)?;
        // What lies outside of the screen, or is transparent, looks the same.
        if differ {
            let other = self.crc_of_pictures(role, layers, &others.iter().collect::<Vec<_>>())?;
            self.tells_pictures(role, &target, &other);
        }
        Ok(target)
    }

    /// Two pictures must have two CRCs, for a CRC that is the same of everything shows nothing.
    fn tells_pictures(&mut self, role: Role, one: &[u32], other: &[u32]) {
        self.claim(format!("{role} (CRC of another picture)"), one != other, || {
            Finding::new(format!("{role} reports one CRC for two pictures, so that it shows nothing"))
                .row("crc", Values(other.to_vec()).to_string())
                .row("like", "a CRC of something else than what is scanned out, or a screen that stays black")
        });
    }

    /// The CRC of `pictures`, each from a dumb buffer in the place of a layer.
    fn crc_of_pictures(
        &mut self,
        role: Role,
        layers: &[(Layer<'_, Buffer>, &Target)],
        pictures: &[&Picture],
    ) -> Result<Vec<u32>, Trouble> {
        let mut buffers = Vec::new();
        for picture in pictures {
            let dumb = self.screen_of(role)?.dumb(picture.fourcc, picture.size)?;
            let buffer = self.publish(Guest::screen(role), dumb)?;
            self.cpu_writes(&buffer, picture)?;
            buffers.push(buffer);
        }
        let layers: Vec<_> = layers.iter().zip(&buffers).map(|((layer, _), buffer)| layer.with(buffer)).collect();
        self.crc_of(role, &layers)
    }

    /// The CRC of what the screen shows of `layers`.
    fn crc_of(&mut self, role: Role, layers: &[Layer<'_, Buffer>]) -> Result<Vec<u32>, Trouble> {
        Ok(self.show_on(role, layers)?.crc?.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_what_was_shown_is_held_against_what_is_none_alone() {
        for are_copies in [true, false] {
            assert_eq!(Reference::of(true, true, are_copies), Reference::Composed);
            let otherwise = if are_copies { Reference::Nothing } else { Reference::Copies };
            for (is_held, shows_8_bits) in [(true, false), (false, true), (false, false)] {
                assert_eq!(Reference::of(is_held, shows_8_bits, are_copies), otherwise);
            }
        }
    }
}
