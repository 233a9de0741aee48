//! Which files does a step leave open, how many each time, and after which call?
//!
//! The kernel is asked before and after, as the ledger does around a case; here it is asked around what was done so many
//! times, so that one that stays each time is told from one that stays now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::os::fd::RawFd;

use super::Cx;
use crate::compare::counted;
use crate::finding::{Finding, STAYS};
use crate::ledger::{self, Blamed, Mark, What};
use crate::observed::Observed;

/// The open files of this process at one moment, and how often each dma-buf is mapped.
#[derive(Clone, Debug)]
pub struct Files {
    open: BTreeMap<RawFd, What>,
    mapped: BTreeMap<u64, usize>,
    /// The calls up to then.
    calls: Mark,
}

/// A file that was not open before.
#[derive(Debug)]
struct Left {
    number: RawFd,
    what: What,
    /// The call that is likely to have left it, if it is about a dma-buf.
    by: Option<Blamed>,
    /// Whether its buffer is mapped more often than before.
    is_mapped: bool,
}

impl Files {
    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }
}

impl Cx {
    /// The files that are open now, if procfs is there to tell.
    pub fn files(&self) -> Observed<Files> {
        Ok(Files { open: ledger::files()?, mapped: ledger::mappings(), calls: ledger::mark() })
    }

    /// How many fds of the dma-buf `inode` this process has open.
    ///
    /// # Errors
    /// procfs is not mounted.
    pub fn fds_of(&self, inode: u64) -> Observed<usize> {
        ledger::fds_of(inode)
    }

    /// Claims that of `times` times `what` no file stays open that was not open `before`. Where that can't be observed, it is
    /// stated, and the rest goes on.
    pub fn no_file_stays(&mut self, times: u32, what: impl Display, before: &Observed<Files>) {
        match (before, &self.files()) {
            (Ok(before), Ok(now)) => self.compare_files(&format!("{times} {what}"), Some(times), before, now),
            (Err(why), _) | (_, Err(why)) => self.fact("not observed", format!("files open after {what}: {}", why.0)),
        }
    }

    /// Claims that no file is open `after` that was not open `before`, with `what` in between, so many `times` if that is
    /// known.
    pub(super) fn compare_files(&mut self, what: &str, times: Option<u32>, before: &Files, after: &Files) {
        let is_new = |(number, what): &(&RawFd, &What)| before.open.get(*number).is_none_or(|was| was != *what);
        let left = after.open.iter().filter(is_new).map(|(number, what)| {
            let mappings = |files: &Files| what.buffer.and_then(|inode| files.mapped.get(&inode).copied()).unwrap_or(0);
            Left {
                number: *number,
                what: what.clone(),
                by: what.buffer.and_then(|inode| ledger::blamed(*number, inode, before.calls)),
                is_mapped: mappings(after) > mappings(before),
            }
        });
        let left: Vec<Left> = left.collect();
        let counts = (before.count(), after.count());
        self.claim(format!("open files after {what}"), left.is_empty() && counts.1 <= counts.0, || {
            told(what, times, counts, &left)
        });
    }
}

/// What is said of the files that are `left` of `what`; open were so many before and after.
fn told(what: &str, times: Option<u32>, (before, after): (usize, usize), left: &[Left]) -> Finding {
    // One file more in another's place is as good as none.
    let more = after.saturating_sub(before).max(1);
    let each = times.map_or_else(String::new, |times| format!(", {:+.2} each", more as f64 / f64::from(times)));
    let kinds: BTreeSet<String> = left.iter().map(|left| left.what.kind()).collect();
    let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
    let stay = if more == 1 { "stays" } else { "stay" };
    let finding = Finding::new(format!("{} {stay} {STAYS} {what}{each}: {kinds}", counted(more as u64, "fd")))
        .row("target", format!("{before} open files, as before"))
        .row("actual", after.to_string());
    const LISTED: usize = 4;
    let mut lines: Vec<String> =
        left.iter().take(LISTED).map(|left| format!("fd {}: {}", left.number, left.what.text)).collect();
    if left.len() > LISTED {
        lines.push(format!("and {} more", left.len() - LISTED));
    }
    let finding = finding.row("left", lines.join("\n"));
    // The call that is blamed for most of them.
    let mut by: BTreeMap<&str, Vec<&Left>> = BTreeMap::new();
    for (left, op) in left.iter().filter_map(|left| Some((left, left.by.as_ref()?.op))) {
        by.entry(op).or_default().push(left);
    }
    let Some((op, those)) = by.into_iter().max_by_key(|(_, those)| those.len()) else {
        let for_each = times.is_some_and(|times| more >= times as usize);
        return finding.row(
            "like",
            match for_each {
                true => "one for each time: a duplicate of what is lent or handed out, which nobody closes",
                false => "a close that now and then does nothing, or a file that is opened now and then",
            },
        );
    };
    let calls = those[0].by.as_ref().map_or(0, |by| by.calls);
    let count = those.len();
    finding
        .row("after", format!("{op}, {count} of {}", counted(calls as u64, "call")))
        .row("like", cause(op, &those, calls))
}

/// Why `those` files may be left of so many `calls` of `op`.
fn cause(op: &str, those: &[&Left], calls: usize) -> &'static str {
    let is_export = those.iter().any(|left| left.by.as_ref().is_some_and(|by| by.is_first));
    let each_time = those.len() >= calls;
    match () {
        () if !each_time => "a close that now and then does nothing: it is not one for each call",
        () if is_export => {
            "one for each export: a second fd beside the one that it hands out, or a reference that it keeps"
        }
        () if those.iter().all(|left| left.is_mapped) => {
            "one for each import, and a mapping of it: memory that is never freed, whoever lets it go"
        }
        () if op.starts_with("vkAllocateMemory") => {
            "one for each import: it takes a duplicate of the fd, and never closes the one that it was given"
        }
        () => "one for each import: it keeps a duplicate of the fd that it was lent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(number: RawFd, op: &'static str, is_first: bool, is_mapped: bool) -> Left {
        let what = What { text: format!("dma-buf {number} (udmabuf, 4096 B)"), buffer: Some(number as u64) };
        Left { number, what, by: Some(Blamed { op, calls: 2, is_first }), is_mapped }
    }

    fn said(times: Option<u32>, left: &[Left]) -> String {
        told("2 imports", times, (18, 18 + left.len()), left).to_string()
    }

    #[test]
    fn a_leak_is_told_by_what_it_is_how_often_and_after_which_call() {
        let text = said(Some(2), &[left(20, "eglCreateImage", false, false), left(21, "eglCreateImage", false, false)]);
        let first = "2 fds stay open after 2 imports, +1.00 each: dma-buf (udmabuf, 4096 B)\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("eglCreateImage, 2 of 2 calls"), "{text}");
        assert!(text.contains("one for each import: it keeps a duplicate"), "{text}");
    }

    #[test]
    fn causes_are_told_apart() {
        let import = "vkAllocateMemory (import)";
        for (those, cause) in [
            (vec![left(20, import, false, true), left(21, import, false, true)], "never freed"),
            (vec![left(20, import, false, false), left(21, import, false, false)], "never closes the one"),
            (vec![left(20, "VIDIOC_EXPBUF", true, false), left(21, "VIDIOC_EXPBUF", true, false)], "for each export"),
            (vec![left(20, "VIDIOC_EXPBUF", true, false)], "now and then"),
        ] {
            let text = said(None, &those);
            assert!(text.contains(cause), "{cause}: {text}");
            assert!(!text.contains("each: "), "{text}");
        }
    }
}
