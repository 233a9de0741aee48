//! What does `handover walk` do?

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{own_worker, say, stop_on_signals};
use crate::case::{Case, GoldenMode};
use crate::lane::{On, WalkBy, glob};
use crate::report::ReportDir;
use crate::run::choice::{Choice, Parts, Refusal};
use crate::run::stop::Stop;
use crate::run::supervisor::Settings;
use crate::run::walk::{Ends, Kind, Outcome, Steps, Walk, Walked, is_green, summary};
use crate::run::{START_WITHIN, select, with_folders};

pub(super) const EXAMPLES: &str = "\
Examples:
    handover walk                                   the cases that the lane lists, by what it says, or everything
    handover walk --by EINTR --by signals scanout   cases with `scanout` in their name, interrupted
    handover walk --by peer sharing::a_peer_draws_into_shared_storage

For each system call of a case that may fail, the case runs once with that call failing; also with a peer killed at each of its
calls, and stopped at each, with signals, and with a clock that goes back. The case must end, must say what failed or pass (of a
peer: which one, and in which step), must leave nothing behind, and must pass afterwards; its worker must end well, which is
told with all that it had walked. The report directory gets walk.json.
Exit codes: 0 green, 1 findings, 2 usage, 3 no worker, 130 interrupted; walk.json has what was walked by then.";

/// Name of the report.
const FILE: &str = "walk.json";

#[derive(Args)]
pub(super) struct WalkArgs {
    /// Parts of names, or patterns with `*` [default: the `walk` of the lane]
    #[arg(value_name = "CASE", value_parser = super::filter)]
    filters: Vec<String>,
    /// What goes wrong: EINTR, ENOMEM, EMFILE, EBUSY, peer, signals, clock (may be repeated) [default: all]
    #[arg(long, value_name = "WHAT", value_parser = kind)]
    by: Vec<Kind>,
    /// Where cases run [default: as for `handover run`]
    #[arg(long, value_enum, env = "HANDOVER_ON", value_name = "WHERE")]
    on: Option<On>,
    /// Directory for walk.json
    #[arg(long, default_value = "report", env = "HANDOVER_REPORT", value_name = "DIR")]
    report: PathBuf,
    /// Workers at once [default: as for `handover run`]
    #[arg(long, value_parser = super::at_least_one, value_name = "N")]
    jobs: Option<usize>,
    /// Deadline of one run of a case in seconds; a peer that is stopped is given up after 0.7
    #[arg(long, value_parser = super::seconds, value_name = "SECONDS", default_value = "30")]
    timeout: Duration,
    /// Lane file, for where cases run and which of them are walked
    #[arg(long, env = "HANDOVER_LANE", value_name = "FILE")]
    lane: Option<PathBuf>,
    #[command(flatten)]
    sandbox: Parts,
}

fn kind(text: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("one of {}", names()))
}

/// Those of `kinds` by which a lane has the case `name` walked.
fn kinds_of(name: &str, kinds: &[Kind], by_lane: &[WalkBy]) -> Result<Vec<Kind>, Refusal> {
    let Some(only) = by_lane.iter().find(|walk| glob(&walk.case, name)) else { return Ok(kinds.to_vec()) };
    let only = only.by.iter().map(|text| {
        kind(text)
            .map_err(|valid| Refusal::Usage(format!("the lane has {name} walked by {text}, which is not {valid}")))
    });
    let only = only.collect::<Result<Vec<_>, _>>()?;
    Ok(kinds.iter().copied().filter(|kind| only.contains(kind)).collect())
}

/// What `walk.json` holds.
#[derive(Serialize)]
struct Document<'w> {
    schema: u32,
    wall_ms: u64,
    /// Why it did not come to its end, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'w str>,
    cases: &'w [Walked],
    workers: &'w Ends,
}

