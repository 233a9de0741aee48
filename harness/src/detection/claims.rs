//! Which claims fail under some fault, by what they claim, and with how many of their cases? Pure.

use std::collections::{BTreeMap, BTreeSet};

use handover_faults::Kind;
use serde::{Deserialize, Serialize};

use super::{Row, Seen, Table};

/// What a case claims: its family and its sentence, without parameters.
pub fn claim(name: &str) -> &str {
    let end = name.match_indices("::").nth(1).map_or(name.len(), |(at, _)| at);
    &name[..end]
}

/// How many cases of a claim some fault failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Its cases.
    pub cases: usize,
    /// Those that claim to see a fault, and ran under it.
    pub claiming: usize,
    /// Those that failed under one, whether they claim to or not.
    pub failed: usize,
    /// Those of them that failed by what they claim.
    pub own: usize,
}

impl Table {
    /// The claims among `names` that no case saw a fault for.
    pub fn unkilled<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
        let killed = self.rows.iter().filter(|row| row.fault.kind == Kind::Fault);
        let killed: Vec<&str> = killed.flat_map(Row::by).map(|seen| claim(&seen.name)).collect();
        let mut left: Vec<String> = Vec::new();
        for name in names {
            let claim = claim(name);
            if !killed.contains(&claim) && !left.iter().any(|other| other == claim) {
                left.push(claim.to_owned());
            }
        }
        left
    }
}

