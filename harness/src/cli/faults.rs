//! `handover faults`: what is printed and returned when drivers and kernel are broken on purpose.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use handover_faults::{Fault, Kind, Seam};
use serde_json::json;

use super::{at_least_one, say, stop_on_signals};
use crate::case::{Case, CaseInfo};
use crate::detection::{self, Ending, Killers, Row, Table, Trial};
use crate::lane::{Lane, On};
use crate::report::ReportDir;
use crate::run::choice::{Choice, Parts, Refusal};
use crate::run::injection::{self, Injection, Without, Work};
use crate::run::stop::Stop;
use crate::sandbox::Shown;

pub(super) const EXAMPLES: &str = "\
Each fault is a real bug of a driver, a kernel or a library, done on purpose below everything of
the harness. The cases that claim to see it run in a kernel of their own. A fault is detected if
one of them fails and its message names the culprit; a skip, a deadline, and a failure that is
known without the fault are no detection. A claim that fails under none of all faults, and by no
listed defect, makes the table red. A control is unusual but legal, and must fail nothing. Of
each claim that meets its device one case in thirty runs under it, and one at least; of claims
that name that device nowhere a third of these; every day others. Controls that take nothing away
and have nothing to do with each other run at once, and one by one if a case fails.

Examples:
    handover faults                           each with the cases that claim to see it
    handover faults import-leaks-fd           one of them
    handover faults --list                    what each does, when, and after which bug
    handover faults --minutes 30              then the others, for 30 min: who else sees it?
    handover faults --times 10                each in ten fresh kernels
    handover faults --controls all            each control with all cases that meet its device
    handover faults --controls 3              with those it had when the table said part 3

It runs in the sandbox. The report directory gets faults.json, which `handover report` shows, and
faults/NAME/ with the images of the cases that failed.
Exit codes: 0 all detected and no alarm, 1 not so, 2 usage, 3 the sandbox is in the way,
130 interrupted.";

/// Of so many cases of a claim one runs under a control, and each once in so many days.
const SHARES: usize = 30;

/// Of so many cases that have little to do with a control one of those runs.
const OTHERS: usize = 3;

/// So long all faults, each once, may take.
const WITHIN: Duration = Duration::from_secs(300);

/// So many cases take about as long as a kernel and its devices take to start.
const WORTH_A_KERNEL: usize = 100;

/// After so many days each case has been run under each control.
const PARTS: usize = SHARES * OTHERS;

/// Options of `handover faults`.
#[derive(Args)]
pub(super) struct FaultsArgs {
    /// Names of faults or controls [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print what each does, and run nothing
    #[arg(long)]
    list: bool,
    /// How to print: a table, or what faults.json has
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Kernels at once [default: one per processor, at most 2]
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    jobs: Option<usize>,
    /// Run the other cases under each fault, too, one of each claim first, and begin none when so many minutes have passed
    /// since the start; the faults share what is left of them equally [default: only the cases that claim to see the fault]
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    minutes: Option<usize>,
    /// How often to try each, every time in a fresh kernel
    #[arg(long, value_parser = at_least_one, default_value_t = 1, value_name = "N")]
    times: usize,
    /// Which cases run under controls: one of 90 parts, 0 to 89, or all [default: another part every day]
    #[arg(long, value_parser = share, value_name = "N|all")]
    controls: Option<Share>,
    /// Directory for faults.json and images
    #[arg(long, default_value = "report", env = "HANDOVER_REPORT", value_name = "DIR")]
    report: PathBuf,
    #[command(flatten)]
    sandbox: Parts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Which of the cases of each claim run under controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    All,
    /// Of 90: those at every thirtieth place from this one on, and one at least.
    Part(usize),
}

fn share(text: &str) -> Result<Share, String> {
    match text.parse() {
        Ok(part) if part < PARTS => Ok(Share::Part(part)),
        Err(_) if text == "all" => Ok(Share::All),
        _ => Err(format!("0 to {}, or `all`", PARTS - 1)),
    }
}

impl Share {
    /// The one of this day.
    fn today() -> Share {
        const DAY: u64 = 86_400;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Share::Part((since.as_secs() / DAY) as usize % PARTS)
    }

    fn part(self) -> Option<usize> {
        match self {
            Share::All => None,
            Share::Part(part) => Some(part),
        }
    }

