//! Does the page of `handover report` work in a real browser: from a file, with a mouse, with a keyboard, in the dark?
//!
//! A headless Chromium opens a page of thousands of made-up cases. Without one each test is skipped and says so, unless
//! `HANDOVER_BROWSER` asks for one. Screenshots are left in Cargo's `target/tmp/page`, for people.
#![expect(clippy::unwrap_used, reason = "these are tests, though clippy cannot tell without #[test]")]

mod browser;
mod sample;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use browser::{Browser, Tab};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::json;

/// What is true once everything can be searched.
const READY: &str = "document.documentElement?.dataset.searchable === 'all'";

/// So long a page of all these cases may take until then; it takes one or two seconds on an idle machine.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

type Test = fn(&Tab<'_>);

const TESTS: &[(&str, Test)] = &[
    ("asks_for_nothing_and_has_no_error", asks_for_nothing),
    ("the_matrix_has_every_role_and_chooses_cases", matrix_chooses),
    ("the_whole_matrix_is_in_sight", matrix_fits),
    ("a_pair_tells_which_of_its_buffers_are_right", buffers),
    ("the_overview_has_every_finding_and_why_a_skip_is_allowed", overview_groups),
    ("a_case_shows_its_pixels_in_turn_and_under_a_slider", pixels),
    ("the_keyboard_is_enough", keyboard),
    ("light_and_dark_differ", light_and_dark),
    ("thousands_of_cases_are_a_few_elements", thousands),
    ("an_address_leads_to_its_case", address),
    ("the_table_of_faults_has_its_counts_and_what_was_lost", faults),
];

/// A browser with the file that it opens.
struct Stage {
    browser: Browser,
    url: String,
    _folder: tempfile::TempDir,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One browser serves all, one after the other.
    arguments.test_threads = Some(1);
    let stage: Arc<Mutex<Option<Stage>>> = Arc::default();
    let trial = |&(name, test): &(&'static str, Test)| {
        let stage = Arc::clone(&stage);
        Trial::ignorable_test(name, move || run(&stage, test))
    };
    libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect()).exit_code()
}

fn run(stage: &Mutex<Option<Stage>>, test: Test) -> Result<Completion, Failed> {
    let program = match browser::find() {
        Ok(program) => program,
        Err(why) => return Ok(Completion::ignored_with(why)),
    };
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let Stage { browser, url, .. } = stage.get_or_insert_with(|| Stage::of(&program));
    let tab = browser.tab();
    let took = tab.open(url, READY);
    assert!(took < OPEN_WITHIN, "it took {took:?} until everything could be searched");
    test(&tab);
    Ok(Completion::Completed)
}

impl Stage {
    fn of(program: &Path) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("report.html");
        std::fs::write(&page, sample::page(folder.path())).unwrap();
        let url = format!("file://{}", page.display());
        Stage { browser: Browser::start(program), url, _folder: folder }
    }
}

/// Keeps what the page looks like, and gives how bright it is, from 0 to 255.
fn picture(tab: &Tab<'_>, name: &str) -> f64 {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    let file: PathBuf = folder.join(format!("{name}.png"));
    let png = tab.screenshot();
    std::fs::write(&file, &png).unwrap();
    let grey = image::load_from_memory(&png).unwrap().into_luma8();
    assert!(grey.width() >= 1000 && grey.height() >= 600, "{}x{}", grey.width(), grey.height());
    let (least, most) = grey.iter().fold((255, 0), |(least, most), &value| (value.min(least), value.max(most)));
    assert!(most - least > 100, "{}: nothing is to be seen", file.display());
    grey.iter().map(|&value| f64::from(value)).sum::<f64>() / grey.len() as f64
}

