//! The report as text for people. A view: it prints nothing itself, and adds nothing to the report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::case::Role;
use crate::ends;
use crate::report::{CaseReport, Peak, Report, Side};
use crate::verdict::{Verdict, row};

/// How many lines of what a worker printed are shown with a failure; the report has more.
const OUTPUT_LINES: usize = 20;

/// So many lines of a kind are no flood; of more the counts by reason are shown, and the names are in the report.
pub(super) const FEW: usize = 40;

/// How many cases are named for a reason why they were skipped, though that is not allowed or nobody says that it is.
const NAMED: usize = 5;

/// How many of the slowest cases are named.
const SLOWEST: usize = 5;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The colour of a verdict.
pub fn style(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Pass => AnsiColor::Green,
        Verdict::Fail | Verdict::Crash | Verdict::Timeout => AnsiColor::Red,
        Verdict::Skip => AnsiColor::Yellow,
        Verdict::Known => AnsiColor::Cyan,
    };
    colour.on_default()
}

/// A verdict and what it is about in one line.
pub fn line(case: &CaseReport) -> String {
    let style = style(case.verdict);
    let text = match case.verdict {
        Verdict::Known => case.message.as_deref(),
        _ => case.message.as_deref().or(case.reason.as_deref()),
    };
    let first = text.and_then(|text| text.lines().next()).unwrap_or("");
    let separator = if first.is_empty() { "" } else { ": " };
    format!("{style}{:<7}{style:#} {}{separator}{first}", case.verdict, case.name)
}

/// Everything there is to say about a case that failed, finding first, without colour.
pub fn failure(case: &CaseReport) -> String {
    let mut text = case.message.clone().unwrap_or_default();
    let output: Vec<&str> = case.output.lines().collect();
    let shown = &output[output.len().saturating_sub(OUTPUT_LINES)..];
    if !shown.is_empty() {
        let left_out = match output.len() - shown.len() {
            0 => String::new(),
            more => format!(" (the last {} of {} lines)", shown.len(), shown.len() + more),
        };
        block(&mut text, &format!("the worker printed{left_out}"), shown);
    }
    // A finding of the kernel's is in the message with its text.
    if !case.kernel_log.is_empty() && !text.contains("the kernel reported a defect") {
        let log: Vec<&str> = case.kernel_log.iter().map(String::as_str).collect();
        block(&mut text, "the kernel logged", &log[log.len().saturating_sub(OUTPUT_LINES)..]);
    }
    text.push('\n');
    for (label, side) in [("exporter", &case.exporter), ("importer", &case.importer)] {
        if let Some(side) = side {
            let _ = write!(text, "\n{}", row(label, side_text(side)));
        }
    }
    for (label, path) in ["saved"].into_iter().chain(std::iter::repeat("")).zip(&case.artifacts) {
        let _ = write!(text, "\n{}", row(label, path));
    }
    let _ = write!(text, "\n{}", row("again", &case.again));
    text
}

fn block(text: &mut String, heading: &str, lines: &[&str]) {
    let _ = write!(text, "\n\n  {heading}:\n    {}", lines.join("\n    "));
}

fn side_text(side: &Side) -> String {
    match &side.device {
        Some(device) => format!("{} {device}", side.role),
        None => format!("{} (nobody answered)", side.role),
    }
}

/// The end of a run: failures in full, then everything that must not be overlooked, then the totals. Tables are made for
/// lines of `width` characters, if that is known.
pub fn summary(report: &Report, width: Option<usize>) -> String {
    let mut text = String::new();
    failures(&mut text, report);
    skips(&mut text, report);
    known(&mut text, report);
    pairs(&mut text, report, width);
    slowest(&mut text, report);
    blessed(&mut text, report);
    machine(&mut text, report);
    text += &beyond_verdicts(report);
    totals(&mut text, report);
    text
}

/// What there is to say about the run that belongs to no case's verdict; empty if there is nothing.
pub fn beyond_verdicts(report: &Report) -> String {
    let mut text = String::new();
    section(&mut text, "notes", &report.notes);
    section(&mut text, "problems", &report.problems);
    section(&mut text, "the run could not go on", report.error.as_slice());
    text
}

