//! Does every way in which a case can end get its own verdict, and does the run always go on?
//!
//! This executable is two things: with a subcommand of `handover` as its first argument it is that command, with the
//! cases of `cases.rs`, which misbehave on purpose; otherwise it is the list of tests that start it so. No test needs
//! a device.

#![expect(clippy::unwrap_used, reason = "these are tests, though clippy cannot tell without #[test]")]

mod cases;
mod faulty;
mod sandbox;
mod support;
mod wild;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Output, Stdio};

use cases::MANY;
use handover::report::Report;
use handover::sandbox::Sandbox;
use handover::verdict::Verdict;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use support::{Run, assert_no_leftovers, case, end_of, eventually, has_message, is_alive, signal, text};

/// Set by a lane of these tests, in the workers alone: they exit before they greet.
const NO_START: &str = "HANDOVER_TEST_NO_START";

const TESTS: &[(&str, fn())] = &[
    ("every_ending_gets_its_verdict", every_ending_gets_its_verdict),
    ("one_job_and_many_agree", one_job_and_many_agree),
    ("output_belongs_to_its_case_and_is_capped", output_belongs_to_its_case_and_is_capped),
    ("a_failure_that_depends_on_the_order_names_it", a_failure_that_depends_on_the_order_names_it),
    ("what_a_case_leaves_open_is_its_own", what_a_case_leaves_open_is_its_own),
    ("a_worker_killed_from_outside_is_replaced", a_worker_killed_from_outside_is_replaced),
    ("a_worker_that_ends_badly_makes_the_run_red", a_worker_that_ends_badly_makes_the_run_red),
    ("a_worker_that_cannot_start_ends_the_run", a_worker_that_cannot_start_ends_the_run),
    ("an_interrupt_writes_what_is_known", an_interrupt_writes_what_is_known),
    ("a_killed_supervisor_leaves_no_worker", a_killed_supervisor_leaves_no_worker),
    ("a_killed_supervisor_leaves_what_ended_and_resume_finishes_it", resume_finishes_what_was_killed),
    ("a_run_that_was_interrupted_can_be_resumed", a_run_that_was_interrupted_can_be_resumed),
    ("only_the_same_run_is_resumed", only_the_same_run_is_resumed),
    ("a_report_directory_is_one_runs_alone", a_report_directory_is_one_runs_alone),
    ("listing_starts_nothing", listing_starts_nothing),
    ("bad_input_is_named_before_anything_runs", bad_input_is_named_before_anything_runs),
    ("too_few_file_descriptors_are_a_clear_error", too_few_file_descriptors_are_a_clear_error),
    ("a_lane_turns_skips_red", a_lane_turns_skips_red),
    ("green_is_zero_and_junit_is_there", green_is_zero_and_junit_is_there),
    ("bless_is_refused_where_it_must_be", bless_is_refused_where_it_must_be),
];

/// The same in kernels of their own.
const IN_SANDBOX: &[(&str, fn())] = &[
    ("sandbox::every_ending_gets_its_verdict", sandbox::every_ending_gets_its_verdict),
    ("sandbox::a_walk_tells_each_ending_from_the_others", sandbox::a_walk_tells_each_ending_from_the_others),
    ("sandbox::a_walk_that_is_interrupted", sandbox::a_walk_that_is_interrupted_writes_what_is_done),
    ("sandbox::what_the_kernel_says_is_judged_wherever_it_says_it", sandbox::what_the_kernel_says_is_judged),
    ("sandbox::no_kernel_outlives_its_supervisor", sandbox::no_kernel_outlives_its_supervisor),
];

/// The same in kernels that report their own defects.
const IN_DEBUG_KERNEL: &[(&str, fn())] =
    &[("sandbox::defects_of_the_kernel_fail_their_case", sandbox::defects_of_the_kernel_fail_their_case)];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("worker") if std::env::var_os(NO_START).is_some() => ExitCode::from(9),
        Some("run" | "bless" | "walk" | "guest-init") => handover::cli::main(cases::register, &[]),
        Some("faults" | "seam") => handover::cli::main(faulty::register, &[]),
        Some("worker") => handover::cli::main(
            |cases| {
                cases::register(cases);
                faulty::register(cases);
            },
            &[],
        ),
        _ => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

