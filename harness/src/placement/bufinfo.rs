//! Which dma-bufs are there, who is attached to each, and which fences wait on it, as the kernel lists them?
//!
//! The list is that of the whole machine, with buffers of other processes.
//!
//! Source: `dma_buf_debug_show` in `drivers/dma-buf/dma-buf.c` and `dma_resv_describe` in `drivers/dma-buf/dma-resv.c`.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::dmabuf::Identity;
use crate::inventory::access::{self, Mode};
use crate::inventory::mounts::Mounts;
use crate::observed::{NotObservable, Observed};

/// One dma-buf of the kernel's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which buffer.
    pub buffer: Identity,
    /// References to its file: fds, mmaps, importers.
    pub references: u64,
    /// The attached devices, by the kernel's names.
    pub attached: Vec<String>,
    /// What its reservation holds, a line for each fence.
    pub fences: Vec<String>,
}

/// The kernel's list, for those who read it often.
#[derive(Debug)]
pub struct Bufinfo {
    path: PathBuf,
    file: File,
}

impl Bufinfo {
    /// Opens the list.
    ///
    /// # Errors
    /// debugfs is not mounted, or the list is missing or closed to us.
    pub fn find() -> Observed<Self> {
        let debugfs = Mounts::read().debugfs();
        let path = debugfs.ready().map_err(NotObservable)?.join("dma_buf/bufinfo");
        let file = access::open(&path, Mode::Read, ABSENT).map_err(NotObservable)?;
        Ok(Self { path, file })
    }

    /// Every dma-buf of this machine.
    ///
    /// # Errors
    /// It can't be read.
    pub fn entries(&self) -> Observed<Vec<Entry>> {
        let mut text = Vec::new();
        let mut chunk = [0; 8 << 10];
        loop {
            // From the start the kernel makes the list anew.
            match self.file.read_at(&mut chunk, text.len() as u64) {
                Ok(0) => break,
                Ok(count) => {
                    text.extend_from_slice(&chunk[..count]);
                    // The kernel makes the list anew for each read, even for one that finds its end.
                    if count < chunk.len() && is_whole(&text) {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(NotObservable(access::refused("read", &self.path, &error, ABSENT))),
            }
        }
        let text = String::from_utf8_lossy(&text);
        let unknown = |line: String| format!("{} has a line that is not known here: `{line}`", self.path.display());
        parse(&text).map_err(|line| NotObservable(unknown(line)))
    }
}

/// What it means if there is no list.
const ABSENT: &str = "kernel without CONFIG_DEBUG_FS or CONFIG_DMA_SHARED_BUFFER";

/// Every dma-buf of this machine.
///
/// # Errors
/// debugfs is not mounted, or the list is missing or closed to us.
pub fn list() -> Observed<Vec<Entry>> {
    Bufinfo::find()?.entries()
}

/// Whether the last line is there, `Total 2 objects, 139264 bytes`.
fn is_whole(text: &[u8]) -> bool {
    let last = text.strip_suffix(b"\n").and_then(|text| text.rsplit(|byte| *byte == b'\n').next());
    last.is_some_and(|last| last.starts_with(b"Total ") && last.ends_with(b" bytes"))
}

/// Reads the list.
///
/// # Errors
/// The first line that is not understood.
pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut devices = false;
    for line in text.lines() {
        let last = entries.last_mut();
        match (line, last) {
            ("\tAttached Devices:", _) => devices = true,
            (line, Some(last)) if line.starts_with('\t') => {
                let into = if devices { &mut last.attached } else { &mut last.fences };
                into.push(line.trim().to_owned());
            }
            (line, _) if line.is_empty() || line.starts_with("Total ") || line.starts_with("Dma-buf Objects:") => {}
            (line, _) if line.starts_with("size") => {}
            (line, _) => {
                devices = false;
                entries.push(entry(line).ok_or_else(|| line.to_owned())?);
            }
        }
    }
    Ok(entries)
}

/// Between tabs: size, flags, mode, count, exp_name, ino, name.
fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split('\t').map(str::trim);
    let size = fields.next()?.parse().ok()?;
    let references = fields.nth(2)?.parse().ok()?;
    let exporter = Some(fields.next()?.to_owned());
    let inode = fields.next()?.parse().ok()?;
    Some(Entry { buffer: Identity { inode, exporter, size }, references, attached: Vec::new(), fences: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the sandbox's kernel prints it, with a fence as `dma_resv_describe` writes one.
    #[test]
    fn buffers_with_their_devices_and_fences() {
        let text = "\nDma-buf Objects:\nsize    \tflags   \tmode    \tcount   \texp_name\tino     \tname\n\
                    00135168\t00000002\t00080007\t00000003\tudmabuf\t00000005\t<none>\n\
                    \twrite fence:vgem unbound 3:1 unsignalled\n\
                    \tAttached Devices:\n\tvkms\n\tvivid.1\nTotal 2 devices attached\n\n\
                    00004096\t00000002\t00080007\t00000001\tsystem\t00000006\tcamera\n\
                    \tAttached Devices:\nTotal 0 devices attached\n\n\
                    \nTotal 2 objects, 139264 bytes\n";
        let entries = parse(text).expect("known lines");
        let udmabuf = Identity { inode: 5, exporter: Some("udmabuf".into()), size: 135_168 };
        assert_eq!(
            entries[0],
            Entry {
                buffer: udmabuf,
                references: 3,
                attached: vec!["vkms".into(), "vivid.1".into()],
                fences: vec!["write fence:vgem unbound 3:1 unsignalled".into()],
            }
        );
        assert_eq!((entries[1].references, entries[1].attached.len(), entries.len()), (1, 0, 2));
        assert_eq!(parse("nonsense\n"), Err("nonsense".into()));
        assert!(is_whole(text.as_bytes()) && !is_whole(&text.as_bytes()[..text.len() - 1]));
        assert!(!is_whole(b"Total 2 devices attached\n"));
    }
}
