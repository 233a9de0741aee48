//! Which verdict does a case get, given how its tries ended and whether its failure is known?
//!
//! Pure: it runs nothing. What a worker says is turned into a [`Try`] by the supervisor.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::case::Known;
use crate::matching::shows;

/// The one word on a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The claim holds.
    Pass,
    /// The claim is false, or could not be shown for a reason that is nobody's lack of hardware.
    Fail,
    /// The worker process or its kernel ended in the middle of the case.
    Crash,
    /// No verdict before the deadline.
    Timeout,
    /// Something that the case needs is missing here.
    Skip,
    /// It failed in just the way that a known defect makes it fail.
    Known,
}

impl Verdict {
    /// Every verdict, in the order in which totals name them.
    pub const ALL: [Verdict; 6] =
        [Verdict::Pass, Verdict::Fail, Verdict::Crash, Verdict::Timeout, Verdict::Skip, Verdict::Known];

    /// The verdict as reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Crash => "crash",
            Verdict::Timeout => "timeout",
            Verdict::Skip => "skip",
            Verdict::Known => "known",
        }
    }

    /// Whether this verdict by itself makes a run red.
    pub fn is_red(self) -> bool {
        matches!(self, Verdict::Fail | Verdict::Crash | Verdict::Timeout)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How one try of a case ended, before anything is known about repeats and known defects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Try {
    /// Never [`Verdict::Known`]: that is for [`settle`] to say.
    pub verdict: Verdict,
    /// The finding, or the reason of a skip; empty for a pass.
    pub text: String,
    /// Each finding by itself, where a worker lived to tell them apart; the report has the text alone.
    #[serde(skip)]
    pub findings: Vec<String>,
    /// Whether a call failed on the way to what the case claims, or its worker died on it.
    #[serde(skip)]
    pub on_the_way: bool,
    /// How long the try took, in ms.
    pub duration_ms: f64,
    /// The cases that the same worker had run before, oldest first; a report has them for failures only.
    pub ran_before: Vec<String>,
}

impl Try {
    /// Each finding, or the text, which is then the only one.
    fn findings(&self) -> impl Iterator<Item = &str> {
        let text = self.findings.is_empty().then_some(self.text.as_str());
        self.findings.iter().map(String::as_str).chain(text)
    }

    /// The first line of the text.
    fn headline(&self) -> &str {
        self.text.lines().next().unwrap_or("")
    }
}

/// A verdict with the text that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The verdict.
    pub verdict: Verdict,
    /// Why a case was skipped, or which known defect it met.
    pub reason: Option<String>,
    /// The finding.
    pub message: Option<String>,
}

/// Whether `first` should be tried once more in a fresh worker.
pub fn wants_repeat(first: &Try, known: &[&Known]) -> bool {
    first.verdict.is_red() && unlisted(first, known).is_some()
}

/// The first finding of a try that no listed defect accounts for.
fn unlisted<'t>(this: &'t Try, known: &[&Known]) -> Option<&'t str> {
    this.findings().find(|finding| !known.iter().any(|known| is_of(finding, known)))
}

/// The first listed defect that no finding of a try shows. A worker that died or hung had no time to show all.
fn stale<'k>(this: &Try, known: &[&'k Known]) -> Option<&'k Known> {
    let told = this.verdict == Verdict::Fail;
    known.iter().find(|known| told && !this.findings().any(|finding| is_of(finding, known))).copied()
}

/// Whether `finding` is one that `known` describes.
fn is_of(finding: &str, known: &Known) -> bool {
    known.matching.iter().any(|matching| shows(finding, matching))
}

/// How the text begins of a case that passed, though a known defect should have made it fail.
pub(crate) const PASSED_THOUGH_KNOWN: &str = "passed, but is listed as known";

/// How the text begins of a case that failed as known defects make it fail, but not as all that are listed would.
pub(crate) const NO_LONGER_KNOWN: &str = "no finding is as listed";

