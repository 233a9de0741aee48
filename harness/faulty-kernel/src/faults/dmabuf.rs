//! dma-buf fds: their closing, their way to another process, and the accesses of the CPU.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{SeekFrom, fstat, seek};

use super::odd::SYNC;
use super::{Done, Made, Named};
use crate::call::{Answer, Call};
use crate::fields::Fields;
use crate::filter::Filter;
use crate::perform::Mapped;

pub(super) const ALL: &[Named] = &[
    ("close-forgotten", close_forgotten),
    ("close-clears-mapped", close_clears_mapped),
    ("sent-fds-lost", sent_fds_lost),
    ("mapping-kept", mapping_kept),
    ("sync-writes-behind", sync_writes_behind),
    ("sync-backwards", sync_backwards),
    ("sync-forgets-last-line", sync_forgets_last_line),
];

pub(super) fn is_dmabuf(call: &Call<'_>, number: i32) -> bool {
    call.name_of_file(number).is_ok_and(|name| name.starts_with("/dmabuf"))
}

/// Every eighth dma-buf that is closed stays open.
fn close_forgotten() -> Made {
    let count = std::sync::atomic::AtomicU64::new(1);
    Made::on(Filter::calls(&[libc::SYS_close]), move |call| {
        let eighth = || count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(8);
        match is_dmabuf(call, call.arguments[0] as i32) && eighth() {
            true => Ok(Done::fired(Answer::Return(0))),
            false => Ok(Done::UNTOUCHED),
        }
    })
}

/// Who closes its last fd of a dma-buf that it has mapped finds nothing there.
fn close_clears_mapped() -> Made {
    Made::on(Filter::calls(&[libc::SYS_close]), |call| {
        let number = call.arguments[0] as i32;
        if !is_dmabuf(call, number) {
            return Ok(Done::UNTOUCHED);
        }
        let file = call.file(number)?;
        let inode = fstat(&file)?.st_ino;
        let fds = std::fs::read_dir(format!("/proc/{}/fd", call.thread))?.flatten();
        let of_it = fds.filter(|fd| {
            let is_dmabuf = std::fs::read_link(fd.path()).is_ok_and(|name| name.starts_with("/dmabuf"));
            is_dmabuf && std::fs::metadata(fd.path()).is_ok_and(|file| file.ino() == inode)
        });
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", call.thread))?;
        let inode = inode.to_string();
        let shows = |line: &str| line.contains("/dmabuf") && line.split_whitespace().nth(4) == Some(inode.as_str());
        if of_it.count() > 1 || !maps.lines().any(shows) {
            return Ok(Done::UNTOUCHED);
        }
        let size = seek(&file, SeekFrom::End(0))? as usize;
        let Ok(mapped) = Mapped::new(file.as_fd(), 0, size) else { return Ok(Done::UNTOUCHED) };
        mapped.write(&vec![0; size]);
        Ok(Done { answer: Answer::Continue, fired: true })
    })
}

/// A message arrives, its last fd does not.
fn sent_fds_lost() -> Made {
    Made::on(Filter::calls(&[libc::SYS_sendmsg]), |call| {
        // `struct msghdr`: the control data and its length.
        const CONTROL: usize = 32;
        const CONTROL_LENGTH: usize = 40;
        let header = Fields(call.read(call.arguments[1], 56)?);
        let (control, length) = (header.u64(CONTROL), header.u64(CONTROL_LENGTH));
        if length < 20 {
            return Ok(Done::UNTOUCHED);
        }
        let rights = Fields(call.read(control, length as usize)?);
        // `struct cmsghdr`: length, level, type; then the fds.
        let fds = rights.u64(0).saturating_sub(16) / 4;
        if (rights.u32(8), rights.u32(12)) != (libc::SOL_SOCKET as u32, libc::SCM_RIGHTS as u32) || fds == 0 {
            return Ok(Done::UNTOUCHED);
        }
        // The caller's structure is put back by nobody, but nobody sends the same one twice with success.
        let mut shorter = header.clone();
        if fds == 1 {
            shorter.set_u64(CONTROL, 0).set_u64(CONTROL_LENGTH, 0);
            call.write(call.arguments[1], &shorter.0)?;
        } else {
            let mut rights = rights;
            rights.set_u64(0, 16 + 4 * (fds - 1));
            call.write(control, &rights.0)?;
        }
        Ok(Done::fired(Answer::Continue))
    })
}

