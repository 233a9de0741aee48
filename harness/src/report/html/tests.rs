//! What a page holds, what it leaves out, and what it does with texts that want to be more than texts.

use std::fs;
use std::time::Duration;

use super::*;
use crate::report::samples;

const HOSTILE: &str = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)>";

fn page_of(cases: Vec<CaseReport>, folder: &Path, most_bytes: u64) -> Page {
    let written = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_000));
    let source = Source { folder: folder.to_owned(), link: String::new(), most_bytes, written };
    page(samples::report(cases), &source).unwrap()
}

/// The data in the element `id`, as a browser would cut it out.
fn data(html: &str, id: &str) -> Value {
    let (_, behind) = html.split_once(&format!("id=\"{id}\">")).expect(id);
    serde_json::from_str(behind.split_once("</script>").expect("an end").0).unwrap()
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
    assert_eq!(data(&html, "case-0")["kernel_log"][0], HOSTILE);
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
    assert_eq!(html.matches("{{").count(), html.matches("a::{{script}}").count());
}

#[test]
fn files_are_embedded_up_to_the_limit_and_those_of_failures_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![samples::case("a::b_works", Verdict::Pass), samples::case("a::c_works", Verdict::Fail)];
    for (case, place) in cases.iter_mut().zip(["cases/b/cpu", "cases/c/cpu"]) {
        fs::create_dir_all(folder.path().join(place)).unwrap();
        for name in ["actual.png", "target.png"] {
            let path = format!("{place}/{name}");
            fs::write(folder.path().join(&path), [7; 300]).unwrap();
            case.artifacts.push(path);
        }
    }
    // Each is 400 B in base64, so there is room for three of four; a pair is not torn apart.
    let page = page_of(cases, folder.path(), 1200);
    assert_eq!((page.embedded, page.left_out), (2, 2));
    assert_eq!(data(&page.html, "case-1")["artifacts"][0]["file"], 0);
    assert!(page.html.contains(&format!("id=\"file-0\">{}</script>", BASE64.encode([7; 300]))));
    let why = data(&page.html, "case-0")["artifacts"][1]["why"].to_string();
    assert!(why.contains("at most"), "{why}");
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
    let details = data(&page.html, "case-0");
    for (at, expected) in ["No such file", "leads out", "leads out", "leads out", "PNG and SVG"].into_iter().enumerate()
    {
        let artifact = &details["artifacts"][at];
        assert!(artifact["why"].as_str().unwrap().contains(expected), "{artifact}");
    }
}

#[test]
fn large_integers_stay_exact() {
    let text = inert_json(json!({ "none": u64::MAX, "some": LARGEST_EXACT, "less": -1, "part": 0.5 })).unwrap();
    assert_eq!(text, r#"{"less":-1,"none":"18446744073709551615","part":0.5,"some":9007199254740991}"#);
}

#[test]
fn a_case_that_mapped_nothing_is_about_the_formats_in_its_name() {
    let formats = |name: &str| buffers(&samples::case(name, Verdict::Skip));
    assert_eq!(formats("a::shows::gpu_a::XB4H"), ["XB4H"]);
    assert_eq!(formats("a::shows::NV12_linear_by_24"), ["NV12"]);
    assert!(formats("a::shows::every_size::17x31").is_empty());
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
