//! What does this machine lack to build the sandbox?
//!
//! The list is `ci/sandbox/host-packages.txt`, which the scripts in `ci/` read as well. This file
//! only looks; it installs nothing.

use std::path::{Path, PathBuf};

/// The list itself.
const LIST: &str = include_str!("../../../ci/sandbox/host-packages.txt");

/// One line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Package<'a> {
    name: &'a str,
    proof: &'a str,
    not_on_debian: bool,
}

fn packages(list: &str) -> impl Iterator<Item = Package<'_>> {
    list.lines().map(|line| line.split('#').next().unwrap_or_default()).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(Package { name: words.next()?, proof: words.next()?, not_on_debian: words.next() == Some("not-debian") })
    })
}

/// The packages that are not there, by the names that Debian and Ubuntu give them.
pub(super) fn missing() -> Vec<String> {
    let path: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let there = |proof: &str| {
        if proof.starts_with('/') {
            return Path::new(proof).exists();
        }
        // Where administrators' programs are, which are not in everybody's PATH.
        let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        path.iter().chain(&system).any(|dir| dir.join(proof).exists())
    };
    missing_of(LIST, is_debian(), there)
}

fn missing_of(list: &str, debian: bool, there: impl Fn(&str) -> bool) -> Vec<String> {
    packages(list)
        .filter(|package| !(debian && package.not_on_debian))
        .filter(|package| !there(package.proof))
        .map(|package| package.name.to_owned())
        .collect()
}

/// Every package on the list that this machine's distribution needs.
pub fn all() -> Vec<String> {
    missing_of(LIST, is_debian(), |_| false)
}

/// Whether this is Debian itself, whose own archive has what the sandbox needs.
pub(super) fn is_debian() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian")
}

/// The one command that installs `packages`.
pub(super) fn install_command(packages: &[String]) -> String {
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if rustix::process::geteuid().is_root() { install } else { format!("sudo {install}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# comment\n\ngcc gcc any\nkeys /k.gpg any # why\nboot boot not-debian\n";

    #[test]
    fn only_what_is_not_there_is_missing() {
        assert_eq!(missing_of(SAMPLE, false, |proof| proof == "gcc"), ["keys", "boot"]);
        assert_eq!(missing_of(SAMPLE, true, |proof| proof == "gcc"), ["keys"]);
        assert!(missing_of(SAMPLE, false, |_| true).is_empty());
    }

    #[test]
    fn every_line_of_the_list_is_whole() {
        for line in LIST.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words.len(), 3, "{line:?}");
            assert!(["any", "not-debian"].contains(&words[2]), "{line:?}");
        }
    }
}
