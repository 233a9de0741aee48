//! The `handover` command: what a user can ask for, and what is printed and returned.
//!
//! Only this file and the one below it print. What a subcommand does is in the module of its noun.

mod faults;
mod report;
mod repro;
mod resume;
mod sandbox;
mod seam;
mod walk;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::case::{Bench, Case, Cases, Extent, GoldenMode, Role};
use crate::cx::Cx;
use crate::inventory;
use crate::kernel::Command;
use crate::lane::{Lane, On};
use crate::peer;
use crate::procfs;
use crate::report::{Report, ReportDir};
use crate::reproduction::Reproduction;
use crate::run::choice::{Choice, Parts, Refusal};
use crate::run::injection;
use crate::run::journal::{Journal, Unfinished};
use crate::run::progress::Progress;
use crate::run::select::nearest;
use crate::run::stop::Stop;
use crate::run::{Plan, Session, select, text, worker};
use crate::vk::Validation;

const EXIT_CODES: &str = "\
Exit codes:
    0  everything that ran is as it should be
    1  findings: a failure, a crash, a timeout, or something the lane does not allow
    2  the command line, a lane file or the report directory cannot be used
    3  no worker could be started, or it could not be kept running
  130  interrupted; the report holds what was known by then";

/// Test the moment a GPU buffer changes hands: between two devices, with proof.
#[derive(Parser)]
#[command(name = "handover", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct Handover {
    #[command(subcommand)]
    command: Asked,
}

