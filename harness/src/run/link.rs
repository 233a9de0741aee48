//! One worker as the supervisor sees it: ask it to run a case, and learn how that ended.
//!
//! Three threads read and nobody waits without a deadline. What to do about an ending (repeat, replace, stop) is
//! [`super::supervisor`]'s.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select_biased};

use super::kernel_log::{self, KernelLog};
use super::protocol::{Done, END_OF_OUTPUT, Hello, MAX_LINE, Reply, Request, WHERE};
use super::stop::Stop;
use crate::case::{CaseInfo, DeviceIdentity, Role};
use crate::disturb::Call;
use crate::kernel::{Command, Exit, Kernel, Running};
use crate::lane::DEBUG_RELEASE;

/// How long a worker that closed its protocol may take to end.
const LAST_BREATH: Duration = Duration::from_secs(3);

/// How long a worker may take to close its devices at the end of its life; much, for a machine that is busy with other things.
const CLOSING: Duration = Duration::from_secs(20);

/// The same on a kernel that then looks for memory that was lost.
const SLOW_CLOSING: Duration = Duration::from_secs(40);

/// How much of a kernel's log goes with a worker that did not live to report on its case.
const LAST_LINES: usize = 60;

/// How long the output of a case may arrive after its answer.
const LATE_OUTPUT: Duration = Duration::from_millis(500);

/// How long a worker may take to say where its case hangs.
const TELLING: Duration = Duration::from_millis(500);

/// A worker process with its devices.
pub(super) struct Link {
    running: Running,
    requests: Option<File>,
    replies: Receiver<Line>,
    output: Arc<Mutex<Output>>,
    output_ended: Receiver<()>,
    /// What the worker said about where it runs.
    pub(super) hello: Hello,
    /// The cases it has run, oldest first.
    pub(super) ran: Vec<String>,
    /// The devices that answered for the roles of its cases; those of the last case were known before its body began.
    devices: BTreeMap<Role, DeviceIdentity>,
    /// The call of the last case that met its disturbance.
    pub(super) met: Option<Box<Call>>,
    /// Bytes in its kernel's log when the last case began.
    logged_before: u64,
    /// The machine's log, where the worker has no kernel of its own.
    machine: Option<Box<MachineLog>>,
    /// Whether the last case has failed for what its kernel said.
    is_told: bool,
}

/// The log of the machine: what it says when the worker is gone, nobody else reads.
struct MachineLog {
    log: KernelLog,
    /// What was read of it since the last case began.
    said: Vec<String>,
}

/// How a worker closed its devices.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// If it did not end well, how it ended.
    pub(super) badly: Option<String>,
    /// What was objected to after its last case.
    pub(super) objections: Vec<String>,
}

/// What arrived on the protocol.
enum Line {
    Reply(Reply),
    /// Something that is no reply; the text says what.
    Garbage(String),
}

/// How a request ended.
pub(super) enum Ending {
    /// The worker answered and lives.
    Done(Box<Done>),
    /// The worker ended in the middle of the case; the text says how.
    Crashed(String),
    /// The deadline passed; the worker was killed. Where it was then, if it could say so.
    TimedOut(Option<String>),
    /// The worker ended before it began the case; the text says how.
    NeverBegan(String),
    /// The run is being stopped; the worker was killed.
    Stopped,
}