fn trials() -> Vec<Trial> {
    let on_host = TESTS.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    });
    let in_sandbox = IN_SANDBOX.iter().map(|&(name, test)| {
        Trial::ignorable_test(name, move || {
            if Sandbox::cached().is_none() {
                return Ok(Completion::ignored_with("needs the sandbox; `handover setup` builds it"));
            }
            test();
            Ok::<Completion, Failed>(Completion::Completed)
        })
    });
    let in_debug_kernel = IN_DEBUG_KERNEL.iter().map(|&(name, test)| {
        Trial::ignorable_test(name, move || {
            if Sandbox::cached_debug().is_none() {
                return Ok(Completion::ignored_with(
                    "needs the debugging kernel; `handover setup --kernel debug` builds it",
                ));
            }
            test();
            Ok::<Completion, Failed>(Completion::Completed)
        })
    });
    let with_faults =
        [Trial::ignorable_test("sandbox::a_table_of_faults_is_red_where_it_has_to_be", || match Sandbox::cached() {
            None => Ok(Completion::ignored_with("needs the sandbox; `handover setup` builds it")),
            Some(_) => faulty::a_table_is_red_where_it_has_to_be(),
        })];
    on_host.chain(in_sandbox).chain(in_debug_kernel).chain(with_faults).collect()
}

// The tests.

fn run_every_ending(run: &Run, jobs: &str) -> Output {
    // The case that waits to be killed only meets its deadline here; it has tests of its own.
    run.output(&["--timeout", "2", "--jobs", jobs, "good", "bad::", "skip::", "known::"])
}

fn every_ending_gets_its_verdict() {
    let run = Run::new();
    let output = run_every_ending(&run, "1");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report = run.report();

    let passed = case(&report, "good::passes");
    assert_eq!(passed.verdict, Verdict::Pass);
    let exporter = passed.exporter.as_ref().and_then(|side| side.device.as_ref());
    assert_eq!(exporter.map(|device| device.name.as_str()), Some("this processor"));

    for (name, verdict, part) in [
        ("bad::fails", Verdict::Fail, "12 of 30 pixels differ"),
        ("bad::leaves_something_open", Verdict::Fail, "1 dma-buf was left open"),
        ("bad::panics", Verdict::Fail, "tests/runner/cases.rs:"),
        ("bad::panics", Verdict::Fail, "an index of 7 in 3 planes"),
        ("bad::aborts", Verdict::Crash, "SIGABRT"),
        ("bad::touches_memory_that_is_not_there", Verdict::Crash, "SIGSEGV"),
        ("bad::exits_without_a_word", Verdict::Crash, "ended with exit status 0"),
        ("bad::hangs", Verdict::Timeout, "no verdict after 2 s"),
        ("bad::hangs_in_a_system_call", Verdict::Timeout, "no verdict after 2 s"),
        ("bad::hangs_in_a_system_call", Verdict::Timeout, "its thread sleeps"),
        ("bad::hangs_where_no_signal_wakes_it", Verdict::Timeout, "no verdict after 2 s"),
        (
            "bad::hangs_where_no_signal_wakes_it",
            Verdict::Timeout,
            "its thread sleeps in the kernel, and no signal wakes it",
        ),
        ("bad::hangs_without_a_call", Verdict::Timeout, "no verdict after 2 s"),
        ("bad::hangs_without_a_call", Verdict::Timeout, "its thread runs"),
        ("bad::writes_on_the_protocol", Verdict::Crash, "%!PS-Adobe"),
        ("bad::prints_megabytes", Verdict::Fail, "it was too much"),
        ("skip::needs_a_gpu", Verdict::Skip, "needs gpu_a; this machine has a processor"),
        ("skip::says_so_itself", Verdict::Skip, "needs a Tuesday"),
        ("known::fails_as_listed", Verdict::Known, "like a row pitch"),
        ("known::fails_otherwise", Verdict::Fail, "the fence never signalled"),
        ("known::passes", Verdict::Fail, "passed, but is listed as known: https://example.org/3"),
    ] {
        has_message(&report, name, verdict, part);
    }
    for case in &report.cases {
        let tries = if case.verdict.is_red() && case.name != "known::passes" { 2 } else { 1 };
        assert_eq!(case.attempts.len(), tries, "{}", case.name);
        assert!(!case.message.as_deref().unwrap_or("").contains("depends on"), "{case:?}");
    }

    let printed = text(&output.stdout);
    for part in [
        "---- bad::fails ---- fail\n12 of 30 pixels differ\n",
        "again       handover run --on host --exact bad::fails\n",
        "  1 × needs a Tuesday\n      skip::says_so_itself\n",
    ] {
        assert!(printed.contains(part), "no {part:?} in\n{printed}");
    }
    assert!(!printed.contains('\x1b'), "colour, though this is no terminal");
}

