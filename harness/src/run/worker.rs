//! How does one case run inside a worker, and how does its answer get out whatever the driver does?
//!
//! A worker keeps its devices open and runs one case after another, each when the supervisor asks. Deadlines,
//! repeats and verdicts on dead workers are the supervisor's.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};

use super::heap;
use super::kernel_log::{self, KernelLog, Said};
use super::last_words;
use super::leaks::Leaks;
use super::protocol::{Done, END_OF_OUTPUT, Hello, Reply, Request, WHERE};
use super::{memory, millis};
use crate::case::{Bench, Case, CaseStart, DeviceIdentity, Role, Trouble, Witness};
use crate::disturb::{Call, Disturbance, Disturber, change, disturber, listed};
use crate::finding::Finding;
use crate::ledger;
use crate::verdict::{self, Verdict, row};

/// Set while a case runs, for the thread that watches the supervisor.
static IN_CASE: AtomicBool = AtomicBool::new(false);

/// Where the last panic was and what it said; the payload alone has no place.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// How the cases of a worker can be disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Disturbed {
    /// System calls wait for a listener that decides about them, which costs each of them a detour.
    WithListener,
    /// In every other way.
    WithoutListener,
}

/// Serves requests until the supervisor closes its end.
///
/// # Errors
/// What went wrong with the protocol's own files; a case that fails is an answer, not an error.
///
/// `disturbed` makes it one whose cases can be disturbed.
pub fn serve<B: Bench>(cases: &[Case<B>], disturbed: Option<Disturbed>) -> io::Result<()> {
    let (requests, mut replies) = take_protocol()?;
    remember_panics();
    heap::populate();
    let mut kernel_log = KernelLog::open().map_err(|error| format!("{}: {error}", kernel_log::KMSG));
    let no_kernel_log = kernel_log.as_ref().err().cloned();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    send(&mut replies, &Reply::Hello(Hello { kernel, no_kernel_log }))?;

    let requests = read_requests(requests, replies.try_clone()?)?;
    let mut last = replies.try_clone()?;
    last_words::on_death(move || {
        let _ = send(&mut last, &Reply::At { place: ledger::last_call() });
    })?;
    // After the threads above were started, which wait for requests and for death, and are no part of any case.
    let disturber = match disturbed {
        None => None,
        Some(Disturbed::WithoutListener) => Some(Disturber::without_listener()),
        Some(Disturbed::WithListener) => {
            let answers = replies.try_clone()?;
            Some(Disturber::start(move |call| tell_met(&answers, call)).map_err(io::Error::other)?)
        }
    };
    let mut leaks = Leaks::watch();
    let at_first = disturber.as_ref().map(|_| disturber::dmabufs());
    let mut bench = B::new();
    let mut told = BTreeMap::new();
    for line in requests {
        let mut request: Request = serde_json::from_str(&line)
            .map_err(|error| io::Error::other(format!("the request {line:?} cannot be read: {error}")))?;
        let case = cases.iter().find(|case| case.info.name == request.run).ok_or_else(|| {
            io::Error::other(format!("this worker has no case `{}`: not the supervisor's binary", request.run))
        })?;
        send(&mut replies, &Reply::Began)?;
        if let Some(leaks) = &mut leaks {
            leaks.began(&request.run);
        }
        IN_CASE.store(true, Ordering::SeqCst);
        let tell = |devices: BTreeMap<Role, Option<DeviceIdentity>>| {
            // Most cases have the devices of one before, and a message wakes three processes.
            if devices.iter().all(|(role, device)| told.get(role) == Some(device)) {
                return Ok(());
            }
            told.extend(devices.clone());
            send(&mut replies, &Reply::Devices(devices))
        };
        let disturbance = disturber.as_ref().zip(request.disturbance);
        let before = request.held.take();
        let mut done = run_case(case, &mut bench, &mut kernel_log, request, disturbance, tell);
        if let Some(met) = &mut done.met {
            met.held = match before {
                Some(before) => disturber::settled(&before, disturber::held),
                None => disturber::held(),
            };
        }
        IN_CASE.store(false, Ordering::SeqCst);
        io::stdout().flush()?;
        io::stderr().write_all(END_OF_OUTPUT)?;
        send(&mut replies, &Reply::Done(Box::new(done)))?;
    }
    drop(bench);
    let said = take(&mut kernel_log);
    let mut objections: Vec<String> = kernel_log::finding(&said.lines).into_iter().collect();
    objections.extend(kernel_log::lost(0, said.lost));
    if let Some(at_first) = at_first {
        let left = change(&at_first, &disturber::settled(&at_first, disturber::dmabufs));
        let left = (!left.is_empty()).then(|| format!("when its devices are closed there are {}", listed(&left)));
        objections.extend(left);
    }
    objections.extend(leaks.and_then(|leaks| leaks.lost()));
    // A supervisor that is gone has no use for it.
    let _ = send(&mut replies, &Reply::Closed { objections });
    Ok(())
}