#[derive(Subcommand)]
enum Asked {
    /// Run cases and write a report
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Write golden images from what the reference lane renders now
    #[command(after_help = BLESS_HELP)]
    Bless(BlessArgs),
    /// Make one HTML page of a report: matrix, pixels, placement, kernel log
    #[command(after_help = report::EXAMPLES)]
    Report(report::ReportArgs),
    /// Break a driver or the kernel on purpose, and see which cases notice
    #[command(after_help = faults::EXAMPLES)]
    Faults(faults::FaultsArgs),
    /// Run cases with something going wrong at every place where it can
    #[command(after_help = walk::EXAMPLES)]
    Walk(walk::WalkArgs),
    /// Print a Rust program of one file that shows a finding without Handover
    #[command(after_help = repro::EXAMPLES)]
    Repro(repro::ReproArgs),
    /// Run any command in the user-mode kernel
    Sandbox(sandbox::SandboxArgs),
    /// Build the kernel and the root filesystem of the sandbox, if they are not there
    Setup(sandbox::SetupArgs),
    /// List devices and facilities, and why the rest is missing
    Devices(inventory::DevicesArgs),
    /// Serve cases to a supervisor on the standard streams
    #[command(hide = true)]
    Worker {
        /// Every combination of the matrix
        #[arg(long)]
        exhaustive: bool,
        /// Cases can be disturbed
        #[arg(long, value_enum, value_name = "HOW")]
        disturbed: Option<worker::Disturbed>,
    },
    /// Run a command whose system calls are changed on their way by a fault
    #[command(hide = true)]
    Seam(seam::SeamArgs),
    /// Play a role in a process of its own, on the socket that is the standard input
    #[command(hide = true)]
    Peer {
        /// The role
        #[arg(value_enum)]
        role: Role,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
    handover run                            every case, in the sandbox
    handover run scanout AB24               cases with `scanout` or `AB24` in their name
    handover run 'scanout::*::gpu_b::AB*'   `*` stands for any text
    handover run --exact NAME               one case, as a failure's `again` line has it
    handover run --on host --report /tmp/r  the devices of this machine
    handover run --exhaustive --list        the names of every combination, not only of a covering set
    handover run --lane ci/lanes/lab.toml   judged by the rules of a lane

The report directory gets report.json, junit.xml and the images of cases that failed. `handover report` makes one HTML
page of them.
Exit codes: 0 green, 1 findings, 2 usage, 3 no worker, 130 interrupted.";

const BLESS_HELP: &str = "\
Only the reference lane may bless, since its pictures are the gold standard, and never where CI is set.
Look at what changed (`git diff --stat golden`) before you commit it.";

#[derive(Args)]
struct RunArgs {
    /// Parts of names, or patterns with `*`; a case that matches any of them runs [default: all]
    #[arg(value_name = "FILTER", value_parser = filter)]
    filters: Vec<String>,
    /// Take each FILTER as a whole name
    #[arg(long, requires = "filters")]
    exact: bool,
    /// Print the names of the selected cases and touch no device
    #[arg(long)]
    list: bool,
    /// Every combination that the matrix can try instead of a covering set; several times as many cases, and as much time
    #[arg(long)]
    exhaustive: bool,
    /// Where cases run [default: the lane's; else the host if it has a display card and a render node, or the sandbox]
    #[arg(long, value_enum, env = "HANDOVER_ON", value_name = "WHERE")]
    on: Option<On>,
    /// Directory for report.json, junit.xml and images
    #[arg(long, default_value = "report", env = "HANDOVER_REPORT", value_name = "DIR")]
    report: PathBuf,
    /// Workers at once [default: the lane's, or one per processor; in the sandbox at most 2]
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    jobs: Option<usize>,
    /// Deadline of one case in seconds [default: the lane's, or 30]
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    timeout: Option<Duration>,
    /// Finish the run that was cut off in this report directory: only cases without a verdict run, in the same place and by the
    /// same rules
    #[arg(long, value_name = "DIR", conflicts_with_all = ["filters", "exact", "list", "exhaustive", "timeout", "kernel", "kernel_arg", "root", "share"])]
    resume: Option<PathBuf>,
    /// Lane file: devices that must answer, cases that must run, skips that are allowed
    #[arg(long, env = "HANDOVER_LANE", value_name = "FILE")]
    lane: Option<PathBuf>,
    #[command(flatten)]
    sandbox: Parts,
}

#[derive(Args)]
struct BlessArgs {
    /// Parts of names, or patterns with `*` [default: all]
    #[arg(value_name = "FILTER", value_parser = filter)]
    filters: Vec<String>,
    /// Directory for the report
    #[arg(long, default_value = "report", env = "HANDOVER_REPORT", value_name = "DIR")]
    report: PathBuf,
    /// Lane file; it must be a reference lane [default: sandbox]
    #[arg(long, env = "HANDOVER_LANE", value_name = "FILE")]
    lane: Option<PathBuf>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err("a whole number from 1 to 1000000".into()),
    }
}

/// An empty one is a part of every name; who gives it, say from a variable that is not set, means something else.
fn filter(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("it is empty; a part of a name would be valid, and every case runs without any FILTER".into()),
        false => Ok(text.to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let valid = "a number of seconds from 0.01 to 86400";
    let seconds: f64 = text.parse().map_err(|_| valid.to_owned())?;
    match (0.01..=86_400.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(valid.into()),
    }
}

/// Everything the `handover` command does, with the cases that `register` adds, and the programs that show their findings.
///
/// The sandbox starts the same program again as the init of its kernel, which is why that is looked at first.
pub fn main<B: Bench>(register: fn(&mut Cases<B>), reproductions: &[Reproduction]) -> ExitCode {
    if let Some(code) = crate::sandbox::guest_main() {
        return code;
    }
    let mut asked = parse(register);
    print_warnings();
    let mut unfinished = None;
    if let Asked::Run(RunArgs { resume: Some(folder), .. }) = &asked.command {
        match resume::command(folder, &asked.command) {
            Ok((command, found)) => {
                asked.command = command;
                unfinished = Some(found);
            }
            Err(refusal) => return refuse(&refusal),
        }
    }
    let extent = asked.command.extent();
    // Putting them together takes longer than starting a process, and not everybody asks for one.
    let cases = || Cases::collect_to(extent, register).map_err(|error| Refusal::Usage(error.to_string()));
    if let Asked::Run(_) | Asked::Bless(_) | Asked::Faults(_) | Asked::Walk(_) = &asked.command
        && let Err(refusal) = environment()
    {
        return refuse(&refusal);
    }
    let done = match asked.command {
        Asked::Run(args) => cases().and_then(|cases| run(args, &cases, GoldenMode::Check, unfinished)),
        Asked::Bless(args) => cases().and_then(|cases| bless(args, &cases)),
        Asked::Report(args) => report::command(&args),
        Asked::Faults(args) => cases().and_then(|cases| faults::command(&args, &cases)),
        Asked::Walk(args) => cases().and_then(|cases| walk::command(&args, &cases)),
        Asked::Repro(args) => cases().and_then(|cases| repro::command(&args, &cases, reproductions)),
        Asked::Sandbox(args) => Ok(sandbox::command(&args)),
        Asked::Setup(args) => Ok(sandbox::setup(&args)),
        Asked::Devices(args) => Ok(inventory::command(args)),
        Asked::Seam(args) => Err(seam::command(&args)),
        Asked::Peer { role } => peer::serve(role)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| Refusal::Machine(format!("the peer ends: {error}"))),
        Asked::Worker { disturbed, .. } => cases().and_then(|cases| {
            let served = worker::serve(&cases, disturbed).map(|()| ExitCode::SUCCESS);
            served.map_err(|error| Refusal::Machine(format!("the worker ends: {error}")))
        }),
    };
    done.unwrap_or_else(|refusal| refuse(&refusal))
}

/// What the command line asks for. Only where it asks for help, the cases are counted that the help speaks of.
fn parse<B: Bench>(register: fn(&mut Cases<B>)) -> Handover {
    let mut command = Handover::command();
    if std::env::args_os().any(|argument| argument == "--help" || argument == "-h") {
        let count = |extent| Cases::collect_to(extent, register).map_or(0, |cases| cases.len());
        let (all, covering) = (count(Extent::Exhaustive), count(Extent::Covering));
        let help = format!(
            "Every combination that the matrix can try instead of a covering set: {all} cases instead of {covering}, which \
             takes {} times as long",
            all.div_ceil(covering.max(1))
        );
        command = command.mut_subcommand("run", |run| run.mut_arg("exhaustive", |argument| argument.help(help)));
    }
    let matches = command.get_matches_mut();
    if let Some(("run", run)) = matches.subcommand()
        && run.contains_id("resume")
        && run.value_source("report") == Some(ValueSource::CommandLine)
    {
        let why =
            "the argument '--resume <DIR>' cannot be used with '--report <DIR>': the report goes where the run was";
        command.error(ErrorKind::ArgumentConflict, why).exit();
    }
    Handover::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

impl Asked {
    /// Which cases there are for it.
    fn extent(&self) -> Extent {
        match self {
            Asked::Run(RunArgs { exhaustive: true, .. }) | Asked::Worker { exhaustive: true, .. } => Extent::Exhaustive,
            _ => Extent::Covering,
        }
    }
}

/// What cases ask of the environment is refused before the first of them does, and what would break something below them that
/// no report tells of.
///
/// # Errors
/// Which variable it is, and what it may be.
pub fn environment() -> Result<(), Refusal> {
    if let Some(name) = std::env::var_os(injection::NAME).filter(|name| !name.is_empty()) {
        return Err(Refusal::Usage(format!(
            "{} is {}, which breaks drivers on purpose in every worker; `handover faults` sets it for those that it starts, and \
             elsewhere it must not be set",
            injection::NAME,
            name.to_string_lossy()
        )));
    }
    let asked = Cx::effort_asked().and_then(|_| Validation::from_environment());
    asked.map(drop).map_err(|error| Refusal::Usage(error.to_string()))
}

/// What went wrong where nobody could be told, such as in a drop, goes to standard error; a worker's is kept with its case.
fn print_warnings() {
    let format = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr);
    // Only who installs another one before has this refused, and then there is one.
    let _ = format.with_ansi(false).with_target(false).without_time().try_init();
}

fn refuse(refusal: &Refusal) -> ExitCode {
    let (what, code) = match refusal {
        Refusal::Usage(what) => (what, 2),
        Refusal::Machine(what) => (what, 3),
    };
    let red = anstyle::AnsiColor::Red.on_default().bold();
    say(&mut anstream::stderr(), &format!("{red}error:{red:#} {what}\n"));
    ExitCode::from(code)
}

/// Prints; whoever closed the stream does not want to read it.
fn say(stream: &mut impl Write, text: &str) {
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

/// What to say behind a name of a fault that is none of `names`: which are nearest, if any is near.
fn near(name: &str, names: &[&str]) -> String {
    match nearest(name, names).as_slice() {
        [] => String::new(),
        near => format!("; the nearest are {}", near.join(", ")),
    }
}

fn run<B>(
    args: RunArgs,
    cases: &[Case<B>],
    golden: GoldenMode,
    unfinished: Option<Unfinished>,
) -> Result<ExitCode, Refusal> {
    let names: Vec<&str> = cases.iter().map(|case| case.info.name.as_str()).collect();
    let mut selected =
        select::select(&names, &args.filters, args.exact).map_err(|error| Refusal::Usage(error.to_string()))?;
    let mut only = |lane: &Lane| {
        if args.filters.is_empty() {
            selected.retain(|&at| lane.has(names[at]));
        }
    };
    if args.list {
        // What a run would refuse is refused here, too.
        if args.lane.is_some()
            && let Some(lane) = Choice::new(args.on, args.lane.as_deref())?.lane
        {
            lane.check_patterns(&names)?;
            only(&lane);
        }
        let list: String = selected.iter().map(|&at| format!("{}\n", names[at])).collect();
        say(&mut anstream::stdout(), &list);
        return Ok(ExitCode::SUCCESS);
    }
    let choice = Choice::new(args.on, args.lane.as_deref())?;
    if let Some(lane) = &choice.lane {
        lane.check_patterns(&names)?;
        only(lane);
    }
    let report = ReportDir::open(&args.report).map_err(|error| Refusal::Usage(error.to_string()))?;
    // It was read when it may still have been another's.
    let unfinished = unfinished.map(|_| Unfinished::read(report.path())).transpose();
    let unfinished = unfinished.map_err(|error| Refusal::Usage(error.to_string()))?;
    let jobs = choice.jobs(args.jobs);
    // Before signals are caught: whoever interrupts the building of a sandbox wants it to end at once.
    let kernel = choice.kernel(&args.sandbox)?;
    let header = resume::header(&names, selected.len(), &choice)?;
    let (folder, lane_file) = (report.path().to_owned(), choice.file.clone());
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let plan = Plan {
        kernel,
        worker: own_worker(args.exhaustive)?,
        again: choice.again(args.exhaustive, &args.sandbox),
        lane: choice.lane,
        whole: args.filters.is_empty(),
        none_is_red: true,
        case_within: args.timeout,
        report,
        golden,
    };
    let mut session = Session::open(plan, stop);
    if let Some(unfinished) = &unfinished {
        unfinished.check(&folder, &header, session.machine()).map_err(|error| Refusal::Usage(error.to_string()))?;
    }
    let names: Vec<&str> = selected.iter().map(|&at| names[at]).collect();
    let mut infos: Vec<_> = selected.iter().map(|&at| &cases[at].info).collect();
    let mut verdicts = Vec::new();
    let journal = match &unfinished {
        Some(unfinished) => {
            verdicts = session.recall(&unfinished.entries);
            let done: HashSet<&str> = verdicts.iter().map(|case| case.name.as_str()).collect();
            infos.retain(|info| !done.contains(info.name.as_str()));
            Journal::go_on(&folder, unfinished)
        }
        None => Journal::begin(&folder, &resume::beginning(header, lane_file, session.machine().clone())?),
    };
    session.keep(journal.map_err(|error| Refusal::Usage(error.to_string()))?);
    verdicts.extend(session.run_all(&infos, jobs, &Progress::new(infos.len())));
    let places: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    verdicts.sort_by_key(|case| places.get(case.name.as_str()).copied());
    let report = session.conclude(&names, verdicts);
    let written = session.write(&report);
    say(&mut anstream::stdout(), &text::summary(&report, columns()));
    let path = written.map_err(|error| Refusal::Machine(error.to_string()))?;
    let page = report::again(&args.report);
    say(&mut anstream::stdout(), &format!("report {}\npage   {page}\n", path.display()));
    Ok(exit_code(&report))
}

/// How many characters a line of the terminal has, if standard output is one.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

fn exit_code(report: &Report) -> ExitCode {
    match report {
        report if report.interrupted => ExitCode::from(130),
        report if report.error.is_some() => ExitCode::from(3),
        report if report.is_green() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn bless<B>(args: BlessArgs, cases: &[Case<B>]) -> Result<ExitCode, Refusal> {
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        return Err(Refusal::Usage("golden images are never written where CI is set".into()));
    }
    let args = RunArgs {
        filters: args.filters,
        exact: false,
        list: false,
        exhaustive: false,
        // The reference is software, whatever this machine has.
        on: args.lane.is_none().then_some(On::Sandbox),
        report: args.report,
        // Each golden's origin goes into one file.
        jobs: Some(1),
        timeout: None,
        resume: None,
        lane: args.lane,
        sandbox: Parts::default(),
    };
    match Choice::new(args.on, args.lane.as_deref())?.lane {
        Some(lane) if lane.reference => run(args, cases, GoldenMode::Bless, None),
        lane => Err(Refusal::Usage(format!(
            "lane {} is not a reference lane; only one with `reference = true` may bless",
            lane.map_or_else(String::new, |lane| lane.name)
        ))),
    }
}

/// The command that makes a worker of this very program.
fn own_worker(exhaustive: bool) -> Result<Command, Refusal> {
    let program = procfs::this_program()
        .map_err(|error| Refusal::Machine(format!("the path of this program cannot be found: {error}")))?;
    Ok(Command::new(program).args(["worker"]).args(exhaustive.then_some("--exhaustive")))
}

/// Ctrl-C ends the workers and still writes the report; a second one ends at once.
fn stop_on_signals(stop: &Stop) -> Result<(), Refusal> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stop = stop.clone();
    let failed = |error: std::io::Error| Refusal::Machine(format!("signals cannot be watched: {error}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let watch = move || {
        for _ in signals.forever() {
            if stop.is_stopped() {
                std::process::exit(130);
            }
            stop.stop();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map(drop).map_err(failed)
}