impl Link {
    /// Starts a worker and waits until it is ready.
    ///
    /// # Errors
    /// What could not be started, or what the worker did instead of greeting.
    pub(super) fn start(kernel: &dyn Kernel, command: &Command, within: Duration, stop: &Stop) -> Result<Link, String> {
        let mut running = kernel.spawn(command).map_err(|error| format!("a worker could not be started: {error}"))?;
        let (requests, stdout, stderr) = match (running.stdin.take(), running.stdout.take(), running.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => (stdin, stdout, stderr),
            _ => return Err("a worker was started without its pipes".into()),
        };
        let (requests, stdout, stderr) = (File::from(requests), File::from(stdout), File::from(stderr));
        let (reply_sender, replies) = crossbeam_channel::unbounded();
        let (ended_sender, output_ended) = crossbeam_channel::unbounded();
        let output = Arc::new(Mutex::new(Output::default()));
        let kept = Arc::clone(&output);
        thread("replies", move || read_replies(stdout, &reply_sender))?;
        thread("output", move || read_output(stderr, &kept, &ended_sender))?;

        let hello = Hello { kernel: String::new(), no_kernel_log: None };
        let mut link = Link {
            running,
            requests: Some(requests),
            replies,
            output,
            output_ended,
            hello,
            ran: Vec::new(),
            devices: BTreeMap::new(),
            met: None,
            logged_before: 0,
            machine: None,
            is_told: false,
        };
        if link.running.kernel_log_from(0).is_none() {
            // Who may not read it is told so by the worker.
            link.machine = KernelLog::open().ok().map(|log| Box::new(MachineLog { log, said: Vec::new() }));
        }
        let deadline = Instant::now() + within;
        match link.next(deadline, stop) {
            Next::Line(Line::Reply(Reply::Hello(hello))) => link.hello = hello,
            Next::Line(Line::Reply(other)) => {
                return Err(format!("the worker did not greet but said {other:?}"));
            }
            Next::Line(Line::Garbage(what)) => {
                return Err(format!("the worker did not greet: {what}"));
            }
            Next::Closed => {
                let how = link.how_it_ended();
                return Err(format!("the worker {how} before it was ready{}", link.last_words()));
            }
            Next::Late => {
                let within = within.as_secs_f64();
                return Err(format!("the worker was not ready after {within} s{}", link.last_words()));
            }
            Next::Stopped => return Err("the run was stopped".into()),
        }
        Ok(link)
    }

    /// Runs one case.
    pub(super) fn run(&mut self, request: &Request, within: Duration, stop: &Stop) -> Ending {
        self.output().clear();
        self.met = None;
        while self.output_ended.try_recv().is_ok() {}
        self.logged_before = self.running.kernel_logged();
        if let Some(machine) = &mut self.machine {
            machine.log.take();
            machine.said.clear();
        }
        if let Err(error) = self.ask(request) {
            return Ending::NeverBegan(format!("{} ({error})", self.how_it_ended()));
        }
        let deadline = Instant::now() + within;
        let (mut began, mut last_words) = (false, String::new());
        loop {
            match self.next(deadline, stop) {
                Next::Line(Line::Reply(Reply::Began)) => {
                    began = true;
                    self.ran.push(request.run.clone());
                }
                Next::Line(Line::Reply(Reply::Devices(devices))) if began => self.learn(devices),
                Next::Line(Line::Reply(Reply::At { place })) if began => last_words = format!(", {place}"),
                Next::Line(Line::Reply(Reply::Met(call))) if began => self.met = Some(Box::new(call)),
                Next::Line(Line::Reply(Reply::Done(done))) if began => {
                    self.is_told = kernel_log::finding(&done.kernel_log).is_some();
                    self.await_output();
                    return Ending::Done(done);
                }
                Next::Line(Line::Reply(other)) => {
                    self.running.kill();
                    return Ending::Crashed(format!("the worker answered out of turn: {other:?}"));
                }
                Next::Line(Line::Garbage(what)) => {
                    self.running.kill();
                    return Ending::Crashed(format!("the protocol of the worker was broken in this case: {what}"));
                }
                Next::Closed => {
                    let how = self.how_it_ended();
                    self.await_output();
                    return if began {
                        Ending::Crashed(format!("the worker {how} in the middle of this case{last_words}"))
                    } else {
                        Ending::NeverBegan(how)
                    };
                }
                Next::Late => {
                    let place = self.place();
                    self.running.kill();
                    self.await_output();
                    return Ending::TimedOut(place);
                }
                Next::Stopped => {
                    self.running.kill();
                    return Ending::Stopped;
                }
            }
        }
    }

    fn learn(&mut self, devices: BTreeMap<Role, Option<DeviceIdentity>>) {
        for (role, device) in devices {
            match device {
                Some(device) => _ = self.devices.insert(role, device),
                None => _ = self.devices.remove(&role),
            }
        }
    }