/// What the kernel said since the last time; that nobody can tell, and why, where its log can't be opened.
fn take(log: &mut Result<KernelLog, String>) -> Said {
    match log {
        Ok(log) => log.take(),
        Err(why) => Said::unheard(why),
    }
}

/// Moves the protocol off the standard streams.
///
/// Drivers print to standard output, and a line of theirs between two answers would break the protocol. What is
/// printed there goes to standard error from now on, and nobody else can read the supervisor's requests.
fn take_protocol() -> io::Result<(File, File)> {
    let requests = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let replies = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    rustix::stdio::dup2_stdin(rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty())?)?;
    Ok((File::from(requests), File::from(replies)))
}

/// Reads requests on a thread of its own, so that a case that hangs does not outlive its supervisor, and can tell it where.
fn read_requests(requests: File, mut replies: File) -> io::Result<crossbeam_channel::Receiver<String>> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    std::thread::Builder::new().name("requests".into()).spawn(move || {
        for line in BufReader::new(requests).lines() {
            let Ok(line) = line else { break };
            if line == WHERE {
                let _ = send(&mut replies, &Reply::At { place: ledger::whereabouts() });
                continue;
            }
            if sender.send(line).is_err() {
                return;
            }
        }
        // The supervisor is gone. Between cases the devices are closed in order; in a case nothing is left to save.
        if IN_CASE.load(Ordering::SeqCst) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    })?;
    Ok(receiver)
}

fn send(replies: &mut File, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    replies.write_all(&line)
}

/// Says which call meets its disturbance, without an allocation and in one write: the case may never come back from it.
fn tell_met(mut replies: &File, call: Call) {
    let mut line = [0_u8; 256];
    let mut left = line.as_mut_slice();
    if serde_json::to_writer(&mut left, &Reply::Met(call)).is_ok() && left.write_all(b"\n").is_ok() {
        let length = line.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let _ = replies.write_all(&line[..length]);
    }
}

