//! What does procfs tell of a dma-buf's fd?
//!
//! Source: `dma_buf_show_fdinfo` in `drivers/dma-buf/dma-buf.c` of the kernel.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::observed::{NotObservable, Observed};
use crate::procfs;

/// A dma-buf, as `/proc/self/fdinfo` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fdinfo {
    /// Size in bytes.
    pub size: u64,
    /// References to its file: fds, mmaps, importers.
    pub references: u64,
    /// Who exported it.
    pub exporter: String,
    /// Its inode; kernels before 5.14 do not tell.
    pub inode: Option<u64>,
}

impl Fdinfo {
    /// What procfs tells of `fd`.
    pub(super) fn of(fd: BorrowedFd<'_>) -> Observed<Self> {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let text = procfs::text(&path).map_err(|error| NotObservable(format!("{path}: {error}")))?;
        parse(&text).ok_or_else(|| NotObservable(format!("{path} does not tell of a dma-buf")))
    }
}

fn parse(text: &str) -> Option<Fdinfo> {
    let value = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()));
    Some(Fdinfo {
        size: value("size")?.parse().ok()?,
        references: value("count")?.parse().ok()?,
        exporter: value("exp_name")?.to_owned(),
        inode: value("ino").and_then(|inode| inode.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dmabuf_is_told_from_another_file() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t9\nino:\t5\nsize:\t135168\ncount:\t3\nexp_name:\tudmabuf\n";
        let fdinfo = Fdinfo { size: 135_168, references: 3, exporter: "udmabuf".into(), inode: Some(5) };
        assert_eq!(parse(text), Some(fdinfo));
        assert_eq!(parse("pos:\t0\nflags:\t02\nmnt_id:\t9\nino:\t5\n"), None);
    }
}
