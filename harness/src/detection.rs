//! Which faults are seen, by whom, and do their messages name the culprit? The table of `handover faults`, as data.
//!
//! Pure: it judges what others ran. `faults.json` is this; the terminal's text and the part of the report's page are views.

use std::collections::{BTreeMap, BTreeSet};

use handover_faults::{Fault, Kind};
use serde::{Deserialize, Serialize};

use crate::matching::holds;
use crate::verdict::{self, Verdict};

mod claims;
mod killers;
mod readers;
mod stored;
mod text;

pub use claims::{Tally, claim};
pub use killers::Killers;
pub use readers::{note_missing, readers_of};
pub use stored::{stored, stored_in};
pub use text::{line, list, summary};

/// The version of the schema below. It grows by one when a field changes its meaning or goes; a new field keeps it.
pub const SCHEMA: u32 = 2;

/// The table's name in the directory of a report.
pub const FILE: &str = "faults.json";

/// Every fault that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// [`SCHEMA`].
    pub schema: u32,
    /// From the first worker to the last verdict, in ms.
    pub wall_ms: u64,
    /// Whether the run was stopped before everything was tried.
    pub interrupted: bool,
    /// How many came to which end.
    pub summary: BTreeMap<Ending, usize>,
    /// Which part of the cases ran under the controls; `None` if all did.
    pub share: Option<usize>,
    /// Cases that fail without any fault, and so can show nothing here.
    pub red_without: Vec<String>,
    /// Claims that no fault made fail, if everything was run under every fault; a claim is family and sentence of a case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unkilled: Option<Vec<String>>,
    /// Which claim is failed by what, as the cases say.
    pub killers: Killers,
    /// Of each claim of which a case ran under a fault, how many of its cases there are, and how many failed; if all faults were
    /// tried.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Tally>,
    /// What is not as it should be, and makes nothing red.
    pub warnings: Vec<String>,
    /// What makes the run red.
    pub problems: Vec<String>,
    /// One for each fault, in the order of their list.
    pub rows: Vec<Row>,
}

/// One fault and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The fault.
    #[serde(flatten)]
    pub fault: &'static Fault,
    /// What came of it.
    pub ending: Ending,
    /// How often it was done, all tries together.
    pub fired: u64,
    /// How many cases ran under it, in each try; this and what follows is of the try that came to the worst end.
    pub ran: usize,
    /// How many of these failed by it.
    pub failed: usize,
    /// How many passed though it was done while they ran: of a fault, those that do not see it.
    pub passed_by: usize,
    /// Who failed under it, or claims to and did not, or hung or was skipped for it.
    pub cases: Vec<Seen>,
    /// What was red under it and belongs to no case.
    pub beside: Vec<String>,
    /// How often it was tried, each time in a fresh kernel.
    pub tries: usize,
    /// In how many of these it was detected, or let pass, as it should.
    pub as_it_should: usize,
    /// All tries together, in ms; of a kernel that several share, its part.
    pub wall_ms: u64,
    /// Why it could not be tried.
    pub error: Option<String>,
}

/// What can come of a fault or a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A case failed, and its message names the culprit.
    Detected,
    /// A case failed, but no message names the culprit.
    Unnamed,
    /// It was done, and no case failed.
    Missed,
    /// It was never done.
    NotFired,
    /// Of a control: it was done, and no case failed.
    Quiet,
    /// Of a control: a case failed, hung, or was skipped that is not without it, or something that belongs to no case was red.
    Alarm,
    /// It could not be tried.
    Broken,
}

impl Ending {
    /// As it is written for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Detected => "detected",
            Ending::Unnamed => "unnamed",
            Ending::Missed => "missed",
            Ending::NotFired => "not fired",
            Ending::Quiet => "quiet",
            Ending::Alarm => "alarm",
            Ending::Broken => "broken",
        }
    }

    /// Whether this is as it should be.
    pub fn is_right(self) -> bool {
        matches!(self, Ending::Detected | Ending::Quiet)
    }
}

