//! What does this process hold before a case, what after it, and who is to blame for the difference?
//!
//! Half of the bugs of a handover have no pixel that is wrong: an fd that stays open, one that is closed twice, a
//! buffer that nobody frees. So the book is opened and closed around *every* case, and no case can forget it. The
//! kernel is asked, and not the code that should have let go: `/proc/self/fd`, and its list of dma-bufs with their
//! devices.
//!
//! - **Files and dma-bufs** that are there at the end and were not at the start fail the case. What devices and caches
//!   open when they are first used, and keep, is told to the ledger by who opens it ([`keeping`]): that much is
//!   allowed, of that owner and no more. A second look waits a moment, since drivers have threads and the kernel cleans
//!   up by and by.
//! - **Numbers are not used again** while a case runs. Whoever closes an fd of a buffer here puts a *canary* in its
//!   place ([`Fd`]), and one stands where a driver has closed an fd that it was given ([`Given`]). Who closes a number
//!   a second time closes the canary, and is found. That a number stands for one file alone is also how
//!   the journal can tell between which two calls a file was opened.
//! - **Calls leave breadcrumbs** ([`step`]), so that a finding names the call, and not the case alone.
//!
//! What can't be observed here (no procfs, no debugfs, no fd left to look with) is said once for each case, with the
//! reason, and the rest goes on.
//!
//! It costs less than 1 ms a case in the sandbox, the most of it for the calls that set and take away canaries. Where no
//! case runs (benchmarks, peers) it costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::finding::Finding;
use crate::observed::Observed;
use crate::placement::bufinfo::{Bufinfo, Entry};

mod canaries;
mod fd;
mod files;
mod journal;
pub(crate) mod objects;
mod sentry;
mod words;

pub use canaries::Given;
pub use fd::Fd;
pub(crate) use files::{Node, What, alone, mappings};
pub(crate) use journal::Blamed;
pub use journal::step;

use canaries::Canaries;
use journal::Journal;

/// Whether a case runs.
static OPEN: AtomicBool = AtomicBool::new(false);

/// The book of this process.
static BOOK: Mutex<Option<Book>> = Mutex::new(None);

/// So long a file or a buffer may stay after the case: the kernel cleans up by and by, and drivers have threads.
const SETTLED: Duration = Duration::from_millis(300);

/// What is known of this process between two cases, and in one.
struct Book {
    /// Where files are listed, opened once: there may be no fd left when it is needed.
    list: Observed<files::List>,
    bufinfo: Observed<Bufinfo>,
    canaries: Observed<Canaries>,
    journal: Journal,
    /// What was there when the last case ended, or when the book was made.
    before: Held,
    /// What somebody opened and keeps, by number and by inode, with who.
    kept_files: BTreeMap<RawFd, String>,
    kept_buffers: BTreeMap<u64, String>,
    findings: Vec<Finding>,
}

/// What is there at one moment.
#[derive(Clone, Debug, Default)]
struct Held {
    files: BTreeSet<RawFd>,
    buffers: BTreeMap<u64, Entry>,
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
    OPEN.store(true, Ordering::Relaxed);
}