fn asks_for_nothing(tab: &Tab<'_>) {
    picture(tab, "overview");
    tab.click("#list .row");
    tab.wait_for("document.querySelectorAll('#show canvas').length > 0");
    let (requests, errors) = tab.requests_and_errors();
    let elsewhere: Vec<&String> =
        requests.iter().filter(|url| !url.starts_with("file:") && !url.starts_with("data:")).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    let files = requests.iter().filter(|url| url.starts_with("file:")).count();
    assert_eq!(files, 1, "the page itself, and nothing beside it: {requests:?}");
    assert!(errors.is_empty(), "{errors:?}");
    // Had a text of a case become script, that would have run by now.
    assert_eq!(tab.eval("window.stolen === undefined"), json!(true));
}

fn matrix_chooses(tab: &Tab<'_>) {
    let heads = "[...document.querySelectorAll('#matrix tbody th')].map((head) => head.textContent)";
    let mut roles: Vec<&str> = handover::case::Role::ALL.iter().map(|role| role.as_str()).collect();
    roles.push("none");
    assert_eq!(tab.eval(heads), json!(roles));
    tab.click("#matrix button[data-pair='gbm vgem']");
    let chosen = sample::CASES_OF_A_PAIR;
    tab.wait_for(&format!("document.querySelector('#result').textContent.startsWith('{chosen} of')"));
    let pressed = "document.querySelector(\"#matrix button[data-pair='gbm vgem']\").getAttribute('aria-pressed')";
    assert_eq!(tab.eval(pressed), json!("true"));
    assert_eq!(
        tab.eval("document.querySelector('#list .row').getAttribute('aria-setsize')"),
        json!(chosen.to_string())
    );
    picture(tab, "matrix");
    tab.click("#clear");
    tab.wait_for(&format!("!document.querySelector('#result').textContent.startsWith('{chosen} of')"));
}

/// No column is hidden on a screen of a usual size; on a narrow one the heads of the rows stay where they are.
fn matrix_fits(tab: &Tab<'_>) {
    let columns = handover::case::Role::ALL.len() + 1;
    let seen = "(() => {
        const matrix = document.querySelector('#matrix');
        const { left } = matrix.getBoundingClientRect();
        const right = left + matrix.clientWidth;
        const heads = [...document.querySelectorAll('#matrix thead button')].map((head) => head.getBoundingClientRect());
        return heads.filter((head) => head.left >= left && head.right <= right && right <= innerWidth).length;
    })()";
    // On a low one the rows scroll, which takes some of the width.
    for (width, height) in [(1500, 900), (1280, 900), (1280, 600), (800, 900)] {
        tab.resize(width, height);
        assert_eq!(tab.eval(seen), json!(columns), "at {width}x{height} px");
        // A number that is cut off is worse than none.
        let cut = "[...document.querySelectorAll('#matrix td button')].filter((one) => \
                   one.scrollWidth > one.clientWidth).length";
        assert_eq!(tab.eval(cut), json!(0), "at {width}x{height} px");
    }
    tab.resize(400, 900);
    tab.eval("document.querySelector('#matrix').scrollLeft = 1000");
    let row_head = "document.querySelector('#matrix tbody th').getBoundingClientRect().left";
    assert!(tab.eval(row_head).as_f64().is_some_and(|left| (0.0..20.0).contains(&left)), "{}", tab.eval(row_head));
    let last = "document.querySelector('#matrix thead th:last-child').getBoundingClientRect().right <= innerWidth";
    assert_eq!(tab.eval(last), json!(true));
}

fn buffers(tab: &Tab<'_>) {
    tab.click("#matrix button[data-pair='gbm vgem']");
    tab.wait_for("document.querySelector('#show h2')?.textContent === 'gbm → vgem'");
    let cells = "[...document.querySelectorAll('table.buffers tbody tr')].map((row) => \
                 [0, 1, 2, 3, 4].map((at) => row.cells[at].textContent))";
    // Of 22 cases 14 pass, 4 are skipped, 4 show a known defect; all are about one buffer.
    assert_eq!(tab.eval(cells), json!([["XR24", "≈ known defect in some", "14", "4", "4"]]));
    let readout = "document.querySelector('#readout').textContent";
    assert!(tab.eval(readout).as_str().unwrap().starts_with("gbm → vgem"), "{}", tab.eval(readout));
    tab.click("table.buffers button.is-skip");
    tab.wait_for("document.querySelector('#result').textContent.startsWith('4 of')");
    // A case may be opened from here, and the way back leads to the pair.
    tab.click("#list .row");
    tab.wait_for("document.querySelector('#show .title') !== null");
    tab.press("Escape");
    tab.wait_for("document.querySelector('#show h2')?.textContent === 'gbm → vgem'");
}

