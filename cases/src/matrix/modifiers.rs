//! Every modifier that two devices list: which these are only they know, so that each pair is one case.

use std::time::Instant;

use handover::ends::{Exporter, Importer, Parcel, exporters, importers};
use handover::prelude::*;

use super::{FIRST, FOURCCS, SIZES, check, third_sees};

/// Another modifier is begun with in so many of three parts of the time that the case has. Drivers list up to some dozens for a
/// format, and a look takes up to tens of milliseconds.
const PARTS_OF_THREE: u32 = 2;

/// A frame, and the modifiers of which its exporter is to choose one.
struct Trial {
    parcel: Parcel,
    choice: Vec<Modifier>,
}

/// What came of the trials of a pair, by format.
#[derive(Default)]
struct Tally {
    arrived: Vec<String>,
    /// What they have not in common, or what other claims try.
    elsewhere: Vec<String>,
    /// What they have in common, and nobody has tried.
    untried: Vec<String>,
    /// How many trials these are.
    count: usize,
}

/// Which pair sees which fault.
const SEEN: [(Role, Role, &str); 4] = [
    (GpuA, GpuA, "modifier-unusable"),
    (GpuA, GpuA, "tiled-offset-64"),
    (Gbm, Gbm, "gbm-modifier-invented"),
    // The screen is but one more reader.
    (GpuB, Gles, "addfb2-red-blue"),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for from in exporters().into_iter().filter(|from| from.knows_modifiers()) {
        for to in importers().into_iter().filter(|to| to.knows_modifiers()) {
            if parcels(from, to).is_empty() {
                continue;
            }
            let name = format!("matrix::every_common_modifier_arrives::{}_to_{}", from.role(), to.role());
            let case = cases.add(name, move |cx| each_arrives(cx, from, to)).from(from.role()).to(to.role());
            let seen = SEEN.iter().filter(|(exporter, importer, _)| (*exporter, *importer) == (from.role(), to.role()));
            seen.for_each(|(_, _, fault)| _ = case.must_fail_under(fault));
        }
    }
}

/// A frame of each format that both could have, of several tiles and not a whole number of them if they can.
fn parcels(from: &dyn Exporter, to: &dyn Importer) -> Vec<Parcel> {
    let [square, large, small] = SIZES;
    let of = |fourcc| [large, small, square].map(|size| Parcel::of(fourcc, size)).into_iter();
    let can = |parcel: &Parcel| from.can(parcel) && to.can(parcel);
    FOURCCS.into_iter().filter_map(|fourcc| of(fourcc).find(can)).collect()
}

/// Whatever both list for a format, other than LINEAR too: what the one draws the other sees, and so it does in the layout that the
/// exporter chooses when all of them would do. Where some of it could not be tried, the claim is not shown to hold.
fn each_arrives(cx: &mut Cx, from: &'static dyn Exporter, to: &'static dyn Importer) -> Outcome {
    let mut tally = Tally::default();
    let mut trials = trials(cx, from, to, &mut tally)?;
    // In that, the other claims hand over every format.
    if trials.len() > 1 && trials.iter().all(|trial| trial.choice == [Modifier::LINEAR]) {
        let others: Vec<String> = trials.drain(1..).map(|trial| trial.parcel.fourcc.to_string()).collect();
        tally.elsewhere.push(format!("{}, since they have nothing but LINEAR in common", others.join(", ")));
    }
    let patience = cx.within() * PARTS_OF_THREE / 3;
    let until = Instant::now() + patience;
    let (mut count, mut other_than_linear) = (0_u32, 0_u32);
    for (n, trial) in trials.iter().enumerate() {
        let Parcel { fourcc, .. } = trial.parcel;
        if n > 0 && Instant::now() > until {
            let left = trials.len() - n;
            let (over, all) = (patience.as_secs(), cx.within().as_secs());
            tally
                .untried
                .push(format!("{left} more, since {over} of the {all} s are over that --timeout gives a case"));
            tally.count += left;
            break;
        }
        let modifier = match arrives(cx, from, to, trial) {
            Err(Trouble::Skip(why)) => {
                tally.untried.push(format!("{fourcc} {:?}: {why}", trial.choice));
                tally.count += 1;
                continue;
            }
            Err(other) => {
                cx.fact("modifier", format!("one of {:?} for {fourcc}", trial.choice));
                return Err(other);
            }
            Ok(modifier) => modifier,
        };
        if cx.disagrees() {
            // The others' frames would only bury this one.
            cx.fact("modifier", format!("{modifier} for {fourcc}, one of {:?}", trial.choice));
            break;
        }
        tally.arrived.push(format!("{fourcc} {modifier}"));
        count += 1;
        other_than_linear += u32::from(modifier != Modifier::LINEAR);
    }
    cx.figure("modifiers_tried", count.into());
    cx.figure("modifiers_other_than_linear", other_than_linear.into());
    if !tally.elsewhere.is_empty() {
        cx.fact("not tried", tally.elsewhere.join("; "));
    }
    if !tally.arrived.is_empty() {
        cx.fact("modifiers", tally.arrived.join(", "));
    }
    if cx.disagrees() {
        return cx.agree();
    }
    if trials.is_empty() {
        return Err(Trouble::Skip(format!("they have no modifier in common: {}", tally.elsewhere.join("; "))));
    }
    if tally.count > 0 {
        let (untried, all) = (tally.count, trials.len());
        let why = format!("{untried} of {all} frames in common modifiers were not tried: {}", tally.untried.join("; "));
        return Err(Trouble::Skip(why));
    }
    cx.agree()
}

