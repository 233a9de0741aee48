//! How does the sandbox's kernel come to be?
//!
//! Debian's newest kernel source is downloaded, unpacked without the drivers that cannot matter,
//! configured with `ci/sandbox/kernel.config` and built as user-mode Linux. The one that looks after
//! itself has the options of `ci/sandbox/kernel-debug.config` as well.
//!
//! Two things in it are ours, and are said here and in `kernel.config`: what DRM and V4L2 need of user-mode
//! Linux ([`KCONFIG`]), and that vgem has syncobjs ([`VGEM_FEATURES`]).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SetupError;
use super::apt::{Apt, BACKPORTS};
use super::cache::entry_name;
use super::progress::Progress;
use super::tool;

/// Options of the kernel; every other one is off, or as these need it.
const FRAGMENT: &str = include_str!("../../../ci/sandbox/kernel.config");

/// Options that the second kernel has beyond these; they win.
const DEBUG_FRAGMENT: &str = include_str!("../../../ci/sandbox/kernel-debug.config");

/// Added to the options that user-mode Linux has. The kernel's own way to DMA and I/O memory, which
/// DRM and V4L2 ask for, is a PCI bus over virtio; these two are what it really needs of it.
const KCONFIG: &str = "
config SANDBOX
	def_bool y
	select UML_DMA_EMULATION
	select UML_IOMEM_EMULATION
";

/// The line with the features of vgem ends with these as well. What is behind them is DRM's own
/// `drm_syncobj.c`, which asks nothing of a driver but that it says so; of the drivers that need no hardware none
/// does. What changes of vgem is that its files answer the ioctls of syncobjs, and that it says that it has them.
const VGEM_FEATURES: &str = "DRIVER_SYNCOBJ | DRIVER_SYNCOBJ_TIMELINE";

/// Where that line is.
const VGEM: &str = "drivers/gpu/drm/vgem/vgem_drv.c";

/// Counts up whenever this file makes another kernel of the same options.
const RECIPE: &str = "4";

/// Spares every tenth second or more of the compiler's time.
const FASTER: &str = "KCFLAGS=-O1";

const UNPACK: Duration = Duration::from_secs(900);
const CONFIGURE: Duration = Duration::from_secs(300);
const BUILD: Duration = Duration::from_secs(3 * 3600);

/// Files in an entry.
const BINARY: &str = "linux";
const RECORD: &str = "kernel.json";

/// Whose C files are left out of the source tree: most of it, none of which this build reads. The
/// Kconfig files stay, since each is included from another.
const EXCLUDED: [(&str, &[&str]); 7] = [
    (
        "arch",
        &[
            "alpha",
            "arc",
            "arm",
            "arm64",
            "csky",
            "hexagon",
            "loongarch",
            "m68k",
            "microblaze",
            "mips",
            "nios2",
            "openrisc",
            "parisc",
            "powerpc",
            "riscv",
            "s390",
            "sh",
            "sparc",
            "xtensa",
        ],
    ),
    (
        "drivers",
        &[
            "accel",
            "ata",
            "bluetooth",
            "clk",
            "comedi",
            "crypto",
            "gpio",
            "hid",
            "hwmon",
            "iio",
            "infiniband",
            "input",
            "md",
            "mfd",
            "mmc",
            "mtd",
            "phy",
            "pinctrl",
            "platform",
            "power",
            "regulator",
            "rtc",
            "scsi",
            "soc",
            "spi",
            "staging",
            "thermal",
            "usb",
            "watchdog",
        ],
    ),
    ("", &["sound"]),
    ("drivers/gpu/drm", &["amd", "i915", "msm", "nouveau", "panel", "radeon", "xe"]),
    ("drivers/net", &["can", "dsa", "ethernet", "phy", "usb", "wireless"]),
    ("drivers/media", &["dvb-frontends", "i2c", "pci", "platform", "tuners", "usb"]),
    ("fs", &["btrfs", "ext4", "f2fs", "nfs", "ocfs2", "smb", "xfs"]),
];

