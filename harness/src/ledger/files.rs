#![expect(unsafe_code, reason = "asks which file a number stands for that is somebody else's")]
//! Which files does this process have open, and what is each?
//!
//! Source: `proc(5)`, and "3.8 `/proc/<pid>/fdinfo/<fd>`" of the kernel's proc documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};

use crate::observed::{NotObservable, Observed};
use crate::placement::bufinfo::Entry;

/// Where the kernel lists them.
const LIST: &str = "/proc/self/fd";

/// The list of open files, itself an open file.
pub(super) struct List(OwnedFd);

/// Room for what one call lists, in bytes.
const ROOM: usize = 8 << 10;

/// Which file an fd stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Node {
    pub(crate) fn of(status: &rustix::fs::Stat) -> Self {
        Self { device: status.st_dev, inode: status.st_ino }
    }
}

/// What an fd of ours is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A dma-buf.
    Buffer,
    /// A `sync_file`. The kernel tells them by no number of their own, so one in the place of another is not found.
    Fence,
    /// Something that is handed over in place of a buffer.
    Stray,
}

impl Kind {
    /// The file of this kind that is `node`, in words.
    pub(super) fn named(self, node: Node) -> String {
        match self {
            Self::Buffer => format!("dma-buf {}", node.inode),
            Self::Fence => "a sync_file".to_owned(),
            Self::Stray => "a file that is no dma-buf".to_owned(),
        }
    }
}

/// What an open file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct What {
    /// In the field's words: `dma-buf 77 (udmabuf, 135168 B)`, `sync_file`, `memfd lp_dma_buf`.
    pub(crate) text: String,
    /// Inode of a dma-buf.
    pub(crate) buffer: Option<u64>,
}

impl What {
    /// The same without the number by which this one is told from others: `dma-buf (udmabuf, 135168 B)`.
    pub(crate) fn kind(&self) -> String {
        self.buffer.map_or_else(|| self.text.clone(), |inode| self.text.replacen(&format!(" {inode}"), "", 1))
    }
}

impl AsRawFd for List {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl List {
    pub(super) fn open() -> Observed<Self> {
        Self::of(Path::new(LIST))
    }

    fn of(path: &Path) -> Observed<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(path, flags, Mode::empty());
        open.map(Self).map_err(|errno| not_readable(path, errno))
    }

    /// The numbers of all open files but the list's own.
    pub(super) fn numbers(&self) -> Observed<BTreeSet<RawFd>> {
        let failed = |errno| not_readable(Path::new(LIST), errno);
        rustix::fs::seek(&self.0, SeekFrom::Start(0)).map_err(failed)?;
        let mut room = [MaybeUninit::uninit(); ROOM];
        let mut entries = RawDir::new(&self.0, &mut room);
        let mut numbers = Vec::new();
        // To an empty answer: a signal ends one early (`filldir64` in `fs/readdir.c`), however much room there was.
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            // `.` and `..` are no numbers.
            numbers.extend(entry.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok()));
        }
        let mut numbers = BTreeSet::from_iter(numbers);
        numbers.remove(&self.0.as_raw_fd());
        Ok(numbers)
    }
}

fn not_readable(path: &Path, errno: rustix::io::Errno) -> NotObservable {
    let why = io::Error::from(errno);
    let like = match errno {
        rustix::io::Errno::NOENT => ", like procfs that is not mounted",
        rustix::io::Errno::MFILE | rustix::io::Errno::NFILE => ", no fd is left to look with",
        _ => "",
    };
    NotObservable(format!("{}: {why}{like}", path.display()))
}

/// Closes `fd`, which was looked at or made just now: where debug assertions are on, dropping it has the kernel asked first
/// whether it is open.
pub(super) fn close(fd: OwnedFd) {
    // SAFETY: it was ours alone, and is not used afterwards.
    unsafe { rustix::io::close(fd.into_raw_fd()) };
}

/// The file that `number` stands for; `None` if for none.
pub(super) fn node(number: RawFd) -> Option<Node> {
    if number < 0 {
        return None;
    }
    // SAFETY: it is asked for its file alone, and fails if it is closed; nothing is kept of it.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::fs::fstat(fd).ok().map(|status| Node::of(&status))
}

/// Where the kernel says what `number` is.
pub(super) fn link(number: RawFd) -> String {
    format!("{LIST}/{number}")
}

/// What `number` is; `None` if it is closed by now.
pub(crate) fn describe(number: RawFd) -> Option<What> {
    let link = fs::read_link(link(number)).ok()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let inode = node(number).map_or(0, |node| node.inode);
    Some(told(&link.to_string_lossy(), &info, inode))
}