/// A case that failed under a fault, or should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The case.
    pub name: String,
    /// Whether it claims to see this fault.
    pub claims: bool,
    /// Whether it did: it failed or crashed, and does not without the fault.
    pub sees: bool,
    /// Whether its message names the culprit.
    pub names: bool,
    /// Whether it failed by what it claims, and not by a call on the way to that, or by something else that it looks at.
    #[serde(default)]
    pub own: bool,
    /// How often the fault was done while it ran.
    #[serde(default)]
    pub fired: u64,
    /// Whether a control made it hang.
    pub hangs: bool,
    /// Whether it was skipped and is not without, or fewer looked, for a reason that the control does not state: what it claims
    /// was not looked at, or not by all, and nobody would know.
    pub lost: bool,
    /// Its verdict under the fault.
    pub verdict: Verdict,
    /// Whether it came to that at a second try: it passed at first, or had no verdict in time.
    #[serde(default)]
    pub second: bool,
    /// The first line of its message.
    pub said: String,
    /// All of its message.
    pub message: String,
    /// How long it took, in ms.
    pub duration_ms: f64,
}

/// A case that was run under a fault.
#[derive(Clone, Debug)]
pub struct Run {
    /// The case.
    pub name: String,
    /// Whether it claims to see this fault.
    pub claims: bool,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its finding or the reason of its skip.
    pub message: String,
    /// Whether that is of what it claims.
    pub own: bool,
    /// How long it took, in ms.
    pub duration_ms: f64,
    /// How often the fault was done while it ran.
    pub fired: u64,
    /// How often it had been done by its end, since the trial began: what a device told once is what it told.
    pub fired_by_then: u64,
    /// Whether this is its second try: it passed at first, or had no verdict in time.
    pub second: bool,
    /// Whether it is red without the fault as well.
    pub red_without: bool,
    /// Whether it is skipped without the fault as well.
    pub skipped_without: bool,
    /// Who agreed that it is right.
    pub readers: BTreeSet<String>,
    /// Why others could not look.
    pub blind: Vec<String>,
    /// Who looks under all other controls, and does not under this one, which does not state why.
    pub missing: Option<String>,
}

/// One try of one fault.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// How often it was done.
    pub fired: u64,
    /// The cases that ran.
    pub runs: Vec<Run>,
    /// What made it red and belongs to no case: a kernel that objects between two of them, say.
    pub problems: Vec<String>,
    /// How long it took, in ms.
    pub wall_ms: u64,
    /// Why it could not be tried.
    pub error: Option<String>,
}

impl Run {
    /// Whether the fault made it fail.
    ///
    /// A known failure that stays as it was, a skip and a deadline are no detection; and neither is that a known failure does
    /// not come, which says only that the fault hides it; nor what failed before it was done at all.
    fn sees(&self, fault: &Fault) -> bool {
        matches!(self.verdict, Verdict::Fail | Verdict::Crash)
            && !self.red_without
            && (fault.kind == Kind::Control || self.fired_by_then > 0)
            && ![verdict::PASSED_THOUGH_KNOWN, verdict::NO_LONGER_KNOWN]
                .iter()
                .any(|text| self.message.starts_with(text))
    }

    /// Whether a control made it hang: what is legal must not.
    fn hangs(&self, fault: &Fault) -> bool {
        fault.kind == Kind::Control && self.verdict == Verdict::Timeout && !self.red_without
    }

    /// Whether a control made it look away, or have fewer look.
    fn is_lost(&self, fault: &Fault) -> bool {
        self.looks_away(fault) && !self.skipped_without || self.missing.is_some()
    }

    /// Whether it looks away under a control, and not for what that takes away.
    fn looks_away(&self, fault: &Fault) -> bool {
        fault.kind == Kind::Control
            && self.verdict == Verdict::Skip
            && !fault.skips.iter().any(|text| holds(&self.message, text))
    }

    /// Whether it would show something if it is not so without the fault.
    pub(crate) fn shows(&self, fault: &Fault) -> bool {
        self.verdict.is_red() || self.looks_away(fault)
    }

    fn seen(&self, fault: &Fault) -> Seen {
        Seen {
            name: self.name.clone(),
            claims: self.claims,
            sees: self.sees(fault),
            names: self.sees(fault) && fault.names.iter().any(|text| holds(&self.message, text)),
            own: self.sees(fault) && self.own,
            fired: self.fired,
            hangs: self.hangs(fault),
            lost: self.is_lost(fault),
            verdict: self.verdict,
            second: self.second,
            said: self.missing.as_deref().or_else(|| self.message.lines().next()).unwrap_or("").to_owned(),
            message: self.message.clone(),
            duration_ms: self.duration_ms,
        }
    }
}

