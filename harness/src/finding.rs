//! How is a failure told? A summary in one sentence, then the facts, each under its label.
//!
//! Pure text. What is true of a failure is decided elsewhere; colour is added by the terminal view alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compare::{ByteDifference, Difference, counted, grouped};
use crate::error::{Cause, Error};
use crate::guess::Guess;

/// The text of a failure.
///
/// ```text
/// 1472 of 3072 pixels differ: the screen's writeback is not what gpu_a drew
///
///   first       x 0, y 1    target #00052a    actual #001005
///   most        r 0, g 16, b 63   (of 255; allowed 0)
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The finding in one sentence, without a full stop.
    pub summary: String,
    /// The facts, in the order in which they are read.
    pub rows: Vec<Row>,
    /// Every finding of a case as it was made, if this one stands for them: a known defect must account for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<Finding>,
    /// Whether a call failed on the way to what was to be shown, so that this says nothing of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_the_way: bool,
}

/// One fact of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// One word, of up to 9 letters where possible: `buffer`.
    pub label: String,
    /// The fact; may have several lines.
    pub text: String,
    /// Whether it is to be copied as it stands, and never wrapped.
    #[serde(default)]
    pub verbatim: bool,
}

/// Rows are wrapped at this column.
const COLUMNS: usize = 120;

/// Labels up to this length leave all texts of all findings in the same column.
const LABEL: usize = 9;

/// What a summary says of a call that failed and did not leave everything as it was.
pub(crate) const LEAVES: &str = "leaves something behind";

/// What one says of files that stay.
pub(crate) const STAYS: &str = "open after";

/// Whether the text of a finding tells of something that stays.
pub(crate) fn tells_of_a_leak(text: &str) -> bool {
    let summary = text.lines().next().unwrap_or_default();
    [LEAVES, STAYS].iter().any(|words| summary.contains(words))
}

/// The facts of the text of a finding, with the summary as the first, which has no label.
pub(crate) fn facts(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut facts = vec![("", String::new())];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row = line.strip_prefix("  ").filter(|row| !row.starts_with(' ')).and_then(|row| row.split_once("   "));
        let (rest, more) = match row {
            Some((label, rest)) => {
                facts.push((label.trim_end(), String::new()));
                (rest, false)
            }
            None => (line, true),
        };
        if let Some((_, told)) = facts.last_mut() {
            // A line that was broken at a space goes on.
            if more && !told.is_empty() {
                told.push(' ');
            }
            told.push_str(rest.trim());
        }
    }
    facts.into_iter()
}

