//! Every device's frames to every other device: the claims about a handover, for every pair of ends.
//!
//! Each pair tries a covering set of what may matter (format, size, where rows lie, where the frame begins, and with Vulkan
//! whether its memory is dedicated or sub-allocated, and whether the importer is in another process): for `arrives` every two
//! of these together, for the others each alone; less where another device of the same kind went before
//! ([`Importer::strength`]). Formats in YUV, and where their planes lie, are tried alone, too. `HANDOVER_STRENGTH` sets how
//! many at once: 1, 2, 3, or 4 for all, and `--exhaustive` means all.

use handover::asked;
use handover::case::Extent;
use handover::covering::covering;
use handover::ends::{Exporter, Importer, Parcel, Planes, Rows, Start, Way, exporters, fillers, importers};
use handover::prelude::*;

use crate::screen;
use crate::yuv::known_of_words;

/// From one byte to eight, with and without alpha and padding, and both orders of channels.
const FOURCCS: [Fourcc; 8] =
    [Fourcc::XR24, Fourcc::AB24, Fourcc::AR24, Fourcc::RG16, Fourcc::R8, Fourcc::XR30, Fourcc::AB48, Fourcc::AB4H];

/// What every device takes; rows that are no multiple of anything; odd both ways.
const SIZES: [Size; 3] = [px(64, 64), px(250, 130), px(33, 17)];

const ROWS: [Rows; 3] = [Rows::Agreed, Rows::Padded, Rows::Pages];

const STARTS: [Start; 2] = [Start::First, Start::Behind];

/// Two planes in both orders of chroma, and sub-sampled in three ways; three planes; more than 8 bits; one plane.
const YUV: [Fourcc; 8] =
    [Fourcc::NV12, Fourcc::NV21, Fourcc::NV16, Fourcc::NV24, Fourcc::YU12, Fourcc::YV12, Fourcc::P010, Fourcc::YUYV];

/// One plane with alpha, one of words, and three of words whose upper bits are empty. Who made the bytes is no matter to how they
/// are read, so that they are tried from one exporter.
const YUV_ONCE: [Fourcc; 3] = [Fourcc::AYUV, Fourcc::Y210, Fourcc::S010];

/// As agreed, or told: how padding is chosen matters less than that there is some.
const YUV_ROWS: [Rows; 2] = [Rows::Agreed, Rows::Padded];

const PLANES: [Planes; 3] = [Planes::Contiguous, Planes::Gaps, Planes::Backwards];

/// The number of the first frame; the one before is what the buffer holds when it crosses.
const FIRST: u32 = 7;

/// A claim about every handover.
type Claim = fn(&mut Cx, &'static dyn Exporter, &'static dyn Importer, Parcel) -> Outcome;

/// By name, with how many things at once are varied.
const CLAIMS: [(&str, usize, Claim); 3] =
    [("arrives", 2, arrives), ("stays_fresh", 1, stays_fresh), ("comes_back", 1, comes_back)];

/// How many things there are to vary.
const FACTORS: usize = 6;

/// The strength that stands for every combination.
const ALL: u32 = 4;

/// Faults of the importer that the frame must bring to light. One exporter is enough.
fn faults(from: Role, to: Role, parcel: &Parcel) -> Vec<&'static str> {
    let plain = parcel.fourcc == Fourcc::XR24 || parcel.fourcc == Fourcc::AR24;
    match to {
        _ if from != Udmabuf || !plain => vec![],
        Gles if parcel.start == Start::Behind => vec!["egl-offset-ignored"],
        Gbm if parcel.start == Start::Behind => vec!["gbm-offset-ignored"],
        Video if parcel.rows == Rows::Pages => vec!["video-pitch-ignored", "dqbuf-wrong-index"],
        Video => vec!["dqbuf-wrong-index"],
        GpuA if parcel.way.elsewhere => vec!["sent-fds-lost"],
        _ => vec![],
    }
}

