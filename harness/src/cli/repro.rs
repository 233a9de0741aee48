//! `handover repro`: prints the program that shows a finding without Handover.

use std::collections::BTreeSet;
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
    handover repro --list                       each finding, the devices that have it, and its cases
    handover repro scanout::honours_the_offset_of_a_frame::XR24
    handover repro vkms-offset-twice            the same by the finding's name
    handover repro vkms-offset-twice > repro.rs && rust-script repro.rs

Exit codes: 0 printed, 2 no program belongs to this case.";

#[derive(Args)]
pub(super) struct ReproArgs {
    /// The name of a case, or of a finding
    #[arg(value_name = "CASE", required_unless_present = "list")]
    case: Option<String>,
    /// Print the findings that have a program, each with the devices on which it is known and its first case
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

/// One line for each finding, in the order of `cases`, with all devices that have it and the first case that shows it.
fn list(cases: &[&CaseInfo], all: &[Reproduction]) -> String {
    let mut rows: Vec<(&str, BTreeSet<&str>, Vec<&str>)> = Vec::new();
    for case in cases {
        for known in &case.known {
            let Some(finding) = reproduction::finding_of(&known.url) else { continue };
            let at = rows.iter().position(|row| row.0 == finding).unwrap_or_else(|| {
                rows.push((finding, BTreeSet::new(), Vec::new()));
                rows.len() - 1
            });
            let (_, devices, names) = &mut rows[at];
            devices.insert(&known.on);
            if names.last() != Some(&case.name.as_str()) {
                names.push(&case.name);
            }
        }
    }
    rows.retain(|(finding, ..)| all.iter().any(|one| one.finding == *finding));
    let texts = rows.into_iter().map(|(finding, devices, names)| {
        let others = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        (finding, devices.into_iter().collect::<Vec<_>>().join(" or "), format!("{}{others}", names[0]))
    });
    let rows: Vec<_> = texts.collect();
    let width = |of: fn(&(&str, String, String)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (findings, devices) = (width(|row| row.0.len()), width(|row| row.1.chars().count()));
    rows.iter().map(|(finding, on, cases)| format!("{finding:<findings$}  {on:<devices$}  {cases}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Cases;

    #[test]
    fn a_finding_is_one_line_with_all_its_devices_and_its_first_case() {
        let cases = Cases::<()>::collect(|cases| {
            let case = cases.add("a::b_works", |()| Ok(()));
            case.known("old", "x/crash.md", "one text").known("old", "x/crash.md", "another").known(
                "new",
                "x/crash.md",
                "y",
            );
            case.known("old", "x/without.md", "a program");
            cases.add("a::c_works", |()| Ok(())).known("old", "x/crash.md", "one text");
        })
        .unwrap();
        let infos: Vec<&CaseInfo> = cases.iter().map(|case| &case.info).collect();
        let all = [Reproduction { finding: "crash", program: "fn main() {}" }];
        assert_eq!(list(&infos, &all), "crash  new or old  a::b_works and 1 more\n");
    }
}
