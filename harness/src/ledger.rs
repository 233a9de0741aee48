//! What does this process hold before a case, what after it, and who is to blame for the difference?
//!
//! Half of the bugs of a handover have no pixel that is wrong: an fd that stays open, one that is closed twice, a
//! buffer that nobody frees. So the book is opened and closed around *every* case, and no case can forget it. The
//! kernel is asked, and not the code that should have let go: `/proc/self/fd`, and its list of dma-bufs with their
//! devices.
//!
//! - **Files, dma-bufs and mappings** that are there at the end and were not at the start fail the case. What devices and
//!   caches open when they are first used, and keep, is told to the ledger by who opens it ([`keeping`]): that much is
//!   allowed, of that owner and no more. A second look waits a moment, since drivers have threads and the kernel cleans
//!   up by and by.
//! - **Devices that are attached** at the end to a buffer that stays, and were not at the start, fail it, and so do those that are
//!   not any more: not those of who keeps it, as above.
//! - **Files that are gone** at the end and were there at the start fail it, too, unless who kept them says so
//!   (`letting_go`); and so do numbers that stand for another file than before.
//! - **Numbers are not used again** while a case runs. Whoever closes an fd of a buffer here puts a *canary* in its
//!   place ([`Fd`]), and one stands where a driver has closed an fd that it was given ([`Given`]). Who closes a number
//!   a second time closes the canary, and is found. That a number stands for one file alone is also how
//!   the journal can tell between which two calls a file was opened.
//! - **Calls leave breadcrumbs** ([`step`]), so that a finding names the call, and not the case alone.
//!
//! A peer has no case: it keeps books of its own, and is asked what stays open there when it has let go of everything.
//!
//! What can't be observed here (no procfs, no debugfs, no fd left to look with) is said once for each case, with the
//! reason, and the rest goes on.
//!
//! Which file a number stands for is looked at in turn, some numbers after each case; that it is open, of all. What drivers map
//! of memory files that they keep open is their heap, in which their caches grow, and not compared.
//!
//! It costs less than 1 ms a case in the sandbox, the most of it for the calls that set and take away canaries. Where no
//! case runs (benchmarks, peers) it costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::finding::Finding;
use crate::observed::Observed;
use crate::placement::bufinfo::{Bufinfo, Entry};

mod attached;
mod calling;
mod canaries;
mod fd;
mod files;
mod journal;
mod keeping;
mod known;
mod left;
mod mappings;
pub(crate) mod objects;
mod sentry;
mod shared;
mod standing;
mod words;

pub(crate) use calling::{calling, last_call, whereabouts};
pub use canaries::Given;
pub use fd::Fd;
pub(crate) use files::{Kind, Node, What, alone, describe, fds_of, mappings, numbers, who_else_shares};
pub(crate) use journal::Blamed;
pub use journal::step;
pub use keeping::keeping;
pub(crate) use keeping::letting_go;
pub(crate) use shared::Shared;
pub(crate) use standing::{Standing, mapped, standing};

use canaries::Canaries;
use journal::Journal;
use known::Known;
use left::Left;
use mappings::{Bytes, Mappings};

/// Whether a case runs.
static OPEN: AtomicBool = AtomicBool::new(false);

/// The book of this process.
static BOOK: Mutex<Option<Book>> = Mutex::new(None);

/// What is observed: by procfs, by the kernel's list, and by procfs again.
const FILES: &str = "open files";
const DMA_BUFS: &str = "dma-bufs";
const MAPPINGS: &str = "mappings";

/// How files are told of from which a driver maps memory by and by.
const HEAPS: [&str; 3] = ["memfd ", "DRM node /dev/dri/renderD", "/dev/nvidia"];

