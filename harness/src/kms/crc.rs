//! The CRC that the CRTC computes of what it shows, through debugfs.
//!
//! What the CRC is computed of is the driver's affair; two frames that look the same have the same CRC, and that is all
//! that may be concluded ("CRC ABI", `drivers/gpu/drm/drm_debugfs_crc.c`). vkms is the exception: see
//! [`crate::compose::Composed::crc_vkms`].

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::wait;
use crate::error::{Cause, Error, Result};
use crate::observed::{NotObservable, Observed};
use crate::restart::{self, again};

/// CRC of one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crc {
    /// Vertical blank count of the CRTC when the frame was scanned out.
    pub frame: u32,
    /// The values, as many as the source has.
    pub values: Vec<u32>,
}

/// The `crc` directory of a CRTC.
#[derive(Debug)]
pub(super) struct Source {
    directory: PathBuf,
}

/// A CRC source that is running; it stops when dropped.
pub(super) struct Capture {
    /// The `data` file: capturing starts when it is opened and ends when it is closed. Empty only while
    /// [`Self::restart`] runs.
    data: Option<OwnedFd>,
    path: PathBuf,
    /// The newest CRC that was read.
    newest: Option<Crc>,
}

impl Source {
    /// The CRTC at `index` of the card whose device number ends in `minor`, or why it has no CRC.
    pub(super) fn find(minor: u32, index: usize) -> Result<Self, String> {
        let directory = PathBuf::from(format!("/sys/kernel/debug/dri/{minor}/crtc-{index}/crc"));
        let source = Self { directory };
        let control = source.directory.join("control");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(&control)
            .map_err(|error| format!("{}: {error} (is debugfs mounted, and are we root?)", control.display()))?;
        file.write_all(b"auto").map_err(|error| format!("{}: source `auto`: {error}", control.display()))?;
        Ok(source)
    }

    /// Starts capturing. The CRTC must be on.
    pub(super) fn start(&self) -> Result<Capture> {
        let mut capture = Capture { data: None, path: self.directory.join("data"), newest: None };
        capture.restart()?;
        Ok(capture)
    }
}

impl Capture {
    /// Stops and starts again; CRCs that were not taken are gone.
    pub(super) fn restart(&mut self) -> Result<()> {
        // Only one capture may run at a time.
        self.data = None;
        self.newest = None;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = again(|| rustix::fs::open(&self.path, flags, Mode::empty()))
            .map_err(|error| Error::new("open", self.path.display().to_string(), error))?;
        self.data = Some(fd);
        Ok(())
    }

    /// The CRC of a frame from vertical blank `sequence` on; `None` if there was none before `deadline`.
    ///
    /// # Errors
    /// The file can't be read; the driver does not number its CRCs ([`Cause::Missing`]), so that none can be told from that
    /// of the frame before.
    pub(super) fn of_frame(&mut self, sequence: u32, deadline: Instant) -> Result<Option<Crc>> {
        // Counts wrap.
        self.first(|crc| crc.frame.wrapping_sub(sequence) as i32 >= 0, deadline)
    }

    /// The CRC of a frame that is scanned out from now on; `None` if there was none before `deadline`.
    ///
    /// # Errors
    /// As [`Self::of_frame`].
    pub(super) fn of_whole_frame(&mut self, deadline: Instant) -> Result<Option<Crc>> {
        // Capturing may have begun in the middle of the first one.
        match self.first(|_| true, deadline)? {
            Some(begun) => self.of_frame(begun.frame.wrapping_add(1), deadline),
            None => Ok(None),
        }
    }

    fn first(&mut self, is_wanted: impl Fn(&Crc) -> bool, deadline: Instant) -> Result<Option<Crc>> {
        loop {
            self.drain()?;
            match &self.newest {
                Some(crc) if is_wanted(crc) => return Ok(self.newest.take()),
                _ => {}
            }
            let Some(data) = &self.data else { return Ok(None) };
            if !wait::readable(data, deadline).map_err(|errno| self.error("poll", errno))? {
                return Ok(None);
            }
        }
    }

    /// Reads what is there. To be called every few hundred milliseconds at least, since the kernel keeps 128 CRCs and
    /// complains in its log when they are not taken.
    pub(super) fn drain(&mut self) -> Result<()> {
        const OP: &str = "read of a CRC";
        let Some(data) = &self.data else { return Ok(()) };
        loop {
            // One read yields one line of at most 10 + 10 x 11 + 2 bytes.
            let mut line = [0; 160];
            match rustix::io::read(data, &mut line) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&line[..length]);
                    let object = || self.path.display().to_string();
                    let crc = parse(&text).map_err(|why| Error::answer(OP, object(), why))?;
                    self.newest = Some(crc.ok_or_else(|| Error::missing(OP, object(), UNNUMBERED))?);
                }
                Err(Errno::INTR) => restart::count(),
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(self.error(OP, errno)),
            }
        }
    }

    fn error(&self, op: &'static str, errno: Errno) -> Error {
        Error::new(op, self.path.display().to_string(), errno)
    }
}

/// Why some CRCs, which a driver may well give, can't be used.
const UNNUMBERED: &str = "the driver does not number its CRCs, so none can be told from that of the frame before";

/// What was seen of a CRC, if its driver has what it takes to see one.
///
/// # Errors
/// That of `asked`, unless it is a lack.
pub(super) fn observed<T>(asked: Result<T>) -> Result<Observed<T>> {
    match asked {
        Ok(seen) => Ok(Ok(seen)),
        Err(error) if matches!(error.cause, Cause::Missing(_)) => Ok(Err(NotObservable(error.to_string()))),
        Err(error) => Err(error),
    }
}

/// `0x0000002a 0x12345678 ...`: the frame and its values; `None` if the driver does not say which frame.
fn parse(line: &str) -> Result<Option<Crc>, String> {
    let line = line.trim_end_matches(['\n', '\0']);
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let mut words = line.split(' ');
    let frame = words.next().unwrap_or_default();
    let values = words.map(number).collect::<Option<Vec<u32>>>().filter(|values| !values.is_empty());
    match (number(frame), values) {
        (Some(frame), Some(values)) => Ok(Some(Crc { frame, values })),
        (None, Some(_)) if frame == "XXXXXXXXXX" => Ok(None),
        _ => Err(format!("`{line}` is no CRC line such as `0x0000002a 0x12345678`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_frame_and_its_values() {
        let crc = parse("0x0000002a 0x00000001 0xffffffff\n\0");
        assert_eq!(crc, Ok(Some(Crc { frame: 42, values: vec![1, u32::MAX] })));
        assert_eq!(parse("XXXXXXXXXX 0x00000001\n"), Ok(None));
        assert!(parse("XXXXXXXXXX\n").is_err() && parse("XXXXXXXX 0x00000001\n").is_err());
        assert!(parse("0x0000002a\n").is_err_and(|why| why.contains("`0x0000002a`")));
        assert!(parse("").is_err());
    }

    #[test]
    fn what_a_driver_may_leave_out_is_not_observable_and_garbage_is_an_answer() {
        let lack = observed::<()>(Err(Error::missing("read of a CRC", "data", UNNUMBERED)));
        assert!(lack.expect("no error").expect_err("nothing seen").0.contains("does not number"));
        assert!(observed::<()>(Err(Error::answer("read of a CRC", "data", "`?` is no CRC line"))).is_err());
    }
}