pub(crate) fn register(cases: &mut Cases<Cx>) {
    let asked = match asked::number("HANDOVER_STRENGTH", 1..=ALL) {
        Ok(asked) => asked.map(|strength| if strength == ALL { usize::MAX } else { strength as usize }),
        Err(why) => return cases.problem(why),
    };
    let asked = if cases.extent() == Extent::Exhaustive { Some(usize::MAX) } else { asked };
    for (claim, strength, body) in CLAIMS {
        for from in exporters().into_iter().chain(fillers()) {
            for to in importers() {
                // Whoever has another one of its kind before it is tried in many ways once, and then in one.
                let most = from.strength().min(to.strength());
                let strength = asked.unwrap_or(strength.min(if claim == "arrives" { most } else { most - 1 }));
                let mut crossing = match claim {
                    // Each apart, so that a device that can't have the one is still tried in every way with the other.
                    "comes_back" => [false, true].map(|tight| {
                        parcels(from, to, strength, |parcel| to.draws(parcel) && is_tight(from, to, parcel) == tight)
                    }),
                    _ => [parcels(from, to, strength, |_| true), Vec::new()],
                }
                .concat();
                // Nobody draws in YUV but the processor, and what is fresh does not depend on the format.
                if claim == "arrives" {
                    crossing.extend(yuv_parcels(from, to, asked));
                }
                for parcel in crossing {
                    let name = format!("matrix::{claim}::{}_to_{}::{parcel}", from.role(), to.role());
                    let case = cases.add(name, move |cx| body(cx, from, to, parcel)).from(from.role()).to(to.role());
                    if claim == "comes_back" {
                        case.needs(Need::Draws { role: to.role(), format: parcel.fourcc.to_string() });
                    }
                    if to.role() == Screen && parcel.begins_behind() {
                        screen::adds_the_offset_twice(case, parcel.fourcc);
                    } else {
                        known_of_words(case, to.role(), parcel.fourcc);
                    }
                    for fault in faults(from.role(), to.role(), &parcel) {
                        case.must_fail_under(fault);
                    }
                    // Only who draws after the exporter's device has stopped can lose what was drawn to it.
                    if (claim, from.role(), to.role()) == ("comes_back", PlanarVideo, GpuA) {
                        case.must_fail_under("capture-writes-again");
                    }
                }
            }
        }
    }
}

/// Whether a card lays `parcel` without padding and with nothing behind it, for a device that draws with a shader: some need more
/// room than that, and do not say so.
fn is_tight(from: &dyn Exporter, to: &dyn Importer, parcel: &Parcel) -> bool {
    let as_it_comes = parcel.rows == Rows::Agreed && [Screen, ScreenB, Vgem].contains(&from.role());
    let whole_blocks = parcel.row().is_multiple_of(16) && parcel.size.height.is_multiple_of(4);
    as_it_comes && [GpuA, GpuB, Gles].contains(&to.role()) && !whole_blocks
}

/// Whether `parcel` has a GPU's memory to itself, lies there as it was told, and ends with its last row: the requirement of memory
/// that is to hold whole blocks of rows does not always say so (`cases/findings/llvmpipe-rows-behind.md`), and
/// `vulkan::draws_to_a_frame_that_ends_with_its_buffer` is about that.
fn lacks_rows_behind(from: &dyn Exporter, parcel: &Parcel) -> bool {
    let is_told = parcel.rows != Rows::Agreed;
    from.dedicates() && parcel.way.dedicated && is_told && !parcel.size.height.is_multiple_of(4)
}

/// What crosses from `from` to `to`, of what is `wanted`, with `strength` things varied together; of strength 0 is one parcel.
fn parcels(from: &dyn Exporter, to: &dyn Importer, strength: usize, wanted: impl Fn(&Parcel) -> bool) -> Vec<Parcel> {
    let parcel = |row: &[usize]| Parcel {
        fourcc: FOURCCS[row[0]],
        size: SIZES[row[1]],
        rows: ROWS[row[2]],
        start: STARTS[row[3]],
        planes: Planes::Contiguous,
        way: Way { dedicated: row[4] == 1, elsewhere: row[5] == 1 },
    };
    let possible = |row: &[usize]| {
        let parcel = parcel(row);
        from.can(&parcel) && to.can(&parcel) && !lacks_rows_behind(from, &parcel) && wanted(&parcel)
    };
    let ways = [from.dedicates() || to.dedicates(), to.goes_elsewhere()].map(|is_there| 1 + usize::from(is_there));
    let levels: [usize; FACTORS] = [FOURCCS.len(), SIZES.len(), ROWS.len(), STARTS.len(), ways[0], ways[1]];
    let most = if strength == 0 { 1 } else { usize::MAX };
    covering(&levels, strength.max(1), possible).iter().take(most).map(|row| parcel(row)).collect()
}

