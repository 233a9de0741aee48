//! Every device's frames to every other device: the claims about a handover, for every pair of ends.
//!
//! Each pair tries a covering set of what may matter (format, size, where rows lie, where the frame begins): for `arrives`
//! every two of these together, for the others each alone. `HANDOVER_STRENGTH` sets how many at once: 1, 2, 3, or 4 for all,
//! and `--exhaustive` means all.

use handover::asked;
use handover::case::Extent;
use handover::covering::covering;
use handover::ends::{Exporter, Importer, Parcel, Rows, Start, exporters, importers};
use handover::prelude::*;

/// From one byte to eight, with and without alpha and padding, and both orders of channels.
const FOURCCS: [Fourcc; 8] =
    [Fourcc::XR24, Fourcc::AB24, Fourcc::AR24, Fourcc::RG16, Fourcc::R8, Fourcc::XR30, Fourcc::AB48, Fourcc::AB4H];

/// What every device takes; rows that are no multiple of anything; odd both ways.
const SIZES: [Size; 3] = [px(64, 64), px(250, 130), px(33, 17)];

const ROWS: [Rows; 3] = [Rows::Agreed, Rows::Padded, Rows::Pages];

const STARTS: [Start; 2] = [Start::First, Start::Behind];

/// The number of the first frame; the one before is what the buffer holds when it crosses.
const FIRST: u32 = 7;

/// A claim about every handover.
type Claim = fn(&mut Cx, &'static dyn Exporter, &'static dyn Importer, Parcel) -> Outcome;

/// By name, with how many things at once are varied.
const CLAIMS: [(&str, usize, Claim); 3] =
    [("arrives", 2, arrives), ("stays_fresh", 1, stays_fresh), ("comes_back", 1, comes_back)];

/// How many things there are to vary.
const FACTORS: usize = 4;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    let asked = match asked::number("HANDOVER_STRENGTH", 1..=4) {
        Ok(asked) => asked.map(|strength| strength as usize),
        Err(why) => return cases.problem(why),
    };
    let asked = if cases.extent() == Extent::Exhaustive { Some(FACTORS) } else { asked };
    for (claim, strength, body) in CLAIMS {
        for from in exporters() {
            for to in importers() {
                if claim == "comes_back" && !to.draws() {
                    continue;
                }
                for parcel in parcels(from, to, asked.unwrap_or(strength)) {
                    let name = format!("matrix::{claim}::{}_to_{}::{parcel}", from.role(), to.role());
                    let case = cases.add(name, move |cx| body(cx, from, to, parcel)).from(from.role()).to(to.role());
                    if to.role() == Screen && parcel.start == Start::Behind {
                        case.known("vkms", "cases/findings/vkms-offset-twice.md", "screen (writeback) does not see");
                    }
                    // A card lays rows without padding, whatever their length.
                    let tight = parcel.rows == Rows::Agreed && [Screen, Vgem].contains(&from.role());
                    if claim == "comes_back" && to.role() != Cpu && tight && !parcel.row().is_multiple_of(16) {
                        case.known("llvmpipe", "cases/findings/llvmpipe-unaligned-pitch.md", "SIGSEGV");
                    }
                }
            }
        }
    }
}

/// What crosses from `from` to `to`.
fn parcels(from: &dyn Exporter, to: &dyn Importer, strength: usize) -> Vec<Parcel> {
    let parcel = |row: &[usize]| Parcel {
        fourcc: FOURCCS[row[0]],
        size: SIZES[row[1]],
        rows: ROWS[row[2]],
        start: STARTS[row[3]],
    };
    let possible = |row: &[usize]| from.can(&parcel(row)) && to.can(&parcel(row));
    let levels: [usize; FACTORS] = [FOURCCS.len(), SIZES.len(), ROWS.len(), STARTS.len()];
    covering(&levels, strength, possible).iter().map(|row| parcel(row)).collect()
}

/// Skips what the devices of this machine can't do, in their own words.
fn check(cx: &mut Cx, from: &dyn Exporter, to: &dyn Importer, parcel: &Parcel) -> Outcome {
    if let Some(why) = from.lacks(cx, parcel)? {
        return Err(Trouble::Skip(format!("{} can't hand it out: {why}", from.role())));
    }
    match to.lacks(cx, parcel)? {
        Some(why) => Err(Trouble::Skip(format!("{} can't take it in: {why}", to.role()))),
        None => Ok(()),
    }
}

/// What the exporter drew is what the importer sees, and the CPU.
fn arrives(cx: &mut Cx, from: &'static dyn Exporter, to: &'static dyn Importer, parcel: Parcel) -> Outcome {
    check(cx, from, to, &parcel)?;
    let mut exported = from.export(cx, &parcel, to)?;
    let target = Target::stamped(FIRST, parcel.fourcc, parcel.size)?;
    if let Some(before) = &target.before {
        cx.cpu_writes(exported.buffer(), before)?;
    }
    exported.draw(cx, FIRST)?;
    cx.cpu_sees(exported.buffer(), &target)?;
    to.import(cx, exported.buffer())?.sees(cx, &target)?;
    cx.agree()
}

/// What is drawn later is seen, too. GPUs keep what they imported at first; the screen, video devices and the CPU take the same
/// buffer in once more for each look, and must not show what they saw before.
fn stays_fresh(cx: &mut Cx, from: &'static dyn Exporter, to: &'static dyn Importer, parcel: Parcel) -> Outcome {
    check(cx, from, to, &parcel)?;
    let mut exported = from.export(cx, &parcel, to)?;
    exported.draw(cx, FIRST)?;
    let mut imported = to.import(cx, exported.buffer())?;
    imported.sees(cx, &Target::stamped(FIRST, parcel.fourcc, parcel.size)?)?;
    for stamp in [FIRST + 1, FIRST + 2] {
        exported.draw(cx, stamp)?;
        imported.sees(cx, &Target::stamped(stamp, parcel.fourcc, parcel.size)?)?;
    }
    cx.agree()
}

/// What the importer draws is what the exporter sees, and the CPU.
fn comes_back(cx: &mut Cx, from: &'static dyn Exporter, to: &'static dyn Importer, parcel: Parcel) -> Outcome {
    check(cx, from, to, &parcel)?;
    let mut exported = from.export(cx, &parcel, to)?;
    exported.draw(cx, FIRST)?;
    let mut imported = to.import(cx, exported.buffer())?;
    imported.draw(cx, FIRST + 1)?;
    let target = Target::stamped(FIRST + 1, parcel.fourcc, parcel.size)?;
    cx.cpu_sees(exported.buffer(), &target)?;
    exported.sees(cx, &target)?;
    imported.sees(cx, &target)?;
    cx.agree()
}
