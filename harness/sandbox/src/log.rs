//! What of a kernel's log is kept?
//!
//! The beginning and the end, with a line between them that says how much is missing: a kernel that
//! is stuck can print without end, and both its boot and its last words matter.

use std::collections::VecDeque;

/// A log of at most twice `limit` bytes, whatever is pushed.
#[derive(Debug)]
pub(super) struct CappedLog {
    limit: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl CappedLog {
    /// An empty log that keeps the first and the last `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, head: Vec::new(), tail: VecDeque::new(), dropped: 0 }
    }

    /// Forgets everything so far.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Adds what the kernel printed.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = (self.limit - self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.limit);
        self.tail.drain(..over);
        self.dropped += over as u64;
    }

    /// How many bytes were pushed.
    pub(super) fn length(&self) -> u64 {
        self.head.len() as u64 + self.dropped + self.tail.len() as u64
    }

    /// The log as text; bytes that are no text are replaced.
    pub(super) fn text(&self) -> String {
        self.text_from(0)
    }

    /// What was pushed behind the first `from` bytes, as text.
    pub(super) fn text_from(&self, from: u64) -> String {
        let behind = |bytes: u64| usize::try_from(from.saturating_sub(bytes)).unwrap_or(usize::MAX);
        let mut bytes = self.head.get(behind(0)..).unwrap_or_default().to_vec();
        let before_tail = self.head.len() as u64 + self.dropped;
        if self.dropped > 0 && from < before_tail {
            let note = format!("\n[... {} bytes left out ...]\n", before_tail - from.max(self.head.len() as u64));
            bytes.extend_from_slice(note.as_bytes());
        }
        bytes.extend(self.tail.iter().skip(behind(before_tail)));
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// What the kernel said when it gave up, if it did.
    pub(super) fn panic(&self) -> Option<String> {
        const MARK: &str = "Kernel panic - not syncing: ";
        let text = self.text();
        let (_, after) = text.rsplit_once(MARK)?;
        after.lines().next().map(|line| line.trim().to_owned())
    }

    /// The last `count` lines, indented, for an error message.
    pub(super) fn last_lines(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return "  (it printed nothing)".into();
        }
        let from = lines.len().saturating_sub(count);
        let shown: Vec<String> = lines[from..].iter().map(|line| format!("  {line}")).collect();
        shown.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_log_is_whole() {
        let mut log = CappedLog::new(8);
        log.push(b"12345678");
        log.push(b"abcdefgh");
        assert_eq!(log.text(), "12345678abcdefgh");
    }

    #[test]
    fn an_endless_log_keeps_both_ends_and_says_so() {
        let mut log = CappedLog::new(4);
        log.push(b"boot");
        for _ in 0..1000 {
            log.push(b"noise");
        }
        log.push(b"last");
        assert_eq!(log.text(), "boot\n[... 5000 bytes left out ...]\nlast");
        assert!(log.tail.capacity() < 64, "what is dropped is not kept");
    }

    #[test]
    fn what_came_later_is_told_alone() {
        let mut log = CappedLog::new(4);
        log.push(b"boot");
        assert_eq!((log.length(), log.text_from(4).as_str(), log.text_from(2).as_str()), (4, "", "ot"));
        log.push(b"12");
        assert_eq!(log.text_from(4), "12");
        log.push(b"345678");
        assert_eq!(log.length(), 12);
        assert_eq!(log.text_from(4), "\n[... 4 bytes left out ...]\n5678");
        assert_eq!(log.text_from(6), "\n[... 2 bytes left out ...]\n5678");
        assert_eq!((log.text_from(10).as_str(), log.text_from(99).as_str()), ("78", ""));
    }

    #[test]
    fn a_panic_is_found_above_its_trace() {
        let mut log = CappedLog::new(1000);
        log.push(b"boot\n");
        assert_eq!(log.panic(), None);
        log.push(b"Kernel panic - not syncing: Attempted to kill init!\r\nCall Trace:\n x\n");
        assert_eq!(log.panic().as_deref(), Some("Attempted to kill init!"));
    }

    #[test]
    fn the_last_lines_are_the_last() {
        let mut log = CappedLog::new(100);
        log.push(b"one\r\ntwo\n\nthree\n");
        assert_eq!(log.last_lines(2), "  two\n  three");
        assert_eq!(CappedLog::new(1).last_lines(2), "  (it printed nothing)");
    }
}
