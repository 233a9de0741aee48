//! With which arguments does the user-mode kernel start?
//!
//! Pure: a plan in, a command line out, or the reason why there is none.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use super::wire::{self, file, terminal};

/// What the kernel takes at most, bytes (`COMMAND_LINE_SIZE` of `ARCH=um`); it cuts off the rest.
const LONGEST: usize = 2048;

/// Module options that every sandbox has; a user's own come later and win.
///
/// Three vivid devices: the first allocates by vmalloc, the second is the stricter device that wants
/// contiguous memory (dma-contig), the third has the multi-planar interface. Only capture and output
/// nodes, which keeps the boot short.
const MODULES: [&str; 6] = [
    "vivid.n_devs=3",
    "vivid.allocators=0,1,0",
    "vivid.multiplanar=1,1,2",
    "vivid.node_types=0x101,0x101,0x101",
    "vkms.enable_overlay=1",
    "vkms.enable_writeback=1",
];

/// The ends of the pipes that become the guest's terminals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fds {
    pub(super) control_in: RawFd,
    pub(super) control_out: RawFd,
    pub(super) stdout: RawFd,
    pub(super) stderr: RawFd,
    pub(super) console: RawFd,
}

/// Everything that decides the command line.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) control: &'a Path,
    pub(super) memory_mib: u64,
    pub(super) fds: Fds,
    pub(super) extra: &'a [String],
}

/// The kernel's arguments.
///
/// # Errors
/// If an extra argument cannot be carried or all of them are too long: a sentence that says so.
pub(super) fn arguments(plan: &Plan<'_>) -> Result<Vec<String>, String> {
    for extra in plan.extra {
        check_extra(extra)?;
    }
    let control = plan.control.display();
    let Fds { control_in, control_out, stdout, stderr, console } = plan.fds;
    let mut arguments = vec![
        "root=/dev/root".into(),
        "rootfstype=hostfs".into(),
        "rootflags=/".into(),
        "ro".into(),
        format!("init={control}/{}", file::INIT),
        format!("mem={}M", plan.memory_mib),
        // Faster than ptrace where the host allows it, and falls back to that.
        "seccomp=auto".into(),
        format!("uml_dir={control}/"),
        // Until the console is up, its messages go to standard error.
        "stderr=1".into(),
        "loglevel=7".into(),
        format!("con{}=null,fd:{console}", terminal::CONSOLE),
        format!("con{}=fd:{control_in},fd:{control_out}", terminal::CONTROL),
        format!("con{}=null,fd:{stdout}", terminal::STDOUT),
        format!("con{}=null,fd:{stderr}", terminal::STDERR),
        "con=null".into(),
        "ssl=null".into(),
    ];
    arguments.extend(MODULES.map(String::from));
    arguments.extend(plan.extra.iter().cloned());
    arguments.extend(["--".into(), wire::GUEST_INIT.into(), control.to_string()]);
    let length = arguments.iter().map(|argument| argument.len() + 1).sum::<usize>();
    if length >= LONGEST {
        return Err(format!(
            "the kernel's command line would have {length} bytes, but it takes less than {LONGEST}: give fewer or shorter --kernel-arg"
        ));
    }
    Ok(arguments)
}

fn check_extra(extra: &str) -> Result<(), String> {
    let bad = |why| Err(format!("--kernel-arg {extra:?} {why}"));
    if extra.is_empty() || extra == "--" {
        return bad("is no kernel parameter: give name=value or name");
    }
    if !extra.bytes().all(|byte| byte.is_ascii_graphic()) {
        return bad("has a blank or a byte that is not printable ASCII: give one parameter per --kernel-arg");
    }
    Ok(())
}

/// The memory in MiB that `extra` asks for with `mem=`, or what a sandbox has otherwise.
///
/// # Errors
/// If the value is none that the kernel would read: a sentence that says so.
pub(super) fn memory_mib(extra: &[String]) -> Result<u64, String> {
    const USUAL: u64 = 4096;
    let Some(value) = extra.iter().rev().find_map(|arg| arg.strip_prefix("mem=")) else {
        return Ok(USUAL);
    };
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'G' | b'g') => (&value[..value.len() - 1], 30),
        Some(b'M' | b'm') => (&value[..value.len() - 1], 20),
        Some(b'K' | b'k') => (&value[..value.len() - 1], 10),
        _ => (value, 0),
    };
    let mib = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).map(|n| n >> 20);
    match mib {
        Some(mib) if (128..=65536).contains(&mib) => Ok(mib),
        _ => Err(format!("--kernel-arg mem={value}: give 128M to 64G, such as mem=2G")),
    }
}

