//! Which cases did the user mean? Pure.

use std::collections::HashMap;

use crate::case::CaseInfo;
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

/// The order in which a run takes `cases`: one of each claim about each pair of devices first, then another of each, so that the
/// first seconds have met all that the run is about. Those that end their worker by a listed defect come last, since the next one
/// opens all devices again.
pub fn widest_first<'a>(cases: &[&'a CaseInfo]) -> Vec<&'a CaseInfo> {
    let mut taken: HashMap<_, usize> = HashMap::new();
    let mut rounds: Vec<(usize, &CaseInfo)> = Vec::new();
    for case in cases {
        let claim: Vec<&str> = case.name.split("::").take(2).collect();
        let before = taken.entry((claim, case.exporter, case.importer)).or_default();
        rounds.push((*before, case));
        *before += 1;
    }
    let ends_its_worker =
        |case: &CaseInfo| case.known.iter().flat_map(|known| &known.matching).any(|text| is_an_end(text));
    rounds.sort_by_key(|(round, case)| (ends_its_worker(case), *round));
    rounds.into_iter().map(|(_, case)| case).collect()
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
    use super::*;
    use crate::case::{Cases, Role};

    const NAMES: &[&str] =
        &["dma_buf::arrives_bit_exact::AB24", "dma_buf::arrives_bit_exact::AB24_odd", "scanout::shows_what_was_drawn"];

    fn filters(list: &[&str]) -> Vec<String> {
        list.iter().map(|&filter| filter.to_owned()).collect()
    }

    #[test]
    fn each_claim_about_each_pair_is_met_before_any_comes_again() {
        let mut list = Cases::<()>::collect(|cases| {
            for name in ["a::x::1", "a::x::2", "b::x::1", "b::x::2", "b::y"] {
                cases.add(name, |()| Ok(()));
            }
        })
        .unwrap();
        list[1].info.importer = Some(Role::GpuA);
        let infos: Vec<_> = list.iter().map(|case| &case.info).collect();
        let order: Vec<&str> = widest_first(&infos).iter().map(|info| info.name.as_str()).collect();
        assert_eq!(order, ["a::x::1", "a::x::2", "b::x::1", "b::y", "b::x::2"]);
    }

    #[test]
    fn who_ends_its_worker_comes_last() {
        let list = Cases::<()>::collect(|cases| {
            cases.add("a::x", |()| Ok(())).known("Mesa", "https://example.org/1", "SIGSEGV");
            cases.add("a::y", |()| Ok(())).known("Mesa", "https://example.org/2", "12 pixels differ");
            cases.add("a::z", |()| Ok(()));
        })
        .unwrap();
        let infos: Vec<_> = list.iter().map(|case| &case.info).collect();
        let order: Vec<&str> = widest_first(&infos).iter().map(|info| info.name.as_str()).collect();
        assert_eq!(order, ["a::y", "a::z", "a::x"]);
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
