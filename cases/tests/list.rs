//! Is the list of cases in order, and do the files that speak of cases speak of those there are?
//!
//! Names only: no body runs and no device is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use handover::case::{CaseInfo, Cases, Extent, Role};
use handover::detection::Killers;
use handover::golden::Goldens;
use handover::lane::{Lane, On, alternatives, glob};
use handover::report::Machine;
use handover::reproduction::finding_of;
use handover_cases::REPRODUCTIONS;
use handover_faults::Kind;

/// Every family together has at least so many; fewer means that one was not registered, or lost most of what it varies.
const FEWEST: usize = 4_700;

/// So many families there are, at least.
const FAMILIES: usize = 22;

fn names() -> Vec<String> {
    let cases = Cases::collect(handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    cases.into_iter().map(|case| case.info.name).collect()
}

#[test]
fn the_list_is_valid_and_whole() {
    let names = names();
    assert!(names.len() >= FEWEST, "{} cases, not {FEWEST}", names.len());
    let families: BTreeSet<&str> = names.iter().filter_map(|name| name.split("::").next()).collect();
    assert!(families.len() >= FAMILIES, "{} families, not {FAMILIES}: {families:?}", families.len());
}

#[test]
fn no_golden_is_dead() {
    let names = names();
    let dead = Goldens::open().dead(names.iter().map(String::as_str)).unwrap();
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

/// The lanes that come with Handover, of which there is more than one.
fn lanes() -> Vec<Lane> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/lanes");
    let files = std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    let lanes: Vec<Lane> = files.map(|file| Lane::read(&file).unwrap_or_else(|error| panic!("{error}"))).collect();
    assert!(lanes.len() > 1, "{lanes:?}");
    lanes
}

#[test]
fn lanes_name_cases_that_exist_and_roles_that_some_case_has() {
    let cases = Cases::collect(handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = cases.iter().map(|case| case.info.name.as_str()).collect();
    let roles: BTreeSet<Role> = cases.iter().flat_map(|case| case.info.roles()).collect();
    for lane in lanes() {
        lane.check_patterns(&names).unwrap_or_else(|error| panic!("{error}"));
        let played = lane.devices.keys().all(|role| roles.contains(role));
        assert!(played && !lane.devices.is_empty(), "{}: no case has one of the roles {:?}", lane.name, lane.devices);
    }
}

/// Whoever reads a lane learns why a skip is as it should be, and no reason fits everything.
#[test]
fn lanes_say_why_a_skip_is_allowed() {
    for lane in lanes() {
        let without: Vec<&String> =
            lane.may_skip.iter().filter(|skip| skip.because.trim().is_empty()).map(|skip| &skip.case).collect();
        assert!(without.is_empty(), "{}: no `because` for {without:?}", lane.name);
        assert!(lane.may_skip.iter().all(|skip| skip.reason.trim().len() > 4), "{}: a reason fits too much", lane.name);
    }
}

/// Skips that were seen on a machine with vkms and software drivers, without vivid and its like and without dma-heaps: each kind
/// of them.
const WITHOUT_TEST_DRIVERS: [(&str, &str); 20] = [
    (
        "matrix::arrives::gpu_a_to_video::XR24_64x64",
        "needs video; opening a video loop on any device: nothing here loops frames; a device whose capture sees its output",
    ),
    ("matrix::arrives::gpu_a_to_dma_video::XR24_64x64", "needs dma_video; listing video nodes on /dev: no /dev/video*"),
    (
        "matrix::arrives::gpu_a_to_planar_video::XR24_64x64",
        "needs planar_video; opening a video loop on any device: nothing here loops frames; a device whose",
    ),
    ("matrix::arrives::gpu_a_to_converter::RG16_64x64", "needs converter; listing video nodes on /dev: no /dev/video*"),
    (
        "formats::what_is_listed_is_known_or_named::codec",
        "needs codec; opening a codec on /dev/video*: no two video nodes make and take the same streams",
    ),
    (
        "pipe::no_frame_is_lost_when_a_stricter_device_attaches",
        "opening a video loop on any device: nothing here loops frames; a device whose capture sees its output",
    ),
    ("heaps::gives_what_was_asked_for::expbuf", "listing video nodes on /dev: no /dev/video*: no V4L2 driver"),
    (
        "matrix::arrives::dma_heap_to_gpu_a::XR24_64x64",
        "needs dma_heap; listing dma-heaps on /dev/dma_heap: no dma-heap",
    ),
    ("kernel::allocates_at_export::system_heap", "no importer of this machine maps a scatter list"),
    ("kernel::allocates_at_export::contiguous_expbuf", "this machine has no heap for contiguous_expbuf"),
    ("sharing::contents_survive_a_move::udmabuf_to_contiguous", "no heap of this machine has contiguous memory"),
    ("pool::a_fixed_set_is_there_at_once::contiguous", "no expbuf heap here is what this needs"),
    (
        "matrix::comes_back::screen_to_gpu_a::XR24_250x130",
        "llvmpipe draws with pitches of multiples of 16 B, and not of 1000",
    ),
    ("matrix::arrives::udmabuf_to_gpu_b::Y210_64x64", "gpu_b can't take it in: it does not copy from Y210 LINEAR"),
    ("yuv::converts_what_it_lists::gles::P210", "needs gles that imports P210; it does not list P210 for import"),
    ("yuv::passes_through_a_gpu::gpu_a::NV12", "needs gpu_a that imports NV12; it refuses NV12 LINEAR as dma-buf"),
    (
        "ownership::a_failed_import_leaves_the_fd::without_memory::gles",
        "no allocation of the kernel's that fails makes an import fail",
    ),
    ("ownership::what_is_exported_as_dma_buf_is_one::gpu_b::buffer_for_dma_buf_and_opaque_fd", "at the same time"),
    ("fences::fences_cross_as_opaque_fds::gpu_a::permanent", "fences are not EXPORTABLE | IMPORTABLE as OPAQUE_FD"),
    (
        "fences::what_a_gpu_draws_is_waited_for_in_the_buffer::gpu_a",
        "the driver has its work done before it exports the fence",
    ),
];

/// Of the same kind, of a screen that is there.
const SCREEN_LACKS: [(&str, &str); 2] = [
    (
        "screen::shows_what_the_cpu_wrote::XR30",
        "needs screen that imports XR30; its lowest plane does not list XR30 LINEAR",
    ),
    (
        "matrix::arrives::gpu_a_to_overlay::AB4H_64x64",
        "overlay can't take it in: its overlay plane does not list AB4H LINEAR",
    ),
];

/// The same on a machine without any card.
const WITHOUT_CARDS: [(&str, &str); 6] = [
    (
        "screen::shows_what_the_cpu_wrote::XR24",
        "needs screen; opening a screen on any driver: /dev/dri has no card node",
    ),
    (
        "planes::both_format_lists_agree::cursor",
        "needs cursor; opening a screen on any driver: /dev/dri has no card node",
    ),
    (
        "matrix::arrives::gpu_a_to_vgem::XR24_64x64",
        "needs vgem; listing cards on dumb buffers: /dev/dri has no card node",
    ),
    (
        "matrix::arrives::gpu_a_to_gbm::XR24_64x64",
        "needs gbm; listing DRM nodes on /dev/dri: no kernel graphics driver",
    ),
    ("gles::samples_on_gbm::card::plain::XR24", "listing DRM nodes on /dev/dri: no kernel graphics driver"),
    ("kernel::attach_allocates_nothing::system_heap", "no importer of this machine attaches only"),
];

/// What hardware may refuse: made up from what the harness says then, since no such machine was at hand.
const OF_HARDWARE: [(&str, &str); 10] = [
    (
        "render::is_shown_by_the_screen::confetti",
        "rendering a scene on gpu_a, AR24 LINEAR, 256x256 px: the device does not blend into such images",
    ),
    (
        "matrix::arrives::udmabuf_to_gpu_a::AR24_64x64_padded_dedicated_elsewhere",
        "gpu_a can't work with the memory as it is, and it can't move: takes multiples of 256 B as pitch, plane 0 has 320 B",
    ),
    (
        "matrix::arrives::udmabuf_to_gles::NV21_250x130_padded_behind_gaps_imported_first_fd_per_plane",
        "eglCreateImage(EGL_LINUX_DMA_BUF_EXT) failed: EGL_BAD_ACCESS",
    ),
    (
        "matrix::arrives::udmabuf_to_gbm::AB24_250x130_padded_behind_imported_first",
        "gbm_bo_import(GBM_BO_IMPORT_FD_MODIFIER) failed: EINVAL",
    ),
    (
        "matrix::arrives::gbm_to_cpu::AB48_64x64",
        "gbm can't hand it out: gbm_device_is_format_supported says no to AB48 LINEAR",
    ),
    (
        "matrix::every_common_modifier_arrives::gpu_a_to_gles",
        "3 of 40 frames in common modifiers were not tried: 3 more, since 20 of the 30 s are over that --timeout gives a case",
    ),
    (
        "matrix::arrives::gles_to_gbm::AB24_64x64",
        "cpu can't work with the memory as it is, and it can't move: takes no AB24 INTEL:0x0100000000000002",
    ),
    (
        "queries::a_layout_query_tells_an_explicit_offset::gpu_a",
        "vkCreateImage failed: VK_ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT",
    ),
    (
        "matrix::arrives::gpu_a_to_cpu::AB24_250x130_padded_behind_exported_first",
        "VK_ERROR_INVALID_DRM_FORMAT_MODIFIER_PLANE_LAYOUT_EXT",
    ),
    ("screen::shows_what_the_cpu_wrote::XR24", "screen takes memory of none of the heaps: udmabuf"),
];

/// A machine that has what its lane names need not have what only test drivers have, and its hardware may have needs.
#[test]
fn lanes_of_hosts_allow_what_hosts_lack() {
    let names = names();
    for lane in lanes().iter().filter(|lane| lane.on == On::Host) {
        let other = if lane.devices.contains_key(&Role::Screen) { &SCREEN_LACKS[..] } else { &WITHOUT_CARDS };
        for (case, reason) in WITHOUT_TEST_DRIVERS.iter().chain(other).chain(&OF_HARDWARE) {
            assert!(names.iter().any(|name| name == case), "{case} is no case");
            assert!(lane.allows_skip(case, reason).is_some(), "{}: {case}: {reason}", lane.name);
            let must = lane.must_run.iter().find(|pattern| glob(pattern, case));
            assert!(must.is_none(), "{}: {must:?} must run, and {case} may skip: {reason}", lane.name);
        }
    }
}

/// What must run needs no device that may be missing.
#[test]
fn lanes_of_hosts_have_the_devices_of_what_must_run() {
    let cases = Cases::collect(handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    for lane in lanes().iter().filter(|lane| lane.on == On::Host) {
        let must = |name: &str| lane.must_run.iter().any(|pattern| glob(pattern, name));
        for case in cases.iter().map(|case| &case.info).filter(|case| must(&case.name)) {
            let missing = case.roles().into_iter().find(|role| {
                let needs = format!("needs {role};");
                lane.allows_skip(&case.name, &needs).is_some()
            });
            assert_eq!(missing, None, "{}: {} must run, and this may be missing", lane.name, case.name);
        }
    }
}

/// Where no driver answers, no lane is content.
#[test]
fn no_lane_is_green_without_its_devices() {
    for lane in lanes() {
        let problems = lane.judge_devices(&Machine::default(), true);
        assert_eq!(problems.len(), lane.devices.len(), "{}: {problems:?}", lane.name);
    }
}

#[test]
fn every_finding_has_a_program_that_shows_it() {
    let cases = Cases::collect(handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    let known = cases.iter().flat_map(|case| &case.info.known).filter_map(|known| finding_of(&known.url));
    let known: BTreeSet<&str> = known.collect();
    let shown: BTreeSet<&str> = REPRODUCTIONS.iter().map(|one| one.finding).collect();
    assert_eq!(known, shown, "left: what cases name; right: the list in cases/src/findings.rs");
}

#[test]
fn the_covering_set_is_a_part_of_everything() {
    let all = Cases::collect_to(Extent::Exhaustive, handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    let all: BTreeSet<String> = all.into_iter().map(|case| case.info.name).collect();
    let names = names();
    let missing: Vec<&String> = names.iter().filter(|name| !all.contains(*name)).collect();
    assert!(
        missing.is_empty() && all.len() > 2 * names.len(),
        "{} cases, {} of them: {missing:?}",
        names.len(),
        all.len()
    );
}

/// A claim to see a fault names one that exists and that is to be seen; and whatever is to be seen somebody claims to see.
#[test]
fn claims_and_faults_name_each_other() {
    let cases = Cases::collect(handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    let claimed: BTreeSet<&str> =
        cases.iter().flat_map(|case| &case.info.must_fail_under).map(|fault| fault.0.as_str()).collect();
    let to_be_seen = || handover_faults::all().filter(|fault| fault.kind == Kind::Fault);
    let unknown: Vec<&&str> = claimed.iter().filter(|name| !to_be_seen().any(|fault| fault.name == **name)).collect();
    assert!(unknown.is_empty(), "cases claim to see what is no fault: {unknown:?}");
    let unclaimed = to_be_seen().filter(|fault| fault.gap.is_none() && !claimed.contains(fault.name));
    let unclaimed: Vec<&str> = unclaimed.map(|fault| fault.name).collect();
    assert!(unclaimed.is_empty(), "no case claims to see {unclaimed:?}");
}

/// A claim that nothing can fail says nothing: each has a fault that fails a case of it, or fails already by a defect that is
/// listed.
#[test]
fn every_claim_has_a_fault_that_fails_it() {
    let cases = Cases::collect(handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    let killers = Killers::of(cases.iter().map(|case| &case.info));
    assert!(killers.problems().is_empty(), "{}", killers.problems().join("\n"));
    assert!(killers.by_fault > 300, "{killers:?}");
}

/// The table of the findings names the cases that have each, all of them and no others.
#[test]
fn the_table_of_findings_names_their_cases() {
    let cases = Cases::collect(handover_cases::register).unwrap_or_else(|error| panic!("{error}"));
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings/README.md");
    let table = std::fs::read_to_string(table).expect("readable");
    let rows: BTreeMap<&str, Vec<String>> = table.lines().filter_map(row).collect();
    let mut wrong = Vec::new();
    for one in REPRODUCTIONS {
        let Some(patterns) = rows.get(one.finding) else {
            wrong.push(format!("{}: no row", one.finding));
            continue;
        };
        let has = |case: &CaseInfo| case.known.iter().any(|known| finding_of(&known.url) == Some(one.finding));
        let infos = cases.iter().map(|case| &case.info);
        for case in infos.filter(|case| has(case) != patterns.iter().any(|pattern| glob(pattern, &case.name))) {
            wrong.push(format!(
                "{}: {} {}",
                one.finding,
                case.name,
                if has(case) { "is missing" } else { "has it not" }
            ));
        }
        let dead = patterns.iter().filter(|pattern| !cases.iter().any(|case| glob(pattern, &case.info.name)));
        wrong.extend(dead.map(|pattern| format!("{}: no case is like {pattern}", one.finding)));
    }
    let unknown = rows.keys().filter(|finding| !REPRODUCTIONS.iter().any(|one| one.finding == **finding));
    wrong.extend(unknown.map(|finding| format!("{finding}: no such finding")));
    assert!(wrong.is_empty(), "cases/findings/README.md:\n  {}", wrong.join("\n  "));
}

/// The finding of a row of the table, and the patterns of its cases.
fn row(line: &str) -> Option<(&str, Vec<String>)> {
    let mut cells = line.strip_prefix("| [")?.split('|');
    let finding = cells.next()?.split(']').next()?;
    Some((finding, cells.next()?.split('`').skip(1).step_by(2).flat_map(alternatives).collect()))
}
