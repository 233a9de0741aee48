//! Every device's frames to every other device: the claims about a handover, for every pair of ends.
//!
//! Each pair tries a covering set of what may matter (format, size, where rows lie, where the frame begins, whether it is taken
//! in before or after it is drawn, and with Vulkan whether its memory is handed out before or after it is bound, is dedicated or
//! sub-allocated, and whether the importer is in another process, where others are for one frame of two exporters, see
//! [`elsewhere`]): for `arrives` every two of these together, for the others each alone, but for being taken in more than once and
//! for [`bytes`], which are one for each pair; less where another device of the same kind went before ([`Importer::strength`]).
//! Formats in YUV, where their planes lie, and whether each comes with an fd of its own, are tried alone, too, and from one exporter
//! every two together ([`yuv_strength`]), and planes in buffers of their own to GPUs ([`apart`]). `HANDOVER_STRENGTH` sets how many
//! at once: 1, 2, 3, or 4 for all, and `--exhaustive` means all. Large and wide frames cross once from each exporter and once to
//! each importer.
//! Modifiers are tried in one case for each pair, since only the devices know which there are ([`modifiers`]).
//!
//! The importer looks at each frame, and the CPU; where both it and who drew are the CPU, another device does. A look of the
//! screen takes longer than all else: which frames have one is told by [`looks`].

use handover::asked;
use handover::case::Extent;
use handover::compare::compare;
use handover::covering::covering;
use handover::ends::{
    Exported, Exporter, Imported, Importer, Order, Parcel, Planes, Rows, Start, Way, exporters, fillers, importers,
};
use handover::prelude::*;

use crate::screen;
use crate::yuv::known_of_words;
use killers::Killers;
use looks::Looks;

mod apart;
mod bytes;
mod killers;
mod looks;
mod modifiers;
#[cfg(test)]
mod tests;

/// From one byte to eight, with and without alpha and padding, and both orders of channels.
const FOURCCS: [Fourcc; 8] =
    [Fourcc::XR24, Fourcc::AB24, Fourcc::AR24, Fourcc::RG16, Fourcc::R8, Fourcc::XR30, Fourcc::AB48, Fourcc::AB4H];

/// What every device takes; rows that are no multiple of anything; odd both ways.
const SIZES: [Size; 3] = [px(64, 64), px(250, 130), px(33, 17)];

/// Of nearly 4 MiB, which is the longest run of pages that a heap has; odd both ways, and as video devices have it.
const LARGE: [Size; 2] = [px(901, 1081), px(1280, 720)];

/// Rows of 64 KiB, which 16 bits can't count, in a format of so many bytes.
const WIDE: (Fourcc, Size) = (Fourcc::AB48, px(8192, 11));

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

/// What a claim is made of.
struct Crossing {
    from: &'static dyn Exporter,
    to: &'static dyn Importer,
    parcel: Parcel,
    /// Whether the screen has a look at it, too.
    is_shown: bool,
}

/// A claim about every handover.
type Claim = fn(&mut Cx, &Crossing) -> Outcome;

/// By name, with how many things at once are varied.
const CLAIMS: [(&str, usize, Claim); 4] =
    [("arrives", 2, arrives), ("stays_fresh", 1, stays_fresh), ("comes_back", 1, comes_back), (TAKEN_OFTEN, 0, is_one)];

/// A claim about those who keep what they took in: the others do so once more for each look.
const TAKEN_OFTEN: &str = "is_one_however_often_it_is_taken_in";

/// Who takes memory as bytes, too, and is tried in another process together with all else.
const GPUS: [Role; 2] = [GpuA, GpuB];

/// How many things there are to vary.
const FACTORS: usize = 7;

/// In YUV.
const YUV_FACTORS: usize = 9;