impl Trial {
    /// What came of it.
    fn ending(&self, fault: &Fault) -> Ending {
        let seen: Vec<Seen> = self.runs.iter().map(|run| run.seen(fault)).collect();
        let sees = seen.iter().any(|seen| seen.sees);
        let alarms = seen.iter().any(|seen| seen.sees || seen.hangs || seen.lost) || !self.problems.is_empty();
        match fault.kind {
            _ if self.error.is_some() => Ending::Broken,
            Kind::Control if alarms => Ending::Alarm,
            Kind::Control if self.fired == 0 => Ending::NotFired,
            Kind::Control => Ending::Quiet,
            // Whatever failed then, it was not the fault.
            Kind::Fault if self.fired == 0 => Ending::NotFired,
            Kind::Fault if seen.iter().any(|seen| seen.names) => Ending::Detected,
            Kind::Fault if sees => Ending::Unnamed,
            Kind::Fault => Ending::Missed,
        }
    }
}

impl Row {
    /// What `trials` of `fault` come to: the worst of their ends.
    pub fn of(fault: &'static Fault, trials: &[Trial]) -> Row {
        let worst = trials.iter().max_by_key(|trial| {
            let ending = trial.ending(fault);
            (!ending.is_right(), ending)
        });
        let ending = worst.map_or(Ending::Broken, |trial| trial.ending(fault));
        let runs = || worst.iter().flat_map(|trial| &trial.runs);
        Row {
            fault,
            ending,
            fired: trials.iter().map(|trial| trial.fired).sum(),
            ran: worst.map_or(0, |trial| trial.runs.len()),
            failed: runs().filter(|run| run.sees(fault)).count(),
            passed_by: runs().filter(|run| run.fired > 0 && run.verdict == Verdict::Pass).count(),
            cases: runs()
                .map(|run| run.seen(fault))
                .filter(|seen| seen.sees || seen.claims || seen.hangs || seen.lost)
                .collect(),
            beside: worst.map_or_else(Vec::new, |trial| trial.problems.clone()),
            tries: trials.len(),
            as_it_should: trials.iter().filter(|trial| trial.ending(fault).is_right()).count(),
            wall_ms: trials.iter().map(|trial| trial.wall_ms).sum(),
            error: worst.and_then(|trial| trial.error.clone()),
        }
    }

    /// The cases that see it, those whose message names the culprit first.
    pub fn by(&self) -> Vec<&Seen> {
        let mut by: Vec<&Seen> = self.cases.iter().filter(|seen| seen.sees).collect();
        by.sort_by_key(|seen| (!seen.names, !seen.claims));
        by
    }

    /// What a control did that it must not.
    fn alarm(&self) -> String {
        let of = |is: fn(&Seen) -> bool| self.cases.iter().filter(move |seen| is(seen)).collect::<Vec<_>>();
        for (found, one, many) in [
            (self.by(), "fails a case", "fails cases"),
            (of(|seen| seen.hangs), "has a case hang", "has cases hang"),
            (
                of(|seen| seen.lost),
                "has a case skipped that is not without, or looked at by fewer",
                "has cases skipped that are not without, or looked at by fewer",
            ),
        ] {
            if let Some(first) = found.first() {
                let word = if found.len() == 1 { one.to_owned() } else { format!("{many} ({})", found.len()) };
                return format!("{word}: {}: {}", first.name, first.said);
            }
        }
        self.beside.join("; ")
    }

    /// What is not as it must be.
    fn problems(&self) -> Vec<String> {
        let Fault { name, gap, .. } = *self.fault;
        let mut problems = Vec::new();
        match (self.ending, gap) {
            (ending, Some(gap)) if ending.is_right() => {
                problems.push(format!("{name} is {}, but listed with a gap ({gap}); remove it", self.ending.as_str()));
            }
            (Ending::Missed | Ending::Unnamed | Ending::NotFired, Some(_)) => {}
            (ending, _) if ending.is_right() => {}
            (Ending::Broken, _) => {
                problems.push(format!("{name} could not be tried: {}", self.error.as_deref().unwrap_or("nothing ran")));
            }
            (Ending::Unnamed, None) => problems
                .push(format!("{name} is seen, but no message names the culprit: none has {:?}", self.fault.names)),
            (Ending::Alarm, _) => problems.push(format!("{name} is legal, but {}", self.alarm())),
            (ending, _) => problems.push(format!("{name} is {}", ending.as_str())),
        }
        // A fault that no case sees yet has no one who could keep a promise.
        for seen in self.cases.iter().filter(|seen| seen.claims && !seen.sees && self.fault.kind == Kind::Fault) {
            problems.push(format!("{} claims to see {name}, but ended with {}", seen.name, seen.verdict));
        }
        problems
    }
}

