//! The report as JUnit XML, for tools that read nothing else. A view; it adds nothing to the report.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use crate::report::{CaseReport, Report};
use crate::run::text;
use crate::verdict::Verdict;

/// The report as an XML document: one suite per family of cases.
///
/// # Errors
/// When the document cannot be serialised.
pub fn document(report: &Report) -> Result<String, quick_junit::SerializeError> {
    let name = match report.machine.faults.as_str() {
        "" => "handover".to_owned(),
        faults => format!("handover under faults done on purpose ({faults})"),
    };
    let mut document = Document::new(name);
    document.set_time(Duration::from_millis(report.wall_ms));
    let mut suites: Vec<TestSuite> = Vec::new();
    for case in &report.cases {
        let (family, claim) = case.name.split_once("::").unwrap_or(("", &case.name));
        let suite = match suites.iter().position(|suite| suite.name.as_str() == family) {
            Some(at) => &mut suites[at],
            None => {
                suites.push(TestSuite::new(family));
                suites.last_mut().expect("a suite was pushed just now")
            }
        };
        suite.add_test_case(test_case(case, family, claim));
    }
    document.add_test_suites(suites);
    if let Some(suite) = run_suite(report) {
        document.add_test_suite(suite);
    }
    document.to_string()
}

fn test_case(case: &CaseReport, family: &str, claim: &str) -> TestCase {
    let mut test = TestCase::new(claim, status(case));
    test.set_classname(family);
    test.set_time(Duration::from_secs_f64(case.duration_ms.max(0.0) / 1000.0));
    if !case.output.is_empty() {
        test.set_system_out(case.output.as_str());
    }
    if !case.kernel_log.is_empty() {
        test.set_system_err(case.kernel_log.join("\n"));
    }
    test
}

fn status(case: &CaseReport) -> TestCaseStatus {
    let message = case.message.as_deref().unwrap_or("");
    let first_line = message.lines().next().unwrap_or("");
    match case.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Skip => {
            let reason = case.reason.as_deref().unwrap_or("");
            // JUnit knows no rules of a lane: a skip that is not allowed would look green.
            let mut status = match case.allowed {
                Some(false) => TestCaseStatus::non_success(NonSuccessKind::Failure),
                _ => TestCaseStatus::skipped(),
            };
            status.set_message(reason);
            status
        }
        Verdict::Known => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("known: {} {first_line}", case.reason.as_deref().unwrap_or("")));
            status
        }
        Verdict::Fail | Verdict::Crash | Verdict::Timeout => {
            let kind = if case.verdict == Verdict::Fail { NonSuccessKind::Failure } else { NonSuccessKind::Error };
            let mut status = TestCaseStatus::non_success(kind);
            status.set_type(case.verdict.as_str());
            status.set_message(first_line);
            status.set_description(text::failure(case));
            status
        }
    }
}

/// What is wrong with the run as a whole, as a suite of its own.
fn run_suite(report: &Report) -> Option<TestSuite> {
    let interrupted = report.interrupted.then(|| "the run was interrupted".to_owned());
    let wrong: Vec<String> = report.error.iter().chain(&report.problems).cloned().chain(interrupted).collect();
    if wrong.is_empty() {
        return None;
    }
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(wrong[0].as_str());
    status.set_description(wrong.join("\n"));
    let mut suite = TestSuite::new("run");
    suite.add_test_case(TestCase::new("is_complete", status));
    Some(suite)
}
