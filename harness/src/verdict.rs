//! Which verdict does a case get, given how its tries ended and whether its failure is known?
//!
//! Pure: it runs nothing. What a worker says is turned into a [`Try`] by the supervisor.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::case::Known;

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
    /// How long the try took, in ms.
    pub duration_ms: f64,
    /// The cases that the same worker had run before, oldest first; a report has them for failures only.
    pub ran_before: Vec<String>,
}

impl Try {
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
pub fn wants_repeat(first: &Try, known: Option<&Known>) -> bool {
    first.verdict.is_red() && !is_known(first, known)
}

fn is_known(this: &Try, known: Option<&Known>) -> bool {
    // Only the first finding's first line: a second finding, or another reader that disagrees first, is news.
    known.is_some_and(|known| {
        this.verdict.is_red() && this.headline().contains(&known.matching) && !this.text.contains(NEXT_FINDING)
    })
}

/// What stands between two findings of one try.
pub const NEXT_FINDING: &str = "\n\nand another finding: ";

/// The verdict on a case that was tried once, or twice when the first try [`wants_repeat`].
pub fn settle(first: &Try, second: Option<&Try>, known: Option<&Known>) -> Settled {
    if is_known(first, known) {
        return Settled {
            verdict: Verdict::Known,
            reason: known.map(|known| known.url.clone()),
            message: Some(first.text.clone()),
        };
    }
    match (first.verdict, known) {
        (Verdict::Pass, Some(known)) => {
            failed(format!("passed, but is listed as known: {}; remove .known(..)", known.url))
        }
        (Verdict::Pass, None) => Settled { verdict: Verdict::Pass, reason: None, message: None },
        (Verdict::Skip, _) => Settled { verdict: Verdict::Skip, reason: Some(first.text.clone()), message: None },
        (verdict, _) => {
            let mut message = first.text.clone();
            if let Some(known) = known {
                let other = format!(
                    "{} is listed with a message that contains {:?}; this one does not",
                    known.url, known.matching
                );
                message += &format!("\n\n{}", row("not known", other));
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

/// One fact of a failure under its label, in the columns that findings use.
pub(crate) fn row(label: &str, text: impl fmt::Display) -> String {
    format!("  {label:<9}   {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(verdict: Verdict, text: &str) -> Try {
        Try { verdict, text: text.into(), duration_ms: 1.0, ran_before: vec!["a::first_runs".into()] }
    }

    fn known() -> Known {
        Known { on: "llvmpipe".into(), url: "https://example.org/7".into(), matching: "row pitch".into() }
    }

    #[test]
    fn a_known_failure_is_known_and_not_repeated() {
        let first = tried(Verdict::Fail, "12 of 30 pixels differ: like a row pitch 4 B too large\n  first");
        assert!(!wants_repeat(&first, Some(&known())));
        let settled = settle(&first, None, Some(&known()));
        assert_eq!(settled.verdict, Verdict::Known);
        assert_eq!(settled.reason.as_deref(), Some("https://example.org/7"));
        let more = tried(Verdict::Fail, &format!("like a row pitch 4 B too large{NEXT_FINDING}the kernel warned"));
        assert_eq!(settle(&more, Some(&more), Some(&known())).verdict, Verdict::Fail);
    }

    #[test]
    fn a_known_crash_is_known_when_its_text_matches() {
        let known = Known { matching: "SIGSEGV".into(), ..known() };
        let first = tried(Verdict::Crash, "the worker was killed by SIGSEGV");
        assert_eq!(settle(&first, None, Some(&known)).verdict, Verdict::Known);
    }

    #[test]
    fn a_known_case_that_passes_is_red() {
        let settled = settle(&tried(Verdict::Pass, ""), None, Some(&known()));
        assert_eq!(settled.verdict, Verdict::Fail);
        assert_eq!(
            settled.message.as_deref(),
            Some("passed, but is listed as known: https://example.org/7; remove .known(..)")
        );
    }

    #[test]
    fn a_known_case_that_fails_otherwise_is_red() {
        let first = tried(Verdict::Fail, "the fence never signalled");
        assert!(wants_repeat(&first, Some(&known())));
        let settled = settle(&first, Some(&first), Some(&known()));
        assert_eq!(settled.verdict, Verdict::Fail);
        assert!(settled.message.unwrap().contains("not known   https://example.org/7"));
    }

    #[test]
    fn a_known_case_may_be_skipped() {
        assert_eq!(settle(&tried(Verdict::Skip, "needs gpu_b"), None, Some(&known())).verdict, Verdict::Skip);
    }

    #[test]
    fn a_failure_that_repeats_stays_as_it_was() {
        let first = tried(Verdict::Crash, "the worker was killed by SIGABRT");
        assert!(wants_repeat(&first, None));
        let settled = settle(&first, Some(&first), None);
        assert_eq!(settled.verdict, Verdict::Crash);
        assert_eq!(settled.message.as_deref(), Some("the worker was killed by SIGABRT"));
    }

    #[test]
    fn a_failure_that_does_not_repeat_names_the_sequence() {
        let first = tried(Verdict::Crash, "the worker was killed by SIGABRT");
        let settled = settle(&first, Some(&tried(Verdict::Pass, "")), None);
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
        let message = settle(&first, Some(&tried(Verdict::Pass, "")), None).message.unwrap();
        assert!(!message.contains("depends on what ran before"), "{message}");
        assert!(message.contains("another fresh worker: pass"), "{message}");
    }
}