/// Runs a case; `tell` says which devices play its roles before its body begins, since a driver may not live to say.
fn run_case<B: Bench>(
    case: &Case<B>,
    bench: &mut B,
    log: &mut Result<KernelLog, String>,
    request: Request,
    disturbance: Option<(&Disturber, Disturbance)>,
    tell: impl FnOnce(BTreeMap<Role, Option<DeviceIdentity>>) -> io::Result<()>,
) -> Done {
    let said_before = take(log);
    let began = Instant::now();
    let mut met = None;
    let Request { run, artifacts, golden, within, .. } = request;
    let start = CaseStart { name: run, artifacts, golden, within };
    let body = caught(|| {
        bench.begin(start);
        tell(devices(case, bench)).map_err(|error| Finding::new(format!("the supervisor does not listen: {error}")))?;
        if let Some(reason) = missing(case, bench)? {
            return Err(Trouble::Skip(reason));
        }
        let disturbed = disturbance.map(|(disturber, what)| disturber.begin(what)).transpose()?;
        let mut body = || panic::catch_unwind(AssertUnwindSafe(|| (case.body)(bench)));
        let outcome = match disturbed {
            None => body(),
            Some(disturbed) => {
                let (outcome, came) = disturbed.during(body)?;
                met = Some(came);
                outcome
            }
        };
        outcome.unwrap_or_else(|payload| panic::resume_unwind(payload))
    });
    let (mut findings, mut each) = (Vec::new(), Vec::new());
    let (mut skipped, mut on_the_way) = (None, false);
    match body {
        Ok(Ok(())) => {}
        Ok(Err(Trouble::Skip(reason))) => skipped = Some(reason),
        Ok(Err(Trouble::Fail(finding))) => {
            each = finding.each();
            on_the_way = finding.on_the_way;
            findings.push(finding.to_string());
        }
        Err(panicked) => {
            on_the_way = true;
            each.push(panicked.clone());
            findings.push(panicked);
        }
    }
    let of_the_body = findings.len();
    let held = findings.is_empty() && skipped.is_none();
    let notes = caught(|| bench.end(held)).unwrap_or_else(|panicked| {
        findings.push(format!("at the end of the case: {panicked}"));
        Default::default()
    });
    findings.extend(notes.findings);
    let Said { lines: kernel_log, lost, failed } = take(log);
    findings.extend(kernel_log::finding(&kernel_log));
    let said_by_the_body = each.len();
    each.extend_from_slice(&findings[of_the_body..]);
    let mut record = notes.record;
    let lost = kernel_log::lost(said_before.lost, lost);
    // That nobody can read it is a matter of the machine, which the report says once.
    if let (Some(why), Some(last)) = (&lost, findings.last_mut()) {
        last.push_str(&format!("\n\n{}", row("not observed", why)));
    }
    let unread = failed.or(said_before.failed).into_iter().chain(lost).reduce(|all, why| format!("{all}; {why}"));
    record.unobserved.extend(unread.map(|why| (Witness::KernelLog, why)));

    let (verdict, text) = match (findings.is_empty(), skipped) {
        (true, None) => (Verdict::Pass, String::new()),
        (true, Some(reason)) => (Verdict::Skip, reason),
        // A case that skips and leaves something behind, or makes the kernel warn, has a finding all the same.
        (false, _) => (Verdict::Fail, verdict::together(&findings)),
    };
    Done {
        verdict,
        text,
        findings: each,
        of_the_body: said_by_the_body,
        on_the_way,
        duration_ms: millis(began.elapsed()),
        kernel_log,
        record,
        told: notes.told,
        peak_kib: memory::peak_kib(),
        before: notes.before.into_iter().chain(kernel_log::finding(&said_before.lines)).collect(),
        met,
    }
}

/// The first need that is not met, as the reason of a skip.
fn missing<B: Bench>(case: &Case<B>, bench: &mut B) -> Result<Option<String>, Trouble> {
    for need in &case.info.needs {
        if let Some(instead) = bench.missing(need)? {
            return Ok(Some(format!("needs {need}; {instead}")));
        }
    }
    Ok(None)
}

/// Who answered for the roles of the case.
fn devices<B: Bench>(case: &Case<B>, bench: &mut B) -> BTreeMap<Role, Option<DeviceIdentity>> {
    case.info.roles().into_iter().map(|role| (role, bench.identify(role))).collect()
}

/// Runs `action`; a panic becomes text that says where it was.
fn caught<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(action)).map_err(|payload| {
        let said = PANIC.lock().map_or(None, |mut said| said.take());
        said.unwrap_or_else(|| format!("panicked: {}", payload_text(payload.as_ref())))
    })
}

fn remember_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
        if let Ok(mut said) = PANIC.lock() {
            *said = Some(format!("panicked{place}: {}", payload_text(info.payload())));
        }
        // With RUST_BACKTRACE this prints the trace, which goes with the case's output.
        default(info);
    }));
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("(a panic with no text)")
}
