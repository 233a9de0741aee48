//! When a picture matches its golden, when it becomes one, and what is said of those that do neither.

use super::*;
use crate::format::Fourcc;
use crate::frame::px;
use crate::pattern::Pattern;

const CASE: &str = "render::triangle_is_sharp::xr24_31x17";

fn picture(stamp: u32) -> Picture {
    Pattern { stamp }.picture(Fourcc::XR24, px(31, 17)).expect("known format")
}

fn blessing() -> Blessing<'static> {
    let origin = Origin { driver: "llvmpipe".into(), version: "Mesa 26.1.6".into(), date: "2026-05-04".into() };
    Blessing { origin, reference_driver: "llvmpipe", in_ci: false }
}

/// An empty folder of goldens that lives as long as the first.
fn goldens() -> (tempfile::TempDir, Goldens) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let goldens = Goldens::at(folder.path().join("golden"));
    (folder, goldens)
}

/// The error's text with the temporary folder taken out.
fn text<T: std::fmt::Debug>(folder: &tempfile::TempDir, result: Result<T>) -> String {
    let folder = folder.path().display().to_string();
    result.expect_err("refused").to_string().replace(&folder, "")
}

fn files(goldens: &Goldens) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if goldens.root.exists() {
        walk(&goldens.root, &mut files).expect("readable");
    }
    let mut names: Vec<PathBuf> =
        files.into_iter().map(|(path, _)| path.strip_prefix(&goldens.root).expect("inside").to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_blessed_picture_matches_and_says_its_origin() {
    let (_folder, goldens) = goldens();
    goldens.bless(CASE, &picture(1), &blessing()).expect("blessed");
    assert!(goldens.check(CASE, &picture(1), &Tolerance::Exact).expect("readable").is_none());
    assert_eq!(files(&goldens), [Path::new(ORIGIN), Path::new("render/triangle_is_sharp/xr24_31x17.png")]);
    let list = fs::read_to_string(goldens.root.join(ORIGIN)).expect("written");
    insta::assert_snapshot!(list);

    goldens.bless("render::line_is_thin::v1.2", &picture(2), &blessing()).expect("blessed");
    assert_eq!(goldens.origins().expect("readable").len(), 2, "the first origin is kept");
    assert!(goldens.root.join("render/line_is_thin/v1.2.png").exists());
}

#[test]
fn a_mismatch_reports_numbers_flip_and_origin() {
    let (folder, goldens) = goldens();
    goldens.bless(CASE, &picture(1), &blessing()).expect("blessed");
    let mut actual = picture(1);
    actual.bytes[400] ^= 0x80;
    let mismatch = goldens.check(CASE, &actual, &Tolerance::Exact).expect("readable").expect("differs");
    assert_eq!(mismatch.target.size, actual.size);
    assert!(mismatch.flip_mean > 0.0 && mismatch.flip_mean < 0.1, "{}", mismatch.flip_mean);
    let finding = mismatch.finding("gpu_a no longer renders its golden").to_string();
    insta::assert_snapshot!(finding.replace(&folder.path().display().to_string(), ""));
}

#[test]
fn flip_is_zero_for_equal_pictures_and_large_for_others() {
    assert_eq!(flip_mean(&picture(1), &picture(1)).expect("comparable"), 0.0);
    assert!(flip_mean(&picture(1), &picture(2)).expect("comparable") > 0.1);
    let one = |stamp| Pattern { stamp }.picture(Fourcc::AR24, px(1, 1)).expect("known format");
    assert!(flip_mean(&one(1), &one(2)).expect("comparable").is_finite());
}

#[test]
fn what_is_no_usable_golden_fails_with_what_to_do() {
    let (folder, goldens) = goldens();
    let mut texts = vec![text(&folder, goldens.check(CASE, &picture(1), &Tolerance::Exact))];
    let path = goldens.bless(CASE, &picture(1), &blessing()).expect("blessed");

    let wider = Pattern { stamp: 1 }.picture(Fourcc::XR24, px(32, 17)).expect("known format");
    texts.push(text(&folder, goldens.check(CASE, &wider, &Tolerance::Exact)));
    let other = Pattern { stamp: 1 }.picture(Fourcc::XB24, px(31, 17)).expect("known format");
    texts.push(text(&folder, goldens.check(CASE, &other, &Tolerance::Exact)));

    let whole = fs::read(&path).expect("written");
    fs::write(&path, &whole[..whole.len() / 2]).expect("writable");
    texts.push(text(&folder, goldens.check(CASE, &picture(1), &Tolerance::Exact)));
    fs::write(&path, b"version https://git-lfs.example/spec/v1").expect("writable");
    texts.push(text(&folder, goldens.check(CASE, &picture(1), &Tolerance::Exact)));
    fs::write(&path, vec![0; LARGEST_FILE as usize + 1]).expect("writable");
    texts.push(text(&folder, goldens.check(CASE, &picture(1), &Tolerance::Exact)));
    for name in ["render", "render::", "../render::x", "render::a/b", "render::..::x", "render::é"] {
        texts.push(text(&folder, goldens.check(name, &picture(1), &Tolerance::Exact)));
    }
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn a_refused_blessing_writes_nothing() {
    let (folder, goldens) = goldens();
    let mut texts = Vec::new();
    let in_ci = Blessing { in_ci: true, ..blessing() };
    texts.push(text(&folder, goldens.bless(CASE, &picture(1), &in_ci)));
    let mut other_driver = blessing();
    other_driver.origin.driver = "lavapipe shim".into();
    texts.push(text(&folder, goldens.bless(CASE, &picture(1), &other_driver)));
    let noise = Pattern { stamp: 1 }.picture(Fourcc::AR24, px(200, 200)).expect("known format");
    texts.push(text(&folder, goldens.bless(CASE, &noise, &blessing())));
    let half = Pattern { stamp: 1 }.picture(Fourcc::AB4H, px(8, 8)).expect("known format");
    texts.push(text(&folder, goldens.bless(CASE, &half, &blessing())));
    assert!(files(&goldens).is_empty());

    fs::create_dir_all(&goldens.root).expect("writable");
    fs::write(goldens.root.join(ORIGIN), "[\"render::x\"]\ndriver = 3\n").expect("writable");
    texts.push(text(&folder, goldens.bless(CASE, &picture(1), &blessing())));
    assert_eq!(files(&goldens), [Path::new(ORIGIN)]);
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn what_no_case_knows_is_dead() {
    let (_folder, goldens) = goldens();
    assert!(goldens.dead([CASE]).expect("no folder is an empty folder").is_empty());
    goldens.bless(CASE, &picture(1), &blessing()).expect("blessed");
    goldens.bless("render::gone::xr24", &picture(1), &blessing()).expect("blessed");
    let lost = goldens.bless("render::lost::xr24", &picture(1), &blessing()).expect("blessed");
    fs::remove_file(lost).expect("there");
    fs::write(goldens.root.join("render/notes.txt"), "notes").expect("writable");
    fs::write(goldens.root.join("render/large.png"), vec![0; LARGEST_FILE as usize + 1]).expect("writable");
    let dead = goldens.dead([CASE, "render::lost::xr24", "render::large"]).expect("readable");
    insta::assert_snapshot!(dead.join("\n"));
}

#[test]
fn dates_follow_the_calendar() {
    for (days, text) in [(0, "1970-01-01"), (58, "1970-02-28"), (59, "1970-03-01"), (364, "1970-12-31")] {
        assert_eq!(date(days), text);
    }
    for (days, text) in [(11016, "2000-02-29"), (11017, "2000-03-01"), (20577, "2026-05-04"), (47540, "2100-02-28")] {
        assert_eq!(date(days), text);
    }
    assert_eq!(date(47541), "2100-03-01");
    assert_eq!(Origin::today("a", "b").date.len(), 10);
}
