//! One stopped system call: its arguments, the memory and the files of its caller, and what can be answered.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::fields::Fields;
use crate::listener::Listener;
use crate::perform::perform;

/// What becomes of a stopped call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel carries it out, with what its arguments point to now.
    Continue,
    /// It is not carried out, and returns this.
    Return(i64),
    /// It is not carried out, and fails.
    Fail(Errno),
}

/// A system call that waits for its answer.
#[derive(Debug)]
pub struct Call<'a> {
    listener: &'a Listener,
    id: u64,
    /// Thread that made it.
    pub thread: u32,
    /// Its number, `SYS_*`.
    pub number: i64,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// Whether it has been made in the caller's place, so that it must not be made again.
    made: Cell<bool>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(listener: &'a Listener, id: u64, thread: u32, number: i64, arguments: [u64; 6]) -> Self {
        Self { listener, id, thread, number, arguments, made: Cell::new(false) }
    }

    /// Number of the ioctl, if it is one.
    pub fn ioctl(&self) -> u32 {
        if self.number == libc::SYS_ioctl { self.arguments[1] as u32 } else { 0 }
    }

    /// The structure that the ioctl takes; its size is in the number.
    ///
    /// # Errors
    /// The caller's memory can't be read.
    pub fn structure(&self) -> io::Result<Fields> {
        let size = self.ioctl() >> 16 & 0x3fff;
        self.read(self.arguments[2], size as usize).map(Fields)
    }

    /// Writes the structure back to where the ioctl has it.
    ///
    /// # Errors
    /// The caller's memory can't be written.
    pub fn set_structure(&self, structure: &Fields) -> io::Result<()> {
        self.write(self.arguments[2], &structure.0)
    }

    /// `length` bytes of the caller's memory.
    ///
    /// # Errors
    /// They are not there, or we may not look.
    pub fn read(&self, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.memory()?.read_exact_at(&mut bytes, address)?;
        Ok(bytes)
    }

    /// Changes the caller's memory.
    ///
    /// # Errors
    /// There is none, or we may not.
    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory()?.write_all_at(bytes, address)
    }

    /// Whether the caller may write to `address`, which [`Self::write`] does not ask.
    pub fn can_write(&self, address: u64) -> bool {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.thread)).unwrap_or_default();
        maps.lines().any(|line| lets_write(line, address).unwrap_or(false))
    }

    fn memory(&self) -> io::Result<File> {
        fs::OpenOptions::new().read(true).write(true).open(format!("/proc/{}/mem", self.thread))
    }

    /// The process that made the call.
    ///
    /// # Errors
    /// It is gone.
    pub fn process(&self) -> io::Result<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.thread))?;
        let group = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        group.ok_or_else(|| io::Error::other("/proc/…/status has no Tgid"))
    }

    /// A copy of the caller's fd: the same open file.
    ///
    /// # Errors
    /// The caller has none of that number, or we may not.
    pub fn file(&self, number: RawFd) -> io::Result<OwnedFd> {
        copy_of_file(self.process()?, number)
    }

    /// What the caller's fd is, as `/proc` says it: `/dmabuf:`, `/dev/dri/card0`, `socket:[7]`.
    ///
    /// # Errors
    /// The caller has none of that number, or we may not look.
    pub fn name_of_file(&self, number: RawFd) -> io::Result<String> {
        Ok(fs::read_link(format!("/proc/{}/fd/{number}", self.thread))?.to_string_lossy().into_owned())
    }

    /// The file that the call is about: its first argument.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn device(&self) -> io::Result<OwnedFd> {
        self.file(self.arguments[0] as RawFd)
    }

    /// Gives the caller a new fd of `file`, and says its number there.
    ///
    /// # Errors
    /// The caller has no room for it.
    pub fn give(&self, file: impl AsFd, close_on_exec: bool) -> io::Result<RawFd> {
        self.listener.give(self.id, file.as_fd(), close_on_exec)
    }

    /// Makes the ioctl in the caller's place with `structure`, on a copy of its fd; nothing is written to the caller.
    ///
    /// # Errors
    /// The outer one if there is no such file, the inner one is the kernel's answer.
    pub fn perform(&self, structure: &mut Fields) -> io::Result<Result<i64, Errno>> {
        self.perform_on(self.device()?.as_fd(), structure)
    }

    /// [`Self::perform`] on `device`.
    ///
    /// # Errors
    /// As there.
    pub fn perform_on(&self, device: BorrowedFd<'_>, structure: &mut Fields) -> io::Result<Result<i64, Errno>> {
        let done = perform(device, self.ioctl(), structure);
        if done.is_ok() {
            self.made.set(true);
        }
        Ok(done)
    }

    /// Whether it has been made, and has succeeded.
    pub(crate) fn was_made(&self) -> bool {
        self.made.get()
    }
}

/// Whether a line of `/proc/…/maps` is of memory with `address` in it that can be written to.
fn lets_write(line: &str, address: u64) -> Option<bool> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|end| u64::from_str_radix(end, 16));
    Some((start.ok()?..end.ok()?).contains(&address) && rest.as_bytes().get(1) == Some(&b'w'))
}

/// A copy of fd `number` of `process`.
pub(crate) fn copy_of_file(process: u32, number: RawFd) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(process.cast_signed()).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_only_read_lets_nobody_write() {
        let line = "7f10-7f20 rw-p 00000000 00:00 0    [stack]";
        assert_eq!(
            [0x7f0f, 0x7f10, 0x7f1f, 0x7f20].map(|at| lets_write(line, at)),
            [false, true, true, false].map(Some)
        );
        assert_eq!(lets_write("7f10-7f20 r--s 00000000 00:00 0", 0x7f10), Some(false));
        assert_eq!(lets_write("", 0), None);
    }
}
