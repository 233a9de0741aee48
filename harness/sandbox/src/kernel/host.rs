//! How does a command run on the kernel that is already there?
//!
//! As a process in a group of its own. It gets the whole environment; it is on its owner's machine.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{self, Stdio};
use std::time::Instant;

use super::{Command, Error, Exit, Group, Kernel, KernelInfo, Process, Running, check_open_files};

/// The kernel of this machine, with its devices and its drivers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Host {
    /// Whether this machine has a display card and a render node, so that cases can run on its own devices.
    #[must_use]
    pub fn has_devices() -> bool {
        has_both_kinds_of_node(Path::new("/dev/dri"))
    }
}

fn has_both_kinds_of_node(dri: &Path) -> bool {
    let nodes = std::fs::read_dir(dri).into_iter().flatten().flatten();
    let names: Vec<String> = nodes.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    ["card", "renderD"].iter().all(|kind| names.iter().any(|name| name.starts_with(kind)))
}

impl Kernel for Host {
    fn describe(&self) -> KernelInfo {
        KernelInfo {
            name: "host".into(),
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            kernel: String::new(),
            mesa: Vec::new(),
        }
    }

    fn spawn(&self, command: &Command) -> Result<Running, Error> {
        check_open_files("a run on the host")?;
        let mut plain = process::Command::new(&command.program);
        plain
            .args(&command.args)
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(cwd) = &command.cwd {
            plain.current_dir(cwd);
        }
        let mut group = Group::spawn(&mut plain).map_err(|source| Error::Program {
            program: command.program.clone(),
            kernel: "host",
            code: exit_code_of(&source),
            why: source.to_string(),
        })?;
        Ok(Running {
            stdin: group.child.stdin.take().map(Into::into),
            stdout: group.child.stdout.take().map(Into::into),
            stderr: group.child.stderr.take().map(Into::into),
            process: Box::new(group),
            started: Instant::now(),
            deadline: command.deadline,
        })
    }
}

impl Process for Group {
    fn wait(&mut self, until: Option<Instant>) -> Result<Option<Exit>, Error> {
        let status = Self::wait(self, until).map_err(Error::system("waiting for the command"))?;
        Ok(status.map(|status| match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        }))
    }

    fn kill(&mut self) {
        Self::kill(self);
    }

    fn kernel_log_from(&self, _: u64) -> Option<String> {
        None
    }

    fn kernel_logged(&self) -> u64 {
        0
    }
}

/// What a shell exits with when a program cannot be started for this reason.
pub(crate) fn exit_code_of(error: &io::Error) -> i32 {
    match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_counts_if_it_has_both_kinds_of_node() {
        let dri = tempfile::tempdir().unwrap();
        assert!(!has_both_kinds_of_node(&dri.path().join("missing")));
        std::fs::write(dri.path().join("card0"), "").unwrap();
        assert!(!has_both_kinds_of_node(dri.path()));
        std::fs::write(dri.path().join("renderD128"), "").unwrap();
        assert!(has_both_kinds_of_node(dri.path()));
    }
}
