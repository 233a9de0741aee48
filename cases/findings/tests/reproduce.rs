//! Does every program of this folder show its finding in the sandbox, and show none where it is mended?
//!
//! Each runs in a kernel of its own, so that what one breaks is whole for the next.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use handover_sandbox::kernel::{Command, Exit, Kernel};
use handover_sandbox::{Sandbox, Shown};
use libtest_mimic::{Arguments, Failed, Trial};

/// None takes more than a few seconds.
const WITHIN: Duration = Duration::from_secs(60);

/// The exit statuses of all the programs.
const THERE: i32 = 0;
const NOT_THERE: i32 = 1;
const NOT_TRIED: i32 = 2;

/// Runs each program on a machine that has neither devices nor a Vulkan driver, and prints its name and exit status.
const WITHOUT_DEVICES: &str =
    "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && export VK_DRIVER_FILES=/none || exit 3
for program; do timeout 20 $program >/tmp/said 2>&1 </dev/null; echo $program $?; done";

/// What this needs is on every machine.
const NEEDS_NO_DEVICE: [&str; 1] = ["shmem-enospc"];

/// The path of a program, by its name.
macro_rules! program {
    ($name:literal) => {
        ($name, env!(concat!("CARGO_BIN_EXE_", $name)))
    };
}

/// Program, argument, exit status. `Mesa 25.0` is the sandbox's `gpu_a`, `Mesa 26.` its `gpu_b`.
const EXPECTED: &[((&str, &str), &str, i32)] = &[
    (program!("expbuf-einval"), "", THERE),
    (program!("expbuf-warning"), "", THERE),
    (program!("gbm-dumb-render-node"), "", THERE),
    (program!("gbm-handle-closed"), "", THERE),
    (program!("gbm-no-errno"), "", THERE),
    (program!("gbm-plane-count"), "", THERE),
    (program!("gbm-planes-of-first"), "", THERE),
    (program!("gbm-render-node-leak"), "", THERE),
    (program!("gbm-write-usage"), "", THERE),
    (program!("lavapipe-any-modifier"), "Mesa 25.0", THERE),
    (program!("lavapipe-any-modifier"), "Mesa 26.", THERE),
    (program!("lavapipe-empty-list2"), "Mesa 25.0", THERE),
    (program!("lavapipe-empty-list2"), "Mesa 26.", NOT_THERE),
    (program!("lavapipe-list-overrun"), "Mesa 25.0", THERE),
    (program!("lavapipe-list-overrun"), "Mesa 26.", THERE),
    (program!("lavapipe-memory-planes"), "Mesa 25.0", THERE),
    (program!("lavapipe-memory-planes"), "Mesa 26.", THERE),
    (program!("lavapipe-no-cloexec"), "Mesa 25.0", THERE),
    (program!("lavapipe-no-cloexec"), "Mesa 26.", NOT_THERE),
    (program!("lavapipe-offset-query"), "Mesa 25.0", THERE),
    (program!("lavapipe-offset-query"), "Mesa 26.", NOT_THERE),
    (program!("lavapipe-out-of-files"), "Mesa 25.0", THERE),
    (program!("lavapipe-out-of-files"), "Mesa 26.", THERE),
    (program!("lavapipe-planes-refused"), "Mesa 25.0", THERE),
    (program!("lavapipe-planes-refused"), "Mesa 26.", NOT_THERE),
    (program!("lavapipe-refused-import"), "Mesa 25.0", THERE),
    (program!("lavapipe-refused-import"), "Mesa 26.", NOT_THERE),
    (program!("layer-memory-planes"), "Mesa 26.", THERE),
    (program!("llvmpipe-external-size"), "", THERE),
    (program!("llvmpipe-fence-poll"), "", THERE),
    (program!("llvmpipe-import-bounds"), "EGL", THERE),
    (program!("llvmpipe-import-bounds"), "GBM", THERE),
    (program!("llvmpipe-imported-offset"), "", THERE),
    (program!("llvmpipe-rows-behind"), "", THERE),
    (program!("llvmpipe-unaligned-pitch"), "Mesa 25.0", THERE),
    (program!("llvmpipe-unaligned-pitch"), "Mesa 26.", THERE),
    (program!("mesa-export-no-fd"), "", THERE),
    (program!("mesa-external-only"), "", THERE),
    (program!("mesa-odd-chroma"), "", THERE),
    (program!("mesa-p010-grey"), "", THERE),
    (program!("mesa-y210-nothing"), "", THERE),
    (program!("shmem-enospc"), "", THERE),
    (program!("vicodec-frame-sizes"), "", THERE),
    (program!("vim2m-565-pairs"), "", THERE),
    (program!("vivid-frame-sizes"), "", THERE),
    (program!("vkms-blend-wraps"), "", THERE),
    (program!("vkms-limited-range"), "", THERE),
    (program!("vkms-lost-writeback"), "", THERE),
    (program!("vkms-offset-twice"), "", THERE),
    (program!("vkms-p010-grey"), "", THERE),
];