/// The first directory that can hold the guest's memory: executable, and with room for all of it.
///
/// # Errors
/// If there is none: a sentence that names each and what it lacks.
pub(super) fn memory_dir(
    candidates: &[PathBuf],
    need_mib: u64,
    room: impl Fn(&Path) -> Result<u64, String>,
) -> Result<PathBuf, String> {
    let mut refusals = Vec::new();
    for dir in candidates {
        match room(dir) {
            Ok(mib) if mib >= need_mib => return Ok(dir.clone()),
            Ok(mib) => refusals.push(format!("{} has room for {mib} MiB", dir.display())),
            Err(why) => refusals.push(format!("{} {why}", dir.display())),
        }
    }
    Err(format!(
        "no place for the sandbox's memory of {need_mib} MiB: {}; make room, set TMPDIR to a directory with room, or give --kernel-arg mem=1G",
        refusals.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FDS: Fds = Fds { control_in: 5, control_out: 6, stdout: 7, stderr: 8, console: 9 };

    fn line(extra: &[&str]) -> Result<Vec<String>, String> {
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        arguments(&Plan { control: Path::new("/tmp/c"), memory_mib: 4096, fds: FDS, extra: &extra })
    }

    #[test]
    fn the_whole_line() {
        let expected = "root=/dev/root rootfstype=hostfs rootflags=/ ro init=/tmp/c/init \
            mem=4096M seccomp=auto uml_dir=/tmp/c/ stderr=1 loglevel=7 \
            con0=null,fd:9 con1=fd:5,fd:6 con2=null,fd:7 con3=null,fd:8 con=null ssl=null \
            vivid.n_devs=3 vivid.allocators=0,1,0 vivid.multiplanar=1,1,2 \
            vivid.node_types=0x101,0x101,0x101 \
            vkms.enable_overlay=1 vkms.enable_writeback=1 vkms.enable_cursor=1 \
            -- guest-init /tmp/c";
        assert_eq!(line(&["vkms.enable_cursor=1"]).unwrap().join(" "), expected);
    }

    #[test]
    fn a_users_option_comes_after_the_usual_ones_and_before_the_end() {
        let line = line(&["vivid.n_devs=1"]).unwrap();
        let at = |what: &str| line.iter().position(|argument| argument == what).unwrap();
        assert!(at("vivid.n_devs=3") < at("vivid.n_devs=1"));
        assert!(at("vivid.n_devs=1") < at("--"));
    }

    #[test]
    fn what_the_line_cannot_carry_is_refused() {
        assert!(line(&["a b"]).unwrap_err().contains("blank"));
        assert!(line(&["--"]).unwrap_err().contains("no kernel parameter"));
        assert!(line(&[""]).is_err());
        assert!(line(&[&"x".repeat(2000)]).unwrap_err().contains("less than 2048"));
    }

    #[test]
    fn memory_sizes() {
        let size = |arg: &str| memory_mib(&[arg.to_owned()]);
        assert_eq!(memory_mib(&[]), Ok(4096));
        assert_eq!(size("mem=2G"), Ok(2048));
        assert_eq!(size("mem=512m"), Ok(512));
        assert_eq!(size("mem=1073741824"), Ok(1024));
        for bad in ["mem=", "mem=1M", "mem=G", "mem=4T", "mem=99999999999999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(memory_mib(&["mem=1G".into(), "mem=2G".into()]), Ok(2048), "the last wins");
    }

    #[test]
    fn memory_goes_where_it_fits() {
        let dirs = [PathBuf::from("/shm"), PathBuf::from("/noexec"), PathBuf::from("/tmp")];
        let room = |dir: &Path| match dir.to_str() {
            Some("/shm") => Ok(64),
            Some("/tmp") => Ok(9000),
            _ => Err("is mounted noexec".into()),
        };
        assert_eq!(memory_dir(&dirs, 4096, room), Ok(PathBuf::from("/tmp")));
        assert_eq!(memory_dir(&dirs, 64, room), Ok(PathBuf::from("/shm")));
        let refusal = memory_dir(&dirs, 10_000, room).unwrap_err();
        assert!(refusal.contains("/shm has room for 64 MiB") && refusal.contains("/noexec is mounted noexec"));
    }
}
