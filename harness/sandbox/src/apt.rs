//! Where do the sandbox's packages come from?
//!
//! From a Debian archive, through apt with a configuration of its own: own sources, own state, own
//! cache, so that it neither needs root nor touches what the host has installed. Signatures are
//! checked against Debian's own keys whatever the mirror. Nothing is installed: packages are only
//! chosen, downloaded and unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::SetupError;
use super::host_packages::is_debian;
use super::progress::Progress;
use super::tool;

/// Release of the root filesystem and the reference driver.
pub(super) const SUITE: &str = "trixie";

/// Newer kernels and drivers for it.
pub(super) const BACKPORTS: &str = "trixie-backports";

/// Overrides where packages come from.
const MIRROR_VARIABLE: &str = "HANDOVER_DEBIAN_MIRROR";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A download of everything takes half a minute on an ordinary line.
const DOWNLOAD: Duration = Duration::from_secs(900);

const QUERY: Duration = Duration::from_secs(120);

/// A package at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
}

/// An archive that was asked what it has.
pub(super) struct Apt {
    dir: tempfile::TempDir,
    mirror: String,
}

impl Apt {
    /// Asks the archive for its indices, keeping them in a new directory in `parent`.
    pub(super) fn update(parent: &Path, progress: &mut dyn Progress) -> Result<Self, SetupError> {
        let mirror = mirror(progress)?;
        progress.step(&format!("asking {mirror} for {SUITE} and {BACKPORTS}"));
        let doing = || format!("making apt's directory in {}", parent.display());
        fs::create_dir_all(parent).map_err(SetupError::io(doing()))?;
        let dir = tempfile::Builder::new().prefix("apt-").tempdir_in(parent).map_err(SetupError::io(doing()))?;
        let apt = Self { dir, mirror };
        let acquire = acquire_settings(progress)?;
        apt.configure(&acquire).map_err(SetupError::io(doing()))?;
        tool::run_quietly(
            "the package lists",
            apt.command("apt-get").args(["update", "-o", "APT::Update::Error-Mode=any"]),
            DOWNLOAD,
            progress,
        )
        .map_err(|error| apt.unreachable(error))?;
        Ok(apt)
    }

    /// The archive's address.
    pub(super) fn mirror(&self) -> &str {
        &self.mirror
    }

    fn configure(&self, acquire: &[String]) -> std::io::Result<()> {
        let dir = self.dir.path();
        for sub in ["etc/apt.conf.d", "etc/preferences.d", "lists/partial", "archives/partial", "state"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        fs::write(dir.join("state/status"), "")?;
        let source = |suite| format!("deb [signed-by={KEYRING}] {} {suite} main\n", self.mirror);
        fs::write(dir.join("etc/sources.list"), source(SUITE) + &source(BACKPORTS))?;
        fs::write(dir.join("apt.conf"), configuration(dir, acquire))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.path().join("apt.conf"));
        command
    }

    fn unreachable(&self, error: SetupError) -> SetupError {
        SetupError::Archive { mirror: self.mirror.clone(), source: Box::new(error) }
    }

    /// Names of packages that match a regular expression.
    pub(super) fn names(&self, pattern: &str, progress: &mut dyn Progress) -> Result<Vec<String>, SetupError> {
        let lines = tool::run(
            "a search for packages",
            self.command("apt-cache").args(["search", "--names-only", pattern]),
            QUERY,
            progress,
            |_, _| {},
        )?;
        let name = |line: &String| line.split_whitespace().next().map(str::to_owned);
        Ok(lines.iter().filter_map(name).collect())
    }

    /// `names` and everything they depend on, preferring `suite`.
    pub(super) fn resolve(
        &self,
        names: &[&str],
        suite: &str,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, SetupError> {
        let lines = tool::run(
            &format!("what {} depends on", names.join(", ")),
            self.command("apt-get").args(["install", "--simulate", "-qq", "-t", suite]).args(names),
            QUERY,
            progress,
            |_, _| {},
        )?;
        Ok(lines.iter().filter_map(|line| parse_install(line)).collect())
    }

    /// Downloads `packages` into `dir` and returns their files in the same order.
    pub(super) fn download(
        &self,
        packages: &[Package],
        dir: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Vec<PathBuf>, SetupError> {
        fs::create_dir_all(dir).map_err(SetupError::io(format!("making {}", dir.display())))?;
        let wanted = packages.iter().map(|package| format!("{}={}", package.name, package.version));
        let total = packages.len() as u64;
        let mut done = 0;
        tool::run(
            "the download of packages",
            self.command("apt-get").current_dir(dir).arg("download").args(wanted),
            DOWNLOAD,
            progress,
            |line, progress| {
                if line.starts_with("Get:") {
                    done += 1;
                    progress.count(done, total);
                }
            },
        )
        .map_err(|error| self.unreachable(error))?;
        packages.iter().map(|package| find_file(dir, package)).collect()
    }
}

/// apt writes `name_version_architecture.deb`, with `%3a` for the colon of an epoch.
fn find_file(dir: &Path, package: &Package) -> Result<PathBuf, SetupError> {
    let stem = format!("{}_{}_", package.name, package.version.replace(':', "%3a"));
    let found = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&stem));
    found.map(|entry| entry.path()).ok_or_else(|| SetupError::Tool {
        what: format!("the download of {} {}", package.name, package.version),
        program: "apt-get".into(),
        how: "ended well but left no file".into(),
        output: String::new(),
    })
}

