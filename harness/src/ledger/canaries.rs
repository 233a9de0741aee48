//! Canaries: files that stand where a number was closed, so that who closes it once more is found.
//!
//! A number that is free may be closed as often as one likes, and nobody notices until it is somebody else's: then a
//! stranger's file is gone. So no number that a buffer had is free while its case runs. It is the canary's, and closed
//! twice it is missing, or somebody else's. The same goes for the fences that cross as files.
//!
//! - Whoever closes a buffer's fd here closes it by `dup3` of the canary: there is no moment between.
//! - After an import that takes the fd, its number is free if the driver closed it, and then a canary is set (`F_DUPFD`
//!   from that number on, which never takes a number that is in use). If the driver keeps the fd for as long as the
//!   memory lives, its number must be free when the memory is gone; a [`sentry`] takes it in the moment in which it is
//!   closed.
//! - Between two cases the lowest numbers that nobody has are canaries', so that what a driver closes too late is
//!   found, too.
//!
//! They stand for the end of a pipe that nobody can write to. One call of `poll` tells that of all of them: what else is open in
//! such a process does not answer with `POLLHUP` alone. Where one does not answer so, each is asked which file it is.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Resource;

use super::files::{self, Kind, Node};
use super::journal::Journal;
use super::sentry::{self, Watch};
use super::{with, words};
use crate::finding::Finding;
use crate::observed::{NotObservable, Observed};

/// So many stand at once for numbers of the case, at most: with many more a process might have no fd left.
const MOST: usize = 96;

/// And at most this part of what the process may have open, so that the case has the rest.
const PART: usize = 8;

/// So many stand between two cases.
const GAPS: usize = 8;

/// Numbers below are standard streams, which others may want.
const LOWEST: RawFd = 3;

/// The canaries of a process.
pub(super) struct Canaries {
    /// What all of them stand for.
    file: Arc<OwnedFd>,
    node: Node,
    /// Set during the case, the oldest first.
    set: VecDeque<Canary>,
    /// In gaps, between cases.
    gaps: Vec<OwnedFd>,
    /// What numbers were before: for those that are closed too late.
    history: BTreeMap<RawFd, String>,
    /// Fds that a driver took, and left open when the memory went.
    stayed: Vec<Stayed>,
    /// What was found when there was nobody to be told.
    found: Vec<Finding>,
    suspended: bool,
    /// How many may stand at once.
    most: usize,
    /// How many more times the sentry may be sent in this case: it costs as much as a small case does.
    sentries: u32,
}

/// So many times at most.
const SENTRIES: u32 = 2;

/// A canary in the place of an fd.
struct Canary {
    fd: OwnedFd,
    /// What the number was: `dma-buf 77, closed by its owner`.
    was: String,
}

/// An fd that stayed open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stayed {
    pub(super) number: RawFd,
    pub(super) node: Node,
    /// The call after which it should have been closed.
    pub(super) after: &'static str,
}

/// An fd that a driver took: its number is watched until the memory that came of it is gone.
pub struct Given {
    number: RawFd,
    kind: Kind,
    node: Node,
    /// Whether it was free, so that a canary stands there.
    canary: bool,
    /// Set while the driver is about to close it.
    watch: Mutex<Option<Watch>>,
}

/// `number`, which stood for `node`, was taken by the call `by`, and is the driver's.
pub(super) fn given(number: RawFd, kind: Kind, node: Node, by: &'static str) -> Option<Given> {
    with(|book| {
        let canaries = book.canaries.as_mut().ok()?;
        let was = format!("the fd of {} that {by} took", kind.named(node));
        let canary = canaries.stand_at(number, was);
        Some(Given { number, kind, node, canary, watch: Mutex::default() })
    })
    .flatten()
}

