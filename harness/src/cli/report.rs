//! `handover report`: what is printed and returned when a report becomes a page.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::say;
use crate::report::html::{self, Page, Source};
use crate::report::{self, Report};
use crate::run::choice::{Refusal, word};

pub(super) const EXAMPLES: &str = "\
The page loads nothing: open it in a browser from a file, or attach it to an issue. It has
    the matrix of exporters and importers; choose a cell to see which buffers arrive, and its cases
    of each case the finding, target, actual and difference with the values of each
        pixel, where planes and memory lie, kernel log, figures, the command to repeat it
    the constraints that each device told
Its address keeps what is shown, so a link leads to a case or to a choice of cases.

Examples:
    handover report                             report/report.json becomes report/report.html
    handover report --report /tmp/r             /tmp/r/report.html
    handover report --output pair.html          to send it to somebody
    handover report --files 0                   without images; they are linked

Exit codes: 0 written, 2 there is no report that can be read, or the page cannot be written.";

#[derive(Args)]
pub(super) struct ReportArgs {
    /// Directory of the run's report.json and images
    #[arg(long, default_value = "report", env = "HANDOVER_REPORT", value_name = "DIR")]
    report: PathBuf,
    /// The page [default: DIR/report.html]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Put this many MiB of images and plots into the page at most, those of failures first, and of a known defect those of two
    /// cases; others are linked
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(0..=1024), value_name = "MIB")]
    files: u16,
}

/// The command that makes the page of the report in `folder`.
pub(super) fn again(folder: &Path) -> String {
    match folder.to_str() {
        Some("report") => "handover report".to_owned(),
        _ => format!("handover report --report {}", word(&folder.to_string_lossy())),
    }
}

/// Reads the report, and writes the page as a whole.
pub(super) fn command(args: &ReportArgs) -> Result<ExitCode, Refusal> {
    let report = Report::read(&args.report).map_err(|error| Refusal::Usage(error.to_string()))?;
    let output = args.output.clone().unwrap_or_else(|| args.report.join(report::PAGE));
    let failed = |error: std::io::Error| Refusal::Usage(format!("cannot write {}: {error}", output.display()));
    let beside = match output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let folder = args.report.canonicalize().map_err(failed)?;
    let source = Source {
        link: html::link(&beside.canonicalize().map_err(failed)?, &folder),
        most_bytes: u64::from(args.files) << 20,
        written: folder.join(report::FILE).metadata().and_then(|found| found.modified()).ok(),
        folder,
    };
    let cases = report.cases.len();
    let Page { html, embedded, left_out, no_table } =
        html::page(report, &source).map_err(|error| Refusal::Usage(error.to_string()))?;
    report::write_whole(&output, html.as_bytes()).map_err(failed)?;
    let left_out = if left_out == 0 { String::new() } else { format!(", {left_out} linked") };
    let mib = html.len() as f64 / f64::from(1 << 20);
    let path = output.canonicalize().map_err(failed)?;
    let text = format!("page   {} ({mib:.1} MiB: {cases} cases, {embedded} files{left_out})\n", path.display());
    say(&mut anstream::stdout(), &text);
    if let Some(why) = no_table {
        say(&mut anstream::stderr(), &format!("warning: the page has no table of faults: {why}\n"));
    }
    Ok(ExitCode::SUCCESS)
}
