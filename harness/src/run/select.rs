//! Which cases did the user mean? Pure.

use std::collections::HashMap;
use std::hash::Hash;

use crate::case::{CaseInfo, Role};
use crate::lane::glob;

/// Filters that select nothing, each with the names that come closest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", unknown.join("\n"))]
pub struct UnknownFilter {
    unknown: Vec<String>,
}

/// The indices of the names that `filters` select, in the order of `names`; all of them without filters.
///
/// A filter is a part of a name, a pattern if it holds a `*`, or with `exact` a whole name.
///
/// # Errors
/// Names every filter that selects nothing, with the nearest names.
pub fn select(names: &[&str], filters: &[String], exact: bool) -> Result<Vec<usize>, UnknownFilter> {
    if filters.is_empty() {
        return Ok((0..names.len()).collect());
    }
    let unknown: Vec<String> = filters
        .iter()
        .filter(|filter| !names.iter().any(|name| matches(filter, name, exact)))
        .map(|filter| explain(filter, names, exact))
        .collect();
    if !unknown.is_empty() {
        return Err(UnknownFilter { unknown });
    }
    let is_meant = |name: &str| filters.iter().any(|filter| matches(filter, name, exact));
    Ok((0..names.len()).filter(|&at| is_meant(names[at])).collect())
}

/// The order in which a run with `jobs` workers takes `cases`.
///
/// The first cases hand each device's buffers out, and have it take buffers in, and open what else a worker keeps, as often
/// as there are workers: a device that does not work is known within seconds, and each worker soon has all of them open.
/// Then comes one case of each claim, then one of each claim about each pair of devices, then another of each. Those that
/// end their worker by a listed defect come last, since the next one opens all devices again. Cases that are alike in this
/// stay in the order of `cases`.
pub fn widest_first<'a>(cases: &[&'a CaseInfo], jobs: usize) -> Vec<&'a CaseInfo> {
    let mut met = Met::default();
    let mut order: Vec<(Turn, &CaseInfo)> = cases.iter().map(|case| (met.turn(case, jobs), *case)).collect();
    order.sort_by_key(|(turn, _)| *turn);
    order.into_iter().map(|(_, case)| case).collect()
}

/// When a case comes, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// It is among the first that a device hands out to, or takes from, or that open something else which is kept.
    Device,
    /// It is the first of its claim.
    Claim,
    /// So many of its claim about its pair of devices come before it.
    Round(usize),
    /// It ends its worker.
    Last,
}

/// How many cases there were so far.
#[derive(Default)]
struct Met<'a> {
    /// In which a device is on a side: that of the importer, or not.
    sides: HashMap<(bool, Role), usize>,
    /// For which this is opened.
    opened: HashMap<&'a str, usize>,
    /// Of a claim.
    claims: HashMap<&'a str, usize>,
    /// Of a claim about a pair of devices.
    rounds: HashMap<(&'a str, Option<Role>, Option<Role>), usize>,
}

impl<'a> Met<'a> {
    fn turn(&mut self, case: &'a CaseInfo, jobs: usize) -> Turn {
        if case.known.iter().flat_map(|known| &known.matching).any(|text| is_an_end(text)) {
            return Turn::Last;
        }
        let sides = [(false, case.exporter), (true, case.importer)];
        let sides = sides.into_iter().filter_map(|(imports, role)| Some((imports, role?)));
        let before_on_a_side = sides.map(|side| nth(&mut self.sides, side)).min();
        let before_with_it_open = case.opens.iter().map(|what| nth(&mut self.opened, what.as_str())).min();
        let before_of_device = before_on_a_side.into_iter().chain(before_with_it_open).min();
        let before_of_claim = nth(&mut self.claims, claim(case));
        let before_of_pair = nth(&mut self.rounds, (claim(case), case.exporter, case.importer));
        match (before_of_device, before_of_claim) {
            (Some(before), _) if before < jobs => Turn::Device,
            (_, 0) => Turn::Claim,
            _ => Turn::Round(before_of_pair),
        }
    }
}

/// How many of `kind` there were before this one.
fn nth<K: Eq + Hash>(met: &mut HashMap<K, usize>, kind: K) -> usize {
    let count = met.entry(kind).or_default();
    *count += 1;
    *count - 1
}

