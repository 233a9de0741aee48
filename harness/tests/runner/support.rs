//! What the tests share: a folder for a report, the command that writes it, and waiting.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use handover::report::{CaseReport, Report};
use handover::verdict::Verdict;

/// A folder with room for a report, and the command that writes it.
pub(crate) struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    pub(crate) fn new() -> Run {
        Run { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn report_path(&self) -> PathBuf {
        self.folder.path().join("report")
    }

    pub(crate) fn lane(&self, text: &str) -> String {
        let path = self.folder.path().join("lab.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("run").arg("--report").arg(self.report_path()).args(args);
        command.env_remove("CI").env_remove("HANDOVER_LANE").env_remove("HANDOVER_ON").stdin(Stdio::null());
        if !args.contains(&"--lane") {
            command.env("HANDOVER_ON", "host");
        }
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.report_path().join("journal.jsonl")
    }

    /// Finishes what was cut off.
    pub(crate) fn resume(&self, args: &[&str]) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("run").arg("--resume").arg(self.report_path()).args(args);
        command
            .env_remove("CI")
            .env_remove("HANDOVER_LANE")
            .env_remove("HANDOVER_ON")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn report(&self) -> Report {
        let text = std::fs::read(self.report_path().join("report.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The worker in which the case that waits to be killed runs; another one than `last`.
    pub(crate) fn pid_of_waiting_case(&self, last: &str) -> String {
        let folder = self.report_path().join("cases/bad.waits_to_be_killed");
        // A second try has a folder of its own.
        let paths = ["pid", "repeated/pid"].map(|path| folder.join(path));
        eventually("the case writes its pid", || {
            let mut pids = paths.iter().filter_map(|path| std::fs::read_to_string(path).ok());
            pids.find(|pid| !pid.is_empty() && pid != last)
        })
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn case<'a>(report: &'a Report, name: &str) -> &'a CaseReport {
    let found = report.cases.iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("{name} is not in the report"))
}

#[track_caller]
pub(crate) fn has_message(report: &Report, name: &str, verdict: Verdict, part: &str) {
    let case = case(report, name);
    assert_eq!(case.verdict, verdict, "{name}: {case:?}");
    let message = case.message.as_deref().or(case.reason.as_deref()).unwrap_or("");
    assert!(message.contains(part), "{name}: {message:?} holds no {part:?}");
}

/// Waits until `ready` gives something, for 20 s at most.
pub(crate) fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not after 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn end_of(child: &mut Child) -> ExitStatus {
    eventually("the command ends", || child.try_wait().unwrap())
}

pub(crate) fn signal(name: &str, pid: &str) {
    assert!(Command::new("/bin/kill").args([name, pid]).status().unwrap().success());
}

/// The processes that `pid` started and has not waited for.
pub(crate) fn children(pid: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// A zombie that nobody has collected yet runs no more.
pub(crate) fn is_alive(pid: &str) -> bool {
    let state = |stat: String| stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| state(stat) != Some('Z'))
}

pub(crate) fn assert_no_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(["report.json", "junit.xml", "cases"].contains(&name.as_str()), "{name} was left behind");
    }
}
