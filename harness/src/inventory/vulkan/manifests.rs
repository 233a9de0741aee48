//! Which driver manifests the Vulkan loader finds, in its order.
//!
//! After "Driver Discovery on Linux" of the loader's LoaderDriverInterface.md. It reads directories, no manifest.

use std::fs;
use std::path::{Path, PathBuf};

/// The manifests that a loader in this process's environment would try.
pub(in crate::inventory) fn manifests() -> Vec<PathBuf> {
    places(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .iter()
        .flat_map(|place| found_in(place))
        .collect()
}

/// Files and directories to look at; `var` gives environment variables.
fn places(var: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let split = |list: String| list.split(':').map(PathBuf::from).collect::<Vec<_>>();
    if let Some(only) = var("VK_DRIVER_FILES").or_else(|| var("VK_ICD_FILENAMES")) {
        return split(only);
    }
    let home = |below: &str| var("HOME").map(|home| format!("{home}/{below}"));
    let bases = [
        var("XDG_CONFIG_HOME").or_else(|| home(".config")),
        Some(var("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into())),
        Some("/etc".into()),
        var("XDG_DATA_HOME").or_else(|| home(".local/share")),
        Some(var("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into())),
    ];
    let bases = bases.into_iter().flatten().flat_map(split);
    let added = var("VK_ADD_DRIVER_FILES").map(split).unwrap_or_default();
    added.into_iter().chain(bases.map(|base| base.join("vulkan/icd.d"))).collect()
}

/// `place` itself if it is a file, its manifests in the order of their names if it is a directory.
fn found_in(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_variables_are_obeyed() {
        let named = places(|name| (name == "VK_ICD_FILENAMES").then(|| "/a.json:/b.json".into()));
        assert_eq!(named, [Path::new("/a.json"), Path::new("/b.json")]);
        let usual = places(|name| (name == "HOME").then(|| "/users/ann".into()));
        let usual: Vec<_> = usual.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        assert_eq!(
            usual,
            [
                "/users/ann/.config/vulkan/icd.d",
                "/etc/xdg/vulkan/icd.d",
                "/etc/vulkan/icd.d",
                "/users/ann/.local/share/vulkan/icd.d",
                "/usr/local/share/vulkan/icd.d",
                "/usr/share/vulkan/icd.d",
            ]
        );
    }
}
