//! Is a table of faults red where it has to be? Cases that see a fault, that do not, and that see what there is not.
//!
//! The faults are those of the project, done by its own injectors; only the cases are made up.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use handover::case::{Cases, Trouble};
use handover::finding::Finding;
use handover::{dmabuf, udmabuf};
use libtest_mimic::{Completion, Failed};
use rustix::io::pwrite;

use super::cases::Desk;
use super::support::{Run, text};
use super::wild;

/// Set by a test: a claim is there that no fault fails.
const UNSAID: &str = "HANDOVER_TEST_UNSAID";

/// Pages of a buffer.
const BYTES: u64 = 65536;

/// The list of cases for tables.
pub(crate) fn register(cases: &mut Cases<Desk>) {
    cases
        .add("fault::sees_it_and_says_so", |_| match udmabuf::create(BYTES) {
            Ok(_) => Ok(()),
            Err(error) => Err(Finding::new(error.to_string()).into()),
        })
        .must_fail_under("udmabuf-scarce");
    cases
        .add("fault::sees_it_and_does_not_say_so", |_| {
            let (buffer, memory) = udmabuf::create(BYTES).map_err(failed)?;
            pwrite(&memory, b"new", 0).map_err(failed)?;
            match buffer.map().and_then(|mapping| mapping.read(0..3)).map_err(failed)?.as_slice() {
                b"new" => Ok(()),
                _ => Err(Finding::new("something is wrong").into()),
            }
        })
        .must_fail_under("udmabuf-copies");
    // The first two pages are exchanged, and it looks at no page.
    cases
        .add("fault::does_not_look", |_| udmabuf::create(BYTES).map(drop).map_err(failed))
        .must_fail_under("udmabuf-pages-swapped");
    cases.add("fault::does_nothing", |_| Ok(())).must_fail_under("heap-short");
    // What is legal it takes for a failure.
    cases
        .add("fault::minds_what_is_legal", |_| {
            let (buffer, _memory) = udmabuf::create(dmabuf::page_size()).map_err(failed)?;
            wild::begin_read_once(&buffer.fd).map_err(failed)
        })
        .must_fail_under("heap-short");
    if std::env::var_os(UNSAID).is_some() {
        cases.add("fault::is_failed_by_nothing", |_| Ok(()));
    }
}

fn failed(why: impl std::fmt::Display) -> Trouble {
    Finding::new(why.to_string()).into()
}

/// The table of the faults of these names, with the environment `set`.
fn faults(run: &Run, names: &[&str], set: &[(&str, &str)]) -> (Output, serde_json::Value) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("faults").args(names).args(["--controls", "all", "--report"]).arg(run.report_path());
    command
        .envs(set.iter().copied())
        .env_remove("CI")
        .env_remove("HANDOVER_LANE")
        .env_remove("HANDOVER_ON")
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let table = std::fs::read(run.report_path().join("faults.json")).unwrap_or_default();
    (output, serde_json::from_slice(&table).unwrap_or_default())
}

/// Every ending that a fault or a control can have, its word, and what the whole comes to.
pub(crate) fn a_table_is_red_where_it_has_to_be() -> Result<Completion, Failed> {
    // Where cargo has built this package alone, the injectors of drivers and libraries are not there, and the command wants them.
    let beside = std::env::current_exe().unwrap();
    let library = |name: &str| beside.parent().unwrap_or(Path::new(".")).join(name).is_file();
    for name in ["libhandover_faulty_vulkan.so", "libhandover_faulty_egl_gbm.so"] {
        if !library(name) {
            return Ok(Completion::ignored_with(format!("needs {name}; `cargo build` makes it")));
        }
    }
    let run = Run::new();
    let (output, table) = faults(&run, &["udmabuf-scarce"], &[]);
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("green: 1 faults and controls"), "{printed}");
    assert_eq!(table["rows"][0]["ending"], "detected", "{printed}");

    for (name, ending, word) in [
        ("udmabuf-copies", "unnamed", "is seen, but no message names the culprit"),
        ("udmabuf-pages-swapped", "missed", "missed"),
        ("heap-short", "not_fired", "not fired"),
        ("sync-interrupted", "alarm", "fault::minds_what_is_legal"),
    ] {
        let run = Run::new();
        let (output, table) = faults(&run, &[name], &[]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {printed}");
        assert_eq!(table["rows"][0]["ending"], ending, "{name}: {printed}");
        assert!(printed.contains("red: 1 faults and controls") && printed.contains(word), "{name}: {printed}");
    }

    // Of claims that nothing fails the table tells, and so does the list that the cases' own tests hold.
    let run = Run::new();
    let (output, table) = faults(&run, &["udmabuf-scarce"], &[(UNSAID, "1")]);
    let printed = text(&output.stdout);
    assert!(printed.contains("1 by nothing"), "{printed}");
    assert_eq!(table["killers"]["by_nothing"], serde_json::json!(["fault::is_failed_by_nothing"]), "{printed}");
    Ok(Completion::Completed)
}