impl Table {
    /// The table of `rows`.
    pub fn of(rows: Vec<Row>, red_without: Vec<String>, wall_ms: u64, interrupted: bool) -> Table {
        let mut summary = BTreeMap::new();
        for row in &rows {
            *summary.entry(row.ending).or_default() += 1;
        }
        let red = red_without.iter().map(|name| format!("{name} fails without any fault"));
        let problems = red.chain(rows.iter().flat_map(Row::problems)).collect();
        Table {
            schema: SCHEMA,
            wall_ms,
            interrupted,
            summary,
            share: None,
            red_without,
            unkilled: None,
            killers: Killers::default(),
            claims: BTreeMap::new(),
            warnings: Vec::new(),
            problems,
            rows,
        }
    }

    /// Whether everything is as it must be.
    pub fn is_green(&self) -> bool {
        self.problems.is_empty() && !self.interrupted
    }
}

#[cfg(test)]
mod tests {
    use handover_faults::{Class, Oracle, Seam};

    use super::*;

    pub(super) static FAULT: Fault = Fault {
        name: "pitch-too-large",
        id: "P01",
        kind: Kind::Fault,
        seam: Seam::VulkanA,
        class: Class::Layout,
        what: "the pitch is told too large",
        trigger: "always",
        modelled_on: "something real",
        seen_by: &[Oracle::Pixels],
        names: &["row pitch…too large"],
        skips: &[],
        about: &[],
        shares: false,
        gap: None,
    };

    pub(super) static CONTROL: Fault =
        Fault { name: "passes-through", id: "", kind: Kind::Control, names: &[], seen_by: &[], ..FAULT };

    pub(super) fn run(verdict: Verdict, message: &str) -> Run {
        Run {
            name: "scanout::shows_what_was_drawn::gpu_a::XR24".into(),
            claims: true,
            verdict,
            message: message.into(),
            own: true,
            duration_ms: 7.0,
            fired: 1,
            fired_by_then: 1,
            second: false,
            red_without: false,
            skipped_without: false,
            readers: BTreeSet::new(),
            blind: Vec::new(),
            missing: None,
        }
    }

    fn ended(fault: &'static Fault, fired: u64, run: Run) -> Ending {
        Row::of(fault, &[Trial { fired, runs: vec![run], wall_ms: 900, ..Trial::default() }]).ending
    }

    #[test]
    fn a_fault_is_detected_by_a_failure_that_names_the_culprit() {
        let named = "12 of 30 pixels differ\n\n  shape       like a row pitch 64 B\n              too large";
        assert_eq!(ended(&FAULT, 1, run(Verdict::Fail, named)), Ending::Detected);
        assert_eq!(ended(&FAULT, 1, run(Verdict::Crash, "the worker was killed by SIGSEGV")), Ending::Unnamed);
        for (verdict, message) in [
            (Verdict::Pass, ""),
            (Verdict::Known, "as ever"),
            (Verdict::Skip, "needs gpu_a; its row pitch is too large"),
            (Verdict::Timeout, "no verdict after 10 s"),
            (Verdict::Fail, "passed, but is listed as known: x.md; remove .known(..)"),
            (Verdict::Fail, "no finding is as listed: x.md with \"row pitch\"; remove that from .known(..)"),
        ] {
            assert_eq!(ended(&FAULT, 1, run(verdict, message)), Ending::Missed, "{verdict}");
            assert_eq!(ended(&FAULT, 0, run(verdict, message)), Ending::NotFired, "{verdict}");
        }
        assert_eq!(ended(&FAULT, 1, Run { red_without: true, ..run(Verdict::Fail, named) }), Ending::Missed);
        assert_eq!(
            ended(&FAULT, 1, Run { fired_by_then: 0, ..run(Verdict::Fail, named) }),
            Ending::Missed,
            "not yet done"
        );
    }

