//! Another process that takes part in sharing a buffer: it has devices of its own and is reached by fds and messages alone.
//!
//! One peer plays one role. It serves one request after another until its socket closes; what it sees it reports as pixels,
//! and whether they are right is for the process that asked to say.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::case::Role;
use crate::channel::{Channel, Received, brief};
use crate::devices::Devices;
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::ends::{self, End};
use crate::error::{Cause, Error, Refusal, Result};
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Size};
use crate::ledger;
use crate::observed::{NotObservable, Observed};
use crate::pattern::Pattern;
use crate::picture::Picture;
use crate::procfs;
use crate::share::constraints::Party;
use crate::share::core::Access;
use crate::share::remote::{RemoteBuffer, RemoteMapping};
use crate::vk::{HandleType, ImageRequest, ImportRequest, Layout, Room};
use books::{Books, Left};

mod books;

/// Within this time a peer must answer; opening its devices is part of the first answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// The same in ms where somebody said so; 0 is nobody.
static PATIENCE_MS: AtomicU64 = AtomicU64::new(0);

/// From now on peers of this process must answer within `patience`, where it is expected that they do not.
pub(crate) fn set_patience(patience: Duration) {
    PATIENCE_MS.store(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn deadline() -> Duration {
    match PATIENCE_MS.load(Ordering::Relaxed) {
        0 => DEADLINE,
        ms => Duration::from_millis(ms),
    }
}

/// What a peer is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// Make an image, draw the pattern of `stamp`, and hand it out.
    Draw { fourcc: Fourcc, size: Size, stamp: u32 },
    /// Take in the frame that comes along, and tell its pixels.
    Read { frame: Frame, dedicated: bool },
    /// Take in the frame that comes along, and draw the pattern of `stamp` into it.
    DrawInto { frame: Frame, dedicated: bool, stamp: u32 },
    /// Attach to the buffer that is served on the socket that comes along, and go on as `part` says.
    TakePart { party: Party, part: Part },
    /// Unmap, detach, and close that socket.
    LetGo,
    /// Close every such socket, whoever is at its other end or is not.
    Forget,
}

/// How far a peer goes with a buffer of another process; it stays there until it is told to let go, or dies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    /// It attaches.
    Attach,
    /// It maps.
    Map,
    /// It draws the pattern of `stamp`.
    Draw { stamp: u32 },
}

/// What a peer is doing when it does not answer, by which an error names its step.
pub(crate) const STEPS: [&str; 8] = [
    "drawing",
    "reading",
    "drawing into a frame",
    "attaching",
    "attaching and mapping",
    "attaching, mapping and drawing",
    "letting go",
    IDLE,
];

/// It has nothing to do, and must be there all the same.
const IDLE: &str = "waiting for a request";

impl Ask {
    /// The step that this begins: one of [`STEPS`].
    fn step(&self) -> &'static str {
        let at = match self {
            Self::Draw { .. } => 0,
            Self::Read { .. } => 1,
            Self::DrawInto { .. } => 2,
            Self::TakePart { part: Part::Attach, .. } => 3,
            Self::TakePart { part: Part::Map, .. } => 4,
            Self::TakePart { part: Part::Draw { .. }, .. } => 5,
            Self::LetGo => 6,
            Self::Forget => 7,
        };
        STEPS[at]
    }
}

/// What a peer answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The frame whose dma-buf comes along.
    Drawn { frame: Frame },
    /// The pixels, as the bytes of the memfd that comes along.
    Read { fourcc: Fourcc, size: Size },
    /// What was asked for is done.
    Done,
    /// Everything is let go of but this, or why that can't be said.
    Forgot { left: std::result::Result<Vec<Left>, String> },
    /// It could not be done, and what that means.
    Refused { why: String, refusal: Refusal },
}

/// An answer, with what the peer's validation layer objected to on the way to it.
#[derive(Debug, Serialize, Deserialize)]
struct Reply {
    answer: Answer,
    objections: Vec<String>,
}

/// A peer process, from the side of who asks it. Dropping it ends the process.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    channel: Channel,
    name: String,
    broken: bool,
    /// Whether the case that runs has asked it something.
    used: bool,
    objections: Vec<String>,
}

