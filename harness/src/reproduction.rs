//! How does somebody see a finding who has no Handover? By a program of one file that shows it, kept beside the finding.
//!
//! Which program belongs to which case follows from the finding that is [known](crate::case::Case::known) of it. Pure: what is
//! asked for is found here, and printed by the command.

use std::path::Path;

use crate::case::CaseInfo;
use crate::run::select;

/// A finding with its program.
#[derive(Clone, Copy, Debug)]
pub struct Reproduction {
    /// The finding's file without folder and ending: `vkms-offset-twice`.
    pub finding: &'static str,
    /// The source of the program.
    pub program: &'static str,
}

/// The name of the finding at `url`, if that is a file beside the cases.
pub fn finding_of(url: &str) -> Option<&str> {
    let path = Path::new(url);
    let is_file = !url.contains("://") && path.extension().is_some_and(|extension| extension == "md");
    if is_file { path.file_stem()?.to_str() } else { None }
}

/// The programs of `all` that show what is known of `case`.
pub fn of_case<'r>(case: &CaseInfo, all: &'r [Reproduction]) -> Vec<&'r Reproduction> {
    let known: Vec<&str> = case.known.iter().filter_map(|known| finding_of(&known.url)).collect();
    all.iter().filter(|one| known.contains(&one.finding)).collect()
}

/// The program that `asked` means: the name of a case, or of a finding.
///
/// # Errors
/// Says what would be valid: the case has no finding or several, or there is no such case.
pub fn find<'r>(asked: &str, cases: &[&CaseInfo], all: &'r [Reproduction]) -> Result<&'r Reproduction, String> {
    if let Some(one) = all.iter().find(|one| one.finding == asked) {
        return Ok(one);
    }
    let with_one: Vec<&str> =
        cases.iter().filter(|case| !of_case(case, all).is_empty()).map(|case| case.name.as_str()).collect();
    let valid: Vec<&str> = with_one.into_iter().chain(all.iter().map(|one| one.finding)).collect();
    let near = match select::nearest(asked, &valid).as_slice() {
        [] => "`handover repro --list` shows those that have one".to_owned(),
        near => {
            format!("`handover repro --list` shows those that have one, the nearest are:\n    {}", near.join("\n    "))
        }
    };
    let Some(case) = cases.iter().find(|case| case.name == asked) else {
        return Err(format!("there is no case and no finding `{asked}`; {near}"));
    };
    match of_case(case, all).as_slice() {
        [] => {
            Err(format!("no finding is known of `{asked}`, so no program shows one: it is to pass everywhere; {near}"))
        }
        [one] => Ok(one),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.finding).collect();
            Err(format!("`{asked}` has several findings; give the one that you want:\n    {}", names.join("\n    ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Known;

    const ALL: [Reproduction; 2] = [
        Reproduction { finding: "vkms-offset-twice", program: "fn main() {}" },
        Reproduction { finding: "lavapipe-crash", program: "fn main() { crash() }" },
    ];

    fn case(name: &str, findings: &[&str]) -> CaseInfo {
        let known = |url: &&str| Known { on: "x".into(), url: (*url).into(), matching: vec!["y".into()] };
        CaseInfo {
            name: name.into(),
            exporter: None,
            importer: None,
            needs: vec![],
            opens: vec![],
            known: findings.iter().map(known).collect(),
            must_fail_under: vec![],
            fails_with: None,
        }
    }

    #[test]
    fn a_case_or_a_finding_means_its_program_and_all_else_is_told_what_would() {
        let (vkms, crash) = ("cases/findings/vkms-offset-twice.md", "cases/findings/lavapipe-crash.md");
        let cases = [
            case("a::shows_it", &[vkms]),
            case("a::passes", &[]),
            case("a::shows_both", &[vkms, crash]),
            case("a::is_filed", &["https://example.org/7"]),
        ];
        let cases: Vec<&CaseInfo> = cases.iter().collect();
        let found = |asked| find(asked, &cases, &ALL).map(|one| one.finding);
        assert_eq!(found("a::shows_it"), Ok("vkms-offset-twice"));
        assert_eq!(found("lavapipe-crash"), Ok("lavapipe-crash"));
        for (asked, expected) in [
            ("a::passes", "no finding is known of `a::passes`"),
            ("a::is_filed", "no finding is known of `a::is_filed`"),
            ("a::shows_both", "give the one that you want:\n    vkms-offset-twice\n    lavapipe-crash"),
            (
                "a::shows_itt",
                "no case and no finding `a::shows_itt`; `handover repro --list` shows those that have one, the nearest are:\n    a::shows_it",
            ),
            ("zzz", "`handover repro --list`"),
        ] {
            let said = found(asked).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