fn section(text: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "{BOLD}{heading}{BOLD:#}");
    for line in lines {
        let indent = if line.is_empty() { "" } else { "  " };
        let _ = writeln!(text, "{indent}{}", line.replace('\n', "\n  "));
    }
    text.push('\n');
}

fn failures(text: &mut String, report: &Report) {
    for case in report.cases.iter().filter(|case| case.verdict.is_red()) {
        let style = style(case.verdict);
        let _ = writeln!(text, "{BOLD}---- {} ----{BOLD:#} {style}{}{style:#}", case.name, case.verdict);
        let _ = writeln!(text, "{}\n", failure(case));
    }
}

/// Skips that the lane allows by its word on why; others by their reason, with names.
fn skips(text: &mut String, report: &Report) {
    let (mut allowed, mut others) = (Groups::new(), Groups::new());
    for case in report.cases.iter().filter(|case| case.verdict == Verdict::Skip) {
        let reason = case.reason.as_deref().unwrap_or("");
        match (case.allowed, case.because.as_deref()) {
            (Some(true), because) => allowed.entry(because.unwrap_or(reason).to_owned()).or_default().push(&case.name),
            (Some(false), _) => {
                others.entry(format!("{reason} (not allowed in this lane)")).or_default().push(&case.name);
            }
            (None, _) => others.entry(reason.to_owned()).or_default().push(&case.name),
        }
    }
    section(text, "skipped", &grouped(&others, NAMED));
    section(text, "skipped, as the lane allows", &grouped(&allowed, 0));
}

fn known(text: &mut String, report: &Report) {
    let mut by_finding = Groups::new();
    for case in report.cases.iter().filter(|case| case.verdict == Verdict::Known) {
        by_finding.entry(case.reason.clone().unwrap_or_default()).or_default().push(&case.name);
    }
    section(text, "failed as known", &grouped(&by_finding, 0));
}

/// Names of cases by what is said of them.
type Groups<'c> = BTreeMap<String, Vec<&'c str>>;

/// The groups, the largest first, each with the names of its cases; with more than [`FEW`] cases with the first `named` ones.
fn grouped(groups: &Groups<'_>, named: usize) -> Vec<String> {
    let all: usize = groups.values().map(Vec::len).sum();
    let named = if all <= FEW { all } else { named };
    let mut order: Vec<_> = groups.iter().collect();
    order.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let digits = order.first().map_or(0, |(_, names)| names.len().to_string().len());
    let group = |(what, names): (&String, &Vec<&str>)| {
        let mut lines = vec![format!("{:>digits$} × {what}", names.len())];
        lines.extend(names.iter().take(named).map(|name| format!("{:digits$}   {name}", "")));
        if named > 0 && names.len() > named {
            lines.push(format!("{:digits$}   and {} more", "", names.len() - named));
        }
        lines.join("\n")
    };
    order.into_iter().map(group).collect()
}