    /// What it has of `cases`.
    fn of<'c>(self, cases: Vec<&'c CaseInfo>) -> Vec<&'c CaseInfo> {
        let Share::Part(part) = self else { return cases };
        let mut claims: BTreeMap<&str, Vec<&CaseInfo>> = BTreeMap::new();
        for case in cases {
            claims.entry(detection::claim(&case.name)).or_default().push(case);
        }
        let of_claim = |cases: Vec<&'c CaseInfo>| {
            let step = cases.len().min(SHARES);
            cases.into_iter().skip(part % step).step_by(step)
        };
        claims.into_values().flat_map(of_claim).collect()
    }
}

pub(super) fn command<B>(args: &FaultsArgs, cases: &[Case<B>]) -> Result<ExitCode, Refusal> {
    let infos: Vec<&CaseInfo> = cases.iter().map(|case| &case.info).collect();
    let faults = selected(&args.names)?;
    if args.list {
        say(&mut anstream::stdout(), &list(&faults, &infos, args.format)?);
        return Ok(ExitCode::SUCCESS);
    }
    let report = ReportDir::open(&args.report).map_err(|error| Refusal::Usage(error.to_string()))?;
    let sandbox = args.sandbox.sandbox(&mut Shown::default()).map_err(|error| Refusal::Machine(error.to_string()))?;
    let sandbox = sandbox.kernel_args(Lane::sandbox()?.kernel_args);
    let jobs = Choice::new(Some(On::Sandbox), None)?.jobs(args.jobs);
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let injection = Injection::new(sandbox, report.path().join("faults"), stop.clone()).map_err(Refusal::Machine)?;
    let table = table(&injection, &faults, &infos, args, (jobs, &stop));
    let json = serde_json::to_string_pretty(&table).map_err(|error| Refusal::Machine(error.to_string()))? + "\n";
    // A whole table tells more than what there is of this one.
    let earlier = detection::stored_in(report.path()).and_then(Result::ok);
    let stays = table.interrupted && earlier.is_some_and(|earlier| earlier["interrupted"] == false);
    let written = match stays {
        true => format!(
            "report {} is the table of an earlier run, which stays",
            report.path().join(detection::FILE).display()
        ),
        false => {
            let path = report.write(detection::FILE, json.as_bytes());
            format!("report {}", path.map_err(|error| Refusal::Machine(error.to_string()))?.display())
        }
    };
    match args.format {
        Format::Text => say(&mut anstream::stdout(), &format!("{}{written}\n", detection::summary(&table))),
        Format::Json => say(&mut anstream::stdout(), &json),
    }
    Ok(ExitCode::from(code(&table)))
}

/// What the command ends with.
fn code(table: &Table) -> u8 {
    match table.is_green() {
        _ if table.interrupted => 130,
        // Not one could be tried: that says nothing of them.
        _ if !table.rows.is_empty() && table.rows.iter().all(|row| row.ending == Ending::Broken) => 3,
        true => 0,
        false => 1,
    }
}

/// The faults of these names, each once, or all of them.
fn selected(names: &[String]) -> Result<Vec<&'static Fault>, Refusal> {
    if names.is_empty() {
        return Ok(handover_faults::all().collect());
    }
    let find = |name: &String| {
        handover_faults::find(name).ok_or_else(|| {
            let all: Vec<&str> = handover_faults::all().map(|fault| fault.name).collect();
            let near = super::near(name, &all);
            Refusal::Usage(format!("no fault is named `{name}`{near}; `handover faults --list` shows them all"))
        })
    };
    let mut found: Vec<&'static Fault> = names.iter().map(find).collect::<Result<_, _>>()?;
    let mut names = BTreeSet::new();
    found.retain(|fault| names.insert(fault.name));
    Ok(found)
}

fn list(faults: &[&'static Fault], cases: &[&CaseInfo], format: Format) -> Result<String, Refusal> {
    match format {
        Format::Text => Ok(detection::list(faults.iter().map(|fault| (*fault, claiming(fault, cases).len())))),
        Format::Json => {
            let named = |fault: &&Fault| {
                let cases: Vec<&str> = claiming(fault, cases).iter().map(|case| case.name.as_str()).collect();
                json!({ "fault": fault, "cases": cases })
            };
            let all: Vec<_> = faults.iter().map(named).collect();
            let text = serde_json::to_string_pretty(&all).map_err(|error| Refusal::Machine(error.to_string()))?;
            Ok(text + "\n")
        }
    }
}

/// The cases that claim to see `fault`.
fn claiming<'c>(fault: &Fault, cases: &[&'c CaseInfo]) -> Vec<&'c CaseInfo> {
    cases.iter().filter(|case| injection::claims(case, fault)).copied().collect()
}