/// What is to be tried: of each format its first modifier, then of each the second, and at last all of them to choose from.
fn trials(
    cx: &mut Cx,
    from: &'static dyn Exporter,
    to: &'static dyn Importer,
    tally: &mut Tally,
) -> Result<Vec<Trial>, Trouble> {
    let mut trials = Vec::new();
    // GBM lists none, and answers what it is asked: what OpenGL ES takes, where both sides would only ask the other one.
    let asks = [from.role(), to.role()] == [Gbm, Gbm];
    let gles = importers().into_iter().find(|importer| asks && importer.role() == Gles);
    for parcel in parcels(from, to) {
        let fourcc = parcel.fourcc;
        let mut asked = match gles.map(|gles| gles.modifiers(cx, fourcc, &[Modifier::LINEAR])).transpose() {
            // There may be none.
            Err(Trouble::Skip(_)) | Ok(None) => Vec::new(),
            other => other?.unwrap_or_default(),
        };
        if !asked.contains(&Modifier::LINEAR) {
            asked.insert(0, Modifier::LINEAR);
        }
        let given = from.modifiers(cx, fourcc, &asked)?;
        let taken = to.modifiers(cx, fourcc, &given)?;
        let given = from.modifiers(cx, fourcc, &taken)?;
        let common: Vec<Modifier> = given.iter().copied().filter(|modifier| taken.contains(modifier)).collect();
        if common.is_empty() {
            tally.elsewhere.push(format!("{fourcc}: {given:?} here, and {taken:?} there"));
        }
        // Who lists none takes LINEAR, if it has the format at all.
        if common == [Modifier::LINEAR] {
            match check(cx, from, to, &parcel) {
                Err(Trouble::Skip(why)) => {
                    tally.elsewhere.push(format!("{fourcc}: {why}"));
                    continue;
                }
                other => other?,
            }
        }
        let all = (common.len() > 1).then(|| common.clone());
        let choices = common.into_iter().map(|modifier| vec![modifier]).chain(all);
        trials.extend(choices.enumerate().map(|(n, choice)| (n, Trial { parcel, choice })));
    }
    trials.sort_by_key(|(n, _)| *n);
    Ok(trials.into_iter().map(|(_, trial)| trial).collect())
}

/// One of them crosses; the modifier that it has. Who has drawn it looks at it, too, the CPU if it can, and a third.
fn arrives(cx: &mut Cx, from: &dyn Exporter, to: &dyn Importer, trial: &Trial) -> Result<Modifier, Trouble> {
    let Trial { parcel, choice } = trial;
    let mut exported = from.export_as(cx, parcel, choice, to)?;
    // What lies where only its exporter knows nobody else can seed.
    exported.draw(cx, FIRST - 1)?;
    exported.draw(cx, FIRST)?;
    let target = Target::stamped(FIRST, parcel.fourcc, parcel.size)?;
    let storage = exported.buffer().storage().ok_or_else(|| Finding::new("an exported frame has no storage"))?;
    let modifier = storage.shared.frame.modifier;
    if modifier == Modifier::LINEAR {
        cx.cpu_sees(exported.buffer(), &target)?;
    }
    exported.sees(cx, &target)?;
    to.import(cx, exported.buffer())?.sees(cx, &target)?;
    third_sees(cx, [from.role(), to.role()], parcel, exported.buffer(), &target)?;
    Ok(modifier)
}