fn main() -> ExitCode {
    // The sandbox starts this program again as the init of its kernel.
    if let Some(code) = handover_sandbox::guest_main() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // Each is a kernel with its own memory.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let trial = |&((name, path), argument, expected): &((&'static str, &'static str), &'static str, i32)| {
        let title = [name, argument].join(" ").trim_end().to_owned();
        Trial::test(title, move || reproduces(path, argument, expected))
    };
    let all = Trial::test("every_program_is_tried", every_program_is_tried);
    let untried = Trial::test("none_is_right_or_wrong_without_devices", none_is_right_or_wrong_without_devices);
    libtest_mimic::run(&arguments, EXPECTED.iter().map(trial).chain([all, untried]).collect()).exit_code()
}

fn reproduces(path: &str, argument: &str, expected: i32) -> Result<(), Failed> {
    let arguments = Some(argument).filter(|argument| !argument.is_empty());
    match run(&Command::new(path).args(arguments))? {
        (Exit::Code(status), _) if status == expected => Ok(()),
        (other, said) => Err(format!("{path} {other}, not with exit status {expected}; it printed:\n{said}").into()),
    }
}

/// Who bisects with a program takes "the defect is not there" for a fix.
fn none_is_right_or_wrong_without_devices() -> Result<(), Failed> {
    let programs: BTreeSet<&str> = EXPECTED
        .iter()
        .filter(|((name, _), ..)| !NEEDS_NO_DEVICE.contains(name))
        .map(|((_, path), ..)| *path)
        .collect();
    let expected: String = programs.iter().map(|path| format!("{path} {NOT_TRIED}\n")).collect();
    // Whoever listens to what is printed keeps its devices.
    let script = ["--mount", "sh", "-c", WITHOUT_DEVICES, "sh"].into_iter().chain(programs);
    let (exit, said) = run(&Command::new("/usr/bin/unshare").args(script))?;
    if said == expected { Ok(()) } else { Err(format!("{exit}; it printed:\n{said}").into()) }
}

/// Runs `command` in a kernel of its own, and says how it ended and what it printed.
fn run(command: &Command) -> Result<(Exit, String), Failed> {
    let sandbox = Sandbox::ensure(&mut Shown::default())?;
    let mut running = sandbox.spawn(&command.clone().deadline(WITHIN))?;
    let mut said = String::new();
    for mut pipe in [running.stdout.take(), running.stderr.take()].into_iter().flatten().map(std::fs::File::from) {
        pipe.read_to_string(&mut said)?;
    }
    Ok((running.wait()?, said))
}

/// A program that nobody runs proves nothing.
fn every_program_is_tried() -> Result<(), Failed> {
    let folder = std::fs::read_dir(env!("CARGO_MANIFEST_DIR"))?.collect::<Result<Vec<_>, _>>()?;
    let programs =
        folder.iter().map(std::fs::DirEntry::path).filter(|path| path.extension().is_some_and(|is| is == "rs"));
    let names = programs.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let forgotten: Vec<String> = names.filter(|name| !EXPECTED.iter().any(|((tried, _), ..)| tried == name)).collect();
    if forgotten.is_empty() { Ok(()) } else { Err(format!("not tried: {}", forgotten.join(", ")).into()) }
}
