//! How what the ledger finds is told. Pure text.

use std::os::fd::RawFd;

use super::attached::{Change, names};
use super::files::{Kind, Node, What};
use super::journal::Journal;
use crate::compare::counted;
use crate::finding::Finding;
use crate::placement::bufinfo::Entry;

/// A file that nobody accounts for.
pub(super) struct Open {
    pub(super) number: RawFd,
    pub(super) what: What,
    /// The call that should have closed it, if a driver was given it.
    pub(super) after: Option<&'static str>,
}

/// Files that are still open: one finding for those that are alike.
pub(super) fn open_files(open: &[Open], journal: &Journal) -> Option<Finding> {
    let (first, others) = open.split_first()?;
    let finding = match others.len() {
        0 => Finding::new(format!("fd {} is still open after the case: {}", first.number, first.what.text)),
        _ => {
            let count = counted(open.len() as u64, "fd");
            Finding::new(format!(
                "{count} are still open after the case, the first is {}: {}",
                first.number, first.what.text
            ))
        }
    };
    let given = open.iter().find_map(|open| Some((open, open.after?)));
    let finding = match given {
        Some((open, call)) => finding
            .row("stayed", format!("after {call}: fd {} was given to the driver by a successful import", open.number))
            .row("like", "a driver that works on a duplicate of the fd, and closes only that one"),
        None => finding,
    };
    const LISTED: usize = 8;
    let listed = others.iter().take(LISTED).map(|open| format!("fd {}: {}", open.number, open.what.text));
    let mut listed: Vec<String> = listed.collect();
    if others.len() > LISTED {
        listed.push(format!("and {} more", others.len() - LISTED));
    }
    let ends = first.what.buffer.and_then(|inode| journal.ends(inode));
    Some(
        finding
            .maybe("opened by", journal.opened(first.number))
            .maybe("buffer", ends.map(|(first, last)| format!("first in {first}; last in {last}")))
            .maybe("also", (!listed.is_empty()).then(|| listed.join("\n")))
            .maybe("calls", journal.tail()),
    )
}

/// A dma-buf that is still there, and that no fd of the findings stands for; `earlier` if a case before this one made it.
pub(super) fn buffer_left(entry: &Entry, mapped: usize, peers: &[String], earlier: bool, journal: &Journal) -> Finding {
    let buffer = &entry.buffer;
    let summary = format!("{} is still there after the case", told(entry));
    let attached = match entry.attached.is_empty() {
        true => "no device is attached".to_owned(),
        false => format!("attached: {}", entry.attached.join(", ")),
    };
    let holder = match mapped {
        0 if !peers.is_empty() => peers.join(", "),
        0 => {
            "no fd and no mapping of this process: a driver, a GEM handle, a framebuffer or another process".to_owned()
        }
        count => format!("{} of this process", counted(count as u64, "mapping")),
    };
    let finding =
        Finding::new(summary).row("held by", format!("{holder}; {} references, {attached}", entry.references));
    let finding = match journal.ends(buffer.inode) {
        Some((first, last)) => finding.row("made by", first).row("last in", last),
        None if earlier => finding.row("made by", "an earlier case: the screen showed it when this one began"),
        None => finding,
    };
    finding.maybe("calls", journal.tail())
}

/// A buffer of `keeper`, if it has one, whose devices are others than before.
pub(super) fn attached_otherwise(change: &Change, keeper: Option<&str>, journal: &Journal) -> Finding {
    let Change { was, is } = change;
    let (gained, lost) = (change.gained(), change.lost());
    let buffer = format!("{}{}", told(is), keeper.map_or_else(String::new, |keeper| format!(", {keeper}")));
    let (summary, like) = match gained.is_empty() {
        false => (
            format!("{} attached after the case to {buffer}", are(&gained, "still")),
            "an import that is not undone: a handle that stays, or a queue that keeps its buffers",
        ),
        true => (
            format!("{} attached any more after the case to {buffer}", are(&lost, "not")),
            "an import that is undone once too often, or by somebody else than who made it",
        ),
    };
    Finding::new(summary)
        .row("target", format!("attached: {}", names(&was.attached)))
        .row("actual", format!("attached: {}", names(&is.attached)))
        .maybe("attached in", journal.ends(is.buffer.inode).map(|(first, last)| format!("{first}, to {last}")))
        .row("like", like)
        .maybe("calls", journal.tail())
}

/// `vkms is still`, `vkms, vivid.1 are still`.
fn are(devices: &[String], how: &str) -> String {
    format!("{} {} {}", names(devices), if devices.len() == 1 { "is" } else { "are" }, how)
}

/// `dma-buf 9 (drm, 4096 B)`.
pub(super) fn told(entry: &Entry) -> String {
    let exporter = entry.buffer.exporter.as_deref().unwrap_or("unknown exporter");
    format!("dma-buf {} ({exporter}, {} B)", entry.buffer.inode, entry.buffer.size)
}

/// A mapping that nobody accounts for.
pub(super) fn mapping_left(what: &str, bytes: u64, journal: &Journal) -> Finding {
    Finding::new(format!("{bytes} B of {what} are still mapped after the case")).maybe("calls", journal.tail())
}

