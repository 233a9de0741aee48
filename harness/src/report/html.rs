//! How does a report become one page that a person can search, from a file and with nothing beside it?
//!
//! The page is a view: all of `report.json` is in it as data, with the images that cases left, and its script draws from
//! that. It adds what only this crate knows: how long the rows of a format are, and which formats a case is about. Most of a
//! report says the same of many cases, so its JSON is deflated, in pieces that are read when somebody looks at one of their
//! cases. Nothing that a driver or a case said can become markup or script: data is base64, the script builds elements and
//! no markup, and the page's policy allows this one script by its digest.

mod files;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CaseReport, Report};
use crate::case::Role;
use crate::detection;
use crate::ends;
use crate::format::{Channel, Fourcc, Modifier, Numeric, PlaneShape};
use crate::frame::Frame;
use crate::verdict::Verdict;
use files::{Files, Place};

const TEMPLATE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");

/// The script's files, in the order in which they follow each other.
const SCRIPT: &[&str] = &[
    include_str!("html/elements.js"),
    include_str!("html/run.js"),
    include_str!("html/state.js"),
    include_str!("html/matrix.js"),
    include_str!("html/buffers.js"),
    include_str!("html/list.js"),
    include_str!("html/png.js"),
    include_str!("html/pixels.js"),
    include_str!("html/memory.js"),
    include_str!("html/constraints.js"),
    include_str!("html/case.js"),
    include_str!("html/detection.js"),
    include_str!("html/overview.js"),
    include_str!("html/page.js"),
];

/// So many cases are deflated together: enough to say once what they share, few enough to be there at once.
const CASES_OF_A_PIECE: usize = 128;

/// The largest integer that every number of a script holds exactly.
const LARGEST_EXACT: u64 = (1 << 53) - 1;

/// Where the files of a report are, and how many of them a page takes.
#[derive(Clone, Debug)]
pub struct Source {
    /// The directory of the report.
    pub folder: PathBuf,
    /// That directory as the page reaches it, ending in `/`; empty if the page lies there, too.
    pub link: String,
    /// The most bytes of files that are put into the page.
    pub most_bytes: u64,
    /// When the report was written.
    pub written: Option<SystemTime>,
}

/// A report as a page.
#[derive(Clone, Debug)]
pub struct Page {
    /// The page.
    pub html: String,
    /// Files of cases that are in it, those of the same contents once.
    pub embedded: usize,
    /// Files of cases that are not, each of which the page links and gives the reason.
    pub left_out: usize,
    /// Why the table of faults that lies beside the report is not in it.
    pub no_table: Option<String>,
}

/// What the list and the matrix need of a case; the rest is read when somebody looks at it.
#[derive(Serialize)]
struct Entry<'c> {
    name: &'c str,
    verdict: Verdict,
    from: Option<Role>,
    to: Option<Role>,
    line: &'c str,
    ms: f64,
    buffers: Vec<String>,
    /// How many of its files are in the page.
    files: usize,
    refused: bool,
    /// Why the lane allows a skip.
    because: Option<&'c str>,
    /// Where a known defect is described.
    finding: Option<&'c str>,
}

/// The page of `report`.
///
/// # Errors
/// The report can't be serialised.
pub fn page(mut report: Report, source: &Source) -> io::Result<Page> {
    let cases = std::mem::take(&mut report.cases);
    let files = Files::choose(&cases, &source.folder, source.most_bytes);
    let written_ms = source.written.and_then(|time| Some(time.duration_since(UNIX_EPOCH).ok()?.as_millis() as u64));
    let (table, no_table) = match detection::stored_in(&source.folder).transpose() {
        Ok(table) => (table, None),
        Err(why) => (Some(json!({ "missing": why })), Some(why)),
    };
    let run = json!({
        "report": report,
        "link": source.link,
        "written_ms": written_ms,
        "roles": Role::ALL,
        "apart": apart(),
        "full": Fourcc::PACKED_RGB.iter().filter_map(full).collect::<BTreeMap<_, _>>(),
        "piece": CASES_OF_A_PIECE,
        "cases": cases.iter().map(|case| entry(case, &files)).collect::<Vec<_>>(),
        "detection": table,
    });
    let mut data = String::new();
    for (number, piece) in cases.chunks(CASES_OF_A_PIECE).enumerate() {
        let piece = piece.iter().map(|case| details(case, &files)).collect::<serde_json::Result<_>>()?;
        element(&mut data, &format!("cases-{number}"), &deflated(piece)?);
    }
    for (number, contents) in files.contents().iter().enumerate() {
        element(&mut data, &format!("file-{number}"), contents);
    }
    let script = format!("\"use strict\";\n(async () => {{\n{}}})();\n", SCRIPT.concat());
    let policy = format!(
        "default-src 'none'; img-src data:; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(&script)
    );
    let run = deflated(run)?;
    let parts = [
        ("policy", policy.as_str()),
        ("title", &escaped(&title(&report))),
        ("style", STYLE),
        ("run", &run),
        ("script", &script),
        ("cases", &data),
    ];
    let html = filled(TEMPLATE, &parts);
    Ok(Page { html, embedded: files.contents().len(), left_out: files.left_out(), no_table })
}

/// Of pairs of devices that no frame crosses between, why; by exporter and importer as the page knows pairs.
fn apart() -> BTreeMap<String, String> {
    let pairs = Role::ALL.into_iter().flat_map(|from| Role::ALL.map(|to| (from, to)));
    pairs.filter_map(|(from, to)| Some((format!("{from} {to}"), ends::apart(from, to)?))).collect()
}