/// What is known of this process between two cases, and in one.
struct Book {
    /// Where files are listed, opened once: there may be no fd left when it is needed.
    list: Observed<files::List>,
    bufinfo: Observed<Bufinfo>,
    canaries: Observed<Canaries>,
    journal: Journal,
    mappings: Observed<Mappings>,
    /// What was there when the last case ended, or when the book was made, without what it alone might keep.
    before: Held,
    /// The dma-bufs that were there when the last case ended.
    live: Option<BTreeSet<u64>>,
    /// Which files these are.
    known: Known,
    /// What somebody opened and keeps, by number, by inode, and by file, with who.
    kept_files: BTreeMap<RawFd, String>,
    kept_buffers: BTreeMap<u64, String>,
    /// Those of them that stay by a known defect.
    excused: BTreeSet<u64>,
    kept_mappings: Bytes,
    /// Buffers that the last case was let keep, as the screen showed them: they are to be gone after the next.
    on_loan: BTreeSet<u64>,
    /// Memory files in which drivers have their heaps, for as long as they have them open: caches grow there.
    heaps: BTreeSet<mappings::Of>,
    /// Buffers of processes that we started, as long as these are the same.
    of_peers: BTreeSet<u64>,
    peers: u64,
    findings: Vec<Finding>,
}

/// What is there at one moment.
#[derive(Clone, Debug, Default)]
struct Held {
    files: BTreeSet<RawFd>,
    buffers: BTreeMap<u64, Entry>,
    /// What is mapped, with the sum that was there then.
    mappings: Bytes,
    mapped: Option<u64>,
    /// What could not be observed, and why.
    unobserved: Vec<String>,
}

/// What the ledger says of a case.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    /// Each fails the case.
    pub(crate) findings: Vec<Finding>,
    /// What could not be observed, and why.
    pub(crate) unobserved: Option<String>,
}

/// Whether a case runs whose book is open.
fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed)
}

fn lock() -> MutexGuard<'static, Option<Book>> {
    BOOK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `look` at the book, if a case runs.
fn with<R>(look: impl FnOnce(&mut Book) -> R) -> Option<R> {
    is_open().then(|| lock().as_mut().map(look)).flatten()
}

/// A case begins.
pub(crate) fn begin() {
    let mut book = lock();
    let book = book.get_or_insert_with(Book::new);
    book.journal.clear();
    book.findings.clear();
    calling::forget();
    OPEN.store(true, Ordering::Relaxed);
}