impl Peer {
    /// Starts a process that plays `role`.
    ///
    /// # Errors
    /// This program can't be started again.
    pub fn start(role: Role) -> Result<Self> {
        let name = format!("peer process with {role}");
        let failed = |error: std::io::Error| Error::new("starting a process", name.clone(), error);
        let (channel, socket) = Channel::pair(name.clone())?;
        let program = procfs::this_program().map_err(failed)?;
        let child = Command::new(program)
            .args(["peer", role.as_str()])
            .stdin(Stdio::from(socket))
            // A driver's printing must not end up in whatever our own standard output is.
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        ledger::peers_change();
        Ok(Self { child, channel, name, broken: false, used: false, objections: Vec::new() })
    }

    /// Has the peer make a LINEAR frame and draw the pattern of `stamp` into it, over that of the stamp before.
    ///
    /// # Errors
    /// The peer can't, is gone, or does not answer in time.
    pub fn draw(&mut self, fourcc: Fourcc, size: Size, stamp: u32) -> Result<SharedFrame> {
        let (answer, fd) = self.ask(&Ask::Draw { fourcc, size, stamp }, None)?;
        match (answer, fd) {
            (Answer::Drawn { frame }, Some(fd)) => Ok(SharedFrame { dmabuf: Dmabuf::from_fd(fd)?, frame }),
            (answer, _) => Err(self.unexpected(&answer)),
        }
    }