pub(super) fn command<B>(args: &WalkArgs, cases: &[Case<B>]) -> Result<ExitCode, Refusal> {
    let names: Vec<&str> = cases.iter().map(|case| case.info.name.as_str()).collect();
    let choice = Choice::new(args.on, args.lane.as_deref())?;
    if let Some(lane) = &choice.lane {
        lane.check_patterns(&names)?;
    }
    let by_lane: &[WalkBy] = match &choice.lane {
        Some(lane) if args.filters.is_empty() => &lane.walk_by,
        _ => &[],
    };
    let filters = match (args.filters.as_slice(), &choice.lane) {
        ([], Some(lane)) if !lane.walk.is_empty() => lane.walk.clone(),
        ([], _) => return Err(Refusal::Usage("no lane lists cases to walk; name some".into())),
        (filters, _) => filters.to_vec(),
    };
    let selected = select::select(&names, &filters, false).map_err(|error| Refusal::Usage(error.to_string()))?;
    let kinds = if args.by.is_empty() { Kind::ALL.to_vec() } else { args.by.clone() };
    let parts = selected.iter().map(|&at| Ok((&cases[at].info, kinds_of(&cases[at].info.name, &kinds, by_lane)?)));
    let parts = parts.collect::<Result<Vec<_>, Refusal>>()?;
    let report = ReportDir::open(&args.report).map_err(|error| Refusal::Usage(error.to_string()))?;
    let jobs = choice.jobs(args.jobs);
    let kernel = choice.kernel(&args.sandbox)?;
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let mut worker = with_folders(own_worker(false)?, report.path());
    for (name, value) in choice.lane.iter().flat_map(|lane| &lane.environment) {
        worker = worker.env(name, value);
    }
    let settings = Settings {
        kernel,
        worker,
        case_within: args.timeout,
        start_within: START_WITHIN,
        report: report.clone(),
        golden: GoldenMode::Check,
        again: String::new(),
        repeat: false,
    };
    let known = choice.lane.map(|lane| lane.walk_known).unwrap_or_default();
    let began = Instant::now();
    let ended = |name: &str, kind: Kind, steps: &Steps| {
        let line = format!("{:>7} ms  {name} by {}: {} met\n", steps.ms, kind.name(), steps.met);
        say(&mut anstream::stderr(), &line);
    };
    let Outcome { cases: walked, workers, error } = Walk::new(settings, known, stop.clone()).all(&parts, jobs, ended);
    let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let written = report.write_with(FILE, |file| {
        serde_json::to_writer_pretty(
            &mut *file,
            &Document { schema: 1, wall_ms, error: error.as_deref(), cases: &walked, workers: &workers },
        )?;
        file.write_all(b"\n")
    });
    say(&mut anstream::stdout(), &summary(&walked, &workers, &kinds, wall_ms));
    let path = written.map_err(|error| Refusal::Machine(error.to_string()))?;
    say(&mut anstream::stdout(), &format!("report {}\n", path.display()));
    if let Some(why) = &error {
        say(&mut anstream::stdout(), &format!("not finished: {why}\n"));
    }
    match error {
        Some(_) if stop.is_stopped() => return Ok(ExitCode::from(130)),
        Some(why) => return Err(Refusal::Machine(why)),
        None => {}
    }
    Ok(if is_green(&walked, &workers) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_says_by_what_a_case_is_walked() {
        let lane = |by: &[&str]| WalkBy {
            case: "ownership::*".to_owned(),
            by: by.iter().map(|kind| (*kind).to_owned()).collect(),
            because: "it takes long".to_owned(),
        };
        let of = |name, kinds: &[Kind], by: &[&str]| kinds_of(name, kinds, &[lane(by)]);
        let by = ["ENOMEM", "clock"];
        assert!(of("ownership::a", &Kind::ALL, &by).is_ok_and(|kinds| kinds == [Kind::NoMemory, Kind::Clock]));
        assert!(of("ownership::a", &[Kind::Clock, Kind::Busy], &by).is_ok_and(|kinds| kinds == [Kind::Clock]));
        assert!(of("pool::a", &Kind::ALL, &by).is_ok_and(|kinds| kinds == Kind::ALL));
        assert!(of("ownership::a", &Kind::ALL, &["ENOENT"]).is_err());
    }
}