    #[test]
    fn a_control_that_fails_a_case_is_an_alarm() {
        assert_eq!(ended(&CONTROL, 1, run(Verdict::Fail, "x")), Ending::Alarm);
        assert_eq!(ended(&CONTROL, 0, run(Verdict::Pass, "")), Ending::NotFired);
    }

    #[test]
    fn a_control_that_has_a_case_skipped_is_an_alarm_unless_it_says_so() {
        static DECLARED: Fault = Fault { skips: &["a pitch of…B"], ..CONTROL };
        let skipped = || run(Verdict::Skip, "the screen takes no frame with a pitch of 1000 B");
        assert_eq!(ended(&CONTROL, 1, skipped()), Ending::Alarm);
        assert_eq!(ended(&DECLARED, 1, skipped()), Ending::Quiet);
        assert_eq!(ended(&DECLARED, 1, run(Verdict::Skip, "there is no screen")), Ending::Alarm);
        assert_eq!(ended(&CONTROL, 1, Run { skipped_without: true, ..skipped() }), Ending::Quiet);
        let row = Row::of(&CONTROL, &[Trial { fired: 1, runs: vec![skipped()], ..Trial::default() }]);
        let problems = Table::of(vec![row], vec![], 1, false).problems;
        let first = "passes-through is legal, but has a case skipped that is not without, or looked at by fewer: scanout::shows";
        assert!(problems[0].starts_with(first), "{problems:?}");
    }

    #[test]
    fn a_control_that_has_a_case_hang_is_an_alarm_that_names_it() {
        let hung = || run(Verdict::Timeout, "no verdict after 10 s");
        let row = Row::of(&CONTROL, &[Trial { fired: 1, runs: vec![hung()], ..Trial::default() }]);
        let problems = Table::of(vec![row], vec![], 1, false).problems;
        let first = "passes-through is legal, but has a case hang: scanout::shows";
        assert!(problems[0].starts_with(first), "{problems:?}");
        assert_eq!(ended(&CONTROL, 1, Run { red_without: true, ..hung() }), Ending::Quiet);
    }

    #[test]
    fn what_is_red_beside_the_cases_is_an_alarm_of_a_control() {
        let trial =
            || Trial { fired: 1, problems: vec!["the kernel objects between cases".into()], ..Trial::default() };
        let row = Row::of(&CONTROL, &[trial()]);
        let problems = Table::of(vec![row], vec![], 1, false).problems;
        assert_eq!(problems, ["passes-through is legal, but the kernel objects between cases"]);
        assert_eq!(Row::of(&FAULT, &[trial()]).ending, Ending::Missed);
    }

    #[test]
    fn who_passes_while_the_fault_is_done_is_counted() {
        let runs = vec![
            run(Verdict::Fail, "row pitch too large"),
            run(Verdict::Pass, ""),
            Run { fired: 0, ..run(Verdict::Pass, "") },
        ];
        let row = Row::of(&FAULT, &[Trial { fired: 2, runs, ..Trial::default() }]);
        assert_eq!((row.ran, row.failed, row.passed_by), (3, 1, 1));
    }

    #[test]
    fn the_worst_of_several_tries_counts() {
        let detected = Trial { fired: 1, runs: vec![run(Verdict::Fail, "row pitch too large")], ..Trial::default() };
        let missed = Trial { fired: 1, runs: vec![run(Verdict::Pass, "")], ..Trial::default() };
        let row = Row::of(&FAULT, &[detected.clone(), missed, detected]);
        assert_eq!((row.ending, row.tries, row.as_it_should, row.fired), (Ending::Missed, 3, 2, 3));
        let table = Table::of(vec![row], vec![], 1, false);
        assert_eq!(table.problems.len(), 2, "{:?}", table.problems);
        assert!(!table.is_green());
    }

    #[test]
    fn a_gap_is_no_problem_until_it_is_closed() {
        static GAP: Fault = Fault { gap: Some("nobody looks"), ..FAULT };
        let unclaimed = Run { claims: false, ..run(Verdict::Pass, "") };
        let trial = Trial { fired: 1, runs: vec![unclaimed], ..Trial::default() };
        assert!(Table::of(vec![Row::of(&GAP, &[trial])], vec![], 1, false).is_green());
        let trial = Trial { fired: 1, runs: vec![run(Verdict::Fail, "row pitch too large")], ..Trial::default() };
        assert!(!Table::of(vec![Row::of(&GAP, &[trial])], vec![], 1, false).is_green());
    }
}
