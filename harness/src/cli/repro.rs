//! `handover repro`: prints the program that shows a finding without Handover.

use std::collections::{BTreeMap, BTreeSet};
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
    handover repro --list                       finding, device that has it, and case of each
    handover repro scanout::honours_the_offset_of_a_frame::XR24
    handover repro vkms-offset-twice            the same by the finding's name
    handover repro vkms-offset-twice > repro.rs && rust-script repro.rs

Exit codes: 0 printed, 2 no program belongs to this case.";

#[derive(Args)]
pub(super) struct ReproArgs {
    /// The name of a case, or of a finding
    #[arg(value_name = "CASE", required_unless_present = "list")]
    case: Option<String>,
    /// Print the cases that have a program, each with its finding and the device on which it is known
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
    let has_program = |finding: &&str| all.iter().any(|one| one.finding == *finding);
    let mut rows = Vec::new();
    for case in cases {
        // Once, with how many texts it may be listed; and with all devices that have it.
        let mut devices: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for known in &case.known {
            if let Some(finding) = reproduction::finding_of(&known.url).filter(has_program) {
                devices.entry(finding).or_default().insert(&known.on);
            }
        }
        let on = |devices: BTreeSet<&str>| devices.into_iter().collect::<Vec<_>>().join(" or ");
        rows.extend(devices.into_iter().map(|(finding, devices)| (finding, on(devices), case.name.as_str())));
    }
    let width = |of: fn(&(&str, String, &str)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (findings, devices) = (width(|row| row.0.len()), width(|row| row.1.chars().count()));
    rows.iter().map(|(finding, on, case)| format!("{finding:<findings$}  {on:<devices$}  {case}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Cases;

    #[test]
    fn a_finding_of_a_case_is_one_line_with_all_its_devices() {
        let cases = Cases::<()>::collect(|cases| {
            let case = cases.add("a::b_works", |()| Ok(()));
            case.known("old", "x/crash.md", "one text").known("old", "x/crash.md", "another").known(
                "new",
                "x/crash.md",
                "y",
            );
            case.known("old", "x/without.md", "a program");
        })
        .unwrap();
        let infos: Vec<&CaseInfo> = cases.iter().map(|case| &case.info).collect();
        let all = [Reproduction { finding: "crash", program: "fn main() {}" }];
        assert_eq!(list(&infos, &all), "crash  new or old  a::b_works\n");
    }
}