/// The part of a case's name that says what it claims, without its parameters.
fn claim(case: &CaseInfo) -> &str {
    let mut ends = case.name.match_indices("::").map(|(at, _)| at);
    ends.nth(1).map_or(&case.name, |end| &case.name[..end])
}

/// Whether `text` is of a message about a worker that was killed by a signal.
fn is_an_end(text: &str) -> bool {
    text.contains("SIG")
}

fn matches(filter: &str, name: &str, exact: bool) -> bool {
    match (exact, filter.contains('*')) {
        (true, _) => name == filter,
        (false, true) => glob(filter, name),
        (false, false) => name.contains(filter),
    }
}

fn explain(filter: &str, names: &[&str], exact: bool) -> String {
    let what = if exact { "no case is named" } else { "no case's name matches" };
    match nearest(filter, names).as_slice() {
        [] => format!("{what} `{filter}`; `--list` shows them all"),
        near => format!("{what} `{filter}`; the nearest are:\n    {}", near.join("\n    ")),
    }
}

/// At most three names that the user may have meant, nearest first.
pub fn nearest<'a>(filter: &str, names: &[&'a str]) -> Vec<&'a str> {
    let mut near: Vec<(f64, &str)> = names.iter().map(|name| (likeness(filter, name), *name)).collect();
    near.retain(|(likeness, _)| *likeness > 0.6);
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

