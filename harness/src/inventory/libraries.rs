#![expect(unsafe_code, reason = "loading a library runs its initialisers")]
//! Which of the libraries that drivers come through are installed, and which file the dynamic loader takes.
//!
//! It loads and unloads them and calls no function in them.

use std::fs;

use libloading::Library;
use serde::{Deserialize, Serialize};

use super::listed::Listed;

/// A library that could be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryFile {
    /// Its soname.
    pub name: String,
    /// The file that the dynamic loader took, whose name often carries the version.
    pub path: String,
}

/// Soname, what it is for, and the packages that bring it.
const LIBRARIES: &[(&str, &str)] = &[
    ("libvulkan.so.1", "install the Vulkan loader (Debian libvulkan1, Fedora vulkan-loader, Arch vulkan-icd-loader)"),
    ("libgbm.so.1", "install GBM (Debian libgbm1, Fedora mesa-libgbm, Arch mesa)"),
    ("libEGL.so.1", "install EGL (Debian libegl1, Fedora libglvnd-egl, Arch libglvnd)"),
    ("libGLESv2.so.2", "install OpenGL ES (Debian libgles2, Fedora libglvnd-gles, Arch libglvnd)"),
];

/// Tries every library.
pub(super) fn libraries() -> Vec<Listed<LibraryFile>> {
    LIBRARIES.iter().map(|(name, install)| library(name, install)).collect()
}

fn library(name: &str, install: &str) -> Listed<LibraryFile> {
    // SAFETY: these are system libraries whose initialisers are made to run in any process that links them.
    match unsafe { Library::new(name) } {
        Ok(_loaded) => {
            let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
            let path = mapped(&maps, name).unwrap_or_else(|| name.to_owned());
            Listed::Present(LibraryFile { name: name.to_owned(), path })
        }
        Err(error) => Listed::unavailable(name, format!("{}; {install}", loader_text(&error))),
    }
}

/// The dynamic loader's own words.
fn loader_text(error: &libloading::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// The mapped file that `soname` resolved to, from the text of `/proc/self/maps`.
fn mapped(maps: &str, soname: &str) -> Option<String> {
    let file_name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    let mut paths = paths.filter(|path| file_name(path).is_some_and(|name| name.starts_with(soname)));
    paths.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapped_file_carries_the_version() {
        let maps = "7f00-7f01 r-xp 0000 00:1f 12 /usr/lib/libvulkan.so.1.4.309\n7f02-7f03 rw-p 0000 00:00 0 [heap]\n";
        assert_eq!(mapped(maps, "libvulkan.so.1").as_deref(), Some("/usr/lib/libvulkan.so.1.4.309"));
        assert_eq!(mapped(maps, "libgbm.so.1"), None);
    }
}
