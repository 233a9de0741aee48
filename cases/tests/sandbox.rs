//! Is `handover sandbox` as good as running the command here?
//!
//! These tests start real kernels, through the command that users start. They claim nothing about
//! the devices inside beyond that they are there.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it as the test itself does")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// `handover sandbox` with these options and this command.
fn sandbox(options: &[&str], command: &[&str]) -> Command {
    let mut handover = Command::new(env!("CARGO_BIN_EXE_handover"));
    handover.arg("sandbox").args(options).arg("--").args(command);
    handover.stdin(Stdio::null());
    handover
}

fn shell(script: &str) -> Output {
    sandbox(&[], &["sh", "-c", script]).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Every byte, in an order that does not repeat with any small period.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at + at / 256 + at / 65_521) as u8).collect()
}

#[test]
fn code_and_streams_are_the_commands_own() {
    let output = shell("echo out; echo err >&2; exit 3");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), "out\n");
    assert_eq!(text(&output.stderr), "err\n");
}

#[test]
fn a_signal_shows_as_a_shell_shows_it() {
    assert_eq!(shell("kill -SEGV $$").status.code(), Some(128 + 11));
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let output = sandbox(&[], &["no-such-command"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(text(&output.stderr).contains("no-such-command"));
}

#[test]
fn bytes_pass_both_ways_unchanged_and_end() {
    let sent = bytes(300_000);
    let mut cat = sandbox(&[], &["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = cat.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent).unwrap()
    });
    let mut received = Vec::new();
    cat.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(cat.wait().unwrap().success());
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "a byte was changed on the way");
}

/// User-mode Linux forgets a terminal that was full once; nothing may come near that.
#[test]
fn a_conversation_goes_on_after_long_lines() {
    let mut cat = sandbox(&[], &["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = cat.stdin.take().unwrap();
    let mut stdout = BufReader::new(cat.stdout.take().unwrap());
    for length in [10, 5_000, 10, 50_000, 10] {
        let sent = "x".repeat(length) + "\n";
        stdin.write_all(sent.as_bytes()).unwrap();
        let mut received = String::new();
        stdout.read_line(&mut received).unwrap();
        assert_eq!(received.len(), sent.len());
    }
    drop(stdin);
    assert!(cat.wait().unwrap().success());
}

#[test]
fn megabytes_of_output_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let sent = bytes(5_000_000);
    let file = dir.path().join("file");
    fs::write(&file, &sent).unwrap();
    let share = dir.path().to_str().unwrap();
    let output = sandbox(&["--share", share], &["cat", file.to_str().unwrap()]).output().unwrap();
    assert!(output.stdout == sent, "{} of {} bytes", output.stdout.len(), sent.len());
}

#[test]
fn a_shared_directory_is_the_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let status = sandbox(&[], &["sh", "-c", "echo inside > made; pwd"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::read_to_string(dir.path().join("made")).unwrap(), "inside\n");
}

#[test]
fn the_harness_variables_pass_and_the_drivers_are_set() {
    let output = sandbox(&[], &["env"])
        .env("HANDOVER_SAMPLE", "passes")
        .env("OTHER_SAMPLE", "stays out")
        .env_remove("VK_DRIVER_FILES")
        .env_remove("LVP_POISON_MEMORY")
        .output()
        .unwrap();
    let environment = text(&output.stdout);
    assert!(environment.contains("HANDOVER_SAMPLE=passes\n"));
    assert!(!environment.contains("OTHER_SAMPLE"));
    assert!(environment.contains("LVP_POISON_MEMORY=true\n"));
    assert!(environment.contains("VK_DRIVER_FILES=/usr/share/handover/gpu_a.json:/usr/share/handover/gpu_b.json\n"));
    assert!(environment.contains("HANDOVER_GPU_A=Mesa "));
}

#[test]
fn every_device_and_every_view_of_the_kernel_is_there() {
    let wanted = [
        "/dev/dri/card0",
        "/dev/dri/card1",
        "/dev/dri/renderD128",
        "/dev/udmabuf",
        "/dev/dma_heap/system",
        "/dev/video7",
        "/dev/video9",
        "/sys/kernel/debug/sync/sw_sync",
        "/sys/kernel/debug/dma_buf/bufinfo",
        "/sys/kernel/config/vkms",
        "/sys/kernel/tracing/events/dma_buf",
        "/sys/kernel/tracing/events/dma/dma_map_sg",
        "/proc/self/pagemap",
        "/dev/shm",
        "/dev/pts/ptmx",
    ];
    let script = format!("for f in {}; do test -e $f || echo $f; done", wanted.join(" "));
    assert_eq!(text(&shell(&script).stdout), "");
}

#[test]
fn a_kernel_that_panics_is_an_error_that_says_why() {
    // Output is on its way for a moment, and a kernel that panics takes it along.
    let output = shell("echo before; sleep 2; echo c > /proc/sysrq-trigger; sleep 60");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(text(&output.stdout), "before\n");
    let said = text(&output.stderr);
    assert!(said.lines().next().unwrap().contains("sysrq triggered crash"), "{said}");
}

#[test]
fn what_is_no_kernel_is_refused_with_its_name() {
    for (file, why) in
        [("/bin/true", "ended with"), ("/etc/passwd", "cannot be executed"), ("/no/such", "no such file")]
    {
        let output = sandbox(&["--kernel", file], &["true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{file}");
        let said = text(&output.stderr);
        assert!(said.contains(file) && said.contains(why), "{said}");
    }
}

#[test]
fn the_kernels_log_is_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let output =
        sandbox(&["--kernel-log", log.to_str().unwrap()], &["sh", "-c", "echo a word > /dev/kmsg"]).output().unwrap();
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.starts_with("Linux version") && log.contains("a word"), "{log}");
}

/// Whether a process runs whose arguments name `dir`, where the sandbox under test keeps its own.
fn anybody_in(dir: &Path) -> bool {
    let needle = dir.as_os_str().as_encoded_bytes();
    let names = |process: &Path| {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        arguments.windows(needle.len()).any(|window| window == needle)
    };
    fs::read_dir("/proc").unwrap().flatten().any(|process| names(&process.path()))
}

fn wait_until_nobody_is_in(dir: &Path) {
    let until = Instant::now() + Duration::from_secs(5);
    while anybody_in(dir) {
        assert!(Instant::now() < until, "a process of the sandbox is left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A sandbox in the middle of a command that would go on for ever.
fn started_in(dir: &Path, options: &[&str]) -> Child {
    let mut child = sandbox(options, &["sh", "-c", "sleep 1000 & echo started; wait"])
        .env("TMPDIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert!(anybody_in(dir), "the kernel's arguments name its directory");
    child
}

const NO_PROCFS: &str = "umount -l /proc";

const NO_DEBUGFS: &str = "umount /sys/kernel/debug";

/// As for who is not root where `kernel.dmesg_restrict` is 1.
const NO_KERNEL_LOG: &str = "rm /dev/kmsg";

/// Runs `cases` in a kernel in which `hide` was done; what is printed, and the report.
fn run_without(hide: &str, cases: &[String]) -> (Output, serde_json::Value) {
    run_by("", hide, cases)
}

/// The same by a command that starts another.
fn run_by(starter: &str, hide: &str, cases: &[String]) -> (Output, serde_json::Value) {
    let program = env!("CARGO_BIN_EXE_handover");
    let folder = Path::new(program).parent().unwrap().to_str().unwrap();
    let run = format!(
        "{starter} $0 run --on host --report /tmp/report --exact {} >&2; cat /tmp/report/report.json",
        cases.join(" ")
    );
    let output =
        sandbox(&["--share", folder], &["sh", "-c", &format!("{hide} && {{ {run}; }}"), program]).output().unwrap();
    let report =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (output, report)
}

/// A case of each claim of these families: none fails for what can't be seen there, and where that is not what it is about it
/// still says what it can.
#[test]
fn no_case_fails_for_what_can_not_be_observed() {
    let list = Command::new(env!("CARGO_BIN_EXE_handover")).args(["run", "--list"]).output().unwrap();
    let mut claims = BTreeSet::new();
    let cases: Vec<String> = text(&list.stdout)
        .lines()
        .filter(|name| ["fences", "coherency", "ownership", "refusals"].contains(&name.split("::").next().unwrap()))
        .filter(|name| claims.insert(name.split("::").take(2).collect::<Vec<_>>()))
        .map(str::to_owned)
        .collect();
    for hide in [NO_DEBUGFS, NO_PROCFS] {
        let (output, report) = run_without(hide, &cases);
        let printed = text(&output.stderr);
        for verdict in ["fail", "crash", "timeout"] {
            assert_eq!(report["summary"][verdict], 0, "{hide}: {printed}");
        }
        let passed = |family: &str| {
            let cases = report["cases"].as_array().unwrap().iter();
            let of_family = cases.filter(|case| case["name"].as_str().unwrap().starts_with(family));
            let passed: Vec<bool> = of_family.map(|case| case["verdict"] == "pass").collect();
            (passed.iter().filter(|passed| **passed).count(), passed.len())
        };
        for family in ["fences::", "coherency::", "refusals::"] {
            let (passed, all) = passed(family);
            assert!(4 * passed >= 3 * all, "{hide}: {passed} of {all} {family}: {printed}");
        }
    }
}

/// Who is not root gets no handle of a framebuffer, and no software timelines; vgem makes fences for everybody.
#[test]
fn an_ordinary_user_is_told_what_is_roots() {
    let devices = "chmod -R a+rwX /dev/dri /dev/udmabuf && chmod 1777 /tmp";
    let user = "setpriv --reuid 1000 --regid 1000 --clear-groups";
    let cases = [
        "ownership::a_buffer_lives_until_the_last_lets_go::udmabuf_to_screen",
        "fences::the_cpu_reads_after_the_writer::udmabuf",
    ];
    let (output, report) = run_by(user, devices, &cases.map(str::to_owned));
    let told = |name: &str| {
        let case = report["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
        let reason = case["reason"].as_str().unwrap_or_default().to_owned();
        (case["verdict"].as_str().unwrap().to_owned(), reason)
    };
    let (verdict, reason) = told(cases[0]);
    assert!(verdict == "skip" && reason.contains("neither master nor root"), "{reason}: {}", text(&output.stderr));
    let (verdict, reason) = told(cases[1]);
    assert_eq!(verdict, "pass", "{reason}: {}", text(&output.stderr));
}

/// Who is in no group that a node lets in is told which, of every kind of node, and each case has a verdict of its own.
#[test]
fn who_may_not_open_a_node_is_told_which_group_to_join() {
    let nodes = "chgrp 44 /dev/udmabuf /dev/dma_heap/* /dev/video* /dev/dri/card* /dev/dri/renderD* && \
                 chmod 660 /dev/udmabuf /dev/dma_heap/* /dev/video* /dev/dri/card* /dev/dri/renderD* && chmod 1777 /tmp";
    let user = "setpriv --reuid 1000 --regid 1000 --clear-groups";
    let cases = ["udmabuf", "dma_heap", "video", "vgem", "gbm", "screen"]
        .map(|role| format!("matrix::arrives::{role}_to_cpu::XR24_64x64"));
    let (output, report) = run_by(user, nodes, &cases);
    for name in &cases {
        let case = report["cases"].as_array().unwrap().iter().find(|case| case["name"] == name.as_str()).unwrap();
        let (verdict, reason) = (case["verdict"].as_str().unwrap(), case["reason"].as_str().unwrap_or_default());
        let how = reason.contains("usermod -aG video");
        let told = reason.contains("/dev/") && reason.contains("video") && how;
        assert!(verdict == "skip" && told, "{name}: {verdict} {reason}: {}", text(&output.stderr));
    }
}

/// With as few as are said to do, and not one less.
#[test]
fn so_many_open_files_as_are_asked_for_are_enough() {
    let cases = ["ownership::a_hundred_exports_leave_nothing::gles".to_owned()];
    let (output, report) = run_without("ulimit -n 256", &cases);
    assert_eq!(report["summary"]["pass"], 1, "{}", text(&output.stderr));
    let program = env!("CARGO_BIN_EXE_handover");
    let folder = Path::new(program).parent().unwrap().to_str().unwrap();
    let run = format!("ulimit -n 255; $0 run --on host --report /tmp/report --exact {}", cases[0]);
    let output = sandbox(&["--share", folder], &["sh", "-c", &run, program]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("the limit of open files is 255"), "{}", text(&output.stdout));
}

/// A run on a machine that shows less: the report says of each case what was not observed, and why.
#[test]
fn what_can_not_be_observed_is_said_and_the_run_goes_on() {
    for (hide, witness, said) in [
        (NO_DEBUGFS, "ledger", &["dma-bufs: debugfs is not mounted"][..]),
        (
            NO_PROCFS,
            "ledger",
            &["open files: /proc/self/fd: No such file", "dma-bufs: ", "mappings: /proc/self/maps: "][..],
        ),
        (NO_KERNEL_LOG, "kernel_log", &["/dev/kmsg: No such file"][..]),
    ] {
        let (output, report) = run_without(hide, &["matrix::arrives::udmabuf_to_cpu::XR24_64x64".to_owned()]);
        let printed = text(&output.stderr);
        assert!(printed.contains("green: 1 of 1 cases: 1 pass"), "{hide}: {printed}");
        let unobserved = report["cases"][0]["unobserved"][witness].as_str().unwrap_or_default();
        assert!(said.iter().all(|words| unobserved.contains(words)), "{hide}: {unobserved}");
    }
}

#[test]
fn a_deadline_ends_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = started_in(dir.path(), &["--deadline", "2"]);
    assert_eq!(child.wait().unwrap().code(), Some(124));
    wait_until_nobody_is_in(dir.path());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a directory is left");
}

#[test]
fn no_signal_leaves_a_process() {
    for signal in ["TERM", "INT", "HUP", "KILL"] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = started_in(dir.path(), &[]);
        let kill = Command::new("sh")
            .args([OsStr::new("-c"), OsStr::new("kill -$0 $1")])
            .arg(signal)
            .arg(child.id().to_string())
            .status();
        assert!(kill.unwrap().success());
        assert!(!child.wait().unwrap().success(), "{signal}");
        wait_until_nobody_is_in(dir.path());
    }
}

#[test]
fn several_at_once_do_not_meet() {
    let children: Vec<Child> = (0..3)
        .map(|number| {
            let script = format!("echo {number} > /tmp/file; sleep 0.3; cat /tmp/file");
            sandbox(&[], &["sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (number, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let said = format!("{}; {}", output.status, text(&output.stderr));
        assert_eq!(text(&output.stdout), format!("{number}\n"), "{said}");
    }
}
