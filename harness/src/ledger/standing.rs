//! What does this process hold at one moment of a case, each thing by which one it is?
//!
//! For calls that must leave everything as it was: one file that came as another went is as many as before, and is found.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use super::attached::{Change, changes, names};
use super::files::{self, Node};
use super::mappings::{self, Bytes};
use super::words::told;
use super::{Book, DMA_BUFS, MAPPINGS, alone, with};
use crate::observed::{NotObservable, Observed};
use crate::placement::bufinfo::Entry;

/// What is held at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    files: BTreeMap<RawFd, File>,
    /// The dma-bufs of the machine, by inode.
    buffers: BTreeMap<u64, Entry>,
    /// How much of each dma-buf is mapped.
    mapped: Bytes,
    /// What could not be observed, and why.
    pub(crate) unobserved: Vec<String>,
}

/// An open file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    node: Node,
    /// In the field's words.
    text: String,
    /// The call that opened it, if that was one of the case.
    by: Option<String>,
}

impl File {
    /// Whether it is the same file: all that are no file of a filesystem have one inode, and the kernel may have told less of it
    /// at one of two looks.
    fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (&self.text, &other.text);
        self.node == other.node && (one.starts_with(two) || two.starts_with(one))
    }
}

/// What is held now.
pub(crate) fn standing() -> Standing {
    let closed = || Standing { unobserved: vec!["no case runs".to_owned()], ..Standing::default() };
    with(|book| book.standing()).unwrap_or_else(closed)
}

/// How many bytes of dma-bufs this process has mapped.
pub(crate) fn mapped() -> Observed<u64> {
    let closed = || Err(NotObservable("no case runs".to_owned()));
    with(|book| {
        let Standing { mapped, unobserved, .. } = book.standing();
        let unseen =
            [DMA_BUFS, MAPPINGS].into_iter().find_map(|what| unobserved.iter().find(|why| why.starts_with(what)));
        unseen.map_or_else(|| Ok(mapped.values().sum()), |why| Err(NotObservable(why.clone())))
    })
    .unwrap_or_else(closed)
}

impl Book {
    fn standing(&self) -> Standing {
        let held = self.look();
        let file = |number: &RawFd| {
            let node = files::node(*number)?;
            let text = match self.known.text(*number, node) {
                Some(text) => text.to_owned(),
                None => files::describe(*number)?.text,
            };
            Some((*number, File { node, text, by: self.journal.opened(*number) }))
        };
        let is_buffer = |file: &mappings::Of| held.buffers.contains_key(&file.2);
        Standing {
            files: held.files.iter().filter_map(file).collect(),
            mapped: held.mappings.into_iter().filter(|(file, _)| is_buffer(file)).collect(),
            buffers: held.buffers,
            unobserved: held.unobserved,
        }
    }
}

impl Standing {
    /// What is otherwise in `after`, a line for each.
    pub(crate) fn changes(&self, after: &Self) -> Vec<String> {
        // A buffer that nobody here has or had may be anybody's.
        let ours = |inode: u64| {
            let is_open = |held: &Self| held.files.values().any(|file| file.node.inode == inode);
            is_open(self) || is_open(after) || with(|book| book.journal.knows(inode)).unwrap_or_default() || alone()
        };
        self.changes_of(after, ours)
    }

