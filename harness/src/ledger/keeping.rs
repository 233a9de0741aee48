//! What devices and caches open, and keep beyond a case, and what they let go of.

use super::mappings::{self, Bytes};
use super::{Book, DMA_BUFS, FILES, Held, MAPPINGS, attached, objects, with};

impl Held {
    /// Whether that was observed, and is nothing that stands in for it.
    pub(super) fn saw(&self, what: &str) -> bool {
        !self.unobserved.iter().any(|why| why.starts_with(what))
    }
}

/// Does `open`, and accounts for all that it leaves open to `who`: a device that is kept for the next case, a cache
/// that grows once. What is opened in other ways meanwhile, by other threads, is taken for theirs.
pub fn keeping<T>(who: impl FnOnce() -> String, open: impl FnOnce() -> T) -> T {
    let Some(before) = with(|book| book.look()) else { return objects::cached(open) };
    let opened = objects::cached(open);
    with(|book| {
        let after = book.look();
        let who = who();
        // What was there when the case began is no measure of what `open` has made.
        let saw = |what| before.saw(what) && after.saw(what);
        if saw(FILES) {
            let new = after.files.difference(&before.files);
            book.kept_files.extend(new.map(|number| (*number, who.clone())));
        }
        if saw(DMA_BUFS) {
            for (inode, entry) in after.buffers.iter().filter(|(inode, _)| !before.buffers.contains_key(inode)) {
                book.kept_buffers.insert(*inode, who.clone());
                book.before.buffers.insert(*inode, entry.clone());
            }
            attached::account(&mut book.before.buffers, &before.buffers, &after.buffers);
        }
        if saw(MAPPINGS) {
            for (file, bytes) in mappings::more(&after.mappings, &before.mappings, &Bytes::new()) {
                *book.kept_mappings.entry(file).or_default() += bytes;
            }
        }
    });
    opened
}

/// Does `close`, and takes what files it closes, and what devices it detaches, for those of who does it: a device that was kept
/// and is given up.
pub(crate) fn letting_go<T>(close: impl FnOnce() -> T) -> T {
    let open = |book: &Book| book.list.as_ref().ok().and_then(|list| list.numbers().ok());
    let before = with(|book| (open(book), book.buffers().unwrap_or_default()));
    let done = close();
    with(|book| {
        let Some((files, buffers)) = before else { return };
        let now = book.buffers().unwrap_or_default();
        attached::account(&mut book.before.buffers, &buffers, &now);
        let (Some(before), Some(after)) = (files, open(book)) else { return };
        for number in before.difference(&after) {
            book.let_go(*number);
        }
    });
    done
}