/// What crosses from `from` to `to` in YUV: everything alone, unless more is asked for. What matters to a pair of devices
/// together is what RGB shows.
fn yuv_parcels(from: &dyn Exporter, to: &dyn Importer, asked: Option<usize>) -> Vec<Parcel> {
    let once = if from.role() == Udmabuf { &YUV_ONCE[..] } else { &[] };
    let fourccs = [&YUV[..], once].concat();
    let parcel = |row: &[usize]| Parcel {
        fourcc: fourccs[row[0]],
        size: SIZES[row[1]],
        rows: YUV_ROWS[row[2]],
        start: STARTS[row[3]],
        planes: PLANES[row[4]],
        way: Way::default(),
    };
    let possible = |row: &[usize]| {
        let parcel = parcel(row);
        // One plane lies nowhere to another.
        let sensible =
            parcel.fourcc.planes().is_some_and(|planes| planes.len() > 1) || parcel.planes == Planes::Contiguous;
        sensible && from.can(&parcel) && to.can(&parcel)
    };
    let levels = [fourccs.len(), SIZES.len(), YUV_ROWS.len(), STARTS.len(), PLANES.len()];
    covering(&levels, asked.unwrap_or(1), possible).iter().map(|row| parcel(row)).collect()
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

/// The CPU as one more reader, unless it is the importer, who looks anyway.
fn cpu_sees(cx: &mut Cx, to: &dyn Importer, buffer: &Buffer, target: &Target) -> Outcome {
    if to.role() == Cpu { Ok(()) } else { cx.cpu_sees(buffer, target) }
}

/// The screen as one more reader, where it can show such a frame: where each thing is varied alone, as in YUV, since a look takes
/// longer than all else. Where it can't, and whether it is right by itself, is the business of the pairs with the screen; so
/// is vkms, which shows wrong what does not begin with the first byte, and what has components in the upper bits of words.
fn screen_sees(cx: &mut Cx, to: &dyn Importer, parcel: &Parcel, buffer: &Buffer, target: &Target) -> Outcome {
    let of_a_screen = [Screen, ScreenB, Overlay, Cursor].contains(&to.role());
    let Some(screen) = importers().into_iter().find(|importer| importer.role() == Screen) else { return Ok(()) };
    let of_words = parcel.fourcc.yuv().is_some_and(|yuv| yuv.bytes == 2);
    if of_a_screen || parcel.begins_behind() || of_words {
        return Ok(());
    }
    let shown = match screen.lacks(cx, parcel) {
        Ok(Some(why)) => Err(Trouble::Skip(why)),
        Ok(None) => screen.import(cx, buffer).and_then(|mut imported| imported.sees(cx, target)),
        Err(trouble) => Err(trouble),
    };
    match shown {
        Err(Trouble::Skip(why)) => cx.fact("not shown", why),
        other => other?,
    }
    Ok(())
}

/// What the exporter drew is what the importer sees, the CPU, and the screen if it is YUV.
fn arrives(cx: &mut Cx, from: &'static dyn Exporter, to: &'static dyn Importer, parcel: Parcel) -> Outcome {
    check(cx, from, to, &parcel)?;
    let mut exported = from.export(cx, &parcel, to)?;
    let target = Target::stamped(FIRST, parcel.fourcc, parcel.size)?;
    if let Some(before) = &target.before {
        cx.cpu_writes(exported.buffer(), before)?;
    }
    exported.draw(cx, FIRST)?;
    cpu_sees(cx, to, exported.buffer(), &target)?;
    to.import_by(cx, exported.buffer(), parcel.way)?.sees(cx, &target)?;
    if parcel.fourcc.yuv().is_some() {
        screen_sees(cx, to, &parcel, exported.buffer(), &target)?;
    }
    cx.agree()
}

/// What is drawn later is seen, too. GPUs keep what they imported at first; the screen, video devices, the CPU and another
/// process take the same buffer in once more for each look, and must not show what they saw before. The CPU and the screen
/// have a look at the last frame.
fn stays_fresh(cx: &mut Cx, from: &'static dyn Exporter, to: &'static dyn Importer, parcel: Parcel) -> Outcome {
    check(cx, from, to, &parcel)?;
    let mut exported = from.export(cx, &parcel, to)?;
    exported.draw(cx, FIRST)?;
    let mut imported = to.import_by(cx, exported.buffer(), parcel.way)?;
    imported.sees(cx, &Target::stamped(FIRST, parcel.fourcc, parcel.size)?)?;
    for stamp in [FIRST + 1, FIRST + 2] {
        exported.draw(cx, stamp)?;
        imported.sees(cx, &Target::stamped(stamp, parcel.fourcc, parcel.size)?)?;
    }
    let last = Target::stamped(FIRST + 2, parcel.fourcc, parcel.size)?;
    cpu_sees(cx, to, exported.buffer(), &last)?;
    // What an importer draws itself the screen looks at when it comes back.
    if !to.draws(&parcel) {
        screen_sees(cx, to, &parcel, exported.buffer(), &last)?;
    }
    cx.agree()
}

/// What the importer draws is what the exporter sees, the CPU, and the screen. A driver that is known to draw outside of tight
/// buffers crashes or not, as its compiler happens to lay out its code; `vulkan::draws_with_any_pitch_it_accepts` and
/// `gles::draws_to_a_frame_that_ends_with_its_buffer` are about that, and here it is not given any.
fn comes_back(cx: &mut Cx, from: &'static dyn Exporter, to: &'static dyn Importer, parcel: Parcel) -> Outcome {
    check(cx, from, to, &parcel)?;
    let mut exported = from.export(cx, &parcel, to)?;
    exported.draw(cx, FIRST)?;
    if let Some(why) = cx.lacks_room(to.role(), exported.buffer())? {
        return Err(Trouble::Skip(why));
    }
    let mut imported = to.import_by(cx, exported.buffer(), parcel.way)?;
    imported.draw(cx, FIRST + 1)?;
    let target = Target::stamped(FIRST + 1, parcel.fourcc, parcel.size)?;
    cpu_sees(cx, to, exported.buffer(), &target)?;
    exported.sees(cx, &target)?;
    imported.sees(cx, &target)?;
    // It may have to move for the screen, which it can't while the importer holds it.
    drop(imported);
    screen_sees(cx, to, &parcel, exported.buffer(), &target)?;
    cx.agree()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is varied, by its name and the value of `parcel`.
    fn values(parcel: &Parcel) -> [String; FACTORS] {
        let Parcel { fourcc, size, rows, start, way, .. } = parcel;
        [
            format!("{fourcc}"),
            format!("{size}"),
            format!("rows {rows:?}"),
            format!("start {start:?}"),
            format!("dedicated {}", way.dedicated),
            format!("elsewhere {}", way.elsewhere),
        ]
    }

    /// Every two values that some of `parcels` has together.
    fn pairs(parcels: &[Parcel]) -> BTreeSet<(String, String)> {
        let of_one = |parcel: &Parcel| {
            let values = values(parcel);
            let pairs = (0..FACTORS).flat_map(|one| (one + 1..FACTORS).map(move |other| (one, other)));
            pairs.map(|(one, other)| (values[one].clone(), values[other].clone())).collect::<Vec<_>>()
        };
        parcels.iter().flat_map(of_one).collect()
    }

    fn every_pair() -> impl Iterator<Item = (&'static dyn Exporter, &'static dyn Importer)> {
        exporters().into_iter().chain(fillers()).flat_map(|from| importers().into_iter().map(move |to| (from, to)))
    }

    #[test]
    fn every_two_values_that_are_possible_together_are_tried_together() {
        for (from, to) in every_pair() {
            let all = pairs(&parcels(from, to, usize::MAX, |_| true));
            let tried = pairs(&parcels(from, to, 2, |_| true));
            let missing: Vec<_> = all.difference(&tried).collect();
            assert!(missing.is_empty(), "{} to {}: {missing:?}", from.role(), to.role());
        }
    }

    #[test]
    fn memory_is_dedicated_or_not_and_the_importer_here_or_elsewhere_where_vulkan_takes_part() {
        for (from, to) in every_pair() {
            let is_gpu = |role: Role| [GpuA, GpuB].contains(&role);
            let (exports, imports) = (is_gpu(from.role()), is_gpu(to.role()));
            for strength in [1, 2] {
                let tried = parcels(from, to, strength, |_| true);
                let has = |what: fn(&Way) -> bool| tried.iter().any(|parcel| what(&parcel.way));
                let told = format!("{} to {}", from.role(), to.role());
                if tried.is_empty() {
                    continue;
                }
                assert_eq!(has(|way| way.dedicated), exports || imports, "{told}");
                assert_eq!(has(|way| way.elsewhere), imports, "{told}");
                assert!(has(|way| !way.dedicated) && has(|way| !way.elsewhere), "{told}");
            }
        }
    }
}