/// A file that was open before the case and is not any more, or whose number stands for `now`.
pub(super) fn lost(number: RawFd, was: &str, keeper: Option<&str>, now: Option<What>, journal: &Journal) -> Finding {
    let whose = keeper.map_or_else(String::new, |keeper| format!(", {keeper}"));
    let now = now.map_or_else(|| "closed".to_owned(), |what| what.text);
    Finding::new(format!("fd {number} was closed, and not by whose it is: it was {was}{whose}"))
        .row("target", was.to_owned())
        .row("actual", now)
        .maybe("closed in", journal.freed(number))
        .row("like", "code that closes the number of an fd that it gave away or has closed already")
        .maybe("calls", journal.tail())
}

/// A canary that is gone.
pub(super) fn closed_twice(number: RawFd, was: &str, when: Option<&str>, now: Option<What>) -> Finding {
    let seen = when.map_or_else(String::new, |when| format!(", seen {when}"));
    let now = now.map_or_else(|| "nobody's".to_owned(), |what| what.text);
    Finding::new(format!("fd {number} was closed twice{seen}: it was {was}"))
        .row("target", "the canary that was set there when it was closed the first time")
        .row("actual", now)
        .row("like", "code that keeps the number of an fd after it was closed or given away, and closes it once more")
}

/// An fd of ours that does not stand for its file any more.
pub(super) fn closed_behind_us(number: RawFd, kind: Kind, node: Node, now: Option<What>, journal: &Journal) -> Finding {
    let now = now.map_or_else(|| "closed".to_owned(), |what| what.text);
    let ends = if kind == Kind::Buffer { journal.ends(node.inode) } else { None };
    let file = kind.named(node);
    Finding::new(format!("fd {number} of {file} was closed by somebody else while it was in use"))
        .row("target", file)
        .row("actual", now)
        .maybe("buffer", ends.map(|(first, last)| format!("first in {first}; last in {last}")))
        .row(
            "like",
            "a driver that closes an fd that it was only lent, or one that a failed import left with its owner",
        )
        .maybe("calls", journal.tail())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dmabuf::Identity;

    #[test]
    fn an_imported_fd_that_stays_is_blamed_on_the_import() {
        let open = |number, after| Open {
            number,
            what: What { text: "dma-buf 77 (udmabuf, 135168 B)".into(), buffer: Some(77) },
            after,
        };
        let finding = open_files(&[open(41, Some("vkFreeMemory")), open(43, None)], &Journal::default());
        let text = finding.expect("two files").to_string();
        assert!(text.starts_with("2 fds are still open after the case, the first is 41: dma-buf 77"), "{text}");
        assert!(text.contains("after vkFreeMemory: fd 41 was given to the driver"), "{text}");
        assert!(open_files(&[], &Journal::default()).is_none());
    }

    #[test]
    fn a_file_that_is_lost_has_its_keeper() {
        let keeper = Some("Gpu that is open for all cases");
        let text = lost(41, "DRM node /dev/dri/renderD128", keeper, None, &Journal::default()).to_string();
        let begin = "fd 41 was closed, and not by whose it is: it was DRM node /dev/dri/renderD128, Gpu that is open";
        assert!(text.starts_with(begin) && text.contains("closed"), "{text}");
    }

    #[test]
    fn a_buffer_that_stays_has_its_exporter_and_its_holders() {
        let buffer = Identity { inode: 9, exporter: Some("drm".into()), size: 4096 };
        let entry = Entry { buffer, references: 1, attached: vec!["vkms".into()], fences: Vec::new() };
        let text = buffer_left(&entry, 2, &[], false, &Journal::default()).to_string();
        assert!(text.starts_with("dma-buf 9 (drm, 4096 B) is still there after the case"), "{text}");
        assert!(text.contains("2 mappings of this process; 1 references, attached: vkms"), "{text}");
    }

    #[test]
    fn a_device_that_stays_attached_has_its_buffer_and_whose_that_is() {
        let entry = |attached: &[&str]| {
            let buffer = Identity { inode: 9, exporter: Some("drm".into()), size: 4096 };
            let attached = attached.iter().map(|name| (*name).to_owned()).collect();
            Entry { buffer, references: 1, attached, fences: Vec::new() }
        };
        let text = |was: &[&str], is: &[&str]| {
            let change = Change { was: entry(was), is: entry(is) };
            attached_otherwise(&change, Some("the importers"), &Journal::default()).to_string()
        };
        let more = text(&[], &["vkms"]);
        let begin = "vkms is still attached after the case to dma-buf 9 (drm, 4096 B), the importers\n";
        assert!(more.starts_with(begin) && more.contains("attached: nobody") && more.contains("not undone"), "{more}");
        let less = text(&["vkms", "vkms", "vgem"], &["vgem"]);
        let begin = "vkms, vkms are not attached any more after the case to dma-buf 9 (drm, 4096 B), the importers\n";
        assert!(less.starts_with(begin) && less.contains("once too often"), "{less}");
    }
}
