//! How does the sandbox's kernel come to be?
//!
//! Debian's newest kernel source is downloaded, unpacked without the drivers that cannot matter,
//! configured with `ci/sandbox/kernel.config` and built as user-mode Linux.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SetupError;
use super::apt::{Apt, BACKPORTS};
use super::cache::entry_name;
use super::progress::Progress;
use super::tool;

/// Options of the kernel, on top of the smallest configuration.
const FRAGMENT: &str = include_str!("../../../ci/sandbox/kernel.config");

/// Counts up whenever this file makes another kernel of the same options.
const RECIPE: &str = "1";

/// C files that such a build compiles, its own tools included; about.
const OBJECTS: u64 = 796;

const UNPACK: Duration = Duration::from_secs(900);
const CONFIGURE: Duration = Duration::from_secs(300);
const BUILD: Duration = Duration::from_secs(3 * 3600);

/// Files in an entry.
const BINARY: &str = "linux";
const RECORD: &str = "kernel.json";

/// What is left out of the source tree: two thirds of it, none of which this build reads. The
/// Kconfig files stay, since each is included from another.
const EXCLUDED: [&str; 17] = [
    "arch/alpha/*.[chS]",
    "arch/arm/*.[chS]",
    "arch/arm64/*.[chS]",
    "arch/mips/*.[chS]",
    "arch/powerpc/*.[chS]",
    "arch/s390/*.[chS]",
    "drivers/gpu/drm/amd/*.[ch]",
    "drivers/gpu/drm/i915/*.[ch]",
    "drivers/gpu/drm/nouveau/*.[ch]",
    "drivers/gpu/drm/xe/*.[ch]",
    "drivers/infiniband/*.[ch]",
    "drivers/net/ethernet/*.[ch]",
    "drivers/net/wireless/*.[ch]",
    "drivers/staging/*.[ch]",
    "sound/*.[ch]",
    "tools/perf",
    "tools/testing",
];

/// The same by the ends of names: device trees and documentation.
const EXCLUDED_EVERYWHERE: [&str; 6] = ["*.dts", "*.dtsi", "*.rst", "*.svg", "*.yaml", "*.json"];

/// What a kernel in the cache was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// As `uname -r` has it.
    pub(super) release: String,
    /// Debian's source package and its version.
    pub(super) source: String,
}

/// The entry's name.
pub(super) fn name() -> String {
    entry_name("kernel", &[RECIPE, FRAGMENT])
}

/// The kernel in a finished entry, and its record.
pub(super) fn open(entry: &Path) -> Result<(std::path::PathBuf, Record), SetupError> {
    let path = entry.join(RECORD);
    let text = fs::read(&path).map_err(SetupError::io(format!("reading {}", path.display())))?;
    let record = serde_json::from_slice(&text).map_err(SetupError::io(format!("reading {}", path.display())))?;
    Ok((entry.join(BINARY), record))
}

/// Fills an entry.
pub(super) fn build(entry: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
    let work = entry.join("work");
    let apt = Apt::update(&work, progress)?;
    let source = newest_source(&apt, progress)?;
    progress.step(&format!("downloading {source} from {}", apt.mirror()));
    let package = apt
        .resolve(&[&source], BACKPORTS, progress)?
        .into_iter()
        .find(|package| package.name == source)
        .ok_or_else(|| SetupError::NotInArchive { what: source.clone(), mirror: apt.mirror().into() })?;
    let deb = apt.download(std::slice::from_ref(&package), &work, progress)?;

    let tree = work.join("linux");
    progress.step(&format!("unpacking {source} {}", package.version));
    unpack(&deb[0], &tree, progress)?;
    progress.step("configuring the kernel");
    configure(&tree, progress)?;
    progress.step(&format!("building the kernel from {source} {}", package.version));
    compile(&tree, progress)?;

    let binary = entry.join(BINARY);
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&binary).arg(tree.join("linux"));
    tool::run_quietly("stripping the kernel", &mut strip, CONFIGURE, progress)?;
    let config = entry.join("config");
    fs::copy(tree.join(".config"), &config).map_err(SetupError::io("keeping the configuration"))?;
    let record = Record { release: release(&binary, progress)?, source: format!("{source} {}", package.version) };
    let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
    fs::write(entry.join(RECORD), text).map_err(SetupError::io("recording the kernel"))?;
    drop(apt);
    fs::remove_dir_all(&work).map_err(SetupError::io("removing the kernel's source tree"))
}