/// munmap of a dma-buf leaves the mapping where it is.
fn mapping_kept() -> Made {
    Made::on(Filter::calls(&[libc::SYS_munmap]), |call| {
        let shown = shown_at(call, call.arguments[0])?;
        match shown.contains("/dmabuf") {
            true => Ok(Done::fired(Answer::Return(0))),
            false => Ok(Done::UNTOUCHED),
        }
    })
}

/// The line of the caller's mapping that begins at `address`.
pub(super) fn shown_at(call: &Call<'_>, address: u64) -> io::Result<String> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", call.thread))?;
    let begin = format!("{address:x}-");
    let line = maps.lines().find(|line| line.trim_start_matches('0').starts_with(&begin));
    Ok(line.unwrap_or_default().to_owned())
}

/// The end of an access changes what is behind the last byte that was changed meanwhile.
fn sync_writes_behind() -> Made {
    const BEHIND: [u8; 4] = [0xee; 4];
    ending_writes(|before, mut bytes| {
        let last = before.iter().zip(&bytes).rposition(|(before, after)| before != after);
        let end = last.map(|last| last + 1).filter(|end| end + BEHIND.len() <= bytes.len())?;
        bytes.truncate(end);
        bytes.extend(BEHIND);
        Some(bytes)
    })
}

/// The end of an access brings back what was there when it began.
fn sync_backwards() -> Made {
    ending_writes(|before, bytes| (before != bytes).then(|| before.to_vec()))
}

/// The end of an access forgets the line of the cache that was not written to its end.
fn sync_forgets_last_line() -> Made {
    const LINE: usize = 64;
    ending_writes(|before, mut bytes| {
        let last = before.iter().zip(&bytes).rposition(|(before, after)| before != after)?;
        let begin = last - last % LINE;
        let is_whole = last % LINE == LINE - 1;
        bytes[begin..=last].copy_from_slice(&before[begin..=last]);
        (!is_whole).then_some(bytes)
    })
}

/// When an access of the CPU that may write ends, `change` sees what was in the buffer when it began and what is now, and says
/// what the buffer begins with after it.
fn ending_writes(change: impl Fn(&[u8], Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Made {
    /// `DMA_BUF_SYNC_WRITE` and `DMA_BUF_SYNC_END`.
    const WRITE: u64 = 2;
    const END: u64 = 4;
    // What was in a buffer when an access began, by its inode.
    let begun: Mutex<HashMap<u64, Vec<u8>>> = Mutex::default();
    Made::on_ioctls(&[SYNC], move |call| {
        let flags = call.structure()?.u64(0);
        if flags & WRITE == 0 {
            return Ok(Done::UNTOUCHED);
        }
        let file = call.device()?;
        let (inode, size) = (fstat(&file)?.st_ino, seek(&file, SeekFrom::End(0))?);
        let Ok(mapped) = Mapped::new(file.as_fd(), 0, size as usize) else { return Ok(Done::UNTOUCHED) };
        let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
        if flags & END == 0 {
            begun.insert(inode, mapped.read());
            return Ok(Done::UNTOUCHED);
        }
        let changed = begun.remove(&inode).and_then(|before| change(&before, mapped.read()));
        let Some(bytes) = changed else { return Ok(Done::UNTOUCHED) };
        mapped.write(&bytes);
        Ok(Done { answer: Answer::Continue, fired: true })
    })
}