    fn changes_of(&self, after: &Self, ours: impl Fn(u64) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let made = |file: &File| file.by.as_ref().map_or_else(String::new, |by| format!(", opened in {by}"));
        for (number, was) in &self.files {
            match after.files.get(number) {
                None => lines.push(format!("fd {number} was closed: {}{}", was.text, made(was))),
                Some(is) if !is.is_same(was) => {
                    lines.push(format!("fd {number} is {}, and was {}{}", is.text, was.text, made(was)));
                }
                Some(_) => {}
            }
        }
        let new = after.files.iter().filter(|(number, _)| !self.files.contains_key(number));
        lines.extend(new.map(|(number, is)| format!("fd {number} stays open: {}", is.text)));
        let named = |lines: &[String], inode: u64| lines.iter().any(|line| line.contains(&format!("dma-buf {inode} ")));
        let beyond = |one: &Self, other: &Self| -> Vec<Entry> {
            let new = one.buffers.iter().filter(|(inode, _)| !other.buffers.contains_key(inode) && ours(**inode));
            new.map(|(_, entry)| entry.clone()).collect()
        };
        for (entries, what) in [(beyond(self, after), "is gone"), (beyond(after, self), "stays")] {
            for entry in entries.iter().filter(|entry| !named(&lines, entry.buffer.inode)).collect::<Vec<_>>() {
                lines.push(format!("{} {what}", told(entry)));
            }
        }
        for Change { was, is } in changes(&self.buffers, &after.buffers).filter(|change| ours(change.is.buffer.inode)) {
            let (now, before) = (names(&is.attached), names(&was.attached));
            lines.push(format!("{} has attached {now}, and had {before}", told(&is)));
        }
        let more = mappings::more(&after.mapped, &self.mapped, &Bytes::new());
        lines.extend(more.iter().map(|(file, bytes)| format!("{bytes} B more of dma-buf {} are mapped", file.2)));
        let less = mappings::more(&self.mapped, &after.mapped, &Bytes::new());
        lines.extend(
            less.iter().map(|(file, bytes)| format!("{bytes} B of dma-buf {} are not mapped any more", file.2)),
        );
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dmabuf::Identity;

    fn file(inode: u64, text: &str) -> File {
        File { node: Node { device: 1, inode }, text: text.to_owned(), by: None }
    }

    fn holding(files: &[(RawFd, u64, &str)], buffers: &[(u64, &[&str])]) -> Standing {
        let entry = |&(inode, attached): &(u64, &[&str])| {
            let buffer = Identity { inode, exporter: Some("udmabuf".into()), size: 4096 };
            let attached = attached.iter().map(|name| (*name).to_owned()).collect();
            (inode, Entry { buffer, references: 1, attached, fences: Vec::new() })
        };
        Standing {
            files: files.iter().map(|&(number, inode, text)| (number, file(inode, text))).collect(),
            buffers: buffers.iter().map(entry).collect(),
            ..Standing::default()
        }
    }

    #[test]
    fn one_that_came_as_another_went_is_found() {
        let before = holding(&[(3, 7, "sync_file"), (5, 9, "memfd a")], &[(7, &["vivid"]), (8, &[])]);
        assert!(before.changes_of(&before, |_| true).is_empty());
        let mut after = holding(&[(3, 7, "sync_file"), (6, 9, "memfd b")], &[(7, &[]), (9, &[])]);
        let lines = [
            "fd 5 was closed: memfd a",
            "fd 6 stays open: memfd b",
            "dma-buf 8 (udmabuf, 4096 B) is gone",
            "dma-buf 9 (udmabuf, 4096 B) stays",
            "dma-buf 7 (udmabuf, 4096 B) has attached nobody, and had vivid",
        ];
        assert_eq!(before.changes_of(&after, |_| true), lines);
        assert_eq!(before.changes_of(&after, |_| false), lines[..2], "others' are not looked at");
        after.files = holding(&[(3, 7, "sync_file"), (5, 4, "memfd a")], &[]).files;
        assert_eq!(before.changes_of(&after, |_| false), ["fd 5 is memfd a, and was memfd a"], "the same number");
    }

    #[test]
    fn of_one_file_the_kernel_may_tell_less_at_one_look() {
        let at = |text| holding(&[(3, 7, text)], &[]);
        let (less, more) = (at("dma-buf 7"), at("dma-buf 7 (udmabuf, 4096 B)"));
        assert!(less.changes_of(&more, |_| false).is_empty() && more.changes_of(&less, |_| false).is_empty());
        let (fence, event) = (at("sync_file"), at("eventfd"));
        assert_eq!(fence.changes_of(&event, |_| false), ["fd 3 is eventfd, and was sync_file"]);
    }

    #[test]
    fn what_is_mapped_more_or_less_is_told() {
        let mapped = |bytes| Standing { mapped: Bytes::from([((0, 1, 7), bytes)]), ..Standing::default() };
        assert_eq!(mapped(0).changes_of(&mapped(4096), |_| true), ["4096 B more of dma-buf 7 are mapped"]);
        assert_eq!(mapped(4096).changes_of(&mapped(0), |_| true), ["4096 B of dma-buf 7 are not mapped any more"]);
    }
}