/// Who handed to whom, and how that went: exporters in rows, importers in columns, one line per verdict; those columns below
/// for which the first lines of `most` characters have no room. Cases without either are counted, too, if there are others.
fn pairs(text: &mut String, report: &Report, most: Option<usize>) {
    let role = |side: &Option<Side>| side.as_ref().map(|side| side.role);
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for case in &report.cases {
        *counts.entry((role(&case.exporter), case.verdict, role(&case.importer))).or_default() += 1;
    }
    if counts.keys().all(|(exporter, _, importer)| exporter.or(*importer).is_none()) {
        return;
    }
    let name = |role: Option<Role>| role.map_or("none", Role::as_str);
    let width = |importer: Option<Role>| {
        let of_column = counts.iter().filter(|((_, _, to), _)| *to == importer);
        let digits = of_column.map(|(_, count)| count.to_string().len()).max().unwrap_or(0);
        let (upper, lower) = words(name(importer));
        digits.max(upper.len()).max(lower.len())
    };
    let rows = widest();
    // Nobody comes last, as in the order of a reader.
    let roles: Vec<_> = Role::ALL.into_iter().map(Some).chain([None]).collect();
    // The indent of a section, the name of a row, and a verdict.
    let before = 2 + rows + 9;
    let mut blocks: Vec<Vec<Option<Role>>> = Vec::new();
    let mut used = usize::MAX;
    for column in roles.iter().filter(|role| counts.keys().any(|(_, _, importer)| importer == *role)) {
        let needs = 1 + width(*column);
        used = used.saturating_add(needs);
        match blocks.last_mut().filter(|_| most.is_none_or(|most| used <= most)) {
            Some(block) => block.push(*column),
            None => {
                blocks.push(vec![*column]);
                used = before + needs;
            }
        }
    }
    let mut lines = Vec::new();
    for columns in blocks {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let heading = |part: fn((&'static str, &'static str)) -> &'static str| {
            let cell = |importer: &Option<Role>| format!(" {:>1$}", part(words(name(*importer))), width(*importer));
            format!("{:<1$}{2}", "", rows + 9, columns.iter().map(cell).collect::<String>())
        };
        let (upper, lower) = (heading(|words| words.0), heading(|words| words.1));
        lines.extend((!upper.trim().is_empty()).then(|| upper.trim_end().to_owned()));
        lines.push(lower);
        for exporter in &roles {
            let here = counts.keys().filter(|(from, _, to)| from == exporter && columns.contains(to));
            let verdicts: BTreeSet<Verdict> = here.map(|(_, verdict, _)| *verdict).collect();
            for (n, verdict) in verdicts.into_iter().enumerate() {
                let row = if n == 0 { name(*exporter) } else { "" };
                let style = style(verdict);
                let mut line = format!("{row:<rows$}  {style}{verdict:<7}{style:#}");
                for importer in &columns {
                    let width = width(*importer);
                    match counts.get(&(*exporter, verdict, *importer)) {
                        Some(count) => _ = write!(line, " {style}{count:>width$}{style:#}"),
                        None => _ = write!(line, " {DIM}{:>width$}{DIM:#}", "."),
                    }
                }
                lines.push(line);
            }
        }
    }
    let has =
        |exporter: Role, importer: Role| counts.keys().any(|key| (key.0, key.2) == (Some(exporter), Some(importer)));
    let told = |exporter: Role| Role::ALL.into_iter().map(move |importer| (exporter, importer));
    let shown = |(exporter, importer): &(Role, Role)| {
        counts.keys().any(|key| key.0 == Some(*exporter)) && counts.keys().any(|key| key.2 == Some(*importer))
    };
    let empty = Role::ALL.into_iter().flat_map(told).filter(shown).filter(|(from, to)| !has(*from, *to));
    let mut apart: Vec<String> = empty.filter_map(|(from, to)| ends::apart(from, to)).collect();
    if !apart.is_empty() {
        apart.insert(0, String::new());
    }
    lines.append(&mut apart);
    section(text, "exporter (rows) -> importer (columns)", &lines);
}

/// The two lines of a column's name: there are many columns, and a long name of two words is cut between them.
fn words(name: &'static str) -> (&'static str, &'static str) {
    match name.find('_') {
        Some(at) if name.len() > 6 => name.split_at(at + 1),
        _ => ("", name),
    }
}

/// How long the longest name of a role is, in characters.
fn widest() -> usize {
    Role::ALL.iter().map(|role| role.as_str().len()).fold(0, usize::max)
}

fn slowest(text: &mut String, report: &Report) {
    let mut cases: Vec<&CaseReport> = report.cases.iter().filter(|case| case.duration_ms >= 100.0).collect();
    cases.sort_by(|one, other| other.duration_ms.total_cmp(&one.duration_ms));
    cases.truncate(SLOWEST);
    let lines: Vec<String> = cases.iter().map(|case| format!("{:>7.0} ms  {}", case.duration_ms, case.name)).collect();
    section(text, "slowest", &lines);
}

fn blessed(text: &mut String, report: &Report) {
    let lines: Vec<String> = report.cases.iter().flat_map(|case| case.record.blessed.iter().cloned()).collect();
    section(text, "golden images written", &lines);
}

