//! Does every fault that is done on purpose find a case that sees it, and does every control pass unnoticed?
//!
//! One run of `handover faults` over all of them, in the sandbox, through the command that users start.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use handover::matching::holds;

/// Faults whose texts differ from run to run, each with why.
const UNSTEADY: &[(&str, &str)] = &[
    ("close-forgotten", "threads close in no set order, and every eighth of all is forgotten"),
    ("writeback-lost", "vkms loses some by itself"),
    ("sync-file-wakes-late", "it says how late, in milliseconds"),
    ("reader-unnoted", "which frame a reader meets, and in which state, is a matter of the moment"),
    ("scatter-lists-move", "where pages lie, and in how many runs, is the kernel's to choose"),
];

/// Faults whose kept text has numbers that another machine has otherwise, each with why.
const OTHER_NUMBERS: &[(&str, &str)] =
    &[("srgb-decoded", "how colours are rounded depends on what the processor can do at once")];

/// Claims that name a fault in one of several ways, each of them right; the text of another one is kept.
const IN_SEVERAL_WORDS: &[(&str, &str)] = &[
    (
        "fences::a_counter_follows_what_its_work_waits_for",
        "its counter has got to its value by the first look, or it has not yet",
    ),
    ("pool::no_frame_is_seen_torn_by_three_readers", "which frame a reader meets first is a matter of the moment"),
    ("pipe::leaves_nothing_behind", "how many buffers it comes to is a matter of the moment"),
];

/// Faults that do one deed in two places, so that each one's message speaks of the other, too.
const SIBLINGS: &[&[&str]] = &[
    // The image of an import lies at the start of the buffer, whoever was told otherwise.
    &["import-offset-ignored", "image-bound-at-zero"],
    // The second plane is read out of where the first one lies: by its offset, or by its memory.
    &["second-plane-lost", "disjoint-bound-to-first"],
    // Whoever lets go first, memory or fd, takes the contents from those who still have the buffer mapped.
    &["free-clears-shared", "close-clears-mapped"],
    // They differ by the number alone, which is what is wrong.
    &["plane-count-endless", "plane-count-zero"],
    &["gbm-pitch-too-large", "gbm-pitch-zero"],
    // The one does all that the other does.
    &["release-late", "buffer-release-late"],
    &["addfb2-modifier-ignored", "addfb2-modifier-of-32-bits"],
    // The importer finds nothing of what was written, or what was there before. When it comes, or what brought it back, is in a row
    // of its own.
    &["import-copies", "external-release-late"],
    &["import-copies", "acquire-brings-back"],
    // A handle stays, after the one call or the other.
    &["syncobj-handle-kept", "syncobj-refusal-leaves-handle"],
    // What has ended is counted, whoever ended it.
    &["unmap-forgotten", "orphans-kept"],
];

/// The part of the cases that controls run with here: what is green today shall be so tomorrow. By itself the command takes another
/// part every day.
const CONTROLS: &str = "0";

/// The texts that are kept, below this package's folder.
const KEPT: &str = "tests/snapshots/faults__every_fault_is_seen_and_every_control_let_pass.snap";

/// Rows of a message that speak of the cause.
const CAUSES: &[&str] = &["object", "shape", "like", "after", "stayed", "laid by"];

/// Rows that tell the two sides of a comparison, or what is left of something. Their numbers are those of this run.
const SIDES: &[&str] = &["target", "actual", "left"];

/// What a message says of a cause: its finding, what it looks like, and both sides; without what differs from run to run.
fn said(message: &str) -> String {
    let mut said = message.lines().next().unwrap_or_default().to_owned();
    let mut lines = message.lines().skip(1).peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("and another finding") {
            break;
        }
        let row_of = |rows: &[&'static str]| {
            rows.iter()
                .find_map(|row| line.strip_prefix(&format!("  {row} ")).map(|text| (*row, text.trim().to_owned())))
        };
        let (side, cause) = (row_of(SIDES), row_of(CAUSES).map(|(_, text)| text));
        let Some(mut text) = side.as_ref().map(|(_, text)| text.clone()).or(cause) else { continue };
        while let Some(more) = lines.next_if(|line| line.starts_with("     ")) {
            let _ = write!(text, " {}", more.trim());
        }
        let _ = match side {
            Some((row, _)) => write!(said, "\n    {row} {}", without_numbers(&text)),
            None => write!(said, "\n    {text}"),
        };
    }
    steady(&said)
}