/// The strength that stands for every combination.
const ALL: u32 = 4;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    apart::register(cases);
    bytes::register(cases);
    modifiers::register(cases);
    let asked = match asked::number("HANDOVER_STRENGTH", 1..=ALL) {
        Ok(asked) => asked.map(|strength| if strength == ALL { usize::MAX } else { strength as usize }),
        Err(why) => return cases.problem(why),
    };
    let asked = if cases.extent() == Extent::Exhaustive { Some(usize::MAX) } else { asked };
    let mut killers = Killers::default();
    for (claim, strength, body) in CLAIMS {
        for from in exporters().into_iter().chain(fillers()) {
            for to in importers().into_iter().filter(|to| claim != TAKEN_OFTEN || to.keeps()) {
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
                if claim != TAKEN_OFTEN {
                    crossing.extend(elsewhere(from, to).filter(|parcel| claim != "comes_back" || to.draws(parcel)));
                }
                // Nobody draws in YUV but the processor, and what is fresh does not depend on the format.
                if claim == "arrives" {
                    crossing.extend(yuv_parcels(from, to, asked));
                    crossing.extend(large_parcels(from, to));
                    crossing.extend(page(from, to).filter(|parcel| !crossing.contains(parcel)));
                }
                let mut looks = Looks::between(from, to, cases.extent());
                for parcel in crossing {
                    let crossing = Crossing { from, to, parcel, is_shown: looks.at(claim, to, &parcel) };
                    let name = format!("matrix::{claim}::{}_to_{}::{parcel}", from.role(), to.role());
                    let case = cases.add(name, move |cx| body(cx, &crossing)).from(from.role()).to(to.role());
                    if claim == "comes_back" {
                        case.needs(Need::Draws { role: to.role(), format: parcel.fourcc.to_string() });
                    }
                    if to.role() == Screen && parcel.begins_behind() {
                        screen::adds_the_offset_twice(case, parcel.fourcc);
                    } else {
                        known_of_words(case, to.role(), parcel.fourcc);
                    }
                    for fault in killers.of(claim, from.role(), to.role(), &parcel) {
                        case.must_fail_under(fault);
                    }
                    // Whoever exports: what he draws later, the importer has to see.
                    let is_plain = [Fourcc::XR24, Fourcc::AB24].contains(&parcel.fourcc) && !parcel.way.elsewhere;
                    // Some need rows behind a frame that is no multiple of theirs, and may skip.
                    let is_plain = is_plain && parcel.size == SIZES[0];
                    let sees_copies = to.role() == GpuA && is_plain;
                    if ["stays_fresh", TAKEN_OFTEN].contains(&claim) && sees_copies {
                        case.must_fail_under("import-copies");
                    }
                    match (claim, from.role(), to.role()) {
                        // The screen is but one more reader.
                        (TAKEN_OFTEN, Udmabuf, GpuB) => _ = case.must_fail_under("addfb2-red-blue"),
                        (TAKEN_OFTEN, Udmabuf, Vgem) => _ = case.must_fail_under("prime-import-copies"),
                        // What is told to lie somewhere the processor draws, without a bo.
                        (TAKEN_OFTEN, Gbm, Gbm) if parcel.pitch().is_none() => {
                            let says = "gbm_bo_map failed: ENOENT";
                            case.known("vgem", "cases/findings/gbm-handle-closed.md", says);
                        }
                        _ => {}
                    }
                    // Of two buffers the converter hands out the second.
                    if (claim, from.role(), to.role()) == ("arrives", Converter, Cpu) {
                        case.must_fail_under("expbuf-first-buffer");
                    }
                    // Only who draws after the exporter's device has stopped can lose what was drawn to it.
                    if (claim, from.role(), to.role()) == ("comes_back", PlanarVideo, GpuA) {
                        case.must_fail_under("capture-writes-again");
                    }
                }
            }
        }
    }
    // Of fewer frames than usual some may be missing.
    if asked.is_none()
        && let Some(why) = killers.unmet()
    {
        cases.problem(why);
    }
}