/// apt's whole configuration; `acquire` is how the host reaches archives.
fn configuration(dir: &Path, acquire: &[String]) -> String {
    let dir = dir.display();
    let mut text = format!(
        "Dir::Etc \"{dir}/etc\";\n\
         Dir::State \"{dir}/state\";\n\
         Dir::State::Lists \"{dir}/lists\";\n\
         Dir::State::status \"{dir}/state/status\";\n\
         Dir::Cache \"{dir}\";\n\
         Dir::Cache::archives \"{dir}/archives\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures \"amd64\";\n\
         APT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Check-Valid-Until \"false\";\n\
         Acquire::Retries \"2\";\n\
         Acquire::http::Timeout \"20\";\n\
         Acquire::https::Timeout \"20\";\n"
    );
    for line in acquire {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// How the host's apt reaches archives: proxies and certificates.
fn acquire_settings(progress: &mut dyn Progress) -> Result<Vec<String>, SetupError> {
    let dump = tool::run("apt's settings", Command::new("apt-config").arg("dump"), QUERY, progress, |_, _| {})?;
    let wanted = ["Acquire::http::", "Acquire::https::"];
    Ok(dump.into_iter().filter(|line| wanted.iter().any(|start| line.starts_with(start))).collect())
}

/// A line of `apt-get --simulate`: `Inst name (version origin [architecture]) ...`.
fn parse_install(line: &str) -> Option<Package> {
    let mut words = line.strip_prefix("Inst ")?.split_whitespace();
    let name = words.next()?.to_owned();
    let version = words.find_map(|word| word.strip_prefix('('))?.to_owned();
    Some(Package { name, version })
}

/// The archive to use: the user's choice, the host's own, or the distribution's default.
fn mirror(progress: &mut dyn Progress) -> Result<String, SetupError> {
    if let Ok(chosen) = std::env::var(MIRROR_VARIABLE) {
        return Ok(chosen.trim_end_matches('/').to_owned());
    }
    let targets = tool::run(
        "the host's package sources",
        Command::new("apt-get").args(["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(SITE)"]),
        QUERY,
        progress,
        |_, _| {},
    )?;
    if let Some(own) = debian_site(&targets, is_debian()) {
        return Ok(own);
    }
    let scripts = fs::read_to_string("/usr/sbin/debootstrap").unwrap_or_default();
    default_mirror(&scripts).ok_or(SetupError::NoMirror)
}

/// The first site among apt's index targets that carries Debian's main archive.
///
/// An archive that was never asked has no origin yet; on Debian it is taken at its word, and its
/// signature tells later.
fn debian_site(targets: &[String], on_debian: bool) -> Option<String> {
    targets.iter().find_map(|target| {
        let fields: Vec<&str> = target.split('|').collect();
        let [origin, label, component, site] = fields[..] else {
            return None;
        };
        let debians = origin == "Debian" && label == "Debian";
        let unasked = on_debian && origin.is_empty() && !site.contains("security");
        let usable = (debians || unasked) && component == "main" && site.starts_with("http");
        usable.then(|| site.trim_end_matches('/').to_owned())
    })
}

/// The mirror that debootstrap takes if it is told nothing.
fn default_mirror(debootstrap: &str) -> Option<String> {
    debootstrap.lines().find_map(|line| {
        let value = line.trim().strip_prefix("DEF_MIRROR=")?.trim_matches(['"', '\'']);
        let debian = value.starts_with("http") && value.trim_end_matches('/').ends_with("debian");
        debian.then(|| value.trim_end_matches('/').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_main_archive_will_do() {
        let targets = [
            "Ubuntu|Ubuntu|main|http://one.example/ubuntu",
            "Debian|Debian-Security|main|http://two.example/debian-security",
            "Debian|Debian|contrib|http://three.example/debian",
            "||main|http://never-updated.example/debian",
            "Debian|Debian|main|cdrom://disc/",
            "Debian|Debian|main|http://four.example/debian/",
        ]
        .map(str::to_owned);
        let site = |targets, on_debian| debian_site(targets, on_debian);
        assert_eq!(site(&targets, false), Some("http://four.example/debian".into()));
        assert_eq!(site(&targets[..5], false), None);
        assert_eq!(site(&targets[..5], true), Some("http://never-updated.example/debian".into()));
    }

    #[test]
    fn debootstraps_default_counts_if_it_is_debians() {
        let script = "set -e\nDEF_MIRROR=\"http://mirror.example/debian\"\nDEF_HTTPS_MIRROR=x\n";
        assert_eq!(default_mirror(script), Some("http://mirror.example/debian".into()));
        assert_eq!(default_mirror("DEF_MIRROR=\"http://mirror.example/ubuntu\""), None);
        assert_eq!(default_mirror(""), None);
    }

    #[test]
    fn what_apt_would_install() {
        let line = "Inst libc6 (2.41-12+deb13u4 Debian:13.7/stable [amd64]) []";
        let package = parse_install(line).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("libc6", "2.41-12+deb13u4"));
        let upgrade = parse_install("Inst bash [5.1] (5.2 Debian:13 [amd64])").unwrap();
        assert_eq!(upgrade.version, "5.2");
        assert_eq!(parse_install("Conf libc6 (2.41 Debian)"), None);
    }

    #[test]
    fn the_hosts_way_to_archives_comes_last_and_wins() {
        let text = configuration(Path::new("/d"), &["Acquire::http::Timeout \"5\";".into()]);
        assert!(text.starts_with("Dir::Etc \"/d/etc\";\n"));
        assert!(text.ends_with("Acquire::http::Timeout \"5\";\n"));
    }
}
