//! Whom does a control keep from looking? A case that passes with fewer readers than under any other control was looked at less
//! hard, and its verdict does not say so. That there is less to look at is no loss: a card may list other formats.

use std::collections::{BTreeMap, BTreeSet};

use handover_faults::{Fault, Kind};

use super::{Run, Trial};
use crate::matching::holds;
use crate::verdict::Verdict;

/// Who agreed in a case, by the fact that lists them; a number of those that have no room there is no reader.
pub fn readers_of(agree: &str) -> BTreeSet<String> {
    let listed =
        agree.rsplit_once(" and ").filter(|(_, rest)| rest.ends_with(" more")).map_or(agree, |(names, _)| names);
    listed.split(", ").map(str::to_owned).collect()
}

/// Notes in each run of a control in which fewer looked than under every other one that the case passed under, who it is that did
/// so there alone: if somebody could not look for a reason that there is under no other, and that the control does not state.
///
/// Controls that share a kernel have the same runs, and so are one.
pub fn note_missing(tried: &mut [(&Fault, &mut Vec<Trial>)]) {
    let one_of = |fault: &Fault| if fault.shares { format!("{:?}", fault.seam) } else { fault.name.to_owned() };
    let passed = |run: &&Run| run.verdict == Verdict::Pass;
    let mut by_case: BTreeMap<String, BTreeMap<String, Vec<Looked>>> = BTreeMap::new();
    for (fault, trials) in tried.iter().filter(|(fault, _)| fault.kind == Kind::Control) {
        for run in trials.iter().flat_map(|trial| &trial.runs).filter(passed) {
            let looked = Looked { readers: run.readers.clone(), blind: run.blind.clone() };
            by_case.entry(run.name.clone()).or_default().entry(one_of(fault)).or_default().push(looked);
        }
    }
    for (fault, trials) in tried.iter_mut().filter(|(fault, _)| fault.kind == Kind::Control) {
        let own = one_of(fault);
        for run in trials.iter_mut().flat_map(|trial| &mut trial.runs).filter(|run| passed(&&**run)) {
            let others = by_case.get(&run.name).into_iter().flatten().filter(|(other, _)| **other != own);
            let others: Vec<&Looked> = others.flat_map(|(_, looked)| looked).collect();
            run.missing = missing(fault, run, &others);
        }
    }
}

/// Who looked at a case, and why others could not.
struct Looked {
    readers: BTreeSet<String>,
    blind: Vec<String>,
}

fn missing(fault: &Fault, run: &Run, others: &[&Looked]) -> Option<String> {
    let always = others.iter().map(|other| other.readers.clone()).reduce(|all, readers| &all & &readers)?;
    let missing: Vec<&str> = always.difference(&run.readers).map(String::as_str).collect();
    let are_fewer = others.iter().all(|other| run.readers.len() < other.readers.len());
    let own = run.blind.iter().find(|why| others.iter().all(|other| !other.blind.contains(why)))?;
    let is_stated = run.blind.iter().any(|why| fault.skips.iter().any(|text| holds(why, text)));
    (!missing.is_empty() && are_fewer && !is_stated).then(|| format!("{} did not look: {own}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CONTROL, run};
    use super::*;

    fn trial(agree: &str, blind: &[&str]) -> Vec<Trial> {
        let blind = blind.iter().map(|why| (*why).to_owned()).collect();
        let run = Run { readers: readers_of(agree), blind, ..run(Verdict::Pass, "") };
        vec![Trial { fired: 1, runs: vec![run], ..Trial::default() }]
    }

    #[test]
    fn who_looks_under_every_other_control_is_missed_where_it_does_not() {
        static STATES: Fault = Fault { name: "choosy", skips: &["takes multiples of…B"], ..CONTROL };
        static OTHER: Fault = Fault { name: "other", ..CONTROL };
        static THIRD: Fault = Fault { name: "third", ..CONTROL };
        let said = |control: &'static Fault, blind: &[&str]| {
            let mut all =
                [trial("cpu", blind), trial("cpu, screen (CRC), a thread", &[]), trial("cpu, screen (CRC)", &[])];
            let [one, two, three] = &mut all;
            note_missing(&mut [(control, one), (&OTHER, two), (&THIRD, three)]);
            assert_eq!((&all[1][0].runs[0].missing, &all[2][0].runs[0].missing), (&None, &None));
            all[0][0].runs[0].missing.clone()
        };
        assert_eq!(said(&STATES, &[]), None, "it lists less to look at");
        assert_eq!(said(&STATES, &["the screen: takes multiples of 256 B"]), None, "as it says");
        let other = said(&STATES, &["the screen: is gone"]);
        assert_eq!(other.as_deref(), Some("screen (CRC) did not look: the screen: is gone"));
        let mut all = [trial("cpu, XR24", &["the screen: is gone"]), trial("cpu, AR24", &[])];
        let [one, two] = &mut all;
        note_missing(&mut [(&STATES, one), (&OTHER, two)]);
        assert_eq!(all[0][0].runs[0].missing, None, "as many");
        let mut alone = trial("cpu", &[]);
        note_missing(&mut [(&STATES, &mut alone)]);
        assert_eq!(alone[0].runs[0].missing, None, "nobody to compare with");
    }

    #[test]
    fn readers_are_listed_and_the_rest_counted() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(readers_of("cpu, gpu_b, whose image it is"), of(&["cpu", "gpu_b", "whose image it is"]));
        assert_eq!(readers_of("31, 32 and 1 more"), of(&["31", "32"]));
    }
}
