//! `handover-setup`: builds what the sandbox is made of, as `handover setup` does.
//!
//! It is small, so that `ci/run` has it at work while cargo still compiles the rest.

use std::io::{Write, stderr};
use std::process::ExitCode;

use handover_sandbox::kernel::Kernel;
use handover_sandbox::{Sandbox, Shown};

fn main() -> ExitCode {
    let (code, text) = match Sandbox::ensure(&mut Shown::default()) {
        Ok(sandbox) => (ExitCode::SUCCESS, sandbox.describe().to_string()),
        Err(error) => (ExitCode::FAILURE, error.to_string()),
    };
    let _ = writeln!(stderr(), "handover: {text}");
    code
}
