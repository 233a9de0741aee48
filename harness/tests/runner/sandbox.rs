//! Runs whose workers have kernels of their own, which end, hang and complain on purpose, too.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use handover::case::Witness;
use handover::verdict::Verdict;

use super::judge_leaks;
use super::support::{Run, case, children, end_of, eventually, has_message, is_alive, signal, text};

const SANDBOX: &str = "on = \"sandbox\"\n";

pub(crate) fn every_ending_gets_its_verdict() {
    let run = Run::new();
    let lane = run.lane(SANDBOX);
    // All but the one that waits to be killed, and the defects of the kernel; they have tests of their own.
    let bad = ["bad::aborts", "bad::exits", "bad::fails", "bad::hangs", "bad::panics", "bad::prints", "bad::touches"];
    let others = ["bad::writes", "leak::", "skip::"];
    run.output(&[&["--lane", &lane, "--timeout", "3", "--jobs", "2", "good"][..], &bad, &others].concat());
    let report = run.report();
    assert_eq!((report.error.as_deref(), report.summary.pass), (None, 4), "{report:?}");
    judge_leaks(&report);
    assert_ne!(case(&report, "leak::leaves_a_buffer_open").verdict, Verdict::Skip);
    for (name, verdict, part) in [
        ("bad::fails", Verdict::Fail, "12 of 30 pixels differ"),
        ("bad::panics", Verdict::Fail, "an index of 7 in 3 planes"),
        ("bad::panics_its_kernel", Verdict::Crash, "the worker lost its kernel"),
        ("bad::panics_its_kernel", Verdict::Crash, "the kernel reported a defect: "),
        ("bad::aborts", Verdict::Crash, "SIGABRT"),
        ("bad::exits_without_a_word", Verdict::Crash, "ended with exit status 0"),
        ("bad::hangs", Verdict::Timeout, "no verdict after 3 s"),
        ("bad::hangs_in_a_system_call", Verdict::Timeout, "no verdict after 3 s"),
        (
            "bad::hangs_where_no_signal_wakes_it",
            Verdict::Timeout,
            "its thread sleeps in the kernel, and no signal wakes it",
        ),
        ("bad::hangs_without_a_call", Verdict::Timeout, "no verdict after 3 s"),
        ("leak::leaves_a_gem_handle", Verdict::Fail, "GEM handle"),
        ("leak::leaves_a_device_attached", Verdict::Fail, "is still attached after the case to dma-buf"),
        ("bad::touches_memory_that_is_not_there", Verdict::Crash, "SIGSEGV"),
        ("skip::says_so_itself", Verdict::Skip, "needs a Tuesday"),
        ("bad::writes_on_the_protocol", Verdict::Crash, "%!PS-Adobe"),
        ("bad::prints_megabytes", Verdict::Fail, "it was too much"),
    ] {
        has_message(&report, name, verdict, part);
    }
    assert_eq!(case(&report, "bad::fails").output, "a driver's own words, without an end of line");
    let log = case(&report, "bad::panics_its_kernel").kernel_log.join("\n");
    assert!(log.contains("sysrq") && !log.contains("devtmpfs: mounted"), "{log}");
    // One worker after the other has what the first left.
    let run = Run::new();
    run.output(&["--lane", &run.lane(SANDBOX), "--jobs", "1", "order::"]);
    has_message(&run.report(), "order::fails_after_the_other", Verdict::Fail, "depends on what ran before");
}

