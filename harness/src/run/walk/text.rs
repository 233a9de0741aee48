//! What is printed of a walk. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{BadEnd, Ends, Kind, Walked};
use crate::compare::counted;
use crate::verdict::row;

/// How many lines of what a case said are printed.
const SAID: usize = 12;

/// How often something went wrong, and how much of that is a finding.
fn count(walked: &[Walked], workers: &Ends) -> (u32, usize) {
    let met = walked.iter().flat_map(|one| one.kinds.values()).map(|steps| steps.met).sum();
    (met, walked.iter().map(|one| one.findings().count()).sum::<usize>() + workers.findings.len())
}

/// Whether something was disturbed, and nothing was found.
pub fn is_green(walked: &[Walked], workers: &Ends) -> bool {
    let (met, findings) = count(walked, workers);
    met > 0 && findings == 0
}

/// What is wrong, then a table of all steps, then the totals.
pub fn summary(walked: &[Walked], workers: &Ends, kinds: &[Kind], wall_ms: u64) -> String {
    let mut text = String::new();
    for one in walked {
        for (kind, found) in one.findings() {
            let call = found.call.as_deref().map_or_else(String::new, |call| format!(" ({call})"));
            let _ = writeln!(text, "---- {} ---- {}\n{}{call}", one.name, kind.name(), found.what);
            let _ = writeln!(text, "\n{}", row("step", format!("{}, {} times", found.step, found.times)));
            said(&mut text, &found.said);
        }
    }
    for BadEnd { what, said: words, walked } in &workers.findings {
        let _ = writeln!(text, "---- a worker of the walk ---- its end\n{what}\n");
        for (at, one) in walked.iter().enumerate() {
            let _ = writeln!(text, "{}", row(if at == 0 { "walked" } else { "" }, one));
        }
        said(&mut text, words);
    }
    let _ =
        writeln!(text, "{:<14}{:>7}{:>8}{:>8}{:>8}{:>8}", "disturbed by", "steps", "passed", "named", "known", "wrong");
    for one in walked {
        let _ = writeln!(text, "{}", one.name);
        for kind in kinds {
            let _ = write!(text, "  {:<12}", kind.name());
            match one.kinds.get(kind) {
                None => text += " not walked",
                Some(steps) if steps.met == 0 => text += "   none",
                Some(steps) => {
                    let wrong = steps.findings.iter().map(|found| found.times).sum();
                    let _ = write!(text, "{:>7}", steps.met);
                    for count in [steps.borne, steps.named, steps.known.values().sum(), wrong] {
                        let count = if count == 0 { ".".to_owned() } else { count.to_string() };
                        let _ = write!(text, "{count:>8}");
                    }
                }
            }
            text.push('\n');
        }
    }
    text += "\npassed: the case did, in spite of it; named: it failed, and said what had\n";
    let (met, findings) = count(walked, workers);
    let mut known: BTreeMap<&str, u32> = BTreeMap::new();
    for (finding, times) in
        walked.iter().flat_map(|one| one.kinds.values()).flat_map(|steps| &steps.known).chain(&workers.known)
    {
        *known.entry(finding.as_str()).or_default() += times;
    }
    for (finding, times) in known {
        let _ = writeln!(text, "known, {times} times: {finding}");
    }
    let word = if is_green(walked, workers) { "green" } else { "red" };
    let nothing = if met == 0 { "; nothing was disturbed, which shows nothing" } else { "" };
    let _ = writeln!(
        text,
        "\n{word}: {}, {met} disturbances, {}{nothing}\n{wall_ms} ms",
        counted(walked.len() as u64, "case"),
        counted(findings as u64, "finding")
    );
    text
}

/// The first lines of what was said, and an empty one.
fn said(text: &mut String, words: &str) {
    for (at, line) in words.lines().filter(|line| !line.trim().is_empty()).take(SAID).enumerate() {
        let _ = writeln!(text, "{}", row(if at == 0 { "it said" } else { "" }, line));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::{Found, Steps};
    use super::*;

    #[test]
    fn the_finding_comes_first_and_every_step_is_counted() {
        let found = Found {
            what: "the case does not say what failed".into(),
            step: "ENOMEM of call 7".into(),
            call: Some("openat".into()),
            said: "12 of 30 pixels differ\n\n  rows   all".into(),
            times: 2,
        };
        let bad = Steps { met: 9, borne: 4, named: 3, ms: 5, findings: vec![found], ..Steps::default() };
        let good = Steps { met: 3, borne: 3, ..Steps::default() };
        let kinds: BTreeMap<Kind, Steps> =
            [(Kind::NoMemory, bad), (Kind::Peer, Steps::default()), (Kind::Signals, good)].into();
        let walked = [Walked { name: "a::b_works".into(), kinds }];
        let bad = BadEnd {
            what: "its worker does not end well".into(),
            said: "the worker was killed by SIGSEGV".into(),
            walked: vec!["a::b_works by peer".into(), "a::b_works by ENOMEM".into()],
        };
        let workers = Ends { findings: vec![bad], known: BTreeMap::from([("a.md".to_owned(), 3)]) };
        let text = summary(&walked, &workers, &[Kind::NoMemory, Kind::Peer, Kind::Signals, Kind::Clock], 12);
        let begin = "---- a::b_works ---- ENOMEM\nthe case does not say what failed (openat)\n";
        assert!(text.starts_with(begin), "{text}");
        let parts = [
            "step        ENOMEM of call 7, 2 times",
            "it said     12 of 30 pixels differ",
            "disturbed by    steps  passed   named   known   wrong\na::b_works\n",
            "  ENOMEM            9       4       3       .       2\n",
            "  signals           3       3       .       .       .\n  clock        not walked\n",
            "  peer           none\n",
            "---- a worker of the walk ---- its end\nits worker does not end well\n",
            "walked      a::b_works by peer\n",
            "known, 3 times: a.md",
            "red: 1 case, 12 disturbances, 2 findings",
        ];
        for part in parts {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }
}
