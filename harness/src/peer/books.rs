//! What stays open in a peer that has let go of everything, and since which request? It has no case whose ledger would tell.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::ledger::{self, Node, Shared};
use crate::observed::Observed;

/// So many are told of.
const LISTED: usize = 8;

/// What a peer still has when it has let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    /// `fd 12: dma-buf 77 (udmabuf, 135168 B)`.
    what: String,
    /// The request after which it was there first.
    after: String,
}

impl Left {
    /// What is said of it, of the peer that is called `name`.
    pub(super) fn finding(&self, name: &str) -> Finding {
        Finding::new(format!("{name} has let go of everything, and keeps {}", self.what))
            .row("after", self.after.clone())
            .row("like", "a close that is forgotten in the other process, or a driver that keeps a duplicate there")
    }
}

/// The dma-bufs and fences that a peer has open or mapped, each with the request that brought it.
#[derive(Default)]
pub(super) struct Books {
    shared: Shared,
    /// Whether what it has is known since the last request.
    noted: bool,
    has: BTreeMap<Thing, &'static str>,
    /// Whether it is known what the devices have, once they are open.
    begun: Option<Observed<()>>,
}

/// Something that is another's, too: by which one it is, since what the kernel tells of it can't always be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    File(RawFd, Node),
    Mapping(u64),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(number, node) => {
                let told = ledger::describe(*number).map_or_else(|| format!("file {}", node.inode), |what| what.text);
                write!(f, "fd {number}: {told}")
            }
            Self::Mapping(inode) => write!(f, "a mapping of dma-buf {inode}"),
        }
    }
}

impl Books {
    /// The devices are open: what there is for the first time is theirs, but for `given`, which came with the request.
    pub(super) fn begin(&mut self, given: &[OwnedFd]) {
        if self.begun.is_some() {
            return;
        }
        let numbers: Vec<RawFd> = given.iter().map(AsRawFd::as_raw_fd).collect();
        let is_theirs = |thing: &Thing| !matches!(thing, Thing::File(number, _) if numbers.contains(number));
        self.begun = Some(self.now().map(|now| self.came(OF_DEVICES, now.into_iter().filter(is_theirs).collect())));
    }

    /// What is there by now and was not came with `step`.
    pub(super) fn note(&mut self, step: &'static str) {
        // Who has no procfs is told of that when it is asked what is left.
        // What a device leaves that could not be opened is not this request's.
        self.noted = false;
        if let Some(Ok(())) = &self.begun
            && let Ok(now) = self.now()
        {
            self.came(step, now);
            self.noted = true;
        }
    }

    fn came(&mut self, step: &'static str, now: Vec<Thing>) {
        let by = |thing: Thing| {
            let step = self.has.get(&thing).copied().unwrap_or(step);
            (thing, step)
        };
        self.has = now.into_iter().map(by).collect();
    }

    /// What is there now and is not the devices', each told once. If nothing was there after the last request, and nothing
    /// `was_let_go` since, nothing is.
    ///
    /// # Errors
    /// procfs is not mounted, or was not to be read when the devices were opened.
    pub(super) fn left(&mut self, was_let_go: bool) -> Observed<Vec<Left>> {
        let has_none = self.noted && !was_let_go && self.has.values().all(|step| [OF_DEVICES, TOLD].contains(step));
        match self.begun.clone().transpose()? {
            Some(()) if !has_none => {
                let now = self.now()?;
                Ok(self.stayed(now))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn now(&mut self) -> Observed<Vec<Thing>> {
        let files = self.shared.files()?.into_iter().map(|(number, node)| Thing::File(number, node));
        Ok(files.chain(self.shared.mapped().into_iter().map(Thing::Mapping)).collect())
    }

    fn stayed(&mut self, now: Vec<Thing>) -> Vec<Left> {
        self.came(LETTING_GO, now);
        let new = self.has.iter().filter(|(_, step)| **step != OF_DEVICES && **step != TOLD);
        let left = new.take(LISTED).map(|(thing, step)| Left { what: thing.to_string(), after: (*step).to_owned() });
        let left = left.collect();
        self.has.values_mut().filter(|step| **step != OF_DEVICES).for_each(|step| *step = TOLD);
        left
    }
}

/// Of what came with the devices.
const OF_DEVICES: &str = "opening devices";
/// Of what came as everything was let go.
const LETTING_GO: &str = "letting go of everything";
/// Of what was told of.
const TOLD: &str = "told";

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(number: RawFd, inode: u64) -> Thing {
        Thing::File(number, Node { device: 1, inode })
    }

    #[test]
    fn what_stays_is_told_once_with_the_request_that_brought_it() {
        let mut books = Books::default();
        books.came(OF_DEVICES, vec![buffer(4, 69)]);
        books.came("drawing", vec![buffer(4, 69), buffer(5, 70)]);
        books.came("reading", vec![buffer(4, 69), buffer(5, 70), buffer(6, 71), Thing::Mapping(71)]);
        let left = books.stayed(vec![buffer(4, 69), buffer(6, 71), Thing::Mapping(71)]);
        assert!(left.len() == 2 && left[0].what.starts_with("fd 6: "), "{left:?}");
        assert_eq!(left[1].what, "a mapping of dma-buf 71");
        let said = left[0].finding("peer process with gpu_a").to_string();
        let begin = "peer process with gpu_a has let go of everything, and keeps fd 6: ";
        assert!(said.starts_with(begin) && said.contains("reading"), "{said}");
        assert!(books.stayed(vec![buffer(6, 71), Thing::Mapping(71)]).is_empty(), "told once");
        books.came("reading", vec![buffer(6, 72)]);
        assert_eq!(books.stayed(vec![buffer(6, 72)]).len(), 1, "another by the same number");
    }
}
