//! What a page holds, what it leaves out, and what it does with texts that want to be more than texts.

use std::fs;
use std::time::Duration;

use flate2::read::ZlibDecoder;

use super::*;
use crate::case::MappingRecord;
use crate::dmabuf::Identity;
use crate::frame::{Plane, px};
use crate::observed::NotObservable;
use crate::placement::Placement;
use crate::report::samples;

const HOSTILE: &str = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)>";

fn page_of(cases: Vec<CaseReport>, folder: &Path, most_bytes: u64) -> Page {
    let written = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_000));
    let source = Source { folder: folder.to_owned(), link: String::new(), most_bytes, written };
    page(samples::report(cases), &source).unwrap()
}

/// The data in the element `id`, as a browser would cut it out and inflate it.
fn data(html: &str, id: &str) -> Value {
    let (_, behind) = html.split_once(&format!("id=\"{id}\">")).expect(id);
    let packed = BASE64.decode(behind.split_once("</script>").expect("an end").0).unwrap();
    serde_json::from_reader(ZlibDecoder::new(packed.as_slice())).unwrap()
}

/// Writes a file for each of `files`, and has `case` name them.
fn leave(case: &mut CaseReport, folder: &Path, place: &str, files: &[(&str, [u8; 300])]) {
    fs::create_dir_all(folder.join(place)).unwrap();
    for (name, contents) in files {
        let path = format!("{place}/{name}");
        fs::write(folder.join(&path), contents).unwrap();
        case.artifacts.push(path);
    }
}

#[test]
fn a_text_ends_no_element_and_begins_none() {
    let mut case = samples::case(&format!("a::{HOSTILE}"), Verdict::Fail);
    case.message = Some(HOSTILE.to_owned());
    case.kernel_log = vec![HOSTILE.to_owned()];
    let folder = tempfile::tempdir().unwrap();
    let calm = page_of(vec![samples::case("a::b_works", Verdict::Fail)], folder.path(), 0).html;
    let html = page_of(vec![case], folder.path(), 0).html;
    for tag in ["<script", "</script", "<!--", "<img"] {
        assert_eq!(html.matches(tag).count(), calm.matches(tag).count(), "{tag}");
    }
    assert_eq!(data(&html, "cases-0")[0]["kernel_log"][0], HOSTILE);
    assert_eq!(data(&html, "run")["cases"][0]["line"], HOSTILE);
}

#[test]
fn the_policy_allows_this_script_alone() {
    let html = page_of(vec![], Path::new("/"), 0).html;
    let (_, script) = html.split_once("<script>").unwrap();
    let script = script.split_once("</script>").unwrap().0;
    let (_, style) = html.split_once("<style>").unwrap();
    let style = style.split_once("</style>").unwrap().0;
    let (_, policy) = html.split_once("Content-Security-Policy\" content=\"").unwrap();
    let policy = policy.split_once('"').unwrap().0;
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(policy.contains(&format!("script-src '{}'", digest(script))), "{policy}");
    assert!(policy.contains(&format!("style-src '{}'", digest(style))), "{policy}");
}

#[test]
fn nothing_is_fetched_from_elsewhere() {
    let html = page_of(vec![], Path::new("/"), 0).html;
    let without_namespaces = html.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "src=\"", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML"] {
        assert!(!without_namespaces.contains(outside), "{outside}");
    }
}

#[test]
fn no_placeholder_is_left_and_none_of_a_report_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    let html = page_of(vec![samples::case("a::{{script}}", Verdict::Pass)], folder.path(), 0).html;
    assert_eq!(html.matches("{{").count(), 0);
    assert_eq!(filled("a {{b}} c", &[("b", "{{d}}"), ("d", "e")]), "a {{d}} c");
}

#[test]
fn files_are_embedded_up_to_the_limit_and_those_of_failures_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![samples::case("a::b_works", Verdict::Pass), samples::case("a::c_works", Verdict::Fail)];
    leave(&mut cases[0], folder.path(), "cases/b/cpu", &[("actual.png", [1; 300]), ("target.png", [2; 300])]);
    leave(&mut cases[1], folder.path(), "cases/c/cpu", &[("actual.png", [3; 300]), ("target.png", [4; 300])]);
    // Each is 400 B in base64, so there is room for three of four; a pair is not torn apart.
    let page = page_of(cases, folder.path(), 1200);
    assert_eq!((page.embedded, page.left_out), (2, 2));
    let cases = data(&page.html, "cases-0");
    assert_eq!(cases[1]["artifacts"][0]["file"], 0);
    assert!(page.html.contains(&format!("id=\"file-0\">{}</script>", BASE64.encode([3; 300]))));
    let why = cases[0]["artifacts"][1]["why"].to_string();
    assert!(why.contains("at most"), "{why}");
    let shown: Vec<_> = [0, 1].map(|at| data(&page.html, "run")["cases"][at]["files"].clone()).into();
    assert_eq!(shown, [0, 2]);
}