/// The findings of one try as one text: of those that begin alike the first, and how many more there are.
pub fn together(findings: &[String]) -> String {
    let headline = |finding: &String| finding.lines().next().unwrap_or_default().to_owned();
    let mut told: Vec<(String, &String, usize)> = Vec::new();
    for finding in findings {
        let begin = headline(finding);
        match told.iter_mut().find(|(known, ..)| *known == begin) {
            Some((.., more)) => *more += 1,
            None => told.push((begin, finding, 0)),
        }
    }
    let text = |(_, finding, more): &(String, &String, usize)| match more {
        0 => (*finding).clone(),
        more => format!("{finding}\n{}", row("more", format!("{more} findings more begin with the same words"))),
    };
    told.iter().map(text).collect::<Vec<_>>().join(NEXT_FINDING)
}

/// What stands between two findings of one try.
pub const NEXT_FINDING: &str = "\n\nand another finding: ";

/// The verdict on a case that was tried once, or twice when the first try [`wants_repeat`].
pub fn settle(first: &Try, second: Option<&Try>, known: &[&Known]) -> Settled {
    let listed = |known: &[&Known]| known.iter().map(|known| known.url.as_str()).collect::<Vec<_>>().join(", ");
    match first.verdict {
        Verdict::Pass if known.is_empty() => Settled { verdict: Verdict::Pass, reason: None, message: None },
        Verdict::Pass => failed(format!("{PASSED_THOUGH_KNOWN}: {}; remove .known(..)", listed(&distinct(known)))),
        Verdict::Skip => Settled { verdict: Verdict::Skip, reason: Some(first.text.clone()), message: None },
        verdict => {
            let Some(other) = unlisted(first, known) else {
                if let Some(stale) = stale(first, known) {
                    let what = format!("{NO_LONGER_KNOWN}: {}; remove that from .known(..)", text_of(stale));
                    return failed(format!("{what}\n\n{}", first.text));
                }
                let met = |known: &&&Known| first.findings().any(|finding| is_of(finding, known));
                let met: Vec<&Known> = known.iter().filter(met).copied().collect();
                let reason = Some(listed(&distinct(&met)));
                return Settled { verdict: Verdict::Known, reason, message: Some(first.text.clone()) };
            };
            let mut message = first.text.clone();
            if !known.is_empty() {
                let texts = known.iter().map(|known| text_of(known)).collect::<Vec<_>>().join(", ");
                let other = other.lines().next().unwrap_or("");
                message += &format!("\n\n{}", row("not known", format!("{other}; listed is {texts}")));
            }
            let verdict = match second {
                Some(second) if differs(first, second) => {
                    message += &format!("\n\n{}", difference(first, second));
                    Verdict::Fail
                }
                _ => verdict,
            };
            Settled { verdict, reason: None, message: Some(message) }
        }
    }
}

/// Where a defect is described, and how it is listed to show.
fn text_of(known: &Known) -> String {
    let texts: Vec<String> = known.matching.iter().map(|text| format!("{text:?}")).collect();
    format!("{} with {}", known.url, texts.join(" or "))
}

/// `known` with each defect once, though it may be listed with several texts.
fn distinct<'k>(known: &[&'k Known]) -> Vec<&'k Known> {
    let mut distinct: Vec<&Known> = Vec::new();
    for known in known {
        if !distinct.iter().any(|other| other.url == known.url) {
            distinct.push(known);
        }
    }
    distinct
}

fn failed(message: String) -> Settled {
    Settled { verdict: Verdict::Fail, reason: None, message: Some(message) }
}

/// Two tries differ when their verdicts do; texts hold addresses and times and are not compared.
fn differs(first: &Try, second: &Try) -> bool {
    first.verdict != second.verdict
}

/// How many of the cases that ran before are named in a message.
const SEQUENCE: usize = 40;

