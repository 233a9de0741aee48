//! The `handover` command.

fn main() -> std::process::ExitCode {
    handover_faulty_core::install();
    handover::cli::main(handover_cases::register, handover_cases::REPRODUCTIONS)
}
