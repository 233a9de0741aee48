//! `handover seam`: a command whose system calls are changed on their way by a fault of [`handover_faulty_kernel`].

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::Command;

use clap::Args;
use handover_faulty_kernel::faults::{self, Made};
use handover_faulty_kernel::run;

/// Environment variable that names the file that grows by a byte each time the fault is made.
const COUNT: &str = "HANDOVER_FAULT_COUNT";

/// Options of `handover seam`.
#[derive(Args, Clone, Debug)]
pub(super) struct SeamArgs {
    /// The fault
    name: String,
    /// Answer the calls of the process that started this one
    #[arg(long, hide = true)]
    serve: bool,
    /// The command and its arguments
    #[arg(required_unless_present = "serve", last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Becomes the command, or serves one; why that failed.
pub(super) fn command(args: &SeamArgs) -> String {
    let Some(made) = faults::make(&args.name) else {
        let known: Vec<&str> = faults::names().collect();
        return format!("{} is no fault of system calls; those are {}", args.name, known.join(", "));
    };
    if !args.serve {
        let own = match std::env::current_exe() {
            Ok(own) => own,
            Err(error) => return format!("finding this program: {error}"),
        };
        let mut supervisor = Command::new(own);
        supervisor.args(["seam", "--serve", &args.name]);
        return format!(
            "starting a command under {}: {}",
            args.name,
            run::exec(&made.filter, &mut supervisor, &args.command)
        );
    }
    match serve(&made, &args.name) {
        Ok(()) => std::process::exit(0),
        Err(error) => format!("the supervisor of {} ends: {error}", args.name),
    }
}

fn serve(made: &Made, name: &str) -> io::Result<()> {
    let count =
        std::env::var_os(COUNT).map(|path| OpenOptions::new().append(true).create(true).open(path)).transpose()?;
    let answer = |call: &handover_faulty_kernel::Call<'_>| {
        let done = (made.answer)(call)?;
        if done.fired {
            count.as_ref().map_or(Ok(()), |mut file| file.write_all(b"."))?;
        }
        Ok(done.answer)
    };
    // Whose verdict this may have spoilt must be known; the standard error is that of the command.
    let failed = |call: &handover_faulty_kernel::Call<'_>, error: &io::Error| {
        super::say(
            &mut io::stderr(),
            &format!("{name}: system call {} of thread {} was left as it was: {error}\n", call.number, call.thread),
        );
    };
    run::serve(answer, failed)
}