impl Given {
    /// Looks whether the driver closed the number twice, before or after the call `call`, the last one if `is_last`.
    pub fn look(&self, call: &'static str, is_last: bool) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let caught = match (self.canary, is_last) {
            (false, false) => {
                let canary = with(|book| book.canaries.as_mut().ok()?.for_a_sentry()).flatten();
                *watch = canary.and_then(|canary| sentry::watch(self.number, canary));
                None
            }
            _ => watch.take().and_then(Watch::end),
        };
        drop(watch);
        let was = format!("the fd of {} that {call} let go", self.kind.named(self.node));
        with(|book| {
            if let (Some(fd), Ok(canaries)) = (caught, &mut book.canaries) {
                let finding = canaries.take_over(fd, was, &format!("after {call}"), &book.journal);
                book.findings.extend(finding);
            }
        });
        with(|book| {
            let Ok(canaries) = &mut book.canaries else { return };
            if self.canary {
                let when = if is_last { "after" } else { "before" };
                let finding = canaries.look_at(self.number, &format!("{when} {call}"), &book.journal);
                book.findings.extend(finding);
            } else if is_last && files::node(self.number) == Some(self.node) {
                // Not yet a finding: somebody else may have another fd of the buffer with this number, and close it.
                canaries.stayed.push(Stayed { number: self.number, node: self.node, after: call });
            }
        });
    }
}

/// How many canaries a process may have that may have so many files open.
fn most(files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    MOST.min(files / PART)
}

impl Canaries {
    pub(super) fn new() -> Observed<Self> {
        let failed = |errno| NotObservable(format!("a pipe: {}", std::io::Error::from(errno)));
        let (file, _) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let node = Node::of(&fstat(&file).map_err(failed)?);
        sentry::locks();
        Ok(Self {
            file: Arc::new(file),
            node,
            set: VecDeque::new(),
            gaps: Vec::new(),
            history: BTreeMap::new(),
            stayed: Vec::new(),
            found: Vec::new(),
            most: most(rustix::process::getrlimit(Resource::Nofile).current),
            suspended: false,
            sentries: SENTRIES,
        })
    }