impl Finding {
    /// A finding without facts yet.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), rows: Vec::new(), of: Vec::new(), on_the_way: false }
    }

    /// The finding that pictures differ; `what` says whose, in a sentence: `gpu_b did not read what gpu_a drew`.
    pub fn differs(what: impl fmt::Display, difference: &Difference, guess: Option<&Guess>) -> Self {
        let count = format!("{} of {}", grouped(difference.count), counted(difference.total, "pixel"));
        let differ = if difference.count == 1 { "differs" } else { "differ" };
        let finding = Self::new(format!("{count} {differ}: {what}"))
            .row("first", difference.first.to_string())
            .row("most", difference.most_text())
            .row("area", difference.area.to_string())
            .row("rows", difference.rows.to_string());
        match guess {
            Some(guess) => finding.row("shape", guess.to_string()),
            None => finding,
        }
    }

    /// The finding that bytes differ; `what` says whose, in a sentence: `gpu_a wrote outside its image`.
    pub fn bytes_differ(what: impl fmt::Display, difference: &ByteDifference) -> Self {
        let count = format!("{} of {}", grouped(difference.count), counted(difference.total, "byte"));
        let differ = if difference.count == 1 { "differs" } else { "differ" };
        let ByteDifference { at, target, actual, .. } = difference;
        Self::new(format!("{count} {differ}: {what}"))
            .row("first", format!("byte {at}    target {target:#04x}    actual {actual:#04x}"))
            .row("where", difference.to_string())
    }

    /// The finding that an operation failed.
    pub fn from_error(error: &Error) -> Self {
        let summary = match &error.cause {
            Cause::Deadline(_) => format!("{}: {}", error.op, error.cause),
            _ => format!("{} failed: {}", error.op, error.cause),
        };
        Self { on_the_way: true, ..Self::new(summary).row("object", error.object.clone()).maybe("like", error.like) }
    }

    /// Adds a fact.
    #[must_use]
    pub fn row(mut self, label: impl Into<String>, text: impl Into<String>) -> Self {
        self.rows.push(Row { label: label.into(), text: text.into(), verbatim: false });
        self
    }

    /// Adds a fact, if there is one.
    #[must_use]
    pub fn maybe(self, label: impl Into<String>, text: Option<impl Into<String>>) -> Self {
        match text {
            Some(text) => self.row(label, text),
            None => self,
        }
    }

    /// The texts of the findings that this one stands for, which may be itself alone.
    pub fn each(&self) -> Vec<String> {
        let each = if self.of.is_empty() { std::slice::from_ref(self) } else { &self.of };
        each.iter().map(ToString::to_string).collect()
    }

    /// Adds a path or a command that can be copied as it stands: it is never wrapped.
    #[must_use]
    pub fn verbatim(mut self, label: impl Into<String>, text: impl Into<String>) -> Self {
        self.rows.push(Row { label: label.into(), text: text.into(), verbatim: true });
        self
    }
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        Self::from_error(&error)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.summary.trim_end())?;
        let longest = self.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        let label = longest.max(LABEL);
        let indent = label + 5;
        for (n, row) in self.rows.iter().enumerate() {
            f.write_str(if n == 0 { "\n\n" } else { "\n" })?;
            write!(f, "  {:label$}   ", row.label)?;
            let lines = row.text.lines().flat_map(|line| {
                let columns = if row.verbatim { usize::MAX } else { COLUMNS.saturating_sub(indent).max(20) };
                wrapped(line.trim_end(), columns)
            });
            for (n, line) in lines.enumerate() {
                if n > 0 {
                    write!(f, "\n{:indent$}", "")?;
                }
                f.write_str(line)?;
            }
        }
        Ok(())
    }
}