fn title(report: &Report) -> String {
    let summary = &report.summary;
    let red = summary.fail + summary.crash + summary.timeout;
    let word = if report.is_green() { "green" } else { "red" };
    format!("{word}: {red} of {} cases failed - Handover", summary.selected)
}

fn entry<'c>(case: &'c CaseReport, files: &Files) -> Entry<'c> {
    let text = match case.verdict {
        Verdict::Known => case.message.as_deref(),
        _ => case.message.as_deref().or(case.reason.as_deref()),
    };
    Entry {
        name: &case.name,
        verdict: case.verdict,
        from: case.exporter.as_ref().map(|side| side.role),
        to: case.importer.as_ref().map(|side| side.role),
        line: text.and_then(|text| text.lines().next()).unwrap_or(""),
        ms: case.duration_ms,
        buffers: buffers(case),
        files: case.artifacts.iter().filter(|path| matches!(files.place(path), Place::In(_))).count(),
        refused: case.allowed == Some(false),
        because: case.because.as_deref(),
        finding: case.reason.as_deref().filter(|_| case.verdict == Verdict::Known),
    }
}

/// The formats that a case is about: those it mapped, of which those in its name count alone, or, if it mapped none, those in its
/// name. It may have mapped others beside, such as what lies below a plane.
fn buffers(case: &CaseReport) -> Vec<String> {
    let words = case.name.split("::").skip(2).flat_map(|part| part.split('_'));
    let formats = words.filter(|word| word.len() > 1 && word.starts_with(|c: char| c.is_ascii_uppercase()));
    let known = |word: &&str| word.parse::<Fourcc>().is_ok_and(|fourcc| fourcc.planes().is_some());
    let named: Vec<&str> = formats.filter(known).collect();
    let mut found = Vec::new();
    for mapping in &case.record.mappings {
        let Frame { fourcc, modifier, .. } = &mapping.placement.frame;
        let pair = (fourcc.to_string(), format!("{fourcc} {modifier}"));
        if !found.contains(&pair) {
            found.push(pair);
        }
    }
    if found.is_empty() {
        return named.into_iter().map(str::to_owned).collect();
    }
    let is_named = |fourcc: &str| named.contains(&fourcc);
    if found.iter().any(|(fourcc, _)| is_named(fourcc)) {
        found.retain(|(fourcc, _)| is_named(fourcc));
    }
    found.into_iter().map(|(_, pair)| pair).collect()
}

/// Everything about a case, with what the page can't know by itself.
fn details(case: &CaseReport, files: &Files) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(case)?;
    let artifacts = case.artifacts.iter().map(|path| match files.place(path) {
        Place::In(number) => json!({ "path": path, "file": number }),
        Place::Out(why) => json!({ "path": path, "why": why }),
    });
    value["artifacts"] = artifacts.collect();
    for (at, mapping) in case.record.mappings.iter().enumerate() {
        value["mappings"][at]["planes"] = planes(&mapping.placement.frame);
    }
    Ok(value)
}

/// Bytes of a row and number of rows of each plane, if the frame is LINEAR and its format known.
fn planes(frame: &Frame) -> Value {
    let Some(shapes) = frame.fourcc.planes().filter(|_| frame.modifier == Modifier::LINEAR) else {
        return Value::Null;
    };
    let plane =
        |shape: &PlaneShape| json!({ "row": shape.row(frame.size.width), "rows": shape.rows(frame.size.height) });
    shapes.iter().map(plane).collect()
}

/// What 1.0 is in R, G, B and A of a format, if it has the channel: images have narrow channels widened.
fn full(fourcc: &Fourcc) -> Option<(String, [Option<u32>; 4])> {
    let layout = fourcc.pixel().filter(|layout| layout.numeric == Numeric::Unorm)?;
    let of = |channel| layout.components.iter().find(|one| one.channel == channel).map(|one| one.full());
    Some((fourcc.to_string(), [Channel::R, Channel::G, Channel::B, Channel::A].map(of)))
}

fn element(data: &mut String, id: &str, contents: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(data, "<script type=\"text/plain\" id=\"{id}\">{contents}</script>");
}

/// The JSON of `value`, deflated, in base64.
fn deflated(mut value: Value) -> io::Result<String> {
    keep_exact(&mut value);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&serde_json::to_vec(&value)?)?;
    Ok(BASE64.encode(encoder.finish()?))
}

/// Integers that a script would round become texts.
fn keep_exact(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number > LARGEST_EXACT) => {
            *value = Value::String(number.to_string());
        }
        Value::Array(values) => values.iter_mut().for_each(keep_exact),
        Value::Object(fields) => fields.values_mut().for_each(keep_exact),
        _ => {}
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// By what a policy knows a script or a style.
fn digest(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(Sha256::digest(text)))
}

/// `template` with each `{{name}}` replaced; what is put in is not looked at again.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        text.extend(values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value));
        text += rest;
    }
    text
}

/// `to` as it is reached from `from`, both absolute: `../report/`, or nothing if they are one.
pub fn link(from: &Path, to: &Path) -> String {
    let (mut from, mut to) = (from.components().peekable(), to.components().peekable());
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let up = from.map(|_| "..".to_owned());
    let down = to.map(|part| match part {
        Component::Normal(name) => name.to_string_lossy().into_owned(),
        _ => String::new(),
    });
    up.chain(down).map(|part| part + "/").collect()
}

#[cfg(test)]
mod tests;
