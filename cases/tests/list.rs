//! Is the list of cases in order, and do the files that speak of cases speak of those there are?
//!
//! Names only: no body runs and no device is touched.

use handover::case::Cases;
use handover::golden::Goldens;
use handover::lane::Lane;

/// Every family together has at least so many; fewer means that one was not registered.
const FEWEST: usize = 40;

fn names() -> Vec<String> {
    let cases = Cases::collect(handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    cases.into_iter().map(|case| case.info.name).collect()
}

#[test]
fn the_list_is_valid_and_whole() {
    let names = names();
    assert!(names.len() >= FEWEST, "{} cases: {names:?}", names.len());
}

#[test]
fn no_golden_is_dead() {
    let names = names();
    let dead = Goldens::open().dead(names.iter().map(String::as_str)).unwrap();
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

#[test]
fn the_lane_of_the_sandbox_names_cases_that_exist() {
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Lane::sandbox().unwrap().check_patterns(&names).unwrap();
}