    /// The numbers where one stands, and the one of the file itself.
    pub(super) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        let set = self.set.iter().map(|canary| &canary.fd);
        set.chain(&self.gaps).chain([&*self.file]).map(AsRawFd::as_raw_fd)
    }

    /// What procfs says that each of them refers to.
    pub(super) fn link(&self) -> PathBuf {
        format!("pipe:[{}]", self.node.inode).into()
    }

    /// How many there are, apart from the file itself.
    pub(super) fn count(&self) -> usize {
        self.set.len() + self.gaps.len()
    }

    /// The lowest number that is free.
    pub(super) fn lowest_free(&self) -> Option<RawFd> {
        let fd = fcntl_dupfd_cloexec(&self.file, LOWEST).ok()?;
        let number = fd.as_raw_fd();
        files::close(fd);
        Some(number)
    }

    /// What was found of suspicions.
    pub(super) fn take_stayed(&mut self) -> Vec<Stayed> {
        std::mem::take(&mut self.stayed)
    }

    /// What the sentry is to set, if it may go once more.
    fn for_a_sentry(&mut self) -> Option<Arc<OwnedFd>> {
        if self.suspended {
            return None;
        }
        self.sentries = self.sentries.checked_sub(1)?;
        Some(Arc::clone(&self.file))
    }

    /// A canary that the sentry set is one like the others, if it still stands.
    fn take_over(&mut self, fd: OwnedFd, was: String, when: &str, journal: &Journal) -> Option<Finding> {
        if self.stands(&fd) {
            return self.add(fd, was);
        }
        let number = fd.into_raw_fd();
        let finding = words::closed_twice(number, &was, Some(when), files::describe(number));
        Some(finding.maybe("calls", journal.tail()))
    }

    fn stands(&self, fd: &OwnedFd) -> bool {
        fstat(fd).is_ok_and(|status| Node::of(&status) == self.node)
    }

    /// Closes `fd`, which must still stand for `node`, and sets a canary in its place.
    pub(super) fn retire(&mut self, mut fd: OwnedFd, kind: Kind, node: Node, journal: &Journal) -> Option<Finding> {
        if !fstat(&fd).is_ok_and(|status| Node::of(&status) == node) {
            // Closing it now would close what is not ours.
            let number = fd.into_raw_fd();
            return Some(words::closed_behind_us(number, kind, node, files::describe(number), journal));
        }
        if self.suspended || dup3(&self.file, &mut fd, DupFlags::CLOEXEC).is_err() {
            return None;
        }
        self.add(fd, format!("an fd of {}, closed by its owner", kind.named(node)))
    }

    /// Sets a canary at `number` if nobody has it.
    fn stand_at(&mut self, number: RawFd, was: String) -> bool {
        if self.suspended {
            return false;
        }
        let Ok(fd) = fcntl_dupfd_cloexec(&self.file, number) else { return false };
        // Another number was the next that is free: this one is in use.
        let stands = fd.as_raw_fd() == number;
        if stands {
            let finding = self.add(fd, was);
            self.found.extend(finding);
        }
        stands
    }

    /// Adds a canary. The oldest makes room, and is looked at.
    fn add(&mut self, fd: OwnedFd, was: String) -> Option<Finding> {
        self.history.insert(fd.as_raw_fd(), was.clone());
        self.set.push_back(Canary { fd, was });
        let oldest = if self.set.len() > self.most { self.set.pop_front() } else { None };
        oldest.and_then(|canary| self.end(canary))
    }

    /// Closes a canary, if it is still there.
    fn end(&self, canary: Canary) -> Option<Finding> {
        if self.stands(&canary.fd) {
            files::close(canary.fd);
            return None;
        }
        let number = canary.fd.into_raw_fd();
        Some(words::closed_twice(number, &canary.was, None, files::describe(number)))
    }

    /// Whether all of `fds` stand; `false` also if one call does not tell.
    fn all_stand<'f>(&self, fds: impl Iterator<Item = &'f OwnedFd>) -> bool {
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::IN | PollFlags::OUT)).collect();
        let told = poll(&mut fds, Some(&Timespec::default()));
        told.is_ok() && fds.iter().all(|fd| fd.revents() == PollFlags::HUP)
    }

    /// Looks at the canary at `number`.
    fn look_at(&mut self, number: RawFd, when: &str, journal: &Journal) -> Option<Finding> {
        let at = self.set.iter().position(|canary| canary.fd.as_raw_fd() == number)?;
        if self.stands(&self.set[at].fd) {
            return None;
        }
        let canary = self.set.remove(at)?;
        let number = canary.fd.into_raw_fd();
        let finding = words::closed_twice(number, &canary.was, Some(when), files::describe(number));
        Some(finding.maybe("calls", journal.tail()))
    }

    /// The case is over: its canaries are looked at, and go; those between cases are looked at.
    pub(super) fn release(&mut self) -> Vec<Finding> {
        self.sentries = SENTRIES;
        let set = std::mem::take(&mut self.set);
        let mut findings = std::mem::take(&mut self.found);
        if self.all_stand(set.iter().map(|canary| &canary.fd).chain(&self.gaps)) {
            set.into_iter().for_each(|canary| files::close(canary.fd));
            return findings;
        }
        findings.extend(set.into_iter().filter_map(|canary| self.end(canary)));
        let (stand, gone) = std::mem::take(&mut self.gaps).into_iter().partition(|fd| self.stands(fd));
        self.gaps = stand;
        for fd in gone {
            let number = fd.into_raw_fd();
            let was = self.history.get(&number).map_or("nobody's", String::as_str);
            findings.push(words::closed_twice(number, was, None, files::describe(number)));
        }
        findings
    }

    /// Sets canaries where nobody of `files` is, the lowest numbers first; `list` is the number of who listed them.
    pub(super) fn fill_gaps(&mut self, files: &std::collections::BTreeSet<RawFd>, list: Option<RawFd>) {
        let Some(&highest) = files.last() else { return };
        let free = (LOWEST..highest).filter(|number| !files.contains(number));
        let taken: Vec<RawFd> = self.numbers().chain(list).collect();
        for number in
            free.filter(|number| !taken.contains(number)).take(GAPS.min(self.most).saturating_sub(self.gaps.len()))
        {
            match fcntl_dupfd_cloexec(&self.file, number) {
                Ok(fd) if fd.as_raw_fd() == number => self.gaps.push(fd),
                _ => {}
            }
        }
    }

    /// Lets every canary go, and sets none; or sets them again from now on.
    pub(super) fn suspend(&mut self, suspended: bool) -> Vec<Finding> {
        self.suspended = suspended;
        if suspended { self.release() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    fn buffer() -> (OwnedFd, Node) {
        let fd = memfd_create("buffer", MemfdFlags::CLOEXEC).expect("memfd");
        let node = Node::of(&fstat(&fd).expect("open"));
        (fd, node)
    }

    #[test]
    fn a_number_that_is_closed_stays_taken_until_the_case_ends() {
        let mut canaries = Canaries::new().expect("a pipe");
        let (fd, node) = buffer();
        let number = fd.as_raw_fd();
        assert!(canaries.retire(fd, Kind::Buffer, node, &Journal::default()).is_none());
        assert!(canaries.numbers().any(|taken| taken == number));
        assert_eq!(files::node(number), Some(canaries.node));
        assert!(canaries.look_at(number, "after vkFreeMemory", &Journal::default()).is_none());
        assert!(canaries.release().is_empty());
        assert_eq!(canaries.count(), 0);
    }

    #[test]
    fn who_closes_a_number_twice_is_found() {
        let mut canaries = Canaries::new().expect("a pipe");
        let (fd, node) = buffer();
        let number = fd.as_raw_fd();
        assert!(canaries.retire(fd, Kind::Buffer, node, &Journal::default()).is_none());
        // Another file is there now, as if the number had been closed and somebody had got it.
        let stranger = memfd_create("stranger", MemfdFlags::CLOEXEC).expect("memfd");
        let at = canaries.set.iter_mut().find(|canary| canary.fd.as_raw_fd() == number).expect("stands");
        dup3(&stranger, &mut at.fd, DupFlags::CLOEXEC).expect("dup3");
        let finding = canaries.look_at(number, "after vkFreeMemory", &Journal::default()).expect("gone").to_string();
        assert!(finding.starts_with(&format!("fd {number} was closed twice")), "{finding}");
        assert!(finding.contains("memfd stranger") && finding.contains(&node.inode.to_string()), "{finding}");
        assert!(canaries.release().is_empty(), "it is told once");
    }

    #[test]
    fn what_is_found_when_the_oldest_makes_room_is_told() {
        let mut canaries = Canaries { most: 1, ..Canaries::new().expect("a pipe") };
        let (fd, node) = buffer();
        assert!(canaries.retire(fd, Kind::Buffer, node, &Journal::default()).is_none());
        let stranger = memfd_create("stranger", MemfdFlags::CLOEXEC).expect("memfd");
        dup3(&stranger, &mut canaries.set[0].fd, DupFlags::CLOEXEC).expect("dup3");
        let free = canaries.lowest_free().expect("a number");
        assert!(canaries.stand_at(free, "what a driver took".to_owned()));
        assert_eq!(canaries.count(), 1);
        let found = canaries.release();
        assert!(found.len() == 1 && found[0].to_string().contains("was closed twice"), "{found:?}");
    }

    #[test]
    fn a_process_that_may_open_few_files_has_most_of_them_for_itself() {
        assert_eq!([None, Some(1024), Some(128), Some(20)].map(most), [96, 96, 16, 2]);
    }

    #[test]
    fn one_call_tells_that_all_stand() {
        let mut canaries = Canaries::new().expect("a pipe");
        for _ in 0..3 {
            let (fd, node) = buffer();
            assert!(canaries.retire(fd, Kind::Buffer, node, &Journal::default()).is_none());
        }
        let all = |canaries: &Canaries| canaries.all_stand(canaries.set.iter().map(|canary| &canary.fd));
        assert!(all(&canaries));
        // Files as a driver has them.
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let stranger = memfd_create("stranger", MemfdFlags::CLOEXEC).expect("memfd");
        for other in [read, write, stranger] {
            dup3(&other, &mut canaries.set[1].fd, DupFlags::CLOEXEC).expect("dup3");
            assert!(!all(&canaries));
        }
        let found = canaries.release();
        assert!(found.len() == 1 && found[0].to_string().contains("memfd stranger"), "{found:?}");
    }

    #[test]
    fn an_fd_that_somebody_else_closed_is_found_when_its_owner_closes_it() {
        let mut canaries = Canaries::new().expect("a pipe");
        let ((mut fd, node), (stranger, _)) = (buffer(), buffer());
        dup3(&stranger, &mut fd, DupFlags::CLOEXEC).expect("dup3");
        let finding = canaries.retire(fd, Kind::Buffer, node, &Journal::default()).expect("another's").to_string();
        assert!(finding.contains("was closed by somebody else"), "{finding}");
    }

    #[test]
    fn a_canary_never_takes_a_number_that_is_in_use() {
        let mut canaries = Canaries::new().expect("a pipe");
        let (fd, _) = buffer();
        assert!(!canaries.stand_at(fd.as_raw_fd(), String::new()));
        assert_eq!(files::describe(fd.as_raw_fd()).expect("open").text, "memfd buffer (deleted)");
    }
}