/// A filter may be meant for the whole name or for one part of it.
fn likeness(filter: &str, name: &str) -> f64 {
    name.split("::").chain([name]).map(|part| strsim::normalized_damerau_levenshtein(filter, part)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::case::Cases;

    const NAMES: &[&str] =
        &["dma_buf::arrives_bit_exact::AB24", "dma_buf::arrives_bit_exact::AB24_odd", "scanout::shows_what_was_drawn"];

    fn filters(list: &[&str]) -> Vec<String> {
        list.iter().map(|&filter| filter.to_owned()).collect()
    }

    /// Cases of these names, exporters and importers; those of whose name `ends` is a part end their worker.
    fn cases(list: &[(&str, Option<Role>, Option<Role>)]) -> Vec<CaseInfo> {
        let listed = Cases::<()>::collect(|cases| {
            for (name, exporter, importer) in list {
                let case = cases.add(*name, |()| Ok(()));
                (case.info.exporter, case.info.importer) = (*exporter, *importer);
                let text = if name.contains("ends") { "SIGSEGV" } else { "12 pixels differ" };
                case.known("Mesa", "https://example.org/1", text);
            }
        });
        listed.unwrap().into_iter().map(|case| case.info).collect()
    }

    fn order(cases: &[CaseInfo], jobs: usize) -> Vec<&str> {
        let infos: Vec<_> = cases.iter().collect();
        widest_first(&infos, jobs).iter().map(|info| info.name.as_str()).collect()
    }

    #[test]
    fn each_device_then_each_claim_then_each_pair_is_met_before_any_comes_again() {
        let (a, b, cpu) = (Some(Role::GpuA), Some(Role::GpuB), Some(Role::Cpu));
        let list = [
            ("a::x::1", a, a),
            ("a::x::2", a, a),
            ("a::x::3", a, b),
            ("a::x::4", b, a),
            ("a::x::5", b, b),
            ("a::x::6", cpu, a),
            ("a::y::1", a, b),
            ("a::y::2", b, b),
            ("a::y::3", a, b),
            ("b::z", None, None),
        ];
        // One worker: both sides of each device are met once.
        let devices = ["a::x::1", "a::x::3", "a::x::4", "a::x::6"];
        let claims = ["a::y::1", "b::z"];
        let pairs = ["a::x::5", "a::y::2"];
        let again = ["a::x::2", "a::y::3"];
        assert_eq!(order(&cases(&list), 1), [&devices[..], &claims, &pairs, &again].concat());
        // Two: twice.
        let devices = ["a::x::1", "a::x::2", "a::x::3", "a::x::4", "a::x::5", "a::x::6"];
        let rest = ["a::y::1", "b::z", "a::y::2", "a::y::3"];
        assert_eq!(order(&cases(&list), 2), [&devices[..], &rest].concat());
    }

    #[test]
    fn what_else_a_worker_keeps_open_is_opened_among_the_first() {
        let (a, cpu) = (Some(Role::GpuA), Some(Role::Cpu));
        let names = ["a::x::1", "a::x::2", "a::x::3", "a::y::1", "a::y::2", "a::y::3"];
        let mut list = cases(&names.map(|name| (name, a, cpu)));
        for case in &mut list[4..] {
            case.opens.push("a second instance of gpu_a".into());
        }
        assert_eq!(order(&list, 1), ["a::x::1", "a::y::2", "a::y::1", "a::x::2", "a::x::3", "a::y::3"]);
        assert_eq!(order(&list, 2), ["a::x::1", "a::x::2", "a::y::2", "a::y::3", "a::y::1", "a::x::3"]);
    }

    #[test]
    fn who_ends_its_worker_comes_last() {
        let list = cases(&[("a::x::ends", None, Some(Role::GpuA)), ("a::x::1", None, None), ("a::y", None, None)]);
        assert_eq!(order(&list, 1), ["a::x::1", "a::y", "a::x::ends"]);
    }

    proptest! {
        #[test]
        fn what_is_there_is_met_in_as_few_cases_as_there_are_of_it(
            made in proptest::collection::vec((0usize..6, 0usize..6, 0usize..5, proptest::bool::weighted(0.1)), 0..200),
            jobs in 1usize..4,
        ) {
            let role = |n: usize| Role::ALL.get(n).copied().filter(|_| n < 5);
            let name = |(n, (_, _, claim, ends)): (usize, &(usize, usize, usize, bool))| {
                format!("a::claim_{claim}::{}{n}", if *ends { "ends_" } else { "" })
            };
            let names: Vec<String> = made.iter().enumerate().map(name).collect();
            let made = names.iter().zip(&made);
            let list: Vec<_> = made.map(|(name, (from, to, ..))| (name.as_str(), role(*from), role(*to))).collect();
            let all = cases(&list);
            let infos: Vec<_> = all.iter().collect();
            let order = widest_first(&infos, jobs);

            // Each case once, and who ends its worker after all others.
            let mut sorted: Vec<&str> = order.iter().map(|case| case.name.as_str()).collect();
            sorted.sort_unstable();
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.sort_unstable();
            prop_assert_eq!(sorted, names);
            prop_assert!(order.is_sorted_by_key(|case| case.name.contains("ends_")));

            // No kind of case is met later than all kinds of its sort take one after the other.
            let order: Vec<_> = order.into_iter().filter(|case| !case.name.contains("ends_")).collect();
            let mut met = (HashMap::new(), HashMap::new(), HashMap::new());
            let mut last = (0, 0, 0);
            for (at, case) in order.iter().enumerate() {
                let sides = [(false, case.exporter), (true, case.importer)];
                for side in sides.into_iter().filter_map(|(imports, role)| Some((imports, role?))) {
                    if nth(&mut met.0, side) < jobs { last.0 = at + 1; }
                }
                if nth(&mut met.1, claim(case)) == 0 { last.1 = at + 1; }
                if nth(&mut met.2, (claim(case), case.exporter, case.importer)) == 0 { last.2 = at + 1; }
            }
            let devices = jobs * met.0.len();
            prop_assert!(last.0 <= devices, "{} cases until all of {} sides are met", last.0, met.0.len());
            prop_assert!(last.1 <= devices + met.1.len(), "{} cases until all claims are met", last.1);
            prop_assert!(last.2 <= devices + met.1.len() + met.2.len(), "{} cases until all pairs are met", last.2);
        }
    }

    #[test]
    fn parts_patterns_and_whole_names() {
        let selected = |list: &[&str], exact| select(NAMES, &filters(list), exact).unwrap();
        assert_eq!(selected(&[], false), [0, 1, 2]);
        assert_eq!(selected(&["AB24"], false), [0, 1]);
        assert_eq!(selected(&["*_odd", "scanout"], false), [1, 2]);
        assert_eq!(selected(&["dma_buf::arrives_bit_exact::AB24"], true), [0]);
    }

    #[test]
    fn an_unknown_filter_offers_the_nearest_names() {
        let error = select(NAMES, &filters(&["AB24", "show_what_was_drwan"]), false).unwrap_err().to_string();
        assert_eq!(
            error,
            "no case's name matches `show_what_was_drwan`; the nearest are:\n    scanout::shows_what_was_drawn"
        );
        let error = select(NAMES, &filters(&["zzz"]), true).unwrap_err().to_string();
        assert_eq!(error, "no case is named `zzz`; `--list` shows them all");
    }
}