fn one_job_and_many_agree() {
    let verdicts = |jobs| -> BTreeMap<String, Verdict> {
        let run = Run::new();
        run_every_ending(&run, jobs);
        run.report().cases.into_iter().map(|case| (case.name, case.verdict)).collect()
    };
    assert_eq!(verdicts("1"), verdicts("4"));
}

fn output_belongs_to_its_case_and_is_capped() {
    let run = Run::new();
    run.output(&["--jobs", "1", "good::prints", "bad::fails", "bad::prints", "bad::touches"]);
    let report = run.report();
    assert_eq!(case(&report, "good::prints_and_passes").output, "");
    assert_eq!(case(&report, "bad::fails").output, "a driver's own words, without an end of line");
    assert_eq!(case(&report, "bad::touches_memory_that_is_not_there").output, "the last words\n");
    let much = &case(&report, "bad::prints_megabytes").output;
    assert!(much.len() < 80 << 10 && much.contains("B left out"), "{}", much.len());
}

fn a_failure_that_depends_on_the_order_names_it() {
    let run = Run::new();
    let output = run.output(&["--jobs", "1", "good::passes", "order::"]);
    assert_eq!(output.status.code(), Some(1));
    let report = run.report();
    let name = "order::fails_after_the_other";
    has_message(&report, name, Verdict::Fail, "this process is in /proc, and another case left it there");
    has_message(&report, name, Verdict::Fail, "depends on what ran before");
    has_message(&report, name, Verdict::Fail, "good::passes_again\n              order::spoils_the_worker");
    assert_eq!(case(&report, name).attempts[1].verdict, Verdict::Pass);
}

fn what_a_case_leaves_open_is_its_own() {
    let run = Run::new();
    run.output(&["--jobs", "1", "leak::"]);
    judge_leaks(&run.report());
}

/// The ledger finds what stays, once, and blames nobody else for it.
fn judge_leaks(report: &Report) {
    has_message(report, "leak::leaves_a_file_open", Verdict::Fail, "is still open after the case: /dev/null");
    assert_eq!(case(report, "leak::leaves_nothing_open").verdict, Verdict::Pass);
    // Where there is no udmabuf there is no buffer to be left.
    if case(report, "leak::leaves_a_buffer_open").verdict != Verdict::Skip {
        has_message(report, "leak::leaves_a_buffer_open", Verdict::Fail, "is still open after the case: dma-buf ");
        has_message(report, "leak::leaves_a_mapping", Verdict::Fail, "1 mapping of this process");
    }
}

fn a_worker_killed_from_outside_is_replaced() {
    let run = Run::new();
    let mut child = run.start(&["--jobs", "1", "bad::waits_to_be_killed", "order::spoils"]);
    let first = run.pid_of_waiting_case("");
    signal("-KILL", &first);
    // The case is repeated, so it is killed twice.
    signal("-KILL", &run.pid_of_waiting_case(&first));
    assert_eq!(end_of(&mut child).code(), Some(1));
    let report = run.report();
    has_message(&report, "bad::waits_to_be_killed", Verdict::Crash, "SIGKILL (from outside");
    assert_eq!(case(&report, "order::spoils_the_worker").verdict, Verdict::Pass);
}

fn a_worker_that_ends_badly_makes_the_run_red() {
    let run = Run::new();
    // No case can be blamed for what a driver does when it is closed.
    let output = run.output(&["late::"]);
    let report = run.report();
    assert_eq!(output.status.code(), Some(1), "{report:?}");
    let expected = "a worker ended with exit status 7 when it closed its devices, after late::spoils_the_end";
    assert_eq!(report.problems, [expected]);
}

