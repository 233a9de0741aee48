//! Which of the host's directories does a command see in the sandbox?
//!
//! Those it stands in and those it is asked to see, at the same paths, writable; never one that
//! would hide the sandbox's own system. Pure but for looking whether a directory is there.

use std::path::{Path, PathBuf};

/// Directories that belong to the sandbox's root filesystem or kernel.
const SYSTEM: [&str; 23] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/local",
    "/usr/sbin",
    "/usr/share",
    "/var",
];

/// Directories below which everything is the kernel's.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Why this directory cannot be shared, if so.
pub(super) fn refusal(dir: &Path) -> Option<String> {
    let own =
        SYSTEM.iter().any(|system| dir == Path::new(system)) || KERNEL.iter().any(|kernel| dir.starts_with(kernel));
    if !dir.is_absolute() {
        Some(format!("{dir:?} cannot be shared: give an absolute path"))
    } else if !dir.is_dir() {
        Some(format!("{dir:?} cannot be shared: it is no directory"))
    } else if own {
        Some(format!("{dir:?} cannot be shared: the sandbox has its own; share a directory below it"))
    } else {
        None
    }
}

/// The directories to share: all `asked` ones, and those of `wanted` that can be.
///
/// # Errors
/// If an asked one cannot be shared: a sentence that says why.
pub(super) fn choose(asked: &[PathBuf], wanted: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    if let Some(why) = asked.iter().find_map(|dir| refusal(dir)) {
        return Err(why);
    }
    let mut all = asked.to_vec();
    all.extend(wanted.iter().filter(|dir| refusal(dir).is_none()).cloned());
    all.sort();
    all.dedup();
    // Sorted, so a directory comes after those that contain it, and is there with them.
    let mut chosen: Vec<PathBuf> = Vec::new();
    for dir in all {
        if !chosen.iter().any(|outer| dir.starts_with(outer)) {
            chosen.push(dir);
        }
    }
    Ok(chosen)
}

/// The workspace that `dir` is in: the outermost directory with a Cargo.toml on the way up to the
/// repository's root, or that root, or `dir`.
pub(super) fn workspace_of(dir: &Path) -> PathBuf {
    let mut found = dir;
    for ancestor in dir.ancestors() {
        if ancestor.join("Cargo.toml").exists() {
            found = ancestor;
        }
        if ancestor.join(".git").exists() {
            return ancestor.to_owned();
        }
    }
    found.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_inside_another_is_there_already() {
        let base = tempfile::tempdir().unwrap();
        let (outer, inner) = (base.path().join("a"), base.path().join("a/b"));
        let sibling = base.path().join("ab");
        for dir in [&inner, &sibling] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let chosen = choose(&[inner], &[sibling.clone(), outer.clone(), outer.clone()]).unwrap();
        assert_eq!(chosen, [outer, sibling]);
    }

    #[test]
    fn the_system_is_never_hidden() {
        for dir in ["/", "/usr", "/dev/dri", "/proc/self", "/etc"] {
            let dir = PathBuf::from(dir);
            assert_eq!(choose(&[], std::slice::from_ref(&dir)).unwrap(), [""; 0].map(PathBuf::from));
            assert!(choose(&[dir], &[]).is_err());
        }
    }

    #[test]
    fn what_was_asked_for_and_is_not_there_is_named() {
        let why = choose(&["/no/such/dir".into()], &[]).unwrap_err();
        assert!(why.contains("/no/such/dir") && why.contains("no directory"));
        assert!(choose(&["relative".into()], &[]).is_err());
    }

    #[test]
    fn the_workspace_is_the_repository_or_the_outermost_package() {
        let base = tempfile::tempdir().unwrap();
        let deep = base.path().join("repo/crate/src");
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(workspace_of(&deep), deep);
        std::fs::write(base.path().join("repo/crate/Cargo.toml"), "").unwrap();
        assert_eq!(workspace_of(&deep), base.path().join("repo/crate"));
        std::fs::write(base.path().join("repo/Cargo.toml"), "").unwrap();
        assert_eq!(workspace_of(&deep), base.path().join("repo"));
        std::fs::create_dir(base.path().join("repo/crate/.git")).unwrap();
        assert_eq!(workspace_of(&deep), base.path().join("repo/crate"));
    }
}