/// The case ended; `kept` are fds that the bench knows that it keeps beyond this case, each with what for, and `shown`
/// dma-bufs that a screen does.
pub(crate) fn end(kept: impl IntoIterator<Item = (RawFd, &'static str)>, shown: Vec<u64>) -> Closing {
    OPEN.store(false, Ordering::Relaxed);
    let mut closing = lock().as_mut().map(|book| book.close(kept, shown)).unwrap_or_default();
    closing.findings.extend(objects::left());
    closing
}

/// Processes that this one starts come and go: counted, so that it shows when they are others than before.
static PEERS: AtomicU64 = AtomicU64::new(0);

/// A process was started, or has ended.
pub(crate) fn peers_change() {
    PEERS.fetch_add(1, Ordering::Relaxed);
}

/// No canary is set as long as they are `suspended`, and those that stand go: for who counts the fds that are left.
pub(crate) fn suspend_canaries(suspended: bool) {
    with(|book| {
        if let Ok(canaries) = &mut book.canaries {
            let findings = canaries.suspend(suspended);
            book.findings.extend(findings);
        }
    });
}

/// How many fds of this process are the ledger's own, and may come and go.
pub(crate) fn own_files() -> usize {
    lock().as_ref().map_or(0, |book| book.canaries.as_ref().map_or(0, Canaries::count))
}

/// What procfs says that each canary refers to.
pub(crate) fn canary() -> Option<PathBuf> {
    lock().as_ref().and_then(|book| book.canaries.as_ref().ok().map(Canaries::link))
}

/// The dma-buf of `inode` stays for a known reason, which a case of its own claims: it is no finding of every other
/// case.
pub(crate) fn excuse(inode: u64, why: &'static str) {
    with(|book| {
        book.excused.insert(inode);
        book.kept_buffers.insert(inode, why.to_owned());
    });
}

/// Whether the case made a call whose name begins with `op`.
pub(crate) fn used(op: &str) -> bool {
    with(|book| book.journal.used(op)).unwrap_or_default()
}

/// The dma-bufs that were there when the last case ended; `None` if there was none, or that could not be observed.
pub(crate) fn buffers() -> Option<BTreeSet<u64>> {
    lock().as_ref().and_then(|book| book.live.clone())
}

/// The open files of this process but for the ledger's own, and what each is.
pub(crate) fn files() -> Observed<BTreeMap<RawFd, What>> {
    let own: BTreeSet<RawFd> = lock().as_ref().map_or_else(BTreeSet::new, |book| {
        let canaries = book.canaries.iter().flat_map(Canaries::numbers);
        canaries.chain(book.list.as_ref().ok().map(AsRawFd::as_raw_fd)).collect()
    });
    Ok(numbers()?.difference(&own).filter_map(|number| Some((*number, describe(*number)?))).collect())
}

/// The last calls of the case that gave or took files and buffers, a line for each.
pub(crate) fn last_calls() -> Option<String> {
    with(|book| book.journal.tail()).flatten()
}

/// The last call of the case of which `words` were said last.
pub(crate) fn call_about(words: &str) -> Option<String> {
    with(|book| book.journal.about(words)).flatten()
}

/// A moment of a case: how many calls were made before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark(usize);

/// This moment.
pub(crate) fn mark() -> Mark {
    with(|book| Mark(book.journal.len())).unwrap_or_default()
}

/// The call that is likely to have left fd `number` of the dma-buf `inode` open, with how often it was made `since` then.
pub(crate) fn blamed(number: RawFd, inode: u64, since: Mark) -> Option<Blamed> {
    with(|book| book.journal.blamed(number, inode, since.0)).flatten()
}

/// How much was found in this case up to now: canaries that are gone, fds that others closed.
pub(crate) fn found_so_far() -> u64 {
    with(|book| book.findings.len() as u64).unwrap_or_default()
}

/// The number is nobody's any more, or a driver's: [`Fd`] is the one who says so.
fn hand_over(number: RawFd) {
    with(|book| book.let_go(number));
}

/// The number is closed, and may be another file's: [`Fd`] is the one who says so.
fn closes(number: RawFd) {
    with(|book| {
        book.let_go(number);
        book.journal.closed(number);
    });
}

/// An fd was closed: [`Fd`] is the one who says so.
fn retire(fd: OwnedFd, kind: Kind, was: Node) {
    let mut given = Some(fd);
    with(|book| {
        if let Some(fd) = &given {
            book.let_go(fd.as_raw_fd());
        }
        if let (Ok(canaries), Some(fd)) = (&mut book.canaries, given.take()) {
            let finding = canaries.retire(fd, kind, was, &book.journal);
            book.findings.extend(finding);
        }
    });
    // Without a book it is closed here.
    drop(given);
}

impl Book {
    fn new() -> Self {
        let mut book = Self {
            list: files::List::open(),
            bufinfo: Bufinfo::find(),
            canaries: Canaries::new(),
            journal: Journal::default(),
            mappings: Mappings::open(),
            before: Held::default(),
            live: None,
            known: Known::default(),
            kept_files: BTreeMap::new(),
            kept_buffers: BTreeMap::new(),
            excused: BTreeSet::new(),
            kept_mappings: Bytes::new(),
            on_loan: BTreeSet::new(),
            heaps: BTreeSet::new(),
            of_peers: BTreeSet::new(),
            peers: 0,
            findings: Vec::new(),
        };
        book.before = book.look();
        book.known.learn(&book.before.files);
        book
    }

    /// What is there now. What can't be observed is said in it, and taken for what was there and is kept: a look that fails once
    /// is no sign that all is gone, or that all is new.
    fn look(&self) -> Held {
        let files = self.list.as_ref().map_err(Clone::clone).and_then(files::List::numbers);
        let buffers = self.buffers();
        // A sum that is what it was is taken for the same mappings: one that came as another as large went is not seen.
        let mapped = self.mappings.as_ref().ok().and_then(Mappings::sum);
        let mappings = match &self.mappings {
            Err(why) => Err(why.clone()),
            Ok(_) if mapped.is_some() && mapped == self.before.mapped => Ok(self.before.mappings.clone()),
            Ok(mappings) => mappings.bytes(),
        };
        let blind = [
            (FILES, files.as_ref().err()),
            (DMA_BUFS, buffers.as_ref().err()),
            (MAPPINGS, mappings.as_ref().err()),
            ("numbers that are closed twice", self.canaries.as_ref().err()),
        ];
        let said = blind.into_iter().filter_map(|(what, why)| Some(format!("{what}: {}", why?.0)));
        let unobserved: Vec<String> = said.collect();
        let mut files =
            files.unwrap_or_else(|_| self.before.files.iter().chain(self.kept_files.keys()).copied().collect());
        if let Ok(canaries) = &self.canaries {
            canaries.numbers().for_each(|number| {
                files.remove(&number);
            });
        }
        let buffers = buffers.unwrap_or_else(|_| self.before.buffers.clone());
        // The sum of what stands in for them is not theirs.
        let mapped = mapped.filter(|_| mappings.is_ok());
        let mappings = mappings.unwrap_or_else(|_| self.before.mappings.clone());
        Held { files, buffers, mappings, mapped, unobserved }
    }

    /// The dma-bufs of the machine, by inode.
    fn buffers(&self) -> Observed<BTreeMap<u64, Entry>> {
        let entries = self.bufinfo.as_ref().map_err(Clone::clone)?.entries()?;
        Ok(entries.into_iter().map(|entry| (entry.buffer.inode, entry)).collect())
    }

    /// `number` was closed by whose it is, or given away.
    fn let_go(&mut self, number: RawFd) {
        self.known.forget(number);
        self.before.files.remove(&number);
        self.kept_files.remove(&number);
    }

    /// What of `held` nobody accounts for.
    fn unaccounted(&self, held: &Held, kept: &Kept) -> Left {
        let files = held.files.iter().filter(|number| {
            !self.before.files.contains(number)
                && !self.kept_files.contains_key(number)
                && !kept.files.contains_key(number)
        });
        let new = |inode: &u64| {
            !self.before.buffers.contains_key(inode)
                && !self.kept_buffers.contains_key(inode)
                && !kept.buffers.contains(inode)
        };
        let buffers = held.buffers.iter().filter(|(inode, _)| new(inode)).map(|(_, entry)| entry.clone());
        let mappings = mappings::more(&held.mappings, &self.before.mappings, &self.kept_mappings);
        // What a screen shows may be mapped, too.
        let mappings = mappings.into_iter().filter(|(file, _)| !kept.inodes.contains(&file.2));
        // What a screen shows is attached to it for as long, a buffer that stays by a known defect to whoever that concerns, and one
        // that somebody keeps may be let go of by a driver by and by.
        let attached = attached::changes(&self.before.buffers, &held.buffers).filter(|change| {
            let inode = change.is.buffer.inode;
            let is_free_to_go = change.gained().is_empty() && self.kept_buffers.contains_key(&inode);
            !kept.buffers.contains(&inode) && !self.excused.contains(&inode) && !is_free_to_go
        });
        Left {
            files: files.copied().collect(),
            buffers: buffers.collect(),
            mappings: mappings.collect(),
            attached: attached.collect(),
        }
    }

    /// Whether a dma-buf that no call of ours was about is that of a process that we started, whose devices have their
    /// own.
    fn is_of_a_peer(&mut self, entry: &Entry) -> bool {
        let inode = entry.buffer.inode;
        if self.journal.knows(inode) {
            return false;
        }
        if self.of_peers.contains(&inode) {
            return true;
        }
        let is_theirs = !files::children_with(inode).is_empty();
        if is_theirs {
            self.of_peers.insert(inode);
        }
        is_theirs
    }

    /// Whether a file that is mapped is one of memory that a driver keeps open and maps from by and by: a memfd, as llvmpipe has
    /// it for all that it allocates, or the node of a GPU, whose driver keeps buffers for the next time, mapped as they are. A
    /// hundred cycles tell those from a leak.
    fn is_a_heap(&mut self, file: mappings::Of) -> bool {
        if self.heaps.contains(&file) {
            return true;
        }
        let mut kept = self.before.files.iter().chain(self.kept_files.keys());
        let is_one = kept.any(|number| {
            files::node(*number).is_some_and(|node| node.inode == file.2)
                && describe(*number).is_some_and(|what| HEAPS.iter().any(|heap| what.text.starts_with(heap)))
        });
        if is_one {
            self.heaps.insert(file);
        }
        is_one
    }

    /// Files that are gone, and numbers that stand for others, though nobody let them go.
    fn missing(&mut self, held: &Held, all: bool) -> Vec<Finding> {
        if self.list.is_err() {
            return Vec::new();
        }
        let lost = self.known.lost(&held.files);
        let changed = self.known.changed(all || !lost.is_empty());
        let mut findings = Vec::new();
        for (number, stays) in lost.into_iter().chain(changed) {
            let keeper = self.kept_files.remove(&number);
            findings.push(words::lost(number, &stays.text, keeper.as_deref(), describe(number), &self.journal));
        }
        findings
    }

    fn close(&mut self, kept: impl IntoIterator<Item = (RawFd, &'static str)>, shown: Vec<u64>) -> Closing {
        let kept = Kept::of(kept.into_iter().collect(), shown);
        let mut findings = std::mem::take(&mut self.findings);
        if let Ok(canaries) = &mut self.canaries {
            findings.extend(canaries.release());
        }
        let peers = PEERS.load(Ordering::Relaxed);
        if self.peers != peers {
            self.peers = peers;
            self.of_peers.clear();
        }
        let began = Instant::now();
        let (held, left) = loop {
            let held = self.look();
            let mut left = self.unaccounted(&held, &kept);
            left.buffers.retain(|entry| !self.is_of_a_peer(entry));
            left.mappings.retain(|file, _| !self.is_a_heap(*file));
            if left.is_empty() || began.elapsed() >= left.may_stay(&self.on_loan) {
                break (held, left);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let stayed = self.canaries.as_mut().map(Canaries::take_stayed).unwrap_or_default();
        let mut named = BTreeSet::new();
        let open: Vec<words::Open> = left
            .files
            .iter()
            .filter_map(|&number| {
                let what = describe(number)?;
                named.extend(what.buffer);
                let after =
                    stayed.iter().find(|stayed| stayed.number == number && Some(stayed.node.inode) == what.buffer);
                Some(words::Open { number, what, after: after.map(|stayed| stayed.after) })
            })
            .collect();
        findings.extend(words::open_files(&open, &self.journal));
        // One that an fd of the list above stands for is told of there. Of those that no call of ours had anything to
        // do with, others on this machine may be the owners.
        let attached = left.attached.iter().map(|change| &change.is);
        let mut those = left.buffers.iter().chain(attached);
        let alone = those.all(|entry| self.journal.knows(entry.buffer.inode)) || alone();
        let buffers = left.buffers.iter().filter(|entry| !named.contains(&entry.buffer.inode));
        let ours = buffers.filter(|entry| alone || self.journal.knows(entry.buffer.inode));
        findings.extend(ours.map(|entry| {
            let peers = files::children_with(entry.buffer.inode);
            let earlier = self.on_loan.contains(&entry.buffer.inode);
            words::buffer_left(entry, files::mapped(entry), &peers, earlier, &self.journal)
        }));
        // A mapping of a buffer is told of with that.
        let told: BTreeSet<u64> = left.buffers.iter().map(|entry| entry.buffer.inode).collect();
        let mapped = left.mappings.iter().filter(|(file, _)| !told.contains(&file.2));
        findings
            .extend(mapped.map(|(file, bytes)| words::mapping_left(&mappings::describe(*file), *bytes, &self.journal)));
        let attached = left.attached.iter().filter(|change| alone || self.journal.knows(change.is.buffer.inode));
        findings.extend(attached.map(|change| {
            let keeper = self.kept_buffers.get(&change.is.buffer.inode).map(String::as_str);
            words::attached_otherwise(change, keeper, &self.journal)
        }));
        findings.extend(self.missing(&held, !findings.is_empty()));
        let unobserved = (!held.unobserved.is_empty()).then(|| held.unobserved.join("; "));
        // Said once: the next case starts from here, but for what it may not keep in its turn.
        self.kept_files.retain(|number, _| held.files.contains(number));
        let seen = held.saw(DMA_BUFS);
        if seen {
            self.kept_buffers.retain(|inode, _| held.buffers.contains_key(inode));
            self.excused.retain(|inode| held.buffers.contains_key(inode));
        }
        self.of_peers.retain(|inode| held.buffers.contains_key(inode));
        self.kept_mappings.clear();
        self.heaps.retain(|file| held.mappings.contains_key(file));
        if let Ok(canaries) = &mut self.canaries {
            canaries.fill_gaps(&held.files, self.list.as_ref().ok().map(AsRawFd::as_raw_fd));
        }
        self.live = seen.then(|| held.buffers.keys().copied().collect());
        self.before = held;
        self.before.files.retain(|number| !kept.files.contains_key(number));
        self.before.buffers.retain(|inode, _| {
            let is_told = named.contains(inode) || told.contains(inode);
            is_told || !(kept.buffers.contains(inode) || self.of_peers.contains(inode))
        });
        self.on_loan = kept.buffers;
        self.known.learn(&self.before.files);
        Closing { findings, unobserved }
    }
}

/// What the bench keeps beyond a case.
struct Kept {
    files: BTreeMap<RawFd, &'static str>,
    /// What its files stand for.
    inodes: BTreeSet<u64>,
    /// These, and what a screen shows.
    buffers: BTreeSet<u64>,
}

impl Kept {
    fn of(files: BTreeMap<RawFd, &'static str>, shown: Vec<u64>) -> Self {
        let inodes: BTreeSet<u64> = files.keys().filter_map(|number| Some(files::node(*number)?.inode)).collect();
        let buffers = inodes.iter().copied().chain(shown).collect();
        Self { files, inodes, buffers }
    }
}

/// The number of `fd`, with what it is kept for.
pub(crate) fn kept(fd: &impl AsRawFd, what: &'static str) -> (RawFd, &'static str) {
    (fd.as_raw_fd(), what)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::io::fcntl_dupfd_cloexec;

    use super::*;

    /// A file whose number no other test gets meanwhile.
    fn device(number: RawFd) -> OwnedFd {
        let file = memfd_create("device", MemfdFlags::CLOEXEC).expect("memfd");
        fcntl_dupfd_cloexec(file, number).expect("fds")
    }

    #[test]
    fn a_file_that_somebody_else_closed_is_told_with_its_keeper() {
        let (lost, given_up) = (device(700), device(710));
        let (lost_number, given_up_number) = (lost.as_raw_fd(), given_up.as_raw_fd());
        let mut book = Book::new();
        book.kept_files.insert(lost_number, "Gpu that is open for all cases".into());
        book.let_go(given_up_number);
        drop((lost, given_up));
        let begin = format!(
            "fd {lost_number} was closed, and not by whose it is: it was memfd device (deleted), Gpu that is open"
        );
        let closing = book.close([], Vec::new());
        let of = |number: RawFd| {
            let begin = format!("fd {number} was closed");
            closing.findings.iter().map(|finding| finding.summary.as_str()).find(move |text| text.starts_with(&begin))
        };
        assert!(of(lost_number).is_some_and(|text| text.starts_with(&begin)), "{:?}", closing.findings);
        assert_eq!(of(given_up_number), None);
        let again = book.close([], Vec::new());
        assert!(!again.findings.iter().any(|finding| finding.summary.starts_with(&begin)), "it is told once");
    }

    #[test]
    fn what_a_screen_shows_it_may_not_keep_in_its_turn() {
        let shown = device(720);
        let number = shown.as_raw_fd();
        let mut book = Book::new();
        book.let_go(number);
        let left = |book: &Book, kept: &Kept| book.unaccounted(&book.look(), kept).files.contains(&number);
        let kept = [(number, "what a screen shows")];
        assert!(!left(&book, &Kept::of(kept.into(), Vec::new())));
        book.close(kept, Vec::new());
        assert!(left(&book, &Kept::of(BTreeMap::new(), Vec::new())), "nobody keeps it any more");
    }
}