/// What `handover walk` says of cases that meet a failing call in every way there is.
pub(crate) fn a_walk_tells_each_ending_from_the_others() {
    let run = Run::new();
    let lane = run.lane(SANDBOX);
    let walked = |by: &str, timeout: &str, cases: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["walk", "--jobs", "2", "--lane", &lane, "--timeout", timeout, "--by", by, cases, "--report"]);
        let output = command.arg(run.report_path()).stdin(Stdio::null()).output().unwrap();
        let document = std::fs::read(run.report_path().join("walk.json")).unwrap_or_default();
        (output, serde_json::from_slice::<serde_json::Value>(&document).unwrap_or_default())
    };
    let (output, document) = walked("EMFILE", "1", "walk::");
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let steps = |name: &str| {
        let cases = document["cases"].as_array().unwrap();
        let case = cases.iter().find(|case| case["name"] == format!("walk::{name}"));
        case.unwrap_or_else(|| panic!("{name} was not walked: {printed}"))["kinds"]["too_many_files"].clone()
    };
    for (name, borne, named, finding) in [
        ("says_what_failed", 0, 1, None),
        ("does_not_mind", 1, 0, None),
        ("does_not_say_what_failed", 0, 0, Some("the case does not say what failed")),
        ("has_the_word_for_something_else", 0, 0, Some("the case does not say what failed")),
        ("loses_a_file_when_it_fails", 0, 2, Some("holds something else afterwards, each time: +1 /dev/null")),
        ("says_what_failed_and_leaves_a_buffer", 0, 1, Some("found when it had ended: N dma-buf was left open")),
        ("hangs_when_it_fails", 0, 0, Some("the case does not end")),
        ("ends_its_process_when_it_fails", 0, 0, Some("the worker does not survive it")),
    ] {
        let steps = steps(name);
        assert_eq!((&steps["borne"], &steps["named"]), (&borne.into(), &named.into()), "{name}: {steps}");
        let found: Vec<&str> =
            steps["findings"].as_array().unwrap().iter().filter_map(|found| found["what"].as_str()).collect();
        assert_eq!(found, finding.into_iter().collect::<Vec<_>>(), "{name}: {steps}");
    }
    // The worker did not live to tell.
    let crash = &steps("ends_its_process_when_it_fails")["findings"][0];
    assert_eq!(crash["call"], "openat", "{crash}");
    // A clock that is set back is seen by who looks at it, and by nobody else: no deadline of ours passes.
    let (output, document) = walked("clock", "5", "walk::");
    let findings: Vec<&str> = document["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| !case["kinds"]["clock"]["findings"].as_array().unwrap().is_empty())
        .filter_map(|case| case["name"].as_str())
        .collect();
    assert_eq!(findings, ["walk::takes_the_wall_clock_for_a_stopwatch"], "{}", text(&output.stdout));
    // How a worker ends is no case's, but of all that it walked.
    let (output, document) = walked("EMFILE", "5", "walked::");
    let ends = document["workers"]["findings"].as_array().unwrap();
    assert_eq!((ends.len(), output.status.code()), (1, Some(1)), "{document}");
    assert_eq!(ends[0]["what"], "its worker does not end well", "{document}");
    assert_eq!(ends[0]["walked"], serde_json::json!(["walked::spoils_the_end_of_its_worker by EMFILE"]), "{document}");
    assert_eq!(document["cases"][0]["kinds"]["too_many_files"]["findings"], serde_json::json!([]), "{document}");
    let printed = text(&output.stdout);
    assert!(printed.contains("---- a worker of the walk ---- its end\nits worker does not end well"), "{printed}");
}

/// As `handover run` does, it writes what it knows by then.
pub(crate) fn a_walk_that_is_interrupted_writes_what_is_done() {
    let run = Run::new();
    let lane = run.lane(SANDBOX);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["walk", "--jobs", "1", "--lane", &lane, "--by", "EMFILE", "--report"]).arg(run.report_path());
    // The second of them lasts as long as it may.
    command.args(["--timeout", "60", "walk::does_not_mind", "walk::hangs_when_it_fails"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("walk::does_not_mind by EMFILE"), "{line}");
    signal("-INT", &child.id().to_string());
    assert_eq!(end_of(&mut child).code(), Some(130));
    let document = std::fs::read(run.report_path().join("walk.json")).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["error"], "the walk was interrupted", "{document}");
    let walked = |name: &str| {
        let mut cases = document["cases"].as_array().unwrap().iter();
        cases.find(|case| case["name"] == name).unwrap()["kinds"].as_object().unwrap().len()
    };
    assert_eq!((walked("walk::does_not_mind"), walked("walk::hangs_when_it_fails")), (1, 0), "{document}");
}