#[test]
fn every_claim_that_fails_has_its_pictures_before_one_has_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = ["a::b::1", "a::b::2", "a::c"].map(|name| samples::case(name, Verdict::Fail)).to_vec();
    for (n, case) in cases.iter_mut().enumerate() {
        leave(case, folder.path(), &format!("cases/{n}/cpu"), &[("actual.png", [n as u8; 300])]);
    }
    let run = data(&page_of(cases, folder.path(), 800).html, "run");
    assert_eq!([0, 1, 2].map(|at| run["cases"][at]["files"].clone()), [json!(1), json!(0), json!(1)]);
}

#[test]
fn what_many_cases_left_alike_is_there_once_and_of_a_known_defect_that_is_all_but_two() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = [[1; 300], [1; 300], [2; 300], [3; 300], [2; 300]];
    let mut cases = pictures.map(|_| samples::case("a::b", Verdict::Known)).to_vec();
    for (n, (case, contents)) in cases.iter_mut().zip(pictures).enumerate() {
        case.name = format!("a::b::{n}");
        case.reason = Some("cases/findings/one.md".to_owned());
        let both = [("actual.png", contents), ("target.png", [9; 300])];
        leave(case, folder.path(), &format!("cases/{n}/cpu"), &both);
    }
    let page = page_of(cases.clone(), folder.path(), 1 << 20);
    // The fourth is the third picture of one defect; the fifth costs nothing.
    assert_eq!((page.embedded, page.left_out), (3, 2));
    let told = data(&page.html, "cases-0");
    let files = [0, 1, 2, 3, 4].map(|at| told[at]["artifacts"][0]["file"].clone());
    assert_eq!(files, [json!(0), json!(0), json!(2), Value::Null, json!(2)]);
    let why = told[3]["artifacts"][0]["why"].as_str().unwrap();
    assert!(why.contains("of a known defect"), "{why}");
    cases.iter_mut().for_each(|case| case.verdict = Verdict::Fail);
    assert_eq!(page_of(cases, folder.path(), 1 << 20).left_out, 0, "a failure may be of another kind each time");
}

#[test]
fn thousands_of_cases_that_say_much_the_same_are_a_small_page() {
    let case = |n: usize| {
        let mut case = samples::case(&format!("matrix::arrives::gpu_a_to_screen::XR24_{n}"), Verdict::Pass);
        case.record.facts =
            (0..20).map(|row| (format!("row {row}"), format!("said by a driver, {} times", n % 7))).collect();
        case
    };
    let cases: Vec<_> = (0..5000).map(case).collect();
    let alone = serde_json::to_vec(&cases).unwrap().len();
    let html = page_of(cases, Path::new("/"), 0).html;
    let frame = page_of(vec![], Path::new("/"), 0).html.len();
    let data_of_cases = html.len() - frame;
    assert!(data_of_cases * 10 < alone, "{data_of_cases} B in the page, {alone} B in report.json");
    // None is lost between the pieces.
    let last = data(&html, &format!("cases-{}", 4999 / CASES_OF_A_PIECE));
    assert_eq!(last[4999 % CASES_OF_A_PIECE]["name"], "matrix::arrives::gpu_a_to_screen::XR24_4999");
}

#[test]
fn a_file_that_is_not_there_or_none_of_the_reports_is_named_with_the_reason() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.png");
    fs::write(&secret, "secret").unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("log.txt"), "text").unwrap();
    std::os::unix::fs::symlink(&secret, folder.path().join("link.png")).unwrap();
    let paths = ["gone.png", "../secret.png", secret.to_str().unwrap(), "link.png", "log.txt"];
    let mut case = samples::case("a::b_works", Verdict::Fail);
    case.artifacts = paths.map(str::to_owned).to_vec();
    let page = page_of(vec![case], folder.path(), 1 << 20);
    assert_eq!((page.embedded, page.left_out), (0, 5));
    let details = &data(&page.html, "cases-0")[0];
    for (at, expected) in ["No such file", "leads out", "leads out", "leads out", "PNG and SVG"].into_iter().enumerate()
    {
        let artifact = &details["artifacts"][at];
        assert!(artifact["why"].as_str().unwrap().contains(expected), "{artifact}");
    }
}

