//! What do the host's side and the guest's side of a sandbox say to each other?
//!
//! One file from the host ([`Job`]), one line of JSON per event from the guest ([`Report`]), and the
//! command's standard input in frames. Nothing here does input or output on its own account.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// First argument of a Handover program that a sandbox's kernel starts as its init.
pub(super) const GUEST_INIT: &str = "guest-init";

/// The guest's terminals, by their part. Each is a pipe on the host's side.
pub(super) mod terminal {
    /// Kernel log and `/dev/console`.
    pub(crate) const CONSOLE: u32 = 0;
    /// Standard input in frames one way, [`super::Report`]s the other.
    pub(crate) const CONTROL: u32 = 1;
    /// Standard output.
    pub(crate) const STDOUT: u32 = 2;
    /// Standard error.
    pub(crate) const STDERR: u32 = 3;
}

/// Files in the directory that both sides see.
pub(super) mod file {
    /// The [`super::Job`], as JSON.
    pub(crate) const JOB: &str = "job.json";
    /// Where the guest puts its root filesystem.
    pub(crate) const ROOT: &str = "root";
    /// Where the guest keeps what is written over the root filesystem.
    pub(crate) const SCRATCH: &str = "scratch";
    /// The program that is the guest's init.
    pub(crate) const INIT: &str = "init";
}

/// What the guest is to do. Paths are the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) root: PathBuf,
    pub(super) shares: Vec<PathBuf>,
    pub(super) cwd: PathBuf,
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The command runs.
    Started,
    /// A frame of standard input was taken out of the terminal.
    Taken,
    /// The program could not be started; the code is a shell's.
    NotStarted { why: String, code: i32 },
    /// The surroundings could not be made.
    Failed { why: String },
    /// The command exited with this code. All its output was handed on before.
    Code(i32),
    /// This signal ended the command. All its output was handed on before.
    Signal(i32),
}

/// Largest payload of a frame, bytes.
pub(super) const FRAME: usize = 1024;

/// Frames that may be on their way, so that the guest's terminal never holds more than three
/// quarters of its 4096 bytes: when it is nearly full, user-mode Linux throttles it by letting go of
/// the pipe's interrupt, which it never takes up again.
pub(super) const WINDOW: usize = 3;

/// Writes one piece of standard input; an empty one is its end.
pub(super) fn write_frame(to: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(payload)
}

/// Reads one piece of standard input; `None` is its end.
pub(super) fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 {
        return Ok(None);
    }
    if length > FRAME {
        return Err(io::Error::other(format!("a frame of standard input claims {length} bytes, more than {FRAME}")));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok(Some(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_every_byte_and_the_end() {
        let every: Vec<u8> = (0..=255).cycle().take(FRAME).collect();
        let mut pipe = Vec::new();
        write_frame(&mut pipe, &every).unwrap();
        write_frame(&mut pipe, b"").unwrap();
        let mut pipe = pipe.as_slice();
        assert_eq!(read_frame(&mut pipe).unwrap(), Some(every));
        assert_eq!(read_frame(&mut pipe).unwrap(), None);
        assert!(read_frame(&mut pipe).is_err(), "nothing follows the end");
    }

    #[test]
    fn a_frame_longer_than_allowed_is_refused() {
        assert!(read_frame(&mut [0xff, 0xff, 0xff, 0xff].as_slice()).is_err());
    }

    #[test]
    fn a_job_survives_its_file() {
        use std::os::unix::ffi::OsStringExt;
        let job = Job {
            root: "/r".into(),
            shares: vec!["/s".into()],
            cwd: "/s".into(),
            program: OsString::from_vec(vec![0xff, b'x']),
            args: vec!["a b".into()],
            env: vec![("A".into(), "1".into())],
        };
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
    }
}
