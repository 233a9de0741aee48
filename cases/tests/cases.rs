//! The cases under `cargo test` and cargo-nextest: libtest's command line, over the same runner as `handover run`.
//!
//! `HANDOVER_ON`, `HANDOVER_LANE` and `HANDOVER_REPORT` mean what they mean to the command; without the last one the
//! report is in `handover-report` in Cargo's target directory. Listing touches no device, and with one exact name one
//! worker runs one case, which is what cargo-nextest asks for.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use handover::case::{CaseInfo, Cases, GoldenMode};
use handover::cli;
use handover::kernel::Command;
use handover::report::{CaseReport, ReportDir};
use handover::run::choice::Choice;
use handover::run::choice::Parts;
use handover::run::stop::Stop;
use handover::run::{Plan, Session, select, text};
use handover::verdict::Verdict;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

type Reports = Arc<Mutex<Vec<CaseReport>>>;

fn main() -> ExitCode {
    // The sandbox starts this program again as the init of its kernel.
    if let Some(code) = handover::sandbox::guest_main() {
        return code;
    }
    run(Arguments::from_args()).unwrap_or_else(|error| {
        say(&format!("error: {error}\n"));
        ExitCode::FAILURE
    })
}

fn run(mut arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut cases: Vec<CaseInfo> =
        Cases::collect(handover_cases::register)?.into_iter().map(|case| case.info).collect();
    if arguments.list {
        if let (true, Some(name)) = (arguments.exact, &arguments.filter) {
            let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
            // Not an error: the same arguments go to every test of the workspace.
            if let Err(unknown) = select::select(&names, std::slice::from_ref(name), true) {
                say(&format!("note: {unknown}\n"));
            }
        }
        let trials = cases.into_iter().map(|case| Trial::test(case.name, || Ok::<(), Failed>(())));
        return Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code());
    }

    cli::environment()?;
    let choice = Choice::from_environment()?;
    if let Some(lane) = &choice.lane {
        let all: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        lane.check_patterns(&all)?;
        cases.retain(|case| lane.has(&case.name));
    }
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // libtest takes one thread per processor, and in the sandbox each is a kernel.
    arguments.test_threads = Some(choice.jobs(arguments.test_threads));
    let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.ignored;
    let plan = Plan {
        kernel: choice.kernel(&Parts::default())?,
        worker: Command::new(env!("CARGO_BIN_EXE_handover")).args(["worker"]),
        lane: choice.lane,
        whole,
        none_is_red: whole,
        case_within: None,
        report: ReportDir::open(&report_path(&arguments))?,
        golden: GoldenMode::Check,
        again: "cargo test --test cases -- --exact".into(),
    };
    let session = Arc::new(Session::open(plan, Stop::default()));
    let reports = Reports::default();
    let trials = cases.into_iter().map(|case| trial(case, &session, &reports)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);

    let reports = std::mem::take(&mut *reports.lock().unwrap_or_else(PoisonError::into_inner));
    if reports.is_empty() && !whole {
        // Nothing here matches a filter that was meant for other tests.
        return Ok(conclusion.exit_code());
    }
    let ran: Vec<String> = reports.iter().map(|report| report.name.clone()).collect();
    let ran: Vec<&str> = ran.iter().map(String::as_str).collect();
    let report = session.conclude(if whole { &names } else { &ran }, reports);
    let path = session.write(&report)?;
    if !arguments.quiet {
        say(&format!("report {}\n", path.display()));
    }
    if report.is_green() {
        return Ok(conclusion.exit_code());
    }
    say(&text::beyond_verdicts(&report));
    Ok(ExitCode::FAILURE)
}

/// One case as a libtest trial; everything there is to say about a failure is in its message.
fn trial(case: CaseInfo, session: &Arc<Session>, reports: &Reports) -> Trial {
    let (session, reports) = (Arc::clone(session), Arc::clone(reports));
    Trial::ignorable_test(case.name.clone(), move || {
        let report = session.run(&case).map_err(|halt| Failed::from(halt.to_string()))?;
        let outcome = match (report.verdict, session.problem_of(&report)) {
            (_, Some(problem)) => Err(Failed::from(problem)),
            (Verdict::Pass | Verdict::Known, None) => Ok(Completion::Completed),
            (Verdict::Skip, None) => Ok(Completion::ignored_with(report.reason.as_deref().unwrap_or(""))),
            (Verdict::Fail | Verdict::Crash | Verdict::Timeout, None) => Err(Failed::from(text::failure(&report))),
        };
        reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        outcome
    })
}

/// Under cargo-nextest many of these processes run at once, each with a report of one case.
fn report_path(arguments: &Arguments) -> PathBuf {
    let chosen = std::env::var_os("HANDOVER_REPORT").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = chosen.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("handover-report"));
    match &arguments.filter {
        Some(name) if std::env::var_os("NEXTEST").is_some() => path.join("nextest").join(name.replace("::", ".")),
        _ => path,
    }
}

fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
