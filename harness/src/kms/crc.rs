//! The CRC that the CRTC computes of what it shows, through debugfs.
//!
//! What the CRC is computed of is the driver's affair; two frames that look the same have the same CRC, and that is all that
//! may be concluded ("CRC ABI", `drivers/gpu/drm/drm_debugfs_crc.c`). vkms is the exception: see
//! [`crate::compose::Composed::crc_vkms`].

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::wait;
use crate::error::{Error, Result};

/// CRC of one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crc {
    /// Vertical blank count of the CRTC when the frame was scanned out; absent where the driver does not count.
    pub frame: Option<u32>,
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
    /// The `data` file: capturing starts when it is opened and ends when it is closed. Empty only while [`Self::restart`] runs.
    data: Option<OwnedFd>,
    path: PathBuf,
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
        let mut capture = Capture { data: None, path: self.directory.join("data") };
        capture.restart()?;
        Ok(capture)
    }
}

impl Capture {
    /// Stops and starts again; CRCs that were not taken are gone.
    pub(super) fn restart(&mut self) -> Result<()> {
        // Only one capture may run at a time.
        self.data = None;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(|errno| Error::new("open", self.path.display().to_string(), errno))?;
        self.data = Some(fd);
        Ok(())
    }

    /// The CRC of the first frame from vertical blank `sequence` on; `None` if none came before `deadline`.
    pub(super) fn of_frame(&mut self, sequence: u32, deadline: Instant) -> Result<Option<Crc>> {
        let failed = |op: &'static str, errno| Error::new(op, self.path.display().to_string(), errno);
        let Some(data) = &self.data else { return Ok(None) };
        loop {
            // One read yields one line of at most 10 + 10 x 11 + 2 bytes.
            let mut line = [0; 160];
            match rustix::io::read(data, &mut line) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&line[..length]);
                    let Some(crc) = parse(&text) else {
                        let why = format!("`{}` is no CRC line", text.trim_end_matches(['\n', '\0']));
                        return Err(Error::answer("read of a CRC", self.path.display().to_string(), why));
                    };
                    // Counts wrap.
                    if crc.frame.is_none_or(|frame| frame.wrapping_sub(sequence) as i32 >= 0) {
                        return Ok(Some(crc));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !wait::readable(data, deadline).map_err(|errno| failed("poll", errno))? {
                        return Ok(None);
                    }
                }
                Err(errno) => return Err(failed("read of a CRC", errno)),
            }
        }
    }
}

/// `0x0000002a 0x12345678 ...`, or `XXXXXXXXXX` for a frame that the driver did not count.
fn parse(line: &str) -> Option<Crc> {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let mut words = line.trim_end_matches(['\n', '\0']).split(' ');
    let frame = match words.next()? {
        "XXXXXXXXXX" => None,
        text => Some(number(text)?),
    };
    let values = words.map(number).collect::<Option<Vec<u32>>>()?;
    (!values.is_empty()).then_some(Crc { frame, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_a_frame_count() {
        assert_eq!(
            parse("0x0000002a 0x00000001 0xffffffff\n\0"),
            Some(Crc { frame: Some(42), values: vec![1, u32::MAX] })
        );
        assert_eq!(parse("XXXXXXXXXX 0x00000001\n"), Some(Crc { frame: None, values: vec![1] }));
        assert_eq!(parse("0x0000002a\n"), None);
        assert_eq!(parse(""), None);
    }
}
