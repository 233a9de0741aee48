//! The table as text for people. A view: it prints nothing itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use handover_faults::{Fault, Kind};

use super::{Ending, Killers, Row, Seen, Table, Tally};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

fn style(ending: Ending) -> Style {
    let colour = match ending {
        Ending::Detected | Ending::Quiet => AnsiColor::Green,
        Ending::NotFired => AnsiColor::Yellow,
        Ending::Unnamed | Ending::Missed | Ending::Alarm | Ending::Broken => AnsiColor::Red,
    };
    colour.on_default()
}

/// One fault in one line: what came of it, and who says what.
pub fn line(row: &Row) -> String {
    let style = style(row.ending);
    let mut line = format!("{style}{:<9}{style:#} {}", row.ending.as_str(), row.fault.name);
    if row.tries > 1 {
        let _ = write!(line, " ({} of {} times)", row.as_it_should, row.tries);
    }
    let by = row.by();
    if row.ending == Ending::Alarm {
        let _ = write!(line, "  {DIM}{}{DIM:#}", row.alarm());
    } else if let Some(first) = by.first() {
        let _ = write!(line, "  {DIM}{}: {}{DIM:#}", who(&by), first.said);
    }
    line
}

/// The first of those that see a fault, how many more there are, and of how many less is known than that they see it.
fn who(by: &[&Seen]) -> String {
    let Some(first) = by.first() else { return String::new() };
    let more = if by.len() > 1 { format!(" and {} more", by.len() - 1) } else { String::new() };
    let count = |is: fn(&Seen) -> bool| by.iter().filter(|seen| is(seen)).count();
    let less = [
        (count(|seen| seen.second), "at a second try"),
        (count(|seen| seen.fired == 0), "by what was done before they began"),
        (count(|seen| !seen.own), "not by what they claim"),
    ];
    let less: Vec<String> =
        less.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
    let less = if less.is_empty() { String::new() } else { format!(" ({})", less.join(", ")) };
    format!("{}{more}{less}", first.name)
}

/// Every fault with what it does, and how many cases claim to see it.
pub fn list<'f>(faults: impl Iterator<Item = (&'f Fault, usize)>) -> String {
    let mut text = String::new();
    for (fault, claims) in faults {
        let Fault { name, id, kind, seam, class, what, trigger, modelled_on, skips, gap, .. } = *fault;
        let id = if id.is_empty() { "" } else { &format!(", {id}") };
        let _ = writeln!(text, "{BOLD}{name}{BOLD:#}  {DIM}{kind}{id}, {class}, in {seam}{DIM:#}");
        let _ = writeln!(text, "    {what}");
        let _ = writeln!(text, "    when   {trigger}");
        let _ = writeln!(text, "    as     {modelled_on}");
        if claims > 0 {
            let _ = writeln!(text, "    cases  {claims} claim to see it");
        }
        if !skips.is_empty() {
            let _ = writeln!(text, "    skips  {}", skips.join("; "));
        }
        if let Some(gap) = gap {
            let _ = writeln!(text, "    gap    {gap}");
        }
    }
    text
}

/// The whole table, then what makes it red, then the totals.
pub fn summary(table: &Table) -> String {
    let mut text = String::new();
    let width = table.rows.iter().map(|row| row.fault.name.len()).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "{BOLD}{:<9}  {:<width$}  {:<15}  {:>5}  {:>5}  {:>6}  {:>9}  by{BOLD:#}",
        "", "fault", "class", "fired", "ran", "failed", "passed by"
    );
    for row in &table.rows {
        let (style, ending, class) = (style(row.ending), row.ending.as_str(), row.fault.class);
        let name = row.fault.name;
        let by = who(&row.by());
        let gap =
            row.fault.gap.filter(|_| !row.ending.is_right()).map_or_else(String::new, |gap| format!("gap: {gap}"));
        let Row { fired, ran, failed, passed_by, .. } = *row;
        let row = format!(
            "{style}{ending:<9}{style:#}  {name:<width$}  {class:<15}  {fired:>5}  {ran:>5}  {failed:>6}  {passed_by:>9}  {by}{gap}"
        );
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text.push('\n');
    for (heading, lines) in [
        ("claims that no fault makes fail", table.unkilled.as_deref().unwrap_or_default()),
        ("warnings", &table.warnings),
        ("problems", &table.problems),
    ] {
        if !lines.is_empty() {
            let _ = writeln!(text, "{BOLD}{heading}{BOLD:#}\n  {}\n", lines.join("\n  "));
        }
    }
    text.push_str(&killers(&table.killers));
    text.push_str(&tally(&table.claims));
    let counts = table.summary.iter().map(|(ending, count)| format!("{count} {}", ending.as_str()));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let word = match (table.interrupted, table.is_green()) {
        (true, _) => "interrupted",
        (false, true) => "green",
        (false, false) => "red",
    };
    if let Some(part) = table.share.filter(|_| table.rows.iter().any(|row| row.fault.kind == Kind::Control)) {
        let _ = writeln!(
            text,
            "controls had part {part} of the cases; `--controls {part}` repeats it, `--controls all` has every case\n"
        );
    }
    let seconds = table.wall_ms as f64 / 1000.0;
    let _ = writeln!(text, "{word}: {} faults and controls in {seconds:.1} s: {counts}", table.rows.len());
    text
}

/// How many claims are failed by what.
fn killers(killers: &Killers) -> String {
    let Killers { claims, by_fault, by_defect, by_nothing } = killers;
    if *claims == 0 {
        return String::new();
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{BOLD}{claims} claims{BOLD:#}: {by_fault} have a fault that fails them, {} fail by a defect that is listed, {} by \
         nothing",
        by_defect.len(),
        by_nothing.len()
    );
    for claim in by_nothing {
        let _ = writeln!(text, "  {claim}");
    }
    text.push('\n');
    text
}

/// How many cases some fault failed, and of which claims it failed the smallest part.
fn tally(claims: &BTreeMap<String, Tally>) -> String {
    /// So many claims are named.
    const NAMED: usize = 10;
    let sum = |of: fn(&Tally) -> usize| claims.values().map(of).sum::<usize>();
    if claims.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{BOLD}{} cases{BOLD:#}: {} claim to see a fault, {} failed under one, {} of these by what they claim",
        sum(|tally| tally.cases),
        sum(|tally| tally.claiming),
        sum(|tally| tally.failed),
        sum(|tally| tally.own),
    );
    let mut most: Vec<(&String, &Tally)> = claims.iter().collect();
    most.sort_by_key(|(_, tally)| tally.failed.abs_diff(tally.cases));
    for (claim, Tally { cases, failed, .. }) in most.into_iter().rev().take(NAMED) {
        let _ = writeln!(text, "  {claim}  {DIM}{failed} of {cases} cases failed under a fault that was tried{DIM:#}");
    }
    text.push('\n');
    text
}