/// The case ended; `kept` are fds that the bench knows that it keeps, each with what for.
pub(crate) fn end(kept: impl IntoIterator<Item = (RawFd, &'static str)>) -> Closing {
    OPEN.store(false, Ordering::Relaxed);
    let mut closing = lock().as_mut().map(|book| book.close(kept)).unwrap_or_default();
    closing.findings.extend(objects::left());
    closing
}

/// Does `open`, and accounts for all that it leaves open to `who`: a device that is kept for the next case, a cache
/// that grows once. What is opened in other ways meanwhile, by other threads, is taken for theirs.
pub fn keeping<T>(who: impl FnOnce() -> String, open: impl FnOnce() -> T) -> T {
    let Some(before) = with(|book| book.look()) else { return objects::cached(open) };
    let opened = objects::cached(open);
    with(|book| {
        let after = book.look();
        let who = who();
        let new = after.files.difference(&before.files);
        book.kept_files.extend(new.map(|number| (*number, who.clone())));
        let new = after.buffers.keys().filter(|inode| !before.buffers.contains_key(inode));
        book.kept_buffers.extend(new.map(|inode| (*inode, who.clone())));
    });
    opened
}

/// No canary is set while `work` runs, and those that stand go: for who counts the fds that are left.
pub(crate) fn without_canaries<R>(work: impl FnOnce() -> R) -> R {
    let set = |suspended: bool| {
        with(|book| {
            if let Ok(canaries) = &mut book.canaries {
                let findings = canaries.suspend(suspended);
                book.findings.extend(findings);
            }
        });
    };
    set(true);
    let done = work();
    set(false);
    done
}

/// How many fds of this process are the ledger's own, and may come and go.
pub(crate) fn own_files() -> usize {
    lock().as_ref().map_or(0, |book| book.canaries.as_ref().map_or(0, Canaries::count))
}

/// The dma-buf of `inode` stays for a known reason, which a case of its own claims: it is no finding of every other
/// case.
pub(crate) fn excuse(inode: u64, why: &'static str) {
    with(|book| book.kept_buffers.insert(inode, why.to_owned()));
}

/// Whether the case made a call whose name begins with `op`.
pub(crate) fn used(op: &str) -> bool {
    with(|book| book.journal.used(op)).unwrap_or_default()
}

/// The open files of this process but for the ledger's own, and what each is.
pub(crate) fn files() -> Observed<BTreeMap<RawFd, What>> {
    let own: BTreeSet<RawFd> = lock().as_ref().map_or_else(BTreeSet::new, |book| {
        let canaries = book.canaries.iter().flat_map(Canaries::numbers);
        canaries.chain(book.list.as_ref().ok().map(AsRawFd::as_raw_fd)).collect()
    });
    let numbers = files::List::open()?.numbers()?;
    Ok(numbers.difference(&own).filter_map(|number| Some((*number, files::describe(*number)?))).collect())
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

/// An fd was closed: [`Fd`] is the one who says so.
fn retire(fd: OwnedFd, was: Node) {
    let mut given = Some(fd);
    with(|book| {
        if let (Ok(canaries), Some(fd)) = (&mut book.canaries, given.take()) {
            let finding = canaries.retire(fd, was, &book.journal);
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
            before: Held::default(),
            kept_files: BTreeMap::new(),
            kept_buffers: BTreeMap::new(),
            findings: Vec::new(),
        };
        book.before = book.look();
        book
    }

    /// What is there now. What can't be observed is left out, and said in it.
    fn look(&self) -> Held {
        let files = self.list.as_ref().map_err(Clone::clone).and_then(files::List::numbers);
        let buffers = self.bufinfo.as_ref().map_err(Clone::clone).and_then(Bufinfo::entries);
        let blind = [
            ("open files", files.as_ref().err()),
            ("dma-bufs", buffers.as_ref().err()),
            ("numbers that are closed twice", self.canaries.as_ref().err()),
        ];
        let said = blind.into_iter().filter_map(|(what, why)| Some(format!("{what}: {}", why?.0)));
        let unobserved: Vec<String> = said.collect();
        let mut files = files.unwrap_or_default();
        if let Ok(canaries) = &self.canaries {
            canaries.numbers().for_each(|number| {
                files.remove(&number);
            });
        }
        let buffers = buffers.unwrap_or_default().into_iter().map(|entry| (entry.buffer.inode, entry)).collect();
        Held { files, buffers, unobserved }
    }

    /// What of `held` nobody accounts for.
    fn unaccounted(&self, held: &Held, kept: &BTreeMap<RawFd, &'static str>) -> (Vec<RawFd>, Vec<Entry>) {
        let files = held.files.iter().filter(|number| {
            !self.before.files.contains(number) && !self.kept_files.contains_key(number) && !kept.contains_key(number)
        });
        // What a file that is kept stands for is kept, too.
        let of_kept: BTreeSet<u64> = kept.keys().filter_map(|number| Some(files::node(*number)?.inode)).collect();
        let new = |inode: &u64| {
            !self.before.buffers.contains_key(inode)
                && !self.kept_buffers.contains_key(inode)
                && !of_kept.contains(inode)
        };
        let buffers = held.buffers.iter().filter(|(inode, _)| new(inode)).map(|(_, entry)| entry.clone());
        (files.copied().collect(), buffers.collect())
    }

    /// Whether a dma-buf that no call of ours was about is that of a process that we started, whose devices have their
    /// own.
    fn is_of_a_peer(&mut self, entry: &Entry) -> bool {
        let inode = entry.buffer.inode;
        if self.journal.knows(inode) {
            return false;
        }
        let peers = files::children_with(inode);
        let is_theirs = !peers.is_empty();
        if is_theirs {
            self.kept_buffers.insert(inode, peers.join(", "));
        }
        is_theirs
    }

    fn close(&mut self, kept: impl IntoIterator<Item = (RawFd, &'static str)>) -> Closing {
        let kept: BTreeMap<RawFd, &'static str> = kept.into_iter().collect();
        let mut findings = std::mem::take(&mut self.findings);
        if let Ok(canaries) = &mut self.canaries {
            findings.extend(canaries.release());
        }
        let deadline = Instant::now() + SETTLED;
        let (held, left) = loop {
            let held = self.look();
            let mut left = self.unaccounted(&held, &kept);
            left.1.retain(|entry| !self.is_of_a_peer(entry));
            if (left.0.is_empty() && left.1.is_empty()) || Instant::now() >= deadline {
                break (held, left);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let stayed = self.canaries.as_mut().map(Canaries::take_stayed).unwrap_or_default();
        let mut named = BTreeSet::new();
        let open: Vec<words::Open> = left
            .0
            .iter()
            .filter_map(|&number| {
                let what = files::describe(number)?;
                named.extend(what.buffer);
                let after =
                    stayed.iter().find(|stayed| stayed.number == number && Some(stayed.node.inode) == what.buffer);
                Some(words::Open { number, what, after: after.map(|stayed| stayed.after) })
            })
            .collect();
        findings.extend(words::open_files(&open, &self.journal));
        // One that an fd of the list above stands for is told of there. Of those that no call of ours had anything to
        // do with, others on this machine may be the owners.
        let alone = left.1.iter().all(|entry| self.journal.knows(entry.buffer.inode)) || alone();
        let buffers = left.1.iter().filter(|entry| !named.contains(&entry.buffer.inode));
        let ours = buffers.filter(|entry| alone || self.journal.knows(entry.buffer.inode));
        findings.extend(ours.map(|entry| {
            let peers = files::children_with(entry.buffer.inode);
            words::buffer_left(entry, files::mapped(entry), &peers, &self.journal)
        }));
        let unobserved = (!held.unobserved.is_empty()).then(|| held.unobserved.join("; "));
        // Said once: the next case starts from here.
        self.kept_files.retain(|number, _| held.files.contains(number));
        self.kept_buffers.retain(|inode, _| held.buffers.contains_key(inode));
        if let Ok(canaries) = &mut self.canaries {
            canaries.fill_gaps(&held.files);
        }
        self.before = held;
        Closing { findings, unobserved }
    }
}

/// The number of `fd`, with what it is kept for.
pub(crate) fn kept(fd: &impl AsRawFd, what: &'static str) -> (RawFd, &'static str) {
    (fd.as_raw_fd(), what)
}
