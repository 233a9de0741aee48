//! Does the source keep the rules that can be seen in its text?
//!
//! What they are for is in the crate's documentation. Whoever opens `unsafe` in one more file, or adds a pure one, says so
//! here. Nothing is compiled or run, and no device is touched.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it as the test itself does")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The files, as paths from `harness/src`, that open `unsafe_code`, each with its reason at its top.
const UNSAFE: &[&str] = &[
    "../../cases/findings/expbuf-einval.rs",
    "../../cases/findings/expbuf-warning.rs",
    "../../cases/findings/gbm-dumb-render-node.rs",
    "../../cases/findings/gbm-handle-closed.rs",
    "../../cases/findings/gbm-no-errno.rs",
    "../../cases/findings/gbm-plane-count.rs",
    "../../cases/findings/gbm-planes-of-first.rs",
    "../../cases/findings/gbm-render-node-leak.rs",
    "../../cases/findings/gbm-write-usage.rs",
    "../../cases/findings/lavapipe-any-modifier.rs",
    "../../cases/findings/lavapipe-empty-list2.rs",
    "../../cases/findings/lavapipe-list-overrun.rs",
    "../../cases/findings/lavapipe-memory-planes.rs",
    "../../cases/findings/lavapipe-no-cloexec.rs",
    "../../cases/findings/lavapipe-offset-query.rs",
    "../../cases/findings/lavapipe-out-of-files.rs",
    "../../cases/findings/lavapipe-planes-refused.rs",
    "../../cases/findings/lavapipe-refused-import.rs",
    "../../cases/findings/layer-memory-planes.rs",
    "../../cases/findings/llvmpipe-external-size.rs",
    "../../cases/findings/llvmpipe-fence-poll.rs",
    "../../cases/findings/llvmpipe-import-bounds.rs",
    "../../cases/findings/llvmpipe-imported-offset.rs",
    "../../cases/findings/llvmpipe-rows-behind.rs",
    "../../cases/findings/llvmpipe-unaligned-pitch.rs",
    "../../cases/findings/mesa-export-no-fd.rs",
    "../../cases/findings/mesa-external-only.rs",
    "../../cases/findings/mesa-odd-chroma.rs",
    "../../cases/findings/mesa-p010-grey.rs",
    "../../cases/findings/mesa-y210-nothing.rs",
    "../../cases/findings/shmem-enospc.rs",
    "../../cases/findings/vicodec-frame-sizes.rs",
    "../../cases/findings/vim2m-565-pairs.rs",
    "../../cases/findings/vivid-frame-sizes.rs",
    "../../cases/findings/vkms-blend-wraps.rs",
    "../../cases/findings/vkms-limited-range.rs",
    "../../cases/findings/vkms-lost-writeback.rs",
    "../../cases/findings/vkms-offset-twice.rs",
    "../../cases/findings/vkms-p010-grey.rs",
    "../faulty-egl-gbm/src/egl.rs",
    "../faulty-egl-gbm/src/gbm.rs",
    "../faulty-kernel/src/listener.rs",
    "../faulty-kernel/src/perform.rs",
    "../faulty-vulkan/src/chain.rs",
    "../faulty-vulkan/src/deeds/commands.rs",
    "../faulty-vulkan/src/deeds/counted.rs",
    "../faulty-vulkan/src/deeds/images.rs",
    "../faulty-vulkan/src/deeds/memory.rs",
    "../faulty-vulkan/src/deeds/objects.rs",
    "../faulty-vulkan/src/deeds/opaque.rs",
    "../faulty-vulkan/src/deeds/queries.rs",
    "../faulty-vulkan/src/deeds/semaphores.rs",
    "../faulty-vulkan/src/deeds/submissions.rs",
    "../faulty-vulkan/src/lib.rs",
    "../faulty-vulkan/src/mapping.rs",
    "../faulty-vulkan/src/proxies.rs",
    "../faulty-vulkan/src/real.rs",
    "../faulty-vulkan/src/state.rs",
    "../sandbox/src/boot.rs",
    "dma_heap.rs",
    "dmabuf/edge.rs",
    "dmabuf/mapping.rs",
    "dmabuf/misuse.rs",
    "dmabuf/scratch.rs",
    "fence.rs",
    "fence/implicit.rs",
    "fence/sw_sync.rs",
    "gbm.rs",
    "gbm/bo.rs",
    "gbm/functions.rs",
    "gles.rs",
    "gles/calls.rs",
    "gles/egl.rs",
    "gles/enumerate.rs",
    "gles/image.rs",
    "gles/program.rs",
    "gles/sync.rs",
    "interrupt.rs",
    "inventory/libraries.rs",
    "inventory/vulkan.rs",
    "inventory/vulkan/formats.rs",
    "kms/commit.rs",
    "ioctl.rs",
    "kms/misuse.rs",
    "kms/syncobj.rs",
    "kms/syncobj/misuse.rs",
    "kms/vgem.rs",
    "ledger/files.rs",
    "ledger/mappings.rs",
    "ledger/sentry.rs",
    "placement/pagemap.rs",
    "run/heap.rs",
    "run/last_words.rs",
    "udmabuf.rs",
    "v4l2/ioctl.rs",
    "vk/budget.rs",
    "vk/buffer.rs",
    "vk/commands.rs",
    "vk/constraints.rs",
    "vk/copy.rs",
    "vk/descriptors.rs",
    "vk/disjoint.rs",
    "vk/draw.rs",
    "vk/external_fence.rs",
    "vk/gpu.rs",
    "vk/identity.rs",
    "vk/image.rs",
    "vk/instance.rs",
    "vk/kernel_device.rs",
    "vk/mapped.rs",
    "vk/memory.rs",
    "vk/messages.rs",
    "vk/owned.rs",
    "vk/pending.rs",
    "vk/pipeline.rs",
    "vk/render.rs",
    "vk/semaphore.rs",
    "vk/staging.rs",
    "vk/support.rs",
    "vk/wanted.rs",
];

