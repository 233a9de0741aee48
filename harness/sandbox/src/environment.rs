//! Which environment does a command see in the sandbox?
//!
//! What steers Vulkan, Mesa and the harness passes through; what describes the host's own
//! surroundings does not; and where the host says nothing there are defaults that make the sandbox
//! a lane: two drivers, poisoned memory, no shader cache.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Variables whose names begin like this pass through.
const PREFIXES: [&str; 7] = ["HANDOVER_", "LIBGL_", "LP_", "LVP_", "MESA_", "RUST_", "VK_"];

/// Variables that pass through by their whole name: how to print, and whether this is CI.
const NAMES: [&str; 5] = ["CI", "CLICOLOR_FORCE", "COLORTERM", "NO_COLOR", "TERM"];

/// Directory for sockets and shared files of a session, inside the sandbox.
pub(super) const RUNTIME_DIR: &str = "/run/handover";

/// Whether the host's variable of this name passes into the sandbox.
pub(super) fn passes(name: &OsStr) -> bool {
    let name = name.as_bytes();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
        || NAMES.iter().any(|whole| name == whole.as_bytes())
}

/// The environment of a command: the surroundings' own variables, then `defaults`, then what
/// passes of the host's, then the command's `own`; a later one wins.
pub(super) fn compose(
    defaults: &[(OsString, OsString)],
    host: impl IntoIterator<Item = (OsString, OsString)>,
    own: &[(OsString, OsString)],
) -> Vec<(OsString, OsString)> {
    let surroundings = [
        ("HOME", "/root"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("XDG_RUNTIME_DIR", RUNTIME_DIR),
        ("LANG", "C.UTF-8"),
        // Fresh memory is often zero by chance, and a case would pass on nothing.
        ("LVP_POISON_MEMORY", "true"),
        ("MESA_SHADER_CACHE_DISABLE", "true"),
        ("LIBGL_ALWAYS_SOFTWARE", "true"),
        // A fresh page costs this kernel more than 100 us: freed memory is kept, not given back and faulted in again.
        ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
        ("MALLOC_TRIM_THRESHOLD_", "1073741824"),
        ("MALLOC_TOP_PAD_", "67108864"),
    ];
    let mut all: BTreeMap<OsString, OsString> =
        surroundings.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    all.extend(defaults.iter().cloned());
    all.extend(host.into_iter().filter(|(name, _)| passes(name)));
    all.extend(own.iter().cloned());
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn get<'a>(all: &'a [(OsString, OsString)], name: &str) -> Option<&'a str> {
        all.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.to_str())
    }

    #[test]
    fn drivers_and_harness_pass_and_the_host_stays_out() {
        for name in [
            "VK_LOADER_DEBUG",
            "LVP_X",
            "LP_NUM_THREADS",
            "MESA_DEBUG",
            "LIBGL_DEBUG",
            "RUST_BACKTRACE",
            "RUST_LOG",
            "HANDOVER_FAULT",
            "CI",
            "TERM",
        ] {
            assert!(passes(OsStr::new(name)), "{name} passes");
        }
        for name in [
            "PATH",
            "HOME",
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
            "XDG_RUNTIME_DIR",
            "CIRCLE",
            "DISPLAY",
            "VKD3D",
            "vk_x",
            "",
        ] {
            assert!(!passes(OsStr::new(name)), "{name} stays out");
        }
    }

    #[test]
    fn the_nearest_to_the_command_wins() {
        let defaults = pairs(&[("VK_DRIVER_FILES", "sandbox"), ("HANDOVER_GPU_A", "Mesa 1")]);
        let host = pairs(&[("VK_DRIVER_FILES", "user"), ("LVP_POISON_MEMORY", "false"), ("HOME", "/h")]);
        let own = pairs(&[("HANDOVER_GPU_A", "own"), ("HOME", "/own")]);
        let all = compose(&defaults, host, &own);
        assert_eq!(get(&all, "VK_DRIVER_FILES"), Some("user"));
        assert_eq!(get(&all, "LVP_POISON_MEMORY"), Some("false"));
        assert_eq!(get(&all, "HANDOVER_GPU_A"), Some("own"));
        assert_eq!(get(&all, "HOME"), Some("/own"));
        let bare = compose(&defaults, [], &[]);
        assert_eq!(get(&bare, "LVP_POISON_MEMORY"), Some("true"));
        assert_eq!(get(&bare, "HOME"), Some("/root"));
    }
}