/// `line` in pieces of at most `columns` characters, broken at spaces; a longer word stays whole.
fn wrapped(line: &str, columns: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some((limit, _)) = rest.char_indices().nth(columns) {
        // A space right after the last column is a place to break, too.
        let fits = rest[..limit].rfind(' ').filter(|&at| !rest[..at].trim().is_empty());
        let at = if rest[limit..].starts_with(' ') { Some(limit) } else { fits };
        let Some(at) = at.or_else(|| rest[limit..].find(' ').map(|n| limit + n)) else { break };
        pieces.push(rest[..at].trim_end());
        rest = rest[at..].trim_start();
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::compare::{Tolerance, compare, compare_bytes};
    use crate::format::Fourcc;
    use crate::frame::{Frame, Plane, px};
    use crate::guess::{Suspects, guess};
    use crate::pattern::Pattern;
    use crate::picture::Picture;

    fn skewed() -> Finding {
        let target = Pattern { stamp: 7 }.picture(Fourcc::XR24, px(64, 48)).expect("known format");
        let frame = |pitch| Frame::linear(Fourcc::XR24, px(64, 48), Plane { offset: 0, pitch });
        let mut buffer = vec![0; 64 * 1024];
        target.write_to(&frame(256), &mut buffer).expect("fits");
        let actual = Picture::of_frame(&frame(260), &buffer).expect("fits");
        let difference = compare(&target, &actual, &Tolerance::Exact).expect("comparable").expect("differs");
        let guess = guess(&target, &actual, &Suspects { known: &[], pitch: Some(260), ..Suspects::default() });
        Finding::differs("gpu_b did not read what gpu_a drew", &difference, guess.as_ref())
            .row("buffer", frame(260).to_string())
            .row("path", "gpu_a llvmpipe (Mesa 26.1.6)  ->  dma-buf (udmabuf)  ->  gpu_b llvmpipe (Mesa 25.0.7)")
            .row("layers", "validation: no message")
            .maybe("placement", Some("gpu_a: 16 segments of 4096 B; gpu_b: not observable: no trace events"))
            .maybe("kernel", None::<String>)
            .verbatim("saved", "report/import/reads_linear/{target,actual,diff}.png")
            .verbatim("again", "handover run --exact import::reads_linear::xr24_64x48")
    }

    #[test]
    fn a_text_has_the_facts_of_its_finding() {
        let long = format!("{} end", "word ".repeat(40).trim_end());
        let finding = Finding::new("it failed").row("object", "a b").row("opened by", "c\nd").row("like", long.clone());
        let text = finding.to_string();
        let facts: Vec<(&str, String)> = facts(&text).collect();
        let of = |label, text: &str| (label, text.to_owned());
        assert_eq!(facts, [of("", "it failed"), of("object", "a b"), of("opened by", "c d"), of("like", &long)]);
    }

    #[test]
    fn a_difference_reads_as_one_finding() {
        insta::assert_snapshot!(skewed());
    }

    #[test]
    fn a_finding_survives_json() {
        let json = serde_json::to_string(&skewed()).expect("serialisable");
        assert_eq!(serde_json::from_str::<Finding>(&json).expect("round trip"), skewed());
    }

    #[test]
    fn bytes_that_differ() {
        let difference = compare_bytes(&[0xa5; 4096], &{
            let mut bytes = [0xa5; 4096];
            bytes[100..164].fill(0);
            bytes[4095] = 1;
            bytes
        });
        let difference = difference.expect("same length").expect("differs");
        insta::assert_snapshot!(Finding::bytes_differ("gpu_a wrote outside its image", &difference));
    }

    #[test]
    fn failed_operations() {
        let screen = "screen (vkms), XR24 LINEAR 250x130 px";
        let errors = [
            Error::new("DRM_IOCTL_MODE_ADDFB2", screen, Cause::Errno(rustix::io::Errno::INVAL)),
            Error::new(
                "vkAllocateMemory",
                "gpu_b, dma-buf of 12288 B",
                Cause::Code("VK_ERROR_OUT_OF_DEVICE_MEMORY".into()),
            ),
            Error::deadline("waiting for the writeback fence", screen, Duration::from_millis(5000)),
            Error::missing("import of the dma-buf", "gpu_b", "no memory type serves both sides"),
            Error::answer(
                "vkGetMemoryFdPropertiesKHR",
                "gpu_b",
                "memoryTypeBits 0 with VK_SUCCESS; at least one bit would be valid",
            ),
            Error::input("drawing the pattern", "NV12 4x4 px", "NV12 is not a packed RGB format known here"),
        ];
        let texts: Vec<String> = errors.into_iter().map(|error| Finding::from(error).to_string()).collect();
        insta::assert_snapshot!(texts.join("\n\n"));
    }

    #[test]
    fn long_rows_wrap_at_spaces_and_commands_do_not() {
        let words = "constraint ".repeat(30);
        let finding = Finding::new("no layout serves both sides")
            .row("gpu_a", words.clone())
            .row("path", "x".repeat(150) + " short")
            .row("lines", "first line\nsecond line")
            .row("a label of its own length", "text")
            .verbatim("again", words);
        insta::assert_snapshot!(finding);
        assert!(finding.to_string().lines().all(|line| line == line.trim_end()));
    }

    #[test]
    fn wrapping_keeps_every_word() {
        let text = "ä bb ccc dddd eeeee ffffff";
        for columns in 1..30 {
            let words: Vec<&str> = wrapped(text, columns).into_iter().flat_map(str::split_whitespace).collect();
            assert_eq!(words.join(" "), text, "{columns} columns");
        }
        assert_eq!(wrapped("aaa bbb", 3), ["aaa", "bbb"]);
    }
}