/// The files of `harness/src` that say what is right without asking a device.
const PURE: &[&str] = &[
    "case.rs",
    "case/role.rs",
    "compare.rs",
    "compose.rs",
    "compose/below.rs",
    "compose/slips.rs",
    "covering.rs",
    "detection.rs",
    "detection/killers.rs",
    "detection/readers.rs",
    "detection/text.rs",
    "disturb.rs",
    "disturb/calls.rs",
    "ends/parcel.rs",
    "error.rs",
    "fence/seen.rs",
    "finding.rs",
    "format.rs",
    "format/planes.rs",
    "format/yuv.rs",
    "frame.rs",
    "gbm/usage.rs",
    "gles/extensions.rs",
    "golden.rs",
    "guess.rs",
    "guess/evidence.rs",
    "guess/search.rs",
    "junit.rs",
    "kms/taken.rs",
    "lane.rs",
    "ledger/attached.rs",
    "ledger/left.rs",
    "ledger/words.rs",
    "observed.rs",
    "pattern.rs",
    "picture.rs",
    "placement.rs",
    "placement/check.rs",
    "placement/history.rs",
    "placement/parse.rs",
    "png.rs",
    "report.rs",
    "report/html.rs",
    "report/html/files.rs",
    "reproduction.rs",
    "run/journal.rs",
    "run/select.rs",
    "run/walk/judge.rs",
    "run/walk/text.rs",
    "scene.rs",
    "share/agreement.rs",
    "share/agreement/layout.rs",
    "share/agreement/memory.rs",
    "share/agreement/refusal.rs",
    "share/constraints.rs",
    "share/demands.rs",
    "share/trial.rs",
    "share/unsaid.rs",
    "texel.rs",
    "v4l2/format.rs",
    "v4l2/pix.rs",
    "v4l2/uapi.rs",
    "verdict.rs",
    "vk/room.rs",
    "vk/words.rs",
    "yuv.rs",
    "yuv/planes.rs",
    "yuv/shown.rs",
];

