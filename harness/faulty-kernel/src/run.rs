//! Starts a command whose system calls are changed on their way.
//!
//! Who starts whom is the other way round than with a debugger: the process that was asked starts the supervisor, puts
//! the filter on itself, waits until the supervisor has its listener, and becomes the command. So the command is the
//! process that whoever asked has started, with its pid, its signals and its exit status, and the supervisor is a
//! child of it that ends when the last process with the filter has.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::call::{Answer, Call, copy_of_file};
use crate::filter::Filter;
use crate::listener::Listener;

/// So many calls may wait for their answers at once: one may be answered only after another.
const SERVERS: usize = 4;

/// Becomes `command` under `filter`; `supervisor` is what calls [`serve`] with its standard input. Returns only if
/// that fails.
pub fn exec(filter: &Filter, supervisor: &mut Command, command: &mut Command) -> io::Error {
    match start(filter, supervisor) {
        Ok(()) => command.exec(),
        Err(error) => error,
    }
}

fn start(filter: &Filter, supervisor: &mut Command) -> io::Result<()> {
    let (mut ours, theirs) = UnixStream::pair()?;
    supervisor.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
    // It outlives this function, and is nobody's to wait for.
    let _ = supervisor.spawn()?;
    // Else this process would hold the other end, too, and not see the supervisor end.
    supervisor.stdin(Stdio::null());
    let listener = Listener::install(filter)?;
    ours.write_all(&listener.as_fd().as_raw_fd().to_ne_bytes())?;
    let mut ready = [0];
    ours.read_exact(&mut ready)?;
    // Closed by exec. Closing it here may be a call that the filter names, and then is answered.
    Ok(())
}

/// Answers the calls of this process's parent, which told the number of its listener over the socket that is the
/// standard input, and of all that it starts, until the last of them has ended.
///
/// # Errors
/// The parent is gone, or the kernel gives no calls.
pub fn serve(
    answer: impl Fn(&Call<'_>) -> io::Result<Answer> + Sync,
    failed: impl Fn(&Call<'_>, &io::Error) + Sync,
) -> io::Result<()> {
    let parent = rustix::process::getppid().ok_or_else(|| io::Error::other("the parent is gone"))?;
    let mut socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    let nothing = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    let mut number = [0; 4];
    socket.read_exact(&mut number)?;
    let listener = copy_of_file(parent.as_raw_nonzero().get().cast_unsigned(), i32::from_ne_bytes(number))?;
    let listener = Listener::on(listener);
    std::thread::scope(|scope| {
        let serve = || listener.serve(&answer, &failed);
        let others: Vec<_> = (1..SERVERS).map(|_| scope.spawn(serve)).collect();
        socket.write_all(&[1])?;
        drop(socket);
        others.into_iter().fold(serve(), |done, other| {
            done.and(other.join().unwrap_or_else(|_| Err(io::Error::other("a server panicked"))))
        })
    })
}