    /// The devices that answered for the roles of `case`, which is the last one.
    pub(super) fn devices_of(&self, case: &CaseInfo) -> BTreeMap<Role, DeviceIdentity> {
        case.roles().into_iter().filter_map(|role| Some((role, self.devices.get(&role)?.clone()))).collect()
    }

    /// Where a case is that does not end. The worker's other thread tells, unless all of it hangs, or its kernel.
    fn place(&mut self) -> Option<String> {
        let deadline = Instant::now() + TELLING;
        writeln!(self.requests.as_mut()?, "{WHERE}").ok()?;
        loop {
            match self.replies.recv_deadline(deadline).ok()? {
                Line::Reply(Reply::At { place }) => return Some(place),
                // Whatever it says now is too late.
                Line::Reply(_) | Line::Garbage(_) => {}
            }
        }
    }

    /// Waits for the rest of what the case printed, which may be behind the answer or the worker's end.
    fn await_output(&self) {
        let _ = self.output_ended.recv_timeout(LATE_OUTPUT);
    }

    /// What the worker printed during the last case.
    pub(super) fn output_text(&self) -> String {
        self.output().text()
    }

    /// What the worker's kernel logged since the last case began, as far as its end is kept, and its first defect.
    pub(super) fn kernel_log(&mut self) -> Vec<String> {
        let own = self.running.kernel_log_from(self.logged_before);
        if let Some(machine) = &mut self.machine {
            machine.said.extend(machine.log.take().lines);
        }
        let machines = self.machine.iter().flat_map(|machine| machine.said.iter().map(String::as_str));
        let lines = own.iter().flat_map(|log| log.lines()).chain(machines);
        let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
        kernel_log::tail(&lines, LAST_LINES)
    }

    /// Closes the worker's devices in order.
    pub(super) fn close(mut self) -> Closing {
        let within = if self.hello.kernel.ends_with(DEBUG_RELEASE) { SLOW_CLOSING } else { CLOSING };
        self.output().clear();
        self.requests = None;
        let badly = match self.running.wait_for(within) {
            Ok(Some(Exit::Code(0))) => None,
            Ok(None) => {
                self.running.kill();
                Some(format!("did not end within {} s of its last case", within.as_secs()))
            }
            _ => Some(format!("{} when it closed its devices{}", self.how_it_ended(), self.last_words())),
        };
        let mut objections = Vec::new();
        // They end with the process.
        while let Ok(line) = self.replies.recv_timeout(LATE_OUTPUT) {
            if let Line::Reply(Reply::Closed { objections: said }) = line {
                objections.extend(said);
            }
        }
        if objections.is_empty() && !self.is_told {
            // What the kernel itself closed, it did when the worker could not look any more.
            objections.extend(kernel_log::finding(&self.kernel_log()));
        }
        Closing { badly, objections }
    }

    fn ask(&mut self, request: &Request) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let Some(requests) = &mut self.requests else {
            return Err(std::io::Error::other("its input is closed"));
        };
        requests.write_all(&line)?;
        requests.flush()
    }

    fn next(&self, deadline: Instant, stop: &Stop) -> Next {
        let late = crossbeam_channel::at(deadline);
        select_biased! {
            recv(stop.stopped()) -> _ => Next::Stopped,
            recv(self.replies) -> line => line.map_or(Next::Closed, Next::Line),
            recv(late) -> _ => Next::Late,
        }
    }

    /// How the process ended, as the rest of a sentence about "the worker". Kills it if it has not ended.
    fn how_it_ended(&mut self) -> String {
        match self.running.wait_for(LAST_BREATH) {
            Ok(Some(exit)) => {
                let how = ended(&exit);
                // What it started has no worker any more.
                self.running.kill();
                how
            }
            Ok(None) => {
                self.running.kill();
                "closed its answers without ending, and was killed".to_owned()
            }
            Err(error) => format!("was lost: {error}"),
        }
    }

    /// The end of what it printed, for errors outside any case.
    fn last_words(&mut self) -> String {
        let text = self.output().text();
        let log = self.kernel_log();
        let lines: Vec<&str> = log.iter().map(String::as_str).chain(text.lines()).collect();
        match lines.as_slice() {
            [] => String::new(),
            lines => format!("; it printed:\n    {}", lines[lines.len().saturating_sub(20)..].join("\n    ")),
        }
    }

    fn output(&self) -> std::sync::MutexGuard<'_, Output> {
        // A reader that panicked leaves bytes that are still worth showing.
        self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