/// Who may look at the wall clock, which can be set back, and what for. Deadlines and durations are `Instant`s.
const WALL_CLOCK: &[(&str, &str)] = &[
    ("cli/faults.rs", "the day, on which other cases run under the controls than the day before"),
    ("disturb/disturber.rs", "sets it back, to see who minds"),
    ("golden.rs", "the day on which a golden was blessed"),
    ("kms/syncobj.rs", "the number of the monotonic clock, which a wait for a syncobj takes for its deadline"),
    ("report/html.rs", "when a report was written"),
];

/// Who knows a device by its role besides its end and the table of roles, which roles, and what for. Not in this list is what a new
/// device would have to be added to: it needs no line anywhere but in its end, that table and the list of ends.
const ROLES: &[(&str, &[&str], &str)] = &[
    ("case.rs", &["Screen"], "needs of the screen: writeback and CRC"),
    ("cx.rs", &["Cpu"], "the CPU as a reader of words"),
    ("cx/fenced.rs", &["Vgem"], "fences that vgem attaches"),
    ("cx/needs.rs", &["Screen"], "as in case.rs"),
    ("cx/parts.rs", &["Screen"], "frames with an fd for each plane, shown"),
    ("cx/readers.rs", &["Screen"], "the screen as a reader of every frame"),
    ("cx/roles.rs", &["Screen"], "the same"),
    ("cx/sharing.rs", &["Cpu", "Screen", "ScreenB"], "readers"),
    ("cx/yuv.rs", &["Gles", "Screen"], "who converts YUV"),
    (
        "devices.rs",
        &["Codec", "Converter", "Cursor", "GpuA", "GpuB", "Overlay", "Screen", "ScreenB"],
        "how those are opened that cases use beyond handing over",
    ),
    ("devices/gpus.rs", &["GpuA", "GpuB"], "which GPU is which"),
    ("devices/videos.rs", &["DmaVideo", "PlanarVideo", "Video"], "which video loop is which"),
    ("run/injection.rs", &["GpuA", "GpuB"], "which GPU's driver is the faulty one"),
];

/// Longer sources want splitting.
const MOST_LINES: usize = 600;

/// What is in the repository, apart from files at its top.
const FOLDERS: &[&str] = &["cases", "ci", "golden", "harness", "shaders"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file below `folder` of the repository, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    found
}

/// The Rust sources below `folder`, as path from there and text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let found: Vec<_> = files(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let inside = path.strip_prefix(repository().join(folder)).unwrap().to_str().unwrap().to_owned();
            (inside, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(!found.is_empty(), "{folder} has no source, so nothing would be checked");
    found
}

/// A source from behind its inner attributes and what is before them.
fn behind_attributes(text: &str) -> &str {
    let mut rest = text.trim_start();
    while rest.starts_with("#![") {
        // rustfmt puts the end of an attribute at the end of a line.
        let (_, behind) = rest.split_once("]\n").unwrap_or((rest, ""));
        rest = behind.trim_start();
    }
    rest
}

