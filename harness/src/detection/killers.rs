//! Which claim is failed by what: a fault, a defect that is there, or nothing. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::claim;
use crate::case::CaseInfo;

/// All claims, by what fails them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killers {
    /// How many claims there are; a claim is family and sentence of a case.
    pub claims: usize,
    /// How many have a case that claims to see a fault.
    pub by_fault: usize,
    /// Others that have a case which fails already, by a defect that is listed.
    pub by_defect: Vec<String>,
    /// Others, which say of nothing that it fails them.
    pub by_nothing: Vec<String>,
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
            let claim = claim.to_owned();
            killers.by_fault += usize::from(by_fault);
            match (by_fault, by_defect) {
                (true, _) => {}
                (false, true) => killers.by_defect.push(claim),
                (false, false) => killers.by_nothing.push(claim),
            }
        }
        killers
    }

    /// What is wrong with that: claims that nothing fells.
    pub fn problems(&self) -> Vec<String> {
        let says = |claim: &String| format!("{claim} has no fault that fails it, and no listed defect that does");
        self.by_nothing.iter().map(says).collect()
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

    /// Whether a claim is felled by a defect that is listed, or says of none: whatever the faults do, there is no more
    /// to be said of it.
    pub fn expects_no_fault(&self, claim: &str) -> bool {
        [&self.by_defect, &self.by_nothing].into_iter().flatten().any(|other| other == claim)
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
            cases.add("a::is_forgotten", |_| Ok(()));
        })
        .unwrap();
        let killers = Killers::of(cases.iter().map(|case| &case.info));
        assert_eq!((killers.claims, killers.by_fault), (3, 1));
        assert_eq!(killers.by_defect, ["a::fails_already"]);
        let infos: Vec<&CaseInfo> = cases.iter().map(|case| &case.info).collect();
        let felled: Vec<&str> = killers.felled_by_defect(&infos).iter().map(|case| case.name.as_str()).collect();
        assert_eq!(felled, ["a::fails_already"]);
        let unfelled = |failed: &[&str]| killers.unfelled(&failed.iter().map(|name| (*name).to_owned()).collect());
        assert!(unfelled(&["a::is_killed::two", "a::fails_already"]).is_empty());
        assert_eq!(unfelled(&["a::is_killed::two"]).len(), 1);
        assert_eq!(killers.by_nothing, ["a::is_forgotten"]);
        let problems = killers.problems();
        assert!(problems.len() == 1 && problems[0].starts_with("a::is_forgotten has no fault"), "{problems:?}");
        assert!(!killers.expects_no_fault("a::is_killed") && killers.expects_no_fault("a::fails_already"));
    }
}