/// What of `share` runs under the control `fault`: all that works with the devices that it is about, or says of none with which
/// it works, and a part of the others.
fn under<'c>(fault: &Fault, cases: Vec<&'c CaseInfo>, share: Share) -> Vec<&'c CaseInfo> {
    let (Some(part), false) = (share.part(), fault.about.is_empty()) else { return share.of(cases) };
    let is_about = |case: &CaseInfo| {
        let roles = case.roles();
        roles.is_empty() || roles.iter().any(|role| fault.about.contains(&role.as_str()))
    };
    // Whoever comes round in so many days has another turn then.
    let turn = part + part / SHARES;
    let passed_over: BTreeSet<&str> = (cases.iter().filter(|case| !is_about(case)).enumerate())
        .filter(|(place, _)| !(place + turn).is_multiple_of(OTHERS))
        .map(|(_, case)| case.name.as_str())
        .collect();
    share.of(cases).into_iter().filter(|case| !passed_over.contains(case.name.as_str())).collect()
}

/// What runs under `fault`, or of `share` if it is a control.
fn work<'c>(fault: &Fault, cases: &[&'c CaseInfo], others: &[&'c CaseInfo], share: Share) -> Work<'c> {
    let first = match fault.kind {
        Kind::Fault => claiming(fault, cases),
        Kind::Control => {
            under(fault, cases.iter().filter(|case| injection::meets(case, fault)).copied().collect(), share)
        }
    };
    let others = others.iter().filter(|case| !first.iter().any(|other| other.name == case.name)).copied().collect();
    Work { first, others }
}

/// The cases in an order in which every claim comes once before any comes twice.
fn claims_first<'c>(cases: &[&'c CaseInfo]) -> Vec<&'c CaseInfo> {
    let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ordered: Vec<(usize, &CaseInfo)> = Vec::new();
    for case in cases {
        let turn = turns.entry(detection::claim(&case.name)).or_default();
        ordered.push((*turn, case));
        *turn += 1;
    }
    ordered.sort_by_key(|(turn, _)| *turn);
    ordered.into_iter().map(|(_, case)| case).collect()
}

/// The places of `faults` that share a kernel, of which so many cases run under each. Controls do that share: each must be let pass
/// whatever else is legal, and a kernel of its own costs more than all that it does.
fn units(faults: &[&Fault], cases: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let (together, mut alone): (Vec<usize>, Vec<usize>) = (0..faults.len()).partition(|at| faults[*at].shares);
    let mut of_seams: BTreeMap<Seam, Vec<usize>> = BTreeMap::new();
    for at in together {
        of_seams.entry(faults[at].seam).or_default().push(at);
    }
    let mut together: Vec<Vec<usize>> = of_seams.into_values().collect();
    // First what takes longest, so that nobody works alone at the end: controls, of these those of system calls, and what has
    // many cases.
    together.sort_by_key(|unit| faults[unit[0]].seam != Seam::Kernel);
    alone.sort_by_key(|at| (faults[*at].kind != Kind::Control, Reverse(cases(*at))));
    together.into_iter().chain(alone.into_iter().map(|at| vec![at])).collect()
}

