//! The cases under `cargo test`.
fn main() {}
