//! The `handover` command.

fn main() -> std::process::ExitCode {
    handover::cli::main(handover_cases::register, handover_cases::REPRODUCTIONS)
}