/// The same with `N` for each number that names something in this run (fds, inodes, generations, processes), and for what
/// names a version of what runs there or depends on the processor.
fn steady(text: &str) -> String {
    // What is measured, and lines of our sources, are of this run, too.
    const NAMED: &[&str] = &[
        "fd ",
        "dma-buf ",
        "GEM handle ",
        "generation ",
        "process ",
        "call ",
        " took ",
        "(read) for ",
        "(write) for ",
        ".rs:",
    ];
    const VERSIONED: &[&str] = &["LLVM ", "Mesa ", "Vulkan "];
    let mut rest = text;
    let mut steady = String::new();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        steady.push_str(&rest[..at]);
        rest = &rest[at..];
        let after = |prefixes: &[&str]| prefixes.iter().any(|prefix| steady.ends_with(prefix));
        let until = |ends: fn(char) -> bool| rest.find(ends).unwrap_or(rest.len());
        let digits = until(|c| !c.is_ascii_digit());
        let (end, is_named) = match after(VERSIONED) {
            true => (until(|c| c.is_whitespace() || matches!(c, ',' | ')')), true),
            false => (digits, after(NAMED) || rest[digits..].starts_with(" bits)")),
        };
        steady.push_str(if is_named { "N" } else { &rest[..end] });
        rest = &rest[end..];
    }
    steady + rest
}

/// `text` with `N` for each number, so that two texts that tell the same of other places are one.
fn without_numbers(text: &str) -> String {
    let mut rest = text;
    let mut without = String::new();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        without.push_str(&rest[..at]);
        without.push('N');
        rest = match rest[at..].strip_prefix("0x") {
            Some(hex) => hex.trim_start_matches(|c: char| c.is_ascii_hexdigit()),
            None => rest[at..].trim_start_matches(|c: char| c.is_ascii_digit() || c == ',' || c == '.'),
        };
    }
    without + rest
}

/// What is said of a fault or a case by that name.
fn text<'t>(value: &'t serde_json::Value, name: &str) -> &'t str {
    value[name].as_str().unwrap_or_default()
}

/// What is listed of the table or a fault by that name.
fn list<'t>(value: &'t serde_json::Value, name: &str) -> &'t [serde_json::Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// The texts, numbers apart, by which cases name a culprit, whichever it is: two faults that are not of one kin give none in common.
fn same_texts(table: &serde_json::Value) -> Vec<String> {
    let mut by: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for row in list(table, "rows") {
        for case in list(row, "cases").iter().filter(|case| case["names"] == true) {
            let said = without_numbers(&said(text(case, "message")));
            by.entry(said).or_default().insert(text(row, "name"), text(case, "name"));
        }
    }
    by.retain(|_, of| of.len() > 1 && !SIBLINGS.iter().any(|kin| of.keys().all(|name| kin.contains(name))));
    by.into_iter().map(|(said, of)| format!("one text for {of:?}: {said}")).collect()
}

/// Faults that the message of a case under another one would name, which is not of their kin.
fn mistaken(table: &serde_json::Value) -> Vec<String> {
    let is_kin = |one: &str, other: &str| SIBLINGS.iter().any(|all| all.contains(&one) && all.contains(&other));
    let mut mistaken = Vec::new();
    for row in list(table, "rows") {
        for case in list(row, "cases").iter().filter(|case| case["sees"] == true) {
            let (of, message) = (text(row, "name"), text(case, "message"));
            let others = handover_faults::all().filter(|fault| fault.name != of && !is_kin(fault.name, of));
            let named = others.filter(|fault| fault.names.iter().any(|name| holds(message, name)));
            mistaken.extend(
                named.map(|fault| format!("{} is named by {} under {of}: {}", fault.name, case["name"], said(message))),
            );
        }
    }
    mistaken
}

/// Texts of faults that no message has: nobody would miss them, and nobody knows whether they are right.
fn unmet(table: &serde_json::Value) -> Vec<String> {
    let mut unmet = Vec::new();
    for row in list(table, "rows") {
        let is_met = |name: &str| list(row, "cases").iter().any(|case| holds(text(case, "message"), name));
        let names = list(row, "names").iter().filter_map(serde_json::Value::as_str);
        unmet.extend(
            names.filter(|name| !is_met(name)).map(|name| format!("no message of {} has {name:?}", row["name"])),
        );
    }
    unmet
}

/// What is kept of a fault: its name, one case that names it, and what that case says.
fn entry(fault: &str, case: &str, text: &str) -> String {
    format!("{fault}: {case}\n    {text}\n")
}

/// The entries of the file of kept texts: by fault, one case that names it, and what that case says.
fn kept_texts(snapshot: &str) -> BTreeMap<String, (String, String)> {
    let mut texts: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut last = None;
    // Its head stands between two lines of dashes.
    for line in snapshot.lines().skip(1).skip_while(|line| *line != "---").skip(1) {
        match (line.strip_prefix("    "), line.split_once(": ")) {
            (Some(said), _) => {
                if let Some((_, text)) = last.as_ref().and_then(|fault| texts.get_mut(fault)) {
                    let next = if text.is_empty() { said.to_owned() } else { format!("\n    {said}") };
                    text.push_str(&next);
                }
            }
            (None, Some((fault, case))) => {
                texts.insert(fault.to_owned(), (case.to_owned(), String::new()));
                last = Some(fault.to_owned());
            }
            (None, None) => {}
        }
    }
    texts
}