fn a_worker_that_cannot_start_ends_the_run() {
    let run = Run::new();
    let lane = run.lane(&format!("on = \"host\"\n[environment]\n{NO_START} = \"1\"\n"));
    let output = run.output(&["--lane", &lane, "--jobs", "3", "good"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    let report = run.report();
    let error = report.error.unwrap();
    assert!(error.contains("ended with exit status 9 before it was ready"), "{error}");
    assert_eq!((report.summary.not_run, report.cases.len()), (3, 0));
    // Each job may have met it once; nobody tries for ever.
    assert!(report.timings.workers_started <= 6, "{:?}", report.timings);
}

fn an_interrupt_writes_what_is_known() {
    let run = Run::new();
    let mut child = run.start(&["--jobs", "1", "--timeout", "60", "good::passes", "bad::waits_to_be_killed"]);
    let worker = run.pid_of_waiting_case("");
    signal("-INT", &child.id().to_string());
    assert_eq!(end_of(&mut child).code(), Some(130));
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(printed.contains("interrupted: 2 of 3 cases"), "{printed}");
    assert!(!is_alive(&worker), "worker {worker} is still there");
    let report = run.report();
    assert!(report.interrupted && !report.is_green());
    assert_eq!((report.summary.pass, report.summary.not_run), (2, 1));
}

fn a_killed_supervisor_leaves_no_worker() {
    let run = Run::new();
    let mut child = run.start(&["bad::waits_to_be_killed"]);
    let worker = run.pid_of_waiting_case("");
    child.kill().unwrap();
    assert_eq!(end_of(&mut child).signal(), Some(9));
    eventually("the worker ends", || (!is_alive(&worker)).then_some(()));
    assert!(!run.report_path().join("report.json").exists());
}

/// Cases that end in every way, and enough of them to be in the middle.
const LONG: [&str; 8] =
    ["--jobs", "2", "many::", "bad::fails", "bad::panics", "skip::", "known::fails_as_listed", "good::"];

/// A report without times, and without what depends on which worker was free.
fn timeless(report: &Report) -> serde_json::Value {
    let mut value = serde_json::to_value(report).unwrap();
    for key in ["wall_ms", "timings", "memory"] {
        value.as_object_mut().unwrap().remove(key);
    }
    for case in value["cases"].as_array_mut().unwrap() {
        case.as_object_mut().unwrap().remove("duration_ms");
        // A panic prints the number of its thread.
        case["output"] = case["output"].as_str().unwrap().is_empty().into();
        for attempt in case["attempts"].as_array_mut().unwrap() {
            attempt.as_object_mut().unwrap().remove("duration_ms");
            attempt.as_object_mut().unwrap().remove("ran_before");
        }
    }
    value
}

fn resume_finishes_what_was_killed() {
    let whole = Run::new();
    let code = whole.output(&LONG).status.code();
    assert!(!whole.journal().exists());
    let whole = whole.report();
    assert_eq!(whole.cases.len(), MANY + 9, "{:?}", whole.summary);
    for lines in [1, 2, 9, 25, 40] {
        let run = Run::new();
        let mut child = run.start(&LONG);
        let count = || std::fs::read(run.journal()).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
        eventually("so many cases end", || (count() >= lines).then_some(()));
        child.kill().unwrap();
        assert_eq!(end_of(&mut child).signal(), Some(9));
        let so_far = Report::read(&run.report_path()).unwrap();
        assert!(so_far.interrupted && !so_far.is_green());
        assert!((lines - 1..whole.cases.len()).contains(&so_far.cases.len()), "{lines}: {:?}", so_far.summary);
        assert_eq!(so_far.summary.not_run, whole.cases.len() - so_far.cases.len());

        let output = run.resume(&[]);
        assert_eq!(output.status.code(), code, "{}", text(&output.stderr));
        let mut resumed = run.report();
        // Of the workers that were killed with it nobody knows how they would have ended.
        let ends = std::mem::take(&mut resumed.notes);
        assert_eq!(ends.len(), usize::from(!so_far.cases.is_empty()), "{ends:?}");
        assert!(ends.iter().all(|said| said.contains("closed their devices is not known")), "{ends:?}");
        assert_eq!(timeless(&resumed), timeless(&whole), "killed after {lines} lines");
        assert_no_leftovers(&run.report_path());
        let output = run.resume(&[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("came to its end"), "{}", text(&output.stderr));
    }
}

fn a_run_that_was_interrupted_can_be_resumed() {
    let run = Run::new();
    let mut child = run.start(&["--jobs", "1", "many::", "good::"]);
    eventually("some cases end", || {
        let journal = std::fs::read(run.journal()).unwrap_or_default();
        (journal.iter().filter(|byte| **byte == b'\n').count() > 3).then_some(())
    });
    signal("-INT", &child.id().to_string());
    assert_eq!(end_of(&mut child).code(), Some(130));
    assert!(run.report().interrupted);
    let output = run.resume(&["--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report = run.report();
    assert!(report.is_green() && report.summary.pass == MANY + 3, "{:?}", report.summary);
}

/// Two journals in one file would be none.
fn a_report_directory_is_one_runs_alone() {
    let run = Run::new();
    let mut child = run.start(&["--jobs", "1", "good::passes", "bad::waits_to_be_killed"]);
    run.pid_of_waiting_case("");
    let pid = format!("process {} (", child.id());
    let refused = |output: Output| {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&pid) && said.contains("choose another with --report"), "{said}");
    };
    refused(run.output(&["good"]));
    refused(run.resume(&[]));
    let mut walk = Command::new(std::env::current_exe().unwrap());
    walk.args(["walk", "good", "--on", "host", "--report"]).arg(run.report_path());
    refused(walk.stdin(Stdio::null()).output().unwrap());
    child.kill().unwrap();
    end_of(&mut child);
    assert_eq!(Report::read(&run.report_path()).unwrap().cases.len(), 2, "what ended is in the journal");
    // Nobody has it any more.
    assert_eq!(run.output(&["good"]).status.code(), Some(0));
}

fn only_the_same_run_is_resumed() {
    let run = Run::new();
    let mut child = run.start(&["--jobs", "1", "good::passes", "bad::waits_to_be_killed"]);
    run.pid_of_waiting_case("");
    child.kill().unwrap();
    end_of(&mut child);
    let journal = std::fs::read_to_string(run.journal()).unwrap();
    let lane = run.lane("on = \"host\"\n");
    let refused = |args: &[&str], part: &str| {
        let output = run.resume(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
        assert!(run.journal().exists());
    };
    refused(&["--lane", &lane], "the lane was none and is lab");
    refused(&["good"], "cannot be used with");
    refused(&["--report", "elsewhere"], "cannot be used with '--report <DIR>'");
    for (from, to, part) in [
        ("\"program\":\"", "\"program\":\"1", "the program was 1"),
        ("\"cases\":\"", "\"cases\":\"f", "the list of cases was f"),
        ("\"schema\":1", "\"schema\":0", "the report's schema was 0"),
        ("{\"header\"", "{\"head\"", "line 1 is no line of a journal"),
    ] {
        assert!(journal.contains(from), "{journal}");
        std::fs::write(run.journal(), journal.replacen(from, to, 1)).unwrap();
        refused(&[], part);
    }
    let elsewhere = Run::new();
    let output = elsewhere.resume(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("report: No such file"), "{}", text(&output.stderr));
}

fn listing_starts_nothing() {
    let run = Run::new();
    let output = run.output(&["--list", "good"]);
    assert_eq!(text(&output.stdout), "good::passes\ngood::passes_again\ngood::prints_and_passes\n");
    assert!(!run.report_path().exists());
}

fn bad_input_is_named_before_anything_runs() {
    let run = Run::new();
    let lane = run.lane("on = \"host\"\nmay_skipp = []\n");
    for (args, part) in [
        (vec!["bad::hang_s"], "bad::hangs"),
        (vec!["--exact", "good::passe"], "no case is named `good::passe`"),
        (vec!["--exact"], "<FILTER>"),
        (vec![""], "a part of a name would be valid"),
        (vec!["--exact", ""], "a part of a name would be valid"),
        (vec!["--list", "--lane", "missing.toml"], "missing.toml"),
        (vec!["--jobs", "0"], "from 1 to 1000000"),
        (vec!["--timeout", "soon"], "a number of seconds"),
        (vec!["--on", "moon"], "sandbox"),
        (vec!["--lane", "missing.toml"], "missing.toml"),
        (vec!["--lane", &lane], "may_skip"),
    ] {
        let output = run.output(&args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
    }
    for (name, value) in [("HANDOVER_EFFORT", "zero"), ("HANDOVER_EFFORT", "0"), ("HANDOVER_VALIDATION", "maybe")] {
        let output = run.command(&["good"]).env(name, value).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {said}");
        assert!(said.contains(name) && said.contains(&format!("`{value}`")), "{said}");
    }
    // A file where the report directory should be.
    std::fs::write(run.report_path(), "").unwrap();
    let output = run.output(&["good"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&run.report_path().display().to_string()), "{said}");
}

fn too_few_file_descriptors_are_a_clear_error() {
    for limit in [4, 5, 6, 8, 10, 12, 14, 16, 18, 20] {
        let run = Run::new();
        let asked = run.command(&["--jobs", "2", "good", "bad::fails"]);
        let mut limited = Command::new("/bin/sh");
        limited.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\""));
        limited.arg(asked.get_program()).args(asked.get_args()).env("HANDOVER_ON", "host");
        let mut child = limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let status = end_of(&mut child);
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(status.code().is_some_and(|code| code != 0), "limit {limit}: {status} {said}");
        // With enough of them, nothing but the case that fails by itself makes the run red.
        let is_complete = status.code() == Some(1) && run.report().summary.pass == 3;
        let is_named = ["the limit of open files is", "Too many open files", "No file descriptors available"];
        let is_named = is_named.iter().any(|named| said.contains(named));
        assert!(is_complete || is_named, "limit {limit}: {status} {said}");
        // What got no verdict can still get one.
        let _ = std::fs::remove_file(run.journal());
        assert_no_leftovers(&run.report_path());
    }
}

fn a_lane_turns_skips_red() {
    let run = Run::new();
    let asked = |lane: &str, filters: &[&str]| {
        let lane = run.lane(lane);
        run.output(&[&["--lane", &lane], filters].concat())
    };
    let allowed = "on = \"host\"\n[[may_skip]]\ncase = \"skip::*\"\nreason = \"needs\"\nbecause = \"a test\"\n";

    assert_eq!(asked("on = \"host\"", &["good", "skip::"]).status.code(), Some(1));
    let report = run.report();
    assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
    assert_eq!(case(&report, "skip::needs_a_gpu").allowed, Some(false));

    assert_eq!(asked(allowed, &["good", "skip::"]).status.code(), Some(0));
    assert_eq!(case(&run.report(), "skip::needs_a_gpu").allowed, Some(true));
    assert_eq!(asked(allowed, &["skip::"]).status.code(), Some(0));

    let output = asked(&format!("must_run = [\"skip::needs_a_gpu\"]\n{allowed}"), &["good", "skip::"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("must run in lane lab"), "{}", text(&output.stdout));

    let output = asked(&format!("{allowed}[devices]\ncpu = \"Zilog Z80\"\n"), &["good"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = text(&output.stdout);
    assert!(printed.contains("cpu is this processor; lane lab demands `Zilog Z80`"), "{printed}");

    assert_eq!(asked(&allowed.replace("skip::*", "renamed::*"), &["good"]).status.code(), Some(2));

    // Without a lane skips are loud and not red, unless there is nothing else.
    assert_eq!(run.output(&["good", "skip::"]).status.code(), Some(0));
    assert_eq!(run.output(&["skip::"]).status.code(), Some(1));
}

fn green_is_zero_and_junit_is_there() {
    let run = Run::new();
    let output = run.output(&["good"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let report = run.report();
    assert!(report.is_green());
    assert!(report.timings.start_to_first_verdict_ms.is_some());
    let junit = std::fs::read_to_string(run.report_path().join("junit.xml")).unwrap();
    assert!(junit.contains("<testsuite name=\"good\" tests=\"3\""), "{junit}");
    assert_no_leftovers(&run.report_path());
}

fn bless_is_refused_where_it_must_be() {
    let run = Run::new();
    let lane = run.lane("on = \"host\"");
    let asked = |ci: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["bless", "--lane", &lane, "--report"]).arg(run.report_path()).env("CI", ci);
        command.output().unwrap()
    };
    for (ci, part) in [("true", "where CI is set"), ("", "lane lab is not a reference lane")] {
        let output = asked(ci);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}
