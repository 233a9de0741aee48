//! A report of thousands of made-up cases, one of them with real pictures that differ.

use std::path::Path;

use handover::case::{Record, Role};
use handover::detection::{self, Killers, Row, Run, Table, Trial};
use handover::format::Fourcc;
use handover::frame::px;
use handover::pattern::Pattern;
use handover::png;
use handover::report::html::{self, Source};
use handover::report::{CaseReport, Machine, Report, SCHEMA, Side, Summary, Timings};
use handover::verdict::{Try, Verdict};

/// The one that has pictures; being the one failure, it is the first in the list.
pub(crate) const WRONG: &str = "scanout::shows_what_was_drawn::gpu_a::XR24";

/// Every exporter has so many cases with every importer.
pub(crate) const CASES_OF_A_PAIR: usize = 22;

/// What must stay a text.
const HOSTILE: &str = "</script><script>window.stolen = 1</script><img src=x onerror=\"window.stolen = 2\">";

/// What the known defects are described in.
pub(crate) const FINDINGS: [&str; 2] = ["cases/findings/vkms-offset-twice.md", "cases/findings/mesa-odd-chroma.md"];

/// Why each skip is allowed.
pub(crate) const BECAUSE: &str = "the lane's word on it";

/// How many there are.
pub(crate) fn cases() -> usize {
    CASES_OF_A_PAIR * Role::ALL.len() * Role::ALL.len() + 2
}

/// The table of one fault and one control: done 3 times each, while two cases ran, of which the first one failed or was
/// skipped.
fn faults() -> Table {
    let row = |name: &str, verdict: Verdict, message: &str| {
        let run = |verdict, message: &str, fired| Run {
            name: WRONG.into(),
            claims: true,
            verdict,
            message: message.into(),
            own: true,
            duration_ms: 4.5,
            fired,
            fired_by_then: fired,
            second: false,
            red_without: false,
            skipped_without: false,
            readers: Default::default(),
            blind: Vec::new(),
            missing: None,
        };
        let runs = vec![run(verdict, message, 2), run(Verdict::Pass, "", 1)];
        let trial = Trial { fired: 3, runs, problems: Vec::new(), wall_ms: 900, error: None };
        Row::of(handover_faults::find(name).unwrap(), &[trial])
    };
    const FAULT: &str = "pitch-too-large";
    let named = handover_faults::find(FAULT).unwrap().names[0].replace('…', " and ");
    let text = format!("{named}\n\n  said        {HOSTILE}");
    let rows = vec![row(FAULT, Verdict::Fail, &text), row("large-atom", Verdict::Skip, HOSTILE)];
    let killers = Killers { claims: 2, by_fault: 1, by_nothing: vec![HOSTILE.into()], ..Killers::default() };
    Table { killers, ..Table::of(rows, vec![], 900, false) }
}

/// The page of them, with its files in `folder`.
pub(crate) fn page(folder: &Path) -> String {
    std::fs::write(folder.join(detection::FILE), serde_json::to_vec(&faults()).unwrap()).unwrap();
    let place = folder.join("cases/wrong/cpu");
    std::fs::create_dir_all(&place).unwrap();
    let picture = |stamp| Pattern { stamp }.picture(Fourcc::XR24, px(64, 48)).unwrap();
    let files = png::save_difference(&picture(7), &picture(8), &place).unwrap();
    let artifacts = files.iter().map(|path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
    let mut wrong = case(WRONG, Verdict::Fail, Some(Role::GpuA), Some(Role::Screen));
    wrong.artifacts = artifacts.collect();
    wrong.message =
        Some(format!("3072 of 3,072 pixels differ: cpu does not see the target\n\n  said        {HOSTILE}"));
    let alone = case("pool::shrinks_when_idle", Verdict::Pass, None, None);
    let mut cases = vec![wrong, alone];
    let verdicts = [Verdict::Pass, Verdict::Pass, Verdict::Pass, Verdict::Skip, Verdict::Known];
    for from in Role::ALL {
        for to in Role::ALL {
            for n in 0..CASES_OF_A_PAIR {
                let name = format!("matrix::arrives::{from}_to_{to}::XR24_{}x{n}", 64 + n);
                let mut one = case(&name, verdicts[n % verdicts.len()], Some(from), Some(to));
                if one.verdict == Verdict::Known {
                    one.reason = Some(FINDINGS[n % FINDINGS.len()].into());
                }
                cases.push(one);
            }
        }
    }
    let report = Report {
        schema: SCHEMA,
        machine: Machine { on: "sandbox".into(), ..Machine::default() },
        lane: Some("sandbox".into()),
        wall_ms: 61_000,
        timings: Timings::default(),
        memory: vec![],
        summary: Summary::of(&cases, cases.len()),
        interrupted: false,
        error: None,
        problems: vec![],
        notes: vec![],
        constraints: vec![],
        cases,
    };
    let source = Source { folder: folder.to_owned(), link: String::new(), most_bytes: 1 << 20, written: None };
    html::page(report, &source).unwrap().html
}

fn case(name: &str, verdict: Verdict, from: Option<Role>, to: Option<Role>) -> CaseReport {
    let side = |role: Option<Role>| role.map(|role| Side { role, device: None });
    let text = match verdict {
        Verdict::Pass => None,
        other => Some(format!("what is to be said of {other}")),
    };
    let tried = Try {
        verdict,
        text: text.clone().unwrap_or_default(),
        findings: vec![],
        on_the_way: false,
        duration_ms: 4.5,
        ran_before: vec![],
    };
    CaseReport {
        name: name.into(),
        verdict,
        reason: text.clone().filter(|_| verdict == Verdict::Skip),
        message: text.filter(|_| verdict != Verdict::Skip),
        duration_ms: 4.5,
        exporter: side(from),
        importer: side(to),
        artifacts: vec![],
        kernel_log: vec![],
        output: String::new(),
        attempts: vec![tried],
        allowed: (verdict == Verdict::Skip).then_some(true),
        because: (verdict == Verdict::Skip).then(|| BECAUSE.into()),
        record: Record::default(),
        again: format!("handover run --on sandbox --exact {name}"),
    }
}
