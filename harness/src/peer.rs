//! Another process that takes part in sharing a buffer: it has devices of its own and is reached by fds and messages alone.
//!
//! One peer plays one role. It serves one request after another until its socket closes; what it sees it reports as pixels,
//! and whether they are right is for the process that asked to say.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::case::Role;
use crate::channel::{Channel, Received};
use crate::devices::Devices;
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Size};
use crate::pattern::Pattern;
use crate::picture::Picture;
use crate::vk::{HandleType, ImageRequest, ImportRequest, Layout, Room};

/// Within this time a peer must answer; opening its devices is part of the first answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a peer is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// Make an image, draw the pattern of `stamp`, and hand it out.
    Draw { fourcc: Fourcc, size: Size, stamp: u32 },
    /// Take in the frame that comes along, and tell its pixels.
    Read { frame: Frame, dedicated: bool },
    /// Take in the frame that comes along, and draw the pattern of `stamp` into it.
    DrawInto { frame: Frame, stamp: u32 },
}

/// What a peer answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The frame whose dma-buf comes along.
    Drawn { frame: Frame },
    /// The pixels, as the bytes of the memfd that comes along.
    Read { fourcc: Fourcc, size: Size },
    /// The pattern is in the frame.
    DrawnInto,
    /// It could not be done.
    Refused { why: String },
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
        let program = std::env::current_exe().map_err(failed)?;
        let child = Command::new(program)
            .args(["peer", role.as_str()])
            .stdin(Stdio::from(socket))
            // A driver's printing must not end up in whatever our own standard output is.
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Self { child, channel, name, broken: false, objections: Vec::new() })
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

    /// What the peer sees in `shared`.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn read(&mut self, shared: &SharedFrame, dedicated: bool) -> Result<Picture> {
        let (answer, fd) = self.ask(&Ask::Read { frame: shared.frame.clone(), dedicated }, Some(shared))?;
        match (answer, fd) {
            (Answer::Read { fourcc, size }, Some(fd)) => {
                let mut bytes = Vec::new();
                let mut file = std::fs::File::from(fd);
                let all =
                    std::io::Seek::rewind(&mut file).and_then(|()| std::io::Read::read_to_end(&mut file, &mut bytes));
                all.map_err(|error| Error::new("reading pixels", self.name.clone(), error))?;
                Ok(Picture { size, fourcc, bytes })
            }
            (answer, _) => Err(self.unexpected(&answer)),
        }
    }

    /// Has the peer draw the pattern of `stamp` into `shared`.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn draw_into(&mut self, shared: &SharedFrame, stamp: u32) -> Result<()> {
        match self.ask(&Ask::DrawInto { frame: shared.frame.clone(), stamp }, Some(shared))?.0 {
            Answer::DrawnInto => Ok(()),
            answer => Err(self.unexpected(&answer)),
        }
    }

    /// What its validation layer has objected to since this was last asked.
    pub fn take_objections(&mut self) -> Vec<String> {
        std::mem::take(&mut self.objections)
    }

    /// Whether it failed to answer once, after which an answer may be one to an older question.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn ask(&mut self, ask: &Ask, with: Option<&SharedFrame>) -> Result<(Answer, Option<OwnedFd>)> {
        // Until there is an answer.
        self.broken = true;
        let fds: Vec<_> = with.iter().map(|shared| shared.dmabuf.fd.as_fd()).collect();
        self.channel.send(ask, &fds)?;
        let Some(Received { message, fds }) = self.channel.recv(DEADLINE)? else {
            let how = self.ended();
            return Err(Error::missing(
                "waiting for an answer",
                self.name.clone(),
                format!("the process ended: {how}"),
            ));
        };
        self.broken = false;
        let Reply { answer, objections } = message;
        self.objections.extend(objections.into_iter().map(|objection| format!("{}: {objection}", self.name)));
        match answer {
            Answer::Refused { why } => Err(Error::missing("asking", self.name.clone(), why)),
            answer => Ok((answer, fds.into_iter().next())),
        }
    }

    /// How a process ended that has closed its socket.
    fn ended(&mut self) -> String {
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => return "its socket is closed, but it still runs".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    fn unexpected(&self, answer: &Answer) -> Error {
        Error::answer("asking", self.name.clone(), format!("{answer:?} is no answer to what was asked"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Either may fail only because the process is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    loop {
        // Who started us may take its time; a closed socket ends the wait.
        let Some(Received { message, fds }) = channel.recv(Duration::from_secs(24 * 3600))? else {
            return Ok(());
        };
        let (answer, fd) = match answer(&mut devices, role, message, fds) {
            Ok(done) => done,
            Err(error) => (Answer::Refused { why: error.to_string() }, None),
        };
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        let objections = what_fits(devices.objections());
        channel.send(&Reply { answer, objections }, &fds)?;
        devices.forget_broken();
    }
}

/// The first objections, as far as a message has room for them.
fn what_fits(mut objections: Vec<String>) -> Vec<String> {
    let mut room = 8 * 1024_usize;
    objections.retain(|objection| {
        room = room.saturating_sub(objection.len());
        room > 0
    });
    objections
}

fn answer(devices: &mut Devices, role: Role, ask: Ask, fds: Vec<OwnedFd>) -> Result<(Answer, Option<OwnedFd>)> {
    let gpu =
        devices.gpu(role).map_err(|why| Error::missing("opening the device", role.to_string(), why.to_string()))?;
    let given = |frame| {
        let fd = fds.into_iter().next();
        let fd = fd.ok_or_else(|| Error::input("importing", role.to_string(), "no dma-buf came with the request"))?;
        Ok::<_, Error>(SharedFrame { dmabuf: Dmabuf::from_fd(fd)?, frame })
    };
    match ask {
        Ask::Draw { fourcc, size, stamp } => {
            let image = gpu.create_image(&ImageRequest {
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
            Ok((Answer::Drawn { frame: shared.frame }, Some(shared.dmabuf.fd)))
        }
        Ask::Read { frame, dedicated } => {
            let how = ImportRequest { dedicated, ..ImportRequest::default() };
            let picture = gpu.import_image(&given(frame)?, &how)?.read_back()?;
            let failed = |error: std::io::Error| Error::new("writing pixels", "a memfd", error);
            let memfd = memfd_create("pixels", MemfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
            let mut file = std::fs::File::from(memfd);
            file.write_all(&picture.bytes).map_err(failed)?;
            Ok((Answer::Read { fourcc: picture.fourcc, size: picture.size }, Some(file.into())))
        }
        Ask::DrawInto { frame, stamp } => {
            gpu.import_image(&given(frame)?, &ImportRequest::default())?.draw_pattern(stamp)?;
            Ok((Answer::DrawnInto, None))
        }
    }
}