/// Whether `name` stands in `text` as a path's first part, and not as the end of a longer word.
fn names_crate(text: &str, name: &str) -> bool {
    let path = format!("{name}::");
    text.match_indices(&path)
        .any(|(at, _)| !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
}

fn no_finding(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn unsafe_code_is_where_the_list_says() {
    let attribute = concat!("unsafe", "_code");
    let beside = ["sandbox", "faults", "faulty-core", "faulty-egl-gbm", "faulty-kernel", "faulty-vulkan"]
        .into_iter()
        .flat_map(|part| {
            let sources = sources(&format!("harness/{part}/src")).into_iter();
            sources.map(move |(path, text)| (format!("../{part}/src/{path}"), text))
        });
    let findings = sources("cases/findings");
    let findings = findings.into_iter().map(|(path, text)| (format!("../../cases/findings/{path}"), text));
    let all = sources("harness/src").into_iter().chain(beside).chain(findings);
    let open: BTreeSet<String> = all.filter(|(_, text)| text.contains(attribute)).map(|(path, _)| path).collect();
    let listed: BTreeSet<String> = UNSAFE.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(open, listed, "left: what opens {attribute}; right: the list in this test");
}

#[test]
fn every_source_says_first_what_it_is_for() {
    let mut findings = Vec::new();
    for folder in ["harness", "cases"] {
        for (path, text) in sources(folder) {
            if !behind_attributes(&text).starts_with("//! ") {
                findings.push(format!("{folder}/{path}: does not begin with `//!` and the question it answers"));
            }
        }
    }
    no_finding(&findings);
}

#[test]
fn pure_files_name_no_driver_interface() {
    let sources = sources("harness/src");
    let mut findings = Vec::new();
    for pure in PURE {
        let Some((_, text)) = sources.iter().find(|(path, _)| path == pure) else {
            findings.push(format!("{pure}: is in the list of this test, but does not exist"));
            continue;
        };
        for name in ["ash", "drm", "drm_ffi", "gpu_allocator"] {
            if names_crate(text, name) {
                findings.push(format!("{pure}: is pure, but names `{name}`"));
            }
        }
    }
    no_finding(&findings);
}

#[test]
fn cases_name_no_driver_interface() {
    let mut findings = Vec::new();
    for (path, text) in sources("cases/src") {
        for name in ["ash", "drm", "drm_ffi", "rustix", "libc"] {
            if names_crate(&text, name) {
                findings.push(format!("cases/src/{path}: names `{name}`; what it needs belongs into the harness"));
            }
        }
    }
    let forbids = fs::read_to_string(repository().join("cases/src/lib.rs")).unwrap();
    if !forbids.contains(concat!("#![forbid(unsafe", "_code)]")) {
        findings.push("cases/src/lib.rs: does not forbid unsafe code".to_owned());
    }
    no_finding(&findings);
}

#[test]
fn deadlines_and_durations_are_no_business_of_the_wall_clock() {
    let listed: BTreeSet<String> = WALL_CLOCK.iter().map(|(path, _)| (*path).to_owned()).collect();
    let looks = |text: &str| text.contains("SystemTime") || text.contains("clock_gettime");
    let found: BTreeSet<String> =
        sources("harness/src").into_iter().filter(|(_, text)| looks(text)).map(|(path, _)| path).collect();
    assert_eq!(found, listed, "left: who looks at the wall clock; right: the list in this test");
    for folder in ["harness/sandbox/src", "cases/src"] {
        let found: Vec<String> =
            sources(folder).into_iter().filter(|(_, text)| looks(text)).map(|(path, _)| path).collect();
        assert!(found.is_empty(), "{folder}: {found:?} look at the wall clock");
    }
}

/// The roles that `text` names, without comments and tests.
fn roles_in(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = code.flat_map(|line| line.split("Role::").skip(1));
    let word = |rest: &str| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
    let is_role = |name: &String| name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase);
    named.map(word).filter(is_role).collect()
}

#[test]
fn only_ends_know_devices_by_their_roles() {
    let own = |path: &str| path.starts_with("ends/") || path == "case/role.rs";
    let named = sources("harness/src").into_iter().filter(|(path, _)| !own(path));
    let named: BTreeMap<String, BTreeSet<String>> =
        named.map(|(path, text)| (path, roles_in(&text))).filter(|(_, roles)| !roles.is_empty()).collect();
    let listed =
        ROLES.iter().map(|(path, roles, _)| ((*path).to_owned(), roles.iter().map(ToString::to_string).collect()));
    assert_eq!(named, listed.collect(), "left: who names which roles; right: the list in this test");
}

#[test]
fn no_source_is_too_long_to_read() {
    let mut findings = Vec::new();
    for folder in [
        "harness/src",
        "harness/sandbox/src",
        "harness/faults/src",
        "harness/faulty-egl-gbm/src",
        "harness/faulty-kernel/src",
        "harness/faulty-vulkan/src",
        "cases/src",
    ] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            if lines > MOST_LINES {
                findings.push(format!("{folder}/{path}: {lines} lines; up to {MOST_LINES} would be valid"));
            }
        }
    }
    no_finding(&findings);
}

#[test]
fn goldens_are_small() {
    let most = handover::golden::LARGEST_FILE;
    let mut findings = Vec::new();
    for path in files("golden") {
        let bytes = fs::metadata(&path).unwrap().len();
        if bytes > most {
            findings.push(format!("{}: {bytes} B; up to {most} B would be valid", path.display()));
        }
    }
    no_finding(&findings);
}