/// Whether a card lays `parcel` without padding and with nothing behind it, for a device that draws with a shader: some need more
/// room than that, and do not say so.
fn is_tight(from: &dyn Exporter, to: &dyn Importer, parcel: &Parcel) -> bool {
    let as_it_comes = parcel.rows == Rows::Agreed && [Screen, ScreenB, Vgem].contains(&from.role());
    let whole_blocks = parcel.row().is_multiple_of(16) && parcel.size.height.is_multiple_of(4);
    as_it_comes && [GpuA, GpuB, Gles, GlesGbm].contains(&to.role()) && !whole_blocks
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
    let orders = orders(from, to);
    let parcel = |row: &[usize]| Parcel {
        fourcc: FOURCCS[row[0]],
        size: SIZES[row[1]],
        rows: ROWS[row[2]],
        start: STARTS[row[3]],
        planes: Planes::Contiguous,
        way: Way { dedicated: row[4] == 1, elsewhere: row[5] == 1, order: orders[row[6]], fd_per_plane: false },
    };
    let possible = |row: &[usize]| {
        let parcel = parcel(row);
        // Another process takes a frame in when it looks.
        let sensible = !(parcel.way.elsewhere && parcel.way.order == Order::ImportFirst);
        let sensible = sensible && !lacks_rows_behind(from, &parcel) && has_a_device(from, to, &parcel);
        sensible && from.can(&parcel) && to.can(&parcel) && wanted(&parcel)
    };
    let [dedicated, elsewhere] = ways(from, to);
    let levels: [usize; FACTORS] =
        [FOURCCS.len(), SIZES.len(), ROWS.len(), STARTS.len(), dedicated, elsewhere, orders.len()];
    let most = if strength == 0 { 1 } else { usize::MAX };
    covering(&levels, strength.max(1), possible).iter().take(most).map(|row| parcel(row)).collect()
}

/// How many ways there are between the two as to memory that is [`Way::dedicated`], and as to who is [`Way::elsewhere`].
fn ways(from: &dyn Exporter, to: &dyn Importer) -> [usize; 2] {
    let elsewhere = GPUS.contains(&to.role()) && to.elsewhere().is_some();
    [from.dedicates() || to.dedicates(), elsewhere].map(|is_there| 1 + usize::from(is_there))
}

/// What crosses from `from` to `to` in another process, if that is no GPU: from one who only has memory and from one who draws, with
/// a pitch and an offset to be told. GPUs try that together with all else.
fn elsewhere(from: &dyn Exporter, to: &dyn Importer) -> impl Iterator<Item = Parcel> {
    let is_tried = [Udmabuf, GpuB].contains(&from.role()) && [Cpu, Gles, Vgem].contains(&to.role());
    let way = Way { elsewhere: true, ..Way::default() };
    let parcel = Parcel { rows: Rows::Padded, start: Start::Behind, way, ..Parcel::of(Fourcc::XR24, SIZES[1]) };
    (is_tried && from.can(&parcel) && to.can(&parcel) && to.elsewhere().is_some()).then_some(parcel).into_iter()
}

/// The orders that make a difference between the two.
fn orders(from: &dyn Exporter, to: &dyn Importer) -> Vec<Order> {
    let late = from.binds_late().then_some(Order::ExportFirst);
    [Some(Order::BindFirst), late, to.keeps().then_some(Order::ImportFirst)].into_iter().flatten().collect()
}

/// What crosses from `from` to `to` in sizes that take longer, if one of the two is the second GPU: the first of its kind has
/// needs of its own (`cases/findings/llvmpipe-rows-behind.md`).
fn large_parcels(from: &dyn Exporter, to: &dyn Importer) -> Vec<Parcel> {
    if ![from.role(), to.role()].contains(&GpuB) {
        return Vec::new();
    }
    let can = |parcel: &Parcel| from.can(parcel) && to.can(parcel);
    let large = FOURCCS.into_iter().flat_map(|fourcc| LARGE.map(|size| Parcel::of(fourcc, size))).find(can);
    let wide = Some(Parcel::of(WIDE.0, WIDE.1)).filter(can);
    large.into_iter().chain(wide).collect()
}

/// What fits into one page, and so lies in one piece, whoever made it, for who takes nothing else.
fn page(from: &dyn Exporter, to: &dyn Importer) -> Option<Parcel> {
    let parcel = Parcel::of(Fourcc::R8, SIZES[0]);
    (to.role() == DmaVideo && from.can(&parcel) && to.can(&parcel)).then_some(parcel)
}