/// Left out whole: nothing there is named by the Kconfig of what is built.
const EXCLUDED_TREES: [&str; 2] = ["tools/perf", "tools/testing"];

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

/// One of the kernels that can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// The fast one.
    Usual,
    /// The one that reports its own defects: wrong orders of locks, use of what was freed, leaks.
    Debug,
}

impl Flavour {
    /// The entry's name in the cache.
    pub(super) fn name(self) -> String {
        match self {
            Self::Usual => entry_name("kernel", &[RECIPE, KCONFIG, VGEM_FEATURES, FRAGMENT]),
            Self::Debug => entry_name("kernel-debug", &[RECIPE, KCONFIG, VGEM_FEATURES, FRAGMENT, DEBUG_FRAGMENT]),
        }
    }

    /// Its options. Where one is set twice the kernel's configuration takes the last.
    fn options(self) -> String {
        match self {
            Self::Usual => FRAGMENT.to_owned(),
            Self::Debug => format!("{FRAGMENT}{DEBUG_FRAGMENT}"),
        }
    }

    /// C files that such a build compiles, its own tools included; about.
    fn objects(self) -> u64 {
        match self {
            Self::Usual => 731,
            Self::Debug => 770,
        }
    }
}

/// The kernel in a finished entry, and its record.
pub(super) fn open(entry: &Path) -> Result<(std::path::PathBuf, Record), SetupError> {
    let path = entry.join(RECORD);
    let text = fs::read(&path).map_err(SetupError::io(format!("reading {}", path.display())))?;
    let record = serde_json::from_slice(&text).map_err(SetupError::io(format!("reading {}", path.display())))?;
    Ok((entry.join(BINARY), record))
}

/// Fills an entry.
pub(super) fn build(flavour: Flavour, entry: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
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
    give_vgem_syncobjs(&tree, &source)?;
    progress.step("configuring the kernel");
    configure(flavour, &tree, progress)?;
    let kind = if flavour == Flavour::Debug { "debugging kernel" } else { "kernel" };
    let building = format!("building the {kind} from {source} {}", package.version);
    progress.step(&building);
    if compile(flavour, &tree, Some(FASTER), progress).is_err() {
        // The kernel promises this for its own optimisation level alone; a real defect comes up again.
        progress.step(&format!("{building}, more slowly"));
        compile(flavour, &tree, None, progress)?;
    }

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
    for (dir, inside) in EXCLUDED {
        let inside_of = |name: &&str| match dir {
            "" => format!("--exclude=linux-source-*/{name}/*.[chS]"),
            dir => format!("--exclude=linux-source-*/{dir}/{name}/*.[chS]"),
        };
        command.args(inside.iter().map(inside_of));
    }
    command.args(EXCLUDED_TREES.map(|tree| format!("--exclude=linux-source-*/{tree}")));
    command.args(EXCLUDED_EVERYWHERE.map(|pattern| format!("--exclude={pattern}")));
    tool::run_quietly("unpacking the kernel's source", &mut command, UNPACK, progress)
}

/// Changes vgem as [`VGEM_FEATURES`] says.
fn give_vgem_syncobjs(tree: &Path, source: &str) -> Result<(), SetupError> {
    let path = tree.join(VGEM);
    let driver = fs::read_to_string(&path).map_err(SetupError::io(format!("reading {VGEM} of {source}")))?;
    let driver = with_features(&driver, VGEM_FEATURES).map_err(|why| SetupError::OtherSource {
        source_package: source.to_owned(),
        file: VGEM,
        why,
    })?;
    fs::write(&path, driver).map_err(SetupError::io(format!("changing {VGEM}")))
}

