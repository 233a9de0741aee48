//! How does the sandbox's root filesystem come to be?
//!
//! Debian packages are unpacked into a directory; none is installed, no script of theirs runs, so
//! no root is needed. Two Mesa versions are in it, each with an ICD file that names its library by
//! an absolute path: with a bare name the second would resolve to the first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SetupError;
use super::apt::{Apt, BACKPORTS, Package, SUITE};
use super::cache::entry_name;
use super::progress::Progress;
use super::tool;

/// Packages by name; what they depend on comes with them.
const LIST: &str = include_str!("../../../ci/sandbox/root-packages.txt");

/// Counts up whenever this file makes another root of the same packages.
const RECIPE: &str = "1";

/// The package that holds Mesa's Vulkan drivers.
const DRIVERS: &str = "mesa-vulkan-drivers";

/// Where the reference's drivers are unpacked, away from the other version's.
const REFERENCE: &str = "opt/mesa-reference";

/// Inside the root: what was put there.
const RECORD: &str = "usr/share/handover/root.json";

/// Lavapipe's library and ICD file in a tree that the drivers were unpacked into.
const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libvulkan_lvp.so";
const ICD: &str = "usr/share/vulkan/icd.d/lvp_icd.json";

const UNPACK: Duration = Duration::from_secs(300);

/// What a root in the cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Lavapipe as the reference, and as the second device.
    pub(super) gpu_a: Driver,
    pub(super) gpu_b: Driver,
    /// Every package with its version, `name version`.
    pub(super) packages: Vec<String>,
}

/// One Mesa version in the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Driver {
    /// Debian's version of the package.
    pub(super) package: String,
    /// Mesa's own version, as the driver reports it.
    pub(super) mesa: String,
    /// Path of the ICD file inside the sandbox.
    pub(super) icd: String,
}

/// The entry's name.
pub(super) fn name() -> String {
    entry_name("root", &[RECIPE, SUITE, BACKPORTS, LIST])
}

/// What a root holds, if Handover made it.
pub(super) fn record(root: &Path) -> Option<Record> {
    let text = fs::read(root.join(RECORD)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Fills an entry.
pub(super) fn build(root: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
    let work = root.join("work");
    let apt = Apt::update(&work, progress)?;
    let missing = |what: &str| SetupError::NotInArchive { what: what.into(), mirror: apt.mirror().into() };
    let mut packages = base_first(apt.resolve(&listed(LIST), BACKPORTS, progress)?);
    let reference = apt.resolve(&[DRIVERS], SUITE, progress)?;
    packages.extend(only_in_second(&packages, &reference));
    let newer = find(&packages, DRIVERS).ok_or_else(|| missing(DRIVERS))?;
    let older = find(&reference, DRIVERS).ok_or_else(|| missing(DRIVERS))?;

    progress.step(&format!("downloading {} packages from {}", packages.len() + 1, apt.mirror()));
    let all: Vec<Package> = packages.iter().cloned().chain([older.clone()]).collect();
    let mut files = apt.download(&all, &work.join("debs"), progress)?;
    let older_file = files.pop().ok_or_else(|| missing(DRIVERS))?;

    progress.step("unpacking the root filesystem");
    for (done, file) in files.iter().enumerate() {
        unpack(file, root, progress)?;
        progress.count(done as u64 + 1, files.len() as u64);
    }
    unpack(&older_file, &root.join(REFERENCE), progress)?;
    drop(files);

    let record = Record {
        gpu_a: driver(root, REFERENCE, "gpu_a", &older.version)?,
        gpu_b: driver(root, "", "gpu_b", &newer.version)?,
        packages: all.iter().map(|package| format!("{} {}", package.name, package.version)).collect(),
    };
    write_json(&root.join(RECORD), &record)?;
    accounts(root).map_err(SetupError::io("writing the root filesystem's accounts"))?;
    drop(apt);
    fs::remove_dir_all(&work).map_err(SetupError::io("removing the downloaded packages"))
}

fn listed(list: &str) -> Vec<&str> {
    list.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty()).collect()
}

/// base-files makes the links from /bin and /lib to /usr that every other package goes through.
fn base_first(mut packages: Vec<Package>) -> Vec<Package> {
    packages.sort_by_key(|package| package.name != "base-files");
    packages
}

/// What the reference needs beyond `first`, such as another LLVM; never the drivers themselves.
fn only_in_second(first: &[Package], second: &[Package]) -> Vec<Package> {
    let known = |package: &&Package| find(first, &package.name).is_none();
    second.iter().filter(known).cloned().collect()
}

fn find<'a>(packages: &'a [Package], name: &str) -> Option<&'a Package> {
    packages.iter().find(|package| package.name == name)
}