fn machine(text: &mut String, report: &Report) {
    let machine = &report.machine;
    let first = widest();
    let mut lines = vec![format!("{:<first$}  {}", "on", machine.on)];
    if !machine.faults.is_empty() {
        lines.push(format!("{:<first$}  {}: on purpose, so no verdict is about the machine", "faults", machine.faults));
    }
    if let Some(kernel) = &machine.kernel {
        let from = match machine.kernel_from.as_str() {
            "" => String::new(),
            from => format!(" ({from})"),
        };
        lines.push(format!("{:<first$}  Linux {kernel}{from}, log {}", "kernel", machine.kernel_log));
    }
    if !machine.mesa.is_empty() {
        lines.push(format!("{:<first$}  {}", "Mesa", machine.mesa.join(" and ")));
    }
    for (role, devices) in &machine.devices {
        lines.extend(devices.iter().map(|device| format!("{:<first$}  {device}", role.as_str())));
    }
    section(text, "machine", &lines);
}

/// The highest memory of the run, and how high it had been before.
fn memory(report: &Report) -> Option<String> {
    let (last, before) = report.memory.split_last()?;
    let mib = |kib: Option<u64>| kib.map_or_else(|| "?".to_owned(), |kib| format!("{:.1}", kib as f64 / 1024.0));
    let one = |peak: &Peak| format!("{} and {} MiB", mib(peak.worker_kib), mib(peak.supervisor_kib));
    let before: Vec<String> = before.iter().map(|peak| format!("{} after {} cases", one(peak), peak.cases)).collect();
    let before = if before.is_empty() { String::new() } else { format!("; {}", before.join(", ")) };
    Some(format!("peak memory of worker and supervisor {}{before}", one(last)))
}