/// Of a table of every fault.
impl Table {
    /// What is wrong with the claims of the cases `names`: that nothing is said to fell them, or that nothing did.
    pub fn without_killers<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
        let left = self.unkilled(names).into_iter().filter(|claim| !self.killers.expects_no_fault(claim));
        let left = left.map(|claim| format!("{claim} failed under no fault, and fails by no listed defect"));
        self.killers.problems().into_iter().chain(left).collect()
    }

    /// Claims that say which fault fails them, and of which no case failed with a message that names the culprit: something
    /// failed, and nobody knows whether it was what is claimed.
    pub fn unnamed(&self) -> Vec<String> {
        let claiming = |seen: &&Seen| seen.claims;
        let of_faults = || self.rows.iter().filter(|row| row.fault.kind == Kind::Fault && row.fault.gap.is_none());
        let claims: BTreeSet<&str> =
            of_faults().flat_map(|row| &row.cases).filter(claiming).map(|seen| claim(&seen.name)).collect();
        let named: BTreeSet<&str> =
            of_faults().flat_map(|row| &row.cases).filter(|seen| seen.names).map(|seen| claim(&seen.name)).collect();
        claims.difference(&named).map(|claim| (*claim).to_owned()).collect()
    }

    /// Claims that say which fault fails them, and of which cases failed, but none by what it claims.
    pub fn beside_the_point(&self) -> Vec<String> {
        let of = |is: fn(&&Seen) -> bool| -> BTreeSet<&str> {
            let of_faults = self.rows.iter().filter(|row| row.fault.kind == Kind::Fault);
            of_faults.flat_map(|row| &row.cases).filter(is).map(|seen| claim(&seen.name)).collect()
        };
        let own = of(|seen| seen.own);
        of(|seen| seen.claims && seen.sees).difference(&own).map(|claim| (*claim).to_owned()).collect()
    }

    /// Of each claim among the cases `names` how many of its cases some fault failed.
    pub fn tally<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> BTreeMap<String, Tally> {
        let of_faults = || self.rows.iter().filter(|row| row.fault.kind == Kind::Fault).flat_map(|row| &row.cases);
        let cases = |is: fn(&&Seen) -> bool| -> BTreeSet<&str> {
            of_faults().filter(is).map(|seen| seen.name.as_str()).collect()
        };
        let (claiming, failed, own) = (cases(|seen| seen.claims), cases(|seen| seen.sees), cases(|seen| seen.own));
        let mut claims: BTreeMap<String, Tally> = BTreeMap::new();
        for name in names {
            let tally = claims.entry(claim(name).to_owned()).or_default();
            tally.cases += 1;
            tally.claiming += usize::from(claiming.contains(name));
            tally.failed += usize::from(failed.contains(name));
            tally.own += usize::from(own.contains(name));
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FAULT, run};
    use super::super::{Killers, Run, Trial};
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn a_claim_counts_as_failed_if_a_message_of_one_of_its_cases_names_the_culprit() {
        let other =
            |message: &str| Run { name: "scanout::honours_the_offset::XR24".into(), ..run(Verdict::Fail, message) };
        let trial = |runs: Vec<Run>| [Trial { fired: 1, runs, ..Trial::default() }];
        let named = || run(Verdict::Fail, "row pitch too large");
        let rows = vec![
            Row::of(&FAULT, &trial(vec![named(), other("something is wrong")])),
            Row::of(&FAULT, &trial(vec![run(Verdict::Fail, "something is wrong")])),
        ];
        assert_eq!(Table::of(rows, vec![], 1, false).unnamed(), ["scanout::honours_the_offset"]);
        let rows = vec![Row::of(&FAULT, &trial(vec![named(), other("row pitch too large")]))];
        assert!(Table::of(rows, vec![], 1, false).unnamed().is_empty());
    }

    #[test]
    fn a_claim_that_never_fails_by_itself_is_named() {
        let trial = |own| {
            [Trial {
                fired: 1,
                runs: vec![Run { own, ..run(Verdict::Fail, "row pitch too large") }],
                ..Trial::default()
            }]
        };
        let aside = |rows: Vec<Row>| Table::of(rows, vec![], 1, false).beside_the_point();
        let (by_itself, by_others) = (Row::of(&FAULT, &trial(true)), Row::of(&FAULT, &trial(false)));
        assert_eq!(aside(vec![by_others.clone()]), ["scanout::shows_what_was_drawn"]);
        assert!(aside(vec![by_others, by_itself]).is_empty());
    }

    #[test]
    fn claims_without_a_killer_are_named_once() {
        let trial = Trial { fired: 1, runs: vec![run(Verdict::Fail, "row pitch too large")], ..Trial::default() };
        let table = Table::of(vec![Row::of(&FAULT, &[trial])], vec![], 1, false);
        let names = [
            "scanout::shows_what_was_drawn::gpu_b::XR24",
            "pool::shrinks_when_idle",
            "yuv::grey_is_grey::a",
            "yuv::grey_is_grey::b",
        ];
        assert_eq!(table.unkilled(names), ["pool::shrinks_when_idle", "yuv::grey_is_grey"]);
    }

    #[test]
    fn a_claim_that_nothing_fells_is_a_problem() {
        let trial = Trial { fired: 1, runs: vec![run(Verdict::Fail, "row pitch too large")], ..Trial::default() };
        let mut table = Table::of(vec![Row::of(&FAULT, &[trial])], vec![], 1, false);
        table.killers = Killers {
            by_defect: vec!["pool::shrinks_when_idle".into()],
            by_nothing: vec!["a::is_forgotten".into()],
            ..Killers::default()
        };
        let names = |others: &[&'static str]| {
            let named = ["scanout::shows_what_was_drawn::gpu_b::XR24", "pool::shrinks_when_idle::a"];
            [&named[..], others].concat()
        };
        assert_eq!(table.without_killers(names(&[])).len(), 1);
        table.killers.by_nothing.clear();
        assert!(table.without_killers(names(&[])).is_empty());
        let survives = table.without_killers(names(&["yuv::grey_is_grey::a", "yuv::grey_is_grey::b"]));
        assert_eq!(survives, ["yuv::grey_is_grey failed under no fault, and fails by no listed defect"]);
    }

    #[test]
    fn each_case_that_a_fault_failed_is_counted_once() {
        let runs = vec![
            run(Verdict::Fail, "row pitch too large"),
            Run { own: false, name: "a::b_works::x".into(), ..run(Verdict::Fail, "other") },
        ];
        let row = Row::of(&FAULT, &[Trial { fired: 1, runs, ..Trial::default() }]);
        let table = Table::of(vec![row.clone(), row], vec![], 1, false);
        let tally = table.tally(["scanout::shows_what_was_drawn::gpu_a::XR24", "a::b_works::x", "a::b_works::y"]);
        assert_eq!(tally["scanout::shows_what_was_drawn"], Tally { cases: 1, claiming: 1, failed: 1, own: 1 });
        assert_eq!(tally["a::b_works"], Tally { cases: 2, claiming: 1, failed: 1, own: 0 });
    }
}
