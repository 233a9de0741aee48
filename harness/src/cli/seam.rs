//! `handover seam`: a command whose system calls are changed on their way by faults of [`handover_faulty_kernel`].

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::Command;

use clap::Args;
use handover_faults::made::mark_of;
use handover_faulty_kernel::faults::{self, Made};
use handover_faulty_kernel::{Filter, run};

use crate::procfs;
use crate::run::SEAM;
use crate::run::choice::Refusal;

/// Environment variable that names the file that grows by a byte each time a fault is made: the [mark](mark_of) of the fault.
const COUNT: &str = "HANDOVER_FAULT_COUNT";

/// Options of `handover seam`.
#[derive(Args, Clone, Debug)]
pub(super) struct SeamArgs {
    /// The fault, or several with commas between them
    name: String,
    /// Answer the calls of the process that started this one
    #[arg(long, hide = true)]
    serve: bool,
    /// The command and its arguments
    #[arg(required_unless_present = "serve", last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Becomes the command, or serves one; why that failed.
pub(super) fn command(args: &SeamArgs) -> Refusal {
    let made = match made(&args.name) {
        Ok(made) => made,
        Err(why) => return why,
    };
    if !args.serve {
        let own = match procfs::this_program() {
            Ok(own) => own,
            Err(error) => return Refusal::Machine(format!("finding this program: {error}")),
        };
        let Some((program, arguments)) = args.command.split_first() else {
            return Refusal::Usage("there is no command to start".into());
        };
        // A command may be another seam, with a command of its own.
        let mut faults = std::env::var(SEAM).unwrap_or_default();
        if !faults.is_empty() {
            faults.push(',');
        }
        faults += &args.name;
        let mut supervisor = Command::new(own);
        supervisor.args(["seam", "--serve", &args.name]);
        let filter = made.iter().fold(Filter::default(), |all, made| all.and(&made.filter));
        let why = run::exec(&filter, &mut supervisor, Command::new(program).args(arguments).env(SEAM, faults));
        return Refusal::Machine(format!("starting a command under {}: {why}", args.name));
    }
    match serve(&made, &args.name) {
        Ok(()) => std::process::exit(0),
        Err(error) => Refusal::Machine(format!("the supervisor of {} ends: {error}", args.name)),
    }
}

/// The faults of these names, with commas between them.
fn made(names: &str) -> Result<Vec<Made>, Refusal> {
    let make = |name: &str| {
        faults::make(name).ok_or_else(|| {
            let near = super::near(name, &faults::names().collect::<Vec<_>>());
            let all = "`handover faults --list` shows them all";
            Refusal::Usage(format!("no fault of system calls is named `{name}`{near}; {all}"))
        })
    };
    names.split(',').map(make).collect()
}

fn serve(made: &[Made], name: &str) -> io::Result<()> {
    let count =
        std::env::var_os(COUNT).map(|path| OpenOptions::new().append(true).create(true).open(path)).transpose()?;
    let complain = |text: &str| super::say(&mut io::stderr(), &format!("{name}: {text}\n"));
    let answer = |call: &handover_faulty_kernel::Call<'_>| {
        let (answer, fired) = faults::in_turn(made, call)?;
        let marks: Vec<u8> = fired.into_iter().map(mark_of).collect();
        // The call has been made, and must not be made again for want of a count.
        if let Some(Err(error)) = count.as_ref().map(|mut file| file.write_all(&marks)) {
            complain(&format!("system call {} of thread {} was not counted: {error}", call.number, call.thread));
        }
        Ok(answer)
    };
    // Whose verdict this may have spoilt must be known; the standard error is that of the command.
    let failed = |call: &handover_faulty_kernel::Call<'_>, error: &io::Error| {
        complain(&format!("system call {} of thread {} was not answered: {error}", call.number, call.thread));
    };
    run::serve(answer, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_fault_has_is_answered_with_the_nearest() {
        let Err(said) = made("slow-calls,heap-shor") else { panic!("no fault has that name") };
        let said = said.to_string();
        assert!(said.contains("`heap-shor`; the nearest are heap-short") && said.len() < 200, "{said}");
    }
}