fn table(
    injection: &Injection,
    faults: &[&'static Fault],
    cases: &[&CaseInfo],
    args: &FaultsArgs,
    (jobs, stop): (usize, &Stop),
) -> Table {
    let began = Instant::now();
    let until = args.minutes.map(|minutes| began + Duration::from_secs(60 * minutes as u64));
    let others = if until.is_some() { claims_first(cases) } else { Vec::new() };
    let share_of_cases = args.controls.unwrap_or_else(Share::today);
    let works: Vec<Work<'_>> = faults.iter().map(|fault| work(fault, cases, &others, share_of_cases)).collect();
    let found = Mutex::new(Vec::new());
    let without = Mutex::new(Without::default());
    let plain = |names: BTreeSet<&str>| {
        let all: Vec<&CaseInfo> = cases.iter().filter(|case| names.contains(case.name.as_str())).copied().collect();
        let parts: Vec<&[&CaseInfo]> = all.chunks(all.len().div_ceil(jobs).max(WORTH_A_KERNEL)).collect();
        let work = |at: usize| Work { first: parts[at].to_vec(), others: Vec::new() };
        let trials = side_by_side(jobs, parts.len(), |at| injection.trial(None, &work(at), Duration::ZERO));
        locked(&found).extend(trials.iter().flat_map(beside));
        trials.iter().for_each(|trial| locked(&without).add(&trial.runs));
    };
    let killers = Killers::of(cases.iter().copied());
    // Without any fault first, in as many kernels as there may be: whoever is red there shows nothing here, and what a listed
    // defect fails shows only there.
    let of_faults = std::iter::zip(faults, &works).filter(|(fault, _)| fault.kind == Kind::Fault);
    let of_defects = if args.names.is_empty() { killers.felled_by_defect(cases) } else { Vec::new() };
    let first = of_faults.flat_map(|(_, work)| &work.first).chain(&of_defects);
    plain(first.map(|case| case.name.as_str()).collect());
    // Under a control hardly any case is red, or skipped; of these it is asked when they are.
    let hold = |of: &[&Fault], trials: &mut [Trial]| {
        let controls = std::iter::zip(of, &*trials).filter(|(fault, _)| fault.kind == Kind::Control);
        let open = locked(&without).open(controls.map(|(fault, trial)| (*fault, trial)));
        plain(open);
        trials.iter_mut().for_each(|trial| locked(&without).held_against(&mut trial.runs));
    };
    let left = Mutex::new(faults.len() * args.times);
    // What there is of the time for one more trial, with `jobs` of them at once.
    let share = || {
        let mut left = locked(&left);
        let time = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        let share = time * jobs as u32 / (*left).max(1) as u32;
        *left = left.saturating_sub(1);
        share.min(time)
    };
    let units = units(faults, |at| works[at].first.len());
    let try_at = |at: usize| {
        let mut trial = injection.trial(Some(faults[at]), &works[at], share());
        hold(&[faults[at]], std::slice::from_mut(&mut trial));
        trial
    };
    let try_together = |unit: &[usize]| {
        let all: Vec<&'static Fault> = unit.iter().map(|at| faults[*at]).collect();
        let mut trials = injection.together(&all, &works[unit[0]], Duration::ZERO);
        hold(&all, &mut trials);
        let rows = |trials: &[Trial]| -> Vec<Row> {
            all.iter().zip(trials).map(|(fault, trial)| Row::of(fault, std::slice::from_ref(trial))).collect()
        };
        let wrong = Table::of(rows(&trials), Vec::new(), 0, false).problems;
        // Who of them is to blame shows alone.
        if let Some(first) = wrong.first().filter(|_| !stop.is_stopped()) {
            let alone: Vec<Trial> = unit.iter().map(|at| try_at(*at)).collect();
            if rows(&alone).iter().all(|row| row.ending.is_right()) {
                let names: Vec<&str> = all.iter().map(|fault| fault.name).collect();
                let mixed_up = format!("each of {} is let pass alone; all at once: {first}", names.join(", "));
                locked(&found).push(mixed_up);
            }
            return alone;
        }
        trials
    };
    let of_units = side_by_side(jobs, units.len(), |at| {
        let unit = &units[at];
        let mut trials: Vec<Vec<Trial>> = vec![Vec::new(); unit.len()];
        for _ in (0..args.times).take_while(|_| !stop.is_stopped()) {
            // Where there is time for other cases, each has its own part of it.
            let tried = match unit[..] {
                [] => Vec::new(),
                [at] => vec![try_at(at)],
                _ if until.is_some() => unit.iter().map(|at| try_at(*at)).collect(),
                _ => try_together(unit),
            };
            trials.iter_mut().zip(tried).for_each(|(all, trial)| all.push(trial));
        }
        for (at, trials) in unit.iter().zip(&trials) {
            say(&mut anstream::stderr(), &format!("{}\n", detection::line(&Row::of(faults[*at], trials))));
        }
        trials
    });
    let mut tried: Vec<Vec<Trial>> = vec![Vec::new(); faults.len()];
    for (at, trials) in units.iter().flatten().zip(of_units.into_iter().flatten()) {
        tried[*at] = trials;
    }
    // Those that failed or were skipped beyond the ones that were tried without.
    let all =
        || std::iter::zip(faults, &tried).flat_map(|(fault, trials)| trials.iter().map(move |trial| (*fault, trial)));
    let open = locked(&without).open(all());
    plain(open);
    tried.iter_mut().flatten().for_each(|trial| locked(&without).held_against(&mut trial.runs));
    detection::note_missing(&mut std::iter::zip(faults.iter().copied(), &mut tried).collect::<Vec<_>>());
    // Whoever was not tried for want of time has no row.
    let tried = std::iter::zip(faults, &tried).filter(|(_, trials)| !(trials.is_empty() && stop.is_stopped()));
    let rows = tried.map(|(fault, trials)| Row::of(fault, trials)).collect();
    let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut table = Table::of(rows, locked(&without).red(), wall_ms, stop.is_stopped());
    table.problems.splice(0..0, locked(&found).drain(..));
    table.share = share_of_cases.part();
    table.killers = killers;
    if args.names.is_empty() && !table.interrupted {
        table.claims = table.tally(cases.iter().map(|case| case.name.as_str()));
        let took = Duration::from_millis(wall_ms);
        if (args.minutes, args.times, share_of_cases.part().is_some()) == (None, 1, true) && took > WITHIN {
            table.warnings.push(format!(
                "the table took {} s, and is to take {} at most on two processors that do nothing else",
                took.as_secs(),
                WITHIN.as_secs()
            ));
        }
        let unkilled = table.without_killers(cases.iter().map(|case| case.name.as_str()));
        table.problems.extend(unkilled);
        let unfelled = table.killers.unfelled(locked(&without).as_listed());
        table.problems.extend(unfelled);
        let unnamed = table.unnamed();
        table.problems.extend(unnamed.iter().map(|claim| format!("{claim} fails, but no message names the culprit")));
        let aside = table.beside_the_point();
        table.problems.extend(aside.iter().map(|claim| format!("{claim} fails, but under no fault by what it claims")));
    }
    if !others.is_empty() && args.names.is_empty() {
        table.unkilled = Some(table.unkilled(cases.iter().map(|case| case.name.as_str())));
    }
    table
}

/// Who failed while it held the lock has left it as it was.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was red in `trial`, which ran without any fault, and belongs to no case.
fn beside(trial: &Trial) -> Vec<String> {
    trial.problems.iter().chain(&trial.error).map(|why| format!("without any fault: {why}")).collect()
}

/// What `work` makes of each number below `count`, `jobs` at a time, in order.
fn side_by_side<T: Send>(jobs: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(count) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    let one = work(at);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, one));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Cases, Role};

    #[test]
    fn a_name_that_no_fault_has_is_answered_with_the_nearest() {
        let said = selected(&["pitch-too-larg".into()]).unwrap_err().to_string();
        assert!(said.contains("`pitch-too-larg`; the nearest are pitch-too-large"), "{said}");
    }

    #[test]
    fn where_no_kernel_starts_the_sandbox_is_in_the_way() {
        let row = |error: Option<&str>| {
            let trial = Trial { fired: 1, error: error.map(str::to_owned), ..Trial::default() };
            Row::of(handover_faults::find("passes-through").expect("a control"), &[trial])
        };
        let code_of = |rows, interrupted| code(&Table::of(rows, Vec::new(), 0, interrupted));
        assert_eq!(code_of(vec![row(Some("no kernel")), row(Some("no kernel"))], false), 3);
        assert_eq!(code_of(vec![row(Some("no kernel")), row(None)], false), 1);
        assert_eq!(code_of(vec![row(Some("no kernel"))], true), 130);
    }

    #[test]
    fn a_fault_that_is_named_twice_is_tried_once() {
        let named = selected(&["pitch-of-512".into(), "pitch-too-large".into(), "pitch-of-512".into()]).unwrap();
        assert_eq!(named.iter().map(|fault| fault.name).collect::<Vec<_>>(), ["pitch-of-512", "pitch-too-large"]);
    }

    #[test]
    fn all_parts_have_every_case_and_each_has_one_of_every_claim() {
        let cases = Cases::<()>::collect(|cases| {
            (0..75).for_each(|n| _ = cases.add(format!("a::has_many::{n:02}"), |_| Ok(())));
            (0..3).for_each(|n| _ = cases.add(format!("a::has_few::{n}"), |_| Ok(())));
            cases.add("a::has_one", |_| Ok(()));
        })
        .unwrap();
        let infos: Vec<&CaseInfo> = cases.iter().map(|case| &case.info).collect();
        let mut seen = BTreeSet::new();
        for part in 0..SHARES {
            let names: Vec<&str> = Share::Part(part).of(infos.clone()).iter().map(|case| case.name.as_str()).collect();
            let count = |claim: &str| names.iter().filter(|name| detection::claim(name) == claim).count();
            assert!((2..=3).contains(&count("a::has_many")), "{names:?}");
            assert_eq!((count("a::has_few"), count("a::has_one")), (1, 1), "{names:?}");
            seen.extend(names);
        }
        assert_eq!(seen.len(), infos.len());
        assert_eq!(Share::All.of(infos.clone()).len(), infos.len());
        assert_eq!((share("89"), share("all")), (Ok(Share::Part(89)), Ok(Share::All)));
        assert!(share("90").is_err() && share("some").is_err());
    }

    #[test]
    fn under_a_control_of_cards_all_cases_of_cards_run_and_the_others_in_turn() {
        let cases = Cases::<()>::collect(|cases| {
            for n in 0..7 {
                cases.add(format!("a::shows_{n}"), |_| Ok(())).to(Role::Screen);
                cases.add(format!("a::draws_{n}"), |_| Ok(())).to(Role::GpuA);
                cases.add(format!("a::asks_{n}"), |_| Ok(()));
            }
        })
        .unwrap();
        let infos: Vec<&CaseInfo> = cases.iter().map(|case| &case.info).collect();
        let names = |fault: &str, share: Share| -> Vec<&str> {
            let fault = handover_faults::find(fault).unwrap();
            under(fault, infos.clone(), share).iter().map(|case| case.name.as_str()).collect()
        };
        let count = |names: &[&str], of: &str| names.iter().filter(|name| name.starts_with(of)).count();
        let mut seen = BTreeSet::new();
        for part in (0..PARTS).step_by(SHARES) {
            let names = names("card-without-planes", Share::Part(part));
            assert_eq!((count(&names, "a::shows"), count(&names, "a::asks")), (7, 7), "{names:?}");
            assert!((2..=3).contains(&count(&names, "a::draws")), "{names:?}");
            seen.extend(names);
        }
        assert_eq!(seen.len(), infos.len());
        assert_eq!(names("card-without-planes", Share::All).len(), infos.len());
        assert_eq!(names("slow-calls", Share::Part(0)).len(), infos.len());
    }

    #[test]
    fn each_device_that_a_control_is_about_is_one() {
        for role in handover_faults::all().flat_map(|fault| fault.about) {
            assert!(Role::ALL.iter().any(|known| known.as_str() == *role), "{role}");
        }
    }

    #[test]
    fn only_controls_of_one_seam_share_a_kernel() {
        let faults: Vec<&Fault> = handover_faults::all().collect();
        let units = units(&faults, |at| at % 7);
        let mut places: Vec<usize> = units.iter().flatten().copied().collect();
        places.sort_unstable();
        assert_eq!(places, (0..faults.len()).collect::<Vec<_>>());
        let (shared, others): (Vec<_>, Vec<_>) = units.iter().partition(|unit| unit.len() > 1);
        assert_eq!(units[..shared.len()], shared.iter().map(|unit| (*unit).clone()).collect::<Vec<_>>()[..]);
        assert!(shared.len() == 2 && others.iter().all(|unit| unit.len() == 1), "{units:?}");
        let alone: Vec<usize> = others.iter().flat_map(|unit| unit.iter().copied()).collect();
        let control = |at: usize| faults[at].kind == Kind::Control;
        let few_after_many = |two: &[usize]| control(two[0]) != control(two[1]) || two[0] % 7 >= two[1] % 7;
        assert!(alone.windows(2).all(few_after_many), "{alone:?}");
        for unit in shared {
            let of_unit = || unit.iter().map(|at| faults[*at]);
            assert!(of_unit().all(|fault| fault.kind == Kind::Control && fault.seam == faults[unit[0]].seam));
        }
    }

    #[test]
    fn work_side_by_side_keeps_its_order() {
        assert_eq!(side_by_side(3, 20, |at| at * at), (0..20).map(|at| at * at).collect::<Vec<_>>());
        assert!(side_by_side(2, 0, |at| at).is_empty());
    }
}