    /// What the peer sees in `shared`, which it takes in as dedicated memory or not.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn read(&mut self, shared: &SharedFrame, dedicated: bool) -> Result<Picture> {
        let (answer, fd) =
            self.ask(&Ask::Read { frame: shared.frame.clone(), dedicated }, Some(shared.dmabuf.fd.as_fd()))?;
        match (answer, fd) {
            (Answer::Read { fourcc, size }, Some(fd)) => {
                let file = std::fs::File::from(fd);
                let bytes = file.metadata().and_then(|status| {
                    let mut bytes = vec![0; status.len() as usize];
                    file.read_exact_at(&mut bytes, 0).map(|()| bytes)
                });
                let bytes = bytes.map_err(|error| Error::new("reading pixels", self.name.clone(), error))?;
                Ok(Picture { size, fourcc, bytes })
            }
            (answer, _) => Err(self.unexpected(&answer)),
        }
    }

    /// Has the peer draw the pattern of `stamp` into `shared`, which it takes in as dedicated memory or not.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn draw_into(&mut self, shared: &SharedFrame, dedicated: bool, stamp: u32) -> Result<()> {
        let ask = Ask::DrawInto { frame: shared.frame.clone(), dedicated, stamp };
        match self.ask(&ask, Some(shared.dmabuf.fd.as_fd()))?.0 {
            Answer::Done => Ok(()),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Has the peer attach as `party` to the buffer that is served on `socket`.
    ///
    /// # Errors
    /// As [`Self::draw`]; also if the service refuses.
    pub fn attach_only(&mut self, socket: OwnedFd, party: &Party) -> Result<()> {
        self.take(socket, party, Part::Attach)
    }

    /// Has the peer attach as `party` to the buffer that is served on `socket`, map it, draw the pattern of `stamp` if there
    /// is one, and keep the mapping.
    ///
    /// # Errors
    /// As [`Self::attach_only`].
    pub fn take_part(&mut self, socket: OwnedFd, party: &Party, stamp: Option<u32>) -> Result<()> {
        self.take(socket, party, stamp.map_or(Part::Map, |stamp| Part::Draw { stamp }))
    }

    fn take(&mut self, socket: OwnedFd, party: &Party, part: Part) -> Result<()> {
        match self.ask(&Ask::TakePart { party: party.clone(), part }, Some(socket.as_fd()))?.0 {
            Answer::Done => Ok(()),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Has the peer end what it began with [`Self::take_part`].
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn let_go(&mut self) -> Result<()> {
        match self.ask(&Ask::LetGo, None)?.0 {
            Answer::Done => Ok(()),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// Kills the process, as an out-of-memory killer would.
    pub fn kill(&mut self) {
        self.broken = true;
        // It fails only if the process is gone, which is what is wanted.
        let _ = self.child.kill();
        if let Ok(None) = self.status() {
            // One that hangs in a driver can't die, and must not hang us, too.
            tracing::warn!(peer = %self.name, "it was killed, and still runs 1 s later");
        }
        ledger::peers_change();
    }

    /// What its validation layer has objected to since this was last asked.
    pub fn take_objections(&mut self) -> Vec<String> {
        std::mem::take(&mut self.objections)
    }

    /// Whether it failed to answer once, after which an answer may be one to an older question.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it can be asked something: it did not fail to answer, and did not end since it answered.
    ///
    /// # Errors
    /// It has ended in the middle of a case that uses it: another one would know nothing of what that case began.
    pub(crate) fn is_fit(&mut self) -> Result<bool> {
        let lives = matches!(self.child.try_wait(), Ok(None));
        if !lives && self.used && !self.broken {
            self.broken = true;
            return Err(self.gone(IDLE));
        }
        Ok(lives && !self.broken)
    }

    /// The case ends: it lets go of whatever that left it with, and must still be there. What stays open there all the same is
    /// found, or why that can't be observed. One that the case did not use, or that has failed to answer, is not asked.
    ///
    /// # Errors
    /// It does not answer, or is gone.
    pub(crate) fn forget(&mut self) -> Result<Observed<Vec<Finding>>> {
        if !std::mem::take(&mut self.used) || self.broken {
            return Ok(Ok(Vec::new()));
        }
        match self.ask(&Ask::Forget, None).inspect_err(|_| self.broken = true)?.0 {
            Answer::Forgot { left: Ok(left) } => Ok(Ok(left.iter().map(|left| left.finding(&self.name)).collect())),
            Answer::Forgot { left: Err(why) } => Ok(Err(NotObservable(format!("{}: {why}", self.name)))),
            answer => Err(self.unexpected(&answer)),
        }
    }

    fn ask(&mut self, ask: &Ask, with: Option<BorrowedFd<'_>>) -> Result<(Answer, Option<OwnedFd>)> {
        let step = ask.step();
        self.used = !matches!(ask, Ask::Forget);
        // Until there is an answer.
        self.broken = true;
        if let Err(error) = self.channel.send(ask, &Vec::from_iter(with)) {
            let is_closed = matches!(error.cause, Cause::Errno(Errno::PIPE | Errno::CONNRESET));
            return Err(if is_closed { self.gone(step) } else { error });
        }
        let received = self.channel.recv(deadline()).map_err(|error| match error.cause {
            Cause::Deadline(_) => Error { op: step.into(), ..error },
            _ => error,
        })?;
        let Some(Received { message, fds }) = received else { return Err(self.gone(step)) };
        self.broken = false;
        let Reply { answer, objections } = message;
        self.objections.extend(objections.into_iter().map(|objection| format!("{}: {objection}", self.name)));
        match answer {
            Answer::Refused { why, refusal } => Err(Error::refused(step, self.name.clone(), why, refusal)),
            answer => Ok((answer, fds?.into_iter().next())),
        }
    }

    /// The error of `op` on a process that has closed its socket.
    fn gone(&mut self, op: &'static str) -> Error {
        let how = self.ended();
        Error::missing(op, self.name.clone(), format!("the process ended: {how}"))
    }

    /// How a process ended that has closed its socket.
    fn ended(&mut self) -> String {
        match self.status() {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => "its socket is closed, but it still runs".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// How a process ended that is about to; `None` if it still runs 1 s later.
    fn status(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < until => std::thread::sleep(Duration::from_micros(500)),
                status => return Ok(status),
            }
        }
    }

    fn unexpected(&self, answer: &Answer) -> Error {
        Error::answer("asking", self.name.clone(), format!("{answer:?} is no answer to what was asked"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A buffer of another process that this one takes part in.
struct Taken {
    buffer: RemoteBuffer,
    attachment: u64,
    mapping: Option<RemoteMapping>,
}

/// Serves as a peer on the socket that is this process's standard input, until it closes.
///
/// # Errors
/// The socket does not work, or the other end does not speak our language.
pub fn serve(role: Role) -> Result<()> {
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)
        .map_err(|errno| Error::new("fcntl(F_DUPFD_CLOEXEC)", "standard input", errno))?;
    let channel = Channel::on(socket, "the process that started this peer");
    let mut devices = Devices::default();
    let mut taken = Vec::new();
    let mut books = Books::default();
    loop {
        // Who started us may take its time; a closed socket ends the wait.
        let Some(Received { message, fds }) = channel.recv(Duration::from_secs(24 * 3600))? else {
            return Ok(());
        };
        let step = Ask::step(&message);
        let done = fds.and_then(|fds| answer(&mut devices, &mut taken, &mut books, role, message, fds));
        let (answer, fd) = match done {
            Ok(done) => done,
            Err(error) => {
                let refusal = error.refusal();
                (Answer::Refused { why: brief(error.to_string()), refusal }, None)
            }
        };
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        let objections = what_fits(devices.objections());
        channel.send(&Reply { answer, objections }, &fds)?;
        drop(fd);
        devices.forget_broken();
        if step != IDLE {
            books.note(step);
        }
    }
}

/// The objections, as far as a message has room for them, and how many it has none for: none may be lost without a word.
fn what_fits(objections: Vec<String>) -> Vec<String> {
    let mut room = 8 * 1024_usize;
    let (mut fit, mut missing) = (Vec::new(), 0);
    for objection in objections.into_iter().map(brief) {
        // What JSON makes of it may be six times as long.
        let bytes = serde_json::to_string(&objection).map_or(usize::MAX, |json| json.len());
        match room.checked_sub(bytes) {
            Some(left) => {
                room = left;
                fit.push(objection);
            }
            None => missing += 1,
        }
    }
    if missing > 0 {
        fit.push(format!("{missing} objections that a message has no room for"));
    }
    fit
}

/// `error` of `end`, which was given `shared`, with what it means for who asked.
fn with_meaning(end: &dyn End, devices: &mut Devices, shared: &SharedFrame, error: Error) -> Error {
    let refusal = match end.part(devices) {
        Ok(part) => Refusal::by(&part.guest(), shared, &error),
        Err(_) => error.refusal(),
    };
    Error::refused(error.op, error.object, error.cause.to_string(), refusal)
}

/// The frame in the dma-buf that came along.
fn given(fd: OwnedFd, frame: Frame) -> Result<SharedFrame> {
    Ok(SharedFrame { dmabuf: Dmabuf::from_fd(fd)?, frame })
}

fn answer(
    devices: &mut Devices,
    taken: &mut Vec<Taken>,
    books: &mut Books,
    role: Role,
    ask: Ask,
    fds: Vec<OwnedFd>,
) -> Result<(Answer, Option<OwnedFd>)> {
    if let Ask::Forget = ask {
        let was_let_go = !taken.is_empty();
        taken.clear();
        devices.look_away()?;
        return Ok((Answer::Forgot { left: books.left(was_let_go).map_err(|why| why.0) }, None));
    }
    let end = ends::of(role)?;
    end.identity(devices).map_err(|why| why.opening(role))?;
    // What it looks at between requests is the device's own.
    devices.look_away()?;
    books.begin(&fds);
    let device = || {
        let device = end.importer().and_then(|importer| importer.elsewhere());
        device.ok_or_else(|| Error::input("taking part", role.to_string(), "it takes frames in by no request"))
    };
    let gpu = |devices: &mut Devices| devices.gpu(role).map_err(|why| why.opening(role));
    let fd = fds.into_iter().next();
    let fd = || fd.ok_or_else(|| Error::input("taking part", role.to_string(), "no fd came with the request"));
    match ask {
        Ask::Draw { fourcc, size, stamp } => {
            let image = gpu(devices)?.create_image(&ImageRequest {
                size,
                fourcc,
                layout: Layout::Modifiers(vec![Modifier::LINEAR]),
                room: Room::Dedicated,
                export: vec![HandleType::DmaBuf],
            })?;
            let shared = image.export_dmabuf()?;
            // Another pattern lies under the drawn one, so that nothing is right by chance.
            shared.write(&Pattern { stamp: stamp.wrapping_sub(1) }.picture(fourcc, size)?)?;
            image.draw_pattern(stamp)?;
            Ok((Answer::Drawn { frame: shared.frame }, Some(shared.dmabuf.fd.into_plain())))
        }
        Ask::Read { frame, dedicated } => {
            let (device, shared) = (device()?, given(fd()?, frame)?);
            let picture = device.read(devices, &shared, dedicated);
            let picture = picture.map_err(|error| with_meaning(end, devices, &shared, error))?;
            let failed = |error: std::io::Error| Error::new("writing pixels", "a memfd", error);
            let memfd = memfd_create("pixels", MemfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
            let mut file = std::fs::File::from(memfd);
            file.write_all(&picture.bytes).map_err(failed)?;
            Ok((Answer::Read { fourcc: picture.fourcc, size: picture.size }, Some(file.into())))
        }
        Ask::DrawInto { frame, dedicated, stamp } => {
            let (device, shared) = (device()?, given(fd()?, frame)?);
            let drawn = device.draw(devices, &shared, dedicated, stamp);
            drawn.map_err(|error| with_meaning(end, devices, &shared, error))?;
            Ok((Answer::Done, None))
        }
        Ask::TakePart { party, part } => {
            let buffer = RemoteBuffer::on(Channel::on(fd()?, "the process that has the buffer"));
            let attachment = buffer.attach(&party)?;
            let access = if matches!(part, Part::Draw { .. }) { Access::Write } else { Access::Read };
            let mapping = match part {
                Part::Attach => None,
                Part::Map | Part::Draw { .. } => Some(buffer.map(attachment, access, DEADLINE)?),
            };
            if let (Part::Draw { stamp }, Some(mapping)) = (part, &mapping) {
                gpu(devices)?.import_image(&mapping.shared, &ImportRequest::default())?.draw_pattern(stamp)?;
            }
            taken.push(Taken { buffer, attachment, mapping });
            Ok((Answer::Done, None))
        }
        Ask::Forget | Ask::LetGo => {
            for Taken { buffer, attachment, mapping } in taken.drain(..) {
                if let Some(mapping) = mapping {
                    buffer.unmap(mapping.number)?;
                }
                buffer.detach(attachment)?;
            }
            Ok((Answer::Done, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that says nothing, and its end of the socket.
    fn silent() -> (Peer, OwnedFd) {
        let name = "peer process with gpu_a".to_owned();
        let (channel, socket) = Channel::pair(name.clone()).expect("a socket");
        let child = Command::new("sleep").arg("60").spawn().expect("coreutils");
        (Peer { child, channel, name, broken: false, used: false, objections: Vec::new() }, socket)
    }

    #[test]
    fn no_objection_is_lost_without_a_word() {
        assert_eq!(what_fits(vec!["VUID-1".to_owned(), "VUID-2".to_owned()]), ["VUID-1", "VUID-2"]);
        // Cut, it has room; with what JSON makes of each of its bytes it has none.
        assert!(what_fits(vec!["x".repeat(100_000)])[0].ends_with("B more)"));
        let escaped = what_fits(vec!["\u{1}".repeat(100_000), "VUID-3".to_owned()]);
        assert_eq!(escaped, ["VUID-3", "1 objections that a message has no room for"]);
        let many = what_fits(vec!["y".repeat(4000); 100]);
        assert!(
            serde_json::to_string(&many).expect("strings").len() < 9 * 1024
                && many.last().expect("some").starts_with("98 ")
        );
    }

    #[test]
    fn what_a_refusal_means_crosses_with_it() {
        for refusal in [Refusal::Allowed, Refusal::Layout, Refusal::Other] {
            let (mut peer, socket) = silent();
            let answer = Answer::Refused { why: "it does not".to_owned(), refusal };
            let reply = Reply { answer, objections: Vec::new() };
            Channel::on(socket, "the test").send(&reply, &[]).expect("the socket has room");
            let told = peer.let_go().expect_err("it refuses");
            assert_eq!(told.to_string(), "letting go on peer process with gpu_a: it does not");
            assert_eq!(told.refusal(), refusal);
        }
    }

    #[test]
    fn one_that_does_not_answer_is_named_with_its_step() {
        set_patience(Duration::from_millis(20));
        let (mut peer, _socket) = silent();
        let said = peer.let_go().expect_err("it says nothing").to_string();
        assert_eq!(said, "letting go on peer process with gpu_a: no answer within 20 ms");
        assert!(!peer.is_fit().expect("it lives"), "a late answer would be one to an older question");
        assert!(peer.forget().is_ok(), "it is not asked again");
    }

    #[test]
    fn one_that_ends_between_two_requests_of_a_case_is_missed() {
        const SAID: &str = "waiting for a request on peer process with gpu_a: the process ended: signal: 9 (SIGKILL)";
        let (mut peer, socket) = silent();
        peer.child.kill().expect("it lives");
        drop(socket);
        peer.ended();
        assert!(!peer.is_fit().expect("no case has used it"), "another is started");
        peer.used = true;
        assert_eq!(peer.is_fit().expect_err("this case has used it").to_string(), SAID);
        (peer.used, peer.broken) = (true, false);
        assert_eq!(peer.forget().expect_err("also at the end").to_string(), SAID);
    }
}