fn unpack(deb: &Path, root: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
    let what = format!("unpacking {}", deb.file_name().unwrap_or_default().to_string_lossy());
    fs::create_dir_all(root).map_err(SetupError::io(what.clone()))?;
    let mut command = Command::new("dpkg-deb");
    command.arg("-x").arg(deb).arg(root);
    tool::run_quietly(&what, &mut command, UNPACK, progress)
}

/// Writes the ICD file of the lavapipe below `prefix`, with its library's absolute path.
fn driver(root: &Path, prefix: &str, role: &str, version: &str) -> Result<Driver, SetupError> {
    let tree = root.join(prefix);
    let packaged = tree.join(ICD);
    let doing = || format!("making the ICD file of {role} from {}", packaged.display());
    let text = fs::read(&packaged).map_err(SetupError::io(doing()))?;
    let mut icd: serde_json::Value = serde_json::from_slice(&text).map_err(SetupError::io(doing()))?;
    fs::metadata(tree.join(LIBRARY)).map_err(SetupError::io(doing()))?;
    let library: PathBuf = Path::new("/").join(prefix).join(LIBRARY);
    icd["ICD"]["library_path"] = library.to_string_lossy().into();
    let path = format!("usr/share/handover/{role}.json");
    write_json(&root.join(&path), &icd)?;
    Ok(Driver { package: version.to_owned(), mesa: upstream(version).to_owned(), icd: format!("/{path}") })
}

/// The version without Debian's epoch and revision.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.rsplit_once('-').map_or(version, |(upstream, _)| upstream)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), SetupError> {
    let doing = || format!("writing {}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(SetupError::io(doing()))?;
    }
    let text = serde_json::to_vec_pretty(value).map_err(SetupError::io(doing()))?;
    fs::write(path, text).map_err(SetupError::io(doing()))
}

/// What the scripts of the packages would have made of users and hosts.
fn accounts(root: &Path) -> std::io::Result<()> {
    let etc = root.join("etc");
    fs::write(
        etc.join("passwd"),
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    )?;
    fs::write(etc.join("group"), "root:x:0:\ntty:x:5:\nvideo:x:44:\nrender:x:106:\nnogroup:x:65534:\n")?;
    fs::write(etc.join("hosts"), "127.0.0.1 localhost sandbox\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Package {
        Package { name: name.into(), version: "1".into() }
    }

    #[test]
    fn the_list_is_names_without_comments() {
        assert_eq!(listed("# a\nbash\n\ndash # small\n"), ["bash", "dash"]);
        assert!(listed(LIST).contains(&DRIVERS));
    }

    #[test]
    fn the_links_come_first_and_the_reference_adds_only_what_is_new() {
        let first = base_first(vec![package("bash"), package("base-files"), package(DRIVERS)]);
        assert_eq!(first[0].name, "base-files");
        let second = [package(DRIVERS), package("libllvm18"), package("bash")];
        assert_eq!(only_in_second(&first, &second), [package("libllvm18")]);
    }

    #[test]
    fn mesas_own_version() {
        assert_eq!(upstream("25.0.7-2+deb13u1"), "25.0.7");
        assert_eq!(upstream("1:26.1.6-1~bpo13+1"), "26.1.6");
        assert_eq!(upstream("26.1.6"), "26.1.6");
    }

    #[test]
    fn each_driver_is_named_by_an_absolute_path() {
        let root = tempfile::tempdir().unwrap();
        for prefix in ["", REFERENCE] {
            for file in [ICD, LIBRARY] {
                let path = root.path().join(prefix).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, r#"{"ICD":{"api_version":"1.4.0","library_path":"x.so"}}"#).unwrap();
            }
        }
        let a = driver(root.path(), REFERENCE, "gpu_a", "25.0.7-2").unwrap();
        let b = driver(root.path(), "", "gpu_b", "26.1.6-1").unwrap();
        for (driver, library) in [(a, format!("/{REFERENCE}/{LIBRARY}")), (b, format!("/{LIBRARY}"))] {
            let text = fs::read(root.path().join(&driver.icd[1..])).unwrap();
            let icd: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(icd["ICD"]["library_path"], library.as_str());
            assert_eq!(icd["ICD"]["api_version"], "1.4.0");
        }
    }
}