/// A known defect is described beside the cases, and what is described there is known of a case.
#[test]
fn findings_and_cases_name_each_other() {
    const FOLDER: &str = "cases/findings/";
    let mut named = BTreeSet::new();
    for (_, text) in sources("cases/src") {
        for (at, _) in text.match_indices(&format!("\"{FOLDER}")) {
            named.extend(text[at + 1..].split('"').next().map(str::to_owned));
        }
    }
    let paths = files(FOLDER);
    let paths: Vec<&str> =
        paths.iter().map(|path| path.strip_prefix(repository()).unwrap().to_str().unwrap()).collect();
    // The folder's README is about all of them.
    let texts = paths.iter().filter(|path| path.ends_with(".md") && !path.ends_with("/README.md"));
    let there: BTreeSet<String> = texts.map(|path| (*path).to_owned()).collect();
    let missing = named.difference(&there).map(|path| format!("{path}: a case names it, but it does not exist"));
    let unused = there.difference(&named).map(|path| format!("{path}: no case names it"));
    let program = |text: &str| text.replace(".md", ".rs");
    let unshown = there.iter().filter(|text| !paths.contains(&program(text).as_str()));
    let unshown =
        unshown.map(|text| format!("{}: would show {text} without Handover, but does not exist", program(text)));
    let name = |text: &str| text.trim_start_matches(FOLDER).trim_end_matches(".md").to_owned();
    let says = |text: &String| {
        let command = format!("    handover repro {} > repro.rs", name(text));
        fs::read_to_string(repository().join(text)).unwrap().contains(&command)
    };
    let unsaid = there.iter().filter(|text| !says(text));
    let unsaid = unsaid.map(|text| format!("{text}: does not say `handover repro {} > repro.rs`", name(text)));
    no_finding(&missing.chain(unused).chain(unshown).chain(unsaid).collect::<Vec<_>>());
}

/// A program that shows a finding stands alone: it names no crate but those at its top, and those as the workspace has them.
#[test]
fn reproductions_say_what_they_depend_on() {
    let workspace = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest = fs::read_to_string(repository().join("cases/findings/Cargo.toml")).unwrap();
    let crates: Vec<&str> = manifest.lines().filter_map(|line| line.strip_suffix(".workspace = true")).collect();
    let mut findings = Vec::new();
    for (path, text) in sources("cases/findings").into_iter().filter(|(path, _)| !path.contains('/')) {
        let at_top: Vec<&str> = text
            .lines()
            .skip_while(|line| *line != "//! [dependencies]")
            .skip(1)
            .map_while(|line| line.strip_prefix("//! "))
            .take_while(|line| *line != "```")
            .collect();
        for line in &at_top {
            if !workspace.lines().any(|known| known == *line) {
                findings.push(format!("{path}: depends on {line}, which is not as the workspace has it"));
            }
        }
        for name in &crates {
            let used = names_crate(&text, &name.replace('-', "_"))
                || text.contains(&format!("use {}", name.replace('-', "_")));
            let said = at_top.iter().any(|line| line.starts_with(&format!("{name} =")));
            if used != said {
                findings.push(format!("{path}: names the crate {name}: {used}, says so at its top: {said}"));
            }
        }
        if at_top.is_empty() || names_crate(&text, "handover") {
            findings.push(format!("{path}: has no dependencies at its top, or Handover among them"));
        }
    }
    no_finding(&findings);
}

/// What works on one machine alone is no part of the project.
#[test]
fn no_file_names_a_place_on_the_machine_of_its_author() {
    // In parts, so that this file is not the one that is found.
    let places = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];
    let top = fs::read_dir(repository()).unwrap().map(|entry| entry.unwrap().path());
    // `.git` is a file where several checkouts share one repository.
    let top = top.filter(|path| path.is_file() && !path.ends_with(".git"));
    let mut findings = Vec::new();
    for path in top.chain(FOLDERS.iter().flat_map(|folder| files(folder))) {
        // Pictures are no text.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                findings.push(format!("{}:{}: names {place}", path.display(), at + 1));
            }
        }
    }
    no_finding(&findings);
}