/// The numbers of all open files of this process, the ledger's own among them.
pub(crate) fn numbers() -> Observed<BTreeSet<RawFd>> {
    List::open()?.numbers()
}

/// How many open files of this process are the dma-buf `inode`.
pub(crate) fn fds_of(inode: u64) -> Observed<usize> {
    // Most are told apart by a call each. Other file systems may give the same number.
    let alike = |number: &RawFd| node(*number).is_some_and(|node| node.inode == inode);
    let is_it = |number: &RawFd| describe(*number).is_some_and(|what| what.buffer == Some(inode));
    Ok(numbers()?.iter().filter(|number| alike(number) && is_it(number)).count())
}

/// A file in the field's words, by the text of its link and its fdinfo.
fn told(link: &str, info: &str, inode: u64) -> What {
    let value = |key: &str| info.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()));
    if let Some(exporter) = value("exp_name") {
        let size = value("size").unwrap_or("?");
        return What { text: format!("dma-buf {inode} ({exporter}, {size} B)"), buffer: Some(inode) };
    }
    if link.starts_with("/dmabuf") {
        return What { text: format!("dma-buf {inode}"), buffer: Some(inode) };
    }
    let text = match link {
        "anon_inode:sync_file" => "sync_file".to_owned(),
        "anon_inode:[eventfd]" => "eventfd".to_owned(),
        "anon_inode:syncobj_file" => "syncobj".to_owned(),
        "anon_inode:[pidfd]" => "pidfd".to_owned(),
        link if link.starts_with("/dev/dri/") => format!("DRM node {link}"),
        link if link.starts_with("/memfd:") => format!("memfd {}", link.trim_start_matches("/memfd:")),
        link if link.starts_with("socket:") || link.starts_with("pipe:") => link.replacen(':', " ", 1),
        link => link.to_owned(),
    };
    What { text, buffer: None }
}

/// The processes that this one started and that have an fd or a mapping of the dma-buf `inode`, each by what it is for.
pub(super) fn children_with(inode: u64) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let us = std::process::id();
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: u32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let by_fd = fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.starts_with("/dmabuf:")));
        let mut inodes = by_fd.filter_map(|fd| Some(fs::metadata(fd.path()).ok()?.ino()));
        let maps = || fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        inodes.any(|other| other == inode) || maps_of(&maps(), inode) > 0
    };
    let children = numbers.filter(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        parent(&status) == Some(us) && has(*pid)
    });
    let told = |pid: u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        child(pid, &line.split('\0').skip(1).filter(|word| !word.is_empty()).collect::<Vec<_>>())
    };
    children.map(told).collect()
}

/// A process that this one started, by the arguments that it was given.
fn child(pid: u32, arguments: &[&str]) -> String {
    match arguments {
        ["peer", role, ..] => format!("peer process with {role} (process {pid})"),
        others => format!("process {pid} ({})", others.join(" ")),
    }
}

/// How often this process has each dma-buf mapped, by inode.
pub(crate) fn mappings() -> BTreeMap<u64, usize> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut count = BTreeMap::new();
    let inode = |line: &str| line.contains("/dmabuf").then(|| line.split_whitespace().nth(4)?.parse().ok())?;
    maps.lines().filter_map(inode).for_each(|inode| *count.entry(inode).or_default() += 1);
    count
}

/// Whether this process has the buffer mapped, and how often.
pub(super) fn mapped(entry: &Entry) -> usize {
    maps_of(&fs::read_to_string("/proc/self/maps").unwrap_or_default(), entry.buffer.inode)
}

/// How many of the mappings in `maps` are of the dma-buf `inode`.
fn maps_of(maps: &str, inode: u64) -> usize {
    let inode = inode.to_string();
    let of = |line: &&str| line.contains("/dmabuf") && line.split_whitespace().nth(4) == Some(inode.as_str());
    maps.lines().filter(of).count()
}

/// Whether no process runs but the first one, this one and those that it started: so it is in a kernel of our own.
pub(crate) fn alone() -> bool {
    others().is_ok_and(|mut others| others.next().is_none())
}

/// A process that is not ours and may make dma-bufs, or let go of some, at any time: which, and why. `None` if there is none.
pub(crate) fn who_else_shares() -> Option<String> {
    let others = match others() {
        Ok(others) => others,
        Err(error) => return Some(format!("any process, for /proc can't be read: {error}")),
    };
    let shares = |pid: u32| {
        let folder = Path::new("/proc").join(pid.to_string());
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        let name = format!("process {pid} ({})", name.trim());
        match fs::read_dir(folder.join("fd")) {
            Ok(files) => {
                let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
                let link = links.find(|link| makes_buffers(&link.to_string_lossy()))?;
                Some(format!("{name} with {}", link.display()))
            }
            // It has ended.
            Err(error) if [Some(libc::ENOENT), Some(libc::ESRCH)].contains(&error.raw_os_error()) => None,
            Err(error) => Some(format!("{name}, whose files can't be seen: {error}")),
        }
    };
    { others }.find_map(shares)
}