#[test]
fn large_integers_stay_exact() {
    let mut value = json!({ "none": u64::MAX, "some": LARGEST_EXACT, "less": -1, "part": 0.5 });
    keep_exact(&mut value);
    let expected = json!({ "none": "18446744073709551615", "some": 9007199254740991_u64, "less": -1, "part": 0.5 });
    assert_eq!(value, expected);
}

#[test]
fn a_case_that_mapped_nothing_is_about_the_formats_in_its_name() {
    let formats = |name: &str| buffers(&samples::case(name, Verdict::Skip));
    assert_eq!(formats("a::shows::gpu_a::XB4H"), ["XB4H"]);
    assert_eq!(formats("a::shows::NV12_linear_by_24"), ["NV12"]);
    assert!(formats("a::shows::every_size::17x31").is_empty());
}

#[test]
fn a_case_is_about_the_formats_in_its_name_and_not_about_what_it_mapped_beside() {
    let mapping = |fourcc: &str| -> MappingRecord {
        let frame = Frame::linear(fourcc.parse().unwrap(), px(64, 64), Plane { offset: 0, pitch: 256 });
        MappingRecord {
            device: "screen".into(),
            access: "read".into(),
            generation: 1,
            times: 1,
            stalled_ms: 0.0,
            placement: Placement {
                device: "screen".into(),
                kernel_device: None,
                buffer: Identity { inode: 1, exporter: Some("vgem".into()), size: 65536 },
                frame,
                heap: None,
                memory: None,
                segments: Err(NotObservable("it is made up".into())),
                mapped_by_cpu: false,
            },
            unchecked: vec![],
        }
    };
    let buffers_of = |name: &str, mapped: &[&str]| {
        let mut case = samples::case(name, Verdict::Pass);
        case.record.mappings = mapped.iter().map(|fourcc| mapping(fourcc)).collect();
        buffers(&case)
    };
    assert_eq!(buffers_of("matrix::arrives::gles_to_overlay::AB24_64x64", &["XR24", "AB24"]), ["AB24 LINEAR"]);
    assert_eq!(buffers_of("matrix::every_common_modifier_arrives::gbm_to_gbm", &["XR24"]), ["XR24 LINEAR"]);
    // Its planes crossed one by one, as frames of other formats.
    assert_eq!(buffers_of("yuv::planes_arrive_one_by_one::gpu_a::NV12", &["R8"]), ["R8 LINEAR"]);
}

#[test]
fn a_page_elsewhere_finds_the_files_of_its_report() {
    for (from, to, expected) in [
        ("/a/report", "/a/report", ""),
        ("/a", "/a/report", "report/"),
        ("/a/b", "/a/report", "../report/"),
        ("/", "/a", "a/"),
    ] {
        assert_eq!(link(Path::new(from), Path::new(to)), expected, "{from} {to}");
    }
}

#[test]
fn a_page_knows_how_wide_the_channels_of_a_format_are() {
    let html = page_of(vec![], Path::new("/"), 0).html;
    let full = &data(&html, "run")["full"];
    assert_eq!(full["RG16"], json!([31, 63, 31, null]));
    assert_eq!(full["AB30"], json!([1023, 1023, 1023, 3]));
    // Half floats are clamped and rounded in an image, so there is no way back.
    assert_eq!(full["AB4H"], Value::Null);
}

#[test]
fn the_table_of_faults_is_in_the_page_if_it_lies_beside_the_report() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(data(&page_of(vec![], folder.path(), 0).html, "run")["detection"], Value::Null);
    let table = detection::Table::of(vec![], vec![HOSTILE.to_owned()], 7, false);
    fs::write(folder.path().join(detection::FILE), serde_json::to_vec(&table).unwrap()).unwrap();
    let html = page_of(vec![], folder.path(), 0).html;
    assert_eq!(data(&html, "run")["detection"]["red_without"][0], HOSTILE);
    fs::write(folder.path().join(detection::FILE), r#"{"schema":99}"#).unwrap();
    let page = page_of(vec![], folder.path(), 0);
    let why = page.no_table.unwrap();
    assert!(why.contains("its schema is 99"), "{why}");
    assert_eq!(data(&page.html, "run")["detection"], json!({ "missing": why }));
}