/// Whether who plays `role` shows what it takes in.
fn is_of_a_screen(role: Role) -> bool {
    [Screen, ScreenB, Overlay, Cursor].contains(&role)
}

/// How many things are varied together in YUV. Who made the bytes is no matter to how an importer reads planes, so that one exporter
/// is enough for every two; and each look of a screen takes long.
fn yuv_strength(from: &dyn Exporter, to: &dyn Importer) -> usize {
    if from.role() == Udmabuf && !is_of_a_screen(to.role()) { to.strength().min(2) } else { 1 }
}

/// What crosses from `from` to `to` in YUV, with as many things varied together as is `asked` for, or [`yuv_strength`].
fn yuv_parcels(from: &dyn Exporter, to: &dyn Importer, asked: Option<usize>) -> Vec<Parcel> {
    let once = if from.role() == Udmabuf { &YUV_ONCE[..] } else { &[] };
    let fourccs = [&YUV[..], once].concat();
    let orders = orders(from, to);
    let parcel = |row: &[usize]| Parcel {
        fourcc: fourccs[row[0]],
        size: SIZES[row[1]],
        rows: YUV_ROWS[row[2]],
        start: STARTS[row[3]],
        planes: PLANES[row[4]],
        way: Way { fd_per_plane: row[5] == 1, dedicated: row[6] == 1, elsewhere: row[7] == 1, order: orders[row[8]] },
    };
    let possible = |row: &[usize]| {
        let parcel = parcel(row);
        // One plane lies nowhere to another, and has one fd.
        let of_several = parcel.fourcc.planes().is_some_and(|planes| planes.len() > 1);
        // Where vkms shows something else anyway, nobody sees what it makes of the fds.
        let is_seen = !(parcel.begins_behind() && is_of_a_screen(to.role()));
        let fds = !parcel.way.fd_per_plane || (of_several && is_seen);
        // Another process takes a frame in when it looks.
        let early = !(parcel.way.elsewhere && parcel.way.order == Order::ImportFirst);
        let sensible = early && fds && (of_several || parcel.planes == Planes::Contiguous);
        sensible && has_a_device(from, to, &parcel) && from.can(&parcel) && to.can(&parcel)
    };
    let fds = 1 + usize::from(to.takes_fds());
    let [dedicated, elsewhere] = ways(from, to);
    let levels: [usize; YUV_FACTORS] = [
        fourccs.len(),
        SIZES.len(),
        YUV_ROWS.len(),
        STARTS.len(),
        PLANES.len(),
        fds,
        dedicated,
        elsewhere,
        orders.len(),
    ];
    covering(&levels, asked.unwrap_or(yuv_strength(from, to)), possible).iter().map(|row| parcel(row)).collect()
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

/// Whether the CPU can read `buffer`, as OpenGL ES need not lay out what it exports.
fn is_linear(buffer: &Buffer) -> bool {
    buffer.storage().is_none_or(|storage| storage.shared.frame.modifier == Modifier::LINEAR)
}

/// Has a frame hold what was there before `target`. What lies where only its exporter knows nobody else can seed.
fn seed(cx: &mut Cx, exported: &mut dyn Exported, target: &Target) -> Outcome {
    match &target.before {
        Some(before) if is_linear(exported.buffer()) => cx.cpu_writes(exported.buffer(), before),
        _ => exported.draw(cx, FIRST - 1),
    }
}

/// The CPU as one more reader, unless it is the importer, who looks anyway, or can't.
fn cpu_sees(cx: &mut Cx, to: &dyn Importer, buffer: &Buffer, target: &Target) -> Outcome {
    if to.role() == Cpu || !is_linear(buffer) { Ok(()) } else { cx.cpu_sees(buffer, target) }
}

/// Whether components of `fourcc` are in the upper bits of words, which some devices read wrong: that is the business of their own
/// pairs.
fn is_of_words(fourcc: Fourcc) -> bool {
    fourcc.yuv().is_some_and(|yuv| yuv.bytes == 2)
}

/// Why `reader` is not asked what it sees of a frame as `parcel` says, in `modifier`.
fn lack_of(cx: &mut Cx, reader: &dyn Importer, parcel: &Parcel, modifier: Modifier) -> Result<Option<String>, Trouble> {
    if reader.role() == Screen && parcel.begins_behind() && is_vkms(cx)? {
        return Ok(Some("vkms shows wrong what does not begin with the first byte".to_owned()));
    }
    if modifier == Modifier::LINEAR {
        return reader.lacks(cx, parcel);
    }
    let listed = match reader.knows_modifiers() {
        true => reader.modifiers(cx, parcel.fourcc, &[modifier])?,
        false => Vec::new(),
    };
    Ok((!listed.contains(&modifier)).then(|| format!("it does not list {} {modifier}", parcel.fourcc)))
}

fn is_vkms(cx: &mut Cx) -> Result<bool, Trouble> {
    Ok(cx.screen()?.identity().driver == "vkms")
}

/// Whether `reader` has no say about what `parcel` holds, which its own pairs show.
fn is_known_to_differ(reader: Role, parcel: &Parcel) -> bool {
    [Screen, Gles].contains(&reader) && is_of_words(parcel.fourcc)
}

/// The first of `roles` that can takes what crossed in as one more reader, where it lies: a copy would be another frame. Why they
/// can't, if none can; whom it was not shown is a fact.
fn is_seen_by_one_of(
    cx: &mut Cx,
    roles: &[Role],
    parcel: &Parcel,
    buffer: &Buffer,
    target: &Target,
) -> Result<Result<(), String>, Trouble> {
    let Some(storage) = buffer.storage() else { return Ok(Err("nothing crossed".to_owned())) };
    let SharedFrame { dmabuf, frame } = &storage.shared;
    let crossed = SharedFrame { dmabuf: dmabuf.try_clone()?, frame: frame.clone() };
    let crossed = cx.publish_memory("what crossed", crossed)?;
    let mut whys = Vec::new();
    for reader in roles.iter().filter_map(|role| importers().into_iter().find(|importer| importer.role() == *role)) {
        let role = reader.role();
        let seen = match lack_of(cx, reader, parcel, frame.modifier) {
            _ if is_known_to_differ(role, parcel) => Err(Trouble::Skip("it reads such words as others".to_owned())),
            _ if !reader.can(parcel) => Err(Trouble::Skip("it takes no such frame".to_owned())),
            Ok(Some(why)) => Err(Trouble::Skip(why)),
            Ok(None) => reader.import(cx, &crossed).and_then(|mut imported| imported.sees(cx, target)),
            Err(trouble) => Err(trouble),
        };
        match seen {
            Ok(_) => {
                if !whys.is_empty() {
                    cx.fact("not shown", whys.join("; "));
                }
                return Ok(Ok(()));
            }
            Err(Trouble::Skip(why)) => whys.push(format!("{role}: {why}")),
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(Err(whys.join("; ")))
}

/// Who looks beside the two and the CPU: the screen, where it can show such a frame, or else the first other device that can take it
/// in. Whether it is right by itself is the business of its own pairs.
fn third_sees(cx: &mut Cx, [from, to]: [Role; 2], parcel: &Parcel, buffer: &Buffer, target: &Target) -> Outcome {
    if is_of_a_screen(to) {
        return Ok(());
    }
    let mut roles = vec![Screen, GpuB, GpuA, Gles, Gbm];
    roles.retain(|role| *role == Screen || ![from, to].contains(role));
    if let Err(whys) = is_seen_by_one_of(cx, &roles, parcel, buffer, target)? {
        cx.fact("not shown", whys);
    }
    Ok(())
}

/// The devices that look where nobody but the processor would have touched a frame.
const LOOKERS: [Role; 4] = [GpuA, GpuB, Gles, Screen];

/// Whether only the processor touches what crosses between the two.
fn is_untouched(from: &dyn Exporter, to: &dyn Importer) -> bool {
    !from.draws_itself() && [Cpu, Vgem].contains(&to.role())
}

/// Whether a device touches what crosses between the two, or can look at it: the processor alone would show nothing.
fn has_a_device(from: &dyn Exporter, to: &dyn Importer, parcel: &Parcel) -> bool {
    let can = |reader: &&dyn Importer| LOOKERS.contains(&reader.role()) && reader.can(parcel);
    !is_untouched(from, to)
        || importers().iter().any(|reader| can(reader) && !is_known_to_differ(reader.role(), parcel))
}

/// A device as one more reader where nobody but the processor would have touched the frame.
fn device_sees(
    cx: &mut Cx,
    (from, to): (&dyn Exporter, &dyn Importer),
    parcel: &Parcel,
    buffer: &Buffer,
    target: &Target,
) -> Outcome {
    if !is_untouched(from, to) {
        return Ok(());
    }
    is_seen_by_one_of(cx, &LOOKERS, parcel, buffer, target)?
        .map_err(|whys| Trouble::Skip(format!("nobody but the processor could look: {whys}")))
}

/// `exported` in the hands of `to` before it is drawn, if it crosses in that order.
fn taken_early(
    cx: &mut Cx,
    to: &dyn Importer,
    parcel: &Parcel,
    exported: &dyn Exported,
) -> Result<Option<Box<dyn Imported>>, Trouble> {
    let early = parcel.way.order == Order::ImportFirst;
    early.then(|| to.import_by(cx, exported.buffer(), parcel.way)).transpose()
}

/// What the exporter drew is what the importer sees, and the CPU; if that is the importer, and drew, another device. Of some frames
/// the screen sees it, too.
fn arrives(cx: &mut Cx, crossing: &Crossing) -> Outcome {
    let Crossing { from, to, ref parcel, is_shown } = *crossing;
    check(cx, from, to, parcel)?;
    let mut exported = from.export(cx, parcel, to)?;
    let target = Target::stamped(FIRST, parcel.fourcc, parcel.size)?;
    seed(cx, exported.as_mut(), &target)?;
    let early = taken_early(cx, to, parcel, exported.as_ref())?;
    exported.draw(cx, FIRST)?;
    cpu_sees(cx, to, exported.buffer(), &target)?;
    let imported = early.map_or_else(|| to.import_by(cx, exported.buffer(), parcel.way), Ok);
    imported?.sees(cx, &target)?;
    device_sees(cx, (from, to), parcel, exported.buffer(), &target)?;
    if is_shown {
        third_sees(cx, [from.role(), to.role()], parcel, exported.buffer(), &target)?;
    }
    cx.agree()
}

/// What is drawn later is seen, too. GPUs, OpenGL ES, GBM and vgem keep what they imported at first; the screen, video devices,
/// the CPU and another process take the same buffer in once more for each look, and must not show what they saw before. The CPU
/// and the screen have a look at the last frame.
fn stays_fresh(cx: &mut Cx, crossing: &Crossing) -> Outcome {
    let Crossing { from, to, ref parcel, is_shown } = *crossing;
    check(cx, from, to, parcel)?;
    let mut exported = from.export(cx, parcel, to)?;
    let early = taken_early(cx, to, parcel, exported.as_ref())?;
    exported.draw(cx, FIRST)?;
    let mut imported = early.map_or_else(|| to.import_by(cx, exported.buffer(), parcel.way), Ok)?;
    let mut last = Target::stamped(FIRST, parcel.fourcc, parcel.size)?;
    imported.sees(cx, &last)?;
    for stamp in [FIRST + 1, FIRST + 2] {
        exported.draw(cx, stamp)?;
        last = last.followed_by(stamp)?;
        imported.sees(cx, &last)?;
    }
    cpu_sees(cx, to, exported.buffer(), &last)?;
    device_sees(cx, (from, to), parcel, exported.buffer(), &last)?;
    if is_shown {
        third_sees(cx, [from.role(), to.role()], parcel, exported.buffer(), &last)?;
    }
    cx.agree()
}

/// What the importer draws is what the exporter sees, the CPU, and the screen. A driver that is known to draw outside of tight
/// buffers crashes or not, as its compiler happens to lay out its code; `vulkan::draws_with_any_pitch_it_accepts` and
/// `gles::draws_to_a_frame_that_ends_with_its_buffer` are about that, and here it is not given any.
fn comes_back(cx: &mut Cx, crossing: &Crossing) -> Outcome {
    let Crossing { from, to, ref parcel, is_shown } = *crossing;
    check(cx, from, to, parcel)?;
    let mut exported = from.export(cx, parcel, to)?;
    let early = taken_early(cx, to, parcel, exported.as_ref())?;
    exported.draw(cx, FIRST)?;
    if let Some(why) = cx.lacks_room(to.role(), exported.buffer())? {
        return Err(Trouble::Skip(why));
    }
    let mut imported = early.map_or_else(|| to.import_by(cx, exported.buffer(), parcel.way), Ok)?;
    imported.draw(cx, FIRST + 1)?;
    let target = Target::stamped(FIRST + 1, parcel.fourcc, parcel.size)?;
    cpu_sees(cx, to, exported.buffer(), &target)?;
    let is_lost = cx.disagrees();
    exported.sees(cx, &target)?;
    imported.sees(cx, &target)?;
    if is_lost {
        let seen = cx.mapped(&Guest::Cpu, exported.buffer(), Access::Read, |_, shared| Ok(shared.read_back()?))?;
        let (from, to) = (from.role(), to.role());
        cx.fact(
            "after",
            match compare(&target.picture, &seen, &Tolerance::Exact)?.is_none() {
                true => format!("another look by {to}, its frame is in the buffer: it came late"),
                false => format!("another look by {to}, its frame is not in the buffer: {from} has written over it, or it went elsewhere"),
            },
        );
    }
    device_sees(cx, (from, to), parcel, exported.buffer(), &target)?;
    if is_shown {
        third_sees(cx, [from.role(), to.role()], parcel, exported.buffer(), &target)?;
    }
    cx.agree()
}

/// Who takes a frame in twice, the second time by another fd, sees both times what is drawn; letting go of the one is nothing to the
/// other, nor to who takes it in once more. The CPU and the screen have a look at the last frame.
fn is_one(cx: &mut Cx, crossing: &Crossing) -> Outcome {
    let Crossing { from, to, ref parcel, is_shown } = *crossing;
    check(cx, from, to, parcel)?;
    let mut exported = from.export(cx, parcel, to)?;
    let first = Target::stamped(FIRST, parcel.fourcc, parcel.size)?;
    seed(cx, exported.as_mut(), &first)?;
    let mut one = to.import_by(cx, exported.buffer(), parcel.way)?;
    let storage = exported.buffer().storage().ok_or_else(|| Finding::new("an exported frame has no storage"))?;
    let SharedFrame { dmabuf, frame } = &storage.shared;
    let duplicate = SharedFrame { dmabuf: dmabuf.try_clone()?, frame: frame.clone() };
    let duplicate = cx.publish_memory(format_args!("{}, by another fd", from.role()), duplicate)?;
    let mut other = to.import_by(cx, &duplicate, parcel.way)?;
    cx.fact("taken in", "by its fd and by another one, both before it was drawn");
    exported.draw(cx, FIRST)?;
    one.sees(cx, &first)?;
    other.sees(cx, &first)?;
    drop(one);
    exported.draw(cx, FIRST + 1)?;
    let second = first.followed_by(FIRST + 1)?;
    other.sees(cx, &second)?;
    let mut again = to.import_by(cx, exported.buffer(), parcel.way)?;
    drop(other);
    exported.draw(cx, FIRST + 2)?;
    let third = second.followed_by(FIRST + 2)?;
    again.sees(cx, &third)?;
    cpu_sees(cx, to, exported.buffer(), &third)?;
    drop(again);
    if is_shown {
        third_sees(cx, [from.role(), to.role()], parcel, exported.buffer(), &third)?;
    }
    cx.agree()
}