/// The name of the newest `linux-source-X.Y` that the archive has.
fn newest_source(apt: &Apt, progress: &mut dyn Progress) -> Result<String, SetupError> {
    let names = apt.names(r"^linux-source-[0-9]+\.[0-9]+$", progress)?;
    newest(names).ok_or_else(|| SetupError::NotInArchive { what: "linux-source-*".into(), mirror: apt.mirror().into() })
}

fn newest(names: Vec<String>) -> Option<String> {
    names.into_iter().max_by_key(|name| {
        let version = name.trim_start_matches("linux-source-");
        let numbers: Vec<u32> = version.split('.').flat_map(str::parse).collect();
        numbers
    })
}

/// The package holds one compressed archive of the tree; it goes from one to the other in a pipe.
fn unpack(deb: &Path, tree: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
    const PIPE: &str = r#"set -o pipefail
        deb=$1 tree=$2; shift 2
        dpkg-deb --fsys-tarfile "$deb" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
            xz -dc -T0 | tar -x -C "$tree" --strip-components=1 "$@""#;
    fs::create_dir_all(tree).map_err(SetupError::io("making the kernel's source tree"))?;
    let mut command = Command::new("bash");
    command.args(["-c", PIPE, "bash"]).arg(deb).arg(tree);
    command.args(EXCLUDED.map(|pattern| format!("--exclude=linux-source-*/{pattern}")));
    command.args(EXCLUDED_EVERYWHERE.map(|pattern| format!("--exclude={pattern}")));
    tool::run_quietly("unpacking the kernel's source", &mut command, UNPACK, progress)
}

fn make(tree: &Path) -> Command {
    let mut command = Command::new("make");
    // A host's own compiler flags are for its own programs.
    for variable in ["CFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "KCFLAGS"] {
        command.env_remove(variable);
    }
    command.current_dir(tree).arg("ARCH=um");
    command
}

fn configure(tree: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
    let fragment = tree.join("sandbox.config");
    fs::write(&fragment, FRAGMENT).map_err(SetupError::io("writing the kernel's options"))?;
    let what = "configuring the kernel";
    tool::run_quietly(what, make(tree).arg("tinyconfig"), CONFIGURE, progress)?;
    let mut merge = Command::new("scripts/kconfig/merge_config.sh");
    merge.current_dir(tree).args(["-m", ".config", "sandbox.config"]);
    tool::run_quietly(what, &mut merge, CONFIGURE, progress)?;
    tool::run_quietly(what, make(tree).arg("olddefconfig"), CONFIGURE, progress)?;
    let config = fs::read_to_string(tree.join(".config")).map_err(SetupError::io(what))?;
    let lost = lost_options(FRAGMENT, &config);
    if !lost.is_empty() {
        progress.note(&format!("this kernel does not take {}", lost.join(", ")));
    }
    Ok(())
}

/// The options of `fragment` that did not make it into `config`.
fn lost_options<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let set = |line: &&str| line.starts_with("CONFIG_");
    fragment.lines().filter(set).filter(|wanted| !config.lines().any(|line| line == *wanted)).collect()
}

fn compile(tree: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = 0;
    tool::run(
        "building the kernel",
        make(tree).arg(format!("-j{jobs}")).arg("linux"),
        BUILD,
        progress,
        |line, progress| {
            if line.starts_with("  CC ") {
                done += 1;
                progress.count(done, OBJECTS);
            }
        },
    )
    .map(drop)
}

/// What the kernel itself says it is, which also shows that it runs here.
fn release(binary: &Path, progress: &mut dyn Progress) -> Result<String, SetupError> {
    let mut command = Command::new(binary);
    command.arg("--version");
    let lines = tool::run("a first try of the kernel", &mut command, CONFIGURE, progress, |_, _| {})?;
    Ok(lines.first().map(|line| line.trim().to_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_is_by_number() {
        let names = ["linux-source-6.12", "linux-source-7.3", "linux-source-6.9"];
        assert_eq!(newest(names.map(str::to_owned).into()), Some("linux-source-7.3".into()));
        assert_eq!(newest(Vec::new()), None);
    }

    #[test]
    fn an_option_that_was_dropped_is_named() {
        let fragment = "# comment\nCONFIG_A=y\nCONFIG_B=7\n# CONFIG_C is not set\n";
        assert!(lost_options(fragment, "CONFIG_B=7\nCONFIG_A=y\n").is_empty());
        assert_eq!(lost_options(fragment, "CONFIG_A=m\nCONFIG_B=7\n"), ["CONFIG_A=y"]);
    }
}