#[test]
fn what_is_kept_is_read_as_it_is_written() {
    let texts = [("a-fault", ("a::case", "the finding\n    target 0x3f of N")), ("b", ("b::case::x", "another: one"))];
    let written = texts.map(|(fault, (case, text))| entry(fault, case, text)).concat();
    let read = kept_texts(&format!("---\nsource: here\nexpression: all\n---\n{written}"));
    let owned = texts.map(|(fault, (case, text))| (fault.to_owned(), (case.to_owned(), text.to_owned())));
    assert_eq!(read, BTreeMap::from(owned));
    assert_eq!(without_numbers("at 0x3f0c of 1,024"), "at N of N");
}

#[test]
fn numbers_of_this_run_are_left_out_and_others_are_not() {
    let text = steady("2 fds stay open: fd 20 is dma-buf 77 (udmabuf, 4096 B), at x 3");
    assert_eq!(text, "2 fds stay open: fd N is dma-buf N (udmabuf, 4096 B), at x 3");
    let text =
        steady("cpu has held a mapping (write) for 2424 ms, mapped at cx/sharing.rs:165; a wait of 20 ms took 3 ms");
    assert_eq!(text, "cpu has held a mapping (write) for N ms, mapped at cx/sharing.rs:N; a wait of 20 ms took N ms");
    let text =
        steady("llvmpipe (LLVM 19.1.7, 256 bits) (Mesa 25.0.7-2+deb13u1 (LLVM 19.1.7)), 12 bits, Vulkan 1.4.305");
    assert_eq!(text, "llvmpipe (LLVM N, N bits) (Mesa N (LLVM N)), 12 bits, Vulkan N");
}

#[test]
fn every_fault_is_seen_and_every_control_let_pass() {
    // Beside the report of the cases, so that one page of `handover report` shows both.
    let chosen = std::env::var_os("HANDOVER_REPORT").filter(|path| !path.is_empty()).map(PathBuf::from);
    let folder = chosen.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("handover-report"));
    let output = Command::new(env!("CARGO_BIN_EXE_handover"))
        .args(["faults", "--controls", CONTROLS, "--report"])
        .arg(&folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));

    let table = std::fs::read(folder.join("faults.json")).unwrap();
    let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT);
    let kept = kept_texts(&std::fs::read_to_string(kept).unwrap_or_default());
    let (mut texts, mut otherwise) = (BTreeMap::new(), Vec::new());
    let is_kept_anew = std::env::var("INSTA_UPDATE").is_ok_and(|how| how != "no");
    for row in table["rows"].as_array().unwrap() {
        let name = row["name"].as_str().unwrap().to_owned();
        let cases = row["cases"].as_array().unwrap();
        if UNSTEADY.iter().any(|(unsteady, _)| *unsteady == name) {
            continue;
        }
        let named = cases.iter().filter(|case| case["names"] == true).map(|case| {
            let case_name = case["name"].as_str().unwrap().to_owned();
            (case_name, said(case["message"].as_str().unwrap()))
        });
        let mut named: Vec<_> =
            named.filter(|(case, _)| IN_SEVERAL_WORDS.iter().all(|(claim, _)| !case.starts_with(claim))).collect();
        named.sort();
        // Which cases meet a fault in time differs with the machine: a text that is kept and was said again stays.
        let other_numbers = OTHER_NUMBERS.iter().any(|(other, _)| *other == name);
        let is_kept = |(case, text): &(String, String)| {
            kept.get(&name).is_some_and(|(of, kept)| {
                of == case && (kept == text || (other_numbers && without_numbers(kept) == without_numbers(text)))
            })
        };
        let said = match named.iter().any(is_kept) {
            true => kept.get(&name).cloned(),
            false => named.into_iter().next(),
        };
        if let Some(said) = said {
            if kept.get(&name) != Some(&said) && !is_kept_anew {
                otherwise.push(format!("not as it is kept: {}", entry(&name, &said.0, &said.1)));
            }
            texts.insert(name, said);
        }
    }
    let mut alike = same_texts(&table);
    // All at once, so that one run shows whatever there is to see to.
    alike.extend(otherwise);
    alike.extend(unmet(&table));
    alike.extend(mistaken(&table));
    for fault in handover_faults::all().filter(|fault| texts.contains_key(fault.name)) {
        let is_of_kin = |other: &str| SIBLINGS.iter().any(|all| all.contains(&fault.name) && all.contains(&other));
        for (other, (_, text)) in texts.iter().filter(|(other, _)| **other != fault.name && !is_of_kin(other)) {
            if other.as_str() > fault.name && *text == texts[fault.name].1 {
                alike.push(format!("{} and {other} give one text: {text}", fault.name));
            }
        }
    }
    assert!(alike.is_empty(), "{}", alike.join("\n"));
    let all = texts.iter().map(|(name, (case, text))| entry(name, case, text));
    insta::assert_snapshot!(all.collect::<String>());
}