fn totals(text: &mut String, report: &Report) {
    let summary = &report.summary;
    let counts = [
        (Verdict::Pass, summary.pass),
        (Verdict::Fail, summary.fail),
        (Verdict::Crash, summary.crash),
        (Verdict::Timeout, summary.timeout),
        (Verdict::Skip, summary.skip),
        (Verdict::Known, summary.known),
    ];
    let mut parts: Vec<String> = counts
        .into_iter()
        .filter(|(verdict, count)| *count > 0 || *verdict == Verdict::Pass)
        .map(|(verdict, count)| {
            let style = style(verdict);
            format!("{style}{count} {verdict}{style:#}")
        })
        .collect();
    if summary.not_run > 0 {
        parts.push(format!("{} not run", summary.not_run));
    }
    let (word, style) = if report.interrupted {
        ("interrupted", style(Verdict::Skip))
    } else if report.is_green() {
        ("green", style(Verdict::Pass))
    } else {
        ("red", style(Verdict::Fail))
    };
    let lane = report.lane.as_ref().map_or_else(String::new, |lane| format!(", lane {lane}"));
    let faults = match report.machine.faults.as_str() {
        "" => String::new(),
        faults => format!(", under faults done on purpose ({faults})"),
    };
    let first = report
        .timings
        .start_to_first_verdict_ms
        .map_or_else(String::new, |ms| format!("; first verdict {ms} ms after the first worker's start"));
    let set_up = report.timings.set_up_ms.iter().map(|(what, ms)| format!("{what} {} s", ms.div_ceil(1000)));
    let set_up = match set_up.collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        parts => format!("; set-up before it: {}", parts.join(", ")),
    };
    let memory = memory(report).map_or_else(String::new, |memory| format!("\n{DIM}{memory}{DIM:#}"));
    let _ = writeln!(
        text,
        "{style}{word}{style:#}: {} of {} cases: {}{lane}{faults}\n{DIM}{} ms{first}{set_up}{DIM:#}{memory}",
        report.cases.len(),
        summary.selected,
        parts.join(", "),
        report.wall_ms,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn the_matrix_has_a_line_for_each_verdict_of_an_exporter() {
        let side = |role| Some(Side { role, device: None });
        let case = |from: Option<Role>, to: Option<Role>, verdict| CaseReport {
            exporter: from.and_then(side),
            importer: to.and_then(side),
            ..samples::case("a::b_works", verdict)
        };
        let (gpu, screen) = (Some(Role::GpuA), Some(Role::Screen));
        let mut cases = vec![
            case(gpu, screen, Verdict::Pass),
            case(gpu, screen, Verdict::Skip),
            case(gpu, gpu, Verdict::Pass),
            case(gpu, Some(Role::DmaVideo), Verdict::Pass),
            case(None, screen, Verdict::Fail),
            case(None, None, Verdict::Pass),
        ];
        cases.extend((0..4999).map(|_| case(gpu, None, Verdict::Crash)));
        let mut text = String::new();
        let report = samples::report(cases);
        pairs(&mut text, &report, None);
        let plain = anstream::adapter::strip_str(&text).to_string();
        insta::assert_snapshot!(plain, @r"
        exporter (rows) -> importer (columns)
                                              dma_
                                gpu_a screen video none
          gpu_a         pass        1      1     1    .
                        crash       .      .     . 4999
                        skip        .      1     .    .
          none          pass        .      .     .    1
                        fail        .      1     .    .
        ");
        let mut narrow = String::new();
        pairs(&mut narrow, &report, Some(42));
        let narrow = anstream::adapter::strip_str(&narrow).to_string();
        insta::assert_snapshot!(narrow, @r"
        exporter (rows) -> importer (columns)
                                              dma_
                                gpu_a screen video
          gpu_a         pass        1      1     1
                        skip        .      1     .
          none          fail        .      1     .

                                none
          gpu_a         crash   4999
          none          pass       1
        ");
        assert!(narrow.lines().all(|line| line.chars().count() <= 42), "{narrow}");
        let mut alone = String::new();
        pairs(&mut alone, &samples::report(vec![case(None, None, Verdict::Pass)]), None);
        assert_eq!(alone, "", "nobody handed anything to anybody");
        let mut empty = String::new();
        let some = vec![
            case(Some(Role::Converter), gpu, Verdict::Pass),
            case(gpu, Some(Role::Overlay), Verdict::Pass),
            case(gpu, Some(Role::Cursor), Verdict::Pass),
            case(Some(Role::Udmabuf), gpu, Verdict::Pass),
        ];
        pairs(&mut empty, &samples::report(some), None);
        let ends: Vec<&str> = empty.lines().filter(|line| line.contains("hands out")).collect();
        assert_eq!(
            ends,
            [
                "  converter hands out RG16, and overlay takes no such frame",
                "  converter hands out RG16, and cursor takes no such frame"
            ]
        );
    }

    #[test]
    fn a_run_under_faults_says_so_in_its_last_lines() {
        let mut report = samples::report(vec![samples::case("a::b_works", Verdict::Pass)]);
        let says = |report: &Report| {
            let text = anstream::adapter::strip_str(&summary(report, None)).to_string();
            text.matches("close-forgotten").count()
        };
        assert_eq!(says(&report), 0);
        report.machine.faults = "close-forgotten".into();
        assert_eq!(says(&report), 2, "in its machine and in its total");
    }

    #[test]
    fn a_thousand_skips_and_known_defects_are_a_few_lines_and_those_that_are_not_allowed_have_names() {
        let mut cases = Vec::new();
        let mut add = |count: usize, verdict, reason: &str, allowed: Option<bool>, because: Option<&str>| {
            for n in 0..count {
                let mut case = samples::case(&format!("a::{}::{n}", reason.replace(' ', "_")), verdict);
                case.reason = Some(reason.to_owned());
                (case.allowed, case.because) = (allowed, because.map(str::to_owned));
                cases.push(case);
            }
        };
        add(700, Verdict::Skip, "needs a GPU", Some(true), Some("there is none"));
        add(2, Verdict::Skip, "needs two GPUs", Some(true), Some("there is none"));
        add(60, Verdict::Skip, "needs a screen", Some(false), None);
        add(1, Verdict::Skip, "needs a door", Some(false), None);
        add(67, Verdict::Known, "cases/findings/one.md", None, None);
        add(3, Verdict::Known, "cases/findings/two.md", None, None);
        let report = samples::report(cases);
        let mut text = String::new();
        skips(&mut text, &report);
        known(&mut text, &report);
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string(), @r"
        skipped
          60 × needs a screen (not allowed in this lane)
               a::needs_a_screen::0
               a::needs_a_screen::1
               a::needs_a_screen::2
               a::needs_a_screen::3
               a::needs_a_screen::4
               and 55 more
           1 × needs a door (not allowed in this lane)
               a::needs_a_door::0

        skipped, as the lane allows
          702 × there is none

        failed as known
          67 × cases/findings/one.md
           3 × cases/findings/two.md
        ");
    }
}