enum Next {
    Line(Line),
    Closed,
    Late,
    Stopped,
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map(drop)
        .map_err(|error| format!("a thread to read from the worker could not be started: {error}"))
}

fn read_replies(stdout: impl Read, replies: &Sender<Line>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match stdout.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(reply) if line.ends_with(b"\n") => Line::Reply(reply),
            _ => Line::Garbage(format!("{} bytes that are no answer: {:?}", line.len(), beginning(&line))),
        };
        if replies.send(reply).is_err() {
            return;
        }
    }
}

fn beginning(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned()
}

fn read_output(stderr: impl Read, output: &Mutex<Output>, ended: &Sender<()>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match stderr.by_ref().take(64 << 10).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let (bytes, is_end) = match line.strip_suffix(END_OF_OUTPUT) {
            Some(before) => (before, true),
            None => (line.as_slice(), false),
        };
        output.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(bytes);
        if is_end && ended.send(()).is_err() {
            return;
        }
    }
}

/// What a worker printed, without what would be too much: the first and the last of it are kept.
#[derive(Default)]
struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Output {
    const HEAD: usize = 16 << 10;
    const TAIL: usize = 48 << 10;

    fn clear(&mut self) {
        *self = Output::default();
    }

    fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(Self::HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(Self::TAIL);
        self.tail.drain(..excess);
        self.dropped += excess as u64;
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.dropped > 0 {
            text += &format!("\n[… {} B left out …]\n", self.dropped);
        }
        let (front, back) = self.tail.as_slices();
        text + &String::from_utf8_lossy(&[front, back].concat())
    }
}

/// How a process ended, as the rest of a sentence.
fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Code(status) => format!("ended with exit status {status}"),
        Exit::Signal(number) => format!("was killed by {}", signal_name(*number)),
        Exit::KernelDied { why, .. } => format!("lost its kernel: {why}"),
        Exit::Deadline(after) => format!("was ended after {} s", after.as_secs()),
    }
}

/// The signal that somebody else sends.
pub(super) const KILLED: &str = "SIGKILL (from outside, or the kernel was out of memory)";

/// The signal of which the kernel's log tells where it was.
pub(super) const SEGFAULT: &str = "SIGSEGV (invalid memory access)";

/// The name of a signal, with what it usually means.
fn signal_name(number: i32) -> String {
    match number {
        2 => "SIGINT".into(),
        3 => "SIGQUIT".into(),
        4 => "SIGILL (an instruction that this processor does not have)".into(),
        5 => "SIGTRAP".into(),
        6 => "SIGABRT (an assertion or abort)".into(),
        7 => "SIGBUS (access past the end of what backs a mapping)".into(),
        8 => "SIGFPE (a division by zero)".into(),
        9 => KILLED.into(),
        11 => SEGFAULT.into(),
        13 => "SIGPIPE".into(),
        15 => "SIGTERM".into(),
        31 => "SIGSYS (a system call that is not allowed)".into(),
        other => format!("signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_keeps_both_ends() {
        let mut output = Output::default();
        output.push(b"first\n");
        for _ in 0..200 {
            output.push(&[b'x'; 1000]);
        }
        output.push(b"last\n");
        let text = output.text();
        assert!(text.starts_with("first\n") && text.ends_with("last\n"));
        assert!(text.len() < 70 << 10, "{}", text.len());
        let kept = Output::HEAD + Output::TAIL;
        assert!(text.contains(&format!("{} B left out", 200_000 + 11 - kept)));
    }

    #[test]
    fn an_end_names_the_signal() {
        assert_eq!(ended(&Exit::Code(0)), "ended with exit status 0");
        assert!(ended(&Exit::Signal(11)).starts_with("was killed by SIGSEGV ("));
        assert_eq!(ended(&Exit::Signal(40)), "was killed by signal 40");
    }
}
