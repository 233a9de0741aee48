//! Which claim is failed by what: a fault, a defect that is there, or nothing, with the reason. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::claim;
use crate::case::CaseInfo;

/// So many claims may state why no fault fails them.
const MOST_WITHOUT: usize = 2;

/// A reason has more letters than that.
const FEWEST_LETTERS: usize = 20;

/// All claims, by what fails them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killers {
    /// How many claims there are; a claim is family and sentence of a case.
    pub claims: usize,
    /// How many have a case that claims to see a fault.
    pub by_fault: usize,
    /// Others that have a case which fails already, by a defect that is listed.
    pub by_defect: Vec<String>,
    /// Others that state why no fault fails them, with the reason.
    pub by_none: BTreeMap<String, String>,
    /// Others, which say nothing.
    pub unsaid: Vec<String>,
    /// Claims that state why no fault fails them, though one does, or a defect that is listed.
    pub contradictory: Vec<String>,
}

impl Killers {
    /// Those of `cases`.
    pub fn of<'c>(cases: impl IntoIterator<Item = &'c CaseInfo>) -> Killers {
        let mut claims: BTreeMap<&str, Vec<&CaseInfo>> = BTreeMap::new();
        for case in cases {
            claims.entry(claim(&case.name)).or_default().push(case);
        }
        let mut killers = Killers { claims: claims.len(), ..Killers::default() };
        for (claim, cases) in claims {
            let by_fault = cases.iter().any(|case| !case.must_fail_under.is_empty());
            let by_defect = cases.iter().any(|case| !case.known.is_empty());
            let because = cases.iter().find_map(|case| case.no_fault.clone());
            let claim = claim.to_owned();
            killers.by_fault += usize::from(by_fault);
            match because {
                Some(_) if by_fault || by_defect => killers.contradictory.push(claim),
                Some(because) => _ = killers.by_none.insert(claim, because),
                None if by_fault => {}
                None if by_defect => killers.by_defect.push(claim),
                None => killers.unsaid.push(claim),
            }
        }
        killers
    }

    /// What is wrong with that: claims that nothing fells and that say nothing of it, or that give no good reason.
    pub fn problems(&self) -> Vec<String> {
        let unsaid = self.unsaid.iter().map(|claim| {
            format!("{claim} has no fault that fails it and no listed defect that does, and does not say why none can")
        });
        let contradictory = self.contradictory.iter();
        let contradictory = contradictory
            .map(|claim| format!("{claim} says that no fault fails it, and has one, or a listed defect, that does"));
        let short = self.by_none.iter().filter(|(_, because)| because.trim().len() <= FEWEST_LETTERS);
        let short = short.map(|(claim, because)| format!("{claim} gives no reason why no fault fails it: {because:?}"));
        let many = (self.by_none.len() > MOST_WITHOUT).then(|| {
            format!("{} claims say why no fault fails them; {MOST_WITHOUT} at most would be few", self.by_none.len())
        });
        unsaid.chain(contradictory).chain(short).chain(many).collect()
    }

    /// Those of `cases` that are listed with a defect, of claims that have nothing else to fail them.
    pub fn felled_by_defect<'c>(&self, cases: &[&'c CaseInfo]) -> Vec<&'c CaseInfo> {
        let is_such = |name: &str| self.by_defect.iter().any(|other| other == claim(name));
        cases.iter().filter(|case| !case.known.is_empty() && is_such(&case.name)).copied().collect()
    }

    /// What is wrong if, of the cases that ran, `failed` failed as they are listed: a claim has none of them, and what fails it is
    /// nowhere to be seen.
    pub fn unfelled(&self, failed: &BTreeSet<String>) -> Vec<String> {
        let felled: BTreeSet<&str> = failed.iter().map(|name| claim(name)).collect();
        let left = self.by_defect.iter().filter(|claim| !felled.contains(claim.as_str()));
        left.map(|claim| format!("{claim} has only a listed defect to fail it, and none of its cases failed by one"))
            .collect()
    }

    /// Whether a claim is felled by a defect that is listed, or says something else than a fault, or nothing: whatever the faults
    /// do, there is no more to be said of it.
    pub fn expects_no_fault(&self, claim: &str) -> bool {
        let of = |claims: &[String]| claims.iter().any(|other| other == claim);
        of(&self.by_defect) || self.by_none.contains_key(claim) || of(&self.unsaid) || of(&self.contradictory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Cases;

    #[test]
    fn each_claim_is_counted_once_and_says_what_fails_it() {
        let cases = Cases::<()>::collect(|cases| {
            cases.add("a::is_killed::one", |_| Ok(()));
            cases.add("a::is_killed::two", |_| Ok(())).must_fail_under("x").known("d", "u", "m");
            cases.add("a::fails_already", |_| Ok(())).known("d", "u", "m");
            cases.add("a::is_pure::one", |_| Ok(())).no_fault("it asks nobody");
            cases.add("a::is_pure::two", |_| Ok(()));
            cases.add("a::is_both", |_| Ok(())).no_fault("nothing").must_fail_under("x");
            cases.add("a::is_forgotten", |_| Ok(()));
        })
        .unwrap();
        let killers = Killers::of(cases.iter().map(|case| &case.info));
        assert_eq!((killers.claims, killers.by_fault), (5, 2));
        assert_eq!(killers.by_defect, ["a::fails_already"]);
        let infos: Vec<&CaseInfo> = cases.iter().map(|case| &case.info).collect();
        let felled: Vec<&str> = killers.felled_by_defect(&infos).iter().map(|case| case.name.as_str()).collect();
        assert_eq!(felled, ["a::fails_already"]);
        let unfelled = |failed: &[&str]| killers.unfelled(&failed.iter().map(|name| (*name).to_owned()).collect());
        assert!(unfelled(&["a::is_killed::two", "a::fails_already"]).is_empty());
        assert_eq!(unfelled(&["a::is_killed::two"]).len(), 1);
        assert_eq!(killers.by_none["a::is_pure"], "it asks nobody");
        assert_eq!(
            (&killers.unsaid[..], &killers.contradictory[..]),
            (&["a::is_forgotten".to_owned()][..], &["a::is_both".to_owned()][..])
        );
        let problems = killers.problems().join("\n");
        assert!(
            ["a::is_forgotten has no", "a::is_both says", "a::is_pure gives no"].iter().all(|of| problems.contains(of))
        );
        assert_eq!(killers.problems().len(), 3, "{problems}");
        assert!(!killers.expects_no_fault("a::is_killed") && killers.expects_no_fault("a::fails_already"));
    }

    #[test]
    fn few_claims_may_say_that_no_fault_fails_them() {
        let because = |n: usize| {
            let cases = Cases::<()>::collect(|cases| {
                (0..n).for_each(|n| {
                    _ = cases.add(format!("a::asks_nobody_{n}"), |_| Ok(())).no_fault("it reads its own tables")
                });
            });
            Killers::of(cases.unwrap().iter().map(|case| &case.info)).problems().len()
        };
        assert_eq!((because(MOST_WITHOUT), because(MOST_WITHOUT + 1)), (0, 1));
    }
}