/// Behind many other lines, between two cases, and when the devices are closed.
pub(crate) fn what_the_kernel_says_is_judged() {
    let asked = |filters: &[&str]| {
        let run = Run::new();
        let lane = run.lane(&format!("{SANDBOX}must_observe = [\"kernel_log\"]\n"));
        let output = run.output(&[&["--lane", &lane, "--jobs", "1"], filters].concat());
        (output.status.code(), run.report())
    };
    // One that nobody put into its mouth.
    let name = "objection::comes_where_memory_is_short";
    let run = Run::new();
    let lane = run.lane(&format!("{SANDBOX}kernel_args = [\"vivid.allocators=1\"]\n"));
    assert_eq!(run.output(&["--lane", &lane, "--jobs", "1", name]).status.code(), Some(1));
    has_message(&run.report(), name, Verdict::Fail, "the kernel reported a defect: WARNING: ");
    const SAID: &str = "the kernel reported a defect: tmpfs: Unknown parameter 'BUG: KASAN: no defect but a test'";
    let (code, report) = asked(&["objection::comes_behind_much_noise"]);
    assert_eq!(code, Some(1));
    has_message(&report, "objection::comes_behind_much_noise", Verdict::Fail, SAID);
    assert!(case(&report, "objection::comes_behind_much_noise").kernel_log.len() < 500);

    let name = "objection::comes_before_more_noise_than_the_kernel_keeps";
    let (code, report) = asked(&[name]);
    let unread = case(&report, name).record.unobserved.get(&Witness::KernelLog).cloned().unwrap_or_default();
    assert!(unread.ends_with(" lines of the kernel's log were lost"), "{unread}");
    assert_eq!((code, case(&report, name).verdict), (Some(1), Verdict::Pass));
    let said = "kernel_log did not see all of 1 cases that did not fail: ";
    assert!(report.problems.iter().any(|problem| problem.starts_with(said)), "{:?}", report.problems);

    for (name, other, when) in [
        (
            "objection::comes_between_two_cases",
            "objection::comes_when_devices_are_closed",
            "between objection::comes_between_two_cases and objection::comes_when_devices_are_closed: ",
        ),
        (
            "objection::comes_when_devices_are_closed",
            "objection::comes_when_devices_are_closed",
            "when a worker closed its devices, after objection::comes_when_devices_are_closed: ",
        ),
    ] {
        let (code, report) = asked(&[name, other]);
        let problems = &report.problems;
        assert_eq!(code, Some(1), "{problems:?}");
        assert!(problems.iter().any(|problem| problem.starts_with(&format!("{when}{SAID}"))), "{problems:?}");
        assert!(report.cases.iter().all(|case| case.verdict == Verdict::Pass), "{:?}", report.summary);
    }
}

/// The kernel provokes them itself, with the body of the case none the wiser.
pub(crate) fn defects_of_the_kernel_fail_their_case() {
    let run = Run::new();
    let lane = run.lane("on = \"sandbox\"\nkernel = \"debug\"\n");
    run.output(&["--lane", &lane, "--jobs", "1", "good", "defect::"]);
    let report = run.report();
    assert_eq!((report.error.as_deref(), report.summary.pass), (None, 3), "{report:?}");
    assert!(report.machine.kernel.as_deref().is_some_and(|kernel| kernel.ends_with("-debug")), "{report:?}");
    for (name, part) in [
        ("defect::warns", "the kernel reported a defect: WARNING: drivers/misc/lkdtm/bugs.c"),
        ("defect::writes_to_memory_that_was_freed", "BUG: KASAN: slab-use-after-free in lkdtm_WRITE_AFTER_FREE"),
        ("defect::writes_behind_an_array", "UBSAN: array-index-out-of-bounds in drivers/misc/lkdtm"),
        ("defect::corrupts_a_list", "__list_add_valid_or_report"),
        ("defect::overflows_a_reference_count", "refcount_warn_saturate"),
    ] {
        has_message(&report, name, Verdict::Fail, part);
        // Each in a kernel that had not spoken yet.
        assert_eq!(case(&report, name).attempts.len(), 2);
    }
}

pub(crate) fn no_kernel_outlives_its_supervisor() {
    for (name, code) in [("-INT", Some(130)), ("-KILL", None)] {
        let run = Run::new();
        let mut child = run.start(&["--lane", &run.lane(SANDBOX), "bad::waits_to_be_killed"]);
        run.pid_of_waiting_case("");
        let kernels = children(child.id());
        assert!(!kernels.is_empty());
        signal(name, &child.id().to_string());
        assert_eq!(end_of(&mut child).code(), code);
        for kernel in kernels {
            eventually("the kernel ends", || (!is_alive(&kernel)).then_some(()));
        }
    }
}
