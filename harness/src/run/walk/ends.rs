//! How workers ended that had walked cases: closing its devices a worker may crash or hang, or something may be objected to, for
//! what any of these cases left.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Kind;
use crate::lane::WalkKnown;
use crate::run::link::Closing;

/// How all of them ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ends {
    /// What is wrong.
    pub findings: Vec<BadEnd>,
    /// How many times something went wrong that is known, by where it is described.
    pub known: BTreeMap<String, u32>,
}

/// A worker that did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadEnd {
    /// What is wrong, as a sentence.
    pub what: String,
    /// What was said.
    pub said: String,
    /// What it had walked since it was started, each by what, the last one last.
    pub walked: Vec<String>,
}

/// What a worker has walked.
#[derive(Debug, Default)]
pub(super) struct Walks(Vec<(String, Kind)>);

impl Walks {
    /// It now walks the case `name` by `kind`, and did so before or not.
    pub(super) fn goes_on(&mut self, name: &str, kind: Kind) {
        if self.0.last().is_none_or(|(last, by)| (last.as_str(), *by) != (name, kind)) {
            self.0.push((name.to_owned(), kind));
        }
    }
}

impl Ends {
    /// Notes how a worker ended that had walked `walks`; what is `known` is counted apart.
    pub(super) fn note(&mut self, walks: &Walks, closing: Closing, known: &[WalkKnown]) {
        let Closing { badly, objections } = closing;
        let badly = badly.map(|how| ("its worker does not end well", format!("the worker {how}")));
        let objected = objections.into_iter().map(|said| ("something is objected to when it closes its devices", said));
        for (what, said) in badly.into_iter().chain(objected) {
            match known.iter().find(|known| known.shows(&format!("{what} (no call)\n{said}"))) {
                Some(known) => *self.known.entry(known.finding.clone()).or_default() += 1,
                None => {
                    let walked = walks.0.iter().map(|(name, kind)| format!("{name} by {}", kind.name())).collect();
                    self.findings.push(BadEnd { what: what.to_owned(), said, walked });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_end_is_told_with_all_that_the_worker_had_walked() {
        let mut walks = Walks::default();
        for (name, kind) in [("a::b", Kind::Busy), ("a::b", Kind::Busy), ("a::b", Kind::Peer), ("c::d", Kind::Peer)] {
            walks.goes_on(name, kind);
        }
        let known =
            WalkKnown { matching: "a lock that is held".to_owned(), finding: "cases/findings/lock.md".to_owned() };
        let objections = vec!["a lock that is held".to_owned(), "memory that is not freed".to_owned()];
        let closing = Closing { badly: Some("was killed by SIGSEGV".to_owned()), objections };
        let mut ends = Ends::default();
        ends.note(&walks, closing, &[known]);
        assert_eq!(ends.known, BTreeMap::from([("cases/findings/lock.md".to_owned(), 1)]));
        let said: Vec<&str> = ends.findings.iter().map(|end| end.said.as_str()).collect();
        assert_eq!(said, ["the worker was killed by SIGSEGV", "memory that is not freed"]);
        assert!(ends.findings.iter().all(|end| end.walked == ["a::b by EBUSY", "a::b by peer", "c::d by peer"]));
    }
}