fn faults(tab: &Tab<'_>) {
    let cells = "[...document.querySelectorAll('table.detection tbody tr')].map((row) => \
                 [0, 3, 4, 5, 6].map((at) => row.cells[at].textContent))";
    tab.wait_for("document.querySelectorAll('table.detection').length === 2");
    assert_eq!(tab.eval(cells), json!([["detected", "3", "2", "1", "1"], ["alarm", "3", "2", "0", "1"]]));
    let lost = "document.querySelectorAll('table.detection')[1].textContent.includes('is skipped, and is not without')";
    assert_eq!(tab.eval(lost), json!(true));
    let claims = "document.querySelector('#show').textContent.includes('1 of 2 claims have a fault that fails them.')";
    assert_eq!(tab.eval(claims), json!(true));
    assert_eq!(tab.eval("window.stolen === undefined"), json!(true));
}

fn overview_groups(tab: &Tab<'_>) {
    let heads = |class: &str| {
        let found = tab.eval(&format!(
            "[...document.querySelectorAll('#show details.{class} > summary')].map((one) => one.textContent).sort()"
        ));
        found.as_array().unwrap().iter().map(|head| head.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let each = handover::case::Role::ALL.len().pow(2) * 2;
    let known = heads("known");
    assert_eq!(known.len(), sample::FINDINGS.len(), "{known:?}");
    for finding in sample::FINDINGS {
        let is_there = |head: &String| head.replace(',', "") == format!("{each} × {finding}");
        assert!(known.iter().any(is_there), "{each} of {finding}: {known:?}");
    }
    let skipped = heads("skipped");
    assert!(skipped.len() == 1 && skipped[0].ends_with(&format!("(allowed: {})", sample::BECAUSE)), "{skipped:?}");
    // Some of each cell pass and some don't.
    let tones = tab.eval("document.querySelector(\"#matrix button[data-pair='gbm vgem']\").className");
    assert_eq!(tones, json!("good some-known some-skip"));
}

fn pixels(tab: &Tab<'_>) {
    tab.click("#list .row");
    tab.wait_for("document.querySelectorAll('#show .viewer canvas').length > 0");
    let title = tab.eval("document.querySelector('#show .title').textContent");
    assert!(title.as_str().unwrap().contains(sample::WRONG), "{title}");
    let sides = "[...document.querySelectorAll('#show .stage figcaption')].map((one) => one.textContent)";
    assert_eq!(tab.eval(sides), json!(["target", "actual", "diff"]));
    let values = "document.querySelector('#show .values').textContent";
    assert!(tab.eval(values).as_str().unwrap().contains("differs"));
    picture(tab, "pixels");

    tab.click("#show [data-tool='view flicker']");
    // Both are shown in turn by themselves.
    for turn in ["target", "actual", "target"] {
        tab.wait_for(&format!("document.querySelector('#show .turn')?.textContent === '{turn}'"));
    }
    tab.click("#show .swap");
    let turn = "document.querySelector('#show .turn').textContent";
    let held = tab.eval(turn);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(tab.eval(turn), held, "after a swap by hand it stands still");

    tab.click("#show [data-tool='view swipe']");
    let clip = "[...document.querySelectorAll('#show .stage canvas')].map((one) => one.style.clipPath).join('')";
    let middle = tab.eval(clip);
    assert!(middle.as_str().unwrap().contains("50%"), "{middle}");
    // The slider has the focus after a click, and moves by keys.
    tab.click("#show input[type=range]");
    let clicked = tab.eval(clip);
    tab.press("ArrowRight");
    assert_ne!(tab.eval(clip), clicked);
    picture(tab, "swipe");
}

fn keyboard(tab: &Tab<'_>) {
    let focus = |selector: &str| format!("document.activeElement?.matches({}) === true", json!(selector));
    tab.press("/");
    tab.wait_for(&focus("#search"));
    tab.write("::gbm_to_vgem");
    tab.wait_for(&format!(
        "document.querySelector('#result').textContent.startsWith('{} of')",
        sample::CASES_OF_A_PAIR
    ));
    tab.press("ArrowDown");
    tab.wait_for(&focus("#list .row"));
    let open = "new URLSearchParams(location.hash.slice(1)).get('case')";
    tab.press("Enter");
    tab.wait_for(&format!("{open} !== null"));
    let first = tab.eval(open);
    tab.press("j");
    tab.wait_for(&format!("{open} !== {first}"));
    tab.press("k");
    tab.wait_for(&format!("{open} === {first}"));
    tab.press("Escape");
    tab.wait_for(&format!("{open} === null"));
    // Single characters can be turned off, for those who speak in place of typing.
    let row = "document.querySelector('#list .row').focus()";
    let offered =
        "document.querySelector('#search').placeholder.includes('(/)') && !document.querySelector('#single').hidden";
    tab.wait_for(offered);
    tab.click("#letters");
    let nowhere =
        "!document.querySelector('#search').placeholder.includes('/') && document.querySelector('#single').hidden";
    tab.wait_for(nowhere);
    tab.eval(row);
    tab.press("j");
    assert_eq!(tab.eval(open), json!(null));
    tab.click("#letters");
    tab.wait_for(offered);
    tab.eval(row);
    tab.press("j");
    tab.wait_for(&format!("{open} !== null"));
    tab.press("Escape");
    tab.wait_for(&format!("{open} === null"));
    tab.eval("document.querySelector('#clear').focus()");
    tab.press("Enter");
    tab.wait_for("document.querySelector('#clear') === null");
    // Within the matrix arrows move, and the tab key leaves it.
    tab.eval("document.querySelector(\"#matrix button[data-pair='gpu_a gpu_a']\").focus()");
    tab.press("ArrowRight");
    tab.wait_for(&focus("#matrix button[data-pair='gpu_a gpu_b']"));
    tab.press("ArrowDown");
    tab.wait_for(&focus("#matrix button[data-pair='gpu_b gpu_b']"));
    tab.press("Tab");
    tab.wait_for("!document.activeElement.closest('#matrix')");
}

fn light_and_dark(tab: &Tab<'_>) {
    tab.prefer("light");
    let light = picture(tab, "light");
    tab.prefer("dark");
    let dark = picture(tab, "dark");
    assert!(light > 190.0 && dark < 70.0, "brightness of light {light:.0}, of dark {dark:.0}");
}

fn thousands(tab: &Tab<'_>) {
    let rows = "document.querySelectorAll('#list .row').length";
    let few =
        |count: serde_json::Value| assert!(count.as_u64().is_some_and(|count| (5..100).contains(&count)), "{count}");
    few(tab.eval(rows));
    let names = "[...document.querySelectorAll('#list .row .name')].map((name) => name.textContent)";
    let before = tab.eval(names);
    tab.eval("document.querySelector('#list .row').focus()");
    tab.press("End");
    let all = sample::cases();
    assert!(all > 3000, "{all}");
    tab.wait_for(&format!("document.activeElement?.getAttribute('aria-posinset') === '{all}'"));
    few(tab.eval(rows));
    assert_ne!(tab.eval(names), before);
}

fn address(tab: &Tab<'_>) {
    tab.eval(&format!("location.hash = '#case=' + encodeURIComponent({})", json!(sample::WRONG)));
    tab.wait_for("document.querySelector('#show .title') !== null");
    let title = tab.eval("document.querySelector('#show .title').textContent");
    assert!(title.as_str().unwrap().contains(sample::WRONG), "{title}");
    let selected = "document.querySelector('#list [aria-selected=true] .name').textContent";
    assert_eq!(tab.eval(selected), json!(sample::WRONG));
}
