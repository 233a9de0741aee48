//! How does the set-up run the tools of the machine it is on?
//!
//! Each ends with this process whatever happens, has a deadline, and if it fails the error carries
//! the end of what it complained of, or else of what it printed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, unbounded};

use super::SetupError;
use super::log::CappedLog;
use super::progress::Progress;
use crate::kernel::Group;

/// Kept of each end of a tool's output for an error text, bytes.
const KEPT: usize = 64 * 1024;

/// Lines of a tool's output in an error text.
const LINES: usize = 15;

/// Runs `command`, which is `what` in words, and returns the lines of its standard output.
///
/// `each` sees every line of it as it comes.
pub(super) fn run(
    what: &str,
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
    mut each: impl FnMut(&str, &mut dyn Progress),
) -> Result<Vec<String>, SetupError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command).map_err(SetupError::io(format!("starting {program} for {what}")))?;
    let until = Instant::now() + limit;
    let (sender, lines) = unbounded();
    let pipes: [(Option<OwnedFd>, bool); 2] =
        [(group.child.stdout.take().map(Into::into), true), (group.child.stderr.take().map(Into::into), false)];
    for (pipe, is_output) in pipes {
        let sender = sender.clone();
        let Some(pipe) = pipe else { continue };
        thread::spawn(move || {
            for line in BufReader::new(File::from(pipe)).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send((is_output, line)).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);

    let (mut said, mut complained) = (CappedLog::new(KEPT), CappedLog::new(KEPT));
    let mut output = Vec::new();
    let failure = |how: String, said: &CappedLog, complained: &CappedLog| SetupError::Tool {
        what: what.to_owned(),
        program: program.clone(),
        how,
        // With many at work, what is printed last is rarely what went wrong.
        output: if complained.text().trim().is_empty() { said } else { complained }.last_lines(LINES),
    };
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok((is_output, line)) => {
                let kept = if is_output { &mut said } else { &mut complained };
                kept.push(line.as_bytes());
                kept.push(b"\n");
                if is_output {
                    each(&line, progress);
                    output.push(line);
                }
            }
            Err(RecvTimeoutError::Timeout) => progress.alive(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if Instant::now() >= until {
            let how = format!("took longer than {} s", limit.as_secs());
            return Err(failure(how, &said, &complained));
        }
    }
    let ended = group.wait(Some(until)).map_err(SetupError::io(format!("waiting for {program}")))?;
    match ended {
        Some(status) if status.success() => Ok(output),
        Some(status) => Err(failure(format!("ended with {status}"), &said, &complained)),
        None => Err(failure("closed its output and went on".into(), &said, &complained)),
    }
}

/// Runs `command` for what it does, not for what it prints.
pub(super) fn run_quietly(
    what: &str,
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<(), SetupError> {
    run(what, command, limit, progress, |_, _| {}).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::progress::Silent;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str, limit: Duration) -> Result<Vec<String>, SetupError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run("a test", &mut command, limit, &mut Silent, |_, _| {})
    }

    #[test]
    fn the_output_comes_back_and_the_rest_does_not() {
        let lines = shell("echo one; echo aside >&2; echo two", LIMIT).unwrap();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_failure_says_what_was_printed_last() {
        let error = shell("echo first; echo no room >&2; exit 7", LIMIT).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("a test") && text.contains("exit status: 7"), "{text}");
        assert!(text.contains("no room"), "{text}");
    }

    #[test]
    fn a_tool_that_hangs_is_ended() {
        let started = Instant::now();
        let error = shell("echo stuck; sleep 60", Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("longer than 1 s"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_missing_tool_is_named() {
        let mut command = Command::new("no-such-tool");
        let error = run_quietly("a test", &mut command, LIMIT, &mut Silent).unwrap_err();
        assert!(error.to_string().contains("no-such-tool"), "{error}");
    }
}
