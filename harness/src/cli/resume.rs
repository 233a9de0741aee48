//! How does a run go on whose supervisor was killed? As the same command, in the same directory, by the same program.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::{Asked, Handover};
use crate::lane::On;
use crate::report::{Machine, SCHEMA};
use crate::run::SET_UP_S;
use crate::run::choice::{Choice, Refusal};
use crate::run::journal::{self, Beginning, Header, Unfinished};

/// The command of the run that was cut off in `folder`, as it was given there, and how far it came.
pub(super) fn command(folder: &Path, given: &Asked) -> Result<(Asked, Unfinished), Refusal> {
    let usage = |error: &dyn std::fmt::Display| Refusal::Usage(error.to_string());
    let missing = |error| {
        let valid = "valid is the report directory of a run that was killed or interrupted";
        usage(&format!("--resume {}: {error}; {valid}", folder.display()))
    };
    let folder = folder.canonicalize().map_err(missing)?;
    let unfinished = Unfinished::read(&folder).map_err(|error| usage(&error))?;
    let Beginning { arguments, directory, .. } = &unfinished.beginning;
    let words = std::iter::once("handover").chain(arguments.iter().map(String::as_str));
    let again = Handover::try_parse_from(words).map_err(|error| {
        usage(&format!("{}: its command can't be repeated: {error}", folder.join(journal::FILE).display()))
    })?;
    let (Asked::Run(mut args), Asked::Run(given)) = (again.command, given) else {
        return Err(usage(&format!("{}: it is no journal of `handover run`", folder.join(journal::FILE).display())));
    };
    // Paths of that command are meant from there.
    std::env::set_current_dir(directory).map_err(|error| usage(&format!("{}: {error}", directory.display())))?;
    args.report.clone_from(&folder);
    args.jobs = given.jobs.or(args.jobs);
    // What else is given now is held against what it was.
    let on = <On as clap::ValueEnum>::from_str(&unfinished.beginning.header.on, false);
    args.on = given.on.or(on.ok());
    args.lane = given.lane.clone().or(unfinished.beginning.lane_file.clone());
    args.resume = Some(folder);
    Ok((Asked::Run(args), unfinished))
}

/// What must be the same for a run to go on.
pub(super) fn header(names: &[&str], selected: usize, choice: &Choice) -> Result<Header, Refusal> {
    let unreadable = |error: std::io::Error| {
        let what = "this program can't be read in /proc/self/exe, by which `--resume` tells it from another build";
        Refusal::Machine(format!("{what}: {error}; is procfs mounted?"))
    };
    // Where the report goes, how it is printed and how long the set-up took bear on no case; where cases run is said by itself.
    const OTHERS: [&str; 8] = [
        "HANDOVER_REPORT",
        "HANDOVER_ON",
        "HANDOVER_LANE",
        SET_UP_S,
        "TERM",
        "COLORTERM",
        "NO_COLOR",
        "CLICOLOR_FORCE",
    ];
    // What steers drivers and their loaders on the host, beside what passes into a sandbox.
    const DRIVERS: [&str; 15] = [
        "LD_", "GBM_", "EGL_", "__EGL_", "__GL", "DRI_", "GALLIUM_", "RADV_", "ACO_", "AMD_", "ANV_", "INTEL_", "NVK_",
        "TU_", "PAN_",
    ];
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let mut environment: Vec<(String, String)> =
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    let bears = |name: &str| {
        handover_sandbox::passes_in(name)
            || choice.on == On::Host && DRIVERS.iter().any(|prefix| name.starts_with(prefix))
    };
    environment.retain(|(name, _)| bears(name) && !OTHERS.contains(&name.as_str()));
    environment.sort();
    Ok(Header {
        schema: SCHEMA,
        program: journal::this_program().map_err(unreadable)?,
        cases: journal::digest(names.iter().copied()),
        on: choice.on.to_string(),
        lane: choice.rules(),
        environment,
        selected,
    })
}

/// How a run begins that may have to be resumed.
pub(super) fn beginning(header: Header, lane_file: Option<PathBuf>, machine: Machine) -> Result<Beginning, Refusal> {
    let directory = std::env::current_dir();
    let directory =
        directory.map_err(|error| Refusal::Machine(format!("the present directory can't be found: {error}")))?;
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    Ok(Beginning { header, arguments, directory, lane_file, machine })
}