fn difference(first: &Try, second: &Try) -> String {
    let again = match second.headline() {
        "" => second.verdict.to_string(),
        text => format!("{}: {text}", second.verdict),
    };
    if first.ran_before.is_empty() {
        return [
            row("repeated", format!("in another fresh worker: {again}")),
            row("order", "nothing had run before in either worker: like a race, or memory that was never written"),
        ]
        .join("\n");
    }
    let shown = &first.ran_before[first.ran_before.len().saturating_sub(SEQUENCE)..];
    let before = match first.ran_before.len() - shown.len() {
        0 => String::new(),
        more => format!("\n({more} others, see the report)"),
    };
    let sequence =
        format!("depends on what ran before; the first worker had run, in this order:{before}\n{}", shown.join("\n"));
    [
        row("repeated", format!("alone in a fresh worker: {again}")),
        row("order", sequence.replace('\n', "\n              ")),
    ]
    .join("\n")
}

/// What is said of a case that had no verdict `within` its time, and of where it was then.
pub(crate) fn late(within: Duration, place: Option<&str>) -> String {
    let late = format!("no verdict after {} s; the worker was killed", within.as_secs_f64());
    place.map_or_else(|| late.clone(), |place| format!("{late}\n\n{}", row("hung", place)))
}

/// One fact of a failure under its label, in the columns that findings use.
pub(crate) fn row(label: &str, text: impl fmt::Display) -> String {
    format!("  {label:<9}   {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(verdict: Verdict, text: &str) -> Try {
        Try {
            verdict,
            text: text.into(),
            findings: vec![],
            on_the_way: false,
            duration_ms: 1.0,
            ran_before: vec!["a::first_runs".into()],
        }
    }

    fn known() -> Known {
        Known { on: "llvmpipe".into(), url: "https://example.org/7".into(), matching: vec!["row pitch".into()] }
    }

    #[test]
    fn findings_that_begin_alike_are_told_once() {
        let findings = ["fd 3 stays\n\n  calls  one", "a frame is lost", "fd 3 stays\n\n  calls  two", "fd 3 stays"];
        let text = together(&findings.map(str::to_owned));
        let more = "  more        2 findings more begin with the same words";
        assert_eq!(text, format!("fd 3 stays\n\n  calls  one\n{more}{NEXT_FINDING}a frame is lost"));
    }

    #[test]
    fn a_known_failure_is_known_and_not_repeated() {
        let first = tried(Verdict::Fail, "12 of 30 pixels differ: like a row pitch 4 B too large\n  first");
        assert!(!wants_repeat(&first, &[&known()]));
        let settled = settle(&first, None, &[&known()]);
        assert_eq!(settled.verdict, Verdict::Known);
        assert_eq!(settled.reason.as_deref(), Some("https://example.org/7"));
    }

    #[test]
    fn every_finding_of_a_known_failure_must_be_listed() {
        let text = format!("like a row pitch 4 B too large{NEXT_FINDING}the kernel warned");
        let findings = vec!["like a row pitch 4 B too large".to_owned(), "the kernel warned".to_owned()];
        let first = Try { findings, ..tried(Verdict::Fail, &text) };
        assert!(wants_repeat(&first, &[&known()]));
        let settled = settle(&first, Some(&first), &[&known()]);
        assert_eq!(settled.verdict, Verdict::Fail);
        let message = settled.message.unwrap();
        assert!(message.contains("not known   the kernel warned; listed is https://example.org/7"), "{message}");
        let warning = Known { matching: vec!["kernel warned".into()], url: "https://example.org/8".into(), ..known() };
        let settled = settle(&first, None, &[&known(), &known(), &warning]);
        assert_eq!(settled.verdict, Verdict::Known);
        assert_eq!(settled.reason.as_deref(), Some("https://example.org/7, https://example.org/8"));
    }

    #[test]
    fn a_listed_defect_that_no_finding_shows_any_more_is_red() {
        let first = tried(Verdict::Fail, "like a row pitch 4 B too large");
        let gone = Known {
            matching: vec!["kernel warned".into(), "oops".into()],
            url: "https://example.org/8".into(),
            ..known()
        };
        let settled = settle(&first, None, &[&known(), &gone]);
        assert_eq!(settled.verdict, Verdict::Fail);
        let message = settled.message.unwrap();
        let says = "no finding is as listed: https://example.org/8 with \"kernel warned\" or \"oops\"; remove";
        assert!(message.starts_with(says) && message.ends_with(&first.text), "{message}");
        // One of its texts is enough, and a worker that died showed what it could.
        let other = Known { matching: vec!["oops".into(), "row pitch".into()], ..gone.clone() };
        assert_eq!(settle(&first, None, &[&known(), &other]).verdict, Verdict::Known);
        let died = Try { verdict: Verdict::Crash, ..first };
        assert_eq!(settle(&died, None, &[&known(), &gone]).verdict, Verdict::Known);
    }

    #[test]
    fn a_text_may_go_on_in_a_later_line() {
        let finding =
            "12 of 30 pixels differ: the screen does not see it\n\n  shape       moved down, as by an\n     origin";
        assert!(shows(finding, "the screen does not see…as by an origin"));
        assert!(shows(finding, "pixels differ…see it"));
        assert!(!shows(finding, "the screen does not see…as by an offset"));
        assert!(!shows(finding, "as by an…the screen does not see"));
        assert!(!shows(finding, "as by an origin"), "the first part is one of the first line");
    }

    #[test]
    fn a_known_crash_is_known_when_its_text_matches() {
        let known = Known { matching: vec!["SIGSEGV".into()], ..known() };
        let first = tried(Verdict::Crash, "the worker was killed by SIGSEGV");
        assert_eq!(settle(&first, None, &[&known]).verdict, Verdict::Known);
    }

    #[test]
    fn a_known_case_that_passes_is_red() {
        let settled = settle(&tried(Verdict::Pass, ""), None, &[&known()]);
        assert_eq!(settled.verdict, Verdict::Fail);
        assert_eq!(
            settled.message.as_deref(),
            Some("passed, but is listed as known: https://example.org/7; remove .known(..)")
        );
    }

    #[test]
    fn a_known_case_that_fails_otherwise_is_red() {
        let first = tried(Verdict::Fail, "the fence never signalled");
        assert!(wants_repeat(&first, &[&known()]));
        let settled = settle(&first, Some(&first), &[&known()]);
        assert_eq!(settled.verdict, Verdict::Fail);
        assert!(
            settled.message.unwrap().contains("not known   the fence never signalled; listed is https://example.org/7")
        );
    }

    #[test]
    fn a_known_case_may_be_skipped() {
        assert_eq!(settle(&tried(Verdict::Skip, "needs gpu_b"), None, &[&known()]).verdict, Verdict::Skip);
    }

    #[test]
    fn a_failure_that_repeats_stays_as_it_was() {
        let first = tried(Verdict::Crash, "the worker was killed by SIGABRT");
        assert!(wants_repeat(&first, &[]));
        let settled = settle(&first, Some(&first), &[]);
        assert_eq!(settled.verdict, Verdict::Crash);
        assert_eq!(settled.message.as_deref(), Some("the worker was killed by SIGABRT"));
    }

    #[test]
    fn a_failure_that_does_not_repeat_names_the_sequence() {
        let first = tried(Verdict::Crash, "the worker was killed by SIGABRT");
        let settled = settle(&first, Some(&tried(Verdict::Pass, "")), &[]);
        assert_eq!(settled.verdict, Verdict::Fail);
        let message = settled.message.unwrap();
        assert!(message.starts_with("the worker was killed by SIGABRT"), "{message}");
        assert!(message.contains("alone in a fresh worker: pass"), "{message}");
        assert!(message.contains("depends on what ran before"), "{message}");
        assert!(message.contains("              a::first_runs"), "{message}");
    }

    #[test]
    fn a_failure_with_nothing_before_it_does_not_blame_the_order() {
        let first = Try { ran_before: vec![], ..tried(Verdict::Fail, "x") };
        let message = settle(&first, Some(&tried(Verdict::Pass, "")), &[]).message.unwrap();
        assert!(!message.contains("depends on what ran before"), "{message}");
        assert!(message.contains("another fresh worker: pass"), "{message}");
    }
}