/// The text of a DRM driver that has `more` features, if it says on one line which ones it has.
fn with_features(driver: &str, more: &str) -> Result<String, String> {
    const FIELD: &str = ".driver_features";
    let lines: Vec<&str> = driver.lines().filter(|line| line.trim_start().starts_with(FIELD)).collect();
    let [line] = lines[..] else { return Err(format!("{} lines begin with {FIELD}, not 1", lines.len())) };
    let features = line.trim_end().strip_suffix(',').filter(|line| line.contains('='));
    let features = features.ok_or_else(|| format!("`{}` is not the whole of {FIELD}", line.trim()))?;
    Ok(driver.replacen(line, &format!("{features} | {more},"), 1))
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

fn configure(flavour: Flavour, tree: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
    let what = "configuring the kernel";
    let options = tree.join("sandbox.config");
    let wanted = flavour.options();
    fs::write(&options, &wanted).map_err(SetupError::io("writing the kernel's options"))?;
    let kconfig = File::options().append(true).open(tree.join("arch/um/Kconfig"));
    let added = kconfig.and_then(|mut file| file.write_all(KCONFIG.as_bytes()));
    added.map_err(SetupError::io("adding an option to the kernel"))?;
    // All in one step: each pass asks the compiler anew what it can do.
    let mut all = make(tree);
    all.arg("KCONFIG_ALLCONFIG=sandbox.config").arg("allnoconfig");
    tool::run_quietly(what, &mut all, CONFIGURE, progress)?;
    let config = fs::read_to_string(tree.join(".config")).map_err(SetupError::io(what))?;
    let lost = lost_options(&wanted, &config);
    if !lost.is_empty() {
        progress.note(&format!("this kernel does not take {}", lost.join(", ")));
    }
    Ok(())
}

/// The options of `fragment` that did not make it into `config`.
fn lost_options<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let mut last = BTreeMap::new();
    for line in fragment.lines() {
        let set = line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('='));
        let unset = line.strip_prefix("# CONFIG_").and_then(|rest| rest.strip_suffix(" is not set"));
        if let Some(name) = set.map(|(name, _)| name).or(unset) {
            last.insert(name, line);
        }
    }
    let lost = |wanted: &&str| wanted.starts_with("CONFIG_") && !config.lines().any(|line| line == *wanted);
    last.into_values().filter(lost).collect()
}

fn compile(flavour: Flavour, tree: &Path, flags: Option<&str>, progress: &mut dyn Progress) -> Result<(), SetupError> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = 0;
    tool::run(
        "building the kernel",
        make(tree).args(flags).arg(format!("-j{jobs}")).arg("linux"),
        BUILD,
        progress,
        |line, progress| {
            if line.starts_with("  CC ") {
                done += 1;
                progress.count(done, flavour.objects());
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

    #[test]
    fn an_option_that_is_set_twice_is_as_it_was_set_last() {
        let config = "CONFIG_A=n\n# CONFIG_B is not set\n";
        assert!(lost_options("CONFIG_A=y\nCONFIG_B=y\nCONFIG_A=n\n# CONFIG_B is not set\n", config).is_empty());
    }

    #[test]
    fn a_driver_has_the_features_that_it_had_and_more() {
        let with = |field: &str| with_features(&format!("static x = {{\n{field}\n\t.open = open,\n}};\n"), "B | C");
        let changed = with("\t.driver_features\t\t= A | D,").expect("one line, and all of it");
        assert_eq!(changed, "static x = {\n\t.driver_features\t\t= A | D | B | C,\n\t.open = open,\n};\n");
        assert_eq!(with("\t.features = A,"), Err("0 lines begin with .driver_features, not 1".into()));
        let long = with("\t.driver_features = A |\n\t\tD,");
        assert_eq!(long, Err("`.driver_features = A |` is not the whole of .driver_features".into()));
    }

    #[test]
    fn both_kernels_have_their_own_entry() {
        assert!(Flavour::Usual.name().starts_with("kernel-"));
        assert!(Flavour::Debug.name().starts_with("kernel-debug-"));
        assert_ne!(Flavour::Usual.name()["kernel-".len()..], Flavour::Debug.name()["kernel-debug-".len()..]);
    }
}