/// Whether what procfs says of a file is a dma-buf, or a device that hands some out.
fn makes_buffers(link: &str) -> bool {
    let devices = ["/dev/dri/", "/dev/dma_heap/", "/dev/udmabuf", "/dev/video", "/dev/kfd"];
    link.starts_with("/dmabuf") || devices.iter().any(|device| link.starts_with(device))
}

/// The processes that are neither the first one, nor this one, nor of those that it started.
fn others() -> io::Result<impl Iterator<Item = u32>> {
    let us = std::process::id();
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids.filter(move |pid| {
        let of = |name: &str| fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(name));
        // The kernel's own threads have no command line, and who is gone by now has none either.
        let is_process = of("cmdline").is_ok_and(|line| !line.is_empty());
        is_process && *pid != 1 && *pid != us && of("status").is_ok_and(|status| parent(&status) != Some(us))
    }))
}

fn parent(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_dma_buf_or_a_device_that_makes_some_shares() {
        for link in
            ["/dmabuf:", "/dmabuf:name", "/dev/dri/card0", "/dev/udmabuf", "/dev/dma_heap/system", "/dev/video3"]
        {
            assert!(makes_buffers(link), "{link}");
        }
        for link in ["/dev/null", "/memfd:dmabuf (deleted)", "socket:[17]", "/other/dev/dri/card0"] {
            assert!(!makes_buffers(link), "{link}");
        }
    }

    #[test]
    fn parents_are_read_as_the_kernel_writes_them() {
        assert_eq!(parent("Name:\tinit\nPid:\t7\nPPid:\t3\n"), Some(3));
    }

    #[test]
    fn a_process_is_named_by_what_it_is_for() {
        assert_eq!(child(31, &["peer", "gpu_a"]), "peer process with gpu_a (process 31)");
        assert_eq!(child(33, &["-c", "true"]), "process 33 (-c true)");
    }

    /// A signal ends an answer of the kernel's early, and not the list.
    #[test]
    fn every_file_is_listed_also_while_signals_come() {
        let list = List::open().expect("procfs");
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let files: Vec<_> = (0..300).map(|_| rustix::fs::memfd_create("open", flags).expect("memfd")).collect();
        let looks = || {
            (0..1000).all(|_| {
                let numbers = list.numbers().expect("listed");
                files.iter().all(|file| numbers.contains(&file.as_raw_fd()))
            })
        };
        let (all, signals) =
            crate::interrupt::while_interrupted(std::time::Duration::from_millis(1), looks).expect("signals");
        assert!(all, "after {signals} signals");
    }

    #[test]
    fn a_file_that_is_opened_is_listed_and_told() {
        let list = List::open().expect("procfs");
        let before = list.numbers().expect("listed");
        let memfd = rustix::fs::memfd_create("pixels", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        let number = memfd.as_raw_fd();
        // Other tests open and close files meanwhile; this number is ours.
        assert!(!before.contains(&number) && list.numbers().expect("listed").contains(&number));
        assert_eq!(describe(number).expect("open").text, "memfd pixels (deleted)");
        drop(memfd);
    }

    #[test]
    fn files_are_told_in_the_words_of_the_field() {
        let info = "pos:\t0\nflags:\t02000002\nsize:\t135168\ncount:\t3\nexp_name:\tudmabuf\n";
        let buffer = What { text: "dma-buf 77 (udmabuf, 135168 B)".into(), buffer: Some(77) };
        assert_eq!(told("/dmabuf:", info, 77), buffer);
        for (link, text) in [
            ("anon_inode:sync_file", "sync_file"),
            ("/dev/dri/card0", "DRM node /dev/dri/card0"),
            ("socket:[41]", "socket [41]"),
            ("/dev/video0", "/dev/video0"),
        ] {
            assert_eq!(told(link, "pos:\t0\n", 5), What { text: text.into(), buffer: None });
        }
    }

    #[test]
    fn where_procfs_is_not_mounted_nothing_is_observed() {
        let why = List::of(Path::new("/nowhere/self/fd")).err().expect("no such list").to_string();
        assert!(why.contains("/nowhere/self/fd") && why.contains("procfs that is not mounted"), "{why}");
    }
}
