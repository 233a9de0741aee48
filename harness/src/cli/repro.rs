//! `handover repro`: prints the program that shows a finding without Handover.

use std::process::ExitCode;

use clap::Args;

use super::say;
use crate::case::{Case, CaseInfo};
use crate::reproduction::{self, Reproduction};
use crate::run::choice::Refusal;

pub(super) const EXAMPLES: &str = "\
The program is one file with what it depends on at its top. It ends with status 0 if the defect is there, 1 if it is not,
and 2 if that could not be tried. cases/findings/ has a text beside each, ready to be filed.

Examples:
    handover repro --list                       the cases that have one, each with its finding
    handover repro scanout::honours_the_offset_of_a_frame::XR24
    handover repro vkms-offset-twice            the same by the finding's name
    handover repro vkms-offset-twice > repro.rs && rust-script repro.rs

Exit codes: 0 printed, 2 no program belongs to this case.";

#[derive(Args)]
pub(super) struct ReproArgs {
    /// The name of a case, or of a finding
    #[arg(value_name = "CASE", required_unless_present = "list")]
    case: Option<String>,
    /// Print the cases that have a program, each with its finding
    #[arg(long, conflicts_with = "case")]
    list: bool,
}

pub(super) fn command<B>(args: &ReproArgs, cases: &[Case<B>], all: &[Reproduction]) -> Result<ExitCode, Refusal> {
    let infos: Vec<&CaseInfo> = cases.iter().map(|case| &case.info).collect();
    let text = match &args.case {
        None => list(&infos, all),
        Some(asked) => reproduction::find(asked, &infos, all).map_err(Refusal::Usage)?.program.to_owned(),
    };
    say(&mut anstream::stdout(), &text);
    Ok(ExitCode::SUCCESS)
}

fn list(cases: &[&CaseInfo], all: &[Reproduction]) -> String {
    let pairs = cases.iter().flat_map(|case| reproduction::of_case(case, all).into_iter().map(move |one| (case, one)));
    let width = all.iter().map(|one| one.finding.len()).max().unwrap_or(0);
    pairs.map(|(case, one)| format!("{:<width$}  {}\n", one.finding, case.name)).collect()
}
